use super::*;
use crate::config::Config;
use crate::decode::tests::read_request;

const JSON: &str = r#"{"resourceLogs": [{
  "resource": {"attributes": [
    {"key": "service.name", "value": {"stringValue": "api"}},
    {"key": "host.name", "value": {"stringValue": "h"}},
    {"key": "k8s.pod.name", "value": {"stringValue": "p"}},
    {"key": "res", "value": {"kvlistValue": {"values": [{"key": "x", "value": {"intValue": "7"}}]}}}
  ]},
  "scopeLogs": [{
    "scope": {"name": "sc", "version": "1.0", "droppedAttributesCount": 2},
    "logRecords": [
      {"timeUnixNano": "1000000005", "observedTimeUnixNano": "2", "severityNumber": 13, "severityText": "WARN",
       "body": {"stringValue": "line"}, "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "EEE19B7EC3C1B174",
       "flags": 1, "attributes": [{"key": "n", "value": {"intValue": 5}}], "unknown": {}},
      {"observedTimeUnixNano": 1000000005, "body": {"arrayValue": {"values": [{"stringValue": "x"}, {"boolValue": true}]}}},
      {"body": null}
    ]
  }]
}]}"#;

fn map(json: &str, yaml: &str) -> Vec<(String, Vec<crate::decode::tests::Entry>)> {
    let limits = Config::from_yaml(yaml).expect("valid").limits;
    let mapping = Mapping {
        rules: &limits.otlp,
        service_name_labels: &limits.limits.discover_service_name,
        arrival: Timestamp(9_000_000_005),
    };
    read_request(&from_json(json.as_bytes(), mapping).expect("valid"))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn records_become_entries_of_their_resources_stream() {
    let streams = map(JSON, "{}");
    assert_eq!(streams.len(), 1);
    let (labels, entries) = &streams[0];
    assert_eq!(labels, r#"{k8s_pod_name="p", service_name="api"}"#);
    assert_eq!(entries[0].0, Some((1, 5)));
    assert_eq!(entries[0].1, "line");
    assert_eq!(
        entries[0].2,
        pairs(&[
            ("n", "5"),
            ("observed_timestamp", "2"),
            ("severity_number", "13"),
            ("severity_text", "WARN"),
            ("flags", "1"),
            ("trace_id", "5b8efff798038103d269b633813fc60c"),
            ("span_id", "eee19b7ec3c1b174"),
            ("host.name", "h"),
            ("res_x", "7"),
            ("scope_name", "sc"),
            ("scope_version", "1.0"),
            ("scope_dropped_attributes_count", "2"),
        ])
    );
    assert_eq!(entries[1].0, Some((1, 5)), "the time of observation stands in");
    assert_eq!(entries[1].1, r#"["x",true]"#);
    assert_eq!(entries[2].0, Some((9, 5)), "the time of arrival stands in");
    assert_eq!(entries[2].1, "");
}

#[test]
fn the_service_is_named_by_a_label_or_unknown() {
    let labels = |attributes: &str, yaml: &str| {
        let json = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{attributes}]}},"scopeLogs":[{{"logRecords":[{{}}]}}]}}]}}"#
        );
        map(&json, yaml)[0].0.clone()
    };
    let container = r#"{"key":"k8s.container.name","value":{"stringValue":"c"}}"#;
    let app = r#"{"key":"app","value":{"stringValue":"a"}}"#;
    assert_eq!(labels(container, "{}"), r#"{k8s_container_name="c", service_name="c"}"#);
    assert_eq!(labels(app, "{}"), r#"{service_name="unknown_service"}"#, "metadata does not name a service");
    assert_eq!(labels(app, "limits_config: {discover_service_name: []}"), "{}");
    let empty = r#"{"key":"service.name","value":{"stringValue":""}}"#;
    assert_eq!(labels(empty, "{}"), r#"{service_name="unknown_service"}"#);
}

#[test]
fn a_tenants_rules_decide() {
    let yaml = "
limits_config:
  otlp_config:
    resource_attributes:
      attributes_config:
        - {action: index_label, attributes: [res]}
        - {action: drop, regex: 'host.*'}
    scope_attributes: [{action: drop, regex: '.*'}]
    log_attributes: [{action: index_label, attributes: [n]}]
    severity_text_as_label: true
";
    let streams = map(JSON, yaml);
    assert_eq!(streams.len(), 2, "labels of records part streams");
    assert_eq!(streams[0].0, r#"{k8s_pod_name="p", n="5", res_x="7", service_name="api", severity_text="WARN"}"#);
    assert_eq!(streams[1].0, r#"{k8s_pod_name="p", res_x="7", service_name="api"}"#);
    let metadata = &streams[0].1[0].2;
    assert!(metadata.iter().all(|(name, _)| name != "n" && name != "host.name"), "{metadata:?}");
    assert_eq!(streams[1].1.len(), 2);
}

#[test]
fn nothing_comes_of_nothing() {
    assert!(map("{}", "{}").is_empty());
    assert!(map(r#"{"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": []}]}]}"#, "{}").is_empty());
}

#[test]
fn malformed_json_is_refused() {
    let limits = Config::bare().limits;
    let mapping = Mapping { rules: &limits.otlp, service_name_labels: &[], arrival: Timestamp(0) };
    for text in ["", "{", "[]", r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"x"}]}]}]}"#] {
        assert!(from_json(text.as_bytes(), mapping).is_err(), "{text}");
    }
    let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(5000), "]}}".repeat(5000));
    let deep = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{deep}}}]}}]}}]}}"#);
    assert!(from_json(deep.as_bytes(), mapping).is_err());
}

