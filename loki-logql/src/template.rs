//! Go's text templates, as `line_format` and `label_format` use them.
//!
//! A [`Template`] is parsed once per query and executed once per entry. Templates that only copy text, labels and the
//! line, which most do, take a path that evaluates nothing. The others are walked as a tree; all intermediate values
//! live in a [`Scratch`] that is emptied, not freed, between executions.
//!
//! The data of a template are the labels of an entry, a map from names to strings in which missing names are empty.
//! Functions and their argument types are those of Loki, error texts and their columns those of Go.
//!
//! | module | subject |
//! |---|---|
//! | `lexer`, `parser`, `ast`, `literal` | from text to tree |
//! | `machine`, `eval` | from tree to output |
//! | `value`, `functions` | what expressions compute with |
//! | `printf`, `strconv` | how values print |
//! | `time`, `json` | values from text |
//! | `plain`, `references` | what can be known before execution |
//!
//! # Invariants
//!
//! * No template and no data make an execution panic, run for ever, or use memory without bound: see the `MAX_`
//!   constants. Go has no such limits, so exceeding one is an error that Loki does not know.
//! * Text that is not UTF-8 passes through unchanged wherever Go works on bytes.

mod ast;
mod context;
mod error;
mod eval;
mod functions;
mod json;
mod lexer;
mod literal;
mod machine;
mod parser;
mod plain;
mod printf;
mod references;
mod strconv;
mod time;
mod value;

use std::fmt;
use std::sync::Arc;

use bumpalo::Bump;
use loki_core::Timestamp;

use ast::{Command, List, Node, Operand, OperandKind, Pipeline, Tree};
use context::{ConstantPatterns, Context, PatternCache, Sink};
use error::{Failure, Place};
use functions::Kind;
use machine::{At, Machine};
use time::ZoneCache;

pub use error::{ExecError, LexicalError, TemplateError, TemplateErrorKind};
pub use plain::Segment;
pub use references::{LabelReferences, References};

/// Bytes that one execution may write.
pub const MAX_OUTPUT_BYTES: usize = 8 << 20;
/// Bytes that the values of one execution may take.
pub const MAX_MEMORY_BYTES: usize = 64 << 20;
/// Actions, loop iterations, template calls and kilobytes of arguments that one execution may process.
pub const MAX_STEPS: u64 = 1_000_000;
/// How deep actions, templates and parentheses may be nested while executing.
pub const MAX_DEPTH: usize = 200;
/// How deep actions and parentheses may be nested in the text.
pub const MAX_NESTING: usize = 100;

/// Memory that [`Scratch`] keeps from one execution to the next.
const KEPT_MEMORY_BYTES: usize = 1 << 20;

/// What a template can see of an entry.
pub trait Fields {
    /// The value of a label; `None` and the empty string mean the same.
    fn field(&self, name: &str) -> Option<&str>;

    /// Calls `f` with the name and value of each label, sorted by name.
    fn for_each(&self, f: &mut dyn FnMut(&str, &str));

    /// The line, as earlier stages left it.
    fn line(&self) -> &[u8];

    /// The time of the entry.
    fn timestamp(&self) -> Timestamp;

    /// The current time.
    fn now(&self) -> Timestamp;
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    name: Arc<str>,
    text: Box<str>,
    tree: Tree,
    segments: Option<Box<[Segment]>>,
    patterns: ConstantPatterns,
}

/// Memory and caches for executing templates; any template can use any scratch, one at a time.
#[derive(Default)]
pub struct Scratch {
    bump: Bump,
    text: Vec<u8>,
    patterns: PatternCache,
    zones: ZoneCache,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("allocated_bytes", &self.bump.allocated_bytes()).finish_non_exhaustive()
    }
}

