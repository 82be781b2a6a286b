//! What all handlers share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use loki_core::Timestamp;
use loki_logql::budget::BudgetScope;
use loki_logql::engine::{Engine, EngineOptions};
use loki_store::{Clock, LimitsSource, Store, TenantError, TenantId};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Auth, AuthError};
use crate::config::{Config, LimitsTable, RuntimeError, TenantLimits};
use crate::error::ApiError;
use crate::extract::TenantHeader;
use crate::logging::LogControl;
use crate::memory::{Memory, Relief, Shares};
use crate::metrics::Metrics;
use crate::queries::Queries;
use crate::queries::memory::QueryMemory;
use crate::serve::StartError;
use crate::tenants::Tenants;
use crate::workers::Pool;

/// Bytes that one permit of the push memory stands for.
const PUSH_PERMIT_BYTES: usize = 1024;

/// The state of a server. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    queries: Queries,
    config: Config,
    limits: SharedLimits,
    clock: Arc<dyn Clock>,
    log: LogControl,
    auth: Option<ArcSwap<Auth>>,
    metrics: Metrics,
    memory: Memory,
    push_permits: usize,
    push_memory: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
    is_prepared_for_shutdown: AtomicBool,
    is_poisoned: AtomicBool,
}

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It answers.
    Running,
    /// It was asked to stop: it still answers, but says that it is not ready.
    Stopping,
    /// It takes no more requests, and those that last are to end.
    Closing,
}

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct AppParts {
    /// The store, opened with [`SharedLimits::source`].
    pub store: Store,
    /// The configuration.
    pub config: Config,
    /// The limits of tenants.
    pub limits: SharedLimits,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Control over the log.
    pub log: LogControl,
    /// The memory of the process, from which the store draws too.
    pub(crate) memory: Memory,
}

/// The limits of tenants, which may be replaced while the server runs.
#[derive(Clone, Debug)]
pub struct SharedLimits(Arc<ArcSwap<LimitsTable>>);

impl SharedLimits {
    /// Shares a table.
    pub fn new(table: LimitsTable) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// The limits as a store asks for them.
    pub fn source(&self) -> LimitsSource {
        let table = Arc::clone(&self.0);
        Arc::new(move |tenant| Arc::clone(&table.load().tenant(tenant).limits))
    }

    /// The limits of a tenant as they are now.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        Arc::clone(self.0.load().tenant(tenant))
    }

    /// Puts another table in place.
    pub fn replace(&self, table: LimitsTable) {
        self.0.store(Arc::new(table));
    }
}

impl App {
    /// Puts a server's state together, reads the files of users and tokens, and starts worker threads.
    pub fn new(parts: AppParts) -> Result<Self, StartError> {
        let AppParts { store, config, limits, clock, log, memory } = parts;
        let auth = Auth::load(&config)?.map(ArcSwap::from_pointee);
        let engine_clock = Arc::clone(&clock);
        let engine = Engine::new(EngineOptions {
            workers: Arc::new(Pool::start().map_err(StartError::Threads)?),
            clock: Arc::new(move || engine_clock.now()),
        });
        let Shares { query_bytes, tenant_bytes, one_query_bytes, body_bytes, .. } = memory.shares;
        let of_queries = memory.process.child(BudgetScope::Queries, query_bytes);
        let of_queries =
            QueryMemory::new(of_queries, tenant_bytes, one_query_bytes, Relief::new(memory.process.clone()));
        let queries = Queries::new(engine, of_queries, &config.query, Arc::clone(&clock));
        let push_permits = usize::try_from(body_bytes).unwrap_or(usize::MAX) / PUSH_PERMIT_BYTES;
        let push_permits = push_permits.clamp(1, Semaphore::MAX_PERMITS);
        let inner = Inner {
            store,
            queries,
            config,
            limits,
            clock,
            log,
            auth,
            metrics: Metrics::default(),
            memory,
            push_permits,
            push_memory: Arc::new(Semaphore::new(push_permits)),
            phase: watch::Sender::new(Phase::Running),
            is_prepared_for_shutdown: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Where queries run.
    pub(crate) fn queries(&self) -> &Queries {
        &self.inner.queries
    }

    /// The tenants of a query: several only where the configuration allows it.
    pub(crate) fn tenants(&self, header: &TenantHeader) -> Result<Tenants, ApiError> {
        let tenants = Tenants::of(header)?;
        if tenants.are_several() && !self.config().query.multi_tenant {
            return Err(ApiError::internal(TenantError::Multiple.to_string()));
        }
        Ok(tenants)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The limits of tenants.
    pub fn limits(&self) -> &SharedLimits {
        &self.inner.limits
    }

    /// The memory of the process.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// Numbers about the server.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Who may send requests; `None` when everybody may.
    pub(crate) fn auth(&self) -> Option<Arc<Auth>> {
        self.inner.auth.as_ref().map(ArcSwap::load_full)
    }

    /// Reads the files of users and tokens again. When they are wrong, those that were read before stay in place.
    pub(crate) fn reload_auth(&self) -> Result<(), AuthError> {
        if let (Some(current), Some(read)) = (&self.inner.auth, Auth::load(self.config())?) {
            current.store(Arc::new(read));
        }
        Ok(())
    }

    /// Reads the runtime files again. When they are wrong, the limits stay as they were.
    pub(crate) fn reload_limits(&self) -> Result<(), RuntimeError> {
        self.limits().replace(self.config().limits_table()?);
        Ok(())
    }

    /// Control over the log.
    pub(crate) fn log(&self) -> &LogControl {
        &self.inner.log
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Where the time comes from.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Where the server is in its life.
    pub fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// Tells when the server's life goes on.
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.inner.phase.subscribe()
    }

    /// Goes on in the server's life; it never goes back.
    pub fn advance(&self, phase: Phase) {
        self.inner.phase.send_if_modified(|current| {
            let is_later = phase > *current;
            *current = phase.max(*current);
            is_later
        });
    }

    /// Waits until there is room for a push of so many bytes; the room is given back when the permit is dropped.
    pub(crate) async fn push_room(&self, bytes: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let permits = (bytes / PUSH_PERMIT_BYTES + 1).min(self.inner.push_permits);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        // The semaphore is never closed, so that there is always a permit in the end.
        Arc::clone(&self.inner.push_memory).acquire_many_owned(permits).await.ok()
    }

    /// Whether the store refused a push because an earlier write failed; it takes none until it is reopened.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned.load(Ordering::Acquire)
    }

    /// Remembers that the store takes no more writes.
    pub(crate) fn set_poisoned(&self) {
        self.inner.is_poisoned.store(true, Ordering::Release);
    }

    /// Whether `/ingester/prepare_shutdown` was called.
    pub(crate) fn is_prepared_for_shutdown(&self) -> bool {
        self.inner.is_prepared_for_shutdown.load(Ordering::Acquire)
    }

    /// Remembers whether `/ingester/prepare_shutdown` was called.
    pub(crate) fn set_prepared_for_shutdown(&self, is_prepared: bool) {
        self.inner.is_prepared_for_shutdown.store(is_prepared, Ordering::Release);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("store", &self.inner.store).field("phase", &self.phase()).finish_non_exhaustive()
    }
}
