//! One live tail: first what is stored, then what is pushed.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use foldhash::fast::RandomState;
use loki_core::{Direction, Entry, Labels, Timestamp};
use loki_logql::ast::{Expr, LogExpr};
use loki_logql::engine::RangeQuery;
use loki_logql::memory::MemoryQuerier;
use loki_logql::result::{QueryResult, Response, ResultEntry, StreamEntries};
use loki_store::{MAX_TAIL_DROPPED, Tail};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::TailRequest;
use crate::app::{App, Phase};
use crate::error::ApiError;
use crate::queries::{Question, TailSlot};
use crate::response::DroppedEntries;

/// How often entries are sent.
const POLL: Duration = Duration::from_millis(500);
/// How often clients are shown that the connection lives.
const PING: Duration = Duration::from_secs(1);
/// Entries in one message.
const MAX_MESSAGE_ENTRIES: usize = 100;
/// Bytes of entries that are held back, in total; what comes on top is dropped.
const MAX_HELD_BYTES: usize = 4 << 20;
/// What an entry that is held back counts besides its line and its metadata.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<(Labels, Entry)>();
/// How long a message may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A running tail.
pub(super) struct Session<'a> {
    app: &'a App,
    request: &'a TailRequest,
    log: &'a LogExpr,
    tail: Tail,
    /// Live entries whose time to be sent has not come.
    held: Vec<(Labels, Entry)>,
    dropped: Vec<(Timestamp, Labels)>,
    /// Hashes of the stored entries that were sent at first: they may have been live at the same time.
    sent: HashSet<u64>,
    hasher: RandomState,
    _slot: TailSlot,
}

