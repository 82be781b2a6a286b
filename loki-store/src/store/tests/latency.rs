//! How many answers of a distant object store a query waits for, one after the other.

use std::time::Duration;

use futures::stream::BoxStream;
use loki_logql::budget::{Budget, BudgetScope};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::config::Location;
use crate::querier::Reach;
use crate::segment::layout::SectionKind;

/// What a read or a write takes. The clock is one that stands still unless everybody waits for it.
const TRIP: Duration = Duration::from_secs(1);

/// Passes everything on to another store; reads and writes take their time.
#[derive(Clone, Debug)]
struct DistantStore {
    inner: Arc<dyn ObjectStore>,
    reads: Arc<Mutex<Reads>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    all: usize,
    under_way: usize,
    peak: usize,
}

impl fmt::Display for DistantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "distant {}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for DistantStore {
    async fn put_opts(&self, location: &ObjectPath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        tokio::time::sleep(TRIP).await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        {
            let mut reads = self.reads.lock();
            reads.all += 1;
            reads.under_way += 1;
            reads.peak = reads.peak.max(reads.under_way);
        }
        tokio::time::sleep(TRIP).await;
        self.reads.lock().under_way -= 1;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const SEGMENTS: i64 = 20;
/// Of two lines each.
const CHUNKS: i64 = 40;
const GROUPS: u64 = (SEGMENTS * CHUNKS) as u64 / 16;

/// Segments behind a network, and how to open the store that they are of.
struct Bench {
    machine: Machine,
    config: StoreConfig,
    distant: DistantStore,
}

impl Bench {
    async fn new() -> Self {
        let machine = Machine::new();
        let store = machine.open().await.unwrap();
        for segment in 0..SEGMENTS {
            let entries = (0..2 * CHUNKS).map(|n| entry(segment * 1000 + n, "a line of text that fills", Some("t")));
            push(&store, 1, entries.collect()).await.unwrap();
            store.flush().await.unwrap();
        }
        let distant = DistantStore { inner: Arc::clone(&machine.objects), reads: Arc::default() };
        let machine = Machine { objects: Arc::new(distant.clone()), ..machine };
        let objects = Arc::clone(&machine.objects);
        let location = Location::Objects { store: objects, prefix: String::new(), wal_folder: None };
        let config = StoreConfig { location, ..machine.config() };
        Self { machine, config, distant }
    }

    /// The store, with nothing in memory but what opening reads.
    async fn open(&self) -> Store {
        let store = self.machine.open_with(self.config.clone()).await.unwrap();
        *self.distant.reads.lock() = Reads::default();
        store
    }

    /// What something gives, the time it takes and the reads that it makes.
    async fn time<T>(&self, work: impl Future<Output = T>) -> (T, u64, Reads) {
        let since = Instant::now();
        let outcome = work.await;
        (outcome, since.elapsed().as_secs(), std::mem::take(&mut *self.distant.reads.lock()))
    }
}

fn by_time() -> SelectRequest {
    request(all(), TimeRange::ALL, Order::Time(Direction::Backward))
}

#[tokio::test(start_paused = true)]
async fn scans_read_much_at_the_same_time() {
    let bench = Bench::new().await;
    let store = bench.open().await;
    let (found, trips, reads) = bench.time(everything(&store)).await;
    assert_eq!(found.len() as i64, SEGMENTS * CHUNKS * 2);
    assert!(reads.all as u64 >= 3 * SEGMENTS as u64 + GROUPS, "{reads:?}");
    // Two for the streams of 20 segments, three for 8 of them at a time, and the groups.
    assert!(trips <= 2 * 2 + 3 + GROUPS.div_ceil(8) + 1, "{trips} trips, {reads:?}");
    assert!(reads.peak <= 16, "{reads:?}");
    let (_, trips, reads) = bench.time(everything(&store)).await;
    assert!(trips <= GROUPS.div_ceil(8) + 2, "{trips} trips, {reads:?}");
    assert!(reads.peak <= 8 + 8, "{reads:?}");
    let (_, trips, reads) = bench.time(select(store.querier(&tenant()), by_time())).await;
    assert!(trips <= GROUPS.div_ceil(8) + 6, "few are read at first: {trips} trips, {reads:?}");
}

#[tokio::test(start_paused = true)]
async fn who_may_stop_early_has_little_read_ahead() {
    let bench = Bench::new().await;
    let store = bench.open().await;
    bench.time(everything(&store)).await;
    let mut batches = store.querier(&tenant()).select(by_time());
    let (_, trips, reads) = bench.time(batches.next()).await;
    assert_eq!((trips, reads.all), (1, 2), "two groups of the last segment");
}

/// Whoever needed a part of a segment first fetched it for everybody, but only while he was waiting himself.
#[tokio::test(start_paused = true)]
async fn who_pauses_holds_nobody_up() {
    let bench = Bench::new().await;
    for order in [Order::Any, Order::Time(Direction::Forward)] {
        for batches in (1..SEGMENTS * CHUNKS).step_by(29) {
            let store = bench.open().await;
            let mut pausing = store.querier(&tenant()).select(request(all(), TimeRange::ALL, order));
            for _ in 0..batches {
                pausing.next().await.unwrap().unwrap();
            }
            let everything = tokio::time::timeout(100 * TRIP, everything(&store)).await;
            assert!(everything.is_ok(), "{order:?}, {batches} batches");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_streams_is_read_at_the_same_time() {
    let bench = Bench::new().await;
    let rounds = (SEGMENTS as u64).div_ceil(16);
    let matchers = all();
    let store = bench.open().await;
    let (names, trips, reads) = bench.time(store.label_names(&tenant(), &matchers, TimeRange::ALL)).await;
    assert_eq!((names.unwrap().len(), trips, reads.peak), (2, rounds, 16));
    let store = bench.open().await;
    let (values, trips, _) = bench.time(store.label_values(&tenant(), "app", &matchers, TimeRange::ALL)).await;
    assert_eq!((values.unwrap().len(), trips), (1, rounds));
    let store = bench.open().await;
    let (series, trips, _) = bench.time(store.series(&tenant(), &[all()], TimeRange::ALL)).await;
    assert_eq!((series.unwrap().len(), trips), (1, rounds));
    let store = bench.open().await;
    let (stats, trips, _) = bench.time(store.stats(&tenant(), &matchers, TimeRange::ALL)).await;
    assert_eq!((stats.unwrap().chunks as i64, trips), (SEGMENTS * CHUNKS, 2 * rounds));
    let store = bench.open().await;
    let (volume, trips, _) = bench.time(store.volume(&tenant(), &matchers, TimeRange::ALL, 0)).await;
    assert_eq!((volume.unwrap().len(), trips), (1, 3 * rounds));
}

/// Scans what is in memory otherwise: segments are open, sections are cached.
async fn scan(bench: &Bench, store: &Store, reach: Reach, memory: Budget) -> (u64, Reads) {
    let request = request(all(), TimeRange::ALL, Order::Any);
    let view = store.view(&tenant(), TimeRange::ALL);
    let batches = crate::querier::batches(view, request, Arc::default(), reach, memory);
    let (batches, trips, reads) = bench.time(batches.count()).await;
    assert_eq!(batches as i64, SEGMENTS * CHUNKS);
    (trips, reads)
}

#[tokio::test(start_paused = true)]
async fn reading_ahead_keeps_to_its_bounds() {
    let bench = Bench::new().await;
    let store = bench.open().await;
    bench.time(everything(&store)).await;
    let unlimited = Budget::unlimited;
    for groups in [1, 2, 5] {
        let (trips, reads) = scan(&bench, &store, Reach::new(1, groups, u64::MAX), unlimited()).await;
        assert!(reads.peak <= 2 * groups && trips >= GROUPS.div_ceil(groups as u64), "{trips} trips, {reads:?}");
    }
    let one = group_bytes(&store).await;
    let (trips, reads) = scan(&bench, &store, Reach::new(1, 8, one), unlimited()).await;
    assert_eq!(trips, GROUPS, "with the first group the bytes are used up: {reads:?}");
    let (trips, _) = scan(&bench, &store, Reach::new(1, 8, one + 1), unlimited()).await;
    assert_eq!(trips, GROUPS / 2, "a byte is left, so that another one is read");
}

#[tokio::test(start_paused = true)]
async fn reading_ahead_rests_where_memory_is_tight() {
    let bench = Bench::new().await;
    let store = bench.open().await;
    bench.time(everything(&store)).await;
    let memory = Budget::new(BudgetScope::Process, 8 << 20);
    let mut of_others = memory.reservation();
    of_others.hold(7 << 20);
    let (trips, _) = scan(&bench, &store, Reach::new(8, 8, u64::MAX), memory.clone()).await;
    assert_eq!(trips, GROUPS, "what is needed next is read all the same");
    of_others.hold(0);
    let (trips, _) = scan(&bench, &store, Reach::new(8, 8, u64::MAX), memory.clone()).await;
    assert!(trips < GROUPS / 4, "{trips}");
    drop(of_others);
    assert_eq!(memory.used_bytes(), 0);
}

/// A store with so much memory, and whose it is.
async fn open_within(bytes: u64) -> (Bench, Budget, Store) {
    let mut bench = Bench::new().await;
    let memory = Budget::new(BudgetScope::Process, bytes);
    bench.config.memory = memory.clone();
    let store = bench.open().await;
    (bench, memory, store)
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_streams_is_read_one_by_one_where_memory_is_tight() {
    let (bench, memory, store) = open_within(8 << 20).await;
    let before = memory.used_bytes();
    let mut of_others = memory.reservation();
    of_others.hold(7 << 20);
    let (series, trips, reads) = bench.time(store.series(&tenant(), &[all()], TimeRange::ALL)).await;
    assert_eq!((series.unwrap().len(), trips, reads.peak), (1, SEGMENTS as u64, 1));
    assert_eq!(memory.used_bytes(), before + (7 << 20));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_cannot_hold_what_is_known_of_its_streams_is_refused() {
    let (_bench, memory, store) = open_within(8 << 20).await;
    let before = memory.used_bytes();
    let part = store.view(&tenant(), TimeRange::ALL).segments.remove(0);
    let of_segment = part.stored_bytes(&[SectionKind::Index, SectionKind::Times]);
    let mut of_others = memory.reservation();
    of_others.hold((8 << 20) - before - of_segment / 2);
    let refused = store.querier(&tenant()).select(by_time()).next().await.unwrap().unwrap_err();
    let refused = loki_logql::engine::Error::from(refused);
    assert!(matches!(refused, loki_logql::engine::Error::Memory(_)), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "memory limit of 8388608 bytes per process reached; narrow the time range, select fewer streams, or aggregate by fewer labels"
    );
    // What is enough for a few of them, and their chunks, is enough for all.
    of_others.hold((8 << 20) - before - (64 << 10));
    assert_eq!(select(store.querier(&tenant()), by_time()).await.len() as i64, SEGMENTS * CHUNKS * 2);
    of_others.hold(0);
    assert_eq!(memory.used_bytes(), before);
}

/// Bytes of the chunks that are read together; all of them are of the same size.
async fn group_bytes(store: &Store) -> u64 {
    let view = store.view(&tenant(), TimeRange::ALL);
    let chunks = view.segments[0].chunks().await.unwrap();
    let bytes: Vec<u64> = chunks.chunks.iter().map(|chunk| chunk.span.end - chunk.span.start).collect();
    bytes[..16].iter().sum()
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_flush_that_is_under_way() {
    let bench = Bench::new().await;
    let store = bench.open().await;
    bench.time(everything(&store)).await;
    push(&store, 2, vec![entry(1, "before the flush", None)]).await.unwrap();
    let flushing = tokio::spawn({
        let store = store.clone();
        async move { store.flush().await }
    });
    let since = Instant::now();
    while store.pending_flushes() == 0 {
        tokio::task::yield_now().await;
    }
    push(&store, 2, vec![entry(2, "while it is written", None)]).await.unwrap();
    let matchers = vec![Matcher::new("stream", MatchOp::Equal, "s2").unwrap()];
    let found = select(store.querier(&tenant()), request(matchers, TimeRange::ALL, Order::Any)).await;
    assert_eq!((found.len(), since.elapsed()), (2, Duration::ZERO));
    assert_eq!(store.pending_flushes(), 1, "it is still under way");
    flushing.await.unwrap().unwrap();
    assert_eq!((store.pending_flushes(), since.elapsed()), (0, TRIP));
}
