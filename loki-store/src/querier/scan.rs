//! Visiting the places that hold entries, in order of time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use loki_core::index::Index;
use loki_core::{Chunk, Direction, TimeRange};
use loki_logql::querier::{Columns, EntryBatch, Order, SelectRequest, StreamRun};
use roaring::RoaringBitmap;

use super::counts;
use super::hidden::Hidden;
use super::prune::{self, Needles};
use super::zones::{StreamSpan, Zones, zones};
use crate::cache::StreamLabels;
use crate::counters::Counters;
use crate::deletes::Deletions;
use crate::error::Error;
use crate::head::HeadSnapshot;
use crate::segment::reader::{LabelReader, TenantSegment};
use crate::segment::{ChunkEntry, ChunkTable, StreamTimes};
use crate::view::View;

/// Chunks fetched together when the consumer may stop early: few at first, then more.
const FIRST_GROUP_CHUNKS: usize = 2;
/// Chunks fetched together at most.
const MAX_GROUP_CHUNKS: usize = 16;

/// One pass over a view for one request.
#[derive(Debug)]
pub(super) struct Scan {
    request: SelectRequest,
    needles: Needles,
    deletions: Deletions,
    counters: Arc<Counters>,
    /// Segments not yet looked into, the next one last.
    segments: Vec<SegmentSource>,
    /// Batches and chunks found and not yet delivered.
    found: BinaryHeap<Found>,
    group_chunks: usize,
    /// Breaks ties in `found`.
    next_rank: u64,
}

/// A segment with streams that the request selects.
#[derive(Debug)]
struct SegmentSource {
    segment: TenantSegment,
    /// Place among the segments by arrival.
    arrival: u64,
    index: Arc<Index>,
    times: Arc<StreamTimes>,
    streams: RoaringBitmap,
    zones: Zones,
}

/// Something to deliver, ordered by the request's order of time.
#[derive(Debug)]
struct Found {
    /// Position in time: larger comes first.
    position: i128,
    rank: Reverse<u64>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// Counts from a rollup.
    Counts(Box<EntryBatch>),
    /// Entries of a head.
    Rows(Box<EntryBatch>),
    /// A chunk of a segment.
    Fetch(ChunkWork),
}

/// A chunk to fetch and turn into a batch.
#[derive(Clone, Debug)]
struct ChunkWork {
    source: Arc<OpenSegment>,
    /// Number in the chunk table.
    number: u32,
}

/// A segment while its chunks are visited.
#[derive(Debug)]
struct OpenSegment {
    source: SegmentSource,
    chunks: Arc<ChunkTable>,
    /// When set, only these spans of these streams are wanted: the rest was counted.
    only: Option<BTreeMap<u32, Vec<TimeRange>>>,
    hidden: Hidden,
}

/// Work whose bytes are fetched together.
#[derive(Debug)]
pub(super) struct Group {
    work: Vec<Work>,
    range: TimeRange,
    deletions: Deletions,
    counters: Arc<Counters>,
}

impl Scan {
    /// Finds out which places hold streams that the request selects.
    pub(super) async fn begin(view: View, request: SelectRequest, counters: Arc<Counters>) -> Result<Self, Error> {
        let mut sources = Vec::new();
        for (segment, arrival) in view.segments.into_iter().zip(1_u64..) {
            if !segment.range().overlaps(&request.range) {
                continue;
            }
            if let Some(source) = select_streams(segment, arrival, &request).await? {
                sources.push(source);
            }
        }
        let mut heads: Vec<_> = view
            .heads
            .into_iter()
            .filter(|head| head.range().overlaps(&request.range))
            .map(|head| head.select(&request.matchers))
            .filter(|head| !head.is_empty())
            .collect();
        mark_zones(&mut sources, &mut heads)?;

        let needles = Needles::new(&request.hints);
        let group_chunks = match request.order {
            Order::Any => MAX_GROUP_CHUNKS,
            Order::Time(_) => FIRST_GROUP_CHUNKS,
        };
        let mut scan = Self {
            needles,
            deletions: view.deletions,
            counters,
            segments: Vec::new(),
            found: BinaryHeap::new(),
            group_chunks,
            next_rank: 0,
            request,
        };
        sources.sort_by_key(|source| scan.position(source.segment.range()));
        let head_arrival = sources.iter().map(|s| s.arrival).max().unwrap_or(0) + 1;
        scan.segments = sources;
        for (head, arrival) in heads.into_iter().zip(head_arrival..) {
            for batch in head.batches(scan.request.range, first_sequence(arrival)) {
                let position = scan.position(batch.bounds);
                scan.push(position, Work::Rows(Box::new(batch)));
            }
        }
        Ok(scan)
    }

