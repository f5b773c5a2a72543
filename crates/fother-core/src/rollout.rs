//! The rollout engine: `step(state, now) -> actions`, pure. Canary, waves, one zone at a time, budget, soak, gates.

use crate::Digest;
use crate::{
    Timestamp, gate,
    id::{ChangeId, HostId, RolloutId, TransactionId},
    policy::{Budget, Strategy},
    protocol::Outcome,
    window::Interval,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// After this long without a final report a dispatched host blocks the rollout by name.
pub const REPORT_WAIT: Duration = Duration::from_secs(30 * 60);

/// What a rollout does and in which order; fixed when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The group.
    pub group: String,
    /// Waves of hosts; the first is the canary.
    pub waves: Vec<Vec<HostId>>,
    /// Zone of each host.
    pub zones: BTreeMap<HostId, String>,
    /// Hosts of the whole group, for the budget.
    pub group_size: u32,
    /// Budget.
    pub budget: Budget,
    /// Strategy.
    pub strategy: Strategy,
    /// Windows in which a host may start; empty: always.
    pub window: Vec<Interval>,
    /// From when on nothing may start.
    pub expires: Timestamp,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum End {
    /// Every host is verified, or named as replan.
    Completed,
    /// A gate stopped it.
    Halted {
        /// Why.
        why: String,
    },
    /// A person stopped it.
    Aborted,
}

/// Where one host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Not begun.
    Waiting,
    /// A directive is out.
    Dispatched {
        /// Its transaction.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
    },
    /// Installed and healthy; soaking.
    Applied {
        /// Its transaction.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
    },
    /// Done and healthy.
    Verified {
        /// Its transaction.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
        /// Remarks.
        remarks: Vec<String>,
    },
    /// No longer matches its cohort; untouched.
    Replan {
        /// Why.
        why: String,
    },
    /// Refused the directive; untouched.
    Refused {
        /// Why.
        why: String,
    },
    /// Failed and was put back.
    RolledBack {
        /// Its transaction.
        txn: TransactionId,
        /// Why.
        why: String,
        /// Whether nothing differs from before.
        exact: bool,
        /// Paths compared.
        paths_compared: u64,
    },
    /// An undo that a person asked for is out.
    Undoing {
        /// The transaction that is undone.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
    },
    /// Failed, and not as it was.
    Failed {
        /// Why.
        why: String,
    },
}

impl Phase {
    /// Counts against the budget: from dispatch until verified healthy; failed hosts keep counting.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Dispatched { .. } | Self::Applied { .. } | Self::Undoing { .. } | Self::Failed { .. } => true,
            Self::RolledBack { exact, .. } => !exact,
            Self::Waiting | Self::Verified { .. } | Self::Replan { .. } | Self::Refused { .. } => false,
        }
    }

    /// Nothing more is expected.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Waiting | Self::Dispatched { .. } | Self::Applied { .. } | Self::Undoing { .. } => false,
            Self::Verified { .. } | Self::Replan { .. } | Self::Refused { .. } | Self::RolledBack { .. } | Self::Failed { .. } => true,
        }
    }

    fn is_working(&self) -> bool {
        !self.is_settled() && *self != Self::Waiting
    }

    /// The word for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dispatched { .. } => "working",
            Self::Applied { .. } => "soaking",
            Self::Verified { .. } => "verified",
            Self::Replan { .. } => "replan",
            Self::Refused { .. } => "refused",
            Self::RolledBack { .. } => "rolled back",
            Self::Undoing { .. } => "undoing",
            Self::Failed { .. } => "FAILED",
        }
    }

    fn is_failure(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Failed { .. } | Self::Refused { .. })
    }
}

/// A rollout as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The change.
    pub change: ChangeId,
    /// The plan.
    pub plan: Digest,
    /// Fixed when it started.
    pub setup: Setup,
    /// When it started.
    pub started: Timestamp,
    /// Hosts.
    pub hosts: BTreeMap<HostId, Phase>,
    /// Waves that have passed.
    pub waves_passed: u32,
    /// Stands still.
    pub paused: bool,
    /// Hosts that are not heard of.
    #[serde(default)]
    pub lost: BTreeSet<HostId>,
    /// Blocked by these, as last said.
    pub blocked: BTreeSet<HostId>,
    /// How it ended.
    pub ended: Option<End>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the apply directive to this host.
    Dispatch(HostId),
    /// Say that the present wave passed, with what has been shown.
    PassWave(String),
    /// Say that the rollout ended.
    Finish(End),
    /// Say who blocks it.
    Block(Vec<HostId>, String),
}

