//! Status routes.

use loki_server::Phase;

use crate::support::{TestServer, one_line, request};

#[tokio::test]
async fn readiness_ends_when_stopping_begins() {
    let server = TestServer::bare().await;
    let answer = server.ask("GET", "/ready").await;
    assert_eq!(answer.outcome(), (200, "ready\n".to_owned()));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    server.app().advance(Phase::Stopping);
    assert_eq!(server.ask("GET", "/ready").await.outcome(), (503, "Application is stopping\n".to_owned()));
}

#[tokio::test]
async fn metrics_count_requests_and_lines() {
    let server = TestServer::bare().await;
    server.push(one_line(&server, "a", "12345")).await;
    server.push("{}").await;
    server.ask("GET", "/nope").await;
    let answer = server.ask("GET", "/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    for line in [
        r#"loki_request_duration_seconds_count{method="POST",route="loki_api_v1_push",status_code="204",ws="false"} 1"#,
        r#"loki_request_duration_seconds_count{method="POST",route="loki_api_v1_push",status_code="422",ws="false"} 1"#,
        r#"loki_request_duration_seconds_count{method="GET",route="other",status_code="404",ws="false"} 1"#,
        r#"loki_distributor_bytes_received_total{tenant="fake",retention_hours="0",is_internal_stream="false",policy="",format="loki"} 5"#,
        r#"loki_distributor_lines_received_total{tenant="fake",is_internal_stream="false",policy="",format="loki"} 1"#,
        "loki_panic_total 0",
        r#"loki_inflight_requests{method="GET",route="metrics"} 1"#,
    ] {
        assert!(text.lines().any(|candidate| candidate == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("loki_build_info{"));
    assert!(text.contains("process_cpu_seconds_total"));
}

#[tokio::test]
async fn the_namespace_of_metrics_can_be_changed() {
    let server = TestServer::configured("metrics_namespace: cortex\n").await;
    let text = server.ask("GET", "/metrics").await.text();
    assert!(text.contains("\ncortex_panic_total 0\n"));
    assert!(!text.contains("loki_panic_total"));
}

#[tokio::test]
async fn the_configuration_is_shown_without_secrets() {
    let server =
        TestServer::configured("auth_enabled: false\nruler: {alertmanager_client: {basic_auth_password: hush}}\n")
            .await;
    let diff = server.ask("GET", "/config?mode=diff").await.text();
    assert!(diff.starts_with("auth_enabled: false\n"), "{diff}");
    assert!(diff.contains("basic_auth_password: \"********\""));
    let all = server.ask("GET", "/config").await.text();
    assert!(all.contains("http_listen_port: 3100"));
    assert!(!all.contains("hush"));
    assert!(server.ask("GET", "/config?mode=defaults").await.text().contains("auth_enabled: true"));
}

#[tokio::test]
async fn limits_of_a_tenant_are_shown() {
    let server = TestServer::configured("auth_enabled: true\nlimits_config: {max_query_series: 7}\n").await;
    assert_eq!(server.ask("GET", "/config/tenant/v1/limits").await.outcome(), (401, "no org id\n".to_owned()));
    let as_tenant = [("x-scope-orgid", "a")];
    let yaml = server.send(request("GET", "/config/tenant/v1/limits", &as_tenant, "")).await.text();
    assert!(yaml.contains("\nmax_query_series: 7\n"), "{yaml}");
    let json = server.send(request("GET", "/loki/api/v1/drilldown-limits", &as_tenant, "")).await.json();
    assert_eq!(json["limits"]["max_query_series"], 7);
    assert_eq!(json["limits"]["retention_period"], "0s");
    assert_eq!(json["limits"].as_object().map(serde_json::Map::len), Some(18));
    assert_eq!(json["pattern_ingester_enabled"], false);
}

#[tokio::test]
async fn the_log_level_names_itself() {
    let server = TestServer::bare().await;
    assert_eq!(server.ask("GET", "/log_level").await.json()["message"], "Current log level is info");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let set = server.send(request("POST", "/log_level", &form, "log_level=debug")).await;
    assert_eq!(set.json(), serde_json::json!({ "status": "success", "message": "Log level set to debug" }));
    assert_eq!(server.ask("GET", "/log_level").await.json()["message"], "Current log level is debug");
    let bad = server.ask("POST", "/log_level?log_level=loud").await;
    assert_eq!((bad.status.as_u16(), bad.json()["status"].as_str()), (400, Some("failed")));
}

#[tokio::test]
async fn flushing_answers_when_it_is_done() {
    let server = TestServer::bare().await;
    server.push(one_line(&server, "a", "x")).await;
    assert_eq!(server.ask("POST", "/flush").await.outcome(), (204, String::new()));
    assert_eq!(server.app().store().segment_count(), 1);
    assert_eq!(server.series("fake").await.len(), 1);
}

#[tokio::test]
async fn a_shutdown_can_be_prepared_and_taken_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let yaml = format!("ingester: {{shutdown_marker_path: {}}}\n", folder.path().display());
    let server = TestServer::configured(&yaml).await;
    let marker = folder.path().join("shutdown-requested.txt");
    let path = "/ingester/prepare_shutdown";
    assert_eq!(server.ask("GET", path).await.text(), "unset\n");
    assert_eq!(server.ask("POST", path).await.status, 204);
    assert_eq!(server.ask("GET", path).await.text(), "set\n");
    assert!(marker.exists());
    assert_eq!(server.ask("DELETE", path).await.status, 204);
    assert_eq!(server.ask("DELETE", path).await.status, 204);
    assert!(!marker.exists());
    let without_marker = TestServer::bare().await;
    assert_eq!(without_marker.ask("POST", path).await.status, 500);
}

#[tokio::test]
async fn pages_for_people_exist() {
    let server = TestServer::bare().await;
    for path in ["/ring", "/distributor/ring", "/pattern/ring", "/memberlist"] {
        let answer = server.ask("GET", path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, "text/html; charset=utf-8"),
            "{path}"
        );
    }
    assert!(server.ask("GET", "/services").await.text().contains("querier => Running\n"));
    assert_eq!(server.ask("GET", "/loki/api/v1/status/buildinfo").await.json()["version"], "3.7.6");
}

#[tokio::test]
async fn the_inside_of_the_process_is_shown_on_request_alone() {
    assert_eq!(TestServer::bare().await.ask("GET", "/debug/pprof").await.status, 404);
    let server = TestServer::configured("loki_store: {debug_routes: true}\n").await;
    let answer = server.ask("GET", "/debug/pprof").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    let text = answer.text();
    for part in ["memory\n", "  entries awaiting flush", "runtime\n", "  tasks  ", "threads  "] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[tokio::test]
async fn caches_of_frontends_are_told_that_they_hold() {
    let path = "/loki/api/v1/cache/generation_numbers";
    let server = TestServer::configured("compactor: {retention_enabled: true}\n").await;
    assert_eq!(server.ask("GET", path).await.outcome(), (401, "no org id\n".to_owned()));
    let answer = server.send(request("GET", path, &[("x-scope-orgid", "a")], "")).await;
    assert_eq!((answer.outcome(), answer.header("content-type")), ((200, "\"\"".to_owned()), "application/json"));
}
