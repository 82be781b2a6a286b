use super::*;

#[tokio::test]
async fn entries_are_found_in_memory_in_segments_and_after_reopening() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let entries = vec![entry(10, "one", None), entry(20, "two", Some("abc"))];
    let labels = stream_labels(1);
    let expected: Vec<_> = entries.iter().map(|entry| stored(&labels, entry)).collect();

    push(&store, 1, entries).await.unwrap();
    assert_eq!(everything(&store).await, expected);
    store.flush().await.unwrap();
    assert_eq!(store.segment_count(), 1);
    assert_eq!(store.head_bytes(), 0);
    assert_eq!(everything(&store).await, expected);
    store.close().await.unwrap();
    assert!(matches!(push(&store, 1, vec![entry(1, "x", None)]).await, Err(Error::Closed)));

    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await, expected);
    assert_eq!(store.counters().wal_records_replayed.value(), 0);
}

#[tokio::test]
async fn what_was_not_flushed_is_read_from_the_log() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    push(&store, 1, vec![entry(10, "kept", None)]).await.unwrap();
    assert_eq!(store.counters().wal_records_logged.value(), 1);
    assert!(store.log_bytes() > 0);
    drop(store);

    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await.len(), 1);
    assert_eq!(store.counters().wal_records_replayed.value(), 1);
    assert_eq!(store.counters().wal_line_bytes_replayed.value(), 4);
}

#[tokio::test]
async fn a_store_tells_what_it_has_in_memory() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    assert_eq!((store.active_streams(), store.cached_sections(), store.cached_bytes()), (vec![], 0, 0));
    push(&store, 1, vec![entry(10, "one", None)]).await.unwrap();
    push(&store, 2, vec![entry(10, "two", None)]).await.unwrap();
    let streams: usize = store.active_streams().iter().map(|(_, streams)| streams).sum();
    assert_eq!((streams, store.pending_flushes()), (2, 0));
    store.flush().await.unwrap();
    assert_eq!(store.counters().chunks_flushed.count(), 1);
    assert_eq!(everything(&store).await.len(), 2);
    assert!(store.cached_sections() > 0 && store.cached_bytes() > 0);
}

/// Once, a log whose files had all been removed began with number one again, which a segment said to hold already: the
/// new file was dropped when the store was next opened. The model test found it.
#[tokio::test]
async fn log_files_never_get_the_number_of_one_that_was_removed() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    push(&store, 1, vec![entry(10, "flushed", None)]).await.unwrap();
    store.close().await.unwrap();
    let store = machine.open().await.unwrap();
    push(&store, 1, vec![entry(20, "logged", None)]).await.unwrap();
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(everything(&store).await.len(), 2);
}

#[tokio::test]
async fn equal_entries_count_once_wherever_they_meet() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let entries = || vec![entry(10, "same", Some("t")), entry(10, "other", None), entry(10, "same", Some("t"))];
    push(&store, 1, entries()).await.unwrap();
    assert_eq!(everything(&store).await.len(), 2, "in one push");
    push(&store, 1, entries()).await.unwrap();
    assert_eq!(everything(&store).await.len(), 2, "in one head");
    store.flush().await.unwrap();
    assert_eq!(everything(&store).await.len(), 2, "in one segment");
    push(&store, 1, entries()).await.unwrap();
    assert_eq!(everything(&store).await.len(), 2, "in a segment and a head");
    store.flush().await.unwrap();
    assert_eq!(everything(&store).await.len(), 2, "in two segments");
}

