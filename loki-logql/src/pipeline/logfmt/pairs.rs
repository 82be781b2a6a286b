//! Reads the pairs of a logfmt line one after the other.

use std::fmt;

use memchr::memchr2;

use crate::pipeline::scan::bare_end;

/// A key and its value, as ranges of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: (usize, usize),
    pub(super) value: PairValue,
}

/// The value of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairValue {
    /// There is none, or it is empty.
    Empty,
    /// Bytes that mean themselves.
    Plain(usize, usize),
    /// The inside of a quoted string with escapes, all of them valid.
    Escaped(usize, usize),
}

/// Something that is no pair, and the byte position (from 1) where this showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    kind: FaultKind,
    position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Unexpected(u8),
    UnterminatedQuote,
    InvalidQuote,
    InvalidKey,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logfmt syntax error at pos {} : ", self.position)?;
        match self.kind {
            FaultKind::Unexpected(byte) => write!(f, "unexpected '{}'", char::from(byte)),
            FaultKind::UnterminatedQuote => f.write_str("unterminated quoted value"),
            FaultKind::InvalidQuote => f.write_str("invalid quoted value"),
            FaultKind::InvalidKey => f.write_str("invalid key"),
        }
    }
}

/// The pairs of a line.
#[derive(Debug)]
pub(super) struct Pairs<'l> {
    line: &'l [u8],
    at: usize,
}

