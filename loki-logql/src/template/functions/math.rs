//! Integer arithmetic, and the conversions that arithmetic applies to its arguments.

use super::super::error::CallError;
use super::super::strconv::parse_int;
use super::super::value::Value;
use super::{Called, Function, Param};
use crate::pipeline::units::parse_float;

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("int", &[Param::Any], |_, args| Ok(Value::int(to_int(args[0])))),
    Function::variadic("add", &[], Param::Any, |_, args| Ok(fold(0, args, i64::wrapping_add))),
    Function::variadic("mul", &[Param::Any], Param::Any, |_, args| Ok(fold(1, args, i64::wrapping_mul))),
    Function::new("sub", BOTH, |_, args| Ok(Value::int64(to_int(args[0]).wrapping_sub(to_int(args[1]))))),
    Function::new("div", BOTH, |_, args| divide(args, i64::wrapping_div)),
    Function::new("mod", BOTH, |_, args| divide(args, i64::wrapping_rem)),
    Function::variadic("max", &[Param::Any], Param::Any, |_, args| Ok(fold(i64::MIN, args, i64::max))),
    Function::variadic("min", &[Param::Any], Param::Any, |_, args| Ok(fold(i64::MAX, args, i64::min))),
];

const BOTH: &[Param] = &[Param::Any, Param::Any];

fn fold<'e>(start: i64, args: &[Value<'e>], operation: fn(i64, i64) -> i64) -> Value<'e> {
    Value::int64(args.iter().fold(start, |result, value| operation(result, to_int(*value))))
}

fn divide<'e>(args: &[Value<'e>], operation: fn(i64, i64) -> i64) -> Called<'e> {
    match to_int(args[1]) {
        0 => Err(CallError::DivideByZero),
        divisor => Ok(Value::int64(operation(to_int(args[0]), divisor))),
    }
}

/// `value` as an integer; 0 if it is none.
fn to_int(value: Value<'_>) -> i64 {
    match value.unboxed() {
        Value::Int(int, _) => int,
        Value::Bool(flag) => flag.into(),
        Value::Float(float) => float_to_int(float),
        Value::String(text) => {
            std::str::from_utf8(text).ok().and_then(|text| parse_int(without_fraction(text), 0).ok()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Go's conversion on common processors: what does not fit becomes the smallest integer.
fn float_to_int(float: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float) { float as i64 } else { i64::MIN }
}

/// `text` up to its point if it is a plain decimal number.
fn without_fraction(text: &str) -> &str {
    let is_digits = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction))
            if is_digits(whole.strip_prefix(['+', '-']).unwrap_or(whole)) && is_digits(fraction) =>
        {
            whole
        }
        _ => text,
    }
}

/// `value` as a float; 0 if it is none.
pub(super) fn to_float(value: Value<'_>) -> f64 {
    match value.unboxed() {
        Value::Float(float) => float,
        Value::Int(int, _) => int as f64,
        Value::Bool(flag) => f64::from(u8::from(flag)),
        Value::String(text) => parse_float(text).unwrap_or(0.0),
        _ => 0.0,
    }
}
