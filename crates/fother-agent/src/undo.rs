//! Undo at the host itself, with or without executor and server: root is the authority, the journal says what there is.

use crate::{
    config::Config,
    durable::Disk,
    host::{Clock, Host},
    transaction::{Driver, Journal, Step},
    worker::read_transaction,
};
use fother_core::{id::TransactionId, protocol::Outcome};
use rustix::fs::FlockOperation;
use std::{fs::File, io};

/// Holds the right to act on this host's packages; released when dropped.
pub struct Hands {
    _file: File,
}

/// File below [`Config::data`] that is locked while somebody acts.
pub const HANDS_FILE: &str = "hands.lock";

/// Why a transaction went back that root undid.
pub const BY_ROOT: &str = "undone by root at the host itself";

/// Waits for the right to act; the executor's worker and `undo` exclude each other with it.
///
/// # Errors
/// Where the lock cannot be had: nobody may act then, for another may be acting.
pub fn hands(config: &Config) -> io::Result<Hands> {
    let path = config.data.join(HANDS_FILE);
    let bad = |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be locked, so nothing is done: {error}", path.display()));
    let file = File::options().create(true).append(true).open(&path).map_err(bad)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|()| Hands { _file: file }).map_err(|error| bad(error.into())),
        }
    }
}

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// Not in a journal here.
    #[error("{txn} is no transaction of this host; those it knows: {known}")]
    Unknown {
        /// Asked for.
        txn: TransactionId,
        /// Those in the journals.
        known: String,
    },
    /// Already gone or still running.
    #[error("{txn} is not in effect ({how}): there is nothing to undo")]
    NotInEffect {
        /// Asked for.
        txn: TransactionId,
        /// Its last step.
        how: String,
    },
    /// The lock.
    #[error("{0}")]
    Hands(#[from] io::Error),
    /// Files.
    #[error("the journal of {txn} cannot be used: {source}")]
    Journal {
        /// Asked for.
        txn: TransactionId,
        /// Why.
        source: io::Error,
    },
}

/// The transactions that this host knows, oldest first, each with its last step.
///
/// # Errors
/// Where the directory cannot be read.
pub fn list(config: &Config) -> io::Result<Vec<(TransactionId, Step)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(config.transactions())? {
        let entry = entry?;
        let Some(txn) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(step) = Journal::open(&entry.path(), Disk::default())?.steps().last() {
            found.push((txn, step.clone()));
        }
    }
    found.sort_by_key(|(txn, _)| *txn);
    Ok(found)
}

/// Undoes a transaction now; one that was interrupted goes on. The approval's undo deadline does not bind root.
///
/// # Errors
/// See [`UndoError`].
pub fn undo_cli(config: &Config, host: &dyn Host, clock: &dyn Clock, txn: TransactionId) -> Result<Outcome, UndoError> {
    let _hands = hands(config)?;
    let dir = config.transactions().join(txn.to_string());
    let journal_error = |source| UndoError::Journal { txn, source };
    let mut journal = Journal::open(&dir, Disk::default()).map_err(journal_error)?;
    let touched = journal.steps().contains(&Step::Applying);
    match journal.steps().last() {
        None => {
            let known = list(config).unwrap_or_default().iter().map(|(txn, _)| txn.to_string()).collect::<Vec<_>>().join(", ");
            return Err(UndoError::Unknown { txn, known });
        }
        Some(Step::GoingBack { .. } | Step::Back { .. }) => {}
        Some(Step::Applied { .. } | Step::Soaking { .. } | Step::Ended { outcome: Outcome::Verified { .. } | Outcome::Failed { .. } })
            if touched =>
        {
            journal.append(Step::GoingBack { why: BY_ROOT.to_owned() }).map_err(journal_error)?;
        }
        Some(other) => return Err(UndoError::NotInEffect { txn, how: format!("{other:?}") }),
    }
    let transaction = read_transaction(&dir).map_err(journal_error)?;
    Driver { host, clock, transaction: &transaction, journal, tell: &|_| Ok(()) }.run().map_err(journal_error)
}
