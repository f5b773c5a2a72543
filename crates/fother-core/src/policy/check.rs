//! What a policy says, held against itself: names that are not there, numbers that allow nothing, selectors and windows that cannot be. Pure.

use super::{Check, Group, Policy, Share, fault::nearest, selects};
use crate::{inventory::Labels, window};
use std::collections::{BTreeMap, BTreeSet};

/// One fault and the path to it.
pub(super) struct Trouble {
    pub(super) path: Vec<String>,
    pub(super) what: String,
    pub(super) meant: Option<String>,
}

/// What was declared: names by section.
type Names<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

struct Checker<'a> {
    names: &'a Names<'a>,
    found: Vec<Trouble>,
}

/// Everything that is wrong with what it says.
pub(super) fn check(policy: &Policy, names: &Names<'_>) -> Vec<Trouble> {
    let mut checker = Checker { names, found: Vec::new() };
    for (name, group) in &policy.group {
        checker.group(policy, name, group);
    }
    for (name, check) in policy.check.iter().filter(|(name, check)| check.name() != *name) {
        checker.say(&["check", name, "name"], format!("must repeat the key `{name}`, not `{}`", check.name()), None);
    }
    for (name, check) in &policy.check {
        for (key, what) in check.faults() {
            checker.say(&["check", name, key], what, None);
        }
    }
    for (name, window) in &policy.window {
        if name == window::ALWAYS {
            checker.say(&["window", name], "`always` is the window without limits and cannot be declared".to_owned(), None);
        }
        if window.start == window::ALWAYS {
            checker.say(&["window", name, "start"], "`always` is no recurrence; a group says `window = \"always\"`".to_owned(), None);
        } else if let Err(error) = window.validate() {
            let key = match error {
                window::Error::Zone { .. } => "timezone",
                window::Error::Rule { .. } => "start",
                window::Error::Span | window::Error::Days | window::Error::NeverOpens { .. } => "duration_s",
            };
            checker.say(&["window", name, key], error.to_string(), None);
        }
    }
    for (name, freeze) in &policy.freeze {
        checker.groups(&["freeze", name], &freeze.groups);
        checker.said(&["freeze", name, "reason"], &freeze.reason);
        if let Err(why) = freeze.when() {
            checker.say(&["freeze", name], why, None);
        }
    }
    for (name, exception) in &policy.exception {
        checker.groups(&["exception", name], &exception.groups);
        checker.said(&["exception", name, "owner"], &exception.owner);
        checker.said(&["exception", name, "reason"], &exception.reason);
    }
    for (name, emergency) in &policy.emergency {
        checker.groups(&["emergency", name], &emergency.groups);
        checker.said(&["emergency", name, "reason"], &emergency.reason);
        for freeze in &emergency.breaks {
            checker.known("freeze", freeze, &["emergency", name, "breaks", freeze]);
        }
        if let Some(window) = &emergency.window {
            checker.window(window, &["emergency", name, "window"]);
        }
    }
    for (name, schedule) in &policy.schedule {
        checker.known("group", &schedule.group, &["schedule", name, "group"]);
        for (key, what) in schedule.faults() {
            let path: Vec<&str> = ["schedule", name].into_iter().chain(key.split('.')).collect();
            checker.say(&path, what, None);
        }
    }
    checker.circles(policy);
    checker.found
}

