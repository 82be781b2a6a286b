//! A store on S3: an in-process server that checks signatures, and a local folder for the log.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use loki_core::{Entry, Labels, TimeRange, Timestamp};
use loki_logql::querier::{Hints, Order, SelectRequest};
use loki_store::bucket::{Bucket, Connection, S3Bucket, S3Encryption, Secret};
use loki_store::{Error, PushBody, PushStream, Store, StoreConfig, TenantId};
use server::{Fault, S3Server, Seen};

/// Objects that S3 lists in one answer.
const LIST_PAGE: usize = 1_000;

fn config(server: &S3Server, prefix: &str, wal: &Path) -> StoreConfig {
    let mut config = StoreConfig::objects(server.objects(), prefix, wal);
    // Chunks of a few lines, so that there is something to read parts of.
    config.chunk_bytes = 256;
    config
}

async fn open(server: &S3Server, prefix: &str, wal: &Path) -> Store {
    Store::open(config(server, prefix, wal)).await.unwrap()
}

async fn push(store: &Store, app: &str, lines: std::ops::Range<i64>) {
    let entry = |second: i64| Entry {
        timestamp: Timestamp::from_seconds(second),
        line: line(second).into(),
        metadata: Labels::EMPTY,
    };
    let labels = Labels::from_pairs([("app", app)]).unwrap();
    let stream = PushStream { labels, entries: lines.map(entry).collect() };
    let outcome = store.push(&TenantId::anonymous(), PushBody::Streams(vec![stream])).await.unwrap();
    assert_eq!(outcome.error, None);
}

fn line(second: i64) -> String {
    format!("line of second {second}")
}

fn lines(seconds: std::ops::Range<i64>) -> Vec<String> {
    let mut lines: Vec<_> = seconds.map(line).collect();
    lines.sort();
    lines
}

/// All lines that a store holds, sorted.
async fn everything(store: &Store) -> Vec<String> {
    let request = SelectRequest { matchers: vec![], range: TimeRange::ALL, order: Order::Any, hints: Hints::default() };
    let mut batches = store.querier(&TenantId::anonymous()).select(request);
    let mut found = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        let text = batch.columns.text().unwrap().unwrap();
        for row in batch.runs.iter().flat_map(|run| run.rows.clone()) {
            found.push(String::from_utf8(text.line(row).to_vec()).unwrap());
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_was_flushed_is_found_without_the_local_folder() {
    let server = S3Server::start().await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&server, "data", first.path()).await;
    push(&store, "a", 0..100).await;
    store.flush().await.unwrap();
    push(&store, "a", 100..110).await;
    assert_eq!(everything(&store).await, lines(0..110));
    drop(store);

    let elsewhere = open(&server, "data", second.path()).await;
    assert_eq!(everything(&elsewhere).await, lines(0..100), "what was only logged is in the other folder");
    drop(elsewhere);

    let store = open(&server, "data", first.path()).await;
    assert_eq!(everything(&store).await, lines(0..110), "the log is where it was");
    store.close().await.unwrap();
    assert_eq!(everything(&open(&server, "data", second.path()).await).await, lines(0..110));
}

#[tokio::test]
async fn queries_read_parts_of_segments() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&server, "", folder.path()).await;
    push(&store, "a", 0..500).await;
    store.close().await.unwrap();
    drop(store);
    server.take_requests();

    let mut config = config(&server, "", folder.path());
    config.cache_bytes = 0;
    let store = Store::open(config).await.unwrap();
    server.take_requests();
    assert_eq!(everything(&store).await, lines(0..500));
    let reads: Vec<Seen> = server.take_requests().into_iter().filter(Seen::is_of_segment).collect();
    assert!(!reads.is_empty() && reads.iter().all(Seen::is_ranged), "{reads:?}");
}

#[tokio::test]
async fn stores_with_different_prefixes_do_not_see_each_other() {
    let server = S3Server::start().await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = open(&server, "one", first.path()).await;
    let two = open(&server, "one/two", second.path()).await;
    push(&one, "a", 0..3).await;
    push(&two, "a", 3..7).await;
    one.close().await.unwrap();
    two.close().await.unwrap();
    drop((one, two));
    assert_eq!(everything(&open(&server, "one", first.path()).await).await, lines(0..3));
    assert_eq!(everything(&open(&server, "one/two", second.path()).await).await, lines(3..7));
}

#[tokio::test]
async fn lists_longer_than_a_page_are_read_to_their_end() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&server, "data", folder.path()).await;
    push(&store, "a", 0..3).await;
    store.close().await.unwrap();
    drop(store);
    // Foreign objects that sort before the segments fill the first page.
    let foreign = server.folder().join("data/w/0");
    std::fs::create_dir(&foreign).unwrap();
    for number in 0..LIST_PAGE {
        std::fs::write(foreign.join(number.to_string()), "").unwrap();
    }
    server.take_requests();
    assert_eq!(everything(&open(&server, "data", folder.path()).await).await, lines(0..3));
    let is_list = |seen: &&Seen| seen.method == "GET" && seen.path.trim_matches('/') == "logs";
    assert!(server.take_requests().iter().filter(is_list).count() > 2, "manifests, and two pages of segments");
}

