//! The store itself: wires log, head, segments and manifest together.

mod compact;
mod deletes;
mod erase;
mod expire;
mod folder;
mod garbage;
mod maintain;
pub(crate) mod memory;
mod open;
mod publish;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use loki_core::{Labels, Matcher, TimeRange};
use loki_logql::budget::Budget;
use loki_logql::querier::Querier;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::cache::SectionCache;
use crate::catalog::{self, IndexStats, StreamVolume};
use crate::config::StoreConfig;
use crate::counters::{Counters, DiskCacheStatus, ObjectRequests};
use crate::deletes::Deletes;
use crate::error::Error;
use crate::flush::PendingFlush;
use crate::head::Head;
use crate::limits::Limits;
use crate::lock::FolderLock;
use crate::objects::Objects;
use crate::patterns::{self, Patterns};
use crate::push::{Ingest, PushBody, PushOutcome, Staged};
use crate::querier::{Reach, StoreQuerier};
use crate::segment::{Segment, WriterId};
use crate::tail::{Tail, Tails};
use crate::tenant::TenantId;
use crate::view::View;
use crate::wal::{Committer, Lsn, Wal};
use compact::Housekeeping;
pub use deletes::PROCESSED_DELETES_KEPT;
pub(crate) use erase::selects_any;
pub use maintain::{MAX_WAIT_FOR_ROOM, Maintained};
use memory::{Memory, Readers};
pub(crate) use open::FreeSpace;
use publish::Chain;
pub use publish::FOLD_SEGMENTS;
pub(crate) use publish::describe;
pub use status::{LevelStatus, MAX_LISTED_REMOVALS, Removal, RemovalReason, StorageStatus};

/// How long closing waits for the disk of the disk cache.
const CACHE_PATIENCE: Duration = Duration::from_secs(5);

/// A log store: push entries, query them with LogQL.
///
/// Cloning is cheap and gives another handle to the same store. A store has no threads of its own; it works on the
/// tokio runtime it is used from. Dropping the last handle without [`Store::close`] is safe: what was acknowledged is
/// in the log and is read back when the folder is opened again.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Whose memory lists and queriers take.
    memory: Budget,
}

struct Inner {
    config: StoreConfig,
    objects: Objects,
    cache: Arc<SectionCache>,
    counters: Arc<Counters>,
    memory: Memory,
    readers: Readers,
    writer: WriterId,
    /// Names the log in the headers of segments.
    log: Uuid,
    /// Checks and decodes pushes; keeps rates and label caches.
    ingest: Ingest,
    /// Held while a push is logged and put into the head, so that both have the same order.
    wal: Mutex<Option<Wal>>,
    /// Waits for the log to be on disk; empty when there is no log.
    committer: OnceLock<Committer>,
    state: Mutex<State>,
    /// Held while heads become segments: one at a time, in order.
    flushing: tokio::sync::Mutex<()>,
    /// Rings when memory was freed by a flush.
    flushed: Notify,
    /// Who watches entries as they are pushed.
    tails: Arc<Tails>,
    deletes: Deletes,
    /// The end of the manifest chain.
    chain: Mutex<Chain>,
    /// Held while a manifest is published.
    publishing: tokio::sync::Mutex<()>,
    /// Held by a round of maintenance.
    housekeeping: tokio::sync::Mutex<Housekeeping>,
    /// How much space is free, for a folder.
    free_space: Option<FreeSpace>,
    /// Whether no other process reads these objects.
    is_exclusive: bool,
    closed: AtomicBool,
    _lock: Option<FolderLock>,
}

/// What queries see; locked only for moments.
struct State {
    /// In order of arrival.
    segments: Vec<Arc<Segment>>,
    pending: Vec<PendingFlush>,
    head: Head,
    next_sequence: u64,
}

