//! Carrying out requests to delete entries: segments with such entries are written again without them.

use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use loki_logql::budget::Budget;
use loki_logql::querier::{EntryBatch, Order, SelectRequest};

use super::Store;
use super::compact::{Housekeeping, Job};
use crate::counters::Counters;
use crate::deletes::{Deletion, Deletions};
use crate::error::Error;
use crate::querier::{Reach, batches};
use crate::segment::Segment;
use crate::view::View;

impl Store {
    /// A segment that holds entries of a request which is due, to be written again. Requests of which nothing is left are
    /// marked as processed on the way.
    pub(super) async fn next_erasure(
        &self,
        housekeeping: &mut Housekeeping,
        live: &[Arc<Segment>],
        deadline: u64,
    ) -> Result<Option<Job>, Error> {
        let inner = &self.inner;
        for deletion in self.pending_deletes() {
            let concerned: Vec<&Arc<Segment>> = live
                .iter()
                .filter(|segment| {
                    segment.tenant(&deletion.tenant).is_some_and(|part| part.range().overlaps(&deletion.range))
                })
                .collect();
            let mut is_stuck = false;
            for (i, segment) in concerned.iter().enumerate() {
                let key = (deletion.id.clone(), segment.header.id);
                if housekeeping.cleared.contains(&key) {
                    continue;
                }
                if housekeeping.unmergeable.contains(&segment.header.id) {
                    is_stuck = true;
                    continue;
                }
                if inner.config.clock.monotonic_nanos() >= deadline {
                    return Ok(None);
                }
                let segments = segment.tenant(&deletion.tenant).into_iter().collect();
                // It is one segment at a time, and must not wait for others to need less.
                let memory = Budget::unlimited();
                let view = View { segments, heads: Vec::new(), deletions: Deletions::default(), memory };
                if selects_any(&deletion, view, &inner.counters).await? {
                    deletion.set_percent((100 * i / concerned.len()).max(1) as u8);
                    return Ok(Some(Job::rewrite(Arc::clone(segment))));
                }
                housekeeping.cleared.insert(key);
            }
            let heads = View {
                segments: Vec::new(),
                deletions: Deletions::default(),
                ..self.view(&deletion.tenant, deletion.range)
            };
            if selects_any(&deletion, heads, &inner.counters).await? {
                // What is in memory becomes a segment, which is looked at in the next round.
                self.flush().await?;
            } else if !is_stuck && self.saw_all(live) {
                self.mark_processed(&deletion).await?;
                inner.counters.deletes_processed.add(1);
                housekeeping.cleared.retain(|(id, _)| *id != deletion.id);
            }
        }
        Ok(None)
    }

    /// Whether no segment was flushed since `live` was looked up.
    fn saw_all(&self, live: &[Arc<Segment>]) -> bool {
        let state = self.inner.state.lock();
        state.segments.last().map(|segment| segment.header.id) == live.last().map(|segment| segment.header.id)
    }
}

/// Whether a request selects some entry.
pub(crate) async fn selects_any(deletion: &Arc<Deletion>, view: View, counters: &Arc<Counters>) -> Result<bool, Error> {
    let request = SelectRequest {
        matchers: deletion.matchers().to_vec(),
        range: deletion.range,
        order: Order::Any,
        hints: deletion.hints(),
    };
    let batches = batches(view, request, Arc::clone(counters), Reach::little(), Budget::unlimited());
    pin_mut!(batches);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let deletions = Deletions::new(vec![Arc::clone(deletion)]);
        let rows = |batch: &EntryBatch| -> usize { batch.runs.iter().map(|run| run.rows.len()).sum() };
        let before = rows(&batch);
        let left = super::blocking(move || deletions.subtract(batch)).await;
        let object = || format!("with entries that delete request {} selects", deletion.id);
        let left = left.map_err(|source| Error::Corrupt { object: object(), source })?;
        if left.map_or(0, |batch| rows(&batch)) < before {
            return Ok(true);
        }
    }
    Ok(false)
}
