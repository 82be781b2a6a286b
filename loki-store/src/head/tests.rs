use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use loki_core::{Direction, Entry, Labels, MatchOp, Matcher, Timestamp};
use loki_logql::querier::{Columns, EntryBatch};
use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::limits::Limits;
use crate::push::{Ingest, PushBody, PushStream};

/// An entry as a test writes it: time, line, metadata.
type Spec = (i64, String, Vec<(String, String)>);
/// Entries by stream, sorted.
type Model = BTreeMap<String, Vec<Spec>>;

struct Fixture {
    ingest: Ingest,
    limits: Arc<Limits>,
    clock: ManualClock,
    head: Head,
}

impl Fixture {
    fn new() -> Self {
        let limits = Limits { discover_service_name: Vec::new(), discover_log_levels: false, ..Limits::unlimited() };
        Self {
            ingest: Ingest::default(),
            limits: Arc::new(limits),
            clock: ManualClock::new(Timestamp(0)),
            head: Head::default(),
        }
    }

    fn push(&mut self, tenant: &str, stream: &str, entries: &[Spec]) {
        let entries = entries.iter().map(|(at, line, metadata)| Entry {
            timestamp: Timestamp(*at),
            line: Bytes::copy_from_slice(line.as_bytes()),
            metadata: Labels::from_pairs(metadata.iter().map(|(n, v)| (n, v))).unwrap(),
        });
        let stream = PushStream { labels: Labels::parse(stream).unwrap(), entries: entries.collect() };
        let tenant = TenantId::parse(tenant).unwrap();
        let staged = self.ingest.stage(&tenant, PushBody::Streams(vec![stream]), &self.limits, &self.clock);
        assert_eq!(staged.outcome().error, None);
        self.head.append(&staged, self.clock.monotonic_nanos());
    }

    fn snapshot(&mut self, tenant: &str) -> Option<HeadSnapshot> {
        self.head.snapshot(&TenantId::parse(tenant).unwrap(), TimeRange::ALL)
    }
}

fn spec(at: i64, line: &str) -> Spec {
    (at, line.to_owned(), Vec::new())
}

/// What a consumer of batches makes of them: entries in `repeats` once, all others as they come.
fn read(batches: &[EntryBatch]) -> Vec<(String, Spec)> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for batch in batches {
        let Columns::Rows(rows) = &batch.columns else { panic!("a head has rows") };
        let mut last_end = 0;
        for run in &batch.runs {
            assert!(run.rows.start >= last_end, "runs ascend");
            last_end = run.rows.end;
            assert_eq!(run.hash, run.labels.hash64());
            for row in run.rows.clone() {
                let at = Timestamp(rows.timestamps[row as usize]);
                assert!(batch.bounds.contains(at));
                let metadata = rows
                    .metadata
                    .get(row as usize)
                    .map_or(Vec::new(), |labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
                let line = String::from_utf8(rows.text.line(row).to_vec()).unwrap();
                let entry = (run.labels.to_string(), (at.as_nanos(), line, metadata));
                let may_repeat = batch.repeats.iter().any(|span| span.contains(at));
                if !may_repeat || seen.insert(entry.clone()) {
                    entries.push(entry);
                }
            }
        }
    }
    entries
}

fn by_stream(entries: Vec<(String, Spec)>) -> Model {
    let mut model = Model::new();
    for (stream, entry) in entries {
        model.entry(stream).or_default().push(entry);
    }
    // Sorting by time alone keeps the order of arrival among equal times.
    for entries in model.values_mut() {
        entries.sort_by_key(|entry| entry.0);
    }
    model
}

fn flushed(head: Head) -> BTreeMap<String, Model> {
    let frozen = head.freeze();
    let mut tenants = BTreeMap::new();
    for (tenant, rows) in frozen.tenants() {
        let mut streams = Model::new();
        let mut last = None;
        rows.for_each_stream(|labels, entries| {
            assert!(last.is_none_or(|last| last < labels), "streams are sorted");
            last = Some(labels);
            let entries = entries.map(|(at, line, metadata)| {
                let metadata = metadata.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                (at.as_nanos(), String::from_utf8(line.to_vec()).unwrap(), metadata)
            });
            streams.insert(labels.to_string(), entries.collect());
            Ok::<_, ()>(())
        })
        .unwrap();
        tenants.insert(tenant.as_str().to_owned(), streams);
    }
    tenants
}

