//! The syntax tree of a LogQL query.
//!
//! Names are Loki's own words without the `Expr` and `Fmt` endings. The tree
//! holds what was written, after literal folding and with alternatives of
//! negative line filters expanded; printing it gives Loki's canonical text.

use loki_core::Matcher;

mod display;
mod names;
mod pretty;
mod visit;

pub(crate) use display::{Decimal, go_float};
pub use visit::{SelectorGroup, Visitor, walk_log_range, walk_metric, walk_variants};

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A selector with a pipeline: the answer is streams of entries.
    Log(LogExpr),
    /// Anything that answers with samples.
    Metric(MetricExpr),
    /// `variants(…) of (…)`: several range aggregations over one log range.
    Variants(Variants),
}

/// `{…} | stage | stage`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    /// Matchers of the stream selector, in the order written.
    pub matchers: Vec<Matcher>,
    /// Stages in the order written.
    pub stages: Vec<Stage>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `|= "x"` and its relatives.
    LineFilter(LineFilter),
    /// `| json`, with extractions if any are named.
    Json(Vec<Extraction>),
    /// `| logfmt`.
    Logfmt(Logfmt),
    /// `| regexp "…"`.
    Regexp(String),
    /// `| pattern "…"`.
    Pattern(String),
    /// `| unpack`.
    Unpack,
    /// `| a="b"`, `| a > 5` and combinations.
    LabelFilter(LabelFilter),
    /// `| line_format "…"`.
    LineFormat(String),
    /// `| label_format a=b, c="…"`.
    LabelFormat(Vec<LabelFormat>),
    /// `| decolorize`.
    Decolorize,
    /// `| drop a, b="c"`.
    Drop(Vec<LabelItem>),
    /// `| keep a, b="c"`.
    Keep(Vec<LabelItem>),
}

/// A line filter with its alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    /// The operator, common to all alternatives.
    pub op: LineFilterOp,
    /// One or more alternatives joined by `or`; exactly one for negative operators.
    pub alternatives: Vec<LineFilterArgument>,
}

/// Operators of line filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineFilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Matches,
    /// `!~`
    NotMatches,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFilterArgument {
    /// Text: a literal, a regular expression or a pattern, by the operator. Bytes, because `"\xff"` is one byte.
    Text(Vec<u8>),
    /// `ip("…")`.
    Ip(String),
}

/// `name="path"` of the extracting forms of `json` and `logfmt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label to set.
    pub label: String,
    /// Where its value is found; equal to the label when only a name was written.
    pub expression: String,
}

/// `| logfmt` with flags and extractions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logfmt {
    /// `--strict`
    pub strict: bool,
    /// `--keep-empty`
    pub keep_empty: bool,
    /// Extractions; empty extracts everything.
    pub extractions: Vec<Extraction>,
}

/// A test on labels.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// `a="b"`, `a!="b"`, `a=~"b"`, `a!~"b"`. The regex semantics differ from a selector's; see the pipeline.
    String(Matcher),
    /// `a > 5`
    Number {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// The constant.
        value: f64,
    },
    /// `a > 5s`
    Duration {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// The constant in nanoseconds.
        nanos: i64,
    },
    /// `a > 5KB`
    Bytes {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// The constant in bytes, as written (before the rounding that Loki applies when it compares).
        bytes: u64,
    },
    /// `a = ip("…")`
    Ip {
        /// The label.
        name: String,
        /// True for `!=`.
        negated: bool,
        /// Address, CIDR or range.
        pattern: String,
    },
    /// Both; `and`, `,` and juxtaposition are the same.
    And(Box<Self>, Box<Self>),
    /// Either.
    Or(Box<Self>, Box<Self>),
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==`, or `=` in label filters
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
}

/// One assignment of `label_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFormat {
    /// The label to set.
    pub target: String,
    /// Where its value comes from.
    pub source: LabelFormatSource,
}

/// The right-hand side of a `label_format` assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormatSource {
    /// Another label, which is removed.
    Rename(String),
    /// A template.
    Template(String),
}

/// One item of `drop` or `keep`.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelItem {
    /// The label of this name.
    Name(String),
    /// The label of the matcher's name if its value matches.
    Matcher(Matcher),
}

