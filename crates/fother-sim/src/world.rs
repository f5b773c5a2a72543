//! A world: hosts, servers, a database, a network, people, and one queue of what happens next, all out of one seed.

use crate::{
    draw::Draw,
    faults::Fault,
    host::{self, Host, Sight, Signed, Worked},
    oracle::Oracle,
    people::Proposal,
    server::{Database, Server},
    setting::{BEGIN, Setting},
    timeline::Timeline,
};
use fother_core::{
    Digest, Timestamp,
    approval::{Limits, NoApproval, Person, Signer, Statement, Trust},
    directive::{Directive, Order, admit},
    event::Data,
    id::{HostId, TokenId},
    inventory::Labels,
    plan::{Cohort, Plan},
    policy::Policy,
    protocol::{CheckIn, CheckInAnswer, OUTCOMES_MAX, VERSION},
    rollout::Rollout,
    state::State,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    rc::Rc,
};

/// Most happenings of one world: a bound, not a wish.
const HAPPENINGS_MAX: u64 = 2_000_000;
/// How long a request may take before its host tries again, in milliseconds.
const TIMEOUT_MS: u64 = 30_000;
/// How long a healed world may take to come to an end, in milliseconds, beside the time that its hosts take one after the other.
const END_WAIT_MS: u64 = 4 * 3_600_000;

/// A plan with its cohorts.
pub type Made = (Plan, BTreeMap<Digest, Cohort>);

/// What a plan does to its hosts.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub number: u64,
    /// What each host must have installed.
    pub bases: BTreeMap<HostId, u64>,
    /// The soak in seconds.
    pub soak_s: u32,
}

impl Change {
    /// What is installed after it.
    #[must_use]
    pub fn after(&self, before: u64) -> u64 {
        (before ^ self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) | 2
    }
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A fault of the list, by its number.
    Fault(usize),
    /// What a fault changed is as before.
    Heal(usize),
    /// A server works on its rollouts.
    Round(usize),
    /// A host checks in.
    CheckIn(usize),
    /// A check-in arrives: at which server, from which host, under which number.
    Arrives(usize, usize, u64, Rc<CheckIn>),
    /// Its answer arrives.
    Answer(usize, u64, Rc<(CheckInAnswer, Vec<Rc<Directive>>)>),
    /// A directive arrives once more.
    Replay(usize, Rc<Directive>),
    /// A host's worker goes on.
    Work(usize),
    /// An agent starts.
    AgentStarts(usize),
    /// A server starts.
    ServerStarts(usize),
    /// A person goes on with a proposal.
    Person(usize),
    /// People look after what is blocked.
    Caretaker,
    /// All faults are over.
    HealAll,
}

/// What is wrong with an order that a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confusion {
    /// It carries another change's statement and approvals.
    OtherStatement,
    /// It carries no approvals.
    NoApprovals,
}

/// Numbers of a run.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Things that happened.
    pub happenings: u64,
    /// Calls of `step`.
    pub steps: u64,
    /// Events in the log.
    pub events: u64,
    /// What was met, how often.
    pub met: BTreeMap<&'static str, u64>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: &'static str,
    /// What happened.
    pub what: String,
    /// When, in milliseconds from the start.
    pub at: u64,
}

/// The world.
pub struct World {
    /// Out of which it was made.
    pub seed: u64,
    /// What it was before anything went wrong.
    pub setting: Setting,
    /// True time in milliseconds.
    pub now: u64,
    /// Randomness of everything but faults and setting.
    pub draw: Draw,
    /// The database.
    pub db: Database,
    /// Servers; the second exists once it took over.
    pub servers: Vec<Server>,
    /// Hosts.
    pub hosts: Vec<Host>,
    pub(crate) places: BTreeMap<HostId, usize>,
    /// Plans with their cohorts.
    pub plans: BTreeMap<Digest, Rc<Made>>,
    /// Changes by cohort.
    pub changes: BTreeMap<Digest, Rc<Change>>,
    /// Statements.
    pub statements: BTreeMap<Digest, Rc<Statement>>,
    /// Every host's trust file.
    pub trust: Trust,
    /// The policy in force: its freezes are what counts here.
    pub policy: Policy,
    /// What people want.
    pub proposals: Vec<Proposal>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The network is bad until then.
    pub bad_until: u64,
    /// The next order carries another change's statement, or lacks its approvals.
    pub confused: Option<Confusion>,
    /// The server that writes.
    pub(crate) writer: usize,
    /// The clocks of hosts or servers were wrong at some time.
    pub clocks_moved: bool,
    pub(crate) oracle: Oracle,
    /// For people.
    pub timeline: Timeline,
    /// Numbers.
    pub stats: Stats,
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// All faults are over.
    pub healed: bool,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    count: u64,
    rounds: Vec<Option<u64>>,
    names: u64,
}

