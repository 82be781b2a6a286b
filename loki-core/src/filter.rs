//! Skip filters: which chunks cannot hold a literal.
//!
//! A query for a literal that occurs in one chunk of thousands spends its time inflating chunks that do not have it.
//! A [`Filter`] is a small bitmap of the five-byte grams of a chunk's lines and of its pairs of structured metadata, a
//! [`FilterSet`] holds the filters of all chunks of a segment turned by ninety degrees, and a [`Needle`] is what one looks
//! for, prepared for asking them. The answer may name chunks that do not have it, but never leaves out one that does.
//!
//! ```
//! use loki_core::filter::{FilterBuilder, FilterSet, FilterSetBuilder, Needle};
//!
//! let mut builder = FilterBuilder::new();
//! let mut set = FilterSetBuilder::new();
//! for lines in ["GET /cart status=200\nGET /cart status=503\n", "user logged in\n"] {
//!     builder.add_text(lines.as_bytes());
//!     set.push(builder.finish())?;
//! }
//! let set = FilterSet::open(set.finish().into())?;
//!
//! let needle = Needle::new(b"Status=503").expect("long enough to have a sampled gram");
//! assert!(set.probe(&needle)?.contains(0));
//! assert!(!set.probe(&needle)?.contains(1));
//! # Ok::<(), loki_core::Error>(())
//! ```
#![doc = include_str!("format/filter.md")]

mod needle;
mod reader;
mod size;
mod writer;

pub use needle::{NEEDLE_GRAMS_LIMIT, Needle};
pub use reader::FilterSet;
pub use size::FilterSize;
pub use writer::{FILTERS_LIMIT, FilterSetBuilder};

/// How many bytes a gram has.
pub const GRAM_BYTES: usize = 5;

/// How many bits stand for a pair of structured metadata.
pub const PAIR_BITS: usize = 8;

/// The size of the map that grams are collected in, and so of the largest filter, as a power of two.
const MAX_LOG2_BITS: u8 = 20;

/// The size that the map is folded to at least, as a power of two.
const MIN_LOG2_BITS: u8 = 9;

/// Spreads what is hashed over the upper bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

const MAP_WORDS: usize = 1 << (MAX_LOG2_BITS - 6);
const MIN_WORDS: usize = 1 << (MIN_LOG2_BITS - 6);

/// The bytes of an unaligned load; it holds [`GRAMS_PER_LOAD`] grams.
const LOAD_BYTES: usize = 8;
const GRAMS_PER_LOAD: usize = LOAD_BYTES - GRAM_BYTES + 1;

/// Which bytes may be in no gram, because lines end there.
const LINE_END: u8 = b'\n';

/// Collects the grams of one chunk after the other.
///
/// It owns a map of 128 KiB, so keep it for all chunks of a segment.
#[derive(Debug, Clone)]
pub struct FilterBuilder {
    map: Box<[u64; MAP_WORDS]>,
}

impl FilterBuilder {
    /// A builder that has seen nothing.
    pub fn new() -> Self {
        Self { map: vec![0; MAP_WORDS].try_into().expect("the vector has the length of the array") }
    }

    /// Adds all lines of a text in which `\n` separates or ends the lines.
    pub fn add_text(&mut self, text: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(LINE_END, text) {
            self.add_line(&text[start..end]);
            start = end + 1;
        }
        self.add_line(&text[start..]);
    }

    /// Adds a pair of structured metadata, which is only ever asked for as a whole.
    pub fn add_pair(&mut self, name: &str, value: &str) {
        for bit in bits_of_pair(name, value) {
            self.map[(bit >> 6) as usize % MAP_WORDS] |= 1 << (bit & 63);
        }
    }

    /// The filter of what was added since the last one; the builder is empty afterwards.
    pub fn finish(&mut self) -> Filter {
        let mut words = MAP_WORDS;
        while words > MIN_WORDS {
            let (low, high) = self.map[..words].split_at_mut(words / 2);
            let ones: usize = low.iter().zip(&*high).map(|(low, high)| (low | high).count_ones() as usize).sum();
            if ones * 2 > low.len() * 64 {
                break;
            }
            for (low, high) in low.iter_mut().zip(high) {
                *low |= *high;
            }
            words /= 2;
        }
        let filter = Filter::squeeze(&self.map[..words]);
        self.map.fill(0);
        filter
    }