    /// The next pieces of work in order of time, and the rest of the scan.
    pub(super) async fn next_group(mut self) -> Result<Option<(Group, Self)>, Error> {
        let mut work = Vec::new();
        while work.len() < self.group_chunks {
            // Whatever a closed segment holds comes no earlier than the segment itself.
            let next = self.segments.last().map(|s| self.position(s.segment.range()));
            match (self.found.peek(), next) {
                (found, Some(next)) if found.is_none_or(|found| found.position <= next) => {
                    let source = self.segments.pop().expect("it was just looked at");
                    self.open(source).await?;
                }
                (Some(_), _) => work.extend(self.found.pop().map(|found| found.work)),
                (None, _) => break,
            }
        }
        if work.is_empty() {
            return Ok(None);
        }
        self.group_chunks = (self.group_chunks * 2).min(MAX_GROUP_CHUNKS);
        let (deletions, counters) = (self.deletions.clone(), Arc::clone(&self.counters));
        let group = Group { work, range: self.request.range, deletions, counters };
        Ok(Some((group, self)))
    }

    /// Finds the chunks of a segment that matter, or answers from its rollup.
    async fn open(&mut self, mut source: SegmentSource) -> Result<(), Error> {
        let chunks = source.segment.chunks().await?;
        let SegmentSource { segment, times, streams, .. } = &mut source;
        let range = self.request.range;
        let hidden = Hidden::find(&self.deletions, segment, times, &chunks, range, streams).await?;
        if streams.is_empty() {
            return Ok(());
        }
        let only = match self.count(&mut source, &hidden).await? {
            Some(open) if open.is_empty() => return Ok(()),
            only => only,
        };
        let wanted = prune::candidates(&source.segment, range, &self.needles, &source.streams, &chunks).await?;
        let skipped = chunks.chunks.len() as u64 - wanted.len();
        self.counters.chunks_skipped.add(skipped);
        let open = Arc::new(OpenSegment { source, chunks, only, hidden });
        for number in wanted {
            let chunk = &open.chunks.chunks[number as usize];
            if !open.wants(chunk.first_stream, chunk.last_stream, chunk.bounds()) {
                continue;
            }
            let position = self.position(chunk.bounds());
            let source = Arc::clone(&open);
            self.push(position, Work::Fetch(ChunkWork { source, number }));
        }
        Ok(())
    }

    /// If counts are enough for the request, takes them from the rollup and returns what it leaves open.
    async fn count(
        &mut self,
        source: &mut SegmentSource,
        hidden: &Hidden,
    ) -> Result<Option<BTreeMap<u32, Vec<TimeRange>>>, Error> {
        let Some(grid) = self.request.hints.grid.clone().filter(counts::refines) else {
            return Ok(None);
        };
        let mut collapsed = RoaringBitmap::new();
        let mut labels = BTreeMap::new();
        let mut reader = LabelReader::new(&source.segment, &source.index);
        for stream in &source.streams {
            let found = reader.get(stream)?;
            if counts::collapsible(&grid, &found.labels, source.segment.entry()) {
                collapsed.insert(stream);
                labels.insert(stream, found.clone());
            }
        }
        let range = self.request.range;
        let SegmentSource { segment, times, zones, .. } = &*source;
        let mut rest = collapsed.clone();
        let mut totals = Vec::new();
        if counts::is_one_cell(&grid, range, segment.range())
            && let Some(of_all) = segment.totals(collapsed.len()).await?
        {
            totals = counts::count_totals(&of_all, &mut rest, times, zones, hidden);
        }
        let mut answer = counts::RollupAnswer::default();
        if !rest.is_empty() {
            let rollup = segment.rollup().await?;
            answer = counts::count(&rollup, &rest, times, zones, hidden, range, &grid)
                .map_err(|damage| segment.damaged(damage))?;
        }
        answer.counts.append(&mut totals);
        answer.counts.sort_unstable_by_key(|(stream, _)| *stream);
        let mut runs = Vec::with_capacity(answer.counts.len());
        let mut counted = Vec::new();
        for (stream, counts) in answer.counts {
            let Some(StreamLabels { labels, hash }) = labels.remove(&stream) else {
                continue;
            };
            let first = counted.len() as u32;
            counted.extend(counts);
            runs.push(StreamRun { labels, hash, rows: first..counted.len() as u32 });
        }
        if !counted.is_empty() {
            let bounds = source.segment.range();
            let batch = EntryBatch {
                sequence: first_sequence(source.arrival),
                bounds,
                runs,
                columns: Columns::Counts(counted),
                repeats: Arc::new([]),
            };
            let position = self.position(bounds);
            self.push(position, Work::Counts(Box::new(batch)));
        }
        // Streams that cannot be collapsed are wanted whole.
        let mut open = answer.open;
        for stream in &source.streams - &collapsed {
            open.insert(stream, vec![range]);
        }
        source.streams = open.keys().copied().collect();
        Ok(Some(open))
    }

