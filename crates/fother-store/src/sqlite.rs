//! The store's database as one SQLite file below the data directory: write-ahead log, every commit on disk before it is acknowledged.

mod open;

pub use open::DATABASE;
pub(crate) use open::{make_private, sync_dir};

use crate::{
    AppendError, BATCH_BYTES_MAX, Error, Lease, LeaseError,
    database::{Database, Entry, Node, Swap},
    numbers::{int, uint},
};
use fother_core::{Digest, Timestamp, checkpoint::DASH};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// An open file. Calls from several threads take turns.
#[derive(Debug)]
pub(crate) struct Sqlite {
    /// Every commit is on disk before it is acknowledged.
    durable: Mutex<Connection>,
    /// For what may be lost in a power cut: last-seen times.
    volatile: Mutex<Connection>,
}

impl Sqlite {
    pub(crate) fn durable(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half transaction behind: dropping one rolls it back.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn volatile(&self) -> MutexGuard<'_, Connection> {
        self.volatile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one write transaction that is on disk before this returns.
    fn write<T, E: From<Error>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let mut connection = self.durable();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::sql("begin a transaction"))?;
        let value = work(&transaction)?;
        transaction.commit().map_err(Error::sql("commit"))?;
        Ok(value)
    }

    /// Runs one statement that changes something; says how many rows it did.
    fn execute(&self, act: &'static str, sql: &str, values: impl rusqlite::Params) -> Result<usize, Error> {
        let connection = self.durable();
        let mut statement = connection.prepare_cached(sql).map_err(Error::sql(act))?;
        statement.execute(values).map_err(Error::sql(act))
    }

    /// The first row of an answer, if there is one.
    fn row<T>(
        &self,
        act: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
        take: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let connection = self.durable();
        let mut statement = connection.prepare_cached(sql).map_err(Error::sql(act))?;
        statement.query_row(values, take).optional().map_err(Error::sql(act))
    }

    /// All rows of an answer.
    fn rows<T>(
        &self,
        act: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
        take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let connection = self.durable();
        let mut statement = connection.prepare_cached(sql).map_err(Error::sql(act))?;
        let rows = statement.query_map(values, take).map_err(Error::sql(act))?;
        rows.collect::<Result<_, _>>().map_err(Error::sql(act))
    }
}

impl Database for Sqlite {
    fn size(&self) -> Result<u64, Error> {
        size(&self.durable())
    }

