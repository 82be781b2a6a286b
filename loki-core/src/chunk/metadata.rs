//! The METADATA and FIXED parts: structured metadata as one dictionary column per name.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::OnceLock;

use bytes::Bytes;

use super::{MAX_METADATA_BYTES, MAX_METADATA_COLUMNS};
use crate::encoding::Reader;
use crate::error::Error;
use crate::packing::{packed_at, packed_len, read_column, width_of};

mod builder;
mod fixed;

pub(super) use builder::MetadataBuilder;
use fixed::FixedForm;

/// Which rows have a value: all of them, those of a bitmap, those of a list.
const PRESENCE_ALL: u8 = 0;
const PRESENCE_BITMAP: u8 = 1;
const PRESENCE_LIST: u8 = 2;
const PRESENCE_MASK: u8 = 0b11;
/// How the values of the dictionary are written: as text, or packed in the FIXED part.
const FORM_TEXT: u8 = 0 << 2;
const FORM_HEX: u8 = 1 << 2;
const FORM_UUID: u8 = 2 << 2;
const FORM_MASK: u8 = 0b11 << 2;
/// Set when the dictionary has the values in the order of rows, each once.
const IDS_ASCEND: u8 = 1 << 4;

/// The structured metadata of a chunk: a column for each name that some row has.
#[derive(Debug, Clone, Default)]
pub struct MetadataColumns {
    /// Sorted by name.
    columns: Vec<Column>,
}

impl MetadataColumns {
    /// Decodes the raw METADATA and FIXED parts of a chunk of `rows` rows.
    pub(super) fn decode(metadata: &Bytes, fixed: &Bytes, rows: u32) -> Result<Self, Error> {
        let mut reader = Reader::new("metadata part", metadata);
        let mut fixed_rest = Reader::new("fixed part", fixed);
        let count = reader.varint()?;
        if count > u64::from(MAX_METADATA_COLUMNS) {
            return Err(reader.invalid("number of columns", count));
        }
        let mut columns: Vec<Column> = Vec::new();
        for _ in 0..count {
            let at_column = reader.clone();
            let column = Column::decode(&mut reader, metadata, &mut fixed_rest, fixed, rows)?;
            if columns.last().is_some_and(|last| last.name >= column.name) {
                return Err(at_column.invalid("order of a column, by length of its name", column.name.len() as u64));
            }
            columns.push(column);
        }
        reader.finish()?;
        fixed_rest.finish()?;
        Ok(Self { columns })
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(Column::name)
    }

    /// The columns, sorted by name.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of `name`, if some row has it.
    pub fn column(&self, name: &str) -> Option<&Column> {
        let found = self.columns.binary_search_by(|column| column.name().cmp(name)).ok()?;
        self.columns.get(found)
    }

    /// Whether no row has any metadata.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The pairs of `row`, sorted by name.
    pub fn row(&self, row: u32) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().filter_map(move |column| Some((column.name(), column.value(row)?)))
    }
}

/// The values of one name.
#[derive(Debug, Clone)]
pub struct Column {
    name: Box<str>,
    present: u32,
    presence: Presence,
    ids: Ids,
    dictionary: Dictionary,
}

#[derive(Debug, Clone)]
enum Presence {
    All {
        rows: u32,
    },
    /// Words of 64 rows, each with the number of rows present before it.
    Bitmap(Vec<(u64, u32)>),
    /// Ascending rows.
    List(Vec<u32>),
}

/// For each present row, the position of its value in the dictionary.
#[derive(Debug, Clone)]
enum Ids {
    Ascending,
    Packed { packed: Bytes, width: u32 },
}

#[derive(Debug, Clone)]
enum Dictionary {
    Text(Texts),
    Fixed { form: FixedForm, packed: Bytes, len: u32, unpacked: OnceLock<String> },
}

/// Strings one after the other.
#[derive(Debug, Clone)]
struct Texts {
    text: String,
    /// Where each string ends.
    ends: Vec<u32>,
}

impl Column {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many rows have a value.
    pub fn present_rows(&self) -> u32 {
        self.present
    }

    /// The value of `row`; `None` if the row does not have this name at all, which differs from an empty value.
    pub fn value(&self, row: u32) -> Option<&str> {
        self.id(row).map(|id| self.dictionary_value(id))
    }

    /// The position of the value of `row` in the dictionary.
    pub fn id(&self, row: u32) -> Option<u32> {
        self.presence.index_of(row).map(|index| self.id_at(index))
    }

    /// The position of `value` in the dictionary; `None` means that no row has it. Builds no strings.
    pub fn id_of(&self, value: &str) -> Option<u32> {
        match &self.dictionary {
            Dictionary::Text(texts) => (0..texts.len()).find(|id| texts.value(*id) == value),
            Dictionary::Fixed { form, packed, .. } => {
                let wanted = form.pack(value)?;
                let position = packed.chunks_exact(form.packed_len()).position(|candidate| candidate == wanted)?;
                Some(position as u32)
            }
        }
    }