    fn push(&mut self, position: i128, work: Work) {
        self.found.push(Found { position, rank: Reverse(self.next_rank), work });
        self.next_rank += 1;
    }

    /// Where a span comes in the request's order: larger comes first.
    fn position(&self, span: TimeRange) -> i128 {
        match self.request.order {
            Order::Time(Direction::Backward) => i128::from(span.end.0),
            Order::Time(Direction::Forward) | Order::Any => -i128::from(span.start.0),
        }
    }
}

/// Batches of the place that arrived as number `arrival` have sequences from here, one per chunk or slab.
fn first_sequence(arrival: u64) -> u64 {
    arrival << 32
}

async fn select_streams(
    segment: TenantSegment,
    arrival: u64,
    request: &SelectRequest,
) -> Result<Option<SegmentSource>, Error> {
    let index = segment.index().await?;
    let times = segment.times().await?;
    let selected = index.select(&request.matchers).map_err(|damage| segment.damaged(damage))?;
    let streams = prune::in_range(selected, &times, segment.range(), request.range);
    Ok((!streams.is_empty()).then_some(SegmentSource {
        segment,
        arrival,
        index,
        times,
        streams,
        zones: Zones::default(),
    }))
}

/// Fills in the zones of places that overlap another place in time.
fn mark_zones(sources: &mut [SegmentSource], heads: &mut [HeadSnapshot]) -> Result<(), Error> {
    let ranges: Vec<TimeRange> =
        sources.iter().map(|source| source.segment.range()).chain(heads.iter().map(HeadSnapshot::range)).collect();
    let overlaps = |place: usize| {
        let others = ranges.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != place);
        others.any(|(_, range)| range.overlaps(&ranges[place]))
    };
    let mut places = Vec::with_capacity(ranges.len());
    for (place, source) in sources.iter().enumerate() {
        places.push(if overlaps(place) { source.spans()? } else { Vec::new() });
    }
    for (head, place) in heads.iter().zip(sources.len()..) {
        let spans =
            head.streams().map(|stream| StreamSpan { hash: stream.hash, stream: stream.number, range: stream.range });
        places.push(if overlaps(place) { spans.collect() } else { Vec::new() });
    }
    let mut zones = zones(&places);
    for (head, zones) in heads.iter_mut().zip(zones.split_off(sources.len())) {
        head.mark_repeats(|stream| zones.of(stream));
    }
    for (source, zones) in sources.iter_mut().zip(zones) {
        source.zones = zones;
    }
    Ok(())
}

impl SegmentSource {
    fn spans(&self) -> Result<Vec<StreamSpan>, Error> {
        let mut labels = LabelReader::new(&self.segment, &self.index);
        let spans = self.streams.iter().map(|stream| {
            let hash = labels.get(stream)?.hash;
            Ok(StreamSpan { hash, stream, range: self.times.range(stream) })
        });
        spans.collect()
    }
}

impl OpenSegment {
    /// Whether entries of these streams inside `bounds` are still wanted.
    fn wants(&self, first_stream: u32, last_stream: u32, bounds: TimeRange) -> bool {
        self.only.as_ref().is_none_or(|only| {
            let mut spans = only.range(first_stream..=last_stream).flat_map(|(_, spans)| spans);
            spans.any(|span| span.overlaps(&bounds))
        })
    }
}

impl Group {
    /// Fetches the bytes of all chunks and makes batches, in order.
    pub(super) async fn read(self) -> Result<Vec<EntryBatch>, Error> {
        let mut fetched: Vec<Option<Result<Chunk, loki_core::Error>>> = self.work.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..self.work.len()).collect();
        while let Some(&first) = pending.first() {
            let Work::Fetch(chunk) = &self.work[first] else {
                pending.remove(0);
                continue;
            };
            let segment = &chunk.source.source.segment.segment;
            let (same, others): (Vec<usize>, Vec<usize>) = pending
                .iter()
                .partition(|&&i| matches!(&self.work[i], Work::Fetch(c) if Arc::ptr_eq(&c.source, &chunk.source)));
            let spans: Vec<_> = same.iter().map(|&i| self.work[i].span()).collect();
            for ((i, span), bytes) in same.into_iter().zip(&spans).zip(segment.read_kept(&spans).await?) {
                let mut chunk = Chunk::open(bytes).and_then(Chunk::verified);
                if chunk.is_err()
                    && let Some(bytes) = segment.read_again(span).await?
                {
                    chunk = Chunk::open(bytes).and_then(Chunk::verified);
                }
                fetched[i] = Some(chunk);
            }
            pending = others;
        }
        if !self.work.iter().any(|work| work.may_need(&self.deletions)) {
            return Ok(self.assemble(fetched));
        }
        // Lines may have to be looked at to know what is hidden.
        let assembled = tokio::task::spawn_blocking(move || self.assemble(fetched)).await;
        Ok(assembled.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }

