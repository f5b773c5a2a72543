//! The Ruby Advisory Database (github.com/rubysec/ruby-advisory-db): one YAML file for each advisory, in a tar.

use super::{input, requirement};
use crate::compile::{Builder, Taken};
use fother_core::{
    advisory::{
        Day,
        format::{Release, Subject},
    },
    version::scheme::Scheme,
    yaml::{self, Yaml},
};
use std::path::Path;

/// Whether a document is one of these advisories.
#[must_use]
pub fn is_advisory(document: &Yaml) -> bool {
    document.text("title").is_some() && (document.text("gem").is_some() || document.text("engine").is_some())
}

/// Reads all advisories on gems; those on Ruby itself are about the distribution's package.
///
/// # Errors
/// Where the tar is damaged or a document is no YAML.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    input::members(path, &[".yml", ".yaml"], |name, bytes| {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
        let document = yaml::parse(text).map_err(|why| format!("{name}: {why}"))?;
        if !is_advisory(&document) {
            return Ok(true);
        }
        let Some(gem) = document.text("gem") else { return Ok(true) };
        taken.one(document.text("date").and_then(Day::parse));
        if let Err(why) = add(builder, gem, &document, name) {
            tracing::debug!(name, why, "advisory not understood");
            taken.skipped += 1;
        }
        Ok(true)
    })?;
    Ok(taken)
}

fn add(builder: &mut Builder, gem: &str, document: &Yaml, name: &str) -> Result<(), String> {
    let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".yml");
    let ghsa = document.text("ghsa").map(|id| format!("GHSA-{id}"));
    let cve = document.text("cve").map(|id| format!("CVE-{id}"));
    let title = document.text("title").unwrap_or_default();
    let id = ghsa.as_deref().or(cve.as_deref()).unwrap_or(stem);
    let mut safe = Vec::new();
    for text in document.texts("patched_versions").into_iter().chain(document.texts("unaffected_versions")) {
        safe.push(requirement::all_of(Scheme::Gem, text)?);
    }
    let ranges = requirement::rest(Scheme::Gem, &requirement::Range::default(), &safe)?;
    let advisory = builder.advisory(id, document.text("date").and_then(Day::parse), 0, title)?;
    if let Some(cve) = &cve {
        let vuln = builder.vuln(cve)?;
        builder.closes(advisory, vuln);
        builder.title(vuln, title);
    }
    let release = builder.release("RubyGems", Scheme::Gem)?;
    builder.covers(release, Release::KNOWS_FIXED | Release::KNOWS_OPEN);
    let package = builder.package(release, gem)?;
    ranges.iter().try_for_each(|range| requirement::claim(builder, package, Subject::Advisory(advisory), range))
}
