//! The archives' signatures, checked again on the host with the host's own keyrings.

use crate::spool::Store;
use fother_core::{Timestamp, directive::IndexPin, resolution::PackageChange};
use std::{collections::BTreeMap, path::Path};

/// Newest Release date seen per source (`uri suite`): an older one is a replay.
pub type Newest = BTreeMap<String, Timestamp>;

/// The chain from a vendor's key to a package.
pub trait Archives: Send + Sync {
    /// Verifies the pinned archives and that they offer exactly these changes; moves `newest` forward.
    ///
    /// # Errors
    /// The first reason not to use them, for people.
    fn verify(
        &self,
        pins: &[IndexPin],
        changes: &[PackageChange],
        store: &Store,
        newest: &mut Newest,
        now: Timestamp,
    ) -> Result<(), String>;

    /// Lays the verified lists out in `into` as the package manager reads them.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn lists(&self, pins: &[IndexPin], store: &Store, into: &Path) -> Result<(), String>;
}
