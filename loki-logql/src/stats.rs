//! What a query cost: counted where the work is done, summed over all workers.

use std::ops::AddAssign;

/// Counters of one query.
///
/// The names follow what they count, not Loki's JSON; the server maps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches that the querier delivered.
    pub batches: u64,
    /// Batches of which nothing but their bounds had to be looked at.
    pub batches_skipped: u64,
    /// Entries that came as sums over cells of a grid.
    pub collapsed_entries: u64,
    /// Entries and bytes read from memory that awaits its flush.
    pub head: ReadStats,
    /// Entries and bytes read from sealed chunks.
    pub chunks: ReadStats,
    /// Sealed chunks looked into.
    pub chunks_read: u64,
    /// Entries that passed the whole pipeline.
    pub post_filter_entries: u64,
    /// Entries left out because another batch had delivered the same one.
    pub duplicates: u64,
    /// Whether structured metadata was looked at.
    pub metadata_used: bool,
    /// Entries or samples in the answer.
    pub returned: u64,
    /// Selections made from the querier: one for each log query or range aggregation.
    pub selections: u64,
    /// Time from start to answer in nanoseconds.
    pub execution_nanos: u64,
}

/// Entries and bytes that were looked at. A chunk of which some rows are wanted counts with their share of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Entries, before any filter.
    pub entries: u64,
    /// Bytes of their lines; entries that were counted without their text add nothing.
    pub line_bytes: u64,
    /// Bytes of their structured metadata.
    pub metadata_bytes: u64,
}

impl Stats {
    /// Entries read before any filter, in whatever form they came.
    pub fn processed_entries(&self) -> u64 {
        self.head.entries + self.chunks.entries + self.collapsed_entries
    }

    /// Bytes of lines and structured metadata read.
    pub fn processed_bytes(&self) -> u64 {
        [self.head, self.chunks].iter().map(|read| read.line_bytes + read.metadata_bytes).sum()
    }

    /// Bytes of structured metadata read.
    pub fn processed_metadata_bytes(&self) -> u64 {
        self.head.metadata_bytes + self.chunks.metadata_bytes
    }
}

impl AddAssign for ReadStats {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.line_bytes += other.line_bytes;
        self.metadata_bytes += other.metadata_bytes;
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.batches += other.batches;
        self.batches_skipped += other.batches_skipped;
        self.collapsed_entries += other.collapsed_entries;
        self.head += other.head;
        self.chunks += other.chunks;
        self.chunks_read += other.chunks_read;
        self.post_filter_entries += other.post_filter_entries;
        self.duplicates += other.duplicates;
        self.metadata_used |= other.metadata_used;
        self.returned += other.returned;
        self.selections += other.selections;
        self.execution_nanos += other.execution_nanos;
    }
}
