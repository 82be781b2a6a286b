//! What can go wrong in this crate.

use crate::chunk::Codec;

/// An encoding or decoding failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes are not what was once written, or were never ours.
    #[error("corrupt {what} at byte {offset}")]
    Corrupt {
        /// The structure being decoded.
        what: &'static str,
        /// Where in the bytes that were handed in.
        offset: u64,
        /// What is wrong with it.
        source: Corruption,
    },
    /// Bytes are intact but use something this version does not know.
    #[error("unsupported {what}: {found}")]
    Unsupported {
        /// Which choice is unknown, for example the codec of a part.
        what: &'static str,
        /// The value found.
        found: u64,
    },
    /// A compressor refused its input or its parameters.
    #[error("{codec:?} failed to compress")]
    Compress {
        /// The codec that failed.
        codec: Codec,
    },
    /// Something was added after what it has to come before: a row to a chunk, a stream to an index, counts to a rollup.
    #[error("added out of order")]
    RowOrder,
    /// There is nothing to encode.
    #[error("an empty {what} cannot be encoded")]
    Empty {
        /// What would be empty.
        what: &'static str,
    },
    /// Something to encode is larger than the format allows.
    #[error("{what} would be {requested}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The size asked for.
        requested: u64,
        /// The largest size allowed.
        limit: u64,
    },
}

impl Error {
    /// A [`Error::Corrupt`].
    pub const fn corrupt(what: &'static str, offset: u64, source: Corruption) -> Self {
        Self::Corrupt { what, offset, source }
    }
}

/// The particular damage of an [`Error::Corrupt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The first bytes do not name the format.
    #[error("unknown magic {found:#010x}")]
    Magic {
        /// The bytes found, read as little-endian.
        found: u32,
    },
    /// Written by a version that this one cannot read.
    #[error("version {found}, the newest supported is {supported}")]
    Version {
        /// The version found.
        found: u32,
        /// The newest version this code reads.
        supported: u32,
    },
    /// The bytes do not have the checksum they were written with.
    #[error("checksum {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// The checksum stored beside the bytes.
        expected: u32,
        /// The checksum of the bytes as they are.
        found: u32,
    },
    /// Fewer bytes than a length says.
    #[error("{needed} bytes needed, {available} available")]
    Truncated {
        /// Bytes that should be there.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// A value that the format does not allow at this place.
    #[error("{field} is {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value, or a number that describes it.
        found: u64,
    },
}
