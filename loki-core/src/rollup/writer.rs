//! Writing counts.

use super::Cell;
use crate::encoding::{self, put_varint, zigzag};
use crate::error::Error;
use crate::packing::put_column;

/// The most cells in a block, which is what a reader decodes at once.
pub const BLOCK_CELLS_LIMIT: usize = 1024;

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"LKRU");
pub(super) const VERSION: u8 = 1;
/// The bytes of a block's entry in the directory.
pub(super) const DIRECTORY_ENTRY_BYTES: usize = 12;

/// Collects counts in the order of streams and minutes.
#[derive(Debug, Default)]
pub struct RollupBuilder {
    /// The cells of the block that is being filled, with their streams.
    pending: Vec<(u32, Cell)>,
    directory: Vec<u8>,
    blocks: Vec<u8>,
}

impl RollupBuilder {
    /// A builder without counts.
    pub const fn new() -> Self {
        Self { pending: Vec::new(), directory: Vec::new(), blocks: Vec::new() }
    }

    /// Adds counts; those for the stream and minute of the call before are added to it.
    ///
    /// # Errors
    ///
    /// [`Error::RowOrder`] if the stream or, for the same stream, the minute is less than in the call before.
    pub fn add(&mut self, stream: u32, cell: Cell) -> Result<(), Error> {
        if let Some((last_stream, last)) = self.pending.last_mut() {
            if (*last_stream, last.minute) == (stream, cell.minute) {
                last.entries = last.entries.saturating_add(cell.entries);
                last.line_bytes = last.line_bytes.saturating_add(cell.line_bytes);
                last.metadata_bytes = last.metadata_bytes.saturating_add(cell.metadata_bytes);
                return Ok(());
            }
            if (*last_stream, last.minute) > (stream, cell.minute) {
                return Err(Error::RowOrder);
            }
        }
        if self.pending.len() == BLOCK_CELLS_LIMIT {
            self.seal_block();
        }
        self.pending.push((stream, cell));
        Ok(())
    }

    /// The memory that it takes by now.
    pub fn held_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<(u32, Cell)>() + self.directory.capacity() + self.blocks.capacity()
    }

    /// The bytes that [`Rollup::open`](super::Rollup::open) takes.
    pub fn finish(mut self) -> Vec<u8> {
        self.seal_block();
        let mut out = Vec::with_capacity(16 + self.directory.len() + self.blocks.len());
        out.extend(MAGIC.to_le_bytes());
        out.extend([VERSION, 0, 0, 0]);
        out.extend(((self.directory.len() / DIRECTORY_ENTRY_BYTES) as u32).to_le_bytes());
        out.extend(self.directory);
        let checksum = encoding::crc32(&out);
        out.extend(checksum.to_le_bytes());
        out.extend(self.blocks);
        out
    }

    fn seal_block(&mut self) {
        let Some((first_stream, _)) = self.pending.first() else {
            return;
        };
        let start = self.blocks.len();
        put_varint(&mut self.blocks, self.pending.len() as u64);
        put_runs(&mut self.blocks, &self.pending);
        let columns: [fn(&Cell) -> u64; 3] = [|cell| cell.entries, |cell| cell.line_bytes, |cell| cell.metadata_bytes];
        for column in columns {
            put_column(self.pending.iter().map(|(_, cell)| column(cell)), &mut self.blocks);
        }
        let block = &self.blocks[start..];
        self.directory.extend(first_stream.to_le_bytes());
        self.directory.extend((block.len() as u32).to_le_bytes());
        self.directory.extend(encoding::crc32(block).to_le_bytes());
        self.pending.clear();
    }
}

/// Appends which streams and minutes the cells of a block belong to, as runs of consecutive minutes.
fn put_runs(out: &mut Vec<u8>, cells: &[(u32, Cell)]) {
    let mut stream_before = cells.first().map_or(0, |(stream, _)| *stream);
    let mut start_before = 0_i64;
    for of_stream in cells.chunk_by(|(a, _), (b, _)| a == b) {
        let Some((stream, first)) = of_stream.first() else {
            continue;
        };
        let runs: Vec<_> = of_stream.chunk_by(|(_, a), (_, b)| a.minute.checked_add(1) == Some(b.minute)).collect();
        let has_more_runs = runs.len() > 1;
        put_varint(out, u64::from(stream - stream_before) << 1 | u64::from(has_more_runs));
        if has_more_runs {
            put_varint(out, runs.len() as u64 - 2);
        }
        put_varint(out, zigzag(first.minute.wrapping_sub(start_before)));
        put_varint(out, runs[0].len() as u64);
        for pair in runs.windows(2) {
            let (end, next) = (pair[0][pair[0].len() - 1].1.minute, pair[1][0].1.minute);
            put_varint(out, next.wrapping_sub(end) as u64);
            put_varint(out, pair[1].len() as u64);
        }
        stream_before = *stream;
        start_before = first.minute;
    }
}
