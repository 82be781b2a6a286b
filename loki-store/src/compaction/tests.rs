//! Merging against sorting, removing duplicates, and dividing by window.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use loki_core::chunk::ChunkOptions;
use loki_core::{Chunk, Codec, Labels, Timestamp};
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::cache::SectionCache;
use crate::deletes::{DeleteId, Deletion, Deletions, StoredDelete};
use crate::error::Error;
use crate::objects::Objects;
use crate::retention::Cuts;
use crate::segment::layout::WalPosition;
use crate::segment::writer::FinishedSegment;
use crate::segment::{Header, Segment, SegmentId, SegmentWriter, WriterId};
use crate::tenant::TenantId;

const HOUR: i64 = 3_600_000_000_000;

/// Time, line and structured metadata.
type Row = (i64, String, Labels);
/// By stream, in the order in which they are stored.
type Rows = BTreeMap<Labels, Vec<Row>>;

fn stream(number: u8) -> Labels {
    Labels::from_pairs([("s", format!("{number:03}"))]).unwrap()
}

fn row(time: i64, line: &str, trace: Option<&str>) -> Row {
    (time, line.to_owned(), Labels::from_pairs(trace.map(|trace| ("trace", trace))).unwrap())
}

struct Bench {
    objects: Objects,
    cache: Arc<SectionCache>,
}

impl Bench {
    fn new() -> Self {
        let objects = Objects::new(Arc::new(InMemory::new()), Path::default());
        Self { objects, cache: Arc::new(SectionCache::new(1 << 20)) }
    }

    async fn put(&self, header: Header, segment: FinishedSegment) -> Arc<Segment> {
        let path = self.objects.path(&header.object_path());
        self.objects.put_new(&path, segment.bytes).await.unwrap();
        Arc::new(Segment::open(&self.objects, &self.cache, path).await.unwrap())
    }

    /// A flushed segment with chunks of a few lines.
    async fn segment(&self, rows: &Rows) -> Arc<Segment> {
        self.segment_of_chunks(rows, 20).await
    }

    async fn segment_of_chunks(&self, rows: &Rows, chunk_bytes: usize) -> Arc<Segment> {
        let header = Header {
            id: SegmentId::random(),
            writer: WriterId::random(),
            sequence: 0,
            wal: WalPosition { log: Uuid::nil(), through: 0 },
            created: Timestamp(0),
            level: 0,
        };
        let mut writer = SegmentWriter::new(&header, chunk_bytes, ChunkOptions { codec: Codec::None, level: 0 });
        writer.start_tenant(TenantId::anonymous()).unwrap();
        for (labels, rows) in rows {
            writer.start_stream(labels).unwrap();
            for (time, line, metadata) in rows {
                writer.append(Timestamp(*time), line.as_bytes(), metadata).unwrap();
            }
        }
        self.put(header, writer.finish().unwrap()).await
    }

    async fn merge(
        &self,
        inputs: &[Rows],
        windows: Windows,
        (window_bytes, segment_bytes): (u64, usize),
        deletions: Deletions,
    ) -> (Vec<Arc<Segment>>, Tally) {
        let mut parts = Vec::new();
        for rows in inputs.iter().filter(|rows| !rows.is_empty()) {
            parts.extend(self.segment(rows).await.tenant(&TenantId::anonymous()));
        }
        let options = OutputOptions {
            writer: WriterId::random(),
            level: 1,
            created: Timestamp(7),
            windows,
            window_bytes,
            codec: Codec::Zstd { level: 1 },
            chunk_bytes: 50,
            segment_bytes,
        };
        let mut merge = Merge::open(parts, deletions, options).await.unwrap();
        let mut outputs = Vec::new();
        loop {
            merge.fetch().await.unwrap();
            match merge.run().unwrap() {
                Progress::Starved => {}
                Progress::Segment(segment) => outputs.push(self.put(segment.header, segment.segment).await),
                Progress::Done => break,
            }
        }
        assert_eq!(merge.tally().read, merge.rows_expected());
        (outputs, merge.tally())
    }

