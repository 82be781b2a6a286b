//! Counting entries from rollups, without touching chunks.

use std::collections::BTreeMap;

use loki_core::rollup::{Columns, Rollup};
use loki_core::{Labels, TimeRange, Timestamp};
use loki_logql::querier::{Count, Grid, GridLabels};
use roaring::RoaringBitmap;

use super::hidden::Hidden;
use super::zones::{Zones, union};
use crate::cache::StreamTotal;
use crate::segment::tables::{MINUTE_NANOS, minute_range};
use crate::segment::{StreamTimes, TenantEntry};

/// What the rollup of a segment says of a query, and what it leaves open.
#[derive(Debug, Default)]
pub(super) struct RollupAnswer {
    /// Per stream, in ascending order: counts per cell of the query's grid.
    pub(super) counts: Vec<(u32, Vec<Count>)>,
    /// Per stream: spans whose entries must be counted one by one.
    pub(super) open: BTreeMap<u32, Vec<TimeRange>>,
}

/// Whether cells of a rollup fall into cells of the grid without being cut.
pub(super) fn refines(grid: &Grid) -> bool {
    grid.origin.0.rem_euclid(MINUTE_NANOS) == 0 && grid.spacing_nanos % MINUTE_NANOS == 0
}

/// Whether entries of a stream may be told apart only by their stream, as far as the grid's labels go.
pub(super) fn collapsible(grid: &Grid, labels: &Labels, entry: &TenantEntry) -> bool {
    match &grid.labels {
        GridLabels::All => entry.no_metadata(),
        GridLabels::Only(names) => {
            names.iter().all(|name| labels.get(name).is_some() || !entry.may_have_metadata(name))
        }
    }
}

/// Whether all entries of a segment are in one cell of the grid, so that totals of its streams are enough.
pub(super) fn is_one_cell(grid: &Grid, range: TimeRange, segment: TimeRange) -> bool {
    let last = segment.end.saturating_sub_nanos(1);
    range.start <= segment.start && segment.end <= range.end && grid_cell(grid, segment.start) == grid_cell(grid, last)
}

/// Counts the entries of streams by their totals, but for those of streams in zones or with entries that may be hidden,
/// which stay in `streams`.
pub(super) fn count_totals(
    totals: &[StreamTotal],
    streams: &mut RoaringBitmap,
    times: &StreamTimes,
    zones: &Zones,
    hidden: &Hidden,
) -> Vec<(u32, Vec<Count>)> {
    let mut counts = Vec::new();
    for (stream, total) in (0..).zip(totals) {
        let lifetime = times.range(stream);
        if total.entries == 0 || !zones.of(stream).is_empty() || hidden.overlaps(stream, lifetime) {
            continue;
        }
        if streams.remove(stream) {
            let timestamp = lifetime.end.saturating_sub_nanos(1);
            let count = Count { timestamp, entries: total.entries, line_bytes: total.line_bytes };
            counts.push((stream, vec![count]));
        }
    }
    counts
}

/// Counts the entries of `streams` in `range` from the rollup, but for cells at the edges of the range, in zones, and
/// with entries that may be hidden.
pub(super) fn count(
    rollup: &Rollup,
    streams: &RoaringBitmap,
    times: &StreamTimes,
    zones: &Zones,
    hidden: &Hidden,
    range: TimeRange,
    grid: &Grid,
) -> Result<RollupAnswer, loki_core::Error> {
    let mut answer = RollupAnswer::default();
    let mut scan = rollup.scan(streams, Columns::All);
    while let Some(cells) = scan.next_cells()? {
        let stream = cells.stream;
        let lifetime = times.range(stream);
        // A cell that the range cuts is whole all the same if the stream has no entries beyond the cut.
        let start = if lifetime.start >= range.start { Timestamp::MIN } else { range.start };
        let end = if lifetime.end <= range.end { Timestamp::MAX } else { range.end };
        let zones = zones.of(stream);
        // A stream with many minutes comes in several pieces.
        if answer.counts.last().is_none_or(|(last, _)| *last != stream) {
            answer.counts.push((stream, Vec::new()));
        }
        let (_, counts) = answer.counts.last_mut().expect("it was just pushed");
        for (i, &minute) in cells.minutes.iter().enumerate() {
            let span = minute_range(minute);
            if !span.overlaps(&range) {
                continue;
            }
            if hidden.covers(stream, span.intersect(&range).intersect(&lifetime)) {
                continue;
            }
            let cut = span.start < start || span.end > end || hidden.overlaps(stream, span);
            if cut || zones.iter().any(|zone| zone.overlaps(&span)) {
                let open = answer.open.entry(stream).or_default();
                open.push(span.intersect(&range));
                continue;
            }
            let timestamp = span.end.saturating_sub_nanos(1);
            let same_cell = |count: &&mut Count| grid_cell(grid, count.timestamp) == grid_cell(grid, timestamp);
            match counts.last_mut().filter(same_cell) {
                Some(count) => {
                    count.entries += cells.entries[i];
                    count.line_bytes += cells.line_bytes[i];
                }
                None => counts.push(Count { timestamp, entries: cells.entries[i], line_bytes: cells.line_bytes[i] }),
            }
        }
    }
    answer.counts.retain(|(_, counts)| !counts.is_empty());
    for spans in answer.open.values_mut() {
        *spans = union(std::mem::take(spans));
    }
    Ok(answer)
}

/// The number of the grid's cell that holds a time.
fn grid_cell(grid: &Grid, timestamp: Timestamp) -> i64 {
    let offset = timestamp.0.saturating_sub(1).saturating_sub(grid.origin.0);
    offset.div_euclid(grid.spacing_nanos)
}
