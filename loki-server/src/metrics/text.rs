//! Prometheus' text format.

use std::fmt::Write as _;

use crate::metrics::histogram::Histogram;

const INFALLIBLE: &str = "writing to a string cannot fail";

/// Metrics being written.
#[derive(Debug)]
pub(crate) struct Exposition {
    out: String,
    namespace: String,
}

impl Exposition {
    /// Metrics whose names begin with `namespace` and `_`.
    pub(crate) fn new(namespace: &str) -> Self {
        Self { out: String::with_capacity(16 << 10), namespace: namespace.to_owned() }
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// A gauge without labels.
    pub(crate) fn gauge(&mut self, name: &str, about: &str, value: f64) {
        self.family(name, "gauge", about);
        self.sample(name, &[], value);
    }

    /// A counter without labels.
    pub(crate) fn counter(&mut self, name: &str, about: &str, value: u64) {
        self.family(name, "counter", about);
        self.sample(name, &[], value as f64);
    }

    /// A metric whose name has no namespace, such as `process_cpu_seconds_total`.
    pub(crate) fn bare(&mut self, name: &str, kind: &str, about: &str, value: f64) {
        writeln!(self.out, "# HELP {name} {about}\n# TYPE {name} {kind}").expect(INFALLIBLE);
        write!(self.out, "{name} ").expect(INFALLIBLE);
        self.value(value);
    }

    /// What comes before the samples of a metric.
    pub(crate) fn family(&mut self, name: &str, kind: &str, about: &str) {
        let namespace = &self.namespace;
        writeln!(self.out, "# HELP {namespace}_{name} {about}\n# TYPE {namespace}_{name} {kind}").expect(INFALLIBLE);
    }

    /// A sample.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, String)], value: f64) {
        write!(self.out, "{}_{name}", self.namespace).expect(INFALLIBLE);
        self.labels(labels, None);
        self.value(value);
    }

    /// The samples of a histogram.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[(&str, String)], histogram: &Histogram) {
        let mut count = 0;
        for (bound, up_to) in histogram.cumulative() {
            write!(self.out, "{}_{name}_bucket", self.namespace).expect(INFALLIBLE);
            self.labels(labels, Some(bound));
            self.value(up_to as f64);
            count = up_to;
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
        self.sample(&format!("{name}_count"), labels, count as f64);
    }

    fn labels(&mut self, labels: &[(&str, String)], bound: Option<f64>) {
        let mut separator = '{';
        for (name, value) in labels {
            write!(self.out, "{separator}{name}=\"").expect(INFALLIBLE);
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            write!(self.out, "{separator}le=\"{}\"", number(bound)).expect(INFALLIBLE);
            separator = ',';
        }
        self.out.push_str(if separator == ',' { "} " } else { " " });
    }

    fn value(&mut self, value: f64) {
        writeln!(self.out, "{}", number(value)).expect(INFALLIBLE);
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut out = Exposition::new("x");
        out.sample("m", &[("a", "q\"b\\c\nd".to_owned())], 1.5);
        out.gauge("g", "About.", 2.0);
        assert_eq!(out.finish(), "x_m{a=\"q\\\"b\\\\c\\nd\"} 1.5\n# HELP x_g About.\n# TYPE x_g gauge\nx_g 2\n");
    }
}
