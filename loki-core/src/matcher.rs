//! Stream selectors: `name = "value"` and its kin.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Dot, Hir, HirKind};

use crate::labels::write_quoted;
use crate::re2::{Pattern, RegexError, RegexOptions};

/// Selectors match the whole value, newlines included.
const OPTIONS: RegexOptions = RegexOptions { anchored: true, dot_matches_newline: true };

/// A regex that stands for at most this many strings is tested as a set of strings.
const MAX_ALTERNATIVES: usize = 256;

/// How a [`Matcher`] compares.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }

    /// Whether the matcher accepts what its value does not describe.
    pub const fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotRegex)
    }
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One condition on the value of a label; a label that is absent has the empty value.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    test: Test,
}

/// What a value must be like, before an operator's negation.
#[derive(Clone)]
enum Test {
    /// One of these strings, which are sorted.
    OneOf(Vec<String>),
    /// Any string that is not empty.
    NotEmpty,
    /// Any string, `.*`.
    Anything,
    /// `prefix.*`
    StartsWith(String),
    /// `.*suffix`
    EndsWith(String),
    /// `.*part.*`
    Contains(String),
    /// A regex whose matches all begin with a prefix, which may be empty.
    Regex { prefix: String, regex: Regex },
}

impl Matcher {
    /// A condition on the label `name`.
    ///
    /// # Errors
    ///
    /// When `op` is a regex operator and Go would refuse `value` as a regex.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, RegexError> {
        let value = value.into();
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::OneOf(vec![value.clone()]),
            MatchOp::Regex | MatchOp::NotRegex => Test::of_regex(&value)?,
        };
        Ok(Self { name: name.into(), op, value, test })
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the label's value is compared.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The string or regex it is compared with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of the value `value` is selected.
    pub fn matches(&self, value: &str) -> bool {
        self.test.accepts(value) != self.op.is_negative()
    }

    /// Whether streams without the label are selected.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// All values the string or regex describes, sorted, if they are few: `a|b|c` and plain strings.
    ///
    /// A negative matcher selects everything else.
    pub fn alternatives(&self) -> Option<&[String]> {
        match &self.test {
            Test::OneOf(values) => Some(values),
            _ => None,
        }
    }

    /// What every value the regex describes begins with, if there is such a string and no list of
    /// [`alternatives`](Self::alternatives).
    pub fn prefix(&self) -> Option<&str> {
        match &self.test {
            Test::StartsWith(prefix) | Test::Regex { prefix, .. } if !prefix.is_empty() => Some(prefix),
            _ => None,
        }
    }
}

impl Test {
    fn of_regex(pattern: &str) -> Result<Self, RegexError> {
        // Compiled in any case, so that a pattern is refused alike whether or not the regex will be needed.
        let regex = Pattern::parse(pattern, OPTIONS)?.compile()?;
        let unanchored = Pattern::parse(pattern, RegexOptions { anchored: false, ..OPTIONS })?;
        let mut parser = regex_syntax::ParserBuilder::new().nest_limit(u32::MAX).utf8(false).build();
        let Ok(hir) = parser.parse(unanchored.as_str()) else {
            return Ok(Self::Regex { prefix: String::new(), regex });
        };
        Ok(Self::of_shape(&hir).or_else(|| Self::of_language(&hir)).unwrap_or_else(|| {
            let prefix = literal_prefix(&hir);
            Self::Regex { prefix, regex }
        }))
    }

    /// Recognises one literal with `.*` around it.
    fn of_shape(hir: &Hir) -> Option<Self> {
        let parts = match ungrouped(hir).kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(hir),
        };
        match parts {
            [any] if is_any(any, 0) => Some(Self::Anything),
            [some] if is_any(some, 1) => Some(Self::NotEmpty),
            [prefix, any] if is_any(any, 0) => literal(prefix).map(Self::StartsWith),
            [any, suffix] if is_any(any, 0) => literal(suffix).map(Self::EndsWith),
            [any, part, too] if is_any(any, 0) && is_any(too, 0) => literal(part).map(Self::Contains),
            _ => None,
        }
    }

    /// Recognises regexes that stand for a few strings.
    fn of_language(hir: &Hir) -> Option<Self> {
        if !hir.properties().look_set().is_empty() {
            return None;
        }
        let mut extractor = Extractor::new();
        extractor.kind(ExtractKind::Prefix).limit_total(MAX_ALTERNATIVES).limit_literal_len(usize::MAX);
        let strings = extractor.extract(hir);
        if !strings.is_exact() {
            return None;
        }
        let mut values = Vec::new();
        for string in strings.literals()? {
            values.push(std::str::from_utf8(string.as_bytes()).ok()?.to_owned());
        }
        values.sort_unstable();
        values.dedup();
        Some(Self::OneOf(values))
    }

    fn accepts(&self, value: &str) -> bool {
        match self {
            Self::OneOf(values) => match values.as_slice() {
                [only] => only == value,
                values => values.binary_search_by(|candidate| candidate.as_str().cmp(value)).is_ok(),
            },
            Self::NotEmpty => !value.is_empty(),
            Self::Anything => true,
            Self::StartsWith(prefix) => value.starts_with(prefix.as_str()),
            Self::EndsWith(suffix) => value.ends_with(suffix.as_str()),
            Self::Contains(part) => value.contains(part.as_str()),
            Self::Regex { prefix, regex } => value.starts_with(prefix.as_str()) && regex.is_match(value.as_bytes()),
        }
    }
}

