//! The store as a whole, against a plain model of what it should hold.

mod compact;
mod crash;
mod damage;
mod deletes;
mod disk_cache;
mod edges;
mod faulty;
mod latency;
mod lifecycle;
mod memory;
mod model;
mod overlaps;
mod patterns;
mod retention;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use loki_core::{Direction, Entry, Labels, MatchOp, Matcher, TimeRange, Timestamp};
use loki_logql::querier::{Columns, Hints, Order, Querier, SelectRequest};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use uuid::Uuid;

use super::Store;
use super::open::Place;
use crate::clock::{Clock, ManualClock};
use crate::config::StoreConfig;
use crate::error::Error;
use crate::limits::Limits;
use crate::objects::Objects;
use crate::push::{PushBody, PushStream};
use crate::tenant::TenantId;
use crate::wal::SimulatedFiles;

/// A stored entry with everything that makes it different from others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Stored {
    labels: Labels,
    timestamp: Timestamp,
    line: Vec<u8>,
    metadata: Labels,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { labels, timestamp, line, metadata } = self;
        write!(f, "{labels} {}ns {:?} {metadata}", timestamp.0, String::from_utf8_lossy(line))
    }
}

/// Compares sorted entries, and shows only those that differ.
#[track_caller]
fn assert_same(found: &[Stored], expected: &[Stored]) {
    let missing: Vec<_> = expected.iter().filter(|entry| !found.contains(entry)).collect();
    let surplus: Vec<_> = found.iter().filter(|entry| !expected.contains(entry)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
    assert_eq!(found.len(), expected.len(), "some entries are there twice");
}

/// The media of a simulated machine.
#[derive(Clone, Debug)]
struct Machine {
    objects: Arc<dyn ObjectStore>,
    files: SimulatedFiles,
    clock: Arc<ManualClock>,
}

const LOG: Uuid = Uuid::from_u128(7);

fn tenant() -> TenantId {
    TenantId::anonymous()
}

fn stream_labels(stream: u8) -> Labels {
    let name = format!("s{stream}");
    Labels::from_pairs([("app", "test"), ("stream", name.as_str())]).unwrap()
}

fn entry(seconds: i64, line: &str, trace: Option<&str>) -> Entry {
    Entry {
        timestamp: Timestamp::from_seconds(seconds),
        line: line.to_owned().into(),
        metadata: Labels::from_pairs(trace.map(|trace| ("trace_id", trace))).unwrap(),
    }
}

fn stored(labels: &Labels, entry: &Entry) -> Stored {
    Stored {
        labels: labels.clone(),
        timestamp: entry.timestamp,
        line: entry.line.to_vec(),
        metadata: entry.metadata.clone(),
    }
}

/// Limits that change nothing about what is pushed.
fn verbatim_limits() -> Limits {
    Limits { discover_service_name: Vec::new(), discover_log_levels: false, ..Limits::unlimited() }
}

impl Machine {
    fn new() -> Self {
        Self {
            objects: Arc::new(InMemory::new()),
            files: SimulatedFiles::new(),
            clock: Arc::new(ManualClock::new(Timestamp::from_seconds(1_000))),
        }
    }

    fn config(&self) -> StoreConfig {
        let mut config = StoreConfig::memory().with_clock(self.clock.clone()).with_limits(verbatim_limits());
        // Chunks of a few lines, so that streams span chunks.
        config.chunk_bytes = 64;
        config
    }

    async fn open(&self) -> Result<Store, Error> {
        self.open_with(self.config()).await
    }

    async fn open_with(&self, config: StoreConfig) -> Result<Store, Error> {
        let place = Place {
            objects: Objects::new(Arc::clone(&self.objects), ObjectPath::from("data")),
            log: Some((Arc::new(self.files.clone()), LOG)),
            lock: None,
            free_space: None,
        };
        // Segments are ranked by time of writing.
        self.clock.advance(Duration::from_secs(1));
        Store::open_at(config, place).await
    }
}

async fn push(store: &Store, stream: u8, entries: Vec<Entry>) -> Result<(), Error> {
    let stream = PushStream { labels: stream_labels(stream), entries };
    let outcome = store.push(&tenant(), PushBody::Streams(vec![stream])).await?;
    assert_eq!(outcome.error, None);
    Ok(())
}

fn all() -> Vec<Matcher> {
    vec![Matcher::new("app", MatchOp::Equal, "test").unwrap()]
}

/// Everything a querier delivers for a request, as a consumer is told to read it.
async fn select(querier: Arc<dyn Querier>, request: SelectRequest) -> Vec<Stored> {
    let range = request.range;
    let mut batches = querier.select(request.clone());
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut previous = None;
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        if let Some(previous) = previous.replace(batch.bounds) {
            match request.order {
                Order::Time(Direction::Backward) => assert!(batch.bounds.end <= previous.end, "out of order"),
                Order::Time(Direction::Forward) => assert!(batch.bounds.start >= previous.start, "out of order"),
                Order::Any => {}
            }
        }
        assert!(!matches!(batch.columns, Columns::Counts(_)), "counts come only when asked for");
        let times = batch.columns.timestamps().unwrap().into_owned();
        let text = batch.columns.text().unwrap().unwrap();
        let metadata = batch.columns.metadata().unwrap();
        for run in &batch.runs {
            assert_eq!(run.hash, run.labels.hash64());
            for row in run.rows.clone() {
                let timestamp = Timestamp(times[row as usize]);
                if !range.contains(timestamp) {
                    continue;
                }
                assert!(batch.bounds.contains(timestamp), "{timestamp:?} outside of {:?}", batch.bounds);
                let mut pairs = Vec::new();
                metadata.for_each(row, |name, value| pairs.push((name.to_owned(), value.to_owned())));
                let entry = Stored {
                    labels: run.labels.clone(),
                    timestamp,
                    line: text.line(row).to_vec(),
                    metadata: Labels::from_pairs(pairs).unwrap(),
                };
                let may_repeat = batch.repeats.iter().any(|span| span.contains(timestamp));
                if !may_repeat || seen.insert(entry.clone()) {
                    found.push(entry);
                }
            }
        }
    }
    found.sort();
    found
}

fn request(matchers: Vec<Matcher>, range: TimeRange, order: Order) -> SelectRequest {
    SelectRequest { matchers, range, order, hints: Hints::default() }
}

async fn everything(store: &Store) -> Vec<Stored> {
    select(store.querier(&tenant()), request(all(), TimeRange::ALL, Order::Any)).await
}

/// Entries per stream and grid cell: what counts must add up to.
fn cells(entries: &[Stored], range: TimeRange, origin: i64, spacing: i64) -> BTreeMap<(Labels, i64), u64> {
    let mut cells = BTreeMap::new();
    for entry in entries.iter().filter(|entry| range.contains(entry.timestamp)) {
        let cell = (entry.timestamp.0 - 1 - origin).div_euclid(spacing);
        *cells.entry((entry.labels.clone(), cell)).or_default() += 1;
    }
    cells
}
