//! Tests of writing, opening and asking indexes.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::*;
use crate::encoding;
use crate::error::{Corruption, Error};
use crate::filter::tests::hex_example;
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};

/// Names of which some begin like others, and values that matchers and encodings may stumble over.
const NAMES: [&str; 5] = ["a", "app", "app2", "b", "zone"];
const VALUES: [&str; 9] = ["x", "xy", "xyz", "y", "a|b", "\n", "ö", "\u{10ffff}", "prod-1"];
const REGEXES: [&str; 16] = [
    "x",
    "x|y",
    "x|",
    "",
    ".*",
    ".+",
    "x.*",
    "xy?",
    "x(y|yz)",
    ".*z",
    "[^x]+",
    "x.+",
    "pro.*",
    "(?i)X",
    "ö|nowhere",
    "x.{1,2}|y",
];

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(prop::sample::select(&NAMES[..]), prop::sample::select(&VALUES[..]), 0..5)
        .prop_map(|pairs| Labels::from_pairs(pairs).unwrap())
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(&[MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][..]);
    let name = prop_oneof![9 => prop::sample::select(&NAMES[..]), 1 => Just("missing")];
    let value = prop_oneof![4 => prop::sample::select(&VALUES[..]), 1 => Just("")];
    (name, op, value, prop::sample::select(&REGEXES[..])).prop_map(|(name, op, value, regex)| {
        let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        Matcher::new(name, op, if is_regex { regex } else { value }).unwrap()
    })
}

fn build<'a>(streams: impl IntoIterator<Item = &'a Labels>) -> Vec<u8> {
    let mut builder = IndexBuilder::new();
    for (expected, labels) in (0..).zip(streams) {
        assert_eq!(builder.push(labels), Ok(expected));
    }
    builder.finish().unwrap()
}

/// `pods` pods in ten applications, each with three streams, as a cluster would have them.
fn cluster(pods: u64) -> BTreeSet<Labels> {
    let mut streams = BTreeSet::new();
    for pod in 0..pods {
        let noise = |salt: u64| (pod + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let app = format!("service-{}", pod * 10 / pods);
        let pod = format!("{app}-{:05x}-{:05x}", noise(1) % 7, noise(2) & 0xf_ffff);
        for level in ["error", "info", "warn"] {
            let pairs = [("cluster", "eu-1"), ("app", &app), ("namespace", "shop"), ("level", level), ("pod", &pod)];
            streams.insert(Labels::from_pairs(pairs).unwrap());
        }
    }
    streams
}

/// Everything an index can be asked, for comparing.
#[derive(Debug, PartialEq)]
struct Answers {
    selected: RoaringBitmap,
    names: Vec<String>,
    values: Vec<String>,
    labels: Vec<(u32, Labels)>,
}

fn answers(index: &Index, matcher: &Matcher) -> Result<Answers, Error> {
    let selected = index.select(std::slice::from_ref(matcher))?;
    let names = index.label_names(Some(&selected))?;
    let values = index.label_values(matcher.name(), Some(&selected))?;
    let labels = index.labels_of(&selected)?.collect::<Result<_, _>>()?;
    Ok(Answers { selected, names, values, labels })
}

fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}

