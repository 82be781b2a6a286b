//! The labels of one entry while it is processed.
//!
//! [`LabelSet`] is a worker's scratch: per stream it knows the stream's labels, per entry it collects metadata and
//! parsed labels as ranges into the line or into one reused buffer, so that an entry allocates nothing.
//! [`EntryLabels`] is the view of it that leaves the pipeline.
//!
//! **Invariant:** every value is UTF-8. Values cut from a line are checked when they are set.

use std::borrow::Cow;

use loki_core::Labels;

use super::names::{MAX_NAMES, NameId, Names};
use super::sink::Extract;

pub use view::{EntryLabels, LabelKind};

mod view;

/// The label in which the kind of an error shows.
pub(crate) const ERROR: &str = "__error__";

/// The label in which the text of an error shows.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";

/// The most bytes that values outside the line, and lines that stages wrote, may take for one entry. A value beyond is
/// empty and a line beyond is not written; only templates that multiply their input come near.
pub(crate) const MAX_ENTRY_BYTES: usize = 16 << 20;

/// What went wrong with an entry: the value of `__error__`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryError {
    /// `json` and `unpack`
    Json,
    /// `logfmt --strict`
    Logfmt,
    /// Label filters on numbers, durations and sizes
    LabelFilter,
    /// `line_format` and `label_format`
    TemplateFormat,
    /// `unwrap`
    SampleExtraction,
    /// Structured metadata brought its own; the text is kept aside.
    Stored,
}

/// Where the bytes of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The line as it was stored.
    Line,
    /// The buffer of lines that stages wrote.
    Rewritten,
    /// The buffer of values that are not part of a line.
    Values,
}

/// A value: a range of bytes at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) place: Place,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// The empty value.
    pub(crate) const EMPTY: Self = Self { place: Place::Values, start: 0, end: 0 };

    pub(crate) fn new(place: Place, start: usize, end: usize) -> Self {
        Self { place, start: start as u32, end: end as u32 }
    }
}

/// The two line buffers that spans may point into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    pub(crate) original: &'a [u8],
    pub(crate) rewritten: &'a [u8],
}

impl<'a> Lines<'a> {
    /// A range of one of the two; values of other places are none of their business.
    pub(crate) fn slice(self, span: Span) -> &'a [u8] {
        let buffer = match span.place {
            Place::Line => self.original,
            Place::Rewritten => self.rewritten,
            Place::Values => &[],
        };
        &buffer[span.start as usize..span.end as usize]
    }
}

#[derive(Clone, Debug)]
struct StreamLabel {
    name: NameId,
    /// Range in `stream_values`.
    start: u32,
    end: u32,
    /// The entry in which it was dropped last.
    dropped_in: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    name: NameId,
    value: Span,
    live: bool,
}

/// What is known about a name. Numbers of positions are one too high, so that zero means none.
#[derive(Clone, Copy, Debug, Default)]
struct NameState {
    /// The stream for which `stream` holds.
    in_stream: u64,
    stream: u32,
    /// The entry for which the rest holds.
    in_entry: u64,
    metadata: u32,
    parsed: u32,
    /// Set by a stage once, so parsers leave it alone even if it was dropped since.
    seen: bool,
    /// Whether it is read. Holds for all entries.
    needed: bool,
}

/// A point to which the parsed labels can be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    parsed: usize,
    needed_left: u32,
}

/// The labels of the current entry.
#[derive(Clone, Debug)]
pub(crate) struct LabelSet {
    names: Names,
    /// How many names belong to the query.
    fixed_names: usize,
    /// Names that the consumer or a stage reads, when not all are wanted.
    needed: Vec<NameId>,
    needed_left: u32,
    extract: Extract,
    states: Vec<NameState>,
    stream_number: u64,
    stream_labels: Labels,
    stream: Vec<StreamLabel>,
    stream_values: String,
    entry_number: u64,
    metadata: Vec<Slot>,
    parsed: Vec<Slot>,
    values: Vec<u8>,
    /// Reused by [`retain`](Self::retain).
    refused: Vec<NameId>,
    error: Option<EntryError>,
    stored_error: String,
    details: String,
    has_details: bool,
    /// There are or were labels besides those of the stream, or one of these was removed.
    changed: bool,
}

