//! Making a manifest of the segments that are there.
//!
//! A segment says what it is: id, writer, sequence, level, log, time of writing; tenants, entries and times. What only a
//! manifest knows is which segments were replaced by others. Where the newest manifest that can be read, or nothing,
//! knows that, replaced segments that are still there are named again. For entries this changes nothing, since those
//! that are stored twice count once. Entries that a request to delete had removed would be back, though: segments of
//! before such a request was processed are therefore written again without them.

mod rewrite;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use loki_core::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::inspect::in_full;
use super::progress::{Progress, Stage};
use super::reading::read_requests;
use super::site::{Site, Snapshot, flushed, is_merged};
use super::table::size;
use crate::deletes::{Deletion, ProcessedMark, StoredDelete};
use crate::error::Error;
use crate::manifest::{self, Manifest, ManifestSegment, ReplacedObject};
use crate::objects::PutNew;
use crate::segment::Segment;
use crate::store::describe;

/// How to go about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Whether to replace a manifest that can be read.
    pub force: bool,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// The number of the new manifest.
    pub manifest: u64,
    /// The number of the manifest that said what was replaced; zero if none could be read.
    pub guide: u64,
    /// Segments that the new manifest names.
    pub segments: u64,
    /// Their entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that are left out because a manifest says that others replaced them; they go in time.
    pub replaced: Vec<String>,
    /// Segments that were written again without entries that had been deleted.
    pub rewritten: Vec<String>,
    /// Objects that were moved to `quarantine/`, and why.
    pub set_aside: Vec<(String, String)>,
    /// Segments that a manifest names and that are not there.
    pub missing: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// Why nothing was repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// There is a manifest that can be read.
    #[error("manifest {number} can be read, so there is nothing to repair; force replaces it")]
    Readable {
        /// Its number.
        number: u64,
    },
    /// Somebody else published a manifest meanwhile.
    #[error("manifest {number} was published meanwhile: stop all servers that use this store")]
    Contended {
        /// Its number.
        number: u64,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Publishes a manifest that names all segments that can be read, except those that are known to be replaced.
///
/// No server may be using the store. In a folder that is made sure of; who keeps data in a bucket has to see to it for
/// all servers that do. Nothing is removed: what cannot be read, and manifests that do not count any more, are moved to
/// `quarantine/`.
///
/// # Errors
///
/// See [`RepairError`]; [`Error::Locked`] if a server has the folder open.
pub async fn repair(
    site: &Site,
    options: RepairOptions,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<RepairReport, RepairError> {
    let _lock = site.lock()?;
    let snapshot = site.snapshot().await?;
    let guide = &snapshot.manifest;
    if guide.number > 0 && snapshot.unreadable.is_empty() && !options.force {
        return Err(RepairError::Readable { number: guide.number });
    }
    let mut work = Work::new(site, &snapshot, options);
    let segments = work.open_all(progress).await?;
    work.report.missing = work.missing();
    let segments = work.hide_deleted(segments).await?;
    let manifest = work.manifest(&segments, now);
    work.report.manifest = manifest.number;
    work.report.segments = segments.len() as u64;
    work.report.entries = segments.iter().map(|segment| segment.rows()).sum();
    work.report.bytes = segments.iter().map(|segment| segment.size).sum();
    work.warn();
    if !options.dry_run {
        work.publish(&manifest).await?;
    }
    Ok(work.report)
}

/// A repair under way.
struct Work<'a> {
    site: &'a Site,
    snapshot: &'a Snapshot,
    options: RepairOptions,
    report: RepairReport,
    /// What is to be moved out of the way, and why.
    aside: Vec<(String, String)>,
    /// Segments that were written again.
    written: Vec<String>,
    /// Requests whose entries were removed, and when that was so.
    processed: Vec<(Arc<Deletion>, Timestamp)>,
    requests: usize,
}

impl<'a> Work<'a> {
    fn new(site: &'a Site, snapshot: &'a Snapshot, options: RepairOptions) -> Self {
        let report =
            RepairReport { guide: snapshot.manifest.number, dry_run: options.dry_run, ..RepairReport::default() };
        Self {
            site,
            snapshot,
            options,
            report,
            aside: Vec::new(),
            written: Vec::new(),
            processed: Vec::new(),
            requests: 0,
        }
    }

    /// Opens every segment that may be live, in order of arrival as far as that is known.
    async fn open_all(&mut self, progress: &dyn Progress) -> Result<Vec<Arc<Segment>>, Error> {
        let guide = &self.snapshot.manifest;
        let named: Vec<&str> = guide.segments.iter().map(|segment| segment.path.as_str()).collect();
        let replaced: HashSet<&str> = guide.replaced.iter().map(|object| object.path.as_str()).collect();
        let is_named: HashSet<&str> = named.iter().copied().collect();
        let is_folded = |path: &str| {
            flushed(path).is_some_and(|(writer, sequence)| guide.folded.get(&writer).is_some_and(|f| sequence <= *f))
        };
        let mut others = Vec::new();
        for path in self.snapshot.objects.keys().filter(|path| flushed(path).is_some() || is_merged(path)) {
            let path = path.as_str();
            if is_named.contains(path) {
                continue;
            }
            if replaced.contains(path) || is_folded(path) {
                self.report.replaced.push(path.to_owned());
            } else {
                others.push(path);
            }
        }
        let bytes = |path: &&str| self.snapshot.objects.get(*path).copied().unwrap_or(0);
        progress.begin(Stage::Reading, Some(named.iter().chain(&others).map(bytes).sum()));
        let mut segments = self.open(&named, progress).await?;
        let mut unnamed = self.open(&others, progress).await?;
        unnamed.sort_by_key(|segment| (segment.header.created, segment.header.level, segment.header.sequence));
        segments.extend(unnamed);
        progress.end();
        Ok(segments)
    }

    async fn open(&mut self, paths: &[&str], progress: &dyn Progress) -> Result<Vec<Arc<Segment>>, Error> {
        let mut segments = Vec::new();
        for path in paths {
            match self.site.segment(path).await {
                Ok(segment) if segment.header.object_path() == *path => segments.push(segment),
                Ok(segment) => {
                    self.aside.push(((*path).to_owned(), format!("it is segment {}", segment.header.object_path())));
                }
                Err(Error::Corrupt { source, .. }) => self.aside.push(((*path).to_owned(), in_full(&source))),
                Err(error) if super::site::is_gone(&error) => {}
                Err(error) => return Err(error),
            }
            progress.advance(self.snapshot.objects.get(*path).copied().unwrap_or(0));
        }
        Ok(segments)
    }

    fn missing(&self) -> Vec<String> {
        let named = self.snapshot.manifest.segments.iter();
        let missing = named.filter(|segment| !self.snapshot.objects.contains_key(&segment.path));
        missing.map(|segment| segment.path.clone()).collect()
    }

    /// Writes segments again that still have what was deleted.
    async fn hide_deleted(&mut self, segments: Vec<Arc<Segment>>) -> Result<Vec<Arc<Segment>>, Error> {
        self.read_requests().await?;
        let mut kept = Vec::new();
        for segment in segments {
            let concerned: Vec<Arc<Deletion>> = self.deletions_after(&segment).cloned().collect();
            if concerned.is_empty() || !rewrite::is_concerned(&segment, &concerned).await? {
                kept.push(segment);
                continue;
            }
            let path = segment.header.object_path();
            self.report.rewritten.push(path.clone());
            self.aside.push((path, "it has entries that were deleted, and was written again without them".to_owned()));
            if self.options.dry_run {
                kept.push(segment);
            } else {
                let written = rewrite::without(self.site, &segment, &concerned).await?;
                self.written.extend(written.iter().map(|segment| segment.header.object_path()));
                kept.extend(written);
            }
        }
        Ok(kept)
    }

    /// Requests of which everything was removed after a segment was written.
    fn deletions_after(&self, segment: &Segment) -> impl Iterator<Item = &Arc<Deletion>> {
        let created = segment.header.created;
        let tenants: Vec<_> = segment.footer.tenants.iter().map(|entry| entry.tenant.clone()).collect();
        let is_concerned = move |deletion: &Deletion, processed_at: Timestamp| {
            processed_at >= created && tenants.contains(&deletion.tenant)
        };
        let processed = self.processed.iter();
        processed.filter(move |(deletion, at)| is_concerned(deletion, *at)).map(|(deletion, _)| deletion)
    }

    async fn read_requests(&mut self) -> Result<(), Error> {
        let mut requests = BTreeMap::new();
        for (path, bytes) in read_requests(self.site).await? {
            let read = match path.rsplit_once('.') {
                Some((_, "del")) => StoredDelete::decode(&bytes).map(|stored| {
                    requests.insert((stored.tenant.clone(), stored.id.clone()), stored);
                }),
                Some((_, "done")) => ProcessedMark::decode(&bytes).map(|mark| {
                    let stored = requests.get(&(mark.tenant, mark.id)).cloned();
                    let deletion = stored.and_then(|stored| Deletion::new(stored).ok());
                    self.processed.extend(deletion.map(|deletion| (Arc::new(deletion), mark.processed_at)));
                }),
                _ => Ok(()),
            };
            if let Err(damage) = read {
                self.report.warnings.push(format!(
                    "{path} is damaged ({}): entries that it asks to delete may be visible again",
                    in_full(&damage)
                ));
            }
        }
        self.requests = requests.len();
        Ok(())
    }

    fn manifest(&self, segments: &[Arc<Segment>], now: Timestamp) -> Manifest {
        let guide = &self.snapshot.manifest;
        let (mut folded, mut logs) = (guide.folded.clone(), guide.logs.clone());
        let all = self.snapshot.objects.keys().filter_map(|path| flushed(path));
        for (writer, sequence) in all {
            let through = folded.entry(writer).or_default();
            *through = sequence.max(*through);
        }
        for header in segments.iter().map(|segment| &segment.header).filter(|header| header.level == 0) {
            let through = logs.entry(header.wal.log).or_default();
            *through = header.wal.through.max(*through);
        }
        logs.retain(|log, _| !log.is_nil());
        let mut replaced = guide.replaced.clone();
        let known: HashSet<&str> = guide.replaced.iter().map(|object| object.path.as_str()).collect();
        for path in self.report.replaced.iter().filter(|path| !known.contains(path.as_str())) {
            let size = self.snapshot.objects.get(path).copied().unwrap_or(0);
            replaced.push(ReplacedObject { path: path.clone(), size, at: now });
        }
        let segments: Vec<ManifestSegment> = segments.iter().map(|segment| describe(segment)).collect();
        Manifest { number: self.last_number() + 1, id: Uuid::new_v4(), segments, folded, logs, replaced }
    }

    /// The highest number that any manifest has or had, as far as that can be seen.
    fn last_number(&self) -> u64 {
        let names = self.snapshot.objects.keys();
        let numbers = names.filter_map(|path| {
            let name = path.strip_prefix("m/").or_else(|| path.strip_prefix("quarantine/m_"))?;
            manifest::number_of(name)
        });
        numbers.max().unwrap_or(0)
    }

    fn warn(&mut self) {
        let warnings = &mut self.report.warnings;
        if self.report.guide == 0 && self.report.segments > 0 {
            warnings.push(
                "no manifest could be read: segments that retention or lack of space had dropped, and that were not \
                 deleted yet, are back until they are dropped again"
                    .to_owned(),
            );
            if self.requests == 0 {
                warnings.push(
                    "there are no requests to delete entries: if there were any, what they deleted may be visible again"
                        .to_owned(),
                );
            }
        }
        if !self.report.missing.is_empty() {
            warnings.push("entries of the missing segments are lost, unless there is a backup".to_owned());
        }
    }

    /// Publishes the manifest, then removes what does not count any more, of which there are copies in `quarantine/` by
    /// then: a server that begins meanwhile might take it for garbage. If another manifest was published first, all is left
    /// as it was; other failures may leave copies behind, and segments that no manifest names.
    async fn publish(&mut self, manifest: &Manifest) -> Result<(), RepairError> {
        let objects = &self.site.objects;
        let unreadable = self.snapshot.unreadable.iter().map(|(path, error)| (path.clone(), in_full(error)));
        let guide = self.snapshot.manifest.number;
        let forced = (self.options.force && guide > 0).then(|| (manifest::path(guide), "it was replaced".to_owned()));
        let segments = std::mem::take(&mut self.aside);
        let segments = segments.into_iter().filter(|(path, _)| self.snapshot.objects.contains_key(path));
        let mut copied = Vec::new();
        for (path, reason) in segments.chain(unreadable).chain(forced) {
            let copy = objects.copy_aside(&objects.path(&path)).await?;
            copied.push((path, objects.relative(&copy), reason));
        }
        let path = objects.path(&manifest::path(manifest.number));
        if objects.put_new(&path, manifest.encode()).await? == PutNew::Exists
            && !Manifest::decode(&objects.get(&path).await?).is_ok_and(|found| found.id == manifest.id)
        {
            let ours = copied.into_iter().map(|(_, copy, _)| copy).chain(std::mem::take(&mut self.written));
            let (_, removed) = objects.delete_all(&ours.collect::<Vec<_>>()).await;
            removed?;
            return Err(RepairError::Contended { number: manifest.number });
        }
        for (path, copy, reason) in copied {
            objects.delete(&objects.path(&path)).await?;
            self.report.set_aside.push((copy, reason));
        }
        Ok(())
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "WARNING: {warning}")?;
        }
        for (what, paths) in [
            ("missing", &self.missing),
            ("left out, replaced by others", &self.replaced),
            ("written again without deleted entries", &self.rewritten),
        ] {
            for path in paths {
                writeln!(f, "{what}: {path}")?;
            }
        }
        for (path, reason) in &self.set_aside {
            writeln!(f, "set aside: {path}: {reason}")?;
        }
        let would = if self.dry_run { "would name" } else { "names" };
        let Self { manifest, segments, entries, .. } = self;
        writeln!(f, "manifest {manifest} {would} {segments} segments, {entries} entries, {}", size(self.bytes))
    }
}
