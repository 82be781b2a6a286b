//! Which part of an OTLP record becomes a stream label, structured metadata, the line, or nothing.

use std::borrow::Cow;

use loki_core::Timestamp;

use crate::config::otlp::{AttributeAction, AttributeRule, action};
use crate::decode::otlp::Mapping;
use crate::decode::otlp::model::{AnyValue, KeyValue, LogRecord, ResourceLogs, ScopeLogs};
use crate::decode::otlp::value::write_text;
use crate::decode::writer::{Open, PushWriter};

const SERVICE_NAME: &[u8] = b"service_name";
const SERVICE_NAME_ATTRIBUTE: &[u8] = b"service.name";
const UNKNOWN_SERVICE: &[u8] = b"unknown_service";
const SEVERITY_TEXT: &[u8] = b"severity_text";

/// Pairs of a name and a text.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Maps the records of a request into a writer.
pub(super) struct Mapper<'a> {
    mapping: Mapping<'a>,
    writer: &'a mut PushWriter,
    line: Vec<u8>,
    /// Metadata of the record at hand.
    metadata: Pairs,
}

/// What the records of a resource have in common.
struct Shared {
    /// Stream labels, sorted.
    labels: Pairs,
    /// Structured metadata of the resource.
    metadata: Pairs,
}

/// A stream that is being written.
struct Stream {
    open: Open,
    labels: Pairs,
}

impl<'a> Mapper<'a> {
    /// A mapper into `writer`.
    pub(super) fn new(mapping: Mapping<'a>, writer: &'a mut PushWriter) -> Self {
        Self { mapping, writer, line: Vec::new(), metadata: Vec::new() }
    }

    /// Writes the records of a resource; records with the same labels that follow each other share a stream.
    pub(super) fn resource(&mut self, resource: &ResourceLogs<'_>) {
        let shared = self.shared(&resource.attributes);
        let mut stream: Option<Stream> = None;
        for scope in &resource.scopes {
            let mut scope_metadata = shared.metadata.clone();
            self.scope_metadata(scope, &mut scope_metadata);
            for record in &scope.records {
                let labels = self.record_labels(record, &shared.labels);
                if stream.as_ref().is_none_or(|stream| stream.labels != *labels) {
                    self.close(stream.take());
                    stream = Some(self.open(labels.into_owned()));
                }
                self.record(record, &scope_metadata);
            }
        }
        self.close(stream);
    }

    fn open(&mut self, labels: Pairs) -> Stream {
        let open = self.writer.open_stream();
        self.writer.labels(labels.iter().map(|(name, value)| (&**name, &**value)));
        Stream { open, labels }
    }

    fn close(&mut self, stream: Option<Stream>) {
        if let Some(stream) = stream {
            self.writer.close_stream(&stream.open);
        }
    }

