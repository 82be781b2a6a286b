//! The operators above the scans: a tree walk over matrices.

use std::collections::HashMap;

use super::aggregate::aggregate;
use super::binary::{self, Operand};
use super::error::{Error, Unsupported};
use super::label_replace::Replacement;
use super::limits::{ApproxTopk, QueryLimits};
use super::matrix::{Matrix, Row, is_present};
use super::plan::{Merge, Node};
use crate::ast::VectorOp;
use crate::budget::Reservation;
use crate::error::{ParseError, ParseErrorKind, Span};
use loki_core::Labels;

/// Evaluates operators over the results of scans.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) steps: usize,
    /// Results of scans with the number of operators that still want them.
    pub(crate) scans: Vec<ScanResult>,
    /// Everything that was calculated so far.
    pub(crate) memory: Reservation,
}

/// What grouping takes for a series while it works: its place in the table of groups, and a group if it is alone.
const GROUPING_BYTES: usize = 256;

/// The result of a scan, which several operators may read.
#[derive(Debug)]
pub(crate) struct ScanResult {
    pub(crate) matrix: Matrix,
    pub(crate) readers: usize,
}

impl Evaluation {
    /// The value of an operator.
    pub(crate) fn evaluate(&mut self, node: &Node<'_>) -> Result<Operand, Error> {
        let matrix = match node {
            Node::Number(number) => return Ok(Operand::Scalar(*number)),
            Node::VectorOfNumber(number) => Matrix { rows: vec![Row::constant(Labels::EMPTY, *number, self.steps)] },
            Node::Scan(scan) => return Ok(Operand::Vector(self.take_scan(*scan))),
            Node::Quotient { sum, count } => {
                let sum = self.take_scan(*sum);
                quotient(sum, &self.take_scan(*count))
            }
            Node::Pieces { call, scan, merge } => {
                let pieces = self.take_scan(*scan);
                let steps = pieces.rows.iter().map(|row| row.first + row.values.len()).max().unwrap_or_default();
                let pieces = aggregate(pieces, call.op, call.parameter, call.grouping.as_ref(), steps);
                Matrix { rows: pieces.rows.into_iter().filter_map(|row| merge_pieces(row, *merge)).collect() }
            }
            Node::Aggregate { call, inner } => {
                let Operand::Vector(inner) = self.evaluate(inner)? else {
                    return Err(Unsupported::AggregationOfNumber.into());
                };
                let working_bytes = inner.rows.len() * GROUPING_BYTES;
                self.memory.grow(working_bytes)?;
                let matrix = aggregate(inner, call.op, call.parameter, call.grouping.as_ref(), self.steps);
                self.memory.shrink(working_bytes);
                matrix
            }
            Node::Binary { operation, left, right } => {
                let left = self.evaluate(left)?;
                let right = self.evaluate(right)?;
                match binary::evaluate(operation, left, right, self.steps)? {
                    Operand::Vector(matrix) => matrix,
                    scalar @ Operand::Scalar(_) => return Ok(scalar),
                }
            }
            Node::LabelReplace { call, inner } => {
                let Operand::Vector(inner) = self.evaluate(inner)? else {
                    return Err(Unsupported::LabelReplaceOfNumber.into());
                };
                let replacement = Replacement::new(call).map_err(|error| ParseError {
                    kind: ParseErrorKind::LabelReplace(error),
                    span: Span::default(),
                    query: String::new(),
                })?;
                replacement.apply(inner)
            }
        };
        for row in &matrix.rows {
            self.memory.grow(row.size_bytes())?;
        }
        Ok(Operand::Vector(matrix))
    }

    /// The result of a scan; the last reader gets it without a copy.
    fn take_scan(&mut self, scan: usize) -> Matrix {
        let result = &mut self.scans[scan];
        result.readers -= 1;
        if result.readers == 0 { std::mem::take(&mut result.matrix) } else { result.matrix.clone() }
    }
}

impl Node<'_> {
    /// Refuses operators that the query may not use.
    pub(crate) fn check(&self, limits: &QueryLimits) -> Result<(), Unsupported> {
        match self {
            Self::Number(_) | Self::VectorOfNumber(_) | Self::Scan(_) | Self::Quotient { .. } | Self::Pieces { .. } => {
                Ok(())
            }
            Self::Aggregate { call, inner } => match (call.op, limits.approx_topk) {
                (VectorOp::ApproxTopk, ApproxTopk::Disabled) => Err(Unsupported::ApproxTopk),
                (VectorOp::ApproxTopk, ApproxTopk::Unsharded) => Err(Unsupported::ApproxTopkUnsharded),
                _ => inner.check(limits),
            },
            Self::Binary { left, right, .. } => left.check(limits).and_then(|()| right.check(limits)),
            Self::LabelReplace { inner, .. } => inner.check(limits),
        }
    }
}

/// The one value of a series whose steps are pieces of a range.
fn merge_pieces(row: Row, merge: Merge) -> Option<Row> {
    let merged = row.samples().map(|(_, value)| value).reduce(|a, b| match merge {
        Merge::Sum => a + b,
        Merge::Min => a.min(b),
        Merge::Max => a.max(b),
    })?;
    Some(Row::constant(row.labels, merged, 1))
}

/// Divides series by series with the same labels.
fn quotient(mut sum: Matrix, count: &Matrix) -> Matrix {
    let counts: HashMap<&Labels, &Row> = count.rows.iter().map(|row| (&row.labels, row)).collect();
    for row in &mut sum.rows {
        let count = counts.get(&row.labels);
        for (step, value) in (row.first..).zip(&mut row.values) {
            if is_present(*value) {
                let divisor = count.and_then(|count| count.at(step)).unwrap_or_default();
                *value = if divisor == 0.0 { f64::NAN } else { *value / divisor };
            }
        }
    }
    sum
}
