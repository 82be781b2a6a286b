//! What streams and lines are found to have: `detected_labels`, `detected_fields` and values of fields.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use loki_core::{Direction, Labels};
use loki_logql::ast::Expr;
use loki_logql::engine::RangeQuery;
use loki_logql::result::{QueryResult, StreamEntries};

use crate::app::App;
use crate::detected::{Field, fields, is_float};
use crate::error::ApiError;
use crate::extract::{Params, TenantHeader, parse_limit_named, parse_range, parse_step_nanos, query_tags};
use crate::queries::{Lookback, Question, RequestLimits, Turn};
use crate::response::{json, write_display, write_list, write_string};
use crate::routes::metadata::{StreamsRequest, listed_bytes, optional_selector};
use crate::routes::{Routes, get_and_post, not_found_error};
use crate::tenants::TenantMatchers;

/// Default of `line_limit`.
const DEFAULT_LINE_LIMIT: usize = 100;
/// Default of `limit`.
const DEFAULT_FIELD_LIMIT: usize = 1000;
/// Labels that are shown whatever their values are.
const ALWAYS_SHOWN: [&str; 4] = ["cluster", "namespace", "instance", "pod"];
/// Bytes of a UUID as text.
const UUID_BYTES: usize = 36;

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/loki/api/v1/detected_labels", get_and_post(detected_labels))
        .route("/loki/api/v1/detected_fields", get_and_post(detected_fields))
        .route("/loki/api/v1/detected_field/{name}/values", get_and_post(field_values))
}

async fn detected_labels(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let request = StreamsRequest::read(&app, &tenant, &params)?;
    let matchers = optional_selector(params.get("query"))?;
    request.limits.check_selector(&matchers)?;
    let (store, tenants, days) = (app.store().clone(), request.tenants.clone(), request.days());
    let work = move |turn: Turn| async move {
        let (store, mut memory) = (store.drawing_on(turn.memory.clone()), turn.memory.reservation());
        let (ids, matchers) = tenants.choose(&matchers, TenantMatchers::Resolved);
        let groups = [matchers];
        let mut series: Vec<Labels> = Vec::new();
        for id in &ids {
            let found = store.series(id, &groups, days).await?;
            memory.grow(listed_bytes(&found))?;
            series.extend(found);
        }
        Ok(write_labels_found(&labels_of(&series)))
    };
    app.queries().run(&request.tenants, request.limits.timeout(), work).await.map(json)
}

/// The values of each label.
fn labels_of(series: &[Labels]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(Labels::iter) {
        labels.entry(name).or_default().insert(value);
    }
    labels.retain(|name, values| ALWAYS_SHOWN.contains(name) || tells_something(values));
    labels
}

/// Numbers and UUIDs tell nothing, unless they are the values of a switch.
fn tells_something(values: &BTreeSet<&str>) -> bool {
    let is_switch = values.iter().all(|value| matches!(*value, "0" | "1"));
    is_switch || !values.iter().all(|value| is_float(value) || is_uuid(value))
}

fn is_uuid(value: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    value.len() == UUID_BYTES && value.bytes().enumerate().all(fits)
}

