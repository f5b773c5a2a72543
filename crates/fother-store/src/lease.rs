//! Leases with fences: who may write, and how an older writer is kept out. Touches the database; the clock is the caller's.

use crate::{Error, LeaseError, Store};
use fother_core::Timestamp;
use std::time::Duration;

/// The lease whose fence every append must carry.
pub const LOG_LEASE: &str = "log";

/// A lease that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Larger than that of every earlier holder.
    pub fence: u64,
    /// When it ends unless renewed.
    pub until: Timestamp,
}

impl Store {
    /// Takes the lease `name` for `ttl` where it is free, over, or already the holder's (a restarted server under the same name).
    /// The fence grows by each acquisition, so that whoever held it before is refused from here on.
    ///
    /// # Errors
    /// Where somebody else holds it, or the database fails.
    pub fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        self.database.acquire_lease(name, holder, now, ttl)
    }

    /// Makes the lease `name` last until `ttl` from now; its fence stays. It may have run out, as long as nobody else took it.
    ///
    /// # Errors
    /// Where `fence` is not its current fence, or the database fails.
    pub fn renew_lease(&self, name: &str, fence: u64, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        self.database.renew_lease(name, fence, now, ttl)
    }

    /// Gives the lease `name` back: the next holder need not wait. Nothing happens where `fence` is not its current fence.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn release_lease(&self, name: &str, fence: u64) -> Result<(), Error> {
        self.database.release_lease(name, fence)
    }
}
