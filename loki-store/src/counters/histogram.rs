//! Histograms that threads can add to without waiting for each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of values by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds; a value counts in one of them.
    buckets: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram without values; `bounds` ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// A histogram without values that has the bounds of another.
    #[must_use]
    pub fn empty_like(other: &Self) -> Self {
        Self::new(other.bounds)
    }

    /// Counts a value; one that equals a bound counts below it.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.add_to_sum(value);
    }

    /// Counts all values of another histogram with the same bounds.
    pub fn add(&self, other: &Self) {
        self.add_counted(other.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)), other.sum());
    }

    /// Counts values that were counted elsewhere: so many for each bound and beyond the last, and their sum.
    pub(crate) fn add_counted(&self, counts: impl Iterator<Item = u64>, sum: f64) {
        for (bucket, more) in self.buckets.iter().zip(counts) {
            bucket.fetch_add(more, Ordering::Relaxed);
        }
        self.add_to_sum(sum);
    }

    /// Upper bounds with the number of values up to each of them.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().scan(0, |total, bucket| {
            *total += bucket.load(Ordering::Relaxed);
            Some(*total)
        });
        bounds.zip(counts)
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    fn add_to_sum(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never refuses, so the update always happens.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_below_it() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 3.0] {
            histogram.observe(value);
        }
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts, [(1.0, 2), (2.0, 3), (f64::INFINITY, 4)]);
        assert_eq!((histogram.sum(), histogram.count()), (6.0, 4));
        let total = Histogram::empty_like(&histogram);
        total.add(&histogram);
        total.add(&histogram);
        assert_eq!(total.cumulative().last(), Some((f64::INFINITY, 8)));
        assert_eq!(total.sum(), 12.0);
    }
}
