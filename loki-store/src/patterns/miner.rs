//! Mining the lines of one stream after the other.
//!
//! Where lines come thick and fast a sample of them is enough: of each stream and level the first [`EXACT_LINES`] in ten
//! seconds are all looked at, as long as there were fewer than [`EXACT_STREAM_LINES`] since the last flush, and fewer than
//! [`EXACT_FLUSH_LINES`] of all streams; then one of [`SAMPLED_LINES`] on average, chosen as if by chance but always the same. A
//! line that is not looked at counts for the pattern of the one looked at last, so that counts add up to the number of
//! lines.

use loki_core::{Labels, Timestamp};

use super::render::render;
use super::shape::Shape;
use super::tree::Tree;
use super::{
    EXACT_FLUSH_LINES, EXACT_LINES, EXACT_STREAM_LINES, MAX_CLUSTERS, PatternCounts, PatternOptions, PatternSeries,
    SAMPLED_LINES, StreamPatterns, UNKNOWN_LEVEL, WILD, slot_of, slot_start,
};

/// Levels of a stream that are told apart, with the unknown one; lines of further ones count as those of an unknown level.
const MAX_LEVELS: usize = 16;
/// Bytes of the longest name of a level; a longer one is unknown.
const MAX_LEVEL_BYTES: usize = 64;
/// The name of the structured metadata that tells the level.
const LEVEL_NAME: &str = "detected_level";

/// Finds the patterns of lines.
///
/// Lines of one stream go in by [`PatternMiner::add`], roughly in the order of their times, and come out as patterns with
/// [`PatternMiner::take`], which leaves the miner empty for the next stream.
#[derive(Debug)]
pub struct PatternMiner {
    options: PatternOptions,
    shape: Box<Shape>,
    levels: Vec<Level>,
    /// Lines of all streams that were looked at.
    looked_at: u32,
    /// The metadata of the line before and the place of its level: lines in a row tend to share theirs.
    last: (Labels, usize),
}

/// The lines with one level.
#[derive(Debug)]
struct Level {
    name: String,
    tree: Tree,
    /// By cluster: what is being counted. Lines without a cluster come last.
    open: Vec<Count>,
    /// What was counted, by cluster.
    closed: Vec<(usize, Count)>,
    others: Count,
    sampling: Sampling,
    /// The cluster of the line that was looked at last.
    current: usize,
}

/// Which lines are looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Sampling {
    slot: i64,
    /// Lines met in these ten seconds, and in all.
    in_slot: u32,
    in_stream: u32,
    /// Lines to come that are not looked at.
    skip: u32,
    /// Makes choices.
    dice: u64,
}

/// Lines in ten seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    slot: i64,
    lines: u64,
}

/// Stands for the cluster of lines that have none.
const OTHERS: usize = MAX_CLUSTERS;

impl PatternMiner {
    /// A miner that has seen nothing.
    pub fn new(options: PatternOptions) -> Self {
        let levels = vec![Level::new(UNKNOWN_LEVEL, options.max_clusters)];
        Self { options, shape: Box::new(Shape::new()), levels, looked_at: 0, last: (Labels::EMPTY, 0) }
    }

    /// Counts a line.
    pub fn add(&mut self, at: Timestamp, line: &[u8], metadata: &Labels) {
        if line.is_empty() {
            return;
        }
        let level = self.level(metadata);
        let (level, slot) = (&mut self.levels[level], slot_of(at));
        if level.sampling.is_due(slot, self.looked_at < EXACT_FLUSH_LINES) {
            self.looked_at = self.looked_at.saturating_add(1);
            self.shape.read(line, self.options.max_line_bytes);
            level.place(&self.shape, line);
        }
        level.count(slot);
    }

    /// The patterns of the lines since the last time, each with its samples.
    pub fn take(&mut self) -> Vec<PatternSeries> {
        let series = self.take_counts().counts.into_iter().map(|counts| PatternSeries {
            samples: counts.samples.iter().map(|&(slot, lines)| (slot_start(slot), lines)).collect(),
            pattern: counts.text,
            level: counts.level,
        });
        series.collect()
    }

