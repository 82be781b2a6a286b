//! Loads a server as a busy site would and says whether it kept its promises.
//!
//! Many connections push small bodies at a steady pace while others query and tail. The time of a push counts from
//! the moment when it was due, so that a server that stalls cannot hide it by receiving less. Any refused or lost
//! request, any entry missing or doubled at the end or in a tail, memory beyond its cap, or a slow 99th percentile makes
//! the exit code 1.
//!
//! `cargo run --release -- --server ../../../target/release/loki-server [--seconds 60] [--pace 10] ...`

#![expect(clippy::disallowed_methods, reason = "a load test measures the time of real clocks")]

mod connection;
mod options;
mod push;
mod query;
mod report;
mod server;
mod tail;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::Connection;
use options::Options;
use report::Report;
use server::Server;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long clients may take to come to an end.
const GRACE: Duration = Duration::from_secs(30);
/// How long tails may lag behind the last push.
const TAIL_LAG: Duration = Duration::from_secs(5);
/// How long the server may rest before its memory is read for the last time.
const REST: Duration = Duration::from_secs(5);

/// What the tasks of all clients return.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome<bool> {
    let options = Arc::new(Options::parse(std::env::args().skip(1))?);
    let server = Server::start(&options.server).await?;
    let mut report = Report::new(&options, server.memory()?);
    let (stop_pushing, pushing) = watch::channel(true);
    let (stop_reading, reading) = watch::channel(true);

    let address = server.address;
    let mut tails = Vec::new();
    for number in 0..options.tails {
        // A tail that is late would miss the first entries, so each waits for its connection.
        let connected = tail::connect(address, number % options.pushers).await?;
        tails.push(tokio::spawn(tail::run(connected, reading.clone())));
    }
    let begin = Instant::now();
    let pushers: Vec<_> = (0..options.pushers)
        .map(|number| tokio::spawn(push::run(address, number, options.clone(), pushing.clone())))
        .collect();
    let queriers: Vec<_> = (0..options.queriers)
        .map(|number| tokio::spawn(query::run(address, number, options.clone(), pushing.clone())))
        .collect();
    server.watch_memory(begin + options.duration, &mut report).await?;
    // Receivers live until their tasks have ended.
    let _ = stop_pushing.send(false);

    for pusher in pushers {
        report.add_pushes(tokio::time::timeout(GRACE, pusher).await??);
    }
    report.elapsed = begin.elapsed();
    for querier in queriers {
        report.add_queries(tokio::time::timeout(GRACE, querier).await??);
    }
    sleep(TAIL_LAG).await;
    let _ = stop_reading.send(false);
    for tail in tails {
        report.add_tail(tokio::time::timeout(GRACE, tail).await??);
    }
    report.stored = count_stored(&server).await?;
    flush(&server).await?;
    report.stored_after_flush = count_stored(&server).await?;
    sleep(REST).await;
    report.memory_after = server.memory()?;
    report.memory_peak = report.memory_peak.max(server.memory_peak()?);
    report.exit_code = server.stop().await?;
    report.print();
    Ok(report.problems().is_empty())
}

/// Entries that the server has.
async fn count_stored(server: &Server) -> Outcome<u64> {
    let mut connection = Connection::open(server.address).await?;
    let answer = connection.get("/loki/api/v1/query", &[("query", "sum(count_over_time({app=\"load\"}[1h]))")]).await?;
    let value = &answer["data"]["result"][0]["value"][1];
    Ok(value.as_str().ok_or("nothing is stored")?.parse()?)
}

async fn flush(server: &Server) -> Outcome<()> {
    let status = Connection::open(server.address).await?.post("/flush", "text/plain", Vec::new()).await?;
    if status == 204 { Ok(()) } else { Err(format!("/flush: {status}").into()) }
}
