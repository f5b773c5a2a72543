//! What was seen in the clone, and what of it is newly broken; pure but for reading `/proc/net`.

use crate::transact::units::Unit;
use fother_core::{
    policy::{Check, CheckAnswer},
    rehearsal::{Breakage, Exercised},
    text::printable,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Longest explanation in a report, in characters.
const WHY_CHARS_MAX: usize = 2_000;

/// What ran, listened and answered at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Services run here at all.
    pub booted: bool,
    /// Loaded services and sockets.
    pub units: BTreeMap<String, Unit>,
    /// Units that died or restarted while they were watched.
    pub unstable: BTreeSet<String>,
    /// Why a unit is failed or unstable.
    pub why: BTreeMap<String, String>,
    /// Protocol, address and port of everything that listens.
    pub listeners: BTreeSet<String>,
    /// Check → answer.
    pub answers: BTreeMap<String, CheckAnswer>,
    /// A package has asked for a reboot.
    pub reboot_required: bool,
    /// Paths and trees that running services write on their own.
    #[serde(default)]
    pub data: BTreeSet<String>,
}

/// What listens now, from `/proc/net` (proc_net(5)): TCP in state LISTEN, UDP unconnected, below the ephemeral ports.
pub(super) fn listeners() -> BTreeSet<String> {
    let files = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];
    files
        .iter()
        .flat_map(|(protocol, state)| {
            let text = fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
            parse_listeners(&text, protocol, state)
        })
        .collect()
}

