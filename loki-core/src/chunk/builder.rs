//! Appending rows and sealing them into a chunk.

use bytes::Bytes;

use super::metadata::MetadataBuilder;
use super::reader::PartKind;
use super::{
    CHECKSUM_BYTES, Codec, FLAG_NEWLINE_CLEAN, HEAD_BYTES, MAGIC, MAX_ROWS, MAX_TEXT_BYTES, PART_HEAD_BYTES, Run,
    VERSION, check_limit, timestamps,
};
use crate::encoding::{crc32, put_varint};
use crate::entry::Timestamp;
use crate::error::Error;
use crate::labels;
use crate::packing::put_column;

/// How chunks are written.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ChunkOptions {
    /// How parts are compressed.
    pub codec: Codec,
    /// How often these rows have been rewritten; noted in the chunk, without meaning to the codec.
    pub level: u8,
}

/// A chunk as bytes, with what an index wants to know of it.
#[derive(Clone, Debug)]
pub struct SealedChunk {
    /// The chunk.
    pub bytes: Bytes,
    /// What is in it.
    pub summary: ChunkSummary,
}

/// What is in a chunk.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChunkSummary {
    /// How many rows it has; at least one.
    pub rows: u32,
    /// The bytes of all lines, without newlines behind them.
    pub raw_bytes: u64,
    /// The earliest timestamp.
    pub min_timestamp: Timestamp,
    /// The latest timestamp.
    pub max_timestamp: Timestamp,
    /// The smallest stream ordinal.
    pub first_stream: u32,
    /// The largest stream ordinal.
    pub last_stream: u32,
}

/// Gathers rows and seals them into chunks, one after the other; buffers are kept from chunk to chunk.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    options: ChunkOptions,
    runs: Vec<Run>,
    timestamps: Vec<i64>,
    /// Lines, each with a newline behind it.
    text: Vec<u8>,
    /// The length of each line, without its newline.
    lengths: Vec<u32>,
    metadata: MetadataBuilder,
    /// A raw part and what becomes of it.
    raw: Vec<u8>,
    stored: Vec<u8>,
}

impl ChunkBuilder {
    /// An empty builder.
    pub fn new(options: ChunkOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Appends a row. Rows come sorted by stream, and by timestamp within a stream.
    ///
    /// `metadata` is a [`Labels`](crate::Labels) by reference, or what is left of iterating over one. Empty values are
    /// kept. A set that one of the last few rows had as well costs next to nothing.
    ///
    /// # Errors
    ///
    /// [`Error::RowOrder`] when rows are not sorted, and [`Error::Limit`] beyond [`MAX_ROWS`], [`MAX_TEXT_BYTES`],
    /// [`MAX_METADATA_BYTES`](super::MAX_METADATA_BYTES) or [`MAX_METADATA_COLUMNS`](super::MAX_METADATA_COLUMNS). The
    /// builder is then as it was before.
    pub fn append<'m>(
        &mut self,
        stream: u32,
        timestamp: Timestamp,
        line: &[u8],
        metadata: impl IntoIterator<IntoIter = labels::Iter<'m>>,
    ) -> Result<(), Error> {
        let starts_run = match self.runs.last() {
            None => true,
            Some(last) if stream < last.stream => return Err(Error::RowOrder),
            Some(last) => stream > last.stream,
        };
        if !starts_run && self.timestamps.last().is_some_and(|last| timestamp.0 < *last) {
            return Err(Error::RowOrder);
        }
        let row = self.rows();
        check_limit("rows of a chunk", u64::from(row) + 1, MAX_ROWS)?;
        check_limit("text of a chunk", (self.text.len() + line.len() + 1) as u64, MAX_TEXT_BYTES)?;
        self.metadata.append(row, metadata.into_iter())?;

        match self.runs.last_mut() {
            Some(last) if !starts_run => last.rows += 1,
            _ => self.runs.push(Run { stream, rows: 1 }),
        }
        self.timestamps.push(timestamp.0);
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.lengths.push(line.len() as u32);
        Ok(())
    }

    /// How many rows were appended since the last chunk.
    pub fn rows(&self) -> u32 {
        self.timestamps.len() as u32
    }

    /// Whether no row was appended since the last chunk.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// The bytes of the lines appended since the last chunk.
    pub fn raw_bytes(&self) -> u64 {
        (self.text.len() - self.timestamps.len()) as u64
    }

    /// The bytes of lines and structured metadata, with what each takes besides: what decides when a chunk is full.
    pub fn size_bytes(&self) -> u64 {
        let timestamps = size_of_val(self.timestamps.as_slice());
        (self.text.len() + timestamps) as u64 + self.metadata.bytes()
    }

    /// The lines appended since the last chunk, each with a newline behind it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a row appended since the last chunk has structured metadata.
    pub fn has_metadata(&self) -> bool {
        self.metadata.columns() > 0
    }

