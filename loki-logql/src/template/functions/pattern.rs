//! Functions with regular expressions.

use std::ops::Range;

use regex::bytes::Captures;

use super::super::context::{Sink, build, compiled};
use super::super::value::Value;
use super::{Called, Context, Function, Param, string};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::pattern("regexReplaceAll", &[Param::String; 3], replace_all),
    Function::pattern("regexReplaceAllLiteral", &[Param::String; 3], replace_all_literal),
    Function::pattern("count", &[Param::String; 2], count),
];

fn count<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let regex = compiled(cx.constant_patterns, cx.patterns, string(args, 0))?;
    let text = string(args, 1);
    let matches = regex.find_iter(text).filter(|found| is_go_match(text, found.range()));
    Ok(Value::int(matches.count() as i64))
}

fn replace_all<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let (text, replacement) = (string(args, 1), string(args, 2));
    if !replacement.contains(&b'$') {
        return replace_all_literal(cx, args);
    }
    let regex = compiled(cx.constant_patterns, cx.patterns, string(args, 0))?;
    build(cx.bump, cx.text, |sink| {
        let mut copied = 0;
        for captures in regex.captures_iter(text) {
            if sink.check().is_err() {
                return;
            }
            let whole = captures.get_match();
            if !is_go_match(text, whole.range()) {
                continue;
            }
            sink.extend(&text[copied..whole.start()]);
            expand(sink, replacement, &captures);
            copied = whole.end();
        }
        sink.extend(&text[copied..]);
    })
}

fn replace_all_literal<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let (text, replacement) = (string(args, 1), string(args, 2));
    let regex = compiled(cx.constant_patterns, cx.patterns, string(args, 0))?;
    build(cx.bump, cx.text, |sink| {
        let mut copied = 0;
        for found in regex.find_iter(text).filter(|found| is_go_match(text, found.range())) {
            if sink.check().is_err() {
                return;
            }
            sink.extend(&text[copied..found.start()]);
            sink.extend(replacement);
            copied = found.end();
        }
        sink.extend(&text[copied..]);
    })
}

/// Whether Go would find this match too: it finds no empty ones inside a character.
fn is_go_match(text: &[u8], range: Range<usize>) -> bool {
    let at = range.start;
    if !range.is_empty() || text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80) {
        return true;
    }
    let before = at.saturating_sub(3)..at;
    let inside_char = before.rev().any(|start| {
        let c =
            text[start..text.len().min(start + 4)].utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        c.is_some_and(|c| start + c.len_utf8() > at)
    });
    !inside_char
}

/// Writes `replacement` with `$1`, `${1}`, `$name`, `${name}` and `$$` replaced.
fn expand(sink: &mut Sink<'_>, replacement: &[u8], captures: &Captures<'_>) {
    let mut rest = replacement;
    while let Some(at) = memchr::memchr(b'$', rest) {
        sink.extend(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"$") {
            sink.push(b'$');
            rest = after;
        } else if let Some((name, after)) = reference(rest) {
            let group = match name.parse::<usize>() {
                Ok(number) if name.bytes().all(|b| b.is_ascii_digit()) => captures.get(number),
                _ => captures.name(name),
            };
            sink.extend(group.map_or(b"", |group| group.as_bytes()));
            rest = after;
        } else {
            // A lone dollar stands for itself.
            sink.push(b'$');
        }
    }
    sink.extend(rest);
}

/// The name of the group at the start of `text` (behind the dollar), and what follows.
fn reference(text: &[u8]) -> Option<(&str, &[u8])> {
    let (text, braced) = text.strip_prefix(b"{").map_or((text, false), |text| (text, true));
    let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let length = valid.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(valid.len());
    let (name, rest) = (&valid[..length], &text[length..]);
    if name.is_empty() {
        return None;
    }
    if braced { Some((name, rest.strip_prefix(b"}")?)) } else { Some((name, rest)) }
}
