//! Range aggregations: entries stream by and are added to the cells of their series.
//!
//! Batches are dealt out to *lanes* in turn. A lane is the state of one worker; it belongs to one job at a time and
//! keeps its series between jobs, so workers share nothing and the result does not depend on which job ends first.

use std::sync::Arc;

use futures::StreamExt;
use loki_core::{Labels, MatchOp, Matcher, TimeRange};

use super::accumulator::Function;
use super::error::Error;
use super::limits::{CancelToken, LimitError};
use super::matrix::{Matrix, Row};
use super::plan::ScanPlan;
use super::repeats::Identifier;
use super::session::Session;
use super::steps::Steps;
use super::windows::Windows;
use crate::ast::Grouping;
use crate::budget::Reservation;
use crate::pipeline::{Pipeline, PipelineOptions};
use crate::querier::{ColumnSet, GridLabels, Hints, Order, SelectRequest};
use crate::stats::Stats;
use crate::workers::{Pending, start};
use lane::Lane;

mod lane;

/// Everything about a range aggregation that lanes need to know.
#[derive(Debug)]
pub(crate) struct Scan {
    function: Function,
    pipeline: Pipeline,
    /// Pairs that every passing entry has as a stream label or as structured metadata.
    pairs: Vec<(String, String)>,
    grouping: Grouping,
    keeps_empty: bool,
    accepts_parser_errors: bool,
    windows: Windows,
    /// Entries outside count nowhere.
    span: TimeRange,
    /// More series than this are an error for certain.
    max_series: Option<usize>,
    identifier: Identifier,
    cancel: CancelToken,
}

impl Scan {
    /// Compiles a scan. `is_answer` tells that its series are the series of the answer.
    pub(crate) fn new(
        session: &Session<'_>,
        plan: &ScanPlan<'_>,
        steps: &Steps,
        is_answer: bool,
    ) -> Result<Self, Error> {
        let options = PipelineOptions {
            needed: plan.needed.clone(),
            now: session.now,
            needs_line: plan.function.needs_bytes(),
            is_metric: true,
        };
        let pipeline = Pipeline::compile(&plan.range.log.stages, plan.unwrap, options)?;
        let (range_nanos, offset_nanos) = (plan.range.range_nanos, plan.range.offset_nanos);
        let windows = match plan.piece_nanos {
            Some(piece_nanos) => Windows::pieces(steps.at(0), range_nanos, offset_nanos, piece_nanos),
            None => Windows::new(steps, range_nanos, offset_nanos),
        };
        let limits = session.limits;
        Ok(Self {
            function: plan.function,
            pairs: pipeline.label_equalities(),
            pipeline,
            grouping: plan.grouping.clone(),
            keeps_empty: plan.keeps_empty,
            accepts_parser_errors: plan.accepts_parser_errors,
            windows,
            span: windows.span(),
            max_series: (is_answer && !limits.partial_on_max_series).then_some(limits.max_series),
            identifier: Identifier::default(),
            cancel: limits.cancel.clone(),
        })
    }

    /// Whether lines and labels pass unchanged, so that nothing but stream and time has to be known of an entry,
    /// unless its labels matter.
    fn is_plain(&self) -> bool {
        self.function.is_tally() && self.pipeline.is_trivial() && self.pipeline.prefilter().is_empty()
    }

    /// Whether structured metadata can move entries of a stream to another series.
    fn metadata_matters(&self, labels: &Labels) -> bool {
        self.grouping.without || self.grouping.labels.iter().any(|name| labels.get(name).is_none())
    }

    /// Whether lines are looked at.
    fn needs_text(&self) -> bool {
        self.function.needs_bytes() || !self.pipeline.prefilter().is_empty() || self.pipeline.needs_text()
    }

