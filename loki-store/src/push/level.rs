//! The level of an entry: `detected_level`.
//!
//! In order of preference it comes from metadata of that name, from a stream label or metadata under one of the
//! tenant's level field names, from `severity_number`, and last from the line: a JSON value, a logfmt value, or the
//! first word that names a level.

use std::sync::LazyLock;

use aho_corasick::{Span, packed};
use memchr::{memchr, memchr2};

mod json;

/// The metadata that carries the level.
pub const DETECTED_LEVEL: &str = "detected_level";

/// The metadata in which OpenTelemetry keeps the level as a number.
pub(super) const SEVERITY_NUMBER: &str = "severity_number";

/// How serious an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// `critical`
    Critical,
    /// `fatal`
    Fatal,
    /// `unknown`: nothing says how serious it is.
    Unknown,
}

impl Level {
    /// All levels, in the order of their discriminants.
    pub const ALL: [Self; 8] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical, Self::Fatal, Self::Unknown];

    /// The level's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
            Self::Unknown => "unknown",
        }
    }

    /// The level that `value` names in any of the usual spellings, in either case.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        let is_any = |names: &[&str]| names.iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()));
        match value.first()? | 0x20 {
            b't' if is_any(&["trace", "trc"]) => Some(Self::Trace),
            b'd' if is_any(&["debug", "dbg"]) => Some(Self::Debug),
            b'i' if is_any(&["info", "inf", "information"]) => Some(Self::Info),
            b'w' if is_any(&["warn", "wrn", "warning"]) => Some(Self::Warn),
            b'e' if is_any(&["error", "err"]) => Some(Self::Error),
            b'c' if is_any(&["critical"]) => Some(Self::Critical),
            b'f' if is_any(&["fatal"]) => Some(Self::Fatal),
            _ => None,
        }
    }

    /// The level of an OpenTelemetry severity number.
    pub fn from_severity_number(value: &str) -> Self {
        match value.parse::<i64>() {
            Ok(1..=4) => Self::Trace,
            Ok(5..=8) => Self::Debug,
            Ok(9..=12) | Err(_) => Self::Info,
            Ok(13..=16) => Self::Warn,
            Ok(17..=20) => Self::Error,
            Ok(21..=24) => Self::Fatal,
            Ok(_) => Self::Unknown,
        }
    }
}

/// The name of a level that a label or metadata states: known ones in their usual form, others as they are.
pub(super) fn stated(value: &str) -> &str {
    match Level::from_value(value.as_bytes()) {
        Some(level) => level.as_str(),
        None => value,
    }
}

/// Finds levels under a tenant's field names.
#[derive(Debug)]
pub(super) struct LevelDetector {
    fields: Vec<String>,
    /// The fields as names of stored metadata, where dots are underscores.
    metadata_fields: Vec<String>,
    /// The fields in lower case, without repetition, in order of preference.
    folded: Vec<String>,
    /// Which names a key of a line may have, in either case.
    shapes: Shapes,
    json_depth: usize,
}

/// First letters and lengths of names: most keys have neither, and need not be compared with any name.
#[derive(Debug, Default)]
struct Shapes {
    first_letters: u128,
    lengths: u128,
}

impl Shapes {
    fn add(&mut self, name: &str) {
        self.first_letters |= name.bytes().next().map_or(0, Self::letter_bit);
        self.lengths |= Self::length_bit(name.len());
    }

    fn may_hold(&self, key: &[u8]) -> bool {
        let first = key.first().map_or(0, |&first| Self::letter_bit(first));
        self.first_letters & first != 0 && self.lengths & Self::length_bit(key.len()) != 0
    }

    const fn letter_bit(letter: u8) -> u128 {
        1 << (letter.to_ascii_lowercase() & 0x7f)
    }

    /// Lengths beyond the last bit share it.
    fn length_bit(len: usize) -> u128 {
        1 << len.min(127)
    }
}

impl LevelDetector {
    pub(super) fn new(fields: &[String], json_depth: usize) -> Self {
        let mut folded: Vec<String> = Vec::new();
        for field in fields {
            let field = field.to_ascii_lowercase();
            if !folded.contains(&field) {
                folded.push(field);
            }
        }
        let metadata_fields = fields.iter().map(|field| field.replace('.', "_")).collect();
        let mut shapes = Shapes::default();
        for field in fields {
            shapes.add(field);
        }
        Self { fields: fields.to_vec(), metadata_fields, folded, shapes, json_depth }
    }

