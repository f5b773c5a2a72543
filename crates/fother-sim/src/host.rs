//! One simulated host: what survives a crash, what does not, and the driver of the core's agent machines.

use crate::{draw::Draw, world::Change};
use fother_core::{
    Digest, Timestamp,
    agent::{
        queue::State as Queue,
        transaction::{self, Begin, Hands, Hook, Machine, Next, Progress, Step, Undone},
    },
    approval::{Refused as NotApproved, Signer, Trust},
    directive::{Directive, Order, Refused},
    id::{DirectiveId, HostId, TransactionId},
    policy::CheckAnswer,
    protocol::Outcome,
    rehearsal::Verdict,
};
use std::{collections::BTreeMap, rc::Rc, time::Duration};

/// A transaction as it lies on disk.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its journal.
    pub steps: Vec<Step>,
    /// What it does.
    pub change: Rc<Change>,
    /// What was there before.
    pub before: u64,
    /// Its unit, which outlives the agent.
    pub unit: Option<Unit>,
    /// Times that it was started.
    pub started: u32,
}

/// A transaction's own unit.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    ends: u64,
    took_ms: u64,
}

/// What is wrong with a host for now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// The disk is full until then.
    pub full_until: u64,
    /// It is cut off until then.
    pub cut_until: u64,
    /// Checks fail until then.
    pub failing_until: u64,
    /// Checks give no answer until then.
    pub mute_until: u64,
    /// Undos fail until then.
    pub undo_fails_until: u64,
    /// Undos leave a difference until then.
    pub inexact_until: u64,
    /// It cannot be taken out of service until then.
    pub drain_fails_until: u64,
    /// What it needs arrives only then.
    pub fetching_until: u64,
    /// The next transaction takes so much longer, in milliseconds.
    pub hangs: u64,
    /// Writes until the agent dies, and whether that one is still done.
    pub dies_at: Option<(u32, bool)>,
    /// The agent dies at its next starts.
    pub boot_loop: u32,
    /// It is gone for good.
    pub gone: bool,
}

/// Something that the world must know.
#[expect(missing_docs, reason = "each variant says it")]
#[derive(Clone, Debug)]
pub enum Told {
    /// A transaction began.
    Began { txn: TransactionId, directive: DirectiveId, change: Rc<Change>, people: usize, halted: bool, again: bool },
    /// A transaction was put back, exactly or not as it says, and whether that is true.
    PutBack { txn: TransactionId, says_exact: bool, is_exact: bool },
    /// A unit was started, for the so-manieth time.
    Started { txn: TransactionId, times: u32 },
    /// A transaction ended.
    Ended { txn: TransactionId, outcome: Outcome },
    /// A transaction soaked so long, in milliseconds.
    Soaked { txn: TransactionId, ms: u64, wanted_ms: u64 },
    /// Verified although a check gave no answer.
    BlindlyVerified { txn: TransactionId },
    /// Accepted, and whether it had been accepted before.
    Accepted { directive: DirectiveId, again: bool },
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its zone.
    pub zone: String,
    /// What is installed, as one number.
    pub content: u64,
    /// Durable.
    pub queue: Queue,
    /// Durable.
    pub kept: BTreeMap<TransactionId, Kept>,
    /// Directives that were accepted once.
    pub accepted: BTreeMap<DirectiveId, u32>,
    /// Whether it serves.
    pub in_service: bool,
    /// Milliseconds that its clock is ahead.
    pub skew: i64,
    /// What is wrong.
    pub trouble: Trouble,
    /// Whether the agent runs.
    pub up: bool,
    /// Changes that broke it.
    pub broken_by: Vec<u64>,
    /// When its next check-in is due, if one is planned.
    pub beat: Option<u64>,
    /// When its worker is to go on, if that is planned.
    pub turn: Option<u64>,
    /// The request that it waits for.
    pub asked: u64,
    machine: Option<(DirectiveId, TransactionId, Machine)>,
    soaking_since: Option<u64>,
}

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worked {
    /// Nothing to do.
    Idle,
    /// Go on at this time.
    At(u64),
    /// The agent died.
    Died,
}

