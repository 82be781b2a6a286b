//! What functions work with while a template executes: the entry, memory for results, caches.

use std::fmt;

use bumpalo::Bump;
use hashbrown::HashMap;
use loki_core::{RegexError, RegexOptions, re2};
use regex::bytes::Regex;

use super::error::{CallError, Limit};
use super::time::ZoneCache;
use super::value::Value;
use super::{Fields, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES};

/// Compiled patterns kept for patterns that are computed; when there are more, all are dropped.
const MAX_CACHED_PATTERNS: usize = 64;

/// Text being written, of limited size. Writing past the limit writes nothing and is remembered.
#[derive(Debug)]
pub(super) struct Sink<'v> {
    bytes: &'v mut Vec<u8>,
    /// Length that `bytes` must not exceed.
    limit: usize,
    overflowed: bool,
}

impl<'v> Sink<'v> {
    /// A sink that appends at most [`MAX_OUTPUT_BYTES`] to `bytes`.
    pub(super) fn new(bytes: &'v mut Vec<u8>) -> Self {
        let limit = bytes.len().saturating_add(MAX_OUTPUT_BYTES);
        Self { bytes, limit, overflowed: false }
    }

    pub(super) fn extend(&mut self, text: &[u8]) {
        if self.reserve(text.len()) {
            self.bytes.extend_from_slice(text);
        }
    }

    pub(super) fn push(&mut self, byte: u8) {
        if self.reserve(1) {
            self.bytes.push(byte);
        }
    }

    pub(super) fn push_char(&mut self, c: char) {
        self.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Writes `byte` `count` times.
    pub(super) fn fill(&mut self, byte: u8, count: usize) {
        if self.reserve(count) {
            self.bytes.resize(self.bytes.len() + count, byte);
        }
    }

    /// Writes `text` `count` times.
    pub(super) fn repeat(&mut self, text: &[u8], count: usize) {
        let Some(total) = text.len().checked_mul(count) else {
            self.overflowed = true;
            return;
        };
        if total == 0 || !self.reserve(total) {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        while self.bytes.len() - start < total {
            // Each round doubles what is there.
            let written = self.bytes.len() - start;
            let end = start + written.min(total - written);
            self.bytes.extend_from_within(start..end);
        }
    }

    fn reserve(&mut self, count: usize) -> bool {
        let fits = count <= self.limit - self.bytes.len().min(self.limit);
        self.overflowed |= !fits;
        fits
    }

    /// The buffer itself, for writers whose output is bounded.
    pub(super) fn raw(&mut self) -> &mut Vec<u8> {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn check(&self) -> Result<(), Limit> {
        if self.overflowed { Err(Limit::Output) } else { Ok(()) }
    }
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}

/// What functions see of an execution.
pub(super) struct Context<'e> {
    pub(super) fields: &'e dyn Fields,
    pub(super) bump: &'e Bump,
    /// Where results are written before they are moved to `bump`.
    pub(super) text: &'e mut Vec<u8>,
    pub(super) constant_patterns: &'e ConstantPatterns,
    pub(super) patterns: &'e mut PatternCache,
    pub(super) zones: &'e ZoneCache,
}

impl<'e> Context<'e> {
    /// A string made of what `write` writes.
    pub(super) fn string(&mut self, write: impl FnOnce(&mut Sink<'_>)) -> Result<Value<'e>, CallError> {
        build(self.bump, self.text, write)
    }
}

/// A string made of what `write` writes, by way of `text`.
pub(super) fn build<'e>(
    bump: &'e Bump,
    text: &mut Vec<u8>,
    write: impl FnOnce(&mut Sink<'_>),
) -> Result<Value<'e>, CallError> {
    text.clear();
    let mut sink = Sink::new(text);
    write(&mut sink);
    sink.check()?;
    Ok(Value::String(keep(bump, text)?))
}

/// `text` in memory that lasts as long as the execution.
pub(super) fn keep<'e>(bump: &'e Bump, text: &[u8]) -> Result<&'e [u8], Limit> {
    check_memory(bump, text.len())?;
    Ok(bump.alloc_slice_copy(text))
}

/// Whether another `bytes` may be allocated.
pub(super) fn check_memory(bump: &Bump, bytes: usize) -> Result<(), Limit> {
    if bump.allocated_bytes().saturating_add(bytes) > MAX_MEMORY_BYTES { Err(Limit::Memory) } else { Ok(()) }
}

fn compile(pattern: &str) -> Compiled {
    re2::compile(pattern, RegexOptions { anchored: false, dot_matches_newline: false })
}

/// The compiled form of `pattern`.
pub(super) fn compiled<'p>(
    constants: &'p ConstantPatterns,
    cache: &'p mut PatternCache,
    pattern: &[u8],
) -> Result<&'p Regex, CallError> {
    if let Some(compiled) = constants.find(pattern) {
        return compiled.as_ref().map_err(|error| CallError::Regex(Box::new(error.clone())));
    }
    match std::str::from_utf8(pattern) {
        Ok(pattern) => cache.compiled(pattern).map_err(|error| CallError::Regex(Box::new(error))),
        Err(_) => Err(CallError::RegexEncoding(String::from_utf8_lossy(pattern).into())),
    }
}

/// The patterns that stand as constants in a template, compiled with it.
#[derive(Debug, Default)]
pub(super) struct ConstantPatterns(Vec<(Box<[u8]>, Compiled)>);

type Compiled = Result<Regex, RegexError>;

impl ConstantPatterns {
    pub(super) fn add(&mut self, pattern: &[u8]) {
        if let (None, Ok(text)) = (self.find(pattern), std::str::from_utf8(pattern)) {
            self.0.push((pattern.into(), compile(text)));
        }
    }

    fn find(&self, pattern: &[u8]) -> Option<&Compiled> {
        self.0.iter().find(|(p, _)| **p == *pattern).map(|(_, compiled)| compiled)
    }
}

/// Patterns that were computed in earlier executions.
#[derive(Debug, Default)]
pub(super) struct PatternCache(HashMap<Box<str>, Regex>);

impl PatternCache {
    fn compiled(&mut self, pattern: &str) -> Result<&Regex, RegexError> {
        if !self.0.contains_key(pattern) {
            let compiled = compile(pattern)?;
            if self.0.len() >= MAX_CACHED_PATTERNS {
                self.0.clear();
            }
            self.0.insert(pattern.into(), compiled);
        }
        Ok(&self.0[pattern])
    }
}
