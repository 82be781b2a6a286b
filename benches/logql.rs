//! LogQL: parsing, and evaluating over entries in memory.
//!
//! ```sh
//! cargo bench -p loki-benches --bench logql
//! ```

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use loki_benches::{Corpus, NEEDLE, START, Shape};
use loki_core::{Direction, TimeRange};
use loki_logql::engine::{Engine, EngineOptions, QueryLimits, RangeQuery};
use loki_logql::memory::MemoryQuerier;
use loki_logql::querier::{EntryBatch, Hints, Order, Querier, QuerierError, SelectRequest};
use loki_logql::result::QueryResult;

const ENTRIES: usize = 50_000;

criterion_group!(benches, parsing, line_filters, parsers);
criterion_main!(benches);

fn parsing(c: &mut Criterion) {
    let queries = [
        r#"{app="api"}"#,
        r#"{app=~"api|web", env!="dev"} |= "error" != "timeout" | logfmt | status >= 500 | line_format "{{.msg}}""#,
        r#"sum by (app) (rate({env="prod"} | json status="request.status" | status =~ "5.." [5m])) / on (app) group_left
           sum by (app) (rate({env="prod"} [5m])) > 0.05"#,
        r#"topk(10, quantile_over_time(0.99, {app="api"} | pattern `<_> "<method> <path> <_>" <status>` | unwrap bytes(size) [1m]) by (path))"#,
    ];
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(queries.iter().map(|query| query.len() as u64).sum()));
    group.bench_function("queries", |b| {
        b.iter(|| assert!(queries.iter().all(|query| black_box(loki_logql::parse(query)).is_ok())));
    });
    group.finish();
}

/// The batches of a [`MemoryQuerier`], made once: queries here select every stream.
#[derive(Debug)]
struct Prepared {
    batches: Vec<EntryBatch>,
}

impl Prepared {
    fn new(corpus: &Corpus) -> Arc<Self> {
        let mut memory = MemoryQuerier::new();
        for stream in &corpus.streams {
            memory.extend(stream.entries.iter().map(|entry| (&stream.labels, entry.clone())));
        }
        let request =
            SelectRequest { matchers: Vec::new(), range: TimeRange::ALL, order: Order::Any, hints: Hints::default() };
        let batches = memory.select(request).try_collect().now_or_never().expect("memory does not wait");
        Arc::new(Self { batches: batches.expect("memory never fails") })
    }
}

impl Querier for Prepared {
    fn select(&self, _request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        stream::iter(self.batches.clone().into_iter().map(Ok)).boxed()
    }
}

/// Counts what a pipeline lets through, over all of a corpus at once.
fn count(corpus: &Corpus, querier: &Arc<Prepared>, pipeline: &str) -> f64 {
    let seconds = corpus.seconds();
    let query = format!(r#"sum(count_over_time({{env="prod"}} {pipeline} [{seconds}s]))"#);
    let query = RangeQuery {
        expr: loki_logql::parse(&query).expect("it is valid"),
        start: corpus.end(),
        end: corpus.end(),
        step_nanos: 1_000_000_000,
        interval_nanos: 0,
        limit: 0,
        direction: Direction::Forward,
        categorize_labels: false,
    };
    let engine = Engine::new(EngineOptions::inline(Arc::new(|| START)));
    let limits = QueryLimits::default();
    let querier = Arc::clone(querier);
    let answer = engine.range_query(querier, query, &limits).now_or_never().expect("memory does not wait");
    let QueryResult::Matrix(series) = answer.expect("it can be evaluated").result else {
        panic!("a metric query answers with a matrix");
    };
    series.iter().flat_map(|series| &series.points).map(|point| point.value).sum()
}

fn line_filters(c: &mut Criterion) {
    let corpus = Corpus::new(ENTRIES);
    let errors = corpus.lines_with("error") as f64;
    let needles = corpus.needles() as f64;
    let cases = [
        ("none", String::new(), ENTRIES as f64),
        ("rare literal", format!(r#"|= "{NEEDLE}""#), needles),
        ("frequent literal", r#"|= "error""#.to_owned(), errors),
        ("excluded literal", r#"!= "error""#.to_owned(), ENTRIES as f64 - errors),
        ("regex", r#"|~ "needle-[A-Z][a-z]7""#.to_owned(), needles),
        ("regex without case", r#"|~ "(?i)NEEDLE-zq7""#.to_owned(), needles),
        ("pattern", r#"|> "<_>needle-<_>""#.to_owned(), needles),
    ];
    bench_pipelines(c, "line filter", &corpus, &cases);
}

fn parsers(c: &mut Criterion) {
    let json = Corpus::of(&[Shape::Json], ENTRIES);
    let unavailable = json.lines_with(r#""status":503"#) as f64;
    let cases = [
        ("one field", r#"| json status="request.status" | status = 503"#.to_owned(), unavailable),
        ("all fields, one used", "| json | request_status = 503".to_owned(), unavailable),
        ("behind a filter", r#"|= "503" | json | request_status = 503"#.to_owned(), unavailable),
    ];
    bench_pipelines(c, "json", &json, &cases);

    let logfmt = Corpus::of(&[Shape::Logfmt], ENTRIES);
    let unavailable = logfmt.lines_with("status=503") as f64;
    let cases = [
        ("one field", "| logfmt status | status = 503".to_owned(), unavailable),
        ("all fields, one used", "| logfmt | status = 503".to_owned(), unavailable),
        ("formatted", r#"| logfmt | line_format "{{.status}} {{.msg}}" |= "503 ""#.to_owned(), unavailable),
    ];
    bench_pipelines(c, "logfmt", &logfmt, &cases);

    let access = Corpus::of(&[Shape::Access], ENTRIES);
    let unavailable = access.lines_with(r#"" 503 "#) as f64;
    let pattern = r#"| pattern `<ip> - - "<method> <path> <_>" <status> <_>` | status = 503"#;
    let regexp = r#"| regexp `"(?P<method>\w+) (?P<path>\S+) [^"]*" (?P<status>\d+)` | status = 503"#;
    let cases = [("pattern", pattern.to_owned(), unavailable), ("regexp", regexp.to_owned(), unavailable)];
    bench_pipelines(c, "access", &access, &cases);
}

fn bench_pipelines(c: &mut Criterion, name: &str, corpus: &Corpus, cases: &[(&str, String, f64)]) {
    let querier = Prepared::new(corpus);
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::ElementsAndBytes {
        elements: corpus.entries() as u64,
        bytes: corpus.line_bytes() as u64,
    });
    for (name, pipeline, expected) in cases {
        group.bench_function(*name, |b| b.iter(|| assert_eq!(count(corpus, &querier, pipeline), *expected)));
    }
    group.finish();
}
