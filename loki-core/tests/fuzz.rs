//! The inputs that are kept for the fuzz targets of this crate.

#[allow(dead_code, reason = "some of it is for the targets of other crates")]
#[path = "../../fuzz/src/input.rs"]
pub mod input;
#[path = "../../fuzz/src/replay.rs"]
pub mod replay;

#[path = "../../fuzz/src/chunk.rs"]
pub mod chunk;
#[path = "../../fuzz/src/filter.rs"]
pub mod filter;
#[path = "../../fuzz/src/index.rs"]
pub mod index;
#[path = "../../fuzz/src/labels.rs"]
pub mod labels;
#[path = "../../fuzz/src/re2.rs"]
pub mod re2;
#[path = "../../fuzz/src/rollup.rs"]
pub mod rollup;

use replay::replay;

#[test]
fn chunks() {
    replay("chunk", chunk::run);
}

#[test]
fn filters() {
    replay("filter", filter::run);
}

#[test]
fn indexes() {
    replay("index", index::run);
}

#[test]
fn label_sets() {
    replay("labels", labels::run);
}

#[test]
fn regexes() {
    replay("re2", re2::run);
}

#[test]
fn rollups() {
    replay("rollup", rollup::run);
}
