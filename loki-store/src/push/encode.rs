//! Writing Loki's `PushRequest`.

use loki_core::encoding::{put_varint, varint_len};
use loki_core::{Labels, Timestamp};

use super::PushStream;
use super::staged::Staged;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The tags of length-delimited fields 1, 2 and 3.
const FIELD_1: u8 = 1 << 3 | 2;
const FIELD_2: u8 = 2 << 3 | 2;
const FIELD_3: u8 = 3 << 3 | 2;
/// The tags of varint fields 1 and 2.
const INTEGER_1: u8 = 1 << 3;
const INTEGER_2: u8 = 2 << 3;

/// The request that holds `streams`.
pub(super) fn streams(streams: &[PushStream]) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in streams {
        let entries = stream.entries.iter().map(|entry| (entry.timestamp, &*entry.line, entry.metadata.clone()));
        put_stream(&mut out, &stream.labels, entries);
    }
    out
}

/// The request that holds what is staged, in its stored form.
pub(super) fn staged(staged: &Staged) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in staged.streams() {
        let entries = stream.entries().map(|entry| {
            let metadata = Labels::from_bytes(entry.metadata.to_vec().into()).unwrap_or_default();
            (entry.timestamp, entry.line, metadata)
        });
        put_stream(&mut out, stream.labels(), entries);
    }
    out
}

fn put_stream<'a>(out: &mut Vec<u8>, labels: &Labels, entries: impl Iterator<Item = (Timestamp, &'a [u8], Labels)>) {
    let mut stream = Vec::new();
    put_bytes(&mut stream, FIELD_1, labels.to_string().as_bytes());
    for (timestamp, line, metadata) in entries {
        put_entry(&mut stream, timestamp, line, &metadata);
    }
    put_bytes(out, FIELD_1, &stream);
}

fn put_entry(out: &mut Vec<u8>, timestamp: Timestamp, line: &[u8], metadata: &Labels) {
    let seconds = timestamp.as_nanos().div_euclid(NANOS_PER_SECOND) as u64;
    let nanos = timestamp.as_nanos().rem_euclid(NANOS_PER_SECOND) as u64;
    let time_len = integer_len(seconds) + integer_len(nanos);
    let pairs_len: usize = metadata.iter().map(|(name, value)| bytes_len(pair_len(name, value))).sum();
    let len = bytes_len(time_len) + bytes_len(line.len()) + pairs_len;

    out.push(FIELD_2);
    put_varint(out, len as u64);
    out.push(FIELD_1);
    put_varint(out, time_len as u64);
    put_integer(out, INTEGER_1, seconds);
    put_integer(out, INTEGER_2, nanos);
    put_bytes(out, FIELD_2, line);
    for (name, value) in metadata {
        out.push(FIELD_3);
        put_varint(out, pair_len(name, value) as u64);
        put_bytes(out, FIELD_1, name.as_bytes());
        put_bytes(out, FIELD_2, value.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The bytes that [`put_bytes`] appends for so many bytes.
const fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

const fn pair_len(name: &str, value: &str) -> usize {
    bytes_len(name.len()) + bytes_len(value.len())
}

/// Zero is what a missing integer means, so it is left out.
fn put_integer(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value > 0 {
        out.push(tag);
        put_varint(out, value);
    }
}

const fn integer_len(value: u64) -> usize {
    if value > 0 { 1 + varint_len(value) } else { 0 }
}
