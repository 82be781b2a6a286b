//! Bounds-checked reading and plain writing of the integers all our formats are made of.
#![doc = include_str!("format/numbers.md")]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Corruption, Error};

/// The most bytes a varint of 64 bits takes.
pub const MAX_VARINT_LEN: usize = 10;

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the length of `bytes` as a varint, then `bytes`.
pub fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes [`put_varint`] appends for `value`.
pub const fn varint_len(value: u64) -> usize {
    // `| 1` makes zero one bit long; the quotient is at most 10.
    (70_u32.saturating_sub((value | 1).leading_zeros()) / 7) as usize
}

/// Maps small magnitudes of either sign to small unsigned numbers.
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ (value & 1).wrapping_neg() as i64
}

/// The CRC-32 (IEEE) of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// A cursor over bytes from outside: it never reads past the end and never panics.
///
/// `what` names the structure in the errors it returns, `base` is added to the offsets they report.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    consumed: u64,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, consumed: 0, what }
    }

    /// A cursor at the start of `bytes`, which themselves begin at `base` of something larger.
    pub const fn with_base(what: &'static str, bytes: &'a [u8], base: u64) -> Self {
        Self { rest: bytes, consumed: base, what }
    }

    /// The offset of the next byte.
    pub const fn offset(&self) -> u64 {
        self.consumed
    }

    /// The bytes not yet read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error that says `source` is wrong with the bytes at the cursor.
    pub const fn corrupt(&self, source: Corruption) -> Error {
        Error::corrupt(self.what, self.consumed, source)
    }

    /// The error that says `field` cannot be `found`.
    pub const fn invalid(&self, field: &'static str, found: u64) -> Error {
        self.corrupt(Corruption::Value { field, found })
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.corrupt(Corruption::Truncated { needed: len as u64, available: self.rest.len() as u64 }));
        };
        self.rest = rest;
        self.consumed = self.consumed.saturating_add(len as u64);
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.corrupt(Corruption::Truncated { needed: N as u64, available: self.rest.len() as u64 }));
        };
        self.rest = rest;
        self.consumed = self.consumed.saturating_add(N as u64);
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_le_bytes)
    }

    /// The next varint, in its shortest form only.
    pub fn varint(&mut self) -> Result<u64, Error> {
        // Most varints are lengths of short strings.
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            self.consumed = self.consumed.saturating_add(1);
            return Ok(u64::from(first));
        }
        self.long_varint()
    }

    /// The next varint, which must fit 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Error> {
        let start = self.clone();
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| start.invalid("varint", value))
    }

    /// A varint length and that many bytes.
    pub fn prefixed(&mut self) -> Result<&'a [u8], Error> {
        let len = self.varint()?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.bytes(len)
    }

    /// A varint length and that many bytes of UTF-8.
    pub fn prefixed_str(&mut self) -> Result<&'a str, Error> {
        let start = self.clone();
        let bytes = self.prefixed()?;
        std::str::from_utf8(bytes).map_err(|e| start.invalid("first byte that is not UTF-8", e.valid_up_to() as u64))
    }

    /// Fails unless everything was read.
    pub fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.invalid("number of excess bytes", self.rest.len() as u64)) }
    }

    fn long_varint(&mut self) -> Result<u64, Error> {
        let start = self.clone();
        let mut value = 0_u64;
        for shift in (0..70_u32).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(start.invalid("varint beyond 64 bits, last byte", u64::from(byte)));
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 {
                    return Err(start.invalid("overlong varint", value));
                }
                return Ok(value);
            }
        }
        Err(start.invalid("varint beyond 64 bits, so far", value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip_in_the_announced_length(value: u64, shift in 0_u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            let mut reader = Reader::new("test", &bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn zigzag_round_trips(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new("test", &bytes);
            while !reader.is_empty() && reader.prefixed_str().is_ok() {}
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert!(Reader::new("test", &[0x80, 0x00]).varint().is_err());
        assert!(Reader::new("test", &[0xff; 11]).varint().is_err());
        let mut max = vec![0xff; 9];
        max.push(1);
        assert_eq!(Reader::new("test", &max).varint(), Ok(u64::MAX));
        *max.last_mut().unwrap() = 2;
        assert!(Reader::new("test", &max).varint().is_err());
    }

    #[test]
    fn a_length_beyond_the_end_is_an_error_not_an_allocation() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        let error = Reader::new("test", &bytes).prefixed();
        assert!(matches!(error, Err(Error::Corrupt { source: Corruption::Truncated { available: 0, .. }, .. })));
    }
}
