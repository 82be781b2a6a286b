//! Reads JSON into values, as Go's `encoding/json` reads it into `interface {}`.

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use super::context::check_memory;
use super::error::Limit;
use super::value::Value;
use crate::pipeline::units::parse_float;

/// Nesting beyond which a text counts as malformed.
const MAX_NESTING: usize = 300;

/// The value of `text`; [`Value::Absent`] if it is not JSON.
pub(super) fn parse<'e>(bump: &'e Bump, text: &'e [u8]) -> Result<Value<'e>, Limit> {
    let mut reader = Reader { bump, text, at: 0, depth: 0 };
    match reader.value().and_then(|value| {
        reader.skip_blanks();
        if reader.at == text.len() { Ok(value) } else { Err(Stop::Malformed) }
    }) {
        Ok(value) => Ok(value),
        Err(Stop::Malformed) => Ok(Value::Absent),
        Err(Stop::Limit(limit)) => Err(limit),
    }
}

/// Why reading ends early.
enum Stop {
    Malformed,
    Limit(Limit),
}

impl From<Limit> for Stop {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

struct Reader<'e> {
    bump: &'e Bump,
    text: &'e [u8],
    at: usize,
    depth: usize,
}

impl<'e> Reader<'e> {
    fn value(&mut self) -> Result<Value<'e>, Stop> {
        check_memory(self.bump, 0)?;
        self.skip_blanks();
        match self.text.get(self.at) {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'n') => self.word(b"null", Value::Absent),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Stop::Malformed),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value<'e>, Stop>) -> Result<Value<'e>, Stop> {
        if self.depth == MAX_NESTING {
            return Err(Stop::Malformed);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value<'e>, Stop> {
        let mut members: BumpVec<'e, (&'e [u8], Value<'e>)> = BumpVec::new_in(self.bump);
        if self.accept(b'}') {
            return Ok(Value::Object(&[]));
        }
        loop {
            self.skip_blanks();
            if self.text.get(self.at) != Some(&b'"') {
                return Err(Stop::Malformed);
            }
            let name = self.string()?;
            if !self.accept(b':') {
                return Err(Stop::Malformed);
            }
            let value = self.value()?;
            members.push((name, value));
            if self.accept(b'}') {
                break;
            }
            if !self.accept(b',') {
                return Err(Stop::Malformed);
            }
        }
        // Of equal names the last one counts: a stable sort keeps their order, and the earlier ones are dropped.
        members.sort_by_key(|(name, _)| *name);
        members.reverse();
        members.dedup_by(|later, earlier| later.0 == earlier.0);
        members.reverse();
        Ok(Value::Object(members.into_bump_slice()))
    }

    fn list(&mut self) -> Result<Value<'e>, Stop> {
        let mut items = BumpVec::new_in(self.bump);
        if self.accept(b']') {
            return Ok(Value::List(&[]));
        }
        loop {
            let item = self.value()?;
            items.push(item);
            if self.accept(b']') {
                return Ok(Value::List(items.into_bump_slice()));
            }
            if !self.accept(b',') {
                return Err(Stop::Malformed);
            }
        }
    }

    fn word(&mut self, word: &[u8], value: Value<'e>) -> Result<Value<'e>, Stop> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Stop::Malformed);
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'e>, Stop> {
        let start = self.at;
        self.at += usize::from(self.text[start] == b'-');
        match self.digits() {
            0 => return Err(Stop::Malformed),
            count if count > 1 && self.text[self.at - count] == b'0' => return Err(Stop::Malformed),
            _ => {}
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(Stop::Malformed);
            }
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(Stop::Malformed);
            }
        }
        // A number too large for a float becomes null.
        Ok(parse_float(&self.text[start..self.at]).map_or(Value::Absent, Value::Float))
    }

    /// Passes over digits; returns how many.
    fn digits(&mut self) -> usize {
        let count = self.text[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// A string, from its opening quote on. Without escapes it is a slice of the text.
    fn string(&mut self) -> Result<&'e [u8], Stop> {
        self.at += 1;
        let start = self.at;
        let length = self.text[start..].iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
        let end = start + length.ok_or(Stop::Malformed)?;
        let plain = &self.text[start..end];
        if self.text[end] == b'"' && std::str::from_utf8(plain).is_ok() {
            self.at = end + 1;
            return Ok(plain);
        }
        self.escaped_string()
    }

    fn escaped_string(&mut self) -> Result<&'e [u8], Stop> {
        let mut out: BumpVec<'e, u8> = BumpVec::new_in(self.bump);
        loop {
            let rest = &self.text[self.at..];
            let length = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).ok_or(Stop::Malformed)?;
            check_memory(self.bump, length)?;
            for chunk in rest[..length].utf8_chunks() {
                out.extend_from_slice_copy(chunk.valid().as_bytes());
                for _ in chunk.invalid() {
                    push_char(&mut out, char::REPLACEMENT_CHARACTER);
                }
            }
            self.at += length + 1;
            match rest[length] {
                b'"' => return Ok(out.into_bump_slice()),
                b'\\' => self.escape(&mut out)?,
                _ => return Err(Stop::Malformed),
            }
        }
    }

    fn escape(&mut self, out: &mut BumpVec<'e, u8>) -> Result<(), Stop> {
        let letter = *self.text.get(self.at).ok_or(Stop::Malformed)?;
        self.at += 1;
        out.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let c = self.unicode_escape()?;
                push_char(out, c);
                return Ok(());
            }
            _ => return Err(Stop::Malformed),
        });
        Ok(())
    }

    /// What follows `\u`; halves of surrogate pairs without a partner become U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, Stop> {
        let high = self.four_digits(self.at).ok_or(Stop::Malformed)?;
        self.at += 4;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with(b"\\u") {
            let low = self.four_digits(self.at + 2).ok_or(Stop::Malformed)?;
            if (0xdc00..0xe000).contains(&low) {
                self.at += 6;
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&self, at: usize) -> Option<u32> {
        let digits = std::str::from_utf8(self.text.get(at..at + 4)?).ok()?;
        digits.chars().try_fold(0, |value, c| Some(value * 16 + c.to_digit(16)?))
    }

    fn skip_blanks(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Passes over blanks and `byte`, if it comes next.
    fn accept(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }
}

fn push_char(out: &mut BumpVec<'_, u8>, c: char) {
    out.extend_from_slice_copy(c.encode_utf8(&mut [0; 4]).as_bytes());
}