impl Rollout {
    /// A rollout that has just started.
    #[must_use]
    pub fn new(id: RolloutId, change: ChangeId, plan: Digest, setup: Setup, now: Timestamp) -> Self {
        let hosts = setup.waves.iter().flatten().map(|host| (*host, Phase::Waiting)).collect();
        Self {
            id,
            change,
            plan,
            setup,
            started: now,
            hosts,
            waves_passed: 0,
            paused: false,
            lost: BTreeSet::new(),
            blocked: BTreeSet::new(),
            ended: None,
            ended_at: None,
        }
    }

    /// Takes a host's report about the transaction `txn` in.
    pub fn report(&mut self, host: HostId, outcome: &Outcome, now: Timestamp) {
        let Some(phase) = self.hosts.get_mut(&host) else { return };
        // An undo that was asked for in the meantime is still to come.
        let undoing = matches!(phase, Phase::Undoing { .. });
        let next = match outcome {
            Outcome::Applied { .. } | Outcome::Verified { .. } if undoing => return,
            Outcome::Refused { why } => Phase::Refused { why: why.to_string() },
            Outcome::NotApproved { why } => Phase::Refused { why: why.to_string() },
            Outcome::Replan { why } => Phase::Replan { why: why.clone() },
            Outcome::Applied { txn, .. } => Phase::Applied { txn: *txn, at: now },
            Outcome::Verified { txn, remarks } => Phase::Verified { txn: *txn, at: now, remarks: remarks.clone() },
            Outcome::RolledBack { txn, why, paths_compared, differences } => {
                Phase::RolledBack { txn: *txn, why: why.clone(), exact: differences.is_empty(), paths_compared: *paths_compared }
            }
            Outcome::Failed { why } => Phase::Failed { why: why.clone() },
            Outcome::Started { .. } | Outcome::Resolved { .. } | Outcome::Rehearsed { .. } => return,
        };
        *phase = next;
    }

    /// Takes in that a host is not heard of any more, or again; what it blocked goes on by itself then.
    pub fn heard_of(&mut self, host: HostId, lost: bool) {
        if !self.hosts.contains_key(&host) {
            return;
        }
        if lost {
            self.lost.insert(host);
        } else {
            self.lost.remove(&host);
            self.blocked.remove(&host);
        }
    }

    /// Takes in that a host left for good: nothing more is expected of it, and it blocks nothing.
    pub fn retired(&mut self, host: HostId) {
        self.heard_of(host, false);
        let Some(phase) = self.hosts.get_mut(&host) else { return };
        let why = match phase {
            Phase::Waiting => "it left the fleet before it was begun",
            Phase::Dispatched { .. } | Phase::Applied { .. } | Phase::Undoing { .. } => {
                "it left the fleet while it was at work: what became of it is unknown"
            }
            Phase::Verified { .. } | Phase::Replan { .. } | Phase::Refused { .. } | Phase::RolledBack { .. } | Phase::Failed { .. } => {
                return;
            }
        };
        *phase = Phase::Replan { why: why.to_owned() };
    }

