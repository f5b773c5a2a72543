//! Old versions that still run after their update: which package a deleted mapping belonged to, and which version it had then.
//!
//! A package manager knows only what stands on the disk. That a process still runs the code from before stands in its maps, and
//! which version that was in dpkg's log: the one that was replaced first after the process had started.

use super::{Index, files, merged, of};
use crate::{
    processes::{Process, Processes},
    root::Root,
};
use fother_core::{
    Timestamp,
    assess::in_use::{PackageUse, Use},
    package::Installed,
    version::Version,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// dpkg's log, the older part first.
const LOGS: [&str; 2] = ["/var/log/dpkg.log.1", "/var/log/dpkg.log"];
const LOG_BYTES_MAX: usize = 64 << 20;
/// Ticks of `/proc/PID/stat` in a second (`USER_HZ`, the same on every architecture that Debian has).
const TICKS_PER_SECOND: u64 = 100;

/// A package of which an old version runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The package as it is installed now.
    pub package: Installed,
    /// The binary version that runs; an error says why it is not known.
    pub was: Result<Version, String>,
    /// Who runs it.
    pub uses: PackageUse,
}

/// Finds them. Lists of files are read only where some process maps a deleted file at all.
#[must_use]
pub fn outdated(root: &Root, installed: &[Installed], processes: &Processes) -> Vec<Outdated> {
    let index = Index::new(processes);
    let old: HashMap<&str, Vec<&Process>> = index
        .by_path
        .iter()
        .filter_map(|(path, users)| {
            let old: Vec<&Process> = users.iter().filter(|(_, file)| file.deleted).map(|(process, _)| *process).collect();
            (!old.is_empty()).then_some((path.as_str(), old))
        })
        .collect();
    if old.is_empty() {
        return Vec::new();
    }
    let mut log: Option<Log> = None;
    let mut out = Vec::new();
    for package in installed {
        let Ok(list) = files(root, package) else { continue };
        let mut users: BTreeMap<u32, Use> = BTreeMap::new();
        for path in list.lines().map(merged) {
            for process in old.get(path.as_str()).into_iter().flatten() {
                let file = index.by_path.get(&path).into_iter().flatten().find(|(other, file)| other.pid == process.pid && file.deleted);
                if let Some((process, file)) = file {
                    users.entry(process.pid).or_insert_with(|| of(process, file));
                }
            }
        }
        if users.is_empty() {
            continue;
        }
        let log = log.get_or_insert_with(|| Log::read(root));
        let was = oldest(users.keys().map(|pid| log.version_at(package, started(*pid))));
        out.push(Outdated { package: package.clone(), was, uses: PackageUse::loaded(package.name.clone(), users.into_values().collect()) });
    }
    out
}

/// The oldest of the versions that run: it has the most vulnerabilities.
fn oldest(all: impl Iterator<Item = Result<Version, String>>) -> Result<Version, String> {
    let mut out: Option<Version> = None;
    for version in all {
        let version = version?;
        if out.as_ref().is_none_or(|least| version.compare(least).is_lt()) {
            out = Some(version);
        }
    }
    out.ok_or_else(|| "no process is left".to_owned())
}

/// When a process was started.
fn started(pid: u32) -> Result<Timestamp, String> {
    let text = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let (stat, boot) = (text(&format!("/proc/{pid}/stat"))?, text("/proc/stat")?);
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    match (ticks, boot) {
        (Some(ticks), Some(boot)) => Ok(Timestamp(boot * 1_000 + ticks * 1_000 / TICKS_PER_SECOND)),
        _ => Err(format!("when process {pid} was started cannot be read")),
    }
}

/// Upgrades by package, as `name:arch`, in the order of time.
struct Log {
    upgrades: BTreeMap<String, Vec<(Timestamp, String)>>,
    unknown: Option<String>,
}

impl Log {
    fn read(root: &Root) -> Self {
        let mut out = Self { upgrades: BTreeMap::new(), unknown: None };
        let zone = jiff::tz::TimeZone::system();
        for path in LOGS {
            match root.text_if_there(path, LOG_BYTES_MAX) {
                Ok(Some(text)) => out.add(&text, &zone),
                Ok(None) => {}
                Err(error) => out.unknown = Some(error.to_string()),
            }
        }
        out
    }

