//! What handlers take out of requests: the tenant and the parameters.

mod params;
mod time;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use loki_store::{TenantError, TenantId};

use crate::app::App;
use crate::error::ApiError;

pub(crate) use params::{Params, RawParams};
pub(crate) use time::{
    parse_count, parse_direction, parse_interval_nanos, parse_limit, parse_limit_named, parse_range, parse_rfc3339,
    parse_step_nanos, parse_time,
};

/// Names the tenant of a request.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";
/// Says what a query is for.
pub(crate) const QUERY_TAGS_HEADER: &str = "x-query-tags";

/// What a request says about its tenant; taking it answers 401 when it says nothing and has to.
///
/// Whether the id is well-formed is for the handler to ask, since routes differ in how they report it.
#[derive(Clone, Debug)]
pub(crate) struct TenantHeader(Option<String>);

impl TenantHeader {
    /// The header as it was sent; nothing without authentication.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The one tenant of a request that cannot have several.
    pub(crate) fn single(&self) -> Result<TenantId, TenantError> {
        match &self.0 {
            Some(header) => TenantId::parse(header),
            None => Ok(TenantId::anonymous()),
        }
    }

    /// Reads the header; without authentication nothing is read and everybody is the anonymous tenant.
    pub(crate) fn from_headers(headers: &HeaderMap, auth_enabled: bool) -> Result<Self, TenantError> {
        if !auth_enabled {
            return Ok(Self(None));
        }
        let bytes = headers.get(TENANT_HEADER).map_or(&[][..], |value| value.as_bytes());
        if bytes.is_empty() {
            return Err(TenantError::Missing);
        }
        Ok(Self(Some(String::from_utf8_lossy(bytes).into_owned())))
    }
}

impl FromRequestParts<App> for TenantHeader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        Self::from_headers(&parts.headers, app.config().auth_enabled).map_err(ApiError::from)
    }
}

/// The tags of a query, with every character that could confuse a log line replaced.
pub(crate) fn query_tags(headers: &HeaderMap) -> String {
    let text = headers.get(QUERY_TAGS_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kept = |c: char| c.is_ascii_alphanumeric() || " -=.@,".contains(c);
    text.chars().map(|c| if kept(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn everybody_is_the_same_tenant_without_authentication() {
        let tenant = TenantHeader::from_headers(&headers(TENANT_HEADER, "a|b"), false).expect("any header");
        assert_eq!(tenant.single().expect("one").as_str(), "fake");
    }

    #[test]
    fn lists_are_for_routes_that_take_them() {
        let tenant = TenantHeader::from_headers(&headers(TENANT_HEADER, "b|a|b"), true).expect("present");
        assert_eq!(tenant.single(), Err(TenantError::Multiple));
        let missing = TenantHeader::from_headers(&HeaderMap::new(), true);
        assert!(matches!(missing, Err(TenantError::Missing)));
    }

    #[test]
    fn query_tags_cannot_break_a_log_line() {
        assert_eq!(query_tags(&headers(QUERY_TAGS_HEADER, "Source=a\"b,x=1.2@z")), "Source=a_b,x=1.2@z");
    }
}
