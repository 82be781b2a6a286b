//! Checking a label index against the streams that it lists.

use std::collections::BTreeMap;

use loki_core::index::Index;
use loki_core::{Error, Labels, MatchOp, Matcher};
use roaring::RoaringBitmap;

use super::part::Sink;
use crate::tools::inspect::in_full;

/// Checks that the streams ascend, and that every way to find them leads to the same ones.
pub(super) fn check(index: &Index, sink: &mut Sink<'_>) {
    if let Err(error) = compare(index, sink) {
        sink.find(format!("section index: {}", in_full(&error)));
    }
}

fn compare(index: &Index, sink: &mut Sink<'_>) -> Result<(), Error> {
    let mut names = std::collections::BTreeSet::new();
    let mut previous: Option<Labels> = None;
    for stream in index.labels_of(0..index.streams())? {
        let (_, labels) = stream?;
        if previous.as_ref().is_some_and(|previous| *previous >= labels) {
            sink.find("the streams of the index are out of order".to_owned());
        }
        for (name, _) in &labels {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
        previous = Some(labels);
    }
    if !names.iter().eq(&index.label_names(None)?) {
        sink.find("the index does not have the names of the labels of its streams".to_owned());
    }
    for name in &names {
        compare_label(index, name, sink)?;
    }
    Ok(())
}

fn compare_label(index: &Index, name: &str, sink: &mut Sink<'_>) -> Result<(), Error> {
    let mut by_value: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
    for stream in index.labels_of(0..index.streams())? {
        let (ordinal, labels) = stream?;
        if let Some(value) = labels.get(name) {
            match by_value.get_mut(value) {
                Some(streams) => {
                    streams.insert(ordinal);
                }
                None => {
                    by_value.insert(value.to_owned(), RoaringBitmap::from([ordinal]));
                }
            }
        }
    }
    if !by_value.keys().eq(&index.label_values(name, None)?) {
        sink.find(format!("the index does not have the values of label {name}"));
    }
    for (value, streams) in &by_value {
        let Ok(matcher) = Matcher::new(name, MatchOp::Equal, value) else {
            sink.find(format!("{name:?} cannot be the name of a label"));
            return Ok(());
        };
        if index.select(&[matcher])? != *streams {
            sink.find(format!("the index does not find the streams with {name}={value:?}"));
        }
    }
    Ok(())
}
