//! Numbers as label values carry them: Go floats, Go durations and byte sizes, with Go's own words when one is not.
//!
//! Filters and `unwrap` read a value per line, so the common shapes (`200`, `12.5`, `340ms`) are read without the
//! general routine, and a failure only remembers what went wrong: its text is written when an entry keeps it.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use loki_core::labels::quote;
use regex::bytes::Regex;

use crate::size;

/// The most digits that fit the fast path: every integer below 10^15 is exact in an `f64`.
const MAX_FAST_DIGITS: usize = 15;

/// Powers of ten that are exact in an `f64`.
const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The largest magnitude of a duration in nanoseconds.
const MAX_MAGNITUDE: u64 = 1 << 63;

/// Why a value is not the number it should be. [`UnitError::describe`] gives Go's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitError {
    /// Not a float.
    FloatSyntax,
    /// The number in front of a unit of bytes, which takes the first `len` bytes, is not a float.
    SizeSyntax { len: usize },
    /// The value is a float beyond the largest one.
    FloatRange,
    /// Not a duration at all, or one beyond 292 years.
    Duration,
    /// A number without a unit.
    MissingUnit,
    /// The unit at this place of the value is none.
    UnknownUnit { start: usize, end: usize },
    /// What follows the number from `start` on is no unit of bytes.
    UnknownSize { start: usize },
    /// More bytes than 64 bits can count.
    TooLarge,
}

impl UnitError {
    /// The text Go's libraries give for this failure to read `value`.
    pub(crate) fn describe(self, value: &str, out: &mut String) {
        let written = match self {
            Self::FloatSyntax => write!(out, "strconv.ParseFloat: parsing {}: invalid syntax", quote(value)),
            Self::SizeSyntax { len } => {
                // Thousands separators are gone when the number is read.
                let number: Vec<u8> = value.bytes().take(len).filter(|&byte| byte != b',').collect();
                write!(out, "strconv.ParseFloat: parsing {}: invalid syntax", QuotedBytes(&number))
            }
            Self::FloatRange => write!(out, "strconv.ParseFloat: parsing {}: value out of range", quote(value)),
            Self::Duration => write!(out, "time: invalid duration {}", TimeQuoted(value)),
            Self::MissingUnit => write!(out, "time: missing unit in duration {}", TimeQuoted(value)),
            Self::UnknownUnit { start, end } => {
                let unit = value.get(start..end).unwrap_or_default();
                write!(out, "time: unknown unit {} in duration {}", TimeQuoted(unit), TimeQuoted(value))
            }
            Self::UnknownSize { start } => {
                let unit = value.get(start..).unwrap_or_default().trim().to_lowercase();
                write!(out, "unhandled size name: {unit}")
            }
            Self::TooLarge => write!(out, "too large: {value}"),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
}

/// A string quoted as Go's `time` package does: bytes beyond ASCII and controls as `\x…`.
struct TimeQuoted<'a>(&'a str);

impl fmt::Display for TimeQuoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=b'~' | 0x7f => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_char('"')
    }
}

/// Bytes quoted as a Go string; those that are no UTF-8 as `\x…`.
struct QuotedBytes<'a>(&'a [u8]);

impl fmt::Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            let quoted = quote(chunk.valid());
            f.write_str(&quoted[1..quoted.len() - 1])?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

/// Reads a float as Go's `strconv.ParseFloat` does.
pub(crate) fn parse_float(value: &[u8]) -> Result<f64, UnitError> {
    if let Some(number) = parse_short_decimal(value) {
        return Ok(number);
    }
    let syntax = UnitError::FloatSyntax;
    let text = std::str::from_utf8(value).map_err(|_| syntax)?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = |name: &str| unsigned.eq_ignore_ascii_case(name);
    if lower("inf") || lower("infinity") {
        return Ok(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(syntax);
    }
    let without_underscores;
    let mut digits = unsigned;
    if unsigned.contains('_') {
        if !underscores_separate_digits(unsigned) {
            return Err(syntax);
        }
        without_underscores = unsigned.replace('_', "");
        digits = &without_underscores;
    }
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => parse_hex_float(hex).ok_or(syntax)?,
        None => digits.parse::<f64>().map_err(|_| syntax)?,
    };
    if magnitude.is_infinite() {
        return Err(UnitError::FloatRange);
    }
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// Reads `[-]digits[.digits]` of at most fifteen digits exactly; `None` leaves the value to the general routine.
fn parse_short_decimal(value: &[u8]) -> Option<f64> {
    let (negative, digits) = match value {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, value),
    };
    if digits.is_empty() || digits.len() > MAX_FAST_DIGITS {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut fraction_digits = None;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                fraction_digits = fraction_digits.map(|n| n + 1);
            }
            b'.' if fraction_digits.is_none() => fraction_digits = Some(0_usize),
            _ => return None,
        }
    }
    if digits == b"." {
        return None;
    }
    // Both operands are exact, so the one rounding of the division is the right one.
    let magnitude = mantissa as f64 / POWERS_OF_TEN[fraction_digits.unwrap_or(0)];
    Some(if negative { -magnitude } else { magnitude })
}

