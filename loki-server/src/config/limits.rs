//! `limits_config` and its overrides by tenant, as the store and the OTLP decoder want them.

use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;
use loki_store::{BlockedQuery, DeletionMode, Limits, RetentionStream};

use crate::config::check::{self, Findings, Problem, invalid};
use crate::config::otlp::{self, OtlpRules};
use crate::config::schema::Schema;
use crate::config::settings::{Settings, list_of};
use crate::config::value;
use crate::config::yaml::{Node, Value};

const BLOCK: &str = "limits_config";
const BYTES_PER_MB: f64 = 1_048_576.0;
/// The shortest retention period that may be set.
const MIN_RETENTION_PERIOD: Duration = Duration::from_hours(24);

/// What holds for one tenant.
#[derive(Clone, Debug)]
pub struct TenantLimits {
    /// What the store and the query routes enforce.
    pub limits: Arc<Limits>,
    /// Where OTLP attributes go.
    pub otlp: OtlpRules,
    settings: Settings,
}

impl TenantLimits {
    /// Reads the limits that `settings` give to every tenant.
    pub(crate) fn read(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let limits = limits(settings, &mut problems);
        let defaults = settings.list("distributor.otlp_config.default_resource_attributes_as_index_labels");
        let otlp = otlp::read(settings, defaults, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { limits: Arc::new(limits), otlp, settings: settings.clone() })
    }

    /// These limits with the keys of `overrides` replaced; `path` is where the overrides stand in their file.
    pub(crate) fn with_overrides(&self, overrides: &Node, path: &str) -> Result<Self, Vec<Problem>> {
        let mut findings = Findings::default();
        let block = Schema::get().at(BLOCK).expect("the table has limits_config");
        check::check(block, overrides, path, &mut findings);
        if !findings.problems.is_empty() {
            return Err(findings.problems);
        }
        let mut tree = self.settings.tree().clone();
        for entry in overrides.entries() {
            tree.set(&format!("{BLOCK}.{}", entry.key), entry.node.clone());
        }
        Self::read(&Settings::new(tree))
    }

    /// The settings these limits were read from, to be shown.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Reads `limits_config` through the accessors of `settings`.
struct Reader<'a> {
    settings: &'a Settings,
    problems: &'a mut Vec<Problem>,
}

fn limits(settings: &Settings, problems: &mut Vec<Problem>) -> Limits {
    let mut reader = Reader { settings, problems };
    let mut limits = Limits::default();
    reader.ingestion(&mut limits);
    reader.metadata(&mut limits);
    reader.queries(&mut limits);
    reader.retention(&mut limits);
    limits
}

