//! What dpkg knows and holds: unfinished packages, locks, files of packages, configuration conflicts; reads only.

use super::{ApplyError, FREE_BYTES_MIN, Transaction, command, io_at, repo};
use fother_core::{
    deb822::{self, Stanza},
    rehearsal::ConfigConflict,
    resolution::PackageChange,
    text::printable,
};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{ChildStdout, Stdio},
    time::{Duration, Instant},
};

const TOOL_S_MAX: u64 = 60;
const REPAIR_S_MAX: u64 = 900;
const LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];
/// Most files that one package may hold.
const FILES_MAX: usize = 1_000_000;
/// Largest configuration file that is compared, in bytes.
const CONFFILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest diff that is shown, in characters a line and lines.
const DIFF_LINE_CHARS_MAX: usize = 400;
const DIFF_LINES_MAX: usize = 500;

/// State that dpkg, apt, debconf and systemd's helpers keep about every transaction; `/**` is a whole tree.
pub(super) const ADMIN_STATE: &[&str] = &[
    "/var/lib/dpkg/**",
    "/var/lib/apt/extended_states",
    "/var/cache/debconf/**",
    "/var/lib/ucf/**",
    "/var/lib/pam/**",
    "/var/lib/systemd/deb-systemd-helper-enabled/**",
    "/var/lib/systemd/deb-systemd-helper-masked/**",
    "/var/lib/systemd/deb-systemd-user-helper-enabled/**",
    "/etc/systemd/system/**",
    "/etc/alternatives/**",
    "/etc/init.d/**",
    "/etc/rc0.d/**",
    "/etc/rc1.d/**",
    "/etc/rc2.d/**",
    "/etc/rc3.d/**",
    "/etc/rc4.d/**",
    "/etc/rc5.d/**",
    "/etc/rc6.d/**",
    "/etc/rcS.d/**",
    "/etc/ld.so.cache",
    "/etc/ld.so.cache~",
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/group",
    "/etc/group-",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/usr/sbin/policy-rc.d",
    "/usr/sbin/policy-rc.d.fother-new",
];

/// Removes what an apt that was killed had written of its new `extended_states` under a name of six random characters.
pub(super) fn remove_half_written(dir: &Path) -> Result<(), ApplyError> {
    let at = || io_at(dir.display().to_string());
    for entry in fs::read_dir(dir).map_err(at())? {
        let entry = entry.map_err(at())?;
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix("extended_states."));
        if random.is_some_and(|end| end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            fs::remove_file(entry.path()).map_err(at())?;
        }
    }
    Ok(())
}

/// Packages that somebody left unfinished, with their state; empty: dpkg is clean.
///
/// # Errors
/// Where dpkg cannot be asked.
pub fn unclean() -> Result<Vec<String>, ApplyError> {
    let text = command::output(
        command::tool("dpkg-query").args(["-W", "-f", "${db:Status-Eflag} ${db:Status-Status} ${binary:Package}\n"]),
        TOOL_S_MAX,
    )?;
    let settled = |state: &str| matches!(state, "installed" | "not-installed" | "config-files");
    let mut out: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (flag, state, name) = (words.next()?, words.next()?, words.next()?);
            (flag != "ok" || !settled(state)).then(|| format!("{} ({})", printable(name, 100), printable(state, 40)))
        })
        .collect();
    let interrupted = fs::read_dir("/var/lib/dpkg/updates").is_ok_and(|mut entries| entries.next().is_some());
    if interrupted {
        out.push("dpkg itself (interrupted: /var/lib/dpkg/updates is not empty)".to_owned());
    }
    Ok(out)
}

/// Finishes what somebody left unfinished (`dpkg --configure -a`), keeping the administrator's configuration files; what it was.
///
/// # Errors
/// [`ApplyError::Unclean`] with what is unfinished still.
pub fn repair(wait_s: u64) -> Result<Vec<String>, ApplyError> {
    let unfinished = unclean()?;
    if unfinished.is_empty() {
        return Ok(unfinished);
    }
    wait_for_locks(wait_s)?;
    let mut dpkg = command::tool("dpkg");
    dpkg.args(["--force-confdef", "--force-confold", "--configure", "-a"]).env("DEBIAN_FRONTEND", "noninteractive");
    // Its own exit code says less than what is unfinished afterwards.
    command::lenient(&mut dpkg, REPAIR_S_MAX)?;
    let packages = unclean()?;
    if packages.is_empty() { Ok(unfinished) } else { Err(ApplyError::Unclean { packages }) }
}

