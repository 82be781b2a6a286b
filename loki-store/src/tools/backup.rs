//! Copying a store to another place while it is being used, and back.
#![doc = include_str!("../format/backup.md")]
//!
//! # Why nothing is lost
//!
//! The log is read first, then the requests to delete, then the manifest, then the segments. An entry that was
//! acknowledged before the log is read is in the log, or in a segment already; segments stay until a manifest replaces
//! them by others with the same entries. When a segment goes while it is about to be copied, everything from the manifest
//! on is done again, with what is copied by then kept.

mod catalog;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use loki_core::Timestamp;
use object_store::ObjectStoreExt;
use serde::Serialize;

use super::progress::{Progress, Stage};
use super::reading::read_requests;
use super::site::{Site, Snapshot, is_gone};
use super::table::size;
use crate::error::Error;
use crate::manifest;
use crate::objects::PutNew;
use crate::wal::survey;
use catalog::{Catalog, CatalogEntry};
pub use restore::restore;

/// The object that lists what belongs to a backup.
pub const BACKUP_MARKER: &str = "backup.json";
/// The file inside the log's folder that names the log.
pub(super) const LOG_ID_FILE: &str = "id";
/// The file that a process locks which has a folder open.
const LOCK_FILE: &str = "LOCK";
/// Where copies of log files are.
const LOG_FOLDER: &str = "log/";
/// Where manifests are.
const MANIFEST_FOLDER: &str = "m/";
/// How often segments may be replaced while they are being copied.
const MAX_ATTEMPTS: usize = 16;
/// Objects copied at the same time.
const COPIES_AT_ONCE: usize = 4;
/// The first and last bytes of an object by which a copy of equal size is recognised that no list names: they hold
/// ids and checksums.
const ENDS_BYTES: u64 = 128;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The number of the manifest that was copied.
    pub manifest: u64,
    /// Objects of the backup, log files included.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were copied now; the others were there already.
    pub copied_objects: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Objects of earlier backups that were removed from this one.
    pub removed_objects: u64,
    /// What was copied of the log.
    pub log: LogCopy,
    /// Segments that the manifest names and that are not there.
    pub missing: Vec<String>,
    /// Manifests that cannot be read; they were copied as they are.
    pub damaged: Vec<String>,
}

