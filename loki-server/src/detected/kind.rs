//! What values look like.

use loki_logql::duration::parse_go;

/// The kinds of values, tested in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// `42`
    Int,
    /// `4.2`
    Float,
    /// `true`
    Boolean,
    /// `4m20s`
    Duration,
    /// `42kB`
    Bytes,
    /// Anything.
    #[default]
    String,
}

impl FieldKind {
    /// The kind of a value.
    pub(crate) fn of(value: &str) -> Self {
        if is_int(value) {
            Self::Int
        } else if is_float(value) {
            Self::Float
        } else if is_boolean(value) {
            Self::Boolean
        } else if parse_go(value).is_some() {
            Self::Duration
        } else if parse_bytes(value).is_some() {
            Self::Bytes
        } else {
            Self::String
        }
    }

    /// Loki's name of the kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }
}

fn is_int(value: &str) -> bool {
    value.parse::<i64>().is_ok()
}

/// Whether it is a number, be it whole or not.
pub(crate) fn is_float(value: &str) -> bool {
    value.parse::<f64>().is_ok_and(|number| number.is_finite() || !value.bytes().any(|byte| byte.is_ascii_digit()))
}

fn is_boolean(value: &str) -> bool {
    matches!(value, "t" | "T" | "TRUE" | "true" | "True" | "f" | "F" | "FALSE" | "false" | "False")
}

/// A number of bytes as people write it: `42`, `1.5kB`, `1,024 KiB`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 13] = [
        ("", 1.0),
        ("b", 1.0),
        ("k", 1e3),
        ("m", 1e6),
        ("g", 1e9),
        ("t", 1e12),
        ("p", 1e15),
        ("e", 1e18),
        ("ki", 1024.0),
        ("mi", 1_048_576.0),
        ("gi", 1_073_741_824.0),
        ("ti", 1_099_511_627_776.0),
        ("pi", 1_125_899_906_842_624.0),
    ];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace(',', "").parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let short = if unit.len() > 1 { unit.strip_suffix('b').unwrap_or(&unit) } else { &unit };
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == short)?;
    let bytes = number * factor;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kind_that_fits_is_taken() {
        let kinds = [
            ("1", "int"),
            ("-7", "int"),
            ("12345678901234567890", "float"),
            ("892500e0", "float"),
            ("NaN", "float"),
            ("1e999", "string"),
            ("True", "boolean"),
            ("yes", "string"),
            ("4m20s", "duration"),
            ("5m", "duration"),
            ("3218B", "bytes"),
            ("1.5 kB", "bytes"),
            ("2GiB", "bytes"),
            ("5kg", "string"),
            ("", "string"),
            ("kB", "string"),
        ];
        for (value, kind) in kinds {
            assert_eq!(FieldKind::of(value).name(), kind, "{value}");
        }
    }

    #[test]
    fn sizes_count_in_thousands_unless_they_have_an_i() {
        assert_eq!(parse_bytes("1.5kB"), Some(1500));
        assert_eq!(parse_bytes("1,024"), Some(1024));
        assert_eq!(parse_bytes("1 KiB"), Some(1024));
        assert_eq!(parse_bytes("99999EB"), None);
        assert_eq!(parse_bytes(""), None);
    }
}
