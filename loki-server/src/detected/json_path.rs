//! Where in a JSON object the `json` stage found its labels.

use std::collections::BTreeMap;
use std::fmt;

use loki_core::Labels;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How a parsed label is called when the stream has one of its name.
const EXTRACTED_SUFFIX: &str = "_extracted";

/// The keys on the way to the value of each label; of keys that make the same label the first counts.
///
/// What stands in front of a mistake is found all the same.
pub(super) fn paths(line: &[u8], stream: &Labels) -> BTreeMap<String, Vec<String>> {
    let mut walk = Walk { stream, path: Vec::new(), found: BTreeMap::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    // A mistake only ends the walk.
    let _ = Value(&mut walk).deserialize(&mut deserializer);
    walk.found
}

struct Walk<'a> {
    stream: &'a Labels,
    path: Vec<String>,
    found: BTreeMap<String, Vec<String>>,
}

impl Walk<'_> {
    fn remember(&mut self) {
        let name = label_name(&self.path);
        let name = if self.stream.get(&name).is_some() { name + EXTRACTED_SUFFIX } else { name };
        self.found.entry(name).or_insert_with(|| self.path.clone());
    }
}

/// The label that the keys make: their characters that labels cannot have replaced, joined by `_`.
fn label_name(path: &[String]) -> String {
    let mut name = String::new();
    for key in path.iter().map(|key| key.trim()).filter(|key| !key.is_empty()) {
        if !name.is_empty() {
            name.push('_');
        }
        name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// A value somewhere in the object.
struct Value<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.path.push(key);
            let value = map.next_value_seed(Value(self.0));
            self.0.path.pop();
            value?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.remember();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.remember();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.remember();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.remember();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.remember();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, stream: &[(&str, &str)]) -> Vec<String> {
        let stream = Labels::from_pairs(stream.iter().copied()).expect("distinct");
        paths(line.as_bytes(), &stream).into_iter().map(|(name, path)| format!("{name}={}", path.join("/"))).collect()
    }

    #[test]
    fn keys_are_joined_and_cleaned() {
        assert_eq!(
            shown(r#"{"a":{"b":1,"":{"c":2}},"x-y":true,"1d":"s","list":[1,{"n":2}],"none":null}"#, &[]),
            ["_1d=1d", "a_b=a/b", "a_c=a//c", "x_y=x-y"]
        );
    }

    #[test]
    fn labels_of_the_stream_keep_their_names_and_the_first_key_counts() {
        assert_eq!(shown(r#"{"app":"x","a":{"b":1},"a_b":2}"#, &[("app", "api")]), ["a_b=a/b", "app_extracted=app"]);
    }

    #[test]
    fn a_mistake_ends_the_walk() {
        assert_eq!(shown(r#"{"a":1} trailing"#, &[]), ["a=a"]);
        assert_eq!(shown(r#"{"a":1,"b":tru}"#, &[]), ["a=a"]);
        let deep = r#"{"a":"#.repeat(10_000);
        assert!(shown(&deep, &[]).is_empty());
    }
}
