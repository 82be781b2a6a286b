//! Opening a store: what earlier runs left becomes the state again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::memory::{Memory, Readers};
use super::publish::Chain;
use super::{Inner, State, Store, blocking, folder};
use crate::blocks::BlockCache;
use crate::cache::SectionCache;
use crate::config::{DEFAULT_DELETE_DELAY, DiskCache, Location, MAX_CHUNK_BYTES, StoreConfig};
use crate::counters::Counters;
use crate::error::{Error, ErrorKind};
use crate::head::Head;
use crate::lock::FolderLock;
use crate::manifest::{self, Manifest};
use crate::objects::Objects;
use crate::push::Ingest;
use crate::segment::{Segment, WriterId};
use crate::wal::{Files, ReplayRecord, Wal, WalOptions};

/// Segments opened at the same time.
const OPENS_AT_ONCE: usize = 16;
/// The folder of the log inside a data folder.
const WAL_FOLDER: &str = "wal";

/// Where a store lives, ready to be used.
pub(crate) struct Place {
    pub(crate) objects: Objects,
    /// The log's files and its name.
    pub(crate) log: Option<(Arc<dyn Files>, Uuid)>,
    pub(crate) lock: Option<FolderLock>,
    /// For a folder that no other process reads: how much space is free there.
    pub(crate) free_space: Option<FreeSpace>,
}

/// Says how many bytes are free.
pub(crate) type FreeSpace = Arc<dyn Fn() -> Result<u64, Error> + Send + Sync>;

/// What the objects say.
struct Found {
    segments: Vec<Arc<Segment>>,
    chain: Chain,
}

impl Store {
    /// Opens a store, creating it if there is none.
    ///
    /// Reads the log that an earlier run left. Objects that cannot be read are moved to `quarantine/`, logged and
    /// counted, and the rest is served.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process has the folder open; [`Error::Config`] for options that cannot work, and for
    /// an object store that does not know put-if-absent;
    /// otherwise whatever the file system or the object store answered.
    pub async fn open(config: StoreConfig) -> Result<Self, Error> {
        check(&config)?;
        let place = Place::of(&config.location)?;
        if matches!(config.location, Location::Objects { .. }) {
            place.objects.probe_put_new().await?;
        }
        Self::open_at(config, place).await
    }

    /// Opens a store at a place of the caller's making.
    pub(crate) async fn open_at(config: StoreConfig, place: Place) -> Result<Self, Error> {
        let Place { objects, log, lock, free_space } = place;
        let mut objects = objects.with_clock(Arc::clone(&config.clock));
        if let Some(blocks) = open_blocks(&config).await {
            objects = objects.with_blocks(blocks);
        }
        let cache = Arc::new(SectionCache::new(config.cache_bytes));
        let counters = Arc::new(Counters::default());
        let Found { segments, chain } = find(&objects, &cache, &counters).await?;
        let deletes = super::deletes::find(&objects, &counters).await?;
        let (files, log) = match log {
            Some((files, id)) => (Some(files), id),
            None => (None, Uuid::nil()),
        };
        let through = segments.iter().map(|segment| segment.header.wal).filter(|wal| wal.log == log);
        let through = through.map(|wal| wal.through).chain(chain.logs.get(&log).copied()).max().unwrap_or(0);
        let inner = Arc::new(Inner {
            objects,
            cache,
            counters,
            writer: WriterId::random(),
            log,
            memory: Memory::new(&config),
            readers: Readers::default(),
            ingest: Ingest::default(),
            wal: Mutex::new(None),
            committer: std::sync::OnceLock::new(),
            state: Mutex::new(State { segments, pending: Vec::new(), head: Head::default(), next_sequence: 0 }),
            flushing: tokio::sync::Mutex::new(()),
            flushed: Notify::new(),
            tails: Arc::default(),
            deletes,
            chain: Mutex::new(chain),
            publishing: tokio::sync::Mutex::new(()),
            housekeeping: tokio::sync::Mutex::default(),
            is_exclusive: free_space.is_some(),
            free_space,
            closed: AtomicBool::new(false),
            _lock: lock,
            config,
        });
        if let Some(files) = files {
            let (reader, clock) = (Arc::clone(&inner), Arc::clone(&inner.config.clock));
            let started = clock.monotonic_nanos();
            let wal = tokio::task::spawn_blocking(move || reader.replay(files, through));
            let wal = wal.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            inner.counters.wal_replay_nanos.add(clock.monotonic_nanos().saturating_sub(started));
            let streams = inner.ingest.active_streams_by_tenant(&*clock);
            inner.counters.wal_streams_replayed.add(streams.iter().map(|(_, streams)| *streams as u64).sum());
            inner.committer.get_or_init(|| wal.committer());
            *inner.wal.lock() = Some(wal);
        }
        let store = Self { memory: inner.config.memory.clone(), inner };
        if store.inner.head_is_full()
            && let Err(error) = store.flush().await
        {
            // What the log held can be read all the same, and is flushed once there is room, or the bucket is there.
            if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Unavailable) {
                return Err(error);
            }
            let cause = std::error::Error::source(&error).map(tracing::field::display);
            tracing::error!(error = %error, cause, "what the log held stays in memory for now");
        }
        Ok(store)
    }
}

