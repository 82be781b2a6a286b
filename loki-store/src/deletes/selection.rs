//! Going over the entries that a log query selects, each once.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;

use foldhash::quality::RandomState;
use loki_core::{Direction, Error, Labels, Timestamp};
use loki_logql::querier::{EntryBatch, Order, RowMetadata, SelectRequest};

use super::{DeleteError, Deletion, StoredDelete};

/// What a query selects, on the way through batches that come forward in time.
#[derive(Debug)]
pub(crate) struct Selection {
    deletion: Deletion,
    /// Entries that may come again, by time and hash; those that cannot are forgotten.
    seen: HashSet<(i64, u64), RandomState>,
    hasher: RandomState,
    /// Entries seen when old ones were last forgotten, and twice as many.
    forget_at: usize,
}

/// An entry that is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectedRow<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) timestamp: Timestamp,
    pub(crate) line: &'a [u8],
    pub(crate) row: u32,
    pub(crate) metadata: &'a RowMetadata,
}

/// Entries remembered before it is worth while to look for some that can be forgotten.
const MIN_FORGET: usize = 1 << 16;

impl Selection {
    /// Compiles the query of a request.
    pub(crate) fn new(stored: StoredDelete) -> Result<Self, DeleteError> {
        let deletion = Deletion::new(stored)?;
        let (seen, hasher) = (HashSet::default(), RandomState::default());
        Ok(Self { deletion, seen, hasher, forget_at: MIN_FORGET })
    }

    /// What to ask a querier for.
    pub(crate) fn request(&self) -> SelectRequest {
        SelectRequest {
            matchers: self.deletion.matchers().to_vec(),
            range: self.deletion.range,
            order: Order::Time(Direction::Forward),
            hints: self.deletion.hints(),
        }
    }

    /// Shows the selected rows of the next batch, without those that an earlier batch had, until `visit` has enough.
    ///
    /// Runs pipelines over lines, so it is no work for an asynchronous task.
    pub(crate) fn for_each(
        &mut self,
        batch: &EntryBatch,
        mut visit: impl FnMut(SelectedRow<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.forget_before(batch.bounds.start);
        let selected = self.deletion.selected_rows(batch)?;
        if selected.is_empty() {
            return Ok(());
        }
        let (times, metadata) = (batch.columns.timestamps()?, batch.columns.metadata()?);
        let Some(text) = batch.columns.text()? else {
            return Ok(());
        };
        let mut runs = batch.runs.iter().peekable();
        for row in selected.into_iter().flatten() {
            while runs.next_if(|run| run.rows.end <= row).is_some() {}
            let Some(run) = runs.peek().filter(|run| run.rows.contains(&row)) else {
                continue;
            };
            let timestamp = Timestamp(times[row as usize]);
            let entry = SelectedRow { labels: &run.labels, timestamp, line: text.line(row), row, metadata: &metadata };
            let may_repeat = batch.repeats.iter().any(|span| span.contains(timestamp));
            if (!may_repeat || self.is_new(run.hash, &entry)) && visit(entry).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_new(&mut self, stream: u64, entry: &SelectedRow<'_>) -> bool {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(stream);
        hasher.write(entry.line);
        entry.metadata.for_each(entry.row, |name, value| {
            for text in [name, value] {
                hasher.write_usize(text.len());
                hasher.write(text.as_bytes());
            }
        });
        self.seen.insert((entry.timestamp.0, hasher.finish()))
    }

    /// No batch that follows has entries before `start`.
    fn forget_before(&mut self, start: Timestamp) {
        if self.seen.len() >= self.forget_at {
            self.seen.retain(|(time, _)| *time >= start.0);
            self.forget_at = (2 * self.seen.len()).max(MIN_FORGET);
        }
    }
}
