//! Writing an index.

use std::collections::HashMap;

use super::directory::DirectoryBuilder;
use super::postings::{Postings, PostingsBuilder};
use super::{MAGIC, SYMBOL_SEPARATOR, VERSION};
use crate::encoding;
use crate::error::Error;
use crate::labels::Labels;

/// Collects the streams of one tenant, in the order of their labels.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    streams: u32,
    previous: Labels,
    /// The symbols of the labels of `previous`, in their order.
    previous_symbols: Vec<usize>,
    /// From a label's name and value to its position in `postings`.
    symbols: HashMap<Box<[u8]>, usize>,
    postings: Vec<Postings>,
    directory: DirectoryBuilder,
    /// The memory of `symbols` and `postings`, about.
    held_bytes: usize,
}

/// What a symbol takes besides its text: its places in the map and among the postings, with what is kept free there.
const SYMBOL_BYTES: usize = 2 * (size_of::<(Box<[u8]>, usize)>() + size_of::<Postings>());
/// What a run of ordinals takes in a list that grows by doubling.
const RUN_BYTES: usize = 2 * size_of::<std::ops::Range<u32>>();

impl IndexBuilder {
    /// An index without streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next stream and gives its ordinal.
    ///
    /// # Errors
    ///
    /// [`Error::RowOrder`] unless `labels` come after those of the stream before, [`Error::Limit`] for labels larger than
    /// [`LABELS_BYTES_LIMIT`](super::LABELS_BYTES_LIMIT) and for more streams than 32 bits can count.
    pub fn push(&mut self, labels: &Labels) -> Result<u32, Error> {
        let ordinal = self.streams;
        if ordinal > 0 && *labels <= self.previous {
            return Err(Error::RowOrder);
        }
        let streams = ordinal.checked_add(1).ok_or(Error::Limit {
            what: "number of streams",
            requested: 1 << 32,
            limit: u64::from(u32::MAX),
        })?;
        self.directory.push(labels)?;
        self.add_postings(ordinal, labels);
        self.previous = labels.clone();
        self.streams = streams;
        Ok(ordinal)
    }

    /// The memory that it takes by now, about.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.saturating_add(self.directory.held_bytes())
    }

    /// The bytes that [`Index::open`](super::Index::open) takes.
    ///
    /// # Errors
    ///
    /// [`Error::Compress`] when there is no memory to compress with.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let mut symbols: Vec<(Box<[u8]>, usize)> = self.symbols.into_iter().collect();
        symbols.sort_unstable();
        let mut postings = PostingsBuilder::default();
        let mut map = fst::MapBuilder::memory();
        for (symbol, position) in symbols {
            let value = postings.push(&self.postings[position]);
            map.insert(symbol, value).expect("symbols are sorted and unique, and memory can be written");
        }
        let symbols = map.into_inner().expect("memory can be written");
        let postings = postings.finish();
        let (block_table, blocks) = self.directory.finish()?;

        let mut out = Vec::new();
        out.extend(MAGIC.to_le_bytes());
        out.extend([VERSION, 0, 0, 0]);
        out.extend(self.streams.to_le_bytes());
        for section in [&symbols, &postings, &block_table] {
            out.extend((section.len() as u64).to_le_bytes());
            out.extend(encoding::crc32(section).to_le_bytes());
        }
        out.extend((blocks.len() as u64).to_le_bytes());
        let checksum = encoding::crc32(&out);
        out.extend(checksum.to_le_bytes());
        out.reserve_exact(symbols.len() + postings.len() + block_table.len() + blocks.len());
        for section in [symbols, postings, block_table, blocks] {
            out.extend(section);
        }
        Ok(out)
    }

    fn add_postings(&mut self, ordinal: u32, labels: &Labels) {
        let mut previous = self.previous.iter().zip(std::mem::take(&mut self.previous_symbols)).peekable();
        let mut own_symbols = Vec::new();
        for (name, value) in labels {
            // Neighbours share most labels, which saves most lookups.
            while previous.next_if(|((other, _), _)| *other < name).is_some() {}
            let shared = previous.next_if(|(pair, _)| *pair == (name, value));
            let symbol = if let Some((_, symbol)) = shared {
                symbol
            } else {
                let unused = self.postings.len();
                let key = [name.as_bytes(), &[SYMBOL_SEPARATOR], value.as_bytes()].concat();
                *self.symbols.entry(key.into()).or_insert(unused)
            };
            let grown_bytes = if let Some(postings) = self.postings.get_mut(symbol) {
                if postings.add(ordinal) { RUN_BYTES } else { 0 }
            } else {
                self.postings.push(Postings::of(ordinal));
                SYMBOL_BYTES.saturating_add(name.len()).saturating_add(value.len())
            };
            self.held_bytes = self.held_bytes.saturating_add(grown_bytes);
            own_symbols.push(symbol);
        }
        self.previous_symbols = own_symbols;
    }
}
