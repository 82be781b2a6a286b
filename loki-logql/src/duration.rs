//! Durations: Prometheus' form (`1d12h`), which ranges demand, and Go's (`1h30m0s`), which the rest also takes.
//!
//! All durations are nanoseconds in an `i64`.

use std::fmt::Write as _;

use loki_core::labels::quote;

/// Why the text between `[` and `]` is no duration. `Display` is Prometheus' wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// `[]`
    #[error("empty duration string")]
    Empty,
    /// Not numbers with units, or units in the wrong order.
    #[error("not a valid duration string: {}", quote(.0))]
    Syntax(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", quote(.unit), quote(.text))]
    Unit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 292 years.
    #[error("duration out of range")]
    Overflow,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Prometheus' units from large to small.
const PROMETHEUS_UNITS: [(&str, u64); 7] =
    [("y", 365 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MILLISECOND)];

/// Go's units; micro is U+00B5 or U+03BC.
const GO_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", MICROSECOND),
    ("\u{b5}s", MICROSECOND),
    ("\u{3bc}s", MICROSECOND),
    ("ms", MILLISECOND),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
];

/// A duration in Prometheus' form, in nanoseconds: each unit at most once, from large to small.
pub fn parse_prometheus(text: &str) -> Result<i64, RangeError> {
    match text {
        "" => return Err(RangeError::Empty),
        "0" => return Ok(0),
        _ => {}
    }
    let syntax = || RangeError::Syntax(text.to_owned());
    let mut units = PROMETHEUS_UNITS.as_slice();
    let mut nanos = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = digits_length(rest);
        let number: u64 = rest[..digits].parse().map_err(|_| syntax())?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = &rest[..length];
        rest = &rest[length..];
        if unit.is_empty() {
            return Err(syntax());
        }
        if !PROMETHEUS_UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(RangeError::Unit { unit: unit.to_owned(), text: text.to_owned() });
        }
        let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(syntax)?;
        let product = number.checked_mul(units[place].1).ok_or(RangeError::Overflow)?;
        nanos = nanos.checked_add(product).ok_or(RangeError::Overflow)?;
        if i64::try_from(nanos).is_err() {
            return Err(RangeError::Overflow);
        }
        units = &units[place + 1..];
    }
    i64::try_from(nanos).map_err(|_| RangeError::Overflow)
}

/// A duration in Go's form, in nanoseconds, as `time.ParseDuration` reads it.
pub fn parse_go(text: &str) -> Option<i64> {
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_u64;
    while !rest.is_empty() {
        let whole = &rest[..digits_length(rest)];
        rest = &rest[whole.len()..];
        let mut fraction = "";
        if let Some(behind_point) = rest.strip_prefix('.') {
            fraction = &behind_point[..digits_length(behind_point)];
            rest = &behind_point[fraction.len()..];
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, factor) = GO_UNITS.iter().find(|(name, _)| *name == &rest[..length])?;
        rest = &rest[length..];
        nanos = nanos.checked_add(scaled(whole, fraction, *factor)?).filter(|&sum| sum <= 1 << 63)?;
    }
    if is_negative {
        // The most negative duration has no positive counterpart.
        Some((nanos as i64).wrapping_neg())
    } else {
        i64::try_from(nanos).ok()
    }
}

/// `whole.fraction` times `factor`, at most 2⁶³. The fraction goes through a float, as in Go.
fn scaled(whole: &str, fraction: &str, factor: u64) -> Option<u64> {
    let number: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut amount = number.checked_mul(factor).filter(|&amount| amount <= 1 << 63)?;
    let mut scale = 1_f64;
    let mut numerator = 0_u64;
    for digit in fraction.bytes() {
        let longer = numerator.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0')));
        match longer.filter(|&n| n <= 1 << 63) {
            Some(n) => numerator = n,
            None => break,
        }
        scale *= 10.0;
    }
    if numerator > 0 {
        amount = amount.checked_add((numerator as f64 * (factor as f64 / scale)) as u64)?;
    }
    Some(amount).filter(|&amount| amount <= 1 << 63)
}