/// Go's rule for `_` in numbers: only between digits, or between a base prefix and a digit.
fn underscores_separate_digits(unsigned: &str) -> bool {
    let bytes = unsigned.as_bytes();
    let (hex, digits, mut previous) = match bytes {
        [b'0', b'x' | b'X', rest @ ..] => (true, rest, b'0'),
        [b'0', b'b' | b'B' | b'o' | b'O', rest @ ..] => (false, rest, b'0'),
        _ => (false, bytes, b'!'),
    };
    for &byte in digits {
        let is_digit = byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit();
        match byte {
            b'_' if previous != b'0' => return false,
            _ if previous == b'_' && !is_digit => return false,
            _ => {}
        }
        previous = match byte {
            b'_' => b'_',
            _ if is_digit => b'0',
            _ => b'!',
        };
    }
    previous != b'_'
}

/// Reads what follows `0x` in a hexadecimal float: a mantissa and the exponent that Go demands.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if exponent_digits.is_empty() || !exponent_digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Beyond this the result is zero or infinite whatever the mantissa is.
    let mut scale = exponent.parse::<i64>().unwrap_or(1 << 40).clamp(-(1 << 40), 1 << 40);
    if exponent.starts_with('-') {
        scale = -scale.abs();
    }
    let mut significand = 0_u64;
    let mut seen_digit = false;
    let mut seen_point = false;
    for byte in mantissa.bytes() {
        if byte == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let digit = u64::from(char::from(byte).to_digit(16)?);
        seen_digit = true;
        if significand >> 60 == 0 {
            significand = significand << 4 | digit;
            scale -= i64::from(seen_point) * 4;
        } else {
            // A sticky bit keeps the rounding right.
            significand |= u64::from(digit != 0);
            scale += i64::from(!seen_point) * 4;
        }
    }
    seen_digit.then(|| scale_by_power_of_two(significand as f64, scale))
}

/// `value · 2^exponent`, stepwise so that neither the power nor an intermediate result overflows early.
fn scale_by_power_of_two(mut value: f64, mut exponent: i64) -> f64 {
    const STEP: i64 = 1000;
    if value == 0.0 {
        return 0.0;
    }
    while exponent > STEP && value.is_finite() {
        value *= 2.0_f64.powi(STEP as i32);
        exponent -= STEP;
    }
    while exponent < -STEP && value != 0.0 {
        value *= 2.0_f64.powi(-(STEP as i32));
        exponent += STEP;
    }
    if value == 0.0 || value.is_infinite() { value } else { value * 2.0_f64.powi(exponent as i32) }
}

/// Reads a duration as Go's `time.ParseDuration` does, in nanoseconds.
pub(crate) fn parse_duration(value: &[u8]) -> Result<i64, UnitError> {
    let (negative, mut at) = match value.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    match &value[at..] {
        b"0" => return Ok(0),
        [] => return Err(UnitError::Duration),
        _ => {}
    }
    let mut total = 0_u64;
    while at < value.len() {
        let (nanos, next) = parse_duration_term(value, at)?;
        total = total.checked_add(nanos).filter(|&sum| sum <= MAX_MAGNITUDE).ok_or(UnitError::Duration)?;
        at = next;
    }
    if negative {
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| UnitError::Duration)
}

