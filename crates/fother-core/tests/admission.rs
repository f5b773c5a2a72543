//! What holds a rollout up: freezes, groups that go first or exclude each other, windows that are too short. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    change::Change,
    id::{ChangeId, HostId, RolloutId, TransactionId},
    inventory::Labels,
    policy::{
        Budget, Policy, Share, Strategy,
        admission::{Held, admit, may_start},
        calendar::{Error, openings},
    },
    rollout::{Action, End, Phase, Rollout, Setup},
    state::{Host, PlanState, State},
    window::Interval,
};
use std::collections::{BTreeMap, BTreeSet};

const POLICY: &str = r#"
[group.web]
select = 'role == "web"'
window = "night"
budget = { unavailable = 1 }
rollout = { canary = 1, waves = ["100%"], soak = "60s" }
checks = ["up"]
approvals = { required = 2, emergency = 1 }
after = ["db"]

[group.db]
select = 'role == "db"'
window = "always"
budget = { unavailable = 1 }
rollout = { canary = 1, waves = ["100%"], soak = "60s" }
checks = ["up"]
approvals = 1
never_with = ["replica"]

[group.replica]
select = 'role == "replica"'
window = "always"
budget = { unavailable = 1 }
rollout = { canary = 1, waves = ["100%"], soak = "60s" }
checks = ["up"]
approvals = 1

[check.up]
kind = "unit"
name = "up"
unit = "x.service"

[window.night]
timezone = "Europe/Berlin"
start = "FREQ=DAILY;BYHOUR=1"
duration = "3h"
cutoff = "30m"

[freeze.year-end]
reason = "the books are closed"
groups = ["web"]
from = "2026-12-20T00:00:00Z"
to = "2027-01-04T00:00:00Z"

[freeze.all]
reason = "the move"
from = "2026-12-24T00:00:00Z"
to = "2026-12-25T00:00:00Z"

[emergency.kev]
reason = "known exploited"
breaks = ["year-end"]
window = "always"
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy() -> Policy {
    Policy::parse(POLICY).unwrap_or_else(|error| panic!("{error}"))
}

fn host(role: &str, n: u64) -> HostId {
    HostId::new(n, [role.as_bytes()[0]; 10])
}

fn plan(group: &str) -> Digest {
    Digest::of_file(group.as_bytes())
}

/// Two hosts in each group, each with a plan.
fn fleet() -> State {
    let mut state = State::default();
    for role in ["web", "db", "replica"] {
        for n in 0..2 {
            let labels = Labels::from([("role".to_owned(), role.to_owned())]);
            let host_of = Host::enrolled(role.to_owned(), labels, Digest([0; 32]), String::new(), false);
            state.hosts.insert(host(role, n), host_of);
        }
        let cohorts = BTreeMap::from([(
            Digest([1; 32]),
            fother_core::state::CohortState { hosts: vec![host(role, 0), host(role, 1)], ..Default::default() },
        )]);
        let made = PlanState {
            group: role.to_owned(),
            hosts: 2,
            cohort_of: [host(role, 0), host(role, 1)].map(|host| (host, Digest([1; 32]))).into_iter().collect(),
            cohorts: cohorts.into(),
            approvals: 1,
            excluded: BTreeMap::new(),
            emergency: None,
            approvers: BTreeSet::new(),
            created: Timestamp(0),
        };
        state.plans.insert(plan(role), made);
    }
    state
}

fn rollout(group: &str, n: u64, started: Timestamp, window: Vec<Interval>) -> Rollout {
    let hosts = [host(group, 0), host(group, 1)];
    let setup = Setup {
        group: group.to_owned(),
        select: format!("role == \"{group}\""),
        hosts: 2,
        waves: vec![vec![hosts[0]], vec![hosts[1]]],
        zones: BTreeMap::new(),
        group_size: 2,
        zone_sizes: BTreeMap::new(),
        outage: None,
        budget: Budget::of(Share::Count(1)),
        strategy: Strategy::of(1, vec![Share::Percent(100)], 60),
        window,
        expires: Timestamp(u64::MAX),
    };
    Rollout::new(RolloutId::new(n, [0; 10]), ChangeId::new(n, [0; 10]), plan(group), setup, started)
}

fn running(state: &mut State, rollout: &Rollout) {
    state.active.insert(rollout.id);
    state.rollouts.insert(rollout.id, rollout.clone());
}

const DAY: &str = "2026-11-01T12:00:00Z";

#[test]
fn a_freeze_holds_its_groups_and_names_itself() {
    let (policy, state) = (policy(), fleet());
    let (web, db) = (rollout("web", 1, at(DAY), Vec::new()), rollout("db", 2, at(DAY), Vec::new()));
    let now = at("2026-12-21T12:00:00Z");
    let held = may_start(&policy, &state, &web, now).unwrap_err();
    assert_eq!(held.to_string(), "freeze year-end until 2027-01-04T00:00:00.000Z: the books are closed");
    assert_eq!(may_start(&policy, &state, &db, now), Ok(()), "it is not for this group");
    assert!(matches!(may_start(&policy, &state, &db, at("2026-12-24T12:00:00Z")), Err(Held::Frozen { freeze, .. }) if freeze == "all"));
    assert_eq!(may_start(&policy, &state, &web, at("2027-01-04T00:00:00Z")), Ok(()));
}

