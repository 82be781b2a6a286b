//! Checking one tenant's part of a segment.

use std::collections::BTreeSet;

use bytes::Bytes;
use loki_core::chunk::{MetadataColumns, Text};
use loki_core::filter::{FILTERS_LIMIT, FilterBuilder, FilterSet, FilterSetBuilder, Needle};
use loki_core::rollup::{Cell, minute_of};
use loki_core::{Chunk, Timestamp};

use super::{Finding, VerifyOptions, VerifyReport, index, rollup};
use crate::error::Error;
use crate::segment::ChunkEntry;
use crate::segment::layout::SectionKind;
use crate::segment::reader::TenantSegment;
use crate::tools::inspect::{groups, in_full, section_name};

/// Lines of each chunk that its filter is asked for.
const SAMPLED_LINES: u32 = 8;

/// Sections without which a part cannot be read.
const REQUIRED: [SectionKind; 5] =
    [SectionKind::Filters, SectionKind::Index, SectionKind::Rollup, SectionKind::Chunks, SectionKind::Times];

/// Checks a part. `chunks_end` is where the chunks of the part before end; returns where those of this one do.
pub(super) async fn check(
    part: &TenantSegment,
    object: &str,
    chunks_end: u64,
    options: VerifyOptions,
    report: &mut VerifyReport,
) -> Result<u64, Error> {
    let mut sink = Sink { object, tenant: part.entry().tenant.as_str(), report };
    for (kind, _) in &part.entry().sections {
        if let Some(error) = damage(part.section(*kind).await)? {
            sink.find(format!("section {}: {error}", section_name(*kind)));
        }
    }
    for kind in REQUIRED.into_iter().filter(|kind| part.entry().section(*kind).is_none()) {
        sink.find(format!("there is no section {}", section_name(kind)));
    }
    // The damage was reported above.
    let labels = part.index().await.ok();
    if let Some(labels) = &labels {
        index::check(labels, &mut sink);
    }
    let streams = labels.map(|labels| labels.streams());
    let Ok(table) = part.chunks().await else {
        sink.find("there is no readable chunk table, so that no chunk can be found".to_owned());
        return Ok(chunks_end);
    };
    let filters = part.filters().await.ok();
    if let Some(Err(error)) = filters.as_ref().map(|filters| filters.verify()) {
        sink.find(format!("section filters: {}", in_full(&error)));
    }
    let mut seen = Seen::new(options.deep);
    let mut end = chunks_end;
    let mut number = 0;
    for group in groups(&table.chunks) {
        let spans: Vec<_> = group.iter().map(|chunk| chunk.span.clone()).collect();
        if spans.iter().any(|span| span.start >= span.end || span.end > part.segment.size) {
            sink.find("the chunk table names bytes that cannot be a chunk".to_owned());
            return Ok(end);
        }
        for (entry, bytes) in group.iter().zip(part.segment.read(&spans).await?) {
            if entry.span.start < end {
                sink.find_in_chunk(number, "it overlaps what is before it".to_owned());
            }
            end = entry.span.end;
            seen.check_chunk(number, entry, bytes, filters.as_deref(), &mut sink);
            number += 1;
        }
    }
    finish(part, seen, streams, options, &mut sink).await?;
    Ok(end)
}

/// Compares what the chunks hold with what the footer and the other sections say of them.
async fn finish(
    part: &TenantSegment,
    seen: Seen,
    streams: Option<u32>,
    options: VerifyOptions,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    sink.report.entries += seen.rows;
    sink.report.chunks += seen.chunks;
    // What could not be read was reported, and cannot be counted.
    if seen.is_partial {
        return Ok(());
    }
    let entry = part.entry();
    let spans = &seen.streams;
    let first = spans.iter().map(|span| span.first).min().unwrap_or_default();
    let last = spans.iter().map(|span| span.last).max().unwrap_or_default();
    for (what, says, is) in [
        ("the number of entries", entry.rows, seen.rows),
        ("the number of streams", u64::from(entry.streams), spans.len() as u64),
        ("the bytes of lines", entry.line_bytes, seen.line_bytes),
        ("the bytes of structured metadata", entry.metadata_bytes, seen.metadata_bytes),
    ] {
        if says != is {
            sink.find(format!("{what} is {is}, and {says} by the footer"));
        }
    }
    if (entry.first, entry.last) != (first, last) {
        sink.find("the times of the first and last entry are not those of the footer".to_owned());
    }
    if streams.is_some_and(|streams| streams as usize != spans.len()) {
        let streams = streams.unwrap_or_default();
        sink.find(format!("the index has {streams} streams, and the chunks have {}", spans.len()));
    }
    if spans.iter().zip(0..).any(|(span, ordinal)| span.ordinal != ordinal) {
        sink.find("some stream has no entries".to_owned());
    }
    if let Some(unlisted) = seen.metadata_names.iter().find(|name| !entry.may_have_metadata(name)) {
        sink.find(format!("the footer does not list the structured metadata {unlisted:?}"));
    }
    if let Ok(times) = part.times().await {
        let expected = spans.iter().map(|span| (span.first, span.last));
        if !times.spans.iter().copied().eq(expected) {
            sink.find("the times of streams are not those of their entries".to_owned());
        }
    }
    if let Ok(counts) = part.rollup().await {
        rollup::check(&counts, &seen.cells, sink);
    }
    if options.deep {
        check_filters(part, seen.filters, sink).await?;
    }
    Ok(())
}

