//! What would happen in the next days: which host begins in which opening, with which updates, if every plan is approved at once, every rehearsal
//! passes and nothing fails. Pure.
//!
//! It goes by the rules that rollouts go by: openings without freezes, baselines as they stand when an opening begins, canary and waves, budget, predicted
//! times, groups that go first. Zones are taken one after the other where the budget says so; budgets per zone count as one of the whole group.

use super::{
    Group, Policy,
    baseline::{Candidate, Shown, leaves_out},
    calendar,
};
use crate::{Timestamp, id::HostId, predict, window::Interval};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Most days that are looked ahead.
pub const DAYS_MAX: u32 = 366;

/// A host and what it could take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name, for people.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its updates.
    pub updates: Vec<Candidate>,
    /// How long its last transactions took, in ms.
    pub apply_ms: Vec<u64>,
}

/// A group and what was rolled back in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Its hosts.
    pub hosts: Vec<Host>,
    /// What rollouts have shown.
    pub shown: Shown,
}

/// One host that begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The group.
    pub group: String,
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// The opening in which it begins.
    pub opening: Interval,
    /// When it begins.
    pub start: Timestamp,
    /// When it is expected to be verified.
    pub end: Timestamp,
    /// Source packages and the versions that they go to.
    pub updates: BTreeMap<String, String>,
}

/// Something that does not happen, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Left {
    /// The group.
    pub group: String,
    /// The update, or the host.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What would happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// By time.
    pub rows: Vec<Row>,
    /// What does not happen.
    pub left: BTreeSet<Left>,
    /// Openings of each group, without freezes.
    pub openings: BTreeMap<String, Vec<Interval>>,
    /// Plans that schedules draft, by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drafts: Vec<Draft>,
}

/// A plan that a schedule drafts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Draft {
    /// When.
    pub at: Timestamp,
    /// The schedule.
    pub schedule: String,
    /// The group.
    pub group: String,
}

/// What would happen to these groups within `days` days from `now`.
#[must_use]
pub fn forecast(policy: &Policy, members: &BTreeMap<String, Members>, now: Timestamp, days: u32) -> Forecast {
    let mut out = Forecast::default();
    for name in order(policy) {
        let (Some(group), Some(mine)) = (policy.group.get(name), members.get(name)) else { continue };
        let open = match calendar::openings(policy, name, None, now, days) {
            Ok(open) if open.is_empty() => vec![Interval { start: now, end: now + DAY * days, last_start: now + DAY * days }],
            Ok(open) => open,
            Err(error) => {
                out.left.insert(Left { group: name.to_owned(), what: "the whole group".to_owned(), why: error.to_string() });
                continue;
            }
        };
        let before = out.rows.iter().filter(|row| group.after.contains(&row.group)).map(|row| row.end).max().unwrap_or(now);
        Course { policy, name, group, mine, now, before }.run(&open, now + DAY * days, &mut out);
        out.openings.insert(name.to_owned(), open);
    }
    let drafts = policy.schedule.iter().flat_map(|(name, schedule)| {
        let of = |at| Draft { at, schedule: name.clone(), group: schedule.group.clone() };
        schedule.occurrences(now, now + DAY * days).into_iter().map(of)
    });
    out.drafts.extend(drafts);
    out.drafts.sort();
    out.rows.sort_by(|a, b| (a.start, &a.group, &a.name).cmp(&(b.start, &b.group, &b.name)));
    out
}

const DAY: Duration = Duration::from_secs(86_400);

/// Groups in an order in which nobody comes before those that go first. Circles are an error of the policy.
fn order(policy: &Policy) -> Vec<&str> {
    let mut out: Vec<&str> = Vec::new();
    while out.len() < policy.group.len() {
        let ready = |group: &Group| group.after.iter().all(|first| out.contains(&first.as_str()) || !policy.group.contains_key(first));
        let next = policy.group.iter().find(|(name, group)| !out.contains(&name.as_str()) && ready(group));
        let Some((name, _)) = next.or_else(|| policy.group.iter().find(|(name, _)| !out.contains(&name.as_str()))) else { break };
        out.push(name);
    }
    out
}

/// The course of one group.
struct Course<'a> {
    policy: &'a Policy,
    name: &'a str,
    group: &'a Group,
    mine: &'a Members,
    now: Timestamp,
    before: Timestamp,
}

