//! Samples of many series at the steps of a query: what the operators of the engine take and give.

use loki_core::Labels;

use super::cells::ALLOCATION_OVERHEAD_BYTES;

/// Series over the same steps, in an order that matters only to instant queries that sort.
///
/// Two rows may have equal labels; they are joined when the answer is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    pub(crate) rows: Vec<Row>,
}

/// The samples of one series: a value or [`ABSENT`] for each step from `first` on, and nothing outside.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    pub(crate) first: usize,
    pub(crate) values: Vec<f64>,
}

/// Stands for "no sample": a NaN with a payload that no calculation produces.
pub(crate) const ABSENT: f64 = f64::from_bits(0x7ff8_4c6f_6b69_0001);

/// Whether a value is a sample, NaN included, and not [`ABSENT`].
pub(crate) fn is_present(value: f64) -> bool {
    value.to_bits() != ABSENT.to_bits()
}

impl Row {
    /// A series without samples.
    pub(crate) fn empty(labels: Labels) -> Self {
        Self { labels, first: 0, values: Vec::new() }
    }

    /// A series with one value at every step.
    pub(crate) fn constant(labels: Labels, value: f64, steps: usize) -> Self {
        Self { labels, first: 0, values: vec![value; steps] }
    }

    /// The sample at a step.
    pub(crate) fn at(&self, step: usize) -> Option<f64> {
        let position = step.checked_sub(self.first)?;
        self.values.get(position).copied().filter(|&value| is_present(value))
    }

    /// Appends the sample of a step that is later than all others.
    pub(crate) fn push(&mut self, step: usize, value: f64) {
        if self.values.is_empty() {
            self.first = step;
        }
        self.values.resize(step - self.first, ABSENT);
        self.values.push(value);
    }

    /// The samples with their steps.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (usize, f64)> {
        let numbered = self.values.iter().enumerate();
        numbered.filter(|&(_, &value)| is_present(value)).map(|(position, &value)| (self.first + position, value))
    }

    /// Replaces every sample, or removes those for which `f` has nothing.
    pub(crate) fn map(&mut self, mut f: impl FnMut(f64) -> Option<f64>) {
        for value in &mut self.values {
            if is_present(*value) {
                *value = f(*value).unwrap_or(ABSENT);
            }
        }
    }

    /// Whether there is no sample at all.
    pub(crate) fn is_empty(&self) -> bool {
        !self.values.iter().any(|&value| is_present(value))
    }

    /// The memory in use.
    pub(crate) fn size_bytes(&self) -> usize {
        let values = self.values.capacity() * size_of::<f64>() + ALLOCATION_OVERHEAD_BYTES;
        size_of::<Self>() + self.labels.size_bytes() + values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_a_sample_and_absent_is_not() {
        let mut row = Row::empty(Labels::EMPTY);
        row.push(2, 1.0);
        row.push(4, f64::NAN);
        assert_eq!((row.at(1), row.at(2), row.at(3), row.at(5)), (None, Some(1.0), None, None));
        assert!(row.at(4).is_some_and(f64::is_nan));
        assert_eq!(row.samples().map(|(step, _)| step).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn mapping_can_remove_samples() {
        let mut row = Row::constant(Labels::EMPTY, 3.0, 2);
        row.map(|_| None);
        assert!(row.is_empty());
    }
}
