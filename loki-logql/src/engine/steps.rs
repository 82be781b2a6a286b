//! The moments at which a query is evaluated.

use loki_core::Timestamp;

/// Evenly spaced moments, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    first: i64,
    step_nanos: i64,
    count: usize,
}

impl Steps {
    /// The one moment of an instant query.
    pub(crate) fn instant(at: Timestamp) -> Self {
        Self { first: at.as_nanos(), step_nanos: 1, count: 1 }
    }

    /// The moments of a range query, on multiples of the step since the epoch: the first one is at or before `start`,
    /// the last one at or after `end`.
    ///
    /// The caller has checked that the step is positive and that there are not too many steps.
    pub(crate) fn aligned(start: Timestamp, end: Timestamp, step_nanos: i64) -> Self {
        debug_assert!(step_nanos > 0 && start <= end);
        let step = i128::from(step_nanos);
        let first = i128::from(start.as_nanos()).div_euclid(step);
        let last = -(-i128::from(end.as_nanos())).div_euclid(step);
        // Multiples beyond what a timestamp can hold do not exist.
        let first = first.max(-(-i128::from(i64::MIN)).div_euclid(step));
        let last = last.min(i128::from(i64::MAX).div_euclid(step)).max(first);
        Self { first: (first * step) as i64, step_nanos, count: (last - first) as usize + 1 }
    }

    /// How many moments there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The distance between two moments; meaningless when there is only one.
    pub(crate) fn step_nanos(&self) -> i64 {
        self.step_nanos
    }

    /// The moment with number `step`, counted from 0.
    pub(crate) fn at(&self, step: usize) -> Timestamp {
        // The sum is in range even where the product is not.
        Timestamp(self.first.wrapping_add(self.step_nanos.wrapping_mul(step as i64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_steps_lie_on_multiples_around_the_range() {
        let steps = Steps::aligned(Timestamp(13), Timestamp(31), 10);
        let moments: Vec<i64> = (0..steps.count()).map(|k| steps.at(k).as_nanos()).collect();
        assert_eq!(moments, [10, 20, 30, 40]);
    }

    #[test]
    fn aligned_ends_stay_and_equal_ends_give_one_step() {
        let steps = Steps::aligned(Timestamp(20), Timestamp(40), 20);
        assert_eq!((steps.at(0), steps.count()), (Timestamp(20), 2));
        assert_eq!(Steps::aligned(Timestamp(20), Timestamp(20), 20).count(), 1);
    }

    #[test]
    fn negative_times_round_down_and_up_too() {
        let steps = Steps::aligned(Timestamp(-13), Timestamp(-7), 10);
        assert_eq!((steps.at(0), steps.at(1), steps.count()), (Timestamp(-20), Timestamp(-10), 3));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let step = i64::MAX / 3;
        let steps = Steps::aligned(Timestamp::MIN, Timestamp::MAX, step);
        assert_eq!(steps.at(0), Timestamp(-3 * step));
        assert_eq!(steps.at(steps.count() - 1), Timestamp(3 * step));
    }
}
