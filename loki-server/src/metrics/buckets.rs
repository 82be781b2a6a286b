//! Upper bounds of the server's histograms.

/// Upper bounds for durations of requests, Loki's.
pub(crate) const DURATION_BUCKETS_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

/// Upper bounds for sizes of messages.
pub(crate) const SIZE_BUCKETS_BYTES: [f64; 6] =
    [1_048_576.0, 2_621_440.0, 5_242_880.0, 10_485_760.0, 26_214_400.0, 52_428_800.0];
