//! Laws of plan, fold and step that must hold for every input.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    event::{Data, Event},
    id::{ChangeId, HostId, RolloutId, TransactionId},
    inventory::Labels,
    package::{Offer, UpdateClass},
    plan::{self, PlanHost},
    policy::{Budget, Policy, Share, Strategy as Rules},
    protocol::Outcome,
    resolution::{PackageChange, Resolution},
    rollout::{Action, Around, Phase, Rollout, Setup},
    state::State,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const POLICY: &str = include_str!("policy.toml");

fn host_id(n: u8) -> HostId {
    HostId::new(u64::from(n), [n; 10])
}

fn change(name: &str, to: u8) -> PackageChange {
    let offer = Offer {
        origin: "Debian".to_owned(),
        label: "Debian-Security".to_owned(),
        suite: "stable-security".to_owned(),
        uri: "http://archive.example".to_owned(),
        filename: format!("pool/{name}.deb"),
        size: 1,
        sha256: Digest([to; 32]),
    };
    PackageChange {
        name: name.to_owned(),
        arch: "amd64".to_owned(),
        source: name.to_owned(),
        from: Some("1".parse().unwrap()),
        to: Some(format!("1.{to}").parse().unwrap()),
        offer: Some(offer),
        class: UpdateClass::Security,
        closes: Vec::new(),
    }
}

