//! Data in a bucket, as Loki's keys ask for it.

#[path = "../../../loki-store/tests/s3/server.rs"]
#[allow(dead_code, reason = "the tests of the store use the rest of it")]
mod s3;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use loki_server::{Config, Server, ServerOptions};
use s3::S3Server;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::lifecycle::{PUSH, send};
use crate::security::{Issuer, authority, certificate};

const QUERY: &str = "/loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D&start=1699999999&end=1700000001";

fn options(endpoint: &str, more: &str, folder: &Path) -> ServerOptions {
    let yaml = format!(
        "
auth_enabled: false
server: {{http_listen_address: 127.0.0.1}}
common:
  path_prefix: {}
  storage:
    s3:
      endpoint: {endpoint}
      bucketnames: logs
      access_key_id: access
      secret_access_key: secret
      s3forcepathstyle: true
{more}
schema_config:
  configs: [{{from: 2023-01-01, store: tsdb, object_store: s3, schema: v13}}]
limits_config: {{reject_old_samples: false}}
",
        folder.display()
    );
    let mut config = Config::from_yaml(&yaml).unwrap_or_else(|error| panic!("{error}"));
    config.http.port = 0;
    ServerOptions::new(config)
}

/// Listens with TLS and passes on what is said to the bucket.
async fn tls_in_front_of(bucket: &S3Server, issuer: &Issuer) -> SocketAddr {
    let (chain, key) = certificate(issuer, "bucket");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![chain.der().clone()], key).expect("a pair");
    let target = bucket.endpoint().replace("http://", "");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(target).await?;
                let mut outer = acceptor.accept(stream).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_of_buckets_are_checked() {
    let bucket = S3Server::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let issuer = authority();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, issuer.pem()).expect("written");
    let endpoint = format!("https://localhost:{}", tls_in_front_of(&bucket, &issuer).await.port());
    let retries = "      backoff_config: {min_period: 1ms, max_retries: 1}";

    let error = Server::start(options(&endpoint, retries, folder.path())).await.expect_err("an unknown issuer");
    let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    assert!(causes.iter().any(|cause| cause.contains("UnknownIssuer")), "{causes:?}");

    for trust in [format!("ca_file: {}", ca.display()), "insecure_skip_verify: true".to_owned()] {
        let more = format!("{retries}\n      http_config: {{{trust}}}");
        let server = Server::start(options(&endpoint, &more, folder.path())).await.expect("it starts");
        server.shutdown().await.expect("it stops");
    }
}

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart_in_an_empty_folder() {
    let bucket = S3Server::start().await;
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let server = Server::start(options(&bucket.endpoint(), "", first.path())).await.expect("it starts");
    let answer = send(&server, "POST", "/loki/api/v1/push", PUSH).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    server.shutdown().await.expect("it stops");

    let server = Server::start(options(&bucket.endpoint(), "", second.path())).await.expect("it starts elsewhere");
    let answer = send(&server, "GET", QUERY, "").await;
    assert!(answer.contains(r#"["1700000000000000000","x"]"#), "{answer}");
    let metrics = send(&server, "GET", "/metrics", "").await;
    for sample in [
        r#"loki_objstore_bucket_operations_total{bucket="logs",operation="iter"} "#,
        r#"loki_s3_request_duration_seconds_count{operation="S3.GetObject",status_code="200"} "#,
    ] {
        assert!(metrics.contains(sample), "{sample} is missing in\n{metrics}");
    }
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_named() {
    let bucket = S3Server::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let text = |error: &dyn std::error::Error| error.to_string();
    bucket.ignore_conditions();
    let error = Server::start(options(&bucket.endpoint(), "", folder.path())).await.expect_err("the bucket is too old");
    assert_eq!(text(&error), "cannot open the store in AmazonS3(logs)/loki-store");
    let cause = std::error::Error::source(&error).expect("a cause");
    assert_eq!(text(cause), "object store does not know put-if-absent");
}
