//! The kinds of tokens and what Loki calls them.

use std::borrow::Cow;

use crate::{
    ast::{RangeOp, VectorOp},
    error::Span,
};

/// A token with the text it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Token<'q> {
    /// What it is.
    pub kind: TokenKind,
    /// What was written.
    pub text: &'q str,
    /// Where.
    pub span: Span,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The end of the query.
    End,
    /// A name, or a character that means nothing to the language.
    Identifier,
    /// A string and its value, which need not be UTF-8.
    String(Vec<u8>),
    /// A number without sign; its text is the value.
    Number,
    /// A duration in nanoseconds.
    Duration(i64),
    /// A byte size.
    Bytes(u64),
    /// `[5m]`, in nanoseconds.
    Range(i64),
    /// A flag of `logfmt`.
    Flag(Flag),
    /// Punctuation or an operator.
    Symbol(Symbol),
    /// A reserved word.
    Keyword(Keyword),
    /// A function's name with its call behind it.
    Call(Call),
}

impl TokenKind {
    /// The name that Loki's syntax errors use.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::End => "$end".into(),
            Self::Identifier => "IDENTIFIER".into(),
            Self::String(_) => "STRING".into(),
            Self::Number => "NUMBER".into(),
            Self::Duration(_) => "DURATION".into(),
            Self::Bytes(_) => "BYTES".into(),
            Self::Range(_) => "RANGE".into(),
            Self::Flag(_) => "FUNCTION_FLAG".into(),
            Self::Symbol(symbol) => symbol.as_str().into(),
            Self::Keyword(keyword) => keyword.as_str().into(),
            Self::Call(call) => call.name(),
        }
    }

    /// Whether Loki reports an error at this token with its line; for tokens that its lexer puts together from several
    /// of Go's, it says line 0.
    pub fn has_line(&self) -> bool {
        match self {
            Self::Duration(_) | Self::Bytes(_) | Self::Range(_) | Self::Flag(_) => false,
            Self::Symbol(symbol) => symbol.as_str().len() == 1,
            _ => true,
        }
    }
}

/// A function's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `rate` and its relatives.
    Range(RangeOp),
    /// `sum` and its relatives.
    Vector(VectorOp),
    /// `vector`
    VectorLiteral,
    /// `label_replace`
    LabelReplace,
    /// `bytes`
    Bytes,
    /// `duration`
    Duration,
    /// `duration_seconds`
    DurationSeconds,
    /// `ip`
    Ip,
}

impl Call {
    fn name(self) -> Cow<'static, str> {
        match self {
            Self::Range(op) => op.as_str().to_ascii_uppercase().into(),
            Self::Vector(op) => op.as_str().to_ascii_uppercase().into(),
            Self::VectorLiteral => "VECTOR".into(),
            Self::LabelReplace => "label_replace".into(),
            Self::Bytes => "BYTES_CONV".into(),
            Self::Duration => "DURATION_CONV".into(),
            Self::DurationSeconds => "DURATION_SECONDS_CONV".into(),
            Self::Ip => "ip".into(),
        }
    }
}

/// Defines an enum of fixed texts.
macro_rules! texts {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// All of them, in the order of definition.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

texts! {
    /// A flag of `logfmt`.
    Flag {
        Strict = "--strict",
        KeepEmpty = "--keep-empty",
    }
}

impl Flag {
    /// The flag that `text` starts with, unless more letters follow.
    pub(super) fn scan(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|flag| {
            text.strip_prefix(flag.as_str())
                .is_some_and(|rest| !rest.starts_with(|c: char| c == '-' || super::letter::continues_word(c)))
        })
    }
}

texts! {
    /// Punctuation and operators. Longer texts come before their prefixes.
    Symbol {
        NotEqual = "!=",
        Matches = "=~",
        NotMatches = "!~",
        NotPattern = "!>",
        PipeContains = "|=",
        PipeMatches = "|~",
        PipePattern = "|>",
        EqualEqual = "==",
        GreaterEqual = ">=",
        LessEqual = "<=",
        Comma = ",",
        Dot = ".",
        OpenBrace = "{",
        CloseBrace = "}",
        OpenParenthesis = "(",
        CloseParenthesis = ")",
        CloseBracket = "]",
        Equal = "=",
        Pipe = "|",
        Plus = "+",
        Minus = "-",
        Star = "*",
        Slash = "/",
        Percent = "%",
        Caret = "^",
        Less = "<",
        Greater = ">",
    }
}

impl Symbol {
    /// The longest symbol that `text` starts with.
    pub(super) fn scan(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|symbol| text.starts_with(symbol.as_str()))
    }
}

texts! {
    /// Words that are never names.
    Keyword {
        By = "by",
        Without = "without",
        Bool = "bool",
        Offset = "offset",
        On = "on",
        Ignoring = "ignoring",
        GroupLeft = "group_left",
        GroupRight = "group_right",
        Or = "or",
        And = "and",
        Unless = "unless",
        Json = "json",
        Regexp = "regexp",
        Logfmt = "logfmt",
        Unpack = "unpack",
        Pattern = "pattern",
        LineFormat = "line_format",
        LabelFormat = "label_format",
        Decolorize = "decolorize",
        Drop = "drop",
        Keep = "keep",
        Unwrap = "unwrap",
        Variants = "variants",
        Of = "of",
    }
}
