//! The manifest chain: which segments are live.
//!
//! Every manifest is an immutable object `m/<number>.man`, created only if
//! absent, so that of two processes that publish the same number one loses.
//! A reader's view is the newest manifest plus, of each writer, the segments
//! behind the sequence that the manifest has folded in.
//!
//! A manifest also remembers what it no longer names: replaced objects stay
//! for a while, for the sake of those who read an older manifest.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use bytes::Bytes;
use loki_core::encoding::{Reader, crc32, put_prefixed, put_varint};
use loki_core::{Corruption, Error, Timestamp};
use uuid::Uuid;

use crate::segment::layout::check_crc;
use crate::segment::{SegmentId, WriterId};

const MAGIC: [u8; 4] = *b"LMAN";
const VERSION: u8 = 1;

/// A published list of live segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Position in the chain, from 1.
    pub(crate) number: u64,
    /// Tells manifests apart that contend for one number.
    pub(crate) id: Uuid,
    /// In order of arrival.
    pub(crate) segments: Vec<ManifestSegment>,
    /// Per writer: the highest sequence whose segment is listed here or was replaced.
    pub(crate) folded: BTreeMap<WriterId, u64>,
    /// Per log: all records in files up to this number are, or were, in segments.
    pub(crate) logs: BTreeMap<Uuid, u64>,
    /// Objects that hold nothing live and are to be deleted, by age.
    pub(crate) replaced: Vec<ReplacedObject>,
}

/// An object that the manifests before named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplacedObject {
    /// Relative to the store's prefix.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// When it was replaced.
    pub(crate) at: Timestamp,
}

/// One live segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestSegment {
    pub(crate) id: SegmentId,
    /// Relative to the store's prefix.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// 0 as flushed; higher after merging.
    pub(crate) level: u8,
    pub(crate) rows: u64,
    /// Times of the first and the last entry of any tenant, both inclusive.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// The path of manifest `number`, relative to the store's prefix.
pub(crate) fn path(number: u64) -> String {
    format!("m/{number:020}.man")
}

/// The number in a manifest's file name.
pub(crate) fn number_of(file_name: &str) -> Option<u64> {
    numbered(file_name, ".man")
}

/// The sequence in a segment's file name.
pub(crate) fn sequence_of(file_name: &str) -> Option<u64> {
    numbered(file_name, ".seg")
}

fn numbered(file_name: &str, extension: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(extension)?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    well_formed.then(|| digits.parse().ok())?
}

impl Manifest {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        put_varint(&mut out, self.folded.len() as u64);
        for (writer, sequence) in &self.folded {
            out.extend_from_slice(writer.0.as_bytes());
            put_varint(&mut out, *sequence);
        }
        put_varint(&mut out, self.logs.len() as u64);
        for (log, through) in &self.logs {
            out.extend_from_slice(log.as_bytes());
            put_varint(&mut out, *through);
        }
        put_varint(&mut out, self.segments.len() as u64);
        for segment in &self.segments {
            out.extend_from_slice(segment.id.0.as_bytes());
            put_prefixed(&mut out, segment.path.as_bytes());
            put_varint(&mut out, segment.size);
            out.push(segment.level);
            put_varint(&mut out, segment.rows);
            out.extend_from_slice(&segment.first.0.to_le_bytes());
            out.extend_from_slice(&segment.last.0.to_le_bytes());
        }
        put_varint(&mut out, self.replaced.len() as u64);
        for object in &self.replaced {
            put_prefixed(&mut out, object.path.as_bytes());
            put_varint(&mut out, object.size);
            out.extend_from_slice(&object.at.0.to_le_bytes());
        }
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let what = "manifest";
        let mut reader = Reader::new(what, bytes);
        let body = reader.bytes(bytes.len().saturating_sub(4))?;
        check_crc(what, body, reader.u32()?)?;
        let mut reader = Reader::new(what, body);
        let magic = reader.array()?;
        if magic != MAGIC {
            let found = u32::from_le_bytes(magic);
            return Err(reader.corrupt(Corruption::Magic { found }));
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(
                reader.corrupt(Corruption::Version { found: u32::from(version), supported: u32::from(VERSION) })
            );
        }
        let number = reader.u64()?;
        let id = Uuid::from_bytes(reader.array()?);
        let mut folded = BTreeMap::new();
        for _ in 0..reader.varint()? {
            let writer = WriterId(Uuid::from_bytes(reader.array()?));
            folded.insert(writer, reader.varint()?);
        }
        let mut logs = BTreeMap::new();
        for _ in 0..reader.varint()? {
            let log = Uuid::from_bytes(reader.array()?);
            logs.insert(log, reader.varint()?);
        }
        let mut segments = Vec::new();
        for _ in 0..reader.varint()? {
            segments.push(ManifestSegment {
                id: SegmentId(Uuid::from_bytes(reader.array()?)),
                path: reader.prefixed_str()?.to_owned(),
                size: reader.varint()?,
                level: reader.u8()?,
                rows: reader.varint()?,
                first: Timestamp(reader.i64()?),
                last: Timestamp(reader.i64()?),
            });
        }
        let mut replaced = Vec::new();
        for _ in 0..reader.varint()? {
            replaced.push(ReplacedObject {
                path: reader.prefixed_str()?.to_owned(),
                size: reader.varint()?,
                at: Timestamp(reader.i64()?),
            });
        }
        reader.finish()?;
        Ok(Self { number, id, segments, folded, logs, replaced })
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(seed: u128, count: u64) -> Manifest {
        let segment = |n: u64| ManifestSegment {
            id: SegmentId(Uuid::from_u128(seed.wrapping_add(u128::from(n)))),
            path: WriterId(Uuid::from_u128(seed)).segment_path(n),
            size: n << 20,
            level: 0,
            rows: n,
            first: Timestamp(-1),
            last: Timestamp(n as i64),
        };
        Manifest {
            number: 9,
            id: Uuid::from_u128(!seed),
            segments: (0..count).map(segment).collect(),
            folded: BTreeMap::from([(WriterId(Uuid::from_u128(seed)), count)]),
            logs: BTreeMap::from([(Uuid::from_u128(seed), count)]),
            replaced: (0..count).map(|n| ReplacedObject { path: path(n), size: n, at: Timestamp(n as i64) }).collect(),
        }
    }

    proptest! {
        #[test]
        fn manifests_round_trip_and_notice_flips(
            seed: u128, count in 0..5_u64, position: prop::sample::Index, bit in 0..8,
        ) {
            let manifest = manifest(seed, count);
            let mut bytes = manifest.encode().to_vec();
            prop_assert_eq!(Manifest::decode(&bytes), Ok(manifest));
            let at = position.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Manifest::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let crc = crc32(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            let _ = Manifest::decode(&bytes);
        }
    }

    #[test]
    fn only_twenty_digits_are_a_number() {
        assert_eq!(number_of("00000000000000000007.man"), Some(7));
        assert_eq!(number_of("7.man"), None);
        assert_eq!(number_of("00000000000000000007.seg"), None);
        assert_eq!(sequence_of("+0000000000000000007.seg"), None);
    }
}
