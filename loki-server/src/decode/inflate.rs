//! `Content-Encoding`: bodies inflated within a limit, so that a small request cannot become a large one in memory.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How many times larger than the body the first buffer is.
const EXPECTED_RATIO: usize = 4;
/// Bytes of the first buffer at most; it grows when more is needed.
const MAX_FIRST_BUFFER_BYTES: usize = 8 << 20;

/// What a body is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Nothing.
    Plain,
    /// gzip, one member or several.
    Gzip,
    /// DEFLATE without zlib's header.
    Deflate,
    /// zstd.
    Zstd,
    /// lz4 frames.
    Lz4,
}

/// What came out of a body.
#[derive(Debug)]
pub(crate) struct Inflated {
    /// The content, up to where inflating failed if it did.
    pub(crate) bytes: Bytes,
    /// Why there is no more of it.
    pub(crate) error: Option<InflateError>,
}

/// Why a body cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InflateError {
    /// It ends too early.
    #[error("unexpected EOF")]
    Truncated,
    /// There is nothing in it.
    #[error("EOF")]
    Nothing,
    /// It does not begin as gzip does.
    #[error("gzip: invalid header")]
    GzipHeader,
    /// It is damaged.
    #[error("{0}: corrupt input")]
    Corrupt(&'static str),
    /// It is larger than it may be.
    #[error("decompressed message size exceeds limit {limit_bytes}")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

impl Encoding {
    /// What the header of a native push means. Loki refuses zstd; a body that is zstd indeed is taken all the same,
    /// because Vector sends it.
    pub(crate) fn of_push(header: &str, body: &[u8]) -> Option<Self> {
        match header {
            // Snappy is part of the native format, not an encoding around it; JSON that says so is plain.
            "" | "snappy" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" if body.starts_with(&ZSTD_MAGIC) => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What the header of an OTLP push means.
    pub(crate) fn of_otlp(header: &str) -> Option<Self> {
        match header {
            "" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "lz4" => Some(Self::Lz4),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "body",
            Self::Gzip => "gzip",
            Self::Deflate => "flate",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

/// The content of a body, all of it or an error.
pub(crate) fn inflate_all(encoding: Encoding, body: Bytes, limit_bytes: usize) -> Result<Bytes, InflateError> {
    let inflated = inflate(encoding, body, limit_bytes)?;
    inflated.error.map_or(Ok(inflated.bytes), Err)
}

/// The content of a body as far as it can be read; an error only when it is larger than `limit_bytes`.
pub(crate) fn inflate(encoding: Encoding, body: Bytes, limit_bytes: usize) -> Result<Inflated, InflateError> {
    match encoding {
        Encoding::Plain if body.len() > limit_bytes => Err(InflateError::TooLarge { limit_bytes }),
        Encoding::Plain => Ok(Inflated { bytes: body, error: None }),
        Encoding::Gzip => read(MultiGzDecoder::new(&*body), encoding, &body, limit_bytes),
        Encoding::Deflate => read(DeflateDecoder::new(&*body), encoding, &body, limit_bytes),
        Encoding::Lz4 => read(lz4_flex::frame::FrameDecoder::new(&*body), encoding, &body, limit_bytes),
        Encoding::Zstd => match zstd::stream::read::Decoder::with_buffer(&*body) {
            Ok(decoder) => read(decoder, encoding, &body, limit_bytes),
            Err(_) => Ok(Inflated { bytes: Bytes::new(), error: Some(InflateError::Corrupt(encoding.name())) }),
        },
    }
}

fn read(decoder: impl Read, encoding: Encoding, body: &[u8], limit_bytes: usize) -> Result<Inflated, InflateError> {
    let capacity = body.len().saturating_mul(EXPECTED_RATIO).min(MAX_FIRST_BUFFER_BYTES).min(limit_bytes);
    let mut bytes = Vec::with_capacity(capacity);
    let outcome = decoder.take(limit_bytes as u64 + 1).read_to_end(&mut bytes);
    if bytes.len() > limit_bytes {
        return Err(InflateError::TooLarge { limit_bytes });
    }
    let error = outcome.err().map(|error| describe(&error, encoding, bytes.is_empty()));
    Ok(Inflated { bytes: bytes.into(), error })
}

fn describe(error: &io::Error, encoding: Encoding, is_empty: bool) -> InflateError {
    match (error.kind(), encoding) {
        (io::ErrorKind::UnexpectedEof, _) => InflateError::Truncated,
        (_, Encoding::Gzip) if is_empty => InflateError::GzipHeader,
        (_, Encoding::Deflate) if is_empty => InflateError::Nothing,
        _ => InflateError::Corrupt(encoding.name()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn gzip(content: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("in memory");
        encoder.finish().expect("in memory").into()
    }

    #[test]
    fn every_encoding_is_undone() {
        let content = b"the same content again and again and again".repeat(50);
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&content).expect("in memory");
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&content).expect("in memory");
        let bodies = [
            (Encoding::Plain, content.clone()),
            (Encoding::Gzip, gzip(&content).to_vec()),
            (Encoding::Deflate, deflate.finish().expect("in memory")),
            (Encoding::Zstd, zstd::bulk::compress(&content, 1).expect("in memory")),
            (Encoding::Lz4, lz4.finish().expect("in memory")),
        ];
        for (encoding, body) in bodies {
            assert_eq!(inflate_all(encoding, body.into(), LIMIT).as_deref(), Ok(&*content), "{encoding:?}");
        }
    }

    #[test]
    fn bombs_are_defused_at_the_limit() {
        let content = vec![0; 4096];
        let body = gzip(&content);
        assert!(inflate_all(Encoding::Gzip, body.clone(), 4096).is_ok());
        let error = InflateError::TooLarge { limit_bytes: 4095 };
        assert_eq!(inflate_all(Encoding::Gzip, body, 4095), Err(error));
        assert_eq!(inflate_all(Encoding::Plain, content.into(), 4095), Err(error));
    }

    #[test]
    fn what_came_before_a_cut_is_kept() {
        let body = gzip(b"content");
        let cut = body.slice(..body.len() - 8);
        let inflated = inflate(Encoding::Gzip, cut, LIMIT).expect("small");
        assert_eq!(&*inflated.bytes, b"content");
        assert_eq!(inflated.error, Some(InflateError::Truncated));
    }

    #[test]
    fn zlib_is_not_deflate() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"content").expect("in memory");
        let body = zlib.finish().expect("in memory").into();
        assert_eq!(inflate_all(Encoding::Deflate, body, LIMIT), Err(InflateError::Nothing));
    }

    #[test]
    fn zstd_must_be_zstd_to_be_taken() {
        assert_eq!(Encoding::of_push("zstd", b"{}"), None);
        let body = zstd::bulk::compress(b"{}", 1).expect("in memory");
        assert_eq!(Encoding::of_push("zstd", &body), Some(Encoding::Zstd));
        assert_eq!(Encoding::of_push("br", b""), None);
    }
}
