//! Chunks: rows come back, and bytes that somebody forged, checksums included, do no harm.

use loki_core::encoding::crc32;
use loki_core::{Chunk, ChunkBuilder, ChunkOptions, Codec, Error, Labels, Run, Timestamp};

use crate::input::Input;

const CODECS: [Codec; 5] = [Codec::None, Codec::Snappy, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::Gzip];
const NAMES: [&str; 4] = ["", "detected_level", "span", "trace_id"];
const HEAD_BYTES: usize = 16;
const PART_HEAD_BYTES: usize = 16;

#[derive(Debug, PartialEq)]
struct Row {
    stream: u32,
    timestamp: i64,
    line: Vec<u8>,
    metadata: Labels,
}

/// Runs the target.
pub fn run(data: &[u8]) {
    if let Ok(chunk) = Chunk::open(data.to_vec().into()) {
        let _ = read(&chunk);
    }
    let mut input = Input::new(data);
    let codec = CODECS[input.below(CODECS.len())];
    let rows = rows(&mut input);
    let mut builder = ChunkBuilder::new(ChunkOptions { codec, level: 0 });
    for row in &rows {
        builder
            .append(row.stream, Timestamp(row.timestamp), &row.line, &row.metadata)
            .expect("rows are sorted and few");
    }
    let Ok(sealed) = builder.finish() else {
        assert!(rows.is_empty());
        return;
    };
    let chunk = Chunk::open(sealed.bytes.clone()).and_then(Chunk::verified).expect("it was just written");
    assert_eq!(read(&chunk).expect("it was just written"), rows);

    let mut forged = sealed.bytes.to_vec();
    input.forge(&mut forged);
    reseal(&mut forged);
    if let Ok(chunk) = Chunk::open(forged.into())
        && let Ok(rows) = read(&chunk)
    {
        assert_eq!(rows.len(), chunk.rows() as usize);
    }
}

fn rows(input: &mut Input<'_>) -> Vec<Row> {
    let units = [1, 1_000_000, 1_000_000_000, 1 << 40];
    let (mut stream, mut timestamp) = (u32::from(input.u8()), input.i64());
    let count = input.below(64);
    (0..count)
        .map(|_| {
            let step = input.u8();
            if step & 7 == 7 {
                stream += u32::from(step >> 3) + 1;
                timestamp = input.i64();
            }
            let unit = units[usize::from(step >> 3) % units.len()];
            timestamp = timestamp.saturating_add(unit * i64::from(input.u8()));
            let line = input.short().repeat(1 + usize::from(step >> 6));
            let names = NAMES.iter().filter(|_| step & 8 != 0 && input.u8() & 1 != 0).copied().collect::<Vec<_>>();
            let metadata = Labels::from_sorted(names.into_iter().map(|name| (name, value(input))));
            Row { stream, timestamp, line, metadata }
        })
        .collect()
}

fn value(input: &mut Input<'_>) -> String {
    match input.below(4) {
        0 => ["info", "error", ""][input.below(3)].to_owned(),
        1 => format!("{:016x}", input.i64()),
        2 => format!("{:08x}-0000-4000-8000-{:012x}", input.u16(), input.u16()),
        _ => input.text().to_owned(),
    }
}

/// Reads whatever can be read.
fn read(chunk: &Chunk) -> Result<Vec<Row>, Error> {
    let streams = chunk.runs()?.into_iter().flat_map(|Run { stream, rows }| std::iter::repeat_n(stream, rows as usize));
    let (timestamps, text, metadata) = (chunk.timestamps()?, chunk.text()?, chunk.metadata()?);
    assert_eq!(text.lines().count(), chunk.rows() as usize);
    assert_eq!(text.line_lengths().len(), chunk.rows() as usize);
    let mut finder = text.row_finder();
    for at in (0..text.as_bytes().len()).step_by(7) {
        let found = finder.line_at(at).expect("a position within the text");
        assert!(found.row < chunk.rows());
        assert_eq!(&text.as_bytes()[found.range], text.line(found.row));
    }
    for column in metadata.columns() {
        assert_eq!(column.dictionary().count(), column.dictionary_len() as usize);
        assert_eq!(column.ids().count(), column.present_rows() as usize);
        assert!(column.ids().all(|(row, id)| row < chunk.rows() && id < column.dictionary_len()));
        let _ = column.id_of(column.dictionary_value(0));
    }
    let rows = streams.zip(timestamps).zip(0..).map(|((stream, timestamp), at)| Row {
        stream,
        timestamp,
        line: text.line(at).to_vec(),
        metadata: Labels::from_sorted(metadata.row(at)),
    });
    Ok(rows.collect())
}

/// Writes the checksums anew.
fn reseal(bytes: &mut [u8]) {
    let head_len = HEAD_BYTES + usize::from(bytes[7]) * PART_HEAD_BYTES;
    let mut start = head_len + 4;
    if start > bytes.len() {
        return;
    }
    for head in (HEAD_BYTES..head_len).step_by(PART_HEAD_BYTES) {
        let len = u32::from_le_bytes(bytes[head + 8..head + 12].try_into().expect("four bytes")) as usize;
        let end = start.saturating_add(len).min(bytes.len());
        let checksum = crc32(&bytes[start..end]);
        bytes[head + 12..head + 16].copy_from_slice(&checksum.to_le_bytes());
        start = end;
    }
    let checksum = crc32(&bytes[..head_len]);
    bytes[head_len..head_len + 4].copy_from_slice(&checksum.to_le_bytes());
}
