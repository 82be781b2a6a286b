//! What a store consists of, and how much room each part of it takes.

mod read;
mod streams;
mod text;

pub(super) use read::{groups, section_name};

use std::collections::BTreeMap;

use loki_core::Timestamp;
use serde::Serialize;

use super::progress::{Progress, Stage};
use super::reading::read_objects;
use super::site::{NO_STORE, Site, Snapshot};
use super::table::{serialize_optional_time, serialize_time};
use crate::config::LimitsSource;
use crate::deletes::{ProcessedMark, StoredDelete};
use crate::error::Error;
use crate::tenant::TenantId;
use crate::wal::survey;

/// What is to be looked at.
#[derive(Clone, Default)]
pub struct InspectOptions {
    /// Whether to work out how much each stream takes.
    pub streams: bool,
    /// The id of a segment whose chunks are to be listed.
    pub segment: Option<String>,
    /// Whose retention is to be shown; it is none of what a store keeps.
    pub limits: Option<LimitsSource>,
}

/// What a store consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StoreReport {
    /// The number of the newest manifest that can be read; zero if there is none.
    pub manifest: u64,
    /// Manifests and requests to delete that cannot be read, and why.
    pub problems: Vec<String>,
    /// The live segments together, by level.
    pub levels: Vec<LevelReport>,
    /// What is of whom.
    pub tenants: Vec<TenantReport>,
    /// The live segments, in order of arrival.
    pub segments: Vec<SegmentReport>,
    /// All sections together.
    pub sections: Vec<SectionReport>,
    /// All columns of chunks together.
    pub columns: Vec<ColumnReport>,
    /// The log, if there is one at this place.
    pub log: Option<LogReport>,
    /// Objects that a merge, retention or lack of space took out of use, to be deleted in time.
    pub replaced_objects: u64,
    /// Their bytes.
    pub replaced_bytes: u64,
    /// Segments that nothing names; the store deletes them in time.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Requests to delete that hide entries.
    pub deletes_waiting: u64,
    /// Requests to delete of which everything is gone.
    pub deletes_processed: u64,
    /// How long entries are kept, if limits were given.
    pub retention: Vec<RetentionReport>,
    /// How much each stream takes, if that was asked for; the largest first.
    pub streams: Vec<StreamReport>,
    /// The id of the segment that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Its chunks.
    pub chunks: Vec<ChunkReport>,
}

/// The live segments of a level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LevelReport {
    /// The level: 0 as flushed, 1 merged, 2 merged by day.
    pub level: u8,
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
}

/// What is of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantReport {
    /// Whose.
    pub tenant: String,
    /// Segments with entries of the tenant.
    pub segments: u64,
    /// Entries, of which some may be in two segments until these are merged.
    pub entries: u64,
    /// Bytes of lines.
    pub line_bytes: u64,
    /// Bytes of names and values of structured metadata.
    pub metadata_bytes: u64,
    /// Bytes of chunks and sections.
    pub stored_bytes: u64,
    /// The time of the first entry.
    #[serde(serialize_with = "serialize_time")]
    pub first: Timestamp,
    /// The time of the last entry.
    #[serde(serialize_with = "serialize_time")]
    pub last: Timestamp,
}

/// A live segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SegmentReport {
    /// Its id; empty if it cannot be read.
    pub id: String,
    /// Its object, below the store's prefix.
    pub path: String,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// Whether the manifest names it. If not, it was flushed afterwards.
    pub is_in_manifest: bool,
    /// Its level.
    pub level: u8,
    /// Its bytes.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Streams of all tenants.
    pub streams: u64,
    /// Chunks.
    pub chunks: u64,
    /// When it was written.
    #[serde(serialize_with = "serialize_optional_time")]
    pub created: Option<Timestamp>,
    /// The time of the first entry.
    #[serde(serialize_with = "serialize_optional_time")]
    pub first: Option<Timestamp>,
    /// The time of the last entry.
    #[serde(serialize_with = "serialize_optional_time")]
    pub last: Option<Timestamp>,
    /// Whose entries it holds.
    pub tenants: Vec<String>,
    /// Its sections, those of all tenants together.
    pub sections: Vec<SectionReport>,
    /// The columns of its chunks.
    pub columns: Vec<ColumnReport>,
}

/// A kind of section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionReport {
    /// What it holds.
    pub section: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A column of chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnReport {
    /// Which.
    pub column: String,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// Bytes once decompressed.
    pub raw_bytes: u64,
}

/// A chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChunkReport {
    /// Whose.
    pub tenant: String,
    /// Its place in the chunk table.
    pub number: u64,
    /// Where it begins in the segment.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of lines.
    pub line_bytes: u64,
    /// The ordinal of its first stream.
    pub first_stream: u32,
    /// The ordinal of its last stream.
    pub last_stream: u32,
    /// The time of its first entry.
    #[serde(serialize_with = "serialize_time")]
    pub first: Timestamp,
    /// The time of its last entry.
    #[serde(serialize_with = "serialize_time")]
    pub last: Timestamp,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// Its columns.
    pub columns: Vec<ColumnReport>,
}

/// How much a stream takes.
///
/// Streams share chunks, which are compressed as a whole. What a stream is said to take of a chunk is the chunk's size
/// times the stream's share of the bytes of lines in it, counting a byte for every line besides; so the sum over all
/// streams is right, and a stream that compresses unlike its neighbours is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub labels: String,
    /// Entries, of which some may be in two segments until these are merged.
    pub entries: u64,
    /// Bytes of lines.
    pub line_bytes: u64,
    /// Bytes of its share of chunks, nearly.
    pub stored_bytes: u64,
}

