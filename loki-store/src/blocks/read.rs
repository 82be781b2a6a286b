//! Ranges of a segment put together from blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use super::BlockCache;
use super::block::{self, BLOCK_BYTES, BlockKey};
use crate::error::Error;
use crate::objects::Objects;
use crate::segment::SegmentId;
use crate::store::blocking;

/// Blocks that are fetched with one request at most.
const RUN_BLOCKS: u32 = 16;
/// Requests at the same time for one call.
const FETCHES_AT_ONCE: usize = 8;

/// Where a segment's bytes come from when they are not here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) path: &'a Path,
    pub(crate) segment: SegmentId,
    /// All bytes of the segment.
    pub(crate) size: u64,
}

impl BlockCache {
    /// Reads ranges of a segment, in order.
    pub(crate) async fn read(self: &Arc<Self>, origin: Origin<'_>, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        let Some(wanted) = wanted(ranges, origin.size) else {
            // No range of this segment. The object store says what it thinks of that.
            return origin.objects.get_ranges(origin.path, ranges).await;
        };
        // However little of it is wanted, a block is in memory as a whole.
        let mut memory = self.memory.reservation();
        memory.hold(wanted.len() as u64 * BLOCK_BYTES);
        let mut blocks = self.load_all(origin, &wanted).await;
        self.counters.hits.add(blocks.len() as u64);
        self.counters.bytes_hit.add(blocks.values().map(|bytes| bytes.len() as u64).sum());
        self.counters.misses.add((wanted.len() - blocks.len()) as u64);
        let runs = runs(wanted.into_iter().filter(|number| !blocks.contains_key(number)));
        let fetches = runs.into_iter().map(|run| async move {
            let span = block::start(*run.start())..block::span(*run.end(), origin.size).end;
            let len = span.end - span.start;
            let bytes = origin.objects.get_range(origin.path, span).await?;
            Ok::<_, Error>((*run.start(), bytes, len))
        });
        let fetched: Vec<_> = futures::stream::iter(fetches).buffered(FETCHES_AT_ONCE).try_collect().await?;
        for (first, bytes, len) in fetched {
            if bytes.len() as u64 != len {
                return origin.objects.get_ranges(origin.path, ranges).await;
            }
            let mut rest = bytes.clone();
            for number in first.. {
                if rest.is_empty() {
                    break;
                }
                blocks.insert(number, rest.split_to(rest.len().min(BLOCK_BYTES as usize)));
            }
            self.keep(origin.segment, first, bytes);
        }
        Ok(ranges.iter().map(|range| cut(&blocks, range)).collect())
    }

    /// The blocks of these that are here.
    async fn load_all(self: &Arc<Self>, origin: Origin<'_>, wanted: &BTreeSet<u32>) -> BTreeMap<u32, Bytes> {
        let Origin { segment, size, .. } = origin;
        let known: Vec<u32> = {
            let ledger = self.ledger.lock();
            wanted.iter().copied().filter(|&number| ledger.has(BlockKey { segment, number })).collect()
        };
        if known.is_empty() {
            return BTreeMap::new();
        }
        let cache = Arc::clone(self);
        let load = move || {
            let load = |number| {
                let span = block::span(number, size);
                Some((number, cache.load(BlockKey { segment, number }, (span.end - span.start) as usize)?))
            };
            known.into_iter().filter_map(load).collect()
        };
        blocking(load).await
    }
}

/// The numbers of the blocks that hold the ranges; `None` if some range is empty or not inside of a segment of `size`.
fn wanted(ranges: &[Range<u64>], size: u64) -> Option<BTreeSet<u32>> {
    let mut wanted = BTreeSet::new();
    for range in ranges {
        if range.end > size {
            return None;
        }
        wanted.extend(block::numbers(range)?);
    }
    Some(wanted)
}

/// Ascending numbers that follow each other, put together.
fn runs(numbers: impl Iterator<Item = u32>) -> Vec<std::ops::RangeInclusive<u32>> {
    let mut runs: Vec<std::ops::RangeInclusive<u32>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end() + 1 == number && number - run.start() < RUN_BLOCKS => {
                *run = *run.start()..=number;
            }
            _ => runs.push(number..=number),
        }
    }
    runs
}

/// A range's bytes, copied: a slice would keep all that was fetched with it in memory.
fn cut(blocks: &BTreeMap<u32, Bytes>, range: &Range<u64>) -> Bytes {
    let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
    for number in block::numbers(range).into_iter().flatten() {
        let first = block::start(number);
        let of_block = blocks.get(&number).map_or(&[][..], |block| &block[..]);
        let from = range.start.saturating_sub(first) as usize;
        let to = ((range.end - first) as usize).min(of_block.len());
        bytes.extend_from_slice(&of_block[from.min(to)..to]);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_fetched_together_up_to_a_bound() {
        assert_eq!(runs([1, 2, 3, 5].into_iter()), [1..=3, 5..=5]);
        assert_eq!(runs(0..RUN_BLOCKS), [0..=RUN_BLOCKS - 1]);
        assert_eq!(runs(0..=RUN_BLOCKS), [0..=RUN_BLOCKS - 1, RUN_BLOCKS..=RUN_BLOCKS]);
        assert_eq!(runs([u32::MAX - 1, u32::MAX].into_iter()), [u32::MAX - 1..=u32::MAX]);
    }

    #[test]
    fn ranges_outside_of_the_segment_are_not_looked_up() {
        assert_eq!(wanted(&[0..1, 0..10], 9), None);
        assert_eq!(wanted(&[0..1, 3..3], 9), None);
        assert_eq!(wanted(&[0..1, 0..9], 9), Some(BTreeSet::from([0])));
    }
}
