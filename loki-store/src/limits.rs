//! What a tenant may send, ask and keep.
//!
//! Names and defaults are those of Loki's `limits_config`, with one difference: [`Limits::reject_old_samples`] is off,
//! because this store accepts writes of any age at no extra cost. Where a number has "0 = off" in its description, zero
//! lifts the limit.

use std::time::Duration;

use loki_core::chunk::{MAX_METADATA_BYTES, MAX_METADATA_COLUMNS, MAX_TEXT_BYTES, METADATA_PAIR_OVERHEAD_BYTES};
use loki_core::index::LABELS_BYTES_LIMIT;
use loki_core::{Matcher, Timestamp};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Bytes of a line that no tenant may exceed, because what is accepted must fit into a chunk.
pub const MAX_LINE_BYTES: usize = 16 * MIB as usize;
/// Bytes of names and values in one entry's structured metadata that no tenant may exceed.
pub const MAX_STRUCTURED_METADATA_BYTES: usize = 16 * MIB as usize;
/// Pairs in one entry's structured metadata that no tenant may exceed.
pub const MAX_STRUCTURED_METADATA_ENTRIES: usize = 16 * 1024;
/// Bytes of a stream's labels, as [`loki_core::Labels::size_bytes`] counts them, that no tenant may exceed.
///
/// Half of what an index takes, because a restart under other limits may add a `service_name` as long as the rest.
pub const MAX_STREAM_LABELS_BYTES: usize = LABELS_BYTES_LIMIT / 2 - 64;

const _: () = assert!(MAX_LINE_BYTES < MAX_TEXT_BYTES as usize);
const _: () = {
    // A name may get a prefix when it is put into its stored form, and a level is added.
    const MAX_GROWTH_BYTES: usize = 8;
    let pairs = MAX_STRUCTURED_METADATA_ENTRIES + 1;
    let overhead = pairs * (METADATA_PAIR_OVERHEAD_BYTES as usize + MAX_GROWTH_BYTES);
    assert!(2 * MAX_STRUCTURED_METADATA_BYTES + overhead < MAX_METADATA_BYTES as usize);
    assert!(pairs < MAX_METADATA_COLUMNS as usize);
};

