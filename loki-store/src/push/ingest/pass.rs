//! One pass over the streams and entries of a request: each is checked, completed and put into its stored form.

use std::sync::Arc;

use loki_core::Timestamp;

use crate::limits::{Limits, MAX_LINE_BYTES, MAX_STRUCTURED_METADATA_BYTES, MAX_STRUCTURED_METADATA_ENTRIES};
use crate::push::PushOutcome;
use crate::push::buffers::{Output, Scratch};
use crate::push::error::PushError;
use crate::push::level::{DETECTED_LEVEL, Level, LevelDetector, SEVERITY_NUMBER, stated};
use crate::push::metadata::{self, Pair};
use crate::push::protobuf::RawEntry;
use crate::push::report::{ErrorTexts, Reason};
use crate::push::staged::{Span, StagedEntry, StagedStream};
use crate::push::streams::{KnownStream, StreamRules};
use crate::push::text::Rfc3339;

use super::{MAX_BODY_BYTES, MAX_LOGGED_BYTES};

/// What is done with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Checked against limits at a given time, then completed: a push.
    Check(Timestamp),
    /// Completed only: the replay of a push as it came.
    Derive,
    /// Neither: the replay of a push in its final form.
    AsIs,
}

/// The state of one pass.
pub(super) struct Pass<'r> {
    rules: &'r StreamRules,
    mode: Mode,
    /// No entry may be older than this.
    oldest: Timestamp,
    /// No entry may be newer than this.
    newest: Timestamp,
    outcome: PushOutcome,
    errors: ErrorTexts,
    is_changed: bool,
    /// Metadata that is nothing but a level, by level.
    level_only: [Option<Span>; Level::ALL.len()],
}

/// What the entries of one stream have in common.
struct StreamState<'k> {
    known: &'k KnownStream,
    line_bytes: u64,
    metadata_bytes: u64,
    /// The metadata of the previous entry.
    last_metadata: Span,
    /// Metadata that is nothing but the level stated by a label.
    label_level: Option<Span>,
    /// The time of the previous entry, as it came and as it was staged.
    last_timestamps: Option<(Timestamp, Timestamp)>,
}

impl<'r> Pass<'r> {
    pub(super) fn new(rules: &'r StreamRules, mode: Mode) -> Self {
        let (oldest, newest) = match mode {
            Mode::Check(now) => accepted_times(&rules.limits, now),
            Mode::Derive | Mode::AsIs => (Timestamp::MIN, Timestamp::MAX),
        };
        Self {
            rules,
            mode,
            oldest,
            newest,
            outcome: PushOutcome::default(),
            errors: ErrorTexts::default(),
            is_changed: false,
            level_only: [None; Level::ALL.len()],
        }
    }

    /// Whether replaying the body as it came would lead to something else than what was staged.
    pub(super) const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// What was refused, and the error that says so.
    pub(super) fn finish(self) -> (PushOutcome, Option<PushError>) {
        (self.outcome, self.errors.into_error())
    }

    /// Stages everything that stands in `scratch`.
    pub(super) fn run(&mut self, scratch: &mut Scratch) -> Result<(), PushError> {
        let (body, raw, mut out) = scratch.split();
        let mut pairs = Vec::new();
        for stream in &raw.streams {
            let text = &body[stream.labels.range()];
            let known = match self.mode {
                Mode::AsIs => StreamRules::stream_as_is(text)?,
                Mode::Check(_) | Mode::Derive => self.rules.stream(text)?,
            };
            let entries = &raw.entries[stream.entries.range()];
            if entries.is_empty() {
                continue;
            }
            if matches!(self.mode, Mode::Check(_))
                && let Some(refusal) = &known.refusal
            {
                let bytes = entries.iter().map(|entry| entry_bytes(entry, &raw.pairs)).sum();
                self.outcome.reject(refusal.reason, entries.len() as u64, bytes);
                self.errors.add(refusal.text.clone(), 1);
                continue;
            }
            let first = out.entries.len();
            let mut state = StreamState::new(&known);
            for entry in entries {
                self.entry(&mut state, entry, &raw.pairs, body, &mut pairs, &mut out)?;
            }
            let (line_bytes, metadata_bytes) = (state.line_bytes, state.metadata_bytes);
            if out.entries.len() > first {
                let entries = Span::between(first, out.entries.len());
                let stream = Arc::clone(&known);
                out.streams.push(StagedStream { stream, entries, line_bytes, metadata_bytes });
            }
        }
        Ok(())
    }

