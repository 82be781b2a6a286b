//! LogQL evaluated without any cleverness: every entry, at every step, from scratch.
//!
//! Understands only what [`queries`](super::queries) generates.

use std::collections::BTreeMap;

use loki_core::{Direction, Labels, Timestamp};
use loki_logql::ast::{
    BinaryOp, BinaryOperation, CompareOp, Expr, Grouping, LabelFilter, LabelItem, LineFilter, LineFilterArgument,
    LineFilterOp, LogExpr, LogRange, MetricExpr, RangeAggregation, RangeOp, Stage, VectorAggregation, VectorOp,
};
use loki_logql::result::{Sample, Series};

use super::entries::StoredEntry;
use super::queries::{LogCase, MetricCase};

type LabelMap = BTreeMap<String, String>;

/// Series with their value at one step.
type Vector = Vec<(LabelMap, f64)>;

/// Series with their values.
pub(crate) type Matrix = BTreeMap<LabelMap, Vec<(i64, f64)>>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NaiveError {
    /// An entry with an error was counted.
    Pipeline,
    /// An operator turns a difference in rounding into any other, so that there is not one right answer.
    Undecided,
}

/// An expression over entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evaluation<'a> {
    pub(crate) entries: &'a [StoredEntry],
    pub(crate) expr: &'a Expr,
}

/// An entry behind a pipeline.
struct Processed {
    labels: LabelMap,
    line: String,
    timestamp: i64,
    arrival: usize,
    value: f64,
    error: bool,
}

