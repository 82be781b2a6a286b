//! What to merge next.

use std::collections::BTreeMap;
use std::time::Duration;

use loki_core::Timestamp;

use super::{Bounds, MAX_MERGE_BYTES, MAX_MERGE_INPUTS, MERGED_SEGMENT_BYTES};
use crate::segment::SegmentId;
use crate::tenant::TenantId;

/// Nanoseconds of a day.
pub(crate) const DAY_NANOS: i64 = 86_400_000_000_000;

/// Segments below this size count as this large: what they cost is their number.
const SMALL_SEGMENT_BYTES: u64 = 1 << 20;

/// Segments of a day are merged into ones of at most this size. Streams come before times in a segment, so a query for
/// the last hour looks at chunks of all streams: where a window's segment is as large as this, it is better left alone.
const DAY_MERGE_BYTES: u64 = 8 << 20;

/// What choosing needs to know of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: SegmentId,
    pub(crate) level: u8,
    pub(crate) size: u64,
    /// When it was written.
    pub(crate) created: Timestamp,
    /// Times of the first and the last entry.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// The tenant, if all entries belong to one.
    pub(crate) tenant: Option<TenantId>,
}

/// When merging is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// So many flushed segments are merged, however young.
    pub(crate) flushed_segments: usize,
    /// A flushed segment of this age is merged, even alone: then it no longer mixes tenants and times.
    pub(crate) flushed_age: Duration,
    /// A day counts as over this long after its end, when most of what comes late has come.
    pub(crate) day_delay: Duration,
    /// Whether days that are not over are merged too.
    pub(crate) any_day: bool,
    /// What a merge keeps to.
    pub(crate) bounds: Bounds,
}

impl Rules {
    /// For the background: late enough that little is merged twice.
    pub(crate) const LAZY: Self = Self {
        flushed_segments: MAX_MERGE_INPUTS,
        flushed_age: Duration::from_hours(2),
        day_delay: Duration::from_hours(2),
        any_day: false,
        bounds: WIDEST,
    };

    /// For whoever asks for it: whatever reduces the number of segments.
    pub(crate) const EAGER: Self = Self {
        flushed_segments: 1,
        flushed_age: Duration::ZERO,
        day_delay: Duration::ZERO,
        any_day: true,
        bounds: WIDEST,
    };

    /// The same rules for merges that keep to `bounds`.
    pub(crate) const fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }
}

/// The bounds of a merge that has memory enough.
const WIDEST: Bounds = Bounds { inputs: MAX_MERGE_INPUTS, segment_bytes: MERGED_SEGMENT_BYTES };

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Everything is as it should be.
    Nothing,
    /// Replace these segments, in order of arrival, by merged ones.
    Merge {
        /// The segments.
        inputs: Vec<SegmentId>,
        /// The level of what replaces them.
        level: u8,
    },
}

/// Chooses what to merge. `segments` are in order of arrival; the clock shows `now`.
///
/// Inputs always follow each other in order of arrival, as far as they hold the same streams and times: so entries with
/// equal times keep their order.
pub(crate) fn choose(segments: &[Candidate], now: Timestamp, rules: &Rules) -> Choice {
    let flushed = choose_flushed(segments, now, rules);
    if flushed != Choice::Nothing {
        return flushed;
    }
    choose_days(segments, now, rules)
}

/// The oldest flushed segments, if they are many or old enough.
fn choose_flushed(segments: &[Candidate], now: Timestamp, rules: &Rules) -> Choice {
    let flushed: Vec<&Candidate> = segments.iter().filter(|segment| segment.level == 0).collect();
    let Some(oldest) = flushed.first() else {
        return Choice::Nothing;
    };
    let is_old = now >= after(oldest.created, rules.flushed_age);
    if !is_old && flushed.len() < rules.flushed_segments {
        return Choice::Nothing;
    }
    let inputs = longest_run(&flushed, MAX_MERGE_BYTES, rules.bounds).iter().map(|segment| segment.id).collect();
    Choice::Merge { inputs, level: 1 }
}