/// What was copied of a log: pushes that are in no segment yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogCopy {
    /// Files.
    pub files: u64,
    /// Pushes in them.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The target holds something that is no backup.
    #[error("the target holds {object}, which no backup of ours put there")]
    Foreign {
        /// Such an object.
        object: String,
    },
    /// There is no finished backup.
    #[error("there is no finished backup here: {BACKUP_MARKER} is missing")]
    NoBackup,
    /// The list of what belongs to the backup cannot be read.
    #[error("{BACKUP_MARKER} cannot be read")]
    Catalog(#[source] serde_json::Error),
    /// The list was written by a newer version.
    #[error("{BACKUP_MARKER} has version {found}, the newest supported is {supported}")]
    Version {
        /// The version found.
        found: u32,
        /// The newest version this code reads.
        supported: u32,
    },
    /// A place to restore to holds something.
    #[error("the target is not empty: it holds {object}")]
    NotEmpty {
        /// Something that it holds.
        object: String,
    },
    /// There is nowhere to put the log.
    #[error("the backup has a log, and the target no folder for one: without it, entries would be lost")]
    NoLog,
    /// An object of the backup is not what was copied.
    #[error("{object} of the backup is damaged")]
    Damaged {
        /// The object.
        object: String,
    },
    /// Segments were replaced faster than they could be copied.
    #[error("the store changed {MAX_ATTEMPTS} times while it was being copied; try again")]
    Unsteady,
    /// A store could not be read or written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Copies a store, of which a server may be making use, to a place that is empty or holds an earlier backup of it.
///
/// Objects that are there already are not copied again. The backup has every entry that was acknowledged before this
/// began, unflushed ones too if `source` has a log.
///
/// # Errors
///
/// See [`BackupError`]. What was copied by then is used by the next attempt; an earlier backup stays intact.
pub async fn backup(
    source: &Site,
    target: &Site,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<BackupReport, BackupError> {
    let _lock = target.lock()?;
    let found = list(target).await?;
    let before = match Catalog::read(target).await? {
        Some(before) => before,
        // Whatever lies here, we must not touch it.
        None => match found.first_key_value() {
            Some((object, _)) => return Err(BackupError::Foreign { object: object.clone() }),
            None => Catalog::default(),
        },
    };
    let log = read_log(source)?;
    let requests = read_requests(source).await?;
    let mut report = BackupReport { log: log.copy, ..BackupReport::default() };
    let ours = before.names().map(str::to_owned).collect();
    let mut copier = Copier { source, target, before: &before, found: &found, ours, entries: BTreeMap::new() };
    let at_hand: Vec<(String, Bytes)> = log.files.into_iter().chain(requests).collect();
    copier.announce(at_hand.iter().map(|(path, _)| path)).await?;
    for (path, bytes) in at_hand {
        copier.put(&path, bytes, &mut report).await?;
    }
    let snapshot = copier.copy_all(&mut report, progress).await?;
    report.manifest = snapshot.manifest.number;
    let Copier { entries, ours, .. } = copier;
    report.objects = entries.len() as u64;
    report.bytes = entries.values().map(|entry| entry.bytes).sum();
    let leftovers: Vec<String> = ours.into_iter().filter(|path| !entries.contains_key(path)).collect();
    let catalog = Catalog::of(entries, now, snapshot.manifest.number).with_others(leftovers.clone());
    catalog.write(target).await?;
    report.removed_objects = remove(target, &leftovers).await?;
    catalog.with_others(Vec::new()).write(target).await?;
    Ok(report)
}

/// What a place holds, by name.
async fn list(site: &Site) -> Result<BTreeMap<String, u64>, Error> {
    let (store, prefix) = site.raw();
    let prefix = (!prefix.as_ref().is_empty()).then_some(prefix);
    let failed = |source| Error::Object { action: "list", object: BACKUP_MARKER.to_owned(), source };
    let found: Vec<object_store::ObjectMeta> = store.list(prefix).try_collect().await.map_err(failed)?;
    let named = found.into_iter().map(|object| (site.objects.relative(&object.location), object.size));
    Ok(named.filter(|(name, _)| name != LOCK_FILE && name != BACKUP_MARKER).collect())
}

/// Removes what earlier backups had, and attempts at them, and this one does not; returns how many were there.
async fn remove(target: &Site, leftovers: &[String]) -> Result<u64, BackupError> {
    let found = list(target).await?;
    let mut removed = 0;
    for name in leftovers.iter().filter(|name| found.contains_key(*name)) {
        target.objects.delete(&target.objects.path(name)).await?;
        removed += 1;
    }
    Ok(removed)
}

/// The intact part of the log.
struct LogFiles {
    files: Vec<(String, Bytes)>,
    copy: LogCopy,
}

fn read_log(source: &Site) -> Result<LogFiles, Error> {
    let mut log = LogFiles { files: Vec::new(), copy: LogCopy::default() };
    let Some(files) = &source.log else {
        return Ok(log);
    };
    for file in survey(&**files, |_| ())? {
        // Behind what is intact a write is under way, of which nobody was told. Damaged files are copied as they are.
        let bytes = file.bytes.slice(..file.intact_bytes as usize);
        log.copy.files += 1;
        log.copy.records += file.records;
        log.copy.bytes += bytes.len() as u64;
        log.files.push((format!("{LOG_FOLDER}{}.{}", file.name, bytes.len()), bytes));
    }
    if let Ok(id) = files.read(LOG_ID_FILE) {
        log.files.push((format!("{LOG_FOLDER}{LOG_ID_FILE}.{}", id.len()), id.into()));
    }
    Ok(log)
}

/// Copies objects that are not there yet.
struct Copier<'a> {
    source: &'a Site,
    target: &'a Site,
    before: &'a Catalog,
    /// What was there at the beginning.
    found: &'a BTreeMap<String, u64>,
    /// What we have put there, now or earlier, or were about to.
    ours: BTreeSet<String>,
    /// What belongs to the backup.
    entries: BTreeMap<String, CatalogEntry>,
}

impl Copier<'_> {
    /// Notes what is about to be copied where the next attempt finds it. What nobody announced is never removed.
    async fn announce(&mut self, paths: impl Iterator<Item = &String>) -> Result<(), BackupError> {
        let known = self.ours.len();
        self.ours.extend(paths.cloned());
        if self.ours.len() > known || known == 0 {
            let others = self.ours.iter().filter(|path| self.before.entry(path).is_none()).cloned().collect();
            self.before.clone().with_others(others).write(self.target).await?;
        }
        Ok(())
    }

    /// Copies the manifest and all live segments, as of one moment.
    async fn copy_all(&mut self, report: &mut BackupReport, progress: &dyn Progress) -> Result<Snapshot, BackupError> {
        let mut is_begun = false;
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self.source.snapshot().await?;
            if !is_begun {
                progress.begin(Stage::Copying, Some(snapshot.live_bytes()));
                is_begun = true;
            }
            if self.copy_snapshot(&snapshot, report, progress).await? {
                progress.end();
                return Ok(snapshot);
            }
        }
        Err(BackupError::Unsteady)
    }

    /// Copies what a snapshot names; says whether that was possible.
    async fn copy_snapshot(
        &mut self,
        snapshot: &Snapshot,
        report: &mut BackupReport,
        progress: &dyn Progress,
    ) -> Result<bool, BackupError> {
        let number = snapshot.manifest.number;
        // Without a damaged manifest nobody would know of the segments that it named.
        let damaged = snapshot.unreadable.iter().map(|(path, _)| path.clone());
        let manifests = (number > 0).then(|| manifest::path(number)).into_iter().chain(damaged);
        let live = snapshot.live.iter().map(|live| live.path.clone());
        let wanted: Vec<String> = live.chain(manifests).collect();
        self.announce(wanted.iter()).await?;
        let copier = &*self;
        let copies = futures::stream::iter(wanted.iter().filter(|path| !copier.entries.contains_key(*path)))
            .map(|path| async move { Ok::<_, BackupError>((path, copier.copy(path).await?)) })
            .buffer_unordered(COPIES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let mut missing = Vec::new();
        for (path, copied) in copies {
            match copied {
                Some((entry, is_new)) => {
                    progress.advance(entry.bytes);
                    self.note(entry, is_new, report);
                }
                None => missing.push(path.clone()),
            }
        }
        if !missing.is_empty() && self.source.snapshot().await?.manifest.number != number {
            return Ok(false);
        }
        // No manifest has replaced them, so they were lost before.
        report.missing = missing;
        report.damaged = snapshot.unreadable.iter().map(|(path, _)| path.clone()).collect();
        // Segments of an earlier attempt belong to a manifest that does not count any more.
        let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        let is_segment = |path: &str| ["w/", "s/", MANIFEST_FOLDER].iter().any(|folder| path.starts_with(folder));
        self.entries.retain(|path, _| !is_segment(path) || wanted.contains(path.as_str()));
        Ok(true)
    }

    /// Copies an object, unless it is there; `None` if the source does not have it.
    async fn copy(&self, path: &str) -> Result<Option<(CatalogEntry, bool)>, BackupError> {
        let (there, here) = (self.source.objects.path(path), self.target.objects.path(path));
        // Segments have names that nobody else gives; manifests are numbered, by a store that was restored from another
        // backup, too.
        let is_unique = !path.starts_with(MANIFEST_FOLDER);
        if is_unique
            && let Some(known) = self.before.entry(path)
            && self.found.get(path) == Some(&known.bytes)
        {
            return Ok(Some((known.clone(), false)));
        }
        if self.found.contains_key(path) && self.have_equal_ends(path).await? {
            let bytes = self.target.objects.get(&here).await?;
            return Ok(Some((CatalogEntry::of(path, &bytes), false)));
        }
        match self.source.objects.get(&there).await {
            Ok(bytes) => {
                let entry = CatalogEntry::of(path, &bytes);
                self.create(path, bytes).await?;
                Ok(Some((entry, true)))
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates what is at hand, unless it is there.
    async fn put(&mut self, path: &str, bytes: Bytes, report: &mut BackupReport) -> Result<(), BackupError> {
        let entry = CatalogEntry::of(path, &bytes);
        let is_known = self.before.entry(path) == Some(&entry);
        let is_new = !(is_known && self.found.get(path) == Some(&entry.bytes));
        if is_new {
            self.create(path, bytes).await?;
        }
        self.note(entry, is_new, report);
        Ok(())
    }

    /// Creates an object, or finds the same one.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), BackupError> {
        let here = self.target.objects.path(path);
        if self.target.objects.put_new(&here, bytes.clone()).await? == PutNew::Exists
            && self.target.objects.get(&here).await? != bytes
        {
            // A torn or damaged copy, or of a store that went another way since an earlier backup.
            let (store, _) = self.target.raw();
            let failed = |source| Error::Object { action: "replace", object: path.to_owned(), source };
            store.put(&here, bytes.into()).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Whether source and target agree in size, beginning and end of an object.
    async fn have_equal_ends(&self, path: &str) -> Result<bool, BackupError> {
        let mut ends = Vec::new();
        for site in [self.source, self.target] {
            let path = site.objects.path(path);
            let (tail, size) = match site.objects.get_suffix(&path, ENDS_BYTES).await {
                Ok(found) => found,
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let head = site.objects.get_range(&path, 0..size.min(ENDS_BYTES)).await?;
            ends.push((size, head, tail));
        }
        Ok(ends.windows(2).all(|pair| pair[0] == pair[1]))
    }

    fn note(&mut self, entry: CatalogEntry, is_new: bool, report: &mut BackupReport) {
        if is_new {
            report.copied_objects += 1;
            report.copied_bytes += entry.bytes;
        }
        self.entries.insert(entry.path.clone(), entry);
    }
}

impl fmt::Display for BackupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for missing in &self.missing {
            writeln!(f, "missing: {missing} is named by the manifest and not there; its entries were lost before")?;
        }
        for damaged in &self.damaged {
            writeln!(f, "damaged: {damaged} cannot be read; the segments that it may name were copied")?;
        }
        let Self { manifest, objects, copied_objects, removed_objects, log, .. } = self;
        let (bytes, copied) = (size(self.bytes), size(self.copied_bytes));
        writeln!(f, "manifest {manifest}: {objects} objects, {bytes}")?;
        writeln!(f, "copied {copied_objects} objects, {copied}; removed {removed_objects}")?;
        writeln!(f, "log: {} files, {} records, {}", log.files, log.records, size(log.bytes))
    }
}
