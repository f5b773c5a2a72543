//! The compiled advisory database: mapped, cut short, changed.

use super::{Target, feeds::TRACKER, roots};
use fother_core::{
    Digest, Timestamp,
    advisory::{
        Day,
        reader::{Database, Error},
    },
    assess::host::{self, Host},
    inventory::Distribution,
    package::Installed,
};
use fother_feeds::{
    compile::Builder,
    vendor::{self, About, Kind},
};
use std::collections::BTreeMap;

pub const ALL: &[Target] = &[Target { name: "advisories", run: whole, seeds }];

fn seeds() -> Vec<Vec<u8>> {
    let mut builder = Builder::default();
    let epss = "#model_version:v1,score_date:2026-02-18T00:00:00+0000\ncve,epss,percentile\nCVE-2023-0001,0.1,0.9\n";
    let kev = "cveID,vulnerabilityName,dateAdded,dueDate\nCVE-2023-0001,\"a, b\",2021-11-03,2021-11-17\n";
    for (kind, text) in [(Kind::DebianTracker, TRACKER), (Kind::Epss, epss), (Kind::Kev, kev)] {
        let path = roots::scratch().write("feed", text.as_bytes());
        let about = About {
            name: kind.name().into(),
            kind,
            origin: "x".into(),
            imported: Timestamp(0),
            modified: Day(20_000),
            digest: Digest::of_file(b""),
        };
        vendor::read(&mut builder, &about, &path).expect("the sample is a feed");
    }
    vec![builder.finish(Timestamp(1)).expect("the samples compile")]
}

fn walk(db: &Database<&[u8]>) -> Result<(), Error> {
    db.feeds()?;
    for (name, _) in db.releases()?.into_iter().take(8) {
        let Some(release) = db.release(&name)? else { continue };
        fother_core::assess::package(db, &release, "zlib", "1.0")?;
        db.supports(release.at)?;
    }
    for at in 0..8 {
        db.vuln(at)?;
    }
    db.affected_by("CVE-2023-0001")?;
    db.vuln_by_id("CVE-2023-0002")?;
    Ok(())
}

/// No answer is better than a wrong one: what does not open, or breaks on the way, is an error. A changed byte is seen by `verify`.
fn whole(data: &[u8]) {
    let Ok(db) = Database::open(data) else { return };
    let shorter = data.split_last().map_or(data, |(_, rest)| rest);
    assert!(Database::open(shorter).is_err(), "a database that is cut short opens");
    let _ = walk(&db);
    let distribution = Distribution { id: "debian".into(), version: "12".into(), codename: "bookworm".into() };
    let (Ok(version), Ok(source_version)) = ("1:1.2.13-1".parse(), "1:1.2.13-1".parse()) else { return };
    let package = Installed {
        name: "zlib1g".into(),
        arch: "amd64".into(),
        version,
        source: "zlib".into(),
        source_version,
        broken: None,
        held: false,
    };
    let subject = Host {
        distribution: &distribution,
        packages: &[package],
        offers: None,
        foreign: &BTreeMap::new(),
        kernel: None,
        now: Timestamp(1_700_000_000_000),
        feed_days_max: Some(100_000),
    };
    let found = host::host(&db, &subject);
    if db.verify().is_ok()
        && db.digest() == Database::open(seeds_once()).expect("the seed opens").digest()
        && let Ok(found) = found
    {
        assert_eq!(found.findings.len(), 2, "the same database gives other findings: {:?}", found.findings);
    }
}

fn seeds_once() -> &'static [u8] {
    static SEED: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SEED.get_or_init(|| seeds().remove(0))
}
