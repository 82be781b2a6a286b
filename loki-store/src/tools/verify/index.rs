//! Checking a label index against the streams that it lists.

use std::collections::BTreeMap;

use loki_core::index::Index;
use loki_core::{Error, Labels, MatchOp, Matcher};

use super::part::Sink;
use crate::tools::inspect::in_full;

/// Checks that the streams ascend, and that every way to find them leads to the same ones.
pub(super) fn check(index: &Index, sink: &mut Sink<'_>) {
    if let Err(error) = compare(index, index, &mut |problem| sink.find(problem)) {
        sink.find(format!("section index: {}", in_full(&error)));
    }
}

/// The streams that have each value of each label, by their numbers.
type Streams = BTreeMap<String, BTreeMap<String, Vec<u32>>>;

/// Compares the streams of an index with what another one, which should be the same, finds.
fn compare(listed: &Index, index: &Index, find: &mut impl FnMut(String)) -> Result<(), Error> {
    let mut streams = Streams::new();
    let mut previous: Option<Labels> = None;
    for stream in listed.labels_of(0..listed.streams())? {
        let (ordinal, labels) = stream?;
        if previous.as_ref().is_some_and(|previous| *previous >= labels) {
            find("the streams of the index are out of order".to_owned());
        }
        for (name, value) in &labels {
            entry(entry(&mut streams, name), value).push(ordinal);
        }
        previous = Some(labels);
    }
    if !streams.keys().eq(&index.label_names(None)?) {
        find("the index does not have the names of the labels of its streams".to_owned());
    }
    for (name, by_value) in &streams {
        compare_label(index, name, by_value, find)?;
    }
    Ok(())
}

fn compare_label(
    index: &Index,
    name: &str,
    by_value: &BTreeMap<String, Vec<u32>>,
    find: &mut impl FnMut(String),
) -> Result<(), Error> {
    if !by_value.keys().eq(&index.label_values(name, None)?) {
        find(format!("the index does not have the values of label {name}"));
    }
    for (value, streams) in by_value {
        let Ok(matcher) = Matcher::new(name, MatchOp::Equal, value) else {
            find(format!("{name:?} cannot be the name of a label"));
            return Ok(());
        };
        if !index.select(&[matcher])?.iter().eq(streams.iter().copied()) {
            find(format!("the index does not find the streams with {name}={value:?}"));
        }
    }
    Ok(())
}

/// What a map has for a key, which is copied only if it is new.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, key: &str) -> &'a mut T {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), T::default());
    }
    map.get_mut(key).expect("it was just inserted")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use loki_core::index::IndexBuilder;

    use super::*;

    fn index(streams: &[&str]) -> Index {
        let mut builder = IndexBuilder::new();
        for stream in streams {
            builder.push(&Labels::parse(stream).unwrap()).unwrap();
        }
        Index::open(Bytes::from(builder.finish().unwrap())).unwrap()
    }

    fn findings(listed: &[&str], found: &[&str]) -> Vec<String> {
        let mut findings = Vec::new();
        compare(&index(listed), &index(found), &mut |problem| findings.push(problem)).unwrap();
        findings
    }

    #[test]
    fn every_way_to_find_streams_is_checked() {
        const SOUND: [&str; 3] = [r#"{a="1"}"#, r#"{a="1", b="x"}"#, r#"{a="2", b="x"}"#];
        assert_eq!(findings(&SOUND, &SOUND), Vec::<String>::new());
        let names = "the index does not have the names of the labels of its streams";
        let others = [r#"{a="1"}"#, r#"{a="1", c="x"}"#, r#"{a="2", c="x"}"#];
        let values = "the index does not have the values of label b";
        let streams = r#"the index does not find the streams with b="x""#;
        assert_eq!(findings(&SOUND, &others), [names, values, streams]);
        let others = [r#"{a="1"}"#, r#"{a="1", b="x"}"#, r#"{a="2", b="y"}"#];
        assert_eq!(findings(&SOUND, &others), [values, streams]);
        let others = [r#"{a="1", b="x"}"#, r#"{a="2"}"#, r#"{a="2", b="x"}"#];
        let of = |value| format!("the index does not find the streams with a={value:?}");
        assert_eq!(findings(&SOUND, &others), [of("1"), of("2"), streams.to_owned()]);
    }
}
