//! Writing the filters of a segment, bit-transposed.

use super::{Filter, FilterSize};
use crate::encoding;
use crate::error::Error;

/// The most filters in one set.
pub const FILTERS_LIMIT: usize = 1 << 16;

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"LKSF");
pub(super) const VERSION: u8 = 2;
/// Stored beside the version: filters made by other rules must not be asked by ours.
pub(super) const GRAM_RULE: u8 = 2;
/// How many bytes of rows have a checksum of their own.
pub(super) const PAGE_BYTES: usize = 64 << 10;
/// What comes before the sizes of the filters, plus the checksum of the head.
const HEAD_BYTES: usize = 16;

/// Collects the filters of a segment's chunks.
#[derive(Debug, Default)]
pub struct FilterSetBuilder {
    filters: Vec<Filter>,
    bytes: usize,
}

impl FilterSetBuilder {
    /// A set without filters.
    pub const fn new() -> Self {
        Self { filters: Vec::new(), bytes: 0 }
    }

    /// Adds the filter of the next chunk and gives its position, by which [`FilterSet::probe`](super::FilterSet::probe)
    /// will name it.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] beyond [`FILTERS_LIMIT`] filters.
    pub fn push(&mut self, filter: Filter) -> Result<u32, Error> {
        let position = self.filters.len();
        if position == FILTERS_LIMIT {
            return Err(Error::Limit {
                what: "number of filters",
                requested: position as u64 + 1,
                limit: FILTERS_LIMIT as u64,
            });
        }
        self.bytes += size_of_val(filter.bits());
        self.filters.push(filter);
        Ok(position as u32)
    }

    /// The memory that the filters take.
    pub const fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that [`FilterSet::open`](super::FilterSet::open) takes.
    pub fn finish(self) -> Vec<u8> {
        let rows_len: usize = self.filters.iter().map(|filter| filter.bits().len() * 8).sum();
        let pages = rows_len.div_ceil(PAGE_BYTES);
        let mut out = Vec::with_capacity(HEAD_BYTES + self.filters.len() + pages * 4 + rows_len);
        out.extend(MAGIC.to_le_bytes());
        out.extend([VERSION, GRAM_RULE, 0, 0]);
        out.extend((self.filters.len() as u32).to_le_bytes());
        out.extend(self.filters.iter().map(|filter| filter.size().code()));

        let checksums_start = out.len();
        let rows_start = checksums_start + pages * 4 + 4;
        out.resize(rows_start + rows_len, 0);
        let (head, rows) = out.split_at_mut(rows_start);
        self.write_rows(rows);
        for (page, checksum) in rows.chunks(PAGE_BYTES).zip(head[checksums_start..].chunks_exact_mut(4)) {
            checksum.copy_from_slice(&encoding::crc32(page).to_le_bytes());
        }
        let checksum = encoding::crc32(&head[..rows_start - 4]);
        head[rows_start - 4..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Writes the rows of every size class, smallest class first, into zeroes.
    fn write_rows(&self, rows: &mut [u8]) {
        let mut rest = rows;
        for size in FilterSize::all() {
            let class: Vec<&Filter> = self.filters.iter().filter(|filter| filter.size() == size).collect();
            let (own, after) = rest.split_at_mut(class.len() * (size.bits() / 8) as usize);
            transpose(&class, own);
            rest = after;
        }
    }
}

/// Writes filters of one size so that bit `i` of all of them is together, in row `i`.
fn transpose(class: &[&Filter], rows: &mut [u8]) {
    let words = class.first().map_or(0, |filter| filter.bits().len());
    // Word by word, so that what is written stays in cache: 64 rows at a time.
    for word in 0..words {
        for (column, filter) in class.iter().enumerate() {
            let mut ones = filter.bits()[word];
            while ones != 0 {
                let row = word * 64 + ones.trailing_zeros() as usize;
                let bit = row * class.len() + column;
                rows[bit / 8] |= 1 << (bit % 8);
                ones &= ones - 1;
            }
        }
    }
}
