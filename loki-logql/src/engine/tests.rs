//! What the engine asks of its surroundings, and how it ends early.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use futures::executor::block_on;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use loki_core::{Entry, Labels};
use parking_lot::Mutex;

use super::*;
use crate::budget::{Budget, BudgetScope};
use crate::memory::MemoryQuerier;
use crate::querier::{ColumnSet, EntryBatch, GridLabels, Hints, Order, QuerierError, SelectRequest};
use crate::workers::Job;

/// Counts what is asked of it and what is taken from it.
#[derive(Debug, Default)]
struct Recorder {
    entries: MemoryQuerier,
    requests: Mutex<Vec<SelectRequest>>,
    batches: Arc<AtomicUsize>,
}

impl Querier for Recorder {
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        self.requests.lock().push(request.clone());
        let batches = Arc::clone(&self.batches);
        let count = move |batch| {
            batches.fetch_add(1, Ordering::Relaxed);
            batch
        };
        self.entries.select(request).map(count).boxed()
    }
}

/// Ten streams with one entry each, at 1 s, 2 s and so on.
fn recorder() -> Arc<Recorder> {
    let mut entries = MemoryQuerier::new();
    for n in 1..=10 {
        let labels = Labels::from_pairs([("app", "a"), ("n", &format!("{n:02}"))]).expect("unique names");
        let line = format!("line {n}").into_bytes().into();
        entries.push(&labels, Entry { timestamp: Timestamp::from_seconds(n), line, metadata: Labels::EMPTY });
    }
    Arc::new(Recorder { entries, ..Recorder::default() })
}

fn clock() -> Clock {
    Arc::new(|| Timestamp(0))
}

fn query(text: &str) -> RangeQuery {
    RangeQuery {
        expr: crate::parse(text).expect("valid query"),
        start: Timestamp(0),
        end: Timestamp::from_seconds(20),
        step_nanos: 10_000_000_000,
        interval_nanos: 0,
        limit: 100,
        direction: Direction::Backward,
        categorize_labels: false,
    }
}

fn run(recorder: &Arc<Recorder>, query: RangeQuery, limits: &QueryLimits) -> Result<Response, Error> {
    let engine = Engine::new(EngineOptions::inline(clock()));
    block_on(engine.range_query(Arc::clone(recorder) as Arc<dyn Querier>, query, limits))
}

fn run_instant(text: &str, limits: &QueryLimits) -> Result<Response, Error> {
    let engine = Engine::new(EngineOptions::inline(clock()));
    let query = InstantQuery { expr: crate::parse(text).expect("valid query"), time: Timestamp::from_seconds(20) };
    block_on(engine.instant_query(recorder(), query, limits))
}

fn hints(text: &str) -> Hints {
    let recorder = recorder();
    run(&recorder, query(text), &QueryLimits::default()).expect("valid query");
    let request = recorder.requests.lock().pop().expect("one request");
    request.hints
}

