//! The largest that is accepted can also be flushed, and the smallest that cannot is refused.

use super::*;
use crate::limits::{
    MAX_LINE_BYTES, MAX_STREAM_LABELS_BYTES, MAX_STRUCTURED_METADATA_BYTES, MAX_STRUCTURED_METADATA_ENTRIES,
};
use crate::push::{PushOutcome, Reason};

/// Pushes one entry and, if it is accepted, finds it again in a segment and after a restart that read the log.
async fn round_trip(labels: Labels, entry: Entry) -> PushOutcome {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let expected = stored(&labels, &entry);
    let stream = PushStream { labels, entries: vec![entry] };
    let outcome = store.push(&tenant(), PushBody::Streams(vec![stream])).await.unwrap();
    if outcome.entries == 0 {
        return outcome;
    }
    drop(store);
    let store = machine.open().await.unwrap();
    assert_eq!(store.counters().wal_records_replayed.value(), 1);
    store.flush().await.unwrap();
    assert_eq!(store.head_bytes(), 0);
    // Without printing megabytes when they differ.
    assert!(everything(&store).await == [expected], "not what was pushed");
    outcome
}

fn refused(outcome: &PushOutcome) -> (Reason, String) {
    assert_eq!((outcome.entries, outcome.rejections.len()), (0, 1));
    let text = outcome.error.as_ref().expect("a text").to_string();
    assert!(text.len() < 1024, "{} bytes", text.len());
    (outcome.rejections[0].reason, text)
}

fn numbered(count: usize, value: &str) -> Labels {
    let pairs = (0..count).map(|n| (format!("n{n:05}"), value.to_owned()));
    Labels::from_pairs(pairs).unwrap()
}

/// The label that [`all`] asks for and one that makes up for the rest of `bytes`.
fn labels_of(bytes: usize) -> Labels {
    let labels = |len: usize| Labels::from_pairs([("app", "test".to_owned()), ("z", "v".repeat(len))]).unwrap();
    let overhead = labels(bytes / 2).size_bytes() - bytes / 2;
    let labels = labels(bytes - overhead);
    assert_eq!(labels.size_bytes(), bytes);
    labels
}

#[tokio::test]
async fn lines() {
    let line = |len: usize| Entry { line: vec![b'x'; len].into(), ..entry(1, "", None) };
    assert_eq!(round_trip(stream_labels(1), line(MAX_LINE_BYTES)).await.error, None);
    let (reason, text) = refused(&round_trip(stream_labels(1), line(MAX_LINE_BYTES + 1)).await);
    assert_eq!(reason, Reason::LineTooLong);
    assert_eq!(
        text,
        r#"max entry size '16777216' bytes exceeded for stream '{app="test", stream="s1"}' while adding an entry with length '16777217' bytes"#
    );
}

#[tokio::test]
async fn bytes_of_metadata() {
    let metadata = |len: usize| Entry {
        metadata: Labels::from_pairs([("name", "v".repeat(len - 4))]).unwrap(),
        ..entry(1, "line", None)
    };
    assert_eq!(round_trip(stream_labels(1), metadata(MAX_STRUCTURED_METADATA_BYTES)).await.error, None);
    let (reason, text) = refused(&round_trip(stream_labels(1), metadata(MAX_STRUCTURED_METADATA_BYTES + 1)).await);
    assert_eq!(reason, Reason::StructuredMetadataTooLarge);
    assert!(text.contains("too large: '16777217' bytes, limit: '16777216' bytes"), "{text}");
}

#[tokio::test]
async fn pairs_of_metadata() {
    let metadata = |count: usize| Entry { metadata: numbered(count, "v"), ..entry(1, "line", None) };
    assert_eq!(round_trip(stream_labels(1), metadata(MAX_STRUCTURED_METADATA_ENTRIES)).await.error, None);
    let (reason, text) = refused(&round_trip(stream_labels(1), metadata(MAX_STRUCTURED_METADATA_ENTRIES + 1)).await);
    assert_eq!(reason, Reason::StructuredMetadataTooMany);
    assert!(text.contains("too many structured metadata labels: '16385', limit: '16384'"), "{text}");
}

#[tokio::test]
async fn labels() {
    let small = || entry(1, "line", None);
    assert_eq!(round_trip(labels_of(MAX_STREAM_LABELS_BYTES), small()).await.error, None);
    let (reason, text) = refused(&round_trip(labels_of(MAX_STREAM_LABELS_BYTES + 1), small()).await);
    assert_eq!(reason, Reason::LabelsTooLarge);
    assert_eq!(text, "stream has labels too large: '131009' bytes, limit: '131008' bytes");
}

/// What Loki would refuse is refused in its words, however large it is.
#[tokio::test]
async fn labels_beyond_both_limits() {
    let machine = Machine::new();
    let limits = Limits { max_label_value_bytes: MAX_STREAM_LABELS_BYTES, ..verbatim_limits() };
    let store = machine.open_with(machine.config().with_limits(limits)).await.unwrap();
    for (value_bytes, reason) in
        [(MAX_STREAM_LABELS_BYTES, Reason::LabelsTooLarge), (MAX_STREAM_LABELS_BYTES + 1, Reason::LabelValueTooLong)]
    {
        let labels = Labels::from_pairs([("app", "v".repeat(value_bytes))]).unwrap();
        let stream = PushStream { labels, entries: vec![entry(1, "line", None)] };
        let outcome = store.push(&tenant(), PushBody::Streams(vec![stream])).await.unwrap();
        assert_eq!(outcome.rejections[0].reason, reason);
    }
}

/// A restart under other limits may make labels longer, and those must still fit into an index.
#[tokio::test]
async fn labels_that_grow_at_a_restart() {
    let machine = Machine::new();
    let store = machine.open().await.unwrap();
    let entries = vec![entry(1, "line", None)];
    let stream = PushStream { labels: labels_of(MAX_STREAM_LABELS_BYTES), entries };
    assert_eq!(store.push(&tenant(), PushBody::Streams(vec![stream])).await.unwrap().error, None);
    drop(store);
    let limits = Limits { discover_service_name: vec!["z".into()], ..verbatim_limits() };
    let store = machine.open_with(machine.config().with_limits(limits)).await.unwrap();
    store.flush().await.unwrap();
    let found = everything(&store).await;
    assert_eq!(found[0].labels.get("service_name"), found[0].labels.get("z"));
}

/// Limits of the tenant apply below the hard ones and give way to them above.
#[tokio::test]
async fn the_smaller_of_two_limits_counts() {
    for (max_line_bytes, accepted) in [(10, 10), (0, MAX_LINE_BYTES), (MAX_LINE_BYTES + 10, MAX_LINE_BYTES)] {
        let machine = Machine::new();
        let limits =
            Limits {
                max_line_bytes, truncate_long_lines: true, truncate_identifier: "…".into(), ..verbatim_limits()
            };
        let store = machine.open_with(machine.config().with_limits(limits)).await.unwrap();
        let long = Entry { line: vec![b'x'; MAX_LINE_BYTES + 20].into(), ..entry(1, "", None) };
        push(&store, 1, vec![long]).await.unwrap();
        store.flush().await.unwrap();
        let identifier = if accepted < MAX_LINE_BYTES { "…".len() } else { 0 };
        assert_eq!(everything(&store).await[0].line.len(), accepted + identifier, "{max_line_bytes}");
    }
}
