//! Clusters as text that LogQL's `|>` understands.

use super::WILD;
use super::tree::View;

/// The pattern of a cluster.
///
/// LogQL looks for each piece of literal text once, at its first occurrence behind the one before. So that what varies
/// cannot contain the text behind it, two variable words with a single character between them are one.
pub(super) fn render(cluster: View<'_>) -> String {
    let text = cluster.text();
    let mut out = Vec::with_capacity(text.len());
    let (mut end, mut is_wild) = (0, false);
    for (word, varies) in cluster.words() {
        let gap = &text[end..word.start];
        end = word.end;
        if varies && is_wild && gap.len() == 1 && gap != b" " {
            continue;
        }
        out.extend_from_slice(gap);
        out.extend_from_slice(if varies { WILD.as_bytes() } else { &text[word] });
        is_wild = varies;
    }
    if cluster.is_cut() {
        out.extend_from_slice(WILD.as_bytes());
    } else {
        out.extend_from_slice(&text[end..]);
    }
    tidy(&out)
}

/// Makes everything wild that cannot stand in a pattern: names in angle brackets and bytes that are no UTF-8. Two wild
/// parts never follow each other.
fn tidy(pattern: &[u8]) -> String {
    let mut out = String::with_capacity(pattern.len());
    for chunk in pattern.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((before, behind)) = rest.split_once('<') {
            out.push_str(before);
            if let Some(len) = name_len(behind) {
                push_wild(&mut out);
                rest = &behind[len + 1..];
            } else {
                out.push('<');
                rest = behind;
            }
        }
        out.push_str(rest);
        if !chunk.invalid().is_empty() {
            push_wild(&mut out);
        }
    }
    out
}

/// The length of a name in front of `>`.
fn name_len(text: &str) -> Option<usize> {
    let len = text.bytes().position(|byte| byte != b'_' && !byte.is_ascii_alphanumeric())?;
    let is_name = text.as_bytes()[len] == b'>' && len > 0 && !text.as_bytes()[0].is_ascii_digit();
    is_name.then_some(len)
}

fn push_wild(out: &mut String) {
    if !out.ends_with(WILD) {
        out.push_str(WILD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_stand_in_a_pattern_is_wild() {
        assert_eq!(tidy(b"<_> a <_><_> b"), "<_> a <_> b");
        assert_eq!(tidy(b"<html><b>x</b> < 3 <1> <>"), "<_>x</b> < 3 <1> <>");
        assert_eq!(tidy(b"a\xff\xfeb \xc3\xbc"), "a<_>b \u{fc}");
        assert_eq!(tidy(b"<_>\xff"), "<_>");
        assert_eq!(tidy(b"<"), "<");
    }
}
