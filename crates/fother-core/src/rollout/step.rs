//! The way forwards: which host is next, whether a wave has passed, whether its gate failed, who blocks.

use super::{Action, Around, BLOCKING_MAX, End, FailedGate, Phase, REPORT_WAIT, Rollout, counters::Places};
use crate::{
    Timestamp, gate,
    id::HostId,
    mutant,
    mutant::Mutant,
    policy::GoBack,
    window::{self, NotNow},
};
use std::{collections::BTreeSet, time::Duration};

/// A host is expected to take as often as long as the slowest so far.
const MARGIN: u32 = 2;

impl Rollout {
    /// The next actions. Calling it again in the same state gives the same actions; the driver turns each into events first.
    /// Where nothing can go on by itself, the answer names the hosts that block it; silence means work is under way or a window is awaited.
    #[must_use]
    pub fn step(&self, around: &Around, now: Timestamp) -> Vec<Action> {
        if self.ended.is_some() || self.hosts.len() != self.setup.hosts as usize {
            return Vec::new();
        }
        if self.rolling_back.is_some() {
            return self.step_back(around, now);
        }
        if self.waves_passed as usize >= self.setup.waves.len() {
            return vec![Action::Finish(End::Completed)];
        }
        let overdue = self.overdue(now);
        if let Some(why) = self.gate_failure() {
            return self.stop_for(why, overdue, around);
        }
        if self.paused && !mutant::is(Mutant::PauseIgnored) {
            return Vec::new();
        }
        let span = self.counters.span(self.waves_passed);
        if self.counters.is_settled(span.clone()) || mutant::is(Mutant::WaveNotAwaited) {
            return vec![Action::PassWave(self.shown())];
        }
        if !overdue.is_empty() {
            return self.block(overdue, silent());
        }
        if around.stopped && !mutant::is(Mutant::StopIgnored) {
            return Vec::new();
        }
        if !self.is_heard_at_work(around)
            && let Some(why) = self.never_starts(now)
        {
            let waiting = span.filter_map(|place| self.counters.host(place)).filter(|host| self.is_waiting(host));
            return self.block(self.counters.at_work().chain(waiting).take(BLOCKING_MAX + 1).collect(), why);
        }
        if !self.is_open(now) {
            return Vec::new();
        }
        let chosen = self.within_budget(self.counters.waiting(), span, false, around);
        if chosen.is_empty() && !self.is_heard_at_work(around) {
            return self.held_up(self.counters.waiting(), around);
        }
        chosen.into_iter().map(Action::Dispatch).collect()
    }

    fn is_waiting(&self, host: &HostId) -> bool {
        self.hosts.get(host) == Some(&Phase::Waiting) && !self.retired.contains(host)
    }

    /// A gate failed: whoever is at work comes to an end first, unless the policy wants hosts put back.
    fn stop_for(&self, why: String, overdue: Vec<HostId>, around: &Around) -> Vec<Action> {
        let wave = match self.setup.strategy.on_failure {
            GoBack::Host => None,
            GoBack::Wave => Some(self.waves_passed),
            GoBack::Rollout => Some(0),
        };
        match wave {
            Some(wave) if self.carries_from(wave) => vec![Action::GoBack(FailedGate { why, wave })],
            _ if !self.counters.is_busy() => vec![Action::Finish(End::Halted { why })],
            _ if self.is_heard_at_work(around) || !overdue.is_empty() => self.block(overdue, silent()),
            _ => self.block(
                self.counters.at_work().collect(),
                "a gate failed, and hosts at work are not heard of: bring them back or retire them".to_owned(),
            ),
        }
    }

    /// Names who keeps the rollout from going on; where it is nobody else, those that would be next.
    pub(super) fn held_up(&self, next: &Places, around: &Around) -> Vec<Action> {
        let mut holding: BTreeSet<HostId> = self.counters.out().iter().copied().take(BLOCKING_MAX + 1).collect();
        holding.extend(around.out.keys().copied());
        let alone = holding.is_empty();
        if alone || self.has_no_budget() {
            holding.extend(next.values().flatten().filter_map(|place| self.counters.host(*place)).take(BLOCKING_MAX));
        }
        let why = if alone || self.has_no_budget() {
            "the group is too small for its budget: one more host out of service would leave fewer healthy ones than the policy demands, or none; change the budget, or accept `outage:GROUP` by name in a new change"
        } else if around.out.is_empty() {
            "failed hosts use up the disruption budget: mend or retire them"
        } else {
            "hosts that are not heard of, at work elsewhere, or failed, are next or use up the disruption budget: bring them back, mend or retire them"
        };
        self.block(holding.into_iter().collect(), why.to_owned())
    }

