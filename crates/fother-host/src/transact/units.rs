//! systemd's units as `systemctl` tells them, and the restarts after a transaction; runs systemctl, reads `/proc`.

use super::{Applied, ApplyError, Progress, Restart, command, hooks::Asked};
use fother_core::text::printable;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Longest time that one unit may take to restart, in seconds.
const RESTART_S_MAX: u64 = 120;
/// A restart that failed sooner than this is tried once more.
const RESTART_AGAIN_WITHIN: Duration = Duration::from_secs(10);
const SHOW_S_MAX: u64 = 30;
/// How long a restarted unit may take until it is active, in seconds.
const SETTLE_S_MAX: u64 = 30;
/// Largest memory map that is read, in bytes.
const MAPS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Units that are never restarted under a running machine, each with the reason; they go into `put_off`. The last says whether
/// only a reboot ends them; sessions end by themselves.
const NOT_RESTARTED: &[(&str, &str, bool)] = &[
    ("dbus.service", "every other service's connection would break", true),
    ("dbus-broker.service", "every other service's connection would break", true),
    ("systemd-logind.service", "sessions would end", true),
    ("getty@", "a login session would end", false),
    ("serial-getty@", "a login session would end", false),
    ("console-getty.service", "a login session would end", false),
    ("container-getty@", "a login session would end", false),
    ("user@", "a user's session would end", false),
    ("session-", "a login session", false),
    ("init.scope", "the manager itself; systemd's own package re-executes it", true),
    ("fother-", "ourselves; our own package restarts us", false),
];

/// Whether only a reboot makes this unit run what is installed.
pub(crate) fn lasts_until_boot(unit: &str) -> bool {
    NOT_RESTARTED.iter().any(|(name, _, lasts)| *lasts && unit == *name)
}

/// What systemd says about one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `exited`, `dead`, `auto-restart`, …
    pub sub: String,
    /// Changes with every start.
    pub invocation: String,
    /// Automatic restarts so far.
    pub restarts: u64,
    /// `simple`, `oneshot`, `notify`, …
    pub kind: String,
    /// `enabled`, `static`, `masked`, …
    pub file: String,
}

/// Whether systemd is the init of this machine and can be asked.
#[must_use]
pub fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether a text can be a unit's name: nothing that a command line could misread.
pub(crate) fn is_unit_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    !name.is_empty() && name.len() < 256 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(allowed)
}

/// Every loaded service and socket.
///
/// # Errors
/// Where systemctl fails.
pub fn show() -> Result<BTreeMap<String, Unit>, ApplyError> {
    let properties = "--property=Id,ActiveState,SubState,InvocationID,NRestarts,Type,UnitFileState";
    let text = command::output(command::tool("systemctl").args(["show", "--all", properties, "*.service", "*.socket"]), SHOW_S_MAX)?;
    Ok(parse(&text))
}

fn parse(text: &str) -> BTreeMap<String, Unit> {
    let mut out = BTreeMap::new();
    for block in text.split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned();
        let unit = Unit {
            active: field("ActiveState"),
            sub: field("SubState"),
            invocation: field("InvocationID"),
            restarts: field("NRestarts").parse().unwrap_or(0),
            kind: field("Type"),
            file: field("UnitFileState"),
        };
        let id = field("Id");
        if is_unit_name(&id) {
            out.insert(id, unit);
        }
    }
    out
}

/// `systemctl daemon-reload`.
pub(super) fn reload() -> Result<(), ApplyError> {
    if systemd_runs() {
        command::output(command::tool("systemctl").arg("daemon-reload"), RESTART_S_MAX)?;
    }
    Ok(())
}

/// Units with a process that still runs a file that was replaced or removed.
#[must_use]
pub fn mapping_replaced_files() -> BTreeSet<String> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).filter(|pid| maps_replaced(pid)).filter_map(|pid| unit_of(&pid)).collect()
}

fn maps_replaced(pid: &str) -> bool {
    let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return false };
    let maps = String::from_utf8_lossy(&maps[..maps.len().min(MAPS_BYTES_MAX)]);
    maps.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        let executable = words.nth(1).is_some_and(|mode| mode.contains('x'));
        let path = line.find('/').map_or("", |at| &line[at..]);
        let program = ["/usr/", "/lib", "/bin/", "/sbin/", "/opt/"].iter().any(|start| path.starts_with(start));
        executable && program && (path.ends_with(" (deleted)") || path.ends_with(".dpkg-tmp"))
    })
}

/// The unit that a process belongs to (cgroups version 1 and 2).
fn unit_of(pid: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("0::/") && line.contains('.'))
        .or_else(|| text.lines().find(|line| line.contains(":name=systemd:")))?;
    let path = line.splitn(3, ':').nth(2)?;
    path.split('/').find(|part| (part.ends_with(".service") || part.ends_with(".scope")) && is_unit_name(part)).map(str::to_owned)
}

