//! Expressions: operands, binary operators and the arithmetic of literals.

use super::{Parsed, Parser, Tree, fail};
use crate::{
    ast::{
        BinaryOp, BinaryOperation, CompareOp, Expr, LabelReplace, MatchCardinality, MetricExpr, Variants,
        VectorMatching,
    },
    error::{ParseErrorKind, Side, Span},
    lexer::{Call, FloatError, Keyword, Symbol, TokenKind, parse_float},
};

/// How tightly an operator binds, and whether a run of it groups from the right.
fn precedence(op: BinaryOp) -> (u8, bool) {
    match op {
        BinaryOp::Or => (1, false),
        BinaryOp::And | BinaryOp::Unless => (2, false),
        BinaryOp::Compare(_) => (3, false),
        BinaryOp::Add | BinaryOp::Sub => (4, false),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => (5, false),
        BinaryOp::Pow => (6, true),
    }
}

fn binary_op(kind: &TokenKind) -> Option<BinaryOp> {
    Some(match kind {
        TokenKind::Keyword(Keyword::Or) => BinaryOp::Or,
        TokenKind::Keyword(Keyword::And) => BinaryOp::And,
        TokenKind::Keyword(Keyword::Unless) => BinaryOp::Unless,
        TokenKind::Symbol(symbol) => match symbol {
            Symbol::EqualEqual => BinaryOp::Compare(CompareOp::Equal),
            Symbol::NotEqual => BinaryOp::Compare(CompareOp::NotEqual),
            Symbol::Greater => BinaryOp::Compare(CompareOp::Greater),
            Symbol::GreaterEqual => BinaryOp::Compare(CompareOp::GreaterEqual),
            Symbol::Less => BinaryOp::Compare(CompareOp::Less),
            Symbol::LessEqual => BinaryOp::Compare(CompareOp::LessEqual),
            Symbol::Plus => BinaryOp::Add,
            Symbol::Minus => BinaryOp::Sub,
            Symbol::Star => BinaryOp::Mul,
            Symbol::Slash => BinaryOp::Div,
            Symbol::Percent => BinaryOp::Mod,
            Symbol::Caret => BinaryOp::Pow,
            _ => return None,
        },
        _ => return None,
    })
}

/// What stands between the operands of a binary operation.
struct Operator {
    op: BinaryOp,
    return_bool: bool,
    matching: Option<VectorMatching>,
    span: Span,
}

