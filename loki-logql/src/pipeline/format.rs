//! `| line_format` and `| label_format`.

use std::fmt;

use loki_core::Timestamp;

use super::labels::{ERROR, EntryError, EntryLabels, LabelSet, Lines, Span, lossy};
use super::names::{NameId, Names};
use crate::ast::{LabelFormat, LabelFormatSource};
use crate::template::{self, Fields, LabelReferences, References, Template, TemplateError};

/// What templates know about time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// When the entry happened.
    pub(crate) timestamp: Timestamp,
    /// The current time.
    pub(crate) now: Timestamp,
}

/// Buffers reused between entries.
#[derive(Debug, Default)]
pub(crate) struct FormatScratch {
    template: template::Scratch,
    text: Vec<u8>,
    /// The outcome of each template of a `label_format`.
    values: Vec<Result<Span, String>>,
}

/// Why a format cannot be compiled; `Display` is Loki's wording.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("invalid line template: {0}")]
    Line(TemplateError),
    #[error("invalid template for label '{label}': {error}")]
    Label { label: String, error: TemplateError },
    #[error("multiple label name '{0}' not allowed in a single format operation")]
    Repeated(String),
    #[error("{ERROR} cannot be formatted")]
    Error,
}

/// `line_format`, compiled.
#[derive(Debug)]
pub(crate) struct LineFormat {
    template: Template,
    references: References,
    /// The template is nothing but `{{.__error__}}`, which Loki answers with nothing.
    is_error_alone: bool,
}

impl LineFormat {
    pub(crate) fn compile(text: &str) -> Result<Self, FormatError> {
        let template = Template::parse("line", text).map_err(FormatError::Line)?;
        let inside = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
        let is_error_alone = inside.is_some_and(|text| text.trim().strip_prefix('.') == Some(ERROR));
        Ok(Self { references: template.references(), template, is_error_alone })
    }

    /// Numbers the labels that are read, and gives them to `f`; false if the template may read any.
    pub(crate) fn note_references(&self, names: &mut Names, f: impl FnMut(NameId)) -> bool {
        note_references(&self.references, names, f)
    }

    pub(crate) fn reads_line(&self) -> bool {
        self.references.line
    }

    /// Writes the new line to `out`. False when the template fails: the line stays, and the entry has an error.
    pub(crate) fn apply(
        &self,
        labels: &mut LabelSet,
        lines: Lines<'_>,
        line: Span,
        moment: Moment,
        out: &mut Vec<u8>,
        scratch: &mut FormatScratch,
    ) -> bool {
        out.clear();
        if self.is_error_alone {
            return true;
        }
        let view = View { labels: labels.view(lines), line: lines.slice(line), moment };
        match self.template.execute(&view, out, &mut scratch.template) {
            Ok(()) => true,
            Err(error) => {
                fail(labels, &error);
                false
            }
        }
    }
}

fn note_references(references: &References, names: &mut Names, mut f: impl FnMut(NameId)) -> bool {
    match &references.labels {
        LabelReferences::All => false,
        LabelReferences::Names(labels) => {
            for label in labels {
                f(names.intern(label));
            }
            true
        }
    }
}

fn fail(labels: &mut LabelSet, error: &impl fmt::Display) {
    let text = error.to_string();
    labels.set_error(EntryError::TemplateFormat, |details| details.push_str(&text));
}

/// `label_format`, compiled.
#[derive(Debug)]
pub(crate) struct LabelFormats {
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    target: NameId,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Rename(NameId),
    Template(Template, References),
}

impl LabelFormats {
    pub(crate) fn compile(formats: &[LabelFormat], names: &mut Names) -> Result<Self, FormatError> {
        for (i, format) in formats.iter().enumerate() {
            if format.target == ERROR {
                return Err(FormatError::Error);
            }
            if formats[..i].iter().any(|other| other.target == format.target) {
                return Err(FormatError::Repeated(format.target.clone()));
            }
        }
        let compile = |format: &LabelFormat| {
            let source = match &format.source {
                LabelFormatSource::Rename(name) => Source::Rename(names.intern(name)),
                LabelFormatSource::Template(text) => {
                    let label = format.target.clone();
                    let template =
                        Template::parse("label", text).map_err(|error| FormatError::Label { label, error })?;
                    let references = template.references();
                    Source::Template(template, references)
                }
            };
            Ok(Item { target: names.intern(&format.target), source })
        };
        Ok(Self { items: formats.iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// Numbers the labels that are read, and gives them to `f`; false if templates may read any.
    pub(crate) fn note_references(&self, names: &mut Names, mut f: impl FnMut(NameId)) -> bool {
        let mut known = true;
        for item in &self.items {
            match &item.source {
                Source::Rename(name) => f(*name),
                Source::Template(_, references) => known &= note_references(references, names, &mut f),
            }
        }
        known
    }

    pub(crate) fn reads_line(&self) -> bool {
        self.items.iter().any(|item| matches!(&item.source, Source::Template(_, references) if references.line))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.items.iter().filter_map(|item| match &item.source {
            Source::Template(template, _) => Some(template),
            Source::Rename(_) => None,
        })
    }

    /// Assigns the labels, left to right. All templates see the labels as they are when the first of them runs.
    pub(crate) fn apply(
        &self,
        labels: &mut LabelSet,
        lines: Lines<'_>,
        line: Span,
        moment: Moment,
        scratch: &mut FormatScratch,
    ) {
        let mut executed = false;
        let mut next_value = 0;
        for item in &self.items {
            match &item.source {
                Source::Rename(from) => {
                    if let Some(value) = labels.value_span(*from) {
                        labels.assign(item.target, value);
                        labels.remove(*from);
                    }
                }
                Source::Template(..) => {
                    if !executed {
                        self.execute(labels, lines, line, moment, scratch);
                        executed = true;
                    }
                    match &scratch.values[next_value] {
                        Ok(value) => labels.assign(item.target, *value),
                        Err(error) => fail(labels, error),
                    }
                    next_value += 1;
                }
            }
        }
    }

    fn execute(
        &self,
        labels: &mut LabelSet,
        lines: Lines<'_>,
        line: Span,
        moment: Moment,
        scratch: &mut FormatScratch,
    ) {
        scratch.values.clear();
        for template in self.templates() {
            scratch.text.clear();
            let view = View { labels: labels.view(lines), line: lines.slice(line), moment };
            let executed = template.execute(&view, &mut scratch.text, &mut scratch.template);
            scratch.values.push(match executed {
                Ok(()) if std::str::from_utf8(&scratch.text).is_ok() => Ok(labels.push_value(&scratch.text)),
                Ok(()) => Ok(labels.push_value(lossy(&scratch.text).as_bytes())),
                Err(error) => Err(error.to_string()),
            });
        }
    }
}

/// An entry as templates see it.
struct View<'a> {
    labels: EntryLabels<'a>,
    line: &'a [u8],
    moment: Moment,
}

impl Fields for View<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.labels.get(name)
    }

    fn for_each(&self, f: &mut dyn FnMut(&str, &str)) {
        self.labels.for_each(f);
    }

    fn line(&self) -> &[u8] {
        self.line
    }

    fn timestamp(&self) -> Timestamp {
        self.moment.timestamp
    }

    fn now(&self) -> Timestamp {
        self.moment.now
    }
}
