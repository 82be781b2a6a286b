//! Opening a chunk and decoding its parts.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use bytes::Bytes;

use super::metadata::MetadataColumns;
use super::text::Text;
use super::{
    CHECKSUM_BYTES, Codec, FLAG_NEWLINE_CLEAN, HEAD_BYTES, MAGIC, MAX_METADATA_BYTES, MAX_PARTS, MAX_ROWS,
    MAX_TEXT_BYTES, PART_HEAD_BYTES, Run, VERSION, timestamps,
};
use crate::encoding::{Reader, crc32};
use crate::error::{Corruption, Error};
use crate::packing::read_column;

/// The most raw bytes a part can claim.
const MAX_PART_BYTES: u32 = if MAX_TEXT_BYTES > MAX_METADATA_BYTES { MAX_TEXT_BYTES } else { MAX_METADATA_BYTES };

/// What a part holds. Kinds that are not named here come from newer versions and are skipped.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartKind(pub u8);

impl PartKind {
    /// Streams and how many rows each has.
    pub const RUNS: Self = Self(0x01);
    /// Timestamps.
    pub const TIMESTAMPS: Self = Self(0x02);
    /// Lengths of lines, only in chunks with lines that contain newlines.
    pub const LENGTHS: Self = Self(0x03);
    /// Lines.
    pub const TEXT: Self = Self(0x04);
    /// Structured metadata, if there is any.
    pub const METADATA: Self = Self(0x20);
    /// Packed values of structured metadata, if there are any.
    pub const FIXED: Self = Self(0x21);

    /// What the format calls this part; `None` for a kind of a newer version.
    pub const fn column(self) -> Option<&'static str> {
        Some(match self {
            Self::RUNS => "RUNS",
            Self::TIMESTAMPS => "TS",
            Self::LENGTHS => "LEN",
            Self::TEXT => "TEXT",
            Self::METADATA => "METADATA",
            Self::FIXED => "FIXED",
            _ => return None,
        })
    }

    /// The name of this part in errors.
    const fn name(self) -> &'static str {
        match self {
            Self::RUNS => "runs part",
            Self::TIMESTAMPS => "timestamps part",
            Self::LENGTHS => "lengths part",
            Self::TEXT => "text part",
            Self::METADATA => "metadata part",
            Self::FIXED => "fixed part",
            _ => "part",
        }
    }
}

/// How much room a part of a chunk takes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PartSize {
    /// What it holds.
    pub kind: PartKind,
    /// Bytes as stored.
    pub stored_bytes: u32,
    /// Bytes once decompressed.
    pub raw_bytes: u32,
}

/// A sealed chunk. Its head was verified when it was opened; a part is verified when it is decoded.
#[derive(Clone, Debug)]
pub struct Chunk {
    bytes: Bytes,
    rows: u32,
    raw_bytes: u32,
    level: u8,
    newline_clean: bool,
    /// Sorted by kind.
    parts: Vec<Part>,
    /// All checksums were compared.
    verified: bool,
}

#[derive(Clone, Debug)]
struct Part {
    kind: PartKind,
    codec: u8,
    raw_len: u32,
    stored: Range<usize>,
    checksum: u32,
}

impl Chunk {
    /// Verifies the head of a chunk and the bounds of its parts, whose contents are not looked at yet.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when `bytes` are not exactly one chunk.
    pub fn open(bytes: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new("chunk", &bytes);
        let magic = reader.clone().u32()?;
        if magic != MAGIC {
            return Err(reader.corrupt(Corruption::Magic { found: magic }));
        }
        let parts_count = usize::from(bytes.get(7).copied().unwrap_or_default());
        let head_len = HEAD_BYTES.saturating_add(parts_count.saturating_mul(PART_HEAD_BYTES));
        let head = reader.bytes(head_len)?;
        let (expected, found) = (reader.u32()?, crc32(head));
        let stored_start = head_len.saturating_add(CHECKSUM_BYTES);
        let mut head = Reader::new("chunk", head);
        head.u32()?;
        let version = head.u8()?;
        if version != VERSION {
            let source = Corruption::Version { found: u32::from(version), supported: u32::from(VERSION) };
            return Err(head.corrupt(source));
        }
        if expected != found {
            return Err(head.corrupt(Corruption::Checksum { expected, found }));
        }
        let level = head.u8()?;
        let flags = head.u8()?;
        let parts_count = head.u8()?;
        if parts_count > MAX_PARTS {
            return Err(head.invalid("number of parts", u64::from(parts_count)));
        }
        let rows = head.u32()?;
        let raw_bytes = head.u32()?;
        if rows == 0 || rows > MAX_ROWS {
            return Err(head.invalid("number of rows", u64::from(rows)));
        }
        let parts = read_parts(&mut head, stored_start, bytes.len())?;
        let chunk = Self {
            rows,
            raw_bytes,
            level,
            newline_clean: flags & FLAG_NEWLINE_CLEAN != 0,
            parts,
            verified: false,
            bytes,
        };
        chunk.verify_text_len()?;
        Ok(chunk)
    }