/// Compares the filters with those that are built of what the chunks hold.
async fn check_filters(part: &TenantSegment, built: FilterSetBuilder, sink: &mut Sink<'_>) -> Result<(), Error> {
    let Some(span) = part.entry().section(SectionKind::Filters) else {
        return Ok(());
    };
    let stored = part.segment.read(&[span]).await?;
    if stored.first().is_none_or(|stored| *stored != built.finish()) {
        sink.find("the filters are not those of the chunks".to_owned());
    }
    Ok(())
}

/// What is wrong, unless it is the object store that failed.
fn damage<T>(result: Result<T, Error>) -> Result<Option<String>, Error> {
    match result {
        Ok(_) => Ok(None),
        Err(Error::Corrupt { source, .. }) => Ok(Some(in_full(&source))),
        Err(error) => Err(error),
    }
}

/// Where findings in a part go.
pub(super) struct Sink<'a> {
    object: &'a str,
    tenant: &'a str,
    report: &'a mut VerifyReport,
}

impl Sink<'_> {
    pub(super) fn find(&mut self, problem: String) {
        self.push(None, problem);
    }

    fn find_in_chunk(&mut self, chunk: u64, problem: String) {
        self.push(Some(chunk), problem);
    }

    fn push(&mut self, chunk: Option<u64>, problem: String) {
        let (object, tenant) = (self.object.to_owned(), Some(self.tenant.to_owned()));
        self.report.find(Finding { object, tenant, chunk, problem });
    }
}

/// A stream as the chunks show it.
#[derive(Clone, Copy, Debug)]
struct SeenStream {
    ordinal: u32,
    first: Timestamp,
    last: Timestamp,
}

/// What the chunks of a part hold.
struct Seen {
    chunks: u64,
    rows: u64,
    line_bytes: u64,
    metadata_bytes: u64,
    /// By ordinal.
    streams: Vec<SeenStream>,
    /// Counts by stream and minute, in their order.
    cells: Vec<(u32, Cell)>,
    metadata_names: BTreeSet<String>,
    /// Some chunk could not be read.
    is_partial: bool,
    /// Builds filters anew, if that is wanted.
    filter: Option<Box<FilterBuilder>>,
    filters: FilterSetBuilder,
}

/// A chunk, decoded.
struct Decoded {
    runs: Vec<loki_core::Run>,
    times: Vec<i64>,
    text: Text,
    metadata: MetadataColumns,
}

impl Decoded {
    fn of(chunk: &Chunk) -> Result<Self, loki_core::Error> {
        let (runs, times) = (chunk.runs()?, chunk.timestamps()?);
        Ok(Self { runs, times, text: chunk.text()?, metadata: chunk.metadata()? })
    }

    /// The bytes of names and values of each row.
    fn metadata_bytes(&self) -> Vec<u64> {
        let mut bytes = vec![0; self.times.len()];
        for column in self.metadata.columns() {
            for (row, id) in column.ids() {
                bytes[row as usize] += (column.name().len() + column.dictionary_value(id).len()) as u64;
            }
        }
        bytes
    }
}

impl Seen {
    fn new(deep: bool) -> Self {
        Self {
            chunks: 0,
            rows: 0,
            line_bytes: 0,
            metadata_bytes: 0,
            streams: Vec::new(),
            cells: Vec::new(),
            metadata_names: BTreeSet::new(),
            is_partial: false,
            filter: deep.then(|| Box::new(FilterBuilder::new())),
            filters: FilterSetBuilder::new(),
        }
    }

