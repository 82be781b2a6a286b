//! Sizes of streams, summed by groups of labels and steps of time.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use loki_core::{Labels, Matcher, TimeRange, Timestamp};

use crate::error::ApiError;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Groups with their bytes by the number of a step.
pub(super) type Sizes = Vec<(Labels, BTreeMap<i64, u64>)>;

/// How streams are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    /// By the values of labels that the selector names, as far as a stream has them; all labels if it names none.
    Named(Vec<String>),
    /// By the values of labels that a stream must have.
    Targets(Vec<String>),
    /// By the names of labels alone; all labels if none are given.
    LabelNames(Vec<String>),
}

impl Aggregation {
    /// From `aggregateBy`, `targetLabels` and the selector.
    pub(super) fn new<'a>(
        by: &str,
        targets: impl Iterator<Item = &'a str>,
        matchers: &[Matcher],
    ) -> Result<Self, ApiError> {
        let targets: Vec<String> = targets.map(str::to_owned).collect();
        match by {
            "" | "series" if targets.is_empty() => {
                Ok(Self::Named(matchers.iter().map(|matcher| matcher.name().to_owned()).collect()))
            }
            "" | "series" => Ok(Self::Targets(targets)),
            "labels" => Ok(Self::LabelNames(targets)),
            _ => Err(ApiError::bad_request("invalid aggregation option")),
        }
    }

    /// The groups of a stream.
    fn groups(&self, stream: &Labels) -> Vec<Labels> {
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|of| of == name);
        match self {
            Self::Named(names) => vec![Labels::from_sorted(stream.iter().filter(|(name, _)| named(names, name)))],
            Self::Targets(names) => {
                let found = Labels::from_sorted(stream.iter().filter(|(name, _)| named(names, name)));
                let has_all = names.iter().all(|name| found.get(name).is_some());
                if has_all { vec![found] } else { Vec::new() }
            }
            Self::LabelNames(names) => {
                let names = stream.iter().map(|(name, _)| name).filter(|name| named(names, name));
                names.map(|name| Labels::from_sorted([(name, "")])).collect()
            }
        }
    }
}

/// Sums the sizes of streams.
pub(super) struct Collector {
    aggregation: Aggregation,
    groups: HashMap<Labels, BTreeMap<i64, u64>>,
}

impl Collector {
    pub(super) fn new(aggregation: Aggregation) -> Self {
        Self { aggregation, groups: HashMap::new() }
    }

    /// Adds a stream, whose steps are counted from `first_step` on.
    pub(super) fn add(&mut self, stream: &Labels, first_step: i64, steps: &BTreeMap<u64, u64>) {
        for group in self.aggregation.groups(stream) {
            let sums = self.groups.entry(group).or_default();
            for (&step, &bytes) in steps {
                *sums.entry(first_step.saturating_add_unsigned(step)).or_default() += bytes;
            }
        }
    }

    /// All groups, largest first. More than `max_groups` are an error; zero is no limit.
    pub(super) fn finish(self, max_groups: usize) -> Result<Sizes, ApiError> {
        if max_groups > 0 && self.groups.len() > max_groups {
            return Err(ApiError::bad_request(format!(
                "the query hit the max number of series limit (limit: {max_groups} series)"
            )));
        }
        let total = |steps: &BTreeMap<i64, u64>| steps.values().sum::<u64>();
        let mut sizes: Sizes = self.groups.into_iter().collect();
        sizes.sort_by(|a, b| total(&b.1).cmp(&total(&a.1)).then_with(|| a.0.cmp(&b.0)));
        Ok(sizes)
    }
}

/// Where a part of a range begins in the grid of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstStep {
    /// The number of its first step.
    pub(super) number: i64,
    /// Whether it begins at the start of that step; otherwise it lies within the step.
    pub(super) is_whole: bool,
}

/// Divides a range at its first step boundary, because steps are multiples of their length whatever the range.
pub(super) fn parts(range: TimeRange, step_nanos: i64) -> Vec<(TimeRange, FirstStep)> {
    if step_nanos <= 0 {
        return vec![(range, FirstStep { number: 0, is_whole: false })];
    }
    let before = range.start.0.div_euclid(step_nanos);
    let is_aligned = range.start.0.rem_euclid(step_nanos) == 0;
    let first = if is_aligned { before } else { before + 1 };
    let boundary = Timestamp(first.saturating_mul(step_nanos)).min(range.end);
    let head = (TimeRange::new(range.start, boundary), FirstStep { number: before, is_whole: false });
    let rest = (TimeRange::new(boundary, range.end), FirstStep { number: first, is_whole: true });
    [head, rest].into_iter().filter(|(part, _)| !part.is_empty()).collect()
}

