//! Objects that are not what was written.

use bytes::Bytes;
use futures::TryStreamExt;
use loki_logql::querier::Literal;
use object_store::ObjectStoreExt;

use super::*;

async fn paths(machine: &Machine, below: &str) -> Vec<ObjectPath> {
    let found = machine.objects.list(Some(&ObjectPath::from(below)));
    found.map_ok(|object| object.location).try_collect().await.unwrap()
}

/// A store with one segment per stream, closed.
async fn two_segments(machine: &Machine) -> Vec<ObjectPath> {
    let store = machine.open().await.unwrap();
    for stream in [1, 2] {
        push(&store, stream, (0..20).map(|n| entry(n, "a line of text", None)).collect()).await.unwrap();
        store.flush().await.unwrap();
    }
    paths(machine, "data/w").await
}

async fn replace(machine: &Machine, path: &ObjectPath, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = machine.objects.get(path).await.unwrap().bytes().await.unwrap();
    machine.objects.put(path, Bytes::from(change(bytes.to_vec())).into()).await.unwrap();
}

#[tokio::test]
async fn unreadable_segments_are_set_aside_and_the_rest_is_served() {
    let damages: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |_| Vec::new(),
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        |_| b"something else entirely, and long enough to be read".to_vec(),
        |mut bytes| {
            let footer = bytes.len() - 20;
            bytes[footer] ^= 1;
            bytes
        },
    ];
    for damage in damages {
        let machine = Machine::new();
        let segments = two_segments(&machine).await;
        replace(&machine, &segments[0], damage).await;
        let store = machine.open().await.unwrap();
        assert_eq!(everything(&store).await.len(), 20);
        assert_eq!(store.counters().objects_quarantined.value(), 1);
        let kept = paths(&machine, "data/quarantine").await;
        assert_eq!(kept.len(), 1);
        let name = segments[0].to_string().replace("data/", "").replace('/', "_");
        assert_eq!(kept[0].filename(), Some(name.as_str()));
    }
}

#[tokio::test]
async fn a_missing_segment_costs_only_its_entries() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    for stream in [1, 2] {
        push(&store, stream, vec![entry(1, "a line of text", None)]).await.unwrap();
        store.flush().await.unwrap();
        store.compact().await.unwrap();
    }
    let merged = store.inner.state.lock().segments[0].path.clone();
    drop(store);
    machine.objects.delete(&merged).await.unwrap();
    let store = machine.open().await.unwrap();
    assert_eq!(store.counters().segments_missing.value(), 1);
    assert_eq!(everything(&store).await, []);
    push(&store, 3, vec![entry(1, "another", None)]).await.unwrap();
    store.flush().await.unwrap();
    store.compact().await.unwrap();
    assert_eq!(everything(&store).await.len(), 1);
}

#[tokio::test]
async fn a_damaged_chunk_is_left_out_and_counted() {
    let machine = Machine::new();
    let segments = two_segments(&machine).await;
    replace(&machine, &segments[0], |mut bytes| {
        bytes[crate::segment::layout::HEADER_LEN + 60] ^= 1;
        bytes
    })
    .await;
    let store = machine.open().await.unwrap();
    let found = everything(&store).await.len();
    assert!((20..40).contains(&found), "{found}");
    assert_eq!(store.counters().chunks_corrupt.value(), 1);
}

#[tokio::test]
async fn foreign_objects_are_ignored() {
    let machine = Machine::new();
    two_segments(&machine).await;
    for path in ["data/w/readme.txt", "data/w/not-a-writer/00000000000000000000.seg", "data/m/notes", "data/other/x"] {
        machine.objects.put(&ObjectPath::from(path), Bytes::from_static(b"hello").into()).await.unwrap();
    }
    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await.len(), 40);
    assert_eq!(store.counters().objects_quarantined.value(), 0);
}

#[tokio::test]
async fn a_damaged_manifest_gives_way_to_the_one_before() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    for n in 0..2 * crate::store::FOLD_SEGMENTS {
        push(&store, 1, vec![entry(n as i64, "line", None)]).await.unwrap();
        store.flush().await.unwrap();
        store.maintain().await.unwrap();
    }
    drop(store);
    let manifests = paths(&machine, "data/m").await;
    assert!(manifests.len() >= 2, "the newest names what was flushed and merged last");
    replace(&machine, manifests.iter().max().unwrap(), |bytes| bytes[1..].to_vec()).await;
    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await.len(), 2 * crate::store::FOLD_SEGMENTS);
    assert_eq!(store.counters().objects_quarantined.value(), 1);
}

#[tokio::test]
async fn a_log_file_with_a_record_that_cannot_be_read_is_kept() {
    use crate::wal::{Files, Record, RecordKind, Wal, WalError, WalOptions};

    let machine = Machine::new();
    let files: Arc<dyn Files> = Arc::new(machine.files.clone());
    let nothing = |_| Ok::<_, WalError>(());
    let (mut wal, _) = Wal::open(Arc::clone(&files), WalOptions::default(), nothing).unwrap();
    let record = Record {
        kind: RecordKind::Snappy,
        tenant: &tenant(),
        arrival: Timestamp(1),
        body: b"intact, but no snappy block",
    };
    wal.append(&record).unwrap();
    let logged = files.list().unwrap();
    drop(wal);

    let store = machine.open().await.unwrap();
    assert_eq!(store.counters().wal_corruptions.value(), 1);
    push(&store, 1, vec![entry(1, "served", None)]).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(files.list().unwrap(), [format!("{}.damaged", logged[0])]);
    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await.len(), 1);
}

#[tokio::test]
async fn filters_that_cannot_be_read_cost_time_and_no_entries() {
    // The version, and a byte that the checksum of the head covers.
    for at in [4, 8] {
        let machine = Machine::new();
        let store = machine.open().await.unwrap();
        push(&store, 1, (0..20).map(|n| entry(n, "a line of text", Some("t1"))).collect()).await.unwrap();
        store.flush().await.unwrap();
        drop(store);
        let path = paths(&machine, "data/w").await.remove(0);
        replace(&machine, &path, |mut bytes| {
            let filters = bytes.windows(4).position(|magic| magic == b"LKSF").expect("there are filters");
            bytes[filters + at] ^= 7;
            bytes
        })
        .await;
        let store = machine.open().await.unwrap();
        let mut request = request(all(), TimeRange::ALL, Order::Any);
        request.hints.needles = vec![vec![Literal { bytes: b"line of text".to_vec(), case_insensitive: false }]];
        assert_eq!(select(store.querier(&tenant()), request.clone()).await.len(), 20, "{at}");
        request.hints.needles = Vec::new();
        request.hints.labels = vec![("trace_id".to_owned(), "t1".to_owned())];
        assert_eq!(select(store.querier(&tenant()), request).await.len(), 20, "{at}");
    }
}
