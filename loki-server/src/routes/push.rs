//! Loki's push routes.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use loki_store::{ErrorKind, PushBody, PushError, PushStatus, TenantId};
use tracing::Instrument as _;

use crate::app::App;
use crate::decode::{self, JsonDialect, RawPush};
use crate::error::ApiError;
use crate::extract::TenantHeader;
use crate::metrics::PushFormat;
use crate::routes::{Routes, only_post};

/// Bodies at least this large are decoded off the threads that serve connections.
const MIN_OFFLOADED_BYTES: usize = 256 << 10;

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new().route("/loki/api/v1/push", only_post(push)).route("/api/prom/push", only_post(legacy_push))
}

async fn push(
    State(app): State<App>,
    tenant: TenantHeader,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    receive(&app, &tenant, &headers, body, JsonDialect::Current).await.map_err(ApiError::with_newline)
}

async fn legacy_push(
    State(app): State<App>,
    tenant: TenantHeader,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    receive(&app, &tenant, &headers, body, JsonDialect::Legacy).await.map_err(ApiError::with_newline)
}

async fn receive(
    app: &App,
    tenant: &TenantHeader,
    headers: &HeaderMap,
    body: Body,
    dialect: JsonDialect,
) -> Result<StatusCode, ApiError> {
    let tenant = tenant.single()?;
    let content_type = text(headers, header::CONTENT_TYPE);
    let is_json = decode::media_type(&content_type).is_ok_and(|media_type| media_type == "application/json");
    let limit_bytes = app.config().push.max_body_bytes;
    let _room = app.push_room(announced_bytes(headers)).await;
    let body = read_body(app, body, limit_bytes).await.map_err(|error| match error {
        BodyError::TooLarge if is_json => {
            let bytes = announced_bytes(headers).max(limit_bytes + 1);
            ApiError::bad_request(format!("compressed message size {bytes} exceeds limit {limit_bytes}"))
        }
        BodyError::TooLarge => {
            let bytes = announced_bytes(headers).max(limit_bytes + 1);
            let text = format!("request body too large: {bytes} bytes, limit: {limit_bytes} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        BodyError::Broken(text) => ApiError::bad_request(text),
        BodyError::TooSlow => ApiError::new(StatusCode::REQUEST_TIMEOUT, error.to_string()),
    })?;
    let content_encoding = text(headers, header::CONTENT_ENCODING);
    let max_inflated_bytes = decode::inflated_limit(app.config().push.max_inflated_bytes);
    let body = offload(body.len(), move || {
        let (content_type, content_encoding) = (content_type.as_str(), content_encoding.as_str());
        decode::push(RawPush { content_type, content_encoding, body, dialect, max_inflated_bytes })
            .map_err(|error| ApiError::new(error.status(), error.to_string()))
    })
    .await?;
    store(app, &tenant, body, PushFormat::Loki).await
}

/// Stores a decoded push and says what Loki would answer.
pub(super) async fn store(
    app: &App,
    tenant: &TenantId,
    body: PushBody,
    format: PushFormat,
) -> Result<StatusCode, ApiError> {
    let appended = app.store().push(tenant, body).instrument(tracing::info_span!("append")).await;
    let outcome = appended.inspect_err(|error| {
        app.metrics().append_failures.fetch_add(1, Ordering::Relaxed);
        match error.kind() {
            ErrorKind::Poisoned => app.set_poisoned(),
            ErrorKind::StorageFull => _ = app.metrics().disk_full_failures.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    })?;
    app.metrics().pushed(tenant, format, &outcome, app.now());
    match outcome.error {
        None => Ok(StatusCode::NO_CONTENT),
        Some(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &PushError) -> ApiError {
    let status = match error.status() {
        PushStatus::Invalid => StatusCode::BAD_REQUEST,
        PushStatus::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        PushStatus::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        PushStatus::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        PushStatus::Blocked(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN),
        PushStatus::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    ApiError::new(status, error.to_string())
}

/// Runs `work` here when the body is small, and otherwise where it delays nobody.
pub(super) async fn offload<T: Send + 'static>(
    body_bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if body_bytes < MIN_OFFLOADED_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::internal("decoding the body failed")),
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is larger than it may be.
    #[error("request body too large")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}

/// Reads a body of at most `limit_bytes`, as fast as the configuration demands.
pub(super) async fn read_body(app: &App, body: Body, limit_bytes: usize) -> Result<Bytes, BodyError> {
    let reading = Limited::new(body, limit_bytes).collect();
    let limit = app.config().http.read_timeout;
    let outcome = if limit.is_zero() {
        reading.await
    } else {
        tokio::time::timeout(limit, reading).await.map_err(|_| BodyError::TooSlow)?
    };
    match outcome {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(error) => Err(BodyError::Broken(error.to_string())),
    }
}

/// The text of a header; empty when it is absent.
pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The length that a request announces; 0 when it does not.
pub(super) fn announced_bytes(headers: &HeaderMap) -> usize {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    announced.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl From<BodyError> for response::ErrorResponse {
    fn from(error: BodyError) -> Self {
        ApiError::bad_request(error.to_string()).into()
    }
}