/// Whether a tail goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl<'a> Session<'a> {
    /// Starts to watch.
    pub(super) fn begin(app: &'a App, request: &'a TailRequest) -> Result<Self, ApiError> {
        let Expr::Log(log) = &request.expr else {
            return Err(ApiError::bad_request("only log selector is supported"));
        };
        request.limits.check_selector(&log.matchers)?;
        let tenant = &request.tenants.ids()[0];
        let slot = app.queries().tails().enter(tenant, request.limits.max_tails());
        Ok(Self {
            app,
            request,
            log,
            tail: app.store().subscribe(tenant, log.matchers.clone()),
            held: Vec::new(),
            dropped: Vec::new(),
            sent: HashSet::new(),
            hasher: RandomState::default(),
            _slot: slot.map_err(|refusal| ApiError::bad_request(refusal.to_string()))?,
        })
    }

    /// Sends entries until the client goes, the server closes or time is over.
    pub(super) async fn run(mut self, socket: &mut WebSocket) -> Result<(), ApiError> {
        let stored = self.stored().await?;
        let hashes = |stream: &StreamEntries| {
            let hash = |entry: &ResultEntry| self.hash(&stream.labels, entry.timestamp, &entry.line);
            stream.entries.iter().map(hash).collect::<Vec<_>>()
        };
        self.sent = stored.iter().flat_map(hashes).collect();
        if self.send(socket, stored).await == Next::End {
            return Ok(());
        }
        let mut poll = ticks(POLL);
        let mut ping = ticks(PING);
        let mut end = pin!(pause(self.app.config().query.tail_max_duration));
        let mut phase = self.app.watch_phase();
        loop {
            let next = tokio::select! {
                message = socket.recv() => match message {
                    Some(Ok(Message::Close(_))) => {
                        answer_close(socket).await;
                        Next::End
                    }
                    Some(Err(_)) | None => Next::End,
                    Some(Ok(_)) => Next::GoOn,
                },
                _ = poll.tick() => self.flush(socket).await?,
                _ = ping.tick() => send(socket, Message::Ping(Bytes::new())).await,
                () = &mut end => return Err(ApiError::bad_request("reached tail max duration limit")),
                () = closing(&mut phase) => Next::End,
            };
            if next == Next::End {
                return Ok(());
            }
        }
    }

    /// The newest stored entries, oldest first.
    async fn stored(&self) -> Result<Vec<StreamEntries>, ApiError> {
        let Self { app, request, .. } = self;
        let end = app.queries().now().saturating_add_nanos(1);
        if end <= request.start {
            return Ok(Vec::new());
        }
        let query = RangeQuery {
            limit: u32::try_from(request.limit).unwrap_or(u32::MAX),
            direction: Direction::Backward,
            ..self.query(request.start, end)
        };
        let queries = app.queries();
        let question = Question::Range(query);
        let answer = queries.answer(app.store(), &request.tenants, &request.limits, question, |answer, _| answer);
        Ok(streams(answer.await?).into_iter().map(reversed).collect())
    }

    fn query(&self, start: Timestamp, end: Timestamp) -> RangeQuery {
        RangeQuery {
            expr: Expr::Log(self.log.clone()),
            start,
            end,
            step_nanos: end.0.saturating_sub(start.0).max(1),
            interval_nanos: 0,
            limit: u32::MAX,
            direction: Direction::Forward,
            categorize_labels: self.request.shape.categorize_labels(),
        }
    }

    /// Sends the entries that were pushed since the last time, as far as they were held back long enough.
    async fn flush(&mut self, socket: &mut WebSocket) -> Result<Next, ApiError> {
        let ready = self.take();
        let streams = self.evaluate(ready).await?;
        if streams.is_empty() && self.dropped.is_empty() {
            return Ok(Next::GoOn);
        }
        Ok(self.send(socket, streams).await)
    }

    /// Takes the live entries that may be sent now. Those that may not are kept as far as there is room.
    fn take(&mut self) -> Vec<(Labels, Entry)> {
        let batch = self.tail.take();
        self.dropped.extend(batch.dropped);
        let live = batch.streams.into_iter().flat_map(|live| {
            let labels = live.labels;
            live.entries.into_iter().map(move |entry| (labels.clone(), entry))
        });
        if self.request.delay.is_zero() {
            return live.collect();
        }
        let delay_nanos = i64::try_from(self.request.delay.as_nanos()).unwrap_or(i64::MAX);
        let newest = self.app.queries().now().saturating_sub_nanos(delay_nanos);
        let (ready, held): (Vec<_>, Vec<_>) =
            self.held.drain(..).chain(live).partition(|(_, entry)| entry.timestamp <= newest);
        self.held = held;
        drop_excess(&mut self.held, &mut self.dropped);
        ready
    }

    /// Sends live entries through the query's pipeline.
    async fn evaluate(&self, entries: Vec<(Labels, Entry)>) -> Result<Vec<StreamEntries>, ApiError> {
        let first = entries.iter().map(|(_, entry)| entry.timestamp).min();
        let last = entries.iter().map(|(_, entry)| entry.timestamp).max();
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Vec::new());
        };
        let mut live = MemoryQuerier::new();
        for (labels, entry) in entries {
            live.push(&labels, entry);
        }
        let query = self.query(first, last.saturating_add_nanos(1));
        let mut found = streams(self.app.queries().answer_live(live, query).await?);
        for stream in &mut found {
            let labels = stream.labels.clone();
            stream.entries.retain(|entry| !self.sent.contains(&self.hash(&labels, entry.timestamp, &entry.line)));
        }
        found.retain(|stream| !stream.entries.is_empty());
        Ok(found)
    }

    /// Sends entries, and which were dropped, in messages of bounded size.
    async fn send(&mut self, socket: &mut WebSocket, streams: Vec<StreamEntries>) -> Next {
        let mut dropped = std::mem::take(&mut self.dropped);
        for page in pages(streams) {
            if self.send_page(socket, &page, &dropped).await == Next::End {
                return Next::End;
            }
            dropped.clear();
        }
        if dropped.is_empty() { Next::GoOn } else { self.send_page(socket, &[], &dropped).await }
    }

    async fn send_page(&self, socket: &mut WebSocket, page: &[StreamEntries], dropped: &DroppedEntries) -> Next {
        let text = String::from_utf8(self.request.shape.write(page, dropped)).expect("JSON is text");
        self.app.metrics().tail_bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        send(socket, Message::Text(text.into())).await
    }

    fn hash(&self, labels: &Labels, timestamp: Timestamp, line: &[u8]) -> u64 {
        self.hasher.hash_one((labels, timestamp.0, line))
    }
}

/// Drops the entries for which there is no room.
fn drop_excess(held: &mut Vec<(Labels, Entry)>, dropped: &mut Vec<(Timestamp, Labels)>) {
    let mut bytes = 0;
    let mut fits = |(_, entry): &(Labels, Entry)| {
        bytes += entry.line.len() + entry.metadata.as_bytes().len() + ENTRY_OVERHEAD_BYTES;
        bytes <= MAX_HELD_BYTES
    };
    let kept = held.iter().position(|held| !fits(held)).unwrap_or(held.len());
    let room = MAX_TAIL_DROPPED.saturating_sub(dropped.len());
    dropped.extend(held.drain(kept..).map(|(labels, entry)| (entry.timestamp, labels)).take(room));
}

fn streams(answer: Response) -> Vec<StreamEntries> {
    match answer.result {
        QueryResult::Streams(streams) => streams,
        _ => Vec::new(),
    }
}

fn reversed(mut stream: StreamEntries) -> StreamEntries {
    stream.entries.reverse();
    stream
}

