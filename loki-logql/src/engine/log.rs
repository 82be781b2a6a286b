//! Log queries: the first entries in the order of time that pass the pipeline.
//!
//! Batches come in the order of time and are looked into a few at a time, each by one job. What jobs find meets in a
//! bounded heap, and the scan ends as soon as no later batch can bring a better entry.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use loki_core::{Direction, Labels, TimeRange};

use super::error::Error;
use super::limits::CancelToken;
use super::repeats::{Identifier, RepeatFilter};
use super::session::Session;
use crate::ast::LogExpr;
use crate::pipeline::{NeededLabels, Pipeline, PipelineOptions};
use crate::querier::{ColumnSet, EntryBatch, Hints, Order, QuerierError, SelectRequest};
use crate::result::{ResultEntry, StreamEntries};
use crate::stats::Stats;
use crate::workers::{Pending, start};
use candidates::{Candidate, Candidates, Rank};

mod candidates;
mod job;
mod pieces;

/// A log query.
#[derive(Clone, Debug)]
pub(crate) struct LogQuery<'q> {
    pub(crate) expr: &'q LogExpr,
    pub(crate) range: TimeRange,
    pub(crate) direction: Direction,
    pub(crate) limit: usize,
    /// The least distance between two entries of the answer; zero for none.
    pub(crate) interval_nanos: i64,
    pub(crate) categorize_labels: bool,
}

/// Everything about a log query that jobs need to know.
#[derive(Clone, Debug)]
struct LogScan {
    pipeline: Arc<Pipeline>,
    /// Pairs that every passing entry has as a stream label or as structured metadata.
    pairs: Vec<(String, String)>,
    range: TimeRange,
    direction: Direction,
    limit: usize,
    categorize_labels: bool,
    identifier: Identifier,
    cancel: CancelToken,
}

/// What a job found in its batch.
#[derive(Debug)]
struct Found {
    candidates: Candidates,
    stats: Stats,
}

/// Answers a log query.
pub(crate) async fn run(
    session: &Session<'_>,
    query: &LogQuery<'_>,
    stats: &mut Stats,
) -> Result<Vec<StreamEntries>, Error> {
    let options = PipelineOptions { needed: NeededLabels::All, now: session.now, needs_line: true, is_metric: false };
    let pipeline = Pipeline::compile(&query.expr.stages, None, options)?;
    let scan = Arc::new(LogScan {
        pairs: pipeline.label_equalities(),
        pipeline: Arc::new(pipeline),
        range: query.range,
        direction: query.direction,
        limit: query.limit,
        categorize_labels: query.categorize_labels,
        identifier: Identifier::default(),
        cancel: session.limits.cancel.clone(),
    });
    if query.range.is_empty() || query.limit == 0 {
        return Ok(Vec::new());
    }
    stats.selections += 1;
    let best = Search::new(session, query, Arc::clone(&scan)).run(stats).await?;
    let is_cut_in_a_tie = best.is_cut_in_a_tie();
    let mut entries = best.into_sorted();
    if is_cut_in_a_tie && let Some(piece) = pieces::last(&entries, query.range, session.limits.split_range_nanos) {
        let scan = Arc::new(LogScan { range: piece, ..(*scan).clone() });
        let of_piece = Search::new(session, query, scan).run(stats).await?;
        entries.retain(|entry| !piece.contains(entry.timestamp));
        entries.extend(of_piece.into_sorted());
        entries = pieces::join(entries, query.limit);
    }
    Ok(group(thin(entries, query.interval_nanos)))
}

/// The running search for the best entries.
struct Search<'s> {
    session: &'s Session<'s>,
    scan: Arc<LogScan>,
    batches: BoxStream<'static, Result<EntryBatch, QuerierError>>,
    jobs: VecDeque<Pending<Result<Found, Error>>>,
    best: Candidates,
    repeats: RepeatFilter,
}

