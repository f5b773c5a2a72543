//! Vulnerabilities of Node.js itself (nodejs/security-wg, `vuln/core/index.json`): a table by number, with ranges of npm.

use super::{input, requirement};
use crate::compile::{Builder, Taken};
use fother_core::{
    advisory::{
        Day, cve_key,
        format::{Release, Subject},
    },
    version::scheme::Scheme,
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    cve: Vec<String>,
    #[serde(default)]
    vulnerable: String,
    #[serde(default)]
    patched: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    overview: Option<String>,
    #[serde(default)]
    publish_date: Option<String>,
}

/// Reads it. It carries hardly any dates, so the file's own day counts: `modified`.
///
/// # Errors
/// Where it is damaged.
pub fn read(builder: &mut Builder, path: &Path, modified: Day) -> Result<Taken, String> {
    let mut taken = Taken::default();
    input::documents(path, |name, bytes| {
        let entries: BTreeMap<String, Entry> = serde_json::from_slice(bytes).map_err(|error| format!("{name}: {error}"))?;
        for (number, entry) in &entries {
            taken.one(Some(modified));
            if let Err(why) = add(builder, number, entry) {
                tracing::debug!(number, why, "entry not understood");
                taken.skipped += 1;
            }
        }
        Ok(true)
    })?;
    Ok(taken)
}

fn add(builder: &mut Builder, number: &str, entry: &Entry) -> Result<(), String> {
    let ranges = |text: &str| -> Result<Vec<requirement::Range>, String> {
        text.split("||").map(str::trim).filter(|part| !part.is_empty()).map(|part| requirement::all_of(Scheme::Semver, part)).collect()
    };
    let patched = ranges(&entry.patched)?;
    let first_line = entry.overview.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
    let title = entry.description.as_deref().filter(|text| !text.is_empty()).unwrap_or(first_line);
    let mut vulnerable = Vec::new();
    for range in ranges(&entry.vulnerable)? {
        vulnerable.extend(requirement::rest(Scheme::Semver, &range, &patched)?);
    }
    let advisory = builder.advisory(&format!("NODE-CORE-{number}"), entry.publish_date.as_deref().and_then(Day::parse), 0, title)?;
    for cve in entry.cve.iter().filter(|id| cve_key(id).is_some()) {
        let vuln = builder.vuln(cve)?;
        builder.closes(advisory, vuln);
        builder.title(vuln, title);
    }
    let release = builder.release("Node.js", Scheme::Semver)?;
    builder.covers(release, Release::KNOWS_FIXED | Release::KNOWS_OPEN);
    let package = builder.package(release, "node")?;
    vulnerable.iter().try_for_each(|range| requirement::claim(builder, package, Subject::Advisory(advisory), range))
}
