//! `fother backtest`: what the built-in order and other rules would have caught, with what was known on a day.

use super::Context;
use crate::{
    cli::Backtest,
    failure::{FINE, Failure, UNKNOWN, USAGE},
    output::{Format, envelope, table},
};
use fother_core::{
    advisory::Day,
    rank::{
        backtest::{self, Order, Reach, Replay, Share},
        points::Table,
    },
};
use fother_feeds::history;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Columns of the picture.
const PICTURE_COLUMNS: i32 = 48;
/// Effort at the picture's left and right end, in percent; the axis is logarithmic.
const PICTURE_EFFORT: (f64, f64) = (0.1, 20.0);
/// How far up a folder with catalogues is looked for.
const PARENTS_MAX: usize = 3;
/// Most lines of `--top`.
const TOP_MAX: usize = 10_000;

/// Runs the command.
pub fn run(context: &Context, arguments: &Backtest) -> Result<u8, Failure> {
    let failed = |why: String| Failure::new(USAGE, why, "name a directory with cvss-bt.csv, epss.csv and CISA's catalogue of one day");
    let recorded = history::read(&arguments.data, &catalogues(arguments)).map_err(failed)?;
    let day = match &arguments.at {
        None => recorded.newest,
        Some(text) => Day::parse(text).ok_or_else(|| failed(format!("--at {text}: it is no day such as 2024-01-13")))?,
    };
    let until = month_later(day, arguments.months).ok_or_else(|| failed("--months: it leads out of the calendar".into()))?;
    let points = Table::built_in().map_err(failed)?;
    let past = &recorded.history;
    if past.kev_until <= day {
        let what = format!("the catalogue of known exploited vulnerabilities ends on {}, so nothing is known after {day}", past.kev_until);
        return Err(Failure::new(UNKNOWN, what, "name a later catalogue with --kev"));
    }
    let view = past.at(day, arguments.scored_only, !arguments.strict);
    let exploited = past.exploited(day, until);
    let replays = Order::ALL.map(|order| backtest::replay(&view, order, &points, &exploited));
    let mut remarks = recorded.missing.clone();
    if past.lists_of > day {
        let how = if arguments.strict { "so the exploit lists are left out (--strict)" } else { "so exploit lists may look ahead" };
        remarks.push(format!("cvss-bt.csv is of {}, {} days after {day}, {how}", past.lists_of, past.lists_of.since(day)));
    }
    if past.kev_until < until {
        remarks.push(format!("the catalogue ends on {}, before {until}: later additions are not known", past.kev_until));
    }
    if replays.iter().any(|replay| replay.exploited() == 0) {
        return Err(Failure::new(UNKNOWN, "none of the ordered vulnerabilities was exploited later", "give a longer time with --months"));
    }
    match context.format {
        Format::Json => envelope("backtest", &data(arguments, &view, until, &points, &replays), &remarks)?,
        Format::Table => print(arguments, &view, until, &points, &replays, &remarks),
    }
    Ok(FINE)
}

/// The nearest folder `kev` beside the directory's parents, where no catalogue is named.
pub fn beside(data: &Path) -> Option<PathBuf> {
    let dir = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    dir.ancestors().take(PARENTS_MAX).map(|parent| parent.join("kev")).find(|path| path.is_dir())
}

/// The catalogues that say what came afterwards: the named one, else what lies beside the directory.
fn catalogues(arguments: &Backtest) -> Vec<PathBuf> {
    if let Some(path) = &arguments.kev {
        return vec![path.clone()];
    }
    let Some(kev) = beside(&arguments.data) else { return Vec::new() };
    let named = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("known_exploited_vulnerabilities") && !name.contains("schema")
    };
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(kev).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| named(path)).collect();
    found.sort();
    found
}

fn month_later(day: Day, months: u32) -> Option<Day> {
    let date: jiff::civil::Date = day.to_string().parse().ok()?;
    Day::parse(&date.checked_add(jiff::Span::new().try_months(i64::from(months)).ok()?).ok()?.to_string())
}

