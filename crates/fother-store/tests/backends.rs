//! The laws of the store, over every database and every place for blobs: SQLite and PostgreSQL, a directory and an S3 server.
//! Touches temporary directories and the servers of [`servers`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod servers;

use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp,
    checkpoint::{Checkpoint, Kind, Note, VerifierKey},
    id::HostId,
    merkle,
};
use fother_store::{
    AppendError, BATCH_EVENTS_MAX, EVENT_BYTES_MAX, Error, FILE, KEY_BYTES_MAX, LOG_LEASE, Lease, LeaseError, Place, Problem, Store,
    VALUE_BYTES_MAX,
};
use servers::{Cluster, PASSWORD, S3, S3_KEYS};
use std::{collections::BTreeMap, fs, time::Duration};

const TTL: Duration = Duration::from_secs(10);

#[test]
#[ignore = "the S3 server, started as a process of its own by the tests below"]
fn s3_server() {
    servers::serve_s3();
}

/// One empty store, which may be opened several times.
struct Fresh {
    name: &'static str,
    dir: tempfile::TempDir,
    place: Place,
    database: Option<String>,
}

impl Fresh {
    fn open(&self) -> Store {
        Store::open_at(self.dir.path(), &self.place).unwrap()
    }

    /// Runs a statement beside the store, as its owner.
    fn sql(&self, sql: &str) -> Result<(), String> {
        match &self.database {
            Some(address) => Cluster::shared().unwrap().sql(address.rsplit('/').next().unwrap(), sql).map(drop),
            None => {
                let connection = rusqlite::Connection::open(self.dir.path().join(fother_store::DATABASE)).unwrap();
                connection.execute_batch(sql).map_err(|error| error.to_string())
            }
        }
    }
}

