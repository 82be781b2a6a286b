//! Cells of one series, and windows merged from them.

use std::mem::size_of;
use std::ops::Range;

use super::fold::Fold;
use super::windows::Windows;

/// What an allocation of a few bytes takes besides them; it counts where there is one for each series.
pub(crate) const ALLOCATION_OVERHEAD_BYTES: usize = 16;

/// The cells of one series: only the stretch between the first and the last that were touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells<F> {
    first: usize,
    cells: Vec<F>,
}

impl<F: Fold> Cells<F> {
    /// The cell with a number, made if it does not exist.
    pub(crate) fn cell(&mut self, index: usize) -> &mut F {
        if self.cells.is_empty() {
            self.first = index;
            // Many series of instant queries never have more than one.
            self.cells.reserve_exact(1);
        }
        if index < self.first {
            self.extend_front(index);
        }
        let position = index - self.first;
        if position >= self.cells.len() {
            self.cells.resize(position + 1, F::default());
        }
        &mut self.cells[position]
    }

    /// Merges the cells of another series with the same numbering.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (position, cell) in other.cells.iter().enumerate() {
            self.cell(other.first + position).merge(cell);
        }
    }

    /// The memory in use.
    pub(crate) fn size_bytes(&self) -> usize {
        let overhead = if self.cells.capacity() == 0 { 0 } else { ALLOCATION_OVERHEAD_BYTES };
        self.cells.capacity() * size_of::<F>() + overhead
    }

    /// Calls `emit` with the merged summary of every window that has touched cells, in the order of steps.
    pub(crate) fn for_each_window(&self, windows: &Windows, mut emit: impl FnMut(usize, &F)) {
        let touched = self.first..self.first + self.cells.len();
        let mut slider = Slider::new(&self.cells);
        for step in 0..windows.count() {
            let cells = windows.cells(step);
            let start = cells.start.max(touched.start);
            let end = cells.end.min(touched.end);
            if start < end {
                emit(step, &slider.window(start - self.first..end - self.first));
            }
        }
    }

    fn extend_front(&mut self, index: usize) {
        // Going further than asked makes a descending fill linear; empty cells harm nobody.
        let first = index.saturating_sub(self.cells.len() / 2);
        let missing = self.first - first;
        self.cells.splice(0..0, std::iter::repeat_n(F::default(), missing));
        self.first = first;
    }
}

/// Merges sliding windows with a constant number of merges per cell, whatever the length of a window: the front half
/// of a window is kept as merged suffixes, the back half as one running summary.
struct Slider<'a, F> {
    cells: &'a [F],
    /// Merged suffixes of the cells before `split`: `suffixes[i]` covers `base + i .. split`.
    suffixes: Vec<F>,
    base: usize,
    split: usize,
    /// Covers `split .. end`.
    running: F,
    end: usize,
}

impl<'a, F: Fold> Slider<'a, F> {
    fn new(cells: &'a [F]) -> Self {
        Self { cells, suffixes: Vec::new(), base: 0, split: 0, running: F::default(), end: 0 }
    }

    /// The summary of a window; neither end may move back from one call to the next.
    fn window(&mut self, window: Range<usize>) -> F {
        if window.start >= self.split {
            self.rebuild(&window);
        } else {
            for cell in &self.cells[self.end..window.end] {
                self.running.merge(cell);
            }
            self.end = window.end;
        }
        let mut summary =
            if window.start < self.split { self.suffixes[window.start - self.base] } else { F::default() };
        summary.merge(&self.running);
        summary
    }

    fn rebuild(&mut self, window: &Range<usize>) {
        self.base = window.start;
        self.split = window.end;
        self.end = window.end;
        self.running = F::default();
        self.suffixes.clear();
        self.suffixes.resize(window.len(), F::default());
        let mut suffix = F::default();
        for (cell, slot) in self.cells[window.clone()].iter().zip(&mut self.suffixes).rev() {
            let mut merged = *cell;
            merged.merge(&suffix);
            suffix = merged;
            *slot = suffix;
        }
    }
}

#[cfg(test)]
mod tests {
    use loki_core::Timestamp;
    use proptest::prelude::*;

    use super::super::fold::{Sum, Tally};
    use super::super::steps::Steps;
    use super::*;

    proptest! {
        #[test]
        fn sliding_agrees_with_merging_every_window_anew(
            step in 1i64..9, count in 1i64..20, range in 1i64..60,
            touched in prop::collection::vec((0usize..200, 1u64..9), 0..40),
        ) {
            let steps = Steps::aligned(Timestamp(0), Timestamp((count - 1) * step), step);
            let windows = Windows::new(&steps, range, 0);
            let mut cells = Cells::<Tally>::default();
            let mut plain = vec![0; windows.cell_count()];
            for (index, entries) in touched {
                let index = index % windows.cell_count();
                cells.cell(index).entries += entries;
                plain[index] += entries;
            }
            let mut sums = vec![0; steps.count()];
            cells.for_each_window(&windows, |step, tally| sums[step] = tally.entries);
            let expected: Vec<u64> = (0..steps.count()).map(|k| plain[windows.cells(k)].iter().sum()).collect();
            prop_assert_eq!(sums, expected);
        }
    }

    #[test]
    fn cells_grow_to_both_sides() {
        let mut cells = Cells::<Sum>::default();
        for index in [50, 60, 10, 0, 61] {
            cells.cell(index).sum += 1.0;
        }
        let mut other = Cells::<Sum>::default();
        other.cell(60).sum += 1.0;
        cells.merge(&other);
        assert_eq!(
            (cells.cell(0).sum, cells.cell(50).sum, cells.cell(60).sum, cells.cell(30).sum),
            (1.0, 1.0, 2.0, 0.0)
        );
    }
}
