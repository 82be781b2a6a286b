//! Deleting objects that hold nothing live.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;
use object_store::path::Path as ObjectPath;
use uuid::Uuid;

use super::Inner;
use super::publish::MANIFESTS_KEPT;
use crate::error::Error;
use crate::manifest;
use crate::segment::{Segment, WriterId};

/// How often objects are searched for that nothing names.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// Objects deleted in one round.
const MAX_DELETES: usize = 256;

/// Objects that nothing names, and since when that is known.
///
/// An object is deleted only if it was found to be unnamed before, long enough ago: a merge elsewhere may be about to
/// publish it.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    swept_at: Option<Timestamp>,
    suspects: BTreeMap<ObjectPath, Timestamp>,
}

impl Sweep {
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.swept_at.is_none_or(|at| now >= after(at, SWEEP_INTERVAL) || now < at)
    }

    /// Notes which objects are unnamed and returns those that have been for `delay`.
    fn update(&mut self, unnamed: Vec<ObjectPath>, now: Timestamp, delay: Duration) -> Vec<ObjectPath> {
        self.swept_at = Some(now);
        let mut before = std::mem::take(&mut self.suspects);
        let since = unnamed.into_iter().map(|path| {
            let since = before.remove(&path).unwrap_or(now);
            (path, since)
        });
        self.suspects = since.collect();
        let ripe = self.suspects.iter().filter(|(_, since)| now >= after(**since, delay));
        ripe.map(|(path, _)| path.clone()).collect()
    }
}

impl Inner {
    /// Deletes replaced objects that nobody reads, once they have been kept long enough, or now if space is short;
    /// returns how many.
    ///
    /// The manifest forgets them when the next one is written; until then, opening the store deletes them again.
    pub(super) async fn delete_replaced(&self, is_urgent: bool) -> Result<usize, Error> {
        let now = self.config.clock.now();
        let due: Vec<String> = {
            let chain = self.chain.lock();
            if chain.is_in_doubt {
                return Ok(0);
            }
            let is_due = |at| is_urgent || now >= after(at, self.config.delete_delay);
            let replaced = chain.replaced.iter();
            let due = replaced.filter(|r| is_due(r.object.at) && r.readers.strong_count() == 0);
            due.take(MAX_DELETES).map(|r| r.object.path.clone()).collect()
        };
        let (deleted, result) = self.objects.delete_all(&due).await;
        self.chain.lock().replaced.retain(|replaced| !deleted.contains(&replaced.object.path));
        self.counters.objects_deleted.add(deleted.len() as u64);
        result.map(|()| deleted.len())
    }

    /// Finds objects that nothing names, and deletes those that nothing has named for long; returns how many.
    /// `unpublished` are about to be named.
    pub(super) async fn sweep(&self, sweep: &mut Sweep, unpublished: &[Arc<Segment>]) -> Result<usize, Error> {
        let now = self.config.clock.now();
        if !sweep.is_due(now) || self.chain.lock().is_in_doubt {
            return Ok(0);
        }
        let unnamed = self.unnamed(unpublished).await?;
        let ripe = sweep.update(unnamed, now, self.config.delete_delay);
        let ripe: Vec<String> = ripe.iter().map(|path| self.objects.relative(path)).take(MAX_DELETES).collect();
        let (deleted, result) = self.objects.delete_all(&ripe).await;
        if !deleted.is_empty() {
            tracing::info!(objects = deleted.len(), "deleted objects that failures or crashes had left");
        }
        self.counters.orphans_deleted.add(deleted.len() as u64);
        result.map(|()| deleted.len())
    }

    /// Segments and manifests that nothing names.
    async fn unnamed(&self, unpublished: &[Arc<Segment>]) -> Result<Vec<ObjectPath>, Error> {
        let mut found = Vec::new();
        for folder in ["s", "w", "m"] {
            found.extend(self.objects.list(folder).await?.into_iter().map(|object| object.location));
        }
        // What is named is looked up after the search, or a flush in between would look like an orphan.
        let mut named: HashSet<ObjectPath> = HashSet::new();
        {
            let state = self.state.lock();
            named.extend(state.segments.iter().map(|segment| segment.path.clone()));
            named.extend(state.pending.iter().map(|pending| self.objects.path(&pending.segment_path())));
        }
        named.extend(unpublished.iter().map(|segment| segment.path.clone()));
        let mut chain = self.chain.lock();
        // Runs of which nothing is left need not be remembered; there is a new one at every start.
        let writer_of = |path: &ObjectPath| {
            let relative = self.objects.relative(path);
            relative.split('/').nth(1).and_then(|writer| Uuid::try_parse(writer).ok()).map(WriterId)
        };
        let writers: HashSet<WriterId> = found.iter().filter_map(writer_of).collect();
        chain.folded.retain(|writer, _| *writer == self.writer || writers.contains(writer));
        named.extend(chain.replaced.iter().map(|replaced| self.objects.path(&replaced.object.path)));
        found.retain(|path| {
            let relative = self.objects.relative(path);
            let is_ours = match relative.split_once('/') {
                Some(("s", name)) => name.strip_suffix(".seg").is_some_and(|id| Uuid::try_parse(id).is_ok()),
                Some(("w", rest)) => rest.split_once('/').is_some_and(|(writer, name)| {
                    let writer = Uuid::try_parse(writer).ok().map(WriterId);
                    let folded = writer.and_then(|writer| chain.folded.get(&writer));
                    manifest::sequence_of(name).is_some_and(|sequence| folded.is_some_and(|&f| sequence <= f))
                }),
                Some(("m", name)) => {
                    manifest::number_of(name).is_some_and(|number| number + MANIFESTS_KEPT < chain.number)
                }
                _ => false,
            };
            is_ours && !named.contains(path)
        });
        Ok(found)
    }
}

fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.saturating_add_nanos(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_deleted_only_if_nothing_named_it_all_the_while() {
        let (path, delay) = (|name: &str| ObjectPath::from(name), Duration::from_secs(10));
        let mut sweep = Sweep::default();
        let mut at = |seconds, unnamed: &[&str]| {
            let unnamed = unnamed.iter().map(|name| path(name)).collect();
            sweep.update(unnamed, Timestamp::from_seconds(seconds), delay)
        };
        assert_eq!(at(0, &["a", "b"]), []);
        assert_eq!(at(9, &["a"]), []);
        assert_eq!(at(10, &["a", "b"]), [path("a")]);
        assert_eq!(at(19, &["b"]), []);
        assert_eq!(at(20, &["b"]), [path("b")]);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_sweeping() {
        let mut sweep = Sweep::default();
        assert!(sweep.is_due(Timestamp::from_seconds(5)));
        sweep.update(vec![], Timestamp::from_seconds(5), Duration::ZERO);
        assert!(!sweep.is_due(Timestamp::from_seconds(6)));
        assert!(sweep.is_due(Timestamp::from_seconds(4)));
        assert!(sweep.is_due(Timestamp::from_seconds(5 + 3600)));
    }
}
