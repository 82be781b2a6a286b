//! Sends lines through the pipelines of `tests/data/pipeline/*.txt` and compares what comes out.
//!
//! A case is `=== name`, then `query:` (a log query, or a range aggregation for its `unwrap`), optionally `stream:` and
//! `needed:` (the labels a consumer reads, which makes it a metric query), and the lines, each behind `> ` as it is or
//! behind `>> ` as a Go string; a `metadata:` line belongs to the next one. What follows `---` has one row per line.
//! `UPDATE_GOLDEN=1 cargo test --test pipeline` rewrites it.

use std::sync::{Arc, LazyLock};
use std::{fmt::Write as _, fs, path::Path};

use loki_core::labels::{quote, unquote};
use loki_core::{Labels, Text, Timestamp};
use loki_logql::ast::{Expr, MetricExpr, Stage, Unwrap};
use loki_logql::pipeline::{EntryLabels, NeededLabels, Pipeline, PipelineOptions, Processed};
use loki_logql::querier::{RowMetadata, Rows};
use proptest::prelude::*;

#[test]
fn golden_pipelines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pipeline");
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases = 0;
    let mut differing = String::new();
    for file in fs::read_dir(folder).expect("the folder with cases") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let mut updated = String::new();
        for case in text.split("=== ").skip(1) {
            let (name, body) = case.split_once('\n').expect("a line with the name");
            let (input, expected) = body.split_once("---\n").expect("a line with ---");
            let actual = Case::read(input).run();
            if actual.trim_end() != expected.trim_end() {
                let _ = write!(differing, "\n{name}\nexpected:\n{expected}\nactual:\n{actual}");
            }
            let _ = write!(updated, "=== {name}\n{input}---\n{}\n\n", actual.trim_end());
            cases += 1;
        }
        if is_update {
            fs::write(&path, updated.trim_end().to_owned() + "\n").expect("writable cases");
        }
    }
    assert!(cases > 0, "no cases");
    assert!(is_update || differing.is_empty(), "{differing}");
}

struct Case {
    stages: Vec<Stage>,
    unwrap: Option<Unwrap>,
    stream: Labels,
    needed: NeededLabels,
    lines: Vec<(String, Labels)>,
}

impl Case {
    fn read(input: &str) -> Self {
        let (mut stages, mut unwrap) = (Vec::new(), None);
        let mut stream = Labels::parse(r#"{app="api"}"#).expect("labels");
        let mut needed = NeededLabels::All;
        let mut lines = Vec::new();
        let mut metadata = Labels::EMPTY;
        for row in input.lines() {
            if let Some(query) = row.strip_prefix("query: ") {
                (stages, unwrap) = parse(query);
            } else if let Some(labels) = row.strip_prefix("stream: ") {
                stream = Labels::parse(labels).expect("labels");
            } else if let Some(names) = row.strip_prefix("needed:") {
                needed = NeededLabels::Only(names.split_whitespace().map(str::to_owned).collect());
            } else if let Some(labels) = row.strip_prefix("metadata: ") {
                metadata = Labels::parse(labels).expect("labels");
            } else if let Some(quoted) = row.strip_prefix(">> ") {
                lines.push((unquote(quoted).expect("a Go string"), std::mem::take(&mut metadata)));
            } else {
                let line = row.strip_prefix('>').unwrap_or_else(|| panic!("not part of a case: {row}"));
                let line = line.strip_prefix(' ').unwrap_or(line);
                lines.push((line.to_owned(), std::mem::take(&mut metadata)));
            }
        }
        Self { stages, unwrap, stream, needed, lines }
    }

    fn run(&self) -> String {
        let is_metric = self.needed != NeededLabels::All || self.unwrap.is_some();
        let options = PipelineOptions {
            needed: self.needed.clone(),
            now: Timestamp::from_seconds(1_700_000_000),
            needs_line: !is_metric,
            is_metric,
        };
        let pipeline = match Pipeline::compile(&self.stages, self.unwrap.as_ref(), options) {
            Ok(pipeline) => pipeline,
            Err(error) => return error.to_string(),
        };
        let rows = Rows {
            text: Text::from_lines(self.lines.iter().map(|(line, _)| line)),
            timestamps: vec![0; self.lines.len()],
            metadata: self.lines.iter().map(|(_, metadata)| metadata.clone()).collect(),
        };
        let metadata = RowMetadata::Rows(Arc::new(rows));
        let mut worker = pipeline.worker(&metadata);
        worker.start_stream(&self.stream);
        let mut out = String::new();
        for (row, (line, _)) in self.lines.iter().enumerate() {
            let passes = pipeline.prefilter().matches(line.as_bytes());
            let time = Timestamp::from_seconds(1_600_000_000);
            let processed = passes.then(|| worker.process(time, line.as_bytes(), row as u32)).flatten();
            match processed {
                Some(processed) => out += &show(&processed),
                None => out += "dropped\n",
            }
        }
        out
    }
}

fn parse(query: &str) -> (Vec<Stage>, Option<Unwrap>) {
    match loki_logql::parse(query).expect("a valid query") {
        Expr::Log(log) => (log.stages, None),
        Expr::Metric(MetricExpr::Range(aggregation)) => (aggregation.range.log.stages, aggregation.range.unwrap),
        other => panic!("neither a log query nor a range aggregation: {other}"),
    }
}

fn show(processed: &Processed<'_>) -> String {
    let (stream, metadata, parsed) = processed.labels.categories();
    let mut out = format!("{} {stream}", quote(&String::from_utf8_lossy(processed.line)));
    for (kind, labels) in [("metadata", metadata), ("parsed", parsed)] {
        if !labels.is_empty() {
            let _ = write!(out, " {kind} {labels}");
        }
    }
    if let Some(value) = processed.value {
        let _ = write!(out, " = {value}");
    }
    out + "\n"
}

#[test]
fn pipelines_are_shared_between_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Pipeline>();
}

