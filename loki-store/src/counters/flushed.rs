//! What the chunks are like that flushes write.

use loki_core::Timestamp;

use super::{Counter, Histogram};
use crate::segment::ChunkEntry;

const AGE_BOUNDS_SECONDS: [f64; 9] = [60.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 57_600.0, 86_400.0];
const SPAN_BOUNDS_HOURS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0];
const SIZE_BOUNDS_BYTES: [f64; 9] = [1e4, 2e4, 4e4, 8e4, 1.6e5, 3.2e5, 6.4e5, 1.28e6, 2.56e6];
const ENTRIES_BOUNDS: [f64; 11] =
    [20.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 50_000.0, 100_000.0];
const UTILIZATION_BOUNDS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const RATIO_BOUNDS: [f64; 10] = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0];
/// Powers of eight, of which [`LineLengths`] finds the right one without a search.
const LINE_BOUNDS_BYTES: [f64; 8] = [1.0, 8.0, 64.0, 512.0, 4_096.0, 32_768.0, 262_144.0, 2_097_152.0];

const NANOS_PER_SECOND: f64 = 1e9;
const SECONDS_PER_HOUR: f64 = 3_600.0;

/// Why a head became a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// It was full.
    Full,
    /// Its oldest entry had waited long enough.
    MaxAge,
    /// Somebody asked for it, or the store was closed.
    Forced,
}

impl FlushReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Full, Self::MaxAge, Self::Forced];

    /// The reason's name, as Loki gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::MaxAge => "max_age",
            Self::Forced => "forced",
        }
    }
}

/// Chunks that flushes wrote.
#[derive(Debug)]
pub struct FlushedChunks {
    by_reason: [Counter; FlushReason::ALL.len()],
    /// Bytes of them.
    pub bytes: Counter,
    /// How old their first entries were, in seconds.
    pub age_seconds: Histogram,
    /// From their first to their last entry, in hours.
    pub span_hours: Histogram,
    /// Their sizes as written.
    pub size_bytes: Histogram,
    /// How many entries they have.
    pub entries: Histogram,
    /// Bytes of lines, as a part of those at which a chunk is full.
    pub utilization: Histogram,
    /// Bytes of lines by bytes written.
    pub compression_ratio: Histogram,
    /// Lengths of the lines in them.
    pub line_bytes: Histogram,
}

impl FlushedChunks {
    /// Chunks of flushes for that reason.
    pub fn by_reason(&self, reason: FlushReason) -> &Counter {
        &self.by_reason[reason as usize]
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.by_reason.iter().map(Counter::value).sum()
    }

    /// Counts the chunks of one flush at `now`. `full_bytes` is how many bytes of lines fill one.
    pub(crate) fn record(&self, chunks: &[ChunkEntry], reason: FlushReason, full_bytes: usize, now: Timestamp) {
        self.by_reason(reason).add(chunks.len() as u64);
        let seconds = |from: Timestamp, to: Timestamp| to.0.saturating_sub(from.0) as f64 / NANOS_PER_SECOND;
        for chunk in chunks {
            let (size_bytes, line_bytes) = (chunk.span.end - chunk.span.start, chunk.line_bytes as f64);
            self.bytes.add(size_bytes);
            self.age_seconds.observe(seconds(chunk.first, now));
            self.span_hours.observe(seconds(chunk.first, chunk.last) / SECONDS_PER_HOUR);
            self.size_bytes.observe(size_bytes as f64);
            self.entries.observe(f64::from(chunk.rows));
            self.utilization.observe(line_bytes / full_bytes as f64);
            self.compression_ratio.observe(line_bytes / size_bytes as f64);
        }
    }
}

impl Default for FlushedChunks {
    fn default() -> Self {
        Self {
            by_reason: Default::default(),
            bytes: Counter::default(),
            age_seconds: Histogram::new(&AGE_BOUNDS_SECONDS),
            span_hours: Histogram::new(&SPAN_BOUNDS_HOURS),
            size_bytes: Histogram::new(&SIZE_BOUNDS_BYTES),
            entries: Histogram::new(&ENTRIES_BOUNDS),
            utilization: Histogram::new(&UTILIZATION_BOUNDS),
            compression_ratio: Histogram::new(&RATIO_BOUNDS),
            line_bytes: Histogram::new(&LINE_BOUNDS_BYTES),
        }
    }
}

/// Lengths of the lines of one flush, counted by one thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineLengths {
    counts: [u64; LINE_BOUNDS_BYTES.len() + 1],
    bytes: u64,
}

impl LineLengths {
    pub(crate) fn count(&mut self, len: usize) {
        let bits = usize::BITS - len.saturating_sub(1).leading_zeros();
        let bucket = (bits.div_ceil(3) as usize).min(LINE_BOUNDS_BYTES.len());
        self.counts[bucket] += 1;
        self.bytes += len as u64;
    }

    pub(crate) fn add_to(&self, histogram: &Histogram) {
        histogram.add_counted(self.counts.into_iter(), self.bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_a_histogram_would() {
        let (by_length, one_by_one) = (Histogram::new(&LINE_BOUNDS_BYTES), Histogram::new(&LINE_BOUNDS_BYTES));
        let mut lengths = LineLengths::default();
        let near_bounds = LINE_BOUNDS_BYTES.iter().flat_map(|&bound| [bound - 1.0, bound, bound + 1.0]);
        for len in near_bounds.chain([100_000_000.0]) {
            lengths.count(len as usize);
            one_by_one.observe(len);
        }
        lengths.add_to(&by_length);
        assert_eq!(by_length.cumulative().collect::<Vec<_>>(), one_by_one.cumulative().collect::<Vec<_>>());
        assert_eq!(by_length.sum(), one_by_one.sum());
    }

    #[test]
    fn chunks_are_counted_by_what_they_are_like() {
        let flushed = FlushedChunks::default();
        let chunk = ChunkEntry {
            span: 1_000..21_000,
            rows: 300,
            line_bytes: 100_000,
            first: Timestamp(0),
            last: Timestamp(3_600_000_000_000),
            first_stream: 0,
            last_stream: 0,
            has_metadata: false,
        };
        flushed.record(&[chunk.clone(), chunk], FlushReason::MaxAge, 400_000, Timestamp(7_200_000_000_000));
        assert_eq!(FlushReason::ALL.map(|reason| flushed.by_reason(reason).value()), [0, 2, 0]);
        assert_eq!((flushed.count(), flushed.bytes.value()), (2, 40_000));
        let sums = [
            &flushed.age_seconds,
            &flushed.span_hours,
            &flushed.size_bytes,
            &flushed.entries,
            &flushed.utilization,
            &flushed.compression_ratio,
        ]
        .map(Histogram::sum);
        assert_eq!(sums, [14_400.0, 2.0, 40_000.0, 600.0, 0.5, 10.0]);
    }
}
