//! Queries that an operator has blocked.

use loki_core::re2::{Pattern, RegexOptions};
use loki_logql::ast::Expr;
use loki_store::BlockedQuery;

/// The classes of queries that a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryClass {
    /// Answers with samples.
    Metric,
    /// Reads entries through a pipeline.
    Filter,
    /// Reads entries as they are, up to a limit.
    Limited,
}

impl QueryClass {
    /// The class of a query.
    pub(crate) fn of(expr: &Expr) -> Self {
        match expr {
            Expr::Metric(_) | Expr::Variants(_) => Self::Metric,
            Expr::Log(log) if log.stages.is_empty() => Self::Limited,
            Expr::Log(_) => Self::Filter,
        }
    }

    /// How rules, logs and metrics call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Filter => "filter",
            Self::Limited => "limited",
        }
    }
}

/// Whether a rule blocks a query of a class that was sent with `tags`.
pub(super) fn blocks(rule: &BlockedQuery, query: &str, class: QueryClass, tags: &str) -> bool {
    let of_class = rule.types.is_empty() || rule.types.iter().any(|name| name == class.name());
    of_class && has_tags(&rule.query_tags, tags) && names(rule, query)
}

fn has_tags(wanted: &[(String, String)], tags: &str) -> bool {
    let has = |name: &str, value: &str| {
        let mut pairs = tags.split(',').filter_map(|tag| tag.trim().split_once('='));
        pairs.any(|(key, of)| key.eq_ignore_ascii_case(name) && of.eq_ignore_ascii_case(value))
    };
    wanted.iter().all(|(name, value)| has(name, value))
}

fn names(rule: &BlockedQuery, query: &str) -> bool {
    if rule.hash > 0 {
        return rule.hash == fnv1_32(query);
    }
    match (rule.pattern.trim(), rule.regex) {
        ("" | ".*", _) => true,
        (pattern, false) => pattern == query.trim(),
        (pattern, true) => is_match(pattern, query),
    }
}

/// A rule whose regex is wrong blocks nothing.
fn is_match(pattern: &str, query: &str) -> bool {
    let compiled = Pattern::parse(pattern, RegexOptions::default()).and_then(|pattern| pattern.compile());
    compiled.is_ok_and(|regex| regex.is_match(query.as_bytes()))
}

/// The hash by which rules name queries.
pub(super) fn fnv1_32(text: &str) -> u32 {
    const OFFSET: u32 = 2_166_136_261;
    const PRIME: u32 = 16_777_619;
    text.bytes().fold(OFFSET, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(rule: &BlockedQuery, query: &str, tags: &str) -> bool {
        blocks(rule, query, QueryClass::of(&loki_logql::parse(query).expect("valid")), tags)
    }

    #[test]
    fn patterns_are_whole_queries_or_regexes() {
        let exact = BlockedQuery { pattern: r#"{a="b"}"#.to_owned(), ..BlockedQuery::default() };
        assert!(blocked(&exact, r#"{a="b"}"#, ""));
        assert!(!blocked(&exact, r#"{a="b"} | json"#, ""));
        let regex = BlockedQuery { pattern: ".*json.*".to_owned(), regex: true, ..BlockedQuery::default() };
        assert!(blocked(&regex, r#"{a="b"} | json"#, ""));
        assert!(!blocked(&regex, r#"{a="b"}"#, ""));
    }

    #[test]
    fn types_and_tags_narrow_a_rule() {
        let rule = BlockedQuery {
            types: vec!["filter".to_owned()],
            query_tags: vec![("source".to_owned(), "grafana".to_owned())],
            ..BlockedQuery::default()
        };
        assert!(blocked(&rule, r#"{a="b"} |= "x""#, "User=me,Source=grafana"));
        assert!(!blocked(&rule, r#"{a="b"} |= "x""#, "Source=logcli"));
        assert!(!blocked(&rule, r#"{a="b"}"#, "Source=grafana"));
        assert!(!blocked(&rule, r#"rate({a="b"}[1m])"#, "Source=grafana"));
    }

    #[test]
    fn hashes_are_fnv1() {
        assert_eq!(fnv1_32(""), 2_166_136_261);
        assert_eq!(fnv1_32("a"), 0x050c_5d7e);
        let rule = BlockedQuery { hash: fnv1_32(r#"{a="b"}"#), pattern: "other".to_owned(), ..BlockedQuery::default() };
        assert!(blocked(&rule, r#"{a="b"}"#, ""));
        assert!(!blocked(&rule, r#"{a="c"}"#, ""));
    }
}
