//! Sends entries through a pipeline.

use std::ops::ControlFlow;

use loki_core::chunk::Column;
use loki_core::{Labels, Timestamp};
use regex::bytes::CaptureLocations;

use super::format::{FormatScratch, Moment};
use super::json::paths::PathScratch;
use super::keys::KeyCache;
use super::labels::{EntryError, EntryLabels, LabelSet, Lines, MAX_ENTRY_BYTES, Place, Span};
use super::sink::{EarlyFilters, Extract, Sink, Source, Stop};
use super::step::{Parser, Step};
use super::unpack::{Members, Unpacked};
use super::{Pipeline, decolorize, json, logfmt, unpack};
use crate::querier::{RowMetadata, Rows};

/// One thread's state for a pipeline. Keep it for many entries: it learns the labels they have.
#[derive(Debug)]
pub struct PipelineWorker<'p> {
    pipeline: &'p Pipeline,
    labels: LabelSet,
    metadata: WantedMetadata<'p>,
    /// Lines that stages wrote for the current entry, one behind the other.
    rewritten: Vec<u8>,
    scratch: Scratch,
}

/// The structured metadata that the pipeline looks at.
#[derive(Debug)]
enum WantedMetadata<'p> {
    None,
    Columns(Vec<&'p Column>),
    Rows(&'p Rows),
}

/// Buffers of the stages.
#[derive(Debug, Default)]
struct Scratch {
    json_keys: KeyCache,
    logfmt_keys: KeyCache,
    paths: PathScratch,
    members: Members,
    /// By the number of the regex parser; made on first use.
    locations: Vec<Option<CaptureLocations>>,
    format: FormatScratch,
    line: Vec<u8>,
}

/// An entry that passed.
#[derive(Clone, Copy, Debug)]
pub struct Processed<'a> {
    /// The line behind the last stage.
    pub line: &'a [u8],
    /// The labels behind the last stage.
    pub labels: EntryLabels<'a>,
    /// The unwrapped value.
    pub value: Option<f64>,
}

impl<'p> PipelineWorker<'p> {
    pub(super) fn new(pipeline: &'p Pipeline, metadata: &'p RowMetadata) -> Self {
        let mut labels = LabelSet::new(pipeline.names.clone(), pipeline.needed.clone(), pipeline.extract);
        let metadata = match metadata {
            RowMetadata::None => WantedMetadata::None,
            RowMetadata::Rows(rows) => WantedMetadata::Rows(rows),
            RowMetadata::Columns(columns) => {
                let wanted = columns.columns().iter().filter(|column| labels.wants_metadata(column.name()));
                WantedMetadata::Columns(wanted.collect())
            }
        };
        Self { pipeline, labels, metadata, rewritten: Vec::new(), scratch: Scratch::default() }
    }

    /// Makes `labels` the stream of the entries that follow.
    pub fn start_stream(&mut self, labels: &Labels) {
        self.labels.start_stream(labels);
    }

    /// Sends an entry, whose line has passed the prefilter, through the pipeline; none when it is dropped. `row` is its
    /// place in the structured metadata.
    pub fn process<'a>(&'a mut self, timestamp: Timestamp, line: &'a [u8], row: u32) -> Option<Processed<'a>> {
        if self.labels.start_entry() {
            self.scratch.json_keys.clear();
            self.scratch.logfmt_keys.clear();
        }
        match &self.metadata {
            WantedMetadata::None => {}
            WantedMetadata::Columns(columns) => {
                for column in columns {
                    if let Some(value) = column.value(row) {
                        self.labels.add_metadata(column.name(), value);
                    }
                }
            }
            WantedMetadata::Rows(rows) => {
                for (name, value) in &rows.metadata[row as usize] {
                    self.labels.add_metadata(name, value);
                }
            }
        }
        self.rewritten.clear();
        let pipeline = self.pipeline;
        let mut entry = Entry {
            original: line,
            line: Span::new(Place::Line, 0, line.len()),
            moment: Moment { timestamp, now: pipeline.now },
            pipeline,
            labels: &mut self.labels,
            rewritten: &mut self.rewritten,
            scratch: &mut self.scratch,
        };
        for step in &pipeline.steps {
            if !entry.apply(step) {
                return None;
            }
        }
        let last = entry.line;
        let value = match &pipeline.unwrap {
            Some(unwrap) => {
                Some(unwrap.sample(&mut self.labels, Lines { original: line, rewritten: &self.rewritten })?)
            }
            None => None,
        };
        let lines = Lines { original: line, rewritten: &self.rewritten };
        Some(Processed { line: lines.slice(last), labels: self.labels.view(lines), value })
    }
}

/// The entry that is being processed.
struct Entry<'w> {
    pipeline: &'w Pipeline,
    original: &'w [u8],
    /// Where the line is now: the original or among the rewritten ones.
    line: Span,
    moment: Moment,
    labels: &'w mut LabelSet,
    rewritten: &'w mut Vec<u8>,
    scratch: &'w mut Scratch,
}

