//! Executes a tree: walks its nodes, keeps variables, writes the output.

use std::fmt;

use bumpalo::collections::Vec as BumpVec;

use super::ast::{Branch, Command, List, Node, Operand, Pipeline, ROOT_VARIABLE, TemplateCall, Tree, VariableId};
use super::context::{Context, Sink, check_memory, keep};
use super::error::{Failure, Limit};
use super::printf;
use super::value::{IntType, Value};
use super::{MAX_DEPTH, MAX_STEPS};

pub(super) type Executed<T = ()> = Result<T, Failure>;

/// An execution in progress.
pub(super) struct Machine<'e> {
    pub(super) cx: Context<'e>,
    pub(super) tree: &'e Tree,
    pub(super) out: Sink<'e>,
    /// Declared variables, innermost last; the first is `$`.
    variables: BumpVec<'e, (VariableId, Value<'e>)>,
    /// Index of the `$` of the definition being executed.
    frame: usize,
    /// Name of the definition being executed.
    pub(super) executing: &'e [u8],
    /// The expression evaluated last, which errors point at.
    pub(super) at: At<'e>,
    steps: u64,
    depth: usize,
}

/// A place that errors can point at.
#[derive(Clone, Copy)]
pub(super) enum At<'e> {
    Start,
    Pipeline(&'e Pipeline),
    Command(&'e Command),
    Operand(&'e Operand),
    Template(&'e TemplateCall),
}

impl At<'_> {
    /// Byte in the template.
    pub(super) fn offset(self) -> usize {
        match self {
            Self::Start => 0,
            Self::Pipeline(pipeline) => pipeline.at,
            Self::Command(command) => command.at,
            Self::Operand(operand) => operand.at,
            Self::Template(call) => call.at,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => Ok(()),
            Self::Pipeline(pipeline) => pipeline.fmt(f),
            Self::Command(command) => command.fmt(f),
            Self::Operand(operand) => operand.fmt(f),
            Self::Template(call) => call.fmt(f),
        }
    }
}

/// What happens after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'e> Machine<'e> {
    pub(super) fn new(cx: Context<'e>, tree: &'e Tree, out: Sink<'e>) -> Self {
        let variables = BumpVec::new_in(cx.bump);
        Self { cx, tree, out, variables, frame: 0, executing: b"", at: At::Start, steps: 0, depth: 0 }
    }

    /// Executes the definition `name` with the labels as its data.
    pub(super) fn run(&mut self, name: &'e [u8]) -> Executed {
        self.executing = name;
        let Some(definition) = self.tree.definition(name) else { return Ok(()) };
        let root = Value::Labels(self.cx.fields);
        self.variables.push((ROOT_VARIABLE, root));
        self.list(root, &definition.body)?;
        Ok(())
    }

    /// Charges for work, so that no template runs for ever.
    pub(super) fn spend(&mut self, steps: u64) -> Executed {
        self.steps += steps;
        if self.steps > MAX_STEPS {
            return Err(Limit::Steps.into());
        }
        Ok(check_memory(self.cx.bump, 0)?)
    }

    /// Runs `inner` one level deeper, so that no template exhausts the stack.
    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Executed<T>) -> Executed<T> {
        if self.depth == MAX_DEPTH {
            return Err(Failure::TemplateDepth);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, dot: Value<'e>, nodes: &'e List) -> Executed<Flow> {
        for node in nodes {
            let flow = self.node(dot, node)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: Value<'e>, node: &'e Node) -> Executed<Flow> {
        match node {
            Node::Text(text) => {
                self.out.extend(text.as_bytes());
                self.out.check()?;
            }
            Node::Action(pipeline) => {
                self.spend(1)?;
                let value = self.pipeline(dot, pipeline)?;
                if pipeline.variables.is_empty() {
                    self.print(value)?;
                }
            }
            Node::If(branch) => return self.deeper(|machine| machine.branch(dot, branch, false)),
            Node::With(branch) => return self.deeper(|machine| machine.branch(dot, branch, true)),
            Node::Range(branch) => return self.deeper(|machine| machine.range(dot, branch)),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Template(call) => self.template(dot, call)?,
        }
        Ok(Flow::Next)
    }

    /// Writes `value` as `{{value}}` does.
    fn print(&mut self, value: Value<'e>) -> Executed {
        match value {
            Value::String(text) => self.out.extend(text),
            Value::Absent => self.out.extend(b"<no value>"),
            value => printf::print_default(&mut self.out, value),
        }
        Ok(self.out.check()?)
    }

    /// `if` and `with`, which also makes the value the dot.
    fn branch(&mut self, dot: Value<'e>, branch: &'e Branch, is_with: bool) -> Executed<Flow> {
        self.spend(1)?;
        let visible = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = match (value.is_true(), is_with) {
            (true, true) => self.list(value, &branch.body)?,
            (true, false) => self.list(dot, &branch.body)?,
            (false, _) => self.list(dot, &branch.otherwise)?,
        };
        self.variables.truncate(visible);
        Ok(flow)
    }

    fn range(&mut self, dot: Value<'e>, branch: &'e Branch) -> Executed<Flow> {
        let visible = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = match self.iterate(value, branch)? {
            // Break and continue inside the body ended there.
            Iterated::Some => Flow::Next,
            Iterated::Nothing => self.list(dot, &branch.otherwise)?,
        };
        self.variables.truncate(visible);
        Ok(flow)
    }

    fn iterate(&mut self, value: Value<'e>, branch: &'e Branch) -> Executed<Iterated> {
        match value {
            Value::Absent => return Ok(Iterated::Nothing),
            Value::Int(count, int_type) => {
                if branch.pipeline.variables.len() > 1 {
                    return Err(Failure::RangeVariables(count));
                }
                for index in 0..count {
                    if self.iteration(branch, Value::Absent, Value::Int(index, int_type))? == Flow::Break {
                        break;
                    }
                }
                return Ok(Iterated::from(count > 0));
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.iteration(branch, Value::int(index as i64), Value::Boxed(item))? == Flow::Break {
                        break;
                    }
                }
                return Ok(Iterated::from(!items.is_empty()));
            }
            Value::Bytes(bytes) => {
                for (index, &byte) in bytes.iter().enumerate() {
                    let item = Value::Int(byte.into(), IntType::Uint8);
                    if self.iteration(branch, Value::int(index as i64), item)? == Flow::Break {
                        break;
                    }
                }
                return Ok(Iterated::from(!bytes.is_empty()));
            }
            Value::Object(members) => {
                for (name, member) in members {
                    if self.iteration(branch, Value::String(name), Value::Boxed(member))? == Flow::Break {
                        break;
                    }
                }
                return Ok(Iterated::from(!members.is_empty()));
            }
            Value::Labels(_) => {}
            value => {
                let mut text = Vec::new();
                printf::print_default(&mut Sink::new(&mut text), value);
                return Err(Failure::NotIterable(String::from_utf8_lossy(&text).into()));
            }
        }
        let labels = self.copied_labels()?;
        for &(name, value) in &labels {
            if self.iteration(branch, Value::String(name), Value::String(value))? == Flow::Break {
                break;
            }
        }
        Ok(Iterated::from(!labels.is_empty()))
    }

    /// The labels in memory that outlasts a callback.
    fn copied_labels(&self) -> Executed<BumpVec<'e, (&'e [u8], &'e [u8])>> {
        let bump = self.cx.bump;
        let mut labels = BumpVec::new_in(bump);
        let mut outcome = Ok(());
        self.cx.fields.for_each(&mut |name, value| match (keep(bump, name.as_bytes()), keep(bump, value.as_bytes())) {
            (Ok(name), Ok(value)) => labels.push((name, value)),
            (Err(limit), _) | (_, Err(limit)) => outcome = Err(limit),
        });
        outcome?;
        Ok(labels)
    }

    fn iteration(&mut self, branch: &'e Branch, key: Value<'e>, item: Value<'e>) -> Executed<Flow> {
        self.spend(1)?;
        let visible = self.variables.len();
        let pipeline = &branch.pipeline;
        match &*pipeline.variables {
            [] => {}
            [one] if pipeline.assigns => self.assign(one.id, item)?,
            [first, second, ..] if pipeline.assigns => {
                self.assign(first.id, key)?;
                self.assign(second.id, item)?;
            }
            [_] => self.variables[visible - 1].1 = item,
            [_, _, ..] => {
                self.variables[visible - 2].1 = key;
                self.variables[visible - 1].1 = item;
            }
        }
        let flow = self.list(item, &branch.body)?;
        self.variables.truncate(visible);
        Ok(flow)
    }

    fn template(&mut self, dot: Value<'e>, call: &'e TemplateCall) -> Executed {
        self.at = At::Template(call);
        self.spend(1)?;
        let Some(definition) = self.tree.definition(&call.name) else {
            return Err(Failure::UndefinedTemplate(String::from_utf8_lossy(&call.name).into()));
        };
        self.deeper(|machine| {
            // Variables that the pipeline declares persist.
            let dot = match &call.pipeline {
                Some(pipeline) => machine.pipeline(dot, pipeline)?,
                None => Value::Absent,
            };
            let (frame, caller) = (machine.frame, machine.executing);
            machine.frame = machine.variables.len();
            machine.executing = &definition.name;
            machine.variables.push((ROOT_VARIABLE, dot));
            machine.list(dot, &definition.body)?;
            machine.variables.truncate(machine.frame);
            (machine.frame, machine.executing) = (frame, caller);
            Ok(())
        })
    }

    /// Declares a variable.
    pub(super) fn declare(&mut self, id: VariableId, value: Value<'e>) {
        self.variables.push((id, value));
    }

    /// The variable with this name that is declared innermost.
    pub(super) fn variable(&mut self, id: VariableId) -> Executed<&mut Value<'e>> {
        match self.variables[self.frame..].iter_mut().rev().find(|(known, _)| *known == id) {
            Some((_, value)) => Ok(value),
            None => Err(Failure::UndefinedVariable(self.tree.variable_names[id as usize].clone())),
        }
    }

    pub(super) fn assign(&mut self, id: VariableId, value: Value<'e>) -> Executed {
        *self.variable(id)? = value;
        Ok(())
    }
}

/// Whether a loop found something.
enum Iterated {
    Some,
    Nothing,
}

impl From<bool> for Iterated {
    fn from(some: bool) -> Self {
        if some { Self::Some } else { Self::Nothing }
    }
}
