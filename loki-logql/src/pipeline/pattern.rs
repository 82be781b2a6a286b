//! Patterns such as `<ip> - <_> [<time>]`: the `pattern` parser and the line filters `|>` and `!>`.

use std::ops::ControlFlow;

use memchr::memmem::Finder;

use super::names::{NameId, Names};
use super::sink::{Sink, Stop};

/// Why a pattern is refused; `Display` is Loki's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL")]
    Empty,
    #[error("at least one capture is required")]
    NoCapture,
    #[error("found consecutive capture '{0}': invalid expression")]
    Consecutive(String),
    #[error("duplicate capture name ({0}): invalid expression")]
    Duplicate(String),
    #[error("named captures are not allowed: found '<{0}>'")]
    Named(String),
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece<'p> {
    Literal(&'p [u8]),
    /// A capture; the name `_` means that nobody wants it.
    Capture(&'p str),
}

/// Splits a pattern. What is not exactly `<name>` is literal text.
fn pieces(pattern: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = 0;
    let mut at = 0;
    while let Some(open) = memchr::memchr(b'<', &pattern[at..]) {
        let open = at + open;
        at = open + 1;
        let Some(name) = capture_name(&pattern[at..]) else { continue };
        if literal < open {
            pieces.push(Piece::Literal(&pattern[literal..open]));
        }
        pieces.push(Piece::Capture(name));
        at += name.len() + 1;
        literal = at;
    }
    if literal < pattern.len() {
        pieces.push(Piece::Literal(&pattern[literal..]));
    }
    pieces
}

/// The name in front of `>`: a letter or `_`, then letters, digits and `_`.
fn capture_name(text: &[u8]) -> Option<&str> {
    let len = text.iter().position(|b| *b != b'_' && !b.is_ascii_alphanumeric())?;
    let name = &text[..len];
    let valid = text[len] == b'>' && name.first().is_some_and(|b| !b.is_ascii_digit());
    if valid { std::str::from_utf8(name).ok() } else { None }
}

fn check_consecutive(pieces: &[Piece<'_>]) -> Result<(), PatternError> {
    for pair in pieces.windows(2) {
        if let [Piece::Capture(a), Piece::Capture(b)] = pair {
            return Err(PatternError::Consecutive(format!("<{a}><{b}>")));
        }
    }
    Ok(())
}

/// Checks a pattern of the `pattern` parser.
fn validate(pattern: &str) -> Result<(), PatternError> {
    let pieces = pieces(pattern.as_bytes());
    if pieces.is_empty() {
        return Err(PatternError::Empty);
    }
    let names: Vec<&str> = pieces.iter().filter_map(named).collect();
    if names.is_empty() {
        return Err(PatternError::NoCapture);
    }
    check_consecutive(&pieces)?;
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(PatternError::Duplicate((*name).to_owned()));
        }
    }
    Ok(())
}

fn named<'p>(piece: &Piece<'p>) -> Option<&'p str> {
    match piece {
        Piece::Capture(name) if *name != "_" => Some(*name),
        _ => None,
    }
}

