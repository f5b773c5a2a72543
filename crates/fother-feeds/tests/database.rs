//! The advisory database: what goes in comes out, bad feeds never take a good one's place, hostile bytes give errors.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use fother_core::{
    Timestamp,
    advisory::{Day, Exploits, Status, reader::Database},
    assess::{self, Class},
};
use fother_feeds::{
    database,
    intake::{self, Intake, Outcome},
};
use proptest::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

const TRACKER: &str = r#"{"zlib":{"CVE-2023-0001":{"description":"heap overflow","scope":"remote","releases":{
 "bookworm":{"status":"resolved","repositories":{"bookworm":"1:1.2.13-1"},"fixed_version":"1:1.2.13-2","urgency":"high"},
 "trixie":{"status":"resolved","repositories":{},"fixed_version":"0","urgency":"not yet assigned"}}},
 "CVE-2023-0002":{"releases":{"bookworm":{"status":"open","repositories":{},"urgency":"low","nodsa":"Minor issue","nodsa_reason":""}}},
 "CVE-2023-0003":{"releases":{"bookworm":{"status":"open","repositories":{},"urgency":"end-of-life"}}},
 "CVE-2023-0004":{"releases":{"bookworm":{"status":"open","repositories":{},"urgency":"low","nodsa":"x","nodsa_reason":"postponed"}}},
 "CVE-2023-0005":{"releases":{"bookworm":{"status":"open","repositories":{},"urgency":"low","nodsa":"x","nodsa_reason":"ignored"}}},
 "CVE-2023-0006":{"releases":{"bookworm":{"status":"undetermined","repositories":{},"urgency":"low"}}},
 "CVE-2023-0007":{"releases":{"bookworm":{"status":"open","repositories":{},"urgency":"low"}}}}}"#;

const LIST: &str = "[12 Feb 2025] DSA-5002-1 zlib - security update\n\t{CVE-2023-0001 CVE-2023-0008}\n\t[bookworm] - zlib 1:1.2.13-3\n\
    [01 Feb 2025] DSA-5001-1 nano - security update\n\t[bookworm] - nano 7.2-2\n";

fn kev(days: &[&str]) -> String {
    let rows: Vec<String> = days
        .iter()
        .enumerate()
        .map(|(n, day)| {
            format!(r#"{{"cveID":"CVE-2023-{:04}","vulnerabilityName":"x","dateAdded":"{day}","dueDate":"2026-03-01","knownRansomwareCampaignUse":"Known"}}"#, n + 1)
        })
        .collect();
    format!(r#"{{"title":"t","dateReleased":"{}T00:00:00Z","vulnerabilities":[{}]}}"#, days[0], rows.join(","))
}

struct Stock {
    _keep: tempfile::TempDir,
    files: PathBuf,
    intake: Intake,
}

impl Stock {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let files = keep.path().join("in");
        fs::create_dir(&files).unwrap();
        let intake = Intake::new(&keep.path().join("feeds"));
        Self { files, intake, _keep: keep }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.files.join(name), text).unwrap();
    }

    fn take(&self) -> Result<Outcome, intake::IntakeError> {
        self.intake.take(intake::offered(&self.files, None), NOW, false)
    }

    fn findings(&self, package: &str, version: &str) -> Vec<(String, Status, Option<String>)> {
        let db = database::open(&self.intake.database()).unwrap();
        let release = db.release("debian:bookworm").unwrap().unwrap();
        let verdict = assess::package(&db, &release, package, version).unwrap();
        assert!(verdict.unknown.is_empty(), "{:?}", verdict.unknown);
        verdict.findings.into_iter().map(|f| (f.id, f.status, f.fixed)).collect()
    }
}