/// The last moment of a step, to the millisecond; of the step in which the range ends, that end.
pub(super) fn step_end(step: i64, step_nanos: i64, end: Timestamp) -> Timestamp {
    match step.checked_add(1).and_then(|next| next.checked_mul(step_nanos)) {
        Some(next) if next < end.0 => Timestamp(next - NANOS_PER_MILLI),
        _ => end,
    }
}

/// All steps from the first to the last with a size.
pub(super) fn without_gaps(steps: &BTreeMap<i64, u64>) -> impl Iterator<Item = (i64, u64)> {
    let first = steps.first_key_value().map_or(0, |(&step, _)| step);
    let after = steps.last_key_value().map_or(0, |(&step, _)| step + 1);
    (first..after).map(|step| (step, steps.get(&step).copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("distinct names")
    }

    fn collect(by: &str, targets: &[&str], selector: &str) -> Vec<(String, u64)> {
        let matchers = loki_logql::parse_selector(selector).expect("valid");
        let mut sizes = Collector::new(Aggregation::new(by, targets.iter().copied(), &matchers).expect("valid"));
        let steps = |bytes| BTreeMap::from([(0, bytes)]);
        sizes.add(&labels(&[("app", "api"), ("env", "dev")]), 0, &steps(10));
        sizes.add(&labels(&[("app", "api"), ("env", "prod")]), 0, &steps(30));
        sizes.add(&labels(&[("app", "shop")]), 0, &steps(5));
        let sizes = sizes.finish(0).expect("no limit");
        sizes.into_iter().map(|(labels, steps)| (labels.to_string(), steps.values().sum())).collect()
    }

    fn shown(groups: &[(&str, u64)]) -> Vec<(String, u64)> {
        groups.iter().map(|&(labels, bytes)| (labels.to_owned(), bytes)).collect()
    }

    #[test]
    fn groups_follow_the_selector_the_targets_or_the_names() {
        let by_app = shown(&[(r#"{app="api"}"#, 40), (r#"{app="shop"}"#, 5)]);
        assert_eq!(collect("", &[], r#"{app=~".+"}"#), by_app);
        let by_env = shown(&[(r#"{env="prod"}"#, 30), (r#"{env="dev"}"#, 10)]);
        assert_eq!(collect("series", &["env"], r#"{app=~".+"}"#), by_env);
        assert_eq!(collect("series", &["env", "nope"], r#"{app=~".+"}"#), []);
        let by_name = shown(&[(r#"{app=""}"#, 45), (r#"{env=""}"#, 40)]);
        assert_eq!(collect("labels", &[], r#"{app=~".+"}"#), by_name);
        assert_eq!(collect("labels", &["env"], r#"{app=~".+"}"#), by_name[1..]);
    }

    #[test]
    fn one_group_over_the_limit_is_an_error() {
        let mut sizes = Collector::new(Aggregation::Targets(vec!["a".to_owned()]));
        sizes.add(&labels(&[("a", "1")]), 0, &BTreeMap::new());
        sizes.add(&labels(&[("a", "2")]), 0, &BTreeMap::new());
        let refusal = sizes.finish(1).expect_err("two groups");
        assert_eq!(refusal.message(), "the query hit the max number of series limit (limit: 1 series)");
    }

    #[test]
    fn steps_are_multiples_of_their_length() {
        let range = TimeRange::new(Timestamp(8 * HOUR), Timestamp(14 * HOUR));
        let six_hours = parts(range, 6 * HOUR);
        assert_eq!(six_hours[0].0, TimeRange::new(Timestamp(8 * HOUR), Timestamp(12 * HOUR)));
        assert_eq!(six_hours[0].1, FirstStep { number: 1, is_whole: false });
        assert_eq!(six_hours[1].1, FirstStep { number: 2, is_whole: true });
        assert_eq!(parts(range, HOUR), [(range, FirstStep { number: 8, is_whole: true })]);
        let end = |step| step_end(step, 6 * HOUR, range.end).0;
        assert_eq!(end(1), 12 * HOUR - NANOS_PER_MILLI);
        assert_eq!(end(2), 14 * HOUR);
    }

    #[test]
    fn gaps_between_steps_are_filled() {
        let steps = BTreeMap::from([(3, 1), (5, 2)]);
        assert_eq!(without_gaps(&steps).collect::<Vec<_>>(), [(3, 1), (4, 0), (5, 2)]);
        assert_eq!(without_gaps(&BTreeMap::new()).count(), 0);
    }
}
