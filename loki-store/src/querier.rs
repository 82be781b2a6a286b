//! The store as a [`Querier`]: segments and heads behind one stream of
//! batches.
//!
//! [`scan`] visits the places that hold entries in order of time and opens
//! each as late as possible; [`prune`] says which chunks of a segment matter,
//! [`counts`] answers from rollups, [`zones`] finds what may be stored twice,
//! [`hidden`] what requests to delete entries hide.

mod counts;
mod hidden;
mod prune;
mod scan;
mod zones;

use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use loki_core::TimeRange;
use loki_logql::querier::{EntryBatch, Querier, QuerierError, SelectRequest};

use crate::counters::Counters;
use crate::error::Error;
use crate::store::memory::Readers;
use crate::view::View;
use scan::Scan;

/// Groups of chunks that are fetched ahead of their use.
const GROUPS_AHEAD: usize = 2;

/// Gives the entries of one tenant as they are at the time of each request.
pub(crate) struct StoreQuerier {
    /// The places that hold entries in a time range, as of now.
    pub(crate) view: Box<dyn Fn(TimeRange) -> View + Send + Sync>,
    pub(crate) counters: Arc<Counters>,
    /// Merges rest while somebody reads.
    pub(crate) readers: Readers,
}

impl Querier for StoreQuerier {
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        let (view, reading) = ((self.view)(request.range), self.readers.begin());
        let batches = batches(view, request, Arc::clone(&self.counters)).map_err(QuerierError::new);
        batches.inspect(move |_| _ = &reading).boxed()
    }
}

/// The batches of a view that may hold entries which are asked for.
pub(crate) fn batches(
    view: View,
    request: SelectRequest,
    counters: Arc<Counters>,
) -> impl Stream<Item = Result<EntryBatch, Error>> + Send + 'static {
    let begin = async move { Scan::begin(view, request, counters).await };
    stream::once(begin)
        .map_ok(|scan| stream::try_unfold(scan, Scan::next_group))
        .try_flatten()
        .map_ok(scan::Group::read)
        .try_buffered(GROUPS_AHEAD)
        .map_ok(|batches| stream::iter(batches.into_iter().map(Ok::<_, Error>)))
        .try_flatten()
}

impl fmt::Debug for StoreQuerier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreQuerier").finish_non_exhaustive()
    }
}
