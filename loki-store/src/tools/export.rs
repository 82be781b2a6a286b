//! Entries by LogQL and time, as lines of JSON or as bodies of pushes.

mod format;

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::{TryStreamExt, pin_mut};
use loki_core::TimeRange;
use serde::Serialize;

use super::progress::{Progress, Stage};
use super::reading::Reading;
use super::site::Site;
use super::table::size;
use crate::clock::Clock;
use crate::config::LimitsSource;
use crate::deletes::{DeleteError, DeleteId, Selection, StoredDelete};
use crate::error::Error;
use crate::tenant::TenantId;
use format::Formatter;

/// Bytes at which the body of a push ends; a longer line has a body of its own. A server takes 4 MB of gRPC messages
/// and more by its usual limits.
pub const MAX_EXPORT_BODY_BYTES: usize = 1 << 20;

/// What to export.
#[derive(Clone)]
pub struct ExportRequest {
    /// Whose entries.
    pub tenant: TenantId,
    /// A log query in LogQL. It selects entries, which come out as they are stored: stages that change lines or labels
    /// decide what is selected, and no more. `{}` selects all streams.
    pub query: String,
    /// The times of the entries.
    pub range: TimeRange,
    /// How entries are written.
    pub format: ExportFormat,
    /// The limits of tenants: what a push leaves out, and is in the log only, is completed by them.
    pub limits: LimitsSource,
    /// Whether entries that are past their retention are left out.
    pub retention_enabled: bool,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// A JSON object a line: `timestamp`, `labels`, `line` and, where there is any, `metadata`.
    #[default]
    NdJson,
    /// A body for `POST /loki/api/v1/push` a line, of at most [`MAX_EXPORT_BODY_BYTES`].
    Push,
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Entries.
    pub entries: u64,
    /// Bytes of their lines.
    pub line_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Lines that are not UTF-8, in which JSON has a replacement for every byte that does not fit.
    pub changed_lines: u64,
    /// What could not be read and is missing.
    pub unreadable: Vec<String>,
}

/// Why nothing, or not everything, was exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The query is not a log query.
    #[error(transparent)]
    Query(#[from] DeleteError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] Error),
    /// A segment that is being read is damaged.
    #[error("cannot read entries")]
    Damage(#[source] loki_core::Error),
    /// The result could not be written.
    #[error("cannot write what is exported")]
    Write(#[source] io::Error),
}

/// Writes the entries that a query selects, each once.
///
/// They come by the times at which chunks begin: in order within a stream that was pushed in order, and not in order
/// altogether. Memory is bounded by what the log holds and the entries that may be stored twice, whatever is exported. A
/// server may be at work on the store; what is pushed after the beginning is not exported, and an export may take as
/// long as replaced segments are kept ([`StoreConfig::delete_delay`](crate::StoreConfig::delete_delay)).
///
/// # Errors
///
/// [`ExportError::Query`] for a query that is no log query; otherwise what reading or writing met.
pub async fn export(
    site: &Site,
    request: ExportRequest,
    clock: Arc<dyn Clock>,
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<ExportReport, ExportError> {
    let ExportRequest { tenant, query, range, format, limits, retention_enabled } = request;
    let created_at = clock.now();
    let stored = StoredDelete { id: DeleteId::random(), tenant: tenant.clone(), query, range, created_at };
    let mut selection = Selection::new(stored)?;
    let (mut reading, unreadable) = Reading::open(site, limits, retention_enabled, clock).await?;
    let mut report = ExportReport { unreadable, ..ExportReport::default() };
    let batches = reading.batches(&tenant, selection.request());
    pin_mut!(batches);
    progress.begin(Stage::Exporting, None);
    let mut formatter = Formatter::new(format, out);
    while let Some(batch) = batches.try_next().await? {
        let before = report.line_bytes;
        let mut failure = None;
        let visited = selection.for_each(&batch, |row| {
            report.entries += 1;
            report.line_bytes += row.line.len() as u64;
            match formatter.write(&row) {
                Ok(is_changed) => {
                    report.changed_lines += u64::from(is_changed);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        visited.map_err(ExportError::Damage)?;
        if let Some(error) = failure {
            return Err(ExportError::Write(error));
        }
        progress.advance(report.line_bytes - before);
    }
    report.written_bytes = formatter.finish().map_err(ExportError::Write)?;
    progress.end();
    let damaged = reading.damaged_chunks();
    if damaged > 0 {
        report.unreadable.push(format!("{damaged} chunks"));
    }
    Ok(report)
}

impl fmt::Display for ExportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unreadable in &self.unreadable {
            writeln!(f, "missing: {unreadable}")?;
        }
        if self.changed_lines > 0 {
            writeln!(f, "{} lines are not UTF-8 and were changed", self.changed_lines)?;
        }
        writeln!(f, "exported {} entries, {} of lines", self.entries, size(self.line_bytes))
    }
}

impl fmt::Debug for ExportRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportRequest")
            .field("tenant", &self.tenant)
            .field("query", &self.query)
            .field("range", &self.range)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
