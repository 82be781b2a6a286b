//! Random operations against a set of entries.

use loki_logql::querier::{Grid, GridLabels, Literal};
use proptest::prelude::*;

use super::*;
use crate::deletes::{DeleteId, DeleteRequest, DeleteStatus};

#[derive(Clone, Debug)]
enum Operation {
    Push {
        stream: u8,
        entries: Vec<Entry>,
    },
    Flush,
    Maintain {
        seconds: u64,
    },
    /// One of `DELETES`, from one second to another.
    Delete {
        what: usize,
        seconds: (i64, i64),
    },
    /// Takes back one of the requests that are in force, if there are any.
    Cancel(prop::sample::Index),
    /// Merges what there is.
    Compact,
    /// Lets the cancel period of requests to delete entries pass, and carries them out.
    Erase,
    /// The process dies; what was written survives.
    Crash,
    Close,
}

/// Seconds after which entries are too old, by stream, if there is retention; the clock begins at 1000.
fn retention_seconds(labels: &Labels) -> Option<i64> {
    match labels.get("stream") {
        Some("s1") => Some(700),
        Some("s2") => None,
        _ => Some(900),
    }
}

fn retention_limits() -> Limits {
    let rule = |stream: &str, priority, seconds| crate::RetentionStream {
        matchers: vec![Matcher::new("stream", MatchOp::Regex, stream).unwrap()],
        priority,
        period: Duration::from_secs(seconds),
    };
    Limits {
        retention_period: Duration::from_mins(15),
        retention_streams: vec![rule("s1|s2", 1, 700), rule("s2", 2, 0)],
        ..verbatim_limits()
    }
}

/// Tells which entries a request to delete selects.
type Selects = fn(&Stored) -> bool;

