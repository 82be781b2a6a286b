//! The rows of a batch that a query has to look at.

use std::borrow::Cow;
use std::ops::Range;

use loki_core::chunk::PartKind;
use loki_core::{Labels, Text, TimeRange};

use super::error::Error;
use crate::budget::{Budget, Reservation};
use crate::pipeline::LineFilters;
use crate::querier::{ColumnSet, Columns, EntryBatch, RowMetadata, StreamRun};
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
            let inside = range.indexes_in(times);
            (first + inside.start) as u32..(first + inside.end) as u32
        } else {
            run.rows.clone()
        };
        (rows.start < rows.end).then_some(Span { run, rows })
    };
    batch.runs.iter().filter_map(cut).collect()
}

/// The columns of a batch that a query looks at, decoded.
#[derive(Debug)]
pub(crate) struct Lines<'b> {
    pub(crate) batch: &'b EntryBatch,
    pub(crate) timestamps: &'b [i64],
    /// `None` where nobody looks at lines.
    pub(crate) text: Option<Cow<'b, Text>>,
    /// [`RowMetadata::None`] also where nobody looks at it.
    pub(crate) metadata: RowMetadata,
    /// The only rows that can pass, ascending; `None` if all can.
    rows: Option<Vec<u32>>,
    /// Holds the memory of the text.
    _memory: Reservation,
}

