//! The journal of one transaction: a line per step, on disk before the step is taken; appends to one file.

use super::{ApplyError, io_at};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

/// Largest journal that is read, in bytes.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One step of a transaction. Everything up to `captured` has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// About to prepare and to capture.
    Intent {
        /// Transaction id.
        id: String,
    },
    /// The undo archive is complete.
    Captured,
    /// About to run the package manager.
    Started {
        /// Units that are active now, with the invocation that runs.
        active: BTreeMap<String, String>,
        /// The restarts of package scripts are taken over.
        takes_over: bool,
    },
    /// The package manager has ended well; about to restart units.
    Done {
        /// Time of its run, in milliseconds.
        apply_ms: u64,
    },
    /// Units were restarted; about to seal.
    Restarted {
        /// What was done.
        applied: super::Applied,
    },
    /// Finished.
    Sealed,
    /// Given up before anything was changed.
    Abandoned {
        /// Why.
        why: String,
    },
    /// About to put everything back.
    Undoing {
        /// Why.
        why: String,
        /// What to do with paths that others wrote since.
        on_conflict: crate::undo::OnConflict,
    },
    /// Everything is back.
    Undone {
        /// Paths that were read anew and compared with their pre-images.
        compared: u64,
    },
}

/// Appends a step and returns once it is on disk.
pub(super) fn append(journal: &Path, step: &Step) -> Result<(), ApplyError> {
    let fail = || io_at(journal.display().to_string());
    let new = !journal.exists();
    let mut line = serde_json::to_vec(step).map_err(|error| ApplyError::Request(error.to_string()))?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(journal).map_err(fail())?;
    // A line that a power cut halved must not swallow this one.
    if fs::read(journal).map_err(fail())?.last().is_some_and(|last| *last != b'\n') {
        line.insert(0, b'\n');
    }
    file.write_all(&line).map_err(fail())?;
    file.sync_all().map_err(fail())?;
    if new && let Some(dir) = journal.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail())?;
    }
    Ok(())
}

/// The steps that were taken, in order. Lines that a power cut halved do not count; no journal is no step.
///
/// # Errors
/// Where the journal exists and cannot be read.
pub fn steps(journal: &Path) -> Result<Vec<Step>, ApplyError> {
    match fs::metadata(journal) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_at(journal.display().to_string())(error)),
        Ok(meta) if meta.len() > JOURNAL_BYTES_MAX => return Err(ApplyError::Request("the journal is too large".to_owned())),
        Ok(_) => {}
    }
    let text = fs::read(journal).map_err(io_at(journal.display().to_string()))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_in_order_and_half_a_line_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        assert_eq!(steps(&journal).unwrap(), []);
        append(&journal, &Step::Intent { id: "txn".to_owned() }).unwrap();
        let mut file = OpenOptions::new().append(true).open(&journal).unwrap();
        file.write_all(b"{\"step\":\"capt").unwrap();
        append(&journal, &Step::Captured).unwrap();
        assert_eq!(steps(&journal).unwrap(), [Step::Intent { id: "txn".to_owned() }, Step::Captured]);
    }
}
