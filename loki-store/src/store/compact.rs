//! Carrying out merges: fetch, merge, put, publish.
//!
//! A merge is a [`Job`] that is worked on for a while in each round of maintenance. Nothing of it counts before its
//! manifest is published, so it may end at any point: what it has put by then is found and deleted later.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;
use loki_logql::budget::Reservation;

use super::garbage::Sweep;
use super::publish::Change;
use super::{Inner, Store};
use crate::compaction::{
    Bounds, Candidate, Choice, Merge, MergedSegment, OutputOptions, Progress, Rules, Tally, WINDOW_BYTES, Windows,
    choose,
};
use crate::deletes::{DeleteId, Deletions};
use crate::error::Error;
use crate::flush;
use crate::segment::{Segment, SegmentId};
use crate::tenant::TenantId;

/// How long a round of maintenance works on merges before it returns.
const MERGE_ROUND: Duration = Duration::from_secs(2);
/// The first pause after a failed merge; it doubles with every failure that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failed merge.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// What maintenance remembers between rounds.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    job: Option<Job>,
    /// A merge that is finished, until it is published.
    unpublished: Option<Merged>,
    pause: Pause,
    pub(super) sweep: Sweep,
    /// Segments with damage, which stay as they are.
    pub(super) unmergeable: HashSet<SegmentId>,
    /// Segments without streams that are too old, as of so many retentions that are over.
    pub(super) sifted: HashMap<SegmentId, usize>,
    /// Segments without entries that a request to delete them selects.
    pub(super) cleared: HashSet<(DeleteId, SegmentId)>,
    pub(super) expired_at: Option<Timestamp>,
}

/// Segments being replaced by others.
#[derive(Debug)]
pub(super) struct Job {
    inputs: Vec<Arc<Segment>>,
    level: u8,
    /// `None` if the level decides.
    windows: Option<Windows>,
    /// Tenants that are not begun yet.
    tenants: VecDeque<TenantId>,
    merge: Option<Box<Merge>>,
    /// A segment that could not be put.
    unput: Option<Box<MergedSegment>>,
    outputs: Vec<Arc<Segment>>,
    tally: Tally,
    /// Holds what the merge takes.
    memory: Option<Reservation>,
}

/// A finished merge.
#[derive(Debug)]
struct Merged {
    change: Change,
    tally: Tally,
}

/// Failures in a row, and until when nothing is tried.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    until_nanos: u64,
}

impl Pause {
    fn extend(&mut self, now_nanos: u64) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(MAX_PAUSE);
        self.failures += 1;
        self.until_nanos = now_nanos.saturating_add(pause.as_nanos() as u64);
    }
}

impl Job {
    /// Merges segments, in order of arrival.
    fn new(inputs: Vec<Arc<Segment>>, level: u8, windows: Option<Windows>) -> Self {
        let mut tenants: Vec<TenantId> = Vec::new();
        for segment in &inputs {
            tenants.extend(segment.footer.tenants.iter().map(|entry| entry.tenant.clone()));
        }
        tenants.sort();
        tenants.dedup();
        let (outputs, tally) = (Vec::new(), Tally::default());
        Self { inputs, level, windows, tenants: tenants.into(), merge: None, unput: None, outputs, tally, memory: None }
    }

    /// Writes a segment again, without what nobody may see.
    pub(super) fn rewrite(segment: Arc<Segment>) -> Self {
        match segment.header.level {
            0 => Self::new(vec![segment], 1, None),
            level => Self::new(vec![segment], level, Some(Windows::Whole)),
        }
    }
}

impl Housekeeping {
    /// Segments that are put and not yet named by a manifest.
    pub(super) fn unnamed_outputs(&self) -> Vec<Arc<Segment>> {
        let outputs = self.job.iter().flat_map(|job| &job.outputs);
        outputs.chain(self.unpublished.iter().flat_map(|merged| &merged.change.added)).cloned().collect()
    }

