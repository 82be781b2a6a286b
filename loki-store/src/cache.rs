//! Parts of segments kept in memory, bounded by bytes.

use std::future::Future;
use std::sync::Arc;

use loki_core::Labels;
use loki_core::filter::FilterSet;
use loki_core::index::Index;
use loki_core::rollup::Rollup;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::error::Error;
use crate::patterns::section::PatternTable;
use crate::segment::layout::SectionKind;
use crate::segment::{ChunkTable, SegmentId, StreamTimes};

/// Something decoded of one tenant in one segment.
#[derive(Clone, Debug)]
pub(crate) enum Section {
    Filters(Arc<FilterSet>),
    Index(Arc<Index>),
    Rollup(Arc<Rollup>),
    Chunks(Arc<ChunkTable>),
    Times(Arc<StreamTimes>),
    Patterns(Arc<PatternTable>),
    Labels(Arc<[StreamLabels]>),
    Totals(Arc<[StreamTotal]>),
    Values(Arc<[String]>),
}

/// The labels of a stream and their hash.
#[derive(Clone, Debug)]
pub(crate) struct StreamLabels {
    pub(crate) labels: Labels,
    pub(crate) hash: u64,
}

/// All that a stream has in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamTotal {
    pub(crate) entries: u64,
    /// Bytes of lines.
    pub(crate) line_bytes: u64,
    /// Bytes of structured metadata.
    pub(crate) metadata_bytes: u64,
}

/// Where a [`Section`] belongs: segment, place of the tenant in its footer, and what it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SectionKey {
    pub(crate) segment: SegmentId,
    pub(crate) tenant: u32,
    pub(crate) what: SectionPart,
}

/// What a [`Section`] is of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum SectionPart {
    /// A section as it is stored.
    Stored(SectionKind),
    /// The labels of a block of streams, taken from the index.
    Labels { block: u32 },
    /// The totals of all streams, summed up from the rollup.
    Totals,
    /// The values of a label, taken from the index.
    Values { name: Arc<str> },
}

/// Decoded sections of all segments; the least useful leave when the budget is used up.
#[derive(Debug)]
pub(crate) struct SectionCache {
    cache: Cache<SectionKey, (Section, u64), SectionWeighter>,
}

#[derive(Clone, Debug)]
struct SectionWeighter;

/// Bytes an entry costs besides its section.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

impl Weighter<SectionKey, (Section, u64)> for SectionWeighter {
    fn weight(&self, key: &SectionKey, (_, bytes): &(Section, u64)) -> u64 {
        let name_bytes = match &key.what {
            // Whoever asks for values may name a label that is as long as a request can be.
            SectionPart::Values { name } => name.len() as u64,
            SectionPart::Stored(_) | SectionPart::Labels { .. } | SectionPart::Totals => 0,
        };
        bytes + name_bytes + ENTRY_OVERHEAD_BYTES
    }
}

/// The size of a section that the cache sizes its tables for; others work as well.
const TYPICAL_SECTION_BYTES: u64 = 64 << 10;

impl SectionCache {
    /// A cache of at most `budget_bytes`.
    pub(crate) fn new(budget_bytes: u64) -> Self {
        let sections = (budget_bytes / TYPICAL_SECTION_BYTES).max(16) as usize;
        // Nothing stays that is larger than a shard, and the index of a million streams takes tens of megabytes.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(sections)
            .weight_capacity(budget_bytes)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { cache: Cache::with_options(options, SectionWeighter, hasher, lifecycle) }
    }

    /// Sections in the cache.
    pub(crate) fn len(&self) -> usize {
        self.cache.len()
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// The section, fetched by `fetch` unless it is here; `fetch` also says how many bytes it takes.
    pub(crate) async fn get(
        &self,
        key: &SectionKey,
        fetch: impl Future<Output = Result<(Section, u64), Error>>,
    ) -> Result<Section, Error> {
        let (section, _) = self.cache.get_or_insert_async(key, fetch).await?;
        Ok(section)
    }

    /// The section, computed by `compute` unless it is here; `compute` also says how many bytes it takes.
    pub(crate) fn compute(
        &self,
        key: &SectionKey,
        compute: impl FnOnce() -> Result<(Section, u64), Error>,
    ) -> Result<Section, Error> {
        let (section, _) = self.cache.get_or_insert_with(key, compute)?;
        Ok(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_stays_that_takes_most_of_the_budget() {
        let cache = SectionCache::new(64 << 20);
        let segment = SegmentId::random();
        let times_computed = |block, bytes| {
            let mut computed = 0;
            for _ in 0..3 {
                let key = SectionKey { segment, tenant: 0, what: SectionPart::Labels { block } };
                let compute = || {
                    computed += 1;
                    Ok((Section::Labels(Arc::new([])), bytes))
                };
                cache.compute(&key, compute).expect("computed");
            }
            computed
        };
        assert_eq!(times_computed(0, 1 << 20), 1);
        assert_eq!(times_computed(1, 50 << 20), 1);
        assert_eq!(times_computed(2, 65 << 20), 3);
        assert!(cache.bytes() <= 64 << 20);
    }

    #[test]
    fn names_of_labels_count() {
        let cache = SectionCache::new(1 << 20);
        for number in 0..100 {
            let name = format!("{number:050000}").into();
            let key = SectionKey { segment: SegmentId::random(), tenant: 0, what: SectionPart::Values { name } };
            cache.compute(&key, || Ok((Section::Values(Arc::new([])), 0))).expect("computed");
        }
        assert!(cache.len() <= 20, "{}", cache.len());
    }
}
