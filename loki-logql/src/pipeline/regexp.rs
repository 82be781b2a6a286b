//! `| regexp`: named groups of a regex become labels.

use std::ops::ControlFlow;

use loki_core::re2::{Pattern, RegexError, RegexOptions};
use regex::bytes::{CaptureLocations, Regex};

use super::labels::Span;
use super::names::{NameId, Names, protect_leading_digit, push_sanitized};
use super::sink::{Sink, Stop, Value};

/// Why a regex cannot be a parser; `Display` is Loki's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegexpError {
    #[error("at least one named capture must be supplied")]
    NoCapture,
    #[error("duplicate extracted label name '{0}'")]
    Duplicate(String),
    #[error(transparent)]
    Regex(#[from] RegexError),
}

/// The named groups of a regex by number.
fn groups(pattern: &Pattern) -> Result<Vec<(usize, &str)>, RegexpError> {
    let mut groups: Vec<(usize, &str)> = Vec::new();
    for (number, name) in pattern.capture_names().iter().enumerate() {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if groups.iter().any(|(_, other)| *other == name) {
            return Err(RegexpError::Duplicate(name.to_owned()));
        }
        groups.push((number, name));
    }
    if groups.is_empty() { Err(RegexpError::NoCapture) } else { Ok(groups) }
}

/// The `regexp` parser.
#[derive(Clone, Debug)]
pub(crate) struct RegexpParser {
    regex: Regex,
    groups: Vec<(usize, NameId)>,
}

impl RegexpParser {
    pub(crate) fn new(pattern: &str, names: &mut Names) -> Result<Self, RegexpError> {
        let pattern = Pattern::parse(pattern, RegexOptions::default())?;
        let groups = groups(&pattern)?.into_iter().map(|(number, name)| {
            let mut label = String::new();
            push_sanitized(name.as_bytes(), &mut label);
            protect_leading_digit(&mut label);
            (number, names.intern(&label))
        });
        Ok(Self { groups: groups.collect(), regex: pattern.compile()? })
    }

    /// Where the groups of a match will be written; one per worker.
    pub(crate) fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// Sets a label for each named group of the first match; groups that took no part become empty.
    pub(crate) fn parse(&self, sink: &mut Sink<'_, '_>, locations: &mut CaptureLocations) -> ControlFlow<Stop> {
        if self.regex.captures_read(locations, sink.source.line).is_none() {
            return ControlFlow::Continue(());
        }
        for &(number, name) in &self.groups {
            let Some(slot) = sink.slot(name) else { continue };
            match locations.get(number) {
                Some((start, end)) => sink.fill_bytes(slot, start, end)?,
                None => sink.fill(slot, Value::Stored(Span::EMPTY))?,
            }
        }
        ControlFlow::Continue(())
    }
}
