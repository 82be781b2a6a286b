//! The formats of loki-core: what it costs to write and to read them.
//!
//! ```sh
//! cargo bench -p loki-benches --bench codec
//! ```

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use loki_benches::{Corpus, Dice, NEEDLE, SEED};
use loki_core::rollup::{Cell, Columns, minute_of};
use loki_core::{
    Chunk, ChunkBuilder, ChunkOptions, Filter, FilterBuilder, FilterSet, FilterSetBuilder, Index, IndexBuilder, Labels,
    MatchOp, Matcher, Needle, Rollup, RollupBuilder, SealedChunk,
};

const ENTRIES: usize = 100_000;
const CHUNK_BYTES: u64 = 512 << 10;
const INDEX_STREAMS: usize = 100_000;
const ROLLUP_MINUTES: i64 = 1440;

criterion_group!(benches, chunks, filters, indexes, rollups);
criterion_main!(benches);

fn seal(corpus: &Corpus, mut each: impl FnMut(&mut ChunkBuilder)) {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    for (ordinal, stream) in (0..).zip(&corpus.streams) {
        for entry in &stream.entries {
            if builder.raw_bytes() + entry.line.len() as u64 > CHUNK_BYTES {
                each(&mut builder);
                builder.clear();
            }
            builder.append(ordinal, entry.timestamp, &entry.line, &entry.metadata).expect("the corpus is sorted");
        }
    }
    each(&mut builder);
}

fn sealed(corpus: &Corpus) -> Vec<SealedChunk> {
    let mut chunks = Vec::new();
    seal(corpus, |builder| chunks.push(builder.finish().expect("there are rows")));
    chunks
}

fn throughput(corpus: &Corpus) -> Throughput {
    Throughput::ElementsAndBytes { elements: corpus.entries() as u64, bytes: corpus.line_bytes() as u64 }
}

fn chunks(c: &mut Criterion) {
    let corpus = Corpus::new(ENTRIES);
    let chunks: Vec<Chunk> =
        sealed(&corpus).into_iter().map(|sealed| Chunk::open(sealed.bytes).expect("it was just written")).collect();
    let stored: usize = chunks.iter().map(|chunk| chunk.as_bytes().len()).sum();
    assert!(stored * 4 < corpus.line_bytes(), "{stored} bytes for {}", corpus.line_bytes());

    let mut group = c.benchmark_group("chunk");
    group.throughput(throughput(&corpus));
    group.bench_function("append", |b| {
        b.iter(|| {
            let mut rows = 0;
            seal(&corpus, |builder| rows += builder.rows() as usize);
            assert_eq!(rows, ENTRIES);
        });
    });
    group.bench_function("build", |b| {
        b.iter(|| assert_eq!(sealed(&corpus).iter().map(|chunk| chunk.summary.rows).sum::<u32>(), ENTRIES as u32));
    });
    group.bench_function("open and verify", |b| {
        b.iter(|| {
            let open = chunks.iter().map(|chunk| Chunk::open(chunk.as_bytes().clone()).and_then(Chunk::verified));
            assert_eq!(open.map(|chunk| chunk.expect("it is intact").rows()).sum::<u32>(), ENTRIES as u32);
        });
    });
    group.bench_function("text", |b| {
        b.iter(|| {
            let text = chunks.iter().map(|chunk| black_box(chunk.text()).expect("it is intact").as_bytes().len());
            assert_eq!(text.sum::<usize>(), corpus.line_bytes() + ENTRIES);
        });
    });
    group.bench_function("timestamps", |b| {
        b.iter(|| {
            let rows = chunks.iter().map(|chunk| black_box(chunk.timestamps()).expect("it is intact").len());
            assert_eq!(rows.sum::<usize>(), ENTRIES);
        });
    });
    group.bench_function("metadata", |b| {
        b.iter(|| {
            let columns = chunks.iter().map(|chunk| black_box(chunk.metadata()).expect("it is intact"));
            assert!(columns.map(|metadata| metadata.columns().len()).sum::<usize>() >= chunks.len());
        });
    });
    group.finish();
}

