//! OpenTelemetry's logs over HTTP.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use loki_store::PushBody;

use crate::app::App;
use crate::decode::otlp::{self, Mapping};
use crate::decode::{Encoding, inflate_all, inflated_limit};
use crate::error::ApiError;
use crate::extract::TenantHeader;
use crate::metrics::PushFormat;
use crate::routes::push::{announced_bytes, offload, read_body, store, text};
use crate::routes::{Routes, only_post};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
/// The tag of `google.rpc.Status`'s message.
const STATUS_MESSAGE: u8 = 2 << 3 | 2;

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new().route("/otlp/v1/logs", only_post(logs))
}

async fn logs(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let tenant = match TenantHeader::from_headers(&headers, app.config().auth_enabled) {
        Ok(tenant) => tenant,
        Err(error) => return ApiError::from(error).into_response(),
    };
    match receive(&app, &tenant, &headers, body).await {
        Ok(status) => status.into_response(),
        Err(error) => status_message(&error),
    }
}

async fn receive(app: &App, tenant: &TenantHeader, headers: &HeaderMap, body: Body) -> Result<StatusCode, ApiError> {
    let tenant = tenant.single()?;
    let content_type = text(headers, header::CONTENT_TYPE);
    let is_json = match content_type.as_str() {
        JSON => true,
        PROTOBUF => false,
        other => return Err(ApiError::bad_request(format!("content type: {other} is not supported"))),
    };
    let name = text(headers, header::CONTENT_ENCODING);
    let encoding = Encoding::of_otlp(&name).ok_or_else(|| {
        let text = format!("unsupported content encoding {name}: only gzip, lz4 and zstd are supported");
        ApiError::bad_request(text)
    })?;
    let _room = app.push_room(announced_bytes(headers)).await;
    let limit_bytes = app.config().push.max_body_bytes;
    let body = read_body(app, body, limit_bytes).await;
    let body = body.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let max_inflated_bytes = inflated_limit(app.config().push.max_inflated_bytes);
    let limits = app.limits().tenant(&tenant);
    let arrival = app.now();
    let request = offload(body.len(), move || {
        let body = inflate_all(encoding, body, max_inflated_bytes);
        let body = body.map_err(|error| ApiError::bad_request(error.to_string()))?;
        let mapping =
            Mapping { rules: &limits.otlp, service_name_labels: &limits.limits.discover_service_name, arrival };
        decode(&body, is_json, mapping)
    })
    .await?;
    store(app, &tenant, PushBody::Protobuf(request), PushFormat::Otlp).await
}

fn decode(body: &[u8], is_json: bool, mapping: Mapping<'_>) -> Result<Bytes, ApiError> {
    let request = if is_json { otlp::from_json(body, mapping) } else { otlp::from_protobuf(body, mapping) };
    request.map_err(|error| ApiError::bad_request(error.to_string()))
}

/// An error as a `google.rpc.Status`. A 500 becomes a 503, because collectors repeat only the latter.
fn status_message(error: &ApiError) -> Response {
    let status = match error.status() {
        StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    };
    let message = error.message().as_bytes();
    let mut body = vec![STATUS_MESSAGE];
    loki_core::encoding::put_varint(&mut body, message.len() as u64);
    body.extend_from_slice(message);
    (status, [(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
