//! Queries over several tenants.

use crate::support::{Answer, TestServer, escaped, request, streams};

async fn stocked(multi_tenant: bool) -> TestServer {
    let yaml = format!(
        "auth_enabled: true\nquerier:\n  multi_tenant_queries_enabled: {multi_tenant}\nlimits_config:\n  \
         discover_service_name: []\n  discover_log_levels: false\n  reject_old_samples: false\n"
    );
    let server = TestServer::configured(&yaml).await;
    let json = ("content-type", "application/json");
    for (tenant, count) in [("one", 1), ("two", 2)] {
        let entries = (1..=count).map(|n| (n, format!("{tenant} {n}"))).collect::<Vec<_>>();
        let body = streams(&[(r#"{"app":"a"}"#, entries)]);
        let headers = [json, ("x-scope-orgid", tenant)];
        assert_eq!(server.send(request("POST", "/loki/api/v1/push", &headers, body)).await.status, 204);
    }
    server
}

async fn ask(server: &TestServer, tenant: &str, uri: &str) -> Answer {
    server.send(request("GET", uri, &[("x-scope-orgid", tenant)], "")).await
}

#[tokio::test]
async fn every_tenant_sees_its_own_entries() {
    let server = stocked(true).await;
    let uri = format!("/loki/api/v1/query_range?start=0&end=10&query={}", escaped(r#"{app="a"}"#));
    let json = ask(&server, "one", &uri).await.json();
    let expected = serde_json::json!([{ "stream": { "app": "a" }, "values": [["1000000000", "one 1"]] }]);
    assert_eq!(json["data"]["result"], expected);
    assert_eq!(ask(&server, "nobody", &uri).await.json()["data"]["result"], serde_json::json!([]));
    assert_eq!(server.ask("GET", &uri).await.outcome(), (401, "no org id\n".to_owned()));
}

#[tokio::test]
async fn several_tenants_are_told_apart_by_a_label() {
    let server = stocked(true).await;
    let uri = format!("/loki/api/v1/query_range?start=0&end=10&limit=2&query={}", escaped(r#"{app="a"}"#));
    let json = ask(&server, "two|one", &uri).await.json();
    let stream = |tenant: &str, value: serde_json::Value| serde_json::json!({ "stream": { "__tenant_id__": tenant, "app": "a" }, "values": [value] });
    let expected = serde_json::json!([
        stream("one", serde_json::json!(["1000000000", "one 1"])),
        stream("two", serde_json::json!(["2000000000", "two 2"])),
    ]);
    let result = &json["data"]["result"];
    assert_eq!(result[1], expected[1]);
    assert_eq!(result.as_array().map(Vec::len), Some(2));

    let query = escaped("sum by (__tenant_id__)(count_over_time({app=\"a\"}[10s]))");
    let json = ask(&server, "one|two", &format!("/loki/api/v1/query?time=5&query={query}")).await.json();
    let counts: Vec<_> = json["data"]["result"].as_array().into_iter().flatten().collect();
    assert_eq!(counts[0]["metric"]["__tenant_id__"], "one");
    assert_eq!((&counts[0]["value"][1], &counts[1]["value"][1]), (&"1".into(), &"2".into()));
}

#[tokio::test]
async fn matchers_of_the_tenant_choose_among_them() {
    let server = stocked(true).await;
    let query = escaped(r#"{app="a",__tenant_id__!="one"}"#);
    let json = ask(&server, "one|two", &format!("/loki/api/v1/query_range?start=0&end=10&query={query}")).await.json();
    let result = json["data"]["result"].as_array().cloned().unwrap_or_default();
    assert_eq!(result.len(), 1);
    assert_eq!(result[0]["stream"]["__tenant_id__"], "two");
    let names = ask(&server, "one|two", "/loki/api/v1/labels?start=0&end=10").await.json();
    assert_eq!(names["data"], serde_json::json!(["__tenant_id__", "app"]));
    let values = ask(&server, "one|two", "/loki/api/v1/label/__tenant_id__/values").await.json();
    assert_eq!(values["data"], serde_json::json!(["one", "two"]));
}

#[tokio::test]
async fn several_tenants_must_be_allowed() {
    let server = stocked(false).await;
    let answer = ask(&server, "one|two", "/loki/api/v1/labels").await;
    assert_eq!(answer.outcome(), (500, "multiple org IDs present".to_owned()));
    let bad = ask(&server, "a/b", "/loki/api/v1/query_range?query=1").await;
    let text = "rpc error: code = Code(400) desc = tenant ID 'a/b' contains unsupported character '/'";
    assert_eq!(bad.outcome(), (400, text.to_owned()));
}
