//! Policies as a team writes them: several files, and what is said about mistakes. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::policy::{Policy, PolicyError, Share, Source, read, schema};

const MAIN: &str = r#"
[group.web]
select    = 'role == "web" && env == "prod"'
baseline  = "standard"
window    = "sunday-night"
budget    = { unavailable = "20%", per = "zone", min_healthy = 2 }
rollout   = { canary = 1, waves = ["10%", "50%", "100%"], soak = "15m" }
checks    = ["http-ok"]
approvals = { required = 2, from = ["sre", "security"], emergency = 1 }
after     = ["db"]

[group.db]
select     = 'role == "db"'
window     = "sunday-night"
budget     = { unavailable = 1 }
rollout    = { canary = 1, waves = ["100%"], soak_s = 900 }
checks     = ["http-ok"]
approvals  = 1
undo       = "14d"

[team.sre]
people = ["anna", "bert"]
[team.security]
people = ["carla"]
"#;

const TIMES: &str = r#"
[window.sunday-night]
timezone = "Europe/Berlin"
start    = "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=0"
duration = "3h"
cutoff   = "30m"

[freeze.year-end]
reason = "the books are closed"
groups = ["web"]
from   = 2026-12-20T00:00:00+01:00
to     = "2027-01-04T00:00:00+01:00"

[emergency.known-exploited]
reason = "CISA lists it"
breaks = ["year-end"]
window = "always"
"#;

const REST: &str = r#"
[check.http-ok]
kind = "http"
name = "http-ok"
url = "http://127.0.0.1/healthz"
status = 200

[baseline.standard]
classes = ["security", "bugfix"]
severity = "medium"
approve_after_days = 3

[exception.old-curl]
owner = "anna"
reason = "the new one breaks the site"
packages = ["curl"]
expires = "2027-03-01T00:00:00Z"

[archive.security]
uri = "http://archive.example/security"
suite = "bookworm-security"
components = ["main"]
signed_by = "/usr/share/keyrings/debian-archive-keyring.gpg"

[schedule.web-weekly]
group = "web"
at = "FREQ=WEEKLY;BYDAY=TU;BYHOUR=9"
timezone = "Europe/Berlin"
notice = "48h"
owners = ["anna"]
defer = { times = 1, by = "7d" }
"#;

fn files<'a>(main: &'a str, times: &'a str, rest: &'a str) -> [Source<'a>; 3] {
    [
        Source { name: "fother.toml", text: main },
        Source { name: "policies/rest.toml", text: rest },
        Source { name: "policies/times.toml", text: times },
    ]
}

fn good() -> Policy {
    read(&files(MAIN, TIMES, REST)).unwrap_or_else(|error| panic!("{error}"))
}

/// The faults where one place of the first file is replaced, each as its first line.
fn faults(from: &str, to: &str) -> Vec<String> {
    let (main, times, rest) = (MAIN.replacen(from, to, 1), TIMES.replacen(from, to, 1), REST.replacen(from, to, 1));
    assert!((main.as_str(), times.as_str(), rest.as_str()) != (MAIN, TIMES, REST), "`{from}` stands nowhere");
    match read(&files(&main, &times, &rest)) {
        Ok(_) => Vec::new(),
        Err(PolicyError(faults)) => faults.iter().map(|fault| fault.to_string().lines().next().unwrap().to_owned()).collect(),
    }
}

#[test]
fn a_directory_is_one_policy() {
    let policy = good();
    let web = &policy.group["web"];
    assert_eq!((web.rollout.soak_s, policy.group["db"].rollout.soak_s, policy.group["db"].undo_s), (900, 900, 14 * 86_400));
    assert_eq!((web.approvals.required, web.approvals.in_emergency(), policy.group["db"].approvals.in_emergency()), (2, 1, 1));
    assert_eq!(web.approvals.people(&policy).into_iter().collect::<Vec<_>>(), ["anna", "bert", "carla"]);
    assert_eq!(web.budget.min_healthy, Some(Share::Count(2)));
    assert_eq!((policy.window["sunday-night"].duration_s, policy.window["sunday-night"].cutoff_s), (10_800, 1_800));
    assert_eq!(policy.freeze["year-end"].from.unwrap().to_string(), "2026-12-19T23:00:00.000Z");
}

