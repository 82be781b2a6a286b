//! A Loki for one test: a server inside this process, on a free port, in memory.
//!
//! ```sh
//! cargo run -p loki-examples --example server_in_process
//! ```

use std::error::Error;

use loki_server::{Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start(ServerOptions::memory()).await?;
    println!("listening on {}", server.url());

    let body = r#"{"streams":[{"stream":{"app":"demo"},"values":[["1700000000000000000","hello, logs"]]}]}"#;
    let pushed = send(&server, "POST", "/loki/api/v1/push", body).await?;
    assert!(pushed.starts_with("HTTP/1.1 204"), "{pushed}");

    let query = "/loki/api/v1/query_range?query=%7Bapp%3D%22demo%22%7D&start=1699999999&end=1700000001";
    let found = send(&server, "GET", query, "").await?;
    assert!(found.contains("hello, logs"), "{found}");
    println!("{}", found.lines().last().unwrap_or_default());

    server.shutdown().await?;
    Ok(())
}

/// What any HTTP client does; spelled out so that the example needs none.
async fn send(server: &Server, method: &str, path: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let address = server.address();
    let mut connection = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