    fn entry<'b>(
        &mut self,
        state: &mut StreamState<'_>,
        entry: &RawEntry,
        raw_pairs: &[(Span, Span)],
        body: &'b [u8],
        pairs: &mut Vec<Pair<'b>>,
        out: &mut Output<'_>,
    ) -> Result<(), PushError> {
        let limit_bytes = if matches!(self.mode, Mode::Check(_)) { MAX_BODY_BYTES } else { MAX_LOGGED_BYTES };
        if out.arena.len() > limit_bytes {
            let (bytes, limit_bytes) = (out.arena.len() as u64, limit_bytes as u64);
            return Err(PushError::TooLarge { bytes, limit_bytes });
        }
        let raw_pairs = &raw_pairs[entry.pairs.range()];
        if let Mode::Check(_) = self.mode
            && let Some(reason) = self.refusal(state.known, entry, raw_pairs)
        {
            self.outcome.reject(reason, 1, entry.line.len() as u64 + pairs_bytes(raw_pairs));
            return Ok(());
        }
        pairs.clear();
        for (name, value) in raw_pairs {
            metadata::push_pair(pairs, &body[name.range()], &body[value.range()])?;
        }
        let line = self.line(entry.line, body, out);
        let metadata = self.metadata(state, pairs, &body[entry.line.range()], out);
        state.line_bytes += line.len() as u64;
        state.metadata_bytes += pairs_bytes(raw_pairs);
        state.last_metadata = metadata;
        let timestamp = self.timestamp(state, entry.timestamp);
        out.entries.push(StagedEntry { timestamp, line, metadata });
        Ok(())
    }

    /// The first limit that an entry does not keep; its text is added to the errors.
    fn refusal(&mut self, known: &KnownStream, entry: &RawEntry, raw_pairs: &[(Span, Span)]) -> Option<Reason> {
        let limits = &self.rules.limits;
        let (labels, at) = (&known.labels, entry.timestamp);
        let mut refuse = |reason, text: &dyn Fn() -> String| {
            if !self.errors.is_full() {
                self.errors.add(text(), 1);
            }
            Some(reason)
        };
        if at < self.oldest {
            let oldest = self.oldest;
            return refuse(Reason::GreaterThanMaxSampleAge, &|| {
                format!(
                    "entry for stream '{labels}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                    Rfc3339(at),
                    Rfc3339(oldest)
                )
            });
        }
        if at > self.newest {
            return refuse(Reason::TooFarInFuture, &|| {
                format!("entry for stream '{labels}' has timestamp too new: {}", Rfc3339(at))
            });
        }
        let (len, max_len) = (entry.line.len(), max_line_bytes(limits));
        if len > max_len && !limits.truncate_long_lines {
            return refuse(Reason::LineTooLong, &|| {
                format!(
                    "max entry size '{max_len}' bytes exceeded for stream '{labels}' while adding an entry with length \
                     '{len}' bytes"
                )
            });
        }
        if raw_pairs.is_empty() {
            return None;
        }
        if !limits.allow_structured_metadata {
            return refuse(Reason::DisallowedStructuredMetadata, &|| {
                format!(
                    "stream '{labels}' includes structured metadata, but this feature is disallowed. Please see \
                     `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"
                )
            });
        }
        let max_bytes = limits.max_structured_metadata_bytes.min(MAX_STRUCTURED_METADATA_BYTES);
        let bytes = pairs_bytes(raw_pairs);
        if bytes > max_bytes as u64 {
            return refuse(Reason::StructuredMetadataTooLarge, &|| {
                format!(
                    "stream '{labels}' has structured metadata too large: '{bytes}' bytes, limit: '{max_bytes}' bytes. \
                     Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to \
                     increase it"
                )
            });
        }
        let max_count = limits.max_structured_metadata_entries.min(MAX_STRUCTURED_METADATA_ENTRIES);
        let count = raw_pairs.len();
        if count > max_count {
            return refuse(Reason::StructuredMetadataTooMany, &|| {
                format!(
                    "stream '{labels}' has too many structured metadata labels: '{count}', limit: '{max_count}'. Please \
                     see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to \
                     increase it"
                )
            });
        }
        None
    }

    /// The line, cut if it is too long.
    fn line(&mut self, line: Span, body: &[u8], out: &mut Output<'_>) -> Span {
        let limits = &self.rules.limits;
        let max_len = max_line_bytes(limits);
        if !matches!(self.mode, Mode::Check(_)) || line.len() <= max_len {
            return line;
        }
        let kept = &body[line.range()][..max_len];
        self.is_changed = true;
        self.outcome.truncated_entries += 1;
        self.outcome.truncated_bytes += (line.len() - max_len) as u64;
        let start = out.arena.len();
        out.arena.extend_from_slice(kept);
        let identifier = &limits.truncate_identifier;
        let room = MAX_LINE_BYTES - max_len;
        out.arena.extend_from_slice(&identifier.as_bytes()[..identifier.floor_char_boundary(room)]);
        Span::in_arena(start, out.arena.len())
    }

    /// The metadata in its stored form, with the level.
    fn metadata<'b>(
        &mut self,
        state: &mut StreamState<'_>,
        pairs: &mut Vec<Pair<'b>>,
        line: &'b [u8],
        out: &mut Output<'_>,
    ) -> Span {
        let detector = if self.mode == Mode::AsIs { None } else { self.rules.detector.as_ref() };
        if pairs.is_empty() {
            let Some(detector) = detector else {
                return Span::EMPTY_IN_ARENA;
            };
            if let Some(level) = &state.known.level {
                return *state.label_level.get_or_insert_with(|| encode_level(out.arena, level));
            }
            let level = detector.level_of_line(line);
            return *self.level_only[level as usize].get_or_insert_with(|| encode_level(out.arena, level.as_str()));
        }
        metadata::sort(pairs);
        let level = match detector {
            Some(detector) if !normalise_level(pairs) => Some(find_level(detector, state.known, pairs, line)),
            Some(_) | None => None,
        };
        let start = out.arena.len();
        metadata::encode(out.arena, pairs, level.map(|level| (DETECTED_LEVEL, level)));
        // Entries that follow each other often carry the same metadata.
        let last = state.last_metadata.range();
        if out.arena[start..] == out.arena[last] {
            out.arena.truncate(start);
            return state.last_metadata;
        }
        Span::in_arena(start, out.arena.len())
    }

    /// The entry's time, moved behind that of its predecessor if the tenant wants it so.
    fn timestamp(&mut self, state: &mut StreamState<'_>, came: Timestamp) -> Timestamp {
        if !self.rules.limits.increment_duplicate_timestamp || !matches!(self.mode, Mode::Check(_)) {
            return came;
        }
        let staged = match state.last_timestamps {
            Some((last_came, last_staged)) if last_came == came => {
                self.is_changed = true;
                last_staged.saturating_add_nanos(1)
            }
            _ => came,
        };
        state.last_timestamps = Some((came, staged));
        staged
    }
}

