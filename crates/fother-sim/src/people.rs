//! The people of a simulated world: they plan, rehearse, sign, approve, start, and look after what is blocked.

use crate::{
    host::Host,
    server::No,
    setting::BEGIN,
    world::{Change, Event as Happening, World},
};
use fother_core::{
    Digest, Timestamp,
    approval::Statement,
    change::Status,
    decide::{self, Submission},
    directive::Order,
    event::Data,
    id::{ChangeId, HostId, RolloutId},
    plan::{Cohort, CohortTree, Plan, Planned},
    policy::{ConfigFiles, selects},
    rehearsal::Verdict,
    state::State,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// How often one proposal is tried before its author gives up.
const TRIES_MAX: u32 = 120;

/// How far a proposal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To be planned.
    Plan,
    /// Planned; hosts rehearse.
    Rehearse(Digest),
    /// To be submitted.
    Submit(Digest),
    /// Submitted; so many have approved.
    Approve(ChangeId, usize),
    /// To be started.
    Start(ChangeId),
    /// Started, or given up.
    Done,
}

/// A change that somebody wants.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Selector of its group.
    pub select: String,
    /// Whether it takes the place of what runs; else only hosts are in it on which nothing runs.
    pub supersede: bool,
    /// The author approves, and nobody else.
    pub alone: bool,
    /// How far.
    pub stage: Stage,
    /// Times tried.
    pub tries: u32,
}

impl World {
    /// Somebody wants a change so many milliseconds from now.
    pub fn propose(&mut self, select: &str, supersede: bool, alone: bool, wait_ms: u64) {
        let at = self.proposals.len();
        self.proposals.push(Proposal { select: select.to_owned(), supersede, alone, stage: Stage::Plan, tries: 0 });
        self.after(wait_ms, Happening::Person(at));
    }

    /// A person goes on with a proposal.
    pub fn person(&mut self, at: usize) {
        let Some(mut proposal) = self.proposals.get(at).cloned() else { return };
        if proposal.stage == Stage::Done {
            return;
        }
        let (server, before) = (self.leader(), proposal.stage.clone());
        let next = match proposal.stage.clone() {
            Stage::Plan => self.plan(server, &proposal),
            Stage::Rehearse(plan) => self.see_rehearsal(server, plan),
            Stage::Submit(plan) => self.submit(server, plan),
            Stage::Approve(change, have) => self.approve(server, change, have, proposal.alone),
            Stage::Start(change) => self.start(server, change, proposal.supersede),
            Stage::Done => Ok(Stage::Done),
        };
        match next {
            Ok(stage) => proposal.stage = stage,
            Err(why) => {
                proposal.tries += 1;
                if proposal.tries > TRIES_MAX || why == No::Refused("nothing to do".to_owned()) {
                    proposal.stage = Stage::Done;
                }
            }
        }
        let wait = if proposal.stage == before { 30_000 } else { self.draw.within(500, 5_000) };
        if proposal.stage != Stage::Done {
            self.after(wait, Happening::Person(at));
        }
        if let Some(known) = self.proposals.get_mut(at) {
            *known = proposal;
        }
    }

    fn plan(&mut self, server: usize, proposal: &Proposal) -> Result<Stage, No> {
        let Some(known) = self.servers.get(server).filter(|server| server.up) else { return Err(No::Down) };
        let running = || known.state.active.iter().filter_map(|id| known.state.rollouts.get(id)).filter(|rollout| rollout.ended.is_none());
        let member = |id: &HostId| {
            let host = known.state.hosts.get(id);
            let free = proposal.supersede || !running().any(|rollout| rollout.hosts().contains_key(id));
            free && host.is_some_and(|host| !host.retired && !host.lost && selects(&proposal.select, &host.labels) == Ok(true))
        };
        let members: BTreeSet<HostId> = self.hosts.iter().map(|host| host.id).filter(member).collect();
        if members.is_empty() {
            return Err(No::Refused("nothing to do".to_owned()));
        }
        let number = self.number();
        let strategy = self.setting.strategy.clone();
        let change = self.change_of(&members, number, strategy.soak_s);
        // Hosts of one zone are one cohort, so that there are several.
        let mut cohorts: BTreeMap<Digest, Cohort> = BTreeMap::new();
        let zones: BTreeSet<String> = self.hosts.iter().map(|host| host.zone.clone()).collect();
        for zone in &zones {
            let bases = self.hosts.iter().filter(|host| host.zone == *zone && members.contains(&host.id));
            let hosts: BTreeMap<HostId, Digest> = bases.map(|host| (host.id, Host::base_of(host.content))).collect();
            if hosts.is_empty() {
                continue;
            }
            let digest = self.name();
            self.changes.insert(digest, Rc::clone(&change));
            let cohort =
                Cohort { changes: Vec::new(), hosts, checks: Vec::new(), soak_s: strategy.soak_s, config_files: ConfigFiles::Keep };
            cohorts.insert(digest, cohort);
        }
        let plan = Plan {
            group: proposal.select.clone(),
            select: proposal.select.clone(),
            policy: Digest([7; 32]),
            budget: self.setting.budget.clone(),
            rollout: strategy,
            window: String::new(),
            approvals: self.setting.approvals,
            undo_s: 30 * 86_400,
            excluded: BTreeMap::new(),
            terms: Default::default(),
            pins: Vec::new(),
            cohorts: CohortTree::over(&cohorts.keys().copied().collect()),
        };
        let digest = self.name();
        let planned = Planned { plan: plan.clone(), cohorts: cohorts.clone(), up_to_date: Vec::new(), unknown: Vec::new() };
        self.commit(server, "person", |_, _, _| decide::create_plan(&planned, digest))?;
        self.plans.insert(digest, Rc::new((plan, cohorts)));
        self.commit(server, "person", |state, now, world| {
            let orders = rehearsals(state, digest);
            world.issue(state, now, None, orders)
        })?;
        Ok(Stage::Rehearse(digest))
    }

