//! Reading segments for a report.

use std::collections::BTreeMap;
use std::sync::Arc;

use loki_core::Chunk;

use super::streams::StreamSizes;
use super::{
    ChunkReport, ColumnReport, InspectOptions, LevelReport, SectionReport, SegmentReport, StoreReport, TenantReport,
    in_full,
};
use crate::error::Error;
use crate::segment::layout::SectionKind;
use crate::segment::reader::TenantSegment;
use crate::segment::{ChunkEntry, Segment, TenantEntry};
use crate::tools::progress::Progress;
use crate::tools::site::{LiveSegment, Site, Snapshot};

/// Bytes of chunks read together.
const READ_BYTES: u64 = 8 << 20;
/// What is no column of a chunk: what says where its columns are.
const CHUNK_HEADS: &str = "heads";
/// What is no section of a segment: what says where its sections are.
const SEGMENT_FRAME: &str = "header and footer";

/// What several segments come to.
#[derive(Debug, Default)]
pub(super) struct Totals {
    levels: BTreeMap<u8, LevelReport>,
    tenants: BTreeMap<String, TenantReport>,
    sections: Sizes,
    columns: Sizes,
    streams: StreamSizes,
    chunks: Vec<ChunkReport>,
}

/// Stored and raw bytes by name, in the order in which names were first seen.
#[derive(Debug, Default)]
struct Sizes(Vec<(String, u64, u64)>);

impl Sizes {
    fn add(&mut self, name: &str, stored: u64, raw: u64) {
        match self.0.iter_mut().find(|(other, ..)| other == name) {
            Some((_, total_stored, total_raw)) => {
                *total_stored += stored;
                *total_raw += raw;
            }
            None => self.0.push((name.to_owned(), stored, raw)),
        }
    }

    fn add_all(&mut self, others: &Self) {
        for (name, stored, raw) in &others.0 {
            self.add(name, *stored, *raw);
        }
    }

    fn columns(self) -> Vec<ColumnReport> {
        let column = |(column, stored_bytes, raw_bytes)| ColumnReport { column, stored_bytes, raw_bytes };
        self.0.into_iter().map(column).collect()
    }

    fn sections(self) -> Vec<SectionReport> {
        self.0.into_iter().map(|(section, bytes, _)| SectionReport { section, bytes }).collect()
    }
}

/// Reads a segment; what is wrong with it stands in the report.
pub(super) async fn read_segment(
    site: &Site,
    snapshot: &Snapshot,
    live: &LiveSegment,
    options: &InspectOptions,
    totals: &mut Totals,
    progress: &dyn Progress,
) -> SegmentReport {
    let mut report = SegmentReport {
        path: live.path.clone(),
        is_in_manifest: live.listed.is_some(),
        bytes: snapshot.objects.get(&live.path).copied().unwrap_or(0),
        level: live.listed.as_ref().map_or(0, |listed| listed.level),
        ..SegmentReport::default()
    };
    let mut seen = 0;
    let read = async {
        let segment = site.segment(&live.path).await?;
        describe(&segment, &mut report);
        read_parts(&segment, options, &mut report, totals, &mut |bytes| {
            seen += bytes;
            progress.advance(bytes);
        })
        .await
    };
    if let Err(error) = read.await {
        report.problem = Some(in_full(&error));
    }
    progress.advance(report.bytes.saturating_sub(seen));
    let level = totals.levels.entry(report.level).or_insert(LevelReport { level: report.level, ..Default::default() });
    level.segments += 1;
    level.bytes += report.bytes;
    level.entries += report.entries;
    report
}

fn describe(segment: &Segment, report: &mut SegmentReport) {
    let (first, last) = segment.bounds();
    report.id = segment.header.id.to_string();
    report.level = segment.header.level;
    report.bytes = segment.size;
    report.entries = segment.rows();
    report.created = Some(segment.header.created);
    report.first = Some(first);
    report.last = Some(last);
    let tenants = &segment.footer.tenants;
    report.streams = tenants.iter().map(|tenant| u64::from(tenant.streams)).sum();
    report.tenants = tenants.iter().map(|tenant| tenant.tenant.to_string()).collect();
}

