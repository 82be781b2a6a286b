//! What all parts of one running query share.

use std::fmt;
use std::sync::Arc;

use loki_core::Timestamp;

use super::error::Error;
use super::limits::QueryLimits;
use crate::querier::Querier;
use crate::workers::Workers;

/// Tells the time. The engine never asks the system for it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One running query.
#[derive(Clone)]
pub(crate) struct Session<'a> {
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) workers: &'a dyn Workers,
    pub(crate) clock: &'a Clock,
    pub(crate) limits: &'a QueryLimits,
    /// When the query started.
    pub(crate) now: Timestamp,
}

impl Session<'_> {
    /// Fails when nobody waits for the answer or the time is over; called between batches.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.limits.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match self.limits.deadline {
            Some(deadline) if (self.clock)() >= deadline => Err(Error::Deadline),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}
