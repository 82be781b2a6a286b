//! What is known of many streams, and whose memory that takes.

use loki_logql::budget::{Budget, BudgetScope};
use loki_logql::querier::{Grid, GridLabels};

use super::*;

const STREAMS: u64 = 2_000;
const SEGMENTS: u64 = 2;

/// Many streams, most of them in one segment alone.
async fn populate(store: &Store) {
    for segment in 0..SEGMENTS {
        let streams = (0..STREAMS).map(|number| PushStream {
            labels: Labels::from_pairs([("app", "test"), ("stream", &format!("{segment}-{number:05}"))]).unwrap(),
            entries: vec![entry((segment * 120 + number % 60) as i64, "a line", None)],
        });
        store.push(&tenant(), PushBody::Streams(streams.collect())).await.unwrap();
        store.flush().await.unwrap();
    }
}

fn is_refused<T: fmt::Debug>(outcome: Result<T, Error>) -> bool {
    match outcome {
        Err(Error::Memory(refusal)) => refusal.scope == BudgetScope::Query,
        Err(error) => panic!("{error:?}"),
        Ok(_) => false,
    }
}

#[tokio::test]
async fn lists_keep_to_the_memory_that_they_are_given() {
    let store = Machine::new().open().await.unwrap();
    populate(&store).await;
    let (tenant, all, ever) = (tenant(), all(), TimeRange::ALL);
    // A stream takes somewhat more than a hundred bytes.
    for (kilobytes, refused) in [(100, true), (4_000, false)] {
        let memory = Budget::new(BudgetScope::Query, kilobytes << 10);
        let lists = store.drawing_on(memory.clone());
        let series = lists.series(&tenant, std::slice::from_ref(&all), ever).await;
        assert!(
            series.as_ref().is_err() || series.as_ref().is_ok_and(|found| found.len() as u64 == SEGMENTS * STREAMS)
        );
        assert_eq!(is_refused(series), refused, "{kilobytes}");
        assert_eq!(is_refused(lists.volume(&tenant, &all, ever, 0).await), refused, "{kilobytes}");
        assert_eq!(is_refused(lists.volume(&tenant, &all, ever, 60_000_000_000).await), refused, "{kilobytes}");
        assert_eq!(is_refused(lists.label_values(&tenant, "stream", &all, ever).await), refused, "{kilobytes}");
        assert!(!is_refused(lists.label_names(&tenant, &all, ever).await));
        let tiny = store.drawing_on(Budget::new(BudgetScope::Query, 30 << 10));
        assert!(is_refused(tiny.stats(&tenant, &all, ever).await));
        assert_eq!(memory.used_bytes(), 0, "and give it back");
    }
    assert_eq!(store.series(&tenant, &[all], ever).await.unwrap().len() as u64, SEGMENTS * STREAMS);
}

#[tokio::test]
async fn counts_keep_to_the_memory_of_the_store() {
    let machine = Machine::new();
    let memory = Budget::new(BudgetScope::Process, 64 << 20);
    let store = machine.open_with(StoreConfig { memory: memory.clone(), ..machine.config() }).await.unwrap();
    populate(&store).await;
    let before = memory.used_bytes();
    let mut request = request(all(), TimeRange::ALL, Order::Any);
    request.hints.grid =
        Some(Grid { origin: Timestamp(0), spacing_nanos: 60_000_000_000, labels: GridLabels::Only(vec![]) });
    let mut of_others = memory.reservation();
    for (free, refused) in [(256 << 10, true), (2 << 20, false)] {
        of_others.hold((64 << 20) - before - free);
        let batches: Vec<_> = store.querier(&tenant()).select(request.clone()).collect().await;
        assert_eq!(batches.iter().any(Result::is_err), refused, "{free}");
        if let Some(Err(refusal)) = batches.into_iter().find(Result::is_err) {
            let refusal = loki_logql::engine::Error::from(refusal);
            assert!(matches!(refusal, loki_logql::engine::Error::Memory(_)), "{refusal:?}");
        }
        of_others.hold(0);
        assert_eq!(memory.used_bytes(), before);
    }
}
