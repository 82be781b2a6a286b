//! Finding the ends of JSON and logfmt tokens, eight bytes at a time where that pays.

use memchr::{memchr2, memchr3};

/// Strings are first searched word by word, because most are short; behind this many bytes `memchr` takes over.
const SHORT_STRING_LEN: usize = 32;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
const EQUALS: u64 = u64::from_le_bytes([b'='; 8]);
const BEHIND_BLANKS: u64 = u64::from_le_bytes([b' ' + 1; 8]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

/// The end of a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringEnd {
    /// Where the closing quote is.
    pub(crate) quote: usize,
    /// Whether a backslash occurs before it.
    pub(crate) escaped: bool,
}

/// The end of the string whose first byte behind the quote is at `start`.
#[inline]
pub(crate) fn string_end(text: &[u8], start: usize) -> Option<StringEnd> {
    let mut at = start;
    while at < start + SHORT_STRING_LEN {
        let Some(word) = text.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>()) else { break };
        let word = u64::from_le_bytes(*word);
        let hits = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES);
        if hits != 0 {
            return string_end_from(text, at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let found = memchr2(b'"', b'\\', text.get(at..)?)?;
    string_end_from(text, at + found)
}

/// Marks the lowest zero byte by its highest bit; bytes above it may be marked wrongly.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

/// `at` is the first quote or backslash of the string.
#[inline]
fn string_end_from(text: &[u8], at: usize) -> Option<StringEnd> {
    if text[at] == b'"' { Some(StringEnd { quote: at, escaped: false }) } else { escaped_string_end(text, at) }
}

#[cold]
fn escaped_string_end(text: &[u8], mut at: usize) -> Option<StringEnd> {
    loop {
        at += match text.get(at)? {
            b'"' => return Some(StringEnd { quote: at, escaped: true }),
            b'\\' => 2,
            _ => memchr2(b'"', b'\\', &text[at..])?,
        };
    }
}

/// Where the first blank (anything up to 0x20), equals sign or quote at or behind `start` is; else the end.
#[inline]
pub(crate) fn bare_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(word) = text.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let blanks = word.wrapping_sub(BEHIND_BLANKS) & !word & HIGH_BITS;
        let hits = blanks | zero_bytes(word ^ EQUALS) | zero_bytes(word ^ QUOTES);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |b: &u8| matches!(b, 0..=b' ' | b'=' | b'"');
    text[at..].iter().position(ends).map_or(text.len(), |len| at + len)
}

/// The first byte at or behind `at` that is no JSON white space.
#[inline]
pub(crate) fn next_token(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            _ => return Some(at),
        }
    }
}

/// The end of a number or a word that begins at `at`.
#[inline]
pub(crate) fn token_end(text: &[u8], at: usize) -> usize {
    let ends = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
    text[at..].iter().position(ends).map_or(text.len(), |len| at + len)
}

/// One past the bracket that closes the block which opens at `at`. Only brackets of this kind count, strings do not.
pub(crate) fn block_end(text: &[u8], at: usize, open: u8, close: u8) -> Option<usize> {
    let mut at = at;
    let mut level = 0_usize;
    loop {
        at += memchr3(b'"', open, close, text.get(at..)?)?;
        match text[at] {
            b'"' => at = string_end(text, at + 1)?.quote,
            byte if byte == open => level += 1,
            _ if level <= 1 => return Some(at + 1),
            _ => level -= 1,
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: a quote ends the string unless the backslashes directly before it are odd in number.
    fn naive_string_end(text: &[u8], start: usize) -> Option<StringEnd> {
        let mut escaped = false;
        let mut at = start;
        while at < text.len() {
            match text[at] {
                b'"' => return Some(StringEnd { quote: at, escaped }),
                b'\\' => {
                    escaped = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        None
    }

    #[test]
    fn blocks_end_at_their_own_bracket() {
        assert_eq!(block_end(b"{}", 0, b'{', b'}'), Some(2));
        assert_eq!(block_end(br#"x{"a":"}","b":{"c":1}}y"#, 1, b'{', b'}'), Some(22));
        assert_eq!(block_end(br#"{"a":{"b":1}"#, 0, b'{', b'}'), None);
        assert_eq!(block_end(br#"["a]"#, 0, b'[', b']'), None);
    }

    #[test]
    fn tokens_end_at_blanks_and_brackets() {
        assert_eq!(token_end(b"12,", 0), 2);
        assert_eq!(token_end(b"true}", 0), 4);
        assert_eq!(token_end(b"1.5", 0), 3);
        assert_eq!(next_token(b" \t\r\nx", 0), Some(4));
        assert_eq!(next_token(b"  ", 0), None);
    }

    proptest! {
        #[test]
        fn strings_end_where_the_definition_says(text in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b'\\'), Just(b'a'), any::<u8>()], 0..120), start in 0_usize..130) {
            prop_assert_eq!(string_end(&text, start), naive_string_end(&text, start));
        }

        #[test]
        fn bare_words_end_where_the_definition_says(text in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b'='), Just(b' '), Just(b'!'), Just(b'a'), any::<u8>()], 0..60)) {
            let expected = text.iter().position(|&b| b <= b' ' || b == b'=' || b == b'"').unwrap_or(text.len());
            prop_assert_eq!(bare_end(&text, 0), expected);
        }

        #[test]
        fn long_plain_strings_end_too(len in 0_usize..200) {
            let mut text = vec![b'x'; len];
            text.push(b'"');
            prop_assert_eq!(string_end(&text, 0), Some(StringEnd { quote: len, escaped: false }));
        }
    }
}