fn filters(c: &mut Criterion) {
    let corpus = Corpus::new(ENTRIES);
    let mut texts: Vec<Vec<u8>> = Vec::new();
    seal(&corpus, |builder| texts.push(builder.text().to_vec()));
    let build = || -> Vec<Filter> {
        let mut builder = FilterBuilder::new();
        let filters = texts.iter().map(|text| {
            builder.add_text(text);
            builder.finish()
        });
        filters.collect()
    };
    let mut group = c.benchmark_group("filter");
    group.throughput(throughput(&corpus));
    group.bench_function("build", |b| b.iter(|| assert_eq!(build().len(), texts.len())));

    // As many chunks as a segment of 16 GB has, in which ours repeat.
    let mut set = FilterSetBuilder::new();
    for filter in build().into_iter().cycle().take(1 << 15) {
        set.push(filter).expect("it is within the limit");
    }
    let set = FilterSet::open(set.finish().into()).expect("it was just written");
    let absent = Needle::new(b"b7d0b2a1-93e5").expect("it is long enough");
    let present = Needle::new(NEEDLE.as_bytes()).expect("it is long enough");
    assert!(!set.probe(&present).expect("it is intact").is_empty());
    group.throughput(Throughput::Elements(u64::from(set.len())));
    group.bench_function("probe", |b| b.iter(|| assert!(set.probe(&absent).expect("it is intact").len() < 3_000)));
    group.finish();
}

fn indexes(c: &mut Criterion) {
    let mut dice = Dice::new(SEED);
    let mut streams: Vec<Labels> = (0..INDEX_STREAMS)
        .map(|number| {
            let (app, env) = (dice.below(200), ["dev", "prod", "staging"][dice.below(3)]);
            let pod = format!("app-{app}-{:08x}-{number:05}", dice.next() as u32);
            let (app, node) = (format!("app-{app}"), format!("node-{}", dice.below(500)));
            Labels::from_sorted([("app", app.as_str()), ("env", env), ("node", &node), ("pod", &pod)])
        })
        .collect();
    streams.sort();
    let build = || {
        let mut builder = IndexBuilder::new();
        for labels in &streams {
            builder.push(labels).expect("streams are sorted");
        }
        builder.finish().expect("there is memory")
    };
    let index = Index::open(build().into()).expect("it was just written");
    let select = |name: &str, op, value: &str| {
        let matcher = Matcher::new(name, op, value).expect("it is valid");
        index.select(&[matcher]).expect("it is intact").len()
    };
    let of_app = streams.iter().filter(|labels| labels.get("app") == Some("app-7")).count() as u64;

    let mut group = c.benchmark_group("index");
    group.sample_size(20).throughput(Throughput::Elements(INDEX_STREAMS as u64));
    group.bench_function("build", |b| b.iter(|| assert!(!build().is_empty())));
    group.bench_function("select equal", |b| b.iter(|| assert_eq!(select("app", MatchOp::Equal, "app-7"), of_app)));
    group.bench_function("select prefix", |b| {
        b.iter(|| assert_eq!(select("pod", MatchOp::Regex, "app-7-.*"), of_app));
    });
    group.bench_function("select regex", |b| {
        b.iter(|| assert_eq!(select("pod", MatchOp::Regex, ".*-7-[0-9a-f]{8}-.*"), of_app));
    });
    group.bench_function("labels", |b| {
        b.iter(|| {
            let labels = index.labels_of(0..INDEX_STREAMS as u32).expect("it is intact");
            assert_eq!(labels.filter(Result::is_ok).count(), INDEX_STREAMS);
        });
    });
    group.finish();
}

fn rollups(c: &mut Criterion) {
    let first = minute_of(loki_benches::START);
    let mut builder = RollupBuilder::new();
    let mut dice = Dice::new(SEED);
    let mut entries = 0;
    for stream in 0..300 {
        for minute in first..first + ROLLUP_MINUTES {
            let cell = Cell {
                minute,
                entries: dice.below(50) as u64,
                line_bytes: dice.below(10_000) as u64,
                ..Cell::default()
            };
            entries += cell.entries;
            builder.add(stream, cell).expect("cells are sorted");
        }
    }
    let rollup = Rollup::open(builder.finish().into()).expect("it was just written");
    let streams = (0..300).collect();
    let mut group = c.benchmark_group("rollup");
    group.throughput(Throughput::Elements(300 * ROLLUP_MINUTES as u64));
    for (name, columns) in [("scan entries", Columns::Entries), ("scan all", Columns::All)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut scan = rollup.scan(&streams, columns);
                let mut found = 0;
                while let Some(cells) = scan.next_cells().expect("it is intact") {
                    found += cells.entries.iter().sum::<u64>();
                }
                assert_eq!(found, entries);
            });
        });
    }
    group.finish();
}
