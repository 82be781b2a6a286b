//! Turns stages into steps.

use super::drop_keep::LabelList;
use super::format::{LabelFormats, LineFormat};
use super::implied;
use super::json::path;
use super::json::paths::PathExtraction;
use super::label_filter::LabelFilter;
use super::line_filter::LineFilters;
use super::logfmt::{KeyExtraction, LogfmtFlags, parse_key};
use super::names::{NameId, Names};
use super::pattern::PatternParser;
use super::regexp::RegexpParser;
use super::sink::{EarlyFilters, Extract};
use super::step::{Parser, Step};
use super::unwrap::Unwrap;
use super::{NeededLabels, Pipeline, PipelineOptions, StageError};
use crate::ast::{self, Extraction, Stage};

mod hints;

/// The expression of an extraction that cannot be read; `Display` is Loki's wording.
#[derive(Debug, thiserror::Error)]
#[error("cannot parse expression [{expression}]: {problem}")]
struct ExpressionError<'e, E: std::fmt::Display> {
    expression: &'e str,
    problem: E,
}

/// Puts a pipeline together.
pub(super) struct Compiler {
    options: PipelineOptions,
    names: Names,
    /// Labels that steps read.
    read: Vec<NameId>,
    /// Some template reads labels that it does not name.
    reads_all: bool,
    regexps: usize,
}

impl Compiler {
    pub(super) fn new(options: PipelineOptions) -> Self {
        Self { options, names: Names::default(), read: Vec::new(), reads_all: false, regexps: 0 }
    }

    pub(super) fn compile(mut self, stages: &[Stage], unwrap: Option<&ast::Unwrap>) -> Result<Pipeline, StageError> {
        let mut steps = Vec::with_capacity(stages.len());
        for (i, stage) in stages.iter().enumerate() {
            let step = self.step(stage)?;
            if !self.is_idle(&step, &stages[i + 1..]) {
                self.note_read(&step);
                steps.push(step);
            }
        }
        let unwrap = unwrap.map(|unwrap| self.unwrap(unwrap)).transpose()?;
        let mut steps = gather_line_filters(steps);
        let (needles, label_equalities) = hints::of(&steps, &self.names);
        let prefilter = match steps.first_mut() {
            Some(Step::LineFilters(filters)) => {
                let filters = std::mem::take(filters);
                steps.remove(0);
                filters
            }
            _ => LineFilters::default(),
        };
        implied::insert(&mut steps, &self.names);
        let (extract, needed) = self.extraction();
        let early = match self.options.needed {
            NeededLabels::All => filters_of_all(&steps),
            NeededLabels::Only(_) => {
                give_parsers_their_filters(&mut steps);
                EarlyFilters::default()
            }
        };
        Ok(Pipeline {
            needs_text: self.options.needs_line || steps.iter().any(Step::reads_line),
            prefilter,
            steps,
            unwrap,
            names: self.names,
            needed,
            extract,
            early,
            needles,
            label_equalities,
            now: self.options.now,
        })
    }

    fn step(&mut self, stage: &Stage) -> Result<Step, StageError> {
        let refused = |problem: &dyn std::fmt::Display| StageError::new(stage, &problem);
        let names = &mut self.names;
        Ok(match stage {
            Stage::LineFilter(filter) => {
                Step::LineFilters(LineFilters::compile([filter]).map_err(|error| refused(&error))?)
            }
            Stage::Json(extractions) if extractions.is_empty() => Step::Parse(Parser::Json, None),
            Stage::Json(extractions) => Step::JsonPaths(json_paths(extractions, names).map_err(|e| refused(&e))?),
            Stage::Logfmt(logfmt) if logfmt.extractions.is_empty() => {
                let flags = LogfmtFlags { strict: logfmt.strict, keep_empty: logfmt.keep_empty };
                Step::Parse(Parser::Logfmt(flags), None)
            }
            Stage::Logfmt(logfmt) => Step::LogfmtKeys {
                extractions: logfmt_keys(&logfmt.extractions, names).map_err(|error| refused(&error))?,
                strict: logfmt.strict,
            },
            Stage::Regexp(pattern) => {
                let parser = RegexpParser::new(pattern, names).map_err(|error| refused(&error))?;
                self.regexps += 1;
                Step::Parse(Parser::Regexp(parser, self.regexps - 1), None)
            }
            Stage::Pattern(pattern) => {
                let parser = PatternParser::new(pattern, names).map_err(|error| refused(&error))?;
                Step::Parse(Parser::Pattern(parser), None)
            }
            Stage::Unpack => Step::Parse(Parser::Unpack, None),
            Stage::LabelFilter(filter) => {
                Step::LabelFilter(LabelFilter::compile(filter, names).map_err(|error| refused(&error))?)
            }
            Stage::LineFormat(template) => {
                Step::LineFormat(LineFormat::compile(template).map_err(|error| refused(&error))?)
            }
            Stage::LabelFormat(formats) => {
                Step::LabelFormat(LabelFormats::compile(formats, names).map_err(|error| refused(&error))?)
            }
            Stage::Decolorize => Step::Decolorize,
            Stage::Drop(items) => Step::Drop(LabelList::new(items, names)),
            Stage::Keep(items) => Step::Keep(LabelList::new(items, names)),
        })
    }

    fn unwrap(&mut self, unwrap: &ast::Unwrap) -> Result<Unwrap, StageError> {
        let filters = unwrap.filters.iter().map(|filter| {
            let refused = |error| StageError::new(&Stage::LabelFilter(filter.clone()), &error);
            LabelFilter::compile(filter, &mut self.names).map_err(refused)
        });
        let filters = filters.collect::<Result<_, _>>()?;
        let compiled = Unwrap::new(unwrap, filters, &mut self.names);
        compiled.for_each_name(|name| self.read.push(name));
        Ok(compiled)
    }

