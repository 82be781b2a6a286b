//! Asking the filters of a segment.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::writer::{FILTERS_LIMIT, GRAM_RULE, MAGIC, PAGE_BYTES, VERSION};
use super::{FilterSize, Needle};
use crate::encoding::{self, Reader};
use crate::error::{Corruption, Error};

/// The filters of a segment's chunks.
///
/// Opening reads and verifies only the head; the rows are verified by pages of 64 KiB when they are first used.
pub struct FilterSet {
    filters: u32,
    /// From the smallest size class to the largest, without empty ones.
    classes: Vec<SizeClass>,
    /// The rows of all classes.
    rows: Bytes,
    /// Where the rows begin in the bytes that were handed in.
    rows_offset: u64,
    /// The stored checksum of each page of the rows.
    page_checksums: Vec<u32>,
    /// One bit per page that was found good.
    verified: Box<[AtomicU64]>,
}

/// The filters that have the same size.
struct SizeClass {
    size: FilterSize,
    /// Where its rows begin among the rows of all classes.
    offset: usize,
    /// The position of the filter in each column.
    positions: Vec<u32>,
}

impl FilterSet {
    /// Opens what [`FilterSetBuilder::finish`](super::FilterSetBuilder::finish) made.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the head is damaged or does not fit the length of `bytes`, [`Error::Unsupported`] for
    /// filters made by another rule.
    #[expect(clippy::needless_pass_by_value, reason = "the set keeps a share of the bytes")]
    pub fn open(bytes: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new("filter set", &bytes);
        let filters = read_prologue(&mut reader)?;
        let sizes = reader.bytes(filters as usize)?;
        let (classes, rows_len) = size_classes(sizes).ok_or_else(|| reader.invalid("size of a filter", 0))?;

        let pages = rows_len.div_ceil(PAGE_BYTES);
        let mut checksums =
            Reader::with_base("filter set", reader.bytes(pages.saturating_mul(size_of::<u32>()))?, reader.offset());
        let head = bytes.get(..reader.offset() as usize).unwrap_or_default();
        let found = encoding::crc32(head);
        let expected = reader.u32()?;
        if found != expected {
            return Err(Error::corrupt("filter set", 0, Corruption::Checksum { expected, found }));
        }
        let rows_offset = reader.offset();
        if reader.rest().len() != rows_len {
            return Err(reader.invalid("length of the rows", reader.rest().len() as u64));
        }
        let rows = bytes.slice_ref(reader.rest());
        let page_checksums = std::iter::from_fn(|| checksums.u32().ok()).collect();
        let verified = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { filters, classes, rows, rows_offset, page_checksums, verified })
    }

    /// How many filters there are.
    pub const fn len(&self) -> u32 {
        self.filters
    }

    /// Whether there are no filters.
    pub const fn is_empty(&self) -> bool {
        self.filters == 0
    }

    /// Verifies all pages now, whether a needle needs them or not.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for the first page that is damaged.
    pub fn verify(&self) -> Result<(), Error> {
        (0..self.page_checksums.len()).try_for_each(|page| self.verify_page(page))
    }

    /// The positions of the chunks that may have what `needle` stands for; all others do not have it.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when a page that is needed is damaged. Then nothing is known: look at every chunk.
    pub fn probe(&self, needle: &Needle) -> Result<RoaringBitmap, Error> {
        let mut candidates = RoaringBitmap::new();
        let mut columns = Vec::new();
        for class in &self.classes {
            self.probe_class(class, needle, &mut columns)?;
            for (positions, bits) in class.positions.chunks(64).zip(&columns) {
                candidates.extend(positions.iter().zip(0..).filter(|(_, i)| bits >> i & 1 == 1).map(|(p, _)| *p));
            }
        }
        Ok(candidates)
    }

    /// Leaves in `columns` one bit for each filter of `class` that has all bits.
    fn probe_class(&self, class: &SizeClass, needle: &Needle, columns: &mut Vec<u64>) -> Result<(), Error> {
        let width = class.positions.len() as u64;
        columns.clear();
        columns
            .extend(class.positions.chunks(64).map(|positions| u64::MAX >> (64_usize.saturating_sub(positions.len()))));
        for bit in needle.bits() {
            // At most 2^20 rows of 2^16 bits.
            let first_bit = u64::from(class.size.place(*bit)).saturating_mul(width);
            let last_bit = first_bit.saturating_add(width).saturating_sub(1);
            let start = class.offset.saturating_add((first_bit / 8) as usize);
            let end = class.offset.saturating_add((last_bit / 8) as usize).saturating_add(1);
            let row = self.verified_rows(start..end)?;
            and_row(columns, row, (first_bit % 8) as u32);
            if columns.iter().all(|columns| *columns == 0) {
                break;
            }
        }
        Ok(())
    }

    /// Those bytes of the rows, after making sure that their pages are intact.
    fn verified_rows(&self, range: Range<usize>) -> Result<&[u8], Error> {
        let last_page = range.end.saturating_sub(1) / PAGE_BYTES;
        for page in range.start / PAGE_BYTES..=last_page {
            self.verify_page(page)?;
        }
        Ok(self.rows.get(range).unwrap_or_default())
    }

    fn verify_page(&self, page: usize) -> Result<(), Error> {
        let mask = 1_u64 << (page % 64);
        let word = self.verified.get(page / 64);
        // The rows never change, so that nothing has to be ordered by these loads and stores.
        if word.is_some_and(|word| word.load(Ordering::Relaxed) & mask != 0) {
            return Ok(());
        }
        let offset = page.saturating_mul(PAGE_BYTES);
        let bytes = self.rows.get(offset..).unwrap_or_default();
        let bytes = bytes.get(..PAGE_BYTES).unwrap_or(bytes);
        let found = encoding::crc32(bytes);
        let expected = self.page_checksums.get(page).copied().unwrap_or_default();
        if found != expected {
            let offset = self.rows_offset.saturating_add(offset as u64);
            return Err(Error::corrupt("filter rows", offset, Corruption::Checksum { expected, found }));
        }
        if let Some(word) = word {
            word.fetch_or(mask, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl fmt::Debug for FilterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterSet")
            .field("filters", &self.filters)
            .field("rows_bytes", &self.rows.len())
            .finish_non_exhaustive()
    }
}

/// Reads up to the number of filters.
fn read_prologue(reader: &mut Reader<'_>) -> Result<u32, Error> {
    let start = reader.clone();
    let magic = reader.u32()?;
    if magic != MAGIC {
        return Err(start.corrupt(Corruption::Magic { found: magic }));
    }
    let [version, gram_rule, ..] = reader.array::<4>()?;
    if version != VERSION {
        return Err(start.corrupt(Corruption::Version { found: version.into(), supported: VERSION.into() }));
    }
    if gram_rule != GRAM_RULE {
        return Err(Error::Unsupported { what: "gram rule", found: gram_rule.into() });
    }
    let at_filters = reader.clone();
    let filters = reader.u32()?;
    if filters as usize > FILTERS_LIMIT {
        return Err(at_filters.invalid("number of filters", filters.into()));
    }
    Ok(filters)
}

/// Sorts the filters into classes and adds up the bytes of their rows; `None` if a size is not one of ours.
fn size_classes(sizes: &[u8]) -> Option<(Vec<SizeClass>, usize)> {
    if !sizes.iter().all(|code| FilterSize::is_code(*code)) {
        return None;
    }
    let mut offset = 0_usize;
    let mut classes = Vec::new();
    for size in FilterSize::all() {
        let positions: Vec<u32> = (0..).zip(sizes).filter(|(_, code)| **code == size.code()).map(|(i, _)| i).collect();
        if !positions.is_empty() {
            let class_bytes = positions.len().checked_mul((size.bits() / 8) as usize)?;
            classes.push(SizeClass { size, offset, positions });
            offset = offset.checked_add(class_bytes)?;
        }
    }
    Some((classes, offset))
}

/// Keeps the bits of `columns` that `row` has too; the row begins at bit `shift` of its first byte.
fn and_row(columns: &mut [u64], row: &[u8], shift: u32) {
    let mut rest = row;
    for columns in columns {
        // Sixty-four bits that begin within a byte touch nine of them.
        let mut window = [0; 16];
        for (to, from) in window.iter_mut().zip(rest.iter().take(9)) {
            *to = *from;
        }
        *columns &= (u128::from_le_bytes(window) >> shift) as u64;
        rest = rest.get(8..).unwrap_or_default();
    }
}
