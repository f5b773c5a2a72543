//! The real upgrade of exactly the given packages, journalled, undone by itself when it fails. Root only; runs apt, dpkg and systemctl on `/`.
//!
//! `apply` walks intent → captured → started → done → restarted → sealed; [`recover`] brings a killed one to exactly before or after.

mod apply;
mod apt;
mod command;
mod dpkg;
mod hooks;
mod journal;
mod public;
mod repo;
pub mod units;

pub use apply::{ApplyRequest, ApplyResult, Recovered, apply, recover, run_from_file, undo_transaction};
pub use dpkg::{conffile_conflicts, repair, unclean, wait_for_locks};
pub use journal::{Step, steps};
pub use units::systemd_runs;

pub(crate) use apply::execute;
pub(crate) use command::{POLL, lenient, output, tool};
pub(crate) use public::Public;

use crate::undo::UndoError;
use fother_core::{rehearsal::ConfigConflict, resolution::PackageChange};
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};

/// Longest time that one transaction may take, in seconds; then it is stopped and undone.
pub const TRANSACTION_S_MAX: u64 = 3_600;
/// Bytes that stay free on every file system that is written.
pub const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// What happens to configuration files that the administrator changed and the package brings anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConffilePolicy {
    /// The administrator's stays; the package's stands beside it as `.dpkg-dist`.
    #[default]
    Keep,
    /// The package's takes its place; the administrator's stands beside it as `.dpkg-old`.
    Replace,
    /// The transaction does not start.
    Stop,
}

impl ConffilePolicy {
    /// The word in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
            Self::Stop => "stop",
        }
    }
}

/// Exactly what is to be installed, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Every package that changes, and nothing else.
    pub changes: Vec<PackageChange>,
    /// Directory with `<sha256 in hexadecimal>.deb` of every package to install, verified.
    pub debs: PathBuf,
    /// Directory of this transaction's own, below a directory that only root can enter.
    pub work: PathBuf,
    /// Configuration conflicts.
    #[serde(default)]
    pub conffiles: ConffilePolicy,
    /// How long to wait for another package manager, in seconds.
    pub lock_wait_s: u64,
    /// Space that the rehearsal found necessary, in bytes; 0: estimated from the packages.
    #[serde(default)]
    pub space_bytes: u64,
}

/// One unit that was restarted, or should have been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Restart {
    /// Unit name.
    pub unit: String,
    /// It runs again.
    pub ok: bool,
    /// Why it was restarted and what came of it, or why it was put off.
    pub note: String,
}

/// What an applied transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Units that were restarted, sorted.
    pub restarts: Vec<Restart>,
    /// Units that still run replaced files because restarting them would take the session or the machine along: a reboot does it.
    pub put_off: Vec<String>,
    /// Remarks, for example that the host has a `policy-rc.d` of its own.
    pub notes: Vec<String>,
    /// Time of the package manager's run, in milliseconds.
    pub apply_ms: u64,
}

/// How far the package manager is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `prepare`, `capture`, `install`, `restart`, `seal`, `undo`.
    pub stage: String,
    /// Per cent of the stage.
    pub percent: u8,
    /// For people.
    pub what: String,
}

impl Progress {
    pub(crate) fn new(stage: &str, percent: u8, what: impl Into<String>) -> Self {
        Self { stage: stage.to_owned(), percent, what: what.into() }
    }
}

/// Where a transaction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing is changed.
    Before,
    /// Everything is installed.
    After,
}

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Only root can install packages.
    #[error("installing packages needs root; run as root")]
    NotRoot,
    /// The request is not usable.
    #[error("the request cannot be carried out: {0}")]
    Request(String),
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, where.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that is needed failed; nothing was changed.
    #[error("{program} failed:\n{output}")]
    Tool {
        /// Which.
        program: String,
        /// Last lines of its output.
        output: String,
    },
    /// Somebody before us left dpkg in the middle; nothing was changed.
    #[error("dpkg was left unfinished before this transaction: {}; repair it (`dpkg --configure -a`, `apt-get -f install`), then plan again", .packages.join(", "))]
    Unclean {
        /// Package and state, or what else is unfinished.
        packages: Vec<String>,
    },
    /// Another package manager holds the lock; nothing was changed.
    #[error("another package manager is at work: {holder} holds {lock}; waited {waited_s} s; try again when it is done")]
    Locked {
        /// Process id and name.
        holder: String,
        /// Lock file.
        lock: String,
        /// Seconds.
        waited_s: u64,
    },
    /// Not enough space; nothing was changed.
    #[error("{path} has {free_bytes} bytes free, {need_bytes} are needed; free some space")]
    Space {
        /// File system.
        path: String,
        /// Bytes free.
        free_bytes: u64,
        /// Bytes needed.
        need_bytes: u64,
    },
    /// apt would do something else than the plan says; nothing was changed.
    #[error("apt would not do exactly what the plan says: {}; plan again", .0.join("; "))]
    Differs(Vec<String>),
    /// The policy says stop at configuration conflicts; nothing was changed.
    #[error("{} configuration files conflict and the policy says stop: {}", .0.len(), .0.first().map_or("", |conflict| &conflict.path))]
    Conffiles(Vec<ConfigConflict>),
    /// The package manager failed and everything was put back.
    #[error("the upgrade failed{}; everything is as before:\n{output}", .package.as_ref().map_or_else(String::new, |name| format!(" at {name}")))]
    Failed {
        /// The package that the package manager named.
        package: Option<String>,
        /// Last lines of output, quoted ([`fother_core::text::quoted`]).
        output: String,
    },
    /// The package manager failed and not everything could be put back.
    #[error("the upgrade failed and these paths are not as before: {}; run the undo again:\n{output}", .differences.join("; "))]
    NotUndone {
        /// Last lines of output.
        output: String,
        /// Path and difference.
        differences: Vec<String>,
    },
    /// The undo archive.
    #[error(transparent)]
    Undo(#[from] UndoError),
}

impl ApplyError {
    /// Whether the host is exactly as before: so for everything but a failed undo.
    #[must_use]
    pub fn unchanged(&self) -> bool {
        !matches!(self, Self::NotUndone { .. })
    }
}

pub(crate) fn io_at(what: impl Into<String>) -> impl FnOnce(io::Error) -> ApplyError {
    let what = what.into();
    move |source| ApplyError::Io { what, source }
}
