//! Memory budgets: byte-accounted pools that every growing structure of a query draws from.
//!
//! Budgets form a tree: the process over what it does, all queries over those of a tenant over one. A [`Reservation`]
//! holds bytes of the lowest budget and of all budgets above it; the first one without room refuses, and the refusal
//! says which one it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reservations take this much at a time, so that small growth does not touch shared counters.
pub const RESERVATION_QUANTUM_BYTES: u64 = 64 * 1024;

/// A pool of bytes with a limit, possibly inside a larger pool. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Budget {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    scope: BudgetScope,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    parent: Option<Budget>,
}

/// Whose memory a budget bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BudgetScope {
    /// Everything that runs in this process.
    Process,
    /// Entries awaiting flush, and flushing them.
    Heads,
    /// Merging segments.
    Merges,
    /// All queries.
    Queries,
    /// All queries of one tenant.
    Tenant,
    /// One query.
    Query,
}

/// A budget has no room for what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory limit of {limit_bytes} bytes per {} reached; narrow the time range, select fewer streams, or aggregate by fewer labels",
    scope.noun()
)]
pub struct BudgetExceeded {
    /// The budget that had no room.
    pub scope: BudgetScope,
    /// Its limit.
    pub limit_bytes: u64,
}

impl BudgetScope {
    /// The word for it in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Heads => "process for entries in memory",
            Self::Merges => "process for merging",
            Self::Queries => "process for queries",
            Self::Tenant => "tenant",
            Self::Query => "query",
        }
    }
}

impl Budget {
    /// A budget of its own.
    pub fn new(scope: BudgetScope, limit_bytes: u64) -> Self {
        Self::with_parent(scope, limit_bytes, None)
    }

    /// A budget that never refuses; it still counts.
    pub fn unlimited() -> Self {
        Self::new(BudgetScope::Process, u64::MAX)
    }

    /// A budget inside this one: what is drawn from it is drawn from this one too.
    #[must_use]
    pub fn child(&self, scope: BudgetScope, limit_bytes: u64) -> Self {
        Self::with_parent(scope, limit_bytes, Some(self.clone()))
    }

    /// Bytes in use at this moment.
    pub fn used_bytes(&self) -> u64 {
        self.pool.used_bytes.load(Ordering::Relaxed)
    }

    /// The most that may be in use.
    pub fn limit_bytes(&self) -> u64 {
        self.pool.limit_bytes
    }

    /// Whether with `bytes` more, a `share`th of this budget and of each around it would still be free.
    pub fn has_spare(&self, bytes: u64, share: u64) -> bool {
        let mut budgets = std::iter::successors(Some(self), |budget| budget.pool.parent.as_ref());
        budgets.all(|budget| {
            let free = budget.limit_bytes().saturating_sub(budget.used_bytes());
            free.saturating_sub(bytes) >= budget.limit_bytes() / share.max(1)
        })
    }

    /// Whether there are clones of it, reservations, or budgets inside it.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.pool) > 1
    }

    /// A reservation that holds nothing yet.
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), used_bytes: 0, held_bytes: 0 }
    }

    fn with_parent(scope: BudgetScope, limit_bytes: u64, parent: Option<Self>) -> Self {
        Self { pool: Arc::new(Pool { scope, limit_bytes, used_bytes: AtomicU64::new(0), parent }) }
    }

    fn acquire(&self, bytes: u64) -> Result<(), BudgetExceeded> {
        let pool = &*self.pool;
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= pool.limit_bytes);
        pool.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| BudgetExceeded { scope: pool.scope, limit_bytes: pool.limit_bytes })?;
        if let Some(parent) = &pool.parent
            && let Err(refusal) = parent.acquire(bytes)
        {
            pool.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(refusal);
        }
        Ok(())
    }

    fn force(&self, bytes: u64) {
        let mut budget = Some(self);
        while let Some(Self { pool }) = budget {
            pool.used_bytes.fetch_add(bytes, Ordering::Relaxed);
            budget = pool.parent.as_ref();
        }
    }

    fn release(&self, bytes: u64) {
        let mut budget = Some(self);
        while let Some(Self { pool }) = budget {
            pool.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            budget = pool.parent.as_ref();
        }
    }
}

/// Bytes drawn from a [`Budget`]; they go back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    used_bytes: u64,
    held_bytes: u64,
}

