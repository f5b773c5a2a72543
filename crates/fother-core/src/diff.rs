//! What changed between two states of a system: packages, and findings opened and closed, each with its reason. Pure.

use crate::{
    advisory::Status,
    assess::host::{HostFinding, InEffect},
    sbom::Component,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A finding as far as a comparison needs it; a saved scan has these words, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// Vulnerability.
    pub id: String,
    /// Source package.
    pub source: String,
    /// Its installed version.
    pub version: String,
    /// Version with the fix.
    #[serde(default)]
    pub fixed: Option<String>,
    /// What the vendor says.
    pub status: Status,
    /// Advisories that are not met.
    #[serde(default)]
    pub advisories: Vec<String>,
    /// Whether it is in a kernel that is not booted.
    #[serde(default)]
    pub in_effect: String,
}

impl Item {
    /// From an assessment.
    #[must_use]
    pub fn of(finding: &HostFinding) -> Self {
        Self {
            id: finding.id.clone(),
            source: finding.source.clone(),
            version: finding.version.clone(),
            fixed: finding.fixed.clone(),
            status: finding.status,
            advisories: finding.advisories.clone(),
            in_effect: if finding.in_effect == InEffect::NotBooted { NOT_BOOTED.into() } else { String::new() },
        }
    }
}

/// The word of [`InEffect::NotBooted`].
const NOT_BOOTED: &str = "not-booted";

/// One of the two states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// What it is, for people.
    pub title: String,
    /// What is installed; `None` where that is not known.
    pub packages: Option<Vec<Component>>,
    /// Findings; `None` where they were not judged.
    pub findings: Option<Vec<Item>>,
    /// Digest of the advisory database that judged, if known.
    pub database: Option<String>,
    /// What could not be told about it.
    pub unknown: Vec<String>,
}

/// A package of one side only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Kind: `deb`, `cargo`.
    pub kind: String,
    /// Name, with its group.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Versions; several where several are installed.
    pub versions: Vec<String>,
}

/// A package whose version is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Changed {
    /// Kind.
    pub kind: String,
    /// Name, with its group.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Versions before.
    pub from: Vec<String>,
    /// Versions after.
    pub to: Vec<String>,
}

/// A finding that is on one side only, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The finding.
    #[serde(flatten)]
    pub item: Item,
    /// Why it came or went, in one sentence.
    pub why: String,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Packages only in the second state.
    pub added: Vec<Package>,
    /// Packages only in the first.
    pub removed: Vec<Package>,
    /// Packages with other versions.
    pub changed: Vec<Changed>,
    /// Findings only in the second state.
    pub opened: Vec<Moved>,
    /// Findings only in the first.
    pub closed: Vec<Moved>,
    /// Findings in both.
    pub kept: usize,
    /// What could not be compared, with the reason.
    pub unknown: Vec<String>,
}

/// A package's identity: kind, name with its group, architecture.
type Key = (String, String, String);

fn versions(side: &Side) -> BTreeMap<Key, BTreeSet<String>> {
    let mut out: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for component in side.packages.iter().flatten() {
        // A distribution's name is the same for all of its packages and may be written differently by other makers.
        let grouped = !component.namespace.is_empty() && !matches!(component.kind.as_str(), "deb" | "rpm" | "apk");
        let name = if grouped { format!("{}/{}", component.namespace, component.name) } else { component.name.clone() };
        out.entry((component.kind.clone(), name, component.arch.clone())).or_default().insert(component.version.clone());
    }
    out
}

/// Source packages with their versions.
fn sources(side: &Side) -> Option<BTreeMap<&str, BTreeSet<&str>>> {
    let mut out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for component in side.packages.as_ref()? {
        let (name, version) = component.source.as_ref().map_or((&component.name, &component.version), |(name, version)| (name, version));
        out.entry(name).or_default().insert(version);
    }
    Some(out)
}

/// Compares two states.
#[must_use]
pub fn diff(a: &Side, b: &Side) -> Diff {
    let mut out = Diff::default();
    for side in [a, b] {
        out.unknown.extend(side.unknown.iter().map(|why| format!("{}: {why}", side.title)));
        if side.packages.is_none() {
            out.unknown.push(format!("{}: its packages are not known, so packages are not compared", side.title));
        }
        if side.findings.is_none() {
            out.unknown.push(format!("{}: its vulnerabilities were not judged, so findings are not compared", side.title));
        }
    }
    if a.packages.is_some() && b.packages.is_some() {
        packages(a, b, &mut out);
    }
    if let (Some(first), Some(second)) = (&a.findings, &b.findings) {
        findings(first, second, a, b, &mut out);
    }
    out
}

fn packages(a: &Side, b: &Side, out: &mut Diff) {
    let (first, second) = (versions(a), versions(b));
    let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    for (key, from) in &first {
        let (kind, name, arch) = key.clone();
        match second.get(key) {
            None => out.removed.push(Package { kind, name, arch, versions: list(from) }),
            Some(to) if to != from => out.changed.push(Changed { kind, name, arch, from: list(from), to: list(to) }),
            Some(_) => {}
        }
    }
    for (key, to) in second.iter().filter(|(key, _)| !first.contains_key(*key)) {
        let (kind, name, arch) = key.clone();
        out.added.push(Package { kind, name, arch, versions: list(to) });
    }
}

