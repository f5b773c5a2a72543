//! Records of the Open Source Vulnerability schema (ossf.github.io/osv-schema, 1.x): zips, tars, JSON lines, single documents.

use super::input;
use crate::compile::{Builder, Statement, Taken};
use fother_core::{
    advisory::{
        Day, Status, cve_key,
        format::{Claim, Release, Subject},
    },
    assess::releases,
    version::scheme::Scheme,
};
use serde::Deserialize;
use std::{borrow::Cow, path::Path};

/// Most enumerated versions of one record that are taken where no range helps.
const VERSIONS_MAX: usize = 5_000;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    modified: Cow<'a, str>,
    #[serde(borrow, default)]
    published: Cow<'a, str>,
    #[serde(borrow)]
    withdrawn: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    aliases: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    upstream: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    related: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    summary: Cow<'a, str>,
    #[serde(borrow, default)]
    details: Cow<'a, str>,
    #[serde(borrow, default)]
    severity: Option<Vec<Severity<'a>>>,
    #[serde(borrow, default)]
    affected: Vec<Affected<'a>>,
}

#[derive(Deserialize)]
struct Severity<'a> {
    #[serde(borrow, default)]
    score: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Affected<'a> {
    #[serde(borrow)]
    package: Option<Package<'a>>,
    #[serde(borrow, default)]
    ranges: Option<Vec<Range<'a>>>,
    #[serde(borrow, default)]
    versions: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    severity: Option<Vec<Severity<'a>>>,
    #[serde(borrow, default)]
    database_specific: Option<DatabaseSpecific<'a>>,
}

#[derive(Deserialize)]
struct DatabaseSpecific<'a> {
    #[serde(borrow, default)]
    informational: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Package<'a> {
    #[serde(borrow)]
    ecosystem: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Range<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    introduced: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fixed: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last_affected: Option<Cow<'a, str>>,
}

/// Reads all records of a file.
///
/// # Errors
/// Where it is damaged or a document is no JSON.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    input::documents(path, |name, bytes| {
        let record: Record<'_> = serde_json::from_slice(bytes).map_err(|error| format!("{name}: not an OSV record: {error}"))?;
        let day = Day::parse(&record.modified).max(Day::parse(&record.published));
        taken.one(day);
        if record.withdrawn.is_none() {
            add(builder, &record)?;
        }
        Ok(true)
    })?;
    Ok(taken)
}

/// 0 security, 1 bugfix, 2 enhancement, 3 notice: as the vendor's id or note says.
fn class(record: &Record<'_>) -> u8 {
    let notice = |a: &Affected<'_>| {
        let word = a.database_specific.as_ref().and_then(|s| s.informational.as_deref());
        matches!(word, Some("unmaintained" | "notice"))
    };
    match record.id.get(..4) {
        Some("ALBA" | "RLBA" | "RHBA") => 1,
        Some("ALEA" | "RLEA" | "RHEA") => 2,
        _ if record.affected.iter().any(notice) => 3,
        _ => 0,
    }
}

fn add(builder: &mut Builder, record: &Record<'_>) -> Result<(), String> {
    let summary = if record.summary.is_empty() { record.details.lines().next().unwrap_or_default() } else { &record.summary };
    let published = Day::parse(&record.published).or_else(|| Day::parse(&record.modified));
    let advisory = builder.advisory(&record.id, published, class(record), summary)?;
    // Distributions name the CVEs that they fix in `upstream` (or, before 1.7, in `related`); others have them as aliases.
    let mut ids: Vec<&str> =
        [&record.upstream, &record.aliases].into_iter().flatten().map(|id| &**id).filter(|id| cve_key(id).is_some()).collect();
    if ids.is_empty() && record.affected.iter().any(|a| a.package.as_ref().is_some_and(|p| p.ecosystem.contains(':'))) {
        ids.extend(record.related.iter().map(|id| &**id).filter(|id| cve_key(id).is_some()));
    }
    let vectors = record.affected.iter().flat_map(|a| a.severity.iter().flatten()).chain(record.severity.iter().flatten());
    let vectors: Vec<&str> = vectors.map(|severity| &*severity.score).collect();
    for id in &ids {
        let vuln = builder.vuln(id)?;
        builder.closes(advisory, vuln);
        // A vector of an advisory on several vulnerabilities is none of theirs.
        if ids.len() == 1 {
            builder.title(vuln, summary);
            vectors.iter().for_each(|vector| builder.vector(vuln, vector));
        }
    }
    if ids.is_empty() && !vectors.is_empty() {
        let vuln = builder.vuln(&record.id)?;
        builder.closes(advisory, vuln);
        builder.title(vuln, summary);
        vectors.iter().for_each(|vector| builder.vector(vuln, vector));
    }
    for affected in &record.affected {
        if let Some(package) = &affected.package {
            claims(builder, Subject::Advisory(advisory), record, package, affected)?;
        }
    }
    Ok(())
}

