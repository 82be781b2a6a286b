//! Lines as words and what is between them.
//!
//! A word is a run of letters, digits, `_`, `-`, `.`, `/` and bytes beyond ASCII, so that names, paths, addresses and
//! UUIDs are one word each. A word is taken for variable if it begins like a number or has three digits, or two if it is
//! short; `HTTP/1.1` and `v2` are not. Variable words with one of `:,+@%` between them are one, such as times and
//! addresses with ports. Bytes are classified 64 at a time, without a branch for each.

use super::{MAX_LINE_BYTES, MAX_TOKENS};

/// The hash of every variable word. No constant word has it.
pub(super) const VARIABLE: u32 = 1;
/// Bytes classified together.
const BLOCK: usize = 64;
/// Blocks of the longest line, and one of zeros behind them.
const BLOCKS: usize = MAX_LINE_BYTES.div_ceil(BLOCK) + 1;
/// The longest word that two digits make variable.
const MAX_SHORT_LEN: usize = 6;
/// An odd number whose bits look random.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A line, divided. Meant to be used again for the next line.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// By word: [`VARIABLE`] or a hash of its bytes.
    hashes: [u32; MAX_TOKENS],
    /// By word: where it begins and ends.
    spans: [(u16, u16); MAX_TOKENS],
    count: usize,
    /// A hash of everything that is between words.
    layout: u64,
    /// Whether there is more behind the last word, which nobody looked at.
    is_cut: bool,
    text_len: usize,
    words: [u64; BLOCKS],
    digits: [u64; BLOCKS],
}

impl Shape {
    pub(super) const fn new() -> Self {
        Self {
            hashes: [0; MAX_TOKENS],
            spans: [(0, 0); MAX_TOKENS],
            count: 0,
            layout: 0,
            is_cut: false,
            text_len: 0,
            words: [0; BLOCKS],
            digits: [0; BLOCKS],
        }
    }

    pub(super) fn hashes(&self) -> &[u32] {
        &self.hashes[..self.count]
    }

    pub(super) fn spans(&self) -> &[(u16, u16)] {
        &self.spans[..self.count]
    }

    pub(super) const fn layout(&self) -> u64 {
        self.layout
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The part of a line that was looked at.
    pub(super) fn text<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        &line[..self.text_len]
    }

    /// Divides the first `limit` bytes of a line, at most [`MAX_LINE_BYTES`].
    pub(super) fn read(&mut self, line: &[u8], limit: usize) {
        let limit = limit.min(MAX_LINE_BYTES);
        let text = &line[..line.len().min(limit)];
        self.is_cut = text.len() < line.len();
        self.text_len = text.len();
        self.count = 0;
        self.layout = 0;
        let blocks = self.classify(text);
        let mut run = Run { end: 0, is_variable: false };
        let (mut start, mut is_inside, mut carry) = (0, false, 0);
        for block in 0..=blocks {
            let words = self.words[block];
            let mut edges = words ^ (words << 1 | carry);
            carry = words >> 63;
            while edges != 0 {
                let at = block * BLOCK + edges.trailing_zeros() as usize;
                edges &= edges - 1;
                if !is_inside {
                    start = at;
                } else if !self.push(text, start..at, &mut run) {
                    self.is_cut = true;
                    self.seal(text, &run);
                    return;
                }
                is_inside = !is_inside;
            }
        }
        self.seal(text, &run);
    }

    /// Says for each byte whether it belongs to a word and whether it is a digit; returns the number of blocks.
    fn classify(&mut self, text: &[u8]) -> usize {
        let (whole, rest) = text.as_chunks::<BLOCK>();
        let mut blocks = 0;
        for bytes in whole {
            (self.words[blocks], self.digits[blocks]) = classify(bytes);
            blocks += 1;
        }
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        (self.words[blocks], self.digits[blocks]) = classify(&last);
        // Words at the very end of the last block end in the block behind it.
        if blocks + 1 < BLOCKS {
            (self.words[blocks + 1], self.digits[blocks + 1]) = (0, 0);
        }
        blocks
    }

