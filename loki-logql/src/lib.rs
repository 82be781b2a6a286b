//! LogQL: parser, printer, pipeline and evaluation engine over any store of
//! log entries.

pub mod ast;
pub mod budget;
pub mod duration;
pub mod engine;
pub mod error;
pub mod lexer;
pub mod memory;
pub mod parser;
pub mod pipeline;
pub mod querier;
pub mod result;
pub mod size;
pub mod stats;
pub mod template;
pub mod workers;

pub use error::{ParseError, ParseErrorKind, Span};
pub use parser::{parse, parse_log, parse_query, parse_selector};
