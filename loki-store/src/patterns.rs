//! Patterns: what lines look like when their variable parts are left out, and how often each was seen.
//!
//! Lines are mined once, when the head that holds them becomes a segment, and only if they are recent then: patterns are
//! for looking at what goes on, not for archives that are imported. What was found is stored with the segment and lives
//! as long as it does. A query adds what the heads hold, which it mines itself.
//!
//! The method is Drain (He, Zhu, Zheng and Lyu, ICWS 2017): a tree of fixed depth leads each line to a few clusters, of
//! which it joins the most similar one or founds its own; where the lines of a cluster differ it has `<_>`. We divide
//! lines into words (`shape`), take what looks like a number for variable at once, and descend by what is between the
//! words and by the first of them (`tree`). Each stream and level has a tree of its own (`miner`), so that patterns do
//! not depend on who else logs; equal and similar patterns are joined when a query is answered (`answer`).
//!
//! | bound | for each |
//! |---|---|
//! | [`MAX_LINE_BYTES`], [`MAX_TOKENS`] | line; behind them everything is `<_>` |
//! | [`MAX_CLUSTERS`] | stream and level; lines of no cluster count for the pattern `<_>` |
//! | [`MAX_CHILDREN`], [`MAX_LEAF_CLUSTERS`] | node of the tree |
//! | [`MAX_BODY_BYTES`] | tenant and segment; streams beyond have no patterns |
//!
//! Counts are those of entries as they were pushed: a copy that merging removes, and an entry that a request deletes,
//! stay counted until their segment goes.
#![doc = include_str!("format/patterns.md")]

pub(crate) mod answer;
mod miner;
mod render;
pub(crate) mod section;
mod shape;
#[cfg(test)]
mod tests;
mod tree;

use std::time::Duration;

use loki_core::Timestamp;

pub use answer::{MAX_HELD_SAMPLES, MAX_HELD_TEXTS, MAX_STEPS, Patterns};
pub use miner::PatternMiner;

/// Default of [`PatternOptions::retain_for`].
pub const DEFAULT_RETAIN_FOR: Duration = Duration::from_hours(3);
/// The largest [`PatternOptions::max_line_bytes`], and its default.
pub const MAX_LINE_BYTES: usize = 3000;
/// Words of a line that are looked at.
pub const MAX_TOKENS: usize = 256;
/// The largest [`PatternOptions::max_clusters`], and its default.
pub const MAX_CLUSTERS: usize = 300;
/// First words that lines of one layout are told apart by.
pub const MAX_CHILDREN: usize = 24;
/// Clusters among which a line looks for its own.
pub const MAX_LEAF_CLUSTERS: usize = 48;
/// Bytes of the patterns of one tenant in one segment, before they are compressed.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// Lines of a stream and level in ten seconds that are all looked at.
pub const EXACT_LINES: u32 = 8;
/// Lines of a stream and level that are all looked at in one flush.
pub const EXACT_STREAM_LINES: u32 = 256;
/// Lines of all streams that are all looked at in one flush, whoever they are of; after that it is done with samples.
pub const EXACT_FLUSH_LINES: u32 = 64 << 10;
/// Of so many further lines one is looked at, on average.
pub const SAMPLED_LINES: u32 = 8;
/// Seconds between samples.
pub const SAMPLE_SECONDS: i64 = 10;
/// Lines that a pattern must have for a query to show it.
pub const MIN_SHOWN_LINES: u64 = 30;
/// Patterns that a query shows.
pub const MAX_SHOWN_PATTERNS: usize = 300;
/// The level of entries whose level is not known.
pub const UNKNOWN_LEVEL: &str = "unknown";

/// Stands for a variable part.
const WILD: &str = "<_>";

/// How patterns are mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternOptions {
    /// Whether they are mined at all.
    pub enabled: bool,
    /// Entries that are older than this when they are flushed, or asked for in a head, are not looked at.
    pub retain_for: Duration,
    /// Patterns of a stream and level; at most [`MAX_CLUSTERS`].
    pub max_clusters: usize,
    /// Bytes of a line that are looked at; at most [`MAX_LINE_BYTES`].
    pub max_line_bytes: usize,
}

impl Default for PatternOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            retain_for: DEFAULT_RETAIN_FOR,
            max_clusters: MAX_CLUSTERS,
            max_line_bytes: MAX_LINE_BYTES,
        }
    }
}

