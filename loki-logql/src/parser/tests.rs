//! Tests of the parser. What each query means is in `tests/data/parse`.

use proptest::prelude::*;

use super::*;
use crate::ast::MetricExpr;

mod generate;

/// A query of `depth` levels, each wrapped into the next.
fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

fn kind(query: &str) -> Option<ParseErrorKind> {
    parse(query).err().map(|error| error.kind)
}

#[test]
fn nesting_ends_at_the_limit() {
    let shapes = [
        ("(", "1", ")"),
        ("sum(", "vector(1)", ")"),
        ("vector(1)^", "1", ""),
        ("label_replace(", "vector(1)", r#","a","b","c","d")"#),
        ("(", r#"{a="b"}"#, ")"),
    ];
    let too_deep = Some(ParseErrorKind::TooDeep { limit: MAX_NESTING });
    for (open, inner, close) in shapes {
        assert_eq!(kind(&nested(open, inner, close, MAX_NESTING)), None, "{open}");
        assert_eq!(kind(&nested(open, inner, close, MAX_NESTING + 1)), too_deep, "{open}");
    }
    let ranges = |depth| format!("rate({})", nested("(", r#"{a="b"}[1m]"#, ")", depth));
    assert_eq!(kind(&ranges(MAX_NESTING - 1)), None);
    assert_eq!(kind(&ranges(MAX_NESTING)), too_deep);
    let filters = |depth| format!(r#"{{a="b"}}|{}"#, nested("(", "a=1", ")", depth));
    assert_eq!(kind(&filters(MAX_NESTING)), None);
    assert_eq!(kind(&filters(MAX_NESTING + 1)), too_deep);
    let juxtaposed = |depth| format!(r#"{{a="b"}}|a=1{}"#, " a=1".repeat(depth));
    assert_eq!(kind(&juxtaposed(MAX_NESTING)), None);
    assert_eq!(kind(&juxtaposed(MAX_NESTING + 1)), too_deep);
}

#[test]
fn runs_of_operators_end_at_the_depth_of_trees() {
    let too_deep = Some(ParseErrorKind::TooDeep { limit: MAX_DEPTH });
    let sums = |count| format!("vector(1){}", "+1".repeat(count));
    assert_eq!(kind(&sums(MAX_DEPTH - 1)), None);
    assert_eq!(kind(&sums(MAX_DEPTH)), too_deep);
    let filters = |count| format!(r#"{{a="b"}}|a=1{}"#, " or a=1".repeat(count));
    assert_eq!(kind(&filters(MAX_DEPTH - 1)), None);
    assert_eq!(kind(&filters(MAX_DEPTH)), too_deep);
    // Brackets do not hide the depth of what is in them.
    let bracketed = format!("({}){}", sums(MAX_DEPTH - 2), "*1".repeat(2));
    assert_eq!(kind(&bracketed), too_deep);
    // Literals fold into one.
    assert_eq!(kind(&format!("1{}", "+1".repeat(MAX_DEPTH))), None);
}

#[test]
fn the_deepest_trees_can_be_walked_on_a_small_stack() {
    let walk = || {
        let queries = [
            nested("sum(", "vector(1)", ")", MAX_NESTING),
            nested("(", "1", ")", MAX_NESTING),
            nested("label_replace(", "vector(1)", r#","a","b","c","d")"#, MAX_NESTING),
            format!("vector(1){}", "+vector(1)".repeat(MAX_DEPTH - 1)),
            format!(r#"{{a="b"}}|{}"#, nested("(", "a=1", ")", MAX_NESTING)),
            format!(r#"{{a="b"}}|a=1{}"#, " or a=1".repeat(MAX_DEPTH - 1)),
            format!("rate({})", nested("(", r#"{a="b"}[1m]"#, ")", MAX_NESTING - 1)),
        ];
        for query in queries {
            let expr = parse(&query).expect("within the limits");
            assert_eq!(expr.clone(), expr);
            assert!(!expr.to_string().is_empty());
            assert!(!expr.pretty().is_empty());
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(walk).expect("a thread");
    thread.join().expect("the stack is large enough");
}

#[test]
fn the_longest_queries_are_parsed_in_time() {
    let fill = |piece: &str| piece.repeat((MAX_QUERY_BYTES - 100) / piece.len());
    let selector = r#"{a="b"}"#;
    let queries = [
        fill("("),
        fill("sum("),
        fill("1+"),
        fill("-"),
        fill("rate "),
        fill("0"),
        fill("1m"),
        fill("a "),
        fill("a/**/"),
        fill("\""),
        fill("["),
        format!("{selector}{}", fill(r#"|="" "#)),
        format!(r#"{selector}|=""{}"#, fill(r#" or """#)),
        format!("{selector}|a=1{}", fill(" or a=1")),
        format!("{selector}|drop a{}", fill(",a")),
        format!("{{{}", fill(r#"a="b","#)),
        format!("rate({selector}[{}", fill("1m")),
    ];
    for query in queries {
        if let Err(error) = parse(&query) {
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn queries_of_the_limit_are_too_long() {
    let query = |length: usize| format!(r#"{{a="{}"}}"#, "b".repeat(length - 6));
    assert!(parse(&query(MAX_QUERY_BYTES - 1)).is_ok());
    let error = parse(&query(MAX_QUERY_BYTES)).expect_err("too long");
    assert_eq!(error.to_string(), "parse error : input size too long (131072 > 131072)");
}

#[test]
fn stages_and_regexes_are_counted() {
    let stages = |count| format!(r#"{{a="b"}}{}"#, "|json".repeat(count));
    assert_eq!(kind(&stages(MAX_STAGES)), None);
    assert_eq!(kind(&stages(MAX_STAGES + 1)), Some(ParseErrorKind::TooManyStages));
    let filters = |count| format!(r#"sum_over_time({{a="b"}}|unwrap x{}[1m])"#, "|a=1".repeat(count));
    assert_eq!(kind(&filters(MAX_STAGES)), None);
    assert_eq!(kind(&filters(MAX_STAGES + 1)), Some(ParseErrorKind::TooManyStages));
    let regexes = |count| format!(r#"{{a="b"{}}}"#, r#",a=~"b""#.repeat(count));
    assert_eq!(kind(&regexes(MAX_REGEXES)), None);
    assert_eq!(kind(&regexes(MAX_REGEXES + 1)), Some(ParseErrorKind::TooManyRegexes));
}

#[test]
fn the_leftmost_error_of_meaning_is_reported() {
    let text = |query| parse(query).map(|_| ()).map_err(|error| error.to_string());
    let expected = Err("parse error : unsupported parameter for operation sum(2,".to_owned());
    assert_eq!(text(r#"sum(2, sum_over_time({a=""}[1m])) + sum(3, vector(1))"#), expected);
    let expected = Err("parse error at line 1, col 11: syntax error: unexpected $end".to_owned());
    assert_eq!(text("sum(2, 0x1"), expected);
}

#[test]
fn entry_points_take_what_they_name() {
    let text = |result: Result<(), ParseError>| result.map_err(|error| error.to_string());
    let selector = |query| text(parse_selector(query).map(drop));
    let log = |query| text(parse_log(query).map(drop));
    assert_eq!(selector(r#"{a="b"}"#), Ok(()));
    assert_eq!(selector(r#"{a="b"} | json"#), Err("only label matchers are supported".to_owned()));
    assert_eq!(selector("vector(1)"), Err("only label matchers are supported".to_owned()));
    assert_eq!(log(r#"{a="b"} | json"#), Ok(()));
    assert_eq!(log("vector(1)"), Err("only log selector is supported".to_owned()));
    assert!(parse_log(r#"{a=""}"#).is_err());
    assert!(parse_log_of_any_stream(r#"{a=""}"#).is_ok());
    assert!(parse_selector("{}").is_err());
    assert_eq!(parse_selector_or_all("{}").map(|matchers| matchers.len()), Ok(0));
    assert!(parse_selector_or_all(r#"{a!="b"}"#).is_err());
}

#[test]
fn aggregations_of_numbers_are_formatted_but_not_evaluated() {
    for query in ["sum(1)", "topk(2, 1 + 1)", "1 + sum(1)", "sum(sum(1))"] {
        assert!(parse(query).is_ok());
        assert_eq!(parse_query(query).expect_err("no selector").kind, ParseErrorKind::Unselective);
    }
    for query in ["sum(vector(1))", "1 + 1", "vector(1) + 1"] {
        assert!(parse_query(query).is_ok());
    }
}

#[test]
fn selector_groups_are_what_is_read() {
    let expr = parse(r#"sum(rate({a="1"}[1m] offset 1s)) / rate({b="2"}[2m])"#).expect("a query");
    let groups: Vec<_> = expr
        .selector_groups()
        .iter()
        .map(|group| (group.matchers[0].name().to_owned(), group.range_nanos, group.offset_nanos))
        .collect();
    assert_eq!(groups, [("a".to_owned(), 60_000_000_000, 1_000_000_000), ("b".to_owned(), 120_000_000_000, 0)]);
    let variants = parse(r#"variants(rate({a="1"}[1m])) of ({b="2"}[1m])"#).expect("a query");
    assert_eq!(variants.selector_groups().len(), 1);
    assert_eq!(variants.selector_groups()[0].matchers[0].name(), "b");
}

#[test]
fn literals_fold() {
    let value = |query| match parse(query) {
        Ok(Expr::Metric(MetricExpr::Literal(value))) => value,
        other => panic!("{query} is {other:?}"),
    };
    assert_eq!(value("2 ^ 3 ^ 2"), 512.0);
    assert_eq!(value("-2 ^ 2"), 4.0);
    assert_eq!(value("10 - 4 - 3 * 2 % 4"), 4.0);
    assert_eq!(value("1 == bool 1"), 1.0);
    assert!(value("1 / 0").is_nan());
    assert!(value("1 % 0").is_nan());
}

#[test]
fn pattern_parts_are_literals_and_proper_captures() {
    use definition::{
        PatternPart::{Capture, Literal},
        pattern_parts,
    };
    assert_eq!(pattern_parts("<a> - <_>"), [Capture("a"), Literal(" - "), Capture("_")]);
    assert_eq!(pattern_parts("<1a><é><<b>>"), [Literal("<1a><é><"), Capture("b"), Literal(">")]);
    assert_eq!(pattern_parts(""), []);
}

proptest! {
    /// The canonical text is a fixed point: it means what it was printed from.
    #[test]
    fn printing_is_stable(expr in generate::expr()) {
        let printed = expr.to_string();
        let parsed = parse(&printed);
        prop_assert!(parsed.is_ok(), "{printed}\n{}", parsed.unwrap_err().render());
        prop_assert_eq!(parsed.map(|again| again.to_string()), Ok(printed));
    }

    /// Short queries are formatted as their canonical text; what is split has its parts within the limit or unsplit.
    #[test]
    fn formatting_leaves_short_queries_alone(expr in generate::expr()) {
        let (canonical, pretty) = (expr.to_string(), expr.pretty());
        let is_short = canonical.len() <= 100 && !matches!(expr, Expr::Variants(_));
        prop_assert!(!is_short || pretty == canonical);
        prop_assert!(pretty.lines().all(|line| line.trim().len() <= canonical.len() + 1), "{pretty}");
    }

    /// Nothing that looks like a query makes the parser panic, and its error can be drawn.
    #[test]
    fn soups_of_tokens_are_survived(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        survive(&pieces.concat());
        survive(&pieces.join(" "));
    }

    /// Nor does anything else.
    #[test]
    fn arbitrary_text_is_survived(query in any::<String>()) {
        survive(&query);
    }
}

fn survive(query: &str) {
    match parse(query) {
        Ok(expr) => assert!(!expr.pretty().is_empty()),
        Err(error) => {
            assert!(error.query.is_char_boundary(error.span.start) && error.span.end <= query.len());
            assert!(!error.to_string().is_empty() && !error.render().is_empty());
        }
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[5m]",
    "[",
    "]",
    "|",
    "|=",
    "!=",
    "|~",
    "!~",
    "|>",
    "!>",
    "=",
    "==",
    ">",
    ",",
    ".",
    "+",
    "-",
    "*",
    "/",
    "^",
    "%",
    "\"a\"",
    "`b`",
    "\"",
    "'x'",
    "\\",
    "5",
    "5m",
    "5KB",
    "0x1F",
    "1e400",
    "-0",
    "a",
    "é",
    "{a=\"b\"}",
    "rate",
    "sum",
    "by",
    "without",
    "topk",
    "vector",
    "label_replace",
    "ip",
    "json",
    "logfmt",
    "--strict",
    "regexp",
    "pattern",
    "unwrap",
    "bytes",
    "drop",
    "label_format",
    "line_format",
    "offset",
    "bool",
    "on",
    "group_left",
    "or",
    "and",
    "unless",
    "variants",
    "of",
    "#",
    "\n",
    "/*",
    "*/",
    "\u{feff}",
    "\0",
    "quantile_over_time(0.5,",
];
