//! The four answers on a small host with made-up advisories: kernels, backports, other people's archives, held packages, ended support; and their order.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    advisory::{Day, reader::Database},
    assess::host::{self, Assessment, Host, HostFinding, InEffect, Installable, Offer},
    inventory::Distribution,
    package::Installed,
    rank::{self, Asset, rules::Pack},
};
use fother_feeds::{
    database::{self, Blocks},
    fetch::HttpFetch,
    intake::{self, Intake},
    sources_table::{self, seen::Seen},
};
use std::{collections::BTreeMap, fs};

/// 2026-02-20.
const NOW: Timestamp = Timestamp(1_771_545_600_000);
const LIST: &str = "[12 Feb 2026] DSA-5003-1 linux - security update\n\t{CVE-2026-0001}\n\t[bookworm] - linux 6.1.124-1\n\
    [11 Feb 2026] DSA-5002-1 web - security update\n\t{CVE-2026-0002 CVE-2026-0003}\n\t[bookworm] - web 1.0-2\n\t[trixie] - web 2.0-2\n\
    [10 Feb 2026] DSA-5001-1 tool - security update\n\t{CVE-2026-0004}\n\t[bookworm] - tool 3-2\n";
const KEV: &str = r#"{"dateReleased":"2026-02-15T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-0004","vulnerabilityName":"t","dateAdded":"2026-02-15","dueDate":"2026-03-01"}]}"#;
const EPSS: &str =
    "#model_version:v1,score_date:2026-02-18T00:00:00+0000\ncve,epss,percentile\nCVE-2026-0002,0.1,0.9\nCVE-2026-0001,0.2,0.9\n";
const DATES: &str = "version,codename,series,created,release,eol,eol-lts,eol-elts\n1.1,Buzz,buzz,1993-08-16,1996-06-17,1997-06-05\n\
    11,Bullseye,bullseye,2019-07-06,2021-08-14,2024-08-14,2025-08-31\n12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30,2033-06-30\n";

const ENDED: &str = "# List of packages whose security support ends before the distribution EOL\nold\t2-1\t2026-01-31\tsee /releases/bookworm/notes\n\
    tool.*\t3-9\t2026-12-31\tends with its series\n";
const LIMITED: &str = "# List of packages where security support is limited\nweb  only for trusted content, see /releases/bookworm/notes\n";

fn advisories() -> (tempfile::TempDir, Database<Blocks>) {
    let keep = tempfile::tempdir().unwrap();
    let files = keep.path().join("in");
    fs::create_dir(&files).unwrap();
    for (name, text) in [
        ("DSA.list", LIST),
        ("kev.json", KEV),
        ("epss.csv", EPSS),
        ("debian.csv", DATES),
        ("ended.deb12", ENDED),
        ("limited.deb12", LIMITED),
    ] {
        fs::write(files.join(name), text).unwrap();
    }
    let intake = Intake::new(&keep.path().join("feeds"));
    let outcome = intake.take(intake::offered(&files, None), NOW, false).unwrap();
    assert_eq!((outcome.taken.len(), outcome.refused.len()), (6, 0), "{outcome:?}");
    let db = database::open(&intake.database()).unwrap();
    (keep, db)
}

fn installed(name: &str, version: &str, source: &str, source_version: &str) -> Installed {
    Installed {
        name: name.into(),
        arch: "amd64".into(),
        version: version.parse().unwrap(),
        source: source.into(),
        source_version: source_version.parse().unwrap(),
        broken: None,
        held: false,
    }
}

fn offer(name: &str, source: &str, source_version: &str) -> Offer {
    Offer { name: name.into(), arch: "amd64".into(), source: source.into(), source_version: source_version.into(), kept: None }
}

struct Case {
    packages: Vec<Installed>,
    offers: Option<Vec<Offer>>,
    foreign: BTreeMap<String, String>,
    kernel: Option<&'static str>,
    codename: &'static str,
    now: Timestamp,
}

