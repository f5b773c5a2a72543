//! The Debian security tracker's JSON (security-tracker.debian.org/tracker/data/json): package → CVE → release → status.

use super::input;
use crate::compile::{Builder, Statement, Taken};
use fother_core::{
    advisory::{
        Status,
        format::{Claim, Release, Subject},
    },
    version::scheme::Scheme,
};
use serde::{Deserialize, Deserializer as _, de};
use std::{collections::BTreeMap, fmt, path::Path};

/// Most CVEs on one package.
const CVES_MAX: usize = 100_000;

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    description: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    releases: BTreeMap<String, State>,
}

#[derive(Deserialize)]
struct State {
    status: String,
    fixed_version: Option<String>,
    #[serde(default)]
    urgency: String,
    nodsa: Option<String>,
    nodsa_reason: Option<String>,
}

impl State {
    fn status(&self) -> Option<Status> {
        Some(match self.status.as_str() {
            "resolved" if self.fixed_version.as_deref() == Some("0") => Status::NotAffected,
            "resolved" => Status::Fixed,
            "undetermined" => Status::Undetermined,
            "open" if self.urgency == "end-of-life" => Status::EndOfLife,
            "open" => match (self.nodsa.is_some(), self.nodsa_reason.as_deref()) {
                (_, Some("ignored")) => Status::Ignored,
                (_, Some("postponed")) => Status::Postponed,
                (true, _) => Status::NoAdvisory,
                (false, _) => Status::Open,
            },
            _ => return None,
        })
    }
}

/// Reads it package by package, so that memory does not grow with the file.
///
/// # Errors
/// Where it is damaged or of another form.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut json = serde_json::Deserializer::from_reader(input::open(path)?);
    json.deserialize_map(Packages { builder, taken: &mut taken }).map_err(|error| format!("not the tracker's JSON: {error}"))?;
    json.end().map_err(|error| format!("not the tracker's JSON: {error}"))?;
    Ok(taken)
}

struct Packages<'a> {
    builder: &'a mut Builder,
    taken: &'a mut Taken,
}

impl<'de> de::Visitor<'de> for Packages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of source packages")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(source) = map.next_key::<String>()? {
            let entries: BTreeMap<String, Entry> = map.next_value()?;
            if entries.len() > CVES_MAX {
                return Err(de::Error::custom(format!("more than {CVES_MAX} CVEs on one package")));
            }
            for (id, entry) in entries {
                add(self.builder, self.taken, &source, &id, &entry).map_err(de::Error::custom)?;
            }
        }
        Ok(())
    }
}

fn add(builder: &mut Builder, taken: &mut Taken, source: &str, id: &str, entry: &Entry) -> Result<(), String> {
    let vuln = builder.vuln(id)?;
    builder.title(vuln, &entry.description);
    for (release, state) in &entry.releases {
        let Some(status) = state.status() else {
            taken.skipped += 1;
            continue;
        };
        taken.one(None);
        let release = builder.release(&format!("debian:{release}"), Scheme::Dpkg)?;
        builder.covers(release, Release::KNOWS_FIXED | Release::KNOWS_OPEN);
        let package = builder.package(release, source)?;
        let end = match status {
            Status::Fixed => state.fixed_version.as_deref().unwrap_or_default(),
            _ => "",
        };
        let reason = [state.urgency.as_str(), state.nodsa.as_deref().unwrap_or_default()];
        let note = reason.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        let flags = if entry.scope == "remote" { Claim::REMOTE } else { 0 };
        builder.claim(package, Subject::Vuln(vuln), &Statement { introduced: "", end, status, flags, note: &note })?;
    }
    Ok(())
}
