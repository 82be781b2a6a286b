//! Any query over a few entries. Rows in memory and sealed chunks, which are searched as a whole, give the same answer.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use loki_core::{Chunk, ChunkBuilder, ChunkOptions, Direction, Entry, Labels, TimeRange, Timestamp};
use loki_logql::ast::Expr;
use loki_logql::budget::{Budget, BudgetScope};
use loki_logql::engine::{Engine, EngineOptions, InstantQuery, QueryLimits, RangeQuery};
use loki_logql::memory::MemoryQuerier;
use loki_logql::parse_query;
use loki_logql::querier::{Columns, EntryBatch, Querier, QuerierError, SelectRequest, StreamRun};

use crate::input::text;

/// Longer queries find nothing more.
const MAX_QUERY_BYTES: usize = 1024;
/// What one query may hold.
const MEMORY_BYTES: u64 = 64 << 20;
const SECOND: i64 = 1_000_000_000;

/// Lines with something for every stage to find, and something to stumble over.
const LINES: [&[u8]; 16] = [
    br#"{"level":"info","status":200,"took":"12ms","size":"4KiB","a":{"b":[1,{"c":null}]},"msg":"GET /cart"}"#,
    br#"{"level":"error","status":"503","took":"1h2m","_entry":"inner status=7","ip":"10.4.0.221","x":1.5e308}"#,
    br#"{"level":"info","dup":1,"dup":2,"":"empty","\u00e9":"\ud83d\ude00","status":-0}"#,
    br#"{"broken":"#,
    br#"level=info msg="request done" status=200 took=12.5ms size=4096B path=/api/v1/cart"#,
    br#"level=warn msg="quoted \"inside\" \u00e9" status=404 took=0s size=1MB empty= bare ip=192.168.0.1"#,
    br#"level=error err="unterminated status=500"#,
    br#"10.4.0.17 - frank [10/Oct/2000:13:55:36 -0700] "GET /index.html HTTP/1.0" 200 2326"#,
    br#"fe80::1 - - [10/Oct/2000:13:55:37 -0700] "POST /login HTTP/1.1" 401 0"#,
    b"panic: runtime error\n\tgoroutine 1 [running]:\n\tmain.main()",
    b"\x1b[31mred\x1b[0m text and \x1b[1mbold",
    b"",
    b"not utf-8: \xff\xfe\xc3(",
    "K\u{212a} \u{17f}harp \u{df} \u{130}stanbul 日本語".as_bytes(),
    b"needle in a haystack",
    b"a a a a a",
];

/// Runs the target.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (query, lines) = data.split_at(end);
    let Ok(expr) = parse_query(text(&query[..end.min(MAX_QUERY_BYTES)])) else {
        return;
    };
    let own = lines.split(|byte| *byte == 0).filter(|line| !line.is_empty()).take(16);
    let entries: Vec<_> = LINES.into_iter().chain(own).zip(0..).map(|(line, at)| entry(line, at)).collect();
    let mut rows = MemoryQuerier::new();
    rows.extend(entries.iter().map(|(labels, entry)| (labels, entry.clone())));
    let chunks = ChunkQuerier::new(&entries);
    assert_eq!(answer(Arc::new(rows), &expr), answer(Arc::new(chunks), &expr));
}

fn entry(line: &[u8], at: i64) -> (Labels, Entry) {
    let labels = match at % 3 {
        0 => Labels::from_sorted([("app", "api"), ("env", "prod")]),
        1 => Labels::from_sorted([("app", "api"), ("env", "dev"), ("status", "9")]),
        _ => Labels::from_sorted([("app", "web")]),
    };
    let metadata = match at % 4 {
        0 => Labels::from_sorted([("detected_level", "info"), ("trace_id", "00c0ffee")]),
        1 => Labels::from_sorted([("app", "shadow"), ("took", "3s")]),
        _ => Labels::EMPTY,
    };
    // Several entries of a stream share a moment.
    (labels, Entry { timestamp: Timestamp(at / 5 * SECOND), line: line.to_vec().into(), metadata })
}

