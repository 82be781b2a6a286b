//! The methods of Go's time types.

use std::cmp::Ordering;

use super::super::super::error::{CallError, Failure};
use super::super::super::time::{self, NANOS_PER_SECOND, Time, Zone, append_named_int, days_from_date};
use super::super::super::value::{IntType, Value};
use super::super::{Called, Context, Function, Param};
use super::{in_unit, int, moment, moment_value, string};

/// Nanoseconds from the beginning of the year 1, which rounding counts from, to 1970.
const NANOS_BEFORE_1970: i128 = 62_135_596_800 * NANOS_PER_SECOND as i128;

/// The method `name` of `value`.
pub(in super::super::super) fn find_method(value: Value<'_>, name: &str) -> Result<Option<&'static Function>, Failure> {
    let table = match value {
        Value::Time(_) => {
            refuse_unusable(name)?;
            TIME
        }
        Value::Int(_, IntType::Duration) => DURATION,
        Value::Int(_, IntType::Month | IntType::Weekday) => NAMED,
        Value::Location(_) => LOCATION,
        _ => return Ok(None),
    };
    Ok(table.iter().find(|method| method.name == name))
}

/// Fails for methods of a time whose results a template cannot use, and for its fields.
fn refuse_unusable(name: &str) -> Result<(), Failure> {
    Err(match name {
        "Clock" => Failure::ResultCount { name: "Clock", count: 3 },
        "Date" => Failure::ResultCount { name: "Date", count: 3 },
        "Zone" => Failure::SecondResult { name: "Zone", second: "int" },
        "ISOWeek" => Failure::SecondResult { name: "ISOWeek", second: "int" },
        "ZoneBounds" => Failure::SecondResult { name: "ZoneBounds", second: "time.Time" },
        "wall" | "ext" | "loc" => Failure::UnexportedField { field: name.into(), type_name: "time.Time" },
        _ => return Ok(()),
    })
}

const NONE: &[Param] = &[];

/// A method without arguments that gives an integer.
macro_rules! integer {
    ($name:literal, $read:expr) => {
        Function::new($name, NONE, |_, args| {
            let read: fn(&Time<'_>) -> i64 = $read;
            Ok(Value::int(read(&moment(args, 0))))
        })
    };
}

/// As [`integer`], of Go's type `int64`.
macro_rules! integer64 {
    ($name:literal, $read:expr) => {
        Function::new($name, NONE, |_, args| {
            let read: fn(&Time<'_>) -> i64 = $read;
            Ok(Value::int64(read(&moment(args, 0))))
        })
    };
}

static TIME: &[Function] = &[
    integer!("Year", |t| t.civil().year),
    integer!("Day", |t| t.civil().day),
    integer!("YearDay", |t| t.civil().year_day),
    integer!("Hour", |t| t.civil().hour),
    integer!("Minute", |t| t.civil().minute),
    integer!("Second", |t| t.civil().second),
    integer!("Nanosecond", |t| t.nanos.into()),
    integer64!("Unix", |t| t.seconds),
    integer64!("UnixMilli", |t| t.total_nanos().div_euclid(1_000_000) as i64),
    integer64!("UnixMicro", |t| t.total_nanos().div_euclid(1_000) as i64),
    integer64!("UnixNano", |t| t.total_nanos() as i64),
    Function::new("Month", NONE, |_, args| Ok(Value::Int(moment(args, 0).civil().month, IntType::Month))),
    Function::new("Weekday", NONE, |_, args| Ok(Value::Int(moment(args, 0).civil().weekday, IntType::Weekday))),
    Function::new("Location", NONE, |_, args| Ok(Value::Location(moment(args, 0).zone))),
    Function::new("UTC", NONE, |cx, args| Ok(in_zone(cx, args, Zone::Utc))),
    Function::new("Local", NONE, |cx, args| Ok(in_zone(cx, args, Zone::Utc))),
    Function::new("In", &[Param::Location], |cx, args| match args[1] {
        Value::Location(zone) => Ok(in_zone(cx, args, zone)),
        _ => Err(CallError::MissingLocation),
    }),
    Function::new("IsZero", NONE, |_, args| {
        let t = moment(args, 0);
        Ok(Value::Bool((t.seconds, t.nanos) == (time::ZERO.seconds, 0)))
    }),
    Function::new("IsDST", NONE, |_, args| Ok(Value::Bool(moment(args, 0).offset().is_daylight_saving))),
    Function::new("Before", &[Param::Time], |_, args| Ok(Value::Bool(compare(args).is_lt()))),
    Function::new("After", &[Param::Time], |_, args| Ok(Value::Bool(compare(args).is_gt()))),
    Function::new("Equal", &[Param::Time], |_, args| Ok(Value::Bool(compare(args).is_eq()))),
    Function::new("Compare", &[Param::Time], |_, args| Ok(Value::int(compare(args) as i64))),
    Function::new("Format", &[Param::String], |cx, args| {
        cx.string(|sink| time::format(sink, &moment(args, 0), string(args, 1)))
    }),
    Function::new("String", NONE, |cx, args| cx.string(|sink| moment(args, 0).write_default(sink))),
    Function::new("GoString", NONE, |cx, args| cx.string(|sink| moment(args, 0).write_go_syntax(sink))),
    Function::new("MarshalText", NONE, |cx, args| marshalled(cx, args, b"")),
    Function::new("MarshalJSON", NONE, |cx, args| marshalled(cx, args, b"\"")),
    Function::new("Add", &[Param::Duration], |cx, args| {
        Ok(moment_value(cx, moment(args, 0).plus_nanos(int(args, 1).into())))
    }),
    Function::new("Sub", &[Param::Time], |_, args| {
        let difference = moment(args, 0).total_nanos() - moment(args, 1).total_nanos();
        Ok(duration_value(difference))
    }),
    Function::new("AddDate", &[Param::Int; 3], |cx, args| Ok(add_date(cx, args))),
    Function::new("Truncate", &[Param::Duration], |cx, args| Ok(rounded(cx, args, false))),
    Function::new("Round", &[Param::Duration], |cx, args| Ok(rounded(cx, args, true))),
];

static DURATION: &[Function] = &[
    Function::new("Nanoseconds", NONE, |_, args| Ok(Value::int64(int(args, 0)))),
    Function::new("Microseconds", NONE, |_, args| Ok(Value::int64(int(args, 0) / 1_000))),
    Function::new("Milliseconds", NONE, |_, args| Ok(Value::int64(int(args, 0) / 1_000_000))),
    Function::new("Seconds", NONE, |_, args| Ok(Value::Float(in_unit(int(args, 0), NANOS_PER_SECOND)))),
    Function::new("Minutes", NONE, |_, args| Ok(Value::Float(in_unit(int(args, 0), 60 * NANOS_PER_SECOND)))),
    Function::new("Hours", NONE, |_, args| Ok(Value::Float(in_unit(int(args, 0), 3_600 * NANOS_PER_SECOND)))),
    Function::new("Abs", NONE, |_, args| Ok(Value::Int(int(args, 0).saturating_abs(), IntType::Duration))),
    Function::new("String", NONE, named),
    Function::new("Truncate", &[Param::Duration], |_, args| Ok(rounded_duration(args, false))),
    Function::new("Round", &[Param::Duration], |_, args| Ok(rounded_duration(args, true))),
];

static NAMED: &[Function] = &[Function::new("String", NONE, named)];

static LOCATION: &[Function] = &[Function::new("String", NONE, |cx, args| {
    cx.string(|sink| {
        if let Value::Location(zone) = args[0] {
            zone.write_name(sink.raw());
        }
    })
})];

/// The text of a duration, month or weekday.
fn named<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    cx.string(|sink| {
        if let Value::Int(int, int_type) = args[0] {
            append_named_int(sink.raw(), int, int_type);
        }
    })
}

fn in_zone<'e>(cx: &Context<'e>, args: &[Value<'e>], zone: Zone<'e>) -> Value<'e> {
    moment_value(cx, Time { zone, ..moment(args, 0) })
}

fn compare(args: &[Value<'_>]) -> Ordering {
    moment(args, 0).total_nanos().cmp(&moment(args, 1).total_nanos())
}

/// RFC 3339 between `quote`s, as bytes.
fn marshalled<'e>(cx: &mut Context<'e>, args: &[Value<'e>], quote: &[u8]) -> Called<'e> {
    let text = cx.string(|sink| {
        sink.extend(quote);
        time::format(sink, &moment(args, 0), time::RFC3339_NANO);
        sink.extend(quote);
    })?;
    Ok(if let Value::String(text) = text { Value::Bytes(text) } else { text })
}

/// A duration, which stops at the ends of its type.
fn duration_value<'e>(nanos: i128) -> Value<'e> {
    Value::Int(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64, IntType::Duration)
}

fn add_date<'e>(cx: &Context<'e>, args: &[Value<'e>]) -> Value<'e> {
    let start = moment(args, 0);
    let civil = start.civil();
    let year = civil.year.saturating_add(int(args, 1));
    let month = civil.month.saturating_add(int(args, 2));
    let day = civil.day.saturating_add(int(args, 3));
    let days = days_from_date(year, month, day);
    let time_of_day = civil.hour * 3_600 + civil.minute * 60 + civil.second;
    // Far beyond any calendar the sum stops rather than wraps.
    let wall = days.saturating_mul(86_400).saturating_add(time_of_day);
    let moved = Time::from_wall_clock(wall, start.nanos, start.zone);
    moment_value(cx, moved.plus_nanos(0))
}

/// A time rounded down, or to the nearest, multiple of a duration since the year 1.
fn rounded<'e>(cx: &Context<'e>, args: &[Value<'e>], nearest: bool) -> Value<'e> {
    let (start, unit) = (moment(args, 0), i128::from(int(args, 1)));
    if unit <= 0 {
        return moment_value(cx, start);
    }
    let rest = (start.total_nanos() + NANOS_BEFORE_1970).rem_euclid(unit);
    let up = nearest && rest * 2 >= unit;
    moment_value(cx, start.plus_nanos(if up { unit - rest } else { -rest }))
}

/// A duration rounded toward zero, or to the nearest, multiple of another.
fn rounded_duration<'e>(args: &[Value<'e>], nearest: bool) -> Value<'e> {
    let (nanos, unit) = (i128::from(int(args, 0)), i128::from(int(args, 1)));
    if unit <= 0 {
        return duration_value(nanos);
    }
    let rest = nanos % unit;
    let away = if nearest && rest.abs() * 2 >= unit { unit * nanos.signum() } else { 0 };
    duration_value(nanos - rest + away)
}