    /// How many different values there are.
    pub fn dictionary_len(&self) -> u32 {
        self.dictionary.len()
    }

    /// The value at a position in the dictionary; empty beyond its end.
    pub fn dictionary_value(&self, id: u32) -> &str {
        match &self.dictionary {
            Dictionary::Text(texts) => texts.value(id),
            Dictionary::Fixed { form, packed, unpacked, .. } => {
                let text = unpacked.get_or_init(|| form.unpack_all(packed));
                let len = form.text_len();
                let start = (id as usize).saturating_mul(len);
                text.get(start..start.saturating_add(len)).unwrap_or_default()
            }
        }
    }

    /// The different values, in the order in which rows first have them.
    pub fn dictionary(&self) -> impl Iterator<Item = &str> {
        (0..self.dictionary_len()).map(|id| self.dictionary_value(id))
    }

    /// Rows that have a value, in order, each with its value's position in the dictionary.
    pub fn ids(&self) -> impl Iterator<Item = (u32, u32)> {
        self.presence.rows().enumerate().map(|(index, row)| (row, self.id_at(index)))
    }

    /// The rows whose value is at position `id` of the dictionary, in order.
    pub fn rows_with(&self, id: u32) -> impl Iterator<Item = u32> {
        self.ids().filter(move |(_, candidate)| *candidate == id).map(|(row, _)| row)
    }

    fn id_at(&self, index: usize) -> u32 {
        match &self.ids {
            Ids::Ascending => index as u32,
            Ids::Packed { packed, width } => packed_at(packed, index, *width),
        }
    }

    fn decode(
        reader: &mut Reader<'_>,
        metadata: &Bytes,
        fixed_rest: &mut Reader<'_>,
        fixed: &Bytes,
        rows: u32,
    ) -> Result<Self, Error> {
        let name = reader.prefixed_str()?.into();
        let at_present = reader.clone();
        let present = reader.varint32()?;
        if present == 0 || present > rows {
            return Err(at_present.invalid("number of rows with a value", u64::from(present)));
        }
        let at_shape = reader.clone();
        let shape = reader.u8()?;
        if shape & !(PRESENCE_MASK | FORM_MASK | IDS_ASCEND) != 0 {
            return Err(at_shape.invalid("shape of a column", u64::from(shape)));
        }
        let presence = Presence::decode(shape & PRESENCE_MASK, reader, present, rows)?;
        let at_len = reader.clone();
        let len = reader.varint32()?;
        let ascend = shape & IDS_ASCEND != 0;
        if len == 0 || len > present || (ascend && len != present) {
            return Err(at_len.invalid("length of a dictionary", u64::from(len)));
        }
        let dictionary = match shape & FORM_MASK {
            FORM_TEXT => Dictionary::Text(Texts::decode(reader, len)?),
            form => Dictionary::decode_fixed(form, reader, fixed_rest, fixed, len)?,
        };
        let ids = if ascend { Ids::Ascending } else { Ids::decode(reader, metadata, present, len)? };
        Ok(Self { name, present, presence, ids, dictionary })
    }
}

impl Presence {
    fn decode(shape: u8, reader: &mut Reader<'_>, present: u32, rows: u32) -> Result<Self, Error> {
        let at_presence = reader.clone();
        let (presence, found) = match shape {
            PRESENCE_ALL => (Self::All { rows }, rows),
            PRESENCE_BITMAP => {
                let bytes = reader.bytes(packed_len(rows as usize, 1))?;
                let mut before = 0_u32;
                let words = bytes.chunks(8).map(|chunk| {
                    let word = chunk.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
                    let entry = (word, before);
                    before = before.saturating_add(word.count_ones());
                    entry
                });
                let words: Vec<_> = words.collect();
                let beyond = words.last().map_or(0, |(word, _)| word.checked_shr(rows & 63).unwrap_or_default());
                if rows & 63 != 0 && beyond != 0 {
                    return Err(at_presence.invalid("bits beyond the last row", beyond));
                }
                (Self::Bitmap(words), before)
            }
            PRESENCE_LIST => {
                // A row takes at least a byte.
                if present as usize > reader.rest().len() {
                    return Err(at_presence.invalid("rows listed", u64::from(present)));
                }
                let mut list = Vec::with_capacity(present as usize);
                let mut next = 0_u64;
                for _ in 0..present {
                    let row = next.saturating_add(reader.varint()?);
                    if row >= u64::from(rows) {
                        return Err(at_presence.invalid("row listed", row));
                    }
                    list.push(row as u32);
                    next = row.saturating_add(1);
                }
                (Self::List(list), present)
            }
            shape => return Err(at_presence.invalid("presence of a column", u64::from(shape))),
        };
        if found != present {
            return Err(at_presence.invalid("rows found present", u64::from(found)));
        }
        Ok(presence)
    }