/// Restarts what package scripts asked for and what still runs replaced files.
pub(super) fn restart_after(
    asked: &Asked,
    active_before: &BTreeMap<String, String>,
    applied: &mut Applied,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ApplyError> {
    if !systemd_runs() {
        applied.notes.push("systemd does not run here: no service was restarted".to_owned());
        return Ok(());
    }
    reload()?;
    let known = show()?;
    let mut wanted: BTreeMap<String, &str> = BTreeMap::new();
    for (unit, actions) in asked {
        let starts = actions
            .iter()
            .any(|action| matches!(action.as_str(), "start" | "restart" | "try-restart" | "force-reload" | "reload" | "condrestart"));
        if starts && active_before.contains_key(unit) {
            wanted.insert(unit.clone(), "asked for by package scripts");
        } else if starts && known.get(unit).is_some_and(|known| known.file == "enabled" && known.active == "inactive") {
            wanted.insert(unit.clone(), "new and enabled");
        }
    }
    restart_all(&wanted, applied, progress);
    let mapping: BTreeMap<String, &str> = mapping_replaced_files().into_iter().map(|unit| (unit, "ran replaced files")).collect();
    let fresh = mapping.into_iter().filter(|(unit, _)| !wanted.contains_key(unit)).collect();
    restart_all(&fresh, applied, progress);
    applied.restarts.sort();
    applied.put_off.sort();
    Ok(())
}

/// Units that are active, with their invocation; empty where systemd does not run.
pub(super) fn active() -> BTreeMap<String, String> {
    let units = if systemd_runs() { show().unwrap_or_default() } else { BTreeMap::new() };
    units
        .into_iter()
        .filter(|(name, unit)| unit.active == "active" && name.ends_with(".service"))
        .map(|(name, unit)| (name, unit.invocation))
        .collect()
}

/// After everything is put back: restarts what was restarted or fell over since `active_before`, and (with `mapping`) what runs replaced files.
pub(crate) fn restart_after_undo(
    active_before: &BTreeMap<String, String>,
    mapping: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    if !systemd_runs() {
        return Ok(applied);
    }
    reload()?;
    let now = show()?;
    let moved = |(name, invocation): (&String, &String)| {
        let same = now.get(name).is_some_and(|unit| unit.active == "active" && unit.invocation == *invocation);
        let once = now.get(name).is_some_and(|unit| unit.kind == "oneshot");
        (!same && !once).then(|| (name.clone(), "restarted or fell over since"))
    };
    let mut wanted: BTreeMap<String, &str> = active_before.iter().filter_map(moved).collect();
    if mapping {
        wanted.extend(mapping_replaced_files().into_iter().map(|unit| (unit, "ran replaced files")));
    }
    restart_all(&wanted, &mut applied, progress);
    Ok(applied)
}

pub(super) fn restart_all(wanted: &BTreeMap<String, &str>, applied: &mut Applied, progress: &mut dyn FnMut(Progress)) {
    for (done, (unit, why)) in wanted.iter().enumerate() {
        if let Some((_, reason, _)) = NOT_RESTARTED.iter().find(|(name, ..)| unit.starts_with(name)) {
            if !unit.starts_with("fother-") {
                applied.put_off.push(format!("{unit} ({why}; not restarted: {reason})"));
            }
            continue;
        }
        progress(Progress::new("restart", u8::try_from(done * 100 / wanted.len().max(1)).unwrap_or(100), unit.clone()));
        applied.restarts.push(restart(unit, why));
    }
}

/// One `systemctl restart`: what went wrong, if anything did.
fn restart_once(unit: &str) -> Option<String> {
    match command::lenient(command::tool("systemctl").args(["restart", "--", unit]), RESTART_S_MAX) {
        Ok((true, _, _)) => None,
        Ok((false, _, tail)) => Some(if tail.is_empty() { "systemctl was ended".to_owned() } else { tail }),
        Err(error) => Some(error.to_string()),
    }
}

fn restart(unit: &str, why: &str) -> Restart {
    let begin = Instant::now();
    let mut trouble = restart_once(unit);
    // systemctl may have been killed before it asked for anything; where it took its time, it has asked.
    if trouble.is_some() && begin.elapsed() < RESTART_AGAIN_WITHIN {
        trouble = restart_once(unit);
    }
    let deadline = Instant::now() + Duration::from_secs(SETTLE_S_MAX);
    let active = loop {
        let text = command::lenient(command::tool("systemctl").args(["is-active", "--", unit]), SHOW_S_MAX)
            .map_or_else(|_| String::new(), |(_, text, _)| text);
        if !matches!(text.trim(), "activating" | "reloading") || Instant::now() >= deadline {
            break printable(text.trim(), 40);
        }
        std::thread::sleep(command::POLL);
    };
    let ok = trouble.is_none() && active != "failed";
    let note = trouble.map_or_else(|| format!("{why}; now {active}"), |trouble| format!("{why}; {trouble}"));
    Restart { unit: unit.to_owned(), ok, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_properties_become_units() {
        let units = parse(
            "Type=notify\nNRestarts=2\nId=a.service\nActiveState=active\nSubState=running\nInvocationID=ff\nUnitFileState=enabled\n\nId=../x\nActiveState=active\n",
        );
        assert_eq!(units.len(), 1);
        assert_eq!((units["a.service"].active.as_str(), units["a.service"].restarts), ("active", 2));
    }

    #[test]
    fn what_a_command_line_could_misread_is_no_unit_name() {
        assert!(is_unit_name("getty@tty1.service") && is_unit_name("dev-disk-by\\x2duuid.swap"));
        assert!(!is_unit_name("--force") && !is_unit_name("a b") && !is_unit_name("") && !is_unit_name("$(x)"));
    }
}
