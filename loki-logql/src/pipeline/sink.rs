//! Where parsers put what they find.

use std::ops::ControlFlow;

use super::label_filter::{SimpleFilter, Verdict};
use super::labels::{EntryError, LabelSet, Lines, Place, Span, lossy};
use super::names::NameId;

/// Which labels parsers extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extract {
    /// All they find.
    All,
    /// Those that are read, and nothing behind the last of them.
    Needed,
    /// None: parsers do not even look at the line, so they find no errors either.
    Nothing,
}

/// Why a parser need not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A label filter refuses what was found.
    Dropped,
    /// Everything that is read was found.
    Satisfied,
}

/// Label filters that are tried as soon as a parser sets their label.
#[derive(Clone, Debug, Default)]
pub(crate) struct EarlyFilters {
    /// Position of the filter in `filters` plus one, by the number of the label; zero is none.
    pub(crate) by_name: Vec<u32>,
    pub(crate) filters: Vec<SimpleFilter>,
    /// A value that a filter cannot convert sets the entry's error at once.
    pub(crate) set_errors: bool,
}

impl EarlyFilters {
    /// Adds a filter unless there is one for its label already.
    pub(crate) fn add(&mut self, filter: &SimpleFilter) {
        let at = filter.name.index();
        if self.by_name.len() <= at {
            self.by_name.resize(at + 1, 0);
        }
        if self.by_name[at] == 0 {
            self.filters.push(filter.clone());
            self.by_name[at] = self.filters.len() as u32;
        }
    }

    /// Adds a filter in place of the one for its label.
    pub(crate) fn replace(&mut self, filter: &SimpleFilter) {
        match self.by_name.get(filter.name.index()) {
            Some(&at) if at > 0 => self.filters[at as usize - 1] = filter.clone(),
            _ => self.add(filter),
        }
    }

    fn of(&self, name: NameId) -> Option<&SimpleFilter> {
        let at = *self.by_name.get(name.index())?;
        self.filters.get((at as usize).checked_sub(1)?)
    }
}

/// The line that a parser reads, and where in its buffer it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'l> {
    pub(crate) line: &'l [u8],
    pub(crate) place: Place,
    pub(crate) start: usize,
}

/// A value that a parser found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// A range of the line, which is UTF-8 and needs no unescaping.
    Line(usize, usize),
    /// Already among the values of the entry.
    Stored(Span),
}

/// Takes the labels that parsers find.
#[derive(Debug)]
pub(crate) struct Sink<'w, 'l> {
    pub(crate) labels: &'w mut LabelSet,
    pub(crate) source: Source<'l>,
    pub(crate) early: &'w EarlyFilters,
    pub(crate) extract: Extract,
}

impl Sink<'_, '_> {
    /// The name under which a value for `name` would be stored; none when it is not wanted.
    #[inline]
    pub(crate) fn slot(&mut self, name: NameId) -> Option<NameId> {
        let name = self.labels.free_name(name)?;
        (self.extract == Extract::All || self.labels.is_needed(name)).then_some(name)
    }

    /// Stores a value in a slot that [`slot`](Self::slot) gave.
    #[inline]
    pub(crate) fn fill(&mut self, slot: NameId, value: Value) -> ControlFlow<Stop> {
        let span = self.span(value);
        self.labels.set_parsed(slot, span);
        if let Some(filter) = self.early.of(slot) {
            let text = match value {
                Value::Line(start, end) => &self.source.line[start..end],
                // A value that was just stored is in no line.
                Value::Stored(span) => self.labels.bytes(NO_LINES, span),
            };
            match filter.test(Some(text), self.labels.error().is_some()) {
                Verdict::Pass => {}
                Verdict::Fail => return ControlFlow::Break(Stop::Dropped),
                Verdict::Unreadable(error) => {
                    if self.early.set_errors && self.labels.error().is_none() {
                        let text = lossy(text).into_owned();
                        self.labels.set_error(EntryError::LabelFilter, |details| error.describe(&text, details));
                    }
                }
            }
        }
        if self.extract == Extract::Needed && self.labels.has_all_needed() {
            return ControlFlow::Break(Stop::Satisfied);
        }
        ControlFlow::Continue(())
    }

    /// Stores a range of the line in a slot, after making it UTF-8.
    pub(crate) fn fill_bytes(&mut self, slot: NameId, start: usize, end: usize) -> ControlFlow<Stop> {
        let bytes = &self.source.line[start..end];
        let value = if std::str::from_utf8(bytes).is_ok() {
            Value::Line(start, end)
        } else {
            Value::Stored(self.labels.push_value(String::from_utf8_lossy(bytes).as_bytes()))
        };
        self.fill(slot, value)
    }

    pub(crate) fn span(&self, value: Value) -> Span {
        let Source { place, start: base, .. } = self.source;
        match value {
            Value::Line(start, end) => Span::new(place, base + start, base + end),
            Value::Stored(span) => span,
        }
    }

    /// Sets the entry's error.
    pub(crate) fn fail(&mut self, error: EntryError, details: impl FnOnce(&mut String)) {
        self.labels.set_error(error, details);
    }
}

const NO_LINES: Lines<'static> = Lines { original: &[], rewritten: &[] };
