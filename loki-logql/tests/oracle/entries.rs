//! Random entries of a small world: few streams, few levels, small numbers, many coincidences.

use std::collections::HashSet;

use loki_core::{Entry, Labels, Timestamp};
use proptest::prelude::*;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// An entry that was pushed; its place in a list is its rank of arrival.
#[derive(Clone, Debug)]
pub(crate) struct StoredEntry {
    pub(crate) labels: Labels,
    pub(crate) timestamp: i64,
    pub(crate) line: String,
    pub(crate) metadata: Labels,
}

impl StoredEntry {
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            timestamp: Timestamp(self.timestamp),
            line: self.line.clone().into_bytes().into(),
            metadata: self.metadata.clone(),
        }
    }
}

const STREAMS: [&[(&str, &str)]; 4] = [
    &[("app", "a"), ("env", "x")],
    &[("app", "a"), ("env", "y")],
    &[("app", "b"), ("env", "x"), ("lvl", "own")],
    &[("app", "c")],
];

/// Structured metadata. No name collides both with a stream label and with a word of a line.
const METADATA: [&[(&str, &str)]; 3] = [&[("trace", "t1")], &[("env", "meta"), ("trace", "t2")], &[]];

/// Up to sixty entries without exact duplicates, in the order of arrival.
///
/// Entries of different streams never have one time, because which of them comes first is nobody's promise.
pub(crate) fn stored_entries() -> impl Strategy<Value = Vec<StoredEntry>> {
    let metadata = prop_oneof![2 => Just(METADATA.len() - 1), 1 => 0..METADATA.len()];
    let entry = (0..STREAMS.len(), 0..40_i64, 0..3_i64, line(), metadata);
    prop::collection::vec(entry, 0..60).prop_map(|drafts| {
        let mut known = HashSet::new();
        let mut entries = Vec::new();
        for (stream, second, nanos, line, metadata) in drafts {
            let timestamp = second * SECOND + (nanos - 1) * STREAMS.len() as i64 + stream as i64 - 1;
            if known.insert((stream, timestamp, line.clone(), metadata)) {
                entries.push(StoredEntry {
                    labels: Labels::from_pairs(STREAMS[stream].iter().copied()).expect("unique names"),
                    timestamp,
                    line,
                    metadata: Labels::from_pairs(METADATA[metadata].iter().copied()).expect("unique names"),
                });
            }
        }
        entries
    })
}

fn line() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just(""), Just("lvl=info"), Just("lvl=warn"), Just("app=line"), Just("trace=line")];
    let value = prop_oneof![
        80 => (-3..9_i32).prop_map(|v| format!("v={v}")),
        10 => Just(String::new()),
        10 => Just("v=NaN".to_owned()),
        1 => Just("v=bad".to_owned()),
    ];
    (level, value).prop_map(|(level, value)| format!("{level} {value}").trim().to_owned())
}
