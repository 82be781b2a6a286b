//! What a pipeline does with an entry, one step after the other.

use super::drop_keep::LabelList;
use super::format::{LabelFormats, LineFormat};
use super::implied::ImpliedLiterals;
use super::json::paths::PathExtraction;
use super::label_filter::LabelFilter;
use super::line_filter::LineFilters;
use super::logfmt::{KeyExtraction, LogfmtFlags};
use super::pattern::PatternParser;
use super::regexp::RegexpParser;
use super::sink::EarlyFilters;

/// One step.
#[derive(Debug)]
pub(crate) enum Step {
    LineFilters(LineFilters),
    /// What later label filters imply about the line.
    Implied(Vec<ImpliedLiterals>),
    /// A parser, with the filters that only it tries early.
    Parse(Parser, Option<EarlyFilters>),
    JsonPaths(Vec<PathExtraction>),
    LogfmtKeys {
        extractions: Vec<KeyExtraction>,
        strict: bool,
    },
    LabelFilter(LabelFilter),
    LineFormat(LineFormat),
    LabelFormat(LabelFormats),
    Decolorize,
    Drop(LabelList),
    Keep(LabelList),
}

/// The parsers that set whatever labels they find.
#[derive(Debug)]
pub(crate) enum Parser {
    Json,
    Logfmt(LogfmtFlags),
    /// With its number among the regex parsers, by which workers keep their scratch.
    Regexp(RegexpParser, usize),
    Pattern(PatternParser),
    Unpack,
}

impl Step {
    /// Whether the step reads the line.
    pub(crate) fn reads_line(&self) -> bool {
        match self {
            Self::LineFilters(_)
            | Self::Implied(_)
            | Self::Parse(..)
            | Self::JsonPaths(_)
            | Self::LogfmtKeys { .. }
            | Self::Decolorize => true,
            Self::LineFormat(format) => format.reads_line(),
            Self::LabelFormat(formats) => formats.reads_line(),
            Self::LabelFilter(_) | Self::Drop(_) | Self::Keep(_) => false,
        }
    }

    /// Whether the step sets labels to what it finds in the line.
    pub(crate) fn is_parser(&self) -> bool {
        matches!(self, Self::Parse(..) | Self::JsonPaths(_) | Self::LogfmtKeys { .. })
    }

    /// Whether the step reads or changes labels.
    pub(crate) fn uses_labels(&self) -> bool {
        !matches!(self, Self::LineFilters(_) | Self::Decolorize)
    }
}