impl Store {
    /// Stores entries and returns once they are durable.
    ///
    /// A body of which some entries are invalid is stored without them; the outcome says what was refused and what
    /// Loki would answer. An `Err` means that nothing is known to be stored; the same body may be pushed again, since
    /// exact duplicates count once.
    pub async fn push(&self, tenant: &TenantId, body: PushBody) -> Result<PushOutcome, Error> {
        let inner = &self.inner;
        inner.check_writable()?;
        self.wait_for_room().await?;
        let clock = &*inner.config.clock;
        let staged = inner.ingest.stage(tenant, body, &inner.limits(tenant), clock);
        let outcome = staged.outcome().clone();
        if !staged.is_empty() {
            let logged = inner.log_and_append(&staged)?;
            let live = inner.tails.select(&staged);
            drop(staged);
            if let (Some(committer), Some(position)) = (inner.committer.get(), logged) {
                committer.sync(position).await?;
            }
            live.deliver();
        }
        inner.counters.entries_pushed.add(outcome.entries);
        inner.counters.line_bytes_pushed.add(outcome.line_bytes);
        if inner.head_is_full() {
            self.flush_in_background();
        }
        Ok(outcome)
    }

    /// The same store, by a handle whose lists, such as [`Store::series`], and queriers take memory from `memory` instead
    /// of [`StoreConfig::memory`]: for what they have to hold of streams. What is read ahead, queriers take from there.
    #[must_use]
    pub fn drawing_on(&self, memory: Budget) -> Self {
        Self { inner: Arc::clone(&self.inner), memory }
    }

    /// The entries of a tenant, for [`loki_logql::engine::Engine`].
    pub fn querier(&self, tenant: &TenantId) -> Arc<dyn Querier> {
        let (store, tenant) = (self.clone(), tenant.clone());
        Arc::new(StoreQuerier {
            counters: Arc::clone(&self.inner.counters),
            reach: self.inner.reach(),
            ahead_memory: self.inner.config.memory.clone(),
            readers: self.inner.readers.clone(),
            view: Box::new(move |range| store.view(&tenant, range)),
        })
    }

    /// Names of labels of the streams that all `matchers` select and that have entries in `range`; sorted.
    pub async fn label_names(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, Error> {
        catalog::label_names(self.view(tenant, range), matchers, range).await
    }

    /// Values of the label `name` of the streams that all `matchers` select and that have entries in `range`; sorted.
    pub async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, Error> {
        catalog::label_values(self.view(tenant, range), name, matchers, range).await
    }

    /// Streams that some group of matchers selects and that have entries in `range`; sorted.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`] when there is no memory for as many, as in all lists.
    pub async fn series(
        &self,
        tenant: &TenantId,
        groups: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<Labels>, Error> {
        catalog::series(self.view(tenant, range), groups, range).await
    }

    /// How much the streams that all `matchers` select hold in `range`, to the minute.
    pub async fn stats(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange) -> Result<IndexStats, Error> {
        catalog::stats(self.view(tenant, range), matchers, range).await
    }

    /// The sizes of the streams that all `matchers` select in `range`, to the minute, by steps of `step_nanos` from
    /// the start of the range; zero makes the whole range one step. Sorted by labels.
    pub async fn volume(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        step_nanos: u64,
    ) -> Result<Vec<StreamVolume>, Error> {
        catalog::volume(self.view(tenant, range), matchers, range, step_nanos).await
    }

    /// What the lines of the streams that all `matchers` select look like in `range`, by steps of `step_nanos`. See
    /// [`crate::patterns`].
    pub async fn patterns(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        step_nanos: u64,
    ) -> Result<Patterns, Error> {
        let config = &self.inner.config;
        let view = self.view(tenant, range);
        patterns::answer::patterns(view, matchers, range, step_nanos, config.patterns, config.clock.now()).await
    }

    /// Watches entries of the streams that all `matchers` select, from now on, as they become durable.
    pub fn subscribe(&self, tenant: &TenantId, matchers: Vec<Matcher>) -> Tail {
        self.inner.tails.subscribe(tenant, matchers)
    }

    /// The limits of a tenant as they are now.
    pub fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        self.inner.limits(tenant)
    }

    /// What happened in this store since it was opened.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// What was asked of the object store since this store was opened.
    pub fn object_requests(&self) -> &ObjectRequests {
        self.inner.objects.requests()
    }

    /// What the disk cache holds and did; `None` if there is none.
    pub fn disk_cache(&self) -> Option<DiskCacheStatus<'_>> {
        let blocks = self.inner.objects.blocks()?;
        let (blocks_held, used_bytes) = (blocks.len(), blocks.used_bytes());
        Some(DiskCacheStatus { blocks: blocks_held, used_bytes, counters: blocks.counters() })
    }