/// Waits until nobody holds dpkg's locks, at most `wait_s` seconds.
///
/// # Errors
/// [`ApplyError::Locked`] with the process that holds one.
pub fn wait_for_locks(wait_s: u64) -> Result<(), ApplyError> {
    let start = Instant::now();
    loop {
        let Some((holder, lock)) = LOCKS.iter().find_map(|lock| Some((holder(lock)?, *lock))) else { return Ok(()) };
        if start.elapsed() >= Duration::from_secs(wait_s) {
            return Err(ApplyError::Locked { holder, lock: lock.to_owned(), waited_s: wait_s });
        }
        std::thread::sleep(command::POLL);
    }
}

fn holder(lock: &str) -> Option<String> {
    let file = File::options().read(true).write(true).open(lock).ok()?;
    let found = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let pid = found.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", printable(name.trim(), 40)))
}

/// Refuses to start without room for the packages, the pre-images and a reserve.
pub(super) fn check_space(tx: &Transaction, undo_archive: &Path) -> Result<(), ApplyError> {
    let packed: u64 = tx.changes.iter().filter_map(|change| change.offer.as_ref()).map(|offer| offer.size).sum();
    let need = if tx.space_bytes > 0 { tx.space_bytes } else { packed.saturating_mul(6) }.saturating_add(FREE_BYTES_MIN);
    let archive = undo_archive.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    for path in [Path::new("/"), Path::new("/usr"), Path::new("/var"), archive] {
        let stat = rustix::fs::statvfs(path).map_err(|error| io_at(path.display().to_string())(error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < need {
            return Err(ApplyError::Space { path: path.display().to_string(), free_bytes: free, need_bytes: need });
        }
    }
    Ok(())
}

/// Every path that unpacking may write: files of the old and the new packages, and dpkg's temporary names beside them.
pub(super) fn package_paths(tx: &Transaction) -> Result<BTreeSet<String>, ApplyError> {
    let mut files = BTreeSet::new();
    for change in &tx.changes {
        for list in [format!("{}.list", change.name), format!("{}:{}.list", change.name, change.arch)] {
            if let Ok(text) = fs::read_to_string(Path::new("/var/lib/dpkg/info").join(list)) {
                files.extend(text.lines().filter(|line| line.starts_with('/') && *line != "/.").map(str::to_owned));
            }
        }
        if let Some(deb) = repo::deb(&tx.debs, change) {
            each_file(&deb, Part::Files, |path, _| {
                files.insert(path);
                Ok(true)
            })?;
        }
    }
    let suffixes = ["", ".dpkg-new", ".dpkg-tmp", ".dpkg-dist", ".dpkg-old"];
    let conffile = |path: &str| path.starts_with("/etc/");
    Ok(files.iter().flat_map(|path| suffixes[..if conffile(path) { 5 } else { 3 }].iter().map(move |end| format!("{path}{end}"))).collect())
}

/// The two archives in a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Maintainer scripts and control data.
    Control,
    /// What is unpacked.
    Files,
}

/// Calls `each` for every entry of a package with its absolute path, until it answers `false`.
pub(super) fn each_file(
    deb: &Path,
    part: Part,
    mut each: impl FnMut(String, &mut tar::Entry<'_, ChildStdout>) -> std::io::Result<bool>,
) -> Result<(), ApplyError> {
    let fail = || io_at(deb.display().to_string());
    let option = match part {
        Part::Control => "--ctrl-tarfile",
        Part::Files => "--fsys-tarfile",
    };
    let mut child = command::tool("dpkg-deb").arg(option).arg(deb).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(fail())?;
    let Some(stdout) = child.stdout.take() else { return Err(ApplyError::Request("no output of dpkg-deb".to_owned())) };
    let mut archive = tar::Archive::new(stdout);
    let mut stopped = false;
    for (count, entry) in archive.entries().map_err(fail())?.enumerate() {
        let mut entry = entry.map_err(fail())?;
        let path = entry.path().map_err(fail())?.to_string_lossy().into_owned();
        let path = format!("/{}", path.trim_start_matches("./").trim_matches('/'));
        if count >= FILES_MAX {
            return Err(ApplyError::Request(format!("{} holds more than {FILES_MAX} files", deb.display())));
        }
        if path != "/" && !each(path, &mut entry).map_err(fail())? {
            stopped = true;
            break;
        }
    }
    drop(archive);
    let status = child.wait().map_err(fail())?;
    if status.success() || stopped { Ok(()) } else { Err(ApplyError::Request(format!("{} cannot be unpacked", deb.display()))) }
}

/// Configuration files below `root` that the administrator changed and a package of the transaction brings anew.
///
/// # Errors
/// Where dpkg's state or a package cannot be read.
pub fn conffile_conflicts(root: &Path, tx: &Transaction) -> Result<Vec<ConfigConflict>, ApplyError> {
    let path = root.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).map_err(io_at(path.display().to_string()))?;
    let mut out = Vec::new();
    for stanza in deb822::stanzas(&status).map(Stanza::parse) {
        let change = tx.changes.iter().find(|change| {
            let arch = stanza.get("Architecture");
            stanza.get("Package") == Some(&change.name) && (arch == Some(&change.arch) || arch == Some("all") || change.arch == "all")
        });
        let (Some(change), Some(list)) = (change, stanza.get("Conffiles")) else { continue };
        for line in list.lines() {
            let mut words = line.split_whitespace();
            let (Some(file), Some(recorded)) = (words.next(), words.next()) else { continue };
            out.extend(conflict(root, tx, change, file, recorded)?);
        }
    }
    out.sort();
    Ok(out)
}

fn conflict(
    root: &Path,
    tx: &Transaction,
    change: &PackageChange,
    file: &str,
    recorded: &str,
) -> Result<Option<ConfigConflict>, ApplyError> {
    let current = root.join(file.trim_start_matches('/'));
    if !current.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= CONFFILE_BYTES_MAX) {
        return Ok(None);
    }
    let now = md5(&current)?;
    let Some(deb) = (now != recorded).then(|| repo::deb(&tx.debs, change)).flatten() else { return Ok(None) };
    let mut brought = None;
    each_file(&deb, Part::Files, |path, entry| {
        if path == file && entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.take(CONFFILE_BYTES_MAX).read_to_end(&mut bytes)?;
            brought = Some(bytes);
        }
        Ok(path != file)
    })?;
    let Some(brought) = brought else { return Ok(None) };
    let mut new = tempfile::NamedTempFile::new().map_err(io_at("a temporary file"))?;
    new.write_all(&brought).map_err(io_at("a temporary file"))?;
    let theirs = md5(new.path())?;
    if theirs == recorded || theirs == now {
        return Ok(None);
    }
    let labels = ["--label".to_owned(), file.to_owned(), "--label".to_owned(), format!("{file} ({})", change.name)];
    let (_, diff, _) = command::lenient(command::tool("diff").arg("-u").args(labels).arg(&current).arg(new.path()), TOOL_S_MAX)?;
    Ok(Some(ConfigConflict { path: file.to_owned(), diff: shown(&diff), action: tx.conffiles.word().to_owned() }))
}