fn digits_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// `nanos` as Go prints it: `1h30m0s`, `1.5s`, `500ms`, `0s`.
pub fn format_go(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, rest) = (nanos / SECOND, nanos % SECOND);
    match nanos {
        0 => "0s".to_owned(),
        1..MICROSECOND => format!("{sign}{nanos}ns"),
        MICROSECOND..MILLISECOND => format!("{sign}{}\u{b5}s", decimal(nanos, MICROSECOND)),
        MILLISECOND..SECOND => format!("{sign}{}ms", decimal(nanos, MILLISECOND)),
        _ => {
            let mut text = sign.to_owned();
            // Writing to a `String` cannot fail.
            if seconds >= 3_600 {
                let _ = write!(text, "{}h", seconds / 3_600);
            }
            if seconds >= 60 {
                let _ = write!(text, "{}m", seconds / 60 % 60);
            }
            let _ = write!(text, "{}s", decimal(seconds % 60 * SECOND + rest, SECOND));
            text
        }
    }
}

/// `nanos` as Prometheus prints it: `1h30m`, `1d12h`, `1w`; years and weeks only when nothing smaller is left, and
/// nothing below milliseconds.
pub fn format_prometheus(nanos: i64) -> String {
    let mut millis = nanos.unsigned_abs() / MILLISECOND;
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::from(if nanos < 0 { "-" } else { "" });
    for (unit, factor) in PROMETHEUS_UNITS {
        let factor = factor / MILLISECOND;
        let is_shown = millis.is_multiple_of(factor) || !matches!(unit, "y" | "w");
        if is_shown && millis >= factor {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}{unit}", millis / factor);
            millis %= factor;
        }
    }
    text
}

/// `nanos` in units of `unit`, a power of ten, without trailing zeros.
fn decimal(nanos: u64, unit: u64) -> String {
    let (whole, fraction) = (nanos / unit, nanos % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_form_takes_each_unit_once_from_large_to_small() {
        assert_eq!(parse_prometheus("1d12h"), Ok(36 * HOUR as i64));
        assert_eq!(parse_prometheus("1y2w3d4h5m6s7ms").map(format_prometheus).as_deref(), Ok("382d4h5m6s7ms"));
        let error = |text| parse_prometheus(text).unwrap_err().to_string();
        assert_eq!(error(""), "empty duration string");
        assert_eq!(error("30m1h"), "not a valid duration string: \"30m1h\"");
        assert_eq!(error("1m1m"), "not a valid duration string: \"1m1m\"");
        assert_eq!(error("1m30"), "not a valid duration string: \"1m30\"");
        assert_eq!(error("5 m"), "unknown unit \" m\" in duration \"5 m\"");
        assert_eq!(error("99999999999999999999s"), "not a valid duration string: \"99999999999999999999s\"");
    }

    #[test]
    fn prometheus_form_ends_at_292_years() {
        assert!(parse_prometheus("292y").is_ok());
        assert_eq!(parse_prometheus("293y"), Err(RangeError::Overflow));
        assert_eq!(parse_prometheus("9223372036s854ms"), Ok(9_223_372_036_854_000_000));
        assert_eq!(parse_prometheus("9223372036s855ms"), Err(RangeError::Overflow));
    }

    #[test]
    fn go_form_adds_up_fractions_and_repeats() {
        assert_eq!(parse_go("1.5h30m1h"), Some(3 * HOUR as i64));
        assert_eq!(parse_go("-.5s"), Some(-500_000_000));
        assert_eq!(parse_go("1\u{b5}s1\u{3bc}s1us"), Some(3_000));
        assert_eq!(parse_go("-0"), Some(0));
        assert_eq!(parse_go("-9223372036854775808ns"), Some(i64::MIN));
        for text in ["", "-", "5", ".s", "abc", "1d", "1h5", "9223372036854775808ns"] {
            assert_eq!(parse_go(text), None, "{text}");
        }
    }

    #[test]
    fn go_form_is_printed_like_go_does() {
        for text in ["0s", "1ns", "1.5\u{b5}s", "500ms", "1.5s", "1m30s", "24h0m0s", "-5m0s", "26h3m4.000000005s"] {
            assert_eq!(parse_go(text).map(format_go).as_deref(), Some(text));
        }
        assert_eq!(format_go(i64::MIN), "-2562047h47m16.854775808s");
    }

    #[test]
    fn prometheus_form_shows_weeks_and_years_only_when_exact() {
        let day = DAY as i64;
        let printed: Vec<_> = [7, 8, 365, 366].map(|days| format_prometheus(days * day)).into();
        assert_eq!(printed, ["1w", "8d", "1y", "366d"]);
        assert_eq!(format_prometheus(-90_000_000_000), "-1m30s");
        assert_eq!(format_prometheus(999_999), "0s");
    }
}
