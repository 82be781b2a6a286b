//! What a client is told when a request fails.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use loki_logql::budget::BudgetExceeded;
use loki_store::{ErrorKind, TenantError};

/// The status Loki answers when the client has gone away.
pub(crate) const STATUS_CLIENT_GONE: u16 = 499;

const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// A failed request: a status and a text.
///
/// The text goes to the client as it is, without a JSON wrapper, because Loki's clients show it to their users and
/// match parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    newline: bool,
}

impl ApiError {
    /// A failure with any status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), newline: false }
    }

    /// The request cannot be understood or asks too much: 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Something failed here: 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same with a newline at the end of the text, as Go's `http.Error` writes it: push, delete and status routes.
    #[must_use]
    pub fn with_newline(mut self) -> Self {
        self.newline = true;
        self
    }

    /// The same in the words of Loki's query backend, through which some routes report errors of their own.
    #[must_use]
    pub fn from_backend(mut self) -> Self {
        self.message = format!("rpc error: code = Code({}) desc = {}", self.status.as_u16(), self.message);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, mut message, newline } = self;
        if newline {
            message.push('\n');
        }
        let headers = [(header::CONTENT_TYPE, TEXT_PLAIN), (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)];
        (status, headers, message).into_response()
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Missing => Self::new(StatusCode::UNAUTHORIZED, error.to_string()).with_newline(),
            _ => Self::bad_request(error.to_string()),
        }
    }
}

impl From<loki_store::Error> for ApiError {
    fn from(error: loki_store::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable | ErrorKind::Poisoned | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, chain(&error))
    }
}

impl From<BudgetExceeded> for ApiError {
    fn from(refusal: BudgetExceeded) -> Self {
        loki_logql::engine::Error::from(refusal).into()
    }
}

impl From<loki_logql::ParseError> for ApiError {
    fn from(error: loki_logql::ParseError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// An error with its causes, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_plain() {
        let response = ApiError::bad_request("no").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }

    #[test]
    fn a_missing_tenant_is_401_and_a_bad_one_400() {
        assert_eq!(ApiError::from(TenantError::Missing).status(), 401);
        let error = ApiError::from(TenantError::TooLong).from_backend();
        assert_eq!(error.to_string(), "rpc error: code = Code(400) desc = tenant ID is too long: max 150 characters");
    }
}
