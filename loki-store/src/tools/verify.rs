//! Comparing everything in a store with everything else.
//!
//! A segment says most things twice: the footer counts what the chunks hold, the rollup counts it by minute, filters and
//! index repeat lines and labels in another form. Where the two differ, or a checksum does not fit, there is a
//! [`Finding`]. Nothing is ever changed.

mod index;
mod part;
mod rollup;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::inspect::in_full;
use super::progress::{Progress, Stage};
use super::reading::read_objects;
use super::site::{LiveSegment, NO_STORE, Site, Snapshot, flushed, is_gone, is_merged};
use super::table::size;
use crate::clock::ManualClock;
use crate::deletes::{Deletion, ProcessedMark, StoredDelete};
use crate::error::Error;
use crate::limits::Limits;
use crate::push::Ingest;
use crate::segment::layout::HEADER_LEN;
use crate::segment::{Segment, WriterId};
use crate::wal::survey;

/// Findings that a report lists at most; it counts the rest.
pub const MAX_FINDINGS: usize = 10_000;

/// How thorough to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Builds every filter again, instead of asking it for some lines of its chunk.
    pub deep: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The number of the manifest that was checked.
    pub manifest: u64,
    /// Segments that were checked.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Pushes in the log.
    pub log_records: u64,
    /// Whatever costs entries, hides them, shows too many or makes answers wrong.
    pub findings: Vec<Finding>,
    /// Findings that are not listed, because there are too many.
    pub more_findings: u64,
    /// What is not as it would be without crashes and failures, but costs nothing.
    pub notes: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The object, below the store's prefix, or the file of the log.
    pub object: String,
    /// Whose part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Which chunk of that part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more_findings += 1;
        }
    }

    fn find_in(&mut self, object: &str, problem: impl Into<String>) {
        self.find(Finding { object: object.to_owned(), tenant: None, chunk: None, problem: problem.into() });
    }

    fn note(&mut self, object: &str, problem: impl Into<String>) {
        self.notes.push(Finding { object: object.to_owned(), tenant: None, chunk: None, problem: problem.into() });
    }
}

/// Checks a store: checksums, every part of every chunk, what the index, the rollups, the filters and the tables say of
/// them, the manifest and the objects that it names, requests to delete, and the log.
///
/// What cannot be seen is data that is gone without a trace: the last segment that a writer flushed, requests to delete,
/// records at the end of the log.
///
/// # Errors
///
/// What the file system or the object store answered when what is there could not be found out.
pub async fn verify(site: &Site, options: VerifyOptions, progress: &dyn Progress) -> Result<VerifyReport, Error> {
    let snapshot = site.snapshot().await?;
    let mut report = VerifyReport { manifest: snapshot.manifest.number, ..VerifyReport::default() };
    if site.is_unused(&snapshot) {
        report.find_in("m/", NO_STORE);
    }
    check_objects(&snapshot, &mut report);
    check_deletes(site, &snapshot, &mut report).await?;
    progress.begin(Stage::Checking, Some(snapshot.live_bytes()));
    let mut through = snapshot.manifest.logs.clone();
    for live in &snapshot.live {
        if let Some(segment) = check_segment(site, live, options, &mut report).await? {
            let wal = segment.header.wal;
            let known = through.entry(wal.log).or_default();
            *known = wal.through.max(*known);
        }
        progress.advance(snapshot.objects.get(&live.path).copied().unwrap_or(0));
    }
    progress.end();
    check_log(site, &through, &mut report)?;
    report.findings.sort();
    report.notes.sort();
    Ok(report)
}

/// Compares the manifest with the objects that are there.
fn check_objects(snapshot: &Snapshot, report: &mut VerifyReport) {
    for (path, error) in &snapshot.unreadable {
        report.find_in(path, in_full(error));
    }
    let merged = snapshot.objects.keys().filter(|path| is_merged(path)).count();
    if snapshot.manifest.number == 0 && snapshot.unreadable.is_empty() && merged > 0 {
        report.find_in("m/", format!("there is no manifest, but {merged} segments that only a manifest can name"));
    }
    for (path, bytes) in snapshot.orphans() {
        report.note(path, format!("nothing names this segment ({}); the store will delete it", size(bytes)));
    }
    for path in snapshot.objects.keys().filter(|path| path.starts_with("quarantine/")) {
        report.note(path, "was set aside because it could not be read");
    }
    let mut sequences: BTreeMap<WriterId, Vec<u64>> = BTreeMap::new();
    for (writer, sequence) in snapshot.objects.keys().filter_map(|path| flushed(path)) {
        sequences.entry(writer).or_default().push(sequence);
    }
    for (writer, sequences) in sequences {
        // Up to what the manifest has folded in, segments may have been replaced.
        let mut next = snapshot.manifest.folded.get(&writer).map_or(0, |folded| folded.saturating_add(1));
        for sequence in sequences {
            if sequence > next {
                let missing = sequence - next;
                report.find_in(&writer.segment_path(next), format!("is missing, with {} that follow", missing - 1));
            }
            next = next.max(sequence.saturating_add(1));
        }
    }
}

/// Reads all requests to delete entries.
async fn check_deletes(site: &Site, snapshot: &Snapshot, report: &mut VerifyReport) -> Result<(), Error> {
    let paths = snapshot.objects.keys().filter(|path| path.starts_with("d/")).cloned();
    for (path, bytes) in read_objects(site, paths).await? {
        match path.rsplit_once('.') {
            Some((_, "del")) => match StoredDelete::decode(&bytes).map(Deletion::new) {
                Ok(Ok(deletion)) if crate::deletes::object_path(&deletion.tenant, &deletion.id) == path => {}
                Ok(Ok(_)) => report.find_in(&path, "is the request of another name"),
                Ok(Err(error)) => report.find_in(&path, in_full(&error)),
                Err(damage) => report.find_in(&path, in_full(&damage)),
            },
            Some((request, "done")) => {
                if let Err(damage) = ProcessedMark::decode(&bytes) {
                    report.find_in(&path, in_full(&damage));
                } else if !snapshot.objects.contains_key(&format!("{request}.del")) {
                    report.note(&path, "marks a request that is not there; the store will delete it");
                }
            }
            _ => report.note(&path, "is no request to delete entries"),
        }
    }
    Ok(())
}