#[test]
fn the_canonical_form_reads_back_under_the_same_digest() {
    let policy = good();
    let text = String::from_utf8(fother_core::canonical::to_vec(&policy).unwrap()).unwrap();
    let again: Policy = serde_json::from_str(&text).unwrap();
    assert_eq!((again.digest().unwrap(), again), (policy.digest().unwrap(), policy));
}

#[test]
fn an_old_policy_keeps_its_digest() {
    let policy = Policy::parse(include_str!("policy.toml")).unwrap();
    assert_eq!(policy.digest().unwrap().to_string(), "sha256:07f3aff21216d84f2c612ccafce230a70bf084a08e112955dfebc8e110312aa6");
}

#[test]
fn one_name_stands_in_one_file_only_and_both_places_are_named() {
    let again = format!("{REST}[window.sunday-night]\ntimezone = \"UTC\"\nstart = \"FREQ=DAILY\"\nduration = \"1h\"\n");
    let error = read(&files(MAIN, TIMES, &again)).unwrap_err().to_string();
    assert!(
        error
            .contains("policies/times.toml:2:9: window.sunday-night: declared a second time: it stands in policies/rest.toml:32:9 already"),
        "{error}"
    );
}

#[test]
fn what_was_written_is_shown_with_what_was_meant() {
    let error = read(&files(&MAIN.replace("after     =", "aftr      ="), TIMES, REST)).unwrap_err().to_string();
    let wanted = "fother.toml:10:1: group.web.aftr: there is no key `aftr` here; known: after, config_files, follows, never_with, undo, undo_s\n  \
                  10 | aftr      = [\"db\"]\n     | ^^^^ did you mean `after`?";
    assert!(error.ends_with(wanted), "{error}");
}

