//! A plan and a rollout of the largest group: every event fits, and folds back to what was decided.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    approval::{Action, Statement},
    decide,
    event::{self, Data, Event, VERSION},
    id::{ChangeId, HostId, RolloutId, TokenId},
    inventory::Labels,
    plan::{self, HOSTS_MAX, PlanHost, Planned},
    policy::Policy,
    resolution::Resolution,
    rollout::{Action as Next, Around, Out, Phase, Why},
    state::State,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most events and bytes of one append (`fother-store`).
const APPEND_EVENTS_MAX: usize = 1_000;

const POLICY: &str = include_str!("policy.toml");

fn host(n: usize) -> HostId {
    HostId::new(n as u64, [7; 10])
}

fn labels() -> Labels {
    // As long as a label may be.
    Labels::from([("role".to_owned(), "web".to_owned()), ("zone".to_owned(), "z".repeat(64))])
}

/// Appends as the server does; says how many bytes the largest event has.
fn append(state: &mut State, data: Vec<Data>) -> usize {
    assert!(data.len() <= APPEND_EVENTS_MAX, "{} events", data.len());
    let mut largest = 0;
    for data in data {
        let event = Event { v: VERSION, seq: state.size, at: Timestamp(1), actor: "server".to_owned(), data };
        let bytes = event.bytes().unwrap();
        largest = largest.max(bytes.len());
        state.fold(&Event::parse(state.size, &bytes).unwrap());
    }
    largest
}

fn fleet(count: usize) -> State {
    let mut state = State::default();
    for n in 0..count {
        let enrolled = Data::HostEnrolled {
            host: host(n),
            token: TokenId::new(1, [1; 10]),
            hostname: String::new(),
            labels: labels(),
            certificate: Digest([1; 32]),
            cosigner: String::new(),
            observe: false,
        };
        append(&mut state, vec![enrolled]);
    }
    state
}

/// A plan in which `distinct` hosts have transactions of their own.
fn planned(count: usize, distinct: usize) -> Planned {
    let change = |n: usize| fother_core::resolution::PackageChange {
        name: format!("p{n}"),
        arch: "all".to_owned(),
        source: "p".to_owned(),
        from: None,
        to: Some("1".parse().unwrap()),
        offer: None,
        class: fother_core::package::UpdateClass::Bugfix,
        closes: Vec::new(),
    };
    let one = |n: usize| PlanHost {
        id: host(n),
        labels: Arc::new(labels()),
        resolution: Some(Arc::new(Resolution {
            base: Digest([0; 32]),
            indexes: Digest([0; 32]),
            changes: vec![change(n.min(distinct))],
            kept_back: Vec::new(),
            in_use: Vec::new(),
        })),
    };
    let hosts: Vec<PlanHost> = (0..count).map(one).collect();
    plan::plan(&Policy::parse(POLICY).unwrap(), "web", &hosts, &[], &BTreeMap::new(), &BTreeMap::new()).unwrap()
}

