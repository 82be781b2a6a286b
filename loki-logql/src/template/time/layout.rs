//! Go's layouts: how the reference time `Mon Jan 2 15:04:05 MST 2006` is written tells how others are.

use super::super::context::Sink;
use super::super::strconv::append_int;
use super::{Civil, MONTHS, Time, WEEKDAYS};

/// The layout of RFC 3339 with fractions of a second.
pub(crate) const RFC3339_NANO: &[u8] = b"2006-01-02T15:04:05.999999999Z07:00";

/// A part of a layout that stands for a part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    /// `Z07:00` and friends print UTC as `Z`.
    Offset {
        style: OffsetStyle,
        utc_is_z: bool,
    },
    /// Fraction of a second; trailing zeros are dropped if `trimmed`.
    Fraction {
        digits: usize,
        trimmed: bool,
        separator: u8,
    },
}

/// How much of an offset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetStyle {
    pub(super) colons: bool,
    pub(super) minutes: bool,
    pub(super) seconds: bool,
}

/// Cuts the first element off `layout`: the literal text before it, the element, and the rest.
pub(super) fn next_element(layout: &[u8]) -> (&[u8], Option<Element>, &[u8]) {
    for at in 0..layout.len() {
        if let Some((element, skipped, length)) = element_at(layout, at) {
            return (&layout[..at + skipped], Some(element), &layout[at + length..]);
        }
    }
    (layout, None, b"")
}

/// The element that starts at `at`, the bytes of literal text at its start, and its length.
fn element_at(layout: &[u8], at: usize) -> Option<(Element, usize, usize)> {
    let rest = &layout[at..];
    // A word goes on if a lower-case letter follows, as in "March" or "Monster".
    let ends_word = |length: usize| !rest.get(length).is_some_and(u8::is_ascii_lowercase);
    let (element, length) = match rest[0] {
        b'J' if rest.starts_with(b"January") => (Element::LongMonth, 7),
        b'J' if rest.starts_with(b"Jan") && ends_word(3) => (Element::Month, 3),
        b'M' if rest.starts_with(b"Monday") => (Element::LongWeekday, 6),
        b'M' if rest.starts_with(b"Mon") && ends_word(3) => (Element::Weekday, 3),
        b'M' if rest.starts_with(b"MST") => (Element::ZoneName, 3),
        b'0' if rest.starts_with(b"002") => (Element::ZeroYearDay, 3),
        b'0' => match rest.get(1)? {
            b'1' => (Element::ZeroMonth, 2),
            b'2' => (Element::ZeroDay, 2),
            b'3' => (Element::ZeroHour12, 2),
            b'4' => (Element::ZeroMinute, 2),
            b'5' => (Element::ZeroSecond, 2),
            b'6' => (Element::Year, 2),
            _ => return None,
        },
        b'1' if rest.get(1) == Some(&b'5') => (Element::Hour, 2),
        b'1' => (Element::NumMonth, 1),
        b'2' if rest.starts_with(b"2006") => (Element::LongYear, 4),
        b'2' => (Element::Day, 1),
        b'_' if rest.starts_with(b"_2006") => return Some((Element::LongYear, 1, 5)),
        b'_' if rest.starts_with(b"_2") => (Element::UnderDay, 2),
        b'_' if rest.starts_with(b"__2") => (Element::UnderYearDay, 3),
        b'3' => (Element::Hour12, 1),
        b'4' => (Element::Minute, 1),
        b'5' => (Element::Second, 1),
        b'P' if rest.starts_with(b"PM") => (Element::UpperPm, 2),
        b'p' if rest.starts_with(b"pm") => (Element::LowerPm, 2),
        b'-' | b'Z' => return offset_at(rest).map(|(element, length)| (element, 0, length)),
        b'.' | b',' => return fraction_at(rest).map(|(element, length)| (element, 0, length)),
        _ => return None,
    };
    Some((element, 0, length))
}

fn offset_at(rest: &[u8]) -> Option<(Element, usize)> {
    const STYLES: [(&[u8], OffsetStyle); 5] = [
        (b"070000", OffsetStyle { colons: false, minutes: true, seconds: true }),
        (b"07:00:00", OffsetStyle { colons: true, minutes: true, seconds: true }),
        (b"0700", OffsetStyle { colons: false, minutes: true, seconds: false }),
        (b"07:00", OffsetStyle { colons: true, minutes: true, seconds: false }),
        (b"07", OffsetStyle { colons: false, minutes: false, seconds: false }),
    ];
    let (text, style) = STYLES.into_iter().find(|(text, _)| rest[1..].starts_with(text))?;
    Some((Element::Offset { style, utc_is_z: rest[0] == b'Z' }, 1 + text.len()))
}

fn fraction_at(rest: &[u8]) -> Option<(Element, usize)> {
    let digit = *rest.get(1).filter(|b| matches!(b, b'0' | b'9'))?;
    let digits = rest[1..].iter().take_while(|b| **b == digit).count();
    if rest.get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((Element::Fraction { digits, trimmed: digit == b'9', separator: rest[0] }, 1 + digits))
}

