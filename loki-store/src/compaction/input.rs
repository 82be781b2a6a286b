//! One tenant's part of a segment, read from its first stream to its last.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use loki_core::chunk::{MetadataColumns, PartKind, Text};
use loki_core::{Chunk, Labels};
use loki_logql::querier::{Columns, EntryBatch, StreamRun};

use super::READ_AHEAD_BYTES;
use crate::deletes::Deletions;
use crate::error::Error;
use crate::patterns::StreamPatterns;
use crate::segment::reader::{Contents, TenantSegment};

/// How much larger packed values of metadata are once they are text.
const UNPACKED_FACTOR: u64 = 3;
/// Streams whose labels are decoded together.
const LABEL_BLOCK_STREAMS: u32 = 256;

/// The entries of an input that a pass over time wants: those from the first moment through the last.
pub(super) type Pass = (i64, i64);

/// Where an input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// [`Input::piece`] has rows.
    Ready,
    /// The next chunk must be fetched first.
    Starved,
    /// The pass has no more rows.
    Done,
}

/// A source of a merge. Chunks are fetched asynchronously and opened on whatever thread merges.
#[derive(Debug)]
pub(super) struct Input {
    segment: TenantSegment,
    contents: Contents,
    /// Chunks of the pass that were not opened yet, and the bytes of the first of them.
    wanted: VecDeque<u32>,
    fetched: VecDeque<Bytes>,
    open: Option<OpenChunk>,
    piece: Option<Piece>,
    labels: LabelBlock,
    /// The earliest time behind the pass.
    beyond: Option<i64>,
    /// Rows met so far, hidden ones too.
    pub(super) rows_read: u64,
    /// Those that are left out because nobody may see them.
    pub(super) rows_hidden: u64,
}

/// Rows of one stream in the open chunk.
#[derive(Debug)]
pub(super) struct Piece {
    ordinal: u32,
    pub(super) labels: Labels,
    pub(super) rows: Range<usize>,
}

/// A chunk, decoded.
#[derive(Debug)]
pub(super) struct OpenChunk {
    pub(super) times: Vec<i64>,
    pub(super) text: Text,
    pub(super) metadata: MetadataRows,
    /// Streams by ordinal, with the rows that are still to come.
    pieces: VecDeque<(u32, Range<u32>)>,
    /// About the memory that all of it takes.
    bytes: usize,
}

impl Input {
    pub(super) async fn open(segment: TenantSegment) -> Result<Self, Error> {
        let contents = segment.contents().await?;
        Ok(Self {
            segment,
            contents,
            wanted: VecDeque::new(),
            fetched: VecDeque::new(),
            open: None,
            piece: None,
            labels: LabelBlock::default(),
            beyond: None,
            rows_read: 0,
            rows_hidden: 0,
        })
    }

    /// The number of entries.
    pub(super) fn rows(&self) -> u64 {
        self.segment.entry().rows
    }

    /// The earliest time of all entries.
    pub(super) fn first_time(&self) -> i64 {
        self.segment.entry().first.0
    }

    /// Starts over with the entries of another pass.
    pub(super) fn begin(&mut self, (first, last): Pass) {
        self.beyond = None;
        let mut wanted = VecDeque::new();
        for (chunk, number) in self.contents.chunks.chunks.iter().zip(0..) {
            if chunk.first.0 > last {
                self.beyond = earliest(self.beyond, Some(chunk.first.0));
            } else if chunk.last.0 >= first {
                wanted.push_back(number);
            }
        }
        self.wanted = wanted;
    }

    /// The earliest time behind the pass, once it is done.
    pub(super) fn beyond(&self) -> Option<i64> {
        self.beyond
    }

    /// Whether [`Input::fetch`] would save a later stop.
    pub(super) fn is_hungry(&self) -> bool {
        self.fetched.is_empty() && !self.wanted.is_empty()
    }

