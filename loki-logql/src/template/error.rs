//! Errors of parsing and of executing templates, in Go's words.

use std::fmt;
use std::sync::Arc;

use loki_core::RegexError;
use loki_core::labels::UnquoteError;

use super::strconv::NumberError;
use crate::pipeline::units::UnitError;

/// Why a template was refused. `Display` is Go's text, such as `template: line:1: unclosed action`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {kind}")]
pub struct TemplateError {
    pub(super) name: Box<str>,
    pub(super) line: usize,
    pub(super) kind: TemplateErrorKind,
}

impl TemplateError {
    /// The line of the template, counted from 1, that the parser was reading.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong.
    pub fn kind(&self) -> &TemplateErrorKind {
        &self.kind
    }
}

/// The kinds of errors in the text of a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateErrorKind {
    /// The text cannot be cut into tokens.
    #[error("{error}{}", ActionStart(.error, .action_start.as_ref()))]
    Lexical {
        /// What is wrong.
        error: LexicalError,
        /// Name and line of the action, if it started on an earlier line.
        action_start: Option<(Box<str>, usize)>,
    },
    /// A token that cannot stand here.
    #[error("unexpected {token} in {context}")]
    Unexpected {
        /// The token as the error text shows it.
        token: Box<str>,
        /// The construct being read.
        context: &'static str,
    },
    /// The text ends inside a construct.
    #[error("unexpected EOF")]
    UnexpectedEnd,
    /// `{{end}}` or `{{else}}` without a beginning.
    #[error("unexpected {0}")]
    UnexpectedControl(&'static str),
    /// `{{else}}` in a definition.
    #[error("unexpected {control} in {context}")]
    ControlIn {
        /// The action.
        control: &'static str,
        /// The construct it ends.
        context: &'static str,
    },
    /// A second `{{else}}`.
    #[error("expected end; found {{{{else}}}}")]
    SecondElse,
    /// `{{break}}` or `{{continue}}` outside a loop.
    #[error("{{{{{0}}}}} outside {{{{range}}}}")]
    OutsideRange(&'static str),
    /// An empty pipeline.
    #[error("missing value for {0}")]
    MissingValue(&'static str),
    /// Nothing where a command belongs.
    #[error("empty command")]
    EmptyCommand,
    /// A literal behind a pipe.
    #[error("non executable command in pipeline stage {0}")]
    NotExecutable(usize),
    /// `$a, $b := …` outside `range`, or three variables inside.
    #[error("too many declarations in {0}")]
    TooManyDeclarations(&'static str),
    /// Something else than a variable in front of `:=` in `range`.
    #[error("range can only initialize variables")]
    RangeVariable,
    /// A function that does not exist.
    #[error("function {} not defined", Quoted(.0))]
    UnknownFunction(Box<str>),
    /// A variable that was not declared.
    #[error("undefined variable {}", Quoted(.0))]
    UndefinedVariable(Box<str>),
    /// A field of a literal.
    #[error("unexpected . after term {}", Quoted(.0))]
    FieldOfLiteral(Box<str>),
    /// A number that is not one.
    #[error("illegal number syntax: {}", Quoted(.0))]
    Number(Box<str>),
    /// A complex number with a part that is not a number.
    #[error("syntax error scanning complex number")]
    ComplexNumber,
    /// A whole number beyond 64 bits.
    #[error("integer overflow: {}", Quoted(.0))]
    IntegerOverflow(Box<str>),
    /// A character constant that is not one character.
    #[error("malformed character constant: {0}")]
    Character(Box<str>),
    /// A bad escape sequence in a literal.
    #[error(transparent)]
    Literal(#[from] UnquoteError),
    /// Two definitions of one name.
    #[error("template: multiple definition of template {}", Quoted(.0))]
    DuplicateDefinition(Box<str>),
    /// Actions or parentheses nested too deeply; a limit of this implementation.
    #[error("nested too deeply (limit {})", super::MAX_NESTING)]
    TooDeep,
}

/// Errors in cutting a template into tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LexicalError {
    /// `{{` without `}}`.
    #[error("unclosed action")]
    UnclosedAction,
    /// `{{/*` without `*/`.
    #[error("unclosed comment")]
    UnclosedComment,
    /// A comment must fill its action.
    #[error("comment ends before closing delimiter")]
    CommentEnd,
    /// `(` without `)`.
    #[error("unclosed left paren")]
    UnclosedParenthesis,
    /// `)` without `(`.
    #[error("unexpected right paren")]
    UnexpectedParenthesis,
    /// `:` without `=`.
    #[error("expected :=")]
    ExpectedDeclare,
    /// `"` without its partner.
    #[error("unterminated quoted string")]
    UnterminatedString,
    /// A backtick without its partner.
    #[error("unterminated raw quoted string")]
    UnterminatedRawString,
    /// `'` without its partner.
    #[error("unterminated character constant")]
    UnterminatedCharacter,
    /// A number with something glued to it.
    #[error("bad number syntax: {}", Quoted(.0))]
    Number(Box<str>),
    /// A name with something glued to it.
    #[error("bad character {}", CodePoint(*.0))]
    BadCharacter(char),
    /// A character that cannot stand in an action.
    #[error("unrecognized character in action: {}", CodePoint(*.0))]
    UnrecognizedCharacter(char),
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        loki_core::labels::write_quoted(f, self.0)
    }
}

struct QuotedBytes<'a>(&'a [u8]);

impl fmt::Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut quoted = Vec::new();
        super::strconv::append_quoted(&mut quoted, self.0, '"', false);
        f.write_str(&String::from_utf8_lossy(&quoted))
    }
}

