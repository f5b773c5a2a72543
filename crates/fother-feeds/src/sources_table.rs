//! The table of vendors' feeds and their addresses, which a team can replace with its own; fetches them.

mod resolve;

use crate::{fetch::Fetch, intake::Offered, vendor::Kind, vendor::input::PACKED_BYTES_MAX};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::path::Path;

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
    let rows: std::collections::BTreeMap<String, Row> = toml::from_str(text).map_err(|error| format!("table of sources: {error}"))?;
    if rows.len() > SOURCES_MAX {
        return Err(format!("table of sources: more than {SOURCES_MAX} sources"));
    }
    let source = |(name, row): (String, Row)| {
        let kind = Kind::of_name(&row.kind).ok_or_else(|| format!("table of sources: {name}: there is no kind `{}`", row.kind))?;
        Ok(Source { name, kind, url: row.url })
    };
    rows.into_iter().map(source).collect()
}

/// Fetches into `dir`; what fails is named with the reason.
pub fn fetch(fetch: &impl Fetch, sources: &[Source], dir: &Path) -> (Vec<Offered>, Vec<String>) {
    let (mut offered, mut failed) = (Vec::new(), Vec::new());
    for (at, source) in sources.iter().enumerate() {
        match one(fetch, source, &dir.join(at.to_string())) {
            Ok(offer) => offered.push(offer),
            Err(why) => failed.push(format!("{}: {why}", source.name)),
        }
    }
    (offered, failed)
}

/// Fetches one source; what its index says about it is checked.
fn one(fetch: &impl Fetch, source: &Source, path: &Path) -> Result<Offered, String> {
    let (url, sum) = resolve::resolve(fetch, &source.url)?;
    let mut file = std::fs::File::create(path).map_err(|error| error.to_string())?;
    fetch.get_to(&url, &mut file, PACKED_BYTES_MAX).map_err(|error| error.to_string())?;
    if let Some(sum) = sum {
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        std::io::copy(&mut file, &mut hash).map_err(|error| error.to_string())?;
        if hex::encode(hash.finalize()) != sum {
            return Err(format!("{url} is not what {} says: its SHA-256 differs; try again later", source.url));
        }
    }
    Ok(Offered { path: path.to_owned(), origin: url, kind: Some(source.kind) })
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
