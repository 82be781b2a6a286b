//! Taking requests to delete entries, cancelling them, and noting what became of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, pin_mut};
use loki_core::{Corruption, Timestamp};
use object_store::path::Path as ObjectPath;

use super::open::quarantine;
use super::{Store, blocking};
use crate::counters::Counters;
use crate::deletes::{
    AcceptedDelete, DeleteCount, DeleteError, DeleteId, DeleteRequest, DeleteStatus, Deletes, Deletion,
    MAX_WAITING_DELETES, ProcessedMark, Selection, StoredDelete, mark_path, object_path,
};
use crate::error::Error;
use crate::limits::DeletionMode;
use crate::objects::{Objects, PutNew};
use crate::querier::batches;
use crate::tenant::TenantId;

/// How long processed requests are listed.
pub const PROCESSED_DELETES_KEPT: Duration = Duration::from_hours(30 * 24);
/// Requests read at the same time when a store is opened.
const READS_AT_ONCE: usize = 16;

impl Store {
    /// Deletes entries. When this returns, queries no longer see them, and the request is durable; compaction removes
    /// them once [`StoreConfig::delete_cancel_period`](crate::StoreConfig::delete_cancel_period) is over, if the
    /// tenant's [`DeletionMode`] says so.
    ///
    /// Until then entries that are pushed later are hidden as well, if the request selects them.
    ///
    /// # Errors
    ///
    /// [`Error::Delete`] for a query that is no log query, a range that is empty or ends in the future, and beyond
    /// [`MAX_WAITING_DELETES`].
    pub async fn delete(&self, tenant: &TenantId, request: DeleteRequest) -> Result<DeleteId, Error> {
        let inner = &self.inner;
        inner.check_writable()?;
        let stored = self.check_delete(tenant, request)?;
        let id = stored.id.clone();
        let deletion = Arc::new(Deletion::new(stored.clone())?);

        let _one_at_a_time = inner.deletes.changing.lock().await;
        if inner.deletes.waiting(&deletion.tenant) >= MAX_WAITING_DELETES {
            return Err(DeleteError::TooMany.into());
        }
        let path = inner.objects.path(&object_path(&deletion.tenant, &id));
        if let Err(error) = create(&inner.objects, &path, stored.encode()).await {
            // It may be there all the same; nobody must find it later.
            let _ = inner.objects.delete(&path).await;
            return Err(error);
        }
        inner.deletes.add(deletion);
        Ok(id)
    }

    /// How many entries a request would hide if it were made now: all that queries see and it selects. Reads them.
    ///
    /// # Errors
    ///
    /// As [`Store::delete`], besides whatever reading meets.
    pub async fn count_delete(&self, tenant: &TenantId, request: DeleteRequest) -> Result<DeleteCount, Error> {
        let mut selection = Selection::new(self.check_delete(tenant, request)?)?;
        let request = selection.request();
        let (view, inner) = (self.view(tenant, request.range), &self.inner);
        let memory = inner.config.memory.clone();
        let batches = batches(view, request, Arc::clone(&inner.counters), inner.reach(), memory);
        pin_mut!(batches);
        let mut count = DeleteCount::default();
        let mut streams = HashSet::new();
        while let Some(batch) = batches.try_next().await? {
            let counted = blocking(move || {
                let (mut found, mut of_streams) = (DeleteCount::default(), HashSet::new());
                let counted = selection.for_each(&batch, |row| {
                    of_streams.insert(row.labels.hash64());
                    found.entries += 1;
                    found.line_bytes += row.line.len() as u64;
                    std::ops::ControlFlow::Continue(())
                });
                counted.map(|()| (selection, found, of_streams))
            });
            let object = || format!("with entries of tenant {tenant}");
            let (back, found, of_streams) =
                counted.await.map_err(|source| Error::Corrupt { object: object(), source })?;
            selection = back;
            count.entries += found.entries;
            count.line_bytes += found.line_bytes;
            streams.extend(of_streams);
        }
        count.streams = streams.len() as u64;
        Ok(count)
    }

    /// The request as it would be stored, if it may be made.
    fn check_delete(&self, tenant: &TenantId, request: DeleteRequest) -> Result<StoredDelete, Error> {
        let now = self.inner.config.clock.now();
        let DeleteRequest { query, range } = request;
        if range.is_empty() {
            return Err(DeleteError::EmptyRange.into());
        }
        if range.end > now.saturating_add_nanos(1) {
            return Err(DeleteError::Future.into());
        }
        Ok(StoredDelete { id: DeleteId::random(), tenant: tenant.clone(), query, range, created_at: now })
    }

    /// The requests to delete entries of a tenant, by age; those that were processed long ago are forgotten.
    pub fn deletes(&self, tenant: &TenantId) -> Vec<AcceptedDelete> {
        self.inner.deletes.of(tenant).iter().map(|deletion| deletion.describe()).collect()
    }

    /// Takes a request to delete entries back: what is not removed yet can be seen again.
    ///
    /// # Errors
    ///
    /// [`Error::Delete`] if there is no such request or if it is processed, and, without `force`, if its cancel period
    /// is over or some of it is processed.
    pub async fn cancel_delete(&self, tenant: &TenantId, id: &str, force: bool) -> Result<(), Error> {
        let inner = &self.inner;
        inner.check_writable()?;
        let _one_at_a_time = inner.deletes.changing.lock().await;
        let deletion = inner.deletes.find(tenant, id)?;
        match deletion.status() {
            DeleteStatus::Processed => return Err(DeleteError::Processed.into()),
            DeleteStatus::Partly { .. } if !force => return Err(DeleteError::PartlyProcessed.into()),
            _ if !force && inner.config.clock.now() >= self.cancel_deadline(&deletion) => {
                return Err(DeleteError::Late.into());
            }
            DeleteStatus::Partly { .. } | DeleteStatus::Received => {}
        }
        inner.objects.delete(&inner.objects.path(&object_path(tenant, &deletion.id))).await?;
        inner.deletes.remove(&deletion);
        Ok(())
    }