fn compile(query: &str) -> Pipeline {
    let (stages, unwrap) = parse(query);
    let options = PipelineOptions { needed: NeededLabels::All, now: Timestamp(0), needs_line: true, is_metric: false };
    Pipeline::compile(&stages, unwrap.as_ref(), options).expect("a valid pipeline")
}

#[test]
fn what_templates_multiply_is_bounded() {
    // Sixteen lines of a mebibyte are what an entry may take.
    for (stages, error) in [(16, None), (17, Some("TemplateFormatErr"))] {
        let line = vec![b'x'; 1 << 20];
        let pipeline = compile(&format!("{{a=~`.+`}} {}", "| line_format `{{__line__}}`".repeat(stages)));
        let mut worker = pipeline.worker(&RowMetadata::None);
        worker.start_stream(&Labels::EMPTY);
        let entry = worker.process(Timestamp(0), &line, 0).expect("nothing drops it");
        assert_eq!(entry.labels.error(), error);
        assert_eq!(entry.line.len(), line.len());
    }
}

#[test]
fn a_worker_forgets_names_and_goes_on() {
    // More different keys than a worker remembers, so that it starts afresh in between.
    let line = |from: usize| {
        let members: Vec<String> = (from..from + 10_000).map(|i| format!("\"k{i}\":{i}")).collect();
        format!("{{\"app\":\"x\",{}}}", members.join(",")).into_bytes()
    };
    let lines = [line(0), line(10_000), line(20_000), line(5_000)];
    let pipeline = compile("{a=~`.+`} | json");
    let together = labels_of(&pipeline, &lines);
    for (line, labels) in lines.iter().zip(together) {
        assert_eq!(labels_of(&pipeline, std::slice::from_ref(line)), [labels]);
    }
}