impl LabelSet {
    /// An empty set. `names` are those of the query, `needed` those that are read if not all are.
    pub(crate) fn new(names: Names, needed: Vec<NameId>, extract: Extract) -> Self {
        Self {
            fixed_names: names.len(),
            states: fixed_states(names.len(), &needed),
            names,
            needed,
            needed_left: 0,
            extract,
            stream_number: 0,
            stream_labels: Labels::EMPTY,
            stream: Vec::new(),
            stream_values: String::new(),
            entry_number: 0,
            metadata: Vec::new(),
            parsed: Vec::new(),
            values: Vec::new(),
            refused: Vec::new(),
            error: None,
            stored_error: String::new(),
            details: String::new(),
            has_details: false,
            changed: false,
        }
    }

    /// Makes `labels` the stream of the entries that follow.
    pub(crate) fn start_stream(&mut self, labels: &Labels) {
        self.stream_number += 1;
        self.stream.clear();
        self.stream_values.clear();
        self.stream_labels = labels.clone();
        for (name, value) in labels {
            let name = self.intern(name);
            let start = self.stream_values.len() as u32;
            self.stream_values.push_str(value);
            let end = self.stream_values.len() as u32;
            self.stream.push(StreamLabel { name, start, end, dropped_in: 0 });
            let state = &mut self.states[name.index()];
            state.in_stream = self.stream_number;
            state.stream = self.stream.len() as u32;
        }
    }

    /// Forgets the previous entry. True when names were forgotten too, so that numbers of names kept outside (other
    /// than those of the query) no longer hold.
    pub(crate) fn start_entry(&mut self) -> bool {
        let crowded = self.names.len() > MAX_NAMES.max(self.fixed_names * 2);
        if crowded {
            self.names.truncate(self.fixed_names);
            self.states = fixed_states(self.fixed_names, &self.needed);
            let labels = self.stream_labels.clone();
            self.start_stream(&labels);
        }
        self.entry_number += 1;
        self.metadata.clear();
        self.parsed.clear();
        self.values.clear();
        self.needed_left = self.needed.len() as u32;
        self.error = None;
        self.has_details = false;
        self.changed = false;
        crowded
    }

    /// Whether pairs of this name in structured metadata change anything.
    pub(crate) fn wants_metadata(&mut self, name: &str) -> bool {
        if self.extract == Extract::All || matches!(name, ERROR | ERROR_DETAILS) {
            return true;
        }
        let name = self.intern(name);
        self.needs_either(name)
    }

    /// Adds a pair of the entry's structured metadata.
    pub(crate) fn add_metadata(&mut self, name: &str, value: &str) {
        match name {
            ERROR => {
                self.stored_error.clear();
                self.stored_error.push_str(value);
                self.error = (!value.is_empty()).then_some(EntryError::Stored);
                return;
            }
            ERROR_DETAILS => {
                self.set_details(value);
                return;
            }
            _ => {}
        }
        let mut name = self.intern(name);
        if self.extract != Extract::All && !self.needs_either(name) {
            return;
        }
        if self.stream_has(name) {
            name = self.extracted(name);
        }
        let value = self.push_value(value.as_bytes());
        let at = self.state(name).metadata;
        if at > 0 {
            self.metadata[at as usize - 1].value = value;
            return;
        }
        self.metadata.push(Slot { name, value, live: true });
        self.state(name).metadata = self.metadata.len() as u32;
        self.changed = true;
    }

    /// The number of a name.
    pub(crate) fn intern(&mut self, name: &str) -> NameId {
        let id = self.names.intern(name);
        if self.states.len() < self.names.len() {
            self.states.resize(self.names.len(), NameState::default());
        }
        id
    }

