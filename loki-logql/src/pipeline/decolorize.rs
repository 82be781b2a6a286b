//! `| decolorize`: removes ANSI escape sequences.

use std::sync::LazyLock;

use memchr::memchr2;
use regex::bytes::Regex;

/// One escape sequence: an introducer, marks, then either an operating system command that ends in BEL or numbers with
/// a final character. The introducers are ESC and the C1 control U+009B.
static SEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"[\x1b\u{9b}][\[\]()#;?]*",
        r"(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\x07)",
        r"|(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))",
    ))
    .expect("the pattern is valid")
});

/// Appends `line` without its escape sequences to `out`; false, with nothing appended, when it has none.
pub(crate) fn strip(line: &[u8], out: &mut Vec<u8>) -> bool {
    // 0xC2 is the first byte of U+009B.
    if memchr2(0x1b, 0xc2, line).is_none() {
        return false;
    }
    let mut kept_until = 0;
    for sequence in SEQUENCE.find_iter(line) {
        out.extend_from_slice(&line[kept_until..sequence.start()]);
        kept_until = sequence.end();
    }
    if kept_until == 0 {
        return false;
    }
    out.extend_from_slice(&line[kept_until..]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(line: &str) -> String {
        let mut out = Vec::new();
        if !strip(line.as_bytes(), &mut out) {
            return line.to_owned();
        }
        String::from_utf8(out).expect("sequences are whole characters")
    }

    #[test]
    fn sequences_vanish_and_text_stays() {
        assert_eq!(stripped("\x1b[31mERROR\x1b[0m disk \x1b[1;33mfull\x1b[0m"), "ERROR disk full");
        assert_eq!(stripped("\x1b]0;title\x07after"), "after");
        assert_eq!(stripped("\u{9b}31mC1\u{9b}0m end"), "C1 end");
        assert_eq!(stripped("\x1b(Bcharset"), "charset");
        assert_eq!(stripped("plain é"), "plain é");
    }

    #[test]
    fn a_lone_escape_stays() {
        assert_eq!(stripped("\x1b"), "\x1b");
        assert_eq!(stripped("broken \x1b["), "broken \x1b[");
    }
}
