#![doc = include_str!("format/deletes.md")]
//!
//! # In this crate
//!
//! A [`Deletion`] is a request ready to be applied, [`Deletes`] holds all of a store, and [`Deletions`] are those that
//! one query has to heed: they take hidden rows out of batches, in queries and when segments are rewritten.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use loki_core::{TimeRange, Timestamp};
use loki_logql::ParseError;
use loki_logql::pipeline::StageError;
use parking_lot::RwLock;
use uuid::Uuid;

use crate::tenant::TenantId;

mod deletion;
mod object;
mod rows;
mod selection;

pub(crate) use deletion::Deletion;
pub(crate) use object::{ProcessedMark, StoredDelete, mark_path, object_path};
pub(crate) use rows::Deletions;
pub(crate) use selection::{SelectedRow, Selection};

/// Requests of one tenant that may wait to be processed at the same time: each costs every query a little.
pub const MAX_WAITING_DELETES: usize = 10_000;

/// Digits of a [`DeleteId`].
const ID_DIGITS: usize = 16;

/// Asks for entries to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// A log query in LogQL: what it selects goes. `{}` selects all streams.
    pub query: String,
    /// The times of the entries to delete; must not reach into the future.
    pub range: TimeRange,
}

/// Names a request to delete entries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeleteId(Arc<str>);

impl DeleteId {
    pub(crate) fn random() -> Self {
        let (digits, _) = Uuid::new_v4().as_u64_pair();
        Self(format!("{digits:0ID_DIGITS$x}").into())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == ID_DIGITS && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }

    /// The id as clients see it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeleteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeleteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request to delete entries that a store has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedDelete {
    /// Its name.
    pub id: DeleteId,
    /// What was asked for.
    pub request: DeleteRequest,
    /// When.
    pub created_at: Timestamp,
    /// How far it has come.
    pub status: DeleteStatus,
}

/// What a request to delete entries would hide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteCount {
    /// Streams with such entries.
    pub streams: u64,
    /// The entries.
    pub entries: u64,
    /// Bytes of their lines.
    pub line_bytes: u64,
}

/// How far a request to delete entries has come. What it selects is hidden from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteStatus {
    /// Nothing was removed yet.
    Received,
    /// Some segments are rewritten.
    Partly {
        /// How many of a hundred.
        percent: u8,
    },
    /// Everything is removed.
    Processed,
}

impl fmt::Display for DeleteStatus {
    /// Writes Loki's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Received => f.write_str("received"),
            Self::Partly { percent } => write!(f, "{percent}% Complete"),
            Self::Processed => f.write_str("processed"),
        }
    }
}

/// Why a request to delete entries, or to cancel one, was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The query is not a log query.
    #[error("invalid query expression")]
    Query(#[from] ParseError),
    /// A stage of the query cannot be compiled.
    #[error("invalid query expression")]
    Stage(#[from] StageError),
    /// The time range is empty.
    #[error("start time can't be greater than or equal to end time")]
    EmptyRange,
    /// The time range ends in the future, where nobody knows yet what is deleted.
    #[error("deletes in the future are not allowed")]
    Future,
    /// Too many requests wait to be processed.
    #[error("{MAX_WAITING_DELETES} delete requests wait to be processed; retry when some are")]
    TooMany,
    /// There is no request of this name.
    #[error("could not find delete request with given id")]
    Unknown,
    /// What the request selected is gone.
    #[error("the delete request is processed already and cannot be cancelled")]
    Processed,
    /// The request is too old to be cancelled without force.
    #[error("the delete request is past its cancel period; cancelling it takes force")]
    Late,
    /// Some of what the request selects is gone.
    #[error("the delete request is partly processed; cancelling the rest takes force")]
    PartlyProcessed,
}

/// All requests of a store, processed ones too.
#[derive(Debug, Default)]
pub(crate) struct Deletes {
    by_tenant: RwLock<BTreeMap<TenantId, Vec<Arc<Deletion>>>>,
    /// Held while objects change together with what is here.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Deletes {
    /// The requests that hide entries of a tenant in `range`.
    pub(crate) fn hiding(&self, tenant: &TenantId, range: TimeRange) -> Deletions {
        let by_tenant = self.by_tenant.read();
        let Some(deletions) = by_tenant.get(tenant) else {
            return Deletions::default();
        };
        let hiding = |deletion: &&Arc<Deletion>| !deletion.is_processed() && deletion.range.overlaps(&range);
        Deletions::new(deletions.iter().filter(hiding).cloned().collect())
    }

    /// The requests of a tenant, by age.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Arc<Deletion>> {
        self.by_tenant.read().get(tenant).cloned().unwrap_or_default()
    }

    /// The requests of all tenants.
    pub(crate) fn all(&self) -> Vec<Arc<Deletion>> {
        self.by_tenant.read().values().flatten().cloned().collect()
    }

    /// The request of this name.
    pub(crate) fn find(&self, tenant: &TenantId, id: &str) -> Result<Arc<Deletion>, DeleteError> {
        let by_tenant = self.by_tenant.read();
        let found = by_tenant.get(tenant).and_then(|all| all.iter().find(|deletion| deletion.id.as_str() == id));
        found.cloned().ok_or(DeleteError::Unknown)
    }

    /// How many requests of a tenant wait to be processed.
    pub(crate) fn waiting(&self, tenant: &TenantId) -> usize {
        let by_tenant = self.by_tenant.read();
        by_tenant.get(tenant).map_or(0, |all| all.iter().filter(|deletion| !deletion.is_processed()).count())
    }

    pub(crate) fn add(&self, deletion: Arc<Deletion>) {
        let mut by_tenant = self.by_tenant.write();
        let deletions = by_tenant.entry(deletion.tenant.clone()).or_default();
        let age = |deletion: &Deletion| (deletion.created_at, deletion.id.clone());
        let place = deletions.partition_point(|other| age(other) <= age(&deletion));
        deletions.insert(place, deletion);
    }

    pub(crate) fn remove(&self, deletion: &Deletion) {
        let mut by_tenant = self.by_tenant.write();
        if let Some(deletions) = by_tenant.get_mut(&deletion.tenant) {
            deletions.retain(|other| other.id != deletion.id);
            if deletions.is_empty() {
                by_tenant.remove(&deletion.tenant);
            }
        }
    }
}
