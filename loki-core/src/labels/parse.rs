//! Label text as push clients send it, read the way Prometheus reads a metric.
//!
//! Loki hands the text to Prometheus' parser, so the grammar, the error texts and their positions are those of a PromQL
//! metric: an optional metric name, then `{name="value", …}` with Go string literals in double quotes, single quotes or
//! backticks.

use std::borrow::Cow;

use super::LabelsError;
use super::quote::{EscapeError, quote, quote_char, unescape};

/// A label name with its value, borrowed from the text where it holds no escapes.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The name under which Prometheus keeps the part before the brace.
const METRIC_NAME: &str = "__name__";

/// Prometheus shortens tokens beyond this many characters in its messages.
const MAX_SHOWN_CHARS: usize = 10;

/// The pairs of `text` in the order written, duplicates and empty values included.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair<'_>>, LabelsError> {
    let mut parser = Parser { text, at: 0, token_start: 0, pairs: Vec::new() };
    parser.metric()?;
    Ok(parser.pairs)
}

/// What the text is cut into.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Identifier(&'a str),
    /// The literal with its quotes, and its value.
    String(&'a str, Cow<'a, str>),
    /// A comma, a brace or a single equals sign.
    Mark(&'static str),
    /// A matching operator that has no place in a label set.
    Operator(&'static str),
    Number(&'a str),
}

impl Token<'_> {
    /// The token as Prometheus' messages call it.
    fn describe(&self) -> String {
        match self {
            Self::End => "end of input".to_owned(),
            Self::Identifier(name) => format!("identifier {}", quote(name)),
            Self::String(literal, _) => format!("string {}", shorten(literal)),
            Self::Mark(mark) => quote(mark),
            Self::Operator(operator) => format!("<op:{operator}>"),
            Self::Number(number) => format!("number {}", shorten(number)),
        }
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= MAX_SHOWN_CHARS {
        return quote(text);
    }
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    quote(&shown) + "..."
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    token_start: usize,
    pairs: Vec<Pair<'a>>,
}

impl<'a> Parser<'a> {
    fn metric(&mut self) -> Result<(), LabelsError> {
        self.skip_space();
        if let Some(name) = self.take_name(|b| b == b':' || is_name_byte(b)) {
            self.pairs.push((METRIC_NAME.into(), name.into()));
        }
        self.skip_space();
        if self.peek() == Some(b'{') {
            self.at += 1;
            self.label_set()?;
        }
        match self.statement_token()? {
            Token::End => Ok(()),
            token => Err(self.unexpected(&token, "", "")),
        }
    }

    fn label_set(&mut self) -> Result<(), LabelsError> {
        loop {
            let name = match self.brace_token()? {
                Token::Mark("}") => return Ok(()),
                Token::Identifier(name) => Cow::Borrowed(name),
                Token::String(_, name) => name,
                token => return Err(self.unexpected(&token, "label set", "identifier or \"}\"")),
            };
            match self.brace_token()? {
                Token::Mark("=") => {}
                token => return Err(self.unexpected(&token, "label set", "\"=\"")),
            }
            match self.brace_token()? {
                Token::String(_, value) => self.pairs.push((name, value)),
                token => return Err(self.unexpected(&token, "label set", "string")),
            }
            match self.brace_token()? {
                Token::Mark("}") => return Ok(()),
                Token::Mark(",") => {}
                token => return Err(self.unexpected(&token, "label set", "\",\" or \"}\"")),
            }
        }
    }

    fn brace_token(&mut self) -> Result<Token<'a>, LabelsError> {
        self.skip_space();
        if let Some(name) = self.take_name(is_name_byte) {
            return Ok(Token::Identifier(name));
        }
        let Some(c) = self.text[self.at..].chars().next() else {
            return Err(self.error("unexpected end of input inside braces"));
        };
        let next = self.text.as_bytes().get(self.at + 1).copied();
        let (token, len) = match (c, next) {
            ('"' | '\'' | '`', _) => return self.string_token(c),
            (',', _) => (Token::Mark(","), 1),
            ('}', _) => (Token::Mark("}"), 1),
            ('=', Some(b'~')) => (Token::Operator("=~"), 2),
            ('=', _) => (Token::Mark("="), 1),
            ('!', Some(b'=')) => (Token::Operator("!="), 2),
            ('!', Some(b'~')) => (Token::Operator("!~"), 2),
            ('!', _) => match self.text[self.at + 1..].chars().next() {
                Some(after) => {
                    return Err(
                        self.error(&format!("unexpected character after '!' inside braces: {}", quote_char(after)))
                    );
                }
                None => return Err(self.error("unexpected end of input inside braces")),
            },
            ('{', _) => return Err(self.error("unexpected left brace '{'")),
            (c, _) => {
                return Err(self.error(&format!("unexpected character inside braces: {}", quote_char(c))));
            }
        };
        self.at += len;
        Ok(token)
    }

    /// A token outside braces. Only the end of the text is welcome there, the rest is cut for the message's sake.
    fn statement_token(&mut self) -> Result<Token<'a>, LabelsError> {
        self.skip_space();
        let Some(c) = self.text[self.at..].chars().next() else {
            return Ok(Token::End);
        };
        if let Some(name) = self.take_name(|b| b == b':' || is_name_byte(b)) {
            return Ok(Token::Identifier(name));
        }
        if c.is_ascii_digit() {
            let digits = self.text[self.at..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'.').count();
            return Ok(Token::Number(&self.text[self.at..self.at + digits]));
        }
        match c {
            '"' | '\'' | '`' => self.string_token(c),
            '{' => Ok(Token::Mark("{")),
            '}' => Err(self.error("unexpected right brace '}'")),
            ',' => Ok(Token::Mark(",")),
            '=' => Ok(Token::Mark("=")),
            c => Err(self.error(&format!("unexpected character: {}", quote_char(c)))),
        }
    }

    fn string_token(&mut self, delimiter: char) -> Result<Token<'a>, LabelsError> {
        let text = self.text;
        let body = &text[self.at + 1..];
        if delimiter == '`' {
            let len = memchr::memchr(b'`', body.as_bytes()).ok_or_else(|| self.error("unterminated raw string"))?;
            self.at += len + 2;
            return Ok(Token::String(&text[self.token_start..self.at], body[..len].into()));
        }
        let mut unescaped: Option<Vec<u8>> = None;
        let mut rest = body;
        loop {
            let at = memchr::memchr3(delimiter as u8, b'\\', b'\n', rest.as_bytes())
                .ok_or_else(|| self.error("unterminated quoted string"))?;
            let (plain, behind) = (&rest[..at], &rest[at + 1..]);
            match rest.as_bytes()[at] {
                b'\\' => {
                    let value = unescaped.get_or_insert_default();
                    value.extend_from_slice(plain.as_bytes());
                    rest = unescape(behind, delimiter, value).map_err(|e| self.error(&describe_escape(e)))?;
                }
                b'\n' => return Err(self.error("unterminated quoted string")),
                _ => {
                    self.at = text.len() - behind.len();
                    let value = match unescaped {
                        None => Cow::Borrowed(plain),
                        Some(mut value) => {
                            value.extend_from_slice(plain.as_bytes());
                            Cow::Owned(String::from_utf8_lossy(&value).into_owned())
                        }
                    };
                    return Ok(Token::String(&text[self.token_start..self.at], value));
                }
            }
        }
    }

    fn take_name(&mut self, is_part: impl Fn(u8) -> bool) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        if rest.as_bytes().first().is_none_or(u8::is_ascii_digit) {
            return None;
        }
        let len = rest.bytes().take_while(|&b| is_part(b)).count();
        self.at += len;
        (len > 0).then(|| &rest[..len])
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Moves to the next token, which begins where this stops.
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.token_start = self.at;
    }

    fn unexpected(&self, token: &Token<'_>, context: &str, expected: &str) -> LabelsError {
        let mut problem = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            problem = format!("{problem} in {context}, expected {expected}");
        }
        self.error(&problem)
    }

    fn error(&self, problem: &str) -> LabelsError {
        let before = &self.text.as_bytes()[..self.token_start];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
        LabelsError::Syntax { line, column, problem: problem.to_owned() }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn describe_escape(error: EscapeError) -> String {
    match error {
        EscapeError::Unterminated => "escape sequence not terminated".to_owned(),
        EscapeError::Unknown(c) => format!("unknown escape sequence {}", code_point(c)),
        EscapeError::Digit(c) => format!("illegal character {} in escape sequence", code_point(c)),
        EscapeError::CodePoint => "escape sequence is an invalid Unicode code point".to_owned(),
    }
}

/// Go's `%#U`.
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}
