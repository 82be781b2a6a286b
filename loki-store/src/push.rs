//! Taking in log entries: reading requests, checking them against limits, and completing what they leave out.
//!
//! [`Ingest::stage`] turns a [`PushBody`] into a [`Staged`] push without touching anything shared but the tenant's
//! caches and rates, so it runs outside of any lock of the store. Everything a client may do wrong is a [`PushError`]
//! in Loki's words. What is wrong with single entries does not keep the others from being stored: the error then
//! stands in [`PushOutcome::error`], beside the numbers of what was accepted.
//!
//! | module | subject |
//! |---|---|
//! | `ingest` | the steps from body to staged push |
//! | `protobuf`, `encode` | reading and writing Loki's protobuf |
//! | `streams` | labels of known streams, parsed and judged once |
//! | `metadata`, `level` | the stored form of structured metadata; levels |
//! | `rate` | token buckets, active streams |
//! | `report`, `error`, `text` | what the client is told |

use bytes::Bytes;
use loki_core::{Entry, Labels};

mod buffers;
mod encode;
mod error;
mod ingest;
mod level;
mod metadata;
mod protobuf;
mod rate;
mod report;
mod staged;
mod streams;
mod text;

pub use error::{PushError, PushStatus};
pub use ingest::{Ingest, MAX_BODY_BYTES, MAX_LABELS_BYTES};
pub use level::{DETECTED_LEVEL, Level};
pub use protobuf::{MISSING_TIMESTAMP, ProtobufError};
pub use report::{PushOutcome, Reason, Rejection};
pub use staged::{Staged, StagedEntryView, StagedStreamView};
pub use streams::{SERVICE_NAME, UNKNOWN_SERVICE};

/// Log entries as they arrive.
#[derive(Clone, Debug)]
pub enum PushBody {
    /// Loki's `PushRequest` in a snappy block, as Promtail and Alloy send it.
    Snappy(Bytes),
    /// The same without compression.
    Protobuf(Bytes),
    /// Entries that came in another format, or from this process.
    Streams(Vec<PushStream>),
}

/// Entries of one stream.
#[derive(Clone, Debug, Default)]
pub struct PushStream {
    /// What names the stream.
    pub labels: Labels,
    /// The entries, in any order.
    pub entries: Vec<Entry>,
}