    fn request(&self, matchers: &[Matcher]) -> SelectRequest {
        let plain = self.is_plain();
        let grid_labels =
            if self.grouping.without { GridLabels::All } else { GridLabels::Only(self.grouping.labels.clone()) };
        // Grouping by nothing, or only by labels of the stream, does without metadata; what the streams have is not
        // known here.
        let groups_by_metadata = grid_labels != GridLabels::Only(Vec::new());
        SelectRequest {
            matchers: matchers.to_vec(),
            range: self.span,
            order: Order::Any,
            hints: Hints {
                needles: self.pipeline.needles(),
                labels: self.pairs.clone(),
                columns: ColumnSet {
                    text: self.needs_text(),
                    metadata: groups_by_metadata || self.pipeline.needs_metadata(),
                },
                grid: plain.then(|| self.windows.grid(grid_labels)),
            },
        }
    }
}

/// Runs a scan over all entries of the selected streams.
pub(crate) async fn run(
    session: &Session<'_>,
    plan: &ScanPlan<'_>,
    scan: Scan,
    stats: &mut Stats,
    memory: &mut Reservation,
) -> Result<Matrix, Error> {
    let matchers = &plan.range.log.matchers;
    let scan = Arc::new(scan);
    let matrix = if scan.span.is_empty() {
        Matrix::default()
    } else {
        let lanes = feed_lanes(session, &scan, matchers).await?;
        let mut first = Lane::new(&scan, &session.limits.memory);
        for lane in lanes {
            first.merge(*lane)?;
        }
        stats.selections += 1;
        *stats += first.stats;
        first.series.finish(&scan.windows, memory)?
    };
    Ok(match scan.function {
        Function::Absent => absent(&matrix, matchers, scan.windows.count()),
        _ => matrix,
    })
}

/// A lane between two jobs, or in one.
enum Slot {
    Idle(Box<Lane>),
    Busy(Pending<Result<Box<Lane>, Error>>),
    /// Only while a lane changes hands.
    Taken,
}

impl Slot {
    async fn take(&mut self) -> Result<Box<Lane>, Error> {
        match std::mem::replace(self, Self::Taken) {
            Self::Idle(lane) => Ok(lane),
            Self::Busy(job) => job.await?,
            Self::Taken => unreachable!("a lane that was taken is put back at once"),
        }
    }
}

async fn feed_lanes(session: &Session<'_>, scan: &Arc<Scan>, matchers: &[Matcher]) -> Result<Vec<Box<Lane>>, Error> {
    let mut batches = session.querier.select(scan.request(matchers));
    let new_lane = |_| Slot::Idle(Box::new(Lane::new(scan, &session.limits.memory)));
    let mut slots: Vec<Slot> = (0..session.workers.parallelism().max(1)).map(new_lane).collect();
    let mut next = 0;
    while let Some(batch) = batches.next().await {
        session.check()?;
        let batch = batch?;
        // Entries that may repeat are recognised by one lane alone.
        let slot = if batch.repeats.is_empty() { next } else { 0 };
        next = (next + 1) % slots.len();
        let lane = slots[slot].take().await?;
        let scan = Arc::clone(scan);
        slots[slot] = Slot::Busy(start(session.workers, move || lane.scan(&scan, &batch)));
    }
    let mut lanes = Vec::with_capacity(slots.len());
    for mut slot in slots {
        lanes.push(slot.take().await?);
    }
    session.check()?;
    Ok(lanes)
}

/// `absent_over_time`: 1 at every step without entries.
fn absent(entries: &Matrix, matchers: &[Matcher], steps: usize) -> Matrix {
    let mut row = Row::empty(absent_labels(matchers));
    for step in 0..steps {
        if entries.rows.iter().all(|row| row.at(step).is_none()) {
            row.push(step, 1.0);
        }
    }
    Matrix { rows: vec![row] }
}

/// What can be said about streams that do not exist: labels that a selector pins down.
fn absent_labels(matchers: &[Matcher]) -> Labels {
    let is_alone = |matcher: &&Matcher| matchers.iter().filter(|other| other.name() == matcher.name()).count() == 1;
    let pinned = matchers
        .iter()
        .filter(|matcher| matcher.op() == MatchOp::Equal && matcher.name() != "__name__")
        .filter(is_alone)
        .map(|matcher| (matcher.name(), matcher.value()));
    Labels::from_pairs(pinned).expect("names occur once")
}
