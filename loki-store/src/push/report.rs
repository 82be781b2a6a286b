//! What became of a push: numbers for metrics, and the error for the client.

use std::fmt::Write as _;

use loki_core::Timestamp;

use super::error::PushError;

/// Bytes of text after which further kinds of errors are no longer listed.
const MAX_ERROR_TEXT_BYTES: usize = 64 * 1024;

/// Errors after which no text is made for further ones.
const MAX_ERROR_TEXTS: u64 = 10_000;

/// What became of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Entries stored.
    pub entries: u64,
    /// Bytes of their lines.
    pub line_bytes: u64,
    /// Bytes of their structured metadata as it came.
    pub metadata_bytes: u64,
    /// The time of the newest of them.
    pub newest: Option<Timestamp>,
    /// Entries stored with a line that was cut.
    pub truncated_entries: u64,
    /// Bytes cut off.
    pub truncated_bytes: u64,
    /// What was refused, by reason.
    pub rejections: Vec<Rejection>,
    /// What to answer when not everything was stored. `None` also when entries were dropped silently on request.
    pub error: Option<PushError>,
}

impl PushOutcome {
    /// Counts entries as refused.
    pub(super) fn reject(&mut self, reason: Reason, entries: u64, bytes: u64) {
        if entries == 0 {
            return;
        }
        let position = self.rejections.iter().position(|rejection| rejection.reason == reason);
        let position = position.unwrap_or_else(|| {
            self.rejections.push(Rejection { reason, entries: 0, bytes: 0 });
            self.rejections.len() - 1
        });
        let rejection = &mut self.rejections[position];
        rejection.entries += entries;
        rejection.bytes += bytes;
    }
}

/// Entries refused for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// How many entries.
    pub entries: u64,
    /// The bytes of their lines and structured metadata.
    pub bytes: u64,
}

/// Why entries were refused: the `reason` of `loki_discarded_samples_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are Loki's and say it all")]
pub enum Reason {
    MissingLabels,
    GreaterThanMaxSampleAge,
    TooFarInFuture,
    LineTooLong,
    MaxLabelNamesPerSeries,
    LabelNameTooLong,
    LabelValueTooLong,
    LabelsTooLarge,
    DuplicateLabelNames,
    DisallowedStructuredMetadata,
    StructuredMetadataTooLarge,
    StructuredMetadataTooMany,
    MissingEnforcedLabels,
    BlockedIngestion,
    RateLimited,
    StreamLimit,
    PerStreamRateLimit,
    BeforeSchema,
}

impl Reason {
    /// The reason as metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingLabels => "missing_labels",
            Self::GreaterThanMaxSampleAge => "greater_than_max_sample_age",
            Self::TooFarInFuture => "too_far_in_future",
            Self::LineTooLong => "line_too_long",
            Self::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::LabelsTooLarge => "labels_too_large",
            Self::DuplicateLabelNames => "duplicate_label_names",
            Self::DisallowedStructuredMetadata => "disallowed_structured_metadata",
            Self::StructuredMetadataTooLarge => "structured_metadata_too_large",
            Self::StructuredMetadataTooMany => "structured_metadata_too_many",
            Self::MissingEnforcedLabels => "missing_enforced_labels",
            Self::BlockedIngestion => "blocked_ingestion",
            Self::RateLimited => "rate_limited",
            Self::StreamLimit => "stream_limit",
            Self::PerStreamRateLimit => "per_stream_rate_limit",
            Self::BeforeSchema => "before_schema",
        }
    }
}

/// Texts of errors, equal ones counted.
#[derive(Debug, Default)]
pub(super) struct ErrorTexts {
    texts: Vec<(String, u64)>,
    bytes: usize,
    added: u64,
}

impl ErrorTexts {
    /// Adds `count` errors of the same text.
    pub(super) fn add(&mut self, text: String, count: u64) {
        self.added += 1;
        if let Some((_, known)) = self.texts.iter_mut().rev().find(|(known, _)| *known == text) {
            *known += count;
        } else if self.bytes < MAX_ERROR_TEXT_BYTES {
            self.bytes += text.len();
            self.texts.push((text, count));
        }
    }

    /// Whether there are so many errors that further ones are only counted by reason.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_ERROR_TEXT_BYTES || self.added >= MAX_ERROR_TEXTS
    }

    /// All of it as one error.
    pub(super) fn into_error(mut self) -> Option<PushError> {
        if let [(text, 1)] = &mut self.texts[..] {
            return Some(PushError::Invalid(std::mem::take(text)));
        }
        let mut joined = String::new();
        for (i, (text, count)) in self.texts.iter().enumerate() {
            let separator = if i > 0 { "; " } else { "" };
            let _ = write!(joined, "{separator}{count} errors like: {text}");
        }
        (!joined.is_empty()).then_some(PushError::Invalid(joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(texts: &[&str]) -> Option<String> {
        let mut errors = ErrorTexts::default();
        for text in texts {
            errors.add((*text).to_owned(), 1);
        }
        errors.into_error().map(|error| error.to_string())
    }

    #[test]
    fn equal_errors_are_counted() {
        assert_eq!(joined(&[]), None);
        assert_eq!(joined(&["a"]).as_deref(), Some("a"));
        assert_eq!(joined(&["a", "a"]).as_deref(), Some("2 errors like: a"));
        assert_eq!(joined(&["a", "b", "a"]).as_deref(), Some("2 errors like: a; 1 errors like: b"));
    }

    #[test]
    fn the_list_of_errors_is_bounded() {
        let mut errors = ErrorTexts::default();
        for i in 0..10_000 {
            errors.add(format!("error number {i:0>100}"), 1);
        }
        assert!(errors.is_full());
        let text = errors.into_error().expect("errors").to_string();
        assert!(text.len() < 2 * MAX_ERROR_TEXT_BYTES, "{}", text.len());
    }

    #[test]
    fn rejections_add_up_by_reason() {
        let mut outcome = PushOutcome::default();
        outcome.reject(Reason::LineTooLong, 1, 10);
        outcome.reject(Reason::StreamLimit, 2, 20);
        outcome.reject(Reason::LineTooLong, 3, 30);
        outcome.reject(Reason::RateLimited, 0, 0);
        let line = Rejection { reason: Reason::LineTooLong, entries: 4, bytes: 40 };
        let stream = Rejection { reason: Reason::StreamLimit, entries: 2, bytes: 20 };
        assert_eq!(outcome.rejections, [line, stream]);
    }
}
