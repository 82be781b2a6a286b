//! Time and log entries.

use std::ops::Range;

use bytes::Bytes;

use crate::labels::Labels;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// A moment in nanoseconds since the Unix epoch; every `i64` is valid.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The earliest moment that can be expressed, in the year 1677.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment that can be expressed, in the year 2262.
    pub const MAX: Self = Self(i64::MAX);

    /// The moment `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after the epoch, saturating at the ends.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// The moment `seconds` seconds after the epoch, saturating at the ends.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// This moment moved `nanos` into the future, saturating at the ends.
    #[must_use]
    pub const fn saturating_add_nanos(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This moment moved `nanos` into the past, saturating at the ends.
    #[must_use]
    pub const fn saturating_sub_nanos(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }
}

/// The half-open range `[start, end)`; empty when `end <= start`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TimeRange {
    /// First moment inside.
    pub start: Timestamp,
    /// First moment after.
    pub end: Timestamp,
}

impl TimeRange {
    /// Everything except [`Timestamp::MAX`] itself, which no half-open range can hold.
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// The range from `start` up to but without `end`.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether no moment lies inside.
    pub const fn is_empty(&self) -> bool {
        self.end.0 <= self.start.0
    }

    /// Whether `at` lies inside.
    pub const fn contains(&self, at: Timestamp) -> bool {
        self.start.0 <= at.0 && at.0 < self.end.0
    }

    /// Whether some moment lies inside both.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
    }

    /// The moments inside both; empty if there are none.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// The span of `nanos` nanoseconds that begins at a multiple of that and holds `at`; `None` if `nanos` is zero.
    pub fn aligned(at: Timestamp, nanos: i64) -> Option<Self> {
        let number = at.0.checked_div_euclid(nanos)?;
        let start = Timestamp(number.saturating_mul(nanos));
        Some(Self { start, end: start.saturating_add_nanos(nanos) })
    }

    /// Which of some ascending times lie inside.
    pub fn indexes_in(&self, times: &[i64]) -> Range<usize> {
        let start = times.partition_point(|&time| time < self.start.0);
        let end = times.partition_point(|&time| time < self.end.0);
        start..end.max(start)
    }
}

/// The order in which entries are wanted.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first, as Loki answers unless told otherwise.
    #[default]
    Backward,
}

/// One log line with its time and its structured metadata.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry {
    /// When it happened.
    pub timestamp: Timestamp,
    /// The line; by convention UTF-8, but any bytes are kept as they are.
    pub line: Bytes,
    /// Structured metadata: labels of this entry alone.
    pub metadata: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open() {
        let range = TimeRange::new(Timestamp(10), Timestamp(20));
        assert!(range.contains(Timestamp(10)));
        assert!(!range.contains(Timestamp(20)));
        assert!(!range.overlaps(&TimeRange::new(Timestamp(20), Timestamp(30))));
        assert!(range.overlaps(&TimeRange::new(Timestamp(19), Timestamp(30))));
        assert!(TimeRange::new(Timestamp(5), Timestamp(5)).is_empty());
    }

    #[test]
    fn spans_begin_at_multiples_of_their_length() {
        let aligned = |at, nanos| TimeRange::aligned(Timestamp(at), nanos).map(|span| (span.start.0, span.end.0));
        assert_eq!([9, 10, 19].map(|at| aligned(at, 10)), [Some((0, 10)), Some((10, 20)), Some((10, 20))]);
        assert_eq!(aligned(-1, 10), Some((-10, 0)));
        assert_eq!(aligned(7, 0), None);
        assert_eq!(aligned(i64::MAX, 1 << 40).map(|(_, end)| end), Some(i64::MAX));
    }

    #[test]
    fn times_inside_are_found() {
        let inside = |start, end| TimeRange::new(Timestamp(start), Timestamp(end)).indexes_in(&[1, 3, 3, 5]);
        assert_eq!([inside(3, 5), inside(0, 9), inside(4, 5)], [1..3, 0..4, 3..3]);
        assert!(inside(5, 1).is_empty() && inside(6, 9).is_empty());
    }

    #[test]
    fn empty_ranges_overlap_nothing() {
        let nothing = TimeRange::new(Timestamp(15), Timestamp(15));
        assert!(!nothing.overlaps(&TimeRange::ALL));
        assert!(!TimeRange::ALL.overlaps(&nothing));
    }

    #[test]
    fn conversions_saturate() {
        assert_eq!(Timestamp::from_seconds(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(-3), Timestamp(-3_000_000));
        assert_eq!(Timestamp::MIN.saturating_sub_nanos(1), Timestamp::MIN);
    }
}
