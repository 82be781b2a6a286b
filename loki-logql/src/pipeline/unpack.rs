//! `| unpack`: undoes what the `pack` stage of log agents does, which puts a line and labels into one JSON object.

use std::ops::{ControlFlow, Range};

use super::json::{JsonFault, JsonType, JsonValue, label_value, read_value, set_fault, unescape};
use super::keys::{KeyCache, KeyId, Wants};
use super::labels::{EntryError, Span};
use super::names::NameId;
use super::scan::{next_token, string_end};
use super::sink::{Extract, Sink, Stop};

/// The member that holds the line.
const ENTRY_KEY: &[u8] = b"_entry";

/// What `unpack` does to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// The line stays.
    Unchanged,
    /// The line is now this range of the old one.
    Slice(usize, usize),
    /// The line is now this value of the entry.
    Value(Span),
}

/// String members found so far, reused between lines.
pub(crate) type Members = Vec<(NameId, JsonValue)>;

/// Reads a packed line. Its labels are set only if it holds a line.
pub(crate) fn parse(
    sink: &mut Sink<'_, '_>,
    keys: &mut KeyCache,
    members: &mut Members,
) -> ControlFlow<Stop, Unpacked> {
    let line = sink.source.line;
    match line.first() {
        None => return ControlFlow::Continue(Unpacked::Unchanged),
        Some(b'{') => {}
        Some(_) => {
            sink.fail(EntryError::Json, |details| details.push_str("expecting json object(6), but it is not"));
            return ControlFlow::Continue(Unpacked::Unchanged);
        }
    }
    members.clear();
    let entry = match read_members(sink, keys, members) {
        Ok(Some(entry)) => entry,
        Ok(None) => return ControlFlow::Continue(Unpacked::Unchanged),
        Err(fault) => {
            set_fault(sink, Some(fault));
            return ControlFlow::Continue(Unpacked::Unchanged);
        }
    };
    for &(name, value) in members.iter() {
        if let Some(slot) = sink.slot(name) {
            let value = label_value(sink, value);
            // The line is rewritten even if no further label is read.
            if sink.fill(slot, value) == ControlFlow::Break(Stop::Dropped) {
                return ControlFlow::Break(Stop::Dropped);
            }
        }
    }
    ControlFlow::Continue(entry)
}

/// Collects the string members of the line; gives the line that one of them holds.
fn read_members(
    sink: &mut Sink<'_, '_>,
    keys: &mut KeyCache,
    members: &mut Members,
) -> Result<Option<Unpacked>, JsonFault> {
    let line = sink.source.line;
    let wants = Wants { only_needed: sink.extract == Extract::Needed, escapes: true };
    let mut entry = None;
    let mut previous = KeyId::ROOT;
    let mut at = next_token(line, 1).ok_or(JsonFault::Json)?;
    loop {
        let raw = match line[at] {
            b'"' => string_range(line, at + 1)?,
            b'}' => return Ok(entry),
            _ => return Err(JsonFault::Object),
        };
        let raw_key = &line[raw.clone()];
        previous = keys.find(previous, KeyId::ROOT, raw_key, sink.labels, wants);
        let key = keys.key(previous);
        if key.invalid {
            return Err(JsonFault::Escape);
        }
        at = next_token(line, raw.end + 1).filter(|&at| line[at] == b':').ok_or(JsonFault::Json)?;
        at = next_token(line, at + 1).ok_or(JsonFault::Json)?;
        let value = read_value(line, at)?;
        if let JsonType::String { escaped } = value.kind {
            if raw_key == ENTRY_KEY {
                entry =
                    Some(if escaped { unescaped_line(sink, value)? } else { Unpacked::Slice(value.start, value.end) });
            } else if let (true, Some(name)) = (key.wanted, key.name) {
                members.push((name, value));
            }
        }
        at = next_token(line, value.next).ok_or(JsonFault::Array)?;
        match line[at] {
            b'}' => return Ok(entry),
            b',' => at = next_token(line, at + 1).ok_or(JsonFault::Array)?,
            _ => return Err(JsonFault::Object),
        }
    }
}

fn unescaped_line(sink: &mut Sink<'_, '_>, value: JsonValue) -> Result<Unpacked, JsonFault> {
    let raw = &sink.source.line[value.start..value.end];
    let mut valid = true;
    let span = sink.labels.write_value(|out| valid = unescape(raw, out));
    if valid { Ok(Unpacked::Value(span)) } else { Err(JsonFault::Escape) }
}

fn string_range(line: &[u8], start: usize) -> Result<Range<usize>, JsonFault> {
    string_end(line, start).map(|end| start..end.quote).ok_or(JsonFault::Json)
}
