//! What a store can know about passing entries before it looks at them.

use crate::pipeline::label_filter::LabelFilter;
use crate::pipeline::names::{EXTRACTED_SUFFIX, Names};
use crate::pipeline::step::{Parser, Step};
use crate::querier::Literal;

/// Literals of the stored line, and pairs among stream labels and structured metadata.
pub(super) fn of(steps: &[Step], names: &Names) -> (Vec<Vec<Literal>>, Vec<(String, String)>) {
    let mut needles = Vec::new();
    let mut pairs = Vec::new();
    let mut line_is_stored = true;
    let mut labels_are_stored = true;
    for step in steps {
        match step {
            Step::LineFilters(filters) if line_is_stored => needles.extend(filters.needles()),
            Step::LabelFilter(filter) if labels_are_stored => push_pairs(filter, names, &mut pairs),
            Step::LineFormat(_) | Step::Decolorize => line_is_stored = false,
            Step::Parse(parser, _) => {
                line_is_stored &= !matches!(parser, Parser::Unpack);
                labels_are_stored = false;
            }
            Step::JsonPaths(_) | Step::LogfmtKeys { .. } | Step::LabelFormat(_) => labels_are_stored = false,
            Step::LineFilters(_) | Step::LabelFilter(_) | Step::Implied(_) | Step::Drop(_) | Step::Keep(_) => {}
        }
    }
    (needles, pairs)
}

fn push_pairs(filter: &LabelFilter, names: &Names, pairs: &mut Vec<(String, String)>) {
    match filter {
        LabelFilter::And(left, right) => {
            push_pairs(left, names, pairs);
            push_pairs(right, names, pairs);
        }
        LabelFilter::Or(..) => {}
        LabelFilter::Simple(filter) => {
            let name = names.text(filter.name);
            // Metadata that collides with the stream is stored under the name without this ending.
            let is_stored_name = filter.is_on_label() && !name.ends_with(EXTRACTED_SUFFIX);
            if let Some(value) = filter.only_value()
                && !value.is_empty()
                && is_stored_name
                && let Ok(value) = std::str::from_utf8(value)
            {
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}
