//! A cursor over JSON, as strict and as lenient as the decoder whose errors Loki's clients know.

use std::fmt;

use memchr::memchr2;

/// Arrays and objects inside each other.
pub(crate) const MAX_DEPTH: usize = 10_000;
/// Bytes shown around a fault.
const NEAR_BYTES: usize = 10;
/// Bytes shown in the wider view.
const CONTEXT_BYTES: usize = 50;
/// Bytes that are looked at together.
const WORD_BYTES: usize = size_of::<u64>();
const LOW_SURROGATES: std::ops::Range<u32> = 0xdc00..0xe000;
const SURROGATES: std::ops::Range<u32> = 0xd800..0xe000;

/// Why text is not the JSON it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    /// There is no text.
    #[error("EOF")]
    Eof,
    /// Something is wrong at a place.
    #[error("{path}{fault}, error found in #{offset} byte of ...|{near}|..., bigger context ...|{context}|...")]
    At {
        /// What was being read.
        path: &'static str,
        /// What is wrong.
        fault: Fault,
        /// Where in `near`.
        offset: usize,
        /// The text around the place.
        near: String,
        /// More of it.
        context: String,
    },
}

/// What can be wrong with JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A request that is no object.
    RequestStart(u8),
    /// A key that is no string.
    Key(u8),
    /// A key without a colon.
    Colon(u8),
    /// A list that is none.
    ListStart(u8),
    /// Something other than a comma or the end of a list.
    ListEnd(u8),
    /// Something other than a comma or the end of an object.
    ObjectEnd(u8),
    /// `true`, `false` or `null` misspelled; the rest of the word that was expected.
    Literal(&'static str),
    /// A number that is none.
    Number,
    /// Something that begins no value.
    ValueStart(u8),
    /// A string without an end.
    UnfinishedString,
    /// A control character in a string.
    Control(u8),
    /// An escape that does not exist.
    Escape,
    /// Nested too deeply.
    Depth,
    /// Sound JSON with the wrong content.
    Content(ContentFault),
}

/// How the content of a stream can be wrong although it is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentFault {
    /// Not an object.
    #[error("Value looks like object, but can't find closing '}}' symbol")]
    Object,
    /// Not a time.
    #[error("Value looks like Number/Boolean/None, but can't find its end: ',' or '}}' symbol")]
    Number,
    /// Not a string.
    #[error("Value is string, but can't find closing '\"' symbol")]
    String,
    /// Not a list.
    #[error("Malformed JSON error")]
    List,
    /// A string with half of a character.
    #[error("Encountered an invalid escape sequence in a string")]
    Escape,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RequestStart(found) => {
                write!(f, "readObjectStart: expect {{ or n, but found {}", char::from(found))
            }
            Self::Key(found) => write!(f, "readFieldHash: expect \", but found {}", char::from(found)),
            Self::Colon(found) => write!(f, "readFieldHash: expect :, but found {}", char::from(found)),
            Self::ListStart(found) => write!(f, "decode slice: expect [ or n, but found {}", char::from(found)),
            Self::ListEnd(found) => write!(f, "decode slice: expect ], but found {}", char::from(found)),
            Self::ObjectEnd(found) => {
                write!(f, "isObjectEnd: object ended prematurely, unexpected char {}", char::from(found))
            }
            Self::Literal("alse") => f.write_str("skipFourBytes: expect alse"),
            Self::Literal(rest) => write!(f, "skipThreeBytes: expect {rest}"),
            Self::Number => f.write_str("skipNumber: invalid number"),
            Self::ValueStart(found) => write!(f, "Skip: do not know how to skip: {found}"),
            Self::UnfinishedString => f.write_str("readStringSlowPath: unexpected end of input"),
            Self::Control(found) => write!(f, "trySkipString: invalid control character found: {found}"),
            Self::Escape => f.write_str("readEscapedChar: invalid escape char after \\"),
            Self::Depth => f.write_str("incrementDepth: exceeded max depth"),
            Self::Content(fault) => write!(f, "unmarshalerDecoder: {fault}"),
        }
    }
}

impl From<ContentFault> for Fault {
    fn from(fault: ContentFault) -> Self {
        Self::Content(fault)
    }
}

/// The content of a string as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawStr<'a> {
    /// What is between the quotes.
    pub(crate) raw: &'a [u8],
    /// Whether there are escapes in it.
    pub(crate) is_escaped: bool,
}

