//! Segments: immutable objects that hold chunks and everything needed to
//! find the right ones.
//!
//! [`layout`] turns header and footer into bytes and back, [`writer`] builds
//! a segment from sorted entries, [`reader`] fetches parts of one on demand.
//! The bytes are specified in `format.md`.

pub(crate) mod layout;
pub(crate) mod reader;
pub(crate) mod tables;
pub(crate) mod writer;

use std::fmt;

use uuid::Uuid;

pub(crate) use layout::{Footer, Header, TenantEntry};
pub(crate) use reader::Segment;
pub(crate) use tables::{ChunkEntry, ChunkTable, StreamTimes};
pub(crate) use writer::SegmentWriter;

/// Names one segment for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SegmentId(pub(crate) Uuid);

/// Names one run of one writing process; a process that starts again is another writer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct WriterId(pub(crate) Uuid);

impl SegmentId {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The path of a segment that was made by merging others, relative to the store's prefix.
    pub(crate) fn merged_path(self) -> String {
        format!("s/{self}.seg")
    }
}

impl WriterId {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The path of this writer's segment number `sequence`, relative to the store's prefix.
    pub(crate) fn segment_path(self, sequence: u64) -> String {
        format!("w/{self}/{sequence:020}.seg")
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
