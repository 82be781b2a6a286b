//! The series of a range aggregation while entries stream by.

use std::hash::BuildHasher;
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use loki_core::Labels;

use super::accumulator::{Accumulator, Function};
use super::fold::{Sample, Tally};
use super::matrix::{Matrix, Row};
use super::windows::Windows;
use crate::budget::{Budget, BudgetExceeded, Reservation};

/// Series by their labels. Looking up a known series allocates nothing.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    function: Function,
    hasher: RandomState,
    /// Hashes beside the numbers: growing does not touch the keys.
    index: HashTable<(u64, u32)>,
    /// All keys, each as [`Labels::as_bytes`], one after the other.
    keys: Vec<u8>,
    series: Vec<SeriesState>,
    filled: usize,
    memory: Reservation,
}

/// Room for keys and series that a table begins with, and the size of its first index.
const FIRST_KEY_BYTES: usize = 64;
const FIRST_SERIES: usize = 1;
const FIRST_INDEX_BYTES: usize = 256;

/// The place of a series in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesId(u32);

#[derive(Debug)]
struct SeriesState {
    /// Where its key stands.
    key: Range<usize>,
    accumulator: Accumulator,
}

impl SeriesTable {
    /// No series yet.
    pub(crate) fn new(function: Function, budget: &Budget) -> Self {
        Self {
            function,
            hasher: RandomState::default(),
            index: HashTable::new(),
            keys: Vec::new(),
            series: Vec::new(),
            filled: 0,
            memory: budget.reservation(),
        }
    }

    /// The series whose labels encode as `key`, made if it is new.
    pub(crate) fn find_or_insert(&mut self, key: &[u8]) -> Result<SeriesId, BudgetExceeded> {
        let hash = self.hasher.hash_one(key);
        let (keys, series) = (&self.keys, &self.series);
        let is_same = |&(h, id): &(u64, u32)| {
            let known = &keys[series[id as usize].key.clone()];
            // Comparing no bytes at the address of an empty slice is slow: see `TextTest::accepts`.
            h == hash && known.len() == key.len() && (key.is_empty() || known == key)
        };
        if let Some(&(_, id)) = self.index.find(hash, is_same) {
            return Ok(SeriesId(id));
        }
        self.make_room(key.len())?;
        let id = self.series.len() as u32;
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        let accumulator = Accumulator::new(self.function);
        self.series.push(SeriesState { key: start..self.keys.len(), accumulator });
        self.index.insert_unique(hash, (hash, id), |&(hash, _)| hash);
        Ok(SeriesId(id))
    }

    /// Makes room for one more series. The memory is drawn before it is allocated, for these buffers are large.
    fn make_room(&mut self, key_len: usize) -> Result<(), BudgetExceeded> {
        let memory = &mut self.memory;
        grow_by_half(&mut self.keys, key_len, FIRST_KEY_BYTES, memory)?;
        grow_by_half(&mut self.series, 1, FIRST_SERIES, memory)?;
        if self.index.len() == self.index.capacity() {
            // The new table has at most twice the size, and the old one is there until everything has moved.
            let old_bytes = self.index.allocation_size();
            let most_bytes = 2 * old_bytes + FIRST_INDEX_BYTES;
            memory.grow(most_bytes)?;
            self.index.reserve(1, |&(hash, _)| hash);
            let growth = self.index.allocation_size() - old_bytes;
            memory.shrink(most_bytes - growth.min(most_bytes));
        }
        Ok(())
    }

    /// How many series have samples.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Adds entries to a cell of a series.
    pub(crate) fn add_tally(&mut self, id: SeriesId, cell: usize, tally: Tally) -> Result<(), BudgetExceeded> {
        self.grow(id, |accumulator| accumulator.add_tally(cell, tally))
    }

    /// Adds a value to a cell of a series.
    pub(crate) fn add(&mut self, id: SeriesId, cell: usize, sample: &Sample) -> Result<(), BudgetExceeded> {
        self.grow(id, |accumulator| accumulator.add(cell, sample))
    }

