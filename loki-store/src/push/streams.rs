//! Streams by the text that names them: parsed, completed and judged once, then found by that text.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use loki_core::{Labels, LabelsError};
use parking_lot::Mutex;

use super::error::PushError;
use super::ingest::MAX_LABELS_BYTES;
use super::level::{self, LevelDetector};
use super::report::Reason;
use crate::limits::{Limits, MAX_STREAM_LABELS_BYTES};
use crate::tenant::TenantId;

/// The label that names the service a stream comes from.
pub const SERVICE_NAME: &str = "service_name";

/// The value of [`SERVICE_NAME`] when no label says where a stream comes from.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// The label of a metric's name.
const METRIC_NAME: &str = "__name__";

/// Labels of streams that Loki writes itself; they get no [`SERVICE_NAME`].
const INTERNAL_LABELS: [&str; 2] = ["__aggregated_metric__", "__pattern__"];

/// Bytes after which the older half of the known streams is forgotten.
const MAX_CACHED_BYTES: usize = 8 * 1024 * 1024;

/// A stream and what its labels alone decide.
#[derive(Debug)]
pub(super) struct KnownStream {
    /// The text that names it.
    text: Box<[u8]>,
    pub(super) labels: Labels,
    /// [`Labels::hash64`] of the labels.
    pub(super) hash: u64,
    /// The level that a label states for all entries.
    pub(super) level: Option<Box<str>>,
    /// Why no entry is taken.
    pub(super) refusal: Option<Refusal>,
}

/// Why a stream takes no entries.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) text: String,
}

/// What a tenant's limits make of streams, with the streams seen so far.
#[derive(Debug)]
pub(super) struct StreamRules {
    pub(super) limits: Arc<Limits>,
    pub(super) detector: Option<LevelDetector>,
    tenant: TenantId,
    known: Mutex<KnownStreams>,
}

impl StreamRules {
    pub(super) fn new(tenant: TenantId, limits: Arc<Limits>) -> Self {
        let is_detecting = limits.discover_log_levels && limits.allow_structured_metadata;
        let detector = is_detecting.then(|| LevelDetector::new(&limits.log_level_fields, limits.log_level_json_depth));
        Self { limits, detector, tenant, known: Mutex::default() }
    }

    /// The stream that `text` names.
    pub(super) fn stream(&self, text: &[u8]) -> Result<Arc<KnownStream>, PushError> {
        if let Some(known) = self.known.lock().find(text) {
            return Ok(known);
        }
        let stream = Arc::new(self.judge(text)?);
        self.known.lock().insert(Arc::clone(&stream));
        Ok(stream)
    }

    /// The stream that `text` names, with exactly the labels that stand there.
    pub(super) fn stream_as_is(text: &[u8]) -> Result<Arc<KnownStream>, PushError> {
        let labels = parse(text)?.map_err(PushError::Labels)?;
        let hash = labels.hash64();
        Ok(Arc::new(KnownStream { text: text.into(), labels, hash, level: None, refusal: None }))
    }

    fn judge(&self, text: &[u8]) -> Result<KnownStream, PushError> {
        let (labels, refusal) = match parse(text)? {
            Ok(labels) => {
                let labels = self.with_service_name(labels);
                let refusal = self.refusal(&labels);
                (labels, refusal)
            }
            Err(error @ LabelsError::Duplicate { .. }) => {
                (Labels::EMPTY, Some(Refusal { reason: Reason::DuplicateLabelNames, text: error.to_string() }))
            }
            Err(error) => return Err(PushError::Labels(error)),
        };
        let level = self.detector.as_ref().and_then(|detector| detector.stated_by_labels(|name| labels.get(name)));
        let level = level.map(|value| level::stated(value).into());
        let hash = labels.hash64();
        Ok(KnownStream { text: text.into(), labels, hash, level, refusal })
    }

    fn with_service_name(&self, labels: Labels) -> Labels {
        let candidates = &self.limits.discover_service_name;
        if candidates.is_empty() || labels.is_empty() || labels.get(SERVICE_NAME).is_some() {
            return labels;
        }
        if INTERNAL_LABELS.iter().any(|name| labels.get(name).is_some()) {
            return labels;
        }
        let found = candidates.iter().find_map(|name| labels.get(name).filter(|value| !value.is_empty()));
        let service = (SERVICE_NAME, found.unwrap_or(UNKNOWN_SERVICE));
        Labels::from_pairs(labels.iter().chain([service])).expect("the set has no such label yet")
    }