/// How a string begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringStart<'a> {
    /// All of it: it has no escapes.
    Whole(&'a [u8]),
    /// What comes before its first escape.
    Escaped(&'a [u8]),
}

/// A cursor over JSON.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A cursor at the beginning of `text`.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Where the cursor is.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Puts the cursor back to where it was.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// What was read since `position`.
    pub(crate) fn since(&self, position: usize) -> &'a [u8] {
        &self.text[position..self.at]
    }

    /// Skips `text` if it comes next.
    #[inline]
    pub(crate) fn skip_known(&mut self, text: &[u8]) -> bool {
        let is_next = !text.is_empty() && self.text[self.at..].starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// The error that says what is wrong at the cursor.
    pub(crate) fn error(&self, path: &'static str, fault: Fault) -> JsonError {
        let view = |bytes: usize| {
            let end = self.text.len().min(self.at + bytes);
            String::from_utf8_lossy(&self.text[self.at.saturating_sub(bytes)..end]).into_owned()
        };
        JsonError::At {
            path,
            fault,
            offset: self.at.min(NEAR_BYTES),
            near: view(NEAR_BYTES),
            context: view(CONTEXT_BYTES),
        }
    }

    /// The next byte that is not white space; 0 at the end.
    #[inline]
    pub(crate) fn token(&mut self) -> u8 {
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return byte;
            }
        }
        0
    }

    /// The key of an object after `{` or a comma, and its colon; `None` at the end of an object without keys.
    #[inline]
    pub(crate) fn key(&mut self, is_first: bool) -> Result<Option<RawStr<'a>>, Fault> {
        match self.token() {
            b'"' => {}
            b'}' if is_first => return Ok(None),
            found => return Err(Fault::Key(found)),
        }
        let key = self.string()?;
        match self.token() {
            b':' => Ok(Some(key)),
            found => Err(Fault::Colon(found)),
        }
    }

    /// Whether an object goes on after a value.
    #[inline]
    pub(crate) fn object_goes_on(&mut self) -> Result<bool, Fault> {
        match self.token() {
            b',' => Ok(true),
            b'}' => Ok(false),
            found => Err(Fault::ObjectEnd(found)),
        }
    }

    /// Whether a list goes on after a value.
    #[inline]
    pub(crate) fn list_goes_on(&mut self) -> Result<bool, Fault> {
        match self.token() {
            b',' => Ok(true),
            b']' => Ok(false),
            found => Err(Fault::ListEnd(found)),
        }
    }

    /// Whether a list that was just opened has items; stands before the first of them.
    #[inline]
    pub(crate) fn list_has_items(&mut self) -> bool {
        let before = self.at;
        if self.token() == b']' {
            return false;
        }
        self.at = before;
        true
    }

    /// The rest of a string whose quote was just read.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<RawStr<'a>, Fault> {
        let start = self.at;
        match self.string_start()? {
            StringStart::Whole(raw) => Ok(RawStr { raw, is_escaped: false }),
            StringStart::Escaped(_) => self.escaped_string(start),
        }
    }

    /// The rest of a string whose quote was just read, if it has no escapes, or what comes before the first of them.
    #[inline]
    pub(crate) fn string_start(&mut self) -> Result<StringStart<'a>, Fault> {
        let start = self.at;
        let rest = &self.text[start..];
        let Some(end) = memchr2(b'"', b'\\', rest) else {
            self.at = self.text.len();
            return Err(Fault::UnfinishedString);
        };
        if let Some(control) = rest[..end].iter().position(|&byte| byte < b' ') {
            self.at = start + control + 1;
            return Err(Fault::Control(rest[control]));
        }
        self.at = start + end + 1;
        let content = &rest[..end];
        Ok(if rest[end] == b'"' { StringStart::Whole(content) } else { StringStart::Escaped(content) })
    }

    /// Appends what the rest of a string stands for whose first backslash was just read.
    pub(crate) fn unescape_rest(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        loop {
            let (&escape, rest) = self.text[self.at..].split_first().ok_or(Fault::UnfinishedString)?;
            let rest = unescape_one(escape, rest, out)?;
            let plain = copy_plain(rest, out).ok_or(Fault::UnfinishedString)?;
            self.at = self.text.len() - rest.len() + plain + 1;
            if rest[plain] == b'"' {
                return Ok(());
            }
        }
    }

    /// The rest of a string whose first backslash was just read.
    fn escaped_string(&mut self, start: usize) -> Result<RawStr<'a>, Fault> {
        loop {
            let escape = self.text.get(self.at).copied();
            self.at += 1;
            match escape {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'\'') => {}
                Some(b'u') => {
                    let digits = self.text.get(self.at..self.at + 4);
                    digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or(Fault::Escape)?;
                    self.at += 4;
                }
                Some(_) => return Err(Fault::Escape),
                None => {
                    self.at = self.text.len();
                    return Err(Fault::UnfinishedString);
                }
            }
            let Some(end) = memchr2(b'"', b'\\', &self.text[self.at..]) else {
                self.at = self.text.len();
                return Err(Fault::UnfinishedString);
            };
            self.at += end + 1;
            if self.text[self.at - 1] == b'"' {
                return Ok(RawStr { raw: &self.text[start..self.at - 1], is_escaped: true });
            }
        }
    }

    /// The rest of a value whose first byte was just read.
    pub(crate) fn skip_rest(&mut self, first: u8) -> Result<(), Fault> {
        let mut closers: Vec<u8> = Vec::new();
        let mut first = first;
        loop {
            let is_open = match first {
                b'{' if self.key(true)?.is_some() => opened(&mut closers, b'}')?,
                b'[' if self.list_has_items() => opened(&mut closers, b']')?,
                b'{' | b'[' => false,
                _ => {
                    self.skip_scalar(first)?;
                    false
                }
            };
            if !is_open && !self.next_item(&mut closers)? {
                return Ok(());
            }
            first = self.token();
        }
    }

    /// The next value, whatever it is.
    pub(crate) fn skip_value(&mut self) -> Result<(), Fault> {
        let first = self.token();
        self.skip_rest(first)
    }

    /// Goes to the next value inside what is open; false when nothing is open any more.
    fn next_item(&mut self, closers: &mut Vec<u8>) -> Result<bool, Fault> {
        while let Some(&closer) = closers.last() {
            let goes_on = if closer == b'}' { self.object_goes_on()? } else { self.list_goes_on()? };
            if goes_on {
                if closer == b'}' {
                    self.key(false)?;
                }
                return Ok(true);
            }
            closers.pop();
        }
        Ok(false)
    }

    fn skip_scalar(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'"' => self.string().map(drop),
            b'n' => self.literal("ull"),
            b't' => self.literal("rue"),
            b'f' => self.literal("alse"),
            b'-' | b'0'..=b'9' => self.number(first),
            found => Err(Fault::ValueStart(found)),
        }
    }

    /// The rest of a word.
    pub(crate) fn literal(&mut self, rest: &'static str) -> Result<(), Fault> {
        for expected in rest.bytes() {
            let found = self.text.get(self.at).copied();
            self.at = self.text.len().min(self.at + 1);
            if found != Some(expected) {
                return Err(Fault::Literal(rest));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Result<(), Fault> {
        let mut digits = usize::from(first != b'-') + self.digits();
        if digits > 0 && self.eat(|byte| byte == b'.') {
            digits = self.digits();
        }
        if digits > 0 && self.eat(|byte| matches!(byte, b'e' | b'E')) {
            self.eat(|byte| matches!(byte, b'+' | b'-'));
            digits = self.digits();
        }
        if digits > 0 { Ok(()) } else { Err(Fault::Number) }
    }

    fn digits(&mut self) -> usize {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn eat(&mut self, is_wanted: impl FnOnce(u8) -> bool) -> bool {
        let found = self.text.get(self.at).copied().is_some_and(is_wanted);
        self.at += usize::from(found);
        found
    }
}

/// Goes one level deeper.
fn opened(closers: &mut Vec<u8>, closer: u8) -> Result<bool, Fault> {
    closers.push(closer);
    if closers.len() > MAX_DEPTH { Err(Fault::Depth) } else { Ok(true) }
}

/// Appends what a string stands for. Escapes must be well-formed, which scanning has checked.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), ContentFault> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (&escape, tail) = rest[at + 1..].split_first().ok_or(ContentFault::Escape)?;
        rest = unescape_one(escape, tail, out).map_err(|_| ContentFault::Escape)?;
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends the character of an escape; gives what follows it.
#[inline]
fn unescape_one<'a>(escape: u8, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Fault> {
    out.push(match escape {
        b'"' | b'\\' | b'/' | b'\'' => escape,
        b'b' => b'\x08',
        b'f' => b'\x0c',
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unescape_unicode(rest, out).map_err(Fault::Content),
        _ => return Err(Fault::Escape),
    });
    Ok(rest)
}

/// Appends everything up to a quote or a backslash; gives where that is.
///
/// Lines of JSON inside JSON have one every few bytes, so eight at a time are looked at without a call.
#[inline]
fn copy_plain(text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut done = 0;
    for chunk in text.as_chunks::<WORD_BYTES>().0 {
        let special = matching(u64::from_le_bytes(*chunk), b'"') | matching(u64::from_le_bytes(*chunk), b'\\');
        out.extend_from_slice(chunk);
        if special != 0 {
            let plain = special.trailing_zeros() as usize / 8;
            out.truncate(out.len() - (WORD_BYTES - plain));
            return Some(done + plain);
        }
        done += WORD_BYTES;
    }
    let rest = &text[done..];
    let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    out.extend_from_slice(&rest[..plain]);
    Some(done + plain)
}

/// The high bit of every byte of `word` that is `byte`; above the lowest of them other bits may be set too.
const fn matching(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; WORD_BYTES]);
    const HIGH: u64 = u64::from_le_bytes([0x80; WORD_BYTES]);
    let zero_where_equal = word ^ (ONES * byte as u64);
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGH
}

