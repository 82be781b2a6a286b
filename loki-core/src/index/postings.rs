//! The streams that have a label: sets of ordinals.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use roaring::RoaringBitmap;

use crate::encoding::{Reader, put_varint};
use crate::error::{Corruption, Error};

/// The longest run of ordinals that is kept in the value of a symbol, without a record.
const INLINE_RUN_LIMIT: u32 = 3;
/// The most runs that are written one after the other; more are a roaring bitmap.
const RUNS_LIMIT: usize = 64;

/// Low bit of a record's head: what the rest of it is.
const KIND_ROARING: u64 = 1;

/// The streams of one symbol while an index is built: runs of ordinals, ascending and apart.
#[derive(Debug)]
pub(super) struct Postings {
    /// All but the last; most symbols have none.
    earlier: Vec<Range<u32>>,
    last: Range<u32>,
}

impl Postings {
    /// Those of one stream.
    pub(super) fn of(ordinal: u32) -> Self {
        Self { earlier: Vec::new(), last: ordinal..ordinal.saturating_add(1) }
    }

    /// Adds a stream after all those that are in, and says whether a run begins with it.
    pub(super) fn add(&mut self, ordinal: u32) -> bool {
        let next = ordinal.saturating_add(1);
        let begins_run = self.last.end != ordinal;
        if begins_run {
            self.earlier.push(std::mem::replace(&mut self.last, ordinal..next));
        } else {
            self.last.end = next;
        }
        begins_run
    }

    fn runs(&self) -> impl Iterator<Item = &Range<u32>> {
        self.earlier.iter().chain([&self.last])
    }
}

/// Writes the postings section.
#[derive(Debug, Default)]
pub(super) struct PostingsBuilder {
    records: Vec<u8>,
}

impl PostingsBuilder {
    /// Adds postings and gives the value that their symbol has in the map.
    pub(super) fn push(&mut self, postings: &Postings) -> u64 {
        let last_len = postings.last.end.saturating_sub(postings.last.start);
        if postings.earlier.is_empty() && last_len <= INLINE_RUN_LIMIT {
            return u64::from(postings.last.start) << 2 | u64::from(last_len);
        }
        let offset = self.records.len() as u64;
        let (kind, payload) = if postings.earlier.len() < RUNS_LIMIT {
            (0, encode_runs(postings.runs()))
        } else {
            (KIND_ROARING, encode_roaring(postings.runs()))
        };
        put_varint(&mut self.records, (payload.len() as u64) << 1 | kind);
        self.records.extend(payload);
        offset << 2
    }

    /// The section.
    pub(super) fn finish(self) -> Vec<u8> {
        self.records
    }
}

fn encode_runs<'a>(runs: impl Iterator<Item = &'a Range<u32>>) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut end_before = 0;
    for run in runs {
        let gap = u64::from(run.start.saturating_sub(end_before));
        let beyond_one = run.end.saturating_sub(run.start).saturating_sub(1);
        put_varint(&mut payload, gap << 1 | u64::from(beyond_one > 0));
        if beyond_one > 0 {
            put_varint(&mut payload, u64::from(beyond_one.saturating_sub(1)));
        }
        end_before = run.end;
    }
    payload
}

fn encode_roaring<'a>(runs: impl Iterator<Item = &'a Range<u32>>) -> Vec<u8> {
    let mut bitmap = RoaringBitmap::new();
    for run in runs {
        bitmap.insert_range(run.clone());
    }
    bitmap.optimize();
    let mut payload = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut payload).expect("memory can be written");
    payload
}

/// The streams of one symbol, found by its value in the map.
#[derive(Debug)]
pub(super) enum StreamSet {
    /// Neighbours.
    Run(Range<u32>),
    /// A few groups of neighbours.
    Runs(Vec<Range<u32>>),
    /// Any others.
    Bitmap(RoaringBitmap),
}

impl StreamSet {
    /// Reads the streams of the symbol with `value`; `records` is the postings section of an index of `streams` streams,
    /// and begins at `base` of it.
    pub(super) fn read(value: u64, records: &[u8], base: u64, streams: u32) -> Result<Self, Error> {
        let inline_len = (value & 3) as u32;
        if inline_len > 0 {
            let start = u32::try_from(value >> 2).ok();
            let run = start.and_then(|start| Some(start..start.checked_add(inline_len)?));
            return run.filter(|run| run.end <= streams).map(Self::Run).ok_or_else(|| {
                Error::corrupt("postings", base, Corruption::Value { field: "inline run", found: value })
            });
        }
        let offset = value >> 2;
        let record = usize::try_from(offset).ok().and_then(|offset| records.get(offset..)).unwrap_or_default();
        let mut reader = Reader::with_base("postings", record, base.saturating_add(offset));
        let head = reader.varint()?;
        let payload_offset = reader.offset();
        let payload = reader.bytes(usize::try_from(head >> 1).unwrap_or(usize::MAX))?;
        if head & 1 == KIND_ROARING {
            let bitmap = RoaringBitmap::deserialize_from(payload).ok();
            return bitmap
                .filter(|bitmap| bitmap.max().is_none_or(|max| max < streams))
                .map(Self::Bitmap)
                .ok_or_else(|| reader.invalid("bitmap, of this many bytes", payload.len() as u64));
        }
        read_runs(Reader::with_base("postings", payload, payload_offset), streams)
    }

