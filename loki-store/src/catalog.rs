//! What the store knows without reading entries: labels, streams and their
//! sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use foldhash::fast::RandomState;
use futures::{Stream, TryStreamExt};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use loki_core::index::Index;
use loki_core::rollup::{Cell, Columns, Rollup};
use loki_core::{Labels, Matcher, TimeRange, Timestamp};
use loki_logql::budget::{BudgetExceeded, Reservation};
use roaring::RoaringBitmap;

use crate::cache::StreamTotal;
use crate::error::Error;
use crate::segment::reader::{LabelReader, TenantSegment};
use crate::segment::tables::minute_range;
use crate::view::View;

/// What a stream in a list takes besides its labels.
const LISTED_BYTES: usize = 96;
/// What a number in a set takes.
const HASH_BYTES: usize = 16;
/// Steps that the nodes of a tree hold.
const STEPS_OF_NODE: usize = 11;

/// How much some streams hold in a time range, to the minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Streams with entries in the range.
    pub streams: u64,
    /// Chunks that hold them; entries in memory count as one chunk a stream.
    pub chunks: u64,
    /// Bytes of lines and structured metadata.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// The size of one stream over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamVolume {
    /// The stream.
    pub labels: Labels,
    /// Per step with entries, ascending: the step's number from the start of the range, and the bytes of lines and
    /// structured metadata.
    pub steps: BTreeMap<u64, u64>,
}

impl StreamVolume {
    /// About the memory that it takes.
    pub fn size_bytes(&self) -> usize {
        let nodes = self.steps.len().div_ceil(STEPS_OF_NODE);
        self.labels.size_bytes() + LISTED_BYTES + nodes * STEPS_OF_NODE * size_of::<(u64, u64)>()
    }
}

