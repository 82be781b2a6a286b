//! Which entries have the time of an entry elsewhere.
//!
//! Where a stream has entries in two segments at overlapping times, one may be stored twice, and only their lines tell.
//! Equal entries have equal times, though, and times take a fraction of what lines take. So a request for counts
//! looks at the times first; mostly no two are equal, and nothing has to be told apart.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use loki_core::{TimeRange, Timestamp};
use loki_logql::budget::Budget;

use super::open::SegmentSource;
use super::zones::Zones;
use crate::error::Error;
use crate::segment::ChunkEntry;
use crate::segment::reader::LabelReader;
use crate::view::{SEGMENTS_AT_ONCE, spare};

/// Rows of the chunks that are looked at for one request; where there are more, zones stay as they are.
const MAX_ROWS: u64 = 1 << 20;
/// Chunks of a segment that are fetched together.
const CHUNKS_AT_ONCE: usize = 8;

/// An entry in a zone: its time, and number of place and stream.
type Moment = (i64, usize, u32);

/// Narrows the zones of segments to times that a stream has in several of them inside `range`.
///
/// Where there is no memory for it, they stay as they are.
pub(super) async fn narrow(sources: &mut [SegmentSource], range: TimeRange, memory: &Budget) -> Result<(), Error> {
    let tables: Vec<_> = sources.iter().map(|source| in_zones(source, range).boxed()).collect();
    let chunks: Vec<_> = stream::iter(tables).buffered(SEGMENTS_AT_ONCE).try_collect().await?;
    let rows: u64 = chunks.iter().flatten().map(|chunk| u64::from(chunk.rows)).sum();
    if rows == 0 || rows > MAX_ROWS {
        return Ok(());
    }
    let fetched = |chunks: &Vec<ChunkEntry>| -> u64 {
        let groups = chunks.chunks(CHUNKS_AT_ONCE);
        groups.map(|group| group.iter().map(|chunk| chunk.span.end - chunk.span.start).sum()).max().unwrap_or(0)
    };
    // They are gathered by place, and then by stream.
    let moments = 2 * rows * size_of::<Moment>() as u64;
    let Some(_memory) = spare(memory, moments + chunks.iter().map(fetched).sum::<u64>(), false) else {
        return Ok(());
    };
    let mut reads = Vec::with_capacity(sources.len());
    for (place, (source, chunks)) in sources.iter().zip(&chunks).enumerate() {
        reads.push(read(source, chunks, place, range).boxed());
    }
    let read: Vec<_> = stream::iter(reads).buffered(SEGMENTS_AT_ONCE).try_collect().await?;
    let mut by_hash: HashMap<u64, Vec<Moment>> = HashMap::new();
    for of_place in read {
        // What is damaged is reported by whoever comes to need it.
        let Some(of_place) = of_place else { return Ok(()) };
        for (hash, mut moments) in of_place {
            by_hash.entry(hash).or_default().append(&mut moments);
        }
    }
    let mut narrowed = vec![BTreeMap::new(); sources.len()];
    for mut moments in by_hash.into_values() {
        moments.sort_unstable();
        for same_time in moments.chunk_by(|a, b| a.0 == b.0) {
            if same_time.first().map(|first| first.1) != same_time.last().map(|last| last.1) {
                for &(at, place, stream) in same_time {
                    let spans: &mut Vec<TimeRange> = narrowed[place].entry(stream).or_default();
                    spans.push(TimeRange::new(Timestamp(at), Timestamp(at).saturating_add_nanos(1)));
                }
            }
        }
    }
    for (source, by_stream) in sources.iter_mut().zip(narrowed) {
        source.zones = Zones::new(by_stream);
    }
    Ok(())
}

/// The chunks with entries in zones.
async fn in_zones(source: &SegmentSource, range: TimeRange) -> Result<Vec<ChunkEntry>, Error> {
    if source.zones.is_empty() {
        return Ok(Vec::new());
    }
    let table = source.segment.chunks().await?;
    let in_zone = |chunk: &&ChunkEntry| {
        let bounds = chunk.bounds().intersect(&range);
        !source.zones.within(chunk.first_stream, chunk.last_stream, bounds).is_empty()
    };
    Ok(table.chunks.iter().filter(in_zone).cloned().collect())
}

/// The times of entries in zones, by the hash of their streams; `None` if a chunk is damaged.
async fn read(
    source: &SegmentSource,
    chunks: &[ChunkEntry],
    place: usize,
    range: TimeRange,
) -> Result<Option<HashMap<u64, Vec<Moment>>>, Error> {
    let index = source.segment.index().await?;
    let mut labels = LabelReader::new(&source.segment, &index);
    let mut found: HashMap<u64, Vec<Moment>> = HashMap::new();
    for group in chunks.chunks(CHUNKS_AT_ONCE) {
        for chunk in source.segment.segment.read_chunks(group.iter()).await? {
            let decoded = chunk.and_then(|chunk| Ok((chunk.runs()?, chunk.timestamps()?)));
            let Ok((runs, timestamps)) = decoded else { return Ok(None) };
            let mut rest = timestamps.as_slice();
            for run in runs {
                let (times, behind) = rest.split_at(run.rows as usize);
                rest = behind;
                let zones = source.zones.within(run.stream, run.stream, range);
                if zones.is_empty() {
                    continue;
                }
                let moments = found.entry(labels.get(run.stream)?.hash).or_default();
                for zone in zones {
                    let inside = &times[zone.indexes_in(times)];
                    moments.extend(inside.iter().map(|&at| (at, place, run.stream)));
                }
            }
        }
    }
    Ok(Some(found))
}
