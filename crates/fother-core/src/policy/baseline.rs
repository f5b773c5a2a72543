//! Baselines and exceptions: which updates a group takes, and from when on. Every update that is left out has a reason. Pure.

use super::Policy;
use crate::{Timestamp, cvss::Severity, package::UpdateClass, version::Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Which updates a group takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Kinds of update that are taken.
    pub classes: BTreeSet<UpdateClass>,
    /// Least severity of a security update; one whose severity nobody knows is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Days from the first publication of a fix until it is taken.
    #[serde(default)]
    pub approve_after_days: u32,
    /// Source packages that stay at a version, and may only go to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pin: BTreeMap<String, String>,
    /// Source packages that are never taken, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deny: BTreeMap<String, String>,
}

/// Another group that runs an update first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Follows {
    /// Which.
    pub group: String,
    /// How long it has run there, from the end of its rollout on, in seconds; written `soak = "7d"`, too.
    #[serde(alias = "soak", deserialize_with = "super::span::seconds")]
    pub soak_s: u32,
}

/// Updates that are not taken for now: somebody answers for it, until a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Groups that it is for; all if left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Source packages that it is about.
    pub packages: BTreeSet<String>,
    /// From then on it is a finding again.
    pub expires: Timestamp,
}

/// One update of a source package that hosts of a group could take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Source package.
    pub source: String,
    /// Version that it would go to; nothing where the package would be removed.
    pub to: Option<Version>,
    /// What kind of update it is.
    pub class: UpdateClass,
    /// The worst severity of what it closes, where known.
    pub severity: Option<Severity>,
    /// When the fix was first published, where known: a re-release that only rebuilds it does not count.
    pub published: Option<Timestamp>,
}

/// What was rolled back: source package, version, and what happened, for people.
pub type RolledBack = BTreeMap<(String, String), String>;

/// What rollouts have shown of updates, by source package and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What was rolled back in the group, and what happened, for people.
    pub rolled_back: RolledBack,
    /// Since when the group that it follows has run it everywhere where it was rolled out.
    pub proven: BTreeMap<(String, String), Timestamp>,
}

/// Why `group` does not take this update now; nothing where it does.
#[must_use]
pub fn leaves_out(policy: &Policy, group: &str, update: &Candidate, shown: &Shown, now: Timestamp) -> Option<String> {
    let to = update.to.as_ref().map(|to| to.as_str().to_owned()).unwrap_or_default();
    let key = (update.source.clone(), to.clone());
    if let Some(why) = shown.rolled_back.get(&key) {
        return Some(format!("version {to} was rolled back ({why}): a newer one is taken, or this one once somebody clears it"));
    }
    let mine = |exception: &&Exception| {
        exception.packages.contains(&update.source) && (exception.groups.is_empty() || exception.groups.contains(group))
    };
    let exceptions = policy.exception.iter().filter(|(_, exception)| mine(exception) && now < exception.expires);
    // The one that lasts longest is the reason that stays true.
    if let Some((name, exception)) = exceptions.max_by_key(|(_, exception)| exception.expires) {
        return Some(format!("exception {name} of {} until {}: {}", exception.owner, exception.expires, exception.reason));
    }
    if let Some(why) = policy.group.get(group)?.follows.as_ref().and_then(|first| not_proven(first, &to, shown.proven.get(&key), now)) {
        return Some(why);
    }
    let name = policy.group.get(group)?.baseline.as_ref()?;
    let baseline = policy.baseline.get(name)?;
    baseline.leaves_out(update, now).map(|why| format!("baseline {name}: {why}"))
}

/// Why an update is not proven by the group that runs it first.
fn not_proven(first: &Follows, to: &str, since: Option<&Timestamp>, now: Timestamp) -> Option<String> {
    let Some(since) = since else { return Some(format!("group {} does not run version {to} yet", first.group)) };
    let from = *since + Duration::from_secs(first.soak_s.into());
    (now < from).then(|| format!("group {} runs version {to} since {since}, it is taken from {from} on", first.group))
}

impl Baseline {
    fn leaves_out(&self, update: &Candidate, now: Timestamp) -> Option<String> {
        if let Some(why) = self.deny.get(&update.source) {
            return Some(format!("denied: {why}"));
        }
        if let Some(pin) = self.pin.get(&update.source)
            && update.to.as_ref().is_none_or(|to| to.as_str() != pin)
        {
            return Some(format!("pinned to {pin}"));
        }
        if !self.classes.contains(&update.class) {
            return Some(format!("{} updates are not taken", word(update.class)));
        }
        if let (UpdateClass::Security, Some(least), Some(severity)) = (update.class, self.severity, update.severity)
            && severity < least
        {
            return Some(format!("severity {severity:?} is below {least:?}").to_lowercase());
        }
        self.too_young(update, now)
    }

    fn too_young(&self, update: &Candidate, now: Timestamp) -> Option<String> {
        let days = self.approve_after_days;
        if days == 0 {
            return None;
        }
        let Some(published) = update.published else {
            return Some(format!("when it was first published is not known, and it is taken {days} days later"));
        };
        let from = published + DAY * days;
        (now < from).then(|| format!("first published {}, taken from {} on", &published.to_string()[..10], &from.to_string()[..10]))
    }
}

