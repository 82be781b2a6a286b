//! A corpus as clients send it.

use loki_core::Entry;
use loki_core::encoding::{put_prefixed, put_varint};

use crate::{Corpus, NANOS_PER_SECOND, Stream};

/// The tags of the length-delimited fields 1, 2 and 3, and of the varint fields 1 and 2.
const BYTES: [u8; 3] = [0x0a, 0x12, 0x1a];
const VARINT: [u8; 2] = [0x08, 0x10];

/// The corpus as `PushRequest`s in snappy blocks, each with up to `entries` entries of one stream.
pub fn push_bodies(corpus: &Corpus, entries: usize) -> Vec<Vec<u8>> {
    let requests =
        corpus.streams.iter().flat_map(|stream| stream.entries.chunks(entries).map(|batch| request(stream, batch)));
    let mut encoder = snap::raw::Encoder::new();
    requests.map(|request| encoder.compress_vec(&request).expect("requests are small")).collect()
}

fn request(stream: &Stream, entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, 0, stream.labels.to_string().as_bytes());
    for entry in entries {
        let mut message = Vec::new();
        let mut timestamp = Vec::new();
        for (tag, number) in VARINT
            .into_iter()
            .zip([entry.timestamp.as_nanos() / NANOS_PER_SECOND, entry.timestamp.as_nanos() % NANOS_PER_SECOND])
        {
            timestamp.push(tag);
            put_varint(&mut timestamp, number as u64);
        }
        put(&mut message, 0, &timestamp);
        put(&mut message, 1, &entry.line);
        for (name, value) in &entry.metadata {
            let mut pair = Vec::new();
            put(&mut pair, 0, name.as_bytes());
            put(&mut pair, 1, value.as_bytes());
            put(&mut message, 2, &pair);
        }
        put(&mut body, 1, &message);
    }
    let mut request = Vec::new();
    put(&mut request, 0, &body);
    request
}

fn put(out: &mut Vec<u8>, field: usize, bytes: &[u8]) {
    out.push(BYTES[field]);
    put_prefixed(out, bytes);
}