    /// What a segment holds, read chunk by chunk, after checking that its tables and rollups agree.
    async fn read(&self, segment: &Arc<Segment>) -> Rows {
        let part = segment.tenant(&TenantId::anonymous()).unwrap();
        let contents = part.contents().await.unwrap();
        let times = part.times().await.unwrap();
        let filters = part.filters().await.unwrap();
        let mut rows = Rows::new();
        for (number, entry) in contents.chunks.chunks.iter().enumerate() {
            let bytes = segment.read(std::slice::from_ref(&entry.span)).await.unwrap().remove(0);
            let chunk = Chunk::open(bytes).and_then(Chunk::verified).unwrap();
            assert_eq!(chunk.level(), segment.header.level);
            let (text, stamps, metadata) =
                (chunk.text().unwrap(), chunk.timestamps().unwrap(), chunk.metadata().unwrap());
            let mut row = 0;
            for run in chunk.runs().unwrap() {
                let labels = contents.index.labels(run.stream).unwrap();
                for _ in 0..run.rows {
                    let line = String::from_utf8(text.line(row).to_vec()).unwrap();
                    let time = stamps[row as usize];
                    assert!(entry.bounds().contains(Timestamp(time)));
                    assert!(times.range(run.stream).contains(Timestamp(time)));
                    if let Some(needle) = loki_core::Needle::new(line.as_bytes()) {
                        assert!(filters.probe(&needle).unwrap().contains(number as u32), "the filter knows {line}");
                    }
                    let metadata = Labels::from_pairs(metadata.row(row)).unwrap();
                    rows.entry(labels.clone()).or_default().push((time, line, metadata));
                    row += 1;
                }
            }
        }
        let rollup = part.rollup().await.unwrap();
        for (ordinal, rows) in (0..).zip(rows.values()) {
            let cells = rollup.cells(ordinal).unwrap();
            assert_eq!(cells.iter().map(|cell| cell.entries).sum::<u64>(), rows.len() as u64);
        }
        assert_eq!(part.entry().rows, rows.values().map(|rows| rows.len() as u64).sum::<u64>());
        rows
    }
}

/// What merging must come to: of equal rows the first, by time, then by arrival.
fn expected(inputs: &[Rows]) -> Rows {
    let mut all = Rows::new();
    for rows in inputs {
        for (labels, rows) in rows {
            all.entry(labels.clone()).or_default().extend(rows.iter().cloned());
        }
    }
    for rows in all.values_mut() {
        rows.sort_by_key(|row| row.0);
        let mut seen = BTreeSet::new();
        rows.retain(|row| seen.insert(row.clone()));
    }
    all
}

/// All outputs together; each stream in the order of outputs, then by time.
async fn together(bench: &Bench, outputs: &[Arc<Segment>]) -> Rows {
    let mut all = Rows::new();
    for output in outputs {
        for (labels, rows) in bench.read(output).await {
            all.entry(labels).or_default().extend(rows);
        }
    }
    for rows in all.values_mut() {
        rows.sort_by_key(|row| row.0);
    }
    all
}

