//! A schedule's whole way over scripted hosts: killed after every step, covered by a standing approval or waiting for people, put off, revoked.

use super::fleet::{ANNA, BERT, canned, changes, enrolled, labels, open, policy_with, public, signed, trust};
use crate::{
    Error,
    agents::take_check_in,
    engine::Engine,
    reconcile,
    schedules::{Defer, Memory},
    standings::{Draft, Signed},
};
use fother_core::{
    Digest, Timestamp,
    decide::{self, Wish},
    event::{Data, Event},
    package::UpdateClass,
    policy::Policy,
    resolution::PackageChange,
    rollout::{End as Ended, Phase},
    schedule::{DEFER_NAMESPACE, Deferral, End, Stage},
    standing::{AUTHOR_NAMESPACE, NAMESPACE, Status},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

fn policy(schedule: &str) -> Policy {
    let weekly = "[schedule.weekly]\ngroup = \"web\"\nat = \"FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3\"\ntimezone = \"UTC\"\n";
    policy_with("approvals = 1", &format!("{weekly}{schedule}"))
}

/// What the security archive offers.
fn security() -> Vec<PackageChange> {
    let mut changes = changes();
    changes[0].offer.as_mut().unwrap().label = "Debian-Security".to_owned();
    changes
}

/// A server that lives for one step at a time.
struct Bench {
    dir: tempfile::TempDir,
    policy: Policy,
    hosts: Vec<super::fleet::Host>,
}

impl Bench {
    fn new(schedule: &str, hosts: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = policy(schedule);
        let (engine, _woken) = Engine::open(&dir.path().join("data"), policy.clone(), trust(), canned(dir.path())).unwrap();
        let mut hosts = enrolled(&engine, hosts);
        hosts.iter_mut().for_each(|host| host.offered = security());
        Self { dir, policy, hosts }
    }

    fn open(&self) -> Arc<Engine> {
        Engine::open(&self.dir.path().join("data"), self.policy.clone(), trust(), canned(self.dir.path())).unwrap().0
    }

    fn hooks(&self) -> PathBuf {
        self.dir.path().join("hooks.d")
    }

    /// One life: a step of the schedule, a round of the rollouts, a check-in of each host.
    fn life(&mut self) -> bool {
        let engine = self.open();
        let took = engine.take_step("weekly", &self.hooks(), &mut Memory::default()).unwrap();
        reconcile::round(&engine).unwrap();
        self.hosts.iter_mut().for_each(|host| drop(host.turn(&engine)));
        took
    }

    /// Lives until nothing is left to do.
    fn lives(&mut self) {
        let mut idle = 0;
        for _ in 0..100 {
            idle = if self.life() { 0 } else { idle + 1 };
            if idle > 15 {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.stage());
    }

    fn begin(&mut self) {
        self.life();
        self.open().run_schedule("uid:0", "weekly").unwrap();
    }

    fn stage(&self) -> Stage {
        self.open().state().schedules["weekly"].run.as_ref().unwrap().stage.clone()
    }

    fn waits(&self) -> String {
        match self.stage() {
            Stage::Waits { why } => why,
            other => panic!("{other:?}"),
        }
    }

    /// Anna writes a standing approval, Bert approves it.
    fn stand(&self, wish: impl FnOnce(&mut Wish)) -> Digest {
        let engine = self.open();
        let mut wanted = Wish {
            name: "web-security".to_owned(),
            group: "web".to_owned(),
            classes: BTreeSet::from([UpdateClass::Security]),
            origins: BTreeSet::new(),
            packages: 5,
            reboot: false,
            acknowledge: BTreeSet::new(),
            days: 30,
        };
        wish(&mut wanted);
        let ask: Draft = serde_json::from_value(json!({"wish": wanted, "key": public(ANNA)})).unwrap();
        let standing = engine.draft_standing(ask).unwrap();
        let signature = signed(ANNA, AUTHOR_NAMESPACE, standing.as_bytes());
        let ask: Signed = serde_json::from_value(json!({"standing": standing, "signature": signature})).unwrap();
        let digest = engine.submit_standing("uid:0", &ask).unwrap();
        assert_eq!(engine.standings()[&digest].0, Status::Open);
        let own = engine.approve_standing("uid:0", digest, &signed(ANNA, NAMESPACE, standing.as_bytes())).unwrap_err();
        assert_eq!(code(&own), "four-eyes");
        engine.approve_standing("uid:0", digest, &signed(BERT, NAMESPACE, standing.as_bytes())).unwrap();
        assert_eq!(engine.standings()[&digest].0, Status::InForce);
        digest
    }

    /// How often the log holds each of these.
    fn count(&self, pick: impl Fn(&Data) -> bool) -> usize {
        let engine = self.open();
        let events = engine.store.read(0, 10_000).unwrap();
        events.iter().filter(|(seq, bytes)| pick(&Event::parse(*seq, bytes).unwrap().data)).count()
    }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => refusal.code,
        other => panic!("{other}"),
    }
}

#[test]
fn it_goes_its_whole_way_through_a_kill_after_every_step_and_does_nothing_twice() {
    let mut bench = Bench::new("owners = [\"anna\"]", 3);
    bench.stand(|_| ());
    std::fs::create_dir(bench.hooks()).unwrap();
    std::fs::set_permissions(bench.hooks(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (hook, told) = (bench.hooks().join("notice"), bench.dir.path().join("told"));
    std::fs::write(&hook, format!("#!/bin/sh\ncat >> {}\n", told.display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.begin();
    // Killed after hosts were asked and before that was said: they are asked again.
    let engine = bench.open();
    engine.update_archives("schedule:weekly").unwrap();
    engine.resolve("schedule:weekly", "web", BTreeSet::new()).unwrap();
    drop(engine);
    bench.lives();
    let state = bench.open().state();
    let rollout = state.rollouts.values().next().unwrap();
    assert_eq!((state.rollouts.len(), rollout.ended.clone()), (1, Some(Ended::Completed)));
    assert!(rollout.hosts().values().all(|phase| matches!(phase, Phase::Verified { .. })));
    assert!(bench.hosts.iter().all(|host| host.done.values().eq([&1])));
    for (what, times) in [
        (bench.count(|data| matches!(data, Data::ScheduleSet { .. })), 1),
        (bench.count(|data| matches!(data, Data::ScheduleDue { .. })), 1),
        (bench.count(|data| matches!(data, Data::ScheduleAsked { .. })), 1),
        (bench.count(|data| matches!(data, Data::ScheduleDrafted { .. })), 1),
        (bench.count(|data| matches!(data, Data::ScheduleRehearsing { .. })), 1),
        (bench.count(|data| matches!(data, Data::ChangeCovered { .. })), 1),
        (bench.count(|data| matches!(data, Data::NoticeGiven { .. })), 1),
        (bench.count(|data| matches!(data, Data::NoticeTold { failed: None, .. })), 1),
        (bench.count(|data| matches!(data, Data::RolloutStarted { .. })), 1),
    ] {
        assert_eq!(what, times);
    }
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(told).unwrap()).unwrap();
    assert_eq!((&told["schedule"], &told["owners"]), (&json!("weekly"), &json!(["anna"])));
}

#[test]
fn without_a_standing_approval_the_draft_waits_for_people_who_may_submit_it() {
    let mut bench = Bench::new("", 2);
    bench.begin();
    bench.lives();
    assert_eq!(bench.waits(), "rehearsed, and there is no standing approval for group web");
    assert_eq!(bench.count(|data| matches!(data, Data::ScheduleWaits { .. })), 1, "it is said once");
    let engine = bench.open();
    let plan = engine.state().schedules["weekly"].run.as_ref().unwrap().plan.unwrap();
    super::fleet::submitted(&engine, plan, &[]).unwrap();
}

#[test]
fn where_nothing_is_to_do_one_event_says_so() {
    let mut bench = Bench::new("", 2);
    bench.hosts.iter_mut().for_each(|host| host.offered.clear());
    bench.begin();
    bench.lives();
    assert_eq!(bench.stage(), Stage::Ended { end: End::NothingToDo { up_to_date: 2, left_out: 0, silent: Vec::new() } });
    assert_eq!(bench.count(|data| matches!(data, Data::ScheduleEnded { .. })), 1);
}

#[test]
fn a_host_that_does_not_answer_is_named_and_the_others_go_on() {
    let mut bench = Bench::new("", 3);
    let silent = bench.hosts.pop().unwrap().id;
    bench.open().commit("server", |_, _| Ok(vec![Data::HostLost { host: silent }])).unwrap();
    bench.begin();
    bench.lives();
    let run = bench.open().state().schedules["weekly"].run.clone().unwrap();
    assert_eq!(run.silent, BTreeSet::from([silent]));
    let state = bench.open().state();
    assert_eq!(state.plans[&run.plan.unwrap()].hosts, 2);
}

#[test]
fn what_the_statement_does_not_hold_waits_with_the_reason() {
    for (bend, hosts, wanted) in [
        (
            Box::new(|wish: &mut Wish| wish.classes = BTreeSet::from([UpdateClass::Bugfix])) as Box<dyn FnOnce(&mut Wish)>,
            1,
            "security update by its archive",
        ),
        (Box::new(|_: &mut Wish| ()), 2, "is not among its hosts"),
    ] {
        let mut bench = Bench::new("", 1);
        bench.stand(bend);
        if hosts == 2 {
            let engine = bench.open();
            let token = engine.create_token("uid:0", labels()).unwrap();
            let (enrol, key) = super::fleet::enrolment(&token, "late");
            let mut host = super::fleet::Host::new(crate::agents::admit(&engine, &enrol).unwrap(), key, "late");
            host.offered = security();
            engine.store.put_blob("inventory", &fother_core::canonical::to_vec(&host.inventory).unwrap()).unwrap();
            take_check_in(&engine, host.id, &host.check_in()).unwrap();
            bench.hosts.push(host);
        }
        bench.begin();
        bench.lives();
        assert!(bench.waits().contains(wanted), "{}", bench.waits());
        assert!(bench.open().state().changes.is_empty());
    }
}

#[test]
fn a_draft_whose_author_widened_it_is_refused() {
    let bench = Bench::new("", 1);
    let engine = bench.open();
    let ask = json!({"wish": {"name": "n", "group": "web", "classes": ["security"], "packages": 5, "days": 30}, "key": public(ANNA)});
    let drafted = engine.draft_standing(serde_json::from_value(ask).unwrap()).unwrap();
    let mut standing: fother_core::standing::Standing = serde_json::from_str(&drafted).unwrap();
    standing.checks.push(fother_core::policy::Check::Unit { name: "other".to_owned(), unit: "other.service".to_owned() });
    let bytes = String::from_utf8(standing.bytes().unwrap()).unwrap();
    let ask = json!({"standing": bytes, "signature": signed(ANNA, AUTHOR_NAMESPACE, bytes.as_bytes())});
    assert_eq!(code(&engine.submit_standing("uid:0", &serde_json::from_value(ask).unwrap()).unwrap_err()), "other-statement");
}

#[test]
fn a_revoked_standing_approval_begins_nothing_more_at_once() {
    let mut bench = Bench::new("", 3);
    let standing = bench.stand(|_| ());
    bench.begin();
    while bench.open().state().rollouts.is_empty() {
        bench.life();
    }
    // The canary has begun, the others have not.
    let engine = bench.open();
    reconcile::round(&engine).unwrap();
    assert_eq!(code(&engine.revoke_standing("uid:0", standing, " ").unwrap_err()), "no-reason");
    let before: usize = bench.hosts.iter().map(|host| host.done.len()).sum();
    engine.revoke_standing("uid:0", standing, "anna left").unwrap();
    drop(engine);
    for _ in 0..5 {
        bench.life();
    }
    assert_eq!(bench.hosts.iter().map(|host| host.done.len()).sum::<usize>(), before, "nothing begins under it");
    let engine = bench.open();
    let state = engine.state();
    let held =
        fother_core::policy::admission::may_start(&engine.policy(), &state, state.rollouts.values().next().unwrap(), engine.clock.now());
    assert!(held.unwrap_err().to_string().contains("revoked, anna left"));
}

#[test]
fn a_covered_change_is_started_by_its_schedule_alone_and_owners_may_put_it_off_within_limits() {
    let mut bench = Bench::new("notice = \"48h\"\nowners = [\"bert\"]\ndefer = { times = 1, by = \"7d\" }", 1);
    bench.stand(|_| ());
    bench.begin();
    bench.lives();
    let engine = bench.open();
    let run = engine.state().schedules["weekly"].run.clone().unwrap();
    let opens = run.notice.clone().unwrap().opens;
    assert!(opens.since(run.since) >= Duration::from_secs(48 * 3_600));
    assert!(engine.state().rollouts.is_empty(), "it waits for its time");
    assert_eq!(code(&engine.start_rollout("uid:0", run.change.unwrap(), false).unwrap_err()), "scheduled");
    let ask = |by: u8, until: Timestamp, reason: &str| {
        let deferral = Deferral { schedule: "weekly".to_owned(), occurrence: run.occurrence, until, reason: reason.to_owned() };
        let signature = signed(by, DEFER_NAMESPACE, &deferral.bytes().unwrap());
        let ask: Defer = serde_json::from_value(json!({"deferral": deferral, "signature": signature})).unwrap();
        engine.defer_schedule("weekly", &ask)
    };
    let day = Duration::from_secs(86_400);
    assert_eq!(code(&ask(ANNA, opens + day, "a launch").unwrap_err()), "not-an-owner");
    assert_eq!(code(&ask(BERT, opens + day, " ").unwrap_err()), "no-reason");
    assert_eq!(code(&ask(BERT, opens, "a launch").unwrap_err()), "not-later");
    assert_eq!(code(&ask(BERT, opens + day * 8, "a launch").unwrap_err()), "too-far");
    let deferral =
        Deferral { schedule: "weekly".to_owned(), occurrence: run.occurrence, until: opens + day, reason: "a launch".to_owned() };
    let signature = signed(BERT, DEFER_NAMESPACE, &deferral.bytes().unwrap());
    let due = |at: Timestamp| {
        let due = Some((at, "nginx is due by a pack".to_owned()));
        let asked = (&deferral, signature.as_str());
        decide::defer_schedule(&engine.state(), &engine.trust, &engine.policy(), asked, (opens, due), engine.clock.now())
    };
    let past = due(opens + day / 2).unwrap_err();
    assert_eq!((past.code, past.what.contains("by which nginx is due by a pack")), ("past-due", true));
    due(opens + day).unwrap();
    ask(BERT, opens + day, "a launch").unwrap();
    assert_eq!(code(&ask(BERT, opens + day * 2, "again").unwrap_err()), "too-often");
    let (seq, last) = engine.store.read(0, 10_000).unwrap().pop().unwrap();
    let last = Event::parse(seq, &last).unwrap();
    assert_eq!((last.actor.as_str(), matches!(last.data, Data::ScheduleDeferred { .. })), ("person:bert", true));
    let view = &engine.scheduled_all().unwrap()["weekly"];
    assert_eq!(view.opens, Some(opens + day));
}

#[test]
fn the_next_moment_takes_back_what_the_last_one_left_covered() {
    let mut bench = Bench::new("notice = \"48h\"", 1);
    bench.stand(|_| ());
    bench.begin();
    bench.lives();
    let first = bench.open().state().schedules["weekly"].run.clone().unwrap().change.unwrap();
    bench.begin();
    let state = bench.open().state();
    assert!(state.changes[&first].rejected.as_ref().unwrap().contains("next moment"));
}

#[test]
fn a_policy_without_schedules_takes_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    assert!(!engine.take_step("weekly", Path::new("/nonexistent"), &mut Memory::default()).unwrap());
}
