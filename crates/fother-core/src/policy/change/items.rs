//! Differences of what groups refer to: windows, freezes, baselines, exceptions, emergency paths, checks, archives, teams. Pure.

use super::{Effect, Found, both, every, fewer, less, listed, more, one, wider};
use crate::{
    policy::{Archive, Baseline, Emergency, Exception, Freeze, Group, Policy, Schedule, freeze::When, schedule::Defer, span::written},
    window::Window,
};
use std::collections::{BTreeMap, BTreeSet};

/// Groups of either policy that a test picks.
fn groups(old: &Policy, new: &Policy, pick: impl Fn(&str, &Group) -> bool) -> BTreeSet<String> {
    let all = old.group.iter().chain(&new.group);
    all.filter(|(name, group)| pick(name, group)).map(|(name, _)| name.clone()).collect()
}

impl Found<'_> {
    /// Everything but groups.
    pub(super) fn items(&mut self) {
        let (old, new) = (self.old, self.new);
        for (name, before, after) in both(&old.window, &new.window) {
            if let (Some(before), Some(after)) = (before, after) {
                self.window(name, before, after);
            }
        }
        for (name, before, after) in both(&old.freeze, &new.freeze) {
            self.freeze(name, before, after);
        }
        for (name, before, after) in both(&old.exception, &new.exception) {
            self.exception(name, before, after);
        }
        for (name, before, after) in both(&old.emergency, &new.emergency) {
            self.emergency(name, before, after);
        }
        for (name, before, after) in both(&old.schedule, &new.schedule) {
            self.schedule(name, before, after);
        }
        for (name, before, after) in both(&old.archive, &new.archive) {
            self.archive(name, before, after);
        }
        for (name, before, after) in both(&old.check, &new.check) {
            if let (Some(before), Some(after)) = (before, after)
                && before != after
            {
                let asked = groups(old, new, |_, group| group.checks.iter().any(|check| check == name));
                self.say(format!("check.{name}"), format!("check {name} asks something else"), Effect::Loosens, asked);
            }
        }
        for (name, before, after) in both(&old.team, &new.team) {
            let of = |team: Option<&crate::policy::Team>| team.map(|team| team.people.clone()).unwrap_or_default();
            let (before, after) = (of(before), of(after));
            if before != after {
                let approving = groups(old, new, |_, group| group.approvals.from.contains(name));
                let effect = if after.is_subset(&before) { Effect::Tightens } else { Effect::Loosens };
                self.say(format!("team.{name}"), format!("team {name}: {} → {}", listed(&before), listed(&after)), effect, approving);
            }
        }
    }

    fn window(&mut self, name: &str, old: &Window, new: &Window) {
        let using = groups(self.old, self.new, |_, group| group.window == name);
        if (&old.timezone, &old.start) != (&new.timezone, &new.start) {
            let what = format!("window {name} opens at {} in {} instead of {} in {}", new.start, new.timezone, old.start, old.timezone);
            self.say(format!("window.{name}.start"), what, Effect::Loosens, using.clone());
        }
        if old.duration_s != new.duration_s {
            let what = format!("window {name} is open {} → {}", written(old.duration_s.into()), written(new.duration_s.into()));
            self.say(format!("window.{name}.duration_s"), what, more(&old.duration_s, &new.duration_s), using.clone());
        }
        if old.cutoff_s != new.cutoff_s {
            let what = format!("window {name}: cutoff {} → {}", written(old.cutoff_s.into()), written(new.cutoff_s.into()));
            self.say(format!("window.{name}.cutoff_s"), what, less(&old.cutoff_s, &new.cutoff_s), using);
        }
    }

    fn freeze(&mut self, name: &str, old: Option<&Freeze>, new: Option<&Freeze>) {
        let key = format!("freeze.{name}");
        let stopped = groups(self.old, self.new, |group, _| [old, new].into_iter().flatten().any(|freeze| freeze.stops(group)));
        match (old, new) {
            (Some(_), None) => self.say(key, format!("freeze {name} is gone"), Effect::Loosens, stopped),
            (None, Some(new)) => self.say(key, format!("freeze {name}: {}", new.reason), Effect::Tightens, stopped),
            (Some(old), Some(new)) if old != new => {
                let groups = if new.groups.is_empty() || (!old.groups.is_empty() && old.groups.is_subset(&new.groups)) {
                    Effect::Tightens
                } else {
                    Effect::Loosens
                };
                let times = match (old.when(), new.when()) {
                    (Ok(before), Ok(after)) if before == after => Effect::Tightens,
                    (Ok(When::Once(from, to)), Ok(When::Once(new_from, new_to))) if new_from <= from && new_to >= to => Effect::Tightens,
                    (Ok(When::Recurring(before)), Ok(When::Recurring(after)))
                        if (&before.timezone, &before.start) == (&after.timezone, &after.start) =>
                    {
                        less(&before.duration_s, &after.duration_s)
                    }
                    _ => Effect::Loosens,
                };
                let same = Freeze { reason: new.reason.clone(), ..old.clone() } == *new;
                let effect = if same { Effect::Same } else { groups.max(times) };
                let what = if same { "has another reason" } else { "is at another time, or for other groups" };
                self.say(key, format!("freeze {name} {what}"), effect, stopped);
            }
            _ => {}
        }
    }

    /// An exception accepts a risk: the more it covers and the longer, the looser.
    fn exception(&mut self, name: &str, old: Option<&Exception>, new: Option<&Exception>) {
        let key = format!("exception.{name}");
        let mine = |exception: &Exception, group: &str| exception.groups.is_empty() || exception.groups.contains(group);
        let about = groups(self.old, self.new, |group, _| [old, new].into_iter().flatten().any(|exception| mine(exception, group)));
        match (old, new) {
            (Some(_), None) => self.say(key, format!("exception {name} is gone"), Effect::Tightens, about),
            (None, Some(new)) => {
                let what = format!("exception {name} for {} until {}, {}: {}", listed(&new.packages), new.expires, new.owner, new.reason);
                self.say(key, what, Effect::Loosens, about);
            }
            (Some(old), Some(new)) if old != new => {
                let same = (&old.groups, &old.packages, old.expires) == (&new.groups, &new.packages, new.expires);
                let packages = if new.packages.is_subset(&old.packages) { Effect::Tightens } else { Effect::Loosens };
                let effect = packages.max(wider(&old.groups, &new.groups)).max(more(&old.expires, &new.expires));
                let what = format!("exception {name} for {} until {}, {}", listed(&new.packages), new.expires, new.owner);
                self.say(key, what, if same { Effect::Same } else { effect }, about);
            }
            _ => {}
        }
    }

    fn emergency(&mut self, name: &str, old: Option<&Emergency>, new: Option<&Emergency>) {
        let key = format!("emergency.{name}");
        let served = groups(self.old, self.new, |group, _| [old, new].into_iter().flatten().any(|path| path.serves(group)));
        match (old, new) {
            (Some(_), None) => self.say(key, format!("emergency path {name} is gone"), Effect::Tightens, served),
            (None, Some(new)) => self.say(key, format!("emergency path {name}: {}", new.reason), Effect::Loosens, served),
            (Some(old), Some(new)) if old != new => {
                let breaks = fewer(&new.breaks, &old.breaks);
                let window = if old.window == new.window { Effect::Tightens } else { Effect::Loosens };
                let same = Emergency { reason: new.reason.clone(), ..old.clone() } == *new;
                let effect = if same { Effect::Same } else { breaks.max(window).max(wider(&old.groups, &new.groups)) };
                let window = new.window.as_deref().unwrap_or("the group's");
                self.say(key, format!("emergency path {name} breaks {}; window {window}", listed(&new.breaks)), effect, served);
            }
            _ => {}
        }
    }

    /// A schedule drafts; what happens then takes approvals all the same. Less notice, fewer who are told, and fewer deferrals loosen.
    fn schedule(&mut self, name: &str, old: Option<&Schedule>, new: Option<&Schedule>) {
        let key = |key: &str| format!("schedule.{name}{key}");
        match (old, new) {
            (Some(old), None) => self.say(key(""), format!("schedule {name} is gone"), Effect::Tightens, one(&old.group)),
            (None, Some(new)) => {
                let what = format!("schedule {name} drafts a plan for {} at {} in {}", new.group, new.at, new.timezone);
                self.say(key(""), what, Effect::Loosens, one(&new.group));
            }
            (Some(old), Some(new)) => self.reschedule(name, old, new),
            (None, None) => {}
        }
    }

    fn reschedule(&mut self, name: &str, old: &Schedule, new: &Schedule) {
        let (key, about) = (|key: &str| format!("schedule.{name}.{key}"), BTreeSet::from([old.group.clone(), new.group.clone()]));
        if (&old.group, &old.at, &old.timezone) != (&new.group, &new.at, &new.timezone) {
            let what = format!(
                "schedule {name} drafts for {} at {} in {} instead of {} at {} in {}",
                new.group, new.at, new.timezone, old.group, old.at, old.timezone
            );
            self.say(key("at"), what, Effect::Loosens, about.clone());
        }
        let (before, after) = (old.notice_s.unwrap_or(0), new.notice_s.unwrap_or(0));
        if before != after {
            let what = format!("schedule {name}: notice {} → {}", written(before.into()), written(after.into()));
            self.say(key("notice_s"), what, less(&before, &after), about.clone());
        }
        if old.owners != new.owners {
            let word = |owners: &BTreeSet<String>| if owners.is_empty() { "everybody".to_owned() } else { listed(owners) };
            let what = format!("schedule {name}: owners {} → {}", word(&old.owners), word(&new.owners));
            // Nobody named means everybody; who may no longer defer, and is no longer told, loosens.
            let kept = new.owners.is_empty() || (!old.owners.is_empty() && old.owners.is_subset(&new.owners));
            self.say(key("owners"), what, if kept { Effect::Tightens } else { Effect::Loosens }, about.clone());
        }
        if old.defer != new.defer {
            let word = |defer: Option<Defer>| {
                defer.map_or_else(|| "never".to_owned(), |defer| format!("{} times by {}", defer.times, written(defer.by_s.into())))
            };
            let far = |defer: Option<Defer>| defer.map_or((0, 0), |defer| (defer.times, defer.by_s));
            let (before, after) = (far(old.defer), far(new.defer));
            let effect = less(&before.0, &after.0).max(less(&before.1, &after.1));
            self.say(key("defer"), format!("schedule {name} may be deferred {} → {}", word(old.defer), word(new.defer)), effect, about);
        }
    }

    fn archive(&mut self, name: &str, old: Option<&Archive>, new: Option<&Archive>) {
        let (key, all) = (format!("archive.{name}"), every(self.old, ""));
        match (old, new) {
            (Some(_), None) => self.say(key, format!("archive {name} is gone"), Effect::Tightens, all),
            (None, Some(new)) => self.say(key, format!("archive {name}: {} {}", new.uri, new.suite), Effect::Loosens, all),
            (Some(old), Some(new)) if old != new => {
                let place = (&old.uri, &old.suite, &old.signed_by) == (&new.uri, &new.suite, &new.signed_by);
                let parts = new.components.iter().all(|component| old.components.contains(component));
                let age = match (old.max_age_days, new.max_age_days) {
                    (Some(before), Some(after)) => after <= before,
                    (None, _) => true,
                    (Some(_), None) => false,
                };
                let effect = if place && parts && age { Effect::Tightens } else { Effect::Loosens };
                let what = format!("archive {name}: {} {} {}, signed by {}", new.uri, new.suite, new.components.join(" "), new.signed_by);
                self.say(key, what, effect, all);
            }
            _ => {}
        }
    }

    /// What a group takes, wherever it is said.
    pub(super) fn baseline(&mut self, name: &str, old: &Group, new: &Group) {
        let of = |policy: &Policy, group: &Group| group.baseline.as_ref().and_then(|name| policy.baseline.get(name)).cloned();
        let (before, after) = (of(self.old, old), of(self.new, new));
        let key = |key: &str| format!("group.{name}.baseline{key}");
        match (before, after) {
            (Some(before), Some(after)) => self.takes(name, &before, &after),
            (None, Some(_)) => {
                let what = format!("{name}: baseline {} instead of every update", new.baseline.as_deref().unwrap_or_default());
                self.say(key(""), what, Effect::Tightens, one(name));
            }
            (Some(_), None) => self.say(key(""), format!("{name}: no baseline, every update is taken"), Effect::Loosens, one(name)),
            (None, None) => {}
        }
    }

    fn takes(&mut self, name: &str, old: &Baseline, new: &Baseline) {
        let key = |key: &str| format!("group.{name}.baseline.{key}");
        if old.classes != new.classes {
            let words = |baseline: &Baseline| listed(&baseline.classes.iter().map(|class| format!("{class:?}").to_lowercase()).collect());
            let what = format!("{name}: takes {} instead of {}", words(new), words(old));
            self.say(key("classes"), what, fewer(&new.classes, &old.classes), one(name));
        }
        if old.severity != new.severity {
            let word =
                |baseline: &Baseline| baseline.severity.map_or_else(|| "any".to_owned(), |least| format!("{least:?}").to_lowercase());
            let what = format!("{name}: severity from {} → {}", word(old), word(new));
            self.say(key("severity"), what, less(&old.severity, &new.severity), one(name));
        }
        if old.approve_after_days != new.approve_after_days {
            let what =
                format!("{name}: updates are taken {} → {} days after their publication", old.approve_after_days, new.approve_after_days);
            self.say(key("approve_after_days"), what, less(&old.approve_after_days, &new.approve_after_days), one(name));
        }
        let kept = |old: &BTreeMap<String, String>, new: &BTreeMap<String, String>| old.iter().all(|(name, to)| new.get(name) == Some(to));
        if old.pin != new.pin {
            let pins: BTreeSet<String> = new.pin.iter().map(|(source, version)| format!("{source} {version}")).collect();
            let effect = if kept(&old.pin, &new.pin) { Effect::Tightens } else { Effect::Loosens };
            self.say(key("pin"), format!("{name}: pinned are {}", listed(&pins)), effect, one(name));
        }
        if old.deny != new.deny {
            let effect = if old.deny.keys().all(|source| new.deny.contains_key(source)) { Effect::Tightens } else { Effect::Loosens };
            let denied = new.deny.keys().cloned().collect();
            self.say(key("deny"), format!("{name}: denied are {}", listed(&denied)), effect, one(name));
        }
    }
}