/// A segment without duplicates, as flushes write them.
fn any_rows() -> impl Strategy<Value = Rows> {
    let line = prop_oneof![Just("a line".to_owned()), Just(String::new()), (0..9_u8).prop_map(|n| format!("line {n}"))];
    let trace = prop::option::weighted(0.4, prop_oneof![Just("t1"), Just("t2")]);
    // Few times, hours apart and equal.
    let time = prop_oneof![0..5_i64, (0..40_i64).prop_map(|hour| hour * HOUR / 2), Just(-HOUR)];
    let row = (time, line, trace).prop_map(|(time, line, trace)| row(time, &line, trace));
    let rows = prop::collection::vec(row, 1..25).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.0);
        let mut seen = BTreeSet::new();
        rows.retain(|row| seen.insert(row.clone()));
        rows
    });
    prop::collection::btree_map((0..6_u8).prop_map(stream), rows, 0..5)
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn merging_sorts_and_removes_duplicates(
        inputs in prop::collection::vec(any_rows(), 1..5),
        windows in prop_oneof![Just(Windows::TwoHours), Just(Windows::Days), Just(Windows::Whole)],
        window_bytes in prop_oneof![Just(1_u64), Just(60), Just(u64::MAX)],
        segment_bytes in prop_oneof![Just(1_usize), Just(600), Just(usize::MAX)],
    ) {
        prop_assume!(inputs.iter().any(|rows| !rows.is_empty()));
        on_runtime(async {
            let bench = Bench::new();
            let (outputs, tally) = bench.merge(&inputs, windows, (window_bytes, segment_bytes), Deletions::default()).await;
            let expected = expected(&inputs);
            assert_eq!(together(&bench, &outputs).await, expected);
            let rows = |rows: &Rows| rows.values().map(|rows| rows.len() as u64).sum::<u64>();
            assert_eq!(tally.written, rows(&expected));
            assert_eq!(tally.duplicates, inputs.iter().map(rows).sum::<u64>() - tally.written);
            for output in &outputs {
                assert_eq!((output.header.level, output.header.created), (1, Timestamp(7)));
                let (first, last) = output.bounds();
                let width = match windows {
                    Windows::TwoHours => 2 * HOUR,
                    Windows::Days => 24 * HOUR,
                    Windows::Whole => continue,
                };
                assert_eq!(first.0.div_euclid(width), last.0.div_euclid(width), "no output crosses a window");
            }
        });
    }
}