impl<'l> Pairs<'l> {
    pub(super) fn new(line: &'l [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The next pair, or why there is none here; none at the end of the line.
    ///
    /// `known_key` may tell that what follows begins with a key that was read before and an equals sign: it gives the
    /// key's length.
    pub(super) fn next(&mut self, known_key: impl FnOnce(&'l [u8]) -> Option<usize>) -> Option<Result<Pair, Fault>> {
        let blanks = self.line.get(self.at..)?.iter().position(|&b| !is_blank(b))?;
        self.at += blanks;
        Some(self.pair(known_key(&self.line[self.at..])))
    }

    /// Leaves a faulty pair behind.
    pub(super) fn skip_to_blank(&mut self) {
        let rest = &self.line[self.at..];
        self.at += rest.iter().position(|&b| is_blank(b)).unwrap_or(rest.len());
    }

    fn pair(&mut self, key_len: Option<usize>) -> Result<Pair, Fault> {
        let start = self.at;
        let end = match key_len {
            Some(len) => start + len,
            None => self.key_end()?,
        };
        let key = (start, end);
        if self.line.get(end) != Some(&b'=') {
            self.at = end;
            return Ok(Pair { key, value: PairValue::Empty });
        }
        self.at = end + 1;
        let value = match self.line.get(self.at) {
            None => PairValue::Empty,
            Some(b'"') => self.quoted()?,
            Some(_) => self.bare()?,
        };
        Ok(Pair { key, value })
    }

    fn key_end(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        let end = bare_end(self.line, start);
        match self.line.get(end) {
            Some(b'"') => return Err(self.fault(FaultKind::Unexpected(b'"'), end)),
            Some(b'=') if end == start => return Err(self.fault(FaultKind::Unexpected(b'='), end)),
            _ => {}
        }
        if super::is_clean(&self.line[start..end]) { Ok(end) } else { Err(self.fault(FaultKind::InvalidKey, end)) }
    }

    fn bare(&mut self) -> Result<PairValue, Fault> {
        let start = self.at;
        let end = bare_end(self.line, start);
        if let Some(&byte @ (b'=' | b'"')) = self.line.get(end) {
            return Err(self.fault(FaultKind::Unexpected(byte), end));
        }
        self.at = end;
        Ok(if end == start { PairValue::Empty } else { PairValue::Plain(start, end) })
    }

    fn quoted(&mut self) -> Result<PairValue, Fault> {
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        loop {
            let Some(found) = self.line.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) else {
                return Err(self.fault(FaultKind::UnterminatedQuote, self.line.len()));
            };
            at += found;
            if self.line[at] == b'"' {
                break;
            }
            escaped = true;
            at += 2;
        }
        self.at = at + 1;
        if !escaped {
            return Ok(if at == start { PairValue::Empty } else { PairValue::Plain(start, at) });
        }
        if !unquote(&self.line[start..at], |_| {}) {
            return Err(self.fault(FaultKind::InvalidQuote, self.at));
        }
        Ok(PairValue::Escaped(start, at))
    }

    /// `at` is where reading stopped; messages count from one.
    fn fault(&mut self, kind: FaultKind, at: usize) -> Fault {
        self.at = at;
        Fault { kind, position: at + 1 }
    }
}

/// Whether this separates pairs.
fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// Gives `put` the inside of a quoted value with the escapes of JSON, and `\'`, resolved; false if one is wrong. A lone surrogate is U+FFFD.
pub(super) fn unquote(raw: &[u8], mut put: impl FnMut(&[u8])) -> bool {
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        put(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let Some((&letter, behind)) = rest.split_first() else { return false };
        rest = behind;
        let simple = match letter {
            b'"' | b'\\' | b'/' | b'\'' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some(first) = hex4(rest) else { return false };
                rest = &rest[4..];
                let second = rest.strip_prefix(b"\\u").and_then(hex4);
                let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
                let c = match char::from_u32(u32::from(first)) {
                    Some(c) => c,
                    None if pair.is_some() => {
                        rest = &rest[6..];
                        pair.unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    None => char::REPLACEMENT_CHARACTER,
                };
                put(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return false,
        };
        put(&[simple]);
    }
    put(rest);
    true
}

fn hex4(text: &[u8]) -> Option<u16> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Result<(String, String), String>;

    fn read(line: &str) -> Vec<Read> {
        let mut pairs = Pairs::new(line.as_bytes());
        let mut out = Vec::new();
        while let Some(next) = pairs.next(|_| None) {
            out.push(match next {
                Ok(pair) => {
                    let value = match pair.value {
                        PairValue::Empty => String::new(),
                        PairValue::Plain(start, end) => line[start..end].to_owned(),
                        PairValue::Escaped(start, end) => {
                            let mut value = Vec::new();
                            assert!(unquote(&line.as_bytes()[start..end], |bytes| value.extend_from_slice(bytes)));
                            String::from_utf8(value).expect("whole characters")
                        }
                    };
                    Ok((line[pair.key.0..pair.key.1].to_owned(), value))
                }
                Err(fault) => {
                    pairs.skip_to_blank();
                    Err(fault.to_string())
                }
            });
        }
        out
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with results")]
    fn pair(key: &str, value: &str) -> Read {
        Ok((key.to_owned(), value.to_owned()))
    }

    fn fault(text: &str) -> Read {
        Err(format!("logfmt syntax error at pos {text}"))
    }

    #[test]
    fn pairs_are_separated_by_anything_up_to_a_blank() {
        assert_eq!(read("a=1\tb=2\nc=3\x01d"), [pair("a", "1"), pair("b", "2"), pair("c", "3"), pair("d", "")]);
        assert_eq!(read("  lead=1  trail="), [pair("lead", "1"), pair("trail", "")]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn quoted_values_are_unescaped() {
        assert_eq!(
            read(r#"m="say \"hi\"" p="C:\\t" u="\u00e9\/\'""#),
            [pair("m", "say \"hi\""), pair("p", "C:\\t"), pair("u", "é/'")]
        );
        assert_eq!(read(r#"k="v"trailing=1"#), [pair("k", "v"), pair("trailing", "1")]);
        assert_eq!(
            read(r#"e="" s="\ud800x" t="\ud83d\ude00""#),
            [pair("e", ""), pair("s", "\u{fffd}x"), pair("t", "😀")]
        );
    }

    #[test]
    fn faults_name_their_position() {
        assert_eq!(read("a==b c=1"), [fault("3 : unexpected '='"), pair("c", "1")]);
        assert_eq!(read("a=b\"c\"d"), [fault("4 : unexpected '\"'")]);
        assert_eq!(read("\"q k\"=1 b=2"), [fault("1 : unexpected '\"'"), fault("5 : unexpected '\"'"), pair("b", "2")]);
        assert_eq!(read("q=\"unterminated"), [fault("16 : unterminated quoted value")]);
        assert_eq!(read("bad=\"\\x\" y=3"), [fault("9 : invalid quoted value"), pair("y", "3")]);
        assert_eq!(read("a\u{fffd}=1 b=2"), [fault("5 : invalid key"), pair("b", "2")]);
    }
}
