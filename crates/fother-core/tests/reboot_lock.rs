//! Reboot locks: they share windows, freezes and budgets with rollouts, and only liveness or a person frees one. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    event::{Data, Event, VERSION},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TransactionId},
    inventory::Labels,
    policy::{Budget, Policy, Share, Strategy},
    protocol::{Outcome, Report},
    reboot_lock::{self, Denied},
    rollout::{Action, Rollout, Setup},
    state::{Host, State},
};
use std::collections::BTreeMap;

const POLICY: &str = r#"
[group.web]
select = 'role == "web"'
window = "night"
budget = { unavailable = 2 }
rollout = { canary = 1, waves = ["100%"], soak = "60s" }
checks = ["up"]
approvals = 1

[group.db]
select = 'role == "db"'
window = "always"
budget = { unavailable = 1 }
rollout = { canary = 1, waves = ["100%"], soak = "60s" }
checks = ["up"]
approvals = 1
never_with = ["web"]

[check.up]
kind = "unit"
name = "up"
unit = "x.service"

[window.night]
timezone = "UTC"
start = "FREQ=DAILY;BYHOUR=1"
duration = "3h"
cutoff = "30m"

[freeze.year-end]
reason = "the books are closed"
groups = ["web"]
from = "2026-12-20T00:00:00Z"
to = "2027-01-04T00:00:00Z"
"#;

const NIGHT: &str = "2026-11-27T01:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy() -> Policy {
    Policy::parse(POLICY).unwrap_or_else(|error| panic!("{error}"))
}

fn role(role: &str) -> Labels {
    Labels::from([("role".to_owned(), role.to_owned())])
}

fn host(n: u64) -> HostId {
    HostId::new(n, [1; 10])
}

fn fold(state: &mut State, now: Timestamp, data: Vec<Data>) {
    for data in data {
        let event = Event { v: VERSION, seq: state.size, at: now, actor: "server".to_owned(), data };
        state.fold(&Event::parse(event.seq, &event.bytes().unwrap()).unwrap());
    }
}

/// Three enrolled hosts of `web` and three clients of it.
fn fleet() -> State {
    let mut state = State::default();
    for n in 0..3 {
        state.hosts.insert(host(n), Host::enrolled(format!("web-{n}"), role("web"), Digest([0; 32]), String::new(), false));
    }
    for n in 0..3 {
        let registered = reboot_lock::register(&state, &format!("core{n}"), host(100 + n), &format!("core-{n}"), role("web")).unwrap();
        fold(&mut state, Timestamp(1), vec![registered]);
    }
    state
}

/// Asks as a client, and lets an answer become true.
fn ask(state: &mut State, client: &str, now: &str) -> Result<(), Denied> {
    let events = reboot_lock::pre_reboot(&policy(), state, client, "web", at(now))?;
    fold(state, at(now), events);
    Ok(())
}

fn back(state: &mut State, client: &str) {
    let events = reboot_lock::steady_state(state, client).unwrap();
    fold(state, at(NIGHT), events);
}

#[test]
fn a_lock_is_taken_once_held_however_long_and_freed_by_its_holder() {
    let mut state = fleet();
    ask(&mut state, "core0", NIGHT).unwrap();
    let size = state.size;
    ask(&mut state, "core0", NIGHT).unwrap();
    assert_eq!(state.size, size, "asking again while it holds the lock is no event");
    ask(&mut state, "core1", NIGHT).unwrap();
    let full = ask(&mut state, "core2", NIGHT).unwrap_err();
    assert_eq!(full.kind(), "budget_full");
    assert!(full.is_for_now() && full.to_string().contains("core-0, core-1"), "{full}");
    // A year later nobody has come back: no timer frees anything.
    assert_eq!(ask(&mut state, "core2", "2027-11-27T01:30:00Z").unwrap_err().kind(), "budget_full");
    back(&mut state, "core1");
    back(&mut state, "core1");
    ask(&mut state, "core2", NIGHT).unwrap();
    let freed = reboot_lock::by_person(&state, "core0", "its disk is gone", false).unwrap();
    fold(&mut state, at(NIGHT), vec![freed]);
    ask(&mut state, "core1", NIGHT).unwrap();
    assert!(reboot_lock::by_person(&state, "core0", "again", false).is_err_and(|why| why.contains("holds no lock")));
}

