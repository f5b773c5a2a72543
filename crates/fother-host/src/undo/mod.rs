//! The undo archive: pre-images of every path that a transaction may touch, and their exact restoration. Touches the file system, never through a link.
//!
//! `capture` before, `seal` after, `conflicts` and `restore` to go back, `verify` to prove it. A path that ends in `/**` stands for a whole tree:
//! everything below is captured, and what was not there before is removed by the restoration.

mod archive;
pub(crate) mod at;
mod restore;
pub mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use archive::{Parents, below};
pub use archive::{capture, compare, conflicts, is_captured, is_restored, manifest_digest, paths, seal, verify};
pub use restore::{restore, restored_before};
pub use snapshot::{Kind, State};

use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};

/// Most paths that one archive holds.
pub const CAPTURE_PATHS_MAX: usize = 1_000_000;

/// What a capture holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Paths, absent ones included.
    pub paths: u64,
    /// Bytes of content kept, every content once.
    pub bytes: u64,
}

/// A path that somebody else has written since the transaction ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// Absolute path.
    pub path: String,
    /// In what it differs from what the transaction left.
    pub what: String,
}

/// What to do with paths that somebody else has written since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Change nothing and list them.
    Refuse,
    /// Restore everything but them.
    Leave,
    /// Restore them too: what was written since is lost.
    Overwrite,
}

/// What a restoration did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// Paths that were put back.
    pub restored: u64,
    /// Paths that were removed because they were absent before.
    pub removed: u64,
    /// Paths left alone because somebody else wrote them ([`OnConflict::Leave`]), sorted.
    pub left: Vec<String>,
    /// The archive had been restored before; nothing was done.
    pub already: bool,
    /// Paths that were read anew after the restoration and compared with their pre-images; 0 where nobody compared.
    #[serde(default)]
    pub compared: u64,
}

/// What is there now, compared with the pre-images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Paths that were read anew and compared: content, kind, mode, owner, times, attributes, links.
    pub paths: u64,
    /// A line per path that differs.
    pub differences: Vec<String>,
}

/// Why an archive could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// A path could not be read or written.
    #[error("{path}: {source}; free space or repair the file system, then run again: it resumes")]
    Io {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is a capture already; pre-images are never overwritten.
    #[error("{0} holds a capture already; use another directory")]
    Exists(PathBuf),
    /// The archive is not complete or not what was captured.
    #[error("the undo archive {path} cannot be used: {why}; nothing was changed by it")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// More than [`CAPTURE_PATHS_MAX`] paths.
    #[error("more than {CAPTURE_PATHS_MAX} paths to keep; name fewer trees")]
    TooMany,
    /// Others wrote to paths since; nothing was changed.
    #[error("{} paths were written by somebody else since the update, for example {}; nothing was changed", .0.len(), first(.0))]
    Conflicts(Vec<Conflict>),
    /// Some paths could not be put back; running again resumes.
    #[error("{} paths could not be put back, for example {}; remove the cause and run again: it resumes", .0.len(), .0.first().map_or("", String::as_str))]
    Incomplete(Vec<String>),
}

fn first(conflicts: &[Conflict]) -> String {
    conflicts.first().map_or_else(String::new, |conflict| format!("{} ({})", conflict.path, conflict.what))
}

pub(crate) fn at_path(path: impl Into<String>) -> impl FnOnce(io::Error) -> UndoError {
    let path = path.into();
    move |source| UndoError::Io { path, source }
}
