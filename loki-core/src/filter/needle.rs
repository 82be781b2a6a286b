//! Literals prepared for asking filters.

use super::{GRAM_BYTES, LINE_END, LOAD_BYTES, bit_of, bits_of_pair, fold, hash, is_sampled};

/// The most grams that a needle asks for: each is a row to read, and so many rows already pass no chunk by chance.
pub const NEEDLE_GRAMS_LIMIT: usize = 16;

/// A literal, or a pair of structured metadata, prepared for asking filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    bits: Vec<u32>,
}

impl Needle {
    /// A needle for a literal that must occur as it stands; `None` if it has no sampled gram, so that no chunk can be
    /// left out.
    ///
    /// Literals shorter than [`GRAM_BYTES`] never have one. The same needle serves a comparison that ignores the case of
    /// ASCII letters *only*.
    pub fn new(literal: &[u8]) -> Option<Self> {
        Self::from_grams(literal.windows(GRAM_BYTES).filter(|gram| !gram.contains(&LINE_END)))
    }

    /// A needle for a literal that a regular expression matches in any case, as `(?i)` does: by Unicode's rules.
    ///
    /// By those, `k` also stands for U+212A (the Kelvin sign), `s` for U+017F (the long s), and letters beyond ASCII
    /// change their bytes with their case. Grams with such bytes are not asked for, which also means that [`Needle::new`]
    /// must not be used for such a literal unless the chunk is known to be all ASCII.
    pub fn new_case_insensitive(literal: &[u8]) -> Option<Self> {
        let changes_bytes = |byte: &u8| !byte.is_ascii() || matches!(byte, b'k' | b'K' | b's' | b'S' | &LINE_END);
        Self::from_grams(literal.windows(GRAM_BYTES).filter(|gram| !gram.iter().any(changes_bytes)))
    }

    /// A needle for a pair of structured metadata that must occur as it stands.
    pub fn of_pair(name: &str, value: &str) -> Self {
        Self::from_bits(bits_of_pair(name, value).into())
    }

    /// The bits to ask for, for the largest filter; at least one, at most [`NEEDLE_GRAMS_LIMIT`].
    pub(super) fn bits(&self) -> &[u32] {
        &self.bits
    }

    fn from_grams<'a>(grams: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut bits: Vec<u32> = Vec::new();
        for gram in grams {
            let mut load = [0; LOAD_BYTES];
            load[..GRAM_BYTES].copy_from_slice(gram);
            let hash = hash(fold(u64::from_le_bytes(load)));
            if is_sampled(hash) {
                bits.push(bit_of(hash));
            }
        }
        if bits.len() > NEEDLE_GRAMS_LIMIT {
            // Spread over the literal, because it is not known which part of it is rare.
            bits = (0..NEEDLE_GRAMS_LIMIT).map(|i| bits[i * bits.len() / NEEDLE_GRAMS_LIMIT]).collect();
        }
        if bits.is_empty() { None } else { Some(Self::from_bits(bits)) }
    }

    fn from_bits(mut bits: Vec<u32>) -> Self {
        bits.sort_unstable();
        bits.dedup();
        Self { bits }
    }
}
