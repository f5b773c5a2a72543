//! Where one host of a rollout is, and which report leads where.

use crate::{Timestamp, directive::Refused, id::TransactionId, protocol::Outcome};
use serde::{Deserialize, Serialize};

/// Where one host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Not begun.
    Waiting,
    /// A directive is out.
    Dispatched {
        /// Its transaction.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
    },
    /// Installed and healthy; soaking.
    Applied {
        /// Its transaction.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
    },
    /// Done and healthy.
    Verified {
        /// Its transaction.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
        /// Remarks.
        remarks: Vec<String>,
    },
    /// No longer matches its cohort; untouched.
    Replan {
        /// Why.
        why: String,
    },
    /// Refused the directive; untouched.
    Refused {
        /// Why.
        why: String,
    },
    /// A person left it out; untouched.
    Skipped {
        /// Why.
        why: String,
    },
    /// Failed and was put back.
    RolledBack {
        /// Its transaction.
        txn: TransactionId,
        /// Why.
        why: String,
        /// Whether nothing differs from before.
        exact: bool,
        /// Paths compared.
        paths_compared: u64,
    },
    /// An undo is out: a person asked for it, or a gate failed.
    Undoing {
        /// The transaction that is undone.
        txn: TransactionId,
        /// Since when.
        at: Timestamp,
    },
    /// Failed, and not as it was.
    Failed {
        /// Why.
        why: String,
        /// The transaction, which an undo can still be asked for; absent where none had begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        txn: Option<TransactionId>,
    },
}

impl Phase {
    /// Counts against the budget: from dispatch until verified healthy; failed hosts keep counting.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Dispatched { .. } | Self::Applied { .. } | Self::Undoing { .. } | Self::Failed { .. } => true,
            Self::RolledBack { exact, .. } => !exact,
            Self::Waiting | Self::Verified { .. } | Self::Replan { .. } | Self::Refused { .. } | Self::Skipped { .. } => false,
        }
    }

    /// Nothing more is expected.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Waiting | Self::Dispatched { .. } | Self::Applied { .. } | Self::Undoing { .. } => false,
            Self::Verified { .. }
            | Self::Replan { .. }
            | Self::Refused { .. }
            | Self::Skipped { .. }
            | Self::RolledBack { .. }
            | Self::Failed { .. } => true,
        }
    }

    /// The word for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dispatched { .. } => "working",
            Self::Applied { .. } => "soaking",
            Self::Verified { .. } => "verified",
            Self::Replan { .. } => "replan",
            Self::Refused { .. } => "refused",
            Self::Skipped { .. } => "skipped",
            Self::RolledBack { .. } => "rolled back",
            Self::Undoing { .. } => "undoing",
            Self::Failed { .. } => "FAILED",
        }
    }

    /// Something is under way on the host.
    #[must_use]
    pub fn is_working(&self) -> bool {
        match self {
            Self::Dispatched { .. } | Self::Applied { .. } | Self::Undoing { .. } => true,
            Self::Waiting
            | Self::Verified { .. }
            | Self::Replan { .. }
            | Self::Refused { .. }
            | Self::Skipped { .. }
            | Self::RolledBack { .. }
            | Self::Failed { .. } => false,
        }
    }

    /// Counts as a failed host for the gate.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::RolledBack { .. } | Self::Failed { .. } | Self::Refused { .. } => true,
            Self::Waiting
            | Self::Dispatched { .. }
            | Self::Applied { .. }
            | Self::Verified { .. }
            | Self::Replan { .. }
            | Self::Skipped { .. }
            | Self::Undoing { .. } => false,
        }
    }

    /// Says something about the change: it was tried there.
    #[must_use]
    pub fn shows(&self) -> bool {
        matches!(self, Self::Verified { .. }) || self.is_failure()
    }

    /// The transaction that is or was under way, or in effect.
    #[must_use]
    pub fn txn(&self) -> Option<TransactionId> {
        match self {
            Self::Dispatched { txn, .. }
            | Self::Applied { txn, .. }
            | Self::Verified { txn, .. }
            | Self::RolledBack { txn, .. }
            | Self::Undoing { txn, .. } => Some(*txn),
            Self::Failed { txn, .. } => *txn,
            Self::Waiting | Self::Replan { .. } | Self::Refused { .. } | Self::Skipped { .. } => None,
        }
    }

    /// The transaction that an undo would take back: the one in effect, or one that failed half-way.
    #[must_use]
    pub fn carried(&self) -> Option<TransactionId> {
        match self {
            Self::Verified { txn, .. } => Some(*txn),
            Self::Failed { txn, .. } => *txn,
            Self::Waiting
            | Self::Dispatched { .. }
            | Self::Applied { .. }
            | Self::Replan { .. }
            | Self::Refused { .. }
            | Self::Skipped { .. }
            | Self::RolledBack { .. }
            | Self::Undoing { .. } => None,
        }
    }

    /// Why it is no success.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Replan { why }
            | Self::Refused { why }
            | Self::Skipped { why }
            | Self::RolledBack { why, .. }
            | Self::Failed { why, .. } => why,
            Self::Waiting | Self::Dispatched { .. } | Self::Applied { .. } | Self::Verified { .. } | Self::Undoing { .. } => "",
        }
    }
}

