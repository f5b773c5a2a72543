//! How a command fails: a message that says what to do next, and an exit code that a pipeline can use.

use fother_agent::{enrol::EnrolError, install::InstallError, tls::TlsError};
use fother_core::text::printable;
use fother_host::{inventory, rehearse, resolve, root};
use serde_json::{Value, json};
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

/// Longest line of a message, in characters.
const LINE_CHARS_MAX: usize = 2_000;

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

    /// The envelope that machines read instead.
    #[must_use]
    pub fn envelope(&self) -> Value {
        let error = json!({"exit_code": self.code, "what": safe(&self.what), "hint": safe(&self.hint)});
        json!({"schema": "fother.error/1", "data": null, "unknown": [], "feeds": [], "errors": [error]})
    }
}

/// What hosts, servers and files say is hostile; only line ends stay.
fn safe(text: &str) -> String {
    text.lines().map(|line| printable(line, LINE_CHARS_MAX)).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&safe(&self.what))?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {}", safe(&self.hint)) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let (code, hint) = meaning(&error);
        Self::new(code, said_once(&error), hint)
    }
}

/// The error and its causes; a cause that the error above it tells already is left out.
fn said_once(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Exit code and hint of an error of the crates below.
fn meaning(error: &anyhow::Error) -> (u8, &'static str) {
    if error.is::<fother_host::image::Error>() || matches!(error.downcast_ref::<root::Error>(), Some(root::Error::LeftOut { .. })) {
        return (UNKNOWN, "");
    }
    if let Some(error) = error.downcast_ref::<root::Error>() {
        return (if error.is_absent() { USAGE } else { FAILED }, "");
    }
    if let Some(error) = error.downcast_ref::<InstallError>() {
        return installing(error);
    }
    if let Some(error) = error.downcast_ref::<fother_lab::Error>() {
        return lab(error);
    }
    if let Some(inventory::Error::Root(_)) = error.downcast_ref::<inventory::Error>() {
        return (UNKNOWN, "");
    }
    match error.downcast_ref::<resolve::Error>() {
        Some(resolve::Error::NotInstalled(_)) => return (USAGE, "see `fother scan` for what has an update"),
        Some(resolve::Error::NotLive(_)) => return (USAGE, ""),
        _ => {}
    }
    let not_root = matches!(error.downcast_ref::<rehearse::Error>(), Some(rehearse::Error::NotRoot));
    (if not_root { REFUSED } else { FAILED }, "")
}

fn installing(error: &InstallError) -> (u8, &'static str) {
    const AGAIN: &str = "nothing was enrolled; make a new token with `fother host token` and try again";
    match error {
        InstallError::NotRoot => (REFUSED, "run it again with sudo"),
        InstallError::Trust { .. } => (USAGE, ""),
        InstallError::Enrol(EnrolError::TokenFile { .. } | EnrolError::TokenForm) => (USAGE, "give the file that holds the token, or `-`"),
        InstallError::Enrol(EnrolError::Tls(TlsError::Address(_))) => (USAGE, ""),
        InstallError::Enrol(EnrolError::TokenRefused { .. } | EnrolError::Tls(TlsError::OtherCa)) => (REFUSED, AGAIN),
        InstallError::Enrol(EnrolError::Clock { .. } | EnrolError::Validity { .. }) => (REFUSED, "nothing was enrolled"),
        InstallError::Enrol(EnrolError::Already(_)) => (REFUSED, ""),
        InstallError::Enrol(_) => (FAILED, "nothing was enrolled"),
        InstallError::Command { .. } | InstallError::File { .. } => (FAILED, ""),
    }
}

fn lab(error: &fother_lab::Error) -> (u8, &'static str) {
    use fother_lab::Error;
    match error {
        Error::NotRoot => (REFUSED, ""),
        Error::BadName(_) | Error::NoLab(_) | Error::Bounds { .. } | Error::Host { .. } => (USAGE, ""),
        Error::Exists(_) => (REFUSED, ""),
        _ => (FAILED, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_cannot_act_on_the_terminal_but_lines_stay() {
        let failure = Failure::new(FAILED, "host \x1b[2Jsaid\nno", "do\u{202e} this");
        assert_eq!(failure.to_string(), "host \\u{1b}[2Jsaid\nno\n  hint: do\\u{202e} this");
        assert!(!failure.envelope().to_string().contains('\u{202e}'));
    }

    #[test]
    fn a_cause_is_told_once() {
        let io = std::io::Error::other("gone");
        let failure = Failure::from(fother_lab::Error::Io { what: "open", path: "/x".into(), source: io });
        assert_eq!((failure.code, failure.what.as_str()), (FAILED, "cannot open /x: gone"));
    }
}
