//! Reading counts.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::Cell;
use super::writer::{BLOCK_CELLS_LIMIT, DIRECTORY_ENTRY_BYTES, MAGIC, VERSION};
use crate::encoding::{self, Reader, unzigzag};
use crate::error::{Corruption, Error};
use crate::packing;

/// The counts of a segment's streams.
///
/// Opening verifies and reads the directory of blocks; a block is verified whenever it is decoded.
pub struct Rollup {
    directory: Vec<Block>,
    bytes: Bytes,
}

/// Where a block is.
struct Block {
    first_stream: u32,
    /// Into the bytes that were handed in.
    range: Range<usize>,
    checksum: u32,
}

/// Which counts to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Columns {
    /// Only entries; the slices of the others are empty.
    Entries,
    /// Entries, bytes of lines and bytes of structured metadata.
    All,
}

impl Rollup {
    /// Opens what [`RollupBuilder::finish`](super::RollupBuilder::finish) made.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the directory is damaged or does not fit the length of `bytes`.
    pub fn open(bytes: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new("rollup", &bytes);
        let magic = reader.u32()?;
        if magic != MAGIC {
            return Err(Error::corrupt("rollup", 0, Corruption::Magic { found: magic }));
        }
        let [version, ..] = reader.array::<4>()?;
        if version != VERSION {
            let source = Corruption::Version { found: version.into(), supported: VERSION.into() };
            return Err(Error::corrupt("rollup", 4, source));
        }
        let blocks = reader.u32()? as usize;
        let directory_offset = reader.offset();
        let entries = reader.bytes(blocks.saturating_mul(DIRECTORY_ENTRY_BYTES))?;
        let found = encoding::crc32(bytes.get(..reader.offset() as usize).unwrap_or_default());
        let expected = reader.u32()?;
        if found != expected {
            return Err(Error::corrupt("rollup", 0, Corruption::Checksum { expected, found }));
        }
        let entries = Reader::with_base("rollup directory", entries, directory_offset);
        let directory = read_directory(entries, reader)?;
        Ok(Self { directory, bytes })
    }

    /// All counts of one stream, by ascending minute; none if the stream has none.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when a block that is needed is damaged.
    pub fn cells(&self, stream: u32) -> Result<Vec<Cell>, Error> {
        let streams = RoaringBitmap::from([stream]);
        let mut scan = self.scan(&streams, Columns::All);
        let mut all = Vec::new();
        while let Some(cells) = scan.next_cells()? {
            all.extend(cells.iter());
        }
        Ok(all)
    }

    /// Goes over the counts of `streams`, by ascending stream and minute.
    ///
    /// Costs about a nanosecond for each cell and column of the blocks in which a wanted stream lies.
    pub fn scan<'a>(&'a self, streams: &'a RoaringBitmap, columns: Columns) -> Scan<'a> {
        Scan {
            rollup: self,
            streams,
            columns,
            next_block: 0,
            next_stream: 0,
            decoded: Decoded::default(),
            next_span: 0,
        }
    }

    /// The first block from `from` on that may hold cells of a stream in `streams` that is at least `stream`.
    fn block_with(&self, from: usize, mut stream: u32, streams: &RoaringBitmap) -> Option<usize> {
        let rest = self.directory.get(from..)?;
        let first_stream = rest.first()?.first_stream;
        stream = streams.range(stream..).next()?;
        if stream < first_stream {
            // All cells of that stream are behind us.
            stream = streams.range(first_stream..).next()?;
        }
        // The block before the one that begins with the stream or a later one may end with it.
        let after = rest.partition_point(|block| block.first_stream < stream);
        Some(from.saturating_add(after.saturating_sub(1)))
    }
}