    /// The value of the most preferred field among stream labels.
    pub(super) fn stated_by_labels<'v>(&self, lookup: impl Fn(&str) -> Option<&'v str>) -> Option<&'v str> {
        self.fields.iter().find_map(|field| lookup(field))
    }

    /// The value of the most preferred field among stored metadata.
    pub(super) fn stated_by_metadata<'v>(&self, lookup: impl Fn(&str) -> Option<&'v str>) -> Option<&'v str> {
        self.metadata_fields.iter().find_map(|field| lookup(field))
    }

    /// The level that a line shows.
    pub(super) fn level_of_line(&self, line: &[u8]) -> Level {
        let trimmed = line.trim_ascii();
        let structured = if trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}') {
            json::first_string(trimmed, self.json_depth, |key| self.is_field(key)).and_then(Level::from_value)
        } else if memchr(b'=', trimmed).is_some() {
            self.logfmt_value(trimmed).and_then(Level::from_value)
        } else {
            None
        };
        structured.or_else(|| first_keyword(line)).unwrap_or(Level::Unknown)
    }

    fn is_field(&self, key: &[u8]) -> bool {
        self.shapes.may_hold(key) && self.fields.iter().any(|field| field.as_bytes() == key)
    }

    /// The value of the most preferred field in a logfmt line, and of its first occurrence.
    fn logfmt_value<'l>(&self, line: &'l [u8]) -> Option<&'l [u8]> {
        let mut best: Option<(usize, &[u8])> = None;
        let mut rest = line;
        while let Some((key, value, tail)) = next_logfmt_pair(rest) {
            rest = tail;
            if !self.shapes.may_hold(key) {
                continue;
            }
            let rank = self.folded.iter().position(|field| field.as_bytes().eq_ignore_ascii_case(key));
            if let Some(rank) = rank
                && best.is_none_or(|(best_rank, _)| rank < best_rank)
            {
                best = Some((rank, value));
                if rank == 0 {
                    break;
                }
            }
        }
        best.map(|(_, value)| value)
    }
}

/// Splits the next `key=value` off a logfmt line; words without a value are passed over.
fn next_logfmt_pair(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let equals = memchr(b'=', line)?;
    let (before, after) = (line.get(..equals)?, line.get(equals + 1..)?);
    let key_start = before.iter().rposition(|&b| b <= b' ').map_or(0, |space| space + 1);
    let key = before.get(key_start..)?;
    if after.first() == Some(&b'"') {
        let end = quoted_len(after.get(1..)?);
        let value = after.get(1..=end).unwrap_or_default();
        return Some((key, value, after.get(end + 2..).unwrap_or_default()));
    }
    let end = after.iter().position(|&b| b <= b' ').unwrap_or(after.len());
    Some((key, after.get(..end)?, after.get(end..)?))
}

/// The bytes before the quote that ends a string, or all of them.
fn quoted_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    text.len()
}

/// The words that name a level, with the level they name.
const KEYWORDS: [(&[u8], Level); 9] = [
    (b"trace", Level::Trace),
    (b"debug", Level::Debug),
    (b"fatal", Level::Fatal),
    (b"critical", Level::Critical),
    (b"error", Level::Error),
    (b"err", Level::Error),
    (b"warning", Level::Warn),
    (b"warn", Level::Warn),
    (b"info", Level::Info),
];

/// How [`KEYWORDS`] begin: enough to make candidates rare.
const STEMS: [&[u8; 3]; 7] = [b"tra", b"deb", b"fat", b"cri", b"err", b"war", b"inf"];

/// Finds [`STEMS`] in either case, many bytes at a time; `None` where the machine cannot.
static STEM_SEARCHER: LazyLock<Option<packed::Searcher>> = LazyLock::new(|| {
    let mut builder = packed::Config::new().builder();
    // The searcher spreads patterns over its buckets in the order they come: different stems in a row keep it sharp.
    for upper in 0..8_u8 {
        for stem in STEMS {
            let case = |i: usize| if upper & (1 << i) == 0 { stem[i] } else { stem[i].to_ascii_uppercase() };
            builder.add([case(0), case(1), case(2)]);
        }
    }
    builder.build()
});

/// The level that the first bounded keyword of a line names.
fn first_keyword(line: &[u8]) -> Option<Level> {
    let Some(searcher) = &*STEM_SEARCHER else {
        return (0..line.len()).find_map(|at| keyword_at(line, at));
    };
    let mut from = 0;
    while let Some(stem) = searcher.find_in(line, Span { start: from, end: line.len() }) {
        if let Some(level) = keyword_at(line, stem.start()) {
            return Some(level);
        }
        from = stem.start() + 1;
    }
    None
}

/// The level of the keyword that begins at `at`, if one does and stands alone.
fn keyword_at(line: &[u8], at: usize) -> Option<Level> {
    let before = at.checked_sub(1).and_then(|before| line.get(before));
    if before.is_some_and(|b| !b" \t\n[({\"=".contains(b)) {
        return None;
    }
    let rest = line.get(at..)?;
    KEYWORDS.iter().find_map(|&(word, level)| {
        let head = rest.get(..word.len())?;
        let after = rest.get(word.len());
        let is_bounded = after.is_none_or(|b| b" \t\n[({\"=])}:,!".contains(b));
        (is_bounded && head.eq_ignore_ascii_case(word)).then_some(level)
    })
}

#[cfg(test)]
mod tests;
