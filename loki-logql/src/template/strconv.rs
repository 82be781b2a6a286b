//! Numbers and quoted strings in Go's spelling, as `strconv` reads and writes them.

use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Digits behind the point that a binary float can have; more are zeros.
const MAX_FRACTION_DIGITS: usize = 1100;
/// Significant digits that a binary float can have; more are zeros.
const MAX_SIGNIFICANT_DIGITS: usize = 800;

/// Why a text is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NumberError {
    /// It is not spelled like one.
    #[error("invalid syntax")]
    Syntax,
    /// No value of the type is that large.
    #[error("value out of range")]
    Range,
}

/// Reads an unsigned integer. Base 0 takes the base from a prefix and allows underscores, as Go literals do.
pub(super) fn parse_uint(text: &str, base: u32) -> Result<u64, NumberError> {
    let (digits, radix) = match base {
        0 => split_prefix(text),
        base => (text, base),
    };
    if digits.is_empty() || (base == 0 && !underscores_are_placed_well(text)) {
        return Err(NumberError::Syntax);
    }
    let mut value = Some(0_u64);
    for c in digits.chars() {
        if c == '_' && base == 0 {
            continue;
        }
        let digit = c.to_digit(radix).ok_or(NumberError::Syntax)?;
        value = value.and_then(|v| v.checked_mul(radix.into())?.checked_add(digit.into()));
    }
    value.ok_or(NumberError::Range)
}

/// Reads a signed integer; see [`parse_uint`] for `base`.
pub(super) fn parse_int(text: &str, base: u32) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_uint(digits, base)?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude).ok_or(NumberError::Range)
    } else {
        i64::try_from(magnitude).map_err(|_| NumberError::Range)
    }
}

/// The digits behind a base prefix, and the base.
fn split_prefix(text: &str) -> (&str, u32) {
    match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    }
}

/// Whether each underscore separates digits; a base prefix counts as a digit.
fn underscores_are_placed_well(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    if !text.contains(&b'_') {
        return true;
    }
    let (rest, hex, mut after_digit) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (rest, true, true),
        [b'0', b'b' | b'B' | b'o' | b'O', rest @ ..] => (rest, false, true),
        _ => (text, false, false),
    };
    let mut after_underscore = false;
    for &byte in rest {
        let digit = byte.is_ascii_digit() || (hex && byte.is_ascii_hexdigit());
        if (byte == b'_' && !after_digit) || (after_underscore && !digit) {
            return false;
        }
        after_digit = digit;
        after_underscore = byte == b'_';
    }
    !after_underscore
}

