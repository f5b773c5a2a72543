//! Small state beside the log: counters, keyed values, and last-seen times. Touches the database.

use crate::{
    Error, Store,
    log::{int, uint},
};
use fother_core::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

impl Store {
    /// The value kept under `key`.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let row = self.durable().query_row("SELECT value FROM small WHERE key = ?", [key], |row| row.get(0));
        row.optional().map_err(Error::sql("read a value"))
    }

    /// Keeps `value` under `key`, on disk before this returns.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(Error::StateTooLarge);
        }
        self.write(|connection| {
            let done = connection.execute("INSERT OR REPLACE INTO small (key, value) VALUES (?, ?)", params![key, value]);
            done.map(drop).map_err(Error::sql("keep a value"))
        })
    }

    /// The counter `key`; 0 where it was never raised.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn counter(&self, key: &str) -> Result<u64, Error> {
        counter(&self.durable(), key)
    }

    /// Raises the counter `key` to `value`, on disk before this returns; false, and nothing done, where it is not larger than what was there.
    /// For what must never go back: the newest release date seen of an archive, the last sequence number taken from a host.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn raise_counter(&self, key: &str, value: u64) -> Result<bool, Error> {
        self.write(|connection| {
            let higher = value > counter(connection, key)?;
            if higher {
                put_counter(connection, key, value)?;
            }
            Ok(higher)
        })
    }

    /// Adds one to the counter `key` and returns the new value, never the same one twice. For the directives' sequence numbers.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn next_counter(&self, key: &str) -> Result<u64, Error> {
        self.write(|connection| {
            let next = counter(connection, key)?.saturating_add(1);
            put_counter(connection, key, next)?;
            Ok(next)
        })
    }

    /// Notes that `hosts` were heard from; an earlier time never replaces a later one. A power cut may lose the last of these.
    ///
    /// # Errors
    /// Where a bound is exceeded or the database fails.
    pub fn seen(&self, hosts: &[(String, Timestamp)]) -> Result<(), Error> {
        let mut connection = self.volatile();
        let transaction = connection.transaction().map_err(Error::sql("begin a transaction"))?;
        for (host, at) in hosts {
            if host.len() > KEY_BYTES_MAX {
                return Err(Error::StateTooLarge);
            }
            let upsert = "INSERT INTO last_seen (host, at) VALUES (?, ?) ON CONFLICT (host) DO UPDATE SET at = max(at, excluded.at)";
            let mut statement = transaction.prepare_cached(upsert).map_err(Error::sql("note a host"))?;
            statement.execute(params![host, int(at.ms())?]).map_err(Error::sql("note a host"))?;
        }
        transaction.commit().map_err(Error::sql("commit"))
    }

    /// When each host was last heard from, sorted by host.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn last_seen(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        let connection = self.volatile();
        let mut statement = connection.prepare_cached("SELECT host, at FROM last_seen ORDER BY host").map_err(Error::sql("read hosts"))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).map_err(Error::sql("read hosts"))?;
        rows.map(|row| row.map_err(Error::sql("read hosts")).and_then(|(host, at)| Ok((host, Timestamp(uint(at)?))))).collect()
    }

    /// Forgets hosts that were retired.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn forget_seen(&self, host: &str) -> Result<(), Error> {
        self.volatile().execute("DELETE FROM last_seen WHERE host = ?", [host]).map(drop).map_err(Error::sql("forget a host"))
    }
}

fn counter(connection: &Connection, key: &str) -> Result<u64, Error> {
    let row = connection.query_row("SELECT value FROM counter WHERE key = ?", [key], |row| row.get(0));
    row.optional().map_err(Error::sql("read a counter"))?.map_or(Ok(0), uint)
}

fn put_counter(connection: &Connection, key: &str, value: u64) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::StateTooLarge);
    }
    let done = connection.execute("INSERT OR REPLACE INTO counter (key, value) VALUES (?, ?)", params![key, int(value)?]);
    done.map(drop).map_err(Error::sql("raise a counter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_counters_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!((store.get("k").unwrap(), store.counter("k").unwrap()), (None, 0));
        store.put("k", b"one").unwrap();
        store.put("k", b"two").unwrap();
        assert_eq!((store.next_counter("k").unwrap(), store.next_counter("k").unwrap()), (1, 2));
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!((store.get("k").unwrap().unwrap(), store.counter("k").unwrap()), (b"two".to_vec(), 2));
        assert!(store.put(&"k".repeat(KEY_BYTES_MAX + 1), b"").is_err());
        assert!(store.put("k", &vec![0; VALUE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_counter_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.raise_counter("release", 7).unwrap());
        assert!(!store.raise_counter("release", 7).unwrap());
        assert!(!store.raise_counter("release", 3).unwrap());
        assert_eq!(store.counter("release").unwrap(), 7);
        assert!(matches!(store.raise_counter("release", u64::MAX), Err(Error::Range(_))));
    }

    #[test]
    fn a_late_message_does_not_make_a_host_older() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.seen(&[("b".to_owned(), Timestamp(9)), ("a".to_owned(), Timestamp(5))]).unwrap();
        store.seen(&[("b".to_owned(), Timestamp(4))]).unwrap();
        assert_eq!(store.last_seen().unwrap(), [("a".to_owned(), Timestamp(5)), ("b".to_owned(), Timestamp(9))]);
        store.forget_seen("b").unwrap();
        assert_eq!(store.last_seen().unwrap().len(), 1);
    }
}