    /// The different pairs of structured metadata appended since the last chunk: names and values.
    pub fn metadata_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.pairs()
    }

    /// Seals the rows appended so far into a chunk and begins the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] when there are no rows, [`Error::Compress`] when the codec fails; rows are then kept.
    pub fn finish(&mut self) -> Result<SealedChunk, Error> {
        let summary = self.summary().ok_or(Error::Empty { what: "chunk" })?;
        let mut parts = Parts::default();
        let is_newline_clean = memchr::memchr_iter(b'\n', &self.text).count() == self.timestamps.len();
        self.put_parts(is_newline_clean, &mut parts)?;
        let flags = if is_newline_clean { FLAG_NEWLINE_CLEAN } else { 0 };
        let bytes = parts.into_chunk(&summary, self.options.level, flags);
        self.clear();
        Ok(SealedChunk { bytes: bytes.into(), summary })
    }

    /// Forgets the rows appended since the last chunk.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.timestamps.clear();
        self.text.clear();
        self.lengths.clear();
        self.metadata.clear();
    }

    fn summary(&self) -> Option<ChunkSummary> {
        Some(ChunkSummary {
            rows: self.rows(),
            raw_bytes: self.raw_bytes(),
            min_timestamp: Timestamp(*self.timestamps.iter().min()?),
            max_timestamp: Timestamp(*self.timestamps.iter().max()?),
            first_stream: self.runs.first()?.stream,
            last_stream: self.runs.last()?.stream,
        })
    }

    fn put_parts(&mut self, is_newline_clean: bool, parts: &mut Parts) -> Result<(), Error> {
        let Self { raw, stored, .. } = self;
        let codec = self.options.codec;

        raw.clear();
        put_runs(&self.runs, raw);
        parts.put(PartKind::RUNS, codec, raw, stored)?;

        // Packed bits have nothing left to compress.
        raw.clear();
        timestamps::encode(&self.runs, &self.timestamps, raw);
        parts.put(PartKind::TIMESTAMPS, Codec::None, raw, stored)?;

        if !is_newline_clean {
            raw.clear();
            put_column(self.lengths.iter().copied().map(u64::from), raw);
            parts.put(PartKind::LENGTHS, codec, raw, stored)?;
        }
        parts.put(PartKind::TEXT, codec, &self.text, stored)?;

        if self.metadata.columns() > 0 {
            raw.clear();
            let mut fixed = Vec::new();
            self.metadata.encode(self.timestamps.len() as u32, raw, &mut fixed);
            parts.put(PartKind::METADATA, codec, raw, stored)?;
            if !fixed.is_empty() {
                parts.put(PartKind::FIXED, codec, &fixed, stored)?;
            }
        }
        Ok(())
    }
}

fn put_runs(runs: &[Run], out: &mut Vec<u8>) {
    put_varint(out, runs.len() as u64);
    let mut next = 0;
    for run in runs {
        put_varint(out, u64::from(run.stream) - next);
        put_varint(out, u64::from(run.rows));
        next = u64::from(run.stream) + 1;
    }
}

/// The parts written so far.
#[derive(Debug, Default)]
struct Parts {
    heads: Vec<u8>,
    stored: Vec<u8>,
}

impl Parts {
    /// Adds a part, compressed if that makes it smaller by an eighth at least: reading what was not compressed is free.
    fn put(&mut self, kind: PartKind, codec: Codec, raw: &[u8], buffer: &mut Vec<u8>) -> Result<(), Error> {
        let (codec, stored) = match codec {
            Codec::None => (Codec::None, raw),
            codec => {
                codec.compress_into(raw, buffer)?;
                let is_worth_it = buffer.len() < raw.len() - raw.len() / 8;
                if is_worth_it { (codec, buffer.as_slice()) } else { (Codec::None, raw) }
            }
        };
        self.heads.extend_from_slice(&[kind.0, codec.id(), 0, 0]);
        for field in [raw.len() as u32, stored.len() as u32, crc32(stored)] {
            self.heads.extend_from_slice(&field.to_le_bytes());
        }
        self.stored.extend_from_slice(stored);
        Ok(())
    }

    fn into_chunk(self, summary: &ChunkSummary, level: u8, flags: u8) -> Vec<u8> {
        let parts = (self.heads.len() / PART_HEAD_BYTES) as u8;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.heads.len() + CHECKSUM_BYTES + self.stored.len());
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[VERSION, level, flags, parts]);
        bytes.extend_from_slice(&summary.rows.to_le_bytes());
        bytes.extend_from_slice(&(summary.raw_bytes as u32).to_le_bytes());
        bytes.extend_from_slice(&self.heads);
        let checksum = crc32(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&self.stored);
        bytes
    }
}
