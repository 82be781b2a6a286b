//! Tests of writing and reading counts.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::*;
use crate::encoding;
use crate::error::{Corruption, Error};
use crate::filter::tests::hex_example;

type Model = BTreeMap<(u32, i64), [u64; 3]>;

fn cell(minute: i64, [entries, line_bytes, metadata_bytes]: [u64; 3]) -> Cell {
    Cell { minute, entries, line_bytes, metadata_bytes }
}

fn build(model: &Model) -> Vec<u8> {
    let mut builder = RollupBuilder::new();
    for ((stream, minute), counts) in model {
        builder.add(*stream, cell(*minute, *counts)).unwrap();
    }
    builder.finish()
}

/// All counts of `streams`, as the scan gives them.
fn scan(rollup: &Rollup, streams: &RoaringBitmap, columns: Columns) -> Result<Vec<(u32, Cell)>, Error> {
    let mut found = Vec::new();
    let mut scan = rollup.scan(streams, columns);
    while let Some(cells) = scan.next_cells()? {
        assert!(!cells.minutes.is_empty());
        found.extend(cells.iter().map(|cell| (cells.stream, cell)));
    }
    Ok(found)
}

/// `minutes` consecutive minutes of `streams` streams, the counts of which are made of their position.
fn dense(streams: u32, minutes: i64) -> Model {
    let position = |stream: u32, minute: i64| u64::from(stream) * 7 + minute as u64 % 90;
    (0..streams)
        .flat_map(|stream| (0..minutes).map(move |minute| ((stream, minute), [position(stream, minute), 2, 0])))
        .collect()
}

fn models() -> impl Strategy<Value = Model> {
    let count = || prop_oneof![0_u64..300, Just(u64::MAX), any::<u64>()];
    let few_streams = (0_u32..6, 0_i64..40);
    let many_streams = (any::<u32>(), prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN), -3_i64..3]);
    let sparse = btree_map(
        prop_oneof![few_streams, many_streams],
        (count(), count(), count()).prop_map(|(entries, line, metadata)| [entries, line, metadata]),
        0..300,
    );
    // Enough consecutive cells for several blocks, so that streams begin and end anywhere in them.
    let blocks = (0_u32..40, 1_i64..120).prop_map(|(streams, minutes)| dense(streams, minutes));
    (sparse, blocks, any::<bool>()).prop_map(|(mut sparse, mut blocks, both)| {
        if both {
            sparse.append(&mut blocks);
        }
        sparse
    })
}