async fn read_parts(
    segment: &Arc<Segment>,
    options: &InspectOptions,
    report: &mut SegmentReport,
    totals: &mut Totals,
    advance: &mut (dyn FnMut(u64) + Send),
) -> Result<(), Error> {
    let (mut sections, mut columns) = (Sizes::default(), Sizes::default());
    let lists_chunks = options.segment.as_deref() == Some(report.id.as_str());
    let mut framed = segment.size;
    let mut failure = Ok(());
    for entry in &segment.footer.tenants {
        let part = segment.tenant(&entry.tenant).expect("the footer names the tenant");
        let mut stored = 0;
        for (kind, range) in &entry.sections {
            let bytes = range.end - range.start;
            sections.add(&section_name(*kind), bytes, bytes);
            stored += bytes;
        }
        let read = read_chunks(&part, lists_chunks, &mut columns, totals, advance).await;
        stored += read.as_ref().map_or(0, |read| read.bytes);
        report.chunks += read.as_ref().map_or(0, |read| read.chunks);
        framed = framed.saturating_sub(stored);
        totals.add_tenant(entry, stored);
        let counted = match read {
            Ok(_) if options.streams => totals.streams.add(&part).await,
            read => read.map(|_| ()),
        };
        failure = failure.and(counted);
    }
    sections.add(SEGMENT_FRAME, framed, framed);
    totals.sections.add_all(&sections);
    totals.columns.add_all(&columns);
    (report.sections, report.columns) = (sections.sections(), columns.columns());
    failure
}

/// What a kind of section is called.
pub(in crate::tools) fn section_name(kind: SectionKind) -> String {
    match kind {
        SectionKind::Chunks => "chunk table".to_owned(),
        SectionKind::Times => "stream times".to_owned(),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

struct ReadChunks {
    chunks: u64,
    bytes: u64,
}

async fn read_chunks(
    part: &TenantSegment,
    lists_chunks: bool,
    columns: &mut Sizes,
    totals: &mut Totals,
    advance: &mut (dyn FnMut(u64) + Send),
) -> Result<ReadChunks, Error> {
    let table = part.chunks().await?;
    let mut failure = None;
    let mut bytes = 0;
    let mut number = 0;
    for group in groups(&table.chunks) {
        let spans: Vec<_> = group.iter().map(|chunk| chunk.span.clone()).collect();
        for (entry, chunk) in group.iter().zip(part.segment.read(&spans).await?) {
            let len = chunk.len() as u64;
            let mut own = Sizes::default();
            let opened = Chunk::open(chunk).map_err(|damage| part.damaged(damage));
            if let Ok(chunk) = &opened {
                add_columns(chunk, len, &mut own);
            }
            columns.add_all(&own);
            if lists_chunks {
                let problem = opened.as_ref().err().map(|error| in_full(error));
                totals.chunks.push(describe_chunk(part.entry(), number, entry, problem, own));
            }
            failure = failure.or(opened.err());
            bytes += len;
            number += 1;
            advance(len);
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(ReadChunks { chunks: number, bytes }),
    }
}

fn describe_chunk(
    tenant: &TenantEntry,
    number: u64,
    entry: &ChunkEntry,
    problem: Option<String>,
    columns: Sizes,
) -> ChunkReport {
    ChunkReport {
        tenant: tenant.tenant.to_string(),
        number,
        offset: entry.span.start,
        bytes: entry.span.end - entry.span.start,
        entries: u64::from(entry.rows),
        line_bytes: entry.line_bytes,
        first_stream: entry.first_stream,
        last_stream: entry.last_stream,
        first: entry.first,
        last: entry.last,
        problem,
        columns: columns.columns(),
    }
}

/// Chunks that are read together.
pub(in crate::tools) fn groups(chunks: &[ChunkEntry]) -> impl Iterator<Item = &[ChunkEntry]> {
    let mut rest = chunks;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |chunk: &&ChunkEntry| {
            bytes += chunk.span.end.saturating_sub(chunk.span.start);
            bytes <= READ_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(group)
    })
}

fn add_columns(chunk: &Chunk, len: u64, columns: &mut Sizes) {
    let mut heads = len;
    for part in chunk.part_sizes() {
        let stored = u64::from(part.stored_bytes);
        let unknown;
        let name = if let Some(name) = part.kind.column() {
            name
        } else {
            unknown = format!("{:#04x}", part.kind.0);
            &unknown
        };
        columns.add(name, stored, u64::from(part.raw_bytes));
        heads = heads.saturating_sub(stored);
    }
    columns.add(CHUNK_HEADS, heads, heads);
}

impl Totals {
    fn add_tenant(&mut self, entry: &TenantEntry, stored: u64) {
        let name = entry.tenant.to_string();
        let report = self.tenants.entry(name.clone()).or_insert_with(|| TenantReport {
            tenant: name,
            segments: 0,
            entries: 0,
            line_bytes: 0,
            metadata_bytes: 0,
            stored_bytes: 0,
            first: entry.first,
            last: entry.last,
        });
        report.segments += 1;
        report.entries += entry.rows;
        report.line_bytes += entry.line_bytes;
        report.metadata_bytes += entry.metadata_bytes;
        report.stored_bytes += stored;
        report.first = report.first.min(entry.first);
        report.last = report.last.max(entry.last);
    }

    pub(super) fn finish(self, report: &mut StoreReport) {
        report.levels = self.levels.into_values().collect();
        report.tenants = self.tenants.into_values().collect();
        report.sections = self.sections.sections();
        report.columns = self.columns.columns();
        report.streams = self.streams.finish();
        report.chunks = self.chunks;
    }
}
