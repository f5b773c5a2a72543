//! The executor dies before or after every single durable write; whatever happens, the transaction is done exactly once and told exactly once.

use super::harness::{Bench, txn};
use crate::{
    durable::{Disk, Fault},
    ipc::Request,
};
use fother_core::{directive::Order, protocol::Outcome};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

fn dies_after(count: u32) -> Disk {
    let left = Arc::new(AtomicU32::new(count));
    let fault: Fault = Arc::new(move |_| {
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        before.map(drop).map_err(|_| io::Error::other("killed"))
    });
    Disk::failing(fault)
}

/// Works until the disk kills it; whether it got to the end.
fn live(bench: &Bench, disk: Disk, signed: &fother_core::directive::SignedDirective) -> bool {
    let executor = bench.executor_on(disk);
    let _ = executor.answer(&Request::Directive { signed: signed.clone() });
    bench.deliver(&executor);
    loop {
        match executor.step() {
            Ok(true) => {}
            Ok(false) => return !Bench::reports(&executor).is_empty(),
            Err(_) => return false,
        }
    }
}

/// Kills at write `count`, resumes, and gives the final outcomes; `None` once `count` is beyond the last write.
fn killed_at(count: u32, prepare: impl Fn(&Bench), bench: &mut Bench, order: Order) -> Option<Vec<Outcome>> {
    prepare(bench);
    let signed = bench.signed(order);
    let survived = live(bench, dies_after(count), &signed);
    let executor = bench.executor();
    let _ = executor.answer(&Request::Directive { signed });
    bench.deliver(&executor);
    while executor.step().unwrap() {}
    let reports = Bench::reports(&executor);
    for (index, report) in reports.iter().enumerate() {
        assert_eq!(report.number, index as u64 + 1, "reports have gaps");
    }
    (!survived)
        .then(|| reports.into_iter().map(|report| report.outcome).filter(|outcome| !matches!(outcome, Outcome::Refused { .. })).collect())
}

#[test]
fn an_apply_that_is_killed_anywhere_is_done_and_told_exactly_once() {
    let mut deaths = 0;
    for count in 0.. {
        let mut bench = Bench::new();
        let good = bench.good();
        let order = bench.apply_order(&good, txn(1));
        let Some(outcomes) = killed_at(count, |_| {}, &mut bench, order) else { break };
        deaths += 1;
        assert_eq!(bench.host.0.lock().unwrap().started, 1, "death {count}");
        assert!(
            matches!(outcomes[..], [Outcome::Started { .. }, Outcome::Applied { .. }, Outcome::Verified { .. }]),
            "death {count}: {outcomes:?}"
        );
    }
    assert!(deaths > 15, "only {deaths} places to die");
}

#[test]
fn a_rollback_that_is_killed_anywhere_ends_as_before() {
    let mut deaths = 0;
    for count in 0.. {
        let mut bench = Bench::new();
        let good = bench.good();
        let order = bench.apply_order(&good, txn(1));
        let break_it = |bench: &Bench| bench.host.0.lock().unwrap().breaks_after_checks = Some(3);
        let Some(outcomes) = killed_at(count, break_it, &mut bench, order) else { break };
        deaths += 1;
        let world = bench.host.0.lock().unwrap();
        assert_eq!((world.started, world.version), (1, 0), "death {count}");
        assert!(matches!(outcomes.last(), Some(Outcome::RolledBack { .. })), "death {count}: {outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_final()).count(), 1, "death {count}: {outcomes:?}");
    }
    assert!(deaths > 15, "only {deaths} places to die");
}

#[test]
fn a_start_that_worked_but_was_told_as_an_error_is_not_done_again() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().die_in_start = true;
    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(outcomes.last(), Some(Outcome::Verified { .. })), "{outcomes:?}");
    assert_eq!(bench.host.0.lock().unwrap().started, 1);
}

#[test]
fn a_torn_last_line_of_the_journal_is_cut_off_and_a_damaged_one_stops() {
    use crate::transaction::{Journal, Step};
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), Disk::default()).unwrap();
    journal.append(Step::Draining).unwrap();
    let path = dir.path().join("journal.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"{\"step\":\"appl"].concat()).unwrap();
    assert_eq!(Journal::open(dir.path(), Disk::default()).unwrap().steps(), [Step::Draining]);
    std::fs::write(&path, [b"{\"step\":\"shell\"}\n", &whole[..]].concat()).unwrap();
    assert!(Journal::open(dir.path(), Disk::default()).is_err());
}
