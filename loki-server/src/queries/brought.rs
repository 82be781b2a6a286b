//! Limits that a request brings along in its headers, where the configuration lets it.
//!
//! Such limits can only be stricter than those of the tenants.

use std::time::Duration;

use http::HeaderMap;
use loki_core::Timestamp;
use loki_logql::ast::Expr;
use loki_logql::duration::parse_prometheus;
use loki_store::Limits;
use serde::Deserialize;
use serde_json::Value;

use crate::config::parse_size;
use crate::error::ApiError;
use crate::extract::parse_rfc3339;

/// The limits, as a JSON object.
const LIMITS_HEADER: &str = "x-loki-query-limits";
/// The query of which the request is a part, as a JSON object.
const CONTEXT_HEADER: &str = "x-loki-query-limits-context";

/// What stands in [`LIMITS_HEADER`].
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BroughtLimits {
    max_query_length: Option<String>,
    max_query_interval: Option<String>,
    max_query_lookback: Option<String>,
    max_query_time: Option<String>,
    max_entries_limit_per_query: usize,
    max_query_bytes_read: Value,
    required_labels: Vec<String>,
    minimum_labels_number: usize,
}

/// The query of which a request is a part.
#[derive(Clone, Debug)]
pub(crate) struct WholeQuery {
    pub(crate) expr: Expr,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Context {
    expr: String,
    from: String,
    to: String,
}

/// The limits in the headers of a request.
pub(super) fn limits(headers: &HeaderMap) -> Result<Option<Limits>, ApiError> {
    let Some(brought) = json::<BroughtLimits>(headers, LIMITS_HEADER)? else {
        return Ok(None);
    };
    Ok(Some(Limits {
        max_query_length: duration(brought.max_query_length)?,
        max_query_range: duration(brought.max_query_interval)?,
        max_query_lookback: duration(brought.max_query_lookback)?,
        query_timeout: duration(brought.max_query_time)?,
        max_entries_per_query: brought.max_entries_limit_per_query,
        max_query_bytes_read: bytes(&brought.max_query_bytes_read)?,
        required_labels: brought.required_labels,
        min_label_matchers: brought.minimum_labels_number,
        // Nothing else is limited, and nothing is switched off.
        volume_enabled: true,
        approx_topk: true,
        enable_multi_variant_queries: true,
        max_query_parallelism: usize::MAX,
        max_concurrent_tail_requests: 0,
        max_streams_matchers_per_query: 0,
        volume_max_series: 0,
        split_queries_by_interval: Duration::ZERO,
        split_instant_queries_by_interval: Duration::ZERO,
        ..Limits::unlimited()
    }))
}

impl WholeQuery {
    /// The query of which a request is a part, if its headers name one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let Some(Context { expr, from, to }) = json::<Context>(headers, CONTEXT_HEADER)? else {
            return Ok(None);
        };
        let time = |text: &str| parse_rfc3339(text).ok_or_else(|| wrong(CONTEXT_HEADER, text));
        Ok(Some(Self { expr: loki_logql::parse_query(&expr)?, start: time(&from)?, end: time(&to)? }))
    }
}

fn json<T: for<'a> Deserialize<'a>>(headers: &HeaderMap, name: &str) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    serde_json::from_slice(value.as_bytes()).map(Some).map_err(|error| wrong(name, &error.to_string()))
}

fn duration(text: Option<String>) -> Result<Duration, ApiError> {
    let text = text.unwrap_or_default();
    if matches!(text.as_str(), "" | "0") {
        return Ok(Duration::ZERO);
    }
    let nanos = parse_prometheus(&text).ok().and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| wrong(LIMITS_HEADER, &format!("not a valid duration: {text:?}")))
}

fn bytes(value: &Value) -> Result<u64, ApiError> {
    let bytes = match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse_size(text),
        _ => None,
    };
    bytes.ok_or_else(|| wrong(LIMITS_HEADER, &format!("not a valid size: {value}")))
}

fn wrong(name: &str, problem: &str) -> ApiError {
    ApiError::bad_request(format!("header {name}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, text: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().expect("a name"), text.parse().expect("a value"))])
    }

    #[test]
    fn durations_and_sizes_are_texts() {
        let text = r#"{"maxQueryLength":"1d","maxQueryTime":"30s","maxQueryBytesRead":"2MB","requiredLabels":["app"]}"#;
        let found = limits(&headers(LIMITS_HEADER, text)).expect("valid").expect("some");
        assert_eq!(found.max_query_length, Duration::from_hours(24));
        assert_eq!(found.query_timeout, Duration::from_secs(30));
        assert_eq!(found.max_query_bytes_read, 2 << 20);
        assert_eq!(found.required_labels, ["app"]);
        assert_eq!(found.max_query_lookback, Duration::ZERO, "what is absent is no limit");
        assert!(limits(&HeaderMap::new()).expect("valid").is_none());
        let number = limits(&headers(LIMITS_HEADER, r#"{"maxQueryBytesRead":7}"#)).expect("valid").expect("some");
        assert_eq!(number.max_query_bytes_read, 7);
    }

    #[test]
    fn headers_that_cannot_be_read_are_refused() {
        for text in ["{", r#"{"maxQueryLength":"long"}"#, r#"{"maxQueryBytesRead":-1}"#, "[]7"] {
            let error = limits(&headers(LIMITS_HEADER, text)).expect_err(text);
            assert!(error.message().starts_with("header x-loki-query-limits: "), "{}", error.message());
        }
        let text = r#"{"expr":"{a=\"b\"}","from":"yesterday","to":"2026-01-01T00:00:00Z"}"#;
        assert!(WholeQuery::of(&headers(CONTEXT_HEADER, text)).is_err());
    }
}
