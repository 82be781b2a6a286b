//! How many live tails tenants have.

use std::collections::HashMap;
use std::sync::Arc;

use loki_store::TenantId;
use parking_lot::Mutex;

/// Counts the tails of tenants that have any.
#[derive(Clone, Debug, Default)]
pub(crate) struct TailCounts(Arc<Mutex<HashMap<TenantId, usize>>>);

/// One tail, until it is dropped.
#[derive(Debug)]
pub(crate) struct TailSlot {
    counts: TailCounts,
    tenant: TenantId,
}

/// A tenant has as many tails as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("max concurrent tail requests limit exceeded, count > limit ({count} > {limit})")]
pub(crate) struct TooManyTails {
    count: usize,
    limit: usize,
}

impl TailCounts {
    /// Counts another tail of a tenant that may have `limit` (zero for any number).
    pub(crate) fn enter(&self, tenant: &TenantId, limit: usize) -> Result<TailSlot, TooManyTails> {
        let mut counts = self.0.lock();
        let count = counts.get(tenant).copied().unwrap_or_default() + 1;
        if limit > 0 && count > limit {
            return Err(TooManyTails { count, limit });
        }
        counts.insert(tenant.clone(), count);
        Ok(TailSlot { counts: self.clone(), tenant: tenant.clone() })
    }

    /// All tails of all tenants.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().values().sum()
    }
}

impl Drop for TailSlot {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(count) = counts.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_that_ends_makes_room() {
        let counts = TailCounts::default();
        let tenant = TenantId::anonymous();
        let first = counts.enter(&tenant, 1).expect("the first");
        assert_eq!(counts.count(), 1);
        let refusal = counts.enter(&tenant, 1).expect_err("one is the limit");
        assert_eq!(refusal.to_string(), "max concurrent tail requests limit exceeded, count > limit (2 > 1)");
        drop(first);
        assert!(counts.enter(&tenant, 1).is_ok());
        assert!(counts.0.lock().is_empty());
    }
}
