//! Times, durations and the other parameters of queries, with Loki's defaults and its words for what is wrong.

use loki_core::labels::quote;
use loki_core::{Direction, Timestamp};
use loki_logql::duration::{self, RangeError};

use crate::error::ApiError;
use crate::extract::params::Params;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Of integers, those with at most this many characters are seconds and longer ones nanoseconds.
const MAX_SECONDS_CHARS: usize = 10;
/// Default of `since`: an hour.
const DEFAULT_SINCE_NANOS: i64 = 3_600 * NANOS_PER_SECOND;
/// Default of `limit`.
const DEFAULT_LIMIT: usize = 100;
/// Without `step` a range is cut into about this many steps of whole seconds.
const DEFAULT_STEPS: i64 = 250;

/// Why a parameter was refused, in Loki's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParamError {
    /// Not a whole number where one must be.
    #[error("strconv.{function}: parsing {}: {problem}", quote(text))]
    Number { function: &'static str, text: String, problem: &'static str },
    /// Neither seconds nor a duration.
    #[error("cannot parse {} to a valid duration", quote(text))]
    Duration { text: String },
    /// More seconds than nanoseconds can count.
    #[error("cannot parse {} to a valid duration. It overflows int64", quote(text))]
    DurationOverflow { text: String },
    /// Not a Prometheus duration.
    #[error(transparent)]
    Prometheus(#[from] RangeError),
    /// `limit` is zero or less.
    #[error("limit must be a positive value")]
    Limit,
    /// `direction` is neither forward nor backward.
    #[error("invalid direction '{text}'")]
    Direction { text: String },
    /// `step` is zero or less.
    #[error("zero or negative query resolution step widths are not accepted. Try a positive integer")]
    Step,
    /// `interval` is less than zero.
    #[error("interval must be >= 0")]
    Interval,
    /// A named parameter is wrong.
    #[error("could not parse '{name}' parameter: {problem}")]
    Named { name: &'static str, problem: Box<Self> },
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// `start` and `end`, which default to the hour (or `since`) before now.
pub(crate) fn parse_range(params: &Params, now: Timestamp) -> Result<(Timestamp, Timestamp), ParamError> {
    let since = match params.get("since") {
        "" => DEFAULT_SINCE_NANOS,
        text => duration::parse_prometheus(text).map_err(|problem| named("since", problem.into()))?,
    };
    let end = parse_time(params.get("end"), now).map_err(|problem| named("end", problem))?;
    let default_start = end.min(now).saturating_sub_nanos(since);
    let start = parse_time(params.get("start"), default_start).map_err(|problem| named("start", problem))?;
    Ok((start, end))
}

/// A moment: seconds with a fraction, whole seconds, nanoseconds, or RFC 3339; `default` when the text is empty.
pub(crate) fn parse_time(text: &str, default: Timestamp) -> Result<Timestamp, ParamError> {
    if text.is_empty() {
        return Ok(default);
    }
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        return Ok(from_seconds(seconds));
    }
    match parse_int("ParseInt", text) {
        Ok(seconds) if text.len() <= MAX_SECONDS_CHARS => Ok(Timestamp::from_seconds(seconds)),
        Ok(nanos) => Ok(Timestamp(nanos)),
        Err(error) => parse_rfc3339(text).ok_or(error),
    }
}

/// `direction`.
pub(crate) fn parse_direction(params: &Params) -> Result<Direction, ParamError> {
    match params.get("direction") {
        "" => Ok(Direction::default()),
        text if text.eq_ignore_ascii_case("forward") => Ok(Direction::Forward),
        text if text.eq_ignore_ascii_case("backward") => Ok(Direction::Backward),
        text => Err(ParamError::Direction { text: text.to_owned() }),
    }
}

/// `limit`.
pub(crate) fn parse_limit(params: &Params) -> Result<usize, ParamError> {
    parse_limit_named(params, "limit", DEFAULT_LIMIT)
}

/// A limit of another name, and with a default of its own.
pub(crate) fn parse_limit_named(params: &Params, name: &str, default: usize) -> Result<usize, ParamError> {
    match params.get(name) {
        "" => Ok(default),
        text => match parse_int("Atoi", text)? {
            limit if limit > 0 => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            _ => Err(ParamError::Limit),
        },
    }
}

/// A whole number, if the parameter is there.
pub(crate) fn parse_count(params: &Params, name: &str) -> Result<Option<i64>, ParamError> {
    match params.get(name) {
        "" => Ok(None),
        text => parse_int("Atoi", text).map(Some),
    }
}

/// `step`, greater than zero.
pub(crate) fn parse_step_nanos(params: &Params, start: Timestamp, end: Timestamp) -> Result<i64, ParamError> {
    match params.get("step") {
        "" => Ok(default_step_nanos(start, end)),
        text => match seconds_or_duration(text)? {
            step if step > 0 => Ok(step),
            _ => Err(ParamError::Step),
        },
    }
}

/// The step of a request that names none: whole seconds, at least one.
pub(crate) fn default_step_nanos(start: Timestamp, end: Timestamp) -> i64 {
    let seconds = end.0.saturating_sub(start.0) / (DEFAULT_STEPS * NANOS_PER_SECOND);
    seconds.max(1).saturating_mul(NANOS_PER_SECOND)
}

/// `interval`, zero or more.
pub(crate) fn parse_interval_nanos(params: &Params) -> Result<i64, ParamError> {
    match params.get("interval") {
        "" => Ok(0),
        text => match seconds_or_duration(text)? {
            interval if interval >= 0 => Ok(interval),
            _ => Err(ParamError::Interval),
        },
    }
}

fn named(name: &'static str, problem: ParamError) -> ParamError {
    ParamError::Named { name, problem: Box::new(problem) }
}

/// Seconds with a fraction or a Prometheus duration, in nanoseconds.
fn seconds_or_duration(text: &str) -> Result<i64, ParamError> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * NANOS_PER_SECOND as f64;
        if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(ParamError::DurationOverflow { text: text.to_owned() });
        }
        // Not a number is not a step either.
        return Ok(if nanos.is_nan() { i64::MIN } else { nanos as i64 });
    }
    duration::parse_prometheus(text).map_err(|_| ParamError::Duration { text: text.to_owned() })
}