/// What is inside any number of capture groups around everything.
fn ungrouped(mut hir: &Hir) -> &Hir {
    while let HirKind::Capture(capture) = hir.kind() {
        hir = &capture.sub;
    }
    hir
}

/// Whether this is at least `at_least` of any characters.
fn is_any(hir: &Hir, at_least: u32) -> bool {
    match ungrouped(hir).kind() {
        HirKind::Repetition(repetition) => {
            let sub = ungrouped(&repetition.sub);
            repetition.min == at_least && repetition.max.is_none() && *sub == Hir::dot(Dot::AnyChar)
        }
        _ => false,
    }
}

fn literal(hir: &Hir) -> Option<String> {
    match ungrouped(hir).kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(str::to_owned),
        _ => None,
    }
}

/// What all matches begin with.
fn literal_prefix(hir: &Hir) -> String {
    // Assertions are empty strings to the extractor, which is right here: they only ever exclude matches.
    let strings = Extractor::new().kind(ExtractKind::Prefix).extract(hir);
    let prefix = strings.longest_common_prefix().unwrap_or_default();
    // The common part of two characters may end within one.
    let valid = prefix.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    valid.to_owned()
}

impl fmt::Display for Matcher {
    /// Writes `name="value"`, quoted as Go does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.op)?;
        write_quoted(f, &self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl Hash for Matcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn regex(pattern: &str) -> Matcher {
        Matcher::new("a", MatchOp::Regex, pattern).unwrap()
    }

    #[test]
    fn set_like_regexes_list_their_values() {
        for (pattern, expected) in [
            ("plain", vec!["plain"]),
            ("b|a|c", vec!["a", "b", "c"]),
            ("(prod|staging)-[12]", vec!["prod-1", "prod-2", "staging-1", "staging-2"]),
            ("a?", vec!["", "a"]),
            ("foo|", vec!["", "foo"]),
            ("(?i)ab", vec!["AB", "Ab", "aB", "ab"]),
            ("", vec![""]),
        ] {
            assert_eq!(regex(pattern).alternatives().unwrap(), expected, "{pattern}");
        }
        for pattern in ["a.*", "a+", r"a\b", "^a$", ".", r"\d+"] {
            assert_eq!(regex(pattern).alternatives(), None, "{pattern}");
        }
    }

    #[test]
    fn prefixes_are_what_every_match_begins_with() {
        for (pattern, prefix) in [
            ("api-.*", Some("api-")),
            ("api-(a|b).+", Some("api-")),
            ("^api.*", Some("api")),
            ("(?i)api.*", None),
            (".*api", None),
            ("é.*|è.*", None),
        ] {
            assert_eq!(regex(pattern).prefix(), prefix, "{pattern}");
        }
    }

    #[test]
    fn operators_and_their_negations() {
        let matches = |op, pattern: &str, value| Matcher::new("a", op, pattern).unwrap().matches(value);
        assert!(matches(MatchOp::Equal, "x.", "x."));
        assert!(!matches(MatchOp::Equal, "x.", "xy"));
        assert!(matches(MatchOp::NotEqual, "x", ""));
        assert!(matches(MatchOp::Regex, "x.", "x\n"));
        assert!(!matches(MatchOp::Regex, "x", "xx"));
        assert!(matches(MatchOp::NotRegex, "x.+", "x"));
        assert!(!matches(MatchOp::NotRegex, ".*", ""));
    }

    #[test]
    fn text_form_is_quoted() {
        let matcher = Matcher::new("app", MatchOp::NotRegex, "a\"b\\d").unwrap();
        assert_eq!(matcher.to_string(), r#"app!~"a\"b\\d""#);
    }

    proptest! {
        #[test]
        fn shortcuts_agree_with_the_regex(
            pattern in r"(\.[*+])?[ab(|)?\[\]\n]{0,6}(\.[*+])?",
            values in proptest::collection::vec("[ab\n]{0,4}", 20),
        ) {
            let Ok(matcher) = Matcher::new("l", MatchOp::Regex, pattern.clone()) else { return Ok(()) };
            let plain = crate::re2::compile(&pattern, OPTIONS).unwrap();
            for value in values {
                prop_assert_eq!(matcher.matches(&value), plain.is_match(value.as_bytes()), "{} {:?}", pattern, value);
                if let Some(prefix) = matcher.prefix() {
                    prop_assert!(value.starts_with(prefix) || !matcher.matches(&value));
                }
            }
        }
    }
}