impl Entry<'_> {
    /// Whether the entry stays.
    fn apply(&mut self, step: &Step) -> bool {
        let lines = Lines { original: self.original, rewritten: self.rewritten };
        match step {
            Step::LineFilters(filters) => return filters.matches(lines.slice(self.line)),
            Step::Implied(implied) => {
                let line = lines.slice(self.line);
                return implied.iter().all(|implied| implied.may_pass(self.labels, line));
            }
            Step::Parse(parser, own) => return self.parse(parser, own.as_ref().unwrap_or(&self.pipeline.early)),
            Step::JsonPaths(paths) => {
                if let Some(mut sink) = sink(self.pipeline, self.labels, lines, self.line, NO_FILTERS) {
                    json::paths::parse(paths, &mut sink, &mut self.scratch.paths);
                }
            }
            Step::LogfmtKeys { extractions, strict } => {
                if let Some(mut sink) = sink(self.pipeline, self.labels, lines, self.line, NO_FILTERS) {
                    logfmt::parse_keys(extractions, *strict, &mut sink);
                }
            }
            Step::LabelFilter(filter) => return filter.accepts(self.labels, lines),
            Step::LineFormat(format) => {
                let buffer = &mut self.scratch.line;
                if format.apply(self.labels, lines, self.line, self.moment, buffer, &mut self.scratch.format) {
                    self.replace_line();
                }
            }
            Step::LabelFormat(formats) => {
                formats.apply(self.labels, lines, self.line, self.moment, &mut self.scratch.format);
            }
            Step::Decolorize => {
                self.scratch.line.clear();
                if decolorize::strip(lines.slice(self.line), &mut self.scratch.line) {
                    self.replace_line();
                }
            }
            Step::Drop(list) => list.drop_from(self.labels, lines),
            Step::Keep(list) => list.keep_in(self.labels, lines),
        }
        true
    }

    /// Makes what is in the line buffer the line.
    fn replace_line(&mut self) {
        if self.rewritten.len() + self.scratch.line.len() > MAX_ENTRY_BYTES {
            let text = "the lines that stages write for one entry take too much memory";
            return self.labels.set_error(EntryError::TemplateFormat, |details| details.push_str(text));
        }
        let start = self.rewritten.len();
        self.rewritten.extend_from_slice(&self.scratch.line);
        self.line = Span::new(Place::Rewritten, start, self.rewritten.len());
    }

    fn parse(&mut self, parser: &Parser, early: &EarlyFilters) -> bool {
        let lines = Lines { original: self.original, rewritten: self.rewritten };
        let Some(mut sink) = sink(self.pipeline, self.labels, lines, self.line, early) else { return true };
        let Scratch { json_keys, logfmt_keys, locations, members, .. } = self.scratch;
        let parsed = match parser {
            Parser::Json => {
                json_keys.start_line();
                json::parse(&mut sink, json_keys)
            }
            Parser::Logfmt(flags) => {
                logfmt_keys.start_line();
                logfmt::parse(*flags, &mut sink, logfmt_keys)
            }
            Parser::Regexp(parser, number) => {
                if locations.len() <= *number {
                    locations.resize(number + 1, None);
                }
                let locations = locations[*number].get_or_insert_with(|| parser.locations());
                parser.parse(&mut sink, locations)
            }
            Parser::Pattern(parser) => parser.parse(&mut sink),
            Parser::Unpack => {
                json_keys.start_line();
                match unpack::parse(&mut sink, json_keys, members) {
                    ControlFlow::Continue(unpacked) => {
                        self.unpack_line(unpacked);
                        ControlFlow::Continue(())
                    }
                    ControlFlow::Break(stop) => ControlFlow::Break(stop),
                }
            }
        };
        parsed != ControlFlow::Break(Stop::Dropped)
    }

    fn unpack_line(&mut self, unpacked: Unpacked) {
        match unpacked {
            Unpacked::Unchanged => {}
            Unpacked::Slice(start, end) => {
                let base = self.line.start as usize;
                self.line = Span::new(self.line.place, base + start, base + end);
            }
            Unpacked::Value(value) => {
                let lines = Lines { original: self.original, rewritten: &[] };
                self.scratch.line.clear();
                self.scratch.line.extend_from_slice(self.labels.bytes(lines, value));
                self.replace_line();
            }
        }
    }
}

static NO_FILTERS: &EarlyFilters = &EarlyFilters { by_name: Vec::new(), filters: Vec::new(), set_errors: false };

/// What a parser works with; none when parsers are to look at nothing.
fn sink<'w, 'l>(
    pipeline: &'w Pipeline,
    labels: &'w mut LabelSet,
    lines: Lines<'l>,
    line: Span,
    early: &'w EarlyFilters,
) -> Option<Sink<'w, 'l>> {
    let source = Source { line: lines.slice(line), place: line.place, start: line.start as usize };
    (pipeline.extract != Extract::Nothing).then_some(Sink { labels, source, early, extract: pipeline.extract })
}
