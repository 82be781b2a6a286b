//! A running server: its listener, its background work, and its end.

mod connections;
mod half_closed;
mod outages;
mod upkeep;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use loki_store::{Clock, Store, StoreConfig, SystemClock};
use tokio::task::JoinHandle;

use crate::app::{App, AppParts, Phase, SharedLimits};
use crate::auth::AuthError;
use crate::config::{Config, DataLocation, RuntimeError};
use crate::logging::LogControl;
use crate::memory::Memory;
use crate::routes;
use crate::tls::TlsError;
use watched::Watched;

/// How to run a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The configuration.
    pub config: Config,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Control over the log, which `/log_level` changes.
    pub log: LogControl,
    /// A store that is open already, instead of the one that the configuration describes. Its limits are its own.
    pub store: Option<Store>,
}

impl ServerOptions {
    /// A server as `config` describes it.
    pub fn new(config: Config) -> Self {
        Self { config, clock: Arc::new(SystemClock::new()), log: LogControl::detached(), store: None }
    }

    /// A server for a test: in memory, on any free port of this machine, with the defaults of a bare start.
    pub fn memory() -> Self {
        let mut config = Config::bare();
        "127.0.0.1".clone_into(&mut config.http.address);
        config.http.port = 0;
        config.data.location = DataLocation::Memory;
        Self::new(config)
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Serves a store that is open already.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Lets `/log_level` change the level of the log.
    #[must_use]
    pub fn with_log(mut self, log: LogControl) -> Self {
        self.log = log;
        self
    }
}

/// A server that answers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use loki_server::{Server, ServerOptions};
///
/// let server = Server::start(ServerOptions::memory()).await?;
/// println!("push to {}/loki/api/v1/push", server.url());
/// server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    app: App,
    address: SocketAddr,
    is_tls: bool,
    listening: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The runtime files are wrong.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The store cannot be opened.
    #[error("cannot open the store in {location}")]
    Store {
        /// Where it is.
        location: String,
        /// Why.
        source: Box<loki_store::Error>,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Worker threads cannot be started.
    #[error("cannot start worker threads")]
    Threads(#[source] std::io::Error),
    /// Files of users or tokens are wrong.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Certificates or keys are wrong.
    #[error("the listener cannot use TLS")]
    Tls(#[from] TlsError),
}

impl Server {
    /// Opens the store and listens. Requests are answered once this returns.
    pub async fn start(options: ServerOptions) -> Result<Self, StartError> {
        let ServerOptions { config, clock, log, store } = options;
        let auth = &config.auth;
        let mut watched = vec![
            Watched::limits(&config.runtime.files),
            Watched::auth(auth.htpasswd_file.as_ref(), auth.bearer_tokens_file.as_ref()),
        ];
        let limits = SharedLimits::new(config.limits_table()?);
        let memory = Memory::new(&config);
        let store = match store {
            Some(store) => store,
            None => open_store(&config, &memory, &limits, &clock).await?,
        };
        let listener = connections::bind(&config.http).await?;
        let address = listener.local_addr().map_err(|source| listen_error(&config, source))?;
        let (of_tls, tls) = config.http.tls.clone().map(Watched::tls).transpose()?.unzip();
        watched.extend(of_tls);
        watched.retain(|files| !files.is_empty());
        let app = App::new(AppParts { store, config, limits, clock, log, memory })?;
        let is_tls = tls.is_some();
        let router = routes::router(app.clone());
        let listening = tokio::spawn(connections::serve(app.clone(), router, listener, tls));
        let upkeep = tokio::spawn(upkeep::run(app.clone(), watched));
        Ok(Self { app, address, is_tls, listening, upkeep })
    }

    /// The state that handlers share.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.app.store()
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of all routes, without a slash at its end.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        let host = match self.address {
            address if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
            address => address.to_string(),
        };
        format!("{scheme}://{host}{}", self.app.config().http.path_prefix)
    }

    /// Waits until a request asks the server to stop.
    pub async fn stop_requested(&self) {
        let mut phase = self.app.watch_phase();
        // The sender lives in the app, which is alive as long as this is.
        let _ = phase.wait_for(|phase| *phase > Phase::Running).await;
    }

    /// Stops: says that it is not ready, waits as configured, takes no more connections, lets requests finish within
    /// the configured time, and writes what is in memory to storage.
    pub async fn shutdown(self) -> Result<(), loki_store::Error> {
        let Self { app, listening, upkeep, .. } = self;
        app.advance(Phase::Stopping);
        tokio::time::sleep(app.config().shutdown_delay).await;
        app.advance(Phase::Closing);
        let limit = app.config().http.shutdown_timeout.max(Duration::from_millis(1));
        let abort = listening.abort_handle();
        if tokio::time::timeout(limit, listening).await.is_err() {
            tracing::warn!("requests were still running when time was up");
            abort.abort();
        }
        // It ends by itself in the closing phase; a panic in it was logged when it happened.
        let _ = upkeep.await;
        app.store().close().await
    }
}

async fn open_store(
    config: &Config,
    memory: &Memory,
    limits: &SharedLimits,
    clock: &Arc<dyn Clock>,
) -> Result<Store, StartError> {
    let (data, compaction) = (&config.data, config.compaction.clone());
    let patterns = config.patterns.options();
    let location = data.location.open().map_err(|source| {
        let location = data.location.to_string();
        StartError::Store { location, source: Box::new(source) }
    })?;
    let mut config = StoreConfig::new(location)
        .with_clock(Arc::clone(clock))
        .with_limits_source(limits.source())
        .with_flush_bytes(memory.shares.flush_bytes);
    config.memory = memory.process.clone();
    config.flush_age = data.flush_age;
    config.delete_delay = compaction.delete_delay;
    config.delete_cancel_period = compaction.cancel_period;
    config.retention_enabled = compaction.retention_enabled;
    config.head_max_bytes = memory.shares.head_max_bytes;
    config.merge_memory_bytes = memory.shares.merge_bytes;
    config.cache_bytes = memory.shares.cache_bytes;
    config.disk_cache.clone_from(&data.disk_cache);
    config.max_disk_bytes = data.max_disk_bytes;
    config.min_free_disk_bytes = data.min_free_disk_bytes;
    config.patterns = patterns;
    if let Some(codec) = data.codec {
        config.codec = codec;
    }
    let location = format!("{:?}", config.location);
    Store::open(config).await.map_err(|source| StartError::Store { location, source: Box::new(source) })
}

fn listen_error(config: &Config, source: std::io::Error) -> StartError {
    StartError::Listen { address: connections::name(&config.http), source }
}