fn case(packages: Vec<Installed>) -> Case {
    Case { packages, offers: Some(Vec::new()), foreign: BTreeMap::new(), kernel: Some("6.1.0-28-amd64"), codename: "bookworm", now: NOW }
}

impl Case {
    fn assess(&self) -> Assessment {
        let (_keep, db) = advisories();
        let distribution = Distribution { id: "debian".into(), version: String::new(), codename: self.codename.into() };
        let subject = Host {
            distribution: &distribution,
            packages: &self.packages,
            offers: self.offers.as_deref(),
            foreign: &self.foreign,
            kernel: self.kernel,
            now: self.now,
            feed_days_max: None,
        };
        host::host(&db, &subject).unwrap()
    }
}

fn of<'a>(assessment: &'a Assessment, id: &str) -> Vec<&'a HostFinding> {
    assessment.findings.iter().filter(|finding| finding.id == id).collect()
}

#[test]
fn a_fixed_kernel_counts_only_when_it_is_booted() {
    let old = installed("linux-image-6.1.0-28-amd64", "6.1.119-1", "linux-signed-amd64", "6.1.119+1");
    let new = installed("linux-image-6.1.0-30-amd64", "6.1.124-1", "linux-signed-amd64", "6.1.124+1");
    let meta = installed("linux-image-amd64", "6.1.119-1", "linux-signed-amd64", "6.1.119+1");
    let effects = |case: &Case| -> Vec<(InEffect, Vec<String>)> {
        of(&case.assess(), "CVE-2026-0001").into_iter().map(|f| (f.in_effect, f.packages.clone())).collect()
    };
    let image = |n: &str| vec![format!("linux-image-6.1.0-{n}-amd64")];
    // Old and new are there, the old one runs.
    let mut both = case(vec![old.clone(), new.clone()]);
    assert_eq!(effects(&both), [(InEffect::AfterReboot, image("28"))]);
    // The new one runs.
    both.kernel = Some("6.1.0-30-amd64");
    assert_eq!(effects(&both), [(InEffect::NotBooted, image("28"))]);
    // It cannot be told which runs.
    both.kernel = None;
    assert_eq!(effects(&both), [(InEffect::Unknown, image("28"))]);
    // Only the old one is there: the metapackage brings the fix.
    let mut only = case(vec![old, meta]);
    only.offers = Some(vec![offer("linux-image-amd64", "linux-signed-amd64", "6.1.124+1")]);
    let found = only.assess();
    let kernels = of(&found, "CVE-2026-0001");
    assert!(kernels.iter().all(|f| f.installable == Installable::Yes { packages: vec!["linux-image-amd64".into()] }), "{kernels:?}");
    assert!(kernels.iter().all(|f| f.in_effect == InEffect::NotInstalled && f.because.contains("signed build of linux 6.1.119-1")));
}

#[test]
fn a_backport_is_judged_by_the_release_that_it_comes_from() {
    let bad = case(vec![installed("web", "2.0-1~bpo12+1", "web", "2.0-1~bpo12+1")]).assess();
    assert_eq!(of(&bad, "CVE-2026-0002")[0].fixed.as_deref(), Some("2.0-2"));
    assert!(case(vec![installed("web", "2.0-2~bpo12+1", "web", "2.0-2~bpo12+1")]).assess().findings.is_empty());
    // A rebuild of the vulnerable source is as vulnerable as that.
    assert_eq!(case(vec![installed("web", "1.0-1+b2", "web", "1.0-1")]).assess().findings.len(), 2);
    assert!(case(vec![installed("web", "1:0.1-1", "web", "1:0.1-1")]).assess().findings.is_empty(), "the epoch counts");
}

