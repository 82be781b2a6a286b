//! Configuration: Loki's YAML and flags, checked as a whole before anything starts.
//!
//! | module | subject |
//! |---|---|
//! | `yaml` | YAML as a tree that remembers lines |
//! | `env` | `-config.expand-env` |
//! | `schema` | the table of known keys, `keys.txt` |
//! | `check` | a document held against the table |
//! | `value` | durations, sizes and other scalars |
//! | `settings` | typed access to a checked document |
//! | `limits` | `limits_config` as the store wants it |
//! | `otlp` | `otlp_config` rules |
//! | `storage` | where data lives |
//! | `runtime` | overrides by tenant, reloaded while running |
//! | `show` | settings as YAML and JSON, secrets masked |

mod check;
mod env;
mod limits;
pub mod otlp;
mod runtime;
mod schema;
mod settings;
mod show;
mod storage;
mod value;
mod yaml;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use check::Problem;
pub use limits::TenantLimits;
pub use runtime::{LimitsTable, RuntimeError};
pub use schema_flags::{FlagKind, flag_kind, flag_names, nearest_flag};
pub use show::ShowMode;
pub use storage::DataLocation;

use loki_core::Codec;

use check::Findings;
use schema::Schema;
use settings::Settings;
use yaml::{Node, Origin, Value};

/// Where configuration is looked for when no file is named.
const DEFAULT_FILES: [&str; 2] = ["config.yaml", "config/config.yaml"];
/// Settings that hold without a configuration file, so that a bare start is useful.
const BARE_DEFAULTS: [(&str, &str); 2] = [("auth_enabled", "false"), ("pattern_ingester.enabled", "true")];

/// Everything a server needs to know to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether requests must name their tenant.
    pub auth_enabled: bool,
    /// The listener.
    pub http: HttpConfig,
    /// What the process says about itself.
    pub log: LogConfig,
    /// How long `/ready` says no before the listener closes.
    pub shutdown_delay: Duration,
    /// Prefix of the names of metrics.
    pub metrics_namespace: String,
    /// Limits of push requests.
    pub push: PushConfig,
    /// How queries are answered.
    pub query: QueryConfig,
    /// Retention and deletes.
    pub compaction: CompactionConfig,
    /// The patterns endpoint.
    pub patterns: PatternsConfig,
    /// Where overrides by tenant come from.
    pub runtime: RuntimeConfig,
    /// Limits shown by `/loki/api/v1/drilldown-limits`.
    pub published_limits: Vec<String>,
    /// Where data lives.
    pub data: DataConfig,
    /// The limits of tenants without overrides.
    pub limits: TenantLimits,
    /// Settings that were accepted without effect.
    pub idle: Vec<String>,
    /// Things an operator should know before the first request.
    pub warnings: Vec<String>,
    settings: Settings,
}

/// The listener.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `tcp`, `tcp4` or `tcp6`.
    pub network: String,
    /// Address to bind, empty for all.
    pub address: String,
    /// Port to bind, 0 for any free one.
    pub port: u16,
    /// The most connections at once; 0 = no limit.
    pub max_connections: usize,
    /// How long a request may take to arrive.
    pub read_timeout: Duration,
    /// How long its headers may take; 0 = as long as the whole.
    pub read_header_timeout: Duration,
    /// How long answering may take, tails aside; 0 = no limit.
    pub write_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long requests may finish once stopping has begun.
    pub shutdown_timeout: Duration,
    /// Base of every route, without a slash at its end.
    pub path_prefix: String,
    /// Whether `/metrics` is served.
    pub metrics: bool,
    /// Whether answers are compressed for clients that ask for it.
    pub compress: bool,
    /// TLS, when a certificate is configured.
    pub tls: Option<TlsConfig>,
}

/// Certificates of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate chain in PEM.
    pub certificate: Pem,
    /// The private key in PEM.
    pub key: Pem,
    /// Authorities that clients' certificates are checked against.
    pub client_ca: Pem,
    /// Whether clients must show a certificate, in Go's words; empty = not.
    pub client_auth: String,
    /// Whether TLS 1.2 is refused.
    pub tls13_only: bool,
}

/// Where PEM text comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pem {
    /// Nowhere.
    #[default]
    Absent,
    /// The configuration itself.
    Inline(String),
    /// A file.
    File(PathBuf),
}

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

