//! Whole rollouts under load behind a real haproxy and a real nginx: no request fails, and each host leaves and returns as it declared. Root only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod fleet;

use fleet::{Fleet, Setup};
use fother_lab::{GATEWAY, RUNTIME_PORT, SiteVersion, Traffic};
use std::time::Duration;

/// Requests a second.
const RATE: u32 = 100;
/// Longest rollout.
const ROLLOUT_WAIT: Duration = Duration::from_secs(240);

/// One check of every kind that a lab host can answer without more.
const CHECKS: [(&str, &str); 6] = [
    (
        "page",
        "kind = \"http\"\nurl = \"http://127.0.0.1/\"\nstatus = 200\nbody = { matches = \"lab-site [0-9.]+ on web-[0-9]\" }\nlatency = { percent = 500, floor_ms = 500 }",
    ),
    ("port", "kind = \"listening\"\nprotocol = \"tcp\"\nport = 80\nexecutable = \"/usr/sbin/nginx\""),
    ("workers", "kind = \"process\"\nexecutable = \"/usr/sbin/nginx\"\nunit = \"nginx.service\"\ncount = 2"),
    ("connects", "kind = \"tcp\"\naddress = \"127.0.0.1:80\""),
    ("journal", "kind = \"log\"\nunit = \"nginx.service\"\npattern = \"segfault|emerg\""),
    ("room", "kind = \"disk\"\npath = \"/var\"\nmin_free = \"64MiB\""),
];

/// Rolls a good version out under load; every host leaves its balancers as `declared`.
fn rolls_out_without_a_failed_request(name: &str, balancer: &str, declared: impl Fn(&str) -> String) {
    let fleet = Fleet::up(&Setup { soak_s: 3, balancer, checks: &CHECKS, ..Setup::quick(name) });
    for host in &fleet.web {
        fleet.run_on(&host.name, &["rm", "-r", "/etc/fother/hooks.d"]);
        fleet.copy_in(&host.name, "/etc/fother/agent.toml", format!("observe = false\n{}", declared(&host.name)).as_bytes());
    }
    fleet.publish(SiteVersion::Good);
    let change = fleet.approved(&fleet.rehearsed_plan());
    let traffic = Traffic::start(name, RATE).unwrap();
    fleet.wait("traffic at every host", Duration::from_secs(30), || traffic.snapshot().by_host.len() == fleet.web.len());
    let before = traffic.snapshot();
    let rollout = fleet.start(&change);
    fleet.wait("the end of the rollout", ROLLOUT_WAIT, || !fleet.state()["rollouts"][&rollout]["ended"].is_null());
    let state = fleet.state();
    assert_eq!(state["rollouts"][&rollout]["ended"]["how"], "completed", "{}", state["rollouts"][&rollout]);
    let after = traffic.snapshot();
    fleet.wait("every host in service again", Duration::from_secs(30), || {
        let now = traffic.snapshot();
        fleet.web.iter().all(|host| now.by_host.get(&host.name) > after.by_host.get(&host.name))
    });
    let counts = traffic.stop();
    println!(
        "{balancer}: {} requests during the rollout over {} hosts, {} failed; by host {:?}",
        counts.ok - before.ok,
        fleet.web.len(),
        counts.failed,
        counts.by_host
    );
    assert_eq!(counts.failed, 0, "{:?}", counts.failures);
    for host in &fleet.web {
        let page = fleet.run_on(&host.name, &["curl", "-s", "--max-time", "5", "http://127.0.0.1/"]);
        assert!(page.contains(&format!("lab-site {}", SiteVersion::Good.version())), "{page}");
    }
}

#[test]
fn haproxy_is_asked_over_its_runtime_api() {
    rolls_out_without_a_failed_request("opshaproxy", "haproxy", |host| {
        format!(
            "[[traffic]]\nkind = \"haproxy\"\naddress = \"{GATEWAY}:{RUNTIME_PORT}\"\nbackend = \"hosts\"\nserver = \"{host}\"\nwait_s = 20\n"
        )
    });
}

#[test]
fn nginx_goes_elsewhere_while_a_state_file_says_so() {
    rolls_out_without_a_failed_request("opsnginx", "nginx", |_| {
        "[[traffic]]\nkind = \"state-file\"\npath = \"/run/lab-site.out\"\nports = [80]\nsettle_ms = 200\nwait_s = 20\n".to_owned()
    });
}