#[test]
fn every_status_of_the_tracker_and_the_highest_fix_come_out() {
    let stock = Stock::new();
    stock.write("tracker.json", TRACKER);
    stock.write("DSA.list", LIST);
    stock.write("kev.json", kev(&["2026-02-01"]));
    stock.write("epss.csv", "#model_version:v1,score_date:2026-02-01T00:00:00+0000\ncve,epss,percentile\nCVE-2023-0001,0.5,0.99\n");
    let outcome = stock.take().unwrap();
    assert_eq!((outcome.taken.len(), outcome.refused.len(), outcome.passed_over.len()), (4, 0, 0), "{outcome:?}");
    let fixed = |v: &str| Some(v.to_owned());
    assert_eq!(
        stock.findings("zlib", "1:1.2.13-1"),
        [
            ("CVE-2023-0001".to_owned(), Status::Fixed, fixed("1:1.2.13-3")),
            ("CVE-2023-0002".to_owned(), Status::NoAdvisory, None),
            ("CVE-2023-0003".to_owned(), Status::EndOfLife, None),
            ("CVE-2023-0004".to_owned(), Status::Postponed, None),
            ("CVE-2023-0005".to_owned(), Status::Ignored, None),
            ("CVE-2023-0006".to_owned(), Status::Undetermined, None),
            ("CVE-2023-0007".to_owned(), Status::Open, None),
            ("CVE-2023-0008".to_owned(), Status::Fixed, fixed("1:1.2.13-3")),
        ]
    );
    assert_eq!(stock.findings("zlib", "1:1.2.13-3").len(), 6, "what is not fixed stays");
    // An advisory without a vulnerability is a finding under its own id.
    assert_eq!(stock.findings("nano", "7.2-1"), [("DSA-5001-1".to_owned(), Status::Fixed, fixed("7.2-2"))]);
    assert!(stock.findings("nano", "7.2-2").is_empty() && stock.findings("none", "1").is_empty());

    let db = database::open(&stock.intake.database()).unwrap();
    db.verify().unwrap();
    let vuln = db.vuln_by_id("CVE-2023-0001").unwrap().unwrap();
    assert_eq!((vuln.epss, vuln.title.as_str()), (Some(500_000), "heap overflow"));
    assert!(vuln.exploits.has(Exploits::KEV | Exploits::RANSOMWARE));
    assert_eq!(vuln.kev_due, Day::parse("2026-03-01").unwrap());
    assert!(db.vuln_by_id("CVE-2023-9999").unwrap().is_none());
    let trixie = db.release("debian:trixie").unwrap().unwrap();
    assert!(assess::package(&db, &trixie, "zlib", "1:1.2.13-1").unwrap().findings.is_empty());
    let stale = fother_core::advisory::reader::stale(&db.feeds().unwrap(), Day::parse("2026-02-05").unwrap(), None);
    assert_eq!(stale.len(), 1, "only the list, of 2025-02-12: {stale:?}");
}

#[test]
fn a_bad_feed_keeps_the_last_good_one_and_says_so() {
    let stock = Stock::new();
    stock.write("DSA.list", LIST);
    stock.write("kev.json", kev(&["2026-02-02", "2026-02-01", "2026-01-31", "2026-01-30"]));
    stock.take().unwrap();
    let good = stock.intake.kept().unwrap();
    let whole = kev(&["2026-02-03", "2026-02-02", "2026-02-01", "2026-01-31"]);
    for (bad, why) in [
        (whole[..whole.len() / 2].to_owned(), "not the KEV catalogue"),
        (kev(&["2026-01-01", "2026-01-01", "2026-01-01", "2026-01-01"]), "older than that of the one in use"),
        (kev(&["2026-02-03"]), "is it cut short?"),
    ] {
        stock.write("kev.json", &bad);
        let outcome = stock.take().unwrap();
        let [refused] = outcome.refused.as_slice() else { panic!("{outcome:?}") };
        assert!(refused.contains(why) && refused.contains("the last good one stays"), "{refused}");
        assert_eq!(stock.intake.kept().unwrap(), good, "{why}");
    }
    stock.write("kev.json", &whole);
    assert_eq!(stock.take().unwrap().taken, ["kev"]);
    assert_ne!(stock.intake.kept().unwrap(), good);
}

