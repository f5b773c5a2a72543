//! How a command fails: a message that says what to do next, and an exit code that a pipeline can use.

use std::fmt;

/// Fine.
pub const FINE: u8 = 0;
/// Policy says no; the rehearsal breaks.
pub const NO: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// Could not tell.
pub const UNKNOWN: u8 = 3;
/// Refused.
pub const REFUSED: u8 = 4;
/// Failed.
pub const FAILED: u8 = 5;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What happened.
    pub what: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure with a hint.
    pub fn new(code: u8, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, what: what.into(), hint: hint.into() }
    }

    /// For things that only root may do.
    pub fn need_root(what: &str) -> Result<(), Self> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(Self::new(REFUSED, format!("{what} needs root"), "run it again with sudo"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {}", self.hint) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(FAILED, format!("{:#}", error.into()), "")
    }
}
