//! One transaction from drain to soak, or back: each step is journaled durably before it is done, so that a kill anywhere is resumed.
//!
//! ```text
//! accepted → checked → draining → applying → applied → soaking ─────────────→ ended (verified)
//!                         └ ended      └────────┴─────────┴→ going-back → back → ended (rolled back)
//! ```

use crate::{
    durable::{self, Disk},
    host::{Clock, Hook, Host, Progress, Transaction},
};
use fother_core::{
    Timestamp,
    id::{DirectiveId, TransactionId},
    policy::CheckAnswer,
    protocol::Outcome,
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a check may take to come right after the transaction, in seconds.
pub const SETTLE_S: u32 = 15;
/// Attempts to undo before a person is asked.
pub const UNDO_ATTEMPTS: u32 = 3;
/// How often it may fail to say how far a transaction is before a person is asked.
pub const PROGRESS_ERRORS_MAX: u32 = 15;
/// How often a running unit is looked at.
pub const POLL: Duration = Duration::from_millis(200);
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// A step that is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Everything is verified.
    Accepted {
        /// By which directive.
        directive: DirectiveId,
        /// Until when the approval covers an undo.
        undo_until: Timestamp,
    },
    /// What the checks said before anything was touched.
    Checked {
        /// By name.
        before: Vec<(String, CheckAnswer)>,
    },
    /// The host leaves service.
    Draining,
    /// The transaction starts or was started.
    Applying,
    /// It is installed and healthy; the host returns to service.
    Applied {
        /// Milliseconds.
        apply_ms: u64,
    },
    /// In service and watched.
    Soaking {
        /// Until when.
        until: Timestamp,
    },
    /// It is being undone.
    GoingBack {
        /// Why.
        why: String,
    },
    /// The host is as before; it returns to service.
    Back {
        /// Why.
        why: String,
        /// Paths compared.
        paths_compared: u64,
        /// Differences.
        differences: Vec<String>,
    },
    /// Nothing more comes.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

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
        self.steps.iter().find_map(|step| match step {
            Step::Accepted { directive, undo_until } => Some((*directive, *undo_until)),
            _ => None,
        })
    }

    fn before(&self) -> &[(String, CheckAnswer)] {
        self.steps.iter().find_map(|step| if let Step::Checked { before } = step { Some(before.as_slice()) } else { None }).unwrap_or(&[])
    }
}

