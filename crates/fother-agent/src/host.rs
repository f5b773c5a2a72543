//! What the executor asks of its host, behind one trait, so that its decisions are tested without a host.

use fother_core::{
    Digest, Timestamp,
    id::TransactionId,
    inventory::Inventory,
    plan::Cohort,
    policy::{Check, CheckAnswer},
    rehearsal::{FootprintEntry, Rehearsal, UndoProof},
    resolution::Resolution,
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use fother_core::agent::transaction::{Hook, Progress};

/// Something on the host did not work; for people: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

/// A transaction as it was verified, stored beside its journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// Its id.
    pub id: TransactionId,
    /// Its own directory: `debs/<sha256 hex>.deb`, undo archive, the host's journal.
    pub dir: PathBuf,
    /// What to do and how to tell health.
    pub cohort: Cohort,
    /// Paths that the rehearsal saw it write.
    pub footprint: Vec<FootprintEntry>,
}

/// What a rehearsal answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// The report.
    pub rehearsal: Rehearsal,
    /// Source packages of the smallest failing set.
    pub failing: Vec<String>,
    /// The rehearsal of everything else, where it passes.
    pub rest: Option<Rehearsal>,
}

/// One host's facts and acts.
pub trait Host: Send + Sync {
    /// What is installed and runs.
    ///
    /// # Errors
    /// Where it cannot be told at all.
    fn inventory(&self) -> Result<Inventory, HostError>;
    /// What the package manager would do against the verified lists in `lists`; writes only below `work`.
    ///
    /// # Errors
    /// Where the solver gives no answer.
    fn resolve(&self, lists: &Path, exclude: &[String], work: &Path) -> Result<Resolution, HostError>;
    /// Rehearses on a clone; with `bisect` also looks for the smallest failing set.
    ///
    /// # Errors
    /// Where no clone can be made.
    fn rehearse(&self, cohort: &Cohort, base: Digest, debs: &Path, work: &Path, bisect: bool) -> Result<Rehearsed, HostError>;
    /// Finishes what somebody left unfinished in the package manager's database; says which packages. Only where the host's own policy allows it.
    ///
    /// # Errors
    /// Where it stays unfinished.
    fn repair(&self) -> Result<Vec<String>, HostError> {
        Ok(Vec::new())
    }
    /// Starts the transaction in a unit of its own and returns at once. Called at most once per transaction.
    ///
    /// # Errors
    /// Where it could not be started: nothing was changed.
    fn start(&self, transaction: &Transaction) -> Result<(), HostError>;
    /// How far it is; puts an interrupted one to before or after.
    ///
    /// # Errors
    /// Where neither can be reached: a person is needed.
    fn progress(&self, transaction: &Transaction) -> Result<Progress, HostError>;
    /// Puts everything back that the transaction wrote. May be called again after an interruption.
    ///
    /// # Errors
    /// Where something could not be put back.
    fn undo(&self, transaction: &Transaction) -> Result<UndoProof, HostError>;
    /// Asks the checks; after the transaction with what they said before it.
    fn checks(&self, checks: &[Check], before: Option<&[(String, CheckAnswer)]>) -> Vec<(String, CheckAnswer)>;
    /// Runs the root-owned hook; a missing one is fine.
    ///
    /// # Errors
    /// Where it fails or takes too long.
    fn hook(&self, hook: Hook) -> Result<(), HostError>;
    /// Whether the transaction restarted every service that it had to: what runs would be the old version otherwise.
    ///
    /// # Errors
    /// The services that were not restarted, or that it could not be told.
    fn restarted(&self, transaction: &Transaction) -> Result<(), HostError>;
    /// What of the transaction is not yet in effect: a reboot with its reasons, services that still map replaced files.
    fn remarks(&self) -> Vec<String>;
    /// Free bytes where the transaction writes.
    fn space_bytes(&self) -> u64;
}

/// Time, so that tests own it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, span: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}
