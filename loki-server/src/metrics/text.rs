//! The text formats of Prometheus and of OpenMetrics.

use std::fmt::Write as _;

use http::{HeaderMap, header};

use super::Histogram;

const INFALLIBLE: &str = "writing to a string cannot fail";

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// What every scraper reads.
    Prometheus,
    /// Its successor.
    OpenMetrics,
}

impl TextFormat {
    /// The one that a scraper likes best.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut prometheus, mut open_metrics) = (0.0, 0.0);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse().ok());
            let best = match name {
                "application/openmetrics-text" => &mut open_metrics,
                "text/plain" | "text/*" | "*/*" => &mut prometheus,
                _ => continue,
            };
            *best = f64::max(*best, weight.unwrap_or(1.0));
        }
        if open_metrics > prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The type of the text.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        }
    }
}

/// Metrics being written.
#[derive(Debug)]
pub(crate) struct Exposition {
    out: String,
    format: TextFormat,
    namespace: String,
}

impl Exposition {
    /// Metrics whose names begin with `namespace` and `_`.
    pub(crate) fn new(namespace: &str, format: TextFormat) -> Self {
        Self { out: String::with_capacity(16 << 10), format, namespace: namespace.to_owned() }
    }

    /// The text.
    pub(crate) fn finish(mut self) -> String {
        if self.format == TextFormat::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
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
        self.head(name, kind, about);
        write!(self.out, "{name} ").expect(INFALLIBLE);
        self.value(value);
    }

    /// What comes before the samples of a metric.
    pub(crate) fn family(&mut self, name: &str, kind: &str, about: &str) {
        self.head(&format!("{}_{name}", self.namespace), kind, about);
    }

    /// To OpenMetrics the end of a counter's name belongs to its samples.
    fn head(&mut self, name: &str, kind: &str, about: &str) {
        let name = match self.format {
            TextFormat::OpenMetrics if kind == "counter" => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        writeln!(self.out, "# HELP {name} {about}\n# TYPE {name} {kind}").expect(INFALLIBLE);
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
        let mut out = Exposition::new("x", TextFormat::Prometheus);
        out.sample("m", &[("a", "q\"b\\c\nd".to_owned())], 1.5);
        out.gauge("g", "About.", 2.0);
        assert_eq!(out.finish(), "x_m{a=\"q\\\"b\\\\c\\nd\"} 1.5\n# HELP x_g About.\n# TYPE x_g gauge\nx_g 2\n");
    }

    #[test]
    fn open_metrics_has_counters_without_their_suffix_and_an_end() {
        let mut out = Exposition::new("x", TextFormat::OpenMetrics);
        out.counter("things_total", "About.", 2);
        assert_eq!(out.finish(), "# HELP x_things About.\n# TYPE x_things counter\nx_things_total 2\n# EOF\n");
    }

    #[test]
    fn scrapers_say_which_format_they_like() {
        let wanted = |accept: &str| {
            TextFormat::wanted(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header value"))]))
        };
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(wanted(prometheus), TextFormat::OpenMetrics);
        assert_eq!(wanted("application/openmetrics-text"), TextFormat::OpenMetrics);
        for other in ["*/*", "text/plain", "application/openmetrics-text;q=0.2, text/plain", "text/html"] {
            assert_eq!(wanted(other), TextFormat::Prometheus, "{other}");
        }
        assert_eq!(TextFormat::wanted(&HeaderMap::new()), TextFormat::Prometheus);
    }
}