    /// Whether a `line_format` or `decolorize` writes a line that nobody reads. Only metric queries leave them out.
    fn is_idle(&self, step: &Step, later: &[Stage]) -> bool {
        let line_is_read = || {
            self.options.needs_line
                || later.iter().any(|stage| match stage {
                    Stage::LineFilter(_)
                    | Stage::Json(_)
                    | Stage::Logfmt(_)
                    | Stage::Regexp(_)
                    | Stage::Pattern(_)
                    | Stage::Unpack => true,
                    // Templates can read the line that `decolorize` leaves, but Loki leaves out a `line_format` even so.
                    Stage::LineFormat(_) | Stage::LabelFormat(_) => matches!(step, Step::Decolorize),
                    Stage::LabelFilter(_) | Stage::Decolorize | Stage::Drop(_) | Stage::Keep(_) => false,
                })
        };
        matches!(step, Step::LineFormat(_) | Step::Decolorize) && self.options.is_metric && !line_is_read()
    }

    /// Remembers the labels that a step reads.
    fn note_read(&mut self, step: &Step) {
        match step {
            Step::LabelFilter(filter) => filter.for_each_name(&mut |name| self.read.push(name)),
            Step::LineFormat(format) => {
                self.reads_all |= !format.note_references(&mut self.names, |name| self.read.push(name));
            }
            Step::LabelFormat(formats) => {
                self.reads_all |= !formats.note_references(&mut self.names, |name| self.read.push(name));
            }
            _ => {}
        }
    }

    /// What parsers extract, and if it is not everything, the names.
    fn extraction(&mut self) -> (Extract, Vec<NameId>) {
        let NeededLabels::Only(consumed) = &self.options.needed else { return (Extract::All, Vec::new()) };
        if self.reads_all {
            return (Extract::All, Vec::new());
        }
        let mut needed: Vec<NameId> = consumed.iter().map(|name| self.names.intern(name)).collect();
        needed.append(&mut self.read);
        needed.sort_unstable();
        needed.dedup();
        (if needed.is_empty() { Extract::Nothing } else { Extract::Needed }, needed)
    }
}

fn json_paths<'e>(
    extractions: &'e [Extraction],
    names: &mut Names,
) -> Result<Vec<PathExtraction>, ExpressionError<'e, path::PathError>> {
    let compile = |extraction: &'e Extraction| {
        let expression = extraction.expression.as_str();
        let steps = path::parse(expression).map_err(|problem| ExpressionError { expression, problem })?;
        Ok(PathExtraction { label: names.intern(&extraction.label), steps })
    };
    extractions.iter().map(compile).collect()
}

fn logfmt_keys<'e>(
    extractions: &'e [Extraction],
    names: &mut Names,
) -> Result<Vec<KeyExtraction>, ExpressionError<'e, super::logfmt::KeyError>> {
    let compile = |extraction: &'e Extraction| {
        let expression = extraction.expression.as_str();
        let key = parse_key(expression).map_err(|problem| ExpressionError { expression, problem })?;
        Ok(KeyExtraction { label: names.intern(&extraction.label), key: key.into_bytes().into() })
    };
    let mut keys = extractions.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
    // Of several keys for one label the last counts.
    let last_of_label = |i: usize, keys: &[KeyExtraction]| keys[i + 1..].iter().all(|key| key.label != keys[i].label);
    let kept: Vec<bool> = (0..keys.len()).map(|i| last_of_label(i, &keys)).collect();
    let mut kept = kept.into_iter();
    keys.retain(|_| kept.next().unwrap_or_default());
    Ok(keys)
}

/// Moves the line filters of each stretch to its beginning and joins them into one step.
fn gather_line_filters(steps: Vec<Step>) -> Vec<Step> {
    let mut gathered: Vec<Step> = Vec::with_capacity(steps.len());
    let mut filters = LineFilters::default();
    let mut stretch: Vec<Step> = Vec::new();
    let mut finish = |filters: &mut LineFilters, stretch: &mut Vec<Step>| {
        if !filters.is_empty() {
            gathered.push(Step::LineFilters(std::mem::take(filters)));
        }
        gathered.append(stretch);
    };
    for step in steps {
        match step {
            Step::LineFilters(more) => filters.join(more),
            Step::LabelFilter(_) | Step::LineFormat(_) | Step::Parse(Parser::Unpack, _) => {
                stretch.push(step);
                finish(&mut filters, &mut stretch);
            }
            other => stretch.push(other),
        }
    }
    finish(&mut filters, &mut stretch);
    gathered
}

/// The first simple filter on each label, wherever it stands: parsers try them, and their errors count.
fn filters_of_all(steps: &[Step]) -> EarlyFilters {
    let mut early = EarlyFilters { set_errors: true, ..EarlyFilters::default() };
    for step in steps {
        if let Step::LabelFilter(LabelFilter::Simple(filter)) = step
            && filter.is_on_label()
        {
            early.add(filter);
        }
    }
    early
}

/// Where only some labels are extracted, Loki tries no filter early. A parser still may, if nothing but other parsers
/// and filters stands between it and a filter: the line would be dropped in any case.
fn give_parsers_their_filters(steps: &mut [Step]) {
    let mut early = EarlyFilters::default();
    for step in steps.iter_mut().rev() {
        match step {
            Step::LabelFilter(LabelFilter::Simple(filter)) if filter.is_on_label() => early.replace(filter),
            Step::LabelFilter(_) | Step::LineFilters(_) | Step::Implied(_) => {}
            Step::Parse(_, own) => *own = Some(early.clone()),
            _ => early = EarlyFilters::default(),
        }
    }
}
