//! Live entries: what is pushed while somebody watches.
//!
//! Every [`Tail`] has a queue of its own. A push puts copies of the entries that a tail selects into it once they are
//! durable, and never waits: what finds no room is left out, counted, and remembered by time and stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashbrown::HashMap;
use loki_core::{Entry, Labels, Matcher, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::push::Staged;
use crate::tenant::TenantId;

/// Bytes of entries that wait in the queue of one tail.
pub const MAX_TAIL_QUEUE_BYTES: usize = 4 << 20;
/// Entries without room that a tail remembers; of more only the number is known.
pub const MAX_TAIL_DROPPED: usize = 1000;

/// Entries of one stream in the order of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveEntries {
    /// The stream.
    pub labels: Labels,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// What a tail has for its reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailBatch {
    /// Entries in the order in which they were pushed.
    pub streams: Vec<LiveEntries>,
    /// Entries for which there was no room since the last batch, at most [`MAX_TAIL_DROPPED`].
    pub dropped: Vec<(Timestamp, Labels)>,
    /// How many there were in all.
    pub dropped_count: u64,
}

/// Watches the entries of a tenant as they are pushed. Dropping it ends the watch.
#[derive(Debug)]
pub struct Tail {
    watch: Arc<Watch>,
    tails: Arc<Tails>,
}

impl Tail {
    /// Waits until there is something to read, and takes all of it. May be dropped without losing anything.
    pub async fn next(&self) -> TailBatch {
        loop {
            let batch = self.take();
            if !batch.streams.is_empty() || batch.dropped_count > 0 {
                return batch;
            }
            self.watch.arrived.notified().await;
        }
    }

    /// Takes what is there to read.
    pub fn take(&self) -> TailBatch {
        let mut queue = self.watch.queue.lock();
        queue.bytes = 0;
        TailBatch {
            streams: std::mem::take(&mut queue.streams).into(),
            dropped: std::mem::take(&mut queue.dropped),
            dropped_count: std::mem::take(&mut queue.dropped_count),
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.tails.remove(&self.watch);
    }
}

#[derive(Debug)]
struct Watch {
    tenant: TenantId,
    matchers: Vec<Matcher>,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    streams: VecDeque<LiveEntries>,
    bytes: usize,
    dropped: Vec<(Timestamp, Labels)>,
    dropped_count: u64,
}

impl Watch {
    fn selects(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    fn deliver(&self, live: LiveEntries) {
        let bytes: usize = live.entries.iter().map(|entry| entry.line.len() + entry.metadata.size_bytes()).sum();
        let mut queue = self.queue.lock();
        if queue.bytes > 0 && queue.bytes + bytes > MAX_TAIL_QUEUE_BYTES {
            queue.dropped_count += live.entries.len() as u64;
            let room = MAX_TAIL_DROPPED - queue.dropped.len();
            let labels = live.labels;
            queue.dropped.extend(live.entries.iter().take(room).map(|entry| (entry.timestamp, labels.clone())));
        } else {
            queue.bytes += bytes;
            queue.streams.push_back(live);
        }
        drop(queue);
        self.arrived.notify_one();
    }
}

/// All tails of a store.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    by_tenant: RwLock<HashMap<TenantId, Vec<Weak<Watch>>>>,
    count: AtomicUsize,
}

/// Entries that wait until they are durable to be delivered.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(Vec<(Arc<Watch>, LiveEntries)>);

impl Deliveries {
    /// Puts the entries into the queues.
    pub(crate) fn deliver(self) {
        for (watch, live) in self.0 {
            watch.deliver(live);
        }
    }
}

impl Tails {
    /// Watches the streams of a tenant that all `matchers` select.
    pub(crate) fn subscribe(self: &Arc<Self>, tenant: &TenantId, matchers: Vec<Matcher>) -> Tail {
        let queue = Mutex::default();
        let watch = Arc::new(Watch { tenant: tenant.clone(), matchers, queue, arrived: Notify::new() });
        self.by_tenant.write().entry(tenant.clone()).or_default().push(Arc::downgrade(&watch));
        self.count.fetch_add(1, Ordering::Relaxed);
        Tail { watch, tails: Arc::clone(self) }
    }

