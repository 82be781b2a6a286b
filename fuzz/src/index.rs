//! Indexes: selecting gives what comparing every stream gives, and forged bytes do no harm.
//!
//! The map of symbols is left alone: it belongs to the `fst` crate, which trusts what has a good checksum.

use std::collections::BTreeSet;
use std::ops::Range;

use loki_core::encoding::crc32;
use loki_core::{Index, IndexBuilder, Labels, MatchOp, Matcher};

use crate::input::Input;

const NAMES: [&str; 4] = ["app", "env", "job", "pod"];
const OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
/// Where the head has the lengths and checksums of symbols, postings and stream table, and the length of the blocks.
const CLAIMS: [usize; 4] = [12, 24, 36, 48];
const HEAD_BYTES: usize = 60;

/// Runs the target.
pub fn run(data: &[u8]) {
    if let Ok(index) = Index::open(data.to_vec().into()) {
        read(&index, &[]);
    }
    let mut input = Input::new(data);
    let streams = streams(&mut input);
    let mut builder = IndexBuilder::new();
    for labels in &streams {
        builder.push(labels).expect("streams are sorted and small");
    }
    let bytes = builder.finish().expect("there is memory");
    let index = Index::open(bytes.clone().into()).expect("it was just written");
    let matchers = matchers(&mut input);
    let selected = index.select(&matchers).expect("it was just written");
    for (ordinal, labels) in (0..).zip(&streams) {
        let is_wanted = matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()));
        assert_eq!(selected.contains(ordinal), is_wanted);
        assert_eq!(index.labels(ordinal).as_ref(), Ok(labels));
    }
    assert_eq!(index.label_names(None).expect("it was just written"), {
        let names: BTreeSet<&str> = streams.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Vec::from_iter(names)
    });

    let sections = sections(&bytes);
    let mut forged = bytes.clone();
    input.forge(&mut forged);
    let symbols = sections[0].clone();
    forged[symbols.clone()].copy_from_slice(&bytes[symbols]);
    reseal(&mut forged, &sections);
    if let Ok(index) = Index::open(forged.into()) {
        read(&index, &matchers);
    }
}

fn streams(input: &mut Input<'_>) -> BTreeSet<Labels> {
    let mut streams = BTreeSet::new();
    for _ in 0..input.below(40) {
        let shape = input.u8();
        // One byte can stand for many streams, so that there are runs, bitmaps and several blocks.
        let copies = if shape & 0xe0 == 0xe0 { u16::from(input.u8()) } else { 0 };
        let own = input.text();
        for copy in 0..=copies {
            let pairs = NAMES.iter().zip(0..).filter(|(_, bit)| shape >> bit & 1 == 1).map(|(name, bit)| match bit {
                3 => (*name, format!("{own}{copy}")),
                _ => (*name, format!("{}", shape >> 4 & 3)),
            });
            streams.extend(Labels::from_pairs(pairs));
        }
    }
    streams
}

fn matchers(input: &mut Input<'_>) -> Vec<Matcher> {
    let matchers = (0..input.below(4)).filter_map(|_| {
        let (name, op) = (NAMES[input.below(NAMES.len())], OPS[input.below(OPS.len())]);
        Matcher::new(name, op, input.text()).ok()
    });
    matchers.collect()
}

/// Reads whatever can be read.
fn read(index: &Index, matchers: &[Matcher]) {
    if let Ok(selected) = index.select(matchers) {
        assert!(selected.max().is_none_or(|last| last < index.streams()));
        if let Ok(names) = index.label_names(Some(&selected)) {
            for name in &names {
                let _ = index.label_values(name, Some(&selected));
            }
        }
        if let Ok(labels) = index.labels_of(selected.iter().take(1000)) {
            labels.for_each(drop);
        }
    }
    let _ = index.labels(index.streams());
}

/// Where symbols, postings, stream table and stream blocks are.
fn sections(bytes: &[u8]) -> [Range<usize>; 4] {
    let mut end = HEAD_BYTES;
    CLAIMS.map(|claim| {
        let len = u64::from_le_bytes(bytes[claim..claim + 8].try_into().expect("eight bytes")) as usize;
        let start = end;
        end += len;
        start..end
    })
}

/// Writes the checksums anew, as if the sections were where they were.
fn reseal(bytes: &mut [u8], sections: &[Range<usize>; 4]) {
    let [_, _, table, blocks] = sections.clone();
    for entry in table.clone().step_by(12) {
        let offset = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let end = if entry + 12 < table.end { offset(entry + 12) } else { blocks.len() as u64 };
        let block = offset(entry)..end;
        if let Some(block) = bytes[blocks.clone()].get(block.start as usize..block.end as usize) {
            let checksum = crc32(block);
            bytes[entry + 8..entry + 12].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    for (section, claim) in sections.iter().zip(CLAIMS).take(3) {
        let checksum = crc32(&bytes[section.clone()]);
        bytes[claim + 8..claim + 12].copy_from_slice(&checksum.to_le_bytes());
    }
    let checksum = crc32(&bytes[..HEAD_BYTES - 4]);
    bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}
