//! `fother policy simulate`: the next days as a table, as a picture, as iCalendar, as JSON. Asks the server.

use super::{Context, files::Files};
use crate::{
    failure::{FINE, Failure, UNKNOWN},
    output::{Wanted, envelope, table},
};
use fother_core::{
    Timestamp,
    ics::{self, Event},
    policy::forecast::{Draft, Forecast, Row},
    text::printable,
    window::Interval,
};
use fother_server::{Simulate, Simulated};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Most hosts in the picture.
const PICTURE_HOSTS_MAX: usize = 40;
/// Most days in the picture: a terminal's width.
const PICTURE_DAYS_MAX: u32 = 90;
/// Most updates named in one cell.
const UPDATES_SHOWN: usize = 6;
const DAY_MS: u64 = 86_400_000;

/// Runs the command.
pub fn run(context: &Context, dir: Option<&Path>, days: u32) -> Result<u8, Failure> {
    let files = dir.map(Files::read).transpose()?.map(Files::texts);
    let answer: Simulated = context.client()?.post("/api/v1/policy/simulate", &Simulate { files, days })?;
    match context.wanted {
        Wanted::Ics => print!("{}", ics::calendar("Patching", &events(&answer.forecast), answer.from)),
        Wanted::Table => print(&answer),
        _ => envelope("policy-simulate", &answer, &answer.unknown)?,
    }
    answer.unknown.iter().for_each(|what| eprintln!("could not tell: {}", printable(what, 400)));
    Ok(if answer.unknown.is_empty() { FINE } else { UNKNOWN })
}

fn minute(time: Timestamp) -> String {
    format!("{} {}Z", &time.to_string()[..10], &time.to_string()[11..16])
}

fn updates(row: &Row) -> String {
    let named: Vec<String> = row.updates.iter().take(UPDATES_SHOWN).map(|(source, to)| format!("{source} {to}")).collect();
    let more = row.updates.len().saturating_sub(UPDATES_SHOWN);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

fn print(answer: &Simulated) {
    let Simulated { from, days, forecast, .. } = answer;
    if forecast.rows.is_empty() {
        println!("nothing would happen within {days} days");
    } else {
        let row = |row: &Row| vec![minute(row.start), minute(row.end), row.group.clone(), row.name.clone(), updates(row)];
        table(&["begins", "verified", "group", "host", "updates"], &forecast.rows.iter().map(row).collect::<Vec<_>>());
        println!();
        picture(forecast, *from, *days).iter().for_each(|line| println!("{line}"));
    }
    if !forecast.drafts.is_empty() {
        println!();
        let rows: Vec<Vec<String>> =
            forecast.drafts.iter().map(|draft| vec![minute(draft.at), draft.schedule.clone(), draft.group.clone()]).collect();
        table(&["drafted", "schedule", "group"], &rows);
    }
    if !forecast.left.is_empty() {
        println!();
        let rows: Vec<Vec<String>> =
            forecast.left.iter().map(|left| vec![left.group.clone(), left.what.clone(), left.why.clone()]).collect();
        table(&["group", "does not happen", "because"], &rows);
    }
}

/// One line per host, one column per day: `█` patched, `─` its group may begin, `·` it may not.
fn picture(forecast: &Forecast, from: Timestamp, days: u32) -> Vec<String> {
    let (days, first) = (days.min(PICTURE_DAYS_MAX), from.ms() / DAY_MS);
    let day_of = |time: Timestamp| (time.ms() / DAY_MS).saturating_sub(first);
    let mut hosts: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
    for row in &forecast.rows {
        hosts.entry((&row.group, &row.name)).or_default().insert(day_of(row.start));
    }
    let name = |group: &str, host: &str| printable(&format!("{group}/{host}"), 24);
    let width = hosts.keys().map(|(group, host)| name(group, host).chars().count()).max().unwrap_or(0);
    let mut lines = vec![ruler(width, from, days)];
    for ((group, host), patched) in hosts.iter().take(PICTURE_HOSTS_MAX) {
        let open = |day: u64| {
            forecast.openings.get(*group).into_iter().flatten().any(|one: &Interval| day_of(one.start) <= day && day <= day_of(one.end))
        };
        let cell = |day: u64| match (patched.contains(&day), open(day)) {
            (true, _) => '█',
            (false, true) => '─',
            (false, false) => '·',
        };
        lines.push(format!("{:<width$} {}", name(group, host), (0..u64::from(days)).map(cell).collect::<String>()));
    }
    if hosts.len() > PICTURE_HOSTS_MAX {
        lines.push(format!("and {} more hosts", hosts.len() - PICTURE_HOSTS_MAX));
    }
    lines.push(format!("{:<width$} █ patched  ─ may begin  · may not, days in UTC from {}", "", &from.to_string()[..10]));
    lines
}

/// The day of the month under every seventh column.
fn ruler(width: usize, from: Timestamp, days: u32) -> String {
    let mut out = format!("{:<width$} ", "");
    for day in (0..u64::from(days)).step_by(7) {
        let text = Timestamp(from.ms() + day * DAY_MS).to_string();
        out.push_str(&format!("{:<7}", format!("┌{}", &text[5..10])));
    }
    out
}

/// One appointment for each group and opening.
fn events(forecast: &Forecast) -> Vec<Event> {
    let mut all: BTreeMap<(Timestamp, &str), Vec<&Row>> = BTreeMap::new();
    for row in &forecast.rows {
        all.entry((row.opening.start, &row.group)).or_default().push(row);
    }
    let event = |((_, group), rows): ((Timestamp, &str), Vec<&Row>)| {
        let start = rows.iter().map(|row| row.start).min()?;
        let end = rows.iter().map(|row| row.end).max()?;
        Some(Event {
            uid: format!("patching-{group}-{}", start.ms()),
            time: Interval { start, end, last_start: end },
            summary: format!("Patching {group}: {} hosts", rows.len()),
            description: rows
                .iter()
                .map(|row| format!("{} {}: {}", minute(row.start), row.name, updates(row)))
                .collect::<Vec<_>>()
                .join("\n"),
        })
    };
    let draft = |draft: &Draft| Event {
        uid: format!("draft-{}-{}", draft.schedule, draft.at.ms()),
        time: Interval { start: draft.at, end: draft.at, last_start: draft.at },
        summary: format!("Plan for {} is drafted", draft.group),
        description: format!("schedule {}", draft.schedule),
    };
    all.into_iter().filter_map(event).chain(forecast.drafts.iter().map(draft)).collect()
}
