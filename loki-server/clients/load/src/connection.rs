//! One connection of HTTP/1.1 that is kept.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Outcome;

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, address })
    }

    /// The status of a request with a body; an answer's body is read and forgotten.
    pub async fn post(&mut self, path: &str, content_type: &str, body: Vec<u8>) -> Outcome<u16> {
        let request = Request::post(path).header("content-type", content_type);
        let answer = self.send(request, body).await?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await?;
        Ok(status)
    }

    /// The JSON of a request that has to succeed.
    pub async fn get(&mut self, path: &str, params: &[(&str, &str)]) -> Outcome<Value> {
        let query: Vec<String> = params.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let answer = self.send(Request::get(format!("{path}?{}", query.join("&"))), Vec::new()).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != 200 {
            return Err(format!("GET {path} {params:?}: {status} {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn send(&mut self, request: hyper::http::request::Builder, body: Vec<u8>) -> Outcome<Response<Incoming>> {
        let request = request.header("host", self.address.to_string()).body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

/// A value of a query string.
pub fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len() * 2);
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a string takes all"),
        }
    }
    out
}
