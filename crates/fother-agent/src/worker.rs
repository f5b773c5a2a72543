//! Works the queue off, one directive at a time, oldest first; stops at the first thing that cannot be made durable.

use crate::{
    executor::{Executor, lock},
    host::{Rehearsed, Transaction},
    kept, rest,
    spool::STORE_BYTES_MAX,
    transaction::{Driver, Journal, Step},
    verify,
};
use fother_core::{
    agent::transaction::{self, Begin},
    canonical,
    directive::{Directive, IndexPin, Order, Refused},
    id::TransactionId,
    plan::Cohort,
    protocol::Outcome,
    resolution::PackageChange,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

fn refused(why: impl Into<String>) -> Outcome {
    Outcome::Refused { why: Refused::Host { why: why.into() } }
}

fn failed(why: impl ToString) -> Outcome {
    Outcome::Failed { why: why.to_string() }
}

impl Executor {
    /// Does the next piece of work, if everything that it needs is there. Says whether it did anything.
    ///
    /// # Errors
    /// Where state or journal cannot be written; the work is resumed at the next call.
    pub fn step(&self) -> io::Result<bool> {
        let Some(job) = lock(&self.keeper).get().jobs.first().cloned() else { return Ok(false) };
        let outcome = match self.ready(&job.directive, job.begun) {
            Ok(false) => return Ok(false),
            Ok(true) => self.work(&job.directive, job.begun)?,
            Err(outcome) => outcome,
        };
        tracing::info!(id = %job.directive.id, order = job.directive.order.name(), outcome = %outcome.brief(), "directive done");
        self.refresh();
        let idle = lock(&self.keeper).change(|state| {
            state.finish(outcome);
            state.jobs.is_empty()
        })?;
        if idle && let Err(error) = self.store.trim(STORE_BYTES_MAX) {
            tracing::warn!(%error, "the store cannot be trimmed");
        }
        Ok(true)
    }

    fn ready(&self, directive: &Directive, begun: bool) -> Result<bool, Outcome> {
        if begun {
            return Ok(true);
        }
        let now = self.clock.now();
        lock(&self.keeper).get().may_begin(directive, now).map_err(|why| Outcome::Refused { why })?;
        if self.config.observes() && !matches!(directive.order, Order::Resolve { .. }) {
            return Err(refused(format!(
                "this host only observes; switch {} on at the host itself: observe = false in agent.toml",
                directive.order.name()
            )));
        }
        if let (Order::Apply { .. }, Some(fork)) = (&directive.order, self.witness.fork()) {
            return Err(refused(fork.to_string()));
        }
        // Before anything is fetched: an order that nobody approved costs this host nothing.
        verify::approvals(&self.config, &self.store, &directive.order, self.identity.host, now)?;
        let needs = verify::needs(&directive.order, &self.store).map_err(refused)?;
        match needs.iter().find_map(|need| self.spoiled(&need.digest())) {
            Some(why) => Err(refused(why)),
            None => Ok(needs.is_empty()),
        }
    }

    fn work(&self, directive: &Directive, begun: bool) -> io::Result<Outcome> {
        match &directive.order {
            Order::Resolve { pins, exclude } => Ok(self.resolve(pins, exclude).unwrap_or_else(|outcome| outcome)),
            Order::Rehearse { plan, cohort, place, bisect, attest } => Ok(verify::cohort_of(&self.store, plan, cohort, place)
                .map_err(refused)
                .and_then(|(plan, cohort)| self.rehearse(&cohort, &plan.pins, *bisect, *attest))
                .unwrap_or_else(|outcome| outcome)),
            Order::Apply { txn, .. } => self.apply(directive, *txn, begun),
            Order::Undo { txn, reason } => self.undo(*txn, reason, begun),
        }
    }

    fn check_archives(&self, pins: &[IndexPin], changes: &[PackageChange]) -> Result<(), String> {
        let mut newest = lock(&self.keeper).get().newest.clone();
        self.archives.verify(pins, changes, &self.store, &mut newest, self.clock.now())?;
        lock(&self.keeper).change(|state| state.newest = newest).map_err(|error| error.to_string())
    }

    fn scratch(&self, name: &str) -> io::Result<PathBuf> {
        let dir = self.config.data.join(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        crate::durable::private_dir(&dir)?;
        Ok(dir)
    }

    fn resolve(&self, pins: &[IndexPin], exclude: &[String]) -> Result<Outcome, Outcome> {
        self.check_archives(pins, &[]).map_err(refused)?;
        if self.config.repairs() {
            let repaired = self.host.repair().map_err(failed)?;
            if !repaired.is_empty() {
                tracing::warn!("finished what somebody had left half-configured: {}", repaired.join(", "));
            }
        }
        let work = self.scratch("resolve").map_err(failed)?;
        let lists = work.join("lists");
        crate::durable::private_dir(&lists).map_err(failed)?;
        self.archives.lists(pins, &self.store, &lists).map_err(failed)?;
        let resolution = self.host.resolve(&lists, exclude, &work).map_err(failed)?;
        let base = resolution.base;
        let digest = self.keep_blob("resolution", &canonical::to_vec(&resolution).map_err(failed)?).map_err(failed)?;
        Ok(Outcome::Resolved { resolution: digest, base })
    }

    fn link_debs(&self, cohort: &Cohort, debs: &Path) -> io::Result<()> {
        crate::durable::private_dir(debs)?;
        for offer in cohort.changes.iter().filter_map(|change| change.offer.as_ref()) {
            let to = debs.join(format!("{}.deb", offer.sha256.hex()));
            if to.exists() {
                fs::remove_file(&to)?;
            }
            let from = self.store.path(&offer.sha256);
            fs::hard_link(&from, &to)?;
            if fs::metadata(&to)?.len() != offer.size || crate::spool::hash_file(&to)? != offer.sha256 {
                return Err(io::Error::other(format!("{} is not what the plan names: tampered", offer.filename)));
            }
        }
        Ok(())
    }

    fn rehearse(&self, cohort: &Cohort, pins: &[IndexPin], bisect: bool, attest: bool) -> Result<Outcome, Outcome> {
        let base = self.fresh_base().map_err(failed)?;
        verify::base_fits(cohort, self.identity.host, base)?;
        self.check_archives(pins, &cohort.changes).map_err(refused)?;
        let work = self.scratch("rehearse").map_err(failed)?;
        let debs = work.join("debs");
        self.link_debs(cohort, &debs).map_err(failed)?;
        let dir = &self.config.data;
        let Rehearsed { rehearsal, failing, rest } = match rest::find(dir, cohort, base, self.clock.now()) {
            Some(rehearsal) => Rehearsed { rehearsal, failing: Vec::new(), rest: None },
            None => self.host.rehearse(cohort, base, &debs, &work, bisect).map_err(failed)?,
        };
        if let Some(rest) = rest {
            rest::keep(dir, &self.disk, cohort, base, rest, self.clock.now());
        }
        let mut told = rehearsal.clone().outgoing();
        if attest {
            told = self.witness.attest(told).map_err(failed)?;
        }
        let digest = self.keep_blob("rehearsal", &canonical::to_vec(&told).map_err(failed)?).map_err(failed)?;
        kept::keep(&self.config, &self.disk, &digest, &rehearsal).map_err(failed)?;
        Ok(Outcome::Rehearsed { rehearsal: digest, verdict: rehearsal.verdict, failing })
    }

    fn apply(&self, directive: &Directive, txn: TransactionId, begun: bool) -> io::Result<Outcome> {
        let dir = self.config.transactions().join(txn.to_string());
        let mut journal = Journal::open(&dir, self.disk.clone())?;
        match transaction::begin(journal.steps(), txn, directive.id, begun) {
            Begin::GoOn => {}
            Begin::Say(outcome) => return Ok(outcome),
            Begin::New => match self.prepare(directive, txn, &dir) {
                Err(outcome) => return Ok(outcome),
                Ok(undo_until) => {
                    lock(&self.keeper).change(|state| {
                        state.begin();
                        state.report_once("started", Outcome::Started { txn });
                    })?;
                    journal.append(Step::Accepted { directive: directive.id, undo_until })?;
                }
            },
        }
        self.drive(&dir, journal)
    }

    fn prepare(&self, directive: &Directive, txn: TransactionId, dir: &Path) -> Result<fother_core::Timestamp, Outcome> {
        let base = self.fresh_base().map_err(|error| Outcome::Replan { why: error })?;
        let approved = verify::apply(&self.config, &self.store, &directive.order, self.identity.host, base, self.clock.now())?;
        let replan = |why: String| Outcome::Replan { why };
        self.check_archives(&approved.pins, &approved.cohort.changes).map_err(refused)?;
        let (need, free) = (approved.rehearsal.space_bytes, self.host.space_bytes());
        if free < need {
            return Err(replan(format!("the transaction needs {need} bytes and {free} are free; make room on the host")));
        }
        crate::durable::private_dir(dir).map_err(|error| replan(error.to_string()))?;
        self.link_debs(&approved.cohort, &dir.join("debs")).map_err(|error| replan(error.to_string()))?;
        let transaction = Transaction { id: txn, dir: dir.to_owned(), cohort: approved.cohort, footprint: approved.rehearsal.footprint };
        let bytes = serde_json::to_vec(&transaction).map_err(|error| replan(error.to_string()))?;
        self.disk.replace(&dir.join(TRANSACTION_FILE), &bytes).map_err(|error| replan(error.to_string()))?;
        tracing::info!(%txn, people = ?approved.people, "everything verified");
        Ok(approved.undo_until)
    }

    fn undo(&self, txn: TransactionId, reason: &str, begun: bool) -> io::Result<Outcome> {
        let dir = self.config.transactions().join(txn.to_string());
        let mut journal = Journal::open(&dir, self.disk.clone())?;
        if let Err(outcome) = transaction::may_undo(journal.steps(), txn, begun, self.clock.now()) {
            return Ok(outcome);
        }
        if !begun {
            lock(&self.keeper).change(crate::state::State::begin)?;
        }
        if let Some(step) = transaction::turn_back(journal.steps(), reason) {
            journal.append(step)?;
        }
        self.drive(&dir, journal)
    }

    /// Reports what root undid at the host itself, once, so that the server's view is true again.
    ///
    /// # Errors
    /// Where journals cannot be read or the report not be stored; it is tried again at the next call.
    pub fn tell_undone(&self) -> io::Result<()> {
        for (txn, step) in crate::undo::list(&self.config)? {
            let dir = self.config.transactions().join(txn.to_string());
            let told = dir.join(TOLD_FILE);
            let Step::Ended { outcome: outcome @ Outcome::RolledBack { .. } } = step else { continue };
            if told.exists() {
                continue;
            }
            let journal = Journal::open(&dir, self.disk.clone())?;
            let by_root = journal.steps().iter().any(|step| matches!(step, Step::GoingBack { why } if why == crate::undo::BY_ROOT));
            if !by_root {
                continue;
            }
            let directive = journal.accepted().map(|(directive, _)| directive);
            lock(&self.keeper).change(|state| state.report(directive, outcome))?;
            self.disk.replace(&told, b"")?;
        }
        Ok(())
    }

    fn drive(&self, dir: &Path, journal: Journal) -> io::Result<Outcome> {
        let transaction = read_transaction(dir)?;
        let tell = |outcome: Outcome| lock(&self.keeper).change(|state| state.report_once("applied", outcome));
        let mut driver = Driver { host: self.host.as_ref(), clock: self.clock.as_ref(), transaction: &transaction, journal, tell: &tell };
        driver.run()
    }
}

/// Marks a transaction whose undo by root was reported. A crash before it is written reports again, which changes nothing.
const TOLD_FILE: &str = "undone-told";
/// File name of the verified transaction beside its journal.
pub const TRANSACTION_FILE: &str = "transaction.json";

/// Reads the verified transaction in `dir`.
///
/// # Errors
/// Where it is missing or damaged.
pub fn read_transaction(dir: &Path) -> io::Result<Transaction> {
    let bytes = crate::durable::read_bounded(&dir.join(TRANSACTION_FILE), 64 << 20)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}