fn parse_listeners(text: &str, protocol: &str, wanted: &str) -> BTreeSet<String> {
    const EPHEMERAL: u16 = 32_768;
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let any = address.bytes().all(|b| b == b'0');
        (state == wanted && (port < EPHEMERAL || protocol.starts_with("tcp")))
            .then(|| format!("{protocol} port {port}{}", if any { "" } else { " on one address" }))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

fn good(seen: &Observation, unit: &str) -> bool {
    seen.units.get(unit).is_some_and(|state| state.active == "active") && !seen.unstable.contains(unit)
}

/// What ran, listened and answered before, and does no more after.
pub(super) fn newly_broken(before: &Observation, after: &Observation) -> Vec<Breakage> {
    let mut out = Vec::new();
    let why = |unit: &str| after.why.get(unit).map_or_else(|| "it does not run any more".to_owned(), |why| printable(why, WHY_CHARS_MAX));
    for (name, unit) in &before.units {
        let lasting = unit.kind != "oneshot" || unit.sub == "exited";
        let gone = !after.units.contains_key(name) && name.ends_with(".socket");
        if good(before, name) && !good(after, name) && lasting && !gone {
            out.push(Breakage { what: name.clone(), why: why(name) });
        }
    }
    for (name, unit) in &after.units {
        let bad = unit.active == "failed" || after.unstable.contains(name);
        let was_bad = before.units.get(name).is_some_and(|unit| unit.active == "failed") || before.unstable.contains(name);
        if bad && !was_bad && !out.iter().any(|known| known.what == *name) {
            out.push(Breakage { what: name.clone(), why: why(name) });
        }
    }
    for listener in before.listeners.difference(&after.listeners) {
        out.push(Breakage { what: listener.clone(), why: "nothing listens there any more".to_owned() });
    }
    for (name, answer) in &after.answers {
        if matches!(before.answers.get(name), Some(CheckAnswer::Fine | CheckAnswer::Noted { .. }))
            && let CheckAnswer::Failed { why } | CheckAnswer::NoData { why } = answer
        {
            out.push(Breakage { what: name.clone(), why: marked(why, WHY_CHARS_MAX) });
        }
    }
    out
}

/// Foreign text of several lines, each cut to `chars_max` characters, with the marks of quoted lines.
fn marked(text: &str, chars_max: usize) -> String {
    text.lines().map(|line| printable(line, chars_max)).collect::<Vec<_>>().join("\n")
}

/// Checks that were not fine even before: what they watch is unknown.
pub(super) fn unanswered(before: &Observation) -> Vec<String> {
    let text = |(name, answer): (&String, &CheckAnswer)| match answer {
        CheckAnswer::Fine | CheckAnswer::Noted { .. } => None,
        CheckAnswer::Failed { why } | CheckAnswer::NoData { why } => {
            Some(format!("the check {name} was not fine in the clone even before the update: {}", marked(why, 200)))
        }
    };
    before.answers.iter().filter_map(text).collect()
}

/// Services that the clone exercised and those that it could not, `on_host` being those that run on the host.
pub(super) fn exercised(before: &Observation, after: &Observation, on_host: &BTreeMap<String, Unit>) -> Vec<Exercised> {
    let mut out = Vec::new();
    let plumbing =
        |name: &str| name.starts_with("systemd-") || name.starts_with("fother-") || name.starts_with("user@") || name.contains("getty");
    let names: BTreeSet<&String> =
        before.units.keys().chain(on_host.keys()).filter(|name| name.ends_with(".service") && !plumbing(name)).collect();
    for name in names {
        let (seen, host) = (before.units.get(name), on_host.get(name).is_some_and(|unit| unit.active == "active" && unit.sub == "running"));
        let ran = seen.is_some_and(|unit| unit.active == "active" && unit.sub == "running");
        let failed = seen.is_some_and(|unit| unit.active == "failed") || before.unstable.contains(name);
        if ran && !failed {
            let note = if good(after, name) { "ran before and after" } else { "ran before, not after" };
            out.push(Exercised { unit: name.clone(), exercised: true, note: note.to_owned() });
        } else if failed {
            let why = before.why.get(name).map_or("", String::as_str);
            out.push(Exercised {
                unit: name.clone(),
                exercised: false,
                note: format!("failed in the clone even before the update: {}", printable(why, 300)),
            });
        } else if host {
            out.push(Exercised { unit: name.clone(), exercised: false, note: "runs on the host, did not run in the clone".to_owned() });
        }
    }
    out
}

/// Checks that a clone cannot answer, or not wholly: what they watch nobody exercised.
pub(super) fn not_asked(checks: &[Check]) -> Vec<Exercised> {
    let named = |check: &Check| {
        let why = check.in_clone().not?;
        Some(Exercised { unit: format!("check {}", check.name()), exercised: false, note: why.to_owned() })
    };
    checks.iter().filter_map(named).collect()
}

/// What listens on a host whose services no manager of ours knows, and does not in the clone: nobody exercised it.
pub(super) fn idle_listeners(before: &Observation, on_host: &BTreeSet<String>) -> Vec<Exercised> {
    let note = || "listens on the host, not in the clone".to_owned();
    on_host.difference(&before.listeners).map(|what| Exercised { unit: what.clone(), exercised: false, note: note() }).collect()
}

/// Units that were started anew between two observations.
pub(super) fn restarted(before: &Observation, after: &Observation) -> BTreeSet<String> {
    let moved = |(name, unit): (&String, &Unit)| {
        let later = after.units.get(name)?;
        let both = unit.active == "active" && !unit.invocation.is_empty() && !later.invocation.is_empty();
        (both && unit.invocation != later.invocation && name.ends_with(".service") && unit.sub == "running").then(|| name.clone())
    };
    before.units.iter().filter_map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: &str, sub: &str, invocation: &str) -> Unit {
        Unit {
            active: active.to_owned(),
            sub: sub.to_owned(),
            invocation: invocation.to_owned(),
            kind: "simple".to_owned(),
            ..Unit::default()
        }
    }

    fn seen(units: &[(&str, Unit)]) -> Observation {
        Observation {
            booted: true,
            units: units.iter().map(|(name, unit)| ((*name).to_owned(), unit.clone())).collect(),
            ..Observation::default()
        }
    }

    #[test]
    fn only_what_is_newly_broken_counts() {
        let mut before = seen(&[("a.service", unit("active", "running", "1")), ("b.service", unit("failed", "failed", ""))]);
        let mut after = seen(&[("a.service", unit("active", "running", "2")), ("b.service", unit("failed", "failed", ""))]);
        before.listeners.insert("tcp port 80".to_owned());
        after.listeners.insert("tcp port 80".to_owned());
        assert_eq!(newly_broken(&before, &after), []);
        assert_eq!(restarted(&before, &after), ["a.service".to_owned()].into());
        after.listeners.clear();
        after.units.insert("a.service".to_owned(), unit("failed", "failed", "2"));
        after.units.insert("new.service".to_owned(), unit("failed", "failed", "2"));
        let whats: Vec<_> = newly_broken(&before, &after).into_iter().map(|broken| broken.what).collect();
        assert_eq!(whats, ["a.service", "new.service", "tcp port 80"]);
    }

    #[test]
    fn a_unit_that_starts_and_dies_again_is_broken_and_no_answer_is_not_fine() {
        let mut before = seen(&[("a.service", unit("active", "running", "1"))]);
        let mut after = before.clone();
        after.unstable.insert("a.service".to_owned());
        before.answers.insert("http".to_owned(), CheckAnswer::Fine);
        after.answers.insert("http".to_owned(), CheckAnswer::NoData { why: "refused".to_owned() });
        assert_eq!(newly_broken(&before, &after).len(), 2);
        assert_eq!(unanswered(&after).len(), 1);
    }

    #[test]
    fn what_could_not_run_in_the_clone_is_listed() {
        let before = seen(&[("bad.service", unit("failed", "failed", "")), ("ok.service", unit("active", "running", "1"))]);
        let host = [("db.service".to_owned(), unit("active", "running", "7"))].into();
        let list = exercised(&before, &before, &host);
        let flat: Vec<_> = list.iter().map(|item| (item.unit.as_str(), item.exercised)).collect();
        assert_eq!(flat, [("bad.service", false), ("db.service", false), ("ok.service", true)]);
    }

    #[test]
    fn listening_sockets_are_read_and_others_are_not() {
        let text = "  sl  local_address rem_address   st\n   0: 00000000:0050 00000000:0000 0A 0 0\n   1: 0100007F:1F90 00000000:0000 0A 0 0\n   2: 0100007F:9999 0100007F:0050 01 0 0\n";
        assert_eq!(parse_listeners(text, "tcp", "0A"), ["tcp port 80".to_owned(), "tcp port 8080 on one address".to_owned()].into());
    }
}
