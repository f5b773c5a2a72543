//! Kills a writing process at random points: whatever it had acknowledged is there, whole, and the tree verifies. Touches a temporary directory and its own children.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    checkpoint::{Checkpoint, Kind, VerifierKey},
    merkle,
};
use fother_store::{LOG_LEASE, Store, verify};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const DIR: &str = "FOTHER_STORE_KILL_DIR";
const KILLS: u64 = 80;
/// A child is killed after at most this many acknowledgements, so often while it opens the store and recovers.
const ACKS_MAX: u64 = 12;
const SEED: u64 = 0x5eed_0f07_4e12;

/// Batches are of 1 to 7 events, as their first number says: so half a batch is seen.
fn batch_len(head: u64) -> u64 {
    1 + head.wrapping_mul(0x9e37_79b9) % 7
}

/// Event `seq`, of 30 to 4,000 bytes, naming its blob.
fn event(seq: u64) -> Vec<u8> {
    let filler = "x".repeat((seq.wrapping_mul(7_919) % 4_000) as usize);
    format!(r#"{{"seq":{seq},"blob":"{}","data":"{filler}"}}"#, Digest::of_kind("kill-test", &blob(seq))).into_bytes()
}

fn blob(head: u64) -> Vec<u8> {
    format!("blob {head} ").repeat(500).into_bytes()
}

/// Appends until it is killed, and says after each batch how many events are safe.
#[test]
#[ignore = "the writing child, started by the test below"]
fn child() {
    let dir = env::var_os(DIR).expect("started by the test below only");
    let store = Store::open(Path::new(&dir)).unwrap();
    let fence = store.acquire_lease(LOG_LEASE, "child", Timestamp(1), Duration::from_secs(1)).unwrap().fence;
    let mut head = store.size().unwrap();
    loop {
        let batch: Vec<_> = (head..head + batch_len(head)).map(event).collect();
        store.put_blob("kill-test", &blob(head)).unwrap();
        // False where the last child was killed between this and its append.
        store.raise_counter("head", head + 1).unwrap();
        head = store.append(&batch, head, fence).unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "\nacknowledged {head}").and_then(|()| out.flush()).unwrap();
    }
}

/// Starts a child, kills it after `acks` acknowledgements and `spin` rounds of waiting, and returns the last size that it had acknowledged.
fn run_and_kill(dir: &Path, acks: u64, spin: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    let mut take = |line: &str| match line.strip_prefix("acknowledged ") {
        Some(size) => {
            acknowledged = size.parse().unwrap();
            true
        }
        None => false,
    };
    let mut seen = 0;
    while seen < acks {
        match lines.next() {
            Some(line) => seen += u64::from(take(&line.unwrap())),
            None => panic!("the child ended by itself: {:?}", child.wait_with_output()),
        }
    }
    for _ in 0..spin {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    // What it had written into the pipe was acknowledged too; a line that was cut off was not.
    for line in lines.map_while(Result::ok) {
        take(&line);
    }
    acknowledged
}

/// Everything acknowledged is there; nothing is there by halves; the log verifies.
fn check(dir: &Path, acknowledged: u64, previous: u64) -> u64 {
    let store = Store::open(dir).unwrap();
    let size = store.size().unwrap();
    assert!(size >= acknowledged.max(previous), "{acknowledged} events were acknowledged, {previous} before that; {size} are there");
    let mut boundary = previous;
    while boundary < size {
        let bytes = store.get_blob(&Digest::of_kind("kill-test", &blob(boundary))).unwrap();
        assert_eq!(bytes, Some(blob(boundary)), "a blob was stored before its event");
        boundary += batch_len(boundary);
    }
    assert_eq!(boundary, size, "a batch is there by half");
    assert!(store.counter("head").unwrap() >= last_head(previous, size));
    for (seq, bytes) in store.read(previous, usize::MAX).unwrap() {
        assert!(bytes == event(seq), "event {seq} was altered");
    }
    let leaves: Vec<_> = (0..size).map(|seq| merkle::leaf_hash(&event(seq))).collect();
    assert_eq!(store.root(size).unwrap(), merkle::root(&leaves));
    size
}

/// One more than the head below the last batch of those from `previous` on, as the child's counter has it.
fn last_head(previous: u64, size: u64) -> u64 {
    let (mut head, mut last) = (previous, 0);
    while head < size {
        last = head + 1;
        head += batch_len(head);
    }
    last
}

#[test]
fn nothing_acknowledged_is_lost_through_eighty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let (mut size, mut random) = (0, SEED);
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut unacknowledged = 0;
    for kill in 0..KILLS {
        let acknowledged = run_and_kill(&dir, next(ACKS_MAX), next(2_000_000));
        let now = check(&dir, acknowledged, size);
        unacknowledged += u64::from(now > acknowledged.max(size));
        size = now;
        println!("kill {kill}: {acknowledged} acknowledged, {size} there");
    }
    assert!(size > KILLS, "the children hardly wrote: {size} events, seed {SEED:#x}");
    println!("{KILLS} kills, {size} events, {unacknowledged} times killed between commit and acknowledgement");
    let store = Store::open(&dir).unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let note = Checkpoint { origin: "kill".to_owned(), size, root: store.root(size).unwrap() }.sign(&key).unwrap().to_string();
    let report = verify(&dir, &note, &VerifierKey::new("kill", Kind::Log, key.verifying_key()).unwrap()).unwrap();
    assert!(report.ok(), "{report:?}");
    assert!(report.blobs > 0);
}