    fn change_of(&mut self, members: &BTreeSet<HostId>, number: u64, soak_s: u32) -> Rc<Change> {
        let bases: BTreeMap<HostId, u64> =
            self.hosts.iter().filter(|host| members.contains(&host.id)).map(|host| (host.id, host.content)).collect();
        let change = Rc::new(Change { number, bases, soak_s });
        if self.draw.percent(self.setting.bad_percent) {
            for at in 0..self.hosts.len() {
                let broken = self.draw.percent(self.setting.breaks_percent);
                let Some(host) = self.hosts.get_mut(at).filter(|host| broken && members.contains(&host.id)) else { continue };
                host.broken_by.push(change.after(host.content));
            }
            self.met("bad update");
        }
        change
    }

    fn see_rehearsal(&mut self, server: usize, plan: Digest) -> Result<Stage, No> {
        let Some(known) = self.servers.get(server).filter(|server| server.up) else { return Err(No::Down) };
        match known.state.plans.get(&plan).and_then(|plan| plan.verdict()) {
            Some(Verdict::Passes) => Ok(Stage::Submit(plan)),
            _ => {
                // A host that is lost does not rehearse: somebody else is asked.
                self.commit(server, "person", |state, now, world| {
                    let waits = state.directives.values().any(|issued| {
                        issued.plan == Some(plan) && issued.order == "rehearse" && issued.outcome.is_none() && issued.expires > now
                    });
                    if waits { Ok(Vec::new()) } else { world.issue(state, now, None, rehearsals(state, plan)) }
                })?;
                Err(No::Refused("not rehearsed".to_owned()))
            }
        }
    }

    fn submit(&mut self, server: usize, plan: Digest) -> Result<Stage, No> {
        let Some(made) = self.plans.get(&plan).cloned() else { return Err(No::Down) };
        let (ms, random) = self.fresh();
        let (change, digest) = (ChangeId::new(ms, random), self.name());
        let (window, life) = (self.setting.window.clone(), self.setting.approval_ms);
        let mut statement = None;
        self.commit(server, "person", |state, now, _| {
            let submission = Submission {
                change,
                digest: plan,
                author: "ann".to_owned(),
                author_key: "key-ann".to_owned(),
                acknowledged: BTreeSet::new(),
                window,
            };
            let mut made = decide::statement(state, &made.0, &BTreeSet::new(), submission, now)?;
            made.expires = Timestamp(now.ms() + life);
            statement = Some(made);
            let signature = format!("ann {digest}");
            Ok::<_, No>(vec![Data::ChangeSubmitted { change, plan, statement: digest, author: "ann".to_owned(), signature }])
        })?;
        if let Some(statement) = statement {
            self.statements.insert(digest, Rc::<Statement>::new(statement));
        }
        Ok(Stage::Approve(change, 0))
    }

