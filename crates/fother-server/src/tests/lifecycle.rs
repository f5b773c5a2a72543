//! Decisions, idempotence, restarts and rollouts, straight at the engine.

use super::fleet::{
    approved, canned, changes, directives, enrolled, enrolment, inventory, labels, open, policy, rehearsed, started, submitted, trust,
};
use crate::{
    DIRECTIVE_LIFE, Draft, Error, Submit,
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
    rehearsal::Exercised,
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
    assert_eq!(engine.state().hosts[&host].labels, std::sync::Arc::new(labels()));
    assert_eq!(engine.state().hosts[&host].hostname, "web\\u{1b}[2J");
    assert_eq!(code(&admit(&engine, &enrol).unwrap_err()), "bad-token");
    let (mut wrong, _) = enrolment(&engine.create_token("uid:0", labels()).unwrap(), "x");
    wrong.secret = "0".repeat(32);
    assert_eq!(code(&admit(&engine, &wrong).unwrap_err()), "bad-token");
    let old = Token { secret: "a".repeat(32), ca: engine.identity.ca_fingerprint() };
    let expired = Data::TokenCreated { token: TokenId::new(1, [0; 10]), hash: old.hash(), expires: engine.clock.now(), labels: labels() };
    engine.commit("uid:0", |_, _| Ok(vec![expired.clone()])).unwrap();
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
    host.pending[0].number = 2;
    host.report(None, Outcome::Failed { why: "y".to_owned() });
    host.pending[1].number = 7;
    assert_eq!(code(&take_check_in(&engine, host.id, &host.check_in()).unwrap_err()), "gap");
    host.pending.truncate(1);
    host.pending[0].outcome = Outcome::Resolved { resolution: Digest([7; 32]), base: Digest([7; 32]) };
    assert_eq!(code(&take_check_in(&engine, host.id, &host.check_in()).unwrap_err()), "blob-missing");
    assert_eq!(engine.state().size, size);
}

#[test]
fn a_huge_report_neither_wedges_the_server_nor_its_host() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 2);
    let many = vec!["\"\u{1}".repeat(1_000); 200];
    let why = fother_core::approval::Refused::TooFew { have: 0, need: 1, counted: many.clone(), ignored: many };
    hosts[0].report(None, Outcome::NotApproved { why });
    hosts[0].report(None, Outcome::Failed { why: "next".to_owned() });
    for host in &mut hosts {
        let answer = host.turn(&engine);
        assert_eq!(answer.acknowledged, host.next - 1);
    }
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
    assert!(state.rollouts[&rollout].hosts().values().all(|phase| matches!(phase, Phase::Verified { .. })));
    assert!(hosts.iter().all(|host| host.done.values().eq([&1])));
    assert_eq!(state.directives.values().filter(|issued| issued.order == "apply").count(), 5);
    engine.rollback("uid:0", rollout).unwrap();
    for _ in 0..10 {
        reconcile::round(&engine).unwrap();
        let undoing = engine.state().rollouts[&rollout].hosts().values().filter(|phase| matches!(phase, Phase::Undoing { .. })).count();
        assert!(undoing <= 3, "the budget of three hosts holds for the way back, too");
        hosts.iter_mut().for_each(|host| drop((host.turn(&engine), host.turn(&engine))));
    }
    let state = engine.state();
    assert_eq!(state.rollouts[&rollout].ended, Some(End::RolledBack));
    assert!(state.rollouts[&rollout].hosts().values().all(|phase| matches!(phase, Phase::RolledBack { exact: true, .. })));
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
    let Phase::Dispatched { txn, .. } = again.rollouts[&rollout].hosts()[&host.id] else { panic!() };
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

