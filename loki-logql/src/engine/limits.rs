//! What a query may ask for, and how it is told that it asked for too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loki_core::{Matcher, Timestamp};

use crate::budget::Budget;
use crate::duration::{format_go, format_prometheus};

/// Points a series may have: `(end − start) / step`.
pub const MAX_POINTS: i64 = 11_000;

/// Loki's default for [`QueryLimits::max_series`].
pub const DEFAULT_MAX_SERIES: usize = 500;

/// Loki's default for [`QueryLimits::max_entries`].
pub const DEFAULT_MAX_ENTRIES: u32 = 5000;

/// Loki's default for [`QueryLimits::split_instant_nanos`].
pub const DEFAULT_SPLIT_INSTANT_NANOS: i64 = 3_600_000_000_000;

/// Loki's default for [`QueryLimits::split_range_nanos`].
pub const DEFAULT_SPLIT_RANGE_NANOS: i64 = 3_600_000_000_000;

/// What one query may do. Zero switches a limit off, except where noted.
#[derive(Clone, Debug)]
pub struct QueryLimits {
    /// Series in the answer; zero allows none.
    pub max_series: usize,
    /// Answers with more series are cut with a warning instead of failing.
    pub partial_on_max_series: bool,
    /// The largest `limit` of a log query.
    pub max_entries: u32,
    /// The longest `[range]` of a range aggregation, in nanoseconds.
    pub max_range_nanos: i64,
    /// The longest time from start to end of a range query, in nanoseconds.
    pub max_length_nanos: i64,
    /// Matchers in one selector.
    pub max_matchers: usize,
    /// Labels that every selector must name.
    pub required_labels: Vec<String>,
    /// Labels that every selector must name at least, whichever they are.
    pub required_label_count: usize,
    /// Loki cuts the ranges of instant queries into pieces of this length, which changes what some aggregations of
    /// longer ranges answer.
    pub split_instant_nanos: i64,
    /// Loki cuts log queries where time is a multiple of this, which changes which entries of one time are left out
    /// where an answer reaches its limit.
    pub split_range_nanos: i64,
    /// Whether `variants` may be used.
    pub enable_variants: bool,
    /// What becomes of `approx_topk`.
    pub approx_topk: ApproxTopk,
    /// Memory that the query draws from.
    pub memory: Budget,
    /// When to give up.
    pub deadline: Option<Timestamp>,
    /// Tells the query that nobody waits any more.
    pub cancel: CancelToken,
}

/// What becomes of `approx_topk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApproxTopk {
    /// It is refused, as Loki does unless `shard_aggregations` lists it.
    #[default]
    Disabled,
    /// It is refused with the text of a Loki that lists it but has too little data to shard the query.
    Unsharded,
    /// It is `topk`.
    Exact,
}

/// Stops a query from outside. Clones stop together.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

