//! The store's database as a schema in PostgreSQL, shared by all replicas. Every call is one statement: no lock is held while the
//! network is asked, so a replica that is cut off keeps nobody waiting.

mod connect;

pub(crate) use connect::Address;

use crate::{
    AppendError, BATCH_BYTES_MAX, Error, Lease, LeaseError,
    database::{Database, Entry, Node, Swap},
    numbers::{int, uint},
    runner::Runner,
};
use connect::Connections;
use fother_core::{Digest, Timestamp, checkpoint::DASH};
use std::{sync::Arc, time::Duration};
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql},
};

/// Rows that are asked for at once: of the largest events, four times [`BATCH_BYTES_MAX`].
const PAGE_ROWS: usize = 1_000;

type Value = Box<dyn ToSql + Sync + Send>;

/// Values for a statement, owned, since they travel to another thread.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as Value),*] };
}

/// Connections to one schema.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Connections,
}

impl Postgres {
    /// Connects, looks at how the server is set up, and creates or upgrades the tables unless `read_only`.
    pub(crate) fn connect(address: &Address, runner: Arc<Runner>, read_only: bool) -> Result<Self, Error> {
        let connections = Connections::open(address, runner, read_only)?;
        connections.prepare(read_only)?;
        Ok(Self { connections })
    }

    fn rows(&self, act: &'static str, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.connections.ask(act, sql, values, true)
    }

    fn row(&self, act: &'static str, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, Error> {
        Ok(self.rows(act, sql, values)?.into_iter().next())
    }

    /// Runs what answers with no rows.
    fn run(&self, act: &'static str, sql: &'static str, values: Vec<Value>) -> Result<(), Error> {
        self.rows(act, sql, values).map(drop)
    }

    /// Whether the events from `first` on are these: what an append came to whose answer was lost.
    fn holds(&self, first: u64, events: &[Vec<u8>]) -> Result<bool, Error> {
        let (mut next, mut rest) = (first, events);
        while !rest.is_empty() {
            let found = self.events(next, rest.len())?;
            let (here, after) = rest.split_at(found.len().min(rest.len()));
            if found.is_empty() || !here.iter().zip(&found).all(|(wanted, (_, found))| wanted == found) {
                return Ok(false);
            }
            (next, rest) = (next + here.len() as u64, after);
        }
        Ok(true)
    }
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|error| Error::Damaged(format!("PostgreSQL answered with other columns than expected: {error}")))
}

fn number(row: &Row, column: usize) -> Result<u64, Error> {
    uint(get(row, column)?)
}

fn digest(row: &Row, column: usize) -> Result<Digest, Error> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map(Digest).map_err(|_| Error::Damaged("a hash in PostgreSQL has not 32 bytes".to_owned()))
}

impl Database for Postgres {
    fn size(&self) -> Result<u64, Error> {
        let row = self.row("count events", "SELECT size FROM head", values![])?;
        row.map_or_else(|| Err(Error::Damaged("the log has lost its head".to_owned())), |row| number(&row, 0))
    }

    fn events(&self, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let (mut out, mut bytes, mut next) = (Vec::new(), 0, from);
        while out.len() < max {
            let limit = PAGE_ROWS.min(max - out.len());
            let sql = "SELECT seq, bytes FROM event WHERE seq >= $1 ORDER BY seq LIMIT $2";
            let rows = self.rows("read events", sql, values![int(next)?, limit as i64])?;
            let last = rows.len() < limit;
            for row in rows {
                let event: Vec<u8> = get(&row, 1)?;
                bytes += event.len();
                if bytes > BATCH_BYTES_MAX && !out.is_empty() {
                    return Ok(out);
                }
                next = number(&row, 0)? + 1;
                out.push((next - 1, event));
            }
            if last {
                break;
            }
        }
        Ok(out)
    }

