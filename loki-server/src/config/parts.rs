//! The parts of a configuration besides the listener.

use std::path::PathBuf;
use std::time::Duration;

use loki_core::Codec;
use loki_store::DiskCache;
use loki_store::patterns::PatternOptions;

use crate::config::check::Problem;
use crate::config::settings::Settings;
use crate::config::storage::DataLocation;
use crate::config::{bytes, value, wrong};

/// What the process says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `logfmt` or `json`.
    pub format: String,
    /// Whether every request is logged at info rather than debug level.
    pub requests_at_info: bool,
}

/// Limits of push requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    /// Bytes of a request's body as it is sent.
    pub max_body_bytes: usize,
    /// Bytes of a body once it is inflated.
    pub max_inflated_bytes: usize,
    /// Bytes of all bodies in memory at once; further requests wait.
    pub memory_bytes: usize,
}

/// How queries are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryConfig {
    /// Whether a request may name several tenants.
    pub multi_tenant: bool,
    /// Whether start and end of metric queries are rounded down to multiples of the step.
    pub align_with_step: bool,
    /// Whether requests may bring limits along.
    pub brings_limits: bool,
    /// Queries that run at once.
    pub max_concurrent: usize,
    /// Requests of a tenant that may wait for their turn.
    pub max_outstanding: usize,
    /// Bytes of memory that all queries share.
    pub memory_bytes: usize,
    /// Bytes of the body of a POST.
    pub max_body_bytes: usize,
    /// How long a tail may live.
    pub tail_max_duration: Duration,
    /// Queries slower than this are logged; `None` = none are.
    pub log_longer_than: Option<Duration>,
}

/// The key of [`CompactionConfig::delete_delay`].
pub(super) const DELETE_DELAY: &str = "compactor.retention_delete_delay";

/// Retention and deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Whether retention is applied and deletes are served.
    pub retention_enabled: bool,
    /// How long replaced and expired objects are kept before they are deleted.
    pub delete_delay: Duration,
    /// How long a delete request can be taken back.
    pub cancel_period: Duration,
    /// The longest piece of a delete request with line filters.
    pub delete_max_interval: Duration,
}

/// The patterns endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternsConfig {
    /// Whether it is served.
    pub enabled: bool,
    /// Patterns kept of a stream.
    pub max_clusters: usize,
    /// Bytes of the longest line that is looked at.
    pub max_line_bytes: usize,
    /// How far back patterns reach.
    pub retain_for: Duration,
    /// The spacing of their samples.
    pub sample_interval: Duration,
}

impl PatternsConfig {
    /// What of it the store is to know.
    pub fn options(&self) -> PatternOptions {
        let &Self { enabled, retain_for, max_clusters, max_line_bytes, .. } = self;
        PatternOptions { enabled, retain_for, max_clusters, max_line_bytes }
    }
}

/// Where overrides by tenant come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Files, later ones winning.
    pub files: Vec<PathBuf>,
    /// Time between looks at them.
    pub period: Duration,
}

/// Where data lives and how much memory it may use.
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// The place.
    pub location: DataLocation,
    /// Bytes of entries in memory at which they are flushed.
    pub flush_bytes: u64,
    /// How long entries may stay in memory.
    pub flush_age: Duration,
    /// Bytes of entries in memory at which pushes are refused.
    pub head_max_bytes: u64,
    /// Bytes of memory that merging segments takes.
    pub merge_memory_bytes: u64,
    /// Bytes of memory for parts of segments.
    pub cache_bytes: u64,
    /// Where parts of segments are kept that were read from a bucket; `None` keeps none.
    pub disk_cache: Option<DiskCache>,
    /// Bytes of segments and log beyond which the oldest segments go; zero is no limit.
    pub max_disk_bytes: u64,
    /// Free bytes on the disk below which the oldest segments go; zero is no limit.
    pub min_free_disk_bytes: u64,
    /// The compression that Loki's `chunk_encoding` asks for; `None` = the store's choice.
    pub codec: Option<Codec>,
    /// Where `/ingester/prepare_shutdown` leaves its mark.
    pub shutdown_marker: Option<PathBuf>,
}

pub(super) fn read_log(settings: &Settings, problems: &mut Vec<Problem>) -> LogConfig {
    let level = settings.text("server.log_level");
    if !matches!(level.as_str(), "debug" | "info" | "warn" | "error") {
        problems.push(wrong(settings, "server.log_level", "must be debug, info, warn or error"));
    }
    let format = settings.text("server.log_format");
    if !matches!(format.as_str(), "logfmt" | "json") {
        problems.push(wrong(settings, "server.log_format", "must be logfmt or json"));
    }
    LogConfig { level, format, requests_at_info: settings.bool("server.log_request_at_info_level_enabled") }
}