    /// Adds a word, if there is room.
    fn push(&mut self, text: &[u8], span: std::ops::Range<usize>, run: &mut Run) -> bool {
        let std::ops::Range { start, end } = span;
        let is_variable = is_variable(self.digits_from(start) & low_bits(end - start), text[start], end - start);
        if is_variable && run.is_variable && start == run.end + 1 && is_connector(text[run.end]) {
            run.end = end;
            self.spans[self.count - 1].1 = end as u16;
            return true;
        }
        if self.count == MAX_TOKENS {
            return false;
        }
        self.note_gap(text, run.end, start);
        self.hashes[self.count] = if is_variable { VARIABLE } else { hash(text, start, end) };
        self.spans[self.count] = (start as u16, end as u16);
        self.count += 1;
        *run = Run { end, is_variable };
        true
    }

    /// Which of the 64 bytes from `start` are digits.
    fn digits_from(&self, start: usize) -> u64 {
        let (block, bit) = (start / BLOCK, start % BLOCK);
        let behind = self.digits[block + 1].unbounded_shl((BLOCK - bit) as u32);
        self.digits[block] >> bit | behind
    }

    /// Notes what is between two words.
    fn note_gap(&mut self, text: &[u8], mut from: usize, to: usize) {
        loop {
            let len = (to - from).min(8);
            let bytes = window(text, from) & low_bits(8 * len);
            self.layout = (self.layout.rotate_left(23) ^ bytes ^ (len as u64) << 60).wrapping_mul(MIX);
            from += len;
            if from == to {
                return;
            }
        }
    }

    /// Notes what is behind the last word.
    fn seal(&mut self, text: &[u8], run: &Run) {
        if self.is_cut {
            self.layout = !self.layout;
        } else {
            self.note_gap(text, run.end, text.len());
        }
        self.layout ^= self.layout >> 32;
        self.layout = self.layout.wrapping_mul(MIX) ^ self.count as u64;
    }
}

/// The word before.
struct Run {
    end: usize,
    is_variable: bool,
}

/// Bit by bit: which bytes belong to words, and which are digits.
fn classify(bytes: &[u8; BLOCK]) -> (u64, u64) {
    const WORD: u8 = 1;
    const DIGIT: u8 = 2;
    let mut classes = [0_u8; BLOCK];
    for (class, &byte) in classes.iter_mut().zip(bytes) {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let is_digit = byte.wrapping_sub(b'0') < 10;
        // `-`, `.` and `/` stand in front of the digits.
        let is_joint = byte.wrapping_sub(b'-') < 3;
        let others = u8::from(byte >= 0x80) | u8::from(byte == b'_') | u8::from(is_joint);
        let is_word = u8::from(is_letter) | u8::from(is_digit) | others;
        *class = (is_word * WORD) | (u8::from(is_digit) * DIGIT);
    }
    let (mut words, mut digits) = (0, 0);
    let (eights, _) = classes.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        words |= low_bit_of_each_byte(eight) << (8 * i);
        digits |= low_bit_of_each_byte(eight >> 1) << (8 * i);
    }
    (words, digits)
}