/// Why a text is no duration or size.
struct Described<'a>(&'a [u8], UnitError);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut description = String::new();
        self.1.describe(&String::from_utf8_lossy(self.0), &mut description);
        f.write_str(&description)
    }
}

/// A character as Go's `%#U` shows it.
struct CodePoint(char);

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        if super::strconv::is_printable(self.0) { write!(f, " '{}'", self.0) } else { Ok(()) }
    }
}

/// Where the action began whose error is shown.
struct ActionStart<'a>(&'a LexicalError, Option<&'a (Box<str>, usize)>);

impl fmt::Display for ActionStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(LexicalError::UnclosedAction, Some((name, line))) => write!(f, " started at {name}:{line}"),
            Self(_, Some((name, line))) => write!(f, " in action started at {name}:{line}"),
            Self(_, None) => Ok(()),
        }
    }
}

/// Why executing a template failed. `Display` is what Loki shows as `__error_details__`, such as
/// `template: line:1:2: executing "line" at <slice .a 9>: error calling slice: index out of range: 9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecError(Box<ExecErrorParts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct ExecErrorParts {
    place: Place,
    failure: Failure,
}

/// Where an execution failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: Arc<str>,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) executing: Box<str>,
    pub(super) expression: Box<str>,
}

impl ExecError {
    pub(super) fn new(place: Place, failure: Failure) -> Self {
        Self(Box::new(ExecErrorParts { place, failure }))
    }

    /// The line of the template, counted from 1.
    pub fn line(&self) -> usize {
        self.0.place.line
    }

    /// The byte in that line, counted from 0.
    pub fn column(&self) -> usize {
        self.0.place.column
    }

    /// Whether one of this implementation's limits was exceeded, such as [`MAX_OUTPUT_BYTES`](super::MAX_OUTPUT_BYTES).
    pub fn is_limit(&self) -> bool {
        match &self.0.failure {
            Failure::Limit(_) | Failure::TemplateDepth => true,
            Failure::Calling { error, .. } => matches!(**error, CallError::Limit(_)),
            _ => false,
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExecErrorParts { place, failure } = &*self.0;
        let Place { name, line, column, executing, expression } = place;
        let executing = Quoted(executing);
        write!(f, "template: {name}:{line}:{column}: executing {executing} at <{expression}>: {failure}")
    }
}

impl std::error::Error for ExecError {}

/// A limit of this implementation that an execution exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Limit {
    #[error("exceeded maximum output size ({} bytes)", super::MAX_OUTPUT_BYTES)]
    Output,
    #[error("exceeded maximum memory of an execution ({} bytes)", super::MAX_MEMORY_BYTES)]
    Memory,
    #[error("exceeded maximum work of an execution ({} steps)", super::MAX_STEPS)]
    Steps,
}

