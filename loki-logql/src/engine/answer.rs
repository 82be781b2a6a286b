//! From matrices to answers: joining, ordering, counting.

use loki_core::Labels;

use super::binary::Operand;
use super::error::Error;
use super::limits::{LimitError, QueryLimits};
use super::matrix::{Matrix, Row};
use super::steps::Steps;
use crate::result::{Point, QueryResult, Sample, Series};

/// The answer of a range query: a series for each label set, in the order of labels.
pub(crate) fn of_range(
    operand: Operand,
    steps: &Steps,
    limits: &QueryLimits,
    warnings: &mut Vec<String>,
) -> Result<QueryResult, Error> {
    let mut rows = rows(operand, steps);
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut series: Vec<Series> = Vec::with_capacity(rows.len());
    for row in rows {
        let points = row.samples().map(|(step, value)| Point { timestamp: steps.at(step), value });
        match series.last_mut().filter(|last| last.labels == row.labels) {
            // `label_replace` can make series equal; all their points stay.
            Some(last) => last.points.extend(points),
            None => series.push(Series { points: points.collect(), labels: row.labels }),
        }
    }
    for series in &mut series {
        series.points.sort_by_key(|point| point.timestamp);
    }
    limit_series(&mut series, limits, warnings)?;
    Ok(QueryResult::Matrix(series))
}

/// The answer of an instant query: in the order of labels unless the query sorts.
pub(crate) fn of_instant(
    operand: Operand,
    steps: &Steps,
    sorted: bool,
    limits: &QueryLimits,
    warnings: &mut Vec<String>,
) -> Result<QueryResult, Error> {
    let timestamp = steps.at(0);
    if let Operand::Scalar(value) = operand {
        return Ok(QueryResult::Scalar(Point { timestamp, value }));
    }
    let samples = rows(operand, steps).into_iter().filter_map(|row| {
        let value = row.at(0)?;
        Some(Sample { labels: row.labels, point: Point { timestamp, value } })
    });
    let mut samples: Vec<Sample> = samples.collect();
    if !sorted {
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    limit_series(&mut samples, limits, warnings)?;
    Ok(QueryResult::Vector(samples))
}

fn rows(operand: Operand, steps: &Steps) -> Vec<Row> {
    let matrix = match operand {
        Operand::Vector(matrix) => matrix,
        Operand::Scalar(number) => Matrix { rows: vec![Row::constant(Labels::EMPTY, number, steps.count())] },
    };
    let mut rows = matrix.rows;
    rows.retain(|row| !row.is_empty());
    rows
}

fn limit_series<T>(series: &mut Vec<T>, limits: &QueryLimits, warnings: &mut Vec<String>) -> Result<(), Error> {
    let limit = limits.max_series;
    if series.len() <= limit {
        return Ok(());
    }
    if !limits.partial_on_max_series {
        return Err(LimitError::Series { limit }.into());
    }
    series.truncate(limit);
    warnings.push(format!("maximum number of series ({limit}) reached for a single query; returning partial results"));
    Ok(())
}