/// Default of [`Limits::ingestion_rate_bytes`].
pub const DEFAULT_INGESTION_RATE_BYTES: u64 = 4 * MIB;
/// Default of [`Limits::ingestion_burst_bytes`].
pub const DEFAULT_INGESTION_BURST_BYTES: u64 = 6 * MIB;
/// Default of [`Limits::per_stream_rate_bytes`].
pub const DEFAULT_PER_STREAM_RATE_BYTES: u64 = 3 * MIB;
/// Default of [`Limits::per_stream_burst_bytes`].
pub const DEFAULT_PER_STREAM_BURST_BYTES: u64 = 15 * MIB;
/// Default of [`Limits::max_streams`].
pub const DEFAULT_MAX_STREAMS: usize = 5000;
/// Default of [`Limits::max_label_names`].
pub const DEFAULT_MAX_LABEL_NAMES: usize = 15;
/// Default of [`Limits::max_label_name_bytes`].
pub const DEFAULT_MAX_LABEL_NAME_BYTES: usize = 1024;
/// Default of [`Limits::max_label_value_bytes`].
pub const DEFAULT_MAX_LABEL_VALUE_BYTES: usize = 2048;
/// Default of [`Limits::max_line_bytes`].
pub const DEFAULT_MAX_LINE_BYTES: usize = 256 * KIB as usize;
/// Default of [`Limits::reject_old_samples_max_age`].
pub const DEFAULT_REJECT_OLD_SAMPLES_MAX_AGE: Duration = Duration::from_hours(168);
/// Default of [`Limits::creation_grace_period`].
pub const DEFAULT_CREATION_GRACE_PERIOD: Duration = Duration::from_mins(10);
/// Default of [`Limits::max_structured_metadata_bytes`].
pub const DEFAULT_MAX_STRUCTURED_METADATA_BYTES: usize = 64 * KIB as usize;
/// Default of [`Limits::max_structured_metadata_entries`].
pub const DEFAULT_MAX_STRUCTURED_METADATA_ENTRIES: usize = 128;
/// Default of [`Limits::log_level_json_depth`].
pub const DEFAULT_LOG_LEVEL_JSON_DEPTH: usize = 2;
/// Default of [`Limits::block_ingestion_status`].
pub const DEFAULT_BLOCK_INGESTION_STATUS: u16 = 260;
/// Default of [`Limits::max_returned_stream_errors`].
pub const DEFAULT_MAX_RETURNED_STREAM_ERRORS: usize = 10;
/// Default of [`Limits::max_entries_per_query`].
pub const DEFAULT_MAX_ENTRIES_PER_QUERY: usize = 5000;
/// Default of [`Limits::max_query_series`].
pub const DEFAULT_MAX_QUERY_SERIES: usize = 500;
/// Default of [`Limits::max_query_length`]: 30 days and an hour.
pub const DEFAULT_MAX_QUERY_LENGTH: Duration = Duration::from_hours(721);
/// Default of [`Limits::query_timeout`].
pub const DEFAULT_QUERY_TIMEOUT: Duration = Duration::from_mins(1);
/// Default of [`Limits::max_querier_bytes_read`].
pub const DEFAULT_MAX_QUERIER_BYTES_READ: u64 = 150 * 1024 * MIB;
/// Default of [`Limits::max_streams_matchers_per_query`].
pub const DEFAULT_MAX_STREAMS_MATCHERS_PER_QUERY: usize = 1000;
/// Default of [`Limits::max_concurrent_tail_requests`].
pub const DEFAULT_MAX_CONCURRENT_TAIL_REQUESTS: usize = 10;
/// Default of [`Limits::volume_max_series`].
pub const DEFAULT_VOLUME_MAX_SERIES: usize = 1000;
/// Default of [`Limits::max_query_parallelism`].
pub const DEFAULT_MAX_QUERY_PARALLELISM: usize = 32;
/// Default of [`Limits::tsdb_max_query_parallelism`].
pub const DEFAULT_TSDB_MAX_QUERY_PARALLELISM: usize = 128;
/// The shortest [`Limits::retention_period`] that configuration may set.
pub const MIN_RETENTION_PERIOD: Duration = Duration::from_hours(24);
/// Default of [`Limits::split_queries_by_interval`].
pub const DEFAULT_SPLIT_QUERIES_BY_INTERVAL: Duration = Duration::from_hours(1);
/// Default of [`Limits::split_instant_queries_by_interval`].
pub const DEFAULT_SPLIT_INSTANT_QUERIES_BY_INTERVAL: Duration = Duration::from_hours(1);

