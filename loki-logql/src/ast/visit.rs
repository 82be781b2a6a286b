//! Walking over the parts of a query that read logs.

use loki_core::Matcher;

use super::{Expr, LogExpr, LogRange, MetricExpr, Variants};

/// Sees the parts of a query, left to right and outside in.
///
/// Every method has a default that goes on to the parts within; one that is overridden sees them only if it calls the
/// matching `walk_` function.
pub trait Visitor<'q> {
    /// A whole query.
    fn visit_expr(&mut self, expr: &'q Expr) {
        match expr {
            Expr::Log(log) => self.visit_log(log),
            Expr::Metric(metric) => self.visit_metric(metric),
            Expr::Variants(variants) => self.visit_variants(variants),
        }
    }

    /// An expression with samples.
    fn visit_metric(&mut self, metric: &'q MetricExpr) {
        walk_metric(self, metric);
    }

    /// `variants(…) of (…)`
    fn visit_variants(&mut self, variants: &'q Variants) {
        walk_variants(self, variants);
    }

    /// The entries that a range aggregation reads.
    fn visit_log_range(&mut self, range: &'q LogRange) {
        walk_log_range(self, range);
    }

    /// A selector with its pipeline.
    fn visit_log(&mut self, _log: &'q LogExpr) {}
}

/// Visits the operands and arguments of `metric`.
pub fn walk_metric<'q, V: Visitor<'q> + ?Sized>(visitor: &mut V, metric: &'q MetricExpr) {
    match metric {
        MetricExpr::Range(range) => visitor.visit_log_range(&range.range),
        MetricExpr::Vector(vector) => visitor.visit_metric(&vector.inner),
        MetricExpr::Binary(binary) => {
            visitor.visit_metric(&binary.left);
            visitor.visit_metric(&binary.right);
        }
        MetricExpr::LabelReplace(replace) => visitor.visit_metric(&replace.inner),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {}
    }
}

/// Visits the variants and then their common log range.
pub fn walk_variants<'q, V: Visitor<'q> + ?Sized>(visitor: &mut V, variants: &'q Variants) {
    for variant in &variants.variants {
        visitor.visit_metric(variant);
    }
    visitor.visit_log_range(&variants.of);
}

/// Visits the log query of `range`.
pub fn walk_log_range<'q, V: Visitor<'q> + ?Sized>(visitor: &mut V, range: &'q LogRange) {
    visitor.visit_log(&range.log);
}

/// A selector and the time around a step for which it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelectorGroup<'q> {
    /// The matchers of the selector.
    pub matchers: &'q [Matcher],
    /// The window in nanoseconds; zero for a log query.
    pub range_nanos: i64,
    /// The offset in nanoseconds, positive into the past.
    pub offset_nanos: i64,
}

impl Expr {
    /// The selectors that the query reads, in the order written. The selectors of variants are not read, only that
    /// of their common range.
    pub fn selector_groups(&self) -> Vec<SelectorGroup<'_>> {
        let mut groups = Groups(Vec::new());
        groups.visit_expr(self);
        groups.0
    }
}

impl MetricExpr {
    /// Whether a number stands where an aggregation wants series.
    pub fn aggregates_literal(&self) -> bool {
        match self {
            Self::Vector(vector) => matches!(*vector.inner, Self::Literal(_)) || vector.inner.aggregates_literal(),
            Self::Binary(binary) => binary.left.aggregates_literal() || binary.right.aggregates_literal(),
            Self::LabelReplace(replace) => replace.inner.aggregates_literal(),
            Self::Range(_) | Self::Literal(_) | Self::VectorLiteral(_) => false,
        }
    }
}

struct Groups<'q>(Vec<SelectorGroup<'q>>);

impl<'q> Visitor<'q> for Groups<'q> {
    fn visit_variants(&mut self, variants: &'q Variants) {
        self.visit_log_range(&variants.of);
    }

    fn visit_log_range(&mut self, range: &'q LogRange) {
        self.0.push(SelectorGroup {
            matchers: &range.log.matchers,
            range_nanos: range.range_nanos,
            offset_nanos: range.offset_nanos,
        });
    }

    fn visit_log(&mut self, log: &'q LogExpr) {
        self.0.push(SelectorGroup { matchers: &log.matchers, range_nanos: 0, offset_nanos: 0 });
    }
}
