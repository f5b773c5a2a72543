//! Every daylight-saving change of many zones, and leap days: no window is skipped, none is doubled, none is longer than it says. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    window::{Interval, Window, intervals},
};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::time::Duration;

/// Zones of every kind: north and south, half hours, changes at midnight, changes by half an hour, negative ones, several a year, none.
const ZONES: &[&str] = &[
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Chisinau",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Halifax",
    "America/Havana",
    "America/Santiago",
    "America/Asuncion",
    "America/Nuuk",
    "America/Sao_Paulo",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Jerusalem",
    "Asia/Tehran",
    "Asia/Gaza",
    "Australia/Sydney",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Antarctica/Troll",
    "Asia/Kathmandu",
];
const FROM: &str = "2015-01-01T00:00:00Z";
const TO: &str = "2038-01-01T00:00:00Z";
const DAY_S: u64 = 86_400;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Every moment at which the clocks of a zone change.
fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let (from, to): (jiff::Timestamp, jiff::Timestamp) = (FROM.parse().unwrap(), TO.parse().unwrap());
    let before = |time: jiff::Timestamp| zone.to_offset(time - jiff::SignedDuration::from_secs(1));
    zone.following(from)
        .map(|change| change.timestamp())
        .take_while(|time| *time < to)
        .filter(|time| before(*time) != zone.to_offset(*time))
        .map(|time| Timestamp(u64::try_from(time.as_millisecond()).unwrap()))
        .collect()
}

fn daily(zone: &str, minutes: u32, duration_s: u32) -> Window {
    let start = format!("FREQ=DAILY;BYHOUR={};BYMINUTE={}", minutes / 60, minutes % 60);
    Window { timezone: zone.to_owned(), start, duration_s, cutoff_s: 0 }
}

/// Openings that begin on the civil days around a change.
fn around(window: &Window, change: Timestamp) -> Vec<Interval> {
    intervals(window, change - Duration::from_secs(3 * DAY_S), 6).unwrap()
}

#[test]
fn around_every_change_each_day_has_one_opening_of_its_length_or_less() {
    let (mut seen, mut shorter) = (0, 0);
    for name in ZONES {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        for change in changes(&zone) {
            seen += 1;
            // Starts all around the clock, so that some fall into the gap or the fold, some before, some after.
            for minutes in (0..24 * 60).step_by(30) {
                let duration_s = 3_600;
                let found = around(&daily(name, minutes, duration_s), change);
                let context = || format!("{name}, {}:{:02}, change at {change}: {found:?}", minutes / 60, minutes % 60);
                assert!((5..=7).contains(&found.len()), "{}", context());
                for one in &found {
                    let length = one.end.since(one.start).as_secs();
                    assert!(length > 0 && length <= u64::from(duration_s), "{}", context());
                    shorter += usize::from(length < u64::from(duration_s));
                }
                for pair in found.windows(2) {
                    let apart = pair[1].start.since(pair[0].start).as_secs();
                    assert!((22 * 3_600..=26 * 3_600).contains(&apart), "neither skipped nor doubled: {}", context());
                }
                let days: Vec<_> = found.iter().map(|one| civil_day(&zone, one.start)).collect();
                // A start that was jumped over may fall on the end of the gap, which is the same day but where the gap ends at midnight.
                assert!(days.windows(2).all(|pair| pair[1] > pair[0] || gap_at_midnight(&zone, change)), "{}", context());
            }
        }
    }
    assert!(seen > 800, "{seen} changes were looked at");
    assert!(shorter > 0, "no window was ever shortened: the test does not reach the gaps");
    eprintln!("{} zones, {seen} changes, {} windows", ZONES.len(), seen * 48);
}

fn civil_day(zone: &TimeZone, time: Timestamp) -> jiff::civil::Date {
    zone.to_datetime(jiff::Timestamp::from_millisecond(i64::try_from(time.ms()).unwrap()).unwrap()).date()
}

/// Whether clocks go from before midnight to after it.
fn gap_at_midnight(zone: &TimeZone, change: Timestamp) -> bool {
    civil_day(zone, change - Duration::from_secs(1)) != civil_day(zone, change)
}

#[test]
fn a_week_long_sweep_of_lengths_never_gives_more_time_than_was_allowed() {
    for name in ZONES {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        for change in changes(&zone).into_iter().rev().take(4) {
            for duration_s in [60, 1_800, 3_600, 5_400, 4 * 3_600, 20 * 3_600] {
                let found = around(&daily(name, 90, duration_s), change);
                assert!(
                    found.iter().all(|one| one.end.since(one.start).as_secs() <= u64::from(duration_s)),
                    "{name} {change} {duration_s}: {found:?}"
                );
                assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "{name} {change} {duration_s}");
            }
        }
    }
}

#[test]
fn leap_days_open_and_common_years_have_none() {
    for name in ZONES {
        for (year, leap) in [(2015, false), (2016, true), (2023, false), (2024, true), (2028, true), (2032, true)] {
            let from = at(&format!("{year}-02-20T00:00:00Z"));
            let window = Window {
                timezone: (*name).to_owned(),
                start: "FREQ=MONTHLY;BYMONTHDAY=29;BYHOUR=12".to_owned(),
                duration_s: 3_600,
                cutoff_s: 0,
            };
            let found = intervals(&window, from, 20);
            assert_eq!(found.is_ok(), leap, "{name} {year}: {found:?}");
            let last = Window { start: "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=12".to_owned(), ..window };
            let found = intervals(&last, from, 15).unwrap();
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let day = civil_day(&zone, found[0].start);
            assert_eq!((found.len(), day.month(), day.day()), (1, 2, if leap { 29 } else { 28 }), "{name} {year}");
        }
    }
}

#[test]
fn a_year_has_as_many_days_as_openings() {
    for name in ZONES {
        for year in [2023, 2024, 2025, 2026] {
            let days = if year == 2024 { 366 } else { 365 };
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let first = zone.to_timestamp(jiff::civil::date(year, 1, 1).at(0, 0, 0, 0)).unwrap().as_millisecond();
            let found = intervals(&daily(name, 12 * 60, 3_600), Timestamp(u64::try_from(first).unwrap()), days).unwrap();
            assert_eq!(found.len(), days as usize, "{name} {year}");
        }
    }
}
