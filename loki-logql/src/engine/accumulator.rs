//! The samples of one series, kept in the form that its range function needs.

use loki_core::Labels;

use super::cells::Cells;
use super::fold::{First, Fold, Last, Max, Mean, Min, Sample, Sum, Tally, Variance};
use super::matrix::Row;
use super::samples;
use super::windows::Windows;
use crate::ast::{RangeAggregation, RangeOp};

/// What a range aggregation calculates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    /// Number of entries.
    Count,
    /// Number of entries a second.
    Rate,
    /// Bytes of lines.
    Bytes,
    /// Bytes of lines a second.
    BytesRate,
    /// Sum of values.
    Sum,
    /// Sum of values a second: `rate` of unwrapped values.
    SumRate,
    /// Mean of values.
    Mean,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Population variance.
    Variance,
    /// Population standard deviation.
    Deviation,
    /// Earliest value.
    First,
    /// Latest value.
    Last,
    /// Quantile.
    Quantile(f64),
    /// Increase a second of a counter with resets.
    CounterRate,
    /// 1 where there is no entry.
    Absent,
}

impl Function {
    /// The function of an aggregation.
    pub(crate) fn of(aggregation: &RangeAggregation) -> Self {
        let unwrapped = aggregation.range.unwrap.is_some();
        match aggregation.op {
            RangeOp::Rate if unwrapped => Self::SumRate,
            RangeOp::Rate => Self::Rate,
            RangeOp::RateCounter => Self::CounterRate,
            RangeOp::CountOverTime => Self::Count,
            RangeOp::BytesRate => Self::BytesRate,
            RangeOp::BytesOverTime => Self::Bytes,
            RangeOp::AvgOverTime => Self::Mean,
            RangeOp::SumOverTime => Self::Sum,
            RangeOp::MinOverTime => Self::Min,
            RangeOp::MaxOverTime => Self::Max,
            RangeOp::StdvarOverTime => Self::Variance,
            RangeOp::StddevOverTime => Self::Deviation,
            RangeOp::QuantileOverTime => Self::Quantile(aggregation.parameter.unwrap_or_default()),
            RangeOp::FirstOverTime => Self::First,
            RangeOp::LastOverTime => Self::Last,
            RangeOp::AbsentOverTime => Self::Absent,
        }
    }

    /// Whether the function looks at nothing but how many entries there are and how long their lines are.
    pub(crate) fn is_tally(self) -> bool {
        matches!(self, Self::Count | Self::Rate | Self::Bytes | Self::BytesRate | Self::Absent)
    }

    /// Whether the function looks at the length of lines.
    pub(crate) fn needs_bytes(self) -> bool {
        matches!(self, Self::Bytes | Self::BytesRate)
    }
}

/// What is remembered of one series.
#[derive(Clone, Debug)]
pub(crate) enum Accumulator {
    Tally(Cells<Tally>),
    Sum(Cells<Sum>),
    Min(Cells<Min>),
    Max(Cells<Max>),
    Mean(Cells<Mean>),
    Variance(Cells<Variance>),
    First(Cells<First>),
    Last(Cells<Last>),
    Samples(Vec<Sample>),
}

impl Accumulator {
    /// Nothing remembered yet.
    pub(crate) fn new(function: Function) -> Self {
        match function {
            Function::Count | Function::Rate | Function::Bytes | Function::BytesRate | Function::Absent => {
                Self::Tally(Cells::default())
            }
            Function::Sum | Function::SumRate => Self::Sum(Cells::default()),
            Function::Mean => Self::Mean(Cells::default()),
            Function::Min => Self::Min(Cells::default()),
            Function::Max => Self::Max(Cells::default()),
            Function::Variance | Function::Deviation => Self::Variance(Cells::default()),
            Function::First => Self::First(Cells::default()),
            Function::Last => Self::Last(Cells::default()),
            Function::Quantile(_) | Function::CounterRate => Self::Samples(Vec::new()),
        }
    }

    /// Adds entries to a cell.
    ///
    /// # Panics
    ///
    /// When the function is not a tally.
    pub(crate) fn add_tally(&mut self, cell: usize, tally: Tally) {
        let Self::Tally(cells) = self else {
            panic!("only tallies take entries without values");
        };
        cells.cell(cell).merge(&tally);
    }

    /// Adds a value to a cell.
    pub(crate) fn add(&mut self, cell: usize, sample: &Sample) {
        match self {
            Self::Tally(cells) => cells.cell(cell).add(sample),
            Self::Sum(cells) => cells.cell(cell).add(sample),
            Self::Min(cells) => cells.cell(cell).add(sample),
            Self::Max(cells) => cells.cell(cell).add(sample),
            Self::Mean(cells) => cells.cell(cell).add(sample),
            Self::Variance(cells) => cells.cell(cell).add(sample),
            Self::First(cells) => cells.cell(cell).add(sample),
            Self::Last(cells) => cells.cell(cell).add(sample),
            Self::Samples(samples) => samples.push(*sample),
        }
    }