    /// About the memory that its chunks take, and what says where they are.
    pub(super) fn held_bytes(&self) -> usize {
        let fetched: usize = self.fetched.iter().map(Bytes::len).sum();
        self.contents.bytes + fetched + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// Fetches the next chunks.
    pub(super) async fn fetch(&mut self) -> Result<(), Error> {
        let mut bytes = 0;
        let chunks = &self.contents.chunks.chunks;
        let behind = self.wanted.iter().skip(self.fetched.len());
        let spans: Vec<Range<u64>> = behind
            .map(|&number| chunks[number as usize].span.clone())
            .take_while(|span| {
                let is_first = bytes == 0;
                bytes += span.end - span.start;
                is_first || bytes <= READ_AHEAD_BYTES
            })
            .collect();
        self.fetched.extend(self.segment.segment.read(&spans).await?);
        Ok(())
    }

    /// Finds the next rows, opening the next chunk if need be and at hand.
    pub(super) fn settle(&mut self, pass: Pass, deletions: &Deletions) -> Result<State, Error> {
        loop {
            if self.piece.as_ref().is_some_and(|piece| !piece.rows.is_empty()) {
                return Ok(State::Ready);
            }
            if let Some((ordinal, rows)) = self.open.as_mut().and_then(|open| open.pieces.pop_front()) {
                let labels = self.labels.get(&self.contents, ordinal).map_err(|damage| self.segment.damaged(damage))?;
                self.piece = Some(Piece { ordinal, labels, rows: rows.start as usize..rows.end as usize });
                continue;
            }
            self.open = None;
            self.piece = None;
            if self.wanted.is_empty() {
                return Ok(State::Done);
            }
            let Some(bytes) = self.fetched.pop_front() else {
                return Ok(State::Starved);
            };
            self.wanted.pop_front();
            let opened = self.open_chunk(bytes, pass, deletions);
            self.open = Some(opened.map_err(|damage| self.segment.damaged(damage))?);
        }
    }

    /// The rows to be merged next.
    pub(super) fn piece(&self) -> Option<&Piece> {
        self.piece.as_ref()
    }

    /// Adds the patterns of the stream that is merged next, of all its times.
    pub(super) fn add_patterns(&self, into: &mut StreamPatterns) -> Result<(), Error> {
        let Some(piece) = &self.piece else {
            return Ok(());
        };
        let found = self.contents.patterns.of_stream(piece.ordinal);
        into.counts.extend(found.map_err(|damage| self.segment.damaged(damage))?.counts);
        Ok(())
    }

    /// The time of the next row.
    pub(super) fn time(&self) -> Option<i64> {
        let (open, piece) = (self.open.as_ref()?, self.piece.as_ref()?);
        open.times.get(piece.rows.start).copied()
    }

    /// Takes the rows with times up to `last` out of the piece, for somebody to write them.
    pub(super) fn take_through(&mut self, last: i64) -> Option<(Range<usize>, &mut OpenChunk)> {
        let (open, piece) = (self.open.as_mut()?, self.piece.as_mut()?);
        let count = open.times.get(piece.rows.clone())?.partition_point(|&time| time <= last);
        let taken = piece.rows.start..piece.rows.start + count;
        piece.rows.start = taken.end;
        Some((taken, open))
    }

    fn open_chunk(
        &mut self,
        bytes: Bytes,
        (first, last): Pass,
        deletions: &Deletions,
    ) -> Result<OpenChunk, loki_core::Error> {
        let chunk = Chunk::open(bytes).and_then(Chunk::verified)?;
        let times = chunk.timestamps()?;
        let mut pieces = VecDeque::new();
        let mut row = 0;
        for run in chunk.runs()? {
            let of_run = &times[row as usize..(row + run.rows) as usize];
            let from = of_run.partition_point(|&time| time < first);
            let to = of_run.partition_point(|&time| time <= last);
            self.beyond = earliest(self.beyond, of_run.get(to).copied());
            if from < to {
                pieces.push_back((run.stream, row + from as u32..row + to as u32));
                self.rows_read += (to - from) as u64;
            }
            row += run.rows;
        }
        self.hide(&chunk, &times, &mut pieces, deletions)?;
        if pieces.is_empty() {
            return Ok(OpenChunk {
                times,
                text: Text::from_lines::<&[u8]>([]),
                metadata: MetadataRows::default(),
                pieces,
                bytes: 0,
            });
        }
        let metadata =
            if chunk.has_metadata() { MetadataRows::new(chunk.metadata()?) } else { MetadataRows::default() };
        let metadata_bytes =
            chunk.part_raw_bytes(PartKind::METADATA) + UNPACKED_FACTOR * chunk.part_raw_bytes(PartKind::FIXED);
        let text = chunk.text()?;
        let bytes = text.as_bytes().len() + size_of_val(times.as_slice()) + metadata_bytes as usize;
        Ok(OpenChunk { times, text, metadata, pieces, bytes })
    }

    /// Takes rows out that nobody may see.
    fn hide(
        &mut self,
        chunk: &Chunk,
        times: &[i64],
        pieces: &mut VecDeque<(u32, Range<u32>)>,
        deletions: &Deletions,
    ) -> Result<(), loki_core::Error> {
        let bounds = crate::segment::tables::bounds_of(times);
        if pieces.is_empty() || !deletions.may_hide(bounds) {
            return Ok(());
        }
        let mut runs = Vec::with_capacity(pieces.len());
        for (ordinal, rows) in pieces.iter() {
            let labels = self.labels.get(&self.contents, *ordinal)?;
            runs.push(StreamRun { hash: labels.hash64(), labels, rows: rows.clone() });
        }
        let count = |pieces: &VecDeque<(u32, Range<u32>)>| -> usize { pieces.iter().map(|(_, rows)| rows.len()).sum() };
        let rows_before = count(pieces);
        let columns = Columns::Chunk(chunk.clone());
        let batch = EntryBatch { sequence: 0, bounds, runs, columns, repeats: std::sync::Arc::new([]) };
        let left = deletions.subtract(batch)?.map_or_else(Vec::new, |batch| batch.runs);
        let mut of_streams = std::mem::take(pieces).into_iter();
        let mut current = of_streams.next();
        for run in left {
            while current.as_ref().is_some_and(|(_, rows)| rows.end <= run.rows.start) {
                current = of_streams.next();
            }
            pieces.extend(current.as_ref().map(|(ordinal, _)| (*ordinal, run.rows)));
        }
        self.rows_hidden += (rows_before - count(pieces)) as u64;
        Ok(())
    }
}

fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The labels of streams that follow each other.
#[derive(Debug, Default)]
struct LabelBlock {
    first: u32,
    labels: Vec<Labels>,
}

impl LabelBlock {
    fn get(&mut self, contents: &Contents, ordinal: u32) -> Result<Labels, loki_core::Error> {
        let place = |block: &Self| ordinal.checked_sub(block.first).and_then(|i| block.labels.get(i as usize)).cloned();
        if let Some(labels) = place(self) {
            return Ok(labels);
        }
        let first = ordinal - ordinal % LABEL_BLOCK_STREAMS;
        let end = contents.index.streams().min(first.saturating_add(LABEL_BLOCK_STREAMS));
        let labels = contents.index.labels_of(first..end)?.map(|item| item.map(|(_, labels)| labels));
        *self = Self { first, labels: labels.collect::<Result<_, _>>()? };
        place(self).ok_or_else(|| {
            let value = loki_core::Corruption::Value { field: "stream ordinal", found: u64::from(ordinal) };
            loki_core::Error::corrupt("chunk", 0, value)
        })
    }
}

/// Gives the structured metadata of rows, cheapest when rows that follow each other share theirs.
#[derive(Debug, Default)]
pub(super) struct MetadataRows {
    columns: MetadataColumns,
    /// The row before: positions in the columns' dictionaries, and what they mean.
    ids: Vec<Option<u32>>,
    labels: Labels,
}

impl MetadataRows {
    fn new(columns: MetadataColumns) -> Self {
        let ids = vec![None; columns.columns().len()];
        Self { columns, ids, labels: Labels::EMPTY }
    }

    pub(super) fn of(&mut self, row: u32) -> &Labels {
        let mut is_same = true;
        for (column, id) in self.columns.columns().iter().zip(&mut self.ids) {
            let found = column.id(row);
            is_same &= *id == found;
            *id = found;
        }
        if !is_same {
            let pairs = self.columns.columns().iter().zip(&self.ids);
            let pairs = pairs.filter_map(|(column, id)| Some((column.name(), column.dictionary_value((*id)?))));
            self.labels = Labels::from_sorted(pairs);
        }
        &self.labels
    }
}
