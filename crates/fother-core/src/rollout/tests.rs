//! The engine as a specification: one host after the other, by hand.

use super::*;
use crate::{
    directive::Refused,
    policy::{Budget, GoBack, Per, Share, Strategy},
    window::Interval,
};
use std::sync::Arc;

fn host(n: u8) -> HostId {
    HostId::new(u64::from(n), [n; 10])
}

fn txn() -> TransactionId {
    TransactionId::new(1, [1; 10])
}

fn rollout(hosts: u8, budget: Share, zones: bool) -> Rollout {
    let all: Vec<HostId> = (0..hosts).map(host).collect();
    let setup = Setup {
        group: "web".to_owned(),
        select: "true".to_owned(),
        hosts: u32::from(hosts),
        waves: vec![all[..1].to_vec(), all[1..].to_vec()],
        zones: all.iter().enumerate().map(|(n, host)| (*host, if n.is_multiple_of(2) { "a" } else { "b" }.to_owned())).collect(),
        group_size: u32::from(hosts),
        budget: Budget { one_zone_at_a_time: zones, ..Budget::of(budget) },
        strategy: Strategy::of(1, vec![Share::Percent(100)], 1),
        window: Vec::new(),
        zone_sizes: BTreeMap::new(),
        outage: None,
        expires: Timestamp(u64::MAX),
    };
    Rollout::new(RolloutId::new(1, [0; 10]), ChangeId::new(1, [0; 10]), Digest([0; 32]), setup, Timestamp(0))
}

fn dispatched(rollout: &mut Rollout, now: Timestamp) -> Vec<HostId> {
    let actions = rollout.step(&Around::default(), now);
    let mut out = Vec::new();
    for action in actions {
        if let Action::Dispatch(host) = action {
            rollout.set(host, Phase::Dispatched { txn: txn(), at: now });
            out.push(host);
        }
    }
    out
}

#[test]
fn the_canary_goes_first_and_alone() {
    let mut rollout = rollout(5, Share::Count(3), false);
    assert_eq!(dispatched(&mut rollout, Timestamp(1)), [host(0)]);
    assert!(dispatched(&mut rollout, Timestamp(2)).is_empty());
    rollout.report(host(0), None, &Outcome::Verified { txn: txn(), remarks: Vec::new() }, true, Timestamp(3));
    assert!(matches!(rollout.step(&Around::default(), Timestamp(4))[..], [Action::PassWave(_)]));
    rollout.waves_passed = 1;
    assert_eq!(dispatched(&mut rollout, Timestamp(5)), [host(1), host(2), host(3)]);
}

#[test]
fn a_rollback_goes_backwards_within_the_budget_and_ends() {
    let mut rollout = rollout(4, Share::Count(2), false);
    for n in 0..4 {
        rollout.report(host(n), None, &Outcome::Verified { txn: txn(), remarks: Vec::new() }, true, Timestamp(1));
    }
    rollout.rolling_back = Some("uid:0 asked for it".to_owned());
    let all = Around::default();
    assert_eq!(rollout.step(&all, Timestamp(2)), [Action::Undo(host(3), txn()), Action::Undo(host(2), txn())]);
    for n in [3, 2] {
        rollout.set(host(n), Phase::Undoing { txn: txn(), at: Timestamp(2) });
    }
    assert!(rollout.step(&all, Timestamp(3)).is_empty());
    let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
    for n in [3, 2] {
        rollout.report(host(n), None, &back, true, Timestamp(4));
    }
    assert_eq!(rollout.step(&all, Timestamp(5)), [Action::Undo(host(1), txn()), Action::Undo(host(0), txn())]);
    rollout.report(host(1), None, &back, true, Timestamp(6));
    rollout.report(host(0), None, &back, true, Timestamp(6));
    assert_eq!(rollout.step(&all, Timestamp(7)), [Action::Finish(End::RolledBack)]);
}

