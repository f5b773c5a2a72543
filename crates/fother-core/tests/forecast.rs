//! What would happen in the next days, by the rules that rollouts go by. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    id::HostId,
    package::UpdateClass,
    policy::{
        Policy,
        baseline::Candidate,
        forecast::{Forecast, Host, Members, forecast},
    },
};
use std::collections::BTreeMap;

const POLICY: &str = r#"
[group.web]
select = 'role == "web"'
window = "night"
budget = { unavailable = 2 }
rollout = { canary = 1, waves = ["100%"], soak = "10m" }
checks = ["up"]
approvals = 1
baseline = "standard"
after = ["db"]

[group.db]
select = 'role == "db"'
window = "night"
budget = { unavailable = 1 }
rollout = { canary = 1, waves = ["100%"], soak = "10m" }
checks = ["up"]
approvals = 1

[check.up]
kind = "unit"
name = "up"
unit = "x.service"

[window.night]
timezone = "UTC"
start = "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1"
duration = "3h"
cutoff = "30m"

[baseline.standard]
classes = ["security", "bugfix"]
approve_after_days = 7
deny = { mysql = "own team" }

[freeze.second]
reason = "a fair"
from = "2026-01-10T00:00:00Z"
to = "2026-01-12T00:00:00Z"
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn update(source: &str, published: &str) -> Candidate {
    Candidate {
        source: source.to_owned(),
        to: Some("2".parse().unwrap()),
        class: UpdateClass::Security,
        severity: None,
        published: Some(at(published)),
    }
}

fn members(count: u64, name: &str, updates: &[Candidate]) -> Members {
    let host = |n| Host {
        id: HostId::new(n, [0; 10]),
        name: format!("{name}{n}"),
        zone: "a".to_owned(),
        updates: updates.to_vec(),
        apply_ms: vec![20 * 60_000; 3],
    };
    Members { hosts: (0..count).map(host).collect(), ..Members::default() }
}

fn seen(groups: BTreeMap<String, Members>) -> Forecast {
    // Sundays are 4, 11, 18 and 25 January; the second is frozen.
    forecast(&Policy::parse(POLICY).unwrap(), &groups, at("2026-01-01T00:00:00Z"), 30)
}

fn lines(forecast: &Forecast) -> Vec<String> {
    let updates = |row: &fother_core::policy::forecast::Row| row.updates.keys().cloned().collect::<Vec<_>>().join("+");
    forecast.rows.iter().map(|row| format!("{} {} {}", &row.start.to_string()[5..16], row.name, updates(row))).collect()
}

#[test]
fn canary_then_waves_within_the_budget_and_the_window() {
    let out = seen(BTreeMap::from([("web".to_owned(), members(6, "web", &[update("nginx", "2025-12-01T00:00:00Z")]))]));
    // 30 minutes of work with its margin and ten of soak: 40 minutes each, two at a time, nothing after 03:30.
    assert_eq!(
        lines(&out),
        [
            "01-04T01:00 web0 nginx",
            "01-04T01:40 web1 nginx",
            "01-04T01:40 web2 nginx",
            "01-04T02:20 web3 nginx",
            "01-04T02:20 web4 nginx",
            "01-04T03:00 web5 nginx"
        ]
    );
    assert!(out.left.is_empty());
}

#[test]
fn what_finds_no_room_waits_for_the_next_opening_and_a_freeze_takes_one_away() {
    let out = seen(BTreeMap::from([("web".to_owned(), members(8, "web", &[update("nginx", "2025-12-01T00:00:00Z")]))]));
    assert_eq!(lines(&out)[7..], ["01-18T01:00 web7 nginx"]);
    assert_eq!(out.openings["web"].len(), 3);
}

#[test]
fn an_update_is_taken_from_the_opening_on_at_which_it_is_old_enough() {
    let updates =
        [update("nginx", "2025-12-01T00:00:00Z"), update("curl", "2026-01-12T00:00:00Z"), update("mysql", "2025-01-01T00:00:00Z")];
    let out = seen(BTreeMap::from([("web".to_owned(), members(1, "web", &updates))]));
    assert_eq!(lines(&out), ["01-04T01:00 web0 nginx", "01-25T01:00 web0 curl"]);
    let left: Vec<_> = out.left.iter().map(|left| (left.what.as_str(), left.why.as_str())).collect();
    assert_eq!(left, [("mysql", "baseline standard: denied: own team")]);
}

#[test]
fn databases_come_before_web() {
    let old = [update("libc", "2025-12-01T00:00:00Z")];
    let out = seen(BTreeMap::from([("web".to_owned(), members(1, "web", &old)), ("db".to_owned(), members(2, "db", &old))]));
    assert_eq!(lines(&out), ["01-04T01:00 db0 libc", "01-04T01:40 db1 libc", "01-04T02:20 web0 libc"]);
}

#[test]
fn a_host_that_is_too_slow_for_every_opening_is_named() {
    let mut slow = members(1, "web", &[update("nginx", "2025-12-01T00:00:00Z")]);
    slow.hosts[0].apply_ms = vec![3 * 3_600_000; 3];
    let out = seen(BTreeMap::from([("web".to_owned(), slow)]));
    assert!(out.rows.is_empty());
    assert_eq!(out.left.iter().next().map(|left| (left.what.as_str(), left.why.as_str())), Some(("web0", "no opening has room for it")));
}

#[test]
fn the_drafts_of_schedules_are_named_and_a_moment_that_comes_twice_is_one() {
    let schedule = "[schedule.nightly]\ngroup = \"web\"\nat = \"FREQ=DAILY;BYHOUR=2;BYMINUTE=30\"\ntimezone = \"Europe/Berlin\"\n";
    let policy = Policy::parse(&format!("{POLICY}{schedule}")).unwrap();
    let found = forecast(&policy, &BTreeMap::new(), at("2026-10-24T12:00:00Z"), 2);
    let drafts: Vec<String> = found.drafts.iter().map(|draft| format!("{} {} {}", draft.at, draft.schedule, draft.group)).collect();
    assert_eq!(drafts, ["2026-10-25T00:30:00.000Z nightly web", "2026-10-26T01:30:00.000Z nightly web"]);
}
