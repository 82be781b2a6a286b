//! Mining patterns: what a flush of recent lines costs more.
//!
//! ```sh
//! cargo bench -p loki-benches --bench patterns
//! ```

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use loki_benches::{Corpus, START};
use loki_store::patterns::{PatternMiner, PatternOptions, PatternSeries};

const ENTRIES: usize = 200_000;
/// Lines of a stream that are mined together, as when the head of a busy store is flushed.
const STRETCH: usize = 1_000;

criterion_group!(benches, mining);
criterion_main!(benches);

/// Mines every stream with so many lines in a second.
fn mine(corpus: &Corpus, lines_per_second: i64) -> (usize, u64) {
    let mut miner = PatternMiner::new(PatternOptions::default());
    let (mut patterns, mut lines) = (0, 0);
    for stream in &corpus.streams {
        for stretch in stream.entries.chunks(STRETCH) {
            for (entry, i) in stretch.iter().zip(0..) {
                let at = START.saturating_add_nanos(i * 1_000_000_000 / lines_per_second);
                miner.add(at, &entry.line, &entry.metadata);
            }
            let found = miner.take();
            patterns += found.len();
            lines += found.iter().map(PatternSeries::total).sum::<u64>();
        }
    }
    (patterns, lines)
}

fn mining(c: &mut Criterion) {
    let corpus = Corpus::new(ENTRIES);
    let mut group = c.benchmark_group("patterns");
    group.throughput(Throughput::ElementsAndBytes {
        elements: corpus.entries() as u64,
        bytes: corpus.line_bytes() as u64,
    });
    for (name, lines_per_second) in [("every line", 1), ("5 lines a second", 5), ("100 lines a second", 100)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let (patterns, lines) = mine(black_box(&corpus), lines_per_second);
                assert!(patterns > 0);
                assert_eq!(lines, ENTRIES as u64);
            });
        });
    }
    group.finish();
}