/// Retention and deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Whether retention is applied and deletes are served.
    pub retention_enabled: bool,
    /// Time between rounds of compaction.
    pub interval: Duration,
    /// Time between rounds of retention.
    pub retention_interval: Duration,
    /// Time between marking and removing.
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
    /// Bytes of memory for parts of segments.
    pub cache_bytes: u64,
    /// The compression that Loki's `chunk_encoding` asks for; `None` = the store's choice.
    pub codec: Option<Codec>,
    /// Where `/ingester/prepare_shutdown` leaves its mark.
    pub shutdown_marker: Option<PathBuf>,
}

/// What the command line contributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files, of which the first that exists is read; empty = the usual places.
    pub files: Vec<PathBuf>,
    /// Whether environment variables in the file are replaced.
    pub expand_env: bool,
    /// Flags that set keys, without dashes, in the order given.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// None of the named files exists.
    #[error("config file does not exist, set -config.file for a custom config path: tried {}", list(tried))]
    NoFile {
        /// The files.
        tried: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("{}", Listing { source: source_name, problems })]
    Invalid {
        /// The file, or what stands for it.
        source_name: String,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
}

/// Problems below a headline.
struct Listing<'a> {
    source: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "CONFIGURATION INVALID: {count} {noun} in {}", self.source)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

impl Config {
    /// Reads what the command line points to.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let Some(path) = choose(&sources.files)? else {
            return Self::build("flags", Node::empty(), &sources.flags, true);
        };
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let name = path.display().to_string();
        let tree = document(&text, sources.expand_env)
            .map_err(|problem| ConfigError::Invalid { source_name: name.clone(), problems: vec![problem] })?;
        Self::build(&name, tree, &sources.flags, false)
    }

    /// Reads YAML text as if it were a configuration file.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let name = "configuration";
        let tree = document(text, false)
            .map_err(|problem| ConfigError::Invalid { source_name: name.to_owned(), problems: vec![problem] })?;
        Self::build(name, tree, &[], false)
    }

    /// What holds without a file and without flags.
    pub fn bare() -> Self {
        Self::build("defaults", Node::empty(), &[], true).expect("the defaults are valid")
    }

    /// The effective settings as YAML, secrets masked.
    pub fn show(&self, mode: ShowMode) -> String {
        show::yaml(&self.settings, mode)
    }

    /// The limits of tenants, overrides included, as they stand in the runtime files now.
    pub fn limits_table(&self) -> Result<LimitsTable, RuntimeError> {
        LimitsTable::load(&self.limits, &self.runtime.files)
    }

    fn build(name: &str, mut tree: Node, flags: &[(String, String)], bare: bool) -> Result<Self, ConfigError> {
        let schema = Schema::get();
        for (flag, text) in flags {
            set_flag(&mut tree, schema, flag, text);
        }
        let mut findings = Findings::default();
        check::check(&schema.root, &tree, "", &mut findings);
        let invalid = |problems| ConfigError::Invalid { source_name: name.to_owned(), problems };
        if !findings.problems.is_empty() {
            return Err(invalid(findings.problems));
        }
        let mut settings = Settings::new(tree);
        if bare {
            BARE_DEFAULTS.iter().for_each(|(path, text)| settings.set_default(path, text));
        }
        let mut problems = Vec::new();
        let config = Self::read(settings, findings.idle, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(invalid(problems)),
        }
    }

    fn read(settings: Settings, idle: Vec<String>, problems: &mut Vec<Problem>) -> Option<Self> {
        let limits = TenantLimits::read(&settings).map_err(|found| problems.extend(found)).ok();
        let location = storage::location(&settings, problems);
        let http = read_http(&settings, problems);
        let log = read_log(&settings, problems);
        let compaction = read_compaction(&settings);
        let codec = read_codec(&settings, problems);
        Some(Self {
            auth_enabled: settings.bool("auth_enabled"),
            shutdown_delay: settings.duration("shutdown_delay"),
            metrics_namespace: settings.text("metrics_namespace"),
            push: PushConfig {
                max_body_bytes: settings.count("distributor.max_recv_msg_size"),
                max_inflated_bytes: settings.count("distributor.max_decompressed_size"),
                memory_bytes: bytes(settings.size("loki_store.push_memory_bytes")),
            },
            query: read_query(&settings),
            patterns: read_patterns(&settings),
            runtime: read_runtime(&settings),
            published_limits: settings.list("tenant_limits_allow_publish"),
            data: read_data(&settings, location?, codec),
            limits: limits?,
            warnings: warnings(&settings, &compaction),
            http,
            log,
            compaction,
            idle,
            settings,
        })
    }
}

