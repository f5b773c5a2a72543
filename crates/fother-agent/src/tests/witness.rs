//! A host as a witness: a log that grows is cosigned, one that was rewritten is found, kept as evidence, and ends all applying.

use super::harness::{Bench, log_key, txn};
use crate::{
    executor::Executor,
    ipc::{Answer, Request},
    witness::{FORK_FILE, read_fork},
};
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest,
    checkpoint::{self, Checkpoint, Note},
    merkle,
    protocol::Outcome,
};
use std::fs;

/// A log of so many events, as a server with its key shows it to whoever has seen the first `seen` of `before`.
fn shown(events: &[Digest], before: &[Digest]) -> Request {
    let checkpoint = Checkpoint { origin: "fother-server/log".to_owned(), size: events.len() as u64, root: merkle::root(events) };
    let proof = merkle::prove_consistency(events, before.len()).unwrap_or_default();
    Request::Checkpoint { note: checkpoint.sign(&log_key().0).unwrap().to_string(), proof }
}

fn events(count: u8, rewritten: bool) -> Vec<Digest> {
    (0..count).map(|n| merkle::leaf_hash(&[n, u8::from(rewritten && n == 1)])).collect()
}

fn note(executor: &Executor) -> Option<String> {
    let Answer::Status(status) = executor.answer(&Request::Status) else { panic!("no status") };
    status.checkpoint
}

#[test]
fn a_log_that_grows_is_cosigned_with_this_hosts_key_and_survives_a_restart() {
    let bench = Bench::new();
    let executor = bench.executor();
    assert!(matches!(executor.answer(&shown(&events(3, false), &[])), Answer::Done));
    assert!(matches!(executor.answer(&shown(&events(7, false), &events(3, false))), Answer::Done));
    drop(executor);
    let text = note(&bench.executor()).unwrap();
    let key = checkpoint::cosigner(bench.id, &Digest(SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes()).hex()).unwrap();
    let note: Note = text.parse().unwrap();
    assert_eq!(note.verify(&key).unwrap().size, 7);
    assert_eq!(note.verify(&log_key().1).unwrap().size, 7);
    assert_eq!(note.signatures().len(), 2);
}

#[test]
fn a_rewritten_log_is_evidence_and_nothing_is_applied_until_an_operator_clears_it() {
    let mut bench = Bench::new();
    let executor = bench.executor();
    assert!(matches!(executor.answer(&shown(&events(5, false), &[])), Answer::Done));
    let Answer::Refused { why } = executor.answer(&shown(&events(9, true), &events(5, true))) else { panic!() };
    assert!(why.contains("forked") && why.contains(FORK_FILE), "{why}");
    let reports = Bench::reports(&executor);
    assert!(
        matches!(&reports[..], [report] if matches!(&report.outcome, Outcome::Failed { why } if why.contains("forked"))),
        "{reports:?}"
    );
    let evidence = read_fork(&bench.config.data).unwrap();
    let of = |note: &str| checkpoint::open(note, &log_key().1).unwrap();
    assert_eq!((of(&evidence.seen).size, of(&evidence.shown).size), (5, 9));
    assert!(!merkle::verify_consistency(5, &of(&evidence.seen).root, 9, &of(&evidence.shown).root, &evidence.proof));
    // Back to the log as it was: the fork stays on record.
    assert!(matches!(executor.answer(&shown(&events(5, false), &[])), Answer::Refused { .. }));
    bench.outcomes(&executor);
    drop(executor);

    let good = bench.good();
    let order = bench.apply_order(&good, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(&outcomes[..], [Outcome::Refused { why }] if why.to_string().contains("forked")), "{outcomes:?}");
    assert!(bench.acts().is_empty());

    let data = &bench.config.data;
    fs::rename(data.join(FORK_FILE), data.join("fork-looked-into.json")).unwrap();
    let order = bench.apply_order(&good, txn(2));
    assert!(matches!(bench.carry_out(order).last(), Some(Outcome::Verified { .. })));
    assert!(matches!(bench.executor().answer(&shown(&events(9, true), &[])), Answer::Done));
}

#[test]
fn a_cut_replayed_or_foreign_checkpoint_is_refused_without_a_record() {
    let bench = Bench::new();
    let executor = bench.executor();
    assert!(matches!(executor.answer(&shown(&events(5, false), &[])), Answer::Done));
    let before = note(&executor);
    let foreign = Checkpoint { origin: "fother-server/log".to_owned(), size: 9, root: merkle::root(&events(9, true)) };
    let foreign = foreign.sign(&SigningKey::from_bytes(&[1; 32])).unwrap().to_string();
    for bad in [shown(&events(4, false), &[]), Request::Checkpoint { note: foreign, proof: Vec::new() }] {
        assert!(matches!(executor.answer(&bad), Answer::Refused { .. }));
    }
    assert_eq!(note(&executor), before);
    assert!(!bench.config.data.join(FORK_FILE).exists());
}
