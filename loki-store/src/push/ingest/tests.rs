use std::time::Duration;

use bytes::Bytes;
use loki_core::{Entry, Labels};
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::push::{MISSING_TIMESTAMP, PushStatus, PushStream};

const NOW: Timestamp = Timestamp::from_seconds(1_741_600_800);

/// Entries as they were staged: labels, time, line, metadata.
type Stored = Vec<(String, i64, String, String)>;

fn plain() -> Limits {
    Limits { discover_service_name: Vec::new(), discover_log_levels: false, ..Limits::default() }
}

struct Fixture {
    ingest: Ingest,
    limits: Arc<Limits>,
    clock: ManualClock,
    tenant: TenantId,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let (ingest, clock) = (Ingest::default(), ManualClock::new(NOW));
        Self { ingest, limits: Arc::new(limits), clock, tenant: TenantId::anonymous() }
    }

    fn push(&self, streams: Vec<PushStream>) -> Staged {
        self.ingest.stage(&self.tenant, PushBody::Streams(streams), &self.limits, &self.clock)
    }

    fn snappy(&self, body: &[u8]) -> Staged {
        let body = snap::raw::Encoder::new().compress_vec(body).unwrap();
        self.ingest.stage(&self.tenant, PushBody::Snappy(body.into()), &self.limits, &self.clock)
    }

    /// What a restart finds for the log record of a push.
    fn replayed(&self, staged: &Staged) -> Stored {
        let record = staged.record();
        let record = ReplayRecord {
            file: 1,
            kind: record.kind,
            tenant: record.tenant.clone(),
            arrival: record.arrival,
            body: Bytes::copy_from_slice(record.body),
        };
        let limits = Arc::new(Limits { max_line_bytes: 1, max_label_names: 0, ..(*self.limits).clone() });
        stored(&Ingest::default().replay(&record, &limits, &self.clock).expect("a record of ours"))
    }
}

fn stored(staged: &Staged) -> Stored {
    let mut stored = Stored::new();
    for stream in staged.streams() {
        let labels = stream.labels().to_string();
        stored.extend(stream.entries().map(|entry| {
            let metadata = Labels::from_bytes(Bytes::copy_from_slice(entry.metadata)).expect("valid metadata");
            let line = String::from_utf8_lossy(entry.line).into_owned();
            (labels.clone(), entry.timestamp.as_nanos(), line, metadata.to_string())
        }));
    }
    stored
}

fn entry(offset_seconds: i64, line: &str, metadata: &[(&str, &str)]) -> Entry {
    Entry {
        timestamp: NOW.saturating_add_nanos(offset_seconds * 1_000_000_000),
        line: Bytes::copy_from_slice(line.as_bytes()),
        metadata: Labels::from_pairs(metadata.iter().copied()).unwrap(),
    }
}

fn stream(labels: &str, entries: Vec<Entry>) -> PushStream {
    PushStream { labels: Labels::parse(labels).unwrap(), entries }
}

fn error(staged: &Staged) -> (PushStatus, String) {
    let error = staged.outcome().error.as_ref().expect("an error");
    (error.status(), error.to_string())
}

