//! Parts of segments kept on a local disk, so that they are fetched from a bucket once.
//!
//! A segment's object never changes and has its id for ever, so that a copy of its bytes is never out of date. Copies
//! are made of [`BLOCK_BYTES`] at a time, at multiples of that, each in a file of its own: [`block`] says what is in
//! one, [`files`] where it is, [`ledger`] which ones there are and which goes next, [`read`] puts ranges together from
//! blocks and what has to be fetched.
//!
//! Nothing depends on these files. A block that is gone, damaged or of something else is fetched again; one that
//! cannot be written is not kept. What changes (manifests, marks) and whether an object is there is never asked here.
//!
//! Blocks are written behind the back of those who wait for them, by one thread of the runtime's pool at a time. It
//! removes what makes room before it writes, so that the files never take more than they may.

pub(crate) mod block;
pub(crate) mod files;
mod ledger;
mod read;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use loki_logql::budget::{Budget, Reservation};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::counters::DiskCacheCounters;
use crate::error::{Error, is_out_of_space};
use crate::lock::FolderLock;
use crate::segment::SegmentId;
use crate::store::FreeSpace;
use block::{BLOCK_BYTES, BlockKey};
use files::{BlockFiles, FolderBlocks};
use ledger::Ledger;
pub(crate) use read::Origin;

/// Bytes that may wait to be written. What comes while there are so many is not kept.
pub(crate) const WRITE_BEHIND_BYTES: u64 = 16 << 20;
/// So much of the disk is left to others, such as a log in the same place: with less, blocks go instead of coming.
pub(crate) const MIN_FREE_BYTES: u64 = 256 << 20;
/// Blocks that go when there is no room for one.
const GIVEN_WAY_BLOCKS: usize = 2;

/// Blocks of segments on a local disk.
pub(crate) struct BlockCache {
    files: Arc<dyn BlockFiles>,
    free_space: FreeSpace,
    max_bytes: u64,
    ledger: Mutex<Ledger>,
    writing: Mutex<Writing>,
    /// Rings when everything was written.
    written: Notify,
    /// Blocks that are read or wait to be written are drawn from this.
    memory: Budget,
    counters: DiskCacheCounters,
    _lock: Option<FolderLock>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Writing {
    runs: VecDeque<Run>,
    bytes: u64,
    is_under_way: bool,
    /// What is being written just now, until somebody forgets it.
    current: Option<(SegmentId, Range<u64>)>,
    /// Whether the last attempt failed, which is logged once.
    is_failing: bool,
}

/// Blocks that follow each other.
#[derive(Debug)]
struct Run {
    segment: SegmentId,
    first: u32,
    bytes: Bytes,
    _memory: Reservation,
}

impl BlockCache {
    /// Finds the blocks that an earlier run left in `folder`, which is made if it is absent. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process uses the folder; [`Error::Io`] if it cannot be made or read.
    pub(crate) fn open(
        folder: &std::path::Path,
        max_bytes: u64,
        free_space: FreeSpace,
        memory: Budget,
    ) -> Result<Arc<Self>, Error> {
        let lock = FolderLock::acquire(folder)?;
        let cache = Self::with_files(Arc::new(FolderBlocks::new(folder)), max_bytes, free_space, memory)
            .map_err(|source| Error::Io { action: "list", path: folder.to_owned(), source })?;
        Ok(Arc::new(Self { _lock: Some(lock), ..cache }))
    }

