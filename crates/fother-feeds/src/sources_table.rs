//! The table of vendors' feeds and their addresses, which a team can replace with its own; fetches them.

mod resolve;
pub mod seen;

use crate::{
    fetch::{Fetch, Validators},
    intake::Offered,
    vendor::Kind,
    vendor::input::PACKED_BYTES_MAX,
};
use fother_core::Digest;
use seen::{Answer, Seen};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, path::Path};

/// The vendors' own addresses.
pub const BUILT_IN: &str = include_str!("sources.toml");
/// Most sources in a table.
pub const SOURCES_MAX: usize = 60;

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name.
    pub name: String,
    /// What comes from there.
    pub kind: Kind,
    /// Address: http, https or file.
    pub url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    kind: String,
    url: String,
}

/// Reads a table: `[name]`, `kind = "…"`, `url = "…"`.
///
/// # Errors
/// Where it is malformed, with the place.
pub fn parse(text: &str) -> Result<Vec<Source>, String> {
    let rows: BTreeMap<String, Row> = toml::from_str(text).map_err(|error| format!("table of sources: {error}"))?;
    if rows.len() > SOURCES_MAX {
        return Err(format!("table of sources: more than {SOURCES_MAX} sources"));
    }
    let source = |(name, row): (String, Row)| {
        let kind = Kind::of_name(&row.kind).ok_or_else(|| format!("table of sources: {name}: there is no kind `{}`", row.kind))?;
        Ok(Source { name, kind, url: row.url })
    };
    rows.into_iter().map(source).collect()
}

/// What came of an update.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Files that are new.
    pub offered: Vec<Offered>,
    /// Sources that are as they were: their feeds stay.
    pub unchanged: Vec<String>,
    /// Sources that gave nothing, with the reason.
    pub failed: Vec<String>,
    /// Answers to remember once they are taken in.
    pub answers: BTreeMap<String, Answer>,
}

/// Fetches into `dir` what is not as it was `seen`; what fails is named with the reason.
pub fn fetch(fetch: &impl Fetch, sources: &[Source], dir: &Path, seen: &Seen) -> Fetched {
    let mut out = Fetched::default();
    for (at, source) in sources.iter().enumerate() {
        match one(fetch, source, &dir.join(at.to_string()), seen) {
            Ok(None) => out.unchanged.push(source.name.clone()),
            Ok(Some((offer, answer))) => {
                out.answers.insert(offer.origin.clone(), answer);
                out.offered.push(offer);
            }
            Err(why) => out.failed.push(format!("{}: {why}", source.name)),
        }
    }
    out
}

/// Fetches one source; what its index says about it is checked. `None` where it is as it was.
fn one(fetch: &impl Fetch, source: &Source, path: &Path, seen: &Seen) -> Result<Option<(Offered, Answer)>, String> {
    let (url, sum) = resolve::resolve(fetch, &source.url)?;
    let last = seen.last(&url);
    if sum.is_some() && sum == last.map(|answer| answer.digest.hex()) {
        return Ok(None);
    }
    let known = last.map(|answer| answer.validators.clone()).unwrap_or_default();
    let mut file = std::fs::File::create(path).map_err(|error| error.to_string())?;
    let newer: Option<Validators> = fetch.get_newer(&url, &known, &mut file, PACKED_BYTES_MAX).map_err(|error| error.to_string())?;
    let Some(validators) = newer else { return Ok(None) };
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    std::io::copy(&mut file, &mut hash).map_err(|error| error.to_string())?;
    let digest = Digest(hash.finalize().into());
    if sum.is_some_and(|sum| digest.hex() != sum) {
        return Err(format!("{url} is not what {} says: its SHA-256 differs; try again later", source.url));
    }
    if last.is_some_and(|answer| answer.digest == digest) {
        return Ok(None);
    }
    Ok(Some((Offered { path: path.to_owned(), origin: url, kind: Some(source.kind) }, Answer { digest, validators })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_well_formed_and_a_bad_one_is_refused() {
        let table = parse(BUILT_IN).unwrap();
        assert!(table.len() >= 15);
        assert!(table.iter().all(|source| source.url.starts_with("https://")));
        assert!(parse("[x]\nkind = \"none\"\nurl = \"https://x\"\n").unwrap_err().contains("there is no kind"));
        assert!(parse("[x]\nkind = \"kev\"\nurl = \"https://x\"\nmore = 1\n").is_err());
    }
}
