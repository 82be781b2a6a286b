//! How a store is set up.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use loki_core::Codec;
use loki_logql::budget::Budget;
use object_store::ObjectStore;

use crate::clock::{Clock, SystemClock};
use crate::limits::Limits;
use crate::patterns::PatternOptions;
use crate::tenant::TenantId;

/// Default of [`StoreConfig::flush_bytes`].
pub const DEFAULT_FLUSH_BYTES: u64 = 64 << 20;
/// Default of [`StoreConfig::flush_age`].
pub const DEFAULT_FLUSH_AGE: Duration = Duration::from_mins(15);
/// Default of [`StoreConfig::head_max_bytes`].
pub const DEFAULT_HEAD_MAX_BYTES: u64 = 160 << 20;
/// Default of [`StoreConfig::merge_memory_bytes`]: enough for as many segments at once as are ever merged.
pub const DEFAULT_MERGE_MEMORY_BYTES: u64 = 160 << 20;
/// Default of [`StoreConfig::cache_bytes`].
pub const DEFAULT_CACHE_BYTES: u64 = 64 << 20;
/// Default of [`StoreConfig::chunk_bytes`].
pub const DEFAULT_CHUNK_BYTES: usize = 512 << 10;
/// The largest [`StoreConfig::chunk_bytes`].
pub const MAX_CHUNK_BYTES: usize = 16 << 20;
/// Default of [`StoreConfig::delete_cancel_period`].
pub const DEFAULT_DELETE_CANCEL_PERIOD: Duration = Duration::from_hours(24);
/// The compression of chunks as they are flushed.
pub const DEFAULT_CODEC: Codec = Codec::Zstd { level: 1 };
/// Default of [`StoreConfig::merge_codec`]. On a day of mixed logs, zstd 6 makes text 7 % smaller at five times the work
/// (7.0 instead of 1.3 CPU seconds a GB); levels in between make it hardly smaller or even larger.
pub const DEFAULT_MERGE_CODEC: Codec = Codec::Zstd { level: 1 };
/// Default of [`StoreConfig::delete_delay`], and the least that a store in a bucket may have.
pub const DEFAULT_DELETE_DELAY: Duration = Duration::from_hours(1);

/// Where a store keeps its data.
#[derive(Clone)]
pub enum Location {
    /// A local folder, created if absent: segments and log both live in it.
    Folder(PathBuf),
    /// Memory, without a log: gone when the store is dropped.
    Memory,
    /// An object store, such as a [`Bucket`](crate::bucket::Bucket).
    Objects {
        /// The store. It must know put-if-absent, which is tried when it is opened.
        store: Arc<dyn ObjectStore>,
        /// Everything lives below this path.
        prefix: String,
        /// A local folder for the log. Without one a crash loses what was not flushed.
        wal_folder: Option<PathBuf>,
    },
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Memory => write!(f, "memory"),
            Self::Objects { store, prefix, .. } => write!(f, "{store}/{prefix}"),
        }
    }
}

/// A folder that keeps parts of segments, so that they are fetched from an object store once.
///
/// Everything in it can be lost: what is missing or damaged is fetched again, and a folder that cannot be used is done
/// without, loudly. 256 MiB of its disk are left to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    /// The folder, made if absent. Of several processes that name it one uses it.
    pub folder: PathBuf,
    /// Bytes that its files take at most.
    pub max_bytes: u64,
}

