//! Entries that may be part of the answer of a log query.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bytes::Bytes;
use loki_core::{Direction, Labels, Timestamp};

use super::super::fold::Arrival;
use super::super::repeats::Identity;
use crate::budget::{Budget, BudgetExceeded, Reservation};

/// The place of an entry in the answer: lower ranks come first.
///
/// Entries are ordered by time, those of one time by stream, and those of one time and stream by arrival. Backward is
/// the exact reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    time: i64,
    stream: u64,
    arrival: Arrival,
}

/// An entry behind the pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) rank: Rank,
    pub(crate) timestamp: Timestamp,
    pub(crate) line: Bytes,
    /// All labels, or those of the stream when labels are wanted by category.
    pub(crate) labels: Labels,
    pub(crate) metadata: Labels,
    pub(crate) parsed: Labels,
    /// Set where another batch may bring the same entry.
    pub(crate) identity: Option<Identity>,
}

/// The entries of the lowest ranks, no more than a limit.
#[derive(Debug)]
pub(crate) struct Candidates {
    limit: usize,
    heap: BinaryHeap<Candidate>,
    /// The first time of an entry for which there was no room, as ranks count it.
    left_out: Option<i64>,
    memory: Reservation,
}

impl Rank {
    pub(crate) fn new(direction: Direction, timestamp: Timestamp, stream: u64, arrival: Arrival) -> Self {
        let time = timestamp.as_nanos();
        match direction {
            Direction::Forward => Self { time, stream, arrival },
            // Complements reverse the order of every part.
            Direction::Backward => Self {
                time: !time,
                stream: !stream,
                arrival: Arrival { sequence: !arrival.sequence, row: !arrival.row },
            },
        }
    }

    /// The time of the entry.
    pub(crate) fn timestamp(&self, direction: Direction) -> Timestamp {
        match direction {
            Direction::Forward => Timestamp(self.time),
            Direction::Backward => Timestamp(!self.time),
        }
    }

    /// Whether time alone puts the entry in front of another.
    pub(crate) fn is_before(&self, other: Self) -> bool {
        self.time < other.time
    }
}

impl Candidate {
    fn size_bytes(&self) -> usize {
        let labels = self.labels.size_bytes() + self.metadata.size_bytes() + self.parsed.size_bytes();
        size_of::<Self>() + self.line.len() + labels
    }
}

impl Candidates {
    pub(crate) fn new(limit: usize, budget: &Budget) -> Self {
        Self { limit, heap: BinaryHeap::new(), left_out: None, memory: budget.reservation() }
    }

    /// The highest rank, when there is no room for more.
    pub(crate) fn worst_if_full(&self) -> Option<Rank> {
        let full = self.heap.len() >= self.limit;
        self.heap.peek().filter(|_| full).map(|worst| worst.rank)
    }

    /// Takes an entry in; the worst one leaves if there are too many.
    pub(crate) fn push(&mut self, candidate: Candidate) -> Result<(), BudgetExceeded> {
        self.memory.grow(candidate.size_bytes())?;
        self.heap.push(candidate);
        if self.heap.len() > self.limit
            && let Some(worst) = self.heap.pop()
        {
            self.memory.shrink(worst.size_bytes());
            self.leave_out(worst.rank);
        }
        Ok(())
    }

    /// Notes that there was no room for an entry.
    pub(crate) fn leave_out(&mut self, rank: Rank) {
        self.left_out = Some(self.left_out.map_or(rank.time, |time| time.min(rank.time)));
    }

    /// Notes for what there was no room in `other`.
    pub(crate) fn leave_out_all_of(&mut self, other: &Self) {
        self.left_out = self.left_out.into_iter().chain(other.left_out).min();
    }

    /// Whether an entry that was left out has the time of one that was not.
    pub(crate) fn is_cut_in_a_tie(&self) -> bool {
        self.heap.peek().is_some_and(|worst| self.left_out == Some(worst.rank.time))
    }

    /// All entries in the order of the answer.
    pub(crate) fn into_sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec()
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(direction: Direction, time: i64, row: u32) -> Candidate {
        let arrival = Arrival { sequence: 7, row };
        Candidate {
            rank: Rank::new(direction, Timestamp(time), 1, arrival),
            timestamp: Timestamp(time),
            line: Bytes::from(format!("{time}/{row}")),
            labels: Labels::EMPTY,
            metadata: Labels::EMPTY,
            parsed: Labels::EMPTY,
            identity: None,
        }
    }

    fn best(direction: Direction, limit: usize) -> Vec<Bytes> {
        let mut candidates = Candidates::new(limit, &Budget::unlimited());
        for (time, row) in [(5, 0), (1, 1), (5, 2), (3, 3), (i64::MIN, 4), (i64::MAX, 5)] {
            candidates.push(candidate(direction, time, row)).expect("unlimited");
        }
        candidates.into_sorted().into_iter().map(|candidate| candidate.line).collect()
    }

    #[test]
    fn backward_is_the_exact_reverse_of_forward() {
        let mut forward = best(Direction::Forward, 10);
        forward.reverse();
        assert_eq!(forward, best(Direction::Backward, 10));
    }

    #[test]
    fn ties_at_the_limit_are_known() {
        let is_cut = |limit| {
            let mut candidates = Candidates::new(limit, &Budget::unlimited());
            for (time, row) in [(5, 0), (1, 1), (5, 2), (3, 3)] {
                candidates.push(candidate(Direction::Backward, time, row)).expect("unlimited");
            }
            candidates.is_cut_in_a_tie()
        };
        assert_eq!([1, 2, 3, 4].map(is_cut), [true, false, false, false]);
    }

    #[test]
    fn the_limit_keeps_the_lowest_ranks() {
        assert_eq!(best(Direction::Backward, 3), ["9223372036854775807/5", "5/2", "5/0"]);
        assert_eq!(best(Direction::Forward, 2), ["-9223372036854775808/4", "1/1"]);
    }
}