    /// Lines such as `2026-11-20 10:00:00 upgrade libssl3:amd64 3.0.17-1 3.0.18-1` (local time).
    fn add(&mut self, text: &str, zone: &jiff::tz::TimeZone) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [day, time, "upgrade", package, from, _to] = words.as_slice() else { continue };
            let at = format!("{day}T{time}").parse::<jiff::civil::DateTime>().ok().and_then(|at| at.to_zoned_datetime(zone.clone()).ok());
            let ms = at.and_then(|at| u64::try_from(at.timestamp().as_millisecond()).ok());
            if let Some(ms) = ms {
                self.upgrades.entry((*package).to_owned()).or_default().push((Timestamp(ms), (*from).to_owned()));
            }
        }
    }

    /// The version that was installed when a process started: what the first upgrade after that replaced.
    fn version_at(&self, package: &Installed, started: Result<Timestamp, String>) -> Result<Version, String> {
        let started = started?;
        if let Some(why) = &self.unknown {
            return Err(why.clone());
        }
        let upgrades = self.upgrades.get(&format!("{}:{}", package.name, package.arch)).map(Vec::as_slice).unwrap_or_default();
        // The log has whole seconds.
        let first = upgrades.iter().find(|(at, _)| at.ms() + 1_000 > started.ms());
        match first {
            Some((_, from)) => from.parse().map_err(|error| format!("{}: {error}", LOGS[1])),
            None => Err(format!("{} does not tell which version was replaced", LOGS[1])),
        }
    }
}

/// The package as it was, as far as its *source* version can be told; an error says why not.
///
/// # Errors
/// Where the binary's version does not tell the source's.
pub fn as_it_was(outdated: &Outdated) -> Result<Installed, String> {
    let was = outdated.was.clone()?;
    let package = &outdated.package;
    let without_rebuild = |version: &Version| {
        let text = version.as_str();
        let (base, number) = text.rsplit_once("+b").unwrap_or((text, ""));
        let rebuilt = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        if rebuilt { base.to_owned() } else { text.to_owned() }
    };
    // Some packages count apart from their source; then the log does not say which source it was.
    if without_rebuild(&package.version) != package.source_version.as_str() {
        return Err(format!("its version {} does not tell that of its source", was.as_str()));
    }
    let source_version = without_rebuild(&was).parse().map_err(|error: fother_core::version::ParseError| error.to_string())?;
    Ok(Installed { version: was, source_version, ..package.clone() })
}

/// Units and processes to restart, for people.
#[must_use]
pub fn who(uses: &PackageUse) -> BTreeSet<String> {
    uses.uses.iter().map(|one| one.unit.clone().unwrap_or_else(|| format!("{} (pid {})", one.process, one.pid))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-01 10:00:00 upgrade web:amd64 1.0-1 1.0-2\n2026-11-01 10:00:01 status installed web:amd64 1.0-2\n\
        2026-11-20 10:00:00 upgrade web:amd64 1.0-2 1.0-3\nnoise\n2026-13-01 10:00:00 upgrade web:amd64 0 9\n";

    fn package(version: &str, source_version: &str) -> Installed {
        Installed {
            name: "web".into(),
            arch: "amd64".into(),
            version: version.parse().unwrap(),
            source: "web".into(),
            source_version: source_version.parse().unwrap(),
            broken: None,
            held: false,
        }
    }

    #[test]
    fn the_version_that_runs_is_the_one_that_was_replaced_first_after_the_start() {
        let mut log = Log { upgrades: BTreeMap::new(), unknown: None };
        log.add(LOG, &jiff::tz::TimeZone::UTC);
        let at = |text: &str| log.version_at(&package("1.0-3", "1.0-3"), Ok(text.parse().unwrap())).map(|v| v.as_str().to_owned());
        assert_eq!(at("2026-10-01T00:00:00.000Z").unwrap(), "1.0-1");
        assert_eq!(at("2026-11-10T00:00:00.000Z").unwrap(), "1.0-2");
        assert!(at("2026-11-25T00:00:00.000Z").unwrap_err().contains("does not tell"));
    }

    #[test]
    fn the_source_version_is_told_only_where_it_follows_from_the_binary_s() {
        let told = |now: Installed, was: &str| {
            let uses = PackageUse::default();
            as_it_was(&Outdated { package: now, was: Ok(was.parse().unwrap()), uses }).map(|p| p.source_version.as_str().to_owned())
        };
        assert_eq!(told(package("1.0-3", "1.0-3"), "1.0-2+b1").unwrap(), "1.0-2");
        assert_eq!(told(package("1.0-3+b2", "1.0-3"), "1.0-2").unwrap(), "1.0-2");
        assert!(told(package("7:5-1", "1.0-3"), "7:4-1").is_err());
    }
}