/// Default of [`Limits::discover_service_name`]: labels that may hold the name of a service, in order of preference.
pub const DEFAULT_SERVICE_NAME_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Default of [`Limits::log_level_fields`]: names that may hold the level of an entry, in order of preference.
pub const DEFAULT_LOG_LEVEL_FIELDS: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// The limits of one tenant.
///
/// However they are set, no entry is accepted beyond [`MAX_LINE_BYTES`], [`MAX_STRUCTURED_METADATA_BYTES`] and
/// [`MAX_STRUCTURED_METADATA_ENTRIES`], and no stream beyond [`MAX_STREAM_LABELS_BYTES`].
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of Loki's configuration")]
pub struct Limits {
    /// Bytes of lines and structured metadata a second (`ingestion_rate_mb`).
    pub ingestion_rate_bytes: u64,
    /// The most of them at once, hence also in one request (`ingestion_burst_size_mb`).
    pub ingestion_burst_bytes: u64,
    /// Bytes a second in one stream (`per_stream_rate_limit`).
    pub per_stream_rate_bytes: u64,
    /// The most of them at once (`per_stream_rate_limit_burst`).
    pub per_stream_burst_bytes: u64,
    /// Streams written to in the last while (`max_global_streams_per_user`); 0 = off.
    pub max_streams: usize,
    /// Labels of a stream, not counting `service_name` (`max_label_names_per_series`).
    pub max_label_names: usize,
    /// Bytes of a label's name (`max_label_name_length`).
    pub max_label_name_bytes: usize,
    /// Bytes of a label's value (`max_label_value_length`).
    pub max_label_value_bytes: usize,
    /// Bytes of a line (`max_line_size`); 0 = off.
    pub max_line_bytes: usize,
    /// Cut longer lines instead of refusing them (`max_line_size_truncate`).
    pub truncate_long_lines: bool,
    /// Appended to lines that were cut (`max_line_size_truncate_identifier`).
    pub truncate_identifier: String,
    /// Refuse entries older than [`Self::reject_old_samples_max_age`]; off here, on in Loki.
    pub reject_old_samples: bool,
    /// The greatest age accepted when [`Self::reject_old_samples`] is on.
    pub reject_old_samples_max_age: Duration,
    /// How far in the future a timestamp may lie; 0 = off.
    pub creation_grace_period: Duration,
    /// Entries of a request with the time of their predecessor in the same stream move a nanosecond behind it.
    pub increment_duplicate_timestamp: bool,
    /// Take structured metadata at all.
    pub allow_structured_metadata: bool,
    /// Bytes of names and values in one entry's structured metadata (`max_structured_metadata_size`).
    pub max_structured_metadata_bytes: usize,
    /// Pairs in one entry's structured metadata (`max_structured_metadata_entries_count`).
    pub max_structured_metadata_entries: usize,
    /// Labels whose value becomes `service_name`, in order of preference; empty = no such label is added.
    pub discover_service_name: Vec<String>,
    /// Add `detected_level` to structured metadata.
    pub discover_log_levels: bool,
    /// Names that hold a level, in order of preference.
    pub log_level_fields: Vec<String>,
    /// How deep to look for them in JSON lines (`log_level_from_json_max_depth`).
    pub log_level_json_depth: usize,
    /// Labels that every stream must have.
    pub enforced_labels: Vec<String>,
    /// Refuse all writes until this moment.
    pub block_ingestion_until: Option<Timestamp>,
    /// The HTTP status of that refusal; 200 = accept and drop.
    pub block_ingestion_status: u16,
    /// The start of the first schema period, before which Loki has no place for an entry; `None` = no such moment.
    pub schema_start: Option<Timestamp>,
    /// Entries listed when a whole stream is refused (`ingester.max_returned_stream_errors`).
    pub max_returned_stream_errors: usize,

    /// The largest `limit` of a log query (`max_entries_limit_per_query`); 0 = off.
    pub max_entries_per_query: usize,
    /// Series in a metric query's result.
    pub max_query_series: usize,
    /// The longest `end - start`; 0 = off.
    pub max_query_length: Duration,
    /// The oldest data that can be reached; 0 = off.
    pub max_query_lookback: Duration,
    /// The longest `[range]`; 0 = off.
    pub max_query_range: Duration,
    /// How long a query may run.
    pub query_timeout: Duration,
    /// Bytes a query may be estimated to read; 0 = off.
    pub max_query_bytes_read: u64,
    /// Bytes a part of a query may be estimated to read; 0 = off.
    pub max_querier_bytes_read: u64,
    /// Matchers in a stream selector.
    pub max_streams_matchers_per_query: usize,
    /// Tails at the same time.
    pub max_concurrent_tail_requests: usize,
    /// Labels that every stream selector must name.
    pub required_labels: Vec<String>,
    /// The fewest matchers of a stream selector; 0 = off (`minimum_labels_number`).
    pub min_label_matchers: usize,
    /// Queries that are refused.
    pub blocked_queries: Vec<BlockedQuery>,
    /// Answer the volume endpoints.
    pub volume_enabled: bool,
    /// Series in a volume answer.
    pub volume_max_series: usize,
    /// Parts of a query that may run at once; 0 = queries are disabled.
    pub max_query_parallelism: usize,
    /// The same for data under the tsdb index.
    pub tsdb_max_query_parallelism: usize,
    /// How long the parts are into which Loki cuts queries over a range; it shows in a few answers; 0 = none.
    pub split_queries_by_interval: Duration,
    /// How long the parts are into which Loki cuts the ranges of instant queries
    /// (`split_instant_metric_queries_by_interval`); it shows in a few answers.
    pub split_instant_queries_by_interval: Duration,
    /// Accept `variants(…) of (…)`.
    pub enable_multi_variant_queries: bool,
    /// Accept `approx_topk` (`shard_aggregations` lists it).
    pub approx_topk: bool,