/// Names of labels of the selected streams with entries in `range`, sorted.
pub(crate) async fn label_names(view: View, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, Error> {
    let range = view.visible(range);
    let mut names = BTreeSet::new();
    let mut segments = pin!(selected(&view, matchers, range));
    while let Some(Selected { segment, index, streams }) = segments.try_next().await? {
        names.extend(index.label_names(streams.as_ref()).map_err(|damage| segment.damaged(damage))?);
    }
    for (labels, _) in head_streams(&view, matchers, range) {
        for (name, _) in &labels {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    }
    Ok(names.into_iter().collect())
}

/// Values of a label of the selected streams with entries in `range`, sorted.
pub(crate) async fn label_values(
    view: View,
    name: &str,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Vec<String>, Error> {
    let range = view.visible(range);
    let name: Arc<str> = name.into();
    let mut values: Vec<String> = Vec::new();
    let mut segments = pin!(selected(&view, matchers, range));
    let mut memory = view.memory.reservation();
    while let Some(Selected { segment, index, streams }) = segments.try_next().await? {
        match streams {
            None => add_sorted(&mut values, &segment.label_values(&index, &name)?, &mut memory)?,
            Some(streams) => {
                let found = index.label_values(&name, Some(&streams)).map_err(|damage| segment.damaged(damage))?;
                add_sorted(&mut values, &found, &mut memory)?;
            }
        }
    }
    let of_heads = head_streams(&view, matchers, range);
    let of_heads: BTreeSet<String> = of_heads.filter_map(|(labels, _)| Some(labels.get(&name)?.to_owned())).collect();
    add_sorted(&mut values, &Vec::from_iter(of_heads), &mut memory)?;
    Ok(values)
}

/// Adds `more` to `values`, both of them sorted and without repetitions. Segments tend to have the same ones. `memory` is
/// what the values take.
fn add_sorted(values: &mut Vec<String>, more: &[String], memory: &mut Reservation) -> Result<(), BudgetExceeded> {
    if values.as_slice() == more {
        return Ok(());
    }
    let mut rest = more;
    let mut merged = Vec::with_capacity(values.len().max(more.len()));
    for value in values.drain(..) {
        let (new, behind) = rest.split_at(rest.iter().position(|other| *other >= value).unwrap_or(rest.len()));
        merged.extend_from_slice(new);
        rest = behind.strip_prefix(std::slice::from_ref(&value)).unwrap_or(behind);
        merged.push(value);
    }
    merged.extend_from_slice(rest);
    let bytes: usize = merged.iter().map(|value| value.len() + size_of::<String>()).sum();
    *values = merged;
    memory.grow(bytes.saturating_sub(memory.used_bytes() as usize))
}

/// Streams that some group of matchers selects, with entries in `range`, sorted.
pub(crate) async fn series(view: View, groups: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, Error> {
    let view = &view;
    let range = view.visible(range);
    let mut found = BTreeSet::new();
    let mut memory = view.memory.reservation();
    let mut list = |labels: Labels| {
        let bytes = labels.size_bytes() + LISTED_BYTES;
        if found.insert(labels) { memory.grow(bytes) } else { Ok(()) }
    };
    for group in groups {
        let mut segments = pin!(view.each(range, |segment| async move {
            Ok((segment, segment.index().await?, streams_in(view, segment, group, range).await?))
        }));
        while let Some((segment, index, streams)) = segments.try_next().await? {
            let mut labels = LabelReader::new(segment, &index);
            for stream in streams {
                list(labels.get(stream)?.labels.clone())?;
            }
        }
        head_streams(view, group, range).try_for_each(|(labels, _)| list(labels))?;
    }
    Ok(found.into_iter().collect())
}

/// Streams, chunks, entries and bytes of the selected streams in `range`, to the minute. An entry that is stored twice
/// counts twice until merging removes one; where streams have retentions of their own, what is past them counts until
/// it is past the longest one.
pub(crate) async fn stats(view: View, matchers: &[Matcher], range: TimeRange) -> Result<IndexStats, Error> {
    let view = &view;
    let range = view.visible(range);
    let mut stats = IndexStats::default();
    let mut streams = BTreeSet::new();
    let mut memory = view.memory.reservation();
    let mut segments = pin!(view.each(range, |segment| async move {
        let selected = streams_in(view, segment, matchers, range).await?;
        let (index, chunks) = (segment.index().await?, segment.chunks().await?);
        let size = sum_of(view, segment, &selected, range).await?;
        Ok((segment, selected, index, chunks, size))
    }));
    while let Some((segment, selected, index, chunks, (entries, bytes))) = segments.try_next().await? {
        let mut labels = LabelReader::new(segment, &index);
        for stream in &selected {
            if streams.insert(labels.get(stream)?.hash) {
                memory.grow(HASH_BYTES)?;
            }
        }
        let touched = chunks.chunks.iter().filter(|chunk| {
            chunk.bounds().overlaps(&range) && selected.range_cardinality(chunk.first_stream..=chunk.last_stream) > 0
        });
        stats.chunks += touched.count() as u64;
        stats.entries += entries;
        stats.bytes += bytes;
    }
    for head in &view.heads {
        let selected = head.select(matchers);
        let retention = view.deletions.retention();
        let streams_here =
            selected.streams().filter(|s| s.range.overlaps(&range) && s.range.end > retention.of(s.labels));
        for stream in streams_here {
            streams.insert(stream.hash);
            stats.chunks += 1;
        }
        selected.for_each_entry(range, |_, _, bytes| {
            stats.entries += 1;
            stats.bytes += bytes;
        });
    }
    stats.streams = streams.len() as u64;
    Ok(stats)
}

/// The sizes of the selected streams in `range`, to the minute, in steps of `step_nanos` from the start of the range
/// (one step for the whole range if zero). In no order. An entry that is stored twice counts twice until merging
/// removes one.
pub(crate) async fn volume(
    view: View,
    matchers: &[Matcher],
    range: TimeRange,
    step_nanos: u64,
) -> Result<Vec<StreamVolume>, Error> {
    let mut volumes: HashMap<Labels, BTreeMap<u64, u64>, RandomState> = HashMap::default();
    let grid = StepGrid { origin: range.start, step_nanos };
    let view = &view;
    let mut memory = view.memory.reservation();
    let range = view.visible(range);
    let mut segments = pin!(view.each(range, |segment| async move {
        let selected = streams_in(view, segment, matchers, range).await?;
        let index = segment.index().await?;
        let sizes = if step_nanos == 0 {
            Sizes::of(view, segment, selected.len(), range).await?
        } else {
            Sizes::Cells(segment.rollup().await?)
        };
        Ok((segment, index, selected, sizes))
    }));
    while let Some((segment, index, selected, sizes)) = segments.try_next().await? {
        // Cells come by stream and minute, so the bytes of a step come together.
        let mut found: Vec<(u32, u64, u64)> = Vec::new();
        let mut add = |stream, step, bytes| match found.last_mut() {
            Some((s, t, sum)) if (*s, *t) == (stream, step) => *sum += bytes,
            _ => found.push((stream, step, bytes)),
        };
        match &sizes {
            Sizes::Cells(rollup) if step_nanos > 0 => for_each_cell(rollup, &selected, range, |stream, cell| {
                let minute = minute_range(cell.minute).intersect(&range);
                grid.spread(minute, cell.line_bytes + cell.metadata_bytes, |step, bytes| add(stream, step, bytes));
            }),
            sizes => sizes.for_each(&selected, range, |stream, _, bytes| add(stream, 0, bytes)),
        }
        .map_err(|damage| segment.damaged(damage))?;
        let mut labels = LabelReader::new(segment, &index);
        for of_stream in found.chunk_by(|a, b| a.0 == b.0) {
            let labels = &labels.get(of_stream[0].0)?.labels;
            let volume = match volumes.entry(labels.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    memory.grow(labels.size_bytes() + LISTED_BYTES)?;
                    new.insert(BTreeMap::new())
                }
            };
            for &(_, step, bytes) in of_stream {
                // Steps come in nodes of several.
                if volume.len().is_multiple_of(STEPS_OF_NODE) && !volume.contains_key(&step) {
                    memory.grow(STEPS_OF_NODE * size_of::<(u64, u64)>())?;
                }
                *volume.entry(step).or_default() += bytes;
            }
        }
    }
    for head in &view.heads {
        head.select(matchers).for_each_entry(range, |labels, time, bytes| {
            if !volumes.contains_key(labels) {
                volumes.insert(labels.clone(), BTreeMap::new());
            }
            let steps = volumes.get_mut(labels).expect("it was just inserted");
            *steps.entry(grid.step(time)).or_default() += bytes;
        });
    }
    let volumes = volumes.into_iter();
    Ok(volumes.map(|(labels, steps)| StreamVolume { labels, steps }).collect())
}

/// Steps of equal length from a moment on; everything is step zero if the length is zero.
#[derive(Clone, Copy)]
struct StepGrid {
    origin: Timestamp,
    step_nanos: u64,
}

impl StepGrid {
    fn step(self, time: Timestamp) -> u64 {
        let since = time.0.saturating_sub(self.origin.0).max(0) as u64;
        since.checked_div(self.step_nanos).unwrap_or(0)
    }

    /// Divides the bytes of a cell among the steps that it touches, in proportion to the time they share. Steps with
    /// none are left out, except for the first.
    fn spread(self, cell: TimeRange, bytes: u64, mut f: impl FnMut(u64, u64)) {
        if self.step_nanos == 0 {
            return f(0, bytes);
        }
        let length = (i128::from(cell.end.0) - i128::from(cell.start.0)).max(1);
        let first = self.step(cell.start);
        let last = self.step(cell.end.saturating_sub_nanos(1)).max(first);
        let mut given = 0;
        for step in first..=last {
            let up_to = if step == last {
                bytes
            } else {
                let step_end = i128::from(self.origin.0) + i128::from(step + 1) * i128::from(self.step_nanos);
                (i128::from(bytes) * (step_end - i128::from(cell.start.0)) / length) as u64
            };
            if up_to > given || step == first {
                f(step, up_to - given);
            }
            given = up_to;
        }
    }
}

/// A segment, and its streams that are selected; `None` if that is all of them.
struct Selected<'a> {
    segment: &'a TenantSegment,
    index: Arc<Index>,
    streams: Option<RoaringBitmap>,
}

/// The streams that the matchers select, with entries in `range`.
fn selected<'a>(
    view: &'a View,
    matchers: &'a [Matcher],
    range: TimeRange,
) -> impl Stream<Item = Result<Selected<'a>, Error>> {
    view.each(range, move |segment| async move {
        let index = segment.index().await?;
        let whole = matchers.is_empty() && shows_all(view, range, segment);
        let streams = if whole { None } else { Some(streams_in(view, segment, matchers, range).await?) };
        Ok(Selected { segment, index, streams })
    })
}

