//! Header, footer and trailer of a segment as bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use loki_core::encoding::{Reader, crc32, put_prefixed, put_varint};
use loki_core::{Corruption, Error, Timestamp};
use uuid::Uuid;

use super::{SegmentId, WriterId};
use crate::tenant::TenantId;

/// First and last bytes of a segment.
pub(crate) const MAGIC: [u8; 4] = *b"LSG1";
/// Readers refuse a newer major version.
pub(crate) const VERSION_MAJOR: u8 = 1;
/// Readers ignore what a newer minor version adds.
pub(crate) const VERSION_MINOR: u8 = 0;
/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 84;
/// Bytes of the trailer.
pub(crate) const TRAILER_LEN: usize = 16;
/// The largest footer a reader accepts.
pub(crate) const MAX_FOOTER_LEN: usize = 64 << 20;
/// Names of structured metadata listed per tenant; with more, a reader must assume that any name occurs.
pub(crate) const MAX_METADATA_NAMES: usize = 256;

/// Where the entries of a segment were logged before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WalPosition {
    /// Names the log folder, so that nodes that share a bucket do not drop each other's files.
    pub(crate) log: Uuid,
    /// Every record in files up to this number is in this segment or an earlier one of the same log.
    pub(crate) through: u64,
}

/// The first bytes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) id: SegmentId,
    pub(crate) writer: WriterId,
    pub(crate) sequence: u64,
    /// Nil and zero for a segment that came from no log.
    pub(crate) wal: WalPosition,
    /// When it was written, by the writer's clock; of a merged segment, when the youngest of those it replaces was.
    pub(crate) created: Timestamp,
    /// 0 as flushed; higher after merging.
    pub(crate) level: u8,
}

impl Header {
    /// Where the segment lies, relative to the store's prefix.
    pub(crate) fn object_path(&self) -> String {
        match self.level {
            0 => self.writer.segment_path(self.sequence),
            _ => self.id.merged_path(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION_MAJOR, VERSION_MINOR, self.level, 0]);
        out.extend_from_slice(self.id.0.as_bytes());
        out.extend_from_slice(self.writer.0.as_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(self.wal.log.as_bytes());
        out.extend_from_slice(&self.wal.through.to_le_bytes());
        out.extend_from_slice(&self.created.0.to_le_bytes());
        out.extend_from_slice(&crc32(&out).to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("segment header", bytes);
        let body = reader.bytes(HEADER_LEN.saturating_sub(4))?;
        check_crc("segment header", body, reader.u32()?)?;
        let mut reader = Reader::new("segment header", body);
        check_magic(&mut reader)?;
        check_version(&mut reader)?;
        let level = reader.u8()?;
        reader.u8()?;
        Ok(Self {
            level,
            id: SegmentId(Uuid::from_bytes(reader.array()?)),
            writer: WriterId(Uuid::from_bytes(reader.array()?)),
            sequence: reader.u64()?,
            wal: WalPosition { log: Uuid::from_bytes(reader.array()?), through: reader.u64()? },
            created: Timestamp(reader.i64()?),
        })
    }
}

/// What a section of a tenant holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum SectionKind {
    Filters,
    Index,
    Rollup,
    Chunks,
    Times,
    /// Only there if lines were recent when they were flushed.
    Patterns,
}

impl SectionKind {
    const ALL: [Self; 6] = [Self::Filters, Self::Index, Self::Rollup, Self::Chunks, Self::Times, Self::Patterns];

    const fn code(self) -> u8 {
        match self {
            Self::Filters => 1,
            Self::Index => 2,
            Self::Rollup => 3,
            Self::Chunks => 4,
            Self::Times => 5,
            Self::Patterns => 6,
        }
    }
}

/// What a segment holds of one tenant.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TenantEntry {
    pub(crate) tenant: TenantId,
    pub(crate) streams: u32,
    pub(crate) rows: u64,
    pub(crate) line_bytes: u64,
    pub(crate) metadata_bytes: u64,
    /// Times of the first and the last entry, both inclusive.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// Names that occur as structured metadata, sorted; `None` when there are more than [`MAX_METADATA_NAMES`].
    pub(crate) metadata_names: Option<Vec<String>>,
    /// Where the sections are; unknown kinds were skipped.
    pub(crate) sections: Vec<(SectionKind, Range<u64>)>,
}

