//! `| logfmt`: key–value pairs.

use std::ops::ControlFlow;

use super::json::{is_clean, plain_value, push_blanked};
use super::keys::{KeyCache, KeyId, Wants};
use super::labels::{EntryError, Span};
use super::names::NameId;
use super::sink::{Extract, Sink, Stop, Value};

pub(crate) use key::{KeyError, parse as parse_key};
use pairs::{Fault, Pair, PairValue, Pairs};

mod key;
mod pairs;

/// The flags of a `logfmt` stage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogfmtFlags {
    /// Stop at the first fault and report it.
    pub(crate) strict: bool,
    /// Keys without a value become empty labels.
    pub(crate) keep_empty: bool,
}

/// A label and the key of its value.
#[derive(Clone, Debug)]
pub(crate) struct KeyExtraction {
    pub(crate) label: NameId,
    pub(crate) key: Box<[u8]>,
}

/// Sets a label for every pair of the line.
pub(crate) fn parse(flags: LogfmtFlags, sink: &mut Sink<'_, '_>, keys: &mut KeyCache) -> ControlFlow<Stop> {
    let line = sink.source.line;
    let wants = Wants { only_needed: sink.extract == Extract::Needed, escapes: false };
    let mut pairs = Pairs::new(line);
    let mut previous = KeyId::ROOT;
    loop {
        let mut known = None;
        let read = pairs.next(|rest| {
            known = keys.guess(previous, KeyId::ROOT, rest, b'=');
            known.map(|(_, len)| len)
        });
        let pair = match read {
            Some(Ok(pair)) => pair,
            Some(Err(_)) if !flags.strict => {
                pairs.skip_to_blank();
                continue;
            }
            Some(Err(fault)) => {
                report(sink, fault);
                break;
            }
            None => break,
        };
        let key = match known {
            Some((key, _)) => key,
            None => keys.find(previous, KeyId::ROOT, &line[pair.key.0..pair.key.1], sink.labels, wants),
        };
        previous = key;
        let key = keys.key(key);
        let is_empty = matches!(pair.value, PairValue::Empty);
        let (true, Some(name)) = (key.wanted && (flags.keep_empty || !is_empty), key.name) else { continue };
        if let Some(slot) = sink.slot(name) {
            let value = label_value(sink, pair.value);
            sink.fill(slot, value)?;
        }
    }
    ControlFlow::Continue(())
}

/// Sets the label of every extraction: to the value of its key, or to nothing when the line has no such key.
///
/// Where only some labels are needed, Loki loses values: labels count as found before the line is looked at, so that
/// it stops behind the first key that is extracted, and a key with neither the name of a label nor that of a needed
/// label is not extracted at all.
pub(crate) fn parse_keys(extractions: &[KeyExtraction], strict: bool, sink: &mut Sink<'_, '_>) {
    let only_needed = sink.extract == Extract::Needed;
    if only_needed {
        set_missing(extractions, sink);
    }
    let line = sink.source.line;
    let mut pairs = Pairs::new(line);
    while let Some(read) = pairs.next(|_| None) {
        match read {
            Ok(pair) => {
                let extracted = extract(extractions, pair, sink);
                if only_needed && extracted && sink.labels.has_all_needed() {
                    break;
                }
            }
            Err(fault) if strict => {
                report(sink, fault);
                break;
            }
            Err(_) => pairs.skip_to_blank(),
        }
    }
    if !only_needed {
        set_missing(extractions, sink);
    }
}

/// Sets labels that have no value yet to nothing.
fn set_missing(extractions: &[KeyExtraction], sink: &mut Sink<'_, '_>) {
    for extraction in extractions {
        if !sink.labels.collides(extraction.label) && sink.labels.is_unset(extraction.label) {
            sink.labels.set_parsed(extraction.label, Span::EMPTY);
        }
    }
}

/// Sets the label that wants this pair, if one does. Of several that want one key only the last gets it, and a key
/// that no label wants still sets the label of its own name, if that is extracted too.
fn extract(extractions: &[KeyExtraction], pair: Pair, sink: &mut Sink<'_, '_>) -> bool {
    let key = &sink.source.line[pair.key.0..pair.key.1];
    let wanted = extractions.iter().rfind(|extraction| *extraction.key == *key);
    let is_label = |extraction: &&KeyExtraction| sink.labels.names().text(extraction.label).as_bytes() == key;
    let label = extractions.iter().find(is_label);
    if sink.extract == Extract::Needed && label.is_none() && !is_needed(key, sink) {
        return false;
    }
    let Some(extraction) = wanted.or(label) else { return false };
    let name = sink.labels.parsed_name(extraction.label);
    // The last value wins, except under a name that had to be changed.
    if name != extraction.label && !sink.labels.is_unset(name) {
        return false;
    }
    let value = match pair.value {
        PairValue::Plain(start, end) if !is_clean(&sink.source.line[start..end]) => Value::Stored(Span::EMPTY),
        value => label_value(sink, value),
    };
    let span = sink.span(value);
    sink.labels.set_parsed(name, span);
    true
}

fn is_needed(key: &[u8], sink: &Sink<'_, '_>) -> bool {
    let name = std::str::from_utf8(key).ok().and_then(|key| sink.labels.names().find(key));
    name.is_some_and(|name| sink.labels.is_needed(name))
}

fn label_value(sink: &mut Sink<'_, '_>, value: PairValue) -> Value {
    match value {
        PairValue::Empty => Value::Stored(Span::EMPTY),
        PairValue::Plain(start, end) => plain_value(sink, start, end),
        PairValue::Escaped(start, end) => {
            let raw = &sink.source.line[start..end];
            Value::Stored(sink.labels.write_value(|out| {
                let from = out.len();
                // The pair would have been a fault were the escapes wrong.
                pairs::unquote(raw, |bytes| out.extend_from_slice(bytes));
                if !is_clean(&out[from..]) {
                    let unclean = out.split_off(from);
                    push_blanked(&unclean, out);
                }
            }))
        }
    }
}

fn report(sink: &mut Sink<'_, '_>, fault: Fault) {
    sink.fail(EntryError::Logfmt, |details| details.push_str(&fault.to_string()));
}
