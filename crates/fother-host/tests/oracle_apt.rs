//! Side by side with apt on this machine: candidates, upgradable packages and transactions must be equal. Reads; apt only simulates.
#![allow(clippy::unwrap_used)]

use fother_core::package::Offer;
use fother_host::{
    apt::{
        archives::{self, Archives, Request},
        candidates::Policy,
        pins::Pins,
    },
    inventory::Facts,
    resolve::{ResolveRequest, resolve},
    root::Root,
    scan::{Wanted, clock, scan, versions},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    process::Command,
};

const PREFERENCES: [&str; 6] = [
    "",
    "Package: *\nPin: release l=Debian-Security\nPin-Priority: never\n\nPackage: *\nPin: release *\nPin-Priority: 7\n\nPackage: l*\nPin: release n=bookworm*\nPin-Priority: 1001\n",
    "Package: *\nPin: release l=Debian-Security\nPin-Priority: -1\n\nPackage: lib*\nPin: release n=bookworm\nPin-Priority: 50\n",
    "Package: src:perl src:openssl /^python/\nPin: release l=Debian-Security\nPin-Priority: -5\n\nPackage: bash\nPin: version 5.*\nPin-Priority: 1001\n",
    "# oldest of two\nPackage: libc6 libc-bin\nPin: release a=*security\nPin-Priority: 1\n\nPackage: libc6\nPin: release o=Debian\nPin-Priority: 900\n\nPackage: *\nPin: release *\nPin-Priority: 60\n",
    "Package: *\nPin: release c=main, o=Debian\nPin-Priority: 1000\n\nPackage: *:any\nPin: origin \"\"\nPin-Priority: 990\n\nPackage: git*:any\nPin: release a=now\nPin-Priority: 700\n",
];

fn apt(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn everything(root: &Root, facts: &Facts) -> Archives {
    let wanted: HashSet<&str> = facts.database.packages.iter().map(|p| p.name.as_str()).collect();
    let (sources, architectures) = (&facts.sources.configured, &facts.database.architectures);
    archives::load(root, &Request { lists: None, sources, architectures, wanted: &wanted, with_digests: false, now: clock() }).unwrap()
}

/// `Candidate:` of each package that apt-cache names.
fn apt_candidates(preferences: &Path, release: Option<&str>, names: &[&str]) -> BTreeMap<String, String> {
    let file = format!("Dir::Etc::Preferences={}", preferences.display());
    let parts = format!("Dir::Etc::PreferencesParts={}", preferences.with_file_name("parts").display());
    let release = format!("APT::Default-Release={}", release.unwrap_or_default());
    let mut args = vec!["-o", &file, "-o", &parts, "-o", &release, "policy"];
    args.extend(names);
    let mut found = BTreeMap::new();
    let mut name = String::new();
    for line in apt("apt-cache", &args).lines() {
        if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            found.insert(name.clone(), candidate.to_owned());
        } else if let Some(head) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            name = head.to_owned();
        }
    }
    found
}

#[test]
fn candidates_are_apts_for_every_installed_package_under_every_pin() {
    let root = Root::live().unwrap();
    let facts = Facts::read(&root).unwrap();
    let native = facts.architecture();
    let archives = everything(&root, &facts);
    let names: Vec<&str> = facts.database.packages.iter().map(|p| p.name.as_str()).collect();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("preferences");
    std::fs::create_dir(scratch.path().join("parts")).unwrap();
    let runs = PREFERENCES.iter().map(|text| (*text, None)).chain([("", Some("bookworm-security"))]);
    for (text, release) in runs {
        std::fs::write(&file, text).unwrap();
        let wanted = apt_candidates(&file, release, &names);
        let mut pins = Pins::default();
        pins.take("p", text);
        assert!(pins.unknown.is_empty(), "{:?}", pins.unknown);
        let known = archives.known.iter().map(|known| known.archive.clone()).collect();
        let policy = Policy::new(known, pins, release, native).unwrap();
        let mut compared = 0;
        for package in facts.database.packages.iter().filter(|p| p.arch == native || p.arch == "all") {
            let versions = versions(&archives, package, native);
            let got = policy.candidate(&package.name, &package.arch, &versions).map_or("(none)", |at| versions[at].version.as_str());
            assert_eq!(got, wanted[&package.name], "{} with {text:?} {release:?}", package.name);
            compared += 1;
        }
        assert!(compared > 50, "too few packages to say anything: {compared}");
    }
}

#[test]
fn upgradable_packages_are_apts() {
    let mut wanted = BTreeSet::new();
    for line in apt("apt", &["list", "--upgradable"]).lines().filter(|line| line.contains("[upgradable from: ")) {
        let (name, rest) = line.split_once('/').unwrap();
        let to = rest.split(' ').nth(1).unwrap();
        let from = rest.split("[upgradable from: ").nth(1).unwrap().trim_end_matches(']');
        wanted.insert((name.to_owned(), from.to_owned(), to.to_owned()));
    }
    let scan = scan(&Root::live().unwrap(), &Wanted::default()).unwrap();
    let got: BTreeSet<_> = scan.updates.iter().map(|u| (u.name.clone(), u.from.as_str().to_owned(), u.to.as_str().to_owned())).collect();
    assert_eq!(got, wanted);
}

fn dist_upgrade() -> BTreeSet<String> {
    let simulated = apt("apt-get", &["-s", "-o", "Debug::NoLocking=1", "dist-upgrade"]);
    simulated.lines().filter_map(|line| Some(line.strip_prefix("Inst ")?.split(' ').next()?.split(':').next()?.to_owned())).collect()
}

#[test]
fn the_transaction_is_apts_and_every_package_has_its_offer() {
    let root = Root::live().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let lists = Path::new("/var/lib/apt/lists");
    let request =
        ResolveRequest { root: &root, lists, only: None, exclude: &[], removals: false, downgrades: false, scratch: scratch.path() };
    let whole = resolve(&request).unwrap();
    let names: BTreeSet<String> = whole.changes.iter().map(|change| change.name.clone()).collect();
    assert_eq!(names, dist_upgrade());
    let complete = |offer: &Offer| offer.size > 0 && !offer.origin.is_empty() && offer.filename.ends_with(".deb");
    assert!(whole.changes.iter().all(|change| change.offer.as_ref().is_some_and(complete)));
    assert_eq!(resolve(&request).unwrap(), whole, "the same question has the same answer");

    let Some(first) = whole.changes.iter().find(|change| change.from.is_some()) else { return };
    let exclude = [first.source.clone()];
    let rest = resolve(&ResolveRequest { exclude: &exclude, ..request }).unwrap();
    assert!(rest.changes.iter().all(|change| change.source != first.source), "{} is excluded", first.source);
    assert!(rest.kept_back.iter().any(|kept| kept.name == first.name && kept.why.contains("excluded")));

    let only = [first.name.clone()];
    let one = resolve(&ResolveRequest { only: Some(&only), ..request }).unwrap();
    assert!(one.changes.iter().any(|change| change.name == first.name));
    assert!(one.changes.len() < whole.changes.len() || whole.changes.len() == 1);
}

#[test]
fn a_scan_answers_within_a_second() {
    let start = std::time::Instant::now();
    let scan = scan(&Root::live().unwrap(), &Wanted::default()).unwrap();
    let took = start.elapsed();
    println!("scan of {} packages: {} updates, {} ms", scan.installed, scan.updates.len(), took.as_millis());
    assert!(took.as_secs() < 5, "{took:?}: even a debug build on a busy machine is faster");
}