    /// The same with files of the caller's making.
    fn with_files(
        files: Arc<dyn BlockFiles>,
        max_bytes: u64,
        free_space: FreeSpace,
        memory: Budget,
    ) -> std::io::Result<Self> {
        let mut found = files.list()?;
        // The order in which they were written stands for the order of their last use, which nobody noted.
        found.sort_unstable_by_key(|file| (file.modified, file.key));
        let mut ledger = Ledger::default();
        for file in found {
            ledger.insert(file.key, space_of(file.bytes));
        }
        let cache = Self {
            files,
            free_space,
            max_bytes,
            ledger: Mutex::new(ledger),
            writing: Mutex::default(),
            written: Notify::new(),
            memory,
            counters: DiskCacheCounters::default(),
            _lock: None,
        };
        if let Err(error) = cache.make_room(0) {
            tracing::warn!(error = %error, "the disk cache is larger than it may be, and blocks cannot be removed");
        }
        Ok(cache)
    }

    /// Blocks that are here.
    pub(crate) fn len(&self) -> usize {
        self.ledger.lock().len()
    }

    /// Bytes that they take on the disk.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.ledger.lock().used_bytes()
    }

    pub(crate) fn counters(&self) -> &DiskCacheCounters {
        &self.counters
    }

    /// Removes the blocks that hold some bytes of a segment, because what was read of them cannot be right although
    /// they are as they were written.
    pub(crate) fn forget(&self, segment: SegmentId, span: &Range<u64>) {
        let Some(numbers) = block::numbers(span) else {
            return;
        };
        {
            let mut writing = self.writing.lock();
            let Writing { runs, bytes, current, .. } = &mut *writing;
            let overlaps =
                |of: SegmentId, run: &Range<u64>| of == segment && run.start < span.end && span.start < run.end;
            runs.retain(|run| {
                let stays = !overlaps(run.segment, &run.span());
                *bytes -= if stays { 0 } else { run.bytes.len() as u64 };
                stays
            });
            current.take_if(|(of, run)| overlaps(*of, run));
        }
        let found = self.ledger.lock().of_segment(segment, numbers);
        for (key, turn) in found {
            self.discard(key, turn);
        }
    }

