//! What would happen in the next days to this fleet, under the policy in force or under files that somebody has. Changes nothing but the package cache.

use crate::{Error, baselines::Answers, engine::Engine};
use fother_core::{
    Timestamp,
    id::HostId,
    policy::{
        Policy, Source,
        baseline::Candidate,
        forecast::{DAYS_MAX, Forecast, Host, Members, forecast},
        selects,
    },
    state::State,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulate {
    /// Files of a policy; the one in force if left out.
    #[serde(default)]
    pub files: Option<Vec<(String, String)>>,
    /// Days from now.
    pub days: u32,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Simulated {
    /// Now.
    pub from: Timestamp,
    /// Days from now.
    pub days: u32,
    /// What would happen.
    pub forecast: Forecast,
    /// What cannot be told, by name.
    pub unknown: Vec<String>,
}

impl Engine {
    /// What would happen.
    pub(crate) fn simulate(&self, actor: &str, ask: &Simulate) -> Result<Simulated, Error> {
        if ask.days == 0 || ask.days > DAYS_MAX {
            return Err(Error::Input(format!("days: 1 to {DAYS_MAX}")));
        }
        let policy = match &ask.files {
            None => (*self.policy()).clone(),
            Some(files) => {
                let sources: Vec<Source<'_>> = files.iter().map(|(name, text)| Source { name, text }).collect();
                fother_core::policy::read(&sources).map_err(|error| Error::Input(error.to_string()))?
            }
        };
        let (state, now, mut unknown) = (self.state(), self.clock.now(), Vec::new());
        let mut groups = BTreeMap::new();
        for name in policy.group.keys() {
            match self.group_as_it_is(actor, &state, &policy, name, &mut unknown) {
                Ok(members) => drop(groups.insert(name.clone(), members)),
                Err(error) => unknown.push(format!("group {name}: {error}")),
            }
        }
        Ok(Simulated { from: now, days: ask.days, forecast: forecast(&policy, &groups, now, ask.days), unknown })
    }

    fn group_as_it_is(&self, actor: &str, state: &State, policy: &Policy, name: &str, unknown: &mut Vec<String>) -> Result<Members, Error> {
        let Some(group) = policy.group.get(name) else { return Ok(Members::default()) };
        let mut members = Vec::new();
        for (id, host) in state.hosts.iter().filter(|(_, host)| !host.retired && !host.observe) {
            if selects(&group.select, &host.labels).map_err(Error::Input)? {
                members.push((*id, host));
            }
        }
        let answers = self.answers_of(actor, members, &BTreeMap::new())?;
        let candidates = self.candidates(&answers);
        let hosts = answers.hosts.iter().filter_map(|host| {
            let known = state.hosts.get(&host.id)?;
            let Some(updates) = updates(&answers, host.id, &candidates) else {
                unknown.push(format!("{} in group {name} has not said what it would do: `fother plan new {name}`", known.hostname));
                return None;
            };
            let zone = known.labels.get("zone").cloned().unwrap_or_default();
            Some(Host { id: host.id, name: known.hostname.clone(), zone, updates, apply_ms: known.apply_ms.clone() })
        });
        Ok(Members { hosts: hosts.collect(), shown: self.shown(state, policy, name)? })
    }
}

/// The candidates that one host's answer holds; nothing where it gave none.
fn updates(answers: &Answers, id: HostId, candidates: &[Candidate]) -> Option<Vec<Candidate>> {
    let resolution = answers.hosts.iter().find(|host| host.id == id)?.resolution.as_ref()?;
    let mine =
        |candidate: &&Candidate| resolution.changes.iter().any(|change| change.source == candidate.source && change.to == candidate.to);
    Some(candidates.iter().filter(mine).cloned().collect())
}
