//! The chunk codec: sealed, compressed, columnar runs of entries.
//!
//! A chunk holds up to a megabyte or so of lines of one tenant, sorted by stream and time. It spans streams, because
//! many small streams compress far better together than apart. Its columns are *parts* that are compressed and
//! checksummed on their own, so a query inflates only what it names: counting needs times, not text.
//!
//! Chunks refer to streams by ordinals; whoever stores chunks keeps the list that the ordinals point into. The codec
//! works without the rest of loki-store, for programs that bring their own storage.
//!
//! ```
//! use loki_core::{Chunk, ChunkBuilder, ChunkOptions, Labels, Timestamp};
//!
//! let mut builder = ChunkBuilder::new(ChunkOptions::default());
//! let trace = Labels::from_sorted([("trace_id", "5b8efff798038103d269b633813fc60c")]);
//! builder.append(0, Timestamp(10), b"GET /", &trace)?;
//! builder.append(0, Timestamp(20), b"GET /favicon.ico", &Labels::EMPTY)?;
//! builder.append(7, Timestamp(15), b"started", &Labels::EMPTY)?;
//! let sealed = builder.finish()?;
//!
//! let chunk = Chunk::open(sealed.bytes)?;
//! assert_eq!(chunk.timestamps()?, [10, 20, 15]);
//! assert_eq!(chunk.text()?.line(1), b"GET /favicon.ico");
//! assert_eq!(chunk.metadata()?.row(0).next(), trace.iter().next());
//! # Ok::<(), loki_core::Error>(())
//! ```
#![doc = include_str!("format/chunk.md")]

mod builder;
mod codec;
mod metadata;
mod reader;
mod text;
mod timestamps;

use crate::error::Error;

pub use builder::{ChunkBuilder, ChunkOptions, ChunkSummary, SealedChunk};
pub use codec::{Codec, FAST_ZSTD_LEVEL, SMALL_ZSTD_LEVEL};
pub use metadata::{Column, MetadataColumns};
pub use reader::{Chunk, PartKind, PartSize};
pub use text::{LineAt, RowFinder, Text};

/// The most rows a chunk can have.
pub const MAX_ROWS: u32 = 1 << 20;

/// The most bytes the lines of a chunk can have, each counted with the newline that ends it. Chunks are sealed long
/// before, but a single line may be this large.
pub const MAX_TEXT_BYTES: u32 = 64 << 20;

/// The most bytes the structured metadata of a chunk can have, counting name and value of every pair and
/// [`METADATA_PAIR_OVERHEAD_BYTES`] besides.
pub const MAX_METADATA_BYTES: u32 = 64 << 20;

/// What a pair of structured metadata weighs beyond its name and value, at most, once encoded.
pub const METADATA_PAIR_OVERHEAD_BYTES: u32 = 16;

/// The most different names of structured metadata in a chunk.
pub const MAX_METADATA_COLUMNS: u32 = 1 << 16;

/// The most parts a chunk can have, those of newer versions included.
pub const MAX_PARTS: u8 = 32;

const MAGIC: u32 = u32::from_le_bytes(*b"LKCK");
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 16;
const PART_HEAD_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// Set when no line contains a newline, so that newlines alone tell the lines apart.
const FLAG_NEWLINE_CLEAN: u8 = 1;

/// Consecutive rows of one stream.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// The stream's ordinal.
    pub stream: u32,
    /// How many rows it has in this chunk; at least one.
    pub rows: u32,
}

/// Fails when more is asked for than the format allows.
fn check_limit(what: &'static str, requested: u64, limit: u32) -> Result<(), Error> {
    let limit = u64::from(limit);
    if requested > limit { Err(Error::Limit { what, requested, limit }) } else { Ok(()) }
}
