//! The inputs that are kept for the fuzz targets of this crate.

#[allow(dead_code, reason = "some of it is for the targets of other crates")]
#[path = "../../fuzz/src/input.rs"]
pub mod input;
#[path = "../../fuzz/src/replay.rs"]
pub mod replay;

#[path = "../../fuzz/src/logql_evaluate.rs"]
pub mod logql_evaluate;
#[path = "../../fuzz/src/logql_parse.rs"]
pub mod logql_parse;

use replay::replay;

#[test]
fn parsing() {
    replay("logql_parse", logql_parse::run);
}

#[test]
fn evaluation() {
    replay("logql_evaluate", logql_evaluate::run);
}
