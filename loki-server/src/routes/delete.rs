//! Delete requests.
//!
//! All parameters are of the URL; forms are not read. Texts end with a newline.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use loki_core::{TimeRange, Timestamp};
use loki_logql::ast::{LogExpr, Stage};
use loki_logql::duration::{format_go, parse_prometheus};
use loki_logql::parser::parse_log_of_any_stream;
use loki_logql::result::SampleValue;
use loki_store::{AcceptedDelete, DeleteError, DeleteRequest, DeletionMode, TenantId};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Params, RawParams, TenantHeader, parse_rfc3339};
use crate::response::{write_display, write_list, write_string};
use crate::routes::{Routes, by_method, only_get};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Names the request that was made.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-delete-request-id");
/// Characters of a time in seconds.
const SECONDS_CHARS: usize = 10;
const MILLIS_PER_SECOND: f64 = 1e3;
const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The route of this module, if the configuration allows deletes.
pub(crate) fn routes(app: &App) -> Routes {
    if !app.config().compaction.retention_enabled {
        return Routes::new();
    }
    Routes::new()
        .route("/loki/api/v1/delete", by_method(list, create, cancel).put(create))
        .route("/loki/api/v1/cache/generation_numbers", only_get(generation_number))
}

/// Loki's query frontends ask whether what they cached still holds. Nothing is cached here that a delete changes.
async fn generation_number(tenant: TenantHeader) -> Result<Response, ApiError> {
    tenant.single().map_err(|error| ApiError::from(error).with_newline())?;
    Ok(Json("").into_response())
}

async fn create(
    State(app): State<App>,
    tenant: TenantHeader,
    RawParams(params): RawParams,
) -> Result<Response, ApiError> {
    let (tenant, request) = checked(&app, &tenant, &params)?;
    let id = app.store().delete(&tenant, request).await.map_err(failure)?;
    app.metrics().delete_requests.fetch_add(1, Ordering::Relaxed);
    let id = HeaderValue::from_str(id.as_str()).expect("ids are hexadecimal digits");
    Ok((StatusCode::NO_CONTENT, [(REQUEST_ID, id)]).into_response())
}

async fn list(
    State(app): State<App>,
    tenant: TenantHeader,
    RawParams(params): RawParams,
) -> Result<Response, ApiError> {
    let tenant = allowed(&app, &tenant)?;
    let (start, end) = match (optional_time(&params, "start"), optional_time(&params, "end")) {
        (Ok(start), Ok(end)) => (start, end),
        // Loki reports every mistake, and then lists nothing.
        (start, end) => {
            let mut text = String::new();
            for problem in [start.err(), end.err()].into_iter().flatten() {
                text.push_str(&problem.to_string());
                text.push('\n');
            }
            return Err(refusal(format!("{text}[]")));
        }
    };
    let wanted = |delete: &AcceptedDelete| {
        let range = delete.request.range;
        start.is_none_or(|start| range.end > start) && end.is_none_or(|end| range.start <= end)
    };
    let deletes: Vec<AcceptedDelete> = app.store().deletes(&tenant).into_iter().filter(wanted).collect();
    let mut out = b"[".to_vec();
    write_list(&mut out, &deletes, write_delete);
    out.extend_from_slice(b"]\n");
    Ok(([(header::CONTENT_TYPE, JSON)], out).into_response())
}

