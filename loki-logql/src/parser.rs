//! Tokens to a syntax tree.
//!
//! A recursive-descent parser that reports what Loki's generated one reports: the first wrong token, and the tokens
//! that could have stood there if they are four or fewer. So every place that demands particular tokens names them in
//! the order of Loki's messages, and places where an expression or a pipeline could go on name none.
//!
//! Errors of meaning come in two kinds. Some stop the parser where they are found (a bad regex, an operand without
//! samples); others only count once the whole query is known to be well-formed, and then the leftmost one does.

use crate::{
    ast::{Expr, LogExpr},
    error::{ParseError, ParseErrorKind, Span},
    lexer::{Keyword, Lexer, Symbol, Token, TokenKind},
};

use loki_core::Matcher;

mod aggregation;
mod definition;
mod label_filter;
mod log;
mod metric;
mod range;

pub use definition::{PatternError, RegexpError};

/// Queries of this many bytes and more are refused, as Loki does.
pub const MAX_QUERY_BYTES: usize = 131_072;

/// How many brackets, calls and right operands can stand inside one another, which bounds the recursion of the parser.
pub const MAX_NESTING: usize = 128;

/// How deep a syntax tree can be, which bounds the recursion of everything that walks one. Runs of operators such as
/// `a or b or c` make trees deeper than their text looks.
pub const MAX_DEPTH: usize = 256;

/// The most stages in one pipeline.
pub const MAX_STAGES: usize = 1_024;

/// The most regular expressions in one query, each of which is compiled while parsing.
pub const MAX_REGEXES: usize = 1_024;

/// Parses a query, as Loki does before it formats one.
///
/// ```
/// let expr = loki_logql::parse(r#"rate({app="api"}|json|status>=500[5m])"#)?;
/// assert_eq!(expr.to_string(), r#"rate({app="api"} | json | status>=500[5m])"#);
/// # Ok::<(), loki_logql::ParseError>(())
/// ```
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    Parser::run(query, Selectors::MustSelect)
}

/// Parses a query that is to be evaluated. Unlike [`parse`], refuses aggregations of plain numbers such as `sum(1)`.
pub fn parse_query(query: &str) -> Result<Expr, ParseError> {
    let expr = parse(query)?;
    if let Expr::Metric(metric) = &expr
        && metric.aggregates_literal()
    {
        let span = Span { start: 0, end: query.len() };
        return Err(Fault { kind: ParseErrorKind::Unselective, span }.into_error(query));
    }
    Ok(expr)
}

/// Parses a log query: a selector with or without a pipeline.
pub fn parse_log(query: &str) -> Result<LogExpr, ParseError> {
    log_only(query, Selectors::MustSelect)
}

/// Parses a log query whose selector may select everything, as in requests to delete entries.
pub fn parse_log_of_any_stream(query: &str) -> Result<LogExpr, ParseError> {
    log_only(query, Selectors::MaySelectAll)
}

/// Parses a selector without a pipeline.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    match parse(query)? {
        Expr::Log(log) if log.stages.is_empty() => Ok(log.matchers),
        _ => Err(whole_query(query, ParseErrorKind::NotASelector)),
    }
}

/// Parses a selector without a pipeline, or `{}`, which has no matchers and selects every stream.
pub fn parse_selector_or_all(query: &str) -> Result<Vec<Matcher>, ParseError> {
    match Parser::run(query, Selectors::MaySelectAll) {
        Ok(Expr::Log(log)) if log.stages.is_empty() && log.matchers.is_empty() => Ok(log.matchers),
        _ => parse_selector(query),
    }
}

fn log_only(query: &str, selectors: Selectors) -> Result<LogExpr, ParseError> {
    match Parser::run(query, selectors)? {
        Expr::Log(log) => Ok(log),
        _ => Err(whole_query(query, ParseErrorKind::NotALogQuery)),
    }
}

fn whole_query(query: &str, kind: ParseErrorKind) -> ParseError {
    Fault { kind, span: Span { start: 0, end: query.len() } }.into_error(query)
}

/// What is asked of selectors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selectors {
    /// At least one matcher must refuse streams that lack its label.
    MustSelect,
    /// Nothing.
    MaySelectAll,
}

/// What is wrong and where.
#[derive(Debug)]
struct Fault {
    kind: ParseErrorKind,
    span: Span,
}

impl Fault {
    fn into_error(self, query: &str) -> ParseError {
        ParseError { kind: self.kind, span: self.span, query: query.to_owned() }
    }
}

type Parsed<T> = Result<T, Box<Fault>>;

/// A part of the tree and how deep it is.
struct Tree<T> {
    node: T,
    height: usize,
}

impl<T> Tree<T> {
    fn leaf(node: T) -> Self {
        Self { node, height: 1 }
    }
}

struct Parser<'q> {
    lexer: Lexer<'q>,
    /// The next token, if it was looked at already.
    peeked: Option<Token<'q>>,
    /// Where the last token that was taken ends.
    taken_to: usize,
    /// How many rules are inside one another right now.
    nesting: usize,
    /// How many regular expressions there were so far.
    regexes: usize,
    selectors: Selectors,
    /// The leftmost error that only counts if nothing else is wrong.
    deferred: Option<Box<Fault>>,
}

