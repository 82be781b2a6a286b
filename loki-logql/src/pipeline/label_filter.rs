//! Label filters: tests on the value of a label, and their combinations.

use loki_core::MatchOp;
use loki_core::re2::RegexError;

use super::ip::IpSet;
use super::labels::{ERROR, ERROR_DETAILS, EntryError, LabelSet, Lines, lossy};
use super::names::{NameId, Names};
use super::text_test::TextTest;
use super::units::{UnitError, parse_bytes, parse_duration, parse_float, round_as_printed};
use crate::ast;
use crate::ast::CompareOp;

/// A label filter, compiled.
#[derive(Clone, Debug)]
pub(crate) enum LabelFilter {
    Simple(SimpleFilter),
    /// Both sides are always tested, so that both can set an error.
    And(Box<Self>, Box<Self>),
    /// The right side is tested only when the left one fails.
    Or(Box<Self>, Box<Self>),
}

/// A test on one label.
#[derive(Clone, Debug)]
pub(crate) struct SimpleFilter {
    pub(crate) name: NameId,
    subject: Subject,
    test: ValueTest,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Label,
    /// The error of the entry, even if there is a label of this name.
    Error,
    /// Always seen empty.
    Nothing,
}

#[derive(Clone, Debug)]
enum ValueTest {
    Text {
        test: TextTest,
        negated: bool,
    },
    Number {
        op: CompareOp,
        constant: f64,
    },
    Duration {
        op: CompareOp,
        constant_nanos: i64,
    },
    Bytes {
        op: CompareOp,
        constant_bytes: u64,
    },
    /// Without a set, which an invalid pattern inside a combination leads to, nothing passes.
    Ip {
        set: Option<IpSet>,
        negated: bool,
    },
}

/// The outcome of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// The value does not convert: the entry passes, with an error.
    Unreadable(UnitError),
}

impl From<bool> for Verdict {
    fn from(pass: bool) -> Self {
        if pass { Self::Pass } else { Self::Fail }
    }
}

/// Why a label filter cannot be compiled; `Display` is Loki's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelFilterError {
    #[error(transparent)]
    Regex(#[from] RegexError),
    #[error("ip: invalid pattern: {}", loki_core::labels::quote(.0))]
    IpPattern(String),
}

impl LabelFilter {
    pub(crate) fn compile(filter: &ast::LabelFilter, names: &mut Names) -> Result<Self, LabelFilterError> {
        if let ast::LabelFilter::Ip { pattern, .. } = filter
            && IpSet::parse(pattern).is_none()
        {
            return Err(LabelFilterError::IpPattern(pattern.clone()));
        }
        Self::compile_part(filter, names)
    }

    fn compile_part(filter: &ast::LabelFilter, names: &mut Names) -> Result<Self, LabelFilterError> {
        let (name, test) = match filter {
            ast::LabelFilter::And(left, right) => {
                let (left, right) = (Self::compile_part(left, names)?, Self::compile_part(right, names)?);
                return Ok(Self::And(Box::new(left), Box::new(right)));
            }
            ast::LabelFilter::Or(left, right) => {
                let (left, right) = (Self::compile_part(left, names)?, Self::compile_part(right, names)?);
                return Ok(Self::Or(Box::new(left), Box::new(right)));
            }
            ast::LabelFilter::String(matcher) => {
                let test = match matcher.op() {
                    MatchOp::Equal | MatchOp::NotEqual => TextTest::Equals(matcher.value().as_bytes().into()),
                    MatchOp::Regex | MatchOp::NotRegex => TextTest::of_label_regex(matcher.value())?,
                };
                (matcher.name(), ValueTest::Text { test, negated: matcher.op().is_negative() })
            }
            ast::LabelFilter::Number { name, op, value } => {
                (name.as_str(), ValueTest::Number { op: *op, constant: *value })
            }
            ast::LabelFilter::Duration { name, op, nanos } => {
                (name.as_str(), ValueTest::Duration { op: *op, constant_nanos: *nanos })
            }
            ast::LabelFilter::Bytes { name, op, bytes } => {
                (name.as_str(), ValueTest::Bytes { op: *op, constant_bytes: round_as_printed(*bytes) })
            }
            ast::LabelFilter::Ip { name, negated, pattern } => {
                (name.as_str(), ValueTest::Ip { set: IpSet::parse(pattern), negated: *negated })
            }
        };
        let subject = match name {
            ERROR => Subject::Error,
            ERROR_DETAILS => Subject::Nothing,
            _ => Subject::Label,
        };
        Ok(Self::Simple(SimpleFilter { name: names.intern(name), subject, test }))
    }

