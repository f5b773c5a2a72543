//! Change requests: a plan, its rehearsals, a statement, and who said yes.

use crate::{
    Digest, Timestamp,
    id::{ChangeId, RolloutId},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Waits for people.
    Open,
    /// Enough people said yes.
    Approved,
    /// Somebody said no.
    Rejected,
    /// A rollout of it began.
    RolledOut,
}

/// A change as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// The plan.
    pub plan: Digest,
    /// Blob of the statement.
    pub statement: Digest,
    /// The author.
    pub author: String,
    /// The author's signature over the statement.
    pub author_signature: String,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// Signatures by person.
    pub approvals: BTreeMap<String, String>,
    /// Distinct people needed.
    pub needed: u32,
    /// Why it was rejected.
    pub rejected: Option<String>,
    /// The rollout.
    pub rollout: Option<RolloutId>,
    /// The standing approval that it is covered by, whose author, signatures and statement are its own; nothing where people signed the change itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Digest>,
}

impl Change {
    /// Where it is.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.rejected.is_some() {
            Status::Rejected
        } else if self.rollout.is_some() {
            Status::RolledOut
        } else if (self.approvals.len() as u64) >= u64::from(self.needed) {
            Status::Approved
        } else {
            Status::Open
        }
    }
}
