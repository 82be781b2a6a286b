//! Binary operations between vectors and numbers, step by step.

use std::collections::HashMap;

use loki_core::Labels;

use super::arithmetic::{Outcome, apply};
use super::label_sets;
use super::matrix::{ABSENT, Matrix, Row};
use crate::ast::{BinaryOp, BinaryOperation, MatchCardinality, VectorMatching};

/// A side of an operation, or what comes of it.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A number, the same at every step.
    Scalar(f64),
    /// Series.
    Vector(Matrix),
}

/// Series of two sides do not find each other in a unique way. Loki answers these with status 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchingError {
    /// Two series of the right side are equal where they must be unique.
    #[error(
        "found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    DuplicateRight,
    /// Two series of the left side are equal where they must be unique.
    #[error(
        "found duplicate series on the left hand-side;many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    DuplicateLeft,
    /// Several series of one side match one of the other, and no group modifier allows it.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOne,
    /// A group modifier makes several results equal.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    Grouping,
}

/// Evaluates an operation whose sides are known.
pub(crate) fn evaluate(
    operation: &BinaryOperation,
    left: Operand,
    right: Operand,
    steps: usize,
) -> Result<Operand, MatchingError> {
    let op = operation.op;
    let matrix = match (left, right) {
        (Operand::Scalar(left), Operand::Scalar(right)) => return Ok(Operand::Scalar(number(op, left, right))),
        (Operand::Vector(vector), Operand::Scalar(number)) => {
            with_number(vector, |value| pair(operation, value, number, value))
        }
        (Operand::Scalar(number), Operand::Vector(vector)) => {
            with_number(vector, |value| pair(operation, number, value, value))
        }
        (Operand::Vector(left), Operand::Vector(right)) => match op {
            BinaryOp::And => intersect(left, &right, &Signatures::new(operation), steps, true),
            BinaryOp::Unless => intersect(left, &right, &Signatures::new(operation), steps, false),
            BinaryOp::Or => union(left, right, &Signatures::new(operation), steps),
            _ => match_vectors(operation, &left, &right, steps)?,
        },
    };
    Ok(Operand::Vector(matrix))
}

/// The result for a pair of samples; `kept` is what a comparison that holds lets through.
fn pair(operation: &BinaryOperation, left: f64, right: f64, kept: f64) -> Option<f64> {
    match apply(operation.op, left, right)? {
        Outcome::Value(value) => Some(value),
        Outcome::Holds(holds) if operation.return_bool => Some(f64::from(u8::from(holds))),
        Outcome::Holds(holds) => holds.then_some(kept),
    }
}

fn number(op: BinaryOp, left: f64, right: f64) -> f64 {
    match apply(op, left, right) {
        Some(Outcome::Value(value)) => value,
        Some(Outcome::Holds(holds)) => f64::from(u8::from(holds)),
        // The parser refuses set operators between numbers.
        None => f64::NAN,
    }
}

fn with_number(mut vector: Matrix, f: impl Fn(f64) -> Option<f64>) -> Matrix {
    for row in &mut vector.rows {
        row.map(&f);
    }
    vector.rows.retain(|row| !row.is_empty());
    vector
}

/// Numbers for the label sets by which series of both sides find each other.
struct Signatures<'a> {
    matching: Option<&'a VectorMatching>,
}

impl<'a> Signatures<'a> {
    fn new(operation: &'a BinaryOperation) -> Self {
        Self { matching: operation.matching.as_ref() }
    }

    /// One number for each row of both sides; equal numbers mean equal signatures. Returns how many there are, too.
    fn number(&self, left: &Matrix, right: &Matrix) -> (Vec<usize>, Vec<usize>, usize) {
        let mut numbers: HashMap<Labels, usize> = HashMap::new();
        let mut assign = |row: &Row| {
            let next = numbers.len();
            *numbers.entry(self.labels(&row.labels)).or_insert(next)
        };
        let left = left.rows.iter().map(&mut assign).collect();
        let right = right.rows.iter().map(&mut assign).collect();
        (left, right, numbers.len())
    }

    /// The part of a label set that must be equal.
    fn labels(&self, labels: &Labels) -> Labels {
        match self.matching {
            None => labels.clone(),
            Some(matching) if matching.on => label_sets::only(labels, &matching.labels),
            Some(matching) => label_sets::except(labels, &matching.labels),
        }
    }
}

/// `and`, or `unless` when `wanted` is false.
fn intersect(mut left: Matrix, right: &Matrix, signatures: &Signatures<'_>, steps: usize, wanted: bool) -> Matrix {
    let (left_numbers, right_numbers, count) = signatures.number(&left, right);
    for step in 0..steps {
        let present = present(right, &right_numbers, count, step);
        for (row, &number) in left.rows.iter_mut().zip(&left_numbers) {
            if row.at(step).is_some() && present[number] != wanted {
                row.values[step - row.first] = ABSENT;
            }
        }
    }
    left.rows.retain(|row| !row.is_empty());
    left
}

