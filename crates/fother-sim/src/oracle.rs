//! The promises, checked after every step by means of their own: nothing here asks the engine what it thinks of budgets, windows or gates.

use crate::{host::Told, setting::BEGIN, world::World};
use fother_core::{
    Digest, Timestamp,
    directive::Order,
    event::{Data, Event},
    id::{DirectiveId, HostId, RolloutId, TransactionId},
    policy::{Per, Share, selects},
    protocol::Outcome,
    rollout::{End, Phase, REPORT_WAIT, Rollout},
    state::State,
    window::Interval,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a rollout may stand still without saying why, in milliseconds.
const QUIET_MS: u64 = 15 * 60_000;

/// What the oracle remembers.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// The rollout that worked on a host last.
    touched: BTreeMap<HostId, RolloutId>,
    /// Clean and failed hosts of the sequential test.
    tests: BTreeMap<RolloutId, (i64, i64)>,
    /// Canaries on which the change was shown to be fine, and that failed.
    canaries: BTreeMap<RolloutId, (BTreeSet<HostId>, BTreeSet<HostId>)>,
    /// Hosts that each transaction was for.
    transactions: BTreeMap<TransactionId, HostId>,
    orders: BTreeMap<DirectiveId, (Digest, Order)>,
    /// Since when a rollout stands still without a word.
    quiet: BTreeMap<RolloutId, u64>,
    /// How transactions ended on their hosts.
    ended: BTreeMap<TransactionId, Outcome>,
    /// Since when hosts are not heard of, and since when the server is able to notice.
    silent: BTreeMap<usize, u64>,
    able: Option<u64>,
}

fn is_out(phase: &Phase) -> bool {
    match phase {
        Phase::Dispatched { .. } | Phase::Applied { .. } | Phase::Undoing { .. } | Phase::Failed { .. } => true,
        Phase::RolledBack { exact, .. } => !exact,
        Phase::Waiting | Phase::Verified { .. } | Phase::Replan { .. } | Phase::Refused { .. } | Phase::Skipped { .. } => false,
    }
}

fn is_at_work(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Dispatched { at, .. } | Phase::Applied { at, .. } | Phase::Undoing { at, .. } => Some(*at),
        _ => None,
    }
}

fn share(share: Share, of: u64, up: bool) -> u64 {
    match share {
        Share::Count(count) => count.into(),
        Share::Percent(percent) if up => (of * u64::from(percent)).div_ceil(100),
        Share::Percent(percent) => (of * u64::from(percent) / 100).max(1),
    }
}

fn admits(window: &[Interval], expires: Timestamp, at: u64, needs_ms: u64) -> bool {
    let inside = |w: &Interval| w.start.ms() <= at && at < w.last_start.ms() && at + needs_ms <= w.end.ms();
    at < expires.ms() && (window.is_empty() || window.iter().any(inside))
}

