//! What label filters behind a parser imply about the line.
//!
//! An entry passes `| json | level="error"` only if its line holds `error`, and `| json | trace_id!=""` only if it holds
//! `id`. Looking for a few bytes is cheaper than parsing. Two things call for the parser all the same: a label that the
//! stream or the structured metadata has, and a backslash, behind which the bytes may be written in another way.
//!
//! Only tests of text imply anything: other filters let entries with errors pass, and parsers find the errors.

use memchr::memchr;
use memchr::memmem::Finder;

use super::json::path;
use super::label_filter::{LabelFilter, SimpleFilter};
use super::labels::LabelSet;
use super::names::{EXTRACTED_SUFFIX, NameId, Names};
use super::step::{Parser, Step};
use super::text_test::TextTest;

/// More alternatives than this are not looked for.
const MAX_ALTERNATIVES: usize = 8;

/// The line holds one of some literals, or something else sets the label.
#[derive(Clone, Debug)]
pub(crate) struct ImpliedLiterals {
    label: NameId,
    literals: Vec<Finder<'static>>,
}

impl ImpliedLiterals {
    /// False only if the filter that implies this refuses the entry.
    pub(crate) fn may_pass(&self, labels: &LabelSet, line: &[u8]) -> bool {
        labels.collides(self.label)
            || self.literals.iter().any(|literal| literal.find(line).is_some())
            || memchr(b'\\', line).is_some()
    }
}

/// Puts what later filters imply in front of the first parser.
pub(super) fn insert(steps: &mut Vec<Step>, names: &Names) {
    // Neither the line nor a label may be another one by then.
    let sets_nothing = |step: &Step| !matches!(step, Step::LineFormat(_) | Step::Decolorize | Step::LabelFormat(_));
    let Some(first) = steps.iter().position(Step::is_parser) else { return };
    if !steps[..first].iter().all(sets_nothing) {
        return;
    }
    let mut implied = Vec::new();
    let mut parsers = Vec::new();
    for step in &steps[first..] {
        match step {
            Step::Parse(Parser::Unpack, _) => break,
            Step::Parse(..) | Step::JsonPaths(_) | Step::LogfmtKeys { .. } => parsers.push(step),
            Step::LabelFilter(filter) => push_implied(filter, &parsers, names, &mut implied),
            Step::LineFilters(_) => {}
            _ => break,
        }
    }
    if !implied.is_empty() {
        steps.insert(first, Step::Implied(implied));
    }
}

fn push_implied(filter: &LabelFilter, parsers: &[&Step], names: &Names, implied: &mut Vec<ImpliedLiterals>) {
    match filter {
        LabelFilter::And(left, right) => {
            push_implied(left, parsers, names, implied);
            push_implied(right, parsers, names, implied);
        }
        LabelFilter::Or(..) => {}
        LabelFilter::Simple(filter) => {
            if let Some(literals) = literals_of(filter, parsers, names) {
                let finder = |literal: Vec<u8>| Finder::new(&literal).into_owned();
                implied
                    .push(ImpliedLiterals { label: filter.name, literals: literals.into_iter().map(finder).collect() });
            }
        }
    }
}

fn literals_of(filter: &SimpleFilter, parsers: &[&Step], names: &Names) -> Option<Vec<Vec<u8>>> {
    if let Some(test) = filter.text_test() {
        let mut literals = Vec::new();
        if push_literals(test, &mut literals) {
            return Some(literals);
        }
    }
    let &[parser] = parsers else { return None };
    let key = if filter.needs_value() { key_of(filter.name, parser, names)? } else { return None };
    Some(vec![key.into()])
}

/// Adds what a value must hold to pass; false if that is nothing.
fn push_literals(test: &TextTest, literals: &mut Vec<Vec<u8>>) -> bool {
    let text = match test {
        TextTest::Equals(value) => &**value,
        TextTest::Contains(finder) => finder.needle(),
        TextTest::Any(tests) => {
            return tests.len() <= MAX_ALTERNATIVES && tests.iter().all(|test| push_literals(test, literals));
        }
        TextTest::Always | TextTest::NotEmpty | TextTest::EqualsFold(_) | TextTest::Regex(_) => return false,
    };
    // Parsers put blanks and U+FFFD in place of what is no UTF-8.
    let words = text.split(|byte| !byte.is_ascii_graphic());
    let longest = words.max_by_key(|word| word.len()).unwrap_or_default();
    literals.push(longest.to_vec());
    !longest.is_empty()
}