#[test]
fn counting_by_stream_asks_for_neither_lines_nor_metadata() {
    let by_app = hints(r#"sum by (app) (count_over_time({app="a"}[5s]))"#);
    assert!(!by_app.columns.text);
    let grid = by_app.grid.expect("counts will do");
    assert_eq!((grid.spacing_nanos, grid.labels), (5_000_000_000, GridLabels::Only(vec!["app".to_owned()])));
    let total = hints(r#"sum(rate({app="a"}[10s]))"#);
    assert_eq!(total.columns, ColumnSet { text: false, metadata: false });
    let each = hints(r#"bytes_over_time({app="a"}[10s])"#);
    assert_eq!(each.grid.map(|grid| grid.labels), Some(GridLabels::All));
}

#[test]
fn filters_and_values_need_lines() {
    for text in [
        r#"count_over_time({app="a"} |= "x" [5s])"#,
        r#"count_over_time({app="a"} | n="01" [5s])"#,
        r#"sum_over_time({app="a"} | unwrap n [5s])"#,
    ] {
        assert_eq!(hints(text).grid, None, "{text}");
    }
    let filtered = hints(r#"count_over_time({app="a"} |= "needle" [5s])"#);
    assert_eq!(filtered.needles[0][0].bytes, b"needle");
}

#[test]
fn windows_decide_what_is_read() {
    let recorder = recorder();
    run(&recorder, query(r#"count_over_time({app="a"}[5s] offset 1s)"#), &QueryLimits::default()).expect("valid");
    let request = recorder.requests.lock().pop().expect("one request");
    assert_eq!(request.range.start, Timestamp(-6_000_000_000 + 1));
    assert_eq!(request.range.end, Timestamp(19_000_000_000 + 1));
    run(&recorder, query(r#"count_over_time({app="a"}[0s])"#), &QueryLimits::default()).expect("valid");
    assert!(recorder.requests.lock().is_empty());
}

#[test]
fn equal_range_aggregations_are_scanned_once() {
    let recorder = recorder();
    let text = r#"sum(rate({app="a"}[5s])) / sum(rate({app="a"}[5s])) + sum(rate({app="a"} |= "x" [5s]))"#;
    let response = run(&recorder, query(text), &QueryLimits::default()).expect("valid query");
    assert_eq!(response.stats.selections, 2);
}

#[test]
fn a_full_answer_ends_the_scan() {
    let recorder = recorder();
    let response = run(&recorder, RangeQuery { limit: 2, ..query(r#"{app="a"}"#) }, &QueryLimits::default());
    assert_eq!(response.expect("valid query").result.len(), 2);
    assert_eq!(recorder.requests.lock()[0].order, Order::Time(Direction::Backward));
    // The third batch showed that no other could help.
    assert_eq!(recorder.batches.load(Ordering::Relaxed), 3);
}

#[test]
fn a_cancelled_query_stops_before_the_next_batch() {
    let recorder = recorder();
    let limits = QueryLimits::default();
    limits.cancel.cancel();
    let error = run(&recorder, query(r#"{app="a"}"#), &limits).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(recorder.batches.load(Ordering::Relaxed), 0);
}

#[test]
fn time_runs_out_between_batches() {
    let recorder = recorder();
    let now = Arc::new(AtomicI64::new(0));
    let ticks = Arc::clone(&now);
    let clock: Clock = Arc::new(move || Timestamp(ticks.fetch_add(1, Ordering::Relaxed)));
    let engine = Engine::new(EngineOptions::inline(clock));
    let limits = QueryLimits { deadline: Some(Timestamp(4)), ..QueryLimits::default() };
    let query = query(r#"count_over_time({app="a"}[5s])"#);
    let answer = block_on(engine.range_query(Arc::clone(&recorder) as Arc<dyn Querier>, query, &limits));
    assert_eq!(answer.expect_err("too late").kind(), ErrorKind::Deadline);
    assert_eq!(recorder.batches.load(Ordering::Relaxed), 4);
}

#[test]
fn a_query_over_its_memory_fails_and_gives_it_back() {
    let process = Budget::unlimited();
    let limits = QueryLimits { memory: process.child(BudgetScope::Query, 500), ..QueryLimits::default() };
    for text in [r#"{app="a"}"#, r#"count_over_time({app="a"}[5s])"#] {
        let error = run(&recorder(), query(text), &limits).expect_err("500 bytes are few");
        assert_eq!(error.kind(), ErrorKind::Memory, "{text}");
        assert!(error.to_string().contains("500 bytes per query"), "{error}");
        assert_eq!(process.used_bytes(), 0);
    }
}

#[test]
fn a_lost_worker_is_an_internal_error() {
    #[derive(Debug)]
    struct Forgetful;

    impl Workers for Forgetful {
        fn run(&self, job: Job) {
            drop(job);
        }

        fn parallelism(&self) -> usize {
            2
        }
    }

    let engine = Engine::new(EngineOptions { workers: Arc::new(Forgetful), clock: clock() });
    for text in [r#"{app="a"}"#, r#"count_over_time({app="a"}[5s])"#] {
        let limits = QueryLimits::default();
        let answer = engine.range_query(recorder(), query(text), &limits);
        let error = answer.now_or_never().expect("nothing to wait for").expect_err("no worker");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}

#[test]
fn too_many_series_can_be_cut_with_a_warning() {
    let limits = QueryLimits { max_series: 3, ..QueryLimits::default() };
    let text = r#"count_over_time({app="a"}[1m])"#;
    assert_eq!(run_instant(text, &limits).expect_err("ten series").kind(), ErrorKind::Limit);
    let limits = QueryLimits { partial_on_max_series: true, ..limits };
    let response = run_instant(text, &limits).expect("cut");
    assert_eq!(response.result.len(), 3);
    assert_eq!(
        response.warnings,
        ["maximum number of series (3) reached for a single query; returning partial results"]
    );
}

#[test]
fn series_below_an_aggregation_are_not_limited() {
    let limits = QueryLimits { max_series: 1, ..QueryLimits::default() };
    let response = run_instant(r#"count(count_over_time({app="a"}[1m]))"#, &limits).expect("one series");
    assert_eq!(response.result.len(), 1);
}

#[test]
fn variants_over_the_limit_are_left_out_with_a_warning() {
    let text = r#"variants(count_over_time({app="x"}[1m]), sum(count_over_time({app="x"}[1m]))) of ({app="a"}[1m])"#;
    let limits = QueryLimits { max_series: 3, ..QueryLimits::default() };
    assert_eq!(run_instant(text, &limits).expect_err("off").kind(), ErrorKind::Invalid);
    let limits = QueryLimits { enable_variants: true, ..limits };
    let response = run_instant(text, &limits).expect("on");
    assert_eq!(response.result.len(), 1);
    assert_eq!(response.warnings, ["maximum of series (3) reached for variant (0)"]);
}

#[test]
fn approx_topk_is_what_the_limits_say() {
    let text = r#"approx_topk(2, count_over_time({app="a"}[1m]))"#;
    let run = |approx_topk| run_instant(text, &QueryLimits { approx_topk, ..QueryLimits::default() });
    assert_eq!(run(ApproxTopk::Disabled).expect_err("off").kind(), ErrorKind::Evaluation);
    assert_eq!(run(ApproxTopk::Unsharded).expect_err("too little data").kind(), ErrorKind::Invalid);
    assert_eq!(run(ApproxTopk::Exact).expect("as topk").result.len(), 2);
}

#[test]
fn statistics_count_what_was_read() {
    let response = run(&recorder(), query(r#"{app="a"} |= "line 1""#), &QueryLimits::default()).expect("valid query");
    let stats = response.stats;
    assert_eq!((stats.processed_entries(), stats.post_filter_entries, stats.returned), (10, 2, 2));
    assert_eq!(stats.head.line_bytes, 9 * 6 + 7);
}

#[test]
fn instant_queries_aggregate_long_ranges_in_pieces() {
    let limits = QueryLimits { split_instant_nanos: 10_000_000_000, ..QueryLimits::default() };
    // Five streams have their entry in the piece (-5, 5], the other five in (5, 15].
    let text = r#"max(count_over_time({app="a"}[20s] offset -5s))"#;
    let engine = Engine::new(EngineOptions::inline(clock()));
    let query = InstantQuery { expr: crate::parse(text).expect("valid query"), time: Timestamp::from_seconds(10) };
    let response = block_on(engine.instant_query(recorder(), query, &limits)).expect("valid query");
    let QueryResult::Vector(samples) = response.result else { panic!("a vector") };
    assert_eq!(samples[0].point.value, 2.0);
}

#[test]
fn only_an_answer_of_several_pieces_that_ends_in_a_tie_reads_its_last_piece_again() {
    let mut entries = MemoryQuerier::new();
    for (second, number) in [(8, 1), (8, 2), (8, 3), (9, 1), (9, 2), (9, 3)] {
        let labels = Labels::from_pairs([("app", "a"), ("n", &number.to_string())]).expect("unique names");
        for line in ["0", "1", "2"] {
            let timestamp = Timestamp::from_seconds(second);
            entries.push(&labels, Entry { timestamp, line: line.into(), metadata: Labels::EMPTY });
        }
    }
    let recorder = Arc::new(Recorder { entries, ..Recorder::default() });
    // How many entries of each stream are in the answer, and how often entries were asked for.
    let counts = |limit, split_range_nanos| {
        recorder.requests.lock().clear();
        let limits = QueryLimits { split_range_nanos, ..QueryLimits::default() };
        let answer = run(&recorder, RangeQuery { limit, ..query(r#"{app="a"}"#) }, &limits).expect("valid query");
        let QueryResult::Streams(streams) = answer.result else { panic!("streams") };
        let counts: Vec<usize> = streams.iter().map(|stream| stream.entries.len()).collect();
        (counts, recorder.requests.lock().len())
    };
    assert_eq!(counts(12, 1_000_000_000), (vec![3, 4, 5], 2));
    let (whole, requests) = counts(12, 0);
    assert_eq!((whole.iter().max(), requests), (Some(&6), 1));
    assert_eq!(counts(12, 10_000_000_000), (whole, 1));
    assert_eq!(counts(9, 1_000_000_000), (vec![3, 3, 3], 1));
    assert_eq!(counts(18, 1_000_000_000), (vec![6, 6, 6], 1));
}