pub(super) fn read_query(settings: &Settings) -> QueryConfig {
    let slow = settings.nanos("frontend.log_queries_longer_than");
    QueryConfig {
        multi_tenant: settings.bool("querier.multi_tenant_queries_enabled"),
        align_with_step: settings.bool("query_range.align_queries_with_step"),
        brings_limits: settings.bool("querier.per_request_limits_enabled"),
        max_concurrent: settings.count("querier.max_concurrent").max(1),
        max_outstanding: settings
            .count("frontend.max_outstanding_per_tenant")
            .min(settings.count("query_scheduler.max_outstanding_requests_per_tenant")),
        memory_bytes: bytes(settings.size("loki_store.query_memory_bytes")),
        max_body_bytes: settings.count("frontend.max_body_size"),
        tail_max_duration: settings.duration("querier.tail_max_duration"),
        // Zero logs none, a negative duration all.
        log_longer_than: (slow != 0).then(|| Duration::from_nanos(u64::try_from(slow).unwrap_or(0))),
    }
}

/// Who reads a bucket relies on what it found there for a while, so that data in one is kept at least as long.
pub(super) fn read_compaction(settings: &Settings, location: Option<&DataLocation>) -> CompactionConfig {
    let least = match location {
        Some(DataLocation::Bucket(_)) => loki_store::DEFAULT_DELETE_DELAY,
        Some(DataLocation::Folder(_) | DataLocation::Memory) | None => Duration::ZERO,
    };
    CompactionConfig {
        retention_enabled: settings.bool("compactor.retention_enabled"),
        delete_delay: settings.duration(DELETE_DELAY).max(least),
        cancel_period: settings.duration("compactor.delete_request_cancel_period"),
        delete_max_interval: settings.duration("compactor.delete_max_interval"),
    }
}

pub(super) fn read_patterns(settings: &Settings) -> PatternsConfig {
    PatternsConfig {
        enabled: settings.bool("pattern_ingester.enabled"),
        max_clusters: settings.count("pattern_ingester.max_clusters"),
        max_line_bytes: settings.count("pattern_ingester.max_allowed_line_length"),
        retain_for: settings.duration("pattern_ingester.retain_for"),
        sample_interval: settings.duration("pattern_ingester.pattern_sample_interval"),
    }
}

/// The older names of the runtime file count when the newer ones are not used.
pub(super) fn read_runtime(settings: &Settings) -> RuntimeConfig {
    let old = ("limits_config.per_tenant_override_config", "limits_config.per_tenant_override_period");
    let uses_old = settings.text("runtime_config.file").is_empty() && !settings.text(old.0).is_empty();
    let (file, period) = if uses_old { old } else { ("runtime_config.file", "runtime_config.period") };
    RuntimeConfig {
        files: value::comma_list(&settings.text(file)).into_iter().map(PathBuf::from).collect(),
        period: settings.duration(period),
    }
}

pub(super) fn read_data(settings: &Settings, location: DataLocation, codec: Option<Codec>) -> DataConfig {
    let marker = settings.text("ingester.shutdown_marker_path");
    let prefix = settings.text("common.path_prefix");
    let marker = if marker.is_empty() { prefix } else { marker };
    DataConfig {
        disk_cache: read_disk_cache(settings, &location),
        location,
        flush_bytes: settings.size("loki_store.flush_bytes"),
        flush_age: settings.duration("loki_store.flush_age"),
        head_max_bytes: settings.size("loki_store.head_max_bytes"),
        merge_memory_bytes: settings.size("loki_store.merge_memory_bytes"),
        cache_bytes: settings.size("loki_store.cache_bytes"),
        max_disk_bytes: settings.size("loki_store.max_disk_bytes"),
        min_free_disk_bytes: settings.size("loki_store.min_free_disk_bytes"),
        codec,
        shutdown_marker: (!marker.is_empty()).then(|| PathBuf::from(marker)),
    }
}

/// The folder of the disk cache is one beside the log unless it is named.
fn read_disk_cache(settings: &Settings, location: &DataLocation) -> Option<DiskCache> {
    let max_bytes = settings.size("loki_store.disk_cache_bytes");
    if max_bytes == 0 {
        return None;
    }
    let named = settings.text("loki_store.disk_cache_folder");
    let folder = match location {
        DataLocation::Bucket(bucket) if named.is_empty() => bucket.wal_folder.join("cache"),
        _ => named.into(),
    };
    Some(DiskCache { folder, max_bytes })
}

/// Loki's names of compressions. gzip and flate are met by the zstd level that compresses about as well.
pub(super) fn read_codec(settings: &Settings, problems: &mut Vec<Problem>) -> Option<Codec> {
    let path = "ingester.chunk_encoding";
    match settings.text(path).as_str() {
        "" => None,
        "none" => Some(Codec::None),
        "snappy" => Some(Codec::Snappy),
        "lz4" | "lz4-64k" | "lz4-256k" | "lz4-1M" => Some(Codec::Lz4),
        "zstd" => Some(Codec::Zstd { level: 1 }),
        "gzip" | "flate" => Some(Codec::Zstd { level: 6 }),
        other => {
            let reason = format!("{other:?} is none of none, gzip, lz4, snappy, flate and zstd");
            problems.push(wrong(settings, path, reason));
            None
        }
    }
}
