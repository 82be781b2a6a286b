//! Reading parts of a segment on demand.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use loki_core::filter::FilterSet;
use loki_core::index::Index;
use loki_core::rollup::{Columns, Rollup};
use loki_core::{Chunk, Corruption, TimeRange, Timestamp};
use object_store::path::Path;
use roaring::RoaringBitmap;

use super::layout::{HEADER_LEN, SectionKind, TRAILER_LEN};
use super::tables::inclusive;
use super::{ChunkEntry, ChunkTable, Footer, Header, StreamTimes, TenantEntry};
use crate::blocks::Origin;
use crate::cache::{Section, SectionCache, SectionKey, SectionPart, StreamLabels, StreamTotal};
use crate::error::Error;
use crate::objects::Objects;
use crate::patterns::section::PatternTable;
use crate::tenant::TenantId;

/// An open segment: header and footer in memory, everything else fetched when needed.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) footer: Footer,
    pub(crate) path: Path,
    pub(crate) size: u64,
    objects: Objects,
    cache: Arc<SectionCache>,
}

/// Streams whose labels are decoded together; a multiple of what the index compresses together.
pub(crate) const LABEL_BLOCK_STREAMS: u32 = 256;

/// Totals of all streams are summed up unless less than this part of them is wanted.
const SELECTIVE: u64 = 8;

/// The first read of a segment's tail; holds the footer unless there are very many tenants.
const SUFFIX_BYTES: u64 = 16 << 10;

impl Segment {
    /// Opens the segment at `path`, verifying header and footer.
    pub(crate) async fn open(objects: &Objects, cache: &Arc<SectionCache>, path: Path) -> Result<Self, Error> {
        let (tail, size) = objects.get_suffix(&path, SUFFIX_BYTES).await?;
        let corrupt = |source| Error::Corrupt { object: path.to_string(), source };
        let trailer = &tail[tail.len().saturating_sub(TRAILER_LEN)..];
        let footer_range = Footer::locate(trailer, size).map_err(corrupt)?;
        let tail_start = size - tail.len() as u64;
        let footer_bytes = if footer_range.start >= tail_start {
            tail.slice((footer_range.start - tail_start) as usize..)
        } else {
            objects.get_range(&path, footer_range.start..size).await?
        };
        let footer = Footer::decode(&footer_bytes, footer_range.start).map_err(corrupt)?;
        let header_bytes = objects.get_range(&path, 0..HEADER_LEN as u64).await?;
        let header = Header::decode(&header_bytes).map_err(corrupt)?;
        Ok(Self::assemble(objects, cache, path, size, header, footer))
    }

    /// A segment whose header and footer are known because it was just written.
    pub(crate) fn assemble(
        objects: &Objects,
        cache: &Arc<SectionCache>,
        path: Path,
        size: u64,
        header: Header,
        footer: Footer,
    ) -> Self {
        Self { header, footer, path, size, objects: objects.clone(), cache: Arc::clone(cache) }
    }

    /// The number of entries of all tenants.
    pub(crate) fn rows(&self) -> u64 {
        self.footer.tenants.iter().map(|tenant| tenant.rows).sum()
    }

    /// The times of the first and the last entry of any tenant.
    pub(crate) fn bounds(&self) -> (Timestamp, Timestamp) {
        let tenants = &self.footer.tenants;
        let first = tenants.iter().map(|tenant| tenant.first).min().unwrap_or_default();
        (first, tenants.iter().map(|tenant| tenant.last).max().unwrap_or_default())
    }

    /// What it holds of `tenant`.
    pub(crate) fn tenant(self: &Arc<Self>, tenant: &TenantId) -> Option<TenantSegment> {
        let tenants = &self.footer.tenants;
        let place = tenants.binary_search_by(|t| t.tenant.cmp(tenant)).ok()?;
        Some(TenantSegment { segment: Arc::clone(self), place })
    }

    /// The bytes at `spans`, by way of the disk cache if there is one: for those who may come again.
    pub(crate) async fn read_kept(&self, spans: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        match self.objects.blocks() {
            Some(blocks) => {
                let (objects, path) = (&self.objects, &self.path);
                blocks.read(Origin { objects, path, segment: self.header.id, size: self.size }, spans).await
            }
            None => self.read(spans).await,
        }
    }

