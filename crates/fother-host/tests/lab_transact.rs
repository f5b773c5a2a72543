//! Real transactions on real Debian roots: applied, undone, refused, failing, and killed at random points.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab_host;

use fother_core::rehearsal::{Effect, FootprintEntry};
use fother_host::{
    manifest::{Manifest, Strictness},
    transact::{
        self, ApplyError, ApplyRequest, ApplyResult, ConffilePolicy, Outcome, Transaction, recover, run_from_file, undo_transaction,
    },
    undo::OnConflict,
};
use lab_host::{CASE, Host, Package};
use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

/// Times that a transaction is killed.
const KILLS: u32 = 50;

const OLD: Package = Package {
    name: "trial",
    version: "1.0",
    depends: "",
    files: &[("/usr/lib/trial/data", "one\n"), ("/usr/lib/trial/removed", "x\n"), ("/etc/trial.conf", "listen 1\n")],
    postinst: "date > /var/lib/misc/trial",
};
const GOOD: Package = Package {
    version: "2.0",
    files: &[("/usr/lib/trial/data", "two\n"), ("/usr/lib/trial/added/deep", "x\n"), ("/etc/trial.conf", "listen 2\n")],
    postinst: "date > /etc/trial-generated\nrm -f /var/lib/misc/trial\nupdate-alternatives --install /usr/bin/trial trial /usr/lib/trial/data 1 >/dev/null",
    ..OLD
};
const FAILS: Package = Package { version: "2.1", postinst: "date > /etc/trial-generated\necho no luck >&2\nexit 3", ..GOOD };
/// Kills apt over dpkg's head and goes on writing for two seconds.
const ORPHANED: Package = Package {
    version: "2.2",
    postinst: "kill -9 \"$(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)\"\n\
               for i in $(seq 100); do date > /etc/trial-generated; echo $i > /usr/lib/trial/data; sleep 0.02; done",
    ..GOOD
};
/// Takes two seconds.
const SLOW: Package = Package { version: "2.3", postinst: "date > /etc/trial-generated\nsleep 2", ..GOOD };
const OTHER_OLD: Package = Package { name: "other", version: "1", depends: "", files: &[("/usr/share/other/a", "1\n")], postinst: "" };
const OTHER_NEW: Package = Package { version: "2", files: &[("/usr/share/other/a", "2\n"), ("/usr/share/other/b", "2\n")], ..OTHER_OLD };

fn request(host: &Host, package: &Package) -> ApplyRequest {
    let changed = |path: &str, effect| FootprintEntry { path: path.to_owned(), effect };
    let request = ApplyRequest {
        id: "txn_test".to_owned(),
        tx: Transaction {
            changes: vec![host.offer(&OTHER_NEW, Some("1")), host.offer(package, Some("1.0"))],
            debs: Path::new(CASE).join("debs"),
            work: Path::new(CASE).join("work"),
            conffiles: ConffilePolicy::Keep,
            lock_wait_s: 1,
            space_bytes: 0,
        },
        // As a rehearsal finds them: what scripts write stands in no package.
        footprint: vec![
            changed("/etc/trial-generated", Effect::Creates),
            changed("/var/lib/misc/trial", Effect::Removes),
            changed("/usr/bin/trial", Effect::Creates),
        ],
        undo_archive: Path::new(CASE).join("undo"),
        journal: Path::new(CASE).join("journal"),
    };
    fs::write(host.case().join("request.json"), serde_json::to_vec(&request).unwrap()).unwrap();
    request
}

fn read() -> ApplyRequest {
    serde_json::from_slice(&fs::read(format!("{CASE}/request.json")).unwrap()).unwrap()
}

#[test]
#[ignore = "runs inside the host"]
fn part_run() {
    run_from_file(&Path::new(CASE).join("request.json")).unwrap();
}

#[test]
#[ignore = "runs inside the host"]
fn part_undo() {
    let request = read();
    undo_transaction(&request.journal, &request.undo_archive, OnConflict::Refuse, &mut |_| {}).unwrap();
    assert_eq!(recover(&request, &mut |_| {}).unwrap().outcome, Outcome::Before);
}

#[test]
#[ignore = "runs inside the host"]
fn part_refusals() {
    let mut request = read();
    let refused = |request: &ApplyRequest| {
        let _ = fs::remove_file(&request.journal);
        transact::apply(request, &mut |_| {}).unwrap_err()
    };
    let full = ApplyRequest { tx: Transaction { space_bytes: 1 << 60, ..request.tx.clone() }, ..request.clone() };
    assert!(matches!(refused(&full), ApplyError::Space { .. }));
    let mut other = request.clone();
    other.tx.changes[1].from = Some("0.9".parse().unwrap());
    assert!(matches!(refused(&other), ApplyError::Differs(_)));
    fs::write("/etc/trial.conf", "listen mine\n").unwrap();
    request.tx.conffiles = ConffilePolicy::Stop;
    assert!(matches!(refused(&request), ApplyError::Conffiles(list) if list.len() == 1));
    fs::write("/var/lib/dpkg/updates/0001", "x").unwrap();
    assert!(matches!(refused(&request), ApplyError::Unclean { .. }));
    fs::remove_file("/var/lib/dpkg/updates/0001").unwrap();
}

