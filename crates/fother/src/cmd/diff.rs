//! `fother diff`: what changed between two states, on the screen and in files.

use super::{
    Context, findings,
    opened::{self, Ask},
};
use crate::{
    cli::Diff as Arguments,
    failure::{FINE, Failure, NO, UNKNOWN, USAGE},
    output::{Wanted, table},
};
use fother_core::{
    advisory::{Day, reader::Database},
    diff::{self, Diff, Moved, Side},
    report::csv::quoted,
    text::printable,
};
use fother_feeds::database::Blocks;
use std::path::Path;

/// Most lines of a list on a screen; JSON and CSV have all.
const LINES_MAX: usize = 40;

/// Runs the command.
pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let days: Vec<Day> = arguments.as_of.iter().map(|text| day(text)).collect::<Result<_, _>>()?;
    if days.len() > 2 || (arguments.b.is_none() && days.is_empty()) {
        return Err(Failure::new(USAGE, "two states are compared", "name a second one, or a day with --as-of (at most two)"));
    }
    let second = arguments.b.as_deref().unwrap_or(&arguments.a);
    let a = side(context, arguments, &arguments.a, days.first().copied())?;
    let b = side(context, arguments, second, days.get(1).copied())?;
    let titles = (a.title.clone(), b.title.clone());
    let mut diff = diff::diff(&a, &b);
    diff.unknown.sort();
    diff.unknown.dedup();
    match context.wanted {
        Wanted::Csv => print!("{}", csv(&diff)),
        Wanted::Table => print(&titles, &diff),
        _ => {
            let value = serde_json::json!({"a": titles.0, "b": titles.1, "diff": diff});
            crate::output::envelope("diff", &value, &diff.unknown)?;
        }
    }
    let failed = arguments.fail_on.is_some() && !diff.opened.is_empty();
    if failed {
        let lines: Vec<String> =
            diff.opened.iter().map(|moved| format!("{} in {}: {}", moved.item.id, moved.item.source, moved.why)).collect();
        findings::say(&lines);
    }
    let told = if diff.unknown.is_empty() { FINE } else { UNKNOWN };
    Ok(told.max(if failed { NO } else { FINE }))
}

fn day(text: &str) -> Result<Day, Failure> {
    let whole = Day::parse(text).filter(|_| text.len() == "2026-01-01".len());
    whole.ok_or_else(|| Failure::new(USAGE, format!("`{}` is no day", printable(text, 40)), "write it as 2026-06-01"))
}

fn side(context: &Context, arguments: &Arguments, path: &Path, as_of: Option<Day>) -> Result<Side, Failure> {
    let database: Option<Database<Blocks>> = findings::database(arguments.db.as_deref(), context, None)?;
    if as_of.is_some() && database.is_none() {
        return Err(findings::no_database());
    }
    let database = database.map(|database| match as_of {
        Some(day) => database.as_of(day),
        None => database,
    });
    let ask = Ask { database: database.as_ref(), as_of, feed_max_age: arguments.feed_max_age, live: false };
    let opened = opened::open(path, &ask)?;
    let is_saved = opened.saved.is_some();
    let mut side = opened.side();
    if let Some(day) = as_of {
        if is_saved {
            let what = format!("{} is a saved scan, which was judged when it was made", path.display());
            return Err(Failure::new(USAGE, what, "--as-of needs packages: a root, an SBOM or an inventory"));
        }
        side.title = format!("{} as of {day}", side.title);
        // The same file judges differently on another day.
        side.database = side.database.map(|digest| format!("{digest} as of {day}"));
    }
    Ok(side)
}

fn joined(versions: &[String]) -> String {
    versions.join(", ")
}

fn print((a, b): &(String, String), diff: &Diff) {
    println!("{}  →  {}", printable(a, 200), printable(b, 200));
    println!(
        "packages: {} added, {} removed, {} changed · findings: {} opened, {} closed, {} in both",
        diff.added.len(),
        diff.removed.len(),
        diff.changed.len(),
        diff.opened.len(),
        diff.closed.len(),
        diff.kept
    );
    let mut rows = Vec::new();
    rows.extend(diff.added.iter().map(|p| vec!["added".into(), p.name.clone(), String::new(), joined(&p.versions)]));
    rows.extend(diff.removed.iter().map(|p| vec!["removed".into(), p.name.clone(), joined(&p.versions), String::new()]));
    rows.extend(diff.changed.iter().map(|p| vec!["changed".into(), p.name.clone(), joined(&p.from), joined(&p.to)]));
    list(&["", "package", "from", "to"], &rows);
    let moved = |word: &str, list: &[Moved]| -> Vec<Vec<String>> {
        let row = |moved: &Moved| vec![word.to_owned(), moved.item.id.clone(), moved.item.source.clone(), moved.why.clone()];
        list.iter().map(row).collect()
    };
    list(&["", "finding", "source", "because"], &moved("opened", &diff.opened));
    list(&["", "finding", "source", "because"], &moved("closed", &diff.closed));
    for why in diff.unknown.iter().take(LINES_MAX) {
        println!("could not tell: {}", printable(why, 300));
    }
}

fn list(header: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    println!();
    table(header, rows.get(..LINES_MAX).unwrap_or(rows));
    if rows.len() > LINES_MAX {
        println!("  … and {} more (--format json has all)", rows.len() - LINES_MAX);
    }
}

/// One line for each change: what, kind of thing, name, architecture, from, to, why.
fn csv(diff: &Diff) -> String {
    let mut out = String::from("change,what,name,package,arch,from,to,why\r\n");
    let mut line = |cells: [&str; 8]| {
        out.push_str(&cells.map(quoted).join(","));
        out.push_str("\r\n");
    };
    for p in &diff.added {
        line(["added", "package", &p.name, &p.name, &p.arch, "", &joined(&p.versions), ""]);
    }
    for p in &diff.removed {
        line(["removed", "package", &p.name, &p.name, &p.arch, &joined(&p.versions), "", ""]);
    }
    for p in &diff.changed {
        line(["changed", "package", &p.name, &p.name, &p.arch, &joined(&p.from), &joined(&p.to), ""]);
    }
    for moved in &diff.opened {
        line(["opened", "finding", &moved.item.id, &moved.item.source, "", "", &moved.item.version, &moved.why]);
    }
    for moved in &diff.closed {
        line(["closed", "finding", &moved.item.id, &moved.item.source, "", &moved.item.version, "", &moved.why]);
    }
    for why in &diff.unknown {
        line(["unknown", "", "", "", "", "", "", why]);
    }
    out
}