#[test]
fn the_largest_group_is_planned_and_rolled_out_within_the_limits_of_the_log() {
    for distinct in [0, HOSTS_MAX] {
        let mut state = fleet(HOSTS_MAX);
        let planned = planned(HOSTS_MAX, distinct);
        let digest = planned.plan.digest().unwrap();
        let largest = append(&mut state, decide::create_plan(&planned, digest).unwrap());
        assert!(largest <= event::BYTES_MAX, "{largest} bytes");
        let known = &state.plans[&digest];
        let members: BTreeMap<Digest, Vec<HostId>> = known.cohorts.iter().map(|(digest, cohort)| (*digest, cohort.hosts.clone())).collect();
        assert_eq!(members, planned.cohorts.iter().map(|(digest, cohort)| (*digest, cohort.hosts.keys().copied().collect())).collect());

        let change = ChangeId::new(1, [1; 10]);
        let rollout = RolloutId::new(1, [1; 10]);
        let submitted =
            Data::ChangeSubmitted { change, plan: digest, statement: Digest([2; 32]), author: "ann".to_owned(), signature: String::new() };
        append(&mut state, vec![submitted, Data::ChangeApproved { change, person: "bob".to_owned(), signature: String::new() }]);
        let started = decide::start_rollout(&state, rollout, change, &planned.plan, &planned.cohorts, &statement(&planned), false).unwrap();
        let largest = append(&mut state, started);
        assert!(largest <= event::BYTES_MAX, "{largest} bytes");
        let waves =
            plan::waves(&planned.plan, &planned.cohorts, &state.hosts.iter().map(|(id, host)| (*id, host.labels.clone())).collect());
        assert_eq!(state.rollouts[&rollout].setup.waves, waves);
        assert_eq!(state.rollouts[&rollout].hosts().len(), HOSTS_MAX);

        // Everybody fails to answer at once: still one event.
        let mut stuck = state.rollouts[&rollout].clone();
        waves.iter().flatten().for_each(|host| stuck.set(*host, Phase::Failed { why: "x".to_owned(), txn: None }));
        stuck.waves_passed = 1;
        stuck.set(waves[1][0], Phase::Waiting);
        let out = state.hosts.keys().map(|host| (*host, Out { zone: String::new(), why: Why::Lost })).collect();
        for action in stuck.step(&Around { out, ..Around::default() }, Timestamp(2)) {
            if let Next::Block(by, why) = action {
                assert!(append(&mut state, vec![Data::RolloutBlocked { rollout, by, why }]) <= event::BYTES_MAX);
            }
        }
    }
}

#[test]
fn one_host_more_is_refused_by_name_of_the_limit() {
    let hosts: Vec<PlanHost> = (0..=HOSTS_MAX).map(|n| PlanHost { id: host(n), labels: Arc::new(labels()), resolution: None }).collect();
    let error = plan::plan(&Policy::parse(POLICY).unwrap(), "web", &hosts, &[], &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains(&HOSTS_MAX.to_string()), "{error}");
}

#[test]
fn a_plan_or_rollout_whose_hosts_are_not_all_known_decides_nothing() {
    let mut state = fleet(900);
    let planned = planned(900, 0);
    let digest = planned.plan.digest().unwrap();
    let mut events = decide::create_plan(&planned, digest).unwrap();
    events.pop();
    append(&mut state, events);
    assert_eq!(state.plans[&digest].verdict(), None);
    let change = ChangeId::new(1, [1; 10]);
    let submitted =
        Data::ChangeSubmitted { change, plan: digest, statement: Digest([2; 32]), author: "ann".to_owned(), signature: String::new() };
    append(&mut state, vec![submitted, Data::ChangeApproved { change, person: "bob".to_owned(), signature: String::new() }]);
    let rollout = RolloutId::new(1, [1; 10]);
    let mut events = decide::start_rollout(&state, rollout, change, &planned.plan, &planned.cohorts, &statement(&planned), false).unwrap();
    let last = events.pop().unwrap();
    append(&mut state, events);
    assert!(state.rollouts[&rollout].step(&Around::default(), Timestamp(2)).is_empty());
    append(&mut state, vec![last]);
    assert!(matches!(state.rollouts[&rollout].step(&Around::default(), Timestamp(2))[..], [Next::Dispatch(_)]));
}

fn statement(planned: &Planned) -> Statement {
    Statement {
        action: Action::Apply,
        change: ChangeId::new(1, [1; 10]),
        plan: planned.plan.digest().unwrap(),
        rehearsals: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        policy: planned.plan.policy,
        hosts: planned.cohorts.values().flat_map(|cohort| cohort.hosts.keys().copied()).collect(),
        window: Vec::new(),
        author: "ann".to_owned(),
        author_key: String::new(),
        undo_until: Timestamp(9),
        expires: Timestamp(u64::MAX),
    }
}
