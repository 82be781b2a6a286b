//! Label sets: what names a stream, and what an entry's structured metadata is.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use twox_hash::XxHash64;

use crate::encoding::{self, Reader};
use crate::error::Error;

mod parse;
mod quote;

pub use quote::{UnquoteError, quote, quote_char, unquote, unquote_bytes, write_quoted};

/// A set of label names with their values.
///
/// The pairs are sorted by name (as bytes) and names are unique. All of it lives in one shared buffer of
/// length-prefixed strings, so a clone costs a reference count, comparing for equality is one `memcmp`, and the empty
/// set owns no memory.
#[derive(Clone, Default)]
pub struct Labels {
    /// `(varint length, name, varint length, value)*`, verified on the way in.
    encoded: Bytes,
}

/// Sets that take no more are hashed in one go.
const HASHED_BYTES: usize = 512;

impl Labels {
    /// The set without labels.
    pub const EMPTY: Self = Self { encoded: Bytes::new() };

    /// The set without labels.
    pub const fn new() -> Self {
        Self::EMPTY
    }

    /// Sorts `pairs` and drops those with an empty value, which mean "no such label" everywhere in Loki.
    ///
    /// # Errors
    ///
    /// [`LabelsError::Duplicate`] when a name occurs twice with a value.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelsError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.as_ref().is_empty()).collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        if let Some(twins) = pairs.windows(2).find(|pair| pair[0].0.as_ref() == pair[1].0.as_ref()) {
            let name = twins[0].0.as_ref().to_owned();
            return Err(LabelsError::Duplicate { name, labels: Self::encode(pairs).to_string() });
        }
        Ok(Self::encode(pairs))
    }

    /// Takes pairs that are already strictly sorted by name; empty values are kept.
    ///
    /// # Panics
    ///
    /// In debug builds, when the names are not strictly ascending.
    pub fn from_sorted<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let labels = Self::encode(pairs);
        debug_assert!(labels.iter().is_sorted_by(|a, b| a.0 < b.0), "names must be strictly ascending: {labels}");
        labels
    }

    /// Reads label text as push clients send it: a Prometheus metric such as `{a="b", c='d'}`.
    ///
    /// Labels with an empty value are dropped and the rest is sorted.
    ///
    /// # Errors
    ///
    /// [`LabelsError::Syntax`] with Prometheus' wording and position, or [`LabelsError::Duplicate`].
    pub fn parse(text: &str) -> Result<Self, LabelsError> {
        Self::from_pairs(parse::pairs(text)?)
    }

    /// Takes what [`Labels::as_bytes`] gave, after verifying that it is in bounds, UTF-8, sorted and unique.
    pub fn from_bytes(encoded: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new("labels", &encoded);
        let mut previous: Option<&str> = None;
        while !reader.is_empty() {
            let at_name = reader.clone();
            let name = reader.prefixed_str()?;
            if previous.is_some_and(|previous| previous >= name) {
                return Err(at_name.invalid("order of a name, by length", name.len() as u64));
            }
            previous = Some(name);
            reader.prefixed_str()?;
        }
        Ok(Self { encoded })
    }

    /// The encoding: `(varint length, name, varint length, value)*`, sorted by name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The encoding as a shared buffer, without a copy.
    pub fn to_bytes(&self) -> Bytes {
        self.encoded.clone()
    }

    /// The value of `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut rest = &*self.encoded;
        while !rest.is_empty() {
            let candidate = take_prefixed(&mut rest);
            let value = take_prefixed(&mut rest);
            if candidate == name.as_bytes() {
                return Some(as_str(value));
            }
        }
        None
    }

    /// Names with their values, in the order of names.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.encoded }
    }

    /// How many labels there are; walks the encoding.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// The XXH64 of all names and values, each with a byte 0xff behind it, as Prometheus hashes label sets: entries of
    /// equal times stand in the order of their streams' hashes in Loki's answers.
    pub fn hash64(&self) -> u64 {
        // The byte behind a text takes no more room than its length before it.
        let mut text = [0; HASHED_BYTES];
        let Some(text) = text.get_mut(..self.encoded.len()) else {
            let mut hasher = XxHash64::with_seed(0);
            self.for_each_hashed(|piece| hasher.write(piece));
            return hasher.finish();
        };
        let mut len = 0;
        self.for_each_hashed(|piece| {
            text[len..len + piece.len()].copy_from_slice(piece);
            len += piece.len();
        });
        XxHash64::oneshot(0, &text[..len])
    }

    fn for_each_hashed(&self, mut f: impl FnMut(&[u8])) {
        for (name, value) in self {
            for text in [name, value] {
                f(text.as_bytes());
                f(&[0xff]);
            }
        }
    }

    /// The bytes of the encoding: what this set weighs in memory accounts.
    pub fn size_bytes(&self) -> usize {
        self.encoded.len()
    }

    fn encode<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut encoded = Vec::new();
        for (name, value) in pairs {
            encoding::put_prefixed(&mut encoded, name.as_ref().as_bytes());
            encoding::put_prefixed(&mut encoded, value.as_ref().as_bytes());
        }
        Self { encoded: encoded.into() }
    }
}

/// Splits one length-prefixed string off bytes that were verified when the set was made.
fn take_prefixed<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let bytes = *rest;
    if let [len, tail @ ..] = bytes
        && *len < 0x80
        && let Some((taken, tail)) = tail.split_at_checked(usize::from(*len))
    {
        *rest = tail;
        return taken;
    }
    let mut reader = Reader::new("labels", bytes);
    let taken = reader.prefixed().unwrap_or_default();
    *rest = reader.rest();
    taken
}

/// The text of bytes that were verified when the set was made.
fn as_str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Iterates over names and values in the order of names.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iter<'a> {
    /// The encoding of the labels still to come: see [`Labels::as_bytes`].
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_prefixed(&mut self.rest);
        let value = take_prefixed(&mut self.rest);
        Some((as_str(name), as_str(value)))
    }
}

impl std::iter::FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        // Comparing no bytes at the address of an empty slice, which is not mapped, is a hundred times slower than
        // comparing some on processors with masked loads.
        self.encoded.len() == other.encoded.len() && (self.encoded.is_empty() || self.encoded == other.encoded)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encoded.hash(state);
    }
}

impl Ord for Labels {
    /// Compares the pairs one after the other, name before value, as Loki orders series.
    fn cmp(&self, other: &Self) -> Ordering {
        // On bytes, because the order of UTF-8 is that of its bytes and sorting must not verify it again and again.
        let (mut left, mut right) = (&*self.encoded, &*other.encoded);
        while !left.is_empty() && !right.is_empty() {
            // Name, then value.
            for _ in 0..2 {
                match take_prefixed(&mut left).cmp(take_prefixed(&mut right)) {
                    Ordering::Equal => {}
                    different => return different,
                }
            }
        }
        // What has run out of pairs comes first.
        right.is_empty().cmp(&left.is_empty())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// Writes `{a="b", c="d"}` with the values quoted as Go does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why label text or label pairs were refused; the wording is what Loki answers to a push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The text is not a label set.
    #[error("{line}:{column}: parse error: {problem}")]
    Syntax {
        /// Line of the offending token, from 1.
        line: usize,
        /// Byte column of the offending token, from 1.
        column: usize,
        /// What is wrong there, in Prometheus' words.
        problem: String,
    },
    /// A label name occurs twice.
    #[error("stream '{labels}' has duplicate label name: '{name}'")]
    Duplicate {
        /// The name.
        name: String,
        /// All labels, sorted, in their text form.
        labels: String,
    },
}

#[cfg(test)]
mod tests;
