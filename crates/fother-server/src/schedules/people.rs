//! Schedules as people see them, and what they ask for: a draft out of turn, a deferral. Touches the engine.

use super::openings;
use crate::{Error, engine::Engine, error::refuse};
use fother_core::{
    Timestamp,
    advisory::Day,
    decide,
    event::Data,
    id::RolloutId,
    policy::Schedule,
    rank::Asset,
    schedule::{self, Deferral, Known},
    standing::Standing,
    state::State,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A schedule with what became of its last moment.
#[derive(Debug, Serialize)]
pub struct Scheduled {
    /// What the policy says.
    pub schedule: Schedule,
    /// What the log says; nothing before the server has seen it.
    pub known: Option<Known>,
    /// Its next moment.
    pub next: Option<Timestamp>,
    /// When the rollout begins that is covered and waits.
    pub opens: Option<Timestamp>,
    /// Its rollout.
    pub rollout: Option<RolloutId>,
    /// Why a person said no.
    pub rejected: Option<String>,
    /// Until when an owner may put it off, and what sets that.
    pub defer_until: Option<(Timestamp, String)>,
}

/// An owner's deferral.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defer {
    deferral: Deferral,
    signature: String,
}

impl Engine {
    /// All schedules of the policy.
    pub(crate) fn scheduled_all(&self) -> Result<BTreeMap<String, Scheduled>, Error> {
        let (policy, state, now) = (self.policy(), self.state(), self.clock.now());
        let view = |(name, schedule): (&String, &Schedule)| {
            let known = state.schedules.get(name).cloned();
            let change =
                known.as_ref().and_then(|known| known.run.as_ref()).and_then(|run| run.change).and_then(|id| state.changes.get(&id));
            let opens = self.opens(&state, name, now)?;
            let view = Scheduled {
                next: schedule.next(now),
                rollout: change.and_then(|change| change.rollout),
                rejected: change.and_then(|change| change.rejected.clone()),
                defer_until: opens.map(|opens| self.defer_until(&state, name, schedule, opens)).transpose()?.flatten(),
                opens,
                schedule: schedule.clone(),
                known,
            };
            Ok((name.clone(), view))
        };
        policy.schedule.iter().map(view).collect()
    }

    /// When the covered plan of a schedule begins that waits for its time.
    fn opens(&self, state: &State, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let policy = self.policy();
        let (Some(schedule), Some(known)) = (policy.schedule.get(name), state.schedules.get(name)) else { return Ok(None) };
        let Some(run) = decide::waiting(state, known) else { return Ok(None) };
        let Some(change) = run.change.and_then(|id| state.changes.get(&id)) else { return Ok(None) };
        let standing: Standing = self.get(change.statement)?;
        Ok(schedule::opening(run, schedule.notice(), &openings(&policy, &standing, run.since, now), now))
    }

    /// The day by which the first update of a schedule's plan is due, and which; what is not known takes the stricter branch of the rules.
    fn due(&self, state: &State, name: &str) -> Result<Option<(Timestamp, String)>, Error> {
        let Some(plan) = state.schedules.get(name).and_then(|known| known.run.as_ref()).and_then(|run| run.plan) else { return Ok(None) };
        let ranked = self.ranked(plan, Asset { publicly_exposed: None }, None)?;
        let deadlines = ranked.queue.updates.iter().filter_map(|update| Some((update, update.deadline.as_ref()?)));
        let first = deadlines.filter(|(_, deadline)| deadline.day.is_known()).min_by_key(|(_, deadline)| deadline.day);
        Ok(first
            .map(|(update, deadline)| (end_of(deadline.day), format!("{} is due by {} ({})", update.source, deadline.pack, deadline.id))))
    }

    fn defer_until(&self, state: &State, name: &str, schedule: &Schedule, opens: Timestamp) -> Result<Option<(Timestamp, String)>, Error> {
        let Some((limit, run)) = schedule.defer.zip(state.schedules.get(name).and_then(|known| known.run.as_ref())) else {
            return Ok(None);
        };
        if run.deferred.len() as u64 >= u64::from(limit.times) {
            return Ok(None);
        }
        let by = run.first_opens.unwrap_or(opens) + std::time::Duration::from_secs(limit.by_s.into());
        let last = (by, "as far as the policy lets it be put off".to_owned());
        Ok(Some(self.due(state, name)?.filter(|(day, _)| *day < by).unwrap_or(last)))
    }

    /// Drafts a schedule's plan now.
    pub(crate) fn run_schedule(&self, actor: &str, name: &str) -> Result<(), Error> {
        self.commit(actor, |state, now| Ok(decide::run_schedule(state, &self.policy(), name, now)?)).map(drop)
    }

    /// Takes an owner's deferral in.
    pub(crate) fn defer_schedule(&self, name: &str, ask: &Defer) -> Result<(), Error> {
        if ask.deferral.schedule != name {
            return refuse("other-statement", "the deferral is of another schedule", "sign it again");
        }
        let (state, now) = (self.state(), self.clock.now());
        let opens = self.opens(&state, name, now)?.unwrap_or(now);
        let due = self.due(&state, name)?;
        let decide = |state: &State, now| {
            decide::defer_schedule(state, &self.trust, &self.policy(), (&ask.deferral, &ask.signature), (opens, due.clone()), now)
        };
        // Who signed is who acts; before that nobody is believed.
        let Data::ScheduleDeferred { person, .. } = decide(&state, now)? else { return Ok(()) };
        self.commit(&format!("person:{person}"), |state, now| Ok(vec![decide(state, now)?])).map(drop)
    }
}

/// The first moment after a day, in UTC.
fn end_of(day: Day) -> Timestamp {
    Timestamp((u64::from(day.0) + 1) * 86_400_000)
}
