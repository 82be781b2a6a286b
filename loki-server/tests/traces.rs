//! The program sends a trace of every request to the collector that the environment names.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// A trace and a span in it, as a client would name them.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const PUSHED: &str = r#"{"streams":[{"stream":{"app":"traced"},"values":[["1","a line"]]}]}"#;

#[test]
fn requests_continue_the_traces_that_they_name() {
    let collector = Collector::start();
    let server = Server::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret"),
        ("OTEL_SERVICE_NAME", "logs"),
    ]);
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nContent-Type: application/json\r\n");
    assert_eq!(server.ask("POST", "/loki/api/v1/push", &parent, PUSHED), 204);
    assert_eq!(server.ask("GET", "/loki/api/v1/query_range?query=%7Bapp%3D%22traced%22%7D", "", ""), 200);
    assert_eq!(server.ask("POST", "/flush", &parent, ""), 204);
    server.stop();

    let spans = collector.spans();
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} in {spans:#?}"));
    let push = of("POST /loki/api/v1/push");
    assert_eq!((push.trace.as_str(), push.parent.as_str()), (TRACE, PARENT));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/loki/api/v1/push"),
        ("http.response.status_code", "204"),
        ("url.path", "/loki/api/v1/push"),
        ("loki.tenant", "fake"),
    ] {
        assert_eq!(push.attribute(name), Some(value), "{name} in {push:#?}");
    }
    let append = of("append");
    assert_eq!((append.trace.as_str(), &append.parent), (TRACE, &push.id));
    let flush = of("flush");
    assert_eq!((flush.trace.as_str(), &flush.parent), (TRACE, &of("POST /flush").id));
    let request = of("GET /loki/api/v1/query_range");
    assert_ne!(request.trace, TRACE);
    assert_eq!(request.parent, "");
    let query = of("query");
    assert_eq!((&query.trace, &query.parent), (&request.trace, &request.id));
    assert_eq!(query.attribute("logql.query"), Some(r#"{app="traced"}"#));
    assert!(spans.iter().all(|span| span.service == "logs" && span.token == "secret"), "{spans:#?}");
}

#[test]
fn nothing_is_sent_when_traces_are_turned_off_or_not_sampled() {
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "always_off")] {
        let collector = Collector::start();
        let server = Server::start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url.as_str()), off]);
        assert_eq!(server.ask("GET", "/ready", "", ""), 200);
        server.stop();
        assert!(collector.spans().is_empty(), "{off:?}");
    }
}

/// The program, in a folder of its own.
struct Server {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_loki-server"))
            .args(["-server.http-listen-address=127.0.0.1", "-server.http-listen-port=0"])
            .envs(variables.iter().copied())
            .current_dir(&folder)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let address = loop {
            let line = log.next().expect("a line before the end").expect("text");
            if let Some((_, url)) = line.split_once("ready for requests at http://") {
                break url.split('"').next().expect("an address").to_owned();
            }
        };
        // A full pipe would stop the program.
        std::thread::spawn(move || log.count());
        Self { process, address, _folder: folder }
    }

    /// Sends a request and returns the status of the answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n");
        write!(stream, "{head}{headers}\r\n{body}").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// Stops the program and waits for its end, before which it sends what it has.
    fn stop(mut self) {
        assert_eq!(self.ask("POST", "/ingester/shutdown?terminate=true", "", ""), 204);
        assert!(self.process.wait().expect("it was started").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A collector of traces.
struct Collector {
    url: String,
    received: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (sender, received) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                // It is kept before the program knows that it came, and may end.
                if sender.send(receive(&stream)).is_err() {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).expect("it waits");
            }
        });
        Self { url, received }
    }

    /// What came until now.
    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (head, body) in self.received.try_iter() {
            let token = head.lines().find_map(|line| line.strip_prefix("x-token: ")).unwrap_or_default();
            for resource_spans in fields(&body).filter_map(|field| field.bytes(1)) {
                spans.extend(decode(resource_spans, token));
            }
        }
        spans
    }
}

/// Reads a request.
fn receive(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("a head"), 0, "the head ends");
    }
    assert!(head.starts_with("POST /"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).expect("a body");
    (head, body)
}

#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    attributes: Vec<(String, String)>,
    service: String,
    token: String,
}

impl Span {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The spans of a `ResourceSpans`.
fn decode<'a>(resource_spans: &'a [u8], token: &'a str) -> impl Iterator<Item = Span> + 'a {
    let resource = fields(resource_spans).find_map(|field| field.bytes(1)).unwrap_or_default();
    let attributes: Vec<_> = fields(resource).filter_map(|field| field.bytes(1)).map(attribute).collect();
    let service = attributes.into_iter().find(|(key, _)| key == "service.name").map(|(_, value)| value);
    let service = service.expect("a service has a name");
    let scopes = fields(resource_spans).filter_map(|field| field.bytes(2));
    let spans = scopes.flat_map(|scope| fields(scope).filter_map(|field| field.bytes(2)));
    spans.map(move |span| {
        let bytes = |number| fields(span).find_map(|field| field.bytes(number)).unwrap_or_default();
        let hex = |number| bytes(number).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        Span {
            trace: hex(1),
            id: hex(2),
            parent: hex(4),
            name: text(bytes(5)),
            attributes: fields(span).filter_map(|field| field.bytes(9)).map(attribute).collect(),
            service: service.clone(),
            token: token.to_owned(),
        }
    })
}

/// A `KeyValue` whose value is a text or a number.
fn attribute(bytes: &[u8]) -> (String, String) {
    let key = fields(bytes).find_map(|field| field.bytes(1)).unwrap_or_default();
    let value = fields(bytes).find_map(|field| field.bytes(2)).unwrap_or_default();
    let value = fields(value).next().map(|field| match field.value {
        Value::Bytes(bytes) => text(bytes),
        Value::Number(number) => number.to_string(),
    });
    (text(key), value.unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A field of a protobuf message.
struct Field<'a> {
    number: u64,
    value: Value<'a>,
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self, number: u64) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) if self.number == number => Some(bytes),
            _ => None,
        }
    }
}

/// The fields of a message that is well-formed.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let tag = varint(&mut rest);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)),
            1 => {
                Value::Number(u64::from_le_bytes(*rest.split_off(..8).expect("eight bytes").as_array().expect("eight")))
            }
            2 => {
                let length = varint(&mut rest) as usize;
                Value::Bytes(rest.split_off(..length).expect("as many bytes as announced"))
            }
            5 => Value::Bytes(rest.split_off(..4).expect("four bytes")),
            kind => panic!("wire type {kind}"),
        };
        Some(Field { number: tag >> 3, value })
    })
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = *rest.split_off_first().expect("a number ends");
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
