//! From the syntax tree to scans and the operators above them.

use crate::ast::{
    BinaryOperation, Grouping, LabelFilter, LabelReplace, LogRange, MetricExpr, RangeAggregation, RangeOp, Stage,
    Unwrap, VectorAggregation, VectorOp,
};
use crate::pipeline::NeededLabels;

use super::accumulator::Function;

/// A query over samples: the scans it needs and what is done with their results.
#[derive(Debug)]
pub(crate) struct Plan<'q> {
    pub(crate) root: Node<'q>,
    /// Scans, without repetition: equal range aggregations share one.
    pub(crate) scans: Vec<ScanPlan<'q>>,
}

/// An operator.
#[derive(Debug)]
pub(crate) enum Node<'q> {
    /// A number.
    Number(f64),
    /// `vector(n)`.
    VectorOfNumber(f64),
    /// The result of a scan.
    Scan(usize),
    /// The quotient of two scans with the same grouping; zero divisors give NaN.
    Quotient { sum: usize, count: usize },
    /// A vector aggregation of each piece of a scan, and the pieces merged.
    Pieces { call: &'q VectorAggregation, scan: usize, merge: Merge },
    /// A vector aggregation.
    Aggregate { call: &'q VectorAggregation, inner: Box<Self> },
    /// A binary operation.
    Binary { operation: &'q BinaryOperation, left: Box<Self>, right: Box<Self> },
    /// `label_replace`.
    LabelReplace { call: &'q LabelReplace, inner: Box<Self> },
}

/// How pieces of a range become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// A range aggregation, with as much of the aggregation around it as can be done while entries stream by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScanPlan<'q> {
    pub(crate) function: Function,
    pub(crate) range: &'q LogRange,
    /// `None` where the samples are not unwrapped, although the range has an `unwrap`.
    pub(crate) unwrap: Option<&'q Unwrap>,
    /// By which labels entries go to series.
    pub(crate) grouping: Grouping,
    /// Parsed labels without a value stay. Loki keeps them where it takes the unwrapped label out of ungrouped series,
    /// and in groups, as long as it does not send series from one of its processes to another.
    pub(crate) keeps_empty: bool,
    /// What has to be extracted from lines.
    pub(crate) needed: NeededLabels,
    /// Errors of parsers are part of the answer, because the query asks for `__error__`.
    pub(crate) accepts_parser_errors: bool,
    /// The length of the pieces that the range is cut into.
    pub(crate) piece_nanos: Option<i64>,
}

impl<'q> Plan<'q> {
    /// Plans an expression. Longer ranges than `piece_nanos` are cut where that shows.
    pub(crate) fn new(expr: &'q MetricExpr, piece_nanos: Option<i64>) -> Self {
        let mut planner = Planner { scans: Vec::new(), piece_nanos, is_whole: is_evaluated_whole(expr) };
        let root = planner.plan(expr);
        Self { root, scans: planner.scans }
    }

    /// How many operators read the result of a scan.
    pub(crate) fn readers(&self, scan: usize) -> usize {
        self.root.readers(scan)
    }

    /// Whether `sort` or `sort_desc` decides the order of an instant query.
    pub(crate) fn sorts(&self) -> bool {
        self.root.sorts()
    }
}

impl Node<'_> {
    fn readers(&self, scan: usize) -> usize {
        match self {
            Self::Number(_) | Self::VectorOfNumber(_) => 0,
            Self::Scan(number) | Self::Pieces { scan: number, .. } => usize::from(*number == scan),
            Self::Quotient { sum, count } => usize::from(*sum == scan) + usize::from(*count == scan),
            Self::Aggregate { inner, .. } | Self::LabelReplace { inner, .. } => inner.readers(scan),
            Self::Binary { left, right, .. } => left.readers(scan) + right.readers(scan),
        }
    }

    fn sorts(&self) -> bool {
        match self {
            Self::Number(_) | Self::VectorOfNumber(_) | Self::Scan(_) | Self::Quotient { .. } | Self::Pieces { .. } => {
                false
            }
            Self::Aggregate { call, inner } => matches!(call.op, VectorOp::Sort | VectorOp::SortDesc) || inner.sorts(),
            Self::LabelReplace { inner, .. } => inner.sorts(),
            Self::Binary { left, right, .. } => left.sorts() || right.sorts(),
        }
    }
}

struct Planner<'q> {
    scans: Vec<ScanPlan<'q>>,
    piece_nanos: Option<i64>,
    is_whole: bool,
}

