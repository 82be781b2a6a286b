//! Rollups: counts come back, and forged bytes do no harm.

use std::collections::BTreeMap;

use loki_core::encoding::crc32;
use loki_core::rollup::{Cell, Columns, Rollup, RollupBuilder};

use crate::input::Input;

const HEAD_BYTES: usize = 12;
const DIRECTORY_ENTRY_BYTES: usize = 12;

/// Runs the target.
pub fn run(data: &[u8]) {
    if let Ok(rollup) = Rollup::open(data.to_vec().into()) {
        read(&rollup);
    }
    let mut input = Input::new(data);
    let cells = cells(&mut input);
    let mut builder = RollupBuilder::new();
    for (&(stream, minute), &entries) in &cells {
        let cell = Cell { minute, entries, line_bytes: entries.wrapping_mul(200), metadata_bytes: entries >> 32 };
        builder.add(stream, cell).expect("cells are sorted");
    }
    let bytes = builder.finish();
    let rollup = Rollup::open(bytes.clone().into()).expect("it was just written");
    for stream in cells.keys().map(|(stream, _)| *stream).take(3) {
        let read = rollup.cells(stream).expect("it was just written");
        let expected = cells.range((stream, i64::MIN)..=(stream, i64::MAX));
        assert!(
            read.iter().map(|cell| (cell.minute, cell.entries)).eq(expected.map(|(key, entries)| (key.1, *entries)))
        );
    }

    let mut forged = bytes;
    input.forge(&mut forged);
    reseal(&mut forged);
    if let Ok(rollup) = Rollup::open(forged.into()) {
        read(&rollup);
    }
}

fn cells(input: &mut Input<'_>) -> BTreeMap<(u32, i64), u64> {
    let mut cells = BTreeMap::new();
    let (mut stream, mut minute) = (0_u32, 0_i64);
    for _ in 0..input.below(64) {
        let shape = input.u8();
        match shape & 3 {
            0 => minute = input.i64(),
            1 => stream = stream.wrapping_add(u32::from(input.u16())),
            2 => minute = minute.wrapping_add(i64::from(input.u8())),
            _ => {}
        }
        let entries = if shape & 4 == 0 { u64::from(input.u8()) } else { input.i64() as u64 };
        for _ in 0..=u32::from(shape >> 3) * 2 {
            cells.insert((stream, minute), entries);
            minute = minute.wrapping_add(1);
        }
    }
    cells
}

fn read(rollup: &Rollup) {
    let streams = [0, 1, 2, 7, 255, 65_535, u32::MAX].into_iter().chain(0..100).collect();
    for columns in [Columns::Entries, Columns::All] {
        let mut scan = rollup.scan(&streams, columns);
        while let Ok(Some(cells)) = scan.next_cells() {
            assert!(!cells.minutes.is_empty() && cells.minutes.len() == cells.entries.len());
            assert!(cells.minutes.is_sorted_by(|a, b| a < b));
            assert_eq!(cells.iter().count(), cells.minutes.len());
        }
    }
    let _ = rollup.cells(3);
}

/// Writes the checksums anew.
fn reseal(bytes: &mut [u8]) {
    let blocks = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) as usize;
    let head_len = blocks.saturating_mul(DIRECTORY_ENTRY_BYTES).saturating_add(HEAD_BYTES);
    if head_len.saturating_add(4) > bytes.len() {
        return;
    }
    let mut start = head_len + 4;
    for entry in (HEAD_BYTES..head_len).step_by(DIRECTORY_ENTRY_BYTES) {
        let len = u32::from_le_bytes(bytes[entry + 4..entry + 8].try_into().expect("four bytes")) as usize;
        let end = start.saturating_add(len).min(bytes.len());
        let checksum = crc32(&bytes[start..end]);
        bytes[entry + 8..entry + 12].copy_from_slice(&checksum.to_le_bytes());
        start = end;
    }
    let checksum = crc32(&bytes[..head_len]);
    bytes[head_len..head_len + 4].copy_from_slice(&checksum.to_le_bytes());
}