    fn nodes(&self, places: &[(u32, u64)]) -> Result<Vec<Option<Digest>>, Error> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT node.hash FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS want (level, idx, place)
            LEFT JOIN node ON node.level = want.level AND node.idx = want.idx ORDER BY want.place";
        let levels: Vec<i32> = places.iter().map(|(level, _)| *level as i32).collect();
        let indices = places.iter().map(|(_, index)| int(*index)).collect::<Result<Vec<_>, _>>()?;
        let rows = self.rows("read the tree", sql, values![levels, indices])?;
        let hash = |row: &Row| get::<Option<&[u8]>>(row, 0)?.map(|_| digest(row, 0)).transpose();
        rows.iter().map(hash).collect()
    }

    fn append(&self, first: u64, events: &[Vec<u8>], nodes: &[Node], fences: &[(&str, u64)]) -> Result<(), AppendError> {
        let sql = "SELECT size_before, moved_lease, moved_fence FROM append($1, $2, $3, $4, $5, $6, $7)";
        let leases: Vec<String> = fences.iter().map(|(lease, _)| (*lease).to_owned()).collect();
        let given = fences.iter().map(|(_, fence)| int(*fence)).collect::<Result<Vec<_>, _>>();
        let Ok(given) = given else {
            // Beyond what any lease has: whoever says so never had it.
            let (lease, given) = fences.iter().find(|(_, fence)| int(*fence).is_err()).copied().unwrap_or_default();
            return Err(AppendError::Fenced { lease: lease.to_owned(), given, current: 0 });
        };
        let levels: Vec<i32> = nodes.iter().map(|(level, _, _)| *level as i32).collect();
        let indices = nodes.iter().map(|(_, index, _)| int(*index)).collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<Vec<u8>> = nodes.iter().map(|(_, _, hash)| hash.0.to_vec()).collect();
        let asked = || {
            let values =
                values![int(first)?, events.to_vec(), levels.clone(), indices.clone(), hashes.clone(), leases.clone(), given.clone()];
            self.connections.ask("append", sql, values, false)
        };
        let (rows, unsure) = match asked() {
            // It may have been done or not, or be under way still: ask again, and look at what is there.
            Err(Error::Unreachable { .. }) => (self.connections.patiently(asked)?, true),
            other => (other?, false),
        };
        let row = rows.first().ok_or_else(|| Error::Damaged("PostgreSQL did not answer an append".to_owned()))?;
        let actual = number(row, 0)?;
        if unsure && actual > first && self.holds(first, events)? {
            return Ok(());
        }
        if let Some(lease) = get::<Option<String>>(row, 1)? {
            let given = fences.iter().find(|(name, _)| *name == lease).map_or(0, |(_, fence)| *fence);
            return Err(AppendError::Fenced { lease, given, current: number(row, 2)? });
        }
        if actual == first { Ok(()) } else { Err(AppendError::HeadMoved { expected: first, actual }) }
    }

    fn checkpoints(&self, sizes: &[u64]) -> Result<Vec<Option<String>>, Error> {
        let sql = "SELECT checkpoint.note FROM unnest($1::bigint[]) WITH ORDINALITY AS want (size, place)
            LEFT JOIN checkpoint ON checkpoint.size = want.size ORDER BY want.place";
        let sizes = sizes.iter().map(|size| int(*size)).collect::<Result<Vec<_>, _>>()?;
        self.rows("read checkpoints", sql, values![sizes])?.iter().map(|row| get(row, 0)).collect()
    }

    fn latest_checkpoint(&self) -> Result<Option<(u64, String)>, Error> {
        let row = self.row("read a checkpoint", "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1", values![])?;
        row.map(|row| Ok((number(&row, 0)?, get(&row, 1)?))).transpose()
    }

    fn cosigned(&self) -> Result<Vec<(u64, String)>, Error> {
        let lines = format!("%\n{DASH}%\n{DASH}%");
        let rows = self.rows("read checkpoints", "SELECT size, note FROM checkpoint WHERE note LIKE $1 ORDER BY size", values![lines])?;
        rows.iter().map(|row| Ok((number(row, 0)?, get(row, 1)?))).collect()
    }

    fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), Error> {
        let sql = "INSERT INTO checkpoint (size, note) VALUES ($1, $2) ON CONFLICT (size) DO UPDATE SET note = excluded.note";
        self.run("keep a checkpoint", sql, values![int(size)?, note.to_owned()])
    }

    fn swap_checkpoints(&self, swaps: &[Swap]) -> Result<Vec<u64>, Error> {
        let sql = "WITH want AS (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) AS want (size, old, new)),
            changed AS (UPDATE checkpoint SET note = want.new FROM want
                WHERE checkpoint.size = want.size AND checkpoint.note = want.old RETURNING checkpoint.size),
            added AS (INSERT INTO checkpoint (size, note) SELECT size, new FROM want WHERE old IS NULL
                ON CONFLICT DO NOTHING RETURNING size)
            SELECT size FROM changed UNION ALL SELECT size FROM added";
        let sizes = swaps.iter().map(|(size, ..)| int(*size)).collect::<Result<Vec<_>, _>>()?;
        let (old, new): (Vec<Option<String>>, Vec<String>) = swaps.iter().map(|(_, old, new)| (old.clone(), new.clone())).unzip();
        self.rows("keep cosignatures", sql, values![sizes, old, new])?.iter().map(|row| number(row, 0)).collect()
    }

    fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        let (sql, until) = ("SELECT given, held_by, held_until FROM acquire($1, $2, $3, $4)", now + ttl);
        let values = values![name.to_owned(), holder.to_owned(), int(now.ms())?, int(until.ms())?];
        let row = self.row("take a lease", sql, values)?.ok_or_else(|| Error::Damaged("PostgreSQL did not answer".to_owned()))?;
        if let Some(holder) = get::<Option<String>>(&row, 1)? {
            return Err(LeaseError::Held { name: name.to_owned(), holder, until: Timestamp(number(&row, 2)?) });
        }
        Ok(Lease { fence: number(&row, 0)?, until })
    }

    fn renew_lease(&self, name: &str, fence: u64, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        let sql = "UPDATE lease SET until = greatest(until, $3) WHERE name = $1 AND fence = $2 RETURNING until";
        let values = values![name.to_owned(), int(fence)?, int((now + ttl).ms())?];
        if let Some(row) = self.row("renew a lease", sql, values)? {
            return Ok(Lease { fence, until: Timestamp(number(&row, 0)?) });
        }
        let row = self.row("read a lease", "SELECT fence FROM lease WHERE name = $1", values![name.to_owned()])?;
        let current = row.map_or(Ok(0), |row| number(&row, 0))?;
        Err(LeaseError::Lost { name: name.to_owned(), given: fence, current })
    }

    fn release_lease(&self, name: &str, fence: u64) -> Result<(), Error> {
        let sql = "UPDATE lease SET until = 0 WHERE name = $1 AND fence = $2";
        self.run("release a lease", sql, values![name.to_owned(), int(fence)?])
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let row = self.row("read a value", "SELECT value FROM small WHERE key = $1", values![key.to_owned()])?;
        row.map(|row| get(&row, 0)).transpose()
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO small (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.run("keep a value", sql, values![key.to_owned(), value.to_vec()])
    }

    fn values(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let rows = self.rows("read values", "SELECT key, value FROM small ORDER BY key", values![])?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    fn counter(&self, key: &str) -> Result<u64, Error> {
        let row = self.row("read a counter", "SELECT value FROM counter WHERE key = $1", values![key.to_owned()])?;
        row.map_or(Ok(0), |row| number(&row, 0))
    }

    fn raise_counter(&self, key: &str, value: u64) -> Result<bool, Error> {
        let sql = "INSERT INTO counter (key, value) SELECT $1, $2::bigint WHERE $2::bigint > 0
            ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE excluded.value > counter.value RETURNING value";
        // Not asked again where the answer was lost: the second answer would say that it was higher before.
        Ok(!self.connections.ask("raise a counter", sql, values![key.to_owned(), int(value)?], false)?.is_empty())
    }

    fn next_counter(&self, key: &str) -> Result<u64, Error> {
        let sql = "INSERT INTO counter (key, value) VALUES ($1, 1)
            ON CONFLICT (key) DO UPDATE SET value = counter.value + 1 RETURNING value";
        self.row("raise a counter", sql, values![key.to_owned()])?.map_or(Ok(0), |row| number(&row, 0))
    }

    fn counters(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows = self.rows("read counters", "SELECT key, value FROM counter ORDER BY key", values![])?;
        rows.iter().map(|row| Ok((get(row, 0)?, number(row, 1)?))).collect()
    }

    fn seen(&self, hosts: &[(String, Timestamp)]) -> Result<(), Error> {
        // The same host twice in one statement would be an error.
        let mut newest = std::collections::BTreeMap::<&str, i64>::new();
        for (host, at) in hosts {
            let at = int(at.ms())?;
            newest.entry(host).and_modify(|known| *known = at.max(*known)).or_insert(at);
        }
        let (names, times): (Vec<String>, Vec<i64>) = newest.into_iter().map(|(host, at)| (host.to_owned(), at)).unzip();
        let sql = "INSERT INTO last_seen (host, at) SELECT * FROM unnest($1::text[], $2::bigint[])
            ON CONFLICT (host) DO UPDATE SET at = greatest(last_seen.at, excluded.at)";
        self.connections.ask_volatile("note hosts", sql, values![names, times]).map(drop)
    }

    fn last_seen(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        let rows = self.rows("read hosts", "SELECT host, at FROM last_seen ORDER BY host", values![])?;
        rows.iter().map(|row| Ok((get(row, 0)?, Timestamp(number(row, 1)?)))).collect()
    }

    fn forget_seen(&self, host: &str) -> Result<(), Error> {
        self.run("forget a host", "DELETE FROM last_seen WHERE host = $1", values![host.to_owned()])
    }

    fn moved(&self) -> Result<Option<(String, Timestamp)>, Error> {
        let row = self.row("see whether it moved", "SELECT to_store, at FROM moved", values![])?;
        row.map(|row| Ok((get(&row, 0)?, Timestamp(number(&row, 1)?)))).transpose()
    }

    fn mark_moved(&self, to: Option<(&str, Timestamp)>) -> Result<(), Error> {
        let act = "mark whether it moved";
        match to {
            Some((to, at)) => {
                let sql = "INSERT INTO moved (to_store, at) VALUES ($1, $2)
                    ON CONFLICT (one) DO UPDATE SET to_store = excluded.to_store, at = excluded.at";
                self.run(act, sql, values![to.to_owned(), int(at.ms())?])
            }
            None => self.run(act, "DELETE FROM moved", values![]),
        }
    }

    fn note_blob(&self, digest: &Digest, kind: &str, bytes: u64) -> Result<(), Error> {
        let sql = "INSERT INTO blob (digest, kind, bytes) VALUES ($1, $2, $3)
            ON CONFLICT (digest) DO UPDATE SET kind = excluded.kind, bytes = excluded.bytes";
        self.run("note a blob", sql, values![digest.0.to_vec(), kind.to_owned(), int(bytes)?])
    }

    fn blob(&self, digest: &Digest) -> Result<Option<(String, u64)>, Error> {
        let row = self.row("find a blob", "SELECT kind, bytes FROM blob WHERE digest = $1", values![digest.0.to_vec()])?;
        row.map(|row| Ok((get(&row, 0)?, number(&row, 1)?))).transpose()
    }

    fn blobs(&self, after: Option<&Digest>, max: usize) -> Result<Vec<Entry>, Error> {
        let sql = "SELECT digest, kind, bytes FROM blob WHERE digest > $1 ORDER BY digest LIMIT $2";
        let after = after.map_or_else(Vec::new, |digest| digest.0.to_vec());
        let rows = self.rows("list blobs", sql, values![after, i64::try_from(max).unwrap_or(i64::MAX)])?;
        rows.iter().map(|row| Ok((digest(row, 0)?, get(row, 1)?, number(row, 2)?))).collect()
    }
}
