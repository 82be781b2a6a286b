use loki_core::Text;
use proptest::prelude::*;

use super::*;

fn text(op: LineFilterOp, argument: &str) -> ast::LineFilter {
    one_of(op, &[argument])
}

fn one_of(op: LineFilterOp, arguments: &[&str]) -> ast::LineFilter {
    let argument = |text: &&str| LineFilterArgument::Text(text.as_bytes().to_vec());
    ast::LineFilter { op, alternatives: arguments.iter().map(argument).collect() }
}

fn compile(filters: &[ast::LineFilter]) -> LineFilters {
    LineFilters::compile(filters).expect("valid filters")
}

fn accepts(filter: ast::LineFilter, line: &str) -> bool {
    compile(&[filter]).matches(line.as_bytes())
}

/// Needles as text, `i` in front of those that match in either case.
fn needles(filter: ast::LineFilter) -> Vec<Vec<String>> {
    let show = |literal: Literal| {
        let text = String::from_utf8_lossy(&literal.bytes).into_owned();
        if literal.case_insensitive { format!("i:{text}") } else { text }
    };
    compile(&[filter]).needles().into_iter().map(|any| any.into_iter().map(show).collect()).collect()
}

#[test]
fn empty_literals_match_everything() {
    assert!(accepts(text(LineFilterOp::Contains, ""), "x"));
    assert!(!accepts(text(LineFilterOp::NotContains, ""), "x"));
    assert!(accepts(text(LineFilterOp::Matches, ""), ""));
    assert!(!accepts(text(LineFilterOp::NotMatches, ".*"), "x"));
}

#[test]
fn an_empty_alternative_is_lost_beside_another() {
    assert!(!accepts(one_of(LineFilterOp::Contains, &["", "zzz"]), "x"));
    assert!(accepts(one_of(LineFilterOp::Contains, &["a", "x"]), "x"));
}

#[test]
fn addresses_in_alternatives_are_text() {
    let ip = |pattern: &str| LineFilterArgument::Ip(pattern.to_owned());
    let word = |text: &str| LineFilterArgument::Text(text.as_bytes().to_vec());
    let chain = |alternatives: Vec<LineFilterArgument>| ast::LineFilter { op: LineFilterOp::Contains, alternatives };
    assert!(accepts(chain(vec![ip("10.0.0.0/8")]), "from 10.1.2.3 x"));
    assert!(!accepts(chain(vec![ip("10.0.0.0/8"), word("deny")]), "from 10.1.2.3 x"));
    assert!(accepts(chain(vec![ip("10.0.0.0/8"), word("deny")]), "net 10.0.0.0/8"));
    assert!(!accepts(chain(vec![word("a"), ip("b"), word("c")]), "b"));
}

