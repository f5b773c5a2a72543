//! The append-only event log and its Merkle tree. Touches the database.

use crate::{AppendError, Error, LOG_LEASE, Store, lease};
use fother_core::{
    Digest,
    checkpoint::{DASH, Note, VerifierKey},
    merkle,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// Largest event.
pub const EVENT_BYTES_MAX: usize = fother_core::event::BYTES_MAX;
/// Most events of one append.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Most bytes of one append, and of one read.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

impl Store {
    /// Appends `events` where the log has exactly `expected_head` of them and `fence` is the current fence of [`LOG_LEASE`]
    /// (0 while nobody ever took it). All or none, on disk before this returns the new size.
    ///
    /// # Errors
    /// Where the log has moved on, the lease is another's, a bound is exceeded, or the database fails.
    pub fn append(&self, events: &[Vec<u8>], expected_head: u64, fence: u64) -> Result<u64, AppendError> {
        check_bounds(events)?;
        self.write(|connection| {
            let current = lease::fence_of(connection, LOG_LEASE)?;
            if fence != current {
                return Err(AppendError::Fenced { given: fence, current });
            }
            let mut tree = tree(connection)?;
            if tree.size() != expected_head {
                return Err(AppendError::HeadMoved { expected: expected_head, actual: tree.size() });
            }
            for event in events {
                insert(connection, &mut tree, event)?;
            }
            Ok(tree.size())
        })
    }

    /// Number of events.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn size(&self) -> Result<u64, Error> {
        size(&self.durable())
    }

    /// Root of the tree over the first `size` events.
    ///
    /// # Errors
    /// Where the log has fewer, or the database fails.
    pub fn root(&self, size: u64) -> Result<Digest, Error> {
        self.with_size(size, |connection| merkle::root_from(size, |level, index| node(connection, level, index)))
    }

    /// Up to `max` events from number `from` on, in order, cut at [`BATCH_BYTES_MAX`] but never to none where there is one.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn read(&self, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
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

    /// Stored leaf hashes of the events `from..to`.
    ///
    /// # Errors
    /// Where the log has fewer, or the database fails.
    pub fn leaf_hashes(&self, from: u64, to: u64) -> Result<Vec<Digest>, Error> {
        self.with_size(to, |connection| (from..to).map(|seq| node(connection, 0, seq)).collect())
    }

    /// Stored hashes of the perfect subtrees `from..to` of one level.
    pub(crate) fn nodes(&self, level: u32, from: u64, to: u64) -> Result<Vec<Digest>, Error> {
        self.read_in(|connection| (from..to).map(|index| node(connection, level, index)).collect())
    }

    /// Audit path of event `seq` in the tree over the first `size` events: see [`merkle::verify`].
    ///
    /// # Errors
    /// Where the log has fewer events, `seq` is not among them, or the database fails.
    pub fn prove_inclusion(&self, seq: u64, size: u64) -> Result<Vec<Digest>, Error> {
        if seq >= size {
            return Err(Error::Beyond { wanted: seq.saturating_add(1), size });
        }
        self.with_size(size, |connection| merkle::prove_from(seq, size, |level, index| node(connection, level, index)))
    }

    /// Proof that the first `first` events are the beginning of the first `second`: see [`merkle::verify_consistency`].
    ///
    /// # Errors
    /// Where the log has fewer than `second` events, `first` is larger than `second`, or the database fails.
    pub fn prove_consistency(&self, first: u64, second: u64) -> Result<Vec<Digest>, Error> {
        if first > second {
            return Err(Error::Beyond { wanted: first, size: second });
        }
        self.with_size(second, |connection| merkle::prove_consistency_from(first, second, |level, index| node(connection, level, index)))
    }

    /// Keeps a signed checkpoint; one of the same size, with fewer cosignatures, is replaced.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), Error> {
        self.write(|connection| {
            let done = connection.execute("INSERT OR REPLACE INTO checkpoint (size, note) VALUES (?, ?)", params![int(size)?, note]);
            done.map(drop).map_err(Error::sql("keep a checkpoint"))
        })
    }

    /// The kept checkpoint of the largest size, as (size, note).
    ///
    /// # Errors
    /// Where the database fails.
    pub fn latest_checkpoint(&self) -> Result<Option<(u64, String)>, Error> {
        let row = self
            .durable()
            .query_row("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1", [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let row = row.optional().map_err(Error::sql("read a checkpoint"))?;
        row.map(|(size, note)| Ok((uint(size)?, note))).transpose()
    }

    /// Adds cosignatures, each by a key on a note, to the kept checkpoints of these sizes, where that is the same text and has room.
    ///
    /// # Errors
    /// Where a kept note cannot be read, or the database fails.
    pub fn cosign_checkpoints(&self, cosigned: &[(u64, Note, VerifierKey)]) -> Result<(), Error> {
        let mut by_size: BTreeMap<u64, Vec<(&Note, &VerifierKey)>> = BTreeMap::new();
        cosigned.iter().for_each(|(size, note, key)| by_size.entry(*size).or_default().push((note, key)));
        self.write(|connection| {
            for (size, notes) in by_size {
                cosign(connection, int(size)?, &notes)?;
            }
            Ok(())
        })
    }

    /// Every kept checkpoint that carries more than the log's own signature, the smallest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn cosigned_checkpoints(&self) -> Result<Vec<(u64, String)>, Error> {
        self.read_in(cosigned)
    }

    fn with_size<T>(&self, wanted: u64, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.read_in(|connection| {
            let size = size(connection)?;
            if wanted > size { Err(Error::Beyond { wanted, size }) } else { work(connection) }
        })
    }
}

