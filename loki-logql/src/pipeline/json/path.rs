//! Paths of the extracting form: `a.b`, `a["any key"][0]`.

use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A member of an object.
    Key(Box<str>),
    /// An element of an array.
    Index(usize),
}

/// Why a path cannot be read; `Display` is Loki's wording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    /// A token in a place where it cannot stand, and the ones that could.
    Unexpected { token: Token, expected: &'static str },
    /// A character that belongs to no token.
    Char(char),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { token, expected: "" } => write!(f, "syntax error: unexpected {token}"),
            Self::Unexpected { token, expected } => {
                write!(f, "syntax error: unexpected {token}, expecting {expected}")
            }
            Self::Char(c) => write!(f, "unexpected char {c}"),
        }
    }
}

/// The kinds of tokens, under the names that messages use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    End,
    Dot,
    OpenBracket,
    CloseBracket,
    Field(String),
    String(String),
    Index(usize),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "$end",
            Self::Dot => "DOT",
            Self::OpenBracket => "LSB",
            Self::CloseBracket => "RSB",
            Self::Field(_) => "FIELD",
            Self::String(_) => "STRING",
            Self::Index(_) => "INDEX",
        })
    }
}

/// Reads a path.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, PathError> {
    let mut lexer = Lexer { rest: text, refused: None };
    let mut steps = Vec::new();
    match lexer.next() {
        Token::Field(name) => steps.push(Step::Key(name.into())),
        Token::OpenBracket => steps.push(lexer.bracketed()?),
        token => return Err(PathError::Unexpected { token, expected: "LSB or FIELD" }),
    }
    loop {
        match lexer.next() {
            Token::End => return lexer.refused.map_or(Ok(steps), |c| Err(PathError::Char(c))),
            Token::Dot => match lexer.next() {
                Token::Field(name) => steps.push(Step::Key(name.into())),
                token => return Err(PathError::Unexpected { token, expected: "FIELD" }),
            },
            Token::OpenBracket => steps.push(lexer.bracketed()?),
            token => return Err(PathError::Unexpected { token, expected: "" }),
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    /// The character that begins no token. The text seems to end there, and if a path may end there, this is the error.
    refused: Option<char>,
}

impl Lexer<'_> {
    /// What stands behind `[`, with the closing bracket.
    fn bracketed(&mut self) -> Result<Step, PathError> {
        let step = match self.index().unwrap_or_else(|| self.next()) {
            Token::String(name) => Step::Key(name.into()),
            Token::Index(index) => Step::Index(index),
            token => return Err(PathError::Unexpected { token, expected: "STRING or INDEX" }),
        };
        match self.next() {
            Token::CloseBracket => Ok(step),
            token => Err(PathError::Unexpected { token, expected: "RSB" }),
        }
    }

    fn next(&mut self) -> Token {
        self.skip_blanks();
        let Some(first) = self.rest.chars().next() else { return Token::End };
        match first {
            '.' => self.take(1, Token::Dot),
            '[' => self.take(1, Token::OpenBracket),
            ']' => self.take(1, Token::CloseBracket),
            '"' => self.string(),
            c if c == '_' || c.is_ascii_alphabetic() => {
                let end = self.rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
                let name = self.rest[..end].to_owned();
                self.take(end, Token::Field(name))
            }
            c => self.refuse(c),
        }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, len: usize, token: Token) -> Token {
        self.rest = &self.rest[len..];
        token
    }

    fn refuse(&mut self, c: char) -> Token {
        self.refused = Some(c);
        self.rest = "";
        Token::End
    }

    /// A double-quoted key with backslash escapes.
    fn string(&mut self) -> Token {
        let mut name = String::new();
        let mut chars = self.rest[1..].chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => name.extend(chars.next()),
                Some(c) => name.push(c),
                None => return self.refuse('"'),
            }
        }
        self.rest = chars.as_str();
        Token::String(name)
    }

    /// A whole number, which is a token between brackets only.
    fn index(&mut self) -> Option<Token> {
        self.skip_blanks();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let glued = rest.starts_with(|c: char| c == '.' || c == '_' || c.is_alphanumeric());
        let index = digits.parse().ok().filter(|_| !glued)?;
        Some(self.take(end, Token::Index(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).expect_err("an invalid path").to_string()
    }

    #[test]
    fn paths_are_fields_keys_and_indexes() {
        let key = |name: &str| Step::Key(name.into());
        assert_eq!(parse("field"), Ok(vec![key("field")]));
        assert_eq!(parse("a . b"), Ok(vec![key("a"), key("b")]));
        assert_eq!(parse(r#"a["any key"].b[0]"#), Ok(vec![key("a"), key("any key"), key("b"), Step::Index(0)]));
        assert_eq!(parse(r#"["a"]"#), Ok(vec![key("a")]));
        assert_eq!(parse("[00]"), Ok(vec![Step::Index(0)]));
        assert_eq!(parse(r#"a[""]"#), Ok(vec![key("a"), key("")]));
    }

    #[test]
    fn errors_name_what_was_expected() {
        for (path, text) in [
            ("", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("1a", "syntax error: unexpected $end, expecting LSB or FIELD"),
            ("ключ", "syntax error: unexpected $end, expecting LSB or FIELD"),
            (".", "syntax error: unexpected DOT, expecting LSB or FIELD"),
            ("a.", "syntax error: unexpected $end, expecting FIELD"),
            ("a..b", "syntax error: unexpected DOT, expecting FIELD"),
            ("list.0", "syntax error: unexpected $end, expecting FIELD"),
            ("aé", "unexpected char é"),
            ("a.b.[2]", "syntax error: unexpected LSB, expecting FIELD"),
            ("a[b]", "syntax error: unexpected FIELD, expecting STRING or INDEX"),
            ("a.b[-1]", "syntax error: unexpected $end, expecting STRING or INDEX"),
            ("a[1.5]", "syntax error: unexpected $end, expecting STRING or INDEX"),
            ("a[*]", "syntax error: unexpected $end, expecting STRING or INDEX"),
            ("a]", "syntax error: unexpected RSB"),
            ("a b", "syntax error: unexpected FIELD"),
            ("a-b", "unexpected char -"),
        ] {
            assert_eq!(error(path), text, "{path}");
        }
    }
}
