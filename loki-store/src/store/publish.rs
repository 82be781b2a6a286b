//! Publishing manifests: the one way in which the set of live segments changes, besides flushes that add to it.
//!
//! A manifest is put if absent, so of several contenders one wins. Whatever the object store answers, or fails to
//! answer, what counts is what is there: a manifest that is found where ours was to be is adopted if it is not ours, and
//! as long as it is unknown whether a put has had its effect, nothing is deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use uuid::Uuid;

use super::Inner;
use crate::error::Error;
use crate::manifest::{self, Manifest, ManifestSegment, ReplacedObject};
use crate::objects::PutNew;
use crate::segment::{Segment, SegmentId, WriterId};

/// Segments outside the manifest at which a new manifest is published.
pub const FOLD_SEGMENTS: usize = 24;
/// Manifests kept besides the newest, for those who read them just now.
pub(super) const MANIFESTS_KEPT: u64 = 8;
/// How often somebody else may win before we give up.
const MAX_ATTEMPTS: usize = 4;

/// The end of the manifest chain as this process knows it.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) number: u64,
    pub(super) folded: BTreeMap<WriterId, u64>,
    pub(super) logs: BTreeMap<Uuid, u64>,
    /// Objects to be deleted, by age.
    pub(super) replaced: Vec<Replaced>,
    /// Whether a manifest behind `number` may exist that we put without getting an answer.
    pub(super) is_in_doubt: bool,
}

/// An object to be deleted once nobody reads it.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) object: ReplacedObject,
    /// Queries of this process that still use it.
    pub(super) readers: Weak<Segment>,
}

/// A change of the set of live segments.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// In order of arrival.
    pub(super) removed: Vec<Arc<Segment>>,
    /// Take the place of the last one that is removed.
    pub(super) added: Vec<Arc<Segment>>,
}

impl Chain {
    /// What a manifest says.
    pub(super) fn of(manifest: Manifest) -> Self {
        let unread = |object| Replaced { object, readers: Weak::new() };
        Self {
            number: manifest.number,
            folded: manifest.folded,
            logs: manifest.logs,
            replaced: manifest.replaced.into_iter().map(unread).collect(),
            is_in_doubt: false,
        }
    }

    /// Whether a segment is live although the manifest does not name it.
    fn is_behind(&self, segment: &Segment) -> bool {
        let header = &segment.header;
        header.level == 0 && self.folded.get(&header.writer).is_none_or(|&through| header.sequence > through)
    }
}

impl Change {
    /// The live segments after the change; `None` if one that is to be removed is not live.
    fn apply(&self, live: &[Arc<Segment>]) -> Option<Vec<Arc<Segment>>> {
        let removed: HashSet<SegmentId> = self.removed.iter().map(|segment| segment.header.id).collect();
        let is_removed = |segment: &Arc<Segment>| removed.contains(&segment.header.id);
        if live.iter().filter(|segment| is_removed(segment)).count() != removed.len() {
            return None;
        }
        let last = live.iter().rposition(is_removed);
        let mut after = Vec::with_capacity(live.len() + self.added.len());
        for (i, segment) in live.iter().enumerate() {
            if !is_removed(segment) {
                after.push(Arc::clone(segment));
            }
            if last == Some(i) {
                after.extend(self.added.iter().cloned());
            }
        }
        Some(after)
    }

    /// Whether it was made before.
    fn is_made(&self, live: &[Arc<Segment>]) -> bool {
        let live: HashSet<SegmentId> = live.iter().map(|segment| segment.header.id).collect();
        let is_live = |segment: &Arc<Segment>| live.contains(&segment.header.id);
        self.added.iter().all(is_live) && !self.removed.iter().any(is_live)
    }
}

impl Inner {
    /// Publishes a manifest that names all segments, once enough of them are not in one; returns how many it added.
    pub(super) async fn fold(&self) -> Result<usize, Error> {
        let segments = self.state.lock().segments.clone();
        let (new, is_in_doubt) = {
            let chain = self.chain.lock();
            (segments.iter().filter(|segment| chain.is_behind(segment)).count(), chain.is_in_doubt)
        };
        if new < FOLD_SEGMENTS && !is_in_doubt {
            return Ok(0);
        }
        self.publish(&Change::default()).await?;
        Ok(new)
    }