async fn cancel(
    State(app): State<App>,
    tenant: TenantHeader,
    RawParams(params): RawParams,
) -> Result<Response, ApiError> {
    let tenant = allowed(&app, &tenant)?;
    let id = params.get("request_id");
    if !id.is_empty() {
        app.store().cancel_delete(&tenant, id, params.get("force") == "true").await.map_err(failure)?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who asks, and for what, if the tenant may delete and the parameters are right.
pub(super) fn checked(
    app: &App,
    tenant: &TenantHeader,
    params: &Params,
) -> Result<(TenantId, DeleteRequest), ApiError> {
    let tenant = allowed(app, tenant)?;
    let max_interval_nanos = app.config().compaction.delete_max_interval.as_nanos();
    let request = read_request(params, app.now(), max_interval_nanos);
    Ok((tenant, request.map_err(|problem| refusal(problem.to_string()))?))
}

/// The tenant, if it may delete.
fn allowed(app: &App, tenant: &TenantHeader) -> Result<TenantId, ApiError> {
    let tenant = tenant.single().map_err(|error| ApiError::from(error).with_newline())?;
    if app.store().limits(&tenant).deletion_mode == DeletionMode::Disabled {
        let text = "deletion is not available for this tenant";
        return Err(ApiError::new(StatusCode::FORBIDDEN, text).with_newline());
    }
    Ok(tenant)
}

pub(super) fn failure(error: loki_store::Error) -> ApiError {
    match error {
        loki_store::Error::Delete(DeleteError::Unknown) => {
            ApiError::new(StatusCode::NOT_FOUND, DeleteError::Unknown.to_string()).with_newline()
        }
        loki_store::Error::Delete(error) => refusal(error.to_string()),
        error => ApiError::from(error).with_newline(),
    }
}

fn refusal(text: String) -> ApiError {
    ApiError::bad_request(text).with_newline()
}

/// Why a request was refused, in Loki's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("query not set")]
    NoQuery,
    #[error("invalid query expression")]
    Query,
    #[error("{name} time not set")]
    NoTime { name: &'static str },
    #[error("invalid {name} time: require unix seconds or RFC3339 format")]
    Time { name: &'static str },
    #[error("deletes in the future are not allowed")]
    Future,
    #[error("start time can't be greater than or equal to end time")]
    Order,
    #[error("invalid max_interval: valid time units are 's', 'm', 'h'")]
    Interval,
    #[error("max_interval can't be greater than {}", format_go(*limit_nanos))]
    LongInterval { limit_nanos: i64 },
    #[error("max_interval can't be greater than the interval to be deleted ({})", format_go(*range_nanos))]
    WideInterval { range_nanos: i64 },
}

/// Checks the parameters of a new request.
fn read_request(params: &Params, now: Timestamp, max_interval_nanos: u128) -> Result<DeleteRequest, Problem> {
    let query = params.get("query");
    if query.is_empty() {
        return Err(Problem::NoQuery);
    }
    let selected = parse_log_of_any_stream(query).map_err(|_| Problem::Query)?;
    let start = optional_time(params, "start")?.ok_or(Problem::NoTime { name: "start" })?;
    let end = optional_time(params, "end")?.unwrap_or(now);
    if start > now || end > now {
        return Err(Problem::Future);
    }
    if start >= end {
        return Err(Problem::Order);
    }
    let limit_nanos = i64::try_from(max_interval_nanos).unwrap_or(i64::MAX);
    check_interval(params.get("max_interval"), &selected, end.0 - start.0, limit_nanos)?;
    // The end belongs to what is deleted.
    let range = TimeRange::new(start, end.saturating_add_nanos(1));
    Ok(DeleteRequest { query: query.to_owned(), range })
}

/// `max_interval` matters for requests with line filters alone.
fn check_interval(text: &str, selected: &LogExpr, range_nanos: i64, limit_nanos: i64) -> Result<(), Problem> {
    let has_line_filter = selected.stages.iter().any(|stage| matches!(stage, Stage::LineFilter(_)));
    if text.is_empty() || !has_line_filter {
        return Ok(());
    }
    match parse_prometheus(text).map_err(|_| Problem::Interval)? {
        interval if interval < NANOS_PER_SECOND => Err(Problem::Interval),
        interval if limit_nanos > 0 && interval > limit_nanos => Err(Problem::LongInterval { limit_nanos }),
        interval if interval > range_nanos => Err(Problem::WideInterval { range_nanos }),
        _ => Ok(()),
    }
}

/// A time in seconds or as RFC 3339.
fn optional_time(params: &Params, name: &'static str) -> Result<Option<Timestamp>, Problem> {
    let text = params.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    let seconds = text.parse::<i64>().ok().filter(|_| text.len() <= SECONDS_CHARS).map(Timestamp::from_seconds);
    seconds.or_else(|| parse_rfc3339(text)).map(Some).ok_or(Problem::Time { name })
}

fn write_delete(out: &mut Vec<u8>, delete: &AcceptedDelete) {
    let seconds = |time: Timestamp| SampleValue(time.0.div_euclid(NANOS_PER_MILLI) as f64 / MILLIS_PER_SECOND);
    out.extend_from_slice(br#"{"request_id":"#);
    write_string(out, delete.id.as_str().as_bytes());
    let TimeRange { start, end } = delete.request.range;
    // Whole ones, because logcli reads no others.
    let (start, end) = (whole_seconds(start), whole_seconds(end.saturating_sub_nanos(1)));
    write_display(out, format_args!(r#","start_time":{start},"end_time":{end},"query":"#));
    write_string(out, delete.request.query.as_bytes());
    let created_at = seconds(delete.created_at);
    let status = delete.status;
    write_display(out, format_args!(r#","status":"{status}","created_at":{created_at},"user_id":""}}"#));
}

fn whole_seconds(time: Timestamp) -> i64 {
    time.as_nanos().div_euclid(NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_NANOS: u128 = 86_400_000_000_000;

    fn read(query: &str, params: &str) -> Result<(i64, i64), String> {
        let now = Timestamp::from_seconds(1_741_100_000);
        let escaped: Vec<String> = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let escaped = escaped.concat();
        let request = read_request(&Params::of(&format!("query={escaped}&{params}")), now, DAY_NANOS);
        request.map(|request| (request.range.start.0, request.range.end.0)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn requests_are_refused_as_loki_does() {
        let times = "start=1741075200&end=1741096800";
        let cases = [
            ("", times, "query not set"),
            (r#"{a="b""#, times, "invalid query expression"),
            (r#"rate({a="b"}[1m])"#, times, "invalid query expression"),
            (r#"{a="b"}"#, "", "start time not set"),
            (r#"{a="b"}"#, "start=x", "invalid start time: require unix seconds or RFC3339 format"),
            (r#"{a="b"}"#, "start=1741075200&end=y", "invalid end time: require unix seconds or RFC3339 format"),
            (r#"{a="b"}"#, "start=1741075200&end=4102448400", "deletes in the future are not allowed"),
            (r#"{a="b"}"#, "start=1741096800&end=1741075200", "start time can't be greater than or equal to end time"),
            (
                r#"{a="b"} |= "x""#,
                "start=1741075200&end=1741096800&max_interval=25h",
                "max_interval can't be greater than 24h0m0s",
            ),
            (
                r#"{a="b"} |= "x""#,
                "start=1741075200&end=1741096800&max_interval=7h",
                "max_interval can't be greater than the interval to be deleted (6h0m0s)",
            ),
            (
                r#"{a="b"} |= "x""#,
                "start=1741075200&end=1741096800&max_interval=x",
                "invalid max_interval: valid time units are 's', 'm', 'h'",
            ),
        ];
        for (query, params, text) in cases {
            assert_eq!(read(query, params), Err(text.to_owned()), "{query} {params}");
        }
    }

    #[test]
    fn ends_default_to_now_and_intervals_are_for_line_filters() {
        let second = 1_000_000_000;
        assert_eq!(
            read("{}", "start=2025-03-04T08:00:00Z&max_interval=x"),
            Ok((1_741_075_200 * second, 1_741_100_000 * second + 1))
        );
        assert!(read(r#"{a="b"} |= "x""#, "start=1741075200&end=1741096800&max_interval=1h").is_ok());
    }
}
