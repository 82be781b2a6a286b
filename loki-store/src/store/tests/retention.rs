//! Entries that are too old, and those that must make room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::limits::RetentionStream;
use crate::store::RemovalReason;

const DAY: Duration = Duration::from_hours(24);

fn limits(days: u32, stream_days: &[(&str, u32)]) -> Limits {
    let rule = |&(stream, days): &(&str, u32)| RetentionStream {
        matchers: vec![Matcher::new("stream", MatchOp::Equal, stream).unwrap()],
        priority: 1,
        period: DAY * days,
    };
    Limits {
        retention_period: DAY * days,
        retention_streams: stream_days.iter().map(rule).collect(),
        ..verbatim_limits()
    }
}

fn config(machine: &Machine, limits: Limits) -> StoreConfig {
    StoreConfig { retention_enabled: true, ..machine.config().with_limits(limits) }
}

/// A machine whose clock shows a full hour.
fn machine_at_the_hour() -> Machine {
    let machine = Machine::new();
    let past_nanos = machine.clock.now().0.rem_euclid(3_600_000_000_000);
    machine.clock.advance(Duration::from_nanos(3_600_000_000_000 - past_nanos as u64));
    machine
}

/// An hour of entries of streams 1 and 2 at the time the clock shows.
async fn push_hour(machine: &Machine, store: &Store) {
    let now = machine.clock.now().0 / 1_000_000_000;
    for stream in [1, 2] {
        let entries = (0..6).map(|n| entry(now + n * 600, "a line", None)).collect();
        push(store, stream, entries).await.unwrap();
    }
    store.flush().await.unwrap();
}

#[tokio::test]
async fn without_permission_nothing_goes() {
    let machine = Machine::new();
    let config = StoreConfig { retention_enabled: false, ..config(&machine, limits(1, &[])) };
    let store = machine.open_with(config).await.unwrap();
    push_hour(&machine, &store).await;
    machine.clock.advance(DAY * 1000);
    store.maintain().await.unwrap();
    assert_eq!(everything(&store).await.len(), 12);
}

#[tokio::test]
async fn queries_see_the_end_of_retention_at_once() {
    let machine = Machine::new();
    let store = machine.open_with(config(&machine, limits(2, &[("s1", 1)]))).await.unwrap();
    push_hour(&machine, &store).await;
    push(&store, 1, vec![entry(machine.clock.now().0 / 1_000_000_000, "in memory", None)]).await.unwrap();
    let of_streams = async || {
        let found = everything(&store).await;
        ["s1", "s2"].map(|stream| found.iter().filter(|e| e.labels.get("stream") == Some(stream)).count())
    };
    assert_eq!(of_streams().await, [7, 6]);
    machine.clock.advance(DAY);
    assert_eq!(of_streams().await, [7, 6]);
    machine.clock.advance(Duration::from_mins(15));
    assert_eq!(of_streams().await, [4, 6]);
    machine.clock.advance(DAY);
    assert_eq!(of_streams().await, [0, 4]);
    assert_eq!(store.counters().segments_expired.value(), 0, "all of that without maintenance");
    let stats = store.stats(&tenant(), &all(), TimeRange::ALL).await.unwrap();
    assert_eq!(stats.streams, 1);
    let series = store.series(&tenant(), &[all()], TimeRange::ALL).await.unwrap();
    assert_eq!(series, [stream_labels(2)]);
}

#[tokio::test]
async fn segments_go_when_everything_in_them_is_too_old() {
    let machine = Machine::new();
    let store = machine.open_with(config(&machine, limits(1, &[]))).await.unwrap();
    push_hour(&machine, &store).await;
    let last = machine.clock.now().saturating_add_nanos(3_000_000_000_000);
    let removals = store.storage_status().unwrap().removals;
    assert_eq!(removals.len(), 1);
    assert_eq!(removals[0].due, Some(last.saturating_add_nanos(DAY.as_nanos() as i64)));
    let tenants = vec![tenant()];
    assert_eq!(removals[0].reason, RemovalReason::Retention { tenants, period: DAY, last, entries: 12 });

    machine.clock.advance(DAY + Duration::from_mins(50));
    assert_eq!(store.maintain().await.unwrap().dropped, 0, "the last entry is not too old");
    machine.clock.advance(Duration::from_hours(1));
    assert_eq!(store.maintain().await.unwrap().dropped, 1);
    assert_eq!(store.segment_count(), 0);
    let counters = store.counters();
    assert_eq!(counters.entries_expired.value(), 2);
    assert_eq!(counters.entries_erased.value(), 10, "the merge before left them out");
    drop(store);
    let store = machine.open_with(config(&machine, limits(1, &[]))).await.unwrap();
    assert_eq!(store.segment_count(), 0);
    assert_eq!(store.counters().wal_records_replayed.value(), 0, "nothing comes back from the log");
}

