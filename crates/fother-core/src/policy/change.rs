//! What one policy says otherwise than another, in words, and whether that lets more happen. Pure.
//!
//! A difference *loosens* where something could happen under the new policy that the old one would have stopped: at another time, on another host,
//! on more hosts at once, from another archive, with fewer people or less looking; or where a risk is accepted by name. What cannot be compared loosens.

mod items;

use super::{GoBack, Group, Per, Policy, Share, approvals::Approvals, selects, span::written};
use crate::{id::HostId, inventory::Labels};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which way a difference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Words only.
    Same,
    /// Less can happen.
    Tightens,
    /// More can happen: it needs the approvals that the old policy demands.
    Loosens,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which key, for example `group.web.budget.unavailable`.
    pub key: String,
    /// In words, for example `web: budget 20% → 30%`.
    pub what: String,
    /// Which way it goes.
    pub effect: Effect,
    /// Groups of either policy that it is about.
    pub groups: BTreeSet<String>,
}

/// What approving a difference takes: so many of these people; everybody counts where none is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Demand {
    /// The group of the old policy that demands it.
    pub group: String,
    /// Distinct people.
    pub required: u32,
    /// Who counts.
    pub from: BTreeSet<String>,
}

/// Everything that `new` says otherwise than `old`, by key.
#[must_use]
pub fn differences(old: &Policy, new: &Policy) -> Vec<Difference> {
    let mut found = Found { old, new, list: Vec::new() };
    for (name, before, after) in both(&old.group, &new.group) {
        match (before, after) {
            (Some(before), Some(after)) => found.group(name, before, after),
            (None, Some(after)) => {
                let what = format!("{name}: a new group, {}", after.select);
                found.say(format!("group.{name}"), what, Effect::Loosens, every(old, name));
            }
            (Some(_), None) => found.say(format!("group.{name}"), format!("{name}: no group any more"), Effect::Tightens, one(name)),
            (None, None) => {}
        }
    }
    found.items();
    found.list
}

/// The approvals that `old` demands for what loosens it; nothing where nothing does.
#[must_use]
pub fn demands(old: &Policy, differences: &[Difference]) -> BTreeSet<Demand> {
    let mut out = BTreeSet::new();
    for difference in differences.iter().filter(|one| one.effect == Effect::Loosens) {
        let mut groups = difference.groups.iter().filter_map(|name| Some((name, old.group.get(name)?))).peekable();
        if groups.peek().is_none() {
            // Nobody is named: somebody else than the author looks all the same.
            out.insert(Demand { group: String::new(), required: 1, from: BTreeSet::new() });
        }
        let demand = |(name, group): (&String, &Group)| Demand {
            group: name.clone(),
            required: group.approvals.required.max(1),
            from: group.approvals.people(old),
        };
        out.extend(groups.map(demand));
    }
    out
}

/// Which demands these people do not meet.
#[must_use]
pub fn unmet<'a>(demands: &'a BTreeSet<Demand>, people: &BTreeSet<String>) -> Vec<&'a Demand> {
    let counted = |demand: &Demand| people.iter().filter(|person| demand.from.is_empty() || demand.from.contains(*person)).count();
    demands.iter().filter(|demand| (counted(demand) as u64) < u64::from(demand.required)).collect()
}

impl std::fmt::Display for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} approval(s)", self.required)?;
        if !self.from.is_empty() {
            write!(f, " from {}", self.from.iter().cloned().collect::<Vec<_>>().join(", "))?;
        }
        if self.group.is_empty() { Ok(()) } else { write!(f, " for group {}", self.group) }
    }
}

/// Hosts that a difference is about: members of its groups under either policy.
#[must_use]
pub fn affected(old: &Policy, new: &Policy, difference: &Difference, hosts: &BTreeMap<HostId, Labels>) -> BTreeSet<HostId> {
    let groups: Vec<&Group> = difference.groups.iter().flat_map(|name| [old.group.get(name), new.group.get(name)]).flatten().collect();
    let member = |labels: &Labels| groups.iter().any(|group| selects(&group.select, labels).unwrap_or(true));
    hosts.iter().filter(|(_, labels)| member(labels)).map(|(host, _)| *host).collect()
}

struct Found<'a> {
    old: &'a Policy,
    new: &'a Policy,
    list: Vec<Difference>,
}

fn one(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

/// All groups of a policy, and one more.
fn every(policy: &Policy, more: &str) -> BTreeSet<String> {
    policy.group.keys().cloned().chain([more.to_owned()]).collect()
}

/// Each name with what both sides have of it.
fn both<'a, T>(old: &'a BTreeMap<String, T>, new: &'a BTreeMap<String, T>) -> Vec<(&'a str, Option<&'a T>, Option<&'a T>)> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().map(|name| (name.as_str(), old.get(name), new.get(name))).collect()
}