    fn approve(&mut self, server: usize, change: ChangeId, have: usize, alone: bool) -> Result<Stage, No> {
        let Some(known) = self.servers.get(server).filter(|server| server.up) else { return Err(No::Down) };
        let Some(digest) = known.state.changes.get(&change).map(|change| change.statement) else { return Err(No::Down) };
        let person = if alone { "ann" } else { ["bob", "eve"].get(have).copied().unwrap_or("bob") };
        let signature = format!("{person} {digest}");
        let Some(statement) = self.statements.get(&digest).cloned() else { return Err(No::Down) };
        let signer = self.checked(&signature, &digest).and_then(|signer| self.trust.counts(&statement, &signer).map(|()| signer));
        let approved = self.commit(server, person, |state, _, _| {
            decide::approvable(state, change, digest)?;
            decide::approve_by(signer, change, &signature).map(|event| vec![event])
        });
        if alone && matches!(approved, Err(No::Refused(_))) {
            self.met("four eyes kept");
            return Ok(Stage::Done);
        }
        approved?;
        let enough = have + 1 >= self.setting.approvals as usize;
        Ok(if enough { Stage::Start(change) } else { Stage::Approve(change, have + 1) })
    }

    fn start(&mut self, server: usize, change: ChangeId, supersede: bool) -> Result<Stage, No> {
        let (ms, random) = self.fresh();
        let id = RolloutId::new(ms, random);
        self.commit(server, "person", |state, now, world| {
            let missing = || No::Refused("nothing to do".to_owned());
            let known = state.changes.get(&change).ok_or_else(missing)?;
            let made = world.plans.get(&known.plan).cloned().ok_or_else(missing)?;
            let statement = world.statements.get(&known.statement).cloned().ok_or_else(missing)?;
            if statement.expires <= now || known.status() == Status::RolledOut {
                return Err(missing());
            }
            Ok(decide::start_rollout(state, id, change, &made.0, &made.1, &statement, supersede)?)
        })?;
        self.met("rollout started");
        Ok(Stage::Done)
    }

    /// After all faults: whoever is named as blocking and cannot come back is retired; what still cannot go on is aborted.
    pub fn caretaker(&mut self) {
        let server = self.leader();
        let Some(known) = self.servers.get(server).filter(|server| server.up) else { return };
        let running: Vec<RolloutId> =
            known.state.rollouts.values().filter(|rollout| rollout.ended.is_none()).map(|rollout| rollout.id).collect();
        let mut retire: BTreeSet<HostId> = BTreeSet::new();
        let mut abort = Vec::new();
        for rollout in running.iter().filter_map(|id| known.state.rollouts.get(id)) {
            let gone = |host: &&HostId| self.hosts.iter().any(|known| known.id == **host && known.trouble.gone);
            let failed = |host: &&HostId| {
                let phases = known.state.rollouts.values().filter_map(|rollout| rollout.hosts().get(*host));
                phases.into_iter().any(fother_core::rollout::Phase::is_unavailable)
            };
            let go: BTreeSet<HostId> = rollout.blocked.iter().filter(|host| gone(host) || failed(host)).copied().collect();
            if go.is_empty() && !rollout.blocked.is_empty() {
                abort.push(rollout.id);
            }
            retire.extend(go);
        }
        for host in retire {
            let _ = self.commit(server, "person", |state, _, _| {
                let known = state.hosts.get(&host).is_some_and(|host| !host.retired);
                Ok::<_, No>(if known { vec![Data::HostRetired { host }] } else { Vec::new() })
            });
            self.met("retired by a person");
        }
        for rollout in abort {
            let _ =
                self.commit(server, "person", |state, _, _| decide::steer(state, rollout, decide::Steer::Abort).map(|event| vec![event]));
            self.met("aborted by a person, as it said");
        }
        for rollout in running {
            let _ = self.commit(server, "person", |state, _, _| {
                let paused = state.rollouts.get(&rollout).is_some_and(|rollout| rollout.paused && rollout.ended.is_none());
                Ok::<_, No>(if paused { vec![Data::RolloutResumed { rollout }] } else { Vec::new() })
            });
        }
        let _ = self.commit(server, "person", |state, _, _| Ok::<_, No>(decide::stop_all(state, None)));
        self.timeline.add(self.now - BEGIN, || "people look after what is blocked".to_owned());
    }
}

fn rehearsals(state: &State, plan: Digest) -> Vec<(HostId, Order)> {
    let Some(known) = state.plans.get(&plan) else { return Vec::new() };
    let all = known.cohorts.keys().copied().collect();
    let able = |id: &&HostId| state.hosts.get(*id).is_some_and(|host| !host.lost && !host.retired);
    let open = known.cohorts.iter().filter(|(_, about)| about.rehearsal.is_none());
    let one = open.filter_map(|(cohort, about)| {
        let host = about.hosts.iter().find(able)?;
        let place = CohortTree::place(&all, cohort)?;
        Some((*host, Order::Rehearse { plan, cohort: *cohort, place, bisect: false, attest: false }))
    });
    one.collect()
}
