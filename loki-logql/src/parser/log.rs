//! Selectors and pipelines.

use loki_core::{MatchOp, Matcher};

use super::{MAX_STAGES, Parsed, Parser, Selectors, definition, fail, lossy};
use crate::{
    ast::{
        Extraction, LabelFormat, LabelFormatSource, LabelItem, LineFilter, LineFilterArgument, LineFilterOp, LogExpr,
        Logfmt, Stage,
    },
    error::{ParseErrorKind, Span},
    lexer::{Call, Flag, Keyword, Symbol, TokenKind},
};

/// What a pipeline ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PipelineEnd {
    /// A token that starts no stage.
    Stages,
    /// `| unwrap`, which has been taken.
    Unwrap,
}

/// Whether a pipeline may end with `| unwrap`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnwrapRule {
    Allowed,
    Forbidden,
}

impl Parser<'_> {
    /// A selector and the stages behind it, in a log query.
    pub(super) fn log(&mut self) -> Parsed<LogExpr> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        self.pipeline(&mut stages, UnwrapRule::Forbidden)?;
        Ok(LogExpr { matchers, stages })
    }

    /// `{a="b", c=~"d"}`
    pub(super) fn selector(&mut self) -> Parsed<Vec<Matcher>> {
        let start = self.next()?.span.start;
        let mut matchers = Vec::new();
        if !self.eat_symbol(Symbol::CloseBrace)? {
            matchers.push(self.matcher(&["IDENTIFIER", "}"])?);
            while self.eat_symbol(Symbol::Comma)? {
                matchers.push(self.matcher(&["IDENTIFIER"])?);
            }
            self.expect_symbol(Symbol::CloseBrace, &["}", ","])?;
        }
        let is_selective = matchers.iter().any(|matcher| !matcher.matches_empty());
        if !is_selective && self.selectors == Selectors::MustSelect {
            self.defer(ParseErrorKind::Unselective, Span { start, end: self.taken_to });
        }
        Ok(matchers)
    }

    fn matcher(&mut self, expected: &'static [&'static str]) -> Parsed<Matcher> {
        let name = self.expect_name(expected)?;
        let Some(op) = self.match_op()? else {
            return self.unexpected(&["=", "=~", "!~", "!="]);
        };
        self.next()?;
        self.matcher_value(name, op)
    }

    /// The operator of a matcher if it is next; does not take it.
    pub(super) fn match_op(&mut self) -> Parsed<Option<MatchOp>> {
        Ok(match self.peek()?.kind {
            TokenKind::Symbol(Symbol::Equal) => Some(MatchOp::Equal),
            TokenKind::Symbol(Symbol::NotEqual) => Some(MatchOp::NotEqual),
            TokenKind::Symbol(Symbol::Matches) => Some(MatchOp::Regex),
            TokenKind::Symbol(Symbol::NotMatches) => Some(MatchOp::NotRegex),
            _ => None,
        })
    }

    /// The string behind a matcher's operator.
    pub(super) fn matcher_value(&mut self, name: String, op: MatchOp) -> Parsed<Matcher> {
        let (value, span) = self.expect_string(&["STRING"])?;
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.count_regex(span)?;
        }
        Matcher::new(name, op, value).or_else(|error| fail(ParseErrorKind::Regex(error), span))
    }

    /// Stages, as many as there are.
    pub(super) fn pipeline(&mut self, stages: &mut Vec<Stage>, unwrap: UnwrapRule) -> Parsed<PipelineEnd> {
        loop {
            if let Some(op) = self.line_filter_op()? {
                self.line_filter(op, stages)?;
            } else if self.eat_symbol(Symbol::Pipe)? {
                if unwrap == UnwrapRule::Allowed && self.eat_keyword(Keyword::Unwrap)? {
                    return Ok(PipelineEnd::Unwrap);
                }
                stages.push(self.stage()?);
            } else {
                return Ok(PipelineEnd::Stages);
            }
            if stages.len() > MAX_STAGES {
                let span = self.peek()?.span;
                return fail(ParseErrorKind::TooManyStages, span);
            }
        }
    }

    fn line_filter_op(&mut self) -> Parsed<Option<LineFilterOp>> {
        Ok(match self.peek()?.kind {
            TokenKind::Symbol(Symbol::PipeContains) => Some(LineFilterOp::Contains),
            TokenKind::Symbol(Symbol::NotEqual) => Some(LineFilterOp::NotContains),
            TokenKind::Symbol(Symbol::PipeMatches) => Some(LineFilterOp::Matches),
            TokenKind::Symbol(Symbol::NotMatches) => Some(LineFilterOp::NotMatches),
            TokenKind::Symbol(Symbol::PipePattern) => Some(LineFilterOp::Pattern),
            TokenKind::Symbol(Symbol::NotPattern) => Some(LineFilterOp::NotPattern),
            _ => None,
        })
    }

    /// A line filter with its alternatives; those of a negative one are filters of their own.
    fn line_filter(&mut self, op: LineFilterOp, stages: &mut Vec<Stage>) -> Parsed<()> {
        self.next()?;
        let mut alternatives = vec![self.line_filter_argument()?];
        while self.eat_keyword(Keyword::Or)? {
            alternatives.push(self.line_filter_argument()?);
        }
        if op.is_negative() {
            stages.extend(
                alternatives
                    .into_iter()
                    .map(|alternative| Stage::LineFilter(LineFilter { op, alternatives: vec![alternative] })),
            );
        } else {
            stages.push(Stage::LineFilter(LineFilter { op, alternatives }));
        }
        Ok(())
    }

    fn line_filter_argument(&mut self) -> Parsed<LineFilterArgument> {
        match self.peek()?.kind {
            TokenKind::Call(Call::Ip) => self.ip().map(LineFilterArgument::Ip),
            TokenKind::String(_) => match self.next()?.kind {
                TokenKind::String(text) => Ok(LineFilterArgument::Text(text)),
                _ => unreachable!("the token was just looked at"),
            },
            _ => self.unexpected(&["STRING", "ip"]),
        }
    }

    /// `ip("…")`, whose name is next.
    pub(super) fn ip(&mut self) -> Parsed<String> {
        self.next()?;
        self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
        let (pattern, _) = self.expect_string(&["STRING"])?;
        self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
        Ok(pattern)
    }

    /// What stands behind `|`.
    fn stage(&mut self) -> Parsed<Stage> {
        let keyword = match self.peek()?.kind {
            TokenKind::Keyword(keyword) => keyword,
            TokenKind::Identifier | TokenKind::Symbol(Symbol::OpenParenthesis) => {
                return Ok(Stage::LabelFilter(self.label_filter(&[])?.node));
            }
            _ => return self.unexpected(&[]),
        };
        match keyword {
            Keyword::Json => {
                self.next()?;
                self.extractions().map(Stage::Json)
            }
            Keyword::Logfmt => self.logfmt(),
            Keyword::Regexp => {
                let (regex, span) = self.stage_text()?;
                self.count_regex(span)?;
                match definition::check_regexp(&regex) {
                    Ok(()) => Ok(Stage::Regexp(regex)),
                    Err(error) => fail(ParseErrorKind::Regexp(error), span),
                }
            }
            Keyword::Pattern => {
                let (pattern, span) = self.stage_text()?;
                match definition::check_pattern(&pattern) {
                    Ok(()) => Ok(Stage::Pattern(pattern)),
                    Err(error) => fail(ParseErrorKind::Pattern(error), span),
                }
            }
            Keyword::Unpack => self.next().map(|_| Stage::Unpack),
            Keyword::Decolorize => self.next().map(|_| Stage::Decolorize),
            Keyword::LineFormat => Ok(Stage::LineFormat(self.stage_text()?.0)),
            Keyword::LabelFormat => self.stage_list(Self::label_format).map(Stage::LabelFormat),
            Keyword::Drop => self.stage_list(Self::label_item).map(Stage::Drop),
            Keyword::Keep => self.stage_list(Self::label_item).map(Stage::Keep),
            _ => self.unexpected(&[]),
        }
    }

    /// The string behind a stage's name, which is next.
    fn stage_text(&mut self) -> Parsed<(String, Span)> {
        self.next()?;
        self.expect_string(&["STRING"])
    }

    fn logfmt(&mut self) -> Parsed<Stage> {
        self.next()?;
        let mut logfmt = Logfmt::default();
        while let TokenKind::Flag(flag) = self.peek()?.kind {
            match flag {
                Flag::Strict => logfmt.strict = true,
                Flag::KeepEmpty => logfmt.keep_empty = true,
            }
            self.next()?;
        }
        logfmt.extractions = self.extractions()?;
        Ok(Stage::Logfmt(logfmt))
    }

    /// `a="x", b`, or nothing.
    fn extractions(&mut self) -> Parsed<Vec<Extraction>> {
        if self.peek()?.kind == TokenKind::Identifier { self.list(Self::extraction) } else { Ok(Vec::new()) }
    }

    fn extraction(&mut self) -> Parsed<Extraction> {
        let label = self.expect_name(&["IDENTIFIER"])?;
        let expression =
            if self.eat_symbol(Symbol::Equal)? { self.expect_string(&["STRING"])?.0 } else { label.clone() };
        Ok(Extraction { label, expression })
    }

    fn label_format(&mut self) -> Parsed<LabelFormat> {
        let target = self.expect_name(&["IDENTIFIER"])?;
        self.expect_symbol(Symbol::Equal, &["="])?;
        if !matches!(self.peek()?.kind, TokenKind::Identifier | TokenKind::String(_)) {
            return self.unexpected(&["IDENTIFIER", "STRING"]);
        }
        let token = self.next()?;
        let source = match token.kind {
            TokenKind::String(template) => LabelFormatSource::Template(lossy(template)),
            _ => LabelFormatSource::Rename(token.text.to_owned()),
        };
        Ok(LabelFormat { target, source })
    }

    fn label_item(&mut self) -> Parsed<LabelItem> {
        let name = self.expect_name(&["IDENTIFIER"])?;
        match self.match_op()? {
            None => Ok(LabelItem::Name(name)),
            Some(op) => {
                self.next()?;
                self.matcher_value(name, op).map(LabelItem::Matcher)
            }
        }
    }

    /// The list behind a stage's name, which is next.
    fn stage_list<T>(&mut self, item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.next()?;
        self.list(item)
    }

    /// Items with commas between them, at least one.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_symbol(Symbol::Comma)? {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
