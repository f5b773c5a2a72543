//! Moving a store between databases and places for blobs: whole, resumable, verified, and the old one closed.
//! Touches temporary directories and the servers of [`servers`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod servers;

use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp,
    checkpoint::{Checkpoint, Kind, VerifierKey},
};
use fother_store::{Error, Place, Progress, Standing, Store, survey, transfer};
use servers::{Cluster, S3, S3_KEYS};
use std::{cell::Cell, collections::BTreeMap, panic::AssertUnwindSafe};

const EVENTS: u64 = 3_500;

#[test]
#[ignore = "the S3 server, started as a process of its own by the tests below"]
fn s3_server() {
    servers::serve_s3();
}

fn key() -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_bytes(&[3; 32]);
    let verifier = VerifierKey::new("test", Kind::Log, key.verifying_key()).unwrap();
    (key, verifier)
}

fn sign(store: &Store) {
    let size = store.size().unwrap();
    let note = Checkpoint { origin: "test".to_owned(), size, root: store.root(size).unwrap() }.sign(&key().0).unwrap();
    store.put_checkpoint(size, &note.to_string()).unwrap();
}

fn grow(store: &Store, to: u64) {
    let mut head = store.size().unwrap();
    while head < to {
        let batch: Vec<_> = (head..to.min(head + 500)).map(|seq| format!("{{\"seq\":{seq}}}").into_bytes()).collect();
        head = store.append_under(&batch, head, &[]).unwrap();
    }
    sign(store);
}

/// A store as an installation has it: log, blobs, and what stands beside them.
fn installation(dir: &std::path::Path) -> (Store, Vec<Digest>) {
    let store = Store::open(dir).unwrap();
    let blobs = (0..40_u32).map(|n| store.put_blob("plan", n.to_string().repeat(2_000).as_bytes()).unwrap()).collect();
    grow(&store, EVENTS);
    store.put("release", b"newest").unwrap();
    store.raise_counter("release", 7).unwrap();
    store.seen(&[("host".to_owned(), Timestamp(5))]).unwrap();
    (store, blobs)
}

fn elsewhere() -> Option<Place> {
    let cluster = Cluster::shared().map_err(|why| println!("skipped: {why}")).ok()?;
    let keys =
        [("AWS_ACCESS_KEY_ID", S3_KEYS.0), ("AWS_SECRET_ACCESS_KEY", S3_KEYS.1)].map(|(name, key)| (name.to_owned(), key.to_owned()));
    Some(Place::new(Some(&cluster.database()), Some(&S3::shared().place()), BTreeMap::from(keys)).unwrap())
}

#[test]
fn a_move_that_is_cut_off_again_and_again_ends_whole_with_the_same_root() {
    let Some(place) = elsewhere() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (from, blobs) = installation(&dir.path().join("old"));
    let root = from.root(EVENTS).unwrap();
    let to = Store::open_standing(&dir.path().join("new"), &place).unwrap();
    to.mark(&Standing::Unfinished).unwrap();
    assert!(matches!(Store::open_at(&dir.path().join("new"), &place), Err(Error::Unfinished)), "no server starts on half a store");
    let (mut cuts, mut steps) = (0, 0);
    let done = loop {
        // Cut off after one step more than the last time.
        steps += 7;
        let told = Cell::new(0);
        let mut cut = |_: Progress| {
            told.set(told.get() + 1);
            assert!(told.get() < steps, "cut off on purpose");
        };
        let run = std::panic::catch_unwind(AssertUnwindSafe(|| transfer(&from, &to, &key().1, &mut cut)));
        match run {
            Ok(done) => break done.unwrap(),
            Err(_) => cuts += 1,
        }
    };
    assert!(cuts >= 5, "{cuts}");
    let report = done.report.unwrap();
    assert!(report.ok(), "{report:?}");
    assert_eq!((report.size, report.root, report.blobs), (EVENTS, root, blobs.len() as u64));
    to.mark(&Standing::InUse).unwrap();
    from.mark(&Standing::Moved { to: place.to_string(), at: Timestamp(9) }).unwrap();
    drop(from);
    let error = Store::open(&dir.path().join("old")).unwrap_err();
    assert!(matches!(&error, Error::Moved { to, .. } if *to == place.to_string()), "{error}");
    assert!(error.to_string().contains("fother store reopen") && !error.to_string().contains(servers::PASSWORD), "{error}");
    let moved = Store::open_at(&dir.path().join("new"), &place).unwrap();
    assert_eq!((moved.get("release").unwrap().unwrap(), moved.counter("release").unwrap()), (b"newest".to_vec(), 7));
    assert_eq!(moved.last_seen().unwrap(), [("host".to_owned(), Timestamp(5))]);
    assert!(blobs.iter().all(|blob| moved.get_blob(blob).unwrap().is_some()));
    moved.append_under(&[b"{}".to_vec()], EVENTS, &[]).unwrap();
}

