//! Line filters: `|=`, `|~`, `|>` and their negations.
//!
//! [`LineFilters`] is a run of filters that all must pass. Besides testing one line it finds the passing rows of a
//! whole [`Text`](loki_core::Text) at once (see [`select`]) and tells which literals a passing line must contain (see
//! [`literals`]), so that most of what does not match is never looked at line by line.

use loki_core::re2::RegexError;
use memchr::memmem::Finder;

use super::ip::IpSet;
use super::pattern::{PatternError, PatternTest};
use super::text_test::TextTest;
use crate::ast::{self, LineFilterArgument, LineFilterOp};
use crate::querier::Literal;
use select::Search;

mod literals;
mod select;

/// Line filters of which all must pass.
#[derive(Clone, Debug, Default)]
pub struct LineFilters {
    filters: Vec<LineFilter>,
    search: Search,
}

#[derive(Clone, Debug)]
struct LineFilter {
    test: LineTest,
    negated: bool,
    /// What every line that passes the test contains, where looking for it first is worth it.
    required: Box<[Finder<'static>]>,
}

#[derive(Clone, Debug)]
enum LineTest {
    Text(TextTest),
    Pattern(PatternTest),
    Ip(IpSet),
    Any(Vec<Self>),
}

/// Why a line filter cannot be compiled; `Display` is Loki's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFilterError {
    #[error(transparent)]
    Regex(#[from] RegexError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("ip: invalid pattern: {}", loki_core::labels::quote(.0))]
    IpPattern(String),
    #[error("ip: invalid operation")]
    IpOperation,
}

impl LineFilters {
    pub(crate) fn compile<'f>(filters: impl IntoIterator<Item = &'f ast::LineFilter>) -> Result<Self, LineFilterError> {
        let filters: Vec<_> = filters.into_iter().map(LineFilter::compile).collect::<Result<_, _>>()?;
        let filters: Vec<_> = filters.into_iter().filter(|filter| !filter.always_passes()).collect();
        Ok(Self { search: Search::plan(&filters), filters })
    }

    /// Adds the filters of `more`.
    pub(crate) fn join(&mut self, more: Self) {
        self.filters.extend(more.filters);
        self.search = Search::plan(&self.filters);
    }

    /// Whether every line passes.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether a line passes.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.filters.iter().all(|filter| filter.accepts(line))
    }

    /// Literals that passing lines contain: at least one of each inner list. Empty when nothing is known.
    pub fn needles(&self) -> Vec<Vec<Literal>> {
        self.filters.iter().filter(|filter| !filter.negated).flat_map(|filter| filter.test.needles()).collect()
    }
}

impl LineFilter {
    fn compile(filter: &ast::LineFilter) -> Result<Self, LineFilterError> {
        let (op, negated) = match filter.op {
            LineFilterOp::Contains => (LineFilterOp::Contains, false),
            LineFilterOp::NotContains => (LineFilterOp::Contains, true),
            LineFilterOp::Matches => (LineFilterOp::Matches, false),
            LineFilterOp::NotMatches => (LineFilterOp::Matches, true),
            LineFilterOp::Pattern => (LineFilterOp::Pattern, false),
            LineFilterOp::NotPattern => (LineFilterOp::Pattern, true),
        };
        let test = match filter.alternatives.as_slice() {
            [only] => LineTest::compile(op, only)?,
            many => LineTest::any(many.iter().enumerate().filter_map(|(i, alternative)| {
                let inner = i > 0 && i + 1 < many.len();
                LineTest::compile_alternative(op, alternative, inner)
            }))?,
        };
        Ok(Self { required: test.required(), test, negated })
    }

    fn accepts(&self, line: &[u8]) -> bool {
        (self.required.iter().all(|literal| literal.find(line).is_some()) && self.test.accepts(line)) != self.negated
    }

    fn always_passes(&self) -> bool {
        matches!(self.test, LineTest::Text(TextTest::Always)) && !self.negated
    }
}

impl LineTest {
    fn compile(op: LineFilterOp, argument: &LineFilterArgument) -> Result<Self, LineFilterError> {
        match argument {
            LineFilterArgument::Text(text) => Self::of_text(op, text),
            LineFilterArgument::Ip(pattern) if op == LineFilterOp::Contains => {
                let set = IpSet::parse(pattern).ok_or_else(|| LineFilterError::IpPattern(pattern.clone()))?;
                Ok(Self::Ip(set))
            }
            LineFilterArgument::Ip(_) => Err(LineFilterError::IpOperation),
        }
    }

    /// One of several alternatives. There `ip("…")` is plain text, and between two others it is lost.
    fn compile_alternative(
        op: LineFilterOp,
        argument: &LineFilterArgument,
        inner: bool,
    ) -> Option<Result<Self, LineFilterError>> {
        match argument {
            LineFilterArgument::Text(text) => Some(Self::of_text(op, text)),
            LineFilterArgument::Ip(_) if inner => None,
            LineFilterArgument::Ip(pattern) => Some(Self::of_text(op, pattern.as_bytes())),
        }
    }

    fn of_text(op: LineFilterOp, text: &[u8]) -> Result<Self, LineFilterError> {
        Ok(match op {
            LineFilterOp::Contains | LineFilterOp::NotContains => Self::Text(TextTest::contains(text)),
            LineFilterOp::Matches | LineFilterOp::NotMatches => {
                Self::Text(TextTest::of_line_regex(&String::from_utf8_lossy(text))?)
            }
            LineFilterOp::Pattern | LineFilterOp::NotPattern => Self::Pattern(PatternTest::new(text)?),
        })
    }

    fn any(alternatives: impl Iterator<Item = Result<Self, LineFilterError>>) -> Result<Self, LineFilterError> {
        let mut texts = Vec::new();
        let mut others = Vec::new();
        for alternative in alternatives {
            match alternative? {
                Self::Text(test) => texts.push(test),
                other => others.push(other),
            }
        }
        if others.is_empty() {
            return Ok(Self::Text(TextTest::any(texts)));
        }
        if !texts.is_empty() {
            others.push(Self::Text(TextTest::any(texts)));
        }
        Ok(if others.len() == 1 { others.swap_remove(0) } else { Self::Any(others) })
    }

    fn accepts(&self, line: &[u8]) -> bool {
        match self {
            Self::Text(test) => test.accepts(line),
            Self::Pattern(test) => test.accepts(line),
            Self::Ip(set) => set.is_in(line),
            Self::Any(tests) => tests.iter().any(|test| test.accepts(line)),
        }
    }

    /// Literals to look for before a regex runs. A regex that has only one looks for it itself.
    fn required(&self) -> Box<[Finder<'static>]> {
        let Self::Text(TextTest::Regex(_)) = self else { return Box::default() };
        let needles = self.needles();
        let single = needles.iter().filter_map(|any| match any.as_slice() {
            [Literal { bytes, case_insensitive: false }] if bytes.len() > 1 => Some(Finder::new(bytes).into_owned()),
            _ => None,
        });
        if needles.len() > 1 { single.collect() } else { Box::default() }
    }

    fn needles(&self) -> Vec<Vec<Literal>> {
        match self {
            Self::Text(test) => literals::of_text_test(test),
            Self::Pattern(test) => test.literals().map(|text| vec![literals::exact(text)]).collect(),
            Self::Ip(_) => Vec::new(),
            Self::Any(tests) => literals::of_any(tests.iter().map(Self::needles)),
        }
    }
}

#[cfg(test)]
mod tests;
