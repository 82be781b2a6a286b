//! Bodies of pushes: whatever is accepted is found again, before and after it was flushed.

use std::sync::Arc;

use futures::TryStreamExt;
use loki_core::{MatchOp, Matcher, TimeRange, Timestamp};
use loki_logql::querier::{Hints, Order, SelectRequest};
use loki_store::{ManualClock, PushBody, Store, StoreConfig, TenantId};

use crate::input::Input;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let is_snappy = input.u8() & 1 == 1;
    let body = data.get(1..).unwrap_or_default().to_vec().into();
    let body = if is_snappy { PushBody::Snappy(body) } else { PushBody::Protobuf(body) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(push(body));
}

async fn push(body: PushBody) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_760_400_000)));
    let store = Store::open(StoreConfig::memory().with_clock(clock)).await.expect("memory can be opened");
    let tenant = TenantId::anonymous();
    let outcome = store.push(&tenant, body.clone()).await.expect("a push to memory does not fail");
    let pushed = entries(&store, &tenant).await;
    assert!(pushed as u64 <= outcome.entries);
    assert_eq!(pushed == 0, outcome.entries == 0);
    store.flush().await.expect("memory can be written");
    assert_eq!(entries(&store, &tenant).await, pushed);
    let again = store.push(&tenant, body).await.expect("a push to memory does not fail");
    assert_eq!((again.entries, again.line_bytes), (outcome.entries, outcome.line_bytes));
}

/// How many different entries there are.
async fn entries(store: &Store, tenant: &TenantId) -> usize {
    let request = SelectRequest {
        matchers: vec![Matcher::new("none", MatchOp::Equal, "").expect("no regex")],
        range: TimeRange::ALL,
        order: Order::Any,
        hints: Hints::default(),
    };
    let batches: Vec<_> = store.querier(tenant).select(request).try_collect().await.expect("memory can be read");
    let mut found = std::collections::BTreeSet::new();
    for batch in batches {
        let timestamps = batch.columns.timestamps().expect("it was just written");
        let text = batch.columns.text().expect("it was just written").expect("no counts were asked for");
        let metadata = batch.columns.metadata().expect("it was just written");
        for run in &batch.runs {
            for row in run.rows.clone() {
                let mut pairs = Vec::new();
                metadata.for_each(row, |name, value| pairs.push((name.to_owned(), value.to_owned())));
                found.insert((run.labels.clone(), timestamps[row as usize], text.line(row).to_vec(), pairs));
            }
        }
    }
    found.len()
}