/// Segments of one tenant and one day that is over, if merging them at least halves their number.
fn choose_days(segments: &[Candidate], now: Timestamp, rules: &Rules) -> Choice {
    let mut days: BTreeMap<(i64, &TenantId), Vec<&Candidate>> = BTreeMap::new();
    for segment in segments.iter().filter(|segment| segment.level > 0) {
        let (day, last_day) = (day_of(segment.first), day_of(segment.last));
        if let (Some(tenant), true) = (&segment.tenant, day == last_day) {
            days.entry((day, tenant)).or_default().push(segment);
        }
    }
    for ((day, _), of_day) in days {
        let end = Timestamp(day.saturating_add(1).saturating_mul(DAY_NANOS));
        if !rules.any_day && now < after(end, rules.day_delay) {
            continue;
        }
        let runs = (0..of_day.len()).map(|start| longest_run(&of_day[start..], DAY_MERGE_BYTES, rules.bounds));
        if let Some(run) = runs.into_iter().find(|run| is_worth_it(run, rules.bounds)) {
            return Choice::Merge { inputs: run.iter().map(|segment| segment.id).collect(), level: 2 };
        }
    }
    Choice::Nothing
}

/// As many of the first segments as are merged at the same time and have at most so many bytes; at least one.
fn longest_run<'a, 'b>(segments: &'b [&'a Candidate], max_bytes: u64, bounds: Bounds) -> &'b [&'a Candidate] {
    let mut bytes = 0;
    let fits = |segment: &&&Candidate| {
        bytes += segment.size;
        bytes <= max_bytes
    };
    let count = segments.iter().take(bounds.inputs).take_while(fits).count();
    &segments[..count.max(1).min(segments.len())]
}

/// Whether merging halves the number of segments, and what is gained is not mostly one large segment written again.
fn is_worth_it(run: &[&Candidate], bounds: Bounds) -> bool {
    let weight = |segment: &&Candidate| segment.size.max(SMALL_SEGMENT_BYTES);
    let total: u64 = run.iter().map(weight).sum();
    let largest = run.iter().map(weight).max().unwrap_or(0);
    let bytes: u64 = run.iter().map(|segment| segment.size).sum();
    let merged = bytes.div_ceil(bounds.segment_bytes as u64).max(1);
    2 * merged <= run.len() as u64 && 2 * largest <= total
}

/// The number of the UTC day.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_NANOS)
}

fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.saturating_add_nanos(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HOUR: i64 = 3600;
    /// Noon of some day.
    const NOON: i64 = 12 * HOUR;

    fn segment(number: u128, level: u8, size: u64, (first, last): (i64, i64)) -> Candidate {
        Candidate {
            id: SegmentId(Uuid::from_u128(number)),
            level,
            size,
            created: Timestamp::from_seconds(last),
            first: Timestamp::from_seconds(first),
            last: Timestamp::from_seconds(last),
            tenant: (level > 0).then(TenantId::anonymous),
        }
    }

    fn merged(segments: &[Candidate], now: i64, rules: &Rules) -> Option<(Vec<u128>, u8)> {
        match choose(segments, Timestamp::from_seconds(now), rules) {
            Choice::Nothing => None,
            Choice::Merge { inputs, level } => Some((inputs.iter().map(|id| id.0.as_u128()).collect(), level)),
        }
    }

    fn flushed(count: u128, size: u64) -> Vec<Candidate> {
        (0..count).map(|n| segment(n, 0, size, (NOON, NOON + n as i64))).collect()
    }

    #[test]
    fn flushed_segments_wait_until_they_are_many_or_old() {
        let lazy = &Rules::LAZY;
        assert_eq!(merged(&[], NOON, lazy), None);
        assert_eq!(merged(&flushed(23, 1), NOON, lazy), None);
        assert_eq!(merged(&flushed(24, 1), NOON, lazy), Some(((0..24).collect(), 1)));
        assert_eq!(merged(&flushed(1, 1), NOON + 2 * HOUR - 1, lazy), None);
        assert_eq!(merged(&flushed(1, 1), NOON + 2 * HOUR, lazy), Some((vec![0], 1)));
        assert_eq!(merged(&flushed(3, MAX_MERGE_BYTES), NOON, lazy), None, "however large");
        assert_eq!(merged(&flushed(1, 1), NOON, &Rules::EAGER), Some((vec![0], 1)));
    }

    #[test]
    fn a_merge_is_bounded_in_number_and_bytes_but_never_empty() {
        let many = flushed(100, 1);
        assert_eq!(merged(&many, NOON, &Rules::LAZY), Some(((0..MAX_MERGE_INPUTS as u128).collect(), 1)));
        let huge = flushed(2, MAX_MERGE_BYTES + 1);
        assert_eq!(merged(&huge, NOON, &Rules::EAGER), Some((vec![0], 1)));
    }

    #[test]
    fn little_memory_means_smaller_merges_that_still_come_to_an_end() {
        let bounds = Bounds { inputs: 4, segment_bytes: 8 << 20 };
        let rules = &Rules::EAGER.within(bounds);
        assert_eq!(merged(&flushed(10, 1), NOON, rules), Some(((0..4).collect(), 1)));
        let day = |size| -> Vec<_> { (0..6).map(|n| segment(n, 1, size, (n as i64, n as i64 + 1))).collect() };
        assert_eq!(merged(&day(1 << 20), NOON, rules), Some(((0..4).collect(), 2)));
        let rules = &Rules::EAGER.within(Bounds { inputs: 4, segment_bytes: 1 << 20 });
        assert_eq!(merged(&day(1 << 20), NOON, rules), None, "as many would come of it");
    }

    #[test]
    fn a_day_is_merged_once_it_is_over() {
        let hour = |n: u128, size| segment(n, 1, size, (HOUR * n as i64, HOUR * n as i64 + HOUR - 1));
        let day: Vec<_> = (0..12).map(|n| hour(n, DAY_MERGE_BYTES / 12)).collect();
        let end = 24 * HOUR;
        assert_eq!(merged(&day, end + 2 * HOUR - 1, &Rules::LAZY), None);
        assert_eq!(merged(&day, end + 2 * HOUR, &Rules::LAZY), Some(((0..12).collect(), 2)));
        assert_eq!(merged(&day, NOON, &Rules::EAGER), Some(((0..12).collect(), 2)));
        let much: Vec<_> = (0..12).map(|n| hour(n, DAY_MERGE_BYTES / 3)).collect();
        assert_eq!(merged(&much, NOON, &Rules::EAGER), Some(((0..3).collect(), 2)), "a part of the day");
        let too_much: Vec<_> = (0..12).map(|n| hour(n, DAY_MERGE_BYTES)).collect();
        assert_eq!(merged(&too_much, NOON, &Rules::EAGER), None, "hours are read faster than a day");
    }

    #[test]
    fn tenants_and_days_are_not_mixed() {
        let eager = &Rules::EAGER;
        let mut other = segment(2, 1, 1, (0, 1));
        other.tenant = Some(TenantId::parse("other").unwrap());
        let yesterday = segment(1, 1, 1, (-10, -1));
        assert_eq!(merged(&[segment(0, 1, 1, (0, 1)), yesterday.clone(), other], NOON, eager), None);
        let pairs = [segment(0, 1, 1, (0, 1)), yesterday.clone(), segment(3, 1, 1, (5, 6)), yesterday];
        assert_eq!(merged(&pairs, NOON, eager), Some((vec![1, 1], 2)), "the oldest day first");
        let spanning = [segment(0, 1, 1, (-1, 1)), segment(1, 1, 1, (-1, 1))];
        assert_eq!(merged(&spanning, NOON, eager), None, "what spans days stays as it is");
    }

    #[test]
    fn large_segments_are_not_written_again_for_little() {
        let eager = &Rules::EAGER;
        let large = |n| segment(n, 2, MERGED_SEGMENT_BYTES as u64, (0, 1));
        assert_eq!(merged(&[large(0), large(1)], NOON, eager), None, "merging makes as many");
        assert_eq!(merged(&[large(0), segment(1, 1, 1, (0, 1))], NOON, eager), None);
        let late = [large(0), segment(1, 1, 1, (0, 1)), segment(2, 1, 1, (0, 1))];
        assert_eq!(merged(&late, NOON, eager), Some((vec![1, 2], 2)), "what came late is merged by itself");
        let tiny = [segment(0, 1, 1000, (0, 1)), segment(1, 1, 1, (0, 1))];
        assert_eq!(merged(&tiny, NOON, eager), Some((vec![0, 1], 2)), "tiny ones count as equal");
    }
}
