//! How far a tool has come.

use std::fmt;

/// Is told how far a tool has come, in units of its own: bytes, for the most part.
pub trait Progress: Send + Sync {
    /// A part of the work begins; `total` is how much it is, if that is known.
    fn begin(&self, stage: Stage, total: Option<u64>);

    /// So much more is done.
    fn advance(&self, amount: u64);

    /// The part of the work is over.
    fn end(&self);
}

/// A part of the work of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Segments are looked at; counts their bytes.
    Reading,
    /// Segments are checked; counts their bytes.
    Checking,
    /// Objects are copied; counts their bytes.
    Copying,
    /// Entries are written; counts the bytes of their lines.
    Exporting,
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: Stage, _: Option<u64>) {}

    fn advance(&self, _: u64) {}

    fn end(&self) {}
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading => "reading",
            Self::Checking => "checking",
            Self::Copying => "copying",
            Self::Exporting => "exporting",
        })
    }
}