impl Evaluation<'_> {
    pub(crate) fn range(&self, steps: &[Timestamp]) -> Result<Matrix, NaiveError> {
        let Expr::Metric(expr) = self.expr else { panic!("not a metric query") };
        let mut matrix = Matrix::new();
        for step in steps {
            for (labels, value) in self.metric(expr, step.0)? {
                matrix.entry(labels).or_default().push((step.0, value));
            }
        }
        Ok(matrix)
    }

    /// Log results as text: labels, time and line of every entry, stream after stream.
    pub(crate) fn log(&self, case: &LogCase) -> Vec<String> {
        let Expr::Log(log) = self.expr else { panic!("not a log query") };
        let mut found: Vec<_> = self
            .selected(log)
            .filter(|(_, e)| case.start.0 <= e.timestamp && e.timestamp < case.end.0)
            .filter_map(|(arrival, entry)| Some((entry, process(log, entry, arrival)?)))
            .collect();
        found.sort_by_key(|(entry, processed)| (processed.timestamp, entry.labels.hash64(), processed.arrival));
        if case.direction == Direction::Backward {
            found.reverse();
        }
        found.truncate(case.limit as usize);
        let mut last: Option<i64> = None;
        let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, entry) in found {
            if last.is_some_and(|last| (entry.timestamp - last).abs() < case.interval_nanos) {
                continue;
            }
            last = Some(entry.timestamp);
            let labels = text(&entry.labels);
            let line = format!("{labels} {} {}", entry.timestamp, entry.line);
            streams.entry(labels).or_default().push(line);
        }
        streams.into_values().flatten().collect()
    }

    fn selected<'s>(&'s self, log: &'s LogExpr) -> impl Iterator<Item = (usize, &'s StoredEntry)> {
        let matches = |entry: &StoredEntry| {
            log.matchers.iter().all(|matcher| matcher.matches(entry.labels.get(matcher.name()).unwrap_or_default()))
        };
        self.entries.iter().enumerate().filter(move |(_, entry)| matches(entry))
    }

    fn metric(&self, expr: &MetricExpr, at: i64) -> Result<Vector, NaiveError> {
        match expr {
            MetricExpr::Range(aggregation) => self.range_aggregation(aggregation, at),
            MetricExpr::Vector(aggregation) => vector_aggregation(aggregation, self.metric(&aggregation.inner, at)?),
            MetricExpr::Binary(operation) => self.binary(operation, at),
            other => panic!("{other:?} is not generated"),
        }
    }

    fn range_aggregation(&self, aggregation: &RangeAggregation, at: i64) -> Result<Vector, NaiveError> {
        let range = &aggregation.range;
        if aggregation.op == RangeOp::AvgOverTime
            && let Some(grouping) = &aggregation.grouping
        {
            return self.grouped_mean(range, grouping, at);
        }
        let entries = self.window(range, at, true);
        if entries.iter().any(|entry| entry.error) {
            return Err(NaiveError::Pipeline);
        }
        if aggregation.op == RangeOp::AbsentOverTime {
            let pinned = range.log.matchers.iter().filter(|matcher| matcher.op() == loki_core::MatchOp::Equal);
            let labels = pinned.map(|matcher| (matcher.name().to_owned(), matcher.value().to_owned())).collect();
            return Ok(if entries.is_empty() { vec![(labels, 1.0)] } else { Vec::new() });
        }
        let groups = grouped(entries, aggregation.grouping.as_ref(), range);
        let seconds = range.range_nanos as f64 / 1e9;
        let value = |mut samples: Vec<Processed>| {
            samples.sort_by_key(|sample| (sample.timestamp, sample.arrival));
            range_value(aggregation, &samples, seconds)
        };
        Ok(groups.into_iter().map(|(labels, samples)| (labels, value(samples))).collect())
    }

    /// The mean of groups counts lines without values, too.
    fn grouped_mean(&self, range: &LogRange, grouping: &Grouping, at: i64) -> Result<Vector, NaiveError> {
        let values = self.window(range, at, true);
        let lines = self.window(range, at, false);
        if values.iter().chain(&lines).any(|entry| entry.error) {
            return Err(NaiveError::Pipeline);
        }
        let counts = grouped(lines, Some(grouping), range);
        let sums = grouped(values, Some(grouping), range).into_iter();
        Ok(sums
            .map(|(labels, samples)| {
                let sum: f64 = samples.iter().map(|sample| sample.value).sum();
                let count = counts[&labels].len() as f64;
                (labels, sum / count)
            })
            .collect())
    }

    /// Entries that count at a step.
    fn window(&self, range: &LogRange, at: i64, unwrap: bool) -> Vec<Processed> {
        let until = at - range.offset_nanos;
        let after = until - range.range_nanos;
        let inside = |entry: &StoredEntry| after < entry.timestamp && entry.timestamp <= until;
        self.selected(&range.log)
            .filter(|(_, entry)| inside(entry))
            .filter_map(|(arrival, entry)| process(&range.log, entry, arrival))
            .filter_map(|entry| if unwrap { unwrapped(range, entry) } else { Some(entry) })
            .collect()
    }

    fn binary(&self, operation: &BinaryOperation, at: i64) -> Result<Vector, NaiveError> {
        let left = self.metric(&operation.left, at)?;
        if let MetricExpr::Literal(number) = operation.right {
            let pairs = left.into_iter().map(|(labels, value)| (labels, value, number));
            return paired(operation, pairs.collect());
        }
        let right = self.metric(&operation.right, at)?;
        // Both sides are grouped by the labels that match, so that partners have equal labels.
        let partner =
            |labels: &LabelMap, side: &Vector| side.iter().find(|(other, _)| other == labels).map(|(_, v)| *v);
        Ok(match operation.op {
            BinaryOp::And => left.into_iter().filter(|(labels, _)| partner(labels, &right).is_some()).collect(),
            BinaryOp::Unless => left.into_iter().filter(|(labels, _)| partner(labels, &right).is_none()).collect(),
            BinaryOp::Or => {
                let new = right.into_iter().filter(|(labels, _)| partner(labels, &left).is_none());
                let new: Vector = new.collect();
                left.into_iter().chain(new).collect()
            }
            _ => {
                let pairs = left.into_iter().filter_map(|(labels, value)| {
                    let other = partner(&labels, &right)?;
                    Some((labels, value, other))
                });
                return paired(operation, pairs.collect());
            }
        })
    }
}

