use bytes::Bytes;
use loki_logql::result::ResultEntry;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("distinct names")
}

fn entry(line: &'static str, metadata: &[(&str, &str)]) -> ResultEntry {
    ResultEntry {
        timestamp: Timestamp(0),
        line: Bytes::from_static(line.as_bytes()),
        metadata: labels(metadata),
        parsed: Labels::EMPTY,
    }
}

/// `name kind cardinality parsers path` of each field.
fn shown(stream: &[(&str, &str)], entries: Vec<ResultEntry>) -> Vec<String> {
    let fields = fields(&[StreamEntries { labels: labels(stream), entries }]);
    let show = |(name, field): (&String, &Field)| {
        let parsers: Vec<_> = field.parsers.iter().map(|parser| parser.name()).collect();
        let text = format!(
            "{name} {} {} {} {}",
            field.kind.name(),
            field.values.len(),
            parsers.join("+"),
            field.json_path.join("/")
        );
        text.trim_end().to_owned()
    };
    fields.iter().map(show).collect()
}

#[test]
fn lines_are_json_or_else_logfmt() {
    let lines = vec![
        entry(r#"{"level":"info","took":"5ms","req":{"bytes":"3kB"}}"#, &[]),
        entry("level=warn status=200 app=other", &[]),
        entry("nothing to see here", &[]),
        entry("", &[]),
    ];
    assert_eq!(
        shown(&[("app", "api")], lines),
        [
            "app_extracted string 1 logfmt",
            "level string 2 json+logfmt level",
            "req_bytes bytes 1 json req/bytes",
            "status int 1 logfmt",
            "took duration 1 json took",
        ]
    );
}

#[test]
fn metadata_has_no_parser_unless_lines_have_the_field_too() {
    let lines = vec![entry("trace=1 n=1", &[("trace", "abc"), ("pod", "p1")])];
    assert_eq!(shown(&[("app", "api")], lines), ["n int 1 logfmt", "pod string 1", "trace int 2 logfmt"]);
}

#[test]
fn the_last_value_decides_the_kind() {
    let lines = vec![entry("id=5ac5c7af", &[]), entry("id=892500e0", &[])];
    assert_eq!(shown(&[("app", "api")], lines), ["id float 2 logfmt"]);
}

#[test]
fn broken_json_gives_nothing_of_its_own() {
    let lines = vec![entry(r#"{"a":1"#, &[]), entry(r#"{"a":nan}"#, &[]), entry(r#"{"a":01}"#, &[])];
    assert_eq!(shown(&[("app", "api")], lines), ["a int 1 json a"]);
}
