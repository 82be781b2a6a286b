//! Requests to delete entries, from the first moment to the last.

use futures::TryStreamExt;
use loki_logql::querier::{Grid, GridLabels};
use object_store::ObjectStoreExt;

use super::faulty::{Fault, FaultyStore};
use super::*;
use crate::clock::Clock;
use crate::deletes::{DeleteError, DeleteRequest, DeleteStatus};
use crate::error::ErrorKind;
use crate::{DEFAULT_DELETE_CANCEL_PERIOD, PROCESSED_DELETES_KEPT};

fn deletion(query: &str, start: i64, end: i64) -> DeleteRequest {
    let range = TimeRange::new(Timestamp::from_seconds(start), Timestamp::from_seconds(end));
    DeleteRequest { query: query.to_owned(), range }
}

/// Entries every ten seconds, the first half of them in a segment.
async fn filled(machine: &Machine) -> Store {
    let store = machine.open().await.unwrap();
    let entries = |from: i64| (from..from + 20).map(|n| entry(n * 10, &format!("line {n}"), None)).collect();
    push(&store, 1, entries(0)).await.unwrap();
    store.flush().await.unwrap();
    push(&store, 1, entries(20)).await.unwrap();
    store
}

async fn lines(store: &Store) -> Vec<i64> {
    everything(store).await.iter().map(|entry| entry.timestamp.0 / 10_000_000_000).collect()
}

/// The number of entries per minute, for the first seven minutes.
async fn per_minute(store: &Store) -> (Vec<u64>, bool) {
    const MINUTE: i64 = 60_000_000_000;
    let mut request = request(all(), TimeRange::ALL, Order::Any);
    let labels = GridLabels::Only(vec!["stream".into()]);
    request.hints.grid = Some(Grid { origin: Timestamp(0), spacing_nanos: MINUTE, labels });
    let mut minutes = vec![0; 7];
    let mut has_counts = false;
    let mut batches = store.querier(&tenant()).select(request);
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        has_counts |= matches!(batch.columns, Columns::Counts(_));
        let times = batch.columns.timestamps().unwrap();
        for row in batch.runs.iter().flat_map(|run| run.rows.clone()) {
            let entries = match &batch.columns {
                Columns::Counts(counts) => counts[row as usize].entries,
                _ => 1,
            };
            let minute = usize::try_from((times[row as usize] - 1).div_euclid(MINUTE).max(0)).unwrap();
            minutes[minute] += entries;
        }
    }
    (minutes, has_counts)
}

