//! What the store takes of the memory that it shares with queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loki_logql::budget::{Budget, BudgetScope, Reservation};
use parking_lot::Mutex;

use crate::config::StoreConfig;

/// A flush takes this part of its head's memory besides: for the segment, and for the order of rows.
const FLUSH_SHARE: u64 = 3;
/// Memory is tight once less than this part of all of it is free.
pub(crate) const TIGHT_SHARE: u64 = 8;
/// Entries are flushed early then, if there are enough of them to make a segment of a quarter of the usual size.
const EARLY_FLUSH_SHARE: u64 = 4;

/// The store's parts of a budget.
#[derive(Debug)]
pub(super) struct Memory {
    all: Budget,
    heads: Budget,
    merges: Budget,
    /// Holds what is in heads.
    in_heads: Mutex<Reservation>,
}

impl Memory {
    pub(super) fn new(config: &StoreConfig) -> Self {
        let all = config.memory.clone();
        let heads = all.child(BudgetScope::Heads, config.head_max_bytes);
        let merges = all.child(BudgetScope::Merges, config.merge_memory_bytes);
        let in_heads = Mutex::new(heads.reservation());
        Self { all, heads, merges, in_heads }
    }

    /// Says how much the heads take now.
    pub(super) fn note_heads(&self, bytes: u64) {
        self.in_heads.lock().hold(bytes);
    }

    /// What flushing a head takes besides it, until it is dropped. It is never refused, for it makes room.
    pub(super) fn for_flush(&self, head_bytes: usize) -> Reservation {
        let mut working = self.heads.reservation();
        working.hold(head_bytes as u64 / FLUSH_SHARE);
        working
    }

    /// What a merge takes just now, until it is dropped. It is never refused: merges keep within their share by
    /// themselves (see `compaction::Bounds`), and run one at a time.
    pub(super) fn for_merge(&self, bytes: usize) -> Reservation {
        let mut working = self.merges.reservation();
        working.hold(bytes as u64);
        working
    }

    /// Bytes in the head at which it is flushed, given those at which it usually is.
    pub(super) fn flush_bytes(&self, usual_bytes: u64) -> u64 {
        if self.all.has_spare(0, TIGHT_SHARE) { usual_bytes } else { usual_bytes / EARLY_FLUSH_SHARE }
    }

    /// Memory in use by merges.
    pub(super) fn merge_bytes(&self) -> u64 {
        self.merges.used_bytes()
    }
}

/// Counts queries that read just now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(Arc<AtomicUsize>);

/// A query that reads, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reading(Readers);

impl Readers {
    pub(crate) fn begin(&self) -> Reading {
        self.0.fetch_add(1, Ordering::Relaxed);
        Reading(self.clone())
    }

    /// Whether there are any.
    pub(crate) fn are_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_flushed_early_when_others_take_the_memory() {
        let config = StoreConfig { memory: Budget::new(BudgetScope::Process, 800), ..StoreConfig::memory() };
        let memory = Memory::new(&config);
        let mut of_queries = config.memory.reservation();
        of_queries.grow(700).expect("there is room");
        assert_eq!(memory.flush_bytes(64), 64, "an eighth is free");
        memory.note_heads(1);
        assert_eq!(memory.flush_bytes(64), 16, "less than an eighth");
        memory.note_heads(0);
        assert_eq!(memory.flush_bytes(64), 64);
    }

    #[test]
    fn flushes_and_merges_give_back_what_they_held() {
        let config = StoreConfig { memory: Budget::new(BudgetScope::Process, 100), ..StoreConfig::memory() };
        let memory = Memory::new(&config);
        let (flush, merge) = (memory.for_flush(300), memory.for_merge(50));
        assert_eq!((config.memory.used_bytes(), memory.merge_bytes()), (150, 50));
        drop((flush, merge));
        assert_eq!(config.memory.used_bytes(), 0);
    }

    #[test]
    fn readers_are_there_as_long_as_they_read() {
        let readers = Readers::default();
        let (one, other) = (readers.begin(), readers.begin());
        drop(one);
        assert!(readers.are_there());
        drop(other);
        assert!(!readers.are_there());
    }
}
