//! Which label names and values there are.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use fst::{IntoStreamer, Streamer};
use roaring::RoaringBitmap;

use super::reader::symbol_of;
use super::{Index, SYMBOL_SEPARATOR};
use crate::error::Error;

/// As many symbols are looked at in about the time it takes to read the labels of one stream: more if it is alone in its
/// block, fewer if its neighbours are wanted too.
const SYMBOLS_PER_STREAM: u64 = 16;

impl Index {
    /// The names of labels, sorted, of all streams or of those in `within`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when symbols or postings are damaged, or the directory of streams.
    pub fn label_names(&self, within: Option<&RoaringBitmap>) -> Result<Vec<String>, Error> {
        let Some(streams) = within else {
            return Ok(self.names_by_symbols(None)?.unwrap_or_default());
        };
        if let Some(names) = self.names_by_symbols(Some(streams))? {
            return Ok(names);
        }
        let mut names = BTreeSet::new();
        for item in self.labels_of(streams)? {
            for (name, _) in &item?.1 {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The values of the label `name`, sorted, of all streams or of those in `within`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when symbols or postings are damaged, or the directory of streams.
    pub fn label_values(&self, name: &str, within: Option<&RoaringBitmap>) -> Result<Vec<String>, Error> {
        let mut values = Vec::new();
        let mut looks = looks_limit(within);
        self.for_each_value(name, "", |text, symbol| {
            let Some(fewer) = looks.checked_sub(1) else { return Ok(ControlFlow::Break(())) };
            looks = fewer;
            if self.is_used(symbol, within)? {
                values.push(text.to_owned());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        match within {
            Some(streams) if looks == 0 => self.values_by_streams(name, streams),
            _ => Ok(values),
        }
    }

    /// The names that occur in symbols of `within`; `None` if so many symbols are not in use that it is better to look at
    /// the streams.
    fn names_by_symbols(&self, within: Option<&RoaringBitmap>) -> Result<Option<Vec<String>>, Error> {
        let symbols = self.symbols()?;
        let mut looks = looks_limit(within);
        let mut names = Vec::new();
        let mut from = Vec::new();
        loop {
            // The first symbol of the next name, then others of it until one is in use.
            let mut stream = symbols.range().ge(&from).into_stream();
            let Some((key, mut symbol)) = stream.next() else { break };
            let name = self.split(key)?.0.to_owned();
            let prefix = symbol_of(&name, "");
            loop {
                let Some(fewer) = looks.checked_sub(1) else { return Ok(None) };
                looks = fewer;
                if self.is_used(symbol, within)? {
                    names.push(name);
                    break;
                }
                match stream.next() {
                    Some((key, next)) if key.starts_with(&prefix) => symbol = next,
                    _ => break,
                }
            }
            // Behind all symbols of this name.
            from = prefix;
            from.push(SYMBOL_SEPARATOR);
        }
        // The separator sorts last, so that a name comes after those that it is a prefix of.
        names.sort_unstable();
        Ok(Some(names))
    }

    fn values_by_streams(&self, name: &str, streams: &RoaringBitmap) -> Result<Vec<String>, Error> {
        let mut values = BTreeSet::new();
        for item in self.labels_of(streams)? {
            if let Some(value) = item?.1.get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        Ok(values.into_iter().collect())
    }

    fn is_used(&self, symbol: u64, within: Option<&RoaringBitmap>) -> Result<bool, Error> {
        within.map_or(Ok(true), |streams| Ok(self.stream_set(symbol)?.intersects(streams)))
    }
}

/// How many symbols to look at before the labels of the streams themselves.
fn looks_limit(within: Option<&RoaringBitmap>) -> u64 {
    within.map_or(u64::MAX, |streams| streams.len().saturating_mul(SYMBOLS_PER_STREAM))
}
