//! Maintenance windows through daylight saving and odd calendars. Touches nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fother_core::{
    Timestamp,
    window::{DAYS_MAX, Error, Interval, NotNow, Window, fits, intervals, tzdb_version},
};
use proptest::prelude::*;
use std::time::Duration;

const HOUR: u64 = 3_600;

fn window(timezone: &str, start: &str, duration_s: u64, cutoff_s: u64) -> Window {
    Window {
        timezone: timezone.to_owned(),
        start: start.to_owned(),
        duration_s: duration_s.try_into().unwrap(),
        cutoff_s: cutoff_s.try_into().unwrap(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The openings as text, without the year and the zeros.
fn openings(window: &Window, from: &str, days: u32) -> Vec<String> {
    let short = |time: Timestamp| time.to_string()[5..16].to_owned();
    intervals(window, at(from), days).unwrap().iter().map(|one| format!("{} to {}", short(one.start), short(one.end))).collect()
}

#[test]
fn a_weekly_window_opens_at_its_wall_clock_time_in_summer_and_winter() {
    let sunday = window("Europe/Berlin", "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=0", 3 * HOUR, HOUR / 2);
    assert_eq!(openings(&sunday, "2026-01-01T00:00:00Z", 14), ["01-04T00:00 to 01-04T03:00", "01-11T00:00 to 01-11T03:00"]);
    assert_eq!(openings(&sunday, "2026-07-01T00:00:00Z", 7), ["07-04T23:00 to 07-05T02:00"]);
    let first = intervals(&sunday, at("2026-01-01T00:00:00Z"), 7).unwrap()[0];
    assert_eq!(first.last_start, at("2026-01-04T02:30:00Z"));
}

#[test]
fn start_in_the_spring_gap_moves_to_its_end_and_keeps_the_length() {
    let daily = window("Europe/Berlin", "FREQ=DAILY;BYHOUR=2;BYMINUTE=30", HOUR, 0);
    assert_eq!(
        openings(&daily, "2026-03-28T00:00:00Z", 3),
        ["03-28T01:30 to 03-28T02:30", "03-29T01:00 to 03-29T02:00", "03-30T00:30 to 03-30T01:30"]
    );
}

#[test]
fn window_that_ends_in_the_spring_gap_is_shortened() {
    let daily = window("Europe/Berlin", "FREQ=DAILY;BYHOUR=1;BYMINUTE=0", HOUR + HOUR / 2, 0);
    assert_eq!(openings(&daily, "2026-03-28T12:00:00Z", 1), ["03-29T00:00 to 03-29T01:00"]);
}

#[test]
fn window_over_the_spring_gap_ends_at_its_usual_wall_clock_time() {
    let daily = window("Europe/Berlin", "FREQ=DAILY;BYHOUR=1", 3 * HOUR, 0);
    assert_eq!(openings(&daily, "2026-03-28T12:00:00Z", 1), ["03-29T00:00 to 03-29T02:00"]);
}

#[test]
fn of_the_doubled_hour_in_autumn_only_the_first_counts_and_the_window_is_no_longer_than_ever() {
    let daily = window("Europe/Berlin", "FREQ=DAILY;BYHOUR=2;BYMINUTE=30", HOUR / 2, 0);
    assert_eq!(openings(&daily, "2026-10-24T12:00:00Z", 2), ["10-25T00:30 to 10-25T01:00", "10-26T01:30 to 10-26T02:00"]);
    let over = window("Europe/Berlin", "FREQ=DAILY;BYHOUR=1", 3 * HOUR, 0);
    assert_eq!(openings(&over, "2026-10-24T12:00:00Z", 1), ["10-24T23:00 to 10-25T02:00"]);
}

#[test]
fn a_cutoff_longer_than_what_spring_left_lets_nothing_start() {
    let daily = window("Europe/Berlin", "FREQ=DAILY;BYHOUR=1", 90 * 60, 70 * 60);
    let found = intervals(&daily, at("2026-03-28T12:00:00Z"), 1).unwrap();
    assert_eq!(found[0].end.since(found[0].start), Duration::from_secs(HOUR));
    assert_eq!(fits(&found, found[0].start, Duration::ZERO), Err(NotNow::Never));
}

#[test]
fn a_day_that_never_was_opens_when_it_is_over() {
    // Samoa had no 30 December 2011: the clocks went from Thursday midnight to Saturday.
    let daily = window("Pacific/Apia", "FREQ=DAILY;BYHOUR=6", HOUR, 0);
    assert_eq!(
        openings(&daily, "2011-12-29T12:00:00Z", 2),
        ["12-29T16:00 to 12-29T17:00", "12-30T10:00 to 12-30T11:00", "12-30T16:00 to 12-30T17:00"]
    );
}

#[test]
fn ordinals_and_days_of_the_month() {
    let second = window("UTC", "FREQ=MONTHLY;BYDAY=2TU;BYHOUR=4", HOUR, 0);
    assert_eq!(openings(&second, "2026-01-01T00:00:00Z", 59), ["01-13T04:00 to 01-13T05:00", "02-10T04:00 to 02-10T05:00"]);
    let last_friday = window("UTC", "FREQ=MONTHLY;BYDAY=-1FR", HOUR, 0);
    assert_eq!(openings(&last_friday, "2026-01-01T00:00:00Z", 59), ["01-30T00:00 to 01-30T01:00", "02-27T00:00 to 02-27T01:00"]);
    let last_day = window("UTC", "FREQ=MONTHLY;BYMONTHDAY=-1,15", HOUR, 0);
    assert_eq!(
        openings(&last_day, "2026-02-01T00:00:00Z", 45),
        ["02-15T00:00 to 02-15T01:00", "02-28T00:00 to 02-28T01:00", "03-15T00:00 to 03-15T01:00"]
    );
    let friday_13 = window("UTC", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", HOUR, 0);
    assert_eq!(openings(&friday_13, "2026-01-01T00:00:00Z", 120), ["02-13T00:00 to 02-13T01:00", "03-13T00:00 to 03-13T01:00"]);
}

#[test]
fn intervals_count_from_a_fixed_day_whenever_they_are_asked_for() {
    let fortnight = window("UTC", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU", HOUR, 0);
    let all = intervals(&fortnight, at("2026-01-01T00:00:00Z"), 60).unwrap();
    assert!(all.windows(2).all(|pair| pair[1].start.since(pair[0].start) == Duration::from_secs(14 * 24 * HOUR)));
    for day in 0..30 {
        let from = at("2026-01-01T00:00:00Z") + Duration::from_secs(day * 24 * HOUR);
        let seen = intervals(&fortnight, from, 30).unwrap();
        assert!(seen.iter().all(|one| all.contains(one)), "asked {day} days later");
    }
    let quarter = window("UTC", "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=1", HOUR, 0);
    assert_eq!(openings(&quarter, "2026-02-01T00:00:00Z", 200), ["04-01T00:00 to 04-01T01:00", "07-01T00:00 to 07-01T01:00"]);
}

#[test]
fn windows_that_overlap_or_touch_are_one() {
    let twice = window("UTC", "FREQ=DAILY;BYHOUR=1,2,5", HOUR, 600);
    assert_eq!(openings(&twice, "2026-01-01T00:00:00Z", 1), ["01-01T01:00 to 01-01T03:00", "01-01T05:00 to 01-01T06:00"]);
    let found = intervals(&twice, at("2026-01-01T00:00:00Z"), 1).unwrap();
    assert_eq!(fits(&found, at("2026-01-01T01:55:00Z"), Duration::from_secs(1_800)), Ok(()));
}

#[test]
fn a_window_that_opened_before_is_seen() {
    let long = window("UTC", "FREQ=WEEKLY;BYDAY=FR;BYHOUR=18", 60 * HOUR, 0);
    assert_eq!(openings(&long, "2026-01-04T00:00:00Z", 1), ["01-02T18:00 to 01-05T06:00"]);
}

#[test]
fn always_is_one_interval() {
    let from = at("2026-01-01T00:00:00Z");
    let end = at("2026-01-08T00:00:00Z");
    assert_eq!(intervals(&Window::always(), from, 7), Ok(vec![Interval { start: from, end, last_start: end }]));
    assert_eq!(Window::always().validate(), Ok(()));
}

#[test]
fn what_fits_and_when_else() {
    let found = intervals(&window("UTC", "FREQ=DAILY;BYHOUR=1", 3 * HOUR, HOUR), at("2026-01-01T00:00:00Z"), 2).unwrap();
    let ask = |time: &str, minutes: u64| fits(&found, at(&format!("2026-01-{time}:00Z")), Duration::from_secs(minutes * 60));
    let tomorrow = Err(NotNow::NextAt(at("2026-01-02T01:00:00Z")));
    assert_eq!(ask("01T00:59", 10), Err(NotNow::NextAt(at("2026-01-01T01:00:00Z"))));
    assert_eq!(ask("01T01:00", 180), Ok(()));
    assert_eq!(ask("01T01:01", 180), tomorrow, "would run past the end");
    assert_eq!(ask("01T02:59", 61), Ok(()));
    assert_eq!(ask("01T03:00", 1), tomorrow, "after the cutoff");
    assert_eq!(ask("01T00:00", 181), Err(NotNow::Never), "longer than any window");
    assert_eq!(ask("02T04:00", 1), Err(NotNow::Never), "after the last");
    assert_eq!(fits(&[], at("2026-01-01T00:00:00Z"), Duration::ZERO), Err(NotNow::Never), "no interval is no permission");
}

#[test]
fn wrong_windows_say_what_is_wrong() {
    for (rule, word) in [
        ("", "KEY=VALUE"),
        ("FREQ=YEARLY", "DAILY, WEEKLY or MONTHLY"),
        ("BYHOUR=1;FREQ=DAILY", "first"),
        ("FREQ=WEEKLY", "BYDAY"),
        ("FREQ=WEEKLY;BYDAY=XX", "MO,2SU"),
        ("FREQ=WEEKLY;BYDAY=2SU", "FREQ=MONTHLY"),
        ("FREQ=WEEKLY;BYDAY=SU;BYMONTHDAY=1", "BYMONTHDAY"),
        ("FREQ=MONTHLY", "BYDAY or BYMONTHDAY"),
        ("FREQ=MONTHLY;BYDAY=6SU", "MO,2SU"),
        ("FREQ=MONTHLY;BYDAY=üü", "MO,2SU"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "1 to 31"),
        ("FREQ=DAILY;BYHOUR=24", "0 to 23"),
        ("FREQ=DAILY;BYHOUR=+1", "0 to 23"),
        ("FREQ=DAILY;BYHOUR=1,1", "0 to 23"),
        ("FREQ=DAILY;BYHOUR=1;BYHOUR=2", "twice"),
        ("FREQ=DAILY;BYSECOND=1", "not supported"),
        ("FREQ=DAILY;COUNT=1", "not supported"),
        ("FREQ=DAILY;INTERVAL=0", "1 to 99"),
        ("FREQ=DAILY;BYHOUR=1;", "KEY=VALUE"),
        ("FREQ=DAILY;BYHOUR=0,1,2,3;BYMINUTE=0,1,2,3,4,5,6,7,8,9,10,11,12", "too many"),
    ] {
        let error = window("UTC", rule, HOUR, 0).validate().unwrap_err();
        assert!(matches!(error, Error::Rule { .. }) && error.to_string().contains(word), "{rule}: {error}");
    }
    for zone in ["", "Europe/Atlantis", "Etc/Unknown", "local", "../etc/passwd", &"x".repeat(100)] {
        let error = window(zone, "FREQ=DAILY", HOUR, 0).validate().unwrap_err();
        assert!(matches!(error, Error::Zone { .. }), "{zone}: {error}");
    }
    for (duration, cutoff) in [(0, 0), (59, 0), (8 * 24 * HOUR, 0), (HOUR, HOUR)] {
        assert_eq!(window("UTC", "FREQ=DAILY", duration, cutoff).validate(), Err(Error::Span));
    }
}

#[test]
fn a_window_that_does_not_open_is_an_error_and_not_an_empty_list() {
    let never = window("UTC", "FREQ=MONTHLY;BYMONTHDAY=31", HOUR, 0);
    assert_eq!(intervals(&never, at("2026-02-01T00:00:00Z"), 20), Err(Error::NeverOpens { days: 20 }));
    for days in [0, DAYS_MAX + 1] {
        assert_eq!(intervals(&never, at("2026-02-01T00:00:00Z"), days), Err(Error::Days));
    }
    assert_eq!(intervals(&never, Timestamp(u64::MAX), 1), Err(Error::Days));
    assert_eq!(intervals(&window("Pacific/Apia", "FREQ=DAILY", HOUR, 0), Timestamp(0), 1).unwrap().len(), 1);
    assert!(tzdb_version().starts_with("20"), "{}", tzdb_version());
}

#[test]
fn unknown_keys_are_refused() {
    let text = r#"{"timezone":"UTC","start":"FREQ=DAILY","duration_s":60,"cutof_s":1}"#;
    assert!(serde_json::from_str::<Window>(text).is_err());
    assert!(serde_json::from_str::<Window>(&text.replace("cutof_s", "cutoff_s")).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_day_of_the_year_has_one_opening_of_at_most_its_duration(
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca", "Asia/Kathmandu", "UTC"]),
        hour in 0_u64..24, minute in 0_u64..60, duration in 60_u64..6 * HOUR, year in 2020_u16..2036,
    ) {
        let daily = window(zone, &format!("FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute}"), duration, 0);
        let from = at(&format!("{year}-01-01T00:00:00Z"));
        let found = intervals(&daily, from, 365).unwrap();
        prop_assert!((365..=366).contains(&found.len()), "{} openings", found.len());
        for one in &found {
            let length = one.end.since(one.start).as_secs();
            prop_assert!(length <= duration && length + HOUR >= duration && length > 0, "{one:?}");
        }
        for pair in found.windows(2) {
            let apart = pair[1].start.since(pair[0].start).as_secs();
            prop_assert!((23 * HOUR..=25 * HOUR).contains(&apart), "{pair:?}");
            prop_assert!(pair[0].end < pair[1].start);
        }
    }

    #[test]
    fn what_fits_next_fits_then(now_h in 0_u64..400, predicted in 0_u64..5 * HOUR, cutoff in 0_u64..HOUR) {
        let weekly = window("Europe/Berlin", "FREQ=WEEKLY;BYDAY=SU,WE;BYHOUR=1", 3 * HOUR, cutoff);
        let from = at("2026-03-20T00:00:00Z");
        let found = intervals(&weekly, from, 14).unwrap();
        let (now, predicted) = (from + Duration::from_secs(now_h * HOUR), Duration::from_secs(predicted));
        if let Err(NotNow::NextAt(next)) = fits(&found, now, predicted) {
            prop_assert!(next > now);
            prop_assert_eq!(fits(&found, next, predicted), Ok(()));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(rule in "(FREQ=(DAILY|WEEKLY|MONTHLY))?[;A-Z=0-9,ü-]{0,40}", zone in "[A-Za-z/_.]{0,20}") {
        let _ = window("UTC", &rule, HOUR, 0).validate();
        let _ = window(&zone, "FREQ=DAILY", HOUR, 0).validate();
    }
}
