//! `label_replace`: setting a label from another one by a regular expression.

use std::collections::HashMap;

use loki_core::Labels;
use loki_core::re2::{Pattern, RegexError, RegexOptions};
use regex::bytes::{Captures, Regex};

use super::label_sets;
use super::matrix::Matrix;
use crate::ast::LabelReplace;

/// A replacement that is ready to run.
#[derive(Debug)]
pub(crate) struct Replacement<'a> {
    call: &'a LabelReplace,
    regex: Regex,
    group_names: Vec<Option<String>>,
}

impl<'a> Replacement<'a> {
    /// Compiles the regular expression.
    pub(crate) fn new(call: &'a LabelReplace) -> Result<Self, RegexError> {
        let options = RegexOptions { anchored: true, dot_matches_newline: false };
        let pattern = Pattern::parse(&call.regex, options)?;
        Ok(Self { call, regex: pattern.compile()?, group_names: pattern.capture_names().to_vec() })
    }

    /// Rewrites the labels of all series. Series may become equal.
    pub(crate) fn apply(&self, mut matrix: Matrix) -> Matrix {
        let mut known: HashMap<Labels, Labels> = HashMap::new();
        for row in &mut matrix.rows {
            let replaced = known.entry(row.labels.clone()).or_insert_with_key(|labels| self.rewrite(labels));
            row.labels = replaced.clone();
        }
        matrix
    }

    fn rewrite(&self, labels: &Labels) -> Labels {
        let source = labels.get(&self.call.source).unwrap_or_default();
        let Some(captures) = self.regex.captures(source.as_bytes()) else {
            return labels.clone();
        };
        let value = self.expand(&captures);
        label_sets::with(labels, &self.call.destination, &value)
    }

    /// Go's `Regexp.Expand`: `$name`, `${name}` and `$$`; unknown groups are empty, a lone `$` stands for itself.
    fn expand(&self, captures: &Captures<'_>) -> String {
        let mut expanded = Vec::new();
        let mut rest = self.call.replacement.as_str();
        while let Some((before, behind)) = rest.split_once('$') {
            expanded.extend_from_slice(before.as_bytes());
            if let Some(behind) = behind.strip_prefix('$') {
                expanded.push(b'$');
                rest = behind;
            } else if let Some((name, behind)) = reference(behind) {
                expanded.extend_from_slice(self.group(captures, name));
                rest = behind;
            } else {
                expanded.push(b'$');
                rest = behind;
            }
        }
        expanded.extend_from_slice(rest.as_bytes());
        String::from_utf8_lossy(&expanded).into_owned()
    }

    fn group<'h>(&self, captures: &Captures<'h>, name: &str) -> &'h [u8] {
        let matched = if name.bytes().all(|byte| byte.is_ascii_digit()) {
            name.parse().ok().and_then(|number: usize| captures.get(number))
        } else {
            let mut named = self.group_names.iter().enumerate().filter(|(_, n)| n.as_deref() == Some(name));
            named.find_map(|(number, _)| captures.get(number))
        };
        matched.map_or(&[], |group| group.as_bytes())
    }
}

/// Splits a group name off text that follows a `$`.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (inner, braced) = text.strip_prefix('{').map_or((text, false), |inner| (inner, true));
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    let len = inner.find(|c| !is_part(c)).unwrap_or(inner.len());
    let (name, behind) = inner.split_at(len);
    if name.is_empty() {
        return None;
    }
    if braced { behind.strip_prefix('}').map(|behind| (name, behind)) } else { Some((name, behind)) }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::Row;
    use super::*;
    use crate::ast::MetricExpr;

    fn replace(labels: &str, destination: &str, replacement: &str, source: &str, regex: &str) -> String {
        let call = LabelReplace {
            inner: MetricExpr::VectorLiteral(1.0),
            destination: destination.to_owned(),
            replacement: replacement.to_owned(),
            source: source.to_owned(),
            regex: regex.to_owned(),
        };
        let labels = Labels::parse(labels).expect("valid labels");
        let matrix = Matrix { rows: vec![Row::constant(labels, 1.0, 1)] };
        let replaced = Replacement::new(&call).expect("valid regex").apply(matrix);
        replaced.rows[0].labels.to_string()
    }

    #[test]
    fn groups_expand_by_number_and_name() {
        let by_number = replace(r#"{a="x-y"}"#, "b", "$2.${1}.$$.$3", "a", "(.)-(?P<second>.)");
        assert_eq!(by_number, r#"{a="x-y", b="y.x.$."}"#);
        let by_name = replace(r#"{a="x-y"}"#, "b", "<$second>", "a", "(.)-(?P<second>.)");
        assert_eq!(by_name, r#"{a="x-y", b="<y>"}"#);
    }

    #[test]
    fn a_group_name_takes_all_word_characters() {
        assert_eq!(replace(r#"{a="x"}"#, "b", "$1z", "a", "(.)"), r#"{a="x"}"#);
        assert_eq!(replace(r#"{a="x"}"#, "b", "${1}z", "a", "(.)"), r#"{a="x", b="xz"}"#);
    }

    #[test]
    fn the_whole_value_must_match() {
        assert_eq!(replace(r#"{a="xy"}"#, "b", "hit", "a", "x"), r#"{a="xy"}"#);
    }

    #[test]
    fn a_missing_source_is_empty_and_an_empty_result_removes() {
        assert_eq!(replace(r#"{a="x"}"#, "b", "set", "c", ""), r#"{a="x", b="set"}"#);
        assert_eq!(replace(r#"{a="x"}"#, "a", "$2", "a", "(.)"), "{}");
    }

    #[test]
    fn a_dollar_without_a_name_stays() {
        assert_eq!(replace(r#"{a="x"}"#, "b", "1$ ${", "a", "x"), r#"{a="x", b="1$ ${"}"#);
    }
}