proptest! {
    #[test]
    fn any_index_answers_as_looking_at_every_stream_does(streams in btree_set(labels(), 0..150), matchers in vec(matcher(), 0..4)) {
        let streams: Vec<Labels> = streams.into_iter().collect();
        let index = Index::open(build(&streams).into()).unwrap();
        prop_assert_eq!(index.streams() as usize, streams.len());

        let satisfies = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()));
        let expected: RoaringBitmap = (0..).zip(&streams).filter(|(_, labels)| satisfies(labels)).map(|(i, _)| i).collect();
        let selected = index.select(&matchers).unwrap();
        prop_assert_eq!(&selected, &expected, "{:?}", matchers);

        for within in [None, Some(&selected)] {
            let used = || (0..).zip(&streams).filter(|(i, _)| within.is_none_or(|within| within.contains(*i)));
            let pairs = || used().flat_map(|(_, labels)| labels.iter());
            prop_assert_eq!(index.label_names(within).unwrap(), sorted(pairs().map(|(name, _)| name)));
            for name in NAMES.into_iter().chain(["", "ap", "missing"]) {
                let values = sorted(pairs().filter(|(other, _)| *other == name).map(|(_, value)| value));
                prop_assert_eq!(index.label_values(name, within).unwrap(), values);
            }
        }
        let labels: Result<Vec<_>, _> = index.labels_of(&selected).unwrap().collect();
        let expected: Vec<_> = expected.iter().map(|ordinal| (ordinal, streams[ordinal as usize].clone())).collect();
        prop_assert_eq!(labels.unwrap(), expected);
    }

    #[test]
    fn labels_are_found_in_any_order(ordinals in vec(0_u32..600, 1..20)) {
        let streams: Vec<Labels> = cluster(200).into_iter().collect();
        let index = Index::open(build(&streams).into()).unwrap();
        for item in index.labels_of(ordinals.iter().copied()).unwrap() {
            let (ordinal, labels) = item.unwrap();
            prop_assert_eq!(&labels, &streams[ordinal as usize]);
            prop_assert_eq!(index.labels(ordinal), Ok(labels));
        }
    }

    #[test]
    fn damage_is_an_error_or_without_effect(streams in btree_set(labels(), 0..80), matcher in matcher(),
                                            at: prop::sample::Index, bit in 0_u8..8, cut: bool) {
        let intact = build(&streams);
        let mut damaged = intact.clone();
        let at = at.index(intact.len());
        if cut { damaged.truncate(at) } else { damaged[at] ^= 1 << bit }
        let expected = answers(&Index::open(intact.into()).unwrap(), &matcher).unwrap();
        let found = Index::open(damaged.into()).and_then(|index| answers(&index, &matcher));
        prop_assert!(found.is_err() || found.as_ref() == Ok(&expected));
        prop_assert!(found.is_err() || !cut);
    }

    #[test]
    fn any_bytes_are_opened_without_panic(bytes: Vec<u8>, block: Vec<u8>, is_compressed: bool, streams in 1_u32..257) {
        drop(Index::open(bytes.into()));
        // With good checksums around a block of streams, so that the block itself is looked at.
        let mut inflated_len = Vec::new();
        encoding::put_varint(&mut inflated_len, block.len() as u64);
        let compressed = [inflated_len, zstd::bulk::compress(&block, 1).unwrap()].concat();
        let block = if is_compressed { compressed } else { block };
        let table = [&0_u64.to_le_bytes()[..], &encoding::crc32(&block).to_le_bytes()].concat();
        let mut bytes = Vec::from(*b"LKIX\x01\0\0\0");
        bytes.extend(streams.to_le_bytes());
        for section in [&[][..], &[], &table] {
            bytes.extend((section.len() as u64).to_le_bytes());
            bytes.extend(encoding::crc32(section).to_le_bytes());
        }
        bytes.extend((block.len() as u64).to_le_bytes());
        bytes.extend(encoding::crc32(&bytes).to_le_bytes());
        bytes.extend(table);
        let index = Index::open([&bytes[..], &block].concat().into()).unwrap();
        drop(index.labels_of(0..streams).unwrap().collect::<Vec<_>>());
        prop_assert!(index.select(&[]).is_ok());
        prop_assert!(index.label_names(None).is_err());
    }
}

