//! Decisions, idempotence, restarts and rollouts, straight at the engine.

use super::fleet::{approved, canned, changes, directives, enrolled, enrolment, inventory, labels, open, policy, started, trust};
use crate::{
    DIRECTIVE_LIFE, Error,
    agents::{admit, take_check_in},
    engine::Engine,
    reconcile,
};
use fother_core::{
    Digest, canonical,
    event::Data,
    id::TokenId,
    protocol::Outcome,
    protocol::Token,
    resolution::Resolution,
    rollout::{End, Phase},
};
use std::collections::{BTreeMap, BTreeSet};

fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => refusal.code,
        Error::Input(_) => "input",
        Error::Clock(_) => "clock",
        other => panic!("{other}"),
    }
}

#[test]
fn a_token_admits_one_host_and_wrong_used_and_expired_ones_none() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let token = engine.create_token("uid:0", labels()).unwrap();
    let (enrol, _) = enrolment(&token, "web\x1b[2J");
    let host = admit(&engine, &enrol).unwrap().host;
    assert_eq!(engine.state().hosts[&host].labels, labels());
    assert_eq!(engine.state().hosts[&host].hostname, "web\\u{1b}[2J");
    assert_eq!(code(&admit(&engine, &enrol).unwrap_err()), "bad-token");
    let (mut wrong, _) = enrolment(&engine.create_token("uid:0", labels()).unwrap(), "x");
    wrong.secret = "0".repeat(32);
    assert_eq!(code(&admit(&engine, &wrong).unwrap_err()), "bad-token");
    let old = Token { secret: "a".repeat(32), ca: engine.identity.ca_fingerprint() };
    let expired = Data::TokenCreated { token: TokenId::new(1, [0; 10]), hash: old.hash(), expires: engine.clock.now(), labels: labels() };
    engine.commit("uid:0", |_, _| Ok(vec![expired])).unwrap();
    let (enrol, _) = enrolment(&old.text(), "x");
    assert_eq!(code(&admit(&engine, &enrol).unwrap_err()), "bad-token");
    let (mut forged, _) = enrolment(&engine.create_token("uid:0", labels()).unwrap(), "x");
    forged.csr = forged.csr.replace("MII", "MIJ").replace("MIH", "MII");
    assert_eq!(code(&admit(&engine, &forged).unwrap_err()), "input");
    assert_eq!(engine.state().hosts.len(), 1);
}

#[test]
fn the_same_reports_twice_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    let host = &mut hosts[0];
    host.report(None, Outcome::Failed { why: "x".to_owned() });
    let report = host.check_in();
    let first = take_check_in(&engine, host.id, &report).unwrap();
    let size = engine.state().size;
    let second = take_check_in(&engine, host.id, &report).unwrap();
    assert_eq!((first.acknowledged, second.acknowledged, engine.state().size), (1, 1, size));
    host.pending[0].number = 7;
    assert_eq!(code(&take_check_in(&engine, host.id, &host.check_in()).unwrap_err()), "gap");
    host.pending[0].number = 2;
    host.pending[0].outcome = Outcome::Resolved { resolution: Digest([7; 32]), base: Digest([7; 32]) };
    assert_eq!(code(&take_check_in(&engine, host.id, &host.check_in()).unwrap_err()), "blob-missing");
    assert_eq!(engine.state().size, size);
}

#[test]
fn a_directive_is_sent_again_until_it_is_seen_and_not_after() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    engine.update_archives("uid:0").unwrap();
    engine.resolve("uid:0", "web", BTreeSet::new()).unwrap();
    let host = &mut hosts[0];
    let first = take_check_in(&engine, host.id, &host.check_in()).unwrap();
    let second = take_check_in(&engine, host.id, &host.check_in()).unwrap();
    assert_eq!((first.directives.len(), &first.directives, first.next_check_in_s), (1, &second.directives, 1));
    host.seen = 1;
    assert!(take_check_in(&engine, host.id, &host.check_in()).unwrap().directives.is_empty());
}

