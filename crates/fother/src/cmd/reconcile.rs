//! `fother reconcile`: the report of another scanner, answered finding by finding.

use super::{
    Context, findings,
    opened::{self, Ask, Opened},
};
use crate::{
    cli::Reconcile,
    failure::{FAILED, FINE, Failure, UNKNOWN, USAGE},
    output::{Wanted, table},
};
use fother_core::{
    reconcile::{self, Answer, Answered, Ground, Report, vex},
    report::csv::quoted,
    text::printable,
};
use fother_host::scan::clock;
use serde_json::json;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Most lines of one answer on a screen; JSON and CSV have all.
const LINES_MAX: usize = 15;

/// Runs the command.
pub fn run(context: &Context, arguments: &Reconcile) -> Result<u8, Failure> {
    let report = read(&arguments.report)?;
    let database = findings::database(arguments.db.as_deref(), context, Some("vulnerable"))?.ok_or_else(findings::no_database)?;
    let ask = Ask { database: Some(&database), as_of: None, feed_max_age: arguments.feed_max_age, live: true };
    let path = arguments.file.as_ref().unwrap_or(&arguments.root);
    let opened = opened::open(path, &ask)?;
    let (Some(packages), Some(assessment)) = (&opened.packages, &opened.assessment) else {
        let what = format!("{} does not say what is installed and cannot be judged again", path.display());
        return Err(Failure::new(USAGE, what, "name a root, an SBOM or an inventory"));
    };
    let ground = Ground { distribution: &opened.distribution, packages, assessment, foreign: &opened.foreign };
    let answers = reconcile::answer(&database, &ground, &report.findings)?;
    let mut unknown = report.unknown.clone();
    unknown.extend(opened.unknown.iter().cloned());
    if let Some(file) = &arguments.write_vex {
        write_vex(file, &answers, arguments.silence_not_loaded)?;
    }
    match context.wanted {
        Wanted::Csv => print!("{}", csv(&answers)),
        Wanted::Table => print(&report, &opened, &answers, arguments),
        _ => {
            let counts: serde_json::Map<String, serde_json::Value> =
                counts(&answers).into_iter().map(|(answer, count)| (answer.words().replace(' ', "-"), json!(count))).collect();
            let data = json!({"report": report.form, "subject": opened.title, "counts": counts, "answers": answers});
            findings::envelope("reconcile", &data, &unknown, Some(assessment), None)?;
        }
    }
    // What could not be told about the system as a whole matters only where a finding's answer hangs on it.
    let open = !report.unknown.is_empty() || answers.iter().any(|answered| answered.answer == Answer::Unknown);
    Ok(if open { UNKNOWN } else { FINE })
}

fn read(path: &PathBuf) -> Result<Report, Failure> {
    let hint = "Trivy: --format json, Grype: -o json, or SARIF or CSV";
    let failed = |why: String| Failure::new(USAGE, format!("report {}: {why}", path.display()), hint);
    let limit = reconcile::REPORT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    } else {
        let file = fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    }
    reconcile::read(&bytes).map_err(failed)
}

fn write_vex(file: &Path, answers: &[Answered], silence_not_loaded: bool) -> Result<(), Failure> {
    let options = vex::Options { silence_not_loaded, version: env!("CARGO_PKG_VERSION"), at: clock() };
    let document = serde_json::to_vec_pretty(&vex::document(answers, &options))?;
    fs::write(file, document)
        .map_err(|error| Failure::new(FAILED, format!("{}: {error}", file.display()), "name a file that you may write"))
}

fn counts(answers: &[Answered]) -> Vec<(Answer, usize)> {
    Answer::ALL.into_iter().map(|answer| (answer, answers.iter().filter(|answered| answered.answer == answer).count())).collect()
}

fn print(report: &Report, opened: &Opened, answers: &[Answered], arguments: &Reconcile) {
    println!("{}: {} findings, answered from {}", printable(&report.form, 80), answers.len(), printable(&opened.title, 200));
    let shown: Vec<String> =
        counts(answers).into_iter().filter(|(_, count)| *count > 0).map(|(answer, count)| format!("{} {count}", answer.words())).collect();
    println!("{}", shown.join(" · "));
    for answer in Answer::ALL {
        let mine: Vec<&Answered> = answers.iter().filter(|answered| answered.answer == answer).collect();
        if mine.is_empty() {
            continue;
        }
        let row = |a: &&Answered| vec![a.foreign.id.clone(), a.foreign.package.clone(), a.foreign.version.clone(), evidence(a)];
        println!("\n{} ({}):", answer.words(), mine.len());
        table(&["finding", "package", "seen", "because"], &mine.iter().take(LINES_MAX).map(row).collect::<Vec<_>>());
        if mine.len() > LINES_MAX {
            println!("  … and {} more (--format json has all)", mine.len() - LINES_MAX);
        }
    }
    for why in report.unknown.iter().take(LINES_MAX) {
        println!("could not read: {}", printable(why, 300));
    }
    for why in opened.unknown.iter().take(LINES_MAX) {
        println!("could not tell: {}", printable(why, 300));
    }
    if let Some(file) = &arguments.write_vex {
        let silenced = answers.iter().filter(|answered| vex::silences(answered, arguments.silence_not_loaded)).count();
        println!("\n{} written: it silences {silenced} of {} findings", file.display(), answers.len());
    }
}

fn evidence(answered: &Answered) -> String {
    let feed = answered.feed.as_ref().map(|feed| format!(" [{} of {}]", feed.name, feed.date)).unwrap_or_default();
    format!("{}{feed}", answered.why)
}

fn csv(answers: &[Answered]) -> String {
    let mut out =
        String::from("id,package,seen,answer,why,installed,judged,fixed,advisory,published,status,feed,feed_date,severity,purl\r\n");
    for answered in answers {
        let foreign = &answered.foreign;
        let status = answered.status.and_then(|status| serde_json::to_value(status).ok()?.as_str().map(str::to_owned)).unwrap_or_default();
        let feed = answered.feed.as_ref();
        let cells = [
            foreign.id.clone(),
            foreign.package.clone(),
            foreign.version.clone(),
            answered.answer.words().replace(' ', "-"),
            answered.why.clone(),
            answered.installed.join(" "),
            answered.judged.clone(),
            answered.fixed.clone().unwrap_or_default(),
            answered.advisory.clone().unwrap_or_default(),
            if answered.published.is_known() { answered.published.to_string() } else { String::new() },
            status,
            feed.map(|feed| feed.name.clone()).unwrap_or_default(),
            feed.map(|feed| feed.date.to_string()).unwrap_or_default(),
            foreign.severity.clone(),
            foreign.purl.clone(),
        ];
        out.push_str(&cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    }
    out
}
