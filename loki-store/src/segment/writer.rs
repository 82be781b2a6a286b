//! Building a segment from entries sorted by tenant, stream and time.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use loki_core::chunk::{ChunkBuilder, ChunkOptions};
use loki_core::filter::{FILTERS_LIMIT, FilterBuilder, FilterSetBuilder};
use loki_core::index::IndexBuilder;
use loki_core::rollup::{Cell, RollupBuilder, minute_of};
use loki_core::{Error, Labels, Timestamp};

use super::layout::{MAX_METADATA_NAMES, SectionKind};
use super::{ChunkEntry, ChunkTable, Footer, Header, StreamTimes, TenantEntry};
use crate::patterns::StreamPatterns;
use crate::patterns::section::PatternsBuilder;
use crate::tenant::TenantId;

/// Bytes of the names of structured metadata that a footer lists; it is held in memory.
const MAX_METADATA_NAMES_BYTES: usize = 16 * 1024;

/// Builds one segment in memory.
///
/// Tenants ascend, streams of a tenant ascend by their labels, entries of a
/// stream ascend by time; the caller has removed exact duplicates.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    out: Vec<u8>,
    chunk_bytes: usize,
    chunk: ChunkBuilder,
    filter: FilterBuilder,
    footer: Footer,
    /// Chunks of the tenants in the footer.
    chunks: Vec<ChunkEntry>,
    tenant: Option<TenantWriter>,
}

/// A segment ready to be put.
#[derive(Debug)]
pub(crate) struct FinishedSegment {
    pub(crate) bytes: Bytes,
    pub(crate) footer: Footer,
    /// The chunks of all tenants.
    pub(crate) chunks: Vec<ChunkEntry>,
}

/// What accumulates while one tenant is written.
#[derive(Debug)]
struct TenantWriter {
    tenant: TenantId,
    index: IndexBuilder,
    rollup: RollupBuilder,
    filters: FilterSetBuilder,
    chunks: ChunkTable,
    times: StreamTimes,
    metadata_names: MetadataNames,
    patterns: PatternsBuilder,
    /// The metadata of the entry before and its bytes: entries in a row tend to share theirs.
    last_metadata: (Labels, u64),
    rows: u64,
    line_bytes: u64,
    metadata_bytes: u64,
    /// The stream being written, if it has entries.
    stream: Option<StreamWriter>,
    next_stream: u32,
}

/// What accumulates while one stream is written.
#[derive(Debug)]
struct StreamWriter {
    ordinal: u32,
    first: Timestamp,
    last: Timestamp,
    /// The minute being counted.
    cell: Cell,
}

impl SegmentWriter {
    /// A writer whose chunks are sealed at `chunk_bytes` of lines.
    pub(crate) fn new(header: &Header, chunk_bytes: usize, options: ChunkOptions) -> Self {
        Self {
            out: header.encode(),
            chunk_bytes,
            chunk: ChunkBuilder::new(options),
            filter: FilterBuilder::new(),
            footer: Footer { tenants: Vec::new() },
            chunks: Vec::new(),
            tenant: None,
        }
    }

    /// Ends the tenant before and begins the next.
    pub(crate) fn start_tenant(&mut self, tenant: TenantId) -> Result<(), Error> {
        self.finish_tenant()?;
        self.tenant = Some(TenantWriter::new(tenant));
        Ok(())
    }

    /// Ends the stream before and begins the next; it must get at least one entry.
    pub(crate) fn start_stream(&mut self, labels: &Labels) -> Result<(), Error> {
        let tenant = self.tenant.as_mut().expect("a tenant was started");
        tenant.finish_stream()?;
        tenant.next_stream = tenant.index.push(labels)?;
        Ok(())
    }

