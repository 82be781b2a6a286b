//! Numbers that a store counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Flushes that failed and will be tried again.
    pub flush_failures: Counter,
    /// Chunks that queries did not have to fetch although their segment held selected streams.
    pub chunks_skipped: Counter,
    /// Times that a damaged chunk was left out of an answer.
    pub chunks_corrupt: Counter,
    /// Segments and manifests moved to quarantine.
    pub objects_quarantined: Counter,
    /// Log records replayed when the store was opened.
    pub wal_records_replayed: Counter,
    /// Entries replayed when the store was opened.
    pub wal_entries_replayed: Counter,
    /// Bytes cut off the end of the log because a crash had torn them.
    pub wal_bytes_torn: Counter,
    /// Log records or files that could not be read and were kept aside.
    pub wal_corruptions: Counter,
}