fn read_http(settings: &Settings, problems: &mut Vec<Problem>) -> HttpConfig {
    let port = settings.int("server.http_listen_port");
    if u16::try_from(port).is_err() {
        problems.push(wrong(settings, "server.http_listen_port", "must be between 0 and 65535"));
    }
    let network = settings.text("server.http_listen_network");
    if !matches!(network.as_str(), "tcp" | "tcp4" | "tcp6") {
        problems.push(wrong(settings, "server.http_listen_network", "must be tcp, tcp4 or tcp6"));
    }
    let mut prefix = settings.text("server.http_path_prefix");
    if prefix.is_empty() {
        prefix = settings.text("http_prefix");
    }
    let prefix = prefix.trim_end_matches('/');
    HttpConfig {
        network,
        address: settings.text("server.http_listen_address"),
        port: u16::try_from(port).unwrap_or_default(),
        max_connections: settings.count("server.http_listen_conn_limit"),
        read_timeout: settings.duration("server.http_server_read_timeout"),
        read_header_timeout: settings.duration("server.http_server_read_header_timeout"),
        write_timeout: settings.duration("server.http_server_write_timeout"),
        idle_timeout: settings.duration("server.http_server_idle_timeout"),
        shutdown_timeout: settings.duration("server.graceful_shutdown_timeout"),
        path_prefix: if prefix.is_empty() || prefix.starts_with('/') {
            prefix.to_owned()
        } else {
            format!("/{prefix}")
        },
        metrics: settings.bool("server.register_instrumentation"),
        compress: settings.bool("frontend.compress_responses"),
        tls: read_tls(settings, problems),
    }
}

fn read_tls(settings: &Settings, problems: &mut Vec<Problem>) -> Option<TlsConfig> {
    let pem = |inline: &str, file: &str| {
        let inline = settings.text(&format!("server.http_tls_config.{inline}"));
        let file = settings.text(&format!("server.http_tls_config.{file}"));
        match (inline.is_empty(), file.is_empty()) {
            (false, _) => Pem::Inline(inline),
            (true, false) => Pem::File(file.into()),
            (true, true) => Pem::Absent,
        }
    };
    let tls = TlsConfig {
        certificate: pem("cert", "cert_file"),
        key: pem("key", "key_file"),
        client_ca: pem("client_ca", "client_ca_file"),
        client_auth: settings.text("server.http_tls_config.client_auth_type"),
        tls13_only: settings.text("server.tls_min_version") == "VersionTLS13",
    };
    let path = "server.http_tls_config";
    match (&tls.certificate, &tls.key) {
        (Pem::Absent, Pem::Absent) if tls.client_auth.is_empty() && tls.client_ca == Pem::Absent => return None,
        (Pem::Absent, _) | (_, Pem::Absent) => {
            problems.push(wrong(settings, path, "needs both a certificate and a key"));
        }
        _ => {}
    }
    let modes = [
        "",
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ];
    if !modes.contains(&tls.client_auth.as_str()) {
        let reason = format!("client_auth_type must be one of{}", modes.join(" "));
        problems.push(wrong(settings, path, reason));
    }
    Some(tls)
}

