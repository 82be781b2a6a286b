//! The labels of every stream, by ordinal.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use bytes::Bytes;

use crate::chunk::Codec;
use crate::encoding::{self, Reader, put_varint, varint_len};
use crate::error::{Corruption, Error};
use crate::labels::Labels;

/// The most bytes that the labels of one stream may have, encoded.
pub const LABELS_BYTES_LIMIT: usize = 256 << 10;

/// How many streams are compressed together.
///
/// Pods recur with every container and level, and 256 neighbours show most of that: a million streams take 6 bytes each,
/// against 12 in blocks of 64, and inflating one block still costs only microseconds.
pub(super) const BLOCK_STREAMS: u32 = 256;

/// The bytes of a block's entry in the table: offset and checksum.
pub(super) const TABLE_ENTRY_BYTES: usize = 12;

/// Blocks are small; levels above find nothing more in them, and take twice as long.
const CODEC: Codec = Codec::Zstd { level: 6 };

/// No block is larger before compression: labels, and the two lengths in front of them.
const BLOCK_RAW_LIMIT: usize = BLOCK_STREAMS as usize * (LABELS_BYTES_LIMIT + 8);

/// Writes the table of blocks and the blocks.
#[derive(Debug, Default)]
pub(super) struct DirectoryBuilder {
    previous: Labels,
    pending: Vec<u8>,
    pending_streams: u32,
    table: Vec<u8>,
    blocks: Vec<u8>,
}

impl DirectoryBuilder {
    /// The memory that it takes by now.
    pub(super) fn held_bytes(&self) -> usize {
        [&self.pending, &self.table, &self.blocks].into_iter().map(Vec::capacity).sum()
    }

    /// Adds the next stream.
    pub(super) fn push(&mut self, labels: &Labels) -> Result<(), Error> {
        let encoded = labels.as_bytes();
        if encoded.len() > LABELS_BYTES_LIMIT {
            return Err(Error::Limit {
                what: "size of a stream's labels",
                requested: encoded.len() as u64,
                limit: LABELS_BYTES_LIMIT as u64,
            });
        }
        if self.pending_streams == BLOCK_STREAMS {
            self.seal_block()?;
        }
        // The first stream of a block stands on its own.
        let previous = if self.pending_streams == 0 { &[] } else { self.previous.as_bytes() };
        let shared = previous.iter().zip(encoded).take_while(|(a, b)| a == b).count();
        put_varint(&mut self.pending, shared as u64);
        encoding::put_prefixed(&mut self.pending, encoded.get(shared..).unwrap_or_default());
        self.pending_streams = self.pending_streams.saturating_add(1);
        self.previous = labels.clone();
        Ok(())
    }

    /// The table and the blocks.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<u8>), Error> {
        if self.pending_streams > 0 {
            self.seal_block()?;
        }
        Ok((self.table, self.blocks))
    }

    fn seal_block(&mut self) -> Result<(), Error> {
        let compressed = CODEC.compress(&self.pending)?;
        let mut block = Vec::with_capacity(varint_len(self.pending.len() as u64).saturating_add(compressed.len()));
        put_varint(&mut block, self.pending.len() as u64);
        block.extend(compressed);
        self.table.extend((self.blocks.len() as u64).to_le_bytes());
        self.table.extend(encoding::crc32(&block).to_le_bytes());
        self.blocks.extend(block);
        self.pending.clear();
        self.pending_streams = 0;
        Ok(())
    }
}

/// The verified table and the blocks of an index.
#[derive(Clone, Copy)]
pub(super) struct Directory<'a> {
    pub(super) table: &'a [u8],
    pub(super) blocks: &'a Bytes,
    /// Where the blocks begin in the bytes that were handed in.
    pub(super) base: u64,
    pub(super) streams: u32,
}

