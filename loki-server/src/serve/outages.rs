//! What is logged about work that is tried again and again: where it begins to fail, a line a minute while it goes on,
//! and where it works again.

use std::time::Duration;

/// The least time between two lines about failures.
const REPEAT_NANOS: u64 = Duration::from_mins(1).as_nanos() as u64;

/// Failures of one kind of work, by a monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Outages {
    last_line_nanos: Option<u64>,
    /// Failures since the last line.
    unmentioned: u64,
    current: Option<Outage>,
}

/// Work that failed and has not succeeded since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    started_nanos: u64,
    /// Attempts that failed.
    pub(super) failures: u64,
    is_mentioned: bool,
}

impl Outage {
    /// How long it has lasted.
    pub(super) fn seconds(&self, now_nanos: u64) -> u64 {
        Duration::from_nanos(now_nanos.saturating_sub(self.started_nanos)).as_secs()
    }
}

impl Outages {
    /// Counts a failure. If there is to be a line about it, returns how many failures that line stands for.
    pub(super) fn failed(&mut self, now_nanos: u64) -> Option<u64> {
        let started = Outage { started_nanos: now_nanos, failures: 0, is_mentioned: false };
        let outage = self.current.get_or_insert(started);
        outage.failures += 1;
        self.unmentioned += 1;
        if self.last_line_nanos.is_some_and(|last| now_nanos.saturating_sub(last) < REPEAT_NANOS) {
            return None;
        }
        outage.is_mentioned = true;
        self.last_line_nanos = Some(now_nanos);
        Some(std::mem::take(&mut self.unmentioned))
    }

    /// Notes that the work succeeded. Returns the outage that this ends, if the log knows of it.
    pub(super) fn succeeded(&mut self) -> Option<Outage> {
        self.current.take().filter(|outage| outage.is_mentioned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_outage_has_a_line_at_first_and_one_a_minute() {
        let mut outages = Outages::default();
        let lines = (0..=150).filter_map(|second| Some((second, outages.failed(second * SECOND)?)));
        assert_eq!(lines.collect::<Vec<_>>(), [(0, 1), (60, 60), (120, 60)]);
        let outage = outages.succeeded().expect("it is over");
        assert_eq!((outage.failures, outage.seconds(151 * SECOND)), (151, 151));
        assert_eq!(outages.succeeded(), None);
    }

    #[test]
    fn what_fails_now_and_then_has_no_more_lines() {
        let mut outages = Outages::default();
        let mut lines = Vec::new();
        for second in 0..100 {
            if second % 10 == 0 {
                lines.extend(outages.failed(second * SECOND).map(|failures| (second, failures)));
            } else if let Some(outage) = outages.succeeded() {
                assert_eq!(outage.failures, 1);
                lines.push((second, 0));
            }
        }
        assert_eq!(lines, [(0, 1), (1, 0), (60, 6), (61, 0)]);
    }
}
