//! A megabyte or so of entries of one tenant, in the order in which they arrived.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use loki_core::chunk::Text;
use loki_core::{Labels, TimeRange, Timestamp};
use loki_logql::querier::Rows;

/// Bytes of lines, and of metadata, at which a slab is sealed. A longer line gets a slab of its own.
pub(super) const SLAB_BYTES: usize = 1024 * 1024;

/// Rows at which a slab is sealed.
pub(super) const SLAB_ROWS: usize = 64 * 1024;

/// Room for lines in the first slab of a tenant, which may be the only one.
const FIRST_SLAB_BYTES: usize = 16 * 1024;

/// Different metadata sets that are remembered, so that rows that follow each other share them.
const RECENT_SETS: usize = 8;

/// Consecutive rows of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The stream's number.
    pub(super) stream: u32,
    /// The row behind its last one.
    pub(super) end: u32,
    /// Its earliest time.
    pub(super) first: Timestamp,
    /// Its latest time.
    pub(super) last: Timestamp,
}

impl Run {
    /// The times of its rows.
    pub(super) fn range(&self) -> TimeRange {
        TimeRange::new(self.first, self.last.saturating_add_nanos(1))
    }
}

/// A slab that no longer changes.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) rows: Arc<Rows>,
    pub(super) runs: Vec<Run>,
    /// The times of its rows.
    pub(super) range: TimeRange,
    /// The memory it takes.
    pub(super) bytes: usize,
}

impl Slab {
    /// The runs with their rows.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&Run, Range<u32>)> {
        let starts = std::iter::once(0).chain(self.runs.iter().map(|run| run.end));
        self.runs.iter().zip(starts).map(|(run, start)| (run, start..run.end))
    }

    /// The line and the metadata of a row.
    pub(super) fn row(&self, row: u32) -> (&[u8], &Labels) {
        static NONE: Labels = Labels::EMPTY;
        (self.rows.text.line(row), self.rows.metadata.get(row as usize).unwrap_or(&NONE))
    }
}

/// The slab that entries are appended to.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenSlab {
    /// Lines, each ended by a newline.
    text: Vec<u8>,
    /// For each row the position of that newline.
    ends: Vec<u32>,
    timestamps: Vec<i64>,
    runs: Vec<Run>,
    /// Encoded metadata.
    sets: Vec<u8>,
    /// For each row where its metadata stands in `sets`; empty while no row has any.
    set_of_row: Vec<SetSpan>,
    recent: [SetSpan; RECENT_SETS],
    next_recent: usize,
}

/// A metadata set as offset and length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SetSpan {
    start: u32,
    len: u32,
}

impl SetSpan {
    const fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl OpenSlab {
    /// An empty slab with room for as much as this one holds when it is filled.
    pub(super) fn next(&self) -> Self {
        let rows = self.ends.len() + self.ends.len() / 8;
        Self {
            text: Vec::with_capacity(SLAB_BYTES),
            ends: Vec::with_capacity(rows),
            timestamps: Vec::with_capacity(rows),
            set_of_row: Vec::with_capacity(if self.set_of_row.is_empty() { 0 } else { rows }),
            ..Self::default()
        }
    }

    pub(super) fn rows(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Whether an entry of this size must go to the next slab.
    pub(super) fn is_full_for(&self, line: &[u8], metadata: &[u8]) -> bool {
        let is_full = self.text.len() + line.len() >= SLAB_BYTES
            || self.sets.len() + metadata.len() > SLAB_BYTES
            || self.ends.len() >= SLAB_ROWS;
        is_full && !self.ends.is_empty()
    }

    /// Bytes of lines.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Appends an entry and returns its row. `has_last_metadata` says that its metadata is that of the row before.
    pub(super) fn append(
        &mut self,
        stream: u32,
        at: Timestamp,
        line: &[u8],
        metadata: &[u8],
        has_last_metadata: bool,
    ) -> u32 {
        if self.text.capacity() == 0 {
            self.text.reserve(FIRST_SLAB_BYTES.max(line.len() + 1));
        }
        let row = self.rows();
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len() as u32);
        self.text.push(b'\n');
        self.timestamps.push(at.as_nanos());
        if !metadata.is_empty() || !self.set_of_row.is_empty() {
            let set = match self.set_of_row.last() {
                Some(last) if has_last_metadata => *last,
                _ => self.put_set(metadata),
            };
            self.set_of_row.resize(row as usize, SetSpan::default());
            self.set_of_row.push(set);
        }
        match self.runs.last_mut() {
            Some(run) if run.stream == stream => {
                run.end = row + 1;
                run.first = run.first.min(at);
                run.last = run.last.max(at);
            }
            _ => self.runs.push(Run { stream, end: row + 1, first: at, last: at }),
        }
        row
    }

    /// The line and the encoded metadata of a row.
    pub(super) fn row(&self, row: u32) -> (&[u8], &[u8]) {
        let row = row as usize;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize + 1);
        let set = self.set_of_row.get(row).copied().unwrap_or_default();
        (&self.text[start..self.ends[row] as usize], &self.sets[set.range()])
    }

