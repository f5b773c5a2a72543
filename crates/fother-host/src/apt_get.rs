//! Asks apt-get what it would do (`-s`: changes nothing) and reads its answer. Starts apt-get.

use crate::command::{self, Output, Program};
use fother_core::{
    text::{printable, quoted},
    version::Version,
};
use std::{path::Path, time::Duration};

/// How long apt-get may think.
pub const SOLVER_LIMIT: Duration = Duration::from_secs(300);
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// One line of apt-get's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `Inst`: a package is installed or upgraded.
    Install {
        /// Name without architecture.
        name: String,
        /// Architecture of the new version.
        arch: String,
        /// Installed version.
        from: Option<Version>,
        /// New version.
        to: Version,
    },
    /// `Remv` or `Purg`: a package is removed.
    Remove {
        /// Name without architecture.
        name: String,
        /// Installed version.
        from: Option<Version>,
    },
}

/// apt-get gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] command::Error),
    /// It refused; its own last words.
    #[error("apt-get could not resolve:\n{0}")]
    Refused(String),
    /// A line of its answer is not understood.
    #[error("apt-get answered a line that is not understood: {0}")]
    Line(String),
}

/// Where the simulation reads from and what it must not touch.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Lists directory.
    pub lists: &'a Path,
    /// Scratch directory for caches.
    pub scratch: &'a Path,
    /// Preferences file that replaces `/etc/apt/preferences`.
    pub preferences: &'a Path,
}

/// Simulates a command, for example `dist-upgrade` or `install --only-upgrade x`.
///
/// # Errors
/// Where apt-get cannot be run, refuses, or answers something else than expected.
pub fn simulate(places: Places<'_>, command: &[&str]) -> Result<Vec<Step>, Error> {
    let options = [
        format!("Dir::State::Lists={}/", places.lists.display()),
        format!("Dir::Cache={}/cache/", places.scratch.display()),
        format!("Dir::Etc::Preferences={}", places.preferences.display()),
        // apt writes its planner's input there even when it only simulates.
        format!("Dir::Log={}/log/", places.scratch.display()),
        "Dir::Cache::pkgcache=".into(),
        "Dir::Cache::srcpkgcache=".into(),
        "Debug::NoLocking=1".into(),
        "APT::Get::Show-User-Simulation-Note=0".into(),
    ];
    let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
    let program = Program::new("apt-get", SOLVER_LIMIT).args(["-s", "-q", "-y"]).args(options).args(command);
    let output = program.env("DEBIAN_FRONTEND", "noninteractive").output_max(ANSWER_BYTES_MAX).run()?;
    if output.code != Some(0) {
        return Err(Error::Refused(last_words(&output)));
    }
    output.stdout.lines().filter_map(|line| parse(line).transpose()).collect()
}

fn last_words(output: &Output) -> String {
    let lines: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("E:")).collect();
    quoted(&lines.join("\n"), |_| false)
}

/// Reads `Inst name [from] (to origin… [arch])` and `Remv name [from]`; other lines are for people.
fn parse(line: &str) -> Result<Option<Step>, Error> {
    let Some((word, rest)) = line.split_once(' ') else { return Ok(None) };
    if !["Inst", "Remv", "Purg"].contains(&word) {
        return Ok(None);
    }
    let bad = || Error::Line(printable(line, 200));
    let (name, rest) = rest.split_once(' ').ok_or_else(bad)?;
    let name = name.split(':').next().unwrap_or(name).to_owned();
    let (from, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((from, rest)) => (Some(from.parse().map_err(|_| bad())?), rest.trim_start()),
        None => (None, rest),
    };
    if word != "Inst" {
        return Ok(Some(Step::Remove { name, from }));
    }
    let inner = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(bad)?.0;
    let (to, rest) = inner.split_once(' ').ok_or_else(bad)?;
    let arch = rest.rsplit_once('[').and_then(|(_, arch)| arch.strip_suffix(']')).ok_or_else(bad)?.to_owned();
    Ok(Some(Step::Install { name, arch, from, to: to.parse().map_err(|_| bad())? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_talk_is_passed_over() {
        let step = parse("Inst libc6:i386 [2.36-9] (2.36-10 Debian:12.5/stable, Debian-Security:12/stable-security [i386]) []").unwrap();
        let (from, to) = (Some("2.36-9".parse().unwrap()), "2.36-10".parse().unwrap());
        assert_eq!(step, Some(Step::Install { name: "libc6".into(), arch: "i386".into(), from, to }));
        assert!(matches!(parse("Inst new (1 x:1/y [all])"), Ok(Some(Step::Install { from: None, .. }))));
        assert!(matches!(parse("Remv old [1]"), Ok(Some(Step::Remove { .. }))));
        assert!(matches!(parse("Conf libc6 (2.36-10 x [amd64])"), Ok(None)));
        assert!(matches!(parse("Inst libc6 [x y] (z)"), Err(Error::Line(_))));
    }
}