impl Course<'_> {
    fn run(&self, open: &[Interval], until: Timestamp, out: &mut Forecast) {
        let mut pending: BTreeMap<usize, Vec<&Candidate>> =
            self.mine.hosts.iter().enumerate().map(|(at, host)| (at, host.updates.iter().collect())).collect();
        for opening in open {
            let begin = opening.start.max(self.now);
            let takes = |candidate: &&Candidate| leaves_out(self.policy, self.name, candidate, &self.mine.shown, begin).is_none();
            let due: Vec<(usize, Vec<&Candidate>)> = pending
                .iter()
                .map(|(at, updates)| (*at, updates.iter().copied().filter(|one| takes(one)).collect::<Vec<_>>()))
                .filter(|(_, updates)| !updates.is_empty())
                .collect();
            for (at, updates) in self.opening(opening, due, out) {
                if let Some(left) = pending.get_mut(&at) {
                    left.retain(|one| !updates.contains(one));
                }
            }
        }
        for (at, updates) in pending.iter().filter(|(_, updates)| !updates.is_empty()) {
            for one in updates {
                let why = leaves_out(self.policy, self.name, one, &self.mine.shown, until);
                let (what, why) = match why {
                    Some(why) => (one.source.clone(), why),
                    None => (self.mine.hosts[*at].name.clone(), "no opening has room for it".to_owned()),
                };
                out.left.insert(Left { group: self.name.to_owned(), what, why });
            }
        }
    }

    /// Lays one opening out; who begins in it, with what.
    fn opening<'b>(
        &self,
        opening: &Interval,
        due: Vec<(usize, Vec<&'b Candidate>)>,
        out: &mut Forecast,
    ) -> Vec<(usize, Vec<&'b Candidate>)> {
        let size = self.mine.hosts.len();
        let quorum = self.group.budget.min_healthy.map_or(0, |share| share.quorum(size));
        let limit = self.group.budget.unavailable.of(size).min(size.saturating_sub(quorum));
        let mut lanes = vec![opening.start.max(self.now).max(self.before); limit];
        let mut done = Vec::new();
        for wave in self.waves(due) {
            for (at, updates) in wave {
                let host = &self.mine.hosts[at];
                let Some(lane) = lanes.iter_mut().min() else { break };
                let start = *lane;
                let end = start + predict::predict(&host.apply_ms, &[], self.group.rollout.soak_s, None).total();
                if start >= opening.last_start || end > opening.end {
                    continue;
                }
                *lane = end;
                let version = |one: &&Candidate| one.to.as_ref().map_or_else(|| "removed".to_owned(), |to| to.as_str().to_owned());
                out.rows.push(Row {
                    group: self.name.to_owned(),
                    host: host.id,
                    name: host.name.clone(),
                    opening: *opening,
                    start,
                    end,
                    updates: updates.iter().map(|one| (one.source.clone(), version(one))).collect(),
                });
                done.push((at, updates));
            }
            // The next wave begins when everybody of this one is verified.
            let last = lanes.iter().copied().max().unwrap_or(opening.end);
            lanes.iter_mut().for_each(|lane| *lane = last);
        }
        done
    }

    /// The canary, then the waves; zone after zone where the budget says one at a time.
    fn waves<'b>(&self, mut due: Vec<(usize, Vec<&'b Candidate>)>) -> Vec<Vec<(usize, Vec<&'b Candidate>)>> {
        let strategy = &self.group.rollout;
        let mut rest = due.split_off((strategy.canary as usize).min(due.len()));
        let mut waves = vec![due];
        let (mut taken, all) = (0, rest.len());
        for share in &strategy.waves {
            let count = share.of(all).clamp(taken, all) - taken;
            let after = rest.split_off(count.min(rest.len()));
            taken += count;
            waves.push(std::mem::replace(&mut rest, after));
        }
        waves.push(rest);
        if self.group.budget.one_zone_at_a_time || strategy.by_zone {
            waves = waves.into_iter().flat_map(|wave| self.by_zone(wave)).collect();
        }
        waves.retain(|wave| !wave.is_empty());
        waves
    }

    fn by_zone<'b>(&self, wave: Vec<(usize, Vec<&'b Candidate>)>) -> Vec<Vec<(usize, Vec<&'b Candidate>)>> {
        let mut zones: BTreeMap<&str, Vec<(usize, Vec<&'b Candidate>)>> = BTreeMap::new();
        for (at, updates) in wave {
            zones.entry(&self.mine.hosts[at].zone).or_default().push((at, updates));
        }
        zones.into_values().collect()
    }
}