/// Checks that are worse than before: failed anew, or without data.
#[must_use]
pub fn newly_broken(before: &[(String, CheckAnswer)], now: &[(String, CheckAnswer)]) -> Vec<String> {
    let was_failing = |name: &str| before.iter().any(|(known, answer)| known == name && matches!(answer, CheckAnswer::Failed { .. }));
    let mut broken: Vec<String> = now
        .iter()
        .filter_map(|(name, answer)| match answer {
            CheckAnswer::Fine => None,
            CheckAnswer::Failed { .. } if was_failing(name) => None,
            CheckAnswer::Failed { why } => Some(format!("{name}: {why}")),
            CheckAnswer::NoData { why } => Some(format!("{name}: no answer: {why}")),
        })
        .collect();
    broken.extend(
        before.iter().filter(|(name, _)| !now.iter().any(|(known, _)| known == name)).map(|(name, _)| format!("{name}: was not asked")),
    );
    broken
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
    fn id(&self) -> TransactionId {
        self.transaction.id
    }

    fn broken(&self) -> Vec<String> {
        newly_broken(self.journal.before(), &self.host.checks(&self.transaction.cohort.checks))
    }

    /// Goes on from wherever the journal stands until the transaction has ended.
    ///
    /// # Errors
    /// Where the journal cannot be written: the caller stops and resumes later.
    pub fn run(&mut self) -> io::Result<Outcome> {
        loop {
            let step = self.journal.steps().last().cloned().ok_or_else(|| io::Error::other("the journal is empty"))?;
            let next = match step {
                Step::Accepted { .. } => Step::Checked { before: self.host.checks(&self.transaction.cohort.checks) },
                Step::Checked { .. } => Step::Draining,
                Step::Draining => self.drain(),
                Step::Applying => self.apply(),
                Step::Applied { apply_ms } => self.serve(apply_ms)?,
                Step::Soaking { until } => self.soak(until),
                Step::GoingBack { why } => self.go_back(why),
                Step::Back { why, paths_compared, differences } => self.serve_again(why, paths_compared, differences),
                Step::Ended { outcome } => return Ok(outcome),
            };
            self.journal.append(next)?;
        }
    }

    fn drain(&self) -> Step {
        match self.host.hook(Hook::Drain) {
            Ok(()) => Step::Applying,
            Err(error) => {
                let why = format!("the host could not be taken out of service, nothing was changed: {error}");
                if let Err(error) = self.host.hook(Hook::Undrain) {
                    return Step::Ended { outcome: Outcome::Failed { why: format!("{why}; and not put back into service: {error}") } };
                }
                Step::Ended { outcome: Outcome::Replan { why } }
            }
        }
    }

    fn apply(&self) -> Step {
        let (mut not_started, mut errors) = (None, 0);
        loop {
            match self.host.progress(self.transaction) {
                Ok(Progress::NotStarted) => {
                    if let Some(why) = not_started {
                        return Step::Back { why: format!("not started: {why}"), paths_compared: 0, differences: Vec::new() };
                    }
                    // An error may hide a start that worked, so how far it is is asked for again before anything is concluded.
                    not_started = self.host.start(self.transaction).err();
                }
                Ok(Progress::Running) => self.clock.sleep(POLL),
                Ok(Progress::Before { why, paths_compared }) => return Step::Back { why, paths_compared, differences: Vec::new() },
                Ok(Progress::After(apply_ms)) => return self.judge(apply_ms),
                Err(error) if errors >= PROGRESS_ERRORS_MAX => return Step::Ended { outcome: Outcome::Failed { why: error.to_string() } },
                Err(error) => {
                    errors += 1;
                    tracing::warn!(%error, "how far the transaction is cannot be told; asking again");
                    self.clock.sleep(Duration::from_secs(2));
                }
            }
        }
    }

    fn judge(&self, apply_ms: u64) -> Step {
        if let Err(error) = self.host.restarted(self.transaction) {
            return Step::GoingBack { why: format!("services were not restarted: {error}") };
        }
        let mut broken = self.broken();
        for _ in 0..SETTLE_S {
            if broken.is_empty() {
                return Step::Applied { apply_ms };
            }
            self.clock.sleep(Duration::from_secs(1));
            broken = self.broken();
        }
        if broken.is_empty() { Step::Applied { apply_ms } } else { Step::GoingBack { why: broken.join("; ") } }
    }

    fn serve(&self, apply_ms: u64) -> io::Result<Step> {
        if let Err(error) = self.host.hook(Hook::Undrain) {
            return Ok(Step::GoingBack { why: format!("the host could not be put back into service: {error}") });
        }
        (self.tell)(Outcome::Applied { txn: self.id(), apply_ms })?;
        Ok(Step::Soaking { until: self.clock.now() + Duration::from_secs(self.transaction.cohort.soak_s.into()) })
    }

    fn soak(&self, until: Timestamp) -> Step {
        loop {
            let broken = self.broken();
            if !broken.is_empty() {
                return Step::GoingBack { why: broken.join("; ") };
            }
            if self.clock.now() >= until {
                return Step::Ended { outcome: Outcome::Verified { txn: self.id(), remarks: self.host.remarks() } };
            }
            self.clock.sleep(Duration::from_secs(1));
        }
    }

    fn go_back(&self, why: String) -> Step {
        if let Err(error) = self.host.hook(Hook::Drain) {
            tracing::warn!(%error, "the host could not be taken out of service; it is put back all the same");
        }
        let mut last = String::new();
        for _ in 0..UNDO_ATTEMPTS {
            match self.host.undo(self.transaction) {
                Ok(proof) => return Step::Back { why, paths_compared: proof.paths_compared, differences: proof.differences },
                Err(error) => last = error.to_string(),
            }
            self.clock.sleep(Duration::from_secs(1));
        }
        Step::Ended {
            outcome: Outcome::Failed {
                why: format!("{why}; and the undo failed {UNDO_ATTEMPTS} times: {last}; the host stays out of service"),
            },
        }
    }

    fn serve_again(&self, why: String, paths_compared: u64, differences: Vec<String>) -> Step {
        let outcome = match self.host.hook(Hook::Undrain) {
            Ok(()) => Outcome::RolledBack { txn: self.id(), why, paths_compared, differences },
            Err(error) => Outcome::Failed { why: format!("{why}; undone, but the host could not be put back into service: {error}") },
        };
        Step::Ended { outcome }
    }
}
