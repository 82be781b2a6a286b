//! `-config.expand-env`: environment variables in the text of a configuration file, before it is YAML.

use std::fmt::Write as _;

/// Replaces `${NAME}`, `${NAME:-default}` and `${NAME:?message}` by what `lookup` knows.
///
/// An unknown variable is empty. Two backslashes become one, as they do in Loki's pass.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(tail) = from.strip_prefix("\\\\") {
            out.push('\\');
            rest = tail;
        } else if let Some((inside, tail)) = from.strip_prefix("${").and_then(|tail| tail.split_once('}')) {
            let line = 1 + text[..text.len() - from.len()].matches('\n').count();
            out.push_str(&reference(inside, &lookup, line)?);
            rest = tail;
        } else {
            let (sign, tail) = from.split_at(1);
            out.push_str(sign);
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A `${NAME:?message}` whose variable is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: environment variable {name} is not set: {message}")]
pub(crate) struct ExpandError {
    /// Line of the reference.
    pub(crate) line: usize,
    /// The variable.
    pub(crate) name: String,
    /// The message of the file's author.
    pub(crate) message: String,
}

fn reference(inside: &str, lookup: impl Fn(&str) -> Option<String>, line: usize) -> Result<String, ExpandError> {
    let (name, fallback) = match inside.split_once(':') {
        Some((name, fallback)) if fallback.starts_with(['-', '?']) => (name, Some(fallback)),
        _ => (inside, None),
    };
    if !is_name(name) {
        let mut literal = String::new();
        write!(literal, "${{{inside}}}").expect("writing to a string cannot fail");
        return Ok(literal);
    }
    let value = lookup(name).filter(|value| fallback.is_none() || !value.is_empty());
    match (value, fallback) {
        (Some(value), _) => Ok(value),
        (None, None) => Ok(String::new()),
        (None, Some(fallback)) => match fallback.strip_prefix('-') {
            Some(default) => Ok(default.to_owned()),
            None => {
                Err(ExpandError { line, name: name.to_owned(), message: fallback.trim_start_matches('?').to_owned() })
            }
        },
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("3200".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced() {
        let cases = [
            ("port: ${PORT}", "port: 3200"),
            ("a: ${NOPE}b", "a: b"),
            ("a: ${NOPE:-x:y}", "a: x:y"),
            ("a: ${EMPTY:-x}", "a: x"),
            ("a: ${PORT:-1}${PORT:?needed}", "a: 32003200"),
            ("a: $PORT ${} ${a b} $", "a: $PORT ${} ${a b} $"),
            (r"re: '\\d+\.'", r"re: '\d+\.'"),
            ("open: ${PORT", "open: ${PORT"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, lookup).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_required_variable_is_named_with_its_line() {
        let error = expand("a: 1\nb: ${SECRET:?set it}\n", lookup).expect_err("it is not set");
        assert_eq!(error.to_string(), "line 2: environment variable SECRET is not set: set it");
    }
}
