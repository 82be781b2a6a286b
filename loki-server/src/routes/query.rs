//! Queries: `query`, `query_range` and the legacy `/api/prom/query`.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, header};
use loki_core::Timestamp;
use loki_logql::ast::{Expr, LineFilter, LineFilterArgument, LineFilterOp, Stage};
use loki_logql::engine::{InstantQuery, RangeQuery, Unsupported, check_steps};
use loki_logql::result::{QueryResult, Response as Answer};
use loki_logql::stats::Stats;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{
    Params, TenantHeader, parse_direction, parse_interval_nanos, parse_limit, parse_range, parse_step_nanos,
    parse_time, query_tags,
};
use crate::queries::{Lookback, QueryClass, Question, RequestLimits, WholeQuery, query_bytes};
use crate::response::{EncodingFlags, QueryTimes, json, write_legacy_response, write_response};
use crate::routes::{Routes, get_and_post};
use crate::tenants::Tenants;

/// What clients ask for that this server does not write.
const PARQUET: &str = "application/vnd.apache.parquet";

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/loki/api/v1/query", get_and_post(instant))
        .route("/loki/api/v1/query_range", get_and_post(range))
        .route("/api/prom/query", get_and_post(legacy))
}

async fn instant(
    State(app): State<App>,
    tenant: TenantHeader,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    refuse_parquet(&headers)?;
    let time = parse_time(params.get("time"), app.queries().now())?;
    parse_limit(&params)?;
    parse_direction(&params)?;
    let request = Request::new(&app, &tenant, &headers, params.get("query"))?;
    if matches!(request.expr, Expr::Log(_)) {
        return Err(loki_logql::engine::Error::from(Unsupported::InstantLog).into());
    }
    request.limits.check_enabled()?;
    if request.limits.look_back(time, time, app.queries().now()) == Lookback::TooOld {
        return Ok(empty(QueryResult::Vector(Vec::new()), &request.flags));
    }
    request.check_bytes(&app, time, time).await?;
    let question = Question::Instant(InstantQuery { expr: request.expr.clone(), time });
    request.answer(&app, question).await
}

async fn range(
    State(app): State<App>,
    tenant: TenantHeader,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    refuse_parquet(&headers)?;
    let now = app.queries().now();
    let mut query = read_range(&params, now)?;
    let request = Request::new(&app, &tenant, &headers, params.get("query"))?;
    request.limits.check_enabled()?;
    query.expr = request.expr.clone();
    query.categorize_labels = request.flags.categorize_labels();
    query.start = match request.limits.look_back(query.start, query.end, now) {
        Lookback::From(start) => start,
        Lookback::TooOld => return Ok(empty(nothing(&request.expr), &request.flags)),
    };
    if app.config().query.align_with_step && !matches!(request.expr, Expr::Log(_)) {
        (query.start, query.end) = (aligned(query.start, query.step_nanos), aligned(query.end, query.step_nanos));
    }
    request.check_bytes(&app, query.start, query.end).await?;
    request.answer(&app, Question::Range(query)).await
}

async fn legacy(
    State(app): State<App>,
    tenant: TenantHeader,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let now = app.queries().now();
    let mut query = read_range(&params, now)?;
    let mut request = Request::new(&app, &tenant, &headers, params.get("query"))?;
    request.limits.check_enabled()?;
    let Expr::Log(log) = &mut request.expr else {
        return Err(ApiError::bad_request("legacy endpoints only support streams result type").from_backend());
    };
    if params.has("regexp") {
        let pattern = LineFilterArgument::Text(params.get("regexp").as_bytes().to_vec());
        let filter = LineFilter { op: LineFilterOp::Matches, alternatives: vec![pattern] };
        log.stages.push(Stage::LineFilter(filter));
    }
    query.expr = request.expr.clone();
    query.categorize_labels = request.flags.categorize_labels();
    query.start = match request.limits.look_back(query.start, query.end, now) {
        Lookback::From(start) => start,
        Lookback::TooOld => {
            return Ok(json(write_legacy_response(&[], &Stats::default(), QueryTimes::default())));
        }
    };
    request.check_bytes(&app, query.start, query.end).await?;
    let write = |answer: Answer, times| match answer.result {
        QueryResult::Streams(streams) => write_legacy_response(&streams, &answer.stats, times),
        _ => write_legacy_response(&[], &answer.stats, times),
    };
    let Request { tenants, limits, .. } = &request;
    app.queries().answer(app.store(), tenants, limits, Question::Range(query), write).await.map(json)
}

