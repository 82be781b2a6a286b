//! Number and character constants.

use loki_core::labels::{UnquoteError, unquote_bytes};

use super::error::TemplateErrorKind;
use super::lexer::TokenKind;
use super::strconv::{parse_int, parse_uint};
use crate::pipeline::units;

/// A constant, with its value in each type that can hold it.
#[derive(Debug)]
pub(super) struct Number {
    pub(super) source: Box<str>,
    pub(super) int: Option<i64>,
    pub(super) float: Option<f64>,
    /// Real and imaginary part, if the constant ends with `i`.
    pub(super) complex: Option<(f64, f64)>,
}

impl Number {
    /// The value of the token `source`, which is a number, character or complex constant.
    pub(super) fn parse(source: &str, kind: &TokenKind) -> Result<Self, TemplateErrorKind> {
        let mut number = Self { source: source.into(), int: None, float: None, complex: None };
        match kind {
            TokenKind::CharacterConstant => {
                let code = i64::from(parse_character(source)?);
                number.int = Some(code);
                number.float = Some(code as f64);
            }
            TokenKind::Complex => {
                let parts = split_complex(source)
                    .and_then(|(real, imaginary)| Some((parse_float(real)?, parse_float(imaginary)?)));
                number.set_complex(parts.ok_or(TemplateErrorKind::ComplexNumber)?);
            }
            _ => number.read_plain()?,
        }
        Ok(number)
    }

    /// The type that the constant has where any is welcome.
    pub(super) fn natural(&self) -> Natural {
        let source = self.source.as_bytes();
        let is_hex_integer =
            matches!(source, [b'0', b'x' | b'X', _, ..]) && !source.iter().any(|b| matches!(b, b'p' | b'P'));
        let is_character = source.first() == Some(&b'\'');
        let looks_like_float = source.iter().any(|b| b".eEpP".contains(b));
        match (self.complex, self.float, self.int) {
            (Some((real, imaginary)), _, _) => Natural::Complex(real, imaginary),
            (_, Some(float), _) if looks_like_float && !is_hex_integer && !is_character => Natural::Float(float),
            (_, _, Some(int)) => Natural::Int(int),
            _ => Natural::Overflow,
        }
    }

    fn read_plain(&mut self) -> Result<(), TemplateErrorKind> {
        let source = &*self.source;
        if let Some(imaginary) = source.strip_suffix('i')
            && let Some(imaginary) = parse_float(imaginary)
        {
            self.set_complex((0.0, imaginary));
            return Ok(());
        }
        self.int = parse_int(source, 0).ok();
        if let Some(int) = self.int {
            self.float = Some(int as f64);
        } else if let Ok(uint) = parse_uint(source, 0) {
            self.float = Some(uint as f64);
        } else if let Some(float) = parse_float(source) {
            if !source.bytes().any(|b| b".eEpP".contains(&b)) {
                return Err(TemplateErrorKind::IntegerOverflow(source.into()));
            }
            self.float = Some(float);
            self.int = whole(float);
        } else {
            return Err(TemplateErrorKind::Number(source.into()));
        }
        Ok(())
    }

    fn set_complex(&mut self, (real, imaginary): (f64, f64)) {
        self.complex = Some((real, imaginary));
        if imaginary == 0.0 {
            self.float = Some(real);
            self.int = whole(real);
        }
    }
}

/// The natural value of a constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Natural {
    Int(i64),
    Float(f64),
    Complex(f64, f64),
    /// An integer that only fits without a sign.
    Overflow,
}

/// `float` as an integer, if it is one.
fn whole(float: f64) -> Option<i64> {
    let int = float as i64;
    // 2^63 would saturate to a number that compares equal again.
    (int as f64 == float && float < 9_223_372_036_854_775_808.0).then_some(int)
}

/// Splits `1+2i` into its parts, without the `i`.
fn split_complex(source: &str) -> Option<(&str, &str)> {
    let source = source.strip_suffix('i')?;
    let at = source
        .char_indices()
        .skip(1)
        .filter(|&(at, c)| matches!(c, '+' | '-') && !matches!(source.as_bytes()[at - 1], b'e' | b'E' | b'p' | b'P'));
    let (at, _) = at.last()?;
    Some(source.split_at(at))
}

/// The code point of a character constant with its quotes.
fn parse_character(source: &str) -> Result<u32, TemplateErrorKind> {
    let malformed = || TemplateErrorKind::Character(source.into());
    let inner = source.strip_prefix('\'').and_then(|s| s.strip_suffix('\'')).ok_or_else(malformed)?;
    let Some(first) = inner.chars().next() else { return Err(UnquoteError.into()) };
    if first != '\\' {
        return if inner.len() == first.len_utf8() { Ok(first.into()) } else { Err(malformed()) };
    }
    if inner == "\\'" {
        return Ok(u32::from('\''));
    }
    let length = match inner.as_bytes().get(1) {
        Some(b'x' | b'0'..=b'7') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 2,
    };
    let escape = inner.get(..length).ok_or(UnquoteError)?;
    if escape == "\\\"" {
        return Err(UnquoteError.into());
    }
    let value = unquote_bytes(&format!("\"{escape}\""))?;
    if inner.len() != length {
        return Err(malformed());
    }
    match (std::str::from_utf8(&value).ok().and_then(|s| s.chars().next()), value.first()) {
        // Escapes of one byte are code points here.
        (_, Some(&byte)) if length == 4 || value.len() == 1 => Ok(byte.into()),
        (Some(c), _) => Ok(c.into()),
        _ => Err(UnquoteError.into()),
    }
}

fn parse_float(text: &str) -> Option<f64> {
    units::parse_float(text.as_bytes()).ok()
}
