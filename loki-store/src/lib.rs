//! An embeddable log store with Loki's data model and query language.
//!
//! A [`Store`] keeps log entries by tenant and stream, in a local folder, in memory or in an object store, and answers
//! LogQL through [`loki_logql`]. There is no server in it and no global state; it works on the tokio runtime it is
//! used from and has no threads of its own.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! use loki_core::{Entry, Labels, MatchOp, Matcher, TimeRange, Timestamp};
//! use loki_store::{PushBody, PushStream, Store, StoreConfig, TenantId};
//!
//! let store = Store::open(StoreConfig::memory()).await?; // or StoreConfig::folder("./logs")
//! let tenant = TenantId::anonymous();
//! let entry = Entry { timestamp: Timestamp::from_seconds(1_700_000_000), line: "hello".into(), metadata: Labels::EMPTY };
//! let stream = PushStream { labels: Labels::parse(r#"{app="demo"}"#)?, entries: vec![entry] };
//! store.push(&tenant, PushBody::Streams(vec![stream])).await?;
//!
//! let matcher = Matcher::new("app", MatchOp::Equal, "demo")?;
//! let series = store.series(&tenant, &[vec![matcher]], TimeRange::ALL).await?;
//! assert_eq!(series[0].get("app"), Some("demo"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Guarantees
//!
//! * **Durability.** When [`Store::push`] returns, the entries are on disk (in the log, synced), unless the store is
//!   in memory or was opened without a log.
//! * **Read your writes.** A query that begins after a push returned sees its entries.
//! * **Exactly once.** Of entries that agree in stream, time, line and structured metadata one is kept, wherever and
//!   whenever they meet, so pushing again after an error is safe.
//! * **Any order.** Entries of any age are accepted, up to the tenant's [`Limits`].
//! * **Damage stays local.** What cannot be read is set aside or left out, logged and counted; the rest is served.
//!
//! # Map
//!
//! A push goes through `push` (decode, check, complete) into `wal` (log) and `head` (memory); `flush` turns a head
//! into a `segment`; `compaction` merges segments and `retention` lets old ones go; `manifest` lists those that are live;
//! `querier` reads all of it, and `patterns` finds what lines look like. Only `store` knows how they fit together.
//! [`tools`] look after a store without opening it.
#![doc = include_str!("format.md")]

mod blocks;
pub mod bucket;
mod cache;
mod catalog;
mod clock;
mod compaction;
mod config;
mod counters;
mod deletes;
mod error;
mod flush;
mod head;
pub mod limits;
mod lock;
mod manifest;
mod objects;
pub mod patterns;
pub mod push;
mod querier;
mod retention;
mod segment;
mod store;
mod tail;
mod tenant;
pub mod tools;
mod view;
pub mod wal;

pub use catalog::{IndexStats, StreamVolume};
pub use clock::{Clock, ManualClock, SystemClock};
pub use compaction::{MAX_MERGE_BYTES, MAX_MERGE_INPUTS, MERGED_SEGMENT_BYTES};
pub use config::{
    DEFAULT_CACHE_BYTES, DEFAULT_CHUNK_BYTES, DEFAULT_CODEC, DEFAULT_DELETE_CANCEL_PERIOD, DEFAULT_DELETE_DELAY,
    DEFAULT_FLUSH_AGE, DEFAULT_FLUSH_BYTES, DEFAULT_HEAD_MAX_BYTES, DEFAULT_MERGE_CODEC, DEFAULT_MERGE_MEMORY_BYTES,
    DiskCache, LimitsSource, Location, MAX_CHUNK_BYTES, StoreConfig,
};
pub use counters::{
    Counter, Counters, DiskCacheCounters, DiskCacheStatus, FlushReason, FlushedChunks, Histogram, ObjectEnd,
    ObjectOperation, ObjectRequests, StreamCounts,
};
pub use deletes::{
    AcceptedDelete, DeleteCount, DeleteError, DeleteId, DeleteRequest, DeleteStatus, MAX_WAITING_DELETES,
};
pub use error::{Error, ErrorKind};
pub use limits::{BlockedQuery, DeletionMode, Limits, RetentionStream};
pub use push::{PushBody, PushError, PushOutcome, PushStatus, PushStream, Reason, Rejection};
pub use store::{
    FOLD_SEGMENTS, LevelStatus, MAX_LISTED_REMOVALS, MAX_WAIT_FOR_ROOM, Maintained, PROCESSED_DELETES_KEPT, Removal,
    RemovalReason, StorageStatus, Store,
};
pub use tail::{LiveEntries, MAX_TAIL_DROPPED, MAX_TAIL_QUEUE_BYTES, Tail, TailBatch};
pub use tenant::{ANONYMOUS_TENANT, MAX_TENANT_ID_BYTES, TenantError, TenantId};

/// Keeps the README's program compiling and running.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
