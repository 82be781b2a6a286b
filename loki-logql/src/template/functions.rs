//! The functions that templates can call.

mod collection;
mod compare;
mod encode;
mod math;
mod number;
mod pattern;
mod text;
mod times;

use super::context::Context;
use super::error::CallError;
use super::value::{IntType, Value};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    String,
    Int,
    Float,
    /// `interface {}`.
    Any,
    /// `reflect.Value`: any value, nil or none, still in its box.
    Reflect,
    Time,
    Duration,
    Location,
}

impl Param {
    /// The name of the type in Go.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Any => "interface {}",
            Self::Reflect => "reflect.Value",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Location => "*time.Location",
        }
    }

    /// Whether nil is one of the type's values.
    pub(super) fn takes_nil(self) -> bool {
        matches!(self, Self::Any | Self::Reflect | Self::Location)
    }

    /// Whether `value`, which is not boxed, is of this type.
    pub(super) fn accepts(self, value: Value<'_>) -> bool {
        match self {
            Self::Any | Self::Reflect => true,
            Self::String => matches!(value, Value::String(_)),
            Self::Int => matches!(value, Value::Int(_, IntType::Int)),
            Self::Float => matches!(value, Value::Float(_)),
            Self::Time => matches!(value, Value::Time(_)),
            Self::Duration => matches!(value, Value::Int(_, IntType::Duration)),
            Self::Location => matches!(value, Value::Location(_)),
        }
    }
}

/// The result of a function.
pub(super) type Called<'e> = Result<Value<'e>, CallError>;

/// What a function does; the arguments have the declared types and number.
type Body = for<'e> fn(&mut Context<'e>, &[Value<'e>]) -> Called<'e>;

/// How a function is called.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// All arguments are evaluated first.
    Plain(Body),
    /// As `Plain`, and the first argument is a constant pattern worth compiling early.
    Pattern(Body),
    /// Returns the first argument that is false, or the last.
    And,
    /// Returns the first argument that is true, or the last.
    Or,
    /// `call`, which has nothing it could call and only fails.
    Call,
}

/// A function or method.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    /// The type of further arguments, if any may follow.
    pub(super) rest: Option<Param>,
    pub(super) kind: Kind,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    const fn new(name: &'static str, params: &'static [Param], body: Body) -> Self {
        Self { name, params, rest: None, kind: Kind::Plain(body) }
    }

    const fn variadic(name: &'static str, params: &'static [Param], rest: Param, body: Body) -> Self {
        Self { name, params, rest: Some(rest), kind: Kind::Plain(body) }
    }

    const fn pattern(name: &'static str, params: &'static [Param], body: Body) -> Self {
        Self { name, params, rest: None, kind: Kind::Pattern(body) }
    }

    const fn special(name: &'static str, kind: Kind) -> Self {
        Self { name, params: &[Param::Reflect], rest: Some(Param::Reflect), kind }
    }
}

/// The function called `name`.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().flat_map(|table| table.iter()).find(|function| function.name == name)
}

static TABLES: [&[Function]; 9] = [
    &SPECIAL,
    collection::FUNCTIONS,
    compare::FUNCTIONS,
    encode::FUNCTIONS,
    math::FUNCTIONS,
    number::FUNCTIONS,
    pattern::FUNCTIONS,
    text::FUNCTIONS,
    times::FUNCTIONS,
];

static SPECIAL: [Function; 3] =
    [Function::special("and", Kind::And), Function::special("or", Kind::Or), Function::special("call", Kind::Call)];

pub(super) use times::find_method;

/// The string at `index`; arguments were checked, so anything else cannot be.
fn string<'e>(args: &[Value<'e>], index: usize) -> &'e [u8] {
    match args.get(index) {
        Some(Value::String(text)) => text,
        _ => b"",
    }
}

/// The integer at `index`.
fn int(args: &[Value<'_>], index: usize) -> i64 {
    match args.get(index) {
        Some(Value::Int(value, _)) => *value,
        _ => 0,
    }
}

/// The argument at `index`, without its box.
fn any<'e>(args: &[Value<'e>], index: usize) -> Value<'e> {
    args.get(index).map_or(Value::Absent, |value| value.unboxed())
}
