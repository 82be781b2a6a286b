//! The TS part: differences of timestamps in the largest unit they are multiples of, bit-packed.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::Run;
use crate::encoding::{Reader, put_varint, unzigzag, zigzag};
use crate::error::Error;
use crate::packing::{FRAME_LEN, put_frame, read_frame};

/// The powers of ten, in nanoseconds, that can be a unit: from a nanosecond to a second.
const UNITS: [u64; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
const LARGEST_UNIT: u8 = 9;

/// Appends the timestamps of `runs`, which ascend within each run.
pub(super) fn encode(runs: &[Run], timestamps: &[i64], out: &mut Vec<u8>) {
    let base = timestamps.first().copied().unwrap_or_default();
    out.extend_from_slice(&base.to_le_bytes());
    let mut rest = timestamps;
    let mut deltas = Vec::new();
    for run in runs {
        let Some((run, behind)) = rest.split_at_checked(run.rows as usize) else { break };
        rest = behind;
        encode_run(base, run, &mut deltas, out);
    }
}

fn encode_run(base: i64, timestamps: &[i64], deltas: &mut Vec<u64>, out: &mut Vec<u8>) {
    let first = timestamps.first().copied().unwrap_or_default();
    let offset = first.wrapping_sub(base);
    let offset_unit = common_unit(std::iter::once(offset.unsigned_abs()));
    deltas.clear();
    let later = timestamps.iter().skip(1);
    deltas.extend(timestamps.iter().zip(later).map(|(a, b)| b.wrapping_sub(*a) as u64));
    let unit = common_unit(deltas.iter().copied());
    out.push(offset_unit | (unit << 4));
    put_varint(out, zigzag(offset.checked_div(unit_nanos(offset_unit) as i64).unwrap_or_default()));
    divide(deltas, unit);
    deltas.chunks(FRAME_LEN).for_each(|frame| put_frame(frame, out));
}

/// The largest unit of which all `nanos` are multiples.
fn common_unit(nanos: impl Iterator<Item = u64>) -> u8 {
    let mut unit = LARGEST_UNIT;
    for nanos in nanos {
        while !nanos.is_multiple_of(unit_nanos(unit)) {
            unit = unit.saturating_sub(1);
        }
        if unit == 0 {
            break;
        }
    }
    unit
}

/// Divides all of `nanos` by `unit`. The usual units are constants here, because dividing by a constant is a
/// multiplication.
fn divide(nanos: &mut [u64], unit: u8) {
    match unit {
        0 => {}
        3 => divide_by::<1_000>(nanos),
        6 => divide_by::<1_000_000>(nanos),
        9 => divide_by::<1_000_000_000>(nanos),
        unit => {
            let unit = unit_nanos(unit);
            for nanos in nanos {
                *nanos = nanos.checked_div(unit).unwrap_or_default();
            }
        }
    }
}

fn divide_by<const UNIT: u64>(nanos: &mut [u64]) {
    for nanos in nanos {
        *nanos = nanos.checked_div(UNIT).unwrap_or_default();
    }
}

fn unit_nanos(unit: u8) -> u64 {
    UNITS.get(usize::from(unit)).copied().unwrap_or(1)
}

/// The timestamps of `rows` rows in `runs`, whose sum they are.
pub(super) fn decode(reader: &mut Reader<'_>, runs: &[Run], rows: u32) -> Result<Vec<i64>, Error> {
    let base = reader.i64()?;
    let mut timestamps = Vec::with_capacity(rows as usize);
    let mut frame = [0; FRAME_LEN];
    for run in runs {
        let at_units = reader.clone();
        let units = reader.u8()?;
        let (offset_unit, unit) = (units & 0xf, units >> 4);
        if offset_unit > LARGEST_UNIT || unit > LARGEST_UNIT {
            return Err(at_units.invalid("units of a run", u64::from(units)));
        }
        let offset = unzigzag(reader.varint()?).wrapping_mul(unit_nanos(offset_unit) as i64);
        let unit = unit_nanos(unit);
        let mut timestamp = base.wrapping_add(offset);
        timestamps.push(timestamp);
        let mut missing = run.rows.saturating_sub(1) as usize;
        while missing > 0 {
            let frame_len = missing.min(FRAME_LEN);
            read_frame(reader, frame_len, &mut frame)?;
            timestamps.extend(frame.iter().take(frame_len).map(|delta| {
                timestamp = timestamp.wrapping_add(delta.wrapping_mul(unit) as i64);
                timestamp
            }));
            missing = missing.saturating_sub(frame_len);
        }
    }
    reader.finish()?;
    Ok(timestamps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(runs: &[Vec<i64>]) -> usize {
        let lens: Vec<Run> = runs.iter().map(|run| Run { stream: 0, rows: run.len() as u32 }).collect();
        let all = runs.concat();
        let mut bytes = Vec::new();
        encode(&lens, &all, &mut bytes);
        let decoded = decode(&mut Reader::new("test", &bytes), &lens, all.len() as u32).unwrap();
        assert_eq!(decoded, all);
        bytes.len()
    }

    proptest! {
        #[test]
        fn any_ascending_timestamps_round_trip(
            mut runs in proptest::collection::vec(proptest::collection::vec(any::<i64>(), 1..200), 1..5),
            unit in 0_u8..=9,
        ) {
            for run in &mut runs {
                let unit = unit_nanos(unit) as i64;
                for timestamp in &mut *run {
                    *timestamp = timestamp.checked_div(unit).unwrap().wrapping_mul(unit);
                }
                run.sort_unstable();
            }
            round_trip(&runs);
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>, rows in proptest::collection::vec(1_u32..300, 0..5)) {
            let runs: Vec<Run> = rows.iter().map(|&rows| Run { stream: 0, rows }).collect();
            let _ = decode(&mut Reader::new("test", &bytes), &runs, rows.iter().sum());
        }
    }

    #[test]
    fn extremes_wrap_and_come_back() {
        round_trip(&[vec![i64::MIN, -1, 0, i64::MAX], vec![i64::MIN], vec![i64::MAX, i64::MAX]]);
    }

    #[test]
    fn coarse_clocks_are_small_whatever_their_phase() {
        let at = |nanos: i64| 1_760_400_000_123_456_789 + nanos;
        let every_second: Vec<i64> = (0..1000).map(|i| at(i * 1_000_000_000)).collect();
        assert!(round_trip(&[every_second]) < 40);
        let hundredths: Vec<i64> = (0..1000).map(|i| at((i * i % 7 + i * 10) * 10_000_000)).collect();
        assert!(round_trip(&[hundredths]) < 800);
    }
}
