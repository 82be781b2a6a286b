//! Work that is not part of a request: flushing, and whatever else is due.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::compact::Housekeeping;
use super::{Inner, Store, blocking};
use crate::counters::FlushReason;
use crate::error::Error;
use crate::flush::{FlushedSegment, PendingFlush, publish};
use crate::head::Head;
use crate::segment::layout::WalPosition;
use crate::segment::{Header, Segment, SegmentId};

/// How long a push waits for memory before it is refused.
pub const MAX_WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// What one round of [`Store::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Segments flushed.
    pub flushed: usize,
    /// Segments newly named by the manifest.
    pub folded: usize,
    /// Segments replaced by merged ones.
    pub merged: usize,
    /// Segments dropped because they were too old, or because there was too little space.
    pub dropped: usize,
    /// Objects deleted that hold nothing live.
    pub deleted: usize,
    /// Whether a merge is under way: another round may follow at once.
    pub has_more: bool,
}

impl Store {
    /// Makes everything pushed so far a segment.
    pub async fn flush(&self) -> Result<(), Error> {
        self.flush_if(|_| Some(FlushReason::Forced)).await.map(|_| ())
    }

    /// Does one bounded round of what is due: flush by age or size, name segments in the manifest, drop what is too old
    /// or takes too much space, delete what is no longer used, and merge for about two seconds.
    ///
    /// Call it every few seconds, or sooner if [`Maintained::has_more`]; it does nothing when nothing is due. It may be
    /// cancelled at any point. If part of it fails the rest is done all the same, the first failure is returned, and the
    /// next round tries again.
    pub async fn maintain(&self) -> Result<Maintained, Error> {
        let inner = &self.inner;
        let now = inner.config.clock.monotonic_nanos();
        let due = |head: &Head| {
            let age = head.oldest_append_nanos().map_or(0, |oldest| now.saturating_sub(oldest));
            let is_old = age >= inner.config.flush_age.as_nanos() as u64;
            inner.is_full(head).or(is_old.then_some(FlushReason::MaxAge))
        };
        let mut failures = Failures(Ok(()));
        let mut done = Maintained { flushed: failures.note(self.flush_if(due).await), ..Maintained::default() };
        // Somebody else may be at it already.
        if let Ok(mut housekeeping) = inner.housekeeping.try_lock() {
            self.keep_house(&mut housekeeping, &mut done, &mut failures).await;
        }
        failures.note(self.forget_processed_deletes().await);
        inner.ingest.release_idle(&*inner.config.clock);
        failures.0.map(|()| done)
    }

    /// Merges flushed segments into those of their tenants, and these into days, without waiting until it is due.
    /// Returns how many segments were replaced.
    pub async fn compact(&self) -> Result<usize, Error> {
        let mut housekeeping = self.inner.housekeeping.lock().await;
        self.inner.fold().await?;
        self.merge_all(&mut housekeeping).await
    }

    async fn keep_house(&self, housekeeping: &mut Housekeeping, done: &mut Maintained, failures: &mut Failures) {
        let inner = &self.inner;
        done.folded = failures.note(inner.fold().await);
        done.dropped = failures.note(self.expire(housekeeping).await) + failures.note(self.make_room().await);
        (done.merged, done.has_more) = failures.note(self.merge_round(housekeeping).await);
        done.deleted = failures.note(inner.delete_replaced(false).await);
        let unnamed = housekeeping.unnamed_outputs();
        done.deleted += failures.note(inner.sweep(&mut housekeeping.sweep, &unnamed).await);
    }

