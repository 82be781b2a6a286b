//! Answering from what segments have stored and from what heads hold.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::TryStreamExt;
use hashbrown::HashMap;
use loki_core::{Matcher, TimeRange, Timestamp};

use super::render::render;
use super::shape::Shape;
use super::tree::Tree;
use super::{
    MAX_LINE_BYTES, MAX_SHOWN_PATTERNS, MIN_SHOWN_LINES, PatternMiner, PatternOptions, PatternSeries, SAMPLE_SECONDS,
    WILD, slot_of, slot_start, sum,
};
use crate::catalog::streams_in;
use crate::error::Error;
use crate::view::View;

/// Stands for a variable part where a pattern is read as if it were a line.
const NUMBER: &str = "00";
/// Steps of an answer at most; shorter ones are made longer.
pub const MAX_STEPS: u64 = 11_000;
/// Samples that are held while an answer is put together; with more, steps become twice as long.
pub const MAX_HELD_SAMPLES: usize = 2_000_000;
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
    add_stored(&view, matchers, range, &mut found).await?;
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

/// Adds what segments have stored.
async fn add_stored(view: &View, matchers: &[Matcher], range: TimeRange, found: &mut Patterns) -> Result<(), Error> {
    let mut segments = pin!(view.each(range, |segment| async move {
        let Some(table) = segment.patterns().await? else {
            return Ok(None);
        };
        Ok(Some((segment, table, streams_in(view, segment, matchers, range).await?)))
    }));
    while let Some(found_here) = segments.try_next().await? {
        let Some((segment, table, streams)) = found_here else {
            continue;
        };
        for stream in streams {
            let add = |text: &str, level: &str, samples: &[(i64, u64)]| found.add(text, level, samples, range);
            table.for_each(stream, add).map_err(|damage| segment.damaged(damage))?;
        }
    }
    Ok(())
}

/// Patterns that were found and may be merged with those of other tenants before they are shown.
#[derive(Clone, Debug)]
pub struct Patterns {
    step_nanos: i64,
    /// By level and text: lines by start of step, in nanoseconds.
    levels: BTreeMap<String, Texts>,
    held_texts: usize,
    /// Bytes of the texts.
    held_bytes: usize,
    held_samples: usize,
    max_samples: usize,
}

type Steps = BTreeMap<i64, u64>;
type Texts = HashMap<String, Steps, foldhash::fast::FixedState>;

impl Patterns {
    /// No patterns. Steps are at least as long as samples are apart, and at most [`MAX_STEPS`].
    pub(crate) fn new(range: TimeRange, step_nanos: u64) -> Self {
        let length = u64::try_from(i128::from(range.end.0) - i128::from(range.start.0)).unwrap_or(0);
        let shortest = (SAMPLE_SECONDS as u64 * 1_000_000_000).max(length / MAX_STEPS);
        let step_nanos = i64::try_from(step_nanos.max(shortest)).unwrap_or(i64::MAX);
        Self {
            step_nanos,
            levels: BTreeMap::new(),
            held_texts: 0,
            held_bytes: 0,
            held_samples: 0,
            max_samples: MAX_HELD_SAMPLES,
        }
    }

    /// Adds patterns of the same range and step.
    pub fn merge(&mut self, mut other: Self) {
        while self.step_nanos < other.step_nanos {
            self.coarsen();
        }
        while other.step_nanos < self.step_nanos {
            other.coarsen();
        }
        for (level, texts) in other.levels {
            for (text, steps) in texts {
                self.add_steps(&text, &level, steps.into_iter());
            }
        }
    }

    /// About the memory that they take.
    pub fn size_bytes(&self) -> usize {
        let texts = self.held_texts * (size_of::<(String, Steps)>() + size_of::<u64>());
        texts + self.held_bytes + self.held_samples * 2 * size_of::<(i64, u64)>()
    }