    /// Appends an entry to the stream.
    pub(crate) fn append(&mut self, timestamp: Timestamp, line: &[u8], metadata: &Labels) -> Result<(), Error> {
        let is_full = self.is_full(line);
        let tenant = self.tenant.as_mut().expect("a tenant was started");
        if is_full {
            tenant.seal_chunk(&mut self.chunk, &mut self.filter, &mut self.out)?;
        }
        let ordinal = tenant.next_stream;
        match self.chunk.append(ordinal, timestamp, line, metadata.iter()) {
            Ok(()) => {}
            // Rows, metadata or names of metadata that one chunk cannot take may fit into the next.
            Err(Error::Limit { .. }) if !self.chunk.is_empty() => {
                tenant.seal_chunk(&mut self.chunk, &mut self.filter, &mut self.out)?;
                self.chunk.append(ordinal, timestamp, line, metadata.iter())?;
            }
            Err(error) => return Err(error),
        }
        tenant.count(timestamp, line.len(), metadata)
    }

    /// Adds what the lines of the stream look like.
    pub(crate) fn add_patterns(&mut self, patterns: &StreamPatterns) {
        let tenant = self.tenant.as_mut().expect("a tenant was started");
        tenant.patterns.add(tenant.next_stream, patterns);
    }

    /// The memory that chunks and their filters take so far: nearly all of it, besides the chunk being filled.
    pub(crate) fn held_bytes(&self) -> usize {
        self.out.len() + self.tenant.as_ref().map_or(0, |tenant| tenant.filters.size_bytes())
    }

    /// The memory that the index, counts and times of the streams take besides.
    pub(crate) fn stream_bytes(&self) -> usize {
        let of = |tenant: &TenantWriter| {
            let tables = size_of_val(tenant.chunks.chunks.as_slice()) + size_of_val(tenant.times.spans.as_slice());
            tenant.index.held_bytes() + tenant.rollup.held_bytes() + tables
        };
        self.tenant.as_ref().map_or(0, of)
    }

    /// Ends the last tenant and the segment.
    pub(crate) fn finish(mut self) -> Result<FinishedSegment, Error> {
        self.finish_tenant()?;
        self.out.extend_from_slice(&self.footer.encode());
        Ok(FinishedSegment { bytes: self.out.into(), footer: self.footer, chunks: self.chunks })
    }

    /// Whether the chunk must be sealed before a line: by the bytes of its lines, or, where lines are short, by what it
    /// takes besides.
    fn is_full(&self, line: &[u8]) -> bool {
        let limit = self.chunk_bytes as u64;
        !self.chunk.is_empty()
            && (self.chunk.raw_bytes() + line.len() as u64 > limit || self.chunk.size_bytes() > 2 * limit)
    }

    fn finish_tenant(&mut self) -> Result<(), Error> {
        let Some(mut tenant) = self.tenant.take() else {
            return Ok(());
        };
        if self.chunk.rows() > 0 {
            tenant.seal_chunk(&mut self.chunk, &mut self.filter, &mut self.out)?;
        }
        let (entry, mut chunks) = tenant.finish(&mut self.out)?;
        self.footer.tenants.push(entry);
        self.chunks.append(&mut chunks.chunks);
        Ok(())
    }
}