fn result(host: &Host) -> ApplyResult {
    serde_json::from_slice(&fs::read(host.case().join("result.json")).unwrap()).unwrap()
}

fn host() -> Host {
    let host = Host::new();
    host.install(&OLD);
    host.install(&OTHER_OLD);
    host
}

/// What differs, but for what only the passing of time explains.
fn diff(before: &Manifest, after: &Manifest) -> Vec<(String, String)> {
    before.diff(after, Strictness::Tree)
}

#[test]
fn applied_it_is_installed_and_undone_it_is_exactly_as_before() {
    let host = host();
    request(&host, &GOOD);
    let before = host.look();
    host.enter("part_run");
    let result = result(&host);
    assert_eq!((result.outcome, result.error), (Some(Outcome::After), None));
    assert_eq!(fs::read_to_string(host.root().join("usr/lib/trial/data")).unwrap(), "two\n");
    assert!(!host.root().join("usr/sbin/policy-rc.d").exists());
    host.enter("part_undo");
    assert_eq!(diff(&before, &host.look()), []);
    assert_eq!(before.digest().unwrap(), host.look().digest().unwrap());
}

#[test]
fn a_failing_script_leaves_everything_exactly_as_before() {
    let host = host();
    request(&host, &FAILS);
    let before = host.look();
    host.enter("part_run");
    let result = result(&host);
    assert_eq!(result.outcome, Some(Outcome::Before));
    assert!(result.error.unwrap().contains("no luck"));
    assert_eq!(diff(&before, &host.look()), []);
}

#[test]
fn where_apt_alone_is_killed_what_it_started_is_ended_before_anything_is_put_back() {
    let host = host();
    request(&host, &ORPHANED);
    let before = host.look();
    host.enter("part_run");
    assert_eq!(result(&host).outcome, Some(Outcome::Before), "{:?}", result(&host));
    assert_eq!(diff(&before, &host.look()), []);
}

#[test]
fn a_transaction_that_nobody_finished_can_be_undone() {
    let host = host();
    let request = request(&host, &SLOW);
    let before = host.look();
    let mut process = host.command("part_run").stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
    let journal = host.case().join("journal");
    let until = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(host.root().join("etc/trial-generated")).is_err() {
        assert!(Instant::now() < until && process.try_wait().unwrap().is_none(), "the transaction did not get that far");
        std::thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(matches!(transact::steps(&journal).unwrap().last(), Some(transact::Step::Started { .. })), "{}", request.id);
    host.enter("part_undo");
    assert_eq!(diff(&before, &host.look()), []);
}

#[test]
fn bad_preconditions_are_refused_by_name_before_anything_changes() {
    let host = host();
    request(&host, &GOOD);
    host.enter("part_refusals");
    assert_eq!(fs::read_to_string(host.root().join("usr/lib/trial/data")).unwrap(), "one\n");
}

#[test]
fn killed_anywhere_it_is_recovered_to_exactly_before_or_after() {
    let (mut killed, mut ends, mut seed, mut longest) = (0, [0, 0], 0x5eed_u32, Duration::from_millis(2_500));
    while killed < KILLS {
        let host = host();
        request(&host, &GOOD);
        let before = host.look();
        loop {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let start = Instant::now();
            let deadline = start + longest.mul_f64(f64::from(seed >> 8) / f64::from(1 << 24));
            let mut process = host.command("part_run").stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
            let ended = loop {
                if let Some(status) = process.try_wait().unwrap() {
                    break Some(status);
                }
                if Instant::now() >= deadline {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            if let Some(status) = ended {
                assert!(status.success(), "seed {seed}");
                longest = longest.max(start.elapsed());
                break;
            }
            // The end of the process that holds the process namespace ends every process in it.
            process.kill().unwrap();
            process.wait().unwrap();
            killed += 1;
        }
        // The last run ended by itself: it had applied, or recovered.
        let after = host.look();
        match result(&host).outcome.unwrap() {
            Outcome::Before => {
                ends[0] += 1;
                assert_eq!(diff(&before, &after), [], "seed {seed}");
            }
            Outcome::After => {
                ends[1] += 1;
                assert_eq!(fs::read_to_string(host.root().join("usr/lib/trial/data")).unwrap(), "two\n", "seed {seed}");
                host.enter("part_undo");
                assert_eq!(diff(&before, &host.look()), [], "seed {seed}");
            }
        }
    }
    println!("killed {killed} times; ended before {}, after {}", ends[0], ends[1]);
    assert!(ends[0] > 0 && ends[1] > 0, "the kills must meet every phase: {ends:?}");
}