    /// How long data is kept; 0 = for ever.
    pub retention_period: Duration,
    /// Other periods for some streams.
    pub retention_streams: Vec<RetentionStream>,
    /// What delete requests do.
    pub deletion_mode: DeletionMode,
    /// Rules in a group; 0 = off.
    pub ruler_max_rules_per_rule_group: usize,
    /// Rule groups; 0 = off.
    pub ruler_max_rule_groups_per_tenant: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            ingestion_rate_bytes: DEFAULT_INGESTION_RATE_BYTES,
            ingestion_burst_bytes: DEFAULT_INGESTION_BURST_BYTES,
            per_stream_rate_bytes: DEFAULT_PER_STREAM_RATE_BYTES,
            per_stream_burst_bytes: DEFAULT_PER_STREAM_BURST_BYTES,
            max_streams: DEFAULT_MAX_STREAMS,
            max_label_names: DEFAULT_MAX_LABEL_NAMES,
            max_label_name_bytes: DEFAULT_MAX_LABEL_NAME_BYTES,
            max_label_value_bytes: DEFAULT_MAX_LABEL_VALUE_BYTES,
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            truncate_long_lines: false,
            truncate_identifier: String::new(),
            reject_old_samples: false,
            reject_old_samples_max_age: DEFAULT_REJECT_OLD_SAMPLES_MAX_AGE,
            creation_grace_period: DEFAULT_CREATION_GRACE_PERIOD,
            increment_duplicate_timestamp: false,
            allow_structured_metadata: true,
            max_structured_metadata_bytes: DEFAULT_MAX_STRUCTURED_METADATA_BYTES,
            max_structured_metadata_entries: DEFAULT_MAX_STRUCTURED_METADATA_ENTRIES,
            discover_service_name: owned(&DEFAULT_SERVICE_NAME_LABELS),
            discover_log_levels: true,
            log_level_fields: owned(&DEFAULT_LOG_LEVEL_FIELDS),
            log_level_json_depth: DEFAULT_LOG_LEVEL_JSON_DEPTH,
            enforced_labels: Vec::new(),
            block_ingestion_until: None,
            block_ingestion_status: DEFAULT_BLOCK_INGESTION_STATUS,
            schema_start: None,
            max_returned_stream_errors: DEFAULT_MAX_RETURNED_STREAM_ERRORS,
            max_entries_per_query: DEFAULT_MAX_ENTRIES_PER_QUERY,
            max_query_series: DEFAULT_MAX_QUERY_SERIES,
            max_query_length: DEFAULT_MAX_QUERY_LENGTH,
            max_query_lookback: Duration::ZERO,
            max_query_range: Duration::ZERO,
            query_timeout: DEFAULT_QUERY_TIMEOUT,
            max_query_bytes_read: 0,
            max_querier_bytes_read: DEFAULT_MAX_QUERIER_BYTES_READ,
            max_streams_matchers_per_query: DEFAULT_MAX_STREAMS_MATCHERS_PER_QUERY,
            max_concurrent_tail_requests: DEFAULT_MAX_CONCURRENT_TAIL_REQUESTS,
            required_labels: Vec::new(),
            min_label_matchers: 0,
            blocked_queries: Vec::new(),
            volume_enabled: true,
            volume_max_series: DEFAULT_VOLUME_MAX_SERIES,
            max_query_parallelism: DEFAULT_MAX_QUERY_PARALLELISM,
            tsdb_max_query_parallelism: DEFAULT_TSDB_MAX_QUERY_PARALLELISM,
            split_queries_by_interval: DEFAULT_SPLIT_QUERIES_BY_INTERVAL,
            split_instant_queries_by_interval: DEFAULT_SPLIT_INSTANT_QUERIES_BY_INTERVAL,
            enable_multi_variant_queries: false,
            approx_topk: false,
            retention_period: Duration::ZERO,
            retention_streams: Vec::new(),
            deletion_mode: DeletionMode::FilterAndDelete,
            ruler_max_rules_per_rule_group: 0,
            ruler_max_rule_groups_per_tenant: 0,
        }
    }
}

