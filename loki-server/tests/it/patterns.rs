//! What lines look like, over HTTP.

use std::time::Duration;

use loki_core::Timestamp;

use crate::support::{Answer, TestServer, escaped, request};

const JSON: (&str, &str) = ("content-type", "application/json");
/// The time of all servers here.
const NOW: i64 = 1_760_400_007;
const ENABLED: &str = "auth_enabled: false\npattern_ingester: {enabled: true}\n";

async fn start(yaml: &str) -> TestServer {
    TestServer::configured_at(Timestamp::from_seconds(NOW), yaml).await
}

/// Pushes so many lines, a second apart and the last one now.
async fn push(server: &TestServer, tenant: &str, app: &str, text: &str, count: i64) {
    let value =
        |i: i64| serde_json::json!([format!("{}000000000", NOW - i), format!("level=info msg=\"{text}\" took={i}ms")]);
    let values: Vec<_> = (0..count).rev().map(value).collect();
    let body = serde_json::json!({ "streams": [{ "stream": { "app": app }, "values": values }] }).to_string();
    let answer = server.send(request("POST", "/loki/api/v1/push", &[JSON, ("x-scope-orgid", tenant)], body)).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

async fn ask(server: &TestServer, tenant: &str, query: &str) -> Answer {
    let uri = format!("/loki/api/v1/patterns?start={}&end={}&step=1h&query={}", NOW - 3000, NOW + 1, escaped(query));
    server.send(request("GET", &uri, &[("x-scope-orgid", tenant)], "")).await
}

/// Pattern, level and number of lines.
fn found(answer: &Answer) -> Vec<(String, String, u64)> {
    let json = answer.json();
    assert_eq!(json["status"], "success");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let lines = |samples: &serde_json::Value| {
        let samples = samples.as_array().expect("samples");
        samples.iter().map(|sample| sample[1].as_u64().expect("a count")).sum()
    };
    let series = json["data"].as_array().expect("a list").iter();
    series.map(|series| (text(&series["pattern"]), text(&series["level"]), lines(&series["samples"]))).collect()
}

fn pattern(text: &str, lines: u64) -> (String, String, u64) {
    (format!("level=info msg=\"{text}\" took=<_>"), "info".to_owned(), lines)
}

async fn multi_tenant() -> TestServer {
    start("auth_enabled: true\nquerier: {multi_tenant_queries_enabled: true}\npattern_ingester: {enabled: true}\n")
        .await
}

#[tokio::test]
async fn recent_lines_have_patterns_before_and_after_a_flush() {
    let server = start(ENABLED).await;
    push(&server, "fake", "a", "cache is cold", 40).await;
    push(&server, "fake", "b", "user has left", 60).await;
    push(&server, "fake", "c", "seldom seen", 5).await;
    let selector = r#"{app=~"a|b|c"}"#;
    let expected = [pattern("user has left", 60), pattern("cache is cold", 40)];
    assert_eq!(found(&ask(&server, "fake", selector).await), expected);
    assert_eq!(server.ask("POST", "/flush").await.status, 204);
    assert_eq!(found(&ask(&server, "fake", selector).await), expected);
    assert_eq!(found(&ask(&server, "fake", r#"{app="a"}"#).await), [pattern("cache is cold", 40)]);
    assert_eq!(found(&ask(&server, "fake", r#"{app="none"}"#).await), []);
}

#[tokio::test]
async fn a_pattern_finds_its_lines() {
    let server = start(ENABLED).await;
    push(&server, "fake", "a", "cache is cold", 40).await;
    push(&server, "fake", "a", "all is well now", 35).await;
    for (pattern, _, lines) in found(&ask(&server, "fake", r#"{app="a"}"#).await) {
        let query = escaped(&format!("sum(count_over_time({{app=\"a\"}} |> {} [1h]))", serde_json::json!(pattern)));
        let json = server.ask("GET", &format!("/loki/api/v1/query?time={NOW}&query={query}")).await.json();
        assert_eq!(json["data"]["result"][0]["value"][1], lines.to_string(), "{pattern}");
    }
}

#[tokio::test]
async fn tenants_see_their_own_patterns_and_several_tenants_all_of_theirs() {
    let server = multi_tenant().await;
    push(&server, "one", "a", "cache is cold", 20).await;
    push(&server, "two", "a", "cache is cold", 25).await;
    push(&server, "two", "a", "user has left", 30).await;
    let selector = r#"{app="a"}"#;
    assert_eq!(found(&ask(&server, "one", selector).await), [], "too few");
    assert_eq!(found(&ask(&server, "two", selector).await), [pattern("user has left", 30)]);
    assert_eq!(found(&ask(&server, "stranger", selector).await), []);
    let both = [pattern("cache is cold", 45), pattern("user has left", 30)];
    assert_eq!(found(&ask(&server, "one|two", selector).await), both);
    let one = r#"{app="a",__tenant_id__!="one"}"#;
    assert_eq!(found(&ask(&server, "one|two", one).await), [pattern("user has left", 30)]);
}

#[tokio::test]
async fn samples_are_of_steps() {
    let server = start(ENABLED).await;
    push(&server, "fake", "a", "cache is cold", 40).await;
    let uri = format!("/loki/api/v1/patterns?start={}&end={}&query={}", NOW - 100, NOW + 1, escaped(r#"{app="a"}"#));
    let data = server.ask("GET", &uri).await.json()["data"].clone();
    let at = NOW - 7;
    assert_eq!(
        data[0]["samples"],
        serde_json::json!([[at - 40, 2], [at - 30, 10], [at - 20, 10], [at - 10, 10], [at, 8]])
    );
    let data = server.ask("POST", &format!("{uri}&step=20s")).await.json()["data"].clone();
    assert_eq!(data[0]["samples"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn patterns_take_of_the_memory_of_queries() {
    let server = start(&format!("{ENABLED}loki_store: {{query_memory_bytes: 200KB}}\n")).await;
    // As many patterns as lines, for what is between their words differs. The first line of a stream is looked at.
    for i in 0..80 {
        let text = format!("{}{}", "!".repeat(i), "x".repeat(2500));
        push(&server, "fake", &format!("large{i}"), &text, 1).await;
    }
    push(&server, "fake", "small", "cache is cold", 40).await;
    let refused = ask(&server, "fake", r#"{app=~"large.+"}"#).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().starts_with("memory limit of 102400 bytes per query reached"), "{}", refused.text());
    assert_eq!(found(&ask(&server, "fake", r#"{app="small"}"#).await), [pattern("cache is cold", 40)]);
}

#[tokio::test]
async fn a_server_without_configuration_has_patterns() {
    let server = TestServer::bare().await;
    let query = escaped(r#"{app="a"}"#);
    let answer = server.ask("GET", &format!("/loki/api/v1/patterns?query={query}")).await;
    assert_eq!(answer.outcome(), (200, "{\"status\":\"success\",\"data\":[]}\n".to_owned()));
}

#[tokio::test]
async fn without_the_feature_there_is_nothing() {
    let server = start("auth_enabled: false\n").await;
    push(&server, "fake", "a", "cache is cold", 40).await;
    assert_eq!(ask(&server, "fake", r#"{app="a"}"#).await.outcome(), (404, String::new()));
}

#[tokio::test]
async fn patterns_are_mined_as_configured() {
    let yaml = "auth_enabled: false\npattern_ingester: {enabled: true, retain_for: 20s, max_allowed_line_length: 10, pattern_sample_interval: 30s}\n";
    let server = start(yaml).await;
    let options = server.app().store().config().patterns;
    assert_eq!((options.retain_for, options.max_line_bytes), (Duration::from_secs(20), 10));
    push(&server, "fake", "a", "cache is cold", 70).await;
    assert_eq!(found(&ask(&server, "fake", r#"{app="a"}"#).await), [], "fewer than thirty are recent");
}
