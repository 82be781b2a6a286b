//! Skip filters: what a text has is never denied, and forged filters do no harm.

use std::borrow::Cow;

use loki_core::encoding::crc32;
use loki_core::filter::{FilterBuilder, FilterSet, FilterSetBuilder, Needle};

use crate::input::Input;

const HEAD_BYTES: usize = 12;
const PAGE_BYTES: usize = 64 << 10;

/// Runs the target.
pub fn run(data: &[u8]) {
    if let Ok(set) = FilterSet::open(data.to_vec().into()) {
        probe(&set, b"needle");
    }
    let mut input = Input::new(data);
    let texts: Vec<&[u8]> = (0..=input.below(12)).map(|_| input.short()).collect();
    let mut builder = FilterBuilder::new();
    let mut set = FilterSetBuilder::new();
    for text in &texts {
        builder.add_text(text);
        let (name, value) = pair_of(text);
        builder.add_pair(&name, &value);
        set.push(builder.finish()).expect("filters are few");
    }
    let bytes = set.finish();
    let open = FilterSet::open(bytes.clone().into()).expect("it was just written");
    for (position, text) in (0..).zip(&texts) {
        let (name, value) = pair_of(text);
        let found = open.probe(&Needle::of_pair(&name, &value)).expect("it was just written");
        assert!(found.contains(position));
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let start = input.below(line.len().min(256));
            let len = 1 + input.below((line.len() - start).min(256));
            let literal = &line[start..start + len];
            for needle in [Needle::new(literal), Needle::new_case_insensitive(literal)].into_iter().flatten() {
                assert!(open.probe(&needle).expect("it was just written").contains(position));
            }
        }
    }

    let mut forged = bytes;
    input.forge(&mut forged);
    reseal(&mut forged, texts.len());
    if let Ok(set) = FilterSet::open(forged.into()) {
        for text in &texts {
            probe(&set, text);
        }
    }
}

fn pair_of(text: &[u8]) -> (Cow<'_, str>, Cow<'_, str>) {
    let (name, value) = text.split_at(text.len() / 3);
    (String::from_utf8_lossy(name), String::from_utf8_lossy(value))
}

fn probe(set: &FilterSet, literal: &[u8]) {
    if let Some(needle) = Needle::new(literal)
        && let Ok(found) = set.probe(&needle)
    {
        assert!(found.max().is_none_or(|last| last < set.len()));
    }
}

/// Writes the checksums of a set of so many filters anew.
fn reseal(bytes: &mut [u8], filters: usize) {
    let checksums_start = HEAD_BYTES + filters;
    let rest = bytes.len() - checksums_start - 4;
    // A page has its bytes and four of checksum.
    let pages = rest.div_ceil(PAGE_BYTES + 4);
    let rows_start = checksums_start + pages * 4 + 4;
    let (head, rows) = bytes.split_at_mut(rows_start);
    for (page, checksum) in rows.chunks(PAGE_BYTES).zip(head[checksums_start..].chunks_exact_mut(4)) {
        checksum.copy_from_slice(&crc32(page).to_le_bytes());
    }
    let checksum = crc32(&head[..rows_start - 4]);
    head[rows_start - 4..].copy_from_slice(&checksum.to_le_bytes());
}
