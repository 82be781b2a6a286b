//! Fetching chunks together and turning them into batches.

use std::sync::Arc;

use futures::future::try_join_all;
use loki_core::{Chunk, TimeRange};
use loki_logql::querier::{Columns, EntryBatch, StreamRun};

use super::open::{Counted, OpenSegment, first_sequence};
use crate::cache::StreamLabels;
use crate::counters::Counters;
use crate::deletes::Deletions;
use crate::error::Error;
use crate::segment::ChunkEntry;
use crate::segment::reader::LabelReader;
use crate::store::blocking;

/// Work whose bytes are fetched together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) work: Vec<Work>,
    pub(super) range: TimeRange,
    pub(super) deletions: Deletions,
    pub(super) counters: Arc<Counters>,
}

#[derive(Debug)]
pub(super) enum Work {
    /// Counts from a rollup.
    Counts(Counted),
    /// Entries of a head.
    Rows(Box<EntryBatch>),
    /// A chunk of a segment.
    Fetch(ChunkWork),
}

/// A chunk to fetch and turn into a batch.
#[derive(Clone, Debug)]
pub(super) struct ChunkWork {
    pub(super) source: Arc<OpenSegment>,
    /// Number in the chunk table.
    pub(super) number: u32,
}

/// What was read of a piece of work, if it is a chunk.
type Read = Option<Result<Chunk, loki_core::Error>>;

impl Group {
    /// Bytes that have to be fetched, or are there and wait to be taken.
    pub(super) fn bytes(&self) -> u64 {
        self.work.iter().map(Work::bytes).sum()
    }

    /// Fetches the bytes of all chunks and makes batches, in order.
    pub(super) async fn read(self) -> Result<Vec<EntryBatch>, Error> {
        let mut of_segments: Vec<Vec<usize>> = Vec::new();
        for (place, work) in self.work.iter().enumerate() {
            let Work::Fetch(chunk) = work else {
                continue;
            };
            let is_of = |places: &&mut Vec<usize>| match &self.work[places[0]] {
                Work::Fetch(other) => Arc::ptr_eq(&other.source, &chunk.source),
                Work::Counts(_) | Work::Rows(_) => false,
            };
            match of_segments.iter_mut().find(is_of) {
                Some(places) => places.push(place),
                None => of_segments.push(vec![place]),
            }
        }
        let mut fetched: Vec<Read> = self.work.iter().map(|_| None).collect();
        let reads = of_segments.iter().map(|places| self.read_chunks(places));
        for (places, chunks) in of_segments.iter().zip(try_join_all(reads).await?) {
            for (&place, chunk) in places.iter().zip(chunks) {
                fetched[place] = Some(chunk);
            }
        }
        if !self.work.iter().any(|work| work.may_need(&self.deletions)) {
            return Ok(self.assemble(fetched));
        }
        // Lines may have to be looked at to know what is hidden.
        Ok(blocking(move || self.assemble(fetched)).await)
    }

    /// Reads chunks of one segment.
    async fn read_chunks(&self, places: &[usize]) -> Result<Vec<Result<Chunk, loki_core::Error>>, Error> {
        let chunks = places.iter().filter_map(|&place| match &self.work[place] {
            Work::Fetch(chunk) => Some(chunk),
            Work::Counts(_) | Work::Rows(_) => None,
        });
        let Some(segment) = chunks.clone().next().map(|chunk| &chunk.source.source.segment.segment) else {
            return Ok(Vec::new());
        };
        segment.read_chunks(chunks.map(ChunkWork::entry)).await
    }

    /// Makes batches without what is hidden, given the chunks.
    fn assemble(self, fetched: Vec<Read>) -> Vec<EntryBatch> {
        let Self { work, range, deletions, counters } = self;
        let mut batches = Vec::with_capacity(work.len());
        for (work, chunk_read) in work.into_iter().zip(fetched) {
            let needed = work.may_need(&deletions);
            let subtract = |batch| if needed { deletions.subtract(batch) } else { Ok(Some(batch)) };
            match (work, chunk_read) {
                (Work::Counts(counted), _) => batches.push(*counted.batch),
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

    /// Bytes that have to be fetched, or are there and wait to be taken.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Counts(counted) => counted.held_bytes(),
            Self::Rows(_) => 0,
            Self::Fetch(chunk) => chunk.entry().span.end - chunk.entry().span.start,
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
        let OpenSegment { source, index, only, .. } = &*self.source;
        let entry = self.entry();
        let mut labels = LabelReader::new(&source.segment, index);
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
                let inside = span.indexes_in(times);
                if !inside.is_empty() {
                    let rows = rows.start + inside.start as u32..rows.start + inside.end as u32;
                    runs.push(StreamRun { labels: labels.clone(), hash, rows });
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
