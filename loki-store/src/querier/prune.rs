//! Which chunks of a segment a query has to look at.

use std::sync::Arc;

use loki_core::filter::{FilterSet, Needle};
use loki_core::index::Index;
use loki_core::{MatchOp, Matcher, TimeRange};
use loki_logql::querier::{Hints, Literal};
use roaring::RoaringBitmap;

use crate::error::Error;
use crate::segment::reader::TenantSegment;
use crate::segment::{ChunkTable, StreamTimes};

/// What a query asks of a segment's filters; computed once per query.
#[derive(Debug)]
pub(super) struct Needles {
    /// A chunk is wanted only if, of each element, some needle may be in it.
    lines: Vec<Vec<Needle>>,
    /// Label pairs that every wanted entry has, in its stream or in its metadata.
    labels: Vec<LabelPair>,
}

#[derive(Debug)]
struct LabelPair {
    matcher: Matcher,
    needle: Needle,
}

impl Needles {
    pub(super) fn new(hints: &Hints) -> Self {
        let lines = hints.needles.iter().filter_map(|alternatives| {
            // One alternative that cannot be looked up makes all of them useless.
            alternatives.iter().map(needle).collect()
        });
        let labels = hints.labels.iter().filter_map(|(name, value)| {
            let matcher = Matcher::new(name, MatchOp::Equal, value).ok()?;
            let needle = Needle::of_pair(name, value);
            (!value.is_empty()).then_some(LabelPair { matcher, needle })
        });
        Self { lines: lines.collect(), labels: labels.collect() }
    }
}

fn needle(literal: &Literal) -> Option<Needle> {
    if literal.case_insensitive { Needle::new_case_insensitive(&literal.bytes) } else { Needle::new(&literal.bytes) }
}

/// The chunks of a segment that may hold wanted entries of `streams` in `range`: numbers in its chunk table, ascending.
pub(super) async fn candidates(
    segment: &TenantSegment,
    index: &Index,
    range: TimeRange,
    needles: &Needles,
    streams: &RoaringBitmap,
    chunks: &ChunkTable,
) -> Result<RoaringBitmap, Error> {
    let mut wanted: RoaringBitmap = chunks
        .chunks
        .iter()
        .zip(0_u32..)
        .filter(|(chunk, _)| {
            range.overlaps(&chunk.bounds()) && streams.range_cardinality(chunk.first_stream..=chunk.last_stream) > 0
        })
        .map(|(_, number)| number)
        .collect();
    if wanted.is_empty() || (needles.lines.is_empty() && needles.labels.is_empty()) {
        return Ok(wanted);
    }
    let may_be_metadata = |pair: &LabelPair| segment.entry().may_have_metadata(pair.matcher.name());
    let asks_filters = !needles.lines.is_empty() || needles.labels.iter().any(may_be_metadata);
    let filters = if asks_filters { filters_of(segment).await? } else { None };
    if let Some(filters) = &filters {
        for alternatives in &needles.lines {
            match any_of(filters, alternatives, chunks) {
                Ok(found) => wanted &= found,
                Err(damage) => report(segment, &damage),
            }
        }
    }
    for pair in &needles.labels {
        let in_streams = chunks_of_streams(index, pair, chunks).map_err(|damage| segment.damaged(damage))?;
        let in_metadata = if !may_be_metadata(pair) {
            RoaringBitmap::new()
        } else if let Some(filters) = &filters {
            probe(filters, &pair.needle, chunks).unwrap_or_else(|damage| {
                report(segment, &damage);
                wanted.clone()
            })
        } else {
            wanted.clone()
        };
        wanted &= in_streams | in_metadata;
    }
    Ok(wanted)
}

/// The filters of a segment, unless they are damaged, or of another version.
async fn filters_of(segment: &TenantSegment) -> Result<Option<Arc<FilterSet>>, Error> {
    match segment.filters().await {
        Ok(filters) => Ok(Some(filters)),
        Err(Error::Corrupt { source, .. }) => {
            report(segment, &source);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A damaged filter costs time, not entries.
fn report(segment: &TenantSegment, damage: &loki_core::Error) {
    tracing::warn!(
        segment = %segment.segment.path,
        error = %damage,
        "searched chunks without their filter because it is damaged"
    );
}

fn any_of(filters: &FilterSet, needles: &[Needle], chunks: &ChunkTable) -> Result<RoaringBitmap, loki_core::Error> {
    let mut found = RoaringBitmap::new();
    for needle in needles {
        found |= probe(filters, needle, chunks)?;
    }
    Ok(found)
}

/// The chunks that may hold a needle, among them those that have no filter because there were too many.
fn probe(filters: &FilterSet, needle: &Needle, chunks: &ChunkTable) -> Result<RoaringBitmap, loki_core::Error> {
    let mut found = filters.probe(needle)?;
    found.insert_range(filters.len()..chunks.chunks.len() as u32);
    Ok(found)
}

/// Chunks with entries of streams that have the pair as a label.
fn chunks_of_streams(index: &Index, pair: &LabelPair, chunks: &ChunkTable) -> Result<RoaringBitmap, loki_core::Error> {
    let streams = index.select(std::slice::from_ref(&pair.matcher))?;
    let numbered = chunks.chunks.iter().zip(0_u32..);
    let with_stream =
        numbered.filter(|(chunk, _)| streams.range_cardinality(chunk.first_stream..=chunk.last_stream) > 0);
    Ok(with_stream.map(|(_, number)| number).collect())
}

/// The selected streams that have entries in the range.
pub(super) fn in_range(
    streams: RoaringBitmap,
    times: &StreamTimes,
    whole: TimeRange,
    range: TimeRange,
) -> RoaringBitmap {
    if range.start <= whole.start && whole.end <= range.end {
        return streams;
    }
    let alive = streams.into_iter();
    alive.filter(|&stream| times.range(stream).overlaps(&range)).collect()
}

#[cfg(test)]
mod tests {
    use loki_core::Timestamp;
    use loki_core::filter::{FilterBuilder, FilterSetBuilder};

    use super::*;
    use crate::segment::ChunkEntry;

    #[test]
    fn chunks_without_a_filter_are_always_looked_at() {
        let mut filters = FilterSetBuilder::new();
        for text in [&b"a needle in hay\n"[..], b"only hay\n"] {
            let mut filter = FilterBuilder::new();
            filter.add_text(text);
            filters.push(filter.finish()).expect("few filters");
        }
        let filters = FilterSet::open(filters.finish().into()).expect("what was written");
        let time = Timestamp(0);
        let chunk = ChunkEntry {
            span: 0..0,
            rows: 1,
            line_bytes: 0,
            first: time,
            last: time,
            first_stream: 0,
            last_stream: 0,
            has_metadata: false,
        };
        let chunks = ChunkTable { chunks: vec![chunk; 4] };
        let needle = Needle::new(b"needle in").expect("long enough");
        let found = probe(&filters, &needle, &chunks).expect("no damage");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [0, 2, 3]);
    }
}