    /// The next actions. Calling it again in the same state gives the same actions; the driver turns each into events first.
    /// Where nothing can go on by itself, the answer names the hosts that block it; silence means work is under way or a window is awaited.
    #[must_use]
    pub fn step(&self, now: Timestamp) -> Vec<Action> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let Some(wave) = self.setup.waves.get(self.waves_passed as usize) else {
            return vec![Action::Finish(End::Completed)];
        };
        let overdue = self.overdue(now);
        if let Some(why) = self.gate_failure(wave) {
            let quiet: BTreeSet<HostId> = overdue.into_iter().chain(self.unheard()).collect();
            return if self.is_busy() {
                self.block(quiet.into_iter().collect(), silent())
            } else {
                vec![Action::Finish(End::Halted { why })]
            };
        }
        if self.paused {
            return Vec::new();
        }
        if wave.iter().all(|host| self.hosts.get(host).is_some_and(Phase::is_settled)) {
            return vec![Action::PassWave(gate::Sprt { clean: self.clean(), failed: self.failures() }.shown())];
        }
        if !overdue.is_empty() {
            return self.block(overdue, silent());
        }
        if self.can_never_start(now) {
            let waiting = wave.iter().filter(|host| self.hosts.get(host) == Some(&Phase::Waiting)).copied().collect();
            return self
                .block(waiting, "the approval or its last window has passed: abort this rollout and submit a new change".to_owned());
        }
        let actions = self.dispatches(wave, now);
        let mut unheard = self.unheard();
        let all = self.hosts.values().filter(|phase| phase.is_working()).count() == unheard.len();
        unheard.extend(wave.iter().filter(|host| self.is_open(now) && self.is_waiting(host) && self.lost.contains(host)));
        if actions.is_empty() && all && !unheard.is_empty() {
            return self.block(unheard, "not heard of: bring them back, or retire them".to_owned());
        }
        if actions.is_empty() && !self.is_busy() && self.is_open(now) {
            let holding = self.hosts.iter().filter(|(_, phase)| phase.is_unavailable()).map(|(host, _)| *host).collect();
            return self.block(holding, "failed hosts use up the disruption budget: mend or retire them".to_owned());
        }
        actions
    }

    fn block(&self, by: Vec<HostId>, why: String) -> Vec<Action> {
        let same = by.iter().copied().collect::<BTreeSet<_>>() == self.blocked;
        if by.is_empty() || same { Vec::new() } else { vec![Action::Block(by, why)] }
    }

    fn is_busy(&self) -> bool {
        self.hosts.values().any(Phase::is_working)
    }

    fn is_waiting(&self, host: &HostId) -> bool {
        self.hosts.get(host) == Some(&Phase::Waiting)
    }

    fn is_open(&self, now: Timestamp) -> bool {
        let within = |w: &Interval| w.start <= now && now < w.last_start.min(w.end);
        now < self.setup.expires && (self.setup.window.is_empty() || self.setup.window.iter().any(within))
    }

    fn can_never_start(&self, now: Timestamp) -> bool {
        let over = |w: &Interval| w.last_start.min(w.end) <= now;
        let past = now >= self.setup.expires || (!self.setup.window.is_empty() && self.setup.window.iter().all(over));
        past && !self.is_busy()
    }

    fn failures(&self) -> u64 {
        self.hosts.values().filter(|phase| phase.is_failure()).count() as u64
    }

    fn clean(&self) -> u64 {
        self.hosts.values().filter(|phase| matches!(phase, Phase::Verified { .. })).count() as u64
    }

    /// Any canary failure fails the canary; later waves use the sequential test. Replans are no failures: nothing was changed.
    fn gate_failure(&self, wave: &[HostId]) -> Option<String> {
        if self.waves_passed == 0 && wave.iter().all(|host| matches!(self.hosts.get(host), Some(Phase::Replan { .. }))) {
            return Some("no canary host matches its plan any more, so nothing was shown: make a new plan".to_owned());
        }
        let failed: Vec<(&HostId, &Phase)> = self.hosts.iter().filter(|(_, phase)| phase.is_failure()).collect();
        let first = failed.first()?;
        let why = match first.1 {
            Phase::RolledBack { why, .. } | Phase::Failed { why } | Phase::Refused { why } => why.clone(),
            _ => String::new(),
        };
        if self.waves_passed == 0 && wave.iter().any(|host| self.hosts.get(host).is_some_and(Phase::is_failure)) {
            return Some(format!("the canary failed on {}: {why}", first.0));
        }
        let reject = gate::Sprt { clean: self.clean(), failed: self.failures() }.verdict() == gate::Verdict::Reject;
        reject.then(|| format!("{} hosts failed, first {}: {why}", self.failures(), first.0))
    }

    fn overdue(&self, now: Timestamp) -> Vec<HostId> {
        let late = |phase: &Phase| match phase {
            Phase::Dispatched { at, .. } | Phase::Applied { at, .. } | Phase::Undoing { at, .. } => now.since(*at) > REPORT_WAIT,
            _ => false,
        };
        self.hosts.iter().filter(|(_, phase)| late(phase)).map(|(host, _)| *host).collect()
    }

    /// Hosts at work that are not heard of.
    fn unheard(&self) -> Vec<HostId> {
        let working = |host: &&HostId| self.hosts.get(*host).is_some_and(Phase::is_working);
        self.lost.iter().filter(working).copied().collect()
    }

    fn dispatches(&self, wave: &[HostId], now: Timestamp) -> Vec<Action> {
        if !self.is_open(now) {
            return Vec::new();
        }
        let limit = self.setup.budget.unavailable.of(self.setup.group_size as usize);
        let mut busy: BTreeSet<HostId> = self.hosts.iter().filter(|(_, phase)| phase.is_unavailable()).map(|(host, _)| *host).collect();
        let mut actions = Vec::new();
        for host in wave {
            if busy.len() >= limit {
                break;
            }
            if !self.is_waiting(host) || self.lost.contains(host) {
                continue;
            }
            let zone = self.setup.zones.get(host);
            if self.setup.budget.one_zone_at_a_time && busy.iter().any(|other| self.setup.zones.get(other) != zone) {
                continue;
            }
            busy.insert(*host);
            actions.push(Action::Dispatch(*host));
        }
        actions
    }
}

