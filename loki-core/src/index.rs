//! The label and stream index of a segment: which streams it has, and which of them a selector selects.
//!
//! One index belongs to one tenant. Its streams are numbered by *ordinals*, from zero in the order of their labels, so
//! that streams that agree in their first labels are neighbours and sets of them are short.
//!
//! ```
//! use loki_core::index::{Index, IndexBuilder};
//! use loki_core::{Labels, MatchOp, Matcher};
//!
//! let mut builder = IndexBuilder::new();
//! builder.push(&Labels::parse(r#"{app="api", pod="api-1"}"#)?)?;
//! builder.push(&Labels::parse(r#"{app="web"}"#)?)?;
//! let index = Index::open(builder.finish()?.into())?;
//!
//! let selected = index.select(&[Matcher::new("pod", MatchOp::NotEqual, "api-1")?])?;
//! assert_eq!(index.label_values("app", Some(&selected))?, ["web"]);
//! assert_eq!(index.labels(0)?.get("pod"), Some("api-1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![doc = include_str!("format/index.md")]

mod directory;
mod list;
mod postings;
mod reader;
mod select;
mod writer;

pub use directory::{LABELS_BYTES_LIMIT, LabelsOf};
pub use reader::Index;
pub use writer::IndexBuilder;

const MAGIC: u32 = u32::from_le_bytes(*b"LKIX");
const VERSION: u8 = 1;

/// Between the name and the value of a symbol; it is in no UTF-8 and sorts after all that is.
const SYMBOL_SEPARATOR: u8 = 0xff;

#[cfg(test)]
mod tests;
