//! What happened, and whether it may happen.

use std::time::Duration;

use crate::options::Options;
use crate::push::Pushes;
use crate::query::Queries;
use crate::tail::Tailed;

const MB: u64 = 1 << 20;
const SHOWN_PROBLEMS: usize = 20;

pub struct Report {
    entries_per_push: usize,
    max_p99: Duration,
    max_growth_mb: u64,
    pub elapsed: Duration,
    pushes: Vec<Pushes>,
    queries: Vec<Queries>,
    tails: Vec<Tailed>,
    pub stored: u64,
    pub stored_after_flush: u64,
    memory_before: u64,
    pub memory_peak: u64,
    pub memory_after: u64,
    pub exit_code: Option<i32>,
}

impl Report {
    pub fn new(options: &Options, memory_before: u64) -> Self {
        Self {
            entries_per_push: options.entries,
            max_p99: options.max_p99,
            max_growth_mb: options.max_growth_mb,
            elapsed: Duration::ZERO,
            pushes: Vec::new(),
            queries: Vec::new(),
            tails: Vec::new(),
            stored: 0,
            stored_after_flush: 0,
            memory_before,
            memory_peak: memory_before,
            memory_after: 0,
            exit_code: None,
        }
    }

    pub fn add_pushes(&mut self, pushes: Pushes) {
        self.pushes.push(pushes);
    }

    pub fn add_queries(&mut self, queries: Queries) {
        self.queries.push(queries);
    }

    pub fn add_tail(&mut self, tail: Tailed) {
        self.tails.push(tail);
    }

    pub fn print(&self) {
        let pushes = sorted(self.pushes.iter().flat_map(|one| &one.latencies));
        let queries = sorted(self.queries.iter().flat_map(|one| &one.latencies));
        let seconds = self.elapsed.as_secs_f64();
        println!(
            "pushes   {} ({:.0} entries/s), p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
            pushes.len(),
            self.pushed() as f64 / seconds,
            ms(quantile(&pushes, 0.5)),
            ms(quantile(&pushes, 0.99)),
            ms(quantile(&pushes, 1.0)),
        );
        println!(
            "queries  {} ({:.0}/s), p50 {:.1} ms, p99 {:.1} ms",
            queries.len(),
            queries.len() as f64 / seconds,
            ms(quantile(&queries, 0.5)),
            ms(quantile(&queries, 0.99)),
        );
        let tailed: usize = self.tails.iter().map(|tail| tail.numbers.len()).sum();
        println!("tails    {tailed} entries, {} dropped", self.dropped());
        println!(
            "memory   {} MB before, {} MB at most, {} MB after",
            self.memory_before / MB,
            self.memory_peak / MB,
            self.memory_after / MB
        );
        let problems = self.problems();
        for problem in problems.iter().take(SHOWN_PROBLEMS) {
            println!("FAILED   {problem}");
        }
        println!("{}", if problems.is_empty() { "ok".to_owned() } else { format!("{} problems", problems.len()) });
    }

    /// Everything that must not be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        problems.extend(self.pushes.iter().flat_map(|one| one.errors.iter().cloned()));
        problems.extend(self.queries.iter().flat_map(|one| one.errors.iter().cloned()));
        for tail in &self.tails {
            problems.extend(tail.errors.iter().cloned());
            problems.extend(self.gaps(tail));
        }
        for (when, stored) in [("", self.stored), (" after the flush", self.stored_after_flush)] {
            if stored != self.pushed() {
                problems.push(format!("{} entries were pushed, {stored} are stored{when}", self.pushed()));
            }
        }
        let p99 = quantile(&sorted(self.pushes.iter().flat_map(|one| &one.latencies)), 0.99);
        if p99 > self.max_p99 {
            problems.push(format!("the 99th percentile of pushes is above {} ms", self.max_p99.as_millis()));
        }
        let growth = self.memory_peak.saturating_sub(self.memory_before) / MB;
        if growth > self.max_growth_mb {
            problems.push(format!("memory grew by {growth} MB, more than {} MB", self.max_growth_mb));
        }
        if self.exit_code != Some(0) {
            problems.push(format!("the server ended with {:?}", self.exit_code));
        }
        problems
    }

    /// A tail has to tell every entry once and in order, or that it dropped some.
    fn gaps(&self, tail: &Tailed) -> Option<String> {
        let pushed: usize =
            self.pushes.iter().filter(|one| one.number == tail.pusher).map(|one| one.latencies.len()).sum();
        let expected = pushed * self.entries_per_push;
        let is_ordered = tail.numbers.windows(2).all(|pair| pair[0] < pair[1]);
        let is_complete = tail.numbers.len() + tail.dropped >= expected && tail.numbers.len() <= expected;
        (!is_ordered || !is_complete).then(|| {
            format!(
                "the tail of pusher {} has {} of {expected} entries ({} dropped), {}",
                tail.pusher,
                tail.numbers.len(),
                tail.dropped,
                if is_ordered { "in order" } else { "out of order or doubled" }
            )
        })
    }

    fn pushed(&self) -> u64 {
        self.pushes.iter().map(|one| one.latencies.len() as u64).sum::<u64>() * self.entries_per_push as u64
    }

    fn dropped(&self) -> usize {
        self.tails.iter().map(|tail| tail.dropped).sum()
    }
}

fn sorted<'a>(latencies: impl Iterator<Item = &'a Duration>) -> Vec<Duration> {
    let mut all: Vec<Duration> = latencies.copied().collect();
    all.sort_unstable();
    all
}

fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