/// Runs lines that are not necessarily text through a pipeline, and gives all label sets.
fn labels_of(pipeline: &Pipeline, lines: &[Vec<u8>]) -> Vec<Labels> {
    let mut worker = pipeline.worker(&RowMetadata::None);
    worker.start_stream(&Labels::parse(r#"{app="api"}"#).expect("labels"));
    let process = |line: &Vec<u8>| {
        let entry = worker.process(Timestamp(0), line, 0)?;
        Some(check_views(&entry.labels))
    };
    lines.iter().filter_map(process).collect()
}

/// The different views of the labels must agree with each other.
fn check_views(labels: &EntryLabels<'_>) -> Labels {
    let merged = labels.merged();
    for (name, value) in &merged {
        assert_eq!(labels.get(name), Some(value), "{name}");
    }
    let (stream, metadata, parsed) = labels.categories();
    let together = stream.iter().chain(metadata.iter()).chain(parsed.iter());
    assert_eq!(Labels::from_sorted(sorted(together)), merged);
    let mut key = Vec::new();
    labels.group_key(&loki_logql::ast::Grouping { without: true, labels: Vec::new() }, false, &mut key);
    assert_eq!(labels.series().as_bytes(), key);
    merged
}

fn sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    pairs
}

static PIPELINES: LazyLock<Vec<Pipeline>> = LazyLock::new(|| QUERIES.iter().map(|query| compile(query)).collect());

const QUERIES: [&str; 12] = [
    r"{a=~`.+`} | json",
    r#"{a=~`.+`} | json x="a.b[0]", y="[1]", z="a[\"k\"]""#,
    r"{a=~`.+`} | logfmt",
    r"{a=~`.+`} | logfmt --strict --keep-empty",
    r#"{a=~`.+`} | logfmt x="a", y"#,
    r"{a=~`.+`} | unpack | json",
    r"{a=~`.+`} | pattern `<x>:<y>,<_>`",
    r"{a=~`.+`} | regexp `(?P<x>\w+)[^a](?P<y>.*)`",
    r#"{a=~`.+`} | decolorize | json | label_format y="{{.x}}{{__line__}}", z=a | line_format "{{.y}}" | logfmt"#,
    r#"{a=~`.+`} | json | logfmt | drop a, b="x" | keep app, c, d"#,
    r"{a=~`.+`} | json | x > 5 or y > 5s or z > 5KB or a = ip(`10.0.0.0/8`) | b != 5",
    r"rate({a=~`.+`} | json | unwrap bytes(x) | y > 1 [1m])",
];

/// Bytes that look like the beginnings of what parsers read.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"{".to_vec()),
        Just(b"}".to_vec()),
        Just(b"[".to_vec()),
        Just(b"]".to_vec()),
        Just(b":".to_vec()),
        Just(b",".to_vec()),
        Just(b"=".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\\u00e9".to_vec()),
        Just(b"\\ud800".to_vec()),
        Just(b"\x1b[31m".to_vec()),
        Just(b"\"a\":".to_vec()),
        Just(b"\"x\":\"v\",".to_vec()),
        Just(b"\"_entry\":\"l\"".to_vec()),
        Just(b"a=1 ".to_vec()),
        Just(b"10.0.0.1".to_vec()),
        Just(b"null".to_vec()),
        Just("é".as_bytes().to_vec()),
        Just("\u{fffd}".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_bytes_survive_any_pipeline(lines in proptest::collection::vec(line(), 1..6)) {
        for pipeline in PIPELINES.iter() {
            labels_of(pipeline, &lines);
        }
    }

    /// What a worker learned from earlier lines must not show in later ones.
    #[test]
    fn lines_do_not_influence_each_other(lines in proptest::collection::vec(line(), 2..6)) {
        for pipeline in PIPELINES.iter() {
            let together = labels_of(pipeline, &lines);
            let alone: Vec<Labels> =
                lines.iter().flat_map(|line| labels_of(pipeline, std::slice::from_ref(line))).collect();
            prop_assert_eq!(together, alone);
        }
    }

    /// Extracting only what is read gives the same values, as long as no fault is missed behind them.
    #[test]
    fn needed_labels_have_the_same_values(
        members in proptest::collection::vec(("[a-d]{1,2}", "[xyz\u{e9}]{0,3}"), 0..8),
        logfmt in any::<bool>(),
    ) {
        let separator = if logfmt { " " } else { "," };
        let pairs: Vec<String> = members.iter().map(|(key, value)| {
            if logfmt { format!("{key}={value}") } else { format!("\"{key}\":\"{value}\"") }
        }).collect();
        let line = if logfmt { pairs.join(separator) } else { format!("{{{}}}", pairs.join(separator)) };
        let query = if logfmt { "{a=~`.+`} | logfmt" } else { "{a=~`.+`} | json" };
        let all = labels_of(&compile(query), &[line.clone().into_bytes()]);
        let options = PipelineOptions {
            needed: NeededLabels::Only(vec!["a".to_owned(), "bc".to_owned()]),
            now: Timestamp(0),
            needs_line: false,
            is_metric: true,
        };
        let pipeline = Pipeline::compile(&parse(query).0, None, options).expect("a valid pipeline");
        let mut worker = pipeline.worker(&RowMetadata::None);
        worker.start_stream(&Labels::EMPTY);
        let entry = worker.process(Timestamp(0), line.as_bytes(), 0).expect("nothing drops it");
        for name in ["a", "bc"] {
            prop_assert_eq!(entry.labels.get(name), all[0].get(name), "{} in {}", name, line);
        }
    }
}
