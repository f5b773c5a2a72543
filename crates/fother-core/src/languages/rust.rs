//! Rust programs that carry their own list of crates: the `.dep-v0` section of cargo-auditable (its PARSING.md), zlib over JSON.

use super::component;
use crate::sbom::Component;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    packages: Vec<Package<'a>>,
}

#[derive(Deserialize)]
struct Package<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow, default)]
    source: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    root: bool,
}

/// Reads the unpacked list. Crates that only the build needed are not in the program; those from elsewhere than crates.io are named.
///
/// # Errors
/// Where it is no such list.
pub fn crates(json: &[u8]) -> Result<(Vec<Component>, Vec<String>), String> {
    let list: List<'_> = serde_json::from_slice(json).map_err(|error| format!("malformed JSON: {error}"))?;
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for package in list.packages.iter().filter(|p| !p.root && p.kind.as_deref() != Some("build")) {
        let name = || crate::text::printable(&format!("crate {} {}", package.name, package.version), 120);
        match (&*package.source, component("cargo", "", &package.name, &package.version)) {
            ("local", _) => {}
            ("crates.io" | "registry", Ok(component)) => found.push(component),
            (_, Ok(_)) => unknown.push(format!("{}: not from the public registry, so not assessed", name())),
            (_, Err(why)) => unknown.push(format!("{}: {why}", name())),
        }
    }
    Ok((found, unknown))
}

#[cfg(test)]
mod tests {
    #[test]
    fn crates_of_the_program_count() {
        let json = br#"{"packages":[{"name":"me","version":"0.1.0","source":"local","root":true},{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"},
            {"name":"serde","version":"1.0.1","source":"crates.io","dependencies":[0]},{"name":"g","version":"1.0.0","source":"git"}]}"#;
        let (found, unknown) = super::crates(json).unwrap();
        assert_eq!((found.len(), found[0].name.as_str(), unknown.len()), (1, "serde", 1));
        assert!(super::crates(b"{}").is_err());
    }
}