impl Inner {
    /// Puts everything in the log that no segment holds into the head. Blocks.
    fn replay(&self, files: Arc<dyn Files>, through: u64) -> Result<Wal, Error> {
        let options = WalOptions { min_file_number: through + 1, ..WalOptions::default() };
        let mut unreadable = Vec::new();
        let (mut wal, report) = Wal::open(files, options, |record| -> Result<(), Error> {
            if record.file > through && !self.replay_record(&record) {
                unreadable.push(record.file);
            }
            Ok(())
        })?;
        for number in unreadable {
            wal.keep(number);
        }
        wal.remove_through(through)?;
        self.counters.wal_records_replayed.add(report.records);
        self.counters.wal_bytes_torn.add(report.torn_bytes);
        self.counters.wal_corruptions.add(report.damaged.len() as u64);
        if report.torn_bytes > 0 {
            tracing::warn!(
                bytes = report.torn_bytes,
                "cut an unfinished write off the end of the log; it was not acknowledged"
            );
        }
        for damaged in &report.damaged {
            tracing::error!(
                file = damaged.name,
                bytes = damaged.lost_bytes,
                "a log file is damaged before its end; what could be read was, and the file is kept"
            );
        }
        Ok(wal)
    }

    /// Puts a record into the head, unless it cannot be read.
    fn replay_record(&self, record: &ReplayRecord) -> bool {
        let limits = self.limits(&record.tenant);
        let clock = &*self.config.clock;
        match self.ingest.replay(record, &limits, clock) {
            Ok(staged) => {
                self.counters.wal_entries_replayed.add(staged.outcome().entries);
                self.counters.wal_line_bytes_replayed.add(staged.outcome().line_bytes);
                let mut state = self.state.lock();
                state.head.append(&staged, clock.monotonic_nanos());
                self.memory.note_heads(state.head_bytes());
                true
            }
            Err(error) => {
                self.counters.wal_corruptions.add(1);
                tracing::error!(
                    file = record.file,
                    error = %error,
                    "a log record is intact but cannot be read; its file is kept"
                );
                false
            }
        }
    }
}