    fn check_chunk(
        &mut self,
        number: u64,
        entry: &ChunkEntry,
        bytes: Bytes,
        filters: Option<&FilterSet>,
        sink: &mut Sink<'_>,
    ) {
        self.chunks += 1;
        let opened = Chunk::open(bytes).and_then(Chunk::verified);
        let decoded = opened.and_then(|chunk| Ok((Decoded::of(&chunk)?, chunk)));
        let (decoded, chunk) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                self.is_partial = true;
                sink.find_in_chunk(number, in_full(&error));
                return;
            }
        };
        check_entry(number, entry, &chunk, &decoded, sink);
        self.add_rows(number, &decoded, sink);
        self.metadata_names.extend(decoded.metadata.names().map(str::to_owned));
        if let Some(filters) = filters.filter(|filters| number < u64::from(filters.len())) {
            check_filter(number, filters, &decoded, sink);
        }
        if let Some(filter) = self.filter.as_mut().filter(|_| (number as usize) < FILTERS_LIMIT) {
            filter.add_text(decoded.text.as_bytes());
            for column in decoded.metadata.columns() {
                column.dictionary().for_each(|value| filter.add_pair(column.name(), value));
            }
            // The limit was respected, so that this cannot fail.
            let _ = self.filters.push(filter.finish());
        }
    }

    /// Counts rows by stream and minute, and checks their order.
    fn add_rows(&mut self, number: u64, decoded: &Decoded, sink: &mut Sink<'_>) {
        let (lengths, metadata) = (decoded.text.line_lengths(), decoded.metadata_bytes());
        let mut rows = decoded.times.iter().zip(lengths).zip(metadata);
        for run in &decoded.runs {
            for ((&time, length), metadata_bytes) in rows.by_ref().take(run.rows as usize) {
                let at = Timestamp(time);
                match self.streams.last_mut() {
                    Some(stream) if stream.ordinal == run.stream => {
                        if at < stream.last {
                            sink.find_in_chunk(number, format!("entries of stream {} are out of order", run.stream));
                        }
                        stream.last = stream.last.max(at);
                    }
                    last => {
                        if last.is_some_and(|last| last.ordinal > run.stream) {
                            sink.find_in_chunk(number, format!("stream {} is out of order", run.stream));
                        }
                        self.streams.push(SeenStream { ordinal: run.stream, first: at, last: at });
                    }
                }
                self.count(run.stream, minute_of(at), u64::from(length), metadata_bytes);
            }
        }
    }

    fn count(&mut self, stream: u32, minute: i64, line_bytes: u64, metadata_bytes: u64) {
        self.rows += 1;
        self.line_bytes += line_bytes;
        self.metadata_bytes += metadata_bytes;
        if self.cells.last().is_none_or(|(last, cell)| *last != stream || cell.minute != minute) {
            self.cells.push((stream, Cell { minute, ..Cell::default() }));
        }
        if let Some((_, cell)) = self.cells.last_mut() {
            cell.entries += 1;
            cell.line_bytes += line_bytes;
            cell.metadata_bytes += metadata_bytes;
        }
    }
}

/// Compares a chunk with what the table says of it.
fn check_entry(number: u64, entry: &ChunkEntry, chunk: &Chunk, decoded: &Decoded, sink: &mut Sink<'_>) {
    let times = &decoded.times;
    let first = times.iter().min().copied().unwrap_or_default();
    let last = times.iter().max().copied().unwrap_or_default();
    let streams = (decoded.runs.first().map(|run| run.stream), decoded.runs.last().map(|run| run.stream));
    let is_same = (entry.rows, entry.line_bytes) == (chunk.rows(), chunk.raw_bytes())
        && (entry.first, entry.last) == (Timestamp(first), Timestamp(last))
        && (Some(entry.first_stream), Some(entry.last_stream)) == streams
        && entry.has_metadata == chunk.has_metadata();
    if !is_same {
        sink.find_in_chunk(number, "it is not what the chunk table says of it".to_owned());
    }
}

/// Asks a filter for lines that its chunk has.
fn check_filter(number: u64, filters: &FilterSet, decoded: &Decoded, sink: &mut Sink<'_>) {
    let rows = decoded.text.rows();
    let sampled = (0..SAMPLED_LINES).map(|i| (u64::from(i) * u64::from(rows) / u64::from(SAMPLED_LINES)) as u32);
    let lines = sampled.chain(rows.checked_sub(1)).map(|row| decoded.text.line(row));
    let columns = decoded.metadata.columns().iter();
    let pairs = columns.filter_map(|column| Some(Needle::of_pair(column.name(), column.dictionary().next()?)));
    for needle in lines.filter_map(Needle::new).chain(pairs) {
        // Damage of the filters was reported as a whole.
        if filters.probe(&needle).is_ok_and(|found| !found.contains(number as u32)) {
            let missed = "its filter does not know a line or a pair of metadata of it, which queries would miss";
            sink.find_in_chunk(number, missed.to_owned());
            return;
        }
    }
}
