//! Numbers of equal width in bits, and columns of them in frames of 128 above the smallest of each frame, as
//! [`encoding`](crate::encoding) specifies them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::encoding::{Reader, put_varint};
use crate::error::Error;

/// How many numbers share a smallest number and a width.
pub(crate) const FRAME_LEN: usize = 128;
/// The most bytes the packed numbers of a frame take.
const FRAME_BYTES: usize = FRAME_LEN * 8;
/// The widest number that one load of eight bytes holds whatever its offset in bits.
const LOAD_WIDTH: u32 = 57;

/// How many bits `value` needs.
pub(crate) fn width_of(value: u64) -> u32 {
    u64::BITS.saturating_sub(value.leading_zeros())
}

/// How many bytes `len` numbers of `width` bits take.
pub(crate) fn packed_len(len: usize, width: u32) -> usize {
    len.saturating_mul(width as usize).div_ceil(8)
}

/// Appends `values`, of `width` bits each, lowest bits first; the last byte is filled with zeroes.
pub(crate) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let mut pending = 0_u128;
    let mut pending_bits = 0_u32;
    for value in values {
        // Fewer than 64 bits are pending, so 128 are enough.
        pending |= u128::from(value) << pending_bits;
        pending_bits = pending_bits.saturating_add(width);
        if pending_bits >= 64 {
            out.extend_from_slice(&(pending as u64).to_le_bytes());
            pending >>= 64;
            pending_bits = pending_bits.saturating_sub(64);
        }
    }
    let bytes = pending.to_le_bytes();
    out.extend(bytes.iter().take(pending_bits.div_ceil(8) as usize));
}

/// The number at `index` among packed numbers of at most 32 bits; zero beyond the end.
pub(crate) fn packed_at(packed: &[u8], index: usize, width: u32) -> u32 {
    let bit = (index as u64).saturating_mul(u64::from(width));
    let rest = packed.get((bit / 8) as usize..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    };
    ((word >> (bit % 8)) & mask(width)) as u32
}

fn mask(width: u32) -> u64 {
    u64::MAX.unbounded_shr(u64::BITS.saturating_sub(width))
}

/// Appends a frame of at most [`FRAME_LEN`] numbers: smallest, width, packed differences.
pub(crate) fn put_frame(values: &[u64], out: &mut Vec<u8>) {
    let min = values.iter().copied().min().unwrap_or_default();
    let max = values.iter().copied().max().unwrap_or_default();
    let width = width_of(max.wrapping_sub(min));
    put_varint(out, min);
    out.push(width as u8);
    pack(values.iter().map(|value| value.wrapping_sub(min)), width, out);
}

/// Reads a frame of `len` numbers, at most [`FRAME_LEN`], to the start of `values`.
pub(crate) fn read_frame(reader: &mut Reader<'_>, len: usize, values: &mut [u64; FRAME_LEN]) -> Result<(), Error> {
    let min = reader.varint()?;
    let at_width = reader.clone();
    let width = u32::from(reader.u8()?);
    if width > u64::BITS {
        return Err(at_width.invalid("width of a frame", u64::from(width)));
    }
    let packed = reader.bytes(packed_len(len, width))?;
    unpack(packed, len, width, min, values);
    Ok(())
}

/// Unpacks `len` numbers and adds `min` to each.
fn unpack(packed: &[u8], len: usize, width: u32, min: u64, values: &mut [u64; FRAME_LEN]) {
    // Room behind the last number, so that loading it is no special case.
    let mut padded = [0; FRAME_BYTES + 16];
    if let Some(start) = padded.get_mut(..packed.len()) {
        start.copy_from_slice(packed);
    }
    let mask = mask(width);
    let numbers = values.iter_mut().take(len).zip(0_u32..);
    if width <= LOAD_WIDTH {
        for (value, index) in numbers {
            let bit = index.wrapping_mul(width);
            let word = u64::from_le_bytes(load_at(&padded, bit / 8));
            *value = ((word >> (bit % 8)) & mask).wrapping_add(min);
        }
    } else {
        for (value, index) in numbers {
            let bit = index.wrapping_mul(width);
            let word = u128::from_le_bytes(load_at(&padded, bit / 8));
            *value = ((word >> (bit % 8)) as u64 & mask).wrapping_add(min);
        }
    }
}

fn load_at<const N: usize>(bytes: &[u8], at: u32) -> [u8; N] {
    bytes.get(at as usize..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Appends `values` as frames.
pub(crate) fn put_column(values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let mut frame = Vec::with_capacity(FRAME_LEN);
    for value in values {
        frame.push(value);
        if frame.len() == FRAME_LEN {
            put_frame(&frame, out);
            frame.clear();
        }
    }
    if !frame.is_empty() {
        put_frame(&frame, out);
    }
}

/// Reads `len` numbers written by [`put_column`] and hands them to `each` frame by frame.
pub(crate) fn read_column(reader: &mut Reader<'_>, len: usize, mut each: impl FnMut(&[u64])) -> Result<(), Error> {
    let mut frame = [0; FRAME_LEN];
    let mut missing = len;
    while missing > 0 {
        let frame_len = missing.min(FRAME_LEN);
        read_frame(reader, frame_len, &mut frame)?;
        each(frame.get(..frame_len).unwrap_or_default());
        missing = missing.saturating_sub(frame_len);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_of_any_width_round_trip(
            width in 0_u32..=64,
            min: u64,
            values in proptest::collection::vec(any::<u64>(), 0..300),
        ) {
            let values: Vec<u64> = values.into_iter().map(|value| (value & mask(width)).saturating_add(min)).collect();
            let mut bytes = Vec::new();
            put_column(values.iter().copied(), &mut bytes);
            let mut reader = Reader::new("test", &bytes);
            let mut read = Vec::new();
            read_column(&mut reader, values.len(), |frame| read.extend_from_slice(frame)).unwrap();
            prop_assert_eq!(read, values);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn packed_numbers_are_found_by_index(width in 0_u32..=32, values in proptest::collection::vec(any::<u32>(), 0..50)) {
            let values: Vec<u32> = values.into_iter().map(|value| value & mask(width) as u32).collect();
            let mut bytes = Vec::new();
            pack(values.iter().copied().map(u64::from), width, &mut bytes);
            prop_assert_eq!(bytes.len(), packed_len(values.len(), width));
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(packed_at(&bytes, index, width), *value);
            }
        }
    }
    #[test]
    fn equal_numbers_take_no_bits() {
        let mut bytes = Vec::new();
        put_column(std::iter::repeat_n(70, FRAME_LEN), &mut bytes);
        assert_eq!(bytes, [70, 0]);
    }

    #[test]
    fn widths_beyond_64_bits_are_refused() {
        let read = |bytes: &[u8]| read_column(&mut Reader::new("test", bytes), 1, |_| ());
        assert!(read(&[0, 64, 1, 2, 3, 4, 5, 6, 7, 8]).is_ok());
        assert!(read(&[0, 65, 1, 2, 3, 4, 5, 6, 7, 8, 9]).is_err());
    }
}
