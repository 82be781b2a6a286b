//! The bytes of requests: see the format above.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::Bytes;
use loki_core::encoding::{Reader, crc32, put_prefixed};
use loki_core::{Corruption, Error, TimeRange, Timestamp};

use super::DeleteId;
use crate::segment::layout::check_crc;
use crate::tenant::TenantId;

const MAGIC: [u8; 4] = *b"LDEL";
const MARK_MAGIC: [u8; 4] = *b"LDON";
const VERSION: u8 = 1;

/// A request as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredDelete {
    pub(crate) id: DeleteId,
    pub(crate) tenant: TenantId,
    pub(crate) query: String,
    pub(crate) range: TimeRange,
    pub(crate) created_at: Timestamp,
}

/// Says that a request was processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessedMark {
    pub(crate) id: DeleteId,
    pub(crate) tenant: TenantId,
    pub(crate) processed_at: Timestamp,
}

/// Where a request is, relative to the store's prefix.
pub(crate) fn object_path(tenant: &TenantId, id: &DeleteId) -> String {
    format!("d/{tenant}/{id}.del")
}

/// Where the mark is that it was processed.
pub(crate) fn mark_path(tenant: &TenantId, id: &DeleteId) -> String {
    format!("d/{tenant}/{id}.done")
}

impl StoredDelete {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = begin(MAGIC, &self.id, &self.tenant);
        put_prefixed(&mut out, self.query.as_bytes());
        for time in [self.range.start, self.range.end, self.created_at] {
            out.extend_from_slice(&time.0.to_le_bytes());
        }
        end(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = open("delete request", MAGIC, bytes)?;
        let (id, tenant) = names(&mut reader)?;
        let query = reader.prefixed_str()?.to_owned();
        let range = TimeRange::new(Timestamp(reader.i64()?), Timestamp(reader.i64()?));
        let created_at = Timestamp(reader.i64()?);
        reader.finish()?;
        Ok(Self { id, tenant, query, range, created_at })
    }
}

impl ProcessedMark {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = begin(MARK_MAGIC, &self.id, &self.tenant);
        out.extend_from_slice(&self.processed_at.0.to_le_bytes());
        end(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = open("mark of a processed delete request", MARK_MAGIC, bytes)?;
        let (id, tenant) = names(&mut reader)?;
        let processed_at = Timestamp(reader.i64()?);
        reader.finish()?;
        Ok(Self { id, tenant, processed_at })
    }
}

fn begin(magic: [u8; 4], id: &DeleteId, tenant: &TenantId) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&magic);
    out.push(VERSION);
    put_prefixed(&mut out, id.as_str().as_bytes());
    put_prefixed(&mut out, tenant.as_str().as_bytes());
    out
}

fn end(mut out: Vec<u8>) -> Bytes {
    let crc = crc32(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.into()
}

/// Verifies checksum, magic and version; what follows is left to read.
fn open<'a>(what: &'static str, magic: [u8; 4], bytes: &'a [u8]) -> Result<Reader<'a>, Error> {
    let mut reader = Reader::new(what, bytes);
    let body = reader.bytes(bytes.len().saturating_sub(4))?;
    check_crc(what, body, reader.u32()?)?;
    let mut reader = Reader::new(what, body);
    let found = reader.array()?;
    if found != magic {
        return Err(reader.corrupt(Corruption::Magic { found: u32::from_le_bytes(found) }));
    }
    let found = u32::from(reader.u8()?);
    if found != u32::from(VERSION) {
        return Err(reader.corrupt(Corruption::Version { found, supported: u32::from(VERSION) }));
    }
    Ok(reader)
}

fn names(reader: &mut Reader<'_>) -> Result<(DeleteId, TenantId), Error> {
    let at_id = reader.clone();
    let id = reader.prefixed_str()?;
    let id = DeleteId::parse(id).ok_or_else(|| at_id.invalid("id, by length", id.len() as u64))?;
    let at_tenant = reader.clone();
    let tenant = reader.prefixed_str()?;
    let tenant = TenantId::parse(tenant).map_err(|_| at_tenant.invalid("tenant, by length", tenant.len() as u64))?;
    Ok((id, tenant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(query: &str) -> StoredDelete {
        StoredDelete {
            id: DeleteId::parse("0123456789abcdef").expect("16 digits"),
            tenant: TenantId::anonymous(),
            query: query.to_owned(),
            range: TimeRange::new(Timestamp::from_seconds(1), Timestamp::from_seconds(2)),
            created_at: Timestamp::from_seconds(3),
        }
    }

    #[test]
    fn the_example_of_the_format_is_what_is_written() {
        let format = include_str!("../format/deletes.md");
        let example = format.split("```hex").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let expected = hex(example);
        let bytes = stored(r#"{a="b"}"#).encode();
        assert_eq!(bytes, expected);
        assert_eq!(StoredDelete::decode(&expected), Ok(stored(r#"{a="b"}"#)));
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two digits")).collect()
    }

    #[test]
    fn a_request_is_no_mark() {
        let bytes = stored("{}").encode();
        assert!(matches!(ProcessedMark::decode(&bytes), Err(Error::Corrupt { source: Corruption::Magic { .. }, .. })));
    }

    proptest! {
        #[test]
        fn requests_and_marks_round_trip_and_notice_flips(
            query in ".{0,30}", at: i64, position: prop::sample::Index, bit in 0..8,
        ) {
            let stored = stored(&query);
            let StoredDelete { id, tenant, .. } = stored.clone();
            let mark = ProcessedMark { id, tenant, processed_at: Timestamp(at) };
            let flip = |bytes: Bytes| {
                let mut bytes = bytes.to_vec();
                *position.get_mut(&mut bytes) ^= 1_u8 << bit;
                bytes
            };
            prop_assert!(StoredDelete::decode(&flip(stored.encode())).is_err());
            prop_assert!(ProcessedMark::decode(&flip(mark.encode())).is_err());
            prop_assert_eq!(StoredDelete::decode(&stored.encode()), Ok(stored));
            prop_assert_eq!(ProcessedMark::decode(&mark.encode()), Ok(mark));
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let bytes = end(body);
            let _ = StoredDelete::decode(&bytes);
            let _ = ProcessedMark::decode(&bytes);
        }
    }
}