#[test]
fn an_emergency_breaks_the_freezes_that_it_names_and_no_other() {
    let (mut policy, mut state) = (policy(), fleet());
    state.plans.get_mut(&plan("web")).unwrap().emergency = Some("kev".to_owned());
    let web = rollout("web", 1, at(DAY), Vec::new());
    assert_eq!(may_start(&policy, &state, &web, at("2026-12-21T12:00:00Z")), Ok(()));
    assert!(matches!(may_start(&policy, &state, &web, at("2026-12-24T12:00:00Z")), Err(Held::Frozen { freeze, .. }) if freeze == "all"));
    policy.emergency.get_mut("kev").unwrap().groups = BTreeSet::from(["db".to_owned()]);
    assert!(may_start(&policy, &state, &web, at("2026-12-21T12:00:00Z")).is_err(), "the path is no longer this group's");
    policy.emergency.clear();
    assert!(may_start(&policy, &state, &web, at("2026-12-21T12:00:00Z")).is_err(), "a path that is gone breaks nothing");
}

#[test]
fn a_group_waits_for_the_rollout_and_the_change_of_the_group_before_it() {
    let (policy, mut state) = (policy(), fleet());
    let web = rollout("web", 5, at(DAY), Vec::new());
    let mut db = rollout("db", 3, at(DAY), Vec::new());
    running(&mut state, &db);
    let held = may_start(&policy, &state, &web, at(DAY)).unwrap_err();
    assert!(held.to_string().starts_with("group db goes first: rollout_"), "{held}");
    (db.ended, db.ended_at) = (Some(End::Completed), Some(at(DAY)));
    running(&mut state, &db);
    assert_eq!(may_start(&policy, &state, &web, at(DAY)), Ok(()));
    db = rollout("db", 4, at(DAY), Vec::new());
    (db.ended, db.ended_at) = (Some(End::Halted { why: "http 500".to_owned() }), Some(at("2026-11-01T13:00:00Z")));
    running(&mut state, &db);
    assert!(matches!(may_start(&policy, &state, &web, at(DAY)), Err(Held::AfterRollout { halted: true, .. })));
    let later = rollout("web", 6, at("2026-11-02T12:00:00Z"), Vec::new());
    assert_eq!(may_start(&policy, &state, &later, at("2026-11-02T12:00:00Z")), Ok(()), "whoever starts afterwards knows of it");
    let change = Change {
        id: ChangeId::new(9, [0; 10]),
        plan: plan("db"),
        statement: Digest([0; 32]),
        author: "anna".to_owned(),
        author_signature: String::new(),
        submitted: at("2026-11-02T11:00:00Z"),
        approvals: BTreeMap::new(),
        needed: 1,
        rejected: None,
        rollout: None,
        standing: None,
    };
    state.changes.insert(change.id, change.clone());
    assert!(matches!(may_start(&policy, &state, &later, at("2026-11-02T12:00:00Z")), Err(Held::AfterChange { .. })));
    assert_eq!(may_start(&policy, &state, &later, at("2026-11-17T11:00:00Z")), Ok(()), "an approval that expired holds nobody up");
    state.changes.insert(change.id, Change { rejected: Some("no".to_owned()), ..change });
    assert_eq!(may_start(&policy, &state, &later, at("2026-11-02T12:00:00Z")), Ok(()));
}

#[test]
fn two_groups_are_never_out_together_whichever_side_says_so() {
    let policy = policy();
    for (mine, other) in [("db", "replica"), ("replica", "db")] {
        let mut state = fleet();
        let (me, mut them) = (rollout(mine, 1, at(DAY), Vec::new()), rollout(other, 2, at(DAY), Vec::new()));
        running(&mut state, &them);
        assert_eq!(may_start(&policy, &state, &me, at(DAY)), Ok(()), "nobody is out yet");
        them.set(host(other, 0), Phase::Dispatched { txn: TransactionId::new(1, [0; 10]), at: at(DAY) });
        running(&mut state, &them);
        assert_eq!(may_start(&policy, &state, &me, at(DAY)), Err(Held::NeverWith { group: other.to_owned(), host: host(other, 0) }));
        them.set(host(other, 0), Phase::Failed { why: "x".to_owned(), txn: None });
        running(&mut state, &them);
        assert!(may_start(&policy, &state, &me, at(DAY)).is_err(), "a broken host is out");
        them.set(host(other, 0), Phase::Verified { txn: TransactionId::new(1, [0; 10]), at: at(DAY), remarks: Vec::new() });
        running(&mut state, &them);
        assert_eq!(may_start(&policy, &state, &me, at(DAY)), Ok(()));
        state.lost.insert(host(other, 1));
        assert_eq!(may_start(&policy, &state, &me, at(DAY)), Err(Held::NeverWith { group: other.to_owned(), host: host(other, 1) }));
        state.lost = BTreeSet::from([host("web", 0)]).into();
        assert_eq!(may_start(&policy, &state, &me, at(DAY)), Ok(()), "a lost host of a third group is nothing to it");
    }
}

