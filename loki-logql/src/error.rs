//! Why a query was refused: Loki's one-line text for its clients, a drawing with a caret for people.

use std::fmt::{self, Write as _};

use loki_core::RegexError;

use crate::{
    ast::{BinaryOp, Decimal, RangeOp, VectorOp, go_float},
    lexer::{FloatError, LexicalError},
    parser::{MAX_QUERY_BYTES, MAX_REGEXES, MAX_STAGES, PatternError, RegexpError},
};

/// A piece of a query, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it starts.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

/// A query that cannot be parsed, or means nothing.
///
/// `Display` is Loki's text to the letter, with its habit of printing line 0 for some tokens. [`ParseError::render`]
/// is the version for people.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// Where it is wrong.
    pub span: Span,
    /// The query; empty when it was too long to keep.
    pub query: String,
}

/// What is wrong with a query. `Display` is Loki's wording without the position.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The characters do not form a token.
    #[error(transparent)]
    Lexical(LexicalError),
    /// The token does not belong here.
    #[error("syntax error: unexpected {found}{}", Expecting(expected))]
    Unexpected {
        /// Loki's name of the token.
        found: String,
        /// Names of the tokens that could stand here; empty when there are more than four.
        expected: &'static [&'static str],
        /// False for the tokens that Loki reports on line 0.
        line_known: bool,
    },
    /// The query has no characters at all.
    #[error("syntax error: unexpected $end")]
    Empty,
    /// The query has [`MAX_QUERY_BYTES`] or more.
    #[error("input size too long ({bytes} > {MAX_QUERY_BYTES})")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Something nests deeper than [`MAX_NESTING`](crate::parser::MAX_NESTING), or makes a tree deeper than
    /// [`MAX_DEPTH`](crate::parser::MAX_DEPTH).
    #[error("query nests too deep (limit {limit})")]
    TooDeep {
        /// The limit that was hit.
        limit: usize,
    },
    /// One pipeline has more than [`MAX_STAGES`] stages.
    #[error("too many pipeline stages (limit {MAX_STAGES})")]
    TooManyStages,
    /// The query has more than [`MAX_REGEXES`] regular expressions.
    #[error("too many regular expressions (limit {MAX_REGEXES})")]
    TooManyRegexes,
    /// A selector could select streams that have none of its labels.
    #[error(
        "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For \
         instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will"
    )]
    Unselective,
    /// A regular expression of a matcher or a label filter.
    #[error(transparent)]
    Regex(RegexError),
    /// The definition of a `regexp` stage.
    #[error("invalid regexp parser: {0}")]
    Regexp(RegexpError),
    /// The definition of a `pattern` stage.
    #[error("invalid pattern parser: {0}")]
    Pattern(PatternError),
    /// The regular expression of `label_replace`.
    #[error("invalid regex in label_replace: {0}")]
    LabelReplace(RegexError),
    /// A literal that is a token, yet no number.
    #[error("unable to parse literal as a float: {0}")]
    Literal(FloatError),
    /// The same inside `vector(…)`.
    #[error("unable to parse vectorExpr as a float: {0}")]
    VectorLiteral(FloatError),
    /// A range function that takes no parameter got one.
    #[error("parameter {} not supported for operation {op}", Decimal(*parameter))]
    RangeParameter {
        /// The function.
        op: RangeOp,
        /// The parameter.
        parameter: f64,
    },
    /// `quantile_over_time` without its quantile.
    #[error("parameter required for operation {0}")]
    MissingRangeParameter(RangeOp),
    /// `topk` and its relatives without their count.
    #[error("parameter required for operation {0}")]
    MissingVectorParameter(VectorOp),
    /// A vector function that takes no parameter got one.
    #[error("unsupported parameter for operation {op}({parameter},")]
    VectorParameter {
        /// The function.
        op: VectorOp,
        /// The parameter as written.
        parameter: String,
    },
    /// A count that is no integer.
    #[error("invalid parameter {op}({parameter},")]
    FractionalParameter {
        /// The function.
        op: VectorOp,
        /// The parameter as written.
        parameter: String,
    },
    /// A count of zero.
    #[error("invalid parameter (must be greater than 0) {op}({parameter}")]
    ZeroParameter {
        /// The function.
        op: VectorOp,
        /// The parameter as written.
        parameter: String,
    },
    /// A range function that cannot be grouped.
    #[error("grouping not allowed for {0} aggregation")]
    RangeGrouping(RangeOp),
    /// A vector function that cannot be grouped.
    #[error("grouping not allowed for {0} aggregation")]
    VectorGrouping(VectorOp),
    /// `sort` or `sort_desc` with a grouping.
    #[error("sort and sort_desc doesn't allow grouping by ")]
    SortGrouping,
    /// A range function over lines got an `unwrap`.
    #[error("invalid aggregation {0} with unwrap")]
    ForbiddenUnwrap(RangeOp),
    /// A range function over values lacks its `unwrap`.
    #[error("invalid aggregation {0} without unwrap")]
    MissingUnwrap(RangeOp),
    /// An operand that has no samples. The type names are Go's.
    #[error("unexpected type for {side} leg of binary operation ({op}): *syntax.{type_name}")]
    OperandType {
        /// Which operand.
        side: Side,
        /// The operator.
        op: BinaryOp,
        /// What it is instead.
        type_name: &'static str,
    },
    /// `and`, `or` or `unless` with a number.
    #[error("unexpected literal for {side} leg of logical/set binary operation ({op}): {}", six_decimals(*value))]
    LiteralOperand {
        /// Which operand.
        side: Side,
        /// The operator.
        op: BinaryOp,
        /// The number.
        value: f64,
    },
    /// A query where a bare selector is wanted.
    #[error("only label matchers are supported")]
    NotASelector,
    /// A metric query where a log query is wanted.
    #[error("only log selector is supported")]
    NotALogQuery,
}

