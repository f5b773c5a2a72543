//! Week after week: which moment of a schedule is due and what is next on its way from draft to rollout. `step(policy, state, name, now)`, pure.
//!
//! ```text
//! set ─▶ due ─▶ asked ─▶ drafted ─▶ rehearsing ─▶ covered ─▶ notice ─▶ rollout
//!          │     │ ▲  │      │           │           └ deferred ┘
//!          │     └─┘  └──────┴───────────┴─▶ waits for people
//!          └─▶ nothing to do, or failed: an event, once for each moment
//! ```
//!
//! Everything that it goes by is in the log, so that whoever folds it goes on where the last one ended: nothing is drafted twice, nothing forgotten.

use crate::{
    Digest, Timestamp, canonical,
    id::{ChangeId, HostId},
    inventory::Labels,
    policy::{Policy, selects},
    state::{Host, State},
    window::Interval,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Longest wait for hosts to say what they would do.
pub const ANSWER_WAIT: Duration = Duration::from_secs(20 * 60);
/// What is left out may bring other updates in: how often hosts are asked for one moment.
pub const ROUNDS_MAX: u32 = 4;
/// Longest wait for a try at rehearsals.
pub const REHEARSE_WAIT: Duration = Duration::from_secs(60 * 60);
/// How often rehearsals are tried.
pub const REHEARSALS_MAX: u32 = 3;
/// Longest time for which archives that cannot be had are tried again.
pub const ARCHIVE_WAIT: Duration = Duration::from_secs(60 * 60);
/// Most hosts that one event names; the others are counted.
pub const NAMED_MAX: usize = 400;
/// Namespace of an owner's signature over a [`Deferral`].
pub const DEFER_NAMESPACE: &str = "fother-defer-v1";

/// How a moment ended of which nothing comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case", deny_unknown_fields)]
pub enum End {
    /// Every host that answered is up to date, or its baseline leaves everything out.
    NothingToDo {
        /// Hosts that need nothing.
        up_to_date: u32,
        /// Updates that are left out.
        left_out: u32,
        /// Hosts that did not answer in time, at most [`NAMED_MAX`] by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        silent: Vec<HostId>,
    },
    /// It could not be drafted.
    Failed {
        /// For people.
        why: String,
    },
}

/// How far a moment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// It has come.
    Due,
    /// Hosts were asked, so many times.
    Asked {
        /// How often.
        round: u32,
    },
    /// There is a plan.
    Drafted,
    /// It is rehearsed.
    Rehearsing {
        /// How often it was tried.
        attempt: u32,
    },
    /// A standing approval covers it: it is rolled out in its window.
    Covered,
    /// It waits for people.
    Waits {
        /// Why.
        why: String,
    },
    /// Nothing comes of it.
    Ended {
        /// How.
        end: End,
    },
}

/// Notice of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// When the rollout begins, at the earliest.
    pub opens: Timestamp,
    /// When it was given.
    pub at: Timestamp,
    /// Whether the hook carried it, and why not; nothing while it was not run.
    pub told: Option<Option<String>>,
}

/// A deferral that was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deferred {
    /// The rollout begins not before.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// The owner.
    pub person: String,
    /// When.
    pub at: Timestamp,
}

/// What an owner signs to put a rollout off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deferral {
    /// The schedule.
    pub schedule: String,
    /// The moment.
    pub occurrence: Timestamp,
    /// It begins not before.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

impl Deferral {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, canonical::Error> {
        canonical::to_vec(self)
    }
}

/// What became of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The moment.
    pub occurrence: Timestamp,
    /// Earlier moments that it stands for.
    pub missed: u32,
    /// A person asked for it.
    pub asked: bool,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
    /// Since when it is there.
    pub since: Timestamp,
    /// Source packages that are left out, with the reason.
    pub exclude: BTreeMap<String, String>,
    /// The plan.
    pub plan: Option<Digest>,
    /// Hosts that did not answer in time.
    pub silent: BTreeSet<HostId>,
    /// How many more.
    pub silent_more: u32,
    /// The change.
    pub change: Option<ChangeId>,
    /// The newest notice.
    pub notice: Option<Notice>,
    /// When it would have begun first, as the first notice said.
    pub first_opens: Option<Timestamp>,
    /// Deferrals.
    pub deferred: Vec<Deferred>,
}

impl Run {
    /// One that has just begun.
    #[must_use]
    pub fn new(occurrence: Timestamp, missed: u32, asked: bool, since: Timestamp) -> Self {
        Self {
            occurrence,
            missed,
            asked,
            stage: Stage::Due,
            since,
            exclude: BTreeMap::new(),
            plan: None,
            silent: BTreeSet::new(),
            silent_more: 0,
            change: None,
            notice: None,
            first_opens: None,
            deferred: Vec::new(),
        }
    }

