//! Kills a process that writes, merges and expires, again and again, and looks for what was lost or doubled.
//!
//! `cargo test --test kill` does [`ROUNDS`] rounds; `LOKI_KILL_ROUNDS` asks for another number.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use loki_core::{Entry, Labels, MatchOp, Matcher, TimeRange, Timestamp};
use loki_logql::querier::{Hints, Order, SelectRequest};
use loki_store::{Clock, Limits, PushBody, PushStream, RetentionStream, Store, StoreConfig, SystemClock, TenantId};

/// Rounds unless somebody asks for more.
const ROUNDS: usize = 20;
/// The longest that a process lives.
const MAX_LIFE: Duration = Duration::from_millis(400);
/// Entries of one push.
const BATCH: u64 = 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match args.get(1).map(String::as_str) {
        Some("write") => {
            let (folder, first) = (args.get(2).ok_or("no folder")?, args.get(3).ok_or("no number")?);
            runtime.block_on(write(Path::new(folder), first.parse()?))
        }
        // What a test runner asks for before it runs anything.
        Some("--list") => Ok(()),
        _ => runtime.block_on(kill_again_and_again()),
    }
}

fn config(folder: &Path) -> StoreConfig {
    let expiring = RetentionStream {
        matchers: matchers("expired").expect("no regex"),
        priority: 1,
        period: Duration::from_hours(1),
    };
    let limits = Limits {
        retention_streams: vec![expiring],
        discover_service_name: Vec::new(),
        discover_log_levels: false,
        ..Limits::unlimited()
    };
    let mut config = StoreConfig::folder(folder).with_limits(limits).with_flush_bytes(16 << 10);
    config.retention_enabled = true;
    config.delete_delay = Duration::ZERO;
    config
}

fn matchers(kind: &str) -> Result<Vec<Matcher>, Failure> {
    Ok(vec![Matcher::new("kind", MatchOp::Equal, kind)?])
}

/// Pushes numbered entries until it is killed, and says of each batch that it is stored.
async fn write(folder: &Path, first: u64) -> Result<(), Failure> {
    let store = Store::open(config(folder)).await?;
    let now = SystemClock::new().now();
    let stream = |kind: &str, of: u64, numbers: std::ops::Range<u64>| -> Result<PushStream, Failure> {
        let labels = Labels::from_pairs([("kind", kind), ("stream", &format!("s{of}"))])?;
        let entry = |number: u64| Entry {
            // Some come late, and some share their time.
            timestamp: now.saturating_sub_nanos(2 * 3_600_000_000_000 + (number as i64 * 7919 % 1000) * 1_000_000_000),
            line: format!("entry {number:010} of a stream").into(),
            metadata: Labels::EMPTY,
        };
        Ok(PushStream { labels, entries: numbers.map(entry).collect() })
    };
    let maintainer = store.clone();
    tokio::spawn(async move {
        loop {
            maintainer.maintain().await.expect("nothing is wrong with the disk");
            maintainer.compact().await.expect("nothing is wrong with the disk");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut stdout = std::io::stdout();
    let mut number = first;
    loop {
        let batch = number..number + BATCH;
        let streams = vec![stream("kept", number / BATCH % 5, batch.clone())?, stream("expired", 0, batch)?];
        store.push(&TenantId::anonymous(), PushBody::Streams(streams)).await?;
        number += BATCH;
        writeln!(stdout, "{number}")?;
        stdout.flush()?;
    }
}

async fn kill_again_and_again() -> Result<(), Failure> {
    let rounds = std::env::var("LOKI_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let folder = tempfile::tempdir()?;
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    let mut merges = 0;
    for round in 0..rounds {
        // Spread evenly, without chance: a failure can be repeated.
        let life = MAX_LIFE.mul_f64((round as f64 * 0.618_034).fract());
        let upto = write_and_kill(folder.path(), next, life)?;
        acknowledged.extend(next..upto);
        // What was under way may be there as well.
        next = upto + BATCH;

        let store = Store::open(config(folder.path())).await?;
        let found = numbers(&store, "kept").await?;
        let lost: Vec<_> = acknowledged.iter().filter(|number| !found.contains_key(number)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        let doubled: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "round {round}: doubled {doubled:?}");
        assert!(found.keys().all(|number| *number < next), "round {round}: invented entries");
        let expired = numbers(&store, "expired").await?;
        assert!(expired.is_empty(), "round {round}: entries are past their retention: {expired:?}");
        store.compact().await?;
        merges += store.counters().merges.value();
        let after = numbers(&store, "kept").await?;
        assert_eq!(found, after, "round {round}: merging changed something");
    }
    let mut stdout = std::io::stdout();
    writeln!(
        stdout,
        "{rounds} kills, {} entries, {merges} merges after them: nothing lost, nothing twice",
        acknowledged.len()
    )?;
    Ok(())
}

/// Lets a process write for a while, kills it, and returns the number behind the last entry that it acknowledged.
fn write_and_kill(folder: &Path, first: u64, life: Duration) -> Result<u64, Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["write".as_ref(), folder.as_os_str(), first.to_string().as_ref()])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.filter_map(|line| line.parse().ok()).last()
    });
    // It is a life of random length that is wanted, not an order of events.
    std::thread::sleep(life);
    child.kill()?;
    child.wait()?;
    Ok(reader.join().map_err(|_| "the reader panicked")?.unwrap_or(first))
}

/// How often each entry is there.
async fn numbers(store: &Store, kind: &str) -> Result<BTreeMap<u64, u32>, Failure> {
    let request =
        SelectRequest { matchers: matchers(kind)?, range: TimeRange::ALL, order: Order::Any, hints: Hints::default() };
    let mut batches = store.querier(&TenantId::anonymous()).select(request);
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let times = batch.columns.timestamps()?;
        let text = batch.columns.text()?.ok_or("no text")?;
        for run in &batch.runs {
            for row in run.rows.clone() {
                let number: u64 = std::str::from_utf8(text.line(row))?.get(6..16).ok_or("no number")?.parse()?;
                let may_repeat = batch.repeats.iter().any(|span| span.contains(Timestamp(times[row as usize])));
                // The consumer keeps one of those that may repeat.
                if !may_repeat || seen.insert(number) {
                    *found.entry(number).or_default() += 1;
                }
            }
        }
    }
    Ok(found)
}
