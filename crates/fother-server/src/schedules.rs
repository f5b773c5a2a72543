//! The loop that takes each schedule's next step: archives, answers, plan, rehearsal, judgement, notice, rollout. Touches the engine, the archives and
//! the notice hook; a thread of its own, so that running rollouts never wait for a mirror.

mod ask;
mod people;

pub(crate) use people::Defer;
pub use people::Scheduled;

use crate::{Error, engine::Engine, error::refuse, hook};
use ask::Judged;
use fother_core::{
    Digest, Timestamp,
    approval::{Action, Statement},
    change::Change,
    decide::{self, APPROVAL_LIFE},
    event::Data,
    id::ChangeId,
    plan::OPENINGS_DAYS,
    policy::{Policy, calendar},
    schedule::{self, End, Lead, Run, Step},
    standing::Standing,
    state::State,
    window::Interval,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Who acts for a schedule: this and its name.
pub(crate) const ACTOR: &str = "schedule:";
/// The lease of this work, where several replicas share it.
const WORK: &str = "schedules";
/// Wait between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// Steps of one schedule in one round: a bound, not a wish.
const STEPS_MAX: usize = 16;
/// Wait after something failed that may come right.
const RETRY: Duration = Duration::from_secs(60);
/// Longest reason that an event carries, in bytes.
const WHY_BYTES_MAX: usize = 1_000;

/// What is only remembered: a server that starts anew tries at once.
#[derive(Default)]
pub(crate) struct Memory {
    /// Not before.
    retry: BTreeMap<String, Timestamp>,
    standings: BTreeMap<Digest, Arc<Standing>>,
    /// Neither policy nor log hold a schedule, as last looked: the state is left alone.
    none: bool,
}

/// Works until `stop` is set.
pub(crate) fn run(engine: &Arc<Engine>, hooks: &Path, stop: &AtomicBool) {
    let mut memory = Memory::default();
    while !stop.load(Ordering::Relaxed) {
        if engine.clock_fault().is_none() {
            round(engine, hooks, &mut memory);
        }
        std::thread::sleep(ROUND);
    }
}

/// One round over all schedules; one that fails is tried again later and stops no other.
pub(crate) fn round(engine: &Engine, hooks: &Path, memory: &mut Memory) {
    let policy = engine.policy();
    if policy.schedule.is_empty() && memory.none {
        return;
    }
    // One replica does it; a step that two would take is still taken once.
    if !matches!(engine.holds(WORK), Ok(Some(_))) {
        return;
    }
    let state = engine.state();
    memory.none = policy.schedule.is_empty() && state.schedules.is_empty();
    let names: BTreeSet<String> = policy.schedule.keys().chain(state.schedules.keys()).cloned().collect();
    drop(state);
    for name in names {
        for _ in 0..STEPS_MAX {
            if memory.retry.get(&name).is_some_and(|then| engine.clock.now() < *then) {
                break;
            }
            match engine.take_step(&name, hooks, memory) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(schedule = name, %error, "a step of a schedule failed; it is tried again");
                    memory.retry.insert(name.clone(), engine.clock.now() + RETRY);
                }
            }
        }
    }
}

fn why(text: impl std::fmt::Display) -> String {
    fother_core::text::printable(&text.to_string(), WHY_BYTES_MAX)
}

