//! Loki's push routes.

use std::io::Write;

use crate::support::{TestServer, one_line, request};

const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn accepted_lines_can_be_read_at_once() {
    let server = TestServer::bare().await;
    let answer = server.push(one_line(&server, "hello", "world")).await;
    assert_eq!(answer.outcome(), (204, String::new()));
    assert_eq!(server.series("fake").await, [r#"{app="hello", service_name="hello"}"#]);
}

#[tokio::test]
async fn refusals_look_like_gos_http_errors() {
    let server = TestServer::bare().await;
    let answer = server.push("{}").await;
    assert_eq!(answer.outcome(), (422, "error at least one valid stream is required for ingestion\n".to_owned()));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn valid_lines_are_kept_when_others_are_refused() {
    let server = TestServer::configured("auth_enabled: false\nlimits_config: {max_line_size: 10B}\n").await;
    let now = server.app().store().config().clock.now().as_nanos();
    let long = "x".repeat(11);
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{now}","short"]]}},{{"stream":{{"app":"b"}},"values":[["{now}","{long}"]]}}]}}"#
    );
    let answer = server.push(body).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().starts_with("max entry size '10' bytes exceeded for stream '{app=\"b\""),
        "{}",
        answer.text()
    );
    assert_eq!(server.series("fake").await, [r#"{app="a", service_name="a"}"#]);
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let server = TestServer::bare().await;
    let body = gzip(one_line(&server, "zipped", "x").as_bytes());
    let headers = [JSON, ("content-encoding", "gzip")];
    let answer = server.send(request("POST", "/loki/api/v1/push", &headers, body)).await;
    assert_eq!(answer.outcome(), (204, String::new()));
    assert_eq!(server.series("fake").await.len(), 1);
}

#[tokio::test]
async fn snappy_protobuf_is_the_default() {
    let server = TestServer::bare().await;
    let now = server.app().store().config().clock.now().as_nanos() / 1_000_000_000;
    let mut time = vec![8];
    loki_core::encoding::put_varint(&mut time, now.unsigned_abs());
    let entry = [&[10, time.len() as u8][..], &time, &[18, 2], b"hi"].concat();
    let labels = br#"{app="p"}"#;
    let stream = [&[10, labels.len() as u8][..], labels, &[18, entry.len() as u8], &entry].concat();
    let body = [&[10, stream.len() as u8][..], &stream].concat();
    let body = snap::raw::Encoder::new().compress_vec(&body).expect("in memory");
    for content_type in ["application/x-protobuf", "application/x-snappy", "text/plain"] {
        let headers = [("content-type", content_type)];
        let answer = server.send(request("POST", "/loki/api/v1/push", &headers, body.clone())).await;
        assert_eq!(answer.outcome(), (204, String::new()), "{content_type}");
    }
    let answer = server.send(request("POST", "/loki/api/v1/push", &[], body)).await;
    assert_eq!(answer.outcome(), (400, "mime: no media type\n".to_owned()));
    assert_eq!(server.series("fake").await, [r#"{app="p", service_name="p"}"#]);
}

#[tokio::test]
async fn the_limit_on_bodies_counts_bytes_as_sent() {
    let server = TestServer::configured("auth_enabled: false\ndistributor: {max_recv_msg_size: 100}\n").await;
    let body = " ".repeat(101);
    let answer = server.send(request("POST", "/loki/api/v1/push", &[JSON], body.clone())).await;
    assert_eq!(answer.outcome(), (400, "compressed message size 101 exceeds limit 100\n".to_owned()));
    let headers = [("content-type", "application/x-protobuf")];
    let answer = server.send(request("POST", "/loki/api/v1/push", &headers, body)).await;
    assert_eq!(answer.outcome(), (413, "request body too large: 101 bytes, limit: 100 bytes\n".to_owned()));
    let answer = server.send(request("POST", "/loki/api/v1/push", &[JSON], " ".repeat(100))).await;
    assert_eq!(answer.outcome(), (400, "EOF\n".to_owned()));
}

#[tokio::test]
async fn bombs_are_refused() {
    let server = TestServer::configured("auth_enabled: false\ndistributor: {max_decompressed_size: 1000}\n").await;
    let headers = [JSON, ("content-encoding", "gzip")];
    let answer = server.send(request("POST", "/loki/api/v1/push", &headers, gzip(&vec![b' '; 100_000]))).await;
    assert_eq!(answer.outcome(), (400, "decompressed message size exceeds limit 1000\n".to_owned()));
}

#[tokio::test]
async fn tenants_must_be_named_when_authentication_is_on() {
    let server = TestServer::configured("auth_enabled: true\n").await;
    assert_eq!(server.push("{}").await.outcome(), (401, "no org id\n".to_owned()));
    let as_tenant = |tenant: &'static str, body: String| {
        let headers = [JSON, ("x-scope-orgid", tenant)];
        request("POST", "/loki/api/v1/push", &headers, body)
    };
    let line = one_line(&server, "a", "x");
    let answer = server.send(as_tenant("a|b", line.clone())).await;
    assert_eq!(answer.outcome(), (400, "multiple org IDs present\n".to_owned()));
    let answer = server.send(as_tenant("a/b", line.clone())).await;
    assert_eq!(answer.outcome(), (400, "tenant ID 'a/b' contains unsupported character '/'\n".to_owned()));
    assert_eq!(server.send(as_tenant("team", line)).await.status, 204);
    assert_eq!(server.series("team").await.len(), 1);
    assert_eq!(server.series("fake").await.len(), 0);
}

#[tokio::test]
async fn a_blocked_tenant_is_told_with_the_configured_status() {
    let yaml = "auth_enabled: false\nlimits_config: {block_ingestion_until: 2200-01-01T00:00:00Z, block_ingestion_status_code: 451}\n";
    let server = TestServer::configured(yaml).await;
    let answer = server.push(one_line(&server, "a", "x")).await;
    assert_eq!(answer.status, 451);
    assert!(answer.text().contains("ingestion blocked for user 'fake'"), "{}", answer.text());
}

#[tokio::test]
async fn the_first_format_has_its_own_route() {
    let server = TestServer::bare().await;
    let body = r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-01-01T00:00:00Z","line":"x"}]}]}"#;
    let answer = server.send(request("POST", "/api/prom/push", &[JSON], body)).await;
    assert_eq!(answer.outcome(), (204, String::new()));
    assert_eq!(server.series("fake").await, [r#"{a="b", service_name="unknown_service"}"#]);
}
