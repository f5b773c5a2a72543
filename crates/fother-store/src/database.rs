//! What a database must do for the store, one statement or transaction each, whatever the database is. No behaviour.

use crate::{AppendError, Error, Lease, LeaseError};
use fother_core::{Digest, Timestamp};
use std::{fmt::Debug, time::Duration};

/// A node of the tree: level, index, hash.
pub(crate) type Node = (u32, u64, Digest);
/// A blob's name, kind and size in bytes.
pub(crate) type Entry = (Digest, String, u64);

/// A checkpoint's size, the text that is there, and the one to put in its place.
pub(crate) type Swap = (u64, Option<String>, String);

/// A database that holds the log and what stands beside it. Each call is whole: it holds no lock when it returns, so that a lost
/// connection leaves nothing half done and nobody waiting.
pub(crate) trait Database: Debug + Send + Sync {
    /// Number of events.
    fn size(&self) -> Result<u64, Error>;
    /// Up to `max` events from `from` on, cut at [`crate::BATCH_BYTES_MAX`] but never to none where there is one.
    fn events(&self, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, Error>;
    /// The stored hashes at these places (level, index), in their order.
    fn nodes(&self, places: &[(u32, u64)]) -> Result<Vec<Option<Digest>>, Error>;
    /// Adds events and the nodes that they complete where the log has `first` events and every lease has its fence; durable when it returns.
    fn append(&self, first: u64, events: &[Vec<u8>], nodes: &[Node], fences: &[(&str, u64)]) -> Result<(), AppendError>;

    /// The kept checkpoints of these sizes, in their order.
    fn checkpoints(&self, sizes: &[u64]) -> Result<Vec<Option<String>>, Error>;
    /// The kept checkpoint of the largest size.
    fn latest_checkpoint(&self) -> Result<Option<(u64, String)>, Error>;
    /// Every kept checkpoint with more than one signature, the smallest first.
    fn cosigned(&self) -> Result<Vec<(u64, String)>, Error>;
    /// Keeps a checkpoint, whatever was there.
    fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), Error>;
    /// Keeps each checkpoint whose size still has what the swap says; says which sizes had.
    fn swap_checkpoints(&self, swaps: &[Swap]) -> Result<Vec<u64>, Error>;

    /// See [`crate::Store::acquire_lease`].
    fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError>;
    /// See [`crate::Store::renew_lease`].
    fn renew_lease(&self, name: &str, fence: u64, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError>;
    /// See [`crate::Store::release_lease`].
    fn release_lease(&self, name: &str, fence: u64) -> Result<(), Error>;

    /// The value kept under `key`.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error>;
    /// Keeps `value` under `key`; durable when it returns.
    fn put(&self, key: &str, value: &[u8]) -> Result<(), Error>;
    /// Every key with its value, sorted.
    fn values(&self) -> Result<Vec<(String, Vec<u8>)>, Error>;
    /// The counter `key`; 0 where it was never raised.
    fn counter(&self, key: &str) -> Result<u64, Error>;
    /// Raises the counter to `value`; false where it is not larger than what was there.
    fn raise_counter(&self, key: &str, value: u64) -> Result<bool, Error>;
    /// Adds one to the counter.
    fn next_counter(&self, key: &str) -> Result<u64, Error>;
    /// Every counter with its value, sorted.
    fn counters(&self) -> Result<Vec<(String, u64)>, Error>;
    /// Notes when hosts were heard from; an earlier time never replaces a later one. Need not survive a power cut.
    fn seen(&self, hosts: &[(String, Timestamp)]) -> Result<(), Error>;
    /// When each host was last heard from, sorted by host.
    fn last_seen(&self) -> Result<Vec<(String, Timestamp)>, Error>;
    /// Forgets a host.
    fn forget_seen(&self, host: &str) -> Result<(), Error>;

    /// Where the store has moved to, without secrets, and when.
    fn moved(&self) -> Result<Option<(String, Timestamp)>, Error>;
    /// Marks the store as moved, or as in use.
    fn mark_moved(&self, to: Option<(&str, Timestamp)>) -> Result<(), Error>;

    /// Notes a blob; durable when it returns.
    fn note_blob(&self, digest: &Digest, kind: &str, bytes: u64) -> Result<(), Error>;
    /// Kind and size of a blob.
    fn blob(&self, digest: &Digest) -> Result<Option<(String, u64)>, Error>;
    /// Up to `max` blobs whose names come after `after`, sorted by name.
    fn blobs(&self, after: Option<&Digest>, max: usize) -> Result<Vec<Entry>, Error>;
}