    /// Until when it is put off.
    #[must_use]
    pub fn deferred_until(&self) -> Option<Timestamp> {
        self.deferred.iter().map(|one| one.until).max()
    }
}

/// A schedule as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Known {
    /// Its group.
    pub group: String,
    /// Its recurrence.
    pub at: String,
    /// Its time zone.
    pub timezone: String,
    /// The last moment that was drafted for, or when it was set: later ones are due.
    pub since: Timestamp,
    /// The last moment, or what a person asked for since.
    pub run: Option<Run>,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for now.
    Wait,
    /// Say that it counts from now on.
    Set,
    /// Say that it is gone.
    Remove,
    /// Its moment has come.
    Begin {
        /// The moment.
        occurrence: Timestamp,
        /// Earlier ones that it stands for.
        missed: u32,
    },
    /// Bring the archives up to date and ask the hosts.
    Ask,
    /// Ask the baseline, then ask again without what it leaves out, or draft.
    Draft {
        /// Hosts whose answer did not come in time.
        silent: BTreeSet<HostId>,
        /// Whether hosts may be asked once more.
        again: bool,
    },
    /// Have the cohorts without a rehearsal rehearsed.
    Rehearse {
        /// How often it was tried, this time included.
        attempt: u32,
    },
    /// Weigh rehearsals and standing approvals.
    Judge,
    /// Give notice, or start: see [`lead`].
    Lead(ChangeId),
}

/// What is next for a schedule of the policy, or of the log.
#[must_use]
pub fn step(policy: &Policy, state: &State, name: &str, now: Timestamp) -> Step {
    let (Some(schedule), known) = (policy.schedule.get(name), state.schedules.get(name)) else {
        return if state.schedules.contains_key(name) { Step::Remove } else { Step::Wait };
    };
    let Some(known) =
        known.filter(|known| (&known.group, &known.at, &known.timezone) == (&schedule.group, &schedule.at, &schedule.timezone))
    else {
        return Step::Set;
    };
    if !is_rolling_out(state, known)
        && !is_promised(state, known)
        && let Some((occurrence, missed)) = schedule.due(known.since, now)
    {
        return Step::Begin { occurrence, missed };
    }
    match &known.run {
        Some(run) => next(policy, state, &known.group, run, now),
        None => Step::Wait,
    }
}

/// Whether the rollout of a schedule's last plan runs: the next moment waits for its end.
#[must_use]
pub fn is_rolling_out(state: &State, known: &Known) -> bool {
    let change = known.run.as_ref().and_then(|run| run.change).and_then(|id| state.changes.get(&id));
    let rollout = change.and_then(|change| change.rollout).and_then(|id| state.rollouts.get(&id));
    rollout.is_some_and(|rollout| rollout.ended.is_none())
}

/// Whether a schedule's last plan is covered and has not begun.
#[must_use]
pub fn is_waiting(state: &State, run: &Run) -> bool {
    let change = run.change.and_then(|id| state.changes.get(&id));
    run.stage == Stage::Covered && change.is_some_and(|change| change.rollout.is_none() && change.rejected.is_none())
}

/// Whether owners have notice of a schedule's last plan, or put it off: the next moment waits until it has begun. Else a schedule that comes
/// more often than its window, or sooner than its notice, would take back for ever what it promised.
fn is_promised(state: &State, known: &Known) -> bool {
    known.run.as_ref().is_some_and(|run| is_waiting(state, run) && (run.notice.is_some() || !run.deferred.is_empty()))
}

fn next(policy: &Policy, state: &State, group: &str, run: &Run, now: Timestamp) -> Step {
    match run.stage {
        Stage::Due => Step::Ask,
        Stage::Asked { round } => {
            let silent: BTreeSet<HostId> = members(policy, state, group)
                .into_iter()
                .filter(|(_, host)| !host.observe && host.resolved < run.since)
                .map(|(id, _)| id)
                .collect();
            if now < run.since + ANSWER_WAIT && silent.iter().any(|host| is_at_work(state, *host, "resolve")) {
                return Step::Wait;
            }
            Step::Draft { silent, again: round < ROUNDS_MAX }
        }
        Stage::Drafted | Stage::Rehearsing { .. } => {
            let Some(plan) = run.plan.and_then(|plan| state.plans.get(&plan)) else { return Step::Judge };
            let attempt = if let Stage::Rehearsing { attempt } = run.stage { attempt } else { 0 };
            let mut missing = plan.cohorts.values().filter(|cohort| cohort.rehearsal.is_none()).peekable();
            if missing.peek().is_none() {
                return Step::Judge;
            }
            let at_work = missing.flat_map(|cohort| &cohort.hosts).any(|host| is_at_work(state, *host, "rehearse"));
            match attempt {
                0 => Step::Rehearse { attempt: 1 },
                _ if at_work && now < run.since + REHEARSE_WAIT => Step::Wait,
                REHEARSALS_MAX.. => Step::Judge,
                attempt => Step::Rehearse { attempt: attempt + 1 },
            }
        }
        Stage::Covered => match run.change.and_then(|id| state.changes.get(&id)) {
            Some(change) if change.rollout.is_none() && change.rejected.is_none() => Step::Lead(change.id),
            _ => Step::Wait,
        },
        Stage::Waits { .. } | Stage::Ended { .. } => Step::Wait,
    }
}

