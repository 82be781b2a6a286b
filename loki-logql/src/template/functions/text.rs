//! Functions on strings. Lengths and positions are in bytes unless a comment says otherwise.

use memchr::memmem;

use super::super::context::{Sink, check_memory};
use super::super::error::CallError;
use super::super::printf::char_count;
use super::super::value::Value;
use super::{Called, Context, Function, Param, int, string};

const STRING: &[Param] = &[Param::String];
const STRINGS: &[Param] = &[Param::String, Param::String];
const INT_STRING: &[Param] = &[Param::Int, Param::String];

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("ToLower", STRING, lower),
    Function::new("lower", STRING, lower),
    Function::new("ToUpper", STRING, upper),
    Function::new("upper", STRING, upper),
    Function::new("title", STRING, title),
    Function::new("Replace", &[Param::String, Param::String, Param::String, Param::Int], |cx, args| {
        replace(cx, string(args, 0), string(args, 1), string(args, 2), int(args, 3))
    }),
    Function::new("replace", &[Param::String; 3], |cx, args| {
        replace(cx, string(args, 2), string(args, 0), string(args, 1), -1)
    }),
    Function::new("Trim", STRINGS, |_, args| Ok(trimmed(string(args, 0), string(args, 1), true, true))),
    Function::new("TrimLeft", STRINGS, |_, args| Ok(trimmed(string(args, 0), string(args, 1), true, false))),
    Function::new("TrimRight", STRINGS, |_, args| Ok(trimmed(string(args, 0), string(args, 1), false, true))),
    Function::new("trimAll", STRINGS, |_, args| Ok(trimmed(string(args, 1), string(args, 0), true, true))),
    Function::new("TrimPrefix", STRINGS, |_, args| Ok(without_prefix(string(args, 0), string(args, 1)))),
    Function::new("trimPrefix", STRINGS, |_, args| Ok(without_prefix(string(args, 1), string(args, 0)))),
    Function::new("TrimSuffix", STRINGS, |_, args| Ok(without_suffix(string(args, 0), string(args, 1)))),
    Function::new("trimSuffix", STRINGS, |_, args| Ok(without_suffix(string(args, 1), string(args, 0)))),
    Function::new("TrimSpace", STRING, |_, args| Ok(without_spaces(string(args, 0)))),
    Function::new("trim", STRING, |_, args| Ok(without_spaces(string(args, 0)))),
    Function::new("trunc", INT_STRING, |_, args| Ok(truncated(string(args, 1), int(args, 0)))),
    Function::new("substr", &[Param::Int, Param::Int, Param::String], substr),
    Function::new("contains", STRINGS, |_, args| {
        Ok(Value::Bool(memmem::find(string(args, 1), string(args, 0)).is_some()))
    }),
    Function::new("hasPrefix", STRINGS, |_, args| Ok(Value::Bool(string(args, 1).starts_with(string(args, 0))))),
    Function::new("hasSuffix", STRINGS, |_, args| Ok(Value::Bool(string(args, 1).ends_with(string(args, 0))))),
    Function::new("indent", INT_STRING, |cx, args| indent(cx, args, b"")),
    Function::new("nindent", INT_STRING, |cx, args| indent(cx, args, b"\n")),
    Function::new("repeat", INT_STRING, repeat),
    Function::new("alignLeft", INT_STRING, |cx, args| align(cx, args, true)),
    Function::new("alignRight", INT_STRING, |cx, args| align(cx, args, false)),
];

fn lower<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    map_case(cx, string(args, 0), <[u8]>::make_ascii_lowercase, simple_lowercase)
}

fn upper<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    map_case(cx, string(args, 0), <[u8]>::make_ascii_uppercase, simple_uppercase)
}

