//! Where the time comes from.
//!
//! Nothing in this crate asks the system for the time; everything asks a [`Clock`] that was handed in, so that tests
//! and simulations decide what time it is.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use loki_core::Timestamp;

/// A source of wall clock time and of monotonic time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock; it may jump in either direction.
    fn now(&self) -> Timestamp;

    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_nanos(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time enters")]
    pub fn new() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time enters")]
    fn now(&self) -> Timestamp {
        let nanos = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        Timestamp::from_nanos(nanos)
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    now_nanos: AtomicI64,
    monotonic_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`, with a monotonic time of zero.
    pub const fn new(now: Timestamp) -> Self {
        Self { now_nanos: AtomicI64::new(now.as_nanos()), monotonic_nanos: AtomicU64::new(0) }
    }

    /// Lets `duration` pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.now_nanos.fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an administrator or a time server may.
    pub fn set(&self, now: Timestamp) {
        self.now_nanos.store(now.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now_nanos.load(Ordering::SeqCst))
    }

    fn monotonic_nanos(&self) -> u64 {
        self.monotonic_nanos.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_time_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_seconds(100));
        assert_eq!(clock.now(), Timestamp::from_seconds(100));
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now(), Timestamp::from_millis(101_500));
        assert_eq!(clock.monotonic_nanos(), 1_500_000_000);
        clock.set(Timestamp::from_seconds(7));
        assert_eq!(clock.now(), Timestamp::from_seconds(7));
        assert_eq!(clock.monotonic_nanos(), 1_500_000_000, "setting the wall clock is no passing of time");
    }

    #[test]
    fn system_monotonic_time_does_not_go_back() {
        let clock = SystemClock::new();
        let first = clock.monotonic_nanos();
        assert!(clock.monotonic_nanos() >= first);
        assert!(clock.now() > Timestamp::from_seconds(1_700_000_000));
    }
}
