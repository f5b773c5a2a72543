//! A simulated server: what it remembers, how it appends, what it does with check-ins, rounds of its rollouts.

use crate::world::{Event as Happening, World};
use fother_core::{
    Digest, Timestamp, decide,
    directive::{Directive, Order},
    dispatch::{self, Lapsed},
    event::{self, Data, Event},
    id::{DirectiveId, HostId, RolloutId, TransactionId},
    policy::admission,
    protocol::{CheckIn, CheckInAnswer},
    state::State,
};
use std::{collections::BTreeMap, rc::Rc};

/// Rounds without a pause for one rollout, as the server has it.
const STEPS_MAX: usize = 64;

/// The database: it survives, and lets one writer in.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// The log.
    pub log: Vec<Event>,
    /// Its fold.
    pub state: State,
    /// Who may write.
    pub fence: u64,
    /// Appends are refused until then.
    pub full_until: u64,
    /// Appends take so long until then.
    pub late: (u64, u64),
    /// Directives by blob.
    pub directives: BTreeMap<Digest, Rc<Directive>>,
}

/// When a server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    /// Before its next append is durable.
    Before,
    /// After it is, before anybody hears of it.
    After,
}

/// One server process.
#[derive(Clone, Debug)]
pub struct Server {
    /// Whether it runs.
    pub up: bool,
    /// Its fold: lost in a crash.
    pub state: State,
    /// Its right to write.
    pub fence: u64,
    /// Milliseconds that its clock is ahead.
    pub skew: i64,
    /// What its clock said when it started, and the true time.
    pub started: (Timestamp, u64),
    /// When it heard of hosts last.
    pub heard: BTreeMap<HostId, Timestamp>,
    /// Whether it dies at its next append.
    pub dies: Option<Dies>,
    /// Until when it waits for its database.
    pub waits_until: u64,
}

/// Why a server did not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// It is not there, or died of it.
    Down,
    /// Another one took the log over.
    Fenced,
    /// Its disk is full.
    Full,
    /// It is refused, with the reason.
    Refused(String),
}

