//! The store in memory: pushing, flushing and querying.
//!
//! ```sh
//! cargo bench -p loki-benches --bench store
//! ```

use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loki_benches::wire::push_bodies;
use loki_benches::{Corpus, NEEDLE};
use loki_core::Direction;
use loki_logql::engine::{Engine, EngineOptions, QueryLimits, RangeQuery};
use loki_logql::result::QueryResult;
use loki_store::{ManualClock, PushBody, Store, StoreConfig, TenantId};
use tokio::runtime::{Builder, Runtime};

const ENTRIES: usize = 200_000;
/// About what an agent sends at once.
const ENTRIES_PER_PUSH: usize = 1_000;

criterion_group!(benches, pushes, queries);
criterion_main!(benches);

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime without drivers")
}

fn bodies(corpus: &Corpus) -> Vec<PushBody> {
    push_bodies(corpus, ENTRIES_PER_PUSH).into_iter().map(|body| PushBody::Snappy(Bytes::from(body))).collect()
}

async fn open(corpus: &Corpus) -> Store {
    let clock = Arc::new(ManualClock::new(corpus.end()));
    Store::open(StoreConfig::memory().with_clock(clock)).await.expect("memory can be opened")
}

/// Pushes all bodies and returns how many entries were stored.
async fn push(store: &Store, bodies: &[PushBody]) -> u64 {
    let tenant = TenantId::anonymous();
    let mut entries = 0;
    for body in bodies {
        entries += store.push(&tenant, body.clone()).await.expect("memory does not fail").entries;
    }
    entries
}

fn throughput(corpus: &Corpus) -> Throughput {
    Throughput::ElementsAndBytes { elements: corpus.entries() as u64, bytes: corpus.line_bytes() as u64 }
}

fn pushes(c: &mut Criterion) {
    let corpus = Corpus::new(ENTRIES);
    let bodies = bodies(&corpus);
    let runtime = runtime();
    let mut group = c.benchmark_group("store");
    group.sample_size(10).throughput(throughput(&corpus));
    group.bench_function("push", |b| {
        b.iter_batched(
            || runtime.block_on(open(&corpus)),
            |store| {
                assert_eq!(runtime.block_on(push(&store, &bodies)), ENTRIES as u64);
                store
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("flush", |b| {
        b.iter_batched(
            || {
                runtime.block_on(async {
                    let store = open(&corpus).await;
                    push(&store, &bodies).await;
                    store
                })
            },
            |store| {
                runtime.block_on(store.flush()).expect("memory can be written");
                assert_eq!(store.segment_count(), 1);
                store
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn queries(c: &mut Criterion) {
    let corpus = Corpus::new(ENTRIES);
    let bodies = bodies(&corpus);
    let runtime = runtime();
    let head = runtime.block_on(async {
        let store = open(&corpus).await;
        push(&store, &bodies).await;
        store
    });
    let flushed = runtime.block_on(async {
        let store = open(&corpus).await;
        push(&store, &bodies).await;
        store.flush().await.expect("memory can be written");
        store
    });
    let needles = corpus.needles() as f64;
    let seconds = corpus.seconds();
    let cases = [
        ("count", format!(r#"sum(count_over_time({{env="prod"}}[{seconds}s]))"#), ENTRIES as f64),
        ("needle", format!(r#"sum(count_over_time({{env="prod"}} |= "{NEEDLE}" [{seconds}s]))"#), needles),
        (
            "json field",
            format!(r#"sum(count_over_time({{shape="json"}} | json | request_status = 503 [{seconds}s]))"#),
            corpus.lines_with(r#""status":503"#) as f64,
        ),
    ];
    for (place, store) in [("query head", head), ("query segment", flushed)] {
        let mut group = c.benchmark_group(place);
        group.sample_size(20).throughput(throughput(&corpus));
        for (name, query, expected) in &cases {
            group.bench_function(*name, |b| {
                b.iter(|| assert_eq!(runtime.block_on(answer(&store, &corpus, query)), *expected));
            });
        }
        group.finish();
    }
}

/// The sum of all points.
async fn answer(store: &Store, corpus: &Corpus, query: &str) -> f64 {
    let query = RangeQuery {
        expr: loki_logql::parse(query).expect("it is valid"),
        start: corpus.end(),
        end: corpus.end(),
        step_nanos: 1_000_000_000,
        interval_nanos: 0,
        limit: 0,
        direction: Direction::Forward,
        categorize_labels: false,
    };
    let now = corpus.end();
    let engine = Engine::new(EngineOptions::inline(Arc::new(move || now)));
    let querier = store.querier(&TenantId::anonymous());
    let answer = engine.range_query(querier, query, &QueryLimits::default()).await.expect("it can be evaluated");
    let QueryResult::Matrix(series) = answer.result else {
        panic!("a metric query answers with a matrix");
    };
    series.iter().flat_map(|series| &series.points).map(|point| point.value).sum()
}
