//! One transaction's journal on disk, and the driver of its machine (`fother_core::agent::transaction`): each step is durable before it is done.

use crate::{
    durable::{self, Disk},
    host::{Clock, Host, Transaction},
};
use fother_core::{
    Timestamp,
    agent::transaction::{self, Hands, Machine, Next, Undone},
    id::DirectiveId,
    policy::CheckAnswer,
    protocol::Outcome,
};
use std::{
    io,
    path::{Path, PathBuf},
};

pub use fother_core::agent::transaction::{Hook, POLL, PROGRESS_ERRORS_MAX, Progress, SETTLE_S, Step, UNDO_ATTEMPTS, newly_broken};

const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// A journal: JSON lines, fsynced one by one.
pub struct Journal {
    path: PathBuf,
    disk: Disk,
    steps: Vec<Step>,
}

impl Journal {
    /// Opens the journal in `dir`; a torn last line was never acted on and is cut off.
    ///
    /// # Errors
    /// Where it is unreadable or damaged before its last line.
    pub fn open(dir: &Path, disk: Disk) -> io::Result<Self> {
        let path = dir.join("journal.jsonl");
        let bytes = match durable::read_bounded(&path, JOURNAL_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            disk.replace(&path, &bytes[..whole])?;
        }
        let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let steps = lines
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|error| io::Error::other(format!("{} is damaged: {error}", path.display())))?;
        Ok(Self { path, disk, steps })
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Writes the next step; the caller acts afterwards.
    ///
    /// # Errors
    /// Where the disk refuses: the caller must not act.
    pub fn append(&mut self, step: Step) -> io::Result<()> {
        self.disk.append(&self.path, &serde_json::to_vec(&step)?)?;
        tracing::info!(step = ?step, "transaction");
        self.steps.push(step);
        Ok(())
    }

    /// By which directive it was accepted, and until when an undo is covered.
    #[must_use]
    pub fn accepted(&self) -> Option<(DirectiveId, Timestamp)> {
        transaction::accepted(&self.steps)
    }
}

/// A host's hands on one transaction.
struct HostHands<'a>(&'a dyn Host, &'a Transaction);

impl Hands for HostHands<'_> {
    fn checks(&mut self, before: Option<&[(String, CheckAnswer)]>) -> Vec<(String, CheckAnswer)> {
        self.0.checks(&self.1.cohort.checks, before)
    }
    fn hook(&mut self, hook: Hook) -> Result<(), String> {
        let done = self.0.hook(hook).map_err(|error| error.to_string());
        done.inspect_err(|error| tracing::warn!(error, ?hook, "the host could not be taken out of service, or put back"))
    }
    fn start(&mut self) -> Result<(), String> {
        self.0.start(self.1).map_err(|error| error.to_string())
    }
    fn progress(&mut self) -> Result<Progress, String> {
        let progress = self.0.progress(self.1).map_err(|error| error.to_string());
        progress.inspect_err(|error| tracing::warn!(error, "how far the transaction is cannot be told"))
    }
    fn restarted(&mut self) -> Result<(), String> {
        self.0.restarted(self.1).map_err(|error| error.to_string())
    }
    fn undo(&mut self) -> Result<Undone, String> {
        let proof = self.0.undo(self.1).map_err(|error| error.to_string())?;
        Ok(Undone { paths_compared: proof.paths_compared, differences: proof.differences })
    }
    fn remarks(&mut self) -> Vec<String> {
        self.0.remarks()
    }
}

/// Drives one transaction.
pub struct Driver<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// Time.
    pub clock: &'a dyn Clock,
    /// What.
    pub transaction: &'a Transaction,
    /// How far.
    pub journal: Journal,
    /// Tells interim outcomes.
    pub tell: &'a dyn Fn(Outcome) -> io::Result<()>,
}

impl Driver<'_> {
    /// Goes on from wherever the journal stands until the transaction has ended.
    ///
    /// # Errors
    /// Where the journal cannot be written: the caller stops and resumes later.
    pub fn run(&mut self) -> io::Result<Outcome> {
        let steps = self.journal.steps().to_vec();
        let mut machine = Machine::resume(self.transaction.id, self.transaction.cohort.soak_s, steps);
        let mut hands = HostHands(self.host, self.transaction);
        loop {
            let next = machine.poll(&mut hands, self.clock.now()).ok_or_else(|| io::Error::other("the journal is empty"))?;
            let step = match next {
                Next::Ended(outcome) => return Ok(outcome),
                Next::Wait(span) => {
                    if !span.is_zero() {
                        self.clock.sleep(span);
                    }
                    continue;
                }
                Next::Journal(step) => step,
                Next::Tell(outcome, step) => {
                    (self.tell)(outcome)?;
                    step
                }
            };
            self.journal.append(step.clone())?;
            machine.push(step);
        }
    }
}
