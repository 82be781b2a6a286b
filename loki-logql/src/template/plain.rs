//! The fast path: templates that only copy text, labels and the line.

use super::ast::{List, Node, OperandKind, Tree};
use super::error::Limit;
use super::{Fields, MAX_OUTPUT_BYTES};

/// A part of a template that is copied as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Segment {
    /// Literal text.
    Text(Box<str>),
    /// The value of a label; nothing if it is missing.
    Field(Box<str>),
    /// The line, `{{__line__}}`.
    Line,
}

/// The segments of a template, if it has nothing else.
pub(super) fn segments(tree: &Tree, name: &str) -> Option<Box<[Segment]>> {
    let definition = tree.definition(name.as_bytes())?;
    body_segments(&definition.body)
}

fn body_segments(body: &List) -> Option<Box<[Segment]>> {
    body.iter().map(segment).collect()
}

fn segment(node: &Node) -> Option<Segment> {
    let pipeline = match node {
        Node::Text(text) => return Some(Segment::Text(text.clone())),
        Node::Action(pipeline) if pipeline.variables.is_empty() => pipeline,
        _ => return None,
    };
    let [command] = &*pipeline.commands else { return None };
    let [operand] = &*command.operands else { return None };
    match &operand.kind {
        OperandKind::Field(path) if path.len() == 1 => Some(Segment::Field(path[0].clone())),
        OperandKind::Function(function) if function.name == "__line__" => Some(Segment::Line),
        _ => None,
    }
}

/// Appends the segments to `out`.
pub(super) fn execute(segments: &[Segment], fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Limit> {
    let limit = out.len().saturating_add(MAX_OUTPUT_BYTES);
    for segment in segments {
        let text = match segment {
            Segment::Text(text) => text.as_bytes(),
            Segment::Field(name) => fields.field(name).unwrap_or_default().as_bytes(),
            Segment::Line => fields.line(),
        };
        if text.len() > limit - out.len() {
            return Err(Limit::Output);
        }
        out.extend_from_slice(text);
    }
    Ok(())
}