/// Appends the character of one `\u` escape or of a pair of them.
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], ContentFault> {
    let (unit, mut rest) = code_unit(text).ok_or(ContentFault::Escape)?;
    let mut code = unit;
    if SURROGATES.contains(&unit) {
        let low = rest.strip_prefix(b"\\u").and_then(code_unit);
        let (low, tail) = low.filter(|(low, _)| LOW_SURROGATES.contains(low)).ok_or(ContentFault::Escape)?;
        // Of a pair in the wrong order no character comes out.
        code = 0x10000 + (unit.wrapping_sub(SURROGATES.start) << 10) + (low - LOW_SURROGATES.start);
        rest = tail;
    }
    let character = char::from_u32(code).ok_or(ContentFault::Escape)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

fn code_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skip(text: &str) -> Result<usize, Fault> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.skip_value().map(|()| scanner.position())
    }

    #[test]
    fn values_are_skipped_to_their_end() {
        for text in [
            "null",
            "true",
            "-1.5e+3",
            "\"a\\\"\\u00e9\"",
            "[]",
            "{}",
            " [1, [], {\"a\": {}}, \"x\"]",
            "{\"a\": [1, 2], \"b\": {\"c\": null}}",
        ] {
            assert_eq!(skip(&format!("{text} rest")), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        let cases = [
            ("", Fault::ValueStart(0)),
            ("nope", Fault::Literal("ull")),
            ("[1 2]", Fault::ListEnd(b'2')),
            ("[1,]", Fault::ValueStart(b']')),
            ("{\"a\" 1}", Fault::Colon(b'1')),
            ("{\"a\":1,}", Fault::Key(b'}')),
            ("{a:1}", Fault::Key(b'a')),
            ("\"abc", Fault::UnfinishedString),
            ("\"a\nb\"", Fault::Control(b'\n')),
            ("\"\\x\"", Fault::Escape),
            ("\"\\u12", Fault::Escape),
            ("-", Fault::Number),
            ("1.", Fault::Number),
        ];
        for (text, fault) in cases {
            assert_eq!(skip(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(skip(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(skip(&nested(MAX_DEPTH + 2)), Err(Fault::Depth));
    }

    #[test]
    fn escapes_are_undone() {
        let mut out = Vec::new();
        unescape(br#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#, &mut out).expect("well-formed");
        assert_eq!(out, "a\"\\/\u{8}\u{c}\n\r\té😀z".as_bytes());
        for text in [r"\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\ude00\ude00"] {
            assert_eq!(unescape(text.as_bytes(), &mut out), Err(ContentFault::Escape), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_scanned_without_panic(text: String) {
            let _ = skip(&text);
            let _ = unescape(text.as_bytes(), &mut Vec::new());
        }

        #[test]
        fn strings_are_unescaped_the_same_in_one_pass_and_in_two(text: String) {
            let quoted = serde_json::Value::from(text.as_str()).to_string();
            let mut scanner = Scanner::new(quoted.as_bytes());
            prop_assert_eq!(scanner.token(), b'"');
            let mut out = Vec::new();
            match scanner.string_start() {
                Ok(StringStart::Whole(raw)) => out.extend_from_slice(raw),
                Ok(StringStart::Escaped(before)) => {
                    out.extend_from_slice(before);
                    prop_assert_eq!(scanner.unescape_rest(&mut out), Ok(()));
                }
                Err(fault) => prop_assert!(false, "{:?}", fault),
            }
            prop_assert_eq!(&out, text.as_bytes());
            prop_assert_eq!(scanner.position(), quoted.len());
        }

        #[test]
        fn sound_json_is_accepted(text: String, numbers: Vec<i64>) {
            let value = serde_json::json!({ "text": text, "list": numbers, (text.clone()): { "deep": [text] } });
            let written = value.to_string();
            prop_assert_eq!(skip(&written), Ok(written.len()));
        }
    }
}
