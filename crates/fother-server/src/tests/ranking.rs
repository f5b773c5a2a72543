//! Plans that are asked for by due date or by risk, and what is explained about the fleet: which hosts, which cohort, why, by when.

use super::{
    affected::{advisories, openssl},
    fleet::{Host, changes, enrolled, open},
    lifecycle::package_with_changelog,
};
use crate::{engine::Engine, explain::explain};
use fother_core::{
    Digest,
    advisory::Day,
    assess::in_use::{InUse, PackageUse, Use},
    canonical,
    package::{Installed, UpdateClass},
    plan::Plan,
    rank::{Asset, select::Wish},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const EXPOSED: Asset = Asset { publicly_exposed: Some(true) };

fn listening(package: &str) -> PackageUse {
    let one = Use {
        process: package.to_owned(),
        pid: 812,
        others: 0,
        unit: Some(format!("{package}.service")),
        file: "/usr/sbin/x".to_owned(),
        old: false,
        listens: vec!["tcp 0.0.0.0:80".to_owned()],
        from: vec!["/proc/812/maps".to_owned(), "/proc/net/tcp".to_owned()],
    };
    PackageUse::loaded(package.to_owned(), vec![one])
}

fn installed(name: &str, version: &str, source: &str, source_version: &str) -> Installed {
    Installed {
        name: name.to_owned(),
        arch: "amd64".to_owned(),
        version: version.parse().unwrap(),
        source: source.to_owned(),
        source_version: source_version.parse().unwrap(),
        broken: None,
        held: false,
    }
}

/// Hosts with nginx, whose update closes CVE-2026-0003 by its changelog, and a tool, whose update closes nothing.
fn fleet(engine: &Engine, count: usize) -> Vec<Host> {
    let mut hosts = enrolled(engine, count);
    for host in &mut hosts {
        host.inventory.packages = vec![installed("nginx", "1.0", "source", "2.1"), installed("tool", "1.0", "tool", "1.0")];
        engine.store.put_blob("inventory", &canonical::to_vec(&host.inventory).unwrap()).unwrap();
        let mut tool = changes().remove(0);
        (tool.name, tool.class) = ("tool".to_owned(), UpdateClass::Bugfix);
        tool.source.clone_from(&tool.name);
        let mut nginx = changes().remove(0);
        nginx.source = "source".to_owned();
        host.offered = vec![nginx, tool];
        host.in_use = vec![listening("nginx")];
        host.turn(engine);
    }
    hosts
}

fn plan(engine: &Engine, hosts: &mut [Host], excluded: &BTreeMap<String, String>) -> Digest {
    engine.resolve("uid:0", "web", excluded.keys().cloned().collect()).unwrap();
    hosts.iter_mut().for_each(|host| drop((host.turn(engine), host.turn(engine))));
    engine.make_plan("uid:0", "web", excluded, None).unwrap().plan
}

#[test]
fn what_is_due_in_time_or_removes_most_risk_is_planned_alone_and_the_rest_is_named_in_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    package_with_changelog(&dir.path().join("package"));
    engine.update_archives("uid:0").unwrap();
    let mut hosts = fleet(&engine, 2);
    let whole = plan(&engine, &mut hosts, &BTreeMap::new());
    // Counted from the changelog's day; the longest time that a rule leaves is far shorter than what is asked for here.
    for (wish, why) in [(Wish::DueWithin(3_000), "no deadline"), (Wish::Risk(90), "closes no known vulnerability")] {
        let ranked = engine.ranked(whole, EXPOSED, Some(wish)).unwrap();
        let first = &ranked.queue.updates[0];
        assert_eq!(
            (first.source.as_str(), first.closes.as_slice(), first.in_use),
            ("source", &["CVE-2026-0003".to_owned()][..], InUse::Listening)
        );
        assert!(
            first.reasons[0].contains("nginx on web0 and 1 other host: loaded by nginx (pid 812), which listens on tcp 0.0.0.0:80"),
            "{first:?}"
        );
        assert!(first.deadline.as_ref().unwrap().missing.contains(&"automatable"));
        assert!(ranked.unknown.iter().any(|line| line.starts_with("scores and exploits:")), "no database is named: {:?}", ranked.unknown);
        let selected = ranked.selected.unwrap();
        assert_eq!(selected.taken.keys().collect::<Vec<_>>(), ["source"]);
        assert_eq!(selected.left, BTreeMap::from([("tool".to_owned(), why.to_owned())]));
        let part = plan(&engine, &mut hosts, &selected.left);
        let manifest: Plan = engine.get(part).unwrap();
        assert_eq!(manifest.excluded["tool"], why);
        let state = engine.state();
        let cohorts: Vec<&Digest> = state.plans[&part].cohorts.keys().collect();
        let cohort: fother_core::plan::Cohort = engine.get(*cohorts[0]).unwrap();
        assert_eq!(cohort.changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["nginx"]);
        assert_eq!((cohorts.len(), cohort.hosts.len()), (1, 2));
    }
    // No feed knows it: the plan's signed package does, for hosts that are still what they were.
    let told = explain(&engine, "CVE-2026-0003", EXPOSED).unwrap();
    let group = &told["groups"][0];
    assert_eq!((&told["hosts"], &group["source"], &group["fixed"]), (&json!(2), &json!("source"), &json!("1.1")));
    assert!(group["findings"][0]["because"].as_str().unwrap().contains("changelog 2.2"), "{group}");
    assert_eq!((&group["updates"][0]["in_use"], group["cohorts"][0]["closes"].as_bool()), (&json!("listening"), Some(true)));
    hosts[0].inventory.packages[0].held = true;
    engine.store.put_blob("inventory", &canonical::to_vec(&hosts[0].inventory).unwrap()).unwrap();
    hosts[0].turn(&engine);
    assert_eq!(explain(&engine, "CVE-2026-0003", EXPOSED).unwrap()["hosts"], 1, "a host that moved is not what the plan was made for");
    let nothing = engine.ranked(whole, EXPOSED, Some(Wish::DueWithin(0))).unwrap().selected.unwrap();
    assert!(nothing.left["tool"].contains("no deadline"));
}