impl<'s> Search<'s> {
    fn new(session: &'s Session<'s>, query: &LogQuery<'_>, scan: Arc<LogScan>) -> Self {
        let request = SelectRequest {
            matchers: query.expr.matchers.clone(),
            range: scan.range,
            order: Order::Time(query.direction),
            hints: Hints {
                needles: scan.pipeline.needles(),
                labels: scan.pairs.clone(),
                columns: ColumnSet::default(),
                grid: None,
            },
        };
        let memory = &session.limits.memory;
        Self {
            session,
            batches: session.querier.select(request),
            jobs: VecDeque::new(),
            best: Candidates::new(query.limit, memory),
            repeats: RepeatFilter::new(memory),
            scan,
        }
    }

    async fn run(mut self, stats: &mut Stats) -> Result<Candidates, Error> {
        // The first batch often suffices, so work is widened only as long as it does not.
        let mut width = 1;
        let mut exhausted = false;
        loop {
            while !exhausted && self.jobs.len() < width {
                self.session.check()?;
                match self.batches.next().await {
                    Some(batch) => exhausted = !self.start_job(batch?),
                    None => exhausted = true,
                }
            }
            let Some(job) = self.jobs.pop_front() else {
                break;
            };
            let found = job.await??;
            *stats += found.stats;
            self.merge(found.candidates, stats)?;
            width = (width * 2).min(self.session.workers.parallelism().max(1));
        }
        self.session.check()?;
        Ok(self.best)
    }

    /// False if neither this batch nor any after it can improve the answer.
    fn start_job(&mut self, batch: EntryBatch) -> bool {
        let worst = self.best.worst_if_full();
        if worst.is_some_and(|worst| self.scan.is_behind(batch.bounds, worst)) {
            return false;
        }
        let scan = Arc::clone(&self.scan);
        let memory = self.session.limits.memory.clone();
        self.jobs.push_back(start(self.session.workers, move || scan.search(&batch, worst, &memory)));
        true
    }

    fn merge(&mut self, found: Candidates, stats: &mut Stats) -> Result<(), Error> {
        self.best.leave_out_all_of(&found);
        for candidate in found.into_sorted() {
            if self.best.worst_if_full().is_some_and(|worst| candidate.rank > worst) {
                self.best.leave_out(candidate.rank);
                break;
            }
            if let Some(identity) = candidate.identity
                && !self.repeats.is_new(identity)?
            {
                stats.duplicates += 1;
                continue;
            }
            self.best.push(candidate)?;
        }
        Ok(())
    }
}

impl LogScan {
    /// Whether every entry inside `bounds` ranks behind `worst`.
    fn is_behind(&self, bounds: TimeRange, worst: Rank) -> bool {
        let worst = worst.timestamp(self.direction);
        match self.direction {
            Direction::Forward => bounds.start > worst,
            Direction::Backward => bounds.end <= worst,
        }
    }
}

/// Leaves out entries that are too close to the last one kept.
fn thin(mut entries: Vec<Candidate>, interval_nanos: i64) -> Vec<Candidate> {
    if interval_nanos <= 0 {
        return entries;
    }
    let mut last: Option<i64> = None;
    entries.retain(|entry| {
        let at = entry.timestamp.as_nanos();
        let is_far = last.is_none_or(|last| at.abs_diff(last) >= interval_nanos.unsigned_abs());
        if is_far {
            last = Some(at);
        }
        is_far
    });
    entries
}

/// Puts entries of equal labels into one stream. Streams come in the order of their labels' text.
fn group(entries: Vec<Candidate>) -> Vec<StreamEntries> {
    let mut numbers: HashMap<Labels, usize> = HashMap::new();
    let mut streams: Vec<StreamEntries> = Vec::new();
    for candidate in entries {
        let number = *numbers.entry(candidate.labels).or_insert_with_key(|labels| {
            streams.push(StreamEntries { labels: labels.clone(), entries: Vec::new() });
            streams.len() - 1
        });
        streams[number].entries.push(ResultEntry {
            timestamp: candidate.timestamp,
            line: candidate.line,
            metadata: candidate.metadata,
            parsed: candidate.parsed,
        });
    }
    streams.sort_by_cached_key(|stream| stream.labels.to_string());
    streams
}
