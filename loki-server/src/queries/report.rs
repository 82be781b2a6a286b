//! What became of queries: numbers about all of them, and a line in the log about those that were slow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use loki_core::Timestamp;
use loki_logql::ast::Expr;
use loki_logql::duration::format_go;
use loki_logql::stats::Stats;
use parking_lot::RwLock;

use super::blocked::{QueryClass, fnv1_32};
use super::{Question, RequestLimits};
use crate::error::ApiError;
use crate::metrics::{DURATION_BUCKETS_SECONDS, Exposition, Histogram};
use crate::response::QueryTimes;
use crate::tenants::Tenants;

/// Upper bounds for bytes that queries process in a second.
const THROUGHPUT_BUCKETS_BYTES: [f64; 12] = [5e7, 1e8, 2e8, 3e8, 4e8, 5e8, 6e8, 7e8, 8e8, 9e8, 1e9, 2e9];
/// Queries that take longer are called slow.
const SLOW: Duration = Duration::from_secs(10);
const NANOS_PER_SECOND: f64 = 1e9;

/// Numbers about queries.
#[derive(Debug)]
pub(crate) struct QueryMetrics {
    by_kind: RwLock<HashMap<Kind, KindMetrics, RandomState>>,
    duplicates: AtomicU64,
    head_entries: AtomicU64,
    queue_seconds: Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Kind {
    class: &'static str,
    span: &'static str,
    status: u16,
}

#[derive(Debug)]
struct KindMetrics {
    latency_seconds: Histogram,
    bytes_per_second: Histogram,
    chunks: AtomicU64,
}

impl Default for KindMetrics {
    fn default() -> Self {
        Self {
            latency_seconds: Histogram::new(&DURATION_BUCKETS_SECONDS),
            bytes_per_second: Histogram::new(&THROUGHPUT_BUCKETS_BYTES),
            chunks: AtomicU64::new(0),
        }
    }
}

impl Default for QueryMetrics {
    fn default() -> Self {
        Self {
            by_kind: RwLock::default(),
            duplicates: AtomicU64::new(0),
            head_entries: AtomicU64::new(0),
            queue_seconds: Histogram::new(&DURATION_BUCKETS_SECONDS),
        }
    }
}

/// A query while it is answered.
#[derive(Debug)]
pub(super) struct Asked {
    class: QueryClass,
    span: Span,
    /// The query's text, if it may have to be logged.
    text: Option<String>,
    limit: u32,
    started_nanos: u64,
}

/// The time that a query looks at.
#[derive(Clone, Copy, Debug)]
enum Span {
    Instant { time: Timestamp },
    Range { start: Timestamp, end: Timestamp, step_nanos: i64 },
}

/// What it cost to answer a query.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) stats: Stats,
    pub(super) times: QueryTimes,
}

/// How a query ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    pub(super) cost: Cost,
    pub(super) error: Option<&'a ApiError>,
    /// The monotonic time.
    pub(super) nanos: u64,
    pub(super) now: Timestamp,
}

impl Asked {
    /// Notes what is asked. The text is kept only if it may be logged.
    pub(super) fn note(question: &Question, keeps_text: bool, started_nanos: u64) -> Self {
        let (expr, span, limit): (&Expr, Span, u32) = match question {
            Question::Instant(query) => (&query.expr, Span::Instant { time: query.time }, 0),
            Question::Range(query) => {
                let span = Span::Range { start: query.start, end: query.end, step_nanos: query.step_nanos };
                (&query.expr, span, query.limit)
            }
        };
        let text = keeps_text.then(|| expr.to_string());
        Self { class: QueryClass::of(expr), span, text, limit, started_nanos }
    }

