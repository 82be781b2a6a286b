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
//! | `http`, `parts` | the parts of a [`Config`] |
//! | `limits` | `limits_config` as the store wants it |
//! | `otlp` | `otlp_config` rules |
//! | `storage`, `bucket` | where data lives |
//! | `runtime` | overrides by tenant, reloaded while running |
//! | `show` | settings as YAML and JSON, secrets masked |

mod bucket;
mod check;
mod env;
mod http;
mod limits;
pub mod otlp;
mod parts;
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

pub use bucket::BucketLocation;
pub use check::Problem;
pub use http::{AuthConfig, ClientAuth, HttpConfig, Pem, TlsConfig};
pub use limits::TenantLimits;
pub use parts::{CompactionConfig, DataConfig, LogConfig, PatternsConfig, PushConfig, QueryConfig, RuntimeConfig};
pub use runtime::{LimitsTable, RuntimeError};
pub use schema_flags::{FlagKind, flag_kind, flag_names, nearest_flag};
pub use show::ShowMode;
pub use storage::DataLocation;
pub(crate) use value::size as parse_size;

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
    /// Who may send requests.
    pub auth: AuthConfig,
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
    /// Bytes of memory that the process may take; `None` = a part of the machine's or the container's.
    pub memory_max_bytes: Option<u64>,
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

    /// Whether senders of requests must show who they are. A tenant's name alone is no proof.
    pub fn is_guarded(&self) -> bool {
        let has_files = self.auth.htpasswd_file.is_some() || self.auth.bearer_tokens_file.is_some();
        has_files || self.http.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::None)
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
        let Findings { mut problems, idle } = findings;
        if problems.iter().any(Problem::is_about_types) {
            return Err(invalid(problems));
        }
        let mut settings = Settings::new(tree);
        if bare {
            for (path, text) in BARE_DEFAULTS {
                settings.set_default(path, text);
            }
        }
        let config = Self::read(settings, idle, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(invalid(problems)),
        }
    }

    fn read(settings: Settings, idle: Vec<String>, problems: &mut Vec<Problem>) -> Option<Self> {
        let limits = TenantLimits::read(&settings).map_err(|found| problems.extend(found)).ok();
        let location = storage::location(&settings, problems);
        let http = http::read_http(&settings, problems);
        let log = parts::read_log(&settings, problems);
        let compaction = parts::read_compaction(&settings, location.as_ref());
        let codec = parts::read_codec(&settings, problems);
        Some(Self {
            auth_enabled: settings.bool("auth_enabled"),
            auth: http::read_auth(&settings, problems),
            shutdown_delay: settings.duration("shutdown_delay"),
            metrics_namespace: settings.text("metrics_namespace"),
            push: PushConfig {
                max_body_bytes: settings.count("distributor.max_recv_msg_size"),
                max_inflated_bytes: settings.count("distributor.max_decompressed_size"),
                memory_bytes: bytes(settings.size("loki_store.push_memory_bytes")),
            },
            query: parts::read_query(&settings),
            patterns: parts::read_patterns(&settings),
            runtime: parts::read_runtime(&settings),
            published_limits: settings.list("tenant_limits_allow_publish"),
            memory_max_bytes: Some(settings.size("loki_store.memory.max_bytes")).filter(|&bytes| bytes > 0),
            data: parts::read_data(&settings, location?, codec),
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

fn warnings(settings: &Settings, compaction: &CompactionConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if !compaction.retention_enabled && limits::sets_retention(settings) {
        warnings
            .push("a retention period is set but compactor.retention_enabled is not: everything is kept".to_owned());
    }
    if settings.duration(parts::DELETE_DELAY) < compaction.delete_delay {
        let delay = compaction.delete_delay.as_secs();
        warnings.push(format!("{} is raised to {delay}s, the least for a bucket", parts::DELETE_DELAY));
    }
    if !settings.bool("auth_enabled") && settings.is_set("loki_store.auth.tenants") {
        warnings
            .push("loki_store.auth.tenants says who may act for which tenant, but auth_enabled is false".to_owned());
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
        /// One of a family without effect: a value may follow.
        Family,
    }

    /// How a configuration flag takes its value; `None` when there is no such flag.
    pub fn flag_kind(name: &str) -> Option<FlagKind> {
        Some(match Schema::get().flag(name)?.key.kind {
            Kind::Bool => FlagKind::Switch,
            Kind::Any => FlagKind::Family,
            _ => FlagKind::Value,
        })
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
