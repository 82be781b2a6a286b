//! The layout of Loki's `format_query`: one line while it fits, a tree of lines when it does not.
//!
//! This is Loki's output with its faults, because clients compare it: a line filter that is broken off its chain loses
//! its alternatives, a nested operation loses its brackets, `without ()` loses its brackets, `decolorize` its
//! indentation. [`Expr`]'s `Display` has none of them.

use std::fmt::Write;

use loki_core::labels::write_quoted;

use super::{
    BinaryOperation, Expr, Grouping, LabelReplace, LineFilter, LogExpr, LogRange, MatchCardinality, MetricExpr,
    RangeAggregation, Stage, Unwrap, Variants, VectorAggregation,
    display::{Decimal, separated, write_selector, write_unwrap_label},
};
use crate::duration;

/// Canonical text up to this length stays on one line.
const MAX_LINE_BYTES: usize = 100;

const INDENT: &str = "  ";

impl Expr {
    /// The query as Loki's `format_query` lays it out.
    pub fn pretty(&self) -> String {
        let mut layout = Layout { text: String::new() };
        match self {
            Self::Log(log) => layout.log(log, 0),
            Self::Metric(metric) => layout.metric(metric, 0),
            Self::Variants(variants) => layout.variants(variants),
        }
        layout.text
    }
}

/// The text so far. Writing to it cannot fail, so its results are dropped.
struct Layout {
    text: String,
}

impl Layout {
    fn metric(&mut self, metric: &MetricExpr, level: usize) {
        let canonical = metric.to_string();
        if canonical.len() <= MAX_LINE_BYTES {
            return self.line(level, &canonical);
        }
        match metric {
            MetricExpr::Range(range) => self.range_aggregation(range, level),
            MetricExpr::Vector(vector) => self.vector_aggregation(vector, level),
            MetricExpr::Binary(binary) => self.binary(binary, level),
            MetricExpr::LabelReplace(replace) => self.label_replace(replace, level),
            MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => self.line(level, &canonical),
        }
    }

    fn range_aggregation(&mut self, aggregation: &RangeAggregation, level: usize) {
        self.line(level, &format!("{}(\n", aggregation.op));
        if let Some(parameter) = aggregation.parameter {
            self.line(level + 1, &format!("{},\n", Decimal(parameter)));
        }
        self.log_range(&aggregation.range, level + 1);
        self.newline(level);
        self.text.push(')');
        if let Some(grouping) = &aggregation.grouping {
            self.grouping(grouping);
        }
    }

    fn vector_aggregation(&mut self, aggregation: &VectorAggregation, level: usize) {
        self.line(level, aggregation.op.as_str());
        if let Some(grouping) = &aggregation.grouping {
            self.grouping(grouping);
        }
        self.text.push_str("(\n");
        if let Some(parameter) = aggregation.parameter {
            self.line(level + 1, &format!("{parameter},\n"));
        }
        self.metric(&aggregation.inner, level + 1);
        self.newline(level);
        self.text.push(')');
    }

    fn grouping(&mut self, grouping: &Grouping) {
        self.text.push_str(match (grouping.without, grouping.labels.is_empty()) {
            (false, true) => return,
            (false, false) => " by",
            (true, _) => " without",
        });
        if !grouping.labels.is_empty() {
            self.text.push(' ');
            self.label_list(&grouping.labels);
        }
    }

    fn binary(&mut self, operation: &BinaryOperation, level: usize) {
        self.metric(&operation.left, level + 1);
        self.newline(level);
        self.text.push_str(operation.op.as_str());
        if operation.return_bool {
            self.text.push_str(" bool");
        }
        if let Some(matching) = operation.matching.as_ref().filter(|m| !m.labels.is_empty()) {
            self.text.push_str(if matching.on { " on " } else { " ignoring " });
            self.label_list(&matching.labels);
            self.text.push_str(match matching.cardinality {
                MatchCardinality::OneToOne => " ",
                MatchCardinality::ManyToOne => " group_left",
                MatchCardinality::OneToMany => " group_right",
            });
            if !matching.include.is_empty() {
                self.text.push(' ');
                self.label_list(&matching.include);
            }
        }
        self.text.push('\n');
        self.metric(&operation.right, level + 1);
    }