fn process(log: &LogExpr, entry: &StoredEntry, arrival: usize) -> Option<Processed> {
    let mut labels: LabelMap = owned(&entry.labels);
    for (name, value) in owned(&entry.metadata) {
        let name = if entry.labels.get(&name).is_some() { format!("{name}_extracted") } else { name };
        labels.insert(name, value);
    }
    let stored = labels.clone();
    for stage in &log.stages {
        match stage {
            Stage::LineFilter(filter) => passes(filter, &entry.line).then_some(())?,
            Stage::Logfmt(_) => {
                for (name, value) in entry.line.split(' ').filter_map(|word| word.split_once('=')) {
                    let taken = stored.contains_key(name);
                    let name = if taken { format!("{name}_extracted") } else { name.to_owned() };
                    labels.entry(name).or_insert_with(|| value.to_owned());
                }
            }
            Stage::LabelFilter(LabelFilter::String(matcher)) => {
                let value = labels.get(matcher.name()).map_or("", String::as_str);
                matcher.matches(value).then_some(())?;
            }
            Stage::Drop(items) => {
                for item in items {
                    let LabelItem::Name(name) = item else { panic!("not generated") };
                    labels.remove(name);
                }
            }
            other => panic!("{other:?} is not generated"),
        }
    }
    let (line, timestamp) = (entry.line.clone(), entry.timestamp);
    Some(Processed { labels, line, timestamp, arrival, value: 0.0, error: false })
}

fn passes(filter: &LineFilter, line: &str) -> bool {
    let contains = filter.alternatives.iter().any(|alternative| {
        let LineFilterArgument::Text(bytes) = alternative else { panic!("not generated") };
        line.contains(std::str::from_utf8(bytes).expect("text"))
    });
    contains == (filter.op == LineFilterOp::Contains)
}

fn unwrapped(range: &LogRange, mut entry: Processed) -> Option<Processed> {
    let Some(unwrap) = &range.unwrap else { return Some(entry) };
    let text = entry.labels.get(&unwrap.label)?.clone();
    match text.parse() {
        Ok(value) => entry.value = value,
        Err(_) => entry.error = true,
    }
    for filter in &unwrap.filters {
        match filter {
            LabelFilter::Number { value, .. } => (entry.value > *value).then_some(())?,
            LabelFilter::String(_) => (!entry.error).then_some(())?,
            other => panic!("{other:?} is not generated"),
        }
    }
    Some(entry)
}

fn grouped(
    entries: Vec<Processed>,
    grouping: Option<&Grouping>,
    range: &LogRange,
) -> BTreeMap<LabelMap, Vec<Processed>> {
    let mut groups: BTreeMap<LabelMap, Vec<Processed>> = BTreeMap::new();
    for entry in entries {
        let mut labels = group(&entry.labels, grouping);
        if let Some(unwrap) = &range.unwrap
            && grouping.is_none_or(|grouping| grouping.without)
        {
            labels.remove(&unwrap.label);
        }
        groups.entry(labels).or_default().push(entry);
    }
    groups
}