/// More of it loosens.
fn more<T: PartialOrd>(before: &T, after: &T) -> Effect {
    if after <= before { Effect::Tightens } else { Effect::Loosens }
}

/// Less of it loosens.
fn less<T: PartialOrd>(before: &T, after: &T) -> Effect {
    more(after, before)
}

/// Who leaves the set loosens.
fn fewer<T: Ord>(before: &BTreeSet<T>, after: &BTreeSet<T>) -> Effect {
    if before.is_subset(after) { Effect::Tightens } else { Effect::Loosens }
}

/// A set that is empty where it means everything; who joins it loosens.
fn wider(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Effect {
    let within = before.is_empty() || (!after.is_empty() && after.is_subset(before));
    if within { Effect::Tightens } else { Effect::Loosens }
}

/// A larger share loosens; a count and a percentage cannot be compared.
fn share(before: Share, after: Share) -> Effect {
    match (before, after) {
        (Share::Count(before), Share::Count(after)) => more(&before, &after),
        (Share::Percent(before), Share::Percent(after)) => more(&before, &after),
        (Share::Count(_), Share::Percent(_)) | (Share::Percent(_), Share::Count(_)) => Effect::Loosens,
    }
}

fn said(share: Share) -> String {
    match share {
        Share::Count(count) => count.to_string(),
        Share::Percent(percent) => format!("{percent}%"),
    }
}

fn listed(set: &BTreeSet<String>) -> String {
    if set.is_empty() { "nobody named".to_owned() } else { set.iter().cloned().collect::<Vec<_>>().join(", ") }
}

impl Found<'_> {
    fn say(&mut self, key: String, what: String, effect: Effect, groups: BTreeSet<String>) {
        self.list.push(Difference { key, what, effect, groups });
    }

    /// One key of a group.
    fn of(&mut self, name: &str, key: &str, what: String, effect: Effect) {
        self.say(format!("group.{name}.{key}"), format!("{name}: {what}"), effect, one(name));
    }

    fn group(&mut self, name: &str, old: &Group, new: &Group) {
        if old.select != new.select {
            self.of(name, "select", format!("selects {} instead of {}", new.select, old.select), Effect::Loosens);
        }
        if old.window != new.window {
            let effect = if old.window == "always" { Effect::Tightens } else { Effect::Loosens };
            self.of(name, "window", format!("window {} → {}", old.window, new.window), effect);
        }
        self.budget(name, old, new);
        self.rollout(name, old, new);
        let (before, after): (BTreeSet<String>, BTreeSet<String>) =
            (old.checks.iter().cloned().collect(), new.checks.iter().cloned().collect());
        if before != after {
            self.of(name, "checks", format!("checks {} → {}", listed(&before), listed(&after)), fewer(&before, &after));
        } else if old.checks != new.checks {
            self.of(name, "checks", "the order of its checks".to_owned(), Effect::Same);
        }
        self.approvals(name, &old.approvals, &new.approvals);
        if old.config_files != new.config_files {
            let what = format!("configuration files {:?} → {:?}", old.config_files, new.config_files).to_lowercase();
            self.of(
                name,
                "config_files",
                what,
                if new.config_files == super::ConfigFiles::Stop { Effect::Tightens } else { Effect::Loosens },
            );
        }
        if old.undo_s != new.undo_s {
            let what = format!("an undo is covered for {} → {}", written(old.undo_s), written(new.undo_s));
            self.of(name, "undo_s", what, more(&old.undo_s, &new.undo_s));
        }
        for (key, before, after) in [("after", &old.after, &new.after), ("never_with", &old.never_with, &new.never_with)] {
            if before != after {
                self.of(name, key, format!("{} {} → {}", key.replace('_', " "), listed(before), listed(after)), fewer(before, after));
            }
        }
        if old.follows != new.follows {
            let word = |group: &Group| {
                group
                    .follows
                    .as_ref()
                    .map_or_else(|| "no group".to_owned(), |first| format!("{} after {}", first.group, written(first.soak_s.into())))
            };
            let effect = match (&old.follows, &new.follows) {
                (Some(before), Some(after)) if before.group == after.group => less(&before.soak_s, &after.soak_s),
                (None, _) => Effect::Tightens,
                (Some(_), _) => Effect::Loosens,
            };
            self.of(name, "follows", format!("follows {} → {}", word(old), word(new)), effect);
        }
        self.baseline(name, old, new);
    }

    fn budget(&mut self, name: &str, old: &Group, new: &Group) {
        let (old, new) = (&old.budget, &new.budget);
        if old.unavailable != new.unavailable {
            let what = format!("budget {} → {}", said(old.unavailable), said(new.unavailable));
            self.of(name, "budget.unavailable", what, share(old.unavailable, new.unavailable));
        }
        if old.one_zone_at_a_time != new.one_zone_at_a_time {
            let what = if new.one_zone_at_a_time { "one zone at a time" } else { "several zones at a time" };
            self.of(name, "budget.one_zone_at_a_time", what.to_owned(), less(&old.one_zone_at_a_time, &new.one_zone_at_a_time));
        }
        if old.per != new.per {
            let what = match new.per {
                Per::Group => "the budget counts over the group instead of each zone",
                Per::Zone => "the budget counts in each zone instead of over the group",
            };
            // The same share of each zone is more or fewer hosts, as zones are: neither is within the other.
            self.of(name, "budget.per", what.to_owned(), Effect::Loosens);
        }
        if old.min_healthy != new.min_healthy {
            let word = |share: Option<Share>| share.map_or_else(|| "none".to_owned(), said);
            let effect = match (old.min_healthy, new.min_healthy) {
                (Some(before), Some(after)) => share(after, before),
                (None, _) => Effect::Tightens,
                (Some(_), None) => Effect::Loosens,
            };
            // A count and a percentage cannot be compared in either direction.
            let effect = if matches!((old.min_healthy, new.min_healthy), (Some(a), Some(b)) if std::mem::discriminant(&a) != std::mem::discriminant(&b))
            {
                Effect::Loosens
            } else {
                effect
            };
            self.of(
                name,
                "budget.min_healthy",
                format!("healthy hosts at least {} → {}", word(old.min_healthy), word(new.min_healthy)),
                effect,
            );
        }
    }

    fn rollout(&mut self, name: &str, old: &Group, new: &Group) {
        let (old, new) = (&old.rollout, &new.rollout);
        if old.canary != new.canary {
            self.of(name, "rollout.canary", format!("canary {} → {}", old.canary, new.canary), more(&old.canary, &new.canary));
        }
        if old.waves != new.waves {
            let slower = new.waves.len() >= old.waves.len()
                && old.waves.iter().zip(&new.waves).all(|(before, after)| share(*before, *after) == Effect::Tightens);
            let words = |waves: &[Share]| waves.iter().map(|wave| said(*wave)).collect::<Vec<_>>().join(", ");
            let effect = if slower { Effect::Tightens } else { Effect::Loosens };
            self.of(name, "rollout.waves", format!("waves {} → {}", words(&old.waves), words(&new.waves)), effect);
        }
        if old.soak_s != new.soak_s {
            let what = format!("soak {} → {}", written(old.soak_s.into()), written(new.soak_s.into()));
            self.of(name, "rollout.soak_s", what, less(&old.soak_s, &new.soak_s));
        }
        if old.by_zone != new.by_zone {
            let what = if new.by_zone { "zone after zone" } else { "all zones together" };
            self.of(name, "rollout.by_zone", what.to_owned(), less(&old.by_zone, &new.by_zone));
        }
        if old.retries != new.retries {
            let what = format!("a host is tried again {} → {} times", old.retries, new.retries);
            self.of(name, "rollout.retries", what, more(&old.retries, &new.retries));
        }
        if old.on_failure != new.on_failure {
            let word = |back| match back {
                GoBack::Host => "the host that failed",
                GoBack::Wave => "its wave",
                GoBack::Rollout => "the rollout",
            };
            let what = format!("a failed gate puts back {} instead of {}", word(new.on_failure), word(old.on_failure));
            self.of(name, "rollout.on_failure", what, less(&old.on_failure, &new.on_failure));
        }
    }

    fn approvals(&mut self, name: &str, old: &Approvals, new: &Approvals) {
        if old.required != new.required {
            let what = format!("approvals {} → {}", old.required, new.required);
            self.of(name, "approvals.required", what, less(&old.required, &new.required));
        }
        if old.from != new.from {
            let word = |from: &BTreeSet<String>| if from.is_empty() { "everybody".to_owned() } else { listed(from) };
            let what = format!("approvals from {} → {}", word(&old.from), word(&new.from));
            self.of(name, "approvals.from", what, wider(&old.from, &new.from));
        }
        if old.in_emergency() != new.in_emergency() {
            let what = format!("approvals in an emergency {} → {}", old.in_emergency(), new.in_emergency());
            self.of(name, "approvals.emergency", what, less(&old.in_emergency(), &new.in_emergency()));
        }
    }
}
