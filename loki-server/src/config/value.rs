//! Scalars of the configuration: durations, sizes, booleans, lists, times, and how they are written back.

use loki_logql::duration;

use crate::config::schema::Kind;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Units of sizes: powers of 1024 whether they are spelled `KB` or `KiB`.
const SIZE_UNITS: [(&str, u64); 6] =
    [("EB", 1 << 60), ("PB", 1 << 50), ("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];

/// A scalar in a form in which equal settings are equal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    /// Text.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// Bytes.
    Size(u64),
    /// Nanoseconds since the epoch; 0 for none.
    Time(i64),
}

/// Reads a scalar of a kind; `None` when the text is not one.
pub(crate) fn scalar(kind: Kind, text: &str) -> Option<Scalar> {
    match kind {
        Kind::Bool => bool(text).map(Scalar::Bool),
        Kind::Int => int(text).map(Scalar::Int),
        Kind::Float => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Scalar::Float),
        Kind::Duration => duration(text).map(Scalar::Duration),
        Kind::Size => size(text).map(Scalar::Size),
        Kind::Time => time(text).map(Scalar::Time),
        Kind::Text | Kind::Secret => Some(Scalar::Text(text.to_owned())),
        Kind::List | Kind::Any | Kind::Block | Kind::BlockList => None,
    }
}

/// The default of a list as `keys.txt` writes it: `[a,b]`.
pub(crate) fn default_list(text: &str) -> Vec<String> {
    comma_list(text.trim_start_matches('[').trim_end_matches(']'))
}

/// The items of a comma separated list; blank ones are left out.
pub(crate) fn comma_list(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

/// A boolean as YAML or as a flag spells it.
pub(crate) fn bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "t" | "1" => Some(true),
        "false" | "no" | "off" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number, or a size with a unit, which Loki takes for most of its numbers of bytes.
pub(crate) fn int(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| size(text).and_then(|bytes| i64::try_from(bytes).ok()))
}

/// A length of time in nanoseconds, in Go's form (`1.5h`, `-1s`) or in Prometheus' (`30d1h`); 0 needs no unit.
pub(crate) fn duration(text: &str) -> Option<i64> {
    duration::parse_go(text).or_else(|| duration::parse_prometheus(text).ok())
}

/// A number of bytes: digits, or digits with a unit in either case, powers of 1024.
pub(crate) fn size(text: &str) -> Option<u64> {
    let upper = text.trim().to_ascii_uppercase().replace("IB", "B");
    let (number, unit) = match SIZE_UNITS.iter().find_map(|(name, unit)| upper.strip_suffix(name).map(|n| (n, *unit))) {
        Some(found) => found,
        None => (upper.strip_suffix('B').unwrap_or(&upper), 1),
    };
    let number = number.trim_end();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number * unit as f64) as u64)
}

/// A moment in RFC 3339 as nanoseconds since the epoch; 0 and nothing mean none.
pub(crate) fn time(text: &str) -> Option<i64> {
    if text.is_empty() || text == "0" {
        return Some(0);
    }
    let moment: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(moment.as_nanosecond()).ok()
}

/// A duration as Prometheus writes it (`30d1h`, `1m`, `0s`), or as Go does when it has less than milliseconds.
pub(crate) fn write_duration(nanos: i64) -> String {
    if nanos % NANOS_PER_MILLI == 0 { duration::format_prometheus(nanos) } else { duration::format_go(nanos) }
}

/// A size in the largest unit that divides it: `256KB`, `0B`.
pub(crate) fn write_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn durations_of_both_kinds_are_read() {
        let cases = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("15s", Some(15 * SECOND)),
            ("1h30m", Some(5400 * SECOND)),
            ("1.5h", Some(5400 * SECOND)),
            (".5s", Some(SECOND / 2)),
            ("30d1h", Some(721 * 3600 * SECOND)),
            ("1w", Some(168 * 3600 * SECOND)),
            ("1y", Some(31_536_000 * SECOND)),
            ("100ms", Some(100_000_000)),
            ("7us", Some(7_000)),
            ("7µs", Some(7_000)),
            ("-1s", Some(-SECOND)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1 h", None),
            ("1d1.5h", None),
            ("1x", None),
            ("99999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_prometheus_does() {
        let cases = [
            (0, "0s"),
            (SECOND, "1s"),
            (90 * SECOND, "1m30s"),
            (721 * 3600 * SECOND, "30d1h"),
            (168 * 3600 * SECOND, "1w"),
            (169 * 3600 * SECOND, "7d1h"),
            (744 * 3600 * SECOND, "31d"),
            (31_536_000 * SECOND, "1y"),
            (100_000_000, "100ms"),
            (-SECOND, "-1s"),
            (1_500, "1.5µs"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(write_duration(nanos), expected);
            assert_eq!(duration(expected), Some(nanos), "{expected}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let cases = [
            ("0", Some(0)),
            ("0B", Some(0)),
            ("1024", Some(1024)),
            ("256KB", Some(256 << 10)),
            ("256kb", Some(256 << 10)),
            ("3MiB", Some(3 << 20)),
            ("1.5 GB", Some(3 << 29)),
            ("-1", None),
            ("KB", None),
            ("12XB", None),
            ("99999999999EB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), expected, "{text}");
        }
        for (bytes, expected) in [(0, "0B"), (1536 << 10, "1536KB"), (1 << 30, "1GB"), (1000, "1000B")] {
            assert_eq!(write_size(bytes), expected);
        }
    }

    #[test]
    fn numbers_of_bytes_may_have_units() {
        assert_eq!(int("104857600"), Some(104_857_600));
        assert_eq!(int("100MB"), Some(104_857_600));
        assert_eq!(int("-1"), Some(-1));
        assert_eq!(int("1.5x"), None);
    }

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Some(SECOND));
        assert_eq!(time("0"), Some(0));
        assert_eq!(time("tomorrow"), None);
    }
}
