//! Label filters and how they combine.

use loki_core::MatchOp;

use super::{Parsed, Parser, Tree};
use crate::{
    ast::{CompareOp, LabelFilter},
    lexer::{Call, Keyword, Symbol, TokenKind, parse_float},
};

/// Makes one filter of two.
type Join = fn(Box<LabelFilter>, Box<LabelFilter>) -> LabelFilter;

/// How `and` and `or` bind, from loose to tight.
const LEVELS: [(Keyword, Join); 2] = [(Keyword::Or, LabelFilter::Or), (Keyword::And, LabelFilter::And)];

/// What can stand behind `(`, a comma, `and` and `or`.
const START: &[&str] = &["IDENTIFIER", "("];

impl Parser<'_> {
    /// A label filter with everything that combines with it; `expected` is what could stand at its start.
    pub(super) fn label_filter(&mut self, expected: &'static [&'static str]) -> Parsed<Tree<LabelFilter>> {
        self.combined(0, expected)
    }

    /// Filters joined by the words of `LEVELS` from `level` on; both are left-associative.
    fn combined(&mut self, level: usize, expected: &'static [&'static str]) -> Parsed<Tree<LabelFilter>> {
        let Some((keyword, join)) = LEVELS.get(level).copied() else {
            return self.with_tail(expected);
        };
        let mut left = self.combined(level + 1, expected)?;
        while self.eat_keyword(keyword)? {
            let right = self.combined(level + 1, START)?;
            left = self.joined(left, right, join)?;
        }
        Ok(left)
    }

    /// One filter. A comma, or nothing, behind it takes all filters to its right as one operand.
    fn with_tail(&mut self, expected: &'static [&'static str]) -> Parsed<Tree<LabelFilter>> {
        let first = self.primary(expected)?;
        let has_tail = self.eat_symbol(Symbol::Comma)?
            || matches!(self.peek()?.kind, TokenKind::Identifier | TokenKind::Symbol(Symbol::OpenParenthesis));
        if !has_tail {
            return Ok(first);
        }
        let rest = self.nested(|parser| parser.label_filter(START))?;
        self.joined(first, rest, LabelFilter::And)
    }

    fn joined(&mut self, left: Tree<LabelFilter>, right: Tree<LabelFilter>, join: Join) -> Parsed<Tree<LabelFilter>> {
        let height = left.height.max(right.height) + 1;
        self.check_height(height)?;
        Ok(Tree { node: join(Box::new(left.node), Box::new(right.node)), height })
    }

    fn primary(&mut self, expected: &'static [&'static str]) -> Parsed<Tree<LabelFilter>> {
        if self.eat_symbol(Symbol::OpenParenthesis)? {
            let inner = self.nested(|parser| parser.label_filter(START))?;
            self.expect_symbol(Symbol::CloseParenthesis, &[])?;
            return Ok(inner);
        }
        let name = self.expect_name(expected)?;
        let filter = match self.match_op()? {
            Some(op @ (MatchOp::Equal | MatchOp::NotEqual)) => self.equality(name, op)?,
            Some(op) => {
                self.next()?;
                LabelFilter::String(self.matcher_value(name, op)?)
            }
            None => {
                let op = match self.peek()?.kind {
                    TokenKind::Symbol(Symbol::EqualEqual) => CompareOp::Equal,
                    TokenKind::Symbol(Symbol::Greater) => CompareOp::Greater,
                    TokenKind::Symbol(Symbol::GreaterEqual) => CompareOp::GreaterEqual,
                    TokenKind::Symbol(Symbol::Less) => CompareOp::Less,
                    TokenKind::Symbol(Symbol::LessEqual) => CompareOp::LessEqual,
                    _ => return self.unexpected(&[]),
                };
                self.next()?;
                self.comparison(name, op)?
            }
        };
        Ok(Tree::leaf(filter))
    }

    /// What stands behind `=` or `!=`, which is next: a string, an address, or a value to compare with.
    fn equality(&mut self, name: String, op: MatchOp) -> Parsed<LabelFilter> {
        self.next()?;
        match self.peek()?.kind {
            TokenKind::String(_) => self.matcher_value(name, op).map(LabelFilter::String),
            TokenKind::Call(Call::Ip) => {
                let pattern = self.ip()?;
                Ok(LabelFilter::Ip { name, negated: op.is_negative(), pattern })
            }
            _ if op.is_negative() => self.comparison(name, CompareOp::NotEqual),
            _ => self.comparison(name, CompareOp::Equal),
        }
    }

    /// A number, duration or byte size.
    fn comparison(&mut self, name: String, op: CompareOp) -> Parsed<LabelFilter> {
        let sign = match self.peek()?.kind {
            TokenKind::Symbol(Symbol::Plus) => Some(1.0),
            TokenKind::Symbol(Symbol::Minus) => Some(-1.0),
            _ => None,
        };
        if sign.is_some() {
            self.next()?;
        }
        let filter = match (sign, &self.peek()?.kind) {
            (_, TokenKind::Number) => {
                let magnitude = tolerant_float(self.peek()?.text);
                LabelFilter::Number { name, op, value: sign.unwrap_or(1.0) * magnitude }
            }
            (None, TokenKind::Duration(nanos)) => LabelFilter::Duration { name, op, nanos: *nanos },
            (None, TokenKind::Bytes(bytes)) => LabelFilter::Bytes { name, op, bytes: *bytes },
            (Some(_), _) => return self.unexpected(&["NUMBER"]),
            (None, _) => return self.unexpected(&[]),
        };
        self.next()?;
        Ok(filter)
    }
}

/// The value of a number token where Loki ignores that it may be none: an integer in another base is zero, a number
/// that is too large infinite.
pub(super) fn tolerant_float(text: &str) -> f64 {
    parse_float(text).unwrap_or_else(|error| error.value())
}
