//! The evaluation engine: instant, range and log queries over any [`Querier`].
//!
//! ```text
//! Expr ── plan ──► scans (one per range aggregation) and operators above them
//!                   │ entries stream by, batch after batch, on the workers
//!                   ▼
//!                 cells of series ── windows ──► matrices ── operators ──► answer
//! ```
//!
//! Between batches the engine is asynchronous, inside a batch it is not. It keeps no state between queries, asks
//! nobody for the time but the clock it was given, and starts no threads.

use std::fmt;
use std::sync::Arc;

use loki_core::{Direction, TimeRange, Timestamp};

use crate::ast::{Expr, MetricExpr};
use crate::querier::Querier;
use crate::result::{QueryResult, Response};
use crate::stats::Stats;
use crate::workers::{Inline, Workers};
use evaluate::{Evaluation, ScanResult};
use log::LogQuery;
use plan::{Node, Plan};
use scan::Scan;
use session::Session;
use steps::Steps;

pub use binary::MatchingError;
pub use error::{Error, ErrorKind, PipelineError, Unsupported};
pub use limits::{
    ApproxTopk, CancelToken, DEFAULT_MAX_ENTRIES, DEFAULT_MAX_SERIES, DEFAULT_SPLIT_INSTANT_NANOS,
    DEFAULT_SPLIT_RANGE_NANOS, LimitError, MAX_POINTS, QueryLimits, check_steps,
};
pub use session::Clock;

mod accumulator;
mod aggregate;
mod answer;
mod arithmetic;
mod binary;
mod cells;
mod error;
mod evaluate;
mod fold;
mod label_replace;
mod label_sets;
mod limits;
mod log;
mod matrix;
mod plan;
mod repeats;
mod rows;
mod samples;
mod scan;
mod series;
mod session;
mod steps;
mod variants;
mod windows;

/// Answers queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    options: EngineOptions,
}

/// What an engine works with.
#[derive(Clone)]
pub struct EngineOptions {
    /// Threads for decoding and scanning.
    pub workers: Arc<dyn Workers>,
    /// The time: for templates, deadlines and statistics.
    pub clock: Clock,
}

/// A query over a range of time.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// The query.
    pub expr: Expr,
    /// The first moment of a log query; around the first step of a metric query.
    pub start: Timestamp,
    /// The first moment behind a log query; around the last step of a metric query.
    pub end: Timestamp,
    /// The distance between points of a metric query.
    pub step_nanos: i64,
    /// The least distance between two entries of a log query; zero for none.
    pub interval_nanos: i64,
    /// The most entries of a log query.
    pub limit: u32,
    /// Which end of the range the entries of a log query come from.
    pub direction: Direction,
    /// Log queries answer with stream labels, and with metadata and parsed labels at each entry.
    pub categorize_labels: bool,
}

/// A query at one moment.
#[derive(Clone, Debug)]
pub struct InstantQuery {
    /// The query, over samples.
    pub expr: Expr,
    /// The moment.
    pub time: Timestamp,
}

/// Points that [`RangeQuery::new`] aims at, as Loki's API does.
const DEFAULT_POINTS: i64 = 250;
/// Entries that [`RangeQuery::new`] asks for, as Loki's API does.
const DEFAULT_LIMIT: u32 = 100;
const SECOND_NANOS: i64 = 1_000_000_000;

impl RangeQuery {
    /// A query with the defaults of Loki's API: at most a hundred entries, newest first, or about 250 points.
    pub fn new(expr: Expr, start: Timestamp, end: Timestamp) -> Self {
        let seconds = end.as_nanos().saturating_sub(start.as_nanos()) / SECOND_NANOS;
        Self {
            expr,
            start,
            end,
            step_nanos: (seconds / DEFAULT_POINTS).max(1) * SECOND_NANOS,
            interval_nanos: 0,
            limit: DEFAULT_LIMIT,
            direction: Direction::Backward,
            categorize_labels: false,
        }
    }
}