/// Checks a segment and returns it, unless it cannot be opened.
async fn check_segment(
    site: &Site,
    live: &LiveSegment,
    options: VerifyOptions,
    report: &mut VerifyReport,
) -> Result<Option<Arc<Segment>>, Error> {
    report.segments += 1;
    let failure = match site.segment(&live.path).await {
        Ok(segment) => {
            report.bytes += segment.size;
            check_header(&segment, live, report);
            let checked = check_parts(&segment, live, options, report).await;
            match checked {
                Ok(()) => return Ok(Some(segment)),
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    match &failure {
        // A running server may have replaced it meanwhile.
        error if is_gone(error) => {
            let still_live = site.snapshot().await?.live.iter().any(|now| now.path == live.path);
            if still_live {
                report.find_in(&live.path, "is missing");
            }
        }
        Error::Corrupt { source, .. } => report.find_in(&live.path, in_full(source)),
        Error::Object { .. } | Error::Io { .. } => report.find_in(&live.path, in_full(&failure)),
        _ => return Err(failure),
    }
    Ok(None)
}

/// Compares a segment with its name and with what the manifest says of it.
fn check_header(segment: &Segment, live: &LiveSegment, report: &mut VerifyReport) {
    let mut differs = |what: &str, says: String, is: String| {
        if says != is {
            report.find_in(&live.path, format!("{what} should be {says}, and is {is}"));
        }
    };
    let (first, last) = segment.bounds();
    differs("its name", segment.header.object_path(), live.path.clone());
    if let Some(listed) = &live.listed {
        differs("its id", listed.id.to_string(), segment.header.id.to_string());
        differs("its size", listed.size.to_string(), segment.size.to_string());
        differs("its level", listed.level.to_string(), segment.header.level.to_string());
        differs("the number of its entries", listed.rows.to_string(), segment.rows().to_string());
        differs("the time of its first entry", listed.first.0.to_string(), first.0.to_string());
        differs("the time of its last entry", listed.last.0.to_string(), last.0.to_string());
    }
}

async fn check_parts(
    segment: &Arc<Segment>,
    live: &LiveSegment,
    options: VerifyOptions,
    report: &mut VerifyReport,
) -> Result<(), Error> {
    let mut chunks_end = HEADER_LEN as u64;
    for entry in &segment.footer.tenants {
        let part = segment.tenant(&entry.tenant);
        let Some(part) = part else {
            report.find_in(&live.path, format!("the footer does not have tenant {} in its place", entry.tenant));
            continue;
        };
        chunks_end = part::check(&part, &live.path, chunks_end, options, report).await?;
    }
    Ok(())
}

/// Reads the log; what is in segments need not be readable any more.
fn check_log(site: &Site, through: &BTreeMap<uuid::Uuid, u64>, report: &mut VerifyReport) -> Result<(), Error> {
    let Some(files) = &site.log else {
        return Ok(());
    };
    let log = files.read(super::backup::LOG_ID_FILE).ok();
    let log = log.and_then(|id| std::str::from_utf8(&id).ok()?.trim().parse().ok());
    let through = log.and_then(|log: uuid::Uuid| through.get(&log)).copied().unwrap_or(0);
    let (ingest, limits) = (Ingest::default(), Arc::new(Limits::unlimited()));
    let mut undecodable = Vec::new();
    let surveyed = survey(&**files, |record| {
        let clock = ManualClock::new(record.arrival);
        if let Err(error) = ingest.replay(&record, &limits, &clock) {
            undecodable.push((record.file, in_full(&error)));
        }
    })?;
    for file in surveyed {
        report.log_records += file.records;
        let name = format!("wal/{}", file.name);
        let unfinished = file.bytes.len() as u64 - file.intact_bytes;
        if file.is_set_aside {
            report.note(&name, "was set aside because it is damaged");
        } else if file.number <= through {
            report.note(&name, "its records are in segments; the store will delete it");
        } else {
            if file.damaged_bytes > 0 {
                report.find_in(&name, format!("{} bytes are no intact record", file.damaged_bytes));
            }
            if unfinished > 0 {
                report.note(
                    &name,
                    format!("{unfinished} bytes at the end are no record: of a write that was not finished"),
                );
            }
            for (_, error) in undecodable.iter().filter(|(number, _)| *number == file.number) {
                report.find_in(&name, format!("a record is intact but cannot be read: {error}"));
            }
        }
    }
    Ok(())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        if let Some(tenant) = &self.tenant {
            write!(f, ", tenant {tenant}")?;
        }
        if let Some(chunk) = self.chunk {
            write!(f, ", chunk {chunk}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for finding in &self.findings {
            writeln!(f, "finding: {finding}")?;
        }
        if self.more_findings > 0 {
            writeln!(f, "and {} findings more", self.more_findings)?;
        }
        let Self { manifest, segments, chunks, entries, log_records, .. } = self;
        let found = self.findings.len() as u64 + self.more_findings;
        let bytes = size(self.bytes);
        write!(f, "manifest {manifest}, {segments} segments, {bytes}, {chunks} chunks, {entries} entries, ")?;
        writeln!(f, "{log_records} log records: {found} findings")
    }
}