    /// Adds these streams to `all`.
    pub(super) fn add_to(self, all: &mut RoaringBitmap) {
        match self {
            Self::Run(run) => {
                all.insert_range(run);
            }
            Self::Runs(runs) => {
                for run in runs {
                    all.insert_range(run);
                }
            }
            Self::Bitmap(bitmap) => *all |= bitmap,
        }
    }

    /// Whether one of `streams` is among these.
    pub(super) fn intersects(&self, streams: &RoaringBitmap) -> bool {
        let has_any = |run: &Range<u32>| streams.range_cardinality(run.clone()) > 0;
        match self {
            Self::Run(run) => has_any(run),
            Self::Runs(runs) => runs.iter().any(has_any),
            Self::Bitmap(bitmap) => !bitmap.is_disjoint(streams),
        }
    }
}

fn read_runs(mut reader: Reader<'_>, streams: u32) -> Result<StreamSet, Error> {
    let mut runs = Vec::new();
    let mut end = 0_u64;
    while !reader.is_empty() {
        let at_run = reader.clone();
        let head = reader.varint()?;
        let beyond_one = if head & 1 == 1 { reader.varint()?.saturating_add(1) } else { 0 };
        let start = end.saturating_add(head >> 1);
        end = start.saturating_add(1).saturating_add(beyond_one);
        if end > u64::from(streams) {
            return Err(at_run.invalid("end of a run of streams", end));
        }
        runs.push(start as u32..end as u32);
    }
    Ok(StreamSet::Runs(runs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const STREAMS: u32 = 200_000;

    fn postings_of(ordinals: &RoaringBitmap) -> Postings {
        let mut ordinals = ordinals.iter();
        let mut postings = Postings::of(ordinals.next().expect("a stream"));
        for ordinal in ordinals {
            postings.add(ordinal);
        }
        postings
    }

    fn round_trip(ordinals: &RoaringBitmap) -> (RoaringBitmap, usize) {
        let mut builder = PostingsBuilder::default();
        builder.records.extend(*b"others before");
        let before = builder.records.len();
        let value = builder.push(&postings_of(ordinals));
        let records = builder.finish();
        let mut read = RoaringBitmap::new();
        StreamSet::read(value, &records, 0, STREAMS).unwrap().add_to(&mut read);
        (read, records.len().saturating_sub(before))
    }

    proptest! {
        #[test]
        fn any_streams_round_trip(runs in vec((0_u32..70_000, 1_u32..30), 1..100)) {
            let mut ordinals = RoaringBitmap::new();
            for (start, len) in runs {
                ordinals.insert_range(start..start.saturating_add(len));
            }
            prop_assert_eq!(round_trip(&ordinals).0, ordinals);
        }

        #[test]
        fn any_record_is_read_without_panic(value: u64, records: Vec<u8>, streams: u32) {
            for value in [value, value & 0xff, 0] {
                if let Ok(set) = StreamSet::read(value, &records, 0, streams) {
                    let mut all = RoaringBitmap::new();
                    set.add_to(&mut all);
                    prop_assert!(all.max().is_none_or(|max| max < streams));
                }
            }
        }
    }

    #[test]
    fn short_runs_need_no_record() {
        for len in 1..=INLINE_RUN_LIMIT {
            assert_eq!(
                round_trip(&(7..7_u32.saturating_add(len)).collect()),
                ((7..7_u32.saturating_add(len)).collect(), 0)
            );
        }
        assert_eq!(round_trip(&(7..8_u32.saturating_add(INLINE_RUN_LIMIT)).collect()).1, 3);
    }

    #[test]
    fn many_runs_are_a_roaring_bitmap() {
        let apart = |runs: u32| -> RoaringBitmap { (0..runs).map(|i| i.saturating_mul(2)).collect() };
        let limit = RUNS_LIMIT as u32;
        assert_eq!(round_trip(&apart(limit)), (apart(limit), RUNS_LIMIT.saturating_add(2)));
        let more = apart(limit.saturating_add(1));
        assert_eq!(round_trip(&more), (more.clone(), more.serialized_size().saturating_add(2)));
    }
}
