//! Where a store lies, found without opening it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use uuid::Uuid;

use crate::cache::SectionCache;
use crate::config::Location;
use crate::error::Error;
use crate::lock::FolderLock;
use crate::manifest::{self, Manifest, ManifestSegment};
use crate::objects::Objects;
use crate::querier::Reach;
use crate::segment::{Segment, WriterId};
use crate::wal::{Files, FolderFiles};

/// The folder of the log inside a data folder.
const WAL_FOLDER: &str = "wal";
/// What is said of a place without a store.
pub(super) const NO_STORE: &str = "there is no store here";
/// How often a manifest may change while the objects are listed.
const MAX_SNAPSHOT_ATTEMPTS: usize = 16;
/// Decoded parts of segments are used once, so that little is kept.
const CACHE_BYTES: u64 = 1 << 20;
/// Where objects lie that belong to a store.
const OBJECT_FOLDERS: [&str; 5] = ["d", "m", "quarantine", "s", "w"];

/// The objects and the log of a store, which is not opened for this.
pub struct Site {
    pub(super) objects: Objects,
    /// The files of the log, if there is one.
    pub(super) log: Option<Arc<dyn Files>>,
    /// The folder that a process locks which has the store open.
    lock_folder: Option<PathBuf>,
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    reach: Reach,
}

/// What is there, as of one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The newest that can be read; an empty one if there is none.
    pub(super) manifest: Manifest,
    /// Manifests that cannot be read, and why.
    pub(super) unreadable: Vec<(String, Error)>,
    /// In order of arrival, as far as that is known.
    pub(super) live: Vec<LiveSegment>,
    /// All objects with their sizes.
    pub(super) objects: BTreeMap<String, u64>,
}

/// A segment that a store would serve.
#[derive(Clone, Debug)]
pub(super) struct LiveSegment {
    pub(super) path: String,
    /// What the manifest says of it; `None` if it was flushed after the manifest was written.
    pub(super) listed: Option<ManifestSegment>,
}

impl Site {
    /// Finds a store; makes nothing, locks nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a folder is not there, [`Error::Config`] for a store in memory, which nobody can find.
    pub fn of(location: &Location) -> Result<Self, Error> {
        let site = match location {
            Location::Memory => Err(Error::Config { setting: "location", problem: "names no store that can be found" }),
            Location::Folder(folder) => {
                let store = LocalFileSystem::new_with_prefix(folder).map_err(|source| Error::Object {
                    action: "open",
                    object: folder.display().to_string(),
                    source,
                })?;
                let store = Arc::new(store.with_fsync(true).with_automatic_cleanup(true));
                Self::new(store, ObjectPath::default(), Some(&folder.join(WAL_FOLDER)), Some(folder))
            }
            Location::Objects { store, prefix, wal_folder } => {
                let wal_folder = wal_folder.as_deref();
                Self::new(Arc::clone(store), ObjectPath::from(prefix.as_str()), wal_folder, wal_folder)
            }
        }?;
        Ok(Self { reach: Reach::of(location), ..site })
    }

    /// Makes the folders of a store that is to be restored, and finds it.
    pub fn create(location: &Location) -> Result<Self, Error> {
        match location {
            Location::Folder(folder) => create_folder(&folder.join(WAL_FOLDER))?,
            Location::Objects { wal_folder: Some(folder), .. } => create_folder(folder)?,
            Location::Objects { .. } | Location::Memory => {}
        }
        Self::of(location)
    }

    /// Makes the folder that a store is to be backed up to, and finds it.
    pub fn create_for_backup(location: &Location) -> Result<Self, Error> {
        if let Location::Folder(folder) = location {
            create_folder(folder)?;
        }
        Self::of(location)
    }

    fn new(
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        wal_folder: Option<&Path>,
        lock_folder: Option<&Path>,
    ) -> Result<Self, Error> {
        let open = |folder: &Path| {
            let files = FolderFiles::open(folder);
            let files = files.map_err(|source| Error::Io { action: "open", path: folder.to_owned(), source })?;
            Ok::<Arc<dyn Files>, Error>(Arc::new(files))
        };
        let log = wal_folder.filter(|folder| folder.is_dir()).map(open).transpose()?;
        Ok(Self::at(store, prefix, log, lock_folder.map(Path::to_owned)))
    }

    /// A site of the caller's making.
    pub(super) fn at(
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        log: Option<Arc<dyn Files>>,
        lock_folder: Option<PathBuf>,
    ) -> Self {
        let objects = Objects::new(Arc::clone(&store), prefix.clone());
        Self { objects, log, lock_folder, store, prefix, reach: Reach::little() }
    }

    /// How far those who read all of it read ahead.
    pub(super) const fn reach(&self) -> Reach {
        self.reach
    }

    /// Keeps everybody else from opening the store, if it is one that is opened by one process alone.
    pub(super) fn lock(&self) -> Result<Option<FolderLock>, Error> {
        self.lock_folder.as_deref().map(FolderLock::acquire).transpose()
    }

    /// The store and the path below which everything lies.
    pub(super) fn raw(&self) -> (&Arc<dyn ObjectStore>, &ObjectPath) {
        (&self.store, &self.prefix)
    }

