//! The data model and the encodings of loki-store.
//!
//! This crate knows what logs are made of and how they look as bytes: [`Labels`] name a stream, [`Entry`] is one line
//! of it, [`Matcher`] selects streams, and [`Chunk`] is the sealed, compressed, columnar form in which lines rest. It
//! does no I/O, is not async and never asks for the time; everything is a function of its arguments.
//!
//! ```
//! use loki_core::{Labels, MatchOp, Matcher};
//!
//! let labels = Labels::parse(r#"{app="api", env="prod"}"#)?;
//! let matcher = Matcher::new("env", MatchOp::Regex, "prod|staging")?;
//! assert!(matcher.matches(labels.get("env").unwrap_or_default()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | module | subject |
//! |---|---|
//! | [`entry`] | timestamps, time ranges, entries |
//! | [`labels`] | label sets, their text and binary form, Go string literals |
//! | [`matcher`] | stream selectors |
//! | [`re2`] | Go's regular expressions on top of the `regex` crate |
//! | [`encoding`] | bounds-checked reading and writing of bytes |
//! | [`chunk`] | the chunk codec |
//! | [`filter`] | skip filters: which chunks cannot hold a literal |
//! | [`index`] | label and stream index of a segment |
//! | [`rollup`] | entry and byte counts per stream and minute |
//!
//! # Invariants
//!
//! * Bytes from outside never panic a decoder, never make it allocate more than a checked claim allows, and never make
//!   it recurse without bound. A flipped bit is an [`Error::Corrupt`] or has no effect on the result.
//! * What is written to disk never depends on the machine: little-endian, no pointers, no randomised hashes.
//! * `chunk` and `index` do not know each other; the segment format in `loki-store` joins them.

pub mod chunk;
pub mod encoding;
pub mod entry;
pub mod error;
pub mod filter;
pub mod index;
pub mod labels;
pub mod matcher;
mod packing;
pub mod re2;
pub mod rollup;

pub use chunk::{
    Chunk, ChunkBuilder, ChunkOptions, ChunkSummary, Codec, Column, MetadataColumns, Run, SealedChunk, Text,
};
pub use entry::{Direction, Entry, TimeRange, Timestamp};
pub use error::{Corruption, Error};
pub use filter::{Filter, FilterBuilder, FilterSet, FilterSetBuilder, Needle};
pub use index::{Index, IndexBuilder};
pub use labels::{Labels, LabelsError};
pub use matcher::{MatchOp, Matcher};
pub use re2::{RegexError, RegexOptions};
pub use rollup::{Rollup, RollupBuilder};