fn map_case<'e>(cx: &mut Context<'e>, text: &[u8], map_ascii: fn(&mut [u8]), map_char: fn(char) -> char) -> Called<'e> {
    if text.is_ascii() {
        check_memory(cx.bump, text.len())?;
        let copy = cx.bump.alloc_slice_copy(text);
        map_ascii(copy);
        return Ok(Value::String(copy));
    }
    cx.string(|sink| for_each_char(text, |c| sink.push_char(map_char(c))))
}

/// Calls `f` with each character; bytes that are not UTF-8 count as U+FFFD, as in Go.
fn for_each_char(text: &[u8], mut f: impl FnMut(char)) {
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(&mut f);
        for _ in chunk.invalid() {
            f(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// The single character that is `c` in lower case; mappings to several characters do not exist in Go.
fn simple_lowercase(c: char) -> char {
    if c == 'İ' {
        return 'i';
    }
    only(c.to_lowercase()).unwrap_or(c)
}

fn simple_uppercase(c: char) -> char {
    match c {
        // Greek letters with iota: the full mapping is two letters, the simple one is their title case.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => moved(c, 8),
        'ᾳ' | 'ῃ' | 'ῳ' => moved(c, 9),
        c => only(c.to_uppercase()).unwrap_or(c),
    }
}

fn simple_titlecase(c: char) -> char {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => 'ǅ',
        'Ǉ' | 'ǈ' | 'ǉ' => 'ǈ',
        'Ǌ' | 'ǋ' | 'ǌ' => 'ǋ',
        'Ǳ' | 'ǲ' | 'ǳ' => 'ǲ',
        // Georgian has capitals, but does not use them in titles.
        '\u{10d0}'..='\u{10ff}' => c,
        c => simple_uppercase(c),
    }
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

fn moved(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}

fn title<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    cx.string(|sink| {
        let mut after_separator = true;
        for_each_char(string(args, 0), |c| {
            sink.push_char(if after_separator { simple_titlecase(c) } else { c });
            after_separator = if c.is_ascii() {
                !(c.is_ascii_alphanumeric() || c == '_')
            } else {
                !c.is_alphanumeric() && c.is_whitespace()
            };
        });
    })
}

/// `text` with at most `count` occurrences of `old` replaced; all if `count` is negative.
fn replace<'e>(cx: &mut Context<'e>, text: &'e [u8], old: &[u8], new: &[u8], count: i64) -> Called<'e> {
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    if old.is_empty() {
        return cx.string(|sink| insert_between_chars(sink, text, new, left));
    }
    if left == 0 || old == new || memmem::find(text, old).is_none() {
        return Ok(Value::String(text));
    }
    cx.string(|sink| {
        let mut copied = 0;
        for at in memmem::find_iter(text, old) {
            if left == 0 || sink.check().is_err() {
                break;
            }
            left -= 1;
            sink.extend(&text[copied..at]);
            sink.extend(new);
            copied = at + old.len();
        }
        sink.extend(&text[copied..]);
    })
}

/// An empty text is found in front of each character and at the end.
fn insert_between_chars(sink: &mut Sink<'_>, text: &[u8], new: &[u8], mut left: usize) {
    let mut rest = text;
    while left > 0 && sink.check().is_ok() {
        left -= 1;
        sink.extend(new);
        let (start, after) = rest.split_at(first_char(rest).map_or(0, |(_, length)| length));
        if start.is_empty() {
            break;
        }
        sink.extend(start);
        rest = after;
    }
    sink.extend(rest);
}

/// The first character and its length; a byte that is not UTF-8 counts as U+FFFD.
fn first_char(text: &[u8]) -> Option<(char, usize)> {
    let chunk = text[..text.len().min(4)].utf8_chunks().next()?;
    let first = chunk.valid().chars().next();
    Some(first.map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8())))
}

/// The last character and its length.
fn last_char(text: &[u8]) -> Option<(char, usize)> {
    text.last()?;
    (1..=text.len().min(4))
        .find_map(|length| {
            let c = std::str::from_utf8(&text[text.len() - length..]).ok()?.chars().next()?;
            (c.len_utf8() == length).then_some((c, length))
        })
        .or(Some((char::REPLACEMENT_CHARACTER, 1)))
}

