//! Text to tokens, by the rules of Go's scanner with Loki's words on top.
//!
//! The lexer is lazy: it looks at no character behind the token it was asked for, except to tell a word of the
//! language from a label of that name (`rate(` from `rate`). It never allocates but for strings with escapes.

use crate::{
    duration::{self, RangeError},
    error::Span,
    size,
};

mod letter;
mod literal;
mod number;
mod token;
mod word;

pub use number::{FloatError, NumberError, parse_float};
pub use token::{Call, Flag, Keyword, Symbol, Token, TokenKind};

/// Characters that do not form a token. `Display` is the wording of Go's scanner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LexicalError {
    /// U+0000, which Go's scanner takes nowhere.
    #[error("invalid character NUL")]
    Nul,
    /// A string without its closing quote.
    #[error("literal not terminated")]
    UnterminatedLiteral,
    /// `/*` without `*/`.
    #[error("comment not terminated")]
    UnterminatedComment,
    /// A backslash that starts no escape.
    #[error("invalid char escape")]
    Escape,
    /// An escape that stands for no character.
    #[error("invalid syntax")]
    EscapeValue,
    /// Single quotes around anything but one character.
    #[error("invalid char literal")]
    CharLiteral,
    /// A number that Go would not write.
    #[error(transparent)]
    Number(NumberError),
    /// `[` without `]`.
    #[error("missing closing ']' in duration")]
    UnterminatedRange,
    /// What stands between `[` and `]`.
    #[error(transparent)]
    Range(RangeError),
}

/// A lexical error with the token it happened in.
pub(crate) type Misfit = (LexicalError, Span);

/// Hands out the tokens of a query, one at a time.
#[derive(Clone, Debug)]
pub struct Lexer<'q> {
    query: &'q str,
    at: usize,
}

impl<'q> Lexer<'q> {
    /// Starts at the beginning of `query`, behind a byte order mark.
    pub fn new(query: &'q str) -> Self {
        let at = if query.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { query, at }
    }

