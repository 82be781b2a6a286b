//! Memory that pushes hand on to each other.

use bytes::Bytes;
use parking_lot::Mutex;

use super::protobuf::{ProtobufError, RawStreams};
use super::staged::{StagedEntry, StagedStream};

/// Sets of buffers that are kept for later: as many as pushes usually run at the same time.
const MAX_IDLE: usize = 4;

/// A buffer that grew beyond this for one big push is not kept.
const MAX_IDLE_BYTES: usize = 8 * 1024 * 1024;

/// What one push needs while it is on its way.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The protobuf, when it was not compressed.
    pub(super) shared: Option<Bytes>,
    /// The decompressed protobuf; stays at its largest length so that it need not be zeroed again.
    inflated: Vec<u8>,
    /// How much of it belongs to the present push.
    inflated_len: usize,
    /// What the body holds, as it stands there.
    pub(super) raw: RawStreams,
    /// Encoded metadata, and lines that were changed.
    pub(super) arena: Vec<u8>,
    pub(super) streams: Vec<StagedStream>,
    pub(super) entries: Vec<StagedEntry>,
}

/// The buffers that results go to.
pub(super) struct Output<'s> {
    pub(super) arena: &'s mut Vec<u8>,
    pub(super) streams: &'s mut Vec<StagedStream>,
    pub(super) entries: &'s mut Vec<StagedEntry>,
}

impl Scratch {
    /// The protobuf of the push.
    pub(super) fn body(&self) -> &[u8] {
        match &self.shared {
            Some(shared) => shared,
            None => &self.inflated[..self.inflated_len],
        }
    }

    /// Room for `len` bytes of protobuf, to be filled.
    pub(super) fn inflated_mut(&mut self, len: usize) -> &mut [u8] {
        if self.inflated.len() < len {
            self.inflated.resize(len, 0);
        }
        self.shared = None;
        self.inflated_len = len;
        &mut self.inflated[..len]
    }

    /// Reads the protobuf.
    pub(super) fn decode(&mut self) -> Result<(), ProtobufError> {
        let body = match &self.shared {
            Some(shared) => shared,
            None => &self.inflated[..self.inflated_len],
        };
        self.raw.decode(body)
    }

    /// What was read, and where results go.
    pub(super) fn split(&mut self) -> (&[u8], &RawStreams, Output<'_>) {
        let body = match &self.shared {
            Some(shared) => shared,
            None => &self.inflated[..self.inflated_len],
        };
        (body, &self.raw, Output { arena: &mut self.arena, streams: &mut self.streams, entries: &mut self.entries })
    }

    fn clear(&mut self) {
        self.shared = None;
        self.inflated_len = 0;
        self.arena.clear();
        self.streams.clear();
        self.entries.clear();
    }

    fn capacity_bytes(&self) -> usize {
        self.inflated.capacity()
            + self.arena.capacity()
            + self.entries.capacity() * size_of::<StagedEntry>()
            + self.raw.capacity_bytes()
    }
}

/// Buffers that wait for the next push.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    idle: Mutex<Vec<Scratch>>,
}

impl Buffers {
    /// A set of buffers, used or new.
    pub(super) fn take(&self) -> Scratch {
        self.idle.lock().pop().unwrap_or_default()
    }

    /// Takes a set back.
    pub(super) fn put(&self, mut scratch: Scratch) {
        if scratch.capacity_bytes() == 0 || scratch.capacity_bytes() > MAX_IDLE_BYTES {
            return;
        }
        scratch.clear();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(scratch);
        }
    }

    /// Gives the memory of idle buffers back.
    pub(super) fn release(&self) {
        self.idle.lock().clear();
    }
}
