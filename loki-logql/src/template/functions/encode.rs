//! Escaping and encoding: HTML, JavaScript, URLs, base64.

use super::super::context::Sink;
use super::super::error::CallError;
use super::super::printf;
use super::super::strconv::{hex_digit, is_printable};
use super::super::value::Value;
use super::{Called, Context, Function, Param, string};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::variadic("html", &[], Param::Any, |cx, args| escaped(cx, args, html)),
    Function::variadic("js", &[], Param::Any, |cx, args| escaped(cx, args, javascript)),
    Function::variadic("urlquery", &[], Param::Any, |cx, args| escaped(cx, args, url)),
    Function::new("urlencode", &[Param::String], |cx, args| cx.string(|sink| url(sink, string(args, 0)))),
    Function::new("urldecode", &[Param::String], urldecode),
    Function::new("b64enc", &[Param::String], |cx, args| cx.string(|sink| b64enc(sink, string(args, 0)))),
    Function::new("b64dec", &[Param::String], b64dec),
];

/// Escapes a single string, or all arguments printed as `print` does.
fn escaped<'e>(cx: &mut Context<'e>, args: &[Value<'e>], escape: fn(&mut Sink<'_>, &[u8])) -> Called<'e> {
    if let [Value::String(text)] = args {
        return cx.string(|sink| escape(sink, text));
    }
    let shown: Vec<Value<'_>> =
        args.iter().map(|value| if value.is_absent() { Value::String(b"<no value>") } else { *value }).collect();
    let text = cx.string(|sink| printf::sprint(sink, &shown))?;
    cx.string(|sink| escape(sink, string(&[text], 0)))
}

fn html(sink: &mut Sink<'_>, mut text: &[u8]) {
    while let Some(at) = text.iter().position(|byte| matches!(byte, b'"' | b'\'' | b'&' | b'<' | b'>' | 0)) {
        sink.extend(&text[..at]);
        match text[at] {
            b'"' => sink.extend(b"&#34;"),
            b'\'' => sink.extend(b"&#39;"),
            b'&' => sink.extend(b"&amp;"),
            b'<' => sink.extend(b"&lt;"),
            b'>' => sink.extend(b"&gt;"),
            _ => sink.push_char(char::REPLACEMENT_CHARACTER),
        }
        text = &text[at + 1..];
    }
    sink.extend(text);
}

fn javascript(sink: &mut Sink<'_>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '\'' | '"' => {
                    sink.push(b'\\');
                    sink.push_char(c);
                }
                '<' | '>' | '&' | '=' => unicode_escape(sink, c),
                c if is_printable(c) || c == '\x7f' => sink.push_char(c),
                c => unicode_escape(sink, c),
            }
        }
        sink.extend(chunk.invalid());
    }
}

fn unicode_escape(sink: &mut Sink<'_>, c: char) {
    sink.extend(format!("\\u{:04X}", u32::from(c)).as_bytes());
}

/// Query escaping: blanks become `+`.
fn url(sink: &mut Sink<'_>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => sink.push(byte),
            b' ' => sink.push(b'+'),
            byte => sink.extend(&[b'%', hex_digit(byte >> 4, true), hex_digit(byte, true)]),
        }
    }
}

fn urldecode<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let text = string(args, 0);
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Ok(Value::String(text));
    }
    let mut failed = None;
    let decoded = cx.string(|sink| {
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            match (byte, after) {
                (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    sink.push(nibble(*high) << 4 | nibble(*low));
                    rest = tail;
                    continue;
                }
                (b'%', _) => {
                    failed = Some(&rest[..rest.len().min(3)]);
                    return;
                }
                (b'+', _) => sink.push(b' '),
                (byte, _) => sink.push(byte),
            }
            rest = after;
        }
    })?;
    match failed {
        Some(escape) => Err(CallError::UrlEscape(String::from_utf8_lossy(escape).into())),
        None => Ok(decoded),
    }
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn b64enc(sink: &mut Sink<'_>, text: &[u8]) {
    for group in text.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        let mut quantum = [b'='; 4];
        for (index, byte) in quantum.iter_mut().enumerate().take(group.len() + 1) {
            *byte = BASE64[(bits >> (18 - 6 * index) & 63) as usize];
        }
        sink.extend(&quantum);
    }
}

/// Bad input is not an error: its description is the result.
fn b64dec<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let mut outcome = Ok(());
    let decoded = cx.string(|sink| outcome = decode_base64(sink, string(args, 0)))?;
    match outcome {
        Ok(()) => Ok(decoded),
        Err(at) => cx.string(|sink| sink.extend(format!("illegal base64 data at input byte {at}").as_bytes())),
    }
}

/// Decodes padded base64 in which newlines do not count; fails with the place that Go reports.
fn decode_base64(sink: &mut Sink<'_>, text: &[u8]) -> Result<(), usize> {
    let is_newline = |at: usize| matches!(text.get(at), Some(b'\n' | b'\r'));
    let (mut bits, mut count, mut at) = (0_u32, 0, 0);
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if let Some(value) = BASE64.iter().position(|b| *b == byte) {
            bits = bits << 6 | value as u32;
            count += 1;
            if count == 4 {
                sink.extend(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
            continue;
        }
        match (byte, count) {
            (b'\n' | b'\r', _) => continue,
            (b'=', 2) => {
                while is_newline(at) {
                    at += 1;
                }
                match text.get(at) {
                    None => return Err(text.len()),
                    Some(b'=') => at += 1,
                    Some(_) => return Err(at - 1),
                }
            }
            (b'=', 3) => {}
            _ => return Err(at - 1),
        }
        while is_newline(at) {
            at += 1;
        }
        if at < text.len() {
            return Err(at);
        }
        let padded = (bits << (6 * (4 - count))).to_be_bytes();
        sink.extend(&padded[1..count]);
        return Ok(());
    }
    if count == 0 { Ok(()) } else { Err(text.len() - count) }
}
