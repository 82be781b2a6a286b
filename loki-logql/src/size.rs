//! Byte sizes: `5KB`, `1.5MiB`, and the rounded form in which Loki prints them.

/// Units that a size in a query can have; petabytes and exabytes never arrive here, because the number scanner reads
/// their letters as exponents.
const UNITS: [(&str, u64); 13] = [
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
];

/// The bytes that a size in a query stands for; fractions of a byte are cut off.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let short = unit.strip_suffix("ib").map(|prefix| format!("{prefix}i"));
    let unit = short.unwrap_or(unit);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let bytes = number * *factor as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// `bytes` with two significant digits below ten units and whole units above: `5B`, `5.0kB`, `100MB`.
pub fn format(bytes: u64) -> String {
    const SUFFIXES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let exponent = bytes.ilog(1_000);
    let suffix = SUFFIXES[exponent as usize];
    let scaled = bytes as f64 / 1_000_f64.powi(exponent as i32);
    let rounded = (scaled * 10.0 + 0.5).floor() / 10.0;
    if rounded < 10.0 { format!("{rounded:.1}{suffix}") } else { format!("{rounded:.0}{suffix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count_in_thousands_unless_they_have_an_i() {
        assert_eq!(parse("5KB"), Some(5_000));
        assert_eq!(parse("5k"), Some(5_000));
        assert_eq!(parse("1.5MiB"), Some(1_572_864));
        assert_eq!(parse("2Gi"), Some(2 << 30));
        assert_eq!(parse("1.5B"), Some(1));
        assert_eq!(parse("5KM"), None);
        assert_eq!(parse("1.2.3B"), None);
        assert_eq!(parse("99999999999TB"), None);
    }

    #[test]
    fn sizes_are_rounded_when_printed() {
        let printed = [5, 10, 999, 1_000, 5_120, 9_950, 999_999, 1_572_864, 100_000_000, u64::MAX].map(format);
        assert_eq!(printed, ["5B", "10B", "999B", "1.0kB", "5.1kB", "10kB", "1000kB", "1.6MB", "100MB", "18EB"]);
    }
}
