//! `| json`: a walker that sets labels while it reads, without building a tree.
//!
//! What counts as broken, and which text says so, follows the scanner that Loki uses: it reads a member at a time, an
//! object inside a member is first skipped to its closing brace and then read, and nothing behind the last closing
//! brace is looked at.

use std::ops::ControlFlow;

use super::keys::{KeyCache, KeyId, Wants};
use super::labels::{EntryError, Span};
use super::scan::{block_end, next_token, string_end, token_end};
use super::sink::{Extract, Sink, Stop, Value};

pub(crate) use unescape::unescape;

pub(crate) mod path;
pub(crate) mod paths;
mod unescape;

/// Objects nested deeper than this count as broken.
pub(crate) const MAX_JSON_DEPTH: u32 = 128;

/// What is wrong with a JSON text; `Display` is Loki's wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonFault {
    #[error("Malformed JSON error")]
    Json,
    #[error("Value looks like object, but can't find closing '}}' symbol")]
    Object,
    #[error("Value is array, but can't find closing ']' symbol")]
    Array,
    #[error("Value is string, but can't find closing '\"' symbol")]
    String,
    #[error("Unknown value type")]
    UnknownType,
    #[error("Encountered an invalid escape sequence in a string")]
    Escape,
}

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
    /// The range of the value is without the quotes.
    String {
        escaped: bool,
    },
    /// Number, true or false.
    Plain,
    Null,
    Array,
    Object,
}

/// A value in a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JsonValue {
    pub(super) kind: JsonType,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Behind the value.
    pub(super) next: usize,
}

/// Why a walk ended early.
enum Halt {
    Fault(JsonFault),
    Stop(Stop),
}

impl From<JsonFault> for Halt {
    fn from(fault: JsonFault) -> Self {
        Self::Fault(fault)
    }
}

/// Sets a label for every member of the object that the line is.
pub(crate) fn parse(sink: &mut Sink<'_, '_>, keys: &mut KeyCache) -> ControlFlow<Stop> {
    let line = sink.source.line;
    let wants = Wants { only_needed: sink.extract == Extract::Needed, escapes: true };
    let mut walker = Walker { line, sink, keys, wants, previous: KeyId::ROOT };
    let walked = match next_token(line, 0) {
        Some(at) if line[at] == b'{' => walker.object(at + 1, KeyId::ROOT, 0),
        _ => Err(Halt::Fault(JsonFault::Object)),
    };
    match walked {
        Ok(_) => ControlFlow::Continue(()),
        Err(Halt::Stop(stop)) => ControlFlow::Break(stop),
        Err(Halt::Fault(fault)) => {
            set_fault(sink, Some(fault));
            ControlFlow::Continue(())
        }
    }
}

/// Sets the error of the entry, with or without a text.
pub(super) fn set_fault(sink: &mut Sink<'_, '_>, fault: Option<JsonFault>) {
    sink.fail(EntryError::Json, |details| {
        if let Some(fault) = fault {
            details.push_str(&fault.to_string());
        }
    });
}

struct Walker<'k, 'w, 'l> {
    line: &'l [u8],
    sink: &'k mut Sink<'w, 'l>,
    keys: &'k mut KeyCache,
    wants: Wants,
    previous: KeyId,
}

