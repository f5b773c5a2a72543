//! Findings against two oracles on this machine's real dpkg database: debsecan on the same advisories, and the changelogs of what is installed.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{Timestamp, assess::host::HostFinding, version::Version};
use fother_feeds::{
    database,
    intake::{self, Intake},
};
use fother_host::{findings::Judge, root::Root};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Debian's shared feeds; `None`, with the reason printed, where they are absent or this is no Debian 12.
fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join("feeds/debian");
    let bookworm = std::fs::read_to_string("/etc/os-release").unwrap_or_default().contains("VERSION_CODENAME=bookworm");
    if dir.exists() && bookworm {
        return Some(dir.canonicalize().unwrap());
    }
    println!("skipped: {} is absent (set FOTHER_SHARED), or this is not bookworm", dir.display());
    None
}

/// This machine's findings from the tracker's lists alone, which debsecan's data were made from.
fn findings(dir: &Path) -> Vec<HostFinding> {
    let keep = tempfile::tempdir().unwrap();
    let intake = Intake::new(keep.path());
    let lists = intake::offered(dir, None).into_iter().filter(|offer| offer.origin.contains(".list."));
    intake.take(lists.collect(), NOW, false).unwrap();
    let database = database::open(&intake.database()).unwrap();
    let start = std::time::Instant::now();
    let found = Judge::new(&database, None).quick(&Root::live().unwrap()).unwrap();
    println!("assessed {} packages in {:?}: {} findings", found.packages.count(), start.elapsed(), found.assessment.findings.len());
    found.assessment.findings
}

#[test]
fn findings_equal_debsecans_difference_by_difference() {
    let Some(dir) = shared() else { return };
    let source = format!("file://{}/debsecan-source/", dir.display());
    let start = std::time::Instant::now();
    let output = match Command::new("debsecan").args(["--suite", "bookworm", "--source", &source, "--format", "simple"]).output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: debsecan: {error} (scripts/setup.sh installs it)"),
    };
    println!("debsecan took {:?}", start.elapsed());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let theirs: BTreeSet<(String, String)> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(id, package)| (id.to_owned(), package.to_owned())).collect();
    let mut ours = BTreeSet::new();
    let (mut nameless, mut signed) = (0, 0);
    for finding in findings(&dir) {
        for package in &finding.packages {
            if !finding.id.starts_with("CVE-") {
                // Advisories that name no CVE are not in debsecan's data.
                nameless += 1;
            } else if finding.because.contains("signed build") || finding.because.contains("backport") {
                // debsecan compares signed kernels and backports as they are and so finds nothing.
                signed += 1;
            } else {
                ours.insert((finding.id.clone(), package.clone()));
            }
        }
    }
    println!("{} pairs in both; {nameless} advisories without CVE and {signed} of signed kernels or backports only here", ours.len());
    let only = |a: &BTreeSet<_>, b: &BTreeSet<_>| a.difference(b).take(20).cloned().collect::<Vec<(String, String)>>();
    assert_eq!(only(&theirs, &ours), [], "only debsecan");
    assert_eq!(only(&ours, &theirs), [], "only Fother");
    assert!(!ours.is_empty(), "nothing was compared");
}

#[test]
fn no_finding_contradicts_the_changelog_of_what_is_installed() {
    let Some(dir) = shared() else { return };
    let packed = std::fs::File::open(dir.join("bookworm-changelog-cves.tsv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    // CVE and source: the version whose changelog says that it fixes it.
    let mut says: BTreeMap<(&str, &str), Version> = BTreeMap::new();
    for row in text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let Ok(version) = row[1].parse::<Version>() else { continue };
        for cve in row[4].split(',') {
            let first = says.entry((cve, row[0])).or_insert_with(|| version.clone());
            if version.compare(first).is_lt() {
                *first = version.clone();
            }
        }
    }
    let (mut agree, mut differ) = (0, Vec::new());
    for finding in findings(&dir) {
        let Some(fixed) = says.get(&(finding.id.as_str(), finding.source.as_str())) else { continue };
        let installed: Version = finding.version.parse().unwrap();
        if installed.compare(fixed).is_lt() {
            agree += 1;
        } else {
            differ.push(format!(
                "{} {} installed {} fixed by changelog in {fixed}, by advisory in {:?}",
                finding.id, finding.source, installed, finding.fixed
            ));
        }
    }
    println!("{agree} findings agree with a changelog, {} differ:\n{}", differ.len(), differ.join("\n"));
    assert!(agree >= 20 * differ.len(), "more than 5 % differ");
}