#[test]
fn each_mistake_has_its_place_and_its_words() {
    for (from, to, place, words) in [
        ("[group.web]", "[gruop.web]", "fother.toml:2:2:", "there is no section `gruop`"),
        ("per = \"zone\"", "per = \"rack\"", "fother.toml:6:42:", "group.web.budget.per: `rack` is none of group, zone"),
        (
            "unavailable = \"20%\"",
            "unavailable = 0.2",
            "fother.toml:6:29:",
            "a number with a fraction is not what belongs here: A count such as 2",
        ),
        ("unavailable = \"20%\"", "unavailable = \"120%\"", "fother.toml:6:29:", "`120%` is no share"),
        ("canary = 1", "canary = -1", "fother.toml:7:24:", "invalid value"),
        ("canary = 1, ", "", "fother.toml:7:", "group.web.rollout: `canary` is missing"),
        (", soak = \"15m\"", "", "fother.toml:7:", "group.web.rollout: `soak` is missing"),
        ("soak = \"15m\"", "soak = \"15m\", soak_s = 900", "fother.toml:7:66:", "`soak` and `soak_s` say the same thing"),
        ("soak = \"15m\"", "soak = \"15 minutes\"", "fother.toml:7:66:", "15 minutes"),
        ("from = [\"sre\", \"security\"]", "from = []", "fother.toml:9:36:", "an empty list"),
        ("checks    = [\"http-ok\"]", "checks    = []", "fother.toml:8:13:", "an empty list"),
        ("required = 2", "required = 9", "fother.toml:9:", "`from` names 3 people"),
        ("emergency = 1", "emergency = 0", "fother.toml:9:", "shorter, never empty"),
        ("checks    = [\"http-ok\"]", "checks    = [\"http-OK\"]", "fother.toml:8:14:", "there is no check `http-OK`; known: http-ok"),
        ("baseline  = \"standard\"", "baseline  = \"standart\"", "fother.toml:4:13:", "there is no baseline `standart`"),
        ("window    = \"sunday-night\"", "window    = \"sunday\"", "fother.toml:5:13:", "there is no window `sunday`"),
        ("after     = [\"db\"]", "after     = [\"web\"]", "fother.toml:10:14:", "cannot name itself"),
        ("after     = [\"db\"]", "follows = { group = \"dv\", soak = \"7d\" }", "fother.toml:10:21:", "there is no group `dv`"),
        ("after     = [\"db\"]", "follows = { group = \"db\" }", "fother.toml:10:11:", "`soak` is missing"),
        ("select    = 'role == ", "select    = 'role = = ", "fother.toml:3:13:", "is no CEL expression"),
        ("approvals  = 1", "approvals  = 0", "fother.toml:18:14:", "at least 1"),
        ("undo       = \"14d\"", "after = [\"web\"]", "fother.toml:", "neither would ever begin"),
        ("people = [\"carla\"]", "people = [\"carla\", \"carla\"]", "fother.toml:24:20:", "stands twice"),
        ("timezone = \"Europe/Berlin\"", "timezone = \"Europe/Berlim\"", "policies/times.toml:3:12:", "is no time zone"),
        ("BYDAY=SU", "BYDAY=XX", "policies/times.toml:4:12:", "expected days"),
        ("cutoff   = \"30m\"", "cutoff   = \"3h\"", "policies/times.toml:5:12:", "cutoff_s smaller"),
        ("to     = \"2027", "to     = \"2025", "policies/times.toml:8:9:", "before it begins"),
        ("to     = \"2027-01-04T00:00:00+01:00\"", "start = \"FREQ=DAILY\"", "policies/times.toml:8:9:", "either `from` and `to`"),
        ("groups = [\"web\"]", "groups = [\"wbe\"]", "policies/times.toml:10:11:", "there is no group `wbe`"),
        ("breaks = [\"year-end\"]", "breaks = [\"year end\"]", "policies/times.toml:16:11:", "there is no freeze `year end`"),
        ("kind = \"http\"", "kind = \"htpp\"", "policies/rest.toml:3:8:", "there is no kind `htpp`"),
        ("status = 200", "statuss = 200", "policies/rest.toml:6:1:", "there is no key `statuss`"),
        ("classes = [\"security\", ", "classes = [\"securty\", ", "policies/rest.toml:9:12:", "`securty` is none of"),
        ("expires = \"2027-03-01T00:00:00Z\"", "expires = \"next spring\"", "policies/rest.toml:17:11:", "not a time"),
        ("owner = \"anna\"", "owner = \" \"", "policies/rest.toml:14:9:", "says nothing"),
        ("name = \"http-ok\"", "name = \"other\"", "policies/rest.toml:4:8:", "must repeat the key"),
        ("[check.http-ok]", "[check.\"http ok\"]", "policies/rest.toml:2:8:", "a name has 1 to 64"),
    ] {
        let told = faults(from, to);
        assert!(told.iter().any(|line| line.starts_with(place) && line.contains(words)), "`{to}`: wanted {place} {words}, got {told:#?}");
        assert!(!told.iter().any(|line| line.contains("group `web`; known") && !to.contains("gruop")), "{told:#?}");
    }
}

#[test]
fn faults_of_every_file_and_of_every_kind_come_at_once() {
    let main = MAIN.replace("per = \"zone\"", "pre = \"zone\"").replace("approvals  = 1", "approvals  = 0");
    let times = TIMES.replace("cutoff ", "cutof ");
    let rest = REST.replace("suite =", "siute =").replace("status = 200", "status = ");
    let PolicyError(faults) = read(&files(&main, &times, &rest)).unwrap_err();
    let places: Vec<String> = faults.iter().map(|fault| format!("{}:{}", fault.file, fault.line)).collect();
    for wanted in ["fother.toml:6", "fother.toml:18", "policies/times.toml:6", "policies/rest.toml:6", "policies/rest.toml:21"] {
        assert!(places.iter().any(|place| place == wanted), "{wanted} is not among {places:?}");
    }
}

