//! Tests on text: literals, regexes, and regexes that are really literals.
//!
//! Label and line filters do not run every regex as a regex. One that boils down to literals becomes a few substring
//! or equality tests, which is faster, and which in label filters is also *visible*: `a=~"foo.*"` keeps `xfoo`. See
//! [`shape`] for what counts.

use loki_core::re2::{Pattern, RegexError, RegexOptions};
use memchr::memmem::Finder;
use regex::bytes::Regex;
use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use shape::Shape;

pub(crate) mod shape;

/// What a text must be like.
#[derive(Clone, Debug)]
pub(crate) enum TextTest {
    /// Anything passes.
    Always,
    /// Anything but the empty text.
    NotEmpty,
    /// Exactly this.
    Equals(Box<[u8]>),
    /// This in any case.
    EqualsFold(Box<str>),
    /// This somewhere.
    Contains(Box<Finder<'static>>),
    /// Matches a regex, or contains a literal in any case, which is searched as a regex too.
    Regex(Regex),
    /// One of these.
    Any(Box<[Self]>),
}

impl TextTest {
    /// The text contains `literal`.
    pub(crate) fn contains(literal: &[u8]) -> Self {
        if literal.is_empty() { Self::Always } else { Self::Contains(Box::new(Finder::new(literal).into_owned())) }
    }

    /// The test of `=~` in a label filter. Literals must match as a whole, unless `.*` stands beside them.
    pub(crate) fn of_label_regex(pattern: &str) -> Result<Self, RegexError> {
        let options = RegexOptions { anchored: true, dot_matches_newline: false };
        Self::of_regex(pattern, options)
    }

    /// The test of `|~`.
    pub(crate) fn of_line_regex(pattern: &str) -> Result<Self, RegexError> {
        Self::of_regex(pattern, RegexOptions::default())
    }

    fn of_regex(pattern: &str, options: RegexOptions) -> Result<Self, RegexError> {
        let regex = Pattern::parse(pattern, options)?;
        let unanchored = Pattern::parse(pattern, RegexOptions { anchored: false, ..options })?;
        match shape::of_pattern(&unanchored) {
            Some(shape) => Ok(Self::of_shape(shape, options.anchored)),
            None => Ok(Self::Regex(regex.compile()?)),
        }
    }

    fn of_shape(shape: Shape, anchored: bool) -> Self {
        match shape {
            Shape::Always => Self::Always,
            Shape::NotEmpty => Self::NotEmpty,
            Shape::Literal { text, fold: false } if anchored => Self::Equals(text.into_bytes().into()),
            Shape::Literal { text, fold: true } if anchored => Self::EqualsFold(text.into()),
            Shape::Literal { text, fold } | Shape::Substring { text, fold } => {
                if fold {
                    Self::Regex(fold_regex(&text))
                } else {
                    Self::contains(text.as_bytes())
                }
            }
            Shape::Any(shapes) => Self::any(shapes.into_iter().map(|shape| Self::of_shape(shape, anchored)).collect()),
        }
    }

    /// One of `tests`. A test that always passes is dropped when there is another one, as Loki does.
    pub(crate) fn any(mut tests: Vec<Self>) -> Self {
        if tests.iter().any(|test| !matches!(test, Self::Always)) {
            tests.retain(|test| !matches!(test, Self::Always));
        } else {
            tests.truncate(1);
        }
        match tests.len() {
            0 => Self::Always,
            1 => tests.swap_remove(0),
            _ => Self::Any(tests.into()),
        }
    }