impl Reservation {
    /// Bytes in use by the owner.
    pub const fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Takes more bytes.
    ///
    /// Shared counters move in steps of [`RESERVATION_QUANTUM_BYTES`]; near a limit the exact number is tried before
    /// giving up.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let used = self.used_bytes.saturating_add(bytes as u64);
        if used > self.held_bytes {
            let missing = used - self.held_bytes;
            let wanted = missing.next_multiple_of(RESERVATION_QUANTUM_BYTES);
            if self.budget.acquire(wanted).is_ok() {
                self.held_bytes += wanted;
            } else {
                self.budget.acquire(missing)?;
                self.held_bytes += missing;
            }
        }
        self.used_bytes = used;
        Ok(())
    }

    /// Holds exactly so many bytes from now on, even beyond a limit: for memory that is in use whatever the budget says.
    /// What is then over a limit keeps others from taking more.
    pub fn hold(&mut self, bytes: u64) {
        if bytes > self.held_bytes {
            self.budget.force(bytes - self.held_bytes);
        } else {
            self.budget.release(self.held_bytes - bytes);
        }
        self.held_bytes = bytes;
        self.used_bytes = bytes;
    }

    /// Gives bytes back; what was never taken is ignored.
    pub fn shrink(&mut self, bytes: usize) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes as u64);
        let keep = self.used_bytes.next_multiple_of(RESERVATION_QUANTUM_BYTES);
        if self.held_bytes > keep {
            self.budget.release(self.held_bytes - keep);
            self.held_bytes = keep;
        }
    }

    /// Takes over what another reservation of the same budget holds.
    pub fn absorb(&mut self, mut other: Self) {
        self.used_bytes += other.used_bytes;
        self.held_bytes += other.held_bytes;
        other.used_bytes = 0;
        other.held_bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.held_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spare_is_so_in_all_budgets_around() {
        let process = Budget::new(BudgetScope::Process, 800);
        let query = process.child(BudgetScope::Query, 400);
        assert!(query.has_spare(350, 8) && !query.has_spare(351, 8));
        let mut of_others = process.reservation();
        of_others.hold(500);
        assert!(query.has_spare(200, 8) && !query.has_spare(201, 8), "a hundred bytes of the process stay free");
        of_others.hold(900);
        assert!(!query.has_spare(0, 8));
        assert!(Budget::unlimited().has_spare(u64::MAX / 2, 8));
    }

    #[test]
    fn growth_stops_exactly_at_the_limit() {
        let budget = Budget::new(BudgetScope::Query, 1000);
        let mut reservation = budget.reservation();
        reservation.grow(1000).expect("fits");
        let refusal = reservation.grow(1).expect_err("one byte over");
        assert_eq!(refusal.limit_bytes, 1000);
        assert_eq!(reservation.used_bytes(), 1000);
        assert!(refusal.to_string().starts_with("memory limit of 1000 bytes per query reached"));
    }

    #[test]
    fn the_budget_above_refuses_by_its_own_name_and_nothing_leaks() {
        let process = Budget::new(BudgetScope::Process, 100);
        let query = process.child(BudgetScope::Query, 1000);
        let mut reservation = query.reservation();
        let refusal = reservation.grow(101).expect_err("over the process limit");
        assert_eq!(refusal.scope, BudgetScope::Process);
        assert_eq!((process.used_bytes(), query.used_bytes()), (0, 0));
    }

    #[test]
    fn dropping_gives_everything_back_at_all_levels() {
        let process = Budget::unlimited();
        let tenant = process.child(BudgetScope::Tenant, 1 << 30);
        let query = tenant.child(BudgetScope::Query, 1 << 20);
        let mut reservation = query.reservation();
        reservation.grow(10).expect("fits");
        reservation.grow(100_000).expect("fits");
        assert!(process.used_bytes() >= 100_010);
        drop(reservation);
        assert_eq!((process.used_bytes(), tenant.used_bytes(), query.used_bytes()), (0, 0, 0));
    }

    #[test]
    fn what_is_held_anyway_leaves_no_room_for_others() {
        let process = Budget::new(BudgetScope::Process, 1000);
        let mut held = process.child(BudgetScope::Heads, 100).reservation();
        held.hold(990);
        let mut other = process.reservation();
        other.grow(10).expect("exactly what is left");
        assert_eq!(other.grow(1).map_err(|refusal| refusal.scope), Err(BudgetScope::Process));
        held.hold(1500);
        assert_eq!(process.used_bytes(), 1510);
        held.hold(0);
        assert_eq!((process.used_bytes(), held.used_bytes()), (10, 0));
    }

    #[test]
    fn shrinking_returns_whole_quanta() {
        let budget = Budget::unlimited();
        let mut reservation = budget.reservation();
        reservation.grow(1_000_000).expect("unlimited");
        reservation.shrink(990_000);
        assert_eq!(budget.used_bytes(), RESERVATION_QUANTUM_BYTES);
    }

    #[test]
    fn an_absorbed_reservation_is_released_once() {
        let budget = Budget::unlimited();
        let mut left = budget.reservation();
        let mut right = budget.reservation();
        left.grow(1).expect("unlimited");
        right.grow(2).expect("unlimited");
        left.absorb(right);
        assert_eq!(left.used_bytes(), 3);
        drop(left);
        assert_eq!(budget.used_bytes(), 0);
    }
}
