//! Histograms that threads can add to without waiting for each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds for durations of requests, Loki's.
pub(crate) const DURATION_BUCKETS_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

/// Upper bounds for sizes of messages.
pub(crate) const SIZE_BUCKETS_BYTES: [f64; 6] =
    [1_048_576.0, 2_621_440.0, 5_242_880.0, 10_485_760.0, 26_214_400.0, 52_428_800.0];

/// Counts of values by size.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds; a value counts in one of them.
    buckets: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram without values.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub(crate) fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.add_to_sum(value);
    }

    /// Counts all values of another histogram with the same bounds.
    pub(crate) fn add(&self, other: &Self) {
        for (bucket, more) in self.buckets.iter().zip(&other.buckets) {
            bucket.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.add_to_sum(other.sum());
    }

    /// Upper bounds with the number of values up to each of them.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().scan(0, |total, bucket| {
            *total += bucket.load(Ordering::Relaxed);
            Some(*total)
        });
        bounds.zip(counts)
    }

    /// The sum of all values.
    pub(crate) fn sum(&self) -> f64 {
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
        assert_eq!(histogram.sum(), 6.0);
        let total = Histogram::new(&[1.0, 2.0]);
        total.add(&histogram);
        total.add(&histogram);
        assert_eq!(total.cumulative().last(), Some((f64::INFINITY, 8)));
        assert_eq!(total.sum(), 12.0);
    }
}
