//! Durations and byte sizes as label filters and templates read them.

use std::fmt::{self, Write as _};

use super::strconv::{NumberError, parse_float};

/// Why a text is not a duration; the texts are those of Go's `time.ParseDuration`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("time: invalid duration {}", TimeQuoted(.0))]
    Invalid(Box<str>),
    #[error("time: missing unit in duration {}", TimeQuoted(.0))]
    MissingUnit(Box<str>),
    #[error("time: unknown unit {} in duration {}", TimeQuoted(.unit), TimeQuoted(.text))]
    UnknownUnit { unit: Box<str>, text: Box<str> },
}

/// Text as Go's package `time` quotes it: everything but printable ASCII becomes `\x` escapes.
struct TimeQuoted<'a>(&'a str);

impl fmt::Display for TimeQuoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..0x80 => f.write_char(byte.into())?,
                byte => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_char('"')
    }
}

/// Reads a Go duration such as `1h30m` or `-1.5s`; the result is in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.into());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_start = match rest[..number_end].match_indices('.').nth(1) {
            // A second point cannot belong to the number, so it starts the unit.
            Some((at, _)) => at,
            None => number_end,
        };
        let (number, tail) = rest.split_at(unit_start);
        if !number.bytes().any(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let unit_end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.into()));
        }
        let scale =
            unit_nanos(unit).ok_or_else(|| DurationError::UnknownUnit { unit: unit.into(), text: text.into() })?;
        let part = scaled_nanos(number, scale).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|&sum| sum <= 1 << 63).ok_or_else(invalid)?;
        rest = tail;
    }
    if negative {
        // -2^63 exists, 2^63 does not.
        return 0_i64.checked_sub_unsigned(total).ok_or_else(invalid);
    }
    i64::try_from(total).map_err(|_| invalid())
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    })
}

/// `number` (digits with at most one point) times `scale`, cut to whole nanoseconds; `None` if too large.
fn scaled_nanos(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut nanos = 0_u64;
    for digit in whole.bytes() {
        nanos = nanos.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|&v| v <= 1 << 63)?;
    }
    nanos = nanos.checked_mul(scale).filter(|&v| v <= 1 << 63)?;
    let (mut value, mut divisor) = (0_u64, 1.0_f64);
    for digit in fraction.bytes() {
        // Digits beyond 63 bits are too small to matter.
        if value > (i64::MAX as u64) / 10 {
            break;
        }
        value = value * 10 + u64::from(digit - b'0');
        divisor *= 10.0;
    }
    if value > 0 {
        nanos += (value as f64 * (scale as f64 / divisor)) as u64;
    }
    (nanos <= 1 << 63).then_some(nanos)
}

/// Why a text is not a byte size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BytesError {
    #[error("strconv.ParseFloat: parsing {}: {error}", loki_core::labels::quote(.number))]
    Number { number: Box<str>, error: NumberError },
    #[error("unhandled size name: {0}")]
    Unit(Box<str>),
    #[error("too large: {0}")]
    TooLarge(Box<str>),
}

/// Reads a byte size such as `5KiB`, `1.5 mb` or `1,024`; fractions of a byte are dropped.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, BytesError> {
    let number_end = text.find(|c: char| !(c.is_numeric() || c == '.' || c == ',')).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let without_commas;
    let number = if number.contains(',') {
        without_commas = number.replace(',', "");
        without_commas.as_str()
    } else {
        number
    };
    let value = parse_float(number).map_err(|error| BytesError::Number { number: number.into(), error })?;
    let unit = unit.trim().to_lowercase();
    let scale: u64 = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "p" | "pb" => 1_000_000_000_000_000,
        "e" | "eb" => 1_000_000_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        "pi" | "pib" => 1 << 50,
        "ei" | "eib" => 1 << 60,
        _ => return Err(BytesError::Unit(unit.into())),
    };
    let bytes = value * scale as f64;
    if bytes >= u64::MAX as f64 {
        return Err(BytesError::TooLarge(text.into()));
    }
    Ok(bytes as u64)
}