#[test]
fn an_absent_label_has_the_empty_value() {
    let streams = ["{}", r#"{a="x"}"#, r#"{a="x", b="y"}"#, r#"{b="y"}"#].map(|text| Labels::parse(text).unwrap());
    let index = Index::open(build(&streams).into()).unwrap();
    let select = |op, value| {
        let matcher = Matcher::new("a", op, value).unwrap();
        index.select(&[matcher]).unwrap().iter().collect::<Vec<_>>()
    };
    assert_eq!(select(MatchOp::Equal, ""), [0, 3]);
    assert_eq!(select(MatchOp::NotEqual, ""), [1, 2]);
    assert_eq!(select(MatchOp::NotEqual, "x"), [0, 3]);
    assert_eq!(select(MatchOp::Regex, "x|"), [0, 1, 2, 3]);
    assert_eq!(select(MatchOp::NotRegex, ".+"), [0, 3]);
}

#[test]
fn an_index_without_streams_answers_with_nothing() {
    let index = Index::open(build([]).into()).unwrap();
    assert!(index.select(&[]).unwrap().is_empty());
    assert!(index.label_names(None).unwrap().is_empty());
    assert!(index.labels(0).is_err());
}

#[test]
fn names_and_values_of_few_streams_among_many_are_found() {
    // More pods than are looked at before the streams are.
    let streams = cluster(200);
    let index = Index::open(build(&streams).into()).unwrap();
    for (ordinal, labels) in (0..).zip(&streams).step_by(7) {
        let within = RoaringBitmap::from([ordinal]);
        assert_eq!(index.label_names(Some(&within)).unwrap(), ["app", "cluster", "level", "namespace", "pod"]);
        assert_eq!(index.label_values("pod", Some(&within)).unwrap(), [labels.get("pod").unwrap()]);
        assert!(index.label_values("missing", Some(&within)).unwrap().is_empty());
    }
    assert!(index.label_values("pod", Some(&RoaringBitmap::new())).unwrap().is_empty());
    assert_eq!(index.label_values("pod", Some(&(0..600).collect())), index.label_values("pod", None));
}

#[test]
fn streams_out_of_order_or_repeated_are_refused() {
    let [a, b] = [r#"{a="x"}"#, r#"{b="x"}"#].map(|text| Labels::parse(text).unwrap());
    let mut builder = IndexBuilder::new();
    assert_eq!(builder.push(&b), Ok(0));
    assert_eq!(builder.push(&b), Err(Error::RowOrder));
    assert_eq!(builder.push(&a), Err(Error::RowOrder));
}

#[test]
fn labels_are_taken_up_to_the_limit() {
    // The name, its length, and a value length of three bytes.
    let labels_of = |bytes: usize| Labels::from_sorted([("a", "v".repeat(bytes - 5))]);
    let largest = labels_of(LABELS_BYTES_LIMIT);
    assert_eq!(largest.size_bytes(), LABELS_BYTES_LIMIT);
    let mut builder = IndexBuilder::new();
    assert!(matches!(builder.push(&labels_of(LABELS_BYTES_LIMIT + 1)), Err(Error::Limit { limit: 262_144, .. })));
    assert_eq!(builder.push(&largest), Ok(0));
    let index = Index::open(builder.finish().unwrap().into()).unwrap();
    assert_eq!(index.labels(0), Ok(largest));
}

#[test]
fn a_damaged_section_fails_only_what_needs_it() {
    let streams = cluster(100);
    let intact = build(&streams);
    let app = Matcher::new("app", MatchOp::Equal, "service-3").unwrap();
    let damaged = |from_end: usize| {
        let mut bytes = intact.clone();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        Index::open(bytes.into()).unwrap()
    };
    let last_block = damaged(1);
    assert_eq!(last_block.select(std::slice::from_ref(&app)).unwrap().len(), 30);
    assert_eq!(last_block.labels(0).as_ref(), Ok(streams.first().unwrap()));
    let error = last_block.labels(299).unwrap_err();
    assert!(matches!(error, Error::Corrupt { what: "stream block", source: Corruption::Checksum { .. }, .. }));

    let head_bytes = 60;
    let symbols = damaged(intact.len() - head_bytes);
    assert!(matches!(symbols.select(&[app]), Err(Error::Corrupt { what: "symbols", .. })));
    assert_eq!(symbols.labels(0).as_ref(), Ok(streams.first().unwrap()));
}

#[test]
fn a_cluster_takes_few_bytes_per_stream() {
    let streams = cluster(2_000);
    let bytes = build(&streams).len();
    assert!(bytes <= streams.len() * 12, "{bytes} bytes for {} streams", streams.len());
}

#[test]
fn other_versions_are_refused() {
    let open = |at: usize, value: u8| {
        let mut bytes = build([]);
        bytes[at] = value;
        Index::open(bytes.into()).unwrap_err()
    };
    assert!(matches!(open(0, b'X'), Error::Corrupt { source: Corruption::Magic { .. }, .. }));
    assert!(matches!(open(4, 2), Error::Corrupt { source: Corruption::Version { found: 2, supported: 1 }, .. }));
}

#[test]
fn the_example_of_the_format_is_read() {
    let streams = [
        r#"{app="api", pod="a"}"#,
        r#"{app="api", pod="b"}"#,
        r#"{app="api", pod="c"}"#,
        r#"{app="api", pod="d"}"#,
        r#"{app="web"}"#,
    ];
    let streams = streams.map(|text| Labels::parse(text).unwrap());
    let index = Index::open(hex_example(include_str!("../format/index.md")).into()).unwrap();
    let read: Vec<_> = index.labels_of(0..5).unwrap().map(|item| item.unwrap().1).collect();
    assert_eq!(read, streams);
    let selected = index.select(&[Matcher::new("app", MatchOp::Equal, "api").unwrap()]).unwrap();
    assert_eq!(selected.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(index.label_values("pod", None).unwrap(), ["a", "b", "c", "d"]);
}

#[test]
fn a_builder_knows_about_what_it_holds() {
    let pods: Vec<Labels> =
        (0..2000).map(|pod| Labels::from_pairs([("app", "x"), ("pod", &format!("pod-{pod:08}"))]).unwrap()).collect();
    let mut builder = IndexBuilder::new();
    assert_eq!(builder.held_bytes(), 0);
    for labels in &pods {
        builder.push(labels).unwrap();
    }
    let (held, symbols) = (builder.held_bytes(), 2000 * ("pod".len() + 1 + "pod-00000000".len()));
    assert!(held > symbols && held < 20 * symbols, "{held} bytes for {symbols} of text");
    // Ordinals that do not follow each other are kept one by one.
    let mut scattered = IndexBuilder::new();
    let (mut one, mut other) = (0, 0);
    for n in 0..2000 {
        let parity = if n % 2 == 0 { "even" } else { "odd" };
        scattered.push(&Labels::from_pairs([("a", format!("{n:08}").as_str()), ("p", parity)]).unwrap()).unwrap();
        (one, other) = (other, scattered.held_bytes());
    }
    assert!(other - one >= size_of::<std::ops::Range<u32>>());
}
