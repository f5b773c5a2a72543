//! What can go wrong in the server. Touches nothing.

use fother_core::{canonical, decide::Refusal};
use std::path::{Path, PathBuf};

/// What went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A command does not fit the state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The input cannot be used.
    #[error("{0}")]
    Input(String),
    /// The log, a blob or the small state failed.
    #[error(transparent)]
    Store(#[from] fother_store::Error),
    /// Events could not be appended; nothing was done.
    #[error(transparent)]
    Append(#[from] fother_store::AppendError),
    /// Another server works on this directory.
    #[error("another server ({holder}) works on {}; stop it, or use its data directory no more", .dir.display())]
    Taken {
        /// The data directory.
        dir: PathBuf,
        /// Which.
        holder: String,
    },
    /// Other replicas appended first, again and again.
    #[error("other replicas were faster again and again; try again")]
    Busy,
    /// The log's lease is another's.
    #[error(transparent)]
    Lease(#[from] fother_store::LeaseError),
    /// A value has no canonical form.
    #[error(transparent)]
    Canonical(#[from] canonical::Error),
    /// A stored event cannot be read.
    #[error(transparent)]
    Event(#[from] fother_core::event::Error),
    /// The checkpoint could not be signed or read.
    #[error(transparent)]
    Checkpoint(#[from] fother_core::checkpoint::Error),
    /// The file system or network refused.
    #[error("cannot {act} {what}: {source}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        what: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Keys or certificates cannot be made or used.
    #[error("the server's identity: {0}; restore data_dir/keys from a backup, or start over with an empty data directory")]
    Identity(String),
    /// What is stored contradicts itself.
    #[error("the store is damaged: {0}; stop, run `fother log verify`, and restore a backup")]
    Damaged(String),
    /// The clock cannot be trusted.
    #[error("nothing is sent out: {0}; set the clock right, then restart the server")]
    Clock(String),
}

impl From<fother_core::dispatch::Damaged> for Error {
    fn from(damaged: fother_core::dispatch::Damaged) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

impl Error {
    pub(crate) fn io(act: &'static str, what: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_owned();
        move |source| Self::Io { act, what, source }
    }
}

/// A refusal as an error.
pub(crate) fn refuse<T>(code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Result<T, Error> {
    Err(Refusal { code, what: what.into(), hint: hint.into() }.into())
}