    /// Compares the checksums of all parts now, so that decoding a part later does not have to.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when a part is damaged.
    pub fn verified(mut self) -> Result<Self, Error> {
        self.parts.iter().try_for_each(|part| self.verify_part(part))?;
        self.verified = true;
        Ok(self)
    }

    /// How many rows there are; at least one.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The bytes of all lines, without newlines behind them.
    pub fn raw_bytes(&self) -> u64 {
        u64::from(self.raw_bytes)
    }

    /// The level the chunk was written with.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Whether no line contains a newline.
    pub fn is_newline_clean(&self) -> bool {
        self.newline_clean
    }

    /// Whether some row has structured metadata.
    pub fn has_metadata(&self) -> bool {
        self.part(PartKind::METADATA).is_some()
    }

    /// The chunk's bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes that a part takes once decompressed, before it is decompressed; zero if there is no such part.
    pub fn part_raw_bytes(&self, kind: PartKind) -> u64 {
        self.part(kind).map_or(0, |part| u64::from(part.raw_len))
    }

    /// How much room each part takes, those of unknown kinds included; costs nothing.
    pub fn part_sizes(&self) -> impl Iterator<Item = PartSize> {
        self.parts.iter().map(|part| PartSize {
            kind: part.kind,
            stored_bytes: part.stored.len() as u32,
            raw_bytes: part.raw_len,
        })
    }

    /// The streams in ascending order, with the number of rows of each.
    pub fn runs(&self) -> Result<Vec<Run>, Error> {
        let raw = self.required_part(PartKind::RUNS)?;
        let mut reader = Reader::new(PartKind::RUNS.name(), &raw);
        let count = reader.varint()?;
        // Every run has a row.
        if count > u64::from(self.rows) {
            return Err(reader.invalid("number of runs", count));
        }
        let mut runs = Vec::with_capacity(count as usize);
        let mut next = 0_u64;
        let mut rows = 0_u64;
        for _ in 0..count {
            let at_run = reader.clone();
            let stream = next.saturating_add(reader.varint()?);
            let run = Run {
                stream: u32::try_from(stream).map_err(|_| at_run.invalid("stream", stream))?,
                rows: reader.varint32()?,
            };
            if run.rows == 0 {
                return Err(at_run.invalid("rows of a run", 0));
            }
            next = stream.saturating_add(1);
            rows = rows.saturating_add(u64::from(run.rows));
            runs.push(run);
        }
        if rows != u64::from(self.rows) {
            return Err(reader.invalid("rows of all runs", rows));
        }
        reader.finish()?;
        Ok(runs)
    }

    /// The timestamps in nanoseconds, ascending within each run.
    pub fn timestamps(&self) -> Result<Vec<i64>, Error> {
        let runs = self.runs()?;
        let raw = self.required_part(PartKind::TIMESTAMPS)?;
        let mut reader = Reader::new(PartKind::TIMESTAMPS.name(), &raw);
        timestamps::decode(&mut reader, &runs, self.rows)
    }

    /// The lines.
    pub fn text(&self) -> Result<Text, Error> {
        let bytes = self.required_part(PartKind::TEXT)?;
        if self.newline_clean {
            Text::from_clean(bytes, self.rows)
        } else {
            Text::from_lengths(bytes, self.stored_lengths()?)
        }
    }