    fn shared(&self, attributes: &[KeyValue<'_>]) -> Shared {
        let mut shared = Shared { labels: Vec::new(), metadata: Vec::new() };
        let discovers = !self.mapping.service_name_labels.is_empty();
        let mut has_service_name = attributes.iter().any(|attribute| {
            *attribute.key == *SERVICE_NAME_ATTRIBUTE
                && attribute.value != AnyValue::Empty
                && !is_blank(&attribute.value)
        });
        for attribute in attributes {
            match action_of(&self.mapping.rules.resource, attribute) {
                AttributeAction::Drop => {}
                AttributeAction::StructuredMetadata => flatten(attribute, &mut shared.metadata),
                AttributeAction::IndexLabel => {
                    let mut labels = Vec::new();
                    flatten(attribute, &mut labels);
                    for (name, value) in labels {
                        let name = label_name(&name);
                        if discovers && !has_service_name && self.names_a_service(&name) && !value.is_empty() {
                            set(&mut shared.labels, SERVICE_NAME.to_vec(), value.clone());
                            has_service_name = true;
                        }
                        set(&mut shared.labels, name, value);
                    }
                }
            }
        }
        if discovers && !has_service_name {
            set(&mut shared.labels, SERVICE_NAME.to_vec(), UNKNOWN_SERVICE.to_vec());
        }
        shared
    }

    fn names_a_service(&self, label: &[u8]) -> bool {
        self.mapping.service_name_labels.iter().any(|name| name.as_bytes() == label)
    }

    fn scope_metadata(&self, scope: &ScopeLogs<'_>, metadata: &mut Pairs) {
        for attribute in &scope.attributes {
            if action_of(&self.mapping.rules.scope, attribute) != AttributeAction::Drop {
                flatten(attribute, metadata);
            }
        }
        push_text(metadata, "scope_name", &scope.name);
        push_text(metadata, "scope_version", &scope.version);
        push_number(metadata, "scope_dropped_attributes_count", u64::from(scope.dropped_attributes));
    }

    /// The labels of a record: those of its resource, and what the tenant's rules take from the record itself.
    fn record_labels<'b>(&self, record: &LogRecord<'_>, shared: &'b Pairs) -> Cow<'b, Pairs> {
        let mut labels = Cow::Borrowed(shared);
        for attribute in &record.attributes {
            if action_of(&self.mapping.rules.log, attribute) == AttributeAction::IndexLabel {
                let mut pairs = Vec::new();
                flatten(attribute, &mut pairs);
                for (name, value) in pairs {
                    set(labels.to_mut(), label_name(&name), value);
                }
            }
        }
        if self.mapping.rules.severity_text_as_label && !record.severity_text.is_empty() {
            set(labels.to_mut(), SEVERITY_TEXT.to_vec(), record.severity_text.to_vec());
        }
        labels
    }

    fn record(&mut self, record: &LogRecord<'_>, scope_metadata: &Pairs) {
        self.record_metadata(record);
        self.line.clear();
        write_text(&record.body, &mut self.line);
        let metadata_bytes: usize =
            self.metadata.iter().chain(scope_metadata).map(|(n, v)| n.len() + v.len() + 8).sum();
        let entry = self.writer.open_entry(Some(self.timestamp(record)), self.line.len() + metadata_bytes);
        self.writer.line(&self.line);
        for (name, value) in self.metadata.iter().chain(scope_metadata) {
            self.writer.metadata(name, value);
        }
        self.writer.close_entry(&entry);
    }

    fn record_metadata(&mut self, record: &LogRecord<'_>) {
        let mut metadata = std::mem::take(&mut self.metadata);
        metadata.clear();
        for attribute in &record.attributes {
            if action_of(&self.mapping.rules.log, attribute) == AttributeAction::StructuredMetadata {
                flatten(attribute, &mut metadata);
            }
        }
        if record.time_nanos != 0 {
            push_number(&mut metadata, "observed_timestamp", record.observed_nanos);
        }
        if record.severity_number != 0 {
            push_text(&mut metadata, "severity_number", record.severity_number.to_string().as_bytes());
        }
        push_text(&mut metadata, "severity_text", &record.severity_text);
        push_number(&mut metadata, "dropped_attributes_count", record.dropped_attributes.into());
        push_number(&mut metadata, "flags", record.flags.into());
        push_text(&mut metadata, "trace_id", &hex(&record.trace_id));
        push_text(&mut metadata, "span_id", &hex(&record.span_id));
        self.metadata = metadata;
    }

    fn timestamp(&self, record: &LogRecord<'_>) -> Timestamp {
        match (record.time_nanos, record.observed_nanos) {
            (0, 0) => self.mapping.arrival,
            (0, nanos) | (nanos, _) => Timestamp(nanos as i64),
        }
    }
}

fn action_of(rules: &[AttributeRule], attribute: &KeyValue<'_>) -> AttributeAction {
    action(rules, &String::from_utf8_lossy(&attribute.key))
}

/// Appends an attribute; a map becomes several with `_` between outer and inner name.
fn flatten(attribute: &KeyValue<'_>, pairs: &mut Pairs) {
    flatten_into(attribute.key.to_vec(), &attribute.value, pairs);
}

fn flatten_into(name: Vec<u8>, value: &AnyValue<'_>, pairs: &mut Pairs) {
    if let AnyValue::Map(inner) = value {
        for pair in inner {
            let mut inner_name = name.clone();
            inner_name.push(b'_');
            inner_name.extend_from_slice(&pair.key);
            flatten_into(inner_name, &pair.value, pairs);
        }
        return;
    }
    let mut text = Vec::new();
    write_text(value, &mut text);
    pairs.push((name, text));
}

/// Puts a label where it belongs in the order of names; one of that name is replaced, an empty value is no label.
fn set(labels: &mut Pairs, name: Vec<u8>, value: Vec<u8>) {
    match labels.binary_search_by(|(candidate, _)| candidate.cmp(&name)) {
        Ok(at) => labels[at].1 = value,
        Err(at) => labels.insert(at, (name, value)),
    }
}

fn is_blank(value: &AnyValue<'_>) -> bool {
    matches!(value, AnyValue::Text(text) if text.is_empty())
}

fn push_text(pairs: &mut Pairs, name: &str, text: &[u8]) {
    if !text.is_empty() {
        pairs.push((name.into(), text.to_vec()));
    }
}

fn push_number(pairs: &mut Pairs, name: &str, number: u64) {
    if number != 0 {
        pairs.push((name.into(), number.to_string().into_bytes()));
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// An attribute's name as a label name: other characters become `_`, runs of it one, and a digit in front gets a prefix.
fn label_name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for c in String::from_utf8_lossy(name).chars() {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii_alphanumeric() => out.push(byte),
            _ if out.last() == Some(&b'_') => {}
            _ => out.push(b'_'),
        }
    }
    if out.first().is_some_and(u8::is_ascii_digit) {
        out.splice(..0, *b"key_");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_names_are_normalised() {
        let cases = [
            ("service.name", "service_name"),
            ("a..b--c", "a_b_c"),
            ("1st", "key_1st"),
            ("ns:x", "ns_x"),
            ("naïve", "na_ve"),
        ];
        for (name, expected) in cases {
            assert_eq!(label_name(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn labels_stay_sorted_and_unique() {
        let mut labels = Vec::new();
        for (name, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
            set(&mut labels, name.into(), value.into());
        }
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(labels, [pair("a", "2"), pair("b", "3")]);
    }
}
