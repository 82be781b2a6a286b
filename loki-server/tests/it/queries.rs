//! Queries over HTTP: parameters, shapes and limits.

use crate::log::Log;
use crate::support::{Answer, TestServer, escaped, request, streams};

/// Streams `{app="a"}` and `{app="b"}` with an entry at each of the seconds 1, 2 and 3.
async fn stocked(yaml: &str) -> TestServer {
    let limits = "  discover_service_name: []\n  discover_log_levels: false\n  reject_old_samples: false\n";
    let server = TestServer::configured(&format!("auth_enabled: false\nlimits_config:\n{limits}{yaml}")).await;
    let entries = |app: &str| (1..=3).map(|n| (n, format!("n={n} app={app}"))).collect::<Vec<_>>();
    let body = streams(&[(r#"{"app":"a"}"#, entries("a")), (r#"{"app":"b"}"#, entries("b"))]);
    assert_eq!(server.push(body).await.status, 204);
    server
}

async fn range(server: &TestServer, query: &str, rest: &str) -> Answer {
    server.ask("GET", &format!("/loki/api/v1/query_range?start=0&end=10&query={}{rest}", escaped(query))).await
}

#[tokio::test]
async fn log_queries_answer_with_streams() {
    let server = stocked("").await;
    let answer = range(&server, r#"{app="a"} | logfmt"#, "&limit=1").await;
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    let json = answer.json();
    assert_eq!(json["data"]["resultType"], "streams");
    let expected = serde_json::json!([{
        "stream": { "app": "a", "app_extracted": "a", "n": "3" },
        "values": [["3000000000", "n=3 app=a"]],
    }]);
    assert_eq!(json["data"]["result"], expected);
    assert_eq!(json["data"]["stats"]["summary"]["totalEntriesReturned"], 1);
}

#[tokio::test]
async fn forms_count_before_the_url() {
    let server = stocked("").await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("query={}&direction=forward", escaped(r#"{app="b"}"#));
    let uri = format!("/loki/api/v1/query_range?start=0&end=10&limit=1&query={}", escaped(r#"{app="a"}"#));
    let json = server.send(request("POST", &uri, &form, body)).await.json();
    assert_eq!(json["data"]["result"][0]["values"][0], serde_json::json!(["1000000000", "n=1 app=b"]));
}

#[tokio::test]
async fn samples_are_points_of_seconds_and_text() {
    let server = stocked("").await;
    let query = escaped(r#"sum(count_over_time({app="a"}[2s]))"#);
    let json = server.ask("GET", &format!("/loki/api/v1/query?time=3.5&query={query}")).await.json();
    let expected = serde_json::json!({ "metric": {}, "value": [3.5, "2"] });
    assert_eq!(json["data"]["result"][0], expected);
    let matrix = range(&server, r#"sum(count_over_time({app="a"}[2s]))"#, "&step=5").await.json();
    assert_eq!(matrix["data"]["resultType"], "matrix");
}

#[tokio::test]
async fn parameters_are_checked_before_the_query() {
    let server = stocked("").await;
    let cases = [
        ("&direction=up", "invalid direction 'up'"),
        ("&limit=0", "limit must be a positive value"),
        ("&limit=x", "strconv.Atoi: parsing \"x\": invalid syntax"),
        ("&step=1ms&end=1000", "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"),
        ("&step=0", "zero or negative query resolution step widths are not accepted. Try a positive integer"),
    ];
    for (parameter, text) in cases {
        assert_eq!(range(&server, "nope", parameter).await.outcome(), (400, text.to_owned()), "{parameter}");
    }
    let parquet = [("accept", "application/vnd.apache.parquet")];
    let answer = server.send(request("GET", "/loki/api/v1/query?query=1", &parquet, "")).await;
    assert!(answer.text().starts_with("support for Parquet encoded responses is disabled"), "{}", answer.text());
}

#[tokio::test]
async fn too_many_series_are_an_error_except_for_drilldown() {
    let server = stocked("  max_query_series: 1\n").await;
    let uri = format!("/loki/api/v1/query?time=4&query={}", escaped(r#"count_over_time({app=~".+"}[5s])"#));
    let refused = server.ask("GET", &uri).await;
    assert!(refused.text().starts_with("maximum number of series (1) reached for a single query;"));
    let tags = [("x-query-tags", "Source=grafana-lokiexplore-app")];
    let json = server.send(request("GET", &uri, &tags, "")).await.json();
    assert_eq!(json["data"]["result"].as_array().map(Vec::len), Some(1));
    let warning = "maximum number of series (1) reached for a single query; returning partial results";
    assert_eq!(json["warnings"], serde_json::json!([warning]));
}

#[tokio::test]
async fn a_query_beyond_its_share_of_memory_says_so_and_the_next_one_runs() {
    let yaml = "auth_enabled: false\nloki_store: {memory: {max_bytes: 8MB}}\n\
                limits_config: {reject_old_samples: false, max_query_series: 1000000}\n";
    let server = TestServer::configured(yaml).await;
    for push in 0..10_i64 {
        let entries = (0..1000).map(|n| (1 + push, format!("id=request-{push}-{n}"))).collect::<Vec<_>>();
        assert_eq!(server.push(streams(&[(r#"{"app":"a"}"#, entries)])).await.status, 204);
    }
    let by_id = |lines: &str| {
        let query = format!(r#"topk(1, sum by (id) (count_over_time({{app="a"}} {lines} | logfmt [1m])))"#);
        format!("/loki/api/v1/query?time=60&query={}", escaped(&query))
    };
    // Half of what all queries may take, which is 35 % of 8 MB.
    let text = "memory limit of 1468006 bytes per query reached; narrow the time range, select fewer streams, or \
                aggregate by fewer labels";
    assert_eq!(server.ask("GET", &by_id("")).await.outcome(), (400, text.to_owned()));
    let json = server.ask("GET", &by_id(r#"|= "request-3-""#)).await.json();
    assert_eq!(json["data"]["result"][0]["value"], serde_json::json!([60, "1"]));
}

#[tokio::test]
async fn operators_decide_which_queries_run() {
    let server = stocked(
        "  required_labels: [app]\n  max_query_length: 1h\n  max_entries_limit_per_query: 5\n  \
         blocked_queries:\n    - pattern: '.*secret.*'\n      regex: true\n",
    )
    .await;
    let cases = [
        (r#"{app="a"} |= "secret""#, "", "query blocked by policy"),
        (
            r#"{env="a"}"#,
            "&limit=5",
            "stream selector is missing required matchers [app], labels present in the query were [env]",
        ),
        (
            r#"{app="a"}"#,
            "&limit=6",
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (6 > 5)",
        ),
    ];
    for (query, rest, text) in cases {
        assert_eq!(range(&server, query, rest).await.outcome(), (400, text.to_owned()), "{query}");
    }
    let long = server.ask("GET", "/loki/api/v1/labels?start=0&end=7200").await;
    let text = "the query time range exceeds the limit (query length: 2h0m0s, limit: 1h)";
    assert_eq!(long.outcome(), (400, text.to_owned()));
    let off = stocked("  max_query_parallelism: 0\n").await;
    let text = "querying is disabled, please contact your Loki operator";
    assert_eq!(range(&off, r#"{app="a"}"#, "").await.outcome(), (429, text.to_owned()));
}

#[tokio::test]
async fn queries_that_would_read_too_much_are_refused() {
    let server = stocked("  max_query_bytes_read: 5B\n").await;
    let text = "the query would read too many bytes (query: 27 B, limit: 5 B); consider adding more specific stream \
                selectors or reduce the time range of the query";
    assert_eq!(range(&server, r#"{app="a"}"#, "").await.outcome(), (400, text.to_owned()));
    assert_eq!(range(&server, r#"{app="none"}"#, "").await.status, 200);
}

#[tokio::test]
async fn data_beyond_the_lookback_is_not_there() {
    let server = stocked("  max_query_lookback: 1h\n").await;
    let json = range(&server, r#"{app="a"}"#, "").await.json();
    assert_eq!(json["data"]["result"], serde_json::json!([]));
    let text = "this data is no longer available, it is past now - max_query_lookback (1h)";
    let series = server.ask("GET", "/loki/api/v1/series?start=0&end=10").await;
    assert_eq!(series.outcome(), (400, text.to_owned()));
}

#[tokio::test]
async fn requests_bring_stricter_limits_where_they_may() {
    let limits = r#"{"maxEntriesLimitPerQuery":5,"maxQueryBytesRead":"5B","requiredLabels":["env"]}"#;
    let context = r#"{"expr":"{app=~\".+\"}","from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:00:10Z"}"#;
    let ask = async |server: &TestServer, query: &str, rest: &str, headers: &[(&str, &str)]| {
        let uri = format!("/loki/api/v1/query_range?start=0&end=10&query={}{rest}", escaped(query));
        server.send(request("GET", &uri, headers, "")).await.outcome()
    };
    let ignoring = stocked("").await;
    let brought = [("x-loki-query-limits", limits)];
    assert_eq!(ask(&ignoring, r#"{app="a"}"#, "", &brought).await.0, 200, "they are not looked at by default");
    let server = stocked("  max_entries_limit_per_query: 1000\nquerier: {per_request_limits_enabled: true}\n").await;
    assert_eq!(ask(&server, r#"{app="a"}"#, "", &[]).await.0, 200);
    let too_many = "max entries limit per query exceeded, limit > max_entries_limit_per_query (6 > 5)".to_owned();
    assert_eq!(ask(&server, r#"{app="none",env="x"}"#, "&limit=6", &brought).await, (400, too_many));
    let missing = "stream selector is missing required matchers [env], labels present in the query were [app]";
    assert_eq!(ask(&server, r#"{app="none"}"#, "&limit=5", &brought).await, (400, missing.to_owned()));
    let (status, text) = ask(&server, r#"{app="a"}"#, "&limit=5", &brought).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("the query would read too many bytes (query: 27 B, limit: 5 B)"), "{text}");
    let part = [brought[0], ("x-loki-query-limits-context", context)];
    let (_, text) = ask(&server, r#"{app="none",env="x"}"#, "&limit=5", &part).await;
    assert!(text.starts_with("the query would read too many bytes (query: 54 B, limit: 5 B)"), "{text}");
    let looser = [("x-loki-query-limits", r#"{"maxEntriesLimitPerQuery":2000}"#)];
    let (status, text) = ask(&server, r#"{app="a"}"#, "&limit=1001", &looser).await;
    assert_eq!((status, text.ends_with("(1001 > 1000)")), (400, true), "{text}");
    let (status, text) = ask(&server, r#"{app="a"}"#, "", &[("x-loki-query-limits", "{")]).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("header x-loki-query-limits: "), "{text}");
}

#[tokio::test]
async fn a_range_can_end_with_the_step_before_its_end() {
    let times = async |yaml: &str| {
        let server = stocked(yaml).await;
        let query = escaped("vector(1)");
        let uri = format!("/loki/api/v1/query_range?start=7&end=21&step=5&query={query}");
        let json = server.ask("GET", &uri).await.json();
        let points = json["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|point| point[0].as_i64()).collect::<Vec<_>>()
    };
    assert_eq!(times("").await, [5, 10, 15, 20, 25]);
    assert_eq!(times("query_range: {align_queries_with_step: true}\n").await, [5, 10, 15, 20]);
}

#[tokio::test]
async fn slow_queries_are_logged_with_what_they_cost() {
    let log = Log::begin();
    let quiet = stocked("").await;
    assert_eq!(range(&quiet, r#"{app="a"}"#, "").await.status, 200);
    assert!(log.of_level("INFO").iter().all(|line| !line.contains("slow query")), "none are logged by default");
    // Negative: all of them.
    let server = stocked("frontend: {log_queries_longer_than: -1s}\n").await;
    let uri = format!("/loki/api/v1/query_range?start=0&end=10&limit=7&query={}", escaped(r#"{app="a"} |= "n=2""#));
    let tags = [("x-query-tags", "Source=test,Feature=beta")];
    assert_eq!(server.send(request("GET", &uri, &tags, "")).await.status, 200);
    let lines = log.of_level("INFO");
    let line = lines.iter().find(|line| line.contains("slow query")).expect("it is logged");
    for field in [
        " component=frontend",
        " org_id=fake",
        " latency=fast",
        r#" query={app="a"} |= "n=2" "#,
        " query_type=filter",
        " range_type=range",
        " length=10s",
        " status=200",
        " limit=7",
        " returned_lines=1",
        " total_bytes=27",
        " total_lines=3",
        " post_filter_lines=1",
        " query_tags=Source=test,Feature=beta",
    ] {
        assert!(line.contains(field), "{field} is missing in {line}");
    }
    let wrong =
        server.ask("GET", "/loki/api/v1/query_range?start=0&end=10&limit=100000&query=%7Bapp%3D%22a%22%7D").await;
    assert_eq!(wrong.status, 400);
    assert!(log.of_level("INFO").iter().any(|line| line.contains(" status=400")));
}

#[tokio::test]
async fn legacy_answers_have_labels_as_text() {
    let server = stocked("").await;
    let uri = format!("/api/prom/query?start=0&end=10&regexp=n%3D2&query={}", escaped(r#"{app="a"}"#));
    let json = server.ask("GET", &uri).await.json();
    let entry = serde_json::json!({ "ts": "1970-01-01T00:00:02Z", "line": "n=2 app=a" });
    assert_eq!(json["streams"], serde_json::json!([{ "labels": "{app=\"a\"}", "entries": [entry] }]));
    let metric = server.ask("GET", "/api/prom/query?query=1").await;
    let text = "rpc error: code = Code(400) desc = legacy endpoints only support streams result type";
    assert_eq!(metric.outcome(), (400, text.to_owned()));
}

#[tokio::test]
async fn metadata_routes_know_labels_and_sizes() {
    let server = stocked("").await;
    let text = |uri: &'static str| async { server.ask("GET", uri).await.text() };
    assert_eq!(text("/loki/api/v1/labels?start=0&end=10").await, "{\"status\":\"success\",\"data\":[\"app\"]}\n");
    assert_eq!(
        text("/loki/api/v1/label/app/values?start=0&end=10").await,
        "{\"status\":\"success\",\"data\":[\"a\",\"b\"]}\n"
    );
    assert_eq!(text("/loki/api/v1/label/none/values?start=0&end=10").await, "{\"status\":\"success\"}\n");
    assert_eq!(
        text("/loki/api/v1/series?start=0&end=10&match[]=%7Bapp%3D%22a%22%7D").await,
        "{\"status\":\"success\",\"data\":[{\"app\":\"a\"}]}\n"
    );
    assert_eq!(
        text("/loki/api/v1/index/stats?start=0&end=10&query=%7Bapp%3D%22a%22%7D").await,
        "{\"streams\":1,\"chunks\":1,\"bytes\":27,\"entries\":3}\n"
    );
    assert_eq!(
        text("/loki/api/v1/detected_labels?start=0&end=10").await,
        "{\"detectedLabels\":[{\"label\":\"app\",\"cardinality\":2}]}\n"
    );
    let volume = server.ask("GET", "/loki/api/v1/index/volume?start=0&end=10&query=%7Bapp%3D~%22.%2B%22%7D").await;
    let expected = serde_json::json!({ "metric": { "app": "a" }, "value": [10, "27"] });
    assert_eq!(volume.json()["data"]["result"][0], expected);
}

#[tokio::test]
async fn fields_of_lines_are_detected() {
    let server = stocked("").await;
    let uri = "/loki/api/v1/detected_fields?start=0&end=10&query=%7Bapp%3D%22a%22%7D";
    let fields = serde_json::json!([
        { "label": "app_extracted", "type": "string", "cardinality": 1, "parsers": ["logfmt"] },
        { "label": "n", "type": "int", "cardinality": 3, "parsers": ["logfmt"] },
    ]);
    assert_eq!(server.ask("GET", uri).await.json(), serde_json::json!({ "fields": fields, "limit": 1000 }));
    let uri = "/loki/api/v1/detected_field/n/values?start=0&end=10&limit=2&query=%7Bapp%3D%22a%22%7D";
    assert_eq!(server.ask("GET", uri).await.text(), "{\"values\":[\"1\",\"2\"],\"limit\":2}\n");
}

#[tokio::test]
async fn what_is_switched_off_is_not_found() {
    let server = stocked("  volume_enabled: false\npattern_ingester:\n  enabled: false\n").await;
    let volume = server.ask("GET", "/loki/api/v1/index/volume?query=%7Bapp%3D%22a%22%7D").await;
    assert_eq!(volume.outcome(), (404, "not found".to_owned()));
    let patterns = server.ask("GET", "/loki/api/v1/patterns?query=%7Bapp%3D%22a%22%7D").await;
    assert_eq!(patterns.outcome(), (404, String::new()));
}

#[tokio::test]
async fn queries_are_formatted_without_a_tenant() {
    let server = TestServer::configured("auth_enabled: true\n").await;
    let answer = server.ask("GET", "/loki/api/v1/format_query?query=1%2B2").await;
    assert_eq!(answer.text(), "{\"status\":\"success\",\"data\":\"3\"}\n");
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    let wrong = server.ask("GET", "/loki/api/v1/format_query?query=%7B").await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["status"]), (400, &serde_json::json!("invalid-query")));
}