/// An operand's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the operator.
    Left,
    /// Behind the operator.
    Right,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ParseErrorKind::Lexical(_) | ParseErrorKind::Unexpected { .. } => {
                let (line, column) = self.position();
                let line = if self.kind.has_line() { line } else { 0 };
                write!(f, "parse error at line {line}, col {column}: {}", self.kind)
            }
            ParseErrorKind::NotASelector | ParseErrorKind::NotALogQuery => self.kind.fmt(f),
            kind => write!(f, "parse error : {kind}"),
        }
    }
}

impl std::error::Error for ParseError {}

impl ParseError {
    /// Line and column where the error starts, both from one and in characters.
    pub fn position(&self) -> (usize, usize) {
        let before = self.query.get(..self.span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The error with the line of the query that holds it, the place marked underneath.
    ///
    /// ```
    /// let error = loki_logql::parse(r#"{app="api"} |= "#).unwrap_err();
    /// assert_eq!(error.render(), r#"error: syntax error: unexpected $end, expecting STRING or ip
    ///  --> line 1, column 16
    ///   |
    /// 1 | {app="api"} |=
    ///   |                ^
    /// "#);
    /// ```
    pub fn render(&self) -> String {
        let mut drawing = format!("error: {}\n", self.kind);
        if self.query.is_empty() {
            return drawing;
        }
        let (line, column) = self.position();
        let text = self.query.lines().nth(line - 1).unwrap_or_default();
        let marked = self.query.get(self.span.start..self.span.end).unwrap_or_default();
        let marks = marked.lines().next().unwrap_or_default().trim_end().chars().count().max(1);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs under the line, so that the caret stands below its character at any tab width.
        let indent: String = text
            .chars()
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .chain(std::iter::repeat(' '))
            .take(column - 1)
            .collect();
        let carets = "^".repeat(marks);
        // Writing to a `String` cannot fail.
        let _ = writeln!(drawing, "{margin}--> line {line}, column {column}");
        let _ = writeln!(drawing, "{margin} |");
        let _ = writeln!(drawing, "{number} | {}", text.trim_end());
        let _ = writeln!(drawing, "{margin} | {indent}{carets}");
        drawing
    }
}

impl ParseErrorKind {
    /// Whether Loki knows the line of the error; it does not for tokens that its lexer assembles itself.
    fn has_line(&self) -> bool {
        match self {
            Self::Unexpected { line_known, .. } => *line_known,
            Self::Lexical(LexicalError::Range(_) | LexicalError::UnterminatedRange) => false,
            _ => true,
        }
    }
}

/// Go's `%f`.
fn six_decimals(value: f64) -> String {
    go_float(value, |finite| format!("{finite:.6}"))
}

/// The tail of a syntax error: `, expecting A or B`.
struct Expecting<'a>(&'a [&'static str]);

impl fmt::Display for Expecting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { ", expecting " } else { " or " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}