/// A query asks for too much, or for nothing that makes sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The end lies before the start.
    #[error("end timestamp must not be before or equal to start time")]
    EndBeforeStart,
    /// The step is zero or negative.
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    Step,
    /// More than [`MAX_POINTS`] steps.
    #[error(
        "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter"
    )]
    Points,
    /// A log query with `limit` 0.
    #[error("limit must be a positive value")]
    ZeroEntries,
    /// A log query asks for too many entries.
    #[error("max entries limit per query exceeded, limit > max_entries_limit_per_query ({asked} > {limit})")]
    Entries {
        /// What was asked for.
        asked: u32,
        /// What is allowed.
        limit: u32,
    },
    /// The answer has too many series.
    #[error(
        "maximum number of series ({limit}) reached for a single query; consider reducing query cardinality by adding \
         more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), \
         count() or topk()"
    )]
    Series {
        /// What is allowed.
        limit: usize,
    },
    /// A `[range]` is too long.
    #[error("[interval] value exceeds limit: [{}] > [{}]", format_prometheus(*asked_nanos), format_prometheus(*limit_nanos))]
    Range {
        /// What was asked for.
        asked_nanos: i64,
        /// What is allowed.
        limit_nanos: i64,
    },
    /// The time from start to end is too long.
    #[error(
        "the query time range exceeds the limit (query length: {}, limit: {})",
        format_go(*asked_nanos),
        format_prometheus(*limit_nanos)
    )]
    Length {
        /// What was asked for.
        asked_nanos: i64,
        /// What is allowed.
        limit_nanos: i64,
    },
    /// A selector has too many matchers.
    #[error("max streams matchers per query exceeded, matchers-count > limit ({asked} > {limit})")]
    Matchers {
        /// How many it has.
        asked: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A selector lacks labels that it must name.
    #[error(
        "stream selector is missing required matchers [{}], labels present in the query were [{}]",
        missing.join(", "),
        present.join(", ")
    )]
    RequiredLabels {
        /// The missing ones.
        missing: Vec<String>,
        /// Those that it names.
        present: Vec<String>,
    },
    /// A selector names too few labels.
    #[error(
        "stream selector has less label matchers than required: (present: [{}], number_present: {}, \
         required_number_label_matchers: {required})",
        present.join(", "),
        present.len()
    )]
    RequiredLabelCount {
        /// Those that it names.
        present: Vec<String>,
        /// How many there must be.
        required: usize,
    },
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            max_series: DEFAULT_MAX_SERIES,
            partial_on_max_series: false,
            max_entries: DEFAULT_MAX_ENTRIES,
            max_range_nanos: 0,
            max_length_nanos: 0,
            max_matchers: 0,
            required_labels: Vec::new(),
            required_label_count: 0,
            split_instant_nanos: DEFAULT_SPLIT_INSTANT_NANOS,
            split_range_nanos: DEFAULT_SPLIT_RANGE_NANOS,
            enable_variants: false,
            approx_topk: ApproxTopk::Disabled,
            memory: Budget::unlimited(),
            deadline: None,
            cancel: CancelToken::default(),
        }
    }
}

impl QueryLimits {
    /// Refuses a `limit` of a log query.
    pub fn check_entries(&self, asked: u32) -> Result<(), LimitError> {
        match self.max_entries {
            _ if asked == 0 => Err(LimitError::ZeroEntries),
            limit if limit > 0 && asked > limit => Err(LimitError::Entries { asked, limit }),
            _ => Ok(()),
        }
    }

    /// Refuses a time from start to end.
    pub fn check_length(&self, start: Timestamp, end: Timestamp) -> Result<(), LimitError> {
        let asked_nanos = end.as_nanos().saturating_sub(start.as_nanos());
        let limit_nanos = self.max_length_nanos;
        if limit_nanos > 0 && asked_nanos > limit_nanos {
            return Err(LimitError::Length { asked_nanos, limit_nanos });
        }
        Ok(())
    }

    /// Refuses the window of a range aggregation.
    pub fn check_range(&self, asked_nanos: i64) -> Result<(), LimitError> {
        let limit_nanos = self.max_range_nanos;
        if limit_nanos > 0 && asked_nanos > limit_nanos {
            return Err(LimitError::Range { asked_nanos, limit_nanos });
        }
        Ok(())
    }

    /// Refuses a selector.
    pub fn check_matchers(&self, matchers: &[Matcher]) -> Result<(), LimitError> {
        if self.max_matchers > 0 && matchers.len() > self.max_matchers {
            return Err(LimitError::Matchers { asked: matchers.len(), limit: self.max_matchers });
        }
        let present: Vec<String> = matchers.iter().map(|matcher| matcher.name().to_owned()).collect();
        let is_missing = |label: &&String| !present.contains(label);
        let missing: Vec<String> = self.required_labels.iter().filter(is_missing).cloned().collect();
        if !missing.is_empty() {
            return Err(LimitError::RequiredLabels { missing, present });
        }
        if present.len() < self.required_label_count {
            return Err(LimitError::RequiredLabelCount { present, required: self.required_label_count });
        }
        Ok(())
    }
}