/// Reads one `number unit` that begins at `start`: its nanoseconds, and where the next begins.
fn parse_duration_term(value: &[u8], start: usize) -> Result<(u64, usize), UnitError> {
    let mut at = start;
    let mut whole = 0_u64;
    while let Some(digit) = digit_at(value, at) {
        whole = whole.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(UnitError::Duration)?;
        if whole > MAX_MAGNITUDE {
            return Err(UnitError::Duration);
        }
        at += 1;
    }
    let mut digits = at - start;
    let mut fraction = 0_u64;
    let mut scale = 1.0_f64;
    if value.get(at) == Some(&b'.') {
        at += 1;
        let mut full = false;
        while let Some(digit) = digit_at(value, at) {
            // Digits beyond what 63 bits hold cannot change the nanoseconds.
            full |= fraction > (MAX_MAGNITUDE - 1) / 10;
            if !full {
                fraction = fraction * 10 + digit;
                full = fraction > MAX_MAGNITUDE - 1;
                scale *= 10.0;
            }
            at += 1;
            digits += 1;
        }
    }
    if digits == 0 {
        return Err(UnitError::Duration);
    }
    let unit_len = value[at..].iter().take_while(|b| !matches!(b, b'.' | b'0'..=b'9')).count();
    let end = at + unit_len;
    let unit = match &value[at..end] {
        b"" => return Err(UnitError::MissingUnit),
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        _ => return Err(UnitError::UnknownUnit { start: at, end }),
    };
    if whole > MAX_MAGNITUDE / unit {
        return Err(UnitError::Duration);
    }
    let nanos = whole * unit + (fraction as f64 * (unit as f64 / scale)) as u64;
    if nanos > MAX_MAGNITUDE { Err(UnitError::Duration) } else { Ok((nanos, end)) }
}

fn digit_at(value: &[u8], at: usize) -> Option<u64> {
    value.get(at).filter(|b| b.is_ascii_digit()).map(|b| u64::from(b - b'0'))
}

/// Reads a number of bytes as people write them: `5kb`, `1.5 MiB`, `1,024`.
pub(crate) fn parse_bytes(value: &[u8]) -> Result<u64, UnitError> {
    let number_len = size_number_len(value);
    let (number, rest) = value.split_at(number_len);
    let amount = if number.contains(&b',') {
        let plain: Vec<u8> = number.iter().copied().filter(|&b| b != b',').collect();
        parse_float(&plain)
    } else {
        parse_float(number)
    };
    let amount = amount.map_err(|error| match error {
        UnitError::FloatSyntax => UnitError::SizeSyntax { len: number_len },
        other => other,
    })?;
    let multiple = size_of_unit(rest).ok_or(UnitError::UnknownSize { start: number_len })?;
    let bytes = amount * multiple as f64;
    if bytes >= u64::MAX as f64 { Err(UnitError::TooLarge) } else { Ok(bytes as u64) }
}

/// How many bytes of `value` count as its number: Loki's library counts the *characters* that are digits of any script,
/// points or commas, so that a foreign digit is cut in its middle.
fn size_number_len(value: &[u8]) -> usize {
    static FOREIGN_DIGIT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\p{Nd}").expect("the pattern is valid"));

    let is_ascii_part = |b: &u8| matches!(b, b'0'..=b'9' | b'.' | b',');
    let ascii_len = value.iter().take_while(|b| is_ascii_part(b)).count();
    if value.get(ascii_len).is_none_or(u8::is_ascii) {
        return ascii_len;
    }
    let mut rest = &value[ascii_len..];
    let mut len = ascii_len;
    while let Some(first) = rest.first() {
        let width = match FOREIGN_DIGIT.find(rest) {
            Some(digit) => digit.end(),
            None if is_ascii_part(first) => 1,
            None => break,
        };
        rest = &rest[width..];
        len += 1;
    }
    len
}

/// The bytes that a unit stands for; blanks around it and its case mean nothing.
fn size_of_unit(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut letters = text.chars().map(|c| c.to_ascii_lowercase());
    let power = match letters.next() {
        None => return Some(1),
        Some('b') => return letters.next().is_none().then_some(1),
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some('e') => 6,
        Some(_) => return None,
    };
    let mut next = letters.next();
    let base = if next == Some('i') {
        next = letters.next();
        1024_u64
    } else {
        1000
    };
    if next == Some('b') {
        next = letters.next();
    }
    next.is_none().then(|| base.pow(power))
}

