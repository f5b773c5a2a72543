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

/// Most hosts that are named as blocking a rollout; the others are counted.
pub const BLOCKING_MAX: usize = 400;

/// What a rollout does and in which order; fixed when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The group.
    pub group: String,
    /// Selector of the group when the plan was made.
    pub select: String,
    /// Number of hosts in all waves. Nothing is done before all of them are known.
    pub hosts: u32,
    /// Waves of hosts; the first is the canary. In the log they follow in events of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Vec<HostId>>,
    /// Zone of each host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
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
    /// A person had it undone: no host carries it any more but those named as failed.
    RolledBack,
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

    /// Something is under way on the host.
    fn is_working(&self) -> bool {
        !self.is_settled() && *self != Self::Waiting
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
    /// Being undone, and why.
    pub rolling_back: Option<String>,
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
    /// Send the undo directive of this transaction to this host.
    Undo(HostId, TransactionId),
    /// Say that the present wave passed, with what has been shown.
    PassWave(String),
    /// Say that the rollout ended.
    Finish(End),
    /// Say who blocks it.
    Block(Vec<HostId>, String),
}

/// Hosts that a rollout cannot count on, as the fleet is now: see [`crate::state::State::absent`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// Members of the group that are not heard of, in the rollout or not, each with its zone. They are asked nothing and count as unavailable.
    pub lost: BTreeMap<HostId, String>,
    /// Hosts that left for good: nothing is expected of them, and they count no more.
    pub retired: BTreeSet<HostId>,
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
            rolling_back: None,
            blocked: BTreeSet::new(),
            ended: None,
            ended_at: None,
        }
    }

    /// Takes the next hosts of a wave in, as the log names them.
    pub fn join(&mut self, wave: u32, members: &[(HostId, String)]) {
        // One wave after the other: a number that skips some is no log of ours.
        let wave = wave as usize;
        if wave > self.setup.waves.len() {
            return;
        }
        if wave == self.setup.waves.len() {
            self.setup.waves.push(Vec::new());
        }
        for (host, zone) in members {
            self.setup.waves[wave].push(*host);
            self.setup.zones.insert(*host, zone.clone());
            self.hosts.insert(*host, Phase::Waiting);
        }
    }

    /// Takes a host's report about the transaction `txn` in.
    pub fn report(&mut self, host: HostId, outcome: &Outcome, now: Timestamp) {
        let Some(phase) = self.hosts.get_mut(&host) else { return };
        // An undo that was asked for in the meantime is still to come.
        let undoing = matches!(phase, Phase::Undoing { .. });
        let next = match outcome {
            Outcome::Applied { .. } | Outcome::Verified { .. } if undoing => return,
            Outcome::Refused { why } if undoing => Phase::Failed { why: format!("the undo was refused: {why}") },
            Outcome::NotApproved { why } if undoing => Phase::Failed { why: format!("the undo was refused: {why}") },
            Outcome::Replan { why } if undoing => Phase::Failed { why: format!("the undo was refused: {why}") },
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

    /// The next actions. Calling it again in the same state gives the same actions; the driver turns each into events first.
    /// Where nothing can go on by itself, the answer names the hosts that block it; silence means work is under way or a window is awaited.
    #[must_use]
    pub fn step(&self, absent: &Absent, now: Timestamp) -> Vec<Action> {
        if self.ended.is_some() || self.hosts.len() != self.setup.hosts as usize {
            return Vec::new();
        }
        if self.rolling_back.is_some() {
            return self.step_back(absent, now);
        }
        let Some(wave) = self.setup.waves.get(self.waves_passed as usize) else {
            return vec![Action::Finish(End::Completed)];
        };
        let overdue = self.overdue(absent, now);
        let busy = self.is_busy(absent);
        if let Some(why) = self.gate_failure(wave, absent) {
            return if busy { self.block(overdue, silent()) } else { vec![Action::Finish(End::Halted { why })] };
        }
        if self.paused {
            return Vec::new();
        }
        if wave.iter().all(|host| absent.retired.contains(host) || self.hosts.get(host).is_some_and(Phase::is_settled)) {
            return vec![Action::PassWave(gate::Sprt { clean: self.clean(), failed: self.failures() }.shown())];
        }
        if !overdue.is_empty() {
            return self.block(overdue, silent());
        }
        if !busy && self.can_never_start(now) {
            let waiting = wave.iter().filter(|host| self.hosts.get(host) == Some(&Phase::Waiting)).copied().collect();
            return self
                .block(waiting, "the approval or its last window has passed: abort this rollout and submit a new change".to_owned());
        }
        let actions = self.dispatches(wave, absent, now);
        if actions.is_empty() && self.is_open(now) && !self.is_heard_at_work(absent) {
            return self.held_up(absent);
        }
        actions
    }

    /// Undoes host by host, the last wave first, within the budget; windows do not hold it up.
    fn step_back(&self, absent: &Absent, now: Timestamp) -> Vec<Action> {
        let overdue = self.overdue(absent, now);
        if !overdue.is_empty() {
            return self.block(overdue, silent());
        }
        let backwards = self.setup.waves.iter().rev().flat_map(|wave| wave.iter().rev());
        let carriers: Vec<&HostId> = backwards.filter(|host| self.carried(host).is_some() && !absent.retired.contains(host)).collect();
        if carriers.is_empty() && !self.is_busy(absent) {
            return vec![Action::Finish(End::RolledBack)];
        }
        if self.paused {
            return Vec::new();
        }
        let chosen = self.within_budget(carriers.into_iter(), absent);
        if chosen.is_empty() && !self.is_heard_at_work(absent) {
            return self.held_up(absent);
        }
        chosen.into_iter().filter_map(|host| Some(Action::Undo(host, self.carried(&host)?))).collect()
    }

    /// The verified transaction of a host.
    fn carried(&self, host: &HostId) -> Option<TransactionId> {
        match self.hosts.get(host) {
            Some(Phase::Verified { txn, .. }) => Some(*txn),
            _ => None,
        }
    }

    /// Names who keeps the rollout from going on.
    fn held_up(&self, absent: &Absent) -> Vec<Action> {
        let holding = self.unavailable(absent).into_keys().collect();
        let why = if absent.lost.is_empty() {
            "failed hosts use up the disruption budget: mend or retire them"
        } else {
            "hosts that are not heard of, or failed, are next or use up the disruption budget: bring them back, mend or retire them"
        };
        self.block(holding, why.to_owned())
    }

    /// Something is under way.
    fn is_busy(&self, absent: &Absent) -> bool {
        self.hosts.iter().any(|(host, phase)| phase.is_working() && !absent.retired.contains(host))
    }

    /// Something is under way on a host that is heard of, so that an end of it can be expected.
    fn is_heard_at_work(&self, absent: &Absent) -> bool {
        let gone = |host| absent.retired.contains(host) || absent.lost.contains_key(host);
        self.hosts.iter().any(|(host, phase)| phase.is_working() && !gone(host))
    }

    /// What counts against the budget, with its zone: hosts at work or failed, and members that are not heard of.
    fn unavailable<'a>(&'a self, absent: &'a Absent) -> BTreeMap<HostId, Option<&'a str>> {
        let out = self.hosts.iter().filter(|(host, phase)| phase.is_unavailable() && !absent.retired.contains(host));
        let mine = out.map(|(host, _)| (*host, self.setup.zones.get(host).map(String::as_str)));
        mine.chain(absent.lost.iter().map(|(host, zone)| (*host, Some(zone.as_str())))).collect()
    }

    fn block(&self, mut by: Vec<HostId>, mut why: String) -> Vec<Action> {
        if by.len() > BLOCKING_MAX {
            why = format!("{why} (and {} more hosts)", by.len() - BLOCKING_MAX);
            by.truncate(BLOCKING_MAX);
        }
        let same = by.iter().copied().collect::<BTreeSet<_>>() == self.blocked;
        if by.is_empty() || same { Vec::new() } else { vec![Action::Block(by, why)] }
    }

    fn is_open(&self, now: Timestamp) -> bool {
        let within = |w: &Interval| w.start <= now && now < w.last_start.min(w.end);
        now < self.setup.expires && (self.setup.window.is_empty() || self.setup.window.iter().any(within))
    }

    fn can_never_start(&self, now: Timestamp) -> bool {
        let over = |w: &Interval| w.last_start.min(w.end) <= now;
        now >= self.setup.expires || (!self.setup.window.is_empty() && self.setup.window.iter().all(over))
    }

    fn failures(&self) -> u64 {
        self.hosts.values().filter(|phase| phase.is_failure()).count() as u64
    }

    fn clean(&self) -> u64 {
        self.hosts.values().filter(|phase| matches!(phase, Phase::Verified { .. })).count() as u64
    }

    /// Any canary failure fails the canary; later waves use the sequential test. Replans are no failures: nothing was changed.
    fn gate_failure(&self, wave: &[HostId], absent: &Absent) -> Option<String> {
        let shows_nothing = |host| absent.retired.contains(host) || matches!(self.hosts.get(host), Some(Phase::Replan { .. }));
        let shown = |host| {
            matches!(
                self.hosts.get(host),
                Some(Phase::Verified { .. } | Phase::RolledBack { .. } | Phase::Failed { .. } | Phase::Refused { .. })
            )
        };
        if self.waves_passed == 0 && wave.iter().all(shows_nothing) && !wave.iter().any(shown) {
            return Some("no canary host is left that matches its plan, so nothing was shown: make a new plan".to_owned());
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

    fn overdue(&self, absent: &Absent, now: Timestamp) -> Vec<HostId> {
        let late = |phase: &Phase| match phase {
            Phase::Dispatched { at, .. } | Phase::Applied { at, .. } | Phase::Undoing { at, .. } => now.since(*at) > REPORT_WAIT,
            _ => false,
        };
        self.hosts.iter().filter(|(host, phase)| late(phase) && !absent.retired.contains(host)).map(|(host, _)| *host).collect()
    }

    fn dispatches(&self, wave: &[HostId], absent: &Absent, now: Timestamp) -> Vec<Action> {
        if !self.is_open(now) {
            return Vec::new();
        }
        let waiting = |host: &&HostId| self.hosts.get(host) == Some(&Phase::Waiting);
        self.within_budget(wave.iter().filter(waiting), absent).into_iter().map(Action::Dispatch).collect()
    }

    /// Those of `candidates`, in their order, that the disruption budget lets begin now beside whoever is unavailable already.
    fn within_budget<'a>(&self, candidates: impl Iterator<Item = &'a HostId>, absent: &Absent) -> Vec<HostId> {
        let limit = self.setup.budget.unavailable.of(self.setup.group_size as usize);
        let mut busy = self.unavailable(absent);
        let mut chosen = Vec::new();
        for host in candidates {
            if busy.len() >= limit {
                break;
            }
            if absent.lost.contains_key(host) || absent.retired.contains(host) {
                continue;
            }
            let zone = self.setup.zones.get(host).map(String::as_str);
            if self.setup.budget.one_zone_at_a_time && busy.values().any(|other| *other != zone) {
                continue;
            }
            busy.insert(*host, zone);
            chosen.push(*host);
        }
        chosen
    }
}

fn silent() -> String {
    format!("no final report for more than {} minutes", REPORT_WAIT.as_secs() / 60)
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
            select: "true".to_owned(),
            hosts: u32::from(hosts),
            waves: vec![all[..1].to_vec(), all[1..].to_vec()],
            zones: all.iter().enumerate().map(|(n, host)| (*host, if n % 2 == 0 { "a" } else { "b" }.to_owned())).collect(),
            group_size: u32::from(hosts),
            budget: Budget { unavailable: budget, one_zone_at_a_time: zones, per: None, min_healthy: None },
            strategy: Strategy { canary: 1, waves: vec![Share::Percent(100)], soak_s: 1 },
            window: Vec::new(),
            expires: Timestamp(u64::MAX),
        };
        Rollout::new(RolloutId::new(1, [0; 10]), ChangeId::new(1, [0; 10]), Digest([0; 32]), setup, Timestamp(0))
    }

    fn dispatched(rollout: &mut Rollout, now: Timestamp) -> Vec<HostId> {
        let actions = rollout.step(&Absent::default(), now);
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
    fn the_canary_goes_first_and_alone() {
        let mut rollout = rollout(5, Share::Count(3), false);
        assert_eq!(dispatched(&mut rollout, Timestamp(1)), [host(0)]);
        assert!(dispatched(&mut rollout, Timestamp(2)).is_empty());
        rollout.report(host(0), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(3));
        assert!(matches!(rollout.step(&Absent::default(), Timestamp(4))[..], [Action::PassWave(_)]));
        rollout.waves_passed = 1;
        assert_eq!(dispatched(&mut rollout, Timestamp(5)), [host(1), host(2), host(3)]);
    }

    #[test]
    fn a_rollback_goes_backwards_within_the_budget_and_ends() {
        let mut rollout = rollout(4, Share::Count(2), false);
        for n in 0..4 {
            rollout.report(host(n), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(1));
        }
        rollout.rolling_back = Some("uid:0 asked for it".to_owned());
        let all = Absent::default();
        assert_eq!(rollout.step(&all, Timestamp(2)), [Action::Undo(host(3), txn()), Action::Undo(host(2), txn())]);
        for n in [3, 2] {
            rollout.hosts.insert(host(n), Phase::Undoing { txn: txn(), at: Timestamp(2) });
        }
        assert!(rollout.step(&all, Timestamp(3)).is_empty());
        let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
        for n in [3, 2] {
            rollout.report(host(n), &back, Timestamp(4));
        }
        assert_eq!(rollout.step(&all, Timestamp(5)), [Action::Undo(host(1), txn()), Action::Undo(host(0), txn())]);
        rollout.report(host(1), &back, Timestamp(6));
        rollout.report(host(0), &back, Timestamp(6));
        assert_eq!(rollout.step(&all, Timestamp(7)), [Action::Finish(End::RolledBack)]);
    }

    #[test]
    fn a_lost_host_blocks_the_way_back_by_name_once_all_others_are_back() {
        let mut rollout = rollout(3, Share::Count(2), false);
        for n in 0..3 {
            rollout.report(host(n), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(1));
        }
        rollout.rolling_back = Some(String::new());
        let lost = Absent { lost: BTreeMap::from([(host(1), "b".to_owned())]), ..Absent::default() };
        let back = Outcome::RolledBack { txn: txn(), why: String::new(), paths_compared: 1, differences: Vec::new() };
        for n in [2, 0] {
            assert_eq!(rollout.step(&lost, Timestamp(2)), [Action::Undo(host(n), txn())], "a lost host counts against the budget");
            rollout.report(host(n), &back, Timestamp(3));
        }
        assert!(matches!(&rollout.step(&lost, Timestamp(4))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
        assert_eq!(rollout.step(&Absent::default(), Timestamp(5)), [Action::Undo(host(1), txn())]);
        let retired = Absent { retired: BTreeSet::from([host(1)]), ..Absent::default() };
        assert_eq!(rollout.step(&retired, Timestamp(6)), [Action::Finish(End::RolledBack)]);
    }

    #[test]
    fn an_undo_that_is_refused_leaves_a_failed_host_that_blocks_by_name() {
        let mut rollout = rollout(2, Share::Count(1), false);
        rollout.report(host(0), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(1));
        rollout.hosts.insert(host(1), Phase::Undoing { txn: txn(), at: Timestamp(1) });
        rollout.rolling_back = Some(String::new());
        rollout.report(host(1), &Outcome::Replan { why: "a later transaction".to_owned() }, Timestamp(2));
        assert!(matches!(&rollout.hosts[&host(1)], Phase::Failed { why } if why.contains("a later transaction")));
        assert!(matches!(&rollout.step(&Absent::default(), Timestamp(3))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
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
    fn hosts_at_work_that_are_not_heard_of_block_at_once_when_nothing_else_can_go_on() {
        let mut rollout = rollout(3, Share::Count(2), false);
        rollout.waves_passed = 1;
        rollout.hosts.insert(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        for n in [1, 2] {
            rollout.hosts.insert(host(n), Phase::Dispatched { txn: txn(), at: Timestamp(1) });
        }
        let lost = Absent { lost: BTreeMap::from([(host(1), "b".to_owned())]), ..Absent::default() };
        assert!(rollout.step(&lost, Timestamp(2)).is_empty(), "one host is still at work");
        rollout.report(host(2), &Outcome::Verified { txn: txn(), remarks: Vec::new() }, Timestamp(3));
        assert!(matches!(&rollout.step(&lost, Timestamp(4))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
        assert!(rollout.step(&Absent::default(), Timestamp(5)).is_empty(), "it is back, and still at work");
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
        assert!(
            matches!(&rollout.step(&Absent::default(), Timestamp(3))[..], [Action::Finish(End::Halted { why })] if why.contains("http 500"))
        );
    }

    #[test]
    fn a_failed_host_keeps_counting_against_the_budget() {
        let mut rollout = rollout(4, Share::Count(1), false);
        rollout.waves_passed = 1;
        rollout.hosts.insert(host(0), Phase::Failed { why: "x".to_owned() });
        assert!(dispatched(&mut rollout, Timestamp(1)).is_empty());
        assert!(matches!(&rollout.step(&Absent::default(), Timestamp(1))[..], [Action::Block(by, _)] if by == &vec![host(0)]));
    }

    #[test]
    fn a_canary_that_only_answers_replan_shows_nothing() {
        let mut rollout = rollout(3, Share::Count(1), false);
        rollout.report(host(0), &Outcome::Replan { why: String::new() }, Timestamp(1));
        assert!(matches!(&rollout.step(&Absent::default(), Timestamp(2))[..], [Action::Finish(End::Halted { .. })]));
    }

    #[test]
    fn nothing_starts_outside_of_the_window_or_after_expiry() {
        let mut rollout = rollout(2, Share::Count(1), false);
        rollout.setup.window = vec![Interval { start: Timestamp(10), end: Timestamp(30), last_start: Timestamp(20) }];
        assert!(rollout.step(&Absent::default(), Timestamp(9)).is_empty());
        assert!(matches!(&rollout.step(&Absent::default(), Timestamp(20))[..], [Action::Block(..)]));
        assert!(matches!(&rollout.step(&Absent::default(), Timestamp(10))[..], [Action::Dispatch(_)]));
        rollout.setup.expires = Timestamp(10);
        assert!(matches!(&rollout.step(&Absent::default(), Timestamp(10))[..], [Action::Block(..)]));
    }

    fn lost(hosts: &[u8]) -> Absent {
        Absent { lost: hosts.iter().map(|n| (host(*n), if n % 2 == 0 { "a" } else { "b" }.to_owned())).collect(), ..Absent::default() }
    }

    #[test]
    fn a_lost_host_is_not_asked_counts_against_the_budget_and_blocks_by_name_at_once() {
        let mut rollout = rollout(5, Share::Count(2), false);
        assert!(
            matches!(&rollout.step(&lost(&[0]), Timestamp(1))[..], [Action::Block(by, why)] if by == &vec![host(0)] && why.contains("not heard of"))
        );
        rollout.waves_passed = 1;
        assert_eq!(rollout.step(&lost(&[1]), Timestamp(1)), [Action::Dispatch(host(2))], "one place of two is taken");
        assert!(matches!(&rollout.step(&lost(&[1, 2]), Timestamp(1))[..], [Action::Block(by, _)] if by == &vec![host(1), host(2)]));
        for n in 2..5 {
            rollout.hosts.insert(host(n), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        }
        rollout.hosts.insert(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        assert!(matches!(&rollout.step(&lost(&[1]), Timestamp(2))[..], [Action::Block(by, _)] if by == &vec![host(1)]));
        assert_eq!(rollout.step(&Absent::default(), Timestamp(2)), [Action::Dispatch(host(1))], "it is back");
    }

    #[test]
    fn a_lost_host_of_another_zone_holds_the_zone() {
        let mut rollout = rollout(5, Share::Count(5), true);
        rollout.waves_passed = 1;
        assert_eq!(rollout.step(&lost(&[2]), Timestamp(1)), [Action::Dispatch(host(4))]);
    }

    #[test]
    fn a_retired_host_is_neither_asked_nor_waited_for_and_frees_its_place() {
        let mut rollout = rollout(3, Share::Count(1), false);
        rollout.waves_passed = 1;
        let gone = |n| Absent { retired: BTreeSet::from([host(n)]), ..Absent::default() };
        rollout.hosts.insert(host(0), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        rollout.hosts.insert(host(1), Phase::Dispatched { txn: txn(), at: Timestamp(1) });
        assert!(rollout.step(&Absent::default(), Timestamp(2)).is_empty());
        assert_eq!(rollout.step(&gone(1), Timestamp(2)), [Action::Dispatch(host(2))]);
        rollout.hosts.insert(host(2), Phase::Verified { txn: txn(), at: Timestamp(1), remarks: Vec::new() });
        assert!(matches!(rollout.step(&gone(1), Timestamp(3))[..], [Action::PassWave(_)]));
        rollout.waves_passed = 0;
        rollout.hosts.extend([0, 1].map(|n| (host(n), Phase::Waiting)));
        assert!(
            matches!(&rollout.step(&gone(0), Timestamp(3))[..], [Action::Finish(End::Halted { .. })]),
            "a canary that left shows nothing"
        );
    }

    #[test]
    fn a_silent_host_blocks_by_name() {
        let mut rollout = rollout(2, Share::Count(1), false);
        dispatched(&mut rollout, Timestamp(0));
        let late = Timestamp(0) + REPORT_WAIT + Duration::from_secs(1);
        assert!(matches!(&rollout.step(&Absent::default(), late)[..], [Action::Block(by, _)] if by == &vec![host(0)]));
    }
}