#[test]
fn everything_that_is_valid_is_staged_and_logged_as_it_came() {
    let fixture = Fixture::new(plain());
    let streams = vec![
        stream(r#"{a="1"}"#, vec![entry(0, "one", &[]), entry(-5, "two", &[("m", "1")])]),
        stream(r#"{b="2"}"#, vec![entry(1, "", &[])]),
    ];
    let body = encode::streams(&streams);
    let staged = fixture.snappy(&body);
    assert_eq!(staged.outcome().error, None);
    let outcome = staged.outcome();
    assert_eq!((outcome.entries, outcome.line_bytes, outcome.metadata_bytes), (3, 6, 2));
    let record = staged.record();
    assert_eq!(record.kind, RecordKind::Snappy);
    assert_eq!(record.body, snap::raw::Encoder::new().compress_vec(&body).unwrap());
    assert_eq!(stored(&staged), stored(&fixture.push(streams)));
    assert_eq!(fixture.replayed(&staged), stored(&staged));
}

#[test]
fn bodies_that_cannot_be_read_store_nothing() {
    let fixture = Fixture::new(plain());
    let stage = |body: &[u8]| {
        let body = PushBody::Snappy(Bytes::copy_from_slice(body));
        fixture.ingest.stage(&fixture.tenant, body, &fixture.limits, &fixture.clock)
    };
    let corrupt = (PushStatus::Invalid, "snappy: corrupt input".to_owned());
    assert_eq!(error(&stage(b"")), corrupt);
    assert_eq!(error(&stage(b"{\"streams\": []}")), corrupt);
    let four_gigabytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert_eq!(error(&stage(&four_gigabytes)), corrupt, "a claim that the block cannot keep is not allocated");
    assert_eq!(
        error(&stage(&[0x04, 0x0c, 0xff, 0xff, 0xff, 0xff])),
        (PushStatus::Invalid, "unexpected EOF".to_owned())
    );
    assert_eq!(
        error(&fixture.snappy(b"")),
        (PushStatus::Unprocessable, "error at least one valid stream is required for ingestion".to_owned())
    );
    let huge = PushBody::Protobuf(vec![0; MAX_BODY_BYTES + 1].into());
    let huge = fixture.ingest.stage(&fixture.tenant, huge, &fixture.limits, &fixture.clock);
    assert_eq!(error(&huge).0, PushStatus::TooLarge);
}

#[test]
fn one_stream_whose_labels_cannot_be_read_fails_the_request() {
    let fixture = Fixture::new(plain());
    let good = encode::streams(&[stream(r#"{a="1"}"#, vec![entry(0, "x", &[])])]);
    let bad = b"\x0a\x07\x0a\x05{a=b}";
    let staged = fixture.snappy(&[&good, &bad[..]].concat());
    let text = r#"couldn't parse labels: 1:4: parse error: unexpected identifier "b" in label set, expected string"#;
    assert_eq!(error(&staged), (PushStatus::Invalid, text.to_owned()));
    assert!(staged.is_empty());
}

#[test]
fn streams_without_entries_are_accepted_and_leave_nothing() {
    let fixture = Fixture::new(plain());
    let staged = fixture.push(vec![stream("{}", vec![])]);
    assert_eq!(staged.outcome(), &PushOutcome::default());
    assert!(staged.is_empty());
}

#[test]
fn valid_entries_are_kept_when_others_are_refused() {
    let fixture = Fixture::new(Limits { max_line_bytes: 5, ..plain() });
    let staged = fixture.push(vec![
        stream("{}", vec![entry(0, "x", &[])]),
        stream(r#"{a="1"}"#, vec![entry(0, "123456", &[]), entry(1, "12345", &[]), entry(601, "late", &[("k", "v")])]),
    ]);
    let text = "1 errors like: error at least one label pair is required per stream; \
                1 errors like: max entry size '5' bytes exceeded for stream '{a=\"1\"}' while adding an entry with \
                length '6' bytes; \
                1 errors like: entry for stream '{a=\"1\"}' has timestamp too new: 2025-03-10T10:10:01Z";
    assert_eq!(error(&staged), (PushStatus::Invalid, text.to_owned()));
    let rejected: Vec<_> =
        staged.outcome().rejections.iter().map(|r| (r.reason.as_str(), r.entries, r.bytes)).collect();
    assert_eq!(rejected, [("missing_labels", 1, 1), ("line_too_long", 1, 6), ("too_far_in_future", 1, 6)]);
    assert_eq!(stored(&staged).len(), 1);
    assert_eq!(staged.record().kind, RecordKind::Final);
    assert_eq!(fixture.replayed(&staged), stored(&staged));
}

#[test]
fn limits_are_met_exactly_at_their_edge() {
    let limits = Limits {
        max_line_bytes: 3,
        reject_old_samples: true,
        reject_old_samples_max_age: Duration::from_mins(1),
        creation_grace_period: Duration::from_mins(1),
        max_structured_metadata_bytes: 4,
        max_structured_metadata_entries: 2,
        ..plain()
    };
    let fixture = Fixture::new(limits);
    let refused = |entry: Entry| {
        let staged = fixture.push(vec![stream(r#"{a="1"}"#, vec![entry])]);
        staged.outcome().error.as_ref().map(ToString::to_string)
    };
    assert_eq!(refused(entry(-60, "123", &[("k", "v"), ("l", "w")])), None);
    assert_eq!(refused(entry(60, "", &[])), None);
    assert_eq!(
        refused(entry(-61, "", &[])).unwrap(),
        "entry for stream '{a=\"1\"}' has timestamp too old: 2025-03-10T09:58:59Z, oldest acceptable timestamp is: \
         2025-03-10T09:59:00Z"
    );
    assert!(refused(entry(61, "", &[])).is_some());
    assert!(refused(entry(0, "1234", &[])).is_some());
    assert_eq!(
        refused(entry(0, "", &[("k", "vwxy")])).unwrap(),
        "stream '{a=\"1\"}' has structured metadata too large: '5' bytes, limit: '4' bytes. Please see \
         `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it"
    );
    let body = b"\x0a\x1d\x0a\x07{a=\"1\"}\x12\x12\x0a\x06\x08\xa0\xf0\xba\xbe\x06\x1a\x00\x1a\x00\x1a\x00\x1a\x00";
    let mut body = body.to_vec();
    body[1] = (body.len() - 2) as u8;
    let entry_len = body.len() - 13;
    body[12] = entry_len as u8;
    let staged = fixture.snappy(&body);
    assert_eq!(
        error(&staged).1,
        "stream '{a=\"1\"}' has too many structured metadata labels: '4', limit: '2'. Please see \
         `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it"
    );
}

#[test]
fn entries_of_any_age_are_accepted_by_default() {
    let fixture = Fixture::new(plain());
    let ancient = Entry { timestamp: MISSING_TIMESTAMP, ..Entry::default() };
    assert_eq!(fixture.push(vec![stream(r#"{a="1"}"#, vec![ancient])]).outcome().error, None);
}

#[test]
fn metadata_can_be_disallowed() {
    let fixture = Fixture::new(Limits { allow_structured_metadata: false, ..Limits::default() });
    let with = fixture.push(vec![stream(r#"{a="1"}"#, vec![entry(0, "x", &[("k", "v")])])]);
    let (_, text) = error(&with);
    assert!(text.contains("includes structured metadata, but this feature is disallowed"), "{text}");
    let without = fixture.push(vec![stream(r#"{a="1"}"#, vec![entry(0, "error", &[])])]);
    assert_eq!(stored(&without)[0].3, "{}", "nor is a level added");
}

#[test]
fn long_lines_are_cut_when_the_tenant_wants_it() {
    let limits = Limits { max_line_bytes: 3, truncate_long_lines: true, truncate_identifier: "...".into(), ..plain() };
    let fixture = Fixture::new(limits);
    let staged = fixture.push(vec![stream(r#"{a="1"}"#, vec![entry(0, "12345", &[]), entry(1, "123", &[])])]);
    assert_eq!(staged.outcome().error, None);
    assert_eq!((staged.outcome().truncated_entries, staged.outcome().truncated_bytes), (1, 2));
    let lines: Vec<_> = stored(&staged).into_iter().map(|stored| stored.2).collect();
    assert_eq!(lines, ["123...", "123"]);
    assert_eq!(staged.record().kind, RecordKind::Final);
    assert_eq!(fixture.replayed(&staged), stored(&staged));
}

#[test]
fn equal_times_move_apart_when_the_tenant_wants_it() {
    let fixture = Fixture::new(Limits { increment_duplicate_timestamp: true, ..plain() });
    let entries = vec![entry(0, "a", &[]), entry(0, "b", &[]), entry(0, "c", &[]), entry(1, "d", &[])];
    let staged = fixture.push(vec![stream(r#"{a="1"}"#, entries)]);
    let start = NOW.as_nanos();
    let times: Vec<_> = stored(&staged).iter().map(|stored| stored.1 - start).collect();
    assert_eq!(times, [0, 1, 2, 1_000_000_000]);
    assert_eq!(fixture.replayed(&staged), stored(&staged));
}

#[test]
fn names_and_levels_are_derived_and_derived_again_on_replay() {
    let fixture = Fixture::new(Limits::default());
    let staged = fixture.push(vec![
        stream(
            r#"{app="meta-lvl"}"#,
            vec![
                entry(0, "level=info n=0", &[("level", "FATAL")]),
                entry(1, "level=info n=1", &[("severity_text", "ERR")]),
                entry(2, "level=info n=2", &[("severity_number", "17")]),
                entry(3, "level=info n=3", &[("detected_level", "custom")]),
                entry(4, "level=info n=4", &[("detected_level", "WARNING")]),
                entry(5, "level=info n=5", &[("z", "1")]),
                entry(6, "level=info n=6", &[]),
            ],
        ),
        stream(r#"{level="error", nothing="special"}"#, vec![entry(0, "info", &[]), entry(1, "info", &[("z", "1")])]),
    ]);
    let labels: Vec<_> = stored(&staged).iter().map(|stored| stored.0.clone()).collect();
    assert_eq!(labels[0], r#"{app="meta-lvl", service_name="meta-lvl"}"#);
    assert_eq!(labels[7], r#"{level="error", nothing="special", service_name="unknown_service"}"#);
    let metadata: Vec<_> = stored(&staged).iter().map(|stored| stored.3.clone()).collect();
    assert_eq!(
        metadata,
        [
            r#"{detected_level="fatal", level="FATAL"}"#,
            r#"{detected_level="error", severity_text="ERR"}"#,
            r#"{detected_level="error", severity_number="17"}"#,
            r#"{detected_level="custom"}"#,
            r#"{detected_level="warn"}"#,
            r#"{detected_level="info", z="1"}"#,
            r#"{detected_level="info"}"#,
            r#"{detected_level="error"}"#,
            r#"{detected_level="error", z="1"}"#,
        ]
    );
    assert_eq!(staged.record().kind, RecordKind::Plain);
    assert_eq!(fixture.replayed(&staged), stored(&staged));
}

#[test]
fn final_records_are_not_completed_again() {
    let fixture = Fixture::new(Limits { max_line_bytes: 4, ..Limits::default() });
    let staged =
        fixture.push(vec![stream(r#"{x="1"}"#, vec![entry(0, "warn", &[("a.b", "1")]), entry(1, "12345", &[])])]);
    assert_eq!(staged.record().kind, RecordKind::Final);
    let other = Fixture::new(plain());
    assert_eq!(other.replayed(&staged), stored(&staged), "whatever the limits are by then");
    assert_eq!(stored(&staged)[0].3, r#"{a_b="1", detected_level="warn"}"#);
}

#[test]
fn metadata_without_a_usable_name_fails_the_request() {
    let fixture = Fixture::new(plain());
    let staged = fixture.push(vec![stream(r#"{a="1"}"#, vec![entry(0, "x", &[("-", "v")])])]);
    assert_eq!(error(&staged).0, PushStatus::Internal);
    assert!(staged.is_empty());
}

#[test]
fn a_tenant_beyond_its_rate_stores_nothing_and_hears_of_nothing_else() {
    let fixture = Fixture::new(Limits { ingestion_rate_bytes: 10, ingestion_burst_bytes: 10, ..plain() });
    let lines =
        |n| vec![stream("{}", vec![entry(0, "x", &[])]), stream(r#"{a="1"}"#, vec![entry(0, &"x".repeat(n), &[])])];
    assert_eq!(error(&fixture.push(lines(8))).0, PushStatus::Invalid);
    let staged = fixture.push(lines(3));
    let text = "ingestion rate limit exceeded for user fake (limit: 10 bytes/sec) while attempting to ingest '1' lines \
                totaling '3' bytes, reduce log volume or contact your Loki administrator to see if the limit can be \
                increased";
    assert_eq!(error(&staged), (PushStatus::RateLimited, text.to_owned()));
    assert!(staged.is_empty());
    let rejected: Vec<_> = staged.outcome().rejections.iter().map(|r| (r.reason.as_str(), r.entries)).collect();
    assert_eq!(rejected, [("rate_limited", 1)]);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(error(&fixture.push(lines(3))).0, PushStatus::Invalid, "a second later there is room again");
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_stored() {
    let fixture = Fixture::new(Limits { max_streams: 2, ..plain() });
    let one = |name: &str| stream(&format!(r#"{{a="{name}"}}"#), vec![entry(0, "x", &[])]);
    let staged = fixture.push(vec![stream("{}", vec![entry(0, "x", &[])]), one("1"), one("2"), one("3"), one("1")]);
    let text = "maximum active stream limit exceeded when trying to create stream {a=\"3\"}, reduce the number of \
                active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the \
                limit can be increased, user: 'fake'";
    assert_eq!(error(&staged), (PushStatus::RateLimited, text.to_owned()), "it hides errors of validation");
    assert_eq!(stored(&staged).len(), 3);
    assert_eq!(fixture.ingest.active_streams(&fixture.tenant, &fixture.clock), 2);
    fixture.clock.advance(Duration::from_hours(1));
    assert_eq!(fixture.push(vec![one("3")]).outcome().error, None);
    fixture.clock.advance(Duration::from_hours(1));
    fixture.ingest.release_idle(&fixture.clock);
    assert_eq!(fixture.ingest.active_streams(&fixture.tenant, &fixture.clock), 0);
}

#[test]
fn a_stream_beyond_its_rate_is_refused_as_a_whole() {
    let limits =
        Limits { per_stream_rate_bytes: 1 << 20, per_stream_burst_bytes: 4, max_returned_stream_errors: 1, ..plain() };
    let fixture = Fixture::new(limits);
    let entries = vec![entry(0, "123", &[]), entry(1, "456", &[])];
    let staged = fixture.push(vec![stream(r#"{a="1"}"#, entries), stream(r#"{b="1"}"#, vec![entry(0, "x", &[])])]);
    let text = "entry with timestamp 2025-03-10 10:00:00 +0000 UTC ignored, reason: 'Per stream rate limit exceeded \
                (limit: 1MB/sec) while attempting to ingest for stream '{a=\"1\"}' totaling 6B, consider splitting a \
                stream via additional labels or contact your Loki administrator to see if the limit can be \
                increased',\nuser 'fake', total ignored: 2 out of 2 for stream: {a=\"1\"}";
    assert_eq!(error(&staged), (PushStatus::RateLimited, text.to_owned()));
    assert_eq!(stored(&staged).len(), 1);
    assert_eq!(fixture.replayed(&staged), stored(&staged));
}

#[test]
fn blocked_tenants_store_nothing() {
    let until = NOW.saturating_add_nanos(1);
    let good = || vec![stream(r#"{a="1"}"#, vec![entry(0, "x", &[])])];
    let fixture = Fixture::new(Limits { block_ingestion_until: Some(until), ..plain() });
    let staged = fixture.push(good());
    let text = "ingestion blocked for user 'fake' until '2025-03-10T10:00:00Z' with status code '260'";
    assert_eq!(error(&staged), (PushStatus::Blocked(260), text.to_owned()));
    assert!(staged.is_empty());
    let invalid = fixture.push(vec![stream("{}", vec![entry(0, "x", &[])]), good().remove(0)]);
    assert_eq!(error(&invalid).0, PushStatus::Invalid, "errors of validation come first");
    fixture.clock.advance(Duration::from_nanos(1));
    assert_eq!(fixture.push(good()).outcome().error, None);

    let silent = Limits { block_ingestion_until: Some(until), block_ingestion_status: 200, ..plain() };
    let staged = Fixture::new(silent).push(good());
    assert_eq!(staged.outcome().error, None);
    assert_eq!(staged.outcome().rejections[0].reason.as_str(), "blocked_ingestion");
    assert!(staged.is_empty());
}

#[test]
fn entries_before_the_first_schema_are_refused() {
    let fixture = Fixture::new(Limits { schema_start: Some(NOW), ..plain() });
    let old = Entry { timestamp: Timestamp(1_741_600_800_000), ..entry(0, "millis", &[]) };
    let staged = fixture.push(vec![stream(r#"{a="1"}"#, vec![old]), stream(r#"{b="1"}"#, vec![entry(0, "x", &[])])]);
    let text = "rpc error: code = Unknown desc = failed to create stream: no schema config found for time 1741.6";
    assert_eq!(error(&staged), (PushStatus::Internal, text.to_owned()));
    assert_eq!(stored(&staged).len(), 1);
}

#[test]
fn limits_that_change_take_effect_at_once() {
    let mut fixture = Fixture::new(plain());
    let streams = || vec![stream(r#"{app="1"}"#, vec![entry(0, "x", &[])])];
    assert_eq!(stored(&fixture.push(streams()))[0].0, r#"{app="1"}"#);
    fixture.limits = Arc::new(Limits::default());
    assert_eq!(stored(&fixture.push(streams()))[0].0, r#"{app="1", service_name="1"}"#);
}

#[test]
fn buffers_are_used_again_without_traces() {
    let fixture = Fixture::new(Limits::default());
    let long = vec![stream(r#"{a="1"}"#, (0..100).map(|i| entry(i, &"long ".repeat(50), &[("k", "v")])).collect())];
    let short = || vec![stream(r#"{a="1"}"#, vec![entry(0, "x", &[])])];
    let expected = stored(&Fixture::new(Limits::default()).push(short()));
    for _ in 0..10 {
        drop(fixture.snappy(&encode::streams(&long)));
        assert_eq!(stored(&fixture.snappy(&encode::streams(&short()))), expected);
    }
}

#[test]
fn lines_may_be_any_bytes_but_labels_are_text() {
    let fixture = Fixture::new(plain());
    let binary = Entry { line: Bytes::from_static(b"\xff\x00\n"), ..entry(0, "", &[]) };
    let staged = fixture.push(vec![stream(r#"{a="1"}"#, vec![binary])]);
    let line = staged.streams().next().unwrap().entries().next().unwrap().line;
    assert_eq!(line, b"\xff\x00\n");
    let labels = fixture.snappy(b"\x0a\x09\x0a\x07{a=\"\xff\"}");
    assert_eq!(error(&labels).1, "couldn't parse labels: parse error: invalid UTF-8 rune");
}

proptest! {
    /// Whatever is pushed, the log leads to the same entries as the push itself.
    #[test]
    fn replay_repeats_what_was_staged(
        specs in prop::collection::vec(
            (0..3_u8, -700_i64..700, "[a-z =\"{}:é]{0,12}", prop::collection::btree_map("[a-z._1]{1,3}", "[a-z]{0,3}", 0..3)),
            0..20,
        ),
        max_line_bytes in 0_usize..14,
        truncate_long_lines: bool,
        increment_duplicate_timestamp: bool,
    ) {
        let limits = Limits { max_line_bytes, truncate_long_lines, increment_duplicate_timestamp, ..Limits::default() };
        let fixture = Fixture::new(limits);
        let streams = specs.iter().map(|(number, offset, line, metadata)| {
            let metadata: Vec<_> = metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            stream(&format!(r#"{{a="{number}"}}"#), vec![entry(*offset, line, &metadata)])
        });
        let staged = fixture.push(streams.collect());
        if !staged.is_empty() {
            prop_assert_eq!(fixture.replayed(&staged), stored(&staged));
            prop_assert!(encode::staged(&staged).len() <= staged.max_final_bytes());
        }
    }

    #[test]
    fn any_body_is_answered(body: Vec<u8>, is_snappy: bool) {
        let fixture = Fixture::new(Limits::default());
        if is_snappy {
            fixture.snappy(&body);
        } else {
            fixture.ingest.stage(&fixture.tenant, PushBody::Snappy(body.into()), &fixture.limits, &fixture.clock);
        }
    }
}

/// What is logged must be readable again, so its length is known before it is accepted.
#[test]
fn a_record_is_never_longer_than_foreseen() {
    let fixture = Fixture::new(Limits { max_line_bytes: 5, truncate_long_lines: true, ..Limits::default() });
    let control = "\u{1}\u{7f}\u{2028}".repeat(100);
    let labels = Labels::from_pairs([("a", control.as_str()), ("b", "\"\\")]).unwrap();
    let empty = Entry { timestamp: Timestamp(-1), line: Bytes::new(), metadata: Labels::EMPTY };
    let pairs: Vec<_> = (0..50).map(|n| format!("n{n}")).collect();
    let pairs: Vec<_> = pairs.iter().map(|name| (name.as_str(), "v")).collect();
    for entries in [vec![empty; 50], vec![entry(0, "longer than allowed", &pairs)]] {
        let staged = fixture.push(vec![PushStream { labels: labels.clone(), entries }]);
        assert!(!staged.is_empty());
        let written = encode::staged(&staged).len();
        assert!(written <= staged.max_final_bytes(), "{written} > {}", staged.max_final_bytes());
    }
}

#[test]
fn the_name_of_a_metric_is_no_label_of_a_stream() {
    let fixture = Fixture::new(Limits { discover_service_name: Vec::new(), ..Limits::default() });
    let staged = fixture.push(vec![stream(r#"{__name__="v", a="b"}"#, vec![entry(0, "line", &[])])]);
    let labels: Vec<_> = staged.streams().map(|stream| stream.labels().to_string()).collect();
    assert_eq!(labels, [r#"{a="b"}"#]);
}