struct Body<'a> {
    kept: &'a mut Kept,
    txn: TransactionId,
    content: &'a mut u64,
    in_service: &'a mut bool,
    trouble: &'a mut Trouble,
    broken_by: &'a [u64],
    now: u64,
    apply_ms: u64,
    told: &'a mut Vec<Told>,
}

impl Hands for Body<'_> {
    fn checks(&mut self, _: Option<&[(String, CheckAnswer)]>) -> Vec<(String, CheckAnswer)> {
        let mute = self.trouble.mute_until > self.now;
        let broken = self.trouble.failing_until > self.now || self.broken_by.contains(self.content);
        let answer = match (mute, broken) {
            (true, _) => CheckAnswer::NoData { why: "no answer".to_owned() },
            (false, true) => CheckAnswer::Failed { why: "503".to_owned() },
            (false, false) => CheckAnswer::Fine,
        };
        vec![("http".to_owned(), answer)]
    }
    fn hook(&mut self, hook: Hook) -> Result<(), String> {
        if hook == Hook::Drain && self.trouble.drain_fails_until > self.now {
            return Err("the balancer does not answer".to_owned());
        }
        *self.in_service = hook == Hook::Undrain;
        Ok(())
    }
    fn start(&mut self) -> Result<(), String> {
        self.kept.started += 1;
        self.told.push(Told::Started { txn: self.txn, times: self.kept.started });
        let took_ms = self.apply_ms + std::mem::take(&mut self.trouble.hangs);
        self.kept.unit = Some(Unit { ends: self.now + took_ms, took_ms });
        Ok(())
    }
    fn progress(&mut self) -> Result<Progress, String> {
        let Some(unit) = self.kept.unit else { return Ok(Progress::NotStarted) };
        if self.now < unit.ends {
            return Ok(Progress::Running);
        }
        *self.content = self.kept.change.after(self.kept.before);
        Ok(Progress::After(unit.took_ms))
    }
    fn restarted(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn undo(&mut self) -> Result<Undone, String> {
        if self.trouble.undo_fails_until > self.now {
            return Err("a file is in the way".to_owned());
        }
        let inexact = self.trouble.inexact_until > self.now;
        *self.content = if inexact { self.kept.before ^ 1 } else { self.kept.before };
        let differences = if inexact { vec!["/etc/conf: content".to_owned()] } else { Vec::new() };
        Ok(Undone { paths_compared: 9, differences })
    }
    fn remarks(&mut self) -> Vec<String> {
        Vec::new()
    }
}

impl Host {
    /// A host that just joined.
    #[must_use]
    pub fn new(id: HostId, zone: String, content: u64) -> Self {
        Self {
            id,
            zone,
            content,
            queue: Queue::default(),
            kept: BTreeMap::new(),
            accepted: BTreeMap::new(),
            in_service: true,
            skew: 0,
            trouble: Trouble::default(),
            up: true,
            broken_by: Vec::new(),
            beat: None,
            turn: None,
            asked: 0,
            machine: None,
            soaking_since: None,
        }
    }

    /// What the base of a host with this content is called.
    #[must_use]
    pub fn base_of(content: u64) -> Digest {
        let mut bytes = [0x42; 32];
        bytes[..8].copy_from_slice(&content.to_be_bytes());
        Digest(bytes)
    }

    /// Its own clock.
    #[must_use]
    pub fn clock(&self, now: u64) -> Timestamp {
        Timestamp(now.saturating_add_signed(self.skew))
    }

    /// Whether it can be reached.
    #[must_use]
    pub fn is_online(&self, now: u64) -> bool {
        self.up && !self.trouble.gone && self.trouble.cut_until <= now
    }

    /// The agent dies; what is on disk stays, and so does a unit that runs.
    pub fn crash(&mut self) {
        (self.up, self.machine, self.asked) = (false, None, 0);
    }