    /// Chunks, each of them verified, in order.
    pub(crate) async fn read_chunks<'c>(
        &self,
        chunks: impl Iterator<Item = &'c ChunkEntry>,
    ) -> Result<Vec<Result<Chunk, loki_core::Error>>, Error> {
        let spans: Vec<Range<u64>> = chunks.map(|chunk| chunk.span.clone()).collect();
        let mut read = Vec::with_capacity(spans.len());
        for (span, bytes) in spans.iter().zip(self.read_kept(&spans).await?) {
            let mut chunk = Chunk::open(bytes).and_then(Chunk::verified);
            if chunk.is_err()
                && let Some(bytes) = self.read_again(span).await?
            {
                chunk = Chunk::open(bytes).and_then(Chunk::verified);
            }
            read.push(chunk);
        }
        Ok(read)
    }

    /// The bytes at `spans`, as they are in the object store.
    pub(crate) async fn read(&self, spans: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        self.objects.get_ranges(&self.path, spans).await
    }

    /// The bytes at `span` once more, because those that came by way of the disk cache cannot be right: they may have
    /// been damaged before they came there. `None` if they came straight from the object store.
    pub(crate) async fn read_again(&self, span: &Range<u64>) -> Result<Option<Bytes>, Error> {
        let Some(blocks) = self.objects.blocks().filter(|_| !span.is_empty()) else {
            return Ok(None);
        };
        blocks.forget(self.header.id, span);
        self.objects.get_range(&self.path, span.clone()).await.map(Some)
    }
}

/// One tenant's part of a segment.
#[derive(Clone, Debug)]
pub(crate) struct TenantSegment {
    pub(crate) segment: Arc<Segment>,
    place: usize,
}

impl TenantSegment {
    pub(crate) fn entry(&self) -> &TenantEntry {
        &self.segment.footer.tenants[self.place]
    }

    /// The times of its entries.
    pub(crate) fn range(&self) -> TimeRange {
        inclusive(self.first(), self.last())
    }

    fn first(&self) -> Timestamp {
        self.entry().first
    }

    fn last(&self) -> Timestamp {
        self.entry().last
    }