#[test]
fn entries_that_go_are_left_out_and_counted() {
    on_runtime(async {
        let rows = |number| (0..10).map(|n| row(n, &format!("line {n} of {number}"), None)).collect::<Vec<_>>();
        let input = Rows::from([(stream(1), rows(1)), (stream(2), rows(2))]);
        let stored = StoredDelete {
            id: DeleteId::random(),
            tenant: TenantId::anonymous(),
            query: r#"{s="002"} |= "line 7""#.to_owned(),
            range: loki_core::TimeRange::new(Timestamp(0), Timestamp(100)),
            created_at: Timestamp(0),
        };
        let limits =
            crate::Limits { retention_period: std::time::Duration::from_nanos(10), ..crate::Limits::unlimited() };
        let cuts = Cuts::new(&Arc::new(limits), Timestamp(12));
        let deletions = Deletions::new(vec![Arc::new(Deletion::new(stored).unwrap())]).with_retention(cuts);
        let bench = Bench::new();
        let (outputs, tally) = bench.merge(&[input], Windows::TwoHours, (u64::MAX, usize::MAX), deletions).await;
        let found = together(&bench, &outputs).await;
        let times = |number| found[&stream(number)].iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(times(1), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(times(2), [2, 3, 4, 5, 6, 8, 9]);
        assert_eq!(tally, Tally { read: 20, written: 15, duplicates: 0, hidden: 5 });
    });
}

#[test]
fn nothing_is_written_if_nothing_is_left() {
    on_runtime(async {
        let input = Rows::from([(stream(1), vec![row(1, "old", None)])]);
        let limits =
            crate::Limits { retention_period: std::time::Duration::from_nanos(1), ..crate::Limits::unlimited() };
        let cuts = Cuts::new(&Arc::new(limits), Timestamp(12));
        let deletions = Deletions::default().with_retention(cuts);
        let (outputs, tally) = Bench::new().merge(&[input], Windows::TwoHours, (u64::MAX, usize::MAX), deletions).await;
        assert!(outputs.is_empty());
        assert_eq!(tally, Tally { read: 1, hidden: 1, ..Tally::default() });
    });
}

#[test]
fn damage_names_the_segment_that_has_it() {
    on_runtime(async {
        let bench = Bench::new();
        let rows: Vec<_> = (0..10).map(|n| row(n, "some line of text", None)).collect();
        let good = bench.segment(&Rows::from([(stream(1), rows)])).await;
        let bytes = bench.objects.get(&good.path).await.unwrap();
        let mut bytes = bytes.to_vec();
        bytes[crate::segment::layout::HEADER_LEN + 70] ^= 1;
        bench.objects.delete(&good.path).await.unwrap();
        bench.objects.put_new(&good.path, bytes.into()).await.unwrap();
        let options = OutputOptions {
            writer: WriterId::random(),
            level: 1,
            created: Timestamp(0),
            windows: Windows::Whole,
            window_bytes: u64::MAX,
            codec: Codec::None,
            chunk_bytes: 50,
            segment_bytes: 50,
        };
        let parts = vec![good.tenant(&TenantId::anonymous()).unwrap()];
        let mut merge = Merge::open(parts, Deletions::default(), options).await.unwrap();
        let error = loop {
            merge.fetch().await.unwrap();
            match merge.run() {
                Ok(Progress::Done) => panic!("the damage goes unnoticed"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Corrupt { object, .. } if object == good.path.as_ref()));
    });
}

impl Bounds {
    /// The most memory that a merge within these bounds takes. Finishing a segment turns its filters around.
    fn memory_bytes(self, chunk_bytes: usize) -> usize {
        self.inputs * input_bytes(chunk_bytes) + self.segment_bytes + self.segment_bytes / 4
    }
}

#[test]
fn a_merge_has_bounds_for_all_memory_there_may_be() {
    let usual = Bounds::of(crate::config::DEFAULT_MERGE_MEMORY_BYTES, crate::config::DEFAULT_CHUNK_BYTES);
    assert_eq!(usual, Bounds { inputs: MAX_MERGE_INPUTS, segment_bytes: MERGED_SEGMENT_BYTES });
    for megabytes in 32..400 {
        let bounds = Bounds::of(megabytes << 20, crate::config::DEFAULT_CHUNK_BYTES);
        assert!(bounds.memory_bytes(crate::config::DEFAULT_CHUNK_BYTES) as u64 <= megabytes << 20, "{megabytes}");
    }
    let least = Bounds { inputs: MIN_INPUTS, segment_bytes: MIN_SEGMENT_BYTES };
    assert_eq!(Bounds::of(0, crate::config::MAX_CHUNK_BYTES), least);
}

#[tokio::test]
async fn a_merge_stays_within_its_memory_however_large_its_inputs() {
    const CHUNK_BYTES: usize = 64 << 10;
    let bench = Bench::new();
    let bounds = Bounds { inputs: 6, segment_bytes: MIN_SEGMENT_BYTES };
    let mut parts = Vec::new();
    let mut random = 1_u64;
    for input in 0..bounds.inputs as i64 {
        let mut rows = Rows::new();
        for number in 0..2 {
            let lines = (0..1500).map(|at| {
                let mut line = String::new();
                while line.len() < 1000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    write!(line, "{random:016x}").unwrap();
                }
                row(at * 10 + input, &line, Some(&line[..32]))
            });
            rows.insert(stream(number), lines.collect());
        }
        parts.extend(bench.segment_of_chunks(&rows, CHUNK_BYTES).await.tenant(&TenantId::anonymous()));
    }
    let input_bytes: u64 = parts.iter().map(|part| part.segment.size).sum();
    let options = OutputOptions {
        writer: WriterId::random(),
        level: 1,
        created: Timestamp(7),
        windows: Windows::TwoHours,
        window_bytes: u64::MAX,
        codec: Codec::Zstd { level: 1 },
        chunk_bytes: CHUNK_BYTES,
        segment_bytes: bounds.segment_bytes,
    };
    let mut merge = Merge::open(parts, Deletions::default(), options).await.unwrap();
    let (mut most_held, mut finished_bytes) = (0, Vec::new());
    loop {
        merge.fetch().await.unwrap();
        most_held = most_held.max(merge.held_bytes());
        match merge.run().unwrap() {
            Progress::Starved => {}
            Progress::Segment(segment) => {
                most_held = most_held.max(merge.held_bytes() + segment.segment.bytes.len());
                finished_bytes.push(segment.segment.bytes.len());
            }
            Progress::Done => break,
        }
    }
    let bound = bounds.memory_bytes(CHUNK_BYTES);
    assert!(input_bytes > 2 * bound as u64, "the inputs do not fit: {input_bytes} {bound}");
    assert!(most_held <= bound && most_held > bound / 2, "{most_held} of {bound}");
    assert!(finished_bytes.iter().all(|&bytes| bytes <= bounds.segment_bytes + bounds.segment_bytes / 4));
    assert_eq!(merge.tally().written, 6 * 2 * 1500);
}