impl fmt::Debug for Rollup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollup")
            .field("blocks", &self.directory.len())
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Counts of one stream by ascending minute, one element of each slice per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCells<'a> {
    /// The stream.
    pub stream: u32,
    /// The minutes, strictly ascending: see [`minute_of`](super::minute_of).
    pub minutes: &'a [i64],
    /// How many entries.
    pub entries: &'a [u64],
    /// The bytes of their lines; empty unless asked for.
    pub line_bytes: &'a [u64],
    /// The bytes of their structured metadata; empty unless asked for.
    pub metadata_bytes: &'a [u64],
}

impl<'a> StreamCells<'a> {
    /// The counts cell by cell, with zero for columns that were not asked for.
    pub fn iter(&self) -> impl Iterator<Item = Cell> + use<'a> {
        let Self { minutes, entries, line_bytes, metadata_bytes, .. } = *self;
        let column = |values: &'a [u64]| values.iter().copied().chain(std::iter::repeat(0));
        let bytes = column(line_bytes).zip(column(metadata_bytes));
        minutes.iter().zip(entries).zip(bytes).map(|((minute, entries), (line_bytes, metadata_bytes))| Cell {
            minute: *minute,
            entries: *entries,
            line_bytes,
            metadata_bytes,
        })
    }
}

/// Goes over the counts of some streams: see [`Rollup::scan`].
#[derive(Debug)]
pub struct Scan<'a> {
    rollup: &'a Rollup,
    streams: &'a RoaringBitmap,
    columns: Columns,
    /// The first block not yet decoded.
    next_block: usize,
    /// No stream before this one is of interest any more.
    next_stream: u32,
    decoded: Decoded,
    /// The first span of the decoded block not yet given out.
    next_span: usize,
}

impl Scan<'_> {
    /// The next counts; `None` at the end.
    ///
    /// A stream with many minutes comes in several pieces, one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when a block is damaged; the scan must not be continued then.
    pub fn next_cells(&mut self) -> Result<Option<StreamCells<'_>>, Error> {
        loop {
            while let Some((stream, span)) = self.decoded.spans.get(self.next_span) {
                self.next_span = self.next_span.saturating_add(1);
                self.next_stream = *stream;
                if self.streams.contains(*stream) {
                    return Ok(Some(self.decoded.cells(*stream, span.clone())));
                }
            }
            let Some(block) = self.rollup.block_with(self.next_block, self.next_stream, self.streams) else {
                return Ok(None);
            };
            self.next_block = block.saturating_add(1);
            self.next_span = 0;
            if let Some(block) = self.rollup.directory.get(block) {
                self.decoded.read(block, &self.rollup.bytes, self.columns)?;
            }
        }
    }
}

/// The cells of one block; the buffers are reused for the next.
#[derive(Debug, Default)]
struct Decoded {
    /// Streams, with the positions of their cells in the columns.
    spans: Vec<(u32, Range<usize>)>,
    minutes: Vec<i64>,
    entries: Vec<u64>,
    line_bytes: Vec<u64>,
    metadata_bytes: Vec<u64>,
}

