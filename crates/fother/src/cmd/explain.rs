//! `fother explain`: the whole derivation for a CVE, a package or an update on one machine.

mod fleet;

use super::{Context, findings};
use crate::{
    cli::Explain,
    failure::{FINE, Failure, UNKNOWN, USAGE},
    output::Format,
};
use fother_core::{
    advisory::{Day, reader::VulnInfo},
    assess::{
        host::{Assessment, HostFinding},
        in_use::PackageUse,
    },
    rank::{self, Update, rules::Pack},
    report,
    text::printable,
};
use fother_host::{findings::Judge, foreign, root::Root, scan};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Most packages elsewhere that are listed.
const ELSEWHERE_MAX: usize = 12;

/// Runs the command.
pub fn run(context: &Context, arguments: &Explain) -> Result<u8, Failure> {
    if arguments.fleet {
        return fleet::run(context, arguments);
    }
    let database = findings::database(arguments.db.as_deref(), context, Some("vulnerable"))?;
    let Some(database) = database else {
        return Err(Failure::new(UNKNOWN, "there is no database of advisories", "run `fother feeds update`"));
    };
    let root = Root::open(&arguments.root)?;
    let judge = Judge::new(&database, None);
    // Only dpkg hosts have archives that are looked at here.
    let assessment = if foreign::is_there(&root) {
        judge.quick(&root)?.assessment
    } else {
        scan::scan(&root, &scan::Wanted { judge: Some(&judge), ..scan::Wanted::default() })?.assessment.unwrap_or_default()
    };
    let what = arguments.what.as_str();
    let vuln = database.vuln_by_id(what)?;
    let mine: Vec<&HostFinding> = assessment
        .findings
        .iter()
        .filter(|f| f.id == what || f.source == what || f.packages.iter().any(|p| p == what) || f.advisories.iter().any(|a| a == what))
        .collect();
    let owned: Vec<HostFinding> = mine.iter().map(|finding| (*finding).clone()).collect();
    let packs = Pack::built_in().map_err(|why| Failure::new(USAGE, why, ""))?;
    let queue = rank::queue(&owned, findings::asset(arguments.exposed.as_deref()), &packs, Day::of(judge.now));
    let cleared: Vec<&String> = assessment.not_affected.iter().filter(|line| line.split(' ').any(|word| word == what)).collect();
    if mine.is_empty() && vuln.is_none() && cleared.is_empty() {
        println!("{}: no finding on this machine, and no feed knows a vulnerability of this name", printable(what, 80));
        return Ok(if assessment.unknown.is_empty() { FINE } else { UNKNOWN });
    }
    match context.format {
        Format::Json => {
            let names: Vec<&String> = mine.iter().flat_map(|finding| &finding.packages).collect();
            let in_use: Vec<_> = assessment.in_use.iter().filter(|one| names.contains(&&one.package)).collect();
            let data = json!({"what": what, "findings": owned, "queue": queue, "not_affected": cleared, "in_use": in_use});
            findings::envelope("explain", &data, &assessment.unknown, Some(&assessment), None, None)?;
        }
        Format::Table => {
            if let Some(vuln) = &vuln {
                facts(vuln);
                elsewhere(&database, what)?;
            }
            mine.iter().for_each(|finding| derivation(finding, Day::of(judge.now)));
            let mut sources: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
            for finding in &mine {
                sources.entry(finding.source.as_str()).or_default().extend(&finding.packages);
            }
            sources.iter().for_each(|(source, packages)| in_use(&assessment, source, packages));
            queue.updates.iter().for_each(update);
            cleared.iter().for_each(|line| println!("\nthe vendor says: not affected: {}", printable(line, 120)));
            if mine.is_empty() {
                println!("\nthis machine: no finding");
            }
            grounds(&assessment);
        }
    }
    Ok(if assessment.unknown.is_empty() { FINE } else { UNKNOWN })
}

fn line(name: &str, value: impl std::fmt::Display) {
    println!("  {name:<18}{}", printable(&value.to_string(), 400));
}

fn facts(vuln: &VulnInfo) {
    println!("{}  {}", vuln.id, printable(&vuln.title, 160));
    line("CVSS", vuln.cvss.map_or("not known".into(), |score| format!("{score}  {}", vuln.vector)));
    line("EPSS", vuln.epss.map_or("not known".into(), |epss| format!("0.{epss:06} within 30 days")));
    let exploits = vuln.exploits.names().join(", ");
    line("exploits", if exploits.is_empty() { "none known" } else { &exploits });
    if vuln.kev_added.is_known() {
        line("exploited since", format!("{} (CISA; due {})", vuln.kev_added, vuln.kev_due));
    }
    let yes = |value: Option<bool>| value.map_or("not assessed", |v| if v { "yes" } else { "no" });
    let exploitation = vuln.ssvc.exploitation.map_or("not assessed", |e| ["none", "proof of concept", "active"][usize::from(e.min(2))]);
    line(
        "SSVC",
        format!("exploitation {exploitation}, automatable {}, total impact {}", yes(vuln.ssvc.automatable), yes(vuln.ssvc.total_impact)),
    );
}