impl Walker<'_, '_, '_> {
    /// Reads members from behind the opening brace; returns what follows the closing one.
    fn object(&mut self, at: usize, parent: KeyId, depth: u32) -> Result<usize, Halt> {
        let line = self.line;
        let mut at = next_token(line, at).ok_or(JsonFault::Json)?;
        loop {
            match line[at] {
                b'"' => at += 1,
                b'}' => return Ok(at + 1),
                _ => return Err(JsonFault::Object.into()),
            }
            let (key, behind) = self.key(at, parent)?;
            at = next_token(line, behind).ok_or(JsonFault::Json)?;
            if line[at] != b':' {
                return Err(JsonFault::Json.into());
            }
            at = next_token(line, at + 1).ok_or(JsonFault::Json)?;
            at = self.member(at, key, depth)?;
            at = next_token(line, at).ok_or(JsonFault::Array)?;
            match line[at] {
                b'}' => return Ok(at + 1),
                b',' => at = next_token(line, at + 1).ok_or(JsonFault::Array)?,
                _ => return Err(JsonFault::Object.into()),
            }
        }
    }

    /// Reads the key whose text begins at `at`; returns what follows its quote.
    #[inline]
    fn key(&mut self, at: usize, parent: KeyId) -> Result<(KeyId, usize), Halt> {
        let guess = self.keys.guess(self.previous, parent, &self.line[at..], b'"');
        let (key, end) = if let Some((key, len)) = guess {
            (key, at + len)
        } else {
            let end = string_end(self.line, at).ok_or(JsonFault::Json)?.quote;
            let raw = &self.line[at..end];
            (self.keys.find(self.previous, parent, raw, self.sink.labels, self.wants), end)
        };
        self.previous = key;
        if self.keys.key(key).invalid { Err(JsonFault::Escape.into()) } else { Ok((key, end + 1)) }
    }

    /// Reads the value of `key`, which begins at `at`; returns what follows it.
    fn member(&mut self, at: usize, key: KeyId, depth: u32) -> Result<usize, Halt> {
        if self.line[at] == b'{' && self.keys.key(key).leads_on {
            return self.nested(at, key, depth + 1);
        }
        let value = read_value(self.line, at)?;
        let key = self.keys.key(key);
        if key.wanted
            && let Some(name) = key.name
            && matches!(value.kind, JsonType::String { .. } | JsonType::Plain)
            && let Some(slot) = self.sink.slot(name)
        {
            let value = label_value(self.sink, value);
            if let ControlFlow::Break(stop) = self.sink.fill(slot, value) {
                return Err(Halt::Stop(stop));
            }
        }
        Ok(value.next)
    }

    /// Reads an object inside an object.
    ///
    /// An object that is never closed must set no labels. That is rare, so the walk goes ahead and takes the labels
    /// back should it turn out so.
    fn nested(&mut self, at: usize, key: KeyId, depth: u32) -> Result<usize, Halt> {
        if depth > MAX_JSON_DEPTH {
            return Err(JsonFault::Object.into());
        }
        if depth > 1 {
            return self.object(at + 1, key, depth);
        }
        let mark = self.sink.labels.mark();
        self.object(at + 1, key, depth).map_err(|halt| {
            if block_end(self.line, at, b'{', b'}').is_some() {
                return halt;
            }
            self.sink.labels.rewind(mark);
            JsonFault::Object.into()
        })
    }
}

/// Reads the value that begins at `at`, which is no white space.
pub(super) fn read_value(line: &[u8], at: usize) -> Result<JsonValue, JsonFault> {
    match line[at] {
        b'"' => {
            let end = string_end(line, at + 1).ok_or(JsonFault::String)?;
            let kind = JsonType::String { escaped: end.escaped };
            Ok(JsonValue { kind, start: at + 1, end: end.quote, next: end.quote + 1 })
        }
        b'[' => {
            let end = block_end(line, at, b'[', b']').ok_or(JsonFault::Array)?;
            Ok(JsonValue { kind: JsonType::Array, start: at, end, next: end })
        }
        b'{' => {
            let end = block_end(line, at, b'{', b'}').ok_or(JsonFault::Object)?;
            Ok(JsonValue { kind: JsonType::Object, start: at, end, next: end })
        }
        first => {
            let end = token_end(line, at);
            let kind = match (first, &line[at..end]) {
                (b't' | b'f', b"true" | b"false") | (b'0'..=b'9' | b'-', _) => JsonType::Plain,
                (b'n', b"null") => JsonType::Null,
                _ => return Err(JsonFault::UnknownType),
            };
            Ok(JsonValue { kind, start: at, end, next: end })
        }
    }
}

/// The label value of a JSON value: strings without their escapes, everything else as it is written.
pub(super) fn label_value(sink: &mut Sink<'_, '_>, value: JsonValue) -> Value {
    let raw = &sink.source.line[value.start..value.end];
    if value.kind == (JsonType::String { escaped: true }) {
        let mut valid = true;
        let span = sink.labels.write_value(|out| valid = unescape_value(raw, out));
        return Value::Stored(if valid { span } else { Span::EMPTY });
    }
    plain_value(sink, value.start, value.end)
}

/// A range of the line as a value. U+FFFD and what is no UTF-8 become blanks.
pub(super) fn plain_value(sink: &mut Sink<'_, '_>, start: usize, end: usize) -> Value {
    let raw = &sink.source.line[start..end];
    if raw.is_ascii() || is_clean(raw) {
        Value::Line(start, end)
    } else {
        Value::Stored(sink.labels.write_value(|out| push_blanked(raw, out)))
    }
}

fn unescape_value(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let valid = unescape(raw, out);
    if valid && !is_clean(&out[start..]) {
        let unclean = out.split_off(start);
        push_blanked(&unclean, out);
    }
    valid
}

/// Whether `bytes` are UTF-8 without U+FFFD.
pub(super) fn is_clean(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::REPLACEMENT_CHARACTER))
}

/// Appends `bytes` with a blank for each U+FFFD and for each byte that is no UTF-8.
pub(super) fn push_blanked(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().replace(char::REPLACEMENT_CHARACTER, " ").into_bytes());
        out.extend(chunk.invalid().iter().map(|_| b' '));
    }
}

#[cfg(test)]
mod tests;