impl<'q> Planner<'q> {
    fn plan(&mut self, expr: &'q MetricExpr) -> Node<'q> {
        match expr {
            MetricExpr::Literal(number) => Node::Number(*number),
            MetricExpr::VectorLiteral(number) => Node::VectorOfNumber(*number),
            MetricExpr::Range(aggregation) => self.plan_range(aggregation),
            MetricExpr::Vector(call) => self.plan_vector(call),
            MetricExpr::Binary(operation) => Node::Binary {
                operation,
                left: Box::new(self.plan(&operation.left)),
                right: Box::new(self.plan(&operation.right)),
            },
            MetricExpr::LabelReplace(call) => Node::LabelReplace { call, inner: Box::new(self.plan(&call.inner)) },
        }
    }

    fn plan_range(&mut self, aggregation: &'q RangeAggregation) -> Node<'q> {
        match &aggregation.grouping {
            // Loki's mean of a group is the sum of the values over the number of *all* lines that pass the pipeline.
            Some(grouping) if aggregation.op == RangeOp::AvgOverTime && *grouping != Grouping::all() => {
                let mut sum = ScanPlan::grouped(aggregation, grouping);
                sum.function = Function::Sum;
                let mut count = sum.clone();
                count.function = Function::Count;
                count.unwrap = None;
                Node::Quotient { sum: self.add_scan(sum), count: self.add_scan(count) }
            }
            Some(grouping) => Node::Scan(self.add_scan(ScanPlan::grouped(aggregation, grouping))),
            None => Node::Scan(self.add_scan(ScanPlan::ungrouped(aggregation))),
        }
    }

    fn plan_vector(&mut self, call: &'q VectorAggregation) -> Node<'q> {
        if let MetricExpr::Range(aggregation) = &*call.inner {
            if let Some((merge, piece_nanos)) = self.pieces(call.op, aggregation) {
                let mut scan = match &aggregation.grouping {
                    Some(grouping) => ScanPlan::grouped(aggregation, grouping),
                    None => ScanPlan::ungrouped(aggregation),
                };
                scan.piece_nanos = Some(piece_nanos);
                return Node::Pieces { call, scan: self.add_scan(scan), merge };
            }
            if let Some(scan) = ScanPlan::pushed_down(call, aggregation) {
                return Node::Scan(self.add_scan(scan));
            }
        }
        Node::Aggregate { call, inner: Box::new(self.plan(&call.inner)) }
    }

    /// How pieces are merged, where it makes a difference that Loki cuts long ranges of instant queries into pieces
    /// and aggregates each of them before it merges.
    fn pieces(&self, op: VectorOp, aggregation: &RangeAggregation) -> Option<(Merge, i64)> {
        let piece_nanos = self.piece_nanos.filter(|piece| aggregation.range.range_nanos > *piece)?;
        let merge = match (op, aggregation.op) {
            (
                VectorOp::Avg | VectorOp::Min | VectorOp::Max,
                RangeOp::CountOverTime
                | RangeOp::Rate
                | RangeOp::BytesOverTime
                | RangeOp::BytesRate
                | RangeOp::SumOverTime,
            ) => Merge::Sum,
            (VectorOp::Sum | VectorOp::Avg | VectorOp::Max, RangeOp::MinOverTime) => Merge::Min,
            (VectorOp::Sum | VectorOp::Avg | VectorOp::Min, RangeOp::MaxOverTime) => Merge::Max,
            _ => return None,
        };
        Some((merge, piece_nanos))
    }

    fn add_scan(&mut self, mut scan: ScanPlan<'q>) -> usize {
        scan.keeps_empty |= self.is_whole && !scan.grouping.without;
        if let Some(known) = self.scans.iter().position(|other| *other == scan) {
            return known;
        }
        self.scans.push(scan);
        self.scans.len() - 1
    }
}

/// Whether Loki evaluates a query in one process. It spreads all others, which costs their groups the labels without
/// a value.
fn is_evaluated_whole(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Range(_) | MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => false,
        MetricExpr::Vector(call) => call.op == VectorOp::Bottomk || is_evaluated_whole(&call.inner),
        MetricExpr::Binary(operation) => is_evaluated_whole(&operation.left) || is_evaluated_whole(&operation.right),
        MetricExpr::LabelReplace(call) => is_evaluated_whole(&call.inner),
    }
}

impl<'q> ScanPlan<'q> {
    /// Every distinct label set is a series.
    fn ungrouped(aggregation: &'q RangeAggregation) -> Self {
        let absent = aggregation.op == RangeOp::AbsentOverTime;
        let grouping = if absent { Grouping::none() } else { Grouping::all() };
        let needed = if absent { NeededLabels::Only(Vec::new()) } else { NeededLabels::All };
        Self::new(aggregation, grouping, needed)
    }

    /// The function's own `by` or `without`.
    fn grouped(aggregation: &'q RangeAggregation, grouping: &Grouping) -> Self {
        Self::new(aggregation, grouping.clone(), needed_by(grouping))
    }

    /// An aggregation that gives the same result when it is done on entries instead of series.
    fn pushed_down(call: &VectorAggregation, aggregation: &'q RangeAggregation) -> Option<Self> {
        let mut grouping = call.grouping.clone().unwrap_or_else(Grouping::none);
        if grouping.without {
            grouping.labels.push("__name__".to_owned());
        }
        match (call.op, aggregation.op) {
            (
                VectorOp::Sum,
                RangeOp::Rate
                | RangeOp::CountOverTime
                | RangeOp::BytesOverTime
                | RangeOp::BytesRate
                | RangeOp::SumOverTime,
            ) => {
                let needed = needed_by(&grouping);
                Some(Self::new(aggregation, grouping, needed))
            }
            // Loki does not do these; here they save the series that nobody sees, and must extract as without them.
            (VectorOp::Min, RangeOp::MinOverTime) | (VectorOp::Max, RangeOp::MaxOverTime)
                if aggregation.grouping.is_none() =>
            {
                let mut scan = Self::new(aggregation, grouping, NeededLabels::All);
                scan.accepts_parser_errors = false;
                Some(scan)
            }
            _ => None,
        }
    }

    fn new(aggregation: &'q RangeAggregation, grouping: Grouping, needed: NeededLabels) -> Self {
        let range = &aggregation.range;
        let unwrap = range.unwrap.as_ref();
        let accepts_parser_errors = !grouping.without && asks_for_errors(range, &grouping);
        let keeps_empty = unwrap.is_some() && grouping == Grouping::all();
        let mut grouping = grouping;
        if let Some(unwrap) = unwrap
            && grouping.without
        {
            grouping.labels.push(unwrap.label.clone());
        }
        grouping.labels.sort();
        grouping.labels.dedup();
        Self {
            function: Function::of(aggregation),
            range,
            unwrap,
            grouping,
            keeps_empty,
            needed,
            accepts_parser_errors,
            piece_nanos: None,
        }
    }
}

impl Grouping {
    /// Every label set is a group: `without ()`.
    fn all() -> Self {
        Self { without: true, labels: Vec::new() }
    }

    /// One group: `by ()`.
    fn none() -> Self {
        Self { without: false, labels: Vec::new() }
    }
}

fn needed_by(grouping: &Grouping) -> NeededLabels {
    if grouping.without { NeededLabels::All } else { NeededLabels::Only(grouping.labels.clone()) }
}

const ERROR_LABEL: &str = "__error__";

fn asks_for_errors(range: &LogRange, grouping: &Grouping) -> bool {
    let stages = range.log.stages.iter().any(|stage| match stage {
        Stage::LabelFilter(filter) => filters_errors(filter),
        _ => false,
    });
    let unwrap = range.unwrap.iter().flat_map(|unwrap| &unwrap.filters).any(filters_errors);
    stages || unwrap || grouping.labels.iter().any(|label| label == ERROR_LABEL)
}

fn filters_errors(filter: &LabelFilter) -> bool {
    match filter {
        LabelFilter::String(matcher) => matcher.name() == ERROR_LABEL,
        LabelFilter::Number { name, .. }
        | LabelFilter::Duration { name, .. }
        | LabelFilter::Bytes { name, .. }
        | LabelFilter::Ip { name, .. } => name == ERROR_LABEL,
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => filters_errors(left) || filters_errors(right),
    }
}
