//! The labels of a processed entry, as consumers see them.

use loki_core::Labels;
use loki_core::encoding::put_prefixed;

use super::{ERROR, ERROR_DETAILS, LabelSet, Lines, as_str};
use crate::ast::Grouping;
use crate::pipeline::names::NameId;

/// Which of the three kinds a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// It names the stream.
    Stream,
    /// Structured metadata of the entry.
    Metadata,
    /// Set by a stage.
    Parsed,
}

/// The labels of one entry behind the last stage. Cheap to copy; valid until the worker processes the next entry.
#[derive(Clone, Copy, Debug)]
pub struct EntryLabels<'a> {
    set: &'a LabelSet,
    lines: Lines<'a>,
}

impl<'a> EntryLabels<'a> {
    pub(crate) fn new(set: &'a LabelSet, lines: Lines<'a>) -> Self {
        Self { set, lines }
    }

    /// The value of a label: parsed over metadata over stream; removed labels are gone. `__error__` and
    /// `__error_details__` are found when they are set.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match name {
            ERROR if self.set.error().is_some() => return self.error(),
            ERROR_DETAILS if self.set.details().is_some() => return self.error_details(),
            _ => {}
        }
        let id = self.set.names().find(name)?;
        self.set.value(self.lines, id).map(as_str)
    }

    /// Calls `f` with name and value of every label, sorted by name, the error included.
    pub fn for_each(&self, f: &mut dyn FnMut(&str, &str)) {
        let mut pairs = self.live_pairs(|_| true);
        self.push_error(&mut pairs);
        pairs.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in pairs {
            f(name, value);
        }
    }

    /// The kind of the entry's error.
    pub fn error(&self) -> Option<&'a str> {
        self.set.error().map(|_| self.set.error_text())
    }

    /// The text of the entry's error.
    pub fn error_details(&self) -> Option<&'a str> {
        self.set.details()
    }

    /// True when the entry has the labels of its stream and nothing else.
    pub fn is_unchanged(&self) -> bool {
        self.set.is_unchanged()
    }

    /// All labels, sorted, as log results show them: parsed labels with an empty value are there, and so is the error.
    pub fn merged(&self) -> Labels {
        if self.is_unchanged() {
            return self.set.stream_labels.clone();
        }
        let mut pairs = self.live_pairs(|_| true);
        self.push_error(&mut pairs);
        sorted_labels(pairs)
    }

    /// All labels, sorted, as metric results show them: empty values vanish.
    pub fn series(&self) -> Labels {
        if self.is_unchanged() {
            return self.set.stream_labels.clone();
        }
        let mut pairs = self.live_pairs(|_| true);
        self.push_error(&mut pairs);
        pairs.retain(|(_, value)| !value.is_empty());
        sorted_labels(pairs)
    }

    /// The labels of one kind, sorted. The error belongs to the parsed ones.
    pub fn of_kind(&self, kind: LabelKind) -> Labels {
        if self.is_unchanged() {
            return if kind == LabelKind::Stream { self.set.stream_labels.clone() } else { Labels::EMPTY };
        }
        let mut pairs = self.live_pairs(|of| of == kind);
        if kind == LabelKind::Parsed {
            self.push_error(&mut pairs);
        }
        sorted_labels(pairs)
    }

    /// Stream labels, structured metadata and parsed labels, for categorised results.
    pub fn categories(&self) -> (Labels, Labels, Labels) {
        (self.of_kind(LabelKind::Stream), self.of_kind(LabelKind::Metadata), self.of_kind(LabelKind::Parsed))
    }

    /// Appends the labels that `grouping` leaves, in the encoding of [`Labels::as_bytes`]; empty values vanish unless
    /// they are to be kept. The labels of `by` are sorted and unique.
    pub fn group_key(&self, grouping: &Grouping, keeps_empty: bool, out: &mut Vec<u8>) {
        let mut put = |name: &str, value: &str| {
            if keeps_empty || !value.is_empty() {
                put_prefixed(out, name.as_bytes());
                put_prefixed(out, value.as_bytes());
            }
        };
        if grouping.without {
            let mut pairs = self.live_pairs(|_| true);
            self.push_error(&mut pairs);
            pairs.retain(|(name, _)| !grouping.labels.iter().any(|label| label == name));
            pairs.sort_unstable_by_key(|(name, _)| *name);
            pairs.dedup_by_key(|(name, _)| *name);
            for (name, value) in pairs {
                put(name, value);
            }
        } else {
            debug_assert!(grouping.labels.is_sorted_by(|a, b| a < b), "the engine sorts what queries name");
            for name in &grouping.labels {
                if let Some(value) = self.get(name) {
                    put(name, value);
                }
            }
        }
    }

    /// Calls `f` with every label that is visible: name, value, kind. In no particular order, without the error.
    pub(crate) fn for_each_live(&self, mut f: impl FnMut(NameId, &'a [u8], LabelKind)) {
        let set = self.set;
        for slot in set.parsed.iter().filter(|slot| slot.live) {
            f(slot.name, set.bytes(self.lines, slot.value), LabelKind::Parsed);
        }
        let hidden = |name: NameId| {
            let at = set.current_state(name).parsed;
            at > 0 && set.parsed[at as usize - 1].live
        };
        for slot in set.metadata.iter().filter(|slot| slot.live && !hidden(slot.name)) {
            f(slot.name, set.bytes(self.lines, slot.value), LabelKind::Metadata);
        }
        for label in &set.stream {
            if label.dropped_in != set.entry_number && !hidden(label.name) && !set.metadata_has(label.name) {
                let value = &set.stream_values.as_bytes()[label.start as usize..label.end as usize];
                f(label.name, value, LabelKind::Stream);
            }
        }
    }

    fn live_pairs(&self, wanted: impl Fn(LabelKind) -> bool) -> Vec<(&'a str, &'a str)> {
        let set = self.set;
        let mut pairs = Vec::with_capacity(set.parsed.len() + set.metadata.len() + set.stream.len());
        self.for_each_live(|name, value, kind| {
            if wanted(kind) {
                pairs.push((set.names().text(name), as_str(value)));
            }
        });
        pairs
    }

    /// The error replaces labels of its name that a parser found.
    fn push_error(&self, pairs: &mut Vec<(&'a str, &'a str)>) {
        for (name, value) in [(ERROR, self.error()), (ERROR_DETAILS, self.error_details())] {
            if let Some(value) = value {
                pairs.retain(|(other, _)| *other != name);
                pairs.push((name, value));
            }
        }
    }
}

fn sorted_labels(mut pairs: Vec<(&str, &str)>) -> Labels {
    pairs.sort_unstable_by_key(|(name, _)| *name);
    Labels::from_sorted(pairs)
}
