//! Reading an OTLP request from protobuf in place. Unknown fields are skipped.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;

use crate::decode::otlp::model::{AnyValue, KeyValue, LogRecord, ResourceLogs, ScopeLogs};

/// Values inside each other.
pub(super) const MAX_VALUE_DEPTH: u32 = 64;

/// Why bytes are not an OTLP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OtlpProtobufError {
    /// They end in the middle of something.
    #[error("unexpected EOF")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A kind of value that does not exist, or not here.
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType {
        /// The kind found.
        wire_type: u8,
        /// The field's number.
        field: u64,
    },
    /// A field number that does not exist.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// Values nested too deeply.
    #[error("proto: values nested more than {MAX_VALUE_DEPTH} deep")]
    Depth,
}

type Result<T> = std::result::Result<T, OtlpProtobufError>;

/// Reads a request.
pub(super) fn read(body: &[u8]) -> Result<Vec<ResourceLogs<'_>>> {
    let mut resources = Vec::new();
    for field in Fields::new(body) {
        if let (1, value) = field? {
            resources.push(resource_logs(value.bytes()?)?);
        }
    }
    Ok(resources)
}

fn resource_logs(message: &[u8]) -> Result<ResourceLogs<'_>> {
    let mut logs = ResourceLogs::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => {
                for field in Fields::new(value.bytes()?) {
                    if let (1, value) = field? {
                        logs.attributes.push(key_value(value.bytes()?, 0)?);
                    }
                }
            }
            (2, value) => logs.scopes.push(scope_logs(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(logs)
}

fn scope_logs(message: &[u8]) -> Result<ScopeLogs<'_>> {
    let mut logs = ScopeLogs::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => scope(value.bytes()?, &mut logs)?,
            (2, value) => logs.records.push(log_record(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(logs)
}

fn scope<'a>(message: &'a [u8], logs: &mut ScopeLogs<'a>) -> Result<()> {
    for field in Fields::new(message) {
        match field? {
            (1, value) => logs.name = Cow::Borrowed(value.bytes()?),
            (2, value) => logs.version = Cow::Borrowed(value.bytes()?),
            (3, value) => logs.attributes.push(key_value(value.bytes()?, 0)?),
            (4, value) => logs.dropped_attributes = value.varint()? as u32,
            _ => {}
        }
    }
    Ok(())
}

fn log_record(message: &[u8]) -> Result<LogRecord<'_>> {
    let mut record = LogRecord::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => record.time_nanos = value.fixed64()?,
            (2, value) => record.severity_number = value.varint()? as i32,
            (3, value) => record.severity_text = Cow::Borrowed(value.bytes()?),
            (5, value) => record.body = any_value(value.bytes()?, 0)?,
            (6, value) => record.attributes.push(key_value(value.bytes()?, 0)?),
            (7, value) => record.dropped_attributes = value.varint()? as u32,
            (8, value) => record.flags = value.fixed32()?,
            (9, value) => record.trace_id = Cow::Borrowed(value.bytes()?),
            (10, value) => record.span_id = Cow::Borrowed(value.bytes()?),
            (11, value) => record.observed_nanos = value.fixed64()?,
            _ => {}
        }
    }
    Ok(record)
}

fn key_value(message: &[u8], depth: u32) -> Result<KeyValue<'_>> {
    let mut pair = KeyValue::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => pair.key = Cow::Borrowed(value.bytes()?),
            (2, value) => pair.value = any_value(value.bytes()?, depth)?,
            _ => {}
        }
    }
    Ok(pair)
}

fn any_value(message: &[u8], depth: u32) -> Result<AnyValue<'_>> {
    if depth > MAX_VALUE_DEPTH {
        return Err(OtlpProtobufError::Depth);
    }
    let depth = depth.saturating_add(1);
    let mut result = AnyValue::Empty;
    for field in Fields::new(message) {
        match field? {
            (1, value) => result = AnyValue::Text(Cow::Borrowed(value.bytes()?)),
            (2, value) => result = AnyValue::Bool(value.varint()? != 0),
            (3, value) => result = AnyValue::Int(value.varint()? as i64),
            (4, value) => result = AnyValue::Double(f64::from_bits(value.fixed64()?)),
            (5, value) => {
                let mut items = Vec::new();
                for field in Fields::new(value.bytes()?) {
                    if let (1, value) = field? {
                        items.push(any_value(value.bytes()?, depth)?);
                    }
                }
                result = AnyValue::List(items);
            }
            (6, value) => {
                let mut pairs = Vec::new();
                for field in Fields::new(value.bytes()?) {
                    if let (1, value) = field? {
                        pairs.push(key_value(value.bytes()?, depth)?);
                    }
                }
                result = AnyValue::Map(pairs);
            }
            (7, value) => result = AnyValue::Bytes(Cow::Borrowed(value.bytes()?)),
            _ => {}
        }
    }
    Ok(result)
}

/// The fields of a message.
struct Fields<'a> {
    rest: &'a [u8],
}

/// The value of a field and the field's number, for messages.
#[derive(Clone, Copy)]
struct Value<'a> {
    field: u64,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    fn bytes(self) -> Result<&'a [u8]> {
        match self.content {
            Content::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong()),
        }
    }

    fn varint(self) -> Result<u64> {
        match self.content {
            Content::Varint(number) => Ok(number),
            _ => Err(self.wrong()),
        }
    }

    fn fixed64(self) -> Result<u64> {
        match self.content {
            Content::Fixed64(bytes) => Ok(u64::from_le_bytes(bytes)),
            _ => Err(self.wrong()),
        }
    }

    fn fixed32(self) -> Result<u32> {
        match self.content {
            Content::Fixed32(bytes) => Ok(u32::from_le_bytes(bytes)),
            _ => Err(self.wrong()),
        }
    }

    fn wrong(self) -> OtlpProtobufError {
        let wire_type = match self.content {
            Content::Varint(_) => 0,
            Content::Fixed64(_) => 1,
            Content::Bytes(_) => 2,
            Content::Fixed32(_) => 5,
        };
        OtlpProtobufError::WireType { wire_type, field: self.field }
    }
}

impl<'a> Fields<'a> {
    const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let (field, wire_type) = (tag >> 3, (tag & 7) as u8);
        if field == 0 {
            return Err(OtlpProtobufError::Tag(field));
        }
        let content = match wire_type {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(self.array()?),
            2 => {
                let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(OtlpProtobufError::Truncated)?;
                self.rest = rest;
                Content::Bytes(bytes)
            }
            5 => Content::Fixed32(self.array()?),
            wire_type => return Err(OtlpProtobufError::WireType { wire_type, field }),
        };
        Ok((field, Value { field, content }))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64_u32).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(OtlpProtobufError::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(OtlpProtobufError::Overflow)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(OtlpProtobufError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // A cursor that lost its way does not go on.
            self.rest = &[];
        }
        Some(field)
    }
}