/// Divides streams into messages in which entries come in the order of time, as clients show them. Neighbours of one
/// stream share an object.
fn pages(streams: Vec<StreamEntries>) -> Vec<Vec<StreamEntries>> {
    let pairs = |StreamEntries { labels, entries }| entries.into_iter().map(move |entry| (labels.clone(), entry));
    let mut entries: Vec<(Labels, ResultEntry)> = streams.into_iter().flat_map(pairs).collect();
    // Stable, so that entries of one stream and time stay in the order in which they were pushed.
    entries.sort_by_key(|(_, entry)| entry.timestamp);
    let mut pages = Vec::new();
    let mut page: Vec<StreamEntries> = Vec::new();
    let mut room = MAX_MESSAGE_ENTRIES;
    for (labels, entry) in entries {
        if room == 0 {
            pages.push(std::mem::take(&mut page));
            room = MAX_MESSAGE_ENTRIES;
        }
        room -= 1;
        match page.last_mut() {
            Some(stream) if stream.labels == labels => stream.entries.push(entry),
            _ => page.push(StreamEntries { labels, entries: vec![entry] }),
        }
    }
    if !page.is_empty() {
        pages.push(page);
    }
    pages
}

/// Reads on after a client's goodbye, which sends the answer that it waits for.
async fn answer_close(socket: &mut WebSocket) {
    // The client may be gone already.
    let _ = timeout(SEND_TIMEOUT, socket.recv()).await;
}

async fn send(socket: &mut WebSocket, message: Message) -> Next {
    match timeout(SEND_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Next::GoOn,
        Ok(Err(_)) | Err(_) => Next::End,
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits so long; for ever if it is zero.
async fn pause(duration: Duration) {
    match duration {
        Duration::ZERO => std::future::pending().await,
        duration => sleep(duration).await,
    }
}

/// Waits until the server closes.
async fn closing(phase: &mut watch::Receiver<Phase>) {
    // Without a sender the server is gone, which is as good as closing.
    let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(app: &str, times: impl IntoIterator<Item = i64>) -> StreamEntries {
        let entry = |time| ResultEntry {
            timestamp: Timestamp(time),
            line: Bytes::new(),
            metadata: Labels::EMPTY,
            parsed: Labels::EMPTY,
        };
        let labels = Labels::from_pairs([("app", app)]).expect("one label");
        StreamEntries { labels, entries: times.into_iter().map(entry).collect() }
    }

    /// Times of the entries in each object of each message.
    fn times(streams: Vec<StreamEntries>) -> Vec<Vec<Vec<i64>>> {
        let of_stream = |stream: &StreamEntries| stream.entries.iter().map(|entry| entry.timestamp.0).collect();
        pages(streams).iter().map(|page| page.iter().map(of_stream).collect()).collect()
    }

    #[test]
    fn entries_are_held_up_to_the_bound_and_no_further() {
        let entry = |time, bytes| {
            let line = Bytes::from(vec![b'x'; bytes]);
            (stream("a", []).labels, Entry { timestamp: Timestamp(time), line, metadata: Labels::EMPTY })
        };
        let mut dropped = Vec::new();
        let mut held = vec![entry(1, MAX_HELD_BYTES - 2 * ENTRY_OVERHEAD_BYTES), entry(2, 0)];
        drop_excess(&mut held, &mut dropped);
        assert_eq!((held.len(), dropped.len()), (2, 0));
        held.extend([entry(3, 0), entry(4, 0)]);
        drop_excess(&mut held, &mut dropped);
        let times: Vec<_> = dropped.iter().map(|(time, _)| time.0).collect();
        assert_eq!((held.len(), times), (2, vec![3, 4]));
        held.extend((0..MAX_TAIL_DROPPED as i64 + 5).map(|time| entry(time, 0)));
        drop_excess(&mut held, &mut dropped);
        assert_eq!((held.len(), dropped.len()), (2, MAX_TAIL_DROPPED), "no more are remembered");
    }

    #[test]
    fn messages_are_of_bounded_size_and_keep_everything() {
        let sizes = |streams| {
            times(streams).iter().map(|page| page.iter().map(Vec::len).collect()).collect::<Vec<Vec<usize>>>()
        };
        assert_eq!(sizes(vec![stream("a", 0..100), stream("b", 100..101)]), [vec![100], vec![1]]);
        assert_eq!(sizes(vec![stream("a", 0..30), stream("b", 30..210)]), [vec![30, 70], vec![100], vec![10]]);
        assert!(sizes(vec![]).is_empty());
    }

    #[test]
    fn entries_of_all_streams_come_in_the_order_of_time() {
        let streams = vec![stream("a", [1, 2, 5]), stream("b", [3, 4]), stream("c", [2])];
        assert_eq!(times(streams), [[vec![1, 2], vec![2], vec![3, 4], vec![5]]]);
    }
}
