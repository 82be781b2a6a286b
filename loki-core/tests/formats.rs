//! The stored forms of chunks from the outside: what was written comes back, damage is noticed, old bytes still open.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use loki_core::chunk::{MAX_ROWS, MAX_TEXT_BYTES, PartKind};
use loki_core::encoding::crc32;
use loki_core::{Chunk, ChunkBuilder, ChunkOptions, Codec, Corruption, Error, Labels, Run, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

const CODECS: [(&str, Codec); 5] = [
    ("none", Codec::None),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd { level: 1 }),
    ("gzip", Codec::Gzip),
];
const HEAD_BYTES: usize = 16;
const PART_HEAD_BYTES: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    stream: u32,
    timestamp: i64,
    line: Vec<u8>,
    metadata: BTreeMap<String, String>,
}

fn seal(rows: &[Row], codec: Codec) -> Bytes {
    let mut builder = ChunkBuilder::new(ChunkOptions { codec, level: 3 });
    append_all(&mut builder, rows);
    builder.finish().unwrap().bytes
}

fn append_all(builder: &mut ChunkBuilder, rows: &[Row]) {
    for row in rows {
        let metadata = Labels::from_sorted(&row.metadata);
        builder.append(row.stream, Timestamp(row.timestamp), &row.line, &metadata).unwrap();
    }
}

/// Everything that can be read from a chunk.
fn decode(bytes: Bytes) -> Result<Vec<Row>, Error> {
    let chunk = Chunk::open(bytes)?;
    let streams = chunk.runs()?.into_iter().flat_map(|Run { stream, rows }| std::iter::repeat_n(stream, rows as usize));
    let (timestamps, text, metadata) = (chunk.timestamps()?, chunk.text()?, chunk.metadata()?);
    let rows = streams.zip(timestamps).enumerate().map(|(at, (stream, timestamp))| Row {
        stream,
        timestamp,
        line: text.line(at as u32).to_vec(),
        metadata: metadata.row(at as u32).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    });
    Ok(rows.collect())
}

fn is_corrupt<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Corrupt { .. }))
}