/// A query with everything that decides how it is run.
struct Request {
    expr: Expr,
    tenants: Tenants,
    limits: RequestLimits,
    flags: EncodingFlags,
    /// The query of which this is a part.
    whole: Option<WholeQuery>,
}

impl Request {
    fn new(app: &App, tenant: &TenantHeader, headers: &HeaderMap, query: &str) -> Result<Self, ApiError> {
        let tenants = app.tenants(tenant).map_err(ApiError::from_backend)?;
        let tags = query_tags(headers);
        let mut limits = RequestLimits::of(app.store(), &tenants, &tags);
        let mut whole = None;
        if app.config().query.brings_limits {
            limits = limits.with_brought(headers)?;
            whole = WholeQuery::of(headers)?;
        }
        let expr = loki_logql::parse_query(query)?;
        limits.check_blocked(query, QueryClass::of(&expr), &tags)?;
        Ok(Self { expr, tenants, limits, flags: EncodingFlags::of(headers), whole })
    }

    /// Refuses to read more than the tenants may, or to take part in something that would.
    async fn check_bytes(&self, app: &App, start: Timestamp, end: Timestamp) -> Result<(), ApiError> {
        let Some(limit) = self.limits.max_bytes_read() else {
            return Ok(());
        };
        let (store, tenants, expr) = (app.store().clone(), self.tenants.clone(), self.expr.clone());
        let whole = self.whole.clone();
        let estimate = move |_| async move {
            let bytes = query_bytes(&store, &tenants, &expr, start, end).await?;
            match whole {
                Some(WholeQuery { expr, start, end }) => {
                    Ok(query_bytes(&store, &tenants, &expr, start, end).await?.max(bytes))
                }
                None => Ok(bytes),
            }
        };
        let bytes = app.queries().run(&self.tenants, self.limits.timeout(), estimate).await?;
        limit.check(bytes)
    }

    async fn answer(&self, app: &App, question: Question) -> Result<Response, ApiError> {
        let flags = self.flags.clone();
        let write = move |answer: Answer, times| write_response(&answer, &flags, times);
        app.queries().answer(app.store(), &self.tenants, &self.limits, question, write).await.map(json)
    }
}

/// The last multiple of the step that is not later.
fn aligned(time: Timestamp, step_nanos: i64) -> Timestamp {
    Timestamp(time.0.saturating_sub(time.0.rem_euclid(step_nanos.max(1))))
}

/// The parameters of a query over a range, all but the query itself.
fn read_range(params: &Params, now: Timestamp) -> Result<RangeQuery, ApiError> {
    let (start, end) = parse_range(params, now)?;
    if end < start {
        return Err(ApiError::bad_request("end timestamp must not be before or equal to start time"));
    }
    let limit = parse_limit(params)?;
    let direction = parse_direction(params)?;
    let step_nanos = parse_step_nanos(params, start, end)?;
    check_steps(start, end, step_nanos).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(RangeQuery {
        expr: Expr::Metric(loki_logql::ast::MetricExpr::Literal(0.0)),
        start,
        end,
        step_nanos,
        interval_nanos: parse_interval_nanos(params)?,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        direction,
        categorize_labels: false,
    })
}

/// The empty answer of a query over a range.
fn nothing(expr: &Expr) -> QueryResult {
    match expr {
        Expr::Log(_) => QueryResult::Streams(Vec::new()),
        Expr::Metric(_) | Expr::Variants(_) => QueryResult::Matrix(Vec::new()),
    }
}

fn empty(result: QueryResult, flags: &EncodingFlags) -> Response {
    let answer = Answer { result, stats: Stats::default(), warnings: Vec::new() };
    json(write_response(&answer, flags, QueryTimes::default()))
}

fn refuse_parquet(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get(header::ACCEPT).is_some_and(|accepted| accepted == PARQUET) {
        return Err(ApiError::bad_request(
            "support for Parquet encoded responses is disabled. Enable with \
             -frontend.support-parquet-encoding=true",
        ));
    }
    Ok(())
}