impl Engine {
    /// Takes the next step of a schedule; false where there is none for now.
    pub(crate) fn take_step(&self, name: &str, hooks: &Path, memory: &mut Memory) -> Result<bool, Error> {
        let (policy, state, now) = (self.policy(), self.state(), self.clock.now());
        let step = schedule::step(&policy, &state, name, now);
        let run = state.schedules.get(name).and_then(|known| known.run.as_ref());
        match (&step, run) {
            (Step::Wait, _) => Ok(false),
            (Step::Set, _) => self.still(name, &step, |state, _| Ok(set(&self.policy(), state, name))),
            (Step::Remove, _) => self.still(name, &step, |state, _| Ok(decide::remove_schedule(state, name))),
            (Step::Begin { occurrence, missed }, _) => {
                self.still(name, &step, |state, _| Ok(decide::begin_schedule(state, name, *occurrence, *missed, false)))
            }
            (_, None) => Ok(false),
            (Step::Ask, Some(run)) => match self.ask_first(name, run) {
                Ok(took) => Ok(took),
                Err(error) if now < run.since + schedule::ARCHIVE_WAIT => Err(error),
                Err(error) => self.end(name, run, &step, End::Failed { why: why(error) }),
            },
            (Step::Draft { silent, again }, Some(run)) => match self.draft_or_ask(name, run, &step, silent, *again) {
                Ok(took) => Ok(took),
                // What hosts answered will not change by itself.
                Err(error @ (Error::Refused(_) | Error::Input(_))) => self.end(name, run, &step, End::Failed { why: why(error) }),
                Err(error) => Err(error),
            },
            (Step::Rehearse { attempt }, Some(run)) => self.rehearse_next(name, run, &step, *attempt),
            (Step::Judge, Some(run)) => match self.judge(&state, run, now, memory)? {
                Judged::Covered(change, standing) => self.still(name, &step, |_, _| {
                    let (Some(plan), schedule, occurrence) = (run.plan, name.to_owned(), run.occurrence) else { return Ok(Vec::new()) };
                    Ok(vec![Data::ChangeCovered { change, plan, standing, schedule, occurrence }])
                }),
                Judged::Waits(why) => self.still(name, &step, |_, _| {
                    Ok(vec![Data::ScheduleWaits { schedule: name.to_owned(), occurrence: run.occurrence, why: why.clone() }])
                }),
            },
            (Step::Lead(change), Some(run)) => self.lead(name, run, &step, *change, hooks, memory),
        }
    }

    /// Stores what a step comes to, if it is still the next one; true where it was.
    pub(crate) fn still(
        &self,
        name: &str,
        step: &Step,
        events: impl Fn(&State, Timestamp) -> Result<Vec<Data>, Error>,
    ) -> Result<bool, Error> {
        let mut took = false;
        self.commit(&format!("{ACTOR}{name}"), |state, now| {
            took = false;
            if schedule::step(&self.policy(), state, name, now) != *step {
                return Ok(Vec::new());
            }
            took = true;
            events(state, now)
        })?;
        Ok(took)
    }

    fn end(&self, name: &str, run: &Run, step: &Step, end: End) -> Result<bool, Error> {
        self.still(name, step, |_, _| {
            Ok(vec![Data::ScheduleEnded { schedule: name.to_owned(), occurrence: run.occurrence, end: end.clone() }])
        })
    }

    /// A standing approval, read once.
    pub(crate) fn standing_of(&self, memory: &mut Memory, digest: Digest) -> Result<Arc<Standing>, Error> {
        if let Some(known) = memory.standings.get(&digest) {
            return Ok(Arc::clone(known));
        }
        let standing: Arc<Standing> = Arc::new(self.get(digest)?);
        memory.standings.insert(digest, Arc::clone(&standing));
        Ok(standing)
    }

    /// Tells the owners, or starts the rollout in the opening that they know of.
    fn lead(&self, name: &str, run: &Run, step: &Step, change: ChangeId, hooks: &Path, memory: &mut Memory) -> Result<bool, Error> {
        if let Some(notice) = run.notice.as_ref().filter(|notice| notice.told.is_none())
            && let Some(path) = hook::find(hooks, "notice")
        {
            return self.tell(name, run, step, (change, notice.opens), &path);
        }
        let (policy, state, now) = (self.policy(), self.state(), self.clock.now());
        let (Some(schedule), Some(known)) = (policy.schedule.get(name), state.changes.get(&change)) else { return Ok(false) };
        let standing = self.standing_of(memory, known.statement)?;
        if let Err(fallen) = fother_core::policy::admission::stands(&state, change, now) {
            return self.leave_to_people(name, run, step, change, &fallen.to_string());
        }
        let openings = openings(&policy, &standing, run.since, now);
        match schedule::lead(run, schedule.notice(), &openings, now) {
            Lead::Wait(_) => Ok(false),
            Lead::Notice(opens) => self.still(name, step, |_, _| {
                let owners = schedule.owners.clone();
                Ok(vec![Data::NoticeGiven { schedule: name.to_owned(), occurrence: run.occurrence, change, opens, owners }])
            }),
            Lead::Start => self.start_rollout(&format!("{ACTOR}{name}"), change, false).map(|_| true),
            Lead::Never => self.leave_to_people(name, run, step, change, "no opening is left before the standing approval ends"),
        }
    }

