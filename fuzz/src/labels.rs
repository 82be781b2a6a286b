//! Label sets from text and from bytes, and Go's string literals.

use loki_core::Labels;
use loki_core::labels::{quote, unquote, unquote_bytes};

use crate::input::text;

/// Runs the target.
pub fn run(data: &[u8]) {
    if let Ok(labels) = Labels::from_bytes(data.to_vec().into()) {
        assert_eq!(labels.as_bytes(), data);
        assert_eq!(Labels::from_sorted(&labels), labels);
        assert!(labels.iter().is_sorted_by(|a, b| a.0 < b.0));
        check(&labels);
    }
    let text = text(data);
    match Labels::parse(text) {
        Ok(labels) => check(&labels),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_eq!(unquote(&quote(text)).as_deref(), Ok(text));
    if let Ok(unquoted) = unquote(text) {
        let bytes = unquote_bytes(text).expect("it has a value");
        assert_eq!(String::from_utf8_lossy(&bytes), unquoted);
        assert_eq!(unquote(&quote(&unquoted)), Ok(unquoted));
    }
}

fn check(labels: &Labels) {
    assert_eq!(labels.len(), labels.iter().count());
    for (name, value) in labels {
        assert_eq!(labels.get(name), Some(value));
    }
    // What is printed can be read again, if the names are such that text can hold.
    let is_identifier = |(name, _): (&str, _)| {
        name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
    };
    if labels.iter().all(is_identifier) {
        let expected = Labels::from_pairs(labels).expect("names are unique");
        assert_eq!(Labels::parse(&labels.to_string()), Ok(expected));
    }
}