    fn add_line(&mut self, line: &[u8]) {
        let Some(last) = line.last_chunk::<LOAD_BYTES>() else {
            for gram in line.windows(GRAM_BYTES) {
                let mut load = [0; LOAD_BYTES];
                load[..GRAM_BYTES].copy_from_slice(gram);
                self.add_gram(hash(fold(u64::from_le_bytes(load))));
            }
            return;
        };
        for load in line.windows(LOAD_BYTES).step_by(GRAMS_PER_LOAD) {
            self.add_load(load.try_into().expect("a window has the size it was asked for"));
        }
        // Grams seen twice do no harm, so the rest of the line needs no code of its own.
        self.add_load(*last);
    }

    #[inline]
    fn add_load(&mut self, load: [u8; LOAD_BYTES]) {
        let folded = fold(u64::from_le_bytes(load));
        for gram in 0..GRAMS_PER_LOAD {
            self.add_gram(hash(folded >> (gram * 8)));
        }
    }

    /// Sets the bit of a sampled gram, and writes back the word as it was for another: a branch would be mispredicted
    /// every other time.
    #[inline]
    fn add_gram(&mut self, hash: u64) {
        let bit = bit_of(hash);
        self.map[(bit >> 6) as usize % MAP_WORDS] |= u64::from(is_sampled(hash)) << (bit & 63);
    }
}

impl Default for FilterBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The skip filter of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    size: FilterSize,
    /// As many bits as the size says.
    bits: Box<[u64]>,
}

impl Filter {
    /// The smallest filter made of a map, folded as far as it goes, that is at most half full; else the map as it is.
    fn squeeze(map: &[u64]) -> Self {
        let log2_bits = map.len().trailing_zeros() as u8 + 6;
        let is_half_empty = |size: &FilterSize| size.squeezed_ones(map) * 2 <= size.bits();
        let size = FilterSize::of_power(log2_bits).find(is_half_empty);
        let size = size.unwrap_or_else(|| FilterSize::whole(log2_bits));
        Self { size, bits: size.squeeze(map) }
    }

    /// The filter's size class.
    pub const fn size(&self) -> FilterSize {
        self.size
    }

    /// The bitmap, bit `i` in word `i / 64` at `i % 64`.
    pub fn bits(&self) -> &[u64] {
        &self.bits
    }

    /// Whether the chunk may have what `needle` stands for.
    pub fn may_contain(&self, needle: &Needle) -> bool {
        needle.bits().iter().all(|bit| {
            let bit = self.size.place(*bit) as usize;
            self.bits[bit / 64] >> (bit % 64) & 1 == 1
        })
    }
}

/// Makes upper and lower case of ASCII letters the same, and some other pairs of bytes with them.
const fn fold(bytes: u64) -> u64 {
    bytes | 0x2020_2020_2020_2020
}

/// The hash of the gram in the low five bytes, first byte lowest.
///
/// Bits from 40 upward depend on every bit of the gram; those are the ones that are used.
const fn hash(gram: u64) -> u64 {
    (gram & ((1 << (GRAM_BYTES * 8)) - 1)).wrapping_mul(MULTIPLIER)
}

/// Whether a gram is among the half that filters record and needles ask for.
const fn is_sampled(hash: u64) -> bool {
    hash >> 43 & 1 == 1
}

/// The bit of a gram in the largest filter; [`FilterSize::place`] says where it is in smaller ones.
const fn bit_of(hash: u64) -> u32 {
    (hash >> (64 - MAX_LOG2_BITS)) as u32
}

/// The bits of a pair in the largest filter.
fn bits_of_pair(name: &str, value: &str) -> [u32; PAIR_BITS] {
    const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
    // No UTF-8 has the byte in between.
    let bytes = name.bytes().chain([0xff]).chain(value.bytes());
    let hash = bytes.fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
    std::array::from_fn(|i| bit_of(hash.rotate_left(11 * i as u32).wrapping_mul(MULTIPLIER)))
}

#[cfg(test)]
pub(crate) mod tests;