#[test]
fn addresses_need_a_literal_operator_and_a_valid_pattern() {
    let filter = |op, pattern: &str| ast::LineFilter { op, alternatives: vec![LineFilterArgument::Ip(pattern.into())] };
    let error = |filter| LineFilters::compile(&[filter]).expect_err("an invalid filter").to_string();
    assert_eq!(error(filter(LineFilterOp::Matches, "10.0.0.1")), "ip: invalid operation");
    assert_eq!(error(filter(LineFilterOp::NotContains, "x")), r#"ip: invalid pattern: "x""#);
}

#[test]
fn needles_are_what_every_match_contains() {
    assert_eq!(needles(text(LineFilterOp::Contains, "abc")), [["abc"]]);
    assert_eq!(needles(one_of(LineFilterOp::Contains, &["abc", "d"])), [["abc", "d"]]);
    assert_eq!(needles(text(LineFilterOp::NotContains, "abc")), Vec::<Vec<String>>::new());
    assert_eq!(needles(text(LineFilterOp::Matches, "level=(error|warn) x")), [["level=error x", "level=warn x"]]);
    assert_eq!(needles(text(LineFilterOp::Matches, r"status=5\d{2} .*MB")), [["status=5"], [" "], ["MB"]]);
    assert_eq!(needles(text(LineFilterOp::Matches, "^ab+c?d$")), [["ab"], ["d"]]);
    assert_eq!(needles(text(LineFilterOp::Matches, "(?i)Level=error")), [["i:level=error"]]);
    assert_eq!(needles(text(LineFilterOp::Matches, "foo[xy]z")), [["fooxz", "fooyz"]]);
    assert_eq!(needles(text(LineFilterOp::Matches, "a.*|b")), [["a", "b"]]);
    assert_eq!(needles(text(LineFilterOp::Matches, "(a|).b*")), Vec::<Vec<String>>::new());
    assert_eq!(needles(text(LineFilterOp::Pattern, "<_>foo<_>bar")), [["foo"], ["bar"]]);
}

#[test]
fn selection_looks_at_the_given_rows_only() {
    let lines = Text::from_lines(["hit", "x", "hit", "hit", "x", "hit"]);
    let filters = compile(&[text(LineFilterOp::Contains, "hit")]);
    let mut rows = Vec::new();
    filters.select(&lines, &[1..3, 4..5], &mut rows);
    assert_eq!(rows, [2]);
    rows.clear();
    compile(&[]).select(&lines, &[1..3, 4..5], &mut rows);
    assert_eq!(rows, [1, 2, 4]);
}

#[test]
fn a_needle_does_not_match_across_lines() {
    let lines = Text::from_lines(["a", "b", "a\nb"]);
    let mut rows = Vec::new();
    compile(&[text(LineFilterOp::Contains, "a\nb")]).select(&lines, &[0..1, 1..3], &mut rows);
    assert_eq!(rows, [2]);
}

/// Filters that exercise every way of searching.
fn filter() -> impl Strategy<Value = ast::LineFilter> {
    let op = prop_oneof![Just(LineFilterOp::Contains), Just(LineFilterOp::NotContains)];
    let regex_op = prop_oneof![Just(LineFilterOp::Matches), Just(LineFilterOp::NotMatches)];
    let regex = prop_oneof![
        Just("ab+"),
        Just("(?i)abc"),
        Just("^a"),
        Just("a$"),
        Just("[^a]b"),
        Just("a.*c"),
        Just("abc|cba"),
        Just("a\\sb"),
        Just("x*"),
        Just("abcabc.*b"),
        Just("(?s)a.b"),
        Just("c\nb"),
        Just("(?i)ab.*bb"),
    ];
    let pattern_op = prop_oneof![Just(LineFilterOp::Pattern), Just(LineFilterOp::NotPattern)];
    prop_oneof![
        (op, "[abcA\n]{0,3}").prop_map(|(op, argument)| text(op, &argument)),
        ("[ab]{1,2}", "[bc]{1,3}").prop_map(|(a, b)| one_of(LineFilterOp::Contains, &[&a, &b])),
        (regex_op, regex).prop_map(|(op, argument)| text(op, argument)),
        (pattern_op, prop_oneof![Just("<_>b<_>"), Just("ab<_>"), Just("")])
            .prop_map(|(op, argument)| text(op, argument)),
    ]
}

proptest! {
    #[test]
    fn selection_agrees_with_testing_each_line(
        filters in proptest::collection::vec(filter(), 0..4),
        lines in proptest::collection::vec("[abcABC \n]{0,8}", 0..20),
        clean in any::<bool>(),
        cut in (0_u32..20, 0_u32..20),
    ) {
        let lines: Vec<String> = lines.into_iter().map(|line| if clean { line.replace('\n', "") } else { line }).collect();
        let filters = compile(&filters);
        let count = lines.len() as u32;
        let cut = (cut.0.min(cut.1).min(count), cut.0.max(cut.1).min(count));
        let ranges = [0..cut.0, cut.1..count];
        let mut selected = Vec::new();
        filters.select(&Text::from_lines(&lines), &ranges, &mut selected);
        let expected: Vec<u32> = ranges.into_iter().flatten()
            .filter(|&row| filters.matches(lines[row as usize].as_bytes())).collect();
        prop_assert_eq!(selected, expected);
    }

    #[test]
    fn passing_lines_contain_the_needles(filter in filter(), line in "[abcABC \n]{0,12}") {
        let filters = compile(&[filter]);
        if filters.matches(line.as_bytes()) {
            for any in filters.needles() {
                let contained = any.iter().any(|literal| {
                    let literal_text = String::from_utf8_lossy(&literal.bytes).into_owned();
                    if literal.case_insensitive {
                        line.to_lowercase().contains(&literal_text.to_lowercase())
                    } else {
                        line.contains(&literal_text)
                    }
                });
                prop_assert!(contained, "{:?} in {:?}", any, line);
            }
        }
    }
}
