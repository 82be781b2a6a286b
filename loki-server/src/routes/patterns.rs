//! `patterns`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use loki_logql::parse_log;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Params, TenantHeader, parse_range, parse_step_nanos};
use crate::response::{json, write_series_list};
use crate::routes::{Routes, get_and_post};

/// The route of this module.
pub(crate) fn routes() -> Routes {
    Routes::new().route("/loki/api/v1/patterns", get_and_post(patterns))
}

/// Patterns are of recent entries, of which none have been looked at; without the feature there is nothing here.
async fn patterns(State(app): State<App>, tenant: TenantHeader, params: Params) -> Result<Response, ApiError> {
    if !app.config().patterns.enabled {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    let (start, end) = parse_range(&params, app.queries().now())?;
    parse_step_nanos(&params, start, end)?;
    app.tenants(&tenant)?;
    parse_log(params.get("query"))?;
    Ok(json(write_series_list([])))
}