impl Oracle {
    /// Members of a group that are out of service, with their zones, and all members by zone.
    fn group<'a>(&self, state: &'a State, select: &str) -> (BTreeMap<HostId, &'a str>, BTreeMap<&'a str, u64>) {
        let (mut out, mut sizes, mut known) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (id, host) in state.hosts.iter().filter(|(_, host)| !host.retired) {
            if !*known.entry(&*host.labels).or_insert_with(|| selects(select, &host.labels) == Ok(true)) {
                continue;
            }
            let zone = host.labels.get("zone").map(String::as_str).unwrap_or_default();
            *sizes.entry(zone).or_insert(0) += 1;
            let phase = self.touched.get(id).and_then(|rollout| state.rollouts.get(rollout)).and_then(|rollout| rollout.hosts().get(id));
            if host.lost || phase.is_some_and(is_out) {
                out.insert(*id, zone);
            }
        }
        (out, sizes)
    }

    fn budget(&self, state: &State, rollout: &Rollout, host: HostId) -> Result<(), String> {
        let (setup, budget) = (&rollout.setup, &rollout.setup.budget);
        let (out, sizes) = self.group(state, &setup.select);
        if out.contains_key(&host) {
            return Ok(());
        }
        let total: u64 = sizes.values().sum();
        let zone = state.hosts.get(&host).and_then(|host| host.labels.get("zone")).map(String::as_str).unwrap_or_default();
        let now = out.len() as u64 + 1;
        let limit = match budget.per {
            Per::Group => share(budget.unavailable, total, false),
            Per::Zone => total,
        };
        if now > limit {
            return Err(format!("{now} of {total} hosts would be out of service, {limit} may be"));
        }
        if let Some(quorum) = budget.min_healthy.map(|quorum| share(quorum, total, true))
            && total - now.min(total) < quorum
        {
            return Err(format!("{} of {total} hosts would be healthy, {quorum} must be", total - now.min(total)));
        }
        if setup.outage == Some(false) && now >= total {
            return Err("no healthy host would be left, and nobody accepted that".to_owned());
        }
        if budget.one_zone_at_a_time && out.values().any(|other| *other != zone) {
            return Err(format!("hosts of other zones than {zone} are out of service"));
        }
        let in_zone = out.values().filter(|other| **other == zone).count() as u64 + 1;
        let size = sizes.get(zone).copied().unwrap_or(0);
        if budget.per == Per::Zone && in_zone > share(budget.unavailable, size, false) {
            return Err(format!("{in_zone} of {size} hosts of {zone} would be out of service"));
        }
        Ok(())
    }

    /// 1 % against 10 %, in millionths of natural logarithms.
    fn rejects(&self, rollout: RolloutId) -> bool {
        let (clean, failed) = self.tests.get(&rollout).copied().unwrap_or_default();
        failed * 2_302_585 - clean * 95_310 >= 2_890_371
    }

    fn count(&mut self, rollout: RolloutId, failed: bool) {
        let test = self.tests.entry(rollout).or_default();
        if failed {
            test.1 += 1;
        } else if test.1 * 2_302_585 - test.0 * 95_310 > -2_251_291 {
            test.0 += 1;
        }
    }
}

impl World {
    pub(crate) fn before_append(&mut self, event: &Event) {
        let broken = match &event.data {
            Data::DirectiveIssued { host, order, txn: Some(txn), rollout: Some(rollout), .. } => {
                self.may_issue(event.at, *host, order, *txn, *rollout)
            }
            Data::RolloutBlocked { by, .. } => {
                let left = by.iter().find(|host| self.db.state.hosts.get(*host).is_none_or(|host| host.retired));
                left.map(|host| ("a host that left blocks nothing", format!("{host} is said to block")))
            }
            Data::RolloutEnded { rollout, end } => self.may_end(*rollout, end),
            Data::HostReported { host, report } => {
                let known = self.db.state.hosts.get(host).map_or(0, |host| host.acknowledged);
                (report.number != known + 1)
                    .then(|| ("every report is taken once", format!("report {} of {host} follows {known}", report.number)))
            }
            _ => None,
        };
        if let Some((promise, what)) = broken {
            self.violated(promise, || what);
        }
    }