/// Log, bent, keys and blobs of `from` in a new data directory below `to`, without the small state.
fn restored(engine: &Engine, from: &std::path::Path, to: &std::path::Path, bend: impl Fn(String) -> String) {
    std::fs::create_dir_all(to.join("data/keys")).unwrap();
    for key in std::fs::read_dir(from.join("data/keys")).unwrap() {
        let key = key.unwrap();
        std::fs::copy(key.path(), to.join("data/keys").join(key.file_name())).unwrap();
    }
    std::fs::set_permissions(to.join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let store = fother_store::Store::open(&to.join("data")).unwrap();
    let events = engine.store.read(0, 10_000).unwrap().into_iter();
    let events: Vec<Vec<u8>> = events.map(|(_, bytes)| bend(String::from_utf8(bytes).unwrap()).into_bytes()).collect();
    store.append(&events, 0, 0).unwrap();
    let text = events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect::<String>();
    for (at, _) in text.match_indices("sha256:") {
        let digest: Digest = text[at..at + 71].parse().unwrap();
        if let Some((kind, _)) = engine.store.blob_info(&digest).unwrap() {
            store.put_blob(&kind, &engine.store.get_blob(&digest).unwrap().unwrap()).unwrap();
        }
    }
}

#[test]
fn log_keys_and_the_blobs_that_the_log_names_are_enough_to_go_on() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 2);
    let rollout = started(&engine, &mut hosts);
    restored(&engine, dir.path(), elsewhere.path(), |event| event);
    drop((engine, woken));
    let (engine, _woken) = open(elsewhere.path());
    for _ in 0..10 {
        reconcile::round(&engine).unwrap();
        hosts.iter_mut().for_each(|host| drop(host.turn(&engine)));
    }
    assert_eq!(engine.state().rollouts[&rollout].ended, Some(End::Completed));
    assert!(hosts.iter().all(|host| host.done.values().eq([&1])));
}

#[test]
fn hosts_cosign_what_they_saw_and_an_auditor_counts_them_offline() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 3);
    // Two more rounds without news: each shows what it cosigned.
    (0..2).for_each(|_| hosts.iter_mut().for_each(|host| drop(host.turn(&engine))));
    reconcile::round(&engine).unwrap();
    let key = engine.identity.log_verifier().unwrap();
    let size = engine.state().size;
    let report = fother_store::verify(&dir.path().join("data"), &engine.checkpoint(), &key).unwrap();
    assert!(report.ok(), "{report:?}");
    assert_eq!(report.cosigned, hosts.iter().map(|host| (host.id, size)).collect());
    let out = dir.path().join("out");
    engine.store.export(&engine.checkpoint(), &key, &out).unwrap();
    let offline = fother_store::verify_export(&out, &key).unwrap();
    assert!(offline.ok() && offline.cosigned == report.cosigned, "{offline:?}");
    let note = out.join("cosigned").join(size.to_string());
    let text = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, text.replace(&format!("\n{size}\n"), &format!("\n{}\n", size - 1))).unwrap();
    assert!(!fother_store::verify_export(&out, &key).unwrap().ok());
}

#[test]
fn a_server_that_rewrites_its_history_is_found_by_the_hosts_that_saw_it() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    engine.create_token("uid:0", labels()).unwrap();
    hosts[0].turn(&engine);
    // The same server with all its keys, but for an event that it would like to forget.
    restored(&engine, dir.path(), elsewhere.path(), |event| event.replace("\"uid:0\"", "\"uid:1\""));
    drop((engine, woken));
    let (engine, _woken) = open(elsewhere.path());
    let answer = take_check_in(&engine, hosts[0].id, &hosts[0].check_in()).unwrap();
    let log = hosts[0].enrolled.log_key.parse().unwrap();
    let seen = fother_core::checkpoint::open(hosts[0].note.as_deref().unwrap(), &log).unwrap();
    let judged = fother_core::witness::judge(&log, Some(&seen), answer.checkpoint.as_deref().unwrap(), &answer.consistency);
    assert!(matches!(judged, Err(fother_core::witness::Refused::Fork { .. })), "{judged:?}");
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
    assert_eq!(code(&engine.start_rollout("uid:0", change, false).unwrap_err()), "rejected");
}