fn claims(
    builder: &mut Builder,
    subject: Subject,
    record: &Record<'_>,
    package: &Package<'_>,
    affected: &Affected<'_>,
) -> Result<(), String> {
    let scheme = Scheme::of_ecosystem(&package.ecosystem);
    let (release, paid) = releases::of_ecosystem(&package.ecosystem);
    let release = builder.release(&release, scheme)?;
    let distribution = package.ecosystem.contains(':');
    // Of distributions, only Ubuntu's own records by CVE list what has no fix yet.
    let open = !distribution || record.id.starts_with("UBUNTU-CVE-");
    builder.covers(release, if open { Release::KNOWS_FIXED | Release::KNOWS_OPEN } else { Release::KNOWS_FIXED });
    let name = fother_core::assess::package_name(&package.ecosystem, &package.name);
    let name = match module(record, affected).filter(|_| scheme == Scheme::Rpm) {
        Some(module) => releases::key(&module, false, &name),
        None => name,
    };
    let package = builder.package(release, &name)?;
    let words = Place { package, subject, paid, until_fixed: distribution };
    let mut ranged = false;
    for range in affected.ranges.iter().flatten().filter(|range| range.kind != "GIT") {
        ranged = true;
        ranges(builder, &words, &range.events)?;
    }
    let versions = affected.versions.as_deref().unwrap_or_default();
    if !ranged || scheme == Scheme::Opaque {
        for version in versions.iter().take(VERSIONS_MAX) {
            words.say(builder, Statement { introduced: version, end: "", status: Status::Open, flags: Claim::EXACT, note: "" })?;
        }
        if !ranged && versions.is_empty() {
            words.say(builder, Statement { status: Status::Open, ..Statement::fixed("") })?;
        }
    }
    Ok(())
}

/// The stream that a modular rpm is of: its versions say that it is of one, the record's words say of which (`nodejs:18 security update`).
fn module(record: &Record<'_>, affected: &Affected<'_>) -> Option<String> {
    let mut events = affected.ranges.iter().flatten().flat_map(|range| &range.events);
    if !events.any(|event| event.fixed.as_deref().is_some_and(|version| version.contains(".module"))) {
        return None;
    }
    record
        .summary
        .split_whitespace()
        .find(|word| word.split_once(':').is_some_and(|(name, stream)| !name.is_empty() && !stream.is_empty()))
        .map(str::to_owned)
}

/// Of what a range speaks.
struct Place {
    package: u32,
    subject: Subject,
    paid: Option<&'static str>,
    until_fixed: bool,
}

impl Place {
    fn say(&self, builder: &mut Builder, statement: Statement<'_>) -> Result<(), String> {
        let note = self.paid.filter(|_| statement.status == Status::Fixed).map(|what| format!("fix needs {what}")).unwrap_or_default();
        let mut flags = statement.flags;
        flags |= if note.is_empty() { 0 } else { Claim::PAID };
        // One archive has no fix; another of the same release may.
        let open = statement.status == Status::Open && statement.introduced.is_empty() && statement.end.is_empty();
        flags |= if open && self.until_fixed { Claim::UNTIL_FIXED } else { 0 };
        builder.claim(self.package, self.subject, &Statement { flags, note: &note, ..statement })
    }
}

/// `introduced`, then `fixed` or `last_affected` or nothing, any number of times.
fn ranges(builder: &mut Builder, words: &Place, events: &[Event<'_>]) -> Result<(), String> {
    let mut open: Option<&str> = None;
    for event in events {
        if let Some(introduced) = &event.introduced {
            if let Some(introduced) = open.replace(if introduced == "0" { "" } else { introduced }) {
                words.say(builder, Statement { introduced, ..Statement { status: Status::Open, ..Statement::fixed("") } })?;
            }
        } else if let Some(fixed) = &event.fixed {
            words.say(builder, Statement { introduced: open.take().unwrap_or_default(), ..Statement::fixed(fixed) })?;
        } else if let Some(last) = &event.last_affected {
            let introduced = open.take().unwrap_or_default();
            words.say(builder, Statement { introduced, end: last, status: Status::Open, flags: Claim::LAST_AFFECTED, note: "" })?;
        }
    }
    if let Some(introduced) = open {
        words.say(builder, Statement { introduced, end: "", status: Status::Open, flags: 0, note: "" })?;
    }
    Ok(())
}
