//! What will go, when and why; and what a request to delete would hide.

use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;
use loki_server::{Config, ServerOptions};
use loki_store::{ManualClock, TenantId};

use crate::support::{TestServer, escaped, request, streams};

const ROUTE: &str = "/loki_store/api/v1/retention";

/// A server whose clock shows a day after the epoch, with one flushed segment of entries from its first seconds.
async fn stocked(yaml: &str) -> (TestServer, Arc<ManualClock>) {
    let limits = "limits_config:\n  discover_service_name: []\n  reject_old_samples: false\n  retention_period: 48h\n  \
                  retention_stream:\n    - {selector: '{app=\"a\"}', priority: 1, period: 72h}\n";
    let mut config = Config::from_yaml(&format!("{yaml}{limits}")).expect("valid");
    config.data.location = loki_server::config::DataLocation::Memory;
    config.http.port = 0;
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(86_400)));
    let server = TestServer::with(ServerOptions::new(config).with_clock(clock.clone())).await;
    let entries = (1..=3).map(|n| (n, format!("n={n}"))).collect::<Vec<_>>();
    assert_eq!(server.push(streams(&[(r#"{"app":"a"}"#, entries)])).await.status, 204);
    server.app().store().flush().await.expect("memory takes it");
    (server, clock)
}

const ENABLED: &str = "auth_enabled: false\ncompactor: {retention_enabled: true, delete_request_store: filesystem}\n";

#[tokio::test]
async fn objects_are_listed_with_the_moment_and_the_reason() {
    let (server, clock) = stocked(ENABLED).await;
    let status = server.ask("GET", ROUTE).await.json();
    assert_eq!((&status["retention_enabled"], &status["period_seconds"]), (&true.into(), &172_800.into()));
    assert_eq!(status["streams"][0]["selector"], r#"{app="a"}"#);
    assert_eq!(status["levels"][0]["segments"], 1);
    let removal = &status["removals"][0];
    assert_eq!(removal["reason"], "retention");
    // Three seconds and the longest retention of any stream after the epoch.
    assert_eq!((&removal["due"], &removal["entries"]), (&"1970-01-04T00:00:03Z".into(), &3.into()));
    assert_eq!(removal["last_entry"], "1970-01-01T00:00:03Z");

    clock.advance(Duration::from_hours(72));
    server.app().store().maintain().await.expect("memory takes it");
    let status = server.ask("GET", ROUTE).await.json();
    assert_eq!(status["removals"][0]["reason"], "replaced");
    assert_eq!(status["levels"], serde_json::json!([]));
}

#[tokio::test]
async fn what_is_replaced_is_kept_as_long_as_configured() {
    let yaml = ENABLED.replace("retention_enabled: true", "retention_enabled: true, retention_delete_delay: 30m");
    let (server, clock) = stocked(&yaml).await;
    clock.advance(Duration::from_hours(72));
    server.app().store().maintain().await.expect("memory takes it");
    let status = server.ask("GET", ROUTE).await.json();
    assert_eq!(status["removals"][0]["due"], "1970-01-05T00:30:00Z");
    clock.advance(Duration::from_mins(30));
    let done = server.app().store().maintain().await.expect("memory takes it");
    assert!(done.deleted > 0);
    assert_eq!(server.ask("GET", ROUTE).await.json()["removals"], serde_json::json!([]));
}

#[tokio::test]
async fn without_retention_nothing_goes() {
    let (server, _) = stocked("auth_enabled: false\n").await;
    let status = server.ask("GET", ROUTE).await.json();
    assert_eq!((&status["retention_enabled"], &status["period_seconds"]), (&false.into(), &0.into()));
    assert_eq!(status["removals"], serde_json::json!([]));
    assert_eq!(server.ask("GET", "/loki_store/api/v1/delete_count").await.status, 404);
}

#[tokio::test]
async fn limits_of_space_are_those_of_the_configuration() {
    let yaml = format!("{ENABLED}loki_store: {{max_disk_bytes: 1GB}}\n");
    let (server, _) = stocked(&yaml).await;
    let status = server.ask("GET", ROUTE).await.json();
    assert_eq!(
        (&status["space"]["max_disk_bytes"], &status["space"]["excess_bytes"]),
        (&(1_u64 << 30).into(), &0.into())
    );
    let reasons: Vec<_> = status["removals"].as_array().into_iter().flatten().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, ["retention", "space"]);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let (server, _) = stocked(ENABLED).await;
    let multi = ENABLED.replace("auth_enabled: false", "auth_enabled: true");
    let store = server.app().store().clone();
    let config = Config::from_yaml(&multi).expect("valid");
    let strict = TestServer::with(ServerOptions { config, ..ServerOptions::memory() }.with_store(store)).await;
    assert_eq!(strict.ask("GET", ROUTE).await.status, 401);
    let other = strict.send(request("GET", ROUTE, &[("x-scope-orgid", "other")], "")).await.json();
    assert_eq!((&other["tenant"], &other["removals"]), (&"other".into(), &serde_json::json!([])));
    let own = TenantId::anonymous();
    let own = strict.send(request("GET", ROUTE, &[("x-scope-orgid", own.as_str())], "")).await.json();
    assert_eq!(own["removals"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn requests_are_counted_without_being_made() {
    let (server, _) = stocked(ENABLED).await;
    let query = escaped(r#"{app="a"} |= "n=2""#);
    let route = format!("/loki_store/api/v1/delete_count?start=1&end=3&query={query}");
    for _ in 0..2 {
        let count = server.ask("GET", &route).await.json();
        assert_eq!(count, serde_json::json!({ "entries": 1, "line_bytes": 3, "streams": 1 }));
    }
    assert_eq!(server.ask("GET", "/loki/api/v1/delete").await.text(), "[]\n");
    let wrong = server.ask("GET", "/loki_store/api/v1/delete_count?start=1").await;
    assert_eq!(wrong.outcome(), (400, "query not set\n".to_owned()));
}
