//! The streaming engine against a naive evaluation that keeps everything.
//!
//! Random queries run over random entries twice: on the engine, which gets the entries in batches that are cut,
//! shuffled, sealed, collapsed and repeated at random, and on a dozen pages of code that look at every entry at every
//! step. Both must agree.

mod oracle {
    pub(crate) mod cutting;
    pub(crate) mod dice;
    pub(crate) mod entries;
    pub(crate) mod naive;
    pub(crate) mod queries;
}

use std::sync::Arc;

use futures::executor::block_on;
use loki_core::{Direction, Timestamp};
use loki_logql::engine::{Engine, EngineOptions, ErrorKind, InstantQuery, QueryLimits, RangeQuery};
use loki_logql::memory::MemoryQuerier;
use loki_logql::querier::Querier;
use loki_logql::result::{QueryResult, StreamEntries};
use loki_logql::workers::{Inline, Job, Workers};
use oracle::cutting::CuttingQuerier;
use oracle::dice::Dice;
use oracle::entries::{StoredEntry, stored_entries};
use oracle::naive::{Evaluation, NaiveError};
use oracle::queries::{LogCase, MetricCase, log_cases, metric_cases};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Where the seeds of failures are kept, to be tried first from then on.
const SEEDS: FileFailurePersistence = FileFailurePersistence::Direct("tests/oracle.proptest-regressions");

/// A thread for every job: nothing is in order unless the engine puts it in order.
#[derive(Debug)]
struct Threads;

impl Workers for Threads {
    fn run(&self, job: Job) {
        std::thread::spawn(job);
    }

    fn parallelism(&self) -> usize {
        3
    }
}

fn engine(workers: Arc<dyn Workers>) -> Engine {
    Engine::new(EngineOptions { workers, clock: Arc::new(|| Timestamp(0)) })
}

fn limits() -> QueryLimits {
    QueryLimits { max_series: 100_000, split_range_nanos: 0, ..QueryLimits::default() }
}

fn check_metric(entries: &[StoredEntry], case: &MetricCase, dice: &Dice, threads: bool) {
    let expr = loki_logql::parse(&case.query).expect("generated queries are valid");
    let expected = Evaluation { entries, expr: &expr }.range(&case.steps());
    let workers: Arc<dyn Workers> = if threads { Arc::new(Threads) } else { Arc::new(Inline) };
    let query = RangeQuery {
        expr,
        start: case.start,
        end: case.end,
        step_nanos: case.step_nanos,
        interval_nanos: 0,
        limit: 100,
        direction: Direction::Backward,
        categorize_labels: false,
    };
    for querier in queriers(entries, dice) {
        let answer = block_on(engine(Arc::clone(&workers)).range_query(querier, query.clone(), &limits()));
        match (&expected, answer) {
            (Ok(expected), Ok(response)) => {
                let QueryResult::Matrix(series) = response.result else { panic!("{} gives a matrix", case.query) };
                oracle::naive::assert_same(expected, &series, case);
            }
            (Err(NaiveError::Pipeline | NaiveError::Undecided), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", case.query);
            }
            (Err(NaiveError::Undecided), Ok(_)) => {}
            (expected, answer) => panic!("{}\n expected {expected:?}\n got {answer:?}", case.query),
        }
    }
    check_instant(entries, case, dice);
}

/// An instant query is the only step of a range query.
fn check_instant(entries: &[StoredEntry], case: &MetricCase, dice: &Dice) {
    let expr = loki_logql::parse(&case.query).expect("generated queries are valid");
    let expected = Evaluation { entries, expr: &expr }.range(&[case.end]);
    let query = InstantQuery { expr, time: case.end };
    let querier = Arc::new(CuttingQuerier::new(entries, dice.clone()));
    let answer = block_on(engine(Arc::new(Inline)).instant_query(querier, query, &limits()));
    match (expected, answer) {
        (Ok(expected), Ok(response)) => {
            let QueryResult::Vector(samples) = response.result else { panic!("{} gives a vector", case.query) };
            oracle::naive::assert_same_vector(&expected, &samples, case);
        }
        (Err(NaiveError::Pipeline | NaiveError::Undecided), Err(error)) => assert_eq!(error.kind(), ErrorKind::Invalid),
        (Err(NaiveError::Undecided), Ok(_)) => {}
        (expected, answer) => panic!("{}\n expected {expected:?}\n got {answer:?}", case.query),
    }
}

fn check_log(entries: &[StoredEntry], case: &LogCase, dice: &Dice, threads: bool) {
    let expr = loki_logql::parse(&case.query).expect("generated queries are valid");
    let expected = Evaluation { entries, expr: &expr }.log(case);
    let workers: Arc<dyn Workers> = if threads { Arc::new(Threads) } else { Arc::new(Inline) };
    let query = RangeQuery {
        expr,
        start: case.start,
        end: case.end,
        step_nanos: 1_000_000_000,
        interval_nanos: case.interval_nanos,
        limit: case.limit,
        direction: case.direction,
        categorize_labels: false,
    };
    for querier in queriers(entries, dice) {
        let answer = block_on(engine(Arc::clone(&workers)).range_query(querier, query.clone(), &limits()));
        let QueryResult::Streams(streams) = answer.expect("log queries do not fail").result else {
            panic!("{} gives streams", case.query)
        };
        assert_eq!(show(&streams), expected, "{case:?}");
    }
}

fn show(streams: &[StreamEntries]) -> Vec<String> {
    let lines = streams.iter().flat_map(|stream| {
        let entries = stream.entries.iter();
        entries.map(move |e| format!("{} {} {}", stream.labels, e.timestamp.0, String::from_utf8_lossy(&e.line)))
    });
    lines.collect()
}

fn queriers(entries: &[StoredEntry], dice: &Dice) -> [Arc<dyn Querier>; 2] {
    let mut memory = MemoryQuerier::new();
    for stored in entries {
        memory.push(&stored.labels, stored.entry());
    }
    [Arc::new(memory), Arc::new(CuttingQuerier::new(entries, dice.clone()))]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: Some(Box::new(SEEDS)), ..ProptestConfig::default() })]

    #[test]
    fn metric_queries_agree(
        entries in stored_entries(),
        case in metric_cases(),
        dice in any::<Dice>(),
        threads in any::<bool>(),
    ) {
        check_metric(&entries, &case, &dice, threads);
    }

    #[test]
    fn log_queries_agree(
        entries in stored_entries(),
        case in log_cases(),
        dice in any::<Dice>(),
        threads in any::<bool>(),
    ) {
        check_log(&entries, &case, &dice, threads);
    }
}