/// The lowest bits of eight bytes, gathered in one.
const fn low_bit_of_each_byte(bytes: u64) -> u64 {
    (bytes & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// As many ones as asked for, at most 64.
const fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The eight bytes from `at`, as far as there are any.
fn window(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(bytes)
}

/// The hash of a constant word: never zero, and not [`VARIABLE`].
fn hash(text: &[u8], start: usize, end: usize) -> u32 {
    let mut hash = (end - start) as u64;
    let mut at = start;
    loop {
        let len = (end - at).min(8);
        hash = (hash.rotate_left(29) ^ window(text, at) & low_bits(8 * len)).wrapping_mul(MIX);
        at += len;
        if at == end {
            return (hash >> 32) as u32 | 2;
        }
    }
}

/// Whether a byte joins numbers.
const fn is_connector(byte: u8) -> bool {
    matches!(byte, b':' | b',' | b'+' | b'@' | b'%')
}

/// Whether a word is taken for variable: `digits` says which of its first 64 bytes are digits.
const fn is_variable(digits: u64, first: u8, len: usize) -> bool {
    let but_one = digits & digits.wrapping_sub(1);
    let but_two = but_one & but_one.wrapping_sub(1);
    let begins = if matches!(first, b'-' | b'.' | b'/') { 2 } else { 1 };
    digits & begins != 0 || but_two != 0 || (but_one != 0 && len <= MAX_SHORT_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words, variable ones in angle brackets.
    fn words(line: &str) -> Vec<String> {
        let mut shape = Shape::new();
        shape.read(line.as_bytes(), MAX_LINE_BYTES);
        let words = shape.spans().iter().zip(shape.hashes());
        words
            .map(|(&(start, end), hash)| {
                let word = &line[start as usize..end as usize];
                if *hash == VARIABLE { format!("<{word}>") } else { word.to_owned() }
            })
            .collect()
    }

    fn layout(line: &str) -> u64 {
        let mut shape = Shape::new();
        shape.read(line.as_bytes(), MAX_LINE_BYTES);
        shape.layout()
    }

    #[test]
    fn lines_are_divided_into_words_and_numbers() {
        assert_eq!(words("GET /api/v1/items?id=77 HTTP/1.1"), ["GET", "/api/v1/items", "id", "<77>", "HTTP/1.1"]);
        assert_eq!(
            words("ts=2025-10-14T10:00:00.123Z level=info"),
            ["ts", "<2025-10-14T10:00:00.123Z>", "level", "info"]
        );
        assert_eq!(words("id 3f2504e0-beef-11d3-9a0c-0305e82c3301!"), ["id", "<3f2504e0-beef-11d3-9a0c-0305e82c3301>"]);
        assert_eq!(
            words("10.4.0.1:80 - utf8 sha256 s3 Gr\u{fc}\u{df}e"),
            ["<10.4.0.1:80>", "-", "utf8", "<sha256>", "s3", "Gr\u{fc}\u{df}e"]
        );
        assert_eq!(
            words("node12 worker-12 -5 .5 /7 x-5 main.go:42"),
            ["<node12>", "worker-12", "<-5>", "<.5>", "</7>", "x-5", "main.go", "<42>"]
        );
        assert_eq!(words("** !"), [""; 0]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn words_at_the_edges_of_blocks_are_whole() {
        for lead in 0..140 {
            for len in [1, 7, 8, 9, 63, 64, 65, 130] {
                let (gap, word) = (" ".repeat(lead), "x".repeat(len));
                assert_eq!(words(&format!("{gap}{word}")), [word.as_str()]);
                assert_eq!(words(&format!("{gap}{word} y")), [word.as_str(), "y"]);
                assert_eq!(
                    words(&format!("{gap}{word} 1{word}")),
                    [word.clone(), format!("<1{word}>")],
                    "{lead} {len}"
                );
            }
        }
    }

    #[test]
    fn layouts_tell_what_is_between_words() {
        assert_eq!(layout("a=b c"), layout("x=long word"));
        assert_ne!(layout("a=b c"), layout("a:b c"));
        assert_ne!(layout("a b"), layout("a  b"));
        assert_ne!(layout("a b"), layout("a b "));
        assert_ne!(layout("a b"), layout(" a b"));
        assert_ne!(layout("a ********** b"), layout("a ********* b"));
    }

    #[test]
    fn only_the_beginning_of_a_long_line_is_looked_at() {
        let mut shape = Shape::new();
        let longest = "w".repeat(MAX_LINE_BYTES);
        shape.read(longest.as_bytes(), usize::MAX);
        assert_eq!((shape.spans(), shape.is_cut()), (&[(0, MAX_LINE_BYTES as u16)][..], false));
        shape.read(format!("{longest}w").as_bytes(), usize::MAX);
        assert_eq!((shape.spans().len(), shape.is_cut()), (1, true));
        shape.read(b"two words", 3);
        assert_eq!((shape.spans(), shape.is_cut()), (&[(0, 3)][..], true));
    }

    #[test]
    fn only_so_many_words_are_looked_at() {
        let mut shape = Shape::new();
        let most = "w ".repeat(MAX_TOKENS);
        shape.read(most.as_bytes(), usize::MAX);
        assert_eq!((shape.hashes().len(), shape.is_cut()), (MAX_TOKENS, false));
        shape.read(format!("{most}w").as_bytes(), usize::MAX);
        assert_eq!((shape.hashes().len(), shape.is_cut()), (MAX_TOKENS, true));
    }
}