    /// Takes in the series of another worker.
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), BudgetExceeded> {
        if self.series.is_empty() {
            *self = other;
            return Ok(());
        }
        for state in other.series {
            let id = self.find_or_insert(&other.keys[state.key])?;
            self.grow(id, |accumulator| accumulator.merge(state.accumulator))?;
        }
        Ok(())
    }

    /// The values of all series at all steps, in an order that depends on nothing but their labels. The memory of the
    /// result is drawn from `memory`.
    pub(crate) fn finish(self, windows: &Windows, memory: &mut Reservation) -> Result<Matrix, BudgetExceeded> {
        let keys = Bytes::from(self.keys);
        let mut rows = Vec::with_capacity(self.series.len());
        for state in self.series {
            let labels = Labels::from_bytes(keys.slice(state.key)).expect("keys are encoded labels");
            let row = state.accumulator.finish(self.function, windows, labels);
            if !row.values.is_empty() {
                memory.grow(row.size_bytes())?;
                rows.push((row.labels.hash64(), row));
            }
        }
        // By hash, because comparing the labels of a hundred thousand series costs more than counting their entries.
        let by_hash = |a: &(u64, Row), b: &(u64, Row)| a.0.cmp(&b.0).then_with(|| a.1.labels.cmp(&b.1.labels));
        rows.sort_unstable_by(by_hash);
        Ok(Matrix { rows: rows.into_iter().map(|(_, row)| row).collect() })
    }

    fn grow(&mut self, id: SeriesId, change: impl FnOnce(&mut Accumulator)) -> Result<(), BudgetExceeded> {
        let accumulator = &mut self.series[id.0 as usize].accumulator;
        let before = accumulator.size_bytes();
        change(accumulator);
        let after = accumulator.size_bytes();
        if after > before {
            self.filled += usize::from(before == 0);
            self.memory.grow(after - before)?;
        }
        Ok(())
    }
}

/// Makes room in a buffer, which grows by half of its size at least, after drawing the memory for it.
fn grow_by_half<T>(
    buffer: &mut Vec<T>,
    needed: usize,
    first: usize,
    memory: &mut Reservation,
) -> Result<(), BudgetExceeded> {
    let (len, capacity) = (buffer.len(), buffer.capacity());
    if capacity - len < needed {
        let more = needed.max(capacity / 2).max(first);
        memory.grow(more * size_of::<T>())?;
        buffer.reserve_exact(capacity - len + more);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use loki_core::Timestamp;

    use super::super::steps::Steps;
    use super::*;
    use crate::budget::BudgetScope;

    fn labels(value: &str) -> Labels {
        Labels::from_pairs([("a", value)]).expect("one label")
    }

    #[test]
    fn tables_of_two_workers_merge_by_labels() {
        let budget = Budget::unlimited();
        let one = Tally { entries: 1, bytes: 5 };
        let mut left = SeriesTable::new(Function::Count, &budget);
        let mut right = SeriesTable::new(Function::Count, &budget);
        let add = |table: &mut SeriesTable, value: &str| {
            let id = table.find_or_insert(labels(value).as_bytes()).expect("unlimited");
            table.add_tally(id, 0, one).expect("unlimited");
        };
        add(&mut left, "x");
        add(&mut right, "y");
        add(&mut right, "x");
        left.merge(right).expect("unlimited");
        let windows = Windows::new(&Steps::instant(Timestamp(10)), 10, 0);
        let matrix = left.finish(&windows, &mut budget.reservation()).expect("unlimited");
        let mut rows: Vec<_> = matrix.rows.iter().map(|row| (row.labels.clone(), row.at(0))).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(rows, [(labels("x"), Some(2.0)), (labels("y"), Some(1.0))]);
    }

    impl SeriesTable {
        /// What the table takes, without the cells of its series.
        fn allocated_bytes(&self) -> usize {
            let series = self.series.capacity() * size_of::<SeriesState>();
            self.keys.capacity() + series + self.index.allocation_size()
        }
    }

    #[test]
    fn what_a_table_allocates_is_what_it_draws() {
        let budget = Budget::unlimited();
        let mut table = SeriesTable::new(Function::Count, &budget);
        for n in 0..3000 {
            table.find_or_insert(labels(&n.to_string()).as_bytes()).expect("unlimited");
            let (allocated, drawn) = (table.allocated_bytes(), table.memory.used_bytes() as usize);
            assert!(allocated <= drawn && drawn <= allocated + FIRST_INDEX_BYTES, "{allocated} {drawn}");
        }
    }

    #[test]
    fn too_many_series_hit_the_budget() {
        let budget = Budget::new(BudgetScope::Query, 10_000);
        let mut table = SeriesTable::new(Function::Count, &budget);
        let refused = (0..1000).find_map(|n| table.find_or_insert(labels(&n.to_string()).as_bytes()).err());
        assert!(refused.is_some());
        assert!(table.allocated_bytes() <= 10_000);
        drop(table);
        assert_eq!(budget.used_bytes(), 0);
    }
}
