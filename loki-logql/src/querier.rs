//! Where entries come from: the one trait between the engine and a store.
//!
//! A [`Querier`] answers a [`SelectRequest`] with a stream of [`EntryBatch`]es.
//! Fetching a batch is asynchronous; looking into it is not: a batch carries
//! its columns undecoded, and the engine decodes only those that a query
//! needs, on its own workers.
//!
//! **Invariant:** [`Hints`] are advisory. A querier that ignores them all
//! leads to the same answer, only later.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use futures::stream::BoxStream;
use loki_core::{Chunk, Direction, Labels, Matcher, MetadataColumns, Text, TimeRange, Timestamp};

/// A source of log entries of one tenant.
pub trait Querier: Send + Sync + fmt::Debug {
    /// Streams every batch that may hold entries of the selected streams in the requested time range.
    ///
    /// Under [`Order::Time`] batches come ordered by the end of their
    /// [`EntryBatch::bounds`] descending (backward) or their start ascending
    /// (forward), so that a consumer with a limit can stop early. Dropping
    /// the stream cancels the work.
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>>;
}

/// Why a querier could not deliver: the store's own error, shown to the user as it is.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct QuerierError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl QuerierError {
    /// Wraps a store's error. The engine takes a [`BudgetExceeded`](crate::budget::BudgetExceeded) for its own.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl From<QuerierError> for crate::engine::Error {
    fn from(QuerierError(error): QuerierError) -> Self {
        match error.downcast() {
            Ok(refusal) => Self::Memory(*refusal),
            Err(error) => Self::Querier(QuerierError(error)),
        }
    }
}

impl From<loki_core::Error> for QuerierError {
    fn from(error: loki_core::Error) -> Self {
        Self::new(error)
    }
}

/// What the engine asks of a querier.
#[derive(Clone, Debug)]
pub struct SelectRequest {
    /// All must match a stream's labels; an absent label counts as empty.
    pub matchers: Vec<Matcher>,
    /// Entries outside may be delivered and are dropped by the consumer.
    pub range: TimeRange,
    /// The order in which batches are wanted.
    pub order: Order,
    /// What the querier may leave out.
    pub hints: Hints,
}

/// The order of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whatever is cheapest.
    Any,
    /// By time, because the consumer may stop early.
    Time(Direction),
}

/// What a query does not need to see.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Every wanted line contains at least one literal of each element (a conjunction of disjunctions).
    pub needles: Vec<Vec<Literal>>,
    /// Every wanted entry has each of these pairs as a stream label or as structured metadata.
    pub labels: Vec<(String, String)>,
    /// Columns that the consumer will not look at may be missing from a batch, unless its entries may repeat.
    pub columns: ColumnSet,
    /// Set when only numbers of entries and bytes per grid cell matter.
    pub grid: Option<Grid>,
}

/// A literal that a line must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Letters match in either case (Unicode simple folding).
    pub case_insensitive: bool,
}

/// Columns a consumer looks at besides stream and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSet {
    /// The lines.
    pub text: bool,
    /// Structured metadata.
    pub metadata: bool,
}

impl Default for ColumnSet {
    fn default() -> Self {
        Self { text: true, metadata: true }
    }
}

/// Cells of time in which entries of one stream may be delivered as one [`Count`].
///
/// Cell `k` is the interval `(origin + k·spacing, origin + (k+1)·spacing]`:
/// open on the left and closed on the right, as LogQL's windows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// A boundary between two cells.
    pub origin: Timestamp,
    /// The width of a cell in nanoseconds, greater than zero.
    pub spacing_nanos: i64,
    /// Labels by which the consumer tells entries of one stream apart. Entries that carry such a label as structured
    /// metadata must not be collapsed, unless their stream has the label itself.
    pub labels: GridLabels,
}

/// Which labels matter to a consumer of counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GridLabels {
    /// Only these.
    Only(Vec<String>),
    /// All: entries with any structured metadata stay single.
    All,
}

