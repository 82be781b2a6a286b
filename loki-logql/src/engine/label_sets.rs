//! Label sets derived from other label sets by grouping and matching.

use loki_core::Labels;
use loki_core::encoding::put_prefixed;

use crate::ast::Grouping;

/// The labels with one of these names.
pub(crate) fn only(labels: &Labels, names: &[String]) -> Labels {
    Labels::from_sorted(labels.iter().filter(|(name, _)| names.iter().any(|n| n == name)))
}

/// The labels with none of these names.
pub(crate) fn except(labels: &Labels, names: &[String]) -> Labels {
    Labels::from_sorted(labels.iter().filter(|(name, _)| names.iter().all(|n| n != name)))
}

/// The labels of the group that a series belongs to; no grouping means one group without labels.
pub(crate) fn group(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    match grouping {
        None => Labels::EMPTY,
        Some(grouping) if grouping.without => {
            let kept = labels.iter().filter(|(name, _)| *name != "__name__");
            Labels::from_sorted(kept.filter(|(name, _)| grouping.labels.iter().all(|n| n != name)))
        }
        Some(grouping) => only(labels, &grouping.labels),
    }
}

/// Appends the encoded labels of the group that a stream belongs to, as [`Labels::as_bytes`] has them.
pub(crate) fn encode_group(labels: &Labels, grouping: &Grouping, out: &mut Vec<u8>) {
    for (name, value) in labels {
        if grouping.labels.iter().any(|label| label == name) != grouping.without {
            put_prefixed(out, name.as_bytes());
            put_prefixed(out, value.as_bytes());
        }
    }
}

/// The labels with one of them set to a value; an empty value removes it.
pub(crate) fn with(labels: &Labels, name: &str, value: &str) -> Labels {
    let others = labels.iter().filter(|(other, _)| *other != name);
    let mut pairs: Vec<(&str, &str)> = others.collect();
    if !value.is_empty() {
        let position = pairs.partition_point(|(other, _)| *other < name);
        pairs.insert(position, (name, value));
    }
    Labels::from_sorted(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::parse(text).expect("valid labels")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn groups_have_only_labels_that_exist() {
        let all = labels(r#"{__name__="n", a="1", b="2", c="3"}"#);
        let by = Grouping { without: false, labels: names(&["c", "a", "missing"]) };
        let without = Grouping { without: true, labels: names(&["a"]) };
        assert_eq!(group(&all, Some(&by)), labels(r#"{a="1", c="3"}"#));
        assert_eq!(group(&all, Some(&without)), labels(r#"{b="2", c="3"}"#));
        assert_eq!(group(&all, None), Labels::EMPTY);
    }

    #[test]
    fn encoded_groups_are_encoded_labels() {
        let all = labels(r#"{a="1", b="2", c="3"}"#);
        for without in [false, true] {
            let grouping = Grouping { without, labels: names(&["c", "missing"]) };
            let mut encoded = Vec::new();
            encode_group(&all, &grouping, &mut encoded);
            assert_eq!(encoded, group(&all, Some(&grouping)).as_bytes());
        }
    }

    #[test]
    fn setting_a_label_keeps_the_order_and_empty_removes() {
        let all = labels(r#"{a="1", c="3"}"#);
        assert_eq!(with(&all, "b", "2"), labels(r#"{a="1", b="2", c="3"}"#));
        assert_eq!(with(&all, "c", "4"), labels(r#"{a="1", c="4"}"#));
        assert_eq!(with(&all, "a", ""), labels(r#"{c="3"}"#));
        assert_eq!(except(&all, &names(&["c"])), labels(r#"{a="1"}"#));
    }
}
