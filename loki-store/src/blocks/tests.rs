use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures::FutureExt as _;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use uuid::Uuid;

use super::block::HEADER_BYTES;
use super::files::BlockFile;
use super::*;
use crate::objects::Objects;

const BLOCK: u64 = BLOCK_BYTES;
/// What a whole block takes.
const SPACE: u64 = BLOCK + 4096;
const PLENTY: u64 = 1 << 40;

/// Files in memory that fail when they are told to.
#[derive(Debug, Default)]
struct FaultyFiles {
    files: Mutex<BTreeMap<BlockKey, Vec<u8>>>,
    /// What they all took at most.
    peak_bytes: AtomicU64,
    fail_writes: Mutex<Option<io::ErrorKind>>,
    fail_reads: Mutex<Option<io::ErrorKind>>,
    fail_removals: Mutex<Option<io::ErrorKind>>,
}

fn check(fault: &Mutex<Option<io::ErrorKind>>) -> io::Result<()> {
    fault.lock().map_or(Ok(()), |kind| Err(kind.into()))
}

impl BlockFiles for FaultyFiles {
    fn list(&self) -> io::Result<Vec<BlockFile>> {
        let files = self.files.lock();
        let file = |(key, file): (&BlockKey, &Vec<u8>)| BlockFile {
            key: *key,
            bytes: file.len() as u64,
            modified: SystemTime::UNIX_EPOCH,
        };
        Ok(files.iter().map(file).collect())
    }

