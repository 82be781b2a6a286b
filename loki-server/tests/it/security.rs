//! TLS, client certificates, users and tokens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use loki_core::{TimeRange, Timestamp};
use loki_server::{Config, Server, ServerOptions, StartError};
use loki_store::TenantId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::support::{TestServer, request};

const PUSH: &str = r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000000","x"]]}]}"#;

pub(crate) type Issuer = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Issuer {
    let mut params = CertificateParams::new(vec![]).expect("valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate for `name` and its key.
pub(crate) fn certificate(issuer: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("valid");
    params.distinguished_name.push(DnType::OrganizationName, "tests");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, issuer).expect("a certificate"), key)
}

fn connector(issuer: &Issuer, client: Option<(rcgen::Certificate, KeyPair)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(issuer.der().to_vec())).expect("an authority");
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).expect("a pair")
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// Sends a request over TLS; an error when the connection does not come about.
async fn send(server: &Server, connector: &TlsConnector, head: &str, body: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(server.address()).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await?;
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn start(issuer: &Issuer, more: &str) -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (chain, key) = certificate(issuer, "server");
    let (cert, key, ca) =
        (write("cert.pem", chain.pem()), write("key.pem", key.serialize_pem()), write("ca.pem", issuer.pem()));
    let tls = format!("cert_file: {cert}, key_file: {key}, client_ca_file: {ca}");
    let yaml = more.replace("TLS", &tls);
    Server::start(options(&yaml)).await.expect("it starts")
}

/// A server in memory, on any port, configured otherwise.
fn options(yaml: &str) -> ServerOptions {
    let mut options = ServerOptions::memory();
    let memory = options.config.data.location.clone();
    options.config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}"));
    options.config.data.location = memory;
    options.config.http.port = 0;
    "127.0.0.1".clone_into(&mut options.config.http.address);
    options
}

#[tokio::test]
async fn connections_can_be_encrypted() {
    let issuer = authority();
    let server = start(&issuer, "auth_enabled: false\nserver: {http_tls_config: {TLS}}\n").await;
    assert!(server.url().starts_with("https://"));
    let answer = send(&server, &connector(&issuer, None), "GET /ready", "").await.expect("a connection");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ready\n"), "{answer}");
    let stranger = authority();
    assert!(
        send(&server, &connector(&stranger, None), "GET /ready", "").await.is_err(),
        "the client checks the server"
    );
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn clients_must_show_a_certificate_of_the_authority() {
    let issuer = authority();
    let yaml = "
auth_enabled: true
server: {http_tls_config: {TLS, client_auth_type: RequireAndVerifyClientCert}}
loki_store: {auth: {tenants: {node-1: [team-a]}}}
";
    let server = start(&issuer, yaml).await;
    let known = connector(&issuer, Some(certificate(&issuer, "node-1")));
    let answer = send(&server, &known, "POST /loki/api/v1/push", PUSH).await.expect("a connection");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let range = TimeRange::new(Timestamp::MIN, Timestamp::MAX);
    let tenant = TenantId::parse("team-a").expect("a valid id");
    let series = server.store().series(&tenant, &[vec![]], range).await.expect("the store answers");
    assert_eq!(series.len(), 1, "the name in the certificate decides the tenant");

    let other = connector(&issuer, Some(certificate(&issuer, "node-2")));
    let answer = send(&server, &other, "POST /loki/api/v1/push", PUSH).await.expect("a connection");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

    assert!(send(&server, &connector(&issuer, None), "GET /ready", "").await.is_err(), "no certificate");
    let stranger = authority();
    let forged = connector(&issuer, Some(certificate(&stranger, "node-1")));
    assert!(send(&server, &forged, "GET /ready", "").await.is_err(), "a certificate of somebody else");
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn optional_certificates_leave_room_for_tokens() {
    let issuer = authority();
    let yaml = "auth_enabled: false\nserver: {http_tls_config: {TLS, client_auth_type: VerifyClientCertIfGiven}}\n";
    let server = start(&issuer, yaml).await;
    let without = connector(&issuer, None);
    let answer = send(&server, &without, "GET /ready", "").await.expect("a connection");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = send(&server, &without, "GET /config", "").await.expect("a connection");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let with = connector(&issuer, Some(certificate(&issuer, "anybody")));
    let answer = send(&server, &with, "GET /config", "").await.expect("a connection");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn senders_without_credentials_are_turned_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "robot:token-1\n").expect("written");
    let yaml = format!(
        "auth_enabled: true\nloki_store: {{auth: {{bearer_tokens_file: {}, tenants: {{robot: [a]}}}}}}\n",
        tokens.display()
    );
    let server = TestServer::configured(&yaml).await;
    assert_eq!(server.ask("GET", "/ready").await.status, 200);
    let answer = server.push(PUSH).await;
    assert_eq!(answer.outcome(), (401, "authentication required\n".to_owned()));
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"loki\"");
    let json = ("content-type", "application/json");
    let push = |headers: &[(&str, &str)]| request("POST", "/loki/api/v1/push", headers, PUSH);
    let robot = ("authorization", "Bearer token-1");
    assert_eq!(server.send(push(&[json, robot])).await.status, 204);
    assert_eq!(server.send(push(&[json, robot, ("x-scope-orgid", "b")])).await.status, 403);
    assert_eq!(server.series("a").await.len(), 1);
    assert_eq!(server.series("b").await.len(), 0);
}