impl Place {
    /// The place a configuration names, created if absent and locked if it is a folder.
    fn of(location: &Location) -> Result<Self, Error> {
        match location {
            Location::Memory => {
                let objects = Objects::new(Arc::new(InMemory::new()), ObjectPath::default());
                Ok(Self { objects, log: None, lock: None, free_space: None })
            }
            Location::Folder(folder) => {
                let lock = FolderLock::acquire(folder)?;
                let objects = Objects::new(folder::open_objects(folder)?, ObjectPath::default());
                let log = Some(folder::open_log(&folder.join(WAL_FOLDER))?);
                Ok(Self { objects, log, lock: Some(lock), free_space: Some(folder::free_space(folder)) })
            }
            Location::Objects { store, prefix, wal_folder } => {
                let lock = wal_folder.as_deref().map(FolderLock::acquire).transpose()?;
                let log = wal_folder.as_deref().map(folder::open_log).transpose()?;
                let objects = Objects::new(Arc::clone(store), ObjectPath::from(prefix.as_str()));
                Ok(Self { objects, log, lock, free_space: None })
            }
        }
    }
}

fn check(config: &StoreConfig) -> Result<(), Error> {
    if config.chunk_bytes == 0 || config.chunk_bytes > MAX_CHUNK_BYTES {
        return Err(Error::Config { setting: "chunk_bytes", problem: "must be between 1 byte and 16 MiB" });
    }
    if matches!(config.location, Location::Objects { .. }) && config.delete_delay < DEFAULT_DELETE_DELAY {
        return Err(Error::Config { setting: "delete_delay", problem: "must be at least an hour for a bucket" });
    }
    if config.min_free_disk_bytes > 0 && !matches!(config.location, Location::Folder(_)) {
        return Err(Error::Config { setting: "min_free_disk_bytes", problem: "needs a store in a folder" });
    }
    if config.disk_cache.is_some() && !matches!(config.location, Location::Objects { .. }) {
        return Err(Error::Config { setting: "disk_cache", problem: "needs a store in a bucket" });
    }
    if config.head_max_bytes < config.flush_bytes {
        return Err(Error::Config { setting: "head_max_bytes", problem: "must not be less than flush_bytes" });
    }
    Ok(())
}

/// The disk cache, if one is configured. Nothing depends on it, so that a folder that cannot be used is no reason to stop.
async fn open_blocks(config: &StoreConfig) -> Option<Arc<BlockCache>> {
    let DiskCache { folder, max_bytes } = config.disk_cache.clone()?;
    let (free_space, memory) = (folder::free_space(&folder), config.memory.clone());
    let shown = folder.display().to_string();
    match blocking(move || BlockCache::open(&folder, max_bytes, free_space, memory)).await {
        Ok(blocks) => Some(blocks),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(tracing::field::display);
            tracing::error!(folder = shown, error = %error, cause, "goes without a disk cache");
            None
        }
    }
}

/// Opens the newest manifest and all live segments, and sets aside what cannot be read.
async fn find(objects: &Objects, cache: &Arc<SectionCache>, counters: &Counters) -> Result<Found, Error> {
    let (manifest, is_older) = newest_manifest(objects, counters).await?;
    let named: Vec<ObjectPath> = manifest.segments.iter().map(|s| objects.path(&s.path)).collect();
    let mut paths = named.clone();
    if is_older {
        // What the damaged manifest named is among these. Others may be too, but what is there twice counts once.
        let merged = objects.list("s").await?.into_iter().map(|object| object.location);
        paths.extend(merged.filter(|path| path.extension() == Some("seg") && !named.contains(path)));
    }
    let in_order = paths.len();
    for object in objects.list("w").await? {
        if is_behind(&object.location, &manifest) && !named.contains(&object.location) {
            paths.push(object.location);
        }
    }
    let found: Vec<Opened> = futures::stream::iter(paths)
        .map(|path| open_or_quarantine(objects, cache, counters, path))
        .buffered(OPENS_AT_ONCE)
        .try_collect()
        .await?;
    let mut opened: Vec<Option<Segment>> = Vec::with_capacity(found.len());
    let mut missing = Vec::new();
    for found in found {
        opened.push(match found {
            Opened::Segment(segment) => Some(*segment),
            Opened::Damaged => None,
            Opened::Missing(path, error) => {
                missing.push((path, error));
                None
            }
        });
    }
    check_missing(objects, counters, missing).await?;
    let mut behind: Vec<Segment> = opened.split_off(in_order).into_iter().flatten().collect();
    behind.sort_by_key(|segment| (segment.header.created, segment.header.sequence));
    let segments = opened.into_iter().flatten().chain(behind).map(Arc::new);
    Ok(Found { segments: segments.collect(), chain: Chain::of(manifest) })
}