    fn read(&self, key: BlockKey) -> io::Result<Vec<u8>> {
        check(&self.fail_reads)?;
        self.files.lock().get(&key).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&self, key: BlockKey, header: &[u8], payload: &[u8]) -> io::Result<()> {
        check(&self.fail_writes)?;
        let mut files = self.files.lock();
        files.insert(key, [header, payload].concat());
        let bytes = files.values().map(|file| space_of(file.len() as u64)).sum();
        self.peak_bytes.fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, key: BlockKey) -> io::Result<()> {
        check(&self.fail_removals)?;
        self.files.lock().remove(&key).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Segments in an object store, read through a cache.
struct Bench {
    files: Arc<FaultyFiles>,
    cache: Arc<BlockCache>,
    objects: Objects,
    segments: Vec<(SegmentId, Path, Bytes)>,
    free_bytes: Arc<AtomicU64>,
}

impl Bench {
    async fn new(max_bytes: u64, sizes: &[u64]) -> Self {
        let store = Arc::new(InMemory::new());
        let mut segments = Vec::new();
        for (&size, number) in sizes.iter().zip(1_u128..) {
            let words = (0..size.div_ceil(64)).flat_map(|word| [(word << 8 | number as u64).to_le_bytes(); 8].concat());
            let content: Bytes = words.take(size as usize).collect();
            let path = Path::from(format!("s/{number}.seg"));
            store.put(&path, content.clone().into()).await.unwrap();
            segments.push((SegmentId(Uuid::from_u128(number)), path, content));
        }
        let (files, free_bytes) = (Arc::<FaultyFiles>::default(), Arc::new(AtomicU64::new(PLENTY)));
        let objects = Objects::new(store, Path::default());
        let cache = open(&files, max_bytes, &free_bytes, Budget::unlimited());
        Self { files, cache, objects, segments, free_bytes }
    }

    /// Starts over with the files that are there.
    fn reopen(&mut self, max_bytes: u64) {
        self.cache = open(&self.files, max_bytes, &self.free_bytes, Budget::unlimited());
    }

    /// Reads ranges, and says how many requests that took.
    async fn read(&self, segment: usize, ranges: &[Range<u64>]) -> u64 {
        let (id, path, content) = &self.segments[segment];
        let origin = Origin { objects: &self.objects, path, segment: *id, size: content.len() as u64 };
        let before = self.objects.requests().reads.value();
        let found = self.cache.read(origin, ranges).await.unwrap();
        let expected: Vec<Bytes> =
            ranges.iter().map(|range| content.slice(range.start as usize..range.end as usize)).collect();
        assert!(found == expected, "{ranges:?} of segment {segment}");
        self.cache.settle().await;
        self.objects.requests().reads.value() - before
    }

    async fn read_one(&self, segment: usize, range: Range<u64>) -> u64 {
        self.read(segment, &[range]).await
    }

    fn key(&self, segment: usize, number: u32) -> BlockKey {
        BlockKey { segment: self.segments[segment].0, number }
    }

    fn numbers_held(&self) -> Vec<u32> {
        self.files.files.lock().keys().map(|key| key.number).collect()
    }
}

fn open(files: &Arc<FaultyFiles>, max_bytes: u64, free_bytes: &Arc<AtomicU64>, memory: Budget) -> Arc<BlockCache> {
    let free_bytes = Arc::clone(free_bytes);
    let free_space: FreeSpace = Arc::new(move || Ok(free_bytes.load(Ordering::Relaxed)));
    Arc::new(BlockCache::with_files(Arc::<FaultyFiles>::clone(files), max_bytes, free_space, memory).unwrap())
}

#[tokio::test]
async fn what_was_read_is_not_fetched_again() {
    let mut bench = Bench::new(PLENTY, &[5 * BLOCK + 100]).await;
    assert_eq!(bench.read(0, &[10..20, BLOCK - 5..BLOCK + 5]).await, 1, "neighbours are fetched together");
    assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 0);
    assert_eq!(bench.read(0, &[3 * BLOCK..3 * BLOCK + 1, 5 * BLOCK..5 * BLOCK + 100]).await, 2);
    assert_eq!(bench.read_one(0, 0..5 * BLOCK + 100).await, 2, "blocks 2 and 4 were missing");
    let counters = bench.cache.counters();
    assert_eq!([counters.hits.value(), counters.misses.value()], [2 + 4, 2 + 2 + 2]);
    assert_eq!(bench.cache.used_bytes(), 5 * SPACE + 4096);
    bench.reopen(PLENTY);
    assert_eq!(bench.read_one(0, 0..5 * BLOCK + 100).await, 0, "a restart finds it");
    assert_eq!(bench.cache.used_bytes(), 5 * SPACE + 4096);
}

#[tokio::test]
async fn the_bound_holds_to_the_byte() {
    for (max_bytes, blocks) in [(0, 0), (SPACE - 1, 0), (SPACE, 1), (3 * SPACE - 1, 2), (3 * SPACE, 3)] {
        let bench = Bench::new(max_bytes, &[8 * BLOCK]).await;
        for number in 0..8 {
            bench.read_one(0, number * BLOCK..number * BLOCK + 1).await;
        }
        assert_eq!(bench.cache.len(), blocks);
        assert_eq!(bench.files.peak_bytes.load(Ordering::Relaxed), blocks as u64 * SPACE);
    }
}

#[tokio::test]
async fn blocks_that_are_used_stay() {
    let mut bench = Bench::new(3 * SPACE, &[8 * BLOCK]).await;
    for number in [0, 1, 2, 0, 3, 4] {
        bench.read_one(0, number * BLOCK + 3..number * BLOCK + 9).await;
    }
    assert_eq!(bench.numbers_held(), [0, 3, 4]);
    assert_eq!(bench.cache.counters().evictions.value(), 2);
    bench.reopen(SPACE);
    assert_eq!(bench.cache.len(), 1, "a lower bound holds from the start");
    assert_eq!(bench.files.files.lock().len(), 1);
}

#[tokio::test]
async fn damage_is_found_and_mended() {
    let bench = Bench::new(PLENTY, &[2 * BLOCK, 2 * BLOCK]).await;
    bench.read_one(0, 0..2 * BLOCK).await;
    bench.read_one(1, 0..2 * BLOCK).await;
    let key = bench.key(0, 1);
    let whole = bench.files.files.lock()[&key].clone();
    let flipped = |place: usize| {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        damaged
    };
    let of_another = bench.files.files.lock()[&bench.key(1, 1)].clone();
    let damaged = [vec![], whole[..whole.len() - 1].to_vec(), flipped(0), flipped(HEADER_BYTES + 9), of_another];
    for (damaged, number) in damaged.into_iter().zip(1..) {
        bench.files.files.lock().insert(key, damaged);
        assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 1);
        assert_eq!(bench.cache.counters().damaged.value(), number);
        assert_eq!(bench.files.files.lock()[&key], whole);
        assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 0);
    }
    assert_eq!(bench.cache.used_bytes(), 4 * SPACE);
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_is_done_without() {
    let bench = Bench::new(PLENTY, &[2 * BLOCK]).await;
    bench.read_one(0, 0..2 * BLOCK).await;
    *bench.files.fail_reads.lock() = Some(io::ErrorKind::Other);
    assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 1);
    *bench.files.fail_reads.lock() = None;
    assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 0);
}

