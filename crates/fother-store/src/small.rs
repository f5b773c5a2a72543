//! Small state beside the log: counters, keyed values, and last-seen times. Touches the database.

use crate::{Error, Store};
use fother_core::Timestamp;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX { Err(Error::StateTooLarge) } else { Ok(()) }
}

impl Store {
    /// The value kept under `key`.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.database.get(key)
    }

    /// Keeps `value` under `key`, on disk before this returns.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::StateTooLarge);
        }
        self.database.put(key, value)
    }

    /// The counter `key`; 0 where it was never raised.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn counter(&self, key: &str) -> Result<u64, Error> {
        self.database.counter(key)
    }

    /// Raises the counter `key` to `value`, on disk before this returns; false, and nothing done, where it is not larger than what was there.
    /// For what must never go back: the newest release date seen of an archive, the last sequence number taken from a host.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn raise_counter(&self, key: &str, value: u64) -> Result<bool, Error> {
        check_key(key)?;
        self.database.raise_counter(key, value)
    }

    /// Adds one to the counter `key` and returns the new value, never the same one twice. For the directives' sequence numbers.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn next_counter(&self, key: &str) -> Result<u64, Error> {
        check_key(key)?;
        self.database.next_counter(key)
    }

    /// Notes that `hosts` were heard from; an earlier time never replaces a later one. A power cut may lose the last of these.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn seen(&self, hosts: &[(String, Timestamp)]) -> Result<(), Error> {
        hosts.iter().try_for_each(|(host, _)| check_key(host))?;
        self.database.seen(hosts)
    }

    /// When each host was last heard from, sorted by host.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn last_seen(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        self.database.last_seen()
    }

    /// Forgets hosts that were retired.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn forget_seen(&self, host: &str) -> Result<(), Error> {
        self.database.forget_seen(host)
    }
}
