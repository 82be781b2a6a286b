//! Answers: streams of entries, matrices, vectors and scalars.

use std::fmt;

use bytes::Bytes;
use loki_core::{Labels, Timestamp};

use crate::stats::Stats;

/// What a query answers with.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The answer itself.
    pub result: QueryResult,
    /// What it cost.
    pub stats: Stats,
    /// Remarks for the user.
    pub warnings: Vec<String>,
}

/// The answer of a query, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryResult {
    /// Of a log query: streams sorted by their labels.
    Streams(Vec<StreamEntries>),
    /// Of a range query over samples: series sorted by their labels.
    Matrix(Vec<Series>),
    /// Of an instant query over samples.
    Vector(Vec<Sample>),
    /// Of an instant query that is only a number.
    Scalar(Point),
}

/// Entries that share a label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntries {
    /// The labels of all entries; only the stream's own when labels were asked for by category.
    pub labels: Labels,
    /// The entries in the direction of the query.
    pub entries: Vec<ResultEntry>,
}

/// An entry after the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultEntry {
    /// When it happened.
    pub timestamp: Timestamp,
    /// The line as the pipeline left it.
    pub line: Bytes,
    /// Structured metadata; empty unless labels were asked for by category.
    pub metadata: Labels,
    /// Labels that the pipeline set; empty unless labels were asked for by category.
    pub parsed: Labels,
}

/// Points with a label set.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// The points in the order of time. Several may have one time when `label_replace` made series equal.
    pub points: Vec<Point>,
}

/// One point with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The labels.
    pub labels: Labels,
    /// The point.
    pub point: Point,
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The time; answers show it in milliseconds.
    pub timestamp: Timestamp,
    /// The value.
    pub value: f64,
}

impl QueryResult {
    /// Entries or points in the answer.
    pub fn len(&self) -> usize {
        match self {
            Self::Streams(streams) => streams.iter().map(|stream| stream.entries.len()).sum(),
            Self::Matrix(series) => series.iter().map(|series| series.points.len()).sum(),
            Self::Vector(samples) => samples.len(),
            Self::Scalar(_) => 1,
        }
    }

    /// About the memory that the answer takes.
    pub fn size_bytes(&self) -> usize {
        let labels = |labels: &Labels| size_of::<Labels>() + labels.as_bytes().len();
        let entry = |entry: &ResultEntry| {
            let sets = entry.metadata.as_bytes().len() + entry.parsed.as_bytes().len();
            size_of::<ResultEntry>() + entry.line.len() + sets
        };
        match self {
            Self::Streams(streams) => {
                let of_stream =
                    |stream: &StreamEntries| labels(&stream.labels) + stream.entries.iter().map(entry).sum::<usize>();
                streams.iter().map(of_stream).sum()
            }
            Self::Matrix(series) => {
                let points = |series: &Series| size_of_val(series.points.as_slice());
                series.iter().map(|series| labels(&series.labels) + points(series)).sum()
            }
            Self::Vector(samples) => samples.iter().map(|sample| labels(&sample.labels) + size_of::<Point>()).sum(),
            Self::Scalar(_) => size_of::<Point>(),
        }
    }

    /// Whether there is nothing in the answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes a sample value as Loki does: the shortest decimal that reads back, never with an exponent.
#[derive(Clone, Copy, Debug)]
pub struct SampleValue(pub f64);

impl fmt::Display for SampleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == f64::INFINITY {
            f.write_str("+Inf")
        } else if self.0 == f64::NEG_INFINITY {
            f.write_str("-Inf")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_without_exponents() {
        let texts = [
            (1e21, "1000000000000000000000"),
            (1e-7, "0.0000001"),
            (0.1 + 0.2, "0.30000000000000004"),
            (3.0, "3"),
            (-0.0, "-0"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in texts {
            assert_eq!(SampleValue(value).to_string(), text);
        }
    }
}
