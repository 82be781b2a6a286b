//! Random valid queries over the entries of [`entries`](super::entries).

use loki_core::{Direction, Timestamp};
use proptest::prelude::*;

use super::entries::SECOND;

/// A metric query and when to evaluate it.
#[derive(Clone, Debug)]
pub(crate) struct MetricCase {
    pub(crate) query: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) step_nanos: i64,
}

impl MetricCase {
    /// The moments at which the query is evaluated: multiples of the step around start and end.
    pub(crate) fn steps(&self) -> Vec<Timestamp> {
        let mut at = self.start.0 - self.start.0.rem_euclid(self.step_nanos);
        let mut steps = vec![Timestamp(at)];
        while at < self.end.0 {
            at += self.step_nanos;
            steps.push(Timestamp(at));
        }
        steps
    }
}

/// A log query and what to take of its answer.
#[derive(Clone, Debug)]
pub(crate) struct LogCase {
    pub(crate) query: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) limit: u32,
    pub(crate) interval_nanos: i64,
    pub(crate) direction: Direction,
}

pub(crate) fn metric_cases() -> impl Strategy<Value = MetricCase> {
    let times = (-5..40_i64, 0..45_i64, 1..20_i64, any::<bool>());
    (metric(), times).prop_map(|(query, (start, length, step, halved))| {
        let step_nanos = if halved { step * SECOND / 2 } else { step * SECOND };
        MetricCase { query, start: Timestamp(start * SECOND), end: Timestamp((start + length) * SECOND), step_nanos }
    })
}

pub(crate) fn log_cases() -> impl Strategy<Value = LogCase> {
    let times = (-5..40_i64, 0..45_i64);
    let shape = (1..30_u32, prop_oneof![3 => Just(0), 1 => 1..5_i64], any::<bool>());
    (selector(), stages(), times, shape).prop_map(|(selector, stages, (start, length), (limit, interval, forward))| {
        LogCase {
            query: format!("{selector}{stages}"),
            start: Timestamp(start * SECOND),
            end: Timestamp((start + length) * SECOND),
            limit,
            interval_nanos: interval * SECOND,
            direction: if forward { Direction::Forward } else { Direction::Backward },
        }
    })
}

fn metric() -> impl Strategy<Value = String> {
    let scalar_op = prop::sample::select(vec!["+", "-", "*", "/", "%", ">", "<=", "== bool", "!="]);
    let vector_op = prop::sample::select(vec!["+", "/", ">", "< bool", "and", "or", "unless"]);
    prop_oneof![
        4 => range_aggregation(),
        6 => vector_aggregation(),
        1 => (range_aggregation(), scalar_op, 0..4).prop_map(|(inner, op, n)| format!("{inner} {op} {n}")),
        2 => (sum_by_app(), vector_op, sum_by_app()).prop_map(|(l, op, r)| {
            let set = matches!(op, "and" | "or" | "unless");
            if set { format!("{l} {op} {r}") } else { format!("{l} {op} on (app) {r}") }
        }),
    ]
}

fn sum_by_app() -> impl Strategy<Value = String> {
    range_aggregation().prop_map(|inner| format!("sum by (app) ({inner})"))
}

fn vector_aggregation() -> impl Strategy<Value = String> {
    let function = prop::sample::select(vec!["sum", "avg", "min", "max", "count", "stddev", "stdvar"]);
    let ranking = prop::sample::select(vec!["topk(1, ", "topk(2, ", "bottomk(1, ", "bottomk(3, "]);
    prop_oneof![
        4 => (function, grouping(), range_aggregation()).prop_map(|(f, g, inner)| format!("{f} {g} ({inner})")),
        1 => (ranking, range_aggregation()).prop_map(|(ranking, inner)| format!("{ranking}{inner})")),
    ]
}

fn range_aggregation() -> impl Strategy<Value = String> {
    let plain =
        prop::sample::select(vec!["count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"]);
    let unwrapped = prop::sample::select(vec!["sum_over_time", "rate", "rate_counter"]);
    let grouped = prop::sample::select(vec![
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "stdvar_over_time",
        "stddev_over_time",
        "first_over_time",
        "last_over_time",
        "quantile_over_time",
    ]);
    prop_oneof![
        3 => (plain, log_range("")).prop_map(|(f, range)| format!("{f}({range})")),
        1 => (unwrapped, unwrap_range()).prop_map(|(f, range)| format!("{f}({range})")),
        3 => (grouped, unwrap_range(), own_grouping()).prop_map(|(f, range, grouping)| {
            let parameter = if f == "quantile_over_time" { "0.4, " } else { "" };
            format!("{f}({parameter}{range}){grouping}")
        }),
    ]
}

fn unwrap_range() -> impl Strategy<Value = String> {
    prop_oneof![log_range(" | logfmt | unwrap v"), log_range(r#" | logfmt | unwrap v | v > 0 | __error__="""#)]
}

fn log_range(unwrap: &'static str) -> impl Strategy<Value = String> {
    let offset = prop_oneof![4 => Just(String::new()), 1 => (-6..7_i64).prop_filter("zero is no offset", |n| *n != 0).prop_map(|n| format!(" offset {n}s"))];
    (selector(), stages(), 0..25_i64, offset).prop_map(move |(selector, stages, seconds, offset)| {
        // Everything is extracted once, so that unwrapping finds its label whatever the stages are.
        let stages = if unwrap.is_empty() || !stages.contains("logfmt") { stages } else { String::new() };
        format!("{selector}{stages}{unwrap}[{seconds}s]{offset}")
    })
}

fn selector() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![r#"{app=~".+"}"#, r#"{app="a"}"#, r#"{app=~"a|b", env="x"}"#, r#"{app!="", env!="y"}"#])
}

fn stages() -> impl Strategy<Value = String> {
    let stages = prop::sample::select(vec![
        "",
        "",
        r#" |= "lvl""#,
        r#" != "info" |= "v""#,
        " | logfmt",
        r#" | logfmt | lvl="warn""#,
        r#" |= "v" | logfmt | drop v, trace"#,
        r#" | trace="t1""#,
    ]);
    stages.prop_map(str::to_owned)
}

fn grouping() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "by (app)", "by (lvl)", "by (env, trace)", "without (app, v)", "without (lvl)"])
}

fn own_grouping() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", " by (app)", " by (lvl)", " without (lvl, trace)", " by ()"])
}
