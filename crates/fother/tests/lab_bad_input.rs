//! Bad input on real hosts: each case asserts exit code and message, that nothing is left broken, and that it works once the cause is gone.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fleet;

use fleet::{Fleet, GROUP, Setup};
use fother_lab::{GATEWAY, SiteVersion};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const FOTHER: &str = "/usr/local/bin/fother";
const WAIT: Duration = Duration::from_secs(90);
/// Seconds by which the wrong clock is ahead.
const AHEAD_S: i64 = 300;
/// Space that stays free on the full disk, in bytes: less than any transaction needs.
const LEFT_BYTES: u64 = 300 << 10;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}

/// The exit code must be `code`, and the output must hold every one of `words`.
fn expect(what: &str, output: &Output, code: i32, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    for word in words {
        assert!(text.contains(word), "{what} does not say `{word}`: {text}");
    }
    assert!(!text.contains("panicked"), "{what}: {text}");
    println!("    {what}: exit {code}, {}", text.lines().find(|line| words.is_empty() || line.contains(words[0])).unwrap_or_default());
}

/// Nothing of a rehearsal or a transaction is left on a host, and dpkg is content.
fn is_whole(fleet: &Fleet, host: &str) {
    let audit = fleet.run_on(host, &["dpkg", "--audit"]);
    assert!(audit.trim().is_empty(), "{host}: {audit}");
    let mounts = fleet.run_on(host, &["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains("rehears") && !mounts.contains("/clone"), "{host}: {mounts}");
    let units = fleet.run_on(host, &["systemctl", "list-units", "--all", "--plain", "--no-legend", "fother-*"]);
    assert!(!units.lines().any(|line| line.contains("rehearsal") || line.contains("txn_")), "{host}: {units}");
    let failed = fleet.run_on(host, &["systemctl", "--failed", "--plain", "--no-legend"]);
    assert!(!failed.contains("fother"), "{host}: {failed}");
    assert!(fleet.run_on(host, &["sh", "-c", "ls /usr/sbin/policy-rc.d* 2>/dev/null; true"]).trim().is_empty(), "{host}: a hook is left");
}

/// A name, and what runs under it.
type Case = (&'static str, fn(&Fleet));

/// Runs the cases with their times; a case that fails does not hide the next one.
fn cases(fleet: &Fleet, all: &[Case]) {
    let mut failed = Vec::new();
    for (name, run) in all {
        let start = Instant::now();
        println!("  {name}");
        if catch_unwind(AssertUnwindSafe(|| run(fleet))).is_err() {
            failed.push(*name);
        }
        println!("  {name}: {:.1} s", start.elapsed().as_secs_f64());
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

#[test]
fn bad_input_is_told_and_leaves_nothing_broken() {
    let setup = Setup { hosts: 3, unavailable: 1, ..Setup::quick("input") };
    let fleet = Fleet::up(&setup);
    let all: [Case; 8] = [
        ("enrolment", enrolment),
        ("wrong clock of an enrolled host", wrong_clock),
        ("mirror down", mirror_down),
        ("package manager locked", locked),
        ("dpkg left half-configured", half_configured),
        ("rehearsal without space", no_space_to_rehearse),
        ("approvals", approvals),
        ("transaction without space", no_space_to_apply),
    ];
    cases(&fleet, &all);
    for host in &fleet.web {
        is_whole(&fleet, &host.name);
    }
    assert_eq!(fleet.verify_log()["problems"], 0);
}

#[test]
fn a_lab_asks_the_mirror_that_was_named_and_leaves_nothing_where_that_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/elsewhere", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut first = String::new();
            BufReader::new(&stream).read_line(&mut first).unwrap_or_default();
            heard.lock().unwrap().push(first);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let bases = || {
        fs::read_dir("/var/cache/fother/lab/base").map_or(0, |entries| entries.flatten().filter(|e| e.file_name() != "unfinished").count())
    };
    let before = bases();
    let up = |mirror: &str| {
        Command::new(fleet::FOTHER).args(["lab", "up", "--name", "inputm", "--hosts", "1", "--mirror", mirror]).output().unwrap()
    };
    expect("no archive there", &up(&mirror), 5, &["mmdebstrap", "404"]);
    assert!(asked.lock().unwrap().iter().any(|line| line.starts_with("GET /elsewhere/dists/bookworm/")), "{:?}", asked.lock().unwrap());
    expect("no address", &up("mirror.example/debian"), 5, &["is not an http:// or https:// address"]);
    assert!(!fother_lab::labs().contains(&"inputm".to_owned()));
    assert_eq!(bases(), before, "the cached image is gone");
}

/// The worker: the lab's host that no test enrols.
const NEWCOMER: &str = "worker-1";

fn install(fleet: &Fleet, token: &str, server: &str, environment: &[&str]) -> Output {
    fleet.copy_in(NEWCOMER, "/run/token", token.as_bytes());
    let command = [FOTHER, "agent", "install", "--server", server, "--token-file", "/run/token"];
    fleet.on(NEWCOMER, &[&["env"], environment, &command[..]].concat())
}

fn not_enrolled(fleet: &Fleet) {
    let left = "ls -d /etc/fother/* /var/lib/fother/agent* /etc/systemd/system/fother-* 2>/dev/null; grep fother /etc/passwd; true";
    assert_eq!(fleet.run_on(NEWCOMER, &["sh", "-c", left]), "", "something is left of an enrolment that was refused");
}

fn enrolment(fleet: &Fleet) {
    let server = format!("https://{GATEWAY}:7443");
    let token = fleet.cli(&["host", "token", "--label", "role=worker"]);
    let (secret, ca) = token.split_once('.').unwrap();
    let other = |text: &str| text.chars().map(|c| if c == '0' { '1' } else { '0' }).collect::<String>();
    let skewed = shim(fleet, NEWCOMER);
    let closed = format!("https://{GATEWAY}:1");
    /// What, token, server, environment, exit code, words.
    type Attempt<'a> = (&'a str, String, &'a str, &'a [&'a str], i32, &'a [&'a str]);
    let cases: [Attempt<'_>; 7] = [
        ("malformed token", "hello".into(), &server, &[], 2, &["no enrolment token", "hint: "]),
        ("no address", token.clone(), "patch.example", &[], 2, &["https://host:port"]),
        ("unknown token", format!("{}.{ca}", other(secret)), &server, &[], 4, &["does not take the token", "fother host token"]),
        ("another CA", format!("{secret}.{}", other(ca)), &server, &[], 4, &["CA is not the one that the token names"]),
        ("no server", token.clone(), &closed, &[], 5, &["cannot be reached", "nothing was enrolled"]),
        ("wrong clock", token.clone(), &server, &[&skewed], 4, &["this host's clock says", "the server's", "set the clock"]),
        ("used token", used_token(fleet), &server, &[], 4, &["was used already"]),
    ];
    for (what, token, server, environment, code, words) in cases {
        expect(what, &install(fleet, &token, server, environment), code, words);
        not_enrolled(fleet);
    }
    let missing = [FOTHER, "agent", "install", "--server", &server, "--token-file", "/run/nothing"];
    expect("no token file", &fleet.on(NEWCOMER, &missing), 2, &["/run/nothing"]);
    // The very token of the refused attempts still works: none of them spent it.
    expect("then it works", &install(fleet, &token, &server, &[]), 0, &["host_"]);
    expect("enrolled already", &install(fleet, &token, &server, &[]), 4, &["is enrolled already", "agent uninstall"]);
    assert!(fleet.run_on(NEWCOMER, &[FOTHER, "agent", "show"]).contains(&server));
    fleet.run_on(NEWCOMER, &[FOTHER, "agent", "uninstall", "--yes"]);
}

fn used_token(fleet: &Fleet) -> String {
    fleet.run_on(&fleet.web[0].name, &["cat", "/run/fother-token"]).trim().to_owned()
}

/// Puts a library on a host that makes its clock run ahead for one program; the variable that switches it on.
fn shim(fleet: &Fleet, host: &str) -> String {
    const SOURCE: &str = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
        int clock_gettime(clockid_t id, struct timespec *t) { int r = syscall(SYS_clock_gettime, id, t); \
        if (!r && id == CLOCK_REALTIME) t->tv_sec += AHEAD; return r; }\n";
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("ahead.c"), dir.path().join("ahead.so"));
    fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", &format!("-DAHEAD={AHEAD_S}"), "-o"]).arg(&library).arg(&source).status();
    assert!(built.unwrap().success(), "the C compiler makes a library");
    fother_lab::copy_in(&fleet.name, host, "/opt/ahead.so".as_ref(), &fs::read(library).unwrap(), 0o755).unwrap();
    "LD_PRELOAD=/opt/ahead.so".to_owned()
}

fn wrong_clock(fleet: &Fleet) {
    let host = &fleet.web[1].name;
    let variable = shim(fleet, host);
    let drop_in = format!("[Service]\nEnvironment={variable}\nMemoryDenyWriteExecute=no\n");
    fleet.copy_in(host, "/run/systemd/system/fother-agent.service.d/clock.conf", drop_in.as_bytes());
    fleet.run_on(host, &["chmod", "-R", "a+rX", "/run/systemd/system"]);
    fleet.run_on(host, &["sh", "-c", "systemctl daemon-reload && systemctl restart fother-agent"]);
    fleet.wait("the agent's word about the clock", WAIT, || {
        let journal = fleet.run_on(host, &["journalctl", "-u", "fother-agent", "-n", "50", "--no-pager"]);
        journal.contains("the host's clock says") && journal.contains("the server's") && journal.contains(" s apart")
    });
    assert!(fleet.server_log().contains("a check-in was refused"), "{}", fleet.server_log());
    fleet.run_on(
        host,
        &["sh", "-c", "rm -r /run/systemd/system/fother-agent.service.d && systemctl daemon-reload && systemctl restart fother-agent"],
    );
    fleet.wait("the agent to be in touch again", WAIT, || {
        fleet.run_on(host, &["journalctl", "-u", "fother-agent", "-n", "3", "--no-pager"]).contains("in touch")
    });
}

fn mirror_down(fleet: &Fleet) {
    let host = &fleet.web[0].name;
    fleet.publish(SiteVersion::Good);
    fleet.run_on(host, &["apt-get", "update", "-q"]);
    let scanned = fleet.on(host, &[FOTHER, "scan"]);
    let state = fleet.state()["archives"].clone();
    // The whole archive vanishes: the mirror answers 404 for every file of it.
    let current = Path::new("/var/cache/fother/lab/labs").join(&fleet.name).join("archive/current");
    let away = current.with_file_name("away");
    fs::rename(&current, &away).unwrap();
    expect("archive update", &fleet.try_cli(&["archive", "update"]), 4, &["lab: refused", "InRelease does not exist"]);
    assert_eq!(fleet.state()["archives"]["lab"]["inrelease"], state["lab"]["inrelease"], "the old state was not kept");
    let rehearsed = fleet.on(host, &[FOTHER, "rehearse", "lab-site"]);
    expect("rehearse", &rehearsed, 5, &["lab-site", "hint: ", "nothing was begun"]);
    let offline = fleet.on(host, &[FOTHER, "scan"]);
    assert_eq!((offline.status.code(), &offline.stdout), (scanned.status.code(), &scanned.stdout), "scan needs no network");
    is_whole(fleet, host);
    fs::rename(&away, &current).unwrap();
    fleet.cli(&["archive", "update"]);
    let again = fleet.on(host, &[FOTHER, "rehearse", "lab-site"]);
    expect("then it works", &again, 0, &["PASSES", "proven byte for byte"]);
    is_whole(fleet, host);
    let unknown = fleet.on(host, &[FOTHER, "rehearse", "no-such-package"]);
    expect("unknown package", &unknown, 2, &["no-such-package is not installed"]);
    let newest = fleet.on(host, &[FOTHER, "rehearse", "dpkg"]);
    expect("nothing to do", &newest, 0, &["nothing to do"]);
}

fn locked(fleet: &Fleet) {
    const HOLD: &str = "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'r+'); \
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); open('/run/held', 'w').close(); time.sleep(600)";
    let host = &fleet.web[0].name;
    fleet.run_on(host, &["rm", "-f", "/run/held"]);
    fleet.run_on(host, &["systemd-run", "--quiet", "--unit=holder", "python3", "-c", HOLD]);
    fleet.wait("the lock to be held", WAIT, || fleet.on(host, &["test", "-e", "/run/held"]).status.success());
    let pid = fleet.run_on(host, &["systemctl", "show", "-P", "MainPID", "holder"]);
    let start = Instant::now();
    let output = fleet.on(host, &[FOTHER, "rehearse", "lab-site", "--lock-wait", "2"]);
    expect("locked", &output, 4, &[&format!("process {} (python3)", pid.trim()), "lock-frontend", "waited 2 s", "--lock-wait"]);
    assert!(start.elapsed() >= Duration::from_secs(2), "it did not wait");
    is_whole(fleet, host);
    fleet.run_on(host, &["systemctl", "stop", "holder"]);
    expect("then it works", &fleet.on(host, &[FOTHER, "rehearse", "lab-site"]), 0, &["PASSES"]);
}

fn half_configured(fleet: &Fleet) {
    const BUILD: &str = "set -e; d=$(mktemp -d); mkdir -p $d/DEBIAN; chmod 755 $d; \
        printf 'Package: half-done\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody <n@example.org>\\nDescription: fails\\n' >$d/DEBIAN/control; \
        printf '#!/bin/sh\\ntest -e /run/half-done-may\\n' >$d/DEBIAN/postinst; chmod 755 $d/DEBIAN/postinst; \
        dpkg-deb -b $d /run/half-done.deb >/dev/null; rm -r $d; dpkg -i /run/half-done.deb >/dev/null 2>&1 || true";
    let host = &fleet.web[0].name;
    fleet.run_on(host, &["rm", "-f", "/run/half-done-may"]);
    fleet.run_on(host, &["sh", "-c", BUILD]);
    let output = fleet.on(host, &[FOTHER, "rehearse", "lab-site"]);
    expect("half-configured", &output, 4, &["half-done (half-configured)", "dpkg --configure -a", "changes nothing"]);
    let scanned = text(&fleet.on(host, &[FOTHER, "scan"]));
    assert!(scanned.contains("half-done by dpkg") && scanned.contains("half-done: half-configured"), "{scanned}");
    // Nothing was repaired behind the administrator's back.
    assert!(fleet.run_on(host, &["dpkg-query", "-W", "-f", "${db:Status-Status}", "half-done"]).contains("half-configured"));
    let plan = plan_of_all(fleet);
    expect("plan", &fleet.try_cli(&["plan", "rehearse", &plan, "--no-bisect"]), 3, &["UNKNOWN", "half-done (half-configured)"]);
    // The host's own root allows the repair, and only then does the agent make it: with the next plan.
    fleet.run_on(host, &["touch", "/run/half-done-may"]);
    fleet.cli(&["plan", "new", GROUP]);
    assert!(fleet.run_on(host, &["dpkg-query", "-W", "-f", "${db:Status-Status}", "half-done"]).contains("half-configured"));
    fleet.run_on(host, &["sh", "-c", "sed -i /repair/d /etc/fother/agent.toml; echo 'repair = true' >>/etc/fother/agent.toml"]);
    fleet.cli(&["plan", "new", GROUP]);
    assert_eq!(
        fleet.run_on(host, &["dpkg-query", "-W", "-f", "${db:Status-Status}", "half-done"]),
        "installed",
        "allowed, and not repaired"
    );
    let journal = fleet.run_on(host, &["journalctl", "-u", "fother-executor", "-n", "100", "--no-pager"]);
    assert!(journal.contains("half-configured: half-done"), "{journal}");
    expect("then it works", &fleet.on(host, &[FOTHER, "rehearse", "lab-site"]), 0, &["PASSES"]);
    fleet.run_on(host, &["dpkg", "--purge", "half-done"]);
    is_whole(fleet, host);
}

/// A plan with every host of the group in it; one whose packages moved joins with its next check-in.
fn plan_of_all(fleet: &Fleet) -> String {
    let mut plan = String::new();
    fleet.wait("a plan with every host", WAIT, || {
        plan = fleet.json(&["plan", "new", GROUP])["digest"].as_str().unwrap().to_owned();
        let state = fleet.state();
        let cohorts = state["plans"][&plan]["cohorts"].as_object().unwrap().values();
        cohorts.map(|cohort| cohort["hosts"].as_array().unwrap().len()).sum::<usize>() == fleet.web.len()
    });
    plan
}

/// As [`plan_of_all`], rehearsed; it must pass.
fn rehearsed_plan_of_all(fleet: &Fleet) -> String {
    let plan = plan_of_all(fleet);
    fleet.cli(&["plan", "rehearse", &plan, "--no-bisect"]);
    plan
}

fn no_space_to_rehearse(fleet: &Fleet) {
    let host = &fleet.web[0].name;
    fleet.run_on(host, &["mkdir", "-p", "/mnt/small"]);
    fleet.run_on(host, &["mount", "-t", "tmpfs", "-o", "size=64M", "small", "/mnt/small"]);
    let output = fleet.on(host, &[FOTHER, "rehearse", "lab-site", "--work", "/mnt/small"]);
    expect("small work directory", &output, 4, &["/mnt/small has 6", "MiB free", "may need", "nothing was begun"]);
    assert_eq!(fleet.run_on(host, &["find", "/mnt/small", "-name", "*.deb"]), "", "packages were fetched all the same");
    fleet.run_on(host, &["umount", "/mnt/small"]);
    is_whole(fleet, host);
}

fn approvals(fleet: &Fleet) {
    let plan = rehearsed_plan_of_all(fleet);
    let author = fleet.key("author");
    let submit = ["change", "submit", &plan, "--key", &author];
    expect("not acknowledged", &fleet.try_cli(&submit), 4, &["did not exercise cron.service", "--acknowledge cron.service"]);
    let change = fleet.cli(&[&submit[..], &["--acknowledge", "cron.service"]].concat());
    expect("unapproved", &fleet.try_cli(&["rollout", "start", &change]), 4, &["approv"]);
    let stranger = fleet.path("stranger.key").display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &stranger]).status().unwrap();
    assert!(made.success());
    let approve = |key: &str| fleet.try_cli(&["change", "approve", &change, "--yes", "--key", key]);
    expect("a stranger's key", &approve(&stranger), 4, &["key"]);
    expect("the author's key", &approve(&fleet.key("author")), 4, &["author"]);
    expect("no such key", &approve("/nonexistent.key"), 5, &["/nonexistent.key", "check that the key exists"]);
    expect("nobody to ask", &fleet.try_cli(&["change", "approve", &change, "--key", &fleet.key("approver")]), 4, &["--yes"]);
    expect("dry run", &fleet.try_cli(&["change", "approve", &change, "--dry-run", "--key", &fleet.key("approver")]), 0, &["dry run"]);
    assert!(fleet.state()["changes"][&change]["approvals"].as_object().unwrap().is_empty(), "somebody was counted");
    expect("the approver", &approve(&fleet.key("approver")), 0, &["approved"]);
    // The same word again is no second one.
    expect("twice", &approve(&fleet.key("approver")), 0, &["approved"]);
    assert_eq!(fleet.state()["changes"][&change]["approvals"].as_object().unwrap().len(), 1, "one person was counted twice");
    fleet.cli(&["change", "reject", &change, "--reason", "the test goes on"]);
    expect("rejected", &fleet.try_cli(&["rollout", "start", &change]), 4, &["was rejected"]);
}

fn no_space_to_apply(fleet: &Fleet) {
    let host = &fleet.web[0].name;
    // The host's state moves to a small file system; the agent goes on there.
    let script = "set -e; systemctl stop fother-agent fother-executor; mkdir -p /mnt/lib; mount -t tmpfs -o size=1G lib /mnt/lib; \
        cp -a /var/lib/. /mnt/lib/; mount --bind /mnt/lib /var/lib; systemctl start fother-executor fother-agent";
    fleet.run_on(host, &["sh", "-c", script]);
    let change = fleet.approved(&rehearsed_plan_of_all(fleet));
    let fill = format!("fallocate -l $(( $(df --output=avail -B1 /var/lib | tail -1) - {LEFT_BYTES} )) /var/lib/filler");
    fleet.run_on(host, &["sh", "-c", &fill]);
    let rollout = fleet.start(&change);
    let told = |phase: &serde_json::Value| phase["why"].as_str().unwrap_or_default().to_owned();
    let id = fleet.id(&fleet.state(), host);
    fleet.wait("the host's refusal", WAIT, || told(&fleet.state()["rollouts"][&rollout]["hosts"][&id]).contains("are free"));
    let shown = fleet.cli(&["rollout", "show", &rollout]);
    assert!(shown.contains("bytes") && shown.contains("make room on the host"), "{shown}");
    let version = fleet.run_on(host, &["dpkg-query", "-W", "-f", "${Version}", "lab-site"]);
    assert_eq!(version, SiteVersion::First.version(), "something was installed without space");
    is_whole(fleet, host);
    fleet.run_on(host, &["rm", "/var/lib/filler"]);
    fleet.wait("the end of the rollout", WAIT, || {
        let rollout = &fleet.state()["rollouts"][&rollout];
        !rollout["ended"].is_null() || fleet.try_cli(&["rollout", "abort", rollout["id"].as_str().unwrap(), "--yes"]).status.success()
    });
    let change = fleet.approved(&rehearsed_plan_of_all(fleet));
    let rollout = fleet.start(&change);
    expect("then it works", &fleet.try_cli(&["rollout", "watch", &rollout]), 0, &["completed"]);
    let group: Vec<_> =
        fleet.web.iter().map(|host| fleet.run_on(&host.name, &["dpkg-query", "-W", "-f", "${Version}", "lab-site"])).collect();
    assert!(group.iter().all(|version| version == SiteVersion::Good.version()), "{GROUP}: {group:?}");
}