#[test]
fn installable_means_every_binary_is_offered_and_not_kept_back() {
    let packages = vec![installed("web", "1.0-1", "web", "1.0-1"), installed("libweb1", "1.0-1", "web", "1.0-1")];
    let mut case = case(packages);
    let answer = |case: &Case| of(&case.assess(), "CVE-2026-0002")[0].installable.clone();
    case.offers = None;
    assert_eq!(answer(&case), Installable::Unknown);
    case.offers = Some(vec![offer("web", "web", "1.0-2")]);
    assert_eq!(answer(&case), Installable::No { packages: vec!["libweb1".into()] });
    case.offers = Some(vec![offer("web", "web", "1.0-2"), offer("libweb1", "web", "1.0-1+deb12u1")]);
    assert_eq!(answer(&case), Installable::No { packages: vec!["libweb1".into()] }, "the offer does not reach the fix");
    case.offers = Some(vec![offer("web", "web", "1.0-2"), offer("libweb1", "web", "1.0-3")]);
    assert_eq!(answer(&case), Installable::Yes { packages: vec!["libweb1".into(), "web".into()] });
    case.offers = Some(vec![offer("web", "web", "1.0-2"), Offer { kept: Some("held".into()), ..offer("libweb1", "web", "1.0-3") }]);
    assert_eq!(answer(&case), Installable::Kept { why: "held".into() });
    case.foreign = [("web".to_owned(), "Somebody".to_owned())].into();
    assert_eq!(of(&case.assess(), "CVE-2026-0002")[0].packages, ["libweb1"], "other people's packages are not judged");
}

#[test]
fn ended_support_and_unknown_releases_are_never_clean() {
    let mut old = case(vec![installed("web", "1.0-1", "web", "1.0-1")]);
    old.codename = "bullseye";
    assert!(old.assess().unknown.iter().any(|why| why.contains("no feed speaks about it")), "dates alone say nothing on fixes");
    old.codename = "none";
    assert!(old.assess().unknown.iter().any(|why| why.contains("no feed speaks about it")));
    let new = case(vec![installed("web", "1.0-2", "web", "1.0-2")]).assess();
    assert_eq!(new.support, "regular support until 2026-07-11");
    assert!(new.findings.is_empty());
    assert!(new.unknown.iter().any(|why| why.contains("without a published fix are not known")), "{:?}", new.unknown);
    assert!(new.unknown.iter().any(|why| why.starts_with("feed debian-list") && why.contains("8 days old")), "{:?}", new.unknown);
}

#[test]
fn a_release_is_supported_regularly_for_long_or_no_more_as_its_dates_say() {
    let mut case = case(vec![installed("web", "1.0-2", "web", "1.0-2")]);
    for (day, support, is_unknown) in [
        ("2026-07-11", "regular support until 2026-07-11", false),
        ("2026-07-12", "regular support ended 2026-07-11; long-term support until 2028-06-30", false),
        ("2028-07-01", "free support ended 2028-06-30; only extended support until 2033-06-30", true),
        ("2033-07-01", "support ended 2033-06-30", true),
    ] {
        case.now = Timestamp(u64::from(Day::parse(day).unwrap().0) * 86_400_000);
        let found = case.assess();
        assert_eq!(found.support, support, "{day}");
        let named = found.unknown.iter().any(|why| why.starts_with("debian:bookworm: ") && why.contains(support));
        assert_eq!(named, is_unknown, "{day}: without free support it is not called clean: {:?}", found.unknown);
    }
}

#[test]
fn packages_with_limited_or_ended_support_are_named_with_the_vendors_words() {
    let packages = [("web", "1.0-2", "web"), ("old", "2-1", "old"), ("tool-bin", "3-2", "tool5"), ("fine", "1", "fine")];
    let found = case(packages.map(|(name, version, source)| installed(name, version, source, version)).into()).assess();
    let told: Vec<(&str, &str, bool)> = found.unsupported.iter().map(|one| (one.source.as_str(), one.why.as_str(), one.ended)).collect();
    assert_eq!(
        told,
        [
            ("old", "ended 2026-01-31: see /releases/bookworm/notes", true),
            ("tool5", "ends 2026-12-31: ends with its series", false),
            ("web", "limited: only for trusted content, see /releases/bookworm/notes", false),
        ]
    );
    // A version newer than the last one that was supported has its support from elsewhere.
    assert!(case(vec![installed("old", "2-2", "old", "2-2")]).assess().unsupported.is_empty());
}

