//! What the executor must never forget, in one small file replaced as a whole: the highest sequence, the queue, reports, the newest archive dates.

use crate::durable::{self, Disk};
use std::{io, path::PathBuf};

pub use fother_core::agent::queue::{BLOBS_MAX, JOBS_MAX, Job, REPORTS_MAX, State};

const FILE_BYTES_MAX: u64 = 64 << 20;

/// The state and where it lies.
pub struct Keeper {
    path: PathBuf,
    disk: Disk,
    state: State,
}

impl Keeper {
    /// Reads the state, or begins with an empty one.
    ///
    /// # Errors
    /// Where it is there but damaged: never begun anew silently, or old directives would be taken again.
    pub fn open(path: PathBuf, disk: Disk) -> io::Result<Self> {
        let state = match durable::read_bounded(&path, FILE_BYTES_MAX) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| io::Error::other(format!("{} is damaged: {error}", path.display())))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, disk, state })
    }

    /// The present state.
    #[must_use]
    pub fn get(&self) -> &State {
        &self.state
    }

    /// Changes it durably; on failure nothing has changed.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut next = self.state.clone();
        let answer = change(&mut next);
        if next != self.state {
            self.disk.replace(&self.path, &serde_json::to_vec(&next)?)?;
            self.state = next;
        }
        Ok(answer)
    }
}