impl From<decide::Refusal> for No {
    fn from(refusal: decide::Refusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

impl From<dispatch::Damaged> for No {
    fn from(damaged: dispatch::Damaged) -> Self {
        Self::Refused(damaged.to_string())
    }
}

impl Server {
    /// Its clock.
    #[must_use]
    pub fn clock(&self, now: u64) -> Timestamp {
        Timestamp(now.saturating_add_signed(self.skew))
    }

    /// Why it sends nothing out, or nothing.
    #[must_use]
    pub fn fault(&self, now: u64) -> Option<String> {
        let expected = Timestamp(self.started.0.ms() + now.saturating_sub(self.started.1));
        dispatch::clock_fault(self.clock(now), expected, self.state.head)
    }
}

impl World {
    /// Starts a server: it takes the lease and folds the log from its beginning.
    pub fn start_server(&mut self, at: usize) {
        self.db.fence += 1;
        let mut state = State::default();
        self.db.log.iter().for_each(|event| state.fold(event));
        if state != self.db.state {
            self.violated("recovery", || "the log folds to another state after a restart".to_owned());
        }
        let (now, fence) = (self.now, self.db.fence);
        let Some(server) = self.servers.get_mut(at) else { return };
        server.fence = fence;
        server.up = true;
        server.state = state;
        server.started = (server.clock(now), now);
        server.heard.clear();
        server.dies = None;
        server.waits_until = 0;
        self.timeline.add(now - crate::setting::BEGIN, || format!("server {at} starts"));
        self.wake(at, 1_000);
    }

    /// A server dies; its supervisor starts it again, unless another one took its place.
    pub fn kill_server(&mut self, at: usize) {
        let now = self.now;
        if let Some(server) = self.servers.get_mut(at).filter(|server| server.up) {
            server.up = false;
            let newest = server.fence == self.db.fence;
            self.timeline.add(now - crate::setting::BEGIN, || format!("server {at} dies"));
            if newest {
                let wait = self.draw.within(500, 5 * 60_000);
                self.after(wait, Happening::ServerStarts(at));
            }
        }
    }

    /// Decides and appends as `Engine::commit` does: nothing is folded where anything fails.
    pub fn commit<E: Into<No>>(
        &mut self,
        at: usize,
        actor: &str,
        decide: impl FnOnce(&State, Timestamp, &mut Self) -> Result<Vec<Data>, E>,
    ) -> Result<bool, No> {
        let now = self.now;
        let Some(server) = self.servers.get_mut(at).filter(|server| server.up) else { return Err(No::Down) };
        let state = std::mem::take(&mut server.state);
        let stamp = server.clock(now).max(state.head);
        let decided = decide(&state, stamp, self);
        let Some(server) = self.servers.get_mut(at) else { return Err(No::Down) };
        server.state = state;
        let data = decided.map_err(Into::into)?;
        if data.is_empty() {
            return Ok(false);
        }
        let (first, fence, dies) = (server.state.size, server.fence, server.dies.take());
        if dies == Some(Dies::Before) {
            self.kill_server(at);
            return Err(No::Down);
        }
        if self.db.full_until > now {
            return Err(No::Full);
        }
        if fence != self.db.fence || first != self.db.log.len() as u64 {
            self.met("fenced");
            self.kill_server(at);
            return Err(No::Fenced);
        }
        let events: Vec<Event> =
            (first..).zip(data).map(|(seq, data)| Event { v: event::VERSION, seq, at: stamp, actor: actor.to_owned(), data }).collect();
        self.writer = at;
        for event in &events {
            self.append(event);
        }
        if dies == Some(Dies::After) {
            self.kill_server(at);
            return Err(No::Down);
        }
        let late = self.db.late;
        let Some(server) = self.servers.get_mut(at) else { return Err(No::Down) };
        events.iter().for_each(|event| server.state.fold(event));
        if late.0 > now {
            server.waits_until = now + late.1;
        }
        let wait = server.waits_until.saturating_sub(now) + 250;
        self.wake(at, wait);
        Ok(true)
    }

    fn append(&mut self, event: &Event) {
        self.before_append(event);
        let before = self.phases(event);
        self.db.state.fold(event);
        self.db.log.push(event.clone());
        before.into_iter().for_each(|before| self.judge(before, event));
        self.after_append(event);
        self.stats.events += 1;
    }

    /// Makes directives out of orders, "stores" and records them.
    pub fn issue(
        &mut self,
        state: &State,
        now: Timestamp,
        rollout: Option<RolloutId>,
        orders: Vec<(HostId, Order)>,
    ) -> Result<Vec<Data>, No> {
        let directives = dispatch::directives(state, now, orders, || {
            let (ms, random) = self.fresh();
            Ok::<_, No>(DirectiveId::new(ms, random))
        })?;
        let recorded = directives.into_iter().map(|directive| {
            let blob = self.name();
            let data = dispatch::recorded(&directive, blob, rollout);
            self.db.directives.insert(blob, Rc::new(directive));
            data
        });
        Ok(recorded.collect())
    }

    /// One round: lost hosts, then every running rollout.
    pub fn round(&mut self, at: usize) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(at).filter(|server| server.up && server.waits_until <= now) else { return };
        if server.fault(now).is_some() {
            self.met("clock fault");
            return;
        }
        self.listen(at);
        let _ = self.lose(at);
        let Some(server) = self.servers.get(at) else { return };
        let running = |id: &&RolloutId| server.state.rollouts.get(*id).is_some_and(|rollout| rollout.ended.is_none());
        let running: Vec<RolloutId> = server.state.active.iter().filter(running).copied().collect();
        for rollout in running {
            for _ in 0..STEPS_MAX {
                self.stats.steps += 1;
                if self.advance(at, rollout) != Ok(true) {
                    break;
                }
            }
        }
    }

    fn lose(&mut self, at: usize) -> Result<bool, No> {
        let Some(server) = self.servers.get(at) else { return Err(No::Down) };
        let (clock, started) = (server.clock(self.now), server.started.0);
        let last = |host: &HostId| (*host, server.heard.get(host).copied().unwrap_or(started).max(started));
        let late = dispatch::late(&server.state, server.state.hosts.keys().map(last), clock);
        if late.is_empty() {
            return Ok(false);
        }
        self.commit(at, "server", |_, _, _| Ok::<_, No>(late.into_iter().map(|host| Data::HostLost { host }).collect()))
    }

    fn advance(&mut self, at: usize, id: RolloutId) -> Result<bool, No> {
        self.commit(at, "server", |state, now, world| {
            let Some(rollout) = state.rollouts.get(&id) else { return Ok(Vec::new()) };
            let actions = rollout.step(&state.around(rollout), now);
            let actions = admission::admit(&world.policy, state, rollout, actions, now).actions;
            if actions.is_empty() {
                return Ok(Vec::new());
            }
            let (mut events, mut orders) = dispatch::carry_out(state, rollout, actions, || {
                let (ms, random) = world.fresh();
                Ok::<_, No>(TransactionId::new(ms, random))
            })?;
            world.confuse(state, &mut orders);
            events.extend(world.issue(state, now, Some(id), orders)?);
            Ok::<_, No>(events)
        })
    }

    /// Takes a check-in as `take_check_in` of the server does.
    pub fn take_check_in(&mut self, at: usize, host: HostId, check_in: &CheckIn) -> Result<(CheckInAnswer, Vec<Rc<Directive>>), No> {
        let now = self.now;
        let Some(server) = self.servers.get(at).filter(|server| server.up && server.waits_until <= now) else { return Err(No::Down) };
        let clock = server.clock(now);
        dispatch::same_time(check_in.clock, clock).map_err(|_| No::Refused("clock".to_owned()))?;
        let known = server.state.hosts.get(&host);
        let packages = (known.is_some_and(|known| known.inventory != Some(check_in.inventory))).then_some(1);
        self.commit(at, "host", |state, _, _| decide::check_in(state, host, check_in, packages))?;
        let faulty = self.servers.get(at).is_none_or(|server| server.fault(now).is_some());
        if !faulty {
            self.commit(at, "server", |state, now, world| world.renew(state, host, check_in.seen, now))?;
        }
        let Some(server) = self.servers.get_mut(at) else { return Err(No::Down) };
        server.heard.insert(host, clock);
        let state = &server.state;
        let due = if faulty { Vec::new() } else { dispatch::due(state, &self.policy, host, check_in.seen, clock) };
        let applies = due.iter().any(|issued| issued.order == "apply");
        let directives = due.iter().filter_map(|issued| self.db.directives.get(&issued.blob)).cloned().collect();
        let answer = CheckInAnswer {
            acknowledged: state.hosts.get(&host).map_or(0, |known| known.acknowledged),
            directives: Vec::new(),
            next_check_in_s: dispatch::next_check_in_s(state, host, clock),
            wants_inventory: false,
            checkpoint: None,
            consistency: Vec::new(),
            stopped: state.stopped.is_some(),
            epoch: None,
        };
        if applies && self.is_frozen(clock) {
            self.violated("a freeze holds", || format!("{host} is handed a transaction in it"));
        }
        Ok((answer, directives))
    }

    fn renew(&mut self, state: &State, host: HostId, seen: u64, now: Timestamp) -> Result<Vec<Data>, No> {
        let mut events = Vec::new();
        for lapsed in dispatch::lapsed(state, &self.policy, host, seen, now) {
            match lapsed {
                Lapsed::Renew(rollout, last) => {
                    let order = self.db.directives.get(&last.blob).map(|old| (host, old.order.clone()));
                    events.extend(self.issue(state, now, Some(rollout), order.into_iter().collect())?);
                    self.met("renewed");
                }
                Lapsed::Withdraw(rollout, txn) => {
                    events.push(Data::HostWithdrawn { rollout, host, txn });
                    self.met("withdrawn");
                }
            }
        }
        Ok(events)
    }
}
