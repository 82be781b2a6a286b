//! The keys of the extracting form: `key` or `"quoted key"`.

use std::fmt;

/// Why an expression is no key; `Display` is Loki's wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// There is no key.
    Missing,
    /// Another key or string follows.
    Unexpected(&'static str),
    /// A character that belongs to no token follows.
    Char(char),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("syntax error: unexpected $end, expecting STRING or KEY"),
            Self::Unexpected(token) => write!(f, "syntax error: unexpected {token}"),
            Self::Char(c) => write!(f, "unexpected char {c}"),
        }
    }
}

/// Reads an expression.
pub(crate) fn parse(expression: &str) -> Result<String, KeyError> {
    let (key, rest) = token(expression).ok_or(KeyError::Missing)?;
    let rest = skip_blanks(rest);
    let Some(next) = rest.chars().next() else { return Ok(key) };
    match token(rest) {
        Some(_) if next == '"' => Err(KeyError::Unexpected("STRING")),
        Some(_) => Err(KeyError::Unexpected("KEY")),
        None => Err(KeyError::Char(next)),
    }
}

/// The first key or string of `text`, and what follows it.
fn token(text: &str) -> Option<(String, &str)> {
    let text = skip_blanks(text);
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut key = String::new();
        loop {
            let end = rest.find(['"', '\\'])?;
            key.push_str(&rest[..end]);
            let mut behind = rest[end..].chars();
            if behind.next() == Some('"') {
                return Some((key, behind.as_str()));
            }
            key.push(behind.next()?);
            rest = behind.as_str();
        }
    }
    if !text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
        return None;
    }
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    Some((text[..end].to_owned(), &text[end..]))
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bare_or_quoted() {
        assert_eq!(parse("a_1").as_deref(), Ok("a_1"));
        assert_eq!(parse(r#""any \"key\"""#).as_deref(), Ok("any \"key\""));
    }

    #[test]
    fn errors_read_as_loki_words_them() {
        for (expression, text) in [
            ("", "syntax error: unexpected $end, expecting STRING or KEY"),
            ("1x", "syntax error: unexpected $end, expecting STRING or KEY"),
            ("é", "syntax error: unexpected $end, expecting STRING or KEY"),
            ("b c", "syntax error: unexpected KEY"),
            ("a-b", "unexpected char -"),
            ("x[0]", "unexpected char ["),
            ("c/d", "unexpected char /"),
        ] {
            assert_eq!(parse(expression).expect_err("no key").to_string(), text, "{expression}");
        }
    }
}