/// Writes the checksums anew after something was changed on purpose.
fn reseal(bytes: &mut [u8]) {
    let parts = usize::from(bytes[7]);
    let head_len = HEAD_BYTES + parts * PART_HEAD_BYTES;
    let mut start = head_len + 4;
    for part in 0..parts {
        let head = HEAD_BYTES + part * PART_HEAD_BYTES;
        let len = u32::from_le_bytes(bytes[head + 8..head + 12].try_into().unwrap()) as usize;
        let checksum = crc32(&bytes[start..start + len]);
        bytes[head + 12..head + 16].copy_from_slice(&checksum.to_le_bytes());
        start += len;
    }
    let checksum = crc32(&bytes[..head_len]);
    bytes[head_len..head_len + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let line = prop_oneof![
        4 => "[a-z =]{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    let metadata = proptest::collection::btree_map("a|b|trace", "x|yy|[0-9a-f]{8}|", 0..3);
    let timestamp = prop_oneof![(0_i64..100).prop_map(|millis| millis * 1_000_000), any::<i64>()];
    let row = (0_u32..4, timestamp, line, metadata);
    proptest::collection::vec(row, 1..60).prop_map(|rows| {
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|(stream, timestamp, line, metadata)| Row { stream: stream * stream, timestamp, line, metadata })
            .collect();
        rows.sort();
        rows
    })
}

proptest! {
    #[test]
    fn rows_come_back(rows in rows(), codec in 0..CODECS.len()) {
        let bytes = seal(&rows, CODECS[codec].1);
        let lengths: Vec<u32> = rows.iter().map(|row| row.line.len() as u32).collect();
        let chunk = Chunk::open(bytes.clone()).unwrap();
        prop_assert_eq!(chunk.raw_bytes(), u64::from(lengths.iter().sum::<u32>()));
        prop_assert_eq!(&chunk.line_lengths().unwrap(), &lengths);
        let verified = chunk.verified().unwrap();
        prop_assert_eq!(verified.text().unwrap().line_lengths(), lengths);
        prop_assert_eq!(decode(bytes).unwrap(), rows);
    }

    #[test]
    fn a_flipped_byte_is_noticed(rows in rows(), codec in 0..CODECS.len(), at: Index, flip in 1_u8..) {
        let mut bytes = seal(&rows, CODECS[codec].1).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let bytes = Bytes::from(bytes);
        prop_assert!(is_corrupt(&decode(bytes.clone())));
        prop_assert!(is_corrupt(&Chunk::open(bytes).and_then(Chunk::verified)));
    }

    #[test]
    fn missing_or_excess_bytes_are_noticed(rows in rows(), at: Index) {
        let bytes = seal(&rows, Codec::default());
        let cut = bytes.slice(..at.index(bytes.len()));
        prop_assert!(is_corrupt(&Chunk::open(cut)));
        let excess = [&bytes[..], b"x"].concat();
        prop_assert!(is_corrupt(&Chunk::open(excess.into())));
    }

    /// Whoever can write checksums can write anything. Such bytes may decode to anything, but must not do harm.
    #[test]
    fn forged_bytes_are_harmless(
        rows in rows(),
        codec in 0..CODECS.len(),
        forgeries in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = seal(&rows, CODECS[codec].1).to_vec();
        let parts = bytes[7];
        for (at, byte) in forgeries {
            let at = at.index(bytes.len());
            // Lengths and the number of parts are left alone, or nothing else would ever be reached.
            let is_length = at < HEAD_BYTES + usize::from(parts) * PART_HEAD_BYTES && at % 16 >= 4;
            if at != 7 && !is_length {
                bytes[at] = byte;
            }
        }
        reseal(&mut bytes);
        if let Ok(decoded) = decode(bytes.into()) {
            prop_assert_eq!(decoded.len(), rows.len());
        }
    }

    #[test]
    fn forged_lengths_are_harmless(rows in rows(), at in 8_usize..100, byte: u8) {
        let mut bytes = seal(&rows, Codec::None).to_vec();
        let head_len = HEAD_BYTES + usize::from(bytes[7]) * PART_HEAD_BYTES;
        if at < head_len {
            bytes[at] = byte;
            let checksum = crc32(&bytes[..head_len]);
            bytes[head_len..head_len + 4].copy_from_slice(&checksum.to_le_bytes());
        }
        let _ = decode(bytes.into());
    }
}

/// The rows of the files in `tests/data`.
fn golden_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for i in 0..200_u32 {
        let mut metadata = BTreeMap::new();
        if i % 5 == 0 {
            metadata.insert("trace_id".to_owned(), format!("{:032x}", u128::from(i) << 90 | u128::from(i)));
            metadata.insert("request".to_owned(), format!("{i:08x}-0000-4000-8000-00000000000{}", i % 3));
        }
        if i % 3 == 0 {
            metadata.insert("level".to_owned(), ["info", "warn", ""][i as usize % 9 / 3].to_owned());
        }
        rows.push(Row {
            stream: i / 70 * 5,
            timestamp: 1_760_400_000_000_000_000 + i64::from(i % 70) * 1_500_000 * i64::from(i / 70 + 1),
            line: format!("level=info msg=\"request {i}\" status={}", 200 + i % 7).into_bytes(),
            metadata,
        });
    }
    rows
}

/// Chunks written by the first version. They are never written anew, only added to when a new version comes.
/// `UPDATE_GOLDEN=1` writes those that are missing.
#[test]
fn old_chunks_still_open() {
    let rows = golden_rows();
    for (name, codec) in CODECS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/chunk-v1-{name}.bin"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
            std::fs::write(&path, seal(&rows, codec)).unwrap();
        }
        let stored = std::fs::read(&path).unwrap();
        assert_eq!(decode(stored.into()).unwrap(), rows, "{name}");
    }
}

/// The bytes of the example in the specification, which are what is left of each line's comment.
fn example_bytes() -> Vec<u8> {
    let specification = include_str!("../src/format/chunk.md");
    let (_, example) = specification.split_once("## Example").unwrap();
    let (_, example) = example.split_once("```text\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let bytes = example.lines().flat_map(|line| {
        line.split_whitespace().map_while(|word| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok())?)
    });
    bytes.collect()
}

