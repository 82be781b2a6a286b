//! Fields of log lines: what a line would give if it were parsed, without a query that says how.
//!
//! A line that is a JSON object is read as the `json` stage reads it, any other as `logfmt` does. Structured metadata
//! and what the stages of the query set count too. Of lines that do not agree about a field the oldest decides.

mod json_path;
mod kind;

use std::collections::{BTreeMap, HashSet};

use loki_core::{Labels, Timestamp};
use loki_logql::ast::{Logfmt, Stage};
use loki_logql::pipeline::{LabelKind, NeededLabels, Pipeline, PipelineOptions, PipelineWorker};
use loki_logql::querier::RowMetadata;
use loki_logql::result::StreamEntries;

pub(crate) use kind::{FieldKind, is_float, parse_bytes};

/// Labels that say that a line could not be parsed.
const ERROR_LABELS: [&str; 3] = ["__error__", "__error_details__", "__preserve_error__"];

/// A field that some lines have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    /// What its values look like.
    pub(crate) kind: FieldKind,
    /// Its values.
    pub(crate) values: HashSet<String>,
    /// The stages that would find it; none for metadata.
    pub(crate) parsers: Vec<LineParser>,
    /// The keys on the way to it, in JSON.
    pub(crate) json_path: Vec<String>,
}

/// A way to read a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineParser {
    /// `| json`
    Json,
    /// `| logfmt`
    Logfmt,
}

impl LineParser {
    /// The name of the stage.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Logfmt => "logfmt",
        }
    }
}

/// The fields of all entries, by name.
pub(crate) fn fields(streams: &[StreamEntries]) -> BTreeMap<String, Field> {
    let stages = Stages::new();
    let mut detector = Detector {
        json: stages.json.worker(&RowMetadata::None),
        logfmt: stages.logfmt.worker(&RowMetadata::None),
        fields: BTreeMap::new(),
    };
    for stream in streams {
        detector.json.start_stream(&stream.labels);
        detector.logfmt.start_stream(&stream.labels);
        for entry in &stream.entries {
            detector.add_labels(&stream.labels, &entry.metadata);
            detector.add_labels(&stream.labels, &entry.parsed);
            detector.add_line(&stream.labels, &entry.line);
        }
    }
    detector.fields
}

struct Stages {
    json: Pipeline,
    logfmt: Pipeline,
}

impl Stages {
    fn new() -> Self {
        let compile = |stage| {
            let options =
                PipelineOptions { needed: NeededLabels::All, now: Timestamp(0), needs_line: false, is_metric: false };
            Pipeline::compile(&[stage], None, options).expect("these stages have nothing to be wrong")
        };
        Self { json: compile(Stage::Json(Vec::new())), logfmt: compile(Stage::Logfmt(Logfmt::default())) }
    }
}

struct Detector<'s> {
    json: PipelineWorker<'s>,
    logfmt: PipelineWorker<'s>,
    fields: BTreeMap<String, Field>,
}

impl Detector<'_> {
    /// Adds structured metadata, or labels that stages set.
    fn add_labels(&mut self, stream: &Labels, labels: &Labels) {
        for (name, value) in labels.iter().filter(|(name, _)| stream.get(name).is_none()) {
            self.add(name, value);
        }
    }

    fn add_line(&mut self, stream: &Labels, line: &[u8]) {
        if let Some(found) = parse(&mut self.json, line) {
            let paths = if found.is_empty() { BTreeMap::new() } else { json_path::paths(line, stream) };
            for (name, value) in &found {
                if let Some(field) = self.add(name, value) {
                    field.remember(LineParser::Json);
                    field.json_path = paths.get(name).cloned().unwrap_or_else(|| vec![name.to_owned()]);
                }
            }
        } else if let Some(found) = parse(&mut self.logfmt, line) {
            for (name, value) in &found {
                if let Some(field) = self.add(name, value) {
                    field.remember(LineParser::Logfmt);
                }
            }
        }
    }

    fn add(&mut self, name: &str, value: &str) -> Option<&mut Field> {
        if ERROR_LABELS.contains(&name) {
            return None;
        }
        if !self.fields.contains_key(name) {
            self.fields.insert(name.to_owned(), Field::default());
        }
        let field = self.fields.get_mut(name)?;
        field.kind = FieldKind::of(value);
        if !field.values.contains(value) {
            field.values.insert(value.to_owned());
        }
        Some(field)
    }
}

impl Field {
    fn remember(&mut self, parser: LineParser) {
        if !self.parsers.contains(&parser) {
            self.parsers.push(parser);
        }
    }
}

/// What a stage finds in a line; none if it complains.
fn parse(worker: &mut PipelineWorker<'_>, line: &[u8]) -> Option<Labels> {
    let processed = worker.process(Timestamp(0), line, 0)?;
    match processed.labels.error() {
        Some(_) => None,
        None => Some(processed.labels.of_kind(LabelKind::Parsed)),
    }
}

#[cfg(test)]
mod tests;