    /// Makes batches without what is hidden, given the chunks.
    fn assemble(self, fetched: Vec<Option<Result<Chunk, loki_core::Error>>>) -> Vec<EntryBatch> {
        let Self { work, range, deletions, counters } = self;
        let mut batches = Vec::with_capacity(work.len());
        for (work, chunk_read) in work.into_iter().zip(fetched) {
            let needed = work.may_need(&deletions);
            let subtract = |batch| if needed { deletions.subtract(batch) } else { Ok(Some(batch)) };
            match (work, chunk_read) {
                (Work::Counts(batch), _) => batches.push(*batch),
                (Work::Rows(batch), _) => {
                    batches.extend(subtract(*batch).expect("what is in memory needs no decoding"));
                }
                (Work::Fetch(chunk), Some(found)) => {
                    let damaged = |damage| chunk.source.source.segment.damaged(damage);
                    let batch = found.map_err(damaged).and_then(|found| chunk.batch(found, range));
                    let batch = batch.and_then(|batch| match batch {
                        Some(batch) => subtract(batch).map_err(damaged),
                        None => Ok(None),
                    });
                    match batch {
                        Ok(batch) => batches.extend(batch),
                        Err(damage) => chunk.report(&damage, &counters),
                    }
                }
                (Work::Fetch(_), None) => unreachable!("every chunk was fetched"),
            }
        }
        batches
    }
}

impl Work {
    /// Whether requests to delete entries may hide some of its rows.
    fn may_need(&self, deletions: &Deletions) -> bool {
        match self {
            Self::Counts(_) => false,
            Self::Rows(batch) => deletions.may_hide(batch.bounds),
            Self::Fetch(chunk) => chunk.source.hidden.touches(chunk.entry()),
        }
    }

    fn span(&self) -> std::ops::Range<u64> {
        match self {
            Self::Counts(_) | Self::Rows(_) => 0..0,
            Self::Fetch(chunk) => chunk.entry().span.clone(),
        }
    }
}

impl ChunkWork {
    /// The chunk's place in the chunk table.
    fn entry(&self) -> &ChunkEntry {
        &self.source.chunks.chunks[self.number as usize]
    }

    /// The chunk as a batch; `None` if it holds nothing that is wanted.
    fn batch(&self, chunk: Chunk, range: TimeRange) -> Result<Option<EntryBatch>, Error> {
        let damaged = |damage| self.source.source.segment.damaged(damage);
        let OpenSegment { source, only, .. } = &*self.source;
        let entry = self.entry();
        let mut labels = LabelReader::new(&source.segment, &source.index);
        let mut runs = Vec::new();
        let mut first_row = 0;
        let mut timestamps = None;
        for run in chunk.runs().map_err(damaged)? {
            let rows = first_row..first_row + run.rows;
            first_row = rows.end;
            if !source.streams.contains(run.stream) {
                continue;
            }
            let StreamLabels { labels, hash } = labels.get(run.stream)?.clone();
            let Some(only) = only else {
                runs.push(StreamRun { labels, hash, rows });
                continue;
            };
            let times = match &mut timestamps {
                Some(times) => times,
                none => none.insert(chunk.timestamps().map_err(damaged)?),
            };
            let times = &times[rows.start as usize..rows.end as usize];
            for span in only.get(&run.stream).into_iter().flatten() {
                let from = times.partition_point(|&t| t < span.start.0) as u32;
                let to = times.partition_point(|&t| t < span.end.0) as u32;
                if from < to {
                    runs.push(StreamRun { labels: labels.clone(), hash, rows: rows.start + from..rows.start + to });
                }
            }
        }
        let bounds = entry.bounds();
        let repeats = source.zones.within(entry.first_stream, entry.last_stream, bounds.intersect(&range));
        Ok((!runs.is_empty()).then(|| EntryBatch {
            sequence: first_sequence(source.arrival) + u64::from(self.number),
            bounds,
            runs,
            columns: Columns::Chunk(chunk),
            repeats: repeats.into(),
        }))
    }

    /// A damaged chunk is left out of the answer, loudly, so that the rest can be served.
    fn report(&self, damage: &Error, counters: &Counters) {
        counters.chunks_corrupt.add(1);
        tracing::error!(
            segment = %self.source.source.segment.segment.path,
            chunk = self.number,
            error = %damage,
            cause = std::error::Error::source(damage).map(tracing::field::display),
            "left a damaged chunk out of a query; its entries are missing from the answer"
        );
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
