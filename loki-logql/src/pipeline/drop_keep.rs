//! `| drop` and `| keep`.

use loki_core::Matcher;

use super::labels::{ERROR, ERROR_DETAILS, LabelSet, Lines, as_str};
use super::names::{NameId, Names};
use crate::ast::LabelItem;

/// The labels of a `drop` or `keep` stage.
#[derive(Clone, Debug)]
pub(crate) struct LabelList {
    items: Vec<Item>,
}

#[derive(Clone, Debug)]
struct Item {
    name: NameId,
    subject: Subject,
    /// The label is meant only if its value matches.
    matcher: Option<Matcher>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Label,
    Error,
    ErrorDetails,
}

impl LabelList {
    pub(crate) fn new(items: &[LabelItem], names: &mut Names) -> Self {
        let item = |item: &LabelItem| {
            let (name, matcher) = match item {
                LabelItem::Name(name) => (name.as_str(), None),
                LabelItem::Matcher(matcher) => (matcher.name(), Some(matcher.clone())),
            };
            let subject = match name {
                ERROR => Subject::Error,
                ERROR_DETAILS => Subject::ErrorDetails,
                _ => Subject::Label,
            };
            Item { name: names.intern(name), subject, matcher }
        };
        Self { items: items.iter().map(item).collect() }
    }

    /// Removes the labels of the list.
    pub(crate) fn drop_from(&self, labels: &mut LabelSet, lines: Lines<'_>) {
        for item in &self.items {
            match item.subject {
                Subject::Error if item.accepts(labels.error_text()) => labels.clear_error(),
                Subject::ErrorDetails if item.accepts(labels.details().unwrap_or_default()) => labels.clear_details(),
                Subject::Label => {
                    if let Some(value) = labels.value(lines, item.name)
                        && item.accepts(as_str(value))
                    {
                        labels.remove(item.name);
                    }
                }
                Subject::Error | Subject::ErrorDetails => {}
            }
        }
    }

    /// Removes all labels but those of the list. The error of the entry stays.
    pub(crate) fn keep_in(&self, labels: &mut LabelSet, lines: Lines<'_>) {
        labels.retain(lines, |name, value| {
            self.items.iter().any(|item| item.name == name && item.accepts(as_str(value)))
        });
    }
}

impl Item {
    fn accepts(&self, value: &str) -> bool {
        self.matcher.as_ref().is_none_or(|matcher| matcher.matches(value))
    }
}