    fn may_issue(&self, at: Timestamp, id: HostId, order: &str, txn: TransactionId, rollout: RolloutId) -> Option<(&'static str, String)> {
        let state = &self.db.state;
        let (Some(rollout), Some(host)) = (state.rollouts.get(&rollout), state.hosts.get(&id)) else {
            return Some(("nothing comes from nowhere", format!("{id} or its rollout is unknown")));
        };
        if let Some(server) = self.servers.get(self.writer) {
            let expected = server.started.0.ms() + self.now.saturating_sub(server.started.1);
            if server.clock(self.now).ms().abs_diff(expected) > 300_000 {
                return Some(("nothing is sent by a clock that jumped", format!("{order} goes out to {id}")));
            }
        }
        let phase = rollout.hosts().get(&id);
        let again = phase.and_then(Phase::txn) == Some(txn) && phase.is_some_and(|phase| is_at_work(phase).is_some());
        if host.retired || (host.lost && !again) {
            return Some(("nobody is asked who cannot hear", format!("{id} is lost or left")));
        }
        if !again && let Err(why) = self.oracle.budget(state, rollout, id) {
            return Some(("the budget holds", format!("{order} of {id}: {why}")));
        }
        if order == "undo" {
            let carries = matches!(phase, Some(Phase::Verified { txn: known, .. } | Phase::Undoing { txn: known, .. }) if *known == txn)
                || matches!(phase, Some(Phase::Failed { txn: Some(known), .. }) if *known == txn);
            return (!carries).then(|| ("what is undone is in effect", format!("{txn} on {id} is not")));
        }
        if self.oracle.transactions.get(&txn).is_some_and(|known| *known != id) {
            return Some(("no transaction twice", format!("{txn} was for another host")));
        }
        if rollout.paused || state.stopped.is_some() || rollout.ended.is_some() || rollout.rolling_back.is_some() {
            return Some(("a person's word holds", format!("{id} begins while its rollout is paused, stopped, ended or put back")));
        }
        if self.is_frozen(at) {
            return Some(("a freeze holds", format!("{id} is asked to begin in it")));
        }
        let needs_ms = u64::from(rollout.setup.strategy.soak_s) * 1_000;
        if !admits(&rollout.setup.window, rollout.setup.expires, at.ms(), needs_ms) {
            return Some(("the window holds", format!("{id} is asked to begin outside of it, or would not end within")));
        }
        let people = |change: &fother_core::change::Change| change.approvals.keys().filter(|person| **person != change.author).count();
        if state.changes.get(&rollout.change).is_none_or(|change| people(change) < self.setting.approvals as usize) {
            return Some(("four eyes", "fewer people than it takes have approved".to_owned()));
        }
        if again {
            return None;
        }
        self.may_gate(rollout, id, phase)
    }

    fn may_gate(&self, rollout: &Rollout, id: HostId, phase: Option<&Phase>) -> Option<(&'static str, String)> {
        let waves = &rollout.setup.waves;
        let wave = waves.iter().position(|wave| wave.contains(&id)).unwrap_or(usize::MAX);
        let settled = |host: &HostId| {
            rollout.has_left(host) || rollout.hosts().get(host).is_some_and(|phase| is_at_work(phase).is_none() && *phase != Phase::Waiting)
        };
        if phase != Some(&Phase::Waiting) {
            return Some(("no host twice", format!("{id} is asked again although it is {phase:?}")));
        }
        if let Some(host) = waves.iter().take(wave).flatten().find(|host| !settled(host)) {
            return Some(("wave after wave", format!("{id} begins before {host} of an earlier wave has ended")));
        }
        let (fine, failed) = self.oracle.canaries.get(&rollout.id).cloned().unwrap_or_default();
        if wave > 0 && (fine.is_empty() || !failed.is_empty()) {
            return Some((
                "the canary decides",
                format!("{id} begins after a canary of {} fine and {} failed hosts", fine.len(), failed.len()),
            ));
        }
        if wave == 0 && failed.contains(&id) {
            return Some(("the canary decides", format!("{id} failed as a canary and is tried again")));
        }
        self.oracle.rejects(rollout.id).then(|| ("the gate holds", format!("{id} begins although too many have failed")))
    }

    fn may_end(&self, id: RolloutId, end: &End) -> Option<(&'static str, String)> {
        let rollout = self.db.state.rollouts.get(&id)?;
        let from = match (end, &rollout.failed_gate) {
            (End::RolledBack, _) => 0,
            (End::Halted { .. }, Some(gate)) => gate.wave as usize,
            (End::Completed, _) => {
                let open = rollout.hosts().iter().find(|(host, phase)| !rollout.has_left(host) && !phase.is_settled());
                return open.map(|(host, phase)| ("no host is forgotten", format!("completed while {host} is {}", phase.word())));
            }
            (End::Halted { .. } | End::Aborted | End::Superseded { .. }, _) => return None,
        };
        let carries = |host: &&HostId| !rollout.has_left(host) && matches!(rollout.hosts().get(*host), Some(Phase::Verified { .. }));
        let left = rollout.setup.waves.iter().skip(from).flatten().find(carries)?;
        Some(("undo leads back", format!("it ended although {left} still carries the change")))
    }