#[test]
fn an_unknown_id_and_a_wrong_group_hold_no_slot() {
    let mut state = fleet();
    let size = state.size;
    assert_eq!(ask(&mut state, "nobody", NIGHT), Err(Denied::Unknown));
    assert_eq!(reboot_lock::steady_state(&state, "nobody"), Err(Denied::Unknown));
    let wrong = reboot_lock::pre_reboot(&policy(), &state, "core0", "db", at(NIGHT)).unwrap_err();
    assert!(wrong.kind() == "not_in_group" && !wrong.is_for_now());
    let stranger = reboot_lock::register(&state, "x", host(200), "x", role("mail")).unwrap();
    fold(&mut state, Timestamp(1), vec![stranger]);
    assert_eq!(ask(&mut state, "x", NIGHT).unwrap_err().kind(), "not_in_group");
    assert_eq!(state.size, size + 1);
    let named = reboot_lock::pre_reboot(&policy(), &state, "core0", reboot_lock::DEFAULT_GROUP, at(NIGHT)).unwrap();
    assert_eq!(named.len(), 1, "Zincati's own default means whatever group its labels say");
    for bad in ["", "a b", "a/b", &"x".repeat(129), "core0"] {
        assert!(reboot_lock::register(&state, bad, host(201), "y", Labels::new()).is_err(), "{bad}");
    }
}

#[test]
fn windows_freezes_stops_and_excluded_groups_hold_for_locks_too() {
    let mut state = fleet();
    let denied = ask(&mut state, "core0", "2026-11-27T12:00:00Z").unwrap_err();
    assert!(denied.kind() == "window_closed" && denied.to_string().contains("2026-11-28T01:00:00"), "{denied}");
    assert_eq!(ask(&mut state, "core0", "2026-11-27T03:45:00Z").unwrap_err().kind(), "window_closed", "after the cutoff");
    let frozen = ask(&mut state, "core0", "2026-12-24T01:30:00Z").unwrap_err();
    assert!(frozen.kind() == "held_up" && frozen.to_string().contains("the books are closed"), "{frozen}");
    fold(&mut state, at(NIGHT), vec![Data::FleetStopped { reason: "smoke".to_owned() }]);
    assert_eq!(ask(&mut state, "core0", NIGHT), Err(Denied::Stopped("smoke".to_owned())));
    fold(&mut state, at(NIGHT), vec![Data::FleetResumed {}]);
    let db = reboot_lock::register(&state, "db0", host(300), "db-0", role("db")).unwrap();
    fold(&mut state, at(NIGHT), vec![db]);
    ask(&mut state, "core0", NIGHT).unwrap();
    assert_eq!(reboot_lock::pre_reboot(&policy(), &state, "db0", "db", at(NIGHT)).unwrap_err().kind(), "held_up");
    back(&mut state, "core0");
    assert!(reboot_lock::pre_reboot(&policy(), &state, "db0", "db", at(NIGHT)).is_ok_and(|events| events.len() == 1), "a group of one");
}

#[test]
fn a_lost_host_counts_for_locks() {
    let mut state = fleet();
    fold(&mut state, at(NIGHT), vec![Data::HostLost { host: host(0) }, Data::HostLost { host: host(1) }]);
    let full = ask(&mut state, "core0", NIGHT).unwrap_err();
    assert!(full.to_string().contains("web-0, web-1"), "{full}");
    fold(&mut state, at(NIGHT), vec![Data::HostRetired { host: host(0) }]);
    ask(&mut state, "core0", NIGHT).unwrap();
}

