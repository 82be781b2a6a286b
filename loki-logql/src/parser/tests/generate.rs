//! Random syntax trees.
//!
//! Left out is what the canonical text cannot express, because Loki's cannot: negative zero, names that are no ASCII
//! words, byte sizes that rounding changes, a group modifier without labels in front of a bracket, and `!=` behind a
//! name that is dropped or kept.

use loki_core::{MatchOp, Matcher};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::ast::{
    BinaryOp, BinaryOperation, CompareOp, Expr, Extraction, Grouping, LabelFilter, LabelFormat, LabelFormatSource,
    LabelItem, LabelReplace, LineFilter, LineFilterArgument, LineFilterOp, LogExpr, LogRange, Logfmt, MatchCardinality,
    MetricExpr, RangeAggregation, RangeOp, Stage, Unwrap, UnwrapConversion, Variants, VectorAggregation,
    VectorMatching, VectorOp,
};

const MILLISECOND: i64 = 1_000_000;

pub(super) fn expr() -> impl Strategy<Value = Expr> {
    prop_oneof![
        log().prop_map(Expr::Log),
        metric().prop_map(Expr::Metric),
        (vec(range_aggregation(), 1..3), log_range(option::of(unwrap()).boxed()))
            .prop_map(|(variants, of)| Expr::Variants(Variants { variants, of })),
    ]
}

fn name() -> impl Strategy<Value = String> {
    select(&["a", "B_2", "_c", "sum", "rate", "ip", "bytes", "duration", "vector", "inf"][..]).prop_map(str::to_owned)
}

fn names() -> impl Strategy<Value = Vec<String>> {
    vec(name(), 0..3)
}

fn regex() -> impl Strategy<Value = &'static str> {
    select(&["a", "a|b", "a.*", ".+", "", "[0-9]+", "(?i)é", "`"][..])
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let literal = (name(), select(&[MatchOp::Equal, MatchOp::NotEqual][..]), any::<String>());
    let regex = (name(), select(&[MatchOp::Regex, MatchOp::NotRegex][..]), regex().prop_map(str::to_owned));
    prop_oneof![literal, regex]
        .prop_map(|(name, op, value)| Matcher::new(name, op, value).expect("the regexes are constants"))
}

fn log() -> impl Strategy<Value = LogExpr> {
    (vec(matcher(), 0..2), vec(stage(), 0..4)).prop_map(|(mut matchers, mut stages)| {
        stages.dedup_by(|filter, list| is_ambiguous(list, filter));
        matchers.push(Matcher::new("app", MatchOp::Equal, "api").expect("no regex"));
        LogExpr { matchers, stages }
    })
}

/// Whether the operator of `filter` would be read as that of the last item of `list`.
fn is_ambiguous(list: &Stage, filter: &Stage) -> bool {
    matches!(list, Stage::Drop(items) | Stage::Keep(items) if matches!(items.last(), Some(LabelItem::Name(_))))
        && matches!(filter, Stage::LineFilter(filter) if filter.op.is_negative() && filter.op != LineFilterOp::NotPattern)
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        4 => line_filter().prop_map(Stage::LineFilter),
        4 => label_filter().prop_map(Stage::LabelFilter),
        1 => extractions().prop_map(Stage::Json),
        1 => (any::<bool>(), any::<bool>(), extractions()).prop_map(|(strict, keep_empty, extractions)| {
            Stage::Logfmt(Logfmt { strict, keep_empty, extractions })
        }),
        1 => Just(Stage::Regexp("(?P<a>.)".to_owned())),
        1 => Just(Stage::Pattern("<a> \"<_>".to_owned())),
        1 => Just(Stage::Unpack),
        1 => Just(Stage::Decolorize),
        1 => any::<String>().prop_map(Stage::LineFormat),
        1 => vec(label_format(), 1..3).prop_map(Stage::LabelFormat),
        1 => vec(label_item(), 1..3).prop_map(Stage::Drop),
        1 => vec(label_item(), 1..3).prop_map(Stage::Keep),
    ]
}

fn line_filter() -> impl Strategy<Value = LineFilter> {
    let argument = prop_oneof![
        4 => vec(any::<u8>(), 0..8).prop_map(LineFilterArgument::Text),
        1 => any::<String>().prop_map(LineFilterArgument::Ip),
    ];
    (select(LineFilterOp::ALL), vec(argument, 1..3)).prop_map(|(op, mut alternatives)| {
        if op.is_negative() {
            alternatives.truncate(1);
        }
        LineFilter { op, alternatives }
    })
}

fn extractions() -> impl Strategy<Value = Vec<Extraction>> {
    vec((name(), any::<String>()).prop_map(|(label, expression)| Extraction { label, expression }), 0..3)
}

fn label_format() -> impl Strategy<Value = LabelFormat> {
    let source =
        prop_oneof![name().prop_map(LabelFormatSource::Rename), any::<String>().prop_map(LabelFormatSource::Template),];
    (name(), source).prop_map(|(target, source)| LabelFormat { target, source })
}

fn label_item() -> impl Strategy<Value = LabelItem> {
    prop_oneof![name().prop_map(LabelItem::Name), matcher().prop_map(LabelItem::Matcher)]
}