proptest! {
    #[test]
    fn any_streams_are_read_as_they_were_added(model in models(), extra in btree_set(0_u32..60, 0..8),
                                               picks in vec(any::<prop::sample::Index>(), 0..6)) {
        let rollup = Rollup::open(build(&model).into()).unwrap();
        let known: Vec<u32> = model.keys().map(|(stream, _)| *stream).collect();
        let mut streams: RoaringBitmap = extra.into_iter().collect();
        if !known.is_empty() {
            streams.extend(picks.iter().map(|pick| known[pick.index(known.len())]));
        }
        let wanted = || model.iter().filter(|((stream, _), _)| streams.contains(*stream));
        let all: Vec<_> = wanted().map(|((stream, minute), counts)| (*stream, cell(*minute, *counts))).collect();
        prop_assert_eq!(scan(&rollup, &streams, Columns::All).unwrap(), all);
        let entries: Vec<_> =
            wanted().map(|((stream, minute), counts)| (*stream, cell(*minute, [counts[0], 0, 0]))).collect();
        prop_assert_eq!(scan(&rollup, &streams, Columns::Entries).unwrap(), entries);
        for stream in &streams {
            let own: Vec<_> = wanted().filter(|((of, _), _)| *of == stream).map(|((_, m), c)| cell(*m, *c)).collect();
            prop_assert_eq!(rollup.cells(stream).unwrap(), own);
        }
    }

    #[test]
    fn damage_is_an_error_or_without_effect(model in models(), at: prop::sample::Index, bit in 0_u8..8, cut: bool) {
        let intact = build(&model);
        let mut damaged = intact.clone();
        let at = at.index(intact.len());
        if cut { damaged.truncate(at) } else { damaged[at] ^= 1 << bit }
        let everything = RoaringBitmap::full();
        let expected = scan(&Rollup::open(intact.into()).unwrap(), &everything, Columns::All).unwrap();
        let read = Rollup::open(damaged.into()).and_then(|rollup| scan(&rollup, &everything, Columns::All));
        prop_assert!(read.is_err() || read.as_ref() == Ok(&expected));
        prop_assert!(read.is_err() || !cut);
    }

    #[test]
    fn any_block_is_read_without_panic(block: Vec<u8>, bytes: Vec<u8>, first_stream: u32) {
        drop(Rollup::open(bytes.into()));
        // With good checksums, so that the block itself is looked at.
        let mut bytes = Vec::from(*b"LKRU\x01\0\0\0\x01\0\0\0");
        bytes.extend(first_stream.to_le_bytes());
        bytes.extend((block.len() as u32).to_le_bytes());
        bytes.extend(encoding::crc32(&block).to_le_bytes());
        bytes.extend(encoding::crc32(&bytes).to_le_bytes());
        bytes.extend(block);
        drop(scan(&Rollup::open(bytes.into()).unwrap(), &RoaringBitmap::full(), Columns::All));
    }

    #[test]
    fn a_moment_belongs_to_the_minute_that_holds_it(at: i64) {
        let minute = i128::from(minute_of(Timestamp(at)));
        let nanos = i128::from(MINUTE_NANOS);
        prop_assert!(minute * nanos < i128::from(at) && i128::from(at) <= (minute + 1) * nanos);
    }

    #[test]
    fn minutes_within_a_range_are_those_with_both_ends_in_it(after in -1_000_i64..1_000, length in -200_i64..1_000) {
        let seconds = |seconds: i64| Timestamp::from_seconds(seconds);
        let inside = minutes_within(seconds(after), seconds(after + length));
        for minute in -40..60 {
            let expected = minute * 60 >= after && (minute + 1) * 60 <= after + length;
            prop_assert_eq!(inside.contains(&minute), expected, "minute {}", minute);
        }
    }
}

#[test]
fn minutes_are_open_on_the_left_and_closed_on_the_right() {
    assert_eq!(minute_of(Timestamp(60_000_000_000)), 0);
    assert_eq!(minute_of(Timestamp(60_000_000_001)), 1);
    assert_eq!(minute_of(Timestamp(0)), -1);
    assert_eq!(minute_of(Timestamp(1)), 0);
    assert_eq!(minute_of(Timestamp(-1)), -1);
    assert_eq!(minutes_within(Timestamp::MIN, Timestamp::MAX), -153_722_867..153_722_867);
}

#[test]
fn counts_of_the_same_minute_are_added_up() {
    let mut builder = RollupBuilder::new();
    builder.add(1, cell(5, [1, 10, 0])).unwrap();
    builder.add(1, cell(5, [2, 20, 7])).unwrap();
    let rollup = Rollup::open(builder.finish().into()).unwrap();
    assert_eq!(rollup.cells(1).unwrap(), [cell(5, [3, 30, 7])]);
    assert_eq!(rollup.cells(0).unwrap(), []);
}

#[test]
fn counts_out_of_order_are_refused() {
    let mut builder = RollupBuilder::new();
    builder.add(1, cell(5, [1, 1, 1])).unwrap();
    assert_eq!(builder.add(1, cell(4, [1, 1, 1])), Err(Error::RowOrder));
    assert_eq!(builder.add(0, cell(6, [1, 1, 1])), Err(Error::RowOrder));
    assert_eq!(builder.add(2, cell(-6, [1, 1, 1])), Ok(()));
}

