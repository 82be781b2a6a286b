//! Answers of `/api/prom/query`, the shape that Loki had before its first release.

use loki_logql::result::StreamEntries;
use loki_logql::stats::Stats;

use super::{QueryTimes, write_list, write_rfc3339, write_stats, write_string};

/// Streams with their labels as text.
pub(crate) fn write_legacy_response(streams: &[StreamEntries], stats: &Stats, times: QueryTimes) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(br#"{"streams":"#);
    write_streams(&mut out, streams);
    out.extend_from_slice(br#","stats":"#);
    write_stats(&mut out, stats, times);
    out.extend_from_slice(b"}\n");
    out
}

/// Streams with their entries.
pub(super) fn write_streams(out: &mut Vec<u8>, streams: &[StreamEntries]) {
    out.push(b'[');
    write_list(out, streams, |out, stream| {
        out.extend_from_slice(br#"{"labels":"#);
        write_string(out, stream.labels.to_string().as_bytes());
        out.extend_from_slice(br#","entries":["#);
        write_list(out, &stream.entries, |out, entry| {
            out.extend_from_slice(br#"{"ts":""#);
            write_rfc3339(out, entry.timestamp);
            out.extend_from_slice(br#"","line":"#);
            write_string(out, &entry.line);
            out.push(b'}');
        });
        out.extend_from_slice(b"]}");
    });
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use loki_core::{Labels, Timestamp};
    use loki_logql::result::ResultEntry;

    use super::*;

    #[test]
    fn labels_are_text_and_times_have_no_trailing_zeros() {
        let entry = |nanos| ResultEntry {
            timestamp: Timestamp(nanos),
            line: Bytes::from_static(b"x"),
            metadata: Labels::EMPTY,
            parsed: Labels::EMPTY,
        };
        let labels = Labels::from_pairs([("b", "say \"hi\""), ("a", "1")]).expect("distinct");
        let entries = vec![entry(1_741_086_000_000_000_006), entry(1_741_075_200_000_000_000)];
        let body =
            write_legacy_response(&[StreamEntries { labels, entries }], &Stats::default(), QueryTimes::default());
        let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(value["streams"][0]["labels"], r#"{a="1", b="say \"hi\""}"#);
        assert_eq!(value["streams"][0]["entries"][0]["ts"], "2025-03-04T11:00:00.000000006Z");
        assert_eq!(value["streams"][0]["entries"][1]["ts"], "2025-03-04T08:00:00Z");
        assert!(value["stats"]["summary"].is_object());
    }
}