    pub(crate) fn after_append(&mut self, event: &Event) {
        let ms = event.at.ms().saturating_sub(BEGIN);
        match &event.data {
            Data::DirectiveIssued { directive, host, order, txn: Some(txn), rollout: Some(rollout), blob, .. } => {
                self.oracle.touched.insert(*host, *rollout);
                self.oracle.transactions.insert(*txn, *host);
                if let Some(known) = self.db.directives.get(blob) {
                    self.oracle.orders.insert(*directive, (*blob, known.order.clone()));
                }
                let name = self.name_of(*host);
                self.timeline.add(ms, || format!("{order} goes out to {name}"));
                if let Some(at) = self.places.get(host).copied() {
                    let soon = self.draw.within(500, 20_000);
                    self.beat(at, soon);
                }
            }
            Data::DirectiveIssued { host, .. } => {
                if let Some(at) = self.places.get(host).copied() {
                    let soon = self.draw.within(500, 20_000);
                    self.beat(at, soon);
                }
            }
            Data::HostReturned { host } => {
                // Its silence begins anew, also where it is gone again before anybody looks.
                if let Some(at) = self.places.get(host) {
                    self.oracle.silent.remove(at);
                }
                self.timeline.add(ms, || crate::report::line(&event.data));
            }
            Data::FleetStopped { .. } | Data::FleetResumed {} => {
                for at in 0..self.hosts.len() {
                    let soon = self.draw.within(500, 20_000);
                    self.beat(at, soon);
                }
                self.timeline.add(ms, || crate::report::line(&event.data));
            }
            Data::RolloutEnded { end, .. } => {
                self.met(match end {
                    End::Completed => "completed",
                    End::Halted { .. } => "halted",
                    End::Aborted => "aborted",
                    End::RolledBack => "rolled back",
                    End::Superseded { .. } => "superseded",
                });
                self.timeline.add(ms, || crate::report::line(&event.data));
            }
            Data::HostReported { host, report } => {
                let name = self.name_of(*host);
                self.timeline.add(ms, || format!("{name} reports: {}", report.outcome.brief()));
            }
            Data::RolloutBlocked { .. } => {
                self.met("blocked");
                self.timeline.add(ms, || crate::report::line(&event.data));
            }
            other => self.timeline.add(ms, || crate::report::line(other)),
        }
    }

    /// A host's phase before a report, to be compared with the one after it.
    pub(crate) fn phases(&self, event: &Event) -> Option<(RolloutId, HostId, Phase)> {
        let Data::HostReported { host, report } = &event.data else { return None };
        let rollout = report.directive.and_then(|id| self.db.state.directives.get(&id)).and_then(|issued| issued.rollout)?;
        let phase = self.db.state.rollouts.get(&rollout)?.hosts().get(host)?.clone();
        Some((rollout, *host, phase))
    }

    /// Counts for the gate what a report made of a host.
    pub(crate) fn judge(&mut self, (id, host, before): (RolloutId, HostId, Phase), event: &Event) {
        let Some(rollout) = self.db.state.rollouts.get(&id) else { return };
        let Some(after) = rollout.hosts().get(&host).cloned() else { return };
        let worked = matches!(before, Phase::Dispatched { .. } | Phase::Applied { .. });
        let canary = rollout.setup.waves.first().is_some_and(|wave| wave.contains(&host));
        let put_back = matches!(&event.data, Data::HostReported { report, .. } if matches!(report.outcome, Outcome::RolledBack { .. } | Outcome::Failed { .. }));
        let failed = matches!(after, Phase::RolledBack { .. } | Phase::Failed { .. } | Phase::Refused { .. });
        let entry = self.oracle.canaries.entry(id).or_default();
        if worked && canary && (failed || put_back) {
            entry.1.insert(host);
        }
        if worked && matches!(after, Phase::Verified { .. }) {
            if canary {
                entry.0.insert(host);
            }
            self.oracle.count(id, false);
        } else if worked && failed {
            self.oracle.count(id, true);
        }
        self.met(after.word());
    }

