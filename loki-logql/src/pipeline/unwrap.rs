//! `| unwrap`: a label's value becomes the sample.

use super::label_filter::LabelFilter;
use super::labels::{EntryError, LabelSet, Lines, lossy};
use super::names::{NameId, Names};
use super::units::{parse_bytes, parse_duration, parse_float};
use crate::ast;
use crate::ast::UnwrapConversion;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// An unwrap expression, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Unwrap {
    name: NameId,
    conversion: UnwrapConversion,
    filters: Vec<LabelFilter>,
}

impl Unwrap {
    /// An unwrap expression with the filters behind it, which were compiled already.
    pub(crate) fn new(unwrap: &ast::Unwrap, filters: Vec<LabelFilter>, names: &mut Names) -> Self {
        Self { name: names.intern(&unwrap.label), conversion: unwrap.conversion, filters }
    }

    /// Calls `f` with the name of every label that is read.
    pub(crate) fn for_each_name(&self, mut f: impl FnMut(NameId)) {
        f(self.name);
        self.filters.iter().for_each(|filter| filter.for_each_name(&mut f));
    }

    /// The sample of an entry; none when the entry has none or a filter behind `unwrap` refuses it.
    ///
    /// A value that does not convert counts as 0 and sets the entry's error.
    pub(crate) fn sample(&self, labels: &mut LabelSet, lines: Lines<'_>) -> Option<f64> {
        let text = labels.value(lines, self.name).filter(|text| !text.is_empty())?;
        let value = match self.conversion {
            UnwrapConversion::Number => parse_float(text),
            UnwrapConversion::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
            UnwrapConversion::Duration | UnwrapConversion::DurationSeconds => parse_duration(text).map(seconds),
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                let text = lossy(text).into_owned();
                labels.set_error(EntryError::SampleExtraction, |details| error.describe(&text, details));
                0.0
            }
        };
        self.filters.iter().all(|filter| filter.accepts(labels, lines)).then_some(value)
    }
}

/// Go's `Duration.Seconds`: whole seconds and the fraction are converted apart.
fn seconds(nanos: i64) -> f64 {
    (nanos / NANOS_PER_SECOND) as f64 + (nanos % NANOS_PER_SECOND) as f64 / 1e9
}
