//! The segments that a merge writes.

use loki_core::chunk::ChunkOptions;
use loki_core::{Codec, Error, Labels, Timestamp};
use uuid::Uuid;

use super::plan::DAY_NANOS;
use crate::patterns::StreamPatterns;
use crate::segment::layout::WalPosition;
use crate::segment::writer::FinishedSegment;
use crate::segment::{Header, SegmentId, SegmentWriter, WriterId};
use crate::tenant::TenantId;

/// Windows that are written at the same time.
const MAX_OPEN_WINDOWS: usize = 4;
/// Nanoseconds of the window of a segment of level 1.
const WINDOW_NANOS: i64 = 7_200_000_000_000;
/// Inputs that span more windows than this are divided by days instead.
const MAX_WINDOWS: i64 = 24;

/// How merged segments divide time, unless there is so much of it that a window is [divided](OutputOptions::window_bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// Two hours each.
    TwoHours,
    /// A UTC day each.
    Days,
    /// Not at all.
    Whole,
}

impl Windows {
    /// The windows for a level, if the entries have times from `first` through `last`.
    pub(crate) fn of_level(level: u8, first: Timestamp, last: Timestamp) -> Self {
        let windows = last.0.div_euclid(WINDOW_NANOS) - first.0.div_euclid(WINDOW_NANOS) + 1;
        if level <= 1 && windows <= MAX_WINDOWS { Self::TwoHours } else { Self::Days }
    }

    /// First and last moment of the window with a time.
    pub(super) fn window(self, at: i64) -> (i64, i64) {
        let width = match self {
            Self::TwoHours => WINDOW_NANOS,
            Self::Days => DAY_NANOS,
            Self::Whole => return (i64::MIN, i64::MAX),
        };
        let first = at.saturating_sub(at.rem_euclid(width));
        let end = at.div_euclid(width).checked_add(1).and_then(|next| next.checked_mul(width));
        (first, end.map_or(i64::MAX, |end| end - 1))
    }
}

/// How merged segments are written.
#[derive(Clone, Debug)]
pub(crate) struct OutputOptions {
    pub(crate) writer: WriterId,
    pub(crate) level: u8,
    /// When the youngest of the replaced segments was written.
    pub(crate) created: Timestamp,
    pub(crate) windows: Windows,
    /// Bytes of lines of each part of a window that has more of them.
    pub(crate) window_bytes: u64,
    pub(crate) codec: Codec,
    /// Bytes of lines of a chunk.
    pub(crate) chunk_bytes: usize,
    /// Bytes at which a segment ends, and which all open ones take together.
    pub(crate) segment_bytes: usize,
}

/// A segment ready to be put.
#[derive(Debug)]
pub(crate) struct MergedSegment {
    pub(crate) header: Header,
    pub(crate) segment: FinishedSegment,
}

/// The segments being written, one a window.
#[derive(Debug)]
pub(super) struct Outputs {
    options: OutputOptions,
    tenant: TenantId,
    /// Where windows are divided: the first moments of parts that do not begin with their window, ascending.
    cuts: Vec<i64>,
    open: Vec<OpenSegment>,
    /// The stream being written.
    labels: Labels,
    /// What its lines look like, as far as no segment has it yet.
    patterns: StreamPatterns,
    /// Which of `open` the entry before went to.
    current: usize,
}

#[derive(Debug)]
struct OpenSegment {
    /// First and last moment.
    window: (i64, i64),
    header: Header,
    writer: SegmentWriter,
    /// Whether it has entries of the stream being written.
    has_stream: bool,
}

impl Outputs {
    pub(super) fn new(tenant: TenantId, options: OutputOptions, cuts: Vec<i64>) -> Self {
        Self {
            options,
            tenant,
            cuts,
            open: Vec::new(),
            labels: Labels::EMPTY,
            patterns: StreamPatterns::default(),
            current: 0,
        }
    }

    /// First and last moment of as many windows as are written at the same time, from the one with a time.
    pub(super) fn pass(&self, at: i64) -> (i64, i64) {
        let (first, mut last) = self.window(at);
        for _ in 1..MAX_OPEN_WINDOWS {
            last = self.window(last.saturating_add(1)).1;
        }
        (first, last)
    }

    /// First and last moment of the window, or the part of one, with a time.
    fn window(&self, at: i64) -> (i64, i64) {
        let (mut first, mut last) = self.options.windows.window(at);
        let next = self.cuts.partition_point(|cut| *cut <= at);
        if let Some(cut) = next.checked_sub(1).map(|i| self.cuts[i]) {
            first = first.max(cut);
        }
        if let Some(cut) = self.cuts.get(next) {
            last = last.min(cut - 1);
        }
        (first, last)
    }

    /// Begins the next stream.
    pub(super) fn start_stream(&mut self, labels: Labels, patterns: StreamPatterns) {
        self.labels = labels;
        self.patterns = patterns;
        for open in &mut self.open {
            open.has_stream = false;
        }
    }