    fn name_of(&self, host: HostId) -> String {
        self.places.get(&host).map_or_else(|| host.to_string(), |at| format!("h{at}"))
    }

    /// What a host did.
    pub(crate) fn heard(&mut self, at: usize, told: Vec<Told>) {
        let ms = self.now - BEGIN;
        for one in told {
            let broken = match &one {
                Told::Began { again: true, txn, .. } => {
                    Some(("no transaction twice", format!("h{at} begins {txn} again, which its journal knows")))
                }
                Told::Began { txn, directive, people, halted, change, again: false } => {
                    self.timeline.add(ms, || format!("h{at} begins change {}", change.number));
                    self.may_begin(at, *txn, *directive, *people, *halted)
                }
                Told::PutBack { says_exact, is_exact, .. } => {
                    self.met("put back");
                    (*says_exact && !is_exact).then(|| ("undo leads back", format!("h{at} says that it is as before, and is not")))
                }
                Told::Started { txn, times } => {
                    (*times > 1).then(|| ("no transaction twice", format!("{txn} was started {times} times on h{at}")))
                }
                Told::Accepted { directive, again } => again.then(|| ("no transaction twice", format!("h{at} accepted {directive} twice"))),
                Told::Soaked { ms, wanted_ms, .. } => (ms < wanted_ms && !self.clocks_moved)
                    .then(|| ("the soak is waited for", format!("h{at} soaked {ms} ms of {wanted_ms}"))),
                Told::BlindlyVerified { .. } => {
                    Some(("missing data never passes", format!("h{at} is verified although its check gave no answer")))
                }
                Told::Ended { txn, outcome } => {
                    self.timeline.add(ms, || format!("h{at} ended: {}", outcome.brief()));
                    self.oracle.ended.insert(*txn, outcome.clone());
                    None
                }
            };
            if let Some((promise, what)) = broken {
                self.violated(promise, || what);
            }
        }
    }

    fn may_begin(
        &self,
        at: usize,
        txn: TransactionId,
        directive: DirectiveId,
        people: usize,
        halted: bool,
    ) -> Option<(&'static str, String)> {
        let host = self.hosts.get(at)?;
        let Some((_, Order::Apply { plan, statement, approvals, .. })) = self.oracle.orders.get(&directive) else {
            return Some(("nothing comes from nowhere", format!("h{at} acts on a directive that is not in the log")));
        };
        let signed = self.statements.get(statement)?;
        if signed.plan != *plan {
            return Some(("an approval is for one plan", format!("h{at} applies a plan that its approvers did not sign")));
        }
        let distinct: BTreeSet<&str> = approvals.iter().filter_map(|text| text.split_once(' ')).map(|(person, _)| person).collect();
        let others = distinct.iter().filter(|person| **person != signed.author).count();
        if people < self.setting.approvals as usize || others < self.setting.approvals as usize {
            return Some(("four eyes", format!("h{at} begins with {others} approvals")));
        }
        if halted {
            return Some(("a person's word holds", format!("h{at} begins although it heard that everything is stopped")));
        }
        let clock = host.clock(self.now).ms();
        if !admits(&signed.window, signed.expires, clock, 0) || (!self.clocks_moved && !admits(&signed.window, signed.expires, self.now, 0))
        {
            return Some(("the window holds", format!("h{at} begins outside of it")));
        }
        let rollout = self.oracle.touched.get(&host.id).and_then(|id| self.db.state.rollouts.get(id));
        let known = rollout.and_then(|rollout| rollout.hosts().get(&host.id)).and_then(Phase::txn);
        let left = self.db.state.hosts.get(&host.id).is_none_or(|host| host.retired);
        (known != Some(txn) && !left && !self.clocks_moved)
            .then(|| ("nothing happens behind the log's back", format!("h{at} begins {txn}, and the log does not expect it")))
    }