impl TenantWriter {
    fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            index: IndexBuilder::new(),
            rollup: RollupBuilder::new(),
            filters: FilterSetBuilder::new(),
            chunks: ChunkTable::default(),
            times: StreamTimes::default(),
            metadata_names: MetadataNames::default(),
            patterns: PatternsBuilder::default(),
            last_metadata: (Labels::EMPTY, 0),
            rows: 0,
            line_bytes: 0,
            metadata_bytes: 0,
            stream: None,
            next_stream: 0,
        }
    }

    fn count(&mut self, timestamp: Timestamp, line_len: usize, metadata: &Labels) -> Result<(), Error> {
        let minute = minute_of(timestamp);
        let metadata_len = self.note_metadata(metadata);
        let ordinal = self.next_stream;
        let stream = self.stream.get_or_insert_with(|| StreamWriter {
            ordinal,
            first: timestamp,
            last: timestamp,
            cell: Cell { minute, ..Cell::default() },
        });
        stream.last = timestamp;
        if stream.cell.minute != minute {
            self.rollup.add(ordinal, stream.cell)?;
            stream.cell = Cell { minute, ..Cell::default() };
        }
        stream.cell.entries += 1;
        stream.cell.line_bytes += line_len as u64;
        stream.cell.metadata_bytes += metadata_len;
        self.rows += 1;
        self.line_bytes += line_len as u64;
        self.metadata_bytes += metadata_len;
        Ok(())
    }

    /// Remembers the names; returns the bytes of names and values.
    fn note_metadata(&mut self, metadata: &Labels) -> u64 {
        let (last, last_bytes) = &self.last_metadata;
        if last == metadata {
            return *last_bytes;
        }
        for (name, _) in metadata {
            self.metadata_names.add(name);
        }
        let bytes = metadata.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum();
        self.last_metadata = (metadata.clone(), bytes);
        bytes
    }

    fn finish_stream(&mut self) -> Result<(), Error> {
        if let Some(stream) = self.stream.take() {
            self.rollup.add(stream.ordinal, stream.cell)?;
            self.times.spans.push((stream.first, stream.last));
        }
        Ok(())
    }

    fn seal_chunk(
        &mut self,
        chunk: &mut ChunkBuilder,
        filter: &mut FilterBuilder,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        filter.add_text(chunk.text());
        chunk.metadata_pairs().for_each(|(name, value)| filter.add_pair(name, value));
        let has_metadata = chunk.has_metadata();
        let filter = filter.finish();
        // The chunks behind those that have a filter are looked at by every query.
        if self.chunks.chunks.len() < FILTERS_LIMIT {
            self.filters.push(filter)?;
        }
        let sealed = chunk.finish()?;
        let start = out.len() as u64;
        out.extend_from_slice(&sealed.bytes);
        let summary = sealed.summary;
        self.chunks.chunks.push(ChunkEntry {
            span: start..out.len() as u64,
            rows: summary.rows,
            line_bytes: summary.raw_bytes,
            first: summary.min_timestamp,
            last: summary.max_timestamp,
            first_stream: summary.first_stream,
            last_stream: summary.last_stream,
            has_metadata,
        });
        Ok(())
    }

    fn finish(mut self, out: &mut Vec<u8>) -> Result<(TenantEntry, ChunkTable), Error> {
        self.finish_stream()?;
        let spans = &self.times.spans;
        let first = spans.iter().map(|span| span.0).min().unwrap_or_default();
        let last = spans.iter().map(|span| span.1).max().unwrap_or_default();
        let sections = [
            (SectionKind::Filters, self.filters.finish()),
            (SectionKind::Index, self.index.finish()?),
            (SectionKind::Rollup, self.rollup.finish()),
            (SectionKind::Chunks, self.chunks.encode()),
            (SectionKind::Times, self.times.encode()),
        ];
        let mut sections = sections.map(|(kind, bytes)| (kind, append(out, &bytes))).to_vec();
        if let Some(patterns) = self.patterns.finish()? {
            sections.push((SectionKind::Patterns, append(out, &patterns)));
        }
        let entry = TenantEntry {
            tenant: self.tenant,
            streams: self.times.spans.len() as u32,
            rows: self.rows,
            line_bytes: self.line_bytes,
            metadata_bytes: self.metadata_bytes,
            first,
            last,
            metadata_names: self.metadata_names.into_list(),
            sections,
        };
        Ok((entry, self.chunks))
    }
}

/// Names of structured metadata, as long as there are few.
#[derive(Debug, Default)]
struct MetadataNames {
    names: BTreeSet<String>,
    bytes: usize,
}

impl MetadataNames {
    fn add(&mut self, name: &str) {
        if self.are_few() && !self.names.contains(name) {
            self.bytes += name.len();
            self.names.insert(name.to_owned());
        }
    }

