//! The words of the language.

use super::token::{Call, Keyword};
use crate::ast::{RangeOp, VectorOp};

/// What a word means where it may.
pub(super) enum Word {
    /// Reserved everywhere.
    Keyword(Keyword),
    /// A function when called, otherwise a name.
    Call(Call),
}

/// The longest word, `duration_seconds`, `quantile_over_time` and the like, fits.
const LONGEST_BYTES: usize = 18;

/// What `text` means, in any case of letters.
pub(super) fn lookup(text: &str) -> Option<Word> {
    let mut buffer = [0; LONGEST_BYTES];
    let lower = buffer.get_mut(..text.len())?;
    lower.copy_from_slice(text.as_bytes());
    lower.make_ascii_lowercase();
    let lower = str::from_utf8(lower).ok()?;
    let keyword = Keyword::ALL.iter().copied().find(|keyword| keyword.as_str() == lower);
    keyword.map(Word::Keyword).or_else(|| call(lower).map(Word::Call))
}

fn call(lower: &str) -> Option<Call> {
    Some(match lower {
        "vector" => Call::VectorLiteral,
        "label_replace" => Call::LabelReplace,
        "bytes" => Call::Bytes,
        "duration" => Call::Duration,
        "duration_seconds" => Call::DurationSeconds,
        "ip" => Call::Ip,
        _ => {
            let range = RangeOp::ALL.iter().copied().find(|op| op.as_str() == lower);
            let vector = || VectorOp::ALL.iter().copied().find(|op| op.as_str() == lower);
            return range.map(Call::Range).or_else(|| vector().map(Call::Vector));
        }
    })
}
