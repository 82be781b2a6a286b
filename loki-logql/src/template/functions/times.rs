//! Times: the entry's, the clock's, parsing and formatting, and the methods of Go's time types.

mod methods;

use super::super::error::CallError;
use super::super::strconv::{append_int, parse_int};
use super::super::time::{self, Time, Zone};
use super::super::value::{IntType, Value};
use super::{Called, Context, Function, Param, int, string};
use crate::pipeline::units::{UnitError, parse_bytes, parse_duration};

pub(in super::super) use methods::find_method;

const SECONDS_PER_DAY: i64 = 86_400;

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("__line__", &[], |cx, _| Ok(Value::String(cx.fields.line()))),
    Function::new("__timestamp__", &[], |cx, _| {
        let moment = Time::from_timestamp(cx.fields.timestamp());
        Ok(moment_value(cx, moment))
    }),
    Function::new("now", &[], |cx, _| {
        let moment = Time::from_timestamp(cx.fields.now());
        Ok(moment_value(cx, moment))
    }),
    Function::new("date", &[Param::String, Param::Any], date),
    Function::new("toDate", &[Param::String, Param::String], |cx, args| {
        Ok(parsed(cx, string(args, 0), Zone::Utc, string(args, 1)))
    }),
    Function::new("toDateInZone", &[Param::String; 3], |cx, args| {
        let zone = cx.zones.find(string(args, 1)).unwrap_or(Zone::Utc);
        Ok(parsed(cx, string(args, 0), zone, string(args, 2)))
    }),
    Function::new("unixToTime", &[Param::String], unix_to_time),
    Function::new("unixEpoch", &[Param::Time], |cx, args| {
        let seconds = moment(args, 0).seconds;
        cx.string(|sink| append_int(sink.raw(), seconds, 1))
    }),
    Function::new("unixEpochMillis", &[Param::Time], |cx, args| epoch(cx, args, 1_000_000)),
    Function::new("unixEpochNanos", &[Param::Time], |cx, args| epoch(cx, args, 1)),
    Function::new("duration", &[Param::String], duration),
    Function::new("duration_seconds", &[Param::String], duration),
    Function::new("bytes", &[Param::String], |_, args| {
        let text = string(args, 0);
        let bytes = parse_bytes(text).map_err(|error| not_a_unit(text, error))?;
        Ok(Value::Float(bytes as f64))
    }),
];

/// The time at `index`.
fn moment<'e>(args: &[Value<'e>], index: usize) -> Time<'e> {
    match args.get(index) {
        Some(Value::Time(moment)) => **moment,
        _ => time::ZERO,
    }
}

fn moment_value<'e>(cx: &Context<'e>, moment: Time<'e>) -> Value<'e> {
    Value::Time(cx.bump.alloc(moment))
}

/// Formats a time or Unix seconds in UTC; anything else stands for the current time.
fn date<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let moment = match args[1].unboxed() {
        Value::Time(moment) => Time { zone: Zone::Utc, ..*moment },
        Value::Int(seconds, IntType::Int | IntType::Int64) => Time { seconds, nanos: 0, zone: Zone::Utc },
        _ => Time::from_timestamp(cx.fields.now()),
    };
    cx.string(|sink| time::format(sink, &moment, string(args, 0)))
}

fn parsed<'e>(cx: &Context<'e>, layout: &[u8], zone: Zone<'e>, text: &[u8]) -> Value<'e> {
    moment_value(cx, time::parse(layout, text, zone).unwrap_or(time::ZERO))
}

/// Reads a Unix time whose unit shows in its length.
fn unix_to_time<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let text = String::from_utf8_lossy(string(args, 0));
    let number = match parse_int(&text, 10) {
        Ok(number) => number,
        Err(error) => return Err(CallError::UnixTime { text: string(args, 0).into(), error }),
    };
    let moment = match text.len() {
        5 => Time { seconds: number * SECONDS_PER_DAY, nanos: 0, zone: Zone::Utc },
        10 => Time { seconds: number, nanos: 0, zone: Zone::Utc },
        13 => Time::from_nanos(0).plus_nanos(i128::from(number) * 1_000_000),
        16 => Time::from_nanos(0).plus_nanos(i128::from(number) * 1_000),
        19 => Time::from_nanos(number),
        _ => return Err(CallError::UnixTimeLength(text.into())),
    };
    Ok(moment_value(cx, moment))
}

/// Unix time in units of `unit_nanos`, as text.
fn epoch<'e>(cx: &mut Context<'e>, args: &[Value<'e>], unit_nanos: i128) -> Called<'e> {
    let count = moment(args, 0).total_nanos().div_euclid(unit_nanos) as i64;
    cx.string(|sink| append_int(sink.raw(), count, 1))
}

/// The seconds of a duration.
fn duration<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let text = string(args, 0);
    let nanos = parse_duration(text).map_err(|error| not_a_unit(text, error))?;
    Ok(Value::Float(in_unit(nanos, time::NANOS_PER_SECOND)))
}

fn not_a_unit(text: &[u8], error: UnitError) -> CallError {
    CallError::Unit { text: text.into(), error }
}

/// A duration in a larger unit, computed as Go does: the whole part and the rest separately.
fn in_unit(nanos: i64, unit_nanos: i64) -> f64 {
    (nanos / unit_nanos) as f64 + (nanos % unit_nanos) as f64 / unit_nanos as f64
}
