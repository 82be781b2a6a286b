//! Labels, their values and series.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use loki_core::{Labels, Matcher, TimeRange, Timestamp};
use loki_logql::ParseError;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Params, TenantHeader, parse_range};
use crate::queries::{RequestLimits, Turn};
use crate::response::{json, write_names, write_series_list};
use crate::routes::{Routes, get_and_post, not_found_error};
use crate::tenants::{TENANT_LABEL, TenantMatchers, Tenants, stored_name};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// A selector that stands for no selector where it stands alone.
const EVERYTHING: &str = "{}";

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/loki/api/v1/labels", get_and_post(names))
        .route("/loki/api/v1/label", get_and_post(names))
        .route("/api/prom/label", get_and_post(names))
        .route("/loki/api/v1/label/{name}/values", get_and_post(values))
        .route("/api/prom/label/{name}/values", get_and_post(values))
        .route("/loki/api/v1/series", get_and_post(series))
        .route("/api/prom/series", get_and_post(series))
}

/// A question about the streams of some tenants in a range of time.
pub(crate) struct StreamsRequest {
    pub(crate) tenants: Tenants,
    pub(crate) limits: RequestLimits,
    pub(crate) range: TimeRange,
}

impl StreamsRequest {
    /// Reads tenants and range. The range must not be too long; what is too old is cut off.
    pub(crate) fn read(app: &App, tenant: &TenantHeader, params: &Params) -> Result<Self, ApiError> {
        let now = app.queries().now();
        let (start, end) = parse_range(params, now)?;
        let tenants = app.tenants(tenant)?;
        let limits = RequestLimits::of(app.store(), &tenants, "");
        limits.check_length(start, end)?;
        let start = limits.check_lookback(start, end, now)?;
        Ok(Self { tenants, limits, range: TimeRange { start, end } })
    }

    /// The range as far as labels go: Loki keeps an index for each day, and asks whole indexes.
    pub(crate) fn days(&self) -> TimeRange {
        if self.range.end < self.range.start {
            return TimeRange::new(self.range.start, self.range.start);
        }
        let day = |time: Timestamp| time.0.div_euclid(NANOS_PER_DAY);
        let start = day(self.range.start).saturating_mul(NANOS_PER_DAY);
        let end = (day(self.range.end) + 1).saturating_mul(NANOS_PER_DAY);
        TimeRange::new(Timestamp(start), Timestamp(end))
    }
}

async fn names(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let request = StreamsRequest::read(&app, &tenant, &params)?;
    let matchers = optional_selector(params.get("query"))?;
    request.limits.check_selector(&matchers)?;
    let (store, tenants, days) = (app.store().clone(), request.tenants.clone(), request.days());
    let work = move |turn: Turn| async move {
        let store = store.drawing_on(turn.memory);
        let (ids, matchers) = tenants.choose(&matchers, TenantMatchers::Resolved);
        let mut names = BTreeSet::new();
        for id in &ids {
            names.extend(store.label_names(id, &matchers, days).await?);
        }
        if tenants.are_several() && !names.is_empty() {
            names.insert(TENANT_LABEL.to_owned());
        }
        Ok(write_names(&Vec::from_iter(names)))
    };
    app.queries().run(&request.tenants, request.limits.timeout(), work).await.map(json)
}

async fn values(
    State(app): State<App>,
    Path(name): Path<String>,
    tenant: TenantHeader,
    params: Params,
) -> Result<Response, ApiError> {
    // A slash in a name would be another path to Loki.
    if name.contains('/') {
        return Err(not_found_error());
    }
    let request = StreamsRequest::read(&app, &tenant, &params)?;
    if name == TENANT_LABEL && app.config().query.multi_tenant {
        return Ok(json(write_names(&request.tenants.names())));
    }
    let matchers = optional_selector(params.get("query"))?;
    request.limits.check_selector(&matchers)?;
    let (store, tenants, days) = (app.store().clone(), request.tenants.clone(), request.days());
    let work = move |turn: Turn| async move {
        let store = store.drawing_on(turn.memory);
        let (ids, matchers) = tenants.choose(&matchers, TenantMatchers::Resolved);
        let name = if tenants.are_several() { stored_name(&name) } else { &name };
        let mut values = BTreeSet::new();
        for id in &ids {
            values.extend(store.label_values(id, name, &matchers, days).await?);
        }
        Ok(write_names(&Vec::from_iter(values)))
    };
    app.queries().run(&request.tenants, request.limits.timeout(), work).await.map(json)
}

async fn series(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let request = StreamsRequest::read(&app, &tenant, &params)?;
    let groups = selectors(&params)?;
    groups.iter().try_for_each(|matchers| request.limits.check_selector(matchers))?;
    let (store, tenants, range) = (app.store().clone(), request.tenants.clone(), request.range);
    let work = move |turn: Turn| async move {
        let (store, mut memory) = (store.drawing_on(turn.memory.clone()), turn.memory.reservation());
        let mut series: BTreeSet<Labels> = BTreeSet::new();
        for group in &groups {
            let (ids, matchers) = tenants.choose(group, TenantMatchers::Resolved);
            let group = [matchers];
            for id in &ids {
                let found = store.series(id, &group, range).await?;
                memory.grow(listed_bytes(&found))?;
                series.extend(found.iter().map(|labels| tenants.shown(id, labels)));
            }
        }
        Ok(write_series_list(&series))
    };
    app.queries().run(&request.tenants, request.limits.timeout(), work).await.map(json)
}

/// What streams take while an answer is made of them: their labels are there twice.
pub(crate) fn listed_bytes(streams: &[Labels]) -> usize {
    streams.iter().map(|labels| 2 * labels.size_bytes() + size_of::<Labels>()).sum()
}

/// A selector that may be left out.
pub(crate) fn optional_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    if text.is_empty() { Ok(Vec::new()) } else { loki_logql::parse_selector(text) }
}

/// The selectors of a series request; none, or an empty one alone, stand for all streams.
fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let texts: Vec<&str> = params.all("match").chain(params.all("match[]")).collect();
    if texts.is_empty() || texts == [EVERYTHING] {
        return Ok(vec![Vec::new()]);
    }
    let selector = |text: &&str| match *text {
        EVERYTHING => Err(ApiError::bad_request(format!("0 matchers in group: {EVERYTHING}"))),
        text => loki_logql::parse_selector(text).map_err(ApiError::from),
    };
    texts.iter().map(selector).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_stands_alone_or_not_at_all() {
        let count = |text: &str| selectors(&Params::of(text)).map(|groups| groups.iter().map(Vec::len).collect());
        assert_eq!(count("").expect("all"), vec![0]);
        assert_eq!(count("match={}").expect("all"), vec![0]);
        assert_eq!(count(r#"match={a="b"}&match[]={a="c",b="d"}"#).expect("both"), vec![1, 2]);
        let refusal = count(r#"match={}&match={a="b"}"#);
        assert_eq!(refusal.map(|_: Vec<usize>| ()).expect_err("empty").message(), "0 matchers in group: {}");
        assert!(count("match=").is_err());
    }
}
