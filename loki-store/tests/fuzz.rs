//! The inputs that are kept for the fuzz targets of this crate.

#[allow(dead_code, reason = "some of it is for the targets of other crates")]
#[path = "../../fuzz/src/input.rs"]
pub mod input;
#[path = "../../fuzz/src/replay.rs"]
pub mod replay;

#[path = "../../fuzz/src/push.rs"]
pub mod push;
#[path = "../../fuzz/src/wal.rs"]
pub mod wal;

use replay::replay;

#[test]
fn pushes() {
    replay("push", push::run);
}

#[test]
fn logs() {
    replay("wal", wal::run);
}
