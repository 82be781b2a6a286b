//! Range and vector aggregations and the rules about their parameters and groupings.

use super::{Parsed, Parser, Tree, label_filter::tolerant_float};
use crate::{
    ast::{Expr, Grouping, LogRange, MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp},
    error::ParseErrorKind,
    lexer::{Keyword, Symbol, TokenKind},
};

impl Parser<'_> {
    /// `quantile_over_time(0.99, {…}[5m]) by (a)`
    pub(super) fn range_aggregation(&mut self, op: RangeOp) -> Parsed<MetricExpr> {
        let span = self.next()?.span;
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let mut parameter = None;
        let range = if self.peek()?.kind == TokenKind::Number {
            parameter = Some(tolerant_float(self.next()?.text));
            self.expect_symbol(Symbol::Comma, &[","])?;
            self.log_range(&["{", "("])?
        } else {
            self.log_range(&["NUMBER", "{", "("])?
        };
        self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
        let grouping = self.grouping()?;
        if let Some(kind) = range_misuse(op, parameter, grouping.as_ref(), &range) {
            self.defer(kind, span);
        }
        Ok(MetricExpr::Range(RangeAggregation { op, parameter, range, grouping }))
    }

    /// `topk by (a) (5, X)` or `topk(5, X) by (a)`
    pub(super) fn vector_aggregation(&mut self, op: VectorOp) -> Parsed<Tree<Expr>> {
        let span = self.next()?.span;
        let grouping = self.grouping()?;
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let (parameter, inner) = self.parameter_and_vector()?;
        self.expect_symbol(Symbol::CloseParenthesis, &[])?;
        let grouping = match grouping {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let parameter = match vector_parameter(op, parameter, grouping.as_ref()) {
            Ok(parameter) => parameter,
            Err(kind) => {
                self.defer(kind, span);
                None
            }
        };
        let height = inner.height + 1;
        self.check_height(height)?;
        let aggregation = VectorAggregation { op, parameter, grouping, inner: Box::new(inner.node) };
        Ok(Tree { node: Expr::Metric(MetricExpr::Vector(aggregation)), height })
    }

    /// The arguments of a vector aggregation. A number is the parameter if a comma follows.
    fn parameter_and_vector(&mut self) -> Parsed<(Option<String>, Tree<MetricExpr>)> {
        if self.peek()?.kind != TokenKind::Number {
            return Ok((None, self.metric()?));
        }
        let text = self.peek()?.text.to_owned();
        let literal = self.operand()?;
        if self.eat_symbol(Symbol::Comma)? {
            // A parameter follows its own rules, not those of literals.
            Ok((Some(text), self.metric()?))
        } else {
            Ok((None, self.metric_from(literal)?))
        }
    }

    /// `by (…)` or `without (…)`, if it is next.
    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.next()?;
        let labels = self.label_names()?;
        Ok(Some(Grouping { without, labels }))
    }
}

/// What is wrong with a range aggregation that is well-formed.
fn range_misuse(
    op: RangeOp,
    parameter: Option<f64>,
    grouping: Option<&Grouping>,
    range: &LogRange,
) -> Option<ParseErrorKind> {
    match parameter {
        Some(parameter) if op != RangeOp::QuantileOverTime => {
            return Some(ParseErrorKind::RangeParameter { op, parameter });
        }
        None if op == RangeOp::QuantileOverTime => {
            return Some(ParseErrorKind::MissingRangeParameter(op));
        }
        _ => {}
    }
    if grouping.is_some() && !op.takes_grouping() {
        return Some(ParseErrorKind::RangeGrouping(op));
    }
    match &range.unwrap {
        Some(_) if !op.takes_unwrap() => Some(ParseErrorKind::ForbiddenUnwrap(op)),
        None if op.needs_unwrap() => Some(ParseErrorKind::MissingUnwrap(op)),
        _ => None,
    }
}

/// The parameter of a vector aggregation, or what is wrong with it or with the grouping.
fn vector_parameter(
    op: VectorOp,
    parameter: Option<String>,
    grouping: Option<&Grouping>,
) -> Result<Option<u64>, ParseErrorKind> {
    let parameter = match parameter {
        Some(parameter) if !op.takes_parameter() => {
            return Err(ParseErrorKind::VectorParameter { op, parameter });
        }
        Some(parameter) => match parameter.parse::<i64>() {
            Ok(0) => return Err(ParseErrorKind::ZeroParameter { op, parameter }),
            Ok(count) => Some(count.unsigned_abs()),
            Err(_) => return Err(ParseErrorKind::FractionalParameter { op, parameter }),
        },
        None if op.takes_parameter() => return Err(ParseErrorKind::MissingVectorParameter(op)),
        None => None,
    };
    match grouping {
        Some(_) if op == VectorOp::ApproxTopk => Err(ParseErrorKind::VectorGrouping(op)),
        Some(grouping) if matches!(op, VectorOp::Sort | VectorOp::SortDesc) && !grouping.labels.is_empty() => {
            Err(ParseErrorKind::SortGrouping)
        }
        _ => Ok(parameter),
    }
}