/// Where a report leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nowhere.
    Stay,
    /// To this phase.
    To(Phase),
    /// It came too late to begin, nothing was changed: to be asked again while it may start.
    TooLate(String),
}

impl Phase {
    /// Where this host's report leads. `newest` is false for a directive that was signed anew since: what becomes of the old one is no news.
    #[must_use]
    pub fn after(&self, outcome: &Outcome, newest: bool, now: Timestamp) -> Next {
        // An undo that was asked for in the meantime is still to come.
        let undoing = matches!(self, Self::Undoing { .. });
        let untouched = |why: String, phase: fn(String) -> Self| {
            if !newest || !self.is_working() {
                return Next::Stay;
            }
            // It stands as the transaction left it, which nobody can tell from here.
            Next::To(if undoing { Self::Failed { why: format!("the undo was refused: {why}"), txn: self.txn() } } else { phase(why) })
        };
        let refused = |why| Self::Refused { why };
        match outcome {
            // A copy of what was accepted before says nothing about the work itself.
            Outcome::Refused { why: Refused::Replayed { .. } } => Next::Stay,
            Outcome::Refused { why: why @ (Refused::Expired { .. } | Refused::NotNow { .. } | Refused::Withdrawn) } if !undoing => {
                if newest && self.is_working() { Next::TooLate(why.to_string()) } else { Next::Stay }
            }
            Outcome::Refused { why } => untouched(why.to_string(), refused),
            Outcome::NotApproved { why } => untouched(why.to_string(), refused),
            Outcome::Replan { why } => untouched(why.clone(), |why| Self::Replan { why }),
            Outcome::Started { .. } | Outcome::Applied { .. } | Outcome::Verified { .. } if undoing => Next::Stay,
            Outcome::Started { txn } if *self == Self::Waiting => Next::To(Self::Dispatched { txn: *txn, at: now }),
            Outcome::Applied { txn, .. } => Next::To(Self::Applied { txn: *txn, at: now }),
            Outcome::Verified { txn, remarks } => Next::To(Self::Verified { txn: *txn, at: now, remarks: remarks.clone() }),
            Outcome::RolledBack { txn, why, paths_compared, differences } => {
                Next::To(Self::RolledBack { txn: *txn, why: why.clone(), exact: differences.is_empty(), paths_compared: *paths_compared })
            }
            Outcome::Failed { why } => Next::To(Self::Failed { why: why.clone(), txn: self.txn() }),
            Outcome::Started { .. } | Outcome::Resolved { .. } | Outcome::Rehearsed { .. } => Next::Stay,
        }
    }
}
