//! The sizes that filters have.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{MAX_LOG2_BITS, MIN_LOG2_BITS};

/// A filter has five, six, seven or all eight eighths of a power of two of bits: of powers of two alone, most filters
/// would be far from half full.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FilterSize {
    /// From [`MIN_LOG2_BITS`] to [`MAX_LOG2_BITS`].
    log2_bits: u8,
    /// From [`MIN_EIGHTHS`] to eight.
    eighths: u8,
}

/// With four eighths, it would be the next smaller power of two.
const MIN_EIGHTHS: u8 = 5;
const ALL_EIGHTHS: u8 = 8;

/// How many sizes there are for one power of two.
const SIZES_OF_POWER: u8 = ALL_EIGHTHS - MIN_EIGHTHS + 1;

/// For each number of eighths from [`MIN_EIGHTHS`], what becomes of eight bits.
const SQUEEZED: [[u8; 256]; SIZES_OF_POWER as usize] = squeezed();

impl FilterSize {
    /// A power of two, as it is.
    pub(super) const fn whole(log2_bits: u8) -> Self {
        Self { log2_bits, eighths: ALL_EIGHTHS }
    }

    /// The sizes that a map of a power of two can be squeezed to, smallest first.
    pub(super) fn of_power(log2_bits: u8) -> impl Iterator<Item = Self> {
        (MIN_EIGHTHS..=ALL_EIGHTHS).map(move |eighths| Self { log2_bits, eighths })
    }

    /// All sizes, smallest first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (MIN_LOG2_BITS..=MAX_LOG2_BITS).flat_map(Self::of_power)
    }

    /// How many bits a filter of this size has: a multiple of 64.
    #[expect(clippy::arithmetic_side_effects, reason = "at most 20 bits")]
    pub const fn bits(self) -> u32 {
        (1_u32 << self.log2_bits) / ALL_EIGHTHS as u32 * self.eighths as u32
    }

    /// Where a bit of the largest map is in a filter of this size.
    #[expect(clippy::arithmetic_side_effects, reason = "eight times a number of at most 20 bits")]
    pub(super) const fn place(self, bit: u32) -> u32 {
        (bit & ((1 << self.log2_bits) - 1)) * self.eighths as u32 / ALL_EIGHTHS as u32
    }

    /// The number that stands for the size in a set.
    #[expect(clippy::arithmetic_side_effects, reason = "both are small")]
    pub(super) const fn code(self) -> u8 {
        self.log2_bits * SIZES_OF_POWER + (self.eighths - MIN_EIGHTHS)
    }

    /// Whether `code` stands for a size.
    pub(super) const fn is_code(code: u8) -> bool {
        code >= Self { log2_bits: MIN_LOG2_BITS, eighths: MIN_EIGHTHS }.code()
            && code <= Self::whole(MAX_LOG2_BITS).code()
    }

    /// How many ones are left of a map when it is squeezed.
    pub(super) fn squeezed_ones(self, map: &[u64]) -> u32 {
        let joins = u64::from_le_bytes([self.joins(); 8]);
        let lost = |word: &u64| (word & (word >> 1) & joins).count_ones();
        map.iter().map(|word| word.count_ones().saturating_sub(lost(word))).sum()
    }

    /// Which of eight bits go to the same place as the one above them.
    fn joins(self) -> u8 {
        (0..7).filter(|bit| self.place(*bit) == self.place(bit.saturating_add(1))).map(|bit| 1 << bit).sum()
    }

    /// Squeezes a map of the power of two: every eight bits into as many as there are eighths.
    #[expect(clippy::indexing_slicing, reason = "a table has a place for every byte")]
    pub(super) fn squeeze(self, map: &[u64]) -> Box<[u64]> {
        let eighths = u32::from(self.eighths);
        let table = &SQUEEZED[usize::from(self.eighths.saturating_sub(MIN_EIGHTHS))];
        let mut words = Vec::with_capacity((self.bits() / 64) as usize);
        let (mut gathered, mut len) = (0_u128, 0_u32);
        for word in map {
            let bytes = word.to_be_bytes().into_iter();
            let squeezed = bytes.fold(0_u64, |bits, byte| bits << eighths | u64::from(table[usize::from(byte)]));
            gathered |= u128::from(squeezed) << len;
            len = len.saturating_add(eighths.saturating_mul(8));
            if len >= 64 {
                words.push(gathered as u64);
                gathered >>= 64;
                len = len.saturating_sub(64);
            }
        }
        words.into()
    }
}

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated when it is compiled")]
const fn squeezed() -> [[u8; 256]; SIZES_OF_POWER as usize] {
    let mut table = [[0; 256]; SIZES_OF_POWER as usize];
    let mut row = 0;
    while row < table.len() {
        let size = FilterSize { log2_bits: 3, eighths: MIN_EIGHTHS + row as u8 };
        let mut bits = 0;
        while bits < 256 {
            let mut bit = 0;
            while bit < 8 {
                if bits >> bit & 1 == 1 {
                    table[row][bits] |= 1 << size.place(bit);
                }
                bit += 1;
            }
            bits += 1;
        }
        row += 1;
    }
    table
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_ascend_as_their_codes_do_and_are_whole_words() {
        let sizes: Vec<FilterSize> = FilterSize::all().collect();
        assert!(sizes.is_sorted_by_key(|size| size.bits()) && sizes.is_sorted());
        assert!(sizes.iter().all(|size| size.bits() % 64 == 0));
        let codes: Vec<u8> = (0..=u8::MAX).filter(|code| FilterSize::is_code(*code)).collect();
        assert_eq!(sizes.iter().map(|size| size.code()).collect::<Vec<_>>(), codes);
    }

    proptest! {
        #[test]
        fn squeezing_moves_every_bit_to_its_place(map in vec(any::<u64>(), 8..=8)) {
            for size in FilterSize::of_power(9) {
                let mut expected = vec![0_u64; (size.bits() / 64) as usize];
                for bit in (0..512).filter(|bit| map[*bit as usize / 64] >> (bit % 64) & 1 == 1) {
                    let place = size.place(bit);
                    expected[place as usize / 64] |= 1 << (place % 64);
                }
                let squeezed = size.squeeze(&map);
                prop_assert_eq!(&*squeezed, &*expected);
                let ones: u32 = squeezed.iter().map(|word| word.count_ones()).sum();
                prop_assert_eq!(size.squeezed_ones(&map), ones);
            }
        }
    }
}
