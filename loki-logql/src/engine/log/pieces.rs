//! Which entries of one time are left out where an answer reaches its limit.
//!
//! Loki answers a query over a long range in pieces, one after the other until there are enough entries, each in the
//! order of the engine ([`Rank`](super::candidates::Rank)) and up to the limit. It then takes entries from all streams
//! of these pieces through a binary heap that knows nothing but time. For entries of one time the answer depends on
//! where streams happen to lie in that heap, so the heap here moves them as that one does. Found out from answers of
//! Loki 3.7.6.

use std::collections::{BTreeMap, VecDeque};

use loki_core::TimeRange;

use super::candidates::Candidate;

/// The piece in which the answer ends, unless it begins there, too.
pub(super) fn last(entries: &[Candidate], range: TimeRange, piece_nanos: i64) -> Option<TimeRange> {
    let (first, last) = (entries.first()?, entries.last()?);
    let piece = TimeRange::aligned(last.timestamp, piece_nanos)?;
    (!piece.contains(first.timestamp)).then(|| piece.intersect(&range))
}

/// The first entries of several pieces, each of them in order, as many as `limit`.
pub(super) fn join(entries: Vec<Candidate>, limit: usize) -> Vec<Candidate> {
    let mut streams: BTreeMap<String, VecDeque<Candidate>> = BTreeMap::new();
    for entry in entries {
        streams.entry(entry.labels.to_string()).or_default().push_back(entry);
    }
    let mut heap = StreamHeap::new(streams.into_values().collect());
    let mut joined = Vec::with_capacity(limit);
    while joined.len() < limit
        && let Some(mut stream) = heap.pop()
    {
        joined.extend(stream.pop_front());
        if !stream.is_empty() {
            heap.push(stream);
        }
    }
    joined
}

/// Streams that have entries, one of those with the first entry on top.
struct StreamHeap {
    streams: Vec<VecDeque<Candidate>>,
}

impl StreamHeap {
    fn new(streams: Vec<VecDeque<Candidate>>) -> Self {
        let mut heap = Self { streams };
        for place in (0..heap.streams.len() / 2).rev() {
            heap.sift_down(place, heap.streams.len());
        }
        heap
    }

    fn push(&mut self, stream: VecDeque<Candidate>) {
        self.streams.push(stream);
        let mut place = self.streams.len() - 1;
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.is_before(place, parent) {
                break;
            }
            self.streams.swap(place, parent);
            place = parent;
        }
    }

    fn pop(&mut self) -> Option<VecDeque<Candidate>> {
        let last = self.streams.len().checked_sub(1)?;
        self.streams.swap(0, last);
        self.sift_down(0, last);
        self.streams.pop()
    }

    /// Lets a stream sink to its place among the first `len`.
    fn sift_down(&mut self, mut place: usize, len: usize) {
        while 2 * place + 1 < len {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let child = if right < len && self.is_before(right, left) { right } else { left };
            if !self.is_before(child, place) {
                break;
            }
            self.streams.swap(place, child);
            place = child;
        }
    }

    fn is_before(&self, place: usize, other: usize) -> bool {
        let first = |place: usize| self.streams[place].front();
        first(place).zip(first(other)).is_some_and(|(entry, other)| entry.rank.is_before(other.rank))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use loki_core::{Direction, Labels, Timestamp};

    use super::super::super::fold::Arrival;
    use super::super::candidates::Rank;
    use super::*;

    fn candidate(time: i64, stream: &str) -> Candidate {
        let (timestamp, arrival) = (Timestamp(time), Arrival { sequence: 0, row: 0 });
        Candidate {
            rank: Rank::new(Direction::Backward, timestamp, 0, arrival),
            timestamp,
            line: Bytes::new(),
            labels: Labels::from_pairs([("n", stream)]).expect("one label"),
            metadata: Labels::EMPTY,
            parsed: Labels::EMPTY,
            identity: None,
        }
    }

    /// Streams of the names given, each with three entries at 9 and three at 8.
    fn ties(streams: &[&str]) -> Vec<Candidate> {
        let at = |time| streams.iter().flat_map(move |stream| (0..3).map(move |_| candidate(time, stream)));
        at(9).chain(at(8)).collect()
    }

    /// How many entries at 8 come from each stream.
    fn counts_at_8(streams: &[&str], limit: usize) -> Vec<usize> {
        let joined = join(ties(streams), limit);
        let count = |stream: &&str| {
            let is_of = |entry: &&Candidate| entry.timestamp == Timestamp(8) && entry.labels.get("n") == Some(stream);
            joined.iter().filter(is_of).count()
        };
        streams.iter().map(count).collect()
    }

    #[test]
    fn entries_of_one_time_come_as_the_heap_has_them() {
        // What Loki 3.7.6 answers for such streams and a limit of 12.
        assert_eq!(counts_at_8(&["1", "2", "3"], 12), [0, 1, 2]);
        // The order in which streams come to the heap is that of their labels.
        assert_eq!(counts_at_8(&["3", "2", "1"], 12), [2, 1, 0]);
        assert_eq!(counts_at_8(&["1", "2", "3"], 18), [3, 3, 3]);
        assert_eq!(join(ties(&["1", "2"]), 100).len(), 12);
    }

    #[test]
    fn pieces_end_at_multiples_of_their_length() {
        let range = TimeRange::new(Timestamp(-25), Timestamp(18));
        let piece = |times: &[i64], nanos| {
            let entries: Vec<Candidate> = times.iter().map(|&time| candidate(time, "1")).collect();
            last(&entries, range, nanos).map(|piece| (piece.start.0, piece.end.0))
        };
        assert_eq!(piece(&[17, 9], 10), Some((0, 10)));
        assert_eq!(piece(&[9, 17], 10), Some((10, 18)));
        assert_eq!(piece(&[0, -1], 10), Some((-10, 0)));
        assert_eq!(piece(&[0, -21], 10), Some((-25, -20)));
        assert_eq!(piece(&[19, 10], 10), None);
        assert_eq!(piece(&[17, 9], 0), None);
        assert_eq!(piece(&[], 10), None);
    }
}
