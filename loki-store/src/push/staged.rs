//! A push that was read, checked and completed, and now waits for its turn in the log and in the head.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use loki_core::{Labels, Timestamp};

use super::buffers::{Buffers, Scratch};
use super::ingest::MAX_LOGGED_BYTES;
use super::streams::KnownStream;
use super::{PushOutcome, encode};
use crate::tenant::TenantId;
use crate::wal::{Record, RecordKind};

/// The bit of [`Span::start`] that says that the bytes stand in the arena and not in the body.
///
/// Bodies and arenas are much shorter than 2 GiB: see [`MAX_LOGGED_BYTES`].
const IN_ARENA: u32 = 1 << 31;

const _: () = assert!(2 * MAX_LOGGED_BYTES < IN_ARENA as usize);

/// A run of bytes, or of rows, as offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(super) const EMPTY: Self = Self { start: 0, len: 0 };
    /// No bytes of the arena.
    pub(super) const EMPTY_IN_ARENA: Self = Self { start: IN_ARENA, len: 0 };

    /// From `start` up to but without `end`.
    pub(super) const fn between(start: usize, end: usize) -> Self {
        Self { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// The same, of the arena.
    pub(super) const fn in_arena(start: usize, end: usize) -> Self {
        Self { start: start as u32 | IN_ARENA, len: end.saturating_sub(start) as u32 }
    }

    /// How long it is.
    pub(super) const fn len(self) -> usize {
        self.len as usize
    }

    /// The range of offsets.
    pub(super) const fn range(self) -> std::ops::Range<usize> {
        let start = (self.start & !IN_ARENA) as usize;
        start..start + self.len as usize
    }

    const fn is_in_arena(self) -> bool {
        self.start & IN_ARENA != 0
    }
}

/// An entry that will be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedEntry {
    pub(super) timestamp: Timestamp,
    pub(super) line: Span,
    /// Encoded [`Labels`] in the arena.
    pub(super) metadata: Span,
}

/// A stream with entries that will be stored.
#[derive(Debug)]
pub(super) struct StagedStream {
    pub(super) stream: Arc<KnownStream>,
    pub(super) entries: Span,
    pub(super) line_bytes: u64,
    /// Bytes of names and values as they came.
    pub(super) metadata_bytes: u64,
}

impl StagedStream {
    /// What counts for rates.
    pub(super) const fn bytes(&self) -> u64 {
        self.line_bytes + self.metadata_bytes
    }
}

/// How the accepted entries get into the log.
#[derive(Debug)]
pub(super) enum LogBody {
    /// As they came.
    Verbatim(RecordKind, Bytes),
    /// As they came, from [`Scratch::body`].
    Plain,
    /// Encoded anew, because something was left out or changed.
    Final,
}

/// A push on its way into the store.
#[derive(Debug)]
pub struct Staged {
    pub(super) tenant: TenantId,
    pub(super) arrival: Timestamp,
    pub(super) scratch: Scratch,
    pub(super) buffers: Arc<Buffers>,
    pub(super) log_body: LogBody,
    /// What [`Staged::record`] made of `log_body`.
    pub(super) logged: OnceLock<(RecordKind, Bytes)>,
    pub(super) outcome: PushOutcome,
}

impl Staged {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.scratch.streams.is_empty()
    }

    /// What the client is told once everything is stored.
    pub fn outcome(&self) -> &PushOutcome {
        &self.outcome
    }

    /// The streams to store, in the order of the request; a stream may occur more than once.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = StagedStreamView<'_>> {
        self.scratch.streams.iter().map(|staged| StagedStreamView { scratch: &self.scratch, staged })
    }

    /// Who sent it.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The log record that, replayed, leads to the same streams and entries.
    ///
    /// The first call compresses the body unless it can be logged as it came, so make it before taking a lock.
    pub fn record(&self) -> Record<'_> {
        let (kind, body) = self.logged.get_or_init(|| match &self.log_body {
            LogBody::Verbatim(kind, body) => (*kind, body.clone()),
            LogBody::Plain => (RecordKind::Plain, compress(self.scratch.body())),
            LogBody::Final => (RecordKind::Final, compress(&encode::staged(self))),
        });
        Record { kind: *kind, tenant: &self.tenant, arrival: self.arrival, body }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.buffers.put(std::mem::take(&mut self.scratch));
    }
}

fn compress(body: &[u8]) -> Bytes {
    lz4_flex::block::compress_prepend_size(body).into()
}

/// A stream of a [`Staged`] push.
#[derive(Clone, Copy, Debug)]
pub struct StagedStreamView<'a> {
    scratch: &'a Scratch,
    staged: &'a StagedStream,
}

impl<'a> StagedStreamView<'a> {
    /// The labels.
    pub fn labels(&self) -> &'a Labels {
        &self.staged.stream.labels
    }

    /// [`Labels::hash64`] of the labels.
    pub fn hash(&self) -> u64 {
        self.staged.stream.hash
    }

    /// The entries in the order of the request.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = StagedEntryView<'a>> + use<'a> {
        let scratch = self.scratch;
        scratch.entries[self.staged.entries.range()].iter().map(|entry| StagedEntryView {
            timestamp: entry.timestamp,
            line: scratch.bytes(entry.line),
            metadata: scratch.bytes(entry.metadata),
        })
    }
}

/// An entry of a [`Staged`] push.
#[derive(Clone, Copy, Debug)]
pub struct StagedEntryView<'a> {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its line.
    pub line: &'a [u8],
    /// Its structured metadata as [`Labels::as_bytes`] has it.
    pub metadata: &'a [u8],
}

impl Scratch {
    /// The bytes of a span of the body or of the arena.
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        let source = if span.is_in_arena() { &self.arena } else { self.body() };
        &source[span.range()]
    }
}