/// Whether a host that is heard of has an order of this kind that it has not answered.
fn is_at_work(state: &State, host: HostId, order: &str) -> bool {
    let Some(host) = state.hosts.get(&host).filter(|host| !host.lost && !host.retired) else { return false };
    host.open.iter().filter_map(|id| state.directives.get(id)).any(|issued| issued.order == order && issued.outcome.is_none())
}

/// Members of a group that did not leave. A selector that fails takes nobody in: nothing is planned by it either.
pub fn members<'a>(policy: &Policy, state: &'a State, group: &str) -> Vec<(HostId, &'a Host)> {
    let Some(group) = policy.group.get(group) else { return Vec::new() };
    let mut known: BTreeMap<&Labels, bool> = BTreeMap::new();
    let mut member = |host: &'a Host| *known.entry(&host.labels).or_insert_with(|| selects(&group.select, &host.labels).unwrap_or(false));
    state.hosts.iter().filter(|(_, host)| !host.retired && member(host)).map(|(id, host)| (*id, host)).collect()
}

/// What is next for a covered change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Nothing for now: owners get notice, or it begins, at this time.
    Wait(Timestamp),
    /// Tell the owners that it begins then.
    Notice(Timestamp),
    /// Start the rollout: the opening that owners know of is there.
    Start,
    /// No opening is left.
    Never,
}

/// How much earlier than it must a notice is given, so that the moment that it names is that of the calendar.
pub const NOTICE_SLACK: Duration = Duration::from_secs(300);

/// When a covered change begins, out of `openings`: in the first that owners have notice of for long enough, and not before it is put off to.
/// A notice stands for one opening; where that passed, or was put off, or a freeze came, a later one takes a notice of its own.
#[must_use]
pub fn lead(run: &Run, notice: Duration, openings: &[Interval], now: Timestamp) -> Lead {
    let Some(opens) = opening(run, notice, openings, now) else { return Lead::Never };
    let noticed = run.notice.as_ref().is_some_and(|given| given.opens == opens);
    // Where nobody asked for a time of notice, owners are told as it begins.
    let tell = if notice.is_zero() { opens } else { opens - notice - NOTICE_SLACK };
    match (noticed, now >= opens) {
        (true, true) => Lead::Start,
        (true, false) => Lead::Wait(opens),
        (false, _) if now >= tell => Lead::Notice(opens),
        (false, _) => Lead::Wait(tell),
    }
}

/// The moment at which a covered change begins: at the start of an opening, or within one that is on already.
#[must_use]
pub fn opening(run: &Run, notice: Duration, openings: &[Interval], now: Timestamp) -> Option<Timestamp> {
    let not_before = run.since.max(run.deferred_until().unwrap_or(run.since));
    let ahead = || openings.iter().filter(|one| now < one.last_start);
    let known = run.notice.as_ref().map(|given| given.opens).filter(|opens| *opens >= not_before);
    if let Some(opens) = known.filter(|opens| ahead().any(|one| one.start <= *opens && *opens < one.last_start)) {
        return Some(opens);
    }
    let soonest = if notice.is_zero() { not_before } else { not_before.max(now + notice) };
    ahead().map(|one| (one.start.max(soonest), one)).find(|(at, one)| *at < one.last_start).map(|(at, _)| at)
}

/// When a plan under a standing approval may begin: where both the calendar, with its freezes, and what people signed are open. An empty list restricts nothing.
#[must_use]
pub fn both_open(calendar: &[Interval], signed: &[Interval], from: Timestamp, until: Timestamp) -> Vec<Interval> {
    let always = [Interval { start: from, end: until, last_start: until }];
    let (calendar, signed) = (if calendar.is_empty() { &always } else { calendar }, if signed.is_empty() { &always } else { signed });
    let meet = |one: &Interval, other: &Interval| {
        let (start, end) = (one.start.max(other.start), one.end.min(other.end).min(until));
        let last_start = one.last_start.min(other.last_start).min(until);
        (start < last_start && start < end).then_some(Interval { start, end, last_start })
    };
    let mut found: Vec<Interval> = calendar.iter().flat_map(|one| signed.iter().filter_map(|other| meet(one, other))).collect();
    found.sort_by_key(|one| one.start);
    found
}

#[cfg(test)]
mod tests;
