//! One real fleet, from nothing to nothing. Needs root; makes namespaces, mounts and processes of its own and removes them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, also in its helpers

use fother_lab::{HostState, HostStatus, Progress, Role, SiteVersion, Traffic, UpOptions};
use std::path::Path;
use std::time::{Duration, Instant};

const LAB: &str = "fleettest";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Takes the lab down whatever happens in the test.
struct Lab;

impl Lab {
    fn up(hosts: usize) -> Self {
        fother_lab::down(LAB, false).expect("what an earlier run left is removed");
        let binary = env!("CARGO_BIN_EXE_fother-lab").into();
        let options = UpOptions { name: LAB.into(), hosts, mirror: None, balancer: fother_lab::Balancer::Haproxy, binary };
        let lab = Self;
        let mut tell = |p: Progress| eprintln!("{p:?}");
        fother_lab::up(&options, &mut tell).expect("the lab comes up");
        fother_lab::wait_ready(LAB, READY_WITHIN).expect("the lab serves");
        lab
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(e) = fother_lab::down(LAB, false) {
            eprintln!("the lab of the test is still there: {e}");
        }
    }
}

fn host(name: &str) -> HostStatus {
    fother_lab::status(LAB).unwrap().into_iter().find(|h| h.name == name).unwrap()
}

fn on(host: &str, script: &str) -> (Option<i32>, String) {
    let output = fother_lab::exec(LAB, host, &["sh", "-c", script], b"").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything on this machine that bears the lab's name.
fn traces() -> Vec<String> {
    let named = |dir: &str| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|e| e.path().display().to_string()).filter(|p| p.contains(LAB)).collect::<Vec<_>>()
    };
    let mut found: Vec<String> = ["/run/netns", "/run/fother-lab", "/var/cache/fother/lab/labs", "/run/systemd/nspawn/propagate"]
        .iter()
        .chain(&["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"])
        .flat_map(|d| named(d))
        .collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(LAB)).map(str::to_string));
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // The test itself is run from a file that is called otherwise, and may be given the name as a filter.
        let own = entry.file_name().to_str() == Some(&std::process::id().to_string());
        if !own && line.split(|b| *b == 0).any(|arg| arg == LAB.as_bytes() || arg.starts_with(b"--machine=fl-fleettest-")) {
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    found
}

#[test]
fn a_fleet_boots_serves_is_worked_on_and_leaves_nothing() {
    let lab = Lab::up(3);
    let all = fother_lab::status(LAB).unwrap();
    let shape: Vec<_> = all.iter().map(|h| (h.name.as_str(), h.role, h.zone.as_str(), h.state)).collect();
    assert_eq!(
        shape,
        [
            ("web-1", Role::Web, "a", HostState::Running),
            ("web-2", Role::Web, "b", HostState::Running),
            ("worker-1", Role::Worker, "a", HostState::Running)
        ]
    );
    assert!(traces().len() > 10, "the search for traces finds a lab that is there: {:?}", traces());

    files_and_programs_reach_a_host();
    hosts_are_outdated_and_see_the_archives();
    a_drained_host_may_restart_its_server_without_a_failed_request();
    a_site_that_fails_under_traffic_is_counted_by_host();
    reboot_and_power_off_are_told_apart();

    kill_the_supervisor();
    drop(lab);
    assert_eq!(traces(), Vec::<String>::new());
    fother_lab::down(LAB, false).expect("a lab that is gone can be taken down again");
    assert!(matches!(fother_lab::status(LAB), Err(fother_lab::Error::NoLab(_))));
}