#[tokio::test]
async fn deleted_entries_are_hidden_at_once_wherever_they_are() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    let id = store.delete(&tenant(), deletion(r#"{stream="s1"}"#, 100, 300)).await.unwrap();
    let left: Vec<i64> = (0..10).chain(30..40).collect();
    assert_eq!(lines(&store).await, left);
    store.delete(&tenant(), deletion(r#"{app="test"} |= "line 3""#, 0, 400)).await.unwrap();
    let left: Vec<i64> = (0..10).filter(|n| *n != 3).collect();
    assert_eq!(lines(&store).await, left, "`line 3` and all of `line 30` to `line 39`");

    store.flush().await.unwrap();
    assert_eq!(lines(&store).await, left, "in segments alone");
    let store = machine.open().await.unwrap();
    assert_eq!(lines(&store).await, left, "after reopening");
    push(&store, 1, vec![entry(150, "line again", None)]).await.unwrap();
    assert_eq!(lines(&store).await, left, "as long as the request waits");

    store.cancel_delete(&tenant(), id.as_str(), false).await.unwrap();
    assert_eq!(lines(&store).await.len(), 30, "cancelling brings them back");
    let store = machine.open().await.unwrap();
    assert_eq!(lines(&store).await.len(), 30, "for good");
}

#[tokio::test]
async fn other_streams_and_tenants_are_not_concerned() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    let other = TenantId::parse("other").unwrap();
    store.delete(&other, deletion("{}", 0, 400)).await.unwrap();
    store.delete(&tenant(), deletion(r#"{stream="s2"}"#, 0, 400)).await.unwrap();
    assert_eq!(lines(&store).await.len(), 40);
    assert_eq!(store.deletes(&other).len(), 1);
    store.delete(&tenant(), deletion("{}", 0, 400)).await.unwrap();
    assert!(lines(&store).await.is_empty());
}

#[tokio::test]
async fn counts_leave_out_what_is_hidden_and_still_come_from_rollups_elsewhere() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    store.flush().await.unwrap();
    assert_eq!(per_minute(&store).await, (vec![7, 6, 6, 6, 6, 6, 3], true));
    // All of the second minute, and what is in the third up to 150 s.
    store.delete(&tenant(), deletion(r#"{stream="s1"}"#, 61, 150)).await.unwrap();
    assert_eq!(per_minute(&store).await, (vec![7, 0, 4, 6, 6, 6, 3], true));
    store.delete(&tenant(), deletion(r#"{stream="s1"} |= "line 30""#, 290, 400)).await.unwrap();
    assert_eq!(per_minute(&store).await, (vec![7, 0, 4, 6, 5, 6, 3], true));
    store.delete(&tenant(), deletion("{}", 0, 400)).await.unwrap();
    assert_eq!(per_minute(&store).await, (vec![0; 7], false));
}

#[tokio::test]
async fn requests_are_listed_by_age_with_what_became_of_them() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        machine.clock.advance(Duration::from_secs(1));
        ids.push(store.delete(&tenant(), deletion(r#"{stream="s1"}"#, 0, 10)).await.unwrap());
    }
    assert_eq!(store.pending_deletes().len(), 0, "they may still be cancelled");
    machine.clock.advance(DEFAULT_DELETE_CANCEL_PERIOD);
    let due = store.pending_deletes();
    assert_eq!(due.iter().map(|deletion| &deletion.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    due[1].set_percent(40);
    store.mark_processed(&due[2]).await.unwrap();

    let statuses = |store: &Store| -> Vec<_> { store.deletes(&tenant()).iter().map(|delete| delete.status).collect() };
    let [received, processed] = [DeleteStatus::Received, DeleteStatus::Processed];
    assert_eq!(statuses(&store), [received, DeleteStatus::Partly { percent: 40 }, processed]);
    assert_eq!(store.pending_deletes().len(), 2);
    assert_eq!(store.deletes(&tenant())[0].request, deletion(r#"{stream="s1"}"#, 0, 10));
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(statuses(&store), [received, received, processed], "progress is forgotten, its end is not");
}

#[tokio::test]
async fn cancelling_takes_force_once_removal_may_have_begun() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    let id = store.delete(&tenant(), deletion("{}", 0, 10)).await.unwrap();
    let cancel = async |id: &str, force| match store.cancel_delete(&tenant(), id, force).await {
        Ok(()) => None,
        Err(Error::Delete(error)) => Some(error),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(cancel("0000000000000000", true).await, Some(DeleteError::Unknown));
    assert_eq!(cancel("", true).await, Some(DeleteError::Unknown));
    machine.clock.advance(DEFAULT_DELETE_CANCEL_PERIOD);
    assert_eq!(cancel(id.as_str(), false).await, Some(DeleteError::Late));
    let due = store.pending_deletes();
    due[0].set_percent(1);
    assert_eq!(cancel(id.as_str(), false).await, Some(DeleteError::PartlyProcessed));
    assert_eq!(cancel(id.as_str(), true).await, None);
    store.mark_processed(&due[0]).await.unwrap();
    assert_eq!(store.deletes(&tenant()), [], "a cancelled request is not processed");
    let id = store.delete(&tenant(), deletion("{}", 0, 10)).await.unwrap();
    machine.clock.advance(DEFAULT_DELETE_CANCEL_PERIOD);
    store.mark_processed(&store.pending_deletes()[0]).await.unwrap();
    assert_eq!(cancel(id.as_str(), true).await, Some(DeleteError::Processed));
}

#[tokio::test]
async fn tenants_that_only_filter_keep_their_bytes() {
    let machine = Machine::new();
    let limits = Limits { deletion_mode: crate::DeletionMode::FilterOnly, ..verbatim_limits() };
    let store = machine.open_with(machine.config().with_limits(limits)).await.unwrap();
    store.delete(&tenant(), deletion("{}", 0, 10)).await.unwrap();
    machine.clock.advance(DEFAULT_DELETE_CANCEL_PERIOD);
    assert_eq!(store.pending_deletes().len(), 0);
}

#[tokio::test]
async fn processed_requests_hide_nothing_and_are_forgotten_in_the_end() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    store.delete(&tenant(), deletion("{}", 0, 400)).await.unwrap();
    machine.clock.advance(DEFAULT_DELETE_CANCEL_PERIOD);
    store.mark_processed(&store.pending_deletes()[0]).await.unwrap();
    assert_eq!(lines(&store).await.len(), 40);
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(lines(&store).await.len(), 40);
    store.maintain().await.unwrap();
    assert_eq!(store.deletes(&tenant()).len(), 1);
    machine.clock.advance(PROCESSED_DELETES_KEPT);
    store.maintain().await.unwrap();
    assert_eq!(store.deletes(&tenant()), []);
    assert_eq!(objects_of_deletes(&machine).await, []);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    let now = machine.clock.now().0 / 1_000_000_000;
    for (request, kind, text) in [
        (deletion("{", 0, 10), ErrorKind::Invalid, "invalid query expression"),
        (deletion(r#"rate({a="b"}[1m])"#, 0, 10), ErrorKind::Invalid, "invalid query expression"),
        (deletion(r#"{a="b"} |~ "[""#, 0, 10), ErrorKind::Invalid, "invalid query expression"),
        (deletion("{}", 10, 10), ErrorKind::Invalid, "start time can't be greater than or equal to end time"),
        (deletion("{}", 10, now + 1), ErrorKind::Invalid, "deletes in the future are not allowed"),
    ] {
        let error = store.delete(&tenant(), request).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    }
    assert!(store.delete(&tenant(), deletion("{}", 10, now)).await.is_ok());
    store.close().await.unwrap();
    assert!(matches!(store.delete(&tenant(), deletion("{}", 0, 10)).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_request_that_was_not_acknowledged_never_comes_into_force() {
    for fault in [Fault::Refused, Fault::AnswerLost] {
        let mut machine = Machine::new();
        let faulty = FaultyStore::new(Arc::clone(&machine.objects));
        machine.objects = Arc::new(faulty.clone());
        let store = filled(&machine).await;
        faulty.fail_at(faulty.puts(), fault);
        assert!(store.delete(&tenant(), deletion("{}", 0, 400)).await.is_err());
        assert_eq!(lines(&store).await.len(), 40);
        drop(store);
        let store = machine.open().await.unwrap();
        assert_eq!(lines(&store).await.len(), 40, "{fault:?}");
    }
}

#[tokio::test]
async fn unreadable_requests_are_set_aside() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    store.delete(&tenant(), deletion("{}", 0, 100)).await.unwrap();
    store.delete(&tenant(), deletion("{}", 100, 200)).await.unwrap();
    drop(store);
    let path = objects_of_deletes(&machine).await.remove(0);
    machine.objects.put(&path, "no request".into()).await.unwrap();
    let store = machine.open().await.unwrap();
    assert_eq!(store.counters().objects_quarantined.value(), 1);
    assert_eq!(lines(&store).await.len(), 30, "the other one is heeded");
}

/// A mark that outlived its request, because a crash came while both were being forgotten.
#[tokio::test]
async fn marks_without_a_request_are_removed() {
    let machine = Machine::new();
    let store = filled(&machine).await;
    let id = store.delete(&tenant(), deletion("{}", 0, 100)).await.unwrap();
    machine.clock.advance(DEFAULT_DELETE_CANCEL_PERIOD);
    store.mark_processed(&store.pending_deletes()[0]).await.unwrap();
    drop(store);
    machine.objects.delete(&ObjectPath::from(format!("data/d/fake/{id}.del"))).await.unwrap();
    let store = machine.open().await.unwrap();
    assert_eq!(store.deletes(&tenant()), []);
    assert_eq!(objects_of_deletes(&machine).await, []);
}

async fn objects_of_deletes(machine: &Machine) -> Vec<ObjectPath> {
    let found = machine.objects.list(Some(&ObjectPath::from("data/d")));
    found.map_ok(|object| object.location).try_collect().await.unwrap()
}
