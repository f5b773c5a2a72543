//! A server restored from a backup: a new epoch, whose orders hosts obey and whose predecessor's they refuse; nothing is lost that anybody
//! still has.

use super::fleet::{Host, canned, directives, enrolled, open, policy, started, trust};
use crate::{Identity, agents::take_check_in, engine::Engine, reconcile::round};
use fother_core::{
    event::{Data, Event},
    protocol::Outcome,
    rollout::End,
};
use fother_store::{Standing, Store, transfer};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// A copy of a running server's store with its keys.
fn backup(engine: &Engine, to: &Path) {
    let copy = Store::open_standing(to, &fother_store::Place::default()).unwrap();
    let key = engine.identity.log_verifier().unwrap();
    let reading = Store::open_read_only(engine.store.dir()).unwrap();
    assert!(transfer(&reading, &copy, &key, &mut |_| {}).unwrap().report.unwrap().ok());
    Identity::copy(engine.store.dir(), to).unwrap();
    copy.mark(&Standing::Backup { at: engine.clock.now() }).unwrap();
}

/// The server that is restored from it.
fn restore(from: &Path, to: &Path) -> Arc<Engine> {
    let (copy, backup) =
        (Store::open_standing(&to.join("data"), &fother_store::Place::default()).unwrap(), Store::open_read_only(from).unwrap());
    Identity::copy(from, &to.join("data")).unwrap();
    let key = Identity::open_existing(from).unwrap().log_verifier().unwrap();
    transfer(&backup, &copy, &key, &mut |_| {}).unwrap();
    crate::restored(&copy).unwrap();
    drop(copy);
    Engine::open(&to.join("data"), policy(), trust(), canned(to)).unwrap().0
}

fn events(engine: &Engine) -> Vec<Event> {
    engine.store.read(0, 100_000).unwrap().iter().map(|(seq, bytes)| Event::parse(*seq, bytes).unwrap()).collect()
}

/// Turns until the rollout has ended.
fn finish(engine: &Engine, hosts: &mut [Host]) -> End {
    for _ in 0..60 {
        round(engine).unwrap();
        hosts.iter_mut().for_each(|host| drop(host.turn(engine)));
        let state = engine.state();
        if let Some(end) = state.rollouts.values().next_back().and_then(|rollout| rollout.ended.clone()) {
            return end;
        }
    }
    panic!("the rollout did not end: {:?}", engine.state().rollouts);
}

#[test]
fn a_restored_server_goes_on_as_a_new_epoch_and_each_host_is_asked_once() {
    let dir = tempfile::tempdir().unwrap();
    let (old, _woken) = open(dir.path());
    let mut hosts = enrolled(&old, 6);
    let rollout = started(&old, &mut hosts);
    backup(&old, &dir.path().join("backup"));
    // After the backup: two hosts are asked and finish, a third one is asked and has not heard of it.
    round(&old).unwrap();
    for host in &mut hosts[..2] {
        host.turn(&old);
        host.turn(&old);
        round(&old).unwrap();
    }
    let done_before: usize = hosts.iter().map(|host| host.done.len()).sum();
    assert!(done_before >= 1, "somebody worked for the server that is lost");
    let lost_log = old.state().size;
    let new = restore(&dir.path().join("backup"), &dir.path().join("new"));
    let state = new.state();
    let epoch = state.epoch.as_ref().expect("a new epoch").epoch.clone();
    assert_eq!((epoch.number, epoch.size, epoch.root), (1, new.store.size().unwrap() - 2, new.store.root(epoch.size).unwrap()));
    assert!(state.stopped.is_some() && state.size < lost_log);
    // Every host comes over, whatever it has seen and reported.
    for host in &mut hosts {
        let answer = host.turn(&new);
        assert!(answer.epoch.is_some() && answer.stopped);
        assert!(host.turn(&new).epoch.is_none(), "told once");
        assert_eq!(host.epoch, 1);
    }
    round(&new).unwrap();
    assert!(hosts.iter_mut().all(|host| directives(&host.turn(&new).directives).iter().all(|directive| directive.order.name() != "apply")));
    new.stop_all("uid:0", None).unwrap();
    assert_eq!(finish(&new, &mut hosts), End::Completed);
    assert!(new.state().rollouts[&rollout].hosts().len() == 6);
    for host in &hosts {
        assert!(host.done.values().all(|times| *times == 1), "no transaction twice");
    }
    assert!(events(&new).iter().any(|event| matches!(event.data, Data::ReportsMissing { .. })), "what nobody has any more is said");
    // The old server still runs: hosts believe nothing of it.
    let error = take_check_in(&old, hosts[0].id, &hosts[0].check_in()).unwrap_err();
    assert!(error.to_string().contains("epoch 1"), "{error}");
    // A restart begins no further epoch.
    drop(new);
    let (again, _woken) = open(&dir.path().join("new"));
    assert_eq!(again.state().epoch.as_ref().unwrap().epoch.number, 1);
    let key = again.identity.log_verifier().unwrap();
    assert!(again.store.verify(&again.checkpoint(), &key).unwrap().ok());
}

#[test]
fn an_order_of_the_old_epoch_that_was_not_accepted_is_dead_and_its_host_is_asked_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (old, _woken) = open(dir.path());
    let mut hosts = enrolled(&old, 2);
    started(&old, &mut hosts);
    round(&old).unwrap();
    let asked = old.state().directives.values().find(|issued| issued.order == "apply").unwrap().clone();
    // The backup holds the order; its host never got it.
    backup(&old, &dir.path().join("backup"));
    let new = restore(&dir.path().join("backup"), &dir.path().join("new"));
    for host in &mut hosts {
        host.turn(&new);
        assert!(host.done.is_empty(), "the old order was not sent again");
        assert!(host.seen > asked.sequence);
    }
    new.stop_all("uid:0", None).unwrap();
    assert_eq!(finish(&new, &mut hosts), End::Completed);
    assert!(hosts.iter().all(|host| host.done.values().eq([&1])));
}

#[test]
fn reports_that_their_host_still_has_are_sent_again_and_nothing_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (old, _woken) = open(dir.path());
    let mut hosts = enrolled(&old, 1);
    backup(&old, &dir.path().join("backup"));
    let host = &mut hosts[0];
    host.keeps = true;
    for why in ["one", "two"] {
        host.report(None, Outcome::Failed { why: why.to_owned() });
        host.turn(&old);
    }
    host.report(None, Outcome::Failed { why: "three".to_owned() });
    let new = restore(&dir.path().join("backup"), &dir.path().join("new"));
    host.turn(&new);
    host.turn(&new);
    let told: BTreeMap<u64, String> = events(&new)
        .into_iter()
        .filter_map(|event| match event.data {
            Data::HostReported { report, .. } => match report.outcome {
                Outcome::Failed { why } => Some((report.number, why)),
                _ => None,
            },
            Data::ReportsMissing { .. } => panic!("nothing is missing"),
            _ => None,
        })
        .collect();
    assert_eq!(told.into_values().collect::<Vec<_>>(), ["one", "two", "three"]);
}
