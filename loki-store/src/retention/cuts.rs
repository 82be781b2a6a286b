//! Since when the entries of a stream count.

use std::sync::Arc;
use std::time::Duration;

use loki_core::index::Index;
use loki_core::{Labels, TimeRange, Timestamp};
use roaring::RoaringBitmap;

use crate::limits::{Limits, RetentionStream};

/// For each stream of a tenant the time before which its entries are gone.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    /// For streams to which no rule applies.
    default: Timestamp,
    rules: Option<Rules>,
}

/// Rules of their own for some streams; the first that applies counts.
#[derive(Clone, Debug)]
struct Rules {
    limits: Arc<Limits>,
    /// Positions in `limits.retention_streams`, and the time before which the rule's entries are gone.
    order: Arc<[(usize, Timestamp)]>,
}

impl Default for Cuts {
    fn default() -> Self {
        Self::NONE
    }
}

impl Cuts {
    /// Keeps everything.
    pub(crate) const NONE: Self = Self { default: Timestamp::MIN, rules: None };

    /// What a tenant's limits ask for when the clock shows `now`.
    pub(crate) fn new(limits: &Arc<Limits>, now: Timestamp) -> Self {
        let default = cut(limits.retention_period, now);
        let streams = &limits.retention_streams;
        if streams.is_empty() {
            return Self { default, rules: None };
        }
        let mut order: Vec<_> = streams.iter().map(|rule| cut(rule.period, now)).enumerate().collect();
        // A stable sort: of rules with equal priority the first one counts.
        order.sort_by_key(|(i, _)| std::cmp::Reverse(streams[*i].priority));
        Self { default, rules: Some(Rules { limits: Arc::clone(limits), order: order.into() }) }
    }

    /// The time before which the entries of a stream are gone.
    pub(crate) fn of(&self, labels: &Labels) -> Timestamp {
        let found = self.rules.as_ref().and_then(|rules| rules.iter().find(|(rule, _)| applies(rule, labels)));
        found.map_or(self.default, |(_, cut)| cut)
    }

    /// No entry from this time on is gone.
    pub(crate) fn latest(&self) -> Timestamp {
        self.all().max().unwrap_or(Timestamp::MIN)
    }

    /// Every entry before this time is gone.
    pub(crate) fn earliest(&self) -> Timestamp {
        self.all().min().unwrap_or(Timestamp::MIN)
    }

    /// Whether entries in `span` may be gone.
    pub(crate) fn may_hide(&self, span: TimeRange) -> bool {
        span.start < self.latest()
    }

    /// How many of the cuts, of rules and of the rest, are later than a time.
    pub(crate) fn count_after(&self, time: Timestamp) -> usize {
        self.all().filter(|cut| *cut > time).count()
    }

    /// Streams of an index whose cut is later than a time.
    pub(crate) fn streams_cut_after(&self, time: Timestamp, index: &Index) -> Result<RoaringBitmap, loki_core::Error> {
        let mut rest: RoaringBitmap = (0..index.streams()).collect();
        let mut found = RoaringBitmap::new();
        for (rule, cut) in self.rules.iter().flat_map(Rules::iter) {
            let of_rule = index.select(&rule.matchers)? & &rest;
            rest -= &of_rule;
            if cut > time {
                found |= of_rule;
            }
        }
        if self.default > time {
            found |= rest;
        }
        Ok(found)
    }

    fn all(&self) -> impl Iterator<Item = Timestamp> {
        let rules = self.rules.iter().flat_map(|rules| rules.order.iter().map(|(_, cut)| *cut));
        std::iter::once(self.default).chain(rules)
    }
}

impl Rules {
    fn iter(&self) -> impl Iterator<Item = (&RetentionStream, Timestamp)> {
        self.order.iter().map(|(i, cut)| (&self.limits.retention_streams[*i], *cut))
    }
}

fn applies(rule: &RetentionStream, labels: &Labels) -> bool {
    rule.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

/// The time before which entries are gone; a period of zero keeps them for ever.
fn cut(period: Duration, now: Timestamp) -> Timestamp {
    if period.is_zero() {
        return Timestamp::MIN;
    }
    now.saturating_sub_nanos(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use loki_core::index::IndexBuilder;
    use loki_core::{MatchOp, Matcher};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn rule(app: &str, priority: i64, seconds: u64) -> RetentionStream {
        let matchers = vec![Matcher::new("app", MatchOp::Regex, app).unwrap()];
        RetentionStream { matchers, priority, period: Duration::from_secs(seconds) }
    }

    fn cuts(default: u64, rules: Vec<RetentionStream>) -> Cuts {
        let limits =
            Limits { retention_period: Duration::from_secs(default), retention_streams: rules, ..Limits::unlimited() };
        Cuts::new(&Arc::new(limits), NOW)
    }

    fn age(cuts: &Cuts, app: &str) -> i64 {
        let cut = cuts.of(&Labels::from_pairs([("app", app)]).unwrap());
        (NOW.0 - cut.0) / 1_000_000_000
    }

    #[test]
    fn the_rule_of_highest_priority_counts_and_else_the_default() {
        let cuts = cuts(100, vec![rule("a", 1, 10), rule("a|b", 2, 20), rule("b|c", 2, 30)]);
        assert_eq!(["a", "b", "c", "d"].map(|app| age(&cuts, app)), [20, 20, 30, 100]);
        assert_eq!(cuts.latest(), Timestamp::from_seconds(1_000_000 - 10));
        assert_eq!(cuts.earliest(), Timestamp::from_seconds(1_000_000 - 100));
    }

    #[test]
    fn a_period_of_zero_keeps_for_ever() {
        assert_eq!(cuts(0, vec![]).latest(), Timestamp::MIN);
        let for_ever = cuts(100, vec![rule("a", 1, 0)]);
        assert_eq!(for_ever.of(&Labels::from_pairs([("app", "a")]).unwrap()), Timestamp::MIN);
        assert_eq!(for_ever.earliest(), Timestamp::MIN);
        assert!(!Cuts::NONE.may_hide(TimeRange::ALL));
    }

    #[test]
    fn streams_are_found_in_an_index_as_one_by_one() {
        let mut builder = IndexBuilder::new();
        let apps = ["a", "b", "c", "d"];
        for app in apps {
            builder.push(&Labels::from_pairs([("app", app)]).unwrap()).unwrap();
        }
        let index = Index::open(builder.finish().unwrap().into()).unwrap();
        let cuts = cuts(25, vec![rule("a", 1, 10), rule("a|b", 2, 20), rule("c", 2, 30)]);
        for seconds in 0..40 {
            let time = Timestamp::from_seconds(1_000_000 - seconds);
            let expected: Vec<u32> = (0..4).filter(|i| age(&cuts, apps[*i as usize]) < seconds).collect();
            let found: Vec<u32> = cuts.streams_cut_after(time, &index).unwrap().iter().collect();
            assert_eq!(found, expected, "{seconds}");
        }
    }
}