    /// Something is under way on a host that is heard of, so that an end of it can be expected.
    pub(super) fn is_heard_at_work(&self, around: &Around) -> bool {
        let silent = around.lost().filter(|host| self.counters.is_working(host)).count();
        self.counters.working() > silent
    }

    pub(super) fn block(&self, mut by: Vec<HostId>, mut why: String) -> Vec<Action> {
        if by.len() > BLOCKING_MAX {
            why = format!("{why} (and {} more hosts)", by.len() - BLOCKING_MAX);
            by.truncate(BLOCKING_MAX);
        }
        let same = by.iter().copied().collect::<BTreeSet<_>>() == self.blocked;
        if by.is_empty() || same || mutant::is(Mutant::BlockedIsNotSaid) { Vec::new() } else { vec![Action::Block(by, why)] }
    }

    /// How long a host is expected to take: twice the slowest of this rollout, and the soak.
    #[must_use]
    pub fn predicted(&self) -> Duration {
        let work = Duration::from_millis(self.slowest_ms.saturating_mul(MARGIN.into()));
        work + Duration::from_secs(self.setup.strategy.soak_s.into())
    }

    /// Whether a host may start now: before the cutoff, and so that it is expected to end within the window.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let opened = self.setup.window.is_empty() || window::fits(&self.setup.window, now, self.predicted()).is_ok();
        (now < self.setup.expires || mutant::is(Mutant::ExpiryIgnored)) && (opened || mutant::is(Mutant::WindowIgnored))
    }

    /// Whether a directive that no host has accepted may still be sent.
    #[must_use]
    pub fn may_start(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.rolling_back.is_none() && !self.paused && self.is_open(now)
    }

    fn never_starts(&self, now: Timestamp) -> Option<String> {
        let new = "abort this rollout and submit a new change";
        if now >= self.setup.expires {
            return Some(format!("the approval has expired: {new}"));
        }
        if self.setup.window.is_empty() {
            return None;
        }
        match window::fits(&self.setup.window, now, self.predicted()) {
            Err(NotNow::Never) => {
                let minutes = self.predicted().as_secs().div_ceil(60);
                Some(format!("its last window has passed, or is too short for the {minutes} min that a host takes: {new}"))
            }
            Err(NotNow::NextAt(next)) if next >= self.setup.expires => {
                Some(format!("the approval expires at {}, before the window opens again at {next}: {new}", self.setup.expires))
            }
            Ok(()) | Err(NotNow::NextAt(_)) => None,
        }
    }

    /// Any canary failure fails the canary; later waves use the sequential test. Replans are no failures: nothing was changed.
    fn gate_failure(&self) -> Option<String> {
        let is_canary = self.waves_passed == 0;
        let span = self.counters.span(self.waves_passed);
        if is_canary && self.counters.is_settled(span.clone()) && self.counters.shown_in(0) == 0 && !mutant::is(Mutant::EmptyCanaryPasses) {
            return Some("no canary host is left that matches its plan, so nothing was shown: make a new plan".to_owned());
        }
        let first = self.counters.failures().get_min()?;
        let why = self.hosts.get(first).map(Phase::why).unwrap_or_default();
        let in_canary = |host: &HostId| self.counters.place_of(host).is_some_and(|place| span.contains(&place));
        if is_canary && self.counters.failures().iter().any(in_canary) && !mutant::is(Mutant::CanaryFailureIgnored) {
            return Some(format!("the canary failed on {first}: {why}"));
        }
        let reject = self.test.verdict() == gate::Verdict::Reject;
        reject.then(|| format!("{} hosts failed, first {first}: {why}", self.counters.failures().len()))
    }

    pub(super) fn overdue(&self, now: Timestamp) -> Vec<HostId> {
        if mutant::is(Mutant::SilenceIsPatience) { Vec::new() } else { self.counters.overdue(now).collect() }
    }
}

pub(super) fn silent() -> String {
    format!("no final report for more than {} minutes", REPORT_WAIT.as_secs() / 60)
}
