//! Language packages of one real root as Trivy and Syft see them: every difference has a class and a reason, or the test fails.
//!
//! `scripts/language-root.sh` makes the root from PyPI, npm and Debian's archive, `scripts/peers.sh` installs the peers. Both are kept in the
//! target directory. Where a peer cannot be installed, that is printed and its half is left out.
#![allow(clippy::unwrap_used, clippy::panic)]

mod peers;

use fother_core::purl::Purl;
use fother_host::{
    languages::{self, Owned, Shown},
    root::Root,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::Instant,
};

/// Type, name and version in one spelling.
type Name = (String, String, String);

/// What a peer says: components with their paths.
type Said = BTreeMap<Name, BTreeSet<String>>;

fn spelled(kind: &str, name: &str, version: &str) -> Name {
    let name = match kind {
        "pypi" => name.to_lowercase().replace(['_', '.'], "-"),
        // Trivy writes Go's in lower case.
        "golang" => name.to_lowercase(),
        _ => name.to_owned(),
    };
    let version = if kind == "golang" { version.trim_start_matches('v') } else { version };
    (kind.to_owned(), name, version.to_owned())
}

fn ours(root: &Path) -> (Said, usize) {
    let root = Root::open(root).unwrap();
    let start = Instant::now();
    let found = languages::find(&root, &Owned::of_dpkg(&root, &BTreeMap::new()));
    println!("Fother: {} ({} files of packages) in {:?}", found.counts(), found.of_packages, start.elapsed());
    for why in &found.unknown {
        println!("  could not tell: {why}");
    }
    let mut said = Said::new();
    for component in found.components.iter().map(Shown::from) {
        let name = component.name.replace(':', "/");
        said.entry(spelled(&component.r#type, &name, &component.version)).or_default().insert(component.place);
    }
    (said, found.of_packages)
}

fn theirs(tool: &Path, arguments: &[&str], root: &Path) -> Said {
    let start = Instant::now();
    let output = Command::new(tool).args(arguments).arg(root).output().unwrap();
    println!("{} took {:?}", tool.display(), start.elapsed());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut said = Said::new();
    for component in document["components"].as_array().unwrap() {
        let Some(Ok(purl)) = component["purl"].as_str().map(Purl::parse) else { continue };
        let properties = component["properties"].as_array().map(Vec::as_slice).unwrap_or_default();
        let path = |p: &&Value| p["name"].as_str().is_some_and(|name| name.ends_with("FilePath") || name.ends_with(":path"));
        let name = purl.namespace.iter().chain([&purl.name]).chain(&purl.subpath).cloned().collect::<Vec<_>>().join("/");
        let paths = properties.iter().filter(path).filter_map(|p| p["value"].as_str()).map(|p| p.trim_start_matches('/').to_owned());
        said.entry(spelled(&purl.kind, &name, purl.version.as_deref().unwrap_or_default())).or_default().extend(paths);
    }
    said
}

/// Why a peer has a component that Fother has not.
fn only_theirs(name: &Name, paths: &BTreeSet<String>, of_packages: &BTreeSet<String>) -> Option<&'static str> {
    let any = |wanted: &dyn Fn(&str) -> bool| paths.iter().any(|path| wanted(path));
    match name.0.as_str() {
        "deb" => Some("packages of the distribution: read from dpkg, not by this walk"),
        "github" => Some("actions that a project's own builds use: nothing that is installed"),
        "generic" => Some("programs guessed by texts in them: no ecosystem's advisories speak of them"),
        _ if any(&|path| of_packages.contains(path)) => Some("files of a package of the distribution, whose advisories judge it"),
        "npm" if any(&|path| path.ends_with("/package.json") && !fother_core::languages::node::is_installed(&path[..path.len() - 13])) => {
            Some("manifests inside of a package: test data and parts, nothing that is installed")
        }
        "cargo" if name.1 == "app" => Some("the program itself: its own source, of no registry"),
        "golang" if name.2.is_empty() || name.2.starts_with("(devel)") || name.2 == "UNKNOWN" => {
            Some("the program itself, without a version")
        }
        "golang" => Some("the program itself, with a version guessed from texts in it, not from its build information")
            .filter(|_| name.1.contains("/cli") || name.1.contains("anchore/syft")),
        _ => None,
    }
}

/// Why Fother has a component that a peer has not.
fn only_ours(tool: &str, name: &Name) -> Option<&'static str> {
    match (tool, name.0.as_str()) {
        ("trivy", "maven") => Some("Trivy reads archives only with a database of its own that is fetched from the network"),
        _ => None,
    }
}

#[test]
fn every_difference_to_trivy_and_syft_has_a_reason() {
    let (root, peers) = (peers::root(), peers::programs());
    let (ours, of_packages) = ours(&root);
    assert!(of_packages > 0, "the root has a package of the distribution with Python metadata");
    let list = fs::read_to_string(root.join("var/lib/dpkg/info/python3-idna.list")).unwrap();
    let owned: BTreeSet<String> = list.lines().map(|path| path.trim_start_matches('/').to_owned()).collect();
    let trivy = ["rootfs", "--offline-scan", "--quiet", "--skip-files", "**/*.jar", "--skip-files", "**/*.war", "--format", "cyclonedx"];
    for (tool, arguments) in [("trivy", trivy.as_slice()), ("syft", &["scan", "-q", "-o", "cyclonedx-json"])] {
        let theirs = theirs(&peers.join(tool), arguments, &root);
        let (mut reasons, mut without): (BTreeMap<&str, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
        for (name, paths) in theirs.iter().filter(|(name, _)| !ours.contains_key(name)) {
            match only_theirs(name, paths, &owned) {
                Some(why) => *reasons.entry(why).or_default() += 1,
                None => without.push(format!("only {tool}: {name:?} {paths:?}")),
            }
        }
        for (name, places) in ours.iter().filter(|(name, _)| !theirs.contains_key(name)) {
            match only_ours(tool, name) {
                Some(why) => *reasons.entry(why).or_default() += 1,
                None => without.push(format!("only Fother, not {tool}: {name:?} {places:?}")),
            }
        }
        let both = theirs.keys().filter(|name| ours.contains_key(name)).count();
        println!("{tool}: {both} in both; differences: {reasons:#?}");
        assert!(both > 100, "hardly anything was compared with {tool}");
        assert!(without.is_empty(), "{} differences without a reason:\n{}", without.len(), without.join("\n"));
    }
}
