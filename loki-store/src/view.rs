//! What a query sees: one consistent picture of segments and heads.

use loki_core::TimeRange;
use loki_logql::budget::Budget;

use crate::deletes::Deletions;
use crate::head::HeadSnapshot;
use crate::segment::reader::TenantSegment;

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
}
