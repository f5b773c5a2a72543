//! Whoever changes the stored log, with all of SQLite at hand or byte by byte in the file, is found out. Touches temporary directories.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ed25519_dalek::SigningKey;
use fother_core::{
    Digest,
    checkpoint::{self, Checkpoint, Kind, VerifierKey},
    merkle,
};
use fother_store::{DATABASE, Error, Problem, Store, VerifyReport, verify};
use rusqlite::Connection;
use std::{fs, path::Path};

const EVENTS: u64 = 20;

struct Fixture {
    dir: tempfile::TempDir,
    note: String,
    key: VerifierKey,
    blob: Digest,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let events: Vec<_> = (0..EVENTS).map(|seq| format!("{{\"seq\":{seq},\"type\":\"host.enrolled\"}}").into_bytes()).collect();
    store.append(&events, 0, 0).unwrap();
    let blob = store.put_blob("plan", b"{\"hosts\":1}").unwrap();
    let key = SigningKey::from_bytes(&[3; 32]);
    let signed = Checkpoint { origin: "test".to_owned(), size: EVENTS, root: store.root(EVENTS).unwrap() };
    let note = signed.sign(&key).unwrap().to_string();
    Fixture { dir, note, key: VerifierKey::new("test", Kind::Log, key.verifying_key()).unwrap(), blob }
}

impl Fixture {
    fn verify(&self) -> VerifyReport {
        verify(self.dir.path(), &self.note, &self.key).unwrap()
    }

    /// As the owner of the file: triggers stop nobody who may drop them.
    fn tamper(&self, sql: &str) -> VerifyReport {
        let connection = Connection::open(self.dir.path().join(DATABASE)).unwrap();
        let triggers = "event_kept_1 event_kept_2 event_next node_kept_1 node_kept_2 node_once";
        for name in triggers.split(' ') {
            connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        connection.execute_batch(sql).unwrap();
        drop(connection);
        self.verify()
    }
}

#[test]
fn an_untouched_log_verifies_and_so_does_one_that_grew() {
    let fixture = fixture();
    let report = fixture.verify();
    assert!(report.ok(), "{report:?}");
    assert_eq!((report.size, report.signed, report.blobs, report.first_bad_seq()), (EVENTS, EVENTS, 1, None));
    let store = Store::open(fixture.dir.path()).unwrap();
    store.append(&[b"{}".to_vec()], EVENTS, 0).unwrap();
    let report = fixture.verify();
    assert!(report.ok(), "{report:?}");
    assert_eq!((report.size, report.signed), (EVENTS + 1, EVENTS));
}

#[test]
fn one_byte_changed_in_the_file_names_its_event() {
    let fixture = fixture();
    let path = fixture.dir.path().join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"{\"seq\":13,";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at + 12] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = fixture.verify();
    assert_eq!(report.first_bad_seq(), Some(13), "{report:?}");
    assert!(report.problems.iter().any(|problem| matches!(problem, Problem::Root { size: EVENTS, .. })));
}

#[test]
fn an_event_with_its_leaf_changed_alike_contradicts_the_tree_and_the_checkpoint() {
    let forged = b"{\"seq\":7,\"type\":\"forged\"}";
    let leaf = merkle::leaf_hash(forged).hex();
    let report = fixture().tamper(&format!(
        "UPDATE event SET bytes = CAST('{}' AS BLOB) WHERE seq = 7; UPDATE node SET hash = x'{leaf}' WHERE level = 0 AND idx = 7",
        String::from_utf8_lossy(forged)
    ));
    assert_eq!(report.first_bad_seq(), None);
    assert_eq!(report.problems[0], Problem::Node { level: 1, index: 3 });
    assert!(matches!(report.problems[1], Problem::Root { .. }), "{report:?}");
}

#[test]
fn a_whole_rewritten_past_is_found_by_the_checkpoint_alone() {
    let fixture = fixture();
    let rewritten = tempfile::tempdir().unwrap();
    let store = Store::open(rewritten.path()).unwrap();
    store.append(&(0..EVENTS).map(|seq| vec![seq as u8]).collect::<Vec<_>>(), 0, 0).unwrap();
    drop(store);
    let report = verify(rewritten.path(), &fixture.note, &fixture.key).unwrap();
    assert_eq!(report.problem_count, 1);
    assert!(matches!(report.problems[0], Problem::Root { .. }), "{report:?}");
}

#[test]
fn a_removed_event_and_a_removed_end_are_named() {
    let report = fixture().tamper("DELETE FROM event WHERE seq = 5");
    assert_eq!(report.first_bad_seq(), Some(5), "{report:?}");
    let report = fixture().tamper("DELETE FROM event WHERE seq >= 18; DELETE FROM node WHERE (idx + 1) << level > 18");
    assert_eq!(report.problems, [Problem::Short { size: 18, signed: EVENTS }]);
    let report = fixture().tamper("DELETE FROM event; DELETE FROM node");
    assert_eq!(report.problems, [Problem::Short { size: 0, signed: EVENTS }]);
}

#[test]
fn a_broken_tree_node_is_named_though_every_event_is_right() {
    let report = fixture().tamper("UPDATE node SET hash = zeroblob(32) WHERE level = 2 AND idx = 1");
    assert_eq!(report.problems, [Problem::Node { level: 2, index: 1 }]);
    let report = fixture().tamper("DELETE FROM node WHERE level = 0 AND idx = 19");
    assert_eq!(report.first_bad_seq(), Some(19));
}

#[test]
fn an_altered_blob_is_named() {
    let fixture = fixture();
    let hex = fixture.blob.hex();
    fs::write(fixture.dir.path().join("blobs").join(&hex[..2]).join(&hex), b"{\"hosts\":2}").unwrap();
    assert_eq!(fixture.verify().problems, [Problem::Blob { digest: fixture.blob }]);
}

#[test]
fn a_checkpoint_by_another_key_is_no_checkpoint() {
    let fixture = fixture();
    let other = VerifierKey::new("test", Kind::Log, SigningKey::from_bytes(&[4; 32]).verifying_key()).unwrap();
    let error = verify(fixture.dir.path(), &fixture.note, &other).unwrap_err();
    assert!(matches!(error, Error::Checkpoint(checkpoint::Error::Unsigned(_))), "{error}");
    assert!(verify(Path::new("/nonexistent"), &fixture.note, &fixture.key).is_err());
}
