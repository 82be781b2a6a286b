//! One request, ready to be applied.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use loki_core::{Labels, Matcher, TimeRange, Timestamp};
use loki_logql::parser::parse_log_of_any_stream;
use loki_logql::pipeline::{NeededLabels, Pipeline, PipelineOptions};
use loki_logql::querier::Hints;

use super::{AcceptedDelete, DeleteError, DeleteId, DeleteRequest, DeleteStatus, StoredDelete};
use crate::tenant::TenantId;

/// A request with its query compiled.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) id: DeleteId,
    pub(crate) tenant: TenantId,
    pub(crate) range: TimeRange,
    pub(crate) created_at: Timestamp,
    query: String,
    matchers: Vec<Matcher>,
    /// `None` when all entries of the streams go.
    pipeline: Option<Pipeline>,
    percent: AtomicU8,
    processed_at: OnceLock<Timestamp>,
}

impl Deletion {
    /// Compiles the query.
    pub(crate) fn new(stored: StoredDelete) -> Result<Self, DeleteError> {
        let StoredDelete { id, tenant, query, range, created_at } = stored;
        let expr = parse_log_of_any_stream(&query)?;
        // The same as in a query for lines, so that what such a query shows is what goes.
        let options =
            PipelineOptions { needed: NeededLabels::All, now: created_at, needs_line: true, is_metric: false };
        let pipeline = match expr.stages.as_slice() {
            [] => None,
            stages => Some(Pipeline::compile(stages, None, options)?),
        };
        let (percent, processed_at) = (AtomicU8::new(0), OnceLock::new());
        Ok(Self { id, tenant, range, created_at, query, matchers: expr.matchers, pipeline, percent, processed_at })
    }

    /// What the query asks of streams: all must match.
    pub(crate) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// What the query asks of entries besides; `None` when nothing.
    pub(crate) fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.as_ref()
    }

    /// Whether entries of a stream may be selected.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    /// What selected entries contain: chunks that cannot have it are not concerned.
    pub(crate) fn hints(&self) -> Hints {
        let Some(pipeline) = &self.pipeline else {
            return Hints::default();
        };
        Hints { needles: pipeline.needles(), labels: pipeline.label_equalities(), ..Hints::default() }
    }

    pub(crate) fn is_processed(&self) -> bool {
        self.processed_at.get().is_some()
    }

    /// When what it selects was gone.
    pub(crate) fn processed_at(&self) -> Option<Timestamp> {
        self.processed_at.get().copied()
    }

    /// From now on it hides nothing.
    pub(crate) fn set_processed(&self, at: Timestamp) {
        self.processed_at.get_or_init(|| at);
    }

    /// Notes how many of a hundred segments are rewritten.
    pub(crate) fn set_percent(&self, percent: u8) {
        self.percent.store(percent.min(100), Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> DeleteStatus {
        match (self.is_processed(), self.percent.load(Ordering::Relaxed)) {
            (true, _) => DeleteStatus::Processed,
            (false, 0) => DeleteStatus::Received,
            (false, percent) => DeleteStatus::Partly { percent },
        }
    }

    /// What clients are told about it.
    pub(crate) fn describe(&self) -> AcceptedDelete {
        AcceptedDelete {
            id: self.id.clone(),
            request: DeleteRequest { query: self.query.clone(), range: self.range },
            created_at: self.created_at,
            status: self.status(),
        }
    }
}
