//! What can go wrong with the store, in words for whoever runs the server. Touches nothing.

use fother_core::{Digest, Timestamp, checkpoint};
use std::path::{Path, PathBuf};

/// The store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {act} {path}: {source}; check its owner, mode and free space")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("the database failed to {act}: {source}")]
    Sqlite {
        /// What was tried.
        act: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// PostgreSQL refused.
    #[error("PostgreSQL failed to {act}: {why}")]
    Postgres {
        /// What was tried.
        act: &'static str,
        /// What it said.
        why: String,
    },
    /// PostgreSQL cannot be reached, or the connection was lost; whether the last thing asked was done may be unknown.
    #[error("PostgreSQL at {at} does not answer ({why}); it is tried again, look at that server and at the network")]
    Unreachable {
        /// Which server.
        at: String,
        /// Why not.
        why: String,
    },
    /// The PostgreSQL server does not keep what it acknowledges, or is set up so that the log would not be safe on it.
    #[error("the PostgreSQL server cannot be trusted with the log: {0}")]
    Unsafe(String),
    /// The object store refused.
    #[error("the object store failed to {act} {what}: {why}")]
    Objects {
        /// What was tried.
        act: &'static str,
        /// On what.
        what: String,
        /// What it said.
        why: String,
    },
    /// Where the store shall be is not told in a form that is understood.
    #[error("{0}")]
    Place(String),
    /// The store has moved.
    #[error(
        "this store moved to {to} at {at}: start the server with --store and --blobs as they are there, or take the move back with `fother store reopen`"
    )]
    Moved {
        /// Where to, without secrets.
        to: String,
        /// When.
        at: Timestamp,
    },
    /// Something is being copied into it.
    #[error("a migration or restore into this store has not ended: run the same command again, it goes on where it was")]
    Unfinished,
    /// It is a backup.
    #[error("this is a backup of {at}, not a store to work on: `fother store restore` makes one out of it")]
    IsBackup {
        /// When it was taken.
        at: Timestamp,
    },
    /// The target holds something else.
    #[error("the target holds another log ({there} events that are not the first of this one): choose an empty place")]
    OtherLog {
        /// Events of that log.
        there: u64,
    },
    /// The directory is open to others and does not look like ours.
    #[error("{0} may be read by others and holds no store: choose an empty directory, or chmod 700 it")]
    Exposed(PathBuf),
    /// The file is a database of something else.
    #[error("{0} is not a store of Fother: restore it from a backup or choose another directory")]
    Foreign(PathBuf),
    /// The store was written by a newer version.
    #[error("{path} has layout {found}, this program knows {known}: install the version that wrote it")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest layout that this program knows.
        known: i64,
    },
    /// What is stored contradicts itself.
    #[error("the store is damaged: {0}; stop the server, run `fother log verify` and restore from a backup")]
    Damaged(String),
    /// A blob is larger than the bound.
    #[error("a blob of {bytes} bytes is over the limit of {max} bytes")]
    BlobTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The bytes are not what their name says.
    #[error("the bytes given for {named} are {found}: they were altered or cut short on the way")]
    BlobMismatch {
        /// The name.
        named: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// The kind of a blob is not a short lower-case word.
    #[error("not a kind of blob: {0:?}; expected 1 to 32 of a-z, 0-9 and -")]
    BlobKind(String),
    /// A key or value of the small state is over its bound.
    #[error("key or value too large for the small state: at most {} and {} bytes", crate::KEY_BYTES_MAX, crate::VALUE_BYTES_MAX)]
    StateTooLarge,
    /// A number is beyond what the database stores.
    #[error("the number {0} is beyond the database's range")]
    Range(u64),
    /// A proof or root was asked for a size or index that the log does not have.
    #[error("the log has {size} events, {wanted} were asked for")]
    Beyond {
        /// What was asked for.
        wanted: u64,
        /// What there is.
        size: u64,
    },
    /// The checkpoint was not accepted.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
}

impl Error {
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    pub(crate) fn sql(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { act, source }
    }
}

/// Events were not appended; none of the batch was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first: fold their events, decide again.
    #[error("the log has {actual} events, not {expected}: somebody else appended first")]
    HeadMoved {
        /// The size that the caller had seen.
        expected: u64,
        /// The size there is.
        actual: u64,
    },
    /// The caller no longer holds the log's lease, or never did: stop.
    #[error("fence {given} is not the current fence {current} of the lease {lease}: another server has taken over")]
    Fenced {
        /// The lease.
        lease: String,
        /// The caller's fence.
        given: u64,
        /// The fence of the lease's holder.
        current: u64,
    },
    /// An event is empty or over [`crate::EVENT_BYTES_MAX`].
    #[error("event {index} of the batch has {bytes} bytes: 1 to {} are allowed; put bulky things into blobs", crate::EVENT_BYTES_MAX)]
    EventSize {
        /// Its place in the batch.
        index: usize,
        /// Its size.
        bytes: usize,
    },
    /// The batch is over [`crate::BATCH_EVENTS_MAX`] or [`crate::BATCH_BYTES_MAX`].
    #[error(
        "a batch of {events} events and {bytes} bytes is over the limits of {} and {}",
        crate::BATCH_EVENTS_MAX,
        crate::BATCH_BYTES_MAX
    )]
    BatchSize {
        /// Events in it.
        events: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A lease was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("the lease {name} is held by {holder} until {until}: wait, or stop that server")]
    Held {
        /// The lease.
        name: String,
        /// Who holds it.
        holder: String,
        /// When it ends unless renewed.
        until: Timestamp,
    },
    /// It is no longer the caller's.
    #[error("the lease {name} was lost: fence {given} is not the current {current}")]
    Lost {
        /// The lease.
        name: String,
        /// The caller's fence.
        given: u64,
        /// The current fence.
        current: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}
