//! Compaction: many small segments become few large ones.
//!
//! [`plan`] chooses what to merge, as a pure function of what is there; [`merge`] computes the merged segments; neither
//! touches the store, which fetches, puts and publishes (`store/compact.rs`).
//!
//! | level | made by | holds |
//! |---|---|---|
//! | 0 | a flush | all tenants, whatever times were pushed |
//! | 1 | merging flushed segments | one tenant, one window of two hours (a day, if the inputs span very many windows) |
//! | 2 | merging the segments of a day that is over | one tenant, one UTC day |
//!
//! A merged segment ends at [`MERGED_SEGMENT_BYTES`], so a window with much data takes several of them; late data simply
//! adds another. Entries that are stored twice, and those that retention or a request to delete them hides, are left
//! out; everything else is kept, and filters, index and rollups are built anew.
//!
//! A merge reads each input chunk by chunk, in order of streams, and holds one decoded chunk of each. Its memory is
//! bounded by [`MAX_MERGE_INPUTS`] chunks and [`MERGED_SEGMENT_BYTES`] of output, whatever the segments' size.

pub(crate) mod input;
pub(crate) mod merge;
pub(crate) mod output;
pub(crate) mod plan;
mod ties;

#[cfg(test)]
mod tests;

/// Segments that are merged at the same time.
pub const MAX_MERGE_INPUTS: usize = 24;
/// Bytes of segments that are merged at the same time; a larger segment is merged alone.
pub const MAX_MERGE_BYTES: u64 = 256 << 20;
/// Bytes at which a merged segment ends, and which a merge holds in memory before it writes them.
pub const MERGED_SEGMENT_BYTES: usize = 64 << 20;

/// A merged chunk has this many times the lines of a flushed one: larger chunks compress better, and what was merged is
/// no longer read for its latest lines.
pub(crate) const MERGED_CHUNK_FACTOR: usize = 2;

pub(crate) use merge::{Merge, Progress, Tally};
pub(crate) use output::{MergedSegment, OutputOptions, Windows};
pub(crate) use plan::{Candidate, Choice, Rules, choose};
