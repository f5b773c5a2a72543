//! The good path, the ways back, and what observing hosts refuse.

use super::harness::{Bench, txn};
use crate::{
    host::Clock as _,
    ipc::{Answer, Request},
    undo::undo_cli,
};
use fother_core::{
    directive::Order,
    protocol::{Outcome, Report},
    rehearsal::Verdict,
};
use std::{fs, time::Duration};

fn applied() -> Bench {
    let mut bench = Bench::new();
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(outcomes.last(), Some(Outcome::Verified { .. })), "{outcomes:?}");
    bench
}

#[test]
fn an_approved_order_is_drained_applied_watched_and_reported_once_each() {
    let mut bench = Bench::new();
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert_eq!(
        outcomes,
        vec![
            Outcome::Started { txn: txn(1) },
            Outcome::Applied { txn: txn(1), apply_ms: 7 },
            Outcome::Verified { txn: txn(1), remarks: Vec::new() },
        ]
    );
    assert_eq!(bench.acts(), ["drain", "start", "undrain"]);
}

#[test]
fn a_resolution_and_a_rehearsal_are_kept_as_blobs_until_they_are_sent() {
    let mut bench = Bench::new();
    let outcomes = bench.carry_out(Order::Resolve { pins: Bench::pins(), exclude: Vec::new() });
    let [Outcome::Resolved { resolution, .. }] = outcomes[..] else { panic!("{outcomes:?}") };
    let good = bench.good();
    let Order::Apply { plan, cohort, place, .. } = bench.apply_order(&good, txn(1)) else { panic!() };
    let outcomes = bench.carry_out(Order::Rehearse { plan, cohort, place, bisect: true, attest: false });
    let [Outcome::Rehearsed { verdict: Verdict::Passes, .. }] = outcomes[..] else { panic!("{outcomes:?}") };
    let executor = bench.executor();
    let Answer::Blobs { blobs } = executor.answer(&Request::Blobs) else { panic!() };
    assert_eq!(blobs.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["resolution", "rehearsal"]);
    assert!(matches!(executor.answer(&Request::Take { digest: resolution }), Answer::Blob { .. }));
    assert!(matches!(executor.answer(&Request::Sent { digest: resolution }), Answer::Done));
    assert!(matches!(executor.answer(&Request::Take { digest: resolution }), Answer::Refused { .. }));
}

#[test]
fn a_host_that_is_newly_broken_goes_back_before_it_returns_to_service() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().broken_after = true;
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    let Some(Outcome::RolledBack { paths_compared: 9, differences, why, .. }) = outcomes.last() else { panic!("{outcomes:?}") };
    assert!(differences.is_empty() && why.contains("503"), "{why}");
    assert_eq!(bench.acts(), ["drain", "start", "drain", "undo", "undrain"]);
}

#[test]
fn a_host_whose_services_were_not_restarted_goes_back_though_its_checks_are_fine() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().restart_fails = true;
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    let Some(Outcome::RolledBack { why, .. }) = outcomes.last() else { panic!("{outcomes:?}") };
    assert!(why.contains("site.service: it did not come up"), "{why}");
    assert_eq!(bench.acts(), ["drain", "start", "drain", "undo", "undrain"]);
}

#[test]
fn a_transaction_that_puts_itself_back_says_how_much_was_compared() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().puts_itself_back = Some(1234);
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(outcomes.last(), Some(Outcome::RolledBack { paths_compared: 1234, .. })), "{outcomes:?}");
}

#[test]
fn a_host_that_breaks_under_traffic_goes_back_during_the_soak() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().breaks_after_checks = Some(3);
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(outcomes[..], [Outcome::Started { .. }, Outcome::Applied { .. }, Outcome::RolledBack { .. }]), "{outcomes:?}");
    assert_eq!(bench.acts(), ["drain", "start", "undrain", "drain", "undo", "undrain"]);
}