impl TenantEntry {
    pub(crate) fn section(&self, kind: SectionKind) -> Option<Range<u64>> {
        let found = self.sections.iter().find(|(k, _)| *k == kind);
        found.map(|(_, range)| range.clone())
    }

    /// Whether some entry may carry structured metadata of this name.
    pub(crate) fn may_have_metadata(&self, name: &str) -> bool {
        self.metadata_names.as_ref().is_none_or(|names| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok())
    }

    /// Whether no entry carries structured metadata.
    pub(crate) fn no_metadata(&self) -> bool {
        self.metadata_names.as_ref().is_some_and(Vec::is_empty)
    }
}

/// The table of contents at the end of a segment.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Footer {
    /// Sorted by tenant.
    pub(crate) tenants: Vec<TenantEntry>,
}

impl Footer {
    /// Footer and trailer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.tenants.len() as u64);
        for tenant in &self.tenants {
            encode_tenant(&mut out, tenant);
        }
        let (len, crc) = (out.len() as u32, crc32(&out));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[VERSION_MAJOR, VERSION_MINOR, 0, 0]);
        out.extend_from_slice(&MAGIC);
        out
    }

    /// Where the footer of a segment of `size` bytes begins, read from the segment's last [`TRAILER_LEN`] bytes.
    pub(crate) fn locate(trailer: &[u8], size: u64) -> Result<Range<u64>, Error> {
        let base = size.saturating_sub(TRAILER_LEN as u64);
        let mut reader = Reader::with_base("segment trailer", trailer, base);
        let len = reader.u32()?;
        reader.u32()?;
        check_version(&mut reader)?;
        reader.u16()?;
        check_magic(&mut reader)?;
        let len = u64::from(len);
        if len > MAX_FOOTER_LEN as u64 || len.saturating_add(HEADER_LEN as u64) > base {
            return Err(reader.invalid("footer length", len));
        }
        Ok(base.saturating_sub(len)..base)
    }

    /// The footer, from its own bytes followed by the trailer. `chunks_end` bounds the offsets it may name.
    pub(crate) fn decode(bytes: &[u8], footer_start: u64) -> Result<Self, Error> {
        let what = "segment footer";
        let len = bytes.len().saturating_sub(TRAILER_LEN);
        let mut reader = Reader::with_base(what, bytes, footer_start);
        let body = reader.bytes(len)?;
        reader.u32()?;
        check_crc(what, body, reader.u32()?)?;
        let mut reader = Reader::with_base(what, body, footer_start);
        let count = reader.varint()?;
        // A tenant takes more than ten bytes, so the bytes at hand bound the allocation.
        if count > (body.len() / 10) as u64 {
            return Err(reader.invalid("number of tenants", count));
        }
        let mut tenants = Vec::with_capacity(count as usize);
        for _ in 0..count {
            tenants.push(decode_tenant(&mut reader, footer_start)?);
        }
        reader.finish()?;
        Ok(Self { tenants })
    }
}

fn encode_tenant(out: &mut Vec<u8>, tenant: &TenantEntry) {
    put_prefixed(out, tenant.tenant.as_str().as_bytes());
    put_varint(out, u64::from(tenant.streams));
    put_varint(out, tenant.rows);
    put_varint(out, tenant.line_bytes);
    put_varint(out, tenant.metadata_bytes);
    out.extend_from_slice(&tenant.first.0.to_le_bytes());
    out.extend_from_slice(&tenant.last.0.to_le_bytes());
    match &tenant.metadata_names {
        None => put_varint(out, 0),
        Some(names) => {
            put_varint(out, (names.len() as u64).saturating_add(1));
            for name in names {
                put_prefixed(out, name.as_bytes());
            }
        }
    }
    put_varint(out, tenant.sections.len() as u64);
    for (kind, range) in &tenant.sections {
        out.push(kind.code());
        put_varint(out, range.start);
        put_varint(out, range.end.saturating_sub(range.start));
    }
}

