//! Live entries: what is pushed while somebody watches.
//!
//! Every [`Tail`] has a queue of its own. A push puts copies of the entries that a tail selects into it once they are
//! durable, and never waits: what finds no room is left out, counted, and remembered by time and stream. A push copies
//! no more than there is room for, and a line once however many tails select it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashbrown::HashMap;
use loki_core::{Entry, Labels, Matcher, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::push::{Staged, StagedStreamView};
use crate::tenant::TenantId;

/// Bytes of entries that wait in the queue of one tail. A single entry is taken whatever its size.
pub const MAX_TAIL_QUEUE_BYTES: usize = 4 << 20;
/// What an entry counts in a queue besides its line and its metadata.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<Entry>() + size_of::<LiveEntries>();
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

    /// Bytes for which there is room.
    fn room(&self) -> usize {
        MAX_TAIL_QUEUE_BYTES - self.queue.lock().bytes.min(MAX_TAIL_QUEUE_BYTES)
    }

    fn deliver(&self, delivery: Delivery) {
        let Delivery { live, bytes, dropped, dropped_count } = delivery;
        let mut queue = self.queue.lock();
        // Other pushes may have come first.
        if queue.bytes > 0 && queue.bytes + bytes > MAX_TAIL_QUEUE_BYTES {
            queue.leave_out(live.entries.len(), live.entries.iter().map(|entry| entry.timestamp), &live.labels);
            queue.leave_out(dropped_count, dropped.into_iter(), &live.labels);
        } else {
            queue.bytes += bytes;
            queue.leave_out(dropped_count, dropped.into_iter(), &live.labels);
            if !live.entries.is_empty() {
                queue.streams.push_back(live);
            }
        }
        drop(queue);
        self.arrived.notify_one();
    }
}

impl Queue {
    /// Remembers that entries found no room.
    fn leave_out(&mut self, count: usize, timestamps: impl Iterator<Item = Timestamp>, labels: &Labels) {
        self.dropped_count += count as u64;
        let room = MAX_TAIL_DROPPED - self.dropped.len();
        self.dropped.extend(timestamps.take(room).map(|timestamp| (timestamp, labels.clone())));
    }
}

/// Entries of one stream for one tail.
#[derive(Debug)]
struct Delivery {
    live: LiveEntries,
    /// What the entries take in the queue.
    bytes: usize,
    /// Times of entries for which there is no room, as many as can be remembered.
    dropped: Vec<Timestamp>,
    dropped_count: usize,
}

/// All tails of a store.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    by_tenant: RwLock<HashMap<TenantId, Vec<Weak<Watch>>>>,
    count: AtomicUsize,
}

/// Entries that wait until they are durable to be delivered.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(Vec<(Arc<Watch>, Delivery)>);

impl Deliveries {
    /// Puts the entries into the queues.
    pub(crate) fn deliver(self) {
        for (watch, delivery) in self.0 {
            watch.deliver(delivery);
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
        let with_room = |watch: Arc<Watch>| (watch.room(), watch);
        let mut watches: Vec<(usize, Arc<Watch>)> = match self.by_tenant.read().get(staged.tenant()) {
            Some(watches) => watches.iter().filter_map(Weak::upgrade).map(with_room).collect(),
            None => return Deliveries::default(),
        };
        let mut deliveries = Vec::new();
        for stream in staged.streams() {
            let mut copies = Copies { stream, copied: Vec::new() };
            for (room, watch) in watches.iter_mut().filter(|(_, watch)| watch.selects(stream.labels())) {
                deliveries.push((Arc::clone(watch), copies.deliver(room)));
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

/// Copies of the entries of a stream, made when they are first wanted.
struct Copies<'s> {
    stream: StagedStreamView<'s>,
    copied: Vec<Entry>,
}

impl Copies<'_> {
    /// As many entries as there is room for, which becomes less.
    fn deliver(&mut self, room: &mut usize) -> Delivery {
        let mut delivery = Delivery {
            live: LiveEntries { labels: self.stream.labels().clone(), entries: Vec::new() },
            bytes: 0,
            dropped: Vec::new(),
            dropped_count: 0,
        };
        for (i, staged) in self.stream.entries().enumerate() {
            let bytes = staged.line.len() + staged.metadata.len() + ENTRY_OVERHEAD_BYTES;
            // An entry that is larger than any queue passes through an empty one.
            let fits = bytes <= *room || *room == MAX_TAIL_QUEUE_BYTES;
            if !fits || delivery.dropped_count > 0 {
                delivery.dropped_count += 1;
                if delivery.dropped.len() < MAX_TAIL_DROPPED {
                    delivery.dropped.push(staged.timestamp);
                }
                continue;
            }
            if i == self.copied.len() {
                self.copied.push(Entry {
                    timestamp: staged.timestamp,
                    line: Bytes::copy_from_slice(staged.line),
                    metadata: Labels::from_bytes(Bytes::copy_from_slice(staged.metadata)).unwrap_or_default(),
                });
            }
            delivery.live.entries.push(self.copied[i].clone());
            delivery.bytes += bytes;
            *room = room.saturating_sub(bytes);
        }
        delivery
    }
}

#[cfg(test)]
mod tests;
