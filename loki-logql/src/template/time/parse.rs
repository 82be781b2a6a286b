//! Reads times that are written after a layout.

use super::layout::{Element, OffsetStyle, next_element};
use super::{Abbreviation, MONTHS, SECONDS_PER_DAY, Time, WEEKDAYS, Zone, days_from_date, days_in_month};

/// Parts of a time as they are found.
#[derive(Debug, Default)]
struct Parts<'v> {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    afternoon: Option<bool>,
    is_utc: bool,
    offset_seconds: Option<i32>,
    zone_name: &'v [u8],
}

/// The time that `text` gives under `layout`, in `zone` unless the text names another; `None` if it does not fit.
pub(crate) fn parse<'e>(mut layout: &[u8], text: &[u8], zone: Zone<'e>) -> Option<Time<'e>> {
    let mut parts = Parts::default();
    let mut rest = text;
    loop {
        let (literal, element, after) = next_element(layout);
        rest = skip(rest, literal)?;
        let Some(element) = element else { break };
        layout = after;
        rest = parts.read(element, rest, layout)?;
    }
    if rest.is_empty() { parts.assemble(zone) } else { None }
}

impl<'v> Parts<'v> {
    /// Reads one element from the start of `text`; returns what follows.
    fn read(&mut self, element: Element, text: &'v [u8], layout: &[u8]) -> Option<&'v [u8]> {
        match element {
            Element::Year | Element::LongYear => self.read_year(element, text),
            Element::Month | Element::LongMonth => {
                let (index, rest) = lookup(&MONTHS, text, element == Element::LongMonth)?;
                self.month = Some(index + 1);
                Some(rest)
            }
            Element::NumMonth | Element::ZeroMonth => {
                let (month, rest) = number(text, element == Element::ZeroMonth)?;
                self.month = Some(month).filter(|month| (1..=12).contains(month));
                self.month.map(|_| rest)
            }
            Element::Weekday | Element::LongWeekday => {
                lookup(&WEEKDAYS, text, element == Element::LongWeekday).map(|(_, rest)| rest)
            }
            Element::Day | Element::UnderDay | Element::ZeroDay => {
                let text = if element == Element::UnderDay { text.strip_prefix(b" ").unwrap_or(text) } else { text };
                let (day, rest) = number(text, element == Element::ZeroDay)?;
                self.day = Some(day);
                Some(rest)
            }
            Element::UnderYearDay | Element::ZeroYearDay => self.read_year_day(element, text),
            Element::Hour => in_range(number(text, false)?, 0..24, &mut self.hour),
            Element::Hour12 | Element::ZeroHour12 => {
                in_range(number(text, element == Element::ZeroHour12)?, 0..13, &mut self.hour)
            }
            Element::Minute | Element::ZeroMinute => {
                in_range(number(text, element == Element::ZeroMinute)?, 0..60, &mut self.minute)
            }
            Element::Second | Element::ZeroSecond => {
                let rest = in_range(number(text, element == Element::ZeroSecond)?, 0..60, &mut self.second)?;
                self.read_unannounced_fraction(rest, layout)
            }
            Element::UpperPm | Element::LowerPm => self.read_half_day(element, text),
            Element::ZoneName => self.read_zone_name(text),
            Element::Offset { style, utc_is_z } => self.read_offset(style, utc_is_z, text),
            Element::Fraction { digits, trimmed: false, .. } => {
                let (fraction, rest) = text.split_at_checked(1 + digits)?;
                self.nanos = fraction_nanos(fraction)?;
                Some(rest)
            }
            Element::Fraction { .. } => match text {
                [b'.' | b',', b'0'..=b'9', ..] => self.read_fraction(text),
                _ => Some(text),
            },
        }
    }

    fn read_year(&mut self, element: Element, text: &'v [u8]) -> Option<&'v [u8]> {
        if element == Element::LongYear {
            let (year, rest) = text.split_at_checked(4)?;
            self.year = digits(year)?;
            return Some(rest);
        }
        let (year, rest) = text.split_at_checked(2)?;
        let year = digits(year)?;
        self.year = if year >= 69 { 1900 + year } else { 2000 + year };
        Some(rest)
    }

    fn read_year_day(&mut self, element: Element, text: &'v [u8]) -> Option<&'v [u8]> {
        let mut text = text;
        if element == Element::UnderYearDay {
            for _ in 0..2 {
                text = text.strip_prefix(b" ").unwrap_or(text);
            }
        }
        let count = text.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
        if count == 0 || (element == Element::ZeroYearDay && count != 3) {
            return None;
        }
        self.year_day = Some(digits(&text[..count])?);
        Some(&text[count..])
    }

    /// A fraction may follow the seconds even if the layout has none.
    fn read_unannounced_fraction(&mut self, text: &'v [u8], layout: &[u8]) -> Option<&'v [u8]> {
        if !matches!(text, [b'.' | b',', b'0'..=b'9', ..])
            || matches!(next_element(layout).1, Some(Element::Fraction { .. }))
        {
            return Some(text);
        }
        self.read_fraction(text)
    }

    fn read_fraction(&mut self, text: &'v [u8]) -> Option<&'v [u8]> {
        let count = text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.nanos = fraction_nanos(&text[..=count])?;
        Some(&text[1 + count..])
    }

    fn read_half_day(&mut self, element: Element, text: &'v [u8]) -> Option<&'v [u8]> {
        let (half, rest) = text.split_at_checked(2)?;
        self.afternoon = Some(match (element, half) {
            (Element::UpperPm, b"PM") | (Element::LowerPm, b"pm") => true,
            (Element::UpperPm, b"AM") | (Element::LowerPm, b"am") => false,
            _ => return None,
        });
        Some(rest)
    }

    fn read_zone_name(&mut self, text: &'v [u8]) -> Option<&'v [u8]> {
        if let Some(rest) = text.strip_prefix(b"UTC") {
            self.is_utc = true;
            return Some(rest);
        }
        let (name, rest) = text.split_at(zone_name_len(text)?);
        self.zone_name = name;
        Some(rest)
    }

    fn read_offset(&mut self, style: OffsetStyle, utc_is_z: bool, text: &'v [u8]) -> Option<&'v [u8]> {
        if utc_is_z && let Some(rest) = text.strip_prefix(b"Z") {
            self.is_utc = true;
            return Some(rest);
        }
        let (sign, mut rest) = text.split_first()?;
        let mut fields = [0; 3];
        let wanted = 1 + usize::from(style.minutes) + usize::from(style.seconds);
        for (index, (field, limit)) in fields.iter_mut().zip([24, 60, 60]).take(wanted).enumerate() {
            if index > 0 && style.colons {
                rest = rest.strip_prefix(b":")?;
            }
            let (value, after) = rest.split_at_checked(2)?;
            // 24 hours and 60 minutes are allowed because some people write them.
            *field = digits(value).filter(|value| *value <= limit)? as i32;
            rest = after;
        }
        let offset = (fields[0] * 60 + fields[1]) * 60 + fields[2];
        self.offset_seconds = Some(match sign {
            b'+' => offset,
            b'-' => -offset,
            _ => return None,
        });
        Some(rest)
    }

    fn assemble(mut self, zone: Zone<'_>) -> Option<Time<'_>> {
        match self.afternoon {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        self.resolve_year_day()?;
        let month = self.month.unwrap_or(1);
        let day = self.day.unwrap_or(1);
        if !(1..=days_in_month(self.year, month)).contains(&day) {
            return None;
        }
        let days = days_from_date(self.year, month, day);
        let wall = days * SECONDS_PER_DAY + self.hour * 3600 + self.minute * 60 + self.second;
        let nanos = self.nanos;
        if self.is_utc {
            return Some(Time { seconds: wall, nanos, zone: Zone::Utc });
        }
        if let Some(offset_seconds) = self.offset_seconds {
            let seconds = wall - i64::from(offset_seconds);
            let local = zone.offset_at(seconds);
            let is_local = local.seconds == offset_seconds
                && (self.zone_name.is_empty() || self.zone_name == local.abbreviation.as_bytes());
            let name = Abbreviation::new(self.zone_name);
            let zone = if is_local { zone } else { Zone::Fixed { name, offset_seconds } };
            return Some(Time { seconds, nanos, zone });
        }
        if !self.zone_name.is_empty() {
            return Some(self.with_named_zone(wall, zone));
        }
        Some(Time::from_wall_clock(wall, nanos, zone))
    }

    /// The time in the zone that the text abbreviates. Abbreviations that `zone` does not use mean UTC under that name,
    /// except that `GMT+3` has its offset.
    fn with_named_zone<'e>(&self, wall: i64, zone: Zone<'e>) -> Time<'e> {
        let nanos = self.nanos;
        if let Some(offset) = zone.offset_of_abbreviation(self.zone_name, wall) {
            return Time { seconds: wall - i64::from(offset), nanos, zone };
        }
        let hours = self.zone_name.strip_prefix(b"GMT").and_then(|hours| {
            let (sign, hours) = hours.split_first()?;
            let hours = digits(hours)? as i32;
            Some(if *sign == b'-' { -hours } else { hours })
        });
        let offset_seconds = hours.unwrap_or(0) * 3600;
        let zone = Zone::Fixed { name: Abbreviation::new(self.zone_name), offset_seconds };
        Time { seconds: wall, nanos, zone }
    }

    /// Turns a day of the year into month and day, which must not contradict those given.
    fn resolve_year_day(&mut self) -> Option<()> {
        let Some(year_day) = self.year_day else { return Some(()) };
        let first = days_from_date(self.year, 1, 1);
        if !(1..=days_from_date(self.year + 1, 1, 1) - first).contains(&year_day) {
            return None;
        }
        let mut month = 1;
        while first + year_day > days_from_date(self.year, month + 1, 1) {
            month += 1;
        }
        let day = first + year_day - days_from_date(self.year, month, 1);
        let fits = self.month.is_none_or(|m| m == month) && self.day.is_none_or(|d| d == day);
        (self.month, self.day) = (Some(month), Some(day));
        fits.then_some(())
    }
}

/// Passes over literal text of a layout. Blanks match any number of blanks.
fn skip<'v>(mut text: &'v [u8], mut literal: &[u8]) -> Option<&'v [u8]> {
    while let Some((&first, rest)) = literal.split_first() {
        if first == b' ' {
            if text.first().is_some_and(|b| *b != b' ') {
                return None;
            }
            literal = without_blanks(literal);
            text = without_blanks(text);
        } else {
            text = text.strip_prefix(&[first])?;
            literal = rest;
        }
    }
    Some(text)
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| **b == b' ').count();
    &text[blanks..]
}

/// One or two digits, or exactly two.
fn number(text: &[u8], two_digits: bool) -> Option<(i64, &[u8])> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => Some((i64::from(a - b'0') * 10 + i64::from(b - b'0'), rest)),
        [a @ b'0'..=b'9', rest @ ..] if !two_digits => Some((i64::from(a - b'0'), rest)),
        _ => None,
    }
}

/// The value of at most 18 digits.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |value, b| b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0')))
}

fn in_range<'v>((value, rest): (i64, &'v [u8]), range: std::ops::Range<i64>, target: &mut i64) -> Option<&'v [u8]> {
    *target = value;
    range.contains(&value).then_some(rest)
}