#[test]
fn a_statement_counts_only_as_drafted_and_signed_by_its_author() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    let plan = rehearsed(&engine, &mut hosts);
    let (anna, namespace) = (super::fleet::public(super::fleet::ANNA), fother_core::approval::AUTHOR_NAMESPACE);
    let (_, statement) = engine.draft(&Draft { plan, acknowledge: BTreeSet::new(), key: anna }).unwrap();
    let signed = |seed, namespace: &str, text: &str| super::fleet::signed(seed, namespace, text.as_bytes());
    let submit = |statement: &str, signature| {
        engine.submit("uid:0", &Submit { statement: statement.to_owned(), signature }).map_err(|error| code(&error))
    };
    for signature in [
        signed(super::fleet::BERT, namespace, &statement),
        signed(super::fleet::ANNA, fother_core::approval::NAMESPACE, &statement),
        "x".to_owned(),
    ] {
        assert_eq!(submit(&statement, signature), Err("bad-signature"));
    }
    let bent = statement.replace("\"undo_until\":\"2", "\"undo_until\":\"3");
    assert_eq!(submit(&bent, signed(super::fleet::ANNA, namespace, &bent)), Err("other-statement"));
    let good = signed(super::fleet::ANNA, namespace, &statement);
    assert!(submit(&statement, good.clone()).is_ok());
    assert_eq!(submit(&statement, good), Err("exists"));
}

#[test]
fn what_no_rehearsal_exercised_must_be_accepted_by_name_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    let unit = |name: &str, exercised| Exercised { unit: name.to_owned(), exercised, note: String::new() };
    hosts[0].exercised = vec![unit("a.service", false), unit("b.service", false), unit("c.service", true)];
    let plan = rehearsed(&engine, &mut hosts);
    let refused = |accept: &[&str]| {
        let error = submitted(&engine, plan, accept).unwrap_err();
        assert_eq!(code(&error), "not-acknowledged");
        error.to_string()
    };
    assert!(refused(&[]).contains("a.service, b.service"));
    let one = refused(&["a.service"]);
    assert!(one.contains("b.service") && !one.contains("a.service"), "{one}");
    assert!(submitted(&engine, plan, &["a.service", "b.service"]).is_ok());
}

/// A package of nginx 1.1 whose changelog counts in the versions of its source.
pub(super) fn package_with_changelog(at: &std::path::Path) {
    let entry = |version: &str, cve: &str| {
        format!("source ({version}) bookworm; urgency=high\n\n  * Fix {cve}.\n\n -- A <a@b.invalid>  Sat, 11 Jul 2026 10:12:49 +0000\n\n")
    };
    let dir = tempfile::tempdir().unwrap();
    let doc = dir.path().join("usr/share/doc/nginx");
    std::fs::create_dir_all(&doc).unwrap();
    let text = entry("2.2", "CVE-2026-0003") + &entry("2.1", "CVE-2026-0002") + &entry("2.0", "CVE-2026-0001");
    std::fs::write(doc.join("changelog.Debian"), text).unwrap();
    std::fs::create_dir(dir.path().join("DEBIAN")).unwrap();
    let control = "Package: nginx\nSource: source (2.2)\nVersion: 1.1\nArchitecture: amd64\nMaintainer: A <a@b.invalid>\nDescription: x\n";
    std::fs::write(dir.path().join("DEBIAN/control"), control).unwrap();
    let built = std::process::Command::new("dpkg-deb").args(["-Zgzip", "--root-owner-group", "--build"]).arg(dir.path()).arg(at).output();
    assert!(built.unwrap().status.success());
}

