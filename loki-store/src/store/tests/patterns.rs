//! Patterns of lines, wherever these are.

use super::*;
use crate::patterns::{PatternSeries, Patterns};

const HOUR: Duration = Duration::from_hours(1);

/// Pushes so many lines, a second apart from `at` on, that differ in a number.
async fn push_lines(store: &Store, stream: u8, at: Timestamp, text: &str, count: i64) {
    let first = at.as_nanos() / 1_000_000_000;
    let entries = (0..count).map(|i| entry(first + i, &format!("{text} {i}"), None));
    push(store, stream, entries.collect()).await.unwrap();
}

async fn patterns_of(store: &Store, tenant: &TenantId, matchers: &[Matcher]) -> Patterns {
    // About a minute a step, the least that so long a range can have.
    let range = TimeRange::new(Timestamp(0), Timestamp::from_seconds(1_050_000));
    store.patterns(tenant, matchers, range, 0).await.unwrap()
}

async fn shown(store: &Store) -> Vec<PatternSeries> {
    patterns_of(store, &tenant(), &all()).await.into_series()
}

/// Texts and how many lines they have.
async fn totals(store: &Store) -> Vec<(String, u64)> {
    shown(store).await.into_iter().map(|series| (series.pattern.clone(), series.total())).collect()
}

fn expected(totals: &[(&str, u64)]) -> Vec<(String, u64)> {
    totals.iter().map(|(text, lines)| ((*text).to_owned(), *lines)).collect()
}

#[tokio::test]
async fn patterns_outlive_flushing_merging_and_restarts() {
    let machine = Machine::new();
    machine.clock.set(Timestamp::from_seconds(1_000_000));
    let store = machine.open().await.unwrap();
    let start = machine.clock.now();
    push_lines(&store, 1, start, "took ms", 40).await;
    push_lines(&store, 2, start, "found rows", 50).await;
    let in_head = shown(&store).await;
    assert_eq!(totals(&store).await, expected(&[("found rows <_>", 50), ("took ms <_>", 40)]));
    store.flush().await.unwrap();
    assert_eq!(shown(&store).await, in_head);

    push_lines(&store, 1, start.saturating_add_nanos(HOUR.as_nanos() as i64 * 2), "took ms", 30).await;
    let both = expected(&[("took ms <_>", 70), ("found rows <_>", 50)]);
    assert_eq!(totals(&store).await, both, "segment and head");
    store.flush().await.unwrap();
    let flushed = shown(&store).await;
    assert_eq!(totals(&store).await, both, "two segments");
    assert!(store.compact().await.unwrap() >= 2);
    assert_eq!(shown(&store).await, flushed, "merged, in two windows");

    machine.clock.advance(HOUR * 24 * 30);
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(shown(&store).await, flushed, "long after");
    store.compact().await.unwrap();
    assert_eq!(shown(&store).await, flushed, "merged into a day");
    assert_eq!(store.segment_count(), 1);
}

#[tokio::test]
async fn only_recent_lines_are_looked_at() {
    let machine = Machine::new();
    machine.clock.set(Timestamp::from_seconds(1_000_000));
    let store = machine.open().await.unwrap();
    let oldest = machine.clock.now().saturating_sub_nanos(3 * HOUR.as_nanos() as i64);
    push_lines(&store, 1, oldest, "just in time", 30).await;
    push_lines(&store, 2, oldest.saturating_sub_nanos(100_000_000_000), "too old", 50).await;
    let recent = expected(&[("just in time <_>", 30)]);
    assert_eq!(totals(&store).await, recent);
    store.flush().await.unwrap();
    assert_eq!(totals(&store).await, recent);
}

#[tokio::test]
async fn patterns_are_those_of_the_selected_streams_of_one_tenant() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let now = machine.clock.now();
    push_lines(&store, 1, now, "one", 30).await;
    store.flush().await.unwrap();
    push_lines(&store, 2, now, "two", 30).await;
    let of_stream = |name: &str| vec![Matcher::new("stream", MatchOp::Equal, name).unwrap()];
    for (name, text) in [("s1", "one <_>"), ("s2", "two <_>")] {
        let found = patterns_of(&store, &tenant(), &of_stream(name)).await.into_series();
        assert_eq!(found.iter().map(|series| series.pattern.as_str()).collect::<Vec<_>>(), [text]);
    }
    let stranger = TenantId::parse("stranger").unwrap();
    assert_eq!(patterns_of(&store, &stranger, &all()).await.into_series(), []);
}

#[tokio::test]
async fn rare_patterns_are_shown_once_they_are_many_together() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let now = machine.clock.now();
    push_lines(&store, 1, now, "tick", 29).await;
    assert_eq!(shown(&store).await, []);
    store.flush().await.unwrap();
    push_lines(&store, 2, now, "tick", 1).await;
    assert_eq!(totals(&store).await, expected(&[("tick <_>", 30)]));

    let mut both = patterns_of(&store, &tenant(), &all()).await;
    both.merge(patterns_of(&store, &tenant(), &all()).await);
    assert_eq!(both.into_series()[0].total(), 60);
}

#[tokio::test]
async fn what_is_constant_in_each_stream_may_vary_among_them() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let now = machine.clock.now();
    push_lines(&store, 1, now, "host=web served the request", 20).await;
    push_lines(&store, 2, now, "host=api served the request", 20).await;
    assert_eq!(totals(&store).await, expected(&[("host=<_> served the request <_>", 40)]));
}

#[tokio::test]
async fn samples_are_those_of_the_range_by_steps() {
    let machine = Machine::new();
    machine.clock.set(Timestamp::from_seconds(1_000_000));
    let store = machine.open().await.unwrap();
    push_lines(&store, 1, Timestamp::from_seconds(1_000_000), "tick", 100).await;
    let ask = async |from: i64, to: i64, step_seconds: u64| {
        let range = TimeRange::new(Timestamp::from_seconds(from), Timestamp::from_seconds(to));
        let found = store.patterns(&tenant(), &all(), range, step_seconds * 1_000_000_000).await.unwrap().into_series();
        let samples = found.into_iter().flat_map(|series| series.samples);
        samples.map(|(at, lines)| (at.as_nanos() / 1_000_000_000 - 1_000_000, lines)).collect::<Vec<_>>()
    };
    assert_eq!(ask(1_000_000, 1_000_100, 40).await, [(0, 40), (40, 40), (80, 20)]);
    assert_eq!(ask(1_000_010, 1_000_040, 1).await, [(10, 10), (20, 10), (30, 10)]);
    store.flush().await.unwrap();
    assert_eq!(ask(1_000_000, 1_000_100, 40).await, [(0, 40), (40, 40), (80, 20)]);
    assert_eq!(ask(1_000_010, 1_000_040, 1).await, [(10, 10), (20, 10), (30, 10)]);
    assert_eq!(ask(1_000_100, 1_000_200, 1).await, []);
}

#[tokio::test]
async fn a_store_that_does_not_mine_has_segments_without_patterns() {
    let machine = Machine::new();
    let mut config = machine.config();
    config.patterns.enabled = false;
    let store = machine.open_with(config).await.unwrap();
    push_lines(&store, 1, machine.clock.now(), "tick", 50).await;
    assert_eq!(shown(&store).await, []);
    store.close().await.unwrap();
    let store = machine.open().await.unwrap();
    assert_eq!(shown(&store).await, []);
    let later = machine.clock.now();
    push_lines(&store, 1, later, "tick", 50).await;
    store.flush().await.unwrap();
    store.compact().await.unwrap();
    assert_eq!(totals(&store).await, expected(&[("tick <_>", 50)]), "merged with a segment that has none");
}
