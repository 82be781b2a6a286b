//! A websocket just good enough to listen.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::TestServer;

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;

/// An open websocket.
pub(crate) struct Socket(pub(crate) TcpStream);

impl Socket {
    /// Opens one with further lines of headers, each with its end.
    pub(crate) async fn open(server: &TestServer, path: &str, headers: &str) -> Self {
        let (head, socket) = Self::ask(server, path, headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        socket
    }

    /// Asks for one and returns the head of the answer with it.
    pub(crate) async fn ask(server: &TestServer, path: &str, headers: &str) -> (String, Self) {
        let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
        let hello = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(hello.as_bytes()).await.expect("the server reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("the server answers"));
        }
        (String::from_utf8(head).expect("text"), Self(stream))
    }

    /// The next message: its kind and content.
    pub(crate) async fn next_of_any_kind(&mut self) -> (u8, Vec<u8>) {
        let kind = self.0.read_u8().await.expect("a frame") & 0x0f;
        let length = match self.0.read_u8().await.expect("a length") {
            126 => u64::from(self.0.read_u16().await.expect("a length")),
            127 => self.0.read_u64().await.expect("a length"),
            length => u64::from(length),
        };
        let mut content = vec![0; usize::try_from(length).expect("short")];
        self.0.read_exact(&mut content).await.expect("the content");
        (kind, content)
    }

    /// The next message that is no ping.
    pub(crate) async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (kind, content) = self.next_of_any_kind().await;
            if matches!(kind, TEXT | CLOSE) {
                return (kind, content);
            }
        }
    }

    /// The next message that holds entries.
    pub(crate) async fn json(&mut self) -> serde_json::Value {
        let (kind, content) = self.next().await;
        assert_eq!(kind, TEXT, "{}", String::from_utf8_lossy(&content));
        serde_json::from_slice(&content).expect("JSON")
    }

    /// The lines of the next message.
    pub(crate) async fn lines(&mut self) -> Vec<String> {
        lines(&self.json().await)
    }

    /// Sends a frame as it stands.
    pub(crate) async fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).await.expect("the server reads");
    }
}

/// The lines of a message.
pub(crate) fn lines(message: &serde_json::Value) -> Vec<String> {
    let streams = message["streams"].as_array().into_iter().flatten();
    let values = streams.flat_map(|stream| stream["values"].as_array().into_iter().flatten());
    values.map(|value| value[1].as_str().unwrap_or("?").to_owned()).collect()
}
