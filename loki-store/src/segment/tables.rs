//! Two small sections of a tenant: where its chunks are, and when each of
//! its streams began and ended.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use loki_core::encoding::{Reader, crc32, put_varint};
use loki_core::{Error, TimeRange, Timestamp};

use super::layout::check_crc;

/// One chunk as the chunk table describes it. Its filter has the chunk's place in the table as position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    /// Bytes in the segment.
    pub(crate) span: Range<u64>,
    pub(crate) rows: u32,
    /// Bytes of the lines.
    pub(crate) line_bytes: u64,
    /// Times of the first and the last entry, both inclusive.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// Ordinals of the streams it holds entries of, both inclusive; every stream between has entries too.
    pub(crate) first_stream: u32,
    pub(crate) last_stream: u32,
    pub(crate) has_metadata: bool,
}

impl ChunkEntry {
    /// The times of its entries as a half-open range.
    pub(crate) fn bounds(&self) -> TimeRange {
        inclusive(self.first, self.last)
    }
}

/// All chunks of a tenant in a segment, in the order of streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkTable {
    pub(crate) chunks: Vec<ChunkEntry>,
}

/// When each stream of a tenant in a segment began and ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamTimes {
    /// By ordinal: times of the first and the last entry, both inclusive.
    pub(crate) spans: Vec<(Timestamp, Timestamp)>,
}

/// The half-open range from `first` through `last`.
pub(crate) fn inclusive(first: Timestamp, last: Timestamp) -> TimeRange {
    TimeRange::new(first, last.saturating_add_nanos(1))
}

/// The half-open range of some times.
pub(crate) fn bounds_of(times: &[i64]) -> TimeRange {
    let first = times.iter().min().copied().unwrap_or_default();
    let last = times.iter().max().copied().unwrap_or_default();
    inclusive(Timestamp(first), Timestamp(last))
}

/// The times of a rollup's minute: open on the left and closed on the right, so one nanosecond late as a half-open range.
pub(crate) fn minute_range(minute: i64) -> TimeRange {
    let start = minute.saturating_mul(MINUTE_NANOS).saturating_add(1);
    let end = start.saturating_add(MINUTE_NANOS);
    TimeRange::new(Timestamp(start), Timestamp(end))
}

/// The width of a rollup's cells.
pub(crate) const MINUTE_NANOS: i64 = 60_000_000_000;

/// The fewest bytes that a chunk takes in the table: eight varints and a flag.
const MIN_CHUNK_ENTRY_LEN: usize = 9;

impl ChunkTable {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.chunks.len().saturating_mul(24));
        put_varint(&mut out, self.chunks.len() as u64);
        let mut offset = 0;
        for chunk in &self.chunks {
            put_varint(&mut out, chunk.span.start.wrapping_sub(offset));
            put_varint(&mut out, chunk.span.end.saturating_sub(chunk.span.start));
            put_varint(&mut out, u64::from(chunk.rows));
            put_varint(&mut out, chunk.line_bytes);
            put_time_span(&mut out, chunk.first, chunk.last);
            put_varint(&mut out, u64::from(chunk.first_stream));
            let streams = chunk.last_stream.saturating_sub(chunk.first_stream);
            put_varint(&mut out, u64::from(streams));
            out.push(u8::from(chunk.has_metadata));
            offset = chunk.span.end;
        }
        seal(out)
    }

    /// `limit` bounds the offsets it may name.
    pub(crate) fn decode(bytes: &[u8], limit: u64) -> Result<Self, Error> {
        let mut reader = open("chunk table", bytes)?;
        let count = reader.varint()?;
        if count > (bytes.len() / MIN_CHUNK_ENTRY_LEN) as u64 {
            return Err(reader.invalid("number of chunks", count));
        }
        let mut chunks = Vec::with_capacity(count as usize);
        let mut offset = 0_u64;
        for _ in 0..count {
            let start = offset.wrapping_add(reader.varint()?);
            let end = start.saturating_add(reader.varint()?);
            if end > limit {
                return Err(reader.invalid("end of chunk", end));
            }
            offset = end;
            let (rows, line_bytes) = (reader.varint32()?, reader.varint()?);
            let (first, last) = time_span(&mut reader)?;
            let first_stream = reader.varint32()?;
            let last_stream = first_stream.saturating_add(reader.varint32()?);
            let has_metadata = reader.u8()? != 0;
            chunks.push(ChunkEntry {
                span: start..end,
                rows,
                line_bytes,
                first,
                last,
                first_stream,
                last_stream,
                has_metadata,
            });
        }
        reader.finish()?;
        Ok(Self { chunks })
    }
}

