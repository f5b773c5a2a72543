//! The Debian security tracker's `DSA/list` and `DLA/list`: which advisory fixed what with which source version.

use super::input;
use crate::compile::{Builder, Statement, Taken};
use fother_core::{
    advisory::{
        Day, Status, cve_key,
        format::{Release, Subject},
    },
    version::{Version, scheme::Scheme},
};
use std::path::Path;

/// Oldest release whose words are kept: the lists go back to 2002.
const RELEASES: [&str; 8] = ["stretch", "buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"];

/// Reads a list.
///
/// # Errors
/// Where it is damaged.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut advisory = None;
    let mut vulns: Vec<String> = Vec::new();
    let mut at = None;
    input::lines(path, |line| {
        let line = String::from_utf8_lossy(line);
        if let Some(rest) = line.strip_prefix('[') {
            (advisory, at) = (head(rest), None);
            vulns.clear();
            match &advisory {
                Some((date, ..)) => taken.one(Day::parse(date)),
                None => taken.skipped += 1,
            }
        } else if let Some(list) = line.trim().strip_prefix('{') {
            vulns = list.trim_end_matches('}').split_whitespace().filter(|id| cve_key(id).is_some()).map(str::to_owned).collect();
        } else if let (Some((date, id, summary)), Some((release, source, statement))) = (&advisory, fix(&line)) {
            let release = builder.release(&format!("debian:{release}"), Scheme::Dpkg)?;
            builder.covers(release, Release::KNOWS_FIXED);
            let package = builder.package(release, source)?;
            let place = match at {
                Some(place) => place,
                None => {
                    let place = builder.advisory(id, Day::parse(date), 0, summary)?;
                    for vuln in &vulns {
                        let vuln = builder.vuln(vuln)?;
                        builder.closes(place, vuln);
                    }
                    *at.insert(place)
                }
            };
            builder.claim(package, Subject::Advisory(place), &statement)?;
        }
        Ok(())
    })?;
    Ok(taken)
}

/// `12 Feb 2025] DSA-5865-1 webkit2gtk - security update` as date, id and the rest.
fn head(line: &str) -> Option<(String, String, String)> {
    let (date, rest) = line.split_once("] ")?;
    let mut words = rest.splitn(2, ' ');
    Some((iso(date)?, words.next()?.to_owned(), words.next().unwrap_or_default().to_owned()))
}

/// `[bookworm] - source version`, perhaps with a remark behind.
fn fix(line: &str) -> Option<(&str, &str, Statement<'_>)> {
    let (release, rest) = line.trim_start().strip_prefix('[')?.split_once("] - ")?;
    let mut words = rest.split_whitespace();
    let (source, version) = (words.next()?, words.next()?);
    if !RELEASES.contains(&release) {
        return None;
    }
    let statement = match version {
        "<end-of-life>" => Statement { status: Status::EndOfLife, ..Statement::fixed("") },
        "<not-affected>" => Statement { status: Status::NotAffected, ..Statement::fixed("") },
        version => Statement::fixed(version.parse::<Version>().is_ok().then_some(version)?),
    };
    Some((release, source, statement))
}

/// `12 Feb 2025` as `2025-02-12`.
fn iso(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let day: u8 = words.next()?.parse().ok()?;
    let month = words.next()?.get(..3)?;
    let at = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).filter(|at| at % 3 == 0)?;
    let year: u16 = words.next()?.parse().ok()?;
    Some(format!("{year:04}-{:02}-{day:02}", at / 3 + 1))
}