    /// After damage the merge is given up, and the damaged segment with it; after other failures it goes on later.
    fn note_failure(&mut self, job: Job, error: &Error) {
        // An input that somebody deleted will not come back; what is live is looked up again.
        let is_gone = matches!(error, Error::Object { source: object_store::Error::NotFound { .. }, .. });
        if !self.note_damage(&job.inputs, error) && !is_gone {
            self.job = Some(job);
        }
    }

    /// Leaves segments alone from now on that an error says are damaged; whether it says so.
    fn note_damage(&mut self, segments: &[Arc<Segment>], error: &Error) -> bool {
        let is_damaged = |segment: &&Arc<Segment>| match error {
            Error::Corrupt { object, .. } => segment.path.as_ref() == object.as_str(),
            // Nobody knows which one it is.
            Error::Encode { .. } | Error::Merge { .. } => true,
            _ => false,
        };
        for segment in segments.iter().filter(is_damaged) {
            self.unmergeable.insert(segment.header.id);
            tracing::error!(
                segment = %segment.path,
                error = %error,
                cause = std::error::Error::source(error).map(tracing::field::display),
                "a segment cannot be merged and stays as it is"
            );
        }
        matches!(error, Error::Corrupt { .. } | Error::Encode { .. } | Error::Merge { .. })
    }

    /// Forgets what is known of segments that are gone.
    pub(super) fn forget_gone(&mut self, live: &[Arc<Segment>]) {
        let live: HashSet<SegmentId> = live.iter().map(|segment| segment.header.id).collect();
        self.unmergeable.retain(|id| live.contains(id));
        self.sifted.retain(|id, _| live.contains(id));
        self.cleared.retain(|(_, id)| live.contains(id));
    }
}

impl Store {
    /// Goes on with merging: work on the merge at hand, or begin the next one that is due. Returns how many segments were
    /// replaced, and whether there is more to do.
    pub(super) async fn merge_round(&self, housekeeping: &mut Housekeeping) -> Result<(usize, bool), Error> {
        let clock = &self.inner.config.clock;
        if clock.monotonic_nanos() < housekeeping.pause.until_nanos {
            return Ok((0, false));
        }
        let deadline = clock.monotonic_nanos().saturating_add(MERGE_ROUND.as_nanos() as u64);
        self.merge_until(housekeeping, &Rules::LAZY, deadline).await
    }

    /// Merges whatever reduces the number of segments, without waiting for more to come; returns how many were replaced.
    pub(super) async fn merge_all(&self, housekeeping: &mut Housekeeping) -> Result<usize, Error> {
        self.merge_until(housekeeping, &Rules::EAGER, u64::MAX).await.map(|(merged, _)| merged)
    }

    async fn merge_until(
        &self,
        housekeeping: &mut Housekeeping,
        rules: &Rules,
        deadline: u64,
    ) -> Result<(usize, bool), Error> {
        let inner = &self.inner;
        let mut merged = 0;
        loop {
            let result = self.merge_one(housekeeping, rules, deadline).await;
            match result {
                Ok(Some(count)) => merged += count,
                Ok(None) => {
                    housekeeping.pause = Pause::default();
                    return Ok((merged, housekeeping.job.is_some()));
                }
                Err(error) => {
                    inner.counters.merge_failures.add(1);
                    housekeeping.pause.extend(inner.config.clock.monotonic_nanos());
                    return Err(error);
                }
            }
        }
    }

