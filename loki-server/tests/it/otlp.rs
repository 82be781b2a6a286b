//! OpenTelemetry's logs.

use crate::support::{TestServer, request};

const JSON: (&str, &str) = ("content-type", "application/json");
const RECORD: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},
    "scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}"#;

#[tokio::test]
async fn records_are_stored() {
    let server = TestServer::bare().await;
    let answer = server.send(request("POST", "/otlp/v1/logs", &[JSON], RECORD)).await;
    assert_eq!(answer.outcome(), (204, String::new()));
    assert_eq!(server.series("fake").await, [r#"{service_name="api"}"#]);
}

#[tokio::test]
async fn errors_are_status_messages_whatever_the_request_was() {
    let server = TestServer::bare().await;
    let text = "error at least one valid stream is required for ingestion";
    let answer = server.send(request("POST", "/otlp/v1/logs", &[JSON], "{}")).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.body, [&[18, text.len() as u8][..], text.as_bytes()].concat());
}

#[tokio::test]
async fn headers_are_taken_literally() {
    let server = TestServer::bare().await;
    let problem = async |headers: &[(&str, &str)]| {
        let answer = server.send(request("POST", "/otlp/v1/logs", headers, RECORD)).await;
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body[2..]).into_owned())
    };
    assert_eq!(
        problem(&[("content-type", "application/json; charset=utf-8")]).await,
        (400, "content type: application/json; charset=utf-8 is not supported".to_owned())
    );
    assert_eq!(
        problem(&[JSON, ("content-encoding", "br")]).await,
        (400, "unsupported content encoding br: only gzip, lz4 and zstd are supported".to_owned())
    );
}

#[tokio::test]
async fn a_failure_here_is_worth_repeating() {
    let server = TestServer::configured("auth_enabled: false\nschema_config: {configs: [{from: 2024-01-01}]}\n").await;
    let old = RECORD.replace(r#"{"body""#, r#"{"timeUnixNano":"1000","body""#);
    let answer = server.send(request("POST", "/otlp/v1/logs", &[JSON], old)).await;
    assert_eq!(answer.status, 503, "what Loki calls 500 is not repeated by collectors");
}

#[tokio::test]
async fn the_tenant_is_asked_for_as_text() {
    let server = TestServer::configured("auth_enabled: true\n").await;
    let answer = server.send(request("POST", "/otlp/v1/logs", &[JSON], RECORD)).await;
    assert_eq!(answer.outcome(), (401, "no org id\n".to_owned()));
}
