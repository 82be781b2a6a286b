//! The compressors a part can be stored with.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::cell::RefCell;
use std::io::Read;

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::{GzDecoder, GzEncoder};

use crate::error::{Corruption, Error};

/// The zstd level that is both faster and smaller than the higher ones on fresh, small chunks of logs.
pub const FAST_ZSTD_LEVEL: i32 = 1;
/// The zstd level for chunks that are written once by compaction and kept for long.
pub const SMALL_ZSTD_LEVEL: i32 = 6;

/// Effort of gzip: its own default.
const GZIP_LEVEL: u32 = 6;

/// How a part is compressed. Readers learn it from the part, so chunks of different codecs live side by side.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// Stored as it is.
    None,
    /// Snappy's block format.
    Snappy,
    /// LZ4's block format.
    Lz4,
    /// Zstandard with the given level; only the writer needs to know it.
    Zstd {
        /// The effort, from 1 to 22.
        level: i32,
    },
    /// Gzip, for stores that ask for it by name.
    Gzip,
}

impl Default for Codec {
    fn default() -> Self {
        Self::Zstd { level: FAST_ZSTD_LEVEL }
    }
}

thread_local! {
    /// Creating a zstd context costs more than compressing a small part, so each thread keeps one per direction.
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

impl Codec {
    /// The number that stands for this codec in a part's head.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Snappy => 1,
            Self::Lz4 => 2,
            Self::Zstd { .. } => 3,
            Self::Gzip => 4,
        }
    }

    /// Whether `id` names a codec this version can decompress.
    pub const fn is_known(id: u8) -> bool {
        id <= 4
    }

    /// Compresses `raw`.
    ///
    /// # Errors
    ///
    /// [`Error::Compress`], for example for a zstd level that does not exist.
    pub fn compress(self, raw: &[u8]) -> Result<Vec<u8>, Error> {
        let mut stored = Vec::new();
        self.compress_into(raw, &mut stored)?;
        Ok(stored)
    }

    /// Like [`Codec::compress`], but replaces what is in `stored`, whose memory is used again.
    pub fn compress_into(self, raw: &[u8], stored: &mut Vec<u8>) -> Result<(), Error> {
        let failed = || Error::Compress { codec: self };
        stored.clear();
        match self {
            Self::None => stored.extend_from_slice(raw),
            Self::Snappy => {
                stored.resize(snap::raw::max_compress_len(raw.len()), 0);
                let len = snap::raw::Encoder::new().compress(raw, stored).map_err(|_| failed())?;
                stored.truncate(len);
            }
            Self::Lz4 => {
                stored.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
                let len = lz4_flex::block::compress_into(raw, stored).map_err(|_| failed())?;
                stored.truncate(len);
            }
            Self::Zstd { level } => zstd_compress(level, raw, stored).map_err(|_| failed())?,
            Self::Gzip => {
                let mut encoder = GzEncoder::new(raw, Compression::new(GZIP_LEVEL));
                encoder.read_to_end(stored).map_err(|_| failed())?;
            }
        }
        Ok(())
    }

    /// Decompresses what the codec numbered `id` made of exactly `raw_len` bytes.
    ///
    /// Never allocates more than `raw_len`, which the caller has checked against its limits. Parts stored as they are
    /// come back without a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a codec of a newer version, [`Error::Corrupt`] when the bytes do not decompress to
    /// `raw_len` bytes.
    pub fn decompress(id: u8, stored: &Bytes, raw_len: usize) -> Result<Bytes, Error> {
        let failed = Error::corrupt(
            "compressed part",
            0,
            Corruption::Value { field: "raw length claimed for undecodable bytes", found: raw_len as u64 },
        );
        match id {
            0 => (stored.len() == raw_len).then(|| stored.clone()),
            1 => {
                let mut raw = vec![0; raw_len];
                let fits = snap::raw::decompress_len(stored) == Ok(raw_len);
                let decoded = fits && snap::raw::Decoder::new().decompress(stored, &mut raw) == Ok(raw_len);
                decoded.then(|| raw.into())
            }
            2 => {
                let mut raw = vec![0; raw_len];
                let len = lz4_flex::block::decompress_into(stored, &mut raw);
                len.is_ok_and(|len| len == raw_len).then(|| raw.into())
            }
            3 => zstd_decompress(stored, raw_len).map(Bytes::from),
            4 => {
                let mut raw = Vec::with_capacity(raw_len);
                // One byte more than claimed shows that the claim was wrong.
                let limit = (raw_len as u64).saturating_add(1);
                let read = GzDecoder::new(&**stored).take(limit).read_to_end(&mut raw);
                (read.is_ok() && raw.len() == raw_len).then(|| raw.into())
            }
            id => {
                return Err(Error::Unsupported { what: "codec", found: u64::from(id) });
            }
        }
        .ok_or(failed)
    }
}

fn zstd_compress(level: i32, raw: &[u8], stored: &mut Vec<u8>) -> std::io::Result<()> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((current, compressor)) => {
                if *current != level {
                    compressor.set_compression_level(level)?;
                    *current = level;
                }
                compressor
            }
            None => &mut slot.insert((level, zstd::bulk::Compressor::new(level)?)).1,
        };
        stored.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        compressor.compress_to_buffer(raw, stored)?;
        Ok(())
    })
}

fn zstd_decompress(stored: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        let mut raw = Vec::with_capacity(raw_len);
        let len = decompressor.decompress_to_buffer(stored, &mut raw).ok()?;
        (len == raw_len).then_some(raw)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [Codec::None, Codec::Snappy, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::Gzip];

    #[test]
    fn every_codec_round_trips() {
        for raw in [Vec::new(), b"x".to_vec(), b"level=info msg=ok\n".repeat(1000)] {
            for codec in ALL {
                let stored = Bytes::from(codec.compress(&raw).unwrap());
                assert_eq!(Codec::decompress(codec.id(), &stored, raw.len()).unwrap(), raw, "{codec:?}");
            }
        }
    }

    #[test]
    fn a_wrong_raw_length_is_refused() {
        let raw = b"level=info msg=ok\n".repeat(10);
        for codec in ALL {
            let stored = Bytes::from(codec.compress(&raw).unwrap());
            for claim in [0, raw.len() - 1, raw.len() + 1] {
                assert!(Codec::decompress(codec.id(), &stored, claim).is_err(), "{codec:?} {claim}");
            }
        }
    }

    #[test]
    fn levels_can_alternate_on_one_thread() {
        let raw = b"a line of text that repeats\n".repeat(500);
        for level in [1, 6, 1, 19] {
            let stored = Bytes::from(Codec::Zstd { level }.compress(&raw).unwrap());
            assert_eq!(Codec::decompress(3, &stored, raw.len()).unwrap(), raw);
        }
    }

    #[test]
    fn an_unknown_codec_is_unsupported_rather_than_corrupt() {
        let error = Codec::decompress(9, &Bytes::new(), 0);
        assert_eq!(error, Err(Error::Unsupported { what: "codec", found: 9 }));
    }
}
