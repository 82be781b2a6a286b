//! Which characters make a name: Unicode's letters (L) and decimal digits (Nd), and `_`.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

static LETTERS: LazyLock<ClassUnicode> = LazyLock::new(|| class(r"\pL"));
static DIGITS: LazyLock<ClassUnicode> = LazyLock::new(|| class(r"\p{Nd}"));

/// Whether a name can start with `c`.
pub(super) fn starts_word(c: char) -> bool {
    c == '_' || if c.is_ascii() { c.is_ascii_alphabetic() } else { contains(&LETTERS, c) }
}

/// Whether a name can go on with `c`.
pub(super) fn continues_word(c: char) -> bool {
    starts_word(c) || if c.is_ascii() { c.is_ascii_digit() } else { contains(&DIGITS, c) }
}

/// The length in bytes of the name at the start of `text`; zero if there is none.
pub(super) fn word_length(text: &str) -> usize {
    if !text.starts_with(starts_word) {
        return 0;
    }
    text.find(|c| !continues_word(c)).unwrap_or(text.len())
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    class
        .ranges()
        .binary_search_by(|range| {
            if range.end() < c {
                std::cmp::Ordering::Less
            } else if range.start() > c {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
        .is_ok()
}

fn class(pattern: &str) -> ClassUnicode {
    let hir = regex_syntax::parse(pattern).expect("the pattern is a constant");
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        _ => unreachable!("a category is a class of characters"),
    }
}
