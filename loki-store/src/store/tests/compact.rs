//! Merging segments while they are used.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::faulty::{Fault, FaultyStore};
use super::*;
use crate::compaction::Rules;
use crate::config::DEFAULT_DELETE_DELAY;
use crate::deletes::{DeleteRequest, DeleteStatus};
use crate::error::ErrorKind;

async fn paths(machine: &Machine, below: &str) -> Vec<String> {
    let found = machine.objects.list(Some(&ObjectPath::from(below)));
    let mut found: Vec<String> = found.map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
    found.sort();
    found
}

/// Flushes `count` segments of two streams, each with entries that the one before has too.
async fn flush_many(store: &Store, count: usize) -> Vec<Stored> {
    let mut expected = HashSet::new();
    for round in 0..count as i64 {
        for stream in [1, 2] {
            let entries: Vec<_> = (round * 10..round * 10 + 15).map(|n| entry(n, &format!("line {n}"), None)).collect();
            expected.extend(entries.iter().map(|entry| stored(&stream_labels(stream), entry)));
            push(store, stream, entries).await.unwrap();
        }
        store.flush().await.unwrap();
    }
    let mut expected: Vec<_> = expected.into_iter().collect();
    expected.sort();
    expected
}

#[tokio::test]
async fn segments_are_merged_once_there_are_enough() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let enough = Rules::LAZY.flushed_segments;
    flush_many(&store, enough - 1).await;
    assert_eq!(store.maintain().await.unwrap().merged, 0);
    let expected = flush_many(&store, 1).await.len() + 10 * 2 * (enough - 2);
    let done = store.maintain().await.unwrap();
    assert_eq!((done.merged, done.has_more), (enough, false));
    assert_eq!(store.segment_count(), 1);
    assert_eq!(everything(&store).await.len(), expected);
    let counters = store.counters();
    assert_eq!(counters.entries_merged.value(), expected as u64);
    assert_eq!(counters.duplicates_removed.value(), (enough * 30 - expected) as u64);
    assert_eq!(counters.segments_merged.value(), enough as u64);

    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(store.segment_count(), 1);
    assert_eq!(everything(&store).await.len(), expected);
}

#[tokio::test]
async fn days_are_merged_when_they_are_over() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let mut expected = Vec::new();
    for round in 0..4 {
        let entries = vec![entry(round * 7200, "a line", None)];
        expected.extend(entries.iter().map(|entry| stored(&stream_labels(1), entry)));
        push(&store, 1, entries).await.unwrap();
        store.flush().await.unwrap();
        machine.clock.advance(Rules::LAZY.flushed_age);
        assert_eq!(store.maintain().await.unwrap().merged, 1, "a segment that mixes tenants does not get old");
    }
    assert_eq!(store.segment_count(), 4);
    machine.clock.advance(Duration::from_hours(24));
    assert_eq!(store.maintain().await.unwrap().merged, 4);
    let levels = store.storage_status().unwrap().levels;
    assert_eq!(
        levels.iter().map(|level| (level.level, level.segments, level.entries)).collect::<Vec<_>>(),
        [(2, 1, 4)]
    );
    assert_same(&everything(&store).await, &expected);
}

#[tokio::test]
async fn entries_with_equal_times_keep_their_order_of_arrival() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let order = async |store: &Store| {
        let request = request(all(), TimeRange::ALL, Order::Time(Direction::Forward));
        let mut batches: Vec<_> = store.querier(&tenant()).select(request).try_collect().await.unwrap();
        batches.sort_by_key(|batch| batch.sequence);
        let mut lines = Vec::new();
        for batch in &batches {
            let text = batch.columns.text().unwrap().unwrap();
            let rows = batch.runs.iter().flat_map(|run| run.rows.clone());
            lines.extend(rows.map(|row| String::from_utf8_lossy(text.line(row)).into_owned()));
        }
        lines
    };
    let names = ["c", "a", "d", "b"];
    for name in names {
        push(&store, 1, vec![entry(10, name, None)]).await.unwrap();
        store.flush().await.unwrap();
    }
    assert_eq!(order(&store).await, names);
    store.compact().await.unwrap();
    assert_eq!(order(&store).await, names);
    push(&store, 1, vec![entry(10, "0", None)]).await.unwrap();
    store.flush().await.unwrap();
    store.compact().await.unwrap();
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(order(&store).await, ["c", "a", "d", "b", "0"]);
}

