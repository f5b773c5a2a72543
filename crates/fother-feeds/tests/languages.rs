//! Feeds of language ecosystems in their own forms: what is vulnerable by them, and the whole feeds where the shared data are.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    advisory::{Status, reader::Database},
    assess,
};
use fother_feeds::{
    database::{self, Blocks},
    intake::{self, Intake},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

const RACK: &str = "---\ngem: rack\ncve: 2026-0001\nghsa: aaaa-bbbb-cccc\ntitle: Hole\ndate: 2026-02-01\ndescription: |\n  Text: with a colon\npatched_versions:\n  - \"~> 2.2.8\"\n  - \">= 3.0.9\"\nunaffected_versions:\n  - \"<= 1.6\"\n";
const RUBY: &str = "---\nengine: ruby\ncve: 2026-0002\ntitle: Of Ruby itself\ndate: 2026-02-01\npatched_versions:\n  - \">= 3.3\"\n";
const NODE: &str = r#"{"1":{"cve":["CVE-2026-0003"],"vulnerable":"18.x || 20.x","patched":"^18.20.2 || ^20.12.2","description":"hole","severity":"high"}}"#;

fn taken(dir: &Path, feeds: &Path) -> Database<Blocks> {
    let intake = Intake::new(dir);
    intake.take(intake::offered(feeds, None), NOW, false).unwrap();
    database::open(&intake.database()).unwrap()
}

fn ids(db: &Database<Blocks>, ecosystem: &str, name: &str, version: &str) -> Vec<String> {
    let release = db.release(ecosystem).unwrap().unwrap_or_else(|| panic!("{ecosystem} is not in the database"));
    let verdict = assess::package(db, &release, &assess::package_name(ecosystem, name), version).unwrap();
    assert!(verdict.unknown.is_empty(), "{:?}", verdict.unknown);
    verdict.findings.into_iter().filter(|f| f.status != Status::NotAffected).map(|f| f.id).collect()
}

fn tar(path: &Path, members: &[(&str, &str)]) {
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, text) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn what_no_safe_version_covers_is_vulnerable() {
    let keep = tempfile::tempdir().unwrap();
    let feeds = keep.path().join("in");
    fs::create_dir(&feeds).unwrap();
    tar(
        &feeds.join("advisories.tar"),
        &[("db/gems/rack/CVE-2026-0001.yml", RACK), ("db/rubies/ruby/CVE-2026-0002.yml", RUBY), ("db/README.md", "x")],
    );
    fs::write(feeds.join("index.json"), NODE).unwrap();
    let db = taken(&keep.path().join("db"), &feeds);
    for (version, vulnerable) in [
        ("1.6", false),
        ("1.6.1", true),
        ("2.2.7", true),
        ("2.2.8", false),
        ("2.2.9.1", false),
        ("3.0.0", true),
        ("3.0.9.pre1", true),
        ("3.0.9", false),
    ] {
        let want: &[&str] = if vulnerable { &["CVE-2026-0001"] } else { &[] };
        assert_eq!(ids(&db, "RubyGems", "rack", version), want, "rack {version}");
    }
    assert!(ids(&db, "RubyGems", "ruby", "3.2").is_empty(), "Ruby itself is no gem");
    for (version, vulnerable) in
        [("16.1.0", false), ("18.20.1", true), ("18.20.2", false), ("20.0.0", true), ("20.12.2", false), ("21.0.0", false)]
    {
        let want: &[&str] = if vulnerable { &["CVE-2026-0003"] } else { &[] };
        assert_eq!(ids(&db, "Node.js", "node", version), want, "Node.js {version}");
    }
}

#[test]
fn damaged_feeds_are_refused() {
    let keep = tempfile::tempdir().unwrap();
    let feeds = keep.path().join("in");
    fs::create_dir(&feeds).unwrap();
    tar(&feeds.join("bad.tar"), &[("gems/rack/a.yml", RACK), ("gems/rack/b.yml", "gem: *a\n")]);
    let taken = Intake::new(&keep.path().join("db")).take(intake::offered(&feeds, None), NOW, false).unwrap();
    assert!(format!("{taken:?}").contains("alias"), "{taken:?}");
}

#[test]
fn the_whole_feeds_are_read() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join("feeds/osv");
    if !dir.exists() {
        println!("skipped: {} is absent (set FOTHER_SHARED)", dir.display());
        return;
    }
    let keep = tempfile::tempdir().unwrap();
    let db = taken(keep.path(), &dir);
    let records = |name: &str| db.feeds().unwrap().into_iter().find(|feed| feed.name == name).map(|feed| feed.records);
    assert_eq!((records("rubysec"), records("nodejs-core")), (Some(1234), Some(171)), "{:?}", db.feeds().unwrap());
    assert!(ids(&db, "RubyGems", "rack", "2.0.1").len() > 20);
    assert!(ids(&db, "RubyGems", "rack", "99.0").is_empty());
    assert!(ids(&db, "Node.js", "node", "18.0.0").len() > 30);
    assert!(!ids(&db, "Go", "github.com/BurntSushi/toml", "v0.0.1").iter().any(String::is_empty));
}
