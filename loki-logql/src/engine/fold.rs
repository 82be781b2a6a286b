//! What range functions remember about the samples of a cell or a window.
//!
//! Every state can take in a sample and can be merged with the state of another stretch of time, so windows are made
//! from cells without looking at samples again.

/// One value to aggregate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Its time in nanoseconds.
    pub(crate) timestamp: i64,
    /// Its rank among samples of one time: earlier arrivals first.
    pub(crate) arrival: Arrival,
    /// The value.
    pub(crate) value: f64,
}

/// The order in which entries were pushed: by batch, then by row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    /// [`EntryBatch::sequence`](crate::querier::EntryBatch::sequence).
    pub(crate) sequence: u64,
    /// The row in the batch.
    pub(crate) row: u32,
}

/// A mergeable summary of samples.
pub(crate) trait Fold: Copy + Default {
    /// Takes in one sample.
    fn add(&mut self, sample: &Sample);
    /// Takes in all samples of another summary.
    fn merge(&mut self, other: &Self);
}

/// Number of entries and bytes of their lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// A sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) samples: u64,
    pub(crate) sum: f64,
}

/// The smallest value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Min(pub(crate) Option<f64>);

/// The largest value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Max(pub(crate) Option<f64>);

/// A mean that does not overflow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    pub(crate) samples: u64,
    pub(crate) mean: f64,
}

/// Mean and squared distance from it (Welford, and Chan for merging).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    pub(crate) samples: u64,
    mean: f64,
    squares: f64,
}

/// The earliest sample; among equal times the one that arrived first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct First(pub(crate) Option<Sample>);

/// The latest sample; among equal times the one that arrived last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last(pub(crate) Option<Sample>);

impl Fold for Tally {
    fn add(&mut self, _: &Sample) {
        self.entries += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

impl Fold for Sum {
    fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        self.sum += sample.value;
    }

    fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.sum += other.sum;
    }
}

impl Fold for Min {
    fn add(&mut self, sample: &Sample) {
        self.merge(&Self(Some(sample.value)));
    }

    fn merge(&mut self, other: &Self) {
        // `f64::min` prefers a number over NaN, which is what Loki does.
        self.0 = match (self.0, other.0) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Fold for Max {
    fn add(&mut self, sample: &Sample) {
        self.merge(&Self(Some(sample.value)));
    }

    fn merge(&mut self, other: &Self) {
        self.0 = match (self.0, other.0) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Fold for Mean {
    fn add(&mut self, sample: &Sample) {
        self.merge(&Self { samples: 1, mean: sample.value });
    }

    fn merge(&mut self, other: &Self) {
        let samples = self.samples + other.samples;
        if samples == 0 {
            return;
        }
        if self.mean.is_infinite() || other.mean.is_infinite() {
            // Differences of infinities are NaN, but their sum is NaN only if the signs differ.
            self.mean = match (self.samples, other.samples) {
                (0, _) => other.mean,
                (_, 0) => self.mean,
                _ => self.mean + other.mean,
            };
        } else {
            let weight = samples as f64;
            self.mean += other.mean * (other.samples as f64 / weight) - self.mean * (other.samples as f64 / weight);
        }
        self.samples = samples;
    }
}

impl Variance {
    /// The population variance.
    pub(crate) fn variance(&self) -> f64 {
        self.squares / self.samples as f64
    }
}

impl Fold for Variance {
    fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        let distance = sample.value - self.mean;
        self.mean += distance / self.samples as f64;
        self.squares += distance * (sample.value - self.mean);
    }

    fn merge(&mut self, other: &Self) {
        if other.samples == 0 {
            return;
        }
        if self.samples == 0 {
            *self = *other;
            return;
        }
        let samples = self.samples + other.samples;
        let distance = other.mean - self.mean;
        let share = other.samples as f64 / samples as f64;
        self.mean += distance * share;
        self.squares += other.squares + distance * distance * self.samples as f64 * share;
        self.samples = samples;
    }
}

impl Fold for First {
    fn add(&mut self, sample: &Sample) {
        self.merge(&Self(Some(*sample)));
    }

    fn merge(&mut self, other: &Self) {
        if let Some(candidate) = other.0
            && self.0.is_none_or(|kept| candidate.rank() < kept.rank())
        {
            self.0 = Some(candidate);
        }
    }
}

impl Fold for Last {
    fn add(&mut self, sample: &Sample) {
        self.merge(&Self(Some(*sample)));
    }

    fn merge(&mut self, other: &Self) {
        if let Some(candidate) = other.0
            && self.0.is_none_or(|kept| candidate.rank() >= kept.rank())
        {
            self.0 = Some(candidate);
        }
    }
}

impl Sample {
    /// The order of samples: by time, then by arrival.
    pub(crate) fn rank(&self) -> (i64, Arrival) {
        (self.timestamp, self.arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold<F: Fold>(values: &[f64]) -> F {
        let mut state = F::default();
        for (row, &value) in values.iter().enumerate() {
            state.add(&sample(0, row as u32, value));
        }
        state
    }

    fn sample(timestamp: i64, row: u32, value: f64) -> Sample {
        Sample { timestamp, arrival: Arrival { sequence: 0, row }, value }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan()) || a == b
    }

    #[test]
    fn merging_parts_gives_what_adding_all_gives() {
        let values = [3.0, -1.5, 8.25, 0.0, 1e6, 2.5, 7.0];
        for cut in 0..=values.len() {
            let (left, right) = values.split_at(cut);
            let mut mean = fold::<Mean>(left);
            mean.merge(&fold(right));
            assert!(close(mean.mean, fold::<Mean>(&values).mean));
            let mut variance = fold::<Variance>(left);
            variance.merge(&fold(right));
            assert!(close(variance.variance(), fold::<Variance>(&values).variance()));
        }
    }

    #[test]
    fn an_infinite_mean_stays_until_its_opposite_or_nan_comes() {
        let inf = f64::INFINITY;
        assert_eq!(fold::<Mean>(&[1.0, inf, 2.0, inf, -3.0]).mean, inf);
        assert!(fold::<Mean>(&[inf, -inf]).mean.is_nan());
        assert!(fold::<Mean>(&[inf, f64::NAN]).mean.is_nan());
        assert_eq!(fold::<Mean>(&[f64::MAX, f64::MAX]).mean, f64::MAX);
    }

    #[test]
    fn extremes_ignore_nan_unless_there_is_nothing_else() {
        assert_eq!(fold::<Min>(&[f64::NAN, 2.0, 1.0]).0, Some(1.0));
        assert_eq!(fold::<Max>(&[2.0, f64::NAN]).0, Some(2.0));
        assert!(fold::<Max>(&[f64::NAN]).0.is_some_and(f64::is_nan));
        assert_eq!(fold::<Max>(&[]).0, None);
    }

    #[test]
    fn first_and_last_go_by_time_then_by_arrival() {
        let mut first = First::default();
        let mut last = Last::default();
        for s in [sample(5, 1, 1.0), sample(5, 0, 2.0), sample(9, 2, 3.0), sample(9, 1, 4.0)] {
            first.add(&s);
            last.add(&s);
        }
        assert_eq!(first.0.map(|s| s.value), Some(2.0));
        assert_eq!(last.0.map(|s| s.value), Some(3.0));
    }

    #[test]
    fn the_variance_of_one_value_is_zero() {
        assert_eq!(fold::<Variance>(&[42.0]).variance(), 0.0);
    }
}
