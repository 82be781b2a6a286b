//! The listener: where it is, how patient it is, how it is secured.

use std::path::PathBuf;
use std::time::Duration;

use loki_store::TenantId;

use crate::auth::Right;
use crate::config::check::{self, Problem};
use crate::config::settings::{Settings, list_of};
use crate::config::wrong;
use crate::config::yaml::Node;

/// Who may send requests. Without files and without client certificates everybody may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// Users with hashed passwords, as `htpasswd -B` writes them.
    pub htpasswd_file: Option<PathBuf>,
    /// Lines of `name:token` or `name:sha256:<digest of the token>`.
    pub bearer_tokens_file: Option<PathBuf>,
    /// Tenants that a user, a token or the common name of a certificate may act for; `*` stands for all. Without
    /// any of these everybody who is known may act for all.
    pub tenants: Vec<(String, Vec<String>)>,
    /// What a user, a token or the common name of a certificate may do. Without any of these everybody who is known
    /// may do everything.
    pub rights: Vec<(String, Vec<Right>)>,
    /// Paths that are open to everybody.
    pub open_paths: Vec<String>,
}

/// The listener.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `tcp`, `tcp4` or `tcp6`.
    pub network: String,
    /// Address to bind, empty for all.
    pub address: String,
    /// Port to bind, 0 for any free one.
    pub port: u16,
    /// The most connections at once; 0 = no limit.
    pub max_connections: usize,
    /// How long a request may take to arrive.
    pub read_timeout: Duration,
    /// How long its headers may take; 0 = as long as the whole.
    pub read_header_timeout: Duration,
    /// How long answering may take, tails aside; 0 = no limit.
    pub write_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long requests may finish once stopping has begun.
    pub shutdown_timeout: Duration,
    /// Base of every route, without a slash at its end.
    pub path_prefix: String,
    /// Whether `/metrics` is served.
    pub metrics: bool,
    /// Whether `/debug/pprof` is served.
    pub debug: bool,
    /// Whether answers are compressed for clients that ask for it.
    pub compress: bool,
    /// TLS, when a certificate is configured.
    pub tls: Option<TlsConfig>,
}

/// Certificates of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate chain in PEM.
    pub certificate: Pem,
    /// The private key in PEM.
    pub key: Pem,
    /// Authorities that clients' certificates are checked against.
    pub client_ca: Pem,
    /// Whether clients must show a certificate.
    pub client_auth: ClientAuth,
    /// Whether TLS 1.2 is refused.
    pub tls13_only: bool,
}

/// Whether clients must show a certificate; one that is shown is always checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// They may show one.
    Optional,
    /// They must show one.
    Required,
}

/// Where PEM text comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pem {
    /// Nowhere.
    #[default]
    Absent,
    /// The configuration itself.
    Inline(String),
    /// A file.
    File(PathBuf),
}

pub(super) fn read_http(settings: &Settings, problems: &mut Vec<Problem>) -> HttpConfig {
    let port = settings.int("server.http_listen_port");
    if u16::try_from(port).is_err() {
        problems.push(wrong(settings, "server.http_listen_port", "must be between 0 and 65535"));
    }
    let network = settings.text("server.http_listen_network");
    if !matches!(network.as_str(), "tcp" | "tcp4" | "tcp6") {
        problems.push(wrong(settings, "server.http_listen_network", "must be tcp, tcp4 or tcp6"));
    }
    let mut prefix = settings.text("server.http_path_prefix");
    if prefix.is_empty() {
        prefix = settings.text("http_prefix");
    }
    let prefix = prefix.trim_end_matches('/');
    HttpConfig {
        network,
        address: settings.text("server.http_listen_address"),
        port: u16::try_from(port).unwrap_or_default(),
        max_connections: settings.count("server.http_listen_conn_limit"),
        read_timeout: settings.duration("server.http_server_read_timeout"),
        read_header_timeout: settings.duration("server.http_server_read_header_timeout"),
        write_timeout: settings.duration("server.http_server_write_timeout"),
        idle_timeout: settings.duration("server.http_server_idle_timeout"),
        shutdown_timeout: settings.duration("server.graceful_shutdown_timeout"),
        path_prefix: if prefix.is_empty() || prefix.starts_with('/') {
            prefix.to_owned()
        } else {
            format!("/{prefix}")
        },
        metrics: settings.bool("server.register_instrumentation"),
        debug: settings.bool("loki_store.debug_routes"),
        compress: settings.bool("frontend.compress_responses"),
        tls: read_tls(settings, problems),
    }
}

