//! What the server counts about itself, in Prometheus' text format and under Loki's names.

mod buckets;
mod inflight;
mod objects;
mod reloads;
mod store;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use http::Method;
use loki_core::Timestamp;
pub(crate) use loki_store::Histogram;
use loki_store::{PushOutcome, Reason, TenantId};
use parking_lot::RwLock;

pub(crate) use buckets::{DURATION_BUCKETS_SECONDS, SIZE_BUCKETS_BYTES};
pub(crate) use inflight::Inflight;
pub(crate) use reloads::{ReloadMetrics, ReloadedFiles};
pub(crate) use text::{Exposition, TextFormat};

/// The label of requests that no route answers, and of methods that nobody knows.
const OTHER: &str = "other";

/// What the index is asked, and the routes that ask it.
const INDEX_OPERATIONS: [(&str, &[&str]); 5] = [
    ("label_names", &["/loki/api/v1/labels", "/loki/api/v1/label", "/api/prom/label"]),
    ("label_values", &["/loki/api/v1/label/{name}/values", "/api/prom/label/{name}/values"]),
    ("series", &["/loki/api/v1/series", "/api/prom/series"]),
    ("stats", &["/loki/api/v1/index/stats", "/loki/api/v1/index/shards"]),
    ("volume", &["/loki/api/v1/index/volume", "/loki/api/v1/index/volume_range"]),
];

/// A counter of what pushes bring.
struct PushFamily {
    name: &'static str,
    about: &'static str,
    of: TenantCounter,
    /// Whether Loki says how long the entries are kept.
    has_retention: bool,
    /// Whether it is about what was changed, and why.
    is_mutation: bool,
}

const PUSH_FAMILIES: [PushFamily; 5] = [
    PushFamily {
        name: "distributor_bytes_received_total",
        about: "Bytes of lines accepted.",
        of: |m| &m.line_bytes,
        has_retention: true,
        is_mutation: false,
    },
    PushFamily {
        name: "distributor_structured_metadata_bytes_received_total",
        about: "Bytes of structured metadata accepted.",
        of: |m| &m.metadata_bytes,
        has_retention: true,
        is_mutation: false,
    },
    PushFamily {
        name: "distributor_lines_received_total",
        about: "Lines accepted.",
        of: |m| &m.lines,
        has_retention: false,
        is_mutation: false,
    },
    PushFamily {
        name: "mutated_samples_total",
        about: "Lines that were cut.",
        of: |m| &m.truncated_lines,
        has_retention: true,
        is_mutation: true,
    },
    PushFamily {
        name: "mutated_bytes_total",
        about: "Bytes that were cut off lines.",
        of: |m| &m.truncated_bytes,
        has_retention: true,
        is_mutation: true,
    },
];

const NANOS_PER_MILLISECOND: u64 = 1_000_000;

/// Numbers about requests and pushes. Updating them takes a shared lock and no memory, once a label set is known.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: RwLock<HashMap<RequestKey, Arc<RequestMetrics>, RandomState>>,
    tenants: RwLock<HashMap<TenantKey, Arc<TenantMetrics>, RandomState>>,
    discards: RwLock<HashMap<(TenantKey, &'static str), Arc<DiscardMetrics>, RandomState>>,
    /// Open connections.
    pub(crate) connections: AtomicI64,
    /// Requests being answered.
    pub(crate) inflight: Inflight,
    /// Requests that ended in a panic.
    pub(crate) panics: AtomicU64,
    /// Pushes that the store could not take.
    pub(crate) append_failures: AtomicU64,
    /// Those of them for which the disk had no room.
    pub(crate) disk_full_failures: AtomicU64,
    /// Bytes sent to live tails.
    pub(crate) tail_bytes: AtomicU64,
    /// Rounds of the store's maintenance.
    pub(crate) maintenance: MaintenanceMetrics,
    /// Requests to delete entries.
    pub(crate) delete_requests: AtomicU64,
    /// How reading changed files goes.
    pub(crate) reloads: ReloadMetrics,
}

