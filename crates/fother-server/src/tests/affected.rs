//! Questions to the fleet: the index follows the log, and what it cannot tell it names.

use super::fleet::{enrolled, open};
use crate::{Error, engine::Engine};
use fother_core::{
    Timestamp,
    advisory::{
        Day, Status,
        format::{Release, Subject},
    },
    canonical,
    id::HostId,
    package::Installed,
    version::scheme::Scheme,
};
use fother_feeds::{
    compile::{self, Builder, Statement, Taken},
    vendor::{About, Kind},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// A database in which CVE-2026-0001 of openssl is fixed in a version, on a day.
pub(super) fn advisories(path: &Path, fixed: &str, today: Day) {
    let mut builder = Builder::default();
    builder.begin_feed().unwrap();
    let release = builder.release("debian:bookworm", Scheme::Dpkg).unwrap();
    builder.covers(release, Release::KNOWS_FIXED);
    let package = builder.package(release, "openssl").unwrap();
    let advisory = builder.advisory("DSA-1-1", Some(today), 0, "").unwrap();
    let vuln = builder.vuln("CVE-2026-0001").unwrap();
    builder.closes(advisory, vuln);
    builder.claim(package, Subject::Advisory(advisory), &Statement { status: Status::Fixed, ..Statement::fixed(fixed) }).unwrap();
    let about = About {
        name: "debian-list/DSA".into(),
        kind: Kind::DebianList,
        origin: "here".into(),
        imported: Timestamp(1),
        modified: today,
        digest: fother_core::Digest::of_file(b"list"),
    };
    builder.end_feed(&about, Taken { records: 1, newest: today, skipped: 0 });
    compile::write(path, &builder.finish(Timestamp(1)).unwrap()).unwrap();
}

pub(super) fn openssl(version: &str) -> Vec<Installed> {
    let (name, source) = ("libssl3".to_owned(), "openssl".to_owned());
    let version: fother_core::version::Version = version.parse().unwrap();
    vec![Installed { name, arch: "amd64".into(), version: version.clone(), source, source_version: version, broken: None, held: false }]
}

fn hosts(engine: &Engine, what: &str) -> BTreeSet<HostId> {
    let answer = engine.fleet.affected(engine, what).unwrap();
    answer["hosts"].as_object().unwrap().keys().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn the_index_follows_inventories_retirements_and_new_advisories() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let (path, today) = (dir.path().join("advisories.db"), Day::of(engine.clock.now()));
    engine.fleet.advisories_at(&path);
    let mut fleet = enrolled(&engine, 3);
    for (host, version) in fleet.iter_mut().zip(["3.0.11-1", "3.0.15-1", "3.0.11-1"]) {
        host.inventory.packages = openssl(version);
        engine.store.put_blob("inventory", &canonical::to_vec(&host.inventory).unwrap()).unwrap();
        host.turn(&engine);
    }
    let ids: Vec<HostId> = fleet.iter().map(|host| host.id).collect();
    // Versions need no advisories.
    assert_eq!(hosts(&engine, "openssl<3.0.15-1"), BTreeSet::from([ids[0], ids[2]]));
    assert_eq!(hosts(&engine, "libssl3"), ids.iter().copied().collect());
    assert!(matches!(engine.fleet.affected(&engine, "CVE-2026-0001"), Err(Error::Refused(refusal)) if refusal.code == "advisories"));
    advisories(&path, "3.0.15-1", today);
    assert_eq!(hosts(&engine, "CVE-2026-0001"), BTreeSet::from([ids[0], ids[2]]));
    assert_eq!(hosts(&engine, "DSA-1-1"), BTreeSet::from([ids[0], ids[2]]));
    let whole = engine.fleet.vulnerabilities(&engine).unwrap();
    assert_eq!(
        (&whole["findings"], &whole["hosts"]["vulnerable"], &whole["widest"]),
        (&json!(2), &json!(2), &json!([{"id": "CVE-2026-0001", "hosts": 2}]))
    );
    // A host is updated, another one goes, and a further fix is published.
    fleet[0].inventory.packages = openssl("3.0.15-1");
    engine.store.put_blob("inventory", &canonical::to_vec(&fleet[0].inventory).unwrap()).unwrap();
    fleet[0].turn(&engine);
    assert_eq!(hosts(&engine, "CVE-2026-0001"), BTreeSet::from([ids[2]]));
    engine.retire("uid:0", ids[2]).unwrap();
    assert_eq!(hosts(&engine, "CVE-2026-0001"), BTreeSet::new());
    advisories(&path, "3.0.16-1", today);
    assert_eq!(hosts(&engine, "CVE-2026-0001"), BTreeSet::from([ids[0], ids[1]]));
    assert_eq!(engine.fleet.vulnerabilities(&engine).unwrap()["findings"], 2);
    assert!(matches!(engine.fleet.affected(&engine, "nobody-has-this"), Err(Error::Input(_))));
}

#[test]
fn hosts_without_an_inventory_and_stale_feeds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let path = dir.path().join("advisories.db");
    engine.fleet.advisories_at(&path);
    let token = engine.create_token("uid:0", super::fleet::labels()).unwrap();
    crate::agents::admit(&engine, &super::fleet::enrolment(&token, "silent").0).unwrap();
    advisories(&path, "3.0.15-1", Day(Day::of(engine.clock.now()).0 - 100));
    let unknown = engine.fleet.affected(&engine, "CVE-2026-0001").unwrap()["unknown"].to_string();
    assert!(unknown.contains("silent") && unknown.contains("no inventory yet") && unknown.contains("debian-list"), "{unknown}");
    let whole: Value = engine.fleet.vulnerabilities(&engine).unwrap();
    assert!(whole["unknown"].to_string().contains("silent"));
}