    /// Nothing begins by itself any more: the plan waits for people.
    fn leave_to_people(&self, name: &str, run: &Run, step: &Step, change: ChangeId, reason: &str) -> Result<bool, Error> {
        self.still(name, step, |_, _| {
            let (schedule, occurrence, why) = (name.to_owned(), run.occurrence, why(reason));
            Ok(vec![Data::ChangeRejected { change, reason: why.clone() }, Data::ScheduleWaits { schedule, occurrence, why }])
        })
    }

    /// Runs the hook; at least once for each notice, and what became of it is an event.
    fn tell(&self, name: &str, run: &Run, step: &Step, (change, opens): (ChangeId, Timestamp), path: &Path) -> Result<bool, Error> {
        let owners = self.policy().schedule.get(name).map(|schedule| schedule.owners.clone()).unwrap_or_default();
        let group = self.state().schedules.get(name).map(|known| known.group.clone());
        let told = json!({ "kind": "notice", "schedule": name, "group": group, "occurrence": run.occurrence, "plan": run.plan, "change": change,
            "opens": opens, "owners": owners });
        let failed = hook::run(path, &told).err().map(why);
        if let Some(why) = &failed {
            tracing::warn!(schedule = name, why, "the notice hook did not tell the owners");
        }
        self.still(name, step, |_, _| {
            Ok(vec![Data::NoticeTold { schedule: name.to_owned(), occurrence: run.occurrence, opens, failed: failed.clone() }])
        })
    }

    /// What a covered change comes to for its rollout: the hosts and terms that people signed, and the openings that are left. Called within a decision.
    pub(crate) fn scheduled(&self, state: &State, change: &Change, name: &str, now: Timestamp) -> Result<Statement, Error> {
        let standing: Standing = self.get(change.statement)?;
        let policy = self.policy();
        let run = state.schedules.get(name).and_then(|known| known.run.as_ref());
        let opens = run.and_then(|run| run.notice.as_ref()).map_or(now, |notice| notice.opens);
        let window = openings(&policy, &standing, opens, now);
        // An empty list would restrict nothing.
        if window.is_empty() {
            return refuse("never-opens", "freezes leave no opening", "see `fother policy simulate`");
        }
        Ok(Statement {
            action: Action::Apply,
            change: change.id,
            plan: change.plan,
            rehearsals: BTreeMap::new(),
            acknowledged: standing.acknowledged,
            policy: policy.digest()?,
            hosts: standing.hosts.into_keys().collect(),
            window,
            author: standing.author,
            author_key: standing.author_key,
            undo_until: now + Duration::from_secs(standing.undo_s),
            expires: standing.expires.min(now + APPROVAL_LIFE),
        })
    }
}

fn set(policy: &Policy, state: &State, name: &str) -> Vec<Data> {
    policy.schedule.get(name).map(|schedule| decide::set_schedule(state, name, schedule)).unwrap_or_default()
}

/// When a plan under a standing approval may begin; none where freezes or an empty calendar leave nothing.
pub(crate) fn openings(policy: &Policy, standing: &Standing, from: Timestamp, now: Timestamp) -> Vec<Interval> {
    match calendar::openings(policy, &standing.group, None, now, OPENINGS_DAYS) {
        Ok(calendar) => schedule::both_open(&calendar, &standing.window, from, standing.expires),
        Err(_) => Vec::new(),
    }
}