/// Entries of one or more streams that are stored together.
#[derive(Clone, Debug)]
pub struct EntryBatch {
    /// Rank of arrival: of two entries with equal time in one stream, the one in the batch with the lower rank, or in
    /// the lower row of the same batch, was pushed first.
    pub sequence: u64,
    /// All wanted rows lie inside.
    pub bounds: TimeRange,
    /// The rows of selected streams, ascending and without overlap; rows that no run names are not wanted.
    pub runs: Vec<StreamRun>,
    /// The rows themselves.
    pub columns: Columns,
    /// Entries in these spans (ascending, disjoint) may occur in another batch too: the consumer keeps one of each
    /// (stream, time, line, metadata). Entries outside occur once.
    pub repeats: Arc<[TimeRange]>,
}

/// Consecutive rows of one stream.
#[derive(Clone, Debug)]
pub struct StreamRun {
    /// The stream's labels.
    pub labels: Labels,
    /// [`Labels::hash64`] of the labels.
    pub hash: u64,
    /// Row numbers in the batch.
    pub rows: Range<u32>,
}

/// The rows of a batch.
#[derive(Clone, Debug)]
pub enum Columns {
    /// A sealed chunk; times ascend inside each run.
    Chunk(Chunk),
    /// Rows in memory, in arrival order: times inside a run may go back.
    Rows(Arc<Rows>),
    /// Collapsed entries; only ever sent for a request with a [`Grid`].
    Counts(Vec<Count>),
}

/// Entries in memory, in columns.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The lines.
    pub text: Text,
    /// Nanoseconds since the Unix epoch, one a row.
    pub timestamps: Vec<i64>,
    /// Structured metadata, one a row, or empty when no row has any.
    pub metadata: Vec<Labels>,
}

/// Several entries of one stream in one cell of a [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// A time inside the cell.
    pub timestamp: Timestamp,
    /// The number of entries.
    pub entries: u64,
    /// The bytes of their lines.
    pub line_bytes: u64,
}

/// Structured metadata of the rows of a batch.
#[derive(Clone, Debug)]
pub enum RowMetadata {
    /// No row has any.
    None,
    /// Dictionary columns of a chunk.
    Columns(MetadataColumns),
    /// One label set a row.
    Rows(Arc<Rows>),
}

impl Columns {
    /// Nanoseconds since the Unix epoch, one a row.
    pub fn timestamps(&self) -> Result<Cow<'_, [i64]>, loki_core::Error> {
        match self {
            Self::Chunk(chunk) => chunk.timestamps().map(Cow::Owned),
            Self::Rows(rows) => Ok(Cow::Borrowed(&rows.timestamps)),
            Self::Counts(counts) => Ok(Cow::Owned(counts.iter().map(|c| c.timestamp.0).collect())),
        }
    }

    /// The lines: inflates them when the rows are a chunk. `None` for counts.
    pub fn text(&self) -> Result<Option<Cow<'_, Text>>, loki_core::Error> {
        match self {
            Self::Chunk(chunk) => chunk.text().map(|text| Some(Cow::Owned(text))),
            Self::Rows(rows) => Ok(Some(Cow::Borrowed(&rows.text))),
            Self::Counts(_) => Ok(None),
        }
    }

    /// Whether some row may have structured metadata; costs nothing.
    pub fn has_metadata(&self) -> bool {
        match self {
            Self::Chunk(chunk) => chunk.has_metadata(),
            Self::Rows(rows) => !rows.metadata.is_empty(),
            Self::Counts(_) => false,
        }
    }

    /// The structured metadata.
    pub fn metadata(&self) -> Result<RowMetadata, loki_core::Error> {
        match self {
            Self::Chunk(chunk) if chunk.has_metadata() => chunk.metadata().map(RowMetadata::Columns),
            Self::Rows(rows) if !rows.metadata.is_empty() => Ok(RowMetadata::Rows(Arc::clone(rows))),
            Self::Chunk(_) | Self::Rows(_) | Self::Counts(_) => Ok(RowMetadata::None),
        }
    }

    /// Whether times ascend inside each run.
    pub fn sorted(&self) -> bool {
        matches!(self, Self::Chunk(_))
    }
}

impl RowMetadata {
    /// Calls `f` with each pair of a row, sorted by name.
    pub fn for_each(&self, row: u32, mut f: impl FnMut(&str, &str)) {
        match self {
            Self::None => {}
            Self::Columns(columns) => columns.row(row).for_each(|(name, value)| f(name, value)),
            Self::Rows(rows) => rows.metadata[row as usize].iter().for_each(|(name, value)| f(name, value)),
        }
    }
}
