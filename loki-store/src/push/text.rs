//! Times and sizes as Go prints them.

use std::fmt;

use loki_core::Timestamp;

/// A moment as RFC 3339 with whole seconds.
pub(super) struct Rfc3339(pub(super) Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", civil(self.0).strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// A moment as Go prints times by default.
pub(super) struct GoTime(pub(super) Timestamp);

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} +0000 UTC", civil(self.0).strftime("%Y-%m-%d %H:%M:%S%.f"))
    }
}

/// A moment as seconds with up to three decimals.
pub(super) struct SchemaTime(pub(super) Timestamp);

impl fmt::Display for SchemaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_nanos() / 1_000_000;
        write!(f, "{}", millis as f64 / 1e3)
    }
}

/// A number of bytes in the largest unit that divides it.
pub(super) struct ByteSize(pub(super) u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KB", "MB", "GB", "TB"];
        let mut size = self.0;
        let mut unit = 0;
        while size > 0 && size.is_multiple_of(1024) && unit + 1 < units.len() {
            size /= 1024;
            unit += 1;
        }
        write!(f, "{size}{}", units[unit])
    }
}

fn civil(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_go() {
        let at = Timestamp::from_nanos(1_741_600_800_500_000_000);
        assert_eq!(Rfc3339(at).to_string(), "2025-03-10T10:00:00Z");
        assert_eq!(GoTime(at).to_string(), "2025-03-10 10:00:00.5 +0000 UTC");
        assert_eq!(GoTime(Timestamp::from_seconds(0)).to_string(), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(Rfc3339(Timestamp::MIN).to_string(), "1677-09-21T00:12:43Z");
    }

    #[test]
    fn schema_times_have_the_decimals_they_need() {
        let text = |nanos| SchemaTime(Timestamp::from_nanos(nanos)).to_string();
        assert_eq!(text(0), "0");
        assert_eq!(text(1_741_600_800), "1.741");
        assert_eq!(text(1_741_600_800_000), "1741.6");
        assert_eq!(text(-6_795_364_578_871_345_152), "-6795364578.871");
    }

    #[test]
    fn sizes_use_the_largest_unit_that_divides_them() {
        assert_eq!(ByteSize(3 << 20).to_string(), "3MB");
        assert_eq!(ByteSize(1536 << 10).to_string(), "1536KB");
        assert_eq!(ByteSize(1025).to_string(), "1025B");
        assert_eq!(ByteSize(0).to_string(), "0B");
    }
}
