//! Opening an index and looking things up in it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fst::{IntoStreamer, Map, Streamer};

use super::directory::{BLOCK_STREAMS, Directory, LabelsOf, TABLE_ENTRY_BYTES};
use super::postings::StreamSet;
use super::{MAGIC, SYMBOL_SEPARATOR, VERSION};
use crate::encoding::{self, Reader};
use crate::error::{Corruption, Error};
use crate::labels::Labels;

/// The label and stream index of a tenant in a segment.
///
/// Opening verifies the head only; each section is verified when it is first used, and before any of it is looked at.
pub struct Index {
    streams: u32,
    symbols: Section,
    /// The map in `symbols`, once that is verified.
    symbol_map: OnceLock<Map<Bytes>>,
    postings: Section,
    stream_table: Section,
    /// The blocks have checksums of their own, in the table.
    stream_blocks: Bytes,
    stream_blocks_offset: u64,
}

impl Index {
    /// Opens what [`IndexBuilder::finish`](super::IndexBuilder::finish) made.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the head is damaged or does not fit the length of `bytes`.
    #[expect(clippy::needless_pass_by_value, reason = "the index keeps shares of the bytes")]
    pub fn open(bytes: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new("index", &bytes);
        let magic = reader.u32()?;
        if magic != MAGIC {
            return Err(Error::corrupt("index", 0, Corruption::Magic { found: magic }));
        }
        let [version, ..] = reader.array::<4>()?;
        if version != VERSION {
            let source = Corruption::Version { found: version.into(), supported: VERSION.into() };
            return Err(Error::corrupt("index", 4, source));
        }
        let streams = reader.u32()?;
        let [symbols, postings, stream_table] =
            [read_claim(&mut reader)?, read_claim(&mut reader)?, read_claim(&mut reader)?];
        let blocks_len = read_len(&mut reader)?;
        let found = encoding::crc32(bytes.get(..reader.offset() as usize).unwrap_or_default());
        let expected = reader.u32()?;
        if found != expected {
            return Err(Error::corrupt("index", 0, Corruption::Checksum { expected, found }));
        }
        let symbols = Section::take("symbols", symbols, &mut reader, &bytes)?;
        let postings = Section::take("postings", postings, &mut reader, &bytes)?;
        let stream_table = Section::take("stream table", stream_table, &mut reader, &bytes)?;
        let stream_blocks_offset = reader.offset();
        let stream_blocks = bytes.slice_ref(reader.bytes(blocks_len)?);
        reader.finish()?;
        if stream_table.bytes.len() != (streams.div_ceil(BLOCK_STREAMS) as usize).saturating_mul(TABLE_ENTRY_BYTES) {
            return Err(Error::corrupt(
                "stream table",
                stream_table.offset,
                Corruption::Value { field: "length", found: stream_table.bytes.len() as u64 },
            ));
        }
        let symbol_map = OnceLock::new();
        Ok(Self { streams, symbols, symbol_map, postings, stream_table, stream_blocks, stream_blocks_offset })
    }

    /// How many streams there are; their ordinals are from zero to one less.
    pub const fn streams(&self) -> u32 {
        self.streams
    }

    /// The labels of one stream.
    ///
    /// Inflates the block of 256 streams that it is in; for many streams use [`Index::labels_of`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the directory is damaged or there is no such stream.
    pub fn labels(&self, ordinal: u32) -> Result<Labels, Error> {
        LabelsOf::new(self.directory()?, std::iter::empty()).read(ordinal)
    }

    /// The labels of streams, with their ordinals; every block is inflated once if the ordinals ascend.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the directory is damaged; also the items, when a block is or there is no such stream.
    pub fn labels_of<I>(&self, ordinals: I) -> Result<LabelsOf<'_, I::IntoIter>, Error>
    where
        I: IntoIterator<Item = u32>,
    {
        Ok(LabelsOf::new(self.directory()?, ordinals.into_iter()))
    }

