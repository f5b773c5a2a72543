//! What loosens a policy and what does not, and who must say yes. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    id::HostId,
    inventory::Labels,
    policy::{
        Policy,
        change::{Demand, Effect, affected, demands, differences, unmet},
    },
};
use std::collections::{BTreeMap, BTreeSet};

const OLD: &str = r#"
[group.web]
select     = 'role == "web"'
window     = "night"
budget     = { unavailable = "20%", one_zone_at_a_time = true, per = "zone", min_healthy = 3 }
rollout    = { canary = 2, waves = ["10%", "50%"], soak = "15m" }
checks     = ["site", "unit"]
approvals  = { required = 2, from = ["sre"], emergency = 1 }
baseline   = "standard"
config_files = "stop"
undo       = "30d"
after      = ["db"]
never_with = ["db"]

[group.db]
select    = 'role == "db"'
window    = "always"
budget    = { unavailable = 1 }
rollout   = { canary = 1, waves = ["100%"], soak = "15m" }
checks    = ["unit"]
approvals = 1

[team.sre]
people = ["anna", "bert"]

[check.site]
kind = "http"
name = "site"
url = "http://127.0.0.1/"
status = 200
[check.unit]
kind = "unit"
name = "unit"
unit = "nginx.service"

[window.night]
timezone = "Europe/Berlin"
start = "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1"
duration = "3h"
cutoff = "30m"

[freeze.year-end]
reason = "books"
groups = ["web"]
from = "2026-12-20T00:00:00Z"
to = "2027-01-04T00:00:00Z"

[freeze.weekend]
reason = "nobody is there"
timezone = "UTC"
start = "FREQ=WEEKLY;BYDAY=SA"
duration = "2d"

[baseline.standard]
classes = ["security", "bugfix"]
severity = "medium"
approve_after_days = 3
pin = { php = "8.2" }
deny = { mysql = "own team" }

[exception.curl]
owner = "anna"
reason = "breaks"
groups = ["web"]
packages = ["curl"]
expires = "2026-03-01T00:00:00Z"

[emergency.kev]
reason = "known exploited"
breaks = ["year-end"]

[schedule.weekly]
group = "web"
at = "FREQ=WEEKLY;BYHOUR=9;BYDAY=TU"
timezone = "UTC"
notice = "48h"
owners = ["anna", "bert"]
defer = { times = 1, by = "7d" }

[archive.main]
uri = "http://a/debian"
suite = "bookworm"
components = ["main", "contrib"]
signed_by = "/k.gpg"
max_age_days = 7
"#;

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn changed(from: &str, to: &str) -> Policy {
    assert!(OLD.contains(from), "`{from}` stands nowhere");
    policy(&OLD.replacen(from, to, 1))
}

