//! What the tenants of a request may ask, checked before anything is read.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use loki_core::{Matcher, TimeRange, Timestamp};
use loki_logql::ast::Expr;
use loki_logql::duration::format_prometheus;
use loki_logql::engine::{ApproxTopk, LimitError, QueryLimits};
use loki_store::{Limits, Store};

use super::{QueryClass, Turn};
use crate::error::ApiError;
use crate::tenants::{TenantMatchers, Tenants};

/// Marks requests of the Logs Drilldown app, which prefers a part of an answer over none.
const DRILLDOWN_TAG: &str = "Source=grafana-lokiexplore-app";

/// The limits of all tenants of a request; of several the strictest counts.
#[derive(Clone, Debug)]
pub(crate) struct RequestLimits {
    tenants: Vec<Arc<Limits>>,
    /// Too many series are cut instead of being an error.
    accepts_part: bool,
    /// What the request says it is for.
    tags: Arc<str>,
}

/// What is left of a range of time once data that is too old is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookback {
    /// From this moment on.
    From(Timestamp),
    /// Nothing.
    TooOld,
}

impl RequestLimits {
    /// The limits as they are now.
    pub(crate) fn of(store: &Store, tenants: &Tenants, query_tags: &str) -> Self {
        Self {
            tenants: tenants.ids().iter().map(|id| store.limits(id)).collect(),
            accepts_part: query_tags.split(',').any(|tag| tag.eq_ignore_ascii_case(DRILLDOWN_TAG)),
            tags: query_tags.into(),
        }
    }

    /// The same with the limits that stand in the headers of the request, which count like those of another tenant.
    pub(crate) fn with_brought(mut self, headers: &HeaderMap) -> Result<Self, ApiError> {
        self.tenants.extend(super::brought::limits(headers)?.map(Arc::new));
        Ok(self)
    }

    /// What the request says it is for.
    pub(crate) fn tags(&self) -> &str {
        &self.tags
    }

