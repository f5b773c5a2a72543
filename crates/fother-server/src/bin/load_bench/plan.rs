//! A plan for every host, in which 20,000 transactions differ.

use crate::{Failure, HOSTS, figure, made};
use fother_core::{
    Digest,
    assess::in_use::PackageUse,
    decide,
    package::{Offer, UpdateClass},
    plan::{self, PlanHost},
    policy::Policy,
    resolution::{PackageChange, Resolution},
};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

const COHORTS: usize = 20_000;
const CHANGES: usize = 25;
const RUNS: usize = 5;

pub(crate) fn run() -> Result<(), Failure> {
    let policy = Policy::parse(super::server::POLICY)?;
    let resolutions = (0..COHORTS).map(resolution).collect::<Result<Vec<_>, Failure>>()?;
    let hosts: Vec<PlanHost> = (0..HOSTS)
        .map(|n| {
            // Each host says of itself who uses what, so that no two answers are the same bytes.
            let mut mine = resolutions[n % COHORTS].clone();
            mine.in_use = vec![PackageUse::default()];
            mine.base = Digest::of_file(&n.to_le_bytes());
            PlanHost { id: made::host(n), labels: Arc::new(made::labels(n)), resolution: Some(Arc::new(mine)) }
        })
        .collect();
    let (mut whole, mut digests) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let began = Instant::now();
        let planned = plan::plan(&policy, "web", &hosts, &[], &BTreeMap::new(), &BTreeMap::new())?;
        let digest = planned.plan.digest()?;
        let events = decide::create_plan(&planned, digest)?;
        whole.push(began.elapsed().as_secs_f64());
        digests.push((digest, planned.cohorts.len(), events.len()));
    }
    digests.dedup();
    let [(digest, cohorts, events)] = digests[..] else { return Err("the same hosts gave different plans".into()) };
    println!("# plan: {cohorts} cohorts of {CHANGES} packages, {events} events, {RUNS} times the same digest {}", digest.short());
    figure("plan for 100,000 hosts, s", whole);
    Ok(())
}

fn resolution(n: usize) -> Result<Resolution, Failure> {
    let change = |p: usize| -> Result<PackageChange, Failure> {
        let name = format!("package-{p}-with-a-name");
        let offer = Offer {
            origin: "Debian".to_owned(),
            label: "Debian-Security".to_owned(),
            suite: "bookworm-security".to_owned(),
            uri: "http://archive.invalid/debian-security".to_owned(),
            filename: format!("pool/updates/main/p/{name}/{name}_2.{p}-1+deb12u9_amd64.deb"),
            size: 123_456,
            sha256: Digest::of_file(name.as_bytes()),
        };
        let from = if p == 0 { format!("2.{n}-1") } else { "2.0-1+deb12u1".to_owned() };
        Ok(PackageChange {
            source: name.clone(),
            name,
            arch: "amd64".to_owned(),
            from: Some(from.parse()?),
            to: Some("2.0-1+deb12u9".parse()?),
            offer: Some(offer),
            class: UpdateClass::Security,
            closes: Vec::new(),
        })
    };
    let changes = (0..CHANGES).map(change).collect::<Result<_, _>>()?;
    Ok(Resolution { base: Digest([0; 32]), indexes: Digest([0; 32]), changes, kept_back: Vec::new(), in_use: Vec::new() })
}
