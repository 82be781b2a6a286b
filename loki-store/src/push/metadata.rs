//! Structured metadata in its stored form: names that are labels, values without replacement characters, sorted,
//! without repetition and without empty values.

use std::borrow::Cow;

use loki_core::encoding::put_prefixed;

use super::PushError;

/// One pair of structured metadata.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Put before a name that begins with a digit.
const DIGIT_PREFIX: &str = "key_";

/// The UTF-8 of U+FFFD, which stands where bytes were not text.
const REPLACEMENT_BYTES: &[u8] = b"\xEF\xBF\xBD";

/// Appends a pair in its stored form, unless its value is empty.
pub(super) fn push_pair<'a>(pairs: &mut Vec<Pair<'a>>, name: &'a [u8], value: &'a [u8]) -> Result<(), PushError> {
    let name = match std::str::from_utf8(name) {
        Ok(name) if is_normal_name(name) => Cow::Borrowed(name),
        Ok(name) => Cow::Owned(normal_name(name)?),
        Err(_) => Cow::Owned(normal_name(&String::from_utf8_lossy(name))?),
    };
    let value = normal_value(value);
    if !value.is_empty() {
        pairs.push((name, value));
    }
    Ok(())
}

/// Sorts pairs by name; of several with one name the last stays.
pub(super) fn sort(pairs: &mut Vec<Pair<'_>>) {
    if pairs.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, kept| {
        let is_twin = later.0 == kept.0;
        if is_twin {
            std::mem::swap(&mut later.1, &mut kept.1);
        }
        is_twin
    });
}

/// Appends sorted pairs as [`Labels::as_bytes`](loki_core::Labels::as_bytes) has them, and `extra` at its place.
pub(super) fn encode(out: &mut Vec<u8>, pairs: &[Pair<'_>], extra: Option<(&str, &str)>) {
    let mut extra = extra;
    for (name, value) in pairs {
        if let Some((extra_name, extra_value)) = extra
            && extra_name < &**name
        {
            encode_pair(out, extra_name, extra_value);
            extra = None;
        }
        encode_pair(out, name, value);
    }
    if let Some((name, value)) = extra {
        encode_pair(out, name, value);
    }
}

fn encode_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    put_prefixed(out, name.as_bytes());
    put_prefixed(out, value.as_bytes());
}

/// Whether [`normal_name`] would return the name as it is.
fn is_normal_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut previous = 0;
    let mut is_plain = true;
    let mut has_content = false;
    for &b in bytes {
        is_plain &= (b.is_ascii_alphanumeric() || b == b'_') && !(b == b'_' && previous == b'_');
        has_content |= b != b'_';
        previous = b;
    }
    is_plain && has_content && !bytes[0].is_ascii_digit()
}

/// The name as a label name.
fn normal_name(name: &str) -> Result<String, PushError> {
    if name.is_empty() {
        return Err(PushError::EmptyMetadataName);
    }
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let mut normal = String::with_capacity(name.len() + DIGIT_PREFIX.len());
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        normal.push_str(DIGIT_PREFIX);
    }
    let reserved = inner.is_some_and(|inner| !inner.is_empty());
    if reserved {
        normal.push('_');
    }
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            normal.push(c);
        } else if !normal.ends_with('_') || (reserved && normal.len() == 1) {
            normal.push('_');
        }
    }
    if reserved && normal.ends_with('_') {
        normal.push('_');
    }
    if normal.bytes().all(|b| b == b'_') {
        return Err(PushError::MetadataName { name: name.to_owned() });
    }
    Ok(normal)
}

/// The value as text, with spaces for characters that were lost.
fn normal_value(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) if value.is_ascii() || memchr::memmem::find(value, REPLACEMENT_BYTES).is_none() => text.into(),
        Ok(text) => text.replace(char::REPLACEMENT_CHARACTER, " ").into(),
        Err(_) => String::from_utf8_lossy(value).replace(char::REPLACEMENT_CHARACTER, " ").into(),
    }
}

#[cfg(test)]
mod tests {
    use loki_core::Labels;
    use proptest::prelude::*;

    use super::*;

    fn stored<'a>(raw: &[(&'a [u8], &'a [u8])]) -> Vec<Pair<'a>> {
        let mut pairs = Vec::new();
        for &(name, value) in raw {
            push_pair(&mut pairs, name, value).expect("a name with content");
        }
        sort(&mut pairs);
        pairs
    }

    #[test]
    fn names_become_label_names() {
        for (raw, normal) in [
            ("n.x", "n_x"),
            ("Upper-Case", "Upper_Case"),
            ("a..b", "a_b"),
            ("a__b", "a_b"),
            ("1st", "key_1st"),
            ("é1", "_1"),
            ("_x", "_x"),
            ("__x", "_x"),
            ("x__", "x_"),
            ("__name__", "__name__"),
            ("__a.__b__", "__a_b__"),
            ("trace_id", "trace_id"),
        ] {
            assert_eq!(normal_name(raw).expect(raw), normal, "{raw}");
            assert_eq!(is_normal_name(raw), raw == normal && !raw.starts_with("__"), "{raw}");
        }
    }

    #[test]
    fn names_without_content_are_refused() {
        let refusal = |name: &str| normal_name(name).expect_err("must be refused").to_string();
        assert_eq!(refusal(""), "label name is empty");
        assert_eq!(refusal("-"), "normalization for label name \"-\" resulted in invalid name \"_\"");
        assert!(normal_name("____").is_err());
        assert!(!is_normal_name(""));
        assert!(!is_normal_name("_"));
    }

    #[test]
    fn values_lose_replacement_characters() {
        assert_eq!(normal_value("a\u{fffd}b".as_bytes()), "a b");
        assert_eq!(normal_value(b"a\xffb"), "a b");
        assert_eq!(normal_value("é".as_bytes()), "é");
    }

    #[test]
    fn pairs_are_sorted_unique_and_not_empty() {
        let pairs = stored(&[(b"b", b"1"), (b"a.x", b"2"), (b"c", b""), (b"a_x", b"3")]);
        assert_eq!(pairs, [("a_x".into(), "3".into()), ("b".into(), "1".into())]);
    }

    #[test]
    fn the_extra_pair_is_encoded_at_its_place() {
        for extra in ["a", "c", "e"] {
            let mut bytes = Vec::new();
            encode(&mut bytes, &stored(&[(b"b", b"1"), (b"d", b"2")]), Some((extra, "x")));
            let expected = Labels::from_pairs([("b", "1"), ("d", "2"), (extra, "x")]).unwrap();
            assert_eq!(bytes, expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn normal_names_stay_as_they_are(name in "[a-z0-9_.é]{0,8}") {
            if let Ok(normal) = normal_name(&name) {
                prop_assert!(!is_normal_name(&name) || name == normal);
                prop_assert_eq!(normal_name(&normal).expect("still has content"), normal);
            }
        }

        #[test]
        fn stored_pairs_are_valid_labels(raw in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..6)) {
            let mut pairs = Vec::new();
            for (name, value) in &raw {
                if push_pair(&mut pairs, name, value).is_err() {
                    return Ok(());
                }
            }
            sort(&mut pairs);
            let mut bytes = Vec::new();
            encode(&mut bytes, &pairs, None);
            let labels = Labels::from_bytes(bytes.into()).expect("valid labels");
            prop_assert_eq!(labels.len(), pairs.len());
        }
    }
}
