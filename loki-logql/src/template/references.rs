//! Finds out what a template reads of an entry.

use std::collections::BTreeSet;

use super::ast::{Branch, Command, List, Node, Operand, OperandKind, Pipeline, ROOT_VARIABLE, Tree};

/// What a template may read of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct References {
    /// The labels.
    pub labels: LabelReferences,
    /// Whether it may read the line.
    pub line: bool,
    /// Whether it may read the timestamp.
    pub timestamp: bool,
}

/// Which labels a template may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelReferences {
    /// Any, because it uses the labels as a whole.
    All,
    /// These and no others.
    Names(BTreeSet<Box<str>>),
}

/// What `tree`, whose body is called `name`, may read.
pub(super) fn references(tree: &Tree, name: &str) -> References {
    let mut finder = Finder { names: BTreeSet::new(), all: false, line: false, timestamp: false };
    for definition in &tree.definitions {
        // In other definitions the dot is whatever their callers pass. If that can be the labels, a caller mentions
        // them as a whole, and that alone means all labels.
        finder.list(&definition.body, *definition.name == *name.as_bytes());
    }
    let labels = if finder.all { LabelReferences::All } else { LabelReferences::Names(finder.names) };
    References { labels, line: finder.line, timestamp: finder.timestamp }
}

struct Finder {
    names: BTreeSet<Box<str>>,
    all: bool,
    line: bool,
    timestamp: bool,
}

/// `dot_is_labels` tells whether the dot is, in this place, the labels.
impl Finder {
    fn list(&mut self, nodes: &List, dot_is_labels: bool) {
        for node in nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action(pipeline) => self.pipeline(pipeline, dot_is_labels),
                Node::If(branch) => self.branch(branch, dot_is_labels, dot_is_labels),
                Node::With(branch) | Node::Range(branch) => self.branch(branch, dot_is_labels, false),
                Node::Template(call) => {
                    if let Some(pipeline) = &call.pipeline {
                        self.pipeline(pipeline, dot_is_labels);
                    }
                }
            }
        }
    }

    fn branch(&mut self, branch: &Branch, dot_is_labels: bool, in_body: bool) {
        self.pipeline(&branch.pipeline, dot_is_labels);
        self.list(&branch.body, in_body);
        self.list(&branch.otherwise, dot_is_labels);
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot_is_labels: bool) {
        for command in &pipeline.commands {
            self.command(command, dot_is_labels);
        }
    }

    fn command(&mut self, command: &Command, dot_is_labels: bool) {
        let mut operands = &*command.operands;
        // `index . "name"` reads one label.
        if let [function, labels, name, ..] = operands
            && matches!(&function.kind, OperandKind::Function(function) if function.name == "index")
            && is_labels(labels, dot_is_labels)
            && let OperandKind::String { value, .. } = &name.kind
        {
            self.names.extend(std::str::from_utf8(value).map(Into::into));
            operands = &operands[3..];
        }
        for operand in operands {
            self.operand(operand, dot_is_labels);
        }
    }

    fn operand(&mut self, operand: &Operand, dot_is_labels: bool) {
        self.all |= is_labels(operand, dot_is_labels);
        match &operand.kind {
            OperandKind::Field(path) if dot_is_labels => {
                self.names.insert(path[0].clone());
            }
            OperandKind::Variable { id: ROOT_VARIABLE, path, .. } => {
                self.names.extend(path.first().cloned());
            }
            OperandKind::Function(function) => match function.name {
                "__line__" => self.line = true,
                "__timestamp__" => self.timestamp = true,
                _ => {}
            },
            OperandKind::Chain(inner, _) => self.operand(inner, dot_is_labels),
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, dot_is_labels),
            _ => {}
        }
    }
}

/// Whether the operand is the labels as a whole.
fn is_labels(operand: &Operand, dot_is_labels: bool) -> bool {
    match &operand.kind {
        OperandKind::Dot => dot_is_labels,
        // In a definition `$` is its argument, but there is no harm in caution.
        OperandKind::Variable { id: ROOT_VARIABLE, path, .. } => path.is_empty(),
        _ => false,
    }
}
