//! How much is stored: `index/stats`, `index/volume`, `index/volume_range` and `index/shards`.

mod sizes;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use loki_core::{Matcher, TimeRange};
use loki_logql::engine::check_steps;
use loki_logql::result::{Point, QueryResult, Response as Answer, Sample, Series};
use loki_logql::stats::Stats;
use loki_store::{IndexStats, StreamVolume};

use crate::app::App;
use crate::detected::parse_bytes;
use crate::error::ApiError;
use crate::extract::{Params, TenantHeader, parse_limit, parse_step_nanos};
use crate::queries::Turn;
use crate::response::{EncodingFlags, QueryTimes, json, write_display, write_list, write_response, write_sizes};
use crate::routes::metadata::StreamsRequest;
use crate::routes::{Routes, get_and_post};
use crate::tenants::TenantMatchers;
use sizes::{Aggregation, Sizes};

/// Everything is one step.
const NO_STEP: i64 = 0;
/// Shards of a query at most.
const MAX_SHARDS: u64 = 1 << 12;

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/loki/api/v1/index/stats", get_and_post(stats))
        .route("/loki/api/v1/index/shards", get_and_post(shards))
        .route("/loki/api/v1/index/volume", get_and_post(volume))
        .route("/loki/api/v1/index/volume_range", get_and_post(volume_range))
}

async fn stats(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let (request, stats) = selected_stats(&app, &tenant, &params).await?;
    let _ = request;
    let mut out = Vec::new();
    write_sizes(&mut out, &stats);
    out.push(b'\n');
    Ok(json(out))
}

