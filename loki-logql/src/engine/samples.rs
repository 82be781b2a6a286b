//! Functions that need every sample of a window: quantiles and counters.

use std::cmp::Ordering;

use super::fold::Sample;
use super::windows::Windows;

/// Calls `emit` with the samples of every window that has any, in the order of steps. Sorts the samples.
pub(crate) fn for_each_window(samples: &mut [Sample], windows: &Windows, mut emit: impl FnMut(usize, &[Sample])) {
    samples.sort_by_key(Sample::rank);
    let (mut start, mut end) = (0, 0);
    for step in 0..windows.count() {
        let (after, until) = windows.window(step);
        start += samples[start..].partition_point(|sample| sample.timestamp <= after);
        end = end.max(start);
        end += samples[end..].partition_point(|sample| sample.timestamp <= until);
        if start < end {
            emit(step, &samples[start..end]);
        }
    }
}

/// The quantile `q` of values, which are reordered: NaN sorts first, neighbours are interpolated.
///
/// # Panics
///
/// When there are no values.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let (_, &mut below, behind) = values.select_nth_unstable_by(lower, |&a, &b| nan_first(a, b));
    let above = behind.iter().copied().min_by(|&a, &b| nan_first(a, b)).unwrap_or(below);
    let weight = rank - lower as f64;
    below * (1.0 - weight) + above * weight
}

/// The rate of a counter that may have been reset, per second.
///
/// Loki extrapolates the increase to the whole window, but measures the covered time a million times too long, so
/// that the extrapolation all but vanishes; answers would differ if that were put right.
pub(crate) fn counter_rate(samples: &[Sample], range_nanos: i64) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return 0.0;
    };
    if samples.len() < 2 {
        return 0.0;
    }
    let resets: f64 = samples.windows(2).filter(|pair| pair[1].value < pair[0].value).map(|pair| pair[0].value).sum();
    let increase = last.value - first.value + resets;
    let range_seconds = range_nanos as f64 / 1e9;
    let covered = (last.timestamp - first.timestamp) as f64 / 1000.0;
    let distance = covered / (samples.len() - 1) as f64;
    let mut before = range_seconds;
    if increase > 0.0 && first.value >= 0.0 {
        // A counter is not extended to before it was zero.
        before = before.min(covered * (first.value / increase));
    }
    let extension = if before < distance * 1.1 { before } else { distance / 2.0 };
    increase / range_seconds * ((covered + extension) / covered)
}

fn nan_first(a: f64, b: f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(&b))
}

#[cfg(test)]
mod tests {
    use loki_core::Timestamp;

    use super::super::fold::Arrival;
    use super::super::steps::Steps;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: i64, value: f64) -> Sample {
        Sample { timestamp: seconds * SECOND, arrival: Arrival::default(), value }
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 0.5), 2.5);
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 0.0), 1.0);
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 1.0), 4.0);
        assert_eq!(quantile(&mut [7.0], 0.9), 7.0);
        assert_eq!(quantile(&mut [7.0], 1.5), f64::INFINITY);
        assert!(quantile(&mut [7.0, f64::NAN, 8.0], 0.0).is_nan());
    }

    #[test]
    fn a_counter_adds_what_it_had_before_each_reset() {
        let samples = [at(10, 2.0), at(50, 8.0), at(60, 3.0)];
        let rate = counter_rate(&samples, 60 * SECOND);
        assert!((rate - 0.150_000_18).abs() < 1e-12, "{rate}");
    }

    #[test]
    fn one_sample_has_no_rate_and_equal_times_have_no_number() {
        assert_eq!(counter_rate(&[at(1, 5.0)], SECOND), 0.0);
        assert!(counter_rate(&[at(1, 5.0), at(1, 6.0)], SECOND).is_nan());
    }

    #[test]
    fn windows_are_open_on_the_left_and_samples_are_sorted_first() {
        let mut samples = [at(3, 3.0), at(1, 1.0), at(2, 2.0)];
        let steps = Steps::aligned(Timestamp(2 * SECOND), Timestamp(6 * SECOND), 2 * SECOND);
        let mut seen = Vec::new();
        for_each_window(&mut samples, &Windows::new(&steps, SECOND * 2, 0), |step, window| {
            seen.push((step, window.iter().map(|sample| sample.value).collect::<Vec<_>>()));
        });
        assert_eq!(seen, [(0, vec![1.0, 2.0]), (1, vec![3.0])]);
    }
}