/// An expression that answers with samples.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricExpr {
    /// `rate({…}[5m])` and the like.
    Range(RangeAggregation),
    /// `sum by (a) (…)` and the like.
    Vector(VectorAggregation),
    /// `X op Y`.
    Binary(Box<BinaryOperation>),
    /// `label_replace(X, …)`.
    LabelReplace(Box<LabelReplace>),
    /// A number.
    Literal(f64),
    /// `vector(n)`.
    VectorLiteral(f64),
}

/// A range aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    /// The function.
    pub op: RangeOp,
    /// The quantile of `quantile_over_time`.
    pub parameter: Option<f64>,
    /// The entries.
    pub range: LogRange,
    /// `by (…)` or `without (…)` behind the function.
    pub grouping: Option<Grouping>,
}

/// `{…} | stages | unwrap x [5m] offset 1m`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    /// Selector and pipeline.
    pub log: LogExpr,
    /// The unwrapped label.
    pub unwrap: Option<Unwrap>,
    /// The window in nanoseconds; zero is legal and always empty.
    pub range_nanos: i64,
    /// The offset in nanoseconds, positive into the past.
    pub offset_nanos: i64,
}

/// `| unwrap duration(x) | post filters`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label whose value becomes the sample.
    pub label: String,
    /// How the value is read.
    pub conversion: UnwrapConversion,
    /// Label filters behind it.
    pub filters: Vec<LabelFilter>,
}

/// How `unwrap` reads a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnwrapConversion {
    /// A number.
    Number,
    /// `bytes(x)`
    Bytes,
    /// `duration(x)`, in seconds
    Duration,
    /// `duration_seconds(x)`, the same with another name
    DurationSeconds,
}

/// Range functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeOp {
    /// `rate`
    Rate,
    /// `rate_counter`
    RateCounter,
    /// `count_over_time`
    CountOverTime,
    /// `bytes_rate`
    BytesRate,
    /// `bytes_over_time`
    BytesOverTime,
    /// `avg_over_time`
    AvgOverTime,
    /// `sum_over_time`
    SumOverTime,
    /// `min_over_time`
    MinOverTime,
    /// `max_over_time`
    MaxOverTime,
    /// `stdvar_over_time`
    StdvarOverTime,
    /// `stddev_over_time`
    StddevOverTime,
    /// `quantile_over_time`
    QuantileOverTime,
    /// `first_over_time`
    FirstOverTime,
    /// `last_over_time`
    LastOverTime,
    /// `absent_over_time`
    AbsentOverTime,
}

/// `by (…)` or `without (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// True for `without`.
    pub without: bool,
    /// The labels, in the order written.
    pub labels: Vec<String>,
}

/// A vector aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    /// The function.
    pub op: VectorOp,
    /// The count of `topk`, `bottomk` and `approx_topk`.
    pub parameter: Option<u64>,
    /// The grouping; `by ()` is the same as none.
    pub grouping: Option<Grouping>,
    /// What is aggregated.
    pub inner: Box<MetricExpr>,
}

/// Vector functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `approx_topk`
    ApproxTopk,
    /// `sort`
    Sort,
    /// `sort_desc`
    SortDesc,
}

/// A binary operation of which at least one side is a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryOperation {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub left: MetricExpr,
    /// Right operand.
    pub right: MetricExpr,
    /// `bool` was written.
    pub return_bool: bool,
    /// `on`, `ignoring` and group modifiers.
    pub matching: Option<VectorMatching>,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `unless`
    Unless,
    /// `==` `!=` `>` `>=` `<` `<=`
    Compare(CompareOp),
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorMatching {
    /// True for `on (…)`, false for `ignoring (…)`.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Which side may have several series per match.
    pub cardinality: MatchCardinality,
    /// Labels of `group_left` or `group_right`.
    pub include: Vec<String>,
}

/// Which side of a vector match may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchCardinality {
    /// No group modifier.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

/// `label_replace(X, "dst", "replacement", "src", "regex")`.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    /// The vector.
    pub inner: MetricExpr,
    /// The label to set.
    pub destination: String,
    /// Its new value, with `$1` and `${name}` expanded.
    pub replacement: String,
    /// The label to match.
    pub source: String,
    /// The regular expression, anchored.
    pub regex: String,
}

/// `variants(a, b) of (range)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    /// The aggregations.
    pub variants: Vec<MetricExpr>,
    /// The log range that all of them read.
    pub of: LogRange,
}