impl<'b> Lines<'b> {
    /// Inflates what is wanted of a batch. Lines are left alone if no row has all of `pairs`, each of them as a stream
    /// label or as structured metadata.
    pub(crate) fn open(
        batch: &'b EntryBatch,
        timestamps: &'b [i64],
        spans: &[Span<'_>],
        wanted: ColumnSet,
        pairs: &[(String, String)],
        budget: &Budget,
    ) -> Result<Self, Error> {
        let look_at_metadata = wanted.metadata || !pairs.is_empty();
        let metadata = if look_at_metadata { batch.columns.metadata()? } else { RowMetadata::None };
        let rows = (!pairs.is_empty()).then(|| rows_with(pairs, spans, &metadata));
        let may_pass = rows.as_ref().is_none_or(|rows| !rows.is_empty());
        let text = if wanted.text && may_pass { batch.columns.text()? } else { None };
        let mut memory = budget.reservation();
        if let Some(Cow::Owned(text)) = &text {
            memory.grow(text.as_bytes().len())?;
        }
        Ok(Self { batch, timestamps, text, metadata, rows, _memory: memory })
    }

    /// Puts the rows of `spans` that pass line filters, and can pass the pipeline, into `selected`.
    pub(crate) fn select(&self, spans: &[Span<'_>], filters: &LineFilters, selected: &mut Vec<u32>) {
        selected.clear();
        match (&self.text, &self.rows) {
            (Some(text), Some(rows)) if !filters.is_empty() => {
                let ranges: Vec<Range<u32>> = rows.iter().map(|&row| row..row + 1).collect();
                filters.select(text, &ranges, selected);
            }
            (Some(text), None) if !filters.is_empty() => {
                let ranges: Vec<Range<u32>> = spans.iter().map(|span| span.rows.clone()).collect();
                filters.select(text, &ranges, selected);
            }
            (_, Some(rows)) => selected.extend_from_slice(rows),
            (_, None) => selected.extend(spans.iter().flat_map(|span| span.rows.clone())),
        }
    }

    /// A line; empty where nobody looks at lines.
    pub(crate) fn line(&self, row: u32) -> &[u8] {
        self.text.as_ref().map_or(&[], |text| text.line(row))
    }

    /// Whether any entry has structured metadata.
    pub(crate) fn has_metadata(&self) -> bool {
        !matches!(self.metadata, RowMetadata::None)
    }

    /// Counts what these rows weigh.
    pub(crate) fn count(&self, spans: &[Span<'_>], stats: &mut Stats) {
        stats.metadata_used |= self.has_metadata();
        let (mut line_bytes, mut metadata_bytes) = match &self.batch.columns {
            // Where lines of a chunk begin is known only after a search that would cost more than it tells.
            Columns::Chunk(chunk) => {
                let wanted: u64 = spans.iter().map(|span| span.rows.len() as u64).sum();
                let metadata_bytes = chunk.part_raw_bytes(PartKind::METADATA) + chunk.part_raw_bytes(PartKind::FIXED);
                let share = |bytes: u64| bytes * wanted / u64::from(chunk.rows()).max(1);
                (share(chunk.raw_bytes()), share(metadata_bytes))
            }
            Columns::Rows(rows) => {
                let wanted = || spans.iter().flat_map(Span::indexes);
                let line_bytes = wanted().map(|row| rows.text.range(row as u32).len() as u64).sum();
                let metadata = wanted().filter_map(|row| rows.metadata.get(row));
                (line_bytes, metadata.map(|labels| labels.size_bytes() as u64).sum())
            }
            Columns::Counts(_) => (0, 0),
        };
        if self.text.is_none() {
            line_bytes = 0;
        }
        if !self.has_metadata() {
            metadata_bytes = 0;
        }
        let read = read_stats(stats, &self.batch.columns);
        read.line_bytes += line_bytes;
        read.metadata_bytes += metadata_bytes;
    }
}

/// The rows of `spans` that have each of these pairs as a stream label or as structured metadata, ascending.
fn rows_with(pairs: &[(String, String)], spans: &[Span<'_>], metadata: &RowMetadata) -> Vec<u32> {
    let hits: Vec<Vec<u32>> = pairs.iter().map(|(name, value)| rows_with_metadata(name, value, metadata)).collect();
    let mut rows = Vec::new();
    for span in spans {
        let missing = |pair: &usize| span.labels().get(&pairs[*pair].0) != Some(pairs[*pair].1.as_str());
        let missing: Vec<usize> = (0..pairs.len()).filter(missing).collect();
        let Some((&first, others)) = missing.split_first() else {
            rows.extend(span.rows.clone());
            continue;
        };
        let start = hits[first].partition_point(|&row| row < span.rows.start);
        let inside = hits[first][start..].iter().take_while(|&&row| row < span.rows.end);
        rows.extend(inside.filter(|row| others.iter().all(|&pair| hits[pair].binary_search(row).is_ok())));
    }
    rows
}

fn rows_with_metadata(name: &str, value: &str, metadata: &RowMetadata) -> Vec<u32> {
    match metadata {
        RowMetadata::None => Vec::new(),
        RowMetadata::Columns(columns) => {
            let found = columns.column(name).and_then(|column| Some((column, column.id_of(value)?)));
            found.map_or_else(Vec::new, |(column, id)| column.rows_with(id).collect())
        }
        RowMetadata::Rows(rows) => {
            let numbered = (0..).zip(&rows.metadata);
            numbered.filter(|(_, labels)| labels.get(name) == Some(value)).map(|(row, _)| row).collect()
        }
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
    use std::sync::Arc;

    use super::*;
    use crate::querier::Rows;

    #[test]
    fn pairs_are_found_in_streams_and_in_metadata() {
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).expect("unique names");
        let run = |stream: &[(&str, &str)], rows: Range<u32>| StreamRun { labels: labels(stream), hash: 0, rows };
        let runs = [run(&[("a", "1")], 0..2), run(&[("b", "2")], 2..4), run(&[("a", "1"), ("b", "2")], 4..6)];
        let spans: Vec<Span<'_>> = runs.iter().map(|run| Span { run, rows: run.rows.clone() }).collect();
        let both = labels(&[("a", "1"), ("b", "2")]);
        let b = labels(&[("b", "2")]);
        let metadata = vec![Labels::EMPTY, b.clone(), b, both, Labels::EMPTY, Labels::EMPTY];
        let rows = Arc::new(Rows { text: Text::default(), timestamps: vec![0; 6], metadata });
        let pairs = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_eq!(rows_with(&pairs, &spans, &RowMetadata::Rows(rows)), [1, 3, 4, 5]);
        assert_eq!(rows_with(&pairs, &spans, &RowMetadata::None), [4, 5]);
    }

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