#[test]
fn a_lost_host_blocks_the_way_back_by_name_once_all_others_are_back() {
    let mut rollout = rollout(3, Share::Count(2), false);
    for n in 0..3 {
        rollout.report(host(n), None, &Outcome::Verified { txn: txn(), remarks: Vec::new() }, true, Timestamp(1));
    }
    rollout.rolling_back = Some(String::new());
    let lost = lost(&[1]);
    let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
    for n in [2, 0] {
        assert_eq!(rollout.step(&lost, Timestamp(2)), [Action::Undo(host(n), txn())], "a lost host counts against the budget");
        rollout.report(host(n), None, &back, true, Timestamp(3));
    }
    assert!(matches!(&rollout.step(&lost, Timestamp(4))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
    assert_eq!(rollout.step(&Around::default(), Timestamp(5)), [Action::Undo(host(1), txn())]);
    rollout.retire(host(1));
    assert_eq!(rollout.step(&Around::default(), Timestamp(6)), [Action::Finish(End::RolledBack)]);
}

#[test]
fn an_undo_that_is_refused_leaves_a_failed_host_that_blocks_by_name() {
    let mut rollout = rollout(2, Share::Count(1), false);
    rollout.report(host(0), None, &Outcome::Verified { txn: txn(), remarks: Vec::new() }, true, Timestamp(1));
    rollout.set(host(1), Phase::Undoing { txn: txn(), at: Timestamp(1) });
    rollout.rolling_back = Some(String::new());
    rollout.report(host(1), None, &Outcome::Replan { why: "a later transaction".to_owned() }, true, Timestamp(2));
    assert!(matches!(&rollout.hosts()[&host(1)], Phase::Failed { why, .. } if why.contains("a later transaction")));
    assert!(matches!(&rollout.step(&Around::default(), Timestamp(3))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
}

#[test]
fn an_undo_that_was_asked_for_outlives_what_the_host_reports_of_its_work_before() {
    let mut rollout = rollout(2, Share::Count(1), false);
    let undoing = Phase::Undoing { txn: txn(), at: Timestamp(1) };
    rollout.set(host(0), undoing.clone());
    rollout.report(host(0), None, &Outcome::Verified { txn: txn(), remarks: Vec::new() }, true, Timestamp(2));
    assert_eq!(rollout.hosts()[&host(0)], undoing);
    let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
    rollout.report(host(0), None, &back, true, Timestamp(3));
    assert!(matches!(rollout.hosts()[&host(0)], Phase::RolledBack { exact: true, .. }));
}

#[test]
fn hosts_at_work_that_are_not_heard_of_block_at_once_when_nothing_else_can_go_on() {
    let mut rollout = rollout(3, Share::Count(2), false);
    rollout.waves_passed = 1;
    rollout.set(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
    for n in [1, 2] {
        rollout.set(host(n), Phase::Dispatched { txn: txn(), at: Timestamp(1) });
    }
    let lost = lost(&[1]);
    assert!(rollout.step(&lost, Timestamp(2)).is_empty(), "one host is still at work");
    rollout.report(host(2), None, &Outcome::Verified { txn: txn(), remarks: Vec::new() }, true, Timestamp(3));
    assert!(matches!(&rollout.step(&lost, Timestamp(4))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
    assert!(rollout.step(&Around::default(), Timestamp(5)).is_empty(), "it is back, and still at work");
}

#[test]
fn one_zone_at_a_time_holds() {
    let mut rollout = rollout(5, Share::Count(5), true);
    rollout.waves_passed = 1;
    assert_eq!(dispatched(&mut rollout, Timestamp(1)), [host(1), host(3)]);
}

#[test]
fn a_canary_that_was_rolled_back_halts_the_rollout() {
    let mut rollout = rollout(3, Share::Count(1), false);
    dispatched(&mut rollout, Timestamp(1));
    let outcome = Outcome::RolledBack { txn: txn(), why: "http 500".to_owned(), paths_compared: 9, differences: Vec::new() };
    rollout.report(host(0), None, &outcome, true, Timestamp(2));
    assert!(
        matches!(&rollout.step(&Around::default(), Timestamp(3))[..], [Action::Finish(End::Halted { why })] if why.contains("http 500"))
    );
}

#[test]
fn a_failed_host_keeps_counting_against_the_budget() {
    let mut rollout = rollout(4, Share::Count(1), false);
    rollout.waves_passed = 1;
    rollout.set(host(0), Phase::Failed { why: "x".to_owned(), txn: None });
    assert!(dispatched(&mut rollout, Timestamp(1)).is_empty());
    assert!(matches!(&rollout.step(&Around::default(), Timestamp(1))[..], [Action::Block(by, _)] if by == &vec![host(0)]));
}

#[test]
fn a_canary_that_only_answers_replan_shows_nothing() {
    let mut rollout = rollout(3, Share::Count(1), false);
    dispatched(&mut rollout, Timestamp(0));
    rollout.report(host(0), None, &Outcome::Replan { why: String::new() }, true, Timestamp(1));
    assert!(matches!(&rollout.step(&Around::default(), Timestamp(2))[..], [Action::Finish(End::Halted { .. })]));
}

#[test]
fn nothing_starts_outside_of_the_window_or_after_expiry_or_where_it_would_not_fit() {
    let mut rollout = rollout(2, Share::Count(1), false);
    let at = |s: u64| Timestamp(s * 1_000);
    Arc::make_mut(&mut rollout.setup).window = vec![Interval { start: at(10), end: at(30), last_start: at(20) }];
    assert!(rollout.step(&Around::default(), at(9)).is_empty());
    assert!(matches!(&rollout.step(&Around::default(), at(20))[..], [Action::Block(..)]));
    assert!(matches!(&rollout.step(&Around::default(), at(10))[..], [Action::Dispatch(_)]));
    rollout.slowest_ms = 5_000;
    assert!(matches!(&rollout.step(&Around::default(), at(19))[..], [Action::Dispatch(_)]), "11 s are expected, and 11 are left");
    rollout.slowest_ms = 6_000;
    assert!(matches!(&rollout.step(&Around::default(), at(19))[..], [Action::Block(..)]));
    Arc::make_mut(&mut rollout.setup).expires = at(10);
    assert!(matches!(&rollout.step(&Around::default(), at(10))[..], [Action::Block(..)]));
}

fn lost(hosts: &[u8]) -> Around {
    let out = |n: &u8| (host(*n), Out { zone: if n.is_multiple_of(2) { "a" } else { "b" }.to_owned(), why: Why::Lost });
    Around { out: hosts.iter().map(out).collect(), ..Around::default() }
}

#[test]
fn a_lost_host_is_not_asked_counts_against_the_budget_and_blocks_by_name_at_once() {
    let mut rollout = rollout(5, Share::Count(2), false);
    assert!(
        matches!(&rollout.step(&lost(&[0]), Timestamp(1))[..], [Action::Block(by, why)] if by == &vec![host(0)] && why.contains("not heard of"))
    );
    rollout.waves_passed = 1;
    assert_eq!(rollout.step(&lost(&[1]), Timestamp(1)), [Action::Dispatch(host(2))], "one place of two is taken");
    assert!(matches!(&rollout.step(&lost(&[1, 2]), Timestamp(1))[..], [Action::Block(by, _)] if by == &vec![host(1), host(2)]));
    for n in 2..5 {
        rollout.set(host(n), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
    }
    rollout.set(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
    assert!(matches!(&rollout.step(&lost(&[1]), Timestamp(2))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
    assert_eq!(rollout.step(&Around::default(), Timestamp(2)), [Action::Dispatch(host(1))], "it is back");
}

#[test]
fn a_lost_host_of_another_zone_holds_the_zone() {
    let mut rollout = rollout(5, Share::Count(5), true);
    rollout.waves_passed = 1;
    assert_eq!(rollout.step(&lost(&[2]), Timestamp(1)), [Action::Dispatch(host(4))]);
}

#[test]
fn a_retired_host_is_neither_asked_nor_waited_for_and_frees_its_place() {
    let mut rollout = rollout(3, Share::Count(1), false);
    let mut fresh = rollout.clone();
    rollout.waves_passed = 1;
    rollout.set(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
    rollout.set(host(1), Phase::Dispatched { txn: txn(), at: Timestamp(1) });
    assert!(rollout.step(&Around::default(), Timestamp(2)).is_empty());
    rollout.retire(host(1));
    assert_eq!(rollout.step(&Around::default(), Timestamp(2)), [Action::Dispatch(host(2))]);
    rollout.set(host(2), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
    assert!(matches!(rollout.step(&Around::default(), Timestamp(3))[..], [Action::PassWave(_)]));
    fresh.retire(host(0));
    assert!(
        matches!(&fresh.step(&Around::default(), Timestamp(3))[..], [Action::Finish(End::Halted { .. })]),
        "a canary that left shows nothing"
    );
}

#[test]
fn a_silent_host_blocks_by_name() {
    let mut rollout = rollout(2, Share::Count(1), false);
    dispatched(&mut rollout, Timestamp(0));
    let late = Timestamp(0) + REPORT_WAIT + Duration::from_secs(1);
    assert!(matches!(&rollout.step(&Around::default(), late)[..], [Action::Block(by, _)] if by == &vec![host(0)]));
}

fn verified(n: u8, rollout: &mut Rollout) {
    rollout.set(host(n), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
}

#[test]
fn a_soak_that_is_longer_than_the_wait_for_a_report_does_not_block() {
    let mut rollout = rollout(2, Share::Count(1), false);
    Arc::make_mut(&mut rollout.setup).strategy.soak_s = 7_200;
    rollout.set(host(0), Phase::Applied { txn: txn(), at: Timestamp(0) });
    let soaked = Timestamp(0) + Duration::from_secs(7_200);
    assert!(rollout.step(&Around::default(), soaked + REPORT_WAIT).is_empty());
    assert!(matches!(&rollout.step(&Around::default(), soaked + REPORT_WAIT + Duration::from_secs(1))[..], [Action::Block(..)]));
}

#[test]
fn what_a_copy_or_an_older_directive_is_refused_for_changes_nothing() {
    let mut rollout = rollout(2, Share::Count(1), false);
    let working = Phase::Dispatched { txn: txn(), at: Timestamp(0) };
    rollout.set(host(0), working.clone());
    let replayed = Outcome::Refused { why: Refused::Replayed { sequence: 4, seen: 5 } };
    rollout.report(host(0), Some(txn()), &replayed, true, Timestamp(1));
    rollout.report(host(0), Some(txn()), &Outcome::Refused { why: Refused::Expired { expires: Timestamp(0) } }, false, Timestamp(1));
    assert_eq!(rollout.hosts()[&host(0)], working);
}

#[test]
fn a_host_that_was_asked_too_late_waits_again_and_is_no_failure_until_it_is_too_often() {
    let mut rollout = rollout(2, Share::Count(1), false);
    let late = Outcome::Refused { why: Refused::NotNow { why: "outside of the approved window".to_owned() } };
    for _ in 0..LATE_MAX {
        rollout.set(host(0), Phase::Dispatched { txn: txn(), at: Timestamp(0) });
        rollout.report(host(0), Some(txn()), &late, true, Timestamp(1));
        assert_eq!(rollout.hosts()[&host(0)], Phase::Waiting);
    }
    rollout.set(host(0), Phase::Dispatched { txn: txn(), at: Timestamp(0) });
    rollout.report(host(0), Some(txn()), &late, true, Timestamp(1));
    assert!(matches!(rollout.hosts()[&host(0)], Phase::Refused { .. }));
}

#[test]
fn an_approval_that_expires_before_the_window_opens_again_blocks_at_once() {
    let mut rollout = rollout(2, Share::Count(1), false);
    let at = |s: u64| Timestamp(s * 1_000);
    Arc::make_mut(&mut rollout.setup).window = vec![Interval { start: at(100), end: at(200), last_start: at(200) }];
    Arc::make_mut(&mut rollout.setup).expires = at(90);
    assert!(matches!(&rollout.step(&Around::default(), at(1))[..], [Action::Block(_, why)] if why.contains("expires")));
}

#[test]
fn a_failed_gate_with_only_lost_hosts_at_work_blocks_at_once() {
    let mut rollout = rollout(3, Share::Count(2), false);
    Arc::make_mut(&mut rollout.setup).waves = vec![vec![host(0), host(1)], vec![host(2)]];
    let mut rollout = Rollout::new(rollout.id, rollout.change, rollout.plan, (*rollout.setup).clone(), Timestamp(0));
    rollout.set(host(0), Phase::Refused { why: "x".to_owned() });
    rollout.set(host(1), Phase::Dispatched { txn: txn(), at: Timestamp(0) });
    assert!(rollout.step(&Around::default(), Timestamp(1)).is_empty());
    assert!(matches!(&rollout.step(&lost(&[1]), Timestamp(1))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
}

#[test]
fn a_last_window_that_passed_while_lost_hosts_are_at_work_blocks_at_once() {
    let mut rollout = rollout(3, Share::Count(1), false);
    let at = |s: u64| Timestamp(s * 1_000);
    Arc::make_mut(&mut rollout.setup).window = vec![Interval { start: at(0), end: at(100), last_start: at(50) }];
    rollout.waves_passed = 1;
    verified(0, &mut rollout);
    rollout.set(host(1), Phase::Dispatched { txn: txn(), at: at(40) });
    assert!(rollout.step(&Around::default(), at(60)).is_empty());
    assert!(matches!(&rollout.step(&lost(&[1]), at(60))[..], [Action::Block(by, _)] if by.contains(&host(2))));
}

#[test]
fn a_way_back_that_the_budget_has_no_room_for_names_its_hosts() {
    let mut rollout = rollout(2, Share::Count(1), false);
    Arc::make_mut(&mut rollout.setup).budget.min_healthy = Some(Share::Count(2));
    verified(0, &mut rollout);
    rollout.go_back("asked", None);
    assert!(matches!(&rollout.step(&Around::default(), Timestamp(2))[..], [Action::Block(by, _)] if by == &vec![host(0)]));
}

#[test]
fn an_undo_that_its_host_never_accepted_leaves_the_host_as_it_was() {
    let mut rollout = rollout(2, Share::Count(1), false);
    rollout.set(host(0), Phase::Undoing { txn: txn(), at: Timestamp(3) });
    rollout.withdraw(host(0), txn());
    assert_eq!(rollout.hosts()[&host(0)].carried(), Some(txn()));
    assert_eq!(rollout.out().count(), 0);
}

#[test]
fn an_undo_that_expired_before_it_began_is_asked_for_again() {
    let mut rollout = rollout(2, Share::Count(1), false);
    rollout.set(host(0), Phase::Undoing { txn: txn(), at: Timestamp(1) });
    rollout.go_back("asked", None);
    rollout.report(host(0), Some(txn()), &Outcome::Refused { why: Refused::Expired { expires: Timestamp(2) } }, true, Timestamp(3));
    assert_eq!(rollout.step(&Around::default(), Timestamp(3)), [Action::Undo(host(0), txn())]);
}

#[test]
fn an_undo_that_failed_is_not_tried_for_ever_but_a_person_may_ask_again() {
    let mut rollout = rollout(2, Share::Count(1), false);
    rollout.set(host(0), Phase::Undoing { txn: txn(), at: Timestamp(1) });
    rollout.go_back("asked", None);
    rollout.report(host(0), Some(txn()), &Outcome::Failed { why: "killed".to_owned() }, true, Timestamp(3));
    assert_eq!(rollout.step(&Around::default(), Timestamp(3)), [Action::Finish(End::RolledBack)], "it is named as failed");
    rollout.end(&End::RolledBack, Timestamp(3));
    rollout.go_back("asked again", None);
    assert_eq!(rollout.step(&Around::default(), Timestamp(3)), [Action::Undo(host(0), txn())]);
}

#[test]
fn a_retry_is_no_failure_until_it_is_the_last_and_a_canary_has_none() {
    let mut rollout = rollout(3, Share::Count(1), false);
    Arc::make_mut(&mut rollout.setup).strategy.retries = 1;
    let back = Outcome::RolledBack { txn: txn(), why: "x".to_owned(), paths_compared: 1, differences: Vec::new() };
    rollout.issued(host(0), "apply", txn(), Timestamp(1));
    let mut canary = rollout.clone();
    canary.report(host(0), Some(txn()), &back, true, Timestamp(2));
    assert!(matches!(&canary.step(&Around::default(), Timestamp(3))[..], [Action::Finish(End::Halted { .. })]));
    verified(0, &mut rollout);
    rollout.waves_passed = 1;
    rollout.issued(host(1), "apply", txn(), Timestamp(2));
    rollout.report(host(1), Some(txn()), &back, true, Timestamp(3));
    assert_eq!(rollout.step(&Around::default(), Timestamp(3)), [Action::Dispatch(host(1))], "tried again");
    rollout.issued(host(1), "apply", txn(), Timestamp(4));
    rollout.report(host(1), Some(txn()), &back, true, Timestamp(5));
    assert!(matches!(rollout.hosts()[&host(1)], Phase::RolledBack { .. }));
}

#[test]
fn the_last_healthy_host_is_not_taken_unless_people_accepted_that_by_name() {
    let mut rollout = rollout(2, Share::Count(2), false);
    rollout.waves_passed = 1;
    verified(0, &mut rollout);
    Arc::make_mut(&mut rollout.setup).outage = Some(false);
    let broken = Around { out: BTreeMap::from([(host(0), Out { zone: "a".to_owned(), why: Why::Unhealthy })]), ..Around::default() };
    assert!(matches!(&rollout.step(&broken, Timestamp(2))[..], [Action::Block(by, _)] if by == &vec![host(0)]));
    Arc::make_mut(&mut rollout.setup).outage = Some(true);
    assert_eq!(rollout.step(&broken, Timestamp(2)), [Action::Dispatch(host(1))]);
}

#[test]
fn a_host_that_another_rollout_broke_is_patched_without_more_budget() {
    let mut rollout = rollout(3, Share::Count(1), false);
    rollout.waves_passed = 1;
    verified(0, &mut rollout);
    let broken = Around { out: BTreeMap::from([(host(2), Out { zone: "a".to_owned(), why: Why::Unhealthy })]), ..Around::default() };
    assert_eq!(rollout.step(&broken, Timestamp(2)), [Action::Dispatch(host(2))], "the place is taken by the one that is mended");
}

#[test]
fn zones_have_budgets_of_their_own_where_the_policy_says_so() {
    let mut rollout = rollout(6, Share::Count(1), false);
    Arc::make_mut(&mut rollout.setup).budget.per = Per::Zone;
    Arc::make_mut(&mut rollout.setup).zone_sizes = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 3)]);
    let mut rollout = Rollout::new(rollout.id, rollout.change, rollout.plan, (*rollout.setup).clone(), Timestamp(0));
    verified(0, &mut rollout);
    rollout.waves_passed = 1;
    assert_eq!(dispatched(&mut rollout, Timestamp(1)), [host(1), host(2)]);
}

#[test]
fn a_failed_gate_puts_back_what_the_policy_says_and_ends_halted() {
    let mut rollout = rollout(4, Share::Count(2), false);
    Arc::make_mut(&mut rollout.setup).strategy.on_failure = GoBack::Rollout;
    verified(0, &mut rollout);
    verified(1, &mut rollout);
    rollout.waves_passed = 1;
    for n in [2, 3] {
        rollout.set(host(n), Phase::Dispatched { txn: txn(), at: Timestamp(1) });
        rollout.report(host(n), Some(txn()), &Outcome::Refused { why: Refused::Host { why: "x".to_owned() } }, true, Timestamp(2));
    }
    let [Action::GoBack(gate)] = &rollout.step(&Around::default(), Timestamp(3))[..] else { panic!("it goes back") };
    rollout.go_back(&gate.why, Some(gate.clone()));
    assert_eq!(rollout.step(&Around::default(), Timestamp(3)), [Action::Undo(host(1), txn()), Action::Undo(host(0), txn())]);
    let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
    for n in [0, 1] {
        rollout.report(host(n), Some(txn()), &back, true, Timestamp(4));
    }
    assert!(matches!(&rollout.step(&Around::default(), Timestamp(5))[..], [Action::Finish(End::Halted { .. })]));
}