/// What remains of a byte size after Loki prints it and reads it back: two significant digits below ten units, whole
/// units above. Byte filters compare with this instead of what was written.
pub(crate) fn round_as_printed(bytes: u64) -> u64 {
    parse_bytes(size::format(bytes).as_bytes()).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_error(value: &str) -> String {
        let mut text = String::new();
        parse_float(value.as_bytes()).expect_err("not a float").describe(value, &mut text);
        text
    }

    fn duration_error(value: &str) -> String {
        let mut text = String::new();
        parse_duration(value.as_bytes()).expect_err("not a duration").describe(value, &mut text);
        text
    }

    fn bytes_error(value: &str) -> String {
        let mut text = String::new();
        parse_bytes(value.as_bytes()).expect_err("not a size").describe(value, &mut text);
        text
    }

    #[test]
    fn floats_read_as_go_reads_them() {
        for (text, number) in [
            ("0", 0.0),
            ("-7", -7.0),
            ("+7", 7.0),
            ("3.25", 3.25),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1_000", 1000.0),
            ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
            ("0x1p-2", 0.25),
            ("0x1.8p1", 3.0),
            ("0x_1p4", 16.0),
            ("0x1p-1074", 5e-324),
            ("+Inf", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Ok(number), "{text}");
        }
        assert!(parse_float(b"NaN").is_ok_and(f64::is_nan));
        assert!(parse_float(b"-0").is_ok_and(|zero| zero == 0.0 && zero.is_sign_negative()));
    }

    #[test]
    fn what_is_no_float_is_refused_in_go_words() {
        for text in ["", "abc", ".", "-", "1__0", "_1", "1_", "0x1f", "0x1.8", "1e", "+nan", "1 ", "1,5", "0b1", "--1"]
        {
            assert_eq!(float_error(text), format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"));
        }
        assert_eq!(float_error("1e400"), "strconv.ParseFloat: parsing \"1e400\": value out of range");
    }

    #[test]
    fn short_decimals_agree_with_the_general_routine() {
        for text in ["0.1", "123456789.12345", "99999999999999", "1.000000000001", "-0.30"] {
            assert_eq!(parse_short_decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("500ms", 500_000_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("-1m", -60_000_000_000),
            ("1h1h", 7_200_000_000_000),
            ("0.9223372036854775807h", 3_320_413_933_267),
            ("2562047h47m16.854775807s", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse_duration(text.as_bytes()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_go_words() {
        assert_eq!(duration_error(""), r#"time: invalid duration """#);
        assert_eq!(duration_error("abc"), r#"time: invalid duration "abc""#);
        assert_eq!(duration_error("5"), r#"time: missing unit in duration "5""#);
        assert_eq!(duration_error("1d"), r#"time: unknown unit "d" in duration "1d""#);
        assert_eq!(duration_error("1é"), r#"time: unknown unit "\xc3\xa9" in duration "1\xc3\xa9""#);
        assert_eq!(duration_error(".s"), r#"time: invalid duration ".s""#);
        assert_eq!(duration_error("9223372036854775808ns"), r#"time: invalid duration "9223372036854775808ns""#);
    }

    #[test]
    fn byte_sizes_read_in_any_case_and_spacing() {
        for (text, bytes) in [
            ("5", 5),
            ("5b", 5),
            ("5kb", 5_000),
            ("5KiB", 5_120),
            ("5 MB", 5_000_000),
            ("1,024", 1_024),
            ("1.5k", 1_500),
            ("2Ki", 2_048),
            ("1EB", 1_000_000_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text.as_bytes()), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_byte_size_is_refused_in_go_words() {
        assert_eq!(bytes_error("abc"), r#"strconv.ParseFloat: parsing "": invalid syntax"#);
        assert_eq!(bytes_error("1,2.3.4kb"), r#"strconv.ParseFloat: parsing "12.3.4": invalid syntax"#);
        assert_eq!(bytes_error("١"), r#"strconv.ParseFloat: parsing "\xd9": invalid syntax"#);
        assert_eq!(bytes_error("5 ZZ"), "unhandled size name: zz");
        assert_eq!(bytes_error("100EB"), "too large: 100EB");
    }

    #[test]
    fn constants_lose_what_printing_loses() {
        for (written, used) in
            [(5, 5), (10, 10), (999, 999), (5_120, 5_100), (1_049, 1_000), (9_950, 10_000), (999_999, 1_000_000)]
        {
            assert_eq!(round_as_printed(written), used, "{written}");
        }
    }
}
