//! Reading an OTLP request from JSON: lowerCamelCase keys, 64-bit integers as strings or numbers, ids in hexadecimal,
//! bytes in base64, unknown keys ignored, null the same as absent.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::decode::otlp::model;

/// Base64 with or without padding.
const ANY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `ExportLogsServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    resource_logs: Vec<ResourceLogs<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ResourceLogs<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    resource: Resource<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    scope_logs: Vec<ScopeLogs<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Resource<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ScopeLogs<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    scope: Scope<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    log_records: Vec<LogRecord<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Scope<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    version: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    attributes: Vec<KeyValue<'a>>,
    #[serde(deserialize_with = "nullable")]
    dropped_attributes_count: Int,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LogRecord<'a> {
    #[serde(deserialize_with = "nullable")]
    time_unix_nano: Int,
    #[serde(deserialize_with = "nullable")]
    observed_time_unix_nano: Int,
    #[serde(deserialize_with = "nullable")]
    severity_number: Int,
    #[serde(borrow, deserialize_with = "nullable")]
    severity_text: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    body: AnyValue<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    attributes: Vec<KeyValue<'a>>,
    #[serde(deserialize_with = "nullable")]
    dropped_attributes_count: Int,
    #[serde(deserialize_with = "nullable")]
    flags: Int,
    #[serde(deserialize_with = "nullable")]
    trace_id: Hex,
    #[serde(deserialize_with = "nullable")]
    span_id: Hex,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct KeyValue<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    key: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    value: AnyValue<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the names are OTLP's")]
struct AnyValue<'a> {
    #[serde(borrow)]
    string_value: Option<Text<'a>>,
    bool_value: Option<bool>,
    int_value: Option<Int>,
    double_value: Option<Double>,
    #[serde(borrow)]
    array_value: Option<List<'a>>,
    #[serde(borrow)]
    kvlist_value: Option<Map<'a>>,
    bytes_value: Option<Base64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct List<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    values: Vec<AnyValue<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Map<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    values: Vec<KeyValue<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A whole number, written as a number or as a string; only its 64 bits count.
#[derive(Default)]
struct Int(u64);

/// A number, or one of the words for those that JSON cannot write.
#[derive(Default)]
struct Double(f64);

#[derive(Default)]
struct Hex(Vec<u8>);

#[derive(Default)]
struct Base64(Vec<u8>);

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl<'a> Request<'a> {
    /// The request as both formats have it.
    pub(super) fn into_model(self) -> Vec<model::ResourceLogs<'a>> {
        let resources = self.resource_logs.into_iter();
        let resources = resources.map(|logs| model::ResourceLogs {
            attributes: pairs(logs.resource.attributes),
            scopes: logs.scope_logs.into_iter().map(ScopeLogs::into_model).collect(),
        });
        resources.collect()
    }
}

impl<'a> ScopeLogs<'a> {
    fn into_model(self) -> model::ScopeLogs<'a> {
        model::ScopeLogs {
            name: self.scope.name.bytes(),
            version: self.scope.version.bytes(),
            attributes: pairs(self.scope.attributes),
            dropped_attributes: self.scope.dropped_attributes_count.0 as u32,
            records: self.log_records.into_iter().map(LogRecord::into_model).collect(),
        }
    }
}

impl<'a> LogRecord<'a> {
    fn into_model(self) -> model::LogRecord<'a> {
        model::LogRecord {
            time_nanos: self.time_unix_nano.0,
            observed_nanos: self.observed_time_unix_nano.0,
            severity_number: self.severity_number.0 as i32,
            severity_text: self.severity_text.bytes(),
            body: self.body.into_model(),
            attributes: pairs(self.attributes),
            dropped_attributes: self.dropped_attributes_count.0 as u32,
            flags: self.flags.0 as u32,
            trace_id: Cow::Owned(self.trace_id.0),
            span_id: Cow::Owned(self.span_id.0),
        }
    }
}

fn pairs(pairs: Vec<KeyValue<'_>>) -> Vec<model::KeyValue<'_>> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| model::KeyValue { key: pair.key.bytes(), value: pair.value.into_model() }).collect()
}

impl<'a> AnyValue<'a> {
    fn into_model(self) -> model::AnyValue<'a> {
        if let Some(text) = self.string_value {
            model::AnyValue::Text(text.bytes())
        } else if let Some(value) = self.bool_value {
            model::AnyValue::Bool(value)
        } else if let Some(Int(value)) = self.int_value {
            model::AnyValue::Int(value as i64)
        } else if let Some(Double(value)) = self.double_value {
            model::AnyValue::Double(value)
        } else if let Some(list) = self.array_value {
            model::AnyValue::List(list.values.into_iter().map(Self::into_model).collect())
        } else if let Some(map) = self.kvlist_value {
            model::AnyValue::Map(pairs(map.values))
        } else if let Some(Base64(bytes)) = self.bytes_value {
            model::AnyValue::Bytes(Cow::Owned(bytes))
        } else {
            model::AnyValue::Empty
        }
    }
}

impl<'a> Text<'a> {
    fn bytes(self) -> Cow<'a, [u8]> {
        match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

/// Takes numbers from JSON numbers and from strings.
struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a string with one")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number::Int(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number::Int(value as u64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number::Double(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        let int = text.parse::<i64>().map(|value| value as u64).or_else(|_| text.parse::<u64>());
        let number = int.map(Number::Int).ok().or_else(|| text.parse().ok().map(Number::Double));
        number.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

enum Number {
    Int(u64),
    Double(f64),
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumberVisitor)? {
            Number::Int(value) => Ok(Self(value)),
            Number::Double(value) => Ok(Self(value as i64 as u64)),
        }
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumberVisitor)? {
            Number::Int(value) => Ok(Self(value as i64 as f64)),
            Number::Double(value) => Ok(Self(value)),
        }
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| match pair {
            [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.map(Self).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"hexadecimal digits"))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = ANY_BASE64.decode(text.as_bytes());
        bytes.map(Self).map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &"base64"))
    }
}
