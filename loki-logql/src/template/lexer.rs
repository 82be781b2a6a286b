//! Cuts the text of a template into tokens, on demand.

use super::error::LexicalError;

const LEFT_DELIMITER: &str = "{{";
const RIGHT_DELIMITER: &str = "}}";
const LEFT_COMMENT: &str = "/*";
const RIGHT_COMMENT: &str = "*/";
/// A trim marker is a minus and a blank.
const TRIM_MARKER_LEN: usize = 2;
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// The words that begin or end a construct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

impl Keyword {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "range" => Self::Range,
            "template" => Self::Template,
            "with" => Self::With,
            _ => return None,
        })
    }
}

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Error(LexicalError),
    End,
    Text,
    LeftDelimiter,
    RightDelimiter,
    Space,
    Declare,
    Assign,
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    /// Another printable ASCII character, such as a comma.
    Character,
    Bool,
    CharacterConstant,
    Complex,
    Number,
    String,
    RawString,
    Identifier,
    Field,
    Variable,
    Dot,
    Nil,
    Keyword(Keyword),
}

/// A token and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind,
    pub(super) text: &'t str,
    /// Byte in the template.
    pub(super) at: usize,
    /// Line of its first character, counted from 1.
    pub(super) line: usize,
}

impl Token<'_> {
    /// The token as Go shows it in error texts.
    pub(super) fn description(&self) -> Box<str> {
        const SHOWN_CHARS: usize = 10;
        match self.kind {
            TokenKind::End => "EOF".into(),
            TokenKind::Dot | TokenKind::Nil | TokenKind::Keyword(_) => format!("<{}>", self.text).into(),
            _ if self.text.len() > SHOWN_CHARS => {
                let shown: String = self.text.chars().take(SHOWN_CHARS).collect();
                format!("{}...", loki_core::labels::quote(&shown)).into()
            }
            _ => loki_core::labels::quote(self.text).into(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Text,
    LeftDelimiter,
    Inside,
    Done,
}

/// The lexer; [`next_token`](Self::next_token) may be called for ever.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    input: &'t str,
    /// Where the token being read starts.
    start: usize,
    at: usize,
    /// Line of `start`.
    line: usize,
    parentheses: usize,
    state: State,
}

type Lexed<'t> = Result<Token<'t>, LexicalError>;

impl<'t> Lexer<'t> {
    pub(super) fn new(input: &'t str) -> Self {
        Self { input, start: 0, at: 0, line: 1, parentheses: 0, state: State::Text }
    }

    /// The next token. After an error or the end, the end.
    pub(super) fn next_token(&mut self) -> Token<'t> {
        loop {
            let token = match self.state {
                State::Text => Ok(self.text()),
                State::LeftDelimiter => self.left_delimiter(),
                State::Inside => self.inside_action().map(Some),
                State::Done => Ok(Some(self.emit(TokenKind::End))),
            };
            match token {
                Ok(Some(token)) => return token,
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Done;
                    let token = Token { kind: TokenKind::Error(error), text: "", at: self.start, line: self.line };
                    self.at = self.input.len();
                    self.ignore();
                    return token;
                }
            }
        }
    }

    fn rest(&self) -> &'t str {
        &self.input[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Passes over the text up to here.
    fn ignore(&mut self) {
        let passed = &self.input.as_bytes()[self.start..self.at];
        self.line += memchr::memchr_iter(b'\n', passed).count();
        self.start = self.at;
    }

    fn emit(&mut self, kind: TokenKind) -> Token<'t> {
        let token = Token { kind, text: &self.input[self.start..self.at], at: self.start, line: self.line };
        self.ignore();
        token
    }

    /// Text up to the next action, or the end.
    fn text(&mut self) -> Option<Token<'t>> {
        let Some(length) = self.rest().find(LEFT_DELIMITER) else {
            self.at = self.input.len();
            self.state = State::Done;
            return (self.start < self.at).then(|| self.emit(TokenKind::Text));
        };
        let delimiter_at = self.at + length;
        let mut text_end = delimiter_at;
        if has_left_trim_marker(&self.input[delimiter_at + LEFT_DELIMITER.len()..]) {
            text_end = self.start + self.input[self.start..delimiter_at].trim_end_matches(SPACES).len();
        }
        self.state = State::LeftDelimiter;
        self.at = text_end;
        let token = (self.start < text_end).then(|| self.emit(TokenKind::Text));
        self.at = delimiter_at;
        self.ignore();
        token
    }

    fn left_delimiter(&mut self) -> Result<Option<Token<'t>>, LexicalError> {
        self.at += LEFT_DELIMITER.len();
        let marker = if has_left_trim_marker(self.rest()) { TRIM_MARKER_LEN } else { 0 };
        if self.input[self.at + marker..].starts_with(LEFT_COMMENT) {
            self.at += marker;
            self.ignore();
            return self.comment().map(|()| None);
        }
        let token = self.emit(TokenKind::LeftDelimiter);
        self.at += marker;
        self.ignore();
        self.parentheses = 0;
        self.state = State::Inside;
        Ok(Some(token))
    }

    fn comment(&mut self) -> Result<(), LexicalError> {
        self.at += LEFT_COMMENT.len();
        let length = self.rest().find(RIGHT_COMMENT).ok_or(LexicalError::UnclosedComment)?;
        self.at += length + RIGHT_COMMENT.len();
        let trim = self.at_right_delimiter().ok_or(LexicalError::CommentEnd)?;
        self.pass_right_delimiter(trim);
        self.ignore();
        Ok(())
    }

    /// Whether an action ends here, and if so whether the blanks behind it go.
    fn at_right_delimiter(&self) -> Option<bool> {
        if has_right_trim_marker(self.rest()) && self.rest()[TRIM_MARKER_LEN..].starts_with(RIGHT_DELIMITER) {
            return Some(true);
        }
        self.rest().starts_with(RIGHT_DELIMITER).then_some(false)
    }

    fn pass_right_delimiter(&mut self, trim: bool) {
        self.at += RIGHT_DELIMITER.len();
        if trim {
            self.at += TRIM_MARKER_LEN;
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(SPACES).len();
        }
        self.state = State::Text;
    }

    fn right_delimiter(&mut self) -> Token<'t> {
        let trim = self.at_right_delimiter() == Some(true);
        if trim {
            self.at += TRIM_MARKER_LEN;
            self.ignore();
        }
        self.at += RIGHT_DELIMITER.len();
        let token = self.emit(TokenKind::RightDelimiter);
        if trim {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(SPACES).len();
            self.ignore();
        }
        self.state = State::Text;
        token
    }

    fn inside_action(&mut self) -> Lexed<'t> {
        if self.at_right_delimiter().is_some() {
            if self.parentheses > 0 {
                return Err(LexicalError::UnclosedParenthesis);
            }
            return Ok(self.right_delimiter());
        }
        let Some(c) = self.advance() else { return Err(LexicalError::UnclosedAction) };
        match c {
            c if SPACES.contains(&c) => Ok(self.space()),
            '=' => Ok(self.emit(TokenKind::Assign)),
            ':' if self.peek() == Some('=') => {
                self.at += 1;
                Ok(self.emit(TokenKind::Declare))
            }
            ':' => Err(LexicalError::ExpectedDeclare),
            '|' => Ok(self.emit(TokenKind::Pipe)),
            '"' => self.delimited('"', TokenKind::String, LexicalError::UnterminatedString),
            '\'' => self.delimited('\'', TokenKind::CharacterConstant, LexicalError::UnterminatedCharacter),
            '`' => self.raw_string(),
            '$' => self.field_or_variable(TokenKind::Variable),
            // A point at the very end counts as a number, as in Go.
            '.' if self.peek().is_some_and(|c| !c.is_ascii_digit()) => self.field_or_variable(TokenKind::Field),
            '.' | '+' | '-' | '0'..='9' => {
                self.at = self.start;
                self.number()
            }
            c if is_alphanumeric(c) => self.identifier(),
            '(' => {
                self.parentheses += 1;
                Ok(self.emit(TokenKind::LeftParenthesis))
            }
            ')' => {
                let open = self.parentheses.checked_sub(1);
                self.parentheses = open.ok_or(LexicalError::UnexpectedParenthesis)?;
                Ok(self.emit(TokenKind::RightParenthesis))
            }
            ' '..='~' => Ok(self.emit(TokenKind::Character)),
            c => Err(LexicalError::UnrecognizedCharacter(c)),
        }
    }

    /// A run of blanks, without the one that belongs to a closing trim marker.
    fn space(&mut self) -> Token<'t> {
        let rest = &self.input[self.start..];
        let length = rest.len() - rest.trim_start_matches(SPACES).len();
        self.at = self.start + length;
        let last = &self.input[self.at - 1..];
        if has_right_trim_marker(last) && last[TRIM_MARKER_LEN..].starts_with(RIGHT_DELIMITER) {
            self.at -= 1;
            if length == 1 {
                return self.right_delimiter();
            }
        }
        self.emit(TokenKind::Space)
    }

    /// A literal that ends with `quote`, may contain escapes and stays on its line.
    fn delimited(&mut self, quote: char, kind: TokenKind, unterminated: LexicalError) -> Lexed<'t> {
        loop {
            match self.advance() {
                Some('\\') => match self.advance() {
                    Some('\n') | None => return Err(unterminated),
                    Some(_) => {}
                },
                Some('\n') | None => return Err(unterminated),
                Some(c) if c == quote => return Ok(self.emit(kind)),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Lexed<'t> {
        let length = self.rest().find('`').ok_or(LexicalError::UnterminatedRawString)?;
        self.at += length + 1;
        Ok(self.emit(TokenKind::RawString))
    }

    fn field_or_variable(&mut self, kind: TokenKind) -> Lexed<'t> {
        if self.at_terminator() {
            return Ok(self.emit(if kind == TokenKind::Variable { kind } else { TokenKind::Dot }));
        }
        self.pass_alphanumeric();
        self.expect_terminator()?;
        Ok(self.emit(kind))
    }

    fn identifier(&mut self) -> Lexed<'t> {
        self.pass_alphanumeric();
        self.expect_terminator()?;
        let word = &self.input[self.start..self.at];
        Ok(self.emit(match word {
            "true" | "false" => TokenKind::Bool,
            "nil" => TokenKind::Nil,
            _ => Keyword::from_word(word).map_or(TokenKind::Identifier, TokenKind::Keyword),
        }))
    }

    fn pass_alphanumeric(&mut self) {
        let rest = self.rest();
        self.at += rest.find(|c| !is_alphanumeric(c)).unwrap_or(rest.len());
    }

    fn expect_terminator(&self) -> Result<(), LexicalError> {
        match self.peek() {
            Some(c) if !self.at_terminator() => Err(LexicalError::BadCharacter(c)),
            _ => Ok(()),
        }
    }

    /// Whether a name can end here.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => SPACES.contains(&c) || self.rest().starts_with(RIGHT_DELIMITER),
        }
    }

    fn number(&mut self) -> Lexed<'t> {
        let mut kind = TokenKind::Number;
        let mut well_formed = self.scan_number();
        if well_formed && matches!(self.peek(), Some('+' | '-')) {
            // A complex constant such as 1+2i.
            kind = TokenKind::Complex;
            well_formed = self.scan_number() && self.input[..self.at].ends_with('i');
        }
        if !well_formed {
            return Err(LexicalError::Number(self.input[self.start..self.at].into()));
        }
        Ok(self.emit(kind))
    }

    /// Passes over what looks like a number; false if something else is glued to it.
    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        let (mut decimal, mut hex) = (true, false);
        if self.accept("0") {
            if self.accept("xX") {
                (digits, decimal, hex) = ("0123456789abcdefABCDEF_", false, true);
            } else if self.accept("oO") {
                (digits, decimal) = ("01234567_", false);
            } else if self.accept("bB") {
                (digits, decimal) = ("01_", false);
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (decimal && self.accept("eE")) || (hex && self.accept("pP")) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.advance();
            return false;
        }
        true
    }

    fn accept(&mut self, set: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| set.contains(c));
        if accepted {
            self.at += 1;
        }
        accepted
    }

    fn accept_run(&mut self, set: &str) {
        while self.accept(set) {}
    }
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn has_left_trim_marker(text: &str) -> bool {
    matches!(text.as_bytes(), [b'-', b' ' | b'\t' | b'\r' | b'\n', ..])
}

fn has_right_trim_marker(text: &str) -> bool {
    matches!(text.as_bytes(), [b' ' | b'\t' | b'\r' | b'\n', b'-', ..])
}
