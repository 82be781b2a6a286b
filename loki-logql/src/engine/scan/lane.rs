//! The state of one worker of a scan, and how it takes in a batch.

use hashbrown::HashTable;

use super::super::error::PipelineError;
use super::super::fold::{Arrival, Sample, Tally};
use super::super::label_sets;
use super::super::repeats::{RepeatFilter, may_repeat};
use super::super::rows::{Lines, Span, count_entries, leading, spans};
use super::super::series::{SeriesId, SeriesTable};
use super::super::windows::{Cell, Windows};
use super::{Error, LimitError, Scan, Stats};
use crate::budget::{Budget, BudgetExceeded, Reservation};
use crate::pipeline::{PipelineWorker, Processed};
use crate::querier::{ColumnSet, Columns, Count, EntryBatch, StreamRun};
use loki_core::{Labels, Timestamp};

/// Series and counters of one worker.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) series: SeriesTable,
    pub(super) stats: Stats,
    repeats: RepeatFilter,
    budget: Budget,
    /// Streams seen so far, by the hash of their labels.
    streams: HashTable<KnownStream>,
    /// Memory of `streams`.
    memory: Reservation,
    /// Scratch: encoded labels.
    key: Vec<u8>,
    /// Scratch: rows that passed the leading line filters.
    selected: Vec<u32>,
}

/// What has been found out about a stream.
#[derive(Debug)]
struct KnownStream {
    hash: u64,
    labels: Labels,
    /// The series of those of its entries that have its labels.
    series: SeriesId,
    /// Entries with metadata may belong to other series.
    metadata_matters: bool,
}

impl Lane {
    pub(super) fn new(scan: &Scan, budget: &Budget) -> Self {
        Self {
            series: SeriesTable::new(scan.function, budget),
            stats: Stats::default(),
            repeats: RepeatFilter::new(budget),
            budget: budget.clone(),
            streams: HashTable::new(),
            memory: budget.reservation(),
            key: Vec::new(),
            selected: Vec::new(),
        }
    }

    /// Takes in a batch.
    pub(super) fn scan(mut self: Box<Self>, scan: &Scan, batch: &EntryBatch) -> Result<Box<Self>, Error> {
        if scan.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.stats.batches += 1;
        if let Columns::Counts(counts) = &batch.columns {
            self.add_counts(scan, batch, counts)?;
        } else {
            self.add_rows(scan, batch)?;
        }
        match scan.max_series {
            Some(limit) if self.series.filled() > limit => Err(LimitError::Series { limit }.into()),
            _ => Ok(self),
        }
    }

