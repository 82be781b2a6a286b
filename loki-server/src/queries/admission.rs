//! Who may compute now: a bounded number of queries at once, and for each tenant a bounded number that wait.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// The gate in front of the threads that compute. Queries pass it in the order in which they came.
#[derive(Debug)]
pub(super) struct Admission {
    running: Arc<Semaphore>,
    /// The most queries of a tenant that wait.
    max_waiting: usize,
    /// Queries that wait, of tenants that have any.
    waiting: Mutex<HashMap<String, usize>>,
}

/// Keeps a place in the queue; gives it up when dropped.
struct Place<'a> {
    admission: &'a Admission,
    tenant: &'a str,
}

impl Admission {
    /// A gate that lets `max_running` queries through at once (at least one).
    pub(super) fn new(max_running: usize, max_waiting: usize) -> Self {
        let permits = max_running.clamp(1, Semaphore::MAX_PERMITS);
        Self { running: Arc::new(Semaphore::new(permits)), max_waiting, waiting: Mutex::default() }
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    pub(super) async fn enter(&self, tenant: &str) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.queue(tenant)?;
        let permit = Arc::clone(&self.running).acquire_owned().await;
        Ok(permit.expect("the semaphore is never closed"))
    }

    fn queue<'a>(&'a self, tenant: &'a str) -> Result<Place<'a>, ApiError> {
        let mut waiting = self.waiting.lock();
        let count = waiting.entry(tenant.to_owned()).or_default();
        if *count >= self.max_waiting {
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many outstanding requests"));
        }
        *count += 1;
        Ok(Place { admission: self, tenant })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.admission.waiting.lock();
        if let Some(count) = waiting.get_mut(self.tenant) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_full_queue_refuses_its_tenant_alone() {
        let admission = Admission::new(1, 1);
        let running = admission.enter("a").now_or_never().expect("free").expect("admitted");
        let mut waiting = Box::pin(admission.enter("a"));
        assert!((&mut waiting).now_or_never().is_none());
        let refusal = admission.enter("a").now_or_never().expect("at once").expect_err("the queue is full");
        assert_eq!((refusal.status().as_u16(), refusal.message()), (429, "too many outstanding requests"));
        let mut other = Box::pin(admission.enter("b"));
        assert!((&mut other).now_or_never().is_none(), "another tenant may wait");
        drop(running);
        let first = waiting.now_or_never().expect("its turn").expect("admitted");
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        assert!(other.now_or_never().is_some());
        assert!(admission.waiting.lock().is_empty());
    }

    #[test]
    fn whoever_stops_waiting_makes_room() {
        let admission = Admission::new(1, 1);
        let _running = admission.enter("a").now_or_never().expect("free").expect("admitted");
        let mut gone = Box::pin(admission.enter("a"));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        assert!(admission.enter("a").now_or_never().is_none(), "it waits instead of being refused");
    }
}