impl Directory<'_> {
    /// The bytes of block `number`, verified, and where they begin.
    fn block(&self, number: usize) -> Result<Reader<'_>, Error> {
        let mut entries = self.table.chunks_exact(TABLE_ENTRY_BYTES).skip(number);
        let mut entry = Reader::new("stream table", entries.next().unwrap_or_default());
        let offset = entry.u64()?;
        let expected = entry.u32()?;
        let end = match entries.next() {
            Some(next) => Reader::new("stream table", next).u64()?,
            None => self.blocks.len() as u64,
        };
        let base = self.base.saturating_add(offset);
        let block = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let block = block.and_then(|(offset, end)| self.blocks.get(offset..end)).ok_or_else(|| {
            Error::corrupt("stream table", base, Corruption::Value { field: "end of a block", found: end })
        })?;
        let found = encoding::crc32(block);
        if found != expected {
            return Err(Error::corrupt("stream block", base, Corruption::Checksum { expected, found }));
        }
        Ok(Reader::with_base("stream block", block, base))
    }
}

/// The labels of some streams, by ascending ordinal: see [`Index::labels_of`](super::Index::labels_of).
pub struct LabelsOf<'a, I> {
    directory: Directory<'a>,
    ordinals: I,
    /// The block that `raw` came from.
    block: Option<u32>,
    raw: Bytes,
    /// Where in `raw` the next stream is, and which it is.
    position: usize,
    next_ordinal: u32,
    /// The labels of the stream before the next one.
    encoded: Vec<u8>,
}

impl<'a, I: Iterator<Item = u32>> LabelsOf<'a, I> {
    pub(super) fn new(directory: Directory<'a>, ordinals: I) -> Self {
        Self { directory, ordinals, block: None, raw: Bytes::new(), position: 0, next_ordinal: 0, encoded: Vec::new() }
    }

    /// The labels of the stream `ordinal`, which need not ascend.
    pub(super) fn read(&mut self, ordinal: u32) -> Result<Labels, Error> {
        if ordinal >= self.directory.streams {
            let source = Corruption::Value { field: "stream ordinal", found: ordinal.into() };
            return Err(Error::corrupt("stream directory", self.directory.base, source));
        }
        let block = ordinal / BLOCK_STREAMS;
        if self.block != Some(block) || self.next_ordinal > ordinal {
            self.block = None;
            self.raw = self.inflate(block)?;
            self.block = Some(block);
            self.position = 0;
            self.next_ordinal = block.saturating_mul(BLOCK_STREAMS);
            self.encoded.clear();
        }
        while self.next_ordinal <= ordinal {
            self.step()?;
        }
        Labels::from_bytes(Bytes::copy_from_slice(&self.encoded))
    }

    /// Reads the next stream of the block.
    fn step(&mut self) -> Result<(), Error> {
        let rest = self.raw.get(self.position..).unwrap_or_default();
        let mut reader = Reader::with_base("inflated stream block", rest, self.position as u64);
        let at_shared = reader.clone();
        let shared = reader.varint()?;
        let suffix = reader.prefixed()?;
        if shared > self.encoded.len() as u64 {
            return Err(at_shared.invalid("bytes shared with the stream before", shared));
        }
        self.encoded.truncate(shared as usize);
        self.encoded.extend_from_slice(suffix);
        self.position = reader.offset() as usize;
        self.next_ordinal = self.next_ordinal.saturating_add(1);
        Ok(())
    }

    fn inflate(&self, block: u32) -> Result<Bytes, Error> {
        let mut reader = self.directory.block(block as usize)?;
        let at_len = reader.clone();
        let raw_len = reader.varint()?;
        let unreadable = || at_len.invalid("compressed block, inflated length", raw_len);
        if raw_len > BLOCK_RAW_LIMIT as u64 {
            return Err(unreadable());
        }
        let compressed = self.directory.blocks.slice_ref(reader.rest());
        Codec::decompress(CODEC.id(), &compressed, raw_len as usize).map_err(|_| unreadable())
    }
}

impl<I: Iterator<Item = u32>> Iterator for LabelsOf<'_, I> {
    type Item = Result<(u32, Labels), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let ordinal = self.ordinals.next()?;
        Some(self.read(ordinal).map(|labels| (ordinal, labels)))
    }
}

impl<I> fmt::Debug for LabelsOf<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabelsOf").field("next_ordinal", &self.next_ordinal).finish_non_exhaustive()
    }
}
