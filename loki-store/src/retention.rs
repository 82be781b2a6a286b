//! Retention: which entries are too old to be kept.
//!
//! [`Cuts`] say since when entries of a tenant's streams count; queries and merges leave out what is older. [`plan`]
//! chooses segments that can go as a whole or must be written again, [`space`] those that must make room. Both are pure
//! functions; the store carries them out (`store/expire.rs`).

pub(crate) mod cuts;
pub(crate) mod plan;
pub(crate) mod space;

pub(crate) use cuts::Cuts;
pub(crate) use plan::{Aged, Expiry, expire};
pub(crate) use space::{Placed, SpaceLimits, Usage, make_room};
