//! What a push is refused for, in Loki's words.

use loki_core::{LabelsError, Timestamp};

use super::protobuf::ProtobufError;
use super::text::SchemaTime;
use crate::tenant::TenantId;

/// Why a push, or a part of it, was refused; the text is what Loki answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The body is not a snappy block.
    #[error("snappy: corrupt input")]
    Snappy,
    /// The body of a log record is not an lz4 block.
    #[error("lz4: corrupt input")]
    Lz4,
    /// The body is not a `PushRequest`.
    #[error("{0}")]
    Protobuf(ProtobufError),
    /// The body is larger than can be taken in at once.
    #[error("request body too large: {bytes} bytes, limit: {limit_bytes} bytes")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The text that names a stream is larger than any sensible one.
    #[error("stream labels too large: {bytes} bytes, limit: {limit_bytes} bytes")]
    LabelsTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The text that names a stream is not a label set.
    #[error("couldn't parse labels: {0}")]
    Labels(LabelsError),
    /// The text that names a stream is not text.
    #[error("couldn't parse labels: parse error: invalid UTF-8 rune")]
    LabelsNotUtf8,
    /// There are no streams in the body.
    #[error("error at least one valid stream is required for ingestion")]
    NoStreams,
    /// Structured metadata without a name.
    #[error("label name is empty")]
    EmptyMetadataName,
    /// Structured metadata with a name of which nothing is left.
    #[error("normalization for label name {name:?} resulted in invalid name \"_\"")]
    MetadataName {
        /// The name as it came.
        name: String,
    },
    /// Some entries do not keep to the limits; the others are stored.
    #[error("{0}")]
    Invalid(String),
    /// The tenant sends more than it may; nothing is stored.
    #[error(
        "ingestion rate limit exceeded for user {tenant} (limit: {limit_bytes} bytes/sec) while attempting to ingest \
         '{lines}' lines totaling '{bytes}' bytes, reduce log volume or contact your Loki administrator to see if the \
         limit can be increased"
    )]
    RateLimited {
        /// The tenant.
        tenant: TenantId,
        /// Bytes allowed a second.
        limit_bytes: u64,
        /// Entries in the request.
        lines: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The tenant has as many active streams as it may have; the others are stored.
    #[error(
        "maximum active stream limit exceeded when trying to create stream {stream}, reduce the number of active \
         streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be \
         increased, user: '{tenant}'"
    )]
    StreamLimit {
        /// The stream that would be too many.
        stream: String,
        /// The tenant.
        tenant: TenantId,
    },
    /// A stream receives more than it may; the others are stored.
    #[error("{0}")]
    StreamRate(String),
    /// Writes are blocked for a while.
    #[error("ingestion blocked for user '{tenant}' until '{until}' with status code '{status}'")]
    Blocked {
        /// The tenant.
        tenant: TenantId,
        /// The end of the blockade.
        until: String,
        /// The HTTP status to answer.
        status: u16,
    },
    /// An entry lies before the first schema period; other streams are stored.
    #[error(
        "rpc error: code = Unknown desc = failed to create stream: no schema config found for time {}",
        SchemaTime(*.0)
    )]
    BeforeSchema(Timestamp),
}

/// What a [`PushError`] means for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushStatus {
    /// 400: the same request will fail again.
    Invalid,
    /// 413
    TooLarge,
    /// 422: there was nothing to store.
    Unprocessable,
    /// 429: the same request may succeed later.
    RateLimited,
    /// The status configured for blocked tenants.
    Blocked(u16),
    /// 500
    Internal,
}

impl PushError {
    /// What the error means for the client.
    pub const fn status(&self) -> PushStatus {
        match self {
            Self::Snappy | Self::Lz4 | Self::Protobuf(_) | Self::Labels(_) | Self::LabelsNotUtf8 | Self::Invalid(_) => {
                PushStatus::Invalid
            }
            Self::TooLarge { .. } | Self::LabelsTooLarge { .. } => PushStatus::TooLarge,
            Self::NoStreams => PushStatus::Unprocessable,
            Self::RateLimited { .. } | Self::StreamLimit { .. } | Self::StreamRate(_) => PushStatus::RateLimited,
            Self::Blocked { status, .. } => PushStatus::Blocked(*status),
            Self::EmptyMetadataName | Self::MetadataName { .. } | Self::BeforeSchema(_) => PushStatus::Internal,
        }
    }
}

impl From<ProtobufError> for PushError {
    fn from(error: ProtobufError) -> Self {
        Self::Protobuf(error)
    }
}
