//! Bodies of push requests: what they are compressed with, and how what is inside becomes Loki's `PushRequest`.
//!
//! Every format but the native one is written straight into the native one, field by field, without building entries
//! in between: the store then reads all of them in place, keeps its label caches useful for all of them, and logs them
//! as they are.
//!
//! | module | subject |
//! |---|---|
//! | `media` | `Content-Type` and what it selects |
//! | `inflate` | `Content-Encoding` within limits |
//! | `scan` | a cursor over JSON |
//! | `json` | the JSON push format |
//! | `legacy` | its predecessor |
//! | `otlp` | OpenTelemetry's logs |
//! | `writer` | the native format |

mod inflate;
mod json;
mod legacy;
mod media;
pub(crate) mod otlp;
mod scan;
mod writer;

use bytes::Bytes;
use http::StatusCode;
use loki_store::PushBody;

pub(crate) use inflate::{Encoding, InflateError, inflate, inflate_all};
pub(crate) use media::{MediaTypeError, media_type};
pub(crate) use scan::JsonError;

const JSON: &str = "application/json";
/// The largest body after decompression, whatever is configured: the store takes no larger one.
pub(crate) const MAX_INFLATED_BYTES: usize = 512 << 20;

/// Which JSON a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonDialect {
    /// `{"streams":[{"stream":{…},"values":[…]}]}`
    Current,
    /// `{"streams":[{"labels":"{…}","entries":[…]}]}`
    Legacy,
}

/// A push request's body and what its headers say about it.
#[derive(Debug)]
pub(crate) struct RawPush<'a> {
    /// `Content-Type`, empty when absent.
    pub(crate) content_type: &'a str,
    /// `Content-Encoding`, empty when absent.
    pub(crate) content_encoding: &'a str,
    /// The body as it was sent.
    pub(crate) body: Bytes,
    /// What JSON means here.
    pub(crate) dialect: JsonDialect,
    /// Bytes that the body may have once it is inflated.
    pub(crate) max_inflated_bytes: usize,
}

/// Why a push request's body was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The `Content-Type` is missing or malformed.
    #[error(transparent)]
    MediaType(#[from] MediaTypeError),
    /// A `Content-Encoding` that is not understood.
    #[error("Content-Encoding {} not supported", loki_core::labels::quote(.0))]
    Encoding(String),
    /// The body cannot be inflated.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// The body is not the JSON it has to be.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl DecodeError {
    /// The status to answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::MediaType(_) | Self::Encoding(_) | Self::Inflate(_) | Self::Json(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Turns a push request's body into what the store takes.
pub(crate) fn push(raw: RawPush<'_>) -> Result<PushBody, DecodeError> {
    let is_json = media_type(raw.content_type)? == JSON;
    let encoding = Encoding::of_push(raw.content_encoding, &raw.body)
        .ok_or_else(|| DecodeError::Encoding(raw.content_encoding.to_owned()))?;
    if !is_json {
        return Ok(PushBody::Snappy(inflate_all(encoding, raw.body, raw.max_inflated_bytes)?));
    }
    let inflated = inflate(encoding, raw.body, raw.max_inflated_bytes)?;
    let decoded = match raw.dialect {
        JsonDialect::Current => json::decode(&inflated.bytes),
        JsonDialect::Legacy => legacy::decode(&inflated.bytes),
    };
    match (decoded, inflated.error) {
        (Ok(body), _) => Ok(PushBody::Protobuf(body)),
        // JSON is read as it is inflated: what comes after the value does not matter, and what is missing is the fault.
        (Err(JsonError::Eof), Some(error)) => Err(error.into()),
        (Err(error), _) => Err(error.into()),
    }
}

/// How large the inflated body may be: what is configured, but never more than [`MAX_INFLATED_BYTES`].
pub(crate) fn inflated_limit(configured_bytes: usize) -> usize {
    configured_bytes.min(MAX_INFLATED_BYTES)
}

#[cfg(test)]
mod tests;