/// Every row: what is written otherwise, which key it is, which way it goes, words of it.
const TABLE: &[(&str, &str, &str, Effect, &str)] = {
    use Effect::{Loosens, Same, Tightens};
    &[
        ("unavailable = \"20%\"", "unavailable = \"30%\"", "group.web.budget.unavailable", Loosens, "web: budget 20% → 30%"),
        ("unavailable = \"20%\"", "unavailable = \"10%\"", "group.web.budget.unavailable", Tightens, "web: budget 20% → 10%"),
        ("unavailable = \"20%\"", "unavailable = 1", "group.web.budget.unavailable", Loosens, "20% → 1"),
        ("one_zone_at_a_time = true", "one_zone_at_a_time = false", "group.web.budget.one_zone_at_a_time", Loosens, "several zones"),
        (", per = \"zone\"", "", "group.web.budget.per", Loosens, "over the group instead"),
        (
            ", soak = \"15m\" }\nchecks     = [\"site\"",
            ", soak = \"15m\", retries = 1 }\nchecks     = [\"site\"",
            "group.web.rollout.retries",
            Loosens,
            "0 → 1",
        ),
        (
            ", soak = \"15m\" }\nchecks     = [\"site\"",
            ", soak = \"15m\", by_zone = true }\nchecks     = [\"site\"",
            "group.web.rollout.by_zone",
            Tightens,
            "zone after zone",
        ),
        (
            ", soak = \"15m\" }\nchecks     = [\"site\"",
            ", soak = \"15m\", on_failure = \"wave\" }\nchecks     = [\"site\"",
            "group.web.rollout.on_failure",
            Tightens,
            "puts back its wave instead of",
        ),
        ("min_healthy = 3", "min_healthy = 2", "group.web.budget.min_healthy", Loosens, "3 → 2"),
        ("min_healthy = 3", "min_healthy = 4", "group.web.budget.min_healthy", Tightens, "3 → 4"),
        ("min_healthy = 3", "min_healthy = \"90%\"", "group.web.budget.min_healthy", Loosens, "3 → 90%"),
        (", min_healthy = 3", "", "group.web.budget.min_healthy", Loosens, "3 → none"),
        ("canary = 2", "canary = 3", "group.web.rollout.canary", Loosens, "canary 2 → 3"),
        ("canary = 2", "canary = 1", "group.web.rollout.canary", Tightens, "canary 2 → 1"),
        ("[\"10%\", \"50%\"]", "[\"20%\", \"50%\"]", "group.web.rollout.waves", Loosens, "10%, 50% → 20%, 50%"),
        ("[\"10%\", \"50%\"]", "[\"10%\"]", "group.web.rollout.waves", Loosens, "10%, 50% → 10%"),
        ("[\"10%\", \"50%\"]", "[\"5%\", \"50%\", \"80%\"]", "group.web.rollout.waves", Tightens, "5%, 50%, 80%"),
        ("soak = \"15m\"", "soak = \"5m\"", "group.web.rollout.soak_s", Loosens, "soak 15m → 5m"),
        ("soak = \"15m\"", "soak = \"1h\"", "group.web.rollout.soak_s", Tightens, "soak 15m → 1h"),
        ("[\"site\", \"unit\"]", "[\"site\"]", "group.web.checks", Loosens, "site, unit → site"),
        ("[\"site\", \"unit\"]", "[\"unit\", \"site\"]", "group.web.checks", Same, "order"),
        ("status = 200", "status = 404", "check.site", Loosens, "asks something else"),
        ("required = 2", "required = 1", "group.web.approvals.required", Loosens, "approvals 2 → 1"),
        ("from = [\"sre\"], emergency = 1", "from = [\"sre\"]", "group.web.approvals.emergency", Tightens, "1 → 2"),
        ("from = [\"sre\"], ", "", "group.web.approvals.from", Loosens, "sre → everybody"),
        ("from = [\"sre\"]", "from = [\"sre\", \"carla\"]", "group.web.approvals.from", Loosens, "carla, sre"),
        ("people = [\"anna\", \"bert\"]", "people = [\"anna\", \"bert\", \"carla\"]", "team.sre", Loosens, "team sre"),
        ("config_files = \"stop\"", "config_files = \"keep\"", "group.web.config_files", Loosens, "stop → keep"),
        ("undo       = \"30d\"", "undo = \"60d\"", "group.web.undo_s", Loosens, "30d → 60d"),
        ("undo       = \"30d\"", "undo = \"7d\"", "group.web.undo_s", Tightens, "30d → 7d"),
        ("after      = [\"db\"]", "", "group.web.after", Loosens, "db → nobody named"),
        ("never_with = [\"db\"]", "", "group.web.never_with", Loosens, "db → nobody named"),
        (
            "after      = [\"db\"]",
            "after = [\"db\"]\nfollows = { group = \"db\", soak = \"7d\" }",
            "group.web.follows",
            Tightens,
            "follows no group → db after 7d",
        ),
        ("select     = 'role == \"web\"'", "select = 'role != \"db\"'", "group.web.select", Loosens, "selects role != \"db\""),
        ("window     = \"night\"", "window = \"always\"", "group.web.window", Loosens, "night → always"),
        ("window    = \"always\"", "window = \"night\"", "group.db.window", Tightens, "always → night"),
        ("BYHOUR=1", "BYHOUR=2", "window.night.start", Loosens, "BYHOUR=2"),
        ("duration = \"3h\"", "duration = \"4h\"", "window.night.duration_s", Loosens, "3h → 4h"),
        ("duration = \"3h\"", "duration = \"2h\"", "window.night.duration_s", Tightens, "3h → 2h"),
        ("cutoff = \"30m\"", "cutoff = \"15m\"", "window.night.cutoff_s", Loosens, "30m → 15m"),
        ("cutoff = \"30m\"", "cutoff = \"1h\"", "window.night.cutoff_s", Tightens, "30m → 1h"),
        ("2027-01-04", "2027-01-05", "freeze.year-end", Tightens, "another time"),
        ("2027-01-04", "2027-01-03", "freeze.year-end", Loosens, "another time"),
        ("2026-12-20", "2026-12-21", "freeze.year-end", Loosens, "another time"),
        ("reason = \"books\"\ngroups = [\"web\"]", "reason = \"books\"", "freeze.year-end", Tightens, "other groups"),
        ("reason = \"books\"\ngroups = [\"web\"]", "reason = \"books\"\ngroups = [\"db\"]", "freeze.year-end", Loosens, "other groups"),
        ("reason = \"books\"", "reason = \"the books are closed\"", "freeze.year-end", Same, "another reason"),
        ("duration = \"2d\"", "duration = \"1d\"", "freeze.weekend", Loosens, "another time"),
        ("BYDAY=SA", "BYDAY=FR", "freeze.weekend", Loosens, "another time"),
        (
            "classes = [\"security\", \"bugfix\"]",
            "classes = [\"security\"]",
            "group.web.baseline.classes",
            Tightens,
            "takes security instead of",
        ),
        ("classes = [\"security\", ", "classes = [\"enhancement\", \"security\", ", "group.web.baseline.classes", Loosens, "enhancement"),
        ("severity = \"medium\"", "severity = \"low\"", "group.web.baseline.severity", Loosens, "medium → low"),
        ("severity = \"medium\"", "severity = \"high\"", "group.web.baseline.severity", Tightens, "medium → high"),
        ("approve_after_days = 3", "approve_after_days = 0", "group.web.baseline.approve_after_days", Loosens, "3 → 0"),
        ("approve_after_days = 3", "approve_after_days = 7", "group.web.baseline.approve_after_days", Tightens, "3 → 7"),
        ("pin = { php = \"8.2\" }", "pin = { php = \"8.3\" }", "group.web.baseline.pin", Loosens, "php 8.3"),
        ("pin = { php = \"8.2\" }", "pin = { php = \"8.2\", vim = \"9\" }", "group.web.baseline.pin", Tightens, "vim 9"),
        ("deny = { mysql = \"own team\" }", "", "group.web.baseline.deny", Loosens, "nobody named"),
        ("baseline   = \"standard\"", "", "group.web.baseline", Loosens, "every update is taken"),
        ("2026-03-01", "2026-04-01", "exception.curl", Loosens, "2026-04-01"),
        ("2026-03-01", "2026-02-01", "exception.curl", Tightens, "2026-02-01"),
        ("packages = [\"curl\"]", "packages = [\"curl\", \"wget\"]", "exception.curl", Loosens, "curl, wget"),
        ("reason = \"breaks\"\ngroups = [\"web\"]", "reason = \"breaks\"", "exception.curl", Loosens, "curl"),
        ("breaks = [\"year-end\"]", "breaks = [\"year-end\", \"weekend\"]", "emergency.kev", Loosens, "weekend, year-end"),
        ("breaks = [\"year-end\"]", "", "emergency.kev", Tightens, "nobody named"),
        ("breaks = [\"year-end\"]", "breaks = [\"year-end\"]\nwindow = \"always\"", "emergency.kev", Loosens, "window always"),
        ("breaks = [\"year-end\"]", "breaks = [\"year-end\"]\ngroups = [\"db\"]", "emergency.kev", Tightens, "kev"),
        ("http://a/debian", "http://b/debian", "archive.main", Loosens, "http://b/debian"),
        ("components = [\"main\", \"contrib\"]", "components = [\"main\"]", "archive.main", Tightens, "main"),
        ("components = [\"main\", \"contrib\"]", "components = [\"main\", \"non-free\"]", "archive.main", Loosens, "non-free"),
        ("max_age_days = 7", "max_age_days = 30", "archive.main", Loosens, "archive main"),
        ("max_age_days = 7", "max_age_days = 3", "archive.main", Tightens, "archive main"),
        ("BYDAY=TU", "BYDAY=WE", "schedule.weekly.at", Loosens, "BYDAY=WE in UTC instead of web at"),
        ("notice = \"48h\"", "notice = \"24h\"", "schedule.weekly.notice_s", Loosens, "notice 2d → 1d"),
        ("notice = \"48h\"", "notice = \"72h\"", "schedule.weekly.notice_s", Tightens, "notice 2d → 3d"),
        ("owners = [\"anna\", \"bert\"]", "owners = [\"anna\"]", "schedule.weekly.owners", Loosens, "owners anna, bert → anna"),
        ("owners = [\"anna\", \"bert\"]", "", "schedule.weekly.owners", Tightens, "→ everybody"),
        ("times = 1, by", "times = 2, by", "schedule.weekly.defer", Tightens, "1 times by 7d → 2 times by 7d"),
        ("by = \"7d\"", "by = \"3d\"", "schedule.weekly.defer", Loosens, "by 3d"),
    ]
};