/// The `pattern` parser.
#[derive(Clone, Debug)]
pub(crate) struct PatternParser {
    /// What the line must begin with.
    prefix: Box<[u8]>,
    /// Captures with the literals behind them; the last literal may be missing.
    captures: Vec<(Option<NameId>, Option<Finder<'static>>)>,
}

impl PatternParser {
    pub(crate) fn new(pattern: &str, names: &mut Names) -> Result<Self, PatternError> {
        validate(pattern)?;
        let mut prefix: Box<[u8]> = Box::default();
        let mut captures: Vec<(Option<NameId>, Option<Finder<'static>>)> = Vec::new();
        for piece in pieces(pattern.as_bytes()) {
            match piece {
                Piece::Literal(text) => match captures.last_mut() {
                    Some((_, behind)) => *behind = Some(Finder::new(text).into_owned()),
                    None => prefix = text.into(),
                },
                Piece::Capture("_") => captures.push((None, None)),
                Piece::Capture(name) => captures.push((Some(names.intern(name)), None)),
            }
        }
        Ok(Self { prefix, captures })
    }

    /// Sets a label for each capture. A literal that is not found ends it: the capture before takes the rest.
    pub(crate) fn parse(&self, sink: &mut Sink<'_, '_>) -> ControlFlow<Stop> {
        let line = sink.source.line;
        if line.is_empty() || !line.starts_with(&self.prefix) {
            return ControlFlow::Continue(());
        }
        let mut start = self.prefix.len();
        for (name, behind) in &self.captures {
            let found = behind.as_ref().and_then(|literal| literal.find(&line[start..]));
            let end = found.map_or(line.len(), |at| start + at);
            if let Some(name) = *name
                && let Some(slot) = sink.slot(name)
            {
                sink.fill_bytes(slot, start, end)?;
            }
            let (Some(_), Some(literal)) = (found, behind) else { break };
            start = end + literal.needle().len();
        }
        ControlFlow::Continue(())
    }
}

/// A pattern as a line filter.
#[derive(Clone, Debug)]
pub(crate) struct PatternTest {
    literals: Vec<Finder<'static>>,
    starts_with_capture: bool,
    ends_with_capture: bool,
}

impl PatternTest {
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        let pieces = pieces(pattern);
        if let Some(name) = pieces.iter().find_map(named) {
            return Err(PatternError::Named(name.to_owned()));
        }
        check_consecutive(&pieces)?;
        let literals = pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(Finder::new(text).into_owned()),
            Piece::Capture(_) => None,
        });
        Ok(Self {
            literals: literals.collect(),
            starts_with_capture: matches!(pieces.first(), Some(Piece::Capture(_))),
            ends_with_capture: matches!(pieces.last(), Some(Piece::Capture(_))),
        })
    }

    /// The literals that a matching line contains.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.literals.iter().map(Finder::needle)
    }

    /// Whether `line` matches.
    ///
    /// Each literal is searched once, at its first occurrence behind the one before, and every capture must cover a
    /// byte. The first literal may stand anywhere; the last one must end the line unless a capture follows.
    pub(crate) fn accepts(&self, line: &[u8]) -> bool {
        if line.is_empty() || self.literals.is_empty() {
            return line.is_empty() != (self.starts_with_capture || !self.literals.is_empty());
        }
        let mut rest = line;
        for (i, literal) in self.literals.iter().enumerate() {
            let captured = i > 0 || self.starts_with_capture;
            match literal.find(rest) {
                Some(0) if captured => return false,
                Some(at) => rest = &rest[at + literal.needle().len()..],
                None => return false,
            }
        }
        rest.is_empty() != self.ends_with_capture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pattern: &str) -> String {
        validate(pattern).expect_err("an invalid pattern").to_string()
    }

    fn matches(pattern: &str, line: &str) -> bool {
        PatternTest::new(pattern.as_bytes()).expect("a valid pattern").accepts(line.as_bytes())
    }

    #[test]
    fn only_proper_names_in_angle_brackets_are_captures() {
        for pattern in ["literal", "<1a>", "<a-b> x", "<a.b> x", "< a > x", "<a", "<_>", "<_> x", "<é>"] {
            assert_eq!(error(pattern), "at least one capture is required", "{pattern}");
        }
        assert_eq!(validate("<<a>>"), Ok(()));
        assert_eq!(validate("<A_b9> -"), Ok(()));
    }

    #[test]
    fn refusals_read_as_loki_words_them() {
        assert!(error("").ends_with("unexpected $end, expecting IDENTIFIER or LITERAL"));
        assert_eq!(error("<a><b>"), "found consecutive capture '<a><b>': invalid expression");
        assert_eq!(error("<a>x<_><_>"), "found consecutive capture '<_><_>': invalid expression");
        assert_eq!(error("<a> <a>"), "duplicate capture name (a): invalid expression");
        let named = PatternTest::new(b"<level>=<_>").expect_err("a named capture");
        assert_eq!(named.to_string(), "named captures are not allowed: found '<level>'");
    }

    #[test]
    fn the_first_literal_of_a_filter_may_stand_anywhere() {
        assert!(matches("foo <_>", "xx foo bar"));
        assert!(matches("level=<_>", "ts=1 level=info x"));
    }

    #[test]
    fn a_final_literal_must_end_the_line_at_its_first_occurrence() {
        assert!(matches("<_>retry=true", "x retry=true"));
        assert!(!matches("<_> a", "x a b a"));
        assert!(matches("Warning: Disk", "Warning: Disk"));
        assert!(!matches("no captures", "no captures here"));
    }

    #[test]
    fn captures_of_a_filter_cover_at_least_a_byte() {
        assert!(!matches("<_>retry=true<_>", "x retry=true"));
        assert!(!matches("<_>x<_>", "xy"));
        assert!(!matches("a<_>b", "ab"));
        assert!(matches("<_>", "x"));
    }

    #[test]
    fn the_empty_pattern_matches_the_empty_line_only() {
        assert!(matches("", ""));
        assert!(!matches("", "x"));
        assert!(!matches("<_>", ""));
        assert!(!matches("a", ""));
    }
}
