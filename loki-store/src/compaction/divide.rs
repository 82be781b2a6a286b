//! Dividing windows with much data.

use std::collections::BTreeMap;

use loki_core::rollup::{Columns, MINUTE_NANOS};
use roaring::RoaringBitmap;

use super::output::Windows;
use crate::error::Error;
use crate::segment::reader::TenantSegment;
use crate::store::blocking;

/// Bytes of lines by minute.
type Minutes = BTreeMap<i64, u64>;

/// The moments at which windows begin that are parts of others, ascending: a part has about `part_bytes` of lines.
pub(super) async fn cuts(parts: &[TenantSegment], windows: Windows, part_bytes: u64) -> Result<Vec<i64>, Error> {
    let line_bytes = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.entry().line_bytes));
    if windows == Windows::Whole || count(line_bytes, part_bytes) == 1 {
        return Ok(Vec::new());
    }
    let mut minutes = Minutes::new();
    for part in parts {
        match bytes_by_minute(part).await {
            Ok(of_part) => of_part.into_iter().for_each(|(minute, bytes)| add(&mut minutes, minute, bytes)),
            // The merge writes it anew.
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(segment = %part.segment.path, error = %error, "merges counts that are damaged");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(divide(&minutes, windows, part_bytes))
}

async fn bytes_by_minute(part: &TenantSegment) -> Result<Minutes, Error> {
    let (rollup, streams) = (part.rollup_once().await?, part.entry().streams);
    let counted = blocking(move || {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..streams);
        let mut minutes = Minutes::new();
        let mut scan = rollup.scan(&all, Columns::All);
        while let Some(cells) = scan.next_cells()? {
            let cells = cells.minutes.iter().zip(cells.line_bytes);
            cells.for_each(|(minute, bytes)| add(&mut minutes, *minute, *bytes));
        }
        Ok(minutes)
    });
    counted.await.map_err(|damage| part.damaged(damage))
}

fn add(minutes: &mut Minutes, minute: i64, bytes: u64) {
    let of_minute = minutes.entry(minute).or_default();
    *of_minute = of_minute.saturating_add(bytes);
}

fn divide(minutes: &Minutes, windows: Windows, part_bytes: u64) -> Vec<i64> {
    // Entries at a full minute end the minute before.
    let start_of = |minute: i64| minute.saturating_mul(MINUTE_NANOS).saturating_add(1);
    let mut by_window: BTreeMap<i64, Vec<(i64, u64)>> = BTreeMap::new();
    for (minute, bytes) in minutes {
        let start = start_of(*minute);
        by_window.entry(windows.window(start).0).or_default().push((start, *bytes));
    }
    let mut cuts = Vec::new();
    for minutes in by_window.into_values() {
        let total = minutes.iter().fold(0, |total: u64, (_, bytes)| total.saturating_add(*bytes));
        let parts = count(total, part_bytes);
        // How much comes before a minute, and the part that ends there at the latest.
        let (mut before, mut part) = (0_u64, 1_u64);
        for (start, bytes) in minutes {
            let parts_before = u128::from(before) * u128::from(parts) / u128::from(total.max(1));
            if part < parts && parts_before >= u128::from(part) {
                cuts.push(start);
                part = parts_before as u64 + 1;
            }
            before = before.saturating_add(bytes);
        }
    }
    cuts
}

/// How many parts are made of so many bytes.
fn count(bytes: u64, part_bytes: u64) -> u64 {
    (bytes.saturating_add(part_bytes / 2) / part_bytes.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_MINUTES: i64 = 120;
    const NO_CUTS: [i64; 0] = [];

    fn of_minutes(minutes: impl IntoIterator<Item = (i64, u64)>, part_bytes: u64) -> Vec<i64> {
        let cuts = divide(&minutes.into_iter().collect(), Windows::TwoHours, part_bytes);
        assert!(cuts.iter().all(|cut| cut.rem_euclid(MINUTE_NANOS) == 1), "{cuts:?}");
        cuts.into_iter().map(|cut| cut.div_euclid(MINUTE_NANOS)).collect()
    }

    #[test]
    fn a_window_with_much_is_divided_evenly() {
        assert_eq!(of_minutes([], 100), NO_CUTS);
        assert_eq!(of_minutes((0..120).map(|minute| (minute, 1)), 100), NO_CUTS);
        assert_eq!(of_minutes((0..120).map(|minute| (minute, 1)), 60), [60]);
        assert_eq!(of_minutes((0..120).map(|minute| (minute, 1)), 40), [40, 80]);
        // Not a full part and a rest.
        assert_eq!(of_minutes((0..120).map(|minute| (minute, 1)), 70), [60]);
        // Every window for itself, and by what is in it.
        let busy_end = (0..WINDOW_MINUTES).map(|minute| (minute - WINDOW_MINUTES, if minute < 110 { 1 } else { 11 }));
        assert_eq!(of_minutes(busy_end.chain((0..120).map(|minute| (minute, 1))), 110), [-10]);
    }

    #[test]
    fn a_minute_is_never_divided() {
        assert_eq!(of_minutes([(3, 1_000)], 1), NO_CUTS);
        assert_eq!(of_minutes([(3, 1_000), (4, 1), (5, 1_000)], 1), [4, 5]);
        assert_eq!(of_minutes([(3, 1_000), (4, 0), (5, 0)], 1), [4]);
        assert_eq!(of_minutes((0..5).map(|minute| (minute, u64::MAX / 8)), u64::MAX / 8), [1, 2, 3, 4]);
    }

    #[test]
    fn lines_without_bytes_and_the_ends_of_time_are_in_some_window() {
        assert_eq!(of_minutes((0..9).map(|minute| (minute, 0)), 1), NO_CUTS);
        let ends = [i64::MIN, i64::MAX].map(|at| loki_core::rollup::minute_of(loki_core::Timestamp(at)));
        let cuts = divide(&ends.map(|minute| (minute, 5)).into(), Windows::Days, 1);
        assert_eq!(cuts, NO_CUTS);
    }
}
