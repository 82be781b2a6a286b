//! OpenTelemetry's logs (`ExportLogsServiceRequest`), mapped onto streams as Loki maps them.
//!
//! | module | subject |
//! |---|---|
//! | `model` | the request, borrowed from the body |
//! | `protobuf` | reading it from protobuf |
//! | `json` | reading it from JSON |
//! | `value` | attribute values as text |
//! | `mapping` | which attribute goes where |

mod json;
mod mapping;
mod model;
mod protobuf;
mod value;

use bytes::Bytes;
use loki_core::Timestamp;

use crate::config::otlp::OtlpRules;
use crate::decode::writer::PushWriter;
use mapping::Mapper;
use model::ResourceLogs;

pub(crate) use protobuf::OtlpProtobufError;

/// What a tenant's limits say about OTLP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping<'a> {
    /// Where attributes go.
    pub(crate) rules: &'a OtlpRules,
    /// Labels whose value becomes `service_name`; none = no such label is added.
    pub(crate) service_name_labels: &'a [String],
    /// The time of records that have none.
    pub(crate) arrival: Timestamp,
}

/// Why a body is not an OTLP request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OtlpError {
    /// It is not the protobuf it has to be.
    #[error(transparent)]
    Protobuf(#[from] OtlpProtobufError),
    /// It is not the JSON it has to be.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is JSON, but no object.
    #[error("ReadObjectCB: expect {{ or n, but found something else")]
    NoObject,
}

/// Reads protobuf into Loki's `PushRequest`.
pub(crate) fn from_protobuf(body: &[u8], mapping: Mapping<'_>) -> Result<Bytes, OtlpError> {
    Ok(write(&protobuf::read(body)?, body.len(), mapping))
}

/// Reads JSON into Loki's `PushRequest`.
pub(crate) fn from_json(body: &[u8], mapping: Mapping<'_>) -> Result<Bytes, OtlpError> {
    // A list would pass for an object whose fields have no names.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(OtlpError::NoObject);
    }
    let request: json::Request<'_> = serde_json::from_slice(body)?;
    Ok(write(&request.into_model(), body.len(), mapping))
}

fn write(request: &[ResourceLogs<'_>], body_bytes: usize, mapping: Mapping<'_>) -> Bytes {
    let mut writer = PushWriter::with_capacity(body_bytes);
    let mut mapper = Mapper::new(mapping, &mut writer);
    for resource in request {
        mapper.resource(resource);
    }
    writer.finish()
}

#[cfg(test)]
mod tests;
