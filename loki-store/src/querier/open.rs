//! Opening the segments that a query reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use loki_core::TimeRange;
use loki_core::index::Index;
use loki_logql::budget::{Budget, Reservation};
use loki_logql::querier::{Columns, EntryBatch, SelectRequest, StreamRun};
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
use crate::segment::layout::SectionKind;
use crate::segment::reader::{LabelReader, TenantSegment};
use crate::segment::{ChunkTable, StreamTimes};

/// What a scan wants of every segment.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) request: SelectRequest,
    pub(super) needles: Needles,
    pub(super) deletions: Deletions,
    pub(super) counters: Arc<Counters>,
    /// Whose memory open segments and counts take.
    pub(super) memory: Budget,
}

/// A segment with streams that the request selects.
#[derive(Debug)]
pub(super) struct SegmentSource {
    pub(super) segment: TenantSegment,
    /// Place among the segments by arrival.
    pub(super) arrival: u64,
    pub(super) streams: RoaringBitmap,
    pub(super) zones: Zones,
}

/// A segment while its chunks are visited.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) source: SegmentSource,
    pub(super) index: Arc<Index>,
    pub(super) chunks: Arc<ChunkTable>,
    /// When set, only these spans of these streams are wanted: the rest was counted.
    pub(super) only: Option<BTreeMap<u32, Vec<TimeRange>>>,
    pub(super) hidden: Hidden,
    /// For the index.
    _memory: Reservation,
}

/// Counts of a segment's streams, and the memory that they take until somebody makes something of them.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) batch: Box<EntryBatch>,
    memory: Reservation,
}

impl Counted {
    /// Bytes of memory that they take.
    pub(super) const fn held_bytes(&self) -> u64 {
        self.memory.used_bytes()
    }
}

/// What counting a stream takes besides its labels.
const COUNTED_BYTES: usize = 192;

/// What a segment has for a query.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Counts that stand for entries.
    pub(super) counts: Option<Counted>,
    /// Numbers of chunks that have to be looked at, and their segment.
    pub(super) chunks: Option<(Arc<OpenSegment>, Vec<u32>)>,
}

impl Wanted {
    /// Finds the chunks of a segment that matter, or answers from its rollup.
    ///
    /// `memory` is for what it holds while chunks are visited.
    pub(super) async fn open(self: Arc<Self>, mut source: SegmentSource, memory: Reservation) -> Result<Opened, Error> {
        let (chunks, index) = (source.segment.chunks().await?, source.segment.index().await?);
        let times = source.segment.times().await?;
        let SegmentSource { segment, streams, .. } = &mut source;
        let range = self.request.range;
        let hidden = Hidden::find(&self.deletions, segment, &times, &chunks, range, streams).await?;
        if streams.is_empty() {
            return Ok(Opened::default());
        }
        let (counts, only) = match self.count(&mut source, &index, &times, &hidden).await? {
            Some((counts, open)) if open.is_empty() => return Ok(Opened { counts, chunks: None }),
            Some((counts, open)) => (counts, Some(open)),
            None => (None, None),
        };
        let wanted = prune::candidates(&source.segment, &index, range, &self.needles, &source.streams, &chunks).await?;
        let skipped = chunks.chunks.len() as u64 - wanted.len();
        self.counters.chunks_skipped.add(skipped);
        let open = OpenSegment { source, index, chunks, only, hidden, _memory: memory };
        let is_wanted = |number: &u32| {
            let chunk = &open.chunks.chunks[*number as usize];
            open.wants(chunk.first_stream, chunk.last_stream, chunk.bounds())
        };
        let wanted: Vec<u32> = wanted.into_iter().filter(is_wanted).collect();
        Ok(Opened { counts, chunks: Some((Arc::new(open), wanted)) })
    }

    /// If counts are enough for the request, takes them from the rollup, and says what they leave open.
    async fn count(
        &self,
        source: &mut SegmentSource,
        index: &Index,
        times: &StreamTimes,
        hidden: &Hidden,
    ) -> Result<Option<(Option<Counted>, BTreeMap<u32, Vec<TimeRange>>)>, Error> {
        let Some(grid) = self.request.hints.grid.clone().filter(counts::refines) else {
            return Ok(None);
        };
        let mut memory = self.memory.reservation();
        let mut collapsed = RoaringBitmap::new();
        let mut labels = BTreeMap::new();
        let mut reader = LabelReader::new(&source.segment, index);
        for stream in &source.streams {
            let found = reader.get(stream)?;
            if counts::collapsible(&grid, &found.labels, source.segment.entry()) {
                memory.grow(found.labels.size_bytes() + COUNTED_BYTES)?;
                collapsed.insert(stream);
                labels.insert(stream, found.clone());
            }
        }
        let range = self.request.range;
        let SegmentSource { segment, zones, .. } = &*source;
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
        let batch = (!counted.is_empty()).then(|| EntryBatch {
            sequence: first_sequence(source.arrival),
            bounds: source.segment.range(),
            runs,
            columns: Columns::Counts(counted),
            repeats: Arc::new([]),
        });
        // Streams that cannot be collapsed are wanted whole.
        let mut open = answer.open;
        for stream in &source.streams - &collapsed {
            open.insert(stream, vec![range]);
        }
        source.streams = open.keys().copied().collect();
        let counted = batch.map(|batch| Counted { batch: Box::new(batch), memory });
        Ok(Some((counted, open)))
    }
}

/// Batches of the place that arrived as number `arrival` have sequences from here, one per chunk or slab.
pub(super) fn first_sequence(arrival: u64) -> u64 {
    arrival << 32
}

/// A segment if it has streams that the request selects.
pub(super) async fn select_streams(
    segment: TenantSegment,
    arrival: u64,
    request: &SelectRequest,
) -> Result<Option<SegmentSource>, Error> {
    let (index, times) = (segment.index().await?, segment.times().await?);
    let selected = index.select(&request.matchers).map_err(|damage| segment.damaged(damage))?;
    let streams = prune::in_range(selected, &times, segment.range(), request.range);
    Ok((!streams.is_empty()).then_some(SegmentSource { segment, arrival, streams, zones: Zones::default() }))
}

/// Fills in the zones of places that overlap another place in time.
pub(super) async fn mark_zones(
    sources: &mut [SegmentSource],
    heads: &mut [HeadSnapshot],
    memory: &Budget,
) -> Result<(), Error> {
    let mut memory = memory.reservation();
    let ranges: Vec<TimeRange> =
        sources.iter().map(|source| source.segment.range()).chain(heads.iter().map(HeadSnapshot::range)).collect();
    let overlaps = |place: usize| {
        let others = ranges.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != place);
        others.any(|(_, range)| range.overlaps(&ranges[place]))
    };
    let mut places = Vec::with_capacity(ranges.len());
    for (place, source) in sources.iter().enumerate() {
        if !overlaps(place) {
            places.push(Vec::new());
            continue;
        }
        memory.grow(source.streams.len() as usize * size_of::<StreamSpan>())?;
        places.push(source.spans().await?);
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
    /// What is held of it while it is open.
    pub(super) fn open_bytes(&self) -> u64 {
        self.segment.stored_bytes(&[SectionKind::Index, SectionKind::Times])
    }

    async fn spans(&self) -> Result<Vec<StreamSpan>, Error> {
        let (index, times) = (self.segment.index().await?, self.segment.times().await?);
        let mut labels = LabelReader::new(&self.segment, &index);
        let spans = self.streams.iter().map(|stream| {
            let hash = labels.get(stream)?.hash;
            Ok(StreamSpan { hash, stream, range: times.range(stream) })
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
