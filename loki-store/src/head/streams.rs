//! The streams of one tenant, and what tells whether an entry may be there twice.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::{HashSet, HashTable};
use loki_core::{Labels, TimeRange, Timestamp};

use super::spans::Spans;

/// Entries with one time in one stream whose hashes are kept; further ones count as possible duplicates.
const MAX_TIES: usize = 64 * 1024;

/// Tie sets that grew beyond this are not kept for the next time.
const MAX_KEPT_TIES: usize = 64;

/// What names a stream.
#[derive(Clone, Debug)]
pub(super) struct StreamName {
    pub(super) labels: Labels,
    pub(super) hash: u64,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slab: u32,
    pub(super) row: u32,
}

/// The times of a stream's entries.
#[derive(Debug)]
pub(super) struct StreamTimes {
    first: Timestamp,
    last: Timestamp,
    /// The first entry that has the last time.
    last_place: Place,
    /// Hashes of the entries that have the last time, when there are several.
    ties: Option<Box<HashSet<u64, PassHash>>>,
    /// Times at which an entry may be there twice.
    repeats: Option<Box<Spans>>,
}

impl StreamTimes {
    /// A stream whose first entry has time `at`.
    const fn new(at: Timestamp) -> Self {
        Self { first: at, last: at, last_place: Place { slab: 0, row: 0 }, ties: None, repeats: None }
    }

    /// The times from the first entry to the last.
    pub(super) fn range(&self) -> TimeRange {
        TimeRange::new(self.first, self.last.saturating_add_nanos(1))
    }

    /// Times at which an entry may be there twice.
    pub(super) fn repeats(&self) -> Option<&Spans> {
        self.repeats.as_deref()
    }

    /// Notes an entry that was put at `place`.
    ///
    /// Only an entry that is not newer than all others can be a duplicate; of those with exactly the newest time, only
    /// one with a known hash. `hash` hashes an entry by its place.
    pub(super) fn note(&mut self, at: Timestamp, place: Place, hash: impl Fn(Place) -> u64) {
        if at > self.last {
            self.last = at;
            self.last_place = place;
            if let Some(ties) = &mut self.ties {
                if ties.capacity() > MAX_KEPT_TIES {
                    self.ties = None;
                } else {
                    ties.clear();
                }
            }
            return;
        }
        self.first = self.first.min(at);
        if at < self.last || !self.add_tie(place, hash) {
            self.repeats.get_or_insert_default().add(at);
        }
    }

    /// Whether no other entry with the last time has the same hash.
    fn add_tie(&mut self, place: Place, hash: impl Fn(Place) -> u64) -> bool {
        let ties = self.ties.get_or_insert_default();
        if ties.is_empty() {
            ties.insert(hash(self.last_place));
        }
        ties.len() < MAX_TIES && ties.insert(hash(place))
    }
}

/// Streams by number.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Shared with snapshots; copied when a stream is added while one is held.
    names: Arc<Vec<StreamName>>,
    times: Vec<StreamTimes>,
    by_hash: HashTable<u32>,
    label_bytes: usize,
}

impl Streams {
    /// The number of a stream, and whether it is a new one whose entry at `at` is its first.
    pub(super) fn number(&mut self, labels: &Labels, hash: u64, at: Timestamp) -> (u32, bool) {
        let names = &self.names;
        let is_same = |number: &u32| names[*number as usize].labels == *labels;
        if let Some(&number) = self.by_hash.find(hash, is_same) {
            return (number, false);
        }
        let number = self.names.len() as u32;
        self.label_bytes += labels.size_bytes();
        Arc::make_mut(&mut self.names).push(StreamName { labels: labels.clone(), hash });
        self.times.push(StreamTimes::new(at));
        let names = &self.names;
        self.by_hash.insert_unique(hash, number, |number| names[*number as usize].hash);
        (number, true)
    }

    pub(super) fn names(&self) -> &Arc<Vec<StreamName>> {
        &self.names
    }

    pub(super) fn times(&self) -> &[StreamTimes] {
        &self.times
    }

    pub(super) fn times_mut(&mut self, number: u32) -> &mut StreamTimes {
        &mut self.times[number as usize]
    }

    /// Notes where the first entry of a new stream was put.
    pub(super) fn begin(&mut self, number: u32, place: Place) {
        self.times[number as usize].last_place = place;
    }

    /// The memory they take.
    pub(super) fn bytes(&self) -> usize {
        let fixed = size_of::<StreamName>() + size_of::<StreamTimes>() + 2 * size_of::<u32>();
        self.names.len() * fixed + self.label_bytes
    }
}

/// Hashes a line with its metadata.
pub(super) fn entry_hash(hasher: &impl BuildHasher, line: &[u8], metadata: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_usize(line.len());
    state.write(line);
    state.write(metadata);
    state.finish()
}

/// Builds hashers for what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PassHash;

impl BuildHasher for PassHash {
    type Hasher = PassHasher;

    fn build_hasher(&self) -> PassHasher {
        PassHasher(0)
    }
}

/// Takes a `u64` for its own hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassHasher(u64);

impl Hasher for PassHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