    /// The names of everything below the prefix, whatever it is.
    pub(super) async fn all_names(&self) -> Result<Vec<String>, Error> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let found: Vec<_> = self.store.list(prefix).try_collect().await.map_err(|source| Error::Object {
            action: "list",
            object: self.prefix.to_string(),
            source,
        })?;
        Ok(found.iter().map(|object| self.objects.relative(&object.location)).collect())
    }

    /// What is there. While a server is at work, this is repeated until it has not published a manifest meanwhile.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.try_snapshot().await {
                Ok(Some(snapshot)) => return Ok(snapshot),
                Err(error) if !is_gone(&error) || attempts >= MAX_SNAPSHOT_ATTEMPTS => return Err(error),
                Ok(None) if attempts >= MAX_SNAPSHOT_ATTEMPTS => {
                    return Err(Error::Config { setting: "store", problem: "changes too fast to be looked at" });
                }
                Ok(None) | Err(_) => {}
            }
        }
    }

    async fn try_snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let (manifest, unreadable) = self.newest_manifest().await?;
        let mut objects = BTreeMap::new();
        for folder in OBJECT_FOLDERS {
            let found = self.objects.list(folder).await?;
            objects.extend(found.into_iter().map(|object| (self.objects.relative(&object.location), object.size)));
        }
        // A segment goes only after a manifest has replaced it.
        let newest = objects.keys().filter_map(|path| manifest::number_of(path.strip_prefix("m/")?)).max();
        let looked_at = unreadable.iter().filter_map(|(path, _)| manifest::number_of(path.strip_prefix("m/")?)).max();
        if newest.unwrap_or(0) > looked_at.unwrap_or(0).max(manifest.number) {
            return Ok(None);
        }
        let mut live: Vec<LiveSegment> = manifest.segments.iter().map(LiveSegment::named).collect();
        let named: std::collections::HashSet<&str> = manifest.segments.iter().map(|s| s.path.as_str()).collect();
        let is_guessed = !unreadable.is_empty();
        let unnamed = objects.keys().filter(|path| {
            let is_live = is_behind(path, &manifest) || (is_guessed && is_merged(path));
            is_live && !named.contains(path.as_str())
        });
        live.extend(unnamed.map(|path| LiveSegment { path: path.clone(), listed: None }));
        Ok(Some(Snapshot { manifest, unreadable, live, objects }))
    }

    /// The newest manifest that can be read, and newer ones that cannot.
    async fn newest_manifest(&self) -> Result<(Manifest, Vec<(String, Error)>), Error> {
        let mut unreadable = Vec::new();
        for object in self.objects.list("m").await?.into_iter().rev() {
            let path = object.location;
            if path.filename().and_then(manifest::number_of).is_none() {
                continue;
            }
            match Manifest::decode(&self.objects.get(&path).await?) {
                Ok(manifest) => return Ok((manifest, unreadable)),
                Err(source) => {
                    let error = Error::Corrupt { object: path.to_string(), source };
                    unreadable.push((self.objects.relative(&path), error));
                }
            }
        }
        Ok((Manifest::default(), unreadable))
    }

    /// Whether nothing says that there is, or ever was, a store.
    pub(super) fn is_unused(&self, snapshot: &Snapshot) -> bool {
        snapshot.objects.is_empty() && self.log.is_none()
    }

    /// Opens a segment by its name below the prefix.
    pub(super) async fn segment(&self, path: &str) -> Result<Arc<Segment>, Error> {
        let cache = Arc::new(SectionCache::new(CACHE_BYTES));
        Ok(Arc::new(Segment::open(&self.objects, &cache, self.objects.path(path)).await?))
    }
}

impl LiveSegment {
    fn named(listed: &ManifestSegment) -> Self {
        Self { path: listed.path.clone(), listed: Some(listed.clone()) }
    }
}

impl Snapshot {
    /// Bytes of all live segments that are there.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live.iter().filter_map(|live| self.objects.get(&live.path)).sum()
    }

    /// Segments and manifests that no reader needs, and that the manifest does not know as replaced.
    pub(super) fn orphans(&self) -> Vec<(&str, u64)> {
        let live = self.live.iter().map(|live| live.path.as_str());
        let replaced = self.manifest.replaced.iter().map(|object| object.path.as_str());
        let known: std::collections::HashSet<&str> = live.chain(replaced).collect();
        let is_orphan = |path: &str| (flushed(path).is_some() || is_merged(path)) && !known.contains(path);
        let orphans = self.objects.iter().filter(|(path, _)| is_orphan(path));
        orphans.map(|(path, size)| (path.as_str(), *size)).collect()
    }
}

fn create_folder(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "create", path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)
}

/// Whether an object has gone.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Object { source: object_store::Error::NotFound { .. }, .. })
}

/// Writer and sequence of a segment as it was flushed, by its name below the prefix.
pub(super) fn flushed(path: &str) -> Option<(WriterId, u64)> {
    let (writer, name) = path.strip_prefix("w/")?.split_once('/')?;
    Some((WriterId(Uuid::try_parse(writer).ok()?), manifest::sequence_of(name)?))
}

/// Whether this is the name of a segment that was made by merging others.
pub(super) fn is_merged(path: &str) -> bool {
    let name = path.strip_prefix("s/").and_then(|name| name.strip_suffix(".seg"));
    name.is_some_and(|id| Uuid::try_parse(id).is_ok())
}

fn is_behind(path: &str, manifest: &Manifest) -> bool {
    flushed(path).is_some_and(|(writer, sequence)| manifest.folded.get(&writer).is_none_or(|&folded| sequence > folded))
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("objects", &self.objects).finish_non_exhaustive()
    }
}