impl Checker<'_> {
    fn say(&mut self, path: &[&str], what: String, meant: Option<String>) {
        self.found.push(Trouble { path: path.iter().map(|part| (*part).to_owned()).collect(), what, meant });
    }

    /// A text for people must say something.
    fn said(&mut self, path: &[&str], text: &str) {
        if text.trim().is_empty() {
            self.say(path, "says nothing: give it in words".to_owned(), None);
        }
    }

    fn known(&mut self, section: &str, name: &str, path: &[&str]) {
        let known = self.names.get(section);
        if known.is_some_and(|known| known.contains(name)) {
            return;
        }
        let known: Vec<&str> = known.into_iter().flatten().copied().collect();
        let listed = if known.is_empty() { "none is declared".to_owned() } else { format!("known: {}", known.join(", ")) };
        self.say(path, format!("there is no {section} `{name}`; {listed}"), nearest(name, known));
    }

    fn window(&mut self, name: &str, path: &[&str]) {
        if name != window::ALWAYS {
            self.known("window", name, path);
        }
    }

    fn groups(&mut self, path: &[&str], groups: &BTreeSet<String>) {
        for group in groups {
            self.known("group", group, &[path, &["groups", group]].concat());
        }
    }

    fn group(&mut self, policy: &Policy, name: &str, group: &Group) {
        let at = |key| ["group", name, key];
        if let Err(why) = selects(&group.select, &Labels::new()) {
            self.say(&at("select"), why, None);
        }
        self.window(&group.window, &at("window"));
        for check in &group.checks {
            self.known("check", check, &["group", name, "checks", check]);
            if let Some(Check::Prometheus { max_age_s, .. }) = policy.check.get(check)
                && *max_age_s > group.rollout.soak_s
            {
                let what =
                    format!("shorter than the max_age of {check} ({max_age_s} s): no sample from after the change might be looked at");
                self.say(&["group", name, "rollout", "soak_s"], what, None);
            }
        }
        if let Some(baseline) = &group.baseline {
            self.known("baseline", baseline, &at("baseline"));
        }
        if let Some(first) = &group.follows {
            self.known("group", &first.group, &["group", name, "follows", "group"]);
            if first.group == name {
                self.say(&["group", name, "follows", "group"], "a group cannot follow itself".to_owned(), None);
            }
        }
        for (key, others) in [("after", &group.after), ("never_with", &group.never_with)] {
            for other in others {
                self.known("group", other, &["group", name, key, other]);
                if other == name {
                    self.say(&["group", name, key, other], "a group cannot name itself here".to_owned(), None);
                }
            }
        }
        if group.rollout.canary == 0 {
            self.say(&["group", name, "rollout", "canary"], "at least 1".to_owned(), None);
        }
        let none = |share| matches!(share, Share::Count(0) | Share::Percent(0));
        if none(group.budget.unavailable) {
            self.say(&["group", name, "budget", "unavailable"], "zero would never patch anything".to_owned(), None);
        }
        if group.budget.min_healthy == Some(Share::Percent(100)) {
            self.say(&["group", name, "budget", "min_healthy"], "100% would never patch anything".to_owned(), None);
        }
        self.approvals(policy, name, group);
    }

    fn approvals(&mut self, policy: &Policy, name: &str, group: &Group) {
        let approvals = &group.approvals;
        let path =
            if approvals.from.is_empty() && approvals.emergency.is_none() { vec!["approvals"] } else { vec!["approvals", "required"] };
        let path = [&["group", name], &path[..]].concat();
        if approvals.required == 0 {
            self.say(&path, "at least 1: nothing is changed without somebody else's approval".to_owned(), None);
        }
        if approvals.emergency == Some(0) {
            let what = "at least 1: an emergency path is shorter, never empty";
            self.say(&["group", name, "approvals", "emergency"], what.to_owned(), None);
        }
        if approvals.emergency.is_some_and(|emergency| emergency > approvals.required) {
            self.say(&["group", name, "approvals", "emergency"], "more than an ordinary change needs".to_owned(), None);
        }
        let people = approvals.people(policy);
        if !approvals.from.is_empty() && (people.len() as u64) < u64::from(approvals.required) {
            let what = format!("{} approvals are required, but `from` names {} people", approvals.required, people.len());
            self.say(&["group", name, "approvals", "from"], what, None);
        }
    }

    /// Groups that wait for each other would wait for ever.
    fn circles(&mut self, policy: &Policy) {
        for start in policy.group.keys() {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(name) = open.pop() {
                for next in policy.group.get(name).into_iter().flat_map(|group| &group.after).filter(|next| *next != name) {
                    if next == start {
                        let what = format!("`{start}` waits for `{name}`, which waits for `{start}`: neither would ever begin");
                        return self.say(&["group", start, "after"], what, None);
                    }
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
        }
    }
}