impl Reader<'_> {
    fn ingestion(&mut self, limits: &mut Limits) {
        limits.ingestion_rate_bytes = self.megabytes("ingestion_rate_mb");
        limits.ingestion_burst_bytes = self.megabytes("ingestion_burst_size_mb");
        limits.per_stream_rate_bytes = self.settings.size(&path("per_stream_rate_limit"));
        limits.per_stream_burst_bytes = self.settings.size(&path("per_stream_rate_limit_burst"));
        limits.max_streams = self.max_streams();
        limits.max_label_names = self.count("max_label_names_per_series");
        limits.max_label_name_bytes = self.count("max_label_name_length");
        limits.max_label_value_bytes = self.count("max_label_value_length");
        limits.max_line_bytes = self.bytes("max_line_size");
        limits.truncate_long_lines = self.bool("max_line_size_truncate");
        limits.truncate_identifier = self.settings.text(&path("max_line_size_truncate_identifier"));
        limits.reject_old_samples = self.bool("reject_old_samples");
        limits.reject_old_samples_max_age = self.duration("reject_old_samples_max_age");
        limits.creation_grace_period = self.duration("creation_grace_period");
        limits.increment_duplicate_timestamp = self.bool("increment_duplicate_timestamp");
        limits.enforced_labels = self.list("enforced_labels");
        limits.block_ingestion_until = match self.settings.nanos(&path("block_ingestion_until")) {
            0 => None,
            nanos => Some(Timestamp(nanos)),
        };
        limits.block_ingestion_status = self.status("block_ingestion_status_code");
        limits.schema_start = schema_start(self.settings);
        limits.max_returned_stream_errors = self.settings.count("ingester.max_returned_stream_errors");
    }

    fn metadata(&mut self, limits: &mut Limits) {
        limits.allow_structured_metadata = self.bool("allow_structured_metadata");
        limits.max_structured_metadata_bytes = self.bytes("max_structured_metadata_size");
        limits.max_structured_metadata_entries = self.count("max_structured_metadata_entries_count");
        limits.discover_service_name = self.list("discover_service_name");
        limits.discover_log_levels = self.bool("discover_log_levels");
        limits.log_level_fields = self.list("log_level_fields");
        limits.log_level_json_depth = self.count("log_level_from_json_max_depth");
    }

    fn queries(&mut self, limits: &mut Limits) {
        limits.max_entries_per_query = self.count("max_entries_limit_per_query");
        limits.max_query_series = self.count("max_query_series");
        limits.max_query_length = self.duration("max_query_length");
        limits.max_query_lookback = self.duration("max_query_lookback");
        limits.max_query_range = self.duration("max_query_range");
        limits.query_timeout = self.duration("query_timeout");
        limits.max_query_bytes_read = self.settings.size(&path("max_query_bytes_read"));
        limits.max_querier_bytes_read = self.settings.size(&path("max_querier_bytes_read"));
        limits.max_streams_matchers_per_query = self.count("max_streams_matchers_per_query");
        limits.max_concurrent_tail_requests = self.count("max_concurrent_tail_requests");
        limits.required_labels = self.list("required_labels");
        limits.min_label_matchers = self.count("minimum_labels_number");
        limits.blocked_queries = self.blocked_queries();
        limits.volume_enabled = self.bool("volume_enabled");
        limits.volume_max_series = self.count("volume_max_series");
        limits.max_query_parallelism = self.count("max_query_parallelism");
        limits.tsdb_max_query_parallelism = self.count("tsdb_max_query_parallelism");
        limits.split_queries_by_interval = self.duration("split_queries_by_interval");
        limits.split_instant_queries_by_interval = self.duration("split_instant_metric_queries_by_interval");
        limits.enable_multi_variant_queries = self.bool("enable_multi_variant_queries");
        limits.approx_topk = self.list("shard_aggregations").iter().any(|name| name == "approx_topk");
    }

    fn retention(&mut self, limits: &mut Limits) {
        limits.retention_period = self.duration("retention_period");
        self.check_retention("retention_period", limits.retention_period);
        limits.retention_streams = self.retention_streams();
        if !self.settings.bool("compactor.retention_enabled") {
            // Loki keeps everything then, whatever periods are set.
            limits.retention_period = Duration::ZERO;
            limits.retention_streams.clear();
        }
        limits.deletion_mode = self.deletion_mode();
        limits.ruler_max_rules_per_rule_group = self.count("ruler_max_rules_per_rule_group");
        limits.ruler_max_rule_groups_per_tenant = self.count("ruler_max_rule_groups_per_tenant");
    }

    /// The older `max_streams_per_user` counts too; of two limits the smaller holds, and 0 is none.
    fn max_streams(&self) -> usize {
        let global = self.count("max_global_streams_per_user");
        let local = self.count("max_streams_per_user");
        match (global, local) {
            (0, limit) | (limit, 0) => limit,
            (global, local) => global.min(local),
        }
    }

    fn retention_streams(&mut self) -> Vec<RetentionStream> {
        let Some(node) = self.settings.tree().at(&path("retention_stream")) else {
            return Vec::new();
        };
        let mut streams = Vec::new();
        for item in node.items() {
            let field = |name: &str| item.get(name).and_then(Node::text).unwrap_or_default();
            let matchers = match loki_logql::parse_selector(field("selector")) {
                Ok(matchers) => matchers,
                Err(error) => {
                    self.invalid_at(item, "retention_stream", &error.to_string());
                    continue;
                }
            };
            let nanos = value::duration(field("period")).unwrap_or(0);
            let period = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            if period < MIN_RETENTION_PERIOD {
                self.invalid_at(item, "retention_stream", "period must be at least 24h");
            }
            streams.push(RetentionStream { matchers, priority: value::int(field("priority")).unwrap_or(0), period });
        }
        streams
    }

    fn blocked_queries(&self) -> Vec<BlockedQuery> {
        let Some(node) = self.settings.tree().at(&path("blocked_queries")) else {
            return Vec::new();
        };
        let query = |item: &Node| {
            let field = |name: &str| item.get(name).and_then(Node::text).unwrap_or_default();
            let tags = item.get("query_tags").map_or(&[][..], Node::entries);
            BlockedQuery {
                pattern: field("pattern").to_owned(),
                regex: value::bool(field("regex")).unwrap_or(false),
                hash: value::int(field("hash")).and_then(|hash| u32::try_from(hash).ok()).unwrap_or(0),
                types: item.get("types").map_or_else(Vec::new, list_of),
                query_tags: tags
                    .iter()
                    .filter_map(|tag| Some((tag.key.clone(), tag.node.text()?.to_owned())))
                    .collect(),
            }
        };
        node.items().iter().map(query).collect()
    }

    fn deletion_mode(&mut self) -> DeletionMode {
        match self.settings.text(&path("deletion_mode")).as_str() {
            "disabled" => DeletionMode::Disabled,
            "filter-only" => DeletionMode::FilterOnly,
            "filter-and-delete" => DeletionMode::FilterAndDelete,
            other => {
                let reason = format!("{other:?} is none of disabled, filter-only and filter-and-delete");
                self.invalid("deletion_mode", reason);
                DeletionMode::FilterAndDelete
            }
        }
    }

    fn check_retention(&mut self, key: &str, period: Duration) {
        if !period.is_zero() && period < MIN_RETENTION_PERIOD {
            self.invalid(key, "must be at least 24h, or 0 to keep everything");
        }
    }

    fn status(&mut self, key: &str) -> u16 {
        let status = u16::try_from(self.settings.int(&path(key))).ok();
        status.filter(|status| (200..=999).contains(status)).unwrap_or_else(|| {
            self.invalid(key, "must be an HTTP status");
            Limits::default().block_ingestion_status
        })
    }

    fn megabytes(&mut self, key: &str) -> u64 {
        let value = self.settings.float(&path(key));
        if value < 0.0 {
            self.invalid(key, "must not be negative");
        }
        (value * BYTES_PER_MB) as u64
    }

    fn bool(&self, key: &str) -> bool {
        self.settings.bool(&path(key))
    }

    fn count(&self, key: &str) -> usize {
        self.settings.count(&path(key))
    }

    fn bytes(&self, key: &str) -> usize {
        usize::try_from(self.settings.size(&path(key))).unwrap_or(usize::MAX)
    }

    fn duration(&self, key: &str) -> Duration {
        self.settings.duration(&path(key))
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.settings.list(&path(key))
    }

    fn invalid(&mut self, key: &str, reason: impl Into<String>) {
        let path = path(key);
        self.problems.push(invalid(&self.settings.origin(&path), &path, reason));
    }

    fn invalid_at(&mut self, node: &Node, key: &str, reason: &str) {
        self.problems.push(invalid(&node.origin, &path(key), reason));
    }
}