/// A rollout over the three hosts, past its canary.
fn rollout(state: &mut State) -> RolloutId {
    let id = RolloutId::new(1, [1; 10]);
    let hosts: Vec<HostId> = (0..3).map(host).collect();
    let sizes = state.zone_sizes("role == \"web\"");
    assert_eq!(sizes.values().sum::<u32>(), 6, "clients are members");
    let setup = Setup {
        group: "web".to_owned(),
        select: "role == \"web\"".to_owned(),
        hosts: 3,
        waves: vec![hosts],
        zones: BTreeMap::new(),
        group_size: 6,
        zone_sizes: sizes,
        outage: Some(false),
        budget: Budget::of(Share::Count(2)),
        strategy: Strategy::of(3, vec![Share::Percent(100)], 0),
        window: Vec::new(),
        expires: Timestamp(u64::MAX),
    };
    state.rollouts.insert(id, Rollout::new(id, ChangeId::new(1, [1; 10]), Digest([0; 32]), setup, Timestamp(0)));
    state.active.insert(id);
    id
}

fn next(state: &State, id: RolloutId) -> Vec<HostId> {
    let rollout = &state.rollouts[&id];
    let actions = rollout.step(&state.around(rollout), at(NIGHT));
    actions.into_iter().filter_map(|action| if let Action::Dispatch(host) = action { Some(host) } else { None }).collect()
}

fn begin(state: &mut State, id: RolloutId, n: u64) {
    let issued = Data::DirectiveIssued {
        directive: DirectiveId::new(n, [1; 10]),
        host: host(n),
        sequence: 1,
        order: "apply".to_owned(),
        blob: Digest([0; 32]),
        txn: Some(TransactionId::new(n, [1; 10])),
        cohort: None,
        plan: None,
        rollout: Some(id),
        expires: Timestamp(u64::MAX),
    };
    fold(state, at(NIGHT), vec![issued]);
}

fn report(state: &mut State, n: u64, number: u64, outcome: Outcome) {
    let report = Report { number, directive: Some(DirectiveId::new(n, [1; 10])), outcome };
    fold(state, at(NIGHT), vec![Data::HostReported { host: host(n), report }]);
}

#[test]
fn a_rollout_and_locks_never_take_more_than_one_budget_together() {
    let mut state = fleet();
    let id = rollout(&mut state);
    assert_eq!(next(&state, id).len(), 2, "nobody is out");
    ask(&mut state, "core0", NIGHT).unwrap();
    let chosen = next(&state, id);
    assert_eq!(chosen, [host(0)], "the lock takes one of two places");
    begin(&mut state, id, 0);
    assert_eq!(next(&state, id), [], "both places are taken");
    assert_eq!(ask(&mut state, "core1", NIGHT).unwrap_err().kind(), "budget_full");
    let txn = TransactionId::new(0, [1; 10]);
    report(&mut state, 0, 1, Outcome::Started { txn });
    report(&mut state, 0, 2, Outcome::Applied { txn, apply_ms: 5 });
    report(&mut state, 0, 3, Outcome::Verified { txn, remarks: Vec::new() });
    ask(&mut state, "core1", NIGHT).unwrap();
    assert_eq!(next(&state, id), [], "two clients are out now");
    let rollout = &state.rollouts[&id];
    let actions = rollout.step(&state.around(rollout), at(NIGHT));
    assert!(matches!(&actions[..], [Action::Block(by, _)] if by == &[host(100), host(101)]), "it names who holds it: {actions:?}");
    back(&mut state, "core0");
    assert_eq!(next(&state, id), [host(1)]);
    let struck = reboot_lock::by_person(&state, "core1", "gone", true).unwrap();
    fold(&mut state, at(NIGHT), vec![struck]);
    assert_eq!(next(&state, id).len(), 2, "one that was struck off counts no more");
    assert_eq!(state.zone_sizes("role == \"web\"").values().sum::<u32>(), 5);
}