#[test]
fn blocks_are_full_at_the_limit() {
    let blocks_of = |cells: usize| {
        let bytes = build(&dense(1, cells as i64));
        u32::from_le_bytes(bytes[8..12].try_into().unwrap())
    };
    assert_eq!(blocks_of(0), 0);
    assert_eq!(blocks_of(BLOCK_CELLS_LIMIT), 1);
    assert_eq!(blocks_of(BLOCK_CELLS_LIMIT + 1), 2);

    let mut block = Vec::new();
    encoding::put_varint(&mut block, BLOCK_CELLS_LIMIT as u64 + 1);
    let mut bytes = Vec::from(*b"LKRU\x01\0\0\0\x01\0\0\0\0\0\0\0");
    bytes.extend((block.len() as u32).to_le_bytes());
    bytes.extend(encoding::crc32(&block).to_le_bytes());
    bytes.extend(encoding::crc32(&bytes).to_le_bytes());
    bytes.extend(block);
    let error = Rollup::open(bytes.into()).unwrap().cells(0).unwrap_err();
    assert!(matches!(error, Error::Corrupt { source: Corruption::Value { found: 1025, .. }, .. }));
}

#[test]
fn a_damaged_block_fails_only_its_own_streams() {
    let mut bytes = build(&dense(4, BLOCK_CELLS_LIMIT as i64));
    *bytes.last_mut().unwrap() ^= 1;
    let rollup = Rollup::open(bytes.into()).unwrap();
    assert_eq!(rollup.cells(2).unwrap().len(), BLOCK_CELLS_LIMIT);
    let error = rollup.cells(3).unwrap_err();
    assert!(matches!(error, Error::Corrupt { what: "rollup block", source: Corruption::Checksum { .. }, .. }));
}

#[test]
fn a_day_of_dense_counts_takes_about_two_bytes_a_cell() {
    // Three hundred streams would only repeat what twenty show.
    let mut seed = 1_u64;
    let mut noise = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut model = dense(20, 1440);
    for counts in model.values_mut() {
        let entries = 5 + noise(12);
        *counts = [entries, entries * 200 + noise(500), 0];
    }
    let bytes = build(&model).len();
    assert!(bytes <= model.len() * 5 / 2, "{bytes} bytes for {} cells", model.len());
}

#[test]
fn other_versions_are_refused() {
    let open = |at: usize, value: u8| {
        let mut bytes = build(&dense(1, 1));
        bytes[at] = value;
        Rollup::open(bytes.into()).unwrap_err()
    };
    assert!(matches!(open(0, b'X'), Error::Corrupt { source: Corruption::Magic { .. }, .. }));
    assert!(matches!(open(4, 2), Error::Corrupt { source: Corruption::Version { found: 2, supported: 1 }, .. }));
}

#[test]
fn the_example_of_the_format_is_what_we_write_and_read() {
    let example = hex_example(include_str!("../format/rollup.md"));
    let model: Model =
        [((2, 10), [5, 600, 0]), ((2, 11), [7, 840, 0]), ((3, 10), [1, 100, 33]), ((3, 20), [1, 200, 0])].into();
    assert_eq!(build(&model), example);
    let rollup = Rollup::open(example.into()).unwrap();
    assert_eq!(rollup.cells(2).unwrap(), [cell(10, [5, 600, 0]), cell(11, [7, 840, 0])]);
    assert_eq!(rollup.cells(3).unwrap(), [cell(10, [1, 100, 33]), cell(20, [1, 200, 0])]);
}

#[test]
fn a_builder_knows_what_it_holds() {
    let mut builder = RollupBuilder::new();
    assert_eq!(builder.held_bytes(), 0);
    for minute in 0..10_000 {
        builder.add(0, cell(minute * 7, [minute as u64 * 31, minute as u64 * 977, 0])).unwrap();
    }
    let held = builder.held_bytes();
    assert!(held >= builder.finish().len() / 2, "{held}");
}