/// Puts text into a file at once, so that no half of it is ever seen.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

#[tokio::test]
async fn changed_users_and_tokens_are_taken_over_and_wrong_ones_are_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (tokens, users) = (folder.path().join("tokens"), folder.path().join("users"));
    let user = |password: &str| format!("alice:{}\n", bcrypt::hash(password, 4).expect("it can be hashed"));
    replace(&tokens, "robot:token-1\n");
    replace(&users, &user("first"));
    let (tokens_path, users_path) = (tokens.display(), users.display());
    let server = TestServer::configured(&format!(
        "runtime_config: {{period: 1ms}}\nloki_store: {{auth: {{bearer_tokens_file: {tokens_path}, htpasswd_file: {users_path}}}}}\n"
    ))
    .await;
    let status = async |authorization: &str| {
        server.send(request("GET", "/services", &[("authorization", authorization)], "")).await.status.as_u16()
    };
    let until = async |authorization: &str, wanted: u16| {
        while status(authorization).await != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let basic = |password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("alice:{password}")));
    assert_eq!((status("Bearer token-1").await, status(&basic("first")).await), (200, 200));
    replace(&tokens, "robot:token-22\n");
    until("Bearer token-22", 200).await;
    assert_eq!(status("Bearer token-1").await, 401, "the old token is worth nothing");
    replace(&users, &user("second"));
    until(&basic("second"), 200).await;
    assert_eq!(status(&basic("first")).await, 401, "a password that was right is not remembered");
    replace(&tokens, "this is no token\n");
    while !server.ask("GET", "/metrics").await.text().contains("loki_store_reload_failures_total{files=\"auth\"} 1\n") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(status("Bearer token-22").await, 200, "what was read before holds");
    replace(&tokens, "robot:token-333\n");
    until("Bearer token-333", 200).await;
}

#[tokio::test]
async fn changed_certificates_are_taken_over() {
    let (first, second) = (authority(), authority());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let write = |issuer: &Issuer| {
        let (certificate, secret) = certificate(issuer, "server");
        // Between the two the pair does not match, which is no reason to stop.
        replace(&cert, &certificate.pem());
        replace(&key, &secret.serialize_pem());
    };
    write(&first);
    let yaml = format!(
        "runtime_config: {{period: 1ms}}\nserver: {{http_tls_config: {{cert_file: {}, key_file: {}}}}}\n",
        cert.display(),
        key.display()
    );
    let server = Server::start(options(&yaml)).await.expect("it starts");
    let ask = async |issuer: &Issuer| send(&server, &connector(issuer, None), "GET /ready", "").await.is_ok();
    assert!(ask(&first).await && !ask(&second).await);
    write(&second);
    while !ask(&second).await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!ask(&first).await);
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn wrong_files_keep_a_server_from_starting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    std::fs::write(&path, "no pem, no hash\n").expect("written");
    let start = async |yaml: String| Server::start(options(&yaml)).await.expect_err("the file is wrong");
    let path = path.display();
    let error = start(format!("loki_store: {{auth: {{htpasswd_file: {path}}}}}\n")).await;
    assert!(matches!(error, StartError::Auth(_)), "{error}");
    let error = start(format!("server: {{http_tls_config: {{cert_file: {path}, key_file: {path}}}}}\n")).await;
    assert!(matches!(error, StartError::Tls(_)), "{error}");
}