#[test]
fn each_difference_is_one_with_its_key_its_words_and_its_way() {
    let old = policy(OLD);
    for (from, to, key, effect, words) in TABLE {
        let found = differences(&old, &changed(from, to));
        assert_eq!(found.len(), 1, "`{to}`: {found:#?}");
        assert_eq!((found[0].key.as_str(), found[0].effect), (*key, *effect), "`{to}`: {found:#?}");
        assert!(found[0].what.contains(words), "`{to}`: {found:#?}");
    }
}

/// A way back is never the same way: what loosens forth and back cannot be compared, what tightens forth loosens back.
#[test]
fn nothing_tightens_in_both_directions() {
    let old = policy(OLD);
    for (from, to, ..) in TABLE {
        let new = changed(from, to);
        let way = |a, b| differences(a, b).iter().map(|one| one.effect).max();
        let (forth, back) = (way(&old, &new), way(&new, &old));
        assert!(
            forth == Some(Effect::Loosens) || back == Some(Effect::Loosens) || (forth, back) == (Some(Effect::Same), Some(Effect::Same)),
            "`{to}`: {forth:?} and {back:?}"
        );
    }
}

#[test]
fn whole_sections_that_come_and_go() {
    let old = policy(OLD);
    let without = |start: &str, end: &str| {
        let (a, b) = (OLD.find(start).unwrap(), OLD.find(end).unwrap());
        policy(&format!("{}{}", &OLD[..a], &OLD[b..]))
    };
    for (start, end, key, gone) in [
        ("[freeze.weekend]", "[baseline.standard]", "freeze.weekend", Effect::Loosens),
        ("[exception.curl]", "[emergency.kev]", "exception.curl", Effect::Tightens),
        ("[emergency.kev]", "[schedule.weekly]", "emergency.kev", Effect::Tightens),
        ("[schedule.weekly]", "[archive.main]", "schedule.weekly", Effect::Tightens),
    ] {
        let new = without(start, end);
        let back = if gone == Effect::Loosens { Effect::Tightens } else { Effect::Loosens };
        for (from, to, effect) in [(&old, &new, gone), (&new, &old, back)] {
            let found = differences(from, to);
            assert_eq!(found.iter().map(|one| (one.key.as_str(), one.effect)).collect::<Vec<_>>(), [(key, effect)]);
        }
    }
    let extra = policy(&format!(
        "{OLD}\n[group.new]\nselect = 'true'\nwindow = \"always\"\nbudget = {{ unavailable = 1 }}\nrollout = {{ canary = 1, waves = [\"100%\"], soak_s = 1 }}\nchecks = [\"unit\"]\napprovals = 1\n"
    ));
    assert_eq!(differences(&old, &extra)[0].effect, Effect::Loosens);
    assert_eq!(differences(&extra, &old)[0].effect, Effect::Tightens);
    assert!(differences(&old, &old).is_empty());
}