    /// Copies what tails select out of a push. Costs next to nothing while nobody watches.
    pub(crate) fn select(&self, staged: &Staged) -> Deliveries {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Deliveries::default();
        }
        let watches: Vec<Arc<Watch>> = match self.by_tenant.read().get(staged.tenant()) {
            Some(watches) => watches.iter().filter_map(Weak::upgrade).collect(),
            None => return Deliveries::default(),
        };
        let mut deliveries = Vec::new();
        for stream in staged.streams() {
            for watch in watches.iter().filter(|watch| watch.selects(stream.labels())) {
                let entries = stream.entries().map(|entry| Entry {
                    timestamp: entry.timestamp,
                    line: Bytes::copy_from_slice(entry.line),
                    metadata: Labels::from_bytes(Bytes::copy_from_slice(entry.metadata)).unwrap_or_default(),
                });
                let live = LiveEntries { labels: stream.labels().clone(), entries: entries.collect() };
                deliveries.push((Arc::clone(watch), live));
            }
        }
        Deliveries(deliveries)
    }

    fn remove(&self, watch: &Arc<Watch>) {
        let mut by_tenant = self.by_tenant.write();
        if let Some(watches) = by_tenant.get_mut(&watch.tenant) {
            watches.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(watch)));
            if watches.is_empty() {
                by_tenant.remove(&watch.tenant);
            }
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use loki_core::MatchOp;

    use super::*;
    use crate::{PushBody, PushStream, Store, StoreConfig};

    fn stream(app: &str, lines: &[&'static str]) -> PushStream {
        let entry = |(at, line): (usize, &&'static str)| Entry {
            timestamp: Timestamp::from_seconds(1_700_000_000 + at as i64),
            line: Bytes::from_static(line.as_bytes()),
            metadata: Labels::from_pairs([("k", "v")]).expect("one label"),
        };
        let labels = Labels::from_pairs([("app", app)]).expect("one label");
        PushStream { labels, entries: lines.iter().enumerate().map(entry).collect() }
    }

    fn app(value: &str) -> Vec<Matcher> {
        vec![Matcher::new("app", MatchOp::Equal, value).expect("no regex")]
    }

    async fn store() -> Store {
        let mut config = StoreConfig::memory();
        let limits =
            crate::Limits { discover_service_name: vec![], discover_log_levels: false, ..crate::Limits::unlimited() };
        let limits = Arc::new(limits);
        config.limits = Arc::new(move |_| Arc::clone(&limits));
        Store::open(config).await.expect("opens")
    }

    #[tokio::test]
    async fn tails_see_the_streams_that_they_select() {
        let store = store().await;
        let tenant = TenantId::anonymous();
        let tail = store.subscribe(&tenant, app("a"));
        let other = store.subscribe(&TenantId::parse("other").expect("valid"), app("a"));
        let pushed = vec![stream("a", &["1", "2"]), stream("b", &["3"])];
        store.push(&tenant, PushBody::Streams(pushed)).await.expect("stored");
        let batch = tail.next().await;
        let expected = stream("a", &["1", "2"]);
        let live = LiveEntries { labels: expected.labels, entries: expected.entries };
        assert_eq!(batch, TailBatch { streams: vec![live], ..TailBatch::default() });
        assert!(tail.next().now_or_never().is_none(), "everything was taken");
        assert!(other.next().now_or_never().is_none(), "tenants do not see each other");
    }

    #[tokio::test]
    async fn entries_without_room_are_remembered() {
        let store = store().await;
        let tenant = TenantId::anonymous();
        let tail = store.subscribe(&tenant, app("a"));
        let line: &'static str = "x".repeat(MAX_TAIL_QUEUE_BYTES / 2).leak();
        for _ in 0..3 {
            store.push(&tenant, PushBody::Streams(vec![stream("a", &[line])])).await.expect("stored");
        }
        let batch = tail.next().await;
        let time = Timestamp::from_seconds(1_700_000_000);
        assert_eq!((batch.streams.len(), batch.dropped_count), (1, 2));
        assert_eq!(batch.dropped, vec![(time, stream("a", &[]).labels); 2]);
        store.push(&tenant, PushBody::Streams(vec![stream("a", &["y"])])).await.expect("stored");
        assert_eq!(tail.next().await.streams.len(), 1, "there is room again");
    }

    #[tokio::test]
    async fn a_dropped_tail_costs_nothing() {
        let tails = Arc::new(Tails::default());
        let tenant = TenantId::anonymous();
        let first = tails.subscribe(&tenant, vec![]);
        let second = tails.subscribe(&tenant, vec![]);
        drop(first);
        assert_eq!(tails.by_tenant.read()[&tenant].len(), 1);
        drop(second);
        assert_eq!(tails.count.load(Ordering::Relaxed), 0);
        assert!(tails.by_tenant.read().is_empty());
    }
}