    pub(crate) async fn index(&self) -> Result<Arc<Index>, Error> {
        match self.section(SectionKind::Index).await? {
            Section::Index(index) => Ok(index),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    pub(crate) async fn filters(&self) -> Result<Arc<FilterSet>, Error> {
        match self.section(SectionKind::Filters).await? {
            Section::Filters(filters) => Ok(filters),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    pub(crate) async fn rollup(&self) -> Result<Arc<Rollup>, Error> {
        match self.section(SectionKind::Rollup).await? {
            Section::Rollup(rollup) => Ok(rollup),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    /// Like [`TenantSegment::rollup`], for a segment that is about to be replaced: leaves nothing in the cache.
    pub(crate) async fn rollup_once(&self) -> Result<Arc<Rollup>, Error> {
        match self.fetch(SectionKind::Rollup).await?.0 {
            Section::Rollup(rollup) => Ok(rollup),
            _ => unreachable!("a section is decoded as its kind"),
        }
    }

    pub(crate) async fn chunks(&self) -> Result<Arc<ChunkTable>, Error> {
        match self.section(SectionKind::Chunks).await? {
            Section::Chunks(chunks) => Ok(chunks),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    pub(crate) async fn times(&self) -> Result<Arc<StreamTimes>, Error> {
        match self.section(SectionKind::Times).await? {
            Section::Times(times) => Ok(times),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    /// The patterns of its lines, if there are any.
    pub(crate) async fn patterns(&self) -> Result<Option<Arc<PatternTable>>, Error> {
        if self.entry().section(SectionKind::Patterns).is_none() {
            return Ok(None);
        }
        match self.section(SectionKind::Patterns).await? {
            Section::Patterns(patterns) => Ok(Some(patterns)),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    /// What a merge needs to know before it reads chunks. Leaves the cache alone: nobody asks for it again.
    pub(crate) async fn contents(&self) -> Result<Contents, Error> {
        let kinds = [SectionKind::Index, SectionKind::Chunks];
        let mut spans = kinds.map(|kind| self.entry().section(kind).unwrap_or(0..0)).to_vec();
        if spans.iter().any(Range::is_empty) {
            let damage = Corruption::Truncated { needed: 1, available: 0 };
            return Err(self.damaged(loki_core::Error::corrupt("segment section", 0, damage)));
        }
        spans.extend(self.entry().section(SectionKind::Patterns));
        let mut sections = self.segment.read(&spans).await?.into_iter();
        let mut next = || sections.next().unwrap_or_default();
        let decode = |index, chunks: &[u8], patterns: &Bytes| {
            let has_patterns = !patterns.is_empty();
            let patterns = has_patterns.then(|| PatternTable::open(patterns)).transpose()?.unwrap_or_default();
            let index_bytes = Bytes::len(&index);
            let index = Index::open(index)?;
            let chunks = ChunkTable::decode(chunks, self.segment.size)?;
            let bytes = index_bytes + size_of_val(chunks.chunks.as_slice()) + patterns.bytes() as usize;
            Ok(Contents { index, chunks, patterns, bytes })
        };
        decode(next(), &next(), &next()).map_err(|damage| self.damaged(damage))
    }

    /// The bytes of sections as they are stored, which is about what they take in memory.
    pub(crate) fn stored_bytes(&self, kinds: &[SectionKind]) -> u64 {
        kinds.iter().filter_map(|kind| self.entry().section(*kind)).map(|span| span.end - span.start).sum()
    }

    /// A section of any kind, verified as far as opening it does.
    pub(crate) async fn section(&self, kind: SectionKind) -> Result<Section, Error> {
        let key = self.key(SectionPart::Stored(kind));
        self.segment.cache.get(&key, self.fetch(kind)).await
    }

    /// The labels of the streams of block `block`, [`LABEL_BLOCK_STREAMS`] each.
    pub(crate) fn label_block(&self, index: &Index, block: u32) -> Result<Arc<[StreamLabels]>, Error> {
        let decode = || {
            let first = block.saturating_mul(LABEL_BLOCK_STREAMS);
            let ordinals = first..index.streams().min(first.saturating_add(LABEL_BLOCK_STREAMS));
            let mut bytes = 0;
            let streams = index.labels_of(ordinals)?.map(|item| {
                let (_, labels) = item?;
                bytes += (size_of::<StreamLabels>() + labels.size_bytes()) as u64;
                Ok(StreamLabels { hash: labels.hash64(), labels })
            });
            let streams = streams.collect::<Result<Arc<[_]>, loki_core::Error>>()?;
            Ok((Section::Labels(streams), bytes))
        };
        let key = self.key(SectionPart::Labels { block });
        match self.segment.cache.compute(&key, || decode().map_err(|damage| self.damaged(damage)))? {
            Section::Labels(labels) => Ok(labels),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    /// The values of the label `name` of all streams, sorted.
    pub(crate) fn label_values(&self, index: &Index, name: &Arc<str>) -> Result<Arc<[String]>, Error> {
        let read = || {
            let values = index.label_values(name, None).map_err(|damage| self.damaged(damage))?;
            let bytes = values.iter().map(|value| size_of::<String>() + value.capacity()).sum::<usize>();
            Ok((Section::Values(values.into()), bytes as u64))
        };
        let key = self.key(SectionPart::Values { name: Arc::clone(name) });
        match self.segment.cache.compute(&key, read)? {
            Section::Values(values) => Ok(values),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    /// What each stream has in the segment, by its number, if `wanted` streams are enough of them. Computed from the
    /// whole rollup once.
    pub(crate) async fn totals(&self, wanted: u64) -> Result<Option<Arc<[StreamTotal]>>, Error> {
        if wanted * SELECTIVE < u64::from(self.entry().streams) {
            return Ok(None);
        }
        let (rollup, times) = (self.rollup().await?, self.times().await?);
        let compute = || {
            let mut totals = vec![StreamTotal::default(); times.spans.len()];
            let all: RoaringBitmap = (0..times.spans.len() as u32).collect();
            let mut scan = rollup.scan(&all, Columns::All);
            while let Some(cells) = scan.next_cells()? {
                let total: &mut StreamTotal = &mut totals[cells.stream as usize];
                total.entries += cells.entries.iter().sum::<u64>();
                total.line_bytes += cells.line_bytes.iter().sum::<u64>();
                total.metadata_bytes += cells.metadata_bytes.iter().sum::<u64>();
            }
            let bytes = size_of_val(totals.as_slice()) as u64;
            Ok((Section::Totals(totals.into()), bytes))
        };
        let key = self.key(SectionPart::Totals);
        match self.segment.cache.compute(&key, || compute().map_err(|damage| self.damaged(damage)))? {
            Section::Totals(totals) => Ok(Some(totals)),
            _ => unreachable!("sections are cached under their kind"),
        }
    }

    /// The error that says what is wrong with this segment.
    pub(crate) fn damaged(&self, source: loki_core::Error) -> Error {
        Error::Corrupt { object: self.segment.path.to_string(), source }
    }

    fn key(&self, what: SectionPart) -> SectionKey {
        SectionKey { segment: self.segment.header.id, tenant: self.place as u32, what }
    }

    async fn fetch(&self, kind: SectionKind) -> Result<(Section, u64), Error> {
        // A segment without a section of this kind reads as one whose section is empty, which fails its checksum.
        let span = self.entry().section(kind).unwrap_or(0..0);
        let mut bytes = Bytes::new();
        if !span.is_empty() {
            bytes = self.segment.read_kept(std::slice::from_ref(&span)).await?.pop().unwrap_or_default();
        }
        let len = bytes.len() as u64;
        let mut section = self.decode(kind, bytes);
        if section.is_err()
            && let Some(bytes) = self.segment.read_again(&span).await?
        {
            section = self.decode(kind, bytes);
        }
        let section = section.map_err(|damage| self.damaged(damage))?;
        let held = match &section {
            Section::Patterns(patterns) => patterns.bytes(),
            _ => len,
        };
        Ok((section, held))
    }

    fn decode(&self, kind: SectionKind, bytes: Bytes) -> Result<Section, loki_core::Error> {
        Ok(match kind {
            SectionKind::Filters => Section::Filters(Arc::new(FilterSet::open(bytes)?)),
            SectionKind::Index => Section::Index(Arc::new(Index::open(bytes)?)),
            SectionKind::Rollup => Section::Rollup(Arc::new(Rollup::open(bytes)?)),
            SectionKind::Chunks => {
                let limit = self.segment.size;
                Section::Chunks(Arc::new(ChunkTable::decode(&bytes, limit)?))
            }
            SectionKind::Times => Section::Times(Arc::new(StreamTimes::decode(&bytes)?)),
            SectionKind::Patterns => Section::Patterns(Arc::new(PatternTable::open(&bytes)?)),
        })
    }
}

/// What a merge needs to know of a tenant's part before it reads chunks.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) index: Index,
    pub(crate) chunks: ChunkTable,
    /// Empty if the segment has none.
    pub(crate) patterns: PatternTable,
    /// About the memory that all of it takes.
    pub(crate) bytes: usize,
}

/// Gives the labels of streams; cheapest when ordinals ascend.
#[derive(Debug)]
pub(crate) struct LabelReader<'a> {
    segment: &'a TenantSegment,
    index: &'a Index,
    block: Option<(u32, Arc<[StreamLabels]>)>,
}

impl<'a> LabelReader<'a> {
    pub(crate) fn new(segment: &'a TenantSegment, index: &'a Index) -> Self {
        Self { segment, index, block: None }
    }

    pub(crate) fn get(&mut self, ordinal: u32) -> Result<&StreamLabels, Error> {
        let number = ordinal / LABEL_BLOCK_STREAMS;
        let block = match self.block.take() {
            Some((held, block)) if held == number => block,
            _ => self.segment.label_block(self.index, number)?,
        };
        let (_, block) = self.block.insert((number, block));
        block.get((ordinal % LABEL_BLOCK_STREAMS) as usize).ok_or_else(|| {
            let value = Corruption::Value { field: "stream ordinal", found: u64::from(ordinal) };
            self.segment.damaged(loki_core::Error::corrupt("chunk", 0, value))
        })
    }
}
