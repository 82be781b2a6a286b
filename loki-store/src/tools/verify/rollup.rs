//! Checking counts against the entries that they count.

use loki_core::Error;
use loki_core::rollup::{Cell, Columns, Rollup};
use roaring::RoaringBitmap;

use super::part::Sink;
use crate::tools::inspect::in_full;

/// How far behind the last stream counts are looked for that should not be there.
const STREAMS_BEYOND: u32 = 1 << 16;

/// Compares a rollup with counts by stream and minute, in their order.
pub(super) fn check(rollup: &Rollup, expected: &[(u32, Cell)], sink: &mut Sink<'_>) {
    match first_difference(rollup, expected) {
        Ok(None) => {}
        Ok(Some(stream)) => sink.find(format!("the rollup does not count the entries of stream {stream} as they are")),
        Err(error) => sink.find(format!("section rollup: {}", in_full(&error))),
    }
}

fn first_difference(rollup: &Rollup, expected: &[(u32, Cell)]) -> Result<Option<u32>, Error> {
    let beyond = expected.last().map_or(0, |(stream, _)| stream.saturating_add(1)).saturating_add(STREAMS_BEYOND);
    let every: RoaringBitmap = (0..beyond).collect();
    let mut scan = rollup.scan(&every, Columns::All);
    let mut expected = expected.iter().copied();
    while let Some(cells) = scan.next_cells()? {
        for cell in cells.iter() {
            if expected.next() != Some((cells.stream, cell)) {
                return Ok(Some(cells.stream));
            }
        }
    }
    Ok(expected.next().map(|(stream, _)| stream))
}