#[tokio::test]
async fn streams_are_cut_out_when_all_of_them_is_too_old() {
    let machine = machine_at_the_hour();
    let store = machine.open_with(config(&machine, limits(0, &[("s1", 1)]))).await.unwrap();
    push_hour(&machine, &store).await;
    store.compact().await.unwrap();
    machine.clock.advance(DAY + Duration::from_mins(30));
    assert_eq!(store.maintain().await.unwrap().merged, 0, "some of it is not too old");
    machine.clock.advance(Duration::from_hours(1));
    assert_eq!(store.maintain().await.unwrap().merged, 1);
    assert_eq!(store.counters().entries_erased.value(), 6);
    let level = store.storage_status().unwrap().levels[0];
    assert_eq!((level.level, level.segments, level.entries), (1, 1, 6));
    assert_eq!(everything(&store).await.len(), 6);
    machine.clock.advance(DAY);
    assert_eq!(store.maintain().await.unwrap().merged, 0, "there is nothing more to cut out");
}

#[tokio::test]
async fn merging_leaves_out_what_is_too_old() {
    let machine = Machine::new();
    let store = machine.open_with(config(&machine, limits(1, &[]))).await.unwrap();
    push_hour(&machine, &store).await;
    machine.clock.advance(DAY + Duration::from_mins(15));
    push_hour(&machine, &store).await;
    assert!(store.compact().await.unwrap() >= 2);
    assert_eq!(store.counters().entries_erased.value(), 4);
    assert_eq!(everything(&store).await.len(), 20);
}

/// A store in which `free` bytes are free and that may delete at once.
async fn open_exclusive(machine: &Machine, config: StoreConfig, free: &Arc<AtomicU64>) -> Store {
    let free = Arc::clone(free);
    let place = Place {
        objects: Objects::new(Arc::clone(&machine.objects), ObjectPath::from("data")),
        log: Some((Arc::new(machine.files.clone()), LOG)),
        lock: None,
        free_space: Some(Arc::new(move || Ok(free.load(Ordering::Relaxed)))),
    };
    Store::open_at(config, place).await.unwrap()
}

async fn segment_objects(machine: &Machine) -> usize {
    let found = machine.objects.list(Some(&ObjectPath::from("data/w")));
    found.collect::<Vec<_>>().await.len()
}

#[tokio::test]
async fn the_oldest_segments_go_when_the_store_is_too_large() {
    let machine = machine_at_the_hour();
    let store = open_exclusive(&machine, machine.config(), &Arc::default()).await;
    for _ in 0..4 {
        push_hour(&machine, &store).await;
        machine.clock.advance(Duration::from_hours(1));
    }
    let status = store.storage_status().unwrap();
    let (bytes, used) = (status.levels[0].bytes, status.used_bytes);
    assert_eq!((status.excess_bytes, status.removals.len()), (0, 0));
    drop(store);

    let config = StoreConfig { max_disk_bytes: used - bytes / 4, ..machine.config() };
    let store = open_exclusive(&machine, config, &Arc::default()).await;
    let status = store.storage_status().unwrap();
    assert!(status.excess_bytes > 0);
    assert_eq!(status.removals.len(), 4);
    let newest = everything(&store).await.split_off(0).into_iter().map(|e| e.timestamp).max();
    let dropped = store.maintain().await.unwrap().dropped;
    assert!((1..=2).contains(&dropped), "{dropped}");
    assert_eq!(segment_objects(&machine).await, 4 - dropped, "the room is there at once");
    assert_eq!(store.counters().segments_evicted.value(), dropped as u64);
    let left = everything(&store).await;
    assert_eq!(left.len(), (4 - dropped) * 12);
    assert_eq!(left.iter().map(|e| e.timestamp).max(), newest, "the oldest went");
    assert_eq!(store.maintain().await.unwrap().dropped, 0);
    assert_eq!(store.storage_status().unwrap().excess_bytes, 0);
}

#[tokio::test]
async fn the_oldest_segments_go_when_the_disk_is_nearly_full_but_replaced_ones_go_first() {
    let machine = Machine::new();
    let free = Arc::new(AtomicU64::new(1000));
    let config = StoreConfig { min_free_disk_bytes: 1000, ..machine.config() };
    let store = open_exclusive(&machine, config, &free).await;
    for _ in 0..4 {
        push_hour(&machine, &store).await;
        machine.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(store.maintain().await.unwrap().dropped, 0);
    store.compact().await.unwrap();
    let live = store.segment_count();
    free.store(999, Ordering::Relaxed);
    // Deleting what was replaced is all that can be done now: the disk says how much that brought only afterwards.
    assert_eq!(segment_objects(&machine).await, 4);
    let dropped = store.maintain().await.unwrap().dropped;
    assert_eq!(segment_objects(&machine).await, 0);
    assert_eq!((dropped, store.segment_count()), (1, live - 1), "and one that is live, since it was not enough");
    free.store(1000, Ordering::Relaxed);
    assert_eq!(store.maintain().await.unwrap().dropped, 0);
}

#[tokio::test]
async fn limits_on_space_that_cannot_be_kept_are_refused() {
    let config = StoreConfig { min_free_disk_bytes: 1, ..StoreConfig::memory() };
    assert!(matches!(Store::open(config).await, Err(Error::Config { setting: "min_free_disk_bytes", .. })));
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { min_free_disk_bytes: 1, ..StoreConfig::folder(folder.path()) };
    let store = Store::open(config).await.unwrap();
    assert!(store.storage_status().unwrap().free_bytes.is_some_and(|free| free > 0));
}
