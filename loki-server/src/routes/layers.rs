//! What surrounds every handler: measuring, guarding against panics and slow answers, compressing.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tracing::Instrument as _;

use crate::app::App;
use crate::auth::{ClientName, Denied};
use crate::error::ApiError;
use crate::metrics::Answered;
use crate::spans;

/// Answers smaller than this are not worth compressing.
pub(crate) const MIN_COMPRESSED_BYTES: u64 = 1_400;
/// Answers larger than this are compressed off the threads that serve connections.
const MAX_INLINE_COMPRESSED_BYTES: usize = 128 << 10;
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"loki\"");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
/// What a query that ran out of time is told; clients match it.
pub(crate) const TIMED_OUT: &str = "request timed out, decrease the duration of the request or add more label matchers \
    (prefer exact match over regex match) to reduce the amount of data processed";

/// Counts requests and measures how long they take.
pub(super) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path_and_query().cloned();
    let request_bytes = content_length(request.headers());
    let is_websocket = request.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes() == b"websocket");
    let span = spans::of_request(&request, route.as_ref().map(MatchedPath::as_str), app.config().auth_enabled);
    let started = app.clock().monotonic_nanos();
    let inflight = app.metrics().inflight.enter(&method, route.as_ref().map(MatchedPath::as_str));
    let response = next.run(request).instrument(span.clone()).await;
    drop(inflight);
    let nanos = app.clock().monotonic_nanos().saturating_sub(started);
    let status = response.status().as_u16();
    spans::answered(&span, status);
    app.metrics().answered(&Answered {
        method: &method,
        route: route.as_ref().map(MatchedPath::as_str),
        status,
        is_websocket,
        nanos,
        request_bytes,
        response_bytes: response.body().size_hint().exact(),
    });
    let path = path.as_ref().map_or("", |path| path.as_str());
    let millis = nanos / 1_000_000;
    if app.config().log.requests_at_info {
        tracing::info!(%method, path, status, millis, "request");
    } else {
        tracing::debug!(%method, path, status, millis, "request");
    }
    response
}

/// Turns a panic into a 500 and an answer that takes too long into a 504.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.config().http.write_timeout;
    let lasts = request.headers().contains_key(header::UPGRADE) || limit.is_zero();
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if lasts { Ok(answer.await) } else { tokio::time::timeout(limit, answer).await };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            app.metrics().panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a request panicked");
            ApiError::internal("internal error: the request panicked").into_response()
        }
        Err(_) => ApiError::new(StatusCode::GATEWAY_TIMEOUT, TIMED_OUT).into_response(),
    }
}

/// Turns away requests of senders who may not send them.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if let Some(auth) = app.auth() {
        let prefix = app.config().http.path_prefix.as_str();
        let path = request.uri().path();
        let path = path.strip_prefix(prefix).unwrap_or(path).to_owned();
        let client = request.extensions().get::<ClientName>().cloned().unwrap_or_default();
        let method = request.method().clone();
        if let Err(denied) = auth.admit(&method, &path, &client, request.headers_mut()).await {
            let mut response = ApiError::from(denied).into_response();
            if denied == Denied::Unknown {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
            }
            return response;
        }
    }
    next.run(request).await
}

/// Compresses answers for clients that take gzip.
pub(super) async fn compress(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_wanted = app.config().http.compress && accepts_gzip(request.headers());
    let response = next.run(request).await;
    if !is_wanted || !is_worth_compressing(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return ApiError::internal("the answer could not be read").into_response();
    };
    let compressed = if body.len() > MAX_INLINE_COMPRESSED_BYTES {
        let body = body.clone();
        tokio::task::spawn_blocking(move || gzip(&body)).await.unwrap_or_default()
    } else {
        gzip(&body)
    };
    parts.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if compressed.is_empty() {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, GZIP);
    Response::from_parts(parts, Body::from(compressed))
}

fn gzip(body: &Bytes) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to a vector cannot fail; if it did, the answer would go out as it is.
    if encoder.write_all(body).is_err() {
        return Vec::new();
    }
    encoder.finish().unwrap_or_default()
}

fn is_worth_compressing(response: &Response) -> bool {
    let is_large = response.body().size_hint().exact().is_some_and(|bytes| bytes >= MIN_COMPRESSED_BYTES);
    is_large && !response.headers().contains_key(header::CONTENT_ENCODING)
}

/// Whether gzip is among the encodings that a client takes, and not with a weight of zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        matches!(name.trim(), "gzip" | "*") && weight.is_none_or(|weight| weight > 0.0)
    })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The clean form of a path with empty, `.` or `..` segments; `None` when it is clean already.
pub(super) fn clean_path(path: &str) -> Option<String> {
    let mut segments: Vec<&str> = Vec::new();
    let mut is_clean = true;
    let inner = path.strip_prefix('/').unwrap_or(path);
    let (inner, trailing) = match inner.strip_suffix('/') {
        Some(inner) => (inner, "/"),
        None => (inner, ""),
    };
    for segment in inner.split('/') {
        match segment {
            "" if inner.is_empty() => {}
            "" | "." => is_clean = false,
            ".." => {
                is_clean = false;
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    if is_clean {
        return None;
    }
    let trailing = if segments.is_empty() { "" } else { trailing };
    Some(format!("/{}{trailing}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unclean_paths_are_cleaned() {
        let cases = [
            ("//loki/api/v1/labels", Some("/loki/api/v1/labels")),
            ("/loki/api/v1/../v1/labels", Some("/loki/api/v1/labels")),
            ("/a/./b/", Some("/a/b/")),
            ("/..", Some("/")),
            ("/loki/api/v1/", None),
            ("/", None),
            ("/loki", None),
        ];
        for (path, expected) in cases {
            assert_eq!(clean_path(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn gzip_can_be_declined() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().expect("a header value"));
            accepts_gzip(&headers)
        };
        for value in ["gzip", "deflate, gzip;q=0.5", "*", "gzip;q=1.0, identity"] {
            assert!(accepts(value), "{value}");
        }
        for value in ["identity", "gzip;q=0", "br"] {
            assert!(!accepts(value), "{value}");
        }
    }
}