#[test]
fn the_example_of_the_specification_is_what_is_written() {
    let row = |stream, millis: i64, line: &str, metadata: &[(&str, &str)]| Row {
        stream,
        timestamp: 1_760_400_000_000_000_000 + millis * 1_000_000,
        line: line.into(),
        metadata: metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let rows = [row(4, 0, "GET /", &[("id", "00c0ffee")]), row(4, 1500, "GET /a", &[]), row(9, 10, "up", &[])];
    let mut builder = ChunkBuilder::new(ChunkOptions { codec: Codec::None, level: 0 });
    append_all(&mut builder, &rows);
    let written = builder.finish().unwrap().bytes;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(hex(&example_bytes()), hex(&written));
    assert_eq!(decode(example_bytes().into()).unwrap(), rows);
}

#[test]
fn a_builder_is_used_again() {
    let rows = golden_rows();
    let mut builder = ChunkBuilder::new(ChunkOptions { level: 3, ..ChunkOptions::default() });
    append_all(&mut builder, &rows);
    let first = builder.finish().unwrap();
    assert!(builder.is_empty() && builder.raw_bytes() == 0 && builder.size_bytes() == 0);
    assert_eq!(builder.finish().unwrap_err(), Error::Empty { what: "chunk" });
    append_all(&mut builder, &rows);
    let second = builder.finish().unwrap();
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(first.summary, second.summary);
    assert_eq!((first.summary.first_stream, first.summary.last_stream, first.summary.rows), (0, 10, 200));
    let latest = rows.iter().map(|row| row.timestamp).max().unwrap();
    assert_eq!(first.summary.max_timestamp, Timestamp(latest));
    assert_eq!(first.summary.min_timestamp, Timestamp(rows[0].timestamp));
    assert_eq!(first.summary.raw_bytes, rows.iter().map(|row| row.line.len() as u64).sum::<u64>());
}

#[test]
fn unsorted_rows_are_refused_and_forgotten() {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    builder.append(1, Timestamp(5), b"a", &Labels::EMPTY).unwrap();
    assert_eq!(builder.append(1, Timestamp(4), b"b", &Labels::EMPTY), Err(Error::RowOrder));
    assert_eq!(builder.append(0, Timestamp(9), b"b", &Labels::EMPTY), Err(Error::RowOrder));
    builder.append(1, Timestamp(5), b"c", &Labels::EMPTY).unwrap();
    builder.append(2, Timestamp(1), b"d", &Labels::EMPTY).unwrap();
    let lines: Vec<_> = decode(builder.finish().unwrap().bytes).unwrap().into_iter().map(|row| row.line).collect();
    assert_eq!(lines, [b"a", b"c", b"d"]);
}

#[test]
fn a_builder_shows_what_was_appended() {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    let set = |pairs: &[(&str, &str)]| Labels::from_sorted(pairs.iter().copied());
    builder.append(0, Timestamp(1), b"one", &Labels::EMPTY).unwrap();
    assert_eq!((builder.text(), builder.has_metadata()), (&b"one\n"[..], false));
    assert_eq!(builder.metadata_pairs().count(), 0);
    let size_without_metadata = builder.size_bytes();
    let (level, both) = (set(&[("level", "info")]), set(&[("id", "7"), ("level", "info")]));
    builder.append(0, Timestamp(2), b"two\nlines", &level).unwrap();
    builder.append(0, Timestamp(3), b"", &both).unwrap();
    // A refused row leaves nothing behind.
    assert_eq!(builder.append(0, Timestamp(2), b"late", &set(&[("id", "8")])), Err(Error::RowOrder));

    assert_eq!(builder.text(), b"one\ntwo\nlines\n\n");
    assert!(builder.has_metadata() && builder.size_bytes() > size_without_metadata);
    let mut pairs: Vec<(&str, &str)> = builder.metadata_pairs().collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [("id", "7"), ("level", "info")]);
    builder.clear();
    assert!(builder.text().is_empty() && !builder.has_metadata() && builder.is_empty());
    assert_eq!(builder.metadata_pairs().count(), 0);
}

#[test]
fn rows_are_limited() {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    for _ in 0..MAX_ROWS {
        builder.append(0, Timestamp(0), b"", &Labels::EMPTY).unwrap();
    }
    let error = builder.append(0, Timestamp(0), b"", &Labels::EMPTY).unwrap_err();
    assert!(matches!(error, Error::Limit { limit, .. } if limit == u64::from(MAX_ROWS)));
    let chunk = Chunk::open(builder.finish().unwrap().bytes).unwrap();
    assert_eq!(chunk.timestamps().unwrap().len(), MAX_ROWS as usize);
    assert_eq!(chunk.text().unwrap().lines().count(), MAX_ROWS as usize);
}

