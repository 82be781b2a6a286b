//! The tenants of a query: one, or several that are read as if they were one.
//!
//! A query over several tenants sees a label `__tenant_id__` on every stream and series. As in Loki it is put there
//! behind the pipeline, so that stages do not see it, while aggregations and clients do; [`rename`] says how. A stream
//! that has a label of that name already shows it as `original___tenant_id__`.

mod querier;
mod rename;

use std::sync::Arc;

use loki_core::{Labels, Matcher};
use loki_logql::querier::Querier;
use loki_store::{Store, TenantError, TenantId};

use crate::extract::TenantHeader;
use querier::TenantsQuerier;

pub(crate) use rename::{rename_error, rename_expr, rename_result, shown_labels};

/// Names the tenant of a stream.
pub(crate) const TENANT_LABEL: &str = "__tenant_id__";
/// What becomes of a label that has the name already.
const ORIGINAL_LABEL: &str = "original___tenant_id__";
/// Separates tenants in the header.
const SEPARATOR: char = '|';

/// The tenants that a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenants {
    /// Sorted, without repetition.
    ids: Vec<TenantId>,
    /// Whether the header named several. One of them may be empty, which is nobody's name.
    several: bool,
}

/// What the tenants of a query do with its matchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantMatchers {
    /// Those of `__tenant_id__` choose among the tenants and go no further; the rest is for the streams.
    Resolved,
    /// They choose among the tenants and are asked of the streams all the same, as Loki does for samples.
    Kept,
}

impl Tenants {
    /// The tenants that a header names.
    pub(crate) fn of(header: &TenantHeader) -> Result<Self, TenantError> {
        let Some(text) = header.text() else {
            return Ok(Self { ids: vec![header.single()?], several: false });
        };
        let mut ids = Vec::new();
        let mut has_nobody = false;
        for part in text.split(SEPARATOR) {
            match part {
                "" => has_nobody = true,
                part => ids.push(TenantId::parse(part)?),
            }
        }
        ids.sort();
        ids.dedup();
        match ids.len() {
            0 => Err(TenantError::Missing),
            count => Ok(Self { several: has_nobody || count > 1, ids }),
        }
    }

    /// Sorted, without repetition.
    pub(crate) fn ids(&self) -> &[TenantId] {
        &self.ids
    }

    /// Whether answers say which tenant they are from.
    pub(crate) fn are_several(&self) -> bool {
        self.several
    }

    /// The ids as values of `__tenant_id__`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.ids.iter().map(|id| id.as_str().to_owned()).collect()
    }

    /// All ids in one string, for queues and logs.
    pub(crate) fn joined(&self) -> String {
        self.names().join("|")
    }

    /// The tenants that matchers leave, and the matchers for their streams.
    pub(crate) fn choose(&self, matchers: &[Matcher], mode: TenantMatchers) -> (Vec<TenantId>, Vec<Matcher>) {
        if !self.several {
            return (self.ids.clone(), matchers.to_vec());
        }
        let of_tenants = |matcher: &&Matcher| matcher.name() == TENANT_LABEL;
        let chosen = |id: &&TenantId| matchers.iter().filter(of_tenants).all(|matcher| matcher.matches(id.as_str()));
        let ids = self.ids.iter().filter(chosen).cloned().collect();
        let matchers = match mode {
            TenantMatchers::Kept => matchers.to_vec(),
            TenantMatchers::Resolved => matchers.iter().filter(|m| !of_tenants(m)).map(stored_matcher).collect(),
        };
        (ids, matchers)
    }

    /// The entries of all tenants. Queries over several tenants must be prepared by [`rename_expr`].
    pub(crate) fn querier(&self, store: &Store, mode: TenantMatchers) -> Arc<dyn Querier> {
        match (self.ids.as_slice(), self.several) {
            ([id], false) => store.querier(id),
            (ids, _) => {
                let queriers = ids.iter().map(|id| (id.clone(), store.querier(id))).collect();
                Arc::new(TenantsQuerier { tenants: self.clone(), queriers, mode })
            }
        }
    }

    /// The labels of a tenant's stream as answers show them.
    pub(crate) fn shown(&self, id: &TenantId, labels: &Labels) -> Labels {
        if self.several { shown_labels(&querier::tagged(labels, id)) } else { labels.clone() }
    }
}

/// A matcher of the label that answers show under another name.
fn stored_matcher(matcher: &Matcher) -> Matcher {
    if matcher.name() != ORIGINAL_LABEL {
        return matcher.clone();
    }
    Matcher::new(TENANT_LABEL, matcher.op(), matcher.value()).expect("the same regex compiled before")
}

/// The name under which the store has a label that answers show as `name`.
pub(crate) fn stored_name(name: &str) -> &str {
    if name == ORIGINAL_LABEL { TENANT_LABEL } else { name }
}

#[cfg(test)]
mod tests;