/// How pushes arrive: the `format` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PushFormat {
    /// Loki's own.
    Loki,
    /// OpenTelemetry's.
    Otlp,
}

impl PushFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Loki => "loki",
            Self::Otlp => "otlp",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RequestKey {
    method: Method,
    path: Box<str>,
    status: u16,
    is_websocket: bool,
}

/// A [`RequestKey`] that owns nothing.
#[derive(Hash)]
struct RequestRef<'a> {
    method: &'a Method,
    path: &'a str,
    status: u16,
    is_websocket: bool,
}

impl Equivalent<RequestKey> for RequestRef<'_> {
    fn equivalent(&self, key: &RequestKey) -> bool {
        self.status == key.status
            && self.is_websocket == key.is_websocket
            && *self.path == *key.path
            && *self.method == key.method
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TenantKey {
    tenant: TenantId,
    format: PushFormat,
}

#[derive(Debug)]
struct RequestMetrics {
    seconds: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

#[derive(Debug, Default)]
struct TenantMetrics {
    line_bytes: AtomicU64,
    metadata_bytes: AtomicU64,
    lines: AtomicU64,
    truncated_lines: AtomicU64,
    truncated_bytes: AtomicU64,
    lag_millis: AtomicU64,
}

#[derive(Debug, Default)]
struct DiscardMetrics {
    samples: AtomicU64,
    bytes: AtomicU64,
}

type TenantCounter = fn(&TenantMetrics) -> &AtomicU64;
type DiscardCounter = fn(&DiscardMetrics) -> &AtomicU64;

/// Rounds of the store's maintenance: flushing, merging, retention, deletes.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceMetrics {
    successes: AtomicU64,
    failures: AtomicU64,
    last_nanos: AtomicU64,
    /// The wall clock at the end of the last round that went well; zero before the first.
    last_success: AtomicI64,
}

impl MaintenanceMetrics {
    /// Counts a round that took so long and ended `now`.
    pub(crate) fn record(&self, is_success: bool, nanos: u64, now: Timestamp) {
        self.last_nanos.store(nanos, Ordering::Relaxed);
        if is_success {
            self.successes.fetch_add(1, Ordering::Relaxed);
            self.last_success.store(now.0, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    /// Its method.
    pub(crate) method: &'a Method,
    /// The pattern of its route, if one answered.
    pub(crate) route: Option<&'a str>,
    /// The status of the answer.
    pub(crate) status: u16,
    /// Whether it became a WebSocket.
    pub(crate) is_websocket: bool,
    /// How long that took.
    pub(crate) nanos: u64,
    /// Bytes of its body, if they were announced.
    pub(crate) request_bytes: Option<u64>,
    /// Bytes of the answer, if they are known.
    pub(crate) response_bytes: Option<u64>,
}

impl Metrics {
    /// Counts a request.
    pub(crate) fn answered(&self, answered: &Answered<'_>) {
        let key = RequestRef {
            method: known_method(answered.method),
            path: answered.route.unwrap_or_default(),
            status: answered.status,
            is_websocket: answered.is_websocket,
        };
        let metrics = self.requests.read().get(&key).map(Arc::clone);
        let metrics = metrics.unwrap_or_else(|| self.request(&key));
        metrics.seconds.observe(answered.nanos as f64 / 1e9);
        if let Some(bytes) = answered.request_bytes {
            metrics.request_bytes.observe(bytes as f64);
        }
        if let Some(bytes) = answered.response_bytes {
            metrics.response_bytes.observe(bytes as f64);
        }
    }

    /// Counts what became of a push that arrived `now`.
    pub(crate) fn pushed(&self, tenant: &TenantId, format: PushFormat, outcome: &PushOutcome, now: Timestamp) {
        let key = TenantKey { tenant: tenant.clone(), format };
        let metrics = self.tenants.read().get(&key).map(Arc::clone);
        let metrics = metrics.unwrap_or_else(|| Arc::clone(self.tenants.write().entry(key.clone()).or_default()));
        metrics.line_bytes.fetch_add(outcome.line_bytes, Ordering::Relaxed);
        metrics.metadata_bytes.fetch_add(outcome.metadata_bytes, Ordering::Relaxed);
        metrics.lines.fetch_add(outcome.entries, Ordering::Relaxed);
        metrics.truncated_lines.fetch_add(outcome.truncated_entries, Ordering::Relaxed);
        metrics.truncated_bytes.fetch_add(outcome.truncated_bytes, Ordering::Relaxed);
        let lag_nanos = outcome.newest.map_or(0, |newest| now.0.saturating_sub(newest.0).max(0));
        metrics.lag_millis.fetch_add(lag_nanos.unsigned_abs() / NANOS_PER_MILLISECOND, Ordering::Relaxed);
        for rejection in &outcome.rejections {
            let key = (key.clone(), rejection.reason.as_str());
            let metrics = Arc::clone(self.discards.write().entry(key).or_default());
            metrics.samples.fetch_add(rejection.entries, Ordering::Relaxed);
            metrics.bytes.fetch_add(rejection.bytes, Ordering::Relaxed);
        }
    }

    /// Writes all of it. `retention_hours` is how long a tenant's entries are kept.
    pub(crate) fn expose(&self, out: &mut Exposition, retention_hours: &dyn Fn(&TenantId) -> u64) {
        self.expose_requests(out);
        self.expose_index_requests(out);
        self.expose_pushes(out, retention_hours);
        self.expose_discards(out, retention_hours);
        let failures = self.append_failures.load(Ordering::Relaxed);
        out.counter("distributor_ingester_append_failures_total", "Pushes that the store could not take.", failures);
        let failures = self.disk_full_failures.load(Ordering::Relaxed);
        out.counter("ingester_wal_disk_full_failures_total", "Pushes for which the disk had no room.", failures);
        out.counter("querier_tail_bytes_total", "Bytes sent to live tails.", self.tail_bytes.load(Ordering::Relaxed));
        out.gauge("tcp_connections", "Open connections.", self.connections.load(Ordering::Relaxed) as f64);
        self.inflight.expose(out);
        out.counter("panic_total", "Requests that ended in a panic.", self.panics.load(Ordering::Relaxed));
        self.reloads.expose(out);
    }

    fn request(&self, key: &RequestRef<'_>) -> Arc<RequestMetrics> {
        let owned = RequestKey {
            method: key.method.clone(),
            path: key.path.into(),
            status: key.status,
            is_websocket: key.is_websocket,
        };
        Arc::clone(self.requests.write().entry(owned).or_default())
    }

    fn expose_requests(&self, out: &mut Exposition) {
        let mut requests: Vec<_> = self.requests.read().iter().map(|(k, m)| (k.clone(), Arc::clone(m))).collect();
        requests.sort_by(|(a, _), (b, _)| {
            (&a.path, a.method.as_str(), a.status).cmp(&(&b.path, b.method.as_str(), b.status))
        });
        let labels = |key: &RequestKey| {
            let ws = if key.is_websocket { "true" } else { "false" };
            [
                ("method", key.method.to_string()),
                ("route", route_label(&key.path)),
                ("status_code", key.status.to_string()),
                ("ws", ws.to_owned()),
            ]
        };
        out.family("request_duration_seconds", "histogram", "Time from a request's headers to the head of its answer.");
        for (key, metrics) in &requests {
            out.histogram("request_duration_seconds", &labels(key), &metrics.seconds);
        }
        // Sizes are told apart by route alone, as Loki does.
        for (name, about, of) in [
            (
                "request_message_bytes",
                "Bytes of requests.",
                (|m| &m.request_bytes) as fn(&RequestMetrics) -> &Histogram,
            ),
            ("response_message_bytes", "Bytes of answers.", |m| &m.response_bytes),
        ] {
            out.family(name, "histogram", about);
            let same_route =
                |(a, _): &(RequestKey, _), (b, _): &(RequestKey, _)| a.path == b.path && a.method == b.method;
            for group in requests.chunk_by(same_route) {
                let total = Histogram::new(&SIZE_BUCKETS_BYTES);
                for (_, metrics) in group {
                    total.add(of(metrics));
                }
                let [method, route, ..] = labels(&group[0].0);
                out.histogram(name, &[method, route], &total);
            }
        }
    }

    /// Questions that the index alone answers, under the names that Loki gives them.
    fn expose_index_requests(&self, out: &mut Exposition) {
        let name = "index_request_duration_seconds";
        out.family(name, "histogram", "Time to answer from the index.");
        let requests = self.requests.read();
        for (operation, paths) in INDEX_OPERATIONS {
            let mut by_status: BTreeMap<u16, Histogram> = BTreeMap::new();
            for (key, metrics) in requests.iter().filter(|(key, _)| paths.contains(&&*key.path)) {
                let new = || Histogram::new(&DURATION_BUCKETS_SECONDS);
                by_status.entry(key.status).or_insert_with(new).add(&metrics.seconds);
            }
            for (status, seconds) in &by_status {
                let labels = [("operation", operation.to_owned()), ("status_code", status.to_string())];
                out.histogram(name, &labels, seconds);
            }
        }
    }

    fn expose_pushes(&self, out: &mut Exposition, retention_hours: &dyn Fn(&TenantId) -> u64) {
        let mut tenants: Vec<_> = self.tenants.read().iter().map(|(k, m)| (k.clone(), Arc::clone(m))).collect();
        tenants.sort_by(|(a, _), (b, _)| (&a.tenant, a.format.name()).cmp(&(&b.tenant, b.format.name())));
        for family in &PUSH_FAMILIES {
            out.family(family.name, "counter", family.about);
            for (key, metrics) in &tenants {
                let mut labels = Vec::new();
                if family.is_mutation {
                    labels.push(("reason", Reason::LineTooLong.as_str().to_owned()));
                }
                labels.push(("tenant", key.tenant.to_string()));
                if family.has_retention {
                    labels.push(("retention_hours", retention_hours(&key.tenant).to_string()));
                }
                if !family.is_mutation {
                    labels.push(("is_internal_stream", "false".to_owned()));
                }
                labels.push(("policy", String::new()));
                labels.push(("format", key.format.name().to_owned()));
                out.sample(family.name, &labels, (family.of)(metrics).load(Ordering::Relaxed) as f64);
            }
        }
        let mut lags: BTreeMap<&TenantId, u64> = BTreeMap::new();
        for (key, metrics) in &tenants {
            *lags.entry(&key.tenant).or_default() += metrics.lag_millis.load(Ordering::Relaxed);
        }
        let name = "distributor_lag_ms_total";
        out.family(name, "counter", "How late the newest entries of pushes arrived, added up, in milliseconds.");
        for (tenant, millis) in lags {
            out.sample(name, &[("tenant", tenant.to_string())], millis as f64);
        }
    }

    fn expose_discards(&self, out: &mut Exposition, retention_hours: &dyn Fn(&TenantId) -> u64) {
        let mut discards: Vec<_> = self.discards.read().iter().map(|(k, m)| (k.clone(), Arc::clone(m))).collect();
        discards.sort_by(|(a, _), (b, _)| {
            (&a.0.tenant, a.1, a.0.format.name()).cmp(&(&b.0.tenant, b.1, b.0.format.name()))
        });
        let families: [(&str, &str, DiscardCounter); 2] = [
            ("discarded_samples_total", "Lines refused.", |m| &m.samples),
            ("discarded_bytes_total", "Bytes of lines refused.", |m| &m.bytes),
        ];
        for (name, about, get) in families {
            out.family(name, "counter", about);
            for ((key, reason), metrics) in &discards {
                let labels = [
                    ("reason", (*reason).to_owned()),
                    ("tenant", key.tenant.to_string()),
                    ("retention_hours", retention_hours(&key.tenant).to_string()),
                    ("policy", String::new()),
                    ("format", key.format.name().to_owned()),
                ];
                out.sample(name, &labels, get(metrics).load(Ordering::Relaxed) as f64);
            }
        }
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self {
            seconds: Histogram::new(&DURATION_BUCKETS_SECONDS),
            request_bytes: Histogram::new(&SIZE_BUCKETS_BYTES),
            response_bytes: Histogram::new(&SIZE_BUCKETS_BYTES),
        }
    }
}

/// A method that is counted apart: anybody may make up others, of which nothing is kept.
fn known_method(method: &Method) -> &Method {
    static OTHER_METHOD: LazyLock<Method> =
        LazyLock::new(|| Method::from_bytes(OTHER.as_bytes()).expect("it is a token"));
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::PATCH
        | Method::CONNECT
        | Method::TRACE => method,
        _ => &OTHER_METHOD,
    }
}

/// A route's pattern as a label: `/loki/api/v1/label/{name}/values` becomes `loki_api_v1_label_name_values`.
fn route_label(pattern: &str) -> String {
    if pattern.is_empty() {
        return OTHER.to_owned();
    }
    let kept = pattern.trim_start_matches('/').chars().filter(|c| !matches!(c, '{' | '}' | '*'));
    kept.map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_flattened() {
        assert_eq!(route_label("/loki/api/v1/label/{name}/values"), "loki_api_v1_label_name_values");
        assert_eq!(route_label("/ready"), "ready");
        assert_eq!(route_label(""), "other");
    }

    #[test]
    fn requests_are_told_apart_by_route_and_status() {
        let metrics = Metrics::default();
        let answered = |route, status| Answered {
            method: &Method::POST,
            route: Some(route),
            status,
            is_websocket: false,
            nanos: 20_000_000,
            request_bytes: Some(100),
            response_bytes: None,
        };
        metrics.answered(&answered("/loki/api/v1/push", 204));
        metrics.answered(&answered("/loki/api/v1/push", 204));
        metrics.answered(&answered("/loki/api/v1/push", 400));
        let mut out = Exposition::new("loki", TextFormat::Prometheus);
        metrics.expose(&mut out, &|_| 0);
        let text = out.finish();
        let labels = r#"method="POST",route="loki_api_v1_push",status_code="204",ws="false""#;
        for line in [
            format!("loki_request_duration_seconds_bucket{{{labels},le=\"0.01\"}} 0"),
            format!("loki_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 2"),
            format!("loki_request_duration_seconds_count{{{labels}}} 2"),
            format!("loki_request_duration_seconds_sum{{{labels}}} 0.04"),
            r#"loki_request_message_bytes_sum{method="POST",route="loki_api_v1_push"} 300"#.to_owned(),
        ] {
            assert!(text.lines().any(|candidate| candidate == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn methods_that_clients_make_up_are_one() {
        let metrics = Metrics::default();
        for number in 0..100 {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            drop(metrics.inflight.enter(&method, None));
            metrics.answered(&Answered {
                method: &method,
                route: None,
                status: 405,
                is_websocket: false,
                nanos: 0,
                request_bytes: None,
                response_bytes: None,
            });
        }
        let mut out = Exposition::new("loki", TextFormat::Prometheus);
        metrics.expose(&mut out, &|_| 0);
        let text = out.finish();
        assert!(!text.contains("\"M1\""), "{text}");
        let labels = r#"method="other",route="other""#;
        let counted = format!(r#"loki_request_duration_seconds_count{{{labels},status_code="405",ws="false"}} 100"#);
        assert!(text.contains(&counted), "{text}");
        assert!(text.contains(&format!("loki_inflight_requests{{{labels}}} 0")), "{text}");
    }
}