#[test]
fn an_undo_order_works_once_and_only_for_a_known_transaction_until_its_deadline() {
    let mut bench = applied();
    let undo = |number| Order::Undo { txn: txn(number), reason: "test".to_owned() };
    let outcomes = bench.carry_out(undo(2));
    assert!(matches!(outcomes[..], [Outcome::Refused { .. }]), "{outcomes:?}");
    let outcomes = bench.carry_out(undo(1));
    assert!(matches!(outcomes[..], [Outcome::RolledBack { .. }]), "{outcomes:?}");
    let outcomes = bench.carry_out(undo(1));
    assert!(matches!(outcomes[..], [Outcome::RolledBack { .. }]), "said again, not done again: {outcomes:?}");
    assert_eq!(bench.acts().iter().filter(|act| *act == "undo").count(), 1);

    let mut late = applied();
    late.clock.sleep(Duration::from_secs(4000));
    let outcomes = late.carry_out(undo(1));
    assert!(matches!(outcomes[..], [Outcome::Refused { .. }]), "{outcomes:?}");
    assert!(!late.acts().contains(&"undo".to_owned()));
}

#[test]
fn root_undoes_at_the_host_without_server_or_executor_and_after_the_deadline() {
    let bench = applied();
    bench.clock.sleep(Duration::from_secs(4000));
    let outcome = undo_cli(&bench.config, &bench.host, bench.clock.as_ref(), txn(1)).unwrap();
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    assert!(undo_cli(&bench.config, &bench.host, bench.clock.as_ref(), txn(1)).is_err());
    let executor = bench.executor();
    executor.refresh();
    let reports = Bench::reports(&executor);
    assert!(matches!(&reports[..], [.., Report { directive: Some(_), outcome: Outcome::RolledBack { .. }, .. }]), "{reports:?}");
    executor.refresh();
    assert_eq!(Bench::reports(&executor).len(), reports.len(), "told once");
    assert!(undo_cli(&bench.config, &bench.host, bench.clock.as_ref(), txn(5)).unwrap_err().to_string().contains(&txn(1).to_string()));
}

#[test]
fn nobody_acts_where_the_lock_cannot_be_had() {
    let mut bench = applied();
    let executor = bench.executor();
    let done = bench.acts();
    let signed = bench.signed(Order::Undo { txn: txn(1), reason: "test".to_owned() });
    let _ = executor.answer(&Request::Directive { signed });
    let lock = bench.config.data.join(crate::undo::HANDS_FILE);
    let _ = fs::remove_file(&lock);
    fs::create_dir(&lock).unwrap();
    assert!(executor.act().unwrap_err().to_string().contains("cannot be locked"));
    let told = undo_cli(&bench.config, &bench.host, bench.clock.as_ref(), txn(1)).unwrap_err().to_string();
    assert!(told.contains("cannot be locked"), "{told}");
    assert_eq!(bench.acts(), done);
    fs::remove_dir(&lock).unwrap();
    assert!(executor.act().unwrap());
    assert!(bench.acts().contains(&"undo".to_owned()));
}

#[test]
fn an_observing_host_resolves_but_neither_rehearses_nor_applies() {
    let mut bench = Bench::new();
    fs::write(bench.config.etc.join("agent.toml"), "observe = true").unwrap();
    let outcomes = bench.carry_out(Order::Resolve { pins: Bench::pins(), exclude: Vec::new() });
    assert!(matches!(outcomes[..], [Outcome::Resolved { .. }]), "{outcomes:?}");
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    let [Outcome::Refused { why }] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(why.to_string().contains("only observes"), "{why}");
    assert_eq!(bench.acts(), ["resolve"]);
}

#[test]
fn a_full_disk_is_told_before_anything_starts() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().space = 99;
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(&outcomes[..], [Outcome::Replan { why }] if why.contains("100 bytes")), "{outcomes:?}");
    assert!(bench.acts().is_empty());
}