/// Everything that the engine has to say.
fn answer(querier: Arc<dyn Querier>, expr: &Expr) -> Vec<String> {
    let engine = Engine::new(EngineOptions::inline(Arc::new(|| Timestamp(20 * SECOND))));
    let limits = QueryLimits {
        enable_variants: true,
        memory: Budget::new(BudgetScope::Query, MEMORY_BYTES),
        ..QueryLimits::default()
    };
    let ranges =
        [(Direction::Backward, 100, 0), (Direction::Forward, 3, 2 * SECOND)].map(|(direction, limit, interval)| {
            let query = RangeQuery {
                expr: expr.clone(),
                start: Timestamp(0),
                end: Timestamp(8 * SECOND),
                step_nanos: 2 * SECOND,
                interval_nanos: interval,
                limit,
                direction,
                categorize_labels: limit == 3,
            };
            let answer = engine.range_query(Arc::clone(&querier), query, &limits).now_or_never();
            show(answer.expect("nothing has to be waited for"))
        });
    let query = InstantQuery { expr: expr.clone(), time: Timestamp(6 * SECOND) };
    let answer = engine.instant_query(querier, query, &limits).now_or_never();
    ranges.into_iter().chain([show(answer.expect("nothing has to be waited for"))]).collect()
}

/// Of several series that fail, the first one met is named, and that depends on how entries are gathered: the kind of the
/// failure is compared, not the series.
fn show(answer: Result<loki_logql::result::Response, loki_logql::engine::Error>) -> String {
    match answer {
        Ok(answer) => format!("{:?} {:?}", answer.result, answer.warnings),
        Err(error) => {
            let text = error.to_string();
            text.split_once(" for series: ").map_or(text.clone(), |(kind, _)| kind.to_owned())
        }
    }
}

/// Entries in two chunks. It ignores all hints and delivers rows that nobody asked for.
#[derive(Debug)]
struct ChunkQuerier {
    batches: Vec<EntryBatch>,
}

impl ChunkQuerier {
    fn new(entries: &[(Labels, Entry)]) -> Self {
        let (older, newer) = entries.split_at(entries.len() / 2);
        Self {
            batches: [older, newer].into_iter().zip(0..).map(|(entries, sequence)| batch(entries, sequence)).collect(),
        }
    }
}

impl Querier for ChunkQuerier {
    fn select(&self, request: SelectRequest) -> BoxStream<'static, Result<EntryBatch, QuerierError>> {
        let is_wanted = |run: &StreamRun| {
            let value = |name| run.labels.get(name).unwrap_or_default();
            request.matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
        };
        let mut batches = self.batches.clone();
        for batch in &mut batches {
            batch.runs.retain(is_wanted);
        }
        if request.order == loki_logql::querier::Order::Time(Direction::Backward) {
            batches.reverse();
        }
        stream::iter(batches.into_iter().map(Ok)).boxed()
    }
}

fn batch(entries: &[(Labels, Entry)], sequence: u64) -> EntryBatch {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|(a, left), (b, right)| (a, left.timestamp).cmp(&(b, right.timestamp)));
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    let mut runs: Vec<StreamRun> = Vec::new();
    for (row, (labels, entry)) in (0..).zip(&sorted) {
        match runs.last_mut() {
            Some(run) if run.labels == *labels => run.rows.end = row + 1,
            _ => runs.push(StreamRun { labels: labels.clone(), hash: labels.hash64(), rows: row..row + 1 }),
        }
        let stream = runs.len() as u32;
        builder.append(stream, entry.timestamp, &entry.line, &entry.metadata).expect("rows are sorted and few");
    }
    let sealed = builder.finish().expect("there are rows");
    let range = TimeRange::new(sealed.summary.min_timestamp, sealed.summary.max_timestamp.saturating_add_nanos(1));
    let chunk = Chunk::open(sealed.bytes).expect("it was just written");
    EntryBatch { sequence, bounds: range, runs, columns: Columns::Chunk(chunk), repeats: Arc::from([]) }
}
