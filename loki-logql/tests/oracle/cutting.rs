//! A querier that delivers entries in every shape that the contract allows.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use loki_core::{Chunk, ChunkBuilder, ChunkOptions, Direction, Labels, Text, TimeRange, Timestamp};
use loki_logql::querier::{
    Columns, Count, EntryBatch, Grid, GridLabels, Hints, Order, Querier, QuerierError, Rows, SelectRequest, StreamRun,
};

use super::dice::Dice;
use super::entries::StoredEntry;

/// Cuts, shuffles, seals, collapses and repeats entries, and follows hints, as the dice fall.
#[derive(Debug)]
pub(crate) struct CuttingQuerier {
    entries: Vec<StoredEntry>,
    dice: Dice,
}

impl CuttingQuerier {
    pub(crate) fn new(entries: &[StoredEntry], dice: Dice) -> Self {
        Self { entries: entries.to_vec(), dice }
    }
}

impl Querier for CuttingQuerier {
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        let mut dice = self.dice.clone();
        let follows_hints = dice.one_in(2);
        let mut batches = Vec::new();
        for (sequence, entries) in self.cut(&request, &mut dice).into_iter().enumerate() {
            let sequence = sequence as u64;
            let wanted = |entry: &&StoredEntry| {
                !follows_hints || (allowed(entry, &request.hints) && request.range.contains(Timestamp(entry.timestamp)))
            };
            let entries: Vec<StoredEntry> = entries.iter().filter(wanted).cloned().collect();
            if dice.one_in(4) {
                // Two copies. Where the order of arrival decides what a limit leaves, copies must agree about it, and
                // rows of different shapes do not.
                let spans = bounds(&entries).into_iter().collect::<Vec<_>>();
                let copy = batch(&entries, sequence, &spans, &mut dice);
                batches.extend(match request.order {
                    Order::Any => batch(&entries, sequence, &spans, &mut dice),
                    Order::Time(_) => copy.clone(),
                });
                batches.extend(copy);
                continue;
            }
            let (collapsed, mut rest) = match &request.hints.grid {
                Some(grid) if follows_hints => entries.into_iter().partition(|e| collapses(e, grid) && !dice.one_in(4)),
                _ => (Vec::new(), entries),
            };
            if follows_hints {
                blank_columns(&mut rest, &request.hints);
            }
            batches.extend(request.hints.grid.as_ref().and_then(|grid| counts(&collapsed, grid, sequence)));
            batches.extend(batch(&rest, sequence, &[], &mut dice));
        }
        dice.shuffle(&mut batches);
        match request.order {
            Order::Any => {}
            Order::Time(Direction::Forward) => batches.sort_by_key(|batch| batch.bounds.start),
            Order::Time(Direction::Backward) => batches.sort_by_key(|batch| Reverse(batch.bounds.end)),
        }
        stream::iter(batches.into_iter().map(Ok)).boxed()
    }
}

impl CuttingQuerier {
    /// Entries of selected streams, cut anywhere; arrival goes from piece to piece.
    fn cut(&self, request: &SelectRequest, dice: &mut Dice) -> Vec<Vec<StoredEntry>> {
        let mut pieces = vec![Vec::new()];
        for entry in &self.entries {
            let selected =
                |matcher: &loki_core::Matcher| matcher.matches(entry.labels.get(matcher.name()).unwrap_or_default());
            if !request.matchers.iter().all(selected) {
                continue;
            }
            if dice.one_in(7) {
                pieces.push(Vec::new());
            }
            pieces.last_mut().expect("never empty").push(entry.clone());
        }
        pieces
    }
}

/// Whether hints leave an entry in.
fn allowed(entry: &StoredEntry, hints: &Hints) -> bool {
    let lower = entry.line.to_lowercase();
    let needles = hints.needles.iter().all(|any| {
        any.iter().any(|literal| {
            let bytes = String::from_utf8(literal.bytes.clone()).expect("text");
            if literal.case_insensitive { lower.contains(&bytes.to_lowercase()) } else { entry.line.contains(&bytes) }
        })
    });
    let has = |labels: &Labels, pair: &(String, String)| labels.get(&pair.0) == Some(&pair.1);
    needles && hints.labels.iter().all(|pair| has(&entry.labels, pair) || has(&entry.metadata, pair))
}