    fn extracted(&mut self, name: NameId) -> NameId {
        let id = self.names.extracted(name);
        if self.states.len() < self.names.len() {
            self.states.resize(self.names.len(), NameState::default());
        }
        id
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    fn state(&mut self, name: NameId) -> &mut NameState {
        let state = &mut self.states[name.index()];
        if state.in_entry != self.entry_number {
            state.in_entry = self.entry_number;
            state.metadata = 0;
            state.parsed = 0;
            state.seen = false;
        }
        state
    }

    fn current_state(&self, name: NameId) -> NameState {
        let mut state = self.states[name.index()];
        if state.in_entry != self.entry_number {
            state = NameState { metadata: 0, parsed: 0, seen: false, ..state };
        }
        state
    }

    fn stream_has(&self, name: NameId) -> bool {
        self.states[name.index()].in_stream == self.stream_number
    }

    fn metadata_has(&self, name: NameId) -> bool {
        let at = self.current_state(name).metadata;
        at > 0 && self.metadata[at as usize - 1].live
    }

    /// The name under which a parser stores what it calls `name`: another one if the stream or the metadata has it.
    pub(crate) fn parsed_name(&mut self, name: NameId) -> NameId {
        if self.stream_has(name) || self.metadata_has(name) { self.extracted(name) } else { name }
    }

    /// Whether the stream or the metadata has `name`.
    pub(crate) fn collides(&self, name: NameId) -> bool {
        self.stream_has(name) || self.metadata_has(name)
    }

    /// The name under which a parser may store what it calls `name`, if it may: the first value wins.
    #[inline]
    pub(crate) fn free_name(&mut self, name: NameId) -> Option<NameId> {
        let state = self.current_state(name);
        if state.in_stream != self.stream_number && state.metadata == 0 {
            return (!state.seen).then_some(name);
        }
        let name = self.parsed_name(name);
        (!self.current_state(name).seen).then_some(name)
    }

    /// Whether no stage set `name`, or it was removed since.
    pub(crate) fn is_unset(&self, name: NameId) -> bool {
        let at = self.current_state(name).parsed;
        at == 0 || !self.parsed[at as usize - 1].live
    }

    /// Sets a parsed label, whatever it was before.
    pub(crate) fn set_parsed(&mut self, name: NameId, value: Span) {
        self.changed = true;
        let next = self.parsed.len() as u32 + 1;
        let state = self.state(name);
        let at = state.parsed;
        let first = !state.seen;
        state.seen = true;
        if at > 0 {
            let slot = &mut self.parsed[at as usize - 1];
            slot.value = value;
            slot.live = true;
        } else {
            state.parsed = next;
            self.parsed.push(Slot { name, value, live: true });
        }
        if first && self.is_needed(name) {
            self.needed_left = self.needed_left.saturating_sub(1);
        }
    }

    /// Sets a label under exactly this name; what the stream or the metadata has there is hidden.
    pub(crate) fn assign(&mut self, name: NameId, value: Span) {
        let at = self.current_state(name).metadata;
        if at > 0 {
            self.metadata[at as usize - 1].live = false;
        }
        self.set_parsed(name, value);
    }

    /// Whether `name` is among those that are read; only meaningful when not all are wanted.
    pub(crate) fn is_needed(&self, name: NameId) -> bool {
        self.states[name.index()].needed
    }

    /// Whether `name` or its `_extracted` form is among those that are read.
    pub(crate) fn needs_either(&mut self, name: NameId) -> bool {
        let extracted = self.extracted(name);
        self.is_needed(name) || self.is_needed(extracted)
    }

    /// Whether every needed name was set by a parser.
    pub(crate) fn has_all_needed(&self) -> bool {
        self.needed_left == 0
    }

    /// Whether some needed name begins with `prefix`.
    pub(crate) fn needs_prefix(&self, prefix: &str) -> bool {
        self.needed.iter().any(|&name| self.names.text(name).starts_with(prefix))
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { parsed: self.parsed.len(), needed_left: self.needed_left }
    }

    /// Unsets the parsed labels that were first set after `mark`.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        while self.parsed.len() > mark.parsed {
            if let Some(slot) = self.parsed.pop() {
                let state = self.state(slot.name);
                state.parsed = 0;
                state.seen = false;
            }
        }
        self.needed_left = mark.needed_left;
    }

    /// Removes a label of any kind.
    pub(crate) fn remove(&mut self, name: NameId) {
        let state = self.current_state(name);
        if state.parsed > 0 {
            self.parsed[state.parsed as usize - 1].live = false;
        }
        if state.metadata > 0 {
            self.metadata[state.metadata as usize - 1].live = false;
        }
        if self.stream_has(name) {
            self.stream[state.stream as usize - 1].dropped_in = self.entry_number;
        }
        self.changed = true;
    }

    /// Removes every label that `keeps` refuses.
    pub(crate) fn retain(&mut self, lines: Lines<'_>, mut keeps: impl FnMut(NameId, &[u8]) -> bool) {
        let mut refused = std::mem::take(&mut self.refused);
        self.view(lines).for_each_live(|name, value, _| {
            if !keeps(name, value) {
                refused.push(name);
            }
        });
        for name in refused.drain(..) {
            self.remove(name);
        }
        self.refused = refused;
    }

    /// Copies `value` behind the values of this entry.
    pub(crate) fn push_value(&mut self, value: &[u8]) -> Span {
        self.write_value(|out| out.extend_from_slice(value))
    }

    /// Lets `write` append a value to the values of this entry.
    pub(crate) fn write_value(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.values.len();
        write(&mut self.values);
        if self.values.len() > MAX_ENTRY_BYTES {
            self.values.truncate(start);
            return Span::EMPTY;
        }
        Span::new(Place::Values, start, self.values.len())
    }

    pub(crate) fn error(&self) -> Option<EntryError> {
        self.error
    }

    /// The value of `__error__`, empty without an error.
    pub(crate) fn error_text(&self) -> &str {
        match self.error {
            None => "",
            Some(EntryError::Json) => "JSONParserErr",
            Some(EntryError::Logfmt) => "LogfmtParserErr",
            Some(EntryError::LabelFilter) => "LabelFilterErr",
            Some(EntryError::TemplateFormat) => "TemplateFormatErr",
            Some(EntryError::SampleExtraction) => "SampleExtractionErr",
            Some(EntryError::Stored) => &self.stored_error,
        }
    }

    /// The value of `__error_details__`, if there is one.
    ///
    /// Details whose error was dropped still show, but only on an entry that has other labels than its stream.
    pub(crate) fn details(&self) -> Option<&str> {
        (self.has_details && !self.is_unchanged()).then_some(self.details.as_str())
    }

    /// Whether the entry has the labels of its stream and no error.
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.changed && self.error.is_none()
    }

    /// Sets the error of the entry; `details` writes its text, and none leaves the entry without.
    pub(crate) fn set_error(&mut self, error: EntryError, details: impl FnOnce(&mut String)) {
        self.error = Some(error);
        self.details.clear();
        details(&mut self.details);
        self.has_details = !self.details.is_empty();
    }

    fn set_details(&mut self, text: &str) {
        self.details.clear();
        self.details.push_str(text);
        self.has_details = !text.is_empty();
    }

    pub(crate) fn clear_error(&mut self) {
        self.error = None;
    }

    pub(crate) fn clear_details(&mut self) {
        self.has_details = false;
    }

    /// The bytes of a value.
    pub(crate) fn bytes<'a>(&'a self, lines: Lines<'a>, span: Span) -> &'a [u8] {
        match span.place {
            Place::Line | Place::Rewritten => lines.slice(span),
            Place::Values => &self.values[span.start as usize..span.end as usize],
        }
    }

    /// The value of a label of any kind: parsed over metadata over stream.
    pub(crate) fn value<'a>(&'a self, lines: Lines<'a>, name: NameId) -> Option<&'a [u8]> {
        let state = self.current_state(name);
        if state.parsed > 0 {
            let slot = &self.parsed[state.parsed as usize - 1];
            if slot.live {
                return Some(self.bytes(lines, slot.value));
            }
        }
        if state.metadata > 0 {
            let slot = &self.metadata[state.metadata as usize - 1];
            if slot.live {
                return Some(self.bytes(lines, slot.value));
            }
        }
        if state.in_stream == self.stream_number && state.stream > 0 {
            let label = &self.stream[state.stream as usize - 1];
            if label.dropped_in != self.entry_number {
                return Some(&self.stream_values.as_bytes()[label.start as usize..label.end as usize]);
            }
        }
        None
    }

    /// Where the value of a label is, for assigning it to another; values of the stream are copied first.
    pub(crate) fn value_span(&mut self, name: NameId) -> Option<Span> {
        let state = self.current_state(name);
        if state.parsed > 0 && self.parsed[state.parsed as usize - 1].live {
            return Some(self.parsed[state.parsed as usize - 1].value);
        }
        if state.metadata > 0 && self.metadata[state.metadata as usize - 1].live {
            return Some(self.metadata[state.metadata as usize - 1].value);
        }
        if state.in_stream != self.stream_number || state.stream == 0 {
            return None;
        }
        let label = &self.stream[state.stream as usize - 1];
        if label.dropped_in == self.entry_number {
            return None;
        }
        let start = self.values.len();
        self.values.extend_from_slice(&self.stream_values.as_bytes()[label.start as usize..label.end as usize]);
        Some(Span::new(Place::Values, start, self.values.len()))
    }

    /// The labels as they are now.
    pub(crate) fn view<'a>(&'a self, lines: Lines<'a>) -> EntryLabels<'a> {
        EntryLabels::new(self, lines)
    }
}

/// What is known about the names of the query before any entry.
fn fixed_states(count: usize, needed: &[NameId]) -> Vec<NameState> {
    let mut states = vec![NameState::default(); count];
    for name in needed {
        states[name.index()].needed = true;
    }
    states
}

/// The text of a value, which was checked when it was set.
pub(crate) fn as_str(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

/// The text of bytes that may be anything.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
