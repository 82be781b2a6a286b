//! Regular expressions of Go, as patterns and as matchers.

use loki_core::re2::{self, RegexOptions};
use loki_core::{MatchOp, Matcher};

use crate::input::{Input, text};

/// Longer patterns find nothing more, and compile for longer.
const MAX_PATTERN_BYTES: usize = 256;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    let options = RegexOptions { anchored: flags & 1 != 0, dot_matches_newline: flags & 2 != 0 };
    let haystack = input.short();
    let pattern = text(input.bytes(MAX_PATTERN_BYTES));
    match re2::Pattern::parse(pattern, options) {
        Ok(parsed) => {
            if let Ok(regex) = parsed.compile() {
                // What was rewritten has the groups that were counted.
                assert_eq!(regex.captures_len(), parsed.capture_names().len());
                if let Some(found) = regex.find(haystack) {
                    assert!(!options.anchored || found.len() == haystack.len());
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let value = text(haystack);
    for (op, negated) in [(MatchOp::Regex, MatchOp::NotRegex), (MatchOp::Equal, MatchOp::NotEqual)] {
        let (Ok(matcher), Ok(negated)) = (Matcher::new("a", op, pattern), Matcher::new("a", negated, pattern)) else {
            continue;
        };
        assert_ne!(matcher.matches(value), negated.matches(value));
        assert_eq!(matcher.matches_empty(), matcher.matches(""));
        if let Some(alternatives) = matcher.alternatives() {
            assert_eq!(matcher.matches(value), alternatives.iter().any(|alternative| alternative == value));
        }
        if let Some(prefix) = matcher.prefix() {
            assert!(!matcher.matches(value) || value.starts_with(prefix));
        }
    }
}