    /// Finishes one merge. `None` if there is none to do, or no time left.
    async fn merge_one(
        &self,
        housekeeping: &mut Housekeeping,
        rules: &Rules,
        deadline: u64,
    ) -> Result<Option<usize>, Error> {
        let inner = &self.inner;
        if housekeeping.unpublished.is_some() {
            return self.publish_merged(housekeeping).await.map(Some);
        }
        if inner.config.clock.monotonic_nanos() >= deadline {
            return Ok(None);
        }
        // Dropped with this future if that is cancelled; then the merge begins anew.
        let mut job = match housekeeping.job.take() {
            Some(job) => job,
            None => match self.next_job(housekeeping, rules, deadline).await {
                Ok(Some(job)) => job,
                Ok(None) => return Ok(None),
                Err(error) => {
                    let live = inner.state.lock().segments.clone();
                    housekeeping.note_damage(&live, &error);
                    return Err(error);
                }
            },
        };
        match self.work(&mut job, deadline).await {
            Ok(true) => {}
            Ok(false) => {
                housekeeping.job = Some(job);
                return Ok(None);
            }
            Err(error) => {
                housekeeping.note_failure(job, &error);
                return Err(error);
            }
        }
        let change = Change { removed: job.inputs, added: job.outputs };
        housekeeping.unpublished = Some(Merged { change, tally: job.tally });
        self.publish_merged(housekeeping).await.map(Some)
    }

    /// Makes a finished merge count; returns how many segments it replaced.
    async fn publish_merged(&self, housekeeping: &mut Housekeeping) -> Result<usize, Error> {
        let Some(Merged { change, tally }) = &housekeeping.unpublished else {
            return Ok(0);
        };
        let counters = &self.inner.counters;
        let is_made = self.inner.publish(change).await?;
        let replaced = change.removed.len();
        if is_made {
            let bytes = |segments: &[Arc<Segment>]| segments.iter().map(|segment| segment.size).sum();
            counters.merges.add(1);
            counters.segments_merged.add(replaced as u64);
            counters.merge_bytes_read.add(bytes(&change.removed));
            counters.merge_bytes_written.add(bytes(&change.added));
            counters.entries_merged.add(tally.written);
            counters.duplicates_removed.add(tally.duplicates);
            counters.entries_erased.add(tally.hidden);
        }
        housekeeping.unpublished = None;
        Ok(if is_made { replaced } else { 0 })
    }

    /// The merge that is due, if any: entries that must go come first.
    async fn next_job(
        &self,
        housekeeping: &mut Housekeeping,
        rules: &Rules,
        deadline: u64,
    ) -> Result<Option<Job>, Error> {
        let live = self.inner.state.lock().segments.clone();
        housekeeping.forget_gone(&live);
        if let Some(job) = self.next_erasure(housekeeping, &live, deadline).await? {
            return Ok(Some(job));
        }
        if let Some(job) = self.next_sifting(housekeeping, &live).await? {
            return Ok(Some(job));
        }
        let mergeable = live.iter().filter(|segment| !housekeeping.unmergeable.contains(&segment.header.id));
        let candidates: Vec<Candidate> = mergeable.map(candidate).collect();
        let rules = rules.within(self.inner.merge_bounds());
        let Choice::Merge { inputs, level } = choose(&candidates, self.inner.config.clock.now(), &rules) else {
            return Ok(None);
        };
        let inputs: HashSet<SegmentId> = inputs.into_iter().collect();
        let inputs = live.into_iter().filter(|segment| inputs.contains(&segment.header.id)).collect();
        Ok(Some(Job::new(inputs, level, None)))
    }