    fn events(&self, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let connection = self.durable();
        let mut statement = connection
            .prepare_cached("SELECT seq, bytes FROM event WHERE seq >= ? ORDER BY seq LIMIT ?")
            .map_err(Error::sql("read events"))?;
        let mut rows = statement.query(params![int(from)?, i64::try_from(max).unwrap_or(i64::MAX)]).map_err(Error::sql("read events"))?;
        let (mut out, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(Error::sql("read events"))? {
            let event: Vec<u8> = row.get(1).map_err(Error::sql("read an event"))?;
            bytes += event.len();
            if bytes > BATCH_BYTES_MAX && !out.is_empty() {
                break;
            }
            out.push((uint(row.get(0).map_err(Error::sql("read an event"))?)?, event));
        }
        Ok(out)
    }

    fn nodes(&self, places: &[(u32, u64)]) -> Result<Vec<Option<Digest>>, Error> {
        let connection = self.durable();
        let mut statement =
            connection.prepare_cached("SELECT hash FROM node WHERE level = ? AND idx = ?").map_err(Error::sql("read the tree"))?;
        let mut find = |(level, index): &(u32, u64)| {
            let hash = statement.query_row(params![level, int(*index)?], |row| row.get(0)).optional();
            Ok(hash.map_err(Error::sql("read the tree"))?.map(Digest))
        };
        places.iter().map(&mut find).collect()
    }

    fn append(&self, first: u64, events: &[Vec<u8>], nodes: &[Node], fences: &[(&str, u64)]) -> Result<(), AppendError> {
        self.write(|connection| {
            for (lease, given) in fences {
                let current = find_lease(connection, lease)?.map_or(0, |(_, fence, _)| fence);
                if *given != current {
                    return Err(AppendError::Fenced { lease: (*lease).to_owned(), given: *given, current });
                }
            }
            let actual = size(connection)?;
            if actual != first {
                return Err(AppendError::HeadMoved { expected: first, actual });
            }
            Ok(insert(connection, first, events, nodes)?)
        })
    }

    fn checkpoints(&self, sizes: &[u64]) -> Result<Vec<Option<String>>, Error> {
        let find =
            |size: &u64| self.row("read a checkpoint", "SELECT note FROM checkpoint WHERE size = ?", [int(*size)?], |row| row.get(0));
        sizes.iter().map(find).collect()
    }

    fn latest_checkpoint(&self) -> Result<Option<(u64, String)>, Error> {
        let sql = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1";
        let row = self.row("read a checkpoint", sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
        row.map(|(size, note)| Ok((uint(size)?, note))).transpose()
    }

    fn cosigned(&self) -> Result<Vec<(u64, String)>, Error> {
        let lines = format!("%\n{DASH}%\n{DASH}%");
        let sql = "SELECT size, note FROM checkpoint WHERE note LIKE ? ORDER BY size";
        let rows = self.rows("read checkpoints", sql, [lines], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
        rows.into_iter().map(|(size, note)| Ok((uint(size)?, note))).collect()
    }

    fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO checkpoint (size, note) VALUES (?, ?)";
        self.execute("keep a checkpoint", sql, params![int(size)?, note]).map(drop)
    }

    fn swap_checkpoints(&self, swaps: &[Swap]) -> Result<Vec<u64>, Error> {
        self.write(|connection| {
            let mut swapped = Vec::new();
            for (size, old, new) in swaps {
                let at = int(*size)?;
                let rows = match old {
                    Some(old) => connection.execute("UPDATE checkpoint SET note = ? WHERE size = ? AND note = ?", params![new, at, old]),
                    None => connection.execute("INSERT OR IGNORE INTO checkpoint (note, size) VALUES (?, ?)", params![new, at]),
                };
                if rows.map_err(Error::sql("keep a cosignature"))? == 1 {
                    swapped.push(*size);
                }
            }
            Ok(swapped)
        })
    }

    fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        self.write(|connection| {
            let known = find_lease(connection, name)?;
            if let Some((other, _, until)) = &known
                && other != holder
                && *until > now
            {
                return Err(LeaseError::Held { name: name.to_owned(), holder: other.clone(), until: *until });
            }
            let lease = Lease { fence: known.map_or(0, |(_, fence, _)| fence) + 1, until: now + ttl };
            put_lease(connection, name, holder, lease)?;
            Ok(lease)
        })
    }

    fn renew_lease(&self, name: &str, fence: u64, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        self.write(|connection| {
            let (holder, current, until) = find_lease(connection, name)?.unwrap_or_default();
            if current != fence || fence == 0 {
                return Err(LeaseError::Lost { name: name.to_owned(), given: fence, current });
            }
            let lease = Lease { fence, until: until.max(now + ttl) };
            put_lease(connection, name, &holder, lease)?;
            Ok(lease)
        })
    }

    fn release_lease(&self, name: &str, fence: u64) -> Result<(), Error> {
        let sql = "UPDATE lease SET until = 0 WHERE name = ? AND fence = ?";
        self.execute("release a lease", sql, params![name, int(fence)?]).map(drop)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.row("read a value", "SELECT value FROM small WHERE key = ?", [key], |row| row.get(0))
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.execute("keep a value", "INSERT OR REPLACE INTO small (key, value) VALUES (?, ?)", params![key, value]).map(drop)
    }

    fn values(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.rows("read values", "SELECT key, value FROM small ORDER BY key", [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn counter(&self, key: &str) -> Result<u64, Error> {
        let row = self.row("read a counter", "SELECT value FROM counter WHERE key = ?", [key], |row| row.get(0))?;
        row.map_or(Ok(0), uint)
    }

    fn raise_counter(&self, key: &str, value: u64) -> Result<bool, Error> {
        let sql = "INSERT INTO counter (key, value) SELECT ?1, ?2 WHERE ?2 > 0
            ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE excluded.value > value";
        Ok(self.execute("raise a counter", sql, params![key, int(value)?])? == 1)
    }

    fn next_counter(&self, key: &str) -> Result<u64, Error> {
        let sql = "INSERT INTO counter (key, value) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value";
        uint(self.row("raise a counter", sql, [key], |row| row.get(0))?.unwrap_or_default())
    }

    fn counters(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows =
            self.rows("read counters", "SELECT key, value FROM counter ORDER BY key", [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        rows.into_iter().map(|(key, value)| Ok((key, uint(value)?))).collect()
    }

    fn seen(&self, hosts: &[(String, Timestamp)]) -> Result<(), Error> {
        let mut connection = self.volatile();
        let transaction = connection.transaction().map_err(Error::sql("begin a transaction"))?;
        for (host, at) in hosts {
            let upsert = "INSERT INTO last_seen (host, at) VALUES (?, ?) ON CONFLICT (host) DO UPDATE SET at = max(at, excluded.at)";
            let mut statement = transaction.prepare_cached(upsert).map_err(Error::sql("note a host"))?;
            statement.execute(params![host, int(at.ms())?]).map_err(Error::sql("note a host"))?;
        }
        transaction.commit().map_err(Error::sql("commit"))
    }

    fn last_seen(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        let connection = self.volatile();
        let mut statement = connection.prepare_cached("SELECT host, at FROM last_seen ORDER BY host").map_err(Error::sql("read hosts"))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).map_err(Error::sql("read hosts"))?;
        rows.map(|row| row.map_err(Error::sql("read hosts")).and_then(|(host, at)| Ok((host, Timestamp(uint(at)?))))).collect()
    }

    fn forget_seen(&self, host: &str) -> Result<(), Error> {
        self.volatile().execute("DELETE FROM last_seen WHERE host = ?", [host]).map(drop).map_err(Error::sql("forget a host"))
    }

    fn moved(&self) -> Result<Option<(String, Timestamp)>, Error> {
        let there = "SELECT 1 FROM sqlite_schema WHERE name = 'moved'";
        if self.row("look at its layout", there, [], |_| Ok(()))?.is_none() {
            return Ok(None);
        }
        let row = self.row("see whether it moved", "SELECT to_store, at FROM moved", [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        row.map(|(to, at)| Ok((to, Timestamp(uint(at)?)))).transpose()
    }

    fn mark_moved(&self, to: Option<(&str, Timestamp)>) -> Result<(), Error> {
        let act = "mark whether it moved";
        match to {
            Some((to, at)) => {
                self.execute(act, "INSERT OR REPLACE INTO moved (one, to_store, at) VALUES (1, ?, ?)", params![to, int(at.ms())?]).map(drop)
            }
            None => self.execute(act, "DELETE FROM moved", []).map(drop),
        }
    }

    fn note_blob(&self, digest: &Digest, kind: &str, bytes: u64) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO blob (digest, kind, bytes) VALUES (?, ?, ?)";
        self.execute("note a blob", sql, params![digest.0, kind, int(bytes)?]).map(drop)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<(String, u64)>, Error> {
        let sql = "SELECT kind, bytes FROM blob WHERE digest = ?";
        let row = self.row("find a blob", sql, [digest.0], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        row.map(|(kind, bytes)| Ok((kind, uint(bytes)?))).transpose()
    }

    fn blobs(&self, after: Option<&Digest>, max: usize) -> Result<Vec<Entry>, Error> {
        let sql = "SELECT digest, kind, bytes FROM blob WHERE digest > ? ORDER BY digest LIMIT ?";
        let after: &[u8] = after.map_or(&[], |digest| &digest.0);
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let take = |row: &rusqlite::Row<'_>| Ok((Digest(row.get(0)?), row.get(1)?, row.get::<_, i64>(2)?));
        let rows = self.rows("list blobs", sql, params![after, max], take)?;
        rows.into_iter().map(|(digest, kind, bytes)| Ok((digest, kind, uint(bytes)?))).collect()
    }
}

fn insert(connection: &Connection, first: u64, events: &[Vec<u8>], nodes: &[Node]) -> Result<(), Error> {
    let mut statement = connection.prepare_cached("INSERT INTO event (seq, bytes) VALUES (?, ?)").map_err(Error::sql("append"))?;
    for (seq, event) in (first..).zip(events) {
        statement.execute(params![int(seq)?, event]).map_err(Error::sql("append"))?;
    }
    let mut statement = connection.prepare_cached("INSERT INTO node (level, idx, hash) VALUES (?, ?, ?)").map_err(Error::sql("append"))?;
    for (level, index, hash) in nodes {
        statement.execute(params![level, int(*index)?, hash.0]).map_err(Error::sql("append"))?;
    }
    Ok(())
}

fn size(connection: &Connection) -> Result<u64, Error> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(seq) + 1, 0) FROM event").map_err(Error::sql("count events"))?;
    uint(statement.query_row([], |row| row.get(0)).map_err(Error::sql("count events"))?)
}

fn find_lease(connection: &Connection, name: &str) -> Result<Option<(String, u64, Timestamp)>, Error> {
    let row = connection.query_row("SELECT holder, fence, until FROM lease WHERE name = ?", [name], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    let row = row.optional().map_err(Error::sql("read a lease"))?;
    row.map(|(holder, fence, until)| Ok((holder, uint(fence)?, Timestamp(uint(until)?)))).transpose()
}

fn put_lease(connection: &Connection, name: &str, holder: &str, lease: Lease) -> Result<(), Error> {
    let done = connection.execute(
        "INSERT OR REPLACE INTO lease (name, holder, fence, until) VALUES (?, ?, ?, ?)",
        params![name, holder, int(lease.fence)?, int(lease.until.ms())?],
    );
    done.map(drop).map_err(Error::sql("write a lease"))
}
