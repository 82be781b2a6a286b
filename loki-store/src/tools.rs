//! Looking at a store, checking, repairing, copying and exporting it, without a server.
//!
//! Every tool works on a [`Site`]: the objects and the log of a store, found without opening the store. A site is only
//! read, unless a tool says otherwise, so that a running server is not in the way: what it does meanwhile shows, or is
//! read again. Results are values: they print as text, and serialize.
//!
//! | tool | what it does | needs the place for itself |
//! |---|---|---|
//! | [`inspect()`] | segments, sections, columns, streams and their sizes | no |
//! | [`verify()`] | compares everything with everything else | no |
//! | [`repair()`] | makes a manifest of the segments that are there | yes |
//! | [`backup()`], [`restore()`] | a consistent copy, and back | only the copy |
//! | [`export()`] | entries by LogQL and time, as lines of JSON or bodies of pushes | no |
//!
//! Tools decode and compare on the task that calls them: give them a runtime of their own, or a blocking thread.
//! [`Store::count_delete`](crate::Store::count_delete) says how many entries a request to delete would hide.

mod backup;
mod export;
mod inspect;
mod progress;
mod reading;
mod repair;
mod site;
mod table;
#[cfg(test)]
mod tests;
mod verify;

pub use backup::{BACKUP_MARKER, BackupError, BackupReport, LogCopy, backup, restore};
pub use export::{ExportError, ExportFormat, ExportReport, ExportRequest, MAX_EXPORT_BODY_BYTES, export};
pub use inspect::{
    ChunkReport, ColumnReport, InspectOptions, LevelReport, LogReport, RetentionReport, SectionReport, SegmentReport,
    StoreReport, StreamReport, TenantReport, inspect,
};
pub use progress::{Progress, Quiet, Stage};
pub use repair::{RepairError, RepairOptions, RepairReport, repair};
pub use site::Site;
pub use verify::{Finding, MAX_FINDINGS, VerifyOptions, VerifyReport, verify};