    /// Takes in what another lane has.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), BudgetExceeded> {
        self.stats += other.stats;
        self.series.merge(other.series)
    }

    fn add_counts(&mut self, scan: &Scan, batch: &EntryBatch, counts: &[Count]) -> Result<(), Error> {
        for run in &batch.runs {
            // Entries come collapsed only where their own metadata does not matter.
            let (id, _) = self.series_of_stream(scan, run)?;
            for count in &counts[run.rows.start as usize..run.rows.end as usize] {
                if let Some(cell) = scan.windows.cell(count.timestamp.as_nanos()) {
                    let tally = Tally { entries: count.entries, bytes: count.line_bytes };
                    self.series.add_tally(id, cell.index, tally)?;
                    self.stats.collapsed_entries += count.entries;
                    self.stats.post_filter_entries += count.entries;
                }
            }
        }
        Ok(())
    }

    fn add_rows(&mut self, scan: &Scan, batch: &EntryBatch) -> Result<(), Error> {
        let timestamps = batch.columns.timestamps()?;
        let spans = spans(batch, &timestamps, scan.span);
        if spans.is_empty() {
            self.stats.batches_skipped += 1;
            return Ok(());
        }
        count_entries(&spans, &batch.columns, &mut self.stats);
        let repeats = batch.repeats.iter().any(|repeat| repeat.overlaps(&scan.span));
        if scan.is_plain() && !scan.function.needs_bytes() && !repeats {
            let has_metadata = batch.columns.has_metadata();
            let mut rest = Vec::new();
            for span in spans {
                let (id, metadata_matters) = self.series_of_stream(scan, span.run)?;
                if has_metadata && metadata_matters {
                    rest.push(span);
                } else {
                    self.count_by_time(scan, id, &timestamps[span.indexes()], batch.columns.sorted())?;
                }
            }
            return if rest.is_empty() { Ok(()) } else { self.add_lines(scan, batch, &timestamps, &rest) };
        }
        self.add_lines(scan, batch, &timestamps, &spans)
    }

    /// The series that entries of a stream belong to, and whether those with metadata may belong to others.
    fn series_of_stream(&mut self, scan: &Scan, run: &StreamRun) -> Result<(SeriesId, bool), BudgetExceeded> {
        let is_known = |known: &KnownStream| known.hash == run.hash && known.labels == run.labels;
        if let Some(known) = self.streams.find(run.hash, is_known) {
            return Ok((known.series, known.metadata_matters));
        }
        self.key.clear();
        label_sets::encode_group(&run.labels, &scan.grouping, &mut self.key);
        let series = self.series.find_or_insert(&self.key)?;
        let metadata_matters = scan.metadata_matters(&run.labels);
        // A hash table is at most half empty.
        self.memory.grow(2 * size_of::<KnownStream>())?;
        let known = KnownStream { hash: run.hash, labels: run.labels.clone(), series, metadata_matters };
        self.streams.insert_unique(run.hash, known, |known| known.hash);
        Ok((series, metadata_matters))
    }

    /// Counts entries of a series by their times alone.
    fn count_by_time(&mut self, scan: &Scan, id: SeriesId, mut times: &[i64], sorted: bool) -> Result<(), Error> {
        while let Some(&time) = times.first() {
            let Some(cell) = scan.windows.cell(time) else {
                times = &times[1..];
                continue;
            };
            let same = if sorted {
                leading(times, cell.until)
            } else {
                times.iter().take_while(|&&time| cell.contains(time)).count()
            };
            let entries = same as u64;
            self.series.add_tally(id, cell.index, Tally { entries, bytes: 0 })?;
            self.stats.post_filter_entries += entries;
            times = &times[same..];
        }
        Ok(())
    }

    /// Takes in rows whose lines have to be looked at.
    fn add_lines(
        &mut self,
        scan: &Scan,
        batch: &EntryBatch,
        timestamps: &[i64],
        spans: &[Span<'_>],
    ) -> Result<(), Error> {
        let repeats = batch.repeats.iter().any(|repeat| repeat.overlaps(&scan.span));
        let wanted = ColumnSet {
            text: repeats || scan.needs_text(),
            metadata: repeats
                || scan.pipeline.needs_metadata()
                || spans.iter().any(|span| scan.metadata_matters(span.labels())),
        };
        let lines = Lines::open(batch, timestamps, spans, wanted, &scan.pairs, &self.budget)?;
        lines.count(spans, &mut self.stats);
        let mut selected = std::mem::take(&mut self.selected);
        lines.select(spans, scan.pipeline.prefilter(), &mut selected);
        let mut worker = scan.pipeline.worker(&lines.metadata);
        let mut rest = selected.as_slice();
        for span in spans {
            let (rows, behind) = rest.split_at(rest.partition_point(|&row| row < span.rows.end));
            rest = behind;
            if rows.is_empty() {
                continue;
            }
            if scan.pipeline.is_trivial() && !(lines.has_metadata() && scan.metadata_matters(span.labels())) {
                self.tally_rows(scan, &lines, span, rows)?;
            } else {
                self.process_rows(scan, &lines, span, rows, &mut worker)?;
            }
        }
        self.selected = selected;
        Ok(())
    }

    /// Counts entries of one stream, to which the pipeline does nothing more.
    fn tally_rows(&mut self, scan: &Scan, lines: &Lines<'_>, span: &Span<'_>, rows: &[u32]) -> Result<(), Error> {
        let (id, _) = self.series_of_stream(scan, span.run)?;
        let needs_bytes = scan.function.needs_bytes();
        let mut cursor = Cursor::new(&scan.windows);
        let mut current = 0;
        let mut tally = Tally::default();
        for &row in rows {
            let Some(cell) = cursor.cell(lines.timestamps[row as usize]) else {
                continue;
            };
            if self.is_repeat(scan, lines, span, row)? {
                continue;
            }
            if cell != current {
                if tally.entries > 0 {
                    self.series.add_tally(id, current, tally)?;
                }
                current = cell;
                tally = Tally::default();
            }
            tally.entries += 1;
            if needs_bytes {
                tally.bytes += lines.line(row).len() as u64;
            }
            self.stats.post_filter_entries += 1;
        }
        if tally.entries > 0 {
            self.series.add_tally(id, current, tally)?;
        }
        Ok(())
    }

    /// Sends rows of one stream through the pipeline.
    fn process_rows(
        &mut self,
        scan: &Scan,
        lines: &Lines<'_>,
        span: &Span<'_>,
        rows: &[u32],
        worker: &mut PipelineWorker<'_>,
    ) -> Result<(), Error> {
        worker.start_stream(span.labels());
        let mut cursor = Cursor::new(&scan.windows);
        for &row in rows {
            let timestamp = lines.timestamps[row as usize];
            let Some(cell) = cursor.cell(timestamp) else {
                continue;
            };
            if self.is_repeat(scan, lines, span, row)? {
                continue;
            }
            let line = lines.line(row);
            let Some(entry) = worker.process(Timestamp(timestamp), line, row) else {
                continue;
            };
            self.stats.post_filter_entries += 1;
            scan.check_error(&entry)?;
            let id = if entry.labels.is_unchanged() {
                self.series_of_stream(scan, span.run)?.0
            } else {
                self.key.clear();
                entry.labels.group_key(&scan.grouping, scan.keeps_empty, &mut self.key);
                self.series.find_or_insert(&self.key)?
            };
            if scan.function.is_tally() {
                let bytes = entry.line.len() as u64;
                self.series.add_tally(id, cell, Tally { entries: 1, bytes })?;
            } else if let Some(value) = entry.value {
                let arrival = Arrival { sequence: lines.batch.sequence, row };
                self.series.add(id, cell, &Sample { timestamp, arrival, value })?;
            }
        }
        Ok(())
    }

    /// Whether another batch has brought this entry already.
    fn is_repeat(&mut self, scan: &Scan, lines: &Lines<'_>, span: &Span<'_>, row: u32) -> Result<bool, BudgetExceeded> {
        let timestamp = Timestamp(lines.timestamps[row as usize]);
        if !may_repeat(&lines.batch.repeats, timestamp) {
            return Ok(false);
        }
        let line = lines.line(row);
        let identity = scan.identifier.identify(span.run.hash, timestamp, line, row, &lines.metadata);
        let is_new = self.repeats.is_new(identity)?;
        self.stats.duplicates += u64::from(!is_new);
        Ok(!is_new)
    }
}

impl Scan {
    /// Fails on an entry whose error the query did not ask for.
    fn check_error(&self, entry: &Processed<'_>) -> Result<(), Box<PipelineError>> {
        match entry.labels.error() {
            Some(error) if !(self.accepts_parser_errors && PARSER_ERRORS.contains(&error)) => {
                Err(Box::new(PipelineError { error: error.to_owned(), series: entry.labels.merged() }))
            }
            _ => Ok(()),
        }
    }
}

/// Errors that a query can ask for.
const PARSER_ERRORS: [&str; 2] = ["JSONParserErr", "LogfmtParserErr"];

/// Finds cells, remembering the last one: neighbours are mostly in the same cell.
struct Cursor<'w> {
    windows: &'w Windows,
    last: Option<Cell>,
}

impl<'w> Cursor<'w> {
    fn new(windows: &'w Windows) -> Self {
        Self { windows, last: None }
    }

    fn cell(&mut self, time: i64) -> Option<usize> {
        if !self.last.is_some_and(|cell| cell.contains(time)) {
            self.last = self.windows.cell(time);
        }
        self.last.map(|cell| cell.index)
    }
}
