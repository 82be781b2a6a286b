//! The chunk codec: sealed, compressed, columnar runs of entries.

mod codec;

pub use codec::{Codec, FAST_ZSTD_LEVEL, SMALL_ZSTD_LEVEL};
