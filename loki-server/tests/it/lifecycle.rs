//! Starting, stopping, and what lies between, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use loki_core::{TimeRange, Timestamp};
use loki_server::config::DataLocation;
use loki_server::{Config, Phase, Server, ServerOptions, StartError};
use loki_store::TenantId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PUSH: &str = r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000000","x"]]}]}"#;

/// Sends a request over a connection of its own and reads the whole answer.
pub(crate) async fn send(server: &Server, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

fn in_folder(folder: &std::path::Path) -> ServerOptions {
    let mut options = ServerOptions::memory();
    options.config.data.location = DataLocation::Folder(folder.to_owned());
    options
}

async fn streams(server: &Server) -> usize {
    let range = TimeRange::new(Timestamp::MIN, Timestamp::MAX);
    server.store().series(&TenantId::anonymous(), &[vec![]], range).await.expect("the store answers").len()
}

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(in_folder(folder.path())).await.expect("it starts");
    let answer = send(&server, "POST", "/loki/api/v1/push", PUSH).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    server.shutdown().await.expect("it stops");
    let server = Server::start(in_folder(folder.path())).await.expect("it starts again");
    assert_eq!(streams(&server).await, 1);
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    let server = Server::start(ServerOptions::memory()).await.expect("it starts");
    let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
    let head = format!(
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        PUSH.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&PUSH.as_bytes()[..10]).await.expect("sent");
    // The handler waits for the rest of the body once the request is counted.
    let counted = r#"loki_inflight_requests{method="POST",route="loki_api_v1_push"} 1"#;
    while !send(&server, "GET", "/metrics", "").await.contains(counted) {
        tokio::task::yield_now().await;
    }
    let app = server.app().clone();
    let stopping = tokio::spawn(server.shutdown());
    let mut phase = app.watch_phase();
    phase.wait_for(|phase| *phase == Phase::Closing).await.expect("the server closes");
    stream.write_all(&PUSH.as_bytes()[10..]).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    stopping.await.expect("no panic").expect("it stops");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let server = Server::start(ServerOptions::memory()).await.expect("it starts");
    let mut idle = TcpStream::connect(server.address()).await.expect("it listens");
    idle.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.expect("answered");
    tokio::time::timeout(Duration::from_secs(5), server.shutdown()).await.expect("in time").expect("it stops");
}

#[tokio::test]
async fn a_request_can_ask_the_server_to_stop() {
    let server = Server::start(ServerOptions::memory()).await.expect("it starts");
    let answer = send(&server, "POST", "/ingester/shutdown", "").await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    server.stop_requested().await;
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn the_limit_on_connections_makes_others_wait() {
    let mut options = ServerOptions::memory();
    options.config.http.max_connections = 1;
    let server = Server::start(options).await.expect("it starts");
    let mut first = TcpStream::connect(server.address()).await.expect("it listens");
    first.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.expect("answered");
    {
        let second = send(&server, "GET", "/ready", "");
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err(), "there is no place");
        drop(first);
        assert!(second.await.starts_with("HTTP/1.1 200 "));
    }
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = Server::start(ServerOptions::memory()).await.expect("it starts");
    let mut options = ServerOptions::memory();
    options.config.http.port = server.address().port();
    let error = Server::start(options).await.expect_err("the port is taken");
    assert_eq!(error.to_string(), format!("cannot listen on {}", server.address()));
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_folder_serves_one_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(in_folder(folder.path())).await.expect("it starts");
    let error = Server::start(in_folder(folder.path())).await.expect_err("the folder is taken");
    assert!(matches!(error, StartError::Store { .. }), "{error}");
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn wrong_runtime_files_keep_a_server_from_starting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let overrides = folder.path().join("overrides.yaml");
    std::fs::write(&overrides, "overrides: {a: {nope: 1}}\n").expect("written");
    let mut options = ServerOptions::memory();
    let memory = options.config.data.location.clone();
    options.config = Config::from_yaml(&format!("runtime_config: {{file: {}}}\n", overrides.display())).expect("valid");
    options.config.data.location = memory;
    options.config.http.port = 0;
    let error = Server::start(options).await.expect_err("the file is wrong");
    assert!(error.to_string().contains("unknown key overrides.a.nope"), "{error}");
}

#[tokio::test]
async fn changed_runtime_files_are_taken_over_and_wrong_ones_are_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let overrides = folder.path().join("overrides.yaml");
    std::fs::write(&overrides, "overrides: {a: {max_query_series: 1}}\n").expect("written");
    let text = format!("runtime_config: {{file: {}, period: 1ms}}\n", overrides.display());
    let mut options = ServerOptions::memory();
    let memory = options.config.data.location.clone();
    options.config = Config::from_yaml(&text).expect("valid");
    options.config.data.location = memory;
    options.config.http.port = 0;
    let server = Server::start(options).await.expect("it starts");
    let tenant = TenantId::parse("a").expect("a valid id");
    let limits = server.app().limits().clone();
    let series = move || limits.tenant(&tenant).limits.max_query_series;
    let until = async |wanted: usize| {
        while series() != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let replace = |text: &str| {
        // Renamed into place, so that no half of it is ever seen.
        let written = folder.path().join("new.yaml");
        std::fs::write(&written, text).expect("written");
        std::fs::rename(&written, &overrides).expect("renamed");
    };
    until(1).await;
    replace("overrides: {a: {max_query_series: 22}}\n");
    until(22).await;
    replace("overrides: {a: {max_query_serie: 333}}\n");
    while !send(&server, "GET", "/metrics", "").await.contains("loki_runtime_config_last_reload_successful 0\n") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until(22).await;
    server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_store_of_ones_own_can_be_served() {
    let store = loki_store::Store::open(loki_store::StoreConfig::memory()).await.expect("it opens");
    let server = Server::start(ServerOptions::memory().with_store(store.clone())).await.expect("it starts");
    send(&server, "POST", "/loki/api/v1/push", PUSH).await;
    assert_eq!(streams(&server).await, 1);
    assert!(Arc::ptr_eq(&store.config().clock, &server.store().config().clock));
    server.shutdown().await.expect("it stops");
}