#[test]
fn text_is_limited() {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    let line = vec![b'x'; MAX_TEXT_BYTES as usize - 1];
    builder.append(0, Timestamp(0), &line, &Labels::EMPTY).unwrap();
    assert!(matches!(builder.append(0, Timestamp(0), b"", &Labels::EMPTY), Err(Error::Limit { .. })));
    let chunk = Chunk::open(builder.finish().unwrap().bytes).unwrap();
    assert_eq!(chunk.text().unwrap().line(0).len(), line.len());
}

#[test]
fn metadata_names_are_limited() {
    let mut builder = ChunkBuilder::new(ChunkOptions::default());
    let names: Vec<String> = (0..=loki_core::chunk::MAX_METADATA_COLUMNS).map(|i| format!("{i:08}")).collect();
    let (extra, allowed) = names.split_last().unwrap();
    let mut append = |set: Labels| builder.append(0, Timestamp(0), b"", &set);
    append(Labels::from_sorted(allowed.iter().map(|name| (name, "v")))).unwrap();
    assert!(matches!(append(Labels::from_sorted([(extra, "v")])), Err(Error::Limit { .. })));
    append(Labels::from_sorted([(&names[7], "w")])).unwrap();
    let metadata = Chunk::open(builder.finish().unwrap().bytes).unwrap().metadata().unwrap();
    assert_eq!(metadata.columns().len(), allowed.len());
    assert!(metadata.row(1).eq([(names[7].as_str(), "w")]));
}

#[test]
fn parts_of_newer_versions_are_skipped_and_their_codecs_fail_alone() {
    let rows = golden_rows();
    let mut bytes = seal(&rows, Codec::default()).to_vec();
    let last_head = HEAD_BYTES + (usize::from(bytes[7]) - 2) * PART_HEAD_BYTES;
    assert_eq!(bytes[last_head], PartKind::METADATA.0);

    let mut newer_codec = bytes.clone();
    newer_codec[last_head + 1] = 77;
    reseal(&mut newer_codec);
    let chunk = Chunk::open(newer_codec.into()).unwrap();
    assert_eq!(chunk.metadata().unwrap_err(), Error::Unsupported { what: "codec", found: 77 });
    assert_eq!(chunk.text().unwrap().rows(), 200);

    bytes[last_head] = 0x1f;
    reseal(&mut bytes);
    let chunk = Chunk::open(bytes.into()).unwrap();
    assert!(!chunk.has_metadata());
    assert!(chunk.metadata().unwrap().is_empty());
    assert_eq!(chunk.text().unwrap().rows(), 200);
}

#[test]
fn a_newer_version_is_refused() {
    let mut bytes = seal(&golden_rows(), Codec::default()).to_vec();
    bytes[4] = 2;
    reseal(&mut bytes);
    let error = Chunk::open(bytes.into()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { source: Corruption::Version { found: 2, supported: 1 }, .. }));
}

#[test]
fn parts_that_do_not_compress_are_stored_as_they_are() {
    let chunk = Chunk::open(seal(&golden_rows()[..1], Codec::default())).unwrap();
    let stored = chunk.as_bytes().clone();
    let text = chunk.text().unwrap();
    assert!(stored.as_ptr_range().contains(&text.as_bytes().as_ptr()), "read without a copy");
}

#[test]
fn sizes_of_parts_fill_the_chunk_behind_its_head() {
    let metadata = BTreeMap::from([("trace".to_owned(), "00c0ffee".to_owned())]);
    let rows: Vec<Row> = (0..100)
        .map(|at| Row { stream: 1, timestamp: at, line: b"GET / HTTP/1.1".to_vec(), metadata: metadata.clone() })
        .collect();
    let bytes = seal(&rows, Codec::Zstd { level: 1 });
    let chunk = Chunk::open(bytes.clone()).unwrap();
    let parts: Vec<_> = chunk.part_sizes().collect();
    let columns: Vec<_> = parts.iter().filter_map(|part| part.kind.column()).collect();
    assert_eq!(columns, ["RUNS", "TS", "TEXT", "METADATA", "FIXED"]);
    let stored: usize = parts.iter().map(|part| part.stored_bytes as usize).sum();
    assert_eq!(HEAD_BYTES + parts.len() * PART_HEAD_BYTES + 4 + stored, bytes.len());
    assert!(parts.iter().all(|part| u64::from(part.raw_bytes) == chunk.part_raw_bytes(part.kind)));
}
