//! A log store inside a program: open a folder, push, query, print.
//!
//! ```sh
//! cargo run -p loki-examples --example embedded
//! ```

use std::error::Error;
use std::sync::Arc;

use loki_core::{Direction, Entry, Labels, Timestamp};
use loki_logql::engine::{Engine, EngineOptions, QueryLimits, RangeQuery};
use loki_logql::result::QueryResult;
use loki_store::{Clock, PushBody, PushStream, Store, StoreConfig, SystemClock, TenantId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?; // any folder; it is created if absent
    let store = Store::open(StoreConfig::folder(folder.path())).await?;
    let tenant = TenantId::anonymous();

    let noon = Timestamp::from_seconds(1_700_000_000);
    let entries = (0..5).map(|n| Entry {
        timestamp: noon.saturating_add_nanos(n * 1_000_000_000),
        line: format!("level=info msg=\"request done\" status={}", 200 + n).into(),
        metadata: Labels::from_sorted([("trace_id", "5b8efff798038103")]),
    });
    let stream = PushStream { labels: Labels::parse(r#"{app="demo", env="test"}"#)?, entries: entries.collect() };
    store.push(&tenant, PushBody::Streams(vec![stream])).await?;

    let clock = Arc::new(SystemClock::new());
    let engine = Engine::new(EngineOptions::inline(Arc::new(move || clock.now())));
    let query = RangeQuery {
        direction: Direction::Forward,
        ..RangeQuery::new(
            loki_logql::parse_query(r#"{app="demo"} | logfmt | status >= 202 | line_format "{{.status}} {{.msg}}""#)?,
            noon,
            noon.saturating_add_nanos(60_000_000_000),
        )
    };
    let answer = engine.range_query(store.querier(&tenant), query, &QueryLimits::default()).await?;
    let QueryResult::Streams(streams) = answer.result else {
        return Err("a log query answers with streams".into());
    };
    for stream in &streams {
        println!("{}", stream.labels);
        for entry in &stream.entries {
            println!("  {} {}", entry.timestamp.0, String::from_utf8_lossy(&entry.line));
        }
    }
    assert_eq!(streams.iter().map(|stream| stream.entries.len()).sum::<usize>(), 3);
    store.close().await?;
    Ok(())
}
