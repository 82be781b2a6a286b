//! Numbers: what Go's scanner takes for one, and what `strconv.ParseFloat` makes of it.

/// A number that Go's scanner refuses. `Display` is its wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// A prefix and nothing behind it.
    #[error("{0} has no digits")]
    NoDigits(&'static str),
    /// `0b1.5` and the like.
    #[error("invalid radix point in {0}")]
    RadixPoint(&'static str),
    /// `0o1e3`
    #[error("'{0}' exponent requires decimal mantissa")]
    DecimalExponent(char),
    /// `1p3`
    #[error("'{0}' exponent requires hexadecimal mantissa")]
    HexadecimalExponent(char),
    /// `1e`
    #[error("exponent has no digits")]
    EmptyExponent,
    /// `0x1.8`
    #[error("hexadecimal mantissa requires a 'p' exponent")]
    MissingExponent,
    /// `08`
    #[error("invalid digit '{0}' in {1}")]
    Digit(char, &'static str),
    /// `1__0`
    #[error("'_' must separate successive digits")]
    Separator,
}

/// Why `strconv.ParseFloat` refuses a text. `Display` is its wording.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FloatError {
    /// No number.
    #[error("strconv.ParseFloat: parsing {}: invalid syntax", loki_core::labels::quote(.0))]
    Syntax(String),
    /// Too large.
    #[error("strconv.ParseFloat: parsing {}: value out of range", loki_core::labels::quote(.text))]
    Range {
        /// The text.
        text: String,
        /// The infinity that Go returns with the error.
        value: f64,
    },
}

impl FloatError {
    /// The value that Go returns along with the error.
    pub fn value(&self) -> f64 {
        match self {
            Self::Syntax(_) => 0.0,
            Self::Range { value, .. } => *value,
        }
    }
}

/// The length of the number at the start of `text`, which starts with a digit or a dot and a digit.
pub(super) fn scan(text: &str) -> Result<usize, NumberError> {
    let mut scanner = Scanner { text, at: 0, has_digits: false, bad_digit: None };
    let is_float = scanner.mantissa_and_exponent()?;
    let literal = &text[..scanner.at];
    if !is_float && let Some(digit) = scanner.bad_digit {
        return Err(NumberError::Digit(digit, literal_name(prefix(literal))));
    }
    if literal.contains('_') && !separators_fit(literal) {
        return Err(NumberError::Separator);
    }
    Ok(scanner.at)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    has_digits: bool,
    bad_digit: Option<char>,
}

impl Scanner<'_> {
    /// Reads the whole number; true if it has a point or an exponent.
    fn mantissa_and_exponent(&mut self) -> Result<bool, NumberError> {
        let prefix = prefix(self.text);
        let radix = match prefix.map(|p| p.to_ascii_lowercase()) {
            None => 10,
            Some('x') => 16,
            Some('b') => 2,
            Some(_) => 8,
        };
        if prefix.is_some_and(|p| p != '0') {
            self.at = 2;
        }
        self.digits(radix);
        let mut is_float = false;
        if self.peek() == Some('.') {
            if matches!(prefix, Some('o' | 'b')) {
                return Err(NumberError::RadixPoint(literal_name(prefix)));
            }
            is_float = true;
            self.at += 1;
            self.digits(radix);
        }
        if !self.has_digits {
            return Err(NumberError::NoDigits(literal_name(prefix)));
        }
        match self.peek() {
            Some(e @ ('e' | 'E')) if !matches!(prefix, None | Some('0')) => {
                return Err(NumberError::DecimalExponent(e));
            }
            Some(p @ ('p' | 'P')) if prefix != Some('x') => {
                return Err(NumberError::HexadecimalExponent(p));
            }
            Some('e' | 'E' | 'p' | 'P') => {
                self.exponent()?;
                is_float = true;
            }
            _ if prefix == Some('x') && is_float => return Err(NumberError::MissingExponent),
            _ => {}
        }
        Ok(is_float)
    }

    fn exponent(&mut self) -> Result<(), NumberError> {
        self.at += 1;
        if matches!(self.peek(), Some('+' | '-')) {
            self.at += 1;
        }
        self.has_digits = false;
        self.digits(10);
        if self.has_digits { Ok(()) } else { Err(NumberError::EmptyExponent) }
    }

    /// Reads digits and separators. In bases below ten all decimal digits are read; the first that does not belong is
    /// remembered, because it may turn out that the number is a decimal fraction.
    fn digits(&mut self, radix: u32) {
        while let Some(c) = self.peek() {
            if c.is_digit(radix.max(10)) {
                self.has_digits = true;
                if !c.is_digit(radix) {
                    self.bad_digit.get_or_insert(c);
                }
            } else if c != '_' {
                break;
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.as_bytes().get(self.at).map(|&byte| char::from(byte))
    }
}

/// The letter of `0x`, `0o` or `0b` as written, `0` for a leading zero, nothing for other decimal numbers.
fn prefix(text: &str) -> Option<char> {
    let behind_zero = text.strip_prefix('0')?;
    let letter = behind_zero.chars().next().filter(|c| matches!(c, 'x' | 'X' | 'o' | 'O' | 'b' | 'B'));
    Some(letter.unwrap_or('0'))
}

/// What Go calls the literal; it does not recognise its own upper-case prefixes here.
fn literal_name(prefix: Option<char>) -> &'static str {
    match prefix {
        Some('x') => "hexadecimal literal",
        Some('o' | '0') => "octal literal",
        Some('b') => "binary literal",
        _ => "decimal literal",
    }
}

/// Whether every `_` stands between digits, a prefix counting as one.
fn separators_fit(literal: &str) -> bool {
    let bytes = literal.as_bytes();
    let has_prefix = prefix(literal).is_some_and(|p| p != '0');
    let is_digit = |i: usize| {
        bytes.get(i).is_some_and(|byte| byte.is_ascii_digit() || has_prefix && (i < 2 || byte.is_ascii_hexdigit()))
    };
    (0..bytes.len()).filter(|&i| bytes[i] == b'_').all(|i| i > 0 && is_digit(i - 1) && is_digit(i + 1))
}

/// What `strconv.ParseFloat` makes of a number token: integers of another base than ten are no floats.
pub fn parse_float(text: &str) -> Result<f64, FloatError> {
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    let value = match prefix(&digits) {
        Some('x' | 'X') => hexadecimal(&digits[2..]),
        Some('0') | None => digits.parse().ok(),
        Some(_) => None,
    };
    match value {
        None => Err(FloatError::Syntax(text.to_owned())),
        Some(value) if f64::is_infinite(value) => Err(FloatError::Range { text: text.to_owned(), value }),
        Some(value) => Ok(value),
    }
}

/// `1.8p3` in base sixteen; the exponent is not optional.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let mut exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { -9_999 } else { 9_999 });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0_u64;
    for (i, c) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(c.to_digit(16)?);
        let is_fraction = i >= whole.len();
        if value >> 60 == 0 {
            value = value << 4 | digit;
            exponent -= if is_fraction { 4 } else { 0 };
        } else {
            // Digits beyond the precision only matter for rounding.
            value |= u64::from(digit != 0);
            exponent += if is_fraction { 0 } else { 4 };
        }
    }
    // In two steps, because the power alone can underflow where the product does not.
    let exponent = exponent.clamp(-4_000, 4_000) as i32;
    Some(value as f64 * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2))
}
