//! Decisions about schedules: a moment begins, a person asks for one out of turn, an owner puts a rollout off.

use super::{Refusal, refuse};
use crate::{
    Timestamp,
    approval::Trust,
    event::Data,
    policy::{Policy, Schedule},
    schedule::{DEFER_NAMESPACE, Deferral, Known, Run, is_rolling_out, is_waiting},
    state::State,
};
use std::time::Duration;

/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// A moment begins; what the one before left covered and not begun is taken back.
#[must_use]
pub fn begin_schedule(state: &State, name: &str, occurrence: Timestamp, missed: u32, asked: bool) -> Vec<Data> {
    let mut events = take_back(state, name, "the next moment of its schedule came first");
    events.push(Data::ScheduleDue { schedule: name.to_owned(), occurrence, missed, asked });
    events
}

/// A schedule is in the policy no more; what it left covered and not begun is taken back.
#[must_use]
pub fn remove_schedule(state: &State, name: &str) -> Vec<Data> {
    let mut events = take_back(state, name, "its schedule is in the policy no more");
    events.push(Data::ScheduleRemoved { schedule: name.to_owned() });
    events
}

/// A schedule counts from now on, with these words.
#[must_use]
pub fn set_schedule(state: &State, name: &str, schedule: &Schedule) -> Vec<Data> {
    let Schedule { group, at, timezone, .. } = schedule;
    let other = state.schedules.get(name).is_some_and(|known| known.group != *group);
    let mut events = if other { take_back(state, name, "its schedule is for another group now") } else { Vec::new() };
    events.push(Data::ScheduleSet { schedule: name.to_owned(), group: group.clone(), at: at.clone(), timezone: timezone.clone() });
    events
}

fn take_back(state: &State, name: &str, reason: &str) -> Vec<Data> {
    let change = state.schedules.get(name).and_then(|known| known.run.as_ref()).and_then(|run| run.change);
    let open = change.and_then(|id| state.changes.get(&id)).filter(|change| change.rollout.is_none() && change.rejected.is_none());
    open.map(|change| Data::ChangeRejected { change: change.id, reason: reason.to_owned() }).into_iter().collect()
}

fn known<'a>(state: &'a State, policy: &'a Policy, name: &str) -> Result<(&'a Known, &'a Schedule), Refusal> {
    match (state.schedules.get(name), policy.schedule.get(name)) {
        (Some(known), Some(schedule)) => Ok((known, schedule)),
        _ => {
            let listed = policy.schedule.keys().cloned().collect::<Vec<_>>().join(", ");
            let listed = if listed.is_empty() { "none is declared".to_owned() } else { format!("known: {listed}") };
            refuse("unknown-schedule", format!("there is no schedule `{name}`"), listed)
        }
    }
}

/// A person wants a schedule's plan drafted now.
///
/// # Errors
/// Unknown; its last rollout runs.
pub fn run_schedule(state: &State, policy: &Policy, name: &str, now: Timestamp) -> Result<Vec<Data>, Refusal> {
    let (known, _) = known(state, policy, name)?;
    if is_rolling_out(state, known) {
        return refuse("busy", format!("the last plan of {name} is being rolled out"), "wait for it, or abort it: see `fother rollout ls`");
    }
    Ok(begin_schedule(state, name, now, 0, true))
}

/// An owner puts a rollout off. `opens` is when it would begin, `due` the day by which the first of its updates is due.
///
/// # Errors
/// Nothing to put off; not an owner; too often, too far, beyond what is due; without a reason.
pub fn defer_schedule(
    state: &State,
    trust: &Trust,
    policy: &Policy,
    (deferral, signature): (&Deferral, &str),
    (opens, due): (Timestamp, Option<(Timestamp, String)>),
    now: Timestamp,
) -> Result<Data, Refusal> {
    let name = &deferral.schedule;
    let (known, schedule) = known(state, policy, name)?;
    let Some(run) = waiting(state, known).filter(|run| run.occurrence == deferral.occurrence) else {
        return refuse("nothing-to-defer", format!("no rollout of {name} waits for its time"), "see `fother schedule show`");
    };
    let hint = "sign with the key of an owner: the policy names them, the approvers file has their keys";
    let bytes = deferral.bytes().or_else(|error| refuse("bad-signature", error.to_string(), hint))?;
    let signer = trust.signer(DEFER_NAMESPACE, &bytes, signature).or_else(|why| refuse("bad-signature", why, hint))?;
    if !schedule.owners.is_empty() && !schedule.owners.contains(&signer.person) {
        let owners = schedule.owners.iter().cloned().collect::<Vec<_>>().join(", ");
        return refuse("not-an-owner", format!("{} is no owner of {name}", signer.person), format!("ask one of {owners}"));
    }
    if deferral.reason.trim().is_empty() {
        return refuse("no-reason", "a reason is needed: it stays in the log", "say why it shall wait");
    }
    within(schedule, run, deferral.until, opens, due, now)?;
    Ok(Data::ScheduleDeferred {
        schedule: name.clone(),
        occurrence: deferral.occurrence,
        until: deferral.until,
        reason: crate::text::printable(&deferral.reason, REASON_BYTES_MAX),
        person: signer.person,
        signature: signature.to_owned(),
    })
}

/// The run of a schedule that is covered and has not begun.
#[must_use]
pub fn waiting<'a>(state: &State, known: &'a Known) -> Option<&'a Run> {
    known.run.as_ref().filter(|run| is_waiting(state, run))
}

fn within(
    schedule: &Schedule,
    run: &Run,
    until: Timestamp,
    opens: Timestamp,
    due: Option<(Timestamp, String)>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(limit) = schedule.defer else {
        return refuse("no-deferral", "this schedule lets nobody defer", "the policy would say `defer = { times = 1, by = \"7d\" }`");
    };
    if run.deferred.len() as u64 >= u64::from(limit.times) {
        return refuse(
            "too-often",
            format!("it was put off {} of {} times already", run.deferred.len(), limit.times),
            "it begins as it is said now",
        );
    }
    if until <= opens.max(now) {
        return refuse("not-later", format!("it begins at {opens} anyway"), "name a later time");
    }
    let last = run.first_opens.unwrap_or(opens) + Duration::from_secs(limit.by_s.into());
    if until > last {
        return refuse("too-far", format!("{until} is later than the policy lets it be put off"), format!("at most until {last}"));
    }
    match due {
        Some((day, why)) if until > day => refuse(
            "past-due",
            format!("{until} is after {day}, by which {why}"),
            format!("at most until {day}, or take an exception into the policy"),
        ),
        _ => Ok(()),
    }
}
