//! Visiting the places that hold entries, in order of time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt, TryStreamExt};
use loki_core::{Direction, TimeRange};
use loki_logql::querier::{Order, SelectRequest};
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument as _;

use super::ahead::Reach;
use super::group::{ChunkWork, Group, Work};
use super::open::{Opened, SegmentSource, Wanted, first_sequence, mark_zones, select_streams};
use super::prune::Needles;
use super::repeats;
use crate::counters::Counters;
use crate::error::Error;
use crate::view::{View, spare};

/// Chunks fetched together when the consumer may stop early: few at first, then more.
const FIRST_GROUP_CHUNKS: usize = 2;
/// Chunks fetched together at most.
const MAX_GROUP_CHUNKS: usize = 16;
/// Bytes at which a group is large enough.
const MAX_GROUP_BYTES: u64 = 2 << 20;

/// One pass over a view for one request.
pub(super) struct Scan {
    wanted: Arc<Wanted>,
    /// Segments not yet looked into, the next one last.
    segments: Vec<SegmentSource>,
    /// Segments that are being looked into, in the same order, and the positions of them.
    opening: FuturesOrdered<BoxFuture<'static, Result<Opened, Error>>>,
    opening_positions: VecDeque<i128>,
    /// How many may be looked into at the same time: now, and at most.
    opens_at_once: usize,
    max_opens_at_once: usize,
    /// Batches and chunks found and not yet delivered.
    found: BinaryHeap<Found>,
    group_chunks: usize,
    /// Breaks ties in `found`.
    next_rank: u64,
}

/// Something to deliver, ordered by the request's order of time.
#[derive(Debug)]
struct Found {
    /// Position in time: larger comes first.
    position: i128,
    rank: Reverse<u64>,
    work: Work,
}

impl Scan {
    /// Finds out which places hold streams that the request selects.
    pub(super) async fn begin(
        view: View,
        request: SelectRequest,
        reach: Reach,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let mut arrivals = 1_u64..;
        let lookups = view.each(request.range, |segment| {
            select_streams(segment.clone(), arrivals.next().unwrap_or(u64::MAX), &request)
        });
        let mut sources: Vec<SegmentSource> = lookups.try_filter_map(async |source| Ok(source)).try_collect().await?;
        let mut heads: Vec<_> = view
            .heads
            .into_iter()
            .filter(|head| head.range().overlaps(&request.range))
            .map(|head| head.select(&request.matchers))
            .filter(|head| !head.is_empty())
            .collect();
        mark_zones(&mut sources, &mut heads, &view.memory).await?;
        let of_head = |source: &SegmentSource| {
            let segment = source.segment.range();
            heads.iter().any(|head| head.range().overlaps(&segment))
        };
        let counts_will_do = request.hints.grid.is_some() || !request.hints.columns.text;
        if counts_will_do && !sources.iter().any(of_head) {
            repeats::narrow(&mut sources, request.range, &view.memory).await?;
        }

        let stops_early = matches!(request.order, Order::Time(_));
        let needles = Needles::new(&request.hints);
        let mut scan = Self {
            wanted: Arc::new(Wanted { request, needles, deletions: view.deletions, counters, memory: view.memory }),
            segments: Vec::new(),
            opening: FuturesOrdered::new(),
            opening_positions: VecDeque::new(),
            opens_at_once: if stops_early { 1 } else { reach.segments },
            max_opens_at_once: reach.segments,
            found: BinaryHeap::new(),
            group_chunks: if stops_early { FIRST_GROUP_CHUNKS } else { MAX_GROUP_CHUNKS },
            next_rank: 0,
        };
        sources.sort_by_key(|source| scan.position(source.segment.range()));
        let head_arrival = sources.iter().map(|s| s.arrival).max().unwrap_or(0) + 1;
        scan.segments = sources;
        for (head, arrival) in heads.into_iter().zip(head_arrival..) {
            for batch in head.batches(scan.wanted.request.range, first_sequence(arrival)) {
                let position = scan.position(batch.bounds);
                scan.push(position, Work::Rows(Box::new(batch)));
            }
        }
        Ok(scan)
    }

