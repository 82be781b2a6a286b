//! Delete requests.

use crate::support::{TestServer, escaped, streams};

const ROUTE: &str = "/loki/api/v1/delete";

async fn stocked(retention: bool) -> TestServer {
    let yaml = format!(
        "auth_enabled: false\ncompactor:\n  retention_enabled: {retention}\n  delete_request_store: filesystem\n\
         limits_config:\n  discover_service_name: []\n  discover_log_levels: false\n  reject_old_samples: false\n"
    );
    let server = TestServer::configured(&yaml).await;
    let entries = (1..=3).map(|n| (n, format!("n={n}"))).collect::<Vec<_>>();
    assert_eq!(server.push(streams(&[(r#"{"app":"a"}"#, entries)])).await.status, 204);
    server
}

async fn count(server: &TestServer) -> String {
    let query = escaped(r#"sum(count_over_time({app="a"}[10s]))"#);
    let json = server.ask("GET", &format!("/loki/api/v1/query?time=5&query={query}")).await.json();
    json["data"]["result"][0]["value"][1].as_str().unwrap_or("none").to_owned()
}

#[tokio::test]
async fn deletes_take_effect_at_once_and_can_be_taken_back() {
    let server = stocked(true).await;
    let query = escaped(r#"{app="a"} |= "n=2""#);
    let created = server.ask("POST", &format!("{ROUTE}?start=1&end=3&query={query}")).await;
    assert_eq!(created.outcome(), (204, String::new()));
    let id = created.header("x-delete-request-id").to_owned();
    assert_eq!(count(&server).await, "2");

    let list = server.ask("GET", ROUTE).await;
    assert_eq!(list.header("content-type"), "application/json");
    let listed = &list.json()[0];
    assert_eq!((&listed["request_id"], &listed["status"]), (&id.as_str().into(), &"received".into()));
    assert_eq!((&listed["start_time"], &listed["end_time"]), (&1.into(), &3.into()));
    assert_eq!(listed["query"], r#"{app="a"} |= "n=2""#);
    assert_eq!(server.ask("GET", &format!("{ROUTE}?start=4")).await.text(), "[]\n", "it ends before");

    assert_eq!(server.ask("DELETE", &format!("{ROUTE}?request_id={id}")).await.status, 204);
    assert_eq!(count(&server).await, "3");
    let unknown = server.ask("DELETE", &format!("{ROUTE}?request_id={id}")).await;
    assert_eq!(unknown.outcome(), (404, "could not find delete request with given id\n".to_owned()));
}

#[tokio::test]
async fn mistakes_are_told_with_a_newline() {
    let server = stocked(true).await;
    let answer = server.ask("POST", ROUTE).await;
    assert_eq!(answer.outcome(), (400, "query not set\n".to_owned()));
    let both = server.ask("GET", &format!("{ROUTE}?start=x&end=y")).await;
    let text = "invalid start time: require unix seconds or RFC3339 format\n\
                invalid end time: require unix seconds or RFC3339 format\n[]\n";
    assert_eq!(both.outcome(), (400, text.to_owned()));
}

#[tokio::test]
async fn deletes_need_retention() {
    let server = stocked(false).await;
    let answer = server.ask("GET", ROUTE).await;
    assert_eq!(answer.outcome(), (404, "404 page not found\n".to_owned()));
}
