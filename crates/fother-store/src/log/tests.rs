//! The laws of the log. Touches temporary directories.

use super::*;
use proptest::prelude::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn events(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|n| format!("{{\"seq\":{n}}}").into_bytes()).collect()
}

#[test]
fn what_was_appended_is_read_back_byte_for_byte() {
    let (_dir, store) = store();
    assert_eq!((store.size().unwrap(), store.root(0).unwrap()), (0, merkle::empty_root()));
    let odd = vec![b"{\"a\": 1}".to_vec(), vec![0xff, 0x00, b'\n'], vec![b'x'; EVENT_BYTES_MAX]];
    assert_eq!(store.append(&odd, 0, 0).unwrap(), 3);
    let read: Vec<_> = store.read(1, 9).unwrap();
    assert_eq!(read, [(1, odd[1].clone()), (2, odd[2].clone())]);
    assert_eq!(store.read(0, 1).unwrap().len(), 1);
    assert_eq!(store.read(3, 9).unwrap(), []);
    assert_eq!(store.leaf_hashes(0, 3).unwrap(), odd.iter().map(|event| merkle::leaf_hash(event)).collect::<Vec<_>>());
}

#[test]
fn a_stale_head_appends_nothing() {
    let (_dir, store) = store();
    store.append(&events(0..2), 0, 0).unwrap();
    for expected in [0, 1, 3] {
        let error = store.append(&events(2..4), expected, 0).unwrap_err();
        assert!(matches!(error, AppendError::HeadMoved { actual: 2, .. }), "{error}");
    }
    assert_eq!(store.size().unwrap(), 2);
}

#[test]
fn bounds_hold_for_the_whole_batch() {
    let (_dir, store) = store();
    let error = store.append(&[b"ok".to_vec(), vec![b'x'; EVENT_BYTES_MAX + 1]], 0, 0).unwrap_err();
    assert!(matches!(error, AppendError::EventSize { index: 1, bytes: 60_001 }));
    assert!(matches!(store.append(&[Vec::new()], 0, 0).unwrap_err(), AppendError::EventSize { index: 0, bytes: 0 }));
    assert!(matches!(store.append(&vec![vec![1]; BATCH_EVENTS_MAX + 1], 0, 0).unwrap_err(), AppendError::BatchSize { .. }));
    assert!(matches!(store.append(&vec![vec![1; 50_000]; 400], 0, 0).unwrap_err(), AppendError::BatchSize { .. }));
    assert_eq!(store.size().unwrap(), 0);
}

#[test]
fn no_statement_changes_or_removes_what_was_appended() {
    let (dir, store) = store();
    store.append(&events(0..5), 0, 0).unwrap();
    let root = store.root(5).unwrap();
    let other = Connection::open(dir.path().join(crate::DATABASE)).unwrap();
    for statement in [
        "UPDATE event SET bytes = x'00' WHERE seq = 3",
        "DELETE FROM event WHERE seq = 4",
        "DELETE FROM event",
        "INSERT OR REPLACE INTO event (seq, bytes) VALUES (3, x'00')",
        "INSERT INTO event (seq, bytes) VALUES (7, x'00')",
        "UPDATE node SET hash = zeroblob(32)",
        "DELETE FROM node",
        "INSERT OR REPLACE INTO node (level, idx, hash) VALUES (0, 3, zeroblob(32))",
    ] {
        assert!(other.execute(statement, []).is_err(), "{statement}");
    }
    assert_eq!((store.size().unwrap(), store.root(5).unwrap()), (5, root));
}

#[test]
fn of_two_writers_with_the_same_head_exactly_one_wins() {
    let (dir, store) = store();
    let other = Store::open(dir.path()).unwrap();
    let results = std::thread::scope(|scope| {
        [&store, &other].map(|store| scope.spawn(|| store.append(&events(0..3), 0, 0))).map(|thread| thread.join().unwrap())
    });
    let lost = results.iter().filter(|result| matches!(result, Err(AppendError::HeadMoved { expected: 0, actual: 3 }))).count();
    assert_eq!((lost, other.size().unwrap()), (1, 3), "{results:?}");
}

#[test]
fn questions_beyond_the_end_are_errors() {
    let (_dir, store) = store();
    store.append(&events(0..2), 0, 0).unwrap();
    assert!(matches!(store.root(3), Err(Error::Beyond { wanted: 3, size: 2 })));
    assert!(matches!(store.prove_inclusion(2, 2), Err(Error::Beyond { .. })));
    assert!(matches!(store.prove_inclusion(2, 3), Err(Error::Beyond { .. })));
    assert!(matches!(store.prove_consistency(2, 1), Err(Error::Beyond { .. })));
    assert!(matches!(store.prove_inclusion(u64::MAX, u64::MAX), Err(Error::Beyond { .. })));
    assert!(matches!(store.read(u64::MAX, 1), Err(Error::Range(u64::MAX))));
}

#[test]
fn the_newest_checkpoint_is_kept() {
    let (_dir, store) = store();
    assert_eq!(store.latest_checkpoint().unwrap(), None);
    for (size, note) in [(2, "a"), (11, "b"), (3, "c"), (11, "b cosigned")] {
        store.put_checkpoint(size, note).unwrap();
    }
    assert_eq!(store.latest_checkpoint().unwrap(), Some((11, "b cosigned".to_owned())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn batches_of_any_size_make_one_tree_with_proofs(batches in proptest::collection::vec(0_u64..9, 1..12)) {
        let (_dir, store) = store();
        let mut head = 0;
        let mut sizes = vec![0];
        for batch in batches {
            head = store.append(&events(head..head + batch), head, 0).unwrap();
            sizes.push(head);
        }
        let leaves: Vec<_> = events(0..head).iter().map(|event| merkle::leaf_hash(event)).collect();
        let top = store.root(head).unwrap();
        prop_assert_eq!(top, merkle::root(&leaves));
        for first in sizes {
            let old = store.root(first).unwrap();
            prop_assert_eq!(old, merkle::root(&leaves[..first as usize]));
            let path = store.prove_consistency(first, head).unwrap();
            prop_assert!(merkle::verify_consistency(first, &old, head, &top, &path));
        }
        for seq in 0..head {
            let path = store.prove_inclusion(seq, head).unwrap();
            prop_assert!(merkle::verify(&top, &leaves[seq as usize], seq, head, &path));
        }
    }
}
