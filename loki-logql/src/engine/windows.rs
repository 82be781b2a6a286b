//! Which entries count at which step, when windows overlap, touch, or leave gaps.
//!
//! The window of a step at time `t` is `(t − range − offset, t − offset]`. All windows of a query have one length and
//! one distance, so their ends cut time into at most `2n` stretches inside which every entry belongs to the same
//! windows: the *cells*. An entry is added to one cell; windows are merged from cells afterwards.

use loki_core::{TimeRange, Timestamp};

use super::steps::Steps;
use crate::querier::{Grid, GridLabels};

/// The cells of a range aggregation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// The open left end of the first window.
    origin: i64,
    /// Nothing up to here counts, even if it lies in the first window.
    start: i64,
    /// From the start of one window to the start of the next.
    stride_nanos: i64,
    /// The length of a window.
    range_nanos: i64,
    /// The time that rates refer to.
    rate_nanos: i64,
    steps: usize,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// One cell a window: windows touch, leave gaps, or there is only one.
    Apart,
    /// A window is a whole number of strides, and a cell is one stride.
    Multiple { strides: usize },
    /// Every stride has two cells: up to where an earlier window ends, and the rest of it.
    Split { strides: usize, remainder: i64 },
    /// The last window starts before the first one ends: first all the starts, then all the ends.
    Nested,
}

/// A cell and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its number.
    pub(crate) index: usize,
    /// The open left end.
    pub(crate) after: i64,
    /// The closed right end.
    pub(crate) until: i64,
}

impl Cell {
    /// Whether a moment is inside.
    pub(crate) fn contains(&self, at: i64) -> bool {
        self.after < at && at <= self.until
    }
}

impl Windows {
    /// Cuts the time before `steps` into cells.
    pub(crate) fn new(steps: &Steps, range_nanos: i64, offset_nanos: i64) -> Self {
        let first = steps.at(0).as_nanos();
        let origin = first.saturating_sub(offset_nanos).saturating_sub(range_nanos);
        let stride_nanos = if steps.count() == 1 { range_nanos.max(1) } else { steps.step_nanos() };
        let strides = (range_nanos / stride_nanos) as usize;
        let remainder = range_nanos % stride_nanos;
        let layout = if range_nanos <= stride_nanos {
            Layout::Apart
        } else if strides >= steps.count() {
            Layout::Nested
        } else if remainder == 0 {
            Layout::Multiple { strides }
        } else {
            Layout::Split { strides, remainder }
        };
        Self { origin, start: origin, stride_nanos, range_nanos, rate_nanos: range_nanos, steps: steps.count(), layout }
    }

    /// Cuts the range before one moment into pieces, each of them a window. The first piece may be shorter.
    pub(crate) fn pieces(at: Timestamp, range_nanos: i64, offset_nanos: i64, piece_nanos: i64) -> Self {
        let steps = piece_count(range_nanos, piece_nanos);
        let end = at.as_nanos().saturating_sub(offset_nanos);
        Self {
            origin: end.saturating_sub(piece_nanos.saturating_mul(steps as i64)),
            start: end.saturating_sub(range_nanos),
            stride_nanos: piece_nanos,
            range_nanos: piece_nanos,
            rate_nanos: range_nanos,
            steps,
            layout: Layout::Apart,
        }
    }

    /// How many windows there are.
    pub(crate) fn count(&self) -> usize {
        self.steps
    }

    /// The time that rates refer to: the length of a window, or of all pieces.
    pub(crate) fn rate_nanos(&self) -> i64 {
        self.rate_nanos
    }

    /// The moments that lie in some window, and perhaps some between windows.
    pub(crate) fn span(&self) -> TimeRange {
        if self.range_nanos == 0 {
            return TimeRange::new(Timestamp(0), Timestamp(0));
        }
        let start = Timestamp(self.start).saturating_add_nanos(1);
        let end = Timestamp(self.window(self.steps - 1).1).saturating_add_nanos(1);
        TimeRange::new(start, end)
    }

    /// The open left and the closed right end of a window.
    pub(crate) fn window(&self, step: usize) -> (i64, i64) {
        let start = i128::from(self.origin) + i128::from(self.stride_nanos) * step as i128;
        let clamp = |time: i128| time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        (clamp(start), clamp(start + i128::from(self.range_nanos)))
    }

    /// The cell that holds a moment; `None` if no window does.
    pub(crate) fn cell(&self, at: i64) -> Option<Cell> {
        if at <= self.start {
            return None;
        }
        // Exact although the difference of two times may not fit an `i64`.
        let distance = at.wrapping_sub(self.origin) as u64;
        let stride = self.stride_nanos as u64;
        let range = self.range_nanos as u64;
        let last = self.steps as u64 - 1;
        if distance > last.saturating_mul(stride).saturating_add(range) {
            return None;
        }
        let number = (distance - 1) / stride;
        let (index, after, until) = match self.layout {
            Layout::Apart => {
                let start = number * stride;
                if distance - start > range {
                    return None;
                }
                (number, start, start + range)
            }
            Layout::Multiple { .. } => (number, number * stride, (number + 1) * stride),
            Layout::Split { remainder, .. } => {
                let start = number * stride;
                let middle = start + remainder as u64;
                if distance <= middle { (2 * number, start, middle) } else { (2 * number + 1, middle, start + stride) }
            }
            Layout::Nested if distance <= last.saturating_mul(stride) => {
                (number, number * stride, (number + 1) * stride)
            }
            Layout::Nested if distance <= range => (last, last * stride, range),
            Layout::Nested => {
                let behind = (distance - range - 1) / stride;
                (last + 1 + behind, range + behind * stride, range + (behind + 1) * stride)
            }
        };
        Some(Cell {
            index: index as usize,
            after: self.origin.wrapping_add(after as i64),
            until: self.origin.wrapping_add(until as i64),
        })
    }

