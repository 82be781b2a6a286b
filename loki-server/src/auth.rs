//! Who sends a request, and for which tenants they may act. Off unless it is configured.

mod basic;
mod bearer;
mod rights;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use loki_store::TenantId;

use crate::config::{AuthConfig, ClientAuth, Config};
use crate::error::ApiError;
use crate::extract::TENANT_HEADER;
use basic::Users;
use bearer::Tokens;

pub use rights::Right;

/// Stands for all tenants.
const ANY_TENANT: &str = "*";

/// The common name of the certificate that a connection's client showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientName(pub(crate) Option<Arc<str>>);

/// Decides about requests.
#[derive(Debug)]
pub(crate) struct Auth {
    users: Option<Users>,
    tokens: Option<Tokens>,
    /// Whether a certificate alone is enough.
    certificates: bool,
    tenants: HashMap<String, Vec<String>>,
    rights: HashMap<String, Vec<Right>>,
    open_paths: Vec<String>,
}

/// Why authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line of a file is wrong.
    #[error("{} line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// Nobody knows who sent it.
    #[error("authentication required")]
    Unknown,
    /// The sender may not act for the tenant.
    #[error("not allowed for this tenant")]
    Tenant,
    /// The sender may not do this for anybody.
    #[error("not allowed")]
    Right,
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let status = match denied {
            Denied::Unknown => StatusCode::UNAUTHORIZED,
            Denied::Tenant | Denied::Right => StatusCode::FORBIDDEN,
        };
        Self::new(status, denied.to_string()).with_newline()
    }
}

impl Auth {
    /// Reads the configured files; `None` when everybody may do everything.
    pub(crate) fn load(config: &Config) -> Result<Option<Self>, AuthError> {
        if !config.is_guarded() {
            return Ok(None);
        }
        let AuthConfig { htpasswd_file, bearer_tokens_file, tenants, rights, open_paths } = &config.auth;
        let certificates = config.http.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::None);
        let users = htpasswd_file.as_ref().map(|path| Users::parse(&read(path)?).map_err(at(path)));
        let tokens = bearer_tokens_file.as_ref().map(|path| Tokens::parse(&read(path)?).map_err(at(path)));
        Ok(Some(Self {
            users: users.transpose()?,
            tokens: tokens.transpose()?,
            certificates,
            tenants: tenants.iter().cloned().collect(),
            rights: rights.iter().cloned().collect(),
            open_paths: open_paths.clone(),
        }))
    }

    /// Lets a request pass, with the tenant filled in if its sender has only one, or turns it away.
    pub(crate) async fn admit(
        &self,
        method: &Method,
        path: &str,
        client: &ClientName,
        headers: &mut HeaderMap,
    ) -> Result<(), Denied> {
        if self.open_paths.iter().any(|open| open == path) {
            return Ok(());
        }
        let name = self.identify(client, headers).await.ok_or(Denied::Unknown)?;
        // Whoever handles the request further has no use for the secret.
        headers.remove(header::AUTHORIZATION);
        if !self.may(&name, Right::needed(method, path)) {
            return Err(Denied::Right);
        }
        self.confine(&name, headers)
    }

    async fn identify(&self, client: &ClientName, headers: &HeaderMap) -> Option<Arc<str>> {
        let credentials = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, secret) = credentials.and_then(|text| text.split_once(' ')).unwrap_or_default();
        if let (Some(tokens), true) = (&self.tokens, scheme.eq_ignore_ascii_case("bearer")) {
            return tokens.name(secret.trim());
        }
        if let (Some(users), true) = (&self.users, scheme.eq_ignore_ascii_case("basic")) {
            let decoded = BASE64_STANDARD.decode(secret.trim()).ok()?;
            let decoded = String::from_utf8(decoded).ok()?;
            let (user, password) = decoded.split_once(':')?;
            return users.verify(user, password).await;
        }
        client.0.clone().filter(|_| self.certificates)
    }

    /// Without any rights in the configuration everybody who is known may do everything.
    fn may(&self, name: &str, right: Right) -> bool {
        self.rights.is_empty() || self.rights.get(name).is_some_and(|rights| rights.contains(&right))
    }

    /// Checks the tenants that a request names against those of its sender.
    fn confine(&self, name: &str, headers: &mut HeaderMap) -> Result<(), Denied> {
        if self.tenants.is_empty() {
            return Ok(());
        }
        let allowed = self.tenants.get(name).ok_or(Denied::Tenant)?;
        let Some(named) = headers.get(TENANT_HEADER) else {
            if let [only] = &allowed[..]
                && only != ANY_TENANT
                && let Ok(value) = HeaderValue::from_str(only)
            {
                headers.insert(TENANT_HEADER, value);
            }
            return Ok(());
        };
        if allowed.iter().any(|tenant| tenant == ANY_TENANT) {
            return Ok(());
        }
        // What is not a list of tenants is refused further on, in Loki's words.
        let Ok(named) = TenantId::parse_list(&String::from_utf8_lossy(named.as_bytes())) else {
            return Ok(());
        };
        let is_allowed = |tenant: &TenantId| allowed.iter().any(|candidate| candidate == tenant.as_str());
        if named.iter().all(is_allowed) { Ok(()) } else { Err(Denied::Tenant) }
    }
}

fn read(path: &Path) -> Result<String, AuthError> {
    std::fs::read_to_string(path).map_err(|source| AuthError::Read { path: path.to_owned(), source })
}

/// Names the file of a wrong line.
fn at(path: &Path) -> impl FnOnce((usize, &'static str)) -> AuthError {
    move |(line, problem)| AuthError::Line { path: path.to_owned(), line, problem }
}

/// The lines of a file that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests;