#[test]
fn twice_the_same_key_is_a_fault_of_the_second() {
    let told = faults("approvals  = 1", "approvals  = 1\napprovals  = 2");
    assert!(told[0].starts_with("fother.toml:19:1:") && told[0].contains("duplicate key"), "{told:?}");
    let told = faults("[team.sre]", "[group.db]\n[team.sre]");
    assert!(told.iter().any(|line| line.starts_with("fother.toml:21:") && line.contains("duplicate key")), "{told:?}");
}

#[test]
fn hostile_files_are_told_without_harm() {
    for text in [
        "\u{202e}[group]",
        "[group.x]\nselect = \"\x1b[2J\"",
        "a = [[[[[[",
        "\"\"\"",
        "[group]\nweb = 1",
        "group = 1",
        "x = 99999999999999999999",
        "[a.b.c.d.e.f.g]\nx=1",
    ] {
        let error = Policy::parse(text).unwrap_err().to_string();
        assert!(!error.contains('\x1b') && !error.contains('\u{202e}'), "{error:?}");
    }
    assert!(Policy::parse(&"[".repeat(100_000)).is_err());
    assert!(Policy::parse(&format!("x = {}1{}", "[".repeat(50_000), "]".repeat(50_000))).is_err());
}

#[test]
fn every_section_of_the_schema_is_read() {
    let sections: Vec<String> = schema::schema()["properties"].as_object().unwrap().keys().cloned().collect();
    let whole = serde_json::to_value(good()).unwrap();
    assert_eq!(
        whole.as_object().unwrap().keys().collect::<Vec<_>>(),
        sections.iter().collect::<Vec<_>>(),
        "this test's policy uses every section"
    );
}

const SCHEDULE: &str = r#"[schedule.weekly]
group    = "web"
at       = "FREQ=WEEKLY;BYDAY=TU;BYHOUR=9"
timezone = "Europe/Berlin"
notice   = "48h"
owners   = ["anna"]
defer    = { times = 1, by = "7d" }
"#;

#[test]
fn a_schedule_is_read_and_each_mistake_is_told_with_its_place() {
    let read_with = |text: &str| {
        let [main, rest, times] = files(MAIN, TIMES, REST);
        read(&[main, rest, Source { name: "policies/schedules.toml", text }, times])
    };
    let schedule = read_with(SCHEDULE).unwrap().schedule["weekly"].clone();
    assert_eq!((schedule.notice_s, schedule.defer.map(|defer| (defer.times, defer.by_s))), (Some(172_800), Some((1, 604_800))));
    for (from, to, wanted) in [
        ("\"web\"", "\"wbe\"", "schedules.toml:2:12: schedule.weekly.group: there is no group `wbe`"),
        ("BYDAY=TU;", "", "schedules.toml:3:12: schedule.weekly.at: FREQ=WEEKLY;BYHOUR=9: FREQ=WEEKLY needs BYDAY"),
        ("FREQ=WEEKLY;BYDAY=TU;BYHOUR=9", "always", "schedules.toml:3:12: schedule.weekly.at: `always` is no recurrence"),
        ("Europe/Berlin", "Europe/Berln", "schedules.toml:4:12: schedule.weekly.timezone: `Europe/Berln` is no time zone"),
        ("48h", "48d", "schedules.toml:5:12: schedule.weekly.notice_s: at most 30 days"),
        ("[\"anna\"]", "[]", "schedules.toml:6:12: schedule.weekly.owners: an empty list"),
        ("times = 1", "times = 0", "schedules.toml:7:22: schedule.weekly.defer.times: 1 to 10"),
        ("by = \"7d\"", "by = \"100d\"", "schedules.toml:7:30: schedule.weekly.defer.by_s: more than nothing, and at most 90 days"),
        ("owners ", "owner  ", "schedules.toml:6:1: schedule.weekly.owner: there is no key `owner` here"),
    ] {
        let error = read_with(&SCHEDULE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
