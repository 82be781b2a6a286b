//! Entry and byte counts per stream and minute.
//!
//! A query that counts entries or sums their bytes per label, without looking at the lines, is answered from these
//! counts; only the edges of its time range, where it cuts a minute in two, have to be read from chunks.
//!
//! LogQL's ranges are open on the left and closed on the right, so the minutes here are too: see [`minute_of`].
//!
//! ```
//! use loki_core::Timestamp;
//! use loki_core::rollup::{Cell, Columns, Rollup, RollupBuilder, minute_of, minutes_within};
//! use roaring::RoaringBitmap;
//!
//! let minute = minute_of(Timestamp::from_seconds(90));
//! let mut builder = RollupBuilder::new();
//! builder.add(7, Cell { minute, entries: 3, line_bytes: 420, metadata_bytes: 0 })?;
//! let rollup = Rollup::open(builder.finish().into())?;
//!
//! let wanted = minutes_within(Timestamp::from_seconds(60), Timestamp::from_seconds(120));
//! let streams = RoaringBitmap::from([7]);
//! let mut scan = rollup.scan(&streams, Columns::Entries);
//! while let Some(cells) = scan.next_cells()? {
//!     assert_eq!((cells.stream, cells.minutes, cells.entries), (7, &[wanted.start][..], &[3][..]));
//! }
//! # Ok::<(), loki_core::Error>(())
//! ```
#![doc = include_str!("format/rollup.md")]

use std::ops::Range;

use crate::entry::Timestamp;

mod reader;
mod writer;

pub use reader::{Columns, Rollup, Scan, StreamCells};
pub use writer::{BLOCK_CELLS_LIMIT, RollupBuilder};

/// Nanoseconds of a minute.
pub const MINUTE_NANOS: i64 = 60_000_000_000;

/// What one stream logged in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// Which minute: see [`minute_of`].
    pub minute: i64,
    /// How many entries.
    pub entries: u64,
    /// The bytes of their lines.
    pub line_bytes: u64,
    /// The bytes of the names and values of their structured metadata.
    pub metadata_bytes: u64,
}

/// The minute that `at` belongs to: minute `k` is the interval `(k * 60 s, (k + 1) * 60 s]` since the epoch.
///
/// A moment at a full minute ends that minute rather than beginning the next, as it does for a LogQL range.
pub const fn minute_of(at: Timestamp) -> i64 {
    let begun = at.0.div_euclid(MINUTE_NANOS);
    if at.0.rem_euclid(MINUTE_NANOS) == 0 { begun - 1 } else { begun }
}

/// The minutes that lie wholly inside the LogQL range `(after, through]`; empty if there are none.
pub fn minutes_within(after: Timestamp, through: Timestamp) -> Range<i64> {
    // A minute k is inside when k * 60 s >= after and (k + 1) * 60 s <= through.
    let first = minute_of(after) + 1;
    let end = through.0.div_euclid(MINUTE_NANOS);
    first..end.max(first)
}

#[cfg(test)]
mod tests;
