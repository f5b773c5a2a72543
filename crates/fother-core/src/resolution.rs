//! What one host's own package manager would do: the exact transaction, nothing left to choose.

use crate::{
    Digest,
    assess::in_use::PackageUse,
    canonical,
    inventory::Closes,
    package::{Offer, UpdateClass},
    version::Version,
};
use serde::{Deserialize, Serialize};

/// One package of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageChange {
    /// Binary package name.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Source package name: updates of one source belong together.
    pub source: String,
    /// Installed version; `None` if the transaction installs it anew.
    pub from: Option<Version>,
    /// Version after the transaction; `None` if it is removed.
    pub to: Option<Version>,
    /// Where `to` comes from; `None` only for removals.
    pub offer: Option<Offer>,
    /// What kind of update this is.
    pub class: UpdateClass,
    /// CVEs that going from `from` to `to` closes, sorted.
    pub closes: Vec<Closes>,
}

/// Something that the host's solver keeps back or that could not be told, by name with the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeptBack {
    /// Package name.
    pub name: String,
    /// For people: held, pinned, phased, conflict.
    pub why: String,
}

/// A host's answer to "what would you do?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// [`crate::inventory::Inventory::base`] that it was computed on.
    pub base: Digest,
    /// Digest over the names and SHA-256s of the indexes that it was computed from.
    pub indexes: Digest,
    /// Sorted by name.
    pub changes: Vec<PackageChange>,
    /// Sorted by name.
    pub kept_back: Vec<KeptBack>,
    /// Who ran the code of the packages that change, when it was asked; not a part of the transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<PackageUse>,
}

impl Resolution {
    /// Name of this resolution.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn digest(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("resolution", &canonical::to_vec(self)?))
    }
}