/// `object_store` repeats a request whose answer was lost, and then finds the name taken: by ourselves.
#[tokio::test]
async fn a_segment_whose_answer_was_lost_is_recognised_as_ours() {
    for fault in [Fault::AnswerLost, Fault::SlowDown] {
        let server = S3Server::start().await;
        let folder = tempfile::tempdir().unwrap();
        let store = open(&server, "data", folder.path()).await;
        push(&store, "a", 0..3).await;
        server.fail_next_segment(fault);
        store.flush().await.unwrap();
        let puts = server.take_requests().into_iter().filter(|seen| seen.method == "PUT" && seen.is_of_segment());
        assert_eq!(puts.count(), 2, "{fault:?}: the request was repeated");
        assert_eq!(everything(&store).await, lines(0..3), "{fault:?}");
        drop(store);
        assert_eq!(everything(&open(&server, "data", folder.path()).await).await, lines(0..3), "{fault:?}");
    }
}

/// `object_store` says that the name is taken when S3 answers 409, although nobody may have created the object.
#[tokio::test]
async fn a_conflict_without_a_winner_is_tried_again_by_the_next_flush() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&server, "data", folder.path()).await;
    push(&store, "a", 0..3).await;
    server.fail_next_segment(Fault::Conflict);
    let failed = store.flush().await;
    assert!(matches!(failed, Err(Error::Object { .. })), "{failed:?}");
    assert_eq!(everything(&store).await, lines(0..3), "nothing is lost meanwhile");
    push(&store, "a", 3..5).await;
    store.flush().await.unwrap();
    assert_eq!(everything(&store).await, lines(0..5));
    drop(store);
    assert_eq!(everything(&open(&server, "data", folder.path()).await).await, lines(0..5));
}

#[tokio::test]
async fn a_name_that_somebody_else_took_is_recognised() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&server, "data", folder.path()).await;
    push(&store, "a", 0..3).await;
    store.flush().await.unwrap();
    let writers = std::fs::read_dir(server.folder().join("data/w")).unwrap();
    let writers: Vec<_> = writers.map(|writer| writer.unwrap().path()).collect();
    let [writer] = &*writers else { panic!("one store, one writer: {writers:?}") };
    let segment = writer.join(format!("{:020}.seg", 0));
    std::fs::copy(&segment, writer.join(format!("{:020}.seg", 1))).unwrap();
    push(&store, "a", 3..5).await;
    let fenced = store.flush().await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
}

#[tokio::test]
async fn a_bucket_without_put_if_absent_is_refused() {
    let server = S3Server::start().await;
    server.ignore_conditions();
    let folder = tempfile::tempdir().unwrap();
    let refused = Store::open(config(&server, "data", folder.path())).await;
    assert!(matches!(refused, Err(Error::Config { setting: "object store", .. })), "{refused:?}");
    let left: Vec<_> = std::fs::read_dir(server.folder().join("data/probe")).into_iter().flatten().collect();
    assert!(left.is_empty(), "the probe is removed: {left:?}");
}

#[tokio::test]
async fn requests_of_strangers_are_errors() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut stranger = server.bucket();
    stranger.keys.as_mut().unwrap().secret_access_key = Secret::new("guessed");
    let objects = Bucket::S3(stranger).open(&Connection::default()).unwrap();
    let refused = Store::open(StoreConfig::objects(objects, "data", folder.path())).await;
    assert!(matches!(refused, Err(Error::Object { .. })), "{refused:?}");
}

#[tokio::test]
async fn new_objects_have_the_storage_class_that_was_asked_for() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    for class in ["", "REDUCED_REDUNDANCY"] {
        let bucket = Bucket::S3(S3Bucket { storage_class: class.into(), ..server.bucket() });
        let objects: Arc<_> = bucket.open(&Connection::default()).unwrap();
        let store = Store::open(StoreConfig::objects(objects, format!("of{class}"), folder.path())).await.unwrap();
        push(&store, "a", 0..3).await;
        server.take_requests();
        store.flush().await.unwrap();
        store.compact().await.unwrap();
        store.close().await.unwrap();
        let puts: Vec<_> = server.take_requests().into_iter().filter(|seen| seen.method == "PUT").collect();
        let has_class = |seen: &Seen| {
            seen.headers.get("x-amz-storage-class").map_or("".as_bytes(), |found| found.as_bytes()) == class.as_bytes()
        };
        assert!(!puts.is_empty() && puts.iter().all(has_class), "{puts:?}");
    }
}

#[tokio::test]
async fn encryption_is_asked_for_with_every_object() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let kms = S3Encryption::Kms { key_id: "key".into() };
    for (encryption, algorithm) in [(S3Encryption::S3, "AES256"), (kms, "aws:kms")] {
        let bucket = Bucket::S3(S3Bucket { encryption, ..server.bucket() });
        let objects: Arc<_> = bucket.open(&Connection::default()).unwrap();
        let store = Store::open(StoreConfig::objects(objects, algorithm, folder.path())).await.unwrap();
        push(&store, "a", 0..3).await;
        server.take_requests();
        store.close().await.unwrap();
        let puts: Vec<_> = server.take_requests().into_iter().filter(|seen| seen.method == "PUT").collect();
        let is_encrypted = |seen: &Seen| seen.headers["x-amz-server-side-encryption"] == algorithm;
        assert!(!puts.is_empty() && puts.iter().all(is_encrypted), "{puts:?}");
    }
}
