//! The memory of queries: a share for all, a share for each tenant, a share for each query.

use std::sync::Arc;

use hashbrown::HashMap;
use loki_logql::budget::{Budget, BudgetScope};
use parking_lot::Mutex;

use crate::memory::Relief;

/// Where the budgets of queries come from.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    all: Budget,
    tenant_bytes: u64,
    query_bytes: u64,
    relief: Arc<Relief>,
    /// The budgets of tenants whose queries hold memory, and maybe some more.
    tenants: Mutex<HashMap<String, Budget>>,
}

/// Tenants that are remembered before those without queries are forgotten.
const REMEMBERED_TENANTS: usize = 64;

impl QueryMemory {
    /// Queries share `all`; those of one tenant take at most `tenant_bytes` of it, one of them at most `query_bytes`.
    pub(crate) fn new(all: Budget, tenant_bytes: u64, query_bytes: u64, relief: Relief) -> Self {
        Self { all, tenant_bytes, query_bytes, relief: Arc::new(relief), tenants: Mutex::default() }
    }

    /// Gives back what queries leave behind, if that is much.
    pub(crate) const fn relief(&self) -> &Arc<Relief> {
        &self.relief
    }

    /// What all queries hold.
    pub(crate) fn all(&self) -> &Budget {
        &self.all
    }

    /// The budget of a new query.
    pub(crate) fn of_query(&self, tenant: &str) -> Budget {
        self.of_tenant(tenant).child(BudgetScope::Query, self.query_bytes)
    }

    fn of_tenant(&self, tenant: &str) -> Budget {
        let mut tenants = self.tenants.lock();
        if let Some(budget) = tenants.get(tenant) {
            return budget.clone();
        }
        if tenants.len() >= REMEMBERED_TENANTS {
            tenants.retain(|_, budget| budget.is_shared());
        }
        let budget = self.all.child(BudgetScope::Tenant, self.tenant_bytes);
        tenants.insert(tenant.to_owned(), budget.clone());
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> QueryMemory {
        QueryMemory::new(Budget::new(BudgetScope::Queries, 100), 75, 50, Relief::new(Budget::unlimited()))
    }

    /// Which share is used up first, if each query takes as much as it can.
    fn refused(budget: &Budget, bytes: usize) -> Option<BudgetScope> {
        budget.reservation().grow(bytes).err().map(|refusal| refusal.scope)
    }

    #[test]
    fn a_query_a_tenant_and_all_have_their_limits() {
        let memory = memory();
        let one = memory.of_query("a");
        assert_eq!(refused(&one, 51), Some(BudgetScope::Query));
        let mut held = one.reservation();
        held.grow(50).expect("the share of a query");
        assert_eq!(refused(&memory.of_query("a"), 26), Some(BudgetScope::Tenant));
        assert_eq!(refused(&memory.of_query("a"), 25), None);
        let mut of_other = memory.of_query("b").reservation();
        of_other.grow(50).expect("another tenant");
        assert_eq!(refused(&memory.of_query("c"), 1), Some(BudgetScope::Queries));
    }

    #[test]
    fn tenants_without_queries_are_forgotten() {
        let memory = memory();
        let kept = memory.of_query("kept");
        for number in 0..1000 {
            memory.of_query(&number.to_string());
        }
        assert!(memory.tenants.lock().len() <= REMEMBERED_TENANTS);
        let mut held = kept.reservation();
        held.grow(50).expect("the share of a query");
        assert_eq!(refused(&memory.of_query("kept"), 26), Some(BudgetScope::Tenant), "it is still the same tenant");
    }
}
