//! Reading Loki's `PushRequest` in place.
//!
//! A request is walked once; what it holds is handed out as [`Span`]s of the body, never copied. Unknown fields are
//! skipped. The texts of errors are those of Loki's own decoder, because clients get to see them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use loki_core::Timestamp;

use super::staged::Span;

/// What Go's zero time is in nanoseconds since the epoch, after its conversion overflowed: the time of an entry that
/// names none.
pub const MISSING_TIMESTAMP: Timestamp = Timestamp(-6_795_364_578_871_345_152);

/// The first second of the year 1.
const MIN_SECONDS: i64 = -62_135_596_800;
/// The first second of the year 10000.
const END_SECONDS: i64 = 253_402_300_800;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Groups inside groups that are skipped before a body counts as hostile.
const MAX_GROUP_DEPTH: u32 = 64;

/// Entries in one request.
const MAX_ENTRIES: usize = 4 * 1024 * 1024;

/// Pairs of structured metadata in one request.
const MAX_PAIRS: usize = 16 * 1024 * 1024;

/// An entry as it stands in the body.
#[derive(Clone, Debug)]
pub(super) struct RawEntry {
    pub(super) timestamp: Timestamp,
    pub(super) line: Span,
    /// Where its structured metadata stands in [`RawStreams::pairs`].
    pub(super) pairs: Span,
}

/// A stream as it stands in the body.
#[derive(Clone, Debug)]
pub(super) struct RawStream {
    pub(super) labels: Span,
    /// Where its entries stand in [`RawStreams::entries`].
    pub(super) entries: Span,
}

/// A decoded request.
#[derive(Debug, Default)]
pub(super) struct RawStreams {
    pub(super) streams: Vec<RawStream>,
    pub(super) entries: Vec<RawEntry>,
    pub(super) pairs: Vec<(Span, Span)>,
}

impl RawStreams {
    /// Replaces the content by that of `body`, which must be shorter than 4 GiB.
    pub(super) fn decode(&mut self, body: &[u8]) -> Result<(), ProtobufError> {
        self.streams.clear();
        self.entries.clear();
        self.pairs.clear();
        let mut request = Message::new("PushRequest", body);
        while let Some((number, value)) = request.next_field()? {
            match number {
                1 => {
                    let stream = request.nested(&value, "StreamAdapter", "Streams")?;
                    self.stream(stream)?;
                }
                2 => _ = request.span(&value, "Format")?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The memory held for later.
    pub(super) fn capacity_bytes(&self) -> usize {
        let entries = self.entries.capacity().saturating_mul(size_of::<RawEntry>());
        let pairs = self.pairs.capacity().saturating_mul(size_of::<(Span, Span)>());
        entries.saturating_add(pairs)
    }

    fn stream(&mut self, mut message: Message<'_>) -> Result<(), ProtobufError> {
        let first_entry = self.entries.len();
        let mut labels = Span::EMPTY;
        while let Some((number, value)) = message.next_field()? {
            match number {
                1 => labels = message.span(&value, "Labels")?,
                2 => {
                    let entry = message.nested(&value, "EntryAdapter", "Entries")?;
                    self.entry(entry)?;
                }
                3 => _ = value.integer("Hash")?,
                _ => {}
            }
        }
        self.streams.push(RawStream { labels, entries: Span::between(first_entry, self.entries.len()) });
        Ok(())
    }

    fn entry(&mut self, mut message: Message<'_>) -> Result<(), ProtobufError> {
        let first_pair = self.pairs.len();
        let mut timestamp = MISSING_TIMESTAMP;
        let mut line = Span::EMPTY;
        while let Some((number, value)) = message.next_field()? {
            match number {
                1 => {
                    let message = message.nested(&value, "Timestamp", "Timestamp")?;
                    timestamp = read_timestamp(message)?;
                }
                2 => line = message.span(&value, "Line")?,
                3 => {
                    let pair = message.nested(&value, "LabelPairAdapter", "StructuredMetadata")?;
                    self.pairs.push(read_pair(pair)?);
                }
                4 => _ = message.span(&value, "Parsed")?,
                _ => {}
            }
        }
        if self.entries.len() >= MAX_ENTRIES || self.pairs.len() > MAX_PAIRS {
            return Err(ProtobufError::TooMany);
        }
        self.entries.push(RawEntry { timestamp, line, pairs: Span::between(first_pair, self.pairs.len()) });
        Ok(())
    }
}

fn read_pair(mut message: Message<'_>) -> Result<(Span, Span), ProtobufError> {
    let mut name = Span::EMPTY;
    let mut pair_value = Span::EMPTY;
    while let Some((number, value)) = message.next_field()? {
        match number {
            1 => name = message.span(&value, "Name")?,
            2 => pair_value = message.span(&value, "Value")?,
            _ => {}
        }
    }
    Ok((name, pair_value))
}

fn read_timestamp(mut message: Message<'_>) -> Result<Timestamp, ProtobufError> {
    let mut seconds = 0;
    let mut nanos = 0;
    while let Some((number, value)) = message.next_field()? {
        match number {
            1 => seconds = value.integer("Seconds")? as i64,
            2 => nanos = value.integer("Nanos")? as i32,
            _ => {}
        }
    }
    if !(MIN_SECONDS..END_SECONDS).contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&i64::from(nanos)) {
        return Err(ProtobufError::Timestamp { seconds, nanos });
    }
    let total = seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(i64::from(nanos));
    // The last nanosecond of all has no place in any half-open range.
    Ok(Timestamp(total.min(i64::MAX - 1)))
}

/// A cursor over the fields of one message.
struct Message<'a> {
    rest: &'a [u8],
    /// Where `rest` ends in the body.
    end: usize,
    name: &'static str,
}

/// The value of a field.
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Group,
    Fixed32,
}

