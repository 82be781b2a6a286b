//! Escapes in JSON strings.

/// Appends `raw`, the inside of a JSON string, without its escapes; false if one of them is wrong.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let Some((&letter, behind)) = rest.split_first() else { return false };
        let simple = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some((c, len)) = code_point(behind) else { return false };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &behind[len..];
                continue;
            }
            _ => return false,
        };
        out.push(simple);
        rest = behind;
    }
    out.extend_from_slice(rest);
    true
}

/// The character of `XXXX` or of a surrogate pair `XXXX\uXXXX`, and how many bytes it takes.
fn code_point(text: &[u8]) -> Option<(char, usize)> {
    const PAIR_LEN: usize = 10;
    let first = hex4(text)?;
    if !(0xd800..0xe000).contains(&first) {
        return Some((char::from_u32(first)?, 4));
    }
    let second = text.get(4..).and_then(|rest| rest.strip_prefix(b"\\u")).and_then(hex4)?;
    if second < 0xdc00 {
        return None;
    }
    // Like Loki's scanner, this takes any two halves in this order and lets the sum decide.
    let combined = ((first - 0xd800) << 10) + (second - 0xdc00) + 0x1_0000;
    Some((char::from_u32(combined).unwrap_or(char::REPLACEMENT_CHARACTER), PAIR_LEN))
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(raw: &str) -> Option<String> {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out).then(|| String::from_utf8(out).expect("escapes are whole characters"))
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(
            unescaped(r#"tab\tnl\nquote\"slash\/back\\ bell\u0007"#).as_deref(),
            Some("tab\tnl\nquote\"slash/back\\ bell\x07")
        );
        assert_eq!(unescaped(r"caf\u00e9 \u4E16").as_deref(), Some("café 世"));
        assert_eq!(unescaped(r"\ud83d\ude00").as_deref(), Some("😀"));
    }

    #[test]
    fn wrong_escapes_are_refused() {
        for raw in [r"\q", r"\x41", r"\u12", r"\ud83d", r"\ud83d x", r"\ud83dA", "\\"] {
            assert_eq!(unescaped(raw), None, "{raw}");
        }
    }
}