/// Divides a selection into shards of about the wanted size, by the hashes of streams.
async fn shards(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let wanted = match parse_bytes(params.get("targetBytesPerShard")) {
        Some(bytes) if bytes > 0 => bytes,
        _ => return Err(ApiError::bad_request("targetBytesPerShard must be a positive value")),
    };
    let (_, stats) = selected_stats(&app, &tenant, &params).await?;
    let count = (stats.bytes / wanted).next_power_of_two().clamp(1, MAX_SHARDS);
    let width = u64::MAX / count;
    let part = IndexStats {
        streams: stats.streams / count,
        chunks: stats.chunks / count,
        bytes: stats.bytes / count,
        entries: stats.entries / count,
    };
    let mut out = br#"{"shards":["#.to_vec();
    write_list(&mut out, 0..count, |out, shard| {
        let min = shard * width + shard;
        let max = if shard + 1 == count { u64::MAX } else { min + width };
        write_display(out, format_args!(r#"{{"bounds":{{"min":{min},"max":{max}}},"stats":"#));
        write_sizes(out, &part);
        out.push(b'}');
    });
    out.extend_from_slice(br#"],"statistics":"#);
    crate::response::write_stats(&mut out, &Stats::default(), QueryTimes::default());
    out.extend_from_slice(b",\"chunkGroups\":[]}\n");
    Ok(json(out))
}

async fn selected_stats(
    app: &App,
    tenant: &TenantHeader,
    params: &Params,
) -> Result<(StreamsRequest, IndexStats), ApiError> {
    let request = StreamsRequest::read(app, tenant, params)?;
    let matchers = selector(&request, params)?;
    check_ends(request.range)?;
    let (store, tenants, range) = (app.store().clone(), request.tenants.clone(), request.range);
    let work = move |turn: Turn| async move {
        let store = store.drawing_on(turn.memory);
        let (ids, matchers) = tenants.choose(&matchers, TenantMatchers::Resolved);
        let mut sum = IndexStats::default();
        for id in &ids {
            let stats = store.stats(id, &matchers, range).await?;
            sum.streams += stats.streams;
            sum.chunks += stats.chunks;
            sum.bytes += stats.bytes;
            sum.entries += stats.entries;
        }
        Ok(sum)
    };
    let stats = app.queries().run(&request.tenants, request.limits.timeout(), work).await?;
    Ok((request, stats))
}

async fn volume(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let request = VolumeRequest::read(&app, &tenant, &params)?;
    let end = request.streams.range.end;
    let sizes = request.sizes(&app, NO_STEP).await?;
    let samples = sizes.into_iter().map(|(labels, steps)| {
        let bytes: u64 = steps.values().sum();
        Sample { labels, point: Point { timestamp: end, value: bytes as f64 } }
    });
    Ok(answer(QueryResult::Vector(samples.collect())))
}

async fn volume_range(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    let request = VolumeRequest::read(&app, &tenant, &params)?;
    let TimeRange { start, end } = request.streams.range;
    let step_nanos = parse_step_nanos(&params, start, end)?;
    check_steps(start, end, step_nanos).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let sizes = request.sizes(&app, step_nanos).await?;
    let series = sizes.into_iter().map(|(labels, steps)| {
        let point = |(step, bytes): (i64, u64)| Point {
            timestamp: sizes::step_end(step, step_nanos, end),
            value: bytes as f64,
        };
        Series { labels, points: sizes::without_gaps(&steps).map(point).collect() }
    });
    let series: Vec<Series> = series.collect();
    if series.iter().any(|series| series.points.len() > 1) {
        return Ok(answer(QueryResult::Matrix(series)));
    }
    let samples = series
        .into_iter()
        .filter_map(|Series { labels, points }| points.first().map(|&point| Sample { labels, point }));
    Ok(answer(QueryResult::Vector(samples.collect())))
}

fn answer(result: QueryResult) -> Response {
    let answer = Answer { result, stats: Stats::default(), warnings: Vec::new() };
    json(write_response(&answer, &EncodingFlags::default(), QueryTimes::default()))
}

/// A question about the sizes of streams.
struct VolumeRequest {
    streams: StreamsRequest,
    matchers: Vec<Matcher>,
    aggregation: Aggregation,
    limit: usize,
}

impl VolumeRequest {
    fn read(app: &App, tenant: &TenantHeader, params: &Params) -> Result<Self, ApiError> {
        let streams = StreamsRequest::read(app, tenant, params)?;
        if !streams.limits.volume_enabled() {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "not found"));
        }
        let limit = volume_limit(params)?;
        check_ends(streams.range)?;
        let matchers = selector(&streams, params)?;
        let targets = params.get("targetLabels").split(',').filter(|label| !label.is_empty());
        let aggregation = Aggregation::new(params.get("aggregateBy"), targets, &matchers)?;
        Ok(Self { streams, matchers, aggregation, limit })
    }

    /// The largest groups with their bytes by step, largest first.
    async fn sizes(&self, app: &App, step_nanos: i64) -> Result<Sizes, ApiError> {
        let StreamsRequest { tenants, limits, range } = &self.streams;
        let (store, of_tenants, range) = (app.store().clone(), tenants.clone(), *range);
        let (matchers, aggregation) = (self.matchers.clone(), self.aggregation.clone());
        let max_series = limits.max_volume_series();
        let work = move |turn: Turn| async move {
            let (store, mut memory) = (store.drawing_on(turn.memory.clone()), turn.memory.reservation());
            let mut sizes = sizes::Collector::new(aggregation);
            let (ids, matchers) = of_tenants.choose(&matchers, TenantMatchers::Resolved);
            for id in &ids {
                for (part, first_step) in sizes::parts(range, step_nanos) {
                    let part_step = if first_step.is_whole { u64::try_from(step_nanos).unwrap_or(0) } else { 0 };
                    let volumes = store.volume(id, &matchers, part, part_step).await?;
                    memory.grow(volumes.iter().map(StreamVolume::size_bytes).sum())?;
                    for volume in volumes {
                        sizes.add(&volume.labels, first_step.number, &volume.steps);
                    }
                }
            }
            sizes.finish(max_series)
        };
        let mut sizes = app.queries().run(tenants, limits.timeout(), work).await?;
        sizes.truncate(self.limit);
        Ok(sizes)
    }
}

fn selector(request: &StreamsRequest, params: &Params) -> Result<Vec<Matcher>, ApiError> {
    let matchers = loki_logql::parse_selector(params.get("query"))?;
    request.limits.check_selector(&matchers)?;
    Ok(matchers)
}

fn check_ends(range: TimeRange) -> Result<(), ApiError> {
    if range.end < range.start {
        return Err(ApiError::bad_request("end timestamp must not be before or equal to start time"));
    }
    Ok(())
}

/// `limit`, of which zero stands for the default.
fn volume_limit(params: &Params) -> Result<usize, ApiError> {
    match params.get("limit").parse::<i64>() {
        Ok(0) => Ok(parse_limit(&Params::default())?),
        _ => Ok(parse_limit(params)?),
    }
}