/// Refuses times and steps of a range query that make no sense.
pub fn check_steps(start: Timestamp, end: Timestamp, step_nanos: i64) -> Result<(), LimitError> {
    if end < start {
        return Err(LimitError::EndBeforeStart);
    }
    if step_nanos <= 0 {
        return Err(LimitError::Step);
    }
    let length = i128::from(end.as_nanos()) - i128::from(start.as_nanos());
    if length / i128::from(step_nanos) > i128::from(MAX_POINTS) {
        return Err(LimitError::Points);
    }
    Ok(())
}

impl CancelToken {
    /// Stops the queries that hold this token, soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use loki_core::MatchOp;

    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn eleven_thousand_points_pass_and_one_more_does_not() {
        let check = |points| check_steps(Timestamp(0), Timestamp(points * 10 + 9), 10);
        assert_eq!(check(MAX_POINTS), Ok(()));
        assert_eq!(check(MAX_POINTS + 1), Err(LimitError::Points));
        assert_eq!(check_steps(Timestamp::MIN, Timestamp::MAX, 1), Err(LimitError::Points));
    }

    #[test]
    fn equal_ends_pass_and_steps_must_be_positive() {
        assert_eq!(check_steps(Timestamp(5), Timestamp(5), 1), Ok(()));
        assert_eq!(check_steps(Timestamp(5), Timestamp(4), 1), Err(LimitError::EndBeforeStart));
        assert_eq!(check_steps(Timestamp(5), Timestamp(5), 0), Err(LimitError::Step));
    }

    #[test]
    fn lengths_are_printed_as_loki_does() {
        let limits = QueryLimits { max_length_nanos: 721 * HOUR, max_range_nanos: 24 * HOUR, ..QueryLimits::default() };
        let check = |hours| limits.check_length(Timestamp(0), Timestamp(hours * HOUR));
        assert_eq!(check(721), Ok(()));
        let error = check(960).expect_err("too long");
        assert_eq!(error.to_string(), "the query time range exceeds the limit (query length: 960h0m0s, limit: 30d1h)");
        let error = limits.check_range(24 * HOUR + 1_000_000).expect_err("too long");
        assert_eq!(error.to_string(), "[interval] value exceeds limit: [1d1ms] > [1d]");
    }

    #[test]
    fn entry_limits_hold_at_their_edges() {
        let limits = QueryLimits::default();
        assert_eq!(limits.check_entries(DEFAULT_MAX_ENTRIES), Ok(()));
        assert_eq!(limits.check_entries(0), Err(LimitError::ZeroEntries));
        assert_eq!(
            limits.check_entries(5001).expect_err("one over").to_string(),
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"
        );
        let unlimited = QueryLimits { max_entries: 0, ..limits };
        assert_eq!(unlimited.check_entries(u32::MAX), Ok(()));
    }

    #[test]
    fn selectors_must_name_what_is_required() {
        let matcher = |name| Matcher::new(name, MatchOp::Equal, "x").expect("no regex");
        let limits = QueryLimits {
            max_matchers: 2,
            required_labels: vec!["app".to_owned(), "env".to_owned()],
            required_label_count: 2,
            ..QueryLimits::default()
        };
        assert_eq!(limits.check_matchers(&[matcher("app"), matcher("env")]), Ok(()));
        let error = limits.check_matchers(&[matcher("app"), matcher("zone")]).expect_err("no env");
        assert_eq!(
            error.to_string(),
            "stream selector is missing required matchers [env], labels present in the query were [app, zone]"
        );
        let three = [matcher("app"), matcher("env"), matcher("zone")];
        assert_eq!(limits.check_matchers(&three), Err(LimitError::Matchers { asked: 3, limit: 2 }));
        let counted = QueryLimits { required_labels: vec![], ..limits };
        assert_eq!(
            counted.check_matchers(&[matcher("app")]).expect_err("one is too few").to_string(),
            "stream selector has less label matchers than required: (present: [app], number_present: 1, \
             required_number_label_matchers: 2)"
        );
    }
}
