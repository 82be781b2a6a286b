//! Entries of several tenants as one source.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use loki_core::{Direction, Labels};
use loki_logql::querier::{EntryBatch, Order, Querier, QuerierError, SelectRequest};
use loki_store::TenantId;

use super::rename::TAG_LABEL;
use super::{TenantMatchers, Tenants};

/// Reads the entries of several tenants and tags their streams.
#[derive(Debug)]
pub(super) struct TenantsQuerier {
    pub(super) tenants: Tenants,
    pub(super) queriers: Vec<(TenantId, Arc<dyn Querier>)>,
    pub(super) mode: TenantMatchers,
}

type Batches = BoxStream<'static, Result<EntryBatch, QuerierError>>;

impl Querier for TenantsQuerier {
    fn select(&self, request: SelectRequest) -> Batches {
        let (chosen, matchers) = self.tenants.choose(&request.matchers, self.mode);
        let order = request.order;
        let queriers = self.queriers.iter().filter(|(id, _)| chosen.contains(id));
        let sources = queriers.map(|(id, querier)| {
            let mut tagger = Tagger { id: id.clone(), known: HashMap::new() };
            let batches = querier.select(SelectRequest { matchers: matchers.clone(), ..request.clone() });
            batches.map_ok(move |batch| tagger.tag(batch)).boxed()
        });
        let sources: Vec<Batches> = sources.collect();
        match order {
            Order::Any => stream::iter(sources).flatten().boxed(),
            Order::Time(direction) => merge(sources, direction),
        }
    }
}

/// Adds the tag to the streams of a tenant.
struct Tagger {
    id: TenantId,
    /// By the hash of the labels without the tag.
    known: HashMap<u64, (Labels, u64)>,
}

impl Tagger {
    fn tag(&mut self, mut batch: EntryBatch) -> EntryBatch {
        for run in &mut batch.runs {
            let (labels, hash) = self.known.entry(run.hash).or_insert_with(|| {
                let labels = tagged(&run.labels, &self.id);
                let hash = labels.hash64();
                (labels, hash)
            });
            run.labels = labels.clone();
            run.hash = *hash;
        }
        batch
    }
}

/// Labels with the tag, whose name sorts before every other.
pub(super) fn tagged(labels: &Labels, id: &TenantId) -> Labels {
    Labels::from_sorted(std::iter::once((TAG_LABEL, id.as_str())).chain(labels.iter()))
}

/// A source with the batch it would deliver next.
struct Source {
    next: Option<EntryBatch>,
    rest: Batches,
    is_over: bool,
}

/// Brings ordered sources together in the same order.
fn merge(sources: Vec<Batches>, direction: Direction) -> Batches {
    let sources: Vec<Source> = sources.into_iter().map(|rest| Source { next: None, rest, is_over: false }).collect();
    stream::try_unfold(sources, move |mut sources| async move {
        for source in &mut sources {
            if source.next.is_none() && !source.is_over {
                source.next = source.rest.try_next().await?;
                source.is_over = source.next.is_none();
            }
        }
        let ready = sources.iter_mut().filter(|source| source.next.is_some());
        let first = ready.min_by(|a, b| match (&a.next, &b.next) {
            (Some(a), Some(b)) => in_order(a, b, direction),
            _ => Ordering::Equal,
        });
        let batch = first.and_then(|source| source.next.take());
        Ok(batch.map(|batch| (batch, sources)))
    })
    .boxed()
}

fn in_order(a: &EntryBatch, b: &EntryBatch, direction: Direction) -> Ordering {
    match direction {
        Direction::Forward => a.bounds.start.cmp(&b.bounds.start),
        Direction::Backward => b.bounds.end.cmp(&a.bounds.end),
    }
}