/// Seconds to the millisecond.
fn from_seconds(seconds: f64) -> Timestamp {
    let millis = (seconds.fract() * 1000.0).round();
    Timestamp::from_seconds(seconds.trunc() as i64).saturating_add_nanos(millis as i64 * 1_000_000)
}

/// A decimal number as Go reads it.
fn parse_int(function: &'static str, text: &str) -> Result<i64, ParamError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let problem = if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else {
        match text.parse() {
            Ok(number) => return Ok(number),
            Err(_) => "value out of range",
        }
    };
    Err(ParamError::Number { function, text: text.to_owned(), problem })
}

/// `2006-01-02T15:04:05.999Z` or with an offset, as strictly as Go's layout.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, shape): (u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == *shape };
    if !date_time.bytes().zip(shape).all(fits) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| date_time[range].parse::<i16>().ok();
    let small = |range: std::ops::Range<usize>| number(range).and_then(|value| i8::try_from(value).ok());
    let date = jiff::civil::Date::new(number(0..4)?, small(5..7)?, small(8..10)?).ok()?;
    let time = jiff::civil::Time::new(small(11..13)?, small(14..16)?, small(17..19)?, 0).ok()?;
    let (fraction_nanos, rest) = fraction(rest)?;
    let offset_seconds = offset(rest)?;
    let moment = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    let nanos = moment.as_nanosecond() + i128::from(fraction_nanos) - i128::from(offset_seconds) * 1_000_000_000;
    Some(Timestamp(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })))
}

/// A fraction of a second in nanoseconds, digits beyond the ninth dropped.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(digits) = text.strip_prefix(['.', ',']) else {
        return Some((0, text));
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let padded = format!("{digits:0<9}");
    (!digits.is_empty()).then(|| padded[..9].parse().ok()).flatten().map(|nanos| (nanos, rest))
}

fn offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let two_digits =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok());
    let (hours, minutes): (i64, i64) = (two_digits(hours)??, two_digits(minutes)??);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests;