#[tokio::test]
async fn replaced_segments_are_kept_for_a_while_and_for_those_who_read_them() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let expected = flush_many(&store, 3).await;
    // A query that has begun, and goes on after everything that it reads was replaced.
    let request = request(all(), TimeRange::ALL, Order::Time(Direction::Forward));
    let mut running = store.querier(&tenant()).select(request);
    assert!(running.next().await.is_some());

    assert_eq!(store.compact().await.unwrap(), 3);
    assert_eq!(paths(&machine, "data/w").await.len(), 3);
    assert_eq!(store.storage_status().unwrap().removals.len(), 3);
    machine.clock.advance(DEFAULT_DELETE_DELAY);
    assert_eq!(store.maintain().await.unwrap().deleted, 0, "somebody reads them");
    while let Some(batch) = running.next().await {
        batch.unwrap();
    }
    drop(running);
    assert_eq!(store.maintain().await.unwrap().deleted, 3);
    assert_eq!(paths(&machine, "data/w").await, [] as [&str; 0]);
    assert_eq!(store.storage_status().unwrap().replaced_bytes, 0);
    assert_same(&everything(&store).await, &expected);
}

#[tokio::test]
async fn what_is_to_be_deleted_is_remembered_across_restarts() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    flush_many(&store, 3).await;
    store.compact().await.unwrap();
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(store.maintain().await.unwrap().deleted, 0);
    machine.clock.advance(DEFAULT_DELETE_DELAY);
    assert_eq!(store.maintain().await.unwrap().deleted, 3);
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(store.maintain().await.unwrap().deleted, 3, "again, since no manifest was written in between");
    assert_eq!(paths(&machine, "data/w").await.len(), 0);
}

#[tokio::test]
async fn orphans_are_deleted_once_they_are_old() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let expected = flush_many(&store, 3).await;
    store.compact().await.unwrap();
    let orphans = [
        format!("data/s/{}.seg", Uuid::new_v4()),
        // A flush whose put arrived when its segment had been merged and deleted.
        format!("data/w/{}/{:020}.seg", store.inner.writer, 1),
        format!("data/m/{:020}.man", 0),
    ];
    machine.clock.advance(DEFAULT_DELETE_DELAY);
    store.maintain().await.unwrap();
    for _ in 0..10 {
        flush_many(&store, 1).await;
        store.compact().await.unwrap();
    }
    for path in &orphans {
        machine.objects.put(&ObjectPath::from(path.as_str()), Bytes::from_static(b"orphan").into()).await.unwrap();
    }
    let foreign = ["data/s/notes.txt", "data/w/readme", "data/other"];
    for path in foreign {
        machine.objects.put(&ObjectPath::from(path), Bytes::from_static(b"foreign").into()).await.unwrap();
    }
    let deleted = async || {
        machine.clock.advance(Duration::from_hours(1));
        store.maintain().await.unwrap();
        store.counters().orphans_deleted.value()
    };
    assert_eq!(deleted().await, 0, "they are only noticed");
    assert_eq!(deleted().await, 3);
    let left = paths(&machine, "data").await;
    assert!(orphans.iter().all(|path| !left.contains(path)));
    assert!(foreign.iter().all(|path| left.contains(&(*path).to_owned())), "{left:?}");
    assert_same(&everything(&store).await, &expected);
}

#[tokio::test]
async fn a_damaged_segment_stays_and_the_others_are_merged() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    flush_many(&store, 3).await;
    let damaged = ObjectPath::from(paths(&machine, "data/w").await.remove(1));
    let bytes = machine.objects.get(&damaged).await.unwrap().bytes().await.unwrap();
    let mut bytes = bytes.to_vec();
    bytes[crate::segment::layout::HEADER_LEN + 70] ^= 1;
    machine.objects.put(&damaged, Bytes::from(bytes).into()).await.unwrap();
    let found = everything(&store).await.len();

    assert!(matches!(store.compact().await, Err(Error::Corrupt { .. })));
    assert_eq!(store.compact().await.unwrap(), 2);
    assert_eq!(store.segment_count(), 2);
    assert_eq!(everything(&store).await.len(), found, "what could be read still can");
    assert_eq!(store.counters().merge_failures.value(), 1);
}

#[tokio::test]
async fn a_full_disk_stops_merging_until_there_is_room() {
    let machine = Machine::new();
    let faulty = FaultyStore::new(Arc::clone(&machine.objects));
    let machine = Machine { objects: Arc::new(faulty.clone()), ..machine };
    let store = machine.open().await.unwrap();
    let expected = flush_many(&store, Rules::LAZY.flushed_segments).await;
    faulty.fail_every(Fault::NoSpace);
    assert_eq!(store.maintain().await.unwrap_err().kind(), ErrorKind::StorageFull);
    assert_same(&everything(&store).await, &expected);
    faulty.fail_none();
    assert_eq!(store.maintain().await.unwrap().merged, 0, "after a failure there is a pause");
    machine.clock.advance(Duration::from_secs(1));
    assert_eq!(store.maintain().await.unwrap().merged, Rules::LAZY.flushed_segments);
    assert_same(&everything(&store).await, &expected);
}

