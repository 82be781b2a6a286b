//! Live tails, over a socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestServer, escaped, one_line};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// A websocket just good enough to listen.
struct Socket(TcpStream);

impl Socket {
    async fn open(server: &TestServer, path: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
        let hello = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(hello.as_bytes()).await.expect("the server reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("the server answers"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// The next message that is no ping: its kind and content.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let kind = self.0.read_u8().await.expect("a frame") & 0x0f;
            let length = match self.0.read_u8().await.expect("a length") {
                126 => u64::from(self.0.read_u16().await.expect("a length")),
                127 => self.0.read_u64().await.expect("a length"),
                length => u64::from(length),
            };
            let mut content = vec![0; usize::try_from(length).expect("short")];
            self.0.read_exact(&mut content).await.expect("the content");
            if matches!(kind, TEXT | CLOSE) {
                return (kind, content);
            }
        }
    }

    /// The lines of the next message.
    async fn lines(&mut self) -> Vec<String> {
        let (kind, content) = self.next().await;
        assert_eq!(kind, TEXT);
        let json: serde_json::Value = serde_json::from_slice(&content).expect("JSON");
        let values =
            json["streams"].as_array().into_iter().flatten().flat_map(|s| s["values"].as_array().into_iter().flatten());
        values.map(|value| value[1].as_str().unwrap_or("?").to_owned()).collect()
    }
}

fn path(query: &str) -> String {
    format!("/loki/api/v1/tail?query={}", escaped(query))
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_entries_come_first_and_live_ones_follow() {
    let server = TestServer::bare().await;
    server.push(one_line(&server, "a", "stored")).await;
    let mut socket = Socket::open(&server, &path(r#"{app="a"} != "hidden""#)).await;
    assert_eq!(socket.lines().await, ["stored"]);
    server.push(one_line(&server, "a", "hidden")).await;
    server.push(one_line(&server, "b", "other")).await;
    server.push(one_line(&server, "a", "live")).await;
    assert_eq!(socket.lines().await, ["live"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_too_many_is_closed_with_the_reason() {
    let server =
        TestServer::configured("auth_enabled: false\nlimits_config: {max_concurrent_tail_requests: 1}\n").await;
    server.push(one_line(&server, "a", "stored")).await;
    let mut first = Socket::open(&server, &path(r#"{app="a"}"#)).await;
    assert_eq!(first.lines().await, ["stored"]);
    let mut second = Socket::open(&server, &path(r#"{app="a"}"#)).await;
    let (kind, content) = second.next().await;
    assert_eq!((kind, &content[..2]), (CLOSE, &[0x03, 0xf3][..]), "1011");
    assert_eq!(&content[2..], b"max concurrent tail requests limit exceeded, count > limit (2 > 1)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_ends_its_tails() {
    let server = TestServer::bare().await;
    server.push(one_line(&server, "a", "stored")).await;
    let mut socket = Socket::open(&server, &path(r#"{app="a"}"#)).await;
    assert_eq!(socket.lines().await, ["stored"]);
    server.app().advance(loki_server::Phase::Closing);
    let mut rest = Vec::new();
    // How the connection ends is of no interest, as long as it does.
    let _ = socket.0.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn mistakes_are_told_before_the_upgrade() {
    let server = TestServer::bare().await;
    let cases = [
        ("/loki/api/v1/tail".to_owned(), "parse error : syntax error: unexpected $end"),
        (path(r#"{app="a"}"#) + "&delay_for=6", "delay_for can't be greater than 5"),
        (path(r#"{app="a"}"#), "Bad Request\n"),
    ];
    for (uri, text) in cases {
        assert_eq!(server.ask("GET", &uri).await.outcome(), (400, text.to_owned()), "{uri}");
    }
}