impl World {
    /// A world of this seed, with these faults.
    #[must_use]
    pub fn new(seed: u64, setting: Setting, faults: Vec<Fault>, told: bool) -> Self {
        let person = |name: &str| Person { name: name.to_owned(), keys: Vec::new() };
        let trust = Trust {
            required: setting.approvals,
            approvers: ["ann", "bob", "eve"].map(person).to_vec(),
            authors: Vec::new(),
            limits: Limits { origins: BTreeSet::new(), removals: false, downgrades: false },
            standing: None,
        };
        let mut world = Self {
            seed,
            now: BEGIN,
            draw: Draw::new(seed, 3),
            db: Database::default(),
            servers: Vec::new(),
            hosts: Vec::new(),
            places: BTreeMap::new(),
            plans: BTreeMap::new(),
            changes: BTreeMap::new(),
            statements: BTreeMap::new(),
            trust,
            policy: Policy::default(),
            proposals: Vec::new(),
            bad_until: 0,
            confused: None,
            writer: 0,
            clocks_moved: false,
            oracle: Oracle::default(),
            timeline: Timeline::new(told),
            stats: Stats::default(),
            violation: None,
            healed: false,
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            rounds: Vec::new(),
            names: 0,
            setting,
            faults,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.add_server();
        for at in 0..self.setting.zones.len() {
            let other = at + self.setting.others >= self.setting.zones.len();
            let zone = self.setting.zones.get(at).copied().unwrap_or(0);
            self.add_host(zone, other);
        }
        for (number, fault) in self.faults.clone().iter().enumerate() {
            self.schedule(BEGIN + fault.at, Event::Fault(number));
        }
        self.schedule(BEGIN + self.setting.busy_ms, Event::HealAll);
        let select = self.group().to_owned();
        self.propose(&select, false, false, 1_000);
        if self.setting.again {
            self.propose(&select, false, false, self.setting.busy_ms / 2);
        }
    }

    /// Selector of the group that is patched.
    #[must_use]
    pub fn group(&self) -> &'static str {
        if self.setting.others > 0 { "role == \"web\"" } else { "true" }
    }

    pub(crate) fn add_server(&mut self) {
        let at = self.servers.len();
        self.servers.push(Server {
            up: false,
            state: State::default(),
            fence: 0,
            skew: 0,
            started: (Timestamp(0), 0),
            heard: BTreeMap::new(),
            dies: None,
            waits_until: 0,
        });
        self.rounds.push(None);
        self.start_server(at);
        let started = Data::ServerStarted { version: "sim".to_owned(), policy: Digest([7; 32]) };
        let _ = self.commit(at, "server", |_, _, _| Ok::<_, crate::server::No>(vec![started]));
    }

    pub(crate) fn add_host(&mut self, zone: u8, other: bool) {
        let (ms, random) = self.fresh();
        let (id, at, content) = (HostId::new(ms, random), self.hosts.len(), self.draw.bits() | 2);
        let zone = format!("z{zone}");
        let role = if other { "other" } else { "web" };
        let labels = Labels::from([("zone".to_owned(), zone.clone()), ("role".to_owned(), role.to_owned())]);
        let enrolled = Data::HostEnrolled {
            host: id,
            token: TokenId::new(ms, random),
            hostname: format!("h{at}"),
            labels,
            certificate: Digest([1; 32]),
            cosigner: String::new(),
            observe: false,
        };
        let leader = self.leader();
        if self.commit(leader, "host", |_, _, _| Ok::<_, crate::server::No>(vec![enrolled])).is_ok() {
            self.hosts.push(Host::new(id, zone, content));
            self.places.insert(id, at);
            self.beat(at, 500);
        }
    }

    /// Whether a freeze is on.
    pub(crate) fn is_frozen(&self, at: Timestamp) -> bool {
        self.policy.freeze.values().any(|freeze| freeze.from <= Some(at) && Some(at) < freeze.to)
    }

    /// The server that people and hosts find; the newest that runs.
    #[must_use]
    pub fn leader(&self) -> usize {
        self.servers.iter().rposition(|server| server.up).unwrap_or(0)
    }