    fn label_replace(&mut self, replace: &LabelReplace, level: usize) {
        self.line(level, "label_replace(\n");
        self.metric(&replace.inner, level + 1);
        for argument in [&replace.destination, &replace.replacement, &replace.source, &replace.regex] {
            self.text.push(',');
            self.newline(level + 1);
            let _ = write_quoted(&mut self.text, argument);
        }
        self.newline(level);
        self.text.push(')');
    }

    fn variants(&mut self, variants: &Variants) {
        self.text.push_str("variants(\n");
        for (i, variant) in variants.variants.iter().enumerate() {
            self.text.push_str(if i > 0 { ",\n" } else { "" });
            self.metric(variant, 1);
        }
        self.text.push_str("\n) of (\n");
        self.log_range(&variants.of, 1);
        self.text.push_str("\n)");
    }

    fn log_range(&mut self, range: &LogRange, level: usize) {
        self.log(&range.log, level);
        if let Some(unwrap) = &range.unwrap {
            self.unwrap(unwrap, level + 1);
        }
        let _ = write!(self.text, " [{}]", duration::format_prometheus(range.range_nanos));
        if range.offset_nanos != 0 {
            let offset = duration::format_prometheus(range.offset_nanos);
            let _ = write!(self.text, " offset {offset}");
        }
    }

    fn unwrap(&mut self, unwrap: &Unwrap, level: usize) {
        self.newline(level);
        let _ = write_unwrap_label(&mut self.text, unwrap);
        for filter in &unwrap.filters {
            self.newline(level);
            let _ = write!(self.text, "| {filter}");
        }
    }

    fn log(&mut self, log: &LogExpr, level: usize) {
        let canonical = log.to_string();
        if canonical.len() <= MAX_LINE_BYTES {
            return self.line(level, &canonical);
        }
        self.indent(level);
        let _ = write_selector(&mut self.text, &log.matchers);
        let mut stages = log.stages.as_slice();
        while let Some((first, rest)) = stages.split_first() {
            let chain: Vec<_> = stages.iter().map_while(line_filter).collect();
            if chain.is_empty() {
                self.newline(if *first == Stage::Decolorize { 0 } else { level + 1 });
                let _ = write!(self.text, "{first}");
                stages = rest;
            } else {
                self.line_filters(&chain, level + 1);
                stages = &stages[chain.len()..];
            }
        }
    }

    /// As many filters of the chain on one line as fit; each other one on its own line, without its alternatives.
    fn line_filters(&mut self, chain: &[&LineFilter], level: usize) {
        let mut line = String::new();
        let mut on_line = 0;
        for filter in chain {
            let text = filter.to_string();
            let blank = usize::from(on_line > 0);
            if line.len() + blank + text.len() > MAX_LINE_BYTES {
                break;
            }
            line.extend(std::iter::repeat_n(' ', blank));
            line.push_str(&text);
            on_line += 1;
        }
        if on_line > 0 {
            self.newline(level);
            self.text.push_str(&line);
        }
        for filter in &chain[on_line..] {
            self.newline(level);
            let first = filter.alternatives.first().expect("a filter has an argument");
            let _ = write!(self.text, "{} {first}", filter.op);
        }
    }

    /// `(a, b)`
    fn label_list(&mut self, labels: &[String]) {
        self.text.push('(');
        let _ = separated(&mut self.text, ", ", labels, |out, label| out.write_str(label));
        self.text.push(')');
    }

    fn line(&mut self, level: usize, text: &str) {
        self.indent(level);
        self.text.push_str(text);
    }

    fn newline(&mut self, level: usize) {
        self.text.push('\n');
        self.indent(level);
    }

    fn indent(&mut self, level: usize) {
        self.text.extend(std::iter::repeat_n(INDENT, level));
    }
}

fn line_filter(stage: &Stage) -> Option<&LineFilter> {
    match stage {
        Stage::LineFilter(filter) => Some(filter),
        _ => None,
    }
}