#[tokio::test]
async fn a_round_that_is_cancelled_is_as_good_as_none() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let expected = flush_many(&store, 4).await;
    // Polls the merge a number of times, then drops it.
    for polls in 1..200 {
        let mut compaction = Box::pin(store.compact());
        let mut is_done = false;
        for _ in 0..polls {
            is_done = futures::poll!(&mut compaction).is_ready();
            if is_done {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(compaction);
        assert_same(&everything(&store).await, &expected);
        if is_done {
            break;
        }
    }
    store.compact().await.unwrap();
    assert_eq!(store.segment_count(), 1);
    assert_same(&everything(&store).await, &expected);
}

#[tokio::test]
async fn of_two_that_merge_the_same_segments_one_wins() {
    let machine = Machine::new();
    let first = machine.open().await.unwrap();
    let expected = flush_many(&first, 4).await;
    let second = machine.open().await.unwrap();
    assert_eq!(first.compact().await.unwrap(), 4);
    assert_eq!(second.compact().await.unwrap(), 0, "what it merged was replaced meanwhile");
    for store in [&first, &second] {
        assert_eq!(store.segment_count(), 1);
        assert_same(&everything(store).await, &expected);
    }
    // Each goes on from what the other did.
    push(&second, 3, vec![entry(5, "of the second", None)]).await.unwrap();
    second.flush().await.unwrap();
    second.compact().await.unwrap();
    first.compact().await.unwrap();
    push(&first, 3, vec![entry(6, "of the first", None)]).await.unwrap();
    first.flush().await.unwrap();
    first.compact().await.unwrap();
    assert_eq!(everything(&first).await.len(), expected.len() + 2);
    let third = machine.open().await.unwrap();
    assert_eq!(everything(&third).await.len(), expected.len() + 2);
}

#[tokio::test]
async fn old_manifests_go() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    for _ in 0..20 {
        flush_many(&store, 1).await;
        store.compact().await.unwrap();
    }
    assert!(paths(&machine, "data/m").await.len() <= 10);
}

#[tokio::test]
async fn deleted_entries_are_removed_for_good_after_the_cancel_period() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let all = flush_many(&store, 2).await;
    store.compact().await.unwrap();
    // One more in memory, one for another tenant.
    push(&store, 1, vec![entry(5, "line 5 late", None)]).await.unwrap();
    let other = TenantId::parse("other").unwrap();
    let labels = stream_labels(1);
    let of_other = PushStream { labels, entries: vec![entry(5, "line 5", None)] };
    store.push(&other, PushBody::Streams(vec![of_other])).await.unwrap();
    let range = TimeRange::new(Timestamp(0), Timestamp::from_seconds(100));
    let request = DeleteRequest { query: r#"{stream="s1"} |= "line 5""#.to_owned(), range };
    store.delete(&tenant(), request).await.unwrap();
    let left: Vec<_> = all.iter().filter(|e| !(e.labels == stream_labels(1) && e.line == b"line 5")).cloned().collect();
    assert_same(&everything(&store).await, &left);

    store.maintain().await.unwrap();
    assert_eq!(store.counters().entries_erased.value(), 0, "it may still be cancelled");
    machine.clock.advance(store.config().delete_cancel_period);
    for _ in 0..4 {
        store.maintain().await.unwrap();
    }
    assert_eq!(store.deletes(&tenant())[0].status, DeleteStatus::Processed);
    assert_eq!(store.counters().entries_erased.value(), 2);
    assert_eq!(store.counters().deletes_processed.value(), 1);
    assert_same(&everything(&store).await, &left);
    let found = select(store.querier(&other), super::request(super::all(), TimeRange::ALL, Order::Any)).await;
    assert_eq!(found.len(), 1, "other tenants keep theirs");

    push(&store, 1, vec![entry(5, "line 5", None)]).await.unwrap();
    assert_eq!(everything(&store).await.len(), left.len() + 1, "what is pushed anew is like everything else");
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await.len(), left.len() + 1);
}

/// What is divided for its many lines, and then merged again because it is small, must not be divided again.
#[tokio::test]
async fn merging_comes_to_an_end_where_much_becomes_little() {
    const LINE_BYTES: usize = 2 << 20;
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let line = "a line that repeats itself ".repeat(LINE_BYTES / 27);
    let lines = (3 * crate::compaction::WINDOW_BYTES) as usize / LINE_BYTES;
    for number in 0..lines as i64 {
        push(&store, 1, vec![entry(number * 90, &line, None)]).await.unwrap();
        if number % 10 == 0 {
            store.flush().await.unwrap();
        }
    }
    let ended = tokio::time::timeout(Duration::from_mins(5), store.compact()).await;
    assert!(ended.expect("merging comes to an end").unwrap() > 3, "parts were merged into a day");
    assert_eq!(store.segment_count(), 1, "a day, beside what is in the head");
    assert_eq!(store.compact().await.unwrap(), 0);
    assert_eq!(everything(&store).await.len(), lines);
}