    /// Works on a merge until it is done or the deadline is over; says whether it is done.
    async fn work(&self, job: &mut Job, deadline: u64) -> Result<bool, Error> {
        let inner = &self.inner;
        let clock = &inner.config.clock;
        loop {
            let began = clock.monotonic_nanos();
            if let Some(finished) = &job.unput {
                job.outputs.push(inner.put_merged(finished).await?);
                job.unput = None;
            }
            let merge = match job.merge.take() {
                Some(merge) => job.merge.insert(merge),
                None => match job.tenants.front() {
                    None => return Ok(true),
                    Some(tenant) => {
                        let merge = self.open_merge(job, tenant).await?;
                        job.tenants.pop_front();
                        job.merge.insert(Box::new(merge))
                    }
                },
            };
            merge.fetch().await?;
            let mut merge = job.merge.take().expect("it was just there");
            let (merge, progress) = super::blocking(move || {
                let progress = merge.run();
                (merge, progress)
            })
            .await;
            let progress = progress?;
            let finished_bytes =
                if let Progress::Segment(finished) = &progress { finished.segment.bytes.len() } else { 0 };
            let held_bytes = merge.held_bytes() + finished_bytes;
            job.memory.get_or_insert_with(|| inner.memory.for_merge(0)).hold(held_bytes as u64);
            match progress {
                Progress::Starved => job.merge = Some(merge),
                Progress::Segment(segment) => {
                    job.merge = Some(merge);
                    job.unput = Some(segment);
                }
                Progress::Done => job.tally.add(check(&merge)?),
            }
            if clock.monotonic_nanos() >= deadline {
                return Ok(false);
            }
            // Whoever waits for an answer comes first: half of the time is theirs alone.
            if inner.readers.are_there() {
                let worked = Duration::from_nanos(clock.monotonic_nanos().saturating_sub(began));
                tokio::time::sleep(worked.min(MERGE_ROUND)).await;
            }
        }
    }

    async fn open_merge(&self, job: &Job, tenant: &TenantId) -> Result<Merge, Error> {
        let config = &self.inner.config;
        let parts: Vec<_> = job.inputs.iter().filter_map(|segment| segment.tenant(tenant)).collect();
        let first = parts.iter().map(|part| part.entry().first).min().unwrap_or_default();
        let last = parts.iter().map(|part| part.entry().last).max().unwrap_or_default();
        let options = OutputOptions {
            writer: self.inner.writer,
            level: job.level,
            created: job.inputs.iter().map(|segment| segment.header.created).max().unwrap_or_default(),
            windows: job.windows.unwrap_or_else(|| Windows::of_level(job.level, first, last)),
            // What is merged a second time is little, however many lines it has, and must not fall apart again.
            window_bytes: if job.level <= 1 { WINDOW_BYTES } else { u64::MAX },
            codec: config.merge_codec,
            chunk_bytes: config.chunk_bytes,
            segment_bytes: self.inner.merge_bounds().segment_bytes,
        };
        Merge::open(parts, self.erased(tenant), options).await
    }

    /// What merges leave out of a tenant's entries.
    fn erased(&self, tenant: &TenantId) -> Deletions {
        let due = self.pending_deletes().into_iter().filter(|deletion| deletion.tenant == *tenant);
        Deletions::new(due.collect()).with_retention(self.inner.cuts(tenant))
    }
}

impl Inner {
    fn merge_bounds(&self) -> Bounds {
        Bounds::of(self.config.merge_memory_bytes, self.config.chunk_bytes)
    }

    async fn put_merged(&self, finished: &MergedSegment) -> Result<Arc<Segment>, Error> {
        let MergedSegment { header, segment } = finished;
        let path = self.objects.path(&header.object_path());
        flush::publish(&self.objects, &path, header, segment).await?;
        let size = segment.bytes.len() as u64;
        let footer = segment.footer.clone();
        Ok(Arc::new(Segment::assemble(&self.objects, &self.cache, path, size, *header, footer)))
    }
}

/// What became of the entries of a finished merge, if all of them are accounted for.
fn check(merge: &Merge) -> Result<Tally, Error> {
    let (tally, expected) = (merge.tally(), merge.rows_expected());
    let found = tally.written + tally.duplicates + tally.hidden;
    if tally.read == expected && found == expected {
        return Ok(tally);
    }
    Err(Error::Merge { expected, found })
}

fn candidate(segment: &Arc<Segment>) -> Candidate {
    let (first, last) = segment.bounds();
    let tenant = match segment.footer.tenants.as_slice() {
        [one] => Some(one.tenant.clone()),
        _ => None,
    };
    let (id, level, created) = (segment.header.id, segment.header.level, segment.header.created);
    Candidate { id, level, size: segment.size, created, first, last, tenant }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pause = Pause::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pause.extend(7);
            pauses.push(Duration::from_nanos(pause.until_nanos - 7).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
