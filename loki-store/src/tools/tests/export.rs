//! Entries that come out as they went in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::DeleteRequest;

fn request(name: &str, query: &str, format: ExportFormat) -> ExportRequest {
    ExportRequest {
        tenant: tenant(name),
        query: query.to_owned(),
        range: TimeRange::ALL,
        format,
        limits: limits(Duration::ZERO),
        retention_enabled: false,
    }
}

fn limits(retention_period: Duration) -> crate::LimitsSource {
    let limits = Arc::new(Limits { retention_period, ..verbatim_limits() });
    Arc::new(move |_: &TenantId| Arc::clone(&limits))
}

async fn exported(bench: &Bench, request: ExportRequest) -> (ExportReport, Vec<Value>) {
    let mut out = Vec::new();
    let report = export(&bench.site(), request, bench.clock.clone(), &mut out, &Quiet).await.unwrap();
    assert_eq!(report.written_bytes, out.len() as u64);
    let values = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (report, values.map(|line| serde_json::from_slice(line).unwrap()).collect())
}

fn pairs(object: &Value) -> String {
    let pairs = object.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={},", value.as_str().unwrap())).collect();
    pairs.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_json_are_what_a_store_answers() {
    let bench = Bench::populated().await;
    let expected = entries_of(&bench.open().await).await;
    let mut found = BTreeSet::new();
    for name in ["a", "b"] {
        let (report, objects) = exported(&bench, request(name, "{}", ExportFormat::NdJson)).await;
        assert_eq!(report.entries, objects.len() as u64);
        for object in objects {
            let labels: BTreeMap<String, String> = serde_json::from_value(object["labels"].clone()).unwrap();
            let moment: jiff::Timestamp = object["timestamp"].as_str().unwrap().parse().unwrap();
            let line = object["line"].as_str().unwrap().to_owned();
            let nanos = i64::try_from(moment.as_nanosecond()).unwrap();
            let entry = (Labels::from_pairs(labels).unwrap().to_string(), nanos, line, pairs(&object["metadata"]));
            assert!(found.insert((name.to_owned(), entry)), "an entry came twice");
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_pushes_bring_every_entry_to_another_store() {
    let bench = Bench::populated().await;
    let expected = entries_of(&bench.open().await).await;
    let other = bench.open_at(&bench.folder.path().join("other")).await;
    for name in ["a", "b"] {
        let (_, bodies) = exported(&bench, request(name, "{}", ExportFormat::Push)).await;
        for body in bodies {
            other.push(&tenant(name), PushBody::Streams(streams(&body))).await.unwrap();
        }
    }
    assert_eq!(entries_of(&other).await, expected);
}

fn streams(body: &Value) -> Vec<PushStream> {
    let labels = |object: &Value| {
        let pairs: BTreeMap<String, String> = serde_json::from_value(object.clone()).unwrap_or_default();
        Labels::from_pairs(pairs).unwrap()
    };
    let entry = |value: &Value| Entry {
        timestamp: Timestamp(value[0].as_str().unwrap().parse().unwrap()),
        line: value[1].as_str().unwrap().to_owned().into(),
        metadata: value.get(2).map_or(Labels::EMPTY, labels),
    };
    let streams = body["streams"].as_array().unwrap().iter();
    let stream = |stream: &Value| PushStream {
        labels: labels(&stream["stream"]),
        entries: stream["values"].as_array().unwrap().iter().map(entry).collect(),
    };
    streams.map(stream).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_end_before_they_are_too_long() {
    let bench = Bench::new();
    let store = bench.open().await;
    let line = "x".repeat(MAX_EXPORT_BODY_BYTES / 3);
    let long = "y".repeat(MAX_EXPORT_BODY_BYTES + 1);
    for (stream, lines) in [("s", [&line, &line, &line, &line]), ("t", [&line, &long, &line, &line])] {
        let entries = (0..).zip(lines).map(|(second, line)| Entry {
            timestamp: at(second),
            line: line.clone().into(),
            metadata: Labels::EMPTY,
        });
        let labels = Labels::from_pairs([("stream", stream)]).unwrap();
        let stream = PushStream { labels, entries: entries.collect() };
        store.push(&tenant("a"), PushBody::Streams(vec![stream])).await.unwrap();
    }
    drop(store);
    let mut out = Vec::new();
    let request = request("a", "{}", ExportFormat::Push);
    let report = export(&bench.site(), request, bench.clock.clone(), &mut out, &Quiet).await.unwrap();
    assert_eq!(report.entries, 8);
    let bodies: Vec<&[u8]> = out.split_inclusive(|byte| *byte == b'\n').collect();
    let too_long = bodies.iter().filter(|body| body.len() > MAX_EXPORT_BODY_BYTES).count();
    assert_eq!(too_long, 1, "only the line that is too long itself");
    let entries = bodies.iter().map(|body| streams(&serde_json::from_slice(body).unwrap()));
    assert_eq!(entries.flatten().map(|stream| stream.entries.len()).sum::<usize>(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_select_and_retention_hides() {
    let bench = Bench::populated().await;
    let query = r#"{stream="s1"} |= "line 1" | line_format "changed" | trace_id != """#;
    let (report, objects) = exported(&bench, request("a", query, ExportFormat::NdJson)).await;
    let seconds: Vec<i64> = (0..80).filter(|second| second.to_string().starts_with('1') && second % 2 == 0).collect();
    assert_eq!(report.entries, seconds.len() as u64);
    assert_eq!(objects[0]["line"], "line 10 of a request that took a while");

    let limits = limits(Duration::from_hours(1));
    let expired = ExportRequest { limits, retention_enabled: true, ..request("a", "{}", ExportFormat::NdJson) };
    assert_eq!(exported(&bench, expired).await.0.entries, 0);

    let wrong = request("a", "rate({a=\"b\"}[1m])", ExportFormat::NdJson);
    let refused = export(&bench.site(), wrong, bench.clock.clone(), &mut Vec::new(), &Quiet).await.unwrap_err();
    assert!(matches!(refused, ExportError::Query(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_delete_is_counted_before_it_is_made() {
    let bench = Bench::populated().await;
    let store = bench.open().await;
    // Entries in two places count once.
    push(&store, "a", 1, 0..20).await;
    let before = entries_of(&store).await;
    let request = |query: &str| DeleteRequest { query: query.to_owned(), range: TimeRange::new(at(0), at(70)) };
    let query = r#"{stream=~"s[01]"} |= "line 1""#;
    let count = store.count_delete(&tenant("a"), request(query)).await.unwrap();
    assert_eq!((count.streams, count.entries), (2, 22));
    assert_eq!(entries_of(&store).await, before, "counting deletes nothing");
    store.delete(&tenant("a"), request(query)).await.unwrap();
    assert_eq!(entries_of(&store).await.len() as u64, before.len() as u64 - count.entries);
    assert_eq!(store.count_delete(&tenant("a"), request(query)).await.unwrap(), crate::DeleteCount::default());
    assert!(store.count_delete(&tenant("a"), request("{")).await.is_err());
}
