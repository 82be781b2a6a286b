//! Carrying out retention: what is too old goes, and what must go to make room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;

use super::compact::{Housekeeping, Job};
use super::publish::Change;
use super::{Inner, Store};
use crate::error::Error;
use crate::retention::{Aged, Cuts, Expiry, Placed, SpaceLimits, Usage, expire, make_room};
use crate::segment::{Segment, SegmentId};
use crate::tenant::TenantId;
use crate::wal::Wal;

/// How often segments are searched for entries that are too old.
const EXPIRY_INTERVAL: Duration = Duration::from_mins(1);

impl Store {
    /// Drops segments in which everything is too old; returns how many.
    pub(super) async fn expire(&self, housekeeping: &mut Housekeeping) -> Result<usize, Error> {
        let inner = &self.inner;
        let now = inner.config.clock.now();
        let is_due = |at: Timestamp| now < at || now >= at.saturating_add_nanos(EXPIRY_INTERVAL.as_nanos() as i64);
        if !inner.config.retention_enabled || !housekeeping.expired_at.is_none_or(is_due) {
            return Ok(0);
        }
        let live = inner.state.lock().segments.clone();
        let dropped = self.expiries(&live).into_iter().filter_map(|expiry| match expiry {
            Expiry::Drop(id) => Some(id),
            Expiry::Sift { .. } => None,
        });
        let removed = of_ids(&live, &dropped.collect::<Vec<_>>());
        let change = Change { removed, added: Vec::new() };
        if !change.removed.is_empty() && !inner.publish(&change).await? {
            return Ok(0);
        }
        housekeeping.expired_at = Some(now);
        let segments = change.removed.len();
        if segments > 0 {
            let entries: u64 = change.removed.iter().map(|segment| segment.rows()).sum();
            inner.counters.segments_expired.add(segments as u64);
            inner.counters.entries_expired.add(entries);
            tracing::info!(segments, entries, "dropped segments that are past their retention");
        }
        Ok(segments)
    }

    /// A merged segment with streams that are too old as a whole, to be written again without them.
    pub(super) async fn next_sifting(
        &self,
        housekeeping: &mut Housekeeping,
        live: &[Arc<Segment>],
    ) -> Result<Option<Job>, Error> {
        if !self.inner.config.retention_enabled {
            return Ok(None);
        }
        for expiry in self.expiries(live) {
            let Expiry::Sift { id, retentions } = expiry else {
                continue;
            };
            if housekeeping.sifted.get(&id) == Some(&retentions) || housekeeping.unmergeable.contains(&id) {
                continue;
            }
            for segment in of_ids(live, &[id]) {
                if self.has_expired_streams(&segment).await? {
                    return Ok(Some(Job::rewrite(segment)));
                }
            }
            housekeeping.sifted.insert(id, retentions);
        }
        Ok(None)
    }

    /// Drops the oldest segments if the store takes too much space, or leaves too little; returns how many.
    pub(super) async fn make_room(&self) -> Result<usize, Error> {
        let inner = &self.inner;
        let config = &inner.config;
        let limits =
            SpaceLimits { max_disk_bytes: config.max_disk_bytes, min_free_disk_bytes: config.min_free_disk_bytes };
        let excess = limits.excess(inner.usage()?);
        if excess == 0 {
            return Ok(0);
        }
        // Only we can be reading what was replaced in a folder.
        inner.delete_replaced(inner.is_exclusive).await?;
        let excess = limits.excess(inner.usage()?).saturating_sub(inner.replaced_bytes());
        let live = inner.state.lock().segments.clone();
        let placed: Vec<Placed> = live
            .iter()
            .map(|segment| Placed { id: segment.header.id, size: segment.size, last: segment.bounds().1 })
            .collect();
        let removed = of_ids(&live, &make_room(&placed, excess));
        let change = Change { removed, added: Vec::new() };
        if change.removed.is_empty() || !inner.publish(&change).await? {
            return Ok(0);
        }
        let segments = change.removed.len();
        let bytes: u64 = change.removed.iter().map(|segment| segment.size).sum();
        let entries: u64 = change.removed.iter().map(|segment| segment.rows()).sum();
        let newest = change.removed.iter().map(|segment| segment.bounds().1).max().unwrap_or_default();
        inner.counters.segments_evicted.add(segments as u64);
        inner.counters.segment_bytes_evicted.add(bytes);
        inner.counters.entries_evicted.add(entries);
        tracing::warn!(
            segments,
            bytes,
            entries,
            newest_nanos = newest.0,
            max_disk_bytes = limits.max_disk_bytes,
            min_free_disk_bytes = limits.min_free_disk_bytes,
            "dropped the oldest segments because there is too little space"
        );
        drop((change, live));
        inner.delete_replaced(inner.is_exclusive).await?;
        Ok(segments)
    }

    fn expiries(&self, live: &[Arc<Segment>]) -> Vec<Expiry> {
        let mut cuts: HashMap<&TenantId, Cuts> = HashMap::new();
        for entry in live.iter().flat_map(|segment| &segment.footer.tenants) {
            cuts.entry(&entry.tenant).or_insert_with(|| self.inner.cuts(&entry.tenant));
        }
        let aged: Vec<Aged<'_>> = live
            .iter()
            .map(|segment| Aged {
                id: segment.header.id,
                level: segment.header.level,
                tenants: segment.footer.tenants.iter().map(|entry| (entry.last, &cuts[&entry.tenant])).collect(),
            })
            .collect();
        expire(&aged)
    }

    /// Whether the retention of some stream is over for everything in the segment.
    async fn has_expired_streams(&self, segment: &Arc<Segment>) -> Result<bool, Error> {
        for entry in &segment.footer.tenants {
            let Some(part) = segment.tenant(&entry.tenant) else {
                continue;
            };
            let contents = part.contents().await?;
            let cuts = self.inner.cuts(&entry.tenant);
            let expired = cuts.streams_cut_after(entry.last, &contents.index).map_err(|damage| part.damaged(damage))?;
            if !expired.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Inner {
    /// Since when the entries of a tenant's streams count.
    pub(super) fn cuts(&self, tenant: &TenantId) -> Cuts {
        if !self.config.retention_enabled {
            return Cuts::NONE;
        }
        Cuts::new(&self.limits(tenant), self.config.clock.now())
    }

    pub(super) fn usage(&self) -> Result<Usage, Error> {
        let free_bytes = match &self.free_space {
            Some(free_space) if self.config.min_free_disk_bytes > 0 => Some(free_space()?),
            _ => None,
        };
        let live: u64 = self.state.lock().segments.iter().map(|segment| segment.size).sum();
        let log = self.wal.lock().as_ref().map_or(0, Wal::bytes);
        Ok(Usage { used_bytes: live + log + self.replaced_bytes(), free_bytes })
    }

    /// Bytes that will be free once replaced objects are deleted.
    pub(super) fn replaced_bytes(&self) -> u64 {
        self.chain.lock().replaced.iter().map(|replaced| replaced.object.size).sum()
    }
}

fn of_ids(live: &[Arc<Segment>], ids: &[SegmentId]) -> Vec<Arc<Segment>> {
    let ids: std::collections::HashSet<&SegmentId> = ids.iter().collect();
    live.iter().filter(|segment| ids.contains(&segment.header.id)).cloned().collect()
}