    /// One durable write: false where the disk is full; nothing where the agent dies of it.
    fn write(&mut self, now: u64, change: impl FnOnce(&mut Self)) -> Option<bool> {
        if self.trouble.full_until > now {
            return Some(false);
        }
        match &mut self.trouble.dies_at {
            Some((0, done)) => {
                let done = *done;
                self.trouble.dies_at = None;
                if done {
                    change(self);
                }
                self.crash();
                return None;
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        change(self);
        Some(true)
    }

    /// Takes a directive as the network half hands it over; the signature was checked by whoever calls.
    pub fn take(&mut self, directive: &Directive, answer: Result<(), Refused>, now: u64, told: &mut Vec<Told>) {
        match answer.and_then(|()| self.queue.clone().accept(directive.clone())) {
            Ok(()) => {
                let mut again = false;
                let taken = self.write(now, |host| {
                    let _ = host.queue.accept(directive.clone());
                    let times = host.accepted.entry(directive.id).or_insert(0);
                    *times += 1;
                    again = *times > 1;
                });
                if taken == Some(true) || again {
                    told.push(Told::Accepted { directive: directive.id, again });
                }
            }
            Err(why) => {
                let id = directive.id;
                let _ = self.write(now, |host| host.queue.report(Some(id), Outcome::Refused { why }));
            }
        }
    }

    /// Works until it must wait.
    pub fn work(&mut self, now: u64, sight: Sight<'_>, apply_ms: u64, told: &mut Vec<Told>) -> Worked {
        const ROUNDS_MAX: u32 = 200;
        const DISK_WAIT: u64 = 20_000;
        for _ in 0..ROUNDS_MAX {
            if !self.up {
                return Worked::Died;
            }
            let Some(job) = self.queue.jobs.first().cloned() else { return Worked::Idle };
            let done = match self.machine.take() {
                Some((id, txn, machine)) if id == job.directive.id => self.drive(id, txn, machine, now, apply_ms, told),
                _ => self.begin(&job.directive, job.begun, now, sight, told),
            };
            match done {
                Done::Outcome(outcome) => {
                    let txn = match &job.directive.order {
                        Order::Apply { txn, .. } | Order::Undo { txn, .. } => Some(*txn),
                        Order::Resolve { .. } | Order::Rehearse { .. } => None,
                    };
                    let finished = self.write(now, |host| host.queue.finish(outcome.clone()));
                    // It may die of the write that ends the job.
                    if self.queue.jobs.first().is_none_or(|first| first.directive.id != job.directive.id) {
                        told.extend(txn.map(|txn| Told::Ended { txn, outcome }));
                    }
                    match finished {
                        Some(true) => {}
                        Some(false) => return Worked::At(now + DISK_WAIT),
                        None => return Worked::Died,
                    }
                }
                Done::Again => {}
                Done::At(at) => return Worked::At(at),
                Done::Full => return Worked::At(now + DISK_WAIT),
                Done::Died => return Worked::Died,
            }
        }
        Worked::At(now + 1_000)
    }

    fn begin(&mut self, directive: &Directive, begun: bool, now: u64, sight: Sight<'_>, told: &mut Vec<Told>) -> Done {
        let clock = self.clock(now);
        if !begun && let Err(why) = self.queue.may_begin(directive, clock) {
            return Done::Outcome(Outcome::Refused { why });
        }
        if !begun && matches!(directive.order, Order::Apply { .. }) && self.trouble.fetching_until > now {
            return Done::At(self.trouble.fetching_until);
        }
        match &directive.order {
            Order::Resolve { .. } => Done::Outcome(Outcome::Resolved { resolution: Digest([1; 32]), base: Self::base_of(self.content) }),
            Order::Rehearse { cohort, .. } => Done::Outcome(Outcome::Rehearsed {
                rehearsal: sight.signed.rehearsal(cohort),
                verdict: Verdict::Passes,
                failing: Vec::new(),
            }),
            Order::Apply { txn, .. } => self.begin_apply(directive, *txn, begun, now, sight, told),
            Order::Undo { txn, reason } => self.begin_undo(*txn, reason, directive.id, begun, now),
        }
    }

    fn begin_apply(
        &mut self,
        directive: &Directive,
        txn: TransactionId,
        begun: bool,
        now: u64,
        sight: Sight<'_>,
        told: &mut Vec<Told>,
    ) -> Done {
        let steps = self.kept.get(&txn).map(|kept| kept.steps.clone()).unwrap_or_default();
        match transaction::begin(&steps, txn, directive.id, begun) {
            Begin::Say(outcome) => return Done::Outcome(outcome),
            Begin::GoOn => {}
            Begin::New => {
                let verified = self.verify(&directive.order, self.clock(now), sight);
                let (change, people, undo_until) = match verified {
                    Ok(verified) => verified,
                    Err(outcome) => return Done::Outcome(outcome),
                };
                let began = self.write(now, |host| {
                    host.queue.begin();
                    host.queue.report_once("started", Outcome::Started { txn });
                });
                if began != Some(true) {
                    return if began.is_none() { Done::Died } else { Done::Full };
                }
                let (id, halted) = (directive.id, self.queue.halted);
                let again = !steps.is_empty();
                told.push(Told::Began { txn, directive: id, change: Rc::clone(&change), people, halted, again });
                let journaled = self.write(now, |host| {
                    let before = host.content;
                    let kept = host.kept.entry(txn).or_insert_with(|| Kept { steps: Vec::new(), change, before, unit: None, started: 0 });
                    kept.steps.push(Step::Accepted { directive: id, undo_until });
                });
                if journaled != Some(true) {
                    return if journaled.is_none() { Done::Died } else { Done::Full };
                }
            }
        }
        self.resume(directive.id, txn);
        Done::Again
    }

    fn begin_undo(&mut self, txn: TransactionId, reason: &str, id: DirectiveId, begun: bool, now: u64) -> Done {
        let steps = self.kept.get(&txn).map(|kept| kept.steps.clone()).unwrap_or_default();
        if let Err(outcome) = transaction::may_undo(&steps, txn, begun, self.clock(now)) {
            return Done::Outcome(outcome);
        }
        if !begun {
            match self.write(now, |host| host.queue.begin()) {
                Some(true) => {}
                Some(false) => return Done::Full,
                None => return Done::Died,
            }
        }
        if let Some(step) = transaction::turn_back(&steps, reason) {
            match self.write(now, |host| host.push(txn, step)) {
                Some(true) => {}
                Some(false) => return Done::Full,
                None => return Done::Died,
            }
        }
        self.resume(id, txn);
        Done::Again
    }

    fn push(&mut self, txn: TransactionId, step: Step) {
        if let Some(kept) = self.kept.get_mut(&txn) {
            kept.steps.push(step);
        }
    }

    fn resume(&mut self, id: DirectiveId, txn: TransactionId) {
        let Some(kept) = self.kept.get(&txn) else { return };
        self.machine = Some((id, txn, Machine::resume(txn, kept.change.soak_s, kept.steps.clone())));
    }

    /// What `fother-agent::verify` does with an apply order, without files.
    fn verify(&self, order: &Order, now: Timestamp, sight: Sight<'_>) -> Result<(Rc<Change>, usize, Timestamp), Outcome> {
        let Order::Apply { plan, cohort, rehearsal, statement, approvals, .. } = order else {
            return Err(Outcome::Replan { why: "not an apply order".to_owned() });
        };
        let not_approved = |why| Outcome::NotApproved { why };
        let unread = NotApproved::Statement { reason: "it did not arrive".to_owned() };
        let signed = sight.signed.statement(statement).ok_or(unread).map_err(not_approved)?;
        let answers = approvals.iter().map(|signature| {
            let signer: Signer = sight.signed.signer(signature, statement)?;
            sight.trust.counts(&signed, &signer).map(|()| signer)
        });
        let people = sight.trust.suffice(answers).map_err(not_approved)?;
        match signed.covers(*plan, *cohort, *rehearsal, self.id, now) {
            Err(NotApproved::NotCovered { reason: why }) if signed.admits(now) == Err(why.as_str()) => {
                return Err(Outcome::Refused { why: Refused::NotNow { why } });
            }
            covered => covered.map_err(not_approved)?,
        }
        let unknown = || Outcome::Replan { why: "the cohort did not arrive".to_owned() };
        let change = sight.signed.change(cohort).ok_or_else(unknown)?;
        if change.bases.get(&self.id) != Some(&self.content) {
            return Err(Outcome::Replan { why: "this host is not what the plan was made for".to_owned() });
        }
        Ok((change, people.len(), signed.undo_until))
    }

    fn drive(&mut self, id: DirectiveId, txn: TransactionId, mut machine: Machine, now: u64, apply_ms: u64, told: &mut Vec<Told>) -> Done {
        let clock = self.clock(now);
        let Some(kept) = self.kept.get_mut(&txn) else {
            return Done::Outcome(Outcome::Failed { why: "its transaction is gone".to_owned() });
        };
        let mut body = Body {
            kept,
            txn,
            content: &mut self.content,
            in_service: &mut self.in_service,
            trouble: &mut self.trouble,
            broken_by: &self.broken_by,
            now,
            apply_ms,
            told,
        };
        let next = machine.poll(&mut body, clock);
        let unit = kept.unit;
        let step = match next {
            None => return Done::Outcome(Outcome::Failed { why: "the journal is empty".to_owned() }),
            Some(Next::Ended(outcome)) => return Done::Outcome(outcome),
            Some(Next::Wait(wait)) => {
                let at = self.next_look(&machine, unit, wait, now);
                self.machine = Some((id, txn, machine));
                return if wait.is_zero() { Done::Again } else { Done::At(at) };
            }
            Some(Next::Journal(step)) => step,
            Some(Next::Tell(outcome, step)) => match self.write(now, |host| host.queue.report_once("applied", outcome)) {
                Some(true) => step,
                Some(false) => return Done::Full,
                None => return Done::Died,
            },
        };
        self.note(txn, &step, now, told);
        match self.write(now, |host| host.push(txn, step.clone())) {
            Some(true) => {
                machine.push(step);
                self.machine = Some((id, txn, machine));
                Done::Again
            }
            // The driver stops; it goes on from the journal.
            Some(false) => Done::Full,
            None => Done::Died,
        }
    }

    /// When looking again can show anything new: the driver looks more often, and sees the same.
    fn next_look(&self, machine: &Machine, unit: Option<Unit>, wait: Duration, now: u64) -> u64 {
        let wait = now + u64::try_from(wait.as_millis()).unwrap_or(0);
        match machine.steps().last() {
            Some(Step::Applying) if wait == now + 200 => unit.map_or(wait, |unit| unit.ends.max(wait)),
            Some(Step::Soaking { until }) => wait.max(until.ms().saturating_add_signed(-self.skew)),
            _ => wait,
        }
    }

    fn note(&mut self, txn: TransactionId, step: &Step, now: u64, told: &mut Vec<Told>) {
        let Some(kept) = self.kept.get(&txn) else { return };
        match step {
            Step::Soaking { .. } => self.soaking_since = Some(now),
            Step::Ended { outcome: Outcome::Verified { .. } } => {
                let wanted_ms = u64::from(kept.change.soak_s) * 1_000;
                told.push(Told::Soaked { txn, ms: now.saturating_sub(self.soaking_since.unwrap_or(0)), wanted_ms });
                if self.trouble.mute_until > now {
                    told.push(Told::BlindlyVerified { txn });
                }
            }
            Step::Back { differences, .. } => {
                let is_exact = self.content == kept.before;
                told.push(Told::PutBack { txn, says_exact: differences.is_empty(), is_exact });
            }
            _ => {}
        }
    }
}

enum Done {
    Outcome(Outcome),
    Again,
    At(u64),
    Full,
    Died,
}

/// What a host sees beside itself.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// Its trust file.
    pub trust: &'a Trust,
    /// What was delivered.
    pub signed: &'a dyn Signed,
}

/// What a host can look up by digest, and what a signature is worth.
pub trait Signed {
    /// A statement.
    fn statement(&self, digest: &Digest) -> Option<Rc<fother_core::approval::Statement>>;
    /// A cohort's change.
    fn change(&self, cohort: &Digest) -> Option<Rc<Change>>;
    /// The rehearsal of a cohort.
    fn rehearsal(&self, cohort: &Digest) -> Digest;
    /// Who made a signature, if it fits the statement of this digest.
    ///
    /// # Errors
    /// It does not fit.
    fn signer(&self, signature: &str, statement: &Digest) -> Result<Signer, fother_core::approval::NoApproval>;
}

/// How long a host needs this time.
#[must_use]
pub fn apply_ms(draw: &mut Draw, range: (u64, u64)) -> u64 {
    draw.within(range.0, range.1)
}
