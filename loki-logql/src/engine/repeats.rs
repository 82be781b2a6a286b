//! Entries that several batches deliver, and that must count once.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use loki_core::{TimeRange, Timestamp};

use crate::budget::{Budget, BudgetExceeded, Reservation};
use crate::querier::RowMetadata;

/// Recognises an entry by stream, time, line and metadata: 128 bits of a keyed hash, so that a collision is out of
/// reach for data of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    high: u64,
    low: u64,
}

/// Makes identities; those of different instances do not compare, those of clones do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identifier {
    high: RandomState,
    low: RandomState,
}

/// The repeatable entries seen so far.
#[derive(Debug)]
pub(crate) struct RepeatFilter {
    seen: HashTable<Identity>,
    memory: Reservation,
}

impl Identifier {
    /// The identity of an entry.
    pub(crate) fn identify(
        &self,
        stream: u64,
        timestamp: Timestamp,
        line: &[u8],
        row: u32,
        metadata: &RowMetadata,
    ) -> Identity {
        let hash = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(stream);
            hasher.write_i64(timestamp.as_nanos());
            write_prefixed(&mut hasher, line);
            metadata.for_each(row, |name, value| {
                write_prefixed(&mut hasher, name.as_bytes());
                write_prefixed(&mut hasher, value.as_bytes());
            });
            hasher.finish()
        };
        Identity { high: hash(&self.high), low: hash(&self.low) }
    }
}

impl RepeatFilter {
    /// Nothing seen yet.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { seen: HashTable::new(), memory: budget.reservation() }
    }

    /// Whether an entry is seen for the first time.
    pub(crate) fn is_new(&mut self, identity: Identity) -> Result<bool, BudgetExceeded> {
        if self.seen.find(identity.low, |known| *known == identity).is_some() {
            return Ok(false);
        }
        if self.seen.len() == self.seen.capacity() {
            let more = self.seen.len().max(64);
            self.memory.grow(more * size_of::<Identity>())?;
            self.seen.reserve(more, |known| known.low);
        }
        self.seen.insert_unique(identity.low, identity, |known| known.low);
        Ok(true)
    }
}

/// Whether a moment lies in one of these spans, which are ascending and disjoint.
pub(crate) fn may_repeat(repeats: &[TimeRange], at: Timestamp) -> bool {
    let following = repeats.partition_point(|span| span.end <= at);
    repeats.get(following).is_some_and(|span| span.contains(at))
}

fn write_prefixed(hasher: &mut impl Hasher, bytes: &[u8]) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_two_equal_entries_is_not_new() {
        let identifier = Identifier::default();
        let mut filter = RepeatFilter::new(&Budget::unlimited());
        let entries = [(1, 5, "a"), (1, 5, "b"), (1, 6, "a"), (2, 5, "a"), (1, 5, "a")];
        let new: Vec<bool> = entries
            .iter()
            .map(|&(stream, time, line)| {
                let identity = identifier.identify(stream, Timestamp(time), line.as_bytes(), 0, &RowMetadata::None);
                filter.is_new(identity).expect("unlimited")
            })
            .collect();
        assert_eq!(new, [true, true, true, true, false]);
    }

    #[test]
    fn spans_are_half_open() {
        let spans = [TimeRange::new(Timestamp(0), Timestamp(5)), TimeRange::new(Timestamp(10), Timestamp(11))];
        let inside: Vec<i64> = (-1..12).filter(|&at| may_repeat(&spans, Timestamp(at))).collect();
        assert_eq!(inside, [0, 1, 2, 3, 4, 10]);
    }
}
