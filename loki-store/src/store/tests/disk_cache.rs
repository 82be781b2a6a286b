//! Parts of segments kept on a local disk.

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::*;
use crate::config::{DiskCache, Location};

/// A store with a disk cache, and next to no memory for parts of segments.
async fn open(machine: &Machine, folder: &Path) -> Store {
    let disk_cache = Some(DiskCache { folder: folder.to_owned(), max_bytes: 64 << 20 });
    machine.open_with(StoreConfig { disk_cache, cache_bytes: 0, ..machine.config() }).await.unwrap()
}

/// Two segments, and what they hold.
async fn populate(machine: &Machine) -> Vec<Stored> {
    let store = machine.open().await.unwrap();
    for stream in [1, 2] {
        push(&store, stream, (0..50).map(|n| entry(n, "a line of text", Some("t1"))).collect()).await.unwrap();
        store.flush().await.unwrap();
    }
    everything(&store).await
}

async fn settle(store: &Store) {
    store.inner.objects.blocks().unwrap().settle().await;
}

/// Everything, and how many reads of objects that took.
async fn read(store: &Store) -> (Vec<Stored>, u64) {
    let before = store.object_requests().reads.value();
    let found = everything(store).await;
    settle(store).await;
    (found, store.object_requests().reads.value() - before)
}

/// The files of the folder, without the one that locks it.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn queries_and_restarts_find_what_was_read() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let expected = populate(&machine).await;
    let store = open(&machine, folder.path()).await;
    let (found, reads) = read(&store).await;
    assert_same(&found, &expected);
    assert!(reads >= 2, "both segments were read");
    assert_eq!(read(&store).await, (expected.clone(), 0));
    let status = store.disk_cache().unwrap();
    assert_eq!((status.blocks, status.counters.evictions.value()), (2, 0));
    assert_eq!(files(folder.path()).len(), 2, "one block a segment, and nothing of anything else");
    store.close().await.unwrap();
    drop(store);
    assert_eq!(read(&open(&machine, folder.path()).await).await, (expected, 0));
}

#[tokio::test]
async fn merges_neither_read_nor_fill_it() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let expected = populate(&machine).await;
    let store = open(&machine, folder.path()).await;
    store.compact().await.unwrap();
    settle(&store).await;
    assert_eq!(store.disk_cache().unwrap().blocks, 0);
    assert_same(&read(&store).await.0, &expected);
}

#[tokio::test]
async fn a_folder_that_goes_or_holds_anything_does_no_harm() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let expected = populate(&machine).await;
    let store = open(&machine, folder.path()).await;
    read(&store).await;
    for file in files(folder.path()) {
        std::fs::write(file, b"anything").unwrap();
    }
    assert_eq!(read(&store).await.0, expected);
    assert_eq!(read(&store).await, (expected.clone(), 0), "it was mended");
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(read(&store).await.0, expected);
    assert_eq!(read(&store).await, (expected, 0), "it was made again");
}

#[tokio::test]
async fn damage_from_the_object_store_does_not_stay() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let expected = populate(&machine).await;
    let paths: Vec<ObjectPath> =
        machine.objects.list(None).map_ok(|object| object.location).try_collect().await.unwrap();
    let segment = paths.iter().find(|path| path.extension() == Some("seg")).unwrap();
    let whole = machine.objects.get(segment).await.unwrap().bytes().await.unwrap();
    // Header and footer are as they were: only what comes by way of the cache is not.
    let mut damaged = whole.to_vec();
    let behind_header = crate::segment::layout::HEADER_LEN;
    damaged[behind_header..whole.len() / 2].fill(0xee);
    let store = open(&machine, folder.path()).await;
    machine.objects.put(segment, Bytes::from(damaged).into()).await.unwrap();
    let (found, _) = read(&store).await;
    assert!(found.len() < expected.len() && store.counters().chunks_corrupt.value() > 0);
    machine.objects.put(segment, whole.into()).await.unwrap();
    assert_eq!(read(&store).await.0, expected);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_done_without() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let expected = populate(&machine).await;
    let file = folder.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let store = open(&machine, &file).await;
    assert!(store.disk_cache().is_none());
    assert_eq!(everything(&store).await, expected);

    let taken = open(&machine, folder.path()).await;
    let other = open(&machine, folder.path()).await;
    assert!(taken.disk_cache().is_some() && other.disk_cache().is_none(), "one process uses a folder");
    assert_eq!(everything(&other).await, expected);
}

#[tokio::test]
async fn only_a_bucket_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk_cache = Some(DiskCache { folder: folder.path().to_owned(), max_bytes: 1 << 20 });
    for location in [Location::Memory, Location::Folder(folder.path().to_owned())] {
        let config = StoreConfig { disk_cache: disk_cache.clone(), ..StoreConfig::new(location) };
        assert!(matches!(Store::open(config).await, Err(Error::Config { setting: "disk_cache", .. })));
    }
}
