//! Names of labels in queries over several tenants.
//!
//! While a query runs, its streams carry the tenant under a name that no query can spell, so that no stage reads it;
//! what stands outside of pipelines means the tenant when it says `__tenant_id__`, and is rewritten to that name. In
//! answers the names change back:
//!
//! | stored | while the query runs | outside of pipelines, and in answers |
//! |---|---|---|
//! | – | [`TAG_LABEL`] | `__tenant_id__` |
//! | `__tenant_id__` | `__tenant_id__` | `original___tenant_id__` |

use loki_core::Labels;
use loki_logql::ast::{Expr, Grouping, LabelItem, LogExpr, MetricExpr, Stage};
use loki_logql::engine::Error;
use loki_logql::result::QueryResult;

use super::{ORIGINAL_LABEL, TENANT_LABEL};

/// The tenant's label while a query runs. It sorts before all names that streams can have.
pub(super) const TAG_LABEL: &str = "\u{1}tenant";

/// Prepares a query for the streams of several tenants.
pub(crate) fn rename_expr(expr: &mut Expr) {
    match expr {
        Expr::Log(log) => rename_log(log),
        Expr::Metric(metric) => rename_metric(metric),
        Expr::Variants(variants) => {
            variants.variants.iter_mut().for_each(rename_metric);
            rename_log(&mut variants.of.log);
        }
    }
}

fn rename_metric(metric: &mut MetricExpr) {
    match metric {
        MetricExpr::Range(range) => {
            rename_grouping(range.grouping.as_mut());
            rename_log(&mut range.range.log);
        }
        MetricExpr::Vector(vector) => {
            rename_grouping(vector.grouping.as_mut());
            rename_metric(&mut vector.inner);
        }
        MetricExpr::Binary(binary) => {
            if let Some(matching) = &mut binary.matching {
                matching.labels.iter_mut().chain(&mut matching.include).for_each(rename_name);
            }
            rename_metric(&mut binary.left);
            rename_metric(&mut binary.right);
        }
        MetricExpr::LabelReplace(replace) => {
            rename_name(&mut replace.source);
            rename_name(&mut replace.destination);
            rename_metric(&mut replace.inner);
        }
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {}
    }
}

/// `keep` must not remove what it cannot name.
fn rename_log(log: &mut LogExpr) {
    for stage in &mut log.stages {
        if let Stage::Keep(items) = stage {
            items.push(LabelItem::Name(TAG_LABEL.to_owned()));
        }
    }
}

fn rename_grouping(grouping: Option<&mut Grouping>) {
    if let Some(grouping) = grouping {
        grouping.labels.iter_mut().for_each(rename_name);
    }
}

fn rename_name(name: &mut String) {
    match name.as_str() {
        TENANT_LABEL => TAG_LABEL.clone_into(name),
        ORIGINAL_LABEL => TENANT_LABEL.clone_into(name),
        _ => {}
    }
}

/// Gives the labels of an answer the names that clients know.
pub(crate) fn rename_result(result: &mut QueryResult) {
    match result {
        QueryResult::Streams(streams) => {
            for stream in streams.iter_mut() {
                stream.labels = shown_labels(&stream.labels);
            }
            streams.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        QueryResult::Matrix(series) => {
            for one in series.iter_mut() {
                one.labels = shown_labels(&one.labels);
            }
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        // The query may have put the samples into an order of its own.
        QueryResult::Vector(samples) => {
            for sample in samples {
                sample.labels = shown_labels(&sample.labels);
            }
        }
        QueryResult::Scalar(_) => {}
    }
}

/// Does the same for labels in the text of an error.
pub(crate) fn rename_error(error: &mut Error) {
    if let Error::Pipeline(pipeline) = error {
        pipeline.series = shown_labels(&pipeline.series);
    }
}

/// Labels under the names that clients know.
pub(crate) fn shown_labels(labels: &Labels) -> Labels {
    if !labels.iter().any(|(name, _)| name == TAG_LABEL || name == TENANT_LABEL) {
        return labels.clone();
    }
    let shown = |name| match name {
        TAG_LABEL => TENANT_LABEL,
        TENANT_LABEL => ORIGINAL_LABEL,
        name => name,
    };
    let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (shown(name), value)).collect();
    pairs.sort_by_key(|(name, _)| *name);
    pairs.dedup_by_key(|(name, _)| *name);
    Labels::from_sorted(pairs)
}
