//! Numbers and quoted strings in Go's spelling, as `strconv` reads and writes them.

use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Digits behind the point that a binary float can have; more are zeros.
const MAX_FRACTION_DIGITS: usize = 1100;
/// Significant digits that a binary float can have; more are zeros.
const MAX_SIGNIFICANT_DIGITS: usize = 800;

/// Why a text is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    /// It is not spelled like one.
    #[error("invalid syntax")]
    Syntax,
    /// No value of the type is that large.
    #[error("value out of range")]
    Range,
}

/// Reads an unsigned integer. Base 0 takes the base from a prefix and allows underscores, as Go literals do.
pub(crate) fn parse_uint(text: &str, base: u32) -> Result<u64, NumberError> {
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
pub(crate) fn parse_int(text: &str, base: u32) -> Result<i64, NumberError> {
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

/// Reads a float: decimal, hexadecimal with a binary exponent, infinities and NaN.
pub(crate) fn parse_float(text: &str) -> Result<f64, NumberError> {
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match unsigned.as_bytes().first() {
        Some(b'i' | b'I') if matches_word(unsigned, "inf") || matches_word(unsigned, "infinity") => {
            return Ok(sign * f64::INFINITY);
        }
        Some(b'n' | b'N') if unsigned.len() == text.len() && matches_word(text, "nan") => return Ok(f64::NAN),
        Some(b'0'..=b'9' | b'.') => {}
        _ => return Err(NumberError::Syntax),
    }
    if !underscores_are_placed_well(unsigned) {
        return Err(NumberError::Syntax);
    }
    let plain;
    let unsigned = if unsigned.contains('_') {
        plain = unsigned.replace('_', "");
        plain.as_str()
    } else {
        unsigned
    };
    let value = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', hex @ ..] => parse_hex_float(hex)?,
        _ => unsigned.parse::<f64>().map_err(|_| NumberError::Syntax)?,
    };
    if value.is_infinite() { Err(NumberError::Range) } else { Ok(sign * value) }
}

fn matches_word(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
}

/// Reads what stands behind `0x` in a hexadecimal float; the exponent is mandatory.
fn parse_hex_float(text: &[u8]) -> Result<f64, NumberError> {
    let at = text.iter().position(|b| matches!(b, b'p' | b'P')).ok_or(NumberError::Syntax)?;
    let exponent = std::str::from_utf8(&text[at + 1..]).map_err(|_| NumberError::Syntax)?;
    let exponent = match parse_int(exponent, 10) {
        Ok(exponent) => exponent.clamp(-100_000, 100_000),
        Err(NumberError::Range) if exponent.starts_with('-') => -100_000,
        Err(NumberError::Range) => 100_000,
        Err(NumberError::Syntax) => return Err(NumberError::Syntax),
    };
    let (mut mantissa, mut shift, mut digits, mut point) = (0_u64, 0_i64, 0, false);
    for &byte in &text[..at] {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(byte).to_digit(16).ok_or(NumberError::Syntax)?;
        digits += 1;
        if mantissa >> 59 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            shift -= if point { 4 } else { 0 };
        } else {
            // Digits that no longer fit only matter for rounding: remember that there was something.
            mantissa |= u64::from(digit != 0);
            shift += if point { 0 } else { 4 };
        }
    }
    if digits == 0 {
        return Err(NumberError::Syntax);
    }
    Ok(scale_by_power_of_two(mantissa, exponent + shift))
}

/// `mantissa * 2^exponent`, rounded once.
fn scale_by_power_of_two(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let top = 64 - i64::from(mantissa.leading_zeros());
    // Bits that the result can hold: 53, fewer when it is subnormal.
    let bits = (top + exponent + 1074).min(53);
    if top + exponent > 1024 {
        return f64::INFINITY;
    }
    if bits < 0 {
        return 0.0;
    }
    let dropped = top - bits;
    let (rounded, exponent) = if dropped > 0 {
        let wide = u128::from(mantissa);
        let half = 1_u128 << (dropped - 1);
        let kept = wide >> dropped;
        let rest = wide & ((1 << dropped) - 1);
        let up = rest > half || (rest == half && kept & 1 == 1);
        ((kept as u64) + u64::from(up), exponent + dropped)
    } else {
        (mantissa, exponent)
    };
    // Two steps, because 2^-1074 has no reciprocal; both are exact.
    let half = exponent / 2;
    rounded as f64 * 2_f64.powi(half as i32) * 2_f64.powi((exponent - half) as i32)
}

/// Appends `value` with at least `digits` digits (at most 20 count).
pub(crate) fn append_int(out: &mut Vec<u8>, value: i64, digits: usize) {
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
pub(crate) struct FloatStyle {
    pub(crate) verb: u8,
    pub(crate) precision: Option<usize>,
}

/// Appends `value` as `strconv.FormatFloat` writes it.
pub(crate) fn append_float(out: &mut Vec<u8>, value: f64, style: FloatStyle) {
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
pub(crate) fn hex_digit(nibble: u8, upper: bool) -> u8 {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    digits[usize::from(nibble & 15)]
}

/// Appends `text` as a Go literal in `quote` marks. Bytes that are not UTF-8 become `\x` escapes.
pub(crate) fn append_quoted(out: &mut Vec<u8>, text: &[u8], quote: char, ascii_only: bool) {
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
pub(crate) fn is_printable(c: char) -> bool {
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
pub(crate) fn can_backquote(text: &[u8]) -> bool {
    std::str::from_utf8(text)
        .is_ok_and(|text| text.chars().all(|c| c == '\t' || !(c < ' ' || matches!(c, '`' | '\x7f' | '\u{feff}'))))
}
