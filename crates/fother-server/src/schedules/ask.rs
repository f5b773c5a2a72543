//! A schedule's way from its moment to a rehearsed plan, and whether a standing approval covers it. Touches the engine and the archives.

use super::{ACTOR, Memory, why};
use crate::{Error, baselines::hold_against, engine::Engine, error::refuse};
use fother_core::{
    Digest, Timestamp,
    decide::{self, Rehearsed},
    event::Data,
    id::{ChangeId, HostId},
    plan::{Cohort, Plan},
    rehearsal::{Rehearsal, Verdict},
    schedule::{self, End, NAMED_MAX, Run, Step},
    standing::Status,
    state::State,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most hosts or reasons in one sentence.
const SAID_MAX: usize = 10;

/// What becomes of a rehearsed plan.
pub(super) enum Judged {
    /// A change under this standing approval.
    Covered(ChangeId, Digest),
    /// It waits for people.
    Waits(String),
}

impl Engine {
    /// Brings the archives up to date, then asks the hosts.
    pub(super) fn ask_first(&self, name: &str, run: &Run) -> Result<bool, Error> {
        let updated = self.update_archives(&format!("{ACTOR}{name}"))?;
        if let Some(refused) = updated.refused.first() {
            let hint = "see `fother archive ls`";
            return refuse("archive-refused", format!("archive {}: {}", refused.name, refused.why), hint);
        }
        self.ask_hosts(name, run, &Step::Ask, run.exclude.clone())
    }

    /// Asks the hosts what they would do without what is left out. Asked before it is said: whoever is killed in between asks again.
    fn ask_hosts(&self, name: &str, run: &Run, step: &Step, exclude: BTreeMap<String, String>) -> Result<bool, Error> {
        let (actor, group) = (format!("{ACTOR}{name}"), self.group_of(name)?);
        let since = self.clock.now().max(self.state().head);
        self.resolve(&actor, &group, exclude.keys().cloned().collect())?;
        let event = Data::ScheduleAsked { schedule: name.to_owned(), occurrence: run.occurrence, since, exclude };
        self.still(name, step, |_, _| Ok(vec![event.clone()]))
    }

    fn group_of(&self, name: &str) -> Result<String, Error> {
        match self.state().schedules.get(name) {
            Some(known) => Ok(known.group.clone()),
            None => refuse("unknown-schedule", format!("there is no schedule `{name}`"), "see `fother schedule ls`"),
        }
    }

    /// Asks the baseline; what it leaves out hosts are asked again without, else it becomes a plan.
    pub(super) fn draft_or_ask(&self, name: &str, run: &Run, step: &Step, silent: &BTreeSet<HostId>, again: bool) -> Result<bool, Error> {
        let (actor, group, state, policy) = (format!("{ACTOR}{name}"), self.group_of(name)?, self.state(), self.policy());
        let members = schedule::members(&policy, &state, &group).into_iter().filter(|(id, _)| !silent.contains(id)).collect();
        let answers = self.answers_of(&actor, members, &run.exclude)?;
        let left = self.left_out(&state, &group, None, &answers)?;
        if !left.is_empty() && again {
            let exclude = run.exclude.iter().chain(&left).map(|(source, why)| (source.clone(), why.clone())).collect();
            return self.ask_hosts(name, run, step, exclude);
        }
        hold_against(&answers.hosts, &left)?;
        let planned = self.planned(&group, &run.exclude, None, &answers)?;
        let silent: BTreeSet<HostId> = silent.iter().chain(&planned.unknown).copied().collect();
        if planned.cohorts.is_empty() {
            if planned.up_to_date.is_empty() {
                let who = if silent.is_empty() {
                    "group has no host that may be patched".to_owned()
                } else {
                    format!("no host answered: {}", named(&state, &silent))
                };
                return self.end(name, run, step, End::Failed { why: why(who) });
            }
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let silent = silent.into_iter().take(NAMED_MAX).collect();
            let end = End::NothingToDo { up_to_date: count(planned.up_to_date.len()), left_out: count(run.exclude.len()), silent };
            return self.end(name, run, step, end);
        }
        let plan = self.store_plan(&planned)?;
        let created = decide::create_plan(&planned, plan)?;
        let silent_more = u32::try_from(silent.len().saturating_sub(NAMED_MAX)).unwrap_or(u32::MAX);
        let silent = silent.into_iter().take(NAMED_MAX).collect();
        let drafted = Data::ScheduleDrafted { schedule: name.to_owned(), occurrence: run.occurrence, plan, silent, silent_more };
        self.still(name, step, |state, _| {
            let mut events = if state.plans.contains_key(&plan) { Vec::new() } else { created.clone() };
            events.push(drafted.clone());
            Ok(events)
        })
    }

    /// Says that rehearsals are tried, then asks for them: whoever is killed in between tries once more, and not for ever.
    pub(super) fn rehearse_next(&self, name: &str, run: &Run, step: &Step, attempt: u32) -> Result<bool, Error> {
        let Some(plan) = run.plan else { return Ok(false) };
        let event = Data::ScheduleRehearsing { schedule: name.to_owned(), occurrence: run.occurrence, attempt };
        if !self.still(name, step, |_, _| Ok(vec![event.clone()]))? {
            return Ok(false);
        }
        let (state, now) = (self.state(), self.clock.now());
        let group = self.group_of(name)?;
        // Only then: agents of before do not know how to vouch, and refuse.
        let attest = state.standings.values().any(|stood| stood.group == group && stood.status(now) == Status::InForce);
        self.rehearse_those(&format!("{ACTOR}{name}"), plan, (false, attest), |cohort| cohort.rehearsal.is_none()).map(|_| true)
    }

    /// Weighs the rehearsals, then the standing approvals for the group.
    pub(super) fn judge(&self, state: &State, run: &Run, now: Timestamp, memory: &mut Memory) -> Result<Judged, Error> {
        let Some((digest, known)) = run.plan.and_then(|plan| Some((plan, state.plans.get(&plan)?))) else {
            return Ok(Judged::Waits("its plan is not in the log".to_owned()));
        };
        let waits = |reason: String| Ok(Judged::Waits(why(reason)));
        match known.verdict() {
            Some(Verdict::Passes) => {}
            Some(Verdict::Breaks) => {
                let failing: BTreeSet<&str> = known.cohorts.values().flat_map(|cohort| cohort.failing.iter().map(String::as_str)).collect();
                return waits(format!(
                    "the rehearsal breaks something {}",
                    failing.into_iter().take(SAID_MAX).collect::<Vec<_>>().join(", ")
                ));
            }
            Some(Verdict::Unknown) => return waits("the rehearsal could not tell whether the plan is safe".to_owned()),
            None => {
                let missing: BTreeSet<HostId> = known
                    .cohorts
                    .values()
                    .filter(|cohort| cohort.rehearsal.is_none())
                    .filter_map(|cohort| cohort.hosts.first().copied())
                    .collect();
                return waits(format!("{} cohorts were not rehearsed in time: that of {}", missing.len(), named(state, &missing)));
            }
        }
        let plan: Plan = self.get(digest)?;
        let mut cohorts = Vec::new();
        for (cohort, about) in &known.cohorts {
            let Some((rehearsal, _)) = about.rehearsal else { continue };
            cohorts.push((self.get::<Cohort>(*cohort)?, self.get::<Rehearsal>(rehearsal)?));
        }
        let rehearsed = Rehearsed { plan: &plan, cohorts: &cohorts };
        let mut reasons = Vec::new();
        for (standing, stood) in state.standings.iter().filter(|(_, stood)| stood.group == plan.group) {
            match decide::uncovered(state, &self.policy(), *standing, &*self.standing_of(memory, *standing)?, rehearsed, now) {
                None => {
                    let (ms, random) = self.fresh()?;
                    return Ok(Judged::Covered(ChangeId::new(ms, random), *standing));
                }
                Some(reason) => reasons.push(format!("{}: {reason}", stood.name)),
            }
        }
        if reasons.is_empty() {
            return waits(format!("rehearsed, and there is no standing approval for group {}", plan.group));
        }
        reasons.truncate(SAID_MAX);
        waits(format!("rehearsed, but no standing approval covers it: {}", reasons.join("; ")))
    }
}

fn named(state: &State, hosts: &BTreeSet<HostId>) -> String {
    let name = |id: &HostId| state.hosts.get(id).map_or_else(|| id.to_string(), |host| fother_core::text::printable(&host.hostname, 64));
    let mut names: Vec<String> = hosts.iter().take(SAID_MAX).map(name).collect();
    if hosts.len() > SAID_MAX {
        names.push(format!("and {} more", hosts.len() - SAID_MAX));
    }
    names.join(", ")
}