/// Queries of requests to delete entries, and which entries they are about.
const DELETES: [(&str, Selects); 6] = [
    ("{}", |_| true),
    (r#"{stream=~"s[02]"}"#, |entry| matches!(entry.labels.get("stream"), Some("s0" | "s2"))),
    (r#"{stream="s1"} |= "refused""#, |entry| entry.labels.get("stream") == Some("s1") && contains(entry, "refused")),
    (r#"{app="test"} != "request""#, |entry| !contains(entry, "request")),
    (r#"{app="test"} | trace_id="aaaabbbb""#, |entry| entry.metadata.get("trace_id") == Some("aaaabbbb")),
    (r#"{app="test"} | pattern "request id <n>" | n > 25"#, |entry| {
        let line = String::from_utf8_lossy(&entry.line);
        line.strip_prefix("request id ").is_some_and(|n| n.parse::<u32>().unwrap() > 25)
    }),
];

fn contains(entry: &Stored, text: &str) -> bool {
    String::from_utf8_lossy(&entry.line).contains(text)
}

/// A request in force: which entries it hides.
struct InForce {
    id: DeleteId,
    range: TimeRange,
    selects: Selects,
}

impl InForce {
    fn hides(&self, entry: &Stored) -> bool {
        self.range.contains(entry.timestamp) && (self.selects)(entry)
    }
}

/// Few different values, so that entries collide.
fn any_entry() -> impl Strategy<Value = Entry> {
    let line = prop_oneof![
        Just("alpha request done".to_owned()),
        Just("beta: connection refused".to_owned()),
        Just(String::new()),
        Just("two\nlines".to_owned()),
        (0..50_u32).prop_map(|n| format!("request id {n:08}")),
    ];
    let trace = prop::option::weighted(0.3, prop_oneof![Just("aaaabbbb"), Just("ccccdddd")]);
    (0..400_i64, line, trace).prop_map(|(seconds, line, trace)| entry(seconds, &line, trace))
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let push = (0..4_u8, prop::collection::vec(any_entry(), 1..12));
    prop_oneof![
        8 => push.prop_map(|(stream, entries)| Operation::Push { stream, entries }),
        2 => Just(Operation::Flush),
        1 => (0..2000_u64).prop_map(|seconds| Operation::Maintain { seconds }),
        2 => (0..DELETES.len(), (0..400_i64, 0..400_i64)).prop_map(|(what, seconds)| Operation::Delete { what, seconds }),
        1 => any::<prop::sample::Index>().prop_map(Operation::Cancel),
        2 => Just(Operation::Compact),
        1 => Just(Operation::Erase),
        1 => Just(Operation::Crash),
        1 => Just(Operation::Close),
    ]
}

fn range(a: i64, b: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_seconds(a.min(b)), Timestamp::from_seconds(a.max(b)))
}

async fn run(operations: Vec<Operation>, span: TimeRange, has_retention: bool) {
    let machine = Machine::new();
    let config = || {
        let limits = if has_retention { retention_limits() } else { verbatim_limits() };
        StoreConfig { retention_enabled: has_retention, ..machine.config().with_limits(limits) }
    };
    let open = async || machine.open_with(config()).await.unwrap();
    let mut store = open().await;
    let mut model: HashSet<Stored> = HashSet::new();
    let mut deletes: Vec<InForce> = Vec::new();
    for operation in operations {
        match operation {
            Operation::Push { stream, entries } => {
                let labels = stream_labels(stream);
                model.extend(entries.iter().map(|entry| stored(&labels, entry)));
                push(&store, stream, entries).await.unwrap();
            }
            Operation::Flush => store.flush().await.unwrap(),
            Operation::Maintain { seconds } => {
                machine.clock.advance(Duration::from_secs(seconds));
                store.maintain().await.unwrap();
            }
            Operation::Delete { what, seconds: (a, b) } => {
                let (query, selects) = DELETES[what];
                let range = range(a, b + i64::from(a == b));
                let request = DeleteRequest { query: query.to_owned(), range };
                let id = store.delete(&tenant(), request).await.unwrap();
                deletes.push(InForce { id, range, selects });
            }
            Operation::Cancel(which) => {
                if !deletes.is_empty() {
                    let cancelled = deletes.remove(which.index(deletes.len()));
                    store.cancel_delete(&tenant(), cancelled.id.as_str(), true).await.unwrap();
                }
            }
            Operation::Compact => {
                store.compact().await.unwrap();
            }
            Operation::Erase => {
                machine.clock.advance(store.config().delete_cancel_period);
                let is_open = |delete: &crate::AcceptedDelete| delete.status != DeleteStatus::Processed;
                for _ in 0..10 {
                    store.maintain().await.unwrap();
                }
                assert!(!store.deletes(&tenant()).iter().any(is_open), "rounds of maintenance process every request");
                for delete in deletes.drain(..) {
                    model.retain(|entry| !delete.hides(entry));
                }
            }
            Operation::Crash => store = open().await,
            Operation::Close => {
                store.close().await.unwrap();
                store = open().await;
            }
        }
    }
    let now = machine.clock.now();
    let is_expired = |entry: &Stored| {
        let seconds = retention_seconds(&entry.labels).filter(|_| has_retention);
        seconds.is_some_and(|seconds| entry.timestamp < now.saturating_sub_nanos(seconds * 1_000_000_000))
    };
    let is_hidden = |entry: &Stored| is_expired(entry) || deletes.iter().any(|delete| delete.hides(entry));
    let mut expected: Vec<Stored> = model.into_iter().filter(|entry| !is_hidden(entry)).collect();
    expected.sort();
    check_entries(&store, &expected, span).await;
    check_hints(&store, &expected).await;
    check_counts(&store, &expected, span).await;
}

async fn check_entries(store: &Store, expected: &[Stored], span: TimeRange) {
    assert_same(&everything(store).await, expected);
    let in_span: Vec<_> = expected.iter().filter(|e| span.contains(e.timestamp)).cloned().collect();
    for direction in [Direction::Forward, Direction::Backward] {
        let request = request(all(), span, Order::Time(direction));
        assert_same(&select(store.querier(&tenant()), request).await, &in_span);
    }
    let one = Matcher::new("stream", MatchOp::Regex, "s1|s2").unwrap();
    let of_streams: Vec<_> =
        expected.iter().filter(|e| one.matches(e.labels.get("stream").unwrap())).cloned().collect();
    let request = request(vec![one], TimeRange::ALL, Order::Any);
    assert_same(&select(store.querier(&tenant()), request).await, &of_streams);
}

/// What is left after skipping must still hold everything that is wanted.
async fn check_hints(store: &Store, expected: &[Stored]) {
    let literal = |text: &str| Literal { bytes: text.into(), case_insensitive: false };
    let mut by_line = request(all(), TimeRange::ALL, Order::Any);
    by_line.hints.needles = vec![vec![literal("refused"), literal("request id 00000007")]];
    let is_wanted = |entry: &&Stored| {
        let line = String::from_utf8_lossy(&entry.line);
        line.contains("refused") || line.contains("request id 00000007")
    };
    let wanted: Vec<_> = expected.iter().filter(is_wanted).cloned().collect();
    let found = select(store.querier(&tenant()), by_line).await;
    assert_same(&found.iter().filter(is_wanted).cloned().collect::<Vec<_>>(), &wanted);

    let mut by_metadata = request(all(), TimeRange::ALL, Order::Any);
    by_metadata.hints.labels = vec![("trace_id".into(), "aaaabbbb".into())];
    let is_wanted = |entry: &&Stored| entry.metadata.get("trace_id") == Some("aaaabbbb");
    let wanted: Vec<_> = expected.iter().filter(is_wanted).cloned().collect();
    let found = select(store.querier(&tenant()), by_metadata).await;
    assert_same(&found.iter().filter(is_wanted).cloned().collect::<Vec<_>>(), &wanted);
}

/// Counts and entries that are told apart add up to the same as entries alone.
async fn check_counts(store: &Store, expected: &[Stored], span: TimeRange) {
    let by_stream = GridLabels::Only(vec!["stream".into()]);
    let by_trace = GridLabels::Only(vec!["trace_id".into()]);
    // Cells of two minutes, and of an hour, which holds whole segments.
    let grids = [(by_stream.clone(), 120), (by_trace, 120), (GridLabels::All, 120), (by_stream, 3600)];
    for (labels, spacing_seconds) in grids {
        let spacing_nanos = spacing_seconds * 1_000_000_000;
        let mut request = request(all(), span, Order::Any);
        request.hints.grid = Some(Grid { origin: Timestamp(0), spacing_nanos, labels });
        let mut batches = store.querier(&tenant()).select(request);
        let mut found: BTreeMap<(Labels, i64), u64> = BTreeMap::new();
        let mut seen = HashSet::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.unwrap();
            let times = batch.columns.timestamps().unwrap().into_owned();
            for run in &batch.runs {
                for row in run.rows.clone() {
                    let time = Timestamp(times[row as usize]);
                    let weight = match &batch.columns {
                        Columns::Counts(counts) => counts[row as usize].entries,
                        columns => {
                            let line = columns.text().unwrap().unwrap().line(row).to_vec();
                            let mut pairs = Vec::new();
                            let metadata = columns.metadata().unwrap();
                            metadata.for_each(row, |name, value| pairs.push((name.to_owned(), value.to_owned())));
                            let may_repeat = batch.repeats.iter().any(|span| span.contains(time));
                            let is_new = !may_repeat || seen.insert((run.labels.clone(), time, line, pairs));
                            u64::from(span.contains(time) && is_new)
                        }
                    };
                    if weight > 0 {
                        *found.entry((run.labels.clone(), (time.0 - 1).div_euclid(spacing_nanos))).or_default() +=
                            weight;
                    }
                }
            }
        }
        assert_eq!(found, cells(expected, span, 0, spacing_nanos));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_of_operations_leaves_what_was_pushed(
        operations in prop::collection::vec(any_operation(), 1..40),
        (a, b) in (0..400_i64, 0..400_i64),
        has_retention: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations, range(a, b), has_retention));
    }
}
