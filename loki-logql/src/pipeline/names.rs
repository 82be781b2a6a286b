//! Label names by number.
//!
//! A worker sees the same few hundred names in every line, so it numbers them: what a stage knows about a label (does
//! the stream have it, is it set already, is it needed) is then an array lookup. Names that the query itself mentions
//! are numbered when the pipeline is compiled and have the same number in all workers.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// How the name of a parsed label ends when the stream or the entry's metadata has the name already.
pub(crate) const EXTRACTED_SUFFIX: &str = "_extracted";

/// A worker forgets the names it met once there are this many; those of the query stay.
pub(crate) const MAX_NAMES: usize = 1 << 14;

/// The number of a label name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameId(u32);

impl NameId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names with their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    entries: Vec<Name>,
    by_text: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Name {
    text: Box<str>,
    /// The number of this name with [`EXTRACTED_SUFFIX`], once somebody asked.
    extracted: Option<NameId>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn text(&self, id: NameId) -> &str {
        &self.entries[id.index()].text
    }

    /// The number of `text`, if it has one.
    pub(crate) fn find(&self, text: &str) -> Option<NameId> {
        let hash = self.hasher.hash_one(text);
        self.by_text.find(hash, |&id| *self.entries[id as usize].text == *text).map(|&id| NameId(id))
    }

    /// The number of `text`, which gets one now if it has none.
    pub(crate) fn intern(&mut self, text: &str) -> NameId {
        if let Some(id) = self.find(text) {
            return id;
        }
        let id = self.entries.len() as u32;
        self.entries.push(Name { text: text.into(), extracted: None });
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = hasher.hash_one(text);
        self.by_text.insert_unique(hash, id, |&id| hasher.hash_one(&*entries[id as usize].text));
        NameId(id)
    }

    /// The number of the name with `_extracted` behind it.
    pub(crate) fn extracted(&mut self, id: NameId) -> NameId {
        if let Some(known) = self.entries[id.index()].extracted {
            return known;
        }
        let text = format!("{}{EXTRACTED_SUFFIX}", self.text(id));
        let extracted = self.intern(&text);
        self.entries[id.index()].extracted = Some(extracted);
        extracted
    }

    /// Forgets all but the first `count` names.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.entries.truncate(count);
        self.by_text.retain(|id| (*id as usize) < count);
        for entry in &mut self.entries {
            entry.extracted = entry.extracted.filter(|id| id.index() < count);
        }
    }
}

/// Appends `raw` as a part of a label name: white space around it gone, and every character but ASCII letters, digits
/// and `_` replaced by `_`.
pub(crate) fn push_sanitized(raw: &[u8], out: &mut String) {
    for chunk in trim(raw).utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if c == '_' || c.is_ascii_alphanumeric() { c } else { '_' }));
        out.extend(chunk.invalid().iter().map(|_| '_'));
    }
}

/// Makes a valid start of a name that begins with a digit.
pub(crate) fn protect_leading_digit(name: &mut String) {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
}

/// `raw` without Unicode white space around it.
fn trim(raw: &[u8]) -> &[u8] {
    match std::str::from_utf8(raw) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => raw.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sanitized(raw: &[u8]) -> String {
        let mut out = String::new();
        push_sanitized(raw, &mut out);
        protect_leading_digit(&mut out);
        out
    }

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = Names::default();
        let a = names.intern("a");
        let b = names.intern("b");
        assert_ne!(a, b);
        assert_eq!(names.intern("a"), a);
        assert_eq!(names.find("b"), Some(b));
        assert_eq!(names.find("c"), None);
        let extracted = names.extracted(a);
        assert_eq!(names.text(extracted), "a_extracted");
        assert_eq!(names.extracted(a), extracted);
    }

    #[test]
    fn forgotten_names_are_numbered_again() {
        let mut names = Names::default();
        let a = names.intern("a");
        names.extracted(a);
        names.truncate(1);
        assert_eq!(names.find("a"), Some(a));
        assert_eq!(names.find("a_extracted"), None);
        let extracted = names.extracted(a);
        assert_eq!(names.text(extracted), "a_extracted");
    }

    #[test]
    fn names_are_sanitized_character_by_character() {
        assert_eq!(sanitized(b" key-dash "), "key_dash");
        assert_eq!(sanitized("é".as_bytes()), "_");
        assert_eq!(sanitized("\u{a0}b".as_bytes()), "b");
        assert_eq!(sanitized(b"1abc"), "_1abc");
        assert_eq!(sanitized(b"a\xff\xfeb"), "a__b");
        assert_eq!(sanitized(b"  "), "");
    }
}