    /// Starts a flush without waiting for it. The next flush tries again what failed; maintenance reports it, while here
    /// every push might.
    pub(super) fn flush_in_background(&self) {
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.flush_if(|head| store.inner.is_full(head)).await {
                tracing::debug!(error = %error, cause = ?std::error::Error::source(&error), "flush failed and will be tried again");
            }
        });
    }

    /// Waits until there is memory for another push.
    pub(super) async fn wait_for_room(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let has_room = || inner.state.lock().head_bytes() < inner.config.head_max_bytes;
        if has_room() {
            return Ok(());
        }
        self.flush_in_background();
        let freed = async {
            loop {
                let flushed = inner.flushed.notified();
                if has_room() {
                    return;
                }
                flushed.await;
            }
        };
        tokio::time::timeout(MAX_WAIT_FOR_ROOM, freed).await.map_err(|_| Error::HeadFull {
            used_bytes: inner.state.lock().head_bytes(),
            limit_bytes: inner.config.head_max_bytes,
        })
    }

    /// Flushes whatever failed to flush before, and the head if it is `due`; returns the number of new segments.
    async fn flush_if(&self, due: impl FnOnce(&Head) -> Option<FlushReason>) -> Result<usize, Error> {
        let inner = &self.inner;
        let _one_at_a_time = inner.flushing.lock().await;
        inner.freeze_if(due);
        let mut flushed = 0;
        loop {
            let Some(pending) = inner.state.lock().pending.first().cloned() else {
                return Ok(flushed);
            };
            let span = tracing::info_span!("flush", segment = %pending.header.id, bytes = pending.head.bytes());
            if let Err(error) = inner.flush_one(pending).instrument(span).await {
                inner.counters.flush_failures.add(1);
                return Err(error);
            }
            flushed += 1;
            inner.flushed.notify_waiters();
        }
    }
}

impl Inner {
    /// The reason to flush a head that has so many bytes that it must be.
    fn is_full(&self, head: &Head) -> Option<FlushReason> {
        (head.bytes() as u64 >= self.flush_bytes()).then_some(FlushReason::Full)
    }

    /// Turns the head into a pending flush if it is `due` and not empty.
    fn freeze_if(&self, due: impl FnOnce(&Head) -> Option<FlushReason>) {
        let mut wal = self.wal.lock();
        let reason = {
            let state = self.state.lock();
            if state.head.is_empty() { None } else { due(&state.head) }
        };
        let Some(reason) = reason else {
            return;
        };
        let through = match wal.as_mut() {
            Some(wal) => wal.rotate(),
            None => 0,
        };
        let mut state = self.state.lock();
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let header = Header {
            id: SegmentId::random(),
            writer: self.writer,
            sequence,
            wal: WalPosition { log: self.log, through },
            created: self.config.clock.now(),
            level: 0,
        };
        let head = Arc::new(std::mem::take(&mut state.head).freeze());
        state.pending.push(PendingFlush { head, header, reason });
    }

    /// Makes a frozen head a segment and lets go of its memory and its log.
    async fn flush_one(self: &Arc<Self>, pending: PendingFlush) -> Result<(), Error> {
        let (inner, work) = (Arc::clone(self), pending.clone());
        let _memory = self.memory.for_flush(pending.head.bytes());
        let FlushedSegment { segment: finished, line_lengths } = blocking(move || work.build(&inner.config)).await?;
        let path = self.objects.path(&pending.segment_path());
        publish(&self.objects, &path, &pending.header, &finished).await?;
        let size = finished.bytes.len() as u64;
        let rows: u64 = finished.footer.tenants.iter().map(|tenant| tenant.rows).sum();
        let segment = Segment::assemble(&self.objects, &self.cache, path, size, pending.header, finished.footer);
        {
            let mut state = self.state.lock();
            state.segments.push(Arc::new(segment));
            state.pending.retain(|other| other.header.id != pending.header.id);
            self.memory.note_heads(state.head_bytes());
        }
        self.counters.segments_flushed.add(1);
        self.counters.entries_flushed.add(rows);
        let (chunk_bytes, created) = (self.config.chunk_bytes, pending.header.created);
        self.counters.chunks_flushed.record(&finished.chunks, pending.reason, chunk_bytes, created);
        line_lengths.add_to(&self.counters.chunks_flushed.line_bytes);
        self.counters.segment_bytes_flushed.add(size);
        if let Some(wal) = self.wal.lock().as_mut() {
            wal.remove_through(pending.header.wal.through)?;
        }
        Ok(())
    }
}

/// The first failure of several steps of which each is done whatever became of the others.
struct Failures(Result<(), Error>);

impl Failures {
    fn note<T: Default>(&mut self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            if self.0.is_ok() {
                self.0 = Err(error);
            }
            T::default()
        })
    }
}