/// Labels of a group; without grouping, each label set is one.
fn group(labels: &LabelMap, grouping: Option<&Grouping>) -> LabelMap {
    let Some(grouping) = grouping else { return labels.clone() };
    let kept = labels.iter().filter(|(name, _)| grouping.labels.contains(name) != grouping.without);
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn range_value(aggregation: &RangeAggregation, samples: &[Processed], seconds: f64) -> f64 {
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let count = samples.len() as f64;
    let bytes = samples.iter().map(|sample| sample.line.len()).sum::<usize>() as f64;
    let sum: f64 = values.iter().sum();
    match aggregation.op {
        RangeOp::CountOverTime => count,
        RangeOp::Rate if aggregation.range.unwrap.is_some() => sum / seconds,
        RangeOp::Rate => count / seconds,
        RangeOp::BytesOverTime => bytes,
        RangeOp::BytesRate => bytes / seconds,
        RangeOp::SumOverTime => sum,
        RangeOp::AvgOverTime => sum / count,
        RangeOp::MinOverTime => values.iter().copied().fold(f64::NAN, f64::min),
        RangeOp::MaxOverTime => values.iter().copied().fold(f64::NAN, f64::max),
        RangeOp::StdvarOverTime => variance(&values),
        RangeOp::StddevOverTime => variance(&values).sqrt(),
        RangeOp::FirstOverTime => values[0],
        RangeOp::LastOverTime => values[values.len() - 1],
        RangeOp::QuantileOverTime => quantile(values, aggregation.parameter.expect("a quantile")),
        RangeOp::RateCounter => rate_counter(samples, seconds),
        RangeOp::AbsentOverTime => unreachable!("has no samples"),
    }
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let weight = rank - rank.floor();
    // Written as Prometheus does, for a comparison that follows sees the last bit.
    values[low] * (1.0 - weight) + values[high] * weight
}

fn rate_counter(samples: &[Processed], seconds: f64) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    let resets = samples.windows(2).filter(|pair| pair[1].value < pair[0].value);
    let increase = last.value - first.value + resets.map(|pair| pair[0].value).sum::<f64>();
    let covered = (last.timestamp - first.timestamp) as f64 / 1000.0;
    let spacing = covered / (samples.len() - 1) as f64;
    let to_zero = covered * (first.value / increase);
    let before = if increase > 0.0 && first.value >= 0.0 && to_zero < seconds { to_zero } else { seconds };
    let extension = if before < spacing * 1.1 { before } else { spacing / 2.0 };
    increase / seconds * (covered + extension) / covered
}

fn vector_aggregation(aggregation: &VectorAggregation, inner: Vector) -> Result<Vector, NaiveError> {
    let all = Grouping { without: false, labels: Vec::new() };
    let grouping = aggregation.grouping.as_ref().unwrap_or(&all);
    let mut groups: BTreeMap<LabelMap, Vector> = BTreeMap::new();
    for (labels, value) in inner {
        groups.entry(group(&labels, Some(grouping))).or_default().push((labels, value));
    }
    let mut result = Vec::new();
    for (labels, members) in groups {
        let values: Vec<f64> = members.iter().map(|(_, value)| *value).collect();
        let sum: f64 = values.iter().sum();
        let value = match aggregation.op {
            VectorOp::Sum => sum,
            VectorOp::Avg => sum / values.len() as f64,
            VectorOp::Min => values.iter().copied().fold(f64::NAN, f64::min),
            VectorOp::Max => values.iter().copied().fold(f64::NAN, f64::max),
            VectorOp::Count => values.len() as f64,
            VectorOp::Stdvar => variance(&values),
            VectorOp::Stddev => variance(&values).sqrt(),
            VectorOp::Topk | VectorOp::Bottomk => {
                result.extend(ranked(aggregation, members)?);
                continue;
            }
            other => panic!("{other:?} is not generated"),
        };
        result.push((labels, value));
    }
    Ok(result)
}

/// The first series by value, NaN last; ties go by labels.
fn ranked(aggregation: &VectorAggregation, mut members: Vector) -> Result<Vector, NaiveError> {
    let sign = if aggregation.op == VectorOp::Topk { -1.0 } else { 1.0 };
    members.sort_by(|a, b| {
        let by_value = (sign * a.1).partial_cmp(&(sign * b.1)).unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan()));
        by_value.then_with(|| a.0.cmp(&b.0))
    });
    let count = aggregation.parameter.expect("a count") as usize;
    if let (Some(last), Some(next)) = (members.get(count - 1), members.get(count))
        && close(last.1, next.1)
        && !is_exact(&aggregation.inner)
    {
        return Err(NaiveError::Undecided);
    }
    members.truncate(count);
    Ok(members)
}

