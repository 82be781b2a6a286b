//! Status routes: readiness, metrics, configuration, limits, the log level, flushing and stopping.

use std::fmt::Write as _;
use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::app::{App, Phase};
use crate::config::ShowMode;
use crate::error::{ApiError, chain};
use crate::extract::{Params, RawParams, TenantHeader};
use crate::metrics::TextFormat;
use crate::routes::{Routes, by_method, get_and_post, only_get};
use crate::{process, version};

/// The file that `/ingester/prepare_shutdown` leaves.
const SHUTDOWN_MARKER: &str = "shutdown-requested.txt";
/// Loki's parts, all of which run here.
const SERVICES: [&str; 14] = [
    "analytics",
    "cache-generation-loader",
    "compactor",
    "distributor",
    "ingester",
    "ingester-querier",
    "memberlist-kv",
    "querier",
    "query-frontend",
    "query-scheduler",
    "ring",
    "ruler",
    "server",
    "store",
];
/// Pages about rings, which a single process has none of.
const RING_PAGES: [&str; 6] =
    ["/ring", "/distributor/ring", "/indexgateway/ring", "/ruler/ring", "/compactor/ring", "/scheduler/ring"];
/// Other pages that say the same.
const PEER_PAGES: [&str; 2] = ["/memberlist", "/analytics"];
const PATTERN_RING_PAGE: &str = "/pattern/ring";
const RING_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Ring</title></head>\
    <body><h1>Single instance</h1><p>This server runs all parts in one process; there is no ring.</p></body></html>\n";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// The routes of this module.
pub(crate) fn routes(app: &App) -> Routes {
    let mut routes = Routes::new()
        .route("/ready", only_get(ready))
        .route("/config", only_get(config))
        .route("/services", only_get(services))
        .route("/log_level", get_and_post(log_level))
        .route("/flush", get_and_post(flush))
        .route("/ingester/prepare_shutdown", by_method(prepared, prepare, unprepare))
        .route("/ingester/shutdown", get_and_post(shutdown))
        .route("/config/tenant/v1/limits", only_get(tenant_limits))
        .route("/loki/api/v1/drilldown-limits", only_get(drilldown_limits))
        .route("/loki/api/v1/status/buildinfo", only_get(build_info));
    if app.config().patterns.enabled {
        routes = routes.route(PATTERN_RING_PAGE, get_and_post(ring));
    }
    let routes = RING_PAGES.iter().fold(routes, |routes, page| routes.route(page, get_and_post(ring)));
    PEER_PAGES.iter().fold(routes, |routes, page| routes.route(page, only_get(ring)))
}

/// The route of metrics, where it is served.
pub(crate) fn metrics_routes(app: &App) -> Routes {
    let routes = Routes::new();
    if app.config().http.metrics { routes.route("/metrics", only_get(metrics)) } else { routes }
}

async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    let refuse = |text: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).with_newline();
    if app.phase() > Phase::Running {
        return Err(refuse("Application is stopping".to_owned()));
    }
    if app.is_poisoned() {
        return Err(refuse("Ingester not ready: an earlier write failed, the store must be reopened".to_owned()));
    }
    Ok(plain("ready\n"))
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let format = TextFormat::wanted(&headers);
    let text = process::metrics(&app, format);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

async fn config(State(app): State<App>, RawParams(params): RawParams) -> Response {
    let mode = match params.get("mode") {
        "diff" => ShowMode::Diff,
        "defaults" => ShowMode::Defaults,
        _ => ShowMode::Effective,
    };
    plain(app.config().show(mode))
}

async fn services() -> Response {
    let mut text = String::new();
    for service in SERVICES {
        writeln!(text, "{service} => Running").expect("writing to a string cannot fail");
    }
    plain(text)
}

async fn log_level(State(app): State<App>, method: http::Method, params: Params) -> Response {
    if method == http::Method::GET {
        return Json(json!({ "message": format!("Current log level is {}", app.log().level()) })).into_response();
    }
    let level = params.get("log_level");
    if app.log().set_level(level) {
        let message = format!("Log level set to {level}");
        return Json(json!({ "status": "success", "message": message })).into_response();
    }
    let message = format!("unrecognized log level {level:?}");
    (StatusCode::BAD_REQUEST, Json(json!({ "status": "failed", "message": message }))).into_response()
}

async fn flush(State(app): State<App>) -> Result<StatusCode, ApiError> {
    app.store().flush().await.map_err(|error| ApiError::from(error).with_newline())?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prepared(State(app): State<App>) -> Result<Response, ApiError> {
    marker_folder(&app)?;
    Ok(plain(if app.is_prepared_for_shutdown() { "set\n" } else { "unset\n" }))
}

async fn prepare(State(app): State<App>) -> Result<StatusCode, ApiError> {
    let marker = marker_folder(&app)?.join(SHUTDOWN_MARKER);
    tokio::fs::write(&marker, b"").await.map_err(|error| marker_failed(&error))?;
    app.set_prepared_for_shutdown(true);
    Ok(StatusCode::NO_CONTENT)
}

async fn unprepare(State(app): State<App>) -> Result<StatusCode, ApiError> {
    let marker = marker_folder(&app)?.join(SHUTDOWN_MARKER);
    match tokio::fs::remove_file(&marker).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(marker_failed(&error)),
        _ => app.set_prepared_for_shutdown(false),
    }
    Ok(StatusCode::NO_CONTENT)
}

fn marker_folder(app: &App) -> Result<&Path, ApiError> {
    app.config().data.shutdown_marker.as_deref().ok_or_else(|| ApiError::internal("").with_newline())
}

fn marker_failed(error: &std::io::Error) -> ApiError {
    ApiError::internal(format!("cannot write the shutdown marker: {}", chain(error))).with_newline()
}

/// `flush` and `terminate` are on unless they are switched off; tokens are nothing that this server has.
async fn shutdown(State(app): State<App>, RawParams(params): RawParams) -> Result<StatusCode, ApiError> {
    let is_on = |name: &str| !matches!(params.get(name), "false" | "0" | "f" | "F" | "FALSE" | "False");
    if is_on("flush") {
        let flushed = app.store().flush().await;
        flushed.map_err(|error| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, chain(&error)).with_newline())?;
    }
    if is_on("terminate") {
        app.advance(Phase::Stopping);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// These routes want a tenant only when others do, so that Grafana works without one.
async fn tenant_limits(State(app): State<App>, tenant: TenantHeader) -> Result<Response, ApiError> {
    let limits = app.limits().tenant(&tenant.single()?);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], limits.to_yaml()).into_response())
}

async fn drilldown_limits(State(app): State<App>, tenant: TenantHeader) -> Result<Response, ApiError> {
    let limits = app.limits().tenant(&tenant.single()?);
    let body = json!({
        "limits": limits.to_json(&app.config().published_limits),
        "pattern_ingester_enabled": app.config().patterns.enabled,
        "version": version::LOKI,
    });
    Ok(Json(body).into_response())
}

async fn build_info() -> Response {
    Json(json!({
        "version": version::LOKI,
        "revision": format!("{} {}", env!("CARGO_PKG_NAME"), version::OWN),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
    .into_response()
}

async fn ring(_: HeaderMap) -> Html<&'static str> {
    Html(RING_PAGE)
}

/// Text for people.
pub(super) fn plain(text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, TEXT_TYPE)], text.into()).into_response()
}
