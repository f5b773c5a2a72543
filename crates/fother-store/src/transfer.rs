//! Copies a store into another, whatever the two are made of: resumable, verified at the end. Migration, backup and restore are this.
//!
//! Blobs come before the events that name them, events before what counts them: cut off anywhere, what is there is a whole beginning.

use crate::{Error, Place, Store, VerifyReport, blobs::digest_of, database::Database};
use fother_core::{Timestamp, checkpoint::VerifierKey};
use std::path::Path;

/// Events, and blobs, that are asked for at once.
const PAGE: usize = 1_000;

/// How a store stands. Only one that is in use may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A server may work on it.
    InUse,
    /// It has moved.
    Moved {
        /// Where to, without secrets.
        to: String,
        /// When.
        at: Timestamp,
    },
    /// A migration or restore into it has not ended.
    Unfinished,
    /// It is a backup.
    Backup {
        /// When it was taken.
        at: Timestamp,
    },
}

const UNFINISHED: &str = "unfinished:";
const BACKUP: &str = "backup:";

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blobs that are there, of how many, and the bytes of those that were written now.
    pub blobs: (u64, u64),
    /// Bytes written.
    pub bytes: u64,
    /// Events that are there, of how many.
    pub events: (u64, u64),
}

/// What a transfer would do, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Events of the source.
    pub events: u64,
    /// Of these, those that the target had before.
    pub events_before: u64,
    /// Blobs of the source, and their bytes.
    pub blobs: u64,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// What the check of the target found; nothing where nothing was done.
    pub report: Option<VerifyReport>,
}

impl Store {
    /// How the store stands.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn standing(&self) -> Result<Standing, Error> {
        Ok(match self.database.moved()? {
            None => Standing::InUse,
            Some((to, _)) if to == UNFINISHED => Standing::Unfinished,
            Some((to, at)) if to == BACKUP => Standing::Backup { at },
            Some((to, at)) => Standing::Moved { to, at },
        })
    }

    /// Marks how the store stands, durably.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn mark(&self, standing: &Standing) -> Result<(), Error> {
        self.database.mark_moved(match standing {
            Standing::InUse => None,
            Standing::Moved { to, at } => Some((to, *at)),
            Standing::Unfinished => Some((UNFINISHED, Timestamp(0))),
            Standing::Backup { at } => Some((BACKUP, *at)),
        })
    }

    /// Opens a store to transfer into it, or to mark it anew: however it stands.
    ///
    /// # Errors
    /// As [`Store::open_at`].
    pub fn open_standing(dir: &Path, place: &Place) -> Result<Self, Error> {
        crate::sqlite::make_private(dir)?;
        Self::assemble(dir, place, false)
    }

    pub(crate) fn in_use(&self) -> Result<(), Error> {
        match self.standing()? {
            Standing::InUse => Ok(()),
            Standing::Moved { to, at } => Err(Error::Moved { to, at }),
            Standing::Unfinished => Err(Error::Unfinished),
            Standing::Backup { at } => Err(Error::IsBackup { at }),
        }
    }
}

/// What a transfer into `to` would come to.
///
/// # Errors
/// Where `to` holds another log, or either cannot be read.
pub fn survey(from: &Store, to: Option<&Store>) -> Result<Transferred, Error> {
    let events = from.size()?;
    let events_before = to.map_or(Ok(0), |to| beginning(from, to, events))?;
    let (mut blobs, mut bytes) = (0, 0);
    each_blob(&*from.database, |page| {
        blobs += page.len() as u64;
        bytes += page.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        Ok(())
    })?;
    Ok(Transferred { events, events_before, blobs, bytes, report: None })
}

/// Transfers everything into `to`, which holds nothing or the beginning of it, and verifies `to` against the newest checkpoint, signed by
/// `key`: every event, every hash, every blob. What is appended to `from` meanwhile is left out.
///
/// # Errors
/// Where `to` holds another log, either fails, or `to` does not verify in the end.
pub fn transfer(from: &Store, to: &Store, key: &VerifierKey, tell: &mut dyn FnMut(Progress)) -> Result<Transferred, Error> {
    let Some((signed, note)) = from.latest_checkpoint()? else {
        return Err(Error::Damaged("there is no checkpoint to verify a copy against; start the server once".to_owned()));
    };
    let plan = survey(from, Some(to))?;
    let mut progress = Progress { blobs: (0, plan.blobs), bytes: 0, events: (plan.events_before, plan.events) };
    each_blob(&*from.database, |page| {
        for (digest, kind, bytes) in page {
            let there =
                to.database.blob(digest)?.is_some() && to.files.read(digest)?.is_some_and(|there| digest_of(kind, &there) == *digest);
            if !there {
                let content = from.get_blob(digest)?.ok_or_else(|| Error::Damaged(format!("the blob {digest} is missing")))?;
                to.put_named_blob(*digest, kind, &content)?;
                progress.bytes += bytes;
            }
            progress.blobs.0 += 1;
            progress.blobs.1 = progress.blobs.1.max(progress.blobs.0);
            tell(progress);
        }
        Ok(())
    })?;
    while progress.events.0 < plan.events {
        let wanted = usize::try_from(plan.events - progress.events.0).unwrap_or(PAGE).min(PAGE);
        let page: Vec<Vec<u8>> = from.read(progress.events.0, wanted)?.into_iter().map(|(_, event)| event).collect();
        if page.is_empty() {
            return Err(Error::Damaged(format!("event {} is missing", progress.events.0)));
        }
        progress.events.0 = to.append_under(&page, progress.events.0, &[]).map_err(|error| match error {
            crate::AppendError::Store(error) => error,
            other => Error::Damaged(format!("somebody else writes to the target: {other}")),
        })?;
        tell(progress);
    }
    beside(from, to, plan.events, signed, &note)?;
    let report = to.verify(&note, key)?;
    if from.root(plan.events)? != to.root(plan.events)? {
        return Err(Error::Damaged("the copy has another root than the original".to_owned()));
    }
    Ok(Transferred { report: Some(report), ..plan })
}

/// Number of events that `to` has, where they are the first of `from`.
fn beginning(from: &Store, to: &Store, events: u64) -> Result<u64, Error> {
    let there = to.size()?;
    if there > events || from.root(there)? != to.root(there)? {
        return Err(Error::OtherLog { there });
    }
    Ok(there)
}

/// What stands beside the log. Checkpoints over more than was copied are left out; counters that went on meanwhile are only higher.
fn beside(from: &Store, to: &Store, events: u64, signed: u64, note: &str) -> Result<(), Error> {
    for (size, note) in from.cosigned_checkpoints()?.into_iter().filter(|(size, _)| *size <= events) {
        to.put_checkpoint(size, &note)?;
    }
    if signed <= events {
        to.put_checkpoint(signed, note)?;
    }
    for (key, value) in from.database.values()? {
        to.put(&key, &value)?;
    }
    for (key, value) in from.database.counters()? {
        to.raise_counter(&key, value)?;
    }
    for page in from.last_seen()?.chunks(PAGE) {
        to.seen(page)?;
    }
    Ok(())
}

fn each_blob(database: &dyn Database, mut take: impl FnMut(&[crate::database::Entry]) -> Result<(), Error>) -> Result<(), Error> {
    let mut last = None;
    loop {
        let page = database.blobs(last.as_ref(), PAGE)?;
        let Some((end, _, _)) = page.last() else { return Ok(()) };
        last = Some(*end);
        take(&page)?;
    }
}
