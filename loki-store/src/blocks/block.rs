//! A block as it is written.
//!
//! A file holds, integers being little-endian: the magic bytes `LKB1`; the segment's id, 16 bytes; the block's number in
//! the segment, 4 bytes; the number of bytes that follow the header, 4 bytes; the CRC-32 of everything but itself, 4
//! bytes; and these bytes of the segment, which begin at the number times [`BLOCK_BYTES`].

use std::fmt;
use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use crate::segment::SegmentId;

/// Bytes of a segment in a block; the last one of a segment may have fewer.
pub(crate) const BLOCK_BYTES: u64 = 256 << 10;
/// What comes before them.
pub(super) const HEADER_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"LKB1";
const CHECKSUM_AT: usize = HEADER_BYTES - 4;

/// Names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockKey {
    pub(crate) segment: SegmentId,
    pub(crate) number: u32,
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.segment, self.number)
    }
}

/// The numbers of the blocks that hold some bytes; `None` if there are no bytes, or not that many in any segment.
pub(super) fn numbers(span: &Range<u64>) -> Option<RangeInclusive<u32>> {
    if span.is_empty() {
        return None;
    }
    let of = |byte: u64| u32::try_from(byte / BLOCK_BYTES).ok();
    Some(of(span.start)?..=of(span.end - 1)?)
}

/// Where a block begins.
pub(super) fn start(number: u32) -> u64 {
    u64::from(number) * BLOCK_BYTES
}

/// Where a block of a segment of `size` bytes lies in it.
pub(super) fn span(number: u32, size: u64) -> Range<u64> {
    start(number).min(size)..(start(number) + BLOCK_BYTES).min(size)
}

/// What is written before the bytes of a block.
pub(super) fn header(key: BlockKey, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..20].copy_from_slice(key.segment.0.as_bytes());
    header[20..24].copy_from_slice(&key.number.to_le_bytes());
    header[24..CHECKSUM_AT].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let checksum = checksum(&header[..CHECKSUM_AT], payload);
    header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The bytes of a block of `len` bytes; `None` if the file is not what was once written for it.
pub(super) fn decode(file: Vec<u8>, key: BlockKey, len: usize) -> Option<Bytes> {
    let (found, payload) = file.split_first_chunk::<HEADER_BYTES>()?;
    if payload.len() != len || *found != header(key, payload) {
        return None;
    }
    Some(Bytes::from(file).slice(HEADER_BYTES..))
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const KEY: BlockKey = BlockKey { segment: SegmentId(Uuid::from_u128(0x0102_0304)), number: 5 };

    fn written(payload: &[u8]) -> Vec<u8> {
        [&header(KEY, payload)[..], payload].concat()
    }

    #[test]
    fn the_documented_bytes_are_read() {
        let mut file = b"LKB1".to_vec();
        file.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        file.extend([5, 0, 0, 0]);
        file.extend([3, 0, 0, 0]);
        file.extend(crc32fast::hash(&[&file[..], b"abc"].concat()).to_le_bytes());
        file.extend(b"abc");
        assert_eq!(decode(file.clone(), KEY, 3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(written(b"abc"), file);
    }

    #[test]
    fn nothing_else_passes_for_a_block() {
        let file = written(b"some bytes");
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 0x10;
            assert_eq!(decode(damaged, KEY, 10), None, "byte {place}");
            assert_eq!(decode(file[..place].to_vec(), KEY, 10), None, "cut at {place}");
        }
        assert_eq!(decode([&file[..], b"x"].concat(), KEY, 11), None, "longer");
        assert_eq!(decode(file.clone(), KEY, 9), None, "of another size");
        assert_eq!(decode(file.clone(), BlockKey { number: 4, ..KEY }, 10), None, "another block");
        assert_eq!(decode(file, BlockKey { segment: SegmentId(Uuid::nil()), ..KEY }, 10), None, "another segment");
    }

    #[test]
    fn blocks_are_numbered_from_the_segments_first_byte() {
        assert_eq!(numbers(&(0..1)), Some(0..=0));
        assert_eq!(numbers(&(BLOCK_BYTES - 1..BLOCK_BYTES + 1)), Some(0..=1));
        assert_eq!(numbers(&(BLOCK_BYTES..2 * BLOCK_BYTES)), Some(1..=1));
        assert_eq!(numbers(&(7..7)), None);
        assert_eq!(numbers(&(0..u64::MAX)), None);
        assert_eq!(span(1, BLOCK_BYTES + 10), BLOCK_BYTES..BLOCK_BYTES + 10);
        assert_eq!(span(u32::MAX, 10), 10..10);
    }
}