/// What a line must hold for a parser to set the label.
fn key_of<'s>(label: NameId, parser: &'s Step, names: &'s Names) -> Option<&'s [u8]> {
    let key = match parser {
        Step::JsonPaths(paths) => {
            let mut of_label = paths.iter().filter(|path| path.label == label);
            let (path, None) = (of_label.next()?, of_label.next()) else { return None };
            let keys = path.steps.iter().rev().filter_map(|step| match step {
                path::Step::Key(key) => Some(key.as_bytes()),
                path::Step::Index(_) => None,
            });
            keys.into_iter().next()?
        }
        Step::Parse(Parser::Json | Parser::Logfmt(_), _) => {
            let name = names.text(label);
            // Nested keys are joined by `_`, and what cannot be in a name becomes one; what is behind the last is a
            // key's own end.
            let end = name.rsplit('_').next()?;
            if name.ends_with(EXTRACTED_SUFFIX) { &[] } else { end.as_bytes() }
        }
        // The extracting form of `logfmt` takes the value of the label's own name, too.
        _ => &[],
    };
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use loki_core::{Labels, Timestamp};
    use proptest::prelude::*;

    use super::super::{NeededLabels, Pipeline, PipelineOptions};
    use super::*;
    use crate::ast::Expr;
    use crate::querier::RowMetadata;

    fn pipeline(stages: &str) -> Pipeline {
        let Ok(Expr::Log(log)) = crate::parse(&format!(r#"{{app="a"}} {stages}"#)) else { panic!("{stages} is valid") };
        let needed = NeededLabels::All;
        let options = PipelineOptions { needed, now: Timestamp(0), needs_line: true, is_metric: false };
        Pipeline::compile(&log.stages, None, options).expect("valid")
    }

    /// What is looked for in front of the first parser.
    fn implied(stages: &str) -> Vec<Vec<String>> {
        let pipeline = pipeline(stages);
        let text = |finder: &Finder<'_>| String::from_utf8_lossy(finder.needle()).into_owned();
        let of_step = |step: &Step| match step {
            Step::Implied(implied) => implied.iter().map(|one| one.literals.iter().map(text).collect()).collect(),
            _ => Vec::new(),
        };
        pipeline.steps.iter().flat_map(of_step).collect()
    }

    #[test]
    fn text_filters_behind_parsers_imply_literals() {
        for (stages, literals) in [
            (r#"| json | level="error""#, "error"),
            (r#"| logfmt | msg="connection to db refused" | level=~"warn|error""#, "connection warn,error"),
            (r#"| json | response_status!="" , response_status>=500"#, "status"),
            (r#"| json s="response.status[0]" | s!="""#, "status"),
            (r#"| json | logfmt | level="error""#, "error"),
            (r#"| json | level=~"(?i)error""#, "level"),
            (r#"| json | level=" ""#, "level"),
            (r#"| pattern "<level> <_>" | level="error""#, "error"),
            (r#"|= "x" | app="b" | json | x=~".*boom.*" | drop x"#, "boom"),
        ] {
            let found = implied(stages).iter().map(|any| any.join(",")).collect::<Vec<_>>().join(" ");
            assert_eq!(found, literals, "{stages}");
        }
    }

    #[test]
    fn only_so_many_alternatives_are_looked_for() {
        for (alternatives, found) in [(MAX_ALTERNATIVES, MAX_ALTERNATIVES), (MAX_ALTERNATIVES + 1, 1)] {
            let values: Vec<String> = (0..alternatives).map(|n| format!("{n}{n}")).collect();
            let implied = implied(&format!(r#"| json | level=~"{}""#, values.join("|")));
            assert_eq!(implied.iter().map(Vec::len).collect::<Vec<_>>(), [found], "{implied:?}");
        }
    }

    #[test]
    fn other_filters_imply_nothing() {
        for stages in [
            "| json | status >= 500",
            r#"| json | level!="error""#,
            r#"| json | level="""#,
            r#"| json | level="error" or status="500""#,
            r#"| json | level_extracted!="""#,
            r#"| json | logfmt | level!="""#,
            r#"| json | level_!="""#,
            r#"| logfmt s="status" | s!="""#,
            r#"| pattern "<level> <_>" | level!="""#,
            r#"| json | label_format level=status | level="error""#,
            r#"| line_format "{{.app}}" | json | level="error""#,
            r#"| label_format level="error" | json | level="error""#,
            r#"| label_format level=app | logfmt | level!="""#,
            r#"| decolorize | json | level="error""#,
            r#"| unpack | level="error""#,
            r#"| level="error" | json"#,
            r#"| json | __error__="JSONParserErr""#,
        ] {
            assert_eq!(implied(stages), Vec::<Vec<String>>::new(), "{stages}");
        }
    }

    fn passes(stages: &str, line: &[u8], stream: &Labels, metadata: &RowMetadata) -> bool {
        let pipeline = pipeline(stages);
        let mut worker = pipeline.worker(metadata);
        worker.start_stream(stream);
        worker.process(Timestamp(0), line, 0).is_some()
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let pieces = vec![
            r#"{"a":"x y"}"#,
            r#"{"a":"x"#,
            r#""a""#,
            r#""a_b":"#,
            r#"{"a":{"b":"x"}}"#,
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            r#""x""#,
            "a=x",
            " ",
            "a_b=",
            "x",
            "y",
            r#"a="x"#,
            r#"{"a":"x"#,
            r#"y"}"#,
            "y=x",
            r#"{"x"#,
            r#"y":1}"#,
            "\"",
            r"\u0061",
            r"\u0078",
            "\\",
            r#"a="x y""#,
            "null",
            "1",
            "\u{fffd}",
            "é",
        ];
        let piece = prop_oneof![
            9 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// A filter that is written twice with `or` implies nothing.
        #[test]
        fn no_entry_is_lost(
            line in lines(),
            before in prop::sample::select(vec![
                "", r#"| label_format a="x""#, "| label_format a=b", "| drop a", "| keep a", r#"| a!="x""#, "| decolorize",
            ]),
            parser in prop::sample::select(vec![
                "json", "logfmt", "logfmt --keep-empty", r#"json a="a""#, r#"json a="a.b", a_b="a""#, r#"logfmt a="a_b""#,
                r#"pattern "<a>=<a_b>""#, r#"regexp "(?P<a>x.*)""#, "json | logfmt", "unpack",
            ]),
            filter in prop::sample::select(vec![
                r#"a="x""#, r#"a="x y""#, r#"a!="""#, r#"a=~".+""#, r#"a_b!="""#, r#"a_b="x""#, r#"a=~"x|y""#,
                r#"a=~".*x.*""#, r#"a=" ""#, r#"a="1""#, r#"a_extracted!="""#,
                r#"a="xy""#, r#"a=~"xy|yx""#, r#"a_b=~".*xy""#, r#"xy!="""#,
            ]),
            streams in prop::sample::select(vec![vec![("b", "x")], vec![("a", "x")], vec![("a", "z")]]),
            stored in prop::sample::select(vec![vec![], vec![("a", "x")], vec![("a_b", "x")]]),
        ) {
            let stream = Labels::from_pairs(streams).expect("unique names");
            let metadata = Labels::from_pairs(stored).expect("unique names");
            let rows = crate::querier::Rows { text: loki_core::Text::default(), timestamps: vec![0], metadata: vec![metadata] };
            let metadata = RowMetadata::Rows(std::sync::Arc::new(rows));
            let found = passes(&format!("{before} | {parser} | {filter}"), &line, &stream, &metadata);
            let expected = passes(&format!("{before} | {parser} | {filter} or {filter}"), &line, &stream, &metadata);
            prop_assert_eq!(found, expected, "{} {} {}", before, parser, filter);
        }
    }
}
