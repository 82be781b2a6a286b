//! Gathers structured metadata row by row and writes it as columns.
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "encodes positions that were gathered here; the parent denies these for what it decodes"
)]

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::fixed::FixedForm;
use super::{FORM_HEX, FORM_TEXT, FORM_UUID, IDS_ASCEND, PRESENCE_ALL, PRESENCE_BITMAP, PRESENCE_LIST, id_width};
use crate::chunk::{MAX_METADATA_BYTES, MAX_METADATA_COLUMNS, METADATA_PAIR_OVERHEAD_BYTES, check_limit};
use crate::encoding::{put_prefixed, put_varint, varint_len};
use crate::error::Error;
use crate::labels;
use crate::packing::{pack, packed_len, put_column};

/// Different sets that are remembered with their places in the columns. Most rows have one of a few sets, such as the
/// level of the line and nothing else.
const RECENT_SETS: usize = 8;

/// The columns of a chunk under construction.
#[derive(Debug, Default)]
pub(in crate::chunk) struct MetadataBuilder {
    columns: Vec<ColumnBuilder>,
    by_name: HashTable<usize>,
    hasher: RandomState,
    /// What is counted against [`MAX_METADATA_BYTES`].
    bytes: u64,
    recent: Vec<ResolvedSet>,
    /// Which of `recent` is given up next.
    oldest: usize,
}

/// A metadata set of some row.
#[derive(Debug, Default)]
struct ResolvedSet {
    encoded: Vec<u8>,
    /// Columns, and the positions of the values in their dictionaries.
    places: Vec<(usize, u32)>,
    /// What it counts against [`MAX_METADATA_BYTES`].
    bytes: u64,
}

#[derive(Debug, Default)]
struct ColumnBuilder {
    name: Box<str>,
    /// Rows with a value, ascending, and their values' positions in the dictionary.
    rows: Vec<u32>,
    ids: Vec<u32>,
    /// The dictionary: strings one after the other, and where each ends.
    text: String,
    ends: Vec<usize>,
    by_value: HashTable<u32>,
}

impl MetadataBuilder {
    /// How many names there are.
    pub(in crate::chunk) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The name of each column with its different values.
    pub(in crate::chunk) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().flat_map(|column| column.values().map(|value| (&*column.name, value)))
    }

    /// The bytes of all pairs, with what each takes besides.
    pub(in crate::chunk) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets all rows.
    pub(in crate::chunk) fn clear(&mut self) {
        self.columns.clear();
        self.by_name.clear();
        self.bytes = 0;
        self.recent.clear();
        self.oldest = 0;
    }

    /// Adds the metadata of `row`, which must be above the last one.
    ///
    /// Fails beyond the limits on bytes and columns; the builder is then as it was before.
    pub(in crate::chunk) fn append(&mut self, row: u32, set: labels::Iter<'_>) -> Result<(), Error> {
        if set.as_bytes().is_empty() {
            return Ok(());
        }
        let known = self.recent.iter().position(|recent| recent.encoded == set.as_bytes());
        let recent = match known {
            Some(recent) => recent,
            None => self.resolve(set)?,
        };
        let ResolvedSet { places, bytes, .. } = &self.recent[recent];
        let bytes = self.bytes + bytes;
        check_limit("structured metadata of a chunk", bytes, MAX_METADATA_BYTES)?;
        for &(column, id) in places {
            let column = &mut self.columns[column];
            column.rows.push(row);
            column.ids.push(id);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Finds the places of a set's values and remembers them; returns where.
    fn resolve(&mut self, set: labels::Iter<'_>) -> Result<usize, Error> {
        let bytes = self.check_limits(set.clone())?;
        if self.recent.len() < RECENT_SETS {
            self.oldest = self.recent.len();
            self.recent.push(ResolvedSet::default());
        }
        let at = self.oldest;
        self.oldest = (at + 1) % RECENT_SETS;
        let mut resolved = std::mem::take(&mut self.recent[at]);
        resolved.encoded.clear();
        resolved.encoded.extend_from_slice(set.as_bytes());
        resolved.places.clear();
        resolved.bytes = bytes;
        // Sets tend to have the same names, so the next column is mostly the next one.
        let mut guess = 0;
        for (name, value) in set {
            let column = match self.columns.get(guess) {
                Some(candidate) if &*candidate.name == name => guess,
                _ => self.column(name),
            };
            let id = self.columns[column].intern(value, &self.hasher);
            resolved.places.push((column, id));
            guess = column + 1;
        }
        self.recent[at] = resolved;
        Ok(at)
    }

    /// What a set counts against the limit on bytes, unless that or the number of columns would be exceeded.
    fn check_limits(&self, set: labels::Iter<'_>) -> Result<u64, Error> {
        let overhead = u64::from(METADATA_PAIR_OVERHEAD_BYTES);
        let mut pairs = 0;
        let mut bytes = 0;
        for (name, value) in set.clone() {
            pairs += 1;
            bytes += (name.len() + value.len()) as u64 + overhead;
        }
        check_limit("structured metadata of a chunk", self.bytes + bytes, MAX_METADATA_BYTES)?;
        let columns = self.columns.len() as u64;
        if columns + pairs > u64::from(MAX_METADATA_COLUMNS) {
            let new = set.filter(|(name, _)| !self.contains(name)).count() as u64;
            check_limit("metadata names of a chunk", columns + new, MAX_METADATA_COLUMNS)?;
        }
        Ok(bytes)
    }

    fn contains(&self, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |&column| &*self.columns[column].name == name).is_some()
    }

    fn column(&mut self, name: &str) -> usize {
        let Self { columns, by_name, hasher, .. } = self;
        let entry = by_name.entry(
            hasher.hash_one(name),
            |&column| &*columns[column].name == name,
            |&column| hasher.hash_one(&*columns[column].name),
        );
        let column = *entry.or_insert(columns.len()).get();
        if column == columns.len() {
            columns.push(ColumnBuilder { name: name.into(), ..ColumnBuilder::default() });
        }
        column
    }

    /// Appends the raw METADATA and FIXED parts of a chunk of `rows` rows.
    pub(in crate::chunk) fn encode(&self, rows: u32, metadata: &mut Vec<u8>, fixed: &mut Vec<u8>) {
        let mut columns: Vec<_> = self.columns.iter().collect();
        columns.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        put_varint(metadata, columns.len() as u64);
        for column in columns {
            column.encode(rows, metadata, fixed);
        }
    }
}