#[test]
fn a_rollout_runs_to_its_end_and_each_host_is_asked_once() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 5);
    let rollout = started(&engine, &mut hosts);
    for _ in 0..40 {
        reconcile::round(&engine).unwrap();
        hosts.iter_mut().for_each(|host| drop(host.turn(&engine)));
    }
    let state = engine.state();
    assert_eq!(state.rollouts[&rollout].ended, Some(End::Completed));
    assert!(state.rollouts[&rollout].hosts.values().all(|phase| matches!(phase, Phase::Verified { .. })));
    assert!(hosts.iter().all(|host| host.done.values().eq([&1])));
    assert_eq!(state.directives.values().filter(|issued| issued.order == "apply").count(), 5);
    assert_eq!(engine.rollback("uid:0", rollout).unwrap().len(), 5);
    hosts.iter_mut().for_each(|host| drop((host.turn(&engine), host.turn(&engine))));
    let state = engine.state();
    assert!(state.rollouts[&rollout].hosts.values().all(|phase| matches!(phase, Phase::RolledBack { exact: true, .. })));
}

#[test]
fn what_expired_before_the_host_accepted_it_is_issued_anew_for_the_same_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    let rollout = started(&engine, &mut hosts);
    reconcile::round(&engine).unwrap();
    let host = &mut hosts[0];
    let first = directives(&take_check_in(&engine, host.id, &host.check_in()).unwrap().directives);
    let later = i64::try_from(DIRECTIVE_LIFE.as_millis()).unwrap() + 1;
    engine.clock.shift(later);
    assert!(take_check_in(&engine, host.id, &host.check_in()).unwrap().directives.is_empty(), "a clock that jumped halts all dispatch");
    engine.clock.pass(later);
    let second = directives(&take_check_in(&engine, host.id, &host.check_in()).unwrap().directives);
    assert_eq!((second.len(), &second[0].order, second[0].sequence), (1, &first[0].order, first[0].sequence + 1));
    let again = engine.state();
    let Phase::Dispatched { txn, .. } = again.rollouts[&rollout].hosts[&host.id] else { panic!() };
    let applies: Vec<_> = again.directives.values().filter(|issued| issued.order == "apply").collect();
    assert!(applies.len() == 2 && applies.iter().all(|issued| issued.txn == Some(txn)));
    assert!(applies[0].sequence != applies[1].sequence);
}

#[test]
fn a_restart_folds_to_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 3);
    started(&engine, &mut hosts);
    reconcile::round(&engine).unwrap();
    let (before, key) = ((*engine.state()).clone(), engine.identity.log_verifier().unwrap());
    drop((engine, woken));
    let (engine, _woken) = open(dir.path());
    let after = (*engine.state()).clone();
    assert_eq!(after.size, before.size + 1, "the start itself");
    assert_eq!(fother_core::state::State { size: before.size, head: before.head, ..after }, before);
    let report = fother_store::verify(&dir.path().join("data"), &engine.checkpoint(), &key).unwrap();
    assert!(report.ok(), "{report:?}");
}

#[test]
fn a_plan_needs_an_author_and_somebody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 2);
    let change = approved(&engine, &mut hosts);
    let statement = engine.bytes(engine.state().changes[&change].statement).unwrap();
    let own = super::fleet::signed(super::fleet::ANNA, fother_core::approval::NAMESPACE, &statement);
    assert_eq!(code(&engine.approve("uid:0", change, &own).unwrap_err()), "four-eyes");
    let foreign = super::fleet::signed(9, fother_core::approval::NAMESPACE, &statement);
    assert_eq!(code(&engine.approve("uid:0", change, &foreign).unwrap_err()), "bad-signature");
    engine.reject("uid:0", change, "no").unwrap();
    assert_eq!(code(&engine.start_rollout("uid:0", change).unwrap_err()), "not-approved");
}

