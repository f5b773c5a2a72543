//! Rehearsals on real Debian roots: good, failing, dying, hostile updates; from a booted host and from one without systemd running.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab_host;

use fother_core::{
    Digest,
    policy::{Check, CheckAnswer},
    rehearsal::{Rehearsal, Verdict},
    resolution::PackageChange,
};
use fother_host::{
    manifest::Strictness,
    rehearse::{EXCHANGE, Limits, RehearseRequest, bisect, inside, rehearse},
    transact::ConffilePolicy,
};
use lab_host::{CASE, Host, Package};
use std::{fs, path::Path, process::Command};

const UNIT: &str = "[Service]\nExecStart=/usr/lib/trial/bin/serve\n[Install]\nWantedBy=multi-user.target\n";
const ENABLE: &str = "systemctl enable trial.service >/dev/null 2>&1 || true\nif [ -d /run/systemd/system ]; then systemctl daemon-reload; deb-systemd-invoke restart trial.service; fi";

const OLD: Package = Package {
    name: "trial",
    version: "1.0",
    depends: "",
    files: &[
        ("/usr/lib/trial/bin/serve", "#!/bin/sh\nexec sleep infinity\n"),
        ("/usr/lib/trial/data", "one\n"),
        ("/usr/lib/trial/removed", "x\n"),
        ("/lib/systemd/system/trial.service", UNIT),
        ("/etc/trial.conf", "listen 1\n"),
    ],
    postinst: ENABLE,
};
const GOOD: Package = Package {
    version: "2.0",
    files: &[
        ("/usr/lib/trial/bin/serve", "#!/bin/sh\n# two\nexec sleep infinity\n"),
        ("/usr/lib/trial/data", "two\n"),
        ("/usr/lib/trial/added/deep", "x\n"),
        ("/lib/systemd/system/trial.service", UNIT),
        ("/etc/trial.conf", "listen 2\npassword = x\n"),
    ],
    postinst: "systemctl enable trial.service >/dev/null 2>&1 || true\nmkdir -p /var/lib/trial /etc/trial.d\ndate > /var/lib/trial/stamp\ndate > /etc/trial.d/generated\nif [ -d /run/systemd/system ]; then systemctl daemon-reload; deb-systemd-invoke restart trial.service; fi",
    ..OLD
};
const FAILS: Package = Package { version: "2.1", postinst: "echo trial cannot be configured >&2\nexit 3", ..GOOD };
const DIES: Package = Package {
    version: "2.2",
    files: &[
        ("/usr/lib/trial/bin/serve", "#!/bin/sh\nsleep 1\nexit 1\n"),
        ("/lib/systemd/system/trial.service", UNIT),
        ("/etc/trial.conf", "listen 1\n"),
    ],
    ..GOOD
};
const HOSTILE: Package = Package {
    version: "2.3",
    // Everything that would be a way out leaves a mark; nothing here harms a host even where it succeeds. The last is a fork bomb.
    postinst: "escaped() { echo \"$1\" >> /root/escaped; }
mkdir -p /root/m /root/run
mknod /root/disk b 8 0 && escaped mknod || true
mknod /dev/kmsg2 c 1 11 && escaped mknod-dev || true
mount -o remount,rw /proc/sys && escaped remount || true
mount -o remount,rw,bind /proc/sys && escaped remount-bind || true
umount /proc/sys && escaped umount || true
mount -t proc p /root/m && escaped proc || true
mount -t sysfs s /root/m && escaped sysfs || true
mount -t cgroup2 c /root/m && escaped cgroup2 || true
mount -t cgroup -o pids c /root/m && escaped cgroup || true
test -w /proc/sys/kernel/core_pattern && escaped core_pattern || true
test -w /proc/sysrq-trigger && escaped sysrq || true
test -e /dev/mem && escaped mem || true
nsenter -t 1 -m true && nsenter -t 1 -p -u -i true && test -e /proc/1/root/var/lib/fother/binary && escaped nsenter || true
f() { f | f & }
(f) 2>/dev/null || true
exit 0",
    ..GOOD
};
const OTHER_OLD: Package = Package { name: "other", version: "1", depends: "", files: &[("/usr/share/other/a", "1\n")], postinst: "" };
const OTHER_NEW: Package = Package { version: "2", files: &[("/usr/share/other/a", "2\n")], ..OTHER_OLD };

fn request(changes: Vec<PackageChange>) -> RehearseRequest {
    RehearseRequest {
        changes,
        debs: Path::new(CASE).join("debs"),
        work: Path::new(CASE).join("work"),
        base: Digest::of_file(b"base"),
        checks: vec![
            Check::Unit { name: "trial runs".to_owned(), unit: "trial.service".to_owned() },
            Check::Unit { name: "nginx runs".to_owned(), unit: "nginx.service".to_owned() },
        ],
        binary: Path::new(CASE).join("binary"),
        driver_args: ["--exact", "part_driver", "--ignored", "--nocapture"].map(str::to_owned).into(),
        conffiles: ConffilePolicy::Keep,
        limits: Limits { tasks: 600, time_s: 60, ..Limits::default() },
    }
}

#[test]
#[ignore = "runs inside the clone"]
fn part_driver() {
    let ask = |check: &Check, _: Option<&[(String, CheckAnswer)]>| {
        let Check::Unit { unit, .. } = check else { return CheckAnswer::NoData { why: "not asked here".to_owned() } };
        let state = Command::new("systemctl").args(["is-active", unit]).output().unwrap();
        if state.status.success() {
            CheckAnswer::Fine
        } else {
            CheckAnswer::Failed { why: String::from_utf8_lossy(&state.stdout).trim().to_owned() }
        }
    };
    inside(Path::new(EXCHANGE), &ask).unwrap();
}