fn number() -> impl Strategy<Value = f64> {
    let number = prop_oneof![(-100..100_i32).prop_map(f64::from), any::<f64>()];
    number.prop_filter("it can be written", |value| value.is_finite() && !(*value == 0.0 && value.is_sign_negative()))
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let leaf = prop_oneof![
        matcher().prop_map(LabelFilter::String),
        (name(), select(CompareOp::ALL), number()).prop_map(|(name, op, value)| LabelFilter::Number {
            name,
            op,
            value
        }),
        (name(), select(CompareOp::ALL), any::<i64>()).prop_map(|(name, op, nanos)| LabelFilter::Duration {
            name,
            op,
            nanos
        }),
        (name(), select(CompareOp::ALL), 1..999_u64, 0..5_u32).prop_map(|(name, op, digits, thousands)| {
            LabelFilter::Bytes { name, op, bytes: digits * 1_000_u64.pow(thousands) }
        }),
        (name(), any::<bool>(), any::<String>()).prop_map(|(name, negated, pattern)| LabelFilter::Ip {
            name,
            negated,
            pattern
        }),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let pair = (inner.clone().prop_map(Box::new), inner.prop_map(Box::new));
        prop_oneof![
            pair.clone().prop_map(|(left, right)| LabelFilter::And(left, right)),
            pair.prop_map(|(left, right)| LabelFilter::Or(left, right)),
        ]
    })
}

fn unwrap() -> impl Strategy<Value = Unwrap> {
    (name(), select(UnwrapConversion::ALL), vec(label_filter(), 0..2)).prop_map(|(label, conversion, filters)| Unwrap {
        label,
        conversion,
        filters,
    })
}

fn log_range(unwrap: BoxedStrategy<Option<Unwrap>>) -> impl Strategy<Value = LogRange> {
    let offset = prop_oneof![Just(0), any::<i64>()];
    (log(), unwrap, 0..i64::MAX / MILLISECOND, offset).prop_map(|(log, unwrap, millis, offset_nanos)| LogRange {
        log,
        unwrap,
        range_nanos: millis * MILLISECOND,
        offset_nanos,
    })
}

fn grouping() -> impl Strategy<Value = Option<Grouping>> {
    option::of((any::<bool>(), names()).prop_map(|(without, labels)| Grouping { without, labels }))
}

fn range_aggregation() -> impl Strategy<Value = MetricExpr> {
    select(RangeOp::ALL).prop_flat_map(|op| {
        let unwrap = match (op.needs_unwrap(), op.takes_unwrap()) {
            (true, _) => unwrap().prop_map(Some).boxed(),
            (false, true) => option::of(unwrap()).boxed(),
            (false, false) => Just(None).boxed(),
        };
        (log_range(unwrap), grouping(), number()).prop_map(move |(range, grouping, number)| {
            MetricExpr::Range(RangeAggregation {
                op,
                parameter: (op == RangeOp::QuantileOverTime).then_some(number.abs()),
                range,
                grouping: grouping.filter(|_| op.takes_grouping()),
            })
        })
    })
}

fn metric() -> impl Strategy<Value = MetricExpr> {
    let leaf = prop_oneof![
        4 => range_aggregation(),
        1 => number().prop_map(MetricExpr::Literal),
        1 => (0..1_000_u32).prop_map(|value| MetricExpr::VectorLiteral(f64::from(value))),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            vector_aggregation(inner.clone()),
            binary(inner.clone()),
            (inner, any::<[String; 3]>(), regex()).prop_map(|(inner, [destination, replacement, source], regex)| {
                let regex = regex.to_owned();
                MetricExpr::LabelReplace(Box::new(LabelReplace { inner, destination, replacement, source, regex }))
            }),
        ]
    })
}

fn vector_aggregation(inner: impl Strategy<Value = MetricExpr>) -> impl Strategy<Value = MetricExpr> {
    (select(VectorOp::ALL), 1..u64::from(u32::MAX), grouping(), inner).prop_map(|(op, count, grouping, inner)| {
        let grouping = match op {
            VectorOp::ApproxTopk => None,
            VectorOp::Sort | VectorOp::SortDesc => grouping.filter(|grouping| grouping.labels.is_empty()),
            _ => grouping,
        };
        MetricExpr::Vector(VectorAggregation {
            op,
            parameter: op.takes_parameter().then_some(count),
            grouping,
            inner: Box::new(inner),
        })
    })
}

fn binary(inner: impl Strategy<Value = MetricExpr> + Clone) -> impl Strategy<Value = MetricExpr> {
    let op = prop_oneof![
        select(&[BinaryOp::Or, BinaryOp::And, BinaryOp::Unless, BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul][..]),
        select(&[BinaryOp::Div, BinaryOp::Mod, BinaryOp::Pow][..]),
        select(CompareOp::ALL).prop_map(BinaryOp::Compare),
    ];
    (op, inner.clone(), inner, any::<bool>(), option::of(matching())).prop_map(
        |(op, left, right, return_bool, mut matching)| {
            let is_literal = |operand: &MetricExpr| matches!(operand, MetricExpr::Literal(_));
            if is_literal(&left) && (is_literal(&right) || op.is_set_operation()) {
                return left;
            }
            if is_literal(&right) && op.is_set_operation() {
                return right;
            }
            if let Some(matching) = &mut matching
                && matching.include.is_empty()
                && matches!(right, MetricExpr::Binary(_))
            {
                matching.cardinality = MatchCardinality::OneToOne;
            }
            MetricExpr::Binary(Box::new(BinaryOperation { op, left, right, return_bool, matching }))
        },
    )
}

fn matching() -> impl Strategy<Value = VectorMatching> {
    let cardinality =
        select(&[MatchCardinality::OneToOne, MatchCardinality::ManyToOne, MatchCardinality::OneToMany][..]);
    (any::<bool>(), vec(name(), 1..3), cardinality, names()).prop_map(|(on, labels, cardinality, mut include)| {
        if cardinality == MatchCardinality::OneToOne {
            include.clear();
        }
        VectorMatching { on, labels, cardinality, include }
    })
}