    /// The cells of a window.
    pub(crate) fn cells(&self, step: usize) -> std::ops::Range<usize> {
        match self.layout {
            Layout::Apart => step..step + 1,
            Layout::Multiple { strides } => step..step + strides,
            Layout::Split { strides, .. } => 2 * step..2 * (step + strides) + 1,
            Layout::Nested => step..self.steps + step,
        }
    }

    /// How many cells there are.
    #[cfg(test)]
    pub(crate) fn cell_count(&self) -> usize {
        self.cells(self.steps - 1).end
    }

    /// Evenly spaced cells that never cross the end of one of ours.
    pub(crate) fn grid(&self, labels: GridLabels) -> Grid {
        let spacing_nanos = if self.steps == 1 {
            self.range_nanos
        } else {
            let shorter = self.start.saturating_sub(self.origin);
            greatest_common_divisor(greatest_common_divisor(self.stride_nanos, self.range_nanos), shorter)
        };
        Grid { origin: Timestamp(self.origin), spacing_nanos: spacing_nanos.max(1), labels }
    }
}

/// How many pieces a range has.
pub(crate) fn piece_count(range_nanos: i64, piece_nanos: i64) -> usize {
    (range_nanos.max(1) - 1) as usize / piece_nanos.max(1) as usize + 1
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(first: i64, step: i64, count: i64, range: i64, offset: i64) -> (Steps, Windows) {
        let steps = if count == 1 {
            Steps::instant(Timestamp(first))
        } else {
            Steps::aligned(Timestamp(first * step), Timestamp((first + count - 1) * step), step)
        };
        (steps, Windows::new(&steps, range, offset))
    }

    proptest! {
        #[test]
        fn a_moment_is_in_a_window_exactly_if_its_cell_is(
            first in -20i64..20, step in 1i64..9, count in 1i64..12, range in 0i64..40, offset in -10i64..10,
            at in -150i64..150,
        ) {
            let (steps, windows) = windows(first, step, count, range, offset);
            let cell = windows.cell(at);
            for k in 0..steps.count() {
                let end = steps.at(k).as_nanos() - offset;
                let inside = end - range < at && at <= end;
                prop_assert_eq!(windows.window(k), (end - range, end));
                prop_assert_eq!(inside, cell.is_some_and(|cell| windows.cells(k).contains(&cell.index)));
                prop_assert!(!inside || windows.span().contains(Timestamp(at)));
            }
            if let Some(cell) = cell {
                prop_assert!(cell.after < at && at <= cell.until && cell.index < windows.cell_count());
                prop_assert_eq!(windows.cell(cell.until), Some(cell));
                prop_assert_eq!(windows.cell(cell.after + 1), Some(cell));
                prop_assert!(windows.cell_count() <= 4 * steps.count());
            }
        }

        #[test]
        fn grid_cells_never_cross_the_end_of_a_cell(
            first in -20i64..20, step in 1i64..12, count in 1i64..12, range in 1i64..40, offset in -10i64..10,
            at in -150i64..150,
        ) {
            let (_, windows) = windows(first, step, count, range, offset);
            let grid = windows.grid(GridLabels::All);
            let start = grid.origin.as_nanos();
            let k = (at - start - 1).div_euclid(grid.spacing_nanos);
            let cell_of = |offset: i64| windows.cell(start + k * grid.spacing_nanos + offset).map(|cell| cell.index);
            for inside in 1..=grid.spacing_nanos {
                prop_assert_eq!(cell_of(inside), cell_of(grid.spacing_nanos));
            }
        }
    }

    #[test]
    fn a_range_far_longer_than_the_query_needs_few_cells() {
        let year = 365 * 86_400 * 1_000_000_000_i64;
        let steps = Steps::aligned(
            Timestamp::from_seconds(1_700_000_000),
            Timestamp::from_seconds(1_700_000_249),
            1_000_000_000,
        );
        let windows = Windows::new(&steps, year, 0);
        assert_eq!(windows.cell_count(), 2 * steps.count() - 1);
    }

    #[test]
    fn pieces_end_at_the_moment_and_the_first_may_be_shorter() {
        let windows = Windows::pieces(Timestamp(100), 25, 5, 10);
        let cells: Vec<Option<usize>> =
            [70, 71, 75, 76, 85, 86, 95, 96].map(|at| windows.cell(at).map(|c| c.index)).into();
        assert_eq!(cells, [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), None]);
        assert_eq!((windows.count(), windows.rate_nanos()), (3, 25));
        assert_eq!(windows.span(), TimeRange::new(Timestamp(71), Timestamp(96)));
        assert_eq!(windows.grid(GridLabels::All).spacing_nanos, 5);
    }

    #[test]
    fn an_empty_range_holds_nothing() {
        let windows = Windows::new(&Steps::instant(Timestamp(100)), 0, 0);
        assert!(windows.span().is_empty());
        assert_eq!(windows.cell(100), None);
    }
}