#[test]
#[ignore = "runs inside the host"]
fn part_rehearse() {
    let changes = serde_json::from_slice(&fs::read(format!("{CASE}/changes.json")).unwrap()).unwrap();
    let report = rehearse(&request(changes), &mut |_| {}).unwrap();
    fs::write(format!("{CASE}/report.json"), serde_json::to_vec(&report).unwrap()).unwrap();
}

#[test]
#[ignore = "runs inside the host"]
fn part_bisect() {
    let changes = serde_json::from_slice(&fs::read(format!("{CASE}/changes.json")).unwrap()).unwrap();
    let request = request(changes);
    let report = rehearse(&request, &mut |_| {}).unwrap();
    let found = bisect(&request, &report, &mut |_| {}).unwrap();
    assert_eq!(found.failing, ["trial"]);
    let rest = found.rest.unwrap();
    assert_eq!((rest.verdict, rest.changes.len(), found.rehearsals), (Verdict::Passes, 1, 2));
}

fn host() -> Host {
    let host = Host::new();
    host.install(&OLD);
    host.install(&OTHER_OLD);
    fs::write(host.root().join("etc/trial.conf"), "listen mine\n").unwrap();
    host
}

fn offer(host: &Host, package: &Package) {
    let changes = vec![host.offer(&OTHER_NEW, Some("1")), host.offer(package, Some("1.0"))];
    fs::write(host.case().join("changes.json"), serde_json::to_vec(&changes).unwrap()).unwrap();
}

fn report(host: &Host) -> Rehearsal {
    let report: Rehearsal = serde_json::from_slice(&fs::read(host.case().join("report.json")).unwrap()).unwrap();
    println!("{:?} in {} ms, apply {} ms: {:?} {:?}", report.verdict, report.total_ms, report.apply_ms, report.reasons, report.breakages);
    println!(
        "footprint {}, compared {}, differences {:?}, restarts {:?}",
        report.footprint.len(),
        report.undo.paths_compared,
        report.undo.differences,
        report.restarts
    );
    report
}

fn check_good(report: &Rehearsal, host: &Host) {
    assert_eq!(report.verdict, Verdict::Passes);
    assert_eq!(report.undo.differences, Vec::<String>::new());
    assert!(report.undo.paths_compared > 20);
    let paths: Vec<&str> = report.footprint.iter().map(|entry| entry.path.as_str()).collect();
    for path in ["/usr/lib/trial/data", "/usr/lib/trial/removed", "/etc/trial.d/generated", "/var/lib/trial/stamp", "/var/lib/dpkg/status"]
    {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
    assert!(report.restarts.contains(&"trial.service".to_owned()), "{:?}", report.restarts);
    assert_eq!((report.conflicts.len(), report.conflicts[0].path.as_str()), (1, "/etc/trial.conf"));
    // On the host the whole diff; of it, only the package's own lines leave the host.
    assert!(report.conflicts[0].diff.contains("-listen mine") && report.conflicts[0].diff.contains("+password = x"));
    let told = report.clone().outgoing();
    assert!(!told.conflicts[0].diff.contains("mine") && told.conflicts[0].diff.contains("+password = x"), "{}", told.conflicts[0].diff);
    assert!(report.exercised.iter().any(|unit| unit.unit == "nginx.service" && unit.exercised));
    assert!(report.space_bytes > 0 && report.apply_ms > 0);
    assert_eq!(fs::read_dir(host.case().join("work")).unwrap().count(), 0, "the work directory is left empty");
}

#[test]
fn a_good_update_passes_and_the_host_is_untouched() {
    let host = host();
    offer(&host, &GOOD);
    let before = host.look();
    host.enter("part_rehearse");
    let report = report(&host);
    check_good(&report, &host);
    assert_eq!(before.diff(&host.look(), Strictness::Written), []);
}

#[test]
fn a_good_update_passes_on_a_booted_host() {
    let host = host();
    offer(&host, &GOOD);
    host.boot("part_rehearse");
    check_good(&report(&host), &host);
}

#[test]
fn a_script_that_fails_and_a_service_that_dies_break_it() {
    let host = host();
    offer(&host, &FAILS);
    host.enter("part_rehearse");
    let failed = report(&host);
    assert_eq!(failed.verdict, Verdict::Breaks);
    assert!(failed.breakages.iter().any(|broken| broken.what == "trial" && broken.why.contains("trial cannot be configured")));
    offer(&host, &DIES);
    host.enter("part_rehearse");
    let died = report(&host);
    assert_eq!(died.verdict, Verdict::Breaks);
    assert!(died.breakages.iter().any(|broken| broken.what == "trial.service"), "{:?}", died.breakages);
}

#[test]
fn the_smallest_failing_set_is_found_and_the_rest_passes() {
    let host = host();
    offer(&host, &FAILS);
    host.enter("part_bisect");
}

#[test]
fn a_hostile_package_changes_nothing_outside_its_clone() {
    let host = host();
    offer(&host, &HOSTILE);
    let before = host.look();
    host.enter("part_rehearse");
    let report = report(&host);
    assert!(!report.footprint.is_empty(), "it must have run");
    assert!(!report.footprint.iter().any(|entry| entry.path == "/root/escaped"), "{:?}", report.footprint);
    assert_eq!(before.diff(&host.look(), Strictness::Written), []);
}
