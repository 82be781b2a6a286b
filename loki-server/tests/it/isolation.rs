//! No route shows one tenant what belongs to another.

use std::collections::BTreeSet;

use loki_server::route_paths;

use crate::support::{Answer, TestServer, escaped, request};
use crate::websocket::Socket;

const OWNER: &str = "owner";
const STRANGER: &str = "stranger";
/// Part of everything that the owner has, and of no request.
const SECRET: &str = "xyzzy";
/// The routes that show something of a tenant's own entries or requests. A new one belongs in this list.
const TELLING: [&str; 20] = [
    "/api/prom/label",
    "/api/prom/label/{name}/values",
    "/api/prom/query",
    "/api/prom/series",
    "/loki/api/v1/delete",
    "/loki/api/v1/detected_field/{name}/values",
    "/loki/api/v1/detected_fields",
    "/loki/api/v1/detected_labels",
    "/loki/api/v1/index/shards",
    "/loki/api/v1/index/stats",
    "/loki/api/v1/index/volume",
    "/loki/api/v1/index/volume_range",
    "/loki/api/v1/label",
    "/loki/api/v1/label/{name}/values",
    "/loki/api/v1/labels",
    "/loki/api/v1/patterns",
    "/loki/api/v1/query",
    "/loki/api/v1/query_range",
    "/loki/api/v1/series",
    // Names tenants with numbers about them, to operators.
    "/metrics",
];
/// These turn requests into websockets, and are asked over one.
const TAILS: [&str; 2] = ["/loki/api/v1/tail", "/api/prom/tail"];

