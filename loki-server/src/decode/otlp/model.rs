//! An OTLP request, borrowed from the body it came in.

use std::borrow::Cow;

/// The records of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ResourceLogs<'a> {
    /// Attributes of the resource.
    pub(super) attributes: Vec<KeyValue<'a>>,
    /// Its records by scope.
    pub(super) scopes: Vec<ScopeLogs<'a>>,
}

/// The records of one instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ScopeLogs<'a> {
    /// The scope's name.
    pub(super) name: Cow<'a, [u8]>,
    /// Its version.
    pub(super) version: Cow<'a, [u8]>,
    /// Its attributes.
    pub(super) attributes: Vec<KeyValue<'a>>,
    /// How many of them were dropped on the way.
    pub(super) dropped_attributes: u32,
    /// The records.
    pub(super) records: Vec<LogRecord<'a>>,
}

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LogRecord<'a> {
    /// When it happened; 0 when not known.
    pub(super) time_nanos: u64,
    /// When it was seen; 0 when not known.
    pub(super) observed_nanos: u64,
    /// Its severity; 0 when not known.
    pub(super) severity_number: i32,
    /// The severity in the source's words.
    pub(super) severity_text: Cow<'a, [u8]>,
    /// What it says.
    pub(super) body: AnyValue<'a>,
    /// Its attributes.
    pub(super) attributes: Vec<KeyValue<'a>>,
    /// How many of them were dropped on the way.
    pub(super) dropped_attributes: u32,
    /// Trace flags.
    pub(super) flags: u32,
    /// The trace it belongs to.
    pub(super) trace_id: Cow<'a, [u8]>,
    /// The span it belongs to.
    pub(super) span_id: Cow<'a, [u8]>,
}

/// An attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeyValue<'a> {
    /// Its name.
    pub(super) key: Cow<'a, [u8]>,
    /// Its value.
    pub(super) value: AnyValue<'a>,
}

/// A value of any of OTLP's types.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum AnyValue<'a> {
    /// None.
    #[default]
    Empty,
    /// Text.
    Text(Cow<'a, [u8]>),
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A list.
    List(Vec<Self>),
    /// A map.
    Map(Vec<KeyValue<'a>>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}