#[tokio::test]
async fn files_that_somebody_removed_are_fetched_again() {
    let bench = Bench::new(PLENTY, &[2 * BLOCK]).await;
    bench.read_one(0, 0..2 * BLOCK).await;
    bench.files.files.lock().clear();
    assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 1);
    assert_eq!(bench.cache.used_bytes(), 2 * SPACE);
    assert_eq!(bench.cache.counters().damaged.value(), 0);
}

#[tokio::test]
async fn a_full_disk_gets_room_and_is_written_again_later() {
    let bench = Bench::new(PLENTY, &[16 * BLOCK]).await;
    bench.read_one(0, 0..5 * BLOCK).await;
    *bench.files.fail_writes.lock() = Some(io::ErrorKind::StorageFull);
    bench.read_one(0, 8 * BLOCK..9 * BLOCK).await;
    assert_eq!(bench.numbers_held(), [2, 3, 4], "the oldest went");
    assert_eq!(bench.cache.counters().write_failures.value(), 1);
    for _ in 0..4 {
        bench.read_one(0, 8 * BLOCK..9 * BLOCK).await;
    }
    assert_eq!(bench.cache.used_bytes(), 0);
    *bench.files.fail_writes.lock() = None;
    bench.read_one(0, 8 * BLOCK..9 * BLOCK).await;
    assert_eq!(bench.numbers_held(), [8]);
}

#[tokio::test]
async fn the_last_of_a_disk_is_left_to_others() {
    let bench = Bench::new(PLENTY, &[16 * BLOCK]).await;
    bench.free_bytes.store(MIN_FREE_BYTES + BLOCK, Ordering::Relaxed);
    bench.read_one(0, 0..BLOCK).await;
    assert_eq!(bench.numbers_held(), [0]);
    bench.free_bytes.store(MIN_FREE_BYTES + BLOCK - 1, Ordering::Relaxed);
    bench.read_one(0, BLOCK..2 * BLOCK).await;
    assert!(bench.numbers_held().is_empty(), "blocks go instead");
}

#[tokio::test]
async fn a_disk_that_refuses_everything_is_done_without() {
    let bench = Bench::new(2 * SPACE, &[16 * BLOCK]).await;
    bench.read_one(0, 0..2 * BLOCK).await;
    *bench.files.fail_removals.lock() = Some(io::ErrorKind::PermissionDenied);
    assert_eq!(bench.read_one(0, 2 * BLOCK..4 * BLOCK).await, 1);
    assert_eq!(bench.numbers_held(), [0, 1], "nothing is written beyond the bound");
    assert_eq!(bench.read_one(0, 0..2 * BLOCK).await, 0);
}

