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

/// A root whose archive phases the update of `pN` at N percent, and brings everything of `src` from a security archive.
fn phased_root(dir: &Path, machine: &str, options: &str) {
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let (mut status, mut offered) = (String::new(), String::new());
    for percent in 0..=100 {
        // Half of them are built from sources of another name and version, which the draw is about.
        let source = if percent % 2 == 0 { String::new() } else { format!("Source: s{percent} (7-{percent})\n") };
        let common = format!("Package: p{percent}\n{source}Architecture: amd64\nMaintainer: A <a@b.invalid>\nDescription: x\n");
        status.push_str(&format!("{common}Status: install ok installed\nVersion: 1-1\n\n"));
        let file = format!("Filename: pool/p{percent}.deb\nSize: 1\nSHA256: {}\nPhased-Update-Percentage: {percent}\n", "0".repeat(64));
        offered.push_str(&format!("{common}Version: 1-2\n{file}\n"));
    }
    write("var/lib/dpkg/status", &status);
    write("etc/os-release", "ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n");
    write("etc/machine-id", &format!("{machine}\n"));
    write("etc/apt/apt.conf", options);
    write("etc/apt/sources.list", "deb [trusted=yes] http://archive.test/ubuntu noble-updates main\n");
    let lists = "var/lib/apt/lists/archive.test_ubuntu_dists_noble-updates_";
    let release = format!(
        "Origin: Ubuntu\nLabel: Ubuntu\nSuite: noble-updates\nCodename: noble\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n {} 0 main/x\n",
        "0".repeat(64)
    );
    write(&format!("{lists}InRelease"), &release);
    write(&format!("{lists}main_binary-amd64_Packages"), &offered);
    for empty in ["var/lib/apt/lists/partial", "var/cache/apt/archives/partial"] {
        std::fs::create_dir_all(dir.join(empty)).unwrap();
    }
}

/// What apt would install there.
fn apt_upgrade(dir: &Path, machine: &str) -> BTreeSet<String> {
    let at = |path: &str| dir.join(path).display().to_string();
    let options = [
        format!("Dir::State::Status={}", at("var/lib/dpkg/status")),
        format!("Dir::State::Lists={}", at("var/lib/apt/lists")),
        format!("Dir::Etc::SourceList={}", at("etc/apt/sources.list")),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "Dir::Etc::Preferences=/dev/null".to_owned(),
        "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
        format!("Dir::Cache={}", at("var/cache/apt")),
        format!("APT::Machine-ID={machine}"),
        "APT::Architecture=amd64".to_owned(),
        "Debug::NoLocking=1".to_owned(),
    ];
    let configuration = at("etc/apt/apt.conf");
    let mut args = vec!["-s", "-c", &configuration];
    options.iter().for_each(|option| args.extend(["-o", option]));
    args.push("upgrade");
    apt("apt-get", &args).lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned)).collect()
}

#[test]
fn phased_updates_reach_the_machines_that_apt_says() {
    for (machine, options) in [
        ("0123456789abcdef0123456789abcdef", ""),
        ("ffffffffffffffffffffffffffffffff", ""),
        ("5d0f1f2a7e6b4f0c9a8b7c6d5e4f3a2b", ""),
        ("0123456789abcdef0123456789abcdef", "APT::Get::Always-Include-Phased-Updates \"true\";\n"),
        ("0123456789abcdef0123456789abcdef", "APT::Get::Never-Include-Phased-Updates \"true\";\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        phased_root(dir.path(), machine, options);
        let found = scan(&Root::open(dir.path()).unwrap(), &Wanted::default()).unwrap();
        assert_eq!(found.updates.len(), 101, "everything that is offered is named");
        let ours: BTreeSet<String> =
            found.updates.iter().filter(|update| update.kept.is_none()).map(|update| update.name.clone()).collect();
        assert_eq!(ours, apt_upgrade(dir.path(), machine), "{machine} {options}");
        let kept = found.updates.iter().filter_map(|update| update.kept.as_deref());
        assert!(kept.into_iter().all(|why| why.starts_with("phased: ")), "each that is kept says why");
    }
}

#[test]
fn a_scan_answers_within_a_second() {
    let start = std::time::Instant::now();
    let scan = scan(&Root::live().unwrap(), &Wanted::default()).unwrap();
    let took = start.elapsed();
    println!("scan of {} packages: {} updates, {} ms", scan.installed, scan.updates.len(), took.as_millis());
    assert!(took.as_secs() < 5, "{took:?}: even a debug build on a busy machine is faster");
}
