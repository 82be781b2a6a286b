//! Making room: which segments go when there is too little space.

use loki_core::Timestamp;

use crate::segment::SegmentId;

/// How much space a store may take and must leave; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpaceLimits {
    pub(crate) max_disk_bytes: u64,
    pub(crate) min_free_disk_bytes: u64,
}

/// How much space is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// By all segments, live or not, and the log.
    pub(crate) used_bytes: u64,
    /// What is free on the disk; `None` if that is unknown or nobody asks.
    pub(crate) free_bytes: Option<u64>,
}

/// What making room needs to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) id: SegmentId,
    pub(crate) size: u64,
    /// The time of its last entry.
    pub(crate) last: Timestamp,
}

impl SpaceLimits {
    /// Bytes that must go.
    pub(crate) fn excess(&self, usage: Usage) -> u64 {
        let over = match self.max_disk_bytes {
            0 => 0,
            max => usage.used_bytes.saturating_sub(max),
        };
        let short = usage.free_bytes.map_or(0, |free| self.min_free_disk_bytes.saturating_sub(free));
        over.max(short)
    }
}

/// The segments that must go to free `excess_bytes`: those whose last entry is oldest.
pub(crate) fn make_room(segments: &[Placed], excess_bytes: u64) -> Vec<SegmentId> {
    let mut by_age: Vec<_> = segments.iter().collect();
    by_age.sort_by_key(|segment| segment.last);
    let mut freed = 0;
    let needed = by_age.into_iter().take_while(|segment| {
        let is_needed = freed < excess_bytes;
        freed += segment.size;
        is_needed
    });
    needed.map(|segment| segment.id).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_larger_of_both_needs_counts_and_zero_is_no_limit() {
        let usage = Usage { used_bytes: 100, free_bytes: Some(10) };
        let limits = |max_disk_bytes, min_free_disk_bytes| SpaceLimits { max_disk_bytes, min_free_disk_bytes };
        assert_eq!(limits(0, 0).excess(usage), 0);
        assert_eq!(limits(100, 10).excess(usage), 0);
        assert_eq!(limits(99, 10).excess(usage), 1);
        assert_eq!(limits(99, 15).excess(usage), 5);
        assert_eq!(limits(0, 15).excess(Usage { free_bytes: None, ..usage }), 0);
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_needed() {
        let segment = |n: u128, last| Placed { id: SegmentId(Uuid::from_u128(n)), size: 10, last: Timestamp(last) };
        let segments = [segment(1, 30), segment(2, 10), segment(3, 20)];
        let gone = |excess| make_room(&segments, excess).iter().map(|id| id.0.as_u128()).collect::<Vec<_>>();
        assert_eq!(gone(0), []);
        assert_eq!(gone(1), [2]);
        assert_eq!(gone(10), [2]);
        assert_eq!(gone(11), [2, 3]);
        assert_eq!(gone(u64::MAX), [2, 3, 1]);
    }
}
