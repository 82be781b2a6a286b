use loki_core::Labels;
use proptest::prelude::*;

use super::*;
use crate::pipeline::labels::{LabelSet, Lines, Place};
use crate::pipeline::names::Names;
use crate::pipeline::sink::{EarlyFilters, Source};

/// Labels and error of a line, as the walker finds them.
fn walked(line: &[u8]) -> (Vec<(String, String)>, String) {
    let mut labels = LabelSet::new(Names::default(), Vec::new(), Extract::All);
    labels.start_stream(&Labels::EMPTY);
    labels.start_entry();
    let source = Source { line, place: Place::Line, start: 0 };
    let early = EarlyFilters::default();
    let mut sink = Sink { labels: &mut labels, source, early: &early, extract: Extract::All };
    assert_eq!(parse(&mut sink, &mut KeyCache::default()), ControlFlow::Continue(()));
    let error = labels.details().unwrap_or_default().to_owned();
    labels.clear_error();
    labels.clear_details();
    let merged = labels.view(Lines { original: line, rewritten: &[] }).merged();
    (merged.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), error)
}

/// The same by the definition: an object inside an object is cut out before it is read.
fn defined(line: &[u8]) -> (Vec<(String, String)>, String) {
    let mut pairs = Vec::new();
    let read = match next_token(line, 0) {
        Some(at) if line[at] == b'{' => define_object(line, at + 1, "", &mut pairs),
        _ => Err(JsonFault::Object),
    };
    let error = read.err().map(|fault| fault.to_string()).unwrap_or_default();
    let mut first: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        if !first.iter().any(|(other, _)| *other == name) {
            first.push((name, value));
        }
    }
    first.sort();
    (first, error)
}

fn define_object(text: &[u8], at: usize, prefix: &str, pairs: &mut Vec<(String, String)>) -> Result<(), JsonFault> {
    let mut at = next_token(text, at).ok_or(JsonFault::Json)?;
    loop {
        match text[at] {
            b'"' => at += 1,
            b'}' => return Ok(()),
            _ => return Err(JsonFault::Object),
        }
        let end = string_end(text, at).ok_or(JsonFault::Json)?.quote;
        let key = String::from_utf8_lossy(&text[at..end]).into_owned();
        let name = [prefix, &key].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("_");
        at = next_token(text, end + 1).filter(|&at| text[at] == b':').ok_or(JsonFault::Json)?;
        let value = read_value(text, next_token(text, at + 1).ok_or(JsonFault::Json)?)?;
        let inside = &text[value.start..value.end];
        match value.kind {
            JsonType::Object => define_object(inside, 1, &name, pairs)?,
            JsonType::String { .. } | JsonType::Plain if !name.is_empty() => {
                pairs.push((name, String::from_utf8_lossy(inside).into_owned()));
            }
            _ => {}
        }
        at = next_token(text, value.next).ok_or(JsonFault::Array)?;
        match text[at] {
            b'}' => return Ok(()),
            b',' => at = next_token(text, at + 1).ok_or(JsonFault::Array)?,
            _ => return Err(JsonFault::Object),
        }
    }
}

fn nested(depth: u32) -> String {
    format!("{}\"k\":1{}", "{\"a\":".repeat(depth as usize) + "{", "}".repeat(depth as usize + 1))
}

#[test]
fn objects_nest_up_to_the_limit() {
    let (labels, error) = walked(nested(MAX_JSON_DEPTH).as_bytes());
    assert_eq!((labels.len(), error.as_str()), (1, ""));
    let (labels, error) = walked(nested(MAX_JSON_DEPTH + 1).as_bytes());
    assert_eq!((labels.len(), error), (0, JsonFault::Object.to_string()));
}

#[test]
fn what_is_no_utf8_becomes_blank() {
    let (labels, _) = walked(b"{\"a\":\"x\xff\xfey\",\"b\":\"\xef\xbf\xbd\",\"c\":\"\\ufffd\"}");
    let values: Vec<&str> = labels.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["x  y", " ", " "]);
}

/// A JSON text of plain keys, or something close to one.
fn almost_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("\"v\"".to_owned()),
        Just("null".to_owned()),
        Just("[1,\"]\"]".to_owned()),
        Just("tru".to_owned()),
        Just("\"}\"".to_owned()),
        Just("{}".to_owned()),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        proptest::collection::vec(("[abc]{0,2}", inner), 0..4).prop_map(|members| {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    });
    (value, 0.0_f64..2.0).prop_map(|(text, cut)| {
        let end = (text.len() as f64 * cut) as usize;
        text.get(..end).unwrap_or(&text).to_owned()
    })
}

proptest! {
    #[test]
    fn walking_gives_what_reading_by_the_definition_gives(line in almost_json()) {
        prop_assert_eq!(walked(line.as_bytes()), defined(line.as_bytes()));
    }
}