    /// Makes a change, once and for all. False if somebody else removed one of the segments before.
    ///
    /// # Errors
    ///
    /// After an error the change may or may not have been made; publishing it, or anything else, again finds out.
    pub(super) async fn publish(&self, change: &Change) -> Result<bool, Error> {
        let _one_at_a_time = self.publishing.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let live = self.state.lock().segments.clone();
            let Some(after) = change.apply(&live) else {
                return Ok(change.is_made(&live));
            };
            let next = self.next_manifest(&live, &after, change);
            let path = self.objects.path(&manifest::path(next.number));
            self.chain.lock().is_in_doubt = true;
            let is_ours = match self.objects.put_new(&path, next.encode()).await? {
                PutNew::Created => true,
                PutNew::Exists => {
                    Manifest::decode(&self.objects.get(&path).await?).is_ok_and(|found| found.id == next.id)
                }
            };
            // A slot that was reclaimed can be taken again by somebody who slept: then it counts for nothing.
            if is_ours && self.newest_manifest().await? == next.number {
                let number = next.number;
                self.commit(next, change);
                self.remove_manifest(number).await;
                return Ok(true);
            }
            self.adopt_newest().await?;
        }
        let object = manifest::path(self.chain.lock().number + 1);
        Err(Error::Fenced { writer: self.writer.to_string(), object })
    }

    /// The manifest that makes `change`, and with it `live` segments to those `after` it.
    fn next_manifest(&self, live: &[Arc<Segment>], after: &[Arc<Segment>], change: &Change) -> Manifest {
        let chain = self.chain.lock();
        let (mut folded, mut logs) = (chain.folded.clone(), chain.logs.clone());
        for header in live.iter().map(|segment| &segment.header).filter(|header| header.level == 0) {
            let through = folded.entry(header.writer).or_default();
            *through = header.sequence.max(*through);
            let through = logs.entry(header.wal.log).or_default();
            *through = header.wal.through.max(*through);
        }
        logs.retain(|log, _| !log.is_nil());
        let now = self.config.clock.now();
        let removed = change.removed.iter().map(|segment| ReplacedObject {
            path: segment.header.object_path(),
            size: segment.size,
            at: now,
        });
        Manifest {
            number: chain.number + 1,
            id: Uuid::new_v4(),
            segments: after.iter().map(|segment| describe(segment)).collect(),
            folded,
            logs,
            replaced: chain.replaced.iter().map(|replaced| replaced.object.clone()).chain(removed).collect(),
        }
    }

    /// Lets queries see what a manifest of ours says.
    fn commit(&self, manifest: Manifest, change: &Change) {
        let readers: HashMap<String, Weak<Segment>> = {
            let mut state = self.state.lock();
            if let Some(after) = change.apply(&state.segments) {
                state.segments = after;
            }
            let removed = change.removed.iter();
            removed.map(|segment| (segment.header.object_path(), Arc::downgrade(segment))).collect()
        };
        self.link(manifest, readers);
        self.counters.manifests_published.add(1);
    }

    /// Takes the place in the chain behind `manifest`, and keeps what is known of readers of replaced objects.
    fn link(&self, manifest: Manifest, mut readers: HashMap<String, Weak<Segment>>) {
        let mut chain = self.chain.lock();
        readers.extend(chain.replaced.drain(..).map(|replaced| (replaced.object.path, replaced.readers)));
        *chain = Chain::of(manifest);
        for replaced in &mut chain.replaced {
            if let Some(readers) = readers.remove(&replaced.object.path) {
                replaced.readers = readers;
            }
        }
    }

    /// The number of the newest manifest, zero if there is none.
    async fn newest_manifest(&self) -> Result<u64, Error> {
        let found = self.objects.list("m").await?;
        let numbers = found.iter().filter_map(|object| object.location.filename().and_then(manifest::number_of));
        Ok(numbers.max().unwrap_or(0))
    }

    /// Makes what the newest manifest says ours: it is one of which we did not know whether it was put, or another
    /// process's.
    async fn adopt_newest(&self) -> Result<(), Error> {
        let path = self.objects.path(&manifest::path(self.newest_manifest().await?));
        let bytes = self.objects.get(&path).await?;
        let corrupt = |source| Error::Corrupt { object: path.to_string(), source };
        let manifest = Manifest::decode(&bytes).map_err(corrupt)?;

        let live = self.state.lock().segments.clone();
        let known: HashMap<SegmentId, &Arc<Segment>> =
            live.iter().map(|segment| (segment.header.id, segment)).collect();
        let mut named = Vec::with_capacity(manifest.segments.len());
        for listed in &manifest.segments {
            named.push(match known.get(&listed.id) {
                Some(segment) => Arc::clone(segment),
                None => Arc::new(Segment::open(&self.objects, &self.cache, self.objects.path(&listed.path)).await?),
            });
        }
        tracing::info!(manifest = manifest.number, "adopted a manifest that was found where ours was to be");
        let readers = live.iter().map(|segment| (segment.header.object_path(), Arc::downgrade(segment))).collect();
        let adopted = Chain::of(manifest.clone());
        {
            let mut state = self.state.lock();
            named.extend(state.segments.iter().filter(|segment| adopted.is_behind(segment)).cloned());
            state.segments = named;
        }
        self.link(manifest, readers);
        Ok(())
    }

    /// Removes the manifest that is too old to be kept beside `number`. If that fails, a later sweep does it.
    async fn remove_manifest(&self, number: u64) {
        let Some(old) = number.checked_sub(MANIFESTS_KEPT + 1).filter(|old| *old > 0) else {
            return;
        };
        if let Err(error) = self.objects.delete(&self.objects.path(&manifest::path(old))).await {
            tracing::debug!(error = %error, "an old manifest stays for now");
        }
    }
}

/// What a manifest says of a segment.
pub(crate) fn describe(segment: &Segment) -> ManifestSegment {
    let (first, last) = segment.bounds();
    ManifestSegment {
        id: segment.header.id,
        path: segment.header.object_path(),
        size: segment.size,
        level: segment.header.level,
        rows: segment.rows(),
        first,
        last,
    }
}
