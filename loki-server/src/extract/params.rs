//! Parameters of a request, from the URL and from a form, as Go's `ParseForm` merges them.

use std::fmt::Write as _;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::app::App;
use crate::error::ApiError;

const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters by name, in the order in which they count: the form's before the URL's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

/// Parameters of the URL alone, for routes that do not read forms.
#[derive(Clone, Debug)]
pub(crate) struct RawParams(pub(crate) Params);

impl Params {
    /// The first value of a parameter; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the parameter is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Appends the parameters of `text`. All that are well-formed are taken even when others are not.
    fn extend(&mut self, text: &str) -> Result<(), FormError> {
        let mut first_error = Ok(());
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let decoded = if pair.contains(';') {
                Err(FormError::Semicolon)
            } else {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                unescape(name).and_then(|name| Ok((name, unescape(value)?)))
            };
            match decoded {
                Ok(pair) => self.pairs.push(pair),
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        first_error
    }
}

/// Why parameters cannot be read, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("invalid URL escape {0}")]
    Escape(String),
    /// A semicolon where only `&` separates.
    #[error("invalid semicolon separator in query")]
    Semicolon,
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl FromRequestParts<App> for RawParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let mut params = Params::default();
        params.extend(parts.uri.query().unwrap_or_default())?;
        Ok(Self(params))
    }
}

impl FromRequest<App> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let mut params = Self::default();
        let (parts, body) = request.into_parts();
        let mut outcome = Ok(());
        if is_form(&parts) {
            let limit = app.config().query.max_body_bytes;
            let body = Limited::new(body, limit).collect().await.map_err(|error| unreadable(&*error))?.to_bytes();
            outcome = params.extend(&text(&body));
        }
        outcome.and(params.extend(parts.uri.query().unwrap_or_default()))?;
        Ok(params)
    }
}

fn is_form(parts: &Parts) -> bool {
    let has_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    has_body && media_type.trim().eq_ignore_ascii_case(FORM)
}

fn text(body: &Bytes) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(body)
}

fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large")
    } else {
        ApiError::bad_request(error.to_string())
    }
}

/// Undoes `%xx` and `+`. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn unescape(text: &str) -> Result<String, FormError> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = bytes.get(at..at + 2).and_then(|digits| Some(16 * hex(digits[0])? + hex(digits[1])?));
                out.push(digits.ok_or_else(|| bad_escape(&bytes[at - 1..]))?);
                at += 2;
            }
            byte => out.push(byte),
        }
    }
    Ok(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Names at most three bytes of what was found, quoted.
fn bad_escape(from: &[u8]) -> FormError {
    let shown = String::from_utf8_lossy(&from[..from.len().min(3)]);
    let mut quoted = String::new();
    write!(quoted, "{}", loki_core::labels::quote(&shown)).expect("writing to a string cannot fail");
    FormError::Escape(quoted)
}

#[cfg(test)]
impl Params {
    /// The parameters of a well-formed text.
    pub(crate) fn of(text: &str) -> Self {
        let mut params = Self::default();
        params.extend(text).expect("well-formed");
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts() {
        let params = Params::of("query=a&match[]=x&query=b&match%5B%5D=y+z&flag&=v&");
        assert_eq!(params.get("query"), "a");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y z"]);
        assert!(params.has("flag"));
        assert_eq!(params.get("nope"), "");
    }

    #[test]
    fn bad_escapes_are_reported_as_go_does() {
        let mut params = Params::default();
        let cases = [
            ("query=%zz", r#"invalid URL escape "%zz""#),
            ("query=%4", r#"invalid URL escape "%4""#),
            ("query=%\"%", r#"invalid URL escape "%\"%""#),
            ("a=1;b=2", "invalid semicolon separator in query"),
        ];
        for (text, expected) in cases {
            assert_eq!(params.extend(text).expect_err("malformed").to_string(), expected);
        }
        assert!(params.extend("x=%zz&y=1").is_err());
        assert_eq!(params.get("y"), "1", "what can be read is read");
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(unescape("a%ffb%e6%97%a5").as_deref(), Ok("a\u{fffd}b日"));
    }
}