    /// Whether `text` passes.
    pub(crate) fn accepts(&self, text: &[u8]) -> bool {
        match self {
            Self::Always => true,
            Self::NotEmpty => !text.is_empty(),
            // Lengths first: comparing no bytes at all at the address of an empty slice, which is not mapped, is
            // a hundred times slower than comparing some on processors with masked loads.
            Self::Equals(wanted) => wanted.len() == text.len() && (text.is_empty() || **wanted == *text),
            Self::EqualsFold(wanted) => equals_fold(wanted, text),
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::Regex(regex) => regex.is_match(text),
            Self::Any(tests) => tests.iter().any(|test| test.accepts(text)),
        }
    }
}

/// Whether `text` equals `wanted` when letters match in either case.
fn equals_fold(wanted: &str, text: &[u8]) -> bool {
    if wanted.is_ascii() && text.is_ascii() {
        return wanted.as_bytes().eq_ignore_ascii_case(text);
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut wanted = wanted.chars();
    text.chars().all(|c| wanted.next().is_some_and(|w| fold(w) == fold(c))) && wanted.next().is_none()
}

/// The representative of all characters that differ from `c` only in case: the lower case of the first of them.
pub(super) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    lower(case_variants(c).first().copied().unwrap_or(c))
}

/// Go's `unicode.ToLower`, which never makes several characters of one: of `İ` it makes a plain `i`.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// All characters that differ from `c` only in case, and `c` itself, ascending.
pub(super) fn case_variants(c: char) -> Vec<char> {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
    class.case_fold_simple();
    class.ranges().iter().flat_map(|range| range.start()..=range.end()).collect()
}

/// A search for a folded literal in any case, as far as Loki's own search finds it.
///
/// Loki compares characters after mapping those of the text to lower case, and skips to places that begin with the
/// literal's first byte (either case for ASCII). So `(?i)σ` does not find `Σ`, whose first byte differs, and `(?i)s`
/// does not find `ſ`, whose lower case is itself.
fn fold_regex(folded: &str) -> Regex {
    let first_byte = folded.as_bytes().first().copied();
    let mut pattern = String::new();
    for (i, wanted) in folded.chars().enumerate() {
        let same = |&c: &char| c == wanted || lower(c) == wanted;
        let begins =
            |&c: &char| i > 0 || wanted.is_ascii() == c.is_ascii() && (c.is_ascii() || first_byte_of(c) == first_byte);
        let variants: Vec<char> = case_variants(wanted).into_iter().filter(same).filter(begins).collect();
        match variants.as_slice() {
            [] => push_escaped(&mut pattern, wanted),
            [only] => push_escaped(&mut pattern, *only),
            many => {
                pattern.push('[');
                for &c in many {
                    push_escaped(&mut pattern, c);
                }
                pattern.push(']');
            }
        }
    }
    Regex::new(&pattern).expect("an escaped literal with its cases is a small valid regex")
}

fn first_byte_of(c: char) -> Option<u8> {
    c.encode_utf8(&mut [0; 4]).bytes().next()
}

fn push_escaped(pattern: &mut String, c: char) {
    pattern.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(pattern: &str, value: &str) -> bool {
        TextTest::of_label_regex(pattern).expect("a valid regex").accepts(value.as_bytes())
    }

    fn line(pattern: &str, text: &str) -> bool {
        TextTest::of_line_regex(pattern).expect("a valid regex").accepts(text.as_bytes())
    }

    #[test]
    fn a_lone_literal_is_equality_in_label_filters() {
        for pattern in ["foo", "(foo)", "fo{2}", "[f]oo"] {
            assert!(label(pattern, "foo"), "{pattern}");
            assert!(!label(pattern, "xfoo"), "{pattern}");
        }
        assert!(label("(?i)foo", "FoO"));
        assert!(label("(?i)straße", "STRAßE"));
        assert!(!label("(?i)foo", "fooo"));
    }

    #[test]
    fn a_literal_beside_dot_star_is_a_substring_test() {
        for pattern in ["foo.*", ".*foo", ".*foo.*", "foo()"] {
            assert!(label(pattern, "xfoox"), "{pattern}");
            assert!(!label(pattern, "fo"), "{pattern}");
        }
        assert!(label("(?i)foo.*", "xFOO"));
    }

    #[test]
    fn common_prefixes_turn_alternatives_into_substring_tests() {
        assert!(label("err|error", "stderr"));
        assert!(label("foo|foobar", "xfoo"));
        assert!(label("ab|abc", "xabd"));
        assert!(label("fo(o.*|x)", "xfoo"));
        // One-character alternatives become a class, and a class makes it a regex.
        assert!(!label("abc|abd", "xabc"));
        assert!(!label("abc?", "xab"));
    }

    #[test]
    fn alternatives_without_common_prefix_keep_their_own_rules() {
        assert!(label("foo|bar", "bar"));
        assert!(!label("foo|bar", "xbar"));
        assert!(label("foo|ba.*", "xba"));
        assert!(!label("foo|ba.*", "xfoo"));
    }

    #[test]
    fn an_empty_alternative_is_lost_beside_another() {
        assert!(label("", "anything"));
        assert!(label(".*", ""));
        assert!(!label("foo|", ""));
        assert!(!label("foo|.*", "x"));
        assert!(!line("foo|", "bar"));
        assert!(line("foo|", "a foo"));
    }

    #[test]
    fn of_factored_prefix_tests_only_the_last_survives() {
        assert!(!label("ab.*|ac.*", "abx"));
        assert!(label("ab.*|ac.*", "acx"));
        assert!(!line("ab.*|ac.*", "abx"));
    }

    #[test]
    fn dot_plus_alone_wants_any_text() {
        assert!(label(".+", "x"));
        assert!(!label(".+", ""));
        assert!(line(".+", "\n"));
    }

    #[test]
    fn everything_else_is_an_anchored_regex_in_label_filters() {
        assert!(!label("f[aeiou]o", "xfoo"));
        assert!(label("a.*b", "a--b"));
        assert!(!label("a.*b", "xa--b"));
        assert!(!label("a.b", "a\nb"));
        assert!(label("(?s)a.b", "a\nb"));
    }

    #[test]
    fn case_insensitive_literals_match_as_loki_matches_them() {
        assert!(line("(?i)àéî", "ÀÉÎ"));
        assert!(line("(?i)ſ", "S"));
        assert!(!line("(?i)σ", "ς Σ"));
        assert!(!line("(?i)s", "ſ"));
        assert!(line("(?i)LEVEL=ERROR", "x level=error"));
    }
}
