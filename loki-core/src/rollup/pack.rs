//! Columns of numbers, bit-packed by runs of 128 above the smallest of each run.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::encoding::{Reader, put_varint};
use crate::error::Error;

/// How many values share a smallest value and a width.
const RUN_VALUES: usize = 128;
/// The most bytes the packed values of a run take.
const RUN_BYTES: usize = RUN_VALUES * 8;
/// The widest value that a load of eight bytes holds at any bit offset.
const LOAD_WIDTH: u32 = 57;

/// Appends `values`.
pub(super) fn put_column(out: &mut Vec<u8>, values: &[u64]) {
    for run in values.chunks(RUN_VALUES) {
        let min = run.iter().copied().min().unwrap_or_default();
        let max = run.iter().copied().max().unwrap_or_default();
        let width = u64::BITS.saturating_sub(max.wrapping_sub(min).leading_zeros());
        put_varint(out, min);
        out.push(width as u8);
        put_packed(out, run.iter().map(|value| value.wrapping_sub(min)), width);
    }
}

/// Replaces what is in `values` by the next `len` values of a column.
pub(super) fn read_column(reader: &mut Reader<'_>, len: usize, values: &mut Vec<u64>) -> Result<(), Error> {
    values.clear();
    values.reserve(len);
    let mut missing = len;
    while missing > 0 {
        let run_len = missing.min(RUN_VALUES);
        let min = reader.varint()?;
        let at_width = reader.clone();
        let width = u32::from(reader.u8()?);
        if width > u64::BITS {
            return Err(at_width.invalid("bit width", width.into()));
        }
        let packed = reader.bytes(packed_len(run_len, width))?;
        unpack(packed, run_len, width, min, values);
        missing = missing.saturating_sub(run_len);
    }
    Ok(())
}

fn packed_len(values: usize, width: u32) -> usize {
    values.saturating_mul(width as usize).div_ceil(8)
}

/// Appends the low `width` bits of each value, lowest bits first; the last byte is filled with zeroes.
fn put_packed(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let mut pending = 0_u128;
    let mut pending_bits = 0_u32;
    for value in values {
        // At most 7 bits are pending, so 71 are enough.
        pending |= u128::from(value) << pending_bits;
        pending_bits = pending_bits.saturating_add(width);
        while pending_bits >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            pending_bits = pending_bits.saturating_sub(8);
        }
    }
    if pending_bits > 0 {
        out.push(pending as u8);
    }
}

/// Appends `len` values to `values`; `packed` has the bytes for them.
fn unpack(packed: &[u8], len: usize, width: u32, min: u64, values: &mut Vec<u64>) {
    // Room behind the last value, so that its load needs no other case.
    let mut padded = [0; RUN_BYTES + 16];
    if let Some(start) = padded.get_mut(..packed.len()) {
        start.copy_from_slice(packed);
    }
    let mask = u64::MAX.unbounded_shr(u64::BITS.saturating_sub(width));
    let bit_offsets = (0..len as u32).map(|i| i.wrapping_mul(width));
    if width == 0 {
        values.extend(std::iter::repeat_n(min, len));
    } else if width <= LOAD_WIDTH {
        values.extend(bit_offsets.map(|bit| {
            let load = u64::from_le_bytes(load_at(&padded, bit / 8));
            (load >> (bit % 8) & mask).wrapping_add(min)
        }));
    } else {
        values.extend(bit_offsets.map(|bit| {
            let load = u128::from_le_bytes(load_at(&padded, bit / 8));
            ((load >> (bit % 8)) as u64 & mask).wrapping_add(min)
        }));
    }
}

/// The `N` bytes from `at`.
fn load_at<const N: usize>(bytes: &[u8], at: u32) -> [u8; N] {
    bytes.get(at as usize..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_round_trip_at_every_width(values in vec(any::<u64>(), 0..300), width in 0_u32..=64, min: u64) {
            let mask = u64::MAX.unbounded_shr(64_u32.saturating_sub(width));
            let values: Vec<u64> = values.iter().map(|value| (value & mask).saturating_add(min)).collect();
            let mut bytes = Vec::new();
            put_column(&mut bytes, &values);
            let mut reader = Reader::new("test", &bytes);
            let mut read = vec![1, 2, 3];
            read_column(&mut reader, values.len(), &mut read).unwrap();
            prop_assert_eq!(read, values);
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn equal_values_take_no_bits() {
        let mut bytes = Vec::new();
        put_column(&mut bytes, &[70; RUN_VALUES]);
        assert_eq!(bytes, [70, 0]);
    }

    #[test]
    fn widths_beyond_64_are_refused() {
        assert!(read_column(&mut Reader::new("test", &[0, 64, 1, 2, 3, 4, 5, 6, 7, 8]), 1, &mut Vec::new()).is_ok());
        assert!(
            read_column(&mut Reader::new("test", &[0, 65, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 1, &mut Vec::new()).is_err()
        );
    }
}
