//! Why a query failed, with Loki's texts.

use loki_core::Labels;

use super::binary::MatchingError;
use super::limits::LimitError;
use crate::budget::BudgetExceeded;
use crate::error::ParseError;
use crate::pipeline::StageError;
use crate::querier::QuerierError;
use crate::workers::WorkerLost;

/// A query that could not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The query text is wrong.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A stage is grammatical but cannot be built.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// An entry with an error reached a range aggregation.
    #[error(transparent)]
    Pipeline(#[from] Box<PipelineError>),
    /// The query asks for more than it may.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Series of two vectors do not match uniquely.
    #[error(transparent)]
    Matching(#[from] MatchingError),
    /// The query is well-formed, yet nothing that can be evaluated.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The query needs more memory than it may use.
    #[error(transparent)]
    Memory(#[from] BudgetExceeded),
    /// The query took too long.
    #[error(
        "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed"
    )]
    Deadline,
    /// The client does not wait any more.
    #[error("the request was cancelled by the client")]
    Cancelled,
    /// The store could not deliver.
    #[error(transparent)]
    Querier(QuerierError),
    /// A worker panicked or was shut down.
    #[error(transparent)]
    Worker(#[from] WorkerLost),
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The query must change.
    Invalid,
    /// The query must ask for less.
    Limit,
    /// The data and the query do not go together; Loki blames itself for these.
    Evaluation,
    /// The query used up its memory.
    Memory,
    /// The query used up its time.
    Deadline,
    /// Nobody waits for the answer.
    Cancelled,
    /// The store failed.
    Storage,
    /// We failed.
    Internal,
}

/// A sample whose entry carries an error fails the whole query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pipeline error: '{error}' for series: '{series}'.\n\
     Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
     To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
     The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
)]
pub struct PipelineError {
    /// The value of `__error__`.
    pub error: String,
    /// The labels of the sample.
    pub series: Labels,
}

/// Queries that are not evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// An instant query without samples.
    #[error("log queries are not supported as an instant query type, please change your query to a range query type")]
    InstantLog,
    /// `variants` where the tenant may not use it.
    #[error("multi variant queries are disabled for this instance")]
    Variants,
    /// A variant that is neither a range aggregation nor a vector aggregation directly around one.
    #[error("a variant must be a range aggregation, or a vector aggregation of one")]
    VariantShape,
    /// `approx_topk` where the tenant may not use it.
    #[error("approx_topk is not enabled. See -limits.shard_aggregations")]
    ApproxTopk,
    /// `approx_topk` where Loki would not shard the query; its attempt to run it whole ends in this text.
    #[error("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")]
    ApproxTopkUnsharded,
    /// `label_replace` of a number.
    #[error("label_replace needs a vector, not a number")]
    LabelReplaceOfNumber,
    /// An aggregation of a number.
    #[error("an aggregation needs a vector, not a number")]
    AggregationOfNumber,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::Stage(_) | Self::Pipeline(_) => ErrorKind::Invalid,
            Self::Limit(_) => ErrorKind::Limit,
            Self::Matching(_) => ErrorKind::Evaluation,
            Self::Unsupported(unsupported) => match unsupported {
                Unsupported::InstantLog | Unsupported::Variants | Unsupported::ApproxTopkUnsharded => {
                    ErrorKind::Invalid
                }
                Unsupported::VariantShape
                | Unsupported::ApproxTopk
                | Unsupported::LabelReplaceOfNumber
                | Unsupported::AggregationOfNumber => ErrorKind::Evaluation,
            },
            Self::Memory(_) => ErrorKind::Memory,
            Self::Deadline => ErrorKind::Deadline,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Querier(_) => ErrorKind::Storage,
            Self::Worker(_) => ErrorKind::Internal,
        }
    }
}

impl From<loki_core::Error> for Error {
    fn from(error: loki_core::Error) -> Self {
        Self::Querier(error.into())
    }
}