fn union(mut left: Matrix, mut right: Matrix, signatures: &Signatures<'_>, steps: usize) -> Matrix {
    let (left_numbers, right_numbers, count) = signatures.number(&left, &right);
    for step in 0..steps {
        let present = present(&left, &left_numbers, count, step);
        for (row, &number) in right.rows.iter_mut().zip(&right_numbers) {
            if row.at(step).is_some() && present[number] {
                row.values[step - row.first] = ABSENT;
            }
        }
    }
    left.rows.extend(right.rows.into_iter().filter(|row| !row.is_empty()));
    left
}

/// Which signatures have a sample at a step.
fn present(matrix: &Matrix, numbers: &[usize], count: usize, step: usize) -> Vec<bool> {
    let mut present = vec![false; count];
    for (row, &number) in matrix.rows.iter().zip(numbers) {
        present[number] |= row.at(step).is_some();
    }
    present
}

/// Arithmetic and comparisons between vectors.
fn match_vectors(
    operation: &BinaryOperation,
    left: &Matrix,
    right: &Matrix,
    steps: usize,
) -> Result<Matrix, MatchingError> {
    let (left_numbers, right_numbers, count) = Signatures::new(operation).number(left, right);
    let cardinality = operation.matching.as_ref().map_or(MatchCardinality::OneToOne, |matching| matching.cardinality);
    let swapped = cardinality == MatchCardinality::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let (many_numbers, one_numbers) =
        if swapped { (&right_numbers, &left_numbers) } else { (&left_numbers, &right_numbers) };
    let mut results = Results::new(operation, cardinality, many, one);
    let mut partners: Vec<Option<usize>> = vec![None; count];
    for step in 0..steps {
        partners.fill(None);
        for (row, &number) in one_numbers.iter().enumerate() {
            if one.rows[row].at(step).is_some() && partners[number].replace(row).is_some() {
                return Err(if swapped { MatchingError::DuplicateLeft } else { MatchingError::DuplicateRight });
            }
        }
        results.begin_step();
        for (row, &number) in many_numbers.iter().enumerate() {
            let Some(value) = many.rows[row].at(step) else { continue };
            let Some(partner) = partners[number] else { continue };
            // Loki finds a match ambiguous even if the comparison then drops it.
            let result = results.claim(row, partner, number)?;
            let other = one.rows[partner].values[step - one.rows[partner].first];
            let (l, r) = if swapped { (other, value) } else { (value, other) };
            if let Some(value) = pair(operation, l, r, l) {
                results.rows[result].push(step, value);
            }
        }
    }
    results.rows.retain(|row| !row.is_empty());
    Ok(Matrix { rows: results.rows })
}

/// Result series of matched pairs.
struct Results<'a> {
    operation: &'a BinaryOperation,
    cardinality: MatchCardinality,
    many: &'a Matrix,
    one: &'a Matrix,
    rows: Vec<Row>,
    by_pair: HashMap<(usize, usize), usize>,
    by_labels: HashMap<Labels, usize>,
    /// For each result row, or each signature when matching is one-to-one, the number of steps begun when it was
    /// last used.
    used: Vec<usize>,
    begun: usize,
}

impl<'a> Results<'a> {
    fn new(operation: &'a BinaryOperation, cardinality: MatchCardinality, many: &'a Matrix, one: &'a Matrix) -> Self {
        Self {
            operation,
            cardinality,
            many,
            one,
            rows: Vec::new(),
            by_pair: HashMap::new(),
            by_labels: HashMap::new(),
            used: Vec::new(),
            begun: 0,
        }
    }

    fn begin_step(&mut self) {
        self.begun += 1;
    }

    /// The result row of a pair, which must not be used twice in one step.
    fn claim(&mut self, many: usize, one: usize, signature: usize) -> Result<usize, MatchingError> {
        let result = match self.by_pair.get(&(many, one)) {
            Some(&result) => result,
            None => self.insert(many, one),
        };
        let one_to_one = self.cardinality == MatchCardinality::OneToOne;
        let key = if one_to_one { signature } else { result };
        if key >= self.used.len() {
            self.used.resize(key + 1, 0);
        }
        if std::mem::replace(&mut self.used[key], self.begun) == self.begun {
            return Err(if one_to_one { MatchingError::ManyToOne } else { MatchingError::Grouping });
        }
        Ok(result)
    }

    fn insert(&mut self, many: usize, one: usize) -> usize {
        let labels = self.labels(&self.many.rows[many].labels, &self.one.rows[one].labels);
        let next = self.rows.len();
        let result = *self.by_labels.entry(labels.clone()).or_insert(next);
        if result == next {
            self.rows.push(Row::empty(labels));
        }
        self.by_pair.insert((many, one), result);
        result
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let Some(matching) = &self.operation.matching else {
            return many.clone();
        };
        match self.cardinality {
            MatchCardinality::OneToOne if matching.on => label_sets::only(many, &matching.labels),
            MatchCardinality::OneToOne => label_sets::except(many, &matching.labels),
            MatchCardinality::ManyToOne | MatchCardinality::OneToMany => {
                let mut labels = many.clone();
                for name in &matching.include {
                    labels = label_sets::with(&labels, name, one.get(name).unwrap_or_default());
                }
                labels
            }
        }
    }
}

#[cfg(test)]
mod tests;
