//! What a store keeps, and what will go when and why.

use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;

use super::Store;
use crate::counters::StreamCounts;
use crate::error::Error;
use crate::retention::{SpaceLimits, Usage};
use crate::tenant::TenantId;
use crate::wal::Wal;

/// Removals that a status lists at most; those that come first.
pub const MAX_LISTED_REMOVALS: usize = 1000;

/// What a store keeps, and what will go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageStatus {
    /// Live segments by level: as flushed, merged, merged by day.
    pub levels: Vec<LevelStatus>,
    /// Bytes of objects that are replaced and not yet deleted.
    pub replaced_bytes: u64,
    /// Bytes of all segments and the log.
    pub used_bytes: u64,
    /// Free bytes on the disk, if [`StoreConfig::min_free_disk_bytes`](crate::StoreConfig::min_free_disk_bytes) is set.
    pub free_bytes: Option<u64>,
    /// Bytes that are too many, or too few free, by the store's limits.
    pub excess_bytes: u64,
    /// What will go, soonest first; at most [`MAX_LISTED_REMOVALS`].
    pub removals: Vec<Removal>,
}

/// The live segments of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStatus {
    /// The level.
    pub level: u8,
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
}

/// An object that will go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The object, below the store's prefix.
    pub object: String,
    /// Its bytes.
    pub bytes: u64,
    /// Why.
    pub reason: RemovalReason,
    /// When at the earliest; `None` if that depends on what is pushed.
    pub due: Option<Timestamp>,
}

/// Why an object will go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Merging, retention or lack of space took it out of use; it stays for those who still read it.
    Replaced,
    /// All entries will be past their retention.
    Retention {
        /// Whose entries.
        tenants: Vec<TenantId>,
        /// Until when the last one is kept for: the longest retention of any stream.
        period: Duration,
        /// The time of the last entry.
        last: Timestamp,
        /// Entries.
        entries: u64,
    },
    /// It is the oldest when there is too little space.
    Space {
        /// Whose entries.
        tenants: Vec<TenantId>,
        /// The time of the last entry.
        last: Timestamp,
        /// Entries.
        entries: u64,
    },
}

impl Store {
    /// What the store keeps, and what will go when and why.
    pub fn storage_status(&self) -> Result<StorageStatus, Error> {
        let inner = &self.inner;
        let config = &inner.config;
        let usage = inner.usage()?;
        let limits =
            SpaceLimits { max_disk_bytes: config.max_disk_bytes, min_free_disk_bytes: config.min_free_disk_bytes };
        let mut removals = self.replaced_removals();
        removals.extend(self.retention_removals());
        removals.sort_by_key(|removal| removal.due);
        if limits != SpaceLimits::default() {
            removals.extend(self.space_removals());
        }
        removals.truncate(MAX_LISTED_REMOVALS);
        let Usage { used_bytes, free_bytes } = usage;
        Ok(StorageStatus {
            levels: self.levels(),
            replaced_bytes: inner.replaced_bytes(),
            used_bytes,
            free_bytes,
            excess_bytes: limits.excess(usage),
            removals,
        })
    }

    /// How many streams of each tenant were written to lately, by tenant.
    pub fn active_streams(&self) -> Vec<(TenantId, usize)> {
        let mut counts = self.inner.ingest.active_streams_by_tenant(&*self.inner.config.clock);
        counts.sort();
        counts
    }

    /// How many streams of each tenant became active and how many are not any more, by tenant. Tenants stay listed.
    pub fn stream_counts(&self) -> Vec<(TenantId, Arc<StreamCounts>)> {
        let mut counts = self.inner.ingest.stream_counts();
        counts.sort_by(|(a, _), (b, _)| a.cmp(b));
        counts
    }

    /// Heads that take no more entries and wait to become segments.
    pub fn pending_flushes(&self) -> usize {
        self.inner.state.lock().pending.len()
    }

    /// Parts of segments that are kept in memory.
    pub fn cached_sections(&self) -> usize {
        self.inner.cache.len()
    }

    /// What they take, in bytes.
    pub fn cached_bytes(&self) -> u64 {
        self.inner.cache.bytes()
    }

    /// Bytes of the write-ahead log; zero without one.
    pub fn log_bytes(&self) -> u64 {
        self.inner.wal.lock().as_ref().map_or(0, Wal::bytes)
    }

    /// When the requests to delete entries were made that hide entries and are not processed yet, oldest first.
    pub fn waiting_deletes(&self) -> Vec<Timestamp> {
        let all = self.inner.deletes.all();
        let waiting = all.iter().filter(|deletion| !deletion.is_processed());
        let mut times: Vec<_> = waiting.map(|deletion| deletion.created_at).collect();
        times.sort_unstable();
        times
    }

    fn levels(&self) -> Vec<LevelStatus> {
        let mut levels: Vec<LevelStatus> = Vec::new();
        for segment in &self.inner.state.lock().segments {
            let level = segment.header.level;
            let place = levels.partition_point(|status| status.level < level);
            if levels.get(place).is_none_or(|status| status.level != level) {
                levels.insert(place, LevelStatus { level, ..LevelStatus::default() });
            }
            let status = &mut levels[place];
            status.segments += 1;
            status.bytes += segment.size;
            status.entries += segment.rows();
        }
        levels
    }

    fn replaced_removals(&self) -> Vec<Removal> {
        let delay = nanos(self.inner.config.delete_delay);
        let chain = self.inner.chain.lock();
        let removal = |object: &crate::manifest::ReplacedObject| Removal {
            object: object.path.clone(),
            bytes: object.size,
            reason: RemovalReason::Replaced,
            due: Some(object.at.saturating_add_nanos(delay)),
        };
        chain.replaced.iter().map(|replaced| removal(&replaced.object)).collect()
    }

    fn retention_removals(&self) -> Vec<Removal> {
        let now = self.inner.config.clock.now();
        let live = self.inner.state.lock().segments.clone();
        let removals = live.iter().filter_map(|segment| {
            let tenants = &segment.footer.tenants;
            // A segment goes when the last of its tenants lets it go.
            let ends = tenants.iter().map(|entry| {
                let earliest = self.inner.cuts(&entry.tenant).earliest();
                (earliest > Timestamp::MIN).then(|| {
                    let period = now.0.saturating_sub(earliest.0);
                    (entry.last.saturating_add_nanos(period), period)
                })
            });
            let ends: Option<Vec<_>> = ends.collect();
            let (due, period) = ends?.into_iter().max()?;
            Some(Removal {
                object: segment.header.object_path(),
                bytes: segment.size,
                reason: RemovalReason::Retention {
                    tenants: tenants.iter().map(|entry| entry.tenant.clone()).collect(),
                    period: Duration::from_nanos(period.max(0) as u64),
                    last: segment.bounds().1,
                    entries: segment.rows(),
                },
                due: Some(due),
            })
        });
        removals.collect()
    }

    fn space_removals(&self) -> Vec<Removal> {
        let mut live = self.inner.state.lock().segments.clone();
        live.sort_by_key(|segment| segment.bounds().1);
        let removal = |segment: &Arc<crate::segment::Segment>| Removal {
            object: segment.header.object_path(),
            bytes: segment.size,
            reason: RemovalReason::Space {
                tenants: segment.footer.tenants.iter().map(|entry| entry.tenant.clone()).collect(),
                last: segment.bounds().1,
                entries: segment.rows(),
            },
            due: None,
        };
        live.iter().map(removal).collect()
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
