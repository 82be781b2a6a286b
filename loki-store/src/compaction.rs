//! Compaction: many small segments become few large ones.
//!
//! [`plan`] chooses what to merge, as a pure function of what is there; [`merge`] computes the merged segments; neither
//! touches the store, which fetches, puts and publishes (`store/compact.rs`).
//!
//! | level | made by | holds |
//! |---|---|---|
//! | 0 | a flush | all tenants, whatever times were pushed |
//! | 1 | merging flushed segments | one tenant, two hours or less (a day, if the inputs span very many hours) |
//! | 2 | merging small segments of a day that is over | one tenant, one UTC day or a part of it |
//!
//! A segment has its entries by stream and then by time, so that whoever wants the latest entries of all streams reads
//! a chunk of each; whoever wants few streams reads more of others, the less a chunk has of each. Segments that have
//! about as many lines as a flushed one serve both, so windows end after two hours or about [`WINDOW_BYTES`], and days
//! are made only where there is little to read. Late data simply adds another segment.
//!
//! Entries that are stored twice, and those that retention or a request to delete them hides, are left out; everything
//! else is kept, and filters, index and rollups are built anew.
//!
//! A merge reads each input chunk by chunk, in order of streams, and holds one decoded chunk of each. Its memory is
//! bounded by [`Bounds`]: one half for the chunks of the inputs, one half for segments being written, whatever the
//! segments' size.

mod divide;
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
/// Bytes of lines of a window of time that is one merged segment; one with more is divided into parts of about so many.
pub(crate) const WINDOW_BYTES: u64 = 48 << 20;

/// Bytes that an input holds for each byte of lines of a full chunk: the lines, times, structured metadata, and a chunk
/// that was fetched and could not be compressed.
const INPUT_BYTES_PER_CHUNK_BYTE: usize = 3;
/// Bytes of chunks fetched together and held until they are opened; at least one chunk is.
const READ_AHEAD_BYTES: u64 = 512 << 10;
/// Segments of at least this size come of every merge, and at least this many inputs go into it, however little memory
/// there is: with less, merging would not come to an end.
const MIN_SEGMENT_BYTES: usize = 1 << 20;
const MIN_INPUTS: usize = 4;

/// What a merge keeps to, so that it takes no more than some memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Segments that are merged at the same time.
    pub(crate) inputs: usize,
    /// Bytes at which a merged segment ends, and which all that are being written take together.
    pub(crate) segment_bytes: usize,
}

impl Bounds {
    /// The bounds for a merge in `memory_bytes`, where flushed chunks are sealed at `chunk_bytes` of lines.
    pub(crate) fn of(memory_bytes: u64, chunk_bytes: usize) -> Self {
        let half = usize::try_from(memory_bytes / 2).unwrap_or(usize::MAX);
        // Finishing a segment turns its filters around, for which a fifth is left.
        let segment_bytes = (half / 5 * 4).clamp(MIN_SEGMENT_BYTES, MERGED_SEGMENT_BYTES);
        Self { inputs: (half / input_bytes(chunk_bytes)).clamp(MIN_INPUTS, MAX_MERGE_INPUTS), segment_bytes }
    }
}

/// What an input holds at most.
fn input_bytes(chunk_bytes: usize) -> usize {
    chunk_bytes.saturating_mul(INPUT_BYTES_PER_CHUNK_BYTE).saturating_add(READ_AHEAD_BYTES as usize)
}

pub(crate) use merge::{Merge, Progress, Tally};
pub(crate) use output::{MergedSegment, OutputOptions, Windows};
pub(crate) use plan::{Candidate, Choice, Rules, choose};
