//! Numbers that a store counts about itself.

mod flushed;
mod histogram;
mod objects;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use flushed::LineLengths;
pub use flushed::{FlushReason, FlushedChunks};
pub use histogram::Histogram;
pub use objects::{ObjectEnd, ObjectOperation, ObjectRequests};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a disk cache did since the store was opened. A block is 256 KiB of a segment.
#[derive(Debug, Default)]
pub struct DiskCacheCounters {
    /// Blocks that were here when they were needed.
    pub hits: Counter,
    /// Bytes of them.
    pub bytes_hit: Counter,
    /// Blocks that were fetched from the object store.
    pub misses: Counter,
    /// Blocks removed to make room.
    pub evictions: Counter,
    /// Blocks that could not be read, or were not what was written.
    pub damaged: Counter,
    /// Fetches that were not kept because too much was waiting to be written.
    pub skipped: Counter,
    /// Fetches that could not be written, or only in part.
    pub write_failures: Counter,
}

/// What a disk cache holds and did.
#[derive(Clone, Copy, Debug)]
pub struct DiskCacheStatus<'a> {
    /// Blocks that it holds.
    pub blocks: usize,
    /// Bytes that they take on the disk.
    pub used_bytes: u64,
    /// What it did.
    pub counters: &'a DiskCacheCounters,
}

/// Streams of a tenant that began to be written to, and that were not written to any more for a while.
#[derive(Debug, Default)]
pub struct StreamCounts {
    /// Streams that became active.
    pub created: Counter,
    /// Streams that are not active any more.
    pub removed: Counter,
}

/// What happened in a store since it was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries accepted by push.
    pub entries_pushed: Counter,
    /// Bytes of lines accepted by push.
    pub line_bytes_pushed: Counter,
    /// Segments written by flush.
    pub segments_flushed: Counter,
    /// Entries in segments written by flush.
    pub entries_flushed: Counter,
    /// Bytes of segments written by flush.
    pub segment_bytes_flushed: Counter,
    /// Chunks in segments written by flush.
    pub chunks_flushed: FlushedChunks,
    /// Flushes that failed and will be tried again.
    pub flush_failures: Counter,
    /// Merges whose result was published.
    pub merges: Counter,
    /// Segments replaced by merging.
    pub segments_merged: Counter,
    /// Bytes of segments replaced by merging.
    pub merge_bytes_read: Counter,
    /// Bytes of segments written by merging.
    pub merge_bytes_written: Counter,
    /// Entries that merges wrote.
    pub entries_merged: Counter,
    /// Entries that merges left out because an equal one is kept.
    pub duplicates_removed: Counter,
    /// Entries that merges left out because of retention or a request to delete them.
    pub entries_erased: Counter,
    /// Merges that failed and will be tried again, or given up for damage in an input.
    pub merge_failures: Counter,
    /// Segments that went as a whole because everything in them was too old.
    pub segments_expired: Counter,
    /// Entries in them.
    pub entries_expired: Counter,
    /// Segments that went because there was too little space.
    pub segments_evicted: Counter,
    /// Bytes of them.
    pub segment_bytes_evicted: Counter,
    /// Entries in them.
    pub entries_evicted: Counter,
    /// Requests to delete entries whose entries are gone.
    pub deletes_processed: Counter,
    /// Manifests written.
    pub manifests_published: Counter,
    /// Replaced objects that were deleted.
    pub objects_deleted: Counter,
    /// Objects deleted that nothing ever named: what failures and crashes left.
    pub orphans_deleted: Counter,
    /// Chunks that queries did not have to fetch although their segment held selected streams.
    pub chunks_skipped: Counter,
    /// Times that a damaged chunk was left out of an answer.
    pub chunks_corrupt: Counter,
    /// Objects moved to quarantine.
    pub objects_quarantined: Counter,
    /// Segments that the manifest names and that were not there when the store was opened.
    pub segments_missing: Counter,
    /// Records written to the log.
    pub wal_records_logged: Counter,
    /// How long replaying the log took when the store was opened, in nanoseconds.
    pub wal_replay_nanos: Counter,
    /// Log records replayed when the store was opened.
    pub wal_records_replayed: Counter,
    /// Entries replayed when the store was opened.
    pub wal_entries_replayed: Counter,
    /// Streams of these entries.
    pub wal_streams_replayed: Counter,
    /// Bytes of lines replayed when the store was opened.
    pub wal_line_bytes_replayed: Counter,
    /// Bytes cut off the end of the log because a crash had torn them.
    pub wal_bytes_torn: Counter,
    /// Log records or files that could not be read and were kept aside.
    pub wal_corruptions: Counter,
}
