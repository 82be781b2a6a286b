//! Who may compute now: a bounded number of queries at once, and for each tenant a bounded number that wait.
//!
//! Tenants take turns: whenever a query ends, the next one is of the tenant that has waited longest since its last
//! turn, so that a tenant with a thousand queries in the queue delays another by one query. Queries of one tenant pass
//! in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::ApiError;

/// The gate in front of the threads that compute.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    /// The most queries of a tenant that wait.
    max_waiting: usize,
    queues: Mutex<Queues>,
}

#[derive(Debug)]
struct Queues {
    /// Queries that could begin now. Never more than zero while somebody waits.
    free: usize,
    /// Tenants with a queue, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    by_tenant: HashMap<Arc<str>, VecDeque<oneshot::Sender<Permit>>>,
}

/// The right to compute, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Gate>>);

impl Admission {
    /// A gate that lets `max_running` queries through at once (at least one).
    pub(super) fn new(max_running: usize, max_waiting: usize) -> Self {
        let queues = Queues { free: max_running.max(1), turns: VecDeque::new(), by_tenant: HashMap::new() };
        Self(Arc::new(Gate { max_waiting, queues: Mutex::new(queues) }))
    }

    /// Waits for a turn, which lasts until the permit is dropped. Whoever stops waiting leaves the queue.
    pub(super) async fn enter(&self, tenant: &str) -> Result<Permit, ApiError> {
        let turn = {
            let mut queues = self.0.queues.lock();
            if queues.free > 0 {
                queues.free -= 1;
                return Ok(Permit(Some(Arc::clone(&self.0))));
            }
            queues.wait(tenant, self.0.max_waiting)?
        };
        Ok(turn.await.expect("the gate, which this borrows, keeps the other end until the turn comes"))
    }

    /// Queries that wait.
    pub(super) fn waiting(&self) -> usize {
        let queues = self.0.queues.lock();
        queues.by_tenant.values().flatten().filter(|turn| !turn.is_closed()).count()
    }
}

impl Queues {
    fn wait(&mut self, tenant: &str, max_waiting: usize) -> Result<oneshot::Receiver<Permit>, ApiError> {
        let known = self.by_tenant.get_key_value(tenant).map(|(tenant, _)| Arc::clone(tenant));
        let tenant = known.unwrap_or_else(|| {
            self.turns.push_back(tenant.into());
            Arc::clone(&self.turns[self.turns.len() - 1])
        });
        let queue = self.by_tenant.entry(tenant).or_default();
        if queue.len() >= max_waiting {
            queue.retain(|turn| !turn.is_closed());
        }
        if queue.len() >= max_waiting {
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many outstanding requests"));
        }
        let (turn, wait) = oneshot::channel();
        queue.push_back(turn);
        Ok(wait)
    }

    /// Takes the next query out of its queue, and moves its tenant to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        while let Some(tenant) = self.turns.pop_front() {
            let queue = self.by_tenant.get_mut(&tenant)?;
            let turn = queue.pop_front();
            if queue.is_empty() {
                self.by_tenant.remove(&tenant);
            } else {
                self.turns.push_back(tenant);
            }
            if turn.is_some() {
                return turn;
            }
        }
        None
    }
}

impl Drop for Permit {
    /// Passes the right on to the next query that still waits.
    fn drop(&mut self) {
        let Some(gate) = self.0.take() else {
            return;
        };
        loop {
            let turn = {
                let mut queues = gate.queues.lock();
                let Some(turn) = queues.next() else {
                    queues.free += 1;
                    return;
                };
                turn
            };
            match turn.send(Self(Some(Arc::clone(&gate)))) {
                Ok(()) => return,
                // Nobody waits for this turn any more. The permit came back and must not be dropped as one.
                Err(mut permit) => permit.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures::FutureExt;

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Permit, ApiError>> + 'a>>;

    fn admitted(admission: &Admission, tenant: &str) -> Permit {
        admission.enter(tenant).now_or_never().expect("there is room").expect("admitted")
    }

    fn waiting<'a>(admission: &'a Admission, tenant: &'a str) -> Waiting<'a> {
        let mut waiting: Waiting<'_> = Box::pin(admission.enter(tenant));
        assert!((&mut waiting).now_or_never().is_none(), "{tenant} has to wait");
        waiting
    }

    /// The permit, if the turn has come.
    fn turn(waiting: &mut Waiting<'_>) -> Option<Permit> {
        waiting.now_or_never().map(|permit| permit.expect("admitted"))
    }

    #[test]
    fn a_full_queue_refuses_its_tenant_alone() {
        let admission = Admission::new(1, 1);
        let running = admitted(&admission, "a");
        let mut first = waiting(&admission, "a");
        let refusal = admission.enter("a").now_or_never().expect("at once").expect_err("the queue is full");
        assert_eq!((refusal.status().as_u16(), refusal.message()), (429, "too many outstanding requests"));
        let mut other = waiting(&admission, "b");
        assert_eq!(admission.waiting(), 2);
        drop(running);
        let running = turn(&mut first).expect("its turn");
        assert!(turn(&mut other).is_none());
        drop(running);
        drop(turn(&mut other).expect("its turn"));
        let queues = admission.0.queues.lock();
        assert_eq!((queues.free, queues.turns.len(), queues.by_tenant.len()), (1, 0, 0), "nothing is left behind");
    }

    #[test]
    fn a_tenant_with_a_long_queue_does_not_starve_another() {
        let admission = Admission::new(1, 1000);
        let mut running = admitted(&admission, "greedy");
        let mut greedy: VecDeque<_> = (0..1000).map(|_| waiting(&admission, "greedy")).collect();
        let mut modest: VecDeque<_> = (0..3).map(|_| waiting(&admission, "modest")).collect();
        for _ in 0..3 {
            drop(running);
            let turn_of_greedy = turn(&mut greedy[0]).expect("the queues take turns");
            greedy.pop_front();
            drop(turn_of_greedy);
            running = turn(&mut modest[0]).expect("the queues take turns");
            modest.pop_front();
        }
        drop(running);
        for mut waiting in greedy {
            drop(turn(&mut waiting).expect("in the order in which they came"));
        }
    }

    #[test]
    fn whoever_stops_waiting_makes_room() {
        let admission = Admission::new(1, 1);
        let running = admitted(&admission, "a");
        drop(waiting(&admission, "a"));
        let mut next = waiting(&admission, "a");
        let also_gone = waiting(&admission, "b");
        drop(also_gone);
        assert_eq!(admission.waiting(), 1);
        drop(running);
        drop(turn(&mut next).expect("its turn"));
        drop(admitted(&admission, "c"));
    }

    #[test]
    fn a_turn_that_comes_too_late_is_passed_on() {
        let admission = Admission::new(1, 2);
        let running = admitted(&admission, "a");
        let first = waiting(&admission, "a");
        let mut second = waiting(&admission, "a");
        // The turn is given to the first, which goes away without having seen it.
        drop(running);
        drop(first);
        assert!(turn(&mut second).is_some());
    }
}
