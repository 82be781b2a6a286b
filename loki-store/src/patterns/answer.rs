//! Answering from what segments have stored and from what heads hold.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use loki_core::{Matcher, TimeRange, Timestamp};

use super::render::render;
use super::shape::Shape;
use super::tree::Tree;
use super::{
    MAX_LINE_BYTES, MAX_SHOWN_PATTERNS, MIN_SHOWN_LINES, PatternMiner, PatternOptions, PatternSeries, SAMPLE_SECONDS,
    WILD, slot_of, slot_start,
};
use crate::catalog::{overlapping, streams_in};
use crate::error::Error;
use crate::view::View;

/// Stands for a variable part where a pattern is read as if it were a line.
const NUMBER: &str = "00";
/// Steps of an answer at most; shorter ones are made longer.
pub const MAX_STEPS: u64 = 11_000;
/// Different texts that are held while an answer is put together; further ones are left out.
pub const MAX_HELD_TEXTS: usize = 20_000;

/// The patterns of the selected streams in `range`, by steps of `step_nanos`, as of `now`.
pub(crate) async fn patterns(
    view: View,
    matchers: &[Matcher],
    range: TimeRange,
    step_nanos: u64,
    options: PatternOptions,
    now: Timestamp,
) -> Result<Patterns, Error> {
    let mut found = Patterns::new(range, step_nanos);
    let range = view.visible(range);
    if range.is_empty() {
        return Ok(found);
    }
    for segment in overlapping(&view, range) {
        let Some(table) = segment.patterns().await? else {
            continue;
        };
        for stream in streams_in(&view, segment, matchers, range).await? {
            let add = |text: &str, level: &str, samples: &[(i64, u64)]| found.add(text, level, samples, range);
            table.for_each(stream, add).map_err(|damage| segment.damaged(damage))?;
        }
    }
    let recent = TimeRange::new(range.start.max(options.earliest(now)), range.end);
    if !options.enabled || recent.is_empty() {
        return Ok(found);
    }
    let matchers = matchers.to_vec();
    let mine = move || {
        let mut miner = PatternMiner::new(options);
        for head in &view.heads {
            head.select(&matchers).for_each_stream(|labels, rows| {
                let visible = TimeRange::new(recent.start.max(view.deletions.retention().of(labels)), recent.end);
                let rows = rows.filter(|(at, _, _)| visible.contains(*at));
                rows.for_each(|(at, line, metadata)| miner.add(at, line, metadata));
                for counts in miner.take_counts().counts {
                    found.add(&counts.text, &counts.level, &counts.samples, recent);
                }
            });
        }
        found
    };
    Ok(crate::store::blocking(mine).await)
}

/// Patterns that were found and may be merged with those of other tenants before they are shown.
#[derive(Clone, Debug)]
pub struct Patterns {
    step_nanos: i64,
    /// By level and text: lines by start of step, in nanoseconds.
    levels: BTreeMap<String, Texts>,
    held: usize,
}

type Steps = BTreeMap<i64, u64>;
type Texts = HashMap<String, Steps, foldhash::fast::FixedState>;

impl Patterns {
    /// No patterns. Steps are at least as long as samples are apart, and at most [`MAX_STEPS`].
    pub(crate) fn new(range: TimeRange, step_nanos: u64) -> Self {
        let length = u64::try_from(i128::from(range.end.0) - i128::from(range.start.0)).unwrap_or(0);
        let shortest = (SAMPLE_SECONDS as u64 * 1_000_000_000).max(length / MAX_STEPS);
        let step_nanos = i64::try_from(step_nanos.max(shortest)).unwrap_or(i64::MAX);
        Self { step_nanos, levels: BTreeMap::new(), held: 0 }
    }

    /// Adds patterns of the same range and step.
    pub fn merge(&mut self, other: Self) {
        for (level, texts) in other.levels {
            for (text, steps) in texts {
                if let Some(held) = self.steps(&text, &level) {
                    add_steps(held, steps);
                }
            }
        }
    }

    /// What is shown: similar patterns as one, those with at least [`MIN_SHOWN_LINES`] lines, and of these the
    /// [`MAX_SHOWN_PATTERNS`] with the most, by descending number of lines.
    pub fn into_series(self) -> Vec<PatternSeries> {
        let mut series: Vec<(u64, PatternSeries)> = Vec::new();
        for (level, texts) in self.levels {
            for (pattern, steps) in join_similar(texts) {
                let total = steps.values().sum();
                if total >= MIN_SHOWN_LINES {
                    let samples = steps.into_iter().map(|(step, lines)| (Timestamp(step), lines)).collect();
                    series.push((total, PatternSeries { pattern, level: level.clone(), samples }));
                }
            }
        }
        series.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.pattern.cmp(&y.pattern)));
        series.truncate(MAX_SHOWN_PATTERNS);
        series.into_iter().map(|(_, series)| series).collect()
    }

    /// Adds the samples that are in `range`.
    fn add(&mut self, text: &str, level: &str, samples: &[(i64, u64)], range: TimeRange) {
        let from = samples.partition_point(|(slot, _)| *slot < slot_of(range.start));
        let to = samples.partition_point(|(slot, _)| slot_start(*slot) < range.end);
        let (step_nanos, samples) = (self.step_nanos, samples.get(from..to).unwrap_or_default());
        if samples.is_empty() {
            return;
        }
        if let Some(steps) = self.steps(text, level) {
            for (slot, lines) in samples {
                let start = slot_start(*slot).0;
                *steps.entry(start.saturating_sub(start.rem_euclid(step_nanos))).or_default() += lines;
            }
        }
    }

    fn steps(&mut self, text: &str, level: &str) -> Option<&mut Steps> {
        if !self.levels.contains_key(level) {
            self.levels.insert(level.to_owned(), Texts::default());
        }
        let texts = self.levels.get_mut(level)?;
        if !texts.contains_key(text) {
            if self.held >= MAX_HELD_TEXTS {
                return None;
            }
            self.held += 1;
            texts.insert(text.to_owned(), Steps::new());
        }
        texts.get_mut(text)
    }
}

fn add_steps(held: &mut Steps, steps: Steps) {
    for (step, lines) in steps {
        *held.entry(step).or_default() += lines;
    }
}

/// Joins patterns as if they were lines: a stream may have told less, or a segment, and left a word constant that
/// varies elsewhere.
fn join_similar(texts: Texts) -> Vec<(String, Steps)> {
    let mut by_total: Vec<(u64, String, Steps)> =
        texts.into_iter().map(|(text, steps)| (steps.values().sum(), text, steps)).collect();
    by_total.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut tree = Tree::new(MAX_HELD_TEXTS);
    let mut shape = Box::new(Shape::new());
    let mut joined: Vec<(String, Steps)> = Vec::new();
    // By cluster: its place in `joined`, and whether several patterns are in it.
    let mut places: Vec<(usize, bool)> = Vec::new();
    for (_, text, steps) in by_total {
        let line = text.replace(WILD, NUMBER);
        shape.read(line.as_bytes(), MAX_LINE_BYTES);
        match tree.place(&shape, line.as_bytes()) {
            Some(cluster) if cluster < places.len() => {
                let (place, is_joined) = &mut places[cluster];
                *is_joined = true;
                add_steps(&mut joined[*place].1, steps);
            }
            Some(_) => {
                places.push((joined.len(), false));
                joined.push((text, steps));
            }
            None => joined.push((text, steps)),
        }
    }
    for (cluster, (place, is_joined)) in places.into_iter().enumerate() {
        if is_joined {
            joined[place].0 = render(tree.view(cluster));
        }
    }
    joined
}