fn hour(hour: u64) -> Timestamp {
    Timestamp(hour * 3_600_000)
}

#[test]
fn only_dispatching_is_held_up() {
    let (policy, state) = (policy(), fleet());
    let web = rollout("web", 1, at(DAY), Vec::new());
    let undo = Action::Undo(host("web", 1), TransactionId::new(1, [0; 10]));
    let actions = vec![Action::Dispatch(host("web", 0)), undo.clone()];
    let admitted = admit(&policy, &state, &web, actions.clone(), at("2026-12-21T12:00:00Z"));
    assert_eq!(admitted.actions.as_slice(), std::slice::from_ref(&undo));
    assert!(matches!(admitted.held, Some(Held::Frozen { .. })));
    assert_eq!(admit(&policy, &state, &web, actions.clone(), at(DAY)).actions, actions);
    let only = admit(&policy, &state, &web, vec![undo.clone()], at("2026-12-21T12:00:00Z"));
    assert_eq!((only.actions, only.held), (vec![undo], None));
}

#[test]
fn a_host_begins_only_where_its_predicted_time_fits() {
    let (policy, mut state) = (policy(), fleet());
    let window = vec![
        Interval { start: hour(10), end: hour(12), last_start: hour(12) },
        Interval { start: hour(34), end: hour(36), last_start: hour(36) },
    ];
    let web = rollout("web", 1, hour(1), window);
    let next = vec![Action::Dispatch(host("web", 0))];
    let ask = |state: &State, now| admit(&policy, state, &web, next.clone(), now).actions;
    state.hosts.get_mut(&host("web", 0)).unwrap().apply_ms = vec![40 * 60_000; 3];
    assert_eq!(ask(&state, hour(10)), next, "an hour, margin and soak: 61 min");
    assert_eq!(ask(&state, hour(11)), [], "it would end after the window; the next one has room");
    state.hosts.get_mut(&host("web", 0)).unwrap().apply_ms = vec![90 * 60_000; 3];
    assert!(
        matches!(&ask(&state, hour(10))[..], [Action::Block(by, why)] if *by == [host("web", 0)] && why.contains("136 min")),
        "{:?}",
        ask(&state, hour(10))
    );
    state.hosts.get_mut(&host("web", 0)).unwrap().apply_ms.clear();
    assert_eq!(ask(&state, hour(10)), next, "nothing known: ten minutes");
    state.hosts.get_mut(&host("web", 1)).unwrap().apply_ms = vec![90 * 60_000];
    assert!(matches!(&ask(&state, hour(10))[..], [Action::Block(..)]), "its cohort is slow");
}

#[test]
fn openings_are_the_window_without_its_freezes() {
    let policy = policy();
    let days = |group: &str, emergency: Option<&str>, from: &str, days| openings(&policy, group, emergency, at(from), days);
    let found = days("web", None, "2026-12-18T12:00:00Z", 30).unwrap();
    assert_eq!(found[0].start, at("2026-12-19T00:00:00Z"));
    // The window of 20 December begins as the freeze does.
    assert_eq!(found[1].start, at("2027-01-04T00:00:00Z"));
    assert_eq!(found[1].last_start, at("2027-01-04T02:30:00Z"));
    let error = days("web", None, "2026-12-20T12:00:00Z", 10).unwrap_err();
    assert!(matches!(&error, Error::Frozen { freezes, .. } if *freezes == ["all", "year-end"]), "{error}");
    assert_eq!(days("db", None, "2026-11-01T00:00:00Z", 14), Ok(Vec::new()), "nothing restricts it");
    let around = days("db", None, "2026-12-20T00:00:00Z", 14).unwrap();
    assert_eq!(
        around.iter().map(|one| (one.start, one.end)).collect::<Vec<_>>(),
        [(at("2026-12-20T00:00:00Z"), at("2026-12-24T00:00:00Z")), (at("2026-12-25T00:00:00Z"), at("2027-01-03T00:00:00Z")),]
    );
    assert_eq!(
        days("web", Some("kev"), "2026-12-20T00:00:00Z", 14).unwrap(),
        around,
        "its own window, and only the freeze that it does not name"
    );
    assert_eq!(days("web", Some("nothing"), "2026-12-20T00:00:00Z", 14), Err(Error::NoEmergency("nothing".to_owned())));
    assert_eq!(days("www", None, "2026-12-20T00:00:00Z", 14), Err(Error::NoGroup("www".to_owned())));
}