    /// The names, sorted, unless there are too many.
    fn into_list(self) -> Option<Vec<String>> {
        self.are_few().then(|| self.names.into_iter().collect())
    }

    fn are_few(&self) -> bool {
        self.names.len() <= MAX_METADATA_NAMES && self.bytes <= MAX_METADATA_NAMES_BYTES
    }
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> Range<u64> {
    let start = out.len() as u64;
    out.extend_from_slice(bytes);
    start..out.len() as u64
}

#[cfg(test)]
mod tests {
    use loki_core::chunk::{MAX_METADATA_COLUMNS, MAX_ROWS};
    use loki_core::{Chunk, Codec};

    use super::*;
    use crate::config::MAX_CHUNK_BYTES;
    use crate::segment::layout::WalPosition;
    use crate::segment::{SegmentId, WriterId};

    /// Writes a stream and returns the numbers of rows of its chunks.
    fn chunk_rows(entries: impl Iterator<Item = (&'static [u8], Labels)>) -> Vec<u32> {
        let wal = WalPosition { log: uuid::Uuid::nil(), through: 0 };
        let (id, writer) = (SegmentId::random(), WriterId::random());
        let header = Header { id, writer, sequence: 0, wal, level: 0, created: Timestamp(0) };
        let options = ChunkOptions { codec: Codec::Snappy, level: 0 };
        let mut writer = SegmentWriter::new(&header, MAX_CHUNK_BYTES, options);
        writer.start_tenant(TenantId::anonymous()).expect("the first tenant");
        writer.start_stream(&Labels::from_pairs([("a", "b")]).expect("one label")).expect("the first stream");
        for ((line, metadata), at) in entries.zip(0..) {
            writer.append(Timestamp(at), line, &metadata).expect("it fits into some chunk");
        }
        let finished = writer.finish().expect("everything fits");
        let tenant = &finished.footer.tenants[0];
        let table = tenant.section(SectionKind::Chunks).expect("a chunk table");
        let table = &finished.bytes[table.start as usize..table.end as usize];
        let table = ChunkTable::decode(table, finished.bytes.len() as u64).expect("what was written");
        let rows = |entry: &ChunkEntry| {
            let bytes = finished.bytes.slice(entry.span.start as usize..entry.span.end as usize);
            Chunk::open(bytes).and_then(Chunk::verified).expect("what was written").rows()
        };
        table.chunks.iter().map(rows).collect()
    }

    #[test]
    fn names_of_metadata_are_listed_while_they_are_few_and_short() {
        let listed = |names: &[&str]| {
            let mut list = MetadataNames::default();
            for name in names {
                list.add(name);
            }
            list.into_list().map(|list| list.len())
        };
        let numbered: Vec<String> = (0..=MAX_METADATA_NAMES).map(|n| n.to_string()).collect();
        let numbered: Vec<&str> = numbered.iter().map(String::as_str).collect();
        assert_eq!(listed(&["b", "a", "b"]), Some(2));
        assert_eq!(listed(&numbered[1..]), Some(MAX_METADATA_NAMES));
        assert_eq!(listed(&numbered), None);
        let long = "n".repeat(MAX_METADATA_NAMES_BYTES);
        assert_eq!(listed(&[&long, &long]), Some(1));
        assert_eq!(listed(&[&long, "n"]), None);
    }

    #[test]
    fn chunks_end_at_the_most_rows_that_they_can_have() {
        let rows = MAX_ROWS as usize + 1;
        assert_eq!(chunk_rows(std::iter::repeat_n((&b""[..], Labels::EMPTY), rows)), [MAX_ROWS, 1]);
    }

    #[test]
    fn chunks_end_at_the_most_names_of_metadata_that_they_can_have() {
        let named = |n: u32| (&b""[..], Labels::from_pairs([(format!("n{n}"), "v")]).expect("one label"));
        assert_eq!(chunk_rows((0..=MAX_METADATA_COLUMNS).map(named)), [MAX_METADATA_COLUMNS, 1]);
    }
}
