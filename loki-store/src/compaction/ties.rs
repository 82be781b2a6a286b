//! Telling equal entries apart from those that merely have the same time.

use bytes::Bytes;
use hashbrown::HashSet;
use loki_core::Labels;

/// What is known of the entries of one stream at one time that several inputs have.
///
/// Holds their content, so its size is that of the entries at this one time.
#[derive(Debug, Default)]
pub(super) struct Ties {
    at: Option<i64>,
    seen: HashSet<(Bytes, Labels), foldhash::fast::RandomState>,
}

impl Ties {
    /// Whether this time was met in several inputs.
    pub(super) fn is_at(&self, time: i64) -> bool {
        self.at == Some(time)
    }

    /// Looks out for equal entries at this time, unless it already does.
    pub(super) fn begin(&mut self, time: i64) {
        if !self.is_at(time) {
            self.clear();
            self.at = Some(time);
        }
    }

    /// Forgets everything, before another stream.
    pub(super) fn clear(&mut self) {
        self.at = None;
        self.seen.clear();
    }

    /// Whether this is the first of equal entries.
    pub(super) fn is_new(&mut self, line: Bytes, metadata: &Labels) -> bool {
        self.seen.insert((line, metadata.clone()))
    }
}
