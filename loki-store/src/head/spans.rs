//! A few spans of time that cover many moments.

use loki_core::{TimeRange, Timestamp};

/// Spans of one stream; the two closest are joined when there would be more.
const MAX_SPANS: usize = 8;

/// Ascending, disjoint spans that cover every moment added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<TimeRange>);

impl Spans {
    /// Covers `at`, which must not be the last moment of all.
    pub(super) fn add(&mut self, at: Timestamp) {
        let moment = TimeRange::new(at, at.saturating_add_nanos(1));
        let next = self.0.partition_point(|span| span.end <= at);
        if self.0.get(next).is_some_and(|span| span.contains(at)) {
            return;
        }
        self.0.insert(next, moment);
        if self.0.len() > MAX_SPANS {
            self.join_closest();
        }
    }

    /// The spans.
    pub(super) fn as_slice(&self) -> &[TimeRange] {
        &self.0
    }

    /// Whether `at` is covered.
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let next = self.0.partition_point(|span| span.end <= at);
        self.0.get(next).is_some_and(|span| span.contains(at))
    }

    fn join_closest(&mut self) {
        let gap = |i: &usize| self.0[i + 1].start.0.abs_diff(self.0[*i].end.0);
        if let Some(closest) = (0..self.0.len() - 1).min_by_key(gap) {
            self.0[closest].end = self.0[closest + 1].end;
            self.0.remove(closest + 1);
        }
    }
}

/// All spans inside `bounds`, ascending and disjoint.
pub(super) fn union_within(mut spans: Vec<TimeRange>, bounds: TimeRange) -> Vec<TimeRange> {
    spans.retain_mut(|span| {
        *span = span.intersect(&bounds);
        !span.is_empty()
    });
    spans.sort_unstable_by_key(|span| span.start);
    spans.dedup_by(|next, last| {
        let is_joined = next.start <= last.end;
        if is_joined {
            last.end = last.end.max(next.end);
        }
        is_joined
    });
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp(start), Timestamp(end))
    }

    #[test]
    fn the_closest_spans_are_joined_when_there_are_too_many() {
        let mut spans = Spans::default();
        for i in 0..MAX_SPANS as i64 {
            spans.add(Timestamp(i * 100));
        }
        spans.add(Timestamp(303));
        assert_eq!(spans.as_slice().len(), MAX_SPANS);
        assert_eq!(spans.as_slice()[3], range(300, 304));
    }

    proptest! {
        #[test]
        fn every_moment_added_is_covered(moments in prop::collection::vec(-50_i64..50, 0..60)) {
            let mut spans = Spans::default();
            for (i, at) in moments.iter().enumerate() {
                spans.add(Timestamp(*at));
                prop_assert!(moments[..=i].iter().all(|at| spans.contains(Timestamp(*at))));
                prop_assert!(spans.as_slice().len() <= MAX_SPANS);
                prop_assert!(spans.as_slice().is_sorted_by(|a, b| a.end <= b.start));
            }
        }

        #[test]
        fn a_union_covers_what_its_spans_cover(parts in prop::collection::vec((-20_i64..20, 0_i64..9), 0..9)) {
            let parts: Vec<_> = parts.into_iter().map(|(start, len)| range(start, start + len)).collect();
            let bounds = range(-10, 15);
            let union = union_within(parts.clone(), bounds);
            prop_assert!(union.is_sorted_by(|a, b| a.end < b.start));
            for at in (-30..40).map(Timestamp) {
                let expected = bounds.contains(at) && parts.iter().any(|part| part.contains(at));
                prop_assert_eq!(union.iter().any(|span| span.contains(at)), expected);
            }
        }
    }
}