fn keys() -> BTreeMap<String, String> {
    [("AWS_ACCESS_KEY_ID", S3_KEYS.0), ("AWS_SECRET_ACCESS_KEY", S3_KEYS.1)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Every combination that can be had here; what cannot is printed.
fn each(test: impl Fn(&Fresh)) {
    for (name, postgres, s3) in [
        ("SQLite, directory", false, false),
        ("SQLite, S3", false, true),
        ("PostgreSQL, directory", true, false),
        ("PostgreSQL, S3", true, true),
    ] {
        let database = match postgres.then(Cluster::shared).transpose() {
            Ok(cluster) => cluster.map(Cluster::database),
            Err(why) => {
                println!("skipped: {name}: {why}");
                continue;
            }
        };
        let blobs = s3.then(|| S3::shared().place());
        let place = Place::new(database.as_deref(), blobs.as_deref(), keys()).unwrap();
        println!("on {name}");
        test(&Fresh { name, dir: tempfile::tempdir().unwrap(), place, database });
    }
}

fn events(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|n| format!("{{\"seq\":{n}}}").into_bytes()).collect()
}

#[test]
fn what_was_appended_is_read_back_byte_for_byte() {
    each(|fresh| {
        let store = fresh.open();
        assert_eq!((store.size().unwrap(), store.root(0).unwrap()), (0, merkle::empty_root()));
        let odd = vec![b"{\"a\": 1}".to_vec(), vec![0xff, 0x00, b'\n'], vec![b'x'; EVENT_BYTES_MAX]];
        assert_eq!(store.append(&odd, 0, 0).unwrap(), 3);
        assert_eq!(store.append(&[], 3, 0).unwrap(), 3);
        drop(store);
        let store = fresh.open();
        assert_eq!(store.read(1, 9).unwrap(), [(1, odd[1].clone()), (2, odd[2].clone())]);
        assert_eq!(store.read(0, 1).unwrap().len(), 1);
        assert_eq!(store.read(3, 9).unwrap(), []);
        assert_eq!(store.leaf_hashes(0, 3).unwrap(), odd.iter().map(|event| merkle::leaf_hash(event)).collect::<Vec<_>>());
    });
}

#[test]
fn a_long_read_comes_in_order_and_bounded() {
    each(|fresh| {
        let store = fresh.open();
        store.append(&events(0..1_000), 0, 0).unwrap();
        store.append(&vec![vec![b'x'; EVENT_BYTES_MAX]; 250], 1_000, 0).unwrap();
        store.append(&vec![vec![b'x'; EVENT_BYTES_MAX]; 250], 1_250, 0).unwrap();
        let read = store.read(0, usize::MAX).unwrap();
        assert!((1_200..1_300).contains(&read.len()), "{}", read.len());
        assert!(read.iter().enumerate().all(|(place, (seq, _))| place as u64 == *seq));
        assert_eq!(store.read(10, 1_100).unwrap().len(), 1_100);
    });
}

#[test]
fn a_stale_head_appends_nothing() {
    each(|fresh| {
        let store = fresh.open();
        store.append(&events(0..2), 0, 0).unwrap();
        for expected in [0, 1, 3] {
            let error = store.append(&events(2..4), expected, 0).unwrap_err();
            assert!(matches!(error, AppendError::HeadMoved { actual: 2, .. }), "{}: {error}", fresh.name);
        }
        assert_eq!(store.size().unwrap(), 2);
    });
}

#[test]
fn bounds_hold_for_the_whole_batch() {
    each(|fresh| {
        let store = fresh.open();
        let error = store.append(&[b"ok".to_vec(), vec![b'x'; EVENT_BYTES_MAX + 1]], 0, 0).unwrap_err();
        assert!(matches!(error, AppendError::EventSize { index: 1, bytes: 60_001 }));
        assert!(matches!(store.append(&[Vec::new()], 0, 0).unwrap_err(), AppendError::EventSize { index: 0, bytes: 0 }));
        assert!(matches!(store.append(&vec![vec![1]; BATCH_EVENTS_MAX + 1], 0, 0).unwrap_err(), AppendError::BatchSize { .. }));
        assert!(matches!(store.append(&vec![vec![1; 50_000]; 400], 0, 0).unwrap_err(), AppendError::BatchSize { .. }));
        assert_eq!(store.size().unwrap(), 0);
    });
}

#[test]
fn no_statement_changes_or_removes_what_was_appended() {
    each(|fresh| {
        let store = fresh.open();
        store.append(&events(0..5), 0, 0).unwrap();
        let root = store.root(5).unwrap();
        let mut statements = vec![
            "UPDATE event SET bytes = 'x' WHERE seq = 3",
            "DELETE FROM event WHERE seq = 4",
            "DELETE FROM event",
            "INSERT INTO event (seq, bytes) VALUES (3, 'x')",
            "INSERT INTO event (seq, bytes) VALUES (7, 'x')",
            "UPDATE node SET level = 3",
            "DELETE FROM node",
        ];
        if fresh.database.is_some() {
            statements.extend([
                "TRUNCATE event",
                "TRUNCATE event, node",
                "INSERT INTO event (seq, bytes) VALUES (5, 'x'), (7, 'x')",
                "INSERT INTO event (seq, bytes) VALUES (3, 'x') ON CONFLICT (seq) DO UPDATE SET bytes = 'x'",
                "UPDATE head SET size = 3",
                "UPDATE head SET size = 6",
                "DELETE FROM head",
                "TRUNCATE head",
                "INSERT INTO head (one, size) VALUES (true, 9)",
            ]);
        } else {
            statements.extend([
                "INSERT OR REPLACE INTO event (seq, bytes) VALUES (3, x'00')",
                "INSERT OR REPLACE INTO node (level, idx, hash) VALUES (0, 3, zeroblob(32))",
            ]);
        }
        for statement in statements {
            assert!(fresh.sql(statement).is_err(), "{}: {statement}", fresh.name);
        }
        assert_eq!((store.size().unwrap(), fresh.open().root(5).unwrap()), (5, root));
    });
}

#[test]
fn of_many_writers_with_the_same_head_exactly_one_wins_each_time() {
    each(|fresh| {
        let stores: Vec<Store> = (0..4).map(|_| fresh.open()).collect();
        for round in 0..5 {
            let head = round * 3;
            let results: Vec<_> = std::thread::scope(|scope| {
                let append = |store| scope.spawn(move || Store::append(store, &events(head..head + 3), head, 0));
                stores.iter().map(append).collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let won = results.iter().filter(|result| result.is_ok()).count();
            let moved = results.iter().filter(|result| matches!(result, Err(AppendError::HeadMoved { .. }))).count();
            assert_eq!((won, moved), (1, 3), "{}: {results:?}", fresh.name);
            assert_eq!(stores[3].size().unwrap(), head + 3);
        }
    });
}

#[test]
fn writers_that_try_again_lose_nothing_and_interleave() {
    each(|fresh| {
        let write = |name: u8| {
            let store = fresh.open();
            for n in 0..20_u8 {
                let mut head = store.size().unwrap();
                while let Err(error) = store.append(&[vec![name, n], vec![name, n, 1]], head, 0) {
                    let AppendError::HeadMoved { actual, .. } = error else { panic!("{error}") };
                    head = actual;
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|name| drop(scope.spawn(move || write(name)))));
        let store = fresh.open();
        let read = store.read(0, 1_000).unwrap();
        assert_eq!(read.len(), 160);
        for name in 0..4 {
            let of: Vec<_> = read.iter().filter(|(_, event)| event[0] == name).map(|(_, event)| event[1..].to_vec()).collect();
            assert_eq!(of, (0..20).flat_map(|n| [vec![n], vec![n, 1]]).collect::<Vec<_>>(), "{}", fresh.name);
        }
        let leaves: Vec<_> = read.iter().map(|(_, event)| merkle::leaf_hash(event)).collect();
        assert_eq!(store.root(160).unwrap(), merkle::root(&leaves));
    });
}

#[test]
fn questions_beyond_the_end_are_errors() {
    each(|fresh| {
        let store = fresh.open();
        store.append(&events(0..2), 0, 0).unwrap();
        assert!(matches!(store.root(3), Err(Error::Beyond { wanted: 3, size: 2 })));
        assert!(matches!(store.prove_inclusion(2, 2), Err(Error::Beyond { .. })));
        assert!(matches!(store.prove_inclusion(2, 3), Err(Error::Beyond { .. })));
        assert!(matches!(store.prove_consistency(2, 1), Err(Error::Beyond { .. })));
        assert!(matches!(store.prove_inclusion(u64::MAX, u64::MAX), Err(Error::Beyond { .. })));
        assert!(matches!(store.read(u64::MAX, 1), Err(Error::Range(u64::MAX))));
    });
}

#[test]
fn batches_of_any_size_make_one_tree_with_proofs() {
    each(|fresh| {
        let store = fresh.open();
        let (mut head, mut sizes) = (0, vec![0]);
        for batch in [1, 0, 2, 5, 8, 1, 3, 7] {
            head = store.append(&events(head..head + batch), head, 0).unwrap();
            sizes.push(head);
        }
        let leaves: Vec<_> = events(0..head).iter().map(|event| merkle::leaf_hash(event)).collect();
        // Another store has no tree of its own yet.
        let other = fresh.open();
        let top = other.root(head).unwrap();
        assert_eq!(top, merkle::root(&leaves));
        for first in sizes {
            let old = other.root(first).unwrap();
            assert_eq!(old, merkle::root(&leaves[..first as usize]));
            assert!(merkle::verify_consistency(first, &old, head, &top, &other.prove_consistency(first, head).unwrap()));
        }
        for seq in 0..head {
            let path = store.prove_inclusion(seq, head).unwrap();
            assert!(merkle::verify(&top, &leaves[seq as usize], seq, head, &path));
        }
    });
}

#[test]
fn an_older_holder_can_append_nothing_once_another_took_over() {
    each(|fresh| {
        let store = fresh.open();
        let first = store.acquire_lease(LOG_LEASE, "a", Timestamp(1_000), TTL).unwrap();
        store.append(&[vec![1]], 0, first.fence).unwrap();
        let error = store.acquire_lease(LOG_LEASE, "b", Timestamp(10_999), TTL).unwrap_err();
        assert!(matches!(error, LeaseError::Held { .. }), "{error}");
        let second = fresh.open().acquire_lease(LOG_LEASE, "b", Timestamp(11_000), TTL).unwrap();
        assert!(second.fence > first.fence);
        let error = store.append(&[vec![2]], 1, first.fence).unwrap_err();
        assert!(matches!(error, AppendError::Fenced { given: 1, current: 2, .. }), "{error}");
        for never_given in [0, 3, u64::MAX] {
            assert!(matches!(store.append(&[vec![2]], 1, never_given), Err(AppendError::Fenced { .. })));
        }
        assert!(matches!(store.renew_lease(LOG_LEASE, first.fence, Timestamp(11_000), TTL), Err(LeaseError::Lost { .. })));
        assert_eq!(store.append(&[vec![2]], 1, second.fence).unwrap(), 2);
    });
}

#[test]
fn an_append_under_several_leases_fails_when_one_has_moved_and_one_under_none_compares_the_head_only() {
    each(|fresh| {
        let store = fresh.open();
        let work = store.acquire_lease("work", "a", Timestamp(1), TTL).unwrap().fence;
        assert_eq!(store.append_under(&[vec![1]], 0, &[("work", work), ("never taken", 0)]).unwrap(), 1);
        store.acquire_lease("work", "a", Timestamp(1), TTL).unwrap();
        let error = store.append_under(&[vec![2]], 1, &[("never taken", 0), ("work", work)]).unwrap_err();
        assert!(matches!(&error, AppendError::Fenced { lease, given: 1, current: 2 } if lease == "work"), "{error}");
        assert_eq!(store.append_under(&[vec![2]], 1, &[]).unwrap(), 2);
    });
}

#[test]
fn a_restart_under_the_same_name_need_not_wait_and_fences_out_its_former_self() {
    each(|fresh| {
        let fence = fresh.open().acquire_lease(LOG_LEASE, "a", Timestamp(1), TTL).unwrap().fence;
        let store = fresh.open();
        assert_eq!(store.acquire_lease(LOG_LEASE, "a", Timestamp(2), TTL).unwrap().fence, fence + 1);
        assert!(matches!(store.append(&[vec![1]], 0, fence), Err(AppendError::Fenced { .. })));
    });
}

#[test]
fn renewing_keeps_the_fence_and_never_shortens_and_releasing_frees_it() {
    each(|fresh| {
        let store = fresh.open();
        let lease = store.acquire_lease("x", "a", Timestamp(5_000), TTL).unwrap();
        assert_eq!(store.renew_lease("x", lease.fence, Timestamp(6_000), TTL).unwrap(), Lease { fence: 1, until: Timestamp(16_000) });
        assert_eq!(store.renew_lease("x", lease.fence, Timestamp(0), TTL).unwrap().until, Timestamp(16_000), "a clock that jumped back");
        store.release_lease("x", 99).unwrap();
        assert!(store.acquire_lease("x", "b", Timestamp(7_000), TTL).is_err());
        store.release_lease("x", lease.fence).unwrap();
        assert_eq!(store.acquire_lease("x", "b", Timestamp(7_000), TTL).unwrap().fence, 2);
        assert!(matches!(store.renew_lease("never taken", 0, Timestamp(0), TTL), Err(LeaseError::Lost { .. })));
    });
}

#[test]
fn of_many_that_want_a_lease_one_gets_it() {
    each(|fresh| {
        let stores: Vec<Store> = (0..4).map(|_| fresh.open()).collect();
        let names = ["a", "b", "c", "d"];
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = stores
                .iter()
                .zip(names)
                .map(|(store, name)| scope.spawn(move || store.acquire_lease("x", name, Timestamp(1), TTL)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let given: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(given.len(), 1, "{}: {results:?}", fresh.name);
        assert_eq!(given[0].fence, 1);
    });
}

#[test]
fn values_and_counters_survive_a_restart() {
    each(|fresh| {
        let store = fresh.open();
        assert_eq!((store.get("k").unwrap(), store.counter("k").unwrap()), (None, 0));
        store.put("k", b"one").unwrap();
        store.put("k", b"two").unwrap();
        assert_eq!((store.next_counter("k").unwrap(), store.next_counter("k").unwrap()), (1, 2));
        drop(store);
        let store = fresh.open();
        assert_eq!((store.get("k").unwrap().unwrap(), store.counter("k").unwrap()), (b"two".to_vec(), 2));
        assert!(matches!(store.put(&"k".repeat(KEY_BYTES_MAX + 1), b""), Err(Error::StateTooLarge)));
        assert!(matches!(store.put("k", &vec![0; VALUE_BYTES_MAX + 1]), Err(Error::StateTooLarge)));
        store.put("k", &vec![7; VALUE_BYTES_MAX]).unwrap();
        assert_eq!(store.get("k").unwrap().unwrap().len(), VALUE_BYTES_MAX);
    });
}

#[test]
fn a_counter_never_goes_back_and_never_gives_a_number_twice() {
    each(|fresh| {
        let store = fresh.open();
        assert!(!store.raise_counter("release", 0).unwrap());
        assert!(store.raise_counter("release", 7).unwrap());
        assert!(!store.raise_counter("release", 7).unwrap());
        assert!(!store.raise_counter("release", 3).unwrap());
        assert_eq!(store.counter("release").unwrap(), 7);
        assert!(matches!(store.raise_counter("release", u64::MAX), Err(Error::Range(_))));
        let stores = [fresh.open(), fresh.open()];
        let mut given: Vec<u64> = std::thread::scope(|scope| {
            let take = |store| scope.spawn(move || (0..20).map(|_| Store::next_counter(store, "n").unwrap()).collect::<Vec<_>>());
            stores.iter().map(take).collect::<Vec<_>>().into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        given.sort_unstable();
        assert_eq!(given, (1..=40).collect::<Vec<_>>(), "{}", fresh.name);
    });
}

#[test]
fn a_late_message_does_not_make_a_host_older_whoever_took_it() {
    each(|fresh| {
        let (store, other) = (fresh.open(), fresh.open());
        store.seen(&[("b".to_owned(), Timestamp(9)), ("a".to_owned(), Timestamp(5)), ("b".to_owned(), Timestamp(8))]).unwrap();
        other.seen(&[("b".to_owned(), Timestamp(4))]).unwrap();
        store.seen(&[]).unwrap();
        assert_eq!(other.last_seen().unwrap(), [("a".to_owned(), Timestamp(5)), ("b".to_owned(), Timestamp(9))]);
        other.forget_seen("b").unwrap();
        assert_eq!(store.last_seen().unwrap().len(), 1);
    });
}

fn signer() -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_bytes(&[3; 32]);
    let verifier = VerifierKey::new("test", Kind::Log, key.verifying_key()).unwrap();
    (key, verifier)
}

/// The signed note over all that is there.
fn note(store: &Store) -> Note {
    let size = store.size().unwrap();
    Checkpoint { origin: "test".to_owned(), size, root: store.root(size).unwrap() }.sign(&signer().0).unwrap()
}

#[test]
fn the_newest_checkpoint_is_kept() {
    each(|fresh| {
        let store = fresh.open();
        assert_eq!(store.latest_checkpoint().unwrap(), None);
        for (size, note) in [(2, "a"), (11, "b"), (3, "c"), (11, "b again")] {
            store.put_checkpoint(size, note).unwrap();
        }
        assert_eq!(store.latest_checkpoint().unwrap(), Some((11, "b again".to_owned())));
        assert_eq!(store.cosigned_checkpoints().unwrap(), []);
    });
}

#[test]
fn cosignatures_of_hosts_that_come_at_once_are_all_kept() {
    each(|fresh| {
        let store = fresh.open();
        store.append(&events(0..3), 0, 0).unwrap();
        let plain = note(&store);
        let cosign = |n: u8| {
            let key = SigningKey::from_bytes(&[n; 32]);
            let host = HostId::new(1, [n; 10]);
            let verifier = fother_core::checkpoint::cosigner(host, &Digest(key.verifying_key().to_bytes()).hex()).unwrap();
            let mut signed = plain.clone();
            signed.cosign(verifier.name(), &key, 1_700_000_000).unwrap();
            let cosigned = [(3, signed, verifier)];
            fresh.open().cosign_checkpoints(&cosigned).unwrap();
            fresh.open().cosign_checkpoints(&cosigned).unwrap();
        };
        cosign(9);
        assert_eq!(store.latest_checkpoint().unwrap(), None, "a host's word alone is no checkpoint");
        store.put_checkpoint(3, &plain.to_string()).unwrap();
        std::thread::scope(|scope| (10..16).for_each(|n| drop(scope.spawn(move || cosign(n)))));
        let kept = store.cosigned_checkpoints().unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1.parse::<Note>().unwrap().signatures().len(), 7, "{}", fresh.name);
    });
}

#[test]
fn a_blob_is_named_by_its_kind_and_bytes() {
    each(|fresh| {
        let store = fresh.open();
        let plan = store.put_blob("plan", b"{}").unwrap();
        let file = store.put_blob(FILE, b"{}").unwrap();
        assert_eq!((plan, file), (Digest::of_kind("plan", b"{}"), Digest::of_file(b"{}")));
        assert_eq!(fresh.open().get_blob(&plan).unwrap().unwrap(), b"{}");
        assert_eq!(store.blob_info(&plan).unwrap(), Some(("plan".to_owned(), 2)));
        assert_eq!(store.get_blob(&Digest::of_file(b"other")).unwrap(), None);
        assert_eq!(store.put_blob("plan", b"{}").unwrap(), plan);
        let large = vec![0x5a; 20 << 20];
        let digest = store.put_blob(FILE, &large).unwrap();
        assert!(store.get_blob(&digest).unwrap().unwrap() == large, "{}", fresh.name);
        assert_eq!(store.get_blob(&store.put_blob(FILE, b"").unwrap()).unwrap().unwrap(), b"");
    });
}

#[test]
fn bytes_under_a_false_name_are_refused() {
    each(|fresh| {
        let store = fresh.open();
        let named = Digest::of_kind("plan", b"{}");
        assert!(matches!(store.put_named_blob(named, "plan", b"{ }"), Err(Error::BlobMismatch { .. })));
        assert!(matches!(store.put_named_blob(named, "cohort", b"{}"), Err(Error::BlobMismatch { .. })));
        assert_eq!(store.get_blob(&named).unwrap(), None);
        store.put_named_blob(named, "plan", b"{}").unwrap();
        for kind in ["", "Plan", "a/b", &"x".repeat(33)] {
            assert!(matches!(store.put_blob(kind, b""), Err(Error::BlobKind(_))), "{kind}");
        }
    });
}

#[test]
fn a_log_with_its_blobs_verifies_and_exports_alike_everywhere() {
    each(|fresh| {
        let store = fresh.open();
        for first in [0, 600] {
            store.append(&events(first..first + 600), first, 0).unwrap();
        }
        for n in 0..3_u8 {
            store.put_blob("plan", &[n; 100]).unwrap();
        }
        let (text, key) = (note(&store).to_string(), signer().1);
        store.put_checkpoint(1_200, &text).unwrap();
        store.append(&events(1_200..1_201), 1_200, 0).unwrap();
        let looking = Store::open_read_only_at(fresh.dir.path(), &fresh.place).unwrap();
        let report = looking.verify(&text, &key).unwrap();
        assert!(report.ok(), "{}: {report:?}", fresh.name);
        assert_eq!((report.size, report.signed, report.blobs), (1_201, 1_200, 3));
        assert_eq!(report.root, merkle::root(&events(0..1_201).iter().map(|event| merkle::leaf_hash(event)).collect::<Vec<_>>()));
        let out = fresh.dir.path().join("out");
        assert_eq!(looking.export(&text, &key, &out).unwrap().size, 1_200);
        assert!(fother_store::verify_export(&out, &key).unwrap().ok());
        assert!(looking.append(&events(0..1), 1_201, 0).is_err(), "{}: opened to look at", fresh.name);
        assert!(looking.put("key", b"").is_err());
        let longer = Checkpoint { origin: "test".to_owned(), size: 1_300, root: merkle::empty_root() }.sign(&signer().0).unwrap();
        let report = looking.verify(&longer.to_string(), &key).unwrap();
        assert_eq!(report.problems, [Problem::Short { size: 1_201, signed: 1_300 }]);
    });
}

#[test]
fn a_tampered_event_node_and_blob_are_named() {
    each(|fresh| {
        let store = fresh.open();
        store.append(&events(0..20), 0, 0).unwrap();
        let digest = store.put_blob("plan", b"good").unwrap();
        let (text, key) = (note(&store).to_string(), signer().1);
        let off = match fresh.database {
            Some(_) => "ALTER TABLE event DISABLE TRIGGER ALL; ALTER TABLE node DISABLE TRIGGER ALL; ",
            None => "DROP TRIGGER event_kept_1; DROP TRIGGER node_kept_1; ",
        };
        let (x, zeros) = match fresh.database {
            Some(_) => ("'\\x00'::bytea".to_owned(), format!("'\\x{}'::bytea", "00".repeat(32))),
            None => ("x'00'".to_owned(), "zeroblob(32)".to_owned()),
        };
        fresh.sql(&format!("{off} UPDATE event SET bytes = {x} WHERE seq = 13")).unwrap();
        let report = store.verify(&text, &key).unwrap();
        assert_eq!(report.first_bad_seq(), Some(13), "{}: {report:?}", fresh.name);
        fresh.sql(&format!("UPDATE event SET bytes = {} WHERE seq = 13", seq_13(fresh))).unwrap();
        assert!(store.verify(&text, &key).unwrap().ok());
        fresh.sql(&format!("UPDATE node SET hash = {zeros} WHERE level = 2 AND idx = 1")).unwrap();
        assert_eq!(store.verify(&text, &key).unwrap().problems, [Problem::Node { level: 2, index: 1 }]);
        fresh.sql("DELETE FROM blob").unwrap();
        assert_eq!(store.get_blob(&digest).unwrap(), None);
    });
}

fn seq_13(fresh: &Fresh) -> String {
    let hex: String = events(13..14)[0].iter().map(|byte| format!("{byte:02x}")).collect();
    if fresh.database.is_some() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
}

/// The cluster, or a printed reason.
fn cluster() -> Option<&'static Cluster> {
    Cluster::shared().map_err(|why| println!("skipped: {why}")).ok()
}

fn postgres(address: &str) -> Place {
    Place::new(Some(address), None, BTreeMap::new()).unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_postgresql_crashed_and_the_store_goes_on_by_itself() {
    let cluster = match Cluster::start(&[]) {
        Ok(cluster) => cluster,
        Err(why) => return println!("skipped: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_at(dir.path(), &postgres(&cluster.database())).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut head = 0;
            while head < 600 {
                head = store.append(&events(head..head + 2), head, 0).unwrap();
                store.seen(&[("host".to_owned(), Timestamp(head))]).unwrap();
            }
        });
        for _ in 0..2 {
            cluster.crash_and_restart();
        }
        writer.join().unwrap();
    });
    assert_eq!(store.size().unwrap(), 600);
    assert_eq!(store.read(0, 1_000).unwrap().into_iter().map(|(_, event)| event).collect::<Vec<_>>(), events(0..600));
    assert!(store.verify(&note(&store).to_string(), &signer().1).unwrap().ok());
}

#[test]
fn a_server_that_loses_what_it_acknowledged_is_refused() {
    for (setting, word) in [("fsync = off", "fsync"), ("full_page_writes = off", "full_page_writes")] {
        let cluster = match Cluster::start(&[setting]) {
            Ok(cluster) => cluster,
            Err(why) => return println!("skipped: {why}"),
        };
        let dir = tempfile::tempdir().unwrap();
        let error = Store::open_at(dir.path(), &postgres(&cluster.database())).unwrap_err();
        assert!(matches!(&error, Error::Unsafe(why) if why.contains(word)), "{error}");
    }
}

#[test]
fn commits_wait_for_the_disk_whatever_the_server_says() {
    let cluster = match Cluster::start(&["synchronous_commit = off"]) {
        Ok(cluster) => cluster,
        Err(why) => return println!("skipped: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let address = cluster.database();
    let store = Store::open_at(dir.path(), &postgres(&address)).unwrap();
    store.append(&events(0..3), 0, 0).unwrap();
    store.seen(&[("host".to_owned(), Timestamp(1))]).unwrap();
    let said = cluster.said();
    assert!(said.contains("set_config('synchronous_commit', 'on', false)"), "the log's connections ask for it");
    assert!(said.contains("SET synchronous_commit = off"), "those for last-seen times do not need it");
    assert!(!said.contains(PASSWORD));
}

#[test]
fn over_tls_only_the_right_authority_and_name_are_spoken_to() {
    let Some(cluster) = cluster() else { return };
    let address = cluster.database();
    let named = address.replace("127.0.0.1", "localhost");
    let open = |address: &str| Store::open_at(tempfile::tempdir().unwrap().path(), &postgres(address)).map(drop);
    let roots = cluster.authority().display().to_string();
    open(&format!("{named}?sslmode=verify-full&sslrootcert={roots}")).unwrap();
    let error = open(&format!("{named}?sslmode=verify-full")).unwrap_err().to_string();
    assert!(error.contains("certificate") && !error.contains(PASSWORD), "{error}");
    let error = open(&format!("{address}?sslmode=require&sslrootcert={roots}")).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let error = open(&address.replace(PASSWORD, "wrong")).unwrap_err().to_string();
    assert!(error.contains("password authentication failed") && !error.contains("wrong"), "{error}");
    let shown = fs::read_to_string("/proc/self/cmdline").unwrap();
    assert!(!shown.contains(PASSWORD));
}

#[test]
fn wrong_keys_and_missing_buckets_are_said_when_the_store_is_opened() {
    let s3 = S3::shared();
    let open = |blobs: &str, keys| {
        Store::open_at(tempfile::tempdir().unwrap().path(), &Place::new(None, Some(blobs), keys).unwrap()).unwrap_err().to_string()
    };
    let mut wrong = keys();
    wrong.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "other-secret".to_owned());
    let error = open(&s3.place(), wrong);
    assert!(error.contains("object store") && !error.contains("other-secret"), "{error}");
    let error = open(&format!("s3://nowhere/x?endpoint={}", s3.endpoint), keys());
    assert!(error.contains("NoSuchBucket"), "{error}");
}

#[test]
fn a_newer_layout_and_a_foreign_database_are_refused_untouched() {
    let Some(cluster) = cluster() else { return };
    let dir = tempfile::tempdir().unwrap();
    let address = cluster.database();
    assert!(matches!(Store::open_read_only_at(dir.path(), &postgres(&address)), Err(Error::Foreign(_))));
    drop(Store::open_at(dir.path(), &postgres(&address)).unwrap());
    cluster.sql(address.rsplit('/').next().unwrap(), "UPDATE layout SET version = 9").unwrap();
    assert!(matches!(Store::open_at(dir.path(), &postgres(&address)), Err(Error::Newer { found: 9, .. })));
}

#[test]
fn replicas_that_start_at_once_create_the_tables_once() {
    let Some(cluster) = cluster() else { return };
    let place = postgres(&cluster.database());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| Store::open_at(tempfile::tempdir().unwrap().path(), &place).unwrap().size().unwrap());
        }
    });
}
