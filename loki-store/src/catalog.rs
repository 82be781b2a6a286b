//! What the store knows without reading entries: labels, streams and their
//! sizes.

use std::collections::{BTreeMap, BTreeSet};

use loki_core::rollup::{Cell, Columns};
use loki_core::{Labels, Matcher, TimeRange, Timestamp};
use roaring::RoaringBitmap;

use crate::error::Error;
use crate::segment::reader::{LabelReader, TenantSegment};
use crate::segment::tables::minute_range;
use crate::view::View;

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

/// Names of labels of the selected streams with entries in `range`, sorted.
pub(crate) async fn label_names(view: View, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, Error> {
    let mut names = BTreeSet::new();
    for segment in overlapping(&view, range) {
        let index = segment.index().await?;
        let whole = matchers.is_empty() && covers(range, segment.range());
        let streams = match whole {
            true => None,
            false => Some(streams_in(segment, matchers, range).await?),
        };
        names.extend(index.label_names(streams.as_ref()).map_err(|damage| segment.damaged(damage))?);
    }
    for (labels, _) in head_streams(&view, matchers, range) {
        for (name, _) in labels.iter() {
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
    let mut values = BTreeSet::new();
    for segment in overlapping(&view, range) {
        let index = segment.index().await?;
        let whole = matchers.is_empty() && covers(range, segment.range());
        let streams = match whole {
            true => None,
            false => Some(streams_in(segment, matchers, range).await?),
        };
        values.extend(index.label_values(name, streams.as_ref()).map_err(|damage| segment.damaged(damage))?);
    }
    for (labels, _) in head_streams(&view, matchers, range) {
        if let Some(value) = labels.get(name).filter(|value| !values.contains(*value)) {
            values.insert(value.to_owned());
        }
    }
    Ok(values.into_iter().collect())
}

/// Streams that some group of matchers selects, with entries in `range`, sorted.
pub(crate) async fn series(view: View, groups: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, Error> {
    let mut found = BTreeSet::new();
    for group in groups {
        for segment in overlapping(&view, range) {
            let index = segment.index().await?;
            let mut labels = LabelReader::new(segment, &index);
            for stream in streams_in(segment, group, range).await? {
                found.insert(labels.get(stream)?.labels.clone());
            }
        }
        found.extend(head_streams(&view, group, range).map(|(labels, _)| labels.clone()));
    }
    Ok(found.into_iter().collect())
}

/// Streams, chunks, entries and bytes of the selected streams in `range`, to the minute. An entry that is stored twice
/// counts twice until merging removes one.
pub(crate) async fn stats(view: View, matchers: &[Matcher], range: TimeRange) -> Result<IndexStats, Error> {
    let mut stats = IndexStats::default();
    let mut streams = BTreeSet::new();
    for segment in overlapping(&view, range) {
        let selected = streams_in(segment, matchers, range).await?;
        let index = segment.index().await?;
        let mut labels = LabelReader::new(segment, &index);
        for stream in &selected {
            streams.insert(labels.get(stream)?.hash);
        }
        let chunks = segment.chunks().await?;
        let touched = chunks.chunks.iter().filter(|chunk| {
            chunk.bounds().overlaps(&range) && selected.range_cardinality(chunk.first_stream..=chunk.last_stream) > 0
        });
        stats.chunks += touched.count() as u64;
        for_each_cell(segment, &selected, range, |_, cell| {
            stats.entries += cell.entries;
            stats.bytes += cell.line_bytes + cell.metadata_bytes;
        })
        .await?;
    }
    for head in &view.heads {
        let selected = head.select(matchers);
        for stream in selected.streams().filter(|s| s.range.overlaps(&range)) {
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
/// (one step for the whole range if zero). Sorted by labels. An entry that is stored twice counts twice until merging
/// removes one.
pub(crate) async fn volume(
    view: View,
    matchers: &[Matcher],
    range: TimeRange,
    step_nanos: u64,
) -> Result<Vec<StreamVolume>, Error> {
    let mut volumes: BTreeMap<Labels, BTreeMap<u64, u64>> = BTreeMap::new();
    let step_of = |time: Timestamp| {
        let since = time.0.saturating_sub(range.start.0).max(0) as u64;
        since.checked_div(step_nanos).unwrap_or(0)
    };
    for segment in overlapping(&view, range) {
        let selected = streams_in(segment, matchers, range).await?;
        let index = segment.index().await?;
        let mut by_stream: BTreeMap<u32, BTreeMap<u64, u64>> = BTreeMap::new();
        for_each_cell(segment, &selected, range, |stream, cell| {
            let first_moment = minute_range(cell.minute).start;
            let steps = by_stream.entry(stream).or_default();
            *steps.entry(step_of(first_moment)).or_default() += cell.line_bytes + cell.metadata_bytes;
        })
        .await?;
        let mut labels = LabelReader::new(segment, &index);
        for (stream, steps) in by_stream {
            let volume = volumes.entry(labels.get(stream)?.labels.clone()).or_default();
            for (step, bytes) in steps {
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
            *steps.entry(step_of(time)).or_default() += bytes;
        });
    }
    let volumes = volumes.into_iter();
    Ok(volumes.map(|(labels, steps)| StreamVolume { labels, steps }).collect())
}

/// Segments with entries in `range`.
fn overlapping(view: &View, range: TimeRange) -> impl Iterator<Item = &TenantSegment> {
    let segments = view.segments.iter();
    segments.filter(move |segment| segment.range().overlaps(&range))
}

/// Streams of the heads that the matchers select, with entries in `range`.
fn head_streams(view: &View, matchers: &[Matcher], range: TimeRange) -> impl Iterator<Item = (Labels, TimeRange)> {
    let heads = view.heads.iter().map(|head| head.select(matchers));
    heads
        .flat_map(|head| {
            let streams = head.streams().map(|s| (s.labels.clone(), s.range));
            streams.collect::<Vec<_>>()
        })
        .filter(move |(_, lifetime)| lifetime.overlaps(&range))
}

/// Streams of a segment that the matchers select, with entries in `range`.
async fn streams_in(segment: &TenantSegment, matchers: &[Matcher], range: TimeRange) -> Result<RoaringBitmap, Error> {
    let index = segment.index().await?;
    let selected = index.select(matchers).map_err(|damage| segment.damaged(damage))?;
    if covers(range, segment.range()) {
        return Ok(selected);
    }
    let times = segment.times().await?;
    let alive = selected.into_iter();
    Ok(alive.filter(|&stream| times.range(stream).overlaps(&range)).collect())
}

/// Calls `f` with every rollup cell of the streams that touches `range`.
async fn for_each_cell(
    segment: &TenantSegment,
    streams: &RoaringBitmap,
    range: TimeRange,
    mut f: impl FnMut(u32, Cell),
) -> Result<(), Error> {
    let rollup = segment.rollup().await?;
    let mut scan = rollup.scan(streams, Columns::All);
    while let Some(cells) = scan.next_cells().map_err(|damage| segment.damaged(damage))? {
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