/// Whether all entries of a segment are in `range`, and none is past its retention.
fn shows_all(view: &View, range: TimeRange, segment: &TenantSegment) -> bool {
    covers(range, segment.range()) && !view.deletions.retention().may_hide(segment.range())
}

/// Streams of the heads that the matchers select, with entries in `range` that are not past their retention.
fn head_streams<'v>(
    view: &'v View,
    matchers: &'v [Matcher],
    range: TimeRange,
) -> impl Iterator<Item = (Labels, TimeRange)> {
    let heads = view.heads.iter().map(|head| head.select(matchers));
    heads
        .flat_map(|head| {
            let streams = head.streams().map(|s| (s.labels.clone(), s.range));
            streams.collect::<Vec<_>>()
        })
        .filter(move |(labels, lifetime)| {
            lifetime.overlaps(&range) && lifetime.end > view.deletions.retention().of(labels)
        })
}

/// Streams of a segment that the matchers select, with entries in `range` that are not past their retention.
pub(crate) async fn streams_in(
    view: &View,
    segment: &TenantSegment,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<RoaringBitmap, Error> {
    let index = segment.index().await?;
    let selected = index.select(matchers).map_err(|damage| segment.damaged(damage))?;
    let retention = view.deletions.retention();
    let may_be_expired = retention.may_hide(segment.range());
    if covers(range, segment.range()) && !may_be_expired {
        return Ok(selected);
    }
    let times = segment.times().await?;
    let mut alive: RoaringBitmap =
        selected.into_iter().filter(|&stream| times.range(stream).overlaps(&range)).collect();
    if may_be_expired {
        let mut labels = LabelReader::new(segment, &index);
        for stream in alive.clone() {
            if times.range(stream).end <= retention.of(&labels.get(stream)?.labels) {
                alive.remove(stream);
            }
        }
    }
    Ok(alive)
}

/// Says what each stream of a segment has in a time range, to the minute.
enum Sizes {
    /// All of the segment is in the range.
    Totals(Arc<[StreamTotal]>),
    Cells(Arc<Rollup>),
}

impl Sizes {
    /// What is read for the sizes of so many streams.
    async fn of(view: &View, segment: &TenantSegment, streams: u64, range: TimeRange) -> Result<Self, Error> {
        let totals = if shows_all(view, range, segment) { segment.totals(streams).await? } else { None };
        Ok(match totals {
            Some(totals) => Self::Totals(totals),
            None => Self::Cells(segment.rollup().await?),
        })
    }

    /// Calls `f` with entries and bytes of streams: once for each of them, or for each of its minutes.
    fn for_each(
        &self,
        streams: &RoaringBitmap,
        range: TimeRange,
        mut f: impl FnMut(u32, u64, u64),
    ) -> Result<(), loki_core::Error> {
        match self {
            Self::Totals(totals) => {
                for stream in streams {
                    let total = totals.get(stream as usize).copied().unwrap_or_default();
                    f(stream, total.entries, total.line_bytes + total.metadata_bytes);
                }
                Ok(())
            }
            Self::Cells(rollup) => for_each_cell(rollup, streams, range, |stream, cell| {
                f(stream, cell.entries, cell.line_bytes + cell.metadata_bytes);
            }),
        }
    }
}

/// Entries and bytes of the streams in `range`, to the minute.
async fn sum_of(
    view: &View,
    segment: &TenantSegment,
    streams: &RoaringBitmap,
    range: TimeRange,
) -> Result<(u64, u64), Error> {
    let entry = segment.entry();
    if shows_all(view, range, segment) && streams.len() == u64::from(entry.streams) {
        return Ok((entry.rows, entry.line_bytes + entry.metadata_bytes));
    }
    let mut sum = (0, 0);
    let sizes = Sizes::of(view, segment, streams.len(), range).await?;
    let added = sizes.for_each(streams, range, |_, entries, bytes| {
        sum.0 += entries;
        sum.1 += bytes;
    });
    added.map_err(|damage| segment.damaged(damage))?;
    Ok(sum)
}

/// Calls `f` with every rollup cell of the streams that touches `range`.
fn for_each_cell(
    rollup: &Rollup,
    streams: &RoaringBitmap,
    range: TimeRange,
    mut f: impl FnMut(u32, Cell),
) -> Result<(), loki_core::Error> {
    let mut scan = rollup.scan(streams, Columns::All);
    while let Some(cells) = scan.next_cells()? {
        for cell in cells.iter() {
            if minute_range(cell.minute).overlaps(&range) {
                f(cells.stream, cell);
            }
        }
    }
    Ok(())
}

fn covers(outer: TimeRange, inner: TimeRange) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use loki_logql::budget::Budget;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorted_values_are_joined(
            left in prop::collection::btree_set("[a-d]{0,2}", 0..9),
            right in prop::collection::btree_set("[a-d]{0,2}", 0..9),
        ) {
            let mut memory = Budget::unlimited().reservation();
            let mut joined = Vec::new();
            for values in [&left, &right] {
                let values: Vec<String> = values.iter().cloned().collect();
                prop_assert_eq!(add_sorted(&mut joined, &values, &mut memory), Ok(()));
            }
            let expected: Vec<String> = left.union(&right).cloned().collect();
            let bytes: usize = expected.iter().map(|value| value.len() + size_of::<String>()).sum();
            prop_assert_eq!(memory.used_bytes(), bytes as u64);
            prop_assert_eq!(joined, expected);
        }
    }

    fn spread(step_nanos: u64, cell: (i64, i64), bytes: u64) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        let cell = TimeRange::new(Timestamp(cell.0), Timestamp(cell.1));
        let grid = StepGrid { origin: Timestamp(100), step_nanos };
        grid.spread(cell, bytes, |step, bytes| parts.push((step, bytes)));
        parts
    }

    #[test]
    fn bytes_are_divided_by_time_and_none_is_lost() {
        assert_eq!(spread(0, (100, 160), 7), [(0, 7)]);
        assert_eq!(spread(60, (160, 220), 7), [(1, 7)]);
        assert_eq!(spread(40, (120, 180), 60), [(0, 20), (1, 40)]);
        assert_eq!(spread(7, (100, 160), 1), [(0, 0), (8, 1)]);
        assert_eq!(spread(60, (101, 161), 6), [(0, 5), (1, 1)]);
        let parts = spread(1, (110, 170), 1000);
        assert_eq!((parts.len(), parts.iter().map(|(_, bytes)| bytes).sum::<u64>()), (60, 1000));
    }
}
