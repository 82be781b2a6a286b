//! Live tails, over a socket.

use std::sync::Arc;
use std::time::Duration;

use loki_core::Timestamp;
use loki_server::ServerOptions;
use loki_store::ManualClock;
use tokio::io::AsyncReadExt;

use crate::support::{TestServer, escaped, one_line, streams};
use crate::websocket::{CLOSE, PING, Socket, lines};

/// The code of a close for a failure, as the first bytes of its frame.
const FAILED: [u8; 2] = 1011_u16.to_be_bytes();
/// Limits that large lines do not reach.
const LARGE: &str = "auth_enabled: false\nlimits_config: {max_line_size: 0, ingestion_rate_mb: 1000, \
    ingestion_burst_size_mb: 1000, per_stream_rate_limit: 1GB, per_stream_rate_limit_burst: 1GB}\n";

fn path(query: &str) -> String {
    format!("/loki/api/v1/tail?query={}", escaped(query))
}

async fn open(server: &TestServer, path: &str) -> Socket {
    Socket::open(server, path, "").await
}

/// A push of lines to `{app="a"}`, all at one time.
fn lines_at(seconds: i64, lines: impl IntoIterator<Item = String>) -> String {
    streams(&[(r#"{"app":"a"}"#, lines.into_iter().map(|line| (seconds, line)).collect())])
}

fn now_seconds(server: &TestServer) -> i64 {
    server.app().store().config().clock.now().as_nanos() / 1_000_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_entries_come_first_and_live_ones_follow() {
    let server = TestServer::bare().await;
    server.push(one_line(&server, "a", "stored")).await;
    let mut socket = open(&server, &path(r#"{app="a"} != "hidden""#)).await;
    assert_eq!(socket.lines().await, ["stored"]);
    server.push(one_line(&server, "a", "hidden")).await;
    server.push(one_line(&server, "b", "other")).await;
    server.push(one_line(&server, "a", "live")).await;
    assert_eq!(socket.lines().await, ["live"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_and_the_limit_choose_among_stored_entries() {
    let server = TestServer::bare().await;
    let now = now_seconds(&server);
    server.push(streams(&[(r#"{"app":"a"}"#, (1..=5).map(|n| (now - n, n.to_string())).collect())])).await;
    let all = open(&server, &path(r#"{app="a"}"#)).await.lines().await;
    assert_eq!(all, ["5", "4", "3", "2", "1"]);
    let newest = open(&server, &(path(r#"{app="a"}"#) + "&limit=2")).await.lines().await;
    assert_eq!(newest, ["2", "1"]);
    let late = open(&server, &format!("{}&start={}", path(r#"{app="a"}"#), now - 3)).await.lines().await;
    assert_eq!(late, ["3", "2", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_too_many_is_closed_with_the_reason() {
    let server =
        TestServer::configured("auth_enabled: false\nlimits_config: {max_concurrent_tail_requests: 1}\n").await;
    server.push(one_line(&server, "a", "stored")).await;
    let mut first = open(&server, &path(r#"{app="a"}"#)).await;
    assert_eq!(first.lines().await, ["stored"]);
    let (kind, content) = open(&server, &path(r#"{app="a"}"#)).await.next().await;
    assert_eq!((kind, &content[..2]), (CLOSE, &FAILED[..]));
    assert_eq!(&content[2..], b"max concurrent tail requests limit exceeded, count > limit (2 > 1)");
}

/// Loki finds out about samples only once it has upgraded: without an upgrade it complains about that alone.
#[tokio::test(flavor = "multi_thread")]
async fn samples_cannot_be_watched() {
    let server = TestServer::bare().await;
    let query = path(r#"rate({app="a"}[1m])"#);
    assert_eq!(server.ask("GET", &query).await.outcome(), (400, "Bad Request\n".to_owned()));
    let (kind, content) = open(&server, &query).await.next().await;
    assert_eq!((kind, &content[..2]), (CLOSE, &FAILED[..]));
    assert_eq!(&content[2..], b"only log selector is supported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_ends_its_tails() {
    let server = TestServer::bare().await;
    server.push(one_line(&server, "a", "stored")).await;
    let mut socket = open(&server, &path(r#"{app="a"}"#)).await;
    assert_eq!(socket.lines().await, ["stored"]);
    server.app().advance(loki_server::Phase::Closing);
    let mut rest = Vec::new();
    // How the connection ends is of no interest, as long as it does.
    let _ = socket.0.read_to_end(&mut rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_ends_after_the_longest_time_that_is_allowed() {
    let server = TestServer::configured("auth_enabled: false\nquerier: {tail_max_duration: 1ms}\n").await;
    let (kind, content) = open(&server, &path(r#"{app="a"}"#)).await.next().await;
    assert_eq!((kind, &content[..2]), (CLOSE, &FAILED[..]));
    assert_eq!(&content[2..], b"reached tail max duration limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_pinged_while_nothing_happens() {
    let server = TestServer::bare().await;
    let mut socket = open(&server, &path(r#"{app="a"}"#)).await;
    for _ in 0..2 {
        assert_eq!(socket.next_of_any_kind().await, (PING, Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_held_back_for_as_long_as_is_asked() {
    const NOW: i64 = 1_700_000_000;
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(NOW)));
    let server = TestServer::with(ServerOptions::memory().with_clock(clock.clone())).await;
    server.push(lines_at(NOW - 6, ["stored".to_owned()])).await;
    let mut socket = open(&server, &(path(r#"{app="a"}"#) + "&delay_for=5")).await;
    assert_eq!(socket.lines().await, ["stored"], "what is stored comes at once");
    server.push(lines_at(NOW, ["late".to_owned()])).await;
    server.push(lines_at(NOW - 5, ["early".to_owned()])).await;
    assert_eq!(socket.lines().await, ["early"]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(socket.lines().await, ["late"]);
}

/// Entries that have no room are reported; a reader that does not read costs neither pushes nor memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_reader_misses_is_reported_to_it() {
    const PUSHES: usize = 40;
    let server = TestServer::configured(LARGE).await;
    let now = now_seconds(&server);
    let mut socket = open(&server, &path(r#"{app="a"}"#)).await;
    for i in 0..PUSHES {
        let line = format!("{i:04}{}", "x".repeat(1 << 20));
        assert_eq!(server.push(lines_at(now, [line])).await.status, 204);
    }
    server.push(lines_at(now, ["last".to_owned()])).await;
    let (mut delivered, mut dropped) = (0, 0);
    while delivered + dropped <= PUSHES {
        let message = socket.json().await;
        delivered += lines(&message).len();
        for entry in message["dropped_entries"].as_array().into_iter().flatten() {
            assert_eq!(entry["labels"]["app"], "a");
            assert_eq!(entry["timestamp"], format!("{now}000000000"));
            dropped += 1;
        }
    }
    assert_eq!(delivered + dropped, PUSHES + 1);
    assert!(dropped > 0, "there is room for {delivered} MB");
}

/// Entries that lie in the future wait for their time, as many as there is room for.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_held_back_take_bounded_memory() {
    const NOW: i64 = 1_700_000_000;
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(NOW)));
    let mut options = ServerOptions::memory().with_clock(clock.clone());
    options.config.limits = loki_server::Config::from_yaml(LARGE).expect("valid").limits;
    let server = TestServer::with(options).await;
    let mut socket = open(&server, &(path(r#"{app="a"}"#) + "&delay_for=1")).await;
    let mut dropped = 0;
    for i in 0.. {
        let line = format!("{i:04}{}", "x".repeat(1 << 20));
        server.push(lines_at(NOW + 60, [line])).await;
        if i == 12 {
            // Twelve times what fits into the queue, less what may be held.
            break;
        }
    }
    while dropped == 0 {
        let message = socket.json().await;
        assert_eq!(lines(&message), Vec::<String>::new(), "their time has not come");
        dropped += message["dropped_entries"].as_array().map_or(0, Vec::len);
    }
    clock.advance(Duration::from_mins(2));
    let mut delivered = 0;
    while delivered + dropped < 13 {
        let message = socket.json().await;
        delivered += lines(&message).len();
        dropped += message["dropped_entries"].as_array().map_or(0, Vec::len);
    }
    assert_eq!((delivered + dropped, delivered > 0), (13, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_say_is_ignored_and_garbage_ends_a_tail() {
    let server = TestServer::bare().await;
    let mut socket = open(&server, &path(r#"{app="a"}"#)).await;
    // A masked text frame that says "hi", with a mask of zeros.
    socket.send(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await;
    server.push(one_line(&server, "a", "live")).await;
    assert_eq!(socket.lines().await, ["live"]);
    // No frame has these bits, and none of a client is without a mask.
    socket.send(&[0x7f; 64]).await;
    let mut rest = Vec::new();
    let _ = socket.0.read_to_end(&mut rest).await;
    assert_eq!(server.ask("GET", "/ready").await.status, 200);
}

#[tokio::test]
async fn mistakes_are_told_before_the_upgrade() {
    let server = TestServer::configured("auth_enabled: true\n").await;
    let cases = [
        ("/loki/api/v1/tail".to_owned(), "parse error : syntax error: unexpected $end"),
        (path(r#"{app="a"}"#) + "&delay_for=6", "delay_for can't be greater than 5"),
        (path(r#"{app="a"}"#) + "&limit=0", "limit must be a positive value"),
    ];
    for (uri, text) in cases {
        let (head, mut socket) = Socket::ask(&server, &uri, "X-Scope-OrgID: a\r\n").await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{uri}: {head}");
        let mut body = vec![0; text.len()];
        socket.0.read_exact(&mut body).await.expect("the text");
        assert_eq!(String::from_utf8_lossy(&body), text, "{uri}");
    }
    for (tenant, status) in [("", "401"), ("X-Scope-OrgID: a|b\r\n", "400"), ("X-Scope-OrgID: a/b\r\n", "400")] {
        let (head, _) = Socket::ask(&server, &path(r#"{app="a"}"#), tenant).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{tenant}: {head}");
    }
}