    /// What is shown: similar patterns as one, those with at least [`MIN_SHOWN_LINES`] lines, and of these the
    /// [`MAX_SHOWN_PATTERNS`] with the most, by descending number of lines.
    pub fn into_series(self) -> Vec<PatternSeries> {
        let mut series: Vec<(u64, PatternSeries)> = Vec::new();
        for (level, texts) in self.levels {
            for (pattern, steps) in join_similar(texts) {
                let total = sum(steps.values().copied());
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
        if !samples.is_empty() {
            let steps = samples.iter().map(|(slot, lines)| (step_of(slot_start(*slot).0, step_nanos), *lines));
            self.add_steps(text, level, steps);
        }
    }

    fn add_steps(&mut self, text: &str, level: &str, steps: impl Iterator<Item = (i64, u64)>) {
        let Some(held) = self.steps(text, level) else {
            return;
        };
        let before = held.len();
        add_steps(held, steps);
        let added = held.len() - before;
        self.held_samples += added;
        while self.held_samples > self.max_samples && self.step_nanos < i64::MAX / 2 {
            self.coarsen();
        }
    }

    /// Makes steps twice as long.
    fn coarsen(&mut self) {
        self.step_nanos = self.step_nanos.saturating_mul(2);
        let step_nanos = self.step_nanos;
        self.held_samples = 0;
        for steps in self.levels.values_mut().flat_map(Texts::values_mut) {
            let fine = std::mem::take(steps);
            add_steps(steps, fine.into_iter().map(|(step, lines)| (step_of(step, step_nanos), lines)));
            self.held_samples += steps.len();
        }
    }

    fn steps(&mut self, text: &str, level: &str) -> Option<&mut Steps> {
        let is_known = self.levels.get(level).is_some_and(|texts| texts.contains_key(text));
        if !is_known {
            if self.held_texts >= MAX_HELD_TEXTS {
                return None;
            }
            self.held_texts += 1;
            self.held_bytes += text.len();
            self.levels.entry(level.to_owned()).or_default().insert(text.to_owned(), Steps::new());
        }
        self.levels.get_mut(level)?.get_mut(text)
    }
}

/// When the step begins that a time is in.
const fn step_of(at_nanos: i64, step_nanos: i64) -> i64 {
    at_nanos.saturating_sub(at_nanos.rem_euclid(step_nanos))
}

fn add_steps(held: &mut Steps, steps: impl IntoIterator<Item = (i64, u64)>) {
    for (step, lines) in steps {
        let held = held.entry(step).or_default();
        *held = held.saturating_add(lines);
    }
}

/// Joins patterns as if they were lines: a stream may have told less, or a segment, and left a word constant that
/// varies elsewhere.
fn join_similar(texts: Texts) -> Vec<(String, Steps)> {
    let mut by_total: Vec<(u64, String, Steps)> =
        texts.into_iter().map(|(text, steps)| (sum(steps.values().copied()), text, steps)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn patterns(seconds: i64, step_seconds: u64) -> Patterns {
        let range = TimeRange::new(Timestamp(0), Timestamp::from_seconds(seconds));
        Patterns::new(range, step_seconds * SECOND as u64)
    }

    #[test]
    fn steps_are_bounded_below_by_samples_and_by_their_number() {
        let longest = MAX_STEPS as i64 * SAMPLE_SECONDS;
        assert_eq!(patterns(longest, 1).step_nanos, SAMPLE_SECONDS * SECOND);
        assert_eq!(patterns(longest, 70).step_nanos, 70 * SECOND);
        assert_eq!(patterns(2 * longest, 1).step_nanos, 2 * SAMPLE_SECONDS * SECOND);
        assert!(Patterns::new(TimeRange::ALL, u64::MAX).step_nanos > 0);
    }

    #[test]
    fn steps_become_longer_when_there_are_too_many_samples() {
        let all = TimeRange::ALL;
        let mut found = patterns(1000, 10);
        found.max_samples = 4;
        found.add("a", "info", &[(0, 1), (1, 2), (2, 3), (3, 4)], all);
        assert_eq!((found.step_nanos, found.held_samples), (10 * SECOND, 4));
        found.add("b", "info", &[(1, 40)], all);
        assert_eq!((found.step_nanos, found.held_samples), (20 * SECOND, 3));

        let mut fine = patterns(1000, 10);
        fine.add("b", "info", &[(0, 1), (1, 1), (2, 30)], all);
        found.merge(fine.clone());
        fine.merge(found.clone());
        assert_eq!(fine.step_nanos, 20 * SECOND);
        let found = found.into_series();
        let samples = found.iter().map(|series| (series.pattern.as_str(), &*series.samples));
        let at = Timestamp::from_seconds;
        assert_eq!(samples.collect::<Vec<_>>(), [("b", &[(at(0), 42), (at(20), 30)][..])]);
    }

    #[test]
    fn only_so_many_texts_are_held() {
        let mut found = patterns(1000, 10);
        for i in 0..=MAX_HELD_TEXTS {
            found.add(&format!("text {i}"), "info", &[(0, 30)], TimeRange::ALL);
        }
        assert_eq!((found.held_texts, found.held_samples), (MAX_HELD_TEXTS, MAX_HELD_TEXTS));
        found.add("text 0", "info", &[(0, 30)], TimeRange::ALL);
        assert_eq!(found.levels["info"]["text 0"][&0], 60);
        found.add("text 0", "another level", &[(0, 30)], TimeRange::ALL);
        assert_eq!(found.levels.len(), 1, "no level is held for a text that is not");
    }

    #[test]
    fn counts_end_at_the_largest_number() {
        let mut found = patterns(1000, 10);
        for text in ["took 1 ms", "took 2 ms", "took 2 ms"] {
            found.add(text, "info", &[(0, u64::MAX), (1, u64::MAX)], TimeRange::ALL);
        }
        let shown = found.into_series();
        assert_eq!(shown.iter().map(PatternSeries::total).collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!(shown[0].samples.len(), 2);
    }

    #[test]
    fn what_is_held_is_counted() {
        let mut found = patterns(1000, 10);
        assert_eq!(found.size_bytes(), 0);
        found.add(&"x".repeat(5000), "info", &[(0, 30)], TimeRange::ALL);
        let one = found.size_bytes();
        assert!((5000..5200).contains(&one), "{one}");
        let samples: Vec<_> = (0..90).map(|slot| (slot, 1)).collect();
        found.add(&"x".repeat(5000), "info", &samples, TimeRange::ALL);
        assert_eq!(found.size_bytes() - one, 89 * 2 * size_of::<(i64, u64)>());
    }

    #[test]
    fn only_so_many_patterns_are_shown() {
        let mut found = patterns(1000, 10);
        for (i, j) in (0..20_usize).flat_map(|i| (0..20).map(move |j| (i, j))) {
            let text = format!("{}text{}", "!".repeat(i), "?".repeat(j));
            found.add(&text, "info", &[(0, 30 + (i * 20 + j) as u64)], TimeRange::ALL);
        }
        let shown = found.into_series();
        assert_eq!(shown.len(), MAX_SHOWN_PATTERNS);
        assert!(shown.is_sorted_by(|a, b| a.total() >= b.total()));
        assert_eq!(shown[0].total(), 429);
    }
}