/// The longest line of a tenant.
fn max_line_bytes(limits: &Limits) -> usize {
    match limits.max_line_bytes {
        0 => MAX_LINE_BYTES,
        max => max.min(MAX_LINE_BYTES),
    }
}

/// The oldest and the newest time an entry may have.
fn accepted_times(limits: &Limits, now: Timestamp) -> (Timestamp, Timestamp) {
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let oldest = if limits.reject_old_samples {
        now.saturating_sub_nanos(nanos(limits.reject_old_samples_max_age))
    } else {
        Timestamp::MIN
    };
    let newest = if limits.creation_grace_period.is_zero() {
        Timestamp::MAX
    } else {
        now.saturating_add_nanos(nanos(limits.creation_grace_period))
    };
    (oldest, newest)
}

/// Puts a level that stands in the metadata already into its usual form; `false` if there is none.
fn normalise_level(pairs: &mut [Pair<'_>]) -> bool {
    let Some((_, value)) = pairs.iter_mut().find(|(name, _)| name == DETECTED_LEVEL) else {
        return false;
    };
    let usual = stated(value);
    if usual != &**value {
        *value = usual.to_owned().into();
    }
    true
}

/// The level of an entry with metadata.
fn find_level<'a>(detector: &LevelDetector, known: &'a KnownStream, pairs: &'a [Pair<'_>], line: &[u8]) -> &'a str {
    if let Some(level) = &known.level {
        return level;
    }
    let lookup = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
    if let Some(value) = detector.stated_by_metadata(lookup) {
        return stated(value);
    }
    if let Some(number) = lookup(SEVERITY_NUMBER) {
        return Level::from_severity_number(number).as_str();
    }
    detector.level_of_line(line).as_str()
}

fn encode_level(arena: &mut Vec<u8>, level: &str) -> Span {
    let start = arena.len();
    metadata::encode(arena, &[], Some((DETECTED_LEVEL, level)));
    Span::in_arena(start, arena.len())
}

fn entry_bytes(entry: &RawEntry, pairs: &[(Span, Span)]) -> u64 {
    entry.line.len() as u64 + pairs_bytes(&pairs[entry.pairs.range()])
}

fn pairs_bytes(pairs: &[(Span, Span)]) -> u64 {
    pairs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

impl<'k> StreamState<'k> {
    const fn new(known: &'k KnownStream) -> Self {
        Self {
            known,
            line_bytes: 0,
            metadata_bytes: 0,
            last_metadata: Span::EMPTY_IN_ARENA,
            label_level: None,
            last_timestamps: None,
        }
    }
}
