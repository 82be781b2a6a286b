//! LogQL: parser, printer, pipeline and evaluation engine over any store of
//! log entries.

pub mod ast;
pub mod querier;
pub mod template;