    /// Refuses everything where queries are switched off.
    pub(crate) fn check_enabled(&self) -> Result<(), ApiError> {
        if self.tenants.iter().any(|limits| limits.max_query_parallelism == 0) {
            let text = "querying is disabled, please contact your Loki operator";
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, text));
        }
        Ok(())
    }

    /// Refuses what an operator has blocked.
    pub(crate) fn check_blocked(&self, query: &str, class: QueryClass, tags: &str) -> Result<(), ApiError> {
        let mut rules = self.tenants.iter().flat_map(|limits| &limits.blocked_queries);
        if rules.any(|rule| super::blocked::blocks(rule, query, class, tags)) {
            return Err(ApiError::bad_request("query blocked by policy"));
        }
        Ok(())
    }

    /// Refuses a range that is too long.
    pub(crate) fn check_length(&self, start: Timestamp, end: Timestamp) -> Result<(), ApiError> {
        let limit_nanos = nanos(self.shortest(|limits| limits.max_query_length));
        let asked_nanos = end.0.saturating_sub(start.0);
        if limit_nanos > 0 && asked_nanos > limit_nanos {
            return Err(ApiError::bad_request(LimitError::Length { asked_nanos, limit_nanos }.to_string()));
        }
        Ok(())
    }

    /// Cuts off what is older than the tenants may look.
    pub(crate) fn look_back(&self, start: Timestamp, end: Timestamp, now: Timestamp) -> Lookback {
        let lookback = self.shortest(|limits| limits.max_query_lookback);
        let oldest = now.saturating_sub_nanos(nanos(lookback));
        match lookback {
            Duration::ZERO => Lookback::From(start),
            _ if end < oldest => Lookback::TooOld,
            _ => Lookback::From(start.max(oldest)),
        }
    }

    /// The same for routes that tell their clients so.
    pub(crate) fn check_lookback(
        &self,
        start: Timestamp,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, ApiError> {
        match self.look_back(start, end, now) {
            Lookback::From(start) => Ok(start),
            Lookback::TooOld => {
                let limit = format_prometheus(nanos(self.shortest(|limits| limits.max_query_lookback)));
                let text = format!("this data is no longer available, it is past now - max_query_lookback ({limit})");
                Err(ApiError::bad_request(text))
            }
        }
    }

    /// The number of matchers and the labels that a selector must have.
    pub(crate) fn check_selector(&self, matchers: &[Matcher]) -> Result<(), ApiError> {
        let limits = QueryLimits { max_matchers: self.max_matchers(), ..QueryLimits::default() };
        limits.check_matchers(matchers).map_err(|error| ApiError::bad_request(error.to_string()))
    }

    /// How many bytes a query may be estimated to read.
    pub(crate) fn max_bytes_read(&self) -> Option<BytesLimit> {
        let limits = self.tenants.iter().map(|limits| limits.max_query_bytes_read);
        limits.filter(|&limit| limit > 0).min().map(BytesLimit)
    }

    /// How long work may take, waiting included.
    pub(crate) fn timeout(&self) -> Duration {
        self.shortest(|limits| limits.query_timeout)
    }

    /// The largest `limit`; zero for none.
    pub(crate) fn max_entries(&self) -> usize {
        self.smallest(|limits| limits.max_entries_per_query)
    }

    /// Series in a volume answer.
    pub(crate) fn max_volume_series(&self) -> usize {
        self.smallest(|limits| limits.volume_max_series)
    }

    /// Whether sizes of streams may be asked for.
    pub(crate) fn volume_enabled(&self) -> bool {
        self.tenants.iter().all(|limits| limits.volume_enabled)
    }

    /// Tails at the same time.
    pub(crate) fn max_tails(&self) -> usize {
        self.smallest(|limits| limits.max_concurrent_tail_requests)
    }

    /// What the engine is to enforce.
    pub(super) fn of_query(&self, turn: Turn) -> QueryLimits {
        let first = self.tenants.iter();
        QueryLimits {
            max_series: first.map(|limits| limits.max_query_series).min().unwrap_or_default(),
            partial_on_max_series: self.accepts_part,
            max_entries: u32::try_from(self.max_entries()).unwrap_or(u32::MAX),
            max_range_nanos: nanos(self.shortest(|limits| limits.max_query_range)),
            max_length_nanos: nanos(self.shortest(|limits| limits.max_query_length)),
            max_matchers: self.max_matchers(),
            required_labels: self.required_labels(),
            required_label_count: self.tenants.iter().map(|limits| limits.min_label_matchers).max().unwrap_or_default(),
            split_instant_nanos: nanos(self.shortest(|limits| limits.split_instant_queries_by_interval)),
            split_range_nanos: nanos(self.shortest(|limits| limits.split_queries_by_interval)),
            enable_variants: self.tenants.iter().all(|limits| limits.enable_multi_variant_queries),
            approx_topk: self.approx_topk(),
            memory: turn.memory,
            deadline: None,
            cancel: turn.cancel,
        }
    }

    fn approx_topk(&self) -> ApproxTopk {
        let is_allowed = self.tenants.iter().all(|limits| limits.approx_topk);
        if is_allowed { ApproxTopk::Unsharded } else { ApproxTopk::Disabled }
    }

    fn required_labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for label in self.tenants.iter().flat_map(|limits| &limits.required_labels) {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        labels
    }

    fn max_matchers(&self) -> usize {
        self.smallest(|limits| limits.max_streams_matchers_per_query)
    }

    /// The smallest number that is not zero; zero, which is no limit, if there is none.
    fn smallest(&self, of: impl Fn(&Limits) -> usize) -> usize {
        self.tenants.iter().map(|limits| of(limits)).filter(|&limit| limit > 0).min().unwrap_or_default()
    }

    /// The same for durations.
    fn shortest(&self, of: impl Fn(&Limits) -> Duration) -> Duration {
        self.tenants.iter().map(|limits| of(limits)).filter(|limit| !limit.is_zero()).min().unwrap_or_default()
    }
}

/// How many bytes a query may be estimated to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BytesLimit(u64);

impl BytesLimit {
    /// Refuses a query that would read more.
    pub(crate) fn check(self, bytes: u64) -> Result<(), ApiError> {
        if bytes <= self.0 {
            return Ok(());
        }
        Err(ApiError::bad_request(format!(
            "the query would read too many bytes (query: {}, limit: {}); consider adding more specific stream \
             selectors or reduce the time range of the query",
            binary_size(bytes),
            binary_size(self.0),
        )))
    }
}

