//! Canonical text: one line, as Loki prints it in errors, stage names and short formatted queries.

use std::fmt::{self, Display, Formatter, Write};

use loki_core::labels::write_quoted;
use loki_core::re2::Pattern;
use loki_core::{MatchOp, Matcher, RegexOptions};

use super::{
    BinaryOperation, Expr, Extraction, Grouping, LabelFilter, LabelFormat, LabelFormatSource, LabelItem, LabelReplace,
    LineFilter, LineFilterArgument, LogExpr, LogRange, Logfmt, MatchCardinality, MetricExpr, RangeAggregation, Stage,
    Unwrap, UnwrapConversion, Variants, VectorAggregation, VectorMatching,
};
use crate::{duration, pipeline::text_test::shape, size};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
            Self::Variants(variants) => variants.fmt(f),
        }
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_selector(f, &self.matchers)?;
        self.stages.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

/// `{a="b", c=~"d"}`
pub(super) fn write_selector(out: &mut impl Write, matchers: &[Matcher]) -> fmt::Result {
    out.write_char('{')?;
    separated(out, ", ", matchers, |out, matcher| write_matcher(out, matcher))?;
    out.write_char('}')
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilter(filter) => filter.fmt(f),
            Self::Json(extractions) => {
                f.write_str("| json")?;
                write_extractions(f, extractions)
            }
            Self::Logfmt(logfmt) => logfmt.fmt(f),
            Self::Regexp(regex) => write_text_stage(f, "regexp", regex),
            Self::Pattern(pattern) => write_text_stage(f, "pattern", pattern),
            Self::Unpack => f.write_str("| unpack"),
            Self::LabelFilter(filter) => write!(f, "| {filter}"),
            Self::LineFormat(template) => write_text_stage(f, "line_format", template),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                separated(f, ",", formats, |f, format| format.fmt(f))
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(items) => {
                f.write_str("| drop ")?;
                separated(f, ",", items, |f, item| item.fmt(f))
            }
            Self::Keep(items) => {
                f.write_str("| keep ")?;
                separated(f, ",", items, |f, item| item.fmt(f))
            }
        }
    }
}

fn write_text_stage(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    write!(f, "| {name} ")?;
    write_quoted(f, text)
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op)?;
        separated(f, " or ", &self.alternatives, |f, argument| argument.fmt(f))
    }
}

impl Display for LineFilterArgument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_quoted_bytes(f, text),
            Self::Ip(pattern) => write_ip(f, pattern),
        }
    }
}

impl Display for Logfmt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("| logfmt")?;
        f.write_str(if self.strict { " --strict" } else { "" })?;
        f.write_str(if self.keep_empty { " --keep-empty" } else { "" })?;
        write_extractions(f, &self.extractions)
    }
}

fn write_extractions(f: &mut Formatter<'_>, extractions: &[Extraction]) -> fmt::Result {
    if extractions.is_empty() {
        return Ok(());
    }
    f.write_char(' ')?;
    separated(f, ",", extractions, |f, extraction| {
        write!(f, "{}=", extraction.label)?;
        write_quoted(f, &extraction.expression)
    })
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(matcher) => write_string_filter(f, matcher),
            Self::Number { name, op, value } => write!(f, "{name}{op}{}", Decimal(*value)),
            Self::Duration { name, op, nanos } => {
                write!(f, "{name}{op}{}", duration::format_go(*nanos))
            }
            Self::Bytes { name, op, bytes } => write!(f, "{name}{op}{}", size::format(*bytes)),
            Self::Ip { name, negated, pattern } => {
                write!(f, "{name}{}", if *negated { "!=" } else { "=" })?;
                write_ip(f, pattern)
            }
            Self::And(left, right) => write!(f, "( {left} , {right} )"),
            Self::Or(left, right) => write!(f, "( {left} or {right} )"),
        }
    }
}

/// A regex filter that is tested with a real regex keeps its text as it is, in backticks.
fn write_string_filter(f: &mut Formatter<'_>, matcher: &Matcher) -> fmt::Result {
    let value = matcher.value();
    if matcher.op() == MatchOp::Regex && !value.contains('`') && !is_literal(value) {
        return write!(f, "{}=~`{value}`", matcher.name());
    }
    write_matcher(f, matcher)
}

/// Whether the pipeline tests `regex` without a regex.
fn is_literal(regex: &str) -> bool {
    Pattern::parse(regex, RegexOptions::default()).is_ok_and(|pattern| shape::of_pattern(&pattern).is_some())
}

impl Display for LabelFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.target)?;
        match &self.source {
            LabelFormatSource::Rename(source) => f.write_str(source),
            LabelFormatSource::Template(template) => write_quoted(f, template),
        }
    }
}

impl Display for LabelItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Matcher(matcher) => write_matcher(f, matcher),
        }
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Vector(vector) => vector.fmt(f),
            Self::Binary(binary) => binary.fmt(f),
            Self::LabelReplace(replace) => replace.fmt(f),
            Self::Literal(value) => f.write_str(&literal(*value)),
            Self::VectorLiteral(value) => {
                write!(f, "vector({})", go_float(*value, |value| format!("{value:.6}")))
            }
        }
    }
}