impl<'a> Value<'a> {
    #[inline]
    const fn bytes(&self, field: &'static str) -> Result<&'a [u8], ProtobufError> {
        match *self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::FieldWireType { wire_type: self.wire_type(), field }),
        }
    }

    #[inline]
    const fn integer(&self, field: &'static str) -> Result<u64, ProtobufError> {
        match *self {
            Self::Varint(number) => Ok(number),
            _ => Err(ProtobufError::FieldWireType { wire_type: self.wire_type(), field }),
        }
    }

    const fn wire_type(&self) -> u32 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64 => 1,
            Self::Bytes(_) => 2,
            Self::Group => 3,
            Self::Fixed32 => 5,
        }
    }
}

impl<'a> Message<'a> {
    const fn new(name: &'static str, body: &'a [u8]) -> Self {
        Self { rest: body, end: body.len(), name }
    }

    /// The next field; groups are skipped as a whole.
    #[inline]
    fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, ProtobufError> {
        // Nearly all fields have a number below 16 and hold bytes or an integer.
        if let [tag @ 0x08..0x80, ref rest @ ..] = *self.rest {
            let number = u32::from(tag >> 3);
            match tag & 7 {
                2 => {
                    self.rest = rest;
                    return Ok(Some((number, Value::Bytes(self.prefixed()?))));
                }
                0 => {
                    self.rest = rest;
                    return Ok(Some((number, Value::Varint(self.varint()?))));
                }
                _ => {}
            }
        }
        self.next_field_of_any_kind()
    }

    #[cold]
    fn next_field_of_any_kind(&mut self) -> Result<Option<(u32, Value<'a>)>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire_type = (tag & 7) as u32;
        let number = (tag >> 3) as u32;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            2 => Value::Bytes(self.prefixed()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            3 => {
                self.skip_group()?;
                Value::Group
            }
            4 => return Err(ProtobufError::EndGroup { message: self.name }),
            wire_type => return Err(ProtobufError::WireType { wire_type }),
        };
        if number == 0 || number > i32::MAX as u32 {
            return Err(ProtobufError::Tag { message: self.name, number: number as i32, wire_type });
        }
        Ok(Some((number, value)))
    }

    /// The message that a field holds that was just read.
    #[inline]
    fn nested(&self, value: &Value<'a>, name: &'static str, field: &'static str) -> Result<Self, ProtobufError> {
        let rest = value.bytes(field)?;
        Ok(Self { rest, end: self.end.saturating_sub(self.rest.len()), name })
    }

