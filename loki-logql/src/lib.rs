//! LogQL: parser, printer, pipeline and evaluation engine over any store of
//! log entries.

pub mod ast;
pub mod duration;
pub mod error;
pub mod lexer;
pub mod parser;
pub mod querier;
pub mod size;
pub mod template;

pub use error::{ParseError, ParseErrorKind, Span};
pub use parser::{parse, parse_log, parse_query, parse_selector};