/// What went wrong while executing; the place is added by the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Limit(#[from] Limit),
    #[error("exceeded maximum template depth ({})", super::MAX_DEPTH)]
    TemplateDepth,
    #[error("wrong number of args for {name}: want {}{want} got {got}", if *.at_least { "at least " } else { "" })]
    ArgumentCount { name: &'static str, at_least: bool, want: usize, got: usize },
    #[error("error calling {name}: {error}")]
    Calling { name: &'static str, error: Box<CallError> },
    #[error("can't give argument to non-function {0}")]
    NotAFunction(Box<str>),
    #[error("nil is not a command")]
    NilCommand,
    #[error("expected {kind}; found {found}")]
    Expected { kind: &'static str, found: Box<str> },
    #[error("cannot assign nil to {0}")]
    AssignNil(&'static str),
    #[error("invalid value; expected {0}")]
    InvalidValue(&'static str),
    #[error("wrong type for value; expected {expected}; got {got}")]
    WrongType { expected: &'static str, got: &'static str },
    #[error("can't handle {found} for arg of type {expected}")]
    CannotHandle { found: Box<str>, expected: &'static str },
    #[error("{0} overflows int")]
    Overflows(Box<str>),
    #[error("undefined variable: {0}")]
    UndefinedVariable(Box<str>),
    #[error("template {} not defined", Quoted(.0))]
    UndefinedTemplate(Box<str>),
    #[error("can't evaluate field {field} in type {type_name}")]
    NoField { field: Box<str>, type_name: &'static str },
    #[error("nil pointer evaluating interface {{}}.{0}")]
    NilField(Box<str>),
    #[error("{0} is not a method but has arguments")]
    NotAMethod(Box<str>),
    #[error("{field} is an unexported field of struct type {type_name}")]
    UnexportedField { field: Box<str>, type_name: &'static str },
    #[error("function {name} has {count} return values; should be 1 or 2")]
    ResultCount { name: &'static str, count: usize },
    #[error("invalid function signature for {name}: second return value should be error; is {second}")]
    SecondResult { name: &'static str, second: &'static str },
    #[error("range can't iterate over {0}")]
    NotIterable(Box<str>),
    #[error("can't use {0} to iterate over more than one variable")]
    RangeVariables(i64),
}

/// What went wrong inside a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Limit(#[from] Limit),
    #[error("invalid type for comparison")]
    NotOrdered,
    #[error("incompatible types for comparison: {0} and {1}")]
    Incompatible(&'static str, &'static str),
    #[error("missing argument for comparison")]
    MissingComparand,
    #[error("non-comparable type {value}: {type_name}")]
    NotComparable { value: Box<str>, type_name: &'static str },
    #[error("non-comparable types {}: {}, {}: {}", .0.value, .0.type_name, .0.other_type, .0.other)]
    NotComparableTypes(Box<DifferentTypes>),
    #[error("len of type {0}")]
    LenOf(&'static str),
    #[error("reflect: call of reflect.Value.Type on zero Value")]
    LenOfNothing,
    #[error("{0} of nil pointer")]
    OfNilPointer(&'static str),
    #[error("{0} of untyped nil")]
    OfNil(&'static str),
    #[error("can't {verb} item of type {type_name}")]
    NotACollection { verb: &'static str, type_name: &'static str },
    #[error("index out of range: {0}")]
    IndexRange(i64),
    #[error("reflect: {0} index out of range")]
    ReflectIndexRange(&'static str),
    #[error("cannot index slice/array with type {0}")]
    IndexType(&'static str),
    #[error("cannot index slice/array with nil")]
    IndexNil,
    #[error("value has type {0}; should be string")]
    KeyType(&'static str),
    #[error("value is nil; should be of type string")]
    KeyNil,
    #[error("invalid slice index: {0} > {1}")]
    SliceOrder(i64, i64),
    #[error("too many slice indexes: {0}")]
    SliceIndexes(usize),
    #[error("cannot 3-index slice a string")]
    ThreeIndexString,
    #[error("non-function {callee} of type {type_name}")]
    CallOf { callee: Box<str>, type_name: &'static str },
    #[error("call of nil")]
    CallOfNil,
    #[error("runtime error: integer divide by zero")]
    DivideByZero,
    #[error("runtime error: slice bounds out of range [{0}:{1}]")]
    SliceBounds(i64, i64),
    #[error("runtime error: slice bounds out of range [:{0}]")]
    SliceEndNegative(i64),
    #[error("runtime error: slice bounds out of range [:{0}] with length {1}")]
    SliceEnd(i64, usize),
    #[error("decimal division by 0")]
    DecimalDivideByZero,
    #[error("Cannot create a Decimal from {0}")]
    Decimal(&'static str),
    #[error("strings: negative Repeat count")]
    NegativeRepeat,
    #[error("invalid URL escape {}", Quoted(.0))]
    UrlEscape(Box<str>),
    #[error(transparent)]
    Regex(#[from] Box<RegexError>),
    #[error("error parsing regexp: invalid UTF-8: `{0}`")]
    RegexEncoding(Box<str>),
    #[error("{}", Described(.text, *.error))]
    Unit { text: Box<[u8]>, error: UnitError },
    #[error("unable to parse time '{0}': %!w(<nil>)")]
    UnixTimeLength(Box<str>),
    #[error(
        "unable to parse time '{}': strconv.ParseInt: parsing {}: {error}",
        String::from_utf8_lossy(.text),
        QuotedBytes(.text)
    )]
    UnixTime { text: Box<[u8]>, error: NumberError },
    #[error("time: missing Location in call to Time.In")]
    MissingLocation,
}

/// Two values that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DifferentTypes {
    pub(super) value: Box<str>,
    pub(super) type_name: &'static str,
    pub(super) other: Box<str>,
    pub(super) other_type: &'static str,
}

// Every evaluation returns a result with one of these.
const _: () = assert!(size_of::<Failure>() <= 40 && size_of::<CallError>() <= 40);