    /// Whether every rollout goes on, or says why not.
    pub(crate) fn look(&mut self) {
        let now = self.now;
        let able =
            self.servers.get(self.leader()).is_some_and(|server| server.up && server.waits_until <= now && server.fault(now).is_none());
        if !able || self.db.full_until > now {
            self.oracle.quiet.clear();
            self.oracle.able = None;
            return;
        }
        self.look_for_silence();
        let state = &self.db.state;
        let mut broken = None;
        for rollout in state.active.iter().filter_map(|id| state.rollouts.get(id)).filter(|rollout| rollout.ended.is_none()) {
            if self.explained(state, rollout) {
                self.oracle.quiet.remove(&rollout.id);
                continue;
            }
            let since = *self.oracle.quiet.entry(rollout.id).or_insert(now);
            if now - since > QUIET_MS {
                broken = Some(format!("{} stands still since {}", rollout.id, crate::timeline::clock(since - BEGIN)));
            }
        }
        if let Some(what) = broken {
            self.violated("a rollout that cannot go on says so", || what);
        }
    }

    fn look_for_silence(&mut self) {
        let now = self.now;
        let able = *self.oracle.able.get_or_insert(now);
        let mut forgotten = None;
        for (at, host) in self.hosts.iter().enumerate() {
            if host.is_online(now) {
                self.oracle.silent.remove(&at);
                continue;
            }
            let since = (*self.oracle.silent.entry(at).or_insert(now)).max(able);
            let said = self.db.state.hosts.get(&host.id).is_none_or(|known| known.lost || known.retired);
            if now - since > QUIET_MS && !said {
                forgotten = Some(at);
            }
        }
        if let Some(at) = forgotten {
            self.violated("a silent host is said to be lost", || format!("h{at} is silent for {} minutes", QUIET_MS / 60_000));
        }
    }

    fn explained(&self, state: &State, rollout: &Rollout) -> bool {
        let now = state.head.ms().max(self.now);
        let setup = &rollout.setup;
        let later = setup.window.iter().any(|w| w.start.ms() > self.now.saturating_sub(600_000) && w.start < setup.expires);
        let open = admits(&setup.window, setup.expires, now, u64::try_from(rollout.predicted().as_millis()).unwrap_or(0));
        let patience = u64::try_from(REPORT_WAIT.as_millis()).unwrap_or(0) + u64::from(setup.strategy.soak_s) * 1_000;
        let at_work = rollout.hosts().iter().any(|(host, phase)| {
            let heard = state.hosts.get(host).is_some_and(|host| !host.lost && !host.retired);
            heard && is_at_work(phase).is_some_and(|at| now.saturating_sub(at.ms()) <= patience)
        });
        rollout.paused
            || state.stopped.is_some()
            || self.was_frozen()
            || !rollout.blocked.is_empty()
            || at_work
            || (!open && later && rollout.rolling_back.is_none())
    }

    /// A freeze is on, or was until a moment ago.
    fn was_frozen(&self) -> bool {
        let now = Timestamp(self.now);
        self.is_frozen(now)
            || self.policy.freeze.values().any(|freeze| freeze.to.is_some_and(|to| to <= now && now.since(to) < Duration::from_secs(600)))
    }