    /// The next pieces of work in order of time, and the rest of the scan.
    pub(super) async fn next_group(mut self) -> Result<Option<(Group, Self)>, Error> {
        let (mut work, mut bytes) = (Vec::new(), 0);
        while work.len() < self.group_chunks && bytes < MAX_GROUP_BYTES {
            // Whatever a closed segment holds comes no earlier than the segment itself.
            let closed = self.segments.last().map(|source| self.position(source.segment.range()));
            let next = self.opening_positions.front().copied().or(closed);
            match (self.found.peek(), next) {
                (found, Some(next)) if found.is_none_or(|found| found.position <= next) => self.open_next().await?,
                (Some(_), _) => {
                    let found = self.found.pop().expect("it was just looked at");
                    bytes += found.work.bytes();
                    work.push(found.work);
                }
                (None, _) => break,
            }
        }
        if work.is_empty() {
            return Ok(None);
        }
        self.group_chunks = (self.group_chunks * 2).min(MAX_GROUP_CHUNKS);
        self.opens_at_once = (self.opens_at_once * 2).min(self.max_opens_at_once);
        self.take_opened()?;
        let Wanted { request, deletions, counters, .. } = &*self.wanted;
        let (deletions, counters) = (deletions.clone(), Arc::clone(counters));
        let group = Group { work, range: request.range, deletions, counters };
        Ok(Some((group, self)))
    }

    /// Looks into the next segment, and begins to look into those behind it.
    async fn open_next(&mut self) -> Result<(), Error> {
        self.begin_opening()?;
        if let Some(opened) = self.opening.next().await {
            self.take(opened?);
        }
        Ok(())
    }

    /// Takes what segments that were being looked into have, as far as that is known.
    fn take_opened(&mut self) -> Result<(), Error> {
        while let Some(Some(opened)) = self.opening.next().now_or_never() {
            self.take(opened?);
        }
        Ok(())
    }

    /// Begins to open the next segment, and those behind it as far as there is memory.
    fn begin_opening(&mut self) -> Result<(), Error> {
        while self.opening.len() < self.opens_at_once
            && let Some(source) = self.segments.last()
        {
            let (budget, bytes) = (&self.wanted.memory, source.open_bytes());
            let memory = if self.opening.is_empty() {
                let mut memory = budget.reservation();
                memory.grow(bytes as usize)?;
                // No more than that, while there are many of them.
                memory.hold(bytes);
                memory
            } else if let Some(memory) = spare(budget, bytes, false) {
                memory
            } else {
                break;
            };
            self.opening_positions.push_back(self.position(source.segment.range()));
            let source = self.segments.pop().expect("it was just looked at");
            self.opening.push_back(steadily(Arc::clone(&self.wanted).open(source, memory)).boxed());
        }
        Ok(())
    }

    fn take(&mut self, opened: Opened) {
        self.opening_positions.pop_front();
        if let Some(counted) = opened.counts {
            self.push(self.position(counted.batch.bounds), Work::Counts(counted));
        }
        if let Some((source, chunks)) = opened.chunks {
            for number in chunks {
                let position = self.position(source.chunks.chunks[number as usize].bounds());
                self.push(position, Work::Fetch(ChunkWork { source: Arc::clone(&source), number }));
            }
        }
    }

    fn push(&mut self, position: i128, work: Work) {
        self.found.push(Found { position, rank: Reverse(self.next_rank), work });
        self.next_rank += 1;
    }

    /// Where a span comes in the request's order: larger comes first.
    fn position(&self, span: TimeRange) -> i128 {
        match self.wanted.request.order {
            Order::Time(Direction::Backward) => i128::from(span.end.0),
            Order::Time(Direction::Forward) | Order::Any => -i128::from(span.start.0),
        }
    }
}

/// Does work, also while nobody asks how it gets on: what it fetches of a segment others may be waiting for. It ends when
/// nobody wants it any more.
async fn steadily<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut work = work.boxed();
    // Mostly all is in memory, and nothing has to be waited for.
    if let Poll::Ready(outcome) = futures::poll!(&mut work) {
        return outcome;
    }
    let mut task = JoinSet::new();
    task.spawn(work.in_current_span());
    match task.join_next().await.expect("there is a task").map_err(JoinError::try_into_panic) {
        Ok(outcome) => outcome,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime shuts down, and nobody will see an outcome.
        Err(Err(_)) => std::future::pending().await,
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.position, self.rank).cmp(&(other.position, other.rank))
    }
}
