//! Which updates a group takes now, and which of those that were rolled back a person let go again. Touches the store and the archives.

use crate::{
    Error,
    archives::pins,
    engine::{Closed, Engine, kind},
    error::refuse,
};
use fother_core::{
    Digest, Timestamp, decide,
    directive::IndexPin,
    id::HostId,
    package::UpdateClass,
    plan::{Cohort, PlanHost, Planned},
    policy::{
        Policy,
        baseline::{Candidate, RolledBack, Shown, leaves_out},
    },
    resolution::Resolution,
    rollout::{End, Phase},
    state::{Host, State},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

/// What each package closes, by its name and the version that it goes to.
pub(crate) type ClosedBy = BTreeMap<(String, String), Closed>;

/// The answers of a group's hosts, as they are now.
pub(crate) struct Answers {
    pub(crate) hosts: Vec<PlanHost>,
    pub(crate) observing: Vec<HostId>,
    pub(crate) closed: ClosedBy,
    pub(crate) pins: Vec<IndexPin>,
}

impl Engine {
    /// The answers of a group that fit what the hosts are now, and what their updates close.
    pub(crate) fn answers(&self, actor: &str, state: &State, group: &str, excluded: &BTreeMap<String, String>) -> Result<Answers, Error> {
        self.answers_of(actor, self.members(state, group)?, excluded)
    }

    /// The same of these hosts.
    pub(crate) fn answers_of(
        &self,
        actor: &str,
        members: Vec<(HostId, &Host)>,
        excluded: &BTreeMap<String, String>,
    ) -> Result<Answers, Error> {
        let snapshots = self.snapshots()?;
        let (mut hosts, mut observing, mut installed) = (Vec::new(), Vec::new(), crate::commands::Installed::new());
        let (mut read, mut looked) = (HashMap::new(), HashSet::new());
        for (id, host) in members {
            if host.observe {
                observing.push(id);
                continue;
            }
            let fits = host.resolution.filter(|(_, base)| host.base == Some(*base) && !host.lost);
            let resolution: Option<Arc<Resolution>> = match fits {
                Some((digest, _)) => match read.entry(digest) {
                    Entry::Occupied(known) => Some(Arc::clone(known.get())),
                    Entry::Vacant(new) => Some(Arc::clone(new.insert(Arc::new(self.get(digest)?)))),
                },
                None => None,
            };
            // Hosts of one base have the same packages, and one answer on it changes the same.
            if let (Some(inventory), Some((digest, base)), Some(resolution)) = (host.inventory, fits, &resolution)
                && looked.insert((base, digest))
            {
                crate::commands::lowest(&self.get(inventory)?, resolution, &mut installed);
            }
            hosts.push(PlanHost { id, labels: host.labels.clone(), resolution });
        }
        hold_against(&hosts, excluded)?;
        let closed = self.acquire(actor, &snapshots, &hosts, &installed)?;
        Ok(Answers { hosts, observing, closed, pins: pins(&snapshots) })
    }

    /// Updates that a group does not take now, by source package, each with the reason.
    pub(crate) fn baseline(&self, actor: &str, group: &str, emergency: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
        let state = self.state();
        let answers = self.answers(actor, &state, group, &BTreeMap::new())?;
        self.left_out(&state, group, emergency, &answers)
    }

    /// The same for answers that are there already.
    pub(crate) fn left_out(
        &self,
        state: &State,
        group: &str,
        emergency: Option<&str>,
        answers: &Answers,
    ) -> Result<BTreeMap<String, String>, Error> {
        let (policy, now) = (self.policy(), self.clock.now());
        let shown = self.shown(state, &policy, group)?;
        let mut out = BTreeMap::new();
        for mut candidate in self.candidates(answers) {
            // An emergency does not wait; what its policy denies, pins or excepts stays.
            if emergency.is_some() {
                candidate.published = Some(Timestamp(0));
            }
            if let Some(why) = leaves_out(&policy, group, &candidate, &shown, now) {
                out.entry(candidate.source).or_insert(why);
            }
        }
        Ok(out)
    }

    /// One candidate for each source package and version.
    pub(crate) fn candidates(&self, answers: &Answers) -> Vec<Candidate> {
        let mut found: BTreeMap<(String, Option<String>), Candidate> = BTreeMap::new();
        for change in answers.hosts.iter().filter_map(|host| host.resolution.as_ref()).flat_map(|resolution| &resolution.changes) {
            let to = change.to.as_ref().map(|to| to.as_str().to_owned());
            let closed = to.as_ref().and_then(|to| answers.closed.get(&(change.name.clone(), to.clone())));
            let candidate = found.entry((change.source.clone(), to)).or_insert_with(|| Candidate {
                source: change.source.clone(),
                to: change.to.clone(),
                class: change.class,
                severity: None,
                published: None,
            });
            let Some(closed) = closed else { continue };
            if !closed.closes.is_empty() {
                candidate.class = UpdateClass::Security;
                let severity = self.fleet.severity(closed.closes.iter().map(|closes| closes.cve.as_str()));
                candidate.severity = candidate.severity.max(severity);
            }
            candidate.published = candidate.published.max(closed.published);
        }
        found.into_values().collect()
    }

    /// What rollouts have shown of updates of a group.
    pub(crate) fn shown(&self, state: &State, policy: &Policy, group: &str) -> Result<Shown, Error> {
        let first = policy.group.get(group).and_then(|group| group.follows.as_ref());
        let proven = first.map(|first| self.proven(state, &first.group)).transpose()?.unwrap_or_default();
        Ok(Shown { rolled_back: self.rolled_back(state, group)?, proven })
    }

    /// Since when a group runs versions: from the end of the first rollout on that brought them to all of its hosts and stands.
    fn proven(&self, state: &State, group: &str) -> Result<BTreeMap<(String, String), Timestamp>, Error> {
        let mut out: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
        let done = |rollout: &&fother_core::rollout::Rollout| rollout.setup.group == group && rollout.ended == Some(End::Completed);
        for rollout in state.rollouts.values().filter(done) {
            let (Some(plan), Some(since)) = (state.plans.get(&rollout.plan), rollout.ended_at) else { continue };
            for (digest, about) in &plan.cohorts {
                let verified = |host: &HostId| matches!(rollout.hosts().get(host), Some(Phase::Verified { .. }));
                if !about.hosts.iter().any(verified) {
                    continue;
                }
                let cohort: Cohort = self.get(*digest)?;
                for change in cohort.changes {
                    let Some(to) = change.to else { continue };
                    out.entry((change.source, to.as_str().to_owned())).and_modify(|known| *known = since.min(*known)).or_insert(since);
                }
            }
        }
        for key in self.rolled_back(state, group)?.into_keys() {
            out.remove(&key);
        }
        Ok(out)
    }

    /// Updates that were put back on a host of this group and that nobody let go again.
    pub(crate) fn rolled_back(&self, state: &State, group: &str) -> Result<RolledBack, Error> {
        let mut out = RolledBack::new();
        for rollout in state.rollouts.values().filter(|rollout| rollout.setup.group == group) {
            let Some(plan) = state.plans.get(&rollout.plan) else { continue };
            for (digest, about) in &plan.cohorts {
                let back = about.hosts.iter().find_map(|host| match rollout.hosts().get(host) {
                    Some(Phase::RolledBack { why, .. }) => Some((host, why)),
                    _ => None,
                });
                let Some((host, why)) = back else { continue };
                let cohort: Cohort = self.get(*digest)?;
                let name = state.hosts.get(host).map_or_else(|| host.to_string(), |host| host.hostname.clone());
                for change in cohort.changes {
                    let Some(to) = change.to else { continue };
                    let key = (change.source, to.as_str().to_owned());
                    if !state.cleared.contains(&(group.to_owned(), key.0.clone(), key.1.clone())) {
                        out.entry(key).or_insert_with(|| format!("{name}: {why}"));
                    }
                }
            }
        }
        Ok(out)
    }

    /// A person lets an update be planned again.
    pub(crate) fn clear_update(&self, actor: &str, group: &str, source: &str, version: &str, reason: &str) -> Result<(), Error> {
        self.commit(actor, |state, _| {
            let rolled_back = self.rolled_back(state, group)?;
            Ok(decide::clear_update(state, &rolled_back, (group, source, version), reason)?)
        })
        .map(drop)
    }

    /// Stores what was planned and gives its name.
    pub(crate) fn store_plan(&self, planned: &Planned) -> Result<Digest, Error> {
        for cohort in planned.cohorts.values() {
            self.put(kind::COHORT, cohort)?;
        }
        self.put(kind::PLAN, &planned.plan)
    }
}

/// Refuses answers that hold what is left out: hosts would have to choose.
pub(crate) fn hold_against(hosts: &[PlanHost], excluded: &BTreeMap<String, String>) -> Result<(), Error> {
    for host in hosts {
        let changes = host.resolution.iter().flat_map(|resolution| &resolution.changes);
        if let Some((stale, why)) = changes.into_iter().find_map(|change| Some((&change.source, excluded.get(&change.source)?))) {
            let what = format!("the answer of {} still holds {stale}, which is excluded ({why})", host.id);
            return refuse("resolve-again", what, "resolve the group again with the same exclusions, then plan");
        }
    }
    Ok(())
}
