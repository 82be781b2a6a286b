//! Spans about what a request takes, for whoever listens: [`crate::traces`], or the program around this server.
//!
//! They cost a comparison each while nobody does, so they are made wherever a trace should have them.

use axum::extract::Request;
use loki_store::TenantId;
use tracing::Span;
use tracing::field::Empty;

use crate::extract::TenantHeader;

/// Longer texts are cut: spans wait in memory until they are sent.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;

/// The span of a request to `route`, which goes on with the trace that the request names.
pub(crate) fn of_request(request: &Request, route: Option<&str>, auth_enabled: bool) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = clipped(format!("{} {}", request.method(), route.unwrap_or_default()).trim_end()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %request.method(),
        http.route = route,
        http.response.status_code = Empty,
        url.path = clipped(request.uri().path()),
        loki.tenant = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Ok(tenant) = TenantHeader::from_headers(request.headers(), auth_enabled) {
        let tenant = tenant.text().map_or_else(|| TenantId::anonymous().to_string(), |text| clipped(text).to_owned());
        span.record("loki.tenant", tenant);
    }
    #[cfg(feature = "traces")]
    crate::traces::follow(&span, request.headers());
    span
}

/// Notes how a request was answered.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The beginning of a text.
pub(crate) fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let fits = "a".repeat(MAX_TEXT_BYTES);
        assert_eq!(clipped(&fits), fits);
        assert_eq!(clipped(&format!("{fits}b")), fits);
        let wide = format!("{}ä", &fits[1..]);
        assert_eq!(clipped(&wide), &fits[1..]);
    }
}