impl ColumnBuilder {
    /// The position of `value` in the dictionary.
    fn intern(&mut self, value: &str, hasher: &RandomState) -> u32 {
        let Self { text, ends, by_value, .. } = self;
        if let Some(&last) = self.ids.last()
            && text_of(text, ends, last) == value
        {
            return last;
        }
        let entry = by_value.entry(
            hasher.hash_one(value),
            |&id| text_of(text, ends, id) == value,
            |&id| hasher.hash_one(text_of(text, ends, id)),
        );
        let id = *entry.or_insert(ends.len() as u32).get();
        if id as usize == ends.len() {
            text.push_str(value);
            ends.push(text.len());
        }
        id
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|id| text_of(&self.text, &self.ends, id))
    }

    fn encode(&self, rows: u32, metadata: &mut Vec<u8>, fixed: &mut Vec<u8>) {
        put_prefixed(metadata, self.name.as_bytes());
        put_varint(metadata, self.rows.len() as u64);
        // Nothing but a present row adds to a dictionary, so as many values as rows means one each, in order.
        let ascend = self.ends.len() == self.ids.len();
        let form = self.form();
        let shape = metadata.len();
        metadata.push(match form {
            None => FORM_TEXT,
            Some(FixedForm::Hex { .. }) => FORM_HEX,
            Some(FixedForm::Uuid) => FORM_UUID,
        });
        metadata[shape] |= self.put_presence(rows, metadata);
        put_varint(metadata, self.ends.len() as u64);
        match form {
            None => {
                put_column(self.values().map(|value| value.len() as u64), metadata);
                metadata.extend_from_slice(self.text.as_bytes());
            }
            Some(form) => {
                if let FixedForm::Hex { digits } = form {
                    put_varint(metadata, u64::from(digits));
                }
                self.values().for_each(|value| FixedForm::pack_into(value, fixed));
            }
        }
        if ascend {
            metadata[shape] |= IDS_ASCEND;
        } else {
            let width = id_width(self.ends.len() as u32);
            pack(self.ids.iter().copied().map(u64::from), width, metadata);
        }
    }

    /// Writes which rows have a value in the smallest way and returns which way that is.
    fn put_presence(&self, rows: u32, metadata: &mut Vec<u8>) -> u8 {
        if self.rows.len() == rows as usize {
            return PRESENCE_ALL;
        }
        let mut next = 0;
        let gaps: Vec<u64> = self
            .rows
            .iter()
            .map(|&row| {
                let gap = row - next;
                next = row + 1;
                u64::from(gap)
            })
            .collect();
        let list_len: usize = gaps.iter().copied().map(varint_len).sum();
        let bitmap_len = packed_len(rows as usize, 1);
        if list_len < bitmap_len {
            for gap in gaps {
                put_varint(metadata, gap);
            }
            return PRESENCE_LIST;
        }
        let start = metadata.len();
        metadata.resize(start + bitmap_len, 0);
        for &row in &self.rows {
            metadata[start + row as usize / 8] |= 1 << (row % 8);
        }
        PRESENCE_BITMAP
    }

    /// The form that all values have, if there is one.
    fn form(&self) -> Option<FixedForm> {
        let mut values = self.values();
        let form = FixedForm::of(values.next()?)?;
        values.all(|value| form.accepts(value)).then_some(form)
    }
}

fn text_of<'t>(text: &'t str, ends: &[usize], id: u32) -> &'t str {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &text[start..ends[id]]
}
