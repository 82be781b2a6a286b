//! Counting where segments overlap in time.

use loki_logql::budget::{Budget, BudgetScope};
use loki_logql::querier::{Grid, GridLabels};

use super::*;

const MINUTE: i64 = 60_000_000_000;

/// What a request for counts by the minute gets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Entries counted from rollups.
    by_rollups: u64,
    /// Entries delivered one by one.
    one_by_one: u64,
    /// Spans of them that may repeat.
    repeats: Vec<(i64, i64)>,
}

async fn count(store: &Store) -> Counted {
    let mut request = request(all(), TimeRange::ALL, Order::Any);
    request.hints.grid = Some(Grid { origin: Timestamp(0), spacing_nanos: MINUTE, labels: GridLabels::Only(vec![]) });
    let mut counted = Counted::default();
    let mut batches = store.querier(&tenant()).select(request);
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        let rows = batch.runs.iter().flat_map(|run| run.rows.clone());
        match &batch.columns {
            Columns::Counts(counts) => counted.by_rollups += rows.map(|row| counts[row as usize].entries).sum::<u64>(),
            _ => counted.one_by_one += rows.count() as u64,
        }
        counted.repeats.extend(batch.repeats.iter().map(|span| (span.start.0, span.end.0)));
    }
    counted.repeats.sort_unstable();
    counted
}

/// Flushes a segment with an entry of two streams at each of these seconds.
async fn flush(store: &Store, seconds: impl Iterator<Item = i64> + Clone) {
    for stream in [1, 2] {
        push(store, stream, seconds.clone().map(|second| entry(second, "line", None)).collect()).await.unwrap();
    }
    store.flush().await.unwrap();
}

#[tokio::test]
async fn segments_with_other_times_are_counted_from_rollups() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    flush(&store, (1..=600).step_by(2)).await;
    flush(&store, (2..=600).step_by(2)).await;
    assert_eq!(count(&store).await, Counted { by_rollups: 1200, ..Counted::default() });
}

#[tokio::test]
async fn only_minutes_with_equal_times_are_counted_one_by_one() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    flush(&store, (1..=600).step_by(2)).await;
    flush(&store, (2..=600).step_by(2)).await;
    // The first is there already; others of its minute are not.
    push(&store, 1, vec![entry(121, "line", None), entry(599, "line", None)]).await.unwrap();
    store.flush().await.unwrap();
    let counted = count(&store).await;
    assert_eq!((counted.by_rollups, counted.one_by_one), (1200 - 30 - 30, 30 + 1 + 30 + 1));
    let at = |second: i64| (second * 1_000_000_000, second * 1_000_000_000 + 1);
    assert_eq!(counted.repeats, [at(121), at(121), at(599), at(599)]);
}

#[tokio::test]
async fn what_overlaps_a_head_is_not_narrowed() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    flush(&store, (1..=600).step_by(2)).await;
    push(&store, 1, vec![entry(121, "line", None), entry(122, "line", None)]).await.unwrap();
    let counted = count(&store).await;
    assert_eq!(counted.by_rollups + counted.one_by_one, 602);
    assert!(counted.repeats.contains(&(121_000_000_000, 122_000_000_001)), "{counted:?}");
}

#[tokio::test]
async fn where_memory_is_tight_nothing_is_narrowed() {
    let machine = Machine::new();
    let memory = Budget::new(BudgetScope::Process, 64 << 20);
    let store = machine.open_with(StoreConfig { memory: memory.clone(), ..machine.config() }).await.unwrap();
    flush(&store, (1..=600).step_by(2)).await;
    push(&store, 1, vec![entry(121, "line", None), entry(122, "line", None)]).await.unwrap();
    store.flush().await.unwrap();
    let mut of_others = memory.reservation();
    of_others.hold(56 << 20);
    let counted = count(&store).await;
    assert_eq!(counted.by_rollups + counted.one_by_one, 602);
    assert!(counted.repeats.contains(&(121_000_000_000, 122_000_000_001)), "{counted:?}");
    of_others.hold(0);
    let counted = count(&store).await;
    assert_eq!(counted.repeats, [(121_000_000_000, 121_000_000_001); 2]);
}
