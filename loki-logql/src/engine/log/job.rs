//! Looking for entries in one batch.

use bytes::Bytes;
use loki_core::{Direction, Labels, TimeRange, Timestamp};

use super::super::error::Error;
use super::super::fold::Arrival;
use super::super::repeats::may_repeat;
use super::super::rows::{Lines, Span, count_entries, spans};
use super::candidates::{Candidate, Candidates, Rank};
use super::{Found, LogScan};
use crate::budget::Budget;
use crate::pipeline::{PipelineWorker, Processed};
use crate::querier::{ColumnSet, EntryBatch};
use crate::stats::Stats;

impl LogScan {
    /// The best entries of a batch that rank no worse than `worst`.
    ///
    /// Times are decoded first, and lines only if some entry can still be part of the answer.
    pub(super) fn search(&self, batch: &EntryBatch, worst: Option<Rank>, memory: &Budget) -> Result<Found, Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut found =
            Found { candidates: Candidates::new(self.limit, memory), stats: Stats { batches: 1, ..Stats::default() } };
        let timestamps = batch.columns.timestamps()?;
        let spans = spans(batch, &timestamps, self.range_until(worst));
        if spans.is_empty() {
            found.stats.batches_skipped += 1;
            return Ok(found);
        }
        let lines = Lines::open(batch, &timestamps, &spans, ColumnSet::default(), &self.pairs, memory)?;
        count_entries(&spans, &batch.columns, &mut found.stats);
        lines.count(&spans, &mut found.stats);
        self.search_lines(&lines, &spans, worst, &mut found)?;
        Ok(found)
    }

    /// The part of the queried range in which entries can rank no worse than `worst`.
    fn range_until(&self, worst: Option<Rank>) -> TimeRange {
        let Some(worst) = worst.map(|worst| worst.timestamp(self.direction)) else {
            return self.range;
        };
        let reachable = match self.direction {
            Direction::Forward => TimeRange::new(Timestamp::MIN, worst.saturating_add_nanos(1)),
            Direction::Backward => TimeRange::new(worst, Timestamp::MAX),
        };
        self.range.intersect(&reachable)
    }

    fn search_lines(
        &self,
        lines: &Lines<'_>,
        spans: &[Span<'_>],
        worst: Option<Rank>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let mut selected = Vec::new();
        lines.select(spans, self.pipeline.prefilter(), &mut selected);
        let mut worker = self.pipeline.worker(&lines.metadata);
        let mut rest = selected.as_slice();
        for span in spans {
            let (rows, behind) = rest.split_at(rest.partition_point(|&row| row < span.rows.end));
            rest = behind;
            let mut search = SpanSearch { scan: self, lines, span, worst, found: &mut *found, worker: &mut worker };
            match self.direction {
                Direction::Forward => search.visit(rows.iter().copied())?,
                Direction::Backward => search.visit(rows.iter().rev().copied())?,
            }
        }
        Ok(())
    }
}

/// The search in consecutive rows of one stream.
struct SpanSearch<'s, 'b, 'p> {
    scan: &'s LogScan,
    lines: &'s Lines<'b>,
    span: &'s Span<'b>,
    worst: Option<Rank>,
    found: &'s mut Found,
    worker: &'s mut PipelineWorker<'p>,
}

impl SpanSearch<'_, '_, '_> {
    /// Visits rows, the best first where times are sorted.
    fn visit(&mut self, rows: impl Iterator<Item = u32>) -> Result<(), Error> {
        let sorted = self.lines.batch.columns.sorted();
        let mut started = false;
        for row in rows {
            let timestamp = Timestamp(self.lines.timestamps[row as usize]);
            if !self.scan.range.contains(timestamp) {
                continue;
            }
            let rank = self.rank(timestamp, row);
            let worst = self.found.candidates.worst_if_full().or(self.worst);
            if worst.is_some_and(|worst| rank > worst) {
                self.found.candidates.leave_out(rank);
                if sorted {
                    break;
                }
                continue;
            }
            if !started {
                self.worker.start_stream(self.span.labels());
                started = true;
            }
            self.visit_row(timestamp, row, rank)?;
        }
        Ok(())
    }

    fn visit_row(&mut self, timestamp: Timestamp, row: u32, rank: Rank) -> Result<(), Error> {
        let line = self.lines.line(row);
        let Some(entry) = self.worker.process(timestamp, line, row) else {
            return Ok(());
        };
        self.found.stats.post_filter_entries += 1;
        let identity = may_repeat(&self.lines.batch.repeats, timestamp).then(|| {
            let stream = self.span.run.hash;
            self.scan.identifier.identify(stream, timestamp, line, row, &self.lines.metadata)
        });
        let (labels, metadata, parsed) = labels(&entry, self.scan.categorize_labels);
        self.found.candidates.push(Candidate {
            rank,
            timestamp,
            line: Bytes::copy_from_slice(entry.line),
            labels,
            metadata,
            parsed,
            identity,
        })?;
        Ok(())
    }

    fn rank(&self, timestamp: Timestamp, row: u32) -> Rank {
        let arrival = Arrival { sequence: self.lines.batch.sequence, row };
        Rank::new(self.scan.direction, timestamp, self.span.run.hash, arrival)
    }
}

fn labels(entry: &Processed<'_>, categorize: bool) -> (Labels, Labels, Labels) {
    if categorize { entry.labels.categories() } else { (entry.labels.merged(), Labels::EMPTY, Labels::EMPTY) }
}
