//! `format_query`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::extract::Params;
use crate::response::write_string;
use crate::routes::{Routes, get_and_post};

/// Spelt unlike that of the query routes.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The route of this module.
pub(crate) fn routes() -> Routes {
    Routes::new().route("/loki/api/v1/format_query", get_and_post(format_query))
}

async fn format_query(params: Params) -> Response {
    let (status, body) = match loki_logql::parse(params.get("query")) {
        Ok(expr) => (StatusCode::OK, body("success", "data", &expr.pretty())),
        Err(error) => (StatusCode::BAD_REQUEST, body("invalid-query", "error", &error.to_string())),
    };
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

fn body(status: &str, key: &str, text: &str) -> Vec<u8> {
    let mut out = format!(r#"{{"status":"{status}","{key}":"#).into_bytes();
    write_string(&mut out, text.as_bytes());
    out.extend_from_slice(b"}\n");
    out
}