    /// Calls `visit` with each value of the label `name` that begins with `prefix`, in order, and with what the map has
    /// for it, until told to stop.
    pub(super) fn for_each_value(
        &self,
        name: &str,
        prefix: &str,
        mut visit: impl FnMut(&str, u64) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let from = symbol_of(name, prefix);
        let mut stream = self.symbols()?.range().ge(&from).into_stream();
        while let Some((key, value)) = stream.next() {
            if !key.starts_with(&from) || visit(self.split(key)?.1, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What the map has for a label, if some stream has it.
    pub(super) fn symbol(&self, name: &str, value: &str) -> Result<Option<u64>, Error> {
        Ok(self.symbols()?.get(symbol_of(name, value)))
    }

    /// The streams of a symbol, by what the map has for it.
    pub(super) fn stream_set(&self, value: u64) -> Result<StreamSet, Error> {
        StreamSet::read(value, self.postings.verified()?, self.postings.offset, self.streams)
    }

    /// The map, verified.
    pub(super) fn symbols(&self) -> Result<&Map<Bytes>, Error> {
        if let Some(map) = self.symbol_map.get() {
            return Ok(map);
        }
        let bytes = self.symbols.verified()?.clone();
        let len = bytes.len() as u64;
        let map = Map::new(bytes).map_err(|_| {
            Error::corrupt(
                "symbols",
                self.symbols.offset,
                Corruption::Value { field: "map, of this many bytes", found: len },
            )
        })?;
        Ok(self.symbol_map.get_or_init(|| map))
    }

    fn directory(&self) -> Result<Directory<'_>, Error> {
        Ok(Directory {
            table: self.stream_table.verified()?,
            blocks: &self.stream_blocks,
            base: self.stream_blocks_offset,
            streams: self.streams,
        })
    }

    /// The name and the value of a symbol.
    pub(super) fn split<'k>(&self, key: &'k [u8]) -> Result<(&'k str, &'k str), Error> {
        let mut parts = key.splitn(2, |byte| *byte == SYMBOL_SEPARATOR).map(std::str::from_utf8);
        match (parts.next(), parts.next()) {
            (Some(Ok(name)), Some(Ok(value))) => Ok((name, value)),
            _ => Err(Error::corrupt(
                "symbols",
                self.symbols.offset,
                Corruption::Value { field: "symbol, of this many bytes", found: key.len() as u64 },
            )),
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("streams", &self.streams)
            .field("symbols_bytes", &self.symbols.bytes.len())
            .field("postings_bytes", &self.postings.bytes.len())
            .field("streams_bytes", &self.stream_blocks.len())
            .finish_non_exhaustive()
    }
}

/// Bytes with one checksum, verified when they are first used.
struct Section {
    what: &'static str,
    bytes: Bytes,
    /// Where it begins in the bytes that were handed in.
    offset: u64,
    checksum: u32,
    is_verified: AtomicBool,
}

impl Section {
    /// Takes as many bytes off `reader`, which reads `bytes`, as `claim` says.
    fn take(what: &'static str, claim: Claim, reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Self, Error> {
        let offset = reader.offset();
        let bytes = bytes.slice_ref(reader.bytes(claim.len)?);
        Ok(Self { what, bytes, offset, checksum: claim.checksum, is_verified: AtomicBool::new(false) })
    }

    fn verified(&self) -> Result<&Bytes, Error> {
        // The bytes never change, so that nothing has to be ordered by this flag.
        if !self.is_verified.load(Ordering::Relaxed) {
            let found = encoding::crc32(&self.bytes);
            if found != self.checksum {
                let source = Corruption::Checksum { expected: self.checksum, found };
                return Err(Error::corrupt(self.what, self.offset, source));
            }
            self.is_verified.store(true, Ordering::Relaxed);
        }
        Ok(&self.bytes)
    }
}

/// What the head says of a section.
#[derive(Clone, Copy)]
struct Claim {
    len: usize,
    checksum: u32,
}

fn read_claim(reader: &mut Reader<'_>) -> Result<Claim, Error> {
    Ok(Claim { len: read_len(reader)?, checksum: reader.u32()? })
}

fn read_len(reader: &mut Reader<'_>) -> Result<usize, Error> {
    // Lengths that do not fit are longer than what there is to read.
    Ok(usize::try_from(reader.u64()?).unwrap_or(usize::MAX))
}

/// The key of a label in the map.
pub(super) fn symbol_of(name: &str, value: &str) -> Vec<u8> {
    [name.as_bytes(), &[SYMBOL_SEPARATOR], value.as_bytes()].concat()
}