#[test]
fn entries_come_out_by_stream_and_time_once() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{b="1"}"#, &[spec(30, "x"), spec(10, "y"), spec(30, "x"), spec(20, "z")]);
    fixture.push("t", r#"{a="1"}"#, &[spec(5, "a"), spec(5, "b"), spec(5, "a")]);
    fixture.push("t", r#"{b="1"}"#, &[spec(10, "y"), spec(40, "w")]);
    fixture.push("other", r#"{a="1"}"#, &[spec(1, "o")]);
    assert_eq!(fixture.head.rows, 10);
    let flushed = flushed(fixture.head);
    assert_eq!(flushed.keys().collect::<Vec<_>>(), ["other", "t"]);
    let streams = &flushed["t"];
    assert_eq!(streams[r#"{a="1"}"#], [spec(5, "a"), spec(5, "b")]);
    assert_eq!(streams[r#"{b="1"}"#], [spec(10, "y"), spec(20, "z"), spec(30, "x"), spec(40, "w")]);
}

#[test]
fn entries_in_order_of_time_never_count_as_repeated() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "x"), spec(2, "x"), spec(3, "x")]);
    fixture.push("t", r#"{a="2"}"#, &[spec(1, "x"), spec(2, "x")]);
    fixture.push("t", r#"{a="1"}"#, &[spec(4, "x")]);
    let batches = fixture.snapshot("t").unwrap().batches(TimeRange::ALL, 0);
    assert!(batches.iter().all(|batch| batch.repeats.is_empty()));
}

#[test]
fn different_entries_with_equal_times_do_not_count_as_repeated() {
    let mut fixture = Fixture::new();
    let second: Vec<Spec> = (0..500).map(|i| spec(i / 100, &format!("line {i}"))).collect();
    fixture.push("t", r#"{a="1"}"#, &second);
    let snapshot = fixture.snapshot("t").unwrap();
    assert!(snapshot.batches(TimeRange::ALL, 0)[0].repeats.is_empty());
    fixture.push("t", r#"{a="1"}"#, &[spec(4, "line 450")]);
    let batches = fixture.snapshot("t").unwrap().batches(TimeRange::ALL, 0);
    assert_eq!(&*batches[0].repeats, [TimeRange::new(Timestamp(4), Timestamp(5))]);
    assert_eq!(read(&batches).len(), 500);
}

#[test]
fn equal_lines_with_different_metadata_are_different_entries() {
    let mut fixture = Fixture::new();
    let with = |value: &str| (7, "x".to_owned(), vec![("k".to_owned(), value.to_owned())]);
    fixture.push("t", r#"{a="1"}"#, &[with("1"), with("2"), spec(7, "x"), with("1")]);
    assert_eq!(read(&fixture.snapshot("t").unwrap().batches(TimeRange::ALL, 0)).len(), 3);
    assert_eq!(flushed(fixture.head)["t"][r#"{a="1"}"#], [with("1"), with("2"), spec(7, "x")]);
}

#[test]
fn snapshots_do_not_change_when_the_head_does() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "before")]);
    let snapshot = fixture.snapshot("t").unwrap();
    fixture.push("t", r#"{a="1"}"#, &[spec(2, "after")]);
    fixture.push("t", r#"{a="2"}"#, &[spec(3, "other")]);
    assert_eq!(read(&snapshot.batches(TimeRange::ALL, 0)), [(r#"{a="1"}"#.to_owned(), spec(1, "before"))]);
    assert_eq!(snapshot.streams().count(), 1);
    assert_eq!(snapshot.range(), TimeRange::new(Timestamp(1), Timestamp(2)));
    assert_eq!(fixture.snapshot("t").unwrap().streams().count(), 2);
}

#[test]
fn snapshots_hold_the_selected_streams_and_times() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "one"), spec(9, "nine")]);
    fixture.push("t", r#"{a="2", b="x"}"#, &[spec(5, "five")]);
    let snapshot = fixture.snapshot("t").unwrap();
    let matcher = |op, value| Matcher::new("b", op, value).unwrap();
    let selected = snapshot.select(&[matcher(MatchOp::Equal, "x")]);
    let found: Vec<_> =
        selected.streams().map(|stream| (stream.number, stream.labels.to_string(), stream.range)).collect();
    assert_eq!(found, [(1, r#"{a="2", b="x"}"#.to_owned(), TimeRange::new(Timestamp(5), Timestamp(6)))]);
    let batches = selected.batches(TimeRange::ALL, 40);
    assert_eq!((batches.len(), batches[0].sequence), (1, 40));
    assert_eq!(batches[0].bounds, TimeRange::new(Timestamp(5), Timestamp(6)));
    assert!(snapshot.select(&[matcher(MatchOp::Equal, "y")]).is_empty());
    assert!(!snapshot.select(&[matcher(MatchOp::NotEqual, "y")]).is_empty());
    assert!(snapshot.batches(TimeRange::new(Timestamp(10), Timestamp(99)), 0).is_empty());
    let tenant = TenantId::parse("t").unwrap();
    assert!(fixture.head.snapshot(&tenant, TimeRange::new(Timestamp(10), Timestamp(99))).is_none());
    assert!(fixture.snapshot("nobody").is_none());
}

#[test]
fn times_of_entries_that_are_elsewhere_too_are_named() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "one"), spec(9, "nine")]);
    fixture.push("t", r#"{a="2"}"#, &[spec(5, "five")]);
    let mut snapshot = fixture.snapshot("t").unwrap();
    let zone = [TimeRange::new(Timestamp(8), Timestamp(20))];
    snapshot.mark_repeats(|stream| if stream == 0 { &zone } else { &[] });
    let batches = snapshot.batches(TimeRange::ALL, 0);
    assert_eq!(&*batches[0].repeats, [TimeRange::new(Timestamp(8), Timestamp(10))]);
    let second = snapshot.select(&[Matcher::new("a", MatchOp::Equal, "2").unwrap()]);
    assert!(second.batches(TimeRange::ALL, 0)[0].repeats.is_empty());
}

#[test]
fn every_entry_is_counted_with_its_bytes() {
    let mut fixture = Fixture::new();
    let with = (3, "abc".to_owned(), vec![("key".to_owned(), "value".to_owned())]);
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "x"), with, spec(9, "late")]);
    let mut counted = Vec::new();
    let range = TimeRange::new(Timestamp(1), Timestamp(9));
    let snapshot = fixture.snapshot("t").unwrap();
    snapshot.for_each_entry(range, |labels, at, bytes| counted.push((labels.to_string(), at.as_nanos(), bytes)));
    let stream = r#"{a="1"}"#.to_owned();
    assert_eq!(counted, [(stream.clone(), 1, 1), (stream, 3, 11)]);
}

#[test]
fn long_lines_and_many_entries_span_slabs_in_order() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(SLAB_BYTES + 10);
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "short"), spec(2, &long), spec(3, "after")]);
    let many: Vec<Spec> = (0..slab::SLAB_ROWS as i64 + 10).map(|i| spec(10 + i, "")).collect();
    fixture.push("t", r#"{a="1"}"#, &many);
    let batches = fixture.snapshot("t").unwrap().batches(TimeRange::ALL, 7);
    assert!(batches.len() >= 4);
    let sequences: Vec<u64> = batches.iter().map(|batch| batch.sequence).collect();
    assert_eq!(sequences, (7..7 + batches.len() as u64).collect::<Vec<_>>());
    let entries = read(&batches);
    assert_eq!(entries.len(), many.len() + 3);
    assert!(entries.is_sorted_by_key(|(_, entry)| entry.0));
    assert_eq!(flushed(fixture.head)["t"][r#"{a="1"}"#].len(), many.len() + 3);
}

/// A client that retries a batch until the answer gets through sends all of it again.
#[test]
fn a_retried_batch_is_stored_once() {
    let mut fixture = Fixture::new();
    let batch: Vec<Spec> = (0..2000).map(|i| spec(i / 3, &format!("line {i}"))).collect();
    for _ in 0..3 {
        fixture.push("t", r#"{a="1"}"#, &batch);
        let snapshot = fixture.snapshot("t").unwrap();
        assert_eq!(by_stream(read(&snapshot.batches(TimeRange::ALL, 0)))[r#"{a="1"}"#], batch);
    }
    assert_eq!(flushed(fixture.head)["t"][r#"{a="1"}"#], batch);
}

#[test]
fn memory_is_accounted_for() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.head.bytes(), 0);
    let line = "x".repeat(1000);
    for i in 0..3000 {
        fixture.push("t", &format!(r#"{{a="{}"}}"#, i % 10), &[(i, line.clone(), vec![("k".into(), i.to_string())])]);
    }
    let bytes = fixture.head.bytes();
    assert!((3_000_000..5_500_000).contains(&bytes), "{bytes}");
    fixture.snapshot("t");
    let tenant_bytes: usize = fixture.head.tenants.values().map(TenantHead::bytes).sum();
    assert_eq!(fixture.head.bytes(), tenant_bytes, "sealing for a snapshot is accounted for");
    let frozen = fixture.head.freeze();
    assert!(frozen.bytes() > 3_000_000);
}

#[test]
fn the_age_of_a_head_is_that_of_its_first_append() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.head.oldest_append_nanos(), None);
    assert!(fixture.head.is_empty());
    fixture.clock.advance(std::time::Duration::from_nanos(5));
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "x")]);
    fixture.clock.advance(std::time::Duration::from_nanos(5));
    fixture.push("t", r#"{a="1"}"#, &[spec(2, "x")]);
    assert_eq!(fixture.head.oldest_append_nanos(), Some(5));
}

#[test]
fn a_frozen_head_answers_queries_as_before() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{a="1"}"#, &[spec(2, "x"), spec(1, "y"), spec(2, "x")]);
    let tenant = TenantId::parse("t").unwrap();
    let before = read(&fixture.snapshot("t").unwrap().batches(TimeRange::ALL, 0));
    let frozen = fixture.head.freeze();
    let after = read(&frozen.snapshot(&tenant, TimeRange::ALL).unwrap().batches(TimeRange::ALL, 0));
    assert_eq!(before, after);
    assert_eq!(before.len(), 2);
    assert!(frozen.snapshot(&tenant, TimeRange::new(Timestamp(3), Timestamp(4))).is_none());
    assert!(frozen.snapshot(&TenantId::anonymous(), TimeRange::ALL).is_none());
}

#[test]
fn the_first_error_ends_a_flush() {
    let mut fixture = Fixture::new();
    fixture.push("t", r#"{a="1"}"#, &[spec(1, "x")]);
    fixture.push("t", r#"{a="2"}"#, &[spec(1, "x")]);
    let frozen = fixture.head.freeze();
    let mut calls = 0;
    let (_, rows) = frozen.tenants().next().unwrap();
    let result = rows.for_each_stream(|_, _| {
        calls += 1;
        Err(Direction::Forward)
    });
    assert_eq!((result, calls), (Err(Direction::Forward), 1));
}

proptest! {
    /// A head, with a snapshot taken here and there, against a plain list.
    #[test]
    fn a_head_holds_each_entry_once_in_order(
        pushes in prop::collection::vec(
            (0..2_u8, 0..3_u8, prop::collection::vec((0..12_i64, "[ab]{0,2}", 0..2_u8), 1..12), any::<bool>()),
            0..12,
        ),
    ) {
        let mut fixture = Fixture::new();
        let mut model: BTreeMap<String, Model> = BTreeMap::new();
        for (tenant, stream, entries, snapshot) in pushes {
            let (tenant, stream) = (format!("t{tenant}"), format!(r#"{{a="{stream}"}}"#));
            let entries: Vec<Spec> = entries.into_iter().map(|(at, line, metadata)| {
                let metadata = (0..metadata).map(|_| ("k".to_owned(), "v".to_owned())).collect();
                (at, line, metadata)
            }).collect();
            fixture.push(&tenant, &stream, &entries);
            let known = model.entry(tenant.clone()).or_default().entry(stream).or_default();
            for entry in entries {
                if !known.contains(&entry) {
                    known.push(entry);
                }
            }
            known.sort_by_key(|entry| entry.0);
            if snapshot {
                let found = fixture.snapshot(&tenant).unwrap().batches(TimeRange::ALL, 0);
                prop_assert_eq!(&by_stream(read(&found)), &model[&tenant]);
            }
        }
        prop_assert_eq!(flushed(fixture.head), model);
    }
}
