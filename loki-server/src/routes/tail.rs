//! Live tails over websockets.

mod session;

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use http::HeaderMap;
use loki_core::Timestamp;
use loki_logql::ast::Expr;
use loki_logql::result::StreamEntries;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Params, TenantHeader, parse_count, parse_limit, parse_time, query_tags};
use crate::queries::RequestLimits;
use crate::response::{DroppedEntries, EncodingFlags, write_legacy_tail_message, write_tail_message};
use crate::routes::{Routes, get_and_post};
use crate::tenants::Tenants;
use session::Session;

/// How far back a tail reaches unless it is told otherwise.
const DEFAULT_REACH_NANOS: i64 = 3_600_000_000_000;
/// The longest that entries may be held back.
const MAX_DELAY_SECONDS: i64 = 5;

/// The routes of this module.
pub(crate) fn routes() -> Routes {
    Routes::new().route("/loki/api/v1/tail", get_and_post(tail)).route("/api/prom/tail", get_and_post(legacy_tail))
}

/// What a client wants to watch.
#[derive(Debug)]
struct TailRequest {
    expr: Expr,
    tenants: Tenants,
    limits: RequestLimits,
    /// Entries sent at first that are stored already.
    limit: usize,
    start: Timestamp,
    /// How long entries are held back, so that they can be put into order.
    delay: Duration,
    shape: Shape,
}

/// How messages are written.
#[derive(Clone, Debug)]
enum Shape {
    Today(EncodingFlags),
    Legacy,
}

impl Shape {
    fn write(&self, streams: &[StreamEntries], dropped: &DroppedEntries) -> Vec<u8> {
        match self {
            Self::Today(flags) => write_tail_message(streams, dropped, flags),
            Self::Legacy => write_legacy_tail_message(streams, dropped),
        }
    }

    fn categorize_labels(&self) -> bool {
        matches!(self, Self::Today(flags) if flags.categorize_labels())
    }
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn tail(
    State(app): State<App>,
    tenant: TenantHeader,
    upgrade: Upgrade,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let shape = Shape::Today(EncodingFlags::of(&headers));
    serve(app, &tenant, upgrade, &headers, &params, shape)
}

async fn legacy_tail(
    State(app): State<App>,
    tenant: TenantHeader,
    upgrade: Upgrade,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    serve(app, &tenant, upgrade, &headers, &params, Shape::Legacy)
}

fn serve(
    app: App,
    tenant: &TenantHeader,
    upgrade: Upgrade,
    headers: &HeaderMap,
    params: &Params,
    shape: Shape,
) -> Result<Response, ApiError> {
    let request = TailRequest::read(&app, tenant, headers, params, shape)?;
    let upgrade = upgrade.map_err(|_| ApiError::bad_request("Bad Request").with_newline())?;
    Ok(upgrade.on_upgrade(move |socket| watch(app, request, socket)))
}

impl TailRequest {
    fn read(
        app: &App,
        tenant: &TenantHeader,
        headers: &HeaderMap,
        params: &Params,
        shape: Shape,
    ) -> Result<Self, ApiError> {
        // A tail is of one tenant, whatever queries may name.
        tenant.single()?;
        let tenants = Tenants::of(tenant)?;
        let limits = RequestLimits::of(app.store(), &tenants, &query_tags(headers));
        let expr = loki_logql::parse_query(params.get("query"))?;
        let limit = parse_limit(params)?;
        let default_start = app.queries().now().saturating_sub_nanos(DEFAULT_REACH_NANOS);
        let start = parse_time(params.get("start"), default_start)?;
        let delay_seconds = parse_count(params, "delay_for")?.unwrap_or(0);
        if delay_seconds > MAX_DELAY_SECONDS {
            return Err(ApiError::bad_request(format!("delay_for can't be greater than {MAX_DELAY_SECONDS}")));
        }
        let delay = Duration::from_secs(u64::try_from(delay_seconds).unwrap_or(0));
        Ok(Self { expr, tenants, limits, limit, start, delay, shape })
    }
}

/// Runs a tail until one side ends it. A failure is told as the reason of the close.
async fn watch(app: App, request: TailRequest, mut socket: WebSocket) {
    let outcome = match Session::begin(&app, &request) {
        Ok(session) => session.run(&mut socket).await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        let reason = truncated(error.message()).into();
        let frame = CloseFrame { code: close_code::ERROR, reason };
        // The client may be gone already.
        let _ = socket.send(Message::Close(Some(frame))).await;
    }
}

/// As much of a text as fits into a close frame.
fn truncated(text: &str) -> String {
    const MAX_REASON_BYTES: usize = 123;
    text[..text.floor_char_boundary(MAX_REASON_BYTES)].to_owned()
}
