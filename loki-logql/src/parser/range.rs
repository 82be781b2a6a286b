//! Log ranges: a selector with its pipeline and the window it is read for.

use super::{
    Parsed, Parser, fail,
    log::{PipelineEnd, UnwrapRule},
};
use crate::{
    ast::{LogExpr, LogRange, Unwrap, UnwrapConversion},
    error::ParseErrorKind,
    lexer::{Call, Keyword, Symbol, TokenKind},
};

/// What was found in brackets that may still want a window behind them.
enum Bracketed {
    /// A selector with a pipeline and no window yet.
    Windowless(LogExpr, Option<Unwrap>),
    /// A whole log range.
    Range(LogRange),
}

impl Parser<'_> {
    /// A log range; `expected` is what could stand at its start.
    pub(super) fn log_range(&mut self, expected: &'static [&'static str]) -> Parsed<LogRange> {
        if self.is_symbol(Symbol::OpenBrace)? {
            match self.selector_range(false)? {
                Bracketed::Range(range) => Ok(range),
                Bracketed::Windowless(..) => self.unexpected(&[]),
            }
        } else if self.is_symbol(Symbol::OpenParenthesis)? {
            self.nested(Self::bracketed_range)
        } else {
            self.unexpected(expected)
        }
    }

    /// A log range that starts with a bracket.
    fn bracketed_range(&mut self) -> Parsed<LogRange> {
        self.next()?;
        let inner = if self.is_symbol(Symbol::OpenBrace)? {
            self.selector_range(true)?
        } else if self.is_symbol(Symbol::OpenParenthesis)? {
            Bracketed::Range(self.nested(Self::bracketed_range)?)
        } else {
            return self.unexpected(&["{", "("]);
        };
        self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
        let (log, unwrap) = match inner {
            Bracketed::Range(range) => return Ok(range),
            Bracketed::Windowless(log, unwrap) => (log, unwrap),
        };
        let (range_nanos, offset_nanos) = self.window(&["RANGE"])?;
        let takes_unwrap = log.stages.is_empty() && unwrap.is_none();
        let unwrap = if takes_unwrap && self.eat_symbol(Symbol::Pipe)? {
            if !self.eat_keyword(Keyword::Unwrap)? {
                return self.unexpected(&["unwrap"]);
            }
            Some(self.unwrap()?)
        } else {
            unwrap
        };
        Ok(LogRange { log, unwrap, range_nanos, offset_nanos })
    }

    /// A log range that starts with its selector. In brackets the window may stand behind them.
    fn selector_range(&mut self, is_bracketed: bool) -> Parsed<Bracketed> {
        let matchers = self.selector()?;
        let mut log = LogExpr { matchers, stages: Vec::new() };
        if matches!(self.peek()?.kind, TokenKind::Range(_)) {
            let (range_nanos, offset_nanos) = self.window(&[])?;
            let unwrap = self.range_pipeline(&mut log)?;
            return Ok(Bracketed::Range(LogRange { log, unwrap, range_nanos, offset_nanos }));
        }
        let unwrap = self.range_pipeline(&mut log)?;
        if is_bracketed && self.is_symbol(Symbol::CloseParenthesis)? {
            return Ok(Bracketed::Windowless(log, unwrap));
        }
        let (range_nanos, offset_nanos) = self.window(match &unwrap {
            Some(unwrap) if unwrap.filters.is_empty() && is_bracketed => &["RANGE", ")", "|"],
            Some(unwrap) if unwrap.filters.is_empty() => &["RANGE", "|"],
            _ => &[],
        })?;
        Ok(Bracketed::Range(LogRange { log, unwrap, range_nanos, offset_nanos }))
    }

    /// Stages, perhaps with an unwrap at their end.
    fn range_pipeline(&mut self, log: &mut LogExpr) -> Parsed<Option<Unwrap>> {
        match self.pipeline(&mut log.stages, UnwrapRule::Allowed)? {
            PipelineEnd::Stages => Ok(None),
            PipelineEnd::Unwrap => self.unwrap().map(Some),
        }
    }

    /// `[5m] offset 1h`
    fn window(&mut self, expected: &'static [&'static str]) -> Parsed<(i64, i64)> {
        let TokenKind::Range(range_nanos) = self.peek()?.kind else {
            return self.unexpected(expected);
        };
        self.next()?;
        if !self.eat_keyword(Keyword::Offset)? {
            return Ok((range_nanos, 0));
        }
        let TokenKind::Duration(offset_nanos) = self.peek()?.kind else {
            return self.unexpected(&["DURATION"]);
        };
        self.next()?;
        Ok((range_nanos, offset_nanos))
    }

    /// What stands behind `| unwrap`.
    fn unwrap(&mut self) -> Parsed<Unwrap> {
        const START: &[&str] = &["IDENTIFIER", "BYTES_CONV", "DURATION_CONV", "DURATION_SECONDS_CONV"];
        let conversion = match self.peek()?.kind {
            TokenKind::Call(Call::Bytes) => UnwrapConversion::Bytes,
            TokenKind::Call(Call::Duration) => UnwrapConversion::Duration,
            TokenKind::Call(Call::DurationSeconds) => UnwrapConversion::DurationSeconds,
            _ => UnwrapConversion::Number,
        };
        let label = if conversion == UnwrapConversion::Number {
            self.expect_name(START)?
        } else {
            self.next()?;
            self.expect_symbol(Symbol::OpenParenthesis, &["("])?;
            let label = self.expect_name(&["IDENTIFIER"])?;
            self.expect_symbol(Symbol::CloseParenthesis, &[")"])?;
            label
        };
        let mut filters = Vec::new();
        while self.eat_symbol(Symbol::Pipe)? {
            filters.push(self.label_filter(&["IDENTIFIER", "("])?.node);
            if filters.len() > super::MAX_STAGES {
                let span = self.peek()?.span;
                return fail(ParseErrorKind::TooManyStages, span);
            }
        }
        Ok(Unwrap { label, conversion, filters })
    }
}
