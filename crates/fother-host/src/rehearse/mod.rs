//! The real upgrade on a copy-on-write clone of this host, booted, judged, undone and compared. Root only; mounts overlays and runs a container below one work directory.

mod bisect;
mod clone;
mod data;
mod driver;
mod footprint;
mod judge;
mod layers;
mod run;

pub use bisect::{Bisection, bisect};
pub use driver::{Ask, EXCHANGE, inside};
pub use judge::Observation;
pub use run::rehearse;

use crate::{manifest, transact::ConffilePolicy, undo::UndoError};
use fother_core::{Digest, policy::Check, resolution::PackageChange};
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};

/// Most paths of the host that may change while it is rehearsed on; more, and the clone does not stand for the host.
pub const MOVED_MAX: usize = 100;

/// What the clone may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Processors, in per cent of one.
    pub cpu_percent: u32,
    /// Processes and threads.
    pub tasks: u32,
    /// Whole rehearsal, in seconds.
    pub time_s: u64,
    /// Free bytes below which the clone is stopped.
    pub free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, cpu_percent: 200, tasks: 4_096, time_s: 900, free_bytes: 512 << 20 }
    }
}

/// What to rehearse.
#[derive(Clone, Debug)]
pub struct RehearseRequest {
    /// The exact transaction.
    pub changes: Vec<PackageChange>,
    /// Directory with `<sha256>.deb` of every package, verified.
    pub debs: PathBuf,
    /// Directory on a real disk (not on an overlay) that only root can enter.
    pub work: PathBuf,
    /// Base that the changes were resolved on.
    pub base: Digest,
    /// Checks to ask before, after, and after the undo.
    pub checks: Vec<Check>,
    /// Executable that drives the clone from inside: this program itself.
    pub binary: PathBuf,
    /// Its arguments; they lead to [`inside`].
    pub driver_args: Vec<String>,
    /// Configuration conflicts.
    pub conffiles: ConffilePolicy,
    /// Limits.
    pub limits: Limits,
}

/// Why a rehearsal could not even answer "unknown".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mounts and containers need root.
    #[error("rehearsing needs root; run as root or through sudo")]
    NotRoot,
    /// A file, mount or process failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, where.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A tool failed or the transaction's data cannot be read.
    #[error(transparent)]
    Apply(#[from] crate::transact::ApplyError),
    /// The undo archive of the clone.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// The host could not be walked.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The clone did not do what it was told in time, or stopped.
    #[error("the clone {0}")]
    Clone(String),
}

pub(crate) fn io_at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
