//! What a query sees: one consistent picture of segments and heads.

use futures::stream::{self, FuturesOrdered, Stream, StreamExt as _};
use loki_core::TimeRange;
use loki_logql::budget::{Budget, Reservation};

use crate::deletes::Deletions;
use crate::error::Error;
use crate::head::HeadSnapshot;
use crate::segment::layout::SectionKind;
use crate::segment::reader::TenantSegment;
use crate::store::memory::TIGHT_SHARE;

/// Segments that are looked into at the same time, because what is read of them may be behind a network.
pub(crate) const SEGMENTS_AT_ONCE: usize = 16;

/// What may be read of each of them.
const OF_STREAMS: [SectionKind; 3] = [SectionKind::Index, SectionKind::Times, SectionKind::Rollup];

/// All places that hold entries of a tenant, as of one moment, each in order of arrival.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) segments: Vec<TenantSegment>,
    /// Heads being flushed, then the one that takes pushes; all are younger than the segments.
    pub(crate) heads: Vec<HeadSnapshot>,
    /// What hides entries in any of them.
    pub(crate) deletions: Deletions,
    /// Whose memory it takes to look into them.
    pub(crate) memory: Budget,
}

impl View {
    /// The part of `range` in which entries can be that are not past the longest retention.
    pub(crate) fn visible(&self, range: TimeRange) -> TimeRange {
        TimeRange::new(range.start.max(self.deletions.retention().earliest()), range.end)
    }

    /// Segments with entries in `range`.
    fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = &TenantSegment> {
        let segments = self.segments.iter();
        segments.filter(move |segment| segment.range().overlaps(&range))
    }

    /// What `read` finds in each segment with entries in `range`, in order. Some are read at the same time, as far as
    /// there is memory for what is known of their streams.
    pub(crate) fn each<'a, T, F: Future<Output = Result<T, Error>>>(
        &'a self,
        range: TimeRange,
        mut read: impl FnMut(&'a TenantSegment) -> F,
    ) -> impl Stream<Item = Result<T, Error>> {
        let mut segments = self.overlapping(range).peekable();
        let mut reading = FuturesOrdered::new();
        stream::poll_fn(move |context| {
            while reading.len() < SEGMENTS_AT_ONCE
                && let Some(segment) = segments.peek()
                && let Some(memory) = spare(&self.memory, segment.stored_bytes(&OF_STREAMS), reading.is_empty())
            {
                let read = read(segment);
                segments.next();
                reading.push_back(async move {
                    let found = read.await;
                    drop(memory);
                    found
                });
            }
            reading.poll_next_unpin(context)
        })
    }
}

/// Memory for bytes that are about to be read, unless it is tight and they can wait or be done without.
pub(crate) fn spare(memory: &Budget, bytes: u64, is_needed: bool) -> Option<Reservation> {
    if !is_needed && !memory.has_spare(bytes, TIGHT_SHARE) {
        return None;
    }
    let mut reservation = memory.reservation();
    reservation.hold(bytes);
    Some(reservation)
}