fn decode_tenant(reader: &mut Reader<'_>, footer_start: u64) -> Result<TenantEntry, Error> {
    let name = reader.prefixed_str()?;
    let tenant = TenantId::parse(name).map_err(|_| reader.invalid("tenant id of length", name.len() as u64))?;
    let streams = reader.varint32()?;
    let (rows, line_bytes, metadata_bytes) = (reader.varint()?, reader.varint()?, reader.varint()?);
    let (first, last) = (Timestamp(reader.i64()?), Timestamp(reader.i64()?));
    let metadata_names = match reader.varint()? {
        0 => None,
        n if n.saturating_sub(1) > MAX_METADATA_NAMES as u64 => {
            return Err(reader.invalid("number of metadata names", n.saturating_sub(1)));
        }
        n => {
            let names = (1..n).map(|_| reader.prefixed_str().map(str::to_owned));
            Some(names.collect::<Result<Vec<_>, _>>()?)
        }
    };
    let mut sections = Vec::new();
    for _ in 0..reader.varint()? {
        let code = reader.u8()?;
        let (start, len) = (reader.varint()?, reader.varint()?);
        let end = start.saturating_add(len);
        if end > footer_start {
            return Err(reader.invalid("end of section", end));
        }
        if let Some(kind) = SectionKind::ALL.into_iter().find(|k| k.code() == code) {
            sections.push((kind, start..end));
        }
    }
    Ok(TenantEntry { tenant, streams, rows, line_bytes, metadata_bytes, first, last, metadata_names, sections })
}

pub(crate) fn check_crc(what: &'static str, bytes: &[u8], expected: u32) -> Result<(), Error> {
    let found = crc32(bytes);
    if found == expected {
        return Ok(());
    }
    let damage = Corruption::Checksum { expected, found };
    Err(Error::corrupt(what, 0, damage))
}

fn check_magic(reader: &mut Reader<'_>) -> Result<(), Error> {
    let found = reader.array()?;
    if found == MAGIC {
        return Ok(());
    }
    Err(reader.corrupt(Corruption::Magic { found: u32::from_le_bytes(found) }))
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), Error> {
    let (major, _minor) = (reader.u8()?, reader.u8()?);
    if major == VERSION_MAJOR {
        return Ok(());
    }
    Err(reader.corrupt(Corruption::Version { found: u32::from(major), supported: u32::from(VERSION_MAJOR) }))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            id: SegmentId(Uuid::from_u128(1)),
            writer: WriterId(Uuid::from_u128(2)),
            sequence: 3,
            wal: WalPosition { log: Uuid::from_u128(4), through: 5 },
            created: Timestamp(6),
            level: 7,
        }
    }

    fn footer() -> Footer {
        let tenant = |name: &str, names: Option<Vec<String>>| TenantEntry {
            tenant: TenantId::parse(name).unwrap(),
            streams: 7,
            rows: 1000,
            line_bytes: 100_000,
            metadata_bytes: 12,
            first: Timestamp(-5),
            last: Timestamp(i64::MAX),
            metadata_names: names,
            sections: vec![(SectionKind::Filters, 84..90), (SectionKind::Index, 90..91)],
        };
        Footer { tenants: vec![tenant("a", None), tenant("b", Some(vec!["trace_id".into()]))] }
    }

    #[test]
    fn header_round_trips_in_its_fixed_length() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(Header::decode(&bytes), Ok(header()));
    }

    #[test]
    fn footer_round_trips_and_is_found_from_the_end() {
        let bytes = footer().encode();
        let start = 1000_u64;
        let size = start + bytes.len() as u64;
        let trailer = &bytes[bytes.len() - TRAILER_LEN..];
        let range = Footer::locate(trailer, size).unwrap();
        assert_eq!(range, start..size - TRAILER_LEN as u64);
        assert_eq!(Footer::decode(&bytes, start), Ok(footer()));
    }

    #[test]
    fn a_newer_major_version_is_refused() {
        let mut bytes = header().encode();
        bytes[4] = 2;
        let crc = crc32(&bytes[..HEADER_LEN - 4]).to_le_bytes();
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc);
        assert!(matches!(
            Header::decode(&bytes),
            Err(Error::Corrupt { source: Corruption::Version { found: 2, supported: 1 }, .. })
        ));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(position: prop::sample::Index, bit in 0..8) {
            let mut bytes = header().encode();
            let at = position.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Header::decode(&bytes).is_err());

            let mut bytes = footer().encode();
            let at = position.index(bytes.len() - TRAILER_LEN);
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Footer::decode(&bytes, 1000).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Header::decode(&bytes);
            let _ = Footer::decode(&bytes, 1000);
            let _ = Footer::locate(&bytes, 1000);
        }
    }
}
