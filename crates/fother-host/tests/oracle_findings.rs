//! Findings of language packages beside real Trivy on the same data: `scripts/trivy_db.py` makes Trivy's database from the feeds that Fother takes in.
//! Every difference has a reason, or the test fails.
#![allow(clippy::unwrap_used, clippy::panic)]

mod peers;

use fother_core::{
    Timestamp,
    assess::host::{Assessment, HostFinding},
};
use fother_feeds::{
    database,
    intake::{self, Intake},
};
use fother_host::{
    findings::Judge,
    languages::{self, Owned},
    root::Root,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Advisory or vulnerability, package, version.
type Pair = (String, String, String);

/// The shared feeds; `None`, with the reason printed, where they are absent.
fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join("feeds");
    if dir.exists() {
        return Some(dir.canonicalize().unwrap());
    }
    println!("skipped: {} is absent (set FOTHER_SHARED)", dir.display());
    None
}

/// Fother's database and Trivy's, of the same advisories.
fn databases(feeds: &Path) -> (TempDir, Intake) {
    let keep = tempfile::tempdir().unwrap();
    let intake = Intake::new(keep.path());
    let languages = intake::offered(&feeds.join("osv"), None).into_iter().filter(|offer| !offer.origin.contains("Bitnami"));
    intake.take(languages.collect(), NOW, false).unwrap();
    let script = peers::script("trivy_db.py");
    let output = Command::new(peers::programs().join("python3")).arg(script).arg(feeds).arg(keep.path()).output().unwrap();
    print!("Trivy's database: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    (keep, intake)
}

fn trivy(cache: &Path, root: &Path) -> BTreeSet<Pair> {
    let flags = ["--offline-scan", "--skip-db-update", "--skip-java-db-update", "--skip-version-check", "--quiet"];
    let output = Command::new(peers::programs().join("trivy"))
        .args(["rootfs", "--scanners", "vuln", "--format", "json", "--cache-dir"])
        .arg(cache)
        .args(flags)
        .arg(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = report["Results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = results.iter().flat_map(|result| result["Vulnerabilities"].as_array().map(Vec::as_slice).unwrap_or_default());
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    found.map(|one| (word(one, "VulnerabilityID"), spelled(&word(one, "PkgName")), plain(&word(one, "InstalledVersion")))).collect()
}

/// Names that differ in spelling only are one (PEP 503).
fn spelled(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

fn plain(version: &str) -> String {
    version.trim_start_matches('v').to_owned()
}

/// Every name that a finding goes by, for each of its packages.
fn pairs(finding: &HostFinding) -> BTreeSet<Pair> {
    let names = || finding.advisories.iter().chain([&finding.id]);
    let one = |package: &String| names().map(|name| (name.clone(), spelled(package), plain(&finding.version))).collect::<Vec<_>>();
    finding.packages.iter().flat_map(one).collect()
}

#[test]
fn findings_of_language_packages_equal_trivys() {
    let Some(feeds) = shared() else { return };
    let (keep, intake) = databases(&feeds);
    let place = peers::root();
    let theirs = trivy(keep.path(), &place);
    let database = database::open(&intake.database()).unwrap();
    let judge = Judge { now: NOW, ..Judge::new(&database, None) };
    let root = Root::open(&place).unwrap();
    let found = languages::find(&root, &Owned::of_dpkg(&root, &BTreeMap::new()));
    let mut assessment = Assessment::default();
    judge.add(&fother_host::inventory::distribution(&root), &found.components, &mut assessment).unwrap();
    let ours: BTreeSet<Pair> = assessment.findings.iter().flat_map(pairs).collect();
    let owned = fs::read_to_string(place.join("var/lib/dpkg/info/python3-idna.list")).unwrap();
    let (mut reasons, mut without): (BTreeMap<&str, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for pair in theirs.difference(&ours) {
        if pair.1 == "idna" && owned.contains(&format!("idna-{}", pair.2)) {
            *reasons.entry("a file of a package of the distribution, whose advisories judge it").or_default() += 1;
        } else {
            without.push(format!("only Trivy: {pair:?}"));
        }
    }
    for finding in assessment.findings.iter().filter(|finding| pairs(finding).is_disjoint(&theirs)) {
        without.push(format!("only Fother: {} {:?} {:?} {}", finding.id, finding.advisories, finding.packages, finding.version));
    }
    let both = theirs.intersection(&ours).count();
    println!("language packages: {both} findings in both; differences: {reasons:#?}");
    assert!(both > 100, "hardly anything was compared");
    assert!(without.is_empty(), "{} differences without a reason:\n{}", without.len(), without.join("\n"));
}