/// A server with everything switched on, and entries, patterns and a delete request of the owner.
async fn stocked() -> TestServer {
    let yaml = "auth_enabled: true\nquerier: {multi_tenant_queries_enabled: true}\n\
        compactor: {retention_enabled: true}\npattern_ingester: {enabled: true}\n";
    let server = TestServer::configured(yaml).await;
    let now = server.app().store().config().clock.now().as_nanos();
    let value = |i: i64| {
        let line = format!(r#"{{"xyzzy_field":"xyzzy_value_{i}","took":{i}}}"#);
        serde_json::json!([(now - i).to_string(), line, { "xyzzy_metadata": "xyzzy" }])
    };
    let stream = serde_json::json!({ "app": "xyzzy_app", "zone": "xyzzy_value", "xyzzy_label": "a" });
    let values: Vec<_> = (1..=40).map(value).collect();
    let body = serde_json::json!({ "streams": [{ "stream": stream, "values": values }] }).to_string();
    let headers = [("content-type", "application/json"), ("x-scope-orgid", OWNER)];
    let answer = server.send(request("POST", "/loki/api/v1/push", &headers, body)).await;
    assert_eq!(answer.outcome(), (204, String::new()));
    // Patterns are found when entries are flushed.
    assert_eq!(server.ask("POST", "/flush").await.status, 204);
    let query = escaped(r#"{app="xyzzy_app"} |= "nothing of this kind""#);
    let answer = as_tenant(&server, OWNER, "POST", &format!("/loki/api/v1/delete?query={query}&start=1")).await;
    assert_eq!(answer.outcome(), (204, String::new()));
    server
}

async fn as_tenant(server: &TestServer, tenant: &str, method: &str, uri: &str) -> Answer {
    server.send(request(method, uri, &[("x-scope-orgid", tenant)], "")).await
}

/// Requests to a route with every parameter that some route takes.
fn requests(path: &str) -> Vec<String> {
    let rest = "step=60s&limit=100&match[]=%7B%7D&terminate=false&targetBytesPerShard=1KB&request_id=1";
    let queries = [r#"{app=~".+"}"#, r#"sum by (app, zone) (count_over_time({app=~".+"}[1h]))"#];
    let uris = queries.map(|query| {
        // A name cannot be known to be secret where it stands in the request.
        let path = path.replace("{name}", "app").replace("detected_field/app", "detected_field/took");
        format!("{path}?query={}&{rest}", escaped(query))
    });
    uris.to_vec()
}

/// What tells that an answer is about the owner's entries: a text of theirs, or a number that is not zero.
fn tells(path: &str, answer: &Answer) -> bool {
    let text = answer.text();
    match path {
        "/loki/api/v1/index/stats" => answer.json()["entries"].as_u64().is_some_and(|n| n > 0),
        "/loki/api/v1/index/shards" => answer.json()["shards"][0]["stats"]["entries"].as_u64().is_some_and(|n| n > 0),
        "/loki/api/v1/detected_field/{name}/values" => text.contains("40"),
        "/loki/api/v1/patterns" => text.contains("pattern\":"),
        "/metrics" => text.contains(&format!("\"{OWNER}\"")),
        _ => text.contains(SECRET),
    }
}

/// The routes whose answers to a tenant tell of the owner's entries.
async fn telling(server: &TestServer, tenant: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for path in route_paths(server.app()).into_iter().filter(|path| !TAILS.contains(path)) {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            for uri in requests(path) {
                let answer = as_tenant(server, tenant, method, &uri).await;
                assert_ne!(answer.status.as_u16() / 100, 1, "{uri}");
                if answer.status == 200 && tells(path, &answer) {
                    found.insert(path);
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn no_route_tells_a_stranger_anything() {
    let server = stocked().await;
    let shown = telling(&server, OWNER).await;
    assert_eq!(shown, BTreeSet::from(TELLING), "the test asks what can be answered");
    let public = BTreeSet::from(["/metrics"]);
    for stranger in [STRANGER, "strange|stranger"] {
        assert_eq!(telling(&server, stranger).await, public, "{stranger}");
    }
    // Whoever may name the owner may ask for the owner.
    assert!(telling(&server, "owner|stranger").await.len() > public.len());
}

#[tokio::test]
async fn requests_of_a_stranger_change_nothing_of_the_owner() {
    let server = stocked().await;
    let list = as_tenant(&server, OWNER, "GET", "/loki/api/v1/delete").await.json();
    let id = list[0]["request_id"].as_str().expect("an id");
    let uri = format!("/loki/api/v1/delete?request_id={id}&force=true");
    let answer = as_tenant(&server, STRANGER, "DELETE", &uri).await;
    assert_eq!(answer.outcome(), (404, "could not find delete request with given id\n".to_owned()));
    let everything = format!("/loki/api/v1/delete?start=1&query={}", escaped(r#"{app=~".+"}"#));
    assert_eq!(as_tenant(&server, STRANGER, "POST", &everything).await.status, 204);
    assert_eq!(as_tenant(&server, OWNER, "GET", "/loki/api/v1/delete").await.json(), list);
    let uri = format!("/loki/api/v1/index/stats?query={}", escaped(r#"{app=~".+"}"#));
    assert_eq!(as_tenant(&server, OWNER, "GET", &uri).await.json()["entries"], 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_of_a_stranger_see_entries_of_their_own_alone() {
    let server = stocked().await;
    for path in TAILS {
        let uri = format!("{path}?query={}", escaped(r#"{app=~".+"}"#));
        let mut own = Socket::open(&server, &uri, "X-Scope-OrgID: owner\r\n").await;
        assert!(own.json().await.to_string().contains(SECRET), "{path}");
        let mut foreign = Socket::open(&server, &uri, &format!("X-Scope-OrgID: {}\r\n", path.len())).await;
        for (tenant, app) in [(OWNER.to_owned(), "xyzzy_app"), (path.len().to_string(), "open")] {
            let headers = [("content-type", "application/json"), ("x-scope-orgid", tenant.as_str())];
            let body = crate::support::one_line(&server, app, "live");
            assert_eq!(server.send(request("POST", "/loki/api/v1/push", &headers, body)).await.status, 204);
        }
        let seen = foreign.json().await.to_string();
        assert!(seen.contains("open") && !seen.contains(SECRET), "{path}: {seen}");
    }
}