fn hosts() -> impl Strategy<Value = Vec<PlanHost>> {
    let one = (0_u8..200, any::<bool>(), prop::option::of(prop::collection::btree_set(0_u8..4, 0..3)));
    prop::collection::vec(one, 1..20).prop_map(|list| {
        let mut seen = BTreeSet::new();
        list.into_iter()
            .filter(|(n, ..)| seen.insert(*n))
            .map(|(n, web, updates)| PlanHost {
                id: host_id(n),
                labels: Arc::new(Labels::from([("role".to_owned(), if web { "web" } else { "db" }.to_owned())])),
                resolution: updates.map(|updates| {
                    Arc::new(Resolution {
                        base: Digest([n; 32]),
                        indexes: Digest([0; 32]),
                        changes: updates.into_iter().map(|u| change(&format!("p{u}"), u)).collect(),
                        kept_back: Vec::new(),
                        in_use: Vec::new(),
                    })
                }),
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_plan_does_not_depend_on_the_order_of_hosts(mut list in hosts()) {
        let policy = Policy::parse(POLICY).unwrap();
        let none = BTreeMap::new();
        let first = plan::plan(&policy, "web", &list, &[], &BTreeMap::new(), &none).unwrap();
        list.reverse();
        let second = plan::plan(&policy, "web", &list, &[], &BTreeMap::new(), &none).unwrap();
        prop_assert_eq!(first.plan.digest().unwrap(), second.plan.digest().unwrap());
    }

    #[test]
    fn every_host_of_the_group_is_in_exactly_one_place(list in hosts()) {
        let policy = Policy::parse(POLICY).unwrap();
        let planned = plan::plan(&policy, "web", &list, &[], &BTreeMap::new(), &BTreeMap::new()).unwrap();
        let mut placed: Vec<HostId> = planned.cohorts.values().flat_map(|cohort| cohort.hosts.keys().copied()).collect();
        placed.extend(&planned.up_to_date);
        placed.extend(&planned.unknown);
        placed.sort_unstable();
        let mut wanted: Vec<HostId> = list.iter().filter(|host| host.labels["role"] == "web").map(|host| host.id).collect();
        wanted.sort_unstable();
        prop_assert_eq!(&placed, &wanted);
        let labels = list.iter().map(|host| (host.id, host.labels.clone())).collect();
        let mut waved: Vec<HostId> = plan::waves(&planned.plan, &planned.cohorts, &labels).concat();
        waved.sort_unstable();
        let mut members: Vec<HostId> = planned.cohorts.values().flat_map(|cohort| cohort.hosts.keys().copied()).collect();
        members.sort_unstable();
        prop_assert_eq!(waved, members);
    }

    #[test]
    fn a_rollout_keeps_its_budget_zone_and_wave_whatever_hosts_report(
        size in 1_u8..12, budget in 1_u32..5, zones in any::<bool>(), answers in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..6), 0..80),
        back in 0_usize..120,
    ) {
        let all: Vec<HostId> = (0..size).map(host_id).collect();
        let zone: BTreeMap<HostId, String> = all.iter().enumerate().map(|(n, host)| (*host, (n % 3).to_string())).collect();
        let setup = Setup {
            group: "web".to_owned(),
            select: "true".to_owned(),
            hosts: u32::from(size),
            waves: vec![all[..1].to_vec(), all[1..].to_vec()].into_iter().filter(|wave| !wave.is_empty()).collect(),
            zones: zone.clone(),
            group_size: u32::from(size),
            budget: Budget { one_zone_at_a_time: zones, ..Budget::of(Share::Count(budget)) },
            strategy: Rules::of(1, vec![Share::Percent(100)], 1),
            window: Vec::new(),
            zone_sizes: BTreeMap::new(),
            outage: None,
            expires: Timestamp(u64::MAX),
        };
        let txn = TransactionId::new(1, [1; 10]);
        let mut rollout = Rollout::new(RolloutId::new(1, [1; 10]), ChangeId::new(1, [1; 10]), Digest([0; 32]), setup, Timestamp(0));
        let (mut dispatched, mut undone) = (BTreeSet::new(), BTreeSet::new());
        for (at, (pick, answer)) in answers.into_iter().enumerate() {
            let now = Timestamp(at as u64);
            if at == back {
                (rollout.rolling_back, rollout.ended) = (Some(String::new()), None);
            }
            prop_assert_eq!(rollout.step(&Around::default(), now), rollout.step(&Around::default(), now));
            for action in rollout.step(&Around::default(), now) {
                match action {
                    Action::Undo(host, of) => {
                        let carries = rollout.hosts()[&host].carried() == Some(of);
                        prop_assert!(carries && undone.insert(host), "undone twice, or without its change");
                        rollout.set(host, Phase::Undoing { txn, at: now });
                    }
                    Action::Dispatch(host) => {
                        prop_assert!(rollout.rolling_back.is_none(), "nothing starts on the way back");
                        prop_assert!(rollout.setup.waves[rollout.waves_passed as usize].contains(&host));
                        prop_assert!(dispatched.insert(host), "dispatched twice");
                        rollout.set(host, Phase::Dispatched { txn, at: now });
                    }
                    Action::PassWave(_) => rollout.waves_passed += 1,
                    Action::GoBack(gate) => prop_assert!(false, "nobody asked for it: {}", gate.why),
                    Action::Finish(end) => rollout.ended = Some(end),
                    Action::Block(by, _) => {
                        prop_assert!(!by.is_empty());
                        rollout.blocked = by.into_iter().collect();
                    }
                }
            }
            let out: Vec<HostId> = rollout.hosts().iter().filter(|(_, phase)| phase.is_unavailable()).map(|(host, _)| *host).collect();
            prop_assert!(out.len() <= budget as usize);
            if zones {
                prop_assert!(out.iter().map(|host| &zone[host]).collect::<BTreeSet<_>>().len() <= 1);
            }
            let busy: Vec<HostId> = rollout.hosts().iter().filter(|(_, p)| !p.is_settled() && **p != Phase::Waiting).map(|(h, _)| *h).collect();
            if busy.is_empty() {
                continue;
            }
            let why = String::new();
            let outcome = match answer {
                0 => Outcome::Applied { txn, apply_ms: 1 },
                1 => Outcome::RolledBack { txn, why, paths_compared: 1, differences: Vec::new() },
                2 => Outcome::Failed { why },
                3 => Outcome::Replan { why },
                _ => Outcome::Verified { txn, remarks: Vec::new() },
            };
            let host = *pick.get(&busy);
            rollout.report(host, None, &outcome, true, now);
        }
    }

    #[test]
    fn folding_survives_the_text_form(packages in 0_u32..9, text in "\\PC{0,20}") {
        let data = [
            Data::InventoryChanged { host: host_id(1), inventory: Digest([1; 32]), base: Digest([2; 32]), packages },
            Data::ArchiveRefused { archive: text.clone(), why: text },
        ];
        let (mut direct, mut read) = (State::default(), State::default());
        for (seq, data) in data.into_iter().enumerate() {
            let event = Event { v: 1, seq: seq as u64, at: Timestamp(5), actor: "server".to_owned(), data };
            direct.fold(&event);
            read.fold(&Event::parse(seq as u64, &event.bytes().unwrap()).unwrap());
        }
        prop_assert_eq!(direct, read);
    }
}