/// A log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Pushes in them.
    pub records: u64,
    /// Bytes that are no record, at the end, where a write is under way or was interrupted.
    pub unfinished_bytes: u64,
    /// Bytes that are no record elsewhere.
    pub damaged_bytes: u64,
    /// Files that were set aside because they are damaged.
    pub files_set_aside: u64,
}

/// How long entries of a tenant are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionReport {
    /// Whose.
    pub tenant: String,
    /// In seconds; zero is for ever.
    pub period_seconds: u64,
    /// Rules for some streams: selector, and seconds.
    pub rules: Vec<(String, u64)>,
}

/// Looks at a store.
///
/// Segments that cannot be read are listed with the reason. Reads every chunk's columns, so it takes the time that
/// reading all of the store takes.
///
/// # Errors
///
/// What the file system or the object store answered when what is there could not be found out.
pub async fn inspect(site: &Site, options: &InspectOptions, progress: &dyn Progress) -> Result<StoreReport, Error> {
    let snapshot = site.snapshot().await?;
    let mut report = StoreReport { manifest: snapshot.manifest.number, ..StoreReport::default() };
    report.problems = snapshot.unreadable.iter().map(|(_, error)| in_full(error)).collect();
    if site.is_unused(&snapshot) {
        report.problems.push(NO_STORE.to_owned());
    }
    count_unused(&snapshot, &mut report);
    read_deletes(site, &snapshot, &mut report).await?;
    if let Some(files) = &site.log {
        report.log = Some(read_log(&**files)?);
    }
    progress.begin(Stage::Reading, Some(snapshot.live_bytes()));
    let mut totals = read::Totals::default();
    for live in &snapshot.live {
        let segment = read::read_segment(site, &snapshot, live, options, &mut totals, progress).await;
        report.segments.push(segment);
    }
    progress.end();
    totals.finish(&mut report);
    if let Some(id) = &options.segment
        && !report.segments.iter().any(|segment| segment.id == *id)
    {
        report.problems.push(format!("there is no live segment {id} that can be read"));
    }
    report.segment.clone_from(&options.segment);
    if let Some(limits) = &options.limits {
        report.retention = report.tenants.iter().filter_map(|of| retention(&of.tenant, limits)).collect();
    }
    Ok(report)
}

/// An error with all its causes.
pub(super) fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn count_unused(snapshot: &Snapshot, report: &mut StoreReport) {
    let replaced = snapshot.manifest.replaced.iter().filter_map(|object| snapshot.objects.get(&object.path));
    for bytes in replaced {
        report.replaced_objects += 1;
        report.replaced_bytes += bytes;
    }
    for (_, bytes) in snapshot.orphans() {
        report.orphans += 1;
        report.orphan_bytes += bytes;
    }
}

async fn read_deletes(site: &Site, snapshot: &Snapshot, report: &mut StoreReport) -> Result<(), Error> {
    let mut requests = BTreeMap::new();
    let paths = snapshot.objects.keys().filter(|path| path.starts_with("d/")).cloned();
    for (path, bytes) in read_objects(site, paths).await? {
        let read = match path.rsplit_once('.') {
            Some((_, "del")) => StoredDelete::decode(&bytes).map(|found| ((found.tenant, found.id), false)),
            Some((_, "done")) => ProcessedMark::decode(&bytes).map(|found| ((found.tenant, found.id), true)),
            _ => continue,
        };
        match read {
            // A mark comes behind its request, by name.
            Ok((key, is_mark)) if !is_mark || requests.contains_key(&key) => {
                requests.insert(key, is_mark);
            }
            Ok(_) => {}
            Err(source) => {
                report.problems.push(in_full(&Error::Corrupt { object: path, source }));
            }
        }
    }
    report.deletes_processed = requests.values().filter(|is_processed| **is_processed).count() as u64;
    report.deletes_waiting = requests.len() as u64 - report.deletes_processed;
    Ok(())
}

fn read_log(files: &dyn crate::wal::Files) -> Result<LogReport, Error> {
    let mut report = LogReport::default();
    for file in survey(files, |_| ())? {
        report.files += 1;
        report.bytes += file.bytes.len() as u64;
        report.records += file.records;
        report.unfinished_bytes += file.bytes.len() as u64 - file.intact_bytes;
        report.damaged_bytes += file.damaged_bytes;
        report.files_set_aside += u64::from(file.is_set_aside);
    }
    Ok(report)
}

fn retention(tenant: &str, limits: &LimitsSource) -> Option<RetentionReport> {
    let limits = limits(&TenantId::parse(tenant).ok()?);
    let selector = |rule: &crate::limits::RetentionStream| {
        let matchers: Vec<String> = rule.matchers.iter().map(ToString::to_string).collect();
        (format!("{{{}}}", matchers.join(", ")), rule.period.as_secs())
    };
    Some(RetentionReport {
        tenant: tenant.to_owned(),
        period_seconds: limits.retention_period.as_secs(),
        rules: limits.retention_streams.iter().map(selector).collect(),
    })
}

impl std::fmt::Debug for InspectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InspectOptions")
            .field("streams", &self.streams)
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}