fn path(key: &str) -> String {
    format!("{BLOCK}.{key}")
}

/// The first day of the first schema period: Loki has no place for an entry before it.
fn schema_start(settings: &Settings) -> Option<Timestamp> {
    let from = settings.tree().at("schema_config.configs")?.items().first()?.get("from")?.text()?;
    let day: jiff::civil::Date = from.parse().ok()?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    i64::try_from(midnight.timestamp().as_nanosecond()).ok().map(Timestamp)
}

/// Whether the file sets a retention period anywhere.
pub(crate) fn sets_retention(settings: &Settings) -> bool {
    settings.nanos(&path("retention_period")) != 0
        || settings.tree().at(&path("retention_stream")).is_some_and(|node| match &node.value {
            Value::List(items) => !items.is_empty(),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read(text: &str) -> Result<TenantLimits, Vec<String>> {
        let settings = Settings::new(yaml::parse(text).expect("valid"));
        TenantLimits::read(&settings).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_empty_file_gives_the_stores_defaults() {
        let limits = read("").expect("valid").limits;
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
    }

    #[test]
    fn keys_reach_their_limits() {
        let text = r#"
limits_config:
  ingestion_rate_mb: 0.5
  per_stream_rate_limit: 1MB
  max_streams_per_user: 100
  max_query_length: 0
  retention_period: 744h
  retention_stream:
    - {selector: '{ns="dev"}', priority: 2, period: 24h}
  deletion_mode: filter-only
  blocked_queries:
    - {pattern: ".*", regex: true, types: "metric,limited", query_tags: {source: x}}
  discover_service_name: []
  block_ingestion_until: 2030-01-01T00:00:00Z
schema_config: {configs: [{from: 2020-01-01}]}
compactor: {retention_enabled: true}
ingester: {max_returned_stream_errors: 3}
"#;
        let limits = read(text).expect("valid").limits;
        assert_eq!(limits.ingestion_rate_bytes, 512 << 10);
        assert_eq!(limits.per_stream_rate_bytes, 1 << 20);
        assert_eq!(limits.max_streams, 100, "the smaller of the two");
        assert_eq!(limits.max_query_length, Duration::ZERO);
        assert_eq!(limits.retention_period, Duration::from_hours(744));
        assert_eq!(limits.retention_streams[0].priority, 2);
        assert_eq!(limits.deletion_mode, DeletionMode::FilterOnly);
        assert_eq!(limits.blocked_queries[0].types, ["metric", "limited"]);
        assert_eq!(limits.blocked_queries[0].query_tags, [("source".to_owned(), "x".to_owned())]);
        assert!(limits.discover_service_name.is_empty());
        assert_eq!(limits.block_ingestion_until, Some(Timestamp::from_seconds(1_893_456_000)));
        assert_eq!(limits.schema_start, Some(Timestamp::from_seconds(1_577_836_800)));
        assert_eq!(limits.max_returned_stream_errors, 3);
    }

    #[test]
    fn nothing_expires_unless_retention_is_enabled() {
        let text = "limits_config: {retention_period: 48h, retention_stream: [{selector: '{a=\"b\"}', period: 24h}]}\n";
        let limits = read(text).expect("valid").limits;
        assert_eq!(limits.retention_period, Duration::ZERO);
        assert!(limits.retention_streams.is_empty());
    }

    #[test]
    fn impossible_limits_are_all_listed() {
        let text = "limits_config:\n  retention_period: 1h\n  deletion_mode: never\n  block_ingestion_status_code: 7\n";
        let problems = read(text).expect_err("three are wrong");
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems
                .iter()
                .any(|p| p == "line 2: limits_config.retention_period: must be at least 24h, or 0 to keep everything")
        );
    }

    #[test]
    fn an_override_replaces_the_whole_value_of_its_key() {
        let base = read("limits_config:\n  log_level_fields: [a, b]\n  max_query_series: 7\n").expect("valid");
        let overrides = yaml::parse("log_level_fields: [c]\n").expect("valid");
        let tenant = base.with_overrides(&overrides, "overrides.t").expect("valid");
        assert_eq!(tenant.limits.log_level_fields, ["c"]);
        assert_eq!(tenant.limits.max_query_series, 7);
        let unknown = yaml::parse("max_query_serie: 7\n").expect("valid");
        let problems = base.with_overrides(&unknown, "overrides.t").expect_err("a typo");
        assert_eq!(
            problems[0].to_string(),
            "line 1: unknown key overrides.t.max_query_serie, did you mean max_query_series?"
        );
    }
}