#[test]
fn cut_archives_and_foreign_files_are_named() {
    use std::io::Write as _;
    let stock = Stock::new();
    stock.write("DSA.list", LIST);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(kev(&["2026-02-01"]).as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    stock.write("kev.json.gz", &gz[..gz.len() - 9]);
    stock.write("half.zip", b"PK\x03\x04not much of a zip");
    stock.write("readme.txt", "hello");
    let outcome = stock.take().unwrap();
    assert_eq!(outcome.taken, ["debian-list/DSA.list"]);
    assert_eq!(outcome.refused.len() + outcome.passed_over.len(), 3, "{outcome:?}");
    assert!(Stock::new().take().is_err(), "nothing at all is an error, not an empty database");
}

#[test]
fn ranges_of_ecosystems_are_read_as_the_schema_says() {
    let stock = Stock::new();
    let record = |id: &str, ecosystem: &str, affected: &str| {
        format!(
            r#"{{"id":"{id}","modified":"2026-02-01T00:00:00Z","aliases":["CVE-2024-{}"],"affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"Some_Thing"}},{affected}}}]}}"#,
            &id[id.len() - 4..]
        )
    };
    let events = |list: &str| format!(r#""ranges":[{{"type":"ECOSYSTEM","events":[{list}]}}]"#);
    let lines = [
        record("X-0001", "PyPI", &events(r#"{"introduced":"0"},{"fixed":"1.2"},{"introduced":"2.0"},{"fixed":"2.1"}"#)),
        record("X-0002", "PyPI", &events(r#"{"introduced":"1.0"},{"last_affected":"1.5"}"#)),
        record("X-0003", "PyPI", &events(r#"{"introduced":"3.0"}"#)),
        record("X-0004", "PyPI", r#""versions":["1.1","9"]"#),
    ];
    stock.write("osv.jsonl", lines.join("\n"));
    stock.take().unwrap();
    let db = database::open(&stock.intake.database()).unwrap();
    let release = db.release("PyPI").unwrap().unwrap();
    let ids = |version: &str| -> Vec<String> {
        let verdict = assess::package(&db, &release, &assess::package_name("PyPI", "Some.Thing"), version).unwrap();
        assert!(verdict.findings.iter().all(|f| f.class == Class::Security));
        verdict.findings.into_iter().map(|f| f.id[9..].to_owned()).collect()
    };
    assert_eq!(ids("1.1"), ["0001", "0002", "0004"]);
    assert_eq!(ids("1.2"), ["0002"]);
    assert_eq!(ids("1.5.1"), Vec::<String>::new());
    assert_eq!(ids("2.0"), ["0001"]);
    assert_eq!(ids("3.0"), ["0003"]);
    assert_eq!(ids("9"), ["0003", "0004"]);
}

fn small_database() -> Vec<u8> {
    let stock = Stock::new();
    stock.write("tracker.json", TRACKER);
    stock.write("DSA.list", LIST);
    stock.write("kev.json", kev(&["2026-02-01"]));
    stock.take().unwrap();
    fs::read(stock.intake.database()).unwrap()
}

/// Asks everything that can be asked.
fn ask(bytes: &[u8]) {
    let Ok(db) = Database::open(bytes) else { return };
    let _ = db.verify();
    let _ = db.feeds();
    for (name, _) in db.releases().unwrap_or_default() {
        if let Ok(Some(release)) = db.release(&name) {
            for package in ["zlib", "nano", "x"] {
                let _ = assess::package(&db, &release, package, "1:1.2.13-1");
            }
            let _ = db.supports(release.at);
        }
    }
    for id in ["CVE-2023-0001", "CVE-2023-0008", "X"] {
        let _ = db.vuln_by_id(id);
        let _ = db.affected_by(id);
    }
}

#[test]
fn hostile_databases_give_errors_not_panics() {
    let good = small_database();
    ask(&good);
    for len in (0..good.len()).step_by(7) {
        ask(&good[..len]);
    }
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) });
    let change = (0..good.len(), any::<u8>());
    runner
        .run(&proptest::collection::vec(change, 1..12), |changes| {
            let mut bytes = good.clone();
            for (at, value) in changes {
                bytes[at] = value;
            }
            ask(&bytes);
            Ok(())
        })
        .unwrap();
}

/// The shared feeds; `None`, with the reason printed, where they are absent.
fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join("feeds");
    if !dir.exists() {
        println!("skipped: {} is absent (set FOTHER_SHARED)", dir.display());
        return None;
    }
    Some(dir)
}

#[test]
fn real_feeds_of_every_kind_are_taken_in() {
    let Some(dir) = shared() else { return };
    let keep = tempfile::tempdir().unwrap();
    let intake = Intake::new(keep.path());
    let start = std::time::Instant::now();
    let outcome = intake.take(intake::offered(&dir, None), NOW, false).unwrap();
    println!("taken in: {} feeds, {} bytes, {:?}", outcome.taken.len(), outcome.bytes, start.elapsed());
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    assert!(outcome.taken.len() >= 25, "{:?}", outcome.taken);
    let db = database::open(&intake.database()).unwrap();
    db.verify().unwrap();
    let kernel = db.vuln_by_id("CVE-2024-1086").unwrap().unwrap();
    assert!(kernel.exploits.has(Exploits::KEV) && kernel.epss.is_some_and(|epss| epss > 100_000), "{kernel:?}");
    let bookworm = db.release("debian:bookworm").unwrap().unwrap();
    assert_eq!(bookworm.record.eol.to_string(), "2026-07-11");
    assert_eq!(bookworm.record.lts.to_string(), "2028-06-30");
    let alma = db.release("AlmaLinux:9").unwrap().unwrap();
    let verdict = assess::package(&db, &alma, "openssl-libs", "1:3.0.1-1.el9").unwrap();
    assert!(verdict.findings.iter().any(|f| f.id == "CVE-2022-3602"), "{:?}", verdict.findings.len());
    let crates = db.release("crates.io").unwrap().unwrap();
    let verdict = assess::package(&db, &crates, "wasmtime", "0.38.1").unwrap();
    assert!(verdict.findings.iter().any(|f| f.advisories.iter().any(|a| a.id == "RUSTSEC-2022-0100")));
    assert!(db.supports(bookworm.at).unwrap().iter().any(|(package, _)| package == "php-horde.*"));
}