/// Writes protobuf for the tests.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        loki_core::encoding::put_varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, field: u8, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn varint(mut self, field: u8, value: u64) -> Self {
        self.0.push(field << 3);
        loki_core::encoding::put_varint(&mut self.0, value);
        self
    }

    fn fixed64(mut self, field: u8, value: u64) -> Self {
        self.0.push(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

fn text(text: &str) -> Message {
    Message::default().bytes(1, text.as_bytes())
}

fn attribute(key: &str, value: &Message) -> Message {
    Message::default().bytes(1, key.as_bytes()).message(2, value)
}

fn sample_protobuf() -> Vec<u8> {
    let map = Message::default()
        .message(6, &Message::default().message(1, &attribute("x", &Message::default().varint(3, 7))));
    let resource =
        Message::default().message(1, &attribute("service.name", &text("api"))).message(1, &attribute("res", &map));
    let record = Message::default()
        .fixed64(1, 1_000_000_005)
        .varint(2, 13)
        .message(5, &text("line"))
        .message(6, &attribute("d", &Message::default().fixed64(4, 2.5_f64.to_bits())))
        .bytes(9, &[0x5b, 0x8e])
        .varint(15, 1);
    let scope = Message::default().message(1, &Message::default().bytes(1, b"sc")).message(2, &record);
    // The resource stands after its records on purpose.
    let logs = Message::default().message(2, &scope).message(1, &resource);
    Message::default().message(1, &logs).0
}

#[test]
fn protobuf_says_the_same_as_json() {
    let limits = Config::bare().limits;
    let mapping = Mapping {
        rules: &limits.otlp,
        service_name_labels: &limits.limits.discover_service_name,
        arrival: Timestamp(0),
    };
    let streams = read_request(&from_protobuf(&sample_protobuf(), mapping).expect("valid"));
    assert_eq!(streams[0].0, r#"{service_name="api"}"#);
    let (time, line, metadata) = &streams[0].1[0];
    assert_eq!((*time, line.as_str()), (Some((1, 5)), "line"));
    let expected =
        [("d", "2.5"), ("severity_number", "13"), ("trace_id", "5b8e"), ("res_x", "7"), ("scope_name", "sc")];
    assert_eq!(*metadata, pairs(&expected));
}

#[test]
fn cut_protobuf_is_refused_and_never_panics() {
    let body = sample_protobuf();
    for len in 1..body.len() {
        let outcome = protobuf::read(&body[..len]);
        assert!(outcome.is_err(), "a cut after {len} bytes leaves a length without its content");
    }
    for at in 0..body.len() {
        let mut damaged = body.clone();
        damaged[at] ^= 0x55;
        let _ = protobuf::read(&damaged);
    }
}

#[test]
fn deep_protobuf_values_are_refused() {
    let mut value = text("x");
    for _ in 0..protobuf::MAX_VALUE_DEPTH + 2 {
        value = Message::default().message(5, &Message::default().message(1, &value));
    }
    let record = Message::default().message(5, &value);
    let scope = Message::default().message(2, &record);
    let body = Message::default().message(1, &Message::default().message(2, &scope)).0;
    assert_eq!(protobuf::read(&body), Err(OtlpProtobufError::Depth));
}