#[test]
fn a_move_back_and_the_mark_taken_back() {
    let Some(place) = elsewhere() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (from, _) = installation(&dir.path().join("old"));
    let there = Store::open_standing(&dir.path().join("there"), &place).unwrap();
    transfer(&from, &there, &key().1, &mut |_| {}).unwrap();
    there.mark(&Standing::Moved { to: "back".to_owned(), at: Timestamp(1) }).unwrap();
    let head = there.size().unwrap();
    assert!(there.append_under(&[b"{}".to_vec()], head, &[]).is_err(), "whoever still has a moved store open appends nothing");
    let back = Store::open_standing(&dir.path().join("back"), &Place::default()).unwrap();
    assert!(transfer(&there, &back, &key().1, &mut |_| {}).unwrap().report.unwrap().ok());
    assert_eq!(back.root(EVENTS).unwrap(), from.root(EVENTS).unwrap());
    there.mark(&Standing::InUse).unwrap();
    assert_eq!(Store::open_at(&dir.path().join("there"), &place).unwrap().standing().unwrap(), Standing::InUse);
}

#[test]
fn nothing_is_ever_copied_over_another_log() {
    let dir = tempfile::tempdir().unwrap();
    let (from, _) = installation(&dir.path().join("old"));
    let other = Store::open(&dir.path().join("other")).unwrap();
    other.append_under(&[b"[]".to_vec()], 0, &[]).unwrap();
    assert!(matches!(transfer(&from, &other, &key().1, &mut |_| {}), Err(Error::OtherLog { there: 1 })));
    assert!(matches!(survey(&from, Some(&other)), Err(Error::OtherLog { .. })));
    assert_eq!(other.size().unwrap(), 1);
}

#[test]
fn an_altered_blob_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let (from, blobs) = installation(&dir.path().join("old"));
    let hex = blobs[5].hex();
    std::fs::write(dir.path().join("old/blobs").join(&hex[..2]).join(&hex), b"altered").unwrap();
    let to = Store::open(&dir.path().join("new")).unwrap();
    assert!(matches!(transfer(&from, &to, &key().1, &mut |_| {}), Err(Error::Damaged(_))));
}

#[test]
fn a_backup_taken_while_the_server_writes_is_whole_and_the_next_one_takes_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let (from, _) = installation(&dir.path().join("live"));
    let backup = Store::open_standing(&dir.path().join("backup"), &Place::default()).unwrap();
    std::thread::scope(|scope| {
        let live = &from;
        let writer = scope.spawn(move || {
            for n in 0..60_u64 {
                live.put_blob("plan", format!("late {n}").as_bytes()).unwrap();
                grow(live, EVENTS + n * 3);
            }
        });
        for _ in 0..4 {
            let reading = Store::open_read_only(&dir.path().join("live")).unwrap();
            let done = transfer(&reading, &backup, &key().1, &mut |_| {}).unwrap();
            assert!(done.report.unwrap().ok());
            assert!(backup.size().unwrap() >= done.events);
        }
        writer.join().unwrap();
    });
    let before = backup.size().unwrap();
    assert!(survey(&from, Some(&backup)).unwrap().events_before == before);
    let done = transfer(&from, &backup, &key().1, &mut |_| {}).unwrap();
    assert_eq!((done.events_before, backup.root(done.events).unwrap()), (before, from.root(done.events).unwrap()));
    backup.mark(&Standing::Backup { at: Timestamp(3) }).unwrap();
    drop(backup);
    assert!(matches!(Store::open(&dir.path().join("backup")), Err(Error::IsBackup { .. })), "no server starts on a backup");
}