impl<'q> Parser<'q> {
    fn run(query: &'q str, selectors: Selectors) -> Result<Expr, ParseError> {
        if query.len() >= MAX_QUERY_BYTES {
            let kind = ParseErrorKind::TooLong { bytes: query.len() };
            return Err(ParseError { kind, span: Span::default(), query: String::new() });
        }
        if query.is_empty() {
            return Err(whole_query(query, ParseErrorKind::Empty));
        }
        let lexer = Lexer::new(query);
        let mut parser = Self { lexer, peeked: None, taken_to: 0, nesting: 0, regexes: 0, selectors, deferred: None };
        parser.query().map_err(|fault| fault.into_error(query))
    }

    fn query(&mut self) -> Parsed<Expr> {
        let expr = self.expression(0)?;
        if self.peek()?.kind != TokenKind::End {
            return self.unexpected(&[]);
        }
        match self.deferred.take() {
            Some(fault) => Err(fault),
            None => Ok(expr.node),
        }
    }

    /// Keeps an error for the case that the rest of the query is well-formed.
    fn defer(&mut self, kind: ParseErrorKind, span: Span) {
        if self.deferred.as_ref().is_none_or(|fault| span.start < fault.span.start) {
            self.deferred = Some(Box::new(Fault { kind, span }));
        }
    }

    /// Runs a rule inside the current one.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == MAX_NESTING {
            return self.too_deep(MAX_NESTING);
        }
        self.nesting += 1;
        let result = rule(self);
        self.nesting -= 1;
        result
    }

    /// Refuses to make a tree of this height if that is too much.
    fn check_height(&mut self, height: usize) -> Parsed<()> {
        if height > MAX_DEPTH { self.too_deep(MAX_DEPTH) } else { Ok(()) }
    }

    fn too_deep<T>(&mut self, limit: usize) -> Parsed<T> {
        let span = self.peek()?.span;
        fail(ParseErrorKind::TooDeep { limit }, span)
    }

    /// Counts a regular expression, which stands at `span`.
    fn count_regex(&mut self, span: Span) -> Parsed<()> {
        self.regexes += 1;
        if self.regexes > MAX_REGEXES { fail(ParseErrorKind::TooManyRegexes, span) } else { Ok(()) }
    }

    /// The next token, without taking it.
    fn peek(&mut self) -> Parsed<&Token<'q>> {
        let token = match self.peeked.take() {
            Some(token) => token,
            None => self
                .lexer
                .next_token()
                .map_err(|(error, span)| Box::new(Fault { kind: ParseErrorKind::Lexical(error), span }))?,
        };
        Ok(self.peeked.insert(token))
    }

    /// Takes the next token.
    fn next(&mut self) -> Parsed<Token<'q>> {
        self.peek()?;
        let token = self.peeked.take().expect("a token was just looked at");
        self.taken_to = token.span.end;
        Ok(token)
    }

    fn is_symbol(&mut self, symbol: Symbol) -> Parsed<bool> {
        Ok(self.peek()?.kind == TokenKind::Symbol(symbol))
    }

    /// Takes `symbol` if it is next.
    fn eat_symbol(&mut self, symbol: Symbol) -> Parsed<bool> {
        let is_next = self.is_symbol(symbol)?;
        if is_next {
            self.next()?;
        }
        Ok(is_next)
    }

    /// Takes `symbol`, or reports that one of `expected` had to be next.
    fn expect_symbol(&mut self, symbol: Symbol, expected: &'static [&'static str]) -> Parsed<()> {
        if self.eat_symbol(symbol)? { Ok(()) } else { self.unexpected(expected) }
    }

    /// Takes `keyword` if it is next.
    fn eat_keyword(&mut self, keyword: Keyword) -> Parsed<bool> {
        let is_next = self.peek()?.kind == TokenKind::Keyword(keyword);
        if is_next {
            self.next()?;
        }
        Ok(is_next)
    }

    /// Takes a name, or reports that one of `expected` had to be next.
    fn expect_name(&mut self, expected: &'static [&'static str]) -> Parsed<String> {
        if self.peek()?.kind != TokenKind::Identifier {
            return self.unexpected(expected);
        }
        Ok(self.next()?.text.to_owned())
    }

    /// Takes a string and its place; bytes that are not UTF-8 become U+FFFD.
    fn expect_string(&mut self, expected: &'static [&'static str]) -> Parsed<(String, Span)> {
        if !matches!(self.peek()?.kind, TokenKind::String(_)) {
            return self.unexpected(expected);
        }
        let token = self.next()?;
        match token.kind {
            TokenKind::String(value) => Ok((lossy(value), token.span)),
            _ => unreachable!("the token was just looked at"),
        }
    }

    /// Reports that the next token is not one of `expected`, which is empty when they are more than four.
    fn unexpected<T>(&mut self, expected: &'static [&'static str]) -> Parsed<T> {
        let token = self.peek()?;
        let found = token.kind.name().into_owned();
        let line_known = token.kind.has_line();
        let span = token.span;
        fail(ParseErrorKind::Unexpected { found, expected, line_known }, span)
    }
}

fn fail<T>(kind: ParseErrorKind, span: Span) -> Parsed<T> {
    Err(Box::new(Fault { kind, span }))
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests;