    fn span_name(&self) -> &'static str {
        match self.span {
            Span::Instant { .. } => "instant",
            Span::Range { .. } => "range",
        }
    }

    /// Writes the line that Loki writes about queries, if this one took at least so long.
    pub(super) fn log_if_slow(
        &self,
        threshold: Option<Duration>,
        tenants: &Tenants,
        limits: &RequestLimits,
        ended: &Ended<'_>,
    ) {
        let nanos = ended.nanos.saturating_sub(self.started_nanos);
        let took = Duration::from_nanos(nanos);
        let (Some(text), true) = (&self.text, threshold.is_some_and(|threshold| took >= threshold)) else {
            return;
        };
        let (start, end, step_nanos) = match self.span {
            Span::Instant { time } => (time, time, 0),
            Span::Range { start, end, step_nanos } => (start, end, step_nanos),
        };
        let since = |time: Timestamp| format_go(ended.now.0.saturating_sub(time.0));
        let stats = &ended.cost.stats;
        let seconds = nanos as f64 / NANOS_PER_SECOND;
        let per_second = |n: u64| if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 };
        tracing::info!(
            component = "frontend",
            org_id = tenants.joined(),
            latency = if took > SLOW { "slow" } else { "fast" },
            query = text,
            query_hash = fnv1_32(text),
            query_type = self.class.name(),
            range_type = self.span_name(),
            length = format_go(end.0.saturating_sub(start.0)),
            start_delta = since(start),
            end_delta = since(end),
            step = format_go(step_nanos),
            duration = format_go(i64::try_from(nanos).unwrap_or(i64::MAX)),
            status = ended.error.map_or(200, |error| error.status().as_u16()),
            limit = self.limit,
            returned_lines = stats.returned,
            throughput_bytes = per_second(stats.processed_bytes()),
            total_bytes = stats.processed_bytes(),
            total_bytes_structured_metadata = stats.processed_metadata_bytes(),
            lines_per_second = per_second(stats.processed_entries()),
            total_lines = stats.processed_entries(),
            post_filter_lines = stats.post_filter_entries,
            total_entries = stats.returned,
            store_chunks_downloaded = stats.chunks_read,
            ingester_total_lines_sent = stats.head.entries,
            queue_time = ended.cost.times.queue_nanos as f64 / NANOS_PER_SECOND,
            query_referenced_structured_metadata = stats.metadata_used,
            query_tags = limits.tags(),
            "slow query"
        );
    }
}

impl QueryMetrics {
    /// Counts a query.
    pub(super) fn record(&self, asked: &Asked, ended: &Ended<'_>) {
        let status = ended.error.map_or(200, |error| error.status().as_u16());
        let kind = Kind { class: asked.class.name(), span: asked.span_name(), status };
        let Cost { stats, times } = &ended.cost;
        let seconds = ended.nanos.saturating_sub(asked.started_nanos) as f64 / NANOS_PER_SECOND;
        let record = |metrics: &KindMetrics| {
            metrics.latency_seconds.observe(seconds);
            metrics.chunks.fetch_add(stats.chunks_read, Ordering::Relaxed);
            if seconds > 0.0 {
                metrics.bytes_per_second.observe(stats.processed_bytes() as f64 / seconds);
            }
        };
        let known = self.by_kind.read();
        if let Some(metrics) = known.get(&kind) {
            record(metrics);
        } else {
            drop(known);
            record(self.by_kind.write().entry(kind).or_default());
        }
        self.duplicates.fetch_add(stats.duplicates, Ordering::Relaxed);
        self.head_entries.fetch_add(stats.head.entries, Ordering::Relaxed);
        self.queue_seconds.observe(times.queue_nanos as f64 / NANOS_PER_SECOND);
    }

    /// Writes all of it.
    pub(crate) fn expose(&self, out: &mut Exposition) {
        let by_kind = self.by_kind.read();
        let mut kinds: Vec<_> = by_kind.iter().collect();
        kinds.sort_by_key(|(kind, _)| **kind);
        let labels = |kind: &Kind, of_range: &'static str, of_class: &'static str| {
            [
                ("status_code", kind.status.to_string()),
                (of_class, kind.class.to_owned()),
                (of_range, kind.span.to_owned()),
            ]
        };
        out.family("logql_querystats_latency_seconds", "histogram", "Time from a query to its answer.");
        for (kind, metrics) in &kinds {
            out.histogram(
                "logql_querystats_latency_seconds",
                &labels(kind, "range", "query_type"),
                &metrics.latency_seconds,
            );
        }
        let name = "logql_querystats_bytes_processed_per_seconds";
        out.family(name, "histogram", "Bytes of lines and metadata that queries read in a second.");
        for (kind, metrics) in &kinds {
            out.histogram(name, &labels(kind, "range", "type"), &metrics.bytes_per_second);
        }
        let name = "logql_querystats_downloaded_chunk_total";
        out.family(name, "counter", "Chunks that queries looked into.");
        for (kind, metrics) in &kinds {
            out.sample(name, &labels(kind, "range", "type"), metrics.chunks.load(Ordering::Relaxed) as f64);
        }
        let (duplicates, head) = (self.duplicates.load(Ordering::Relaxed), self.head_entries.load(Ordering::Relaxed));
        out.counter("logql_querystats_duplicates_total", "Entries that queries left out as duplicates.", duplicates);
        let about = "Entries that queries read from memory that awaits its flush.";
        out.counter("logql_querystats_ingester_sent_lines_total", about, head);
        out.family("query_scheduler_queue_duration_seconds", "histogram", "Time that queries waited for their turn.");
        out.histogram("query_scheduler_queue_duration_seconds", &[], &self.queue_seconds);
    }
}
