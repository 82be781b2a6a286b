//! Messages of live tails.

use loki_core::{Labels, Timestamp};
use loki_logql::result::StreamEntries;

use super::{EncodingFlags, write_display, write_labels, write_list, write_rfc3339, write_streams, write_string};

/// Entries for which there was no room, with their streams.
pub(crate) type DroppedEntries = [(Timestamp, Labels)];

/// A message as it is sent today.
pub(crate) fn write_tail_message(
    streams: &[StreamEntries],
    dropped: &DroppedEntries,
    flags: &EncodingFlags,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(br#"{"streams":"#);
    write_streams(&mut out, streams, flags);
    if !dropped.is_empty() {
        out.extend_from_slice(br#","dropped_entries":["#);
        write_list(&mut out, dropped, |out, (time, labels)| {
            write_display(out, format_args!(r#"{{"timestamp":"{}","labels":"#, time.0));
            write_labels(out, labels);
            out.push(b'}');
        });
        out.push(b']');
    }
    if !flags.is_empty() {
        out.extend_from_slice(br#","encodingFlags":["#);
        write_list(&mut out, flags.iter(), |out, flag| write_string(out, flag.as_bytes()));
        out.push(b']');
    }
    out.push(b'}');
    out
}

/// A message as `/api/prom/tail` sends it.
pub(crate) fn write_legacy_tail_message(streams: &[StreamEntries], dropped: &DroppedEntries) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(br#"{"streams":"#);
    super::legacy::write_streams(&mut out, streams);
    out.extend_from_slice(br#","dropped_entries":"#);
    if dropped.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'[');
        write_list(&mut out, dropped, |out, (time, labels)| {
            out.extend_from_slice(br#"{"Timestamp":""#);
            write_rfc3339(out, *time);
            out.extend_from_slice(br#"","Labels":"#);
            write_string(out, labels.to_string().as_bytes());
            out.push(b'}');
        });
        out.push(b']');
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use loki_logql::result::ResultEntry;

    use super::*;

    fn streams() -> Vec<StreamEntries> {
        let entry = ResultEntry {
            timestamp: Timestamp(1_700_000_000_000_000_001),
            line: Bytes::from_static(b"x"),
            metadata: Labels::EMPTY,
            parsed: Labels::EMPTY,
        };
        vec![StreamEntries { labels: labels(), entries: vec![entry] }]
    }

    fn labels() -> Labels {
        Labels::from_pairs([("app", "a")]).expect("one label")
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let flags = EncodingFlags::default();
        assert_eq!(
            text(write_tail_message(&streams(), &[], &flags)),
            r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000001","x"]]}]}"#
        );
        let flags = EncodingFlags::parse("categorize-labels");
        assert_eq!(
            text(write_tail_message(&streams(), &[(Timestamp(7), labels())], &flags)),
            "{\"streams\":[{\"stream\":{\"app\":\"a\"},\"values\":[[\"1700000000000000001\",\"x\",{}]]}],\
             \"dropped_entries\":[{\"timestamp\":\"7\",\"labels\":{\"app\":\"a\"}}],\
             \"encodingFlags\":[\"categorize-labels\"]}"
        );
    }

    #[test]
    fn legacy_messages_have_labels_as_text() {
        assert_eq!(
            text(write_legacy_tail_message(&streams(), &[])),
            "{\"streams\":[{\"labels\":\"{app=\\\"a\\\"}\",\"entries\":[{\"ts\":\"2023-11-14T22:13:20.000000001Z\",\
             \"line\":\"x\"}]}],\"dropped_entries\":null}"
        );
        let dropped = [(Timestamp(0), labels())];
        assert!(
            text(write_legacy_tail_message(&[], &dropped))
                .ends_with(r#""dropped_entries":[{"Timestamp":"1970-01-01T00:00:00Z","Labels":"{app=\"a\"}"}]}"#)
        );
    }
}
