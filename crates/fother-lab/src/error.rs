//! The errors of the lab; every text says what happened, to what, and what to do.

use std::path::{Path, PathBuf};

/// What can go wrong while a lab is built, used or taken down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller is not root.
    #[error("the lab boots real systemd hosts and needs root: run it as root or through sudo")]
    NotRoot,
    /// A name that is not allowed.
    #[error("{0:?} is not a name for a lab or host: use 1 to 15 of a-z, 0-9 and '-', starting with a letter")]
    BadName(String),
    /// A lab of that name exists.
    #[error("a lab named {0:?} exists already: `fother lab down` ends it")]
    Exists(String),
    /// No lab of that name.
    #[error("there is no lab named {0:?}: `fother lab up` builds one")]
    NoLab(String),
    /// No such host, or it is not running.
    #[error("host {host:?} of lab {lab:?} {why}")]
    Host {
        /// The lab's name.
        lab: String,
        /// The host's name.
        host: String,
        /// What is the matter with it.
        why: String,
    },
    /// A number outside of its bounds.
    #[error("{what} must be between {min} and {max}, not {is}")]
    Bounds {
        /// What was given.
        what: &'static str,
        /// Least allowed value.
        min: usize,
        /// Greatest allowed value.
        max: usize,
        /// The value that was given.
        is: usize,
    },
    /// An external program failed.
    #[error("{program} failed ({status}): {stderr}")]
    Program {
        /// The program and its first arguments.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines that it printed.
        stderr: String,
    },
    /// A file or directory could not be used.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The verb.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The machine's apt configuration offers no source for a suite.
    #[error(
        "no source in the machine's apt configuration offers the suite {0:?}: add one below /etc/apt, or name an archive with --mirror"
    )]
    NoSource(String),
    /// Something else is not as the lab needs it.
    #[error("{0}")]
    Other(String),
    /// A wait came to its end.
    #[error("{what} did not happen within {seconds} s; {hint}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// How long, in seconds.
        seconds: u64,
        /// Where to look.
        hint: String,
    },
}

/// The lab's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Gives an input/output error its verb and path.
pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_path_buf(), source }
}
