//! `eq`, `lt` and the other comparisons, and `not`.

use std::cmp::Ordering;

use super::super::error::{CallError, DifferentTypes};
use super::super::printf::{default_text, string_text};
use super::super::time::Zone;
use super::super::value::Value;
use super::{Called, Context, Function, Param, any};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::variadic("eq", &[Param::Reflect], Param::Reflect, eq),
    Function::new("ne", BOTH, |_, args| Ok(Value::Bool(!equal(any(args, 0), any(args, 1))?))),
    Function::new("lt", BOTH, |_, args| ordered(args, Ordering::is_lt)),
    Function::new("le", BOTH, |_, args| ordered(args, Ordering::is_le)),
    Function::new("gt", BOTH, |_, args| not_ordered(args, Ordering::is_le)),
    Function::new("ge", BOTH, |_, args| not_ordered(args, Ordering::is_lt)),
    Function::new("not", &[Param::Reflect], |_, args| Ok(Value::Bool(!args[0].is_true()))),
];

const BOTH: &[Param] = &[Param::Reflect, Param::Reflect];

fn eq<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    if args.len() < 2 {
        return Err(CallError::MissingComparand);
    }
    for index in 1..args.len() {
        if equal(any(args, 0), any(args, index))? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(a: Value<'_>, b: Value<'_>) -> Result<bool, CallError> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a, _), Value::Int(b, _)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Complex(..), Value::Complex(..)) | (Value::String(_), Value::String(_)) => same_text(a, b),
        (Value::Absent, b) => b.is_absent(),
        (_, Value::Absent) => false,
        (a, b) if is_basic(a) || is_basic(b) => {
            return Err(CallError::Incompatible(a.type_name(), b.type_name()));
        }
        (Value::Time(a), Value::Time(b)) => (a.seconds, a.nanos) == (b.seconds, b.nanos) && same_zone(a.zone, b.zone),
        (Value::Location(a), Value::Location(b)) => same_zone(a, b),
        (a, b) if kind(a) == kind(b) => {
            return Err(CallError::NotComparable { value: string_text(b).into(), type_name: b.type_name() });
        }
        (a, b) => {
            return Err(CallError::NotComparableTypes(Box::new(DifferentTypes {
                value: string_text(a).into(),
                type_name: a.type_name(),
                other: default_text(b).into(),
                other_type: b.type_name(),
            })));
        }
    })
}

/// What Go calls the kind of a type, for types that are not basic.
fn kind(value: Value<'_>) -> &'static str {
    match value {
        Value::Labels(_) | Value::Object(_) => "map",
        Value::List(_) | Value::Bytes(_) => "slice",
        other => other.type_name(),
    }
}

/// Zones are pointers in Go; those of fixed offsets are never the same.
fn same_zone(a: Zone<'_>, b: Zone<'_>) -> bool {
    match (a, b) {
        (Zone::Utc, Zone::Utc) => true,
        (Zone::Named(a), Zone::Named(b)) => std::ptr::eq(a, b),
        _ => false,
    }
}

fn same_text(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        _ => false,
    }
}

/// Whether comparisons know how to compare values of this kind.
fn is_basic(value: Value<'_>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(..) | Value::Float(_) | Value::Complex(..) | Value::String(_))
}

/// Whether the order of the arguments is as wanted. Of NaN nothing is true.
fn ordered<'e>(args: &[Value<'e>], wanted: fn(Ordering) -> bool) -> Called<'e> {
    Ok(Value::Bool(order(any(args, 0), any(args, 1))?.is_some_and(wanted)))
}

/// As Go does it, `gt` is "not `le`" and `ge` is "not `lt`", so of NaN both are true.
fn not_ordered<'e>(args: &[Value<'e>], unwanted: fn(Ordering) -> bool) -> Called<'e> {
    Ok(Value::Bool(!order(any(args, 0), any(args, 1))?.is_some_and(unwanted)))
}

fn order(a: Value<'_>, b: Value<'_>) -> Result<Option<Ordering>, CallError> {
    match (a, b) {
        (Value::Int(a, _), Value::Int(b, _)) => Ok(Some(a.cmp(&b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(&b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (a, b) if !is_basic(a) || !is_basic(b) => Err(CallError::NotOrdered),
        (Value::Bool(_), Value::Bool(_)) | (Value::Complex(..), Value::Complex(..)) => Err(CallError::NotOrdered),
        (a, b) => Err(CallError::Incompatible(a.type_name(), b.type_name())),
    }
}
