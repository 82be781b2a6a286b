//! Paths, methods, prefixes and compression.

use crate::support::{TestServer, one_line, request};

#[tokio::test]
async fn unknown_paths_are_404() {
    let server = TestServer::bare().await;
    for path in ["/nope", "/loki", "/loki/api/v1/", "/loki/api/v1/push/", "/favicon.ico"] {
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.outcome(), (404, "404 page not found\n".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_405_without_a_body() {
    let server = TestServer::bare().await;
    for (method, path) in [
        ("PUT", "/loki/api/v1/push"),
        ("GET", "/loki/api/v1/push"),
        ("POST", "/ready"),
        ("HEAD", "/ready"),
        ("OPTIONS", "/log_level"),
        ("PATCH", "/flush"),
    ] {
        assert_eq!(server.ask(method, path).await.outcome(), (405, String::new()), "{method} {path}");
    }
}

/// Every route of Loki that is here, and its methods.
const ROUTES: [(&str, &[&str]); 44] = [
    ("/loki/api/v1/push", &["POST"]),
    ("/api/prom/push", &["POST"]),
    ("/otlp/v1/logs", &["POST"]),
    ("/loki/api/v1/query_range", GET_POST),
    ("/loki/api/v1/query", GET_POST),
    ("/api/prom/query", GET_POST),
    ("/loki/api/v1/labels", GET_POST),
    ("/loki/api/v1/label", GET_POST),
    ("/api/prom/label", GET_POST),
    ("/loki/api/v1/label/a/values", GET_POST),
    ("/api/prom/label/a/values", GET_POST),
    ("/loki/api/v1/series", GET_POST),
    ("/api/prom/series", GET_POST),
    ("/loki/api/v1/index/stats", GET_POST),
    ("/loki/api/v1/index/shards", GET_POST),
    ("/loki/api/v1/index/volume", GET_POST),
    ("/loki/api/v1/index/volume_range", GET_POST),
    ("/loki/api/v1/patterns", GET_POST),
    ("/loki/api/v1/detected_labels", GET_POST),
    ("/loki/api/v1/detected_fields", GET_POST),
    ("/loki/api/v1/detected_field/a/values", GET_POST),
    ("/loki/api/v1/tail", GET_POST),
    ("/api/prom/tail", GET_POST),
    ("/loki/api/v1/format_query", GET_POST),
    ("/loki/api/v1/drilldown-limits", &["GET"]),
    ("/loki/api/v1/status/buildinfo", &["GET"]),
    ("/config/tenant/v1/limits", &["GET"]),
    ("/ready", &["GET"]),
    ("/metrics", &["GET"]),
    ("/config", &["GET"]),
    ("/services", &["GET"]),
    ("/log_level", GET_POST),
    ("/flush", GET_POST),
    ("/ingester/prepare_shutdown", &["GET", "POST", "DELETE"]),
    ("/ring", GET_POST),
    ("/distributor/ring", GET_POST),
    ("/indexgateway/ring", GET_POST),
    ("/ruler/ring", GET_POST),
    ("/compactor/ring", GET_POST),
    ("/scheduler/ring", GET_POST),
    ("/memberlist", &["GET"]),
    ("/analytics", &["GET"]),
    ("/loki/api/v1/delete", &["POST", "PUT", "GET", "DELETE"]),
    ("/loki/api/v1/cache/generation_numbers", &["GET"]),
];
const GET_POST: &[&str] = &["GET", "POST"];

#[tokio::test]
async fn routes_have_the_methods_of_loki() {
    let yaml = "auth_enabled: false\ncompactor: {retention_enabled: true}\npattern_ingester: {enabled: true}\n";
    let server = TestServer::configured(yaml).await;
    for (path, methods) in ROUTES {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"] {
            let status = server.ask(method, path).await.status.as_u16();
            assert_ne!(status, 404, "{method} {path}");
            assert_eq!(status != 405, methods.contains(&method), "{method} {path}: {status}");
        }
    }
    // Whose requests have consequences.
    for method in ["PUT", "DELETE", "PATCH", "HEAD"] {
        assert_eq!(server.ask(method, "/ingester/shutdown").await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn routes_that_loki_has_only_when_told_to_are_404() {
    let server = TestServer::configured("auth_enabled: false\n").await;
    for path in [
        "/loki/api/v1/delete",
        "/loki/api/v1/rules",
        "/loki/api/v1/rules/a/b",
        "/api/prom/rules",
        "/api/prom/rules/test/test",
        "/prometheus/api/v1/rules",
        "/prometheus/api/v1/alerts",
    ] {
        // Grafana takes this text as a sign that there are no rules to be had.
        assert_eq!(server.ask("GET", path).await.outcome(), (404, "404 page not found\n".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn unclean_paths_are_redirected() {
    let server = TestServer::bare().await;
    for (path, location) in [("//ready", "/ready"), ("/loki/api/v1/../v1/labels?x=1", "/loki/api/v1/labels?x=1")] {
        let answer = server.ask("GET", path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (301, location), "{path}");
    }
}

#[tokio::test]
async fn a_path_prefix_is_in_front_of_every_route() {
    let server = TestServer::configured("auth_enabled: false\nserver: {http_path_prefix: /base/}\n").await;
    assert_eq!(server.ask("GET", "/base/ready").await.status, 200);
    assert_eq!(server.ask("GET", "/ready").await.status, 404);
    let body = one_line(&server, "a", "x");
    let push = request("POST", "/base/loki/api/v1/push", &[("content-type", "application/json")], body);
    assert_eq!(server.send(push).await.status, 204);
}

/// A route whose answer is large.
const LARGE: &str = "/loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D";

async fn with_large_line(yaml: &str) -> TestServer {
    let server = TestServer::configured(&format!("auth_enabled: false\n{yaml}")).await;
    assert_eq!(server.push(one_line(&server, "a", &"long ".repeat(1000))).await.status, 204);
    server
}

#[tokio::test]
async fn large_answers_to_queries_are_compressed_for_those_who_ask() {
    let server = with_large_line("").await;
    let plain = server.ask("GET", LARGE).await;
    assert_eq!(plain.header("content-encoding"), "");
    let zipped = server.send(request("GET", LARGE, &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_eq!(zipped.header("vary"), "Accept-Encoding");
    let mut content = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*zipped.body), &mut content).expect("gzip");
    let streams = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON")["data"]["result"].clone();
    assert_eq!(streams(&content), streams(&plain.text()));
    let small = server.send(request("GET", "/ready", &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(small.outcome(), (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn answers_to_pushes_and_for_people_are_never_compressed() {
    let server = TestServer::bare().await;
    let gzip = ("accept-encoding", "gzip");
    // The refusal repeats the labels, which makes it larger than what is compressed elsewhere.
    let labels = format!(r#"{{"app":"{}"}}"#, "x".repeat(3000));
    let body = crate::support::streams(&[(&labels, vec![(1, "x".to_owned())])]);
    let headers = [("content-type", "application/json"), gzip];
    let refused = server.send(request("POST", "/loki/api/v1/push", &headers, body)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.len() > 3000, "{} bytes", refused.body.len());
    assert!(refused.text().contains("has label value too long"), "{}", refused.text());
    let config = server.send(request("GET", "/config", &[gzip], "")).await;
    for answer in [refused, config] {
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""));
    }
}

#[tokio::test]
async fn compression_can_be_switched_off() {
    let server = with_large_line("frontend: {compress_responses: false}\n").await;
    let answer = server.send(request("GET", LARGE, &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(answer.header("content-encoding"), "");
    assert!(answer.body.len() > 5000);
}
