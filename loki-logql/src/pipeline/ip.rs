//! Sets of IP addresses, and finding addresses in text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memchr2;

/// Fewer bytes than this before the end of a text are not looked at as an IPv4 address.
const MIN_V4_LEN: usize = 4;

/// Fewer bytes than this before the end of a text are not looked at as an IPv6 address, so `::1` alone is not found.
const MIN_V6_LEN: usize = 5;

/// The most bytes in front of the first point or colon of an address.
const MAX_LEAD_LEN: usize = 4;

/// The longest run of bytes worth parsing: a full IPv6 address that ends in a dotted IPv4 one.
const MAX_ADDRESS_LEN: usize = 45;

/// The addresses of a pattern: one address, a CIDR block, or `low-high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpSet {
    /// From the first to the last, both included.
    V4(Ipv4Addr, Ipv4Addr),
    /// From the first to the last, both included.
    V6(Ipv6Addr, Ipv6Addr),
}

impl IpSet {
    /// Reads a pattern; `None` when it is not valid.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        if let Some((low, high)) = pattern.split_once('-') {
            return Self::between(low.trim().parse().ok()?, high.trim().parse().ok()?);
        }
        if let Some((address, bits)) = pattern.split_once('/') {
            return Self::block(address.parse().ok()?, bits);
        }
        let address = pattern.parse().ok()?;
        Self::between(address, address)
    }

    fn between(low: IpAddr, high: IpAddr) -> Option<Self> {
        match (low, high) {
            (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => Some(Self::V4(low, high)),
            (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => Some(Self::V6(low, high)),
            _ => None,
        }
    }

    /// The block of an address and a prefix length; bits of the address behind the prefix are ignored.
    fn block(address: IpAddr, bits: &str) -> Option<Self> {
        if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let bits: u32 = bits.parse().ok()?;
        match address {
            IpAddr::V4(address) => {
                let hosts = u32::MAX.checked_shr(bits).unwrap_or(0);
                let low = address.to_bits() & !hosts;
                (bits <= Ipv4Addr::BITS).then(|| Self::V4(low.into(), (low | hosts).into()))
            }
            IpAddr::V6(address) => {
                let hosts = u128::MAX.checked_shr(bits).unwrap_or(0);
                let low = address.to_bits() & !hosts;
                (bits <= Ipv6Addr::BITS).then(|| Self::V6(low.into(), (low | hosts).into()))
            }
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(low, high), IpAddr::V4(address)) => *low <= address && address <= *high,
            (Self::V6(low, high), IpAddr::V6(address)) => *low <= address && address <= *high,
            _ => false,
        }
    }

    /// Whether some address in `text` belongs to the set.
    ///
    /// A run of address characters must be an address as a whole: `10.0.0.5:80` is one, `10.0.0.5.` is none.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let mut at = 0;
        while let Some(mark) = memchr2(b'.', b':', &text[at..]) {
            // Whatever begins an address has a point or colon close behind it.
            let mark = at + mark;
            let start = (mark.saturating_sub(MAX_LEAD_LEN).max(at)..=mark).find_map(|start| {
                let run = run_len(&text[start..])?;
                Some((start, run))
            });
            let Some((start, run)) = start else {
                at = mark + 1;
                continue;
            };
            at = start + run;
            if parse_run(&text[start..at]).is_some_and(|address| self.contains(address)) {
                return true;
            }
        }
        false
    }
}

/// A digit with a point within the next three bytes.
fn begins_v4(rest: &[u8]) -> bool {
    rest.len() >= MIN_V4_LEN && rest[0].is_ascii_digit() && rest[1..MIN_V4_LEN].contains(&b'.')
}

/// Up to four hexadecimal digits and a colon, or two colons and a hexadecimal digit.
fn begins_v6(rest: &[u8]) -> bool {
    if rest.len() < MIN_V6_LEN {
        return false;
    }
    if rest.starts_with(b"::") {
        return rest[2].is_ascii_hexdigit();
    }
    let digits = rest[..MIN_V6_LEN].iter().take_while(|b| b.is_ascii_hexdigit()).count();
    (1..=4).contains(&digits) && rest[digits] == b':'
}

/// The length of the run of address characters at the beginning of `rest`, if an address may begin there.
fn run_len(rest: &[u8]) -> Option<usize> {
    if begins_v4(rest) {
        Some(rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count())
    } else if begins_v6(rest) {
        Some(rest.iter().take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count())
    } else {
        None
    }
}

fn parse_run(run: &[u8]) -> Option<IpAddr> {
    if run.len() > MAX_ADDRESS_LEN {
        return None;
    }
    std::str::from_utf8(run).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> bool {
        IpSet::parse(pattern).expect("a valid pattern").is_in(text.as_bytes())
    }

    #[test]
    fn patterns_are_addresses_blocks_and_ranges() {
        for valid in ["10.0.0.1", "192.168.4.5/16", "10.0.0.1-10.0.0.5", "::1", "2001:DB8::/32", "0.0.0.0/0", "::/128"]
        {
            assert!(IpSet::parse(valid).is_some(), "{valid}");
        }
        for invalid in [
            "",
            "x",
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "010.0.0.1",
            "8.8.8",
            "10.0.0.5-10.0.0.1",
            "10.0.0.1-2001:db8::1",
            "::/129",
        ] {
            assert_eq!(IpSet::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn addresses_are_found_in_text() {
        assert!(found("10.0.0.0/8", "from 10.0.0.5:80 to"));
        assert!(found("192.168.4.1-192.168.4.20", "x=192.168.4.20"));
        assert!(found("2001:db8::/32", "src=2001:db8::1 dst"));
        assert!(found("::ffff:10.0.0.1", "src=::ffff:10.0.0.1"));
        assert!(found("0.0.0.0/0", "1.2.3.4"));
        assert!(!found("10.0.0.0/8", "11.0.0.1"));
    }

    #[test]
    fn a_run_must_be_an_address_as_a_whole() {
        assert!(!found("10.0.0.5", "it was 10.0.0.5."));
        assert!(!found("10.0.0.5", "10.0.0.5.6"));
        assert!(!found("10.0.0.5", "::ffff:10.0.0.5"));
    }

    #[test]
    fn too_short_a_text_is_not_examined() {
        assert!(!found("::1", "::1"));
        assert!(found("::1", "a ::1 b c"));
    }
}
