use super::scan::ContentFault;
use super::*;

/// A stream of a request: its label text and its entries.
pub(super) type Stream = (String, Vec<Entry>);
/// An entry: seconds, nanoseconds, line, metadata.
pub(super) type Entry = (Option<(u64, u64)>, String, Vec<(String, String)>);

fn push_json(body: &str, dialect: JsonDialect) -> Result<Vec<Stream>, String> {
    let raw = RawPush {
        content_type: "application/json",
        content_encoding: "",
        body: Bytes::copy_from_slice(body.as_bytes()),
        dialect,
        max_inflated_bytes: MAX_INFLATED_BYTES,
    };
    match push(raw) {
        Ok(PushBody::Protobuf(body)) => Ok(read_request(&body)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn json(body: &str) -> Result<Vec<Stream>, String> {
    push_json(body, JsonDialect::Current)
}

/// Fields of a message: number, integer, bytes.
pub(super) fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = message.split_first().expect("a whole varint");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        let bytes = if tag & 7 == 2 {
            let (bytes, rest) = message.split_at(value as usize);
            message = rest;
            bytes
        } else {
            &[][..]
        };
        fields.push((tag >> 3, value, bytes));
    }
    fields
}

pub(super) fn read_request(request: &[u8]) -> Vec<Stream> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut streams = Vec::new();
    for (number, _, stream) in fields(request) {
        assert_eq!(number, 1);
        let mut labels = String::new();
        let mut entries = Vec::new();
        for (number, _, bytes) in fields(stream) {
            if number == 1 {
                labels = text(bytes);
                continue;
            }
            let mut entry: Entry = (None, String::new(), Vec::new());
            for (number, _, bytes) in fields(bytes) {
                match number {
                    1 => {
                        let time = fields(bytes);
                        let of = |wanted| time.iter().find(|(number, ..)| *number == wanted).map_or(0, |field| field.1);
                        entry.0 = Some((of(1), of(2)));
                    }
                    2 => entry.1 = text(bytes),
                    _ => {
                        let pair = fields(bytes);
                        entry.2.push((text(pair[0].2), text(pair[1].2)));
                    }
                }
            }
            entries.push(entry);
        }
        streams.push((labels, entries));
    }
    streams
}

fn entry(line: &str) -> Entry {
    (Some((1, 5)), line.to_owned(), Vec::new())
}

