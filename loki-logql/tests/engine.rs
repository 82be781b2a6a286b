//! Golden tests of the engine: queries over written-down entries, with their answers as text.
//!
//! A file in `tests/data/engine` holds entries and then cases. `UPDATE_GOLDEN=1 cargo test` rewrites the answers.
//!
//! ```text
//! {app="a"} 10 GET /            an entry: labels, seconds, line
//! {app="a"} 10.5 {k="v"} GET /  one with structured metadata
//!
//! ==== what the case shows
//! query: count_over_time({app="a"}[1m])
//! range: 0 60 step 10           or `at: 60`
//! limit: 10                     options, one a line
//! ----
//! {app="a"} 10:1 20:1
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures::executor::block_on;
use loki_core::{Direction, Entry, Labels, Timestamp};
use loki_logql::engine::{Engine, EngineOptions, Error, InstantQuery, QueryLimits, RangeQuery};
use loki_logql::memory::MemoryQuerier;
use loki_logql::result::{Point, QueryResult, Response, SampleValue};

#[test]
fn ranges() {
    check("ranges");
}

#[test]
fn functions() {
    check("functions");
}

#[test]
fn vectors() {
    check("vectors");
}

#[test]
fn logs() {
    check("logs");
}

#[test]
fn errors() {
    check("errors");
}

const CASE: &str = "==== ";
const ANSWER: &str = "----\n";

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine").join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).expect("golden file");
    let (entries, cases) = text.split_once(CASE).expect("a case");
    let querier = Arc::new(read_entries(entries));
    let mut actual = entries.to_owned();
    for case in cases.split(&format!("\n{CASE}")) {
        let (question, _) = case.split_once(ANSWER).expect("an answer");
        writeln!(actual, "{CASE}{question}{ANSWER}{}", answer(&querier, question)).expect("writing to text");
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("golden file");
    } else {
        assert_eq!(actual.trim_end(), text.trim_end(), "{}", path.display());
    }
}

fn read_entries(text: &str) -> MemoryQuerier {
    let mut querier = MemoryQuerier::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let (labels, rest) = line.split_once("} ").expect("labels");
        let (seconds, rest) = rest.split_once(' ').expect("a time");
        let metadata = rest.strip_prefix('{').and_then(|rest| rest.split_once("} "));
        let (metadata, line) = metadata.map_or((String::new(), rest), |(m, line)| (format!("{{{m}}}"), line));
        let labels = Labels::parse(&format!("{labels}}}")).expect("labels");
        let metadata = if metadata.is_empty() { Labels::EMPTY } else { Labels::parse(&metadata).expect("metadata") };
        let line = line.replace("\\n", "\n").into_bytes().into();
        querier.push(&labels, Entry { timestamp: seconds_of(seconds), line, metadata });
    }
    querier
}

fn seconds_of(text: &str) -> Timestamp {
    Timestamp((text.parse::<f64>().expect("seconds") * 1e9).round() as i64)
}

/// Runs a case and shows its answer.
fn answer(querier: &Arc<MemoryQuerier>, question: &str) -> String {
    let field = |name: &str| question.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let engine = Engine::new(EngineOptions::inline(Arc::new(|| Timestamp(0))));
    let expr = match loki_logql::parse_query(field("query:").expect("a query")) {
        Ok(expr) => expr,
        Err(error) => return format!("error: {error}\n"),
    };
    let limits = limits(&field);
    let querier: Arc<MemoryQuerier> = Arc::clone(querier);
    let answer = if let Some(at) = field("at:") {
        block_on(engine.instant_query(querier, InstantQuery { expr, time: seconds_of(at) }, &limits))
    } else {
        let range: Vec<&str> = field("range:").expect("a time").split(' ').collect();
        let query = RangeQuery {
            expr,
            start: seconds_of(range[0]),
            end: seconds_of(range[1]),
            step_nanos: range.get(3).map_or(1_000_000_000, |step| seconds_of(step).0),
            interval_nanos: field("interval:").map_or(0, |interval| seconds_of(interval).0),
            limit: field("limit:").map_or(100, |limit| limit.parse().expect("a limit")),
            direction: if field("direction:") == Some("forward") { Direction::Forward } else { Direction::Backward },
            categorize_labels: field("labels:") == Some("categorized"),
        };
        block_on(engine.range_query(querier, query, &limits))
    };
    match answer {
        Ok(response) => show(&response),
        Err(error) => show_error(&error),
    }
}

fn limits<'q>(field: &impl Fn(&str) -> Option<&'q str>) -> QueryLimits {
    let mut limits = QueryLimits { enable_variants: true, ..QueryLimits::default() };
    if let Some(series) = field("max series:") {
        limits.max_series = series.parse().expect("a number");
    }
    limits
}

fn show_error(error: &Error) -> String {
    format!("{:?} error: {error}\n", error.kind())
}

fn show(response: &Response) -> String {
    let mut text = String::new();
    for warning in &response.warnings {
        writeln!(text, "warning: {warning}").expect("writing to text");
    }
    match &response.result {
        QueryResult::Scalar(point) => writeln!(text, "scalar {}", SampleValue(point.value)).expect("writing to text"),
        QueryResult::Vector(samples) => {
            for sample in samples {
                writeln!(text, "{} {}", sample.labels, show_point(&sample.point)).expect("writing to text");
            }
        }
        QueryResult::Matrix(series) => {
            for series in series {
                let points: Vec<String> = series.points.iter().map(show_point).collect();
                writeln!(text, "{} {}", series.labels, points.join(" ")).expect("writing to text");
            }
        }
        QueryResult::Streams(streams) => {
            for stream in streams {
                writeln!(text, "{}", stream.labels).expect("writing to text");
                for entry in &stream.entries {
                    let seconds = entry.timestamp.0 as f64 / 1e9;
                    let line = String::from_utf8_lossy(&entry.line).replace('\n', "\\n");
                    write!(text, "  {seconds} {line}").expect("writing to text");
                    for (kind, labels) in [("metadata", &entry.metadata), ("parsed", &entry.parsed)] {
                        if !labels.is_empty() {
                            write!(text, "  {kind} {labels}").expect("writing to text");
                        }
                    }
                    text.push('\n');
                }
            }
        }
    }
    text
}

fn show_point(point: &Point) -> String {
    format!("{}:{}", point.timestamp.0 as f64 / 1e9, SampleValue(point.value))
}
