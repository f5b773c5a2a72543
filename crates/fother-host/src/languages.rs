//! Installed packages of language ecosystems below a root, found by one bounded walk; and lock files of a source tree. Reads files only.
//!
//! What stands in a package of the distribution is judged by the distribution's advisories, not a second time by the ecosystem's.

mod elf;
mod jar;
mod owned;
mod program;
mod source;
mod walk;

pub use owned::Owned;
pub use source::lock_files;

use crate::root::Root;
use fother_core::{
    languages::{node, php, python, ruby},
    sbom::Component,
    text::printable,
};
use serde::Serialize;
use std::collections::BTreeMap;
use walk::{Harvest, Place, Visit};

/// Largest file of metadata that is read, in bytes.
const METADATA_BYTES_MAX: u64 = 16 << 20;

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Sorted, each with its place.
    pub components: Vec<Component>,
    /// Number of files with components that belong to packages of the distribution, which judges them.
    pub of_packages: usize,
    /// Directories that were left out, with the reason: other machines' file systems.
    pub left_out: Vec<String>,
    /// What could not be read or told, by name with the reason.
    pub unknown: Vec<String>,
}

/// A component as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Type of its package URL: `pypi`, `npm`.
    pub r#type: String,
    /// Name, with its group or scope.
    pub name: String,
    /// Version.
    pub version: String,
    /// Path below the root.
    pub place: String,
}

impl From<&Component> for Shown {
    fn from(component: &Component) -> Self {
        let separator = if component.kind == "maven" { ":" } else { "/" };
        let grouped = |namespace: &str| format!("{namespace}{separator}{}", component.name);
        Self {
            r#type: component.kind.clone(),
            name: if component.namespace.is_empty() { component.name.clone() } else { grouped(&component.namespace) },
            version: component.version.clone(),
            place: component.place.clone(),
        }
    }
}

impl Found {
    /// Number of components of each type, for people: `3 npm, 12 pypi`.
    #[must_use]
    pub fn counts(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for component in &self.components {
            *counts.entry(&component.kind).or_default() += 1;
        }
        counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    }
}

/// Walks a root. Files that `owned` holds are counted, not read.
#[must_use]
pub fn find(root: &Root, owned: &Owned) -> Found {
    let harvest = walk::walk(root, &Installed { owned });
    let mut found =
        Found { components: harvest.components, of_packages: harvest.of_packages, left_out: harvest.left_out, unknown: harvest.unknown };
    found.components.sort();
    found.components.dedup();
    for list in [&mut found.left_out, &mut found.unknown] {
        list.sort();
        list.dedup();
    }
    found
}

/// What a file may hold, as its name and place say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Python,
    /// A Python egg: a zip with metadata in it.
    Egg,
    Npm,
    NodeHeader,
    Gem,
    Composer,
    Jar,
    /// Nothing that its name tells; programs are told by their first bytes.
    Program,
}

/// Ends of names that no program has that is worth opening: most files of most roots.
const NO_PROGRAM: [&str; 24] = [
    ".py", ".pyc", ".pyi", ".js", ".mjs", ".cjs", ".ts", ".map", ".json", ".h", ".hpp", ".c", ".md", ".txt", ".html", ".css", ".svg",
    ".png", ".rb", ".xml", ".mo", ".gz", ".rs", ".go",
];

fn kind(directory: &str, name: &str) -> Kind {
    let inside = |end: &str| directory.ends_with(end);
    let parent = directory.rsplit('/').next().unwrap_or_default();
    match name {
        "METADATA" if inside(".dist-info") => Kind::Python,
        "PKG-INFO" if inside(".egg-info") || parent == "EGG-INFO" => Kind::Python,
        "package.json" if node::is_installed(directory) => Kind::Npm,
        "node_version.h" if parent == "node" => Kind::NodeHeader,
        "installed.json" if inside("vendor/composer") => Kind::Composer,
        _ => match name.rsplit_once('.').map(|(_, end)| end) {
            Some("egg-info") => Kind::Python,
            Some("egg") => Kind::Egg,
            Some("gemspec") if parent == "specifications" || inside("specifications/default") => Kind::Gem,
            Some("jar" | "war" | "ear" | "par" | "hpi" | "jpi") => Kind::Jar,
            Some(_) | None => Kind::Program,
        },
    }
}

struct Installed<'a> {
    owned: &'a Owned,
}

impl Visit for Installed<'_> {
    fn enters(&self, _parent: &str, _name: &str) -> bool {
        true
    }

    fn file(&self, place: &Place<'_>, out: &mut Harvest) {
        let name = String::from_utf8_lossy(place.name);
        let kind = kind(place.directory_text, &name);
        if kind == Kind::Program && NO_PROGRAM.iter().any(|end| name.ends_with(end)) {
            return;
        }
        if self.owned.holds(place.directory_bytes, place.name) {
            out.of_packages += usize::from(kind != Kind::Program);
            return;
        }
        let result = match kind {
            Kind::Program => program::read(place, out),
            Kind::Jar => jar::read(place, out),
            Kind::Egg => jar::egg(place, out),
            Kind::Python => text(place).and_then(|text| one(place, out, python::metadata(&text))),
            Kind::Gem => text(place).and_then(|text| one(place, out, ruby::specification(&text))),
            Kind::NodeHeader => text(place).and_then(|text| one(place, out, node::runtime(&text))),
            Kind::Npm => text(place).and_then(|text| node::manifest(&text)).and_then(|found| match found {
                Some(component) => one(place, out, Ok(component)),
                None => Ok(()),
            }),
            Kind::Composer => text(place).and_then(|text| php::installed(&text)).map(|found| many(place, out, found)),
        };
        if let Err(why) = result {
            out.unknown(format!("{}: {why}", place.shown()));
        }
    }
}

fn text(place: &Place<'_>) -> Result<String, String> {
    let bytes = place.bytes(METADATA_BYTES_MAX)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn one(place: &Place<'_>, out: &mut Harvest, found: Result<Component, String>) -> Result<(), String> {
    out.component(Component { place: place.shown(), ..found? });
    Ok(())
}

/// Takes components with the reasons why others of the same file cannot be judged.
fn many(place: &Place<'_>, out: &mut Harvest, (found, unknown): (Vec<Component>, Vec<String>)) {
    for component in found {
        out.component(Component { place: place.shown(), ..component });
    }
    for why in unknown {
        out.unknown(format!("{}: {}", place.shown(), printable(&why, 300)));
    }
}

#[cfg(test)]
mod tests;
