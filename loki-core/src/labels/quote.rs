//! Go's string literals: `strconv.Quote` and `strconv.Unquote`.

use std::fmt::{self, Write};

/// `text` as a double-quoted Go string literal.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    // Writing to a `String` cannot fail.
    let _ = write_quoted(&mut quoted, text);
    quoted
}

/// Writes `text` as a double-quoted Go string literal: printable characters as they are, the rest escaped.
pub fn write_quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    write_escaped(out, text, '"')?;
    out.write_char('"')
}

/// `c` as a single-quoted Go rune literal.
pub fn quote_char(c: char) -> String {
    let mut quoted = String::from("'");
    // Writing to a `String` cannot fail.
    let _ = write_escaped(&mut quoted, c.encode_utf8(&mut [0; 4]), '\'');
    quoted.push('\'');
    quoted
}

fn write_escaped(out: &mut impl Write, text: &str, delimiter: char) -> fmt::Result {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        if c != delimiter && c != '\\' && is_printable(c) {
            continue;
        }
        out.write_str(&text[plain_from..at])?;
        plain_from = at + c.len_utf8();
        match c {
            '\x07' => out.write_str("\\a")?,
            '\x08' => out.write_str("\\b")?,
            '\x0c' => out.write_str("\\f")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\x0b' => out.write_str("\\v")?,
            '\\' => out.write_str("\\\\")?,
            c if c == delimiter => write!(out, "\\{c}")?,
            c if c < ' ' || c == '\x7f' => write!(out, "\\x{:02x}", u32::from(c))?,
            c if c <= '\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c))?,
            c => write!(out, "\\U{:08x}", u32::from(c))?,
        }
    }
    out.write_str(&text[plain_from..])
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library's own table of printable characters is reachable only through `escape_debug`, which also
    // escapes combining marks, but only when they come first.
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

/// Why a string literal was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid syntax")]
pub struct UnquoteError;

/// The value of a Go string literal, double-quoted or in backticks.
///
/// Escapes such as `\xff` can spell bytes that are not UTF-8; these become U+FFFD. [`unquote_bytes`] keeps them.
pub fn unquote(literal: &str) -> Result<String, UnquoteError> {
    let bytes = unquote_bytes(literal)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The bytes of a Go string literal, double-quoted or in backticks.
pub fn unquote_bytes(literal: &str) -> Result<Vec<u8>, UnquoteError> {
    if let Some(raw) = literal.strip_prefix('`') {
        let raw = raw.strip_suffix('`').ok_or(UnquoteError)?;
        if raw.contains('`') {
            return Err(UnquoteError);
        }
        // Go drops carriage returns from raw literals.
        return Ok(raw.bytes().filter(|&b| b != b'\r').collect());
    }
    let mut rest = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(UnquoteError)?;
    let mut value = Vec::with_capacity(rest.len());
    while let Some(at) = memchr::memchr3(b'\\', b'"', b'\n', rest.as_bytes()) {
        value.extend_from_slice(&rest.as_bytes()[..at]);
        rest = rest[at..].strip_prefix('\\').ok_or(UnquoteError)?;
        rest = unescape(rest, '"', &mut value).map_err(|_| UnquoteError)?;
    }
    value.extend_from_slice(rest.as_bytes());
    Ok(value)
}

/// Why an escape sequence is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EscapeError {
    /// The text ends inside it.
    Unterminated,
    /// No escape sequence begins with this character.
    Unknown(char),
    /// This character cannot be one of its digits.
    Digit(char),
    /// The digits name no character or byte.
    CodePoint,
}

/// Appends what the escape sequence at the start of `text` (after its backslash) stands for; returns the text behind.
pub(super) fn unescape<'a>(text: &'a str, delimiter: char, out: &mut Vec<u8>) -> Result<&'a str, EscapeError> {
    let mut chars = text.chars();
    let first = chars.next().ok_or(EscapeError::Unterminated)?;
    let simple = match first {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        c if c == delimiter => c as u8,
        '0'..='7' => return unescape_number(text, 3, 8, out),
        'x' => return unescape_number(chars.as_str(), 2, 16, out),
        'u' => return unescape_number(chars.as_str(), 4, 16, out),
        'U' => return unescape_number(chars.as_str(), 8, 16, out),
        c => return Err(EscapeError::Unknown(c)),
    };
    out.push(simple);
    Ok(chars.as_str())
}

/// Two and three digits spell a byte, four and eight a character.
fn unescape_number<'a>(text: &'a str, digits: usize, radix: u32, out: &mut Vec<u8>) -> Result<&'a str, EscapeError> {
    let mut chars = text.chars();
    let mut number = 0_u32;
    for _ in 0..digits {
        let c = chars.next().ok_or(EscapeError::Unterminated)?;
        let digit = c.to_digit(radix).ok_or(EscapeError::Digit(c))?;
        // Eight hexadecimal digits fill the 32 bits exactly.
        number = number.wrapping_mul(radix) | digit;
    }
    if digits <= 3 {
        out.push(u8::try_from(number).map_err(|_| EscapeError::CodePoint)?);
    } else {
        let c = char::from_u32(number).ok_or(EscapeError::CodePoint)?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(chars.as_str())
}
