//! Connections that push.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::connection::Connection;
use crate::options::Options;

const LEVELS: [&str; 4] = ["info", "info", "warn", "error"];

/// What one connection did.
#[derive(Debug, Default)]
pub struct Pushes {
    pub number: usize,
    pub latencies: Vec<Duration>,
    pub errors: Vec<String>,
}

pub async fn run(address: SocketAddr, number: usize, options: Arc<Options>, going: watch::Receiver<bool>) -> Pushes {
    let mut pushes = Pushes { number, ..Pushes::default() };
    let mut connection = match Connection::open(address).await {
        Ok(connection) => connection,
        Err(error) => {
            pushes.errors.push(error.to_string());
            return pushes;
        }
    };
    let period = (options.pace > 0.0).then(|| Duration::from_secs_f64(1.0 / options.pace));
    // Connections take turns within the period.
    let mut due = Instant::now() + period.unwrap_or_default().mul_f64(number as f64 / options.pushers as f64);
    let mut entry = 0;
    while *going.borrow() {
        match period {
            Some(_) => sleep_until(due.into()).await,
            None => due = Instant::now(),
        }
        let begin = due;
        due += period.unwrap_or_default();
        let body = body(number, entry, options.entries);
        match connection.post("/loki/api/v1/push", "application/json", body).await {
            Ok(204) => pushes.latencies.push(begin.elapsed()),
            Ok(status) => pushes.errors.push(format!("push: {status}")),
            Err(error) => {
                pushes.errors.push(format!("push: {error}"));
                break;
            }
        }
        entry += options.entries;
    }
    pushes
}

/// A body of new entries; each line has its number, so that a tail can tell what is missing.
fn body(pusher: usize, first: usize, entries: usize) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut body = String::with_capacity(entries * 160 + 100);
    write!(body, r#"{{"streams":[{{"stream":{{"app":"load","pusher":"{pusher}"}},"values":["#)
        .expect("a string takes all");
    for at in 0..entries {
        let number = first + at;
        let comma = if at == 0 { "" } else { "," };
        let (time, level, took) = (now + at as u128, LEVELS[number % LEVELS.len()], number * 7919 % 1000);
        write!(
            body,
            r#"{comma}["{time}","number={number} level={level} method=GET path=/api/v1/items/{took} status=200 took={took}ms"]"#
        )
        .expect("a string takes all");
    }
    body.push_str("]}]}");
    body.into_bytes()
}
