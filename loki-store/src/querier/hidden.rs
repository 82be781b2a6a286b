//! What requests to delete entries, and retention, hide in one segment.

use std::collections::BTreeMap;

use loki_core::index::Index;
use loki_core::{TimeRange, Timestamp};
use roaring::RoaringBitmap;

use super::prune::{self, Needles};
use super::zones::union;
use crate::deletes::{Deletion, Deletions};
use crate::error::Error;
use crate::segment::reader::{LabelReader, TenantSegment};
use crate::segment::{ChunkEntry, ChunkTable, StreamTimes};

/// Where entries of a segment are hidden.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// Per stream: spans in which no entry can be seen.
    gone: BTreeMap<u32, Vec<TimeRange>>,
    /// Per stream: spans in which some entries may be hidden.
    partly: BTreeMap<u32, Vec<TimeRange>>,
}

impl Hidden {
    /// Finds what is hidden of `streams` in `range`, and takes streams of which nothing can be seen there out of them.
    pub(super) async fn find(
        deletions: &Deletions,
        segment: &TenantSegment,
        times: &StreamTimes,
        chunks: &ChunkTable,
        range: TimeRange,
        streams: &mut RoaringBitmap,
    ) -> Result<Self, Error> {
        let mut hidden = Self::default();
        let bounds = range.intersect(&segment.range());
        for deletion in deletions.iter().filter(|deletion| deletion.range.overlaps(&bounds)) {
            let index = segment.index().await?;
            let selected = index.select(deletion.matchers()).map_err(|damage| segment.damaged(damage))?;
            let selected = selected & &*streams;
            if deletion.pipeline().is_some() {
                hidden.add_partly(deletion, segment, &index, times, chunks, &selected).await?;
            } else {
                hidden.add_gone(deletion, times, range, &selected, streams);
            }
        }
        if deletions.retention().may_hide(bounds) {
            hidden.add_expired(deletions, segment, times, range, streams).await?;
        }
        for spans in hidden.gone.values_mut().chain(hidden.partly.values_mut()) {
            *spans = union(std::mem::take(spans));
        }
        Ok(hidden)
    }

    /// Whether nothing of a stream can be seen in `span`.
    pub(super) fn covers(&self, stream: u32, span: TimeRange) -> bool {
        let within = |gone: &TimeRange| gone.start <= span.start && span.end <= gone.end;
        self.gone.get(&stream).is_some_and(|spans| spans.iter().any(within))
    }

    /// Whether entries of a stream in `span` may be hidden.
    pub(super) fn overlaps(&self, stream: u32, span: TimeRange) -> bool {
        [&self.gone, &self.partly].into_iter().filter_map(|spans| spans.get(&stream)).any(|spans| any(spans, span))
    }

    /// Whether entries of a chunk may be hidden.
    pub(super) fn touches(&self, chunk: &ChunkEntry) -> bool {
        let streams = chunk.first_stream..=chunk.last_stream;
        let mut spans = self.gone.range(streams.clone()).chain(self.partly.range(streams));
        spans.any(|(_, spans)| any(spans, chunk.bounds()))
    }

    /// Adds a request for all entries of the `selected` streams.
    fn add_gone(
        &mut self,
        deletion: &Deletion,
        times: &StreamTimes,
        range: TimeRange,
        selected: &RoaringBitmap,
        streams: &mut RoaringBitmap,
    ) {
        for stream in selected {
            self.add_span(stream, deletion.range, times.range(stream).intersect(&range), streams);
        }
    }

    /// Adds what is older than the retention of the streams.
    async fn add_expired(
        &mut self,
        deletions: &Deletions,
        segment: &TenantSegment,
        times: &StreamTimes,
        range: TimeRange,
        streams: &mut RoaringBitmap,
    ) -> Result<(), Error> {
        let index = segment.index().await?;
        let mut labels = LabelReader::new(segment, &index);
        for stream in streams.clone() {
            let expired = TimeRange::new(Timestamp::MIN, deletions.retention().of(&labels.get(stream)?.labels));
            self.add_span(stream, expired, times.range(stream).intersect(&range), streams);
        }
        Ok(())
    }

    /// Adds a span in which nothing of a stream can be seen; `wanted` is what would be looked at.
    fn add_span(&mut self, stream: u32, span: TimeRange, wanted: TimeRange, streams: &mut RoaringBitmap) {
        let gone = span.intersect(&wanted);
        if gone == wanted {
            streams.remove(stream);
        } else if !gone.is_empty() {
            self.gone.entry(stream).or_default().push(gone);
        }
    }

    /// Adds a request for some entries of the `selected` streams.
    async fn add_partly(
        &mut self,
        deletion: &Deletion,
        segment: &TenantSegment,
        index: &Index,
        times: &StreamTimes,
        chunks: &ChunkTable,
        selected: &RoaringBitmap,
    ) -> Result<(), Error> {
        if selected.is_empty() {
            return Ok(());
        }
        let needles = Needles::new(&deletion.hints());
        for number in prune::candidates(segment, index, deletion.range, &needles, selected, chunks).await? {
            let chunk = &chunks.chunks[number as usize];
            for stream in selected.range(chunk.first_stream..=chunk.last_stream) {
                let span = deletion.range.intersect(&chunk.bounds()).intersect(&times.range(stream));
                if !span.is_empty() {
                    self.partly.entry(stream).or_default().push(span);
                }
            }
        }
        Ok(())
    }
}

fn any(spans: &[TimeRange], span: TimeRange) -> bool {
    spans.iter().any(|other| other.overlaps(&span))
}
