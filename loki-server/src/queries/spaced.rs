//! Log queries with an `interval`: entries that keep a distance in time from one another.
//!
//! The limit is of entries that remain. The distance is kept over all streams together, but not over the boundaries at
//! which Loki cuts queries into parts: behind each of them the first entry is taken again.

use std::collections::BTreeMap;
use std::sync::Arc;

use loki_core::{Direction, Labels, TimeRange, Timestamp};
use loki_logql::engine::{Engine, Error, QueryLimits, RangeQuery};
use loki_logql::querier::Querier;
use loki_logql::result::{QueryResult, Response, ResultEntry, StreamEntries};
use loki_logql::stats::Stats;

/// Entries that are looked at together.
const PAGE_ENTRIES: u32 = 1000;

/// Answers a log query whose interval is greater than zero.
pub(super) async fn query(
    engine: &Engine,
    querier: Arc<dyn Querier>,
    query: RangeQuery,
    limits: &QueryLimits,
) -> Result<Response, Error> {
    limits.check_entries(query.limit)?;
    let of_page = QueryLimits { split_range_nanos: 0, ..limits.clone() };
    let page_entries = match limits.max_entries {
        0 => PAGE_ENTRIES,
        limit => PAGE_ENTRIES.min(limit),
    };
    let mut spacing = Spacing {
        direction: query.direction,
        interval_nanos: query.interval_nanos,
        split_nanos: limits.split_range_nanos,
        next: match query.direction {
            Direction::Forward => query.start,
            Direction::Backward => query.end.saturating_sub_nanos(1),
        },
    };
    let mut taken: Vec<(Labels, ResultEntry)> = Vec::new();
    let mut stats = Stats::default();
    let mut page = RangeQuery { interval_nanos: 0, limit: page_entries, ..query.clone() };
    while page.start < page.end {
        let response = engine.range_query(Arc::clone(&querier), page.clone(), &of_page).await?;
        stats += response.stats;
        let found = in_order(response.result, query.direction);
        let is_last = found.len() < page_entries as usize;
        for (labels, entry) in found {
            if taken.len() < query.limit as usize && spacing.takes(entry.timestamp) {
                taken.push((labels, entry));
            }
        }
        if is_last || taken.len() >= query.limit as usize {
            break;
        }
        match query.direction {
            Direction::Forward => page.start = spacing.next,
            Direction::Backward => page.end = spacing.next.saturating_add_nanos(1),
        }
    }
    stats.returned = taken.len() as u64;
    Ok(Response { result: QueryResult::Streams(group(taken)), stats, warnings: Vec::new() })
}

/// Which entries are far enough from the one before.
struct Spacing {
    direction: Direction,
    interval_nanos: i64,
    /// Where parts end: at multiples of this, if it is not zero.
    split_nanos: i64,
    /// The first moment at which an entry may be taken, in the order of the query.
    next: Timestamp,
}

impl Spacing {
    /// Whether an entry of this time is taken. Behind it `next` lies beyond that time.
    fn takes(&mut self, time: Timestamp) -> bool {
        match self.direction {
            Direction::Forward if time >= self.next => {
                let next = time.saturating_add_nanos(self.interval_nanos);
                self.next = self.part(time).map_or(next, |part| next.min(part.end));
                true
            }
            Direction::Backward if time <= self.next => {
                let next = time.saturating_sub_nanos(self.interval_nanos);
                self.next = self.part(time).map_or(next, |part| next.max(part.start.saturating_sub_nanos(1)));
                true
            }
            Direction::Forward | Direction::Backward => false,
        }
    }

    /// The part that a moment lies in.
    fn part(&self, time: Timestamp) -> Option<TimeRange> {
        TimeRange::aligned(time, self.split_nanos)
    }
}

/// The entries of all streams in the order of the query.
fn in_order(result: QueryResult, direction: Direction) -> Vec<(Labels, ResultEntry)> {
    let QueryResult::Streams(streams) = result else {
        return Vec::new();
    };
    let entries = streams.into_iter().flat_map(|stream| {
        let labels = stream.labels;
        stream.entries.into_iter().map(move |entry| (labels.clone(), entry))
    });
    let mut entries: Vec<_> = entries.collect();
    match direction {
        Direction::Forward => entries.sort_by_key(|(_, entry)| entry.timestamp),
        Direction::Backward => entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.timestamp)),
    }
    entries
}

fn group(entries: Vec<(Labels, ResultEntry)>) -> Vec<StreamEntries> {
    let mut streams: BTreeMap<Labels, Vec<ResultEntry>> = BTreeMap::new();
    for (labels, entry) in entries {
        streams.entry(labels).or_default().push(entry);
    }
    streams.into_iter().map(|(labels, entries)| StreamEntries { labels, entries }).collect()
}

#[cfg(test)]
mod tests {
    use loki_core::Entry;
    use loki_logql::engine::EngineOptions;
    use loki_logql::memory::MemoryQuerier;

    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    /// The minutes of the entries taken out of one every `spacing` minutes from 0 to 180, alternating between streams.
    fn taken(spacing: i64, interval: i64, limit: u32, direction: Direction) -> Vec<i64> {
        let mut stored = MemoryQuerier::new();
        for number in 0..=180 / spacing {
            let labels = Labels::from_pairs([("n", (number % 2).to_string())]).expect("one label");
            let timestamp = Timestamp(number * spacing * MINUTE);
            stored.push(&labels, Entry { timestamp, line: "x".into(), metadata: Labels::EMPTY });
        }
        let range = RangeQuery {
            expr: loki_logql::parse(r#"{n=~".+"}"#).expect("valid"),
            start: Timestamp(0),
            end: Timestamp(181 * MINUTE),
            step_nanos: MINUTE,
            interval_nanos: interval * MINUTE,
            limit,
            direction,
            categorize_labels: false,
        };
        let engine = Engine::new(EngineOptions::inline(Arc::new(|| Timestamp(0))));
        let limits = QueryLimits { max_entries: 200, ..QueryLimits::default() };
        let answer = query(&engine, Arc::new(stored), range, &limits);
        let response = futures::executor::block_on(answer).expect("valid");
        let entries = in_order(response.result, direction);
        entries.iter().map(|(_, entry)| entry.timestamp.0 / MINUTE).collect()
    }

    #[test]
    fn the_limit_counts_entries_that_remain() {
        assert_eq!(taken(1, 10, 3, Direction::Forward), [0, 10, 20]);
        assert_eq!(taken(5, 20, 100, Direction::Forward), [0, 20, 40, 60, 80, 100, 120, 140, 160, 180]);
    }

    #[test]
    fn every_part_begins_afresh() {
        assert_eq!(taken(5, 45, 100, Direction::Forward), [0, 45, 60, 105, 120, 165, 180]);
        assert_eq!(taken(5, 90, 100, Direction::Backward), [180, 175, 115, 55]);
    }

    #[test]
    fn entries_are_found_behind_the_first_page() {
        let all: Vec<i64> = (0..=180).collect();
        assert_eq!(taken(1, 1, 200, Direction::Forward), all);
        let limited = QueryLimits { max_entries: 1, ..QueryLimits::default() };
        assert!(limited.check_entries(2).is_err());
    }
}
