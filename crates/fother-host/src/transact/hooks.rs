//! Restarts taken over from package scripts by a `policy-rc.d` of ours while the transaction runs; writes that one file.

use super::{ApplyError, Transaction, io_at};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where invoke-rc.d and deb-systemd-invoke look (policy-rc.d specification of Debian's init-system-helpers).
const POLICY: &str = "/usr/sbin/policy-rc.d";
const SIGNATURE: &str = "# Written by fother for the time of one transaction; records restarts and has them done later.";
/// Most lines of the record that are read.
const LINES_MAX: usize = 10_000;

/// What package scripts asked of one unit.
pub(super) type Asked = BTreeMap<String, Vec<String>>;

fn record(tx: &Transaction) -> PathBuf {
    tx.work.join("policy-rc.d.record")
}

/// Puts the hook in place. `false`: the host has one of its own, which is respected.
pub(super) fn install(tx: &Transaction) -> Result<bool, ApplyError> {
    let record = record(tx);
    let text = record.to_str().unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)) {
        return Err(ApplyError::Request(format!(
            "the work directory {} must be plain letters, digits, `/`, `.`, `_` and `-`",
            tx.work.display()
        )));
    }
    if is_foreign(Path::new(POLICY)) {
        return Ok(false);
    }
    fs::write(&record, "").map_err(io_at(text))?;
    let temporary = format!("{POLICY}.fother-new");
    fs::write(&temporary, format!("#!/bin/sh\n{SIGNATURE}\nprintf '%s\\n' \"$*\" >> {text}\nexit 101\n")).map_err(io_at(POLICY))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).map_err(io_at(POLICY))?;
    fs::rename(&temporary, POLICY).map_err(io_at(POLICY))?;
    Ok(true)
}

fn is_foreign(path: &Path) -> bool {
    path.symlink_metadata().is_ok() && !fs::read_to_string(path).is_ok_and(|text| text.contains(SIGNATURE))
}

/// Takes our hook away again, and only ours.
pub(super) fn remove() -> Result<(), ApplyError> {
    let path = Path::new(POLICY);
    if path.symlink_metadata().is_ok() && !is_foreign(path) {
        fs::remove_file(path).map_err(io_at(POLICY))?;
    }
    let _ = fs::remove_file(format!("{POLICY}.fother-new"));
    Ok(())
}

/// What the hook recorded.
pub(super) fn asked(tx: &Transaction) -> Asked {
    parse(&fs::read_to_string(record(tx)).unwrap_or_default())
}

fn parse(text: &str) -> Asked {
    let mut out = Asked::new();
    for line in text.lines().take(LINES_MAX) {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with("--"));
        let (Some(unit), Some(action)) = (words.next(), words.next()) else { continue };
        if super::units::is_unit_name(unit) {
            let unit = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
            out.entry(unit).or_default().push(action.trim_matches(['(', ')', '"']).to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_callers_spellings_are_read_and_odd_names_are_not() {
        let asked = parse("nginx restart\n--quiet cron start 2\nssh.service restart\n$(reboot) start\n\nlonely\n");
        let units: Vec<_> = asked.iter().map(|(unit, actions)| (unit.as_str(), actions[0].as_str())).collect();
        assert_eq!(units, [("cron.service", "start"), ("nginx.service", "restart"), ("ssh.service", "restart")]);
    }
}
