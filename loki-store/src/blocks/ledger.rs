//! Which blocks there are, and which goes next.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::block::BlockKey;
use crate::segment::SegmentId;

/// Blocks in the order in which they came. The first one goes next, unless it was used since its last turn: then it
/// comes last again.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    blocks: BTreeMap<BlockKey, Slot>,
    /// Blocks and their turns; those that do not have that turn any more were removed meanwhile.
    turns: VecDeque<(BlockKey, u64)>,
    used_bytes: u64,
    next_turn: u64,
}

#[derive(Debug)]
struct Slot {
    bytes: u64,
    turn: u64,
    is_used: bool,
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(super) fn has(&self, key: BlockKey) -> bool {
        self.blocks.contains_key(&key)
    }

    /// Notes that a block is used. Its turn tells it from one that takes its place later.
    pub(super) fn touch(&mut self, key: BlockKey) -> Option<u64> {
        let slot = self.blocks.get_mut(&key)?;
        slot.is_used = true;
        Some(slot.turn)
    }

    pub(super) fn insert(&mut self, key: BlockKey, bytes: u64) {
        let turn = self.take_turn(key);
        let before = self.blocks.insert(key, Slot { bytes, turn, is_used: false });
        self.used_bytes = self.used_bytes + bytes - before.map_or(0, |slot| slot.bytes);
    }

    /// Removes a block if it still has this turn.
    pub(super) fn remove(&mut self, key: BlockKey, turn: u64) {
        if self.blocks.get(&key).is_some_and(|slot| slot.turn == turn)
            && let Some(slot) = self.blocks.remove(&key)
        {
            self.used_bytes -= slot.bytes;
        }
        // Turns of what is gone are found when they come, or here when there are too many of them.
        if self.turns.len() > 2 * self.blocks.len() + 16 {
            let blocks = &self.blocks;
            self.turns.retain(|(key, turn)| blocks.get(key).is_some_and(|slot| slot.turn == *turn));
        }
    }

    /// The block whose turn it is. It stays until it is removed, but its turn has passed.
    pub(super) fn next_out(&mut self) -> Option<(BlockKey, u64)> {
        while let Some((key, turn)) = self.turns.pop_front() {
            let Some(slot) = self.blocks.get_mut(&key).filter(|slot| slot.turn == turn) else {
                continue;
            };
            let is_spared = std::mem::take(&mut slot.is_used);
            let turn = self.take_turn(key);
            if let Some(slot) = self.blocks.get_mut(&key) {
                slot.turn = turn;
            }
            if !is_spared {
                return Some((key, turn));
            }
        }
        None
    }

    /// The blocks of a segment that have one of these numbers, and their turns.
    pub(super) fn of_segment(&self, segment: SegmentId, numbers: RangeInclusive<u32>) -> Vec<(BlockKey, u64)> {
        let key = |number| BlockKey { segment, number };
        let found = self.blocks.range(key(*numbers.start())..=key(*numbers.end()));
        found.map(|(key, slot)| (*key, slot.turn)).collect()
    }

    fn take_turn(&mut self, key: BlockKey) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.push_back((key, turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(number: u32) -> BlockKey {
        BlockKey { segment: SegmentId(Uuid::nil()), number }
    }

    fn ledger(blocks: u32) -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..blocks {
            ledger.insert(key(number), 10);
        }
        ledger
    }

    fn take(ledger: &mut Ledger) -> Option<u32> {
        let (key, turn) = ledger.next_out()?;
        ledger.remove(key, turn);
        Some(key.number)
    }

    #[test]
    fn the_oldest_goes_first_unless_it_was_used() {
        let mut ledger = ledger(4);
        ledger.touch(key(0)).unwrap();
        ledger.touch(key(2)).unwrap();
        let order: Vec<u32> = std::iter::from_fn(|| take(&mut ledger)).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!((ledger.len(), ledger.used_bytes()), (0, 0));
    }

    #[test]
    fn all_used_blocks_take_turns() {
        let mut ledger = ledger(3);
        for number in 0..3 {
            ledger.touch(key(number)).unwrap();
        }
        assert_eq!(take(&mut ledger), Some(0));
    }

    #[test]
    fn a_block_that_came_again_is_another_one() {
        let mut ledger = ledger(2);
        let turn = ledger.touch(key(0)).unwrap();
        ledger.remove(key(0), turn);
        ledger.insert(key(0), 30);
        ledger.remove(key(0), turn);
        assert_eq!((ledger.len(), ledger.used_bytes()), (2, 40));
        assert_eq!(take(&mut ledger), Some(1), "it comes last");
    }

    #[test]
    fn a_block_that_could_not_be_removed_keeps_its_bytes_and_comes_last() {
        let mut ledger = ledger(2);
        assert_eq!(ledger.next_out().unwrap().0, key(0));
        assert_eq!(ledger.used_bytes(), 20);
        assert_eq!(take(&mut ledger), Some(1));
        assert_eq!(take(&mut ledger), Some(0));
    }

    #[test]
    fn turns_of_removed_blocks_do_not_pile_up() {
        let mut ledger = ledger(3);
        for _ in 0..1000 {
            let turn = ledger.touch(key(1)).unwrap();
            ledger.remove(key(1), turn);
            ledger.insert(key(1), 10);
        }
        assert!(ledger.turns.len() <= 2 * 3 + 17, "{}", ledger.turns.len());
    }
}
