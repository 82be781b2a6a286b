//! Work that is not part of a request: flushing, folding segments into the
//! manifest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Store};
use crate::error::Error;
use crate::flush::{PendingFlush, publish};
use crate::head::Head;
use crate::manifest::{self, Manifest, ManifestSegment};
use crate::objects::PutNew;
use crate::segment::layout::WalPosition;
use crate::segment::{Header, Segment, SegmentId};

/// Segments outside the manifest at which a new manifest is published.
pub const FOLD_SEGMENTS: usize = 16;
/// Manifests kept besides the newest.
const MANIFESTS_KEPT: u64 = 2;
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
}

impl Store {
    /// Makes everything pushed so far a segment.
    pub async fn flush(&self) -> Result<(), Error> {
        self.flush_if(|_| true).await.map(|_| ())
    }

    /// Does one bounded round of what is due: flush by age or size, and folding segments into the manifest.
    ///
    /// Call it every few seconds; it does nothing when nothing is due.
    pub async fn maintain(&self) -> Result<Maintained, Error> {
        let inner = &self.inner;
        let now = inner.config.clock.monotonic_nanos();
        let due = |head: &Head| {
            let age = head.oldest_append_nanos().map_or(0, |oldest| now.saturating_sub(oldest));
            head.bytes() as u64 >= inner.config.flush_bytes || age >= inner.config.flush_age.as_nanos() as u64
        };
        let flushed = self.flush_if(due).await?;
        let folded = self.fold().await?;
        self.forget_processed_deletes().await?;
        inner.ingest.release_idle(&*inner.config.clock);
        Ok(Maintained { flushed, folded })
    }

    /// Starts a flush without waiting for it. A failure is logged and tried again by the next flush.
    pub(super) fn flush_in_background(&self) {
        let store = self.clone();
        tokio::spawn(async move {
            let flush_bytes = store.inner.config.flush_bytes;
            if let Err(error) = store.flush_if(|head| head.bytes() as u64 >= flush_bytes).await {
                tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "flush failed and will be tried again");
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
    async fn flush_if(&self, due: impl FnOnce(&Head) -> bool) -> Result<usize, Error> {
        let inner = &self.inner;
        let _one_at_a_time = inner.flushing.lock().await;
        inner.freeze_if(due)?;
        let mut flushed = 0;
        loop {
            let Some(pending) = inner.state.lock().pending.first().cloned() else {
                return Ok(flushed);
            };
            if let Err(error) = inner.flush_one(pending).await {
                inner.counters.flush_failures.add(1);
                return Err(error);
            }
            flushed += 1;
            inner.flushed.notify_waiters();
        }
    }

    /// Publishes a manifest that names all segments, once enough of them are not in one; returns how many it added.
    async fn fold(&self) -> Result<usize, Error> {
        let inner = &self.inner;
        let _no_flush_meanwhile = inner.flushing.lock().await;
        let (number, folded) = {
            let manifest = inner.manifest.lock();
            (manifest.number, manifest.folded.clone())
        };
        let segments = inner.state.lock().segments.clone();
        let is_new = |segment: &&Arc<Segment>| {
            folded.get(&segment.header.writer).is_none_or(|&through| segment.header.sequence > through)
        };
        let new = segments.iter().filter(is_new).count();
        if new < FOLD_SEGMENTS {
            return Ok(0);
        }
        let manifest = next_manifest(number + 1, &segments, folded);
        let path = inner.objects.path(&manifest::path(manifest.number));
        match inner.objects.put_new(&path, manifest.encode()).await? {
            PutNew::Created => {}
            PutNew::Exists if inner.objects.get(&path).await? == manifest.encode() => {}
            PutNew::Exists => {
                return Err(Error::Fenced { writer: inner.writer.to_string(), object: path.to_string() });
            }
        }
        if let Some(old) = number.checked_sub(MANIFESTS_KEPT) {
            inner.objects.delete(&inner.objects.path(&manifest::path(old))).await?;
        }
        let mut state = inner.manifest.lock();
        state.number = manifest.number;
        state.folded = manifest.folded;
        Ok(new)
    }
}

fn next_manifest(
    number: u64,
    segments: &[Arc<Segment>],
    mut folded: BTreeMap<crate::segment::WriterId, u64>,
) -> Manifest {
    let describe = |segment: &Arc<Segment>| {
        let tenants = &segment.footer.tenants;
        ManifestSegment {
            id: segment.header.id,
            path: segment.header.writer.segment_path(segment.header.sequence),
            size: segment.size,
            level: 0,
            rows: tenants.iter().map(|tenant| tenant.rows).sum(),
            first: tenants.iter().map(|tenant| tenant.first).min().unwrap_or_default(),
            last: tenants.iter().map(|tenant| tenant.last).max().unwrap_or_default(),
        }
    };
    for segment in segments {
        let through = folded.entry(segment.header.writer).or_default();
        *through = segment.header.sequence.max(*through);
    }
    Manifest { number, segments: segments.iter().map(describe).collect(), folded }
}

impl Inner {
    /// Turns the head into a pending flush if it is `due` and not empty.
    fn freeze_if(&self, due: impl FnOnce(&Head) -> bool) -> Result<(), Error> {
        let mut wal = self.wal.lock();
        {
            let state = self.state.lock();
            if state.head.is_empty() || !due(&state.head) {
                return Ok(());
            }
        }
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
        };
        let head = Arc::new(std::mem::take(&mut state.head).freeze());
        state.pending.push(PendingFlush { head, header });
        Ok(())
    }

    /// Makes a frozen head a segment and lets go of its memory and its log.
    async fn flush_one(self: &Arc<Self>, pending: PendingFlush) -> Result<(), Error> {
        let (inner, work) = (Arc::clone(self), pending.clone());
        let built = tokio::task::spawn_blocking(move || work.build(&inner.config)).await;
        let finished = match built {
            Ok(finished) => finished?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let path = self.objects.path(&pending.segment_path());
        publish(&self.objects, &path, &pending.header, &finished).await?;
        let size = finished.bytes.len() as u64;
        let rows: u64 = finished.footer.tenants.iter().map(|tenant| tenant.rows).sum();
        let segment = Segment::assemble(&self.objects, &self.cache, path, size, pending.header, finished.footer);
        {
            let mut state = self.state.lock();
            state.segments.push(Arc::new(segment));
            state.pending.retain(|other| other.header.id != pending.header.id);
        }
        self.counters.segments_flushed.add(1);
        self.counters.entries_flushed.add(rows);
        self.counters.segment_bytes_flushed.add(size);
        if let Some(wal) = self.wal.lock().as_mut() {
            wal.remove_through(pending.header.wal.through)?;
        }
        Ok(())
    }
}