/// Appends `value` with at least `digits` digits (at most 20 count).
pub(super) fn append_int(out: &mut Vec<u8>, value: i64, digits: usize) {
    let mut text = [b'0'; 20];
    let mut first = text.len();
    let mut rest = value.unsigned_abs();
    while rest > 0 {
        first -= 1;
        text[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if value < 0 {
        out.push(b'-');
    }
    let padded = text.len() - digits.clamp(1, text.len());
    out.extend_from_slice(&text[first.min(padded)..]);
}

/// How a float is written: one of `e E f F g G b x X`, and the digits (`None`: as many as identify the number).
#[derive(Debug, Clone, Copy)]
pub(super) struct FloatStyle {
    pub(super) verb: u8,
    pub(super) precision: Option<usize>,
}

/// Appends `value` as `strconv.FormatFloat` writes it.
pub(super) fn append_float(out: &mut Vec<u8>, value: f64, style: FloatStyle) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    match style.verb {
        b'f' | b'F' => append_fixed(out, value, style.precision),
        b'e' | b'E' => append_scientific(out, value, style.precision, style.verb),
        b'b' => append_binary(out, value),
        b'x' | b'X' => append_hex(out, value, style.precision, style.verb),
        b'G' => append_general(out, value, style.precision, b'E'),
        _ => append_general(out, value, style.precision, b'e'),
    }
}

// Writing to a `Vec` cannot fail, hence the ignored results below.

fn append_fixed(out: &mut Vec<u8>, value: f64, precision: Option<usize>) {
    let Some(precision) = precision else {
        let _ = write!(out, "{value}");
        return;
    };
    let digits = precision.min(MAX_FRACTION_DIGITS);
    let _ = write!(out, "{value:.digits$}");
    out.resize(out.len() + (precision - digits), b'0');
}

fn append_scientific(out: &mut Vec<u8>, value: f64, precision: Option<usize>, verb: u8) {
    let start = out.len();
    match precision {
        None => {
            let _ = write!(out, "{value:e}");
            respell_exponent(out, start, 0, verb);
        }
        Some(precision) => {
            let digits = precision.min(MAX_FRACTION_DIGITS);
            let _ = write!(out, "{value:.digits$e}");
            respell_exponent(out, start, precision - digits, verb);
        }
    }
}

/// Turns Rust's `1.5e7` at the end of `out` into Go's `1.5e+07`, with `zeros` more digits.
fn respell_exponent(out: &mut Vec<u8>, start: usize, zeros: usize, verb: u8) {
    let at = out[start..].iter().rposition(|&b| b == b'e').map_or(out.len(), |at| start + at);
    let exponent = std::str::from_utf8(&out[at..]).ok().and_then(|e| e[1..].parse::<i32>().ok()).unwrap_or(0);
    out.truncate(at);
    out.resize(at + zeros, b'0');
    append_exponent(out, verb, exponent);
}

fn append_exponent(out: &mut Vec<u8>, letter: u8, exponent: i32) {
    out.push(letter);
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let _ = write!(out, "{:02}", exponent.unsigned_abs());
}

/// A number's significant digits and its decimal exponent, in a buffer that needs no allocation.
struct Digits {
    text: [u8; MAX_SIGNIFICANT_DIGITS + 16],
    length: usize,
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

impl Digits {
    /// The digits of `value` (a finite number) rounded to `precision` digits, or the shortest that identify it.
    fn new(value: f64, precision: Option<usize>) -> Self {
        let mut digits = Self { text: [0; MAX_SIGNIFICANT_DIGITS + 16], length: 0 };
        let _ = match precision {
            None => write!(digits, "{value:e}"),
            Some(precision) => write!(digits, "{:.*e}", precision.clamp(1, MAX_SIGNIFICANT_DIGITS) - 1, value),
        };
        digits
    }

    /// How many digits there are without trailing zeros, and the decimal exponent of the first.
    fn count_and_exponent(&self) -> (usize, i32) {
        let text = &self.text[..self.length];
        let at = text.iter().position(|&b| b == b'e').unwrap_or(text.len());
        let exponent = std::str::from_utf8(&text[at..]).ok().and_then(|e| e.get(1..)?.parse().ok()).unwrap_or(0);
        let last = text[..at].iter().rposition(|b| (b'1'..=b'9').contains(b)).unwrap_or(0);
        let count = text[..=last.min(at.saturating_sub(1))].iter().filter(|b| b.is_ascii_digit()).count();
        (count, exponent)
    }
}

fn append_general(out: &mut Vec<u8>, value: f64, precision: Option<usize>, exponent_letter: u8) {
    let precision = precision.map(|p| p.max(1));
    let (count, exponent) = Digits::new(value, precision).count_and_exponent();
    let point = exponent + 1;
    let threshold = match precision {
        None => 6,
        Some(p) if p > count && count as i32 >= point => count,
        Some(p) => p,
    };
    if exponent < -4 || exponent >= threshold as i32 {
        append_scientific(out, value, precision.map(|p| p.min(count) - 1), exponent_letter);
    } else {
        let fraction = (count as i32 - point).max(0) as usize;
        append_fixed(out, value, precision.map(|_| fraction));
    }
}

/// Mantissa and exponent, such that the value is `mantissa * 2^(exponent - 52)`.
fn split_float(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match (bits >> 52 & 0x7ff) as i32 {
        0 => (fraction, -1022),
        exponent => (fraction | 1 << 52, exponent - 1023),
    }
}

fn append_binary(out: &mut Vec<u8>, value: f64) {
    let (mantissa, exponent) = split_float(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let _ = write!(out, "{sign}{mantissa}p{:+}", exponent - 52);
}

fn append_hex(out: &mut Vec<u8>, value: f64, precision: Option<usize>, verb: u8) {
    let (mantissa, mut exponent) = split_float(value);
    // The leading digit goes to bit 60.
    let mut mantissa = mantissa << 8;
    if mantissa == 0 {
        exponent = 0;
    } else {
        let shift = mantissa.leading_zeros() - 3;
        mantissa <<= shift;
        exponent -= shift as i32;
    }
    if let Some(precision @ 0..15) = precision {
        let shift = precision * 4;
        let rest = (mantissa << shift) & ((1 << 60) - 1);
        mantissa >>= 60 - shift;
        if rest | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - shift;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    out.extend_from_slice(&[b'0', verb, b'0' + (mantissa >> 60 & 1) as u8]);
    mantissa <<= 4;
    let digits = precision.unwrap_or_else(|| (64 - mantissa.trailing_zeros() as usize).div_ceil(4));
    if digits > 0 && (precision.is_some() || mantissa != 0) {
        out.push(b'.');
        for _ in 0..digits {
            out.push(hex_digit((mantissa >> 60) as u8, verb == b'X'));
            mantissa <<= 4;
        }
    }
    append_exponent(out, if verb == b'X' { b'P' } else { b'p' }, exponent);
}

/// The hexadecimal digit of the low four bits.
pub(super) fn hex_digit(nibble: u8, upper: bool) -> u8 {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    digits[usize::from(nibble & 15)]
}

/// Appends `text` as a Go literal in `quote` marks. Bytes that are not UTF-8 become `\x` escapes.
pub(super) fn append_quoted(out: &mut Vec<u8>, text: &[u8], quote: char, ascii_only: bool) {
    out.push(quote as u8);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            append_escaped(out, c, quote, ascii_only);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push(quote as u8);
}

fn append_escaped(out: &mut Vec<u8>, c: char, quote: char, ascii_only: bool) {
    if c != quote && c != '\\' && is_printable(c) && (c.is_ascii() || !ascii_only) {
        return out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    let _ = match c {
        '\x07' => out.write_all(b"\\a"),
        '\x08' => out.write_all(b"\\b"),
        '\x0c' => out.write_all(b"\\f"),
        '\n' => out.write_all(b"\\n"),
        '\r' => out.write_all(b"\\r"),
        '\t' => out.write_all(b"\\t"),
        '\x0b' => out.write_all(b"\\v"),
        c if c == quote || c == '\\' => write!(out, "\\{c}"),
        c if c < ' ' || c == '\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
        c if c <= '\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
        c => write!(out, "\\U{:08x}", u32::from(c)),
    };
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library's table of printable characters is reachable only through `escape_debug`, which also
    // escapes combining marks, but only when they come first.
    let mut text = [b'a', 0, 0, 0, 0];
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

/// Whether `text` can stand unchanged between backticks.
pub(super) fn can_backquote(text: &[u8]) -> bool {
    std::str::from_utf8(text)
        .is_ok_and(|text| text.chars().all(|c| c == '\t' || !(c < ' ' || matches!(c, '`' | '\x7f' | '\u{feff}'))))
}