fn md5(path: &Path) -> Result<String, ApplyError> {
    let text = command::output(command::tool("md5sum").arg("--").arg(path), TOOL_S_MAX)?;
    Ok(text.trim_start_matches('\\').split(' ').next().unwrap_or_default().to_owned())
}

/// A diff for the host's own people: bounded, without control characters. [`fother_core::text::outgoing_diff`] makes it fit to leave the host.
fn shown(diff: &str) -> String {
    diff.lines().take(DIFF_LINES_MAX).map(|line| printable(line, DIFF_LINE_CHARS_MAX)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_apt_had_half_written_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["extended_states", "extended_states.5EzFR7", "extended_states.bak", "extended_states.old-12", "lists.5EzFR7"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_half_written(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["extended_states", "extended_states.bak", "extended_states.old-12", "lists.5EzFR7"]);
    }

    #[test]
    fn a_lock_held_by_another_process_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        assert_eq!(holder(path.to_str().unwrap()), None);
        let mut child = std::process::Command::new("perl")
            .args(["-e", "use Fcntl; open F, '+<', $ARGV[0]; $l = pack('s s x4 q q l x4', F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $l) or die; $|=1; print 'x'; <STDIN>"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let held = holder(path.to_str().unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(held.as_ref().is_some_and(|text| text.contains(&child.id().to_string()) && text.contains("perl")), "{held:?}");
    }
}
