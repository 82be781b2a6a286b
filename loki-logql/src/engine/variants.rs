//! `variants(…) of (…)`: several range aggregations over one log range.
//!
//! The selector and the pipeline come from the common range, everything else from the variant: function, window,
//! unwrapping and grouping. A label tells whose series it is.

use loki_core::Labels;

use super::Shape;
use super::answer;
use super::binary::Operand;
use super::error::{Error, Unsupported};
use super::label_sets;
use super::matrix::{Matrix, Row};
use super::plan::Plan;
use super::session::Session;
use super::steps::Steps;
use crate::ast::{LogRange, MetricExpr, RangeAggregation, Variants, VectorAggregation};
use crate::result::Response;
use crate::stats::Stats;

/// The label that holds a variant's number.
const VARIANT_LABEL: &str = "__variant__";

impl Session<'_> {
    pub(super) async fn variants_query(
        &self,
        variants: &Variants,
        steps: &Steps,
        shape: Shape,
    ) -> Result<Response, Error> {
        if !self.limits.enable_variants {
            return Err(Unsupported::Variants.into());
        }
        let mut stats = Stats::default();
        let mut warnings = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for (number, variant) in variants.variants.iter().enumerate() {
            let number = number.to_string();
            let expr = over(variant, &variants.of).ok_or(Unsupported::VariantShape)?;
            let plan = Plan::new(&expr, None);
            let Operand::Vector(matrix) = self.evaluate(&plan, steps, &mut stats, false).await? else {
                return Err(Unsupported::VariantShape.into());
            };
            let limit = self.limits.max_series;
            if matrix.rows.iter().filter(|row| !row.is_empty()).count() > limit {
                warnings.push(format!("maximum of series ({limit}) reached for variant ({number})"));
                continue;
            }
            rows.extend(matrix.rows.into_iter().map(|row| labelled(row, &number)));
        }
        let mut limits = self.limits.clone();
        // Each variant was held to the limit on its own.
        limits.max_series = usize::MAX;
        let operand = Operand::Vector(Matrix { rows });
        let result = match shape {
            Shape::Range => answer::of_range(operand, steps, &limits, &mut warnings)?,
            Shape::Instant => answer::of_instant(operand, steps, false, &limits, &mut warnings)?,
        };
        Ok(self.respond(result, stats, warnings))
    }
}

/// A variant with the selector and the pipeline of the common range; `None` if it has another shape.
fn over(variant: &MetricExpr, of: &LogRange) -> Option<MetricExpr> {
    let range = |aggregation: &RangeAggregation| {
        let mut aggregation = aggregation.clone();
        aggregation.range.log = of.log.clone();
        MetricExpr::Range(aggregation)
    };
    match variant {
        MetricExpr::Range(aggregation) => Some(range(aggregation)),
        MetricExpr::Vector(call) => match &*call.inner {
            MetricExpr::Range(aggregation) => {
                Some(MetricExpr::Vector(VectorAggregation { inner: Box::new(range(aggregation)), ..call.clone() }))
            }
            _ => None,
        },
        _ => None,
    }
}

fn labelled(mut row: Row, variant: &str) -> Row {
    let labels: Labels = label_sets::with(&row.labels, VARIANT_LABEL, variant);
    row.labels = labels;
    row
}