/// Whether the object is a segment that the manifest does not know of.
fn is_behind(path: &ObjectPath, manifest: &Manifest) -> bool {
    let mut parts: Vec<_> = path.parts().collect();
    let sequence = parts.pop().and_then(|name| manifest::sequence_of(name.as_ref()));
    let writer = parts.pop().and_then(|name| Uuid::parse_str(name.as_ref()).ok());
    match (writer, sequence) {
        (Some(writer), Some(sequence)) => {
            manifest.folded.get(&WriterId(writer)).is_none_or(|&through| sequence > through)
        }
        _ => false,
    }
}

/// The newest manifest that can be read, and whether there was a newer one.
async fn newest_manifest(objects: &Objects, counters: &Counters) -> Result<(Manifest, bool), Error> {
    let mut found = objects.list("m").await?;
    let mut is_older = false;
    while let Some(object) = found.pop() {
        let path = object.location;
        if path.filename().and_then(manifest::number_of).is_none() {
            continue;
        }
        let bytes = objects.get(&path).await?;
        match Manifest::decode(&bytes) {
            Ok(manifest) => return Ok((manifest, is_older)),
            Err(source) => {
                quarantine(objects, counters, &path, &Error::Corrupt { object: path.to_string(), source }).await?;
                is_older = true;
            }
        }
    }
    Ok((Manifest::default(), is_older))
}

/// What became of opening a segment.
enum Opened {
    Segment(Box<Segment>),
    /// It was set aside.
    Damaged,
    /// The object store says that it is not there.
    Missing(ObjectPath, Error),
}

async fn open_or_quarantine(
    objects: &Objects,
    cache: &Arc<SectionCache>,
    counters: &Counters,
    path: ObjectPath,
) -> Result<Opened, Error> {
    match Segment::open(objects, cache, path.clone()).await {
        Ok(segment) => Ok(Opened::Segment(Box::new(segment))),
        Err(damage @ Error::Corrupt { .. }) => {
            quarantine(objects, counters, &path, &damage).await?;
            Ok(Opened::Damaged)
        }
        Err(error @ Error::Object { source: object_store::Error::NotFound { .. }, .. }) => {
            Ok(Opened::Missing(path, error))
        }
        Err(error) => Err(error),
    }
}

/// Makes sure that segments which cannot be found are gone.
///
/// They are left out from now on, also from what is published, so that they are not left out for an answer that is
/// wrong for a moment.
///
/// # Errors
///
/// What the object store said of a segment that it lists all the same.
async fn check_missing(objects: &Objects, counters: &Counters, missing: Vec<(ObjectPath, Error)>) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let mut listed = HashSet::new();
    for folder in ["s", "w"] {
        listed.extend(objects.list(folder).await?.into_iter().map(|object| object.location));
    }
    for (path, error) in missing {
        if listed.contains(&path) {
            return Err(error);
        }
        counters.segments_missing.add(1);
        tracing::error!(object = %path, "a segment that the manifest names is not there; its entries are missing");
    }
    Ok(())
}

/// Moves an object that cannot be read out of the way; it can be looked at, and put back, by hand.
pub(super) async fn quarantine(
    objects: &Objects,
    counters: &Counters,
    path: &ObjectPath,
    damage: &Error,
) -> Result<(), Error> {
    let target = objects.quarantine(path).await?;
    counters.objects_quarantined.add(1);
    tracing::error!(
        object = %path,
        moved_to = %target,
        error = %damage,
        cause = std::error::Error::source(damage).map(tracing::field::display),
        "set a damaged object aside; its entries are missing until it is repaired"
    );
    Ok(())
}