#[test]
fn a_vulnerability_is_explained_with_hosts_derivation_deadline_use_and_cohort() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let (path, today) = (dir.path().join("advisories.db"), Day::of(engine.clock.now()));
    engine.fleet.advisories_at(&path);
    advisories(&path, "3.0.15-1", today);
    engine.update_archives("uid:0").unwrap();
    let mut hosts = enrolled(&engine, 3);
    for (host, version) in hosts.iter_mut().zip(["3.0.11-1", "3.0.15-1", "3.0.11-1"]) {
        host.inventory.packages = openssl(version);
        engine.store.put_blob("inventory", &canonical::to_vec(&host.inventory).unwrap()).unwrap();
        let mut change = changes().remove(0);
        (change.name, change.source) = ("libssl3".to_owned(), "openssl".to_owned());
        (change.from, change.to) = (Some(version.parse().unwrap()), Some("3.0.15-1".parse().unwrap()));
        host.offered = if version == "3.0.15-1" { Vec::new() } else { vec![change] };
        host.in_use = vec![listening("libssl3")];
        host.turn(&engine);
    }
    let plan = plan(&engine, &mut hosts, &BTreeMap::new());
    for what in ["CVE-2026-0001", "DSA-1-1", "openssl<3.0.15-1"] {
        let told = explain(&engine, what, EXPOSED).unwrap();
        assert_eq!((&told["hosts"], told["groups"].as_array().unwrap().len()), (&json!(2), 1), "{what}: {told}");
        let group = &told["groups"][0];
        let named: BTreeSet<&str> = group["named"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(named, BTreeSet::from(["web0", "web2"]));
        let finding = &group["findings"][0];
        assert_eq!(
            (&finding["id"], &finding["fixed"], &finding["advisories"][0]),
            (&json!("CVE-2026-0001"), &json!("3.0.15-1"), &json!("DSA-1-1"))
        );
        assert_eq!((&finding["in_use"], &group["updates"][0]["in_use"]), (&json!("listening"), &json!("listening")));
        let due = &group["updates"][0]["deadline"];
        assert_eq!(due["counts_from"], json!(today));
        assert!(
            due["pack"].is_string() && group["chances"]["CVE-2026-0001"]["lines"].as_array().is_some_and(|lines| !lines.is_empty()),
            "{group}"
        );
        let cohort = &group["cohorts"][0];
        assert_eq!((&cohort["plan"], &cohort["hosts"], &cohort["to"]), (&json!(plan), &json!(2), &json!("3.0.15-1")));
    }
    let host = explain(&engine, "web0", EXPOSED).unwrap();
    assert_eq!(
        (&host["kind"], &host["host"]["findings"], &host["queue"]["updates"][0]["source"]),
        (&json!("host"), &json!(1), &json!("openssl"))
    );
    assert_eq!(host["cohorts"][0]["plan"], json!(plan));
    let clean = explain(&engine, &hosts[1].id.to_string(), EXPOSED).unwrap();
    assert_eq!(clean["host"]["findings"], 0);
    assert!(explain(&engine, "CVE-2026-9999", EXPOSED).is_err(), "what nobody knows is an error, not an empty answer");
}
