//! Arithmetic on fractions, which is decimal, and rounding.

use std::fmt::Write as _;

use rust_decimal::{Decimal, RoundingStrategy};

use super::super::context::Sink;
use super::super::error::CallError;
use super::super::value::Value;
use super::math::to_float;
use super::{Called, Context, Function, Param, int};

/// Digits behind the point that a quotient keeps.
const QUOTIENT_PLACES: u32 = 16;

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("float64", &[Param::Any], |_, args| Ok(Value::Float(to_float(args[0])))),
    Function::variadic("addf", &[], Param::Any, addf),
    Function::variadic("subf", &[Param::Any], Param::Any, |_, args| fold(args, Operation::Subtract)),
    Function::variadic("mulf", &[Param::Any], Param::Any, |_, args| fold(args, Operation::Multiply)),
    Function::variadic("divf", &[Param::Any], Param::Any, |_, args| fold(args, Operation::Divide)),
    Function::variadic("maxf", &[Param::Any], Param::Any, |_, args| Ok(select(args, |a, b| a > b))),
    Function::variadic("minf", &[Param::Any], Param::Any, |_, args| Ok(select(args, |a, b| a < b))),
    Function::new("ceil", &[Param::Any], |_, args| Ok(Value::Float(to_float(args[0]).ceil()))),
    Function::new("floor", &[Param::Any], |_, args| Ok(Value::Float(to_float(args[0]).floor()))),
    Function::variadic("round", &[Param::Any, Param::Int], Param::Float, |_, args| Ok(round(args))),
];

#[derive(Debug, Clone, Copy)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// A number in decimal form, or as a float where that is too narrow.
#[derive(Debug, Clone, Copy)]
enum Number {
    Exact(Decimal),
    Rough(f64),
}

fn addf<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    apply(Number::Exact(Decimal::ZERO), args, Operation::Add)
}

fn fold<'e>(args: &[Value<'e>], operation: Operation) -> Called<'e> {
    apply(Number::new(to_float(args[0]))?, &args[1..], operation)
}

fn apply<'e>(first: Number, others: &[Value<'e>], operation: Operation) -> Called<'e> {
    let mut result = first;
    for value in others {
        result = result.combined(Number::new(to_float(*value))?, operation)?;
    }
    Ok(Value::Float(result.to_float()))
}

impl Number {
    /// The decimal number with the digits that identify `float`.
    fn new(float: f64) -> Result<Self, CallError> {
        if float.is_nan() {
            return Err(CallError::Decimal("NaN"));
        }
        if float.is_infinite() {
            return Err(CallError::Decimal(if float > 0.0 { "+Inf" } else { "-Inf" }));
        }
        Ok(exact(float).map_or(Self::Rough(float), Self::Exact))
    }

    fn combined(self, other: Self, operation: Operation) -> Result<Self, CallError> {
        if matches!(operation, Operation::Divide) && other.is_zero() {
            return Err(CallError::DecimalDivideByZero);
        }
        if let (Self::Exact(a), Self::Exact(b)) = (self, other) {
            let result = match operation {
                Operation::Add => a.checked_add(b),
                Operation::Subtract => a.checked_sub(b),
                Operation::Multiply => a.checked_mul(b),
                Operation::Divide => a.checked_div(b).map(|quotient| {
                    quotient.round_dp_with_strategy(QUOTIENT_PLACES, RoundingStrategy::MidpointAwayFromZero)
                }),
            };
            if let Some(result) = result {
                return Ok(Self::Exact(result));
            }
        }
        let (a, b) = (self.to_float(), other.to_float());
        Ok(Self::Rough(match operation {
            Operation::Add => a + b,
            Operation::Subtract => a - b,
            Operation::Multiply => a * b,
            Operation::Divide => a / b,
        }))
    }

    fn is_zero(self) -> bool {
        match self {
            Self::Exact(decimal) => decimal.is_zero(),
            Self::Rough(float) => float == 0.0,
        }
    }

    fn to_float(self) -> f64 {
        const EXACT_POWERS: u32 = 22;
        const EXACT_INTEGERS: u128 = 1 << 53;
        let decimal = match self {
            Self::Rough(float) => return float,
            Self::Exact(decimal) => decimal,
        };
        // Both operands are exact floats, so the quotient is rounded once.
        if decimal.scale() <= EXACT_POWERS && decimal.mantissa().unsigned_abs() <= EXACT_INTEGERS {
            return decimal.mantissa() as f64 / 10_f64.powi(decimal.scale() as i32);
        }
        let mut text = Vec::new();
        let mut sink = Sink::new(&mut text);
        // Writing to a sink cannot fail.
        let _ = write!(sink, "{decimal}");
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }
}

/// `float` (finite) as a decimal, if that is wide enough.
fn exact(float: f64) -> Option<Decimal> {
    const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;
    if float.trunc() == float && float.abs() < EXACT_INTEGERS {
        return Some(Decimal::from(float as i64));
    }
    // The shortest digits of any float, such as -2.2250738585072014e-308, fit.
    let mut text = ShortText::default();
    write!(text, "{float:e}").ok()?;
    let (digits, exponent) = text.as_str().split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (mut mantissa, mut fraction_digits) = (0_i128, 0);
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + i128::from(byte - b'0'),
            b'.' => fraction_digits = digits.len() - digits.find('.')? - 1,
            _ => {}
        }
    }
    if float.is_sign_negative() {
        mantissa = -mantissa;
    }
    match fraction_digits as i32 - exponent {
        scale @ 0.. => Decimal::try_from_i128_with_scale(mantissa, scale as u32).ok(),
        shift => {
            let power = 10_i128.checked_pow(shift.unsigned_abs())?;
            Decimal::try_from_i128_with_scale(mantissa.checked_mul(power)?, 0).ok()
        }
    }
}

/// Text in a buffer that needs no allocation.
#[derive(Debug, Default)]
struct ShortText {
    bytes: [u8; 32],
    length: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// The largest or smallest argument; NaN if one is NaN.
fn select<'e>(args: &[Value<'e>], better: fn(f64, f64) -> bool) -> Value<'e> {
    let mut result = to_float(args[0]);
    for value in &args[1..] {
        let float = to_float(*value);
        if float.is_nan() || (!result.is_nan() && better(float, result)) {
            result = float;
        }
    }
    Value::Float(result)
}

/// Rounds up where the fraction reaches `roundOn`, else down; the fraction of a negative number is negative.
fn round<'e>(args: &[Value<'e>]) -> Value<'e> {
    let round_on = match args.get(2) {
        Some(Value::Float(round_on)) => *round_on,
        _ => 0.5,
    };
    let power = 10_f64.powf(int(args, 1) as f64);
    let scaled = power * to_float(args[0]);
    let rounded = if scaled - scaled.trunc() >= round_on { scaled.ceil() } else { scaled.floor() };
    Value::Float(rounded / power)
}