    /// Calls `f` with the name of every label that is tested.
    pub(crate) fn for_each_name(&self, f: &mut impl FnMut(NameId)) {
        match self {
            Self::Simple(filter) => f(filter.name),
            Self::And(left, right) | Self::Or(left, right) => {
                left.for_each_name(f);
                right.for_each_name(f);
            }
        }
    }

    /// Whether the entry passes; sets its error where a value does not convert.
    pub(crate) fn accepts(&self, labels: &mut LabelSet, lines: Lines<'_>) -> bool {
        match self {
            Self::Simple(filter) => filter.accepts(labels, lines),
            Self::And(left, right) => {
                let left = left.accepts(labels, lines);
                right.accepts(labels, lines) && left
            }
            Self::Or(left, right) => left.accepts(labels, lines) || right.accepts(labels, lines),
        }
    }
}

impl SimpleFilter {
    /// Whether this looks at a label, so that it can be tried when a parser sets the label.
    pub(crate) fn is_on_label(&self) -> bool {
        self.subject == Subject::Label
    }

    /// The value that alone passes, if there is one.
    pub(crate) fn only_value(&self) -> Option<&[u8]> {
        match &self.test {
            ValueTest::Text { test: TextTest::Equals(value), negated: false } => Some(value),
            _ => None,
        }
    }

    /// What the value must be like, if this is a test of the text of a label.
    pub(crate) fn text_test(&self) -> Option<&TextTest> {
        match &self.test {
            ValueTest::Text { test, negated: false } if self.is_on_label() => Some(test),
            _ => None,
        }
    }

    /// Whether no entry passes that lacks the label or has an empty value in it.
    pub(crate) fn needs_value(&self) -> bool {
        match &self.test {
            ValueTest::Text { test, negated } => self.is_on_label() && test.accepts(b"") == *negated,
            _ => false,
        }
    }

    fn accepts(&self, labels: &mut LabelSet, lines: Lines<'_>) -> bool {
        let value = match self.subject {
            Subject::Label => labels.value(lines, self.name),
            Subject::Error => Some(labels.error_text().as_bytes()),
            Subject::Nothing => Some(&b""[..]),
        };
        match self.test(value, labels.error().is_some()) {
            Verdict::Pass => true,
            Verdict::Fail => false,
            Verdict::Unreadable(error) => {
                if labels.error().is_none() {
                    let value = lossy(value.unwrap_or_default()).into_owned();
                    labels.set_error(EntryError::LabelFilter, |details| error.describe(&value, details));
                }
                true
            }
        }
    }

    /// Tests the value of the label; none when the entry has no such label.
    pub(crate) fn test(&self, value: Option<&[u8]>, has_error: bool) -> Verdict {
        if let ValueTest::Text { test, negated } = &self.test {
            return (test.accepts(value.unwrap_or_default()) != *negated).into();
        }
        let Some(value) = value else {
            return (has_error && matches!(self.test, ValueTest::Ip { .. })).into();
        };
        let outcome = match &self.test {
            ValueTest::Text { .. } => Ok(true),
            ValueTest::Number { op, constant } => parse_float(value).map(|number| compare(*op, number, *constant)),
            ValueTest::Duration { op, constant_nanos } => {
                parse_duration(value).map(|nanos| compare(*op, nanos, *constant_nanos))
            }
            ValueTest::Bytes { op, constant_bytes } => {
                parse_bytes(value).map(|bytes| compare(*op, bytes, *constant_bytes))
            }
            ValueTest::Ip { .. } if has_error => return Verdict::Pass,
            ValueTest::Ip { set, negated } => Ok(set.is_some_and(|set| set.is_in(value) != *negated)),
        };
        outcome.map_or_else(Verdict::Unreadable, Verdict::from)
    }
}

fn compare<T: PartialOrd + Copy>(op: CompareOp, value: T, constant: T) -> bool {
    match op {
        CompareOp::Equal => value == constant,
        CompareOp::NotEqual => value != constant,
        CompareOp::Greater => value > constant,
        CompareOp::GreaterEqual => value >= constant,
        CompareOp::Less => value < constant,
        CompareOp::LessEqual => value <= constant,
    }
}