    /// Appends an entry of the stream to the segment of its window.
    pub(super) fn append(&mut self, at: i64, line: &[u8], metadata: &Labels) -> Result<(), Error> {
        let holds = |open: &OpenSegment| open.window.0 <= at && at <= open.window.1;
        if !self.open.get(self.current).is_some_and(holds) {
            self.current = match self.open.iter().position(holds) {
                Some(found) => found,
                None => self.begin(at)?,
            };
        }
        let open = &mut self.open[self.current];
        if !open.has_stream {
            open.writer.start_stream(&self.labels)?;
            let (first, last) = open.window;
            open.writer.add_patterns(&self.patterns.take_between(Timestamp(first), Timestamp(last)));
            open.has_stream = true;
        }
        open.writer.append(Timestamp(at), line, metadata)
    }

    /// Ends the largest segment if there is as much as is held in memory.
    pub(super) fn take_full(&mut self) -> Result<Option<MergedSegment>, Error> {
        if self.held_bytes() < self.options.segment_bytes {
            return Ok(None);
        }
        let largest = (0..self.open.len()).max_by_key(|&i| self.open[i].writer.held_bytes());
        largest.map(|largest| self.end(largest)).transpose()
    }

    /// The memory that their chunks take.
    pub(super) fn held_bytes(&self) -> usize {
        self.open.iter().map(|open| open.writer.held_bytes()).sum()
    }

    /// The memory that what is known of their streams takes besides.
    pub(super) fn stream_bytes(&self) -> usize {
        self.open.iter().map(|open| open.writer.stream_bytes()).sum()
    }

    /// Ends some segment, if there is one.
    pub(super) fn take_any(&mut self) -> Result<Option<MergedSegment>, Error> {
        if self.open.is_empty() { Ok(None) } else { self.end(0).map(Some) }
    }

    fn begin(&mut self, at: i64) -> Result<usize, Error> {
        let OutputOptions { writer, level, created, codec, chunk_bytes, .. } = self.options;
        let header = Header {
            id: SegmentId::random(),
            writer,
            sequence: 0,
            wal: WalPosition { log: Uuid::nil(), through: 0 },
            created,
            level,
        };
        let mut writer = SegmentWriter::new(&header, chunk_bytes, ChunkOptions { codec, level });
        writer.start_tenant(self.tenant.clone())?;
        self.open.push(OpenSegment { window: self.window(at), header, writer, has_stream: false });
        Ok(self.open.len() - 1)
    }

    fn end(&mut self, index: usize) -> Result<MergedSegment, Error> {
        let open = self.open.remove(index);
        self.current = 0;
        Ok(MergedSegment { header: open.header, segment: open.writer.finish()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_the_times_they_are_asked_for() {
        for at in [i64::MIN, -1, 0, 1, WINDOW_NANOS - 1, WINDOW_NANOS, i64::MAX] {
            for windows in [Windows::TwoHours, Windows::Days, Windows::Whole] {
                let (first, last) = windows.window(at);
                assert!(first <= at && at <= last, "{windows:?} {at}");
            }
        }
        assert_eq!(Windows::TwoHours.window(i64::MAX - WINDOW_NANOS / 2).1, i64::MAX);
        assert_eq!(Windows::TwoHours.window(-1), (-WINDOW_NANOS, -1));
        assert_eq!(Windows::TwoHours.window(WINDOW_NANOS), (WINDOW_NANOS, 2 * WINDOW_NANOS - 1));
        assert_eq!(Windows::Days.window(DAY_NANOS + 5), (DAY_NANOS, 2 * DAY_NANOS - 1));
    }

    #[test]
    fn inputs_that_span_many_windows_are_divided_by_days() {
        let of_level = |level, last| Windows::of_level(level, Timestamp(0), Timestamp(last));
        assert_eq!(of_level(1, 0), Windows::TwoHours);
        assert_eq!(of_level(1, MAX_WINDOWS * WINDOW_NANOS - 1), Windows::TwoHours);
        assert_eq!(of_level(1, MAX_WINDOWS * WINDOW_NANOS), Windows::Days);
        assert_eq!(of_level(2, 0), Windows::Days);
    }

    #[test]
    fn passes_take_some_windows_and_windows_end_where_they_are_divided() {
        let options = OutputOptions {
            writer: WriterId::random(),
            level: 1,
            created: Timestamp(0),
            windows: Windows::TwoHours,
            window_bytes: 1,
            codec: Codec::None,
            chunk_bytes: 1,
            segment_bytes: 1,
        };
        let of_cuts = |cuts: &[i64]| Outputs::new(TenantId::anonymous(), options.clone(), cuts.to_vec());
        assert_eq!(of_cuts(&[]).pass(1), (0, MAX_OPEN_WINDOWS as i64 * WINDOW_NANOS - 1));
        assert_eq!(of_cuts(&[]).pass(i64::MAX).1, i64::MAX);
        let divided = of_cuts(&[10, 20, WINDOW_NANOS + 5]);
        assert_eq!(divided.window(0), (0, 9));
        assert_eq!(divided.window(10), (10, 19));
        assert_eq!(divided.window(20), (20, WINDOW_NANOS - 1));
        assert_eq!(divided.window(WINDOW_NANOS + 9), (WINDOW_NANOS + 5, 2 * WINDOW_NANOS - 1));
        assert_eq!(divided.pass(3), (0, WINDOW_NANOS + 4));
    }
}
