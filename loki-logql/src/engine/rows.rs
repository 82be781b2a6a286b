//! The rows of a batch that a query has to look at.

use std::borrow::Cow;
use std::ops::Range;

use loki_core::chunk::PartKind;
use loki_core::{Labels, Text, TimeRange};

use super::error::Error;
use crate::budget::{Budget, Reservation};
use crate::querier::{Columns, EntryBatch, RowMetadata, StreamRun};
use crate::stats::{ReadStats, Stats};

/// Consecutive rows of one stream that may be wanted.
#[derive(Clone, Debug)]
pub(crate) struct Span<'b> {
    pub(crate) run: &'b StreamRun,
    pub(crate) rows: Range<u32>,
}

impl Span<'_> {
    pub(crate) fn labels(&self) -> &Labels {
        &self.run.labels
    }

    /// The rows as indexes.
    pub(crate) fn indexes(&self) -> Range<usize> {
        self.rows.start as usize..self.rows.end as usize
    }
}

/// The runs of a batch, cut down to rows inside `range`. Where rows are not sorted by time, rows outside remain.
pub(crate) fn spans<'b>(batch: &'b EntryBatch, timestamps: &[i64], range: TimeRange) -> Vec<Span<'b>> {
    let sorted = batch.columns.sorted();
    let cut = |run: &'b StreamRun| {
        let first = run.rows.start as usize;
        let times = &timestamps[first..run.rows.end as usize];
        let rows = if sorted {
            let start = first + times.partition_point(|&time| time < range.start.as_nanos());
            let end = first + times.partition_point(|&time| time < range.end.as_nanos());
            start as u32..end as u32
        } else {
            run.rows.clone()
        };
        (rows.start < rows.end).then_some(Span { run, rows })
    };
    batch.runs.iter().filter_map(cut).collect()
}

/// The columns of a batch, decoded.
#[derive(Debug)]
pub(crate) struct Lines<'b> {
    pub(crate) batch: &'b EntryBatch,
    pub(crate) timestamps: &'b [i64],
    pub(crate) text: Cow<'b, Text>,
    pub(crate) metadata: RowMetadata,
    /// Holds the memory of the text.
    _memory: Reservation,
}

impl<'b> Lines<'b> {
    /// Inflates text and metadata; `None` if the batch has none.
    pub(crate) fn open(batch: &'b EntryBatch, timestamps: &'b [i64], budget: &Budget) -> Result<Option<Self>, Error> {
        let Some(text) = batch.columns.text()? else {
            return Ok(None);
        };
        let mut memory = budget.reservation();
        if matches!(batch.columns, Columns::Chunk(_)) {
            memory.grow(text.as_bytes().len())?;
        }
        let metadata = batch.columns.metadata()?;
        Ok(Some(Self { batch, timestamps, text, metadata, _memory: memory }))
    }

    /// Whether any entry has structured metadata.
    pub(crate) fn has_metadata(&self) -> bool {
        !matches!(self.metadata, RowMetadata::None)
    }

    /// Counts what these rows weigh.
    pub(crate) fn count(&self, spans: &[Span<'_>], stats: &mut Stats) {
        stats.metadata_used |= self.has_metadata();
        let (line_bytes, metadata_bytes) = match &self.batch.columns {
            // Where lines of a chunk begin is known only after a search that would cost more than it tells.
            Columns::Chunk(chunk) => {
                let wanted: u64 = spans.iter().map(|span| span.rows.len() as u64).sum();
                let metadata_bytes = chunk.part_raw_bytes(PartKind::METADATA) + chunk.part_raw_bytes(PartKind::FIXED);
                let share = |bytes: u64| bytes * wanted / u64::from(chunk.rows()).max(1);
                (share(chunk.raw_bytes()), share(metadata_bytes))
            }
            Columns::Rows(rows) => {
                let wanted = || spans.iter().flat_map(Span::indexes);
                let line_bytes = wanted().map(|row| self.text.range(row as u32).len() as u64).sum();
                let metadata = wanted().filter_map(|row| rows.metadata.get(row));
                (line_bytes, metadata.map(|labels| labels.size_bytes() as u64).sum())
            }
            Columns::Counts(_) => (0, 0),
        };
        let read = read_stats(stats, &self.batch.columns);
        read.line_bytes += line_bytes;
        read.metadata_bytes += metadata_bytes;
    }
}

/// Counts rows that have to be looked at.
pub(crate) fn count_entries(spans: &[Span<'_>], columns: &Columns, stats: &mut Stats) {
    stats.chunks_read += u64::from(matches!(columns, Columns::Chunk(_)));
    read_stats(stats, columns).entries += spans.iter().map(|span| span.rows.len() as u64).sum::<u64>();
}

fn read_stats<'s>(stats: &'s mut Stats, columns: &Columns) -> &'s mut ReadStats {
    match columns {
        Columns::Chunk(_) => &mut stats.chunks,
        Columns::Rows(_) | Columns::Counts(_) => &mut stats.head,
    }
}

/// How many of the leading times are at most `until`, where those come first.
///
/// Gallops: the cost depends on the answer, not on how many times there are.
pub(crate) fn leading(times: &[i64], until: i64) -> usize {
    let mut bound = 1;
    while bound < times.len() && times[bound] <= until {
        bound *= 2;
    }
    let known = bound / 2;
    let end = bound.min(times.len());
    known + times[known..end].partition_point(|&time| time <= until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn galloping_finds_every_border() {
        for len in 0..40_i64 {
            let times: Vec<i64> = (0..len).collect();
            for until in -1..=len {
                assert_eq!(leading(&times, until), times.partition_point(|&time| time <= until));
            }
        }
    }
}
