//! Moments, time zones, and their text.

mod layout;
mod parse;

use std::cell::OnceCell;
use std::sync::LazyLock;

use jiff::Timestamp as JiffTimestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use loki_core::Timestamp;

use super::context::Sink;
use super::value::IntType;

pub(super) use layout::{RFC3339_NANO, format};
pub(super) use parse::parse;

pub(super) const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Years beyond which calendar arithmetic stops.
const MAX_YEAR: i64 = 1_000_000_000;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment as seen in a time zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time<'e> {
    /// Seconds since 1970.
    pub(super) seconds: i64,
    pub(super) nanos: u32,
    pub(super) zone: Zone<'e>,
}

/// Go's zero time, the beginning of the year 1.
pub(super) const ZERO: Time<'static> = Time { seconds: -62_135_596_800, nanos: 0, zone: Zone::Utc };

/// A time zone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone<'e> {
    Utc,
    Fixed { name: Abbreviation, offset_seconds: i32 },
    Named(&'e NamedZone),
}

/// A short name of a zone, such as `CET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abbreviation {
    text: [u8; Self::MAX_LEN],
    length: u8,
}

impl Abbreviation {
    const MAX_LEN: usize = 15;

    /// The abbreviation `text`, cut to the length that real ones have.
    pub(super) fn new(text: &[u8]) -> Self {
        let length = text.len().min(Self::MAX_LEN);
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..length].copy_from_slice(&text[..length]);
        Self { text: bytes, length: length as u8 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

/// A zone of the IANA database.
#[derive(Debug)]
pub(super) struct NamedZone {
    name: Box<str>,
    zone: TimeZone,
}

/// Offset and abbreviation that hold at a moment.
pub(super) struct Offset {
    pub(super) seconds: i32,
    pub(super) abbreviation: Abbreviation,
    pub(super) is_daylight_saving: bool,
}

impl Zone<'_> {
    pub(super) fn is_utc(self) -> bool {
        matches!(self, Self::Utc)
    }

    /// The name of the zone, which is not its abbreviation.
    pub(super) fn write_name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Utc => b"UTC",
            Self::Fixed { name, .. } => name.as_bytes(),
            Self::Named(named) => named.name.as_bytes(),
        });
    }

    pub(super) fn offset_at(self, seconds: i64) -> Offset {
        match self {
            Self::Utc => Offset { seconds: 0, abbreviation: Abbreviation::new(b"UTC"), is_daylight_saving: false },
            Self::Fixed { name, offset_seconds } => {
                Offset { seconds: offset_seconds, abbreviation: name, is_daylight_saving: false }
            }
            Self::Named(named) => {
                let clamped = seconds.clamp(JiffTimestamp::MIN.as_second(), JiffTimestamp::MAX.as_second());
                let moment = JiffTimestamp::from_second(clamped).unwrap_or_default();
                let info = named.zone.to_offset_info(moment);
                Offset {
                    seconds: info.offset().seconds(),
                    abbreviation: Abbreviation::new(info.abbreviation().as_bytes()),
                    is_daylight_saving: info.dst().is_dst(),
                }
            }
        }
    }

    /// The offset that goes with an abbreviation of this zone; of several, the one in use around `wall`.
    pub(super) fn offset_of_abbreviation(self, abbreviation: &[u8], wall: i64) -> Option<i32> {
        const HALF_YEAR: i64 = 183 * SECONDS_PER_DAY;
        [wall, wall - HALF_YEAR, wall + HALF_YEAR]
            .into_iter()
            .map(|seconds| self.offset_at(self.moment_of_wall_clock(seconds)))
            .find(|offset| offset.abbreviation.as_bytes() == abbreviation)
            .map(|offset| offset.seconds)
    }

    /// The moment at which clocks of this zone show the time that clocks in UTC show at `seconds`.
    pub(super) fn moment_of_wall_clock(self, seconds: i64) -> i64 {
        let guess = i64::from(self.offset_at(seconds).seconds);
        // Near a change of the clocks the guess may belong to the other side of it.
        let offset = i64::from(self.offset_at(seconds.saturating_sub(guess)).seconds);
        seconds.saturating_sub(offset)
    }
}

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zones that executions asked for, so that values can borrow them.
#[derive(Debug, Default)]
pub(super) struct ZoneCache(OnceCell<Box<ZoneEntry>>);

#[derive(Debug)]
struct ZoneEntry {
    zone: NamedZone,
    next: ZoneCache,
}

impl ZoneCache {
    /// The zone with this name; names are case-sensitive, as in Go.
    pub(super) fn find(&self, name: &[u8]) -> Option<Zone<'_>> {
        if name.is_empty() || name == b"UTC" || name == b"Local" {
            return Some(Zone::Utc);
        }
        let name = std::str::from_utf8(name).ok()?;
        let mut cache = self;
        while let Some(entry) = cache.0.get() {
            if *entry.zone.name == *name {
                return Some(Zone::Named(&entry.zone));
            }
            cache = &entry.next;
        }
        let zone = DATABASE.get(name).ok().filter(|zone| zone.iana_name() == Some(name))?;
        let zone = NamedZone { name: name.into(), zone };
        let entry = cache.0.get_or_init(|| Box::new(ZoneEntry { zone, next: Self::default() }));
        Some(Zone::Named(&entry.zone))
    }
}

/// Year, month (from 1), day and time of day, as clocks show them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) year_day: i64,
    /// Days since Sunday.
    pub(super) weekday: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

