//! The machine's own apt state, read as `fother scan` reads it, beside gpgv and apt; reads `/etc/apt` and `/var/lib/apt/lists`.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use fother_core::Timestamp;
use fother_feeds::{
    acquire, lists, packages,
    sources::{self, ConfiguredSource},
    trust,
};
use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
    process::Command,
    time::{Instant, SystemTime},
};

const LISTS: &str = "/var/lib/apt/lists";

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap())
}

/// The machine's sources; empty, with a printed reason, on a machine without apt.
fn machine() -> Vec<ConfiguredSource> {
    let found = sources::read(Path::new("/")).unwrap();
    if found.configured.is_empty() {
        eprintln!("skipped: this machine has no apt sources");
    }
    found.configured
}

#[test]
fn every_signed_release_of_the_machine_is_judged_as_gpgv_judges_it() {
    for source in machine() {
        let path = Path::new(LISTS).join(lists::file_name(&lists::inrelease_uri(&source.source)));
        let Ok(bytes) = fs::read(&path) else {
            eprintln!("skipped: no {}: apt-get update was not run", path.display());
            continue;
        };
        let keyring = sources::keyring_for(Path::new("/"), &source).unwrap();
        let text = trust::verify_clearsigned(&bytes, &keyring, now()).unwrap();
        match source.signed_by.first().filter(|p| p.starts_with('/')) {
            Some(file) => assert_eq!(Some(text), common::gpgv(Path::new(file), &path)),
            None => eprintln!("skipped: {} has no Signed-By file for gpgv", path.display()),
        }
        let policy = acquire::Policy { suite: source.source.suite.clone(), max_age: None, newest_seen: None };
        match acquire::check_release(&policy, &bytes, &keyring, now()) {
            Ok(release) => assert!(!release.files.is_empty()),
            Err(error) => assert!(matches!(error.code(), "expired" | "too-old"), "{error}"),
        }
    }
}

#[test]
fn the_indexes_of_the_machine_match_their_signed_hashes_and_give_what_apt_gives() {
    let all = machine();
    let architecture = String::from_utf8(Command::new("dpkg").arg("--print-architecture").output().unwrap().stdout).unwrap();
    let started = Instant::now();
    let set = lists::IndexSet::load(Path::new(LISTS), &all, architecture.trim()).unwrap();
    let indexes: Vec<_> = set.files.iter().map(|file| file.read().unwrap()).collect();
    let unpacked = started.elapsed();
    let (mut ours, mut count) = (BTreeSet::new(), 0);
    let wanted = HashSet::from(["bash", "openssl", "libc6", "nginx"]);
    let scanning = Instant::now();
    for index in &indexes {
        packages::select(index, &wanted, |entry| {
            let candidate = entry.candidate().unwrap();
            ours.insert((candidate.name, candidate.version.to_string()));
        });
    }
    let selected = scanning.elapsed();
    for (file, index) in set.files.iter().zip(&indexes) {
        count += packages::scan(index).inspect(|entry| assert!(entry.candidate().is_ok(), "{}", entry.name)).count();
        let text = fs::read_to_string(file.inrelease.as_ref().unwrap()).unwrap();
        assert!(text.contains(&format!("{} ", common::sha256(index))), "{}", file.path.display());
    }
    eprintln!("{count} stanzas, {} bytes: unpacked in {unpacked:?}, selected in {selected:?}", indexes.iter().map(Vec::len).sum::<usize>());
    for name in wanted {
        let madison = Command::new("apt-cache").args(["madison", name]).output().unwrap().stdout;
        for line in String::from_utf8(madison).unwrap().lines().filter(|l| l.ends_with("Packages")) {
            let version = line.split('|').nth(1).unwrap().trim().to_owned();
            assert!(ours.contains(&(name.to_owned(), version.clone())), "apt knows {name} {version}");
        }
    }
}

#[test]
fn file_names_are_the_ones_that_apt_makes() {
    let dir = tempfile::tempdir().unwrap();
    let list = "deb [trusted=yes arch=amd64] http://127.0.0.1:8/a_b/c~d x main non-free\n\
                deb [trusted=yes arch=amd64] file:/srv/re+po ./\ndeb [trusted=yes arch=amd64] https://h.example/ x/updates main\n\
                deb [trusted=yes arch=amd64] http://h.example/flat /\n";
    fs::write(dir.path().join("sources.list"), list).unwrap();
    fs::create_dir_all(dir.path().join("etc/apt")).unwrap();
    fs::write(dir.path().join("etc/apt/sources.list"), list).unwrap();
    let out = Command::new("apt-get")
        .args(["update", "--print-uris", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Architecture=amd64"])
        .args(["-o", &format!("Dir::Etc::sourcelist={}", dir.path().join("sources.list").display())])
        .args(["-o", &format!("Dir::State::lists={}", dir.path().display())])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let named = |line: &str| line.split_once("' ").unwrap().1.split(' ').next().unwrap().to_owned();
    let apts: BTreeSet<String> = text.lines().map(named).filter(|name| !name.contains("dep11")).collect();
    let mut ours = BTreeSet::new();
    for source in sources::read(dir.path()).unwrap().configured.iter().map(|c| &c.source) {
        ours.insert(lists::file_name(&lists::inrelease_uri(source)));
        let indexes = lists::index_paths(source, "amd64").into_iter();
        ours.extend(indexes.map(|(_, _, path)| lists::file_name(&format!("{}{path}", lists::suite_uri(source)))));
    }
    assert_eq!(ours, apts, "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(ours.len(), 12);
}