    /// The time and ten random bytes, for an id.
    pub fn fresh(&mut self) -> (u64, [u8; 10]) {
        let mut bytes = [0; 10];
        // Version and variant take bits of the first and third; ids of one millisecond stay in the order in which they were made.
        bytes[3..].copy_from_slice(&self.number().to_be_bytes()[1..]);
        (self.now, bytes)
    }

    /// A number that was not given before.
    pub fn number(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// A digest that was not given before.
    pub fn name(&mut self) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.number().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Digest(bytes)
    }

    /// Counts something that was met.
    pub fn met(&mut self, what: &'static str) {
        *self.stats.met.entry(what).or_insert(0) += 1;
    }

    /// A promise was broken; the first is kept.
    pub fn violated(&mut self, promise: &'static str, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let (at, what) = (self.now - BEGIN, what());
            self.timeline.add(at, || format!("BROKEN: {promise}: {what}"));
            self.violation = Some(Violation { promise, what, at });
        }
    }

    /// Something happens so many milliseconds from now.
    pub fn after(&mut self, ms: u64, event: Event) {
        self.schedule(self.now + ms, event);
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.count += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(event);
        }
        self.queue.push(Reverse((at, self.count, slot)));
    }

    /// A round of a server, at the latest so many milliseconds from now.
    pub fn wake(&mut self, at: usize, ms: u64) {
        let when = self.now + ms;
        if let Some(planned) = self.rounds.get_mut(at)
            && planned.is_none_or(|planned| planned > when)
        {
            *planned = Some(when);
            self.schedule(when, Event::Round(at));
        }
    }

    /// A check-in of a host, at the latest so many milliseconds from now.
    pub fn beat(&mut self, at: usize, ms: u64) {
        let when = self.now + ms;
        if let Some(host) = self.hosts.get_mut(at)
            && host.beat.is_none_or(|planned| planned > when)
        {
            host.beat = Some(when);
            self.schedule(when, Event::CheckIn(at));
        }
    }

    pub(crate) fn turn(&mut self, at: usize, when: u64) {
        if let Some(host) = self.hosts.get_mut(at)
            && host.turn.is_none_or(|planned| planned > when || planned <= self.now)
        {
            host.turn = Some(when);
            self.schedule(when, Event::Work(at));
        }
    }

    /// Runs until everything has ended, a promise is broken, or it takes too long.
    pub fn run(&mut self) {
        let each = u64::from(self.setting.strategy.soak_s) * 1_000 + self.setting.apply_ms.1 + 120_000;
        let last = BEGIN + self.setting.busy_ms + END_WAIT_MS + 3 * each * self.setting.zones.len() as u64;
        while let Some(Reverse((at, _, slot))) = self.queue.pop() {
            let Some(event) = self.slots.get_mut(slot).and_then(Option::take) else { continue };
            self.free.push(slot);
            self.now = self.now.max(at);
            self.stats.happenings += 1;
            self.happen(event);
            if self.stats.happenings > HAPPENINGS_MAX {
                self.violated("no storm", || format!("more than {HAPPENINGS_MAX} happenings"));
            }
            if self.violation.is_some() {
                break;
            }
            if self.healed && self.is_over() {
                self.finish();
                return;
            }
            if self.now > last {
                let running: Vec<String> = self.running();
                self.violated("every rollout ends", || running.join("; "));
                break;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.proposals.iter().all(|proposal| proposal.stage == crate::people::Stage::Done)
            && self.db.state.rollouts.values().all(|rollout| rollout.ended.is_some() && !self.works_somewhere(rollout))
            && self.hosts.iter().all(|host| self.has_left(host) || (host.queue.jobs.is_empty() && host.queue.reports.is_empty()))
    }

    fn works_somewhere(&self, rollout: &Rollout) -> bool {
        let reachable = |id: &HostId| self.places.get(id).and_then(|at| self.hosts.get(*at)).is_some_and(|host| !self.has_left(host));
        rollout.hosts().iter().any(|(host, phase)| phase.is_working() && reachable(host))
    }

    /// Whether nothing more is expected of a host.
    pub(crate) fn has_left(&self, host: &Host) -> bool {
        host.trouble.gone || self.db.state.hosts.get(&host.id).is_none_or(|known| known.retired)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fault(number) => self.strike(number),
            Event::Heal(number) => self.heal(number),
            Event::Round(at) => {
                let Some(planned) = self.rounds.get_mut(at).filter(|planned| planned.is_some_and(|planned| planned <= self.now)) else {
                    return;
                };
                *planned = None;
                self.round(at);
                self.look();
                if self.servers.get(at).is_some_and(|server| server.up) {
                    let pause = self.pause();
                    self.wake(at, pause);
                }
            }
            Event::CheckIn(at) if self.hosts.get(at).is_some_and(|host| host.beat.is_some_and(|planned| planned <= self.now)) => {
                self.check_in(at)
            }
            Event::Work(at) if self.hosts.get(at).is_some_and(|host| host.turn.is_some_and(|planned| planned <= self.now)) => {
                if let Some(host) = self.hosts.get_mut(at) {
                    host.turn = None;
                }
                self.work(at);
            }
            // Planned anew since.
            Event::CheckIn(_) | Event::Work(_) => {}
            Event::Arrives(server, host, number, check_in) => self.arrives(server, host, number, &check_in),
            Event::Answer(host, number, answer) => self.answer(host, number, &answer),
            Event::Replay(host, directive) => {
                self.take(host, &directive);
                self.work(host);
            }
            Event::AgentStarts(at) => self.agent_starts(at),
            Event::ServerStarts(at) if self.servers.get(at).is_some_and(|server| !server.up) => self.start_server(at),
            Event::ServerStarts(_) => {}
            Event::Person(at) => self.person(at),
            Event::Caretaker => {
                self.caretaker();
                self.after(10 * 60_000, Event::Caretaker);
            }
            Event::HealAll => self.heal_all(),
        }
    }

    /// How long a server that nothing wakes waits: the true one looks more often, and sees the same.
    fn pause(&self) -> u64 {
        let working =
            self.db.state.active.iter().filter_map(|id| self.db.state.rollouts.get(id)).any(|rollout| rollout.out().next().is_some());
        if working || !self.healed && self.hosts.iter().any(|host| !host.is_online(self.now)) { 40_000 } else { 240_000 }
    }

    fn send(&mut self, host: usize, event: Event) {
        let bad = self.bad_until > self.now;
        let cut = self.hosts.get(host).is_none_or(|host| !host.is_online(self.now));
        if cut || (bad && self.draw.percent(self.setting.loss_percent)) {
            self.met("lost message");
            return;
        }
        let delay = if bad { self.draw.within(5, 25_000) } else { self.draw.within(1, 50) };
        if bad && self.draw.percent(20) && matches!(event, Event::Arrives(..)) {
            self.met("doubled message");
            let again = delay + self.draw.below(20_000);
            self.after(again, event.clone());
        }
        self.after(delay, event);
    }

    fn check_in(&mut self, at: usize) {
        let (now, server) = (self.now, self.leader());
        // While two servers believe that they lead, hosts find the one or the other.
        let server = if self.draw.percent(30) { self.servers.iter().position(|server| server.up).unwrap_or(server) } else { server };
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.beat = None;
        if !host.up || host.trouble.gone {
            return;
        }
        host.asked += 1;
        let base = Host::base_of(host.content);
        let check_in = CheckIn {
            version: VERSION,
            session: None,
            inventory: base,
            base,
            reports: host.queue.reports.iter().take(OUTCOMES_MAX).cloned().collect(),
            seen: host.queue.seen,
            epoch: host.queue.epoch,
            oldest: Some(host.queue.oldest()),
            checkpoint: None,
            clock: host.clock(now),
            observe: false,
        };
        let number = host.asked;
        self.send(at, Event::Arrives(server, at, number, Rc::new(check_in)));
        self.beat(at, TIMEOUT_MS);
    }

    fn arrives(&mut self, server: usize, at: usize, number: u64, check_in: &CheckIn) {
        let Some(id) = self.hosts.get(at).map(|host| host.id) else { return };
        match self.take_check_in(server, id, check_in) {
            Ok(answer) => self.send(at, Event::Answer(at, number, Rc::new(answer))),
            Err(crate::server::No::Refused(why)) if why == "clock" => self.met("clock refused"),
            Err(_) => {}
        }
    }

    fn answer(&mut self, at: usize, number: u64, answer: &(CheckInAnswer, Vec<Rc<Directive>>)) {
        let (now, bad, beat) = (self.now, self.bad_until > self.now, self.setting.beat_s * 1_000);
        let Some(host) = self.hosts.get_mut(at).filter(|host| host.asked == number && host.up) else { return };
        host.beat = None;
        if host.trouble.full_until <= now {
            let acknowledged = answer.0.acknowledged;
            host.queue.acknowledge(acknowledged);
            host.queue.halted = answer.0.stopped;
        }
        for directive in &answer.1 {
            self.take(at, directive);
            if bad && self.draw.percent(20) {
                let later = self.draw.below(60_000);
                self.after(later, Event::Replay(at, Rc::clone(directive)));
            }
        }
        self.work(at);
        let Some(host) = self.hosts.get(at) else { return };
        let open = self.db.state.hosts.get(&host.id).map(|known| &known.open).into_iter().flatten();
        let pending = open.filter_map(|id| self.db.state.directives.get(id)).any(|issued| issued.sequence > host.queue.seen);
        if !host.queue.reports.is_empty() {
            self.beat(at, 1_000);
        } else if pending {
            // Whoever waits for nothing checks in all the same, and nothing comes of it: see `listen`.
            self.beat(at, beat);
        }
    }

    fn take(&mut self, at: usize, directive: &Directive) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(at).filter(|host| host.up) else { return };
        let answer = admit(directive, host.id, host.queue.seen, host.clock(now));
        let mut told = Vec::new();
        host.take(directive, answer, now, &mut told);
        self.heard(at, told);
        self.revive(at);
    }

    pub(crate) fn work(&mut self, at: usize) {
        let now = self.now;
        let apply_ms = host::apply_ms(&mut self.draw, self.setting.apply_ms);
        let Some(place) = self.hosts.get_mut(at).filter(|host| host.up && !host.trouble.gone && !host.queue.jobs.is_empty()) else {
            return;
        };
        let mut host = std::mem::replace(place, Host::new(HostId(0), String::new(), 0));
        let reports = host.queue.last_report;
        let mut told = Vec::new();
        let worked = host.work(now, Sight { trust: &self.trust, signed: &*self }, apply_ms, &mut told);
        let news = host.queue.last_report != reports;
        if let Some(place) = self.hosts.get_mut(at) {
            *place = host;
        }
        self.heard(at, told);
        match worked {
            Worked::Idle => {}
            Worked::At(when) => self.turn(at, when),
            Worked::Died => self.revive(at),
        }
        if news {
            let soon = self.draw.within(50, 1_500);
            self.beat(at, soon);
        }
    }

    /// An agent that died is started again by its host.
    pub(crate) fn revive(&mut self, at: usize) {
        if self.hosts.get(at).is_some_and(|host| !host.up) {
            self.met("agent died");
            let wait = self.draw.within(1_000, 90_000);
            self.after(wait, Event::AgentStarts(at));
        }
    }

    fn agent_starts(&mut self, at: usize) {
        let Some(host) = self.hosts.get_mut(at).filter(|host| !host.up) else { return };
        host.up = true;
        if host.trouble.boot_loop > 0 {
            host.trouble.boot_loop -= 1;
            host.crash();
            self.revive(at);
            return;
        }
        host.beat = None;
        host.turn = None;
        self.beat(at, 500);
        self.work(at);
    }
}