fn write_labels_found(labels: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<u8> {
    if labels.is_empty() {
        return b"{}\n".to_vec();
    }
    let mut out = br#"{"detectedLabels":["#.to_vec();
    write_list(&mut out, labels, |out, (name, values)| {
        out.extend_from_slice(br#"{"label":"#);
        write_string(out, name.as_bytes());
        write_display(out, format_args!(r#","cardinality":{}}}"#, values.len()));
    });
    out.extend_from_slice(b"]}\n");
    out
}

async fn detected_fields(
    State(app): State<App>,
    tenant: TenantHeader,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = field_limit(&params)?;
    let write = move |streams: &[StreamEntries]| write_fields(&fields(streams), limit);
    examine(&app, &tenant, &headers, &params, write).await
}

async fn field_values(
    State(app): State<App>,
    Path(name): Path<String>,
    tenant: TenantHeader,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    if name.contains('/') {
        return Err(not_found_error());
    }
    let limit = field_limit(&params)?;
    let write = move |streams: &[StreamEntries]| {
        let found = fields(streams).remove(&name);
        write_values(&found.unwrap_or_default(), limit)
    };
    examine(&app, &tenant, &headers, &params, write).await
}

/// Reads some entries and passes them to `write`.
async fn examine(
    app: &App,
    tenant: &TenantHeader,
    headers: &HeaderMap,
    params: &Params,
    write: impl FnOnce(&[StreamEntries]) -> Vec<u8> + Send + 'static,
) -> Result<Response, ApiError> {
    let now = app.queries().now();
    let (start, end) = parse_range(params, now)?;
    let line_limit = parse_limit_named(params, "line_limit", DEFAULT_LINE_LIMIT)?;
    let step_nanos = parse_step_nanos(params, start, end)?;
    let tenants = app.tenants(tenant)?;
    let limits = RequestLimits::of(app.store(), &tenants, &query_tags(headers));
    let expr = loki_logql::parse_query(params.get("query"))?;
    if !matches!(expr, Expr::Log(_)) {
        return Err(ApiError::bad_request("only log selector is supported"));
    }
    let Lookback::From(start) = limits.look_back(start, end, now) else {
        return Ok(json(write(&[])));
    };
    let query = RangeQuery {
        expr,
        start,
        end,
        step_nanos,
        interval_nanos: 0,
        limit: u32::try_from(line_limit).unwrap_or(u32::MAX),
        direction: Direction::Backward,
        categorize_labels: true,
    };
    let write = move |answer: loki_logql::result::Response, _| match answer.result {
        QueryResult::Streams(streams) => write(&streams),
        _ => write(&[]),
    };
    app.queries().answer(app.store(), &tenants, &limits, Question::Range(query), write).await.map(json)
}

fn field_limit(params: &Params) -> Result<usize, ApiError> {
    let name = if params.get("limit").is_empty() { "field_limit" } else { "limit" };
    Ok(parse_limit_named(params, name, DEFAULT_FIELD_LIMIT)?)
}

fn write_fields(fields: &BTreeMap<String, Field>, limit: usize) -> Vec<u8> {
    if fields.is_empty() {
        return b"{}\n".to_vec();
    }
    let mut out = br#"{"fields":["#.to_vec();
    write_list(&mut out, fields.iter().take(limit), |out, (name, field)| write_field(out, name, field));
    write_display(&mut out, format_args!("],\"limit\":{limit}}}\n"));
    out
}

fn write_field(out: &mut Vec<u8>, name: &str, field: &Field) {
    out.extend_from_slice(br#"{"label":"#);
    write_string(out, name.as_bytes());
    let (kind, cardinality) = (field.kind.name(), field.values.len());
    write_display(out, format_args!(r#","type":"{kind}","cardinality":{cardinality},"parsers":"#));
    if field.parsers.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'[');
        write_list(out, &field.parsers, |out, parser| write_string(out, parser.name().as_bytes()));
        out.push(b']');
    }
    if !field.json_path.is_empty() {
        out.extend_from_slice(br#","jsonPath":["#);
        write_list(out, &field.json_path, |out, key| write_string(out, key.as_bytes()));
        out.push(b']');
    }
    out.push(b'}');
}

fn write_values(field: &Field, limit: usize) -> Vec<u8> {
    if field.values.is_empty() {
        return b"{}\n".to_vec();
    }
    let sorted: BTreeSet<&String> = field.values.iter().collect();
    let mut out = br#"{"values":["#.to_vec();
    write_list(&mut out, sorted.into_iter().take(limit), |out, value| write_string(out, value.as_bytes()));
    write_display(&mut out, format_args!("],\"limit\":{limit}}}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(values: &[(&str, &[&str])]) -> Vec<String> {
        let series = values.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| Labels::from_pairs([(name, value)]).expect("one label"))
        });
        labels_of(&series.collect::<Vec<_>>()).into_keys().map(str::to_owned).collect()
    }

    #[test]
    fn labels_of_numbers_and_uuids_are_left_out() {
        let uuid = "751e8ee6-b377-4b2e-b7b5-5508fbe980ef";
        let labels: [(&str, &[&str]); 6] = [
            ("app", &["a", "1"]),
            ("idx", &["1", "2.5"]),
            ("mixed", &[uuid, "7"]),
            ("pod", &[uuid]),
            ("switch", &["0", "1"]),
            ("zero", &["0"]),
        ];
        assert_eq!(names(&labels), ["app", "pod", "switch", "zero"]);
    }

    #[test]
    fn nothing_found_is_an_empty_object() {
        assert_eq!(write_fields(&BTreeMap::new(), 1), b"{}\n");
        assert_eq!(write_values(&Field::default(), 1), b"{}\n");
        assert_eq!(write_labels_found(&BTreeMap::new()), b"{}\n");
    }

    #[test]
    fn fields_without_a_parser_say_null() {
        let field = Field { values: ["x".to_owned()].into(), ..Field::default() };
        let body = write_fields(&BTreeMap::from([("f".to_owned(), field)]), 1000);
        assert_eq!(
            String::from_utf8_lossy(&body),
            "{\"fields\":[{\"label\":\"f\",\"type\":\"string\",\"cardinality\":1,\"parsers\":null}],\"limit\":1000}\n"
        );
    }
}