    /// The next token; [`TokenKind::End`] again and again once the query is used up.
    pub fn next_token(&mut self) -> Result<Token<'q>, (LexicalError, Span)> {
        self.at = skip_blanks(self.query, self.at)?;
        let start = self.at;
        let (kind, end) = self.scan(start)?;
        self.at = end;
        let span = Span { start, end };
        if self.query.as_bytes().get(end) == Some(&0) {
            // Go's scanner reads one character ahead and blames the token it is about to return.
            return Err((LexicalError::Nul, span));
        }
        Ok(Token { kind, text: &self.query[start..end], span })
    }

    /// The token at `start` and where it ends.
    fn scan(&self, start: usize) -> Result<(TokenKind, usize), Misfit> {
        let rest = &self.query[start..];
        let Some(first) = rest.chars().next() else {
            return Ok((TokenKind::End, start));
        };
        match first {
            '"' | '`' => literal::string(rest)
                .map(|(value, length)| (TokenKind::String(value), start + length))
                .map_err(|error| self.misfit(error, start)),
            '\'' => literal::character(rest)
                .map(|length| (TokenKind::Identifier, start + length))
                .map_err(|error| self.misfit(error, start)),
            '0'..='9' => self.number(start),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(start),
            '[' => self.range(start),
            '-' => Ok(self.minus(start)),
            c if letter::starts_word(c) => Ok(self.word(start)),
            c => Ok(match Symbol::scan(rest) {
                Some(symbol) => (TokenKind::Symbol(symbol), start + symbol.as_str().len()),
                None => (TokenKind::Identifier, start + c.len_utf8()),
            }),
        }
    }

    /// A number, or the duration or byte size that it begins.
    fn number(&self, start: usize) -> Result<(TokenKind, usize), Misfit> {
        let rest = &self.query[start..];
        let length = number::scan(rest).map_err(|error| self.misfit(LexicalError::Number(error), start))?;
        let long = run_end(rest, length, DURATION_CHARACTERS);
        if long > length
            && let Some(nanos) = any_duration(&rest[..long])
        {
            return Ok((TokenKind::Duration(nanos), start + long));
        }
        let long = run_end(rest, length, SIZE_CHARACTERS);
        if long > length
            && let Some(bytes) = size::parse(&rest[..long])
        {
            return Ok((TokenKind::Bytes(bytes), start + long));
        }
        Ok((TokenKind::Number, start + length))
    }

    /// A flag, a negative duration, or the operator.
    fn minus(&self, start: usize) -> (TokenKind, usize) {
        let rest = &self.query[start..];
        if let Some(flag) = Flag::scan(rest) {
            return (TokenKind::Flag(flag), start + flag.as_str().len());
        }
        let long = run_end(rest, 1, DURATION_CHARACTERS);
        match any_duration(&rest[..long]) {
            Some(nanos) => (TokenKind::Duration(nanos), start + long),
            None => (TokenKind::Symbol(Symbol::Minus), start + 1),
        }
    }

    /// `[` up to and with `]`.
    fn range(&self, start: usize) -> Result<(TokenKind, usize), Misfit> {
        let inner = &self.query[start + 1..];
        let Some(length) = memchr::memchr(b']', inner.as_bytes()) else {
            return Err((LexicalError::UnterminatedRange, Span { start, end: self.query.len() }));
        };
        let end = start + length + 2;
        match duration::parse_prometheus(&inner[..length]) {
            Ok(nanos) => Ok((TokenKind::Range(nanos), end)),
            Err(error) => Err((LexicalError::Range(error), Span { start, end })),
        }
    }

    /// A keyword, a function that is called, or an identifier.
    fn word(&self, start: usize) -> (TokenKind, usize) {
        let rest = &self.query[start..];
        let end = start + letter::word_length(rest);
        let text = &self.query[start..end];
        let kind = match word::lookup(text) {
            Some(word::Word::Keyword(keyword)) => TokenKind::Keyword(keyword),
            Some(word::Word::Call(call)) if self.is_call(end) => TokenKind::Call(call),
            _ => TokenKind::Identifier,
        };
        (kind, end)
    }

    /// Whether `(`, or a grouping with its `(`, follows.
    fn is_call(&self, at: usize) -> bool {
        let Ok(at) = skip_blanks(self.query, at) else { return false };
        let rest = &self.query[at..];
        if rest.starts_with('(') {
            return true;
        }
        let length = letter::word_length(rest);
        let is_grouping =
            matches!(word::lookup(&rest[..length]), Some(word::Word::Keyword(Keyword::By | Keyword::Without)));
        is_grouping && skip_blanks(self.query, at + length).is_ok_and(|at| self.query[at..].starts_with('('))
    }

    /// An error in the literal that starts at `start`. How far it reaches is not known, so the first line is marked.
    fn misfit(&self, error: LexicalError, start: usize) -> Misfit {
        let rest = &self.query[start..];
        let length = match &error {
            LexicalError::Number(_) => rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.'),
            _ => rest.find('\n'),
        };
        (error, Span { start, end: start + length.unwrap_or(rest.len()) })
    }
}

/// What a duration consists of; micro is U+00B5 only.
const DURATION_CHARACTERS: &str = "0123456789.nu\u{b5}mshdwy";

/// What a byte size consists of.
const SIZE_CHARACTERS: &str = "0123456789.BikKMGTP";

/// How far `characters` reach from `from`.
fn run_end(text: &str, from: usize, characters: &str) -> usize {
    text[from..].find(|c| !characters.contains(c)).map_or(text.len(), |length| from + length)
}

/// A duration anywhere but in a range: Prometheus' form, else Go's.
fn any_duration(text: &str) -> Option<i64> {
    duration::parse_prometheus(text).ok().or_else(|| duration::parse_go(text))
}

/// Where the next token starts: behind blanks, `#` and `//` to the end of the line, and `/* … */`.
fn skip_blanks(query: &str, mut at: usize) -> Result<usize, Misfit> {
    let bytes = query.as_bytes();
    loop {
        let rest = &bytes[at..];
        match rest {
            [b' ' | b'\t' | b'\r' | b'\n', ..] => at += 1,
            [b'#', ..] | [b'/', b'/', ..] => {
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            }
            [b'/', b'*', body @ ..] => match memchr::memmem::find(body, b"*/") {
                Some(length) => at += length + 4,
                None => {
                    return Err((LexicalError::UnterminatedComment, Span { start: at, end: query.len() }));
                }
            },
            [0, ..] => return Err((LexicalError::Nul, Span { start: at, end: at + 1 })),
            _ => return Ok(at),
        }
    }
}

#[cfg(test)]
mod tests;