    /// The first limit that the labels do not keep.
    fn refusal(&self, labels: &Labels) -> Option<Refusal> {
        let limits = &self.limits;
        let refuse = |reason, text| Some(Refusal { reason, text });
        if labels.is_empty() {
            let text = "error at least one label pair is required per stream".to_owned();
            return refuse(Reason::MissingLabels, text);
        }
        let names = labels.iter().filter(|(name, _)| *name != SERVICE_NAME).count();
        if names > limits.max_label_names {
            let text = format!("entry for stream '{labels}' has {names} label names; limit {}", limits.max_label_names);
            return refuse(Reason::MaxLabelNamesPerSeries, text);
        }
        for (name, value) in labels {
            if name.len() > limits.max_label_name_bytes {
                let text = format!("stream '{labels}' has label name too long: '{name}'");
                return refuse(Reason::LabelNameTooLong, text);
            }
            if value.len() > limits.max_label_value_bytes {
                let text = format!("stream '{labels}' has label value too long: '{value}'");
                return refuse(Reason::LabelValueTooLong, text);
            }
        }
        let is_missing = |name: &&String| labels.get(name).is_none();
        let missing: Vec<&str> = limits.enforced_labels.iter().filter(is_missing).map(String::as_str).collect();
        if !missing.is_empty() {
            let text = format!(
                "missing required labels '{}' for user '{}' for stream '{labels}' (policy: '')",
                missing.join(","),
                self.tenant
            );
            return refuse(Reason::MissingEnforcedLabels, text);
        }
        // Last, because Loki has no such limit: what it would refuse is refused in its words.
        if labels.size_bytes() > MAX_STREAM_LABELS_BYTES {
            let text = format!(
                "stream has labels too large: '{}' bytes, limit: '{MAX_STREAM_LABELS_BYTES}' bytes",
                labels.size_bytes()
            );
            return refuse(Reason::LabelsTooLarge, text);
        }
        None
    }
}

/// Reads the text that names a stream; the outer error is one that no stream can have.
fn parse(text: &[u8]) -> Result<Result<Labels, LabelsError>, PushError> {
    if text.len() > MAX_LABELS_BYTES {
        let (bytes, limit_bytes) = (text.len() as u64, MAX_LABELS_BYTES as u64);
        return Err(PushError::LabelsTooLarge { bytes, limit_bytes });
    }
    let text = std::str::from_utf8(text).map_err(|_| PushError::LabelsNotUtf8)?;
    Ok(Labels::parse(text).map(without_metric_name))
}

/// Loki drops the label in which Prometheus keeps the name of a metric.
fn without_metric_name(labels: Labels) -> Labels {
    match labels.get(METRIC_NAME) {
        Some(_) => Labels::from_sorted(labels.iter().filter(|(name, _)| *name != METRIC_NAME)),
        None => labels,
    }
}

/// Streams by text, in two generations: what was not asked for while one filled up is forgotten.
#[derive(Debug, Default)]
struct KnownStreams {
    young: HashTable<Arc<KnownStream>>,
    old: HashTable<Arc<KnownStream>>,
    young_bytes: usize,
    hasher: foldhash::fast::RandomState,
}

impl KnownStreams {
    fn find(&mut self, text: &[u8]) -> Option<Arc<KnownStream>> {
        let hash = self.hasher.hash_one(text);
        let is_same = |stream: &Arc<KnownStream>| *stream.text == *text;
        if let Some(stream) = self.young.find(hash, is_same) {
            return Some(Arc::clone(stream));
        }
        let stream = Arc::clone(self.old.find(hash, is_same)?);
        self.insert(Arc::clone(&stream));
        Some(stream)
    }

    fn insert(&mut self, stream: Arc<KnownStream>) {
        let hash = self.hasher.hash_one(&*stream.text);
        if self.young.find(hash, |known| known.text == stream.text).is_some() {
            return;
        }
        let bytes = stream.size_bytes();
        if self.young_bytes + bytes > MAX_CACHED_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert_unique(hash, stream, |stream| self.hasher.hash_one(&*stream.text));
    }
}

