//! How much and how many: token buckets, and the streams that were written to lately.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::counters::StreamCounts;
use crate::limits::Limits;

/// How long after its last entry a stream counts as active: Loki's `chunk_idle_period`.
pub(super) const STREAM_IDLE_NANOS: u64 = Duration::from_mins(30).as_nanos() as u64;

/// How often idle streams are looked for, at most.
const SWEEP_NANOS: u64 = Duration::from_mins(1).as_nanos() as u64;

/// Lets so many bytes a second pass on average, and so many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    tokens: f64,
    updated_nanos: u64,
}

impl TokenBucket {
    pub(super) const fn full(burst_bytes: u64, now_nanos: u64) -> Self {
        Self { tokens: burst_bytes as f64, updated_nanos: now_nanos }
    }

    /// Takes `bytes` tokens if there are as many.
    pub(super) fn take(&mut self, bytes: u64, rate_bytes: u64, burst_bytes: u64, now_nanos: u64) -> bool {
        let elapsed = now_nanos.saturating_sub(self.updated_nanos) as f64 / 1e9;
        self.updated_nanos = self.updated_nanos.max(now_nanos);
        self.tokens = (self.tokens + elapsed * rate_bytes as f64).min(burst_bytes as f64);
        let is_enough = self.tokens >= bytes as f64;
        if is_enough {
            self.tokens -= bytes as f64;
        }
        is_enough
    }
}

/// The streams of a tenant that were written to lately, each with its bucket: 32 bytes a stream.
#[derive(Debug, Default)]
pub(super) struct ActiveStreams {
    /// By label hash.
    streams: HashMap<u64, TokenBucket, foldhash::fast::RandomState>,
    swept_nanos: u64,
    counts: Arc<StreamCounts>,
}

/// Whether a stream takes more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    TooManyStreams,
    TooFast,
}

impl ActiveStreams {
    /// None yet; `counts` will say how many came and went.
    pub(super) fn new(counts: Arc<StreamCounts>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Judges `bytes` for the stream with the given hash; the stream is active from now on unless there are too many.
    pub(super) fn admit(&mut self, hash: u64, bytes: u64, limits: &Limits, now_nanos: u64) -> Admission {
        self.sweep(now_nanos);
        if !self.streams.contains_key(&hash) && limits.max_streams > 0 && self.streams.len() >= limits.max_streams {
            return Admission::TooManyStreams;
        }
        let (rate, burst) = (limits.per_stream_rate_bytes, limits.per_stream_burst_bytes);
        let bucket = self.touch(hash, burst, now_nanos);
        if bucket.take(bytes, rate, burst, now_nanos) { Admission::Granted } else { Admission::TooFast }
    }

    /// Makes a stream active whatever the limits say.
    pub(super) fn touch(&mut self, hash: u64, burst_bytes: u64, now_nanos: u64) -> &mut TokenBucket {
        self.streams.entry(hash).or_insert_with(|| {
            self.counts.created.add(1);
            TokenBucket::full(burst_bytes, now_nanos)
        })
    }

    /// How many streams are active.
    pub(super) fn len(&mut self, now_nanos: u64) -> usize {
        self.sweep(now_nanos);
        self.streams.len()
    }

    fn sweep(&mut self, now_nanos: u64) {
        if now_nanos.saturating_sub(self.swept_nanos) < SWEEP_NANOS {
            return;
        }
        self.swept_nanos = now_nanos;
        let before = self.streams.len();
        self.streams.retain(|_, bucket| now_nanos.saturating_sub(bucket.updated_nanos) < STREAM_IDLE_NANOS);
        self.counts.removed.add((before - self.streams.len()) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_lets_the_burst_and_then_the_rate_pass() {
        let mut bucket = TokenBucket::full(100, 0);
        assert!(bucket.take(100, 10, 100, 0));
        assert!(!bucket.take(1, 10, 100, 0));
        assert!(!bucket.take(11, 10, 100, SECOND));
        assert!(bucket.take(10, 10, 100, SECOND));
        assert!(!bucket.take(101, 10, 100, 1000 * SECOND), "more than the burst never passes");
        assert!(bucket.take(100, 10, 100, 1000 * SECOND));
    }

    #[test]
    fn a_clock_that_stands_still_fills_no_bucket() {
        let mut bucket = TokenBucket::full(10, 5 * SECOND);
        assert!(bucket.take(10, 10, 10, 5 * SECOND));
        assert!(!bucket.take(10, 10, 10, 4 * SECOND));
        assert!(!bucket.take(10, 10, 10, 5 * SECOND));
        assert!(bucket.take(10, 10, 10, 6 * SECOND));
    }

    #[test]
    fn idle_streams_make_room_for_new_ones() {
        let limits = Limits { max_streams: 2, ..Limits::default() };
        let mut active = ActiveStreams::default();
        assert_eq!(active.admit(1, 10, &limits, 0), Admission::Granted);
        assert_eq!(active.admit(2, 10, &limits, 0), Admission::Granted);
        assert_eq!(active.admit(3, 10, &limits, 0), Admission::TooManyStreams);
        assert_eq!(active.admit(1, 10, &limits, STREAM_IDLE_NANOS / 2), Admission::Granted);
        assert_eq!(active.admit(3, 10, &limits, STREAM_IDLE_NANOS + 1), Admission::Granted, "the second went idle");
        assert_eq!(active.len(STREAM_IDLE_NANOS + 1), 2);
        assert_eq!((active.counts.created.value(), active.counts.removed.value()), (3, 1));
    }

    #[test]
    fn each_stream_has_its_own_rate() {
        let limits = Limits { per_stream_rate_bytes: 1, per_stream_burst_bytes: 10, ..Limits::default() };
        let mut active = ActiveStreams::default();
        assert_eq!(active.admit(1, 10, &limits, 0), Admission::Granted);
        assert_eq!(active.admit(1, 1, &limits, 0), Admission::TooFast);
        assert_eq!(active.admit(2, 10, &limits, 0), Admission::Granted);
    }
}