impl Display for RangeAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op)?;
        if let Some(parameter) = self.parameter {
            write!(f, "{},", Decimal(parameter))?;
        }
        write!(f, "{})", self.range)?;
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

impl Display for LogRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, "[{}]", duration::format_prometheus(self.range_nanos))?;
        if self.offset_nanos != 0 {
            write!(f, " offset {}", duration::format_go(self.offset_nanos))?;
        }
        Ok(())
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_unwrap_label(f, self)?;
        self.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))
    }
}

/// `| unwrap bytes(x)`, without the filters behind it.
pub(super) fn write_unwrap_label(out: &mut impl Write, unwrap: &Unwrap) -> fmt::Result {
    match unwrap.conversion {
        UnwrapConversion::Number => write!(out, "| unwrap {}", unwrap.label),
        conversion => write!(out, "| unwrap {conversion}({})", unwrap.label),
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { "without (" } else { "by (" })?;
        separated(f, ",", &self.labels, |f, label| f.write_str(label))?;
        f.write_char(')')
    }
}

impl Grouping {
    /// Whether it is `by ()`, which groups like no grouping at all.
    pub(super) fn is_by_nothing(&self) -> bool {
        !self.without && self.labels.is_empty()
    }
}

impl Display for VectorAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.op.fmt(f)?;
        if let Some(grouping) = self.grouping.as_ref().filter(|grouping| !grouping.is_by_nothing()) {
            write!(f, " {grouping}")?;
        }
        f.write_char('(')?;
        if let Some(parameter) = self.parameter {
            write!(f, "{parameter},")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl Display for BinaryOperation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({} {}", self.left, self.op)?;
        if self.return_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            matching.fmt(f)?;
        }
        write!(f, " {})", self.right)
    }
}

impl Display for VectorMatching {
    /// With a blank in front, and one behind where a group modifier could stand. `ignoring ()` says nothing, and Loki
    /// drops its group modifier with it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.on && self.labels.is_empty() {
            return Ok(());
        }
        f.write_str(if self.on { " on (" } else { " ignoring (" })?;
        separated(f, ",", &self.labels, |f, label| f.write_str(label))?;
        f.write_str(match self.cardinality {
            MatchCardinality::OneToOne => ") ",
            MatchCardinality::ManyToOne => ") group_left",
            MatchCardinality::OneToMany => ") group_right",
        })?;
        if !self.include.is_empty() {
            f.write_str(" (")?;
            separated(f, ",", &self.include, |f, label| f.write_str(label))?;
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for LabelReplace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "label_replace({}", self.inner)?;
        for argument in [&self.destination, &self.replacement, &self.source, &self.regex] {
            f.write_char(',')?;
            write_quoted(f, argument)?;
        }
        f.write_char(')')
    }
}

impl Display for Variants {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("variants(")?;
        separated(f, ", ", &self.variants, |f, variant| variant.fmt(f))?;
        write!(f, ") of ({})", self.of)
    }
}

/// A matcher; its name is quoted if Prometheus would not have it as a name.
fn write_matcher(out: &mut impl Write, matcher: &Matcher) -> fmt::Result {
    let name = matcher.name();
    let is_plain = name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    if is_plain {
        out.write_str(name)?;
    } else {
        write_quoted(out, name)?;
    }
    out.write_str(matcher.op().as_str())?;
    write_quoted(out, matcher.value())
}

fn write_ip(out: &mut impl Write, pattern: &str) -> fmt::Result {
    out.write_str("ip(")?;
    write_quoted(out, pattern)?;
    out.write_char(')')
}

/// Quotes bytes; those that are not UTF-8 become `\xff` escapes.
pub(super) fn write_quoted_bytes(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        let quoted = loki_core::labels::quote(chunk.valid());
        out.write_str(&quoted[1..quoted.len() - 1])?;
        chunk.invalid().iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
    }
    out.write_char('"')
}

/// Writes `items` with `separator` between them.
pub(super) fn separated<W: Write, T>(
    out: &mut W,
    separator: &str,
    items: &[T],
    mut write: impl FnMut(&mut W, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.write_str(separator)?;
        }
        write(out, item)?;
    }
    Ok(())
}

/// A number without exponent: the fewest digits that read back the same.
pub(crate) struct Decimal(pub(crate) f64);

impl Display for Decimal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&go_float(self.0, |value| value.to_string()))
    }
}

/// A number in the fewest digits that read back the same; with an exponent if that is below -4 or above 5.
fn literal(value: f64) -> String {
    go_float(value, |value| {
        let scientific = format!("{value:e}");
        let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
        match exponent.parse::<i32>() {
            Ok(-4..=5) => value.to_string(),
            Ok(exponent @ ..0) => format!("{mantissa}e-{:02}", exponent.unsigned_abs()),
            _ => format!("{mantissa}e+{exponent:0>2}"),
        }
    })
}

/// Go's texts for what is not finite, `finite` for the rest.
pub(crate) fn go_float(value: f64, finite: impl Fn(f64) -> String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        finite(value)
    }
}
