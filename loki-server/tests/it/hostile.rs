//! Input that no honest client sends, over sockets where that matters. The server refuses it and goes on.

use std::io::Write;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::log::Log;
use crate::support::{TestServer, escaped, one_line, request, streams};

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const PUSH: &str = "/loki/api/v1/push";

/// Sends bytes and returns the head of what comes back until the server closes; nothing if that is all it does.
async fn raw(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// A server, and what it writes to the log.
async fn watched(yaml: &str) -> (TestServer, Log) {
    (TestServer::configured(yaml).await, Log::begin())
}

#[tokio::test]
async fn complaints_are_noticed() {
    let log = Log::begin();
    tracing::error!("something is wrong");
    assert_eq!(log.of_level("ERROR"), ["ERROR message=something is wrong"]);
}

/// The server answers, holds nothing of what was refused, and blames nobody but the clients.
async fn assert_unharmed(server: &TestServer, log: &Log) {
    assert_eq!(log.of_level("ERROR"), Vec::<String>::new(), "mistakes of clients are no errors of the server");
    assert_eq!(server.push(one_line(server, "after", "all is well")).await.status, 204);
    assert_eq!(server.series("fake").await, [r#"{app="after", service_name="after"}"#]);
    let text = server.ask("GET", "/metrics").await.text();
    assert!(text.contains("\nloki_panic_total 0\n"), "{text}");
    assert!(!text.contains(r#"status_code="500""#), "{text}");
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(content.len()), content].concat()
}

/// A push of one entry to a stream, in protobuf and snappy.
fn protobuf(server: &TestServer, labels: &[u8], line: &[u8]) -> Vec<u8> {
    let seconds = server.app().store().config().clock.now().as_nanos() / 1_000_000_000;
    let time = [vec![8], varint(usize::try_from(seconds).expect("after 1970"))].concat();
    let entry = [field(1, &time), field(2, line)].concat();
    let stream = [field(1, labels), field(2, &entry)].concat();
    snap::raw::Encoder::new().compress_vec(&field(1, &stream)).expect("in memory")
}

#[tokio::test]
async fn requests_that_are_none_are_refused() {
    let (server, log) = watched("auth_enabled: false\n").await;
    let long_header = format!("GET /ready HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("GET /ready HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(1000));
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let cases: [(&[u8], &str); 7] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET /ready HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (long_header.as_bytes(), "HTTP/1.1 431 Request Header Fields Too Large"),
        (many_headers.as_bytes(), "HTTP/1.1 431 Request Header Fields Too Large"),
        (long_path.as_bytes(), "HTTP/1.1 414 URI Too Long"),
    ];
    for (bytes, status) in cases {
        let answer = raw(&server, bytes).await;
        // A reset may overtake the answer where the server closes with bytes unread.
        assert!(answer == status || answer.is_empty(), "{:?}: {answer}", String::from_utf8_lossy(&bytes[..20]));
    }
    assert_unharmed(&server, &log).await;
}

#[tokio::test]
async fn requests_that_break_off_leave_nothing_behind() {
    let (server, log) = watched("auth_enabled: false\n").await;
    let body = one_line(&server, "cut", "never to be stored");
    let whole = format!(
        "POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{body}"
    );
    let cuts = [1, 30, whole.len() - body.len(), whole.len() - body.len() / 2, whole.len() - 1];
    let broken = cuts.iter().map(|&cut| &whole[..cut]).chain([&*chunked]);
    let answers = join_all(broken.map(|broken| raw(&server, broken.as_bytes()))).await;
    assert!(answers.iter().all(|answer| !answer.contains(" 204 ")), "{answers:?}");
    // A connection that says nothing at all, and one that only opens its request, keep nobody waiting.
    let silent = TcpStream::connect(server.address()).await.expect("the server listens");
    let mut half = TcpStream::connect(server.address()).await.expect("the server listens");
    half.write_all(b"GET /ready HT").await.expect("sent");
    assert_unharmed(&server, &log).await;
    drop((silent, half));
}

#[tokio::test]
async fn clients_that_close_their_side_get_whole_answers() {
    const LINES: usize = 200;
    const LINE_BYTES: usize = 20_000;
    let (server, log) = watched("auth_enabled: false\nlimits_config: {max_entries_limit_per_query: 5000}\n").await;
    let now = server.app().store().config().clock.now().as_nanos() / 1_000_000_000;
    let lines = (0..LINES as i64).map(|i| (now - i, "x".repeat(LINE_BYTES))).collect();
    let body = streams(&[(r#"{"app":"after"}"#, lines)]);
    let push = format!(
        "POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(raw(&server, push.as_bytes()).await, "HTTP/1.1 204 No Content");
    let query = escaped(r#"{app="after"} |~ "x+$""#);
    let target = format!("/loki/api/v1/query_range?query={query}&limit={LINES}");
    let whole_bytes = server.ask("GET", &target).await.body.len();
    assert!(whole_bytes > LINES * LINE_BYTES);
    let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("closed on one side");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the server closes when it has said everything");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(answer.len() > LINES * LINE_BYTES, "{}", answer.len());
    assert!(answer.ends_with(b"}\n"));
    assert_unharmed(&server, &log).await;
}

#[tokio::test]
async fn bombs_are_refused_in_every_encoding() {
    let yaml = "auth_enabled: false\ndistributor: {max_decompressed_size: 100000}\n";
    let (server, log) = watched(yaml).await;
    let zeros = vec![b' '; 50_000_000];
    let gzip = |content: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let deflate = |content: &[u8]| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let snappy = snap::raw::Encoder::new().compress_vec(&zeros).expect("in memory");
    let zstd = zstd::bulk::compress(&zeros, 1).expect("in memory");
    let lz4 = {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(&zeros).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let otlp = "/otlp/v1/logs";
    let cases = [
        (PUSH, JSON, "gzip", gzip(&zeros)),
        (PUSH, JSON, "deflate", deflate(&zeros)),
        (PUSH, PROTOBUF, "", snappy.clone()),
        (PUSH, PROTOBUF, "gzip", gzip(&snappy)),
        (PUSH, PROTOBUF, "deflate", deflate(&snappy)),
        (otlp, JSON, "gzip", gzip(&zeros)),
        (otlp, JSON, "zstd", zstd.clone()),
        (otlp, PROTOBUF, "zstd", zstd),
        (otlp, PROTOBUF, "lz4", lz4),
        // Says that it holds four gigabytes, and ends there.
        (PUSH, PROTOBUF, "", vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (path, content_type, encoding, body) in cases {
        let headers = [content_type, ("content-encoding", encoding)];
        let headers = if encoding.is_empty() { &headers[..1] } else { &headers[..] };
        let answer = server.send(request("POST", path, headers, body)).await;
        assert!(matches!(answer.status.as_u16(), 400 | 413), "{path} {encoding}: {answer:?}");
    }
    assert_unharmed(&server, &log).await;
}

#[tokio::test]
async fn labels_beyond_all_measure_are_refused() {
    let (server, log) = watched("auth_enabled: false\n").await;
    let many: Vec<_> = (0..100_000).map(|i| format!(r#"l{i}="v""#)).collect();
    let long = "v".repeat(1 << 20);
    let (value_refused, name_refused) =
        (format!("has label value too long: '{long}'"), format!("has label name too long: '{long}'"));
    let cases = [
        (format!("{{{}}}", many.join(",")).into_bytes(), "' has 100000 label names; limit 15"),
        (format!(r#"{{app="{long}"}}"#).into_bytes(), &*value_refused),
        (format!(r#"{{{long}="v"}}"#).into_bytes(), &*name_refused),
        (b"{a\xff\xfe=\"v\"}".to_vec(), ""),
        (b"{a=\"\xff\xfe".to_vec(), ""),
        (b"{".to_vec(), "couldn't parse labels: 1:2: parse error: "),
        (b"{}".to_vec(), "error at least one label pair is required per stream"),
        (br#"{a="1",a="2"}"#.to_vec(), "has duplicate label name"),
        ([&b"{"[..], &b"{".repeat(100_000)].concat(), ""),
    ];
    for (labels, text) in cases {
        let body = protobuf(&server, &labels, b"x");
        let answer = server.send(request("POST", PUSH, &[PROTOBUF], body)).await;
        let shown = String::from_utf8_lossy(&labels[..labels.len().min(30)]).into_owned();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        assert!(answer.text().contains(text), "{shown}: {}", &answer.text()[..answer.body.len().min(300)]);
    }
    let nested =
        format!(r#"{{"streams":[{{"stream":{{"a":{}1{}}},"values":[]}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.push(nested).await.status, 400);
    assert_unharmed(&server, &log).await;
}

#[tokio::test]
async fn lines_that_are_not_text_are_kept_as_they_came() {
    let (server, log) = watched("auth_enabled: false\n").await;
    let body = protobuf(&server, br#"{app="bytes"}"#, b"a\xff\x00\xfeb");
    assert_eq!(server.send(request("POST", PUSH, &[PROTOBUF], body)).await.status, 204);
    let answer = server.ask("GET", "/loki/api/v1/query_range?query=%7Bapp%3D%22bytes%22%7D").await;
    assert_eq!(answer.json()["data"]["result"][0]["values"][0][1], "a\u{fffd}\0\u{fffd}b");
    assert_eq!(log.of_level("ERROR"), Vec::<String>::new());
}

#[tokio::test]
async fn every_refusal_of_a_push_has_its_status_and_text() {
    let yaml = "auth_enabled: false\nlimits_config: {max_line_size: 100B, max_label_names_per_series: 2, \
        max_label_name_length: 10, max_label_value_length: 10, max_structured_metadata_size: 20B, \
        max_structured_metadata_entries_count: 2, max_global_streams_per_user: 2, enforced_labels: [], \
        ingestion_rate_mb: 0.01, ingestion_burst_size_mb: 0.01, reject_old_samples: true, \
        discover_service_name: []}\n";
    let (server, log) = watched(yaml).await;
    let now = server.app().store().config().clock.now().as_nanos();
    let day = 86_400_000_000_000_i64;
    let push = |labels: &str, at: i64, line: &str, rest: &str| {
        format!(r#"{{"streams":[{{"stream":{labels},"values":[["{at}","{line}"{rest}]]}}]}}"#)
    };
    let long = "x".repeat(101);
    let many = format!(
        r#"{{"streams":[{{"stream":{{"a":"1"}},"values":[{}]}}]}}"#,
        vec![format!(r#"["{now}","{}"]"#, "y".repeat(100)); 200].join(",")
    );
    let cases = [
        (push("{}", now, "x", ""), 400, "error at least one label pair is required per stream"),
        (push(r#"{"a":"1"}"#, now - 8 * day, "x", ""), 400, "has timestamp too old: "),
        (push(r#"{"a":"1"}"#, now + day, "x", ""), 400, "has timestamp too new: "),
        (
            push(r#"{"a":"1"}"#, now, &long, ""),
            400,
            "max entry size '100' bytes exceeded for stream '{a=\"1\"}' while adding an entry with length '101' bytes",
        ),
        (push(r#"{"a":"1","b":"2","c":"3"}"#, now, "x", ""), 400, "has 3 label names; limit 2"),
        (push(r#"{"abcdefghijk":"1"}"#, now, "x", ""), 400, "has label name too long: 'abcdefghijk'"),
        (push(r#"{"a":"12345678901"}"#, now, "x", ""), 400, "has label value too long: '12345678901'"),
        (
            push(r#"{"a":"1"}"#, now, "x", r#",{"k":"123456789012345678901"}"#),
            400,
            "has structured metadata too large: '22' bytes, limit: '20' bytes",
        ),
        (
            push(r#"{"a":"1"}"#, now, "x", r#",{"k":"1","l":"2","m":"3"}"#),
            400,
            "has too many structured metadata labels: '3', limit: '2'",
        ),
        (push(r#"{"a":"1"}"#, now, "x", r#",{"k":1}"#), 400, ""),
        (push(r#"{"a":"1"}"#, now, "x", ",null"), 400, ""),
        (r#"{"streams":[{"stream":{"a":"1"},"values":[[1,"x"]]}]}"#.to_owned(), 400, ""),
        (r#"{"streams":[{"stream":{"a":"1"},"values":[["1",2]]}]}"#.to_owned(), 400, ""),
        (r#"{"streams":[]}"#.to_owned(), 422, "error at least one valid stream is required for ingestion"),
        (r#"{"streams":[{"stream":{"a":"1"},"values":[]}]}"#.to_owned(), 204, ""),
        (r#"{"streams":"#.to_owned(), 400, ""),
        (
            many,
            429,
            "ingestion rate limit exceeded for user fake (limit: 10485 bytes/sec) while attempting to ingest '200' lines totaling '20000' bytes",
        ),
        (push(r#"{"s":"1"}"#, now, "x", ""), 204, ""),
        (push(r#"{"s":"2"}"#, now, "x", ""), 204, ""),
        (
            push(r#"{"s":"3"}"#, now, "x", ""),
            429,
            "maximum active stream limit exceeded when trying to create stream {s=\"3\"}",
        ),
    ];
    for (body, status, text) in cases {
        let answer = server.push(body.clone()).await;
        let shown = &body[..body.len().min(120)];
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text());
        assert!(answer.text().contains(text), "{shown}: {}", answer.text());
    }
    let encoding = [JSON, ("content-encoding", "br")];
    let answer = server.send(request("POST", PUSH, &encoding, "{}")).await;
    assert_eq!(answer.outcome(), (400, "Content-Encoding \"br\" not supported\n".to_owned()));
    assert_eq!(log.of_level("ERROR"), Vec::<String>::new());
}