impl StreamTimes {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.spans.len().saturating_mul(12));
        put_varint(&mut out, self.spans.len() as u64);
        for &(first, last) in &self.spans {
            put_time_span(&mut out, first, last);
        }
        seal(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = open("stream times", bytes)?;
        let count = reader.varint()?;
        // A stream takes eight bytes and at least one more.
        if count > (bytes.len() / 9) as u64 {
            return Err(reader.invalid("number of streams", count));
        }
        let spans = (0..count).map(|_| time_span(&mut reader));
        let spans = spans.collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        Ok(Self { spans })
    }

    /// The times of a stream's entries; empty for an ordinal that does not exist.
    pub(crate) fn range(&self, stream: u32) -> TimeRange {
        match self.spans.get(stream as usize) {
            Some(&(first, last)) => inclusive(first, last),
            None => TimeRange::new(Timestamp(0), Timestamp(0)),
        }
    }
}

fn put_time_span(out: &mut Vec<u8>, first: Timestamp, last: Timestamp) {
    out.extend_from_slice(&first.0.to_le_bytes());
    put_varint(out, last.0.wrapping_sub(first.0) as u64);
}

fn time_span(reader: &mut Reader<'_>) -> Result<(Timestamp, Timestamp), Error> {
    let first = reader.i64()?;
    let last = first.wrapping_add(reader.varint()? as i64);
    Ok((Timestamp(first), Timestamp(last)))
}

/// Puts the checksum behind a section.
fn seal(mut section: Vec<u8>) -> Vec<u8> {
    let crc = crc32(&section);
    section.extend_from_slice(&crc.to_le_bytes());
    section
}

/// Verifies a section's checksum and reads what is before it.
fn open<'a>(what: &'static str, bytes: &'a [u8]) -> Result<Reader<'a>, Error> {
    let mut reader = Reader::new(what, bytes);
    let body = reader.bytes(bytes.len().saturating_sub(4))?;
    check_crc(what, body, reader.u32()?)?;
    Ok(Reader::new(what, body))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tables() -> impl Strategy<Value = (ChunkTable, StreamTimes)> {
        let chunk = (0..1000_u64, 1..1000_u64, any::<(u32, u64, i64, i64, bool)>());
        prop::collection::vec(chunk, 0..20).prop_map(|specs| {
            let mut offset = 0;
            let mut table = ChunkTable::default();
            let mut times = StreamTimes::default();
            for (ordinal, (gap, len, (rows, line_bytes, a, b, has_metadata))) in specs.into_iter().enumerate() {
                let (first, last) = (Timestamp(a.min(b)), Timestamp(a.max(b)));
                times.spans.push((first, last));
                table.chunks.push(ChunkEntry {
                    span: offset + gap..offset + gap + len,
                    rows,
                    line_bytes,
                    first,
                    last,
                    first_stream: ordinal as u32,
                    last_stream: ordinal as u32 + 2,
                    has_metadata,
                });
                offset += gap + len;
            }
            (table, times)
        })
    }

    proptest! {
        #[test]
        fn tables_round_trip((table, times) in tables()) {
            prop_assert_eq!(ChunkTable::decode(&table.encode(), u64::MAX), Ok(table));
            prop_assert_eq!(StreamTimes::decode(&times.encode()), Ok(times));
        }

        #[test]
        fn a_flipped_bit_is_noticed((table, _) in tables(), position: prop::sample::Index, bit in 0..8) {
            let mut bytes = table.encode();
            let at = position.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(ChunkTable::decode(&bytes, u64::MAX).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let sealed = seal(bytes);
            let _ = ChunkTable::decode(&sealed, 1000);
            let _ = StreamTimes::decode(&sealed);
        }
    }

    #[test]
    fn chunks_beyond_the_segment_are_refused() {
        let table = ChunkTable {
            chunks: vec![ChunkEntry {
                span: 10..20,
                rows: 1,
                line_bytes: 1,
                first: Timestamp(1),
                last: Timestamp(1),
                first_stream: 0,
                last_stream: 0,
                has_metadata: false,
            }],
        };
        assert!(ChunkTable::decode(&table.encode(), 20).is_ok());
        assert!(ChunkTable::decode(&table.encode(), 19).is_err());
    }
}