#[test]
fn the_queue_puts_what_is_exploited_first_and_says_why_and_by_when() {
    let found = case(vec![
        installed("web", "1.0-1", "web", "1.0-1"),
        installed("tool", "3-1", "tool", "3-1"),
        installed("linux-image-6.1.0-28-amd64", "6.1.119-1", "linux-signed-amd64", "6.1.119+1"),
    ])
    .assess();
    let packs = Pack::built_in().unwrap();
    // The built-in packs are set to a later day of effect than this test's.
    let packs: Vec<Pack> = packs.into_iter().map(|pack| Pack { effective: "2026-01-01".into(), ..pack }).collect();
    let today = Day::parse("2026-02-20").unwrap();
    let queue = rank::queue(&found.findings, Asset { publicly_exposed: Some(true) }, &packs, today);
    let order: Vec<&str> = queue.updates.iter().map(|update| update.source.as_str()).collect();
    assert_eq!(order, ["tool", "web", "linux"], "exploited, then by points: {:?}", queue.updates);
    let first = &queue.updates[0];
    assert_eq!((first.exploited, first.to.as_deref(), first.closes.len()), (1, Some("3-2"), 1));
    assert!(first.reasons[0].contains("known to be exploited since 2026-02-15"), "{:?}", first.reasons);
    let due = first.deadline.as_ref().unwrap();
    assert_eq!((due.pack.as_str(), due.day.to_string().as_str(), due.days_left), ("cisa-bod-26-04", "2026-02-18", Some(-2)));
    assert_eq!(due.counts_from.to_string(), "2026-02-15", "it counts from the day on which exploitation became known");
    assert!(due.what.contains("forensic") && due.missing == ["automatable", "technical impact"], "{due:?}");
    let (web, linux) = (&queue.updates[1], &queue.updates[2]);
    assert_eq!(web.closes, ["CVE-2026-0002", "CVE-2026-0003"]);
    assert!(linux.risk_millionths > 0 && linux.risk_millionths < web.risk_millionths, "{}", web.risk_millionths);
    assert_eq!(
        rank::queue(&found.findings, Asset { publicly_exposed: Some(true) }, &packs, today),
        queue,
        "the same findings, the same queue"
    );
}

#[test]
fn update_fetches_what_a_table_names_and_names_what_fails() {
    let keep = tempfile::tempdir().unwrap();
    fs::write(keep.path().join("kev.json"), KEV).unwrap();
    let at = keep.path().display();
    let table = format!("[kev]\nkind = \"kev\"\nurl = \"file://{at}/kev.json\"\n[gone]\nkind = \"epss\"\nurl = \"file://{at}/none.csv\"\n");
    let work = tempfile::tempdir().unwrap();
    let (sources, feeds) = (sources_table::parse(&table).unwrap(), keep.path().join("feeds"));
    let fetch = || sources_table::fetch(&HttpFetch::from_machine().unwrap(), &sources, work.path(), &Seen::of(&feeds).unwrap());
    let first = fetch();
    assert_eq!((first.offered.len(), first.failed.len()), (1, 1), "{first:?}");
    assert!(first.failed[0].starts_with("gone: "));
    let intake = Intake::new(&feeds);
    assert_eq!(intake.take(first.offered, NOW, false).unwrap().taken, ["kev"]);
    assert!(intake.kept().unwrap()["kev"].origin.starts_with("file://"));
    // What is as it was is not taken in again; what changed is.
    Seen::of(&feeds).unwrap().write(first.answers, &feeds).unwrap();
    let second = fetch();
    assert_eq!((second.offered.len(), second.unchanged.as_slice()), (0, &["kev".to_owned()][..]));
    fs::write(keep.path().join("kev.json"), KEV.replace("2026-02-15", "2026-02-16")).unwrap();
    assert_eq!(fetch().offered.len(), 1);
    // Without its feed, it is asked for anew.
    fs::remove_file(feeds.join("feeds.json")).unwrap();
    fs::write(keep.path().join("kev.json"), KEV).unwrap();
    assert_eq!(fetch().offered.len(), 1);
}
