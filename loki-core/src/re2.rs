//! Go's regular expressions on top of the `regex` crate.
//!
//! LogQL patterns are RE2 as Go's `regexp` package reads it. The `regex` crate matches with the same leftmost-first
//! semantics and the same guarantee of linear time, but its syntax differs in details that users see: `\d`, `\w`,
//! `\s` and `\b` are ASCII in Go, `\Q…\E` quotes, `x**` is refused, a brace that is no repetition is a literal, and
//! the error texts are Go's. So a pattern is parsed here by Go's rules and rewritten; the `regex` crate only ever sees
//! what this module wrote.
//!
//! Differences remain at the edges of UTF-8: an empty match of `\B` may lie within a character, and Go lets `.` and
//! negated classes match a stray byte, here they do not.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

mod class;
mod translate;

/// The most bytes a compiled regex may take, which bounds what a pattern of counted repetitions can cost.
pub const COMPILED_LIMIT_BYTES: usize = 32 << 20;

/// The largest count in a repetition such as `x{1000}`, and the largest product of nested ones.
pub const MAX_REPEAT: u32 = 1000;

/// How deeply operators can nest.
pub const MAX_NESTING: u32 = 1000;

/// How a pattern is to be matched.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RegexOptions {
    /// The whole text must match, as in selectors, rather than any part of it.
    pub anchored: bool,
    /// `.` also matches a newline, as in selectors.
    pub dot_matches_newline: bool,
}

/// A pattern that was read by Go's rules, rewritten for the `regex` and `regex-syntax` crates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    rewritten: String,
    capture_names: Vec<Option<String>>,
}

impl Pattern {
    /// Reads `pattern` by Go's rules (Perl flags).
    ///
    /// # Errors
    ///
    /// Whatever Go's `regexp.Compile` refuses, in its words.
    pub fn parse(pattern: &str, options: RegexOptions) -> Result<Self, RegexError> {
        let (body, capture_names) = translate::translate(pattern, options.dot_matches_newline)?;
        let rewritten = if options.anchored { format!(r"\A(?:{body})\z") } else { body };
        Ok(Self { rewritten, capture_names })
    }

    /// The same pattern in the syntax of `regex` and `regex-syntax`, for analysis with the latter.
    pub fn as_str(&self) -> &str {
        &self.rewritten
    }

    /// The names of the capture groups in order, the whole match first, as Go's `SubexpNames` gives them.
    ///
    /// Go allows names that begin with a digit and names that repeat. The compiled regex knows such groups by number
    /// only, so ask here for names.
    pub fn capture_names(&self) -> &[Option<String>] {
        &self.capture_names
    }

    /// Compiles the pattern.
    ///
    /// # Errors
    ///
    /// [`RegexErrorKind::TooLarge`] when it would take more than [`COMPILED_LIMIT_BYTES`].
    pub fn compile(&self) -> Result<Regex, RegexError> {
        RegexBuilder::new(&self.rewritten)
            .size_limit(COMPILED_LIMIT_BYTES)
            // Depth was limited while translating, this one counts differently.
            .nest_limit(u32::MAX)
            .build()
            .map_err(|_| RegexError::new(RegexErrorKind::TooLarge, &self.rewritten))
    }
}

/// Reads `pattern` by Go's rules and compiles it.
///
/// # Errors
///
/// Whatever Go's `regexp.Compile` refuses, in its words, and patterns whose program would exceed
/// [`COMPILED_LIMIT_BYTES`].
pub fn compile(pattern: &str, options: RegexOptions) -> Result<Regex, RegexError> {
    Pattern::parse(pattern, options)?.compile().map_err(|error| RegexError::new(error.kind, pattern))
}

/// Why a pattern was refused; its text is that of Go's `regexp/syntax`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegexError {
    kind: RegexErrorKind,
    fragment: String,
}

impl RegexError {
    fn new(kind: RegexErrorKind, fragment: &str) -> Self {
        Self { kind, fragment: fragment.to_owned() }
    }

    /// What is wrong.
    pub fn kind(&self) -> RegexErrorKind {
        self.kind
    }

    /// The part of the pattern that is wrong.
    pub fn fragment(&self) -> &str {
        &self.fragment
    }
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.kind, self.fragment)
    }
}

impl std::error::Error for RegexError {}

/// The kinds of errors in a pattern.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegexErrorKind {
    /// A range such as `z-a`, or a class of an unknown name.
    #[error("invalid character class range")]
    ClassRange,
    /// A backslash before something that cannot be escaped.
    #[error("invalid escape sequence")]
    Escape,
    /// A group name that is none.
    #[error("invalid named capture")]
    NamedCapture,
    /// `(?` followed by something else than flags or a name, for example a look-ahead.
    #[error("invalid or unsupported Perl syntax")]
    PerlSyntax,
    /// `a**`.
    #[error("invalid nested repetition operator")]
    NestedRepeat,
    /// A repetition beyond [`MAX_REPEAT`], or whose bounds are reversed.
    #[error("invalid repeat count")]
    RepeatCount,
    /// `[` without `]`.
    #[error("missing closing ]")]
    MissingBracket,
    /// `(` without `)`.
    #[error("missing closing )")]
    MissingParen,
    /// A repetition of nothing.
    #[error("missing argument to repetition operator")]
    RepeatArgument,
    /// The pattern ends in a backslash.
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    /// `)` without `(`.
    #[error("unexpected )")]
    UnexpectedParen,
    /// Operators nest deeper than [`MAX_NESTING`].
    #[error("expression nests too deeply")]
    NestsTooDeeply,
    /// The compiled pattern would be larger than [`COMPILED_LIMIT_BYTES`].
    #[error("expression too large")]
    TooLarge,
}

#[cfg(test)]
mod tests;