    /// The length of each line.
    ///
    /// Cheap where lines contain newlines, because their lengths are stored then. Everywhere else, which is nearly
    /// everywhere, it costs as much as [`Chunk::text`]: ask that instead if the lines are needed as well.
    pub fn line_lengths(&self) -> Result<Vec<u32>, Error> {
        if self.newline_clean { Ok(self.text()?.line_lengths()) } else { self.stored_lengths() }
    }

    /// The structured metadata; without columns if no row has any.
    pub fn metadata(&self) -> Result<MetadataColumns, Error> {
        let Some(metadata) = self.part(PartKind::METADATA) else {
            return Ok(MetadataColumns::default());
        };
        let metadata = self.decompress(metadata)?;
        let fixed = self.part(PartKind::FIXED).map(|part| self.decompress(part)).transpose()?;
        MetadataColumns::decode(&metadata, &fixed.unwrap_or_default(), self.rows)
    }

    fn stored_lengths(&self) -> Result<Vec<u32>, Error> {
        let raw = self.required_part(PartKind::LENGTHS)?;
        let mut reader = Reader::new(PartKind::LENGTHS.name(), &raw);
        let mut lengths = Vec::with_capacity(self.rows as usize);
        // A length beyond 32 bits is beyond every text, and found out when it is compared with one.
        let narrow = |len: &u64| u32::try_from(*len).unwrap_or(u32::MAX);
        read_column(&mut reader, self.rows as usize, |frame| lengths.extend(frame.iter().map(narrow)))?;
        reader.finish()?;
        Ok(lengths)
    }

    fn verify_text_len(&self) -> Result<(), Error> {
        let expected = self.raw_bytes().saturating_add(u64::from(self.rows));
        match self.part(PartKind::TEXT) {
            Some(part) if u64::from(part.raw_len) != expected => {
                let source = Corruption::Value { field: "length of the text", found: u64::from(part.raw_len) };
                Err(Error::corrupt("chunk", 0, source))
            }
            _ => Ok(()),
        }
    }

    fn part(&self, kind: PartKind) -> Option<&Part> {
        let found = self.parts.binary_search_by_key(&kind, |part| part.kind).ok()?;
        self.parts.get(found)
    }

    fn required_part(&self, kind: PartKind) -> Result<Bytes, Error> {
        let missing = Corruption::Value { field: "missing part", found: u64::from(kind.0) };
        let part = self.part(kind).ok_or(Error::corrupt("chunk", 0, missing))?;
        self.decompress(part)
    }

    fn decompress(&self, part: &Part) -> Result<Bytes, Error> {
        if !self.verified {
            self.verify_part(part)?;
        }
        let stored = self.bytes.slice(part.stored.clone());
        Codec::decompress(part.codec, &stored, part.raw_len as usize)
    }

    fn verify_part(&self, part: &Part) -> Result<(), Error> {
        let found = crc32(self.bytes.get(part.stored.clone()).unwrap_or_default());
        if found == part.checksum {
            return Ok(());
        }
        let source = Corruption::Checksum { expected: part.checksum, found };
        Err(Error::corrupt(part.kind.name(), part.stored.start as u64, source))
    }
}

/// Reads the heads of all parts, which must fill the bytes from `stored_start` to `end` exactly.
fn read_parts(head: &mut Reader<'_>, stored_start: usize, end: usize) -> Result<Vec<Part>, Error> {
    let mut parts: Vec<Part> = Vec::new();
    let mut start = stored_start;
    while !head.is_empty() {
        let at_part = head.clone();
        let kind = PartKind(head.u8()?);
        let codec = head.u8()?;
        head.u16()?;
        let raw_len = head.u32()?;
        let stored_len = head.u32()?;
        let checksum = head.u32()?;
        if parts.last().is_some_and(|last| last.kind >= kind) {
            return Err(at_part.invalid("kind out of order", u64::from(kind.0)));
        }
        if raw_len > MAX_PART_BYTES {
            return Err(at_part.invalid("raw length of a part", u64::from(raw_len)));
        }
        let part_end = start.saturating_add(stored_len as usize);
        if part_end > end {
            let (needed, available) = (part_end as u64, end as u64);
            return Err(at_part.corrupt(Corruption::Truncated { needed, available }));
        }
        parts.push(Part { kind, codec, raw_len, stored: start..part_end, checksum });
        start = part_end;
    }
    if start != end {
        return Err(head.invalid("end of the last part", start as u64));
    }
    Ok(parts)
}