    /// The memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let fixed = self.ends.capacity() * size_of::<u32>() + self.timestamps.capacity() * size_of::<i64>();
        let sets = self.sets.capacity() + self.set_of_row.capacity() * size_of::<SetSpan>();
        self.text.capacity() + fixed + sets + self.runs.capacity() * size_of::<Run>()
    }

    /// Ends the slab.
    pub(super) fn seal(self) -> Slab {
        let first = self.runs.iter().map(|run| run.first).min().unwrap_or_default();
        let last = self.runs.iter().map(|run| run.last).max().unwrap_or_default();
        let metadata = self.labels();
        let text_capacity = self.text.capacity();
        let text = text_of(self.text, &self.ends);
        let rows = Rows { text, timestamps: self.timestamps, metadata };
        let bytes = text_capacity
            + rows.timestamps.capacity() * size_of::<i64>()
            + rows.metadata.capacity() * size_of::<Labels>()
            + self.sets.len()
            + self.runs.capacity() * size_of::<Run>();
        let range = TimeRange::new(first, last.saturating_add_nanos(1));
        Slab { rows: Arc::new(rows), runs: self.runs, range, bytes }
    }

    /// Where a metadata set stands, written if none of the recent ones is equal.
    fn put_set(&mut self, metadata: &[u8]) -> SetSpan {
        if metadata.is_empty() {
            return SetSpan::default();
        }
        let is_same = |set: &&SetSpan| set.len as usize == metadata.len() && self.sets[set.range()] == *metadata;
        if let Some(set) = self.recent.iter().find(is_same) {
            return *set;
        }
        let set = SetSpan { start: self.sets.len() as u32, len: metadata.len() as u32 };
        self.sets.extend_from_slice(metadata);
        self.recent[self.next_recent] = set;
        self.next_recent = (self.next_recent + 1) % RECENT_SETS;
        set
    }

    /// The metadata of all rows, sharing one buffer; rows with the same set share more.
    fn labels(&self) -> Vec<Labels> {
        let sets = Bytes::copy_from_slice(&self.sets);
        let mut recent: [(SetSpan, Labels); RECENT_SETS] = Default::default();
        let mut next_recent = 0;
        let rows = self.set_of_row.iter().map(|set| {
            if let Some((_, labels)) = recent.iter().find(|(known, _)| known == set) {
                return labels.clone();
            }
            let labels = Labels::from_bytes(sets.slice(set.range())).expect("metadata is staged in valid form");
            recent[next_recent] = (*set, labels.clone());
            next_recent = (next_recent + 1) % RECENT_SETS;
            labels
        });
        rows.collect()
    }
}