pub(super) fn read_auth(settings: &Settings, problems: &mut Vec<Problem>) -> AuthConfig {
    let file = |key: &str| {
        let path = settings.text(&format!("loki_store.auth.{key}"));
        (!path.is_empty()).then(|| PathBuf::from(path))
    };
    let path = "loki_store.auth.tenants";
    let node = settings.tree().at(path);
    let mut tenants = Vec::new();
    for entry in node.map_or(&[][..], Node::entries) {
        let names = list_of(&entry.node);
        if let Some(wrong) = names.iter().find(|name| *name != "*" && TenantId::parse(name).is_err()) {
            let reason = format!("{wrong:?} is not a tenant");
            problems.push(check::invalid(&entry.origin, path, reason));
        }
        tenants.push((entry.key.clone(), names));
    }
    let path = "loki_store.auth.rights";
    let mut rights = Vec::new();
    for entry in settings.tree().at(path).map_or(&[][..], Node::entries) {
        let names = list_of(&entry.node);
        if let Some(wrong) = names.iter().find(|name| Right::of_name(name).is_none()) {
            let reason = format!("{wrong:?} is none of read, write and admin");
            problems.push(check::invalid(&entry.origin, path, reason));
        }
        rights.push((entry.key.clone(), names.iter().filter_map(|name| Right::of_name(name)).collect()));
    }
    AuthConfig {
        htpasswd_file: file("htpasswd_file"),
        bearer_tokens_file: file("bearer_tokens_file"),
        tenants,
        rights,
        open_paths: settings.list("loki_store.auth.open_paths"),
    }
}

fn read_tls(settings: &Settings, problems: &mut Vec<Problem>) -> Option<TlsConfig> {
    let pem = |inline: &str, file: &str| {
        let inline = settings.text(&format!("server.http_tls_config.{inline}"));
        let file = settings.text(&format!("server.http_tls_config.{file}"));
        match (inline.is_empty(), file.is_empty()) {
            (false, _) => Pem::Inline(inline),
            (true, false) => Pem::File(file.into()),
            (true, true) => Pem::Absent,
        }
    };
    let path = "server.http_tls_config";
    let client_auth = match settings.text("server.http_tls_config.client_auth_type").as_str() {
        "" | "NoClientCert" => ClientAuth::None,
        "VerifyClientCertIfGiven" => ClientAuth::Optional,
        "RequireAndVerifyClientCert" => ClientAuth::Required,
        other => {
            let known = "NoClientCert, VerifyClientCertIfGiven and RequireAndVerifyClientCert are supported";
            problems.push(wrong(settings, path, format!("client_auth_type {other}: only {known}")));
            ClientAuth::None
        }
    };
    let tls = TlsConfig {
        certificate: pem("cert", "cert_file"),
        key: pem("key", "key_file"),
        client_ca: pem("client_ca", "client_ca_file"),
        client_auth,
        tls13_only: settings.text("server.tls_min_version") == "VersionTLS13",
    };
    if tls == (TlsConfig { tls13_only: tls.tls13_only, ..TlsConfig::default() }) {
        return None;
    }
    if tls.certificate == Pem::Absent || tls.key == Pem::Absent {
        problems.push(wrong(settings, path, "needs both a certificate and a key"));
    }
    if tls.client_auth != ClientAuth::None && tls.client_ca == Pem::Absent {
        problems.push(wrong(
            settings,
            path,
            "client certificates are checked against client_ca_file, which is missing",
        ));
    }
    Some(tls)
}