fn elsewhere(database: &fother_core::advisory::reader::Database<fother_feeds::database::Blocks>, id: &str) -> Result<(), Failure> {
    let affected = database.affected_by(id)?;
    for (release, package, claim) in affected.iter().take(ELSEWHERE_MAX) {
        let end = database.text(claim.end)?;
        line("speaks of it", format!("{release} {package}: {:?} {end}", claim.status));
    }
    if affected.len() > ELSEWHERE_MAX {
        line("", format!("and {} more", affected.len() - ELSEWHERE_MAX));
    }
    Ok(())
}

/// Who runs a source's packages, fact by fact, with where each stands.
fn in_use(assessment: &Assessment, source: &str, packages: &BTreeSet<&String>) {
    println!("\nin use: {source}");
    let mine: Vec<&PackageUse> = assessment.in_use.iter().filter(|one| packages.contains(&one.package)).collect();
    if mine.is_empty() {
        line("", "not looked at: only for the root that runs here");
    }
    for one in mine {
        line(&one.package, one.sentence());
        for used in &one.uses {
            let unit = used.unit.as_deref().map(|unit| format!(" in {unit}")).unwrap_or_default();
            let old = if used.old { ", an older one than stands there now" } else { "" };
            line("", format!("{} (pid {}{unit}) maps {}{old}; from {}", used.process, used.pid, used.file, used.from.join(", ")));
        }
        if one.more > 0 {
            line("", format!("and {} more", one.more));
        }
    }
}

fn derivation(finding: &HostFinding, today: Day) {
    println!("\n{} in {} {}", finding.id, finding.source, finding.version);
    line("installed as", finding.packages.join(", "));
    if !finding.because.is_empty() {
        line("judged as", &finding.because);
    }
    let fixed = finding.fixed.as_deref().unwrap_or("none");
    let before = finding.fixed.as_ref().map_or("no version is fixed".into(), |fixed| format!("{} sorts before {fixed}", finding.version));
    let note = if finding.note.is_empty() { String::new() } else { format!("; {}", finding.note) };
    line("vulnerable?", format!("{:?}: {before}{note}", finding.status));
    line(
        "fix published?",
        if finding.fixed.is_some() { format!("{fixed}, {} {}", finding.published, finding.advisories.join(" ")) } else { "no".into() },
    );
    line("installable here?", report::action(finding));
    line("in effect?", format!("{:?}", finding.in_effect));
    if !finding.in_use_because.is_empty() {
        line("in use?", &finding.in_use_because);
    }
    let chance = rank::chance(finding, today);
    // With points, the reason begins with the chance.
    let why = if chance.lines.is_empty() { format!("{}: {}", rank::percent(chance.millionths), chance.why) } else { chance.why };
    line("chance", why);
    for point in &chance.lines {
        line("", format!("{:>3} {}{}", point.points, point.what, if point.missing { " (missing: the stricter answer)" } else { "" }));
    }
    let impact = finding.cvss.map_or("no CVSS score, taken as 8.0".into(), |score| format!("CVSS {score}"));
    line("risk", format!("{}: chance × impact ({impact})", rank::percent(rank::risk(finding, today))));
    line("says who", finding.feeds.join(", "));
}

fn update(update: &Update) {
    println!("\nupdate {} {} → {}", update.source, update.from, update.to.as_deref().unwrap_or("none"));
    line("closes", update.closes.len());
    line("removes risk", rank::percent(update.risk_millionths));
    update.reasons.iter().for_each(|reason| line("because", reason));
    if let Some(deadline) = &update.deadline {
        line(
            "due",
            format!("{} ({}, for {}): {}; counted from {}", deadline.day, deadline.pack, deadline.id, deadline.what, deadline.counts_from),
        );
        if !deadline.missing.is_empty() {
            line("", format!("not known, so the stricter branch was taken: {}", deadline.missing.join(", ")));
        }
    }
}

fn grounds(assessment: &Assessment) {
    println!("\nrests on {} feeds, database {}", assessment.feeds.len(), assessment.database.map(|d| d.short()).unwrap_or_default());
    assessment.unknown.iter().for_each(|why| println!("could not tell: {}", printable(why, 300)));
}