fn read_log(settings: &Settings, problems: &mut Vec<Problem>) -> LogConfig {
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

fn read_query(settings: &Settings) -> QueryConfig {
    let slow = settings.nanos("frontend.log_queries_longer_than");
    QueryConfig {
        multi_tenant: settings.bool("querier.multi_tenant_queries_enabled"),
        align_with_step: settings.bool("query_range.align_queries_with_step"),
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

fn read_compaction(settings: &Settings) -> CompactionConfig {
    let interval = settings.duration("compactor.compaction_interval");
    let retention_interval = settings.duration("compactor.apply_retention_interval");
    CompactionConfig {
        retention_enabled: settings.bool("compactor.retention_enabled"),
        interval,
        retention_interval: if retention_interval.is_zero() { interval } else { retention_interval },
        delete_delay: settings.duration("compactor.retention_delete_delay"),
        cancel_period: settings.duration("compactor.delete_request_cancel_period"),
        delete_max_interval: settings.duration("compactor.delete_max_interval"),
    }
}

fn read_patterns(settings: &Settings) -> PatternsConfig {
    PatternsConfig {
        enabled: settings.bool("pattern_ingester.enabled"),
        max_clusters: settings.count("pattern_ingester.max_clusters"),
        max_line_bytes: settings.count("pattern_ingester.max_allowed_line_length"),
        retain_for: settings.duration("pattern_ingester.retain_for"),
        sample_interval: settings.duration("pattern_ingester.pattern_sample_interval"),
    }
}

/// The older names of the runtime file count when the newer ones are not used.
fn read_runtime(settings: &Settings) -> RuntimeConfig {
    let (file, period) = if settings.text("runtime_config.file").is_empty() {
        ("limits_config.per_tenant_override_config", "limits_config.per_tenant_override_period")
    } else {
        ("runtime_config.file", "runtime_config.period")
    };
    RuntimeConfig {
        files: value::comma_list(&settings.text(file)).into_iter().map(PathBuf::from).collect(),
        period: settings.duration(period),
    }
}

fn read_data(settings: &Settings, location: DataLocation, codec: Option<Codec>) -> DataConfig {
    let marker = settings.text("ingester.shutdown_marker_path");
    let prefix = settings.text("common.path_prefix");
    let marker = if marker.is_empty() { prefix } else { marker };
    DataConfig {
        location,
        flush_bytes: settings.size("loki_store.flush_bytes"),
        flush_age: settings.duration("loki_store.flush_age"),
        head_max_bytes: settings.size("loki_store.head_max_bytes"),
        cache_bytes: settings.size("loki_store.cache_bytes"),
        codec,
        shutdown_marker: (!marker.is_empty()).then(|| PathBuf::from(marker)),
    }
}

/// Loki's names of compressions. gzip and flate are met by the zstd level that compresses about as well.
fn read_codec(settings: &Settings, problems: &mut Vec<Problem>) -> Option<Codec> {
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

fn warnings(settings: &Settings, compaction: &CompactionConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if !compaction.retention_enabled && limits::sets_retention(settings) {
        warnings
            .push("a retention period is set but compactor.retention_enabled is not: everything is kept".to_owned());
    }
    if settings.is_set("limits_config.per_tenant_override_config") {
        warnings.push("limits_config.per_tenant_override_config is the old name of runtime_config.file".to_owned());
    }
    warnings
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn wrong(settings: &Settings, path: &str, reason: impl Into<String>) -> Problem {
    check::invalid(&settings.origin(path), path, reason)
}

/// The file to read: the first that exists of those named; `None` when none is named and none is in the usual places.
fn choose(named: &[PathBuf]) -> Result<Option<PathBuf>, ConfigError> {
    if named.is_empty() {
        return Ok(DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.is_file()));
    }
    match named.iter().find(|path| path.exists()) {
        Some(path) => Ok(Some(path.clone())),
        None => Err(ConfigError::NoFile { tried: named.to_vec() }),
    }
}

fn document(text: &str, expand_env: bool) -> Result<Node, Problem> {
    let expanded;
    let text = if expand_env {
        expanded =
            env::expand(text, |name| std::env::var(name).ok()).map_err(|error| Problem::Syntax(error.to_string()))?;
        &expanded
    } else {
        text
    };
    let tree = yaml::parse(text).map_err(|error| Problem::Syntax(error.to_string()))?;
    match tree.value {
        Value::Null => Ok(Node::empty()),
        _ => Ok(tree),
    }
}

/// Puts the value of a flag where its key is; a list flag that is repeated collects.
fn set_flag(tree: &mut Node, schema: &Schema, flag: &str, text: &str) {
    let Some(target) = schema.flag(flag) else {
        return;
    };
    let origin = Origin::Flag(flag.to_owned());
    let text = match tree.at(target.path) {
        Some(node) if target.key.kind == schema::Kind::List && matches!(node.origin, Origin::Flag(_)) => {
            format!("{},{text}", node.text().unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    tree.set(target.path, Node { origin, value: Value::Scalar(text) });
}

impl Node {
    fn empty() -> Self {
        Self { origin: Origin::Default, value: Value::Map(Vec::new()) }
    }
}

/// What the command line needs to know of the table.
mod schema_flags {
    use super::schema::{Kind, Schema, nearest};

    /// How a flag takes its value.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FlagKind {
        /// `-x` alone means true.
        Switch,
        /// A value must follow.
        Value,
    }

    /// How a configuration flag takes its value; `None` when there is no such flag.
    pub fn flag_kind(name: &str) -> Option<FlagKind> {
        let kind = Schema::get().flag(name)?.key.kind;
        Some(if kind == Kind::Bool { FlagKind::Switch } else { FlagKind::Value })
    }

    /// Every configuration flag with its default, sorted by name.
    pub fn flag_names() -> Vec<(&'static str, &'static str)> {
        let schema = Schema::get();
        let default = |name: &str| schema.flag(name).map_or("", |target| target.key.default.as_str());
        schema.flag_names().into_iter().map(|name| (name, default(name))).collect()
    }

    /// The configuration flag most like `name`.
    pub fn nearest_flag(name: &str) -> Option<&'static str> {
        nearest(name, Schema::get().flag_names().into_iter())
    }
}

#[cfg(test)]
mod tests;