fn findings(first: &[Item], second: &[Item], a: &Side, b: &Side, out: &mut Diff) {
    let index = |items: &[Item]| {
        let mut by: BTreeMap<(String, String), Item> = BTreeMap::new();
        for item in items {
            // Of a booted kernel and one that is not, the booted one counts.
            let place = by.entry((item.id.clone(), item.source.clone())).or_insert_with(|| item.clone());
            if place.in_effect == NOT_BOOTED && item.in_effect != NOT_BOOTED {
                *place = item.clone();
            }
        }
        by
    };
    let (before, after) = (index(first), index(second));
    let (sources_a, sources_b) = (sources(a), sources(b));
    let same_database = a.database.is_some() && a.database == b.database;
    for (key, item) in &after {
        if before.contains_key(key) {
            out.kept += 1;
        } else {
            let why = opened(item, sources_a.as_ref(), same_database);
            out.opened.push(Moved { item: item.clone(), why });
        }
    }
    for item in before.iter().filter(|(key, _)| !after.contains_key(*key)).map(|(_, item)| item) {
        let why = closed(item, sources_b.as_ref(), same_database);
        out.closed.push(Moved { item: item.clone(), why });
    }
}

fn opened(item: &Item, before: Option<&BTreeMap<&str, BTreeSet<&str>>>, same_database: bool) -> String {
    let advisories = if item.advisories.is_empty() { String::new() } else { format!(" ({})", item.advisories.join(", ")) };
    let told = format!("the vendor did not say so before{advisories}");
    let Some(before) = before else { return format!("new; what was installed before is not known{advisories}") };
    match before.get(item.source.as_str()) {
        None => format!("{} {} was installed", item.source, item.version),
        Some(versions) if versions.contains(item.version.as_str()) && same_database => {
            "what runs or counts as installed is another one".into()
        }
        Some(versions) if versions.contains(item.version.as_str()) => told,
        Some(versions) => {
            let from = versions.iter().copied().collect::<Vec<_>>().join(", ");
            format!("{} changed from {from} to {}", item.source, item.version)
        }
    }
}

fn closed(item: &Item, after: Option<&BTreeMap<&str, BTreeSet<&str>>>, same_database: bool) -> String {
    let Some(after) = after else { return "gone; what is installed now is not known".into() };
    match after.get(item.source.as_str()) {
        None => format!("{} was removed", item.source),
        Some(versions) if versions.contains(item.version.as_str()) && same_database => {
            "what runs or counts as installed is another one".into()
        }
        Some(versions) if versions.contains(item.version.as_str()) => "the vendor no longer says so".into(),
        Some(versions) => {
            let to = versions.iter().copied().collect::<Vec<_>>().join(", ");
            let fixed = item.fixed.as_deref().map(|fixed| format!("; the fix came with {fixed}")).unwrap_or_default();
            format!("{} changed from {} to {to}{fixed}", item.source, item.version)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, version: &str) -> Component {
        Component { kind: "deb".into(), name: name.into(), version: version.into(), arch: "amd64".into(), ..Component::default() }
    }

    fn item(id: &str, source: &str, version: &str) -> Item {
        let status = Status::Fixed;
        let (fixed, in_effect) = (Some("9".into()), String::new());
        Item { id: id.into(), source: source.into(), version: version.into(), fixed, status, advisories: vec!["DSA-1".into()], in_effect }
    }

    fn side(packages: &[(&str, &str)], findings: &[(&str, &str, &str)], database: &str) -> Side {
        Side {
            title: "x".into(),
            packages: Some(packages.iter().map(|(name, version)| component(name, version)).collect()),
            findings: Some(findings.iter().map(|(id, source, version)| item(id, source, version)).collect()),
            database: Some(database.into()),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn every_opened_and_closed_finding_says_why() {
        let a = side(
            &[("web", "1"), ("old", "1"), ("same", "1")],
            &[("CVE-1", "web", "1"), ("CVE-2", "old", "1"), ("CVE-9", "same", "1")],
            "a",
        );
        let b = side(
            &[("web", "9"), ("new", "1"), ("same", "1")],
            &[("CVE-3", "new", "1"), ("CVE-4", "same", "1"), ("CVE-5", "web", "9")],
            "b",
        );
        let diff = diff(&a, &b);
        let why = |list: &[Moved]| list.iter().map(|moved| format!("{}: {}", moved.item.id, moved.why)).collect::<Vec<_>>();
        assert_eq!(
            why(&diff.opened),
            ["CVE-3: new 1 was installed", "CVE-4: the vendor did not say so before (DSA-1)", "CVE-5: web changed from 1 to 9"]
        );
        assert_eq!(
            why(&diff.closed),
            ["CVE-1: web changed from 1 to 9; the fix came with 9", "CVE-2: old was removed", "CVE-9: the vendor no longer says so"]
        );
        assert_eq!((diff.added.len(), diff.removed.len(), diff.changed.len(), diff.kept), (1, 1, 1, 0));
        assert_eq!(
            (diff.changed[0].from.as_slice(), diff.changed[0].to.as_slice()),
            (["1".to_owned()].as_slice(), ["9".to_owned()].as_slice())
        );
    }

    #[test]
    fn a_state_against_itself_is_no_difference() {
        let a = side(&[("web", "1")], &[("CVE-1", "web", "1")], "a");
        assert_eq!(diff(&a, &a), Diff { kept: 1, ..Diff::default() });
    }

    #[test]
    fn what_is_not_known_is_not_called_equal() {
        let a = side(&[("web", "1")], &[("CVE-1", "web", "1")], "a");
        let b = Side { packages: None, findings: None, ..a.clone() };
        let diff = diff(&a, &b);
        assert!(diff.removed.is_empty() && diff.closed.is_empty());
        assert_eq!(diff.unknown.len(), 2, "{:?}", diff.unknown);
    }
}