impl Parser<'_> {
    /// An expression of operators that bind at least as tightly as `loosest`.
    pub(super) fn expression(&mut self, loosest: u8) -> Parsed<Tree<Expr>> {
        let left = self.operand()?;
        self.operations(left, loosest)
    }

    /// The operators behind `left`, with their right operands.
    pub(super) fn operations(&mut self, mut left: Tree<Expr>, loosest: u8) -> Parsed<Tree<Expr>> {
        while let Some(op) = binary_op(&self.peek()?.kind) {
            let (strength, from_right) = precedence(op);
            if strength < loosest {
                break;
            }
            let operator = self.operator(op)?;
            let right_loosest = strength + u8::from(!from_right);
            let right = self.nested(|parser| parser.expression(right_loosest))?;
            left = self.operation(left, operator, right)?;
        }
        Ok(left)
    }

    /// The operator, which is next, with its modifiers.
    fn operator(&mut self, op: BinaryOp) -> Parsed<Operator> {
        let span = self.next()?.span;
        let return_bool = self.eat_keyword(Keyword::Bool)?;
        let on = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::On) => true,
            TokenKind::Keyword(Keyword::Ignoring) => false,
            _ => return Ok(Operator { op, return_bool, matching: None, span }),
        };
        self.next()?;
        let labels = self.label_names()?;
        let cardinality = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::GroupLeft) => MatchCardinality::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => MatchCardinality::OneToMany,
            _ => MatchCardinality::OneToOne,
        };
        let mut include = Vec::new();
        if cardinality != MatchCardinality::OneToOne {
            self.next()?;
            if self.is_symbol(Symbol::OpenParenthesis)? {
                include = self.label_names()?;
            }
        }
        let matching = Some(VectorMatching { on, labels, cardinality, include });
        Ok(Operator { op, return_bool, matching, span })
    }

    fn operation(&mut self, left: Tree<Expr>, operator: Operator, right: Tree<Expr>) -> Parsed<Tree<Expr>> {
        let Operator { op, return_bool, matching, span } = operator;
        let height = left.height.max(right.height) + 1;
        let left = samples_of(left.node, op, Side::Left, span)?;
        let right = samples_of(right.node, op, Side::Right, span)?;
        if op.is_set_operation() {
            for (side, operand) in [(Side::Left, &left), (Side::Right, &right)] {
                if let MetricExpr::Literal(value) = *operand {
                    return fail(ParseErrorKind::LiteralOperand { side, op, value }, span);
                }
            }
        }
        if let (MetricExpr::Literal(left), MetricExpr::Literal(right)) = (&left, &right) {
            let folded = MetricExpr::Literal(fold(op, *left, *right));
            return Ok(Tree::leaf(Expr::Metric(folded)));
        }
        self.check_height(height)?;
        let operation = BinaryOperation { op, left, right, return_bool, matching };
        Ok(Tree { node: Expr::Metric(MetricExpr::Binary(Box::new(operation))), height })
    }

    pub(super) fn operand(&mut self) -> Parsed<Tree<Expr>> {
        let metric = match self.peek()?.kind {
            TokenKind::Symbol(Symbol::OpenBrace) => {
                return Ok(Tree::leaf(Expr::Log(self.log()?)));
            }
            TokenKind::Symbol(Symbol::OpenParenthesis) => return self.nested(Self::bracketed),
            TokenKind::Keyword(Keyword::Variants) => {
                return Ok(Tree::leaf(Expr::Variants(self.nested(Self::variants)?)));
            }
            TokenKind::Symbol(Symbol::Plus) => {
                self.next()?;
                self.literal(1.0)?
            }
            TokenKind::Symbol(Symbol::Minus) => {
                self.next()?;
                self.literal(-1.0)?
            }
            TokenKind::Number => self.literal(1.0)?,
            TokenKind::Call(Call::Range(op)) => self.nested(|p| p.range_aggregation(op))?,
            TokenKind::Call(Call::VectorLiteral) => self.vector_literal()?,
            TokenKind::Call(Call::Vector(op)) => {
                return self.nested(|parser| parser.vector_aggregation(op));
            }
            TokenKind::Call(Call::LabelReplace) => return self.nested(Self::label_replace),
            _ => return self.unexpected(&[]),
        };
        Ok(Tree::leaf(Expr::Metric(metric)))
    }

    /// An expression in brackets, the first of which is next.
    fn bracketed(&mut self) -> Parsed<Tree<Expr>> {
        self.next()?;
        let inner = self.expression(0)?;
        if matches!(inner.node, Expr::Variants(_)) {
            return self.unexpected(&[]);
        }
        self.expect_symbol(Symbol::CloseParenthesis, &[])?;
        Ok(inner)
    }

    /// An expression that has samples.
    pub(super) fn metric(&mut self) -> Parsed<Tree<MetricExpr>> {
        let operand = self.operand()?;
        self.metric_from(operand)
    }

    /// The expression with samples that starts with `operand`.
    pub(super) fn metric_from(&mut self, operand: Tree<Expr>) -> Parsed<Tree<MetricExpr>> {
        let Tree { node, height } = self.operations(operand, 0)?;
        match node {
            Expr::Metric(node) => Ok(Tree { node, height }),
            _ => self.unexpected(&[]),
        }
    }

    /// A number, which must be next.
    fn literal(&mut self, sign: f64) -> Parsed<MetricExpr> {
        let (value, error, span) = self.number(&["NUMBER"])?;
        if let Some(error) = error {
            self.defer(ParseErrorKind::Literal(error), span);
        }
        Ok(MetricExpr::Literal(sign * value))
    }

    /// `vector(1)`
    fn vector_literal(&mut self) -> Parsed<MetricExpr> {
        self.next()?;
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let (value, error, span) = self.number(&["NUMBER"])?;
        if let Some(error) = error {
            self.defer(ParseErrorKind::VectorLiteral(error), span);
        }
        self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
        Ok(MetricExpr::VectorLiteral(value))
    }

    /// Takes a number token; its text need not be a number in the end.
    fn number(&mut self, expected: &'static [&'static str]) -> Parsed<(f64, Option<FloatError>, Span)> {
        if self.peek()?.kind != TokenKind::Number {
            return self.unexpected(expected);
        }
        let token = self.next()?;
        Ok(match parse_float(token.text) {
            Ok(value) => (value, None, token.span),
            Err(error) => (error.value(), Some(error), token.span),
        })
    }

    /// `label_replace(X, "dst", "replacement", "src", "regex")`
    fn label_replace(&mut self) -> Parsed<Tree<Expr>> {
        self.next()?;
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let inner = self.metric()?;
        self.expect_symbol(Symbol::Comma, &[])?;
        let (destination, _) = self.expect_string(&["STRING"])?;
        self.expect_symbol(Symbol::Comma, &[","])?;
        let (replacement, _) = self.expect_string(&["STRING"])?;
        self.expect_symbol(Symbol::Comma, &[","])?;
        let (source, _) = self.expect_string(&["STRING"])?;
        self.expect_symbol(Symbol::Comma, &[","])?;
        let (regex, span) = self.expect_string(&["STRING"])?;
        self.count_regex(span)?;
        self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
        if let Err(error) = super::definition::check_replacement_regex(&regex) {
            self.defer(ParseErrorKind::LabelReplace(error), span);
        }
        let height = inner.height + 1;
        self.check_height(height)?;
        let replace = LabelReplace { inner: inner.node, destination, replacement, source, regex };
        Ok(Tree { node: Expr::Metric(MetricExpr::LabelReplace(Box::new(replace))), height })
    }

    /// `variants(A, B) of (range)`
    fn variants(&mut self) -> Parsed<Variants> {
        self.next()?;
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let variants = self.list(|parser| parser.metric().map(|variant| variant.node))?;
        self.expect_symbol(Symbol::CloseParenthesis, &[])?;
        if !self.eat_keyword(Keyword::Of)? {
            return self.unexpected(&["of"]);
        }
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let of = self.log_range(&["{", "("])?;
        self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
        Ok(Variants { variants, of })
    }

    /// `(a, b)`, perhaps empty.
    pub(super) fn label_names(&mut self) -> Parsed<Vec<String>> {
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let mut names = Vec::new();
        if self.eat_symbol(Symbol::CloseParenthesis)? {
            return Ok(names);
        }
        names.push(self.expect_name(&["IDENTIFIER", ")"])?);
        while self.eat_symbol(Symbol::Comma)? {
            names.push(self.expect_name(&["IDENTIFIER"])?);
        }
        self.expect_symbol(Symbol::CloseParenthesis, &[",", ")"])?;
        Ok(names)
    }
}

/// The operand if it has samples.
fn samples_of(operand: Expr, op: BinaryOp, side: Side, span: Span) -> Parsed<MetricExpr> {
    let type_name = match operand {
        Expr::Metric(metric) => return Ok(metric),
        Expr::Log(log) if log.stages.is_empty() => "MatchersExpr",
        Expr::Log(_) => "PipelineExpr",
        Expr::Variants(_) => "MultiVariantExpr",
    };
    fail(ParseErrorKind::OperandType { side, op, type_name }, span)
}

/// The value of an operation on two numbers. Division by zero gives NaN; comparisons give 0 or 1.
fn fold(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |is_true| if is_true { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Compare(CompareOp::Equal) => truth(left == right),
        BinaryOp::Compare(CompareOp::NotEqual) => truth(left != right),
        BinaryOp::Compare(CompareOp::Greater) => truth(left > right),
        BinaryOp::Compare(CompareOp::GreaterEqual) => truth(left >= right),
        BinaryOp::Compare(CompareOp::Less) => truth(left < right),
        BinaryOp::Compare(CompareOp::LessEqual) => truth(left <= right),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => {
            unreachable!("set operations refuse numbers")
        }
    }
}