#[test]
fn an_offer_from_elsewhere_and_a_stale_exclusion_make_no_plan() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    engine.update_archives("uid:0").unwrap();
    let mut evil = changes();
    evil[0].offer.as_mut().unwrap().uri = "http://evil.invalid".to_owned();
    let base = inventory("web0").base().unwrap();
    let resolution = Resolution { base, indexes: base, changes: evil, kept_back: Vec::new() };
    engine.store.put_blob("resolution", &canonical::to_vec(&resolution).unwrap()).unwrap();
    hosts[0].report(None, Outcome::Resolved { resolution: resolution.digest().unwrap(), base });
    hosts[0].turn(&engine);
    assert_eq!(code(&engine.make_plan("uid:0", "web", &BTreeMap::new()).unwrap_err()), "package-refused");
    let exclude = BTreeMap::from([("nginx".to_owned(), "breaks".to_owned())]);
    assert_eq!(code(&engine.make_plan("uid:0", "web", &exclude).unwrap_err()), "resolve-again");
}

#[test]
fn a_clock_that_jumped_sends_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    enrolled(&engine, 1);
    engine.update_archives("uid:0").unwrap();
    engine.clock.shift(-400_000);
    assert_eq!(code(&engine.resolve("uid:0", "web", BTreeSet::new()).unwrap_err()), "clock");
    engine.clock.shift(0);
    engine.resolve("uid:0", "web", BTreeSet::new()).unwrap();
}

#[test]
fn a_silent_host_is_lost_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    reconcile::round(&engine).unwrap();
    assert!(!engine.state().hosts[&hosts[0].id].lost);
    engine.clock.shift(61_000);
    reconcile::round(&engine).unwrap();
    assert!(engine.state().hosts[&hosts[0].id].lost);
    hosts[0].turn(&engine);
    assert!(!engine.state().hosts[&hosts[0].id].lost);
}

#[test]
fn a_host_that_goes_silent_at_work_blocks_its_rollout_by_name_until_it_is_heard_of_or_retired() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 2);
    let rollout = started(&engine, &mut hosts);
    reconcile::round(&engine).unwrap();
    let at_work = |engine: &Engine| {
        let state = engine.state();
        let phases = state.rollouts[&rollout].hosts.iter();
        phases.filter(|(_, phase)| matches!(phase, Phase::Dispatched { .. })).map(|(host, _)| *host).next().unwrap()
    };
    let canary = at_work(&engine);
    let blocked = |engine: &Engine| engine.state().rollouts[&rollout].blocked.iter().copied().collect::<Vec<_>>();
    let silent_ms = i64::try_from(crate::LOST_AFTER.as_millis()).unwrap() + 1_000;
    engine.clock.pass(silent_ms);
    hosts.iter_mut().filter(|host| host.id != canary).for_each(|host| drop(host.turn(&engine)));
    reconcile::round(&engine).unwrap();
    assert_eq!(blocked(&engine), [canary]);
    let silent = hosts.iter_mut().find(|host| host.id == canary).unwrap();
    take_check_in(&engine, silent.id, &silent.check_in()).unwrap();
    assert_eq!(blocked(&engine), []);
    engine.clock.pass(2 * silent_ms);
    hosts.iter_mut().filter(|host| host.id != canary).for_each(|host| drop(host.turn(&engine)));
    reconcile::round(&engine).unwrap();
    assert_eq!(blocked(&engine), [canary]);
    engine.retire("uid:0", canary).unwrap();
    reconcile::round(&engine).unwrap();
    assert!(matches!(engine.state().rollouts[&rollout].ended, Some(End::Halted { .. })), "nothing was shown on a canary");
}

#[test]
fn a_log_that_lost_its_end_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, woken) = open(dir.path());
    let note = {
        let key = engine.identity.log();
        let ahead = fother_core::checkpoint::Checkpoint { origin: crate::LOG_ORIGIN.to_owned(), size: 99, root: Digest([0; 32]) };
        ahead.sign(key).unwrap().to_string()
    };
    engine.store.put_checkpoint(99, &note).unwrap();
    drop((engine, woken));
    let again = Engine::open(&dir.path().join("data"), policy(), trust(), canned(dir.path()));
    assert!(matches!(again.err(), Some(Error::Damaged(_))));
}