    /// Waits until nothing waits to be written, or its patience ends: nothing is lost but what a restart would find.
    pub(crate) async fn settle_within(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.settle()).await.is_err() {
            tracing::warn!(?patience, "left blocks unwritten because the disk of the disk cache does not answer");
        }
    }

    /// Returns once nothing waits to be written.
    pub(crate) async fn settle(&self) {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            // Registered before the look, so that the ring in between is heard.
            written.as_mut().enable();
            if !self.writing.lock().is_under_way {
                return;
            }
            written.await;
        }
    }

    /// A block of `len` bytes, if it is here and whole. Blocks the thread.
    fn load(&self, key: BlockKey, len: usize) -> Option<Bytes> {
        let turn = self.ledger.lock().touch(key)?;
        let read = self.files.read(key);
        let gone = matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::NotFound);
        let block = read.ok().and_then(|file| block::decode(file, key, len));
        if block.is_none() {
            if !gone {
                self.counters.damaged.add(1);
                tracing::warn!(block = %key, "removed a block of the disk cache that cannot be read");
            }
            self.discard(key, turn);
        }
        block
    }

    /// Removes a block, unless it was written again meanwhile. One that cannot be removed keeps its place.
    fn discard(&self, key: BlockKey, turn: u64) {
        if self.remove_file(key).is_ok() {
            self.ledger.lock().remove(key, turn);
        }
    }

    fn remove_file(&self, key: BlockKey) -> std::io::Result<()> {
        match self.files.remove(key) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Has blocks written that follow each other, the first one being number `first`, unless too much is waiting.
    fn keep(self: &Arc<Self>, segment: SegmentId, first: u32, bytes: Bytes) {
        let mut memory = self.memory.reservation();
        let mut writing = self.writing.lock();
        let waiting = writing.bytes + bytes.len() as u64;
        if waiting > WRITE_BEHIND_BYTES || memory.grow(bytes.len()).is_err() {
            self.counters.skipped.add(1);
            return;
        }
        writing.bytes = waiting;
        writing.runs.push_back(Run { segment, first, bytes, _memory: memory });
        if !writing.is_under_way {
            writing.is_under_way = true;
            let cache = Arc::clone(self);
            tokio::task::spawn_blocking(move || cache.write_all());
        }
    }

    /// Writes what waits until nothing does.
    fn write_all(&self) {
        loop {
            let run = {
                let mut writing = self.writing.lock();
                let Some(run) = writing.runs.pop_front() else {
                    writing.is_under_way = false;
                    break;
                };
                writing.bytes -= run.bytes.len() as u64;
                writing.current = Some((run.segment, run.span()));
                run
            };
            self.note(self.write_run(&run));
            if self.writing.lock().current.take().is_none() {
                // It was forgotten meanwhile, perhaps before it came.
                self.forget(run.segment, &run.span());
            }
        }
        self.written.notify_waiters();
    }

    fn write_run(&self, run: &Run) -> std::io::Result<()> {
        // Where that cannot be found out, writing shows it.
        let free_bytes = (self.free_space)().unwrap_or(u64::MAX);
        if free_bytes < MIN_FREE_BYTES.saturating_add(run.bytes.len() as u64) {
            self.give_way()?;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let mut rest = run.bytes.clone();
        for number in run.first.. {
            if rest.is_empty() {
                break;
            }
            let payload = rest.split_to(rest.len().min(BLOCK_BYTES as usize));
            self.write(BlockKey { segment: run.segment, number }, &payload)?;
        }
        Ok(())
    }

    fn write(&self, key: BlockKey, payload: &[u8]) -> std::io::Result<()> {
        let bytes = space_of(block::HEADER_BYTES as u64 + payload.len() as u64);
        if bytes > self.max_bytes || self.ledger.lock().has(key) {
            return Ok(());
        }
        self.make_room(bytes)?;
        let written = self.files.write(key, &block::header(key, payload), payload);
        if written.as_ref().is_err_and(is_out_of_space) {
            self.give_way()?;
        }
        written?;
        self.ledger.lock().insert(key, bytes);
        Ok(())
    }

    /// Removes blocks until `bytes` more are not too many.
    fn make_room(&self, bytes: u64) -> std::io::Result<()> {
        while self.used_bytes() + bytes > self.max_bytes {
            if !self.evict()? {
                break;
            }
        }
        Ok(())
    }

    /// Leaves room to others on a full disk.
    fn give_way(&self) -> std::io::Result<()> {
        for _ in 0..GIVEN_WAY_BLOCKS {
            self.evict()?;
        }
        Ok(())
    }

    /// Removes the block whose turn it is. False if there is none.
    fn evict(&self) -> std::io::Result<bool> {
        let Some((key, turn)) = self.ledger.lock().next_out() else {
            return Ok(false);
        };
        self.remove_file(key)?;
        self.ledger.lock().remove(key, turn);
        self.counters.evictions.add(1);
        Ok(true)
    }

    /// Counts failures, and logs the first of several in a row.
    fn note(&self, outcome: std::io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.writing.lock().is_failing, outcome.is_err());
        match outcome {
            Ok(()) if was_failing => tracing::info!("the disk cache can be written again"),
            Ok(()) => {}
            Err(error) => {
                self.counters.write_failures.add(1);
                if !was_failing {
                    tracing::warn!(error = %error, "cannot write to the disk cache; what is read is not kept for now");
                }
            }
        }
    }
}

impl Run {
    /// Where it lies in its segment.
    fn span(&self) -> Range<u64> {
        let start = block::start(self.first);
        start..start + self.bytes.len() as u64
    }
}

/// What a file of so many bytes takes on a disk.
fn space_of(file_bytes: u64) -> u64 {
    const DISK_BLOCK_BYTES: u64 = 4096;
    file_bytes.next_multiple_of(DISK_BLOCK_BYTES)
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache")
            .field("max_bytes", &self.max_bytes)
            .field("blocks", &self.len())
            .finish_non_exhaustive()
    }
}