#[tokio::test]
async fn labels_series_stats_and_volume_come_from_head_and_segments_alike() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    push(&store, 1, vec![entry(60, "old", None)]).await.unwrap();
    store.flush().await.unwrap();
    push(&store, 2, vec![entry(600, "young", None)]).await.unwrap();
    let (tenant, ever) = (tenant(), TimeRange::ALL);

    assert_eq!(store.label_names(&tenant, &[], ever).await.unwrap(), ["app", "stream"]);
    assert_eq!(store.label_values(&tenant, "stream", &all(), ever).await.unwrap(), ["s1", "s2"]);
    let recent = TimeRange::new(Timestamp::from_seconds(500), Timestamp::from_seconds(700));
    assert_eq!(store.label_values(&tenant, "stream", &[], recent).await.unwrap(), ["s2"]);
    let series = store.series(&tenant, &[all(), all()], ever).await.unwrap();
    assert_eq!(series, [stream_labels(1), stream_labels(2)]);
    let stats = store.stats(&tenant, &all(), ever).await.unwrap();
    assert_eq!((stats.streams, stats.chunks, stats.entries, stats.bytes), (2, 2, 2, 8));
    let volume = store.volume(&tenant, &all(), ever, 0).await.unwrap();
    let mut bytes: Vec<u64> = volume.iter().flat_map(|stream| stream.steps.values().copied()).collect();
    bytes.sort_unstable();
    assert_eq!(bytes, [3, 5]);
    let stranger = TenantId::parse("stranger").unwrap();
    assert!(store.series(&stranger, &[all()], ever).await.unwrap().is_empty());
}

#[tokio::test]
async fn maintenance_flushes_by_age() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    push(&store, 1, vec![entry(1, "line", None)]).await.unwrap();
    assert_eq!(store.maintain().await.unwrap().flushed, 0, "nothing is due yet");
    machine.clock.advance(store.config().flush_age);
    assert_eq!(store.maintain().await.unwrap().flushed, 1);
    assert_eq!(store.maintain().await.unwrap().flushed, 0);
}

#[tokio::test]
async fn a_full_head_refuses_pushes_until_a_flush_succeeds() {
    let machine = Machine::new();
    let mut config = machine.config();
    config.flush_bytes = 1;
    config.head_max_bytes = 1;
    let faulty = faulty::FaultyStore::new(Arc::clone(&machine.objects));
    faulty.fail_every(faulty::Fault::Refused);
    let place = Place {
        objects: Objects::new(Arc::new(faulty.clone()), ObjectPath::from("data")),
        log: None,
        lock: None,
        free_space: None,
    };
    let store = Store::open_at(config, place).await.unwrap();
    push(&store, 1, vec![entry(1, "fills the head", None)]).await.unwrap();
    tokio::time::pause();
    let refused = push(&store, 1, vec![entry(2, "no room", None)]).await;
    assert!(matches!(refused, Err(Error::HeadFull { limit_bytes: 1, .. })), "{refused:?}");
    faulty.fail_none();
    push(&store, 1, vec![entry(2, "room again", None)]).await.unwrap();
    assert_eq!(everything(&store).await.len(), 2);
}

#[tokio::test]
async fn a_folder_is_a_store_and_opens_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = || StoreConfig::folder(folder.path()).with_limits(verbatim_limits());
    let store = Store::open(config()).await.unwrap();
    push(&store, 1, vec![entry(10, "flushed", None)]).await.unwrap();
    store.flush().await.unwrap();
    push(&store, 1, vec![entry(20, "logged", None)]).await.unwrap();
    assert!(matches!(Store::open(config()).await, Err(Error::Locked { .. })));
    drop(store);
    let store = Store::open(config()).await.unwrap();
    assert_eq!(everything(&store).await.len(), 2);
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    for chunk_bytes in [0, crate::config::MAX_CHUNK_BYTES + 1] {
        let config = StoreConfig { chunk_bytes, ..StoreConfig::memory() };
        assert!(matches!(Store::open(config).await, Err(Error::Config { setting: "chunk_bytes", .. })));
    }
    let config = StoreConfig { chunk_bytes: crate::config::MAX_CHUNK_BYTES, ..StoreConfig::memory() };
    Store::open(config).await.unwrap();
}

#[tokio::test]
async fn tails_see_entries_only_once_they_are_durable() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let tail = store.subscribe(&tenant(), all());
    push(&store, 1, vec![entry(10, "kept", None)]).await.unwrap();
    assert_eq!(tail.take().streams.len(), 1);
    // The append succeeds, the sync does not.
    machine.files.fail_at(machine.files.operations() + 1, crate::wal::Fault::Io);
    assert!(push(&store, 1, vec![entry(20, "lost", None)]).await.is_err());
    assert_eq!(tail.take(), crate::TailBatch::default());
}
