//! A rollback by hand: what it begins, and what it waits for.

use fother_core::{
    Digest, Timestamp, decide,
    event::Data,
    id::{ChangeId, HostId, RolloutId, TransactionId},
    policy::{Budget, Share, Strategy},
    rollout::{End, Phase, Rollout, Setup},
    state::State,
};
use std::collections::BTreeMap;

fn host(n: u8) -> HostId {
    HostId::new(u64::from(n), [n; 10])
}

fn verified() -> Phase {
    Phase::Verified { txn: TransactionId::new(1, [1; 10]), at: Timestamp(1), remarks: Vec::new() }
}

fn id(n: u64) -> RolloutId {
    RolloutId::new(n, [0; 10])
}

/// Rollout `n` over hosts 0 to 2, ended as told.
fn with(state: &mut State, n: u64, phases: [Phase; 3], ended: Option<End>) {
    let setup = Setup {
        group: "web".to_owned(),
        select: "true".to_owned(),
        hosts: 3,
        waves: vec![(0..3).map(host).collect()],
        zones: BTreeMap::new(),
        group_size: 3,
        budget: Budget::of(Share::Count(1)),
        strategy: Strategy::of(1, Vec::new(), 1),
        window: Vec::new(),
        zone_sizes: BTreeMap::new(),
        outage: None,
        expires: Timestamp(u64::MAX),
    };
    let mut rollout = Rollout::new(id(n), ChangeId::new(n, [0; 10]), Digest([0; 32]), setup, Timestamp(n));
    (0..3).map(host).zip(phases).for_each(|(host, phase)| rollout.set(host, phase));
    rollout.ended = ended;
    state.active.insert(id(n));
    state.rollouts.insert(id(n), rollout);
}

#[test]
fn the_last_one_in_is_the_first_one_out() {
    let mut state = State::default();
    with(&mut state, 1, [verified(), verified(), verified()], Some(End::Completed));
    with(&mut state, 2, [verified(), Phase::Waiting, Phase::Waiting], Some(End::Aborted));
    let refusal = decide::rollback(&state, id(1), String::new()).unwrap_err();
    assert_eq!(refusal.code, "later-rollout");
    assert!(refusal.hint.contains(&id(2).to_string()));
    assert!(matches!(decide::rollback(&state, id(2), String::new()), Ok(Data::RollbackStarted { .. })));
}

#[test]
fn a_later_rollout_that_touched_none_of_the_hosts_or_put_them_back_is_not_in_the_way() {
    let mut state = State::default();
    let back = Phase::RolledBack { txn: TransactionId::new(2, [2; 10]), why: String::new(), exact: true, paths_compared: 1 };
    with(&mut state, 1, [verified(), verified(), Phase::Waiting], Some(End::Aborted));
    with(&mut state, 2, [back, Phase::Waiting, verified()], Some(End::Halted { why: String::new() }));
    assert!(decide::rollback(&state, id(1), String::new()).is_ok());
    with(&mut state, 2, [Phase::Waiting, Phase::Waiting, Phase::Waiting], None);
    assert_eq!(decide::rollback(&state, id(1), String::new()).unwrap_err().code, "later-rollout", "it is about to begin there");
}

#[test]
fn what_no_host_carries_cannot_be_undone_and_nothing_is_undone_twice() {
    let mut state = State::default();
    with(&mut state, 1, [Phase::Waiting, Phase::Waiting, Phase::Waiting], Some(End::Aborted));
    assert_eq!(decide::rollback(&state, id(1), String::new()).unwrap_err().code, "nothing-to-undo");
    with(&mut state, 1, [verified(), Phase::Waiting, Phase::Waiting], None);
    state.rollouts.get_mut(&id(1)).unwrap().rolling_back = Some(String::new());
    assert_eq!(decide::rollback(&state, id(1), String::new()).unwrap_err().code, "rolling-back");
    assert_eq!(decide::rollback(&state, id(9), String::new()).unwrap_err().code, "unknown-rollout");
}