impl Signed for World {
    fn statement(&self, digest: &Digest) -> Option<Rc<Statement>> {
        self.statements.get(digest).cloned()
    }
    fn change(&self, cohort: &Digest) -> Option<Rc<Change>> {
        self.changes.get(cohort).cloned()
    }
    fn rehearsal(&self, cohort: &Digest) -> Digest {
        let mut bytes = cohort.0;
        bytes[31] = 1;
        Digest(bytes)
    }
    fn signer(&self, signature: &str, statement: &Digest) -> Result<Signer, NoApproval> {
        self.checked(signature, statement)
    }
}

impl World {
    /// Whose signature it is, if it is over the statement of this digest.
    pub(crate) fn checked(&self, signature: &str, statement: &Digest) -> Result<Signer, NoApproval> {
        match signature.split_once(' ') {
            Some((person, digest)) if digest == statement.to_string() => {
                Ok(Signer { person: person.to_owned(), key: format!("key-{person}") })
            }
            _ => Err(NoApproval::Signature("it does not fit this statement".to_owned())),
        }
    }

    /// Where a fault wants it, orders carry the statement of another change, or lack approvals.
    pub(crate) fn confuse(&mut self, state: &State, orders: &mut [(HostId, Order)]) {
        for (_, order) in orders {
            let Order::Apply { statement, approvals, author, .. } = order else { continue };
            match self.confused {
                None => return,
                Some(Confusion::NoApprovals) => approvals.clear(),
                Some(Confusion::OtherStatement) => {
                    let other = |change: &&fother_core::change::Change| change.statement != *statement && !change.approvals.is_empty();
                    let Some(other) = state.changes.values().find(other) else { continue };
                    *statement = other.statement;
                    *approvals = other.approvals.values().cloned().collect();
                    author.clone_from(&other.author_signature);
                }
            }
            self.confused = None;
            self.met("order confused");
        }
    }
}