impl Template {
    /// Compiles `text`; errors call it `name`, which is `line` or `label` in Loki.
    ///
    /// ```
    /// use loki_logql::template::Template;
    ///
    /// let error = Template::parse("line", "{{.level").unwrap_err();
    /// assert_eq!(error.to_string(), "template: line:1: unclosed action");
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let tree = parser::parse(name, text)?;
        let mut patterns = ConstantPatterns::default();
        for definition in &tree.definitions {
            collect_patterns(&definition.body, &mut patterns);
        }
        let segments = plain::segments(&tree, name);
        Ok(Self { name: name.into(), text: text.into(), tree, segments, patterns })
    }

    /// The text that was compiled.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the template may read.
    pub fn references(&self) -> References {
        references::references(&self.tree, &self.name)
    }

    /// The parts of a template that only copies; `None` for others.
    pub fn segments(&self) -> Option<&[Segment]> {
        self.segments.as_deref()
    }

    /// Appends the result for one entry to `out`. If it fails, `out` is as before.
    pub fn execute(&self, fields: &dyn Fields, out: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), ExecError> {
        let start = out.len();
        let result = match &self.segments {
            Some(segments) => plain::execute(segments, fields, out)
                .map_err(|limit| self.error(At::Start, self.name.as_bytes(), limit.into())),
            None => self.execute_tree(fields, out, scratch),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn execute_tree(&self, fields: &dyn Fields, out: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), ExecError> {
        scratch.reset();
        let Scratch { bump, text, patterns, zones } = scratch;
        let cx = Context { fields, bump, text, constant_patterns: &self.patterns, patterns, zones };
        let mut machine = Machine::new(cx, &self.tree, Sink::new(out));
        let outcome = machine.run(self.name.as_bytes());
        outcome.map_err(|failure| self.error(machine.at, machine.executing, failure))
    }

    fn error(&self, at: At<'_>, executing: &[u8], failure: Failure) -> ExecError {
        let before = &self.text[..at.offset()];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let place = Place {
            name: Arc::clone(&self.name),
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            column: before.len() - line_start,
            executing: String::from_utf8_lossy(executing).into(),
            expression: at.to_string().into(),
        };
        ExecError::new(place, failure)
    }
}

impl Scratch {
    fn reset(&mut self) {
        if self.bump.allocated_bytes() > KEPT_MEMORY_BYTES {
            self.bump = Bump::new();
        } else {
            self.bump.reset();
        }
        if self.text.capacity() > KEPT_MEMORY_BYTES {
            self.text = Vec::new();
        }
    }
}

/// Compiles the constant patterns in `nodes`.
fn collect_patterns(nodes: &List, patterns: &mut ConstantPatterns) {
    for node in nodes {
        match node {
            Node::Action(pipeline) => pipeline_patterns(pipeline, patterns),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                pipeline_patterns(&branch.pipeline, patterns);
                collect_patterns(&branch.body, patterns);
                collect_patterns(&branch.otherwise, patterns);
            }
            Node::Template(call) => {
                if let Some(pipeline) = &call.pipeline {
                    pipeline_patterns(pipeline, patterns);
                }
            }
            Node::Text(_) | Node::Break | Node::Continue => {}
        }
    }
}

fn pipeline_patterns(pipeline: &Pipeline, patterns: &mut ConstantPatterns) {
    for Command { operands, .. } in &pipeline.commands {
        if let [Operand { kind: OperandKind::Function(function), .. }, pattern, ..] = &**operands
            && matches!(function.kind, Kind::Pattern(_))
            && let OperandKind::String { value, .. } = &pattern.kind
        {
            patterns.add(value);
        }
        for operand in operands {
            operand_patterns(operand, patterns);
        }
    }
}

fn operand_patterns(operand: &Operand, patterns: &mut ConstantPatterns) {
    match &operand.kind {
        OperandKind::Pipeline(pipeline) => pipeline_patterns(pipeline, patterns),
        OperandKind::Chain(inner, _) => operand_patterns(inner, patterns),
        _ => {}
    }
}
