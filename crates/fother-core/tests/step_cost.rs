//! What a step costs over the largest fleets: the figures are printed; that it looks at what changed, and not at the fleet, is counted in ratios.
#![allow(clippy::unwrap_used)]

use fother_core::{
    Digest, Timestamp,
    event::{Data, Event, VERSION},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TransactionId},
    policy::{Budget, Share, Strategy},
    protocol::{Outcome, Report},
    rollout::{Action, Rollout, Setup},
    state::State,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

fn host(n: usize) -> HostId {
    HostId::new(n as u64, [7; 10])
}

/// A rollout of so many hosts that is past its canary, with a fifth of it at work.
fn running(hosts: usize) -> (State, RolloutId) {
    let id = RolloutId::new(1, [1; 10]);
    let all: Vec<HostId> = (0..hosts).map(host).collect();
    let setup = Setup {
        group: "web".to_owned(),
        select: "true".to_owned(),
        hosts: u32::try_from(hosts).unwrap(),
        waves: vec![all[..1].to_vec(), all[1..].to_vec()],
        zones: all.iter().enumerate().map(|(n, host)| (*host, format!("z{}", n % 3))).collect(),
        group_size: u32::try_from(hosts).unwrap(),
        zone_sizes: BTreeMap::new(),
        outage: None,
        budget: Budget::of(Share::Percent(20)),
        strategy: Strategy::of(1, vec![Share::Percent(100)], 1),
        window: Vec::new(),
        expires: Timestamp(u64::MAX),
    };
    let mut state = State::default();
    let rollout = Rollout::new(id, ChangeId::new(1, [1; 10]), Digest([0; 32]), setup, Timestamp(0));
    state.rollouts.insert(id, rollout);
    state.active.insert(id);
    report(&mut state, id, 0);
    (state, id)
}

fn fold(state: &mut State, data: Data) {
    let event = Event { v: VERSION, seq: state.size, at: Timestamp(1), actor: "server".to_owned(), data };
    state.fold(&event);
}

fn txn(n: usize) -> TransactionId {
    TransactionId::new(n as u64, [1; 10])
}

fn issue(state: &mut State, rollout: RolloutId, n: usize) {
    let directive = Data::DirectiveIssued {
        directive: DirectiveId::new(n as u64, [1; 10]),
        host: host(n),
        sequence: 1,
        order: "apply".to_owned(),
        blob: Digest([0; 32]),
        txn: Some(txn(n)),
        cohort: None,
        plan: None,
        rollout: Some(rollout),
        expires: Timestamp(u64::MAX),
    };
    fold(state, directive);
}

fn report(state: &mut State, rollout: RolloutId, n: usize) {
    if n == 0 {
        issue(state, rollout, 0);
    }
    let outcome = Outcome::Verified { txn: txn(n), remarks: Vec::new() };
    let rollout = state.rollouts.get_mut(&rollout).unwrap();
    rollout.report(host(n), Some(txn(n)), &outcome, true, Timestamp(2));
    let _ = Report { number: 1, directive: None, outcome };
}

/// Plays a whole rollout: the longest step, the mean of the steps after one report, and their number.
fn play(hosts: usize) -> (Duration, Duration, u32) {
    let (mut state, id) = running(hosts);
    let (mut longest, mut sum, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    let mut at_work = std::collections::VecDeque::new();
    let mut done = 1;
    for _ in 0..hosts.min(3_000) {
        let rollout = &state.rollouts[&id];
        let began = Instant::now();
        let actions = rollout.step(&state.around(rollout), Timestamp(2));
        let took = began.elapsed();
        longest = longest.max(took);
        if actions.len() <= 1 {
            sum += took;
            count += 1;
        }
        for action in actions {
            match action {
                Action::Dispatch(host) => {
                    let n = usize::try_from(host.0 >> 80).unwrap();
                    issue(&mut state, id, n);
                    at_work.push_back(n);
                }
                Action::PassWave(_) => state.rollouts.get_mut(&id).unwrap().waves_passed += 1,
                Action::Undo(..) | Action::GoBack(_) | Action::Finish(_) | Action::Block(..) => {}
            }
        }
        if let Some(n) = at_work.pop_front() {
            report(&mut state, id, n);
            done += 1;
        }
    }
    assert!(done > 1);
    (longest, sum / count.max(1), count)
}

#[test]
fn a_step_costs_what_changed_and_not_what_the_fleet_has() {
    for hosts in [1_000, 10_000, 100_000] {
        let (longest, mean, count) = play(hosts);
        println!("{hosts} hosts: the longest step {longest:?}, mean after one report {mean:?} over {count} steps");
    }
}