    pub(crate) fn running(&self) -> Vec<String> {
        let running = self.db.state.rollouts.values().filter(|rollout| rollout.ended.is_none());
        let told = running.map(|rollout| {
            let mut phases: BTreeMap<&str, u32> = BTreeMap::new();
            rollout.hosts().values().for_each(|phase| *phases.entry(phase.word()).or_insert(0) += 1);
            format!(
                "{}: wave {}, {phases:?}, paused {}, blocked by {}, undone {:?}",
                rollout.id,
                rollout.waves_passed,
                rollout.paused,
                rollout.blocked.len(),
                rollout.rolling_back
            )
        });
        let jobs = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| !self.has_left(host) && (!host.queue.jobs.is_empty() || !host.queue.reports.is_empty()));
        let jobs = jobs.map(|(at, host)| format!("h{at}: {} jobs, {} reports", host.queue.jobs.len(), host.queue.reports.len()));
        let people =
            self.proposals.iter().filter(|proposal| proposal.stage != crate::people::Stage::Done).map(|proposal| format!("{proposal:?}"));
        let ended = self.db.state.rollouts.values().filter(|rollout| rollout.ended.is_some());
        let left = ended.flat_map(|rollout| {
            rollout.hosts().iter().filter(|(_, phase)| phase.is_working()).map(|(host, phase)| {
                let known = self.db.state.hosts.get(host);
                let open: Vec<_> =
                    known.into_iter().flat_map(|known| &known.open).filter_map(|id| self.db.state.directives.get(id)).collect();
                let seen = self.places.get(host).and_then(|at| self.hosts.get(*at)).map(|host| host.queue.seen);
                format!("{} in {} is {phase:?}, has accepted {seen:?}, open {open:?}", self.name_of(*host), rollout.id)
            })
        });
        let left: Vec<String> = left.collect();
        told.chain(jobs).chain(people).chain(left).collect()
    }

    /// At the end: nobody was forgotten, and the log tells what is true.
    pub(crate) fn finish(&mut self) {
        let mut broken = None;
        for rollout in self.db.state.rollouts.values() {
            for (id, phase) in rollout.hosts() {
                let Some(host) = self.places.get(id).and_then(|at| self.hosts.get(*at)) else { continue };
                let left = self.db.state.hosts.get(id).is_none_or(|host| host.retired) || host.trouble.gone;
                if left {
                    continue;
                }
                if is_at_work(phase).is_some() {
                    broken = Some(("no host is forgotten", format!("{id} is {} for ever in {}", phase.word(), rollout.id)));
                }
                let truth = phase.txn().and_then(|txn| self.oracle.ended.get(&txn));
                let same = match (phase, truth) {
                    (Phase::Verified { .. }, Some(outcome)) => matches!(outcome, Outcome::Verified { .. }),
                    (Phase::RolledBack { exact, .. }, Some(Outcome::RolledBack { differences, .. })) => *exact == differences.is_empty(),
                    (Phase::RolledBack { .. }, Some(_)) => false,
                    (Phase::Verified { .. } | Phase::RolledBack { .. }, None) => false,
                    _ => true,
                };
                if !same {
                    broken = Some(("the log tells what is true", format!("{id} is {} in the log, and ended as {truth:?}", phase.word())));
                }
            }
        }
        let mut again = State::default();
        self.db.log.iter().for_each(|event| again.fold(event));
        if again != self.db.state {
            broken = Some(("recovery", "the log folds to another state".to_owned()));
        }
        if let Some((promise, what)) = broken {
            self.violated(promise, || what);
        }
    }

    /// Hears of hosts that are in reach, as their check-ins every few seconds would have it.
    pub(crate) fn listen(&mut self, at: usize) {
        let now = self.now;
        let bad = self.bad_until > now;
        let Some(server) = self.servers.get_mut(at) else { return };
        let clock = server.clock(now);
        let mut back = Vec::new();
        for (place, host) in self.hosts.iter().enumerate() {
            let same_time = host.clock(now).ms().abs_diff(clock.ms()) <= 60_000;
            if !host.is_online(now) || !same_time || bad {
                continue;
            }
            server.heard.insert(host.id, clock);
            if server.state.lost.contains(&host.id) {
                back.push(place);
            }
        }
        for place in back {
            self.beat(place, 1_000);
        }
    }
}