/// `text` without the characters at its ends that are in `cut`.
fn trimmed<'e>(mut text: &'e [u8], cut: &[u8], left: bool, right: bool) -> Value<'e> {
    let is_cut = |c: char| {
        let mut found = false;
        for_each_char(cut, |other| found |= other == c);
        found
    };
    while let Some((_, length)) = first_char(text).filter(|(c, _)| left && is_cut(*c)) {
        text = &text[length..];
    }
    while let Some((_, length)) = last_char(text).filter(|(c, _)| right && is_cut(*c)) {
        text = &text[..text.len() - length];
    }
    Value::String(text)
}

fn without_spaces(mut text: &[u8]) -> Value<'_> {
    while let Some((_, length)) = first_char(text).filter(|(c, _)| c.is_whitespace()) {
        text = &text[length..];
    }
    while let Some((_, length)) = last_char(text).filter(|(c, _)| c.is_whitespace()) {
        text = &text[..text.len() - length];
    }
    Value::String(text)
}

fn without_prefix<'e>(text: &'e [u8], prefix: &[u8]) -> Value<'e> {
    Value::String(text.strip_prefix(prefix).unwrap_or(text))
}

fn without_suffix<'e>(text: &'e [u8], suffix: &[u8]) -> Value<'e> {
    Value::String(text.strip_suffix(suffix).unwrap_or(text))
}

/// The first bytes, or with a negative length the last.
fn truncated(text: &[u8], count: i64) -> Value<'_> {
    let length = count.unsigned_abs().min(text.len() as u64) as usize;
    Value::String(if count < 0 { &text[text.len() - length..] } else { &text[..length] })
}

fn substr<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let (from, to, text) = (int(args, 0), int(args, 1), string(args, 2));
    let length = text.len() as i64;
    let to = match (from, to) {
        (..0, ..0) => return Err(CallError::SliceEndNegative(to)),
        (..0, _) if to > length => return Err(CallError::SliceEnd(to, text.len())),
        (0.., _) if to < 0 || to > length => length,
        _ => to,
    };
    let from = from.max(0);
    if from > to {
        return Err(CallError::SliceBounds(from, to));
    }
    Ok(Value::String(&text[from as usize..to as usize]))
}

fn indent<'e>(cx: &mut Context<'e>, args: &[Value<'e>], start: &[u8]) -> Called<'e> {
    let (count, text) = (int(args, 0), string(args, 1));
    let count = usize::try_from(count).map_err(|_| CallError::NegativeRepeat)?;
    cx.string(|sink| {
        sink.extend(start);
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            if sink.check().is_err() {
                return;
            }
            if index > 0 {
                sink.push(b'\n');
            }
            sink.fill(b' ', count);
            sink.extend(line);
        }
    })
}

fn repeat<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let (count, text) = (int(args, 0), string(args, 1));
    let count = usize::try_from(count).map_err(|_| CallError::NegativeRepeat)?;
    cx.string(|sink| sink.repeat(text, count))
}

/// Pads or cuts to a number of characters.
fn align<'e>(cx: &mut Context<'e>, args: &[Value<'e>], left: bool) -> Called<'e> {
    let text = string(args, 1);
    let Ok(wanted) = usize::try_from(int(args, 0)) else { return Ok(Value::String(text)) };
    let length = char_count(text);
    if length == wanted {
        return Ok(Value::String(text));
    }
    cx.string(|sink| {
        let missing = wanted.saturating_sub(length);
        if missing > 0 {
            sink.fill(b' ', if left { 0 } else { missing });
            sink.extend(text);
            sink.fill(b' ', if left { missing } else { 0 });
            return;
        }
        let skipped = if left { 0 } else { length - wanted };
        let mut index = 0;
        for_each_char(text, |c| {
            if (skipped..skipped + wanted).contains(&index) {
                sink.push_char(c);
            }
            index += 1;
        });
    })
}