    /// The requests whose entries are due to be removed: their cancel period is over, and their tenant wants it so.
    pub(crate) fn pending_deletes(&self) -> Vec<Arc<Deletion>> {
        let now = self.inner.config.clock.now();
        let mut all = self.inner.deletes.all();
        all.retain(|deletion| {
            let mode = self.inner.limits(&deletion.tenant).deletion_mode;
            let is_due = now >= self.cancel_deadline(deletion) && mode == DeletionMode::FilterAndDelete;
            is_due && !deletion.is_processed()
        });
        all
    }

    /// Notes that everything that [`Store::pending_deletes`] found for a request is gone, from heads too: from now on it
    /// hides nothing. A request that was cancelled meanwhile stays so.
    pub(crate) async fn mark_processed(&self, deletion: &Deletion) -> Result<(), Error> {
        let inner = &self.inner;
        let _one_at_a_time = inner.deletes.changing.lock().await;
        let Ok(deletion) = inner.deletes.find(&deletion.tenant, deletion.id.as_str()) else {
            return Ok(());
        };
        let processed_at = inner.config.clock.now();
        let (id, tenant) = (deletion.id.clone(), deletion.tenant.clone());
        let path = inner.objects.path(&mark_path(&tenant, &id));
        // A mark whose answer was lost differs in its time only.
        inner.objects.put_new(&path, ProcessedMark { id, tenant, processed_at }.encode()).await?;
        deletion.set_processed(processed_at);
        Ok(())
    }

    /// Removes requests that were processed long ago; returns how many.
    pub(crate) async fn forget_processed_deletes(&self) -> Result<usize, Error> {
        let inner = &self.inner;
        let now = inner.config.clock.now();
        let is_old = |at: Timestamp| now >= after(at, PROCESSED_DELETES_KEPT);
        let mut old = inner.deletes.all();
        old.retain(|deletion| deletion.processed_at().is_some_and(is_old));
        let _one_at_a_time = inner.deletes.changing.lock().await;
        for deletion in &old {
            // In this order, or a request without its mark would come into force again.
            for path in [object_path, mark_path] {
                inner.objects.delete(&inner.objects.path(&path(&deletion.tenant, &deletion.id))).await?;
            }
            inner.deletes.remove(deletion);
        }
        Ok(old.len())
    }

    /// The end of the time in which anybody may cancel.
    fn cancel_deadline(&self, deletion: &Deletion) -> Timestamp {
        after(deletion.created_at, self.inner.config.delete_cancel_period)
    }
}

fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.saturating_add_nanos(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// Creates an object, or finds that an attempt whose answer was lost did.
async fn create(objects: &Objects, path: &ObjectPath, bytes: bytes::Bytes) -> Result<(), Error> {
    match objects.put_new(path, bytes.clone()).await? {
        PutNew::Created => Ok(()),
        PutNew::Exists if objects.get(path).await? == bytes => Ok(()),
        PutNew::Exists => Err(Error::Fenced { writer: "delete request".into(), object: path.to_string() }),
    }
}

/// What an object below `d/` says.
enum Found {
    Request(Box<Deletion>),
    Mark(ProcessedMark, ObjectPath),
    Damaged(ObjectPath, loki_core::Error),
}

/// Reads all requests. Those that cannot be read are set aside.
pub(super) async fn find(objects: &Objects, counters: &Counters) -> Result<Deletes, Error> {
    let paths = objects.list("d").await?.into_iter().map(|object| object.location);
    let found: Vec<Option<Found>> = futures::stream::iter(paths)
        .map(|path| async move {
            let decode: fn(&[u8], ObjectPath) -> Result<Found, loki_core::Error> = match path.extension() {
                Some("del") => |bytes, _| open(bytes).map(|deletion| Found::Request(Box::new(deletion))),
                Some("done") => |bytes, path| Ok(Found::Mark(ProcessedMark::decode(bytes)?, path)),
                _ => return Ok(None),
            };
            let bytes = objects.get(&path).await?;
            Ok::<_, Error>(Some(decode(&bytes, path.clone()).unwrap_or_else(|damage| Found::Damaged(path, damage))))
        })
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;

    let mut requests: BTreeMap<_, Arc<Deletion>> = BTreeMap::new();
    let mut marks = Vec::new();
    for found in found.into_iter().flatten() {
        match found {
            Found::Request(deletion) => {
                requests.insert((deletion.tenant.clone(), deletion.id.clone()), Arc::from(deletion));
            }
            Found::Mark(mark, path) => marks.push((mark, path)),
            Found::Damaged(path, source) => {
                quarantine(objects, counters, &path, &Error::Corrupt { object: path.to_string(), source }).await?;
            }
        }
    }
    for (mark, path) in marks {
        match requests.get(&(mark.tenant, mark.id)) {
            Some(deletion) => deletion.set_processed(mark.processed_at),
            None => objects.delete(&path).await?,
        }
    }
    let deletes = Deletes::default();
    for deletion in requests.into_values() {
        deletes.add(deletion);
    }
    Ok(deletes)
}

/// Reads a request and compiles its query.
fn open(bytes: &[u8]) -> Result<Deletion, loki_core::Error> {
    let stored = StoredDelete::decode(bytes)?;
    let field = "query, by length";
    let value = Corruption::Value { field, found: stored.query.len() as u64 };
    Deletion::new(stored).map_err(|_| loki_core::Error::corrupt("delete request", 0, value))
}
