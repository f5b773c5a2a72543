//! The rollout engine: `step(around, now) -> actions`, pure. Canary, waves, zones, budget, soak, gates, and the way back.
//!
//! [`Setup`] is fixed at the start; [`Phase`] says where each host is; the fold keeps [`Rollout`] and its counters, so that
//! [`Rollout::step`] looks at what changed and not at the fleet; [`Around`] is what else the fleet says about the group.

mod around;
mod back;
pub(crate) mod budget;
mod counters;
mod phase;
mod setup;
mod step;
#[cfg(test)]
mod tests;

pub use around::{Around, Out, Why};
pub use phase::{Next, Phase};
pub use setup::{End, FailedGate, Setup};

use crate::{
    Digest, Timestamp,
    directive::Refused,
    gate,
    id::{ChangeId, HostId, RolloutId, TransactionId},
    mutant,
    mutant::Mutant,
    protocol::Outcome,
};
use counters::{Counters, Takes};
use imbl::{OrdMap, OrdSet};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// After this long without a final report a dispatched host blocks the rollout by name; the soak comes on top.
pub const REPORT_WAIT: Duration = Duration::from_secs(30 * 60);
/// Most hosts that are named as blocking a rollout; the others are counted.
pub const BLOCKING_MAX: usize = 400;
/// How often a host may answer that it was asked too late before that counts as a refusal.
pub const LATE_MAX: u32 = 5;

/// A rollout as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The change.
    pub change: ChangeId,
    /// The plan.
    pub plan: Digest,
    /// Fixed when it started.
    #[serde(serialize_with = "shared")]
    pub setup: Arc<Setup>,
    /// When it started.
    pub started: Timestamp,
    hosts: OrdMap<HostId, Phase>,
    /// Waves that have passed.
    pub waves_passed: u32,
    /// Stands still.
    pub paused: bool,
    /// Being undone, and why.
    pub rolling_back: Option<String>,
    /// The gate that is the reason for it, where it is no person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_gate: Option<FailedGate>,
    /// Blocked by these, as last said.
    pub blocked: BTreeSet<HostId>,
    /// How it ended.
    pub ended: Option<End>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Hosts of it that left for good: nothing is expected of them, and they count no more.
    retired: OrdSet<HostId>,
    /// Hosts of it that a later rollout has worked on since: that one counts them.
    released: OrdSet<HostId>,
    /// Hosts whose undo failed or was refused: a person may ask for it again.
    tried: OrdSet<HostId>,
    /// Transactions that hosts were given, where it is more than one, and answers that came too late.
    attempts: OrdMap<HostId, u32>,
    late: OrdMap<HostId, u32>,
    /// The sequential test over the hosts so far.
    test: gate::Sprt,
    /// Longest transaction so far, in milliseconds.
    slowest_ms: u64,
    /// Members of the group now, and by zone.
    members: u32,
    zone_members: BTreeMap<String, u32>,
    #[serde(skip)]
    counters: Counters,
}

fn shared<S: serde::Serializer>(setup: &Arc<Setup>, to: S) -> Result<S::Ok, S::Error> {
    (**setup).serialize(to)
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the apply directive to this host.
    Dispatch(HostId),
    /// Send the undo directive of this transaction to this host.
    Undo(HostId, TransactionId),
    /// Say that the present wave passed, with what has been shown.
    PassWave(String),
    /// Say that a gate failed and that hosts are put back.
    GoBack(FailedGate),
    /// Say that the rollout ended.
    Finish(End),
    /// Say who blocks it.
    Block(Vec<HostId>, String),
}

impl Rollout {
    /// A rollout that has just started.
    #[must_use]
    pub fn new(id: RolloutId, change: ChangeId, plan: Digest, setup: Setup, now: Timestamp) -> Self {
        let mut rollout = Self {
            id,
            change,
            plan,
            started: now,
            hosts: OrdMap::new(),
            waves_passed: 0,
            paused: false,
            rolling_back: None,
            failed_gate: None,
            blocked: BTreeSet::new(),
            ended: None,
            ended_at: None,
            retired: OrdSet::new(),
            released: OrdSet::new(),
            tried: OrdSet::new(),
            attempts: OrdMap::new(),
            late: OrdMap::new(),
            test: gate::Sprt::default(),
            slowest_ms: 0,
            members: setup.group_size,
            zone_members: setup.zone_sizes.clone(),
            counters: Counters::default(),
            setup: Arc::new(setup),
        };
        for (wave, hosts) in (0_u32..).zip(rollout.setup.waves.clone()) {
            hosts.into_iter().for_each(|host| rollout.place(wave, host));
        }
        rollout
    }