/// Merges cosignatures into the kept checkpoint of one size.
fn cosign(connection: &Connection, size: i64, notes: &[(&Note, &VerifierKey)]) -> Result<(), Error> {
    let row = connection.query_row("SELECT note FROM checkpoint WHERE size = ?", [size], |row| row.get::<_, String>(0));
    let kept: Option<Note> = row.optional().map_err(Error::sql("read a checkpoint"))?.map(|text| text.parse()).transpose()?;
    let Some(mut merged) = kept.clone().or_else(|| notes.first().map(|(note, _)| (*note).clone())) else { return Ok(()) };
    for (note, key) in notes {
        merged.adopt(note, key);
    }
    if kept.as_ref() == Some(&merged) {
        return Ok(());
    }
    let done = connection.execute("INSERT OR REPLACE INTO checkpoint (size, note) VALUES (?, ?)", params![size, merged.to_string()]);
    done.map(drop).map_err(Error::sql("keep a cosignature"))
}

fn check_bounds(events: &[Vec<u8>]) -> Result<(), AppendError> {
    let bytes = events.iter().map(Vec::len).sum();
    if events.len() > BATCH_EVENTS_MAX || bytes > BATCH_BYTES_MAX {
        return Err(AppendError::BatchSize { events: events.len(), bytes });
    }
    let bad = events.iter().enumerate().find(|(_, event)| event.is_empty() || event.len() > EVENT_BYTES_MAX);
    bad.map_or(Ok(()), |(index, event)| Err(AppendError::EventSize { index, bytes: event.len() }))
}

fn insert(connection: &Connection, tree: &mut merkle::Tree, event: &[u8]) -> Result<(), Error> {
    let mut statement = connection.prepare_cached("INSERT INTO event (seq, bytes) VALUES (?, ?)").map_err(Error::sql("append"))?;
    statement.execute(params![int(tree.size())?, event]).map_err(Error::sql("append"))?;
    let mut nodes = Vec::new();
    tree.append_with(merkle::leaf_hash(event), |level, index, hash| nodes.push((level, index, *hash)));
    let mut statement = connection.prepare_cached("INSERT INTO node (level, idx, hash) VALUES (?, ?, ?)").map_err(Error::sql("append"))?;
    for (level, index, hash) in nodes {
        statement.execute(params![level, int(index)?, hash.0]).map_err(Error::sql("append"))?;
    }
    Ok(())
}

pub(crate) fn cosigned(connection: &Connection) -> Result<Vec<(u64, String)>, Error> {
    let lines = format!("%\n{DASH}%\n{DASH}%");
    let mut statement =
        connection.prepare("SELECT size, note FROM checkpoint WHERE note LIKE ? ORDER BY size").map_err(Error::sql("read checkpoints"))?;
    let rows = statement.query_map([lines], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).map_err(Error::sql("read checkpoints"))?;
    rows.map(|row| row.map_err(Error::sql("read checkpoints")).and_then(|(size, note)| Ok((uint(size)?, note)))).collect()
}

pub(crate) fn size(connection: &Connection) -> Result<u64, Error> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(seq) + 1, 0) FROM event").map_err(Error::sql("count events"))?;
    uint(statement.query_row([], |row| row.get(0)).map_err(Error::sql("count events"))?)
}

fn tree(connection: &Connection) -> Result<merkle::Tree, Error> {
    let size = size(connection)?;
    let peaks = merkle::peak_positions(size).map(|(level, index)| node(connection, level, index)).collect::<Result<_, _>>()?;
    merkle::Tree::from_parts(size, peaks).ok_or_else(|| Error::Damaged("the tree has no right edge".to_owned()))
}

fn node(connection: &Connection, level: u32, index: u64) -> Result<Digest, Error> {
    let found = find_node(connection, level, index)?;
    found.ok_or_else(|| Error::Damaged(format!("the tree's node {index} of level {level} is missing")))
}

pub(crate) fn find_node(connection: &Connection, level: u32, index: u64) -> Result<Option<Digest>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT hash FROM node WHERE level = ? AND idx = ?").map_err(Error::sql("read the tree"))?;
    let hash = statement.query_row(params![level, int(index)?], |row| row.get(0)).optional().map_err(Error::sql("read the tree"))?;
    Ok(hash.map(Digest))
}

pub(crate) fn int(value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::Range(value))
}

pub(crate) fn uint(value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Damaged(format!("{value} stands where no negative number can")))
}

#[cfg(test)]
mod tests;
