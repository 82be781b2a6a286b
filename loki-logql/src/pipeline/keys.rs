//! Keys of JSON objects and logfmt pairs, and the label names they become.
//!
//! Making a label name of a key means cleaning and hashing it. Lines of one source have the same keys in the same
//! order, so the cache remembers for each key which one came next: usually a comparison of a few bytes is all.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::json::unescape;
use super::labels::LabelSet;
use super::names::{NameId, protect_leading_digit, push_sanitized};

/// The cache starts afresh once it holds this many keys.
const MAX_KEYS: usize = 1 << 13;

/// The cache starts afresh once its keys and paths take this many bytes.
const MAX_KEYS_BYTES: usize = 1 << 20;

/// A key in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(u32);

impl KeyId {
    /// What top-level keys have as their parent.
    pub(crate) const ROOT: Self = Self(0);
}

/// What a key means.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    parent: KeyId,
    raw: Range<usize>,
    /// The cleaned parts from the root on, joined by `_`.
    path: Box<str>,
    /// The label; none when nothing is left of the path.
    pub(crate) name: Option<NameId>,
    /// Whether the label, under its own or its `_extracted` name, is read by anybody.
    pub(crate) wanted: bool,
    /// Whether a label that is read may come from inside an object under this key.
    pub(crate) leads_on: bool,
    /// The key is a string with a bad escape.
    pub(crate) invalid: bool,
    /// The key that followed the last time.
    next: KeyId,
}

/// Keys met so far.
#[derive(Clone, Debug)]
pub(crate) struct KeyCache {
    keys: Vec<Key>,
    raw: Vec<u8>,
    path_bytes: usize,
    by_raw: HashTable<u32>,
    hasher: RandomState,
    scratch: String,
    unescaped: Vec<u8>,
}

impl Default for KeyCache {
    fn default() -> Self {
        let root = Key {
            parent: KeyId::ROOT,
            raw: 0..0,
            path: "".into(),
            name: None,
            wanted: false,
            leads_on: true,
            invalid: false,
            next: KeyId::ROOT,
        };
        Self {
            keys: vec![root],
            raw: Vec::new(),
            path_bytes: 0,
            by_raw: HashTable::new(),
            hasher: RandomState::default(),
            scratch: String::new(),
            unescaped: Vec::new(),
        }
    }
}

impl KeyCache {
    /// Forgets everything; numbers of labels no longer hold.
    pub(crate) fn clear(&mut self) {
        self.keys.truncate(1);
        self.keys[0].next = KeyId::ROOT;
        self.raw.clear();
        self.path_bytes = 0;
        self.by_raw.clear();
    }

    /// Makes room if the cache grew too large. Keys handed out before no longer hold.
    pub(crate) fn start_line(&mut self) {
        if self.keys.len() > MAX_KEYS || self.raw.len() + self.path_bytes > MAX_KEYS_BYTES {
            self.clear();
        }
    }

    pub(crate) fn key(&self, id: KeyId) -> &Key {
        &self.keys[id.0 as usize]
    }

    /// The key that `text` begins with, and its length, if it is the one that followed `previous` the last time and
    /// `terminator` stands behind it.
    #[inline]
    pub(crate) fn guess(&self, previous: KeyId, parent: KeyId, text: &[u8], terminator: u8) -> Option<(KeyId, usize)> {
        let guess = self.keys[previous.0 as usize].next;
        let key = &self.keys[guess.0 as usize];
        let raw = &self.raw[key.raw.clone()];
        let matches = guess != KeyId::ROOT
            && key.parent == parent
            && text.get(raw.len()) == Some(&terminator)
            && text[..raw.len()] == *raw;
        matches.then_some((guess, raw.len()))
    }

    /// The key `raw` (as it stands in the line) under `parent`, read directly behind `previous`.
    pub(crate) fn find(
        &mut self,
        previous: KeyId,
        parent: KeyId,
        raw: &[u8],
        labels: &mut LabelSet,
        wants: Wants,
    ) -> KeyId {
        let hash = self.hasher.hash_one((parent.0, raw));
        let known = self.by_raw.find(hash, |&id| {
            let key = &self.keys[id as usize];
            key.parent == parent && self.raw[key.raw.clone()] == *raw
        });
        let found = match known {
            Some(&id) => KeyId(id),
            None => self.insert(parent, raw, hash, labels, wants),
        };
        self.keys[previous.0 as usize].next = found;
        found
    }

    #[cold]
    fn insert(&mut self, parent: KeyId, raw: &[u8], hash: u64, labels: &mut LabelSet, wants: Wants) -> KeyId {
        let mut invalid = false;
        let mut text = raw;
        if wants.escapes && raw.contains(&b'\\') {
            self.unescaped.clear();
            invalid = !unescape(raw, &mut self.unescaped);
            text = &self.unescaped;
        }
        self.scratch.clear();
        self.scratch.push_str(&self.keys[parent.0 as usize].path);
        let path_len = self.scratch.len();
        if path_len > 0 {
            self.scratch.push('_');
        }
        push_sanitized(text, &mut self.scratch);
        if path_len > 0 && self.scratch.len() == path_len + 1 {
            self.scratch.pop();
        }
        let path: Box<str> = self.scratch.as_str().into();
        let leads_on = !wants.only_needed || labels.needs_prefix(&path);
        protect_leading_digit(&mut self.scratch);
        let name = (!self.scratch.is_empty()).then(|| labels.intern(&self.scratch));
        let wanted = name.is_some_and(|name| !wants.only_needed || labels.needs_either(name));
        let start = self.raw.len();
        self.raw.extend_from_slice(raw);
        self.path_bytes += path.len();
        let id = KeyId(self.keys.len() as u32);
        let raw = start..self.raw.len();
        self.keys.push(Key { parent, raw, path, name, wanted, leads_on, invalid, next: KeyId::ROOT });
        let (keys, bytes, hasher) = (&self.keys, &self.raw, &self.hasher);
        self.by_raw.insert_unique(hash, id.0, |&id| {
            let key = &keys[id as usize];
            hasher.hash_one((key.parent.0, &bytes[key.raw.clone()]))
        });
        id
    }
}

/// What keys are looked at for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// Only labels that are read are of interest.
    pub(crate) only_needed: bool,
    /// Keys may hold JSON escapes.
    pub(crate) escapes: bool,
}