fn files_and_programs_reach_a_host() {
    fother_lab::copy_in(LAB, "web-1", Path::new("/etc/fother/x y"), b"one\n", 0o640).unwrap();
    assert_eq!(
        on("web-1", "cat '/etc/fother/x y'; stat -c %a:%U '/etc/fother/x y'; hostname; exit 7"),
        (Some(7), "one\n640:root\nweb-1\n".into())
    );
    let fed = fother_lab::exec(LAB, "worker-1", &["tr", "a", "b"], b"aa").unwrap();
    assert_eq!(fed.stdout, b"bb");
    assert_eq!(on("web-1", "systemctl is-system-running"), (Some(0), "running\n".into()));
    assert!(matches!(fother_lab::exec(LAB, "web-9", &["true"], b""), Err(fother_lab::Error::Host { .. })));
    // Nothing from the caller's environment is seen there.
    assert!(!on("web-1", "env").1.contains("CARGO"));
}

fn hosts_are_outdated_and_see_the_archives() {
    fother_lab::publish(LAB, SiteVersion::Good).unwrap();
    let (code, text) = on("web-1", "apt-get update -qq && apt-get -s upgrade");
    assert_eq!(code, Some(0), "{text}");
    let updates = text.lines().filter(|l| l.starts_with("Inst ")).count();
    assert!(updates >= 10, "only {updates} updates: {text}");
    assert!(text.contains("Inst lab-site [1.0] (1.1 Fother-Lab:lab"), "{text}");
    let (code, text) = on("web-1", "curl -s -o /dev/null -w '%{http_code}' 'http://10.77.0.1:8080/debian/../../etc/passwd' --path-as-is");
    assert_eq!((code, text.as_str()), (Some(0), "400"));
}

fn a_drained_host_may_restart_its_server_without_a_failed_request() {
    let traffic = Traffic::start(LAB, 100).unwrap();
    until("traffic to both hosts", || traffic.snapshot().by_host.len() == 2);
    let (code, text) = on("web-1", "/etc/fother/hooks.d/drain && systemctl restart nginx lab-site && /etc/fother/hooks.d/undrain");
    assert_eq!(code, Some(0), "{text}");
    let back = traffic.snapshot().by_host["web-1"];
    until("traffic to the host that came back", || traffic.snapshot().by_host["web-1"] > back);
    let counts = traffic.stop();
    assert_eq!((counts.failed, counts.failures), (0, Vec::new()));
}

fn a_site_that_fails_under_traffic_is_counted_by_host() {
    fother_lab::publish(LAB, SiteVersion::SlowFailure).unwrap();
    let (code, text) = on(
        "web-2",
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -y install lab-site && sleep 0.5 && for i in $(seq 60); do curl -sf localhost >/dev/null || exit 9; done",
    );
    assert_eq!(code, Some(0), "requests from the host itself never fail: {text}");
    let traffic = Traffic::start(LAB, 100).unwrap();
    until("the first failures", || traffic.snapshot().failed >= 5);
    let counts = traffic.stop();
    assert_eq!(counts.failed_by_host.keys().collect::<Vec<_>>(), ["web-2"], "{counts:?}");
    assert_eq!(counts.failures[0].reason, "status 500 from web-2");
}

fn reboot_and_power_off_are_told_apart() {
    let before = host("web-1");
    on("web-1", "systemctl reboot");
    until("another boot", || {
        let now = host("web-1");
        now.state == HostState::Running && now.boot_id.is_some() && now.boot_id != before.boot_id && now.pid != before.pid
    });
    on("worker-1", "poweroff");
    until("the end of the host", || host("worker-1").state == HostState::Off);
    fother_lab::start(LAB, "worker-1").unwrap();
    until("the host's next boot", || host("worker-1").state == HostState::Running);
    until("its service", || on("worker-1", "systemctl is-active lab-worker").0 == Some(0));
}

fn kill_the_supervisor() {
    let text = std::fs::read_to_string(format!("/run/fother-lab/{LAB}/supervisor.json")).unwrap();
    let pid = text.split(|c: char| !c.is_ascii_digit()).find(|w| !w.is_empty()).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
    until("the end of the supervisor", || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |c| c.is_empty()));
}