    /// Where the bytes of a field stand that was just read.
    #[inline]
    fn span(&self, value: &Value<'a>, field: &'static str) -> Result<Span, ProtobufError> {
        let len = value.bytes(field)?.len();
        let end = self.end.saturating_sub(self.rest.len());
        Ok(Span::between(end.saturating_sub(len), end))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, ProtobufError> {
        // Seconds and nanoseconds take five bytes each.
        if let [first, second, third, fourth, fifth, ref rest @ ..] = *self.rest
            && first & second & third & fourth >= 0x80
            && fifth < 0x80
        {
            self.rest = rest;
            let low = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7 | u64::from(third & 0x7f) << 14;
            return Ok(low | u64::from(fourth & 0x7f) << 21 | u64::from(fifth) << 28);
        }
        let mut value = 0_u64;
        let mut shift = 0_u32;
        let mut rest = self.rest;
        while let [byte, ref tail @ ..] = *rest {
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            rest = tail;
            if byte < 0x80 {
                self.rest = rest;
                return Ok(value);
            }
            shift = shift.wrapping_add(7);
            if shift >= 64 {
                return Err(ProtobufError::Overflow);
            }
        }
        Err(ProtobufError::Truncated)
    }

    #[inline]
    fn prefixed(&mut self) -> Result<&'a [u8], ProtobufError> {
        let len = self.varint()?;
        if len > i64::MAX as u64 {
            return Err(ProtobufError::NegativeLength);
        }
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips to the end of the group that was just opened.
    fn skip_group(&mut self) -> Result<(), ProtobufError> {
        let mut depth = 1_u32;
        while depth > 0 {
            match (self.varint()? & 7) as u32 {
                0 => _ = self.varint()?,
                1 => _ = self.take(8)?,
                2 => _ = self.prefixed()?,
                3 => depth = depth.saturating_add(1),
                4 => depth = depth.saturating_sub(1),
                5 => _ = self.take(4)?,
                wire_type => return Err(ProtobufError::WireType { wire_type }),
            }
            if depth > MAX_GROUP_DEPTH {
                return Err(ProtobufError::Depth);
            }
        }
        Ok(())
    }
}

/// Why a body is not a `PushRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtobufError {
    /// It ends in the middle of something.
    Truncated,
    /// A number has more than 64 bits.
    Overflow,
    /// A length has its highest bit set.
    NegativeLength,
    /// Groups are nested too deeply.
    Depth,
    /// More entries or more structured metadata than one request may hold.
    TooMany,
    /// A known field has the wrong kind of value.
    FieldWireType {
        /// The kind found.
        wire_type: u32,
        /// The field.
        field: &'static str,
    },
    /// A kind of value that does not exist.
    WireType {
        /// The kind found.
        wire_type: u32,
    },
    /// A field number that does not exist.
    Tag {
        /// The message.
        message: &'static str,
        /// The number found.
        number: i32,
        /// The kind of value.
        wire_type: u32,
    },
    /// A group ends that was not opened.
    EndGroup {
        /// The message.
        message: &'static str,
    },
    /// A time before the year 1 or after 9999, or with a fraction that is none.
    Timestamp {
        /// Its seconds.
        seconds: i64,
        /// Its nanoseconds.
        nanos: i32,
    },
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("unexpected EOF"),
            Self::Overflow => f.write_str("proto: integer overflow"),
            Self::NegativeLength => f.write_str("proto: negative length found during unmarshaling"),
            Self::Depth => write!(f, "proto: groups nested more than {MAX_GROUP_DEPTH} deep"),
            Self::TooMany => write!(f, "proto: more than {MAX_ENTRIES} entries or {MAX_PAIRS} pairs of metadata"),
            Self::FieldWireType { wire_type, field } => {
                write!(f, "proto: wrong wireType = {wire_type} for field {field}")
            }
            Self::WireType { wire_type } => write!(f, "proto: illegal wireType {wire_type}"),
            Self::Tag { message, number, wire_type } => {
                write!(f, "proto: {message}: illegal tag {number} (wire type {wire_type})")
            }
            Self::EndGroup { message } => write!(f, "proto: {message}: wiretype end group for non-group"),
            Self::Timestamp { seconds, nanos } => {
                write!(f, "timestamp: seconds:{seconds} nanos:{nanos} is not a valid time")
            }
        }
    }
}

impl std::error::Error for ProtobufError {}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
