//! Versions that the server reports.

/// The release of Loki whose API this server speaks. Clients choose their features by it.
pub const LOKI: &str = "3.7.6";

/// The release of this server.
pub const OWN: &str = env!("CARGO_PKG_VERSION");
