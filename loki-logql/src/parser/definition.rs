//! Texts with a grammar of their own that must hold before a query runs: the definitions of `regexp` and `pattern`
//! stages and the regex of `label_replace`.

use std::collections::HashSet;

use loki_core::{
    RegexError, RegexOptions,
    re2::{self, Pattern},
};

/// Why the definition of a `regexp` stage is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegexpError {
    /// Not a regular expression.
    #[error(transparent)]
    Regex(RegexError),
    /// Nothing to extract.
    #[error("at least one named capture must be supplied")]
    NoCapture,
    /// Two captures of one name.
    #[error("duplicate extracted label name '{0}'")]
    Duplicate(String),
}

/// Why the definition of a `pattern` stage is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The empty text. The wording is that of a parser for patterns.
    #[error("parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL")]
    Empty,
    /// Nothing to extract.
    #[error("at least one capture is required")]
    NoCapture,
    /// Two captures without text between them.
    #[error("found consecutive capture '<{0}><{1}>': invalid expression")]
    Consecutive(String, String),
    /// Two captures of one name.
    #[error("duplicate capture name ({0}): invalid expression")]
    Duplicate(String),
}

/// A piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternPart<'a> {
    /// Text that must occur.
    Literal(&'a str),
    /// `<name>`; the name `_` captures nothing.
    Capture(&'a str),
}

/// Splits a pattern into literals and captures. What looks like a capture but has no proper name is a literal.
pub(super) fn pattern_parts(pattern: &str) -> Vec<PatternPart<'_>> {
    let mut parts = Vec::new();
    let mut literal_from = 0;
    let mut at = 0;
    while let Some(length) = memchr::memchr(b'<', &pattern.as_bytes()[at..]) {
        let open = at + length;
        at = open + 1;
        let name_bytes = capture_name_length(&pattern[at..]);
        let close = at + name_bytes;
        if name_bytes == 0 || !pattern[close..].starts_with('>') {
            continue;
        }
        if literal_from < open {
            parts.push(PatternPart::Literal(&pattern[literal_from..open]));
        }
        parts.push(PatternPart::Capture(&pattern[at..close]));
        at = close + 1;
        literal_from = at;
    }
    if literal_from < pattern.len() {
        parts.push(PatternPart::Literal(&pattern[literal_from..]));
    }
    parts
}

fn capture_name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len())
}

pub(super) fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    let parts = pattern_parts(pattern);
    if parts.is_empty() {
        return Err(PatternError::Empty);
    }
    let is_named = |part: &PatternPart<'_>| matches!(part, PatternPart::Capture(name) if *name != "_");
    if !parts.iter().any(is_named) {
        return Err(PatternError::NoCapture);
    }
    for pair in parts.windows(2) {
        if let [PatternPart::Capture(first), PatternPart::Capture(second)] = pair {
            return Err(PatternError::Consecutive((*first).to_owned(), (*second).to_owned()));
        }
    }
    let mut names = HashSet::new();
    for part in &parts {
        if let PatternPart::Capture(name) = *part
            && name != "_"
            && !names.insert(name)
        {
            return Err(PatternError::Duplicate(name.to_owned()));
        }
    }
    Ok(())
}

pub(super) fn check_regexp(regex: &str) -> Result<(), RegexpError> {
    let pattern = Pattern::parse(regex, RegexOptions::default()).map_err(RegexpError::Regex)?;
    re2::compile(regex, RegexOptions::default()).map_err(RegexpError::Regex)?;
    let mut names = HashSet::new();
    for name in pattern.capture_names().iter().flatten() {
        if !names.insert(name) {
            return Err(RegexpError::Duplicate(name.clone()));
        }
    }
    if names.is_empty() { Err(RegexpError::NoCapture) } else { Ok(()) }
}

pub(super) fn check_replacement_regex(regex: &str) -> Result<(), RegexError> {
    re2::compile(&format!("^(?:{regex})$"), RegexOptions::default()).map(drop)
}
