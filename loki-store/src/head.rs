//! Entries in memory that await flush.
//!
//! Each tenant's entries lie in slabs in the order in which they arrived; a line is copied once, into the slab, and
//! stays there until its segment is published. Slabs can be queried as they stand, so a [`HeadSnapshot`] costs a few
//! reference counts. [`Head::freeze`] ends a head; the [`FrozenHead`] hands entries out by stream and time, equal ones
//! once.
//!
//! An entry that is equal to another one of its stream is appended like any other: finding out would cost too much for
//! something so rare. But it is noted *when* that may be so, from the order of times alone, and both queries and
//! flushes look closer at those times only.

use std::sync::Arc;

use hashbrown::HashMap;
use loki_core::TimeRange;

use crate::push::{Staged, StagedStreamView};
use crate::tenant::TenantId;

mod frozen;
mod slab;
mod snapshot;
mod spans;
mod streams;

pub(crate) use frozen::FrozenHead;
pub(crate) use snapshot::HeadSnapshot;

use frozen::FrozenTenant;
use slab::{OpenSlab, SLAB_BYTES, Slab};
use snapshot::SnapshotTimes;
use streams::{Place, Streams, entry_hash};

/// A snapshot copies an open slab with fewer bytes of lines than this, and seals one with more.
const MAX_COPIED_BYTES: usize = SLAB_BYTES / 8;

/// All entries awaiting flush.
#[derive(Debug, Default)]
pub(crate) struct Head {
    tenants: HashMap<TenantId, TenantHead, foldhash::fast::RandomState>,
    bytes: usize,
    /// Entries as they were appended, duplicates included.
    rows: u64,
    oldest_append_nanos: Option<u64>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug, Default)]
struct TenantHead {
    streams: Streams,
    sealed: Vec<Arc<Slab>>,
    sealed_bytes: usize,
    open: OpenSlab,
}

impl Head {
    /// Appends everything that is staged. `now_nanos` is the monotonic time.
    pub(crate) fn append(&mut self, staged: &Staged, now_nanos: u64) {
        if staged.is_empty() {
            return;
        }
        self.oldest_append_nanos.get_or_insert(now_nanos);
        let tenant = match self.tenants.get_mut(staged.tenant()) {
            Some(tenant) => tenant,
            None => self.tenants.entry(staged.tenant().clone()).or_default(),
        };
        let bytes_before = tenant.bytes();
        for stream in staged.streams() {
            self.rows += stream.entries().len() as u64;
            tenant.append(&stream, &self.hasher);
        }
        self.bytes = self.bytes + tenant.bytes() - bytes_before;
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The monotonic time of the first append.
    pub(crate) fn oldest_append_nanos(&self) -> Option<u64> {
        self.oldest_append_nanos
    }

    /// What a query sees of a tenant's entries; `None` when there are none in `range`.
    pub(crate) fn snapshot(&mut self, tenant: &TenantId, range: TimeRange) -> Option<HeadSnapshot> {
        let tenant = self.tenants.get_mut(tenant)?;
        let bytes_before = tenant.bytes();
        let open = tenant.open_slab();
        self.bytes = self.bytes + tenant.bytes() - bytes_before;
        let slabs = tenant.sealed.iter().cloned().chain(open);
        HeadSnapshot::new(tenant.streams.names(), tenant.times(), slabs, range)
    }

    /// Ends the head.
    pub(crate) fn freeze(self) -> FrozenHead {
        let mut tenants: Vec<_> = self.tenants.into_iter().map(|(tenant, head)| (tenant, head.freeze())).collect();
        tenants.sort_by(|(a, _), (b, _)| a.cmp(b));
        FrozenHead { tenants, bytes: self.bytes }
    }
}

impl TenantHead {
    fn append(&mut self, stream: &StagedStreamView<'_>, hasher: &foldhash::fast::RandomState) {
        let mut entries = stream.entries();
        let Some(first) = entries.next() else {
            return;
        };
        let (number, is_new) = self.streams.number(stream.labels(), stream.hash(), first.timestamp);
        let mut is_first = is_new;
        let mut last_metadata: &[u8] = &[];
        for entry in std::iter::once(first).chain(entries) {
            if self.open.is_full_for(entry.line, entry.metadata) {
                let next = self.open.next();
                self.seal_and_begin(next);
                last_metadata = &[];
            }
            // Entries that follow each other often share their metadata; then it is even in the same place.
            let has_last_metadata = std::ptr::eq(last_metadata, entry.metadata) && !last_metadata.is_empty();
            last_metadata = entry.metadata;
            let row = self.open.append(number, entry.timestamp, entry.line, entry.metadata, has_last_metadata);
            let place = Place { slab: self.sealed.len() as u32, row };
            if std::mem::take(&mut is_first) {
                self.streams.begin(number, place);
                continue;
            }
            let (sealed, open) = (&self.sealed, &self.open);
            let hash = |place: Place| {
                let sealed = sealed.get(place.slab as usize).map(|slab| slab.row(place.row));
                let sealed = sealed.map(|(line, metadata)| (line, metadata.as_bytes()));
                let (line, metadata) = sealed.unwrap_or_else(|| open.row(place.row));
                entry_hash(hasher, line, metadata)
            };
            self.streams.times_mut(number).note(entry.timestamp, place, hash);
        }
    }

    /// Ends the open slab and goes on with `next`.
    fn seal_and_begin(&mut self, next: OpenSlab) {
        let slab = std::mem::replace(&mut self.open, next).seal();
        self.sealed_bytes += slab.bytes;
        self.sealed.push(Arc::new(slab));
    }

    /// The entries of the open slab as a slab of their own, unless they now are among the sealed ones.
    fn open_slab(&mut self) -> Option<Arc<Slab>> {
        if self.open.text_bytes() >= MAX_COPIED_BYTES {
            self.seal_and_begin(OpenSlab::default());
        }
        (self.open.rows() > 0).then(|| Arc::new(self.open.clone().seal()))
    }

    fn times(&self) -> Vec<SnapshotTimes> {
        let snapshot = |times: &streams::StreamTimes| SnapshotTimes {
            range: times.range(),
            repeats: times.repeats().cloned().map(Box::new),
        };
        self.streams.times().iter().map(snapshot).collect()
    }

    fn bytes(&self) -> usize {
        self.sealed_bytes + self.open.bytes() + self.streams.bytes()
    }

    fn freeze(mut self) -> FrozenTenant {
        if self.open.rows() > 0 {
            self.seal_and_begin(OpenSlab::default());
        }
        FrozenTenant { times: self.times(), names: Arc::clone(self.streams.names()), slabs: self.sealed }
    }
}

#[cfg(test)]
mod tests;