impl Decoded {
    fn cells(&self, stream: u32, span: Range<usize>) -> StreamCells<'_> {
        let column = |values: &'_ [u64]| -> Range<usize> { if values.is_empty() { 0..0 } else { span.clone() } };
        StreamCells {
            stream,
            minutes: self.minutes.get(span.clone()).unwrap_or_default(),
            entries: self.entries.get(span.clone()).unwrap_or_default(),
            line_bytes: self.line_bytes.get(column(&self.line_bytes)).unwrap_or_default(),
            metadata_bytes: self.metadata_bytes.get(column(&self.metadata_bytes)).unwrap_or_default(),
        }
    }

    fn read(&mut self, block: &Block, bytes: &[u8], columns: Columns) -> Result<(), Error> {
        let base = block.range.start as u64;
        let bytes = bytes.get(block.range.clone()).unwrap_or_default();
        let found = encoding::crc32(bytes);
        if found != block.checksum {
            let source = Corruption::Checksum { expected: block.checksum, found };
            return Err(Error::corrupt("rollup block", base, source));
        }
        let mut reader = Reader::with_base("rollup block", bytes, base);
        let at_len = reader.clone();
        let len = reader.varint()?;
        if len > BLOCK_CELLS_LIMIT as u64 {
            return Err(at_len.invalid("number of cells", len));
        }
        let len = len as usize;
        self.read_runs(&mut reader, block.first_stream, len)?;
        read_column(&mut reader, len, &mut self.entries)?;
        if columns == Columns::All {
            read_column(&mut reader, len, &mut self.line_bytes)?;
            read_column(&mut reader, len, &mut self.metadata_bytes)?;
            reader.finish()?;
        }
        Ok(())
    }

    /// Reads which streams and minutes the `len` cells belong to.
    fn read_runs(&mut self, reader: &mut Reader<'_>, first_stream: u32, len: usize) -> Result<(), Error> {
        self.spans.clear();
        self.minutes.clear();
        let mut stream = first_stream;
        let mut start = 0_i64;
        while self.minutes.len() < len {
            let at_stream = reader.clone();
            let head = reader.varint()?;
            let gap = u32::try_from(head >> 1).ok().filter(|gap| *gap > 0 || self.spans.is_empty());
            stream = gap
                .and_then(|gap| stream.checked_add(gap))
                .ok_or_else(|| at_stream.invalid("distance to the stream before", head >> 1))?;
            let more_runs = if head & 1 == 1 { reader.varint()?.saturating_add(1) } else { 0 };
            let span_start = self.minutes.len();
            start = start.wrapping_add(unzigzag(reader.varint()?));
            self.read_run(reader, start, len)?;
            for _ in 0..more_runs {
                let at_gap = reader.clone();
                let gap = reader.varint()?;
                let last = self.minutes.last().copied().unwrap_or(start);
                let next = last.checked_add_unsigned(gap).filter(|next| *next > last);
                self.read_run(reader, next.ok_or_else(|| at_gap.invalid("distance to the run before", gap))?, len)?;
            }
            self.spans.push((stream, span_start..self.minutes.len()));
        }
        Ok(())
    }

    /// Reads the length of a run that begins with minute `start`; there are to be `cells` minutes in all.
    fn read_run(&mut self, reader: &mut Reader<'_>, start: i64, cells: usize) -> Result<(), Error> {
        let at_len = reader.clone();
        let len = reader.varint()?;
        let missing = cells.saturating_sub(self.minutes.len()) as u64;
        let last = start.checked_add_unsigned(len.wrapping_sub(1)).filter(|_| (1..=missing).contains(&len));
        self.minutes.extend(start..=last.ok_or_else(|| at_len.invalid("length of a run", len))?);
        Ok(())
    }
}

/// Replaces what is in `values` by the next `len` values.
fn read_column(reader: &mut Reader<'_>, len: usize, values: &mut Vec<u64>) -> Result<(), Error> {
    values.clear();
    packing::read_column(reader, len, |frame| values.extend_from_slice(frame))
}

/// Reads the directory; `blocks` stands at the blocks.
fn read_directory(mut entries: Reader<'_>, mut blocks: Reader<'_>) -> Result<Vec<Block>, Error> {
    let mut directory: Vec<Block> = Vec::with_capacity(entries.rest().len() / DIRECTORY_ENTRY_BYTES);
    while !entries.is_empty() {
        let at_entry = entries.clone();
        let first_stream = entries.u32()?;
        let len = entries.u32()?;
        let checksum = entries.u32()?;
        if directory.last().is_some_and(|before| before.first_stream > first_stream) {
            return Err(at_entry.invalid("first stream, out of order", first_stream.into()));
        }
        let start = blocks.offset() as usize;
        blocks.bytes(len as usize)?;
        directory.push(Block { first_stream, range: start..blocks.offset() as usize, checksum });
    }
    blocks.finish()?;
    Ok(directory)
}
