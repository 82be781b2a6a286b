//! Pipelines: what happens to an entry between the selector and the result.
//!
//! A [`Pipeline`] is compiled once per query and shared by all threads; a [`PipelineWorker`] is one thread's state and
//! sends entries through it. Loki's visible departures from plain left-to-right order are decided here, when stages
//! become steps:
//!
//! * Line filters move in front of the other stages of their stretch. Stretches end at label filters, `line_format`
//!   and `unpack`. Those of the first stretch are the [`prefilter`](Pipeline::prefilter), which is evaluated on whole
//!   texts.
//! * The first simple label filter on a name is tried as soon as a parser sets the label.
//! * Metric queries extract only the labels that are read, and a `line_format` that nobody reads is left out.
//!
//! | module | subject |
//! |---|---|
//! | `line_filter` | line filters, on lines and on whole texts |
//! | `labels` | the labels of an entry while it is processed, and the view of them that consumers get |
//! | `json`, `logfmt`, `regexp`, `pattern`, `unpack` | parsers |
//! | `label_filter`, `format`, `drop_keep`, `decolorize`, `unwrap` | the other stages |
//! | `implied` | what filters behind parsers imply about the line |
//! | `names`, `keys`, `scan`, `units`, `ip`, `text_test` | what stages are made of |

use std::fmt;

use loki_core::Timestamp;

use crate::ast::{Stage, Unwrap};
use crate::querier::{Literal, RowMetadata};
use compile::Compiler;
use names::Names;
use sink::{EarlyFilters, Extract};
use step::Step;

pub use labels::{EntryLabels, LabelKind};
pub use line_filter::LineFilters;
pub use worker::{PipelineWorker, Processed};

mod compile;
mod decolorize;
mod drop_keep;
mod format;
mod implied;
mod ip;
mod json;
mod keys;
mod label_filter;
mod labels;
mod line_filter;
mod logfmt;
mod names;
mod pattern;
mod regexp;
mod scan;
mod sink;
mod step;
pub(crate) mod text_test;
pub(crate) mod units;
mod unpack;
mod unwrap;
mod worker;

/// Which labels the consumer of a pipeline reads behind the last stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeededLabels {
    /// All of them.
    All,
    /// Only these. What stages and `unwrap` read comes on top by itself.
    Only(Vec<String>),
}

/// What a pipeline is compiled for.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// Labels that the consumer reads.
    pub needed: NeededLabels,
    /// What templates take for the current time.
    pub now: Timestamp,
    /// Whether the consumer reads the final line.
    pub needs_line: bool,
    /// Whether this is for a metric query.
    pub is_metric: bool,
}

/// The stages of a query, compiled.
#[derive(Debug)]
pub struct Pipeline {
    prefilter: LineFilters,
    steps: Vec<Step>,
    unwrap: Option<unwrap::Unwrap>,
    /// Names that the query mentions.
    names: Names,
    /// Of those, the ones that are read, when not all labels are.
    needed: Vec<names::NameId>,
    extract: Extract,
    /// Filters that any parser tries; steps may have their own.
    early: EarlyFilters,
    needles: Vec<Vec<Literal>>,
    label_equalities: Vec<(String, String)>,
    needs_text: bool,
    now: Timestamp,
}

impl Pipeline {
    /// Compiles stages, and the `unwrap` behind them.
    pub fn compile(stages: &[Stage], unwrap: Option<&Unwrap>, options: PipelineOptions) -> Result<Self, StageError> {
        Compiler::new(options).compile(stages, unwrap)
    }

    /// The line filters that run before any other stage. Lines given to a worker must have passed them.
    pub fn prefilter(&self) -> &LineFilters {
        &self.prefilter
    }

    /// Whether nothing is left to do behind the prefilter: lines and labels pass unchanged.
    pub fn is_trivial(&self) -> bool {
        self.steps.is_empty() && self.unwrap.is_none()
    }

    /// Whether stages behind the prefilter, or the consumer, read the line.
    pub fn needs_text(&self) -> bool {
        self.needs_text
    }

    /// Whether stages read labels, so that an entry's structured metadata matters.
    pub fn needs_metadata(&self) -> bool {
        self.unwrap.is_some() || self.steps.iter().any(Step::uses_labels)
    }

    /// Literals that every passing entry's stored line contains: at least one of each inner list.
    pub fn needles(&self) -> Vec<Vec<Literal>> {
        self.needles.clone()
    }

    /// Pairs that every passing entry has as a stream label or as structured metadata.
    pub fn label_equalities(&self) -> Vec<(String, String)> {
        self.label_equalities.clone()
    }

    /// The state of one thread, for entries that have this structured metadata.
    pub fn worker<'p>(&'p self, metadata: &'p RowMetadata) -> PipelineWorker<'p> {
        PipelineWorker::new(self, metadata)
    }
}

/// Why a stage cannot be compiled: Loki's `parse error : stage '…' : …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageError {
    stage: String,
    problem: String,
}

impl StageError {
    fn new(stage: &impl fmt::Display, problem: &impl fmt::Display) -> Self {
        Self { stage: stage.to_string(), problem: problem.to_string() }
    }

    /// The stage, in its canonical form.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parse error : stage '{}' : {}", self.stage, self.problem)
    }
}

impl std::error::Error for StageError {}
