//! What a server does around the engine: directives that are held, signed anew or taken back, and hosts that several rollouts touch.
#![allow(clippy::unwrap_used)]

use fother_core::{
    Digest, Timestamp, decide,
    directive::SKEW_MS_MAX,
    dispatch::{self, DIRECTIVE_LIFE, Lapsed},
    event::{Data, Event, VERSION},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TokenId, TransactionId},
    inventory::Labels,
    policy::{Budget, Policy, Share, Strategy},
    protocol::{Outcome, Report},
    rollout::{Action, End, Phase, Setup, Why},
    state::State,
};
use std::{collections::BTreeMap, time::Duration};

fn host(n: u64) -> HostId {
    HostId(u128::from(n) + 1)
}

fn txn(n: u64) -> TransactionId {
    TransactionId(u128::from(n) + 1)
}

fn rollout(n: u64) -> RolloutId {
    RolloutId(u128::from(n) + 1)
}

fn fold(state: &mut State, at: Timestamp, data: Data) {
    let event = Event { v: VERSION, seq: state.size, at, actor: "server".to_owned(), data };
    state.fold(&event);
}

fn fleet(hosts: u64) -> State {
    let mut state = State::default();
    for n in 0..hosts {
        let enrolled = Data::HostEnrolled {
            host: host(n),
            token: TokenId(1),
            hostname: String::new(),
            labels: Labels::from([("zone".to_owned(), "a".to_owned())]),
            certificate: Digest([1; 32]),
            cosigner: String::new(),
            observe: false,
        };
        fold(&mut state, Timestamp(0), enrolled);
    }
    state
}

fn start(state: &mut State, n: u64, hosts: &[u64]) {
    let size = u32::try_from(state.hosts.len()).unwrap();
    let setup = Setup {
        group: "web".to_owned(),
        select: "true".to_owned(),
        hosts: u32::try_from(hosts.len()).unwrap(),
        waves: Vec::new(),
        zones: BTreeMap::new(),
        group_size: size,
        zone_sizes: BTreeMap::new(),
        outage: None,
        budget: Budget::of(Share::Count(1)),
        strategy: Strategy::of(1, vec![Share::Percent(100)], 1),
        window: Vec::new(),
        expires: Timestamp(u64::MAX),
    };
    let (id, change) = (rollout(n), ChangeId(u128::from(n)));
    fold(state, Timestamp(0), Data::RolloutStarted { rollout: id, change, plan: Digest([0; 32]), setup });
    let hosts = hosts.iter().map(|n| (host(*n), "a".to_owned())).collect();
    fold(state, Timestamp(0), Data::RolloutMembers { rollout: id, wave: 0, hosts });
}

fn issue(state: &mut State, at: Timestamp, n: u64, sequence: u64, order: &str, of: Option<u64>) {
    let issued = Data::DirectiveIssued {
        directive: DirectiveId(u128::from(sequence)),
        host: host(n),
        sequence,
        order: order.to_owned(),
        blob: Digest([0; 32]),
        txn: of.map(|_| txn(n)),
        cohort: None,
        plan: None,
        rollout: of.map(rollout),
        expires: at + DIRECTIVE_LIFE,
    };
    fold(state, at, issued);
}

fn report(state: &mut State, n: u64, directive: u64, outcome: Outcome) {
    let number = state.hosts[&host(n)].acknowledged + 1;
    let report = Report { number, directive: Some(DirectiveId(u128::from(directive))), outcome };
    fold(state, Timestamp(1), Data::HostReported { host: host(n), report });
}

fn sequences(state: &State, n: u64, seen: u64, now: Timestamp) -> Vec<u64> {
    dispatch::due(state, &Policy::default(), host(n), seen, now).iter().map(|issued| issued.sequence).collect()
}

#[test]
fn what_may_not_begin_holds_back_what_comes_after_it_so_that_it_is_never_passed_over() {
    let mut state = fleet(1);
    start(&mut state, 0, &[0]);
    issue(&mut state, Timestamp(0), 0, 1, "apply", Some(0));
    issue(&mut state, Timestamp(0), 0, 2, "resolve", None);
    assert_eq!(sequences(&state, 0, 0, Timestamp(1)), [1, 2]);
    fold(&mut state, Timestamp(1), Data::RolloutPaused { rollout: rollout(0) });
    assert!(sequences(&state, 0, 0, Timestamp(1)).is_empty(), "the second would make the first a replay");
    assert_eq!(sequences(&state, 0, 1, Timestamp(1)), [2], "it was accepted before");
}