    /// The patterns of the lines since the last time.
    pub(crate) fn take_counts(&mut self) -> StreamPatterns {
        let mut counts = Vec::new();
        for level in &mut self.levels {
            level.take(&mut counts);
        }
        // Clusters may turn out to have the same text.
        let mut patterns = StreamPatterns { counts };
        patterns.join_equal();
        patterns
    }

    fn level(&mut self, metadata: &Labels) -> usize {
        if self.last.0 != *metadata {
            self.last = (metadata.clone(), self.find_level(metadata.get(LEVEL_NAME).unwrap_or(UNKNOWN_LEVEL)));
        }
        self.last.1
    }

    fn find_level(&mut self, name: &str) -> usize {
        if let Some(found) = self.levels.iter().position(|level| level.name == name) {
            return found;
        }
        if name.len() > MAX_LEVEL_BYTES {
            return 0;
        }
        if self.levels.len() < MAX_LEVELS {
            self.levels.push(Level::new(name, self.options.max_clusters));
            return self.levels.len() - 1;
        }
        // Levels of the streams before must not keep this one from having its own.
        let idle = (1..MAX_LEVELS).find(|level| self.levels[*level].is_idle());
        idle.inspect(|level| name.clone_into(&mut self.levels[*level].name)).unwrap_or(0)
    }
}

impl Level {
    fn new(name: &str, max_clusters: usize) -> Self {
        let tree = Tree::new(max_clusters.min(MAX_CLUSTERS));
        Self {
            name: name.to_owned(),
            tree,
            open: Vec::new(),
            closed: Vec::new(),
            others: Count::default(),
            sampling: Sampling::default(),
            current: OTHERS,
        }
    }

    /// Finds the cluster of a line, which is that of the lines behind it until the next is looked at.
    fn place(&mut self, shape: &Shape, line: &[u8]) {
        self.current = self.tree.place(shape, line).unwrap_or(OTHERS);
        self.open.resize(self.tree.len(), Count::default());
    }

    /// Whether the stream has no lines of this level so far.
    const fn is_idle(&self) -> bool {
        self.sampling.in_stream == 0
    }

    fn count(&mut self, slot: i64) {
        let cluster = self.current;
        let count = if cluster == OTHERS { &mut self.others } else { &mut self.open[cluster] };
        if count.slot != slot {
            if count.lines > 0 {
                self.closed.push((cluster, *count));
            }
            *count = Count { slot, lines: 0 };
        }
        count.lines += 1;
    }

    /// Appends the patterns, and forgets them.
    fn take(&mut self, into: &mut Vec<PatternCounts>) {
        self.sampling = Sampling::default();
        self.current = OTHERS;
        let open = self.open.drain(..).enumerate().chain([(OTHERS, std::mem::take(&mut self.others))]);
        self.closed.extend(open.filter(|(_, count)| count.lines > 0));
        self.closed.sort_by_key(|(cluster, count)| (*cluster, count.slot));
        for of_cluster in self.closed.chunk_by(|a, b| a.0 == b.0) {
            let number = of_cluster[0].0;
            let text = if number == OTHERS { WILD.to_owned() } else { render(self.tree.view(number)) };
            let samples = of_cluster.iter().map(|(_, count)| (count.slot, count.lines)).collect();
            into.push(PatternCounts { text, level: self.name.clone(), samples });
        }
        self.closed.clear();
        self.tree.clear();
    }
}

impl Sampling {
    /// Whether the next line, which is in `slot`, is to be looked at; the first is in any case.
    const fn is_due(&mut self, slot: i64, has_time: bool) -> bool {
        if self.slot != slot {
            self.slot = slot;
            self.in_slot = 0;
        }
        let is_calm = has_time && self.in_slot < EXACT_LINES && self.in_stream < EXACT_STREAM_LINES;
        if is_calm || self.in_stream == 0 {
            if !is_calm {
                self.choose();
            }
            self.in_slot += 1;
            self.in_stream += 1;
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.choose();
        true
    }

    /// Chooses how many lines to skip, from none to twice as many as on average: a step of splitmix64, so that logs with
    /// a rhythm do not match ours.
    const fn choose(&mut self) {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.skip = ((mixed >> 32) % (2 * SAMPLED_LINES as u64 - 1)) as u32;
    }
}