fn people(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_loosening_takes_the_approvals_that_the_old_policy_demands_of_each_group_it_is_about() {
    let old = policy(OLD);
    let looser = differences(&old, &changed("unavailable = \"20%\"", "unavailable = \"30%\""));
    let demanded = demands(&old, &looser);
    assert_eq!(demanded, BTreeSet::from([Demand { group: "web".to_owned(), required: 2, from: people(&["anna", "bert"]) }]));
    for (who, enough) in
        [(&["anna"][..], false), (&["anna", "carla"], false), (&["anna", "bert"], true), (&["anna", "bert", "carla"], true)]
    {
        assert_eq!(unmet(&demanded, &people(who)).is_empty(), enough, "{who:?}");
    }
    assert!(demands(&old, &differences(&old, &changed("unavailable = \"20%\"", "unavailable = \"10%\""))).is_empty());
    let fewer = differences(&old, &changed("required = 2", "required = 1"));
    assert_eq!(demands(&old, &fewer).first().unwrap().required, 2, "the old number counts");
    let everywhere = demands(&old, &differences(&old, &changed("http://a/debian", "http://b/debian")));
    assert_eq!(everywhere.iter().map(|demand| demand.group.as_str()).collect::<Vec<_>>(), ["db", "web"]);
    let nothing = policy("[check.x]\nkind = \"unit\"\nname = \"x\"\nunit = \"x\"\n");
    assert_eq!(demands(&nothing, &differences(&nothing, &old)).iter().map(|demand| demand.required).max(), Some(1), "never nobody");
}

#[test]
fn hosts_of_either_policy_count_as_affected() {
    let old = policy(OLD);
    let new = changed("select     = 'role == \"web\"'", "select = 'role == \"www\"'");
    let label = |role: &str| Labels::from([("role".to_owned(), role.to_owned())]);
    let hosts: BTreeMap<HostId, Labels> =
        ["web", "web", "www", "db"].iter().zip(0..).map(|(role, n)| (HostId::new(n, [0; 10]), label(role))).collect();
    assert_eq!(affected(&old, &new, &differences(&old, &new)[0], &hosts).len(), 3);
}