impl KnownStream {
    fn size_bytes(&self) -> usize {
        let refusal = self.refusal.as_ref().map_or(0, |refusal| refusal.text.len());
        size_of::<Self>() + self.text.len() + self.labels.size_bytes() + refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(limits: Limits) -> StreamRules {
        StreamRules::new(TenantId::anonymous(), Arc::new(limits))
    }

    fn refusal(limits: &Limits, text: &str) -> (Reason, String) {
        let stream = rules(limits.clone()).stream(text.as_bytes()).expect("labels that can be read");
        let refusal = stream.refusal.as_ref().expect("a refusal");
        (refusal.reason, refusal.text.clone())
    }

    #[test]
    fn service_name_comes_from_the_first_label_of_the_list() {
        let rules = rules(Limits::default());
        let service = |text: &str| {
            let stream = rules.stream(text.as_bytes()).expect("valid labels");
            stream.labels.get(SERVICE_NAME).map(str::to_owned)
        };
        assert_eq!(service(r#"{app="a", job="j"}"#).as_deref(), Some("a"));
        assert_eq!(service(r#"{app_kubernetes_io_name="k", app="a"}"#).as_deref(), Some("a"));
        assert_eq!(service(r#"{service_name="explicit", app="other"}"#).as_deref(), Some("explicit"));
        assert_eq!(service(r#"{nothing="special"}"#).as_deref(), Some(UNKNOWN_SERVICE));
        assert_eq!(service(r#"{__pattern__="x"}"#), None);
    }

    #[test]
    fn an_empty_list_adds_no_service_name() {
        let rules = rules(Limits { discover_service_name: Vec::new(), ..Limits::default() });
        let stream = rules.stream(br#"{app="a"}"#).unwrap();
        assert_eq!(stream.labels.to_string(), r#"{app="a"}"#);
    }

    #[test]
    fn levels_of_labels_are_normalised_once() {
        let rules = rules(Limits::default());
        let level = |text: &str| rules.stream(text.as_bytes()).unwrap().level.clone();
        assert_eq!(level(r#"{app="a", severity="WARNING"}"#).as_deref(), Some("warn"));
        assert_eq!(level(r#"{app="a", level="custom", severity="warn"}"#).as_deref(), Some("custom"));
        assert_eq!(level(r#"{app="a"}"#), None);
    }

    #[test]
    fn streams_beyond_a_limit_are_refused_in_lokis_words() {
        let limits = Limits { discover_service_name: Vec::new(), ..Limits::default() };
        assert_eq!(
            refusal(&limits, "{}"),
            (Reason::MissingLabels, "error at least one label pair is required per stream".to_owned())
        );
        assert_eq!(
            refusal(&limits, r#"{pushcase="p", a="1", a="2"}"#),
            (
                Reason::DuplicateLabelNames,
                r#"stream '{a="1", a="2", pushcase="p"}' has duplicate label name: 'a'"#.to_owned()
            )
        );
        let name = "n".repeat(1025);
        assert_eq!(
            refusal(&limits, &format!(r#"{{p="l", {name}="v"}}"#)),
            (Reason::LabelNameTooLong, format!(r#"stream '{{{name}="v", p="l"}}' has label name too long: '{name}'"#))
        );
        let value = "v".repeat(2049);
        let stream = format!(r#"{{p="{value}"}}"#);
        assert_eq!(
            refusal(&limits, &stream),
            (Reason::LabelValueTooLong, format!("stream '{stream}' has label value too long: '{value}'"))
        );
        let enforced = Limits { enforced_labels: vec!["a".into(), "p".into(), "b".into()], ..limits };
        assert_eq!(
            refusal(&enforced, r#"{p="1"}"#),
            (
                Reason::MissingEnforcedLabels,
                r#"missing required labels 'a,b' for user 'fake' for stream '{p="1"}' (policy: '')"#.to_owned()
            )
        );
    }

    #[test]
    fn fifteen_labels_are_taken_without_counting_service_name() {
        let limits = Limits::default();
        let labels = |n: usize| {
            let pairs: Vec<String> = (0..n).map(|i| format!(r#"l{i:02}="v""#)).collect();
            format!("{{{}}}", pairs.join(", "))
        };
        let stream = rules(limits.clone()).stream(labels(15).as_bytes()).unwrap();
        assert!(stream.refusal.is_none());
        assert_eq!(stream.labels.len(), 16);
        let (reason, text) = refusal(&limits, &labels(16));
        assert_eq!(reason, Reason::MaxLabelNamesPerSeries);
        assert!(text.ends_with("has 16 label names; limit 15"), "{text}");
    }

    #[test]
    fn equal_texts_share_one_parsed_stream() {
        let rules = rules(Limits::default());
        let first = rules.stream(br#"{app="a"}"#).unwrap();
        assert!(Arc::ptr_eq(&first, &rules.stream(br#"{app="a"}"#).unwrap()));
        let other = rules.stream(br#"{ app="a" }"#).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(first.labels, other.labels);
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut known = KnownStreams::default();
        let value = "v".repeat(64 * 1024);
        let stream = |i: usize| {
            let text = format!(r#"{{app="{i}", long="{value}"}}"#);
            StreamRules::stream_as_is(text.as_bytes()).expect("valid labels")
        };
        let first = stream(0);
        known.insert(Arc::clone(&first));
        for i in 1..400 {
            known.insert(stream(i));
            assert!(known.find(&first.text).is_some(), "the first is asked for again and again");
        }
        let held: usize = known.young.iter().chain(known.old.iter()).map(|stream| stream.size_bytes()).sum();
        assert!(held <= 2 * MAX_CACHED_BYTES, "{held}");
        assert!(known.find(&stream(1).text).is_none(), "the second was never asked for again");
    }

    #[test]
    fn texts_that_are_no_labels_are_errors() {
        let rules = rules(Limits::default());
        assert_eq!(rules.stream(b"{a=\"\xff\"}").unwrap_err(), PushError::LabelsNotUtf8);
        assert_eq!(
            rules.stream(b"{bad").unwrap_err().to_string(),
            "couldn't parse labels: 1:5: parse error: unexpected end of input inside braces"
        );
        let long = vec![b' '; MAX_LABELS_BYTES + 1];
        assert!(matches!(rules.stream(&long), Err(PushError::LabelsTooLarge { .. })));
    }
}