impl Limits {
    /// Limits that refuse nothing for its rate or age, nor for its size as long as it can be stored: for embedders that trust what they write.
    pub fn unlimited() -> Self {
        Self {
            ingestion_rate_bytes: u64::MAX,
            ingestion_burst_bytes: u64::MAX,
            per_stream_rate_bytes: u64::MAX,
            per_stream_burst_bytes: u64::MAX,
            max_streams: 0,
            max_label_names: usize::MAX,
            max_label_name_bytes: usize::MAX,
            max_label_value_bytes: usize::MAX,
            max_line_bytes: 0,
            creation_grace_period: Duration::ZERO,
            max_structured_metadata_bytes: usize::MAX,
            max_structured_metadata_entries: usize::MAX,
            max_entries_per_query: 0,
            max_query_series: usize::MAX,
            max_query_length: Duration::ZERO,
            max_querier_bytes_read: 0,
            max_streams_matchers_per_query: usize::MAX,
            max_concurrent_tail_requests: usize::MAX,
            volume_max_series: usize::MAX,
            ..Self::default()
        }
    }
}

/// A retention period of its own for the streams that match.
#[derive(Clone, Debug)]
pub struct RetentionStream {
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// Of several that match, the one with the largest number counts.
    pub priority: i64,
    /// How long the streams are kept.
    pub period: Duration,
}

/// A class of queries that is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockedQuery {
    /// The query text, or a regular expression for it; empty = every query.
    pub pattern: String,
    /// Whether [`Self::pattern`] is a regular expression.
    pub regex: bool,
    /// The 32-bit FNV-1 hash of the query text; 0 = any.
    pub hash: u32,
    /// The types of queries meant, out of `metric`, `filter` and `limited`; empty = all.
    pub types: Vec<String>,
    /// Tags that the query must carry, all of them.
    pub query_tags: Vec<(String, String)>,
}

/// What delete requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeletionMode {
    /// They are refused.
    Disabled,
    /// Queries no longer show what was deleted; the bytes stay.
    FilterOnly,
    /// Queries no longer show what was deleted, and compaction removes the bytes.
    FilterAndDelete,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_lokis() {
        let limits = Limits::default();
        assert_eq!(limits.ingestion_rate_bytes, 4 << 20);
        assert_eq!(limits.ingestion_burst_bytes, 6 << 20);
        assert_eq!(limits.per_stream_burst_bytes, 15 << 20);
        assert_eq!(limits.max_line_bytes, 262_144);
        assert_eq!(limits.max_query_length, Duration::from_hours(30 * 24 + 1));
        assert_eq!(limits.discover_service_name.len(), 13);
        assert_eq!(limits.log_level_fields.len(), 14);
    }

    #[test]
    fn writes_of_any_age_are_accepted_by_default() {
        assert!(!Limits::default().reject_old_samples);
        assert_eq!(Limits::default().schema_start, None);
    }
}