#[test]
fn what_expired_before_it_was_accepted_is_signed_anew_while_it_may_begin_and_else_taken_back() {
    let mut state = fleet(1);
    start(&mut state, 0, &[0]);
    issue(&mut state, Timestamp(0), 0, 1, "apply", Some(0));
    let expired = Timestamp(0) + DIRECTIVE_LIFE;
    assert!(dispatch::lapsed(&state, &Policy::default(), host(0), 0, Timestamp(1)).is_empty());
    assert!(dispatch::lapsed(&state, &Policy::default(), host(0), 1, expired).is_empty(), "it was accepted");
    assert!(matches!(dispatch::lapsed(&state, &Policy::default(), host(0), 0, expired)[..], [Lapsed::Renew(..)]));
    fold(&mut state, Timestamp(2), Data::RolloutEnded { rollout: rollout(0), end: End::Aborted });
    assert!(
        dispatch::lapsed(&state, &Policy::default(), host(0), 0, expired).is_empty(),
        "a host whose clock is behind could still accept it"
    );
    let over = expired + Duration::from_millis(SKEW_MS_MAX + 1);
    let lapsed = dispatch::lapsed(&state, &Policy::default(), host(0), 0, over);
    assert_eq!(lapsed, [Lapsed::Withdraw(rollout(0), txn(0))]);
    fold(&mut state, over, Data::HostWithdrawn { rollout: rollout(0), host: host(0), txn: txn(0) });
    assert_eq!(state.rollouts[&rollout(0)].hosts()[&host(0)], Phase::Waiting);
    assert!(state.active.is_empty(), "it takes no place of anybody's budget any more");
}

#[test]
fn stopping_everything_holds_back_what_was_not_accepted() {
    let mut state = fleet(1);
    start(&mut state, 0, &[0]);
    issue(&mut state, Timestamp(0), 0, 1, "apply", Some(0));
    for data in decide::stop_all(&state, Some("x".to_owned())) {
        fold(&mut state, Timestamp(1), data);
    }
    assert!(sequences(&state, 0, 0, Timestamp(1)).is_empty());
    assert!(decide::stop_all(&state, Some("again".to_owned())).is_empty());
    for data in decide::stop_all(&state, None) {
        fold(&mut state, Timestamp(2), data);
    }
    assert_eq!(sequences(&state, 0, 0, Timestamp(2)), [1]);
}

#[test]
fn a_host_at_work_or_broken_in_an_aborted_rollout_counts_in_the_next_one() {
    let mut state = fleet(3);
    start(&mut state, 0, &[0]);
    issue(&mut state, Timestamp(0), 0, 1, "apply", Some(0));
    fold(&mut state, Timestamp(1), Data::RolloutEnded { rollout: rollout(0), end: End::Aborted });
    start(&mut state, 1, &[0, 1, 2]);
    let next = |state: &State| state.rollouts[&rollout(1)].step(&state.around(&state.rollouts[&rollout(1)]), Timestamp(2));
    assert_eq!(state.around(&state.rollouts[&rollout(1)]).out[&host(0)].why, Why::Working);
    assert!(matches!(&next(&state)[..], [Action::Block(by, _)] if by == &vec![host(0)]));
    report(&mut state, 0, 1, Outcome::Failed { why: "x".to_owned() });
    assert_eq!(state.around(&state.rollouts[&rollout(1)]).out[&host(0)].why, Why::Unhealthy);
    assert_eq!(next(&state), [Action::Dispatch(host(0))], "it may itself be patched, and nobody else beside it");
    issue(&mut state, Timestamp(3), 0, 2, "apply", Some(1));
    assert!(state.rollouts[&rollout(0)].out().next().is_none(), "it counts once");
}

#[test]
fn a_host_that_left_after_a_rollout_ended_is_not_waited_for_when_that_is_put_back() {
    let mut state = fleet(2);
    start(&mut state, 0, &[0]);
    issue(&mut state, Timestamp(0), 0, 1, "apply", Some(0));
    report(&mut state, 0, 1, Outcome::Verified { txn: txn(0), remarks: Vec::new() });
    fold(&mut state, Timestamp(1), Data::RolloutEnded { rollout: rollout(0), end: End::Completed });
    assert!(state.active.is_empty());
    fold(&mut state, Timestamp(2), Data::HostRetired { host: host(0) });
    assert_eq!(decide::rollback(&state, rollout(0), String::new()).unwrap_err().code, "nothing-to-undo");
}
