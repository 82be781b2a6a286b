//! Escapes and character classes.

use std::fmt::Write;

use super::{RegexError, RegexErrorKind};

/// The `regex` class that matches nothing: surrogates, which Go accepts in a pattern, occur in no text.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

/// The code points that are not characters.
const SURROGATES: std::ops::RangeInclusive<u32> = 0xD800..=0xDFFF;

/// The names allowed in `[[:name:]]`.
const POSIX_NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The part of `text` before `rest`, which must be one of its suffixes.
pub(super) fn before<'a>(text: &'a str, rest: &str) -> &'a str {
    &text[..text.len() - rest.len()]
}

/// Appends the code point `rune` as an atom.
pub(super) fn push_rune(out: &mut String, rune: u32) {
    match char::from_u32(rune) {
        Some(c) if regex_syntax::is_meta_character(c) => out.extend(['\\', c]),
        Some(c) => out.push(c),
        None => out.push_str(NOTHING),
    }
}

/// Appends the Perl class `\d`, `\s`, `\w` or a negation at the start of `text` and returns what follows it.
pub(super) fn perl_class<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let class = match text.as_bytes() {
        [b'\\', b'd', ..] => "[0-9]",
        [b'\\', b'D', ..] => "[^0-9]",
        [b'\\', b's', ..] => r"[\t\n\x0C\r ]",
        [b'\\', b'S', ..] => r"[^\t\n\x0C\r ]",
        [b'\\', b'w', ..] => "[0-9A-Za-z_]",
        [b'\\', b'W', ..] => "[^0-9A-Za-z_]",
        _ => return None,
    };
    out.push_str(class);
    Some(&text[2..])
}

/// Appends the Unicode class at the start of `text`, such as `\pL` or `\P{Greek}`, and returns what follows it.
pub(super) fn unicode_class<'a>(text: &'a str, out: &mut String) -> Result<Option<&'a str>, RegexError> {
    let mut negated = match text.as_bytes() {
        [b'\\', b'p', ..] => false,
        [b'\\', b'P', ..] => true,
        _ => return Ok(None),
    };
    let invalid = |fragment| RegexError::new(RegexErrorKind::ClassRange, fragment);
    let after = &text[2..];
    let first = after.chars().next().ok_or_else(|| invalid(text))?;
    let (mut name, rest) = if first == '{' {
        after[1..].split_once('}').ok_or_else(|| invalid(text))?
    } else {
        after.split_at(first.len_utf8())
    };
    if let Some(rest) = name.strip_prefix('^') {
        negated = !negated;
        name = rest;
    }
    if !is_unicode_class(name) {
        return Err(invalid(before(text, rest)));
    }
    let letter = if negated { 'P' } else { 'p' };
    // Writing to a `String` cannot fail.
    let _ = write!(out, r"\{letter}{{{name}}}");
    Ok(Some(rest))
}

/// Whether Go knows `name`: general categories, scripts and a few sets; no other properties.
fn is_unicode_class(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-');
    let known = |property: &str| regex_syntax::parse(&format!(r"\p{{{property}={name}}}")).is_ok();
    !name.is_empty() && name.chars().all(plain) && (known("gc") || known("sc"))
}

/// Appends the bracketed class at the start of `text` and returns what follows it.
pub(super) fn bracket_class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, RegexError> {
    let mut rest = &text[1..];
    out.push('[');
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let inside = out.len();
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some(after) = posix_class(rest, out)? {
            rest = after;
        } else if let Some(after) = unicode_class(rest, out)? {
            rest = after;
        } else if let Some(after) = perl_class(rest, out) {
            rest = after;
        } else {
            rest = range(rest, text, out)?;
        }
    }
    if out.len() == inside {
        // There were only surrogates, and empty brackets would mean something else.
        out.push_str(NOTHING);
    }
    out.push(']');
    Ok(&rest[1..])
}

fn posix_class<'a>(text: &'a str, out: &mut String) -> Result<Option<&'a str>, RegexError> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|inner| inner.split_once(":]")) else {
        return Ok(None);
    };
    let class = before(text, rest);
    if !POSIX_NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err(RegexError::new(RegexErrorKind::ClassRange, class));
    }
    out.push_str(class);
    Ok(Some(rest))
}

/// One character or a range of characters.
fn range<'a>(text: &'a str, class: &str, out: &mut String) -> Result<&'a str, RegexError> {
    let (low, mut rest) = class_rune(text, class)?;
    let mut high = low;
    if let Some(after) = rest.strip_prefix('-')
        && !after.is_empty()
        && !after.starts_with(']')
    {
        (high, rest) = class_rune(after, class)?;
        if high < low {
            return Err(RegexError::new(RegexErrorKind::ClassRange, before(text, rest)));
        }
    }
    let low = if SURROGATES.contains(&low) { SURROGATES.end() + 1 } else { low };
    let high = if SURROGATES.contains(&high) { SURROGATES.start() - 1 } else { high };
    if low <= high {
        // Writing to a `String` cannot fail.
        let _ = write!(out, r"\x{{{low:X}}}-\x{{{high:X}}}");
    }
    Ok(rest)
}

fn class_rune<'a>(text: &'a str, class: &str) -> Result<(u32, &'a str), RegexError> {
    match text.chars().next() {
        None => Err(RegexError::new(RegexErrorKind::MissingBracket, class)),
        Some('\\') => escape(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}

/// The code point that the escape at the start of `text` stands for, and what follows it.
pub(super) fn escape(text: &str) -> Result<(u32, &str), RegexError> {
    let mut chars = text[1..].chars();
    let Some(first) = chars.next() else {
        return Err(RegexError::new(RegexErrorKind::TrailingBackslash, ""));
    };
    let rune = match first {
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        'x' => hexadecimal(&mut chars),
        '0'..='7' => octal(first, &mut chars),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    let rest = chars.as_str();
    rune.map(|rune| (rune, rest)).ok_or_else(|| RegexError::new(RegexErrorKind::Escape, before(text, rest)))
}

/// Up to three digits; a single one would be a back-reference unless it is zero.
fn octal(first: char, chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let next_digit = |chars: &std::str::Chars<'_>| chars.clone().next().and_then(|c| c.to_digit(8));
    if first != '0' && next_digit(chars).is_none() {
        return None;
    }
    let mut rune = first.to_digit(8)?;
    for _ in 0..2 {
        let Some(digit) = next_digit(chars) else {
            break;
        };
        chars.next();
        rune = rune * 8 + digit;
    }
    Some(rune)
}

/// Two digits, or any number of them in braces.
fn hexadecimal(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let first = chars.next()?;
    if first != '{' {
        let second = chars.next()?;
        return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
    }
    let mut rune = None;
    loop {
        match chars.next()? {
            '}' => return rune,
            c => {
                let value = rune.unwrap_or(0) * 16 + c.to_digit(16)?;
                if value > u32::from(char::MAX) {
                    return None;
                }
                rune = Some(value);
            }
        }
    }
}
