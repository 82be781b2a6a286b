use futures::FutureExt;
use loki_core::MatchOp;

use super::*;
use crate::{PushBody, PushStream, Store, StoreConfig};

fn stream(app: &str, lines: &[&'static str]) -> PushStream {
    let entry = |(at, line): (usize, &&'static str)| Entry {
        timestamp: Timestamp::from_seconds(1_700_000_000 + at as i64),
        line: Bytes::from_static(line.as_bytes()),
        metadata: Labels::from_pairs([("k", "v")]).expect("one label"),
    };
    let labels = Labels::from_pairs([("app", app)]).expect("one label");
    PushStream { labels, entries: lines.iter().enumerate().map(entry).collect() }
}

fn app(value: &str) -> Vec<Matcher> {
    vec![Matcher::new("app", MatchOp::Equal, value).expect("no regex")]
}

async fn store() -> Store {
    let mut config = StoreConfig::memory();
    let limits =
        crate::Limits { discover_service_name: vec![], discover_log_levels: false, ..crate::Limits::unlimited() };
    let limits = Arc::new(limits);
    config.limits = Arc::new(move |_| Arc::clone(&limits));
    Store::open(config).await.expect("opens")
}

#[tokio::test]
async fn tails_see_the_streams_that_they_select() {
    let store = store().await;
    let tenant = TenantId::anonymous();
    let tail = store.subscribe(&tenant, app("a"));
    let other = store.subscribe(&TenantId::parse("other").expect("valid"), app("a"));
    let pushed = vec![stream("a", &["1", "2"]), stream("b", &["3"])];
    store.push(&tenant, PushBody::Streams(pushed)).await.expect("stored");
    let batch = tail.next().await;
    let expected = stream("a", &["1", "2"]);
    let live = LiveEntries { labels: expected.labels, entries: expected.entries };
    assert_eq!(batch, TailBatch { streams: vec![live], ..TailBatch::default() });
    assert!(tail.next().now_or_never().is_none(), "everything was taken");
    assert!(other.next().now_or_never().is_none(), "tenants do not see each other");
}

#[tokio::test]
async fn entries_without_room_are_remembered() {
    let store = store().await;
    let tenant = TenantId::anonymous();
    let tail = store.subscribe(&tenant, app("a"));
    let line: &'static str = "x".repeat(MAX_TAIL_QUEUE_BYTES / 2).leak();
    for _ in 0..3 {
        store.push(&tenant, PushBody::Streams(vec![stream("a", &[line])])).await.expect("stored");
    }
    let batch = tail.next().await;
    let time = Timestamp::from_seconds(1_700_000_000);
    assert_eq!((batch.streams.len(), batch.dropped_count), (1, 2));
    assert_eq!(batch.dropped, vec![(time, stream("a", &[]).labels); 2]);
    store.push(&tenant, PushBody::Streams(vec![stream("a", &["y"])])).await.expect("stored");
    assert_eq!(tail.next().await.streams.len(), 1, "there is room again");
}

#[tokio::test]
async fn a_dropped_tail_costs_nothing() {
    let tails = Arc::new(Tails::default());
    let tenant = TenantId::anonymous();
    let first = tails.subscribe(&tenant, vec![]);
    let second = tails.subscribe(&tenant, vec![]);
    drop(first);
    assert_eq!(tails.by_tenant.read()[&tenant].len(), 1);
    drop(second);
    assert_eq!(tails.count.load(Ordering::Relaxed), 0);
    assert!(tails.by_tenant.read().is_empty());
}

#[tokio::test]
async fn a_queue_is_bounded_even_for_entries_without_content() {
    let store = store().await;
    let tenant = TenantId::anonymous();
    let tail = store.subscribe(&tenant, app("a"));
    let empty = |at: i64| Entry { timestamp: Timestamp(at), line: Bytes::new(), metadata: Labels::EMPTY };
    let labels = stream("a", &[]).labels;
    let total = 2 * MAX_TAIL_QUEUE_BYTES / ENTRY_OVERHEAD_BYTES;
    let entries = (0..total as i64).map(empty).collect();
    store.push(&tenant, PushBody::Streams(vec![PushStream { labels: labels.clone(), entries }])).await.expect("stored");
    let batch = tail.take();
    let kept = MAX_TAIL_QUEUE_BYTES / ENTRY_OVERHEAD_BYTES;
    assert_eq!(batch.streams[0].entries.len(), kept);
    assert_eq!(batch.dropped_count, (total - kept) as u64);
    let remembered: Vec<_> =
        (0..MAX_TAIL_DROPPED as i64).map(|n| (Timestamp(kept as i64 + n), labels.clone())).collect();
    assert_eq!(batch.dropped, remembered);
}

#[tokio::test]
async fn one_entry_passes_whatever_its_size() {
    let store = store().await;
    let tenant = TenantId::anonymous();
    let tail = store.subscribe(&tenant, app("a"));
    let line: &'static str = "x".repeat(MAX_TAIL_QUEUE_BYTES + 1).leak();
    store.push(&tenant, PushBody::Streams(vec![stream("a", &[line, "y"])])).await.expect("stored");
    let batch = tail.take();
    assert_eq!(batch.streams[0].entries.len(), 1);
    assert_eq!(batch.dropped, [(Timestamp::from_seconds(1_700_000_001), stream("a", &[]).labels)]);
}

#[tokio::test]
async fn tails_of_one_stream_do_not_share_their_room() {
    let store = store().await;
    let tenant = TenantId::anonymous();
    let (slow, quick) = (store.subscribe(&tenant, app("a")), store.subscribe(&tenant, vec![]));
    let line: &'static str = "x".repeat(MAX_TAIL_QUEUE_BYTES / 2).leak();
    for round in 0..3 {
        store.push(&tenant, PushBody::Streams(vec![stream("a", &[line])])).await.expect("stored");
        assert_eq!(
            quick.take().streams,
            [LiveEntries { labels: stream("a", &[]).labels, entries: stream("a", &[line]).entries }],
            "round {round}"
        );
    }
    assert_eq!(slow.take().dropped_count, 2);
}
