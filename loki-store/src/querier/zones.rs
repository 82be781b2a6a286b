//! Where entries of one stream may be stored twice.
//!
//! A client that retries a push, or a crash between publishing a segment and
//! dropping its log, leaves equal entries in two places. Inside one place
//! duplicates were removed, so only spans of time in which a stream has
//! entries in several places need a second look. Usually there are none.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use loki_core::{TimeRange, Timestamp};

/// A stream in one place: its label hash, its number there, the times of its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamSpan {
    pub(super) hash: u64,
    pub(super) stream: u32,
    pub(super) range: TimeRange,
}

/// The spans of one place that may occur elsewhere too, by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Zones {
    by_stream: BTreeMap<u32, Vec<TimeRange>>,
}

impl Zones {
    /// The spans of each stream, in any order.
    pub(super) fn new(mut by_stream: BTreeMap<u32, Vec<TimeRange>>) -> Self {
        for spans in by_stream.values_mut() {
            *spans = union(std::mem::take(spans));
        }
        Self { by_stream }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_stream.is_empty()
    }

    /// Spans of one stream, ascending and disjoint.
    pub(super) fn of(&self, stream: u32) -> &[TimeRange] {
        self.by_stream.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// Spans of all streams with numbers from `first` through `last`, inside `bounds`, ascending and disjoint.
    pub(super) fn within(&self, first: u32, last: u32, bounds: TimeRange) -> Vec<TimeRange> {
        let spans = self.by_stream.range(first..=last);
        let spans = spans.flat_map(|(_, spans)| spans.iter().map(|span| span.intersect(&bounds)));
        union(spans.filter(|span| !span.is_empty()).collect())
    }
}

/// For each place, where its streams overlap in time with the same streams in another place.
///
/// Two streams with equal hash are taken for the same one; that can only widen the zones.
pub(super) fn zones(places: &[Vec<StreamSpan>]) -> Vec<Zones> {
    let mut by_hash: HashMap<u64, Vec<(usize, StreamSpan)>> = HashMap::new();
    for (place, spans) in places.iter().enumerate() {
        for span in spans {
            by_hash.entry(span.hash).or_default().push((place, *span));
        }
    }
    let mut zones = vec![BTreeMap::new(); places.len()];
    for mut spans in by_hash.into_values() {
        if spans.len() > 1 {
            spans.sort_by_key(|(_, span)| span.range.start);
            mark_overlaps(&spans, &mut zones);
        }
    }
    zones.into_iter().map(Zones::new).collect()
}

/// Adds every overlap between two of the spans, sorted by start, to the zones of both places.
fn mark_overlaps(spans: &[(usize, StreamSpan)], zones: &mut [BTreeMap<u32, Vec<TimeRange>>]) {
    for (i, (place, span)) in spans.iter().enumerate() {
        for (other_place, other) in &spans[i + 1..] {
            if other.range.start >= span.range.end {
                break;
            }
            let overlap = span.range.intersect(&other.range);
            for (place, stream) in [(*place, span.stream), (*other_place, other.stream)] {
                let spans = zones[place].entry(stream).or_default();
                // Growing the last span keeps the lists short where many places overlap.
                match spans.last_mut() {
                    Some(last) if touches(*last, overlap) => *last = hull(*last, overlap),
                    _ => spans.push(overlap),
                }
            }
        }
    }
}

/// The spans, ascending, overlapping ones merged.
pub(super) fn union(mut spans: Vec<TimeRange>) -> Vec<TimeRange> {
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<TimeRange> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if touches(*last, span) => *last = hull(*last, span),
            _ => merged.push(span),
        }
    }
    merged
}

fn touches(a: TimeRange, b: TimeRange) -> bool {
    a.start <= b.end && b.start <= a.end
}

fn hull(a: TimeRange, b: TimeRange) -> TimeRange {
    let (start, end): (Timestamp, Timestamp) = (a.start.min(b.start), a.end.max(b.end));
    TimeRange::new(start, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp(start), Timestamp(end))
    }

    fn span(hash: u64, stream: u32, start: i64, end: i64) -> StreamSpan {
        StreamSpan { hash, stream, range: range(start, end) }
    }

    #[test]
    fn places_that_follow_each_other_have_no_zones() {
        let places = [vec![span(1, 0, 0, 10)], vec![span(1, 0, 10, 20)]];
        assert_eq!(zones(&places), [Zones::default(), Zones::default()]);
    }

    #[test]
    fn overlaps_are_marked_on_both_sides_under_each_sides_number() {
        let places = [vec![span(1, 7, 0, 10), span(2, 8, 0, 10)], vec![span(1, 3, 8, 20)]];
        let zones = zones(&places);
        assert_eq!(zones[0].of(7), [range(8, 10)]);
        assert_eq!(zones[0].of(8), []);
        assert_eq!(zones[1].of(3), [range(8, 10)]);
        assert_eq!(zones[1].within(0, 9, range(9, 100)), [range(9, 10)]);
    }

    proptest! {
        #[test]
        fn a_time_is_in_a_zone_exactly_if_the_stream_is_there_in_two_places(
            specs in prop::collection::vec((0..3_usize, 0..2_u64, 0..30_i64, 1..10_i64), 0..12),
        ) {
            let mut places = vec![Vec::new(); 3];
            let mut taken = std::collections::HashSet::new();
            for (place, hash, start, len) in specs {
                if taken.insert((place, hash)) {
                    places[place].push(span(hash, hash as u32, start, start + len));
                }
            }
            let zones = zones(&places);
            for (place, spans) in places.iter().enumerate() {
                for span in spans {
                    for t in span.range.start.0..span.range.end.0 {
                        let elsewhere = places.iter().enumerate().any(|(other, spans)| {
                            other != place && spans.iter().any(|s| s.hash == span.hash && s.range.contains(Timestamp(t)))
                        });
                        let zoned = zones[place].of(span.stream).iter().any(|z| z.contains(Timestamp(t)));
                        // Touching zones are merged into their hull, which adds nothing between them.
                        prop_assert_eq!(zoned, elsewhere, "place {} time {}", place, t);
                    }
                }
            }
        }
    }
}
