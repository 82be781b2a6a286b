//! What senders of requests may do, besides for which tenants.

use http::Method;

/// Part of what a server lets its senders do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Right {
    /// Push entries.
    Write,
    /// Query entries, and look at how the server is.
    Read,
    /// Delete entries, change settings, flush, stop, see the configuration.
    Admin,
}

impl Right {
    /// The right of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "write" => Some(Self::Write),
            "read" => Some(Self::Read),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// The right that a request needs. Paths that are not known to be harmless need the highest.
    pub(super) fn needed(method: &Method, path: &str) -> Self {
        const PUSHES: [&str; 3] = ["/loki/api/v1/push", "/api/prom/push", "/otlp/v1/logs"];
        /// Data of tenants. What is below them and changes something is not read with the method of a query.
        const QUERIES: [&str; 5] =
            ["/loki/api/", "/loki_store/api/", "/api/prom/", "/prometheus/api/", "/config/tenant/"];
        /// Where other methods than GET change what is stored.
        const STORED: [&str; 3] = ["/loki/api/v1/delete", "/loki/api/v1/rules", "/api/prom/rules"];
        const STATUS: [&str; 5] = ["/ready", "/metrics", "/services", "/memberlist", "/analytics"];
        if PUSHES.contains(&path) {
            return Self::Write;
        }
        let changes = method != Method::GET && STORED.iter().any(|stored| path.starts_with(stored));
        let is_read = QUERIES.iter().any(|prefix| path.starts_with(prefix)) || STATUS.contains(&path);
        let is_read = is_read || path.ends_with("/ring") || (path == "/log_level" && method == Method::GET);
        if is_read && !changes { Self::Read } else { Self::Admin }
    }
}