fn paired(operation: &BinaryOperation, pairs: Vec<(LabelMap, f64, f64)>) -> Result<Vector, NaiveError> {
    let exact = is_exact(&operation.left) && is_exact(&operation.right);
    if !exact && pairs.iter().any(|&(_, left, right)| is_at_a_jump(operation.op, left, right)) {
        return Err(NaiveError::Undecided);
    }
    let results = pairs.into_iter().map(|(labels, left, right)| Some((labels, pair(operation, left, right)?)));
    Ok(results.flatten().collect())
}

/// Whether all values are as they were stored, or whole numbers that were counted: the same however they are found.
fn is_exact(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Literal(_) => true,
        MetricExpr::Range(aggregation) => {
            is_counted(expr)
                || matches!(
                    aggregation.op,
                    RangeOp::MinOverTime | RangeOp::MaxOverTime | RangeOp::FirstOverTime | RangeOp::LastOverTime
                )
        }
        MetricExpr::Vector(aggregation) => match aggregation.op {
            VectorOp::Count => true,
            VectorOp::Sum => is_counted(&aggregation.inner),
            VectorOp::Min | VectorOp::Max | VectorOp::Topk | VectorOp::Bottomk => is_exact(&aggregation.inner),
            _ => false,
        },
        _ => false,
    }
}

fn is_counted(expr: &MetricExpr) -> bool {
    let MetricExpr::Range(aggregation) = expr else { return false };
    matches!(aggregation.op, RangeOp::CountOverTime | RangeOp::BytesOverTime | RangeOp::AbsentOverTime)
}

/// Whether a tiny change of an operand may change the result by more.
fn is_at_a_jump(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Compare(_) => close(left, right),
        BinaryOp::Div => close(right, 0.0),
        BinaryOp::Mod => close(right, 0.0) || close(left / right, (left / right).round()),
        _ => false,
    }
}

fn pair(operation: &BinaryOperation, left: f64, right: f64) -> Option<f64> {
    let holds = match operation.op {
        BinaryOp::Add => return Some(left + right),
        BinaryOp::Sub => return Some(left - right),
        BinaryOp::Mul => return Some(left * right),
        BinaryOp::Div => return Some(if right == 0.0 { f64::NAN } else { left / right }),
        BinaryOp::Mod => return Some(left % right),
        BinaryOp::Compare(CompareOp::Equal) => left == right,
        BinaryOp::Compare(CompareOp::NotEqual) => left != right,
        BinaryOp::Compare(CompareOp::Greater) => left > right,
        BinaryOp::Compare(CompareOp::Less) => left < right,
        BinaryOp::Compare(CompareOp::LessEqual) => left <= right,
        other => panic!("{other:?} is not generated"),
    };
    if operation.return_bool { Some(f64::from(u8::from(holds))) } else { holds.then_some(left) }
}

fn owned(labels: &Labels) -> LabelMap {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn text(labels: &LabelMap) -> String {
    Labels::from_sorted(labels).to_string()
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
}

/// Panics unless a matrix is what was expected, in the order of labels.
pub(crate) fn assert_same(expected: &Matrix, series: &[Series], case: &MetricCase) {
    let got: Vec<(LabelMap, Vec<(i64, f64)>)> = series
        .iter()
        .map(|series| {
            let points = series.points.iter().map(|point| (point.timestamp.0, point.value));
            (owned(&series.labels), points.collect())
        })
        .collect();
    let same_points = |a: &[(i64, f64)], b: &[(i64, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
    };
    let same =
        got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| a.0 == *b.0 && same_points(&a.1, b.1));
    assert!(same, "{case:?}\n expected {expected:?}\n got {got:?}");
}

/// Panics unless a vector is the one step that was expected, in the order of labels.
pub(crate) fn assert_same_vector(expected: &Matrix, samples: &[Sample], case: &MetricCase) {
    let series: Vec<Series> =
        samples.iter().map(|sample| Series { labels: sample.labels.clone(), points: vec![sample.point] }).collect();
    assert_same(expected, &series, case);
}
