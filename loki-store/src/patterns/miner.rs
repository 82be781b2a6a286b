//! Mining the lines of one stream after the other.
//!
//! Where lines come thick and fast a sample of them is enough: of each stream and level the first [`EXACT_LINES`] in ten
//! seconds are all looked at, and then one of each [`SAMPLED_LINES`], chosen as if by chance but always the same, which
//! counts for all of them. Counts add up to the number of lines either way. So mining costs least where most is logged.

use loki_core::{Labels, Timestamp};

use super::render::render;
use super::shape::Shape;
use super::tree::Tree;
use super::{
    EXACT_LINES, MAX_CLUSTERS, PatternCounts, PatternOptions, PatternSeries, SAMPLED_LINES, StreamPatterns,
    UNKNOWN_LEVEL, WILD, slot_of, slot_start,
};

/// Levels of a stream that are told apart; lines of further ones count as those of an unknown level.
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
}

/// Which lines are looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Sampling {
    slot: i64,
    /// Lines met in these ten seconds that were all looked at.
    exact: u32,
    /// Lines met of those of which one is looked at, and which one that is.
    met: u32,
    chosen: u32,
    /// The cluster of the line that was looked at last.
    cluster: usize,
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
        Self { options, shape: Box::new(Shape::new()), levels, last: (Labels::EMPTY, 0) }
    }

    /// Counts a line.
    pub fn add(&mut self, at: Timestamp, line: &[u8], metadata: &Labels) {
        if line.is_empty() {
            return;
        }
        let level = self.level(metadata);
        let level = &mut self.levels[level];
        if level.is_due(slot_of(at)) {
            self.shape.read(line, self.options.max_line_bytes);
            level.add(&self.shape, line);
        }
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
        if self.levels.len() >= MAX_LEVELS || name.len() > MAX_LEVEL_BYTES {
            return 0;
        }
        self.levels.push(Level::new(name, self.options.max_clusters));
        self.levels.len() - 1
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
        }
    }

    /// Whether the next line, which is in `slot`, is to be looked at. If not, another one counts for it.
    fn is_due(&mut self, slot: i64) -> bool {
        if self.sampling.slot != slot {
            self.end_sample();
            self.sampling = Sampling { slot, dice: self.sampling.dice, ..Sampling::default() };
        }
        let sampling = &mut self.sampling;
        if sampling.exact < EXACT_LINES {
            sampling.exact += 1;
            return true;
        }
        if sampling.met == SAMPLED_LINES {
            self.end_sample();
        }
        let sampling = &mut self.sampling;
        if sampling.met == 0 {
            sampling.choose();
        }
        sampling.met += 1;
        sampling.met == sampling.chosen
    }

    /// Counts a line that was due.
    fn add(&mut self, shape: &Shape, line: &[u8]) {
        let cluster = self.tree.place(shape, line).unwrap_or(OTHERS);
        self.open.resize(self.tree.len(), Count::default());
        self.sampling.cluster = cluster;
        if self.sampling.met == 0 {
            self.count(cluster, self.sampling.slot, 1);
        }
    }

    /// Counts the lines met for the one that was looked at; for the one before if the chosen one did not come.
    fn end_sample(&mut self) {
        let Sampling { slot, met, cluster, .. } = self.sampling;
        if met > 0 {
            self.count(cluster, slot, u64::from(met));
            self.sampling.met = 0;
        }
    }

    fn count(&mut self, cluster: usize, slot: i64, lines: u64) {
        let count = if cluster == OTHERS { &mut self.others } else { &mut self.open[cluster] };
        if count.slot != slot {
            if count.lines > 0 {
                self.closed.push((cluster, *count));
            }
            *count = Count { slot, lines: 0 };
        }
        count.lines += lines;
    }

    /// Appends the patterns, and forgets them.
    fn take(&mut self, into: &mut Vec<PatternCounts>) {
        self.end_sample();
        self.sampling = Sampling::default();
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
    /// Chooses one of the next [`SAMPLED_LINES`]: a step of splitmix64, so that logs with a rhythm do not match ours.
    const fn choose(&mut self) {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.chosen = 1 + ((mixed >> 32) % SAMPLED_LINES as u64) as u32;
    }
}