/// Gives the limits of each tenant; asked often, so it should be cheap.
pub type LimitsSource = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// Options of [`crate::Store::open`].
#[derive(Clone)]
pub struct StoreConfig {
    /// Where data lives.
    pub location: Location,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The limits of each tenant.
    pub limits: LimitsSource,
    /// Memory used by entries awaiting flush at which they are flushed.
    pub flush_bytes: u64,
    /// How long entries may await flush; checked by [`crate::Store::maintain`].
    pub flush_age: Duration,
    /// Memory used by entries awaiting flush, including those being flushed, at which pushes are refused.
    pub head_max_bytes: u64,
    /// Memory that merging segments takes at most; with less, fewer are merged at once and into smaller ones.
    pub merge_memory_bytes: u64,
    /// What the memory of entries awaiting flush, of flushes and of merges is drawn from, so that others see it, and,
    /// unless [`Store::drawing_on`](crate::Store::drawing_on) names another budget, that of lists and of what queries hold
    /// of streams. As it runs out, entries are flushed early, and lists and queries fail.
    pub memory: Budget,
    /// Memory for decoded parts of segments.
    pub cache_bytes: u64,
    /// Bytes of lines at which a chunk is sealed.
    pub chunk_bytes: usize,
    /// Compression of flushed chunks.
    pub codec: Codec,
    /// Compression of merged chunks.
    pub merge_codec: Codec,
    /// How long objects are kept that a manifest no longer names, for the sake of those who read an older one.
    pub delete_delay: Duration,
    /// Whether [`Limits::retention_period`] and [`Limits::retention_streams`] are heeded. If not, everything is kept.
    pub retention_enabled: bool,
    /// Bytes of segments and log beyond which the oldest segments go, whatever their retention; zero is no limit.
    pub max_disk_bytes: u64,
    /// Free bytes on the disk of a [`Location::Folder`] below which the oldest segments go; zero is no limit.
    pub min_free_disk_bytes: u64,
    /// Where parts of segments are kept that were read from a [`Location::Objects`]; `None` keeps none.
    pub disk_cache: Option<DiskCache>,
    /// How patterns of lines are mined.
    pub patterns: PatternOptions,
    /// How long a request to delete entries may be cancelled. Until then entries are hidden, afterwards they are removed.
    pub delete_cancel_period: Duration,
}

impl StoreConfig {
    /// Defaults at `location`. The limits are those of a program that trusts itself: none on rate or size.
    pub fn new(location: Location) -> Self {
        let limits = Arc::new(Limits::unlimited());
        Self {
            location,
            clock: Arc::new(SystemClock::new()),
            limits: Arc::new(move |_| Arc::clone(&limits)),
            flush_bytes: DEFAULT_FLUSH_BYTES,
            flush_age: DEFAULT_FLUSH_AGE,
            head_max_bytes: DEFAULT_HEAD_MAX_BYTES,
            merge_memory_bytes: DEFAULT_MERGE_MEMORY_BYTES,
            memory: Budget::unlimited(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            codec: DEFAULT_CODEC,
            merge_codec: DEFAULT_MERGE_CODEC,
            delete_delay: DEFAULT_DELETE_DELAY,
            retention_enabled: false,
            max_disk_bytes: 0,
            min_free_disk_bytes: 0,
            disk_cache: None,
            patterns: PatternOptions::default(),
            delete_cancel_period: DEFAULT_DELETE_CANCEL_PERIOD,
        }
    }

    /// A store in a local folder.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self::new(Location::Folder(folder.into()))
    }

    /// A store in memory.
    pub fn memory() -> Self {
        Self::new(Location::Memory)
    }

    /// A store in an object store, logging to a local folder.
    pub fn objects(store: Arc<dyn ObjectStore>, prefix: impl Into<String>, wal_folder: impl Into<PathBuf>) -> Self {
        Self::new(Location::Objects { store, prefix: prefix.into(), wal_folder: Some(wal_folder.into()) })
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Applies the same limits to every tenant.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        let limits = Arc::new(limits);
        self.with_limits_source(Arc::new(move |_| Arc::clone(&limits)))
    }

    /// Applies limits by tenant.
    #[must_use]
    pub fn with_limits_source(mut self, limits: LimitsSource) -> Self {
        self.limits = limits;
        self
    }

    /// Flushes when entries in memory use this many bytes; the limit on them is four times as much.
    #[must_use]
    pub fn with_flush_bytes(mut self, bytes: u64) -> Self {
        self.flush_bytes = bytes;
        self.head_max_bytes = bytes.saturating_mul(4);
        self
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("location", &self.location)
            .field("flush_bytes", &self.flush_bytes)
            .field("flush_age", &self.flush_age)
            .field("head_max_bytes", &self.head_max_bytes)
            .field("merge_memory_bytes", &self.merge_memory_bytes)
            .field("memory_limit_bytes", &self.memory.limit_bytes())
            .field("cache_bytes", &self.cache_bytes)
            .field("chunk_bytes", &self.chunk_bytes)
            .field("codec", &self.codec)
            .field("merge_codec", &self.merge_codec)
            .field("delete_delay", &self.delete_delay)
            .field("retention_enabled", &self.retention_enabled)
            .field("max_disk_bytes", &self.max_disk_bytes)
            .field("min_free_disk_bytes", &self.min_free_disk_bytes)
            .field("disk_cache", &self.disk_cache)
            .field("patterns", &self.patterns)
            .field("delete_cancel_period", &self.delete_cancel_period)
            .finish_non_exhaustive()
    }
}