    /// Takes the next hosts of a wave in, as the log names them.
    pub fn join(&mut self, wave: u32, members: &[(HostId, String)]) {
        // One wave after the other: a number that skips some is no log of ours.
        let at = wave as usize;
        if at > self.setup.waves.len() {
            return;
        }
        let setup = Arc::make_mut(&mut self.setup);
        if at == setup.waves.len() {
            setup.waves.push(Vec::new());
        }
        for (host, zone) in members {
            setup.waves[at].push(*host);
            setup.zones.insert(*host, zone.clone());
        }
        members.iter().for_each(|(host, _)| self.place(wave, *host));
    }

    fn place(&mut self, wave: u32, host: HostId) {
        self.counters.place(wave, host);
        self.set(host, Phase::Waiting);
    }

    /// Every host and where it is.
    #[must_use]
    pub fn hosts(&self) -> &OrdMap<HostId, Phase> {
        &self.hosts
    }

    /// Hosts of it that count as unavailable because of it.
    pub fn out(&self) -> impl Iterator<Item = HostId> + '_ {
        self.counters.out().iter().copied()
    }

    /// Members of the group now.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Puts a host into a phase. The fold does; tests may.
    pub fn set(&mut self, host: HostId, phase: Phase) {
        let zone = self.setup.zones.get(&host).map(String::as_str).unwrap_or_default();
        let counts = !self.retired.contains(&host);
        let deadline = self.deadline(&phase);
        let out = counts && !self.released.contains(&host) && self.counts(&phase);
        let carries = counts && phase.carried().is_some() && !self.tried.contains(&host);
        self.counters.set(host, zone, &phase, deadline.filter(|_| counts), Takes { counts, carries, out });
        self.hosts.insert(host, phase);
    }

    /// Whether a host in this phase takes a place of the budget.
    fn counts(&self, phase: &Phase) -> bool {
        let freed = match phase {
            Phase::Failed { .. } => mutant::is(Mutant::FailedStopsCounting),
            Phase::RolledBack { .. } => mutant::is(Mutant::InexactStopsCounting),
            Phase::Applied { .. } => mutant::is(Mutant::SoakingStopsCounting),
            Phase::Undoing { .. } => mutant::is(Mutant::UndoingDoesNotCount),
            _ => false,
        };
        phase.is_unavailable() && !freed
    }

    /// When a host that is at work should have said how it went.
    fn deadline(&self, phase: &Phase) -> Option<Timestamp> {
        match phase {
            Phase::Dispatched { at, .. } | Phase::Undoing { at, .. } => Some(*at + REPORT_WAIT),
            Phase::Applied { at, .. } => Some(*at + REPORT_WAIT + Duration::from_secs(self.setup.strategy.soak_s.into())),
            Phase::Waiting
            | Phase::Verified { .. }
            | Phase::Replan { .. }
            | Phase::Refused { .. }
            | Phase::Skipped { .. }
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => None,
        }
    }

    fn refresh(&mut self, host: HostId) {
        if let Some(phase) = self.hosts.get(&host).cloned() {
            self.set(host, phase);
        }
    }

    /// A directive of this rollout went out to a host.
    pub(crate) fn issued(&mut self, host: HostId, order: &str, txn: TransactionId, at: Timestamp) {
        let known = self.hosts.get(&host);
        // Signed anew is not begun anew: the wait for its report goes on.
        let again = known.and_then(Phase::txn) == Some(txn);
        let phase = match (order, known) {
            ("undo", Some(phase @ Phase::Undoing { .. })) | ("apply", Some(phase @ (Phase::Dispatched { .. } | Phase::Applied { .. })))
                if again =>
            {
                phase.clone()
            }
            ("undo", _) => Phase::Undoing { txn, at },
            _ => {
                *self.attempts.entry(host).or_insert(0) += 1;
                Phase::Dispatched { txn, at }
            }
        };
        self.released.remove(&host);
        self.set(host, phase);
        self.blocked.clear();
    }

    /// Takes a host's report about the transaction `txn` in; `newest` is false where its directive was signed anew since.
    pub fn report(&mut self, host: HostId, txn: Option<TransactionId>, outcome: &Outcome, newest: bool, now: Timestamp) {
        let Some(phase) = self.hosts.get(&host) else { return };
        if phase.txn().is_some() && txn.is_some() && phase.txn() != txn {
            return;
        }
        let was_working = phase.is_working() && !matches!(phase, Phase::Undoing { .. });
        if let Outcome::Applied { apply_ms, .. } = outcome {
            self.slowest_ms = self.slowest_ms.max(*apply_ms);
        }
        let next = match phase.after(outcome, newest, now) {
            Next::Stay => return,
            Next::To(next) if was_working && self.may_retry(host, &next) => Phase::Waiting,
            Next::To(next) => next,
            Next::TooLate(why) => {
                let late = self.late.entry(host).or_insert(0);
                *late += 1;
                if *late > LATE_MAX { Phase::Refused { why } } else { Phase::Waiting }
            }
        };
        if matches!((phase, &next), (Phase::Undoing { .. }, Phase::Failed { .. })) && !is_late(outcome) {
            self.tried.insert(host);
        }
        if was_working {
            match &next {
                Phase::Verified { .. } => self.test = self.test.clean(),
                failed if failed.is_failure() => self.test = self.test.failed(),
                _ => {}
            }
        }
        self.set(host, next);
    }

    fn may_retry(&self, host: HostId, next: &Phase) -> bool {
        let exact = matches!(next, Phase::RolledBack { exact: true, .. });
        let left = self.attempts.get(&host).copied().unwrap_or(1) <= self.setup.strategy.retries;
        let canary = self.waves_passed == 0 && !mutant::is(Mutant::CanaryRetries);
        exact && left && !canary && self.rolling_back.is_none() && self.ended.is_none()
    }

    /// A host never accepted its directive, and cannot any more: it is as it was before.
    pub(crate) fn withdraw(&mut self, host: HostId, txn: TransactionId) {
        let before = match self.hosts.get(&host) {
            Some(Phase::Dispatched { txn: known, .. }) if *known == txn => Phase::Waiting,
            Some(Phase::Undoing { txn: known, at }) if *known == txn => Phase::Verified { txn, at: *at, remarks: Vec::new() },
            _ => return,
        };
        self.set(host, before);
    }

    /// A person leaves a host out.
    pub(crate) fn skip(&mut self, host: HostId, why: &str) {
        if self.hosts.get(&host) == Some(&Phase::Waiting) {
            self.set(host, Phase::Skipped { why: why.to_owned() });
            self.blocked.clear();
        }
    }

    /// A host left for good.
    pub(crate) fn retire(&mut self, host: HostId) {
        if self.hosts.contains_key(&host) && self.retired.insert(host).is_none() && !mutant::is(Mutant::RetiredKeepsCounting) {
            self.refresh(host);
        }
    }

    /// A later rollout works on this host: it counts there.
    pub(crate) fn release(&mut self, host: HostId) {
        if self.hosts.contains_key(&host) && self.released.insert(host).is_none() {
            self.refresh(host);
        }
    }

    /// The group has one member more or fewer.
    pub(crate) fn member(&mut self, zone: &str, joined: bool) {
        let change = |count: &mut u32| *count = if joined { count.saturating_add(1) } else { count.saturating_sub(1) };
        change(&mut self.members);
        if !self.zone_members.is_empty() {
            change(self.zone_members.entry(zone.to_owned()).or_insert(0));
        }
    }

    /// The group as it is now.
    pub(crate) fn regroup(&mut self, sizes: BTreeMap<String, u32>) {
        self.members = sizes.values().sum();
        if !self.setup.zone_sizes.is_empty() {
            self.zone_members = sizes;
        }
    }

    /// It is put back from now on.
    pub(crate) fn go_back(&mut self, reason: &str, gate: Option<FailedGate>) {
        (self.ended, self.ended_at, self.paused) = (None, None, false);
        self.rolling_back = Some(reason.to_owned());
        self.failed_gate = gate;
        self.blocked.clear();
        std::mem::take(&mut self.tried).into_iter().for_each(|host| self.refresh(host));
    }

    /// It ended.
    pub(crate) fn end(&mut self, end: &End, at: Timestamp) {
        self.rolling_back = None;
        self.failed_gate = None;
        self.blocked.clear();
        (self.ended, self.ended_at) = (Some(end.clone()), Some(at));
    }

    /// Whether anything of it may still change or count.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ended.is_none() || !self.counters.out().is_empty() || self.counters.is_busy()
    }

    /// Whether this host is among those that are asked at present.
    #[must_use]
    pub fn is_in_present_wave(&self, host: &HostId) -> bool {
        self.counters.place_of(host).is_some_and(|place| self.counters.span(self.waves_passed).contains(&place))
    }

    /// Number of hosts of the present wave.
    #[must_use]
    pub fn present_wave(&self) -> usize {
        self.counters.span(self.waves_passed).len()
    }

    /// Whether this host left for good.
    #[must_use]
    pub fn has_left(&self, host: &HostId) -> bool {
        self.retired.contains(host)
    }

    /// What the hosts so far have shown, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        gate::Sprt { clean: self.counters.clean(), failed: self.counters.failures().len() as u64 }.shown()
    }
}

/// Whether a host answers that it was asked too late: nothing came of it, and it can be asked again.
fn is_late(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { why: Refused::Expired { .. } | Refused::NotNow { .. } | Refused::Withdrawn })
}