/// How many bytes a query would read at most: the streams it selects, over the time that it looks at.
pub(crate) async fn query_bytes(
    store: &Store,
    tenants: &Tenants,
    expr: &Expr,
    start: Timestamp,
    end: Timestamp,
) -> Result<u64, ApiError> {
    let mode = match expr {
        Expr::Log(_) => TenantMatchers::Resolved,
        Expr::Metric(_) | Expr::Variants(_) => TenantMatchers::Kept,
    };
    let mut bytes = 0_u64;
    for group in expr.selector_groups() {
        let from = start.saturating_sub_nanos(group.offset_nanos).saturating_sub_nanos(group.range_nanos);
        let range = TimeRange::new(from, end.saturating_sub_nanos(group.offset_nanos));
        let (ids, matchers) = tenants.choose(group.matchers, mode);
        for id in &ids {
            bytes = bytes.saturating_add(store.stats(id, &matchers, range).await?.bytes);
        }
    }
    Ok(bytes)
}

/// Bytes as people write them: two digits below ten units, whole units above.
fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let scaled = bytes as f64 / 1024_f64.powi(exponent as i32);
    let rounded = (scaled * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[exponent as usize];
    if rounded < 10.0 { format!("{rounded:.1} {unit}") } else { format!("{rounded:.0} {unit}") }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn limits(tenants: Vec<Limits>) -> RequestLimits {
        RequestLimits { tenants: tenants.into_iter().map(Arc::new).collect(), accepts_part: false, tags: "".into() }
    }

    #[test]
    fn of_several_tenants_the_strictest_limit_counts_and_zero_is_none() {
        let limits = limits(vec![
            Limits { max_entries_per_query: 0, max_query_length: HOUR * 3, ..Limits::default() },
            Limits { max_entries_per_query: 7, max_query_length: HOUR * 2, ..Limits::default() },
        ]);
        assert_eq!(limits.max_entries(), 7);
        let length = |hours: i64| limits.check_length(Timestamp(0), Timestamp(hours * nanos(HOUR)));
        assert!(length(2).is_ok());
        assert_eq!(
            length(3).expect_err("too long").message(),
            "the query time range exceeds the limit (query length: 3h0m0s, limit: 2h)"
        );
    }

    #[test]
    fn old_data_is_cut_off_and_older_data_is_refused() {
        let limits = limits(vec![Limits { max_query_lookback: HOUR * 24, ..Limits::default() }]);
        let now = Timestamp(nanos(HOUR * 100));
        let hour = |n| Timestamp(nanos(HOUR * n));
        assert_eq!(limits.look_back(hour(80), hour(90), now), Lookback::From(hour(80)));
        assert_eq!(limits.look_back(hour(10), hour(90), now), Lookback::From(hour(76)));
        assert_eq!(limits.look_back(hour(10), hour(75), now), Lookback::TooOld);
        assert_eq!(
            limits.check_lookback(hour(10), hour(75), now).expect_err("too old").message(),
            "this data is no longer available, it is past now - max_query_lookback (1d)"
        );
    }

    #[test]
    fn queries_that_would_read_too_much_are_told_how_much() {
        let limit = BytesLimit(1 << 20);
        assert!(limit.check(1 << 20).is_ok());
        assert_eq!(
            limit.check(49 << 20).expect_err("too much").message(),
            "the query would read too many bytes (query: 49 MiB, limit: 1.0 MiB); consider adding more specific \
             stream selectors or reduce the time range of the query"
        );
        assert_eq!(binary_size(9), "9 B");
        assert_eq!(binary_size(u64::MAX), "16 EiB");
    }

    #[test]
    fn no_parallelism_means_no_queries() {
        let off = limits(vec![Limits { max_query_parallelism: 0, ..Limits::default() }]);
        assert_eq!(off.check_enabled().expect_err("off").status().as_u16(), 429);
        assert!(limits(vec![Limits::default()]).check_enabled().is_ok());
    }
}
