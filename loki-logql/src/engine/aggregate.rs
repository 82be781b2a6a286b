//! Vector aggregations: `sum by (a)`, `topk`, `sort` and the others.

use std::cmp::Ordering;
use std::collections::HashMap;

use loki_core::Labels;

use super::fold::{Arrival, Fold, Max, Mean, Min, Sample, Sum, Variance};
use super::label_sets;
use super::matrix::{ABSENT, Matrix, Row};
use crate::ast::{Grouping, VectorOp};

/// Aggregates a matrix step by step.
///
/// `parameter` is the number of series that `topk` and `bottomk` keep.
pub(crate) fn aggregate(
    matrix: Matrix,
    op: VectorOp,
    parameter: Option<u64>,
    grouping: Option<&Grouping>,
    steps: usize,
) -> Matrix {
    let keep = parameter.map_or(usize::MAX, |k| usize::try_from(k).unwrap_or(usize::MAX));
    match op {
        VectorOp::Sum => fold(&matrix, grouping, steps, |sum: &Sum| sum.sum),
        VectorOp::Avg => fold(&matrix, grouping, steps, |mean: &Mean| mean.mean),
        VectorOp::Min => fold(&matrix, grouping, steps, |min: &Min| min.0.unwrap_or(ABSENT)),
        VectorOp::Max => fold(&matrix, grouping, steps, |max: &Max| max.0.unwrap_or(ABSENT)),
        VectorOp::Count => fold(&matrix, grouping, steps, |sum: &Sum| sum.samples as f64),
        VectorOp::Stdvar => fold(&matrix, grouping, steps, Variance::variance),
        VectorOp::Stddev => fold(&matrix, grouping, steps, |v: &Variance| v.variance().sqrt()),
        VectorOp::Topk | VectorOp::ApproxTopk => select(matrix, grouping, steps, keep, descending),
        VectorOp::Bottomk => select(matrix, grouping, steps, keep, ascending),
        VectorOp::Sort => sort(matrix, ascending),
        VectorOp::SortDesc => sort(matrix, descending),
    }
}

/// Rows of one group.
struct Group {
    labels: Labels,
    rows: Vec<usize>,
}

fn fold<F: Fold>(matrix: &Matrix, grouping: Option<&Grouping>, steps: usize, value: impl Fn(&F) -> f64) -> Matrix {
    let mut states: Vec<Option<F>> = Vec::new();
    let rows = groups(matrix, grouping).into_iter().map(|group| {
        states.clear();
        states.resize(steps, None);
        for (step, value) in group.rows.iter().flat_map(|&row| matrix.rows[row].samples()) {
            let sample = Sample { timestamp: 0, arrival: Arrival::default(), value };
            states[step].get_or_insert_default().add(&sample);
        }
        let mut row = Row::empty(group.labels);
        for (step, state) in states.iter().enumerate() {
            if let Some(state) = state {
                row.push(step, value(state));
            }
        }
        row
    });
    Matrix { rows: rows.collect() }
}

/// Keeps the samples that come first in each group at each step, with all their labels.
fn select(
    mut matrix: Matrix,
    grouping: Option<&Grouping>,
    steps: usize,
    keep: usize,
    order: fn(f64, f64) -> Ordering,
) -> Matrix {
    let mut ranked: Vec<(f64, usize)> = Vec::new();
    for group in groups(&matrix, grouping) {
        if group.rows.len() <= keep {
            continue;
        }
        for step in 0..steps {
            ranked.clear();
            ranked.extend(group.rows.iter().filter_map(|&row| Some((matrix.rows[row].at(step)?, row))));
            if ranked.len() <= keep {
                continue;
            }
            let labels = |row: usize| &matrix.rows[row].labels;
            let rank = |a: &(f64, usize), b: &(f64, usize)| {
                order(a.0, b.0).then_with(|| labels(a.1).cmp(labels(b.1))).then(a.1.cmp(&b.1))
            };
            ranked.select_nth_unstable_by(keep, rank);
            for &(_, row) in &ranked[keep..] {
                let row = &mut matrix.rows[row];
                row.values[step - row.first] = ABSENT;
            }
        }
    }
    matrix.rows.retain(|row| !row.is_empty());
    matrix
}

