//! The store as a [`Querier`]: segments and heads behind one stream of
//! batches.
//!
//! [`scan`] visits the places that hold entries in order of time and opens
//! each as late as possible, by way of [`open`]; [`prune`] says which chunks of
//! a segment matter, [`counts`] answers from rollups, [`zones`] finds what may
//! be stored twice, [`repeats`] what of it has equal times, [`hidden`] what requests to delete entries hide. What is
//! left is fetched in [`group`]s, and [`ahead`] of its use.

mod ahead;
mod counts;
mod group;
mod hidden;
mod open;
mod prune;
mod repeats;
mod scan;
mod zones;

use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use loki_core::TimeRange;
use loki_logql::budget::Budget;
use loki_logql::querier::{EntryBatch, Order, Querier, QuerierError, SelectRequest};

use crate::counters::Counters;
use crate::error::Error;
use crate::store::memory::Readers;
use crate::view::View;
pub(crate) use ahead::Reach;
use ahead::ReadAhead;
use scan::Scan;

/// Groups of chunks that are fetched at the same time when the consumer may stop early; later there may be more.
const FIRST_GROUPS: usize = 2;

/// Gives the entries of one tenant as they are at the time of each request.
pub(crate) struct StoreQuerier {
    /// The places that hold entries in a time range, as of now.
    pub(crate) view: Box<dyn Fn(TimeRange) -> View + Send + Sync>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reach: Reach,
    /// Whose memory reading ahead takes.
    pub(crate) ahead_memory: Budget,
    /// Merges rest while somebody reads.
    pub(crate) readers: Readers,
}

impl Querier for StoreQuerier {
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        let (view, reading) = ((self.view)(request.range), self.readers.begin());
        let batches = batches(view, request, Arc::clone(&self.counters), self.reach, self.ahead_memory.clone());
        let batches = batches.map_err(|error| match error {
            Error::Memory(refusal) => QuerierError::new(refusal),
            error => QuerierError::new(error),
        });
        batches.inspect(move |_| _ = &reading).boxed()
    }
}

/// The batches of a view that may hold entries which are asked for.
pub(crate) fn batches(
    view: View,
    request: SelectRequest,
    counters: Arc<Counters>,
    reach: Reach,
    ahead_memory: Budget,
) -> impl Stream<Item = Result<EntryBatch, Error>> + Send + 'static {
    let first_groups = match request.order {
        Order::Any => reach.groups,
        Order::Time(_) => FIRST_GROUPS,
    };
    let begin = async move { Scan::begin(view, request, reach, counters).await };
    let groups = stream::once(begin).map_ok(|scan| stream::try_unfold(scan, Scan::next_group)).try_flatten();
    ReadAhead::new(groups.boxed(), first_groups, reach, ahead_memory)
        .map_ok(|batches| stream::iter(batches.into_iter().map(Ok::<_, Error>)))
        .try_flatten()
}

impl fmt::Debug for StoreQuerier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreQuerier").finish_non_exhaustive()
    }
}