/// Lines as a [`Text`]; their positions are only kept if newlines cannot tell them.
fn text_of(mut text: Vec<u8>, ends: &[u32]) -> Text {
    if text.len() < text.capacity() / 2 {
        text.shrink_to_fit();
    }
    let is_clean = memchr::memchr_iter(b'\n', &text).count() == ends.len();
    let text = Bytes::from(text);
    let result = if is_clean {
        Text::from_clean(text, ends.len() as u32)
    } else {
        let mut start = 0;
        Text::from_lengths(
            text,
            ends.iter().map(|&end| {
                let len = end - start;
                start = end + 1;
                len
            }),
        )
    };
    result.expect("every line was ended by a newline")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Labels {
        Labels::from_pairs([(name, value)]).unwrap()
    }

    #[test]
    fn a_sealed_slab_holds_what_was_appended() {
        let mut open = OpenSlab::default();
        let level = set("detected_level", "info");
        let trace = set("trace_id", "abc");
        open.append(3, Timestamp(30), b"one", b"", false);
        open.append(3, Timestamp(10), b"two\nlines", level.as_bytes(), false);
        open.append(4, Timestamp(20), b"", level.as_bytes(), false);
        open.append(3, Timestamp(40), b"four", trace.as_bytes(), false);
        open.append(3, Timestamp(40), b"five", b"", false);
        assert_eq!(open.row(1), (&b"two\nlines"[..], level.as_bytes()));
        assert_eq!(open.row(4), (&b"five"[..], &b""[..]));

        let slab = open.seal();
        assert_eq!(slab.range, TimeRange::new(Timestamp(10), Timestamp(41)));
        assert_eq!(slab.rows.timestamps, [30, 10, 20, 40, 40]);
        assert_eq!(slab.row(0), (&b"one"[..], &Labels::EMPTY));
        assert_eq!(slab.row(1), (&b"two\nlines"[..], &level));
        assert_eq!(slab.row(2), (&b""[..], &level));
        assert_eq!(slab.row(3), (&b"four"[..], &trace));
        assert_eq!(slab.row(4), (&b"five"[..], &Labels::EMPTY));
        let runs: Vec<_> = slab.runs().map(|(run, rows)| (run.stream, rows, run.range())).collect();
        let range = |start, end| TimeRange::new(Timestamp(start), Timestamp(end));
        assert_eq!(runs, [(3, 0..2, range(10, 31)), (4, 2..3, range(20, 21)), (3, 3..5, range(40, 41))]);
    }

    #[test]
    fn slabs_without_metadata_have_no_metadata_column() {
        let mut open = OpenSlab::default();
        open.append(0, Timestamp(1), b"a", b"", false);
        assert!(open.seal().rows.metadata.is_empty());
    }

    #[test]
    fn rows_with_equal_metadata_share_its_bytes() {
        let mut open = OpenSlab::default();
        let (info, warn) = (set("detected_level", "info"), set("detected_level", "warn"));
        for i in 0..1000 {
            let level = if i % 3 == 0 { &info } else { &warn };
            open.append(0, Timestamp(i), b"x", level.as_bytes(), false);
        }
        assert_eq!(open.sets.len(), info.size_bytes() + warn.size_bytes());
    }

    #[test]
    fn slabs_are_full_by_lines_metadata_or_rows() {
        let mut open = OpenSlab::default();
        let long = vec![b'x'; SLAB_BYTES];
        assert!(!open.is_full_for(&long, b""), "an empty slab takes any line");
        open.append(0, Timestamp(1), b"x", b"", false);
        assert!(open.is_full_for(&long, b""));
        assert!(open.is_full_for(b"", &vec![0; SLAB_BYTES + 1]));
        assert!(!open.is_full_for(&long[..SLAB_BYTES - 3], b""));
        assert!(open.is_full_for(&long[..SLAB_BYTES - 2], b""));
        for i in 1..SLAB_ROWS as i64 {
            assert!(!open.is_full_for(b"", b""));
            open.append(0, Timestamp(i), b"", b"", false);
        }
        assert!(open.is_full_for(b"", b""));
    }
}
