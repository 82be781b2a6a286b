//! The bytes of log files: see the format above.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use loki_core::Timestamp;
use loki_core::encoding::Reader;

use super::WalError;
use crate::tenant::{MAX_TENANT_ID_BYTES, TenantId};

/// The longest record, without its prefix.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024 * 1024;

/// How a file begins.
const FILE_MAGIC: [u8; 4] = *b"LWAL";

/// How a record begins.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"\xA5LWR";

/// The version this code writes, and the newest it reads.
pub(super) const VERSION: u16 = 1;

/// The length of a file header.
pub(super) const FILE_HEADER_BYTES: usize = 24;

/// Marker, length and checksum of a record.
pub(super) const RECORD_PREFIX_BYTES: usize = 12;

/// What the name of this structure is in errors.
const WHAT: &str = "log record";

/// How the body of a record is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A snappy block with a `PushRequest` as a client sent it; what it leaves out is derived again.
    Snappy = 1,
    /// An lz4 block with a `PushRequest` in its stored form.
    Final = 2,
    /// An lz4 block with a `PushRequest` as a client sent it; what it leaves out is derived again.
    Plain = 3,
}

impl RecordKind {
    const fn from_u8(kind: u8) -> Option<Self> {
        match kind {
            1 => Some(Self::Snappy),
            2 => Some(Self::Final),
            3 => Some(Self::Plain),
            _ => None,
        }
    }
}

/// A push to be logged.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// How to read the body.
    pub kind: RecordKind,
    /// Who sent it.
    pub tenant: &'a TenantId,
    /// When it arrived.
    pub arrival: Timestamp,
    /// What was sent.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Everything that comes before the body.
    pub(super) fn head(&self, salt: u32) -> Result<Vec<u8>, WalError> {
        let tenant = self.tenant.as_str().as_bytes();
        let mut fields = Vec::with_capacity(MAX_TENANT_ID_BYTES);
        fields.push(self.kind as u8);
        fields.push(tenant.len() as u8);
        fields.extend_from_slice(tenant);
        fields.extend_from_slice(&self.arrival.as_nanos().to_le_bytes());
        let len = fields.len().saturating_add(self.body.len());
        if len > MAX_RECORD_BYTES {
            return Err(WalError::TooLarge { bytes: len as u64 });
        }
        let mut head = Vec::with_capacity(fields.len().saturating_add(RECORD_PREFIX_BYTES));
        head.extend_from_slice(&RECORD_MAGIC);
        head.extend_from_slice(&(len as u32).to_le_bytes());
        head.extend_from_slice(&checksum(salt, len as u32, [&fields, self.body]).to_le_bytes());
        head.extend_from_slice(&fields);
        Ok(head)
    }
}

fn checksum<const N: usize>(salt: u32, len: u32, parts: [&[u8]; N]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&len.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// A record as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredRecord {
    pub(super) kind: RecordKind,
    pub(super) tenant: TenantId,
    pub(super) arrival: Timestamp,
    /// Where its body stands.
    pub(super) body: Range<usize>,
    /// Where the next record begins.
    pub(super) end: usize,
}

/// The range of the checked part of the record that claims to begin at `at`, if there is room for it.
pub(super) fn claimed_range(file: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = file.get(at..)?;
    let mut reader = Reader::new(WHAT, rest);
    if reader.array().ok()? != RECORD_MAGIC {
        return None;
    }
    let len = reader.u32().ok()? as usize;
    let start = at.checked_add(RECORD_PREFIX_BYTES)?;
    let end = start.checked_add(len)?;
    (len <= MAX_RECORD_BYTES && end <= file.len()).then_some(start..end)
}

/// The record that begins at `at`, if there is an intact one.
pub(super) fn record_at(file: &[u8], at: usize, salt: u32) -> Option<StoredRecord> {
    let range = claimed_range(file, at)?;
    let payload = file.get(range.clone())?;
    let expected = Reader::new(WHAT, file.get(range.start.checked_sub(4)?..range.start)?).u32().ok()?;
    if checksum(salt, payload.len() as u32, [payload]) != expected {
        return None;
    }
    let mut reader = Reader::new(WHAT, payload);
    let kind = RecordKind::from_u8(reader.u8().ok()?)?;
    let tenant_len = usize::from(reader.u8().ok()?);
    let tenant = std::str::from_utf8(reader.bytes(tenant_len).ok()?).ok()?;
    let tenant = TenantId::parse(tenant).ok()?;
    let arrival = Timestamp::from_nanos(reader.i64().ok()?);
    let body = range.end.checked_sub(reader.rest().len())?..range.end;
    Some(StoredRecord { kind, tenant, arrival, body, end: range.end })
}

/// How a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) number: u64,
    pub(super) salt: u32,
}

/// Why a file has no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// The file is too short to have one.
    Short,
    /// The bytes are no header.
    Damaged,
    /// The file has a newer format.
    Version(u16),
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
        bytes.extend_from_slice(&FILE_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.try_into().expect("the fields have the length of the header")
    }

    pub(super) fn decode(file: &[u8]) -> Result<Self, HeaderError> {
        let (header, _) = file.split_first_chunk::<FILE_HEADER_BYTES>().ok_or(HeaderError::Short)?;
        let damaged = |_| HeaderError::Damaged;
        let mut reader = Reader::new("log file", header);
        let magic: [u8; 4] = reader.array().map_err(damaged)?;
        let version = reader.u16().map_err(damaged)?;
        let _reserved = reader.u16().map_err(damaged)?;
        let number = reader.u64().map_err(damaged)?;
        let salt = reader.u32().map_err(damaged)?;
        let (checked, stored) = header.split_last_chunk::<4>().ok_or(HeaderError::Damaged)?;
        if magic != FILE_MAGIC || crc32fast::hash(checked) != u32::from_le_bytes(*stored) {
            return Err(HeaderError::Damaged);
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        Ok(Self { number, salt })
    }
}