fn collapses(entry: &StoredEntry, grid: &Grid) -> bool {
    match &grid.labels {
        GridLabels::All => entry.metadata.is_empty(),
        GridLabels::Only(names) => {
            names.iter().all(|name| entry.metadata.get(name).is_none() || entry.labels.get(name).is_some())
        }
    }
}

/// Removes what the consumer said it would not look at.
fn blank_columns(entries: &mut [StoredEntry], hints: &Hints) {
    for entry in entries {
        if !hints.columns.text {
            "not wanted".clone_into(&mut entry.line);
        }
        if !hints.columns.metadata {
            entry.metadata = Labels::EMPTY;
        }
    }
}

fn bounds(entries: &[StoredEntry]) -> Option<TimeRange> {
    let times = || entries.iter().map(|entry| entry.timestamp);
    Some(TimeRange::new(Timestamp(times().min()?), Timestamp(times().max()? + 1)))
}

fn by_stream(entries: &[StoredEntry]) -> BTreeMap<Labels, Vec<&StoredEntry>> {
    let mut streams: BTreeMap<Labels, Vec<&StoredEntry>> = BTreeMap::new();
    for entry in entries {
        streams.entry(entry.labels.clone()).or_default().push(entry);
    }
    streams
}

fn run(labels: &Labels, rows: std::ops::Range<usize>) -> StreamRun {
    StreamRun { labels: labels.clone(), hash: labels.hash64(), rows: rows.start as u32..rows.end as u32 }
}

/// Entries as rows in memory or as a sealed chunk.
fn batch(entries: &[StoredEntry], sequence: u64, repeats: &[TimeRange], dice: &mut Dice) -> Option<EntryBatch> {
    let bounds = bounds(entries)?;
    let sealed = dice.one_in(2);
    let mut runs = Vec::new();
    let mut sorted = Vec::new();
    for (labels, mut entries) in by_stream(entries) {
        if sealed {
            entries.sort_by_key(|entry| entry.timestamp);
        }
        runs.push(run(&labels, sorted.len()..sorted.len() + entries.len()));
        sorted.extend(entries);
    }
    let columns = if sealed { seal(&runs, &sorted) } else { rows(&sorted) };
    Some(EntryBatch { sequence, bounds, runs, columns, repeats: Arc::from(repeats) })
}

fn seal(runs: &[StreamRun], entries: &[&StoredEntry]) -> Columns {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    for (stream, run) in runs.iter().enumerate() {
        for entry in &entries[run.rows.start as usize..run.rows.end as usize] {
            let (at, line) = (Timestamp(entry.timestamp), entry.line.as_bytes());
            builder.append(stream as u32, at, line, &entry.metadata).expect("small and sorted");
        }
    }
    let sealed = builder.finish().expect("not empty");
    Columns::Chunk(Chunk::open(sealed.bytes).expect("just sealed"))
}

fn rows(entries: &[&StoredEntry]) -> Columns {
    let has_metadata = entries.iter().any(|entry| !entry.metadata.is_empty());
    let metadata = entries.iter().map(|entry| entry.metadata.clone());
    Columns::Rows(Arc::new(Rows {
        text: Text::from_lines(entries.iter().map(|entry| &entry.line)),
        timestamps: entries.iter().map(|entry| entry.timestamp).collect(),
        metadata: if has_metadata { metadata.collect() } else { Vec::new() },
    }))
}

/// Entries as sums over cells of the grid.
fn counts(entries: &[StoredEntry], grid: &Grid, sequence: u64) -> Option<EntryBatch> {
    let bounds = bounds(entries)?;
    let (mut runs, mut counts) = (Vec::new(), Vec::new());
    for (labels, entries) in by_stream(entries) {
        let mut cells: BTreeMap<i64, Count> = BTreeMap::new();
        for entry in entries {
            let cell = (entry.timestamp - grid.origin.0 - 1).div_euclid(grid.spacing_nanos);
            let timestamp = Timestamp(entry.timestamp);
            let count = cells.entry(cell).or_insert(Count { timestamp, entries: 0, line_bytes: 0 });
            count.entries += 1;
            count.line_bytes += entry.line.len() as u64;
        }
        runs.push(run(&labels, counts.len()..counts.len() + cells.len()));
        counts.extend(cells.into_values());
    }
    Some(EntryBatch { sequence, bounds, runs, columns: Columns::Counts(counts), repeats: Arc::from([]) })
}