impl PatternOptions {
    /// The earliest time of entries that are looked at.
    pub(crate) fn earliest(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub_nanos(i64::try_from(self.retain_for.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// How often a pattern was seen with a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternSeries {
    /// The text, with `<_>` for what varies.
    pub pattern: String,
    /// The entries' `detected_level`, or [`UNKNOWN_LEVEL`].
    pub level: String,
    /// Starts of steps and the lines in them, ascending; steps without any are left out.
    pub samples: Vec<(Timestamp, u64)>,
}

impl PatternSeries {
    /// All lines.
    pub fn total(&self) -> u64 {
        sum(self.samples.iter().map(|(_, lines)| *lines))
    }
}

/// What was found in one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamPatterns {
    pub(crate) counts: Vec<PatternCounts>,
}

/// One pattern of a stream with one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternCounts {
    pub(crate) text: String,
    pub(crate) level: String,
    /// Numbers of ten seconds since the epoch, and the lines in them; ascending.
    pub(crate) samples: Vec<(i64, u64)>,
}

impl StreamPatterns {
    /// Joins what has the same text and level. Of more than [`MAX_CLUSTERS`] patterns of a level, those with the fewest
    /// lines become one, `<_>`.
    pub(crate) fn join(&mut self) {
        self.join_equal();
        let mut totals: Vec<(usize, u64)> = self.counts.iter().map(PatternCounts::total).enumerate().collect();
        totals.sort_by(|a, b| (&self.counts[a.0].level, b.1).cmp(&(&self.counts[b.0].level, a.1)));
        let by_level = totals.chunk_by(|a, b| self.counts[a.0].level == self.counts[b.0].level);
        let rare = by_level.flat_map(|of_level| of_level.iter().skip(MAX_CLUSTERS).map(|(place, _)| *place));
        let rare: Vec<usize> = rare.collect();
        if !rare.is_empty() {
            for place in rare {
                WILD.clone_into(&mut self.counts[place].text);
            }
            self.join_equal();
        }
    }

    fn join_equal(&mut self) {
        self.counts.sort_by(|a, b| (&a.level, &a.text).cmp(&(&b.level, &b.text)));
        let mut joined: Vec<PatternCounts> = Vec::with_capacity(self.counts.len());
        for counts in self.counts.drain(..) {
            match joined.last_mut() {
                Some(last) if (&last.level, &last.text) == (&counts.level, &counts.text) => {
                    last.samples.extend(counts.samples);
                }
                _ => joined.push(counts),
            }
        }
        joined.iter_mut().for_each(PatternCounts::join_samples);
        self.counts = joined;
    }

    /// Takes the samples out that begin between two moments.
    pub(crate) fn take_between(&mut self, first: Timestamp, last: Timestamp) -> Self {
        let mut taken = Vec::new();
        for counts in &mut self.counts {
            let from = counts.samples.partition_point(|(slot, _)| slot_start(*slot) < first);
            let to = counts.samples.partition_point(|(slot, _)| slot_start(*slot) <= last);
            let samples: Vec<_> = counts.samples.drain(from..to).collect();
            if !samples.is_empty() {
                taken.push(PatternCounts { text: counts.text.clone(), level: counts.level.clone(), samples });
            }
        }
        self.counts.retain(|counts| !counts.samples.is_empty());
        Self { counts: taken }
    }
}

impl PatternCounts {
    fn total(&self) -> u64 {
        sum(self.samples.iter().map(|(_, lines)| *lines))
    }

    /// Sorts samples and adds up those of the same time.
    fn join_samples(&mut self) {
        self.samples.sort_unstable_by_key(|(slot, _)| *slot);
        self.samples.dedup_by(|next, sum| {
            let is_same = next.0 == sum.0;
            if is_same {
                sum.1 = sum.1.saturating_add(next.1);
            }
            is_same
        });
    }
}

/// The sum of counts, which may be read from a segment and be anything.
fn sum(lines: impl Iterator<Item = u64>) -> u64 {
    lines.fold(0, u64::saturating_add)
}

/// Which ten seconds a time is in.
pub(crate) const fn slot_of(at: Timestamp) -> i64 {
    at.as_nanos().div_euclid(SAMPLE_SECONDS * 1_000_000_000)
}

/// When ten seconds begin.
pub(crate) const fn slot_start(slot: i64) -> Timestamp {
    Timestamp(slot.saturating_mul(SAMPLE_SECONDS * 1_000_000_000))
}
