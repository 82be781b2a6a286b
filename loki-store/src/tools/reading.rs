//! Reading the entries of a store without opening it: a view of segments and log as of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use loki_logql::budget::Budget;
use loki_logql::querier::{EntryBatch, SelectRequest};
use uuid::Uuid;

use super::backup::LOG_ID_FILE;
use super::site::{Site, is_gone};
use crate::clock::{Clock, ManualClock};
use crate::config::LimitsSource;
use crate::counters::Counters;
use crate::deletes::{Deletion, Deletions, ProcessedMark, StoredDelete};
use crate::error::Error;
use crate::head::Head;
use crate::push::Ingest;
use crate::querier::{Reach, batches};
use crate::retention::Cuts;
use crate::segment::Segment;
use crate::tenant::TenantId;
use crate::view::View;
use crate::wal::{ReplayRecord, survey};

/// How often segments may be replaced while they are being opened.
const MAX_ATTEMPTS: usize = 8;

/// The segments of a store and what its log holds besides.
pub(super) struct Reading {
    /// In order of arrival.
    segments: Vec<Arc<Segment>>,
    head: Head,
    deletions: Vec<Arc<Deletion>>,
    limits: LimitsSource,
    retention_enabled: bool,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    reach: Reach,
}

impl Reading {
    /// Reads what must be in memory. Segments and requests that cannot be read are left out and named in the second
    /// result.
    pub(super) async fn open(
        site: &Site,
        limits: LimitsSource,
        retention_enabled: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<String>), Error> {
        // First the log, because its records move into segments; then the requests, because what they hide goes.
        let (mut records, mut log) = (Vec::new(), None);
        if let Some(files) = &site.log {
            survey(&**files, |record| records.push(record))?;
            let id = files.read(LOG_ID_FILE).ok();
            log = id.and_then(|id| std::str::from_utf8(&id).ok()?.trim().parse::<Uuid>().ok());
        }
        let mut unreadable = Vec::new();
        let deletions = read_deletions(site, &mut unreadable).await?;
        let (segments, logs) = open_segments(site, &mut unreadable).await?;
        let through = log.and_then(|log| logs.get(&log).copied()).unwrap_or(0);
        records.retain(|record| record.file > through);
        let head = replay(&records, &limits, &mut unreadable);
        let reach = site.reach();
        Ok((
            Self { reach, segments, head, deletions, limits, retention_enabled, clock, counters: Arc::default() },
            unreadable,
        ))
    }

    /// The batches that may hold what a request asks for.
    pub(super) fn batches(
        &mut self,
        tenant: &TenantId,
        request: SelectRequest,
    ) -> impl Stream<Item = Result<EntryBatch, Error>> + Send + 'static {
        let of_tenant = self.deletions.iter().filter(|deletion| deletion.tenant == *tenant);
        let now = self.clock.now();
        let cuts = if self.retention_enabled { Cuts::new(&(self.limits)(tenant), now) } else { Cuts::NONE };
        let view = View {
            segments: self.segments.iter().filter_map(|segment| segment.tenant(tenant)).collect(),
            heads: self.head.snapshot(tenant, request.range).into_iter().collect(),
            deletions: Deletions::new(of_tenant.cloned().collect()).with_retention(cuts),
            memory: Budget::unlimited(),
        };
        batches(view, request, Arc::clone(&self.counters), self.reach, Budget::unlimited())
    }

    /// How many chunks could not be read by now, and were left out.
    pub(super) fn damaged_chunks(&self) -> u64 {
        self.counters.chunks_corrupt.value()
    }
}

/// The live segments, and how far each log is in segments.
async fn open_segments(
    site: &Site,
    unreadable: &mut Vec<String>,
) -> Result<(Vec<Arc<Segment>>, BTreeMap<Uuid, u64>), Error> {
    let mut attempts = 0;
    'again: loop {
        attempts += 1;
        let snapshot = site.snapshot().await?;
        let mut logs = snapshot.manifest.logs.clone();
        let mut named = Vec::new();
        let mut behind = Vec::new();
        for live in &snapshot.live {
            match site.segment(&live.path).await {
                Ok(segment) => {
                    let wal = segment.header.wal;
                    let known = logs.entry(wal.log).or_default();
                    *known = wal.through.max(*known);
                    if live.listed.is_some() { named.push(segment) } else { behind.push(segment) }
                }
                Err(error) if is_gone(&error) && attempts < MAX_ATTEMPTS => continue 'again,
                Err(error @ Error::Corrupt { .. }) => unreadable.push(super::inspect::in_full(&error)),
                Err(error) if is_gone(&error) => unreadable.push(format!("{} is missing", live.path)),
                Err(error) => return Err(error),
            }
        }
        behind.sort_by_key(|segment| (segment.header.created, segment.header.sequence));
        named.extend(behind);
        return Ok((named, logs));
    }
}

/// The requests that hide entries.
async fn read_deletions(site: &Site, unreadable: &mut Vec<String>) -> Result<Vec<Arc<Deletion>>, Error> {
    let found: Vec<(String, bytes::Bytes)> = read_requests(site).await?;
    let mut deletions = BTreeMap::new();
    for (path, bytes) in found {
        let read = match path.rsplit_once('.') {
            Some((_, "del")) => StoredDelete::decode(&bytes).map(|stored| {
                let key = (stored.tenant.clone(), stored.id.clone());
                Deletion::new(stored).map(|deletion| deletions.insert(key, Arc::new(deletion))).is_ok()
            }),
            Some((_, "done")) => ProcessedMark::decode(&bytes).map(|mark| {
                deletions.remove(&(mark.tenant, mark.id));
                true
            }),
            _ => continue,
        };
        if !read.unwrap_or(false) {
            unreadable.push(format!("{path} is damaged"));
        }
    }
    Ok(deletions.into_values().collect())
}

/// The objects of requests, by name: a mark behind its request.
pub(super) async fn read_requests(site: &Site) -> Result<Vec<(String, bytes::Bytes)>, Error> {
    let listed = site.objects.list("d").await?;
    read_objects(site, listed.iter().map(|object| site.objects.relative(&object.location))).await
}

/// The objects at these paths, in the same order, without those that are gone.
pub(super) async fn read_objects(
    site: &Site,
    paths: impl Iterator<Item = String>,
) -> Result<Vec<(String, bytes::Bytes)>, Error> {
    let read = futures::stream::iter(paths).map(|path| async move {
        match site.objects.get(&site.objects.path(&path)).await {
            Ok(bytes) => Ok(Some((path, bytes))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let read: Vec<Option<_>> = read.buffered(16).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

fn replay(records: &[ReplayRecord], limits: &LimitsSource, unreadable: &mut Vec<String>) -> Head {
    let (ingest, mut head) = (Ingest::default(), Head::default());
    for record in records {
        let clock = ManualClock::new(record.arrival);
        match ingest.replay(record, &limits(&record.tenant), &clock) {
            Ok(staged) => head.append(&staged, 0),
            Err(error) => unreadable.push(format!("a record of log file {}: {error}", record.file)),
        }
    }
    head
}