impl EngineOptions {
    /// Everything on the calling thread.
    pub fn inline(clock: Clock) -> Self {
        Self { workers: Arc::new(Inline), clock }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = &self.workers;
        f.debug_struct("EngineOptions").field("workers", workers).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// Answers a query over a range: streams for a log query, a matrix for all others.
    ///
    /// Dropping the future stops the query after the batches that are being looked at.
    pub async fn range_query(
        &self,
        querier: Arc<dyn Querier>,
        query: RangeQuery,
        limits: &QueryLimits,
    ) -> Result<Response, Error> {
        check_steps(query.start, query.end, query.step_nanos)?;
        limits.check_length(query.start, query.end)?;
        let session = self.session(querier, limits);
        let steps = Steps::aligned(query.start, query.end, query.step_nanos);
        match &query.expr {
            Expr::Log(expr) => {
                limits.check_entries(query.limit)?;
                limits.check_matchers(&expr.matchers)?;
                let log = LogQuery {
                    expr,
                    range: TimeRange::new(query.start, query.end),
                    direction: query.direction,
                    limit: query.limit as usize,
                    interval_nanos: query.interval_nanos,
                    categorize_labels: query.categorize_labels,
                };
                let mut stats = Stats::default();
                let streams = log::run(&session, &log, &mut stats).await?;
                Ok(session.respond(QueryResult::Streams(streams), stats, Vec::new()))
            }
            Expr::Metric(expr) => session.metric_query(expr, &steps, Shape::Range).await,
            Expr::Variants(variants) => session.variants_query(variants, &steps, Shape::Range).await,
        }
    }

    /// Answers a query at one moment: a vector, or a scalar for an expression that is only a number.
    pub async fn instant_query(
        &self,
        querier: Arc<dyn Querier>,
        query: InstantQuery,
        limits: &QueryLimits,
    ) -> Result<Response, Error> {
        let session = self.session(querier, limits);
        let steps = Steps::instant(query.time);
        match &query.expr {
            Expr::Log(_) => Err(Unsupported::InstantLog.into()),
            Expr::Metric(expr) => session.metric_query(expr, &steps, Shape::Instant).await,
            Expr::Variants(variants) => session.variants_query(variants, &steps, Shape::Instant).await,
        }
    }

    fn session<'a>(&'a self, querier: Arc<dyn Querier>, limits: &'a QueryLimits) -> Session<'a> {
        let clock = &self.options.clock;
        Session { querier, workers: &*self.options.workers, clock, limits, now: clock() }
    }
}

/// How samples are presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A matrix.
    Range,
    /// A vector or a scalar.
    Instant,
}

impl Session<'_> {
    async fn metric_query(&self, expr: &MetricExpr, steps: &Steps, shape: Shape) -> Result<Response, Error> {
        let piece_nanos = Some(self.limits.split_instant_nanos).filter(|&piece| shape == Shape::Instant && piece > 0);
        let plan = Plan::new(expr, piece_nanos);
        let mut stats = Stats::default();
        let operand = self.evaluate(&plan, steps, &mut stats, true).await?;
        let mut warnings = Vec::new();
        let result = match shape {
            Shape::Range => answer::of_range(operand, steps, self.limits, &mut warnings)?,
            Shape::Instant => answer::of_instant(operand, steps, plan.sorts(), self.limits, &mut warnings)?,
        };
        Ok(self.respond(result, stats, warnings))
    }

    /// Runs the scans of a plan one after the other, each on all workers, and then its operators.
    async fn evaluate(
        &self,
        plan: &Plan<'_>,
        steps: &Steps,
        stats: &mut Stats,
        limit_series: bool,
    ) -> Result<binary::Operand, Error> {
        plan.root.check(self.limits)?;
        let mut memory = self.limits.memory.reservation();
        // Everything is compiled before anything is read.
        let mut scans = Vec::with_capacity(plan.scans.len());
        for scan in &plan.scans {
            self.limits.check_matchers(&scan.range.log.matchers)?;
            self.limits.check_range(scan.range.range_nanos)?;
            let is_answer = limit_series && matches!(plan.root, Node::Scan(_));
            scans.push(Scan::new(self, scan, steps, is_answer)?);
        }
        let mut results = Vec::with_capacity(scans.len());
        for (number, (scan, plan_of_scan)) in scans.into_iter().zip(&plan.scans).enumerate() {
            results.push(ScanResult {
                matrix: scan::run(self, plan_of_scan, scan, stats, &mut memory).await?,
                readers: plan.readers(number),
            });
        }
        let mut evaluation = Evaluation { steps: steps.count(), scans: results, memory };
        evaluation.evaluate(&plan.root)
    }

    fn respond(&self, result: QueryResult, mut stats: Stats, warnings: Vec<String>) -> Response {
        stats.returned = result.len() as u64;
        let elapsed = (self.clock)().as_nanos().saturating_sub(self.now.as_nanos());
        stats.execution_nanos = u64::try_from(elapsed).unwrap_or_default();
        Response { result, stats, warnings }
    }
}

#[cfg(test)]
mod tests;