fn silent() -> String {
    format!("not heard of, or no final report for more than {} minutes", REPORT_WAIT.as_secs() / 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Share;

    fn host(n: u8) -> HostId {
        HostId::new(u64::from(n), [n; 10])
    }

    fn txn() -> TransactionId {
        TransactionId::new(1, [1; 10])
    }

    fn rollout(hosts: u8, budget: Share, zones: bool) -> Rollout {
        let all: Vec<HostId> = (0..hosts).map(host).collect();
        let setup = Setup {
            group: "web".to_owned(),
            waves: vec![all[..1].to_vec(), all[1..].to_vec()],
            zones: all.iter().enumerate().map(|(n, host)| (*host, if n % 2 == 0 { "a" } else { "b" }.to_owned())).collect(),
            group_size: u32::from(hosts),
            budget: Budget { unavailable: budget, one_zone_at_a_time: zones },
            strategy: Strategy { canary: 1, waves: vec![Share::Percent(100)], soak_s: 1 },
            window: Vec::new(),
            expires: Timestamp(u64::MAX),
        };
        Rollout::new(RolloutId::new(1, [0; 10]), ChangeId::new(1, [0; 10]), Digest([0; 32]), setup, Timestamp(0))
    }

    fn dispatched(rollout: &mut Rollout, now: Timestamp) -> Vec<HostId> {
        let actions = rollout.step(now);
        let mut out = Vec::new();
        for action in actions {
            if let Action::Dispatch(host) = action {
                rollout.hosts.insert(host, Phase::Dispatched { txn: txn(), at: now });
                out.push(host);
            }
        }
        out
    }

    #[test]
    fn hosts_that_are_not_heard_of_block_only_when_nothing_else_can_go_on_and_are_named() {
        let mut rollout = rollout(4, Share::Count(2), false);
        rollout.waves_passed = 1;
        rollout.hosts.insert(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        rollout.heard_of(host(3), true);
        assert_eq!(dispatched(&mut rollout, Timestamp(2)), [host(1), host(2)]);
        rollout.heard_of(host(1), true);
        assert!(rollout.step(Timestamp(3)).is_empty(), "one host is still at work");
        rollout.report(host(2), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(4));
        let blocked = |rollout: &mut Rollout| match &rollout.step(Timestamp(5))[..] {
            [Action::Block(by, _)] => {
                rollout.blocked = by.iter().copied().collect();
                by.clone()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(blocked(&mut rollout), [host(1), host(3)]);
        assert!(rollout.step(Timestamp(6)).is_empty(), "said once");
        rollout.heard_of(host(3), false);
        assert_eq!(dispatched(&mut rollout, Timestamp(7)), [host(3)]);
        assert!(!rollout.blocked.contains(&host(3)));
    }

    #[test]
    fn a_host_that_leaves_the_fleet_blocks_nothing() {
        let mut rollout = rollout(3, Share::Count(1), false);
        rollout.waves_passed = 1;
        rollout.hosts.insert(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        assert_eq!(dispatched(&mut rollout, Timestamp(2)), [host(1)]);
        rollout.retired(host(1));
        rollout.retired(host(2));
        assert!(matches!(rollout.step(Timestamp(3))[..], [Action::PassWave(_)]));
    }

    #[test]
    fn an_undo_that_was_asked_for_outlives_what_the_host_reports_of_its_work_before() {
        let mut rollout = rollout(2, Share::Count(1), false);
        let undoing = Phase::Undoing { txn: txn(), at: Timestamp(1) };
        rollout.hosts.insert(host(0), undoing.clone());
        rollout.report(host(0), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(2));
        assert_eq!(rollout.hosts[&host(0)], undoing);
        let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
        rollout.report(host(0), &back, Timestamp(3));
        assert!(matches!(rollout.hosts[&host(0)], Phase::RolledBack { exact: true, .. }));
    }

    #[test]
    fn the_canary_goes_first_and_alone() {
        let mut rollout = rollout(5, Share::Count(3), false);
        assert_eq!(dispatched(&mut rollout, Timestamp(1)), [host(0)]);
        assert!(dispatched(&mut rollout, Timestamp(2)).is_empty());
        rollout.report(host(0), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(3));
        assert!(matches!(rollout.step(Timestamp(4))[..], [Action::PassWave(_)]));
        rollout.waves_passed = 1;
        assert_eq!(dispatched(&mut rollout, Timestamp(5)), [host(1), host(2), host(3)]);
    }

    #[test]
    fn one_zone_at_a_time_holds() {
        let mut rollout = rollout(5, Share::Count(5), true);
        rollout.waves_passed = 1;
        assert_eq!(dispatched(&mut rollout, Timestamp(1)), [host(1), host(3)]);
    }

    #[test]
    fn a_canary_that_was_rolled_back_halts_the_rollout() {
        let mut rollout = rollout(3, Share::Count(1), false);
        dispatched(&mut rollout, Timestamp(1));
        let outcome = Outcome::RolledBack { txn: txn(), why: "http 500".to_owned(), paths_compared: 9, differences: Vec::new() };
        rollout.report(host(0), &outcome, Timestamp(2));
        assert!(matches!(&rollout.step(Timestamp(3))[..], [Action::Finish(End::Halted { why })] if why.contains("http 500")));
    }

    #[test]
    fn a_failed_host_keeps_counting_against_the_budget() {
        let mut rollout = rollout(4, Share::Count(1), false);
        rollout.waves_passed = 1;
        rollout.hosts.insert(host(0), Phase::Failed { why: "x".to_owned() });
        assert!(dispatched(&mut rollout, Timestamp(1)).is_empty());
        assert!(matches!(&rollout.step(Timestamp(1))[..], [Action::Block(by, _)] if by == &vec![host(0)]));
    }

    #[test]
    fn a_canary_that_only_answers_replan_shows_nothing() {
        let mut rollout = rollout(3, Share::Count(1), false);
        rollout.report(host(0), &Outcome::Replan { why: String::new() }, Timestamp(1));
        assert!(matches!(&rollout.step(Timestamp(2))[..], [Action::Finish(End::Halted { .. })]));
    }

    #[test]
    fn nothing_starts_outside_of_the_window_or_after_expiry() {
        let mut rollout = rollout(2, Share::Count(1), false);
        rollout.setup.window = vec![Interval { start: Timestamp(10), end: Timestamp(30), last_start: Timestamp(20) }];
        assert!(rollout.step(Timestamp(9)).is_empty());
        assert!(matches!(&rollout.step(Timestamp(20))[..], [Action::Block(..)]));
        assert!(matches!(&rollout.step(Timestamp(10))[..], [Action::Dispatch(_)]));
        rollout.setup.expires = Timestamp(10);
        assert!(matches!(&rollout.step(Timestamp(10))[..], [Action::Block(..)]));
    }

    #[test]
    fn a_silent_host_blocks_by_name() {
        let mut rollout = rollout(2, Share::Count(1), false);
        dispatched(&mut rollout, Timestamp(0));
        let late = Timestamp(0) + REPORT_WAIT + Duration::from_secs(1);
        assert!(matches!(&rollout.step(late)[..], [Action::Block(by, _)] if by == &vec![host(0)]));
    }
}