#[tokio::test]
async fn only_so_much_waits_to_be_written() {
    let bench = Bench::new(PLENTY, &[BLOCK]).await;
    let run = Bytes::from(vec![0; 4 << 20]);
    let segment = bench.segments[0].0;
    // Somebody writes just now, and does not get on.
    bench.cache.writing.lock().is_under_way = true;
    for first in 0..4 {
        bench.cache.keep(segment, first * 16, run.clone());
    }
    assert_eq!(bench.cache.counters().skipped.value(), 0);
    assert_eq!(bench.cache.memory.used_bytes(), WRITE_BEHIND_BYTES);
    bench.cache.keep(segment, 64, Bytes::from_static(b"x"));
    assert_eq!(bench.cache.counters().skipped.value(), 1);
    bench.cache.write_all();
    assert_eq!(bench.cache.memory.used_bytes(), 0);
    assert_eq!(bench.cache.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_is_not_waited_for_without_end() {
    let bench = Bench::new(PLENTY, &[BLOCK]).await;
    let since = tokio::time::Instant::now();
    bench.cache.settle_within(Duration::from_secs(3)).await;
    assert_eq!(since.elapsed(), Duration::ZERO);
    bench.cache.writing.lock().is_under_way = true;
    bench.cache.settle_within(Duration::from_secs(3)).await;
    assert_eq!(since.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn without_memory_nothing_is_kept() {
    let mut bench = Bench::new(PLENTY, &[BLOCK]).await;
    let memory = Budget::new(loki_logql::budget::BudgetScope::Process, BLOCK - 1);
    bench.cache = open(&bench.files, PLENTY, &bench.free_bytes, memory);
    bench.read_one(0, 0..10).await;
    assert_eq!((bench.cache.len(), bench.cache.counters().skipped.value()), (0, 1));
}

#[tokio::test]
async fn whole_blocks_count_as_memory_while_parts_of_them_are_read() {
    let mut bench = Bench::new(PLENTY, &[4 * BLOCK]).await;
    bench.read_one(0, 0..1).await;
    let memory = Budget::unlimited();
    bench.cache = open(&bench.files, PLENTY, &bench.free_bytes, memory.clone());
    let (segment, path, _) = &bench.segments[0];
    let origin = Origin { objects: &bench.objects, path, segment: *segment, size: 4 * BLOCK };
    let ranges = [0..1, 3 * BLOCK..3 * BLOCK + 1];
    let mut reading = std::pin::pin!(bench.cache.read(origin, &ranges));
    let held_up = bench.files.files.lock();
    assert!(reading.as_mut().now_or_never().is_none());
    assert_eq!(memory.used_bytes(), 2 * BLOCK);
    drop(held_up);
    reading.await.unwrap();
    bench.cache.settle().await;
    assert_eq!(memory.used_bytes(), 0);
}

#[tokio::test]
async fn forgotten_bytes_are_fetched_again() {
    let bench = Bench::new(PLENTY, &[4 * BLOCK, 4 * BLOCK]).await;
    bench.read_one(0, 0..4 * BLOCK).await;
    bench.read_one(1, 0..4 * BLOCK).await;
    bench.cache.forget(bench.segments[0].0, &(BLOCK + 5..2 * BLOCK + 5));
    assert_eq!(bench.numbers_held(), [0, 3, 0, 1, 2, 3]);
    assert_eq!(bench.read_one(0, 0..4 * BLOCK).await, 1);
}

#[tokio::test]
async fn what_is_forgotten_before_it_is_written_does_not_come() {
    let bench = Bench::new(PLENTY, &[BLOCK]).await;
    let (segment, other) = (bench.segments[0].0, SegmentId(Uuid::nil()));
    bench.cache.writing.lock().is_under_way = true;
    for segment in [segment, other] {
        bench.cache.keep(segment, 0, Bytes::from(vec![0; 2 * BLOCK as usize]));
    }
    bench.cache.forget(segment, &(2 * BLOCK..2 * BLOCK + 1));
    assert_eq!(bench.cache.writing.lock().runs.len(), 2);
    bench.cache.forget(segment, &(2 * BLOCK - 1..2 * BLOCK + 1));
    assert_eq!(bench.cache.writing.lock().bytes, 2 * BLOCK);
    bench.cache.write_all();
    assert!(bench.files.files.lock().keys().all(|key| key.segment == other));
    assert_eq!(bench.cache.len(), 2);
}

/// Forgets a block while it is written.
#[derive(Debug, Default)]
struct ForgetfulFiles {
    files: FaultyFiles,
    cache: std::sync::OnceLock<std::sync::Weak<BlockCache>>,
}

impl BlockFiles for ForgetfulFiles {
    fn list(&self) -> io::Result<Vec<BlockFile>> {
        self.files.list()
    }

    fn read(&self, key: BlockKey) -> io::Result<Vec<u8>> {
        self.files.read(key)
    }

    fn write(&self, key: BlockKey, header: &[u8], payload: &[u8]) -> io::Result<()> {
        self.cache.get().unwrap().upgrade().unwrap().forget(key.segment, &(0..1));
        self.files.write(key, header, payload)
    }

    fn remove(&self, key: BlockKey) -> io::Result<()> {
        self.files.remove(key)
    }
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_written_goes_again() {
    let files = Arc::<ForgetfulFiles>::default();
    let memory = Budget::unlimited();
    let cache =
        BlockCache::with_files(Arc::<ForgetfulFiles>::clone(&files), PLENTY, Arc::new(|| Ok(PLENTY)), memory).unwrap();
    let cache = Arc::new(cache);
    files.cache.set(Arc::downgrade(&cache)).unwrap();
    cache.keep(SegmentId(Uuid::nil()), 0, Bytes::from(vec![0; 100]));
    cache.settle().await;
    assert_eq!((cache.len(), files.files.files.lock().len()), (0, 0));
}

#[tokio::test]
async fn ranges_that_no_segment_has_are_left_to_the_object_store() {
    let bench = Bench::new(PLENTY, &[BLOCK]).await;
    let (segment, path, _) = &bench.segments[0];
    let origin = Origin { objects: &bench.objects, path, segment: *segment, size: BLOCK };
    bench.cache.read(origin, std::slice::from_ref(&(BLOCK + 1..BLOCK + 2))).await.unwrap_err();
    let gone = Path::from("s/gone.seg");
    let origin = Origin { path: &gone, segment: SegmentId(Uuid::nil()), ..origin };
    bench.cache.read(origin, std::slice::from_ref(&(0..2))).await.unwrap_err();
    assert_eq!(bench.cache.len(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    /// Parts of a segment, as portions of it.
    Read {
        segment: usize,
        ranges: Vec<(f64, f64)>,
    },
    Damage {
        file: usize,
        place: usize,
    },
    Remove {
        file: usize,
    },
    Forget {
        segment: usize,
        part: f64,
    },
    Fail {
        writes: bool,
        reads: bool,
        removals: bool,
    },
    Reopen {
        blocks: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0.0..1.0, 0.0..0.4);
    prop_oneof![
        8 => (0..3_usize, prop::collection::vec(range, 1..5)).prop_map(|(segment, ranges)| Step::Read { segment, ranges }),
        2 => (0..8_usize, 0..300_000_usize).prop_map(|(file, place)| Step::Damage { file, place }),
        1 => (0..8_usize).prop_map(|file| Step::Remove { file }),
        1 => (0..3_usize, 0.0..1.0).prop_map(|(segment, part)| Step::Forget { segment, part }),
        1 => (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(writes, reads, removals)| Step::Fail { writes, reads, removals }),
        1 => (0..12_u64).prop_map(|blocks| Step::Reopen { blocks }),
    ]
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new(6 * SPACE, &[6 * BLOCK + 17, 3 * BLOCK, 1000]).await;
    let mut max_bytes = 6 * SPACE;
    for step in steps {
        match step {
            Step::Read { segment, ranges } => {
                let size = bench.segments[segment].2.len() as f64;
                let range = |(from, len): (f64, f64)| {
                    let start = (from * size) as u64;
                    start..((from + len).min(1.0) * size).max((start + 1) as f64) as u64
                };
                bench.read(segment, &ranges.into_iter().map(range).collect::<Vec<_>>()).await;
            }
            Step::Damage { file, place } => {
                if let Some(file) = bench.files.files.lock().values_mut().nth(file)
                    && let Some(byte) = file.get_mut(place)
                {
                    *byte ^= 0x55;
                }
            }
            Step::Remove { file } => {
                let mut files = bench.files.files.lock();
                let key = files.keys().nth(file).copied();
                key.map(|key| files.remove(&key));
            }
            Step::Forget { segment, part } => {
                let (id, _, content) = &bench.segments[segment];
                let from = (part * content.len() as f64) as u64;
                bench.cache.forget(*id, &(from..from + 1));
            }
            Step::Fail { writes, reads, removals } => {
                *bench.files.fail_writes.lock() = writes.then_some(io::ErrorKind::StorageFull);
                *bench.files.fail_reads.lock() = reads.then_some(io::ErrorKind::Other);
                *bench.files.fail_removals.lock() = removals.then_some(io::ErrorKind::PermissionDenied);
            }
            Step::Reopen { blocks } => {
                max_bytes = blocks * SPACE;
                *bench.files.fail_removals.lock() = None;
                bench.reopen(max_bytes);
                bench.files.peak_bytes.store(0, Ordering::Relaxed);
            }
        }
        assert!(bench.files.peak_bytes.load(Ordering::Relaxed) <= max_bytes);
        let held: u64 = bench.files.files.lock().values().map(|file| space_of(file.len() as u64)).sum();
        assert!(held <= bench.cache.used_bytes(), "no file is out of the account");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn answers_equal_those_of_the_object_store(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
