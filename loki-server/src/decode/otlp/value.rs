//! Attribute values as text, as the OpenTelemetry collector's `AsString` writes them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;

use crate::decode::otlp::model::{AnyValue, KeyValue};

/// Appends a value: text as it is, maps and lists as JSON, bytes in base64.
pub(super) fn write_text(value: &AnyValue<'_>, out: &mut Vec<u8>) {
    match value {
        AnyValue::Text(text) => out.extend_from_slice(text),
        AnyValue::Double(number) => write_double(*number, out),
        AnyValue::Bytes(bytes) => write_base64(bytes, out),
        AnyValue::Empty => {}
        _ => write_json(value, out),
    }
}

/// Appends a value as JSON, the way Go writes it: keys sorted, `<`, `>` and `&` escaped.
fn write_json(value: &AnyValue<'_>, out: &mut Vec<u8>) {
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::Text(text) => write_json_string(text, out),
        AnyValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        AnyValue::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        AnyValue::Double(number) => write_double(*number, out),
        AnyValue::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json(item, out);
            }
            out.push(b']');
        }
        AnyValue::Map(pairs) => write_json_map(pairs, out),
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            write_base64(bytes, out);
            out.push(b'"');
        }
    }
}

fn write_json_map(pairs: &[KeyValue<'_>], out: &mut Vec<u8>) {
    let sorted: BTreeMap<_, _> = pairs.iter().map(|pair| (&*pair.key, &pair.value)).collect();
    out.push(b'{');
    for (i, (key, value)) in sorted.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_json_string(key, out);
        out.push(b':');
        write_json(value, out);
    }
    out.push(b'}');
}

fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\0'..' ' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Appends a number in its shortest form, with an exponent only when it is very small or very large.
fn write_double(number: f64, out: &mut Vec<u8>) {
    let magnitude = number.abs();
    let text = if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        // Rust writes e21, Go e+21.
        if magnitude >= 1.0 { text.replace('e', "e+") } else { text }
    } else {
        number.to_string()
    };
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes in base64.
fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn text(value: &AnyValue<'_>) -> String {
        let mut out = Vec::new();
        write_text(value, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn string(value: &str) -> AnyValue<'_> {
        AnyValue::Text(Cow::Borrowed(value.as_bytes()))
    }

    #[test]
    fn scalars_are_bare() {
        let cases = [
            (AnyValue::Empty, ""),
            (string("a\"b"), "a\"b"),
            (AnyValue::Bool(true), "true"),
            (AnyValue::Int(-5), "-5"),
            (AnyValue::Double(2.5), "2.5"),
            (AnyValue::Double(3.0), "3"),
            (AnyValue::Double(1e21), "1e+21"),
            (AnyValue::Double(1e-7), "1e-7"),
            (AnyValue::Double(123_456_789_012.0), "123456789012"),
            (AnyValue::Bytes(Cow::Borrowed(b"hello")), "aGVsbG8="),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn composites_are_json_with_sorted_keys() {
        let pair = |key: &'static str, value| KeyValue { key: Cow::Borrowed(key.as_bytes()), value };
        let list = AnyValue::List(vec![string("<x>"), AnyValue::Int(1), AnyValue::Empty]);
        let map = AnyValue::Map(vec![pair("n", AnyValue::Double(1.5)), pair("a", list)]);
        assert_eq!(text(&map), r#"{"a":["\u003cx\u003e",1,null],"n":1.5}"#);
    }
}
