//! A head on its way into a segment.

use std::sync::Arc;

use hashbrown::HashSet;
use loki_core::{Labels, TimeRange, Timestamp};

use super::slab::Slab;
use super::snapshot::{HeadSnapshot, SnapshotTimes};
use super::streams::{Place, StreamName};
use crate::tenant::TenantId;

/// Entries with one time in one stream up to which each is compared with each.
const MAX_PAIRWISE: usize = 16;

/// A head that takes no more entries. Queries go on while it becomes a segment.
#[derive(Debug)]
pub(crate) struct FrozenHead {
    /// Sorted by tenant.
    pub(super) tenants: Vec<(TenantId, FrozenTenant)>,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct FrozenTenant {
    pub(super) names: Arc<Vec<StreamName>>,
    pub(super) times: Vec<SnapshotTimes>,
    pub(super) slabs: Vec<Arc<Slab>>,
}

impl FrozenHead {
    /// The tenants, sorted, each with its entries.
    pub(crate) fn tenants(&self) -> impl ExactSizeIterator<Item = (&TenantId, TenantRows<'_>)> {
        self.tenants.iter().map(|(tenant, rows)| (tenant, TenantRows { tenant: rows }))
    }

    /// The memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a query sees of a tenant's entries; `None` when there are none in `range`.
    pub(crate) fn snapshot(&self, tenant: &TenantId, range: TimeRange) -> Option<HeadSnapshot> {
        let found = self.tenants.binary_search_by(|(candidate, _)| candidate.cmp(tenant)).ok()?;
        let (_, tenant) = &self.tenants[found];
        HeadSnapshot::new(&tenant.names, tenant.times.clone(), tenant.slabs.iter().cloned(), range)
    }
}

/// The entries of one tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TenantRows<'a> {
    tenant: &'a FrozenTenant,
}

/// An entry as [`TenantRows::for_each_stream`] hands it out: time, line and structured metadata.
pub(crate) type Row<'a> = (Timestamp, &'a [u8], &'a Labels);

impl<'a> TenantRows<'a> {
    /// Calls `f` with every stream, sorted by labels, and its entries: sorted by time and then by arrival, of equal
    /// ones only the first. The first error ends it.
    pub(crate) fn for_each_stream<E>(
        self,
        mut f: impl FnMut(&'a Labels, &mut dyn Iterator<Item = Row<'a>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (names, slabs) = (&self.tenant.names, &self.tenant.slabs);
        let runs = self.runs_by_stream();
        let mut numbers: Vec<u32> = (0..names.len() as u32).collect();
        numbers.sort_by(|a, b| names[*a as usize].labels.cmp(&names[*b as usize].labels));
        let mut rows = Vec::new();
        for number in numbers {
            rows.clear();
            for run in &runs[number as usize] {
                let timestamps = &slabs[run.slab as usize].rows.timestamps;
                rows.extend((run.start..run.end).map(|row| {
                    let at = Timestamp(timestamps[row as usize]);
                    SortedRow { at, place: Place { slab: run.slab, row } }
                }));
            }
            if !rows.is_sorted_by_key(|row| row.at) {
                rows.sort_by_key(|row| row.at);
            }
            self.remove_duplicates(number, &mut rows);
            let mut entries = rows.iter().map(|row| {
                let (line, metadata) = slabs[row.place.slab as usize].row(row.place.row);
                (row.at, line, metadata)
            });
            f(&names[number as usize].labels, &mut entries)?;
        }
        Ok(())
    }

    /// For each stream its runs in order of arrival.
    fn runs_by_stream(self) -> Vec<Vec<PlacedRun>> {
        let mut runs = vec![Vec::new(); self.tenant.names.len()];
        for (slab, number) in self.tenant.slabs.iter().zip(0_u32..) {
            for (run, rows) in slab.runs() {
                runs[run.stream as usize].push(PlacedRun { slab: number, start: rows.start, end: rows.end });
            }
        }
        runs
    }

    /// Removes all but the first of equal entries. `rows` are sorted by time.
    fn remove_duplicates(self, stream: u32, rows: &mut Vec<SortedRow>) {
        let Some(repeats) = &self.tenant.times[stream as usize].repeats else {
            return;
        };
        let content = |row: &SortedRow| self.tenant.slabs[row.place.slab as usize].row(row.place.row);
        let mut kept = 0;
        let mut start = 0;
        while start < rows.len() {
            let at = rows[start].at;
            let end = start + rows[start..].iter().take_while(|row| row.at == at).count();
            let is_safe = end - start == 1 || !repeats.contains(at);
            let first_kept = kept;
            let mut seen = HashSet::with_hasher(foldhash::fast::RandomState::default());
            for i in start..end {
                let is_new = is_safe || {
                    if end - start <= MAX_PAIRWISE {
                        rows[first_kept..kept].iter().all(|other| content(other) != content(&rows[i]))
                    } else {
                        seen.insert(content(&rows[i]))
                    }
                };
                if is_new {
                    rows[kept] = rows[i];
                    kept += 1;
                }
            }
            start = end;
        }
        rows.truncate(kept);
    }
}

/// Rows of one stream in one slab.
#[derive(Clone, Copy, Debug)]
struct PlacedRun {
    slab: u32,
    start: u32,
    end: u32,
}

/// A row on its way to its place by time.
#[derive(Clone, Copy, Debug)]
struct SortedRow {
    at: Timestamp,
    place: Place,
}
