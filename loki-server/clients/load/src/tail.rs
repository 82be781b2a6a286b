//! Connections that tail, each what one of the pushers pushes.

use std::net::SocketAddr;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::Outcome;
use crate::connection::encoded;

/// A tail whose connection stands.
pub struct Connected {
    pusher: usize,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What one tail received.
#[derive(Debug)]
pub struct Tailed {
    pub pusher: usize,
    /// Numbers of entries in the order in which they came.
    pub numbers: Vec<u64>,
    pub dropped: usize,
    pub errors: Vec<String>,
}

pub async fn connect(address: SocketAddr, pusher: usize) -> Outcome<Connected> {
    let query = encoded(&format!(r#"{{app="load", pusher="{pusher}"}}"#));
    let (socket, _) = connect_async(format!("ws://{address}/loki/api/v1/tail?query={query}")).await?;
    Ok(Connected { pusher, socket })
}

pub async fn run(connected: Connected, mut going: watch::Receiver<bool>) -> Tailed {
    let Connected { pusher, mut socket } = connected;
    let mut tailed = Tailed { pusher, numbers: Vec::new(), dropped: 0, errors: Vec::new() };
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = going.wait_for(|going| !going) => break,
        };
        match message {
            Some(Ok(Message::Text(text))) => tailed.take(&text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => {
                tailed.errors.push(format!("tail: {other:?}"));
                break;
            }
        }
    }
    tailed
}

impl Tailed {
    fn take(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            self.errors.push(format!("tail: no JSON: {text}"));
            return;
        };
        self.dropped += message["dropped_entries"].as_array().map_or(0, Vec::len);
        for stream in message["streams"].as_array().into_iter().flatten() {
            for value in stream["values"].as_array().into_iter().flatten() {
                let number = value[1].as_str().and_then(number_of);
                match number {
                    Some(number) => self.numbers.push(number),
                    None => self.errors.push(format!("tail: not a line of ours: {value}")),
                }
            }
        }
    }
}

fn number_of(line: &str) -> Option<u64> {
    line.strip_prefix("number=")?.split(' ').next()?.parse().ok()
}