    /// The options this store was opened with.
    pub fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    /// Bytes of memory used by entries awaiting flush.
    pub fn head_bytes(&self) -> u64 {
        self.inner.state.lock().head_bytes()
    }

    /// Bytes of memory that merging segments may take just now.
    pub fn merge_bytes(&self) -> u64 {
        self.inner.memory.merge_bytes()
    }

    /// Live segments.
    pub fn segment_count(&self) -> usize {
        self.inner.state.lock().segments.len()
    }

    /// Flushes everything and refuses further writes.
    pub async fn close(&self) -> Result<(), Error> {
        self.inner.closed.store(true, Ordering::Release);
        let flushed = self.flush().await;
        if let Some(blocks) = self.inner.objects.blocks() {
            blocks.settle_within(CACHE_PATIENCE).await;
        }
        flushed
    }

    /// One consistent picture of where the tenant's entries in `range` are.
    fn view(&self, tenant: &TenantId, range: TimeRange) -> View {
        // Before the rest: a request that is processed meanwhile no longer hides what an older segment still holds.
        let deletions = self.inner.deletes.hiding(tenant, range).with_retention(self.inner.cuts(tenant));
        let mut state = self.inner.state.lock();
        let pending = state.pending.iter().filter_map(|pending| pending.head.snapshot(tenant, range));
        let mut heads: Vec<_> = pending.collect();
        heads.extend(state.head.snapshot(tenant, range));
        let segments = state.segments.iter().filter_map(|s| s.tenant(tenant)).collect();
        View { segments, heads, deletions, memory: self.memory.clone() }
    }
}

impl Inner {
    fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        (self.config.limits)(tenant)
    }

    /// How far queries read ahead.
    fn reach(&self) -> Reach {
        Reach::of(&self.config.location)
    }

    fn check_writable(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Logs a push and puts it into the head, in the same order as all others.
    fn log_and_append(&self, staged: &Staged) -> Result<Option<Lsn>, Error> {
        let record = self.committer.get().map(|_| staged.record());
        let mut wal = self.wal.lock();
        let logged = match (wal.as_mut(), record) {
            (Some(wal), Some(record)) => Some(wal.append(&record)?),
            _ => None,
        };
        self.counters.wal_records_logged.add(u64::from(logged.is_some()));
        let mut state = self.state.lock();
        state.head.append(staged, self.config.clock.monotonic_nanos());
        self.memory.note_heads(state.head_bytes());
        Ok(logged)
    }

    /// Bytes in the head at which it is flushed.
    fn flush_bytes(&self) -> u64 {
        self.memory.flush_bytes(self.config.flush_bytes)
    }

    fn head_is_full(&self) -> bool {
        self.state.lock().head.bytes() as u64 >= self.flush_bytes()
    }
}

impl State {
    /// Bytes in all heads.
    fn head_bytes(&self) -> u64 {
        let pending = self.pending.iter().map(|pending| pending.head.bytes());
        (self.head.bytes() + pending.sum::<usize>()) as u64
    }
}

/// Computes on a thread where that holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(compute: impl FnOnce() -> T + Send + 'static) -> T {
    let computed = tokio::task::spawn_blocking(compute).await;
    computed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("location", &self.inner.config.location)
            .field("writer", &self.inner.writer)
            .finish_non_exhaustive()
    }
}
