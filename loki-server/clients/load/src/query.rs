//! Connections that query.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::options::Options;

/// What dashboards and people ask while logs arrive.
const QUESTIONS: [(&str, &[(&str, &str)]); 6] = [
    ("/loki/api/v1/query_range", &[("query", r#"{app="load"} |= "level=error""#), ("limit", "100"), ("since", "1m")]),
    (
        "/loki/api/v1/query_range",
        &[("query", r#"{app="load", pusher=~"1.*"} | logfmt | status="200""#), ("limit", "1000"), ("since", "5s")],
    ),
    (
        "/loki/api/v1/query_range",
        &[("query", r#"sum by (pusher) (rate({app="load"}[10s]))"#), ("since", "5m"), ("step", "5s")],
    ),
    (
        "/loki/api/v1/query",
        &[("query", r#"sum by (level) (count_over_time({app="load", pusher="3"} | logfmt [10s]))"#)],
    ),
    ("/loki/api/v1/labels", &[("since", "5m")]),
    ("/loki/api/v1/index/stats", &[("query", r#"{app="load"}"#), ("since", "5m")]),
];

/// What one connection did.
#[derive(Debug, Default)]
pub struct Queries {
    pub latencies: Vec<Duration>,
    pub errors: Vec<String>,
}

pub async fn run(address: SocketAddr, number: usize, options: Arc<Options>, going: watch::Receiver<bool>) -> Queries {
    let mut queries = Queries::default();
    let mut connection = match Connection::open(address).await {
        Ok(connection) => connection,
        Err(error) => {
            queries.errors.push(error.to_string());
            return queries;
        }
    };
    let mut next = number;
    while *going.borrow() {
        let (path, params) = QUESTIONS[next % QUESTIONS.len()];
        let begin = Instant::now();
        match connection.get(path, params).await {
            Ok(_) => queries.latencies.push(begin.elapsed()),
            Err(error) => {
                queries.errors.push(error.to_string());
                break;
            }
        }
        next += 1;
        sleep(options.pause).await;
    }
    queries
}
