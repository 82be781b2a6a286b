//! What a client says about the encoding of entries.

use http::HeaderMap;

/// Holds flags, separated by commas.
const HEADER: &str = "x-loki-response-encoding-flags";
/// Asks for labels by kind: a third element of every entry.
const CATEGORIZE_LABELS: &str = "categorize-labels";

/// The flags of a request. Unknown ones have no effect but are named in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EncodingFlags(Vec<String>);

impl EncodingFlags {
    /// The flags of a request with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.get(HEADER).and_then(|value| value.to_str().ok()).map(Self::parse).unwrap_or_default()
    }

    /// The flags in a header's text; blanks inside of it count.
    pub(crate) fn parse(text: &str) -> Self {
        let mut flags: Vec<String> = Vec::new();
        for flag in text.split(',').filter(|flag| !flag.is_empty()) {
            if !flags.iter().any(|known| known == flag) {
                flags.push(flag.to_owned());
            }
        }
        Self(flags)
    }

    /// Whether entries show their labels by kind.
    pub(crate) fn categorize_labels(&self) -> bool {
        self.iter().any(|flag| flag == CATEGORIZE_LABELS)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The flags in the order of the request.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_taken_as_they_are_and_once() {
        let flags = EncodingFlags::parse("categorize-labels, categorize-labels,categorize-labels");
        assert_eq!(flags.iter().collect::<Vec<_>>(), ["categorize-labels", " categorize-labels"]);
        assert!(flags.categorize_labels());
        assert!(!EncodingFlags::parse("CATEGORIZE-LABELS").categorize_labels());
        assert!(EncodingFlags::parse("").is_empty());
    }
}