#[test]
fn what_an_update_closes_is_counted_in_versions_of_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    package_with_changelog(&dir.path().join("package"));
    let mut hosts = enrolled(&engine, 1);
    hosts[0].inventory.packages.push(fother_core::package::Installed {
        name: "nginx".to_owned(),
        arch: "amd64".to_owned(),
        version: "1.0".parse().unwrap(),
        source: "source".to_owned(),
        source_version: "2.1".parse().unwrap(),
        broken: None,
        held: false,
    });
    engine.store.put_blob("inventory", &canonical::to_vec(&hosts[0].inventory).unwrap()).unwrap();
    hosts[0].turn(&engine);
    let plan = rehearsed(&engine, &mut hosts);
    let cohort = *engine.state().plans[&plan].cohorts.keys().next().unwrap();
    let cohort: fother_core::plan::Cohort = engine.get(cohort).unwrap();
    assert_eq!(cohort.cves(), BTreeSet::from(["CVE-2026-0003"]));
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
    let resolution = Resolution { base, indexes: base, changes: evil, kept_back: Vec::new(), in_use: Vec::new() };
    engine.store.put_blob("resolution", &canonical::to_vec(&resolution).unwrap()).unwrap();
    hosts[0].report(None, Outcome::Resolved { resolution: resolution.digest().unwrap(), base });
    hosts[0].turn(&engine);
    assert_eq!(code(&engine.make_plan("uid:0", "web", &BTreeMap::new(), None).unwrap_err()), "package-refused");
    let exclude = BTreeMap::from([("nginx".to_owned(), "breaks".to_owned())]);
    assert_eq!(code(&engine.make_plan("uid:0", "web", &exclude, None).unwrap_err()), "resolve-again");
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
fn a_rollout_asks_no_lost_host_names_it_and_goes_on_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 1);
    let rollout = started(&engine, &mut hosts);
    engine.clock.shift(61_000);
    for _ in 0..3 {
        reconcile::round(&engine).unwrap();
    }
    let state = engine.state();
    let known = &state.rollouts[&rollout];
    assert_eq!(known.hosts()[&hosts[0].id], Phase::Waiting);
    assert!(known.blocked.contains(&hosts[0].id));
    hosts[0].turn(&engine);
    for _ in 0..4 {
        reconcile::round(&engine).unwrap();
        hosts[0].turn(&engine);
    }
    let state = engine.state();
    assert_eq!(state.rollouts[&rollout].ended, Some(End::Completed));
    assert!(state.rollouts[&rollout].blocked.is_empty());
}

#[test]
fn a_rollout_goes_on_without_a_host_that_was_retired() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let mut hosts = enrolled(&engine, 3);
    let rollout = started(&engine, &mut hosts);
    let last = engine.state().rollouts[&rollout].setup.waves.last().unwrap()[0];
    engine.retire("uid:0", last).unwrap();
    for _ in 0..20 {
        reconcile::round(&engine).unwrap();
        hosts.iter_mut().filter(|host| host.id != last).for_each(|host| drop(host.turn(&engine)));
    }
    assert_eq!(engine.state().rollouts[&rollout].ended, Some(End::Completed));
}

#[test]
fn a_host_that_came_back_through_another_replica_is_missed_here_when_it_goes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let host = enrolled(&engine, 1)[0].id;
    let is_lost = |engine: &Engine| engine.state().hosts[&host].lost;
    let silent_ms = i64::try_from(crate::LOST_AFTER.as_millis()).unwrap() + 1_000;
    engine.clock.pass(silent_ms);
    // Twice: the second round forgets whom the first one said to be lost.
    (0..2).for_each(|_| reconcile::round(&engine).unwrap());
    assert!(is_lost(&engine));
    // Nothing of it was heard here but the event.
    engine.commit("another", |_, _| Ok(vec![Data::HostReturned { host }])).unwrap();
    reconcile::round(&engine).unwrap();
    assert!(!is_lost(&engine));
    engine.clock.pass(2 * silent_ms);
    reconcile::round(&engine).unwrap();
    assert!(is_lost(&engine));
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
        let phases = state.rollouts[&rollout].hosts().iter();
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
