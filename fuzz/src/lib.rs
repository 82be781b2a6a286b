//! What the fuzz targets do with the bytes they are given.
//!
//! Each module is one target: its `run` takes any bytes and returns, unless something is wrong. The programs around
//! them are in `fuzz_targets`. The crates' own tests run them too, over the inputs in `regressions`, so a module uses
//! nothing but `input` and the crate that it is about.

mod input;

pub mod chunk;
pub mod filter;
pub mod index;
pub mod labels;
pub mod logql_evaluate;
pub mod logql_parse;
pub mod push;
pub mod re2;
pub mod rollup;
pub mod wal;
