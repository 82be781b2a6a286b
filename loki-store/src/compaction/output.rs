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
const MAX_OPEN_WINDOWS: i64 = 4;
/// Nanoseconds of the window of a segment of level 1.
const WINDOW_NANOS: i64 = 7_200_000_000_000;
/// Inputs that span more windows than this are divided by days instead.
const MAX_WINDOWS: i64 = 24;

/// How merged segments divide time.
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
    fn window(self, at: i64) -> (i64, i64) {
        self.span(at, 1)
    }

    /// First and last moment of as many windows as are written at the same time, from the one with a time.
    pub(super) fn pass(self, at: i64) -> (i64, i64) {
        self.span(at, MAX_OPEN_WINDOWS)
    }

    fn span(self, at: i64, windows: i64) -> (i64, i64) {
        let width = match self {
            Self::TwoHours => WINDOW_NANOS,
            Self::Days => DAY_NANOS,
            Self::Whole => return (i64::MIN, i64::MAX),
        };
        let first = at.saturating_sub(at.rem_euclid(width));
        let last = at.div_euclid(width).saturating_add(windows).saturating_mul(width).saturating_sub(1);
        (first, last.max(at))
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
    pub(super) fn new(tenant: TenantId, options: OutputOptions) -> Self {
        Self {
            options,
            tenant,
            open: Vec::new(),
            labels: Labels::EMPTY,
            patterns: StreamPatterns::default(),
            current: 0,
        }
    }

    pub(super) fn windows(&self) -> Windows {
        self.options.windows
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
        let OutputOptions { writer, level, created, windows, codec, chunk_bytes, .. } = self.options;
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
        self.open.push(OpenSegment { window: windows.window(at), header, writer, has_stream: false });
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
                let (pass_first, pass_last) = windows.pass(at);
                assert_eq!(first, pass_first);
                assert!(pass_last >= last);
            }
        }
        assert_eq!(Windows::TwoHours.window(-1), (-WINDOW_NANOS, -1));
        assert_eq!(Windows::TwoHours.window(WINDOW_NANOS), (WINDOW_NANOS, 2 * WINDOW_NANOS - 1));
        assert_eq!(Windows::TwoHours.pass(1), (0, MAX_OPEN_WINDOWS * WINDOW_NANOS - 1));
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
}
