//! The operators above the scans: a tree walk over matrices.

use std::collections::HashMap;

use super::aggregate::aggregate;
use super::binary::{self, Operand};
use super::error::{Error, Unsupported};
use super::label_replace::Replacement;
use super::limits::{ApproxTopk, QueryLimits};
use super::matrix::{Matrix, Row};
use super::plan::Node;
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
            Node::Aggregate { call, inner } => {
                let Operand::Vector(inner) = self.evaluate(inner)? else {
                    return Err(Unsupported::AggregationOfNumber.into());
                };
                aggregate(inner, call.op, call.parameter, call.grouping.as_ref(), self.steps)
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
            Self::Number(_) | Self::VectorOfNumber(_) | Self::Scan(_) | Self::Quotient { .. } => Ok(()),
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

/// Divides series by series with the same labels.
fn quotient(mut sum: Matrix, count: &Matrix) -> Matrix {
    let counts: HashMap<&Labels, &Row> = count.rows.iter().map(|row| (&row.labels, row)).collect();
    for row in &mut sum.rows {
        let count = counts.get(&row.labels);
        let mut step = row.first;
        for value in &mut row.values {
            if super::matrix::is_present(*value) {
                let divisor = count.and_then(|count| count.at(step)).unwrap_or_default();
                *value = if divisor == 0.0 { f64::NAN } else { *value / divisor };
            }
            step += 1;
        }
    }
    sum
}