    /// How many rows before `row` are present, if `row` is.
    fn index_of(&self, row: u32) -> Option<usize> {
        match self {
            Self::All { rows } => (row < *rows).then_some(row as usize),
            Self::Bitmap(words) => {
                let (word, before) = *words.get((row / 64) as usize)?;
                let bit = 1_u64.checked_shl(row % 64)?;
                let below = word & bit.wrapping_sub(1);
                (word & bit != 0).then_some(before.saturating_add(below.count_ones()) as usize)
            }
            Self::List(rows) => rows.binary_search(&row).ok(),
        }
    }

    fn rows(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::All { rows } => Box::new(0..*rows),
            Self::Bitmap(words) => Box::new((0_u32..).step_by(64).zip(words).flat_map(|(base, (word, _))| {
                let mut left = *word;
                std::iter::from_fn(move || {
                    let lowest = left.trailing_zeros();
                    left &= left.wrapping_sub(1);
                    (lowest < u64::BITS).then(|| base.saturating_add(lowest))
                })
            })),
            Self::List(rows) => Box::new(rows.iter().copied()),
        }
    }
}

impl Ids {
    fn decode(reader: &mut Reader<'_>, metadata: &Bytes, present: u32, len: u32) -> Result<Self, Error> {
        let width = id_width(len);
        let at_ids = reader.clone();
        let packed = reader.bytes(packed_len(present as usize, width))?;
        // Only widths that are no power of two can spell more than there is.
        let largest = (0..present as usize).map(|index| packed_at(packed, index, width)).max().unwrap_or_default();
        if largest >= len {
            return Err(at_ids.invalid("position in a dictionary", u64::from(largest)));
        }
        Ok(Self::Packed { packed: metadata.slice_ref(packed), width })
    }
}

/// How many bits a position takes in a dictionary of `len` values.
fn id_width(len: u32) -> u32 {
    width_of(u64::from(len.saturating_sub(1)))
}

impl Dictionary {
    fn decode_fixed(
        form: u8,
        reader: &mut Reader<'_>,
        fixed_rest: &mut Reader<'_>,
        fixed: &Bytes,
        len: u32,
    ) -> Result<Self, Error> {
        let at_form = reader.clone();
        let form = match form {
            FORM_UUID => Some(FixedForm::Uuid),
            FORM_HEX => FixedForm::hex(reader.varint32()?),
            _ => None,
        };
        let form = form.ok_or_else(|| at_form.invalid("form of a dictionary", 0))?;
        let packed_len = form.packed_len().saturating_mul(len as usize);
        // Unpacking doubles it, or nearly so.
        if packed_len > MAX_METADATA_BYTES as usize {
            return Err(at_form.invalid("bytes of a dictionary", packed_len as u64));
        }
        let packed = fixed.slice_ref(fixed_rest.bytes(packed_len)?);
        Ok(Self::Fixed { form, packed, len, unpacked: OnceLock::new() })
    }

    fn len(&self) -> u32 {
        match self {
            Self::Text(texts) => texts.len(),
            Self::Fixed { len, .. } => *len,
        }
    }
}

impl Texts {
    fn decode(reader: &mut Reader<'_>, len: u32) -> Result<Self, Error> {
        let at_texts = reader.clone();
        let limit = reader.rest().len();
        let mut ends: Vec<u32> = Vec::new();
        let mut end = 0_u64;
        let mut empty = 0_u32;
        let invalid = |value| at_texts.invalid("strings of a dictionary", value);
        // Different strings are not empty, except one: so memory is in proportion to bytes that are there.
        if u64::from(len) > (limit as u64).saturating_add(1) {
            return Err(invalid(u64::from(len)));
        }
        read_column(reader, len as usize, |lengths| {
            ends.extend(lengths.iter().map(|len| {
                end = end.saturating_add(*len);
                empty = empty.saturating_add(u32::from(*len == 0));
                u32::try_from(end).unwrap_or(u32::MAX)
            }));
        })?;
        if empty > 1 || end > limit as u64 {
            return Err(invalid(end));
        }
        let bytes = reader.bytes(end as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.valid_up_to() as u64))?.to_owned();
        match ends.iter().find(|end| !text.is_char_boundary(**end as usize)) {
            Some(end) => Err(invalid(u64::from(*end))),
            None => Ok(Self { text, ends }),
        }
    }

    fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    fn value(&self, id: u32) -> &str {
        let end = |id: u32| self.ends.get(id as usize).map(|end| *end as usize);
        let start = id.checked_sub(1).map_or(Some(0), end);
        let value = start.zip(end(id)).and_then(|(start, end)| self.text.get(start..end));
        value.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
