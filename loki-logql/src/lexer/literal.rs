//! Quoted text: `"…"` with Go's escapes, raw text in backticks, and characters in single quotes.

use super::LexicalError;

/// The value of the string at the start of `text`, and how long its literal is.
pub(super) fn string(text: &str) -> Result<(Vec<u8>, usize), LexicalError> {
    if let Some(raw) = text.strip_prefix('`') {
        let length = raw.find('`').ok_or(LexicalError::UnterminatedLiteral)?;
        no_nul(&raw[..length])?;
        return Ok((raw.as_bytes()[..length].to_vec(), length + 2));
    }
    let mut value = Vec::new();
    let body = Body::scan(text, '"', Some(&mut value))?;
    if body.has_bad_value { Err(LexicalError::EscapeValue) } else { Ok((value, body.length)) }
}

/// The length of the character literal at the start of `text`.
pub(super) fn character(text: &str) -> Result<usize, LexicalError> {
    let body = Body::scan(text, '\'', None)?;
    if body.characters == 1 { Ok(body.length) } else { Err(LexicalError::CharLiteral) }
}

/// What was found between two quotes.
struct Body {
    length: usize,
    characters: usize,
    has_bad_value: bool,
}

impl Body {
    /// Reads from one `quote` to the next, collecting the value if asked to.
    fn scan(text: &str, quote: char, mut value: Option<&mut Vec<u8>>) -> Result<Self, LexicalError> {
        let mut body = Self { length: 0, characters: 0, has_bad_value: false };
        let mut chars = text[1..].chars();
        loop {
            let rest = chars.as_str();
            match chars.next() {
                None | Some('\n') => return Err(LexicalError::UnterminatedLiteral),
                Some('\0') => return Err(LexicalError::Nul),
                Some(c) if c == quote => {
                    body.length = text.len() - chars.as_str().len();
                    return Ok(body);
                }
                Some('\\') => {
                    let (meaning, length) = escape(&rest[1..], quote)?;
                    body.has_bad_value |= meaning.is_none();
                    if let (Some(value), Some(meaning)) = (value.as_deref_mut(), meaning) {
                        meaning.append_to(value);
                    }
                    chars = rest[1 + length..].chars();
                }
                Some(c) => {
                    if let Some(value) = value.as_deref_mut() {
                        value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
            body.characters += 1;
        }
    }
}

/// What an escape stands for.
enum Meaning {
    Byte(u8),
    Char(char),
}

impl Meaning {
    fn append_to(&self, value: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => value.push(*byte),
            Self::Char(c) => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The meaning of the escape in front of `text`, whose backslash is already gone, and how long it is. A well-formed
/// escape that stands for nothing has no meaning.
fn escape(text: &str, quote: char) -> Result<(Option<Meaning>, usize), LexicalError> {
    let first = text.chars().next().ok_or(LexicalError::Escape)?;
    let byte = match first {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        c if c == quote => c as u8,
        '0'..='7' => return Ok((u8::try_from(digits(text, 3, 8)?).ok().map(Meaning::Byte), 3)),
        'x' => return Ok((u8::try_from(digits(&text[1..], 2, 16)?).ok().map(Meaning::Byte), 3)),
        'u' => return Ok((character_of(digits(&text[1..], 4, 16)?), 5)),
        'U' => return Ok((character_of(digits(&text[1..], 8, 16)?), 9)),
        _ => return Err(LexicalError::Escape),
    };
    Ok((Some(Meaning::Byte(byte)), 1))
}

/// Surrogates become U+FFFD; numbers beyond Unicode mean nothing.
fn character_of(number: u32) -> Option<Meaning> {
    match number {
        0xd800..=0xdfff => Some(Meaning::Char(char::REPLACEMENT_CHARACTER)),
        _ => char::from_u32(number).map(Meaning::Char),
    }
}

/// The number that exactly `count` digits at the start of `text` spell.
fn digits(text: &str, count: usize, radix: u32) -> Result<u32, LexicalError> {
    let digits = text.get(..count).ok_or(LexicalError::Escape)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(LexicalError::Escape);
    }
    u32::from_str_radix(digits, radix).map_err(|_| LexicalError::Escape)
}

fn no_nul(text: &str) -> Result<(), LexicalError> {
    if memchr::memchr(0, text.as_bytes()).is_some() { Err(LexicalError::Nul) } else { Ok(()) }
}
