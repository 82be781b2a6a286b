//! Answers of the query routes as Loki's JSON.
//!
//! Written by hand into one buffer: an answer may hold a hundred thousand
//! lines, and decoders that stream need `encodingFlags` before `result`.

mod flags;
mod json;
mod legacy;
mod metadata;
mod stats;
mod tail;

use axum::response::IntoResponse;
use http::{HeaderValue, header};
use loki_core::Labels;
use loki_logql::result::{Point, QueryResult, Response, ResultEntry, SampleValue, Series, StreamEntries};

pub(crate) use flags::EncodingFlags;
pub(crate) use json::{write_labels, write_string};
pub(crate) use legacy::write_legacy_response;
pub(crate) use metadata::{write_names, write_series_list, write_sizes};
pub(crate) use stats::{QueryTimes, write_stats};
pub(crate) use tail::{DroppedEntries, write_legacy_tail_message, write_tail_message};

const NANOS_PER_MILLI: i64 = 1_000_000;
const MILLIS_PER_SECOND: i64 = 1000;

/// The type of every JSON answer of the query routes.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// An answer of a query route.
pub(crate) fn json(body: Vec<u8>) -> axum::response::Response {
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// The envelope with the answer, its statistics and warnings.
pub(crate) fn write_response(response: &Response, flags: &EncodingFlags, times: QueryTimes) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(br#"{"status":"success","#);
    if !response.warnings.is_empty() {
        out.extend_from_slice(br#""warnings":["#);
        write_list(&mut out, &response.warnings, |out, warning| write_string(out, warning.as_bytes()));
        out.extend_from_slice(b"],");
    }
    out.extend_from_slice(br#""data":{"resultType":"#);
    write_result(&mut out, &response.result, flags);
    out.extend_from_slice(br#","stats":"#);
    write_stats(&mut out, &response.stats, times);
    out.extend_from_slice(b"}}\n");
    out
}

fn write_result(out: &mut Vec<u8>, result: &QueryResult, flags: &EncodingFlags) {
    match result {
        QueryResult::Streams(streams) => {
            out.extend_from_slice(br#""streams","#);
            if !flags.is_empty() {
                out.extend_from_slice(br#""encodingFlags":["#);
                write_list(out, flags.iter(), |out, flag| write_string(out, flag.as_bytes()));
                out.extend_from_slice(b"],");
            }
            out.extend_from_slice(br#""result":"#);
            write_streams(out, streams, flags);
        }
        QueryResult::Matrix(series) => {
            out.extend_from_slice(br#""matrix","result":["#);
            write_list(out, series, write_series);
            out.push(b']');
        }
        QueryResult::Vector(samples) => {
            out.extend_from_slice(br#""vector","result":["#);
            write_list(out, samples, |out, sample| {
                out.extend_from_slice(br#"{"metric":"#);
                write_labels(out, &sample.labels);
                out.extend_from_slice(br#","value":"#);
                write_point(out, sample.point);
                out.push(b'}');
            });
            out.push(b']');
        }
        QueryResult::Scalar(point) => {
            out.extend_from_slice(br#""scalar","result":"#);
            write_point(out, *point);
        }
    }
}

/// Streams with their entries.
fn write_streams(out: &mut Vec<u8>, streams: &[StreamEntries], flags: &EncodingFlags) {
    let categorize = flags.categorize_labels();
    out.push(b'[');
    write_list(out, streams, |out, stream| {
        out.extend_from_slice(br#"{"stream":"#);
        write_labels(out, &stream.labels);
        out.extend_from_slice(br#","values":["#);
        write_list(out, &stream.entries, |out, entry| write_entry(out, entry, categorize));
        out.extend_from_slice(b"]}");
    });
    out.push(b']');
}

fn write_series(out: &mut Vec<u8>, series: &Series) {
    out.extend_from_slice(br#"{"metric":"#);
    write_labels(out, &series.labels);
    out.extend_from_slice(br#","values":["#);
    write_list(out, &series.points, |out, point| write_point(out, *point));
    out.extend_from_slice(b"]}");
}

/// `["<ns>","<line>"]`, with the labels by kind behind if they were asked for.
fn write_entry(out: &mut Vec<u8>, entry: &ResultEntry, categorize: bool) {
    out.extend_from_slice(b"[\"");
    write_display(out, entry.timestamp.0);
    out.extend_from_slice(b"\",");
    write_string(out, &entry.line);
    if categorize {
        out.push(b',');
        write_categories(out, entry);
    }
    out.push(b']');
}

/// Structured metadata and parsed labels of an entry, empty kinds left out.
pub(crate) fn write_categories(out: &mut Vec<u8>, entry: &ResultEntry) {
    let kinds: [(&[u8], &Labels); 2] =
        [(br#""structuredMetadata":"#, &entry.metadata), (br#""parsed":"#, &entry.parsed)];
    out.push(b'{');
    write_list(out, kinds.iter().filter(|(_, labels)| !labels.is_empty()), |out, (key, labels)| {
        out.extend_from_slice(key);
        write_labels(out, labels);
    });
    out.push(b'}');
}

/// `[<seconds>,"<value>"]`; seconds have up to three decimals.
pub(crate) fn write_point(out: &mut Vec<u8>, point: Point) {
    let millis = point.timestamp.0.div_euclid(NANOS_PER_MILLI);
    let (seconds, rest) = (millis.div_euclid(MILLIS_PER_SECOND), millis.rem_euclid(MILLIS_PER_SECOND));
    out.push(b'[');
    match rest {
        0 => write_display(out, seconds),
        _ => write_display(out, format_args!("{}", SampleValue(millis as f64 / 1000.0))),
    }
    out.extend_from_slice(b",\"");
    write_display(out, SampleValue(point.value));
    out.extend_from_slice(b"\"]");
}

/// Writes the items with commas between them.
pub(crate) fn write_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

/// Writes a time as `2006-01-02T15:04:05.999999999Z`, without zeros at the end of the fraction.
pub(crate) fn write_rfc3339(out: &mut Vec<u8>, time: loki_core::Timestamp) {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    write_display(out, moment);
}

pub(crate) fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write as _;
    write!(out, "{value}").expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use loki_core::Timestamp;
    use loki_logql::stats::Stats;

    use super::*;

    fn body(result: QueryResult, flags: &str) -> String {
        let response = Response { result, stats: Stats::default(), warnings: Vec::new() };
        let text =
            String::from_utf8(write_response(&response, &EncodingFlags::parse(flags), QueryTimes::default())).unwrap();
        let (before, _) = text.split_once(r#","stats":"#).unwrap();
        before.to_owned()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn streams() -> QueryResult {
        let entry = ResultEntry {
            timestamp: Timestamp(1_700_000_000_000_000_001),
            line: Bytes::from_static(b"say \"hi\"\n\xff"),
            metadata: Labels::default(),
            parsed: labels(&[("code", "200")]),
        };
        QueryResult::Streams(vec![StreamEntries { labels: labels(&[("app", "a")]), entries: vec![entry] }])
    }

    #[test]
    fn merged_entries_have_two_elements() {
        assert_eq!(
            body(streams(), ""),
            "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":[{\"stream\":{\"app\":\"a\"},\
             \"values\":[[\"1700000000000000001\",\"say \\\"hi\\\"\\n\u{fffd}\"]]}]"
        );
    }

    #[test]
    fn categorized_entries_name_the_kinds_they_have_and_flags_come_first() {
        assert_eq!(
            body(streams(), "categorize-labels"),
            "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"encodingFlags\":[\"categorize-labels\"],\
             \"result\":[{\"stream\":{\"app\":\"a\"},\"values\":[[\"1700000000000000001\",\
             \"say \\\"hi\\\"\\n\u{fffd}\",{\"parsed\":{\"code\":\"200\"}}]]}]"
        );
    }

    #[test]
    fn times_of_points_are_seconds_with_up_to_three_decimals() {
        let text = |nanos, value| {
            let mut out = Vec::new();
            write_point(&mut out, Point { timestamp: Timestamp(nanos), value });
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1_741_075_200_000_000_000, 1.0), r#"[1741075200,"1"]"#);
        assert_eq!(text(1_795_144_207_500_000_000, 0.5), r#"[1795144207.5,"0.5"]"#);
        assert_eq!(text(1_999_999, f64::INFINITY), r#"[0.001,"+Inf"]"#);
    }

    #[test]
    fn answers_are_valid_json_with_every_stats_section() {
        let response = Response { result: streams(), stats: Stats::default(), warnings: vec!["a \"b\"".into()] };
        let bytes = write_response(&response, &EncodingFlags::parse("categorize-labels"), QueryTimes::default());
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["warnings"][0], "a \"b\"");
        for section in ["summary", "querier", "ingester", "cache", "index"] {
            assert!(value["data"]["stats"][section].is_object(), "{section}");
        }
    }
}