/// Writes `time` as `layout` says.
pub(crate) fn format(sink: &mut Sink<'_>, time: &Time<'_>, mut layout: &[u8]) {
    let civil = time.civil();
    while !layout.is_empty() && sink.check().is_ok() {
        let (text, element, rest) = next_element(layout);
        sink.extend(text);
        let Some(element) = element else { return };
        write_element(sink, time, &civil, element);
        layout = rest;
    }
}

fn write_element(sink: &mut Sink<'_>, time: &Time<'_>, civil: &Civil, element: Element) {
    let month = MONTHS[(civil.month - 1) as usize];
    let weekday = WEEKDAYS[civil.weekday as usize];
    let hour12 = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
    match element {
        Element::LongMonth => sink.extend(month.as_bytes()),
        Element::Month => sink.extend(&month.as_bytes()[..3]),
        Element::NumMonth => write_int(sink, civil.month, 0),
        Element::ZeroMonth => write_int(sink, civil.month, 2),
        Element::LongWeekday => sink.extend(weekday.as_bytes()),
        Element::Weekday => sink.extend(&weekday.as_bytes()[..3]),
        Element::Day => write_int(sink, civil.day, 0),
        Element::UnderDay => {
            sink.fill(b' ', usize::from(civil.day < 10));
            write_int(sink, civil.day, 0);
        }
        Element::ZeroDay => write_int(sink, civil.day, 2),
        Element::UnderYearDay => {
            sink.fill(b' ', usize::from(civil.year_day < 100) + usize::from(civil.year_day < 10));
            write_int(sink, civil.year_day, 0);
        }
        Element::ZeroYearDay => write_int(sink, civil.year_day, 3),
        Element::Hour => write_int(sink, civil.hour, 2),
        Element::Hour12 => write_int(sink, hour12, 0),
        Element::ZeroHour12 => write_int(sink, hour12, 2),
        Element::Minute => write_int(sink, civil.minute, 0),
        Element::ZeroMinute => write_int(sink, civil.minute, 2),
        Element::Second => write_int(sink, civil.second, 0),
        Element::ZeroSecond => write_int(sink, civil.second, 2),
        Element::LongYear => write_int(sink, civil.year, 4),
        Element::Year => write_int(sink, civil.year.max(0) % 100, 2),
        Element::UpperPm => sink.extend(if civil.hour >= 12 { b"PM" } else { b"AM" }),
        Element::LowerPm => sink.extend(if civil.hour >= 12 { b"pm" } else { b"am" }),
        Element::ZoneName => write_zone_name(sink, time),
        Element::Offset { style, utc_is_z } => write_offset(sink, time.offset().seconds, style, utc_is_z),
        Element::Fraction { digits, trimmed, separator } => {
            write_fraction(sink, time.nanos, digits, trimmed, separator);
        }
    }
}

fn write_int(sink: &mut Sink<'_>, int: i64, digits: usize) {
    append_int(sink.raw(), int, digits);
}

/// The abbreviation of the zone, or its offset if it has none.
fn write_zone_name(sink: &mut Sink<'_>, time: &Time<'_>) {
    let offset = time.offset();
    if !offset.abbreviation.as_bytes().is_empty() {
        return sink.extend(offset.abbreviation.as_bytes());
    }
    let minutes = i64::from(offset.seconds) / 60;
    sink.push(if minutes < 0 { b'-' } else { b'+' });
    write_int(sink, (minutes / 60).abs(), 2);
    write_int(sink, (minutes % 60).abs(), 2);
}

fn write_offset(sink: &mut Sink<'_>, seconds: i32, style: OffsetStyle, utc_is_z: bool) {
    if utc_is_z && seconds == 0 {
        return sink.push(b'Z');
    }
    let minutes = seconds / 60;
    sink.push(if minutes < 0 { b'-' } else { b'+' });
    let minutes = i64::from(minutes.unsigned_abs());
    write_int(sink, minutes / 60, 2);
    if style.colons {
        sink.push(b':');
    }
    if style.minutes {
        write_int(sink, minutes % 60, 2);
    }
    if style.seconds {
        if style.colons {
            sink.push(b':');
        }
        write_int(sink, i64::from(seconds % 60).abs(), 2);
    }
}

fn write_fraction(sink: &mut Sink<'_>, nanos: u32, digits: usize, trimmed: bool, separator: u8) {
    let mut text = [b'0'; 9];
    let mut rest = nanos;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let shown = &text[..digits.min(9)];
    if !trimmed {
        sink.push(separator);
        sink.extend(shown);
        return sink.fill(b'0', digits.saturating_sub(9));
    }
    if let Some(last) = shown.iter().rposition(|digit| *digit != b'0') {
        sink.push(separator);
        sink.extend(&shown[..=last]);
    }
}
