//! A policy that loosens the one in force: what its author and its approvers sign. Pure.

use crate::{Digest, Timestamp, canonical};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Namespace of an author's signature over a [`Statement`].
pub const AUTHOR_NAMESPACE: &str = "fother-policy-v1";
/// Namespace of an approval of it.
pub const NAMESPACE: &str = "fother-policy-approval-v1";
/// Most differences that a statement names; a policy that loosens more is taken in steps.
pub const LOOSENS_MAX: usize = 200;

/// What is signed. The command line makes it of the files and of the policy in force, and the server makes its own and compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The new policy.
    pub policy: Digest,
    /// The policy that it was compared with.
    pub base: Digest,
    /// Everything that lets more happen, in words.
    pub loosens: Vec<String>,
    /// Who wrote it and therefore may not approve it.
    pub author: String,
    /// Fingerprint of the author's key.
    pub author_key: String,
    /// From when on it cannot be approved.
    pub expires: Timestamp,
}

impl Statement {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, canonical::Error> {
        canonical::to_vec(self)
    }
}

/// A proposal as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The policy that it would replace.
    pub base: Digest,
    /// Blob of the statement.
    pub statement: Digest,
    /// The author.
    pub author: String,
    /// When it was made.
    pub at: Timestamp,
    /// Signatures by person.
    pub approvals: BTreeMap<String, String>,
}