fn data(arguments: &Backtest, view: &backtest::View, until: Day, points: &Table, replays: &[Replay; 4]) -> Value {
    let orders: Vec<Value> = replays
        .iter()
        .map(|replay| {
            let reach: Vec<Reach> = arguments.effort.iter().map(|effort| replay.reach(*effort)).collect();
            json!({"order": replay.order, "reach": reach})
        })
        .collect();
    let ahead: Vec<Value> = arguments.effort.iter().map(|effort| json!({"effort": effort, "ahead": ahead(replays, *effort)})).collect();
    let top: Vec<Value> = backtest::first(view, points, arguments.top.min(TOP_MAX))
        .into_iter()
        .map(|(id, points)| json!({"id": id, "points": points}))
        .collect();
    json!({
        "at": view.day(), "until": until, "ordered": view.known().len(), "left_out": view.left_out(),
        "exploited": replays.iter().map(Replay::exploited).max(), "weights": points.version,
        "orders": orders, "built_in_ahead_of_tiered": ahead, "top": top,
    })
}

/// How far the built-in order is ahead of the tiered rule, in points of coverage.
fn ahead(replays: &[Replay; 4], effort: f64) -> Option<Share> {
    let of = |order: Order| replays.iter().find(|replay| replay.order == order);
    of(Order::BuiltIn)?.ahead_of(of(Order::Tiered)?, effort)
}

fn print(arguments: &Backtest, view: &backtest::View, until: Day, points: &Table, replays: &[Replay; 4], remarks: &[String]) {
    let exploited = replays.iter().map(Replay::exploited).max().unwrap_or_default();
    println!(
        "{} vulnerabilities ordered with what was known on {}; {exploited} of them exploited until {until}",
        view.known().len(),
        view.day()
    );
    for (why, count) in view.left_out() {
        println!("  left out: {count} {why}");
    }
    remarks.iter().for_each(|remark| println!("  note: {}", fother_core::text::printable(remark, 300)));
    let share = |share: Option<Share>, digits: usize| {
        share.map_or_else(|| "-".into(), |s| format!("{:.digits$} % ({:.digits$}–{:.digits$})", s.percent, s.low, s.high))
    };
    let mut rows = Vec::new();
    for effort in &arguments.effort {
        for replay in replays {
            let reach = replay.reach(*effort);
            let found = format!("{:.1}", reach.hits);
            rows.push(vec![
                format!("{effort} % = {}", reach.fixed),
                replay.order.name().into(),
                found,
                share(reach.coverage, 1),
                share(reach.efficiency, 2),
            ]);
        }
        let lead = ahead(replays, *effort).map_or_else(|| "-".into(), |s| format!("{:+.1} ({:+.1} to {:+.1})", s.percent, s.low, s.high));
        rows.push(vec![String::new(), "  built-in − tiered".into(), String::new(), lead, String::new()]);
    }
    println!();
    table(&["effort", "order", "found", "coverage (95 %)", "efficiency (95 %)"], &rows);
    picture(replays);
    for (at, (id, sum)) in backtest::first(view, points, arguments.top.min(TOP_MAX)).into_iter().enumerate() {
        println!("{:>5}. {id}  {sum} points", at + 1);
    }
}

/// Coverage over effort: a bar of eighths for each step of a logarithmic axis.
fn picture(replays: &[Replay; 4]) {
    println!("\ncoverage over effort, {} % to {} %, logarithmic; a full bar is 100 %", PICTURE_EFFORT.0, PICTURE_EFFORT.1);
    for replay in replays {
        let bars: String = (0..PICTURE_COLUMNS)
            .map(|column| {
                let part = f64::from(column) / f64::from(PICTURE_COLUMNS - 1);
                let effort = PICTURE_EFFORT.0 * (PICTURE_EFFORT.1 / PICTURE_EFFORT.0).powf(part);
                let covered = replay.reach(effort).coverage.map_or(0.0, |share| share.percent);
                bar(covered)
            })
            .collect();
        println!("{:<15} {bars}", replay.order.name());
    }
    println!("{:<15} 0.1 %{:>18}{:>15}{:>11}", "", "1 %", "5 %", "20 %");
}

fn bar(percent: f64) -> char {
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let limits = [12.5, 25.0, 37.5, 50.0, 62.5, 75.0, 87.5];
    let at = limits.iter().filter(|limit| percent > **limit).count();
    bars.get(at).copied().unwrap_or(' ')
}