impl Civil {
    /// The time of day and date `seconds` after the beginning of 1970.
    pub(super) fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let time = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = date_from_days(days);
        Self {
            year,
            month,
            day,
            year_day: days - days_from_date(year, 1, 1) + 1,
            weekday: (days + 4).rem_euclid(7),
            hour: time / 3600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }
}

/// Days from 1970 to a date. Months and days beyond their range count on; the year is limited.
pub(super) fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let months = month.saturating_sub(1);
    let year = year.saturating_add(months.div_euclid(12)).clamp(-MAX_YEAR, MAX_YEAR);
    let month = months.rem_euclid(12);
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468).saturating_add(day.saturating_sub(1))
}

fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// Days of a month (from 1).
pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    days_from_date(year, month + 1, 1) - days_from_date(year, month, 1)
}

impl<'e> Time<'e> {
    /// The moment `timestamp`, in UTC.
    pub(super) fn from_timestamp(timestamp: Timestamp) -> Self {
        Self::from_nanos(timestamp.as_nanos())
    }

    pub(super) fn from_nanos(nanos: i64) -> Self {
        let seconds = nanos.div_euclid(NANOS_PER_SECOND);
        Self { seconds, nanos: nanos.rem_euclid(NANOS_PER_SECOND) as u32, zone: Zone::Utc }
    }

    /// The moment that clocks in `zone` show as `seconds` (of 1970) and `nanos`.
    pub(super) fn from_wall_clock(seconds: i64, nanos: u32, zone: Zone<'e>) -> Self {
        Self { seconds: zone.moment_of_wall_clock(seconds), nanos, zone }
    }

    pub(super) fn offset(&self) -> Offset {
        self.zone.offset_at(self.seconds)
    }

    pub(super) fn civil(&self) -> Civil {
        Civil::from_seconds(self.seconds.saturating_add(self.offset().seconds.into()))
    }

    /// Nanoseconds since 1970.
    pub(super) fn total_nanos(&self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(self.nanos)
    }

    /// The moment `nanos` later; stops at the ends of what can be expressed.
    pub(super) fn plus_nanos(&self, nanos: i128) -> Self {
        let total = self.total_nanos().saturating_add(nanos);
        let limit = i128::from(MAX_YEAR * 366 * SECONDS_PER_DAY) * i128::from(NANOS_PER_SECOND);
        let total = total.clamp(-limit, limit);
        Self {
            seconds: total.div_euclid(NANOS_PER_SECOND.into()) as i64,
            nanos: total.rem_euclid(NANOS_PER_SECOND.into()) as u32,
            zone: self.zone,
        }
    }

    /// Writes the moment as `%v` does.
    pub(super) fn write_default(&self, sink: &mut Sink<'_>) {
        format(sink, self, b"2006-01-02 15:04:05.999999999 -0700 MST");
    }

    /// Writes the moment as `%#v` does.
    pub(super) fn write_go_syntax(&self, sink: &mut Sink<'_>) {
        let civil = self.civil();
        let month = MONTHS[(civil.month - 1) as usize];
        let Civil { year, day, hour, minute, second, .. } = civil;
        let nanos = self.nanos;
        let text = format!("time.Date({year}, time.{month}, {day}, {hour}, {minute}, {second}, {nanos}, ");
        sink.extend(text.as_bytes());
        if self.zone.is_utc() {
            sink.extend(b"time.UTC)");
            return;
        }
        sink.extend(b"time.Location(");
        let mut name = Vec::new();
        self.zone.write_name(&mut name);
        super::strconv::append_quoted(sink.raw(), &name, '"', false);
        sink.extend(b"))");
    }
}

/// Appends the name of a month or weekday, or a duration as Go prints it.
pub(super) fn append_named_int(out: &mut Vec<u8>, int: i64, int_type: IntType) {
    let index = usize::try_from(int).ok();
    let named = match int_type {
        IntType::Month => index.and_then(|i| MONTHS.get(i.checked_sub(1)?)).copied(),
        IntType::Weekday => index.and_then(|i| WEEKDAYS.get(i)).copied(),
        _ => return append_duration(out, int),
    };
    match named {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None if int_type == IntType::Month => out.extend_from_slice(format!("%!Month({})", int as u64).as_bytes()),
        None => out.extend_from_slice(format!("%!Weekday({})", int as u64).as_bytes()),
    }
}

/// Appends a duration in nanoseconds in Go's form, such as `1h0m0.5s`.
fn append_duration(out: &mut Vec<u8>, nanos: i64) {
    let magnitude = nanos.unsigned_abs();
    if magnitude == 0 {
        return out.extend_from_slice(b"0s");
    }
    if nanos < 0 {
        out.push(b'-');
    }
    let (unit, name) = match magnitude {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (mut whole, fraction) = (magnitude / unit, magnitude % unit);
    if name == "s" {
        let minutes = whole / 60;
        whole %= 60;
        if minutes >= 60 {
            out.extend_from_slice(format!("{}h", minutes / 60).as_bytes());
        }
        if minutes > 0 {
            out.extend_from_slice(format!("{}m", minutes % 60).as_bytes());
        }
    }
    out.extend_from_slice(whole.to_string().as_bytes());
    if fraction > 0 {
        let digits = unit.ilog10() as usize;
        let fraction = format!(".{fraction:0digits$}");
        out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
}