    /// Takes in what another worker remembered of the same series.
    ///
    /// # Panics
    ///
    /// When the other one belongs to another function.
    pub(crate) fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Tally(mine), Self::Tally(theirs)) => mine.merge(&theirs),
            (Self::Sum(mine), Self::Sum(theirs)) => mine.merge(&theirs),
            (Self::Min(mine), Self::Min(theirs)) => mine.merge(&theirs),
            (Self::Max(mine), Self::Max(theirs)) => mine.merge(&theirs),
            (Self::Mean(mine), Self::Mean(theirs)) => mine.merge(&theirs),
            (Self::Variance(mine), Self::Variance(theirs)) => mine.merge(&theirs),
            (Self::First(mine), Self::First(theirs)) => mine.merge(&theirs),
            (Self::Last(mine), Self::Last(theirs)) => mine.merge(&theirs),
            (Self::Samples(mine), Self::Samples(theirs)) => mine.extend(theirs),
            _ => panic!("accumulators of one query belong to one function"),
        }
    }

    /// The memory in use.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Tally(cells) => cells.size_bytes(),
            Self::Sum(cells) => cells.size_bytes(),
            Self::Min(cells) => cells.size_bytes(),
            Self::Max(cells) => cells.size_bytes(),
            Self::Mean(cells) => cells.size_bytes(),
            Self::Variance(cells) => cells.size_bytes(),
            Self::First(cells) => cells.size_bytes(),
            Self::Last(cells) => cells.size_bytes(),
            Self::Samples(samples) => samples.capacity() * size_of::<Sample>(),
        }
    }

    /// The values of the function at all steps.
    pub(crate) fn finish(self, function: Function, windows: &Windows, labels: Labels) -> Row {
        let seconds = windows.rate_nanos() as f64 / 1e9;
        let mut row = Row::empty(labels);
        match self {
            Self::Tally(cells) => cells.for_each_window(windows, |step, tally| {
                if tally.entries > 0 {
                    row.push(step, tally_value(function, tally, seconds));
                }
            }),
            Self::Sum(cells) => cells.for_each_window(windows, |step, sum| {
                if sum.samples > 0 {
                    let divisor = if function == Function::SumRate { seconds } else { 1.0 };
                    row.push(step, sum.sum / divisor);
                }
            }),
            Self::Min(cells) => push_all(&mut row, windows, &cells, |min| min.0),
            Self::Max(cells) => push_all(&mut row, windows, &cells, |max| max.0),
            Self::Mean(cells) => push_all(&mut row, windows, &cells, |mean| (mean.samples > 0).then_some(mean.mean)),
            Self::Variance(cells) => push_all(&mut row, windows, &cells, |variance| {
                let value = variance.variance();
                let value = if function == Function::Deviation { value.sqrt() } else { value };
                (variance.samples > 0).then_some(value)
            }),
            Self::First(cells) => push_all(&mut row, windows, &cells, |first| first.0.map(|sample| sample.value)),
            Self::Last(cells) => push_all(&mut row, windows, &cells, |last| last.0.map(|sample| sample.value)),
            Self::Samples(mut samples) => finish_samples(&mut samples, function, windows, &mut row),
        }
        row
    }
}

fn tally_value(function: Function, tally: &Tally, seconds: f64) -> f64 {
    match function {
        Function::Rate => tally.entries as f64 / seconds,
        Function::Bytes => tally.bytes as f64,
        Function::BytesRate => tally.bytes as f64 / seconds,
        _ => tally.entries as f64,
    }
}

fn push_all<F: Fold>(row: &mut Row, windows: &Windows, cells: &Cells<F>, value: impl Fn(&F) -> Option<f64>) {
    cells.for_each_window(windows, |step, summary| {
        if let Some(value) = value(summary) {
            row.push(step, value);
        }
    });
}

fn finish_samples(samples: &mut [Sample], function: Function, windows: &Windows, row: &mut Row) {
    let mut values = Vec::new();
    samples::for_each_window(samples, windows, |step, window| {
        let value = if let Function::Quantile(q) = function {
            values.clear();
            values.extend(window.iter().map(|sample| sample.value));
            samples::quantile(&mut values, q)
        } else {
            samples::counter_rate(window, windows.rate_nanos())
        };
        row.push(step, value);
    });
}