/// Orders the series of an instant query; range queries are ordered by labels in the end.
fn sort(mut matrix: Matrix, order: fn(f64, f64) -> Ordering) -> Matrix {
    let value = |row: &Row| row.at(0).unwrap_or(f64::NAN);
    matrix.rows.sort_by(|a, b| order(value(a), value(b)).then_with(|| a.labels.cmp(&b.labels)));
    matrix
}

fn groups(matrix: &Matrix, grouping: Option<&Grouping>) -> Vec<Group> {
    let mut numbers: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (number, row) in matrix.rows.iter().enumerate() {
        let labels = label_sets::group(&row.labels, grouping);
        let group = *numbers.entry(labels).or_insert_with_key(|labels| {
            groups.push(Group { labels: labels.clone(), rows: Vec::new() });
            groups.len() - 1
        });
        groups[group].rows.push(number);
    }
    groups
}

fn ascending(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    fn matrix(rows: &[(&str, &[f64])]) -> Matrix {
        let row = |(labels, values): &(&str, &[f64])| Row {
            labels: Labels::parse(labels).expect("valid labels"),
            first: 0,
            values: values.to_vec(),
        };
        Matrix { rows: rows.iter().map(row).collect() }
    }

    fn by(name: &str) -> Grouping {
        Grouping { without: false, labels: vec![name.to_owned()] }
    }

    fn show(matrix: &Matrix, steps: usize) -> Vec<String> {
        let value = |row: &Row, step| row.at(step).map_or("-".to_owned(), |value| value.to_string());
        let line = |row: &Row| {
            let values: Vec<String> = (0..steps).map(|step| value(row, step)).collect();
            format!("{} {}", row.labels, values.join(" "))
        };
        matrix.rows.iter().map(line).collect()
    }

    #[test]
    fn groups_are_formed_per_step() {
        let input = matrix(&[
            (r#"{a="x", b="1"}"#, &[1.0, 2.0]),
            (r#"{a="x", b="2"}"#, &[10.0, ABSENT]),
            (r#"{b="3"}"#, &[ABSENT, 5.0]),
        ]);
        let sum = aggregate(input.clone(), VectorOp::Sum, None, Some(&by("a")), 2);
        assert_eq!(show(&sum, 2), [r#"{a="x"} 11 2"#, "{} - 5"]);
        let count = aggregate(input, VectorOp::Count, None, None, 2);
        assert_eq!(show(&count, 2), ["{} 2 2"]);
    }

    #[test]
    fn topk_keeps_labels_and_ranks_nan_last() {
        let input = matrix(&[(r#"{a="1"}"#, &[NAN, 1.0]), (r#"{a="2"}"#, &[3.0, 2.0]), (r#"{a="3"}"#, &[4.0, 3.0])]);
        let top = aggregate(input.clone(), VectorOp::Topk, Some(2), None, 2);
        assert_eq!(show(&top, 2), [r#"{a="2"} 3 2"#, r#"{a="3"} 4 3"#]);
        let bottom = aggregate(input, VectorOp::Bottomk, Some(1), None, 2);
        assert_eq!(show(&bottom, 2), [r#"{a="1"} - 1"#, r#"{a="2"} 3 -"#]);
    }

    #[test]
    fn sorting_puts_nan_last_in_both_directions() {
        let input = matrix(&[(r#"{a="1"}"#, &[NAN]), (r#"{a="2"}"#, &[3.0]), (r#"{a="3"}"#, &[4.0])]);
        let up = aggregate(input.clone(), VectorOp::Sort, None, None, 1);
        assert_eq!(show(&up, 1), [r#"{a="2"} 3"#, r#"{a="3"} 4"#, r#"{a="1"} NaN"#]);
        let down = aggregate(input, VectorOp::SortDesc, None, None, 1);
        assert_eq!(show(&down, 1), [r#"{a="3"} 4"#, r#"{a="2"} 3"#, r#"{a="1"} NaN"#]);
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        assert!(aggregate(Matrix::default(), VectorOp::Sum, None, None, 3).rows.is_empty());
    }
}