fn word(class: UpdateClass) -> &'static str {
    match class {
        UpdateClass::Security => "security",
        UpdateClass::Bugfix => "bugfix",
        UpdateClass::Enhancement => "enhancement",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [group.web]
        select = 'role == "web"'
        window = "always"
        budget = { unavailable = 1 }
        rollout = { canary = 1, waves = ["100%"], soak = "5s" }
        checks = ["nginx"]
        approvals = 1
        baseline = "standard"
        [check.nginx]
        kind = "unit"
        name = "nginx"
        unit = "nginx.service"
        [baseline.standard]
        classes = ["security", "bugfix"]
        severity = "medium"
        approve_after_days = 3
        pin = { php = "8.2-1" }
        deny = { mysql = "it has its own team" }
        [exception.until-spring]
        owner = "anna"
        reason = "the new one breaks the site"
        packages = ["curl"]
        groups = ["web"]
        expires = "2026-03-01T00:00:00Z"
    "#;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn update(source: &str) -> Candidate {
        let published = Some(at("2026-01-01T00:00:00Z"));
        Candidate { source: source.to_owned(), to: Some("2".parse().unwrap()), class: UpdateClass::Security, severity: None, published }
    }

    fn why(update: &Candidate, now: &str) -> Option<String> {
        leaves_out(&Policy::parse(POLICY).unwrap(), "web", update, &Shown::default(), at(now))
    }

    #[test]
    fn what_a_baseline_takes_and_what_it_leaves_out_with_the_reason() {
        let now = "2026-02-01T00:00:00Z";
        assert_eq!(why(&update("nginx"), now), None);
        assert_eq!(why(&update("mysql"), now).unwrap(), "baseline standard: denied: it has its own team");
        assert_eq!(why(&update("php"), now).unwrap(), "baseline standard: pinned to 8.2-1");
        assert_eq!(why(&Candidate { to: Some("8.2-1".parse().unwrap()), ..update("php") }, now), None);
        let low = |severity| Candidate { severity: Some(severity), ..update("nginx") };
        assert_eq!(why(&low(Severity::Low), now).unwrap(), "baseline standard: severity low is below medium");
        assert_eq!(why(&low(Severity::Medium), now), None);
        assert_eq!(why(&Candidate { class: UpdateClass::Bugfix, ..low(Severity::Low) }, now), None, "severity is for security updates");
        let new = Candidate { class: UpdateClass::Enhancement, ..update("nginx") };
        assert_eq!(why(&new, now).unwrap(), "baseline standard: enhancement updates are not taken");
    }

    #[test]
    fn the_clock_of_approve_after_runs_from_the_first_publication() {
        assert_eq!(
            why(&update("nginx"), "2026-01-03T23:59:59Z").unwrap(),
            "baseline standard: first published 2026-01-01, taken from 2026-01-04 on"
        );
        assert_eq!(why(&update("nginx"), "2026-01-04T00:00:00Z"), None);
        let unknown = Candidate { published: None, ..update("nginx") };
        assert!(why(&unknown, "2030-01-01T00:00:00Z").unwrap().contains("not known"), "missing data never passes");
    }

    #[test]
    fn an_exception_holds_until_it_expires_and_not_longer() {
        let said = why(&update("curl"), "2026-02-28T23:59:59Z").unwrap();
        assert_eq!(said, "exception until-spring of anna until 2026-03-01T00:00:00.000Z: the new one breaks the site");
        assert_eq!(why(&update("curl"), "2026-03-01T00:00:00Z"), None);
    }

    #[test]
    fn what_was_rolled_back_is_left_out_until_a_newer_version() {
        let policy = Policy::parse(POLICY).unwrap();
        let rolled_back = RolledBack::from([(("nginx".to_owned(), "2".to_owned()), "http 500 on web-1".to_owned())]);
        let back = Shown { rolled_back, ..Shown::default() };
        let now = at("2026-02-01T00:00:00Z");
        let said = leaves_out(&policy, "web", &update("nginx"), &back, now).unwrap();
        assert!(said.contains("version 2 was rolled back (http 500 on web-1)"), "{said}");
        let newer = Candidate { to: Some("3".parse().unwrap()), ..update("nginx") };
        assert_eq!(leaves_out(&policy, "web", &newer, &back, now), None);
    }

    #[test]
    fn a_group_that_follows_takes_the_same_versions_after_the_soak() {
        let mut policy = Policy::parse(POLICY).unwrap();
        policy.group.get_mut("web").unwrap().follows = Some(Follows { group: "staging".to_owned(), soak_s: 7 * 86_400 });
        let proven = BTreeMap::from([(("nginx".to_owned(), "2".to_owned()), at("2026-01-20T00:00:00Z"))]);
        let shown = Shown { proven, ..Shown::default() };
        let ask = |update: &Candidate, now: &str| leaves_out(&policy, "web", update, &shown, at(now));
        assert!(ask(&update("nginx"), "2026-01-26T23:59:59Z").unwrap().contains("it is taken from 2026-01-27T00:00:00.000Z on"));
        assert_eq!(ask(&update("nginx"), "2026-01-27T00:00:00Z"), None);
        let newer = Candidate { to: Some("3".parse().unwrap()), ..update("nginx") };
        assert_eq!(ask(&newer, "2026-02-01T00:00:00Z").unwrap(), "group staging does not run version 3 yet");
    }
}
