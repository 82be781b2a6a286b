//! The tools on small stores in folders, against what was pushed.

mod backup;
mod damage;
mod export;
mod repair;
mod report;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use loki_core::{Codec, Entry, Labels, TimeRange, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::config::{Location, StoreConfig};
use crate::limits::{DeletionMode, Limits};
use crate::push::{PushBody, PushStream};
use crate::store::Store;
use crate::tenant::TenantId;

/// 2024-07-01T10:00:00Z.
const START: i64 = 1_719_828_000;

/// Stream, time, line and metadata of an entry.
type Stored = (String, i64, String, String);

/// A store in a folder, whose clock stands still.
struct Bench {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START + 86_400)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn config(&self, folder: &Path) -> StoreConfig {
        let mut config = StoreConfig::folder(folder).with_clock(self.clock.clone()).with_limits(verbatim_limits());
        config.chunk_bytes = 256;
        (config.codec, config.merge_codec) = (Codec::None, Codec::None);
        config.delete_cancel_period = Duration::ZERO;
        config
    }

    async fn open(&self) -> Store {
        self.open_at(&self.folder()).await
    }

    async fn open_at(&self, folder: &Path) -> Store {
        self.clock.advance(Duration::from_secs(1));
        Store::open(self.config(folder)).await.unwrap()
    }

    fn site(&self) -> Site {
        site(&self.folder())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A store with entries of two tenants in merged and flushed segments and in the log, and with a request to delete.
    async fn populated() -> Self {
        let bench = Self::new();
        let store = bench.open().await;
        for round in 0..3 {
            for tenant in ["a", "b"] {
                for stream in 0..3 {
                    push(&store, tenant, stream, round * 20..round * 20 + 20).await;
                }
            }
            store.flush().await.unwrap();
        }
        store.compact().await.unwrap();
        push(&store, "a", 1, 60..80).await;
        store.flush().await.unwrap();
        push(&store, "a", 2, 60..70).await;
        let range = TimeRange::new(at(0), at(10));
        let query = r#"{stream="s0"} |= "line 3 ""#.to_owned();
        store.delete(&tenant("a"), crate::DeleteRequest { query, range }).await.unwrap();
        drop(store);
        bench
    }
}

/// Limits that change nothing about what is pushed.
fn verbatim_limits() -> Limits {
    Limits {
        discover_service_name: Vec::new(),
        discover_log_levels: false,
        deletion_mode: DeletionMode::FilterAndDelete,
        ..Limits::unlimited()
    }
}

fn site(folder: &Path) -> Site {
    Site::of(&Location::Folder(folder.to_owned())).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds)
}

/// Pushes one entry a second.
async fn push(store: &Store, name: &str, stream: u8, seconds: std::ops::Range<i64>) {
    let labels = Labels::from_pairs([("app", "test"), ("stream", &format!("s{stream}"))]).unwrap();
    let entry = |second: i64| {
        let trace = (second % 2 == 0).then(|| ("trace_id", format!("{second:08x}")));
        Entry {
            timestamp: at(second),
            line: format!("line {second} of a request that took a while").into(),
            metadata: Labels::from_pairs(trace).unwrap(),
        }
    };
    let stream = PushStream { labels, entries: seconds.map(entry).collect() };
    let outcome = store.push(&tenant(name), PushBody::Streams(vec![stream])).await.unwrap();
    assert_eq!(outcome.error, None);
}

/// The entries of both tenants, as a store answers.
async fn entries_of(store: &Store) -> BTreeSet<(String, Stored)> {
    let mut entries = BTreeSet::new();
    for name in ["a", "b"] {
        let stored = crate::deletes::StoredDelete {
            id: crate::DeleteId::random(),
            tenant: tenant(name),
            query: "{}".to_owned(),
            range: TimeRange::ALL,
            created_at: at(0),
        };
        let mut selection = crate::deletes::Selection::new(stored).unwrap();
        let mut batches = store.querier(&tenant(name)).select(selection.request());
        while let Some(batch) = futures::StreamExt::next(&mut batches).await {
            let visit = |row: crate::deletes::SelectedRow<'_>| {
                let mut metadata = String::new();
                row.metadata.for_each(row.row, |name, value| write!(metadata, "{name}={value},").unwrap());
                let line = String::from_utf8_lossy(row.line).into_owned();
                let entry = (row.labels.to_string(), row.timestamp.0, line, metadata);
                assert!(entries.insert((name.to_owned(), entry)), "an entry came twice");
                std::ops::ControlFlow::Continue(())
            };
            selection.for_each(&batch.unwrap(), visit).unwrap();
        }
    }
    entries
}

/// The files below a folder whose names begin so.
fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    collect(folder, &mut found);
    found.retain(|path| path.strip_prefix(folder).is_ok_and(|name| name.starts_with(prefix)));
    found.sort();
    found
}

fn copy_folder(from: &Path, to: &Path) {
    for file in files(from, "") {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}
