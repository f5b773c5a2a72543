//! `fother window`: when the windows of the policy files open. Reads the files; needs no server.

use super::{Context, policy::files};
use crate::{
    cli::Window as Verb,
    failure::{FAILED, FINE, Failure, USAGE},
    output::{Wanted, envelope, table},
};
use fother_core::{
    Timestamp,
    ics::{self, Event},
    policy::{Policy, calendar, span::written},
    window::{Interval, Window, tzdb_version},
};
use serde_json::json;
use std::{path::Path, time::SystemTime};

/// Runs the command.
pub fn run(context: &Context, verb: &Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Show { name, next, group, from, policy } => {
            let policy = files::policy(policy)?;
            let from = from.as_deref().map_or_else(now, |text| text.parse().map_err(|error| usage(format!("--from {text}: {error}"))))?;
            let (window, found) = openings(&policy, name, group.as_deref(), from, usize::from(*next))?;
            show(context, name, &window, &found, from)
        }
        Verb::Ls { policy } => list(context, policy),
    }
}

fn usage(what: String) -> Failure {
    Failure::new(USAGE, what, "")
}

/// The machine's clock.
pub fn now() -> Result<Timestamp, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp(u64::try_from(since.as_millis())?))
}

fn openings(policy: &Policy, name: &str, group: Option<&str>, from: Timestamp, count: usize) -> Result<(Window, Vec<Interval>), Failure> {
    let Some(window) = policy.window.get(name) else {
        let known = policy.window.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(Failure::new(USAGE, format!("there is no window `{name}`"), format!("known: {known}")));
    };
    let found = calendar::next(window, from, count).map_err(|error| usage(format!("window {name}: {error}")))?;
    let Some(group) = group else { return Ok((window.clone(), found)) };
    let Some(known) = policy.group.get(group) else { return Err(usage(format!("there is no group `{group}`"))) };
    if known.window != name {
        return Err(usage(format!("group {group} has the window {}", known.window)));
    }
    let mut left =
        calendar::openings(policy, group, None, from, fother_core::window::DAYS_MAX).map_err(|error| usage(error.to_string()))?;
    left.truncate(count);
    Ok((window.clone(), left))
}

/// How a moment reads on the window's own clocks.
fn local(time: Timestamp, zone: &str) -> Result<String, Failure> {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone)?;
    let time = jiff::Timestamp::from_millisecond(i64::try_from(time.ms())?)?;
    Ok(time.to_zoned_datetime(zone).strftime("%a %Y-%m-%d %H:%M %Z").to_string())
}

fn short(time: Timestamp) -> String {
    format!("{} {}Z", &time.to_string()[..10], &time.to_string()[11..16])
}

fn show(context: &Context, name: &str, window: &Window, found: &[Interval], from: Timestamp) -> Result<u8, Failure> {
    let usual = u64::from(window.duration_s);
    match context.wanted {
        Wanted::Ics => print!("{}", ics::calendar(&format!("Window {name}"), &events(name, window, found), from)),
        Wanted::Table => {
            let mut rows = Vec::new();
            for one in found {
                let long = one.end.since(one.start).as_secs();
                let note = match long.cmp(&usual) {
                    std::cmp::Ordering::Less => "shorter than usual",
                    std::cmp::Ordering::Greater => "several in one",
                    std::cmp::Ordering::Equal => "",
                };
                let last = if one.last_start <= one.start { "none".to_owned() } else { short(one.last_start) };
                rows.push(vec![
                    local(one.start, &window.timezone)?,
                    short(one.start),
                    short(one.end),
                    last,
                    written(long),
                    note.to_owned(),
                ]);
            }
            table(&["opens there", "opens", "closes", "last start before", "open for", ""], &rows);
            eprintln!("tz database {}", tzdb_version());
        }
        _ => envelope("window", &json!({"name": name, "window": window, "tzdata": tzdb_version(), "openings": found}), &[])?,
    }
    Ok(FINE)
}

fn events(name: &str, window: &Window, found: &[Interval]) -> Vec<Event> {
    let one = |time: &Interval| Event {
        uid: format!("window-{name}-{}", time.start.ms()),
        time: *time,
        summary: format!("Maintenance window {name}"),
        description: format!("{} in {}; nothing starts from {} on", window.start, window.timezone, time.last_start),
    };
    found.iter().map(one).collect()
}

fn list(context: &Context, dir: &Path) -> Result<u8, Failure> {
    let policy = files::policy(dir)?;
    let (from, mut rows, mut events, mut values) = (now()?, Vec::new(), Vec::new(), Vec::new());
    for (name, window) in &policy.window {
        let found = calendar::next(window, from, 1).map_err(|error| usage(format!("window {name}: {error}")))?;
        let Some(next) = found.first() else { return Err(Failure::new(FAILED, format!("window {name} never opens"), "")) };
        let groups: Vec<&str> = policy.group.iter().filter(|(_, group)| group.window == *name).map(|(name, _)| name.as_str()).collect();
        rows.push(vec![
            name.clone(),
            local(next.start, &window.timezone)?,
            short(next.start),
            written(window.duration_s.into()),
            groups.join(", "),
        ]);
        values.push(json!({"name": name, "window": window, "groups": groups, "next": next}));
        events.extend(self::events(name, window, &found));
    }
    match context.wanted {
        Wanted::Ics => print!("{}", ics::calendar("Windows", &events, from)),
        Wanted::Table => table(&["window", "opens there", "opens", "for", "groups"], &rows),
        _ => envelope("windows", &values, &[])?,
    }
    Ok(FINE)
}
