//! The tree of a parsed template, and its printing in Go's form, which error texts quote.

use std::fmt;

use super::functions::Function;
use super::literal::Number;

/// A sequence of text and actions.
pub(super) type List = Vec<Node>;

/// Index of a variable's name in [`Tree::variable_names`].
pub(super) type VariableId = u32;

/// The variable `$`, always the first name.
pub(super) const ROOT_VARIABLE: VariableId = 0;

/// A parsed template with its definitions.
#[derive(Debug)]
pub(super) struct Tree {
    /// The definitions; the body of the template itself is the one that bears its name.
    pub(super) definitions: Vec<Definition>,
    pub(super) variable_names: Vec<Box<str>>,
}

impl Tree {
    pub(super) fn definition(&self, name: &[u8]) -> Option<&Definition> {
        self.definitions.iter().find(|d| *d.name == *name)
    }
}

/// A named body. Names are bytes because Go's literals can spell any.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: Box<[u8]>,
    pub(super) body: List,
}

/// Text or an action.
#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    /// `{{pipeline}}`.
    Action(Pipeline),
    If(Box<Branch>),
    With(Box<Branch>),
    Range(Box<Branch>),
    Break,
    Continue,
    Template(Box<TemplateCall>),
}

/// `if`, `with` or `range` with its bodies.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: List,
    pub(super) otherwise: List,
}

/// `{{template "name" pipeline}}`, also what `{{block}}` leaves.
#[derive(Debug)]
pub(super) struct TemplateCall {
    pub(super) at: usize,
    pub(super) name: Box<[u8]>,
    pub(super) pipeline: Option<Pipeline>,
}

/// Commands joined by `|`, with the variables that take the result.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    pub(super) assigns: bool,
    pub(super) variables: Vec<Variable>,
    pub(super) commands: Vec<Command>,
}

/// A variable that is declared or assigned.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) id: VariableId,
    pub(super) name: Box<str>,
}

/// Operands, the first of which may be a function or method.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) operands: Vec<Operand>,
}

/// An operand and where it stands.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
}

/// The kinds of operands.
#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Box<Number>),
    String {
        source: Box<str>,
        value: Box<[u8]>,
    },
    /// `.a.b`.
    Field(Vec<Box<str>>),
    /// `$x.a.b`.
    Variable {
        id: VariableId,
        name: Box<str>,
        path: Vec<Box<str>>,
    },
    Function(&'static Function),
    /// `(pipeline).a.b` or `function.a.b`.
    Chain(Box<Operand>, Vec<Box<str>>),
    Pipeline(Box<Pipeline>),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Number(number) => f.write_str(&number.source),
            OperandKind::String { source, .. } => f.write_str(source),
            OperandKind::Field(path) => write_path(f, path),
            OperandKind::Variable { name, path, .. } => {
                f.write_str(name)?;
                write_path(f, path)
            }
            OperandKind::Function(function) => f.write_str(function.name),
            OperandKind::Chain(operand, path) => {
                match operand.kind {
                    OperandKind::Pipeline(_) => write!(f, "({operand})")?,
                    _ => write!(f, "{operand}")?,
                }
                write_path(f, path)
            }
            OperandKind::Pipeline(pipeline) => write!(f, "{pipeline}"),
        }
    }
}

fn write_path(f: &mut fmt::Formatter<'_>, path: &[Box<str>]) -> fmt::Result {
    path.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operand) in self.operands.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            match operand.kind {
                OperandKind::Pipeline(_) => write!(f, "({operand})")?,
                _ => write!(f, "{operand}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, variable) in self.variables.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, variable.name)?;
        }
        if !self.variables.is_empty() {
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if index > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for TemplateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut quoted = Vec::new();
        super::strconv::append_quoted(&mut quoted, &self.name, '"', false);
        write!(f, "{{{{template {}", String::from_utf8_lossy(&quoted))?;
        if let Some(pipeline) = &self.pipeline {
            write!(f, " {pipeline}")?;
        }
        f.write_str("}}")
    }
}