/// The index of the name at the start of `text`, in any case; short names are the first three letters.
fn lookup<'v>(names: &[&str], text: &'v [u8], long: bool) -> Option<(i64, &'v [u8])> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if long { name } else { &name[..3] };
        let (start, rest) = text.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name.as_bytes()).then_some((index as i64, rest))
    })
}

/// Nanoseconds of a fraction with its separator; digits beyond the ninth are dropped.
fn fraction_nanos(fraction: &[u8]) -> Option<u32> {
    let (separator, digits_only) = fraction.split_first()?;
    if !matches!(separator, b'.' | b',') {
        return None;
    }
    let shown = &digits_only[..digits_only.len().min(9)];
    let scale = 10_i64.pow(9 - shown.len() as u32);
    u32::try_from(digits(shown)? * scale).ok()
}

/// The length of the zone abbreviation at the start of `text`.
fn zone_name_len(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"ChST") || text.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(rest) = text.strip_prefix(b"GMT") {
        return Some(3 + signed_offset_len(rest));
    }
    if matches!(text.first(), Some(b'+' | b'-')) {
        return Some(signed_offset_len(text)).filter(|length| *length > 0);
    }
    let capitals = text.iter().take(6).take_while(|b| b.is_ascii_uppercase()).count();
    match (capitals, text.get(..capitals)?) {
        (5, [.., b'T']) | (4, [.., b'T'] | b"WITA") | (3, _) => Some(capitals),
        _ => None,
    }
}

/// The length of a sign with hours up to 23, or 0.
fn signed_offset_len(text: &[u8]) -> usize {
    let Some((b'+' | b'-', rest)) = text.split_first() else { return 0 };
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    match digits(&rest[..count]) {
        Some(0..=23) => 1 + count,
        _ => 0,
    }
}