#[test]
fn streams_and_entries_are_taken_over() {
    let body = r#"{"streams": [
        {"stream": {"b": "2", "a": "1"}, "values": [["1000000005", "x"], ["1000000005", "q\"\u00e9\n", {"k": "v", "l": "\t"}]]},
        {"values": [["1000000005", "y"]], "stream": {"c": "3"}, "more": [1, {"a": null}]}
    ], "other": {}} trailing"#;
    let streams = json(body).expect("valid");
    assert_eq!(streams[0].0, r#"{a="1", b="2"}"#);
    assert_eq!(streams[0].1[0], entry("x"));
    assert_eq!(streams[0].1[1].1, "q\"é\n");
    assert_eq!(streams[0].1[1].2, [("k".into(), "v".into()), ("l".into(), "\t".into())]);
    assert_eq!(streams[1], (r#"{c="3"}"#.to_owned(), vec![entry("y")]));
}

#[test]
fn labels_take_other_values_as_text_and_the_last_of_a_name() {
    let labels = |stream: &str| json(&format!(r#"{{"streams":[{{"stream":{stream}}}]}}"#)).expect("valid")[0].0.clone();
    assert_eq!(
        labels(r#"{"a": 5, "b": null, "c": true, "d": {"e": "f"}}"#),
        r#"{a="5", b="null", c="true", d="{\"e\": \"f\"}"}"#
    );
    assert_eq!(labels(r#"{"b": "1", "a": "x", "b": "2", "b": "3"}"#), r#"{a="x", b="3"}"#);
    assert_eq!(labels(r#"{"a\u0062": "\"q\""}"#), r#"{ab="\"q\""}"#);
}

#[test]
fn labels_that_are_repeated_are_taken_over() {
    let body = r#"{"streams":[{"stream":{"b":"2","a":"1"}},{"stream":{"b":"2","a":"1"}},{"stream": {"b":"2","a":"1"} },{"stream":{"b":"2"}}]}"#;
    let labels: Vec<_> = json(body).expect("valid").into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(labels, [r#"{a="1", b="2"}"#, r#"{a="1", b="2"}"#, r#"{a="1", b="2"}"#, r#"{b="2"}"#]);
}

#[test]
fn what_is_absent_stays_absent() {
    assert_eq!(json("{}"), Ok(vec![]));
    assert_eq!(json("null"), Ok(vec![]));
    assert_eq!(json(r#"{"streams": null}"#), Ok(vec![]));
    assert_eq!(json(r#"{"streams": [{}]}"#), Ok(vec![("{}".to_owned(), vec![])]));
    let entries =
        |values: &str| json(&format!(r#"{{"streams":[{{"values":{values}}}]}}"#)).expect("valid")[0].1.clone();
    assert_eq!(entries("null"), []);
    assert_eq!(entries("[null]"), []);
    assert_eq!(entries("[[]]"), [(None, String::new(), vec![])]);
    assert_eq!(entries(r#"[["1000000005"]]"#), []);
    assert_eq!(entries(r#"[["1000000005", "x", {}, "extra"]]"#), [entry("x")]);
}

#[test]
fn a_list_that_occurs_again_replaces_the_first() {
    let body = r#"{"streams":[{"stream":{"a":"1"}}],"Streams":[{"stream":{"a":"2"}}]}"#;
    assert_eq!(json(body), Ok(vec![(r#"{a="2"}"#.to_owned(), vec![])]));
}

#[test]
fn malformed_requests_are_reported_in_lokis_words() {
    let request = "loghttp.PushRequest.";
    let streams = "loghttp.PushRequest.Streams: []loghttp.LogProtoStream: ";
    let stream = format!("{streams}unmarshalerDecoder: ");
    let cases = [
        ("", "EOF".to_owned()),
        ("[]", "readObjectStart: expect { or n, but found [, error found in #1 byte of ...|[]|..., bigger context ...|[]|...".to_owned()),
        ("not json", "skipThreeBytes: expect ull, error found in #2 byte of ...|not json|..., bigger context ...|not json|...".to_owned()),
        ("{", format!("{request}readFieldHash: expect \", but found \0, error found in #1 byte of ...|{{|..., bigger context ...|{{|...")),
        (
            r#"{"streams":{}}"#,
            format!(r#"{streams}decode slice: expect [ or n, but found {{, error found in #10 byte of ...|streams":{{}}}}|..., bigger context ...|{{"streams":{{}}}}|..."#),
        ),
        (
            r#"{"streams":[null]}"#,
            format!(r#"{stream}Value looks like object, but can't find closing '}}' symbol, error found in #10 byte of ...|ams":[null]}}|..., bigger context ...|{{"streams":[null]}}|..."#),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(json(body), Err(expected), "{body}");
    }
}

#[test]
fn wrong_content_is_told_apart() {
    let problem = |stream: &str| {
        let error = json(&format!(r#"{{"streams":[{stream}]}}"#)).expect_err(stream);
        error
            .split(", error found")
            .next()
            .unwrap_or_default()
            .rsplit("unmarshalerDecoder: ")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let values = |values: &str| problem(&format!(r#"{{"values":{values}}}"#));
    let object = ContentFault::Object.to_string();
    let number = ContentFault::Number.to_string();
    let string = ContentFault::String.to_string();
    let list = ContentFault::List.to_string();
    assert_eq!(problem(r#"{"stream": null}"#), object);
    assert_eq!(problem(r#"{"stream": "{a=\"b\"}"}"#), object);
    for wrong in [
        "[[1741600800000000000, \"x\"]]",
        "[[\"\", \"x\"]]",
        "[[\"1.5\", \"x\"]]",
        "[[\" 1\", \"x\"]]",
        "[[\"1e18\", \"x\"]]",
        "[{\"ts\": \"1\"}]",
    ] {
        assert_eq!(values(wrong), number, "{wrong}");
    }
    for wrong in ["[[\"1\", 5]]", "[[\"1\", null]]", "[[\"1\", {\"a\": 1}]]", "[[\"1\", \"x\", {\"a\": 1}]]"] {
        assert_eq!(values(wrong), string, "{wrong}");
    }
    for wrong in ["[[\"1\", \"x\", [\"a\"]]]", "[[\"1\", \"x\", null]]"] {
        assert_eq!(values(wrong), object, "{wrong}");
    }
    for wrong in ["\"x\"", "[5]", "7"] {
        assert_eq!(values(wrong), list, "{wrong}");
    }
    assert_eq!(values(r#"[["1", "\ud83d"]]"#), ContentFault::Escape.to_string());
}

#[test]
fn a_fault_in_the_syntax_counts_before_one_in_the_content() {
    let error = json(r#"{"streams":[{"stream": null, "values": [}]}"#).expect_err("malformed");
    assert!(error.contains("do not know how to skip"), "{error}");
}

#[test]
fn the_first_format_is_still_read() {
    let body = r#"{"streams": [{"labels": "{a=\"b\"}", "entries": [{"ts": "1970-01-01T00:00:01.000000005Z", "line": "old\n"}, {"line": null}]}, null]}"#;
    let expected =
        vec![(r#"{a="b"}"#.to_owned(), vec![entry("old\n"), (None, String::new(), vec![])]), (String::new(), vec![])];
    assert_eq!(push_json(body, JsonDialect::Legacy), Ok(expected));
    let error = push_json("{", JsonDialect::Legacy).expect_err("malformed");
    assert!(error.starts_with("push.PushRequest.readFieldHash: expect \", but found \0"), "{error}");
    assert!(push_json(r#"{"streams":[{"entries":[{"ts":"yesterday"}]}]}"#, JsonDialect::Legacy).is_err());
}

#[test]
fn headers_select_the_format() {
    let decode = |content_type: &str, content_encoding: &str| {
        let body = Bytes::from_static(b"{}");
        push(RawPush { content_type, content_encoding, body, dialect: JsonDialect::Current, max_inflated_bytes: 10 })
            .map_err(|error| error.to_string())
    };
    assert!(matches!(decode("application/json; charset=utf-8", "snappy"), Ok(PushBody::Protobuf(_))));
    assert!(matches!(decode("text/plain", ""), Ok(PushBody::Snappy(_))));
    assert_eq!(decode("", "").expect_err("no type"), "mime: no media type");
    assert_eq!(decode("application/json", "br").expect_err("unknown"), "Content-Encoding \"br\" not supported");
}

#[test]
fn a_cut_body_is_fine_once_its_value_is_complete() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(br#"{"streams":[{"stream":{"a":"b"}}]}"#).expect("in memory");
    let whole = Bytes::from(encoder.finish().expect("in memory"));
    let decode = |body: Bytes| {
        push(RawPush {
            content_type: "application/json",
            content_encoding: "gzip",
            body,
            dialect: JsonDialect::Current,
            max_inflated_bytes: 1000,
        })
    };
    assert!(decode(whole.slice(..whole.len() - 8)).is_ok());
    assert!(decode(whole.slice(..10)).is_err());
}
